"""The outbox: each notice in it is sent once, whatever fails, hangs or is killed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from notices import (
    DAY,
    USER,
    Place,
    admin,
    renumbered,
)
from postfix import wait_until
from systemlog import system_log

from pcc import maillog
from pcc.store import blocks, counters, outbox, upkeep
from pcc.store.engine.sqlite import SQLiteDatabase

started = pytest.mark.subprocess


def test_notice_is_taken_as_quickly_from_many_as_from_few(place: Place) -> None:
    assert isinstance(place.database, SQLiteDatabase)
    connection, steps = place.database.connection, []
    for number in (50, 2000):
        with place.database:
            for account in range(number):
                name, now = f"user{account}@example.org", time.time()
                blocks.add_notice(place.database, 1, name, "unblocked", ("mail",), now)
        first = outbox.take(place.database, 0, time.time())
        assert first is not None
        counted: list[int] = []
        connection.set_progress_handler(partial(counted.append, 1), 1)
        assert outbox.take(place.database, first.id, time.time())
        connection.set_progress_handler(None, 1)
        steps.append(len(counted))
    assert steps[1] < 2 * steps[0], steps


@started
@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo 'no disk' >&2; echo more >&2; exit 75", "ended with status 75: more"),
        ("cat >/dev/null; exit 1", "ended with status 1"),
        ("kill -9 $$", "was killed by signal 9"),
        ("head -c 3000000 /dev/zero >&2; exit 2", "ended with status 2: \\x00\\x00"),
        ("printf '\\033[2J\\n' >&2; exit 3", "ended with status 3: \\x1b[2J"),
    ],
)
def test_outbox_keeps_a_failed_notice_with_its_cause(place: Place, script: str, cause: str) -> None:
    place.program("sendmail", script)
    place.notice()
    sent, (failure,) = place.send()
    assert sent == 0
    beginning = f"notice 1 (blocked, incident 1) by mail: {place.sendmail} {cause}"
    assert renumbered(failure).startswith(beginning)
    ((channel, tries, error, _),) = place.waiting()
    assert (channel, tries) == ("mail", 1)
    assert error.startswith(f"{place.sendmail} {cause}")
    assert len(error) < 1000
    place.program("sendmail", place.recording)
    assert place.send() == (1, [])
    assert place.send() == (0, [])
    assert len(place.received()) == 1


@started
def test_counters_have_the_notices_that_were_sent_and_each_failure(place: Place) -> None:
    place.program("sendmail", "exit 1")
    place.configure(to=["ann@example.org"], command=["/bin/true"])
    number = place.notice(channels=("mail", "command"))
    for _ in range(2):
        place.send()
    place.program("sendmail", place.recording)
    place.send()
    with place.database:
        place.database.write("DELETE FROM incident WHERE id = ?", (number,))
    place.leave(number, USER, ("mail",))  # whose incident is gone: it is not sent
    place.send()
    assert place.waiting() == []
    found = counters.totals(place.database)
    assert (found["notices sent"], found["notices failed"]) == (2, 2)


@started
def test_channel_is_not_sent_again_because_the_other_failed(place: Place) -> None:
    place.program("sendmail", "exit 1")
    command = place.program("command", f"cat >>{place.folder}/told")
    place.configure(command=[str(command)])
    place.notice(channels=("mail", "command"))
    assert place.send()[0] == 1
    place.program("sendmail", place.recording)
    assert place.send() == (1, [])
    (line,) = (place.folder / "told").read_text().splitlines()
    assert json.loads(line)["account"] == USER
    assert len(place.received()) == 1


@started
def test_pauses_grow_unless_a_person_asks(place: Place) -> None:
    place.program("sendmail", "exit 1")
    place.notice()
    pauses = []
    for _ in range(9):
        assert len(place.send()[1]) == 1
        (row,) = place.database.rows("SELECT next_try FROM outbox")
        pauses.append(round(row[0] - time.time()))
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert place.send_due() == (0, [])
    with place.database:
        place.database.write("UPDATE outbox SET next_try = ?", (time.time() - 1,))
    assert len(place.send_due()[1]) == 1
    with place.database:  # written before the clock jumped back
        place.database.write("UPDATE outbox SET next_try = ?", (time.time() + 9 * DAY,))
    assert len(place.send_due()[1]) == 1


def test_notice_is_left_to_the_process_that_took_it(place: Place) -> None:
    place.notice()
    now = time.time()
    assert outbox.take(place.database, 0, now) is not None
    assert outbox.take(place.database, 0, now) is None
    assert outbox.take(place.database, 0, now - 10) is None  # waited that long for its turn
    assert outbox.take(place.database, 0, now + outbox.LEASE_SECONDS - 1) is None
    assert outbox.take(place.database, 0, now + outbox.LEASE_SECONDS + 1) is not None
    assert outbox.take(place.database, 0, now - DAY) is not None  # the clock jumped back


@started
@pytest.mark.parametrize(
    ("spoilt", "cause"),
    [
        ("UPDATE sighting SET client_name = CAST(x'ff' AS TEXT) WHERE account = ?", "UTF-8"),
        ("UPDATE outbox SET detail = '{' WHERE account = ?", "Expecting property name"),
        ("UPDATE incident SET began = 1e99 WHERE account = ?", "out of range"),
    ],
)
def test_notice_that_cannot_be_read_keeps_no_other_back(
    place: Place, spoilt: str, cause: str
) -> None:
    now = time.time()
    place.saw("VN", "203.0.113.9", now, now)
    place.notice(USER, began=now)
    place.notice("other@example.org")
    with place.database:
        place.database.write(spoilt, (USER,))
    sent, (failure,) = place.send_due()
    assert sent == 1
    beginning = "notice 1 (blocked, incident 1) by mail: what it is about can't be"
    assert renumbered(failure).startswith(beginning)
    assert cause in failure
    ((_, tries, error, _),) = place.waiting()
    assert tries == 1
    assert cause in error
    assert place.send_due() == (0, [])  # it has its pauses as any that fails


@started
def test_notices_of_one_account_are_sent_alone(place: Place) -> None:
    place.notice("other@example.org")
    place.notice(USER)
    assert place.send(wanted=outbox.Wanted(USER)) == (1, [])
    assert place.database.rows("SELECT account FROM outbox") == [("other@example.org",)]


ACCOUNTS = ["ann@example.org", "bob@example.org", "eve@example.org"]


@started
def test_digest_has_the_incidents_after_the_first_and_keeps_no_command_back(place: Place) -> None:
    command = place.program(
        "command", f"cat >>{place.folder}/told; date +%s.%N >>{place.folder}/at"
    )
    place.configure(digest="2s", command=[str(command)])
    begin = time.time()
    place.notice(USER)
    assert place.send_due() == (1, [])
    assert time.time() - begin < 1.5
    for account in ACCOUNTS:
        place.notice(account, channels=("mail", "command"))
    assert place.send_due() == (6, [])
    assert time.time() - begin >= 2
    commands = [float(line) for line in (place.folder / "at").read_text().splitlines()]
    assert len(commands) == 3 and max(commands) - begin < 1.9
    first, second = sorted(place.received(), key=lambda message: len(message["Subject"]))
    if USER not in str(first["Subject"]):
        first, second = second, first
    assert str(second["Subject"]) == f"[pcc] 3 blocked: {', '.join(ACCOUNTS)}"
    text = second.get_content()
    for number, account in enumerate(ACCOUNTS, 1):
        assert f"==== {number} of 3: {account} ====" in text
        assert f"show {account}\n" in text
    assert place.waiting() == []


@started
def test_digest_is_not_waited_for_where_a_person_asks(place: Place) -> None:
    place.configure(digest="1h")
    place.notice(USER)
    assert place.send_due() == (1, [])
    place.notice("ann@example.org")
    place.notice("bob@example.org")
    assert place.send() == (2, [])
    assert len(place.received()) == 2


@started
def test_digest_that_fails_is_kept_whole_and_sent_again(place: Place) -> None:
    place.configure(digest="1h")
    place.program("sendmail", "exit 1")
    for account in ACCOUNTS:
        place.notice(account)
    sent, failures = place.send_due()
    assert (sent, len(failures)) == (0, 3)
    assert [row[1] for row in place.waiting()] == [1, 1, 1]
    place.program("sendmail", place.recording)
    assert place.send() == (3, [])
    assert len(place.received()) == 1


@started
def test_digest_leaves_out_a_notice_that_cannot_be_read(place: Place) -> None:
    place.configure(digest="1h")
    now = time.time()
    place.saw("VN", "203.0.113.9", now, now)
    for account in (USER, *ACCOUNTS):
        place.notice(account, began=now)
    with place.database:
        spoilt = "UPDATE sighting SET client_name = CAST(x'ff' AS TEXT) WHERE account = ?"
        place.database.write(spoilt, (USER,))
    sent, (failure,) = place.send_due()
    assert (sent, "UTF-8" in failure) == (3, True)
    assert [row[1] for row in place.waiting()] == [1]


@started
def test_notice_that_nobody_wants_any_more_is_dropped(place: Place) -> None:
    place.notice("kept@example.org", channels=("mail", "command"))
    number = place.notice("forgotten@example.org")
    upkeep.forget(place.database, "forgotten@example.org")
    place.leave(number, "forgotten@example.org", ("mail",))  # by a process that was late
    assert place.send() == (1, [])  # no command is configured
    assert place.waiting() == []
    place.configure(to=[])
    place.notice()
    assert place.send() == (0, [])
    assert place.waiting() == []


@started
def test_database_can_be_written_while_a_notice_is_sent(place: Place) -> None:
    gate = place.folder / "gate"
    place.program("sendmail", f"while [ ! -e {gate} ]; do sleep 0.02; done; {place.recording}")
    place.notice()
    notifier = subprocess.Popen(admin(place, "notify"), start_new_session=True)
    try:
        wait_until(lambda: place.database.rows("SELECT 1 FROM outbox WHERE taken > 0"), "start")
        time.sleep(0.2)
        begin = time.monotonic()
        with place.database:
            place.database.write("DELETE FROM exemption")
        assert time.monotonic() - begin < 0.5
        assert place.send() == (0, [])  # it is the other's
    finally:
        gate.touch()
        assert notifier.wait(60) == 0
    assert len(place.received()) == 1


@started
def test_notify_says_what_it_did_by_its_exit_status(place: Place) -> None:
    def notify(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            admin(place, *arguments, "notify"), capture_output=True, text=True, check=False
        )

    done = notify()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    place.program("sendmail", "grep -q good@ && exit; exit 1")
    place.notice("bad@example.org")
    done = notify("--json")
    assert (done.returncode, json.loads(done.stdout)) == (1, {"sent": 0, "failed": 1})
    place.notice("good@example.org")
    done = notify("--json")
    assert (done.returncode, json.loads(done.stdout)) == (3, {"sent": 1, "failed": 1})
    assert renumbered(done.stderr) == (
        f"pcc_admin.py: notice 1 (blocked, incident 1) by mail: {place.sendmail}"
        " ended with status 1\n"
    )


@started
def test_channel_that_hangs_is_tried_once(place: Place) -> None:
    place.program("sendmail", "sleep 9")
    for _ in range(3):
        place.notice()
    begin = time.monotonic()
    sent, (_,) = place.send_due(seconds=0.3)
    assert sent == 0
    assert time.monotonic() - begin < 2


@pytest.fixture
def mail_log() -> Iterator[Callable[[], list[str]]]:
    """A function that returns what this process has logged since it was called last."""
    with system_log() as log:
        maillog.error("hello")  # flushes the line about what was lost before there was a log
        log.lines()

        def lines() -> list[str]:
            found = [line.partition(f"pcc-notices[{os.getpid()}]: ") for line in log.lines()]
            return [renumbered(text) for _, ident, text in found if ident]

        yield lines


@started
def test_failure_is_logged_at_once_and_then_every_hour(
    place: Place, mail_log: Callable[[], list[str]]
) -> None:
    place.program("sendmail", "exit 1")
    place.notice()
    line = f"error notice 1 (blocked, incident 1) by mail: {place.sendmail} ended with status 1"
    place.send()
    assert mail_log() == [line]
    place.send()
    assert mail_log() == []
    with place.database:  # an hour goes by
        place.database.write(
            "UPDATE outbox SET created = created - 3600, next_try = next_try - 600"
        )
    place.send()
    assert mail_log() == [line]
    place.send()
    assert mail_log() == []
    place.program("sendmail", place.recording)
    place.send()
    assert mail_log() == ["notice incident=1 channel=mail sent"]
