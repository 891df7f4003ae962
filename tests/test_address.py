"""Client addresses, held against a table of facts and against `ipaddress`."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcc.address import (
    address_text,
    exempt_client,
    in_networks,
    is_exempt_system,
    is_named,
    is_without_country,
    located,
    network_text,
    packed_address,
    recorded,
    recorded_address,
    wide_network,
)

IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


@pytest.mark.parametrize(
    ("text", "canonical", "recorded"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("0.0.0.0", "0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255", "255.255.255.255"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::/64"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1", "2001:db8::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", None, "2001:db8:1:2::/64"),
        ("2001:db8:0:ffff::", None, "2001:db8:0:ffff::/64"),
        ("::1", "::1", "::/64"),
        ("::", "::", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1", "192.0.2.1"),
        ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201", "192.0.2.1"),
    ],
)
def test_address_has_one_canonical_text_and_one_that_is_recorded(
    text: str, canonical: str | None, recorded: str
) -> None:
    packed = packed_address(text)
    assert packed is not None
    assert address_text(packed) == (canonical or text)
    assert recorded_address(packed) == recorded


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1.1",
        "192.0.2.01",
        "192.0.2.1/32",
        " 192.0.2.1",
        "192.0.2.1 ",
        "192.0.2.1\0",
        "0xc0000201",
        "3221225985",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "2001:db8::1::2",
        "2001:db8::12345",
        "[2001:db8::1]",
        "IPv6:2001:db8::1",
        "fe80::1%eth0",
        "2001:db8::/64",
        "::ffff:192.0.2.256",
        "\u0661.\u0662.\u0663.\u0664",
        "\ud800",
        ":",
        "1" * 1_000_000,
        ":" * 1_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_text_that_is_no_address_is_none(text: str) -> None:
    assert packed_address(text) is None


@given(IPV4 | IPV6)
def test_addresses_are_packed_as_ipaddress_packs_them(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    expected = mapped or address
    for text in (str(address), str(address).upper(), address.exploded):
        packed = packed_address(text)
        assert packed is not None
        assert packed == expected.packed
        assert ipaddress.ip_address(address_text(packed)) == expected


@given(IPV6)
def test_ipv6_address_is_recorded_as_its_64(address: ipaddress.IPv6Address) -> None:
    packed = packed_address(str(address))
    assert packed is not None
    if len(located(packed)) == 16:
        recorded = ipaddress.ip_network(recorded_address(packed))
        assert recorded == ipaddress.ip_network((address, 64), strict=False)


@given(st.text(max_size=40) | st.text("0123456789abcdef:.%/", max_size=40))
def test_text_is_an_address_where_ipaddress_says_so(text: str) -> None:
    packed = packed_address(text)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        assert packed is None
    else:
        assert (packed is not None) == ("%" not in text)  # a zone: no client has one
        mapped = getattr(address, "ipv4_mapped", None)
        assert packed in (None, (mapped or address).packed)


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::/127",
        "fc00::/7",
        "fe80::/10",
    ],
)
def test_private_range_has_no_country_and_its_neighbours_have(network: str) -> None:
    inside = ipaddress.ip_network(network)
    first, last = int(inside.network_address), int(inside.broadcast_address)
    kind = type(inside.network_address)
    assert is_without_country(kind(first).packed)
    assert is_without_country(kind(last).packed)
    assert is_without_country(kind((first + last) // 2).packed)
    assert not is_without_country(kind(last + 1).packed)
    if first:
        assert not is_without_country(kind(first - 1).packed)


@pytest.mark.parametrize(
    "text",
    ["192.0.2.1", "8.8.8.8", "172.32.0.0", "2001:db8::1", "::2", "64:ff9b::808:808", "a00::"],
)
def test_range_that_is_not_private_may_have_a_country(text: str) -> None:
    packed = packed_address(text)
    assert packed is not None
    assert not is_without_country(packed)


@pytest.mark.parametrize("text", ["::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1"])
def test_private_ipv4_address_in_ipv6_clothes_has_no_country(text: str) -> None:
    packed = packed_address(text)
    assert packed is not None
    assert is_without_country(packed)


# Addresses with an IPv4 address inside.

EMBEDDING = [
    "::ffff:90.77.1.1",
    "64:ff9b::90.77.1.1",
    "64:ff9b:1::90.77.1.1",
    "64:ff9b:1:fffe:1:2:90.77.1.1",
    "64:ff9b:1:5a4d:1:100::",
    "64:ff9b:1:ff5a:4d:101::",
    "64:ff9b:1:fffe:5a:4d01:100::",
    "2002:5a4d:101::",
    "2002:5a4d:101:7:8:9:a:b",
    "2001:0:4136:e378:8000:63bf:a5b2:fefe",
]


@pytest.mark.parametrize("text", EMBEDDING)
def test_ipv4_address_inside_is_what_is_located_and_recorded(text: str) -> None:
    packed = packed_address(text)
    assert packed is not None
    assert located(packed) == bytes([90, 77, 1, 1])
    assert recorded(text) == recorded_address(packed) == "90.77.1.1"
    assert wide_network(packed) == "90.77.0.0/16"


@pytest.mark.parametrize(
    ("text", "recorded_as"),
    [
        ("::90.77.1.1", "::/64"),  # IPv4-compatible
        ("2001:db8::5efe:90.77.1.1", "2001:db8::/64"),  # ISATAP
        ("2001:db8::200:5efe:90.77.1.1", "2001:db8::/64"),
        ("64:ff9a::90.77.1.1", "64:ff9a::/64"),
        ("64:ff9b::1:90.77.1.1", "64:ff9b::/64"),
        ("64:ff9b:2::90.77.1.1", "64:ff9b:2::/64"),
        ("2001:1::90.77.1.1", "2001:1::/64"),
        ("2003:5a4d:101::1", "2003:5a4d:101::/64"),
        ("fe80::200:5efe:90.77.1.1", "fe80::/64"),
    ],
)
def test_ipv4_address_that_a_client_picks_itself_is_none(text: str, recorded_as: str) -> None:
    packed = packed_address(text)
    assert packed is not None
    assert located(packed) == packed
    assert recorded(text) == recorded_as


def test_recorded_is_empty_for_text_that_is_no_address() -> None:
    assert recorded("unknown") == recorded("") == ""


@pytest.mark.parametrize("text", EMBEDDING[1:])
def test_ipv4_address_inside_is_no_exempt_client(text: str) -> None:
    packed = packed_address(text)
    assert packed is not None
    for listed in ("90.77.1.1", "90.77.0.0/16", "0.0.0.0/0"):
        network = exempt_client(listed)
        assert not isinstance(network, str)
        assert not in_networks(packed, (network,))
    assert not is_exempt_system(packed, "AS64500", ("AS64500",))


def test_network_of_an_address_may_be_exempt() -> None:
    packed = packed_address("90.77.1.1")
    assert packed is not None
    assert is_exempt_system(packed, "AS64500", (".example.org", "AS64500"))
    assert not is_exempt_system(packed, "AS64501", (".example.org", "AS64500"))
    assert not is_exempt_system(packed, "", (".example.org", "AS64500"))


# Networks and names that are exempt.


@given(st.tuples(IPV4 | IPV6, st.integers(0, 128)))
def test_networks_are_those_of_ipaddress(
    drawn: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int],
) -> None:
    address, length = drawn
    network = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    read = exempt_client(str(network))
    assert not isinstance(read, str)
    mapped = isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED)
    if not mapped:
        single = network.prefixlen == network.max_prefixlen
        assert network_text(read) == str(network.network_address if single else network)
    edges = [int(network.network_address), int(network.broadcast_address)]
    kind = type(network.network_address)
    for number in {*edges, edges[0] - 1, edges[1] + 1}:
        if 0 <= number < 2**network.max_prefixlen:
            packed = packed_address(str(kind(number)))
            assert packed is not None
            is_v4 = network.version == 6 and len(packed) == 4 and not mapped
            if not is_v4:  # an IPv4 address is in no wider network of IPv6
                assert in_networks(packed, (read,)) == (kind(number) in network)


@given(IPV4 | IPV6)
def test_address_is_a_network_of_its_own(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    network = exempt_client(str(address))
    assert not isinstance(network, str)
    packed = packed_address(str(address))
    assert packed is not None
    assert in_networks(packed, (network,))
    assert not in_networks(bytes([*packed[:-1], packed[-1] ^ 1]), (network,))


@pytest.mark.parametrize(
    ("text", "found", "shown"),
    [
        ("192.0.2.0/24", (4, 8, 0xC00002), "192.0.2.0/24"),
        ("0.0.0.0/0", (4, 32, 0), "0.0.0.0/0"),
        ("::/0", (16, 128, 0), "::/0"),
        (" 2001:DB8::/32 ", (16, 96, 0x20010DB8), "2001:db8::/32"),
        ("::ffff:192.0.2.0/120", (4, 8, 0xC00002), "192.0.2.0/24"),
        ("::ffff:0.0.0.0/96", (4, 32, 0), "0.0.0.0/0"),
        ("::ffff:192.0.2.1", (4, 0, 0xC0000201), "192.0.2.1"),
    ],
)
def test_network_is_read_and_shown(text: str, found: tuple[int, int, int], shown: str) -> None:
    network = exempt_client(text)
    assert network == found
    assert network_text(found) == shown


@pytest.mark.parametrize("text", ["AS64500", "as64500", " As064500 "])
def test_autonomous_system_is_read_as_its_number(text: str) -> None:
    assert exempt_client(text) == "AS64500"


@pytest.mark.parametrize("name", ["as", "as64500.example.org", "asia", "as-64500", "as64500x"])
def test_name_that_begins_like_an_autonomous_system_is_a_name(name: str) -> None:
    assert exempt_client(name) == name


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("192.0.2.1/24", "192.0.2.0/24"),
        ("192.0.2.1/0", "0.0.0.0/0"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
    ],
)
def test_host_bits_are_refused_with_the_network_that_was_meant(text: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"^must be a network without host bits, here {right}$"):
        exempt_client(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        "*.example.org",
        "unknown",
        "UNKNOWN.",
        "AS0",
        "AS4294967296",
        "AS" + "9" * 5000,
        "192.0.2",
        "192.0.2.0/",
        "192.0.2.0/33",
        "192.0.2.0/-1",
        "192.0.2.0/1e1",
        "192.0.2.0/255.255.255.0",
        "192.0.2.0/24/24",
        "::/129",
        "::ffff:0.0.0.0/95",
        "fe80::1%eth0",
        "[::1]",
        "example.org/24",
        "user@example.org",
        "a b",
        "b\u00fccher.example",
        "\u0661.example",
        "x" * 100_000 + "!",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_text_that_is_no_client_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a network, an address or a host name such as "):
        exempt_client(text)


@given(st.text(max_size=30))
def test_text_is_a_client_or_refused(text: str) -> None:
    try:
        client = exempt_client(text)
    except ValueError:
        pass
    else:
        assert exempt_client(client if isinstance(client, str) else network_text(client)) == client


@pytest.mark.parametrize(
    ("client_name", "names", "named"),
    [
        ("mail.google.com", (".google.com",), True),
        ("MAIL.Google.Com.", (".google.com",), True),
        ("a.b.google.com", (".google.com",), True),
        ("google.com", (".google.com",), False),
        ("google.com", ("google.com",), True),
        ("mail.google.com", ("google.com",), False),
        ("evilgoogle.com", (".google.com",), False),
        ("google.com.evil.example", (".google.com", "google.com"), False),
        ("unknown", (".unknown", "unknown"), False),
        ("Unknown", ("unknown",), False),
        ("", ("",), False),
        (".", (".",), False),
        ("mail.example.org", ("mail.example.net", ".example.com", "mail.example.org"), True),
        ("mail.example.org", (), False),
    ],
)
def test_verified_name_is_one_of_the_list_or_below_one_with_a_dot(
    client_name: str, names: tuple[str, ...], named: bool
) -> None:
    assert is_named(client_name, names) is named
