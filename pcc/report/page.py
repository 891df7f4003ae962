"""The report as one HTML page: for a browser of any width, light or dark, or for paper.

It asks nothing of anybody: style and pictures are in it, there is no script, and a
Content-Security-Policy forbids all but its own style.  All times in it are UTC, as the days are.
What it tells of single accounts is limited, so that the page stays small however many there are.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pcc import VERSION, evidence
from pcc.errors import CountryError
from pcc.policy import DAY, MOST_FAMILIAR_DAYS
from pcc.report.activity import bucketed
from pcc.report.charts import Bar, bars, share, world_map
from pcc.report.gathering import details
from pcc.report.markup import Markup, element, joined, sentence, table
from pcc.report.world import world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.config import Config
    from pcc.evidence import Leg
    from pcc.origins import Origins
    from pcc.report.activity import Day
    from pcc.report.alarms import Alarm, Cure
    from pcc.report.gathering import AccountDetails, Report
    from pcc.report.nearness import Near
    from pcc.store.incidents import IncidentRow
    from pcc.store.interface import Database

MOST_BARS = 120
"""Of more days weeks are made."""

MOST_INCIDENTS = 300
MOST_ACCOUNTS = 200
MOST_ALARMS = 50
MOST_SMALL = 12
MOST_LINES = 30
"""Sightings, and events, of one account."""

HIDDEN = Markup('<span class="hidden">compared</span>')
"""The heading of a column of bars, for those who can't see them."""

_STYLE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    "data",
    "report.css",
)


def page(config: Config, database: Database, origins: Origins, found: Report) -> str:
    """Return the whole page."""
    with open(_STYLE, encoding="utf-8") as file:
        style = file.read()
    accounts = _accounts(found)
    anchors = {account: f"account-{number}" for number, account in enumerate(accounts, 1)}
    body = [
        _introduction(found),
        *([] if found.is_empty else _sections(found, anchors)),
        *_account_sections(database, origins, found, anchors),
        _footer(config),
    ]
    return "\n".join(["<!DOCTYPE html>", '<html lang="en">', _head(style), "<body>", *body, _END])


_END = "</body>\n</html>\n"


