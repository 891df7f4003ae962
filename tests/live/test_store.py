"""One contract for all engines of the store: SQLite, PostgreSQL, MariaDB, each a real one.

A site here may be one of several hosts that share a database.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from checkout import (
    NO_NETWORKS,
    ROOT,
    PolicyProcess,
    Site,
    address,
    is_pass,
    is_refusal,
    request_text,
)
from mmdb import write_country_database
from postfix import wait_until
from servers import KINDS as SERVERS
from servers import PASSWORD, DatabaseServer, MariaDB, PostgreSQL, running

from pcc.admin.program import main
from pcc.config.iso3166 import CODES
from pcc.config.prepared import load
from pcc.errors import AgainError, StoreError
from pcc.history import Seen
from pcc.protocol import PolicyRequest, RequestReader
from pcc.store import (
    SCHEMA_VERSION,
    blocks,
    counters,
    exemptions,
    incidents,
    open_database,
    outbox,
    repeats,
    seen,
    server_database,
    sightings,
    sums,
    upkeep,
)
from pcc.store.engine.creation import SCHEMA_FILE, UPGRADES, create_or_upgrade
from pcc.store.engine.definitions import tables
from pcc.store.engine.interface import Database
from pcc.store.engine.server import ServerDatabase
from pcc.store.sightings import Sighting
from pcc.verdict import Counts, counting
from pcc.verdict.repeat import Verdicts

pytestmark = pytest.mark.subprocess

USER = "joe@example.org"
PLAIN = "familiar_after = 0\nmax_countries = 3\n"


@pytest.fixture(params=["sqlite", *SERVERS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A value of store.database for a new database, of each engine."""
    if request.param == "sqlite":
        return str(tmp_path / "shared.db")
    return running(request.param).new_database()


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each server."""
    return running(request.param)


class Host(Site):
    """A site whose commands are carried out in this process, which imports the drivers once."""

    def admin(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Carry out a command of pcc_admin.py."""
        told, complained = io.StringIO(), io.StringIO()
        umask = os.umask(0o022)
        try:
            with redirect_stdout(told), redirect_stderr(complained):
                status = main(["-c", str(self.config), *arguments])
        finally:
            os.umask(umask)
        return subprocess.CompletedProcess(
            arguments, status, told.getvalue(), complained.getvalue()
        )


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Make sites: hosts with a configuration of their own."""
    sites: list[Site] = []

    def make(place: str, policy: str = PLAIN, more: str = "[notify]\nto = []\n") -> Site:
        folder = tmp_path / f"host{len(sites)}"
        folder.mkdir()
        store = (
            f'[country]\ndatabase = "country.mmdb"\n{NO_NETWORKS}[store]\ndatabase = "{place}"\n'
        )
        sites.append(Host(folder, f"{policy}\n{store}\n{more}"))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def database(place: str) -> Iterator[Database]:
    """A new database, open."""
    create_or_upgrade(place)
    with closing(open_database(place)) as database:
        yield database


def complaint(site: Site, **attributes: str) -> tuple[int, str]:
    """Return exit status and complaint of a policy process that a person starts."""
    terminal, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, str(ROOT / "pcc_policy.py"), "-c", str(site.config)],
        input=request_text(**attributes).encode(),
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=30,
        check=False,
    )
    os.close(theirs)
    told = b"" if done.returncode == 0 else os.read(terminal, 10_000)
    os.close(terminal)
    assert (done.returncode == 0) == bool(done.stdout)
    return done.returncode, told.decode().strip()


# The definitions.


def columns_of(place: str) -> set[tuple[str, str]]:
    if "://" not in place:
        with closing(sqlite3.connect(place)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {
                (name, row[1])
                for (name,) in names.fetchall()
                for row in connection.execute(f"PRAGMA table_info({name})")
                if not name.startswith("sqlite_")
            }
    schema = "current_schema()" if place.startswith("postgresql") else "database()"
    with closing(open_database(place)) as database:
        rows = database.rows(
            "SELECT table_name, column_name FROM information_schema.columns"
            f" WHERE table_schema = {schema}"
        )
    return {(table, column) for table, column in rows if table != "pcc_schema"}


def test_schema_is_the_same_on_all_engines(place: str) -> None:
    assert create_or_upgrade(place) == "created"
    assert create_or_upgrade(place) == "unchanged"
    expected = {
        (table.name, column.name)
        for table in tables(SCHEMA_FILE.read_text())
        for column in table.columns
        if table.name != "pcc_schema"
    }
    assert columns_of(place) == expected


def layout_of(url: str) -> list[tuple[Any, ...]]:
    """Return columns, and columns of indexes, of a database on a server."""
    schema, kind, indexes = {
        "postgresql": (
            "current_schema()",
            "data_type, is_nullable, column_default, is_identity",
            "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1",
        ),
        "mysql": (
            "database()",
            "column_type, is_nullable, column_default, collation_name, extra",
            "SELECT table_name, index_name, seq_in_index, column_name, non_unique"
            " FROM information_schema.statistics WHERE table_schema = database() ORDER BY 1, 2, 3",
        ),
    }[url.partition(":")[0]]
    with closing(server_database(url)) as database:
        database.open_any()
        columns = database.rows(
            f"SELECT table_name, column_name, {kind} FROM information_schema.columns"
            f" WHERE table_schema = {schema} ORDER BY table_name, column_name"
        )
        return [*columns, *database.rows(indexes)]


def database_of_version_2(server: DatabaseServer) -> str:
    """Return a database as pcc 1.0.0 made it, with an account that was seen in two countries."""
    url = server.new_database()
    schema = (ROOT / "tests" / "store" / "schemas" / "2.sql").read_text()
    schema = re.sub(r" REFERENCES \w+ \(id\)( ON DELETE CASCADE)?", "", schema)
    by_server = "AUTO_INCREMENT" if server.scheme == "mysql" else "GENERATED BY DEFAULT AS IDENTITY"
    key = f"id bigint {by_server} PRIMARY KEY"
    with closing(server_database(url)) as database:
        database.open_any()
        with database:
            for statement in database.definitions(schema):
                database.run(re.sub(r"id bigint PRIMARY KEY( AUTOINCREMENT)?", key, statement))
            database.write("INSERT INTO pcc_schema (id, version) VALUES (1, 2)")
            for country in ("ES", "FR"):
                database.write(
                    "INSERT INTO presence (account, country, first_seen, last_seen, mails,"
                    " generation, days, runs) VALUES (?, ?, 1, 2, 3, 0, '20784', '')",
                    (USER, country),
                )
                database.write(
                    "INSERT INTO sighting (account, address, country, looked_up, client_name,"
                    " first_seen, last_seen, mails, generation, days, runs, instance, hour)"
                    " VALUES (?, ?, ?, 0, 'unknown', 1, 2, 3, 0, '20784', '', 'i', 0)",
                    (USER, address(country), country),
                )
            for statement in OF_INCIDENT:
                database.write(statement, (USER,))
    return url


OF_INCIDENT = (
    "INSERT INTO incident (account, mode, rule, window_seconds, countries, country,"
    " client_address, client_name, queue_id, action, began, expires, ended, held, tries, instance)"
    " VALUES (?, 'enforce', 'by hand', 0, '', '', '', '', '', 'HOLD', 1, 0, 2, 1, 1, 'i')",
    "INSERT INTO held (incident, instance, account, queue_id, sender, at, state)"
    " VALUES (1, 'i', ?, '4F2ABC', '', 1, 'held')",
    "INSERT INTO event (at, account, what, who, detail) VALUES (1, ?, 'blocked', 'ann', '')",
    "INSERT INTO outbox (incident, account, what, channel, detail, created, taken, tries,"
    " last_error, next_try, recipients) VALUES (1, ?, 'blocked', 'mail', '{}', 1, 0, 0, '', 0, '')",
)
"""The rows that the block of an account left in version 2."""


PLACES = [(USER, "country", "ES", 3, "20784"), (USER, "country", "FR", 3, "20784")]


def is_like_a_new_one(server: DatabaseServer, url: str) -> bool:
    """Whether an upgraded database has the layout of a new one, and its places."""
    new = server.new_database()
    assert create_or_upgrade(new) == "created"
    assert layout_of(url) == layout_of(new)
    with closing(open_database(url)) as database:
        block = incidents.incident(database, USER, 1)
        assert block is not None
        assert (block.rule, block.ended, block.held) == ("by hand", 2, 1)
        assert [row.queue_id for row in incidents.held_mail(database, USER)] == ["4F2ABC"]
        assert [event.by for event in incidents.events_of(database, USER)] == ["ann"]
        waiting = outbox.first(database, 0, 1000)
        assert waiting is not None
        assert (waiting.id, waiting.incident, waiting.account) == (1, 1, USER)
        places = database.rows("SELECT account, kind, name, mails, days FROM place ORDER BY name")
        return places == PLACES


def test_database_of_version_2_is_upgraded_on_a_server(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    url = database_of_version_2(server)
    with pytest.raises(StoreError, match=r"has schema version 2, .*: run pcc_admin\.py init"):
        open_database(url)
    assert create_or_upgrade(url) == "upgraded"
    assert create_or_upgrade(url) == "unchanged"
    assert is_like_a_new_one(server, url)
    site = make(url)
    assert is_pass(site.ask(USER, address("ES")))
    assert site.mails(USER) == {address("ES"): 4, address("FR"): 3}


def test_upgrade_that_was_interrupted_on_a_server_is_completed(server: DatabaseServer) -> None:
    with closing(server_database(database_of_version_2(server))) as database:
        database.open_any()
        steps = len(database.definitions(UPGRADES[2]))
    for number in range(1, steps):
        url = database_of_version_2(server)
        with closing(server_database(url)) as database:
            database.open_any()
            with pytest.raises(ZeroDivisionError), database:  # noqa: PT012
                for statement in database.definitions(UPGRADES[2])[:number]:
                    database.define(statement)
                print(1 / 0)
        assert create_or_upgrade(url) == "upgraded"
        assert is_like_a_new_one(server, url), number


def test_upgrade_by_two_hosts_at_once_is_one(server: DatabaseServer) -> None:
    url = database_of_version_2(server)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(create_or_upgrade, [url] * 2))
    assert "upgraded" in done
    assert is_like_a_new_one(server, url)


def test_upgrade_waits_for_a_writer_of_the_old_version_and_stops_the_next(
    server: DatabaseServer,
) -> None:
    url = database_of_version_2(server)
    more = "UPDATE presence SET mails = mails + 1 WHERE account = ? AND country = 'ES'"
    with (
        closing(server_database(url)) as old,
        closing(server_database(url)) as late,
        ThreadPoolExecutor() as pool,
    ):
        old.open_any()
        late.open_any()
        with old:
            old.write(more, (USER,))
            upgrade = pool.submit(create_or_upgrade, url)
            time.sleep(0.5)
            assert not upgrade.done()
        assert upgrade.result() == "upgraded"
        with pytest.raises(StoreError), late:
            late.write(more, (USER,))
    with closing(open_database(url)) as database:
        assert database.rows("SELECT mails FROM place ORDER BY name") == [(4,), (3,)]


def test_values_come_back_as_they_were_written(database: Database) -> None:
    accounts = ("a'\\b\"%s;--?@example.org", "jürgen😀@example.org", "A@example.org", "a" * 300)
    times = (0.1, 1795369800.1234567, 1 / 3, 2.5e-9)
    for account, at in zip(accounts, times, strict=True):
        seen = Sighting(
            "192.0.2.1", "ES", "", at, at * 3, 2**40, 7, "2 1", "", "n" * 255, "i", at / 7
        )
        with database.turn(account):
            sightings.save_sighting(database, account, seen)
        known = sightings.known(database, account, "192.0.2.1").sighting
        assert known is not None
        for name in ("first_seen", "last_seen", "mails", "generation", "client_name", "looked_up"):
            assert getattr(known, name) == getattr(seen, name)
    assert sightings.known(database, "a@example.org", "192.0.2.1").sighting is None
    assert sightings.known(database, "A@example.org ", "192.0.2.1").sighting is None


def test_addresses_are_read_in_pages_without_loss(database: Database) -> None:
    with database.turn(USER):
        for number in range(300):
            at = Sighting(f"192.0.2.{number}", "ES", "", 1.0, 7200.0 + number * 60, 1, 0, "", "")
            sightings.save_sighting(database, USER, at)
    found = [at.name for at in sightings.known(database, USER, "").history().addresses.since(0)]
    assert sorted(found) == sorted(f"192.0.2.{number}" for number in range(300))


def test_others_are_found_at_addresses_that_few_share(database: Database) -> None:
    places = [("ann", 1, 5), ("eve", 1, 7), ("eve", 2, 6), *[(f"user{n}", 3, n) for n in range(4)]]
    for name, number, last in [("joe", 1, 9), ("joe", 2, 9), ("joe", 3, 9), *places]:
        at = Sighting(f"192.0.2.{number}", "ES", "", 1.0, float(last), 1, 0, "", "")
        with database.turn(f"{name}@example.org"):
            sightings.save_sighting(database, f"{name}@example.org", at)
    addresses = [f"192.0.2.{number}" for number in range(1, 5)]
    assert seen.others_at(database, USER, addresses, 4) == [
        ("eve@example.org", "192.0.2.1"),
        ("eve@example.org", "192.0.2.2"),
        ("ann@example.org", "192.0.2.1"),
    ]
    assert seen.others_at(database, USER, addresses[2:3], 4) == []
    assert seen.others_at(database, USER, [], 4) == []


def test_transaction_that_fails_is_rolled_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.turn(USER):  # noqa: PT012
        blocks.add_event(database, USER, "blocked", "me", "", 1)
        print(1 / 0)
    with pytest.raises(StoreError), database.turn(USER):  # noqa: PT012
        blocks.add_event(database, USER, "blocked", "me", "", 1)
        database.write("UPDATE nothing SET a = 1")
    assert incidents.events_of(database, USER) == []
    with database.turn(USER):
        blocks.add_event(database, USER, "blocked", "me", "", 1)
    assert len(incidents.events_of(database, USER)) == 1


# Exact over several hosts.


def test_crowd_of_first_mails_has_exactly_max_countries_pass(
    place: str, make: Callable[..., Site]
) -> None:
    notify = '[notify]\nto = ["postmaster"]\nsendmail = "/nonexistent/sendmail"\n'
    hosts = [make(place, PLAIN, notify) for _ in range(2)]
    networks = [f"12.{number}.0.0/16" for number in range(40)]
    for host in hosts:
        write_country_database(host.countries, dict(zip(networks, sorted(CODES), strict=False)))
    started = [hosts[number % 2].policy() for number in range(len(networks))]
    with ThreadPoolExecutor(len(started)) as pool:
        warm = pool.map(lambda n: started[n].ask(f"u{n}", f"12.{n}.0.1"), range(len(started)))
        assert all(map(is_pass, warm))  # each has its connection
        for number, process in enumerate(started):
            process.send(request_text(USER, f"12.{number}.0.1"))
        actions = list(pool.map(lambda process: process.reply(), started))
    assert sum(is_pass(action) for action in actions) == 3
    assert sum(is_refusal(action) for action in actions) == len(networks) - 3
    assert all(process.end() == 0 for process in started)
    (block,) = hosts[0].data("list")
    assert block["tries"] == len(networks) - 3
    assert len(block["countries"]) == 4
    with closing(open_database(str(place))) as database:
        assert [event.what for event in incidents.events_of(database, USER)] == ["blocked"]
        assert database.rows("SELECT what, account FROM outbox") == [("blocked", USER)]


def test_mail_is_counted_once(place: str, make: Callable[..., Site]) -> None:
    hosts = [make(place), make(place)]
    assert is_pass(hosts[0].ask(USER, address("ES")))

    def ask_many(number: int) -> bool:
        process = hosts[number % 2].policy()
        sender = [USER, address("ES", number % 3)]
        passed = all(is_pass(process.ask(*sender)) for _ in range(40))
        return process.end() == 0 and passed

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask_many, range(6)))
    assert sum(hosts[0].mails(USER).values()) == 6 * 40 + 1


def test_log_of_counts_is_folded_once_by_many_at_once(
    place: str, make: Callable[..., Site]
) -> None:
    site = make(place)
    accounts = [f"user{number}@example.org" for number in range(5)]
    for account in accounts:
        assert is_pass(site.ask(account, address("ES")))

    def write_and_fold(writer: int) -> None:
        with closing(open_database(place)) as database:
            counts = Counts()
            for number in range(30):
                for account in accounts:
                    instance = f"{writer}.{number}"
                    counts.add((account, address("ES"), ""), instance, "unknown", time.time())
                counts.write(database)
                if number % 3 == 0:
                    sums.fold(database, time.time())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_fold, range(4)))
    for account in accounts:
        assert site.mails(account) == {address("ES"): 1 + 4 * 30}


@pytest.mark.parametrize("name", ["joe", r"j%o_e\\e%", "j'o\"e", "жó"])
def test_decision_finds_its_account_in_a_late_log_and_reads_no_other(
    database: Database, name: str
) -> None:
    account = f"{name}@example.org"
    read: list[str] = []
    with database:
        sightings.save_sighting(database, account, Sighting("192.0.2.1", "ES", "", 1.0, 1.0))
    for writer, whose in enumerate((account, "other@example.org")):
        count = (2.0, 2.0, 1, "i", "i", "")
        line = repeats.line((whose, "192.0.2.1", ""), count)
        repeats.append(database, [(f"writer{writer}", 1, 2.0, line)])

    class Reader(type(database)):  # type: ignore[misc]
        def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = super().rows(statement, values)
            read.append(str(rows))
            return rows

    database.__class__ = Reader
    sums.renew_times(database, account, 30.0)
    assert not [rows for rows in read if "other@" in rows]
    assert database.rows("SELECT last_seen FROM sighting") == [(2.0,)]


def test_folding_changes_no_account_for_the_hosts_that_follow(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    url = server.new_database()
    assert is_pass(make(url).ask(USER, address("ES")))
    query = "SELECT changed FROM account WHERE account = ?"
    with closing(open_database(url)) as database:
        before = database.row(query, (USER,))
        counts = Counts()
        counts.add((USER, address("ES"), ""), "another", "unknown", time.time())
        counts.write(database)
        sums.fold(database, time.time())
        assert database.row("SELECT mails FROM place WHERE kind = 'country'") == (2,)
        assert database.row(query, (USER,)) == before


def test_log_of_a_long_outage_is_taken_whatever_its_length(server: DatabaseServer) -> None:
    """MariaDB takes no message of more than 16 MB."""
    url = server.new_database()
    create_or_upgrade(url)
    with closing(open_database(url)) as database:
        groups = [("writer", number, 1.0, "x" * 80_000) for number in range(1, 251)]
        repeats.append(database, groups)
        assert database.row("SELECT count(*), sum(length(mails)) FROM counted") == (250, 20_000_000)


def test_log_on_a_server_is_sorted_by_one_process_at_a_time(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    """Others, whose time to sort it has come as well, don't read all of it meanwhile."""
    url = server.new_database()
    config = load(str(make(url).config))
    texts: list[str] = []

    def write(round: int) -> None:
        for number in range(1, counting.FEW_ROWS + 2):
            at = time.time() - 20
            line = repeats.line((USER, address("ES"), ""), (at, at, 1, "i", "i", ""))
            repeats.append(one, [(f"writer {round}", number, at, line)])

    def tidy(database: Database) -> None:
        complaints: dict[str, str] = {}
        verdicts = Verdicts(config, database, void)
        counting.Counting(verdicts, void, complaints.__setitem__)._tidy()
        assert complaints == {}

    with closing(open_database(url)) as one, closing(open_database(url)) as other:
        write(1)
        tidy(one)

        class Slow(type(one)):  # type: ignore[misc]
            def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
                rows: list[tuple[Any, ...]] = super().rows(statement, values)
                if "ORDER BY writer" in statement:
                    tidy(other)
                return rows

        class Watched(type(one)):  # type: ignore[misc]
            def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
                texts.append(statement)
                return list(super().rows(statement, values))

        one.__class__, other.__class__ = Slow, Watched
        write(2)
        tidy(one)
        assert not [text for text in texts if "ORDER BY writer" in text]
        assert one.row("SELECT count(*) FROM counted") == (0,)


