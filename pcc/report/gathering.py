"""Reads all that is in a report, in many short statements."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from pcc.history import DAY
from pcc.places import travel as evidence
from pcc.report import alarms
from pcc.report.activity import Activity, Day, PlaceRow
from pcc.report.nearness import Near, Nearness, Watched
from pcc.store import exemptions, incidents
from pcc.store import report as rows

if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.places.origins import Origins
    from pcc.places.travel import Leg, Origin
    from pcc.report.alarms import Alarm, Command
    from pcc.store.engine.interface import Database
    from pcc.store.incidents import EventRow, IncidentRow, SightingRow
    from pcc.store.report import LiftRow

MOST_NEAR = 100
"""The most accounts near their limit, or over it, that a report has."""

MOST_WATCHED = 50
"""The most accounts on the watch list."""

MOST_NETWORKS = 300
"""The most networks that a report has: those with the most mails."""

MOST_ALARMS = 500
"""The most blocks lifted soon that a report has: the latest."""

MOST_SIGHTINGS = 1000
"""The most addresses that are searched for a cloud's machines."""

MOST_TRAVELLED = 30
"""The latest of those, between which ways are looked for."""

MOST_LEGS = 3
"""The most ways between two places of one account: the fastest."""


class Report(NamedTuple):
    """Incidents and mail from `since` to `until` (UTC seconds).

    `blocked_now`, `observed_now`: the accounts of incidents that are open, whenever they began.
    `incidents`: oldest first.  `lifts`: by incident's id.  `over`: accounts over a limit by what is
    remembered, without an incident: their history was imported, or the limit was higher then.
    `accounts`, `network_count`, `over_count`, `near_count`, `alarm_count`: how many there are.
    `origins`: those of the networks that are shown, by name, as far as a database has them.
    """

    since: float
    until: float
    blocked_now: list[str]
    observed_now: list[str]
    accounts: int
    days: list[Day]
    countries: list[PlaceRow]
    networks: list[PlaceRow]
    network_count: int
    incidents: list[IncidentRow]
    lifts: dict[int, LiftRow]
    over: list[Near]
    over_count: int
    near: list[Near]
    near_count: int
    watch: list[Watched]
    alarms: list[Alarm]
    alarm_count: int
    origins: dict[str, Origin]

    def network_name(self, network: str) -> str:
        """Return whose network it is, for people and unescaped, "" if that is unknown."""
        origin = self.origins.get(network, evidence.Origin())
        return f"{origin.operator}, hosting" if origin.is_hosting else origin.operator

    @property
    def mails(self) -> int:
        """How many mails the accounts have sent since each was first seen in a country."""
        return sum(row.mails for row in self.countries)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.accounts or self.incidents or self.blocked_now or self.observed_now)

    def count(self, mode: str) -> int:
        """Return how many incidents of a mode there were."""
        return sum(row.mode == mode for row in self.incidents)


class AccountDetails(NamedTuple):
    """One account in a report: its latest sightings, and events.

    `sighting_count`, `mails`: of all its sightings.  `origins`: where the addresses are and whose,
    empty where that can't be looked up.  `legs`: the fastest ways between them.
    """

    account: str
    sightings: list[SightingRow]
    sighting_count: int
    mails: int
    events: list[EventRow]
    origins: dict[str, Origin]
    legs: list[Leg]


def gather(
    config: Config,
    database: Database,
    origins: Origins,
    command: Command,
    since: float,
    now: float,
) -> Report:
    """Read the report since the beginning of a day; raises StoreError.

    `command` gives a command line of pcc_admin.py with these words.
    """
    began = incidents.incidents_since(database, since)
    lifts = rows.lifts_since(database, since)
    by_end = {(lift.account, lift.at): lift for lift in lifts if lift.what == "unblocked"}
    soon = alarms.lifted_soon(began, lifts)
    activity = Activity(since)
    nearness = Nearness(config, exemptions.all_exemptions(database), now)
    for row in rows.accounts(database, nearness.addresses_since):
        activity.add(row.countries, row.networks)
        nearness.add(row)
    networks = activity.networks()
    over = heapq.nsmallest(MOST_NEAR, nearness.over, key=lambda found: found.rank)
    near = heapq.nsmallest(MOST_NEAR, nearness.near, key=lambda found: found.rank)
    watch = heapq.nsmallest(MOST_WATCHED, nearness.watch, key=lambda found: found.rank)
    return Report(
        since=since,
        until=now,
        blocked_now=_open(database, "enforce", now),
        observed_now=_open(database, "observe", now),
        accounts=activity.accounts,
        days=activity.days(began, now),
        countries=activity.countries(),
        networks=networks[:MOST_NETWORKS],
        network_count=len(networks),
        incidents=began,
        lifts={
            row.id: lift for row in began if (lift := by_end.get((row.account, row.ended or 0)))
        },
        over=over,
        over_count=len(nearness.over),
        near=near,
        near_count=len(nearness.near),
        watch=watch,
        alarms=[_alarm(config, database, origins, command, *pair) for pair in soon[-MOST_ALARMS:]],
        alarm_count=len(soon),
        origins=_origins_of(database, origins, networks[:MOST_NETWORKS], [*over, *near], watch),
    )


def _origins_of(
    database: Database,
    origins: Origins,
    networks: list[PlaceRow],
    near: list[Near],
    watch: list[Watched],
) -> dict[str, Origin]:
    """Return the origins of all networks that are shown, by an address in each."""
    names = {row.name for row in networks}
    names.update(name for found in near for name in found.networks)
    names.update(name for watched in watch for name in watched.networks)
    known = rows.addresses_by_network(database)
    addresses = {name: known[name] for name in names if name in known}
    found = origins.find(addresses.values())
    return {name: found[address] for name, address in addresses.items() if address in found}


def details(
    database: Database, origins: Origins, account: str, most: int, now: float
) -> AccountDetails:
    """Return one account with at most `most` of its sightings and events."""
    sightings = rows.sightings_between(database, account, 0, now + DAY, most)
    found = origins.find([row.address for row in sightings])
    return AccountDetails(
        account,
        sightings,
        *rows.totals(database, account),
        incidents.events_of(database, account)[-most:],
        found,
        _legs(sightings, found),
    )


def _legs(sightings: list[SightingRow], origins: dict[str, Origin]) -> list[Leg]:
    return evidence.fastest(evidence.legs(evidence.visits(sightings, origins)), MOST_LEGS)


def _open(database: Database, mode: str, now: float) -> list[str]:
    return [row.account for row in incidents.open_incidents(database, mode, now)]


def _alarm(
    config: Config,
    database: Database,
    origins: Origins,
    command: Command,
    incident: IncidentRow,
    lift: LiftRow,
) -> Alarm:
    account, began = incident.account, incident.began
    since = began - incident.window_seconds
    sightings = rows.sightings_between(database, account, since, began, MOST_SIGHTINGS)
    latest = sightings[:MOST_TRAVELLED]
    known = alarms.Evidence(
        rows.countries_of(database, account),
        sightings,
        len(sightings) < MOST_SIGHTINGS,
        _legs(latest, origins.find([row.address for row in latest])),
    )
    return alarms.alarm(config, command, incident, lift, known)
