"""The database file under a policy process: removed, replaced, locked, in somebody else's hands."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, Site, address, is_pass, is_refusal
from deployment import public_folder
from systemlog import system_log

from pcc.errors import StoreError
from pcc.store import SCHEMA_VERSION, incidents, open_database
from pcc.store.engine.creation import create_or_upgrade
from pcc.store.engine.sqlite import SQLiteDatabase

pytestmark = pytest.mark.subprocess

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def limits() -> str:
    """One country, the mail from a second one blocks."""
    return "familiar_after = 0\nmax_countries = 1\n"


def test_process_notices_that_its_database_was_removed(site: Site) -> None:
    process = site.policy()
    assert is_pass(process.ask("joe", address("ES")))
    for path in site.folder.glob("pcc.db*"):
        path.unlink()
    assert process.ask("joe", address("FR")) is None
    assert process.end() == 74


def test_process_notices_that_its_database_was_replaced_and_the_next_uses_the_new(
    site: Site,
) -> None:
    assert is_pass(site.ask("joe", address("ES")))
    shutil.copy(site.database, site.folder / "backup")
    process = site.policy()
    assert is_refusal(process.ask("joe", address("FR")))
    for path in site.folder.glob("pcc.db-*"):
        path.unlink()
    os.replace(site.folder / "backup", site.database)
    assert process.ask("joe", address("FR")) is None
    assert is_pass(site.ask("joe", address("ES", 2)))


def test_schema_version_is_checked_when_the_file_is_opened(site: Site) -> None:
    later = SCHEMA_VERSION + 6
    connection = sqlite3.connect(site.database)
    connection.execute(f"PRAGMA user_version = {later}")
    connection.close()
    message = f"has schema version {later}, this pcc knows only up to {SCHEMA_VERSION}:"
    with pytest.raises(StoreError, match=message):
        open_database(str(site.database))


SCHEMAS = Path(__file__).parent / "schemas"
"""The schema of each earlier version, as it was."""


def layout(path: Path) -> list[Any]:
    """Return the tables, columns and indexes of a database."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            'SELECT m.name, c.name, c.type, c."notnull", c.pk FROM sqlite_master AS m,'
            " pragma_table_info(m.name) AS c WHERE m.type = 'table'"
            " AND m.name <> 'sqlite_sequence' ORDER BY m.name, c.name"
        ).fetchall()
        indexes = connection.execute(
            "SELECT m.name, i.seqno, i.name FROM sqlite_master AS m, pragma_index_info(m.name) AS i"
            " WHERE m.type = 'index' ORDER BY m.name, i.seqno"
        ).fetchall()
    return [*tables, *indexes]


