"""How far apart and how fast: distances, ways between places, and how they are put."""

from __future__ import annotations

import pytest

from pcc.places import travel as evidence
from pcc.places.travel import Leg, Origin, Visit

MADRID = Origin("Madrid", 40.4, -3.7, 10, "Telefonica", 3352)
SAO_PAULO = Origin("Sao Paulo", -23.5, -46.6, 10, "Claro", 28573)
TOLEDO = Origin("Toledo", 39.9, -4.0, 20)
SPAIN = Origin("", 40.0, -4.0, 1000)
HOUR = 3600


def visit(origin: Origin, first: float, last: float = 0, where: str = "192.0.2.1") -> Visit:
    country = "BR" if origin is SAO_PAULO else "ES"
    return Visit(country, where, first, last or first, origin)


@pytest.mark.parametrize(
    ("start", "end", "km"),
    [
        (MADRID, MADRID, 0),
        (MADRID, SAO_PAULO, 8374),
        (Origin("", 0, 179.5), Origin("", 0, -179.5), 111),
        (Origin("", 90, 0), Origin("", -90, 0), 20015),
        (Origin("", 0, 0), Origin("", 0, 180), 20015),
    ],
)
def test_distance_is_the_shortest_way_over_the_globe(start: Origin, end: Origin, km: float) -> None:
    assert evidence.distance(start, end) == pytest.approx(km, abs=10)
    assert evidence.distance(end, start) == evidence.distance(start, end)
    assert evidence.distance(start, Origin("Nowhere")) is None


def sentences(*visits: Visit) -> list[str]:
    return [evidence.sentence(leg) for leg in evidence.legs(visits)]


FAST = "faster than any airliner"


@pytest.mark.parametrize(
    ("visits", "told"),
    [
        (
            [visit(MADRID, 0), visit(SAO_PAULO, 12 * 60)],
            [f"Madrid (ES) to Sao Paulo (BR), 8,400 km in 12 minutes: 42,000 km/h, {FAST}"],
        ),
        (
            [visit(MADRID, 0), visit(SAO_PAULO, 12 * HOUR)],
            ["Madrid (ES) to Sao Paulo (BR), 8,400 km in 12 hours: 700 km/h"],
        ),
        (
            [visit(SAO_PAULO, 0), visit(MADRID, 3 * 86400)],
            ["Sao Paulo (BR) to Madrid (ES), 8,400 km in 3 days: 120 km/h"],
        ),
        # No number that says nothing.
        (
            [visit(MADRID, 5), visit(SAO_PAULO, 5, where="192.0.2.2")],
            [f"Madrid (ES) to Sao Paulo (BR), 8,400 km in less than a second, {FAST}"],
        ),
        (
            [visit(MADRID, 0), visit(SAO_PAULO, 1)],
            [f"Madrid (ES) to Sao Paulo (BR), 8,400 km in 1 second, {FAST}"],
        ),
        # Only the moments that are known: Madrid was last seen an hour after Sao Paulo.
        (
            [visit(MADRID, 0, 30 * HOUR), visit(SAO_PAULO, 15 * HOUR, 29 * HOUR)],
            [f"Sao Paulo (BR) to Madrid (ES), 8,400 km in 60 minutes: 8,400 km/h, {FAST}"],
        ),
        # Near, or nowhere.
        ([visit(MADRID, 0), visit(TOLEDO, 60)], []),
        ([visit(MADRID, 0), visit(Origin("Nowhere"), 60)], []),
        ([visit(MADRID, 0)], []),
        ([], []),
        # An address without a place does not separate two that have one.
        (
            [visit(MADRID, 0), visit(Origin(), 60), visit(SAO_PAULO, 12 * HOUR)],
            ["Madrid (ES) to Sao Paulo (BR), 8,400 km in 12 hours: 700 km/h"],
        ),
    ],
)
def test_way_is_put_plainly(visits: list[Visit], told: list[str]) -> None:
    assert sentences(*visits) == told


def test_way_between_the_same_two_places_is_the_fastest() -> None:
    back_and_forth = [
        visit(MADRID if number % 2 else SAO_PAULO, number * (40 - number) * HOUR)
        for number in range(20)
    ]
    (leg,) = evidence.legs(back_and_forth)
    assert leg.seconds == HOUR * (19 * 21 - 18 * 22)


@pytest.mark.parametrize(
    ("start", "end", "seconds", "too_fast"),
    [
        (MADRID, SAO_PAULO, 8 * HOUR, True),
        (MADRID, SAO_PAULO, 9 * HOUR, False),
        # The whole of Spain may lie between two addresses in the middle of it.
        (SPAIN, Origin("Paris", 48.9, 2.3, 10), 60, False),
        (MADRID, Origin("Paris", 48.9, 2.3, 10), 60, True),
    ],
)
def test_way_is_too_fast_only_where_no_error_of_the_places_explains_it(
    start: Origin, end: Origin, seconds: float, too_fast: bool
) -> None:
    km = evidence.distance(start, end)
    assert km is not None
    leg = Leg(visit(start, 0), visit(end, seconds), 0, seconds, km)
    assert leg.is_too_fast == too_fast


def test_fastest_ways_are_chosen_and_come_in_their_order() -> None:
    places = [Origin(f"P{number}", number * 5.0, 0.0, 1) for number in range(10)]
    legs = evidence.legs(
        [visit(place, number * number * HOUR) for number, place in enumerate(places)]
    )
    chosen = evidence.fastest(legs, 3)
    assert [leg.end.origin.city for leg in chosen] == ["P1", "P2", "P3"]
    assert len(legs) == 9


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (Origin(operator="Telefonica", as_number=3352), "Telefonica (AS3352)"),
        (
            Origin(operator="Hetzner", as_number=24940, is_hosting=True),
            "Hetzner (AS24940), hosting",
        ),
        (Origin(as_number=24940, is_hosting=True), "AS24940, hosting"),
        (Origin(as_number=3352), "AS3352"),
        (Origin(operator="Claro"), "Claro"),
        (Origin(), ""),
    ],
)
def test_network_is_named_for_people(origin: Origin, text: str) -> None:
    assert evidence.network(origin) == text
