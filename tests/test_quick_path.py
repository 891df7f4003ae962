"""The modules that a fresh policy process has imported when it has given its first verdict.

Every policy connection is a new process, so each import before its first reply is paid for by a
mail.  The interpreter itself reports them: -X importtime writes a line for each module to stderr.
The product sends stderr to /dev/null unless that is a terminal, so here it is one.
"""

from __future__ import annotations

import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from checkout import ROOT, Site, address, address6, request_text

pytestmark = pytest.mark.subprocess

DEAR = set(
    "argparse collections copyreg csv ctypes dataclasses datetime difflib email enum functools"
    " geoip2 hashlib heapq http importlib inspect ipaddress json keyword locale logging maxminddb"
    " operator os pathlib pickle platform random re reprlib shutil signal site smtplib socket"
    " sqlite3 ssl stat string struct subprocess syslog tempfile threading tokenize tomli tomllib"
    " traceback types typing urllib uuid warnings weakref".split()
)
"""Modules and packages that cost, or lead to what costs, more than they are worth here."""

STORE = {
    "_sqlite3",
    "pcc.store",
    "pcc.store.engine.sqlite",
    "pcc.store.sightings",
    "pcc.verdict.repeat",
}
UNUSUAL = {
    "pcc.verdict.incident",
    "pcc.verdict.case",
    "pcc.config.checks",
    "pcc.places",
    "pcc.verdict.decision",
    "pcc.places.travel",
    "pcc.maillog",
    "pcc.config.options",
    "pcc.places.origins",
    "pcc.host.packages",
    "pcc.rule",
    "pcc.store.sums",
}
INTERPRETER_OPTIONS = ("-I", "-S")
"""As in master.cf.snippet."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("quick"))
    for client in (address("ES"), address6("ES")):
        assert site.ask(client_address=client) == "DUNNO"
    with closing(sqlite3.connect(site.database)) as connection, connection:
        for table in ("sighting", "place"):  # what is seconds old gets a closer look
            times = "first_seen = first_seen - 60, last_seen = last_seen - 60"
            connection.execute(f"UPDATE {table} SET {times}")
    yield site
    site.close()


class Watched:
    """A policy process that prints its imports."""

    def __init__(self, site: Site, config: Path | None = None) -> None:
        self._terminal, theirs = pty.openpty()
        script = [str(ROOT / "pcc_policy.py"), "--config", str(config or site.config)]
        self._process = subprocess.Popen(
            [sys.executable, *INTERPRETER_OPTIONS, "-X", "importtime", *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={},
            cwd="/",
        )
        os.close(theirs)
        self._told = b""

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._terminal)

    def ask(self, request: str) -> bytes:
        """Return the reply to a request, having read the terminal while waiting for it."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request.encode())
        process.stdin.flush()
        answers = process.stdout.fileno()
        reply = b""
        deadline = time.monotonic() + 20
        while not reply.endswith(b"\n\n"):
            assert time.monotonic() < deadline, (reply, self._told)
            ready, _, _ = select.select([self._terminal, answers], [], [], 1)
            if answers in ready:
                reply += os.read(answers, 4096)
            if self._terminal in ready:
                self._told += os.read(self._terminal, 65536)
        return reply

    def imported(self) -> set[str]:
        """Return the modules imported so far, those right after the reply included."""
        while select.select([self._terminal], [], [], 0.2)[0]:
            self._told += os.read(self._terminal, 65536)
        lines = [
            line for line in self._told.decode().splitlines() if line.startswith("import time:")
        ]
        names = {line.rpartition("|")[2].strip() for line in lines}
        assert "pcc.service" in names
        return names


def bare() -> set[str]:
    """Return what the interpreter imports for nothing at all."""
    argv = [sys.executable, *INTERPRETER_OPTIONS, "-c", "import sys; print(*sys.modules)"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30, env={})
    return set(done.stdout.split())


def dear(modules: set[str]) -> set[str]:
    """Return the modules that should not be there."""
    return {name for name in modules - bare() if name.partition(".")[0] in DEAR}


@pytest.mark.parametrize("client", [address("ES"), address6("ES"), address6("ES", host=7)])
def test_known_account_and_address_needs_nothing_expensive(site: Site, client: str) -> None:
    with Watched(site) as process:
        assert process.ask(request_text(client_address=client)) == b"action=DUNNO\n\n"
        imported = process.imported()
    assert dear(imported) == set()
    assert imported & UNUSUAL == set()
    assert "_sqlite3" in imported


def test_known_account_needs_few_modules_of_the_standard_library(site: Site) -> None:
    with Watched(site) as process:
        process.ask(request_text())
        imported = process.imported()
    ours = {name for name in imported if name.partition(".")[0] == "pcc"}
    assert imported - bare() - ours <= {
        *("__future__", "_functools", "_signal", "_socket", "_sqlite3", "_stat"),
        *("fcntl", "imported package", "itertools", "select"),
    }


def test_map_of_the_house_stars_what_known_mail_imports(site: Site) -> None:
    house = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = {name.replace("/", ".") for name in re.findall(r"`([a-z_/]+)` \*", house)}
    with Watched(site) as process:
        process.ask(request_text())
        imported = process.imported()
    ours = {name.removeprefix("pcc.") for name in imported if name.startswith("pcc.")}
    # Packages that are only a folder have no star; whose a folder is, only root looks at.
    assert told == ours - {"store.engine", "host", "host.serviceuser"}


def test_mail_without_a_login_opens_no_database(site: Site) -> None:
    with Watched(site) as process:
        assert process.ask(request_text(sasl_username="")) == b"action=DUNNO\n\n"
        imported = process.imported()
    assert dear(imported) == set()
    assert imported & UNUSUAL == set()
    assert imported & STORE == set()


def test_account_that_is_not_covered_needs_no_database(site: Site) -> None:
    config = site.folder / "covered.toml"
    config.write_text(site.config.read_text() + "\n")
    text = config.read_text().replace("[policy]", '[policy]\ndomains = ["example.net"]')
    config.write_text(text)
    argv = [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(config), "init"]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
    with Watched(site, config) as process:
        assert process.ask(request_text()) == b"action=DUNNO\n\n"
        imported = process.imported()
    assert dear(imported) == set()
    assert "_sqlite3" not in imported


def test_new_address_alone_needs_maxminddb(site: Site) -> None:
    with Watched(site) as process:
        assert process.ask(request_text(client_address=address("ES", 99))) == b"action=DUNNO\n\n"
        imported = process.imported()
    assert {"maxminddb", "site"} <= imported
    assert "tomli" not in imported


def test_configuration_without_a_prepared_form_is_parsed_all_the_same(site: Site) -> None:
    config = site.folder / "unprepared.toml"
    config.write_text(site.config.read_text())
    with Watched(site, config) as process:
        assert process.ask(request_text()) == b"action=DUNNO\n\n"
        assert {"tomli", "pcc.config.options"} <= process.imported()