def test_schema_of_every_earlier_version_is_kept() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == {
        f"{version}.sql" for version in range(1, SCHEMA_VERSION)
    }


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_init_brings_an_older_database_up_to_date(site: Site, version: int) -> None:
    old = site.folder / "old.db"
    # Names that a later version changed, and columns that it added.
    window, more = ("window", "") if version == 1 else ("window_seconds", ", turns")
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((SCHEMAS / f"{version}.sql").read_text())
        connection.execute(
            f"INSERT INTO incident (account, mode, rule, {window}, countries, country,"
            " client_address, client_name, queue_id, action, began, expires, held, tries, instance)"
            " VALUES ('joe@example.org', 'enforce', 'by hand', 0, '', '', '', '', '', 'REJECT',"
            " 1800000000, 0, 0, 0, '')"
        )
        connection.execute(
            f"INSERT INTO account (account, generation, incident{more})"
            f" VALUES ('joe@example.org', 1, 1{', 0' if more else ''})"
        )
        connection.execute(
            "INSERT INTO presence (account, country, first_seen, last_seen, mails, generation,"
            " days, runs) VALUES ('joe@example.org', 'ES', 1, 2, 3, 0, '20784', '')"
        )
        connection.execute(
            "INSERT INTO event VALUES (1, 1800000000, 'joe@example.org', 'blocked', 'ann', '')"
        )
        connection.execute(
            "INSERT INTO held (incident, instance, account, queue_id, sender, at, state)"
            " VALUES (1, 'i', 'joe@example.org', '4F2ABC', 'joe@example.org', 1800000001, 'held')"
        )
        connection.execute(
            "INSERT INTO outbox (incident, account, what, channel, detail, created, taken, tries,"
            " last_error, next_try, recipients)"
            " VALUES (1, 'joe@example.org', 'blocked', 'mail', '{}', 1800000000, 0, 0, '', 0, '')"
        )
    os.replace(old, site.database)
    with pytest.raises(
        StoreError, match=rf"has schema version {version}, .*: run pcc_admin.py init"
    ):
        open_database(str(site.database))
    assert site.ask("joe@example.org", address("ES")) is None
    assert create_or_upgrade(str(site.database)) == "upgraded"
    with closing(sqlite3.connect(f"{site.database}.version{version}")) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (version,)
    new = site.folder / "new.db"
    assert create_or_upgrade(str(new)) == "created"
    assert layout(site.database) == layout(new)
    with closing(sqlite3.connect(site.database)) as connection:
        places = connection.execute("SELECT * FROM place").fetchall()
        waiting = connection.execute("SELECT id, incident, account, together FROM outbox")
        assert waiting.fetchall() == [(1, 1, "joe@example.org", "")]
        held = connection.execute("SELECT account, incident, queue_id FROM held")
        assert held.fetchall() == [("joe@example.org", 1, "4F2ABC")]
    assert places == [("joe@example.org", "country", "ES", 1, 2, 3, 0, "20784", "")]
    assert site.blocked() == ["joe@example.org"]
    assert [event["by"] for event in site.data("show", "joe@example.org")["events"]] == ["ann"]
    assert is_refusal(site.ask("joe@example.org", address("ES")))
    assert site.admin("unblock", "joe@example.org").returncode == 0
    assert is_pass(site.ask("joe@example.org", address("ES")))


def test_init_leaves_existing_rows_as_they_are(site: Site) -> None:
    site.ask("joe", address("ES"))
    assert create_or_upgrade(str(site.database)) == "unchanged"
    assert site.mails("joe") == {address("ES"): 1}


