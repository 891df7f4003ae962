"""Requests through a whole verdict, from bytes to the action, on a real SQLite file.

Several accounts at a time are used as their owners or thieves might use them, over days; each
account gives way to a new one after a while.  Every action is held against the model of the rule.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from checkout import COUNTRIES, IPV6_NETWORKS, NETWORKS, address, address6
from mmdb import write_country_database, write_database

from fuzz import generate
from fuzz.rule_model import DAY, Limit, Model, Origin, Settings
from pcc.config import prepared
from pcc.history import Seen
from pcc.protocol import PolicyRequest, RequestReader, usual_request
from pcc.store import exemptions, imports, incidents, open_database, sums, upkeep
from pcc.store.engine import creation
from pcc.store.sightings import Sighting
from pcc.verdict.counting import LONGEST_SECONDS
from pcc.verdict.repeat import Verdicts

HOUR = 3600
CONFIGURATIONS: tuple[tuple[str, Settings], ...] = (
    (
        "max_countries = 3\nfamiliar_after = 0",
        Settings((Limit("max_countries", 3, 2 * DAY),)),
    ),
    (
        'max_countries = 3\nfamiliar_after = 1\n[[limit]]\nmax_countries = 2\nwindow = "1h"\n'
        '[[limit]]\nmax_addresses = 5\nwindow = "1h"\n',  # what 1.0.0 came with
        Settings(
            (
                Limit("max_countries", 3, 2 * DAY, 1),
                Limit("max_countries", 2, HOUR, 1),
                Limit("max_addresses", 5, HOUR, 1),
            )
        ),
    ),
    (
        'familiar_after = 2\nmax_countries = 2\nwindow = "1d"\nmin_mails = 2\n'
        'ignore_countries = ["IN"]\ncountry_groups = [["ES", "PT"], ["DE", "FR"]]\n',
        Settings(
            (Limit("max_countries", 2, DAY, 2),),
            min_mails=2,
            ignored=frozenset({"IN"}),
            groups=(frozenset({"ES", "PT"}), frozenset({"DE", "FR"})),
        ),
    ),
    (
        'familiar_after = 1\nmax_countries = 0\nmax_addresses = 3\nwindow = "20m"\n'
        'block_for = "3h"\n',
        Settings((Limit("max_addresses", 3, HOUR // 3, 1),), block_for=3 * HOUR),
    ),
    (
        'familiar_after = 2\nmax_countries = 0\nmax_networks = 4\nwindow = "1d"\n'
        'block_for = "2d"\ncountry_groups = [["ES", "PT"]]\n'
        '[[limit]]\nmax_networks = 2\nwindow = "1h"\nfamiliar_after = 1\n'
        '[[limit]]\nmax_hosting_mails = 2\nwindow = "6h"\n'
        '[[limit]]\nmax_foreign_mails = 4\nwindow = "12h"\nfamiliar_after = 1\n'
        '[[limit]]\nmax_foreign_mails = 6\nwindow = "3d"\nfamiliar_after = 3\n'
        '[[limit]]\nmax_countries = 1\nwindow = "3d"\nmode = "observe"\n',
        Settings(
            (
                Limit("max_networks", 4, DAY, 2),
                Limit("max_networks", 2, HOUR, 1),
                Limit("max_hosting_mails", 2, 6 * HOUR, 2),
                Limit("max_foreign_mails", 4, 12 * HOUR, 1),
                Limit("max_foreign_mails", 6, 3 * DAY, 3),
                Limit("max_countries", 1, 3 * DAY, 2, observes=True),
            ),
            groups=(frozenset({"ES", "PT"}),),
            block_for=2 * DAY,
        ),
    ),
    (
        '[[limit]]\nmax_networks = 3\nwindow = "10m"\n[[limit]]\nmax_networks = 16\nwindow = "7d"\n'
        '[[limit]]\nmax_countries = 15\nwindow = "14d"\n'
        '[[limit]]\nmax_hosting_mails = 25\nwindow = "1h"\n'
        '[[limit]]\nmax_foreign_mails = 50\nwindow = "1h"\n',  # the pcc.toml that we ship
        Settings(
            (
                Limit("max_countries", 5, 2 * DAY, 3),
                Limit("max_networks", 3, HOUR // 6, 3),
                Limit("max_networks", 16, 7 * DAY, 3),
                Limit("max_countries", 15, 14 * DAY, 3),
                Limit("max_hosting_mails", 25, HOUR, 3),
                Limit("max_foreign_mails", 50, HOUR, 3),
            )
        ),
    ),
)
STRICTER = (
    'familiar_after = 1\nmax_countries = 2\nwindow = "3h"\nignore_countries = ["FR"]\n'
    '[[limit]]\nmax_addresses = 3\nwindow = "1h"\n',
    Settings(
        (Limit("max_countries", 2, 3 * HOUR, 1), Limit("max_addresses", 3, HOUR, 1)),
        ignored=frozenset({"FR"}),
    ),
)
"""The configuration that the second of these changes to, and back again, on the way."""

SYSTEMS = {
    **{
        f"{address(country, host)}/32": 64500 + number * 10 + (host + 1) // 2
        for number, country in enumerate(COUNTRIES)
        for host in range(1, 5)
    },
    **{
        f"{address6(country, host, 0)[:-1]}/64": 64500 + number * 10 + (host + 1) // 2
        for number, country in enumerate(COUNTRIES)
        for host in range(1, 5)
    },
}
"""The autonomous systems of the first four of each country's addresses; the fifth has none."""

