"""Held mail found in the queue again: which mail is the remembered one, on paper and for real."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from deployment import public_folder
from holding import Holding
from smtp import Session
from terminal import on_terminal

from pcc.errors import QueueError
from pcc.postfix.heldmail import (
    HELD,
    LONGEST_SESSION,
    MINUTE,
    MISSING,
    RELEASED,
    REUSED,
    UNSURE,
    match,
    spellings,
    unquoted,
)
from pcc.postfix.queue import Names, Queue, QueuedMail, Submission
from pcc.store.incidents import HeldRow

ALICE = "alice@example.org"
BOB = "bob@example.org"
NAMES = Names("MAILER-DAEMON", "example.org", "example.org")
NOW = 1_000_000


def row(
    queue_id: str, *, sender: str = ALICE, at: float = NOW + 0.5, account: str = ALICE
) -> HeldRow:
    return HeldRow(1, f"{queue_id}.{at}", account, queue_id, sender, at, "held")


def mail(
    queue_id: str, arrived: int = NOW, *, sender: str = ALICE, queue_name: str = "hold"
) -> QueuedMail:
    return QueuedMail(queue_name, queue_id, arrived, 300, sender, ("recipient@example.net",))


def states(
    rows: Sequence[HeldRow], mails: Sequence[QueuedMail], accounts: dict[str, str] | None = None
) -> list[tuple[str, str]]:
    found = match(rows, mails, NAMES, lambda asked: accounts)
    assert [entry.row for entry in found] == list(rows)
    return [(entry.state, entry.mail.queue_id if entry.mail else "") for entry in found]


# On paper.


@pytest.mark.parametrize(
    ("arrived", "state"),
    [
        (NOW, HELD),
        (NOW + 1, REUSED),  # a mail that came later
        (NOW - LONGEST_SESSION + 1, HELD),  # a client that took its time
        (NOW - LONGEST_SESSION, REUSED),
    ],
)
def test_mail_has_begun_before_it_was_held(arrived: int, state: str) -> None:
    assert states([row("4AAAAA")], [mail("4AAAAA", arrived)])[0][0] == state


def test_mail_that_has_gone_is_missing_and_elsewhere_released() -> None:
    rows = [row("4AAAAA"), row("4BBBBB"), row("4CCCCC")]
    mails = [mail("4CCCCC"), mail("4BBBBB", queue_name="deferred")]
    assert states(rows, mails) == [(MISSING, ""), (RELEASED, "4BBBBB"), (HELD, "4CCCCC")]


@pytest.mark.parametrize(
    ("accounts", "state"),
    [
        ({"4AAAAA": ALICE}, HELD),  # Postfix has rewritten the sender
        ({"4AAAAA": BOB}, REUSED),
        ({}, REUSED),
        (None, UNSURE),
    ],
)
def test_login_decides_about_another_sender(accounts: dict[str, str] | None, state: str) -> None:
    assert states([row("4AAAAA")], [mail("4AAAAA", sender="else@example.org")], accounts) == [
        (state, "4AAAAA" if state != REUSED else "")
    ]


@pytest.mark.parametrize(
    ("arrived", "sender", "queue_name", "state"),
    [
        (NOW, ALICE, "hold", UNSURE),
        (NOW + 1, ALICE, "hold", MISSING),
        (NOW - MINUTE + 1, ALICE, "hold", UNSURE),
        (NOW - MINUTE, ALICE, "hold", MISSING),
        (NOW, BOB, "hold", MISSING),
        (NOW, ALICE, "deferred", MISSING),
    ],
)
def test_row_without_queue_id_is_unsure_by_sender_and_minute(
    arrived: int, sender: str, queue_name: str, state: str
) -> None:
    mails = [mail("4AAAAA", arrived, sender=sender, queue_name=queue_name)]
    assert states([row("")], mails)[0][0] == state


def test_row_without_queue_id_has_a_mail_of_its_own() -> None:
    rows = [row("", at=NOW + second) for second in (0.5, 10.5, 20.5)]
    mails = [mail("4AAAAA", NOW + 20), mail("4BBBBB"), mail("4CCCCC", NOW + 10)]
    assert [id for _, id in states(rows, mails)] == ["4BBBBB", "4CCCCC", "4AAAAA"]
    assert [id for _, id in states(rows, mails[1:])] == ["4BBBBB", "4CCCCC", ""]


def test_mail_with_a_known_queue_id_is_no_other_rows() -> None:
    rows = [row("4AAAAA", account=BOB), row("")]
    assert states(rows, [mail("4AAAAA")]) == [(HELD, "4AAAAA"), (MISSING, "")]


def test_row_without_queue_id_is_no_mail_of_another_login() -> None:
    mails = [mail("4AAAAA"), mail("4BBBBB")]
    accounts = {"4AAAAA": ALICE, "4BBBBB": BOB}
    rows = [row(""), row("", account=BOB), row("", at=NOW + 0.6)]
    assert states(rows, mails, accounts) == [
        (UNSURE, "4AAAAA"),
        (UNSURE, "4BBBBB"),
        (MISSING, ""),
    ]


@pytest.mark.parametrize(
    ("sender", "queued"),
    [
        ("", "MAILER-DAEMON"),
        ("bare", "bare@example.org"),
        ("a b@example.org", '"a b"@example.org'),
        ('q"x@example.org', '"q\\"x"@example.org'),
        ("x@host", "x@host.example.org"),
        ("x@host", "x@host"),
        ("x@example.org.", "x@example.org"),
        ("x@[192.0.2.1]", "x@[192.0.2.1]"),
    ],
)
def test_sender_is_recognised_as_postqueue_prints_it(sender: str, queued: str) -> None:
    assert unquoted(queued) in spellings(sender, NAMES)


@pytest.mark.parametrize("queue_id", ["ALL", "-", "", "../../etc", "4AAAAA\nALL", "--help"])
def test_postsuper_gets_nothing_that_is_no_queue_id(queue_id: str) -> None:
    with pytest.raises(QueueError, match="not a queue id"):
        Queue().delete([queue_id])


# For real.


@pytest.fixture(scope="module")
def holding() -> Iterator[Holding]:
    holding = Holding()
    with holding.mta:
        yield holding


SENDERS = [
    "sender@example.org",
    "",
    "Mixed.Case@Example.ORG",
    '"a b"@example.org',
    "bare",
    "gr\u00fc\u00dfe@example.org",
    '"q\\"x"@example.org',
    "MAILER-DAEMON",
    "@relay.example:src@example.org",
    "x@host",
    "a+b=c@example.org",
    "x@example.org.",
    '"plain"@example.org',
    "x@[192.0.2.1]",
]


@pytest.mark.postfix
@pytest.mark.parametrize(
    ("stage", "long_ids"),
    [("recipient", "yes"), ("data", "yes"), ("data", "no"), ("end_of_data", "no")],
)
def test_held_mail_of_every_sender_is_found_again(
    holding: Holding, stage: str, long_ids: str
) -> None:
    holding.change(enable_long_queue_ids=long_ids, append_dot_mydomain="yes")
    holding.ask_at(stage)
    account = holding.blocked()
    queue_ids = holding.send(account, *SENDERS, options=" SMTPUTF8")
    found = holding.data("held", account)
    # Without a queue id the null sender and MAILER-DAEMON of one minute look the same.
    state, order = (UNSURE, sorted) if stage == "recipient" else (HELD, list)
    assert {entry["state"] for entry in found} == {state}
    assert order(entry["queue_id"] for entry in found) == order(queue_ids)


@pytest.mark.postfix
def test_recipients_after_the_first_bring_the_queue_id(holding: Holding) -> None:
    holding.ask_at("recipient")
    account = holding.blocked()
    [queue_id] = holding.send(account, recipients=["one@example.net", "two@example.net"])
    [entry] = holding.data("held", account)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop("arrived"))
    assert entry.pop("size") > 100
    assert entry == {
        "account": account,
        "queue_id": queue_id,
        "client_address": "192.0.2.1",
        "country": None,
        "sender": account,
        "recipients": ["one@example.net", "two@example.net"],
        "subject": "a test",
        "state": "held",
    }


@pytest.mark.postfix
def test_mail_still_being_received_is_missing_for_now(holding: Holding) -> None:
    holding.ask_at("data")
    account = holding.blocked()
    with Session(holding.mta.submission) as session:
        session.xclient(account, "192.0.2.1")
        session.command(f"MAIL FROM:<{account}>")
        session.command("RCPT TO:<recipient@example.net>")
        session.command("DATA")
        [entry] = holding.data("held", account)
        assert entry["state"] == "missing"
        assert holding.data("unblock", account, "--delete")["missing"] == [entry["queue_id"]]
        assert session.body().good
    assert [entry["state"] for entry in holding.data("held", account)] == ["held"]
    result = holding.data("unblock", account, "--delete")
    assert result["deleted"] == [entry["queue_id"]]
    assert entry["queue_id"] not in holding.on_hold()


@pytest.mark.postfix
def test_service_user_sees_held_mail_of_all_accounts(holding: Holding) -> None:
    holding.ask_at("data")
    accounts = [holding.blocked(), holding.blocked()]
    queue_ids = [holding.send(account)[0] for account in accounts]
    found = holding.data("held", user=holding.deployment.user)
    keys = "account queue_id arrived size client_address country sender recipients subject state"
    assert list(found[0]) == keys.split()
    states = {entry["queue_id"]: (entry["account"], entry["state"]) for entry in found}
    for account, queue_id in zip(accounts, queue_ids, strict=True):
        assert states[queue_id] == (account, "held")


@pytest.mark.postfix
def test_held_shows_columns(holding: Holding) -> None:
    holding.ask_at("data")
    account = holding.blocked()
    [queue_id] = holding.send(account, "", recipients=[f"{n}@example.net" for n in range(6)])
    done = holding.admin("held", account)
    assert (done.returncode, done.stderr) == (0, "")
    head, line = done.stdout.splitlines()
    assert re.split("  +", head) == [
        "STATE", "ACCOUNT", "QUEUE ID", "CLIENT ADDRESS", "COUNTRY", "ARRIVED", "SIZE",
        "SENDER", "RECIPIENTS", "SUBJECT",
    ]  # fmt: skip
    cells = re.split("  +", line)
    assert cells[:4] == ["held", account, queue_id, "192.0.2.1"]
    assert cells[7:] == [
        "<>",
        "6: 0@example.net, 1@example.net, 2@example.net and 3 more",
        "a test",
    ]


@pytest.mark.postfix
@pytest.mark.parametrize(
    ("header", "subject"),
    [
        ("Subject: =?utf-8?b?R3LDvMOfZQ==?= =?utf-8?q?_zu?=\n  Hause", "Grüße zu Hause"),
        ("SUBJECT: =?utf-8?q?=1B[31mred=0A?=", "\x1b[31mred\n"),
        ("Subject: =?no-such?q?odd?=", "=?no-such?q?odd?="),
        ("Subject: =?utf-8?b?/w?=", None),
        ("X-Other: one", None),
    ],
)
def test_subject_is_decoded_and_shown_harmlessly(
    holding: Holding, header: str, subject: str | None
) -> None:
    holding.ask_at("data")
    account = holding.blocked()
    with Session(holding.mta.submission) as session:
        session.xclient(account, "192.0.2.1")
        assert session.mail(account, message=f"{header}\n\nSubject: none\n").accepted
    [row] = holding.data("held", account)
    assert subject is None or row["subject"] == subject
    assert row["subject"] != "none"
    shown = holding.admin("held", account).stdout
    assert "\x1b" not in shown and len(shown.splitlines()) == 2


@pytest.mark.postfix
def test_held_can_be_read_on_a_narrow_terminal(holding: Holding) -> None:
    holding.ask_at("data")
    account = holding.blocked()
    sender = "a-long-sender-with.many.parts@subdomain.of.a.long.example.org"
    queue_ids = holding.send(account, *[account] * 39, sender)
    arguments = ["held", account, "--mail-config", str(holding.mta.config)]
    shown = on_terminal(holding.deployment.admin_argv(*arguments), 80, {"NO_COLOR": "1"})
    text = re.sub(r"\x1b\[\d*m", "", shown)
    table, _, hints = text.partition("To read one")
    assert max(map(len, table.splitlines())) <= 80
    for queue_id in queue_ids[:39]:
        assert re.search(rf"^held +{queue_id} .* {account} *$", table, re.MULTILINE)
    assert table.count("recipient@example.net") == 40
    assert sender in re.sub(r"\s|\d+ \w+ ago|192\.0\.2\.1", "", table)
    read, *others = re.findall(r"^  (\S.*)", hints, re.MULTILINE)
    done = holding.mta.run(read.split())
    assert (done.returncode, "Subject: " in done.stdout) == (0, True)
    for line, fate in zip(others, ("--release", "--delete"), strict=True):
        assert line.endswith(f"unblock {account} {fate} --mail-config {holding.mta.config}")


@pytest.mark.postfix
def test_held_without_mail_or_queue_is_no_failure(holding: Holding) -> None:
    done = holding.admin("held", "nobody@example.org", "--mail-config", "/nonexistent")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith("is this the whole login?\n")


@pytest.mark.postfix
def test_user_who_may_not_see_the_queue_gets_the_rows(holding: Holding) -> None:
    holding.ask_at("data")
    account = holding.blocked()
    [queue_id] = holding.send(account)
    holding.change(authorized_mailq_users="root")
    done = holding.admin("held", account, user=holding.deployment.user)
    holding.change(authorized_mailq_users="static:anyone")
    assert done.returncode == 3
    assert re.split("  +", done.stdout.splitlines()[1])[:3] == ["unknown", account, queue_id]
    assert re.fullmatch(
        r"pcc_admin.py: the queue can't be read: postqueue: fatal: User .* is not allowed to"
        r" view the mail queue\n",
        done.stderr,
    )


@pytest.mark.postfix
def test_postfix_instance_is_the_operators_choice(holding: Holding) -> None:
    holding.ask_at("data")
    account = holding.blocked()
    [queue_id] = holding.send(account)
    chosen = ["--mail-config", str(holding.mta.config)]
    done = holding.admin("held", account, *chosen, mail_config=False)
    assert (done.returncode, queue_id in done.stdout) == (0, True)
    done = holding.admin("held", account, "--mail-config", "/nonexistent")
    assert done.returncode == 3
    assert re.fullmatch(
        r"pcc_admin.py: Postfix can't be asked: \S*postconf: fatal: open /nonexistent/main.cf:"
        r" No such file or directory\n",
        done.stderr,
    )


@pytest.mark.postfix
def test_queue_is_seen_by_root_while_postfix_is_down(holding: Holding) -> None:
    holding.ask_at("data")
    account = holding.blocked()
    holding.send(account)
    holding.mta.stop()
    try:
        states = [entry["state"] for entry in holding.data("held", account)]
    finally:
        holding.mta.start()
    assert states == ["held"]


@pytest.mark.postfix
def test_submissions_are_read_though_a_mail_has_gone(
    holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding.ask_at("data")
    account = holding.blocked()
    queue_ids = holding.send(account, *["a@example.org"] * 5)
    queue = Queue(str(holding.mta.config))
    queue.delete(queue_ids[2:3])
    by = Submission(account, "192.0.2.1")
    assert queue.submissions(queue_ids) == dict.fromkeys(queue_ids[:2] + queue_ids[3:], by)


@pytest.mark.postfix
def test_postfix_names_come_from_a_file_where_myorigin_is_one(holding: Holding) -> None:
    folder: Path = public_folder("mailname")
    (folder / "mailname").write_text("origin.example\nmore\n")
    holding.change(myorigin=str(folder / "mailname"))
    try:
        assert Queue(str(holding.mta.config)).names == Names(
            "MAILER-DAEMON", "example.org", "origin.example"
        )
    finally:
        holding.change(myorigin="$mydomain")