def test_init_does_not_touch_somebody_else_s_file(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (value)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is not a database of pcc"):
        create_or_upgrade(str(path))
    assert path.read_bytes() == before


def test_init_takes_nothing_in_from_a_database_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "pcc.db"
    create_or_upgrade(str(path))
    log = tmp_path / "pcc.db-wal"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
        left = log.read_bytes()
    path.unlink()
    log.write_bytes(left)
    with pytest.raises(StoreError, match=r"pcc\.db-wal: is left of a database that is gone"):
        create_or_upgrade(str(path))
    assert not path.exists()
    log.unlink()
    assert create_or_upgrade(str(path)) == "created"


@as_root
def test_root_does_not_follow_links_that_the_service_user_planted() -> None:
    folder = public_folder("links")
    secret = folder / "secret"
    secret.write_text("root's own")
    secret.chmod(0o600)
    state = folder / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    (state / "pcc.db").symlink_to(secret)
    with pytest.raises(StoreError):
        create_or_upgrade(str(state / "pcc.db"))
    (state / "pcc.db").unlink()
    create_or_upgrade(str(state / "pcc.db"))
    assert (state / "pcc.db").stat().st_uid == 65534
    (state / "pcc.db.lock").symlink_to(secret)
    database = open_database(str(state / "pcc.db"))
    with pytest.raises(StoreError), database:
        pass
    database.close()
    assert secret.read_text() == "root's own"
    assert secret.stat().st_uid == 0


@as_root
def test_root_s_own_groups_open_nothing_to_the_service_user() -> None:
    folder = public_folder("groups")
    group, before = 54321, os.getgroups()
    other, state = folder / "other", folder / "state"
    for made in (other, state):
        made.mkdir()
    create_or_upgrade(str(other / "pcc.db"))
    os.chown(other, 0, group)
    os.chmod(other, 0o770)
    os.chown(other / "pcc.db", 0, group)
    os.chmod(other / "pcc.db", 0o660)
    os.chown(state, 65534, 65534)
    (state / "pcc.db").symlink_to(other / "pcc.db")
    os.setgroups([*before, group])
    try:
        groups = sorted(os.getgroups())
        with pytest.raises(StoreError, match="no permission"):
            open_database(str(state / "pcc.db"))
        assert sorted(os.getgroups()) == groups
        assert (os.geteuid(), os.getegid()) == (0, 0)
    finally:
        os.setgroups(before)


@as_root
@pytest.mark.parametrize(
    ("before", "owner", "said"),
    [
        ("setpriv --bounding-set=-setgid --inh-caps=-setgid", 65534, "the service user, 65534"),
        ("unshare --map-root-user", 0, ""),
    ],
)
def test_root_that_may_not_act_as_the_service_user_gets_a_message(
    before: str, owner: int, said: str
) -> None:
    site = Site(public_folder("confined"))
    for path in (site.folder, *site.folder.glob("pcc.db*")):
        os.chown(path, owner, owner)
    done = subprocess.run(
        [
            *(*before.split(), sys.executable, str(ROOT / "pcc_admin.py")),
            *("-c", str(site.config), "block", "joe"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    site.close()
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, said in done.stderr) == (4 if said else 0, True), done.stderr


@as_root
def test_file_of_root_s_command_belongs_to_the_service_user() -> None:
    site = Site(public_folder("owners"), "familiar_after = 0\n")
    for path in (site.folder, *site.folder.glob("pcc.db*")):
        os.chown(path, 65534, 65534)
    os.chmod(site.folder, 0o750)
    process = site.policy()  # keeps the side files in being
    process.ask("", "")
    site.admin("block", "joe")
    connection = sqlite3.connect(site.database)
    connection.execute("SELECT * FROM account").fetchall()
    site.admin("unblock", "joe")
    owners = {path.name: path.stat().st_uid for path in site.folder.glob("pcc.db*")}
    connection.close()
    site.close()
    assert owners.keys() == {f"pcc.db{end}" for end in ("", "-wal", "-shm", ".lock", ".repeats")}
    assert set(owners.values()) == {65534}


def test_log_that_takes_no_lines_keeps_no_mail_waiting(site: Site) -> None:
    name = f"pcc-{os.getpid()}"  # another pcc of this machine may also log
    site.configure(f'familiar_after = 0\nmax_countries = 1\n[log]\nname = "{name}"\n')
    with system_log(listens=False) as log:
        process = site.policy()
        process.ask("joe", address("ES"))
        begun = time.monotonic()
        for _ in range(30):
            process.ask("joe", address("FR"))
        assert time.monotonic() - begun < 2
        log.listen()
        lines = log.lines(5, name)
        assert lines[0].startswith("<20>")
        assert f"{name}[" in lines[0]
        process.ask("joe", address("FR"))
        time.sleep(0.2)
        assert "lines were lost" in "".join([*lines, *log.lines(5, name)])


def test_held_mail_of_an_account_is_found_by_its_key(tmp_path: Path) -> None:
    create_or_upgrade(str(tmp_path / "pcc.db"))
    asked: list[tuple[str, tuple[Any, ...]]] = []

    class Asked(SQLiteDatabase):
        def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
            asked.append((statement, values))
            return super().rows(statement, values)

    with closing(Asked(str(tmp_path / "pcc.db"))) as database:
        assert incidents.held_mail(database, "joe") == []
        statement, values = asked[-1]
        plan = database.rows(f"EXPLAIN QUERY PLAN {statement}", values)
    assert "SEARCH held USING PRIMARY KEY (account=?)" in plan[0][3]
