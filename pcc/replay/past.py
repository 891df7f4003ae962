"""The memory of a replay: accounts and clients, which the store has in rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc import address as addresses
from pcc.history import CLOCK_SLACK, Address, History, Place, clock_shift
from pcc.replay.submissions import text
from pcc.verdict.case import exemption_of_country, is_exempt_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pcc.config import Config, Policy
    from pcc.places.lookup import Lookup
    from pcc.store.imports import Stored


class LoggedAddress(Address):
    """An address an account was seen from.

    `place`: with its country and network.  `checked`: see Account.changes.  `plain_until`: until
    then another mail changes nothing but counts and times.  `new_mails`: those that the store has
    not counted.
    """

    __slots__ = ("checked", "client_name", "new_mails", "place", "plain_until")
    place: Place

    def __init__(self, name: str, country: str, network: str, now: float) -> None:
        super().__init__(name, now, now)
        self.country = country
        self.network = network
        self.client_name = ""
        self.checked = -1
        self.plain_until = 0.0
        self.new_mails = 0


class Client:
    """The client of a mail: what its `client=NAME[ADDRESS]` says.

    `recorded`: the address as it is remembered, "" for one without a country.
    `is_exempt`: whether pcc.toml exempts it.
    """

    __slots__ = (
        *("_network", "_packed", "address", "country", "is_exempt", "is_hosting"),
        *("name", "recorded"),
    )

    def __init__(self, written: bytes, config: Config, lookup: Lookup) -> None:
        self.name, _, self.address = text(written)[:-1].partition("[")
        self._packed = addresses.packed_address(self.address)
        self._network: str | None = None
        self.recorded = self.country = ""
        self.is_hosting = False
        self.is_exempt = is_exempt_client(config, self._packed, self.name, [], lookup)
        if self._packed is not None and not addresses.is_without_country(self._packed):
            self.recorded = addresses.recorded_address(self._packed)
            self.country = lookup.country(self._packed)

    def is_exempt_by(self, config: Config, exempt: list[tuple[str, str]], lookup: Lookup) -> bool:
        """Whether the client is exempt by pcc.toml, or by these exemptions in the database."""
        return is_exempt_client(config, self._packed, self.name, exempt, lookup)

    def network(self, lookup: Lookup) -> str:
        """Return the network, looked up once; it is then known whether it is of hosting."""
        if self._network is None:
            assert self._packed is not None
            self._network = lookup.network(self._packed)
            self.is_hosting = bool(self._network) and lookup.is_hosting(self._network)
        return self._network


class Past:
    """An account in memory, as the store has it in rows.

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

    def located(
        self,
        lookup: Lookup,
        kept_since: float,
        policy: Policy,
        client: Client,
        now: float,
        stored: Stored | None = None,
    ) -> LoggedAddress | None:
        """Return the record of a client's address, with its place; None where it does not count.

        The country is that of the address before, if it is known here or `stored`.  Addresses that
        were last seen before `kept_since` are forgotten; where the clock has jumped back, times
        are mended.
        """
        known = self.addresses.pop(client.recorded, None)
        if known is None:
            country = stored.country if stored else client.country
            if exemption_of_country(country, policy) or not client.recorded:
                return None
            while self.addresses:
                oldest = next(iter(self.addresses.values()))
                if oldest.last_seen >= kept_since:
                    break
                del self.addresses[oldest.name]
            known = LoggedAddress(client.recorded, country, client.network(lookup), now)
            known.place = self.history.place(known, now, is_hosting=client.is_hosting)
        self.addresses[client.recorded] = known
        known.client_name = client.name
        if now > self.latest:
            self.latest = now
        elif now < self.latest - CLOCK_SLACK:
            # As a verdict does: times lie ahead because the clock has jumped.
            self.latest = now
            history = self.history
            since, seconds = clock_shift(history, now)
            places = (*history.countries.values(), *history.networks.values())
            for seen in (*places, *self.addresses.values()):
                if seconds and seen.last_seen >= since:
                    seen.last_seen -= seconds
                    seen.first_seen = min(seen.first_seen, seen.last_seen)
        return known
