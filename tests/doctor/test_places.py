"""`doctor` on the files that say where an address is, and on what the limits make of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from mmdb import built, write_database

from pcc.config import Config
from pcc.config.options import read_values
from pcc.doctor.places import check_hosting, check_limits, check_places
from pcc.doctor.rights import user_of

DAY = 86400
MAIL_LIMIT = '[[limit]]\nmax_hosting_mails = 25\nwindow = "1h"\n'


class Place:
    """A folder with the three files, and a pcc.toml that names them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.country, self.networks, self.hosting = (
            folder / name for name in ("country.mmdb", "networks.mmdb", "hosting.txt")
        )
        built(self.country)
        built(self.networks, database_type="GeoLite2-ASN")
        self.hosting.write_text("24940 # Hetzner\n")

    def config(self, text: str = "", country: str = "") -> Config:
        """Return the configuration; `country`: the keys of its section."""
        names = "database = 'country.mmdb'\nnetworks = 'networks.mmdb'\nhosting = 'hosting.txt'\n"
        (self.folder / "pcc.toml").write_text(f"{text}\n[country]\n{country or names}")
        return Config(read_values(str(self.folder / "pcc.toml")))

    def findings(self, config: Config | None = None) -> dict[str, tuple[str, str]]:
        """Return what is not OK."""
        found = check_places(config or self.config(), user_of(os.getuid()), time.time())
        assert [one.check for one in found] == [
            "country database",
            "network database",
            "hosting list",
        ]
        return {one.check: (one.result, one.fix) for one in found if one.result != "OK"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_places_that_are_whole_and_new_are_ok(place: Place) -> None:
    assert place.findings() == {}


def of_another_layout(path: Path, kind: str) -> None:
    write_database(path, {"11.0.0.0/8": {"country_code": "ES", "asn": 3352}}, kind)


def test_country_database_of_another_layout_fails(place: Place) -> None:
    of_another_layout(place.country, "GeoLite2-Country")
    result, fix = place.findings()["country database"]
    assert result == "FAIL"
    assert fix.startswith("run `pcc_admin.py places update country`: ")
    assert "is of another layout: no record has country.iso_code" in fix


def test_network_database_of_another_layout_fails(place: Place) -> None:
    of_another_layout(place.networks, "GeoLite2-ASN")
    result, fix = place.findings()["network database"]
    assert result == "FAIL"
    assert "is of another layout: no record has autonomous_system_number" in fix


@pytest.mark.parametrize(
    ("days", "kind", "fix"),
    [
        (181, "GeoLite2-ASN", "run `geoipupdate`, monthly: it's 181 days old"),
        (
            200,
            "DBIP-ASN-Lite (compat=GeoLite2-ASN)",
            "run `pcc_admin.py places update networks https://download.db-ip.com/free/"
            "dbip-asn-lite-$(date +%Y-%m).mmdb.gz`, monthly: it's 200 days old",
        ),
    ],
)
def test_network_database_that_is_old_is_to_be_fetched(
    place: Place, days: int, kind: str, fix: str
) -> None:
    built(place.networks, days * DAY + 100, kind)
    assert place.findings() == {"network database": ("WARN", fix)}


@pytest.mark.parametrize("name", ["country", "networks", "hosting"])
def test_file_that_is_missing_has_one_remedy(place: Place, name: str) -> None:
    path: Path = getattr(place, name)
    path.unlink()
    (found,) = place.findings().values()
    assert found == (
        "FAIL",
        f"run `pcc_admin.py init`, which puts the bundled one there: there is no {path}",
    )


def test_hosting_list_with_a_line_that_is_no_number_fails(place: Place) -> None:
    place.hosting.write_text("24940\nAS16509\n")
    result, fix = place.findings()["hosting list"]
    assert result == "FAIL"
    assert fix.startswith("run `pcc_admin.py places update hosting`: ")
    assert f"{place.hosting}:2: must be an autonomous system number" in fix


def test_hosting_list_that_is_old_is_to_be_updated(place: Place) -> None:
    os.utime(place.hosting, (0, time.time() - 400 * DAY - 100))
    (found,) = place.findings().values()
    assert found[1] == (
        "run `pcc_admin.py places update hosting` after an upgrade of pcc: it's 400 days old"
    )


@pytest.mark.parametrize(
    ("limit", "country", "expected"),
    [
        ("", "", []),
        ("max_networks = 3", "", ["network database"]),
        ("max_hosting_mails = 25", "", ["network database", "hosting list"]),
        ("max_networks = 3", "networks = 'networks.mmdb'", []),
        ("max_hosting_mails = 25", "networks = 'networks.mmdb'", ["hosting list"]),
    ],
)
def test_limit_needs_the_files_that_it_judges_by(
    place: Place, limit: str, country: str, expected: list[str]
) -> None:
    keys = {"networks": '""', "hosting": '""', "database": "'country.mmdb'"}
    keys |= dict(line.split(" = ") for line in country.splitlines())
    text = "".join(f"{key} = {value}\n" for key, value in keys.items())
    found = place.findings(place.config(f"[policy]\n{limit}\n", text))
    assert list(found) == expected
    assert {result for result, _ in found.values()} <= {"FAIL"}


@pytest.mark.parametrize(
    ("networks", "accounts", "words"),
    [
        ([("AS3352", 90), ("AS24940", 10)], 100, ""),
        ([("AS24940", 60), ("AS3352", 30)], 100, "60 of 100 accounts (60 %)"),
        ([("AS24940", 2)], 2, ""),
        ([("AS24940", 3)], 4, "take AS24940 out of"),
        ([], 0, ""),
    ],
)
def test_hosting_list_with_the_provider_of_most_users_is_found(
    place: Place, networks: list[tuple[str, int]], accounts: int, words: str
) -> None:
    found = check_hosting(place.config(MAIL_LIMIT), networks, accounts)
    assert found.result == ("WARN" if words else "OK")
    assert words in found.fix
    assert check_hosting(place.config(), networks, accounts).result == "OK"


OLD = """\
[policy]
max_countries = 3
window = "2d"
familiar_after = 1
[[limit]]
max_countries = 2
window = "1h"
[[limit]]
max_addresses = 5
window = "1h"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        (OLD, "max_countries 3 in 2d, max_countries 2 in 1h, max_addresses 5 in 1h, which version"),
        (OLD.replace("max_addresses = 5", "max_addresses = 50"), "max_countries 2 in 1h, which"),
        (OLD.replace("familiar_after = 1", "familiar_after = 3"), ""),
        (OLD[: OLD.index("[[")].replace("3", "4"), ""),
    ],
)
def test_limits_of_version_1_0_are_to_be_replaced(place: Place, text: str, words: str) -> None:
    found = check_limits(place.config(text))
    assert found.result == ("WARN" if words else "OK")
    assert words in found.fix


@pytest.mark.parametrize(
    ("keep", "limit", "result"),
    [("2d", "", "FAIL"), ("3d", "", "OK"), ("3d", "familiar_after = 4", "FAIL")],
)
def test_places_that_can_never_become_familiar_are_found(
    place: Place, keep: str, limit: str, result: str
) -> None:
    text = f'[store]\nkeep_sightings = "{keep}"\n[[limit]]\nmax_networks = 3\n{limit}\n'
    found = check_limits(place.config(text))
    assert found.result == result
    assert ("put keep_sightings = " in found.fix) == (result == "FAIL")
