"""Reads all that a report tells, in many short statements."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from pcc.places import travel as evidence
from pcc.report import alarms
from pcc.report.activity import Activity, CountryRow, Day
from pcc.report.nearness import Near, Nearness
from pcc.rule import DAY
from pcc.store import exemptions, history, incidents

if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.places.origins import Origins
    from pcc.places.travel import Leg, Origin
    from pcc.report.alarms import Alarm, Command
    from pcc.store.engine.interface import Database
    from pcc.store.history import LiftRow
    from pcc.store.incidents import EventRow, IncidentRow, SightingRow

MOST_NEAR = 100
"""Accounts near their limit that are told, of however many."""

MOST_ALARMS = 500
"""Blocks lifted soon that are told, the latest."""

MOST_SIGHTINGS = 1000
"""Addresses that are looked at to find a cloud's machines."""

MOST_TRAVELLED = 30
"""Of those, the latest between which ways are looked for."""

MOST_LEGS = 3
"""Ways between two places that are told of one account, the fastest."""


class Report(NamedTuple):
    """What pcc saw and did from `since` to `until` (UTC seconds).

    `blocked_now`, `observed_now`: the accounts of incidents that are open, whenever they began.
    `incidents`: oldest first.  `lifts`: by incident's id.  `near_count`: how many accounts are near
    a limit.  `alarm_count`: how many blocks were lifted soon.  `accounts`: how many were seen.
    """

    since: float
    until: float
    blocked_now: list[str]
    observed_now: list[str]
    accounts: int
    days: list[Day]
    countries: list[CountryRow]
    incidents: list[IncidentRow]
    lifts: dict[int, LiftRow]
    near: list[Near]
    near_count: int
    alarms: list[Alarm]
    alarm_count: int

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
    """What a report tells of one account: its latest sightings, and events.

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
    """Read what there is to tell since the beginning of a day; raises StoreError.

    `command` gives a command line of pcc_admin.py with these words.
    """
    rows = incidents.incidents_since(database, since)
    lifts = history.lifts_since(database, since)
    by_end = {(lift.account, lift.at): lift for lift in lifts if lift.what == "unblocked"}
    soon = alarms.lifted_soon(rows, lifts)
    activity = Activity(since)
    near = _walk(config, database, activity, now)
    return Report(
        since=since,
        until=now,
        blocked_now=_open(database, "enforce", now),
        observed_now=_open(database, "observe", now),
        accounts=activity.accounts,
        days=activity.days(rows, now),
        countries=activity.countries(),
        incidents=rows,
        lifts={row.id: lift for row in rows if (lift := by_end.get((row.account, row.ended or 0)))},
        near=heapq.nsmallest(MOST_NEAR, near, key=lambda found: found.rank),
        near_count=len(near),
        alarms=[_alarm(config, database, origins, command, *pair) for pair in soon[-MOST_ALARMS:]],
        alarm_count=len(soon),
    )


def details(
    database: Database, origins: Origins, account: str, most: int, now: float
) -> AccountDetails:
    """Return what there is to tell of one account, `most` of its sightings and events."""
    sightings = history.sightings_between(database, account, 0, now + DAY, most)
    found = origins.find([row.address for row in sightings])
    return AccountDetails(
        account,
        sightings,
        *history.totals(database, account),
        incidents.events_of(database, account)[-most:],
        found,
        _legs(sightings, found),
    )


def _legs(sightings: list[SightingRow], origins: dict[str, Origin]) -> list[Leg]:
    return evidence.fastest(evidence.legs(evidence.visits(sightings, origins)), MOST_LEGS)


def _walk(config: Config, database: Database, activity: Activity, now: float) -> list[Near]:
    """Count every account into `activity`, and return those that are near a limit."""
    exempt = {
        (row.kind, row.value)
        for row in exemptions.all_exemptions(database)
        if not row.until or row.until > now
    }
    nearness = Nearness(config, exempt, now)
    found = []
    for row in history.accounts(database, nearness.addresses_since):
        activity.add(row.countries)
        near = nearness.of(row)
        if near is not None:
            found.append(near)
    return found


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
    sightings = history.sightings_between(database, account, since, began, MOST_SIGHTINGS)
    latest = sightings[:MOST_TRAVELLED]
    known = alarms.Evidence(
        history.countries_of(database, account),
        sightings,
        len(sightings) < MOST_SIGHTINGS,
        _legs(latest, origins.find([row.address for row in latest])),
    )
    return alarms.alarm(config, command, incident, lift, known)
