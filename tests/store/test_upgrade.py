"""An upgrade while policy processes of the old version are at work.

The old version is this one; a copy of it with another schema plays the next.
"""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from checkout import COUNTRIES, ROOT, PolicyProcess, Site, address, is_pass, is_refusal
from systemlog import system_log

from pcc.store import SCHEMA_VERSION
from pcc.verdict.repeat import LOOK_SECONDS

pytestmark = pytest.mark.subprocess

NEXT = SCHEMA_VERSION + 1


class NextVersion:
    """The product with a schema of one more column, on the configuration of a site."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        self.site = site
        folder.mkdir()
        (folder / "data").symlink_to(ROOT / "data")
        for name in ("pcc_policy.py", "pcc_admin.py", "schema.sql"):
            shutil.copy2(ROOT / name, folder / name)
        shutil.copytree(ROOT / "pcc", folder / "pcc", ignore=shutil.ignore_patterns("__pycache__"))
        column = "colour TEXT NOT NULL DEFAULT ''"
        key = "    PRIMARY KEY (account, address)"
        step = f'{SCHEMA_VERSION}: "ALTER TABLE sighting ADD COLUMN {column};",'
        for file, old, new in (
            ("schema.sql", f"user_version = {SCHEMA_VERSION};", f"user_version = {NEXT};"),
            ("schema.sql", key, f"{column},\n{key}"),
            ("pcc/store/__init__.py", f"SION = {SCHEMA_VERSION}", f"SION = {NEXT}"),
            ("pcc/store/engine/creation.py", "UPGRADES = {\n", f"UPGRADES = {{\n    {step}\n"),
        ):
            self.change(file, old, new)

    def change(self, name: str, old: str, new: str) -> None:
        """Put `new` in place of `old` in a file of the product."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name}: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def admin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run its pcc_admin.py."""
        return subprocess.run(
            [sys.executable, self.folder / "pcc_admin.py", "-c", self.site.config, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def init(self) -> None:
        """Upgrade the database."""
        done = self.admin("init")
        assert done.returncode == 0, done.stderr
        assert "upgraded" in done.stdout

    def ask(self, account: str, client_address: str) -> str | None:
        """Ask a policy process of it about one mail."""
        script = str(self.folder / "pcc_policy.py")
        process = PolicyProcess([sys.executable, script, "-c", str(self.site.config)])
        action = process.ask(account, client_address)
        process.end()
        return action


@pytest.fixture
def limits() -> str:
    """Two countries, none of them familiar."""
    return "max_countries = 2\nfamiliar_after = 0\n"


@pytest.fixture
def newer(site: Site, tmp_path: Path) -> NextVersion:
    return NextVersion(tmp_path / "next", site)


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return found


REQUESTS = {
    "like the last one": ("joe@example.org", address("ES"), is_pass),
    "from a new country": ("joe@example.org", address("FR"), is_pass),
    "of a new account": ("ann@example.org", address("ES"), is_pass),
    "of a blocked account": ("eve@example.org", address("ES"), is_refusal),
}
"""Mails, and what both versions say to them."""


@pytest.mark.parametrize("mail", REQUESTS)
def test_old_process_leaves_the_upgraded_database_to_a_new_one(
    site: Site, newer: NextVersion, mail: str
) -> None:
    account, client_address, expected = REQUESTS[mail]
    with system_log() as log:
        old = site.policy()
        assert is_pass(old.ask("joe@example.org", address("ES")))
        assert site.admin("block", "eve@example.org").returncode == 0
        assert is_refusal(old.ask("eve@example.org", address("ES")))
        newer.init()
        wanted = time.monotonic() + LOOK_SECONDS  # a mail that changes nothing may pass until then
        while time.monotonic() < wanted:
            log.lines(patience=0.01)  # others also log, and a full log takes no more
        assert old.ask(account, client_address) is None
        assert old.end() == 74
        lines = log.lines(patience=10, of=f"pcc[{old.process.pid}]")
        told = [line for line in lines if "lines were lost" not in line]
    assert len(told) == 1, told
    assert f"{site.database}: has schema version {NEXT}, " in told[0]
    assert expected(newer.ask(account, client_address))


def test_old_process_ends_like_that_also_when_its_files_were_replaced(
    site: Site, newer: NextVersion, tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    shutil.copytree(ROOT / "pcc", installed / "pcc")
    shutil.copy2(ROOT / "pcc_policy.py", installed)
    command = [sys.executable, str(installed / "pcc_policy.py"), "-c", str(site.config)]
    old, blocking = PolicyProcess(command), PolicyProcess(command)
    assert is_pass(old.ask("joe@example.org", address("ES")))
    for country in ("ES", "FR"):
        assert is_pass(blocking.ask("ann@example.org", address(country)))
    shutil.copytree(newer.folder / "pcc", installed / "coming")
    (installed / "pcc").rename(installed / "gone")
    (installed / "coming").rename(installed / "pcc")
    # It imports the modules that it needs only now from the new files; the database is still the
    # old one.
    assert is_refusal(blocking.ask("ann@example.org", address("BR")))
    newer.init()
    for process in (old, blocking):
        assert process.ask("joe@example.org", address("FR")) is None
        assert process.end() == 74


IMPORTED_LATE_BY_1_0_0 = (
    "pcc.blocking pcc.case pcc.counting pcc.country pcc.decision pcc.lookup pcc.mail pcc.notifier"
    " pcc.options pcc.policy pcc.serviceuser pcc.store.checkpoint pcc.store.sqlite pcc.unsure"
).split()


@pytest.mark.parametrize("name", IMPORTED_LATE_BY_1_0_0)
def test_module_that_a_process_of_1_0_0_imports_late_is_no_more(name: str) -> None:
    # Where its files were replaced, such a process ends with an error, and Postfix starts another.
    # A module of the same name with another meaning could lead to a wrong verdict.
    assert importlib.util.find_spec(name) is None


def test_upgrade_under_load_loses_no_verdict_and_keeps_a_copy(
    site: Site, newer: NextVersion
) -> None:
    passed: list[tuple[str, str]] = []
    clients = [threading.Thread(target=send_until_told, args=(site, n, passed)) for n in range(4)]
    for client in clients:
        client.start()
    time.sleep(0.5)
    newer.init()
    for client in clients:
        client.join(timeout=30)
        assert not client.is_alive()
    assert version_of(site.database) == NEXT
    assert len(passed) > 20
    seen = {pair for path in (site.database,) for pair in sightings(path)}
    assert seen >= set(passed)
    copy = Path(f"{site.database}.version{SCHEMA_VERSION}")
    assert version_of(copy) == SCHEMA_VERSION
    # Mail that was committed before the upgrade is in the copy; mail after it had no verdict.
    assert sightings(copy) == seen


def send_until_told(site: Site, number: int, passed: list[tuple[str, str]]) -> None:
    """Send mail of ever new accounts through one process until it gives no verdict."""
    process = site.policy()
    for count in range(100_000):
        account, country = f"user{number}.{count}@example.org", COUNTRIES[count % 8]
        if process.ask(account, address(country)) is None:
            break
        passed.append((account, country))
    assert process.end() == 74


def sightings(path: Path) -> set[tuple[str, str]]:
    """The accounts of a database, and their countries."""
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT account, country FROM sighting"))


def test_copy_in_place_of_the_upgraded_database_is_the_way_back(
    site: Site, newer: NextVersion
) -> None:
    assert is_pass(site.ask("joe@example.org", address("ES")))
    assert site.admin("block", "eve@example.org").returncode == 0
    newer.init()
    assert is_pass(newer.ask("late@example.org", address("ES")))
    for side_file in site.folder.glob("pcc.db-*"):
        side_file.unlink()
    Path(f"{site.database}.version{SCHEMA_VERSION}").rename(site.database)
    assert is_refusal(site.ask("eve@example.org", address("ES")))
    assert is_pass(site.ask("joe@example.org", address("FR")))
    assert set(site.mails()) == {address("ES"), address("FR")}
    assert site.admin("show", "late@example.org").returncode == 1


def test_upgrades_at_once_are_one(site: Site, newer: NextVersion) -> None:
    script = str(newer.folder / "pcc_admin.py")
    command = [sys.executable, script, "-c", str(site.config), "init"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("upgraded" in out for out, _ in said) == [False, True]
    assert version_of(site.database) == NEXT


def test_upgrade_that_fails_leaves_the_database_as_it_was(site: Site, newer: NextVersion) -> None:
    old = site.policy()
    assert is_pass(old.ask("joe@example.org", address("ES")))
    newer.change("pcc/store/engine/creation.py", "DEFAULT '';", "DEFAULT ''; DROP INDEX absent;")
    done = newer.admin("init")
    assert done.returncode == 4
    assert "no such index: absent" in done.stderr
    assert version_of(site.database) == SCHEMA_VERSION
    assert is_pass(old.ask("joe@example.org", address("FR")))
    assert old.end() == 0
