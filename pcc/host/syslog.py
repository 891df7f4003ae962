"""Lines for the system's log, sent in a way that can't keep a mail waiting.

The format is that of syslog(3) (RFC 3164): `<PRIORITY>Mmm dd hh:mm:ss NAME[PID]: TEXT`
to the socket /dev/log, facility mail.  syslog(3) itself waits without limit
when the log's reader is stuck, and starts again when a signal interrupts it.
Here a line waits for PATIENCE_SECONDS at most, and none waits after one that did so in vain. When
the log is back, one line counts the lost ones.

Where there is no /dev/log, as in most containers, Postfix's own postlog(1) gets the lines on its
stdin, one to a line (see pcc/postfix/postlog.py).  Where Postfix has no log of its own either,
lines are dropped.  Only errors of an administrator's command go to its stderr then: what else it
logs it also prints.
"""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SOCK_DGRAM, SOCK_STREAM, socket
from select import POLLOUT, poll
from time import strftime

LOG_SOCKET = "/dev/log"
FACILITY_MAIL = 2 << 3
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6

PATIENCE_SECONDS = 0.2

POSTLOG_BYTES = 2000
"""postlog(1) cuts longer lines off; below 4,096 bytes a pipe takes a line as a whole or not."""


class _Log:
    """The connection to the log; `lost` counts the lines that did not get through."""

    def __init__(self) -> None:
        self.name = "pcc"
        self.has_stderr = False
        self._socket: socket | None = None
        self._end = b""
        self._postlog = -1  # the pipe to its stdin
        self._has_postlog = True  # as far as is known
        self._lost = 0

    def write(self, priority: int, text: str) -> None:
        """Send a line, after one about those that were lost before it, if any."""
        lost = self._lost
        if lost and not self._send(
            WARNING, f"error {lost} lines were lost: the system's log did not take them"
        ):
            self._lost += 1
            return
        self._lost = 0 if self._send(priority, text) else 1

    def _send(self, priority: int, text: str) -> bool:
        patience = 0 if self._lost else PATIENCE_SECONDS
        for _ in range(2):  # once more after the log was restarted
            try:
                if self._socket is None and self._postlog < 0:
                    self._connect()
                if self._socket is None:
                    pipe = poll()
                    pipe.register(self._postlog, POLLOUT)
                    if not pipe.poll(patience * 1000):
                        return False
                    posix.write(self._postlog, _encoded(text)[:POSTLOG_BYTES] + b"\n")
                    return True
                stamp = strftime("%b %e %H:%M:%S")
                line = f"<{FACILITY_MAIL | priority}>{stamp} {self.name}[{posix.getpid()}]: {text}"
                self._socket.settimeout(patience)
                self._socket.sendall(_encoded(line) + self._end)
                return True
            except (TimeoutError, BlockingIOError):
                return False
            except OSError:
                self._socket = None
                if self._postlog >= 0:
                    posix.close(self._postlog)
                    self._postlog = -1
        if not (self.has_stderr and priority == ERROR):
            return False
        try:
            posix.write(2, _encoded(f"{self.name}: {text}\n"))
        except OSError:
            return False
        return True

    def _connect(self) -> None:
        """Connect to the log, of datagrams as usual or a stream, or start postlog(1)."""
        for kind, end in ((SOCK_DGRAM, b""), (SOCK_STREAM, b"\0")):
            connection = socket(AF_UNIX, kind)
            connection.settimeout(PATIENCE_SECONDS)
            try:
                connection.connect(LOG_SOCKET)
            except OSError:
                connection.close()
            else:
                self._socket, self._end = connection, end
                return
        if not self._has_postlog:
            raise FileNotFoundError(LOG_SOCKET)
        from pcc.postfix import postlog

        self._has_postlog = False  # unless it starts
        self._postlog = postlog.start(self.name)
        self._has_postlog = True


_log = _Log()


def open_log(name: str) -> None:
    """Set the name that lines are logged under: `name[PID]`."""
    _log.name = name


def fall_back_to_stderr() -> None:
    """Write errors to stderr where there is no log: for a command, whose stderr a person reads."""
    _log.has_stderr = True


def log(priority: int, text: str) -> None:
    """Log one line of printable text; it is dropped where the log can't take it."""
    _log.write(priority, text)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
