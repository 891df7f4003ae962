"""How far apart an account was seen, and how fast somebody would have had to travel.

Pure: no I/O, no clock.  It is evidence for people who look at an incident, and
never a reason to block.  The place of an address is an estimate, at worst a
country's middle, and a VPN or a mobile network moves somebody without travelling.

A sighting has the times of its first and last mail, and only these two moments
are known.  A leg leads from one known moment to the next one at another place:
whatever came in between, somebody got from there to here in that time.
"""

from __future__ import annotations

from itertools import pairwise
from math import asin, cos, radians, sin, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pcc.wording import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EARTH_KM = 6371
"""The mean radius of the earth."""

AEROPLANE_KMH = 1000
"""Faster than any airliner."""

NEAR_KM = 100
"""Nearer places may well be the same."""


class Origin(NamedTuple):
    """Where an address is and whose, as far as databases say.

    `radius`: km within which the real place probably is, 0 where that is not said.  `operator` and
    `as_number`: of the network, the organisation and number of its autonomous system.
    `is_hosting`: the hosting list has it.  "", None and 0 stand for unknown.
    """

    city: str = ""
    latitude: float | None = None
    longitude: float | None = None
    radius: int = 0
    operator: str = ""
    as_number: int = 0
    is_hosting: bool = False


class Visit(NamedTuple):
    """A sighting and where it was; times in UTC seconds."""

    country: str
    address: str
    first_seen: float
    last_seen: float
    origin: Origin


class Sighting(Protocol):
    """A sighting as a row of the store has it, or a log."""

    @property
    def country(self) -> str: ...  # noqa: D102
    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def first_seen(self) -> float: ...  # noqa: D102
    @property
    def last_seen(self) -> float: ...  # noqa: D102


def visits(seen: Iterable[Sighting], origins: Mapping[str, Origin]) -> list[Visit]:
    """Return sightings with where they were, by their addresses."""
    return [
        Visit(
            row.country,
            row.address,
            row.first_seen,
            row.last_seen,
            origins.get(row.address, Origin()),
        )
        for row in seen
    ]


class Leg(NamedTuple):
    """The way from one place to the next, between two moments at which mail came from there.

    `left` and `arrived`: UTC seconds.  `km`: as the crow flies.
    """

    start: Visit
    end: Visit
    left: float
    arrived: float
    km: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.arrived - self.left

    @property
    def kmh(self) -> float | None:
        """How fast that is in km/h; None for two places in the same second."""
        return self.km / (self.seconds / 3600) if self.seconds >= 1 else None

    @property
    def is_too_fast(self) -> bool:
        """Whether nobody travels that fast, even if both places are wrong by their radius."""
        least_km = self.km - self.start.origin.radius - self.end.origin.radius
        return least_km > NEAR_KM and least_km > AEROPLANE_KMH * self.seconds / 3600


def distance(start: Origin, end: Origin) -> float | None:
    """Return the km between two places as the crow flies, None where one is unknown."""
    if start.latitude is None or start.longitude is None:
        return None
    if end.latitude is None or end.longitude is None:
        return None
    south, north = radians(start.latitude), radians(end.latitude)
    width = radians(end.longitude - start.longitude)
    # The haversine formula is also exact enough for small distances.
    chord = sin((north - south) / 2) ** 2 + cos(south) * cos(north) * sin(width / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(chord)))


def legs(visited: Iterable[Visit]) -> list[Leg]:
    """Return the ways between places at least NEAR_KM apart, the earliest first.

    The way between the same two places is there once, at its fastest.
    """
    moments = sorted(
        [(time, visit) for visit in visited for time in {visit.first_seen, visit.last_seen}],
        key=lambda moment: (moment[0], moment[1].address),
    )
    moments = [moment for moment in moments if moment[1].origin.latitude is not None]
    quickest: dict[tuple[tuple[float, float], ...], Leg] = {}
    for (left, start), (arrived, end) in pairwise(moments):
        km = distance(start.origin, end.origin)
        if km is None or km < NEAR_KM:
            continue
        leg = Leg(start, end, left, arrived, km)
        ends = tuple(sorted([_point(start.origin), _point(end.origin)]))
        if ends not in quickest or leg.seconds < quickest[ends].seconds:
            quickest[ends] = leg
    return sorted(quickest.values(), key=lambda leg: leg.arrived)


def fastest(travelled: Sequence[Leg], most: int) -> list[Leg]:
    """Return the fastest legs, `most` of them, the earliest first."""
    chosen = sorted(travelled, key=lambda leg: leg.seconds / leg.km)[:most]
    return sorted(chosen, key=lambda leg: leg.arrived)


def sentence(leg: Leg) -> str:
    """Return a leg in words, unescaped.

    `Madrid (ES) to Sao Paulo (BR), 8,400 km in 12 minutes: 42,000 km/h, faster than any airliner`
    """
    seconds = round(leg.seconds)
    duration = f"{seconds} second{'' if seconds == 1 else 's'}"
    if leg.seconds < 1:
        duration = "less than a second"
    for unit, name in ((60, "minutes"), (3600, "hours"), (86400, "days")):
        if leg.seconds >= 2 * unit:
            duration = f"{round(leg.seconds / unit)} {name}"
    way = f"{place(leg.start)} to {place(leg.end)}, {_rounded(leg.km)} km in {duration}"
    if leg.kmh and leg.seconds >= 60:  # else the number would be as large as it is useless
        way += f": {_rounded(leg.kmh)} km/h"
    return f"{way}, faster than any airliner" if leg.is_too_fast else way


def place(visit: Visit) -> str:
    """Return where a visit was, for people and unescaped: `Madrid (ES)`, or `ES` alone."""
    return f"{visit.origin.city} ({visit.country})" if visit.origin.city else visit.country


def network(origin: Origin) -> str:
    """Return whose network an address is in, for people and unescaped, "" if that is unknown.

    `Hetzner Online GmbH (AS24940), hosting`
    """
    name = f"AS{origin.as_number}" if origin.as_number else ""
    if origin.operator:
        name = f"{origin.operator} ({name})" if name else origin.operator
    return f"{name}, hosting" if origin.is_hosting else name


def origin_data(origin: Origin) -> dict[str, Any]:
    """Return an address's origin as JSON has it; None for what is unknown."""
    return {
        "city": origin.city or None,
        "latitude": origin.latitude,
        "longitude": origin.longitude,
        "operator": origin.operator or None,
        "as_number": origin.as_number or None,
        "hosting": origin.is_hosting if origin.as_number else None,
    }


def leg_data(leg: Leg) -> dict[str, Any]:
    """Return a leg as JSON has it; times are RFC 3339 in UTC."""
    return {
        "from": _end_data(leg.start),
        "to": _end_data(leg.end),
        "left": rfc3339(leg.left),
        "arrived": rfc3339(leg.arrived),
        "km": round(leg.km),
        "kmh": None if leg.kmh is None else round(leg.kmh),
        "too_fast": leg.is_too_fast,
    }


def _end_data(visit: Visit) -> dict[str, Any]:
    return {
        "country": visit.country,
        "city": visit.origin.city or None,
        "address": visit.address,
    }


def _point(origin: Origin) -> tuple[float, float]:
    return origin.latitude or 0.0, origin.longitude or 0.0


def _rounded(number: float) -> str:
    """Return a number to two digits, which is more than is known: `8,400`."""
    whole = round(number)
    return f"{round(whole, 2 - len(str(whole))):,}"
