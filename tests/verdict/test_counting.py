"""Mails that wait to be counted: what rests on them must not depend on when that is done."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from checkout import NETWORKS, address, new_instance, request_text
from mmdb import write_country_database

from pcc.config import prepared
from pcc.protocol import RequestReader
from pcc.store import incidents, open_database, repeats, sums
from pcc.store.engine import creation
from pcc.verdict import counting
from pcc.verdict.decision import SETTLED_SECONDS
from pcc.verdict.repeat import Verdicts

DAY = 86400
WINDOW = 1800
START = 1_900_000_800.0  # a quarter to eighteen, UTC


@pytest.fixture
def process(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Verdicts]:
    """Makes what gives the verdicts of one process, all on one database."""
    familiar_after = getattr(request, "param", 0)
    write_country_database(tmp_path / "country.mmdb", NETWORKS)
    (tmp_path / "pcc.toml").write_text(
        f'[policy]\nfamiliar_after = {familiar_after}\nmax_countries = 1\nwindow = "30m"\n'
        '[country]\ndatabase = "country.mmdb"\n[store]\ndatabase = "pcc.db"\n[notify]\nto = []\n'
    )
    creation.create_or_upgrade(str(tmp_path / "pcc.db"))
    config = prepared.load(str(tmp_path / "pcc.toml"))
    return lambda: Verdicts(config, open_database(config.store_database), print)


def ask(verdicts: Verdicts, country: str, now: float, account: str = "joe") -> str:
    """Ask about a new mail of an account from a country, "" for a private address."""
    client = address(country) if country else "192.168.0.1"
    reader = RequestReader()
    reader.receive(request_text(account, client, instance=new_instance()).encode())
    request = reader.next_request()
    assert request is not None
    return verdicts.verdict(account, request, now).action.partition(" ")[0]


@pytest.mark.parametrize("before", [0.1, 2.1, 5, 10])
def test_mail_that_waits_to_be_counted_keeps_its_country_in_the_window(
    process: Callable[[], Verdicts], before: float
) -> None:
    one, other = process(), process()
    assert ask(one, "ES", START) == "DUNNO"
    assert ask(one, "ES", START + WINDOW - before) == "DUNNO"  # and not a word to the others yet
    assert ask(other, "FR", START + WINDOW + 0.1) == "REJECT"


def test_mail_is_counted_before_its_country_could_leave_a_window() -> None:
    assert counting.LONGEST_SECONDS < SETTLED_SECONDS
    assert counting.GROUP_SECONDS < counting.FAILURE_PAUSE_SECONDS


def sightings_of(verdicts: Verdicts) -> list[tuple[Any, ...]]:
    """Return what the sums have of joe: address, mails, instance, last seen, days."""
    return verdicts.database.rows(
        "SELECT address, mails, instance, last_seen, days FROM sighting WHERE account = 'joe'"
    )


def count(verdicts: Verdicts, instance: str, at: float, country: str = "ES") -> None:
    """Count a mail of joe that was answered at a time."""
    verdicts.counts.add(("joe", address(country), ""), instance, "a.example", at)


def line(instance: str, at: float) -> str:
    """Return the line of the log of a mail of joe."""
    count = (at, at, 1, instance, instance, "a.example")
    return repeats.line(("joe", address("ES"), ""), count)


def fold(verdicts: Verdicts, at: float) -> None:
    sums.fold(verdicts.database, at)


def test_group_that_is_written_again_counts_once(process: Callable[[], Verdicts]) -> None:
    one, other = process(), process()
    assert ask(one, "ES", START) == "DUNNO"
    database = one.database
    groups = [("writer", number, START, line(f"i{number}", START)) for number in (1, 2, 3)]
    repeats.append(database, groups[:1])
    repeats.append(database, groups[:2])  # the first once more, before it is folded
    fold(one, START + 5)
    repeats.append(database, groups[1:])  # the second once more, after that
    fold(other, START + 6)
    fold(one, START + 7)
    assert sightings_of(one)[0][:3] == (address("ES"), 4, "i3")
    assert database.rows("SELECT mails FROM place WHERE account = 'joe'") == [(4,)]
    assert database.rows("SELECT writer FROM counted") == []


def test_mail_that_two_processes_answered_counts_once(process: Callable[[], Verdicts]) -> None:
    """Postfix asks another process again when it got no answer, before the log is folded."""
    one, other = process(), process()
    assert ask(one, "ES", START) == "DUNNO"
    for verdicts, at in ((one, START + 1), (other, START + 2)):
        count(verdicts, "again", at)
        verdicts.counts.write(verdicts.database)
    fold(one, START + 3)
    assert [row[1] for row in sightings_of(one)] == [2]
    count(one, "again", START + 4)
    one.counts.write(one.database)
    fold(one, START + 5)
    assert [row[1] for row in sightings_of(one)] == [2]


def test_mail_that_two_processes_answered_counts_once_beside_a_later_one(
    process: Callable[[], Verdicts],
) -> None:
    """The order of the names of processes is one of chance."""
    one = process()
    assert ask(one, "ES", START) == "DUNNO"
    for names in permutations("abc"):
        mails = zip(names, ("again", "again", "later"), (1, 2, 3), strict=True)
        for name, instance, at in mails:
            writer = "".join(names) + name
            repeats.append(
                one.database, [(writer, 1, START + at, line(writer[:3] + instance, START + at))]
            )
        fold(one, START + 9)
    assert sightings_of(one)[0][1] == 1 + 6 * 2


def test_latest_of_two_mails_at_one_moment_is_remembered(process: Callable[[], Verdicts]) -> None:
    one = process()
    assert ask(one, "ES", START) == "DUNNO"
    count(one, "first", START + 1)
    count(one, "second", START + 1)
    one.counts.write(one.database)
    fold(one, START + 2)
    assert sightings_of(one)[0][1:3] == (3, "second")


def test_old_mail_of_the_log_leaves_newer_times(process: Callable[[], Verdicts]) -> None:
    one = process()
    count(one, "old", START - 5)
    one.counts.write(one.database)
    assert ask(one, "ES", START) == "DUNNO"
    newest = sightings_of(one)[0][2]
    fold(one, START + 1)
    assert sightings_of(one)[0][1:4] == (2, newest, START)


@pytest.mark.parametrize(("late", "at"), [(9, 0), (11, 1)])
def test_decision_knows_the_times_of_a_log_that_is_late(
    process: Callable[[], Verdicts], late: int, at: int
) -> None:
    one = process()
    assert ask(one, "ES", START) == "DUNNO"
    count(one, "one waits", START + 1)
    count(one, "another waits", START + 1)
    one.counts.write(one.database)
    one.counts.add(("joey", address("ES"), ""), "other", "a.example", START + 1)
    one.counts.write(one.database)
    assert ask(one, "FR", START + 1 + late) == "REJECT"
    query = f"SELECT last_seen, mails FROM sighting WHERE address = '{address('ES')}'"
    assert one.database.rows(query) == [(START + at, 1)]
    assert one.database.rows("SELECT last_seen FROM place WHERE name = 'ES'") == [(START + at,)]
    fold(one, START + 30)
    assert one.database.rows(query) == [(START + 1, 3)]


def test_mail_that_is_not_judged_renews_nothing(process: Callable[[], Verdicts]) -> None:
    one = process()
    assert ask(one, "ES", START) == "DUNNO"
    count(one, "waits", START + 1)
    one.counts.write(one.database)
    assert ask(one, "", START + 30) == "DUNNO"
    assert sightings_of(one)[0][3] == START


def test_block_while_a_late_log_is_read_stops_the_mail(process: Callable[[], Verdicts]) -> None:
    one, other = process(), process()
    assert ask(one, "ES", START) == "DUNNO"
    count(one, "waits", START + 1)
    one.counts.write(one.database)

    class Blocking(type(one.database)):  # type: ignore[misc]
        def in_turn(self, work: Callable[[], Any], *accounts: str) -> Any:
            incidents.block(
                other.database, "joe", "REJECT", 0, "me", "", START + 30, lambda days: days
            )
            return super().in_turn(work, *accounts)

    one.database.__class__ = Blocking
    assert ask(one, "ES", START + 30) == "REJECT"


def test_late_log_of_an_earlier_day_makes_a_place_familiar(
    process: Callable[[], Verdicts],
) -> None:
    one = process()
    midnight = START // DAY * DAY + DAY
    assert ask(one, "ES", midnight - 3600) == "DUNNO"
    count(one, "waits", midnight - 1)
    one.counts.write(one.database)
    assert ask(one, "FR", midnight + 1) == "REJECT"
    query = f"SELECT last_seen FROM sighting WHERE address = '{address('ES')}'"
    assert one.database.rows(query) == [(midnight - 1,)]


def test_mail_of_the_log_teaches_its_day(process: Callable[[], Verdicts]) -> None:
    one = process()
    assert ask(one, "ES", START) == "DUNNO"
    today = int(START // DAY)
    count(one, "tomorrow", START + DAY)
    one.counts.write(one.database)
    fold(one, START + DAY + 1)
    days = f"{today + 1} {today}"
    assert sightings_of(one)[0][4] == days
    assert one.database.rows("SELECT days FROM place WHERE account = 'joe'") == [(days,)]


def test_mail_of_the_log_teaches_nothing_during_an_incident_nor_after_it(
    process: Callable[[], Verdicts],
) -> None:
    one = process()
    assert ask(one, "ES", START) == "DUNNO"
    count(one, "before", START + 1)
    one.counts.write(one.database)
    database = one.database
    incidents.block(database, "joe", "REJECT", 0, "me", "", START + 2, lambda days: f"|0 {days}")
    fold(one, START + 3)
    days = f"|0 {START // DAY:.0f}"
    assert sightings_of(one)[0][1::3] == (2, days)
    count(one, "late", START + 1.5)
    one.counts.write(one.database)
    incidents.unblock(database, "joe", "me", "", 0, START + 4)
    fold(one, START + 5)
    assert sightings_of(one)[0][1::3] == (3, days)


def test_log_is_folded_in_pieces_that_others_can_write_between(
    process: Callable[[], Verdicts],
) -> None:
    one, other = process(), process()
    accounts = [f"user{number:04}" for number in range(2 * sums.PLACES + 3)]
    for account in accounts:
        assert ask(one, "ES", START, account) == "DUNNO"
    for at in (1, 2):
        for number, account in enumerate(accounts):
            one.counts.add((account, address("ES"), ""), f"{at}.{number}", "", START + at)
        one.counts.write(one.database)
    database = one.database
    assert sums.sort(database, START + 9)
    count(other, "meanwhile", START + 3)
    other.counts.write(other.database)
    assert sums.sort(database, START + 9)  # and the pieces stay
    assert [sums.add_piece(database) for _ in range(5)] == [True, True, True, True, False]
    rows = database.rows("SELECT account, mails FROM sighting ORDER BY account")
    assert rows == [(account, 3) for account in accounts]
    assert repeats.length(database, START + 9) == (0, 0)


def test_log_is_folded_to_its_end_although_a_piece_has_only_later_mails(
    process: Callable[[], Verdicts],
) -> None:
    one = process()
    for number in range(2 * sums.PLACES):
        account = f"user{number:04}"
        assert ask(one, "ES", START, account) == "DUNNO"
        one.counts.add((account, address("ES"), ""), "later", "", START + number / 1000)
    one.counts.write(one.database)
    fold(one, START + 9)
    assert repeats.length(one.database, START + 9) == (0, 0)


def test_log_is_sorted_once_by_two_at_once(process: Callable[[], Verdicts]) -> None:
    """The second has read all groups when the first replaces them."""
    one, other = process(), process()
    assert ask(one, "ES", START) == "DUNNO"
    count(one, "first", START + 1)
    one.counts.write(one.database)

    class Late(type(other.database)):  # type: ignore[misc]
        def in_turn(self, work: Callable[[], Any], *accounts: str) -> Any:
            assert sums.sort(one.database, START + 2)
            return super().in_turn(work, *accounts)

    late = Late(other.database.name)
    assert sums.sort(late, START + 2)
    late.close()
    fold(one, START + 3)
    assert sightings_of(one)[0][:3] == (address("ES"), 2, "first")


def test_oldest_mails_of_the_log_are_sorted_first(process: Callable[[], Verdicts]) -> None:
    one = process()
    assert ask(one, "ES", START) == "DUNNO"
    database = one.database
    for number in range(1, sums.GROUPS + 9):
        repeats.append(
            database, [("a", number, START + number, line(f"i{number}", START + number))]
        )
    repeats.append(database, [("z", 1, START, line("old", START))])
    assert sums.sort(database, START + 900)
    assert sums.add_piece(database)
    assert database.row("SELECT min(at) FROM counted") == (START + sums.GROUPS,)
    fold(one, START + 900)
    assert sightings_of(one)[0][1] == 1 + sums.GROUPS + 9


def test_folding_ends_although_others_go_on_counting(process: Callable[[], Verdicts]) -> None:
    one, other = process(), process()
    assert ask(one, "ES", START) == "DUNNO"
    count(one, "first", START + 1)
    one.counts.write(one.database)
    turns: list[int] = []

    class Busy(type(other.database)):  # type: ignore[misc]
        def in_turn(self, work: Callable[[], Any], *accounts: str) -> Any:
            turns.append(1)
            assert len(turns) < 9
            count(one, f"meanwhile {len(turns)}", START + 2)
            one.counts.write(one.database)
            return super().in_turn(work, *accounts)

    busy = Busy(other.database.name)
    sums.fold(busy, START + 3)
    busy.close()
    assert sightings_of(one)[0][1] == 2


def repeats_until(verdicts: Verdicts) -> float:
    """Return until when joe's mail is a repeat, in seconds since the last midnight before START."""
    rows = verdicts.database.rows("SELECT abs(repeats_until) FROM sighting")
    until: float = rows[0][0]
    return until - START // DAY * DAY


