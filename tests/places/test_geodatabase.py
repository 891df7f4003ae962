"""Files in MaxMind's format, real ones: made here, bundled, and MaxMind's own.

MaxMind's are fetched from an npm package, once, into .cache/ of the checkout, because their licence
forbids to pass them on.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import child, in_child
from mmdb import CountryDatabase, complaint, write_country_database, write_database

from pcc.errors import CountryError, DeadlineError
from pcc.places import bundled
from pcc.places.database import CITIES, COUNTRIES, NETWORKS, Database, Kind, describe

CHECKOUT = Path(__file__).resolve().parents[2]
GEOLITE2 = "geolite2@4.0.1"
NOBODY = 65534

PLACES = {
    "192.0.2.0/24": "ES",
    "198.51.100.0/25": "fr",
    "198.51.100.128/25": "ZZ",
    "203.0.113.0/24": None,
    "2001:db8:1::/48": "BR",
    "2001:db8:2::/48": None,
}
MAXMIND_TYPES = (
    "GeoLite2-Country",
    "GeoIP2-Country",
    "GeoLite2-City",
    "GeoIP2-City-Europe",
    "GeoIP2-Enterprise",
    "DBIP-Country-Lite",
    "DBIP-City-Lite",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small country database."""
    path = tmp_path / "country.mmdb"
    write_country_database(path, PLACES)
    return path


@pytest.fixture(scope="session")
def bundled_database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundled database, unpacked."""
    target = tmp_path_factory.mktemp("bundled") / "country.mmdb"
    bundled.unpack(str(target))
    return str(target)


@pytest.fixture(scope="session")
def geolite2() -> Path:
    """The folder with MaxMind's GeoLite2-Country, -City and -ASN.mmdb."""
    folder = CHECKOUT / ".cache" / GEOLITE2
    if not folder.is_dir():
        _fetch_geolite2(folder)
    return folder


def _fetch_geolite2(folder: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not there to fetch MaxMind's files with")
    try:
        folder.parent.mkdir(exist_ok=True)
    except PermissionError:
        pytest.skip(f"{folder.parent} can't be made, to keep MaxMind's files in")
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        fetched = subprocess.run(
            ["npm", "pack", "--silent", "--fetch-retries=1", "--cache", f"{name}/npm", GEOLITE2],
            cwd=name,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if fetched.returncode:
            pytest.skip(f"npm can't fetch MaxMind's files: {fetched.stderr.strip()[:200]}")
        (package,) = Path(name).glob("*.tgz")
        unpacked = Path(name) / "unpacked"
        unpacked.mkdir()
        with tarfile.open(package) as archive:
            for member in archive:
                if member.name.endswith(".mmdb"):
                    content = archive.extractfile(member)
                    assert content is not None
                    (unpacked / Path(member.name).name).write_bytes(content.read())
        unpacked.rename(folder)


def country(path: str | os.PathLike[str], address: str) -> str | None:
    database = CountryDatabase(os.fspath(path))
    try:
        return database.country(address)
    finally:
        database.close()


# Answers


@pytest.mark.parametrize("database_type", MAXMIND_TYPES)
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "ES"),
        ("192.0.2.255", "ES"),
        ("2001:db8:1::5", "BR"),
        ("198.51.100.1", "FR"),
        ("198.51.100.200", None),
        ("192.0.3.0", None),
        ("10.0.0.1", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("2001:db8::", None),
    ],
)
def test_country_is_the_one_in_which_the_address_is_used(
    tmp_path: Path, database_type: str, address: str, expected: str | None
) -> None:
    path = tmp_path / "country.mmdb"
    write_country_database(path, PLACES, database_type)
    assert country(path, address) == expected


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8:2::1"])
def test_country_is_not_where_a_network_is_only_registered(path: Path, address: str) -> None:
    assert country(path, address) is None


@pytest.mark.parametrize("iso_code", ["ZZ", "", "E", "ESP", "A1", "--", "ÄÖ", 34, None])
def test_country_is_none_where_a_record_has_no_code(tmp_path: Path, iso_code: object) -> None:
    path = tmp_path / "country.mmdb"
    place = {} if iso_code is None else {"iso_code": iso_code}
    good = {"country": {"iso_code": "ES"}}
    records = {"192.0.2.0/24": {"country": place}, "198.51.100.0/24": good}
    write_database(path, records, "GeoLite2-Country")
    assert country(path, "192.0.2.1") is None
    assert country(path, "198.51.100.1") == "ES"


