"""Load on policy processes, and what they answered held against what the database says.

A `Load` sends mails of many accounts from many countries over several policy processes, asking
again in a fresh one when a process ended without a reply, as Postfix does.  `discrepancies()`
compares its ledger with a database:

- a refusal has a block behind it, a block has a cause
- of an account's countries no more than `max_countries` passed, and none after a refusal
- what was answered DUNNO for the first time is recorded
- no mail is counted that was not sent; what is not counted may be missing only as far as
  processes were killed shortly after their answer
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from checkout import COUNTRIES, PolicyProcess, address, is_pass, is_refusal, request_text

from pcc.store import open_database, sums
from pcc.verdict import counting

MAX_COUNTRIES = 3
IN_FLIGHT_SECONDS = counting.GROUP_SECONDS + counting.PATIENT_AFTER_SECONDS
"""Seconds that a mail that changes nothing may wait to be counted, unless counting fails."""

CONFIG = f"familiar_after = 0\nmax_countries = {MAX_COUNTRIES}\n"


class Asked(NamedTuple):
    """A request about a mail, and the action of its reply: None where there was none."""

    account: str
    country: str
    address: str
    instance: str
    sent: float
    answered: float
    action: str | None
    process: int


class Load:
    """Mails of many accounts over `workers` policy processes, until `stop()`.

    Every other account keeps to countries that are within the limit.  `start` makes a process.
    `pause`: seconds between two mails of a process.  `mails_per_process`: after so many it gets an
    end of file; 0 is never.
    """

    def __init__(
        self,
        start: Callable[[], PolicyProcess],
        workers: int,
        *,
        seed: int = 0,
        accounts: int = 12,
        pause: float = 0,
        mails_per_process: int = 0,
    ) -> None:
        self.asked: list[Asked] = []
        self.ended: dict[int, float] = {}
        self._start = start
        self._pause = pause
        self._mails_per_process = mails_per_process
        self._accounts = accounts
        self._seed = seed
        self._stopping = threading.Event()
        self._slots: list[PolicyProcess | None] = [None] * workers
        self._mails = 0
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(slot,)) for slot in range(workers)
        ]
        self.failures: list[BaseException] = []

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, *, gently: bool = True) -> None:
        """Send no more, and end the processes: normally, or without a warning."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for process in self._slots:
            if process is not None:
                if gently:
                    process.end()
                else:
                    self._kill(process)
        if self.failures:
            raise self.failures[0]

    def kill_one(self, choice: random.Random) -> bool:
        """Kill one of the processes without a warning; return whether one was there."""
        process = choice.choice(self._slots)
        if process is None or process.process.poll() is not None:
            return False
        self._kill(process)
        return True

    def _kill(self, process: PolicyProcess) -> None:
        self.ended[process.process.pid] = time.monotonic()
        process.process.kill()
        process.process.wait(20)

    def _work(self, slot: int) -> None:
        choice = random.Random(f"{self._seed} {slot}")
        try:
            mails = 0
            while not self._stopping.is_set():
                account, country = self._next_mail(choice)
                host = address(country, choice.randrange(1, 4))
                instance = f"{slot:x}.{self._seed:x}.{len(self.asked):x}.{choice.random()}"
                for _ in range(3):
                    if self._ask(slot, account, country, host, instance) is not None:
                        break
                mails += 1
                if self._mails_per_process and mails % self._mails_per_process == 0:
                    self._end(slot)
                if self._pause:
                    time.sleep(self._pause * choice.random())
        except BaseException as failure:  # for stop() to raise
            self.failures.append(failure)

    def _end(self, slot: int) -> None:
        process, self._slots[slot] = self._slots[slot], None
        if process is not None:
            process.end()

    def _next_mail(self, choice: random.Random) -> tuple[str, str]:
        """Return account and country; the accounts slowly give way to new ones."""
        with self._lock:
            self._mails += 1
            oldest = self._mails // 20
        number = oldest + choice.randrange(self._accounts)
        if number % 2:
            own = random.Random(number).sample(COUNTRIES, MAX_COUNTRIES)
            return f"quiet{number}@example.org", choice.choice(own)
        return f"hopping{number}@example.org", choice.choice(COUNTRIES)

    def _ask(self, slot: int, account: str, country: str, host: str, instance: str) -> str | None:
        process = self._slots[slot]
        if process is None:
            process = self._slots[slot] = self._start()
        sent = time.monotonic()
        action: str | None = None
        try:
            process.send(request_text(account, host, instance=instance))
            action = process.reply()
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            if action is None:
                process.socket.close()
                self._slots[slot] = None
            entry = Asked(
                account,
                country,
                host,
                instance,
                sent,
                time.monotonic(),
                action,
                process.process.pid,
            )
            self.asked.append(entry)
        if action is None and process.process.wait(20) != -9:
            raise AssertionError(
                f"a process ended by itself, status {process.process.returncode}: {entry}"
            )
        return action


