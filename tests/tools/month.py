"""A month of a mail server with a thousand accounts, for a picture of its report.

The mails are the simulator's, moved to real countries.  `replay` says which accounts its limits
would have blocked, and when: these become the incidents, most of them dealt with by now.
"""

from __future__ import annotations

import json
import math
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

from checkout import ROOT
from maxminddb import open_database
from simulator import DAY, simulate, utc

DAYS = 30
SEED = 8
KINDS = {"stay_at_home": 660, "commuter": 120, "traveller": 190, "shared": 16, "stolen": 14}
"""How many accounts of each kind."""

HOMES = {"DE": 62, "AT": 9, "CH": 8, "FR": 5, "NL": 4, "PL": 4, "ES": 3, "IT": 3, "GB": 2, "DK": 2}
"""Where accounts are at home, in a hundred."""

JOURNEYS = """FR IT ES AT CH GB NL US TR GR PT HR DK SE PL CZ BE NO TH JP MX ZA MA EG CA AE SG AU
    IS IE""".split()
PROXIES = """VN BR IN ID RU US NG CN TR MX PH BD PK UA IR TH CO AR ZA EG KE MA PE CL VE MY KR TW SA
    KZ UZ IQ DZ TN GH ET TZ BO EC LK MM NP""".split()

FIRST = "anna ben carla david emma felix greta hugo ida jonas karla leo mia noah olga paul rosa"
LAST = """adam bauer conrad dietz ernst fuchs graf haas ivers jung keller lang maier neumann otto
    peters quast richter schulz thoma ulrich vogt weber xaver young zimmer huber kraus roth sommer
    winter brandt engel frank gross hahn hofmann horn jahn kaiser klein koch krueger kuhn lorenz
    ludwig martin moser pohl sauer schmitt simon stein vogel wagner walter weiss wolf ziegler"""
NAMES = [f"{first}.{last}@example.org" for last in LAST.split() for first in FIRST.split()]


class Mail(NamedTuple):
    """A mail: when (UTC seconds), of which account, from where, and whether a thief sent it."""

    at: int
    account: str
    address: str
    stolen: bool


