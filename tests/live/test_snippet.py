"""master.cf.snippet, its lines taken to the letter, in a real Postfix."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest
from checkout import ROOT, address
from deployment import Deployment, installation
from postfix import PrivatePostfix
from smtp import send

pytestmark = pytest.mark.postfix

SNIPPET = (ROOT / "master.cf.snippet").read_text(encoding="utf-8")
AT_RCPT = "instead of (3) to (5)"


def section(title: str) -> str:
    """Return what a section of the snippet has, ready to be used: without the # of settings."""
    _, head, rest = SNIPPET.partition(f"# ==== {title}")
    assert head, title
    text = rest.partition("\n")[2].partition("# ====")[0]
    return re.sub(r"^#(?=\w+ =|    |  -o)", "", text, flags=re.MULTILINE)


def numbered(number: int, text: str) -> str:
    """Return the lines of a number in a section, its comment included."""
    found = re.search(rf"^# \({number}\).*?(?=^# \(\d|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, number
    return found[0]


class Site:
    """A Postfix whose configuration is that of tests/tools/postfix.py without pcc's lines."""

    def __init__(self) -> None:
        self.pcc: Deployment = installation("max_countries = 1")
        self.mta = PrivatePostfix()
        self._accounts = 0
        services = re.sub(r"  -o smtpd_(data|end_of_data)_.*\n", "", self.mta.master)
        self._master = services.replace(  # as in Postfix's sample
            "$mua_recipient_restrictions", "permit_sasl_authenticated,reject"
        )
        self._main = {
            name: value for name, value in self.mta.main.items() if not name.startswith("mua_")
        }

    def use(self, main: str, options: str, without: str = "") -> None:
        """Let Postfix run with these lines added; `without` lines of that beginning."""
        entry = section("to the end of /etc/postfix/master.cf")
        argv = self.pcc.policy_argv()
        entry = entry.replace("/usr/local/lib/pcc/.venv/bin/python", argv[0])
        entry = entry.replace("/usr/local/lib/pcc", str(self.pcc.folder))
        entry = entry.replace("user=pcc", f"user={self.pcc.user}")
        services = re.sub(r"(?m)^(?=  -o milter_macro)", options, self._master)
        if without:
            services = re.sub(rf"(?m)^{without}.*\n", "", services)
        self.mta.master = services + entry.replace("/etc/pcc/pcc.toml", argv[-1])
        given = re.findall(r"^(\w+) =", main, re.MULTILINE)
        self.mta.main = {name: self._main[name] for name in self._main if name not in given}
        self.mta.stop()  # a server that started between two of these changes would not work
        self.mta.write_config()
        file = self.mta.config / "main.cf"
        with file.open("a") as end:
            end.write(main)
        os.utime(file, (time.time() - 60,) * 2)
        self.mta.start()

    def stages(self) -> set[str]:
        """At which stage the second country of a new account is stopped, on both ports."""
        found = set()
        for port in (self.mta.submission, self.mta.submissions):
            self._accounts += 1
            account = f"user{self._accounts}@example.org"
            sent = [send(port, account, address(country)) for country in ("ES", "FR")]
            assert sent[0].accepted
            found.add("" if sent[1].accepted else sent[1].stage)
        return found

    def warnings(self) -> str:
        """The faults that Postfix finds in its configuration."""
        done = self.mta.run(["postconf", "-n"])
        return done.stderr + self.mta.run(["postconf", "-M"]).stderr


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    with made.mta:
        yield made


OPTION = "  -o smtpd_data_restrictions=$mua_data_restrictions\n"


def test_option_is_the_same_for_both_services() -> None:
    services = section("in /etc/postfix/master.cf")
    assert services.count(f"# (3)\n{OPTION}") == 2


def test_lines_work_as_they_are(site: Site) -> None:
    site.use(section("to /etc/postfix/main.cf"), OPTION)
    assert site.warnings() == ""
    assert site.stages() == {"DATA"}
    assert site.mta.postconf("pcc_time_limit") == "3600"


def test_service_without_the_option_does_not_ask(site: Site) -> None:
    site.use(section("to /etc/postfix/main.cf"), "")
    assert site.stages() == {""}


def test_list_that_the_service_has_of_its_own_is_used_instead(site: Site) -> None:
    site.use(section("to /etc/postfix/main.cf"), OPTION + "  -o smtpd_data_restrictions=\n")
    assert site.stages() == {""}
    at_rcpt = numbered(7, section(AT_RCPT))
    site.use(at_rcpt, "")
    assert site.stages() == {""}


@pytest.mark.parametrize("number", [7, 8])
def test_check_at_rcpt_works_where_the_service_has_no_list_of_its_own(
    site: Site, number: int
) -> None:
    name = "relay" if number == 7 else "recipient"
    site.use(numbered(number, section(AT_RCPT)), "", f"  -o smtpd_{name}_restrictions=")
    assert site.warnings() == ""
    assert site.stages() == {"RCPT"}


def test_form_without_braces_works_in_place_of_the_other(site: Site) -> None:
    plain = numbered(9, section(AT_RCPT))
    main = section("to /etc/postfix/main.cf")
    check = re.search(r"^ +check_policy_service.*\n", main, re.MULTILINE)
    assert check
    site.use(main.replace(check[0], plain), OPTION)
    assert site.warnings() == ""
    assert site.stages() == {"DATA"}
    assert site.mta.postconf("smtpd_policy_service_timeout") == "10s"


def test_default_action_that_the_note_names_is_taken(site: Site) -> None:
    main = section("to /etc/postfix/main.cf")
    notes = SNIPPET.partition("# ==== notes")[2]
    other = re.search(r"write `(\{[^`]+\})` in its place", re.sub(r"\n# +", " ", notes))
    assert other
    site.use(main.replace("default_action=DUNNO", other[1]), OPTION)
    config = site.pcc.config.read_text()
    site.pcc.config.write_text("broken")
    try:
        reply = send(site.mta.submission, "late@example.org", address("ES"))
    finally:
        site.pcc.config.write_text(config)
    assert not reply.accepted
    assert reply.text.startswith("4.3.0 ") and "Try again later" in reply.text
