"""Files, rights, locks, limits and clocks that are not as they should be.

Every case breaks a world of its own.  It asserts what goes to the socket and to the log, that
blocks hold where the database can be read, and that pcc recovers by itself.  Those in SLOW wait
for deadlines, idle most of the time; CASES has all others.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from checkout import NETWORKS, PolicyProcess, address, is_pass, is_refusal, request_text
from mmdb import write_country_database

from faults.preload import at_faked_time
from faults.world import OWNER, THIEF, World
from pcc.store import SCHEMA_VERSION

Case = Callable[[], None]
DEADLINE = 8
"""Seconds that a decision may take; Postfix waits for 10."""

CASES: list[Case] = []
SLOW: list[Case] = []
NEED_FAKETIME: list[Case] = []


def case(function: Case) -> Case:
    """Add a case."""
    CASES.append(function)
    return function


def with_faketime(function: Case) -> Case:
    """Add a case that needs libfaketime."""
    NEED_FAKETIME.append(function)
    return case(function)


def slow(function: Case) -> Case:
    """Add a case that waits for a deadline."""
    SLOW.append(function)
    return function


# Disks that are full or can't be written.


@case
def the_file_system_is_full() -> None:
    with World(tmpfs="900k") as world:
        running = world.policy()
        assert is_pass(running.ask(OWNER, address("ES")))
        with filled(world.state):
            assert is_refusal(running.ask(THIEF, address("ES")))
            assert is_pass(running.ask(OWNER, address("ES")))
            assert world.block_holds()
            actions = [running.ask(f"{n}@full.example", address("ES")) for n in range(200)]
            assert None in actions  # what can't be recorded gets no reply
            assert running.end() == 74
            passed = [f"{n}@full.example" for n in range(200) if actions[n]]
            with filled(world.state):  # again, for its write-ahead log is gone
                assert world.is_in_trouble(r"full|disk I/O error|unable to open")
        assert world.works()
        assert all(world.knows(account) for account in random.sample(passed, min(3, len(passed))))


@case
def a_fresh_process_finds_the_file_system_full() -> None:
    with World(tmpfs="300k") as world, filled(world.state):
        assert world.block_holds()
        assert world.is_in_trouble(r"full|disk I/O error|unable to open|readonly")
    with World(tmpfs="300k") as world:
        with filled(world.state):
            assert world.block_holds()
        assert world.works()


@case
def the_write_ahead_log_is_long_and_the_disk_full() -> None:
    with World(tmpfs="20m") as world:
        running, reader = world.policy(), sqlite3.connect(world.database)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM account").fetchall()  # keeps the log from being reset
        log, number = world.database.with_name("pcc.db-wal"), 0
        while log.stat().st_size < 4_200_000:
            number += 1
            assert is_pass(running.ask(f"{number}@long.example", address("ES")))
        assert is_pass(running.ask(OWNER, address("ES")))
        with filled(world.state):
            for _ in range(3):
                assert is_refusal(running.ask(THIEF, address("ES")))
                assert is_pass(running.ask(OWNER, address("ES")))
            assert world.block_holds()
        reader.close()
        assert running.ask("after@long.example", address("ES")) == "DUNNO"
        assert world.works()


@case
def a_file_that_may_not_be_written() -> None:
    with World() as world:
        world.database.chmod(0o440)
        assert world.block_holds()
        assert world.is_in_trouble("can't be written|readonly")
        world.database.chmod(0o640)
        assert world.works()


@case
def a_folder_that_may_not_be_written() -> None:
    with World() as world:
        world.state.chmod(0o550)
        assert world.block_holds()
        assert world.is_in_trouble("can't be written|unable to open|Permission denied")
        world.state.chmod(0o750)
        assert world.works()


@case
def a_read_only_file_system_without_side_files() -> None:
    with World(tmpfs="2m") as world:
        with read_only(world):
            assert world.block_holds()
            assert world.is_in_trouble("can't be written|[Rr]ead-?only")
        assert world.works()


@case
def a_read_only_file_system_with_a_block_in_the_write_ahead_log_alone() -> None:
    with World(tmpfs="2m") as world:
        killed_after_blocking("late@example.org", world)
        with read_only(world):
            assert is_refusal(world.ask("late@example.org", address("ES")))
            assert is_refusal(world.ask("late@example.org", "10.0.0.1"))
            assert world.block_holds()
            assert world.is_in_trouble("can't be written|[Rr]ead-?only")
        assert world.works()


@case
def a_read_only_file_system_with_a_write_ahead_log_but_no_index() -> None:
    with World(tmpfs="2m") as world:
        killed_after_blocking("late@example.org", world)
        world.database.with_name("pcc.db-shm").unlink()
        with read_only(world):
            # The log can't be read without an index: no reply, rather than a wrong one.
            for host in (address("ES"), "10.0.0.1"):
                assert not is_pass(world.ask("late@example.org", host))
        assert is_refusal(world.ask("late@example.org", "10.0.0.1"))
        assert world.works()


@case
def a_read_only_folder_with_a_block_in_the_write_ahead_log_alone() -> None:
    with World() as world:
        killed_after_blocking("late@example.org", world)
        world.state.chmod(0o550)
        assert is_refusal(world.ask("late@example.org", "10.0.0.1"))
        world.state.chmod(0o750)
        assert world.works()


# Owners and kinds of files.


@case
def a_database_of_another_owner() -> None:
    with World() as world:
        os.chown(world.database, 0, 0)
        world.database.chmod(0o600)
        assert world.is_in_trouble("pcc.db: can't be read: no permission")
        shutil.chown(world.database, world.user)
        assert world.block_holds()
        assert world.works()


@case
def a_folder_of_another_owner() -> None:
    with World() as world:
        os.chown(world.state, 0, 0)
        assert world.is_in_trouble(r"pcc\.db: ")
        shutil.chown(world.state, world.user)
        assert world.block_holds()
        assert world.works()


@case
def a_lock_of_another_owner() -> None:
    meet_a_side_file_of_roots("pcc.db.lock")


@case
def a_cache_of_another_owner() -> None:
    meet_a_side_file_of_roots("pcc.db.repeats")


@case
def a_database_that_is_no_file() -> None:
    with World() as world:
        world.database.rename(world.state / "away")
        world.database.mkdir()
        assert world.is_in_trouble(r"pcc\.db: is not a regular file")
        world.database.rmdir()
        os.mkfifo(world.database)
        assert world.is_in_trouble(r"pcc\.db: is not a regular file")
        world.database.unlink()
        (world.state / "away").rename(world.database)
        assert world.block_holds()
        assert world.works()


# A database that changes under a running process.


@case
def a_database_deleted_under_a_running_process() -> None:
    with World() as world:
        running = world.policy()
        assert is_pass(running.ask(OWNER, address("ES")))
        for file in world.state.glob("pcc.db*"):
            file.unlink()
        assert running.ask(OWNER, address("FR")) is None  # and not: recorded in the void
        assert running.end() == 74
        last = world.log.lines()[-1]
        assert re.search(r"pcc\.db: there is no database|pcc\.db: was replaced", last)
        assert world.is_in_trouble("there is no database")
        assert world.admin("init").returncode == 0
        assert world.works()


@case
def a_backup_put_back_under_a_running_process() -> None:
    with World() as world:
        shutil.copy2(world.database, world.state / "backup")
        running = world.policy()
        assert is_pass(running.ask("later@example.org", address("ES")))
        for name in ("pcc.db-wal", "pcc.db-shm"):
            world.database.with_name(name).unlink(missing_ok=True)
        os.replace(world.state / "backup", world.database)
        shutil.chown(world.database, world.user)
        action = running.ask("after@example.org", address("ES"))
        # Either it has noticed and goes on with the new file, or it leaves that to the next.
        assert action is None or world.knows("after@example.org")
        assert is_pass(world.ask("after@example.org", address("ES")))
        assert world.knows("after@example.org")
        assert world.block_holds()
        assert world.works()


@case
def a_database_unblocked_under_a_running_process() -> None:
    with World() as world:
        running = world.policy()
        assert is_refusal(running.ask(THIEF, address("ES")))
        assert world.admin("unblock", THIEF).returncode == 0
        assert is_pass(running.ask(THIEF, address("ES")))
        assert world.admin("block", OWNER).returncode == 0
        assert is_refusal(running.ask(OWNER, address("ES")))


# Damage.


@case
def corrupt_pages() -> None:
    with World() as world:
        sound = world.database.read_bytes()
        size = 4096
        choice = random.Random(1)
        for page in range(len(sound) // size):
            damaged = bytearray(sound)
            rubbish = choice.randbytes(size) if page % 2 else bytes(size)
            damaged[page * size : (page + 1) * size] = rubbish
            world.database.write_bytes(damaged)
            refuses_or_disconnects(world)
        world.database.write_bytes(sound)
        assert world.block_holds()
        assert world.works()


@case
def a_truncated_database() -> None:
    with World() as world:
        sound = world.database.read_bytes()
        for length in (0, 1, 100, 4096, 5000, len(sound) // 2, len(sound) - 1):
            world.database.write_bytes(sound[:length])
            refuses_or_disconnects(world)
        world.database.write_bytes(sound)
        assert world.block_holds()
        assert world.works()


@case
def a_truncated_write_ahead_log() -> None:
    with World() as world:
        killed_after_blocking("late@example.org", world)
        log = world.database.with_name("pcc.db-wal")
        index = world.database.with_name("pcc.db-shm")
        whole, sound = log.read_bytes(), world.database.read_bytes()
        choice = random.Random(2)
        for _ in range(6):
            for file in (index, log):
                file.unlink(missing_ok=True)
            world.database.write_bytes(sound)
            log.write_bytes(whole[: choice.randrange(len(whole))])
            shutil.chown(log, world.user)
            assert world.block_holds()  # which was in the database already
            assert world.works()
        check_integrity(world)


@case
def rubbish_in_the_side_files() -> None:
    with World() as world:
        killed_after_blocking("late@example.org", world)
        for name in ("pcc.db-shm", "pcc.db-wal", "pcc.db.repeats"):
            file = world.database.with_name(name)
            file.write_bytes(random.Random(3).randbytes(50_000))
            shutil.chown(file, world.user)
            assert world.block_holds()
            assert world.works()
        check_integrity(world)


@case
def a_schema_of_another_version() -> None:
    with World() as world:
        for version, cause in ((99, "use the newer pcc"), (0, "is not a database of pcc")):
            change_schema_version(world, version)
            assert world.is_in_trouble(cause)
        change_schema_version(world, SCHEMA_VERSION)
        assert world.block_holds()
        assert world.works()


# The country database.


@case
def a_country_database_broken_under_a_running_process() -> None:
    with World() as world:
        sound = world.countries.read_bytes()
        other = world.folder / "other.mmdb"
        write_country_database(other, NETWORKS, database_type="GeoLite2-ASN")
        breakages: list[Callable[[], object]] = [
            world.countries.unlink,
            lambda: world.countries.write_bytes(b""),
            lambda: world.countries.write_bytes(sound[: len(sound) // 2]),
            lambda: world.countries.write_bytes(b"rubbish" * 99),
            lambda: shutil.copy(other, world.countries),
        ]
        for number, damage in enumerate(breakages):
            running = world.policy()
            account = f"country{number}@example.org"
            assert is_pass(running.ask(account, address("ES")))
            world.log.lines()
            damage()
            assert is_pass(running.ask(account, address("FR")))
            assert is_refusal(running.ask(THIEF, address("FR")))
            assert is_pass(running.ask(account, address("BR")))
            errors = [line for line in world.log.lines() if "error" in line]
            assert len(errors) == 1, errors
            assert str(world.countries) in errors[0]
            world.countries.write_bytes(sound)
            world.countries.chmod(0o644)
            actions = [running.ask(account, address(place, 9)) for place in ("FR", "BR", "VN")]
            assert [is_refusal(action) for action in actions] == [False, False, True]
            assert running.end() == 0


# Limits.


@case
def out_of_file_descriptors() -> None:
    with World() as world:
        answers = [limited(world, f"--nofile={number}") for number in range(4, 20)]
        assert "REJECT" in answers  # from some number on all is well
        assert world.block_holds()
        assert world.works()


@case
def out_of_memory() -> None:
    with World() as world:
        megabytes = range(14, 60, 3)
        answers = [limited(world, f"--as={number * 1024 * 1024}") for number in megabytes]
        assert "REJECT" in answers
        assert world.block_holds()
        assert world.works()


@case
def files_that_may_not_grow() -> None:
    with World() as world:
        size = world.database.stat().st_size
        for limit in range(0, size + 60_000, 7_000):
            running = world.policy(f"--fsize={limit}")
            accounts = [f"{limit}.{n}@small.example" for n in range(10)]
            actions = [running.ask(account, address("ES")) for account in accounts]
            running.end()
            assert is_refusal(running_thief(world, f"--fsize={limit}"))
            answered = [name for name, action in zip(accounts, actions, strict=True) if action]
            assert all(world.knows(account) for account in answered[-1:])
        check_integrity(world)
        assert world.works()


# Clocks.


@with_faketime
def a_clock_that_jumps_back_a_day() -> None:
    with World() as world, faked_clock(world) as (running, move):
        traveller = "traveller@example.org"
        assert is_pass(running.ask(traveller, address("ES")))
        assert is_pass(running.ask(traveller, address("FR")))
        move(-86400)
        assert is_refusal(running.ask(THIEF, address("ES")))
        assert is_pass(running.ask(OWNER, address("ES")))
        assert is_pass(running.ask(traveller, address("ES")))
        assert is_pass(running.ask(traveller, address("BR")))
        assert is_refusal(running.ask(traveller, address("VN")))  # nothing was forgotten
        assert running.end() == 0


@with_faketime
def a_clock_that_leaps_a_year_ahead_and_back() -> None:
    with World() as world, faked_clock(world) as (running, move):
        traveller = "traveller@example.org"
        for country in ("ES", "FR"):
            assert is_pass(running.ask(traveller, address(country)))
        move(365 * 86400)
        assert is_refusal(running.ask(THIEF, address("ES")))
        assert is_pass(running.ask(OWNER, address("ES")))
        assert is_pass(running.ask(traveller, address("BR")))
        move(0)
        assert is_refusal(running.ask(THIEF, address("ES")))
        assert is_pass(running.ask(OWNER, address("ES")))
        assert is_pass(running.ask(traveller, address("BR", 2)))
        assert is_refusal(running.ask(traveller, address("VN")))
        assert running.end() == 0


@with_faketime
def a_block_that_expires_began_while_the_clock_was_ahead() -> None:
    with World('block_for = "1h"') as world, faked_clock(world) as (running, move):
        move(365 * 86400)
        for country in ("ES", "FR", "BR", "VN"):
            last = running.ask("leapt@example.org", address(country))
        assert is_refusal(last)
        move(0)
        assert is_refusal(running.ask("leapt@example.org", address("ES")))
        move(3700)
        assert is_pass(running.ask("leapt@example.org", address("ES")))  # not in a year


# Things that are locked or stopped.


@slow
def a_database_locked_for_longer_than_the_deadline() -> None:
    with World() as world:
        running = world.policy()
        assert is_pass(running.ask(OWNER, address("ES")))
        other = sqlite3.connect(world.database, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert quickly(lambda: is_refusal(running.ask(THIEF, address("ES"))))
        assert quickly(lambda: is_refusal(world.policy().ask(THIEF, address("ES"))))
        assert quickly(lambda: is_pass(world.policy().ask(OWNER, address("ES"))))
        assert at_the_deadline(lambda: world.is_in_trouble("locked|8 seconds", status=(74, 75)))
        other.execute("ROLLBACK")
        assert world.works()


@slow
def a_database_locked_when_it_is_opened() -> None:
    with World() as world:
        other = sqlite3.connect(world.database, isolation_level=None)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")  # nobody can even read it now
        assert at_the_deadline(lambda: world.is_in_trouble("locked|8 seconds", status=(74, 75)))
        other.execute("ROLLBACK")
        other.close()
        assert world.block_holds()
        assert world.works()


@slow
def a_database_locked_for_two_seconds_when_it_is_opened() -> None:
    with World() as world:
        other = sqlite3.connect(world.database, isolation_level=None)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        waiting = world.policy()
        waiting.send(request_text("patient@example.org", address("ES")))
        time.sleep(2)
        other.execute("ROLLBACK")
        other.close()
        assert is_pass(waiting.reply())
        waiting.end()
        assert world.knows("patient@example.org")


@slow
def a_stopped_process_that_has_the_turn_to_write() -> None:
    with World() as world:
        running = world.policy()
        assert is_pass(running.ask(OWNER, address("ES")))
        with stopped_holder(world.database.with_name("pcc.db.lock")):
            assert quickly(lambda: is_refusal(running.ask(THIEF, address("ES"))))
            assert quickly(lambda: is_pass(world.policy().ask(OWNER, address("ES"))))
            assert at_the_deadline(lambda: world.is_in_trouble("8 seconds|lock", status=(74, 75)))
        assert world.works()


@slow
def mail_of_a_known_account_does_not_wait_for_a_locked_database() -> None:
    with World() as world:
        running = world.policy()
        assert is_pass(running.ask(OWNER, address("ES")))
        other = sqlite3.connect(world.database, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        begin, longest = time.monotonic(), 0.0
        for number in range(1, 401):
            asked = time.monotonic()
            assert is_pass(running.ask(OWNER, address("ES")))
            longest = max(longest, time.monotonic() - asked)
            total = time.monotonic() - begin
            assert total < 8, f"{number} mails had to wait for {total:.1f} s"
        assert longest < 3, f"a mail had to wait for {longest:.1f} s"
        other.execute("ROLLBACK")
        assert running.end() == 0


# The parts that the cases share.


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fill the file system of a folder to the last byte."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    filler = Path(name)
    with open(descriptor, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(world: World) -> Iterator[None]:
    """Make the file system of the state folder read-only; nobody may have it open for writing."""
    subprocess.run(["mount", "-o", "remount,ro", world.state], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", world.state], check=True)


def killed_after_blocking(account: str, world: World) -> None:
    """Leave side files behind, with the account's block in the write-ahead log alone."""
    process = world.policy()
    for country in ("ES", "FR", "BR"):
        assert is_pass(process.ask(account, address(country)))
    assert is_refusal(process.ask(account, address("VN")))
    process.kill()
    assert world.database.with_name("pcc.db-wal").stat().st_size > 0
    world.log.lines()


