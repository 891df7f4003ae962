"""Notices: what they say, and that each is sent once, whatever fails, hangs or is killed.

Programs that stand for sendmail(1) and the operator's command are small shell scripts; the real
sendmail and a real SMTP server are those of a private Postfix.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import grp
import json
import os
import pwd
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import NO_NETWORKS, ROOT, PolicyProcess, Site, address, is_pass, is_refusal
from deployment import Deployment, deploy, public_folder, service_user
from hypothesis import given, settings
from hypothesis import strategies as st
from postfix import PrivatePostfix, wait_until
from systemlog import system_log

from pcc import maillog
from pcc.config import DEFAULT_PATH, Config
from pcc.config.options import read_values
from pcc.config.prepared import load
from pcc.invocation import program_by_path, shell_word
from pcc.notice import delivery
from pcc.notice.advice import command
from pcc.notice.data import as_data
from pcc.notice.mail import as_mail
from pcc.notice.notice import Notice
from pcc.notice.notifier import Turn
from pcc.notice.outbox import send_due, send_outbox
from pcc.notice.text import body, subject
from pcc.places.origins import LONGEST_NAME
from pcc.places.travel import Origin
from pcc.store import blocks, incidents, open_database, outbox, sightings, upkeep
from pcc.store.engine import creation
from pcc.store.engine.interface import Database
from pcc.store.incidents import IncidentRow, SightingRow
from pcc.store.sightings import Sighting

DAY = 86400
NOW = 1784682764.0  # 2026-07-22 01:12:44 UTC
USER = "user@example.org"
HOST = "mx.example.org"

NASTY = [
    "user@example.org\nBcc: thief@example.net",
    "user@example.org\r\n\r\nbody",
    "=?utf-8?q?a=0ABcc:_thief@example.net?=",
    "==??utf-8?b?CkJjYzogdGhpZWY=?=",
    "\x1b]0;title\x07\x1b[2J",
    "--config=/etc/passwd",
    "-h",
    "$(touch canary)",
    "`touch canary`",
    "'; touch canary; '",
    '"; touch canary; "',
    "\\'; touch canary #",
    "\n'; touch canary\n'\n",
    "!!",
    "two words@example.org",
    "jürgen@münchen.example",
    "кто@пример.рф",
    "\u202egro.elpmaxe@resu",
    "日本語" * 100,
    "x" * 500,
    "'" * 500,
    "~root",
    "a\tb\0c",
    ".",
    "From me",
]


@pytest.fixture(autouse=True)
def madrid(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Madrid")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def incident_row(**values: Any) -> IncidentRow:
    """The incident of a mail from VN that made one country too many."""
    columns: dict[str, Any] = {
        "id": 7,
        "account": USER,
        "mode": "enforce",
        "rule": "max_countries 3 in 2d",
        "window_seconds": 2 * DAY,
        "countries": "ES,FR,BR,VN",
        "country": "VN",
        "client_address": "203.0.113.9",
        "client_name": "mail.example.vn",
        "queue_id": "4F2ABC",
        "action": "REJECT",
        "began": NOW,
        "expires": 0,
        "ended": None,
        "held": 0,
        "tries": 1,
        "last_try": NOW,
    }
    return IncidentRow(**{**columns, **values})


BY_HAND: dict[str, Any] = {
    "rule": "by hand",
    "window_seconds": 0,
    "countries": "",
    "country": "",
    "client_address": "",
    "client_name": "",
    "queue_id": "",
}
SEEN = [
    SightingRow("VN", "203.0.113.9", "mail.example.vn", 1, NOW, NOW),
    SightingRow("ES", "2001:db8:1:2::/64", "unknown", 12, NOW - DAY, NOW - 3600),
]


def told(what: str = "blocked", **values: Any) -> Notice:
    """A notice; `values` are of the notice or of its incident."""
    own = {name: values.pop(name) for name in Notice._fields if name in values}
    return Notice(
        **{
            "what": what,
            "at": NOW,
            "incident": incident_row(**values),
            "sightings": SEEN,
            "sighting_count": len(SEEN),
            **own,
        }
    )


def config_of(folder: Path, toml: str = "") -> Config:
    path = folder / "pcc.toml"
    path.write_text(toml)
    return load(str(path))


# What a notice says.


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (told(), "[pcc] user@example.org blocked: mail from ES, FR, BR, VN within 2d"),
        (
            told("observed", mode="observe"),
            "[pcc] user@example.org observed: mail from ES, FR, BR, VN within 2d",
        ),
        (
            told(rule="max_addresses 5 in 1h", countries="ES"),
            "[pcc] user@example.org blocked: mail from 6 addresses within 1h",
        ),
        (
            told(rule="max_countries 13 in 7d", countries=",".join(["ES", "FR"] * 7)),
            "[pcc] user@example.org blocked: mail from "
            + ", ".join(["ES", "FR"] * 6)
            + " and 2 more within 7d",
        ),
        (told("unblocked", by="alice"), "[pcc] user@example.org unblocked by alice"),
        (
            told("unblocked", by="alice", released=3),
            "[pcc] user@example.org unblocked by alice: 3 held mails released",
        ),
        (
            told("unblocked", by="alice", released=1, deleted=2),
            "[pcc] user@example.org unblocked by alice: 1 held mail released"
            " and 2 held mails deleted",
        ),
        (told("unblocked", by="alice", **BY_HAND), "[pcc] user@example.org unblocked by alice"),
    ],
)
def test_the_subject_says_who_what_and_why(of: Notice, expected: str) -> None:
    assert subject(of) == expected


BLOCKED = (
    """\
user@example.org is blocked: mail came from ES, FR, BR, VN within 2d.

An account that sends from so many countries is often a stolen one.  But it
can be its owner, too: on a journey, behind a VPN, or with an app that sends
from its maker's machines.  Ask the owner, but not by mail: whoever stole the
account can read it.

When:       2026-07-22 03:12:44 CEST (01:12:44 UTC)
Limit:      max_countries 3 in 2d: at most 3 countries within 2 days; familiar
            ones together count as one
Crossed by: mail from 203.0.113.9 (mail.example.vn), VN, queue id 4F2ABC:
            refused
Now:        its mail is refused until you unblock it

What counted (times in CEST; * crossed the limit):

   COUNTRY  ADDRESS            FIRST        LAST         MAILS
*  VN       203.0.113.9        07-22 03:12  07-22 03:12  1
            mail.example.vn
   ES       2001:db8:1:2::/64  07-21 03:12  07-22 02:12  12

What you can do, as root on mx.example.org:

See all that is known of it:
  {admin} show user@example.org

It was the owner: unblock, release any held mail, and let it send from
anywhere for a week:
  {admin} unblock user@example.org --release --exempt-for 7d

It was stolen: change its password first, or the thief goes on.  Then unblock,
and delete any held mail:
  {admin} unblock user@example.org --delete

Only unblock:
  {admin} unblock user@example.org