class Recorded:
    """The content of a database, read once."""

    def __init__(self, path: Path) -> None:
        with closing(open_database(str(path))) as database:
            sums.fold(database, time.time())
        with closing(sqlite3.connect(path)) as connection:
            read = connection.execute
            self.soundness = read("PRAGMA integrity_check").fetchone()[0]
            self.sightings: dict[tuple[str, str], int] = {
                (account, address): mails
                for account, address, mails in read("SELECT account, address, mails FROM sighting")
            }
            self.presences: dict[tuple[str, str], int] = {
                (account, country): mails
                for account, country, mails in read(
                    "SELECT account, name, mails FROM place WHERE kind = 'country'"
                )
            }
            self.incidents: dict[str, tuple[str, int]] = {}
            for account, countries, tries in read(
                "SELECT account, countries, tries FROM incident WHERE ended IS NULL"
            ):
                assert account not in self.incidents, f"two open incidents of {account}"
                self.incidents[account] = countries, tries
            self.open = {
                account
                for (account,) in read("SELECT account FROM account WHERE incident IS NOT NULL")
            }


class Figures(NamedTuple):
    """The numbers of a comparison.

    `lost`: mails that were answered and are not counted; `might_be_lost`: those that were
    answered by a process that was killed within the time that counting may take.
    """

    requests: int
    passed: int
    refused: int
    unanswered: int
    accounts: int
    blocks: int
    lost: int
    might_be_lost: int


def compare(asked: Iterable[Asked], ended: dict[int, float], found: Recorded) -> Figures:
    """Hold a ledger against a database; raise AssertionError for whatever is not as it should be.

    `ended`: when processes were killed, by process id.
    """
    asked = list(asked)
    assert found.soundness == "ok", found.soundness
    assert found.open == set(found.incidents), "an account and its incident disagree"
    by_account: dict[str, list[Asked]] = defaultdict(list)
    for entry in asked:
        by_account[entry.account].append(entry)
    for account, entries in by_account.items():
        _check_account(account, entries, found)
    _check_sums(found)
    lost, might_be_lost = _check_counts(asked, ended, found)
    return Figures(
        len(asked),
        sum(is_pass(entry.action) for entry in asked),
        sum(is_refusal(entry.action) for entry in asked),
        sum(entry.action is None for entry in asked),
        len(by_account),
        len(found.incidents),
        lost,
        might_be_lost,
    )


def _check_account(account: str, entries: list[Asked], found: Recorded) -> None:
    passed = [entry for entry in entries if is_pass(entry.action)]
    refused = [entry for entry in entries if is_refusal(entry.action)]
    for entry in passed:
        assert (account, entry.address) in found.sightings, f"a lost sighting: {entry}"
        assert (account, entry.country) in found.presences, f"a lost country: {entry}"
    countries = {entry.country for entry in passed}
    assert len(countries) <= MAX_COUNTRIES, f"{account} passed from {countries}"
    if refused:
        assert account in found.incidents, f"refused without a block: {refused[0]}"
        first = min(entry.answered for entry in refused)
        late = [entry for entry in passed if entry.sent > first]
        assert not late, f"passed after a refusal: {late[0]}"
    if account in found.incidents:
        crossing = found.incidents[account][0].split(",")
        assert len(crossing) == MAX_COUNTRIES + 1, crossing
        sent = {entry.country for entry in entries}
        assert set(crossing) <= sent, f"{account} is blocked for {crossing}, sent from {sent}"


def _check_sums(found: Recorded) -> None:
    """A country's mails are the sum of its addresses' mails."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for (account, host), mails in found.sightings.items():
        sums[(account, COUNTRIES[int(host.split(".")[1]) - 1])] += mails
    assert sums == found.presences, "sightings and presences disagree"


def _check_counts(asked: list[Asked], ended: dict[int, float], found: Recorded) -> tuple[int, int]:
    """Return how many mails were lost, and how many might have been."""
    most: dict[tuple[str, str], int] = defaultdict(int)  # requests, the unanswered too
    answered: dict[tuple[str, str], set[str]] = defaultdict(set)
    at_risk: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in asked:
        key = entry.account, entry.address
        most[key] += 1
        if is_pass(entry.action):
            answered[key].add(entry.instance)
            killed = ended.get(entry.process)
            if killed is not None and killed - entry.answered < IN_FLIGHT_SECONDS:
                at_risk[key].add(entry.instance)
    lost = 0
    for key, mails in found.sightings.items():
        assert mails <= most[key], f"{key}: {mails} mails were counted, {most[key]} were sent"
    for key, instances in answered.items():
        missing = len(instances) - found.sightings[key]
        assert missing <= len(at_risk[key]), (
            f"{key}: {missing} mails are not counted, {len(at_risk[key])} were in flight"
        )
        lost += max(0, missing)
    return lost, sum(len(instances) for instances in at_risk.values())
