"""The subject, headers, text and JSON of a notice."""

from __future__ import annotations

import email
import email.message
import email.policy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notices import (
    BY_HAND,
    DAY,
    HOST,
    NASTY,
    NOW,
    SEEN,
    USER,
    config_of,
    told,
)

from pcc.config import Config
from pcc.invocation import program_by_path
from pcc.notice.data import as_data
from pcc.notice.mail import as_mail
from pcc.notice.notice import Notice
from pcc.notice.others import Other
from pcc.notice.text import MOST_LISTED, body, subject
from pcc.places.database import LONGEST_NAME
from pcc.places.travel import Origin
from pcc.store import outbox


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (told(), "[pcc] user@example.org blocked: mail from ES, FR, BR, VN within 2d"),
        (
            told("observed", mode="observe"),
            "[pcc] user@example.org observed: mail from ES, FR, BR, VN within 2d",
        ),
        (
            told(rule="max_networks 3 in 10m", countries="ES"),
            "[pcc] user@example.org blocked: mail from 4 networks within 10m",
        ),
        (
            told(rule="max_hosting_mails 25 in 1h", countries="ES"),
            "[pcc] user@example.org blocked: mail from unfamiliar hosting networks, 26 within 1h",
        ),
        (
            told(rule="max_foreign_mails 50 in 1h", countries="ES"),
            "[pcc] user@example.org blocked: mail from unfamiliar countries, 51 within 1h",
        ),
        (
            told(rule="max_addresses 5 in 1h", countries="ES"),
            "[pcc] user@example.org blocked: mail from 6 addresses within 1h",
        ),
        (
            told(rule="max_countries 13 in 7d", countries=",".join(["ES", "FR"] * 7)),
            "[pcc] user@example.org blocked: mail from "
            + ", ".join(["ES", "FR"] * 6)
            + " and 2 more within 7d",
        ),
        (told("unblocked", by="alice"), "[pcc] user@example.org unblocked by alice"),
        (
            told("unblocked", by="alice", released=3),
            "[pcc] user@example.org unblocked by alice: 3 held mails released",
        ),
        (
            told("unblocked", by="alice", released=1, deleted=2),
            "[pcc] user@example.org unblocked by alice: 1 held mail released"
            " and 2 held mails deleted",
        ),
        (told("unblocked", by="alice", **BY_HAND), "[pcc] user@example.org unblocked by alice"),
    ],
)
def test_subject_says_which_account_what_and_why(of: Notice, expected: str) -> None:
    assert subject([of]) == expected


BLOCKED = (
    """\
user@example.org is blocked: mail came from ES, FR, BR, VN within 2d.

An account that sends from so many countries is often stolen.  But a journey,
a VPN, or an app that sends from its maker's machines can look the same.  Ask
the owner, and not by mail: a thief reads that.

When:       2026-07-22 03:12:44 CEST (01:12:44 UTC)
Limit:      max_countries 3 in 2d: at most 3 countries within 2 days; familiar
            ones together count as one
Crossed by: mail from 203.0.113.9 (mail.example.vn), VN, queue id 4F2ABC:
            refused
Now:        its mail is refused until you unblock it

Counted (times in CEST; * crossed the limit):

   COUNTRY  ADDRESS            FIRST        LAST         MAILS
*  VN       203.0.113.9        07-22 03:12  07-22 03:12  1
            mail.example.vn
   ES       2001:db8:1:2::/64  07-21 03:12  07-22 02:12  12

Commands, as root on mx.example.org:

See all that pcc knows of this account:
  {admin} show user@example.org

If it was the owner: unblock, release mail on hold, and exempt the account
for a week:
  {admin} unblock user@example.org --release --exempt-for 7d

If it was a thief: change the password, and restart Postfix, or the thief goes
on: a reload ends no open session.  Then unblock, and delete mail on hold:
  {admin} unblock user@example.org --delete

Only unblock:
  {admin} unblock user@example.org

"""
    "-- \npcc on mx.example.org, incident 7\n"
)