"""
    "-- \npcc on mx.example.org, incident 7\n"
)


def test_a_mail_about_a_block_has_the_headers_of_a_program_s(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    message = as_mail(told(), config, HOST, ["postmaster", "alice@example.org"], NOW)
    assert dict(message.items()) == {
        "From": "pcc@mx.example.org",
        "To": "postmaster, alice@example.org",
        "Subject": "[pcc] user@example.org blocked: mail from ES, FR, BR, VN within 2d",
        "Date": "Wed, 22 Jul 2026 03:12:44 +0200",
        "Message-ID": "<pcc.7.blocked.1784682764000@mx.example.org>",
        "Auto-Submitted": "auto-generated",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "7bit",
        "MIME-Version": "1.0",
    }


def test_a_notice_of_a_block_has_the_facts_the_evidence_and_the_commands(tmp_path: Path) -> None:
    message = as_mail(told(), config_of(tmp_path), HOST, ["postmaster"], NOW)
    admin = f"{' '.join(program_by_path())} -c {tmp_path}/pcc.toml"
    assert message.get_content() == BLOCKED.format(admin=admin)


@pytest.mark.parametrize(
    ("of", "toml", "line"),
    [
        (told(), "", "Now:        its mail is refused until you unblock it"),
        (
            told(action="HOLD"),
            "",
            "Now:        up to 50 of its mails are put on hold, further ones refused,"
            " until you unblock it",
        ),
        (
            told(action="HOLD"),
            "hold_limit = 0",
            "Now:        its mail is put on hold until you unblock it",
        ),
        (
            told(action="HOLD"),
            "",
            "Crossed by: mail from 203.0.113.9 (mail.example.vn), VN, queue id 4F2ABC: put on hold",
        ),
        (
            told(client_name="unknown", queue_id=""),
            "",
            "Crossed by: mail from 203.0.113.9, VN: refused",
        ),
        (
            told(action="DEFER_IF_PERMIT", expires=NOW + 3600),
            "",
            "Now:        its mail is answered with DEFER_IF_PERMIT until"
            " 2026-07-22 04:12:44 CEST (02:12:44 UTC), or until you unblock it",
        ),
        (
            told("observed", mode="observe"),
            "",
            "Now:        its mail passes: policy.mode is observe",
        ),
        (told(), 'mode = "observe"', "Now:        its mail passes: policy.mode is observe"),
        (
            told(ended=NOW + 60),
            "",
            "Now:        over: it ended 2026-07-22 03:13:44 CEST (01:13:44 UTC)",
        ),
        (told(action="HOLD"), "", "See its held mail:"),
        (told("unblocked", by="alice"), "", "alice has unblocked user@example.org."),
        (
            told("unblocked", by="alice", reason="holiday", **BY_HAND),
            "",
            "Before:  blocked by hand 2026-07-22 03:12:44 CEST (01:12:44 UTC)",
        ),
        (told("unblocked", by="alice", reason="holiday"), "", "Reason:  holiday"),
        (
            told(rule="max_addresses 5 in 1h"),
            "",
            "Limit:      max_addresses 5 in 1h: at most 5 addresses within 1 hour;"
            " familiar ones don't count",
        ),
        (
            told(rule="max_countries 2 in 1w"),
            "familiar_after = 0",
            "Limit:      max_countries 2 in 1w: at most 2 countries within 1 week",
        ),
        (
            told(rule="max_countries 1 in 90m"),
            "",
            "Limit:      max_countries 1 in 90m: at most 1 country within 90 minutes;"
            " familiar ones together count as one",
        ),
        (
            told("unblocked", by="alice", mode="observe"),
            "",
            "alice has cleared the observed incident of user@example.org.",
        ),
        (
            told("unblocked", by="alice", held=5, tries=9, released=5),
            "",
            "Stopped: 9 mails, 5 of them held; 5 held mails released",
        ),
        (told("unblocked", by="alice", held=5, released=3), "", "See what is still on hold:"),
    ],
)
def test_the_text_says_what_is_so(tmp_path: Path, of: Notice, toml: str, line: str) -> None:
    config = config_of(tmp_path, f"[policy]\n{toml}\n")
    text = body(of, config, HOST, NOW)
    assert line in text.replace("\n" + " " * 12, " ").splitlines()
    assert max(len(line) for line in text.splitlines() if "pcc_admin.py" not in line) <= 78


def test_a_notice_that_comes_late_says_so(tmp_path: Path) -> None:
    late = "This notice comes late: it could not be sent before."
    config = config_of(tmp_path)
    assert late not in body(told(), config, HOST, NOW + 60)
    assert late in body(told(), config, HOST, NOW + 3600)


@pytest.mark.parametrize(
    ("toml", "host", "sender"),
    [
        ("", "mx.example.org", "pcc@mx.example.org"),
        ("", "mx", "pcc"),
        ('transport = "smtp"', "mx", "pcc@mx"),
        ('from = "watch@example.org"', "mx", "watch@example.org"),
    ],
)
def test_a_host_without_a_domain_leaves_it_to_sendmail_to_add_one(
    tmp_path: Path, toml: str, host: str, sender: str
) -> None:
    config = config_of(tmp_path, f"[notify]\n{toml}\n")
    assert as_mail(told(), config, host, [USER], NOW)["From"] == sender


def test_commands_name_the_configuration_unless_it_is_the_default_one(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    text = command(config, "show", USER)
    assert text.endswith(f"/pcc_admin.py -c {tmp_path}/pcc.toml show {USER}")
    default = Config({**read_values(config.path), "path": DEFAULT_PATH})
    assert command(default, "show", USER).endswith(f"/pcc_admin.py show {USER}")
    odd = tmp_path / "a b's"
    odd.mkdir()
    words = shlex.split(command(config_of(odd), "show", USER))
    assert words[-3] == f"{tmp_path}/a b's/pcc.toml"


@pytest.mark.parametrize("odd", NASTY)
def test_what_strangers_chose_breaks_neither_headers_nor_text(tmp_path: Path, odd: str) -> None:
    check_rendering(config_of(tmp_path), odd, odd)


@settings(max_examples=150, deadline=None)
@given(login=st.text(min_size=1, max_size=500), name=st.text(max_size=260))
def test_no_text_at_all_breaks_headers_or_text(
    tmp_path_factory: pytest.TempPathFactory, login: str, name: str
) -> None:
    login = login.encode("utf-8", "backslashreplace").decode()
    name = name.encode("utf-8", "backslashreplace").decode()
    check_rendering(config_of(tmp_path_factory.getbasetemp()), login, name)


def check_rendering(config: Config, login: str, name: str) -> None:
    """Render a mail with odd names, and read it as a mail program would."""
    seen = [SEEN[0]._replace(client_name=name)]
    seen.append(SEEN[1]._replace(first_seen=NOW - 60, last_seen=NOW - 60))
    short = name[:LONGEST_NAME]
    places = {
        seen[0].address: Origin(short, 10.0, 10.0, 1, short, 64496),
        seen[1].address: Origin(short, -10.0, 10.0),
    }
    odd = told(
        account=login, client_name=name, queue_id=name, sightings=seen, by=name, origins=places
    )
    sent = as_mail(odd, config, HOST, ["postmaster"], NOW).as_bytes()
    assert sent.isascii()
    assert max(map(len, sent.split(b"\n"))) < 998
    message = email.message_from_bytes(sent, policy=email.policy.default)
    assert message.keys() == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    ]
    assert not message.defects
    told_subject = subject(odd)
    assert told_subject.isprintable()
    assert message["Subject"] == told_subject.replace("=?", "=\\x3f")
    text = message.get_content()
    assert text == body(odd, config, HOST, NOW)
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(json.loads(json.dumps(as_data(odd)))["travel"]) == 1
    assert "km in 60 seconds: 130,000 km/h" in " ".join(text.split())


@pytest.mark.subprocess
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_pasted_login_is_one_inert_word_in_a_shell(tmp_path: Path, shell: str) -> None:
    for odd in NASTY:
        if "\0" in odd:  # no login that Postfix passes on has one, nor can an argument
            continue
        done = subprocess.run(
            [shell, "-c", f"printf '<%s>' {shell_word(odd)}"],
            cwd=tmp_path,
            capture_output=True,
            env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            check=True,
        )
        if shell == "bash" or odd.isprintable():
            assert done.stdout.decode() == f"<{odd}>"
        else:
            assert done.stdout.count(b"<") == 1
        assert not done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_json_for_a_command_has_the_whole_incident() -> None:
    data = as_data(told("unblocked", by="alice", reason="holiday", released=3))
    assert data == {
        "what": "unblocked",
        "account": USER,
        "rule": "max_countries 3 in 2d",
        "countries": ["ES", "FR", "BR", "VN"],
        "country": "VN",
        "client_address": "203.0.113.9",
        "client_name": "mail.example.vn",
        "action": "REJECT",
        "at": "2026-07-22T01:12:44Z",
        "queue_id": "4F2ABC",
        "sightings": [
            {
                "country": "VN",
                "address": "203.0.113.9",
                "client_name": "mail.example.vn",
                "mails": 1,
                "first_seen": "2026-07-22T01:12:44Z",
                "last_seen": "2026-07-22T01:12:44Z",
            },
            {
                "country": "ES",
                "address": "2001:db8:1:2::/64",
                "client_name": "unknown",
                "mails": 12,
                "first_seen": "2026-07-21T01:12:44Z",
                "last_seen": "2026-07-22T00:12:44Z",
            },
        ],
        "earlier": [],
        "by": "alice",
        "reason": "holiday",
        "released": 3,
        "deleted": 0,
    }


# The evidence.


def insert_incident(database: Database, account: str, values: dict[str, Any]) -> int:
    """Insert the incident of incident_row(), with other `values`, as the account's open one."""
    columns = {"account": account, "began": time.time(), **values}
    row = {**incident_row(**columns)._asdict(), "instance": ""}
    del row["id"]
    number = database.insert(
        f"INSERT INTO incident ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
        tuple(row.values()),
    )
    database.write("INSERT OR REPLACE INTO account VALUES (?, 0, 0, ?)", (account, number))
    return number