def refuses_or_disconnects(world: World) -> None:
    """A damaged database lets nobody through who is blocked, and never speaks out of turn."""
    process = world.policy()
    action = process.ask(THIEF, address("ES"))
    status = process.end()
    assert not is_pass(action), action
    assert status in (0, 74), (status, world.log.lines())
    process = world.policy()
    process.ask("somebody@example.org", address("ES"))
    assert process.end() in (0, 74), world.log.lines()


def limited(world: World, limit: str) -> str:
    """The first word that a limited process answers the thief with, or "" for none."""
    action = running_thief(world, limit)
    assert not is_pass(action)
    return (action or "").partition(" ")[0]


def running_thief(world: World, limit: str) -> str | None:
    """The answer of a limited process to the thief."""
    process = world.policy(limit)
    action = process.ask(THIEF, address("ES"))
    process.end()
    return action


def meet_a_side_file_of_roots(name: str) -> None:
    """A side file that only root may read keeps no blocked mail from being stopped."""
    with World() as world:
        file = world.database.with_name(name)
        file.unlink(missing_ok=True)
        file.touch()
        os.chown(file, 0, 0)
        file.chmod(0o600)
        assert world.block_holds()
        assert world.is_in_trouble(rf"{re.escape(name)}: Permission denied")
        file.unlink()
        assert world.works()


