"""Where addresses are, for people: from databases of cities and networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, Site, address, address6
from mmdb import write_country_database, write_database
from postfix import wait_until

from pcc.places import travel as evidence
from pcc.places.origins import Origins
from pcc.places.travel import Origin

CITY_RECORDS: dict[str, Any] = {
    "11.1.0.0/16": {
        "city": {"names": {"de": "Madrid!", "en": "Madrid"}},
        "country": {"iso_code": "ES"},
        "location": {"latitude": 40.4, "longitude": -3.7, "accuracy_radius": 10},
    },
    "11.2.0.0/16": {
        "city": {"names": {"fr": "Paris"}},
        "country": {"iso_code": "FR"},
        "location": {"latitude": 48.9, "longitude": 2.3},
    },
    "11.3.0.0/16": {"country": {"iso_code": "BR"}, "location": {"latitude": -23.5}},
    "2a01::/32": {
        "city": {"names": {"en": "São Paulo"}},
        "country": {"iso_code": "ES"},
        "location": {"latitude": -23.5, "longitude": -46.6},
    },
}
ASN_RECORDS: dict[str, Any] = {
    "11.1.0.0/16": {
        "autonomous_system_number": 3352,
        "autonomous_system_organization": "Telefonica",
    },
    "11.2.0.0/16": {"autonomous_system_number": 3215},
    "11.3.0.0/16": {"autonomous_system_organization": "Claro"},
}


def origins(folder: Path, cities: str = "city.mmdb", networks: str = "asn.mmdb") -> Origins:
    """Return origins by the files of a folder; a complaint is an error."""

    def complain(sentence: str) -> None:
        raise AssertionError(sentence)

    return Origins(str(folder / cities), str(folder / networks) if networks else "", "", complain)


@pytest.mark.parametrize(
    ("cities", "networks"),
    [
        ("GeoLite2-City", "GeoLite2-ASN"),
        ("DBIP-City-Lite", "DBIP-ASN-Lite (compat=GeoLite2-ASN)"),
        ("GeoIP2-Enterprise", "GeoIP2-ISP"),
    ],
)
def test_origins_are_found_in_the_databases_of_both_makers(
    tmp_path: Path, cities: str, networks: str
) -> None:
    write_database(tmp_path / "city.mmdb", CITY_RECORDS, cities)
    write_database(tmp_path / "asn.mmdb", ASN_RECORDS, networks)
    found = origins(tmp_path).find(
        ["11.1.0.1", "11.2.0.1", "11.3.0.1", "2a01:0:0:1::/64", "192.0.2.1"]
    )
    assert list(found.values()) == [
        Origin("Madrid", 40.4, -3.7, 10, "Telefonica", 3352),
        Origin("Paris", 48.9, 2.3, 0, "", 3215),
        Origin("", None, None, 0, "Claro", 0),
        Origin("São Paulo", -23.5, -46.6, 0, "", 0),
        Origin(),
    ]
    assert [evidence.network(origin) for origin in found.values()] == [
        "Telefonica (AS3352)",
        "AS3215",
        "Claro",
        "",
        "",
    ]


def test_network_in_the_hosting_list_is_named_so(tmp_path: Path) -> None:
    write_database(tmp_path / "asn.mmdb", ASN_RECORDS, "GeoLite2-ASN")
    hosting = tmp_path / "hosting.txt"
    for written in ("3352 # Telefonica", "AS3352"):
        hosting.write_text(written)
        paths = "none.mmdb", str(tmp_path / "asn.mmdb"), str(hosting)
        found = Origins(*paths, pytest.fail).find(["11.1.0.1", "11.2.0.1", "192.0.2.1"])
        is_read = "#" in written
        assert [origin.is_hosting for origin in found.values()] == [is_read, False, False]
        assert evidence.network(found["11.1.0.1"]).endswith(", hosting") == is_read
        hosts = [evidence.origin_data(origin)["hosting"] for origin in found.values()]
        assert hosts == [is_read, False, None]


def test_origin_of_a_kind_of_address_that_a_database_has_none_of_is_unknown(tmp_path: Path) -> None:
    records = {"11.1.0.0/16": ASN_RECORDS["11.1.0.0/16"]}
    write_database(tmp_path / "asn.mmdb", records, "GeoLite2-ASN", ip_version=4)
    found = origins(tmp_path).find(["2a01::/64", "11.1.0.1"])
    assert [origin.as_number for origin in found.values()] == [0, 3352]


def test_origins_complain_of_cities_of_another_layout(tmp_path: Path) -> None:
    record = {"country": {"iso_code": "ES"}, "town": "Madrid"}
    write_database(tmp_path / "city.mmdb", {"11.1.0.0/16": record}, "DBIP-City-Lite")
    complaints: list[str] = []
    path = str(tmp_path / "city.mmdb")
    assert Origins(path, "", "", complaints.append).find(["11.1.0.1"]) == {}
    assert complaints == [
        f"cities are left out of the evidence: {path}: the country database is of another layout:"
        " no record has location.latitude or city.names"
    ]


def test_origins_without_cities_and_networks_are_none_and_nothing_is_complained_of(
    tmp_path: Path,
) -> None:
    assert origins(tmp_path, "missing.mmdb", "").find(["11.1.0.1"]) == {}
    write_country_database(tmp_path / "country.mmdb", {"11.1.0.0/16": "ES"})
    assert origins(tmp_path, "country.mmdb", "").find(["11.1.0.1"]) == {}


@pytest.mark.parametrize(
    "record",
    [
        "Madrid",
        ["Madrid"],
        {"city": "Madrid", "location": "40"},
        {"city": {"names": "Madrid"}, "location": {"latitude": "40", "longitude": [1]}},
        {"city": {"names": {"en": 7}}, "location": {"latitude": 91.0, "longitude": 0.0}},
        {"city": {"names": {}}, "location": {"latitude": float("nan"), "longitude": 0.0}},
        {"location": {"latitude": 1.0, "longitude": 181.0, "accuracy_radius": float("inf")}},
        {"autonomous_system_number": "7", "autonomous_system_organization": 7},
        {"autonomous_system_number": True, "location": {"latitude": True, "longitude": True}},
    ],
)
def test_origin_with_rubbish_in_its_record_is_unknown(tmp_path: Path, record: Any) -> None:
    city, asn = CITY_RECORDS["2a01::/32"], ASN_RECORDS["11.2.0.0/16"]  # or all would be broken
    records = {"11.1.0.0/16": record}
    write_database(tmp_path / "city.mmdb", {**records, "11.9.0.0/16": city}, "GeoLite2-City")
    write_database(tmp_path / "asn.mmdb", {**records, "11.9.0.0/16": asn}, "GeoLite2-ASN")
    assert origins(tmp_path).find(["11.1.0.1"]) == {"11.1.0.1": Origin()}


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (
        Path.unlink,
        "{}: the network database is missing; `pcc_admin.py init` puts one there",
    ),
    "empty": (lambda path: path.write_bytes(b""), "{}: the network database is empty"),
    "rubbish": (
        lambda path: path.write_bytes(os.urandom(5000)),
        "{}: is not a MaxMind DB file, or a damaged one",
    ),
    "of another type": (
        lambda path: write_country_database(path, {"11.0.0.0/8": "ES"}),
        "{}: the network database must be of an ASN or ISP type, got 'GeoLite2-Country'",
    ),
    "a FIFO": (
        lambda path: [path.unlink(), os.mkfifo(path)],  # type: ignore[func-returns-value]
        "{}: the network database must be a regular file",
    ),
    "a folder": (
        lambda path: [path.unlink(), path.mkdir()],  # type: ignore[func-returns-value]
        "{}: the network database must be a regular file",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_origins_leave_out_a_database_that_cannot_be_used_and_complain_once(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "asn.mmdb"
    write_database(path, ASN_RECORDS, "GeoLite2-ASN")
    spoil, sentence = BROKEN[how]
    spoil(path)
    told: list[str] = []
    write_database(tmp_path / "city.mmdb", CITY_RECORDS, "GeoLite2-City")
    looked = Origins(str(tmp_path / "city.mmdb"), str(path), "", told.append)
    assert looked.find(["11.1.0.1"])["11.1.0.1"].city == "Madrid"
    assert told == [f"networks are left out of the evidence: {sentence.format(path)}"]


def test_origins_leave_out_a_database_that_turns_out_damaged(tmp_path: Path) -> None:
    path = tmp_path / "asn.mmdb"
    write_database(path, ASN_RECORDS, "GeoLite2-ASN")
    whole = path.read_bytes()
    end = whole.index(b"\xab\xcd\xefMaxMind.com")
    path.write_bytes(b"\xff" * end + whole[end:])
    told: list[str] = []
    looked = Origins(str(tmp_path / "none.mmdb"), str(path), "", told.append)
    for _ in range(3):
        looked.find(["11.1.0.1", "11.2.0.1"])
    (sentence,) = told
    assert sentence.startswith(f"networks are left out of the evidence: {path}: ")


def test_origins_are_not_imported_by_the_policy_process() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import pcc.service, pcc.verdict.repeat, pcc.verdict.incident, pcc.verdict.counting\n"
        "import pcc.places.database, pcc.notice.notifier\n"
        "evidence = {'pcc.places.travel', 'pcc.places.origins', 'pcc.notice.notice'}\n"
        "print(sorted(evidence & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", program, str(ROOT)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"


# Origins for people and programs.


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with both databases; notices go to a file of mails and one of JSON."""
    for name in ("sendmail", "command"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ncat >>{tmp_path}/{name}.told\n")
        program.chmod(0o755)
    made = Site(
        tmp_path,
        "[policy]\nfamiliar_after = 0\nmax_countries = 1\n"
        '[country]\ndatabase = "city.mmdb"\nasn = "asn.mmdb"\n'
        'hosting = ""\n[store]\ndatabase = "pcc.db"\n'
        f'[notify]\nto = ["postmaster"]\nsendmail = "{tmp_path}/sendmail"\n'
        f'command = ["{tmp_path}/command"]\n',
    )
    odd = {"names": {"en": "Par\x1b[31mis\n<b>"}}
    records = {**CITY_RECORDS, "11.2.0.0/16": {**CITY_RECORDS["11.2.0.0/16"], "city": odd}}
    (tmp_path / "city.mmdb").unlink()
    write_database(tmp_path / "city.mmdb", records, "GeoLite2-City")
    write_database(tmp_path / "asn.mmdb", ASN_RECORDS, "GeoLite2-ASN")
    return made


KEYS = {"city", "latitude", "longitude", "operator", "as_number", "hosting"}


@pytest.mark.subprocess
def test_origins_are_in_show_and_notices_with_outside_names_escaped(site: Site) -> None:
    site.ask("joe@example.org", address6("ES"))
    time.sleep(1)
    site.ask("joe@example.org", address("FR"))
    mail, told = site.folder / "sendmail.told", site.folder / "command.told"
    wait_until(lambda: mail.exists() and told.exists() and told.read_text(), "notices")
    data = json.loads(told.read_text())
    assert set(data["sightings"][0]) > KEYS
    (leg,) = data["travel"]
    assert (leg["from"]["city"], leg["to"]["country"], leg["too_fast"]) == ("São Paulo", "FR", True)
    wait_until(lambda: "-- \n" in mail.read_text(), "mail")
    text = mail.read_text()
    assert text.isascii()
    assert "            Par\\x1b[31mis\\n\\x3cb\\x3e\n" in text
    assert "  AS3215  " in text
    assert "   Sao Paulo (ES) to Par\\x1b[31mis\\n\\x3cb\\x3e (FR), 9,400 km in " in text
    shown = site.data("show", "joe@example.org")
    assert set(shown["sightings"][0]) > KEYS
    assert shown["travel"] == [leg]
    people = site.admin("show", "joe@example.org")
    assert people.stderr == ""
    assert "\x1b" not in people.stdout
    assert "  Par\\x1b[31mis\\n\\x3cb\\x3e  AS3215\n" in people.stdout
    assert "  São Paulo (ES) to Par\\x1b[31mis\\n\\x3cb\\x3e (FR), 9,400 km" in people.stdout
    (site.folder / "asn.mmdb").unlink()
    people = site.admin("show", "joe@example.org")
    assert people.returncode == 0
    assert (
        "pcc_admin.py: networks are left out of the evidence:"
        f" {site.folder}/asn.mmdb: the network database is missing;"
        " `pcc_admin.py init` puts one there\n"
    ) in people.stderr
    site.close()


@pytest.mark.subprocess
def test_origins_add_nothing_where_only_countries_are_known(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.ask("joe@example.org", address("ES"))
    shown = site.data("show", "joe@example.org")
    assert not set(shown["sightings"][0]) & KEYS
    assert "travel" not in shown
    site.close()
