"""A little of every kind of fault; `make faults` has more of them, and prints figures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults import broken, crowd, failing, kill, mta, power, preload, watchdogs, world

pytestmark = pytest.mark.subprocess

needs_world = pytest.mark.skipif(bool(world.missing()), reason=world.missing() or "-")
needs_compiler = pytest.mark.skipif(
    bool(preload.missing_compiler()), reason=preload.missing_compiler() or "-"
)
LONG = (
    broken.the_write_ahead_log_is_long_and_the_disk_full,
    broken.a_read_only_file_system_without_side_files,
    broken.a_truncated_database,
    broken.a_folder_of_another_owner,
    broken.a_database_unblocked_under_a_running_process,
    watchdogs.without_a_syslog_nothing_is_different,
    watchdogs.a_half_sent_request_ends_with_the_idle_time,
    broken.corrupt_pages,
    broken.a_truncated_write_ahead_log,
    broken.out_of_file_descriptors,
    broken.out_of_memory,
    broken.files_that_may_not_grow,
    watchdogs.a_postfix_that_does_not_read_its_replies_is_given_up,
)
"""The part that only `make faults` does."""
NEED_FAKETIME = broken.NEED_FAKETIME + watchdogs.NEED_FAKETIME


def test_killed_processes_lose_nothing_that_was_decided() -> None:
    done = kill.run(3, workers=6)
    assert done.kills > 5
    assert done.figures.passed > 50


@needs_compiler
@pytest.mark.parametrize(("workers", "mails_per_process"), [(4, 0), (1, 2)])
def test_power_cut_loses_nothing_that_was_answered_for(
    workers: int, mails_per_process: int
) -> None:
    assert power.run(4, workers, mails_per_process=mails_per_process).promised > 0


@needs_compiler
def test_reply_rests_on_nothing_that_may_not_be_on_disk(tmp_path: Path) -> None:
    assert power.answers_without_syncs(tmp_path) == 0


@needs_compiler
def test_failing_write_loses_nothing_that_was_answered_for() -> None:
    assert failing.run(every=30, kinds=["full", "failing"]).faults > 4


@pytest.mark.parametrize("kind", crowd.KINDS, ids=lambda kind: kind.key)
def test_crowd_of_forty_processes_gets_exactly_the_limit_through(kind: crowd.Kind) -> None:
    assert crowd.run(3, kind=kind).rounds == 3


def test_crowd_makes_one_notice() -> None:
    assert crowd.run(2, 10, notify=True).notices == 2


@needs_world
@pytest.mark.parametrize(
    "case",
    [case for case in (*broken.CASES, *watchdogs.CASES) if case not in LONG],
    ids=lambda case: case.__name__,
)
def test_blocks_hold_and_pcc_recovers_by_itself(case: Callable[[], None]) -> None:
    if case in NEED_FAKETIME and not preload.faketime():
        pytest.skip("faketime is not installed")
    case()


@needs_world
def test_process_that_is_locked_out_or_stopped_ends_at_the_deadline() -> None:
    with ThreadPoolExecutor(len(broken.SLOW)) as pool:  # they wait most of the time
        for done in [pool.submit(case) for case in broken.SLOW]:
            done.result()


@pytest.mark.postfix
def test_postfix_refuses_the_right_mail_while_processes_are_killed() -> None:
    done = mta.run(30, 3, reloads=1)
    assert done.kills > 0
    assert done.passed > 0
