"""Repeats by the cache that a host's processes share: never longer than the database allows."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from checkout import NETWORKS, address, new_instance, request_text
from mmdb import write_country_database

from pcc.config import Config, prepared
from pcc.errors import StoreError
from pcc.protocol import RequestReader, usual_request
from pcc.store import exemptions, incidents, open_database, upkeep
from pcc.store.engine import creation, repeatcache
from pcc.store.engine.repeatcache import BUCKET_BYTES, SLOT_BYTES, RepeatCache
from pcc.store.engine.sqlite import SQLiteDatabase
from pcc.verdict.repeat import Verdicts

START = 1_900_000_800.0
LATER = START + 60
HOME = address("ES")
BEGIN = time.monotonic()


def later() -> float:
    """Return a moment that goes on as the clock does."""
    return LATER + time.monotonic() - BEGIN


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_country_database(tmp_path / "country.mmdb", NETWORKS)
    (tmp_path / "pcc.toml").write_text(
        '[policy]\nmax_countries = 1\nwindow = "2d"\n[country]\ndatabase = "country.mmdb"\n'
        '[store]\ndatabase = "pcc.db"\n[notify]\nto = []\n'
    )
    creation.create_or_upgrade(str(tmp_path / "pcc.db"))
    return prepared.load(str(tmp_path / "pcc.toml"))


class Asked:
    """A process that is asked about mail, and whether it has opened the database for that."""

    def __init__(self, config: Config) -> None:
        self.verdicts = Verdicts(config, None, print)

    def is_repeat(self, now: float = 0, account: str = "joe", client: str = HOME) -> bool:
        """Return whether a mail is a repeat."""
        request = usual_request(request_text(account, client, instance=new_instance()).encode())
        assert request is not None
        return self.verdicts.repeat(account, request, now or later()) is not None

    def judge(self, now: float = START, account: str = "joe", client: str = HOME) -> str:
        """Return the verdict on a mail that is no repeat."""
        reader = RequestReader()
        reader.receive(request_text(account, client, instance=new_instance()).encode())
        request = reader.next_request()
        assert request is not None
        return self.verdicts.verdict(account, request, now).action.partition(" ")[0]

    @property
    def has_opened(self) -> bool:
        """Whether the database was needed."""
        return self.verdicts._opened is not None


@pytest.fixture
def process(config: Config) -> Iterator[Callable[[], Asked]]:
    """Makes processes.  Joe's mail from home is a repeat by the cache."""
    made: list[Asked] = []

    def process() -> Asked:
        made.append(Asked(config))
        return made[-1]

    assert process().judge() == "DUNNO"
    assert made[0].is_repeat()
    assert is_repeat_by_cache(process())
    yield process
    for one in made:
        one.verdicts.close()


def is_repeat_by_cache(one: Asked) -> bool:
    return one.is_repeat() and not one.has_opened


@pytest.fixture
def database(config: Config) -> Iterator[SQLiteDatabase]:
    with closing(open_database(config.store_database)) as database:
        assert isinstance(database, SQLiteDatabase)
        yield database


def end_and_die(database: SQLiteDatabase, account: str) -> None:
    """Leave the cache as a process does that is killed in its turn."""
    cache = RepeatCache(database.path)
    cache.open()
    cache.end([account])
    cache.close()


def block(database: SQLiteDatabase) -> None:
    days: Callable[[str], str] = lambda days: days  # noqa: E731
    assert incidents.block(database, "joe", "REJECT", 0, "me", "", LATER, days)


def exempt(kind: str, value: str) -> Callable[[SQLiteDatabase], None]:
    return lambda database: exemptions.add(database, kind, value, 0, "me", "", LATER)


CHANGES: dict[str, Callable[[SQLiteDatabase], Any]] = {
    "a block": block,
    "an exempt account": exempt("account", "joe"),
    "an exempt client": exempt("client", "192.0.2.0/24"),
    "forgotten": lambda database: upkeep.forget(database, "joe"),
    "cleaned up": lambda database: upkeep.drop_old_sightings(database, LATER),
}


@pytest.mark.parametrize("change", CHANGES)
def test_repeats_end_when_their_account_changes(
    process: Callable[[], Asked], database: SQLiteDatabase, change: str
) -> None:
    old = process()
    assert is_repeat_by_cache(old)
    CHANGES[change](database)
    assert not old.is_repeat()
    assert not process().is_repeat()


