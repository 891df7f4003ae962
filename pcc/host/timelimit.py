"""A time limit on whatever is done, wherever it hangs; for the main thread.

When the time is over TimeoutError is raised, an OSError as that of a socket is,
and again every second while the work goes on all the same.  Its text continues a
sentence: `took longer than 30 seconds`.  That ends what waits for the kernel, but
not C code that does not return to the interpreter, a name service that hangs, for
example.  If that lasts much longer, the process ends, with status 1 and its stack
on stderr.
"""

from __future__ import annotations

import faulthandler
import signal
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

STDERR = 2


def within(seconds: float, last_seconds: float, work: Callable[[], Result]) -> Result:
    """Return work(); raise TimeoutError after `seconds`, end the process after `last_seconds`."""

    def end(number: int, frame: object) -> None:
        raise TimeoutError(f"took longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, end)
    try:
        faulthandler.dump_traceback_later(last_seconds, exit=True, file=STDERR)
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)
        try:
            return work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # on its own, since the signal may come while the one above begins
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()
