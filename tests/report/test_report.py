"""`report`: its counts against another computation, its advice against real verdicts, its page."""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import html.parser
import json
import os
import pty
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, Site, address, is_pass, is_refusal
from mmdb import write_database
from simulator import DAY, SentMail, log, simulate, utc

from pcc.admin.report import beginning
from pcc.report.activity import Day, bucketed
from pcc.report.world import world

pytestmark = pytest.mark.subprocess

JOE = "joe@example.org"
PLAIN = "familiar_after = 0\nmax_countries = 2\n"
TODAY = int(time.time()) // DAY * DAY

HOSTILE = [
    "<script>alert(1)</script>@example.org",
    '"><img src=x onerror=alert(1)>@example.org',
    "</title></style><script src=//evil.example></script>@example.org",
    "\x1b[2J\x1b[31mred@example.org",
    "\u202egro.elpmaxe@eoj",
    "it's `id` $(id) &amp; --@example.org",
    "a" * 500,
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, PLAIN)
    yield made
    made.close()


def mails(site: Site, account: str, countries: str, **attributes: str) -> list[str | None]:
    """Send one mail from each country, through one policy process; return the answers."""
    process = site.policy()
    answers = [process.ask(account, address(code), **attributes) for code in countries.split()]
    process.end()
    return answers


def history(site: Site, sent: list[SentMail]) -> None:
    """Let pcc learn from a log of these mails."""
    path = site.folder / "past.log"
    path.write_text(log(sent), encoding="utf-8")
    done = site.admin("replay", "--import", str(path))
    assert done.returncode == 0, done.stderr


def sql(site: Site, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(site.database)) as connection, connection:
        connection.execute(statement, values)


def date(at: float) -> str:
    return f"{utc(at):%Y-%m-%d}"


# What is counted.


