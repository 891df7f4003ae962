"""A notice: one event for administrators, as a mail or as JSON for a program.

An administrator may read the mail at night on a telephone, and may never have
heard of pcc: the event comes first, then the evidence, then the commands to paste.
Pure: no clock, and no I/O except to see how pcc_admin.py is called here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcc.places import travel as evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from pcc.notice.others import Other
    from pcc.places.travel import Leg, Origin
    from pcc.store.incidents import IncidentRow, SightingRow
    from pcc.store.outbox import Earlier

MOST_SIGHTINGS = 50
"""Lines of the table; the rest is only counted."""

MOST_COUNTRIES = 12
"""Countries in a subject; the rest is only counted."""


class Notice(NamedTuple):
    """One event.

    `what`: "blocked", "observed" or "unblocked".  `at`: UTC seconds.  `sightings`: those that
    counted and are shown, latest first; `sighting_count`: how many counted.  `by` and `reason`:
    who did it and why, `by` being "pcc" for the program itself.  `earlier`: places from before,
    which did not count.  `origins`: where the addresses of the sightings are, if a database says.
    `is_blocked`: whether the account is blocked at the time of sending.  `others`: who else was
    seen at the addresses that are not `familiar`.  `on_hold`: how many held mails of the account
    remain at the end of a block.
    """

    what: str
    at: float
    incident: IncidentRow
    sightings: Sequence[SightingRow]
    sighting_count: int
    by: str = "pcc"
    reason: str = ""
    released: int = 0
    deleted: int = 0
    earlier: Sequence[Earlier] = ()
    origins: Mapping[str, Origin] | None = None
    is_blocked: bool = False
    others: Sequence[Other] = ()
    familiar: AbstractSet[str] = frozenset()
    on_hold: int = 0

    def legs(self) -> list[Leg]:
        """Return the ways between the places of the sightings, as far as these are known."""
        return evidence.legs(evidence.visits(self.sightings, self.origins or {}))
