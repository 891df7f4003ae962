"""Three hosts that share a database, each with a follower, while servers and followers fail.

In each round mails of a new account come from 40 countries at the same instant, over 40 processes
on three hosts.  Meanwhile one thing fails at a random instant: a follower, or a part of the cluster
(tests/tools/clusters.py).  Then more mail comes from the places that have passed, until it is
refused.  A mail without an answer is sent again, as Postfix does once, and a client after
`default_action`.
"""

from __future__ import annotations

import contextlib
import random
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from checkout import PolicyProcess, is_pass, is_refusal, request_text
from clusters import Cluster, Failure
from hosts import Host, wait_for
from mmdb import write_country_database

from pcc.config.iso3166 import CODES
from pcc.store import open_database, sums

MAILS = 40
MOST = 3
USUAL_SECONDS = 3
"""The most that a failure takes, except for one in LONG_ONES."""
LONG_ONES = 40


class Shared(NamedTuple):
    """The measurements of a run.

    `fewer`: crowds of which fewer passed than may, because an answer was lost on its way.
    `ended`: processes without an answer; their mails were sent again.  `undecided`: mails that met
    two of these, so that Postfix would have done what default_action says.  `late`: mails that
    passed though their account was blocked, and for how many seconds at most.
    """

    rounds: int
    failures: int
    too_many: int
    fewer: int
    sightings_lost: int
    blocks_lost: int
    late: int
    late_seconds: float
    uncounted_mails: int
    uncounted_tries: int
    ended: int
    undecided: int

    def is_sound(self) -> bool:
        """Whether nothing that was decided is lost, and no mail passed that was to be decided."""
        wrong = self.too_many, self.sightings_lost, self.blocks_lost, self.uncounted_mails
        return not any(wrong) and self.fewer <= self.ended


def run(cluster: Cluster, rounds: int, *, seed: int = 1, longest: float = 2) -> Shared:
    """Do so many rounds, each but the first with a failure of so many seconds at most."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        hosts = [Host(Path(folder) / f"host{n}", url) for n, url in enumerate(cluster.urls)]
        networks = {f"12.{n}.0.0/16": code for n, code in zip(range(MAILS), sorted(CODES))}  # noqa: B905
        for host in hosts:
            write_country_database(host.countries, networks)
        try:
            return _Run(hosts, cluster.failures, random.Random(seed), longest).go(rounds)
        finally:
            for host in hosts:
                host.close()


class _Run:
    def __init__(
        self, hosts: list[Host], failures: list[Failure], choice: random.Random, longest: float
    ) -> None:
        self._hosts = hosts
        self._failures = [*failures, self._kill_follower, self._suspend_follower]
        self._choice = choice
        self._longest = longest
        self._processes: list[PolicyProcess | None] = [None] * MAILS
        self._lock = threading.Lock()
        self._ended = self._undecided = self._refused = 0
        self._too_many = self._fewer = 0
        self._blocked_at = 0.0
        self._late: list[float] = []

    def go(self, rounds: int) -> Shared:
        """Do the rounds."""
        accounts = [f"joe{number}@example.org" for number in range(rounds)]
        with ThreadPoolExecutor(MAILS + 1) as pool:
            for number, account in enumerate(accounts):
                failure = pool.submit(self._fail, number) if number else None
                self._blocked_at = 0
                answers = pool.map(partial(self._send, account), range(MAILS))
                passed = [mail for mail, answer in enumerate(answers) if is_pass(answer)]
                self._too_many += len(passed) > MOST
                self._fewer += len(passed) < MOST
                list(pool.map(partial(self._send_until_refused, account), passed))
                if failure is not None:
                    failure.result()
        for process in self._processes:
            if process is not None:
                process.end()
        for host in self._hosts:
            host.follow()
            wait_for(lambda h=host: h.rows("SELECT count(*) FROM counted") == [(0,)], 60)  # type: ignore[misc]
        return self._measured(accounts)

    def _send(self, account: str, number: int) -> str:
        """Send a mail until it gets an answer."""
        text = request_text(account, f"12.{number}.0.1")
        for attempt in range(200):
            process = self._processes[number]
            if process is None:
                process = self._processes[number] = self._hosts[number % 3].policy()
            action = None
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                process.send(text)
                action = process.reply()
            if action is not None:
                with self._lock:
                    self._refused += is_refusal(action)
                    if is_refusal(action) and not self._blocked_at:
                        self._blocked_at = time.monotonic()
                return action
            with self._lock:
                self._ended += 1
                self._undecided += attempt % 2
            process.end()
            self._processes[number] = None
            time.sleep(1)
        raise AssertionError(f"no answer: {account} {number}")

    def _send_until_refused(self, account: str, number: int) -> None:
        """Send mail from a place that has passed: its account is blocked by now."""
        while is_pass(self._send(account, number)):
            with self._lock:
                self._late.append(time.monotonic() - self._blocked_at)
            time.sleep(0.1)

    def _fail(self, number: int) -> None:
        """Make something fail at a random instant, one kind after the other."""
        time.sleep(self._choice.uniform(0, 0.3))
        seconds = self._choice.uniform(0, min(self._longest, USUAL_SECONDS))
        if self._choice.random() < 1 / LONG_ONES:
            seconds = self._choice.uniform(0, self._longest)
        self._failures[(number - 1) % len(self._failures)](seconds)

    def _kill_follower(self, seconds: float) -> None:
        self._choice.choice(self._hosts).signal_follower(signal.SIGKILL)

    def _suspend_follower(self, seconds: float) -> None:
        host = self._choice.choice(self._hosts)
        host.signal_follower(signal.SIGSTOP)
        time.sleep(seconds)
        host.signal_follower(signal.SIGCONT)

    def _measured(self, accounts: list[str]) -> Shared:
        """Look into the database, and return all figures."""
        rounds = len(accounts)
        with closing(open_database(self._hosts[0].server_url)) as database:
            sums.fold(database, time.time())
            ((places, mails),) = database.rows(
                "SELECT count(*), coalesce(sum(mails), 0) FROM place"
                " WHERE kind = ? AND account LIKE ?",
                ("country", "joe%"),
            )
            ((blocks, tries),) = database.rows(
                "SELECT count(*), coalesce(sum(tries), 0) FROM incident WHERE ended IS NULL"
            )
        recorded = rounds * (MOST + 1)  # the crossing mail as well
        return Shared(
            rounds=rounds,
            failures=rounds - 1,
            too_many=self._too_many,
            fewer=self._fewer,
            sightings_lost=recorded - int(places),
            blocks_lost=rounds - int(blocks),
            late=len(self._late),
            late_seconds=max(self._late, default=0),
            uncounted_mails=recorded + len(self._late) - int(mails),
            uncounted_tries=self._refused - int(tries),
            ended=self._ended,
            undecided=self._undecided,
        )