def test_repeats_go_on_over_the_full_hour(process: Callable[[], Verdicts]) -> None:
    one = process()
    assert ask(one, "ES", START // 3600 * 3600 + 3590) == "DUNNO"
    seen = START // 3600 * 3600 + 3590 - START // DAY * DAY
    assert repeats_until(one) == seen + WINDOW - SETTLED_SECONDS


@pytest.mark.parametrize(("process", "is_familiar"), [(1, True), (2, False)], indirect=["process"])
def test_repeats_go_on_over_midnight_from_familiar_countries_alone(
    process: Callable[[], Verdicts], *, is_familiar: bool
) -> None:
    one = process()
    midnight = START // DAY * DAY + DAY
    assert ask(one, "ES", midnight - DAY - 60) == "DUNNO"
    assert ask(one, "ES", midnight - 60) == "DUNNO"
    expected = DAY - 60 + WINDOW - SETTLED_SECONDS if is_familiar else DAY
    assert repeats_until(one) == expected


def test_mail_with_any_characters_is_counted(process: Callable[[], Verdicts]) -> None:
    one = process()
    account = "a\x1fb\tc\x85\u2028@example.org"
    assert ask(one, "ES", START, account) == "DUNNO"
    one.counts.add((account, address("ES"), ""), "i\x1f1", "a\x1fb\x1fc.example", START + 1)
    one.counts.write(one.database)
    fold(one, START + 2)
    assert one.database.rows("SELECT account, mails, client_name FROM sighting") == [
        (account, 2, "a?b?c.example")
    ]


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "damaged",
        "\x1f" * 8,
        line("i", START).replace(str(START), "inf"),
        line("i", START).replace(str(START), "nan"),
        line("i", START).replace("\x1f1\x1f", "\x1fmany\x1f"),
        line("i", START).replace("\x1fjoe", "x\x1fjoe"),
    ],
)
def test_damaged_line_of_the_log_is_left_out(process: Callable[[], Verdicts], damaged: str) -> None:
    one = process()
    assert ask(one, "ES", START) == "DUNNO"
    lines = "\n".join([line("i.1", START + 1), damaged, line("i.2", START + 2)])
    repeats.append(one.database, [("writer", 1, START + 1, lines)])
    assert ask(one, "ES", START + 60) == "DUNNO"
    fold(one, START + 60)
    assert sightings_of(one)[0][1] == 3
    assert one.database.rows("SELECT 1 FROM counted") == []
