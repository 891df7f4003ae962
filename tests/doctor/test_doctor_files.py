"""`doctor` on files that are broken, missing or no files, and on the file system they are on."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from deployment import run_as
from patient import POLICY, Patient, chmod, chown, commands, follow
from postfix import missing


def written(content: bytes) -> Callable[[Path], object]:
    return lambda database: database.write_bytes(content)


def truncated(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def scribbled(database: Path) -> None:
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 30000)


def like_the_folder(path: Path) -> None:
    shutil.chown(path, path.parent.owner(), path.parent.group())
    path.chmod(0o640)


def of_another_program(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE cookies (name)")
    like_the_folder(database)


def as_fifo(database: Path) -> None:
    database.unlink()
    os.mkfifo(database)


def as_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


def gone_without_its_log(database: Path) -> None:
    database.unlink()
    log = database.with_name("pcc.db-wal")
    log.write_bytes(b"what was not checkpointed")
    like_the_folder(log)


GARBAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no database": (written(b"To be, or not to be\n" * 1000), "is not an SQLite database"),
    "empty": (written(b""), "is empty"),
    "truncated": (truncated, "is damaged"),
    "scribbled over": (scribbled, "is damaged"),
    "of another program": (of_another_program, "another program's"),
    "a FIFO": (as_fifo, "a FIFO"),
    "a folder": (as_folder, "a folder"),
    "missing, its log is there": (gone_without_its_log, "side files are there"),
}


@pytest.fixture
def kept(patient: Patient) -> Iterator[Patient]:
    """The installation, whose state folder is put right afterwards."""
    copy = patient.pcc.folder / "copy"
    run_as(["cp", "-a", patient.pcc.state, copy])
    yield patient
    shutil.rmtree(patient.pcc.state)
    copy.rename(patient.pcc.state)


@pytest.mark.postfix
@pytest.mark.parametrize("name", GARBAGE)
def test_database_that_is_none_is_put_aside(kept: Patient, name: str) -> None:
    spoil, problem = GARBAGE[name]
    spoil(kept.database)
    turned = kept.turned()
    assert list(turned) == ["database"], turned
    result, fix = turned["database"]
    assert result == "FAIL" and problem in fix
    assert len(commands(fix)) == 2
    files = {path.name for path in kept.pcc.state.glob("pcc.db*")}
    follow(kept, fix)
    assert {path.name for path in (kept.pcc.state / "old").iterdir()} == files
    assert kept.turned() == {}


@pytest.mark.postfix
@pytest.mark.parametrize(("version", "advice"), [(0, "run `{init}`"), (99, "use the newer pcc")])
def test_database_of_another_version_is_not_thrown_away(
    kept: Patient, version: int, advice: str
) -> None:
    kept.sql(f"PRAGMA user_version = {version}")
    turned = kept.turned()
    assert list(turned) == ["database"]
    assert turned["database"][1].startswith(advice.format(init=kept.init))


@pytest.mark.postfix
def test_log_left_by_a_crash_is_put_in_order(kept: Patient) -> None:
    log, index = (kept.database.with_name(f"pcc.db-{side}") for side in ("wal", "shm"))
    with closing(sqlite3.connect(kept.database)) as connection:
        connection.execute(
            "INSERT INTO event (id, at, account, what, who, detail) VALUES (1, 1, '', '', '', '')"
        )
        connection.commit()
        run_as(["cp", "-a", log, kept.pcc.folder / "log"])
    run_as(["mv", kept.pcc.folder / "log", log])
    assert not index.exists()
    turned = kept.turned()
    assert list(turned) == ["database"]
    assert turned["database"][0] == "WARN"
    follow(kept, turned["database"][1])
    assert kept.turned() == {}
    with closing(sqlite3.connect(kept.database)) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)


@pytest.mark.postfix
def test_country_database_that_is_missing_has_one_remedy(kept: Patient) -> None:
    kept.countries.unlink()
    turned = kept.turned()
    assert list(turned) == ["country database"]
    assert turned["country database"] == (
        "FAIL",
        f"run `{kept.init}`, which puts the bundled one there: there is no {kept.countries}",
    )
    follow(kept, turned["country database"][1])
    assert kept.findings()["country database"][0] != "FAIL"


@pytest.mark.postfix
@pytest.mark.parametrize("side_file", ["pcc.db-wal", "pcc.db-shm", "pcc.db.lock"])
def test_side_files_of_the_wrong_owner_or_mode_are_found(kept: Patient, side_file: str) -> None:
    path = kept.pcc.state / side_file
    with closing(sqlite3.connect(kept.database)) as connection:
        connection.execute(
            "INSERT INTO event (id, at, account, what, who, detail) VALUES (1, 1, '', '', '', '')"
        )
        connection.commit()
        kept.database.with_name("pcc.db.lock").touch()
        chown("pcc.db.lock", "service")(kept)
        chmod("pcc.db.lock", 0o640)(kept)
        assert kept.turned() == {}
        for owner, mode, command in (
            ("root", 0o440, "chown"),
            ("root", 0o666, "chown"),
            ("service", 0o200, "chmod 0640"),
        ):
            chown(side_file, owner)(kept)
            chmod(side_file, mode)(kept)
            turned = kept.turned()
            assert turned["database rights"][0] == "FAIL", (owner, oct(mode))
            assert turned["database rights"][1].startswith(f"`{command} ")
            assert set(turned) <= {"database rights", "state folder"}, turned
            for found in turned.values():
                follow(kept, found[1])
            assert path.owner() == kept.pcc.user
        chmod(side_file, 0o640)(kept)
        assert kept.turned() == {}


@pytest.mark.postfix
def test_link_is_never_followed_by_root(kept: Patient) -> None:
    target = kept.pcc.folder / "target"
    target.touch(0o644)
    links = [kept.pcc.state / name for name in ("pcc.db-wal", "pcc.db.lock", "pcc.db.notify")]
    for link in links:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    turned = kept.turned()
    assert list(turned) == ["database rights"]
    follow(kept, turned["database rights"][1])
    assert not any(link.is_symlink() for link in links)
    assert kept.turned() == {}
    assert (target.owner(), target.stat().st_mode & 0o777) == ("root", 0o644)
    kept.database.rename(kept.pcc.folder / "elsewhere.db")
    kept.database.symlink_to(kept.pcc.folder / "elsewhere.db")
    turned = kept.turned()
    assert list(turned) == ["database rights"]
    assert turned["database rights"][1].startswith(f"name {kept.pcc.folder / 'elsewhere.db'} as")


@pytest.mark.postfix
def test_state_folder_out_of_reach_is_one_fault(kept: Patient) -> None:
    chmod(".", 0)(kept)
    turned = kept.differing(kept.findings())
    assert list(turned) == ["state folder"]
    follow(kept, turned["state folder"][1])
    assert kept.turned() == {}


@pytest.mark.postfix
@pytest.mark.parametrize("content", [b"", b"no country database" * 100])
def test_country_database_that_is_none_is_replaced(kept: Patient, content: bytes) -> None:
    kept.countries.write_bytes(content)
    turned = kept.turned()
    assert list(turned) == ["country database"]
    assert turned["country database"][0] == "FAIL"
    follow(kept, turned["country database"][1])
    assert kept.findings()["country database"][0] != "FAIL"


@pytest.mark.postfix
@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("pcc.db", "database"),
        ("pcc.db-wal", "database rights"),
        ("pcc.db-shm", "database rights"),
        ("pcc.db.lock", "database rights"),
        ("country.mmdb", "country database"),
    ],
)
def test_fifo_in_place_of_a_file_is_found_at_once(kept: Patient, name: str, check: str) -> None:
    path = kept.pcc.state / name
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o640)
    shutil.chown(path, kept.pcc.user, kept.pcc.user)
    begun = time.monotonic()
    turned = kept.turned()
    assert time.monotonic() - begun < 10
    assert list(turned) == [check]
    assert turned[check][0] == "FAIL"
    assert "a FIFO" in turned[check][1]
    follow(kept, turned[check][1])
    assert kept.findings()[check][0] != "FAIL"


@pytest.mark.postfix
def test_fifo_in_place_of_a_configuration_is_found_at_once(patient: Patient) -> None:
    patient.pcc.config.unlink()
    os.mkfifo(patient.pcc.config)
    try:
        findings = patient.findings()
        assert list(findings) == ["configuration"]
        assert "a FIFO" in findings["configuration"][1]
    finally:
        patient.pcc.config.unlink()
        patient.configure(POLICY)


def mount(patient: Patient, options: str) -> None:
    """Mount a file system for the state folder, with what is in that."""
    state = patient.pcc.state
    if run_as(["mount", "-t", "tmpfs", "-o", f"mode=0750,{options}", "pcc", state]).returncode:
        pytest.skip("mount(8) is not allowed here")
    assert run_as(["cp", "-a", f"{patient.pcc.folder / 'copy'}/.", state]).returncode == 0


@pytest.fixture
def mounted(kept: Patient) -> Iterator[Patient]:
    """The installation, from whose state folder what was mounted there is unmounted afterwards."""
    yield kept
    run_as(["umount", "--lazy", kept.pcc.state])


@pytest.mark.subprocess
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_database_protected_by_attributes_alone_is_found(kept: Patient) -> None:
    if run_as(["chattr", "+i", kept.database]).returncode:
        pytest.skip("chattr(1) is not allowed here")
    try:
        turned = kept.turned()
    finally:
        run_as(["chattr", "-i", kept.database])
    assert list(turned) == ["database rights"]
    assert turned["database rights"][1].startswith(f"look at `lsattr {kept.database}`")


@pytest.mark.subprocess
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_file_system_that_is_read_only_is_called_so(mounted: Patient) -> None:
    state = mounted.pcc.state
    mount(mounted, "size=100m")
    assert run_as(["mount", "-o", "remount,ro", state]).returncode == 0
    turned = mounted.turned()
    assert list(turned) == ["file system"]
    assert turned["file system"][0] == "FAIL"
    fix = turned["file system"][1]
    assert fix.startswith(f"`mount -o remount,rw {state}`")
    assert mounted.findings(user=mounted.pcc.user)["file system"] == turned["file system"]
    follow(mounted, fix)
    assert mounted.turned() == {}


@pytest.mark.subprocess
@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.parametrize(
    ("options", "filling", "result", "words"),
    [
        ("size=20m", 19_900_000, "FAIL", "the disk is full"),
        ("size=20m", 0, "WARN", "only "),
        ("size=100m,nr_inodes=20", 1, "FAIL", "no inode left"),
    ],
)
def test_file_system_that_is_full_is_called_so(
    mounted: Patient, options: str, filling: int, result: str, words: str
) -> None:
    state = mounted.pcc.state
    mount(mounted, options)
    for number in range(20 if "nr_inodes" in options else 1):
        with contextlib.suppress(OSError):
            (state / f"filling{number}").write_bytes(bytes(filling))
    turned = mounted.turned()
    found = turned.pop("file system", ("OK", ""))
    assert turned == {}
    assert found[0] == result
    assert words in found[1]