HOSTING = frozenset(64500 + number * 10 + 2 for number in range(len(COUNTRIES)))

START = 1_900_000_000
MAILS_PER_ACCOUNT = 60


def origin_of(country: str, recorded: str) -> Origin:
    """Return where a mail of an address comes from, as it is recorded; "" and "" for nowhere."""
    if not country:
        return Origin("", "", recorded)
    network = recorded if "/" in recorded else f"{recorded}/32"
    system = SYSTEMS.get(network)
    if system is not None:
        return Origin(country, f"AS{system}", recorded, system in HOSTING)
    wide = ".".join(recorded.split(".")[:2]) + ".0.0/16"
    return Origin(country, recorded.split(":")[0] + "::/32" if "/" in recorded else wide, recorded)


class Judged(NamedTuple):
    """The counts of a run."""

    requests: int
    refused: int
    accounts: int
    unblocked: int


@contextlib.contextmanager
def a_folder() -> Iterator[Path]:
    """A folder in memory, where there is one: a million syncs are no fun on a disk."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)


def run(requests: int, seed: int = 1) -> Judged:
    """Judge so many requests, by turns with every configuration."""
    total = Judged(0, 0, 0, 0)
    for number, (toml, settings) in enumerate(CONFIGURATIONS):
        share = requests // len(CONFIGURATIONS)
        with a_folder() as folder:
            fuzzer = _Fuzzer(folder, toml, settings, random.Random(f"{seed} {number}"))
            done = fuzzer.run(share)
        total = Judged(*[sum(pair) for pair in zip(total, done, strict=True)])
    return total


class _Fuzzer:
    def __init__(self, folder: Path, toml: str, settings: Settings, choice: random.Random) -> None:
        self._choice = choice
        self._folder = folder
        self._configurations = [(toml, settings)]
        if settings.limits[0] == Limit("max_countries", 3, 2 * DAY, 1):
            self._configurations.append(STRICTER)
        self._model = Model(settings)
        self._exempt: dict[tuple[str, str], float] = {}
        self._is_exempt = False  # whether the latest mail was
        write_country_database(folder / "country.mmdb", {**NETWORKS, **IPV6_NETWORKS})
        systems = {name: {"autonomous_system_number": number} for name, number in SYSTEMS.items()}
        write_database(folder / "networks.mmdb", systems, "GeoLite2-ASN")
        (folder / "hosting.txt").write_text("".join(f"{number}\n" for number in HOSTING))
        self._path = folder / "pcc.db"
        creation.create_or_upgrade(str(self._path))
        self._configure(toml)
        self._complaints: list[str] = []
        self._now = float(START)
        self._slot = 0
        self._names: list[str] = []
        self._left: list[int] = []
        self._accounts = self._unblocked = 0
        self._waits_since: dict[Verdicts, float] = {}
        self._processes = [self._process() for _ in range(3)]
        self._asked = self._processes[0]

    def _configure(self, toml: str) -> None:
        head, limit, tail = toml.partition("[[limit]]")
        (self._folder / "pcc.toml").write_text(
            f"[policy]\n{head}\n{limit}{tail}\n[notify]\nto = []\n"
            '[country]\ndatabase = "country.mmdb"\nnetworks = "networks.mmdb"\n'
            'hosting = "hosting.txt"\n[store]\ndatabase = "pcc.db"\n'
        )
        self._config = prepared.load(str(self._folder / "pcc.toml"))

    def _process(self) -> tuple[RequestReader, Verdicts]:
        database = open_database(str(self._path))
        return RequestReader(), Verdicts(self._config, database, self._complaints.append)

    def run(self, requests: int) -> Judged:
        refused = 0
        mail: dict[str, str | bytes] = {}
        about = ("", Origin("", "", ""), "")
        for number in range(requests):
            self._meddle()
            if not mail or self._is_exempt or self._choice.random() < 0.9:
                about, mail = self._new_mail()
                self._choose_process()
            else:
                self._tick(0.1)  # another recipient, or stage, of the same mail
                if self._choice.random() < 0.3:  # or Postfix asks another process again
                    self._asked[1].counts.write(self._asked[1].database)
                    self._choose_process()
            expected = self._expected(*about)
            action = self._answer(generate.request(mail, self._choice))
            assert action.startswith("REJECT ") if expected else action == "DUNNO", (
                number,
                about,
                self._now,
                action,
                self._model.accounts[about[0]],
            )
            refused += expected
            if expected and self._choice.random() < 0.1:
                self._unblock(about[0])
                mail = {}
        self._check()
        return Judged(requests, refused, self._accounts, self._unblocked)

    def _expected(self, account: str, origin: Origin, instance: str) -> bool:
        # Whether a mail counts whose exemption ends between two of its stages depends on who is
        # asked: it is left open here.
        self._is_exempt = True
        in_force = {key for key, until in self._exempt.items() if not until or until > self._now}
        domain = account.rpartition("@")[2]
        if in_force & {("account", account), ("domain", domain)}:
            return False
        is_blocked = self._model.is_blocked(account, self._now)
        if not is_blocked and ("client", origin.address) in in_force:
            return False
        self._is_exempt = False
        return self._model.refuses(account, origin, instance, self._now)

    def _meddle(self) -> None:
        """Now and then do what an administrator or cron may do."""
        what = self._choice.random()
        if what < 0.004 and self._names:
            self._exempt_something()
        elif what < 0.012 and self._exempt:
            self._end_an_exemption()
        elif what < 0.014 and len(self._configurations) > 1:
            self._change_configuration()
        elif what < 0.020 and self._names and self._model.settings.min_mails == 1:
            self._import()  # the runs that min_mails needs are made elsewhere
        elif what < 0.022:
            self._clean_up()

    def _exempt_something(self) -> None:
        account = self._choice.choice(self._names)
        key = self._choice.choice([("account", account), ("domain", account.rpartition("@")[2])])
        if self._choice.random() < 0.3:
            _, _, recorded = generate.client_address(self._choice)
            key = ("client", recorded or "192.0.2.1")
        until = self._choice.choice([0.0, self._now + 30, self._now + 900])
        with contextlib.closing(open_database(str(self._path))) as database:
            exemptions.add(database, *key, until, "fuzz", "", self._now)
        self._exempt[key] = until

    def _end_an_exemption(self) -> None:
        key = self._choice.choice(list(self._exempt))
        with contextlib.closing(open_database(str(self._path))) as database:
            exemptions.remove(database, *key, "fuzz", self._now)
        del self._exempt[key]

    def _change_configuration(self) -> None:
        self._configurations.append(self._configurations.pop(0))
        toml, self._model.settings = self._configurations[0]
        self._configure(toml)
        for _, verdicts in self._processes:
            verdicts.counts.write(verdicts.database)
            verdicts.close()
        self._processes = [self._process() for _ in self._processes]
        self._asked = self._processes[0]

    def _import(self) -> None:
        """Add a mail of the past to the history of an account."""
        account = self._choice.choice(self._names)
        country = self._choice.choice(COUNTRIES)
        recorded = address(country, self._choice.randrange(1, 6))
        at = self._now - self._choice.choice([HOUR / 2, 5 * HOUR, 2 * DAY, 9 * DAY])
        day = str(int(at // DAY))
        presence = Seen(country, at, at, 1, 0, day)
        origin = origin_of(country, recorded)
        sighting = Sighting(recorded, country, origin.network, at, at, 1, 0, day)
        with contextlib.closing(open_database(str(self._path))) as database:
            sums.fold(database, self._now)
            imports.add_past(database, [imports.AccountPast(account, [presence], [sighting])])
        self._model.learn(account, origin, at)

    def _clean_up(self) -> None:
        self._flush()
        with contextlib.closing(open_database(str(self._path))) as database:
            sums.fold(database, self._now)
            upkeep.drop_old_sightings(database, self._now - 30 * DAY)
            upkeep.end_expired(database, self._now)
            upkeep.drop_unknown_accounts(database, self._now)
        self._exempt = {
            key: until for key, until in self._exempt.items() if not until or until > self._now
        }
        for name, account in self._model.accounts.items():
            if account.blocked and account.expires and account.expires <= self._now:
                self._model.unblock(name, by_itself=True)
        self._model.clean_up(self._now - 30 * DAY)

    def _flush(self) -> None:
        for _, verdicts in self._processes:
            verdicts.counts.write(verdicts.database)
        self._waits_since.clear()

    def _new_mail(self) -> tuple[tuple[str, Origin, str], dict[str, str | bytes]]:
        choice = self._choice
        self._tick(choice.choice([0.01, 1, 5, 9, 60, 60, 600, HOUR, 5 * HOUR, DAY / 2]))
        if choice.random() < 0.3:  # mails of an account come in bursts
            self._slot = choice.randrange(8)
        slot = self._slot
        while slot >= len(self._names) or self._left[slot] == 0:
            self._replace(slot)
        self._left[slot] -= 1
        account = self._names[slot]
        login = generate.spelled(account, choice)
        text, country, recorded = generate.client_address(choice)
        instance = generate.instance(choice)
        mail: dict[str, str | bytes] = {
            "sasl_username": login,
            "client_address": text,
            "client_name": choice.choice(generate.HOSTILE),
            "sender": choice.choice(generate.HOSTILE),
            "queue_id": f"{choice.getrandbits(40):X}",
            "instance": instance,
        }
        return (account, origin_of(country, recorded), instance), mail

    def _replace(self, slot: int) -> None:
        if slot >= len(self._names):
            self._names.append("")
            self._left.append(0)
            slot = len(self._names) - 1
        if self._names[slot]:
            self._model.accounts.pop(self._names[slot], None)
        self._accounts += 1
        hostile = self._choice.choice(generate.HOSTILE).strip().lower()
        name = f"{self._accounts}{hostile}".strip().lower()
        # A dot or an `@` at the end is another spelling of the same login.
        self._names[slot] = name.rstrip("@.") if "@" in name else name
        self._model.accounts.pop(self._names[slot], None)
        self._left[slot] = self._choice.randrange(1, MAILS_PER_ACCOUNT)

    def _tick(self, most: float) -> None:
        """Move the clock on; count the mails that wait for it, as a process does."""
        before = self._now
        self._now += self._choice.random() * most
        for _, verdicts in self._processes:
            waits_since = self._waits_since.setdefault(verdicts, before)
            if self._now - waits_since > LONGEST_SECONDS or self._choice.random() < 0.1:
                verdicts.counts.write(verdicts.database)
                del self._waits_since[verdicts]

    def _choose_process(self) -> None:
        """Choose who is asked about a mail; now and then a process ends, and another begins."""
        if self._choice.random() < 0.01:
            _, verdicts = self._processes.pop(0)
            verdicts.counts.write(verdicts.database)
            verdicts.close()
            self._processes.append(self._process())
        self._asked = self._choice.choice(self._processes)

    def _answer(self, data: bytes) -> str:
        reader, verdicts = self._asked
        usual = usual_request(data)
        if usual is not None:  # as in pcc/service.py
            account = self._config.normalised_account(usual[0])
            if account and self._config.covers(account):
                repeat = verdicts.repeat(account, usual, self._now)
                if repeat is not None:
                    verdicts.count(repeat, usual, self._now)
                    return "DUNNO"
        half = self._choice.randrange(len(data))
        reader.receive(data[:half])
        assert reader.next_request() is None
        reader.receive(data[half:])
        request = reader.next_request()
        assert isinstance(request, PolicyRequest)
        account = self._config.account_of(request)
        if not account or not self._config.covers(account):
            return "DUNNO"
        return verdicts.verdict(account, request, self._now).action

    def _unblock(self, account: str) -> None:
        self._flush()
        with contextlib.closing(open_database(str(self._path))) as database:
            sums.fold(database, self._now)
            lifted = incidents.unblock(database, account, "fuzz", "", 0, self._now)
        assert lifted is not None
        self._model.unblock(account)
        self._unblocked += 1

    def _check(self) -> None:
        for _, verdicts in self._processes:
            verdicts.counts.write(verdicts.database)
            verdicts.close()
        assert not self._complaints, self._complaints
        with contextlib.closing(open_database(str(self._path))) as database:
            sums.fold(database, self._now)
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            counted = dict(
                connection.execute(
                    "SELECT account, sum(mails) FROM place WHERE kind = 'country' GROUP BY account"
                )
            )
        for name, account in self._model.accounts.items():
            mails = sum("country" not in mail.dropped for mail in account.mails)
            assert counted.get(name, 0) == mails, (name, counted.get(name), account)