def test_exempt_domain_ends_repeats_at_once(
    process: Callable[[], Asked], database: SQLiteDatabase
) -> None:
    old, account = process(), "joe@example.org"
    assert old.judge(account=account) == "DUNNO"
    assert old.is_repeat(account=account)
    exempt("domain", "example.org")(database)
    assert not old.is_repeat(account=account)


@pytest.mark.parametrize("change", ["a block", "an exempt account"])
def test_repeat_looked_up_before_a_change_is_not_kept_after_it(
    process: Callable[[], Asked], config: Config, database: SQLiteDatabase, change: str
) -> None:
    """The row is read, the change is committed, and then the record is written."""
    Path(config.store_database + repeatcache.SUFFIX).unlink()

    class Slow(SQLiteDatabase):
        def row(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
            row = super().row(statement, values)
            if "judged_by" in statement:
                CHANGES[change](database)
            return row

    slow = process()
    slow.verdicts._opened = Slow(config.store_database)
    assert slow.is_repeat()  # it was so when it was looked up
    assert not process().is_repeat()


def test_repeat_is_looked_up_while_a_change_may_be_committed(
    process: Callable[[], Asked], database: SQLiteDatabase
) -> None:
    """A process that is killed within its turn leaves the same, until somebody's next turn."""
    other = process()
    assert is_repeat_by_cache(other)

    def change() -> None:
        for _ in range(2):
            one = process()
            assert one.is_repeat()  # nothing is committed yet
            assert one.has_opened  # and that is not kept

    database.in_turn(change, "joe")
    end_and_die(database, "joe")
    for _ in range(2):
        assert not is_repeat_by_cache(process())
    database.in_turn(lambda: None, "joe")
    assert process().is_repeat()
    assert is_repeat_by_cache(process())


def test_change_that_is_rolled_back_leaves_repeats(
    process: Callable[[], Asked], database: SQLiteDatabase
) -> None:
    def change() -> None:
        database.write("DELETE FROM sighting")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.in_turn(change, "joe")
    assert process().is_repeat()
    assert is_repeat_by_cache(process())


def test_folding_ends_no_repeats(process: Callable[[], Asked], database: SQLiteDatabase) -> None:
    database.in_turn(lambda: None, "", "joe")
    assert is_repeat_by_cache(process())


def test_no_login_has_the_bucket_that_all_depend_on(
    process: Callable[[], Asked], database: SQLiteDatabase
) -> None:
    login = "ajdnz"
    assert int.from_bytes(login.encode(), "big") % repeatcache.BUCKETS == 0
    database.in_turn(lambda: None, login)
    assert is_repeat_by_cache(process())


def test_repeat_is_of_its_account_address_and_time_alone(
    config: Config, database: SQLiteDatabase
) -> None:
    cache = RepeatCache(database.path)
    cache.open()
    cache.keep(*cache.find("joe", HOME, 7, START), START + 100)
    assert cache.find("joe", HOME, 7, START + 99)[0] < 0
    for account, client, basis, now in (
        ("jo", HOME, 7, START),
        ("joe", HOME[:-1], 7, START),
        ("joe", HOME, 8, START),
        ("joe", HOME, 7, START + 100),
        ("hlqhlmqnnmgongtrqxjiqhjoe", HOME, 7, START),  # the same bucket, and the same hash
    ):
        assert cache.find(account, client, basis, now)[0] > 0, account
    cache.close()


def test_clock_that_jumps_back_ends_repeats(process: Callable[[], Asked]) -> None:
    """The row has times that are still to come: it is judged again, by a clock that is mended."""
    assert process().is_repeat()
    one = process()
    assert not one.is_repeat(LATER - 1800)
    assert one.has_opened


def test_another_configuration_has_no_repeats_of_this_one(
    process: Callable[[], Asked], config: Config
) -> None:
    other = Asked(config)
    path = Path(config.store_database).with_name("pcc.toml")
    path.write_text(path.read_text() + "\n")
    changed = Asked(prepared.load(str(path)))
    assert is_repeat_by_cache(other)
    assert not changed.is_repeat()
    other.verdicts.close()
    changed.verdicts.close()


def test_new_database_has_no_repeats_of_the_old_one(
    process: Callable[[], Asked], config: Config
) -> None:
    """It often has the same inode."""
    path = Path(config.store_database)
    for file in path.parent.glob("pcc.db*"):
        if file.suffix != ".repeats":
            file.unlink()
    creation.create_or_upgrade(str(path))
    assert not process().is_repeat()


@pytest.mark.parametrize("how", ["removed", "moved", "linked elsewhere"])
def test_cache_may_be_removed(
    process: Callable[[], Asked], database: SQLiteDatabase, how: str
) -> None:
    old, path = process(), Path(database.path + repeatcache.SUFFIX)
    assert is_repeat_by_cache(old)
    database.in_turn(lambda: None, "eve")  # by one that has it open
    if how == "linked elsewhere":
        path.with_name("other").hardlink_to(path)
    if how == "moved":
        path.rename(path.with_name("other"))
    else:
        path.unlink()
    for _ in range(2):
        assert process().is_repeat()
    block(database)
    assert not old.is_repeat(later() + 1.1)
    assert not process().is_repeat()


def test_cache_may_be_removed_within_a_turn(
    process: Callable[[], Asked], database: SQLiteDatabase
) -> None:
    def change() -> None:
        Path(database.path + repeatcache.SUFFIX).unlink()
        assert process().is_repeat()  # and it is kept in a new file
        database.write("DELETE FROM sighting")

    database.in_turn(change, "joe")
    assert not process().is_repeat()


def test_repeats_come_back_after_a_process_is_killed_in_its_turn(
    process: Callable[[], Asked], database: SQLiteDatabase
) -> None:
    end_and_die(database, repeatcache.EVERYBODY)
    assert process().is_repeat()
    assert not is_repeat_by_cache(process())
    database.in_turn(lambda: None, "eve")
    assert process().is_repeat()
    assert is_repeat_by_cache(process())


def test_database_that_can_not_be_opened_has_no_cache(
    process: Callable[[], Asked], config: Config
) -> None:
    one = process()
    assert is_repeat_by_cache(one)  # and its count will meet the error
    with open(config.store_database, "r+b") as file:
        file.write(b"rubbish" * 100)
    for asked in (one, process()):
        with pytest.raises(StoreError):
            _ = asked.verdicts.database
        with pytest.raises(StoreError):
            asked.is_repeat()
    with pytest.raises(StoreError):
        process().is_repeat()


@pytest.mark.parametrize("damage", [b"", b"x", os.urandom(1_000_000)])
def test_damaged_cache_costs_only_time(
    process: Callable[[], Asked], database: SQLiteDatabase, damage: bytes
) -> None:
    Path(database.path + repeatcache.SUFFIX).write_bytes(damage)
    one = process()
    assert one.is_repeat()
    assert one.has_opened
    block(database)
    assert not process().is_repeat()


def test_long_name_is_looked_up_each_time(process: Callable[[], Asked]) -> None:
    account = "j" * SLOT_BYTES
    assert process().judge(account=account) == "DUNNO"
    for _ in range(2):
        one = process()
        assert one.is_repeat(account=account)
        assert one.has_opened


def test_places_in_one_bucket_are_kept_beside_each_other(
    process: Callable[[], Asked], config: Config
) -> None:
    places = [address("ES", host) for host in range(1, 30)]
    one = process()
    for client in places:
        assert one.judge(client=client) == "DUNNO"
    for client in places:  # by that many, most of the four places of the bucket are taken
        assert one.is_repeat(client=client)
    content = Path(config.store_database + repeatcache.SUFFIX).read_bytes()
    assert 2 <= content.count(b"joe\0") <= 4


@pytest.mark.subprocess
def test_full_disk_ends_all_repeats_in_place_of_some(
    process: Callable[[], Asked], database: SQLiteDatabase
) -> None:
    """Writing beyond the first bucket fails: what is there is overwritten."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (BUCKET_BYTES, BUCKET_BYTES))
        cache = RepeatCache(database.path)
        cache.open()
        cache.end(["joe"])
        cache.resume()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    one = process()
    assert one.is_repeat()
    assert one.has_opened