def test_mail_has_the_headers_of_a_program(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    message = as_mail([told()], config, HOST, ["postmaster", "alice@example.org"], NOW)
    assert dict(message.items()) == {
        "From": "pcc@mx.example.org",
        "To": "postmaster, alice@example.org",
        "Subject": "[pcc] user@example.org blocked: mail from ES, FR, BR, VN within 2d",
        "Date": "Wed, 22 Jul 2026 03:12:44 +0200",
        "Message-ID": "<pcc.7.blocked.1784682764000@mx.example.org>",
        "Auto-Submitted": "auto-generated",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "7bit",
        "MIME-Version": "1.0",
    }


def test_notice_of_a_block_has_facts_evidence_and_commands(tmp_path: Path) -> None:
    message = as_mail([told()], config_of(tmp_path), HOST, ["postmaster"], NOW)
    admin = f"{' '.join(program_by_path())} -c {tmp_path}/pcc.toml"
    assert message.get_content() == BLOCKED.format(admin=admin)


@pytest.mark.parametrize(
    ("of", "toml", "line"),
    [
        (told(), "", "Now:        its mail is refused until you unblock it"),
        (
            told(action="HOLD"),
            "",
            "Now:        up to 50 of its mails are put on hold, further ones refused,"
            " until you unblock it",
        ),
        (
            told(action="HOLD"),
            "hold_limit = 0",
            "Now:        its mail is put on hold until you unblock it",
        ),
        (
            told(action="HOLD"),
            "",
            "Crossed by: mail from 203.0.113.9 (mail.example.vn), VN, queue id 4F2ABC: put on hold",
        ),
        (
            told(client_name="unknown", queue_id=""),
            "",
            "Crossed by: mail from 203.0.113.9, VN: refused",
        ),
        (
            told(action="DEFER_IF_PERMIT", expires=NOW + 3600),
            "",
            "Now:        its mail is answered with DEFER_IF_PERMIT until"
            " 2026-07-22 04:12:44 CEST (02:12:44 UTC), or until you unblock it",
        ),
        (
            told(action="REJECT", expires=NOW + 3600),
            'block_for = "20m"',
            "Now:        its mail is refused until 2026-07-22 04:12:44 CEST (02:12:44 UTC), or"
            " until you unblock it; for longer than block_for, because its last block ended by"
            " itself",
        ),
        (
            told("observed", mode="observe"),
            "",
            "Now:        its mail passes: policy.mode is observe",
        ),
        (told(), 'mode = "observe"', "Now:        its mail passes: policy.mode is observe"),
        (
            told(ended=NOW + 60),
            "",
            "Now:        over: it ended 2026-07-22 03:13:44 CEST (01:13:44 UTC)",
        ),
        (told(action="HOLD"), "", "See its mail on hold:"),
        (told("unblocked", by="alice"), "", "alice has unblocked user@example.org."),
        (
            told("unblocked", by="alice", reason="holiday", **BY_HAND),
            "",
            "Before:  blocked by hand 2026-07-22 03:12:44 CEST (01:12:44 UTC)",
        ),
        (told("unblocked", by="alice", reason="holiday"), "", "Reason:  holiday"),
        (
            told(rule="max_networks 3 in 10m"),
            "",
            "Limit:      max_networks 3 in 10m: at most 3 networks within 10 minutes;"
            " familiar ones don't count",
        ),
        (
            told(rule="max_hosting_mails 25 in 1h"),
            "",
            "Limit:      max_hosting_mails 25 in 1h: at most 25 mails within 1 hour from"
            " unfamiliar hosting networks",
        ),
        (
            told(rule="max_addresses 5 in 1h"),
            "",
            "Limit:      max_addresses 5 in 1h: at most 5 addresses within 1 hour;"
            " familiar ones don't count",
        ),
        (
            told(rule="max_countries 2 in 1w"),
            "familiar_after = 0",
            "Limit:      max_countries 2 in 1w: at most 2 countries within 1 week",
        ),
        (
            told(rule="max_countries 1 in 90m"),
            "",
            "Limit:      max_countries 1 in 90m: at most 1 country within 90 minutes;"
            " familiar ones together count as one",
        ),
        (
            told("unblocked", by="alice", mode="observe"),
            "",
            "alice has cleared the observed incident of user@example.org.",
        ),
        (
            told("unblocked", by="alice", held=5, tries=9, released=5),
            "",
            "Stopped: 9 mails, 5 of them held; 5 held mails released",
        ),
        (
            told("unblocked", by="alice", held=5, on_hold=2),
            "",
            "See the mail that is still on hold:",
        ),
    ],
)
def test_text_says_what_is_so(tmp_path: Path, of: Notice, toml: str, line: str) -> None:
    config = config_of(tmp_path, f"[policy]\n{toml}\n")
    text = body([of], config, HOST, NOW)
    assert line in text.replace("\n" + " " * 12, " ").splitlines()
    assert max(len(line) for line in text.splitlines() if "pcc_admin.py" not in line) <= 78


def test_table_shows_networks_where_a_database_says_them(tmp_path: Path) -> None:
    places = {
        SEEN[0].address: Origin("Hanoi", operator="Viettel", as_number=7552),
        SEEN[1].address: Origin(operator="Rented <Servers>", as_number=24940, is_hosting=True),
    }
    text = body([told(origins=places)], config_of(tmp_path), HOST, NOW)
    assert (
        """
   COUNTRY  ADDRESS            NETWORK  FIRST        LAST         MAILS
*  VN       203.0.113.9        AS7552   07-22 03:12  07-22 03:12  1
            mail.example.vn, Hanoi, Viettel
   ES       2001:db8:1:2::/64  AS24940  07-21 03:12  07-22 02:12  12
            Rented \\x3cServers\\x3e, hosting
"""
        in text
    )
    data = as_data(told(origins=places))["sightings"]
    assert [(seen["as_number"], seen["hosting"]) for seen in data] == [(7552, False), (24940, True)]


def test_text_of_several_incidents_begins_with_a_list_of_them(tmp_path: Path) -> None:
    several = [
        told(account="ann@example.org"),
        told("observed", account="bob@example.org", mode="observe", rule="max_networks 3 in 10m"),
    ]
    assert subject(several) == "[pcc] 1 blocked, 1 observed: ann@example.org, bob@example.org"
    text = body(several, config_of(tmp_path), HOST, NOW)
    assert text.startswith(
        "ann@example.org is blocked: mail came from ES, FR, BR, VN within 2d.\n"
        "bob@example.org would be blocked: mail came from 4 networks within 10m.\n\n"
        "==== 1 of 2: ann@example.org ====\n"
    )
    assert text.endswith("incidents 7, 7\n")
    many = [told(account=f"{number}@example.org") for number in range(9)]
    names = ", ".join([f"{number}@example.org" for number in range(5)])
    assert subject(many) == f"[pcc] 9 blocked: {names} and 4 more"


def test_notice_that_comes_late_says_so(tmp_path: Path) -> None:
    late = "This notice comes late: it could not be sent before."
    config = config_of(tmp_path)
    assert late not in body([told()], config, HOST, NOW + 60)
    assert late in body([told()], config, HOST, NOW + 3600)


@pytest.mark.parametrize(
    ("toml", "host", "sender"),
    [
        ("", "mx.example.org", "pcc@mx.example.org"),
        ("", "mx", "pcc"),
        ('transport = "smtp"', "mx", "pcc@mx"),
        ('from = "watch@example.org"', "mx", "watch@example.org"),
    ],
)
def test_sender_without_a_domain_is_left_to_sendmail(
    tmp_path: Path, toml: str, host: str, sender: str
) -> None:
    config = config_of(tmp_path, f"[notify]\n{toml}\n")
    assert as_mail([told()], config, host, [USER], NOW)["From"] == sender


@pytest.mark.parametrize("odd", NASTY)
def test_mail_is_not_broken_by_what_strangers_chose(tmp_path: Path, odd: str) -> None:
    check_rendering(config_of(tmp_path), odd, odd)


@settings(max_examples=150)
@given(login=st.text(min_size=1, max_size=500), name=st.text(max_size=260))
def test_mail_is_broken_by_no_text_at_all(
    tmp_path_factory: pytest.TempPathFactory, login: str, name: str
) -> None:
    login = login.encode("utf-8", "backslashreplace").decode()
    name = name.encode("utf-8", "backslashreplace").decode()
    check_rendering(config_of(tmp_path_factory.getbasetemp()), login, name)


def check_rendering(config: Config, login: str, name: str) -> None:
    """Render a mail with odd names, and read it as a mail program would."""
    seen = [SEEN[0]._replace(client_name=name)]
    seen.append(SEEN[1]._replace(first_seen=NOW - 60, last_seen=NOW - 60))
    short = name[:LONGEST_NAME]
    places = {
        seen[0].address: Origin(short, 10.0, 10.0, 1, short, 64496),
        seen[1].address: Origin(short, -10.0, 10.0),
    }
    odd = told(
        account=login, client_name=name, queue_id=name, sightings=seen, by=name, origins=places
    )
    sent = as_mail([odd], config, HOST, ["postmaster"], NOW).as_bytes()
    assert sent.isascii()
    assert max(map(len, sent.split(b"\n"))) < 998
    message = email.message_from_bytes(sent, policy=email.policy.default)
    assert message.keys() == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    ]
    assert not message.defects
    told_subject = subject([odd])
    assert told_subject.isprintable()
    assert message["Subject"] == told_subject.replace("=?", "=\\x3f")
    text = message.get_content()
    assert text == body([odd], config, HOST, NOW)
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(json.loads(json.dumps(as_data(odd)))["travel"]) == 1
    assert "km in 60 seconds: 130,000 km/h" in " ".join(text.split())


