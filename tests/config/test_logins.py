"""Accounts by the logins and senders that name them, and those that are not looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from configs import read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pcc.toml"


def test_accounts_and_domains_are_compared_in_lower_case(path: Path) -> None:
    config = read(
        path,
        '[policy]\ndefault_domain = "@Example.ORG"\ndomains = ["Example.org", "@EXAMPLE.net"]\n'
        'exempt_accounts = [" Alice ", "BOB@Example.net", "@Sub.Example.Org"]\n'
        '[[override]]\naccounts = ["Carol", "@Example.NET"]\n',
    )
    assert config.default_domain == "example.org"
    assert config.domains == {"example.org", "example.net"}
    assert config.exempt_accounts == {"alice@example.org", "bob@example.net", "@sub.example.org"}
    assert config.overrides[0][0] == {"carol@example.org", "@example.net"}


@pytest.mark.parametrize(
    ("default_domain", "login", "account"),
    [
        ("", "Joe", "joe"),
        ("", "Joe@Example.ORG", "joe@example.org"),
        ("", "  joe@example.org ", "joe@example.org"),
        ("", " ", ""),
        ("example.org", "Joe", "joe@example.org"),
        ("example.org", "joe@example.net", "joe@example.net"),
        ("example.org", "joe@", "joe@example.org"),
        ("", "joe@example.org.", "joe@example.org"),
        ("example.org", "", ""),
        ("example.org", " ", ""),
        ("example.org", "GR\u00dcN", "gr\u00fcn@example.org"),
    ],
)
def test_login_becomes_an_account(
    path: Path, default_domain: str, login: str, account: str
) -> None:
    config = read(path, f'[policy]\ndefault_domain = "{default_domain}"')
    assert config.normalised_account(login) == account


@pytest.mark.parametrize(
    ("text", "login", "account"),
    [
        ('account = "sender"', "joe+1@example.org", "joe@example.org"),
        ('account = "sender"', "joe+1+2@example.org", "joe@example.org"),
        ('account = "sender"', "+joe@example.org", "+joe@example.org"),
        ('account = "sender"', "+joe+1@example.org", "+joe@example.org"),
        ('account = "sender"', "joe-1@example.org", "joe-1@example.org"),
        ('account = "sender"', "joe@sub+1.example.org", "joe@sub+1.example.org"),
        ('account = "sender"\nrecipient_delimiter = ""', "joe+1@a.org", "joe+1@a.org"),
        ('account = "sender"\nrecipient_delimiter = "-+"', "joe+1-2@a.org", "joe@a.org"),
        ("", "joe+1@example.org", "joe+1@example.org"),
        ('recipient_delimiter = "+"', "joe+1@example.org", "joe+1@example.org"),
        ('login_spellings = ["extension"]', "Joe+1", "joe"),
        ('login_spellings = ["extension"]\ndefault_domain = "a.org"', "Joe+1", "joe@a.org"),
        ("", "EXAMPLE.ORG\\\\Joe", "example.org\\\\joe"),
        ('login_spellings = ["domain\\\\user"]', "EXAMPLE.ORG\\Joe", "joe@example.org"),
        ('login_spellings = ["domain\\\\user"]', "corp\\joe%x", "joe%x@corp"),
        ('login_spellings = ["domain\\\\user"]', "\\joe", "\\joe"),
        ('login_spellings = ["domain\\\\user"]', "corp\\", "corp\\"),
        ('login_spellings = ["domain\\\\user"]', "corp\\joe@example.org", "corp\\joe@example.org"),
        ('login_spellings = ["user%domain"]', "joe%example.org", "joe@example.org"),
        ('login_spellings = ["user%domain"]\ndefault_domain = "a.org"', "a%b", "a@b"),
        (
            'login_spellings = ["user%domain"]',
            "joe%example.org@relay.org",
            "joe%example.org@relay.org",
        ),
        ('login_spellings = ["user%domain", "extension"]', "joe+x%example.org", "joe@example.org"),
        ('login_spellings = ["user%domain"]', "joe%example.org.", "joe@example.org"),
        ('login_spellings = ["domain\\\\user"]', "EXAMPLE.ORG.\\Joe", "joe@example.org"),
        ('login_spellings = ["domain\\\\user"]', "example.org\\ joe", "joe@example.org"),
        ('login_spellings = ["extension"]', "joe +x", "joe"),
        ("", "joe@ .", "joe"),
    ],
)
def test_spellings_of_a_login_are_one_account(
    path: Path, text: str, login: str, account: str
) -> None:
    config = read(path, f"[policy]\n{text}")
    assert config.normalised_account(login) == account
    assert config.normalised_account(account) == account


def test_account_that_pcc_toml_names_may_be_spelt_like_a_login(path: Path) -> None:
    config = read(
        path,
        '[policy]\naccount = "sender"\nlogin_spellings = ["domain\\\\user"]\n'
        'exempt_accounts = ["Joe+news@example.org", "CORP\\\\ann", "@b.example"]\n'
        '[[override]]\naccounts = ["corp\\\\eve+1"]\n',
    )
    assert config.exempt_accounts == {"joe@example.org", "ann@corp", "@b.example"}
    assert config.overrides[0][0] == {"eve@corp"}


@pytest.mark.parametrize(
    ("options_text", "covered", "uncovered"),
    [
        ("", ["joe@example.org", "joe", "joe@"], []),
        (
            'domains = ["example.org"]',
            ["joe@example.org", "a@b@example.org"],
            ["joe@sub.example.org", "joe@example.com", "joe", "example.org", "joe@xexample.org"],
        ),
        ('exempt_accounts = ["joe"]', ["joe@example.org", "jo"], ["joe"]),
        ('exempt_accounts = ["joe@example.org"]', ["jo@example.org"], ["joe@example.org"]),
        ('exempt_accounts = ["@example.org"]', ["joe@sub.example.org"], ["joe@example.org"]),
        (
            'domains = ["example.org"]\nexempt_accounts = ["joe@example.org"]',
            ["jo@example.org"],
            ["joe@example.org", "joe@example.net"],
        ),
    ],
)
def test_domains_and_exempt_accounts_say_who_is_looked_at(
    path: Path, options_text: str, covered: list[str], uncovered: list[str]
) -> None:
    config = read(path, f"[policy]\n{options_text}")
    assert [account for account in covered if not config.covers(account)] == []
    assert [account for account in uncovered if config.covers(account)] == []


def test_exempt_clients_are_networks_and_names(path: Path) -> None:
    config = read(
        path,
        '[policy]\nexempt_clients = ["192.0.2.0/24", "192.0.2.7", "2001:DB8::/32", "::1", '
        '"::ffff:198.51.100.0/120", " .Google.COM ", "mail.example.org.", '
        '"AS64500", " as1 "]',
    )
    assert config.exempt_systems == {64500, 1}
    assert config.exempt_networks == (
        (4, 8, 0xC00002),
        (4, 0, 0xC0000207),
        (16, 96, 0x20010DB8),
        (16, 0, 1),
        (4, 8, 0xC63364),
    )
    assert config.exempt_names == (".google.com", "mail.example.org")