class Place:
    """A configuration and a database in a folder, and programs that notices are given to.

    `named` is what the configuration calls the database.
    """

    def __init__(self, folder: Path, named: str = "pcc.db") -> None:
        self.folder = folder
        self.named = named
        self.mails = folder / "mails"
        self.mails.mkdir()
        creation.create_or_upgrade(str(folder / "pcc.db"))
        self.database = open_database(str(folder / "pcc.db"))
        self.sendmail = self.program("sendmail", self.recording)
        self.configure()

    @property
    def recording(self) -> str:
        """A script that keeps its arguments, environment and standard input."""
        return (
            f'mail=$(mktemp {self.mails}/XXXXXX); printf "%s\\n" "$@" >"$mail.arguments"\n'
            'env >"$mail.environment"; cat >"$mail"\n'
        )

    def program(self, name: str, script: str) -> Path:
        """Write an executable shell script."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def configure(self, **notify: Any) -> None:
        """Write the configuration, with `notify` in [notify]."""
        values = {"to": [USER], "sendmail": str(self.sendmail), "from": "pcc@example.org"}
        options = "".join(
            f"{name} = {json.dumps(value)}\n" for name, value in {**values, **notify}.items()
        )
        self.config = config_of(
            self.folder,
            f'[store]\ndatabase = "{self.named}"\n[country]\ndatabase = "country.mmdb"\n'
            f"{NO_NETWORKS}"
            f'[notify]\n{options}\n[log]\nname = "pcc-notices"\n',
        )

    def incident(self, account: str = USER, **values: Any) -> int:
        """Open an incident."""
        with self.database:
            return insert_incident(self.database, account, values)

    def notice(
        self, account: str = USER, channels: tuple[str, ...] = ("mail",), **values: Any
    ) -> int:
        """Open an incident and leave a notice of it; return the incident's id."""
        number = self.incident(account, **values)
        self.leave(number, account, channels)
        return number

    def leave(self, number: int, account: str, channels: tuple[str, ...]) -> None:
        """Leave a notice."""
        with self.database:
            blocks.add_notice(self.database, number, account, "blocked", channels, time.time())

    def saw(self, country: str, where: str, first: float, last: float) -> None:
        """Record a sighting."""
        seen = Sighting(where, country, first, last, mails=2, generation=0, client_name="unknown")
        with self.database:
            sightings.save_sighting(self.database, USER, seen)

    def send(self, **options: Any) -> tuple[int, list[str]]:
        """Send the outbox."""
        return send_outbox(self.config, self.database, **options)

    def send_due(self, **options: Any) -> tuple[int, list[str]]:
        """Send the outbox as a process does that a policy process has started."""
        return send_due(self.config, self.database, **options)

    def waiting(self) -> list[tuple[Any, ...]]:
        """What is in the outbox: channel, tries, last_error, recipients."""
        return self.database.rows(
            "SELECT channel, tries, last_error, recipients FROM outbox ORDER BY id"
        )

    def received(self) -> list[email.message.EmailMessage]:
        """What the recording sendmail was given."""
        files = [file for file in self.mails.iterdir() if not file.suffix]
        return [
            email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            for file in files
        ]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.database.close()


