"""Checks of proxies that name their clients to Postfix, by XCLIENT or the PROXY protocol.

A host that may use XCLIENT may be any account from any address.  Where it names no client, Postfix
keeps the proxy's own verified name as that of every client; an exemption by that name, `localhost`
for one, then exempts the world.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from pcc import address as addresses
from pcc.config import Config
from pcc.doctor import Fault, named_check, warn
from pcc.escaping import escaped
from pcc.host.timelimit import within
from pcc.postfix.configuration import Service, words_of

XCLIENT = "smtpd_authorized_xclient_hosts"
PROXY = "smtpd_upstream_proxy_protocol"

WIDEST = {4: 24, 6: 64}
"""By IP version: the shortest prefix of a network whose hosts may all be proxies."""

NAME_SECONDS = 3
MOST_NAMES = 10
"""Addresses whose names are asked for."""


class Proxies(NamedTuple):
    """Hosts that may use XCLIENT, as Postfix's list has them: networks, and other words of it."""

    networks: dict[str, ipaddress.IPv4Network | ipaddress.IPv6Network]
    others: list[str]


def _proxies(service: Service) -> Proxies:
    networks, others = {}, []
    for word in words_of(service.values[XCLIENT]):
        try:
            bare = word.replace("[", "").replace("]", "")
            networks[word] = ipaddress.ip_network(bare, strict=False)
        except ValueError:
            others.append(word)
    return Proxies(networks, others)


@named_check("XCLIENT")
def check_xclient(smtpd: Sequence[Service]) -> Iterator[Fault]:
    """Check that only few hosts may use XCLIENT."""
    wide: dict[str, str] = {}
    for service in smtpd:
        networks, others = _proxies(service)
        words = [word for word in others if word.startswith("static:")]
        for word, network in networks.items():
            if not network.is_loopback and network.prefixlen < WIDEST[network.version]:
                words.append(word)
        wide |= dict.fromkeys(words, service.name)
    for word, name in wide.items():
        yield warn(
            f"name only your proxies in {XCLIENT} of {name}, not {word}: a client that may use"
            " XCLIENT may be any account from any address"
        )


def exempt_names(config: Config, exempt_clients: Sequence[str]) -> tuple[str, ...]:
    """Return the clients that are exempt by name, of pcc.toml and of the database."""
    clients = [addresses.exempt_client(client) for client in exempt_clients]
    return (*config.exempt_names, *[client for client in clients if isinstance(client, str)])


@named_check("exempt names")
def check_exempt_names(
    names: tuple[str, ...], smtpd: Sequence[Service], own_name: str
) -> Iterator[Fault]:
    """Check that no client is exempt by the name of a proxy.  `own_name`: this host's."""
    if not names:  # asking for names of proxies may take seconds
        return
    proxies: dict[str, str] = {}  # name to what it follows from
    for service in smtpd:
        networks, others = _proxies(service)
        if service.values[PROXY]:
            proxies |= dict.fromkeys(("localhost", own_name), f"{PROXY} of {service.name}")
        proxies |= {word: f"{word} in {XCLIENT} of {service.name}" for word in others}
        for word, network in networks.items():
            found = ["localhost"] if network.is_loopback else []
            if network.num_addresses == 1 and len(proxies) < MOST_NAMES:
                address = str(network.network_address)
                with suppress(OSError):
                    name, aliases, _ = within(
                        NAME_SECONDS, 20, partial(socket.gethostbyaddr, address)
                    )
                    found += [name.lower(), *[alias.lower() for alias in aliases]]
            proxies |= dict.fromkeys(found, f"{word} in {XCLIENT} of {service.name}")
    for exempt in names:
        for name, source in proxies.items():
            below = name.startswith(".") and exempt.endswith(name)
            if below or addresses.is_named(name, (exempt,)):
                yield warn(
                    f"exempt {escaped(exempt)} by an address: it is a proxy's name ({source}), and"
                    " Postfix gives that to each client for which the proxy sends no"
                    " NAME=[UNAVAILABLE]; see docs/webmail.md"
                )
                break
