"""The rows that a verdict reads, and those that it writes of an account's places.

Reads take no lock.  Everything that changes a verdict is written inside
`database.in_turn(work, account)`, after reading again what it depends on.  pcc/store/blocks.py
writes the block of an account.
"""

from __future__ import annotations

from pcc.history import Address, History, Seen
from pcc.store import repeats, upsert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pcc.history import Place
    from pcc.store.engine.interface import Database


class Incident:
    """The open incident of an account, as far as a verdict needs it.

    `mode`: "enforce" or "observe".  `expires`: UTC seconds, 0 for never.
    `held`: mails put on hold so far.  `instance`: the latest mail's it stopped.
    """

    __slots__ = ("countries", "expires", "held", "id", "instance", "mode", "rule")

    def __init__(
        self,
        id: int,
        mode: str,
        expires: float,
        held: int,
        rule: str,
        countries: str,
        instance: str,
    ) -> None:
        self.id = id
        self.mode = mode
        self.expires = expires
        self.held = held
        self.rule = rule
        self.countries = countries
        self.instance = instance

    def blocks(self, now: float) -> bool:
        """Whether mail is stopped because of it at this time."""
        return self.mode == "enforce" and not (self.expires and self.expires <= now)


class Sighting(Address):
    """An address an account was seen from, and the latest mail from there."""

    __slots__ = ("client_name", "instance", "judged_by", "looked_up", "repeats_until")

    def __init__(
        self,
        address: str,
        country: str,
        network: str,
        first_seen: float,
        last_seen: float,
        mails: int = 0,
        generation: int = -1,
        days: str = "",
        runs: str = "",
        client_name: str = "",
        instance: str = "",
        looked_up: float = 0,
        repeats_until: float = 0,
    ) -> None:
        super().__init__(address, first_seen, last_seen, mails, generation, days, runs)
        self.country = country
        self.network = network
        self.client_name = client_name
        self.instance = instance
        self.looked_up = looked_up
        self.repeats_until = repeats_until
        self.judged_by = 0