def test_database_of_ipv4_alone_has_no_ipv6_address(tmp_path: Path) -> None:
    path = tmp_path / "country.mmdb"
    write_country_database(path, {"192.0.2.0/24": "ES"}, ip_version=4)
    assert country(path, "192.0.2.1") == "ES"
    assert country(path, "2001:db8::1") is None


# The files of pcc and of MaxMind

KNOWN = [
    ("8.8.8.8", "US"),
    ("193.0.6.139", "NL"),
    ("130.206.1.1", "ES"),
    ("133.11.0.1", "JP"),
    ("200.160.2.3", "BR"),
    ("2001:67c:2e8::1", "NL"),
    ("2001:720:418::1", "ES"),
    ("2001:200::1", "JP"),
    ("0.0.0.0", None),
    ("10.0.0.1", None),
    ("100.64.0.1", None),
    ("127.0.0.1", None),
    ("169.254.1.1", None),
    ("172.16.0.1", None),
    ("192.168.1.1", None),
    ("::1", None),
    ("fd00::1", None),
    ("fe80::1", None),
]


@pytest.mark.parametrize(("address", "expected"), KNOWN)
def test_bundled_database_knows_networks_that_have_long_been_where_they_are(
    bundled_database: str, address: str, expected: str | None
) -> None:
    assert country(bundled_database, address) == expected


@pytest.mark.subprocess
@pytest.mark.parametrize("name", ["GeoLite2-Country.mmdb", "GeoLite2-City.mmdb"])
def test_database_of_maxmind_works_unchanged(geolite2: Path, name: str) -> None:
    database = CountryDatabase(str(geolite2 / name))
    assert [database.country(address) for address, _ in KNOWN] == [code for _, code in KNOWN]
    assert database.country("1.1.1.1") is None  # anycast, only registered in Australia
    assert describe(str(geolite2 / name), COUNTRIES).type == name.removesuffix(".mmdb")


@pytest.mark.subprocess
def test_database_of_maxminds_networks_has_no_countries(geolite2: Path) -> None:
    asn = str(geolite2 / "GeoLite2-ASN.mmdb")
    expected = (
        f"{asn}: the country database must be of a Country, City or Enterprise type,"
        " got 'GeoLite2-ASN'"
    )
    assert complaint(lambda: country(asn, "8.8.8.8")) == expected
    assert complaint(lambda: describe(asn, COUNTRIES)) == expected


# Files that can't be asked

ASKING = (
    lambda path: country(path, "192.0.2.1"),
    functools.partial(describe, kind=COUNTRIES),
)


@pytest.mark.parametrize("ask", ASKING, ids=["country", "describe"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the country database is empty"),
        (b"GIF89a", "is not a MaxMind DB file, or a damaged one"),
        (b"\0" * 200_000, "is not a MaxMind DB file, or a damaged one"),
        (b"<html>\n" * 100, "is not a MaxMind DB file, or a damaged one"),
        (b"\xab\xcd\xefMaxMind.com", "is not a MaxMind DB file, or a damaged one"),
        (b"\xab\xcd\xefMaxMind.com\xe0", "is not a MaxMind DB file, or a damaged one"),
    ],
)
def test_database_that_is_none_is_named(
    tmp_path: Path, content: bytes, expected: str, ask: Callable[[str], object]
) -> None:
    path = tmp_path / "country.mmdb"
    path.write_bytes(content)
    assert complaint(lambda: ask(str(path))) == f"{path}: {expected}"


@pytest.mark.parametrize("ask", ASKING, ids=["country", "describe"])
def test_database_that_lost_its_end_is_named(path: Path, ask: Callable[[str], object]) -> None:
    whole = path.read_bytes()
    last = len(whole) - 5  # the bytes of the build date, which a reader takes for a shorter number
    for size in (*range(1, last, 37), last):
        path.write_bytes(whole[:size])
        assert complaint(lambda: ask(str(path))).startswith(f"{path}: ")


