"""Three hosts that share a PostgreSQL, each with a follower, while server and followers fail.

In each round mails of a new account come from 40 countries at the same instant, over 40 processes
on three hosts.  Meanwhile the server, or a follower, is killed or suspended at a random instant.  A
mail without an answer is sent again, as a client does after `default_action`.
"""

from __future__ import annotations

import contextlib
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from checkout import PolicyProcess, is_pass, is_refusal, request_text
from hosts import Host, wait_for
from mmdb import write_country_database
from servers import PostgreSQL

from pcc.config.iso3166 import CODES
from pcc.store import open_database, sums

MAILS = 40
MOST = 3


class Shared(NamedTuple):
    """The measurements of a run.

    `unanswered`: requests, which were sent again.  `latest`: the longest that a block elsewhere was
    not known to a host, in seconds, while the server answered.  `uncounted`: mails.
    """

    rounds: int
    faults: int
    unanswered: int
    latest: float
    uncounted: int


def run(rounds: int, *, seed: int = 1, server: PostgreSQL | None = None) -> Shared:
    """Do so many rounds, each but the first with a fault.

    Raises AssertionError for a round in which not exactly MOST mails pass, or a block is lost.
    """
    choice = random.Random(seed)
    own = server or PostgreSQL()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        url = own.new_database()
        hosts = [Host(Path(folder) / f"host{number}", url) for number in range(3)]
        networks = {f"12.{n}.0.0/16": code for n, code in zip(range(MAILS), sorted(CODES))}  # noqa: B905
        for host in hosts:
            write_country_database(host.countries, networks)
        try:
            return _Run(own, hosts, choice).go(rounds)
        finally:
            for host in hosts:
                host.close()
            if server is None:
                own.stop(signal.SIGINT)


class _Run:
    def __init__(self, server: PostgreSQL, hosts: list[Host], choice: random.Random) -> None:
        self._server = server
        self._hosts = hosts
        self._choice = choice
        self._processes: list[PolicyProcess | None] = [None] * MAILS
        self._unanswered = 0
        self._lock = threading.Lock()

    def go(self, rounds: int) -> Shared:
        """Do the rounds."""
        latest = 0.0
        with ThreadPoolExecutor(MAILS + 1) as pool:
            for number in range(rounds):
                account = f"joe{number}@example.org"
                fault = pool.submit(self._fail) if number else None
                actions = list(pool.map(lambda n, a=account: self._send(a, n), range(MAILS)))
                if fault is not None:
                    fault.result()
                assert sum(map(is_pass, actions)) == MOST, (number, actions)
                assert sum(map(is_refusal, actions)) == MAILS - MOST, (number, actions)
                latest = max(latest, self._wait_for_block(account))
        for process in self._processes:
            if process is not None:
                process.end()
        for host in self._hosts:
            wait_for(lambda h=host: h.rows("SELECT count(*) FROM counted") == [(0,)], 60)  # type: ignore[misc]
        return Shared(rounds, rounds - 1, self._unanswered, latest, self._uncounted(rounds))

    def _send(self, account: str, number: int) -> str | None:
        """Send a mail until it gets an answer."""
        text = request_text(account, f"12.{number}.0.1")
        for _ in range(100):
            process = self._processes[number]
            if process is None:
                process = self._processes[number] = self._hosts[number % 3].policy()
            action = None
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                process.send(text)
                action = process.reply()
            if action is not None:
                return action
            with self._lock:
                self._unanswered += 1
            process.end()
            self._processes[number] = None
            time.sleep(0.3)
        return None

    def _fail(self) -> None:
        """Make something fail at a random instant."""
        time.sleep(self._choice.uniform(0, 0.3))
        host = self._choice.choice(self._hosts)
        faults: list[Callable[[], None]] = [
            lambda: host.signal_follower(signal.SIGKILL),
            lambda: self._suspend_follower(host),
            self._kill_server,
            self._suspend_server,
        ]
        self._choice.choice(faults)()

    def _suspend_follower(self, host: Host) -> None:
        host.signal_follower(signal.SIGSTOP)
        time.sleep(3)
        host.signal_follower(signal.SIGCONT)

    def _kill_server(self) -> None:
        self._server.stop(signal.SIGQUIT)
        time.sleep(self._choice.uniform(0, 3))
        self._server.start()

    def _suspend_server(self) -> None:
        self._server.pause()
        time.sleep(self._choice.uniform(0, 4))
        self._server.go_on()

    def _wait_for_block(self, account: str) -> float:
        """Wait until each host knows a block; return how long that took, from when it answers."""
        with closing(open_database(self._hosts[0].server_url)) as database:
            assert database.row(
                "SELECT 1 FROM account WHERE account = ? AND incident > 0", (account,)
            )
        begin = time.monotonic()
        for host in self._hosts:
            host.ask("warm-up@example.org", "12.1.0.1")  # which starts a follower that was killed
            wait_for(lambda h=host: h.has_block(account), 30)  # type: ignore[misc]
        return time.monotonic() - begin

    def _uncounted(self, rounds: int) -> int:
        with closing(open_database(self._hosts[0].server_url)) as database:
            sums.fold(database, time.time())
            ((mails,),) = database.rows(
                "SELECT coalesce(sum(mails), 0) FROM place WHERE kind = ? AND account LIKE ?",
                ("country", "joe%"),
            )
            ((tries,),) = database.rows("SELECT coalesce(sum(tries), 0) FROM incident")
        assert int(mails) == rounds * (MOST + 1), mails  # the crossing one is recorded as well
        return rounds * (MAILS - MOST) - int(tries)
