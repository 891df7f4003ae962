"""Where an address is, by files that are opened when they are first asked.

Asking is expensive, so only mail from an address that is new for its account needs
it; the time of a file shows whether it has been replaced since.
"""

from __future__ import annotations

from pcc.config import NEVER, time_of
from pcc.errors import CountryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.places.database import Database


class Lookup:
    """Where an address is, as far as the files say that a configuration names.

    `complain` is called with a sentence, once for each file that is missing or broken.  A file that
    is replaced meanwhile is followed.  The paths of networks and hosting may be "", for none.
    """

    def __init__(
        self, countries: str, networks: str, hosting: str, complain: Callable[[str], None]
    ) -> None:
        self._countries_path = countries
        self._networks_path = networks
        self._hosting_path = hosting
        self._complain = complain
        self._complained: set[str] = set()
        self._countries: Database | None = None
        self._networks: Database | None = None
        self._hosting: frozenset[str] = frozenset()
        self._hosting_read: float | None = None
        self._hosting_is_good = False

    def country(self, packed: bytes) -> str:
        """Return the ISO 3166 code, "" where the country is unknown for whatever reason."""
        if self._countries is None:
            from pcc.places.database import COUNTRIES, Database

            self._countries = Database(self._countries_path, COUNTRIES)
        try:
            return self._countries.find(packed)[0] or ""
        except CountryError as error:
            self._complain_once(self._countries_path, str(error))
            return ""

    def network(self, packed: bytes) -> str:
        """Return the network: `AS64500`, or, where the database has none, `198.51.0.0/16`.

        That of IPv6 is `2001:db8::/32`.  "" where there is no network database that can be asked.
        """
        if not self._networks_path:
            return ""
        if self._networks is None:
            from pcc.places.database import NETWORKS, Database

            self._networks = Database(self._networks_path, NETWORKS)
        try:
            number, _ = self._networks.find(packed)[0] or (0, "")
        except CountryError as error:
            self._complain_once(self._networks_path, f"limits on networks are off: {error}")
            return ""
        if number:
            return f"AS{number}"
        from pcc.address import wide_network

        return wide_network(packed)

    def network_of_recorded(self, address: str) -> str:
        """Return the network of an address as it is recorded: an IPv4 address, or a /64."""
        from pcc.address import packed_address

        packed = packed_address(address.removesuffix("/64"))
        return self.network(packed) if packed is not None else ""

    def is_hosting(self, network: str) -> bool:
        """Whether a network, as `network` returns it, is in the hosting list.

        A list that has become wrong leaves the last good one in force; where this process has read
        none, the lines that are numbers are.  A missing file is empty.
        """
        made = time_of(self._hosting_path)
        if made != self._hosting_read:
            self._hosting_read = made
            from pcc.places.hosting import HostingError, read_hosting

            try:
                self._hosting = read_hosting(self._hosting_path)
                self._hosting_is_good = True
            except CountryError as error:
                if made == NEVER:
                    self._hosting, self._hosting_is_good = frozenset(), False
                elif isinstance(error, HostingError) and not self._hosting_is_good:
                    self._hosting = error.networks
                if self._hosting_path:
                    self._complain_once(self._hosting_path, str(error))
        return network in self._hosting

    def countries_made(self) -> float:
        """Return when the country database was made, UTC seconds; NEVER where there is none."""
        return time_of(self._countries_path)

    def networks_made(self) -> float:
        """Return when the network database was made, UTC seconds; NEVER where there is none."""
        return time_of(self._networks_path)

    def _complain_once(self, path: str, message: str) -> None:
        if path not in self._complained:
            self._complained.add(path)
            self._complain(message)
