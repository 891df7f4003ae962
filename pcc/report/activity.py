"""Accounts, countries and incidents by day, and mails by country and by network.

Days are UTC days since 1970, as in the database.  Where an account was seen is known by day for
the last MOST_FAMILIAR_DAYS days and today, mails only as a sum since the account was first seen in
a country.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from pcc.history import DAY, MOST_FAMILIAR_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pcc.history import Seen
    from pcc.store.incidents import IncidentRow

LEAST_DAYS = 7
"""The report shows these days at least, even if nothing is known of the first of them."""


class Day(NamedTuple):
    """The numbers of a day, or of the days from `day` to `last` (UTC days since 1970).

    `blocked`, `observed`: incidents that began.  `accounts`, `countries`: how many were seen
    sending, for several days the most on one of them; None where that is not known any more.
    """

    day: int
    last: int
    blocked: int
    observed: int
    accounts: int | None
    countries: int | None

    @property
    def is_one_day(self) -> bool:
        """Whether it is of one day, not of several."""
        return self.day == self.last


class PlaceRow(NamedTuple):
    """A country or network: accounts seen there in the period, and their mails since the first."""

    name: str
    accounts: int
    mails: int


class _Tally:
    """Accounts and mails by place."""

    def __init__(self) -> None:
        self._accounts: Counter[str] = Counter()
        self._mails: Counter[str] = Counter()

    def add(self, seen: Seen) -> None:
        self._accounts[seen.name] += 1
        self._mails[seen.name] += seen.mails

    def rows(self) -> list[PlaceRow]:
        """Return the places, most mails first."""
        rows = [PlaceRow(name, self._accounts[name], mails) for name, mails in self._mails.items()]
        return sorted(rows, key=lambda row: (-row.mails, row.name))


class Activity:
    """Counts what is seen of accounts since a time (UTC seconds), one account after the other."""

    def __init__(self, since: float) -> None:
        self._since = since
        self._accounts_by_day: Counter[str] = Counter()
        self._days_of_country: dict[str, set[str]] = {}
        self._countries = _Tally()
        self._networks = _Tally()
        self.accounts = 0

    def add(self, countries: Iterable[Seen], networks: Iterable[Seen]) -> None:
        """Add the places where one account was seen."""
        for seen in networks:
            if seen.last_seen >= self._since:
                self._networks.add(seen)
        all_days: set[str] = set()
        for seen in countries:
            if seen.last_seen < self._since:
                continue
            days = {day for day in seen.days.split() if day[0] != "|"}
            # Version 1 forgot the days of what was unfamiliar in an incident, but not these two.
            days.add(str(int(seen.first_seen // DAY)))
            days.add(str(int(seen.last_seen // DAY)))
            self._countries.add(seen)
            self._days_of_country.setdefault(seen.name, set()).update(days)
            all_days |= days
        if all_days:
            self.accounts += 1
            self._accounts_by_day.update(all_days)

    def countries(self) -> list[PlaceRow]:
        """Return the countries, most mails first."""
        return self._countries.rows()

    def networks(self) -> list[PlaceRow]:
        """Return the networks, most mails first."""
        return self._networks.rows()

    def days(self, incidents: Sequence[IncidentRow], now: float) -> list[Day]:
        """Return each day from the first that something is known of, today the last."""
        today = int(now // DAY)
        known_from = today - MOST_FAMILIAR_DAYS
        blocked = Counter(int(row.began // DAY) for row in incidents if row.mode == "enforce")
        observed = Counter(int(row.began // DAY) for row in incidents if row.mode == "observe")
        countries = Counter(day for days in self._days_of_country.values() for day in days)
        earliest = min([today - LEAST_DAYS + 1, *blocked, *observed, *map(int, countries)])
        return [
            Day(
                day,
                day,
                blocked[day],
                observed[day],
                self._accounts_by_day[str(day)] if day >= known_from else None,
                countries[str(day)] if day >= known_from else None,
            )
            for day in range(max(int(self._since // DAY), earliest), today + 1)
        ]


def bucketed(days: Sequence[Day], most: int) -> list[Day]:
    """Return days, put together into weeks, months or more where there are more than `most`."""
    length = next(n for n in (1, 7, 28, 364, 36400) if -(-len(days) // n) <= most or n > 364)
    first = len(days) % length  # so that the last bucket is a full one
    starts = [0, *range(first, len(days), length)] if first else range(0, len(days), length)
    buckets = [days[a:b] for a, b in zip(starts, [*starts[1:], len(days)], strict=True)]
    return [
        Day(
            bucket[0].day,
            bucket[-1].last,
            sum(day.blocked for day in bucket),
            sum(day.observed for day in bucket),
            max((day.accounts for day in bucket if day.accounts is not None), default=None),
            max((day.countries for day in bucket if day.countries is not None), default=None),
        )
        for bucket in buckets
    ]
