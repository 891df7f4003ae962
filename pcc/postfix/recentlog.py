"""The end of the mail log: the file that Postfix writes, that of syslogd, or the journal.

Some megabytes are enough to see how things are now, and cost no time on a log of any size.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NamedTuple

FILES = ("/var/log/mail.log", "/var/log/maillog")
"""Where syslogd writes: Debian, and Red Hat and others."""

MOST_BYTES = 4_000_000

CLOSE_LINES = 20
"""Lines before smtpd's complaint among which ours may be about the same mail."""

JOURNAL = ("journalctl", "-q", "--no-pager", "-o", "short-iso", "-n", "20000", "SYSLOG_FACILITY=2")
PATIENCE_SECONDS = 20


class RecentLog(NamedTuple):
    """Whole lines from the end of the log, and where they are from.

    `problem`: why there are none to read; "" for a log in which nothing has been written yet.
    """

    place: str
    lines: bytes
    problem: str = ""


def place_of(maillog_file: str) -> str:
    """Return the file that the mail log is in, "" where none is known."""
    found = [maillog_file, *[path for path in FILES if os.path.exists(path)]]
    return next((path for path in found if path and not path.startswith("/dev/")), "")


def read(maillog_file: str) -> RecentLog:
    """Return the end of the log of a Postfix with this maillog_file."""
    if path := place_of(maillog_file):
        try:
            with open(path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - MOST_BYTES))
                lines = file.read()
        except FileNotFoundError:
            return RecentLog(path, b"")
        except OSError as error:
            return RecentLog(path, b"", f"{path}: {error.strerror}")
        return RecentLog(path, lines.partition(b"\n")[2] if size > MOST_BYTES else lines)
    if not shutil.which(JOURNAL[0]):
        return RecentLog("", b"", f"there is none of {', '.join(FILES)}")
    try:
        done = subprocess.run(
            JOURNAL,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return RecentLog("", b"", f"journalctl(1): {error}")
    problem = "" if done.stdout else f"neither {' nor '.join(FILES)} nor the journal has any line"
    return RecentLog("the journal", done.stdout, problem)


def smtpd_complaint(lines: bytes, endpoint: str, log_name: str) -> bytes:
    """Return the last line in which smtpd(8) can't serve or can't ask us, b"" for none.

    In its place our own last `error` closely before that, if there is one: it has the cause.  Lines
    from before Postfix last read its configuration don't count.
    """
    place, ours = endpoint.partition(":")[2].encode(), f" {log_name}[".encode()
    complaint = b""
    left = CLOSE_LINES
    for line in reversed(lines.splitlines()):
        left -= bool(complaint)
        if not left:
            break
        if b"smtpd[" in line:
            is_warning = b": warning: " in line and place in line
            if b": fatal: " in line or is_warning or b": warning: unknown smtpd restr" in line:
                complaint = complaint or line
                if not is_warning:
                    break
        elif complaint and ours in line and b"]: error " in line:
            return line
        elif b"/master[" in line and (b": reload " in line or b": daemon started" in line):
            break
    return complaint
