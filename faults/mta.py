"""A real Postfix under load, whose policy processes are killed while it is reloaded and stopped.

Clients on many connections send mails of accounts that are used as they should be and of accounts
that are used from too many countries.  `default_action` is a code of its own.  So each answer
shows its author: pcc (250, 554), or Postfix where pcc could not answer (DEFAULT_CODE).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from checkout import COUNTRIES, NETWORKS, address
from deployment import Deployment, deploy, processes_of
from mmdb import write_country_database
from postfix import Policy, PrivatePostfix, StuckLoggingError
from smtp import Session

MAX_COUNTRIES = 3
DEFAULT_CODE = 459


class Mail(NamedTuple):
    """One mail and what became of it; `code` is 0 where the connection was lost."""

    account: str
    country: str
    sent: float
    answered: float
    code: int


class Loaded(NamedTuple):
    """The measurements of a run.

    `undecided`: mails that got `default_action`.  `lost`: connections that ended in a mail, all
    of them while Postfix was stopping.  `seconds_to_stop`: until nothing was left.
    """

    connections: int
    mails: int
    passed: int
    refused: int
    undecided: int
    lost: int
    kills: int
    reloads: int
    seconds_to_stop: float


def run(connections: int, seconds: float, reloads: int = 3, seed: int = 1) -> Loaded:
    """Load a Postfix for `seconds`; raise AssertionError if anything is wrong afterwards."""
    try:
        return _run(connections, seconds, reloads, seed)
    except StuckLoggingError:  # Postfix's own, and rare
        return _run(connections, seconds, reloads, seed)


def _run(connections: int, seconds: float, reloads: int, seed: int) -> Loaded:
    pcc = _installed()
    policy = Policy(
        pcc.policy_argv(), ("data",), default_action=f"{DEFAULT_CODE} 4.3.0 pcc can not answer"
    )
    main = {"default_process_limit": str(2 * connections), "smtpd_timeout": "60s"}
    with PrivatePostfix(policy, main=main) as mta:
        clients = _Clients(mta.submission, connections, seed)
        clients.start()
        kills = _disturb(mta, pcc.folder, seconds, reloads, random.Random(seed))
        stopped = time.monotonic()
        clients.ending.set()
        left = mta.stop(patience=10)
        seconds_to_stop = time.monotonic() - stopped
        assert not left, f"survived postfix stop: {left}"
        mails = clients.stop()
    _check(mails, stopped)
    codes = [mail.code for mail in mails]
    return Loaded(
        connections,
        len(mails),
        codes.count(250),
        codes.count(554),
        codes.count(DEFAULT_CODE),
        codes.count(0),
        kills,
        reloads,
        round(seconds_to_stop, 1),
    )


def _installed() -> Deployment:
    pcc = deploy()
    write_country_database(pcc.state / "country.mmdb", NETWORKS)
    (pcc.state / "country.mmdb").chmod(0o644)
    pcc.write_config(
        f"[policy]\nfamiliar_after = 0\nmax_countries = {MAX_COUNTRIES}\n"
        f'[country]\ndatabase = "{pcc.state}/country.mmdb"\n'
        f'[store]\ndatabase = "{pcc.state}/pcc.db"\n[notify]\nto = []\n'
    )
    done = pcc.admin("init")
    assert done.returncode == 0, done.stderr
    return pcc


def _disturb(
    mta: PrivatePostfix, folder: Path, seconds: float, reloads: int, choice: random.Random
) -> int:
    """Kill policy processes and reload Postfix; return how many were killed.

    Not spawn(8) itself: master(8) would start no other for a minute.
    """
    kills = 0
    begin = time.monotonic()
    done = 0
    while (passed := time.monotonic() - begin) < seconds:
        if passed > seconds * (done + 0.5) / reloads:
            mta.run(["postfix", "reload"])
            done += 1
        processes = [
            process
            for process, command in processes_of(folder).items()
            if len(command) > 1 and command[1].endswith("pcc_policy.py")
        ]
        for process in choice.sample(processes, min(3, len(processes))):
            try:
                os.kill(process, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        time.sleep(choice.uniform(0.05, 0.3))
    return kills


class _Clients:
    """Clients that send until `stop()`; `ending` says that Postfix is being stopped."""

    def __init__(self, port: int, connections: int, seed: int) -> None:
        self.ending = threading.Event()
        self._port = port
        self._mails: list[Mail] = []
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(f"{seed} {number}"),))
            for number in range(connections)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Mail]:
        """Wait for the clients to end, and return what they have sent."""
        self.ending.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        return self._mails

    def _work(self, choice: random.Random) -> None:
        try:
            while not self.ending.is_set():
                try:
                    self._session(choice)
                except OSError:
                    if not self.ending.is_set():
                        raise
        except BaseException as failure:  # for stop() to raise
            self._failures.append(failure)

    def _session(self, choice: random.Random) -> None:
        with Session(self._port, timeout=60) as session:
            for _ in range(choice.randrange(1, 6)):
                if self.ending.is_set():
                    return
                self._send(session, choice)

    def _send(self, session: Session, choice: random.Random) -> None:
        account, country = self._mail(choice)
        sent, code = time.monotonic(), 0
        try:
            session.xclient(account, address(country, choice.randrange(1, 5)))
            code = session.mail(account, ["friend@example.net"]).code
        finally:
            self._mails.append(Mail(account, country, sent, time.monotonic(), code))

    def _mail(self, choice: random.Random) -> tuple[str, str]:
        number = len(self._mails) // 30 + choice.randrange(20)
        if number % 2:
            own = random.Random(number).sample(COUNTRIES, MAX_COUNTRIES)
            return f"quiet{number}@example.org", choice.choice(own)
        return f"hopping{number}@example.org", choice.choice(COUNTRIES)


def _check(mails: list[Mail], stopped: float) -> None:
    codes = {mail.code for mail in mails}
    assert codes <= {0, 250, 554, DEFAULT_CODE}, codes
    early = [mail for mail in mails if mail.code == 0 and mail.answered < stopped]
    assert not early, f"a lost connection: {early[0]}"
    by_account: dict[str, list[Mail]] = defaultdict(list)
    for mail in mails:
        by_account[mail.account].append(mail)
    for account, sent in by_account.items():
        refused = [mail for mail in sent if mail.code == 554]
        assert not (refused and account.startswith("quiet")), f"wrongly refused: {refused[0]}"
        passed = [mail for mail in sent if mail.code == 250]
        countries = {mail.country for mail in passed}
        assert len(countries) <= MAX_COUNTRIES, f"{account} passed from {countries}"
        first = min((mail.answered for mail in refused), default=float("inf"))
        late = [mail for mail in passed if mail.sent > first]
        assert not late, f"passed after a refusal: {late[0]}"