def test_the_evidence_is_what_counted_when_the_incident_began(place: Place) -> None:
    now = time.time()
    place.saw("ES", "192.0.2.1", now - 9 * DAY, now - DAY)
    place.saw("FR", "192.0.2.2", now - 3 * DAY, now - 2 * DAY - 60)  # out of the window
    place.saw("DE", "192.0.2.3", now - DAY, now - DAY)  # did not count
    place.saw("BR", "192.0.2.4", now - 2 * 3600, now - 2 * 3600)
    place.saw("VN", "203.0.113.9", now, now)
    place.saw("VN", "203.0.113.10", now + 60, now + 60)  # afterwards
    number = place.incident(began=now)

    def evidence() -> list[str]:
        row = incidents.incident(place.database, number)
        assert row is not None
        found, count = outbox.evidence(place.database, row, 50)
        assert count == len(found)
        return [seen.address for seen in found]

    assert evidence() == ["203.0.113.9", "192.0.2.4", "192.0.2.1"]
    before = place.incident(began=now - 20 * DAY)
    with place.database:
        place.database.write("UPDATE incident SET ended = ? WHERE id = ?", (now - 4000, before))
    assert evidence() == ["203.0.113.9"]  # nothing from before the earlier incident ended
    row = incidents.incident(place.database, number)
    assert row is not None
    earlier = outbox.seen_earlier(place.database, row)
    assert [(seen.country, seen.addresses, seen.mails) for seen in earlier] == [
        ("BR", 1, 2),
        ("DE", 1, 2),
        ("ES", 1, 2),
        ("FR", 1, 2),
    ]


def test_what_was_seen_earlier_is_shown_below_what_counted(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    earlier = [outbox.Earlier("ES", 3, 412, NOW - 30 * DAY), outbox.Earlier("PT", 1, 2, NOW - DAY)]
    text = body(told(earlier=earlier), config, HOST, NOW)
    assert (
        """
Seen earlier, which did not count:

  COUNTRY  ADDRESSES  SINCE       MAILS
  ES       3          2026-06-22  412
  PT       1          2026-07-21  2

What you can do, as root on mx.example.org:
"""
        in text
    )
    assert "Seen earlier" not in body(told(), config, HOST, NOW)


def test_what_was_seen_before_the_last_unblock_is_told_apart(tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\ncat >>{tmp_path}/told\n")
    command.chmod(0o755)
    site = Site(
        tmp_path,
        f'max_countries = 1\nfamiliar_after = 0\n[notify]\nto = []\ncommand = ["{command}"]\n',
    )

    def told() -> dict[str, Any]:
        wait_until(lambda: not _outbox(site), 10, "notice")
        data: dict[str, Any] = json.loads((tmp_path / "told").read_text().splitlines()[-1])
        return data

    def mails(data: dict[str, Any]) -> dict[str, int]:
        return {seen["address"]: seen["mails"] for seen in data["sightings"]}

    try:
        for country in ("ES", "ES", "ES", "FR"):
            site.ask("joe@example.org", address(country))
        first = told()
        assert mails(first) == {address("ES"): 3, address("FR"): 1}
        assert first["earlier"] == []
        site.admin("unblock", "joe@example.org")
        time.sleep(1.1)  # times are told in whole seconds
        for country in ("ES", "ES", "BR"):
            site.ask("joe@example.org", address(country))
        second = told()
        assert mails(second) == {address("ES"): 2, address("BR"): 1}
        assert min(seen["first_seen"] for seen in second["sightings"]) > first["at"]
        earlier = {seen["country"]: seen["mails"] for seen in second["earlier"]}
        assert earlier == {"ES": 3, "FR": 1}
        # `show` has all that was ever seen.
        assert site.mails("joe@example.org")[address("ES")] == 5
    finally:
        site.close()


def test_of_very_much_evidence_the_latest_of_every_country_is_shown(place: Place) -> None:
    now = time.time()
    place.saw("ES", "192.0.2.1", now - DAY, now - DAY)
    for number in range(200):
        place.saw("BR", f"198.51.100.{number}", now - 9000 + number, now - 9000 + number)
    place.saw("VN", "203.0.113.9", now, now)
    row = incidents.incident(place.database, place.incident(began=now))
    assert row is not None
    found, count = outbox.evidence(place.database, row, 50)
    assert (len(found), count) == (50, 202)
    assert Counter(seen.country for seen in found) == {"BR": 48, "ES": 1, "VN": 1}
    assert found[0].address == "203.0.113.9"
    text = body(Notice("blocked", now, row, found, count), place.config, HOST, now)
    assert "\nand 152 more addresses\n" in text


# Sending.

started = pytest.mark.subprocess


@started
def test_a_mail_is_given_to_sendmail_for_all_recipients_at_once(place: Place) -> None:
    place.configure(to=["postmaster", "alice@example.org"])
    os.environ["SECRET"] = "1"
    place.notice()
    assert place.send() == (1, [])
    assert place.waiting() == []
    (message,) = place.received()
    assert message["To"] == "postmaster, alice@example.org"
    assert str(message["Subject"]).startswith("[pcc] user@example.org blocked: mail from ES, FR")
    (arguments,) = place.mails.glob("*.arguments")
    assert arguments.read_text().splitlines() == [
        *("-i", "-f", "pcc@example.org", "--", "postmaster", "alice@example.org")
    ]
    (environment,) = place.mails.glob("*.environment")
    names = {line.partition("=")[0] for line in environment.read_text().splitlines()}
    assert names <= {"PATH", "LANG", "TZ", "MAIL_CONFIG", "PWD", "_", "SHLVL", "OLDPWD"}


@started
@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo 'no disk' >&2; echo more >&2; exit 75", "ended with status 75: no disk"),
        ("cat >/dev/null; exit 1", "ended with status 1"),
        ("kill -9 $$", "was killed by signal 9"),
        ("head -c 3000000 /dev/zero >&2; exit 2", "ended with status 2: \\x00\\x00"),
        ("printf '\\033[2J\\n' >&2; exit 3", "ended with status 3: \\x1b[2J"),
    ],
)
def test_what_fails_waits_with_its_cause_and_is_sent_once_that_is_mended(
    place: Place, script: str, cause: str
) -> None:
    place.program("sendmail", script)
    number = place.notice()
    sent, (failure,) = place.send()
    assert sent == 0
    beginning = f"notice 1 (blocked, incident {number}) by mail: {place.sendmail} {cause}"
    assert failure.startswith(beginning)
    ((channel, tries, error, _),) = place.waiting()
    assert (channel, tries) == ("mail", 1)
    assert error.startswith(f"{place.sendmail} {cause}")
    assert len(error) < 1000
    place.program("sendmail", place.recording)
    assert place.send() == (1, [])
    assert place.send() == (0, [])
    assert len(place.received()) == 1


@started
@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (lambda path: path.unlink(), "can't be run: No such file or directory"),
        (lambda path: path.chmod(0o644), "can't be run: Permission denied"),
        (lambda path: path.write_text("#!/nowhere\n"), "can't be run: No such file or directory"),
    ],
)
def test_a_program_that_cannot_be_run_is_told_in_a_sentence(
    place: Place, broken: Callable[[Path], Any], cause: str
) -> None:
    broken(place.sendmail)
    place.notice()
    assert place.send()[1] == [f"notice 1 (blocked, incident 1) by mail: {place.sendmail} {cause}"]