class Courier:
    """Carries the talk of a client and a server over a socket, until it is to lose a COMMIT."""

    def __init__(self, path: Path, server: str) -> None:
        self.loses = ""
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o777)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return  # closed
            with client, socket.socket(socket.AF_UNIX) as server:
                server.connect(self._server)
                self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            for ready in select.select([client, server], [], [])[0]:
                data = ready.recv(65536)
                is_commit = ready is client and b"COMMIT" in data.replace(b"COMMITTED", b"")
                if not data or (is_commit and self.loses == "the COMMIT"):
                    return
                (server if ready is client else client).sendall(data)
                if is_commit and self.loses:
                    server.recv(65536)
                    return

    def close(self) -> None:
        """Take no more connections."""
        # Otherwise the thread would take those of the next listener that has the same descriptor.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def courier(server: DatabaseServer, tmp_path: Path) -> Iterator[tuple[Courier, str]]:
    """A courier before each server, and the URL of a new database by way of it."""
    url = server.new_database()
    create_or_upgrade(url)
    if isinstance(server, PostgreSQL):
        name, theirs = f".s.PGSQL.{server.port}", str(server.folder)
        carried, path = Courier(tmp_path / name, f"{theirs}/{name}"), str(tmp_path)
    else:
        assert isinstance(server, MariaDB)
        theirs, path = str(server.socket), str(tmp_path / "s")
        carried = Courier(tmp_path / "s", theirs)
        url += "&ssl-mode=DISABLED"  # or a courier could not read it
    yield carried, url.replace(theirs, path)
    carried.close()


