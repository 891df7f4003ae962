"""Completion in a real bash and a real zsh, on a terminal, with logins that strangers chose.

Nothing of a login may ever be run: each tries to make a file called `canary`, by every way that a
shell has.  So what a shell would not take for one plain word is not offered at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shlex
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT, Site

pytestmark = pytest.mark.subprocess

BASH = ROOT / "completions" / "pcc_admin.bash"
ZSH = ROOT / "completions" / "_pcc_admin"

HOSTILE = (
    "$(touch canary)`touch canary`@example.org",
    "x;touch canary;x&touch canary|touch canary>canary",
    "<(touch canary)",
    "$'\\x60touch canary\\x60'",
    "two\ntouch canary\n@example.org",
    "two\\ntouch canary",
    "o'hara' 'and \"sons\"@example.org",
    "blank and\ttab \\back\\\\slash\\",
    "~root@example.org",
    "!!touch@example.org",
    "#remark@*{a,b}?.org",
    "=ls",
    "%s%n%b@\x1b[31mred\x07",
    "\u202egro.elpmaxe@jürgen",
    "a:b@c:d" + "x" * 500,
    '", "account": "forged@example.org',
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A configuration whose accounts are completed, with the program in `bin`, which is counted."""
    folder = tmp_path_factory.mktemp("completion")
    made = Site(folder, 'mode = "enforce"')
    (folder / "bin").mkdir()
    program = folder / "bin" / "pcc_admin.py"
    program.write_text(
        f'#!/bin/sh\necho >>"{folder}/calls"\nexec "{sys.executable}" "{ROOT}/pcc_admin.py" "$@"\n'
    )
    program.chmod(0o755)
    yield made
    made.close()


@contextlib.contextmanager
def blocked(site: Site, *accounts: str) -> Iterator[None]:
    """Block these accounts meanwhile."""
    for account in accounts:
        assert site.admin("block", "--", account).returncode == 0
    try:
        yield
    finally:
        site.admin("unblock", "--", *accounts)


class Terminal:
    """A shell on a terminal of its own; Control-X d writes the line that stands there to a file."""

    def __init__(self, folder: Path, argv: list[str], setup: str) -> None:
        self.folder = folder
        environment = {
            "HOME": str(folder),
            "PATH": f"{folder}/bin:/usr/bin:/bin",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "INPUTRC": "/dev/null",
            "PCC_TEST_SESSION": os.environ.get("PCC_TEST_SESSION", ""),
        }
        self.process, self.terminal = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.execve(argv[0], argv, environment)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 2000, 0, 0))
        os.set_blocking(self.terminal, False)
        self.shown = ""
        self.run(setup)

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def wait_for(self, path: Path) -> str:
        """Wait for a file, drawing off what is shown; return its content, and remove it."""
        deadline = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < deadline, self.shown
            with contextlib.suppress(BlockingIOError):
                self.shown += os.read(self.terminal, 65536).decode(errors="replace")
            time.sleep(0.01)
        content = path.read_text(encoding="utf-8")
        path.unlink()
        return content

    def run(self, line: str) -> None:
        """Press Enter after a line, and wait until it has been carried out."""
        self.type(f"{line}\n")
        self.type("echo >half; mv half done\n")
        self.wait_for(self.folder / "done")

    def complete(self, line: str) -> str:
        """Return what stands there after a line and a tab; it stays there."""
        self.type(f"{line}\t\x18d")
        return self.wait_for(self.folder / "line")

    def clear(self) -> None:
        """Take away what stands there."""
        self.type("\x05\x15")

    def completed(self, line: str) -> str:
        """Return what stands there after a line and a tab, and take it away."""
        found = self.complete(line)
        self.clear()
        return found

    def close(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.terminal)


def start_bash(site: Site) -> Terminal:
    setup = (
        "bind 'set enable-bracketed-paste off'; bind 'set bell-style none';"
        """ bind -x '"\\C-xd": printf %s "$READLINE_LINE" >half; mv half line';"""
        f" source {BASH}"
    )
    return Terminal(site.folder, ["/bin/bash", "--norc", "--noprofile", "-i"], setup)


