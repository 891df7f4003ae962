"""`make install` and `make uninstall` below a DESTDIR."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import ROOT, Site
from deployment import public_folder

pytestmark = pytest.mark.subprocess


def try_make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make in the checkout."""
    return subprocess.run(
        ["make", "-s", "-C", str(ROOT), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def make(*arguments: str) -> str:
    """Run make in the checkout; return its output."""
    done = try_make(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a script wrote to stderr before make's own."""
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    return line


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pcc is installed below."""
    folder = tmp_path_factory.mktemp("destination")
    make("install", f"DESTDIR={folder}")
    return folder


def test_installation_has_program_command_configuration_and_manuals(root: Path) -> None:
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
        "usr/local/lib/pcc/data/hosting.txt",
        "usr/local/lib/pcc/data/networks.mmdb.xz",
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


def test_install_without_a_network_names_two_other_ways(tmp_path: Path) -> None:
    done = try_make("install", f"DESTDIR={tmp_path}", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    said = complaint(done)
    assert said.startswith("install: pip can't fetch what pcc needs (No matching distribution")
    assert "`make install PACKAGES=system`" in said and "python3-geoip2" in said
    assert said.endswith("or install the Debian package that `make deb` builds")


def test_install_with_an_old_python_says_so(tmp_path: Path) -> None:
    of_pyenv = sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))
    old = str(of_pyenv[0]) if of_pyenv else shutil.which("python3.9")
    # A version manager's shim may be there without the version.
    if not old or subprocess.run([old, "--version"], capture_output=True).returncode:
        pytest.skip("there is no Python 3.9")
    said = complaint(try_make("install", f"DESTDIR={tmp_path}", f"PYTHON={old}"))
    assert said.startswith(f"install: pcc needs Python 3.10 or later, and {old} is Python 3.")
    assert said.endswith(": name another by PYTHON=")
    assert list(tmp_path.iterdir()) == []


def test_install_without_its_python_says_so(tmp_path: Path) -> None:
    said = complaint(try_make("install", f"DESTDIR={tmp_path}", "PYTHON=/nowhere/python3"))
    assert said == "install: there is no /nowhere/python3: name another interpreter by PYTHON="


CHECK = "check_policy_service { unix:private/pcc, timeout=10s, default_action=DUNNO }"
STRICT_CHECK = (
    "check_policy_service { unix:private/pcc, timeout=10s, { default_action = 451 Try later } }"
)


def postfix_script(
    folder: Path, main: str, master: str = ""
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Return what runs the script that adds pcc to a Postfix of its own, and removes it."""
    script = folder / "postfix-script"
    text = (ROOT / "packaging/postfix").read_text()
    for word, value in (("USER", "pcc"), ("PYTHON", "/usr/bin/python3"), ("PROGRAM", "/opt/pcc")):
        text = text.replace(f"@{word}@", value)
    script.write_text(text)
    (folder / "main.cf").write_text(f"compatibility_level = 3.6\n{main}\n")
    (folder / "master.cf").write_text(f"submission inet n - y - - smtpd\n{master}")
    environment = {**os.environ, "MAIL_CONFIG": str(folder)}
    return lambda word: subprocess.run(
        ["sh", str(script), word], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not shutil.which("postconf"), reason="there is no postconf")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (CHECK, ""),
        (f"{CHECK}, reject_unauth_pipelining", "reject_unauth_pipelining"),
        (f"permit_mynetworks, {CHECK}", "permit_mynetworks"),
        (f"check_a inline:{{x=y's}}, {CHECK}, permit", "check_a inline:{x=y's}, permit"),
        (f"reject_a, {STRICT_CHECK} permit", "reject_a, permit"),
        (f"{STRICT_CHECK}, {CHECK}", ""),
        ("check_policy_service unix:private/pcc", ""),
        (f"warn_if_reject {CHECK} permit", "permit"),
        (f"reject_a, warn_if_reject {CHECK}", "reject_a"),
        (
            f"check_policy_service unix:private/pccx, {CHECK}",
            "check_policy_service unix:private/pccx",
        ),
    ],
)
def test_postfix_is_left_without_taking_other_checks_along(
    tmp_path: Path, before: str, after: str
) -> None:
    postfix = postfix_script(tmp_path, f"mua_data_restrictions = {before}")
    postfix("add")
    printed = postfix("remove-lines").stdout.splitlines()
    assert printed[-1] == "  postfix reload"
    for line in printed[:-1]:
        subprocess.run(
            ["sh", "-c", line], env={**os.environ, "MAIL_CONFIG": str(tmp_path)}, check=True
        )
    main = (tmp_path / "main.cf").read_text()
    left = [line for line in main.splitlines() if line.startswith("mua_data_restrictions")]
    assert left == ([f"mua_data_restrictions = {after}"] if after else [])
    assert "private/pcc " not in main + (tmp_path / "master.cf").read_text()


@pytest.mark.skipif(not shutil.which("postconf"), reason="there is no postconf")
@pytest.mark.parametrize(
    ("main", "master", "place"),
    [
        ("", f"  -o {{smtpd_data_restrictions={STRICT_CHECK}}}\n", "submission/inet/smtpd_data"),
        ("mua_data_restrictions = CHECK_POLICY_SERVICE unix:private/pcc", "", "mua_data"),
        (f"smtpd_end_of_data_restrictions = {CHECK}", "", "smtpd_end_of_data"),
    ],
)
def test_postfix_keeps_what_a_check_elsewhere_asks(
    tmp_path: Path, main: str, master: str, place: str
) -> None:
    postfix = postfix_script(tmp_path, main, master)
    postfix("add")
    before = (tmp_path / "main.cf").read_text(), (tmp_path / "master.cf").read_text()
    for word in ("remove", "remove-lines"):
        done = postfix(word)
        assert done.returncode == 1
        assert f"private/pcc out of {place}_restrictions first" in done.stderr
    assert ((tmp_path / "main.cf").read_text(), (tmp_path / "master.cf").read_text()) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_purge_prints_the_mail_on_hold_before_it_removes_what_knows_of_it(tmp_path: Path) -> None:
    site = Site(tmp_path, 'familiar_after = 0\nmax_countries = 1\naction = "HOLD"')
    site.cross("joe@example.org")
    site.ask("joe@example.org", "11.1.0.1", queue_id="4F2ABCDEF")
    site.close()
    user = f"pcc-{uuid.uuid4().hex[:8]}"
    folder = public_folder("uninstall")
    settings = (
        f"PREFIX={folder}/usr", f"SYSCONFDIR={folder}/etc", f"STATEDIR={folder}/state",
        f"SERVICEUSER={user}", "TIMER=cron",
    )  # fmt: skip
    try:
        make("install", *settings)
        shutil.copyfile(site.database, folder / "state/pcc.db")
        said = make("uninstall", "PURGE=1", *settings)
    finally:
        left = subprocess.run(["userdel", user], capture_output=True, check=False)
    assert "Mail on hold in Postfix's queue, of accounts that pcc blocked:\n" in said
    assert "joe@example.org" in said and "4F2ABCDEF" in said
    assert "postsuper -H QUEUE_ID" in said
    assert not (folder / "state").exists()
    assert left.returncode == 6  # the user was there no more
