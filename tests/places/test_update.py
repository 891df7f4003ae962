"""`places` and `country`: from files, from a real web server, and from bad ones."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import pwd
import shutil
import socket
import stat
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import Site
from deployment import service_user
from mmdb import GOOD, CountryDatabase, built, write_country_database, write_database

from pcc.places.database import COUNTRIES, NETWORKS, WELL_KNOWN, describe

pytestmark = pytest.mark.subprocess


class Server(http.server.BaseHTTPRequestHandler):
    """Answers each path as `answers` has it: status, headers, body."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        status, headers, body = self.answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    built(site.countries, age=40 * 86400)
    yield site
    assert not [name for name in os.listdir(site.folder) if name.startswith("country.mmdb.")]
    site.close()


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return built(tmp_path / "new.mmdb", age=86400)


def age(site: Site) -> int:
    """The age in days of the database in place."""
    return int(time.time() - describe(str(site.countries), COUNTRIES).build_epoch) // 86400


def test_country_show_has_type_build_date_and_age(site: Site) -> None:
    data = site.data("country", "show")
    assert list(data) == ["path", "type", "built", "age"]
    assert data["type"] == "GeoLite2-Country"
    assert data["path"] == str(site.countries)
    assert 40 * 86400 <= data["age"] < 40 * 86400 + 100
    assert "40 d" in site.admin("country", "show").stdout
    site.countries.unlink()
    done = site.admin("country", "show")
    assert (done.returncode, done.stdout) == (4, "")
    assert "is missing" in done.stderr


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("by", ["file", "http"])
def test_update_installs_a_newer_database(
    site: Site, new: Path, url: str, gzipped: bool, by: str
) -> None:
    content = new.read_bytes()
    if gzipped:
        content = gzip.compress(content[:1000]) + gzip.compress(content[1000:])
    source = new.with_name("source")
    source.write_bytes(content)
    Server.answers["/db?key=secret"] = (200, {}, content)
    done = site.admin("country", "update", f"{url}/db?key=secret" if by == "http" else str(source))
    assert done.returncode == 0, done.stderr
    assert "1 day old" in done.stdout
    assert age(site) == 1
    assert site.countries.read_bytes() == new.read_bytes()


def test_update_without_a_source_installs_the_bundled_one(site: Site) -> None:
    built(site.countries, age=4000 * 86400)
    data = site.data("country", "update")
    assert (data["installed"], data["type"]) == (True, "DBIP-Country-Lite")
    data = site.data("country", "update")
    assert data["installed"] is False


def test_update_with_the_same_database_is_no_fault(site: Site, new: Path) -> None:
    assert site.admin("country", "update", str(new)).returncode == 0
    before = site.countries.stat()
    done = site.admin("country", "update", str(new))
    assert (done.returncode, done.stderr) == (0, "")
    assert "there already" in done.stdout
    assert site.countries.stat() == before


def test_update_gives_a_database_the_same_time_on_all_hosts(site: Site, new: Path) -> None:
    times = []
    for _ in range(2):
        site.countries.unlink(missing_ok=True)
        assert site.admin("country", "update", "--force", str(new)).returncode == 0
        times.append(site.countries.stat().st_mtime)
    assert times[0] == times[1]
    assert int(times[0]) == describe(str(new), COUNTRIES).build_epoch


def test_update_to_an_older_database_needs_force(site: Site, tmp_path: Path) -> None:
    older = built(tmp_path / "older.mmdb", age=50 * 86400)
    done = site.admin("country", "update", str(older))
    assert done.returncode == 1
    assert "before the one in place" in done.stderr
    assert age(site) == 40
    assert site.admin("country", "update", "--force", str(older)).returncode == 0
    assert age(site) == 50


def test_update_takes_no_database_from_the_future(site: Site, new: Path, tmp_path: Path) -> None:
    future = built(tmp_path / "future.mmdb", age=-400 * 86400)
    done = site.admin("country", "update", "--force", str(future))
    assert done.returncode == 1
    assert "says that it was built" in done.stderr
    shutil.copy(future, site.countries)
    assert site.admin("country", "update", str(new)).returncode == 0


def test_update_to_a_database_of_ones_own_needs_force_once(site: Site, tmp_path: Path) -> None:
    own = tmp_path / "own.mmdb"
    networks = {f"10.0.{number}.0/24": "ES" if number % 2 else "FR" for number in range(250)}
    write_country_database(own, networks)
    before = site.countries.read_bytes()
    done = site.admin("country", "update", str(own))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"pcc_admin.py: {own}: has only 0 of 15 well-known addresses where they are: --force"
        " installs it all the same, if it is of a network of your own or a test, say;"
        f" {site.countries} stays as it is\n"
    )
    assert site.countries.read_bytes() == before
    assert site.admin("country", "update", "--force", str(own)).returncode == 0
    write_country_database(own, {**networks, "10.200.0.0/16": "FR"})
    assert site.admin("country", "update", str(own)).returncode == 0
    assert site.countries.read_bytes() == own.read_bytes()
    write_country_database(own, dict(list(networks.items())[:2]))
    assert site.admin("country", "update", str(own)).returncode == 1
    site.countries.unlink()
    assert site.admin("country", "update", str(own)).returncode == 1


