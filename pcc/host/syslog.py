"""Lines for the system's log, sent in a way that can't keep a mail waiting.

The format is that of syslog(3) (RFC 3164): `<PRIORITY>Mmm dd hh:mm:ss NAME[PID]: TEXT`
to the socket /dev/log, facility mail.  syslog(3) itself waits without limit
when the log's reader is stuck, and starts anew when a signal interrupts it.
Here a line waits for PATIENCE_SECONDS at most, and none waits after one that did
so in vain; what did not get through is counted, and told when the log is back.
Where there is no log, lines are dropped.
"""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SOCK_DGRAM, SOCK_STREAM, socket
from time import strftime

LOG_SOCKET = "/dev/log"
FACILITY_MAIL = 2 << 3
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6

PATIENCE_SECONDS = 0.2


class _Log:
    """The connection to the log; `lost` counts the lines that did not get through."""

    def __init__(self) -> None:
        self.name = "pcc"
        self._socket: socket | None = None
        self._end = b""
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
        stamp = strftime("%b %e %H:%M:%S")
        line = f"<{FACILITY_MAIL | priority}>{stamp} {self.name}[{posix.getpid()}]: {text}"
        for _ in range(2):  # once more after the log was restarted
            try:
                if self._socket is None:
                    self._connect()
                assert self._socket is not None
                self._socket.settimeout(0 if self._lost else PATIENCE_SECONDS)
                self._socket.sendall(line.encode("utf-8", "backslashreplace") + self._end)
                return True
            except (TimeoutError, BlockingIOError):
                return False
            except OSError:
                self._socket = None
        return False

    def _connect(self) -> None:
        """Connect to the log, of datagrams as usual or else a stream."""
        for kind, end in ((SOCK_DGRAM, b""), (SOCK_STREAM, b"\0")):
            connection = socket(AF_UNIX, kind)
            connection.settimeout(PATIENCE_SECONDS)
            try:
                connection.connect(LOG_SOCKET)
            except OSError:
                connection.close()
                if kind == SOCK_STREAM:
                    raise
            else:
                self._socket, self._end = connection, end
                return


_log = _Log()


def open_log(name: str) -> None:
    """Set the name that lines are logged under: `name[PID]`."""
    _log.name = name


def log(priority: int, text: str) -> None:
    """Log one line of printable text; it is dropped where the log can't take it."""
    _log.write(priority, text)
