"""Several hosts, each with a file of its own in front of a shared server, each with a follower."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from checkout import PolicyProcess, address, is_pass, is_refusal, request_text
from hosts import USER, Host, wait_for
from mmdb import write_country_database
from servers import KINDS as SERVERS
from servers import DatabaseServer, PostgreSQL, running

from pcc.config import Config
from pcc.config.iso3166 import CODES
from pcc.config.options import read_values
from pcc.config.prepared import load
from pcc.doctor import Finding
from pcc.doctor.database import check_host_file
from pcc.doctor.rights import user_of
from pcc.store import incidents, open_database, upkeep

pytestmark = pytest.mark.subprocess

THIEF = "thief@example.org"


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    return running(request.param)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Make hosts."""
    hosts: list[Host] = []

    def make(url: str, policy: str = "", more: str = "", store: str = "") -> Host:
        hosts.append(Host(tmp_path / f"host{len(hosts)}", url, policy, more, store))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def pair(make: Callable[..., Host], url: str) -> tuple[Host, Host]:
    """Two hosts on one database, each with its follower."""
    here, there = make(url), make(url)
    for host in (here, there):
        host.follow()
    return here, there


def test_repeat_needs_no_connection(server: DatabaseServer, make: Callable[..., Host]) -> None:
    host = make(server.new_database())
    host.follow()
    assert is_pass(host.ask(USER, address("ES")))
    wait_for(host.knows)
    process = host.policy()
    assert is_pass(process.ask(USER, address("ES")))
    loaded = Path(f"/proc/{process.process.pid}/maps").read_text()
    assert "libpq" not in loaded
    assert "psycopg2" not in loaded
    assert process.end() == 0
    wait_for(lambda: host.mails(USER) == {address("ES"): 2})


def test_block_elsewhere_holds_here_within_two_seconds(
    server: DatabaseServer, make: Callable[..., Host]
) -> None:
    here, there = pair(make, server.new_database())
    process = here.policy()
    assert is_pass(process.ask(USER, address("ES")))
    wait_for(here.knows)
    for number in range(3):
        assert is_pass(process.ask(USER, address("ES")))
        for country in ("FR", "BR", "VN", "DE"):
            there.ask(USER, address(country))
        begin = time.monotonic()
        wait_for(lambda: not is_pass(process.ask(USER, address("ES"))))
        assert time.monotonic() - begin < 2
        assert is_refusal(process.ask(USER, address("ES")))
        assert there.admin("unblock", USER).returncode == 0
        begin = time.monotonic()
        wait_for(lambda: is_pass(process.ask(USER, address("ES"))))
        assert time.monotonic() - begin < 2, number
        wait_for(lambda: is_pass(there.ask(USER, address("ES"))))  # a host by itself
    assert process.end() == 0


def test_place_that_another_host_has_judged_is_a_repeat_here(
    make: Callable[..., Host],
) -> None:
    url = running("postgresql").new_database()
    here, there = make(url, store='host = "mx1.example.org"\n'), make(url)
    os.utime(here.countries, (1e9, 1e9))
    os.utime(there.countries, (1e9, 1e9))
    here.follow()
    assert is_pass(there.ask(USER, address("ES")))
    assert is_pass(here.ask(USER, address("ES")))  # which makes the account known here
    wait_for(here.knows)
    ((judged_by,),) = here.rows("SELECT judged_by FROM sighting WHERE account = ?", USER)
    assert judged_by == load(str(here.config)).judged_by() == load(str(there.config)).judged_by()


def crowd(hosts: list[Host], account: str, processes: list[PolicyProcess]) -> list[str | None]:
    """Send an account's first mails from as many countries at once; return the answers."""
    for number, process in enumerate(processes):
        process.send(request_text(account, f"12.{number}.0.1"))
    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(lambda process: process.reply(), processes))