def _head(style: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return joined(
        [
            Markup('<head>\n<meta charset="utf-8">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="color-scheme" content="light dark">'),
            Markup('<meta name="referrer" content="no-referrer">'),
            Markup('<meta name="robots" content="noindex, nofollow">'),
            element("title", f"Mail accounts by country, {socket.gethostname()}"),
            Markup(f"<style>{style}</style>\n</head>"),
        ]
    )


def _introduction(found: Report) -> Markup:
    begin, end = _date(int(found.since // DAY)), _moment(found.until)
    nothing = element("p", "Nothing was seen and nothing happened.")
    return element(
        "header",
        element("h1", f"Mail accounts by country: {socket.gethostname()}"),
        element("p", Markup(f"From {begin} to {end}. All times are UTC."), class_="quiet"),
        nothing if found.is_empty else _figures(found),
    )


def _figures(found: Report) -> Markup:
    figures = [
        ("blocked now", len(found.blocked_now), "bad"),
        ("blocks in this time", found.count("enforce"), ""),
        ("observed incidents", found.count("observe"), "warn"),
        ("blocks lifted within a day", found.alarm_count, ""),
        ("accounts seen", found.accounts, ""),
        ("countries", len(found.countries), ""),
    ]
    return element(
        "dl",
        *[
            element(
                "div",
                element("dt", name),
                element("dd", count),
                class_=kind if kind and count else None,
            )
            for name, count, kind in figures
        ],
        class_="figures",
    )


def _sections(found: Report, anchors: dict[str, str]) -> list[Markup]:
    return [
        _timeline(found),
        _countries(found),
        _alarms(found, anchors),
        _near(found, anchors),
        _incidents(found, anchors),
    ]


# Time.


def _timeline(found: Report) -> Markup:
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
    return element("div", *[element("span", _date(day)) for day in shown], class_="dates")


def _told(day: Day) -> str:
    period = _date(day.day) if day.day == day.last else f"{_date(day.day)} to {_date(day.last)}"
    told = f"{period}: {day.blocked} blocked, {day.observed} observed"
    if day.accounts is None:
        return told
    return f"{told}, {day.accounts:,} accounts in {day.countries} countries"


def _days_table(days: Sequence[Day]) -> Markup:
    rows = [
        [Markup(_date(day.day)), day.blocked, day.observed, day.accounts, day.countries]
        for day in reversed(days)
    ]
    return table(
        "Incidents, accounts and countries, the latest first",
        ["From", "Blocked", "Observed", "Accounts", "Countries"],
        rows,
    )


# Countries.


def _countries(found: Report) -> Markup:
    if not found.countries:
        return Markup("")
    most = found.countries[0].mails
    small = [row for row in found.countries if row.country not in world().shapes]
    rows = [
        [
            Markup(f"{element('span', world().name(row.country))} {_quiet(row.country)}"),
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
            f"{found.mails:,} mails, counted since each account was first seen in a country.",
            class_="quiet",
        ),
        world_map(found.countries),
        *([element("p", sentence(f"Too small to be drawn: {', '.join(named)}."))] if small else []),
        listed
        if len(rows) <= MOST_LINES
        else element("details", element("summary", f"All {len(rows)} countries"), listed),
    )


def _quiet(text: str) -> Markup:
    return element("span", text, class_="quiet")


# Incidents.


def _alarms(found: Report, anchors: dict[str, str]) -> Markup:
    shown = found.alarms[: -MOST_ALARMS - 1 : -1]
    if not shown:
        return Markup("")
    return element(
        "section",
        element("h2", "Likely false alarms"),
        element(
            "p",
            "Blocks, or observed incidents, that an administrator lifted within a day, with what"
            " would have prevented each.",
            _of_more(len(shown), found.alarm_count, "the latest"),
        ),
        *[_alarm(alarm, anchors) for alarm in shown],
    )


def _alarm(alarm: Alarm, anchors: dict[str, str]) -> Markup:
    row = alarm.incident
    minutes = round(((row.ended or 0) - row.began) / 60)
    lasted = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    what = "Blocked" if row.mode == "enforce" else "Observed"
    story = f"{what} for {lasted} by {row.rule}: {row.countries}. Lifted by {alarm.by}"
    story += f', who said "{alarm.reason}".' if alarm.reason else "."
    if alarm.again:
        story += f" Seen later again in {', '.join(alarm.again)}."
    return element(
        "article",
        element("h3", _link(row.account, anchors)),
        element("p", _time(row.began), " ", sentence(story)),
        _travel(alarm.legs),
        element("ol", *[_cure(cure) for cure in alarm.cures]),
        class_="alarm",
    )


def _cure(cure: Cure) -> Markup:
    where = "In pcc.toml: " if cure.is_setting else ""
    # To be copied: backslashes and angle brackets stay what they are.
    lines = joined([sentence(line) for line in cure.text.splitlines()])
    return element("li", f"{where}{cure.because}", element("pre", lines))


def _near(found: Report, anchors: dict[str, str]) -> Markup:
    if not found.near:
        return Markup("")
    rows = [
        [
            _link(near.account, anchors),
            f"{near.counted} of {near.allowed}",
            _limit(near.rule),
            Markup(_codes(near.countries)),
        ]
        for near in found.near
    ]
    return element(
        "section",
        element("h2", "Nearest to their limit"),
        element(
            "p",
            "Accounts that have used half of what a limit allows, or more, when this page was made."
            " Familiar countries and each group count as one.",
            _of_more(len(rows), found.near_count, "the nearest"),
        ),
        table(
            "Accounts near a limit",
            ["Account", "Count", "Limit", "Countries"],
            rows,
            is_stacked=True,
        ),
    )


def _incidents(found: Report, anchors: dict[str, str]) -> Markup:
    shown = found.incidents[: -MOST_INCIDENTS - 1 : -1]
    if not shown:
        return Markup("")
    rows = [
        [
            _link(row.account, anchors),
            _state(row, found.until),
            _time(row.began),
            _limit(row.rule),
            Markup(_codes(row.countries.split(","))),
            row.client_address,
            row.tries,
        ]
        for row in shown
    ]
    return element(
        "section",
        element("h2", "Incidents"),
        element("p", "The latest first.", _of_more(len(rows), len(found.incidents), "the latest")),
        table(
            "Incidents",
            ["Account", "State", "Since", "Limit", "Countries", "Crossed from", "Mails stopped"],
            rows,
            is_stacked=True,
        ),
    )


def _state(row: IncidentRow, now: float) -> Markup:
    word = row.state(now)
    if word == "lifted" and row.mode == "observe":
        return element("span", "observed, ended", class_="state lifted")
    return element("span", word.lower(), class_=f"state {word}")


def _codes(countries: Sequence[str]) -> Markup:
    """Return countries, which may be wrapped between any two, with their names to be hovered."""
    return Markup(
        ", ".join(element("abbr", code, title=world().name(code)) for code in countries if code)
    )


def _link(account: str, anchors: dict[str, str]) -> Markup:
    if account in anchors:
        return element("a", account, href=f"#{anchors[account]}", class_="name")
    return element("span", account, class_="name")


def _limit(rule: str) -> Markup:
    return element("span", rule, class_="limit")


def _of_more(shown: int, count: int, which: str) -> str:
    return f" These are {which} {shown:,} of {count:,}." if count > shown else Markup("")


# Accounts.


def _accounts(found: Report) -> list[str]:
    """Return the accounts that are told of one by one: those blocked, with incidents, or near."""
    latest = [row.account for row in reversed(found.incidents)]
    near = [near.account for near in found.near]
    every = dict.fromkeys([*found.blocked_now[::-1], *found.observed_now[::-1], *latest, *near])
    return list(every)[:MOST_ACCOUNTS]


def _account_sections(
    database: Database, origins: Origins, found: Report, anchors: dict[str, str]
) -> list[Markup]:
    if not anchors:
        return []
    incidents: dict[str, list[IncidentRow]] = {}
    for row in reversed(found.incidents):
        incidents.setdefault(row.account, []).append(row)
    near = {near.account: near for near in found.near}
    blocked, observed = set(found.blocked_now), set(found.observed_now)
    parts = [
        element("h2", "Accounts"),
        element(
            "p",
            f"Only those with incidents or near a limit: {len(anchors):,} of"
            f" {max(found.accounts, len(anchors)):,}, blocked ones first."
            f" pcc_admin.py show ACCOUNT tells of any.",
        ),
    ]
    for account, anchor in anchors.items():
        state = (
            "BLOCKED" if account in blocked else "OBSERVED" if account in observed else ""
        ) or ("lifted" if account in incidents else "near")
        told = details(database, origins, account, MOST_LINES, found.until)
        parts.append(_account(told, anchor, state, incidents.get(account, []), near.get(account)))
    return [element("section", *parts)]


def _account(
    told: AccountDetails, anchor: str, state: str, incidents: list[IncidentRow], near: Near | None
) -> Markup:
    words = {"lifted": "incident ended", "near": "near a limit"}
    mails = sum(row.mails for row in told.sightings)
    tables = [_sightings_table(told), _travel(told.legs)] if told.sightings else []
    if near is not None:
        counted = f"{near.counted} of {near.allowed} towards {near.rule}."
        tables.insert(0, element("p", counted))
    if incidents:
        tables.append(_own_incidents(incidents[:MOST_LINES]))
    if told.events:
        tables.append(_events_table(told))
    summary = element(
        "summary",
        element("span", told.account, class_="name"),
        " ",
        element("span", words.get(state, state.lower()), class_=f"state {state}"),
        " ",
        _quiet(f"{told.sighting_count:,} addresses, {mails:,} mails"),
    )
    # A link to what is inside opens it.
    return element("details", summary, element("div", *tables, id=anchor))


def _sightings_table(told: AccountDetails) -> Markup:
    caption = "Seen sending from, the latest first"
    if told.sighting_count > len(told.sightings):
        caption += f": {len(told.sightings)} of {told.sighting_count:,} addresses"
    rows: list[list[Any]] = [
        [
            element("abbr", row.country, title=world().name(row.country)),
            row.address,
            element("span", row.client_name, class_="name"),
            *_where(told, row.address),
            _time(row.first_seen),
            _time(row.last_seen),
            row.mails,
        ]
        for row in told.sightings
    ]
    where = ["City", "Network"] if told.origins else []
    columns = ["Country", "Address", "Client name", *where, "First seen", "Last seen", "Mails"]
    return table(caption, columns, rows)


def _where(told: AccountDetails, address: str) -> list[str]:
    """Return the cells that tell where an address is and whose, none where nothing can be known."""
    if not told.origins:
        return []
    origin = told.origins.get(address, evidence.Origin())
    return [origin.city, evidence.network(origin)]


def _travel(legs: Sequence[Leg]) -> Markup:
    """Return how fast one person would have had to travel, which is evidence and no rule."""
    if not legs:
        return Markup("")
    ways = [element("li", f"{evidence.sentence(leg)}.") for leg in legs]
    return element("ul", *ways, class_="travel")


def _own_incidents(incidents: Sequence[IncidentRow]) -> Markup:
    rows = [
        [
            _time(row.began),
            _time(row.ended) if row.ended else None,
            _limit(row.rule),
            _codes(row.countries.split(",")),
            row.client_address,
            row.tries,
        ]
        for row in incidents
    ]
    columns = ["Since", "Ended", "Limit", "Countries", "Crossed from", "Mails stopped"]
    return table("Incidents", columns, rows)


def _events_table(told: AccountDetails) -> Markup:
    rows = [[_time(row.at), row.what, row.by, row.detail] for row in reversed(told.events)]
    return table("What happened, the latest first", ["At", "What", "By", "Detail"], rows)


# The rest.


def _footer(config: Config) -> Markup:
    from pcc.country import describe

    try:
        is_dbip = describe(config.country_database).type.startswith("DBIP")
    except CountryError:
        is_dbip = True  # it may have been, and asks to be named
    link = Markup('<a href="https://db-ip.com" rel="noreferrer">IP Geolocation by DB-IP</a>. ')
    return element(
        "footer",
        element(
            "p",
            f"Made by pcc {VERSION}. ",
            link if is_dbip else Markup(""),
            "Map: Natural Earth (public domain), Equal Earth projection, without Antarctica.",
        ),
    )


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, timezone.utc).strftime("%Y-%m-%d")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")


def _time(seconds: float) -> Markup:
    text = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return element("time", _moment(seconds), datetime=text)