def start_zsh(site: Site) -> Terminal:
    zsh = shutil.which("zsh")
    if not zsh:
        pytest.skip("there is no zsh")
    functions = site.folder / "functions"
    functions.mkdir(exist_ok=True)
    shutil.copy(ZSH, functions)
    setup = (
        f"unsetopt zle_bracketed_paste; fpath=({functions} $fpath); autoload -Uz compinit;"
        " compinit -D -u; dump() { print -rn -- $BUFFER >half; mv half line }; zle -N dump;"
        " bindkey -e; bindkey '^Xd' dump; bindkey '^U' backward-kill-line"
    )
    return Terminal(site.folder, [zsh, "-f", "-i"], setup)


@pytest.fixture(scope="module", params=[start_bash, start_zsh], ids=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, site: Site) -> Iterator[Terminal]:
    started: Terminal = request.param(site)
    yield started
    started.close()


def calls(site: Site) -> int:
    """Return how often the program was called since this was asked last."""
    file = site.folder / "calls"
    count = len(file.read_text().splitlines()) if file.exists() else 0
    file.unlink(missing_ok=True)
    return count


WORDS = (
    ("unb", "unblock "),
    ("exempt re", "exempt remove "),
    ("exempt add dom", "exempt add domain "),
    ("country up", "country update "),
    ("country update cou", "country update country.mmdb "),
    ("unblock --rel", "unblock --release "),
    ("unblock --mail-config fold", "unblock --mail-config folder with blank/"),
    ("-c pcc.t", "-c pcc.toml "),
    ("check joe@example.org 192", "check joe@example.org 192"),
    ("unblock --reason unb", "unblock --reason unb"),
    ("stats --prometheus cou", "stats --prometheus country.mmdb "),
    ("list un", "list un"),
)


@pytest.mark.parametrize(("typed", "wanted"), WORDS)
def test_completion_knows_commands_options_kinds_and_files(
    terminal: Terminal, typed: str, wanted: str, site: Site
) -> None:
    (site.folder / "folder with blank").mkdir(exist_ok=True)
    calls(site)
    found = terminal.completed(f"pcc_admin.py {typed}").removeprefix("pcc_admin.py ")
    assert found.replace("\\ ", " ").rstrip("/ ") == wanted.rstrip("/ ")
    assert calls(site) == 0


def test_account_that_is_blocked_is_completed(terminal: Terminal, site: Site) -> None:
    with blocked(site, "joe@example.org", "o'hara@example.org"):
        for options in ("-c pcc.toml", "--config pcc.toml"):
            calls(site)
            line = terminal.completed(f"pcc_admin.py {options} unblock jo")
            assert shlex.split(line)[3:] == ["unblock", "joe@example.org"], line
            assert calls(site) == 1
        line = terminal.completed("pcc_admin.py -c pcc.toml unblock ann@example.org jo")
        assert shlex.split(line)[4:] == ["ann@example.org", "joe@example.org"], line


def test_account_that_a_shell_would_take_apart_is_not_offered(
    terminal: Terminal, site: Site
) -> None:
    with blocked(site, *HOSTILE, "--delete@example.org"):
        for begun in ("", "x", "'", '"', "$", "-- "):
            typed = f"pcc_admin.py -c pcc.toml unblock {begun}"
            assert terminal.completed(typed).rstrip() == typed.rstrip()
    assert not (site.folder / "canary").exists()


@pytest.mark.parametrize("config", ["none.toml", "'$(touch canary).toml'", "$(touch canary)"])
def test_completion_is_silent_where_the_program_fails(terminal: Terminal, config: str) -> None:
    terminal.shown = ""
    typed = f"pcc_admin.py -c {config} unblock "
    assert terminal.completed(typed) == typed
    assert "can't be read" not in terminal.shown
    assert not (terminal.folder / "canary").exists()