@started
def test_a_program_that_hangs_is_ended_with_its_children_and_keeps_nobody_else(
    place: Place,
) -> None:
    place.program("sendmail", f'sleep 97 & echo "$!" >{place.folder}/child; wait')
    place.program("command", place.recording)
    place.configure(command=[str(place.folder / "command")])
    for _ in range(5):
        place.notice(channels=("mail", "command"))
    begin = time.monotonic()
    sent, failures = place.send(seconds=0.5)
    assert time.monotonic() - begin < 3
    assert sent == 5  # the other channel's
    assert failures == [
        f"notice 1 (blocked, incident 1) by mail: {place.sendmail} took longer than 0.5 seconds"
    ]
    assert [row[1] for row in place.waiting()] == [1, 0, 0, 0, 0]
    child = int((place.folder / "child").read_text())
    wait_until(lambda: not _runs(child), 2, "end of the child")
    place.program("sendmail", place.recording)
    assert place.send() == (5, [])


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@started
def test_a_program_that_leaves_a_child_behind_keeps_nobody_waiting(place: Place) -> None:
    place.program("sendmail", f'sleep 30 & echo "$!" >{place.folder}/child')
    place.notice()
    begin = time.monotonic()
    assert place.send() == (1, [])
    assert time.monotonic() - begin < 2
    os.kill(int((place.folder / "child").read_text()), signal.SIGKILL)


@started
def test_one_channel_is_not_sent_again_because_the_other_failed(place: Place) -> None:
    place.program("sendmail", "exit 1")
    command = place.program("command", f"cat >>{place.folder}/told")
    place.configure(command=[str(command)])
    place.notice(channels=("mail", "command"))
    assert place.send()[0] == 1
    place.program("sendmail", place.recording)
    assert place.send() == (1, [])
    (line,) = (place.folder / "told").read_text().splitlines()
    assert json.loads(line)["account"] == USER
    assert len(place.received()) == 1


@started
def test_the_command_gets_what_an_unblock_did(place: Place) -> None:
    command = place.program("command", f"cat >{place.folder}/told")
    place.configure(to=[], command=[str(command), "argument"])
    place.incident()
    lifted = incidents.unblock(place.database, USER, "alice", "holiday", 0, time.time())
    assert lifted is not None
    detail: dict[str, object] = {"by": "alice", "reason": "holiday", "released": 3, "deleted": 1}
    incidents.add_unblock_notice(place.database, lifted, ("command",), detail, time.time())
    assert place.send() == (1, [])
    data = json.loads((place.folder / "told").read_text())
    assert {name: data[name] for name in ("what", *detail)} == {"what": "unblocked", **detail}


@started
def test_what_failed_lately_waits_longer_and_longer_unless_a_person_asks(place: Place) -> None:
    place.program("sendmail", "exit 1")
    place.notice()
    pauses = []
    for _ in range(9):
        assert len(place.send()[1]) == 1
        (row,) = place.database.rows("SELECT next_try FROM outbox")
        pauses.append(round(row[0] - time.time()))
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert place.send_due() == (0, [])
    with place.database:
        place.database.write("UPDATE outbox SET next_try = ?", (time.time() - 1,))
    assert len(place.send_due()[1]) == 1
    with place.database:  # written before the clock jumped back
        place.database.write("UPDATE outbox SET next_try = ?", (time.time() + 9 * DAY,))
    assert len(place.send_due()[1]) == 1


def test_what_another_has_taken_is_left_to_it_until_its_time_is_over(place: Place) -> None:
    place.notice()
    now = time.time()
    assert outbox.take(place.database, 0, now) is not None
    assert outbox.take(place.database, 0, now) is None
    assert outbox.take(place.database, 0, now - 10) is None  # waited that long for its turn
    assert outbox.take(place.database, 0, now + outbox.LEASE_SECONDS - 1) is None
    assert outbox.take(place.database, 0, now + outbox.LEASE_SECONDS + 1) is not None
    assert outbox.take(place.database, 0, now - DAY) is not None  # the clock jumped back


@started
@pytest.mark.parametrize(
    ("spoilt", "cause"),
    [
        ("UPDATE sighting SET client_name = CAST(x'ff' AS TEXT) WHERE account = ?", "UTF-8"),
        ("UPDATE outbox SET detail = '{' WHERE account = ?", "Expecting property name"),
        ("UPDATE incident SET began = 1e99 WHERE account = ?", "out of range"),
    ],
)
def test_a_notice_whose_evidence_cannot_be_read_keeps_no_other(
    place: Place, spoilt: str, cause: str
) -> None:
    now = time.time()
    place.saw("VN", "203.0.113.9", now, now)
    place.notice(USER, began=now)
    place.notice("other@example.org")
    with place.database:
        place.database.write(spoilt, (USER,))
    sent, (failure,) = place.send_due()
    assert sent == 1
    assert failure.startswith("notice 1 (blocked, incident 1) by mail: what it is about can't be")
    assert cause in failure
    ((_, tries, error, _),) = place.waiting()
    assert tries == 1
    assert cause in error
    assert place.send_due() == (0, [])  # it has its pauses as any that fails


@started
def test_only_the_notices_of_one_account_are_sent_if_that_is_asked_for(place: Place) -> None:
    place.notice("other@example.org")
    place.notice(USER)
    assert place.send(account=USER) == (1, [])
    assert place.database.rows("SELECT account FROM outbox") == [("other@example.org",)]


@started
def test_a_notice_that_nobody_wants_any_more_is_dropped(place: Place) -> None:
    place.notice("kept@example.org", channels=("mail", "command"))
    number = place.notice("forgotten@example.org")
    upkeep.forget(place.database, "forgotten@example.org")
    place.leave(number, "forgotten@example.org", ("mail",))  # by a process that was late
    assert place.send() == (1, [])  # no command is configured
    assert place.waiting() == []
    place.configure(to=[])
    place.notice()
    assert place.send() == (0, [])
    assert place.waiting() == []


@started
def test_verdicts_can_be_written_while_a_notice_is_being_sent(place: Place) -> None:
    gate = place.folder / "gate"
    place.program("sendmail", f"while [ ! -e {gate} ]; do sleep 0.02; done; {place.recording}")
    place.notice()
    notifier = subprocess.Popen(admin(place, "notify"), start_new_session=True)
    try:
        wait_until(lambda: place.database.rows("SELECT 1 FROM outbox WHERE taken > 0"), 10, "start")
        time.sleep(0.2)
        begin = time.monotonic()
        with place.database:
            place.database.write("DELETE FROM exemption")
        assert time.monotonic() - begin < 0.5
        assert place.send() == (0, [])  # it is the other's
    finally:
        gate.touch()
        assert notifier.wait(20) == 0
    assert len(place.received()) == 1


def admin(place: Place, *arguments: str) -> list[str]:
    script = str(ROOT / "pcc_admin.py")
    return [sys.executable, script, "--config", place.config.path, *arguments]


