"""`list --watch` on a terminal: what it shows, and that it leaves the terminal as it was."""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from checkout import ROOT, Site, address
from terminal import Terminal

pytestmark = pytest.mark.subprocess

OTHER_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
SHOWN_CURSOR = "\x1b[?25h"


def listing(site: Site) -> list[str]:
    return [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(site.config), "list"]


@pytest.fixture
def watch(site: Site) -> Iterator[Callable[..., Terminal]]:
    """Begin to watch the site on a terminal."""
    terminals: list[Terminal] = []

    def begin(*options: str, columns: int = 100, lines: int = 30) -> Terminal:
        terminals.append(Terminal([*listing(site), "--watch", *options], columns, lines))
        return terminals[-1]

    yield begin
    for terminal in terminals:
        terminal.close()


def is_restored(terminal: Terminal) -> bool:
    is_back = terminal.written.rindex(FIRST_SCREEN) > terminal.written.rindex(OTHER_SCREEN)
    has_cursor = terminal.written.rindex(SHOWN_CURSOR) > terminal.written.rindex("\x1b[?25l")
    return is_back and has_cursor and terminal.attributes == terminal.before


def test_watch_shows_blocks_tries_and_what_was_decided_as_they_come(
    site: Site, watch: Callable[..., Terminal]
) -> None:
    site.cross("joe@example.org")
    terminal = watch()
    assert OTHER_SCREEN in terminal.wait_for("q or Ctrl-C ends")
    assert "1 account is blocked" in terminal.written
    assert terminal.attributes != terminal.before
    process = site.policy()
    process.ask("joe@example.org", address("VN"))
    process.end()
    assert address("VN") in terminal.wait_for(address("VN"))
    site.cross("ann\x1b[2J@example.org")
    assert "ann\x1b[2J" not in terminal.wait_for("2 accounts are blocked")
    site.admin("unblock", "joe@example.org", "--reason", "new password")
    seen = terminal.wait_for("new password") + terminal.wait_for("q or Ctrl-C ends")
    assert "1 account is blocked" in seen
    terminal.type("q")
    assert terminal.end() == 0
    assert is_restored(terminal)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (lambda terminal: terminal.type("Q"), 0),
        (lambda terminal: terminal.type("\x03"), 0),
        (lambda terminal: terminal.process.send_signal(signal.SIGINT), 0),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 143),
        (lambda terminal: terminal.process.send_signal(signal.SIGHUP), 129),
    ],
    ids=["Q", "Ctrl-C", "SIGINT", "SIGTERM", "SIGHUP"],
)
def test_watch_restores_the_terminal_however_it_ends(
    watch: Callable[..., Terminal], how: Callable[[Terminal], None], status: int
) -> None:
    terminal = watch()
    terminal.wait_for("0 accounts are blocked")
    terminal.wait_for("q or Ctrl-C ends")  # the second look
    how(terminal)
    assert terminal.end() == status
    assert is_restored(terminal)
    assert "Traceback" not in terminal.written


def test_watch_goes_on_at_other_keys_and_waits_for_no_look(
    site: Site, watch: Callable[..., Terminal]
) -> None:
    terminal = watch()
    terminal.wait_for("q or Ctrl-C ends")
    terminal.type("\x1b[A")  # an arrow
    terminal.type("\x1a")  # Ctrl-Z
    terminal.wait_for("q or Ctrl-C ends")
    assert terminal.process.poll() is None
    terminal.type("q")
    assert terminal.end() == 0


def test_watch_never_keeps_the_log_of_writes_from_being_reset(
    site: Site, watch: Callable[..., Terminal]
) -> None:
    site.cross("joe@example.org")
    terminal = watch()
    for _ in range(3):
        terminal.wait_for("q or Ctrl-C ends")
        with closing(sqlite3.connect(site.database)) as connection:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy


def test_watch_reports_a_database_that_is_away_and_goes_on(
    site: Site, watch: Callable[..., Terminal]
) -> None:
    site.cross("joe@example.org")
    terminal = watch()
    terminal.wait_for("1 account is blocked")
    away = site.database.rename(site.folder / "away.db")
    terminal.wait_for("The database can't be read")
    away.rename(site.database)
    terminal.wait_for("1 account is blocked")
    terminal.type("q")
    assert terminal.end() == 0


def test_watch_without_a_database_fails_as_list_does(
    site: Site, watch: Callable[..., Terminal]
) -> None:
    site.database.unlink()
    terminal = watch()
    assert terminal.end() == 4
    assert OTHER_SCREEN not in terminal.written


def test_watch_that_is_narrow_has_who_and_when(site: Site, watch: Callable[..., Terminal]) -> None:
    for number in range(30):
        site.admin("block", f"a-long-name-{number}@some.example.org")
    terminal = watch(columns=48, lines=20)
    text = terminal.wait_for("q or Ctrl-C ends")
    assert "30 accounts are blocked" in text
    assert "LAST TRY" in text
    assert "RULE" not in text
    assert text.count("\n") <= 20


def test_watch_of_observed_accounts_shows_these(make: Callable[..., Site]) -> None:
    site = make('mode = "observe"\nfamiliar_after = 0\nmax_countries = 1\n')
    site.cross("joe@example.org")
    terminal = Terminal([*listing(site), "--observed", "--watch"])
    try:
        assert "OBSERVED" in terminal.wait_for("1 account is observed") + terminal.wait_for("ends")
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "pcc_admin.py: --watch needs a terminal: leave it out in a pipe, and with --json\n"),
        (["--history"], "not allowed with argument"),
    ],
)
def test_watch_in_a_pipe_is_a_usage_error(site: Site, options: list[str], told: str) -> None:
    done = site.admin("list", "--watch", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(told) or told in done.stderr


def test_watch_has_no_json(site: Site, watch: Callable[..., Terminal]) -> None:
    terminal = watch("--json")
    assert terminal.end() == 2
    assert "--watch needs a terminal" in terminal.written


def test_watch_without_keys_ends_by_a_signal(site: Site) -> None:
    command = f"exec {sys.executable} {ROOT}/pcc_admin.py -c {site.config} list --watch"
    terminal = Terminal(["sh", "-c", f"{command} </dev/null"])
    try:
        terminal.wait_for("q or Ctrl-C ends")
        terminal.type("\x03")
        assert terminal.end() == 0
        assert FIRST_SCREEN in terminal.written
    finally:
        terminal.close()