def test_update_checks_a_database_before_it_installs_it(site: Site, tmp_path: Path) -> None:
    before = site.countries.read_bytes()
    source = tmp_path / "bad"

    def refused(complaint: str) -> None:
        done = site.admin("country", "update", str(source))
        assert (done.returncode, done.stdout) == (1, "")
        assert complaint in done.stderr
        assert f"{site.countries} stays as it is" in done.stderr
        assert site.countries.read_bytes() == before

    refused("No such file or directory")
    source.write_bytes(b"")
    refused("is empty")
    source.write_bytes(b"<html>Not found</html>" * 100)
    refused("is not a MaxMind DB file")
    built(source, database_type="GeoLite2-ASN")
    refused("must be of a Country, City or Enterprise type")
    good = built(source).read_bytes()
    source.write_bytes(good[: len(good) // 2])
    refused("is not a MaxMind DB file")
    source.write_bytes(gzip.compress(good)[:-20])
    refused("ends in the middle")
    source.write_bytes(b"\x1f\x8b" + good)
    refused("is damaged where it is gzipped")
    write_country_database(source, dict.fromkeys(GOOD, "US"))
    refused("has only 1 of 15 well-known addresses where they are")
    with tarfile.open(source, "w:gz") as archive:
        archive.add(site.countries, "GeoLite2-Country.mmdb")
    refused("unpack the .mmdb file from this tar archive")
    source.unlink()
    os.mkfifo(source)
    reader = os.open(source, os.O_RDWR)
    refused("is not a plain file")
    os.close(reader)


def test_update_cuts_off_what_grows_without_bounds(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "bomb.gz"
    zeros = gzip.compress(bytes(1 << 24))
    source.write_bytes(zeros * 40)
    done = site.admin("country", "update", str(source))
    assert done.returncode == 1
    assert "has more than 512 MB" in done.stderr


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("file:///etc/passwd", "must be an http or https URL"),
        ("ftp://127.0.0.1/db", "must be an http or https URL"),
        ("data://text/plain,x", "must be an http or https URL"),
        ("https://", "is no URL"),
        ("https://joe:secret@127.0.0.1/db", "must not contain a login"),
        ("https://127.0.0.1:99999/db", "is no URL"),
        ("https://127.0.0.1/a b", "is no URL"),
    ],
)
def test_update_refuses_other_urls(site: Site, source: str, complaint: str) -> None:
    done = site.admin("country", "update", source)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "secret" not in done.stderr


def test_update_from_a_server_that_misbehaves_changes_nothing(
    site: Site, new: Path, url: str
) -> None:
    content = new.read_bytes()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        Server.answers |= {
            "/short?key=secret": (200, {"Content-Length": str(len(content) + 1)}, content),
            "/huge": (200, {"Content-Length": str(1 << 40)}, content),
            "/moved": (302, {"Location": f"{url}/other"}, b""),
            "/local": (302, {"Location": "file:///etc/passwd"}, b""),
            "/ftp": (301, {"Location": "ftp://127.0.0.1/x"}, b""),
            "/login": (302, {"Location": "https://joe:secret@127.0.0.1/"}, b""),
            "/broken": (500, {}, b""),
        }
        cases = {
            f"{url}/short?key=secret": f"{url}/short: broke off",
            f"{url}/huge": "has more than 512 MB",
            f"{url}/moved": "only https is followed",
            f"{url}/local": "302",
            f"{url}/ftp": "only https is followed",
            f"{url}/login": "must not contain a login",
            f"{url}/broken": "the server answers 500",
            f"{url}/none": "the server answers 404 Not Found",
            closed: "Connection refused",
        }
        for source, complaint in cases.items():
            done = site.admin("country", "update", source)
            assert done.returncode == 1, source
            assert complaint in done.stderr
            assert "secret" not in done.stderr
    assert age(site) == 40


def test_update_warns_of_plain_http(site: Site, new: Path, url: str) -> None:
    Server.answers["/plain"] = (200, {}, new.read_bytes())
    assert "prefer https" in site.admin("country", "update", f"{url}/plain").stderr


def test_update_keeps_owner_and_mode(site: Site, new: Path) -> None:
    user = pwd.getpwnam(service_user())
    os.chown(site.countries, user.pw_uid, user.pw_gid)
    site.countries.chmod(0o604)
    assert site.admin("country", "update", str(new)).returncode == 0
    status = site.countries.stat()
    assert (status.st_uid, status.st_gid) == (user.pw_uid, user.pw_gid)
    assert stat.S_IMODE(status.st_mode) == 0o604


def test_update_gives_a_new_file_to_the_owner_of_its_folder(site: Site, new: Path) -> None:
    user = pwd.getpwnam(service_user())
    os.chown(site.folder, user.pw_uid, user.pw_gid)
    site.countries.unlink()
    assert site.admin("country", "update", str(new)).returncode == 0
    status = site.countries.stat()
    assert (status.st_uid, status.st_gid) == (user.pw_uid, user.pw_gid)
    assert stat.S_IMODE(status.st_mode) == 0o640


def test_update_does_not_replace_a_symbolic_link(site: Site, new: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.mmdb"
    shutil.move(site.countries, real)
    site.countries.symlink_to(real)
    done = site.admin("country", "update", str(new))
    assert done.returncode == 1
    assert "is a symbolic link" in done.stderr
    assert site.countries.is_symlink()


def test_update_names_a_folder_that_can_not_be_written(
    site: Site, new: Path, tmp_path: Path
) -> None:
    site.config.write_text(f'[country]\ndatabase = "{tmp_path}/none/country.mmdb"\n')
    done = site.admin("country", "update", str(new))
    assert done.returncode == 4
    assert "can't be written: No such file or directory" in done.stderr


def test_look_ups_follow_updates_again_and_again(site: Site, new: Path, tmp_path: Path) -> None:
    other = built(tmp_path / "other.mmdb", age=3600)
    database = CountryDatabase(str(site.countries))
    done = threading.Event()

    def replace() -> None:
        for source in (new, other, new, other):
            assert site.admin("country", "update", "--force", str(source)).returncode == 0
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not done.is_set() and thread.is_alive():
        assert database.country("193.0.6.139") == "NL"
    thread.join()
    assert done.is_set()
    database.close()


def test_update_has_in_json_what_is_in_place(site: Site, new: Path) -> None:
    done = site.admin("--json", "country", "update", str(new))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["installed"] is True


# The network database and the hosting list.

SYSTEMS = {
    f"{address}/32": {"autonomous_system_number": number, "autonomous_system_organization": "Old"}
    for address, (_, number) in WELL_KNOWN.items()
}
HOSTING = "".join(f"{number} # Rented by the hour\n" for number in range(64500, 64510))


@pytest.fixture
def whole(site: Site) -> Site:
    """A site that has all three files."""
    text = site.config.read_text()
    text = text.replace('networks = ""', 'networks = "networks.mmdb"')
    site.config.write_text(text.replace('hosting = ""', 'hosting = "hosting.txt"'))
    write_database(site.folder / "networks.mmdb", SYSTEMS, "GeoLite2-ASN")
    (site.folder / "hosting.txt").write_text(HOSTING)
    return site


def test_places_show_has_each_file(whole: Site) -> None:
    data = whole.data("places", "show")
    assert [(row["file"], row["type"]) for row in data] == [
        ("country", "GeoLite2-Country"),
        ("networks", "GeoLite2-ASN"),
        ("hosting", "hosting list"),
    ]
    assert {row["problem"] for row in data} == {None}
    lines = whole.admin("places", "show").stdout.splitlines()
    assert len(lines) == 4
    assert f"{whole.folder}/hosting.txt" in lines[3]


def test_places_show_leaves_out_what_is_not_configured(site: Site) -> None:
    assert [row["file"] for row in site.data("places", "show")] == ["country"]


def test_places_show_names_what_is_wrong(whole: Site) -> None:
    (whole.folder / "networks.mmdb").write_bytes(b"rubbish")
    (whole.folder / "hosting.txt").write_text("64500\nHetzner\n")
    done = whole.admin("--json", "places", "show")
    rows = json.loads(done.stdout)
    problems = [
        f"{whole.folder}/networks.mmdb: is not a MaxMind DB file, or a damaged one",
        f"{whole.folder}/hosting.txt:2: must be an autonomous system number such as 64500,"
        " got 'Hetzner'",
    ]
    assert done.returncode == 1
    assert done.stderr == "".join(f"pcc_admin.py: {problem}\n" for problem in problems)
    assert [row["problem"] for row in rows] == [None, *problems]
    assert [row["type"] for row in rows] == ["GeoLite2-Country", None, None]


@pytest.mark.parametrize("name", ["country", "networks", "hosting"])
def test_places_update_installs_what_came_along(whole: Site, name: str) -> None:
    data = whole.data("places", "update", name, "--force")
    assert data["installed"] is True
    assert data["type"] in ("DBIP-Country-Lite", "ip-location-db-ASN", "hosting list")
    assert whole.data("places", "update", name)["installed"] is False


def test_places_update_installs_a_network_database(whole: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_database(source, {**SYSTEMS, "11.0.0.0/8": SYSTEMS["128.32.0.1/32"]}, "DBIP-ASN-Lite")
    done = whole.admin("places", "update", "networks", str(source))
    assert done.returncode == 0, done.stderr
    target = whole.folder / "networks.mmdb"
    assert done.stdout == f"{target}: installed: DBIP-ASN-Lite, 0 days old\n"
    assert target.read_bytes() == source.read_bytes()


def test_places_update_checks_a_network_database(whole: Site, tmp_path: Path) -> None:
    target, source = whole.folder / "networks.mmdb", tmp_path / "source"
    before = target.read_bytes()

    def refused(complaint: str) -> None:
        done = whole.admin("places", "update", "networks", str(source))
        assert (done.returncode, done.stdout) == (1, "")
        assert complaint in done.stderr
        assert f"{target} stays as it is" in done.stderr
        assert target.read_bytes() == before

    built(source)
    refused("must be of an ASN or ISP type, got 'GeoLite2-Country'")
    write_database(source, {network: {"asn": 7} for network in SYSTEMS}, "GeoLite2-ASN")
    refused("is of another layout: no record has autonomous_system_number")
    write_database(source, {"11.0.0.0/8": SYSTEMS["128.32.0.1/32"]}, "GeoLite2-ASN")
    refused("has only 0 of 15 well-known addresses where they are")


def test_places_update_checks_a_hosting_list(whole: Site, tmp_path: Path) -> None:
    target, source = whole.folder / "hosting.txt", tmp_path / "source"

    def refused(text: str, complaint: str) -> None:
        source.write_text(text)
        done = whole.admin("places", "update", "hosting", str(source))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"pcc_admin.py: {complaint}; {target} stays as it is\n"
        assert target.read_text() == HOSTING

    rule = "must be an autonomous system number such as 64500"
    refused("<html>\n", f"{source}:1: {rule}, got '<html>'")
    refused("64500\nAS64501\n", f"{source}:2: {rule}, got 'AS64501'")
    few = "has only {}, and the one in place 10 (--force installs it all the same)"
    refused("", f"{source}: {few.format('0 networks')}")
    refused("64500\n" * 20, f"{source}: {few.format('1 network')}")
    source.write_text("64500\n")
    assert whole.admin("places", "update", "--force", "hosting", str(source)).returncode == 0
    assert target.read_text() == "64500\n"


@pytest.mark.parametrize(("name", "key"), [("networks", "networks"), ("hosting", "hosting")])
def test_places_update_needs_a_file_to_update(site: Site, name: str, key: str) -> None:
    done = site.admin("places", "update", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f'pcc_admin.py: country.{key} must name the file that is to be updated, got ""\n'
    )


def test_places_update_refuses_another_name(site: Site) -> None:
    assert site.admin("places", "update", "cities").returncode == 2


def test_init_unpacks_what_is_not_there(whole: Site) -> None:
    (whole.folder / "networks.mmdb").unlink()
    (whole.folder / "hosting.txt").unlink()
    done = whole.admin("init")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        f"{whole.countries}: there already",
        f"{whole.folder}/networks.mmdb: unpacked from the bundled network database",
        f"{whole.folder}/hosting.txt: unpacked from the bundled hosting list",
    ]
    assert describe(f"{whole.folder}/networks.mmdb", NETWORKS).type == "ip-location-db-ASN"


def test_init_goes_on_where_a_folder_is_missing(whole: Site) -> None:
    text = whole.config.read_text().replace("networks.mmdb", "none/networks.mmdb")
    whole.config.write_text(text)
    done = whole.admin("init")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        f"{whole.folder}/none/networks.mmdb: not unpacked, because its folder is missing",
        f"{whole.folder}/hosting.txt: there already",
    ]


def test_init_is_partly_done_where_a_file_can_not_be_written(whole: Site) -> None:
    whole.config.write_text(whole.config.read_text().replace("networks.mmdb", "networks"))
    (whole.folder / "networks").symlink_to("nowhere")
    done = whole.admin("init")
    assert done.returncode == 3
    assert done.stderr == (
        f"pcc_admin.py: {whole.folder}/networks: exists already and is not replaced by the bundled"
        " network database\n"
    )
    assert done.stdout.splitlines()[-1] == f"{whole.folder}/hosting.txt: there already"
