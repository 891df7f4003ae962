"""When the mails that wait for it are counted: after the reply, and not too late.

After a quiet time a mail is counted at once.  Under load mails are counted in
groups, at moments that differ from process to process, and while no other
process writes if there is such a moment.  Where counting fails it is told once
and tried again after a pause; the mails go on waiting.
"""

from __future__ import annotations

import posix
from time import monotonic

from pcc.errors import PccError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.verdict.repeat import Verdicts

GROUP_SECONDS = 1.3
"""The longest pause between two groups."""

GROUP_MAILS = 250
"""So many waiting mails make a group before the pause is over."""

LATE_SECONDS = 6
LATE_MAILS = 1000
"""So long after the pause, or with so many, counting waits for its turn to write."""

RETRY_SECONDS = 0.05
"""Between attempts while others write."""

FAILURE_PAUSE_SECONDS = 8
"""Between attempts while counting fails."""

COUNTING_SECONDS = 2
"""How long counting may keep the next request waiting."""

LONGEST_SECONDS = (
    GROUP_SECONDS + LATE_SECONDS + COUNTING_SECONDS + FAILURE_PAUSE_SECONDS + COUNTING_SECONDS
)
"""A mail is counted within so long after its reply, unless counting fails more than once."""


class Counting:
    """Counts what the verdicts of a process have answered.

    `limit` sets the seconds that what comes next may take; `complain` tells a
    problem, by its subject and a sentence.  `is_active` while counting goes on.
    """

    def __init__(
        self,
        verdicts: Verdicts,
        limit: Callable[[int], None],
        complain: Callable[[str, str], None],
    ) -> None:
        self.is_active = False
        self._verdicts = verdicts
        self._limit = limit
        self._complain = complain
        self._next = 0.0
        self._has_failed = False
        self._enough = GROUP_MAILS

    @property
    def is_pending(self) -> bool:
        """Whether any mail waits to be counted."""
        return self._verdicts.counts.waiting > 0

    def pause(self) -> float:
        """Return the seconds until it is worth calling count_if_due() without a new mail."""
        return max(RETRY_SECONDS, self._next - monotonic())

    def count_if_due(self) -> None:
        """Count a group if it is time for it."""
        waiting = self._verdicts.counts.waiting
        if not waiting:
            return
        now = monotonic()
        if now >= self._next or waiting >= self._enough:
            is_late = now >= self._next + LATE_SECONDS or waiting >= LATE_MAILS or self._has_failed
            self.is_active = True
            self._count(COUNTING_SECONDS, patiently=is_late)
            self._tidy()
            self.is_active = False

    def finish(self, seconds: int) -> None:
        """Count all that waits, within so many seconds."""
        if self._verdicts.counts.waiting:
            self._count(seconds, patiently=True)

    def _count(self, seconds: int, *, patiently: bool) -> None:
        self._limit(seconds)
        try:
            if self._verdicts.flush(patiently=patiently):
                # Staggered, so that the processes of a busy server don't meet.
                self._next = monotonic() + GROUP_SECONDS * (0.25 + posix.getpid() % 64 / 100)
                self._enough = GROUP_MAILS
                self._has_failed = False
        except PccError as error:
            waiting = self._verdicts.counts.waiting
            mails = "1 mail waits" if waiting == 1 else f"{waiting} mails wait"
            self._complain("count", f"{mails} to be counted: {error}")
            self._next = monotonic() + FAILURE_PAUSE_SECONDS
            self._enough = max(GROUP_MAILS, 2 * waiting)
            self._has_failed = True

    def _tidy(self) -> None:
        self._limit(COUNTING_SECONDS)
        try:
            self._verdicts.checkpoint_if_due()
        except PccError as error:
            self._complain("checkpoint", str(error))
