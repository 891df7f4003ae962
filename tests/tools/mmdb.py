"""Databases made on the fly, in the layouts of MaxMind's own.

The networks given to one database must not overlap.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from pcc.address import packed_address
from pcc.errors import CountryError
from pcc.places.database import COUNTRIES, WELL_KNOWN, Database

GOOD = {f"{address}/32": code for address, (code, _) in WELL_KNOWN.items()}


def complaint(ask: Callable[[], object]) -> str:
    """Return the text of the CountryError that `ask` raises."""
    with pytest.raises(CountryError) as caught:
        ask()
    return str(caught.value)


class CountryDatabase(Database):
    """The country database at a path, asked by the texts of addresses."""

    def __init__(self, path: str) -> None:
        super().__init__(path, COUNTRIES)

    def country(self, address: str) -> str | None:
        """Return the country of an address, None where the file has none."""
        packed = packed_address(address)
        assert packed is not None, address
        code: str | None = self.find(packed)[0]
        return code


def write_country_database(
    path: str | os.PathLike[str],
    countries: Mapping[str, str | None],
    database_type: str = "GeoLite2-Country",
    ip_version: int = 6,
) -> None:
    """Write a database that says in which country each network is.

    None: a record without a country, only one where the network is registered (US).  The layout is
    that of any type with Country, City or Enterprise in its name.  A type with ASN has no
    countries; there the value of a network is the name of its organisation.
    """
    records = {network: _record(database_type, code) for network, code in countries.items()}
    write_database(path, records, database_type, ip_version)


def write_database(
    path: str | os.PathLike[str],
    records: Mapping[str, Any],
    database_type: str,
    ip_version: int = 6,
) -> None:
    """Write a database of any type and records, over a file that is there or not."""
    writer = MMDBWriter(
        ip_version=ip_version,
        ipv4_compatible=ip_version == 6,
        database_type=database_type,
        languages=["en"],
        description=f"{database_type} for tests",
        int_type="u32",
    )
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(os.fspath(path))


def _record(database_type: str, code: str | None) -> dict[str, Any]:
    if "ASN" in database_type:
        return {"autonomous_system_number": 64496, "autonomous_system_organization": code or ""}
    if code is None:
        return {"registered_country": _country("US")}
    record = {"country": _country(code), "registered_country": _country("US")}
    if "Country" in database_type:
        return record
    return {**record, "city": {"names": {"en": "Somewhere"}}, "location": {"latitude": 1.5}}


def _country(code: str) -> dict[str, Any]:
    return {"iso_code": code, "geoname_id": 1, "names": {"en": f"Land of {code}"}}


def built(path: Path, age: float = 0, database_type: str = "GeoLite2-Country") -> Path:
    """Write a database that knows the well-known addresses, built so many seconds ago."""
    write_country_database(path, GOOD, database_type)
    content = path.read_bytes()
    place = content.rindex(b"build_epoch") + len("build_epoch")
    size = content[place] & 0x1F  # of an unsigned integer, whose type takes one byte or two
    place += 1 if content[place] >> 5 else 2
    epoch = int(time.time() - age).to_bytes(size, "big")
    path.write_bytes(content[:place] + epoch + content[place + size :])
    return path
