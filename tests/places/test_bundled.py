"""The files that come along, and how they are unpacked."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT
from children import in_child
from mmdb import complaint

from pcc.address import packed_address
from pcc.places import bundled, database
from pcc.places.bundled import COUNTRIES, FILES, NETWORKS, File
from pcc.places.database import WELL_KNOWN, Database
from pcc.places.hosting import read_hosting
from pcc.places.lookup import Lookup

NOBODY = 65534


@pytest.fixture
def umask() -> Iterator[None]:
    """The strictest umask."""
    before = os.umask(0o777)
    yield
    os.umask(before)


EVERY_FILE = pytest.mark.parametrize("file", FILES.values(), ids=FILES)


@EVERY_FILE
def test_bundled_file_is_readable_by_owner_and_group_of_its_folder(
    tmp_path: Path, umask: None, file: File
) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, NOBODY, NOBODY - 1)
    target = tmp_path / "target"
    bundled.unpack(str(target), file)
    folder, status = tmp_path.stat(), target.stat()
    assert status.st_mode & 0o7777 == 0o640
    assert (status.st_uid, status.st_gid) == (folder.st_uid, folder.st_gid)
    assert os.listdir(tmp_path) == ["target"]
    assert file.describe(str(target)).node_count > 2000


@pytest.mark.parametrize("dangling", [False, True])
@EVERY_FILE
def test_bundled_file_replaces_nothing(tmp_path: Path, dangling: bool, file: File) -> None:
    target = tmp_path / "target"
    if dangling:
        target.symlink_to(tmp_path / "elsewhere")
    else:
        target.write_bytes(b"mine")
    assert complaint(lambda: bundled.unpack(str(target), file)) == (
        f"{target}: exists already and is not replaced by the bundled {file.noun}"
    )
    assert os.listdir(tmp_path) == ["target"]


@EVERY_FILE
def test_bundled_file_needs_a_folder(tmp_path: Path, file: File) -> None:
    target = tmp_path / "missing" / "target"
    assert complaint(lambda: bundled.unpack(str(target), file)) == (
        f"{target}: the bundled {file.noun} can't be written: No such file or directory"
    )


@pytest.mark.parametrize("keep", [0, 100, 100_000, None])
@pytest.mark.parametrize("file", [COUNTRIES, NETWORKS], ids=["country", "networks"])
def test_bundled_file_that_is_damaged_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: File, keep: int | None
) -> None:
    copy = tmp_path / file.bundled
    if keep is not None:
        copy.write_bytes((ROOT / "data" / file.bundled).read_bytes()[:keep])
    monkeypatch.setattr(bundled, "FOLDER", str(tmp_path))
    folder = tmp_path / "state"
    folder.mkdir()
    said = complaint(lambda: bundled.unpack(str(folder / "target"), file))
    assert said.startswith(f"{copy}: can't be unpacked: ")
    assert os.listdir(folder) == []


@pytest.mark.subprocess
def test_bundled_file_on_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "target"

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        for file in (COUNTRIES, NETWORKS):
            assert complaint(lambda file=file: bundled.unpack(str(target), file)) == (  # type: ignore[misc]
                f"{target}: the bundled {file.noun} can't be written: File too large"
            )

    in_child(work)
    assert os.listdir(tmp_path) == []


# Their answers


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all three."""
    folder = tmp_path_factory.mktemp("unpacked")
    for name, file in FILES.items():
        bundled.unpack(str(folder / name), file)
    return folder


def test_bundled_databases_know_every_well_known_address(unpacked: Path) -> None:
    countries = Database(str(unpacked / "country"), database.COUNTRIES)
    networks = Database(str(unpacked / "networks"), database.NETWORKS)
    for text, (country, number) in WELL_KNOWN.items():
        packed = packed_address(text) or b""
        assert (countries.find(packed)[0], networks.find(packed)[0][0]) == (country, number), text


@pytest.mark.parametrize(
    ("address", "network", "hosting"),
    [
        ("8.8.8.8", "AS15169", False),  # from which Gmail also sends for accounts of others
        ("3.5.140.1", "AS16509", True),  # Amazon
        ("5.9.1.1", "AS24940", True),  # Hetzner
        ("51.68.1.1", "AS16276", True),  # OVH
        ("64.225.1.1", "AS14061", True),  # DigitalOcean
        ("52.166.1.1", "AS8075", True),  # Azure
        ("2a01:4f8::1", "AS24940", True),
        ("83.32.1.1", "AS3352", False),  # Telefonica
        ("91.10.1.1", "AS3320", False),  # Deutsche Telekom
        ("2.3.4.5", "AS3215", False),  # Orange
        ("177.32.1.1", "AS28573", False),  # Claro
        ("128.32.0.1", "AS25", False),  # Berkeley
        ("64:ff9b::5.9.1.1", "AS24940", True),
    ],
)
def test_bundled_files_tell_hosting_from_providers_of_people(
    unpacked: Path, address: str, network: str, hosting: bool
) -> None:
    countries, networks, hosting_list = [str(unpacked / name) for name in FILES]
    lookup = Lookup(countries, networks, hosting_list, pytest.fail)
    found = lookup.network(packed_address(address) or b"")
    assert (found, lookup.is_hosting(found)) == (network, hosting)


def test_bundled_hosting_list_names_no_university_bank_or_telephone_company() -> None:
    text = (ROOT / "data" / "hosting.txt").read_text().lower()
    names = [line.partition("# ")[2] for line in text.splitlines() if line[0] != "#"]
    assert len(names) == len(read_hosting(str(ROOT / "data" / "hosting.txt"))) > 2000
    for word in ("universi", "college", " bank", "telecom", "telekom", "telefon", "mobile"):
        assert [name for name in names if word in name] == []
    for word in ("amazon", "hetzner", "ovh", "digitalocean", "m247", "vpn", "oracle", "tencent"):
        assert [name for name in names if word in name]


def test_bundled_databases_are_described_with_their_dates(unpacked: Path) -> None:
    readme = (ROOT / "data" / "README.md").read_text()
    described = []
    for name in ("country", "networks"):
        info = FILES[name].describe(str(unpacked / name))
        described.append(info.type)
        date = time.strftime("%Y-%m-%d", time.gmtime(info.build_epoch))
        assert f"of {date}" in readme
    assert described == ["DBIP-Country-Lite", "ip-location-db-ASN"]
    assert "[IP Geolocation by DB-IP](https://db-ip.com)" in readme
    assert f"{len(read_hosting(str(unpacked / 'hosting'))):,} autonomous systems" in readme


def test_bundled_network_database_is_small() -> None:
    assert (ROOT / "data" / NETWORKS.bundled).stat().st_size < 4_000_000
