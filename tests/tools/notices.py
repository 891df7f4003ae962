"""Notices for tests, and a place with an outbox whose programs are small shell scripts."""

from __future__ import annotations

import email
import email.message
import email.policy
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from checkout import NO_NETWORKS, ROOT

from pcc.config import Config
from pcc.config.prepared import load
from pcc.notice.notice import Notice
from pcc.notice.outbox import send_due, send_outbox
from pcc.store import blocks, open_database, sightings
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


def renumbered(text: str) -> str:
    """A message with 1 in place of each id of a notice or an incident."""
    return re.sub(r"\b(notice |incident[ =])\d{19}\b", r"\g<1>1", text)


def insert_incident(database: Database, account: str, values: dict[str, Any]) -> int:
    """Insert the incident of incident_row(), with other `values`, as the account's open one."""
    columns = {"account": account, "began": time.time(), **values}
    number = time.time_ns()
    row = {**incident_row(id=number, **columns)._asdict(), "instance": ""}
    database.write(
        f"INSERT INTO incident ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
        tuple(row.values()),
    )
    database.write(
        "INSERT OR REPLACE INTO account (account, generation, turns, incident) VALUES (?, 0, 0, ?)",
        (account, number),
    )
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
        values = {
            "to": [USER],
            "sendmail": str(self.sendmail),
            "from": "pcc@example.org",
            "digest": "",
        }
        options = "".join(
            f"{name} = {json.dumps(value)}\n" for name, value in {**values, **notify}.items()
        )
        self.config = config_of(
            self.folder,
            f'[store]\ndatabase = "{self.named}"\n[country]\ndatabase = "country.mmdb"\n'
            f'{NO_NETWORKS}[notify]\n{options}\n[log]\nname = "pcc-notices"\n',
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
        seen = Sighting(
            where, country, "", first, last, mails=2, generation=0, client_name="unknown"
        )
        with self.database:
            sightings.save_sighting(self.database, USER, seen)

    def send(self, **options: Any) -> tuple[int, list[str]]:
        """Send the outbox."""
        return send_outbox(self.config, self.database, **options)

    def send_due(self, **options: Any) -> tuple[int, list[str]]:
        """Send the outbox as a process does that a policy process has started."""
        return send_due(self.config, self.database, **options)

    def waiting(self) -> list[tuple[Any, ...]]:
        """The rows of the outbox: channel, tries, last_error, recipients."""
        return self.database.rows(
            "SELECT channel, tries, last_error, recipients FROM outbox ORDER BY id"
        )

    def received(self) -> list[email.message.EmailMessage]:
        """The mails that the recording sendmail got."""
        files = [file for file in self.mails.iterdir() if not file.suffix]
        return [
            email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            for file in files
        ]


def admin(place: Place, *arguments: str) -> list[str]:
    script = str(ROOT / "pcc_admin.py")
    return [sys.executable, script, "--config", place.config.path, *arguments]
