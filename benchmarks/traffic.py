"""The mail of a submission server, as policy requests in bytes.

Accounts are numbered.  Each has a home country and some known addresses there, a fifth of them of
IPv6.  All addresses are of the bundled databases, taken at random, the same in every run: known
ones, and those of thieves and travellers.
"""

from __future__ import annotations

import random
from collections import defaultdict
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from maxminddb import Reader

COUNTRIES = ("ES", "FR", "DE", "IT", "PT", "NL", "US", "BR", "MX", "GB")
"""Home countries: account number n lives in the country n modulo 10."""

IPV6_OF = 5
"""One of so many known addresses is of IPv6."""

REQUEST = """\
request=smtpd_access_policy
protocol_state=DATA
protocol_name=ESMTP
client_address={address}
client_name={client_name}
client_port=51234
reverse_client_name={client_name}
server_address=192.0.2.1
server_port=587
helo_name=[{address}]
sender={account}
recipient=somebody@example.net
recipient_count=1
queue_id=4XyZ7k3N5Cz1qHw
instance=6f1.69217a3c.%d.0
size=0
etrn_domain=
stress=
sasl_method=PLAIN
sasl_username={account}
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=submission

"""
"""The 29 attributes of Postfix 3.7.  `%d` stands where the number of a mail goes."""


def account(number: int) -> str:
    """Return the name of an account."""
    return f"user{number:08d}@example.org"


def home_country(number: int) -> str:
    """Return where an account lives."""
    return COUNTRIES[number % len(COUNTRIES)]


def request(account: str, address: str) -> bytes:
    """Return a mail's request, with `%d` for its number."""
    host = address.replace(".", "-").replace(":", "-")
    client_name = f"host-{host}.dyn.example.net"
    return REQUEST.format(account=account, address=address, client_name=client_name).encode()


class Block(NamedTuple):
    """A /24, or a /48 of IPv6, that is in one country and one network by the databases."""

    prefix: str  # of the text of an address
    country: str
    network: str

    def address(self, host: int) -> str:
        """Return one of its addresses; the next number is another customer's."""
        if ":" not in self.prefix:
            return f"{self.prefix}{host % 254 + 1}"
        return f"{self.prefix}:{host % 65535 + 1:x}::1"


class World:
    """Addresses of many countries, as the databases have them."""

    def __init__(self, countries: Path, networks: Path, blocks: int = 30_000) -> None:
        import maxminddb

        chance = random.Random(2)
        self.ipv4: dict[str, list[Block]] = defaultdict(list)
        self.ipv6: dict[str, list[Block]] = defaultdict(list)
        with (
            maxminddb.open_database(countries) as by_country,
            maxminddb.open_database(networks) as by_network,
        ):
            for _ in range(blocks):
                whole = IPv4Address(chance.randrange(1 << 24, 224 << 24) & ~255)
                prefix = str(whole).removesuffix("0")
                self._add(self.ipv4, by_country, by_network, whole, 24, prefix)
            # Europe and North America, and more often Brazil and Mexico.
            firsts = (*range(0x2A00, 0x2A10), *range(0x2600, 0x2608), *[0x2804, 0x2806] * 4)
            while any(len(self.ipv6[country]) < 30 for country in COUNTRIES):
                first = chance.choice(firsts)
                at = (first << 32 | chance.randrange(1 << 32)) << 80
                group = f"{at >> 112:x}:{at >> 96 & 65535:x}:{at >> 80 & 65535:x}"
                self._add(self.ipv6, by_country, by_network, IPv6Address(at), 48, group)

    @staticmethod
    def _add(
        found: dict[str, list[Block]],
        by_country: Reader,
        by_network: Reader,
        whole: IPv4Address | IPv6Address,
        bits: int,
        prefix: str,
    ) -> None:
        """Add a block if it is public, and wholly in one country and one network."""
        country: Any
        network: Any
        network, its_length = by_network.get_with_prefix_len(whole)
        if not network or its_length > bits or not whole.is_global:
            return
        country, length = by_country.get_with_prefix_len(whole)
        if not country or length > bits:
            return
        if (code := country.get("country", {}).get("iso_code")) and len(found[code]) < 5000:
            number = network["autonomous_system_number"]
            found[code].append(Block(prefix, code, f"AS{number}"))

    def known(self, number: int, place: int, places: int) -> tuple[Block, str]:
        """Return one of the known addresses of an account; `place` counts them from 0."""
        index = number // len(COUNTRIES) * places + place
        kind = self.ipv6 if index % IPV6_OF == IPV6_OF - 1 else self.ipv4
        blocks = kind[home_country(number)]
        block = blocks[index % len(blocks)]
        return block, block.address(index // len(blocks))

    def somewhere(self, country: str, chance: random.Random) -> str:
        """Return an address in a country, taken at random."""
        return chance.choice(self.ipv4[country]).address(chance.randrange(254))

    def abroad(self, number: int, chance: random.Random) -> str:
        """Return an address in any country but the account's own."""
        country = home_country(number)
        while country == home_country(number):
            country = chance.choice(list(self.ipv4))
        return self.somewhere(country, chance)

    def largest_network(self, country: str) -> list[Block]:
        """Return the blocks of the network that has most of them in a country."""
        by_network: dict[str, list[Block]] = defaultdict(list)
        for block in self.ipv4[country]:
            by_network[block.network].append(block)
        return max(by_network.values(), key=len)

    def mails_from_home(
        self, accounts: int, addresses: int, mails: int, seed: int = 1
    ) -> list[bytes]:
        """Return mails of accounts taken at random from their known addresses."""
        chance = random.Random(seed)
        requests = []
        for _ in range(mails):
            number, place = chance.randrange(accounts), chance.randrange(addresses)
            requests.append(request(account(number), self.known(number, place, addresses)[1]))
        return requests

    def mixed_mails(self, accounts: int, addresses: int, mails: int, seed: int) -> list[bytes]:
        """Return mails of which 2 % are of hopping accounts, each from another country.

        2 % of the accounts hop; now and then their owners also send from home.
        """
        requests = self.mails_from_home(accounts, addresses, mails, seed)
        chance = random.Random(seed)
        hopping = range(seed % 50, accounts, 50)
        for place in range(0, mails, 50):
            number = chance.choice(hopping)
            requests[place] = request(account(number), self.abroad(number, chance))
        return requests
