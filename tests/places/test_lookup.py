"""The look-ups of a verdict in the files that say where an address is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import Site, address
from mmdb import write_country_database, write_database
from systemlog import system_log

from pcc.address import packed_address
from pcc.config import NEVER
from pcc.places.lookup import Lookup

SYSTEMS: dict[str, Any] = {
    "11.1.0.0/16": {
        "autonomous_system_number": 64500,
        "autonomous_system_organization": "Example Telephone",
    },
    "11.2.0.0/16": {"autonomous_system_number": 64501},
    "11.3.0.0/16": {"autonomous_system_organization": "Nameless"},
    "2a01::/32": {"autonomous_system_number": 4200000000},
}
HOSTING = "# Rented by the hour\n64501 # Example Hosting\n\n  4200000000\n"


def packed(text: str) -> bytes:
    found = packed_address(text)
    assert found is not None
    return found


class Files:
    """The three files in a folder, a look-up of them, and what it has complained of."""

    def __init__(self, folder: Path) -> None:
        self.countries = folder / "country.mmdb"
        self.networks = folder / "networks.mmdb"
        self.hosting = folder / "hosting.txt"
        write_country_database(self.countries, {"11.1.0.0/16": "ES", "2a01::/32": "PT"})
        write_database(self.networks, SYSTEMS, "GeoLite2-ASN")
        self.hosting.write_text(HOSTING)
        self.complaints: list[str] = []
        self.lookup = Lookup(
            str(self.countries), str(self.networks), str(self.hosting), self.complaints.append
        )

    def network(self, address: str) -> str:
        return self.lookup.network(packed(address))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize(
    ("address", "country", "network", "hosting"),
    [
        ("11.1.2.3", "ES", "AS64500", False),
        ("11.2.2.3", "", "AS64501", True),
        ("11.3.2.3", "", "11.3.0.0/16", False),
        ("11.4.2.3", "", "11.4.0.0/16", False),
        ("2a01::1", "PT", "AS4200000000", True),
        ("2a02:1:2::1", "", "2a02:1::/32", False),
        ("2002:b01:203::1", "ES", "AS64500", False),
        ("2002:b04:203::1", "", "11.4.0.0/16", False),
    ],
)
def test_lookup_finds_country_and_network(
    files: Files, address: str, country: str, network: str, hosting: bool
) -> None:
    assert files.lookup.country(packed(address)) == country
    assert files.network(address) == network
    assert files.lookup.is_hosting(network) == hosting
    assert files.complaints == []


def test_lookup_without_network_database_and_hosting_list_complains_of_nothing(
    files: Files,
) -> None:
    files.lookup = Lookup(str(files.countries), "", "", files.complaints.append)
    assert files.lookup.country(packed("11.1.2.3")) == "ES"
    assert files.network("11.1.2.3") == ""
    assert not files.lookup.is_hosting("AS64501")
    assert files.lookup.networks_made() == NEVER
    assert files.complaints == []


def test_hosting_list_of_the_year_1970_is_read(files: Files) -> None:
    os.utime(files.hosting, (0, 0))  # as images of file systems have it that are built twice alike
    assert files.lookup.is_hosting("AS64501")


def test_lookup_knows_when_each_database_was_made(files: Files) -> None:
    for seconds, path in enumerate((files.countries, files.networks)):
        os.utime(path, (seconds, seconds))
    lookup = files.lookup
    assert (int(lookup.countries_made()), int(lookup.networks_made())) == (0, 1)
    files.networks.unlink()
    assert (int(lookup.countries_made()), lookup.networks_made()) == (0, NEVER)


def test_lookup_follows_a_network_database_that_is_replaced_truncated_and_of_another_layout(
    files: Files,
) -> None:
    assert files.network("11.1.2.3") == "AS64500"
    newer = files.networks.with_suffix(".new")
    write_database(newer, {"11.0.0.0/8": {"autonomous_system_number": 7}}, "DBIP-ASN-Lite")
    newer.rename(files.networks)
    assert files.network("11.1.2.3") == "AS7"
    os.truncate(files.networks, 100)
    assert files.network("11.1.2.3") == files.network("11.9.2.3") == ""
    write_database(newer, {"11.0.0.0/8": {"asn": 7}}, "DBIP-ASN-Lite")
    newer.rename(files.networks)
    assert files.network("11.1.2.3") == ""
    files.networks.unlink()
    assert files.network("11.1.2.3") == ""
    write_database(files.networks, SYSTEMS, "GeoLite2-ASN")
    assert files.network("11.1.2.3") == "AS64500"
    assert files.complaints == [
        f"limits on networks are off: {files.networks}: is not a MaxMind DB file, or a damaged one"
    ]


@pytest.mark.parametrize(
    ("database_type", "records", "complaint"),
    [
        (
            "GeoLite2-Country",
            {"11.0.0.0/8": {"country": {"iso_code": "ES"}}},
            "must be of an ASN or ISP type, got 'GeoLite2-Country'",
        ),
        (
            "GeoLite2-ASN",
            {"11.0.0.0/8": {"asn": 7}},
            "is of another layout: no record has autonomous_system_number",
        ),
        (
            "GeoLite2-ASN",
            {"11.0.0.0/8": {"autonomous_system_number": "7"}},
            "is of another layout: no record has autonomous_system_number",
        ),
        ("GeoLite2-ASN", {}, "is of another layout: no record has autonomous_system_number"),
    ],
)
def test_lookup_has_no_networks_where_the_file_does_not_say_them(
    files: Files, database_type: str, records: dict[str, Any], complaint: str
) -> None:
    write_database(files.networks, records, database_type)
    for _ in range(2):
        assert files.network("11.1.2.3") == ""
    assert files.complaints == [
        f"limits on networks are off: {files.networks}: the network database {complaint}"
    ]


def test_lookup_complains_once_of_each_file(files: Files) -> None:
    for path in (files.countries, files.networks, files.hosting):
        path.unlink()
    for _ in range(2):
        assert files.lookup.country(packed("11.1.2.3")) == ""
        assert files.network("11.1.2.3") == ""
        assert not files.lookup.is_hosting("AS64501")
    hint = "is missing; `pcc_admin.py init` puts one there"
    assert files.complaints == [
        f"{files.countries}: the country database {hint}",
        f"limits on networks are off: {files.networks}: the network database {hint}",
        f"{files.hosting}: the hosting list {hint}",
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("AS64500", "'AS64500'"),
        ("0", "'0'"),
        ("4294967296", "'4294967296'"),
        ("-1", "'-1'"),
        ("64500, 64501 # two", "'64500, 64501'"),
        ("Hetzner\N{LATIN SMALL LETTER U WITH DIAERESIS}\x1b", r"'Hetzner\xfc\x1b'"),
        ("9" * 5000, f"'{'9' * 40}'"),
        ("64500\N{SUPERSCRIPT TWO}", r"'64500\xb2'"),
    ],
)
def test_hosting_list_with_a_wrong_line_leaves_the_last_good_one_in_force(
    files: Files, line: str, value: str
) -> None:
    assert files.lookup.is_hosting("AS64501")
    files.hosting.write_text(f"64502\n{line}\n")
    os.utime(files.hosting, (1, 1))
    assert files.lookup.is_hosting("AS64501")
    assert not files.lookup.is_hosting("AS64502")
    assert files.complaints == [
        f"{files.hosting}:2: must be an autonomous system number such as 64500, got {value}"
    ]
    files.hosting.write_text("64502\n")
    os.utime(files.hosting, (2, 2))
    assert not files.lookup.is_hosting("AS64501")
    assert files.lookup.is_hosting("AS64502")


def test_hosting_list_with_a_wrong_line_has_its_other_lines_in_a_new_process(files: Files) -> None:
    files.hosting.write_text(f"64502\nAS64500\n64503 again\n{HOSTING}")
    assert files.lookup.is_hosting("AS64501")
    assert files.lookup.is_hosting("AS64502")
    assert not files.lookup.is_hosting("AS64500")
    assert files.complaints == [
        f"{files.hosting}:2: must be an autonomous system number such as 64500, got 'AS64500'"
    ]
    files.hosting.write_text("<html>\n64504\n")
    os.utime(files.hosting, (2, 2))
    assert files.lookup.is_hosting("AS64504")
    assert not files.lookup.is_hosting("AS64502")


def test_hosting_list_that_is_removed_has_no_networks(files: Files) -> None:
    assert files.lookup.is_hosting("AS64501")
    files.hosting.unlink()
    assert not files.lookup.is_hosting("AS64501")


def test_hosting_list_that_is_no_file_is_named(files: Files) -> None:
    files.hosting.unlink()
    os.mkfifo(files.hosting)
    assert not files.lookup.is_hosting("AS64501")
    assert files.complaints == [f"{files.hosting}: the hosting list must be a regular file"]


# Through the real process.


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site with a network database and a hosting list, whose limits are on countries."""
    (tmp_path / "hosting.txt").write_text(HOSTING)
    networks = {f"11.{number}.0.0/16": {"autonomous_system_number": number} for number in range(9)}
    write_database(tmp_path / "networks.mmdb", networks, "GeoLite2-ASN")
    made = Site(
        tmp_path,
        "[policy]\nmax_countries = 3\nmax_networks = 3\n[country]\n"
        'database = "country.mmdb"\nnetworks = "networks.mmdb"\nhosting = "hosting.txt"\n'
        f'[store]\ndatabase = "pcc.db"\n[notify]\nto = []\n[log]\nname = "{tmp_path.name}"\n',
    )
    yield made
    made.close()