@started
def test_two_notifiers_at_once_send_each_of_fifty_notices_once(place: Place) -> None:
    for number in range(50):
        place.notice(f"user{number}@example.org")
    processes = [
        subprocess.Popen(admin(place, "--json", "notify"), stdout=subprocess.PIPE) for _ in range(2)
    ]
    counts = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(count["sent"] for count in counts) == 50
    assert [count["failed"] for count in counts] == [0, 0]
    subjects = Counter(str(message["Subject"]).split()[1] for message in place.received())
    assert subjects == {f"user{number}@example.org": 1 for number in range(50)}
    assert place.waiting() == []


@started
def test_a_notifier_that_is_killed_loses_nothing(place: Place) -> None:
    place.program("sendmail", f'echo "$$" >{place.folder}/child; exec sleep 97')
    place.notice()
    notifier = subprocess.Popen(admin(place, "notify"))
    child = place.folder / "child"
    wait_until(lambda: child.exists() and child.read_text(), 10, "start")
    notifier.kill()
    notifier.wait()
    os.kill(int(child.read_text()), signal.SIGKILL)
    place.program("sendmail", place.recording)
    assert place.send() == (0, [])  # it still has the notice, for two minutes
    assert [row[1] for row in place.waiting()] == [0]
    with place.database:
        place.database.write("UPDATE outbox SET taken = taken - ?", (outbox.LEASE_SECONDS,))
    assert place.send() == (1, [])
    assert len(place.received()) == 1


@started
def test_the_command_says_what_it_did_by_its_exit_status(place: Place) -> None:
    def notify(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            admin(place, *arguments, "notify"), capture_output=True, text=True, check=False
        )

    done = notify()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    place.program("sendmail", "grep -q good@ && exit; exit 1")
    place.notice("bad@example.org")
    done = notify("--json")
    assert (done.returncode, json.loads(done.stdout)) == (1, {"sent": 0, "failed": 1})
    place.notice("good@example.org")
    done = notify("--json")
    assert (done.returncode, json.loads(done.stdout)) == (3, {"sent": 1, "failed": 1})
    assert done.stderr == (
        f"pcc_admin.py: notice 1 (blocked, incident 1) by mail: {place.sendmail}"
        " ended with status 1\n"
    )


@started
@pytest.mark.parametrize("odd", [odd for odd in NASTY if "\0" not in odd])
def test_a_pasted_command_does_what_it_says_and_nothing_else(place: Place, odd: str) -> None:
    account = place.config.normalised_account(odd)
    place.incident(account)
    pasted = command(place.config, "unblock", account, "--reason", "pasted")
    place.configure(to=[])
    done = subprocess.run(
        ["bash", "-c", pasted],
        cwd=place.mails,
        capture_output=True,
        text=True,
        env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert incidents.open_incident(place.database, account) is None
    assert list(place.mails.iterdir()) == []


@started
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("database", ["pcc.db", "postgresql://pcc@db.example.org/pcc"])
def test_root_starts_programs_as_the_service_user(database: str) -> None:
    place = Place(public_folder("notice"), database)
    user = pwd.getpwnam(service_user())
    for path in (place.folder, place.mails, *place.folder.glob("pcc.db*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    script = f"cat >/dev/null; id -un >>{place.mails}/who; id -Gn >>{place.mails}/groups"
    place.program("sendmail", script)
    place.configure(command=[str(place.program("command", script))])
    place.notice(channels=("mail", "command"))
    assert place.send() == (2, [])
    assert (place.mails / "who").read_text().split() == [user.pw_name] * 2
    group = grp.getgrgid(user.pw_gid).gr_name
    assert (place.mails / "groups").read_text().split() == [group] * 2


# The log.


@pytest.fixture
def mail_log() -> Iterator[Callable[[], list[str]]]:
    """A function that returns what this process has logged since it was called last."""
    with system_log() as log:
        maillog.error("hello")  # whatever was lost before there was a log is told with it
        log.lines()

        def lines() -> list[str]:
            found = [line.partition(f"pcc-notices[{os.getpid()}]: ") for line in log.lines()]
            return [text for _, ident, text in found if ident]

        yield lines


@started
def test_the_log_hears_of_a_failure_at_once_and_then_every_hour(
    place: Place, mail_log: Callable[[], list[str]]
) -> None:
    place.program("sendmail", "exit 1")
    place.notice()
    line = f"error notice 1 (blocked, incident 1) by mail: {place.sendmail} ended with status 1"
    place.send()
    assert mail_log() == [line]
    place.send()
    assert mail_log() == []
    with place.database:  # an hour goes by
        place.database.write(
            "UPDATE outbox SET created = created - 3600, next_try = next_try - 600"
        )
    place.send()
    assert mail_log() == [line]
    place.send()
    assert mail_log() == []
    place.program("sendmail", place.recording)
    place.send()
    assert mail_log() == ["notice incident=1 channel=mail sent"]


# A policy process.

WAITING_SENDMAIL = """\
for process in $PPID $$; do ls -l /proc/$process/fd; done >{folder}/descriptors.new
mv {folder}/descriptors.new {folder}/descriptors
while [ ! -e {folder}/gate ]; do sleep 0.05; done
cat >{folder}/mail
"""


@started
def test_no_reply_waits_for_a_notice_and_its_sender_has_none_of_the_sockets(
    tmp_path: Path,
) -> None:
    sendmail = tmp_path / "sendmail"
    sendmail.write_text("#!/bin/sh\n" + WAITING_SENDMAIL.format(folder=tmp_path))
    sendmail.chmod(0o755)
    site = Site(tmp_path, f'[notify]\nto = ["postmaster"]\nsendmail = "{sendmail}"\n')
    policy = site.policy()
    try:
        for country in ("ES", "FR", "BR"):
            assert is_pass(policy.ask("joe@example.org", address(country)))
        begin = time.monotonic()
        assert is_refusal(policy.ask("joe@example.org", address("VN")))
        assert is_refusal(policy.ask("joe@example.org", address("ES")))
        assert time.monotonic() - begin < 1
        ours = os.readlink(f"/proc/{policy.process.pid}/fd/0")
        wait_until((tmp_path / "descriptors").exists, 10, "sendmail")
        descriptors = (tmp_path / "descriptors").read_text()
        assert ours.startswith("socket:")
        assert ours not in descriptors
        assert descriptors.count("/dev/null") >= 3
        # Postfix sees at once that the policy process has gone, though its notifier goes on.
        policy.process.kill()
        policy.socket.settimeout(1)
        assert policy.socket.recv(1) == b""
        assert not (tmp_path / "mail").exists()
    finally:
        (tmp_path / "gate").touch()
        site.close()
    wait_until(lambda: not _outbox(site), 10, "notice")
    assert "Subject: [pcc] joe@example.org blocked: mail from ES, FR, BR, VN within 2d" in (
        (tmp_path / "mail").read_text()
    )


def _outbox(site: Site) -> int:
    return int(site.data("stats")["outbox"])


# One process at a time.


@started
def test_who_finds_another_sending_leaves_what_is_due_to_it_and_a_person_need_not(
    place: Place,
) -> None:
    place.notice()
    turn = Turn(place.database.name)
    assert turn.take()
    assert place.send_due() == (0, [])
    assert place.send() == (1, [])
    place.notice("other@example.org")
    turn.close()
    assert place.send_due() == (1, [])


@started
def test_where_the_turn_cannot_be_taken_notices_are_sent_all_the_same(place: Place) -> None:
    place.notice()
    (place.folder / "pcc.db.notify").mkdir()
    assert place.send_due() == (1, [])


@started
def test_a_channel_that_hangs_keeps_whoever_has_the_turn_only_once(place: Place) -> None:
    place.program("sendmail", "sleep 9")
    for _ in range(3):
        place.notice()
    begin = time.monotonic()
    sent, (_,) = place.send_due(seconds=0.3)
    assert sent == 0
    assert time.monotonic() - begin < 2


def test_a_server_that_drips_bytes_is_left_and_the_other_channel_goes_on(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_drip, args=(server,), daemon=True).start()
        command = place.program("command", place.recording)
        place.configure(
            transport="smtp",
            smtp=f"127.0.0.1:{server.getsockname()[1]}",
            command=[str(command)],
        )
        place.notice(channels=("mail", "command"))
        place.notice(channels=("mail", "command"))
        begin = time.monotonic()
        sent, (failure,) = place.send_due(seconds=0.2)
        assert time.monotonic() - begin < 6
    assert sent == 2
    assert failure.endswith(" took longer than 0.2 seconds")
    assert [row[:2] for row in place.waiting()] == [("mail", 1), ("mail", 0)]
    turn = Turn(place.database.name)
    assert turn.take()
    turn.close()


def _drip(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        try:
            while True:
                connection.sendall(b"2")
                time.sleep(0.05)
        except OSError:
            pass  # who was greeted so has gone


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        ("time.sleep(60)", 0, "TimeoutError"),
        ("collections.deque(itertools.repeat(1), maxlen=0)", 1, "most recent call first"),
    ],
)
def test_what_hangs_is_ended_and_with_it_the_process_if_nothing_else_ends_it(
    work: str, status: int, said: str
) -> None:
    script = f"""\
import collections, itertools, time
from pcc.host.timelimit import within
try:
    within(0.2, 0.8, lambda: {work})
except TimeoutError as error:
    print(repr(error))
time.sleep(1.2)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout


class Watch:
    """Counts the notifiers of a site that run at the same time."""

    def __init__(self, site: Site) -> None:
        self.most = 0
        self._words = {str(site.config), "notify"}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def count(self) -> int:
        """How many there are."""
        return len(self.processes())

    def processes(self) -> list[int]:
        """Their process ids."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = set((folder / "cmdline").read_text().split("\0"))
            except OSError:
                continue
            if self._words <= words:
                found.append(int(folder.name))
        return found

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, self.count())


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Site]:
    """A site where the second country is one too many; its sendmail waits for the gate."""
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(
        f"#!/bin/sh\nwhile [ ! -e {tmp_path}/gate ]; do sleep 0.02; done\n"
        f"grep ^Subject: >>{tmp_path}/subjects\necho $PPID >>{tmp_path}/notifiers\n"
    )
    sendmail.chmod(0o755)
    site = Site(
        tmp_path,
        "max_countries = 1\nfamiliar_after = 0\n"
        f'[notify]\nto = ["postmaster"]\nsendmail = "{sendmail}"\n',
    )
    yield site
    (tmp_path / "gate").touch()
    site.close()
    watch = Watch(site)
    wait_until(lambda: not watch.count(), 20, "end of the notifiers")


