"""Where addresses are and whose networks they are in, looked up for evidence.

City, latitude and longitude are in a country database of a City or Enterprise
type (GeoLite2 City, DB-IP City); the operator is in a database of autonomous
systems, if one is configured (`country.asn`: GeoLite2 ASN, DB-IP ASN Lite).
What is missing, broken or of another type is left out; of the second file that
is told once in a sentence, while a broken country database is told of by those
who need it for a verdict.  The files are somebody else's work: every value is
checked.

No verdict needs this: the policy process never imports it.
"""

from __future__ import annotations

import os
import stat
from math import isfinite
from typing import TYPE_CHECKING, Any

from pcc.errors import CountryError
from pcc.places.country import damage
from pcc.places.hosting import read_hosting
from pcc.places.travel import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from maxminddb import Reader

CITY_TYPES = ("City", "Enterprise")
ASN_TYPES = ("ASN", "ISP")
"""What the type of a database has in its name, of which one is enough."""

LONGEST_NAME = 60
"""Characters of a city's or an operator's name that are told."""

MOST_KM = 20_040
"""Half the way round the earth: nothing is wrong by more."""


_CITIES = "cities"
_NETWORKS = "networks"


class Origins:
    """Looks addresses up in the databases of a configuration.

    `complain` is called with a sentence, once for each database that turns out unusable.
    """

    def __init__(
        self,
        country_path: str,
        networks_path: str,
        hosting_path: str,
        complain: Callable[[str], None],
    ) -> None:
        self._complain = complain
        self._readers: dict[str, Reader] = {}
        self._paths: dict[str, str] = {}
        try:
            self._open(_CITIES, country_path, open_cities)
        except CountryError:
            pass
        try:
            if networks_path:
                self._open(_NETWORKS, networks_path, open_networks)
        except CountryError as error:
            complain(f"networks are left out of the evidence: {error}")
        self._hosting: frozenset[str] = frozenset()
        try:
            if hosting_path and _NETWORKS in self._readers:
                self._hosting = read_hosting(hosting_path)
        except CountryError:
            pass  # verdicts need that file, and complain of it

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def find(self, addresses: Iterable[str]) -> dict[str, Origin]:
        """Return what is known of addresses, as sightings have them (IPv6: as the /64).

        Nothing at all, not even an Origin for each, where there is no database to look into.
        """
        if not self._readers:
            return {}
        return {address: self._find(address.partition("/")[0]) for address in addresses}

    def _find(self, address: str) -> Origin:
        city, latitude, longitude, radius = _place(self._record(_CITIES, address))
        operator, number = _network(self._record(_NETWORKS, address))
        is_hosting = f"AS{number}" in self._hosting
        return Origin(city, latitude, longitude, radius, operator, number, is_hosting)

    def _record(self, kind: str, address: str) -> dict[str, Any]:
        """Return the record of an address; a database that turns out damaged is used no more."""
        reader = self._readers.get(kind)
        if reader is None or (":" in address and reader.metadata().ip_version == 4):
            return {}
        try:
            record = reader.get(address)
        except damage() as error:
            self._complain(
                f"{self._paths[kind]}: {kind} are left out of the evidence: the database is"
                f" damaged where {address} would be: {error}"
            )
            self._readers.pop(kind).close()
            return {}
        return record if isinstance(record, dict) else {}

    def _open(self, kind: str, path: str, opening: Callable[[str], Reader | None]) -> None:
        reader = opening(path)
        if reader is not None:
            self._readers[kind] = reader
            self._paths[kind] = path


def open_cities(path: str) -> Reader | None:
    """Return the reader of a country database that has cities, None for one that has not.

    Raises CountryError.
    """
    reader = _open(path, "the country database")
    if any(word in reader.metadata().database_type for word in CITY_TYPES):
        return reader
    reader.close()
    return None


def open_networks(path: str) -> Reader:
    """Return the reader of a database of autonomous systems.  Raises CountryError."""
    reader = _open(path, "the ASN database")
    database_type = reader.metadata().database_type
    if any(word in database_type for word in ASN_TYPES):
        return reader
    reader.close()
    raise CountryError(f"{path}: country.asn must be of an ASN type, got {database_type!a}")


def _open(path: str, what: str) -> Reader:
    """Open a MaxMind DB file, which is read and not mapped: see pcc/places/country.py."""
    from pcc.host.packages import reach_packages

    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
            raise CountryError(f"{path}: {what} must be a regular file")
        if not status.st_size:
            raise CountryError(f"{path}: {what} is empty")
        reach_packages()
        from maxminddb import MODE_FILE, open_database

        reader = open_database(path, MODE_FILE)
    except ImportError as error:
        raise CountryError(f"{path}: can't be read without Python's geoip2: {error}") from None
    except FileNotFoundError:
        raise CountryError(f"{path}: {what} is missing") from None
    except OSError as error:
        raise CountryError(f"{path}: {what} can't be read: {error.strerror}") from None
    except damage():
        raise CountryError(f"{path}: is not a MaxMind DB file, or a damaged one") from None
    if not isinstance(reader.metadata().database_type, str):
        reader.close()
        raise CountryError(f"{path}: is a damaged MaxMind DB file")
    return reader


def _place(record: dict[str, Any]) -> tuple[str, float | None, float | None, int]:
    """Return city, latitude, longitude and radius of a record in GeoLite2 City's layout."""
    location = _table(record, "location")
    latitude = _number(location.get("latitude"), 90)
    longitude = _number(location.get("longitude"), 180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    radius = _number(location.get("accuracy_radius"), MOST_KM)
    return _name(_table(record, "city")), latitude, longitude, int(abs(radius or 0))


def _network(record: dict[str, Any]) -> tuple[str, int]:
    """Return the organisation and number of a record in GeoLite2 ASN's layout."""
    number = _number(record.get("autonomous_system_number"), 2**32 - 1)
    return _text(record.get("autonomous_system_organization")), int(max(0, number or 0))


def _table(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _name(place: dict[str, Any]) -> str:
    """Return the English name of a place, or the first there is."""
    names = _table(place, "names")
    return _text(names.get("en") or next(iter(names.values()), ""))


def _text(value: object) -> str:
    return value[:LONGEST_NAME] if isinstance(value, str) else ""


def _number(value: object, most: float) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value):
        return None
    return float(value) if -most <= value <= most else None