@pytest.mark.parametrize("ask", ASKING, ids=["country", "describe"])
def test_database_that_is_no_file_is_named(tmp_path: Path, ask: Callable[[str], object]) -> None:
    missing = f"{tmp_path}/country.mmdb"
    assert complaint(lambda: ask(missing)) == (
        f"{missing}: the country database is missing; `pcc_admin.py init` puts one there"
    )
    folder = str(tmp_path)
    assert complaint(lambda: ask(folder)) == (
        f"{folder}: the country database must be a regular file"
    )
    fifo = f"{tmp_path}/fifo"
    os.mkfifo(fifo)
    assert complaint(lambda: ask(fifo)) == f"{fifo}: the country database must be a regular file"


def test_database_of_a_type_without_countries_is_refused() -> None:
    for database_type in ("GeoLite2-ASN", "GeoIP2-Domain", "country ipvAll", ""):
        assert complaint(functools.partial(COUNTRIES.check_type, "f", database_type)) == (
            "f: the country database must be of a Country, City or Enterprise type,"
            f" got {database_type!r}"
        )


def test_database_of_networks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "asn.mmdb"
    write_country_database(path, {"192.0.2.0/24": "Example Net"}, "GeoLite2-ASN")
    assert "got 'GeoLite2-ASN'" in complaint(lambda: country(path, "192.0.2.1"))


@pytest.mark.subprocess
def test_database_that_may_not_be_read_is_named_until_it_may(path: Path) -> None:
    country(path, "192.0.2.1")  # what the child needs is imported before it can't read that either
    path.chmod(0)
    with open_folder() as folder:
        path = path.rename(folder / path.name)

        def work() -> None:
            database = CountryDatabase(str(path))
            become(NOBODY)
            for _ in range(2):
                expected = f"{path}: the country database can't be read: Permission denied"
                assert complaint(lambda: database.country("192.0.2.1")) == expected
            become(0)
            path.chmod(0o644)
            become(NOBODY)
            assert database.country("192.0.2.1") == "ES"

        in_child(work)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may traverse, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def become(uid: int) -> None:
    """Act as another user, where that's possible; who isn't root is held up by mode 0 anyway."""
    if os.getuid() == 0:
        os.seteuid(uid)


# Changes under a running process


def test_database_that_is_replaced_is_followed_at_the_next_look_up(path: Path) -> None:
    database = CountryDatabase(str(path))
    assert database.country("192.0.2.1") == "ES"
    newer = path.with_suffix(".new")
    for code in ("PT", "BR", "ES"):
        write_country_database(newer, {"192.0.2.0/24": code})
        newer.rename(path)
        assert database.country("192.0.2.1") == code


def test_database_that_is_replaced_is_closed(path: Path) -> None:
    database = CountryDatabase(str(path))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        write_country_database(path.with_suffix(".new"), PLACES)
        path.with_suffix(".new").rename(path)
        database.country("192.0.2.1")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    path.unlink()
    complaint(lambda: database.country("192.0.2.1"))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_database_that_goes_bad_is_named_until_it_is_good_again(
    path: Path, content: bytes | None
) -> None:
    whole = path.read_bytes()
    database = CountryDatabase(str(path))
    for _ in range(2):
        assert database.country("192.0.2.1") == "ES"
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        first = complaint(lambda: database.country("192.0.2.1"))
        assert first.startswith(f"{path}: ")
        assert complaint(lambda: database.country("192.0.2.1")) == first
        path.write_bytes(whole)


