"""Pictures of a report as SVG, coloured by the page's style sheet: the world, and bars by day.

Bars are stretched to the width of the page, so they have no text in them: their labels are HTML.
Whoever can't see them hears a summary; the numbers are in tables beside them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pcc.report.markup import Markup, element, joined
from pcc.report.world import world
from pcc.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.report.activity import CountryRow

SHADES = 5
"""Shades of the map, besides that of countries without mail."""

HEIGHT = 100
"""Of bars, in units that have no meaning but to each other."""


class Bar(NamedTuple):
    """A day: what is told of it, and its values, each a part of one bar."""

    title: str
    values: tuple[int, ...]


def world_map(countries: Sequence[CountryRow]) -> Markup:
    """Return the map, shaded by mails; each shade stands for some times the one before."""
    rows = {row.country: row for row in countries}
    bounds = _bounds(max((row.mails for row in countries), default=0))
    paths = []
    for code, path in world().shapes.items():
        row = rows.get(code)
        told = f"{world().name(code)}: none"
        shade = 0
        if row is not None:
            told = f"{world().name(code)}: {quantity(row.mails, 'mail')}"
            told += f", {quantity(row.accounts, 'account')}"
            shade = sum(row.mails >= bound for bound in bounds)
        paths.append(element("path", element("title", told), d=path, class_=f"s{shade}"))
    told = f"World map shaded by mails from {quantity(len(rows), 'country', 'countries')}"
    drawn = element(
        "svg",
        *paths,
        viewBox=f"0 0 {world().width} {world().height}",
        class_="map",
        role="img",
        aria_label=told,
    )
    return joined([drawn, _legend(bounds)])


def _bounds(most: int) -> list[int]:
    """Return from how many mails on each shade is for."""
    return sorted({math.ceil(most ** (n / SHADES)) for n in range(SHADES)}) if most else []


def _legend(bounds: Sequence[int]) -> Markup:
    swatch = [
        element("li", element("span", Markup(""), class_=f"swatch s{number}"), text)
        for number, text in enumerate(["no mail", *_ranges(bounds)])
    ]
    return element("ul", *swatch, class_="legend")


def _ranges(bounds: Sequence[int]) -> list[str]:
    """Return what each shade stands for."""
    if not bounds:
        return []
    last = [bound - 1 for bound in bounds[1:]]
    ranges = [f"{a:,} to {b:,}" if a < b else f"{a:,}" for a, b in zip(bounds, last, strict=False)]
    return [*ranges, f"{bounds[-1]:,} or more mails"]


def bars(caption: str, parts: Sequence[tuple[str, str]], days: Sequence[Bar], dates: str) -> Markup:
    """Return a chart of bars with its legend; `parts`: the name and class of each value.

    `dates`: what stands below it, markup.
    """
    most = max((sum(day.values) for day in days), default=0)
    drawn = element(
        "svg",
        *[_bar(number, day, parts, most) for number, day in enumerate(days)],
        viewBox=f"0 0 {max(1, len(days))} {HEIGHT}",
        preserveAspectRatio="none",
        class_="bars",
        role="img",
        aria_label=f"{caption}, by day: at most {most:,}",
    )
    names = [
        element("li", element("span", Markup(""), class_=f"swatch {kind}"), name)
        for name, kind in parts
    ]
    return element(
        "figure",
        element("figcaption", element("b", caption), element("ul", *names, class_="legend")),
        element("div", f"{most:,}", class_="most"),
        drawn,
        Markup(dates),
    )


def _bar(number: int, day: Bar, parts: Sequence[tuple[str, str]], most: int) -> Markup:
    pieces = [element("rect", x=number, y=0, width=1, height=HEIGHT, class_="day")]
    top = float(HEIGHT)
    for value, (_, kind) in zip(day.values, parts, strict=True):
        height = round(value * HEIGHT / most, 2) if most else 0
        top -= height
        if height:
            place = {"x": number + 0.1, "y": round(top, 2), "width": 0.8, "height": height}
            pieces.append(element("rect", class_=kind, **place))
    return element("g", element("title", day.title), *pieces)


def share(value: int, most: int) -> Markup:
    """Return a bar for a cell of a table."""
    width = round(value * 100 / most, 1) if most else 0
    rect = element("rect", width=width, height=10, class_="share")
    options = {"viewBox": "0 0 100 10", "preserveAspectRatio": "none", "aria_hidden": "true"}
    return element("svg", rect, class_="cell", **options)
