"""The rights on files, and that the service user can't lead root's commands astray."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT, address, is_refusal

from faults import world
from faults.world import THIEF, World

SOURCES = sorted([*ROOT.glob("pcc/**/*.py"), ROOT / "pcc_policy.py", ROOT / "pcc_admin.py"])
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "system",
    "popen",
    "mktemp",
    "getoutput",
    "getstatusoutput",
    "load_extension",
    "enable_load_extension",
}
FORBIDDEN_MODULES = {"pickle", "shelve", "dbm", "yaml", "pty"}

needs_world = pytest.mark.skipif(bool(world.missing()), reason=world.missing() or "-")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(ROOT)))
def test_source_has_no_shell_no_eval_and_deserialises_nothing(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            owner = getattr(getattr(node.func, "value", None), "id", "")
            assert name not in FORBIDDEN_CALLS or owner == "re", (source, node.lineno, name)
            assert not [word for word in node.keywords if word.arg == "shell"], node.lineno
            if name == "loads" and owner == "marshal":  # only what root or the owner wrote
                assert source.name == "prepared.py"
        modules = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        assert not FORBIDDEN_MODULES & {module.partition(".")[0] for module in modules}, source


@pytest.fixture
def site() -> Iterator[World]:
    if world.missing():
        pytest.skip(world.missing())
    with World("# of its own") as made:
        yield made


def modes(folder: Path) -> dict[str, str]:
    """The files of a folder with too many rights, and these rights."""
    return {
        file.name: oct(file.stat().st_mode & 0o777)
        for file in folder.rglob("*")
        if file.is_file() and file.stat().st_mode & 0o137
    }


@pytest.mark.subprocess
def test_state_is_for_the_service_user_and_its_group_alone(site: World) -> None:
    running = site.policy()
    assert is_refusal(running.ask(THIEF, address("ES")))
    running.ask("somebody@example.org", address("FR"))
    names = {file.name for file in site.state.iterdir()}
    assert {"pcc.db", "pcc.db-wal", "pcc.db-shm", "pcc.db.lock"} <= names
    assert modes(site.state) == {}
    for arguments in (["block", "ann"], ["unblock", THIEF], ["cleanup"], ["exempt", "list"]):
        site.admin(*arguments)
    assert modes(site.state) == {}
    assert running.end() == 0
    owners = {file.owner() for file in site.state.iterdir()}
    assert owners == {site.user}


@pytest.mark.subprocess
def test_prepared_form_is_read_by_those_who_may_read_the_configuration(site: World) -> None:
    site.config.chmod(0o640)
    shutil.chown(site.config, "root", site.user)
    assert site.admin("init").returncode == 0
    (prepared,) = site.folder.glob("pcc.toml.*")
    assert (prepared.owner(), oct(prepared.stat().st_mode & 0o777)) == ("root", "0o640")
    assert site.block_holds()


@pytest.mark.subprocess
@pytest.mark.parametrize("link", ["symbolic", "hard"])
@pytest.mark.parametrize(
    "name",
    [
        *("pcc.db.lock", "pcc.db.notify", "pcc.db.tally"),
        *("pcc.db-wal", "pcc.db-shm", "pcc.db.version1"),
    ],
)
def test_link_in_the_state_folder_gives_away_nothing_of_roots(
    site: World, name: str, link: str
) -> None:
    secret = site.folder / "secret"
    secret.write_text("root:secret\n")
    secret.chmod(0o600)
    planted = site.state / name
    planted.unlink(missing_ok=True)
    try:
        planted.symlink_to(secret) if link == "symbolic" else planted.hardlink_to(secret)
    except OSError:
        pytest.skip("another file system")
    if link == "symbolic":
        os.chown(planted, *[site.state.stat().st_uid] * 2, follow_symlinks=False)
    for arguments in (["init"], ["unblock", THIEF], ["block", "ann"], ["cleanup"], ["stats"]):
        site.admin(*arguments)
    site.admin("notify", "--due")
    assert secret.read_text() == "root:secret\n"
    assert (secret.owner(), oct(secret.stat().st_mode & 0o777)) == ("root", "0o600")


@pytest.mark.subprocess
def test_database_that_links_elsewhere_gives_away_nothing_of_roots(site: World) -> None:
    secret = site.folder / "secret"
    secret.write_text("root:secret\n")
    secret.chmod(0o600)
    site.database.unlink()
    site.database.symlink_to(secret)
    for arguments in (["init"], ["unblock", THIEF], ["list"]):
        done = site.admin(*arguments)
        assert done.returncode == 4
        assert "secret\n" not in done.stdout + done.stderr
    assert (secret.owner(), oct(secret.stat().st_mode & 0o777)) == ("root", "0o600")


@pytest.mark.subprocess
def test_other_user_can_read_nothing(site: World) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", site.database],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == b""
