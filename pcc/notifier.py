"""Starts the sending of notices in a process of its own, so that no reply waits for it.

Under spawn(8) the descriptors 0, 1 and 2 are the SMTP server's socket: a child
that had one would keep the connection open after the policy process has gone,
and could write to it.
"""

from __future__ import annotations

import os
import signal
import sys

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pcc_admin.py")


def start(config_path: str) -> None:
    """Send what is due in the outbox, detached from this process.  Raises OSError."""
    os.posix_spawn(
        sys.executable,
        [sys.executable, PROGRAM, "--config", config_path, "notify", "--due"],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigdef=[signal.SIGCHLD, signal.SIGPIPE],  # which the policy process ignores
    )
