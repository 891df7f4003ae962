"""A host's own file in front of a database on a server that several hosts share.

The file has the tables of any database of pcc.  One process of the host, the follower
(pcc/follower.py), keeps it up to date: with the places of the accounts that send here, all open
incidents and all exemptions.  It stamps the file after each round trip to the server with the
moment before that began.  So while a stamp is younger than FRESH_SECONDS, what is read here is what
the server had then, and repeats need nothing else.

Nothing is decided here.  Where a verdict would need a transaction, AskServer is raised, or, while
the server is away, StoreError.  Only mails that are to be counted are written.  The follower hands
them on.
"""

from __future__ import annotations

import posix
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from time import sleep, time

from pcc.errors import StoreError
from pcc.store.engine.sidefile import open_side_file, rights_of_service_user
from pcc.store.engine.sqlite import SQLiteDatabase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.config import Config
    from pcc.store.engine.interface import Result

FRESH_SECONDS = 2
"""The most seconds since a stamp, or since the server answered any process of this host."""

PATIENCE_SECONDS = 3
"""How long others wait for the answer to the first process that asks.

It may have to import the driver, on a busy machine.
"""

AWAY_SECONDS = 20
"""Seconds after an attempt without an answer in which nobody waits for the next one."""

PAUSE_SECONDS = 1
"""Between two attempts to ask a server that was away."""

ANSWERED, ASKING, FAILED, ASKING_AGAIN = b"y", b"?", b"n", b"!"


class AskServer(Exception):
    """The server has to decide: the file is up to date, and that is not enough."""


class HostFile(SQLiteDatabase):
    """The file of this host.  `server`: how messages call the server that it follows.

    While the server is away `reason` says why, and "" otherwise.
    """

    follows = True

    def __init__(self, path: str, server: str, trust_seconds: float) -> None:
        super().__init__(path)
        self.server = server
        self._trust_seconds = trust_seconds
        self._stamp = 0.0
        self._asked = -1
        self._is_asking = False

    def is_fresh(self, now: float) -> bool:
        """Whether the file has what the server had less than FRESH_SECONDS ago."""
        if not 0 <= now - self._stamp < FRESH_SECONDS:
            self._stamp = self.stamp()
        return 0 <= now - self._stamp < FRESH_SECONDS

    def stamp(self) -> float:
        """Return the moment from before which the file has all, UTC seconds; 0 for never."""
        row = self.row("SELECT at FROM followed WHERE server = ?", (self.server,))
        return row[0] if row else 0.0

    def take_for_away(self, reason: str) -> None:
        """Answer by the file alone from now on: for its blocks, and for a while its places."""
        self.reason = reason
        self.is_stale = not 0 <= time() - self.stamp() < self._trust_seconds

    def take_for_here(self) -> None:
        """Raise AskServer from now on where the server has to decide."""
        self.reason, self.is_stale = "", False

    def in_turn(self, work: Callable[[], Result], *accounts: str) -> Result:
        """Decide nothing here: raise AskServer, or StoreError while the server is away."""
        if self.reason:
            raise StoreError(self.reason)
        raise AskServer

    def sync(self) -> None:
        """Do nothing: what the file has of the server is on the server's disk."""

    def why_not_ask(self) -> str:
        """Return why this process should not ask a server that does not answer the follower.

        "" where it should: because another one got an answer just now, or because it is the one
        whose turn it is to find out.  It then calls tell_answer().
        """
        self._open_asked()
        while True:
            state, at = self._last()
            age = time() - at
            if state == ANSWERED and 0 <= age < FRESH_SECONDS:
                return ""
            if state == FAILED and 0 <= age < PAUSE_SECONDS:
                return f"{self.server}: is away"
            try:
                flock(self._asked, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                if state == ASKING_AGAIN or (state == ASKING and age > PATIENCE_SECONDS):
                    return f"{self.server}: does not answer"
                sleep(0.01)
            else:
                self._is_asking = True
                is_away = state not in (b"", ANSWERED) and 0 <= age < AWAY_SECONDS
                self._note(ASKING_AGAIN if is_away else ASKING)
                return ""

    def tell_answer(self, *, has_answered: bool) -> None:
        """Tell other processes what became of why_not_ask()."""
        if has_answered or self._is_asking:
            self._note(ANSWERED if has_answered else FAILED)
        if self._is_asking:
            self._is_asking = False
            flock(self._asked, LOCK_UN)

    def _open_asked(self) -> None:
        if self._asked < 0:
            try:
                self._asked = open_side_file(self.path, ".asked")
            except OSError as error:
                raise StoreError(f"{self.path}.asked: {error.strerror}") from None

    def _last(self) -> tuple[bytes, float]:
        """Return what was noted last, and when; also what another process notes just now."""
        state, _, at = posix.pread(self._asked, 100, 0).partition(b" ")
        try:
            return state, float(at)
        except ValueError:
            return b"", 0

    def _note(self, state: bytes) -> None:
        posix.pwrite(self._asked, b"%s %020.3f\n" % (state, time()), 0)

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._asked >= 0:
            posix.close(self._asked)
            self._asked = -1


def stamp_of(config: Config) -> float:
    """Return the stamp of this host's file, UTC seconds; 0 for none.  Raises StoreError."""
    file = HostFile(config.host_file, config.shown_database, config.trust_for)
    try:
        return file.stamp()
    finally:
        file.close()


def open_pipe(path: str, flags: int) -> int:
    """Open the pipe on which the follower of the file at `path` hears.  Raises OSError."""
    name = path + ".follow"
    with rights_of_service_user(path):
        try:
            return posix.open(name, flags | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC)
        except FileNotFoundError:
            try:
                posix.mkfifo(name, 0o640)
            except FileExistsError:
                pass
            return posix.open(name, flags | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC)


def wake(path: str, account: str, address: str) -> bool:
    """Tell the follower about a mail that the server was asked about; False where there is none."""
    try:
        pipe = open_pipe(path, posix.O_WRONLY)
    except OSError:
        return False  # ENXIO: nobody reads it
    try:
        posix.write(pipe, f"{account}\x1f{address}\n".encode())
    except BlockingIOError:
        pass  # it is stopped, or has much to do: then it goes on without this
    except BrokenPipeError:
        return False
    finally:
        posix.close(pipe)
    return True