def test_crowd_over_three_hosts_gets_exactly_max_countries_through(
    server: DatabaseServer, make: Callable[..., Host]
) -> None:
    url = server.new_database()
    hosts = [make(url) for _ in range(3)]
    networks = [f"12.{number}.0.0/16" for number in range(40)]
    for host in hosts:
        write_country_database(host.countries, dict(zip(networks, sorted(CODES), strict=False)))
    processes = [hosts[number % 3].policy() for number in range(40)]
    for number, process in enumerate(processes):
        assert is_pass(process.ask(f"warm{number % 9}@example.org", "12.1.0.1"))
    for number in range(3):
        actions = crowd(hosts, f"joe{number}@example.org", processes)
        assert sum(map(is_pass, actions)) == 3, actions
        assert sum(map(is_refusal, actions)) == 37, actions
    assert [process.end() for process in processes] == [0] * 40
    wait_for(lambda: all(host.rows("SELECT count(*) FROM counted") == [(0,)] for host in hosts))
    rows = hosts[0].data("list")
    assert [row["tries"] for row in rows] == [37] * 3
    with closing(open_database(url)) as database:
        for row in rows:
            (event,) = incidents.events_of(database, row["account"])
            assert event.what == "blocked"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_mails_are_counted_once_whatever_becomes_of_the_follower(
    server: DatabaseServer, make: Callable[..., Host], number: signal.Signals
) -> None:
    hosts = pair(make, server.new_database())

    def send(worker: int) -> None:
        for _ in range(6):
            process = hosts[worker % 2].policy()
            for mail in range(20):
                assert is_pass(process.ask(USER, address("ES", mail % 3)))
            assert process.end() == 0

    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(send, worker) for worker in range(4)]
        while not all(one.done() for one in sent):
            time.sleep(0.4)
            for host in hosts:
                host.signal_follower(number)
                if number == signal.SIGSTOP:
                    time.sleep(0.7)
                    host.signal_follower(signal.SIGCONT)
        for one in sent:
            one.result()
    for host in hosts:
        host.follow()
    wait_for(lambda: all(host.rows("SELECT count(*) FROM counted") == [(0,)] for host in hosts))
    assert sum(hosts[0].mails(USER).values()) == 4 * 6 * 20


def test_stopped_follower_makes_every_mail_ask_the_server(
    server: DatabaseServer, make: Callable[..., Host]
) -> None:
    here, there = pair(make, server.new_database())
    assert is_pass(here.ask(USER, address("ES")))
    wait_for(here.knows)
    here.signal_follower(signal.SIGSTOP)
    for country in ("FR", "BR", "VN"):
        there.ask(USER, address(country))
    time.sleep(max(0, 2.1 - here.age()))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: is_refusal(here.ask(USER, address("ES"))), range(8)))
        others = [f"new{number}@example.org" for number in range(16)]
        assert all(pool.map(lambda name: is_pass(here.ask(name, address("ES"))), others))
    here.signal_follower(signal.SIGCONT)
    wait_for(here.has_block)


def stop(server: DatabaseServer) -> None:
    server.stop(signal.SIGQUIT if isinstance(server, PostgreSQL) else signal.SIGKILL)


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_host_answers_by_itself_while_the_server_is_away(
    server: DatabaseServer, make: Callable[..., Host], how: str
) -> None:
    host = make(server.new_database(), store='trust_for = "1h"\n')
    host.follow()
    for country in ("ES", "FR", "BR", "VN"):
        host.ask(THIEF, address(country))
    assert is_pass(host.ask(USER, address("ES")))
    wait_for(lambda: host.has_block(THIEF) and host.knows())
    process = host.policy()
    assert is_pass(process.ask(USER, address("ES")))
    if how == "killed":
        stop(server)
    else:
        server.pause()
    try:
        time.sleep(max(0, 2.1 - host.age()))
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(host.ask, USER, address("ES"))  # finds out, for eight seconds
            time.sleep(1)
            begin = time.monotonic()
            known = [pool.submit(host.ask, USER, address("ES")) for _ in range(3)]
            assert all(is_pass(answer.result()) for answer in known)
            assert is_refusal(host.ask(THIEF, address("ES")))
            assert host.ask(USER, address("FR")) is None
            assert is_pass(process.ask(USER, address("ES")))
            # One at a time finds out, for eight seconds at most; the others answer at once.
            assert time.monotonic() - begin < 25
            assert is_pass(first.result())
        if how == "killed":
            assert host.admin("list").returncode == 4
            done = host.admin("--json", "stats")
            assert done.returncode == 3, done.stderr
            assert json.loads(done.stdout)["server_age"] >= 2
    finally:
        if how == "killed":
            server.start()
        else:
            server.go_on()
    assert process.end() == 0
    wait_for(lambda: host.age() < 1, 30)
    assert is_pass(host.ask(USER, address("FR")))
    wait_for(lambda: host.rows("SELECT count(*) FROM counted") == [(0,)])
    assert host.mails(USER) == {address("ES"): 7, address("FR"): 1}
    (block,) = host.data("list")
    assert (block["account"], block["tries"]) == (THIEF, 2)


