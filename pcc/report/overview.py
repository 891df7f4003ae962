"""The page's sections about all accounts together: day by day, and country by country."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc.report.activity import bucketed
from pcc.report.charts import Bar, bars, share, world_map
from pcc.report.markup import Markup, element, sentence, table
from pcc.report.pieces import quiet
from pcc.report.world import world
from pcc.rule import MOST_FAMILIAR_DAYS
from pcc.wording import date, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.report.activity import Day
    from pcc.report.gathering import Report

MOST_BARS = 120
"""Of more days weeks are made."""

MOST_SMALL = 12
"""Countries too small for the map that are named below it; all are in the table."""

MOST_ROWS = 30
"""A table of more countries has to be opened."""

HIDDEN = Markup('<span class="hidden">compared</span>')
"""The heading of a column of bars, for those who can't see them."""


def timeline(found: Report) -> Markup:
    """Return the section with charts by day."""
    days = bucketed(found.days, MOST_BARS)
    dates = _dates(days)
    incidents = bars(
        "Incidents",
        [("blocked", "blocked"), ("observed", "observed")],
        [Bar(_told(day), (day.blocked, day.observed)) for day in days],
        dates,
    )
    accounts = bars(
        "Accounts that sent mail",
        [("accounts", "accounts")],
        [Bar(_told(day), (day.accounts or 0,)) for day in days],
        dates,
    )
    countries = bars(
        "Countries they sent from",
        [("countries", "countries")],
        [Bar(_told(day), (day.countries or 0,)) for day in days],
        dates,
    )
    notes = []
    if any(day.accounts is None for day in days):
        notes.append(
            f"Accounts and countries are known by day for the last {MOST_FAMILIAR_DAYS + 1} days."
        )
    if any(day.day != day.last for day in days):
        notes.append("A bar is of several days; its accounts and countries the most on one.")
    return element(
        "section",
        element("h2", "Day by day"),
        *[element("p", note, class_="quiet") for note in notes],
        incidents,
        accounts,
        countries,
        element("details", element("summary", "The numbers"), _days_table(days)),
    )


def _dates(days: Sequence[Day]) -> Markup:
    """Return what stands below bars: the first day, one in the middle, and the last."""
    shown = [days[0].day, days[len(days) // 2].day, days[-1].last]
    return element("div", *[element("span", date(day)) for day in shown], class_="dates")


def _told(day: Day) -> str:
    period = date(day.day) if day.day == day.last else f"{date(day.day)} to {date(day.last)}"
    told = f"{period}: {day.blocked} blocked, {day.observed} observed"
    if day.accounts is None or day.countries is None:
        return told
    countries = quantity(day.countries, "country", "countries")
    return f"{told}, {quantity(day.accounts, 'account')} in {countries}"


def _days_table(days: Sequence[Day]) -> Markup:
    rows = [
        [Markup(date(day.day)), day.blocked, day.observed, day.accounts, day.countries]
        for day in reversed(days)
    ]
    return table(
        "Incidents, accounts and countries, the latest first",
        ["From", "Blocked", "Observed", "Accounts", "Countries"],
        rows,
    )


def countries(found: Report) -> Markup:
    """Return the section with the map."""
    if not found.countries:
        return Markup("")
    most = found.countries[0].mails
    small = [row for row in found.countries if row.country not in world().shapes]
    rows = [
        [
            Markup(f"{element('span', world().name(row.country))} {quiet(row.country)}"),
            row.accounts,
            row.mails,
            share(row.mails, most),
        ]
        for row in found.countries
    ]
    named = [f"{world().name(row.country)} ({row.mails:,})" for row in small[:MOST_SMALL]]
    named += [f"and {len(small) - MOST_SMALL} more"] if len(small) > MOST_SMALL else []
    listed = table("Mails by country, most first", ["Country", "Accounts", "Mails", HIDDEN], rows)
    return element(
        "section",
        element("h2", "Mails by country"),
        element(
            "p",
            f"{quantity(found.mails, 'mail')},"
            " counted since each account was first seen in a country.",
            class_="quiet",
        ),
        world_map(found.countries),
        *([element("p", sentence(f"Too small to be drawn: {', '.join(named)}."))] if small else []),
        listed
        if len(rows) <= MOST_ROWS
        else element("details", element("summary", f"All {len(rows)} countries"), listed),
    )
