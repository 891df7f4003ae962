"""Small pieces of the page that several of its sections have."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pcc.places import travel as evidence
from pcc.report.markup import Markup, element
from pcc.report.world import world
from pcc.wording import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.places.travel import Leg


def moment(seconds: float) -> str:
    """Return UTC seconds as a date and a time."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")


def time(seconds: float) -> Markup:
    """Return UTC seconds as an element that programs can read, too."""
    return element("time", moment(seconds), datetime=rfc3339(seconds))


def quiet(text: str) -> Markup:
    """Return text that may be overlooked."""
    return element("span", text, class_="quiet")


def codes(countries: Sequence[str]) -> Markup:
    """Return countries, which may be wrapped between any two, with their names to be hovered."""
    return Markup(
        ", ".join(element("abbr", code, title=world().name(code)) for code in countries if code)
    )


def link(account: str, anchors: dict[str, str]) -> Markup:
    """Return an account, leading to what is told of it where there is more."""
    if account in anchors:
        return element("a", account, href=f"#{anchors[account]}", class_="name")
    return element("span", account, class_="name")


def limit(rule: str) -> Markup:
    """Return a limit, which is never wrapped."""
    return element("span", rule, class_="limit")


def of_more(shown: int, count: int, which: str) -> str:
    """Return a sentence about what is left out, nothing where nothing is."""
    return f" These are {which} {shown:,} of {count:,}." if count > shown else Markup("")


def travel(legs: Sequence[Leg]) -> Markup:
    """Return how fast one person would have had to travel, which is evidence and no rule."""
    if not legs:
        return Markup("")
    ways = [element("li", f"{evidence.sentence(leg)}.") for leg in legs]
    return element("ul", *ways, class_="travel")
