"""pcc.toml: its defaults, what each option takes, and the message for each fault.

A faulty file of each kind is in bad_configs/, with the message it must get in its first line.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest
from configs import counted, limits_of, read, values
from deployment import CHECKOUT, Deployment, run_as

from pcc.config import Config, options
from pcc.config.iso3166 import CODES, MISTAKEN
from pcc.config.prepared import load
from pcc.errors import ConfigError

BAD_CONFIGS = sorted((Path(__file__).parent / "bad_configs").glob("*.toml"))
SHIPPED = CHECKOUT / "pcc.toml"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pcc.toml"


def message(path: Path) -> str:
    """Return the error that a file gets, without its name."""
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


# Faults.


@pytest.mark.parametrize("bad", BAD_CONFIGS, ids=lambda bad: bad.stem)
def test_fault_gets_one_sentence(bad: Path) -> None:
    expected = bad.read_bytes().split(b"\n")[0].decode()
    assert f"# expected: {message(bad)}" == expected
    assert expected.isprintable()


def test_key_has_a_bad_configuration() -> None:
    told = "\n".join(bad.read_bytes().split(b"\n")[0].decode() for bad in BAD_CONFIGS)
    for section, known in {"policy": options.POLICY, **options.SECTIONS}.items():
        for key in known:
            assert f" {section}.{key}" in told or f" {section}.{key}[" in told


@pytest.mark.parametrize("key", ["account", "domains", "exempt_accounts", "exempt_clients"])
def test_key_for_all_accounts_is_refused_in_an_override(path: Path, key: str) -> None:
    path.write_text(f'[[override]]\naccounts = ["ceo@example.org"]\n{key} = []\n')
    rule = "is for all accounts: it belongs in [policy]"
    assert message(path) == f"override[1].{key} {rule}, got []"


@pytest.mark.parametrize(("code", "right"), sorted(MISTAKEN.items()))
def test_country_code_that_is_often_mistaken_is_refused_with_the_right_one(
    path: Path, code: str, right: str
) -> None:
    assert code not in CODES
    assert right in CODES
    path.write_text(f'[policy]\nignore_countries = ["{code.lower()}"]\n')
    assert (
        message(path) == f"policy.ignore_countries[1] must be an ISO 3166 code, here {right}, "
        f'got "{code.lower()}"'
    )


def test_country_codes_are_those_of_iso_3166_and_kosovo() -> None:
    assert len(CODES) == 249 + 1
    assert all(len(code) == 2 and code.isalpha() and code.isupper() for code in CODES)


def test_missing_file_is_an_error_with_the_cure(path: Path) -> None:
    assert message(path) == (
        "can't be read: No such file or directory: "
        "copy the pcc.toml that comes with pcc there, or name yours with --config"
    )


def test_folder_is_no_configuration(path: Path) -> None:
    path.mkdir()
    assert message(path) == "can't be read: Is a directory"


@pytest.mark.subprocess
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_file_that_the_service_user_may_not_read_is_an_error_with_the_user(
    deployment: Deployment,
) -> None:
    deployment.write_config("").chmod(0o600)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pcc import errors; from pcc.config import prepared\n"
        "try: prepared.load(sys.argv[2])\n"
        "except errors.ConfigError as error: print(error)\n"
    )
    command: list[str | Path] = [deployment.python, "-I", "-c", program]
    done = run_as([*command, deployment.folder, deployment.config], deployment.user)
    user = pwd.getpwnam(deployment.user).pw_uid
    assert done.stdout == (
        f"{deployment.config}: can't be read: Permission denied: "
        f"user id {user} must be able to read it, and to enter the folders above\n"
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"\xff", 1), (b"[policy]\n# \xe9\n", 2), (b"a\r\nb\r\n\xed\xa0\x80", 3), (b"\n\n\n\xc3", 4)],
)
def test_file_that_is_not_utf_8_is_an_error_with_the_line(
    path: Path, content: bytes, line: int
) -> None:
    path.write_bytes(content)
    assert message(path) == f"is not UTF-8 (at line {line})"


def test_number_of_thousands_of_digits_is_an_error_and_no_crash(path: Path) -> None:
    path.write_text(f"[policy]\nmax_countries = {'9' * 5000}\n")
    told = message(path)
    too_long = "is not valid TOML: Exceeds the limit"
    too_much = "policy.max_countries must be 1000000000 or less, got 999"  # before Python 3.10.7
    assert told.startswith((too_long, too_much))
    assert len(told) < 200


def test_file_with_a_byte_order_mark_and_crlf_is_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf[policy]\r\nmax_countries = 4\r\n")
    assert load(str(path)).policy.limits[0].max_countries == 4


@pytest.mark.subprocess
def test_toml_is_read_in_an_interpreter_without_site_packages(path: Path) -> None:
    path.write_text("[policy]\nmax_countries = 4\n")
    program = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})\n"
        "from pcc.config import prepared\n"
        f"print(prepared.load({str(path)!r}).policy.limits[0].max_countries)"
    )
    argv = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert (done.stdout, done.stderr) == ("4\n", "")


# Defaults, and the file we ship.


DEFAULTS = {
    "account": "sasl_username",
    "country_database": "/var/lib/pcc/country.mmdb",
    "default_domain": "",
    "domains": frozenset(),
    "exempt_accounts": frozenset(),
    "exempt_names": (),
    "exempt_networks": (),
    "exempt_systems": frozenset(),
    "hosting_list": "/var/lib/pcc/hosting.txt",
    "keep_incidents": 180 * 86400,
    "keep_sightings": 30 * 86400,
    "log_name": "pcc",
    "login_spellings": (),
    "networks_database": "/var/lib/pcc/networks.mmdb",
    "overrides": (),
    "recipient_delimiter": "",
    "shown_database": "/var/lib/pcc/pcc.db",
    "store_database": "/var/lib/pcc/pcc.db",
    "store_host": "",
    "trust_for": 900,
    "verbose": False,
}
POLICY_DEFAULTS = {
    "action": "REJECT",
    "block_for": 0,
    "familiar_after": 3,
    "group_of": {},
    "hold_limit": 50,
    "ignore_countries": frozenset(),
    "min_mails": 1,
    "mode": "enforce",
    "reason": "5.7.1 Sending is blocked: this account was used from too many places. "
    "Contact your administrator.",
}
NOTIFY_DEFAULTS = {
    "command": (),
    "digest": 300,
    "sender": "",
    "sendmail": "/usr/sbin/sendmail",
    "smtp": ("localhost", 25),
    "to": ("postmaster",),
    "transport": "sendmail",
}


def test_empty_file_has_the_documented_defaults(path: Path) -> None:
    config = read(path, "")
    assert values(config, DEFAULTS) == DEFAULTS
    assert values(config.policy, POLICY_DEFAULTS) == POLICY_DEFAULTS
    assert values(config.notify, NOTIFY_DEFAULTS) == NOTIFY_DEFAULTS
    assert limits_of(config.policy) == [(5, 0, 172800, "2d")]
    assert counted(config.policy) == [{"max_countries": 5}]
    assert config.policy.windows == (172800,)


def test_values_of_records_are_all_tested() -> None:
    assert {*DEFAULTS, "identity", "path", "policy", "notify"} == set(Config.__slots__)
    derived = {"limits", "mail_limits", "windows", "narrowest_window"}
    assert {*POLICY_DEFAULTS, *derived} == set(type(load(str(SHIPPED)).policy).__slots__)
    assert set(NOTIFY_DEFAULTS) == set(type(load(str(SHIPPED)).notify).__slots__)


SHIPPED_LIMITS = [
    {"max_networks": 3, "window": "10m"},
    {"max_networks": 16, "window": "7d"},
    {"max_countries": 15, "window": "14d"},
    {"max_hosting_mails": 25, "familiar_after": 2, "window": "1h"},
    {"max_foreign_mails": 50, "familiar_after": 2, "window": "1h"},
]


def test_shipped_file_says_the_defaults_and_five_further_limits(path: Path) -> None:
    shipped = Config(options.read_values(str(SHIPPED)))
    default = read(path, "")
    names = set(Config.__slots__) - {"identity", "path", "policy", "notify"}
    assert values(shipped, names) == values(default, names)
    assert values(shipped.policy, POLICY_DEFAULTS) == POLICY_DEFAULTS
    assert values(shipped.notify, NOTIFY_DEFAULTS) == NOTIFY_DEFAULTS
    assert [
        {"familiar_after": limit.familiar_after, **most, "window": limit.window_text}
        for most, limit in zip(counted(shipped.policy), shipped.policy.limits, strict=True)
    ] == [
        {"familiar_after": 3, **limit}
        for limit in ({"max_countries": 5, "window": "2d"}, *SHIPPED_LIMITS)
    ]
    assert not any(limit.observes for limit in shipped.policy.limits)


def test_shipped_file_shows_every_key_once_with_its_default() -> None:
    import tomli

    document = tomli.loads(SHIPPED.read_text(encoding="utf-8"))
    assert document.pop("limit") == SHIPPED_LIMITS
    table = {"policy": options.POLICY, **options.SECTIONS}
    expected = {
        section: {key: default for key, (default, _) in known.items()}
        for section, known in table.items()
    }
    assert document == expected


def test_key_of_the_shipped_file_has_one_comment() -> None:
    head, *lines = SHIPPED.read_text(encoding="utf-8").split("\n[policy]\n")[1].splitlines()
    section = "policy"
    above = ""
    for line in [head, *lines]:
        if line.startswith("["):
            section = line.strip("[]")
        key, separator, rest = line.partition(" = ")
        if separator and section != "limit" and not line.startswith("#"):
            beside = (
                re.sub(r'"[^"]*"', "", rest.split(" # e.g.")[0]).count("#") or " # e.g." in rest
            )
            assert bool(beside) != above.startswith("# "), f"{section}.{key}"
        above = line


def test_commented_override_of_the_shipped_file_works(path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    text = re.sub(r"^#(\[\[override|accounts|max_countries)", r"\1", text, flags=re.MULTILINE)
    [(accounts, policy)] = read(path, text).overrides
    assert accounts == {"ceo@example.org", "@sales.example.org"}
    assert limits_of(policy)[0] == (8, 0, 172800, "2d")


# Values.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90m", 5400),
        ("12h", 43200),
        ("2d", 172800),
        ("2D", 172800),
        (" 2d ", 172800),
        ("007d", 604800),
        ("3w", 1814400),
        ("36500d", 3153600000),
    ],
)
def test_duration_is_a_postfix_time(path: Path, text: str, seconds: int) -> None:
    config = read(
        path, f'[policy]\nwindow = "{text}"\nblock_for = "{text}"\n[store]\nkeep_sightings="{text}"'
    )
    assert limits_of(config.policy) == [(5, 0, seconds, text.strip())]
    assert (config.policy.block_for, config.keep_sightings) == (seconds, seconds)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("REJECT", "REJECT"),
        ("reject", "REJECT"),
        ("Hold", "HOLD"),
        ("HOLD stolen?", "HOLD stolen?"),
        ("DEFER_IF_PERMIT", "DEFER_IF_PERMIT"),
        ("defer_if_permit 4.7.1  Later", "DEFER_IF_PERMIT 4.7.1  Later"),
        ("  REJECT   5.7.1 Call Bücher & Co.  ", "REJECT 5.7.1 Call Bücher & Co."),
        ("550", "550"),
        ("421 4.7.0 Away", "421 4.7.0 Away"),
        ("DISCARD", "DISCARD"),
        ("REDIRECT abuse@example.org", "REDIRECT abuse@example.org"),
        ("BCC abuse@example.org", "BCC abuse@example.org"),
        ("FILTER smtp:[192.0.2.1]:25", "FILTER smtp:[192.0.2.1]:25"),
        ("PREPEND X-Blocked: yes", "PREPEND X-Blocked: yes"),
        ("WARN stolen", "WARN stolen"),
        ("INFO", "INFO"),
        ("DUNNO", "DUNNO"),
        ("OK", "OK"),
    ],
)
def test_action_is_one_of_access_5(path: Path, text: str, action: str) -> None:
    assert read(path, f'[policy]\naction = "{text}"').policy.action == action


@pytest.mark.parametrize("text", ["350 no", "650", "55", "5500", "5\u0665\u0665", "permit", "OKAY"])
def test_action_is_nothing_else(path: Path, text: str) -> None:
    path.write_text(f'[policy]\naction = "{text}"')
    assert message(path) == (
        f'policy.action must be REJECT, HOLD or another action of access(5), got "{text}"'
    )


def test_relative_paths_count_from_the_folder_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        '[country]\ndatabase = "c.mmdb"\nasn = "asn.mmdb"\nhosting = "hosting.txt"\n'
        '[store]\ndatabase = "../pcc.db"\n'
        '[notify]\ncommand = ["bin/tell", "./x"]\n'
    )
    path.write_text(text)
    monkeypatch.chdir(path.parent)
    for name in (str(path), "pcc.toml", "./pcc.toml"):
        config = load(name)
        folder = os.path.dirname(os.path.abspath(name))
        assert config.path == os.path.abspath(name)
        assert config.country_database == f"{folder}/c.mmdb"
        assert config.networks_database == f"{folder}/asn.mmdb"
        assert config.hosting_list == f"{folder}/hosting.txt"
        assert config.store_database == f"{folder}/../pcc.db"
        assert config.notify.command == (f"{folder}/bin/tell", "./x")


def test_command_without_a_slash_is_looked_for_on_path(path: Path) -> None:
    assert read(path, '[notify]\ncommand = ["logger", "-t"]').notify.command == ("logger", "-t")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:25", "localhost", 25),
        ("[::1]:587", "::1", 587),
        ("192.0.2.1:65535", "192.0.2.1", 65535),
        ("mail.example.org:1", "mail.example.org", 1),
    ],
)
def test_smtp_is_a_host_and_a_port(path: Path, text: str, host: str, port: int) -> None:
    assert read(path, f'[notify]\nsmtp = "{text}"').notify.smtp == (host, port)


def test_configuration_can_not_be_changed(path: Path) -> None:
    config = read(path, "")
    with pytest.raises(AttributeError, match="Config can't be changed"):
        config.verbose = True
    with pytest.raises(AttributeError, match="Limit can't be changed"):
        config.policy.limits[0].window = 1


# Overrides and further limits.


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", "/var/lib/pcc/networks.mmdb"),
        ('asn = ""', "/var/lib/pcc/networks.mmdb"),  # as version 1.0.0 shipped it
        ('asn = "/asn.mmdb"', "/asn.mmdb"),
        ('networks = ""', ""),
        ('networks = ""\nasn = ""', ""),
        ('networks = "/n.mmdb"\nasn = ""', "/n.mmdb"),
        ('networks = "/n.mmdb"\nasn = "/n.mmdb"', "/n.mmdb"),
    ],
)
def test_asn_is_another_name_for_networks(path: Path, text: str, networks: str) -> None:
    assert read(path, f"[country]\n{text}\n").networks_database == networks


def test_override_takes_every_other_key_of_policy(path: Path) -> None:
    lines = [
        'mode = "observe"',
        "max_countries = 7",
        'window = "7h"',
        "familiar_after = 7",
        "min_mails = 7",
        "max_networks = 7",
        "max_hosting_mails = 7",
        "max_foreign_mails = 7",
        "max_addresses = 7",
        'action = "HOLD"',
        "hold_limit = 7",
        'reason = "seven"',
        'block_for = "7m"',
        'ignore_countries = ["SE"]',
        'country_groups = [["SE", "NO"]]',
        'default_domain = "example.com"',
    ]
    keys = {line.split()[0] for line in lines}
    for_all = {"account", "recipient_delimiter", "login_spellings", "domains"}
    for_all |= {"exempt_accounts", "exempt_clients"}
    assert keys == set(options.POLICY) - for_all
    config = read(path, '[[override]]\naccounts = ["joe"]\n' + "\n".join(lines))
    policy = config.policy_for("joe")
    assert values(policy, POLICY_DEFAULTS) == {
        "action": "HOLD",
        "block_for": 420,
        "familiar_after": 7,
        "group_of": {"SE": "SE+NO", "NO": "SE+NO"},
        "hold_limit": 7,
        "ignore_countries": {"SE"},
        "min_mails": 7,
        "mode": "observe",
        "reason": "seven",
    }
    assert policy.observes
    assert limits_of(policy) == [(7, 7, 25200, "7h")]
    assert set(counted(policy)[0].values()) == {7} and len(counted(policy)[0]) == 5
    assert values(config.policy, POLICY_DEFAULTS) == POLICY_DEFAULTS
