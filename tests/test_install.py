"""`make install` and `make uninstall` below a DESTDIR."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from checkout import ROOT

pytestmark = pytest.mark.subprocess


def make(*arguments: str) -> str:
    """Run make in the checkout; return what it said."""
    done = subprocess.run(
        ["make", "-s", "-C", str(ROOT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pcc is installed below."""
    folder = tmp_path_factory.mktemp("destination")
    make("install", f"DESTDIR={folder}")
    return folder


def test_program_command_configuration_and_manuals_are_there(root: Path) -> None:
    program = root / "usr/local/lib/pcc"
    done = subprocess.run(
        [program / ".venv/bin/python", "-I", program / "pcc_admin.py", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("pcc ")
    assert (root / "usr/local/sbin/pcc_admin.py").readlink() == Path(
        "/usr/local/lib/pcc/pcc_admin.py"
    )
    for path in (
        "etc/pcc/pcc.toml",
        "etc/cron.d/pcc",
        "usr/local/share/man/man8/pcc_admin.8",
        "usr/local/share/man/man5/pcc.toml.5",
        "usr/local/share/bash-completion/completions/pcc_admin.py",
        "usr/local/lib/pcc/schema.sql",
        "usr/local/lib/pcc/data/dbip-country-lite.mmdb.xz",
    ):
        assert (root / path).is_file(), path
    assert (root / "var/lib/pcc").stat().st_mode & 0o777 == 0o750
    assert list((program / "pcc").rglob("service.*.pyc"))


def test_installing_again_keeps_a_changed_configuration_and_shows_the_difference(
    root: Path,
) -> None:
    config = root / "etc/pcc/pcc.toml"
    mine = config.read_text().replace("max_countries = 3 ", "max_countries = 4 ")
    config.write_text(mine)
    said = make("install", f"DESTDIR={root}")
    assert config.read_text() == mine
    assert "-max_countries = 4 " in said
    assert "+max_countries = 3 " in said
    assert "max_countries = 3 " in (root / "etc/pcc/pcc.toml.new").read_text()


def test_uninstalling_leaves_configuration_and_state_unless_purged(root: Path) -> None:
    make("uninstall", f"DESTDIR={root}")
    assert not (root / "usr/local/lib/pcc").exists()
    assert (root / "etc/pcc/pcc.toml").exists()
    make("uninstall", f"DESTDIR={root}", "PURGE=1")
    left = [path for path in root.rglob("*") if not path.is_dir()]
    assert left == []
