"""Where addresses are and whose networks they are in, looked up for people.

City, latitude and longitude are in a country database of a City or Enterprise
type (GeoLite2 City, DB-IP City).  The operator is in the network database
(`country.networks`), and the hosting list knows the networks that rent addresses
out.  A file that is missing, broken or of another type is left out.  Networks and
cities are complained of once; verdicts complain of the other two files.

No verdict needs this: the policy process never imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcc.address import packed_address
from pcc.errors import CountryError
from pcc.places.database import CITIES, COUNTRIES, NETWORKS, Database, describe
from pcc.places.hosting import read_hosting
from pcc.places.travel import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Origins:
    """Looks addresses up in the files of a configuration.

    `complain` is called with a sentence, once for each file that turns out unusable.  `networks`
    and `hosting` may be "", for none.
    """

    def __init__(
        self, countries: str, networks: str, hosting: str, complain: Callable[[str], None]
    ) -> None:
        self._complain = complain
        self._databases: dict[str, Database] = {}
        try:
            if CITIES.fits(describe(countries, COUNTRIES).type):
                self._databases["cities"] = Database(countries, CITIES)
        except CountryError:
            pass  # verdicts need that file, and complain of it
        if networks:
            self._databases["networks"] = Database(networks, NETWORKS)
        for kind in list(self._databases):
            self._find(kind, bytes(4))  # what can't be used is left out from the start
        self._hosting: frozenset[str] = frozenset()
        try:
            if hosting and "networks" in self._databases:
                self._hosting = read_hosting(hosting)
        except CountryError:
            pass  # likewise

    def close(self) -> None:
        """Close the files."""
        for database in self._databases.values():
            database.close()
        self._databases.clear()

    def find(self, addresses: Iterable[str]) -> dict[str, Origin]:
        """Return what is known of addresses, as sightings have them (IPv6: as the /64).

        Nothing at all, not even an Origin for each, where there is no database to look into.
        """
        if not self._databases:
            return {}
        origins = {}
        for address in addresses:
            packed = packed_address(address.partition("/")[0]) or b""
            city, latitude, longitude, radius = self._find("cities", packed) or ("", None, None, 0)
            number, operator = self._find("networks", packed) or (0, "")
            is_hosting = f"AS{number}" in self._hosting
            origins[address] = Origin(
                city, latitude, longitude, radius, operator, number, is_hosting
            )
        return origins

    def _find(self, kind: str, packed: bytes) -> Any:
        """Return what a file has for an address; one that turns out damaged is used no more."""
        database = self._databases.get(kind)
        if database is None or not packed:
            return None
        try:
            return database.find(packed)[0]
        except CountryError as error:
            self._complain(f"{kind} are left out of the evidence: {error}")
            self._databases.pop(kind).close()
            return None