def block(policy: PolicyProcess, *accounts: str) -> None:
    """Have accounts blocked."""
    for account in accounts:
        assert is_pass(policy.ask(account, address("ES")))
        assert is_refusal(policy.ask(account, address("FR")))


def noticed(site: Site) -> Counter[str]:
    """The accounts that sendmail was given a notice of, and how often."""
    path = site.folder / "subjects"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(line.split()[2] for line in lines)


@started
def test_however_many_accounts_are_blocked_at_once_one_process_sends_all_notices(
    busy: Site,
) -> None:
    (busy.folder / "gate").touch()
    crowd = [busy.policy() for _ in range(5)]
    accounts = [f"user{number}@example.org" for number in range(100)]
    threads = [
        threading.Thread(target=block, args=(policy, *accounts[number::5]))
        for number, policy in enumerate(crowd)
    ]
    with Watch(busy) as watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(noticed(busy)) == 100 and not watch.count(), 30, "notices")
    assert watch.most <= 2  # one that ends, and the next
    assert noticed(busy) == dict.fromkeys(accounts, 1)
    assert _outbox(busy) == 0


@started
def test_an_account_blocked_while_a_notice_is_being_sent_is_told_of_by_the_same_process(
    busy: Site,
) -> None:
    policy = busy.policy()
    watch = Watch(busy)
    block(policy, "ann@example.org")
    wait_until(watch.count, 10, "notifier")
    block(policy, "bob@example.org", "eve@example.org")
    assert watch.count() == 1
    (busy.folder / "gate").touch()
    wait_until(lambda: len(noticed(busy)) == 3, 10, "notices")
    assert len(set((busy.folder / "notifiers").read_text().split())) == 1


@started
def test_a_notifier_that_is_killed_gives_its_turn_to_the_next(busy: Site) -> None:
    policy = busy.policy()
    watch = Watch(busy)
    block(policy, "ann@example.org")
    (notifier,) = wait_until(watch.processes, 10, "notifier")
    block(policy, "bob@example.org")
    os.kill(notifier, signal.SIGKILL)
    wait_until(lambda: not watch.count(), 10, "end of the notifier")
    (busy.folder / "gate").touch()
    block(policy, "eve@example.org")
    # Ann's belongs to whoever was killed for two minutes.
    wait_until(lambda: {"bob@example.org", "eve@example.org"} <= set(noticed(busy)), 10, "notices")


@started
def test_no_notice_stays_behind_when_its_block_comes_just_as_a_notifier_ends(busy: Site) -> None:
    (busy.folder / "gate").touch()
    policy = busy.policy()
    for number in range(25):
        block(policy, f"user{number}@example.org")
        wait_until(lambda seen=number + 1: len(noticed(busy)) == seen, 10, "notice")  # type: ignore[misc]
        time.sleep(number / 1000)
    assert _outbox(busy) == 0
    assert set(noticed(busy).values()) == {1}


# A real Postfix.

REFUSING = (
    "check_recipient_access inline:{ {nobody@example.org = 550 5.1.1 nobody is here},"
    " {later@example.org = 450 4.2.1 come again} }, permit_mynetworks, reject"
)


@pytest.fixture(scope="module")
def mta() -> Iterator[PrivatePostfix]:
    with PrivatePostfix(main={"mua_recipient_restrictions": REFUSING}) as mta:
        yield mta


@pytest.fixture(scope="module")
def deployed() -> Deployment:
    return deploy()


