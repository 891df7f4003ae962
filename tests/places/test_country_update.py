"""`country show` and `country update`: from files, from a real web server, and from bad ones."""

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
from mmdb import GOOD, built, write_country_database

from pcc.places.country import CountryDatabase, describe

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
    return int(time.time() - describe(str(site.countries)).build_epoch) // 86400


def test_show_tells_type_build_date_and_age(site: Site) -> None:
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
def test_a_newer_database_is_installed(
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


def test_without_a_source_the_bundled_one_is_installed(site: Site) -> None:
    built(site.countries, age=4000 * 86400)
    data = site.data("country", "update")
    assert (data["installed"], data["type"]) == (True, "DBIP-Country-Lite")
    data = site.data("country", "update")
    assert data["installed"] is False


def test_the_same_database_again_is_no_fault(site: Site, new: Path) -> None:
    assert site.admin("country", "update", str(new)).returncode == 0
    before = site.countries.stat()
    done = site.admin("country", "update", str(new))
    assert (done.returncode, done.stderr) == (0, "")
    assert "there already" in done.stdout
    assert site.countries.stat() == before


def test_the_time_of_a_database_is_the_same_on_all_hosts(site: Site, new: Path) -> None:
    times = []
    for _ in range(2):
        site.countries.unlink(missing_ok=True)
        assert site.admin("country", "update", "--force", str(new)).returncode == 0
        times.append(site.countries.stat().st_mtime)
    assert times[0] == times[1]
    assert int(times[0]) == describe(str(new)).build_epoch


def test_an_older_one_needs_force(site: Site, tmp_path: Path) -> None:
    older = built(tmp_path / "older.mmdb", age=50 * 86400)
    done = site.admin("country", "update", str(older))
    assert done.returncode == 1
    assert "before the one in place" in done.stderr
    assert age(site) == 40
    assert site.admin("country", "update", "--force", str(older)).returncode == 0
    assert age(site) == 50


def test_one_from_the_future_neither_comes_nor_stays(site: Site, new: Path, tmp_path: Path) -> None:
    future = built(tmp_path / "future.mmdb", age=-400 * 86400)
    done = site.admin("country", "update", "--force", str(future))
    assert done.returncode == 1
    assert "says that it was built" in done.stderr
    shutil.copy(future, site.countries)
    assert site.admin("country", "update", str(new)).returncode == 0


def test_a_database_of_ones_own_needs_force_once(site: Site, tmp_path: Path) -> None:
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


def test_a_database_is_checked_before_it_is_installed(site: Site, tmp_path: Path) -> None:
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


def test_what_grows_without_bounds_is_cut_off(site: Site, tmp_path: Path) -> None:
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
def test_other_urls_are_refused(site: Site, source: str, complaint: str) -> None:
    done = site.admin("country", "update", source)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "secret" not in done.stderr


def test_a_server_that_misbehaves_changes_nothing(site: Site, new: Path, url: str) -> None:
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


def test_plain_http_is_warned_about(site: Site, new: Path, url: str) -> None:
    Server.answers["/plain"] = (200, {}, new.read_bytes())
    assert "prefer https" in site.admin("country", "update", f"{url}/plain").stderr


def test_owner_and_mode_stay(site: Site, new: Path) -> None:
    user = pwd.getpwnam(service_user())
    os.chown(site.countries, user.pw_uid, user.pw_gid)
    site.countries.chmod(0o604)
    assert site.admin("country", "update", str(new)).returncode == 0
    status = site.countries.stat()
    assert (status.st_uid, status.st_gid) == (user.pw_uid, user.pw_gid)
    assert stat.S_IMODE(status.st_mode) == 0o604


def test_where_none_was_the_owner_of_the_folder_gets_it(site: Site, new: Path) -> None:
    user = pwd.getpwnam(service_user())
    os.chown(site.folder, user.pw_uid, user.pw_gid)
    site.countries.unlink()
    assert site.admin("country", "update", str(new)).returncode == 0
    status = site.countries.stat()
    assert (status.st_uid, status.st_gid) == (user.pw_uid, user.pw_gid)
    assert stat.S_IMODE(status.st_mode) == 0o640


def test_a_symbolic_link_is_not_replaced(site: Site, new: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.mmdb"
    shutil.move(site.countries, real)
    site.countries.symlink_to(real)
    done = site.admin("country", "update", str(new))
    assert done.returncode == 1
    assert "is a symbolic link" in done.stderr
    assert site.countries.is_symlink()


def test_a_folder_that_can_not_be_written_is_a_trouble_of_its_own(
    site: Site, new: Path, tmp_path: Path
) -> None:
    site.config.write_text(f'[country]\ndatabase = "{tmp_path}/none/country.mmdb"\n')
    done = site.admin("country", "update", str(new))
    assert done.returncode == 4
    assert "can't be written: No such file or directory" in done.stderr


def test_look_ups_follow_while_it_is_replaced_again_and_again(
    site: Site, new: Path, tmp_path: Path
) -> None:
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


def test_json_tells_what_is_in_place(site: Site, new: Path) -> None:
    done = site.admin("--json", "country", "update", str(new))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["installed"] is True
