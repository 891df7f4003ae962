"""The main job: a stolen account is stopped behind a real Postfix, and nobody else is harmed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from checkout import address, address6
from deployment import Deployment, installation
from postfix import Policy, PrivatePostfix, wait_until
from smtp import Reply, Session, send

pytestmark = pytest.mark.postfix

TEXT = "Sending is blocked"


def mail(mta: PrivatePostfix, account: str, country: str, **options: Any) -> Reply:
    """Send a mail as an account from a country."""
    client = options.pop("client_address", "") or address(country)
    options.setdefault("sender", account)
    options.setdefault("recipients", ["friend@example.net"])
    return send(mta.submission, account, client, **options)


@pytest.fixture(scope="module")
def pcc() -> Deployment:
    return installation()


@pytest.fixture(scope="module")
def mta(pcc: Deployment) -> Iterator[PrivatePostfix]:
    with PrivatePostfix(Policy(pcc.policy_argv(), ("data",))) as running:
        yield running


def test_thief_is_stopped_at_the_crossing_mail_and_a_colleague_is_not(
    mta: PrivatePostfix, pcc: Deployment
) -> None:
    for country in ("ES", "FR", "BR"):
        assert mail(mta, "joe@example.org", country).accepted
    crossing = mail(mta, "joe@example.org", "VN")
    assert (crossing.stage, crossing.code) == ("DATA", 554)
    assert TEXT in crossing.text
    assert not mail(mta, "joe@example.org", "ES").accepted
    assert mail(mta, "ann@example.org", "VN").accepted
    assert "joe@example.org" in pcc.admin("list").stdout


def test_notice_is_delivered_through_sendmail(mta: PrivatePostfix) -> None:
    before = len(mta.delivered())
    for country in ("ES", "FR", "BR", "VN", "DE"):
        mail(mta, "noticed@example.org", country)

    def notices() -> list[str]:
        subjects = [str(message["Subject"]) for message in mta.delivered()[before:]]
        return [subject for subject in subjects if "noticed@example.org blocked" in subject]

    assert wait_until(notices, "notice") == [
        "[pcc] noticed@example.org blocked: mail from ES, FR, BR, VN within 2d"
    ]


def test_unblocked_account_sends_again(mta: PrivatePostfix, pcc: Deployment) -> None:
    for country in ("ES", "FR", "BR", "VN"):
        mail(mta, "back@example.org", country)
    assert not mail(mta, "back@example.org", "ES").accepted
    assert mta.run(pcc.admin_argv("unblock", "back@example.org")).returncode == 0
    for country in ("ES", "FR", "BR"):
        assert mail(mta, "back@example.org", country).accepted


def test_ipv6_clients_are_located(mta: PrivatePostfix) -> None:
    for country in ("ES", "FR", "BR"):
        assert mail(mta, "six@example.org", "", client_address=address6(country)).accepted
    assert not mail(mta, "six@example.org", "", client_address=address6("VN")).accepted


def test_session_of_several_users_and_mails_is_judged_mail_by_mail(mta: PrivatePostfix) -> None:
    session = Session(mta.submission)
    results = []
    for account, country in [("a", "ES"), ("b", "FR"), ("a", "FR"), ("a", "BR"), ("a", "VN")]:
        session.xclient(f"{account}@shared.example", address(country))
        session.reset()
        reply = session.mail(f"{account}@shared.example", ["x@example.net"])
        results.append(reply.accepted)
    session.quit()
    assert results == [True, True, True, True, False]


def test_bdat_is_judged_like_data(mta: PrivatePostfix) -> None:
    for country in ("ES", "FR", "BR"):
        assert mail(mta, "bdat@example.org", country, chunked=True).accepted
    assert not mail(mta, "bdat@example.org", "VN", chunked=True).accepted


def test_mail_without_a_login_is_not_looked_at(mta: PrivatePostfix, pcc: Deployment) -> None:
    reply = send(
        mta.submission,
        "",
        "11.4.0.9",
        sender="stranger@example.com",
        recipients=["x@example.net"],
        xclient=False,
    )
    assert reply.accepted or reply.stage == "RCPT"  # whatever Postfix itself says of strangers
    assert "stranger" not in pcc.admin("--json", "list").stdout


@pytest.mark.parametrize(
    ("stage", "shown"), [("recipient", "RCPT"), ("end_of_data", "END-OF-MESSAGE")]
)
def test_mail_is_refused_at_the_other_stages_too(stage: str, shown: str) -> None:
    pcc = installation("max_countries = 1")
    with PrivatePostfix(Policy(pcc.policy_argv(), (stage,))) as mta:
        three = ["a@example.net", "b@example.net", "c@example.net"]
        assert mail(mta, "joe@example.org", "ES", recipients=three).accepted
        refused = mail(mta, "joe@example.org", "FR", recipients=three)
        assert (refused.stage, refused.code) == (shown, 554)
        assert TEXT in refused.text
    (sighting,) = [
        line for line in pcc.admin("show", "joe@example.org").stdout.splitlines() if "11.1" in line
    ]
    assert sighting.split()[-1] == "1"  # one mail, whatever its recipients


def test_mail_through_all_stages_is_counted_once() -> None:
    pcc = installation("max_countries = 1")
    with PrivatePostfix(Policy(pcc.policy_argv(), ("recipient", "data", "end_of_data"))) as mta:
        two = ["a@b.example", "c@d.example"]
        for _ in range(2):
            assert mail(mta, "joe@example.org", "ES", recipients=two).accepted
        assert not mail(mta, "joe@example.org", "FR").accepted
    shown = pcc.admin("show", "joe@example.org").stdout
    assert re.search(r"ES +11\.1\.0\.1 .* 2$", shown, re.MULTILINE)


def test_held_mail_waits_in_the_queue_and_is_released_by_hand() -> None:
    pcc = installation('max_countries = 1\naction = "HOLD"')
    with PrivatePostfix(Policy(pcc.policy_argv(), ("data",))) as mta:
        assert mail(mta, "joe@example.org", "ES").accepted
        held = mail(mta, "joe@example.org", "FR")
        assert held.accepted
        (entry,) = [row for row in mta.queue() if row["queue_name"] == "hold"]
        assert entry["queue_id"] == held.queue_id
        assert entry["sender"] == "joe@example.org"
        done = mta.run(pcc.admin_argv("unblock", "joe@example.org"))
        assert done.returncode == 0, done.stderr
        mta.run(["postsuper", "-H", entry["queue_id"]])
        mta.run(["postqueue", "-i", entry["queue_id"]])
        mta.wait_for_delivered(1)
        assert mail(mta, "joe@example.org", "FR").accepted


def test_commands_in_a_received_notice_work_as_they_are_pasted() -> None:
    pcc = installation('max_countries = 1\naction = "HOLD"')
    with PrivatePostfix(Policy(pcc.policy_argv(), ("data",))) as mta:
        accounts = ["joe@example.org", "ann@example.org", "o'hara@example.org"]
        for account in accounts:
            assert mail(mta, account, "ES").accepted
            assert mail(mta, account, "FR").accepted

        def commands(account: str) -> list[str]:
            bodies = [
                str(message.get_content())
                for message in mta.delivered()
                if f"{account} blocked" in str(message["Subject"])
            ]
            lines = [line for body in bodies for line in body.splitlines()]
            shown = [line.strip() for line in lines if line.startswith("  ") and "pcc_adm" in line]
            return [line for line in shown if " seen " not in line]  # of others at its addresses

        def paste(command: str) -> str:
            done = mta.run(["bash", "-c", command])
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            return done.stdout

        show, held, owner, _, _ = wait_until(lambda: commands(accounts[0]), "notice")
        assert "11.2.0.1" in paste(show)
        assert accounts[0] in paste(held)
        assert "1 held mail released" in paste(owner)
        assert mail(mta, accounts[0], "BR").accepted  # exempt for a week
        stolen = wait_until(lambda: commands(accounts[1]), "notice")[3]
        assert "1 held mail deleted" in paste(stolen)
        only = wait_until(lambda: commands(accounts[2]), "notice")[4]
        assert "1 held mail may still be on hold" in paste(only)
        assert len([row for row in mta.queue() if row["queue_name"] == "hold"]) == 1


@pytest.mark.parametrize(("default_action", "accepted"), [("DUNNO", True), ("REJECT", False)])
def test_default_action_is_taken_when_the_script_can_not_answer(
    default_action: str, accepted: bool
) -> None:
    pcc = installation()
    (pcc.state / "pcc.db").unlink()
    with PrivatePostfix(Policy(pcc.policy_argv(), ("data",), default_action=default_action)) as mta:
        assert mail(mta, "joe@example.org", "ES").accepted is accepted
        assert pcc.admin("init").returncode == 0
        assert mail(mta, "joe@example.org", "ES").accepted  # it recovers by itself


def test_authentication_names_the_account() -> None:
    pcc = installation("max_countries = 1")
    with PrivatePostfix(Policy(pcc.policy_argv(), ("data",))) as mta:
        mta.add_user("joe@example.org", "secret")
        login = {"sender": "other@example.org", "xclient": False, "password": "secret"}
        assert mail(mta, "joe@example.org", "ES", **login).accepted
        # The client's address is loopback's, which has no country; the block is the account's.
        assert mta.run(pcc.admin_argv("block", "joe@example.org")).returncode == 0
        reply = mail(mta, "joe@example.org", "ES", **login)
        assert (reply.stage, reply.code) == ("DATA", 554)