@pytest.mark.parametrize("is_folded", [False, True])
@pytest.mark.parametrize("lost", ["the COMMIT", "its answer"])
def test_mails_are_counted_once_although_the_answer_to_their_commit_is_lost(
    courier: tuple[Courier, str], make: Callable[..., Site], lost: str, *, is_folded: bool
) -> None:
    carried, place = courier
    site = make(place)
    now, homes = time.time(), [address("ES", number) for number in (1, 2)]
    config = load(str(site.config))
    for home in homes:
        assert is_pass(site.ask(USER, home))
    assert site.admin("block", USER).returncode == 0
    with closing(open_database(place)) as database:
        block = incidents.open_incident(database, USER)
        assert block is not None
        verdicts = Verdicts(config, database, print)
        for number, home in enumerate(homes * 2):
            verdicts.counts.add((USER, home, ""), f"first.{number}", "unknown", now)
            verdicts.counts.add((USER, "192.0.2.1", str(block.id)), f"try.{number}", "", now)
        for number in range(2):
            carried.loses = lost
            with pytest.raises(StoreError):
                verdicts.counts.write(verdicts.database)
            carried.loses = ""
            verdicts.counts.add((USER, homes[0], ""), f"more.{number}", "unknown", now)
            if is_folded:
                sums.fold(database, now)
        for _ in range(2):
            verdicts.counts.write(verdicts.database)
            sums.fold(database, now)
    assert site.mails(USER) == {homes[0]: 1 + 2 + 2, homes[1]: 1 + 2}
    assert [row["tries"] for row in site.data("list")] == [4]