def hour(time: float) -> int:
    """Return UTC seconds as whole hours."""
    return int(time // 3600)


def exemptions(database: Database, account: str, now: float) -> list[tuple[str, str]]:
    """Return kind and value of the unexpired exemptions of account, domain and all clients."""
    return database.rows(
        "SELECT kind, value FROM exemption WHERE (kind = 'client'"
        " OR (kind = 'account' AND value = ?) OR (kind = 'domain' AND value = ?))"
        " AND (until = 0 OR until > ?)",
        (account, account.rpartition("@")[2], now),
    )


class Known:
    """The rows of an account, for a mail from one of its addresses.

    `generation`, `countries`, `networks`, `mails`: see History.  An account with an incident has
    its mail stopped, as a rule: its places are read when they are asked for.  `incident`: the open
    one.
    `observed`: the id of the open one of a limit that only observes, 0 for none.  `sighting`: the
    account's at the address.  `networks_made`: when the network database was made by which the
    networks of all its addresses are known; 0 where there are others.  `has_exemptions`: whether
    the database has any, of any account.  `counted_since`: of when the log of counts has mails that
    are not in the sums yet, of any account.
    """

    __slots__ = (
        *("_account", "_database", "_places", "counted_since", "generation", "has_exemptions"),
        *("incident", "mails", "networks_made", "observed", "sighting"),
    )

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account
        self.generation = 0
        self.has_exemptions = False
        self.counted_since = float("inf")
        self.incident: Incident | None = None
        self.observed = 0
        self.networks_made: float = 0
        self.mails = {"hosting": "", "foreign": ""}
        self.sighting: Sighting | None = None
        self._places: dict[str, dict[str, Seen]] = {}

    @property
    def countries(self) -> dict[str, Seen]:
        """Where the account was seen, by code."""
        return self._places_of("country")

    @property
    def networks(self) -> dict[str, Seen]:
        """The networks that the account was seen from."""
        return self._places_of("network")

    def _places_of(self, kind: str) -> dict[str, Seen]:
        if not self._places:
            query = f"SELECT {', '.join(_PLACE)} FROM place WHERE account = ?"
            self.take_places(self._database.rows(query, (self._account,)))
        return self._places[kind]

    def take_places(self, rows: list[tuple[Any, ...]]) -> None:
        """Take in the account's rows of `place`."""
        self._places = {"country": {}, "network": {}}
        for kind, name, *seen in rows:
            self._places[kind][name] = Seen(name, *seen)

    def history(self) -> History:
        """Return what the rule needs; addresses are read when it asks for them."""
        history = History(self.generation, self.countries, self.networks, self)
        history.mails = dict(self.mails)
        history.is_observed = self.observed > 0
        if self.incident is not None:
            history.incident = self.incident.mode
            history.expires = self.incident.expires
        return history

    def since(self, time: float) -> Iterator[Address]:
        """Return the addresses that were last seen at that time or later, see history.Addresses."""
        rows = self._database.cursor(
            "SELECT address, country, network, first_seen, last_seen, mails, generation, days, runs"
            " FROM sighting WHERE account = ? AND hour >= ? AND last_seen >= ?"
            " ORDER BY hour DESC, address DESC",
            (self._account, hour(time), time),
        )
        for row in rows:
            yield Sighting(*row)

    def change_days(self, change: Callable[[str], str]) -> None:
        """Replace the `days` of all places, in the caller's transaction.

        That includes the rows of countries and networks: the caller has them in memory, but saves
        only those of one mail.
        """
        change_days(self._database, self._account, change)


def change_days(database: Database, account: str, change: Callable[[str], str]) -> None:
    """Replace the `days` of all places of an account by change(days)."""
    different = database.rows(
        "SELECT DISTINCT 'sighting', days FROM sighting WHERE account = ? AND days <> ''"
        " UNION ALL SELECT DISTINCT 'place', days FROM place WHERE account = ? AND days <> ''",
        (account, account),
    )
    for table, days in different:
        if (changed := change(days)) != days:
            database.write_later(
                f"UPDATE {table} SET days = ? WHERE account = ? AND days = ?",
                (changed, account, days),
            )


_PLACE = ("kind", "name", "first_seen", "last_seen", "mails", "generation", "days", "runs")

_KNOWN = f"""
    SELECT EXISTS (SELECT 1 FROM exemption), (SELECT coalesce(min(at), 1e99) FROM counted),
        coalesce(account.generation, 0), account.incident,
        coalesce(account.observed, 0), coalesce(account.networks_made, 0),
        coalesce(account.hosting_mails, ''), coalesce(account.foreign_mails, ''),
        sighting.country, sighting.network, sighting.first_seen, sighting.last_seen, sighting.mails,
        sighting.generation, sighting.days, sighting.runs, client_name, instance, looked_up,
        repeats_until, {", ".join([f"place.{column}" for column in _PLACE])}
    FROM (SELECT 1 AS one) AS mail
        LEFT JOIN account ON account.account = ?
        LEFT JOIN sighting ON sighting.account = ? AND sighting.address = ?
        LEFT JOIN place ON place.account = ? AND account.incident IS NULL
"""


def known(database: Database, account: str, address: str) -> Known:
    """Return what is known of an account and an address: one query for most mails.

    It gives a row for each of the account's places; the other columns are the same in each.
    """
    result = Known(database, account)
    rows = database.rows(_KNOWN, (account, account, address, account))
    has_exemptions, result.counted_since, result.generation, incident, *rest = rows[0]
    result.has_exemptions = bool(has_exemptions)
    result.observed, result.networks_made, *rest = rest
    result.mails = {"hosting": rest[0], "foreign": rest[1]}
    if incident is not None:
        row = database.row(
            "SELECT id, mode, expires, held, rule, countries, instance FROM incident"
            " WHERE account = ? AND id = ? AND ended IS NULL",
            (account, incident),
        )
        # It may have ended meanwhile.
        result.incident = None if row is None else Incident(*row)
    else:
        result.take_places([row[-len(_PLACE) :] for row in rows if row[-1] is not None])
    if rest[2] is not None:
        result.sighting = Sighting(address, *rest[2:14])
    return result


_SAVE_SIGHTING = upsert(
    "sighting",
    ("account", "address"),
    (
        *("country", "network", "client_name", "first_seen", "last_seen", "mails", "generation"),
        *("days", "runs", "instance", "hour", "looked_up", "repeats_until", "judged_by"),
    ),
    "mails_before = CASE sighting.generation WHEN excluded.generation"
    " THEN sighting.mails_before ELSE sighting.mails END,"
    " counts_since = CASE sighting.generation WHEN excluded.generation"
    " THEN sighting.counts_since ELSE excluded.last_seen END, ",
)
_SAVE_PLACE = upsert(
    "place",
    ("account", "kind", "name"),
    ("first_seen", "last_seen", "mails", "generation", "days", "runs"),
)


def save_sighting(database: Database, account: str, seen: Sighting) -> None:
    """Write the record of an address, which counts afresh if it has another generation now."""
    database.write_later(
        _SAVE_SIGHTING,
        (
            account,
            seen.name,
            seen.country,
            seen.network,
            seen.client_name,
            seen.first_seen,
            seen.last_seen,
            seen.mails,
            seen.generation,
            seen.days,
            seen.runs,
            seen.instance,
            hour(seen.last_seen),
            seen.looked_up,
            seen.repeats_until,
            seen.judged_by,
        ),
    )


def save_place(database: Database, account: str, kind: str, seen: Seen) -> None:
    """Write the record of a country or network (`kind`)."""
    values = (seen.first_seen, seen.last_seen, seen.mails, seen.generation, seen.days, seen.runs)
    database.write_later(_SAVE_PLACE, (account, kind, seen.name, *values))


def save_places(database: Database, account: str, place: Place) -> None:
    """Write the records of a mail's country and network."""
    save_place(database, account, "country", place.country)
    if place.network is not None:
        save_place(database, account, "network", place.network)


def save_mails(database: Database, account: str, mails: dict[str, str]) -> None:
    """Write the moments of the mails that mail limits count, see History."""
    database.write_later(
        "INSERT INTO account (account, generation, turns, hosting_mails, foreign_mails)"
        " VALUES (?, 0, 0, ?, ?) ON CONFLICT (account) DO UPDATE SET"
        " hosting_mails = excluded.hosting_mails, foreign_mails = excluded.foreign_mails",
        (account, mails["hosting"], mails["foreign"]),
    )


def has_other_address(database: Database, account: str, country: str, address: str) -> bool:
    """Whether the account was seen in a country from any address but this one."""
    statement = "SELECT 1 FROM sighting WHERE account = ? AND country = ? AND address <> ? LIMIT 1"
    return database.row(statement, (account, country, address)) is not None


def drop_country(database: Database, account: str, country: str) -> None:
    """Forget that the account was seen in a country."""
    database.write_later(
        "DELETE FROM place WHERE account = ? AND kind = 'country' AND name = ?", (account, country)
    )


def shift_times(database: Database, account: str, since: float, seconds: float) -> None:
    """Put the account's times from `since` on back, after the clock jumped back."""
    database.write_later(
        "UPDATE sighting SET counts_since = last_seen - ?"
        " WHERE account = ? AND last_seen >= ? AND counts_since > last_seen - ?",
        (seconds, account, since, seconds),
    )
    for table in ("sighting", "place"):
        database.write_later(
            f"UPDATE {table} SET first_seen ="
            " CASE WHEN first_seen > last_seen - ? THEN last_seen - ? ELSE first_seen END,"
            " last_seen = last_seen - ? WHERE account = ? AND last_seen >= ?",
            (seconds, seconds, seconds, account, since),
        )
    repeats.end(database, account)
    shifted = database.rows(
        "SELECT address, last_seen FROM sighting WHERE account = ? AND last_seen >= ?",
        (account, since - seconds),
    )
    for address, last_seen in shifted:
        database.write_later(
            "UPDATE sighting SET hour = ? WHERE account = ? AND address = ?",
            (hour(last_seen), account, address),
        )
