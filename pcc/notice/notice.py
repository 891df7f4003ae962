"""A notice: one event that administrators are told of, by a mail or as JSON for a program.

An administrator may read the mail at night on a telephone, and may never have
heard of pcc: what happened comes first, then the evidence, then the commands to
paste.  Pure: no clock, and no I/O but to see how pcc_admin.py is called here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcc.places import travel as evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pcc.places.travel import Leg, Origin
    from pcc.store.incidents import IncidentRow, SightingRow
    from pcc.store.outbox import Earlier

MOST_SIGHTINGS = 50
"""Lines of the table; the rest is only counted."""

MOST_COUNTRIES = 12
"""Countries in a subject; the rest is only counted."""


class Notice(NamedTuple):
    """One event that administrators are told of.

    `what`: "blocked", "observed" or "unblocked".  `at`: UTC seconds.  `sightings`: what had
    counted, latest first, as far as it is shown; `sighting_count`: how many there are.  `by` and
    `reason`: who did it and why, `by` being "pcc" for the program itself.  `earlier`: what was
    seen before and did not count.  `origins`: where the addresses of the sightings are, if that
    can be looked up.  `is_blocked`: whether the account is blocked at the time of sending.
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

    def legs(self) -> list[Leg]:
        """Return the ways between the places of the sightings, as far as these are known."""
        return evidence.legs(evidence.visits(self.sightings, self.origins or {}))
