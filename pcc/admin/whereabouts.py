"""The places of an account in `show`: cities, networks, and how fast it travelled.

Only where a country database with cities, or one of autonomous systems, is
configured.  Evidence for people; no verdict rests on it.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from pcc.escaping import escaped
from pcc.places import travel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.admin.context import Context
    from pcc.store.incidents import SightingRow

MOST_LEGS = 10
"""How many ways between two places are shown, the fastest ones."""

COLUMNS = ["CITY", "NETWORK"]


class Whereabouts:
    """Where the sightings of an account were; `is_known` where that can be looked up at all."""

    def __init__(self, context: Context, seen: Sequence[SightingRow]) -> None:
        self._origins: dict[str, travel.Origin] = {}
        if seen:
            from pcc.places.origins import Origins  # expensive: the reader of databases

            paths = context.config.files_of_places
            with closing(Origins(*paths, context.complain)) as origins:
                self._origins = origins.find([row.address for row in seen])
        self._operators = {f"AS{at.as_number}": at.operator for at in self._origins.values()}
        self._legs = travel.legs(travel.visits(seen, self._origins))

    @property
    def is_known(self) -> bool:
        """Whether a database is configured that knows more than countries."""
        return bool(self._origins)

    def cells(self, address: str) -> list[str]:
        """Return the cells for COLUMNS, unescaped."""
        origin = self._origins.get(address, travel.Origin())
        return [origin.city, travel.network(origin)]

    def operator(self, network: str) -> str:
        """Return whose network it is, unescaped; "" where that is unknown."""
        return self._operators.get(network, "")

    def sentences(self) -> list[str]:
        """Return how fast one person would have had to travel, the fastest ways only."""
        chosen = travel.fastest(self._legs, MOST_LEGS)
        return [escaped(travel.sentence(leg)) for leg in chosen]

    def data_of(self, address: str) -> dict[str, Any]:
        """Return the keys that a sighting has besides."""
        return travel.origin_data(self._origins[address]) if self._origins else {}

    def data(self) -> dict[str, Any]:
        """Return the keys that the account has besides."""
        if not self._origins:
            return {}
        return {"travel": [travel.leg_data(leg) for leg in self._legs]}
