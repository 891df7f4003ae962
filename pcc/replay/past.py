"""What a replay knows of an account and of a client: what the store has in rows, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc import address as addresses
from pcc.history import CLOCK_SLACK, Address, History, Place, clock_shift
from pcc.places.lookup import Lookup
from pcc.replay.submissions import text
from pcc.verdict.case import exemption_of_country, is_exempt_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pcc.config import Config, Policy
    from pcc.store.imports import Stored

    CountryOf = Callable[[bytes], str]


_nowhere = Lookup("", "", "", print)
"""No network is looked up yet."""


class LoggedAddress(Address):
    """An address an account was seen from.

    `checked`: see Account.changes.  `new_mails`: those that the store has not counted.
    """

    __slots__ = ("checked", "client_name", "new_mails")

    def __init__(self, name: str, country: str, now: float) -> None:
        super().__init__(name, now, now)
        self.country = country
        self.network = ""
        self.client_name = ""
        self.checked = -1
        self.new_mails = 0


class Client:
    """Who sent a mail: what its `client=NAME[ADDRESS]` says.

    `recorded`: the address as it is remembered, "" for one without a country.
    `is_exempt`: whether pcc.toml exempts it.
    """

    __slots__ = ("_country", "_packed", "address", "is_exempt", "name", "recorded")

    def __init__(self, written: bytes, config: Config) -> None:
        self.name, _, self.address = text(written)[:-1].partition("[")
        packed = addresses.packed_address(self.address)
        if packed is not None and addresses.is_without_country(packed):
            packed = None
        self.recorded = addresses.recorded_address(packed) if packed else ""
        self.is_exempt = self.is_exempt_by(config, [])
        self._packed = packed
        self._country: str | None = None

    def is_exempt_by(self, config: Config, exempt: list[tuple[str, str]]) -> bool:
        """Whether the client is exempt by pcc.toml, or by these exemptions in the database."""
        packed = addresses.packed_address(self.address)
        return is_exempt_client(config, packed, self.name, exempt, _nowhere)

    def country(self, country_of: CountryOf) -> str:
        """Return the country of the address, looked up once."""
        if self._country is None:
            self._country = country_of(self._packed) if self._packed else ""
        return self._country


class Past:
    """What is known of an account: what the store has in rows, in memory.

    `addresses`: in the order in which they were seen last.  `latest`: UTC
    seconds of the latest mail.
    """

    __slots__ = ("addresses", "history", "latest")

    def __init__(self) -> None:
        self.addresses: dict[str, LoggedAddress] = {}
        self.history = History(0, {}, {}, self)
        self.latest = 0.0

    def change_days(self, change: Callable[[str], str]) -> None:
        """Replace the `days` of every address, see history.Addresses."""
        for seen in self.addresses.values():
            seen.days = change(seen.days)

    def since(self, time: float) -> Iterator[LoggedAddress]:
        """Return the addresses that count, see history.Addresses."""
        generation = self.history.generation
        for seen in reversed(self.addresses.values()):
            if seen.last_seen < time:
                return
            if seen.generation == generation:
                yield seen

    def place(
        self,
        country_of: CountryOf,
        kept_since: float,
        policy: Policy,
        client: Client,
        now: float,
        stored: Stored | None = None,
    ) -> Place | None:
        """Return the records of a client's country and address, None where none counts.

        The country is the one that the address had before, if it is known here
        or `stored`.  Addresses that were last seen before `kept_since` are forgotten;
        where the clock has jumped back, times are mended.
        """
        known = self.addresses.pop(client.recorded, None)
        if known is None:
            country = stored.country if stored else client.country(country_of)
            if exemption_of_country(country, policy):
                return None
            self._drop_addresses(kept_since)
            known = LoggedAddress(client.recorded, country, now)
        self.addresses[client.recorded] = known
        known.client_name = client.name
        if now > self.latest:
            self.latest = now
        elif now < self.latest - CLOCK_SLACK:
            self._mend_clock(now)
        return self.history.place(known, now, is_hosting=False)

    def _mend_clock(self, now: float) -> None:
        """Put times back that lie ahead because the clock has jumped, as a verdict does."""
        self.latest = now
        since, seconds = clock_shift(self.history, now)
        for seen in (*self.history.countries.values(), *self.addresses.values()):
            if seconds and seen.last_seen >= since:
                seen.last_seen -= seconds
                seen.first_seen = min(seen.first_seen, seen.last_seen)

    def _drop_addresses(self, before: float) -> None:
        while self.addresses:
            oldest = next(iter(self.addresses.values()))
            if oldest.last_seen >= before:
                return
            del self.addresses[oldest.name]