def test_known_places_are_trusted_for_no_longer_than_trust_for(
    make: Callable[..., Host],
) -> None:
    server = running("postgresql")
    url = server.new_database()
    never, short = make(url, store="trust_for = 0\n"), make(url, store='trust_for = "15s"\n')
    owners = {never: USER, short: "ann@example.org"}  # one each: a host judges by its own settings
    for host, owner in owners.items():
        host.follow()
        for country in ("ES", "FR", "BR", "VN"):
            host.ask(THIEF, address(country))
        assert is_pass(host.ask(owner, address("ES")))
        wait_for(lambda at=(host, owner): at[0].has_block(THIEF) and at[0].knows(at[1]))  # type: ignore[misc]
    stop(server)
    try:
        time.sleep(2.5)
        assert is_pass(short.ask(owners[short], address("ES")))  # asking takes seconds
        assert never.ask(USER, address("ES")) is None
        time.sleep(max(0, 15 - short.age()))
        assert short.ask(owners[short], address("ES")) is None
        for host in (never, short):
            assert is_refusal(host.ask(THIEF, address("ES")))
    finally:
        server.start()
    wait_for(lambda: never.age() < 1)
    assert is_pass(never.ask(USER, address("ES")))


def test_administrators_get_a_mail_that_the_server_is_away_and_one_that_it_is_back(
    make: Callable[..., Host], tmp_path: Path
) -> None:
    server = running("postgresql")
    program = tmp_path / "sendmail"
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/mail.$$\n")
    program.chmod(0o755)
    notify = f'[notify]\nto = ["postmaster"]\nfrom = "pcc@example.org"\nsendmail = "{program}"\n'
    host = make(server.new_database(), "", notify, 'host = "mx1.example.org"\ntrust_for = "1h"\n')
    host.follow()

    def subjects() -> list[str]:
        texts = [path.read_text() for path in sorted(tmp_path.glob("mail.*"))]
        return sorted(re.findall(r"^Subject: (.*)$", "".join(texts), re.MULTILINE))

    stop(server)
    try:
        wait_for(lambda: len(subjects()) == 1, 60)
        assert subjects() == ["[pcc] mx1.example.org: the database server is away"]
        (text,) = [path.read_text() for path in tmp_path.glob("mail.*")]
        assert "Accounts that it knows as blocked are refused." in text
        assert "passes for 59 minutes more" in text.replace("\n", " ")
        assert f"pcc_admin.py -c {host.config} doctor" in text
        host.signal_follower(signal.SIGKILL)  # another one sends none again
        assert host.ask("new@example.org", address("ES")) is None
        wait_for(lambda: len(host.followers()) > 0)
        time.sleep(2)
        assert len(subjects()) == 1
    finally:
        server.start()
    wait_for(lambda: len(subjects()) == 2)
    assert subjects()[1] == "[pcc] mx1.example.org: the database server is back"
    time.sleep(1)
    assert len(subjects()) == 2