def recipients(mta: PrivatePostfix, count: int) -> list[str]:
    """Who got a notice; the Maildir is emptied."""
    messages = mta.wait_for_delivered(count)
    mta.forget_delivered()
    return sorted(str(message["X-Original-To"]) for message in messages)


@pytest.mark.postfix
def test_the_service_users_sendmail_delivers_to_everybody_also_after_postfix_was_down(
    mta: PrivatePostfix, deployed: Deployment
) -> None:
    deployed.write_config(
        '[notify]\nto = ["postmaster", "alice@example.net"]\n[store]\ndatabase = "state/pcc.db"\n'
        f'[country]\ndatabase = "state/country.mmdb"\n{NO_NETWORKS}'
    )
    (deployed.state / "country.mmdb").touch()
    assert deployed.admin("init").returncode == 0
    account = "jürgen@example.org"
    database = open_database(str(deployed.state / "pcc.db"))
    config = load(str(deployed.config))
    with database:
        number = insert_incident(database, account, {})
        blocks.add_notice(database, number, account, "blocked", ("mail",), time.time())
    database.close()
    assert config.notify.to == ("postmaster", "alice@example.net")
    mta.stop()
    done = mta.run(deployed.admin_argv("--json", "notify"), deployed.user)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"sent": 1, "failed": 0}), done.stderr
    mta.start()
    messages = mta.wait_for_delivered(2, 10)
    assert {str(message["Subject"]) for message in messages} == {
        "[pcc] jürgen@example.org blocked: mail from ES, FR, BR, VN within 2d"
    }
    assert {str(message["Auto-Submitted"]) for message in messages} == {"auto-generated"}
    assert "jürgen@example.org is blocked" in messages[0].get_content()
    host = delivery.host_name()
    domain = host if "." in host else "example.org"  # its myorigin
    assert {str(message["From"]) for message in messages} == {f"pcc@{domain}"}
    assert {str(message["Return-Path"]) for message in messages} == {f"<pcc@{domain}>"}
    assert recipients(mta, 2) == ["alice@example.net", "postmaster"]


@pytest.mark.postfix
def test_an_smtp_server_gets_one_mail_for_all_recipients(place: Place, mta: PrivatePostfix) -> None:
    place.configure(
        transport="smtp", smtp=f"127.0.0.1:{mta.submission}", to=["postmaster", "a@example.org"]
    )
    place.notice("jürgen@example.org")
    assert place.send() == (1, [])
    assert recipients(mta, 2) == ["a@example.org", "postmaster"]


@pytest.mark.postfix
def test_a_recipient_that_is_refused_is_named_and_the_others_get_the_mail_once(
    place: Place, mta: PrivatePostfix
) -> None:
    server = f"127.0.0.1:{mta.submission}"
    later = "later@example.org: 450 4.2.1 \\x3clater@example.org\\x3e: Recipient address rejected"
    to = ["postmaster", "nobody@example.org", "later@example.org"]
    place.configure(transport="smtp", smtp=server, to=to)
    place.notice()
    sent, (failure,) = place.send()
    assert sent == 1
    assert f"{server} refused nobody@example.org: 550 5.1.1" in failure
    assert later in failure
    assert recipients(mta, 1) == ["postmaster"]
    # Who was refused for good is given up; who may be taken later is tried again, alone.
    ((_, tries, error, left),) = place.waiting()
    assert (tries, left) == (1, "later@example.org")
    assert error in failure
    sent, (failure,) = place.send()
    assert (sent, place.waiting()[0][1]) == (0, 2)
    assert later in failure
    assert "nobody" not in failure
    assert not mta.delivered()
    place.configure(transport="smtp", smtp=server, to=["postmaster"])
    assert place.send() == (0, [])
    assert place.waiting() == []


@pytest.mark.postfix
def test_a_mail_that_nobody_could_be_told_by_waits(place: Place, mta: PrivatePostfix) -> None:
    server = f"127.0.0.1:{mta.submission}"
    place.configure(transport="smtp", smtp=server, to=["nobody@example.org"])
    place.notice()
    sent, (failure,) = place.send()
    assert sent == 0
    assert "nobody@example.org: 550 5.1.1" in failure
    place.configure(transport="smtp", smtp=server, to=["postmaster"])
    assert place.send() == (1, [])
    assert recipients(mta, 1) == ["postmaster"]


@pytest.mark.parametrize(
    ("spoken", "cause"),
    [
        (None, "Connection refused"),
        (b"554 5.7.1 go\taway \x1b[2J\r\n", "answered 554 5.7.1 go away \\x1b[2J"),
        (b"", "Connection unexpectedly closed"),
    ],
)
def test_an_smtp_server_that_fails_is_told_in_a_sentence(
    place: Place, spoken: bytes | None, cause: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if spoken is None:
            server.close()
        else:
            threading.Thread(target=_speak, args=(server, spoken), daemon=True).start()
        place.configure(transport="smtp", smtp=f"127.0.0.1:{port}")
        place.notice()
        sent, (failure,) = place.send()
    assert sent == 0
    assert failure == f"notice 1 (blocked, incident 1) by mail: 127.0.0.1:{port}: {cause}"


def _speak(server: socket.socket, spoken: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(spoken)


def test_an_smtp_server_that_hangs_is_left_after_the_time_limit(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place.configure(transport="smtp", smtp=f"127.0.0.1:{server.getsockname()[1]}")
        place.notice()
        place.notice("other@example.org")
        begin = time.monotonic()
        sent, failures = place.send(seconds=0.3)
        assert time.monotonic() - begin < 2
    assert sent == 0
    assert [failure.partition(" took")[2] for failure in failures] == [" longer than 0.3 seconds"]
    assert [row[1] for row in place.waiting()] == [1, 0]


HANGING_NAMES = """\
import fcntl, pathlib, socket, struct, sys
from pcc.notice import outbox as notify
from test_notify import Place

ifreq = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(names, 0x8914, ifreq)  # SIOCSIFFLAGS
names.bind(("127.0.0.1", 53))  # where nobody answers
notify.HANGING_SECONDS = 9
place = Place(pathlib.Path(sys.argv[1]))
command = place.program("command", place.recording)
place.configure(transport="smtp", smtp="mail.example.org:25", command=[str(command)])
for _ in range(2):
    place.notice(channels=("mail", "command"))
print(*place.send(seconds=0.5))
"""


@pytest.mark.subprocess
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network of its own")
def test_a_name_service_that_hangs_keeps_no_other_notice(tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:2\n")
    (tmp_path / "place").mkdir()
    script = f'mount --bind {resolver} /etc/resolv.conf && exec "$@"'
    done = subprocess.run(
        [
            *("unshare", "--mount", "--net", "sh", "-c", script, "sh"),
            *(sys.executable, "-c", HANGING_NAMES, str(tmp_path / "place")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=30,
    )
    if "unshare failed" in done.stdout or "permission denied" in done.stdout:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(
        "2 ['notice 1 (blocked, incident 1) by mail: mail.example.org:25 took longer than"
        " 0.5 seconds']\n"
    )
