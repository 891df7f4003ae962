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
    first = (program / "pcc_admin.py").read_text().partition("\n")[0]
    assert first == "#!/usr/local/lib/pcc/.venv/bin/python -I"  # whatever PATH says
    assert (root / "usr/local/sbin/pcc_admin.py").readlink() == Path(
        "/usr/local/lib/pcc/pcc_admin.py"
    )
    for path in (
        "etc/pcc/pcc.toml",
        "etc/cron.d/pcc",
        "usr/local/share/man/man8/pcc_admin.8",
        "usr/local/share/man/man8/pcc_admin.py.8",
        "usr/local/share/man/man5/pcc.toml.5",
        "usr/local/share/bash-completion/completions/pcc_admin.py",
        "usr/local/lib/pcc/schema.sql",
        "usr/local/lib/pcc/data/dbip-country-lite.mmdb.xz",
    ):
        assert (root / path).is_file(), path
    assert (root / "var/lib/pcc").stat().st_mode & 0o777 == 0o750
    assert list((program / "pcc").rglob("service.*.pyc"))


def test_report_finds_its_page_in_an_installation(root: Path, tmp_path: Path) -> None:
    program = root / "usr/local/lib/pcc"
    config = tmp_path / "pcc.toml"
    config.write_text('[country]\ndatabase = "country.mmdb"\n[store]\ndatabase = "pcc.db"\n')
    for command in (["init"], ["report", "--html", tmp_path / "page.html"]):
        subprocess.run(
            [program / ".venv/bin/python", "-I", program / "pcc_admin.py", "-c", config, *command],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    assert "<style>" in (tmp_path / "page.html").read_text()


MINE = """
[store]
database = "postgresql://pcc:it's3cret%40@db.example.org/pcc?sslmode=require&password=it's3cret"
"""


@pytest.fixture(scope="module")
def said(root: Path) -> str:
    """The messages of a second installation after changes, under another Python of the system's.

    `MINE` is in the configuration then, and a driver in the virtual environment.
    """
    config = root / "etc/pcc/pcc.toml"
    text = config.read_text().replace("max_countries = 5 ", "max_countries = 4 ")
    config.write_text(text + MINE)
    python = root / "usr/local/lib/pcc/.venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "PyMySQL"], check=True)
    python.unlink()
    python.symlink_to("/nowhere/python3.10")
    return make("install", f"DESTDIR={root}")


def test_install_keeps_a_changed_configuration_and_shows_the_difference(
    root: Path, said: str
) -> None:
    assert (root / "etc/pcc/pcc.toml").read_text().endswith(MINE)
    assert "-max_countries = 4 " in said
    assert "+max_countries = 5 " in said
    assert "max_countries = 5 " in (root / "etc/pcc/pcc.toml.new").read_text()


def test_difference_has_no_password(said: str) -> None:
    assert "s3cret" not in said
    shown = "postgresql://pcc:***@db.example.org/pcc?sslmode=require&password=***"
    assert f'-database = "{shown}\n' in said


def test_virtual_environment_that_is_made_again_has_its_drivers(root: Path, said: str) -> None:
    program = root / "usr/local/lib/pcc"
    subprocess.run([program / ".venv/bin/python", "-c", "import pymysql, geoip2"], check=True)
    assert not list(program.glob("lost*"))


def test_prefix_and_service_user_are_in_every_file_that_names_them(
    tmp_path: Path,
) -> None:
    make(
        "install",
        f"DESTDIR={tmp_path}",
        "PREFIX=/opt",
        "SYSCONFDIR=/opt/etc",
        "STATEDIR=/srv/pcc",
        "SERVICEUSER=mailcheck",
        "PACKAGES=system",
        "PYTHON=/usr/bin/python3",
        "TIMER=both",
    )
    program = tmp_path / "opt/lib/pcc"
    assert not (program / ".venv").exists()
    command = "/opt/lib/pcc/pcc_admin.py --config /opt/etc/pcc/pcc.toml"
    expected = {
        "opt/etc/cron.d/pcc": "[ ! -x /opt/lib/pcc/pcc_admin.py ] ||"
        f" {{ {command} notify; {command} cleanup; }}",
        "opt/lib/systemd/system/pcc.service": f"ExecStart=-{command} notify\n"
        f"ExecStart={command} cleanup\n",
        "opt/etc/pcc/pcc.toml": 'database = "/srv/pcc/pcc.db"',
        "opt/lib/pcc/pcc_admin.py": "#!/usr/bin/python3 -I",
        "opt/lib/pcc/postfix": "spawn user=mailcheck argv=/usr/bin/python3 -I -S"
        " /opt/lib/pcc/pcc_policy.py --config /opt/etc/pcc/pcc.toml",
        "opt/lib/pcc/master.cf.snippet": "user=mailcheck argv=/usr/bin/python3 -I -S",
    }
    for path, text in expected.items():
        assert text in (tmp_path / path).read_text(), path
    assert "User=mailcheck" in (tmp_path / "opt/lib/systemd/system/pcc.service").read_text()
    said = subprocess.check_output([program / "postfix", "lines"], text=True)
    assert "user=mailcheck" in said
    for file in (tmp_path / "opt").rglob("*"):
        if file.is_file() and file.suffix != ".xz" and "share" not in file.parts:
            assert "/usr/local/lib" not in file.read_text(), file


def test_uninstall_leaves_configuration_and_state_unless_purged(root: Path) -> None:
    make("uninstall", f"DESTDIR={root}")
    assert not (root / "usr/local/lib/pcc").exists()
    assert (root / "etc/pcc/pcc.toml").exists()
    make("uninstall", f"DESTDIR={root}", "PURGE=1")
    left = [path for path in root.rglob("*") if not path.is_dir()]
    assert left == []
