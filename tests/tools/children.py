"""Work in a child process, which may limit itself, become another user, or be killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def child(work: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Do `work` in a child process, and fail when that fails or is killed.

    Gives a function that says whether the child is still at it.
    """
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(status)
    yield lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {status}"


def in_child(work: Callable[[], None]) -> None:
    """Do `work` in a child process, and wait for it."""
    with child(work):
        pass