def test_command_whose_commit_has_no_answer_is_not_carried_out_again(
    courier: tuple[Courier, str], make: Callable[..., Site]
) -> None:
    carried, place = courier
    site = make(place)
    assert site.admin("block", USER).returncode == 0
    carried.loses = "its answer"
    done = site.admin("unblock", USER)
    carried.loses = ""
    assert done.returncode == 4
    assert done.stderr.endswith(": look whether it was done\n")
    assert site.blocked() == []


def test_thief_who_alternates_between_hosts_is_stopped_as_on_one(
    place: str, make: Callable[..., Site]
) -> None:
    hosts = [make(place), make(place)]
    actions = [
        hosts[number % 2].ask(USER, address(country))
        for number, country in enumerate(("ES", "FR", "BR", "VN", "ES"))
    ]
    assert [is_pass(action) for action in actions] == [True, True, True, False, False]
    assert hosts[1].blocked() == [USER]


def test_notice_is_taken_by_one(place: str, database: Database) -> None:
    with database.turn(USER):
        for _ in range(20):
            blocks.add_notice(database, 1, USER, "blocked", ("mail",), 1000)

    def take_all(_: int) -> list[int]:
        with closing(open_database(place)) as mine:
            found = []
            while row := outbox.take(mine, 0, 1000.0):
                found.append(row.id)
            return found

    with ThreadPoolExecutor(4) as pool:
        taken = [number for found in pool.map(take_all, range(4)) for number in found]
    assert len(taken) == len(set(taken)) == 20


# The work of administrators.


def test_commands_work_on_a_server(place: str, make: Callable[..., Site], tmp_path: Path) -> None:
    site = make(place, PLAIN + 'action = "HOLD"\n')
    for country in ("ES", "FR", "BR", "VN", "DE"):
        site.ask(USER, address(country))
    (row,) = site.data("list")
    assert (row["account"], row["held"], row["tries"]) == (USER, 2, 2)
    assert site.data("show", USER)["blocked"]
    assert site.admin("check", USER, address("ES")).returncode == 1
    for place in (address("ES"), "11.1.0.0/24", "11.1.0.0/16", "ES"):
        assert [row["account"] for row in site.data("seen", place)] == [USER]
    assert len(site.data("held", USER)) == 2
    assert site.data("unblock", USER)["unblocked"] == [USER]
    assert site.data("list") == []
    assert site.admin("block", "eve@example.org", "--reason", "called").returncode == 0
    assert site.blocked() == ["eve@example.org"]
    assert not is_pass(site.ask("eve@example.org", address("ES")))
    assert site.admin("exempt", "add", "account", "eve@example.org").returncode == 0
    assert is_pass(site.ask("eve@example.org", address("ES")))
    assert [row["value"] for row in site.data("exempt", "list")] == ["eve@example.org"]
    assert site.admin("exempt", "remove", "account", "eve@example.org").returncode == 0
    log = tmp_path / "mail.log"
    log.write_text(
        "".join(
            f"2026-07-0{day}T10:00:00+00:00 mx postfix/submission/smtpd[7]: 4F2A{day}:"
            f" client=a[{address('ES')}], sasl_method=PLAIN, sasl_username=ann@example.org\n"
            for day in (1, 2)
        )
    )
    assert site.data("replay", "--import", str(log))["imported"]["mails"] == 2
    assert site.mails("ann@example.org") == {address("ES"): 2}
    assert site.data("stats")["blocked"] == 1
    assert "pcc_blocked" in site.admin("stats", "--prometheus").stdout
    assert site.data("report")["incidents"]
    assert site.admin("forget", USER, "--force").returncode == 0  # it has mail on hold
    assert site.admin("forget", USER).returncode == 1
    assert site.data("cleanup", "--days", "0") == {"sightings": 1, "incidents": 0}
    assert site.blocked() == ["eve@example.org"]
    assert site.admin("notify").returncode == 0


def test_end_of_an_exemption_is_told_once_by_many_at_once(place: str, database: Database) -> None:
    exemptions.add(database, "account", USER, 2000, "ann", "", 1000)

    def leave(_: int) -> None:
        with closing(open_database(place)) as mine:
            exemptions.leave_notices(mine, ("mail", "command"), 1500)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(leave, range(4)))
    found = database.rows("SELECT account, what, channel FROM outbox ORDER BY channel")
    assert found == [(USER, "exemption_ends", channel) for channel in ("command", "mail")]


def totals(site: Site) -> dict[str, int]:
    """Return the counters of `stats` that are not 0."""
    figures = site.data("stats")
    return {name: n for name, n in figures.items() if name.endswith("_total") and n}


def test_counters_outlive_what_they_count(place: str, make: Callable[..., Site]) -> None:
    site = make(place, PLAIN + 'action = "HOLD"\nhold_limit = 2\n')
    for account in (USER, "ann@example.org"):
        for country in ("ES", "FR", "BR", "VN", "DE", "PT"):
            site.ask(account, address(country))
    with closing(open_database(place)) as database:
        for row, state in zip(
            incidents.held_mail(database, USER), ("released", "deleted"), strict=True
        ):
            incidents.set_held_states(database, [row], state)
    counted = {
        "incidents_enforce_total": 2,
        "stopped_total": 6,
        "held_total": 4,
        "released_total": 1,
        "deleted_total": 1,
    }
    assert totals(site) == counted
    assert site.admin("unblock", USER, "ann@example.org").returncode == 0
    assert site.admin("forget", "--force", USER).returncode == 0
    assert totals(site) == counted
    assert site.data("cleanup", "--days", "0")["incidents"] == 1
    assert totals(site) == counted
    with closing(open_database(place)) as database:
        assert database.row("SELECT count(*) FROM incident") == (0,)
        assert database.row("SELECT count(*) FROM held") == (0,)
    assert site.admin("block", USER).returncode == 0
    assert totals(site) == {**counted, "incidents_enforce_total": 3}


def test_counters_stand_still_while_old_incidents_are_dropped(
    place: str, database: Database
) -> None:
    values = {
        **dict.fromkeys(("rule", "countries", "country", "client_address", "client_name"), ""),
        "queue_id": "",
        "mode": "enforce",
        "window_seconds": 0,
        "action": "REJECT",
        "began": 1.0,
        "expires": 0.0,
        "ended": 2.0,
    }
    with database.turn(USER):
        for number in range(3000):
            blocks.insert_incident(database, f"{number % 1500}@example.org", values)
        database.write("UPDATE incident SET tries = 3, held = 1")
    read: list[dict[str, int]] = []

    def drop() -> int:
        with closing(open_database(place)) as mine:
            return upkeep.drop_old_incidents(mine, 10)

    with ThreadPoolExecutor(1) as pool:
        dropping = pool.submit(drop)
        while not dropping.done() or not read:
            read.append(counters.totals(database))
    assert dropping.result() == 3000
    for found in [*read, counters.totals(database)]:
        told = found["incidents enforce"], found["stopped"], found["held"]
        assert told == (3000, 9000, 3000)


