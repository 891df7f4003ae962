"""Hosts that share servers which stand in for each other, and a pooler.

`make faults` has more of it, and figures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import clusters
import pytest
import servers
from checkout import address, is_pass, is_refusal
from clusters import Cluster, Galera
from hosts import USER, Host, wait_for

from faults import sharing
from pcc.store import open_database
from pcc.store.engine import mysql, postgresql
from pcc.store.engine.creation import create_or_upgrade

pytestmark = pytest.mark.subprocess


@pytest.fixture(scope="module")
def galera() -> Iterator[Galera]:
    servers.require(Galera.missing())
    with closing(Galera(Random(1))) as made:
        yield made


@pytest.fixture(params=clusters.KINDS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    kind = clusters.KINDS[request.param]
    if kind is Galera:
        yield request.getfixturevalue("galera")
        return
    servers.require(kind.missing())
    with closing(kind(Random(1))) as made:
        yield made


def test_hosts_get_exactly_the_limit_through_while_servers_or_followers_fail(
    cluster: Cluster,
) -> None:
    done = sharing.run(cluster, 2)
    assert done.is_sound(), done


def test_node_that_lags_behind_first_applies_what_others_have_committed(galera: Galera) -> None:
    writing, reading = galera.urls[0], galera.urls[2]
    create_or_upgrade(writing)
    with closing(open_database(writing)) as here, closing(open_database(reading)) as there:
        node = galera.nodes[2]
        with closing(node.connection()) as lagging, lagging.cursor() as cursor:
            cursor.execute("SET GLOBAL wsrep_desync = ON")
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            here.in_turn(lambda: None, "lag@example.org")
            unlock = threading.Timer(1, lambda: cursor.execute("UNLOCK TABLES"))
            unlock.start()
            begin = time.monotonic()
            row = there.row("SELECT 1 FROM account WHERE account = ?", ("lag@example.org",))
            unlock.join()
            cursor.execute("SET GLOBAL wsrep_desync = OFF")
    assert row == (1,)
    assert time.monotonic() - begin > 0.9


def test_decision_that_another_node_overtakes_between_its_statements_is_made_again(
    galera: Galera,
) -> None:
    account, attempts = "overtaken@example.org", []
    create_or_upgrade(galera.urls[0])
    with (
        closing(open_database(galera.urls[0])) as here,
        closing(open_database(galera.urls[1])) as there,
    ):
        there.in_turn(lambda: None, account)

        def work() -> None:
            attempts.append(account)
            here.write_later("DO SLEEP(1)")  # it swallows the error of an abort
            add = "UPDATE account SET generation = generation + 1 WHERE account = ?"
            here.write_later(add, (account,))

        other = threading.Timer(0.5, there.in_turn, (lambda: None, account))
        other.start()
        here.in_turn(work, account)
        other.join()
        query = "SELECT turns, generation FROM account WHERE account = ?"
        row = here.row(query, (account,))
    assert row == (3, 1)
    assert len(attempts) == 2


def test_decision_that_no_standby_has_is_no_answer_and_not_seen(tmp_path: Path) -> None:
    server = servers.running("postgresql")
    host = Host(tmp_path / "host", server.new_database())
    host.follow()
    for country in ("ES", "FR", "BR", "VN"):
        host.ask("thief@example.org", address(country))
    assert is_pass(host.ask("ann@example.org", address("ES")))
    wait_for(lambda: host.has_block("thief@example.org") and host.knows("ann@example.org"))

    def require_standby(name: str) -> None:
        server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        server.execute("SELECT pg_reload_conf()")

    try:
        require_standby("none_there")
        assert host.ask(USER, address("ES")) is None
        assert is_pass(host.ask("ann@example.org", address("ES")))
        assert is_refusal(host.ask("thief@example.org", address("ES")))
        with closing(open_database(host.server_url)) as database:
            assert database.row("SELECT 1 FROM account WHERE account = ?", (USER,)) is None
        require_standby("")
        assert is_pass(host.ask(USER, address("ES")))
    finally:
        require_standby("")
        host.close()


@pytest.mark.parametrize("scheme", servers.KINDS)
def test_host_that_is_gone_does_not_keep_its_locks(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.running(scheme)
    url = server.new_database()
    create_or_upgrade(url)
    monkeypatch.setattr(mysql, "IDLE_SECONDS", 1)
    beginning = postgresql.PostgreSQLDatabase.beginning.replace("20000", "1000")
    monkeypatch.setattr(postgresql.PostgreSQLDatabase, "beginning", beginning)
    with closing(open_database(url)) as gone, closing(open_database(url)) as database:
        gone.turn("joe@example.org").__enter__()
        gone.rows("SELECT 1 FROM account")  # and that was the last of it
        begin = time.monotonic()
        database.in_turn(lambda: None, "joe@example.org")
        assert 0.5 < time.monotonic() - begin < 4