def embedding(address: str, kind: int) -> str:
    """Return an IPv6 address with an IPv4 address inside."""
    parts = bytes(map(int, address.split(".")))
    first, last = parts[:2].hex(), parts[2:].hex()
    inverted = bytes(byte ^ 0xFF for byte in parts)
    return (
        f"64:ff9b::{first}:{last}",
        f"64:ff9b:1::{first}:{last}",
        f"2002:{first}:{last}::25",
        f"2001::{inverted[:2].hex()}:{inverted[2:].hex()}",
    )[kind]


@pytest.mark.subprocess
def test_mail_from_addresses_with_ipv4_inside_counts_for_their_countries(site: Site) -> None:
    process = site.policy()
    clients = [embedding(address(code), kind) for kind, code in enumerate(("ES", "FR", "BR", "VN"))]
    actions = [process.ask("joe@example.org", client) for client in clients]
    assert [action == "DUNNO" for action in actions] == [True, True, True, False]
    process.end()
    rows = site.data("show", "joe@example.org")["sightings"]
    assert {row["address"] for row in rows} == {address(c) for c in ("ES", "FR", "BR", "VN")}


@pytest.mark.subprocess
def test_mail_from_an_address_with_an_exempt_one_inside_is_counted(site: Site) -> None:
    text = site.config.read_text()
    exempt = f'exempt_clients = ["11.0.0.0/8", "AS{1}", "AS{2}"]'
    site.config.write_text(text.replace("[policy]", f"[policy]\n{exempt}"))
    process = site.policy()
    for code in ("ES", "FR", "BR", "VN", "DE"):
        assert process.ask("joe@example.org", address(code)) == "DUNNO"
    actions = [
        process.ask("joe@example.org", embedding(address(code), 2))
        for code in ("ES", "FR", "BR", "VN")
    ]
    assert [action == "DUNNO" for action in actions] == [True, True, True, False]


