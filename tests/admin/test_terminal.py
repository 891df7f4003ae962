"""The output on a terminal, wide or narrow, in colour or without."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from checkout import ROOT, Site, address
from terminal import ENVIRONMENT, on_terminal

from manual.commands import every_command
from pcc.admin.commands import HelpFormatter
from pcc.admin.context import Context
from pcc.admin.program import command_line, main
from pcc.config import DEFAULT_PATH

pytestmark = pytest.mark.subprocess

ACCOUNTS = ["joe@example.org", "jürgen@例え.example", f"{'x' * 90}@long.example.org", "a b'c"]
INDIA = timezone(timedelta(hours=5, minutes=30))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("terminal"), "familiar_after = 0\nmax_countries = 1\n")
    for account in ACCOUNTS:
        process = made.policy()
        for country in ("ES", "FR"):
            process.ask(account, address(country), client_name=f"host.of.{'a-' * 10}b.example")
        process.end()
    made.admin("exempt", "add", "domain", "partner.example", "--for", "9d", "--reason", "fair " * 9)
    yield made
    made.close()


def seen(site: Site, *arguments: str, columns: int = 80, **environment: str) -> str:
    command: list[str | Path] = [
        sys.executable,
        ROOT / "pcc_admin.py",
        "-c",
        site.config,
        *arguments,
    ]
    return on_terminal(command, columns, {"NO_COLOR": "1", **environment})


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def tables(text: str) -> list[str]:
    """The lines of the tables, without hints and sentences, which a terminal folds."""
    return [line for line in plain(text).splitlines() if not re.match(r"  |[A-Z].*[:.]$", line)]


def width(line: str) -> int:
    from rich.cells import cell_len

    return cell_len(line)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize(
    "command", [["list"], ["list", "--history"], ["show", ACCOUNTS[0]], ["exempt", "list"]]
)
def test_table_is_never_wider_than_the_terminal(
    site: Site, command: list[str], columns: int
) -> None:
    lines = tables(seen(site, *command, columns=columns))
    assert len(lines) > 3
    assert max(map(width, lines)) <= columns


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("command", [["list"], ["show", ACCOUNTS[0]]])
def test_times_are_local_ones_and_how_long_ago_that_is(
    site: Site, command: list[str], columns: int
) -> None:
    text = plain(seen(site, *command, columns=columns, TZ="Asia/Kolkata"))
    hours = {f"{datetime.now(INDIA) - timedelta(minutes=m):%Y-%m-%d %H:}" for m in (0, 10)}
    times = re.findall(r"(\d{4}-\d\d-\d\d \d\d:)\d\d", text)
    assert times and set(times) <= hours
    assert len(re.findall(r"\d+ (?:s|min) ago", text)) == len(times)


def test_list_that_is_narrow_has_every_account_and_why_it_is_blocked(site: Site) -> None:
    text = plain(seen(site, "list"))
    for account in ("joe@example.org", "jürgen@例え.example", "a b'c"):
        assert account in text
    assert text.count("max_countries 1 in 2d: ES,FR") == len(ACCOUNTS)


def test_colours_are_left_out_where_nobody_wants_them(site: Site) -> None:
    coloured = seen(site, "list", NO_COLOR="")
    assert "\x1b[1;31mBLOCKED" in coloured
    without = seen(site, "list")
    assert not re.search(r"\x1b\[[\d;]*3[1-7]m", without)
    aged = re.compile(r" *\d+ s ago *")
    assert aged.sub("", plain(coloured)) == aged.sub("", plain(without))


def commands(text: str) -> list[str]:
    """The command lines that are shown to be pasted."""
    return re.findall(r"^  (\S.*)$", plain(text), re.MULTILINE)


@pytest.mark.parametrize("account", ACCOUNTS)
def test_hint_works_when_it_is_pasted(site: Site, account: str) -> None:
    shown = commands(seen(site, "show", account, columns=400))
    shown = [line for line in shown if " seen " not in line]  # of the others at its addresses
    assert [line.split(" pcc.toml ")[-1].rsplit("--", 1)[-1] for line in shown][-1] == "delete"
    for line in shown:
        assert shlex.split(line)[-2:] in ([account, "--delete"], ["--exempt-for", "7d"])
    pasted = shown[0].replace(" unblock ", " show ").partition(" --release")[0]
    done = subprocess.run(
        ["sh", "-c", pasted], env=ENVIRONMENT, cwd="/", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "max_countries 1 in 2d" in done.stdout


def test_hint_has_the_short_name_where_the_shell_finds_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pcc_admin.py").symlink_to(ROOT / "pcc_admin.py")
    path = f"{tmp_path}:{ENVIRONMENT['PATH']}"
    config = shlex.quote(str(site.config))
    (shown,) = commands(seen(site, "list", columns=400, PATH=path))
    assert shown == f"pcc_admin.py -c {config} show ACCOUNT"
    (tmp_path / "pcc_admin.py").unlink()
    (tmp_path / "pcc_admin.py").write_text("#!/bin/sh\n")
    (tmp_path / "pcc_admin.py").chmod(0o755)
    (shown,) = commands(seen(site, "list", columns=400, PATH=path))
    assert shown.endswith(f"{ROOT}/pcc_admin.py -c {config} show ACCOUNT")


def test_hint_names_the_configuration_where_it_is_an_unusual_one() -> None:
    shown = Context(DEFAULT_PATH, json=False).command("show", "joe@example.org")
    assert shown.endswith("pcc_admin.py show joe@example.org")
    shown = Context("other.toml", json=False).command("unblock", "-joe", "--delete")
    assert shown.endswith(f"pcc_admin.py -c {Path.cwd()}/other.toml unblock --delete -- -joe")


def test_pipe_has_no_hints(site: Site) -> None:
    for command in (["list"], ["show", ACCOUNTS[0]]):
        assert str(ROOT) not in site.admin(*command).stdout


LONG_COMMANDS = ("replay",)
"""Whose help has a command line that is longer than 80 characters, and can't be folded."""


def helps() -> list[str]:
    return ["", *[command.name for command in every_command(command_line())]]


@pytest.mark.parametrize("name", helps(), ids=lambda name: name or "all")
def test_help_can_be_read_on_a_narrow_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*name.split(), "--help"])
    lines = capsys.readouterr().out.splitlines()
    too_long = [line for line in lines if len(line) > 80]
    assert len(too_long) == (name in LONG_COMMANDS)


def test_help_keeps_lists_and_commands_and_fills_the_rest() -> None:
    text = "One sentence that\nis filled.\n\n  a term   its text that\n" + " " * 11
    text += "goes on\n  b  c     more\n  a --command that -- stays as it is and is not folded"
    formatter = HelpFormatter("pcc_admin.py", width=24)
    assert formatter._fill_text(text, 24, "") == (
        "One sentence that is\nfilled.\n\n  a term   its text that\n           goes on\n"
        "  b  c     more\n  a --command that -- stays as it is and is not folded"
    )