def contents(place: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a database, except the name of the host in held mail."""
    with closing(open_database(place)) as database:
        found = {}
        for table in tables(SCHEMA_FILE.read_text()):
            if table.name != "pcc_schema":
                names = [column.name for column in table.columns if column.name != "host"]
                rows = database.rows(f"SELECT {', '.join(names)} FROM {table.name}")
                found[table.name] = sorted(rows, key=repr)
        return found


@pytest.mark.parametrize("scheme", SERVERS)
def test_database_moves_to_a_server_and_back(
    make: Callable[..., Site], tmp_path: Path, scheme: str
) -> None:
    server = running(scheme)
    file, place, back = str(tmp_path / "pcc.db"), server.new_database(), str(tmp_path / "back.db")
    site = make(file, PLAIN + 'action = "HOLD"\n[notify]\nto = ["x"]\nsendmail = "/none"\n', "")
    for country in ("ES", "FR", "BR", "VN", "DE"):
        site.ask(USER, address(country))
    site.admin("exempt", "add", "client", ".example.net")
    with closing(open_database(file)) as database:
        for number in range(2500):
            seen = Sighting(f"192.0.2.{number}", "ES", "", 1 / 3, 2.5, 1, 0, "1", "")
            with database.turn(f"{number % 7}@example.org"):
                sightings.save_sighting(database, f"{number % 7}@example.org", seen)
    moved = site.data("move", file, place)
    assert moved["sighting"] == 2504
    before = contents(file)
    assert {table: len(rows) for table, rows in before.items()} == moved
    assert contents(place) == before
    done = site.admin("move", file, place)
    assert done.returncode == 4
    assert "is not empty: it has 2504 rows in sighting" in done.stderr
    assert site.admin("move", place, back).returncode == 0
    assert contents(back) == before
    site.config.write_text(site.config.read_text().replace(file, place))
    assert len(site.data("held")) == 2
    assert site.data("block", "eve@example.org")["blocked"] == ["eve@example.org"]
    assert site.blocked() == [USER, "eve@example.org"]


def test_move_that_fails_leaves_nothing_behind(
    server: DatabaseServer, make: Callable[..., Site], tmp_path: Path
) -> None:
    file, place = str(tmp_path / "pcc.db"), server.new_database()
    site = make(file)
    with closing(open_database(file)) as database:
        seen = Sighting("192.0.2.1", "ES", "", 1, 1, 1, 0, "", "")
        for account in (USER, "\0" if isinstance(server, PostgreSQL) else "x" * 501):
            with database.turn(account):
                sightings.save_sighting(database, account, seen)
    done = site.admin("move", file, place)
    assert done.returncode == 4, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not any(contents(place).values())


def test_init_joins_the_spellings_of_an_account(place: str, make: Callable[..., Site]) -> None:
    policy = f'account = "sender"\naction = "HOLD"\nrecipient_delimiter = ""\n{PLAIN}'
    site = make(place, policy)
    for number in (1, 2):
        for country in ("ES", "FR", "BR", "VN"):
            site.ask(f"joe+{number}@example.org", address(country))
    counted = totals(site)
    site = make(place, policy.replace('""', '"+"'))
    assert site.admin("init").returncode == 0
    assert totals(site) == counted
    [block] = site.data("list")
    assert (block["account"], block["held"], block["tries"]) == ("joe@example.org", 2, 2)
    assert site.ask("joe+3@example.org", address("ES")) == "HOLD"
    assert len(site.data("held")) == 3
    assert sum(site.mails("joe@example.org").values()) == 8


def test_clock_that_jumped_back_is_put_right(place: str, make: Callable[..., Site]) -> None:
    site = make(place)
    with closing(open_database(place)) as database:
        later = time.time() + 50_000
        for country in ("ES", "FR"):
            seen = Sighting(address(country), country, "", later, later, 1, 0, "", "")
            with database.turn(USER):
                sightings.save_sighting(database, USER, seen)
                sightings.save_place(database, USER, "country", Seen(country, later, later, 1, 0))
    assert is_pass(site.ask(USER, address("ES")))
    for row in site.data("show", USER)["sightings"]:
        assert row["last_seen"] <= time.strftime("%FT%TZ", time.gmtime())


# Servers that are away, slow, or take no writes.


def test_server_that_is_away_is_told_and_needs_no_restart_of_ours(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    place = server.new_database()
    site = make(place)
    for country in ("ES", "FR", "BR", "VN"):
        site.ask("thief@example.org", address(country))
    process, idle = site.policy(), site.policy()
    assert is_pass(process.ask(USER, address("ES")))
    assert is_pass(idle.ask("ann@example.org", address("ES")))
    assert is_pass(idle.ask("ann@example.org", address("ES")))  # waits to be counted
    server.stop(signal.SIGQUIT if isinstance(server, PostgreSQL) else signal.SIGKILL)
    try:
        assert process.ask(USER, address("FR")) is None
        assert process.end() == 74
        status, told = complaint(site)
        assert status == 74
        name = "localhost" + place.partition("@")[2].partition("?")[0]
        assert told.startswith(f"pcc_policy.py: {place.partition(':')[0]}://{name}: "), told
        assert len(told.splitlines()) == 1
        done = site.admin("list")
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith(f"pcc_admin.py: {place.partition(':')[0]}://{name}: ")
    finally:
        server.start()
    assert idle.end() == 0
    assert is_pass(site.ask(USER, address("FR")))
    assert is_refusal(site.ask("thief@example.org", address("ES")))
    assert site.mails("ann@example.org") == {address("ES"): 2}


def test_server_that_is_killed_under_load_has_no_mail_judged_wrongly_or_unanswered(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    hosts = [make(place) for place in [server.new_database()] * 2]

    def send_all(account: str) -> list[bool]:
        passed = []
        for number, country in enumerate(("ES", "FR", "BR", "VN", "DE", "ES")):
            action = hosts[number % 2].ask(
                account, address(country), instance=f"{account}.{number}"
            )
            assert action is not None
            passed.append(is_pass(action))
        return passed

    with ThreadPoolExecutor(4) as pool:
        verdicts = [pool.submit(send_all, f"user{number}@example.org") for number in range(6)]
        for _ in range(2):
            time.sleep(1.2)
            server.stop(signal.SIGQUIT if isinstance(server, PostgreSQL) else signal.SIGKILL)
            time.sleep(0.5)
            server.start()
        for verdict in verdicts:
            assert verdict.result() == [True, True, True, False, False, False]
    rows = hosts[0].data("list")
    assert len(rows) == 6
    # A refusal is counted after the reply, and the server may be killed between the two.
    assert {row["tries"] for row in rows} <= {1, 2, 3}


def test_server_that_answers_nothing_is_waited_for_until_the_deadline(
    make: Callable[..., Site],
) -> None:
    def with_new_connection(site: Site) -> float:
        begin = time.monotonic()
        status, told = complaint(site)
        assert status in (74, 75)
        assert len(told.splitlines()) == 1, told
        return time.monotonic() - begin

    def with_open_connection(process: PolicyProcess) -> float:
        begin = time.monotonic()
        assert process.ask(USER, address("BR")) is None
        return time.monotonic() - begin

    paused = [running(scheme) for scheme in SERVERS]
    sites = [make(server.new_database()) for server in paused]
    processes = [site.policy() for site in sites]
    assert [process.ask(USER, address("ES")) for process in processes] == ["DUNNO", "DUNNO"]
    for server in paused:
        server.pause()
    try:
        with ThreadPoolExecutor() as pool:
            waits = [pool.submit(with_new_connection, site) for site in sites]
            waits += [pool.submit(with_open_connection, process) for process in processes]
            seconds = [wait.result() for wait in waits]
    finally:
        for server in paused:
            server.go_on()
    assert all(4 < wait < 10 for wait in seconds), seconds
    for site in sites:
        assert is_pass(site.ask(USER, address("ES")))


def test_account_that_somebody_else_has_locked_is_waited_for_and_others_are_not(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    place = server.new_database()
    site = make(place)
    with closing(open_database(place)) as lock, ThreadPoolExecutor() as pool:
        with lock.turn(USER):
            lock.row("SELECT 1")  # sends what the turn begins with
            waiting = pool.submit(site.ask, USER, address("ES"))
            assert is_pass(site.ask("ann@example.org", address("FR")))
            assert not waiting.done()
        assert is_pass(waiting.result())


def test_transaction_in_the_way_of_another_is_done_again(server: DatabaseServer) -> None:
    place = server.new_database()
    create_or_upgrade(place)
    tries = []
    with closing(open_database(place)) as ours, closing(open_database(place)) as theirs:
        for number in range(20):  # InnoDB rolls back the transaction that has changed less
            blocks_of = f"{number}@example.org"
            with ours.turn(blocks_of):
                pass
        is_ours, is_theirs = threading.Event(), threading.Event()

        def other() -> None:
            with theirs:
                for number in range(20):
                    theirs.write(
                        "UPDATE account SET turns = 0 WHERE account = ?",
                        (f"{number}@example.org",),
                    )
                is_theirs.set()
                is_ours.wait(10)
                time.sleep(0.2)
                theirs.write(
                    "INSERT INTO account (account, generation, turns) VALUES (?, 0, 0)"
                    " ON CONFLICT (account) DO UPDATE SET turns = excluded.turns",
                    (USER,),
                )

        def work() -> None:
            tries.append(1)
            is_ours.set()
            is_theirs.wait(10)
            ours.write("UPDATE account SET turns = 0 WHERE account = '7@example.org'")

        thread = threading.Thread(target=other)
        thread.start()
        ours.in_turn(work, USER)
        thread.join()
    assert len(tries) > 1  # and once more where the other is still at it


def test_command_in_a_deadlock_is_carried_out_after_it(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    place = server.new_database()
    site = make(place)
    is_waiting = {
        "postgresql": "SELECT 1 FROM pg_locks WHERE NOT granted",
        # Not innodb_trx: it stays as it is while it is read more often than ten times a second.
        "mysql": "SELECT 1 FROM information_schema.global_status"
        " WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS' AND variable_value > 0",
    }[server.scheme]

    def meet(other: Database, pool: ThreadPoolExecutor) -> bool:
        """Whether it is the command that is rolled back."""
        assert site.admin("block", USER).returncode == 0
        try:
            with other:
                for number in range(20):  # InnoDB rolls back the transaction that has changed less
                    blocks.add_event(other, f"{number}@example.org", "x", "ann", "", 1)
                other.write("UPDATE incident SET tries = 1 WHERE account = ?", (USER,))
                command = pool.submit(site.admin, "unblock", USER)
                wait_until(lambda: bool(server.execute(is_waiting)), "the command waits")
                other.write("UPDATE account SET turns = turns + 1 WHERE account = ?", (USER,))
        except AgainError:
            return False
        finally:
            done = command.result()
            assert done.returncode == 0, done.stderr
        return True

    with closing(open_database(place)) as other, ThreadPoolExecutor(1) as pool:
        assert any(meet(other, pool) for _ in range(5))
    assert site.blocked() == []


CONFLICTS = {
    "postgresql": (
        "CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('writes_to_' || TG_TABLE_NAME) = 1 THEN"
        " RAISE EXCEPTION 'a conflict' USING ERRCODE = '40001'; END IF;"
        " RETURN coalesce(NEW, OLD); END $$",
        "CREATE TRIGGER {event} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION meet()",
        "SELECT nextval('writes_to_{table}')",
    ),
    "mysql": (
        "SELECT 1",
        "CREATE TRIGGER {event}_{table} BEFORE {event} ON {table} FOR EACH ROW"
        " IF nextval(writes_to_{table}) = 1 THEN"
        " SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END IF",
        "SELECT nextval(writes_to_{table})",
    ),
}
"""Makes the first write to each table a conflict: before all, for each table; and counts them."""


def test_commands_that_meet_conflicts_are_carried_out(
    server: DatabaseServer, make: Callable[..., Site], tmp_path: Path
) -> None:
    place, eve = server.new_database(), "eve@example.org"
    site = make(place, PLAIN + 'action = "HOLD"\n')
    for country in ("ES", "FR", "BR", "VN", "DE"):
        site.ask(USER, address(country))
    before, trigger, count = CONFLICTS[server.scheme]
    names = [table.name for table in tables(SCHEMA_FILE.read_text()) if table.name != "pcc_schema"]
    log = tmp_path / "mail.log"
    log.write_text(
        "2026-07-01T10:00:00+00:00 mx postfix/submission/smtpd[7]: 4F2A1:"
        f" client=a[{address('ES')}], sasl_method=PLAIN, sasl_username=ann@example.org\n"
    )

    with closing(server_database(place)) as database:
        database.open_any()
        database.run(before)
        for table in names:
            database.run(f"CREATE SEQUENCE writes_to_{table}")
            for event in ("INSERT", "UPDATE", "DELETE"):
                database.run(trigger.format(event=event, table=table))

        def carry_out(*command: str) -> None:
            for table in names:
                database.run(f"ALTER SEQUENCE writes_to_{table} RESTART")
            done = site.admin(*command)
            assert done.returncode == 0, done.stderr
            counts = [database.row(count.format(table=table)) for table in names]
            assert max(row[0] for row in counts if row) > 2, command

        carry_out("block", eve)
        carry_out("exempt", "add", "account", eve, "--for", "14d")
        carry_out("exempt", "add", "client", ".example.net")
        carry_out("exempt", "remove", "account", eve)
        carry_out("unblock", eve)
        carry_out("replay", "--import", str(log))
        carry_out("unblock", USER)
        held = incidents.held_mail(database, USER)
        database.run("ALTER SEQUENCE writes_to_held RESTART")
        incidents.set_held_states(database, held, "released")
        with database:
            database.run("ALTER SEQUENCE writes_to_outbox RESTART WITH 2")
            blocks.add_notice(database, 1, USER, "blocked", ("mail",), 1000)
        carry_out("notify")
        carry_out("init")
        carry_out("forget", "ann@example.org")
        carry_out("cleanup", "--days", "0")
        assert [event.what for event in incidents.events_of(database, eve)] == []
        for table in ("held", "incident", "outbox", "sighting"):
            assert database.rows(f"SELECT * FROM {table}") == []


def read_only(server: DatabaseServer) -> tuple[Callable[[str], str], Callable[[], None]]:
    """Make read-only what there is; return where it is then, and what ends that."""
    if isinstance(server, PostgreSQL):
        standby = PostgreSQL(server)
        old, new = (one.url("").partition("?")[2] for one in (server, standby))

        def end() -> None:
            for one in (standby, server):
                one.stop(signal.SIGINT)

        return lambda place: place.replace(old, new), end
    server.execute("SET GLOBAL read_only = 1")
    return lambda place: place, lambda: void(server.execute("SET GLOBAL read_only = 0"))


def void(value: object) -> None:
    pass


def test_standby_holds_the_blocks_and_lets_nothing_else_through(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    if isinstance(server, PostgreSQL):
        server = PostgreSQL()  # a small one, because a standby begins as a copy of all
    place = server.new_database()
    site, holding = make(place), make(place, PLAIN + 'action = "HOLD"\n')
    for country in ("ES", "FR", "BR", "VN"):
        site.ask("thief@example.org", address(country))
    site.ask(USER, address("ES"))
    at, end = read_only(server)
    try:
        for host in (site, holding):
            host.config.write_text(host.config.read_text().replace(place, at(place)))
            assert is_refusal(host.ask("thief@example.org", address("ES")))
            status, told = complaint(host)
            assert status == 74
            assert told.endswith("the server takes no writes: is it a standby?"), told
        assert site.blocked() == ["thief@example.org"]
        done = site.admin("unblock", "thief@example.org")
        assert done.returncode == 4
        assert "can't be written: the server takes no writes: is it a standby?" in done.stderr
    finally:
        end()


# Where it is, and who we are.


def with_password(server: DatabaseServer, tmp_path: Path, how: str) -> str:
    """Return the URL of a database for the user who needs a password, given in some way."""
    name = server.new_database().partition("@/")[2].partition("?")[0]
    url = server.url(name, "secret")
    file = tmp_path / "secret"
    text = {
        "password_file": PASSWORD + "\n",
        "passfile": "*:*:*:*:" + PASSWORD.replace("\\", "\\\\").replace(":", "\\:"),
        "read_default_file": f'[client]\npassword = "{PASSWORD}"\n',
    }
    if how == "url":
        return url.replace("secret@", f"secret:{quote(PASSWORD, safe='')}@")
    file.write_text(text[how])
    file.chmod(0o600)
    return f"{url}&{how}={file}"


@pytest.mark.parametrize(
    ("scheme", "how"),
    [
        ("postgresql", "url"),
        ("postgresql", "password_file"),
        ("postgresql", "passfile"),
        ("mysql", "url"),
        ("mysql", "password_file"),
        ("mysql", "read_default_file"),
    ],
)
def test_password_is_found_and_never_told(
    make: Callable[..., Site], tmp_path: Path, scheme: str, how: str
) -> None:
    server = running(scheme)
    place = with_password(server, tmp_path, how)
    if scheme == "postgresql":  # who has it is a member of its owner only
        name = place.partition("@/")[2].partition("?")[0]
        server.execute("GRANT CREATE ON SCHEMA public TO secret", name)
    site = make(place)
    told = site.admin("init").stdout
    assert "secret" not in told
    assert PASSWORD not in told
    assert is_pass(site.ask(USER, address("ES")))
    wrong = place.replace("s3cret", "wr0ng") if how == "url" else place
    if how != "url":
        for file in tmp_path.glob("secret"):
            file.write_text(file.read_text().replace("s3cret", "wr0ng"))
    site.config.write_text(site.config.read_text().replace(place, wrong))
    status, told = complaint(site, client_address=address("FR"))  # which the host's file has not
    assert status == 74
    assert "wr0ng" not in told
    assert "secret" in told  # the user's name, in the server's own words
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("scheme", "options", "complaint"),
    [
        ("postgresql", "sslmode=disable", None),
        ("postgresql", "sslmode=verify-full&sslrootcert={ca}", None),
        ("postgresql", "sslmode=verify-full&sslrootcert={other}", "certificate verify failed"),
        ("mysql", "ssl-mode=DISABLED", None),
        ("mysql", "ssl-mode=REQUIRED", None),
        ("mysql", "ssl-ca={ca}", None),
        ("mysql", "ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}", None),
        ("mysql", "ssl-mode=VERIFY_IDENTITY&ssl-ca={other}", "certificate verify failed"),
        ("mysql", "ssl-mode=VERIFY_CA&ssl-ca={ca}.missing", "No such file"),
    ],
)
def test_encryption_is_as_the_url_says(scheme: str, options: str, complaint: str | None) -> None:
    server, other = running(scheme), running(next(name for name in SERVERS if name != scheme))
    name = server.new_database().partition("@/")[2].partition("?")[0]
    create_or_upgrade(server.url(name))
    if scheme == "postgresql":
        server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO secret", name)
    files = {"ca": server.folder / "ca.pem", "other": other.folder / "ca.pem"}
    place = (
        f"{scheme}://secret:{quote(PASSWORD, safe='')}@localhost:{server.port}/{name}"
        f"?{options.format(**files)}"
    )
    if complaint:
        with pytest.raises(StoreError, match=complaint):
            open_database(place)
        return
    query = {
        "postgresql": "SELECT CASE WHEN ssl THEN 'yes' ELSE '' END FROM pg_stat_ssl"
        " WHERE pid = pg_backend_pid()",
        "mysql": "SELECT variable_value FROM information_schema.session_status"
        " WHERE variable_name = 'Ssl_cipher'",
    }
    with closing(open_database(place)) as database:
        ((cipher,),) = database.rows(query[scheme])
    assert bool(cipher) == ("disable" not in options.lower())


def statements_of_the_guide(begin: str, **changes: str) -> list[str]:
    """Return the SQL of a section of docs/several-hosts.md, for a user and database `guide`."""
    text = (ROOT / "docs" / "several-hosts.md").read_text()
    section = text.partition(f"## {begin}\n")[2].partition("\n## ")[0]
    told = "".join(re.findall(r"^```sql\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
    found = [line.rstrip(";") for line in told.splitlines() if line.endswith(";")]
    for old, new in {r"\bpcc\b": "guide", **changes}.items():
        found = [re.sub(old, new, line) for line in found]
    return found


@pytest.mark.parametrize("scheme", SERVERS)
def test_pcc_needs_no_more_rights_than_the_guide_gives(
    make: Callable[..., Site], scheme: str
) -> None:
    server = running(scheme)
    title = {"postgresql": "PostgreSQL", "mysql": "MariaDB and MySQL"}[scheme]
    granted = statements_of_the_guide(title, **{r"192\.0\.2\.10": "localhost", " REQUIRE SSL": ""})
    assert len(granted) == 4, granted
    for statement in granted[:3]:
        server.execute(statement, "guide" if "SCHEMA" in statement else "")
    site = make(server.url("guide", "guide").replace("guide@", "guide:a%20long%20one@"))
    server.execute(granted[3], "guide" if "SCHEMA" in granted[3] else "")
    for country in ("ES", "FR", "BR", "VN"):
        action = site.ask(USER, address(country))
    assert is_refusal(action)
    assert site.admin("init").returncode == 0
    for command in (
        ["list", "--history"],
        ["unblock", "--all"],
        ["forget", USER],
        ["cleanup"],
        ["stats"],
    ):
        assert site.admin(*command).returncode == 0, command


@pytest.mark.parametrize(
    ("scheme", "module", "command"),
    [
        ("postgresql", "psycopg2", "pip install psycopg2-binary"),
        ("mysql", "pymysql", "pip install PyMySQL"),
    ],
)
def test_server_without_its_driver_is_refused_with_the_command_that_installs_it(
    scheme: str, module: str, command: str
) -> None:
    code = (
        f"import sys; sys.modules['{module}'] = None\nfrom pcc.store import open_database\n"
        f"try: open_database('{scheme}://localhost/pcc')\nexcept Exception as e: print(repr(e))"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=True, timeout=30)
    assert done.stdout.startswith('StoreError("a ')
    assert command in done.stdout


def test_database_without_tables_tells_what_to_do(server: DatabaseServer) -> None:
    place = server.new_database()
    with pytest.raises(StoreError, match=r"is not a database of pcc: run pcc_admin\.py init$"):
        open_database(place)


def test_upgrade_by_another_host_ends_the_processes_of_an_older_pcc(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    place = server.new_database()
    site = make(place)
    reading, writing = site.policy(), site.policy()
    for process in (reading, writing):
        assert is_pass(process.ask(USER, address("ES")))
    with closing(open_database(place)) as database, database:
        database.write("UPDATE pcc_schema SET version = 99")
    assert writing.ask(USER, address("FR")) is None
    time.sleep(1)
    assert reading.ask(USER, address("ES")) is None
    with closing(server_database(place)) as database:
        assert database.open_any() == 99
        assert database.rows("SELECT name FROM place") == [("ES",)]


def test_schema_of_another_version_is_refused(server: DatabaseServer) -> None:
    place = server.new_database()
    create_or_upgrade(place)
    with closing(open_database(place)) as database, database:
        database.write("UPDATE pcc_schema SET version = 99")
    for attempt in (open_database, create_or_upgrade):
        with pytest.raises(
            StoreError, match=f"knows only up to {SCHEMA_VERSION}: use the newer pcc"
        ):
            attempt(place)


def test_moments_of_thousands_of_mails_are_kept(database: Database) -> None:
    """A mail limit may be of any number, and a text of MySQL has 64 KB."""
    moments = " ".join(f"{1_900_000_000 - number}.000000:0:9" for number in range(5000))
    with database.turn(USER):
        sightings.save_mails(database, USER, {"hosting": moments, "foreign": moments})
    known = sightings.known(database, USER, "")
    assert known.mails == {"hosting": moments, "foreign": moments}


# Round trips, several hosts, and servers that come and go.


def test_decision_takes_three_round_trips_and_a_crossing_five(
    server: DatabaseServer, make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(server.new_database())
    database = server_database(load(str(site.config)).store_database)
    database.for_verdicts = True
    sent: list[int] = []
    execute = type(database).execute

    def counted(self: Any, connection: Any, statements: Any) -> Any:
        sent.append(len(statements))
        return execute(self, connection, statements)

    monkeypatch.setattr(type(database), "execute", counted)
    with closing(Verdicts(load(str(site.config)), database, print)) as verdicts:
        database.check_in_place()
        trips = []
        for country in ("ES", "FR", "BR", "VN"):
            database.check_in_place()
            sent.clear()
            request = request_of(USER, address(country))
            verdicts.verdict(USER, request, time.time())
            trips.append(len(sent))
    assert trips[:3] == [3, 3, 3]
    assert trips[3] <= 5
    assert site.blocked() == [USER]


def request_of(account: str, client: str) -> PolicyRequest:
    """Return a request of an account."""
    reader = RequestReader()
    reader.receive(request_text(sasl_username=account, client_address=client).encode())
    request = reader.next_request()
    assert request is not None
    return request


def test_pooler_that_gives_another_session_costs_a_new_connection_and_no_more() -> None:
    place = running("postgresql").new_database()
    create_or_upgrade(place)
    with closing(open_database(place, for_verdicts=True)) as database:
        assert isinstance(database, ServerDatabase)
        query = "SELECT count(*) FROM sighting WHERE account = ?"
        assert [database.row(query, (USER,)) for _ in range(3)] == [(0,)] * 3
        database.run("DEALLOCATE ALL")
        with pytest.raises(AgainError):
            database.row(query, (USER,))
        assert [database.row(query, (USER,)) for _ in range(3)] == [(0,)] * 3
        assert database.row("SELECT count(*) FROM pg_prepared_statements") == (0,)


def silent_port() -> tuple[socket.socket, int]:
    """Return a port of localhost that takes connections, and says nothing."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(50)
    return listener, int(listener.getsockname()[1])


def test_silent_host_takes_its_part_of_the_time_and_is_asked_last_then(
    server: DatabaseServer, make: Callable[..., Site]
) -> None:
    name = server.new_database().rpartition("?")[0].rpartition("/")[2]
    listener, silent = silent_port()
    user = quote(PASSWORD, safe="")
    place = f"{server.scheme}://secret:{user}@127.0.0.1:{silent},127.0.0.1:{server.port}/{name}"
    with listener, closing(server_database(place)) as database:
        begin = time.monotonic()
        database.open_any()
        assert 2 < time.monotonic() - begin < 4
        database.close()
        begin = time.monotonic()
        database.open_any()
        assert time.monotonic() - begin < 2


def test_failover_leaves_no_mail_without_an_answer(make: Callable[..., Site]) -> None:
    primary = PostgreSQL()
    place = primary.new_database()
    site = make(place)
    assert is_pass(site.ask(USER, address("ES")))
    standby = PostgreSQL(primary)
    both = place.replace(
        f"host={primary.folder}&port={primary.port}",
        f"host={primary.folder},{standby.folder}&port={primary.port},{standby.port}",
    )
    site.config.write_text(site.config.read_text().replace(place, both))
    try:
        processes = [site.policy() for _ in range(6)]
        for number, process in enumerate(processes):
            assert is_pass(process.ask(f"{number}@example.org", address("ES")))
            assert is_pass(process.ask(f"{number}@example.org", address("ES")))  # to be counted
        wait_until_replayed(primary, standby)
        primary.stop(signal.SIGQUIT)
        with ThreadPoolExecutor() as pool:
            answers = [
                pool.submit(process.ask, f"{number}@example.org", address("FR"))
                for number, process in enumerate(processes)
            ]
            time.sleep(1)
            standby.execute("SELECT pg_promote()")
            assert [is_pass(answer.result()) for answer in answers] == [True] * 6
        assert [process.end() for process in processes] == [0] * 6
        counted = [site.mails(f"{number}@example.org") for number in range(6)]
        assert counted == [{address("ES"): 2, address("FR"): 1}] * 6
    finally:
        for one in (standby, primary):
            one.stop(signal.SIGINT)


def wait_until_replayed(primary: PostgreSQL, standby: PostgreSQL) -> None:
    """Wait until the standby has all that the primary has."""
    (place,) = primary.execute("SELECT pg_current_wal_lsn()")
    query = f"SELECT pg_last_wal_replay_lsn() >= '{place[0]}'"
    deadline = time.monotonic() + 20
    while standby.execute(query) != [(True,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_old_primary_that_comes_back_is_taken_for_a_standby(tmp_path: Path) -> None:
    old = PostgreSQL()
    place = old.new_database()
    create_or_upgrade(place)
    new = PostgreSQL(old)
    both = place.replace(
        f"host={old.folder}&port={old.port}",
        f"host={old.folder},{new.folder}&port={old.port},{new.port}",
    )
    host_file = str(tmp_path / "host.db")
    try:
        with closing(open_database(both, host_file=host_file)) as database:
            assert not database.is_stale
        wait_until_replayed(old, new)
        old.stop(signal.SIGQUIT)
        new.execute("SELECT pg_promote()")
        with closing(open_database(both, host_file=host_file)) as database:
            assert not database.is_stale
        old.start()
        for name in (both, place):
            with closing(open_database(name, host_file=host_file)) as database:
                assert database.is_stale is (name == place)
    finally:
        for one in (new, old):
            one.stop(signal.SIGINT)
