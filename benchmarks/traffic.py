"""The mail of a submission server, as policy requests in bytes.

Accounts are numbered.  Each has a home country and some known addresses there, which need no
look-up.  Thieves and travellers have addresses of the bundled country database, taken at random,
the same in every run.
"""

from __future__ import annotations

import random
from collections import defaultdict
from ipaddress import IPv4Address
from pathlib import Path

COUNTRIES = ("ES", "FR", "DE", "IT", "PT", "NL", "US", "BR", "MX", "GB")
"""Home countries: account number n lives in the country n modulo 10."""

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


def known_address(number: int, place: int) -> str:
    """Return one of the known addresses of an account; `place` counts them from 0."""
    return f"{20 + place}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def request(account: str, address: str) -> bytes:
    """Return a mail's request, with `%d` for its number."""
    client_name = f"host-{address.replace('.', '-')}.dyn.example.net"
    return REQUEST.format(account=account, address=address, client_name=client_name).encode()


def mails_from_home(accounts: int, addresses: int, mails: int, seed: int = 1) -> list[bytes]:
    """Return mails of accounts taken at random from their known addresses."""
    chance = random.Random(seed)
    numbers = [chance.randrange(accounts) for _ in range(mails)]
    return [request(account(n), known_address(n, chance.randrange(addresses))) for n in numbers]


class World:
    """Addresses of many countries, as the country database has them."""

    def __init__(self, database: Path, addresses: int = 30000) -> None:
        import maxminddb

        self.by_country: dict[str, list[str]] = defaultdict(list)
        chance = random.Random(2)
        with maxminddb.open_database(database) as reader:
            for _ in range(addresses):
                address = IPv4Address(chance.randrange(1 << 24, 224 << 24))
                record = reader.get(address) if address.is_global else None
                if isinstance(record, dict) and isinstance(found := record.get("country"), dict):
                    self.by_country[str(found["iso_code"])].append(str(address))

    def abroad(self, number: int, chance: random.Random) -> str:
        """Return an address in any country but the account's own."""
        country = home_country(number)
        while country == home_country(number):
            country = chance.choice(list(self.by_country))
        return chance.choice(self.by_country[country])

    def mixed_mails(self, accounts: int, addresses: int, mails: int, seed: int) -> list[bytes]:
        """Return mails of which 2 % are of hopping accounts, each from another country.

        2 % of the accounts hop; now and then their owners also send from home.
        """
        requests = mails_from_home(accounts, addresses, mails, seed)
        chance = random.Random(seed)
        hopping = range(seed % 50, accounts, 50)
        for place in range(0, mails, 50):
            number = chance.choice(hopping)
            requests[place] = request(account(number), self.abroad(number, chance))
        return requests
