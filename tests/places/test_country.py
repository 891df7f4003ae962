"""The country of an address, from real files: made here, bundled, and MaxMind's own.

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
from mmdb import write_country_database, write_database

from pcc.errors import CountryError, DeadlineError
from pcc.places import bundled
from pcc.places.country import CountryDatabase, check_type, describe

CHECKOUT = Path(__file__).resolve().parents[2]
GEOLITE2 = "geolite2@4.0.1"
NOBODY = 65534

NETWORKS = {
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
    write_country_database(path, NETWORKS)
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


def complaint(ask: Callable[[], object]) -> str:
    with pytest.raises(CountryError) as caught:
        ask()
    return str(caught.value)


@contextlib.contextmanager
def child(work: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Do `work` in a child process, and fail when that fails or is killed.

    Gives a function that tells whether the child is still at it.
    """
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(status)
    yield lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {status}"


def in_child(work: Callable[[], None]) -> None:
    with child(work):
        pass


# What is answered


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
def test_the_country_is_the_one_in_which_the_address_is_used(
    tmp_path: Path, database_type: str, address: str, expected: str | None
) -> None:
    path = tmp_path / "country.mmdb"
    write_country_database(path, NETWORKS, database_type)
    assert country(path, address) == expected


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8:2::1"])
def test_where_a_network_is_only_registered_is_not_its_country(path: Path, address: str) -> None:
    assert country(path, address) is None


@pytest.mark.parametrize("iso_code", ["ZZ", "", "E", "ESP", "A1", "--", "ÄÖ", 34, None])
def test_what_is_no_code_of_a_country_is_no_country(tmp_path: Path, iso_code: object) -> None:
    path = tmp_path / "country.mmdb"
    place = {} if iso_code is None else {"iso_code": iso_code}
    write_database(path, {"192.0.2.0/24": {"country": place}}, "GeoLite2-Country")
    assert country(path, "192.0.2.1") is None


def test_an_ipv6_address_is_not_in_a_database_of_ipv4_alone(tmp_path: Path) -> None:
    path = tmp_path / "country.mmdb"
    write_country_database(path, {"192.0.2.0/24": "ES"}, ip_version=4)
    assert country(path, "192.0.2.1") == "ES"
    assert country(path, "2001:db8::1") is None


@pytest.mark.parametrize("text", ["unknown", "", "192.0.2", "192.0.2.1/24"])
def test_what_is_no_address_is_a_mistake_of_the_caller(path: Path, text: str) -> None:
    with pytest.raises(ValueError):
        country(path, text)


# What comes with pcc, and what MaxMind makes

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
def test_the_bundled_database_knows_networks_that_have_long_been_where_they_are(
    bundled_database: str, address: str, expected: str | None
) -> None:
    assert country(bundled_database, address) == expected


@pytest.mark.subprocess
@pytest.mark.parametrize("name", ["GeoLite2-Country.mmdb", "GeoLite2-City.mmdb"])
def test_maxminds_own_files_work_unchanged(geolite2: Path, name: str) -> None:
    database = CountryDatabase(str(geolite2 / name))
    assert [database.country(address) for address, _ in KNOWN] == [code for _, code in KNOWN]
    assert database.country("1.1.1.1") is None  # anycast, only registered in Australia
    assert describe(str(geolite2 / name)).type == name.removesuffix(".mmdb")


@pytest.mark.subprocess
def test_maxminds_asn_file_is_of_the_wrong_type(geolite2: Path) -> None:
    asn = str(geolite2 / "GeoLite2-ASN.mmdb")
    expected = (
        f"{asn}: the country database must be of a Country, City or Enterprise type,"
        " got 'GeoLite2-ASN'"
    )
    assert complaint(lambda: country(asn, "8.8.8.8")) == expected
    assert complaint(lambda: describe(asn)) == expected


def test_the_bundled_database_describes_itself(bundled_database: str) -> None:
    info = describe(bundled_database)
    assert (info.path, info.type) == (bundled_database, "DBIP-Country-Lite")
    assert info.node_count > 100_000
    built = time.strftime("%Y-%m-%d", time.gmtime(info.build_epoch))
    readme = (CHECKOUT / "data" / "README.md").read_text()
    assert f"data of {built}" in readme
    assert "[IP Geolocation by DB-IP](https://db-ip.com)" in readme


# What can't be asked

ASKING = (lambda path: country(path, "192.0.2.1"), describe)


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
def test_a_file_that_is_no_database_is_named(
    tmp_path: Path, content: bytes, expected: str, ask: Callable[[str], object]
) -> None:
    path = tmp_path / "country.mmdb"
    path.write_bytes(content)
    assert complaint(lambda: ask(str(path))) == f"{path}: {expected}"


@pytest.mark.parametrize("ask", ASKING, ids=["country", "describe"])
def test_a_file_that_lost_its_end_is_named(path: Path, ask: Callable[[str], object]) -> None:
    whole = path.read_bytes()
    last = len(whole) - 5  # the bytes of the build date, which a reader takes for a shorter number
    for size in (*range(1, last, 37), last):
        path.write_bytes(whole[:size])
        assert complaint(lambda: ask(str(path))).startswith(f"{path}: ")


@pytest.mark.parametrize("ask", ASKING, ids=["country", "describe"])
def test_what_is_there_instead_of_a_file_is_named(
    tmp_path: Path, ask: Callable[[str], object]
) -> None:
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


def test_types_that_do_not_tell_the_country_are_refused() -> None:
    for database_type in ("GeoLite2-ASN", "GeoIP2-Domain", "country ipvAll", ""):
        assert complaint(functools.partial(check_type, "f", database_type)) == (
            "f: the country database must be of a Country, City or Enterprise type,"
            f" got {database_type!r}"
        )