def test_doctor_looks_at_the_file_of_the_host(make: Callable[..., Host]) -> None:
    server = running("postgresql")
    host = make(server.new_database())
    config = Config(read_values(str(host.config)))
    user = user_of(os.geteuid())

    def found(*, is_away: bool, later: float = 0) -> Finding:
        return check_host_file(config, user, time.time() + later, is_away=is_away)

    assert found(is_away=False).result == "OK"  # no mail yet
    host.follow()
    assert found(is_away=False).result == "OK"
    assert found(is_away=False, later=100).result == "WARN"
    away = found(is_away=True, later=100)
    assert away.result == "FAIL"
    assert re.search(r"mail from known places passes for (8|7)\d\d seconds more$", away.fix)
    assert host.data("stats")["server_age"] <= 2
    for path in host.folder.glob("pcc.host*"):
        path.unlink()
    assert "run `pcc_admin.py init`: there is no" in found(is_away=False).fix
    wait_for(lambda: host.followers() == [])
    assert is_pass(host.ask(USER, address("ES")))  # the server is asked about all mail
    assert host.admin("init").returncode == 0
    host.follow()
    assert found(is_away=False).result == "OK"


def test_server_that_takes_no_writes_is_taken_for_away(make: Callable[..., Host]) -> None:
    server = running("mysql")
    host = make(server.new_database())
    host.follow()
    for country in ("ES", "FR", "BR", "VN"):
        host.ask(THIEF, address(country))
    assert is_pass(host.ask(USER, address("ES")))
    wait_for(lambda: host.has_block(THIEF) and host.knows())
    server.execute("SET GLOBAL read_only = 1")
    try:
        wait_for(lambda: host.age() > 2)
        assert is_pass(host.ask(USER, address("ES")))
        assert is_refusal(host.ask(THIEF, address("ES")))
        assert host.ask(USER, address("FR")) is None
    finally:
        server.execute("SET GLOBAL read_only = 0")
    wait_for(lambda: host.age() < 1)
    assert is_pass(host.ask(USER, address("FR")))


@pytest.mark.parametrize("content", [None, b"", b"no database" * 1000])
def test_host_without_a_sound_file_asks_the_server_about_all_mail(
    make: Callable[..., Host], content: bytes | None
) -> None:
    host = make(running("postgresql").new_database())
    for path in host.folder.glob("pcc.host*"):
        path.unlink()
    if content is not None:
        host.file.write_bytes(content)
    for country in ("ES", "FR", "BR"):
        assert is_pass(host.ask(USER, address(country)))
    assert is_refusal(host.ask(USER, address("VN")))
    assert host.followers() == []


def test_forgotten_account_is_forgotten_by_every_host(make: Callable[..., Host]) -> None:
    url = running("postgresql").new_database()
    here, there = pair(make, url)
    for host in (here, there):
        assert is_pass(host.ask(USER, address("ES")))
        wait_for(host.knows)
    assert here.admin("forget", USER).returncode == 0
    for host in (here, there):
        wait_for(lambda h=host: not h.rows("SELECT 1 FROM sighting WHERE account = ?", USER))  # type: ignore[misc]
    with closing(open_database(url)) as database:
        upkeep.drop_unknown_accounts(database, time.time())
        assert database.rows("SELECT account FROM account WHERE account = ?", (USER,))
        upkeep.drop_unknown_accounts(database, time.time() + 2 * 86400)
        assert not database.rows("SELECT account FROM account WHERE account = ?", (USER,))


def test_exemption_holds_on_every_host(make: Callable[..., Host]) -> None:
    here, there = pair(make, running("postgresql").new_database())
    assert here.admin("exempt", "add", "account", USER).returncode == 0
    wait_for(lambda: there.rows("SELECT value FROM exemption") == [(USER,)])
    for country in ("ES", "FR", "BR", "VN", "DE"):
        assert is_pass(there.ask(USER, address(country)))
    assert here.admin("exempt", "remove", "account", USER).returncode == 0
    wait_for(lambda: there.rows("SELECT value FROM exemption") == [])
