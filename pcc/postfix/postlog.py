"""Postfix's postlog(1), which logs for us where Postfix writes its log by postlogd(8).

That is so where main.cf has a `maillog_file`.  The socket of postlogd(8) is in a folder that only
the group of postdrop(1) may enter; postlog(1) has that group by its set-gid bit.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import NamedTuple

from pcc.errors import PccError
from pcc.postfix.configuration import Postconf

PATIENCE_SECONDS = 2
"""For postconf(1): the policy process logs within the time limit of a decision."""


class Postlog(NamedTuple):
    """Where Postfix logs by itself: `file` is main.cf's maillog_file, `program` postlog(1)."""

    file: str
    program: str


def find(values: Mapping[str, str]) -> Postlog | None:
    """Return it by main.cf's maillog_file and command_directory, None where syslogd(8) is used."""
    if not values["maillog_file"]:
        return None
    return Postlog(values["maillog_file"], os.path.join(values["command_directory"], "postlog"))


def start(name: str) -> int:
    """Start it; return a pipe that takes lines, to be logged as `name[PID]`.  Raises OSError."""
    try:
        found = find(
            Postconf(patience=PATIENCE_SECONDS).values(["maillog_file", "command_directory"], {})
        )
    except PccError as error:
        raise OSError(str(error)) from None
    if found is None:
        raise FileNotFoundError("Postfix has no maillog_file")
    reader, writer = os.pipe()
    try:
        os.posix_spawn(
            found.program,
            # Any other priority would put a word in front of the line.
            [found.program, "-p", "info", "-t", name],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reader, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsigdef=[signal.SIGCHLD, signal.SIGPIPE],  # which the policy process ignores
        )
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    return writer
