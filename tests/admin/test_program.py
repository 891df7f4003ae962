"""Things that hold for every command: output, logins, usage, exit status, the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from checkout import ROOT, Site, address
from systemlog import system_log

pytestmark = pytest.mark.subprocess

ODD_LOGINS = [
    "\x1b[2J\x1b[31mjoe@example.org",
    "joe'; drop table incident; --",
    'joe "the boss" <joe@example.org>',
    "joe with blanks",
    "jösé@例え.example",
    "\u202egro.elpmaxe@eoj",
    "a" * 500,
]


def test_program_names_doctor_where_the_database_is_none(site: Site) -> None:
    site.database.write_bytes(b"To be, or not to be\n" * 1000)
    done = site.admin("list")
    cure = "file is not a database: run pcc_admin.py doctor"
    assert (done.returncode, done.stderr) == (4, f"pcc_admin.py: {site.database}: {cure}\n")


def test_program_names_doctor_where_the_database_cannot_be_written(site: Site) -> None:
    site.database.with_name("pcc.db-wal").mkdir()
    done = site.admin("block", "joe@example.org")
    cure = "can't be written: unable to open database file: run pcc_admin.py doctor"
    assert (done.returncode, done.stderr) == (4, f"pcc_admin.py: {site.database}: {cure}\n")


def test_log_has_a_line_for_everything_done_with_the_user(site: Site) -> None:
    odd = "joe <1>\x1b[2J"
    name = f"pcc-{os.getpid()}"  # another pcc of this machine may also log
    site.configure(f'[log]\nname = "{name}"\n')

    def logged(patience: float = 0) -> list[str]:
        return [line.partition("]: ")[2] for line in log.lines(patience, f" {name}[")]

    with system_log() as log:
        for command, expected in (
            (("block", odd, "--reason", "a\nb"),
             r"blocked account=<joe \x3c1\x3e\x1b[2j> rule=<by hand> by=<root> reason=<a\nb>"),
            (("unblock", odd, "--exempt-for", "1d", "--reason", "phoned"),
             r"unblocked account=<joe \x3c1\x3e\x1b[2j> by=<root> reason=<phoned>"),
            (("exempt", "add", "domain", "example.org", "--until", "2099-01-01T00:00:00Z"),
             "exempted kind=domain value=<example.org> until=2099-01-01T00:00:00Z by=<root>"
             " reason=<>"),
            (("exempt", "add", "client", "192.0.2.0/24", "--reason", "webmail"),
             "exempted kind=client value=<192.0.2.0/24> until=- by=<root> reason=<webmail>"),
            (("exempt", "remove", "domain", "example.org"),
             "exemption_removed kind=domain value=<example.org> by=<root>"),
            (("forget", odd), r"forgotten account=<joe \x3c1\x3e\x1b[2j> by=<root>"),
        ):  # fmt: skip
            assert site.admin(*command).returncode == 0
            lines = logged(5)
            assert lines[0] == expected
            assert len(lines) == (2 if command[0] == "unblock" else 1), lines
        assert site.admin("forget", odd).returncode == 1
        assert site.admin("exempt", "remove", "domain", "example.org").returncode == 1
        assert logged() == []


@pytest.mark.parametrize("login", ODD_LOGINS, ids=range(len(ODD_LOGINS)))
def test_login_that_is_odd_is_shown_harmlessly_and_can_be_handled(site: Site, login: str) -> None:
    site.cross(login)
    (row,) = site.data("list")
    account: Any = row["account"]
    for command in (["list"], ["show", account], ["check", account, address("BR")]):
        said = site.admin(*command)
        assert (said.stdout + said.stderr).replace("\n", "").isprintable()
    assert site.admin("unblock", account).returncode == 0
    assert site.data("list") == []


def test_login_that_is_no_utf8_can_be_typed_as_the_client_typed_it(site: Site) -> None:
    login = os.fsdecode(b"j\xf6sef@example.org")
    site.cross(login)
    assert site.data("list")[0]["account"] == "j\\xf6sef@example.org"
    site.admin("exempt", "add", "account", login, "--reason", login)
    assert site.admin("exempt", "remove", "account", login).returncode == 0
    for command in (
        ["show"],
        ["unblock", "--reason", login],
        ["held"],
        ["block"],
        ["forget", "--force"],
    ):
        done = site.admin(*command, login)
        assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lst"],
        ["show"],
        ["check", "joe"],
        ["unblock"],
        ["cleanup", "--days", "-1"],
        ["unblock", "joe", "--exempt-for", "soon"],
        ["list", "--all"],
    ],
)
def test_usage_that_is_wrong_is_2_and_leaves_stdout_to_data(
    site: Site, arguments: list[str]
) -> None:
    done = site.admin(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", ""],
        ["check", " ", "192.0.2.1"],
        ["block", ""],
        ["unblock", "joe", ""],
        ["held", ""],
        ["forget", ""],
    ],
)
def test_account_that_is_empty_is_wrong_usage(site: Site, arguments: list[str]) -> None:
    done = site.admin(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pcc_admin.py: ACCOUNT must not be empty\n"


def test_output_that_can_not_be_written_is_an_error_of_one_sentence(site: Site) -> None:
    site.cross("joe")
    command = f"{sys.executable} {ROOT / 'pcc_admin.py'} -c {site.config}"
    for arguments in ("list", "--json list"):
        done = subprocess.run(
            f"{command} {arguments} >/dev/full", shell=True, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (
            4,
            "pcc_admin.py: the output can't be written: No space left on device\n",
        )


def test_stdout_that_is_closed_is_no_trouble(site: Site) -> None:
    site.cross("joe")
    command = f"{sys.executable} {ROOT / 'pcc_admin.py'} -c {site.config} list >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_escapes_what_the_locale_lacks_but_json_is_utf8(site: Site) -> None:
    site.cross("jösé")
    command = [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(site.config), "list"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    plain = subprocess.run(command, env=ascii_only, capture_output=True, text=True)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "j\\xf6s\\xe9" in plain.stdout
    data = subprocess.run([*command, "--json"], env=ascii_only, capture_output=True)
    assert json.loads(data.stdout.decode())[0]["account"] == "jösé"


def test_options_stand_before_or_after_the_command(site: Site) -> None:
    assert site.admin("--json", "list").stdout == site.admin("list", "--json").stdout == "[]\n"


def test_version_is_printed(site: Site) -> None:
    assert site.admin("--version").stdout.startswith("pcc 1.")
