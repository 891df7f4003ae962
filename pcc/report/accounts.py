"""The page's sections about accounts, one by one: where each was seen, and what happened.

Only accounts with incidents or near a limit, and of each only the latest, so that the page stays
small however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcc.places import travel as evidence
from pcc.report.gathering import details
from pcc.report.markup import Markup, element, table
from pcc.report.pieces import codes, limit, quiet, time, travel
from pcc.report.world import world
from pcc.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.places.origins import Origins
    from pcc.report.gathering import AccountDetails, Report
    from pcc.report.nearness import Near
    from pcc.store.engine.interface import Database
    from pcc.store.incidents import IncidentRow

MOST_ACCOUNTS = 200
MOST_LINES = 30
"""Sightings, and events, of one account."""


def chosen_accounts(found: Report) -> list[str]:
    """Return the accounts that are told of one by one: those blocked, with incidents, or near."""
    latest = [row.account for row in reversed(found.incidents)]
    near = [near.account for near in found.near]
    every = dict.fromkeys([*found.blocked_now[::-1], *found.observed_now[::-1], *latest, *near])
    return list(every)[:MOST_ACCOUNTS]


def account_sections(
    database: Database, origins: Origins, found: Report, anchors: dict[str, str]
) -> list[Markup]:
    """Return the section; `anchors`: the names of accounts that are told of, and where."""
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
    tables = [_sightings_table(told), travel(told.legs)] if told.sightings else []
    if near is not None:
        counted = f"{near.counted} of {near.allowed} towards {near.rule}."
        tables.insert(0, element("p", counted))
    if incidents:
        tables.append(_own_incidents(incidents[:MOST_LINES]))
    if told.events:
        tables.append(_events_table(told))
    addresses = quantity(told.sighting_count, "address", "addresses")
    summary = element(
        "summary",
        element("span", told.account, class_="name"),
        " ",
        element("span", words.get(state, state.lower()), class_=f"state {state}"),
        " ",
        quiet(f"{addresses}, {quantity(told.mails, 'mail')}"),
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
            time(row.first_seen),
            time(row.last_seen),
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


def _own_incidents(incidents: Sequence[IncidentRow]) -> Markup:
    rows = [
        [
            time(row.began),
            time(row.ended) if row.ended else None,
            limit(row.rule),
            codes(row.countries.split(",")),
            row.client_address,
            row.tries,
        ]
        for row in incidents
    ]
    columns = ["Since", "Ended", "Limit", "Countries", "Crossed from", "Mails stopped"]
    return table("Incidents", columns, rows)


def _events_table(told: AccountDetails) -> Markup:
    rows = [[time(row.at), row.what, row.by, row.detail] for row in reversed(told.events)]
    return table("What happened, the latest first", ["At", "What", "By", "Detail"], rows)