@pytest.mark.subprocess
def test_mail_from_an_exempt_network_is_not_counted(site: Site) -> None:
    text = site.config.read_text()
    exempt = 'exempt_clients = ["AS3", "AS4"]'
    site.config.write_text(text.replace("[policy]", f"[policy]\n{exempt}"))
    process = site.policy()
    for code in ("BR", "VN", "BR", "VN", "ES", "FR"):  # BR is 11.3, VN is 11.4
        assert process.ask("joe@example.org", address(code)) == "DUNNO"
    process.end()
    rows = site.data("show", "joe@example.org")["sightings"]
    assert {row["country"] for row in rows} == {"ES", "FR"}


@pytest.mark.subprocess
def test_process_logs_each_file_of_another_layout_once_and_blocks_hold(site: Site) -> None:
    site.config.write_text(site.config.read_text().replace("countries = 3", "countries = 9"))
    codes = ("ES", "FR", "BR", "VN", "DE")
    for code in codes:
        site.ask("joe@example.org", address(code))
    networks = site.folder / "networks.mmdb"
    records = {"11.0.0.0/8": {"country_code": "ES", "asn": 7}}
    with system_log() as log:
        process = site.policy()
        assert process.ask("eve@example.org", address("ES")) == "DUNNO"
        write_database(networks, records, "GeoLite2-ASN")
        for code in codes:  # limits on networks are off
            assert process.ask("eve@example.org", address(code)) == "DUNNO"
        write_database(site.countries, records, "GeoLite2-Country")
        for code in codes:
            assert process.ask("eve@example.org", address(code, 9)) == "DUNNO"
        assert process.ask("joe@example.org", address("ES")) != "DUNNO"
        process.end()
        lines = log.lines(5, of=f"{site.folder}/")
    assert [line.partition(" error ")[2] for line in lines] == [
        f"limits on networks are off: {networks}: the network database is of another layout:"
        " no record has autonomous_system_number",
        f"{site.countries}: the country database is of another layout: no record has"
        " country.iso_code",
    ]


@pytest.mark.subprocess
def test_process_follows_a_network_database_that_is_replaced(site: Site) -> None:
    process = site.policy()
    hosts = [f"11.1.{number}.1" for number in range(5)]
    assert [process.ask("joe@example.org", host) for host in hosts] == ["DUNNO"] * 5  # AS1
    systems = {
        f"11.1.{number}.0/24": {"autonomous_system_number": 100 + number} for number in range(9)
    }
    write_database(site.folder / "new.mmdb", systems, "GeoLite2-ASN")
    os.utime(site.folder / "new.mmdb", (1, 1))
    os.replace(site.folder / "new.mmdb", site.folder / "networks.mmdb")
    hosts = [f"11.1.{number}.2" for number in range(4)]
    actions = [process.ask("ann@example.org", host) for host in hosts]
    assert [action == "DUNNO" for action in actions] == [True, True, True, False]
