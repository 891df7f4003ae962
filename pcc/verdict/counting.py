"""When mails that wait to be counted are appended to the log, and when that is folded.

After a quiet time a mail is counted at once after its reply.  Under load mails are counted in
groups, at moments that differ from process to process.  A process waits for some seconds for a
moment at which no other writes.  Where counting fails, the process logs that once, and tries again
after a pause.  The mails go on waiting.
"""

from __future__ import annotations

import posix
from time import monotonic, time

from pcc.errors import PccError
from pcc.store import repeats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.verdict.repeat import Verdicts

GROUP_SECONDS = 1.3
"""The longest pause between two groups."""

GROUP_MAILS = 250
"""Waiting mails that make a group before the pause is over."""

PATIENT_AFTER_SECONDS = 6
PATIENT_AFTER_MAILS = 1000
"""Counting no longer looks for a quiet moment, but waits for its turn to write.

It does so when the pause ended that many seconds ago, or when that many mails wait.
"""

RETRY_SECONDS = 0.05
"""Between attempts while others write."""

FAILURE_PAUSE_SECONDS = 8
"""Between attempts while counting fails."""

COUNTING_SECONDS = 2
"""How long counting may keep the next request waiting."""

LONGEST_SECONDS = (
    GROUP_SECONDS
    + PATIENT_AFTER_SECONDS
    + COUNTING_SECONDS
    + FAILURE_PAUSE_SECONDS
    + COUNTING_SECONDS
)
"""A mail is counted within this time after its reply, unless counting fails more than once."""

FOLD_SECONDS = 5
"""The age of the log's first mail from which on the log is folded."""

FEW_ROWS = 4
"""Rows of a log that is short: the process that finds it sorts it, between two mails."""


class Counting:
    """Counts what the verdicts of a process have answered.

    `limit` sets the seconds that what comes next may take; `complain` takes a problem, as its
    subject and a sentence.
    """

    def __init__(
        self,
        verdicts: Verdicts,
        limit: Callable[[int], None],
        complain: Callable[[str, str], None],
    ) -> None:
        self._verdicts = verdicts
        self._counts = verdicts.counts
        self._limit = limit
        self._complain = complain
        self._next = 0.0
        self._has_failed = False
        self._enough = GROUP_MAILS

    def pause(self) -> float:
        """Return the seconds until count_if_due() is due without a new mail, 0 where none waits."""
        return max(RETRY_SECONDS, self._next - monotonic()) if self._counts.waiting else 0

    def count_if_due(self) -> None:
        """Count a group if it is time for it."""
        waiting = self._counts.waiting
        if not waiting or ((now := monotonic()) < self._next and waiting < self._enough):
            return
        is_patient = (
            self._has_failed
            or now >= self._next + PATIENT_AFTER_SECONDS
            or waiting >= PATIENT_AFTER_MAILS
        )
        if self._count(COUNTING_SECONDS, patiently=is_patient):
            self._tidy()

    def finish(self, seconds: int) -> None:
        """Count all that waits, within `seconds`."""
        if self._counts.waiting:
            self._count(seconds, patiently=True)

    def _count(self, seconds: int, *, patiently: bool) -> bool:
        """Append the waiting mails to the log; not `patiently` only if no process writes."""
        self._limit(seconds)
        try:
            database = self._verdicts.database
            if not (patiently or database.is_free()):
                return False
            self._counts.write(database)
        except PccError as error:
            waiting = self._counts.waiting
            mails = "1 mail waits" if waiting == 1 else f"{waiting} mails wait"
            self._complain("count", f"{mails} to be counted: {error}")
            self._next = monotonic() + FAILURE_PAUSE_SECONDS
            self._enough = max(GROUP_MAILS, 2 * waiting)
            self._has_failed = True
            return False
        # Staggered, so that the processes of a busy server don't meet.
        self._next = monotonic() + GROUP_SECONDS * (0.25 + posix.getpid() % 64 / 100)
        self._enough = GROUP_MAILS
        self._has_failed = False
        return True

    def _tidy(self) -> None:
        """Fold the log where that is due, and move a long write-ahead log."""
        database, now = self._verdicts.database, time()
        if database.follows:
            return  # the follower does both
        self._limit(COUNTING_SECONDS)
        try:
            rows, age = repeats.length(database, now)
            # Staggered, so that not all processes sort the same.
            if age >= FOLD_SECONDS + posix.getpid() % 64 / 64 and database.is_free():
                from pcc.store import sums  # which few processes need

                if not sums.add_piece(database) and (
                    rows <= FEW_ROWS
                    or (not database.tidy_in_background() and sums.may_sort(database, now))
                ):
                    sums.sort(database, now)
                    sums.add_piece(database)
            database.checkpoint_if_due(in_background=True)
        except PccError as error:
            self._complain("checkpoint", str(error))
