"""A small internet: countries with networks of each kind, and the files that pcc knows them by.

A network is an autonomous system, or the part of one that is in one country, with addresses of its
own.  Every country has a few providers of lines and of telephones, and most people are with the
largest.  It also has networks that are open to the public, and hosting providers.  Some hosting
providers, VPNs and clouds are in many countries under one number.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from mmdb import write_country_database, write_database

REGIONS = {
    "Europe": (
        "DE FR GB ES IT NL PL PT BE AT CH SE NO DK FI CZ GR RO HU IE BG HR SK LT LV EE SI".split()
    ),
    "East": "RU UA TR KZ GE AM AZ RS BY MD".split(),
    "America": "US BR MX CA AR CO CL PE VE EC BO CR PA DO".split(),
    "Asia": "CN IN ID VN TH JP KR PH MY BD PK SG HK TW LK".split(),
    "South": "NG ZA EG MA KE GH TN DZ SN CI AE SA IL IR".split(),
}
COUNTRIES = [code for codes in REGIONS.values() for code in codes]
LARGE = frozenset("DE FR GB ES IT PL RU UA TR US BR MX CN IN ID VN TH JP KR NG ZA EG IR".split())

HOMES = ["DE", "DE", "DE", "AT", "CH", "ES", "FR", "NL"]
"""Where the users of the server live."""

FIXED, MOBILE, PUBLIC, HOSTING, VPN, CLOUD, SHIP = (
    "fixed",
    "mobile",
    "public",
    "hosting",
    "vpn",
    "cloud",
    "ship",
)
COUNTS = {FIXED: (14, 40), MOBILE: (4, 6), PUBLIC: (6, 12), HOSTING: (3, 6)}
"""Networks of each kind in small countries, and in large ones."""

GLOBAL = {HOSTING: 6, VPN: 5, CLOUD: 2, SHIP: 2}
"""Providers of each kind that are in many countries under one number."""

SLICES = 16
"""Global providers share one /16 in a country."""


class Network(NamedTuple):
    """Where an address may be; `low` and `size`: its addresses, those of an IPv4 /16."""

    number: int
    country: str
    kind: str
    block: str
    low: int
    size: int

    def address(self, host: int) -> str:
        """Return an address, the same for the same host."""
        host = self.low + host % self.size
        return f"{self.block}.{host >> 8}.{host & 255}"

    def address6(self, host: int) -> str:
        """Return an IPv6 address, in another /64 for each host."""
        return f"2a{self.number % 64:02x}:{self.number:x}:{host % 65536:x}::1"


class World:
    """All networks, by country and kind; of each kind the largest provider is first."""

    def __init__(self, seed: int = 0) -> None:
        dice = random.Random(seed)
        self.networks: dict[tuple[str, str], list[Network]] = {}
        self.providers: dict[str, list[list[Network]]] = {kind: [] for kind in GLOBAL}
        number = 1000
        blocks = (f"{first}.{second}" for first in range(20, 90) for second in range(256))
        for code in COUNTRIES:
            for kind, counts in COUNTS.items():
                self.networks[code, kind] = []
                for _ in range(counts[code in LARGE]):
                    number += 1
                    network = Network(number, code, kind, next(blocks), 0, 65536)
                    self.networks[code, kind].append(network)
        shared = {code: next(blocks) for code in COUNTRIES}
        slice_number = 0
        for kind, count in GLOBAL.items():
            for _ in range(count):
                number += 1
                size = 65536 // SLICES
                somewhere = [code for code in COUNTRIES if code in LARGE or dice.random() < 0.5]
                self.providers[kind].append(
                    [
                        Network(number, code, kind, shared[code], slice_number * size, size)
                        for code in somewhere
                    ]
                )
                slice_number += 1

    def provider(self, dice: random.Random, country: str, kind: str) -> Network:
        """Return a network of a kind in a country; the first ones have most users."""
        networks = self.networks[country, kind]
        return networks[min(int(dice.expovariate(0.7)), len(networks) - 1)]

    def any_provider(self, dice: random.Random, country: str) -> Network:
        """Return the network of a residential proxy: a large provider's, or any."""
        kind = dice.choices([FIXED, MOBILE, PUBLIC], [6, 3, 1])[0]
        if dice.random() < 0.5:
            return self.provider(dice, country, kind)
        return dice.choice(self.networks[country, kind])

    def write(self, folder: Path) -> None:
        """Write the files of [country]: country.mmdb, networks.mmdb and hosting.txt."""
        every = [network for found in self.networks.values() for network in found]
        every += [
            network for kind in self.providers.values() for found in kind for network in found
        ]
        countries = {f"{network.block}.0.0/16": network.country for network in every}
        systems: dict[str, object] = {}
        for network in every:
            record = {
                "autonomous_system_number": network.number,
                "autonomous_system_organization": f"{network.kind} {network.number}",
            }
            bits = 16 if network.size == 65536 else 20
            low = network.low >> 8
            systems[f"{network.block}.{low}.0/{bits}"] = record
            if network.kind in (FIXED, MOBILE):
                prefix = f"2a{network.number % 64:02x}:{network.number:x}::/32"
                countries[prefix] = network.country
                systems[prefix] = record
        write_country_database(folder / "country.mmdb", countries)
        write_database(folder / "networks.mmdb", systems, "GeoLite2-ASN")
        hosting = sorted({n.number for n in every if n.kind in (HOSTING, VPN, CLOUD)})
        lines = [f"{number}\n" for number in hosting]
        (folder / "hosting.txt").write_text("".join(lines), encoding="utf-8")