def test_an_asn_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "asn.mmdb"
    write_country_database(path, {"192.0.2.0/24": "Example Net"}, "GeoLite2-ASN")
    assert "got 'GeoLite2-ASN'" in complaint(lambda: country(path, "192.0.2.1"))


@pytest.mark.subprocess
def test_a_file_that_may_not_be_read_is_named_until_it_may(path: Path) -> None:
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


# What happens under a running process


def test_a_replaced_file_is_followed_at_the_next_look_up(path: Path) -> None:
    database = CountryDatabase(str(path))
    assert database.country("192.0.2.1") == "ES"
    newer = path.with_suffix(".new")
    for code in ("PT", "BR", "ES"):
        write_country_database(newer, {"192.0.2.0/24": code})
        newer.rename(path)
        assert database.country("192.0.2.1") == code


def test_a_replaced_file_is_let_go(path: Path) -> None:
    database = CountryDatabase(str(path))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        write_country_database(path.with_suffix(".new"), NETWORKS)
        path.with_suffix(".new").rename(path)
        database.country("192.0.2.1")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    path.unlink()
    complaint(lambda: database.country("192.0.2.1"))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_file_that_goes_bad_is_named_until_it_is_good_again(
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


def test_what_is_wrong_is_said_again_without_opening_the_file(path: Path) -> None:
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
def test_a_file_truncated_in_place_kills_nobody(
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
def test_a_file_overwritten_in_place_never_gives_a_wrong_answer(
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
def test_what_is_missing_from_a_file_truncated_during_a_look_up_is_not_said_to_be_in_no_country(
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


def test_a_look_up_in_a_file_that_never_rests_comes_to_an_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = itertools.count(1)
    while_an_address_is_looked_up(monkeypatch, lambda: os.utime(path, (0, next(moments))))
    assert complaint(lambda: country(path, "192.0.2.1")) == (
        f"{path}: the country database is being overwritten in place;"
        " it should be written beside and renamed"
    )
    monkeypatch.undo()
    assert country(path, "192.0.2.1") == "ES"


def test_damaged_bytes_give_an_answer_or_an_error_and_nothing_else(path: Path) -> None:
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


def test_a_deadline_that_strikes_in_a_look_up_is_not_taken_for_damage(path: Path) -> None:
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


# What a fresh process pays for

FRESH = f"""
import __future__, os, sys
sys.path.insert(0, {str(CHECKOUT)!r})
before = set(sys.modules)
from pcc.places.country import CountryDatabase
database = CountryDatabase(sys.argv[1])
print(sorted(set(sys.modules) - before))
print(database.country("192.0.2.1"))
print("geoip2" in sys.modules)
"""


@pytest.mark.subprocess
def test_a_bare_process_imports_geoip2_on_its_first_look_up(path: Path) -> None:
    fresh = subprocess.run(
        [sys.executable, "-I", "-S", "-c", FRESH, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (fresh.stderr, fresh.returncode) == ("", 0)
    modules = ["pcc", "pcc.errors", "pcc.places", "pcc.places.country"]
    assert fresh.stdout.splitlines() == [str(modules), "ES", "True"]


def test_without_geoip2_what_is_needed_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "geoip2.database", None)
    said = complaint(lambda: country(path, "192.0.2.1"))
    assert said.startswith(f"{path}: can't be read without Python's geoip2: ")


# How the bundled database is unpacked


@pytest.fixture
def umask() -> Iterator[None]:
    """The strictest umask."""
    before = os.umask(0o777)
    yield
    os.umask(before)


def test_it_is_readable_by_owner_and_group_of_its_folder(tmp_path: Path, umask: None) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, NOBODY, NOBODY - 1)
    target = tmp_path / "country.mmdb"
    bundled.unpack(str(target))
    folder, status = tmp_path.stat(), target.stat()
    assert status.st_mode & 0o7777 == 0o640
    assert (status.st_uid, status.st_gid) == (folder.st_uid, folder.st_gid)
    assert os.listdir(tmp_path) == ["country.mmdb"]


@pytest.mark.parametrize("dangling", [False, True])
def test_it_replaces_nothing(tmp_path: Path, dangling: bool) -> None:
    target = tmp_path / "country.mmdb"
    if dangling:
        target.symlink_to(tmp_path / "elsewhere")
    else:
        target.write_bytes(b"mine")
    assert complaint(lambda: bundled.unpack(str(target))) == (
        f"{target}: exists already and is not replaced by the bundled database"
    )
    assert os.listdir(tmp_path) == ["country.mmdb"]


def test_it_needs_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "country.mmdb"
    assert complaint(lambda: bundled.unpack(str(target))) == (
        f"{target}: the bundled country database can't be written: No such file or directory"
    )


@pytest.mark.parametrize("keep", [0, 100, 100_000, None])
def test_a_damaged_copy_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int | None
) -> None:
    copy = tmp_path / "copy.xz"
    if keep is not None:
        copy.write_bytes(Path(bundled.BUNDLED).read_bytes()[:keep])
    monkeypatch.setattr(bundled, "BUNDLED", str(copy))
    folder = tmp_path / "state"
    folder.mkdir()
    said = complaint(lambda: bundled.unpack(str(folder / "country.mmdb")))
    assert said.startswith(f"{copy}: the bundled country database can't be unpacked: ")
    assert os.listdir(folder) == []


@pytest.mark.subprocess
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "country.mmdb"

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        assert complaint(lambda: bundled.unpack(str(target))) == (
            f"{target}: the bundled country database can't be written: File too large"
        )

    in_child(work)
    assert os.listdir(tmp_path) == []