def change_schema_version(world: World, version: int) -> None:
    """Write another schema version into the database."""
    with contextlib.closing(sqlite3.connect(world.database)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    for file in world.state.glob("pcc.db*"):
        shutil.chown(file, world.user, world.user)


def check_integrity(world: World) -> None:
    """The database is sound."""
    with contextlib.closing(sqlite3.connect(world.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for file in world.state.glob("pcc.db*"):
        shutil.chown(file, world.user, world.user)


@contextlib.contextmanager
def faked_clock(world: World) -> Iterator[tuple[PolicyProcess, Callable[[int], None]]]:
    """A process, and how to move its clock: so many seconds from the real time."""
    setting = world.folder / "clock"

    def move(seconds: int) -> None:
        setting.write_text(f"{seconds:+d}\n")
        setting.chmod(0o644)

    move(0)
    environment = at_faked_time(
        faketime_timestamp_file=setting, faketime_no_cache=1, faketime_dont_fake_monotonic=1
    )
    yield world.policy(environment=environment), move


@contextlib.contextmanager
def stopped_holder(lock: Path) -> Iterator[None]:
    """Another process that has this lock, and was stopped by SIGSTOP."""
    script = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.flock(file, fcntl.LOCK_EX);"
        " print(flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    try:
        with lock.open() as file, contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raise AssertionError("the lock was not taken")
        yield
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stdin.close()


def quickly(happens: Callable[[], bool], seconds: float = 3) -> bool:
    """Whether it happens, and without waiting."""
    begin = time.monotonic()
    return happens() and time.monotonic() - begin < seconds


def at_the_deadline(happens: Callable[[], bool]) -> bool:
    """Whether it happens, and before Postfix gives up."""
    begin = time.monotonic()
    return happens() and 6 < time.monotonic() - begin < DEADLINE + 1.5
