"""unblock as an administrator types it, with held mail in a real Postfix."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from holding import Holding, next_second
from postfix import wait_until
from systemlog import system_log

pytestmark = pytest.mark.postfix

SHARED = "office@example.org"


@pytest.fixture(scope="module")
def module_holding() -> Iterator[Holding]:
    holding = Holding()
    with holding.mta:
        yield holding
        assert not holding.foreign_files()


@pytest.fixture
def holding(module_holding: Holding) -> Holding:
    module_holding.ask_at("data")
    module_holding.mta.forget_delivered()
    return module_holding


def lines(text: str) -> list[list[str]]:
    """The lines of a text, each as its columns."""
    return [re.split("  +", line) for line in text.splitlines()]


# Dialogues.


def test_unblock_release(holding: Holding) -> None:
    account = holding.blocked()
    queue_ids = holding.send(account, account, "")
    done = holding.admin("unblock", account, "--release", "--reason", "a journey")
    assert (done.returncode, done.stderr) == (0, "")
    head, first, second, *told = lines(done.stdout)
    assert head == ["STATE", "ACCOUNT", "QUEUE ID", "HELD", "SENDER"]
    assert first[:3] + first[4:] == ["released", account, queue_ids[0], account]
    assert second[:3] + second[4:] == ["released", account, queue_ids[1], "<>"]
    assert told == [[f"{account} is unblocked."], ["2 held mails released."]]
    assert not holding.on_hold() & set(queue_ids)
    delivered = holding.mta.wait_for_delivered(3)
    assert sorted(mail["X-Original-To"].partition("@")[0] for mail in delivered) == [
        "postmaster",
        "recipient",
        "recipient",
    ]
    [notice] = [mail for mail in delivered if mail["X-Original-To"].startswith("postmaster")]
    assert notice["Subject"] == f"[pcc] {account} unblocked by root: 2 held mails released"
    assert "a journey" in notice.get_content()
    assert not holding.sql("SELECT * FROM outbox")
    events = holding.data("show", account)["events"]
    assert [(event["what"], event["by"], event["detail"]) for event in events[1:]] == [
        ("unblocked", "root", "a journey"),
        ("released", "root", "2 held mails"),
    ]
    assert holding.states(account) == ["released", "released"]
    again = holding.admin("unblock", account, "--release")
    assert (again.returncode, again.stdout) == (1, "")
    assert (
        again.stderr == f"pcc_admin.py: {account} is not blocked, and none of its mail is on hold\n"
    )
    assert holding.send(account) and not holding.data("held", account)


def test_unblock_delete(holding: Holding) -> None:
    account = holding.blocked()
    queue_ids = holding.send(account, account, "")
    assert holding.data("unblock", account, "--delete") == {
        "unblocked": [account],
        "released": [],
        "deleted": queue_ids,
        "missing": [],
        "unsure": [],
    }
    assert not holding.on_hold() & set(queue_ids)
    assert holding.states(account) == ["deleted", "deleted"]
    [notice] = holding.mta.wait_for_delivered(1)
    assert notice["Subject"] == f"[pcc] {account} unblocked by root: 2 held mails deleted"


def test_unblock_alone_leaves_held_mail_for_later(holding: Holding) -> None:
    account = holding.blocked()
    queue_ids = holding.send(account, account, account)
    done = holding.admin("unblock", account)
    assert (done.returncode, done.stderr) == (0, "")
    *said, look, release, delete = done.stdout.splitlines()
    assert said == [
        f"{account} is unblocked.",
        "2 held mails may still be on hold; now or later:",
    ]
    assert look.endswith(f" held {account}")
    assert release.endswith(f" unblock {account} --release")
    assert delete.endswith(f" unblock {account} --delete")
    assert [entry["state"] for entry in holding.data("held", account)] == ["held", "held"]
    later = holding.data("unblock", account, "--release")
    assert (later["unblocked"], later["released"]) == ([], queue_ids)
    subjects = [
        mail["Subject"]
        for mail in holding.mta.wait_for_delivered(4)
        if mail["X-Original-To"].startswith("postmaster")
    ]
    assert subjects == [
        f"[pcc] {account} unblocked by root",
        f"[pcc] {account} unblocked by root: 2 held mails released",
    ]


def test_unblock_releases_what_is_left_of_an_account_unblocked_before(
    holding: Holding,
) -> None:
    account = holding.blocked()
    queue_ids = holding.send(account)
    assert not holding.admin("unblock", account).returncode
    assert not holding.admin("block", account).returncode
    queue_ids += holding.send(account)
    assert not holding.admin("unblock", account).returncode
    done = holding.admin("unblock", account, "--release", "--exempt-for", "7d")
    assert (done.returncode, done.stderr) == (0, "")
    *_, state, released = done.stdout.splitlines()
    assert state.startswith(f"{account} was not blocked, and is exempt until ")
    assert released == "2 held mails released."
    assert not holding.on_hold() & set(queue_ids)
    assert holding.data("show", account)["exempt_until"]


def test_service_user_exempts_and_leaves_held_mail_to_root(holding: Holding) -> None:
    account = holding.blocked()
    [queue_id] = holding.send(account)
    assert not holding.admin("unblock", account).returncode
    user = holding.deployment.user
    done = holding.admin("unblock", account, "--release", "--exempt-for", "7d", user=user)
    assert done.returncode == 3
    assert done.stdout.startswith(f"{account} was not blocked, and is exempt until ")
    assert "needs root" in done.stderr
    assert queue_id in holding.on_hold()
    assert holding.data("show", account)["exempt_until"]


def test_log_has_released_and_deleted_mail_with_its_queue_ids(holding: Holding) -> None:
    account = holding.blocked()
    with system_log() as log:
        for fate in ("released", "deleted"):
            queue_ids = holding.send(account, account, account)
            log.lines()
            assert not holding.admin("unblock", account, f"--{fate[:-1]}").returncode
            lines = [line.partition("]: ")[2] for line in log.lines(5, account)]
            told = f"account=<{account}> by=<root> mails=2 queue_ids={','.join(queue_ids)}"
            assert f"{fate} {told}" in lines
            assert not holding.admin("block", account).returncode


def test_unblock_by_sender_alone_is_a_usage_error(holding: Holding) -> None:
    done = holding.admin("unblock", "someone@example.org", "--by-sender")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pcc_admin.py: --by-sender needs --release or --delete\n"
    assert holding.admin("unblock", "a@example.org", "--release", "--delete").returncode == 2


def test_accounts_keep_their_order_where_several_are_given(holding: Holding) -> None:
    first, second = holding.blocked(), holding.blocked()
    ids = {account: holding.send(account) for account in (first, second)}
    result = holding.data("unblock", second, "nobody@example.org", first, "--delete", status=3)
    assert result["unblocked"] == [second, first]
    assert result["deleted"] == ids[second] + ids[first]


# Exactly.


@pytest.mark.parametrize("fate", ["release", "delete"])
@pytest.mark.parametrize("stage", ["recipient", "data", "end_of_data"])
def test_mail_of_another_account_with_the_same_sender_is_not_touched(
    holding: Holding, stage: str, fate: str
) -> None:
    holding.ask_at(stage)
    first, second = holding.blocked(), holding.blocked()
    ids: dict[str, list[str]] = {first: [], second: []}
    for account in (first, second, first, second):
        ids[account] += holding.send(account, SHARED)
    arguments = ["unblock", first, f"--{fate}"]
    if stage == "recipient":
        untouched = holding.data(*arguments, status=3)
        assert sorted(untouched["unsure"]) == sorted(ids[first])
        assert set(ids[first]) <= holding.on_hold()
        arguments.append("--by-sender")
    result = holding.data(*arguments)
    assert sorted(result[f"{fate}d"]) == sorted(ids[first])
    assert holding.on_hold() & {*ids[first], *ids[second]} == set(ids[second])
    assert holding.states(second) == ["held", "held"]


def test_mail_that_is_unsure_is_named_and_left_alone(holding: Holding) -> None:
    holding.ask_at("recipient")
    account = holding.blocked()
    [queue_id] = holding.send(account)
    done = holding.admin("unblock", account, "--delete")
    assert done.returncode == 3
    assert lines(done.stdout)[1][:3] == ["unsure", account, queue_id]
    assert done.stderr == (
        "pcc_admin.py: left on hold, because its queue id was not known when it was held:"
        f" {queue_id}; --by-sender also takes such mail\n"
    )
    assert queue_id in holding.on_hold()


def test_mail_that_vanished_is_missing_and_the_rest_is_done(holding: Holding) -> None:
    account = holding.blocked()
    queue_ids = holding.send(account, *[account] * 3)
    assert not holding.mta.run(["postsuper", "-d", queue_ids[1], "hold"]).returncode
    result = holding.data("unblock", account, "--release")
    assert (result["released"], result["missing"]) == (
        [queue_ids[0], queue_ids[2]],
        [queue_ids[1]],
    )


def test_mail_that_was_released_by_hand_is_not_deleted(holding: Holding) -> None:
    account = holding.blocked()
    [queue_id] = holding.send(account)
    assert not holding.mta.run(["postsuper", "-H", queue_id]).returncode
    assert [entry["state"] for entry in holding.data("held", account)] == ["released"]
    result = holding.data("unblock", account, "--delete")
    assert (result["deleted"], result["missing"]) == ([], [queue_id])
    assert queue_id in {mail["queue_id"] for mail in holding.mta.queue()}


def test_release_that_was_interrupted_is_finished_by_the_next(holding: Holding) -> None:
    account = holding.blocked()
    queue_ids = holding.send(account, account, account)
    # As if the first run had died behind postsuper -H for one of two.
    assert not holding.admin("unblock", account).returncode
    assert not holding.mta.run(["postsuper", "-H", queue_ids[0]]).returncode
    result = holding.data("unblock", account, "--release")
    assert result["released"] == queue_ids
    holding.mta.wait_for_delivered(4)


def test_queue_id_that_was_used_again_is_not_touched(holding: Holding) -> None:
    first, second = holding.blocked(), holding.blocked()
    [queue_id] = holding.send(first, SHARED)
    assert not holding.mta.run(["postsuper", "-d", queue_id, "hold"]).returncode
    next_second()
    [later] = holding.send(second, SHARED)
    folder = holding.mta.queue_directory / "hold"
    (folder / later).rename(folder / queue_id)
    assert [entry["state"] for entry in holding.data("held", first)] == ["reused"]
    result = holding.data("unblock", first, "--delete", "--by-sender")
    assert (result["deleted"], result["missing"]) == ([], [queue_id])
    assert queue_id in holding.on_hold()
    assert holding.states(first) == ["missing"]


def test_queue_id_of_another_accounts_mail_is_not_touched(holding: Holding) -> None:
    first, second = holding.blocked(), holding.blocked()
    [own], [other] = holding.send(first), holding.send(second)
    next_second()
    [third] = holding.send(first)
    holding.sql("UPDATE held SET queue_id = ? WHERE queue_id = ?", other, third)
    result = holding.data("unblock", first, "--delete", "--by-sender")
    assert (result["deleted"], result["missing"]) == ([own], [other])
    assert other in holding.on_hold()


def test_sender_that_postfix_rewrites_is_no_obstacle(holding: Holding) -> None:
    account = holding.blocked()
    holding.change(sender_canonical_maps="static:rewritten@example.org")
    try:
        [queue_id] = holding.send(account)
    finally:
        holding.change(sender_canonical_maps="")
    [entry] = [mail for mail in holding.mta.queue() if mail["queue_id"] == queue_id]
    assert entry["sender"] == "rewritten@example.org"
    user = holding.deployment.user
    assert [entry["state"] for entry in holding.data("held", account, user=user)] == ["unsure"]
    assert holding.data("unblock", account, "--delete")["deleted"] == [queue_id]


def test_unblock_deletes_hundreds_at_once(holding: Holding) -> None:
    holding.change(enable_long_queue_ids="yes")
    first, second = holding.blocked(), holding.blocked()
    ids = holding.send(first, *[SHARED] * 520)
    others = holding.send(second, SHARED, SHARED)
    result = holding.data("unblock", first, "--delete")
    assert result["deleted"] == ids
    assert holding.on_hold() & {*ids, *others} == set(others)
    assert holding.states(first) == ["deleted"] * 520


def test_mail_beyond_hold_limit_is_refused_and_not_listed(holding: Holding) -> None:
    account = holding.blocked("limited.example")
    queue_ids = holding.send(account, account, account)
    with pytest.raises(AssertionError):
        holding.send(account)
    assert holding.data("unblock", account, "--delete")["deleted"] == queue_ids


# Rights.


def test_service_user_lifts_the_block_and_says_what_needs_root(holding: Holding) -> None:
    account, user = holding.blocked(), holding.deployment.user
    [queue_id] = holding.send(account)
    done = holding.admin("unblock", account, "--release", user=user)
    assert done.returncode == 3
    assert done.stdout == f"{account} is unblocked.\n"
    assert done.stderr == (
        f"pcc_admin.py: {account}: releasing and deleting held mail needs root:"
        " run this again as root\n"
    )
    assert holding.data("list") == [] or account not in str(holding.data("list"))
    result = holding.data("unblock", account, "--release")
    assert (result["unblocked"], result["released"]) == ([], [queue_id])


def test_service_user_needs_no_root_where_nothing_is_held(holding: Holding) -> None:
    account = holding.blocked()
    done = holding.admin("unblock", account, "--delete", user=holding.deployment.user)
    assert (done.returncode, done.stderr) == (0, "")
    # A notice of the test before may also come.
    subject = f"[pcc] {account} unblocked by {holding.deployment.user}"
    wait_until(lambda: subject in [mail["Subject"] for mail in holding.mta.delivered()], "notice")


def test_root_leaves_the_service_user_its_files(holding: Holding) -> None:
    account = holding.blocked()
    holding.send(account)
    for arguments in (["held"], ["unblock", account, "--delete"], ["unblock", account]):
        holding.admin(*arguments)
        assert not holding.foreign_files()
    assert holding.blocked() and holding.send(account)


def test_unblock_lifts_the_block_where_the_queue_can_not_be_asked(holding: Holding) -> None:
    account = holding.blocked()
    [queue_id] = holding.send(account)
    done = holding.admin("unblock", account, "--delete", "--mail-config", "/nonexistent")
    assert done.returncode == 3
    assert done.stdout == f"{account} is unblocked.\n"
    assert done.stderr.startswith(f"pcc_admin.py: {account}: Postfix can't be asked: ")
    result = holding.data("unblock", account, "--delete")
    assert result["deleted"] == [queue_id]


def test_mail_is_released_while_postfix_is_down(holding: Holding) -> None:
    account = holding.blocked()
    [queue_id] = holding.send(account)
    holding.mta.stop()
    shutil.chown(holding.mta.folder / "maillog", "postfix")  # or postsuper can't log by itself
    try:
        done = holding.admin("unblock", account, "--release")
    finally:
        holding.mta.start()
    assert done.returncode == 0
    assert lines(done.stdout)[1][:3] == ["released", account, queue_id]
    assert "pcc_admin.py: what was released waits for the next queue run: " in done.stderr
    assert queue_id not in holding.on_hold()


# Single mails.


def test_release_deals_with_exactly_the_mail_that_is_named(holding: Holding) -> None:
    account, other = holding.blocked(), holding.blocked()
    first, second = holding.send(account, account, account)
    [third] = holding.send(other)
    done = holding.admin("release", first)
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(done.stdout)[1][:3] == ["released", account, first]
    assert {second, third} <= holding.on_hold() and first not in holding.on_hold()
    holding.mta.wait_for_delivered(1)
    assert holding.data("delete", third, second) == {
        "released": [],
        "deleted": [second, third],
        "missing": [],
        "unsure": [],
    }
    assert not {second, third} & holding.on_hold()
    assert {account, other} <= {row["account"] for row in holding.data("list")}
    assert holding.states(account) == ["released", "deleted"]


def test_notice_offers_held_mail_where_some_remains(holding: Holding) -> None:
    account, other = holding.blocked(), holding.blocked()
    queue_ids = holding.send(account, account, account)
    holding.send(other)
    assert holding.admin("delete", queue_ids[0]).returncode == 0
    assert holding.admin("unblock", account, "--delete").returncode == 0
    assert holding.admin("unblock", other).returncode == 0
    texts = {
        mail["Subject"]: mail.get_content()
        for mail in holding.mta.wait_for_delivered(2)
        if mail["X-Original-To"].startswith("postmaster")
    }
    offer = "See the mail that is still on hold:"
    assert offer not in texts[f"[pcc] {account} unblocked by root: 1 held mail deleted"]
    assert offer in texts[f"[pcc] {other} unblocked by root"]


def test_delete_names_what_is_no_held_mail_and_does_the_rest(holding: Holding) -> None:
    account = holding.blocked()
    [queue_id] = holding.send(account)
    done = holding.admin("delete", "4F2ABCDEF", queue_id)
    assert done.returncode == 3
    assert done.stderr == "pcc_admin.py: 4F2ABCDEF is no held mail of a blocked account\n"
    assert queue_id not in holding.on_hold()
    assert holding.data("delete", queue_id, status=1)["deleted"] == []


def test_delete_leaves_unsure_mail_without_by_sender(holding: Holding) -> None:
    holding.ask_at("recipient")
    account = holding.blocked()
    [queue_id] = holding.send(account)
    done = holding.admin("delete", queue_id)
    assert done.returncode == 3 and "--by-sender also takes such mail" in done.stderr
    assert queue_id in holding.on_hold()
    assert holding.data("delete", queue_id, "--by-sender")["deleted"] == [queue_id]


def test_release_needs_root(holding: Holding) -> None:
    account = holding.blocked()
    [queue_id] = holding.send(account)
    done = holding.admin("release", queue_id, user=holding.deployment.user)
    assert done.returncode == 3 and "needs root" in done.stderr
    assert queue_id in holding.on_hold()
