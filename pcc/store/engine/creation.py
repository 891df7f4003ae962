"""Creating a database from schema.sql, and bringing an older one up to date.

Each in one transaction, so that a policy process sees the old state or the new one; an index may
come before.  MySQL has none for this: there init completes what was interrupted by doing it again.
Before an upgrade an SQLite file is copied beside it; a server has backups of its own.  Writers wait
meanwhile; a policy process of the old version then finds the new one, and ends without a verdict.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path

from pcc.errors import StoreError
from pcc.store import SCHEMA_VERSION, server_database, upsert, version_message
from pcc.store.engine.repeatcache import RepeatCache
from pcc.store.engine.sidefile import open_side_file, rights_of_service_user
from pcc.store.engine.sqlite import APPLICATION_ID

SCHEMA_FILE = Path(__file__).resolve().parents[3] / "schema.sql"

UPGRADES = {
    1: """
        ALTER TABLE sighting ADD COLUMN mails_before INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE sighting ADD COLUMN counts_since REAL NOT NULL DEFAULT 0;
        ALTER TABLE sighting ADD COLUMN repeats_until REAL NOT NULL DEFAULT 0;
        ALTER TABLE sighting ADD COLUMN judged_by INTEGER NOT NULL DEFAULT 0;
        DROP INDEX sighting_by_hour;
        CREATE INDEX sighting_by_hour ON sighting (account, hour, address);
        ALTER TABLE account ADD COLUMN turns INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE incident RENAME COLUMN window TO window_seconds;
        ALTER TABLE held ADD COLUMN host TEXT NOT NULL DEFAULT '';
        ALTER TABLE exemption RENAME COLUMN by TO who;
        ALTER TABLE event RENAME COLUMN by TO who;
        CREATE INDEX exemption_by_creation ON exemption (created);
    """,
    # The renaming is first: it waits for the writers of the old version, and later ones fail.
    # Servers keep the indexes of a table that gets another key: only IF NOT EXISTS is for them.
    2: """
        ALTER TABLE presence RENAME TO presence_before;
        CREATE TABLE place (
            account TEXT NOT NULL,
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            first_seen REAL NOT NULL,
            last_seen REAL NOT NULL,
            mails INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            days TEXT NOT NULL,
            runs TEXT NOT NULL,
            PRIMARY KEY (account, kind, name)
        ) WITHOUT ROWID;
        INSERT INTO place
            (account, kind, name, first_seen, last_seen, mails, generation, days, runs)
            SELECT account, 'country', country, first_seen, last_seen, mails, generation, days, runs
            FROM presence_before;
        DROP TABLE IF EXISTS presence_before;
        CREATE TABLE counted (
            writer TEXT NOT NULL,
            number INTEGER NOT NULL,
            at REAL NOT NULL,
            mails TEXT NOT NULL,
            PRIMARY KEY (writer, number)
        ) WITHOUT ROWID;
        CREATE INDEX counted_by_time ON counted (at);
        CREATE TABLE folded (
            writer TEXT NOT NULL PRIMARY KEY,
            number INTEGER NOT NULL,
            at REAL NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX folded_by_time ON folded (at);
        DROP INDEX exemption_by_creation;
        ALTER TABLE sighting ADD COLUMN network TEXT NOT NULL DEFAULT '';
        ALTER TABLE account ADD COLUMN observed INTEGER;
        ALTER TABLE account ADD COLUMN networks_made REAL NOT NULL DEFAULT 0;
        ALTER TABLE account ADD COLUMN hosting_mails TEXT NOT NULL DEFAULT '';
        ALTER TABLE account ADD COLUMN foreign_mails TEXT NOT NULL DEFAULT '';
        ALTER TABLE account ADD COLUMN changed REAL NOT NULL DEFAULT 0;
        CREATE INDEX account_by_change ON account (changed);
        CREATE TABLE attempt (
            account TEXT NOT NULL,
            incident INTEGER NOT NULL,
            address TEXT NOT NULL,
            mails INTEGER NOT NULL,
            first_try REAL NOT NULL,
            last_try REAL NOT NULL,
            PRIMARY KEY (account, incident, address)
        ) WITHOUT ROWID;
        CREATE TABLE host (
            host TEXT NOT NULL PRIMARY KEY,
            limits TEXT NOT NULL,
            at REAL NOT NULL
        ) WITHOUT ROWID;
        ALTER TABLE exemption ADD COLUMN told REAL NOT NULL DEFAULT 0;
        ALTER TABLE outbox ADD COLUMN together TEXT NOT NULL DEFAULT '';
        CREATE TABLE counter (
            name TEXT NOT NULL PRIMARY KEY,
            value INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE followed (
            server TEXT NOT NULL PRIMARY KEY,
            at REAL NOT NULL,
            mailed REAL NOT NULL
        ) WITHOUT ROWID;
        DROP INDEX incident_by_account;
        CREATE TABLE new_incident (
            id INTEGER NOT NULL,
            account TEXT NOT NULL,
            mode TEXT NOT NULL,
            rule TEXT NOT NULL,
            window_seconds INTEGER NOT NULL,
            countries TEXT NOT NULL,
            country TEXT NOT NULL,
            client_address TEXT NOT NULL,
            client_name TEXT NOT NULL,
            queue_id TEXT NOT NULL,
            action TEXT NOT NULL,
            began REAL NOT NULL,
            expires REAL NOT NULL,
            ended REAL,
            held INTEGER NOT NULL,
            tries INTEGER NOT NULL,
            last_try REAL,
            instance TEXT NOT NULL,
            PRIMARY KEY (account, id)
        ) WITHOUT ROWID;
        INSERT INTO new_incident SELECT * FROM incident;
        DROP TABLE incident;
        ALTER TABLE new_incident RENAME TO incident;
        CREATE INDEX incident_by_end ON incident (ended);
        DROP INDEX held_by_account;
        CREATE TABLE new_held (
            incident INTEGER NOT NULL,
            instance TEXT NOT NULL,
            account TEXT NOT NULL,
            queue_id TEXT NOT NULL,
            sender TEXT NOT NULL,
            at REAL NOT NULL,
            state TEXT NOT NULL,
            host TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (account, incident, instance)
        ) WITHOUT ROWID;
        INSERT INTO new_held SELECT * FROM held;
        DROP TABLE held;
        ALTER TABLE new_held RENAME TO held;
        DROP INDEX event_by_account;
        CREATE TABLE new_event (
            id INTEGER NOT NULL,
            at REAL NOT NULL,
            account TEXT NOT NULL,
            what TEXT NOT NULL,
            who TEXT NOT NULL,
            detail TEXT NOT NULL,
            PRIMARY KEY (account, id)
        ) WITHOUT ROWID;
        INSERT INTO new_event SELECT * FROM event;
        DROP TABLE event;
        ALTER TABLE new_event RENAME TO event;
        CREATE INDEX event_by_time ON event (at);
        CREATE TABLE new_outbox (
            id INTEGER NOT NULL,
            incident INTEGER NOT NULL,
            account TEXT NOT NULL,
            what TEXT NOT NULL,
            channel TEXT NOT NULL,
            detail TEXT NOT NULL,
            created REAL NOT NULL,
            taken REAL NOT NULL,
            tries INTEGER NOT NULL,
            last_error TEXT NOT NULL,
            next_try REAL NOT NULL,
            recipients TEXT NOT NULL,
            together TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (account, id)
        ) WITHOUT ROWID;
        INSERT INTO new_outbox SELECT * FROM outbox;
        DROP TABLE outbox;
        ALTER TABLE new_outbox RENAME TO outbox;
        CREATE INDEX IF NOT EXISTS outbox_by_id ON outbox (id);
    """,
}
"""For each older schema version the SQL that makes the next version of it.

MySQL may carry a statement out a second time, after an interruption: that must fail or change
nothing.
"""

INDEX = "CREATE INDEX IF NOT EXISTS sighting_by_address ON sighting (address);"
"""The index that an upgrade to version 3 also makes.

In a file it comes first, in a transaction of its own: it takes about as long as the rest, and mail
waits for one of them at a time.  Older versions don't use this index, but can live with it.
"""

FIRST_ON_SERVERS = 2
"""The schema version of the oldest databases on servers."""


def create_or_upgrade(path: str) -> str:
    """Make sure that `path` is a database of this version of pcc; return what was done.

    The result is "created", "upgraded" or "unchanged".  As root, it does
    so as the service user.  Raises StoreError, with the database as it was.
    """
    try:
        schema = SCHEMA_FILE.read_text(encoding="utf-8")
        if "://" in path:
            return _create_or_upgrade_on_server(path, schema)
        with rights_of_service_user(path):
            repeats = RepeatCache(path)
            if os.path.exists(path):
                done = _upgrade(path)
            else:
                repeats.remove()  # of a database that is gone
                _create(path, schema)
                done = "created"
            repeats.open()  # while the disk has room
            repeats.close()
            return done
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {error}") from None


def _create_or_upgrade_on_server(url: str, schema: str) -> str:
    database = server_database(url)
    version = database.open_any()
    if version == SCHEMA_VERSION:
        return "unchanged"
    if version > SCHEMA_VERSION or 0 < version < FIRST_ON_SERVERS:
        raise StoreError(version_message(database.name, version))
    steps = [schema]
    if version:
        steps = [*[UPGRADES[step] for step in range(version, SCHEMA_VERSION)], INDEX]
    try:
        with database:
            for statement in database.definitions("".join(steps)):
                database.define(statement)
            database.write(upsert("pcc_schema", ("id",), ("version",)), (1, SCHEMA_VERSION))
    except StoreError:
        database.close()
        if database.open_any() != SCHEMA_VERSION:  # else another host has done it meanwhile
            raise
    finally:
        database.close()
    return "upgraded" if version else "created"


def _create(path: str, schema: str) -> None:
    folder = os.path.dirname(path) or "."
    try:
        os.stat(os.path.join(folder, "."))
    except OSError as error:
        raise StoreError(f"{path}: its folder: {error.strerror}") from None
    if os.path.lexists(path + "-wal"):  # the new database would take in what is in it
        raise StoreError(f"{path}-wal: is left of a database that is gone: move it away")
    temporary = f"{path}.{os.getpid()}.new"
    os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640))
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN; {schema} COMMIT;")
        os.link(temporary, path)  # unlike a rename this never replaces a database
    finally:
        os.unlink(temporary)


def _upgrade(path: str) -> str:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        if _version(connection, path) == SCHEMA_VERSION:
            return "unchanged"
        lock = open_side_file(path, ".lock")
        try:
            flock(lock, LOCK_EX)  # the turn of a writer, see pcc/store/engine/sqlite.py
            connection.execute(INDEX)
            flock(lock, LOCK_UN)
            flock(lock, LOCK_EX)
            connection.execute("BEGIN IMMEDIATE")
            version = _version(connection, path)
            if version == SCHEMA_VERSION:  # another init has done it meanwhile
                return "unchanged"
            copy = f"{path}.version{version}"
            temporary = f"{copy}.{os.getpid()}"
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640))
            try:  # what a reader sees while nobody else can write
                with (
                    closing(sqlite3.connect(path)) as source,
                    closing(sqlite3.connect(temporary)) as target,
                ):
                    source.backup(target)
                os.replace(temporary, copy)
            except BaseException:
                os.unlink(temporary)
                raise
            for step in range(version, SCHEMA_VERSION):
                for statement in UPGRADES[step].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {step + 1}")
            connection.execute("COMMIT")
        finally:
            os.close(lock)
    return "upgraded"


def _version(connection: sqlite3.Connection, path: str) -> int:
    """Return the schema version, one that can be brought up to date."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise StoreError(f"{path}: is not a database of pcc")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION and version not in UPGRADES:
        raise StoreError(version_message(path, version))
    return version
