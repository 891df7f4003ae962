"""A command on a terminal of a given width, and what a person sees there."""

from __future__ import annotations

import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TERM": "xterm-256color"}


def on_terminal(
    command: Sequence[str | Path], columns: int = 80, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command whose output is a terminal of so many columns; return what it wrote there."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env={**ENVIRONMENT, **(environment or {})},
        cwd="/",
    ):
        os.close(theirs)
        written = b""
        try:
            while more := os.read(ours, 65536):
                written += more
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


END = b"\x04the end"


class Terminal:
    """A command whose controlling terminal is one of so many columns, at which a person types."""

    def __init__(self, command: Sequence[str | Path], columns: int = 100, lines: int = 30) -> None:
        self._ours, self._theirs = pty.openpty()
        ioctl(self._theirs, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(self._theirs)
        self.written = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *[str(word) for word in command]],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=ENVIRONMENT,
            cwd="/",
        )

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """Wait until the command has written a text; return all since the last such wait."""
        end = time.monotonic() + seconds
        start = len(self.written)
        while text not in self.written[start:]:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.written[start:]!r}"
            if select.select([self._ours], [], [], left)[0]:
                self.written += os.read(self._ours, 65536).decode("utf-8", "replace")
        return self.written[start:]

    def type(self, keys: str) -> None:
        """Type characters."""
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Wait for the end of the command; return its exit status."""
        status = self.process.wait(60)
        os.write(self._theirs, END)  # comes after all that the command wrote, however late that is
        self.wait_for(END.decode())
        self.written = self.written.removesuffix(END.decode())
        return status

    @property
    def attributes(self) -> list[object]:
        """The settings of the terminal, to be compared with those `before`."""
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        """End the command, and hang up."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._theirs)
        os.close(self._ours)
