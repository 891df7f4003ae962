"""The follower: the process that keeps a host's own file up to date with the server.

    python -c RUN FOLDER CONFIG

A policy process that finds the file older than two seconds starts it, if there is none.  It has
the lock on a pipe beside the file (`pcc.host.follow`), which it was given as stdin.  It goes on
until the file, or this program, is gone.  With another configuration it starts again.

Every POLL_SECONDS it asks the server what has changed, and at once when a policy process has asked
about a mail itself.  About once a second it hands on what was counted here.  When that has waited
for some seconds on the server, a child folds it.  When the server has been away for AWAY_SECONDS,
administrators get a mail, and another one when it is back.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.address import recorded
from pcc.config import prepared
from pcc.errors import PccError, StoreError
from pcc.host import child
from pcc.host.timelimit import within
from pcc.notice import serveraway
from pcc.store import following, open_database, repeats, sums
from pcc.store.engine.hostfile import HostFile, open_pipe
from pcc.verdict.counting import FOLD_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.config import Config
    from pcc.store.engine.interface import Database

POLL_SECONDS = 0.25
"""Between two looks at what has changed."""

COUNTS_SECONDS = 1
"""Between two times that counts are handed on."""

PACE_SECONDS = 0.05
"""Between two round trips at least."""

ANSWER_SECONDS = 5
"""How long the server may take for all that is asked at once."""

PAUSE_SECONDS = 1
"""Between two attempts to reach a server that is away."""

AWAY_SECONDS = 30
"""Seconds that the server must be away before administrators get a mail."""

CHILD_SECONDS = 30
"""The most that a child may take, which folds or sends a mail."""

READ_BYTES = 65536

FOLLOW = "from pcc import follower; follower.main(sys.argv[2])"


def start(config_path: str, path: str) -> None:
    """Start the follower of the file at `path`, unless there is one.  Raises OSError."""
    child.start(FOLLOW, config_path, open_pipe(path, os.O_RDWR))


def main(config_path: str) -> None:
    """Follow, with the lock as stdin, until there is nothing to follow any more."""
    try:
        config = prepared.load(config_path)
        maillog.open_log(config.log_name)
        Follower(config_path, config).follow()
    except PccError as error:
        maillog.error(f"the follower has ended: {error}")


class Follower:
    """Follows one server for one file."""

    def __init__(self, config_path: str, config: Config) -> None:
        self._config_path = config_path
        self._config = config
        self._file = HostFile(config.host_file, config.shown_database, config.trust_for)
        self._server: Database | None = None
        self._following: following.Following | None = None
        self._counts_at = 0.0
        self._child = 0
        self._is_away = False
        self._away_since = 0.0
        self._watched = self._look()
        self._known: set[tuple[str, str]] = set()  # mails that the server was asked about

    def follow(self) -> None:
        """Go on until the file is gone.  Raises StoreError."""
        while True:
            self._file.check_in_place()
            if self._look() != self._watched:
                os.execv(sys.executable, child.command(FOLLOW, self._config_path))  # noqa: S606, itself
            pause = POLL_SECONDS if self._round() else PAUSE_SECONDS
            if self._child and os.waitpid(self._child, os.WNOHANG)[0]:
                self._child = 0
            if self._file.is_long():
                self._file.checkpoint()
            self._hear(pause)

    def _look(self) -> list[tuple[int, int, int]]:
        """Return what is different when the configuration, or this program, is another one."""
        try:
            found = [os.stat(path) for path in (self._config_path, __file__)]
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}") from None
        return [(status.st_ino, status.st_size, status.st_mtime_ns) for status in found]

    def _hear(self, seconds: float) -> None:
        """Wait, until a policy process names a mail if the server answers."""
        pace = seconds if self._is_away else PACE_SECONDS
        time.sleep(pace)
        seconds -= pace
        if not select.select([0], [], [], seconds)[0]:
            return
        lines = os.read(0, READ_BYTES).decode(errors="replace").split("\n")
        for line in lines:  # the last one may be cut off, and its mail is asked about again
            account, separator, address = line.partition("\x1f")
            if separator and account:
                self._known.add((account, recorded(address)))

    def _round(self) -> bool:
        """Make one round trip; return whether the server has answered."""
        now = time.time()
        try:
            within(ANSWER_SECONDS, ANSWER_SECONDS * 4, lambda: self._catch_up(now))
        except (StoreError, TimeoutError) as error:
            self._lose()
            self._tell_away(str(error), now)
            return False
        self._known.clear()
        self._tell_back(now)
        return True

    def _catch_up(self, now: float) -> None:
        if self._server is None:
            self._server = open_database(
                self._config.store_database, host_file=self._config.host_file
            )
            self._following = following.Following(self._file, self._server)
        assert self._following is not None
        server = self._server
        server.check_in_place()
        if server.is_stale:
            raise StoreError(f"{server.name}: {server.reason}")
        self._following.catch_up(self._known, now)
        if not 0 <= now - self._counts_at < COUNTS_SECONDS:
            self._following.hand_on_counts()
            self._counts_at = now
            rows, age = repeats.length(server, now)
            if rows and age >= FOLD_SECONDS:
                self._in_child(self._fold)

    def _lose(self) -> None:
        """Close the connection, whatever state it is in."""
        server, self._server = self._server, None
        if server is not None:
            try:
                within(1, ANSWER_SECONDS, server.close)
            except (PccError, OSError):
                pass

    def _in_child(self, work: Callable[[], None]) -> None:
        """Do what takes long in a child, one at a time."""
        if self._child:
            return
        self._child = os.fork()
        if self._child:
            return
        try:
            # SIGALRM was the parent's; no Python code is needed to end at this one.
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(CHILD_SECONDS)
            os.close(0)
            work()
        except (PccError, OSError) as error:
            maillog.error(str(error))
        finally:
            os._exit(0)  # the connection and the file are the parent's

    def _fold(self) -> None:
        config = self._config
        server = open_database(config.store_database, host_file=config.host_file)
        sums.fold(server, time.time())

    def _tell_away(self, reason: str, now: float) -> None:
        """Log once that the server is away, and send a mail when that lasts."""
        if not self._is_away:
            self._is_away, self._away_since = True, now
            maillog.server_away(self._file.server, reason)
        stamp = self._file.stamp()
        if not stamp or now - stamp < AWAY_SECONDS or following.mailed(self._file) or self._child:
            return
        following.set_mailed(self._file, now)
        self._mail(serveraway.away(self._config, reason, stamp, now), now)

    def _tell_back(self, now: float) -> None:
        if self._is_away:
            self._is_away = False
            maillog.server_back(self._file.server, now - self._away_since)
        if not self._child and (since := following.mailed(self._file)):
            following.set_mailed(self._file, 0)
            self._mail(serveraway.back(self._config, since, now), now)

    def _mail(self, words: tuple[str, str], now: float) -> None:
        self._in_child(lambda: serveraway.send(self._config, words, now))