class Month:
    """A folder with a configuration, and a database that holds the month until now."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "pcc.toml"
        self._database = folder / "pcc.db"
        text = (ROOT / "pcc.toml").read_text(encoding="utf-8")
        text = text.replace("/var/lib/pcc", str(folder)).replace('to = ["postmaster"]', "to = []")
        self.config.write_text(text, encoding="utf-8")
        self.run("init")
        path = folder / "mail.log"
        mails = list(_mails(folder / "country.mmdb"))
        path.write_text(_log(mails), encoding="utf-8")
        found = json.loads(self.run("--json", "replay", str(path)))["accounts"]
        blocked = {row["account"]: _seconds(row["at"]) for row in found}
        passed = [m for m in mails if not (m.stolen and m.at >= blocked.get(m.account, math.inf))]
        path.write_text(_log(passed), encoding="utf-8")
        self.run("replay", "--import", str(path))
        self._block(found)

    def run(self, *arguments: str) -> str:
        """Run pcc_admin.py; return its output."""
        script = [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(self.config)]
        done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr
        return done.stdout

    def _block(self, found: list[dict[str, Any]]) -> None:
        """Insert the incidents of a replay, and what administrators did about them.

        They unblocked owners on a journey after some hours, and deleted a thief's mail the next
        day.  The latest accounts are still blocked.
        """
        dice = random.Random(SEED)
        now = time.time()
        with closing(sqlite3.connect(self._database)) as database, database:
            for row in sorted(found, key=lambda row: row["at"]):
                began = _seconds(row["at"])
                is_theft = row["mails_stopped"] > 9
                ended = began + (dice.uniform(0.3, 0.9) if is_theft else 0.1) * DAY
                is_over = began < now - 4 * DAY
                values = _incident(row, began, ended if is_over else None, dice)
                values["id"] = number = int(began * 1e9)
                names, marks = ", ".join(values), ", ".join("?" * len(values))
                database.execute(
                    f"INSERT INTO incident ({names}) VALUES ({marks})", list(values.values())
                )
                events = [(began, "blocked", "pcc", values["rule"])]
                if is_over:
                    reason = "password changed" if is_theft else "on a journey"
                    events.append((ended, "unblocked", "alice", reason))
                    if is_theft:
                        events.append((ended, "deleted", "alice", "held mails"))
                database.execute(
                    "INSERT INTO account (account, generation, turns, incident)"
                    " VALUES (?, ?, 0, ?) ON CONFLICT (account) DO UPDATE"
                    " SET generation = excluded.generation, incident = excluded.incident",
                    (row["account"], int(is_over), None if is_over else number),
                )
                database.executemany(
                    "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)",
                    [(int(at * 1e9), at, row["account"], *words) for at, *words in events],
                )


def _incident(
    row: dict[str, Any], began: float, ended: float | None, dice: random.Random
) -> dict[str, Any]:
    """Return the columns of the incident that a replay found, in UTC seconds."""
    return {
        "account": row["account"],
        "mode": "enforce",
        "rule": _rule(row),
        "window_seconds": 2 * DAY,
        "countries": ",".join(row["countries"]),
        "country": row["countries"][-1],
        "client_address": row["client_address"],
        "client_name": "unknown",
        "queue_id": f"{dice.randrange(16**9):09X}",
        "action": "REJECT",
        "began": began,
        "expires": 0,
        "ended": ended,
        "held": 0,
        "tries": row["mails_stopped"],
        "last_try": began + 3600,
        "instance": "",
    }


def _seconds(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339.replace("Z", "+00:00")).timestamp()


def _rule(row: dict[str, Any]) -> str:
    return str(row.get("rule") or f"max_countries {row['max_countries']} in {row['window']}")


def _mails(countries: Path) -> Iterator[Mail]:
    """Yield the month's mails until now, in the order of time."""
    dice = random.Random(SEED)
    networks = _networks(countries)
    begin = int(time.time()) // DAY * DAY - (DAYS - 1) * DAY
    simulated = [
        mail._replace(account=f"{kind} {mail.account}")
        for kind, count in KINDS.items()
        for mail in simulate(SEED, begin, DAYS, [kind], count)
    ]
    names = iter(dice.sample(NAMES, sum(KINDS.values())))
    people: dict[str, str] = {}
    places: dict[tuple[str, str], IPv4Network] = {}
    for mail in sorted(simulated):
        if mail.at > time.time() - 60:
            return
        is_weekend = utc(mail.at).weekday() > 4
        day = random.Random(f"{mail.account} {mail.at // DAY}")  # nobody sends on every day
        if not mail.stolen and day.random() < (0.7 if is_weekend else 0.2):
            continue
        if mail.account not in people:
            people[mail.account] = next(names)
        if mail.stolen:  # a proxy of its own for each mail
            network = dice.choice(networks[dice.choice(PROXIES)])
        else:
            place = mail.account, mail.country
            if place not in places:
                is_home = not any(who == mail.account for who, _ in places)
                home = dice.choices(list(HOMES), list(HOMES.values()))[0]
                # The first journeys are the commonest.
                away = JOURNEYS[int(dice.random() ** 3 * len(JOURNEYS))]
                places[place] = dice.choice(networks[home if is_home else away])
            network = places[place]
        host = mail.host % (network.num_addresses - 2) + 1
        yield Mail(mail.at, people[mail.account], str(network[host]), mail.stolen)


def _networks(path: Path) -> dict[str, list[IPv4Network]]:
    """Return the networks of each country in the bundled database, as far as they are large."""
    found: dict[str, list[IPv4Network]] = {}
    with open_database(path) as database:
        for network, record in database:
            code = record.get("country", {}).get("iso_code")
            if code and isinstance(network, IPv4Network) and network.prefixlen <= 21:
                found.setdefault(code, []).append(network)
    return found


def _log(mails: Iterable[Mail]) -> str:
    return "".join(
        f"{utc(mail.at).isoformat()} mx1 postfix/submission/smtpd[4711]: {number:011X}:"
        f" client=unknown[{mail.address}], sasl_method=PLAIN, sasl_username={mail.account}\n"
        for number, mail in enumerate(mails, 1)
    )