def test_database_that_is_wrong_is_not_opened_again(path: Path) -> None:
    path.write_bytes(b"x" * 1_000_000)
    database = CountryDatabase(str(path))
    first = complaint(lambda: database.country("192.0.2.1"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert complaint(lambda: database.country("192.0.2.1")) == first
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.subprocess
@pytest.mark.parametrize("size", [0, 1, 4096, 100_000, 2_000_000])
def test_database_truncated_in_place_kills_nobody(
    bundled_database: str, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "country.mmdb"
    shutil.copyfile(bundled_database, path)

    def work() -> None:
        database = CountryDatabase(str(path))
        assert database.country("193.0.6.139") == "NL"
        os.truncate(path, size)
        for address in ("8.8.8.8", "193.0.6.139", "2001:720:418::1"):
            complaint(functools.partial(database.country, address))

    in_child(work)


@pytest.mark.subprocess
@pytest.mark.parametrize("mode", ["wb", "r+b"], ids=["truncated first", "byte for byte"])
def test_database_overwritten_in_place_gives_no_wrong_answer(
    bundled_database: str, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "country.mmdb"
    content = Path(bundled_database).read_bytes()
    path.write_bytes(content)

    def work() -> None:
        database = CountryDatabase(str(path))
        answers = set()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            with contextlib.suppress(CountryError):
                answers.add(database.country("193.0.6.139"))
        assert answers == {"NL"}

    with child(work) as at_work:
        while at_work():
            with open(path, mode, buffering=0) as file:
                for start in range(0, len(content), 300_000):
                    file.write(content[start : start + 300_000])
            time.sleep(0.02)
    assert country(path, "193.0.6.139") == "NL"


def while_an_address_is_looked_up(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have `act` done in each look-up, between its first look at the file and its reading."""
    parse = ipaddress.ip_address

    def act_and_parse(text: str) -> object:
        act()
        return parse(text)

    monkeypatch.setattr(ipaddress, "ip_address", act_and_parse)


@pytest.mark.parametrize("size", [0, 1000, 1_000_000])
def test_database_truncated_during_a_look_up_is_not_taken_for_no_country(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "country.mmdb"
    shutil.copyfile(bundled_database, path)
    database = CountryDatabase(str(path))
    assert database.country("193.0.6.139") == "NL"
    while_an_address_is_looked_up(monkeypatch, lambda: os.truncate(path, size))
    said = complaint(lambda: database.country("193.0.6.139"))
    assert said in (
        f"{path}: the country database is empty",
        f"{path}: is not a MaxMind DB file, or a damaged one",
    )


def test_database_that_never_rests_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.count(1)
    while_an_address_is_looked_up(monkeypatch, lambda: os.utime(path, (0, next(moments))))
    assert complaint(lambda: country(path, "192.0.2.1")) == (
        f"{path}: the country database is being overwritten in place;"
        " it should be written beside and renamed"
    )
    monkeypatch.undo()
    assert country(path, "192.0.2.1") == "ES"


def test_database_with_damaged_bytes_gives_an_answer_or_an_error(path: Path) -> None:
    whole = path.read_bytes()
    chance = random.Random(20260601)
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            # Most of the file is its tree; what records and metadata say is at its end.
            position = chance.randrange(chance.choice((0, len(damaged) - 400)), len(damaged))
            damaged[position] = chance.randrange(256)
        path.write_bytes(damaged)
        database = CountryDatabase(str(path))
        for address in ("192.0.2.1", "198.51.100.1", "203.0.113.7", "2001:db8:1::1"):
            with contextlib.suppress(CountryError):
                code = database.country(address)
                assert code is None or (len(code) == 2 and code == code.upper())
        database.close()


def test_deadline_in_a_look_up_is_not_taken_for_damage(path: Path) -> None:
    def strike(number: int, frame: object) -> None:
        raise DeadlineError("too late")

    database = CountryDatabase(str(path))
    before = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(DeadlineError):
            all(database.country("192.0.2.1") for _ in iter(int, 1))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert database.country("192.0.2.1") == "ES"


# The price of a fresh process

FRESH = f"""
import __future__, os, sys
sys.path.insert(0, {str(CHECKOUT)!r})
before = set(sys.modules)
from pcc.places.database import COUNTRIES, Database
database = Database(sys.argv[1], COUNTRIES)
print(sorted(set(sys.modules) - before))
print(database.find(bytes([192, 0, 2, 1]))[0])
print("maxminddb" in sys.modules, "geoip2" in sys.modules)
"""


@pytest.mark.subprocess
def test_database_imports_maxminddb_on_its_first_look_up(path: Path) -> None:
    fresh = subprocess.run(
        [sys.executable, "-I", "-S", "-c", FRESH, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (fresh.stderr, fresh.returncode) == ("", 0)
    modules = ["pcc", "pcc.address", "pcc.errors", "pcc.places", "pcc.places.database"]
    assert fresh.stdout.splitlines() == [str(["_socket", *modules]), "ES", "True False"]


def test_database_without_maxminddb_names_what_is_needed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    said = complaint(lambda: country(path, "192.0.2.1"))
    assert said.startswith(f"{path}: can't be read without Python's geoip2: ")


# Files of another layout

WELL_KNOWN_ALONE = {"128.32.0.0/16": {"country": {"iso_code": "US"}}}
OTHER_LAYOUT = {
    f"{first}.0.0.0/8": {"country_code": "ES", "asn": 7, "as_name": "Example", "lat": 1.5}
    for first in (1, 128, 193, 200)
}


@pytest.mark.parametrize(
    ("kind", "database_type", "field"),
    [
        (COUNTRIES, "GeoLite2-Country", "country.iso_code"),
        (COUNTRIES, "ipinfo Country", "country.iso_code"),
        (COUNTRIES, "GeoLite2-City", "country.iso_code"),
        (CITIES, "DBIP-City-Lite", "location.latitude or city.names"),
        (NETWORKS, "GeoLite2-ASN", "autonomous_system_number"),
    ],
)
@pytest.mark.parametrize("ip_version", [4, 6])
def test_database_of_another_layout_is_broken(
    tmp_path: Path, kind: Kind, database_type: str, field: str, ip_version: int
) -> None:
    path = str(tmp_path / "other.mmdb")
    write_database(path, OTHER_LAYOUT, database_type, ip_version)
    expected = f"{path}: the {kind.noun} is of another layout: no record has {field}"
    database = Database(path, kind)
    for _ in range(2):
        assert complaint(lambda: database.find(bytes([1, 1, 1, 1]))) == expected
    assert complaint(lambda: describe(path, kind)) == expected


def test_database_without_records_is_of_another_layout(path: Path) -> None:
    write_database(path, {}, "GeoLite2-Country")
    assert "of another layout" in complaint(lambda: country(path, "192.0.2.1"))


@pytest.mark.parametrize("ip_version", [4, 6])
def test_database_of_an_operators_own_needs_no_well_known_address(
    path: Path, ip_version: int
) -> None:
    write_country_database(path, {"10.0.0.0/8": None, "192.0.2.0/24": "ES"}, ip_version=ip_version)
    assert country(path, "192.0.2.1") == "ES"


def test_database_of_ipv6_alone_is_looked_through(path: Path) -> None:
    write_country_database(path, {"2001:db8::/32": None, "2a01::/16": "ES"})
    assert country(path, "2a01::1") == "ES"


def test_database_that_knows_one_well_known_address_is_not_looked_through(path: Path) -> None:
    other = {f"1.{number}.0.0/16": {"country_code": "ES"} for number in range(200)}
    write_database(path, {**other, **WELL_KNOWN_ALONE}, "GeoLite2-Country")
    assert country(path, "128.32.0.1") == "US"


def test_database_of_another_layout_is_looked_through_only_so_far(path: Path) -> None:
    other = {f"1.{number}.0.0/16": {"country_code": "ES"} for number in range(200)}
    write_database(
        path, {**other, "9.0.0.0/8": {"country": {"iso_code": "ES"}}}, "GeoLite2-Country"
    )
    assert "of another layout" in complaint(lambda: country(path, "9.0.0.1"))


def test_database_that_gets_the_right_layout_is_used(path: Path) -> None:
    whole = path.read_bytes()
    write_database(path, OTHER_LAYOUT, "GeoLite2-Country")
    database = CountryDatabase(str(path))
    complaint(lambda: database.country("192.0.2.1"))
    path.write_bytes(whole)
    assert database.country("192.0.2.1") == "ES"


# Cities and networks


def test_database_tells_the_bits_that_an_answer_is_true_of(path: Path) -> None:
    database = CountryDatabase(str(path))
    assert database.find(bytes([192, 0, 2, 1])) == ("ES", 24)
    assert database.find(bytes.fromhex("20010db80001") + bytes(10)) == ("BR", 48)


def test_database_of_maxminds_networks_works_unchanged(geolite2: Path) -> None:
    database = Database(str(geolite2 / "GeoLite2-ASN.mmdb"), NETWORKS)
    assert database.find(bytes([193, 0, 6, 139]))[0][0] == 3333
    assert describe(database.path, NETWORKS).type == "GeoLite2-ASN"
