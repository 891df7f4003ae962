"""The system's log while a test runs: a socket at /dev/log, where this machine has none.

One test at a time is the log, and also gets the lines of other programs; other tests wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATH = "/dev/log"


class SystemLog:
    """The lines that were logged since `listen()`; before that the queue is full soon."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(PATH)
        os.chmod(PATH, 0o666)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen(self) -> None:
        """Take in what is logged, from now on, as it comes."""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while line := self._socket.recv(65536):
                self._lines.put(line.decode())

    def lines(self, patience: float = 0.0, of: str = "") -> list[str]:
        """Return the lines that have come, those of a program only if one is named.

        Waits for the first one for so many seconds.
        """
        lines: list[str] = []
        deadline = time.monotonic() + patience
        while True:
            rest = 0.05 if lines else deadline - time.monotonic()
            try:
                line = self._lines.get(timeout=max(0.01, rest))
            except queue.Empty:
                return lines
            if of in line:
                lines.append(line)

    def close(self) -> None:
        """Take the log away."""
        self._socket.shutdown(socket.SHUT_RDWR)  # which ends the listening
        self._socket.close()
        os.unlink(PATH)


@contextmanager
def no_system_log() -> Iterator[None]:
    """Keep other tests from being the system's log; skip the test where there is one already."""
    with _turn():
        yield


@contextmanager
def _turn() -> Iterator[None]:
    with open(Path(tempfile.gettempdir()) / "pcc-system-log.lock", "w", encoding="ascii") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if os.path.exists(PATH):
            pytest.skip("this machine has a log of its own")
        yield


@contextmanager
def system_log(*, listens: bool = True) -> Iterator[SystemLog]:
    """Be the system's log; skip the test where there is one already, or without root."""
    if os.geteuid() != 0:
        pytest.skip("only root can be the system's log")
    with _turn():
        log = SystemLog()
        if listens:
            log.listen()
        try:
            yield log
        finally:
            log.close()