def test_text_marks_familiar_addresses(tmp_path: Path) -> None:
    text = body([told(familiar={SEEN[0].address})], config_of(tmp_path), HOST, NOW)
    assert text.count("            mail.example.vn, familiar\n") == 1
    assert text.count(", familiar") == 1


def test_text_names_others_at_these_addresses_and_counts_the_rest(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    others = [
        Other("eve@example.org", ["203.0.113.9", "203.0.113.10"], is_blocked=True),
        Other("ann@example.org", ["203.0.113.9"], is_blocked=False),
        *[Other(odd, ["203.0.113.9"], is_blocked=False) for odd in NASTY],
    ]
    text = body([told(others=others[:2])], config, HOST, NOW)
    assert (
        """
Also seen from these addresses: eve@example.org (blocked, at 2 of them),
ann@example.org.

Commands, """
        in text
    )
    admin = " ".join(program_by_path())
    command = f"{admin} -c {config.path} seen 203.0.113.9"
    assert f"\nSee who else was at one of its addresses:\n  {command}\n" in text
    text = body([told(others=others)], config, HOST, NOW)
    assert f" and {len(others) - 10} more.\n" in text.replace("\nand", " and")
    assert not set(text) & set("\x1b\r\x07\0")
    assert as_data(told(others=others))["also_seen"][0] == {
        "account": "eve@example.org",
        "addresses": ["203.0.113.9", "203.0.113.10"],
        "blocked": True,
    }
    assert "Also seen" not in body([told()], config, HOST, NOW)


def test_text_shows_what_was_seen_earlier_below_what_counted(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    earlier = [outbox.Earlier("ES", 3, 412, NOW - 30 * DAY), outbox.Earlier("PT", 1, 2, NOW - DAY)]
    text = body([told(earlier=earlier)], config, HOST, NOW)
    assert (
        """
Seen earlier, not counted:

  COUNTRY  ADDRESSES  SINCE       MAILS
  ES       3          2026-06-22  412
  PT       1          2026-07-21  2

Commands, as root on mx.example.org:
"""
        in text
    )
    assert "Seen earlier" not in body([told()], config, HOST, NOW)


def test_json_has_the_whole_incident() -> None:
    data = as_data(told("unblocked", by="alice", reason="holiday", released=3))
    assert data == {
        "what": "unblocked",
        "account": USER,
        "blocked": False,
        "rule": "max_countries 3 in 2d",
        "countries": ["ES", "FR", "BR", "VN"],
        "country": "VN",
        "client_address": "203.0.113.9",
        "client_name": "mail.example.vn",
        "action": "REJECT",
        "at": "2026-07-22T01:12:44Z",
        "queue_id": "4F2ABC",
        "sightings": [
            {
                "country": "VN",
                "address": "203.0.113.9",
                "client_name": "mail.example.vn",
                "mails": 1,
                "first_seen": "2026-07-22T01:12:44Z",
                "last_seen": "2026-07-22T01:12:44Z",
            },
            {
                "country": "ES",
                "address": "2001:db8:1:2::/64",
                "client_name": "unknown",
                "mails": 12,
                "first_seen": "2026-07-21T01:12:44Z",
                "last_seen": "2026-07-22T00:12:44Z",
            },
        ],
        "earlier": [],
        "also_seen": [],
        "by": "alice",
        "reason": "holiday",
        "released": 3,
        "deleted": 0,
    }


def test_mail_of_many_unblocks_names_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    several = [
        told("unblocked", by="alice", account=f"{name}{number}@example.org", id=number, tries=9)
        for number, name in enumerate(["\x1b]0;", "x" * 400, *["joe"] * (MOST_LISTED + 5)])
    ]
    line = subject(several)
    assert line.startswith(f"[pcc] {MOST_LISTED + 7} accounts unblocked by alice: \\x1b]0;0@")
    assert line.endswith(f"joe4@example.org and {MOST_LISTED + 2} more")
    text = body(several, config_of(tmp_path), HOST, NOW)
    assert "and 7 more accounts\n" in text
    assert text.endswith("48, 49 and 7 more\n")
    lines = text.splitlines()
    footer = lines.index("-- ")
    assert max(len(line) for line in lines[:footer] if "pcc_admin.py" not in line) <= 78