def test_nothing_to_show_is_a_sentence(site: Site) -> None:
    done = site.admin("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"From \S+ to \S+ nothing was seen and nothing happened\.\n", done.stdout)
    assert site.data("report")["incidents"] == []
    page = site.folder / "page.html"
    assert site.admin("report", "--html", str(page)).returncode == 0
    assert "Nothing was seen and nothing happened." in page.read_text(encoding="utf-8")


def test_days_and_countries_are_those_of_the_mails(site: Site) -> None:
    site.configure("max_countries = 0\n")
    kinds = ["stay_at_home", "commuter", "traveller", "shared", "cloud_sender"]
    now = time.time()
    sent = [m for m in simulate(7, TODAY - 25 * DAY, 26, kinds, each=4) if m.at < now - 60]
    history(site, sent)
    said = site.data("report")
    assert list(said) == [
        "since",
        "until",
        "blocked",
        "observed",
        "blocked_now",
        "observed_now",
        "accounts",
        "mails",
        "days",
        "countries",
        "incidents",
        "near",
        "near_count",
        "lifted_soon",
    ]
    for day in said["days"]:
        those = [mail for mail in sent if date(mail.at) == day["day"]]
        assert day["accounts"] == len({mail.account for mail in those}), day
        assert day["countries"] == len({mail.country for mail in those}), day
    assert [day["day"] for day in said["days"]] == [
        date(TODAY - number * DAY) for number in range(25, -1, -1)
    ]
    for country in said["countries"]:
        those = [mail for mail in sent if mail.country == country["country"]]
        assert country["mails"] == len(those)
        assert country["accounts"] == len({mail.account for mail in those})
        assert country["name"] == world().names[country["country"]]
    assert said["accounts"] == len({mail.account for mail in sent})
    assert said["mails"] == len(sent)


def test_incidents_are_counted_on_the_day_they_began_and_told_whole(site: Site) -> None:
    mails(site, JOE, "ES FR BR DE")
    mails(site, "ann@example.org", "ES FR BR")
    site.admin("block", "by-hand@example.org")
    site.admin("unblock", "ann@example.org", "--reason", "it was me")
    three_days = 3 * DAY
    sql(site, "UPDATE incident SET began = began - ? WHERE account = ?", three_days, JOE)
    said = site.data("report")
    by_day = {day["day"]: day["blocked"] for day in said["days"]}
    assert (by_day[date(TODAY - three_days)], by_day[date(TODAY)]) == (1, 2)
    assert (said["blocked"], said["observed"]) == (3, 0)
    assert said["blocked_now"] == [JOE, "by-hand@example.org"]
    joe, ann, by_hand = said["incidents"]
    assert (joe["account"], joe["countries"], joe["tries"]) == (JOE, ["ES", "FR", "BR"], 2)
    assert (joe["rule"], joe["ended"], joe["lifted_by"]) == ("max_countries 2 in 2d", None, None)
    assert (ann["reason"], bool(ann["ended"]), bool(ann["lifted_by"])) == ("it was me", True, True)
    assert (by_hand["rule"], by_hand["client_address"]) == ("by hand", None)


def test_since_is_a_time_or_a_date(site: Site) -> None:
    for account in ("old@example.org", "now@example.org"):
        mails(site, account, "ES FR BR")
    began = TODAY - 5 * DAY + 60
    sql(site, "UPDATE incident SET began = ? WHERE account = 'old@example.org'", began)
    for since, accounts in (
        ("1h", ["now@example.org"]),
        ("3d", ["now@example.org"]),
        (date(TODAY - 5 * DAY), ["old@example.org", "now@example.org"]),
        (date(TODAY - 4 * DAY), ["now@example.org"]),
        ("52w", ["old@example.org", "now@example.org"]),
    ):
        said = site.data("report", "--since", since)
        assert [row["account"] for row in said["incidents"]] == accounts, since
        assert said["since"].endswith("T00:00:00Z")


@pytest.mark.parametrize(
    "since", ["30", "d", "-1d", "2026-13-01", "2026-1-1-1", "yesterday", "", "0d", "2026-11-01T10"]
)
def test_a_wrong_since_is_refused(since: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"a time such as 30d, or a date such as"):
        beginning(since)


def test_since_in_the_future_is_usage(site: Site) -> None:
    done = site.admin("report", "--since", "2199-01-01")
    assert (done.returncode, done.stdout) == (2, "")
    assert site.admin("report", "--since", "soon").returncode == 2
    assert done.stderr == "pcc_admin.py: --since must not be in the future\n"


@pytest.mark.parametrize(
    ("count", "most", "lengths"),
    [
        (31, 31, [1] * 31),
        (32, 31, [4, 7, 7, 7, 7]),
        (35, 31, [7] * 5),
        (365, 31, [1] + [28] * 13),
        (3, 1, [3]),
    ],
)
def test_many_days_become_weeks_or_more(count: int, most: int, lengths: list[int]) -> None:
    days = [Day(n, n, 1, 2, n if n > 2 else None, 5) for n in range(count)]
    found = bucketed(days, most)
    assert [day.last - day.day + 1 for day in found] == lengths
    assert sum(day.blocked for day in found) == count
    assert sum(day.observed for day in found) == 2 * count
    assert found[-1].accounts in (count - 1, None)


# Observe mode, from the mail to the report.


def test_observed_incidents_are_noticed_listed_and_reported(tmp_path: Path) -> None:
    notices = tmp_path / "notices"
    observing = (
        f'{PLAIN}mode = "observe"\n[notify]\nto = []\n'
        f'command = ["/bin/sh", "-c", "cat >> {notices}"]\n'
    )
    site = Site(tmp_path, observing)
    assert mails(site, JOE, "ES FR BR DE VN") == ["DUNNO"] * 5
    site.admin("notify")
    deadline = time.monotonic() + 20
    while not (notices.exists() and notices.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    notice = json.loads(notices.read_text())  # one, though three mails were over the limit
    assert (notice["what"], notice["account"]) == ("observed", JOE)
    assert site.data("list") == []
    (row,) = site.data("list", "--observed")
    assert (row["account"], row["countries"], row["tries"]) == (JOE, ["ES", "FR", "BR"], 0)
    said = site.data("report")
    assert (said["blocked"], said["observed"]) == (0, 1)
    assert (said["blocked_now"], said["observed_now"]) == ([], [JOE])
    assert said["days"][-1]["observed"] == 1
    (incident,) = said["incidents"]
    assert (incident["mode"], incident["rule"]) == ("observe", "max_countries 2 in 2d")
    text = site.admin("report").stdout
    assert "0 blocks, 1 observed incident; now 0 blocked and 1 observed." in text
    assert re.search(rf"^OBSERVED +{JOE} ", text, flags=re.MULTILINE)
    # Cleared soon: the limit was too tight for joe, and that would have helped.
    assert site.admin("unblock", JOE, "--reason", "travels").returncode == 0
    (alarm,) = site.data("report")["lifted_soon"]
    assert (alarm["mode"], alarm["reason"]) == ("observe", "travels")
    assert (
        "[[override]]" in {cure["kind"]: cure["text"] for cure in alarm["prevented_by"]}["override"]
    )
    assert site.data("report")["observed_now"] == []
    site.close()


# Near a limit.

LIMITS = """
familiar_after = 1
max_countries = 3
[[limit]]
max_addresses = 4
window = "1h"
[[override]]
accounts = ["ceo@example.org"]
max_countries = 4
"""


def test_near_is_who_the_next_new_country_would_block(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    history(site, [SentMail(TODAY - 3 * DAY, "known@example.org", c, 1) for c in ("ES", "PT")])
    for account, countries in [
        ("home@example.org", "ES"),
        ("two@example.org", "ES FR"),
        ("three@example.org", "ES FR BR"),
        ("known@example.org", "ES PT FR BR"),
        ("ceo@example.org", "ES FR BR"),
        ("exempt@example.org", "ES FR BR"),
        ("over@example.org", "ES FR BR VN"),
    ]:
        mails(site, account, countries)
    process = site.policy()
    for host in range(4):
        process.ask("hosts@example.org", address("ES", host))
    process.end()
    site.admin("exempt", "add", "account", "exempt@example.org")
    said = site.data("report")
    near = {
        row["account"]: (f"{row['counted']} of {row['allowed']}", row["rule"])
        for row in said["near"]
    }
    assert near == {
        "hosts@example.org": ("4 of 4", "max_addresses 4 in 1h"),
        "known@example.org": ("3 of 3", "max_countries 3 in 2d"),
        "three@example.org": ("3 of 3", "max_countries 3 in 2d"),
        "ceo@example.org": ("3 of 4", "max_countries 4 in 2d"),
        "two@example.org": ("2 of 3", "max_countries 3 in 2d"),
    }
    assert said["near_count"] == 5
    assert said["near"][1]["countries"] == ["ES", "PT", "FR", "BR"]
    for account, (count, _) in near.items():
        is_full = count[0] == count[-1]
        assert is_refusal(mails(site, account, "DE")[0]) == is_full, account
    site.close()


# Likely false alarms.


def lifted(site: Site, account: str = JOE, *options: str) -> None:
    assert site.admin("unblock", account, *options).returncode == 0


def cures(site: Site, account: str = JOE) -> dict[str, str]:
    """Return what would have prevented the one block of an account, by kind."""
    (alarm,) = [row for row in site.data("report")["lifted_soon"] if row["account"] == account]
    return {cure["kind"]: cure["text"] for cure in alarm["prevented_by"]}


EARLIER = [(TODAY - days * DAY, code) for days in (5, 4) for code in ("ES", "FR")]

CURES = [
    ("client", PLAIN, [], "ES FR BR", "mail-1.google.com"),
    ("familiar_after", PLAIN, EARLIER, "ES FR BR", "unknown"),
    ("familiar_after", PLAIN.replace("= 0", "= 3"), EARLIER, "ES FR BR", "unknown"),
    ("country_groups", PLAIN, [], "ES PT BR", "unknown"),
    ("country_groups", PLAIN + 'country_groups = [["FR", "DE"]]\n', [], "ES BR PT", "unknown"),
    ("override", PLAIN, [], "ES FR BR", "unknown"),
    (
        "override",
        'familiar_after = 0\n[[limit]]\nmax_addresses = 9\nwindow = "2h"\n'
        '[[limit]]\nmax_countries = 2\nwindow = "1h"\n',
        [],
        "ES FR BR",
        "unknown",
    ),
    ("override", "max_countries = 0\nmax_addresses = 2\n", [], "ES FR BR", "unknown"),
    (
        "override",
        f'{PLAIN}[[override]]\naccounts = ["@example.org"]\nmax_countries = 2\n',
        [],
        "ES FR BR",
        "unknown",
    ),
    ("account", PLAIN, [], "ES FR BR", "unknown"),
]


@pytest.mark.parametrize(
    ("kind", "toml", "past", "countries", "client_name"),
    CURES,
    ids=[f"{n}-{case[0]}" for n, case in enumerate(CURES)],
)
def test_what_is_said_to_prevent_a_block_would_have_prevented_it(
    shared_site: Site,
    request: pytest.FixtureRequest,
    kind: str,
    toml: str,
    past: list[tuple[int, str]],
    countries: str,
    client_name: str,
) -> None:
    site, name = shared_site, request.node.callspec.id
    blocked, same = f"{name}@example.org", f"{name}-again@example.org"
    site.configure(toml)
    if past:
        history(site, [SentMail(at, who, code, 1) for who in (blocked, same) for at, code in past])
    answers = mails(site, blocked, countries, client_name=client_name)
    assert [is_pass(answer) for answer in answers] == [True, True, False]
    lifted(site, blocked)
    mails(site, blocked, " ".join(countries.split()[:2]))
    if kind == "country_groups":
        mails(site, blocked, countries.split()[2])
    cure = cures(site, blocked)[kind].replace(blocked, same)
    site.configure(with_setting(toml, kind, cure))
    if kind in ("client", "account"):
        run_commands(cure)
    assert mails(site, same, countries, client_name=client_name) == ["DUNNO"] * 3


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that is configured anew for each case."""
    site = Site(tmp_path_factory.mktemp("shared"), PLAIN)
    yield site
    site.close()


def with_setting(toml: str, kind: str, cure: str) -> str:
    """Return the configuration with what an alarm says about it."""
    if kind in ("familiar_after", "country_groups"):
        kept = [line for line in toml.splitlines() if not line.startswith(kind)]
        return f"{cure}\n" + "\n".join(kept) + "\n"
    if kind != "override":
        return toml
    return f"{toml}\n{cure}\n" if "[[override]]" in cure else f"{toml.rsplit('max_', 1)[0]}{cure}\n"


def run_commands(*commands: str) -> None:
    """Type commands as they were printed."""
    script = "\n".join(["set -e", *commands])
    subprocess.run(["bash", "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_a_group_is_suggested_for_neighbours_alone(site: Site) -> None:
    mails(site, JOE, "ES FR BR")
    lifted(site)
    mails(site, JOE, "ES BR")
    assert "country_groups" not in cures(site)
    mails(site, JOE, "FR")
    assert cures(site)["country_groups"] == 'country_groups = [["ES", "FR"]]'


def test_what_is_no_false_alarm(site: Site) -> None:
    site.configure(PLAIN + 'block_for = "1s"\n')
    mails(site, "expired@example.org", "ES FR BR")
    site.configure(PLAIN + 'mode = "observe"\n')
    mails(site, "by-itself@example.org", "ES FR BR")
    site.configure(PLAIN)
    later = "UPDATE presence SET last_seen = last_seen - 300000 WHERE account = ?"
    sql(site, later, "by-itself@example.org")
    time.sleep(1.1)
    site.admin("cleanup")
    for account in ("deleted@example.org", "late@example.org", "blocked@example.org"):
        mails(site, account, "ES FR BR")
    site.admin("block", "by-hand@example.org")
    lifted(site, "deleted@example.org", "late@example.org", "by-hand@example.org")
    earlier = "UPDATE incident SET began = began - 172800 WHERE account = ?"
    sql(site, earlier, "late@example.org")
    sql(
        site,
        "INSERT INTO event (at, account, what, who, detail) SELECT ended, account, 'deleted',"
        " 'root', '2 held mails' FROM incident WHERE account = 'deleted@example.org'",
    )
    said = site.data("report")
    assert len(said["incidents"]) == 6
    assert [row["account"] for row in said["incidents"] if not row["ended"]] == [
        "blocked@example.org"
    ]
    assert said["lifted_soon"] == []


def test_commands_name_even_odd_logins_exactly(hostile: Site) -> None:
    alarms = hostile.data("report")["lifted_soon"]
    assert len(alarms) == len(HOSTILE)
    commands = [
        cure["text"]
        for alarm in alarms
        for cure in alarm["prevented_by"]
        if cure["kind"] == "account"
    ]
    run_commands(*commands)
    rows = hostile.data("exempt", "list")
    assert {row["value"] for row in rows} == {alarm["account"] for alarm in alarms}
    for alarm in alarms:
        hostile.admin("exempt", "remove", "account", "--", alarm["account"])
    text = hostile.admin("report").stdout
    assert text.replace("\n", "").isprintable()


# For people.


def test_in_a_pipe_it_is_plain(site: Site) -> None:
    mails(site, JOE, "ES FR BR DE")
    mails(site, "ann@example.org", "ES FR")
    done = site.admin("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii() and "\t" not in done.stdout and "\x1b" not in done.stdout
    for line in (
        "2 accounts in 3 countries.",
        "1 block, 0 observed incidents; now 1 blocked and 0 observed.",
        "Nearest to their limit, at this moment",
        "ann@example.org  2 of 2  max_countries 2 in 2d  ES,FR",
    ):
        assert line in done.stdout
    assert re.search(r"^BR +Brazil +1 +1 +#+$", done.stdout, flags=re.MULTILINE)


def test_on_a_terminal_of_80_columns_no_line_is_wrapped(site: Site) -> None:
    mails(site, JOE, "ES FR BR DE")
    lifted(site)
    mails(site, "ann@example.org", "ES FR")
    text = on_terminal(site, "report")
    assert "█" in text and "\x1b[1mBy day" in text
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        assert len(line) <= 80 or "pcc_admin.py -c" in line, line


def on_terminal(site: Site, *arguments: str) -> str:
    """Return what a command writes to a terminal of 80 columns."""
    leader, follower = pty.openpty()
    command = [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(site.config), *arguments]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm", "LANG": "C.UTF-8"}
    process = subprocess.Popen(command, stdout=follower, stdin=follower, env=environment)
    os.close(follower)
    written = b""
    with contextlib.suppress(OSError):  # EIO: it has ended
        while more := os.read(leader, 65536):
            written += more
    os.close(leader)
    assert process.wait(30) == 0
    return written.decode().replace("\r\n", "\n")


# The page.

ELEMENTS = frozenset(
    "html head meta title style body header section article footer h1 h2 h3 p a span b abbr time dl"
    " dt dd div figure figcaption svg g rect path ul ol li pre details summary table caption thead"
    " tbody tr th td".split()
)
VOID = {"meta"}


class Page(html.parser.HTMLParser):
    """What is in a page: elements, attributes and texts; it must be well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))


def write_page(site: Site, *options: str) -> str:
    path = site.folder / "page.html"
    done = site.admin("report", "--html", str(path), *options)
    assert (done.returncode, done.stderr) == (0, "")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose every account, client name and reason is meant ill."""
    site = Site(tmp_path_factory.mktemp("hostile"), PLAIN)
    for login in HOSTILE:
        mails(site, login, "ES FR BR", client_name="<img src=x>.example\x1b[1m")
    for account in site.blocked():
        lifted(site, "--reason", "<b onclick=x>\x1b[2J", "--", account)
        mails(site, account, "ES FR")
    for login in HOSTILE[:3]:
        mails(site, login, "DE")
    yield site
    site.close()


def test_the_page_has_nothing_in_it_that_came_from_outside_as_markup(hostile: Site) -> None:
    text = write_page(hostile)
    page = Page(text)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    for tag, attributes in page.elements:
        for name in attributes:
            assert not (name.startswith("on") or name in ("style", "src")), tag
        link = attributes.get("href") or "#"
        assert link.startswith("#") or link == "https://db-ip.com"
    assert all(text.replace("\n", "").isprintable() for tag, text in page.texts if tag != "style")
    assert "url(" not in text and "@import" not in text and "<script" not in text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = [str(a["href"])[1:] for tag, a in page.elements if tag == "a" and "rel" not in a]
    assert len(set(ids)) == len(ids) == len(HOSTILE)
    assert set(links) == set(ids)


def test_the_page_allows_nothing_but_its_own_style(hostile: Site) -> None:
    text = write_page(hostile)
    policy = next(
        str(attributes["content"])
        for tag, attributes in Page(text).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_every_table_has_a_caption_and_headings_and_every_picture_a_name(hostile: Site) -> None:
    page = Page(write_page(hostile))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("table") == tags.count("caption") > 3
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    assert tags.count("h1") == 1
    assert tags.count("path") == len(world().shapes)


def test_the_page_is_for_its_owner_and_group_and_appears_whole(site: Site) -> None:
    folder = site.folder / "web"
    folder.mkdir()
    path = folder / "page.html"
    os.umask(0o022)
    assert site.admin("report", "--html", str(path)).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    before = path.stat().st_ino
    path.chmod(0o604)  # the operator wants it so
    assert site.admin("report", "--html", str(path)).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert path.stat().st_ino != before
    assert os.listdir(folder) == ["page.html"]


def test_a_page_that_can_not_be_written_says_so_and_leaves_nothing(site: Site) -> None:
    folder = site.folder / "web"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    for path, cause in (
        (folder / "none" / "page.html", "No such file or directory"),
        (folder, "is not a plain file"),
        (folder / "link", "is not a plain file"),
    ):
        done = site.admin("report", "--html", str(path))
        assert (done.returncode, done.stdout) == (4, "")
        assert cause in done.stderr
    assert os.listdir(folder) == ["link"]


def test_with_json_the_page_is_written_too_and_stdout_is_data(site: Site) -> None:
    path = site.folder / "page.html"
    assert site.data("report", "--html", str(path))["accounts"] == 0
    assert path.exists()


def test_very_many_incidents_make_no_very_large_page(site: Site) -> None:
    mails(site, JOE, "ES FR BR")
    for table, names in (
        ("sighting", "address, country, looked_up, client_name, first_seen, last_seen, mails,"
         " generation, days, runs, instance, hour"),
        ("presence", "country, first_seen, last_seen, mails, generation, days, runs"),
        ("incident", "mode, rule, window_seconds, countries, country, client_address, client_name,"
         " queue_id, action, began, expires, ended, held, tries, last_try, instance"),
    ):  # fmt: skip
        sql(
            site,
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)"
            f" INSERT INTO {table} (account, {names})"
            f" SELECT 'user-' || n || '@example.org', {names} FROM n, {table}",
        )
    text = write_page(site)
    assert len(text) < 1_000_000
    assert "Only those with incidents or near a limit: 200 of 5,001" in text
    assert "These are the latest 300 of 5,001." in text
    assert site.data("report")["blocked"] == 5_001


def test_the_makers_of_the_country_database_are_named_where_they_ask_for_it(site: Site) -> None:
    assert "db-ip.com" not in write_page(site)  # a test database, of another type
    site.countries.unlink()
    assert '<a href="https://db-ip.com" rel="noreferrer">IP Geolocation by DB-IP</a>' in (
        write_page(site)
    )


def city(code: str, name: str, latitude: float, longitude: float) -> dict[str, Any]:
    return {
        "country": {"iso_code": code},
        "city": {"names": {"en": name}},
        "location": {"latitude": latitude, "longitude": longitude},
    }


def test_where_addresses_are_and_whose_is_told_as_evidence(tmp_path: Path) -> None:
    databases = '[country]\ndatabase = "city.mmdb"\nasn = "asn.mmdb"\n'
    site = Site(tmp_path, f'[policy]\n{PLAIN}{databases}[store]\ndatabase = "pcc.db"\n')
    cities = {
        "11.1.0.0/16": city("ES", "Madrid", 40.4, -3.7),
        "11.2.0.0/16": city("FR", "Par\x1b[31mis <b>", 48.9, 2.3),
        "11.3.0.0/16": city("BR", "Sao Paulo", -23.5, -46.6),
    }
    write_database(tmp_path / "city.mmdb", cities, "GeoLite2-City")
    operator = {"autonomous_system_number": 3352, "autonomous_system_organization": "<Telefonica>"}
    write_database(tmp_path / "asn.mmdb", {"11.1.0.0/16": operator}, "GeoLite2-ASN")
    mails(site, JOE, "ES FR BR")
    lifted(site)
    (alarm,) = site.data("report")["lifted_soon"]
    legs = [(leg["from"]["country"], leg["to"]["country"]) for leg in alarm["travel"]]
    assert legs == [("ES", "FR"), ("FR", "BR")]
    assert "(FR) to Sao Paulo (BR), 9,400 km in" in site.admin("report").stdout
    page = Page(write_page(site))
    told = [text for _, text in page.texts]
    assert "Madrid" in told and "\\x3cTelefonica\\x3e (AS3352)" in told
    assert sum("to Sao Paulo (BR), 9,400 km in" in text for text in told) == 2
    assert all(text.replace("\n", "").isprintable() for text in told)
    site.close()


# A real browser.

BROWSER = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), ""
)

HARNESS = """
<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">
<iframe src="page.html" style="border: 0; width: WIDTHpx; height: 2000px"></iframe>
<script>
function color(text) { return text.match(/[\\d.]+/g).map(Number); }
function luminance(rgb) {
    const linear = c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map(c => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function background(element) {
    for (let e = element; e; e = e.parentElement) {
        const found = color(getComputedStyle(e).backgroundColor);
        if (found.length == 3 || found[3] > 0) return found.slice(0, 3);
    }
    return [255, 255, 255];
}
function contrast(element) {
    const text = luminance(color(getComputedStyle(element).color).slice(0, 3));
    const behind = luminance(background(element));
    return (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
}
const frame = document.querySelector("iframe");
frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement;
    const texts = [...page.body.querySelectorAll("*:not(svg, svg *)")].filter(
        e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()));
    texts.sort((a, b) => contrast(a) - contrast(b));
    const anchor = page.querySelector("details div[id]");
    frame.contentWindow.location.hash = anchor.id;
    setTimeout(() => {
        const result = {
            overflow: root.scrollWidth - root.clientWidth,
            width: getComputedStyle(page.body).maxWidth,
            page: getComputedStyle(page.body).backgroundColor,
            contrast: contrast(texts[0]),
            least: texts[0].outerHTML,
            small: Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),
            shapes: page.querySelectorAll("path").length,
            map: page.querySelector(".map").getBoundingClientRect().width,
            scripts: page.scripts.length + page.images.length,
            opened: anchor.parentElement.open,
        };
        document.title = JSON.stringify(result);
    }, 100);
};
</script>
"""


@pytest.mark.skipif(not BROWSER, reason="there is no chromium")
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_the_page_well(hostile: Site, width: int, is_dark: bool) -> None:
    write_page(hostile)
    harness = hostile.folder / "harness.html"
    harness.write_text(HARNESS.replace("WIDTH", str(width)), encoding="utf-8")
    seen = browse(hostile.folder, harness, is_dark=is_dark)
    assert seen["overflow"] == 0
    assert seen["width"] == "1152px"  # so the policy has let the style sheet in
    assert seen["page"] == ("rgb(18, 22, 27)" if is_dark else "rgb(255, 255, 255)")
    assert seen["contrast"] >= 4.5, seen["least"]
    assert seen["small"] >= 12
    assert seen["shapes"] == len(world().shapes)
    assert width * 0.8 < seen["map"] <= width
    assert seen["scripts"] == 0
    assert seen["opened"]


def browse(folder: Path, page: Path, *, is_dark: bool) -> Any:
    """Return what the harness found in a real browser."""
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",  # it does not start as root otherwise
            "--disable-gpu",
            "--allow-file-access-from-files",
            f"--user-data-dir={folder}/browser",
            f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
            "--window-size=1400,2000",
            "--virtual-time-budget=5000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    return json.loads(html.unescape(title[1]))
