"""What a verdict asks of the files that say where an address is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from mmdb import write_country_database, write_database

from pcc.address import packed_address
from pcc.places.lookup import NEVER, Lookup

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
    address = packed_address(text)
    assert address is not None
    return address


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
    assert files.lookup.networks_made() == files.lookup.hosting_made() == NEVER
    assert files.complaints == []


def test_lookup_knows_when_each_file_was_made(files: Files) -> None:
    for seconds, path in enumerate((files.countries, files.networks, files.hosting)):
        os.utime(path, (seconds, seconds))
    lookup = files.lookup
    assert (lookup.countries_made(), lookup.networks_made(), lookup.hosting_made()) == (0, 1, 2)
    files.networks.unlink()
    assert (lookup.countries_made(), lookup.networks_made(), lookup.hosting_made()) == (0, NEVER, 2)


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


def test_hosting_list_that_is_removed_has_no_networks(files: Files) -> None:
    assert files.lookup.is_hosting("AS64501")
    files.hosting.unlink()
    assert not files.lookup.is_hosting("AS64501")


def test_hosting_list_that_is_no_file_is_named(files: Files) -> None:
    files.hosting.unlink()
    os.mkfifo(files.hosting)
    assert not files.lookup.is_hosting("AS64501")
    assert files.complaints == [f"{files.hosting}: the hosting list must be a regular file"]


@pytest.mark.subprocess
def test_lookup_imports_nothing_expensive_before_it_is_asked(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from pcc.places.lookup import Lookup\n"
        "lookup = Lookup('/none', '/none', '/none', print)\n"
        "lookup.countries_made(), lookup.networks_made(), lookup.hosting_made()\n"
        "print(sorted(set(sys.modules) - before - {'__future__'}))"
    )
    argv = [sys.executable, "-I", "-S", "-c", program, str(ROOT)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "['pcc', 'pcc.errors', 'pcc.places', 'pcc.places.lookup']\n"
