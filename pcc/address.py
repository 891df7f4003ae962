"""Client addresses as Postfix reports them: canonical text, networks, private ranges.

An address is handled as its packed bytes, 4 or 16 of them.  `unknown`, and
anything else that is no address, is None.  An IPv4 address in IPv6 clothes
(::ffff:192.0.2.1) is the IPv4 address.  Some IPv6 addresses have an IPv4 address
inside to which answers are routed (`located`).  Country, network and recorded
address are those of that one; exempt clients are never compared with it.
Networks are (size, shift, prefix): an address of `size` bytes is inside when
its integer shifted right by `shift` bits is `prefix`.

This module is on the quick path of a fresh process: `ipaddress` would cost half
as much as the interpreter itself.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton  # `socket` costs 14 ms

Network = tuple[int, int, int]

_MAPPED = bytes(10) + b"\xff\xff"


def _network(size: int, prefix: str, bits: int) -> Network:
    packed = inet_pton(AF_INET if size == 4 else AF_INET6, prefix)
    shift = size * 8 - bits
    return size, shift, int.from_bytes(packed, "big") >> shift


_WITHOUT_COUNTRY = (
    _network(4, "0.0.0.0", 8),  # this network, RFC 1122
    _network(4, "10.0.0.0", 8),  # private, RFC 1918
    _network(4, "100.64.0.0", 10),  # shared by a provider's customers, RFC 6598
    _network(4, "127.0.0.0", 8),  # loopback
    _network(4, "169.254.0.0", 16),  # link-local, RFC 3927
    _network(4, "172.16.0.0", 12),  # private
    _network(4, "192.168.0.0", 16),  # private
    _network(16, "::", 127),  # unspecified and loopback
    _network(16, "fc00::", 7),  # private, RFC 4193
    _network(16, "fe80::", 10),  # link-local
)


_NAT64 = bytes.fromhex("0064ff9b") + bytes(8)
_LOCAL_NAT64 = bytes.fromhex("0064ff9b0001")
_TEREDO = bytes.fromhex("20010000")
_SIX_TO_FOUR = bytes.fromhex("2002")

_FIRST_BYTES_WITHOUT = frozenset((0, 10, 100, 127, 169, 172, 192, 0xFC, 0xFD, 0xFE))
"""The first byte is enough for most addresses."""


def packed_address(text: str) -> bytes | None:
    """Return the packed form of a client address, or None when it is none."""
    family = AF_INET6 if ":" in text else AF_INET
    try:
        packed = inet_pton(family, text)
    except (OSError, ValueError):  # ValueError: text that can't be encoded
        return None
    return packed[12:] if packed.startswith(_MAPPED) and len(packed) == 16 else packed


def address_text(packed: bytes) -> str:
    """Return the canonical text of an address."""
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def network_text(network: Network) -> str:
    """Return a network as an operator writes it: `192.0.2.0/24`, or the address alone."""
    size, shift, prefix = network
    address = address_text((prefix << shift).to_bytes(size, "big"))
    return f"{address}/{size * 8 - shift}" if shift else address


def located(packed: bytes) -> bytes:
    """Return the IPv4 address inside to which answers are routed, or the address itself.

    NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056) and Teredo (RFC 4380) have one.  ISATAP and
    IPv4-compatible addresses don't count: there a client picks these bits itself.
    """
    if len(packed) == 4:
        return packed
    if packed.startswith(_SIX_TO_FOUR):
        return packed[2:6]
    if packed.startswith(_NAT64):
        return packed[12:]
    if packed.startswith(_TEREDO):
        return bytes(byte ^ 0xFF for byte in packed[12:])
    if packed.startswith(_LOCAL_NAT64):
        # RFC 6052 puts the address behind a prefix of 48, 56 or 64 bits, around an octet of zeros,
        # and zeros follow.  Behind a prefix of 96 bits it is at the end.
        end = max(11, len(packed.rstrip(b"\0")))
        return packed[12:] if end > 13 else (packed[:8] + packed[9:end])[-4:]
    return packed


def recorded(text: str) -> str:
    """Return what is remembered of a client address, "" for what is no address."""
    packed = packed_address(text)
    return recorded_address(packed) if packed else ""


def recorded_address(packed: bytes) -> str:
    """Return what is remembered of an address: IPv4 as it is, IPv6 as its /64.

    A single customer usually has a whole /64 and changes addresses within it
    all the time (RFC 8981).
    """
    packed = located(packed)
    if len(packed) == 4:
        return inet_ntop(AF_INET, packed)
    return inet_ntop(AF_INET6, packed[:8] + bytes(8)) + "/64"


def wide_network(packed: bytes) -> str:
    """Return what stands for the network of an address of no known one: its /16, IPv6: its /32."""
    packed = located(packed)
    if len(packed) == 4:
        return inet_ntop(AF_INET, packed[:2] + bytes(2)) + "/16"
    return inet_ntop(AF_INET6, packed[:4] + bytes(12)) + "/32"


def is_without_country(packed: bytes) -> bool:
    """Whether the address is of a range that is used in every country."""
    packed = located(packed)
    return packed[0] in _FIRST_BYTES_WITHOUT and in_networks(packed, _WITHOUT_COUNTRY)


def in_networks(packed: bytes, networks: tuple[Network, ...]) -> bool:
    """Whether the address is inside one of the networks."""
    size = len(packed)
    number = int.from_bytes(packed, "big")
    for network_size, shift, prefix in networks:
        if network_size == size and number >> shift == prefix:
            return True
    return False


def exempt_client(text: str) -> Network | str:
    """Return what an exempt client is matched by: a network, a host name, or `AS64500`.

    `text` is a network without host bits, an address, an autonomous system, or
    a name, which with a dot in front stands for all names below it.  A name is
    in lower case, an autonomous system is not.  Raises ValueError with the rule
    that `text` breaks.
    """
    client = text.strip().lower()
    if client.startswith("as") and client[2:].isdigit() and client.isascii():
        if not (len(client) <= 12 and 0 < int(client[2:]) < 1 << 32):
            raise ValueError(_CLIENT_RULE)
        return f"AS{int(client[2:])}"
    host, slash, bits = client.partition("/")
    if slash or ":" in host or host.replace(".", "").isdigit():
        return _exempt_network(host, bits if slash else None)
    name = client.rstrip(".")
    labels = name.removeprefix(".").split(".")
    if name == "unknown" or not (
        name.isascii() and all(x.replace("-", "").replace("_", "").isalnum() for x in labels)
    ):
        raise ValueError(_CLIENT_RULE)
    return name


_CLIENT_RULE = (
    'must be a network, an address or a host name such as "192.0.2.0/24", "2001:db8::/32", '
    '"AS64500" or ".example.org"'
)


def _exempt_network(host: str, bits: str | None) -> Network:
    packed = packed_address(host)
    if packed is None:
        raise ValueError(_CLIENT_RULE)
    most = 128 if ":" in host else 32
    length = most
    if bits is not None:  # int() takes more than digits, and very long ones for long
        length = int(bits) if bits.isascii() and bits.isdigit() and len(bits) < 4 else -1
    if len(packed) * 8 < most:  # IPv4 in IPv6 clothes
        most, length = 32, length - 96
    if not 0 <= length <= most:
        raise ValueError(_CLIENT_RULE)
    shift = most - length
    prefix = int.from_bytes(packed, "big") >> shift
    first = (prefix << shift).to_bytes(len(packed), "big")
    if first != packed:
        network = f"{address_text(first)}/{length}"
        raise ValueError(f"must be a network without host bits, here {network}")
    return len(packed), shift, prefix


def is_exempt_system(packed: bytes, network: str, names: tuple[str, ...]) -> bool:
    """Whether the network of an address, `network`, is an autonomous system among `names`.

    That of an IPv4 address inside is not meant: a client could choose it.
    """
    return network in names and located(packed) == packed


def is_named(client_name: str, names: tuple[str, ...]) -> bool:
    """Whether a verified client name is one of `names`.

    A name that begins with a dot stands for all names below it, as in
    Postfix's access(5); `unknown` is no name.
    """
    name = client_name.lower().rstrip(".")
    if not name or name == "unknown":
        return False
    for listed in names:
        if name == listed or (listed.startswith(".") and name.endswith(listed)):
            return True
    return False
