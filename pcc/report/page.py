"""The report as one HTML page: for a browser of any width, light or dark, or for paper.

It asks nothing of anybody: style and pictures are in it, there is no script, and a
Content-Security-Policy forbids all but its own style.  All times in it are UTC, as the days are.
The page is the template page.html; this module says what is in it, and escapes every value.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pcc import VERSION
from pcc.errors import CountryError
from pcc.escaping import escaped, printable
from pcc.history import MOST_FAMILIAR_DAYS
from pcc.places import travel
from pcc.report.activity import bucketed
from pcc.report.charts import chart, world_map
from pcc.report.gathering import details
from pcc.report.world import world
from pcc.wording import date, quantity, rfc3339

if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.places.origins import Origins
    from pcc.report.gathering import AccountDetails, Report
    from pcc.report.nearness import Near
    from pcc.store.engine.interface import Database
    from pcc.store.incidents import IncidentRow

MOST_BARS = 120
"""More days become weeks."""

MOST_ACCOUNTS = 200
"""Accounts that are shown one by one, so that the page stays small however many there are."""

MOST_LINES = 30
"""Sightings, incidents and events of one account."""

LIMITS = {
    "MOST_ALARMS": 50,
    "MOST_COUNTRIES": 30,  # a table of more has to be opened
    "MOST_INCIDENTS": 300,
    "MOST_LINES": MOST_LINES,
    "MOST_NAMES": 8,  # networks of an account
    "MOST_SMALL": 12,  # countries too small for the map that are named below it
}


class Told(NamedTuple):
    """An account that is shown by itself; `incidents`: the latest first."""

    account: str
    state: str
    word: str
    known: AccountDetails
    incidents: list[IncidentRow]
    near: list[Near]


def page(config: Config, database: Database, origins: Origins, found: Report) -> str:
    """Return the whole page."""
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "page.css"), encoding="utf-8") as file:
        style = file.read()
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["as_typed"] = _as_typed
    environment.globals |= LIMITS
    environment.globals |= {"date": date, "moment": moment, "quantity": quantity}
    environment.globals |= {"rfc3339": rfc3339, "lasted": lasted, "world": world()}
    environment.globals |= {"network": travel.network, "way": travel.sentence}
    accounts = told_accounts(database, origins, found)
    days = bucketed(found.days, MOST_BARS)
    text = environment.get_template("page.html").render(
        found=found,
        accounts=accounts,
        anchors={told.account: f"account-{number}" for number, told in enumerate(accounts, 1)},
        days=days,
        dates=[days[0].day, days[len(days) // 2].day, days[-1].last] if days else [],
        charts=[
            chart("Incidents", days, "blocked", "observed"),
            chart("Accounts that sent mail", days, "accounts"),
            chart("Countries they sent from", days, "countries"),
        ],
        map=world_map(found.countries),
        known_days=MOST_FAMILIAR_DAYS + 1,
        unknown=travel.Origin(),
        host=socket.gethostname(),
        version=VERSION,
        **_credits(config),
        style=style,
        digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    return text.lstrip()  # macros leave empty lines


def told_accounts(database: Database, origins: Origins, found: Report) -> list[Told]:
    """Return the accounts shown one by one: blocked, with incidents, near a limit, or watched."""
    incidents: dict[str, list[IncidentRow]] = {}
    for row in reversed(found.incidents):
        incidents.setdefault(row.account, []).append(row)
    near: dict[str, list[Near]] = {}
    for measured in (*found.over, *found.near):
        near.setdefault(measured.account, []).append(measured)
    blocked, observed = found.blocked_now[::-1], found.observed_now[::-1]
    watched = [watched.account for watched in found.watch]
    states = {
        **dict.fromkeys(watched, ("near", "watched")),
        **dict.fromkeys(near, ("near", "near a limit")),
        **dict.fromkeys(incidents, ("lifted", "incident ended")),
        **dict.fromkeys(observed, ("OBSERVED", "observed")),
        **dict.fromkeys(blocked, ("BLOCKED", "blocked")),
    }
    order = dict.fromkeys([*blocked, *observed, *incidents, *near, *watched])
    return [
        Told(
            account,
            *states[account],
            details(database, origins, account, MOST_LINES, found.until),
            incidents.get(account, []),
            near.get(account, []),
        )
        for account in list(order)[:MOST_ACCOUNTS]
    ]


def moment(seconds: float) -> str:
    """Return UTC seconds as a date and a time."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")


def lasted(row: IncidentRow) -> str:
    """Return how long an incident that has ended lasted."""
    minutes = round(((row.ended or 0) - row.began) / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _shown(value: Any) -> Any:
    """Return what the template prints of a value; Jinja2 then escapes what is not markup.

    Strangers choose logins and host names, so text looks as it does in logs and tables.
    """
    if isinstance(value, Markup):
        return value
    if value is None or value == "":
        return "\N{EN DASH}"
    return f"{value:,}" if isinstance(value, int) else escaped(str(value))


def _as_typed(text: str) -> Markup:
    """Return lines to be copied: backslashes and angle brackets stay what they are."""
    return Markup("\n").join([printable(line) for line in text.splitlines()])  # which escapes


def _credits(config: Config) -> dict[str, bool]:
    """Return whose data are in the page, of those who ask to be named."""
    from pcc.places.database import COUNTRIES, NETWORKS, describe

    types = []
    for path, kind in ((config.country_database, COUNTRIES), (config.networks_database, NETWORKS)):
        try:
            types.append(describe(path, kind).type if path else "")
        except CountryError:
            types.append("DBIP" if kind is COUNTRIES else "")  # it may have been theirs
    is_joined = types[1].startswith("ip-location-db")
    return {
        "is_dbip": is_joined or any(database.startswith("DBIP") for database in types),
        "is_joined": is_joined,
    }
