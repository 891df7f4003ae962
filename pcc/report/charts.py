"""Where the bars of a chart by day stand, and how dark each country of the map is: numbers only.

page.html draws them as SVG, coloured by page.css.  A chart is stretched to the width of the page,
so its labels are HTML beside it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from pcc.report.world import world
from pcc.wording import date, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.report.activity import Day, PlaceRow

SHADES = 5
"""Shades of the map, besides that of countries without mail."""

HEIGHT = 100
"""The height of a chart, in units that have no meaning but to each other."""


class Part(NamedTuple):
    """A rectangle of a bar; `y`: of its upper side, downwards from the chart's."""

    kind: str
    y: float
    height: float


class Bar(NamedTuple):
    """A day or several: a sentence, and the parts from the bottom up."""

    title: str
    parts: list[Part]


class Chart(NamedTuple):
    """Bars, each a unit wide.  `kinds`: of their parts.  `most`: the number of the highest bar."""

    caption: str
    kinds: tuple[str, ...]
    most: int
    bars: list[Bar]


def chart(caption: str, days: Sequence[Day], *kinds: str) -> Chart:
    """Return a chart of some of a day's numbers, by the names that Day has for them."""
    values = [[getattr(day, kind) or 0 for kind in kinds] for day in days]
    most = max(map(sum, values), default=0)
    bars = []
    for day, counts in zip(days, values, strict=True):
        parts: list[Part] = []
        top = float(HEIGHT)
        for kind, count in zip(kinds, counts, strict=True):
            if count:
                height = round(count * HEIGHT / most, 2)
                top = round(top - height, 2)
                parts.append(Part(kind, top, height))
        period = date(day.day) if day.is_one_day else f"{date(day.day)} to {date(day.last)}"
        told = f"{period}: {day.blocked} blocked, {day.observed} observed"
        if day.accounts is not None and day.countries is not None:
            accounts = quantity(day.accounts, "account")
            told += f", {accounts} in {quantity(day.countries, 'country', 'countries')}"
        bars.append(Bar(told, parts))
    return Chart(caption, kinds, most, bars)


class Shape(NamedTuple):
    """A country as it is drawn: the number of its shade, 0 for no mail, and its path."""

    shade: int
    title: str
    path: str


class Map(NamedTuple):
    """The world, and what each shade stands for."""

    shapes: list[Shape]
    legend: list[str]


def world_map(countries: Sequence[PlaceRow]) -> Map:
    """Return the map, shaded by mails; each shade stands for some times the one before."""
    rows = {row.name: row for row in countries}
    most = max((row.mails for row in countries), default=0)
    bounds = sorted({math.ceil(most ** (n / SHADES)) for n in range(SHADES)}) if most else []
    shapes = []
    for code, path in world().shapes.items():
        told, shade = "none", 0
        if row := rows.get(code):
            told = f"{quantity(row.mails, 'mail')}, {quantity(row.accounts, 'account')}"
            shade = sum(row.mails >= bound for bound in bounds)
        shapes.append(Shape(shade, f"{world().name(code)}: {told}", path))
    legend = ["no mail"]
    for first, following in pairwise(bounds):
        last = following - 1
        legend.append(f"{first:,} to {last:,}" if first < last else f"{first:,}")
    if bounds:
        legend.append(f"{bounds[-1]:,} or more mails")
    return Map(shapes, legend)
