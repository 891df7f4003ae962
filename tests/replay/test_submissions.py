"""Lines of logs as people have them, read as submissions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from pcc.replay.logclock import LogClock
from pcc.replay.submissions import EXPECTED_DATE, EXPECTED_FRONT, EXPECTED_MESSAGE, Tally, text
from pcc.replay.submissions import submissions as submissions_of

AT = 1763802062.0  # 2025-11-22T09:01:02Z
DATE = "2025-11-22T09:01:02+00:00"
MESSAGE = "4F2AB: client=unknown[203.0.113.9], sasl_method=PLAIN, sasl_username=joe"
CLASSIC = f"Nov 22 09:01:02 mx1 postfix/submission/smtpd[71]: {MESSAGE}"
JOURNAL = {
    "__REALTIME_TIMESTAMP": "1763802062123456",
    "_HOSTNAME": "mx1",
    "SYSLOG_IDENTIFIER": "postfix/submission/smtpd",
    "MESSAGE": MESSAGE,
    "_UID": "104",
    "_EXE": "/usr/lib/postfix/sbin/smtpd",
    "_SYSTEMD_UNIT": "postfix@-.service",
}


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def read(log: str, tally: Tally | None = None) -> list[tuple[float, str, str, str]]:
    """Return time, host, address and login of the submissions in a log that ends that day."""
    tally = tally or Tally()
    return [
        (mail.time, mail.host.decode(), mail.client_address, mail.login.decode())
        for mail in submissions_of([log.encode()], LogClock(AT + 7200), tally)
    ]


FORMS = {
    "RFC 5424": f"<22>1 {DATE} mx1 postfix/submission/smtpd 71 - - {MESSAGE}",
    "RFC 5424 with data": f'<22>1 {DATE} mx1 postfix/smtpd 71 - [a@1 b="c\\]"][d@2] {MESSAGE}',
    "RFC 5424 with a byte order mark": f"<22>1 {DATE} mx1 postfix/smtpd - - - \ufeff{MESSAGE}",
    "rsyslog's RFC 5424": f"<22>1 {DATE} mx1 postfix/smtpd 71 - -  {MESSAGE}",
    "RFC 3164 on the wire": "<22>" + CLASSIC,
    "FreeBSD": CLASSIC.replace("02 mx1", "02 <mail.info> mx1"),
    "BusyBox": CLASSIC.replace("mx1 ", "mx1 mail.info "),
    "priority in angle brackets first": "<mail.info> " + CLASSIC,
    "priority first": "mail.info " + CLASSIC,
    "local facility": "local0.notice " + CLASSIC,
    "docker compose": "postfix_1  | " + CLASSIC,
    "docker compose 2": "mail-postfix-1  | " + CLASSIC,
    "docker logs -t": "2025-11-22T09:01:02.123456789Z " + CLASSIC,
    "docker compose logs -t": "postfix-1  | 2025-11-22T09:01:02.123456789Z " + CLASSIC,
    "docker logs -t, another day inside": (
        "2025-11-22T10:01:02.1+01:00 " + CLASSIC.replace("Nov 22 09", "Nov 21 22")
    ),
    "CRI": "2025-11-22T10:01:02.123456789+01:00 stdout F " + CLASSIC,
    "CRI of a program without dates": (
        f"2025-11-22T09:01:02.123Z stderr F mx1 postfix/smtpd[71]: {MESSAGE}"
    ),
    "json-file": json.dumps(
        {"log": CLASSIC + "\n", "stream": "stdout", "time": "2025-11-22T09:01:02.123456789Z"}
    ),
    "elastic": json.dumps({"@timestamp": "2025-11-22T09:01:02.123Z", "message": CLASSIC}),
    "JSON without a time": json.dumps({"log": CLASSIC}),
    "journalctl -o short-full": f"Sat 2025-11-22 09:01:02 UTC mx1 postfix/smtpd[71]: {MESSAGE}",
    "short-full in another zone": f"Sat 2025-11-22 12:01:02 +03 mx1 postfix/smtpd[71]: {MESSAGE}",
    "short-full in local time": f"Sat 2025-11-22 09:01:02 CET mx1 postfix/smtpd[71]: {MESSAGE}",
    "journalctl -o short-unix": f"1763802062.123456 mx1 postfix/smtpd[71]: {MESSAGE}",
    "journalctl -o json": json.dumps(JOURNAL),
    "journalctl -o with-unit": (
        f"Sat 2025-11-22 09:01:02 UTC mx1 postfix@-.service[71]: {MESSAGE}"
    ),
    "grep in several files": f"/var/log/mail.log.1:{CLASSIC}",
    "grep -n in several files": f"mail.log:12:{CLASSIC}",
    "grep in several files, RFC 3339": f"mail.log:{DATE} mx1 postfix/smtpd[71]: {MESSAGE}",
    "Vector": json.dumps(
        {"timestamp": "2025-11-22T09:01:02Z", "appname": "postfix/smtpd", "message": MESSAGE}
    ),
    "Fluentd": json.dumps(
        {"time": "2025-11-22T09:01:02Z", "ident": "postfix/smtpd", "message": MESSAGE}
    ),
    "journalctl -o json-sse": "data: " + json.dumps(JOURNAL),
    "journalctl -o json-seq": "\x1e" + json.dumps(JOURNAL),
    "a level in front": f"2025-11-22 09:01:02,123 INFO postfix/smtpd[71]: {MESSAGE}",
    "a level and a host": f"2025-11-22 09:01:02,123 INFO: mx1 postfix/smtpd[71]: {MESSAGE}",
    "a level in brackets": f"2025-11-22 09:01:02,123 [INFO] postfix/smtpd[71]: {MESSAGE}",
    "additions": CLASSIC + ", sasl_sender=joe@example.net",
    "the end of a line of Windows": "mail.info " + CLASSIC + "\r",
}


HEAD = f"{DATE} mx1 postfix/smtpd[7]: "
SYSLOG = [
    HEAD + MESSAGE,
    HEAD.replace("smtpd[7]", "submission/smtpd[7]") + MESSAGE,
    HEAD.replace("postfix/smtpd[7]", "postfix-out/smtps/smtpd[123456]") + MESSAGE,
    HEAD.replace("postfix/smtpd[7]", "outgoing/smtpd[7]") + MESSAGE,
    HEAD + MESSAGE.replace("4F2AB", "4dJZ9x1XwqzQ7v"),
    HEAD + MESSAGE.replace("4F2AB", "NOQUEUE"),
    HEAD.replace("mx1 ", "mx1.example.org ") + MESSAGE,
    HEAD.replace("mx1 ", "") + MESSAGE,
    HEAD + "[ID 197553 mail.info] " + MESSAGE,  # Solaris
    HEAD.replace("+00:00", "Z") + MESSAGE,
    HEAD.replace("+00:00", "") + MESSAGE,
    HEAD.replace("T09:01:02+00:00", " 09:01:02") + MESSAGE,
    HEAD.replace("09:01:02+00:00", "09:01:02.123456+00:00") + MESSAGE,
    HEAD.replace("09:01:02+00:00", "10:01:02+01:00") + MESSAGE,
    HEAD.replace("09:01:02+00:00", "10:01:02+0100") + MESSAGE,
    HEAD.replace("09:01:02+00:00", "04:31:02-0430") + MESSAGE,
    HEAD.replace(DATE, "Nov 22 09:01:02") + MESSAGE,
    HEAD.replace(DATE, "Nov 22 09:01:02.654321") + MESSAGE,
    HEAD + MESSAGE + ", sasl_sender=joe@example.net",
    HEAD + MESSAGE + ", orig_queue_id=3E1, orig_client=unknown[192.0.2.1]",
    HEAD + MESSAGE.replace("113.9]", "113.9]:50123"),
    HEAD + MESSAGE.replace("unknown[", "host.dyn.example.net["),
    HEAD + MESSAGE + "\r",
]


@pytest.mark.parametrize("line", SYSLOG)
def test_submission_is_read_whatever_its_date_name_and_additions(line: str) -> None:
    tally = Tally()
    ((at, host, address, login),) = read(line + "\n", tally)
    assert (int(at), address, login) == (AT, "203.0.113.9", "joe")
    assert host in ("mx1", "mx1.example.org", "")
    assert tally.unparsed == 0


@pytest.mark.parametrize(
    "login", ["a, b", "a=b", "jösé@example.org", "x[192.0.2.1]", " Joe ", "a, sasl_method=b"]
)
def test_login_may_have_any_character(login: str) -> None:
    for line in (CLASSIC, FORMS["journalctl -o json"], FORMS["CRI"], FORMS["RFC 5424"]):
        assert [mail[3] for mail in read(line.replace("joe", login))] == [login]


def test_login_that_is_not_utf_8_is_read_as_a_verdict_reads_it() -> None:
    (mail,) = submissions_of(
        [CLASSIC.encode().replace(b"joe", b"j\xf6e")], LogClock(AT + 7200), Tally()
    )
    assert text(mail.login) == "j\\xf6e"


@pytest.mark.parametrize("form", FORMS)
def test_submission_is_read_in_the_form_of(form: str) -> None:
    tally = Tally()
    ((at, host, address, login),) = read(FORMS[form] + "\n", tally)
    assert (int(at), address, login) == (AT, "203.0.113.9", "joe")
    assert host in ("mx1", "INFO", "[INFO]", "")  # a level looks like a host without a domain
    assert (tally.parsed, tally.unparsed) == (1, 0)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_submission_that_syslogd_repeats_counts_as_often(count: int) -> None:
    tally = Tally()
    line = CLASSIC.replace(MESSAGE, f"message repeated {count} times: [ {MESSAGE}]")
    assert len(read(f"{CLASSIC}\n{line}\n", tally)) == tally.parsed == count + 1


def test_submission_repeated_more_often_than_syslogd_can_is_not_believed() -> None:
    tally = Tally()
    line = CLASSIC.replace(MESSAGE, f"message repeated 99999999999999 times: [ {MESSAGE}]")
    assert read(line, tally) == []
    assert tally.unparsed == 1


def test_login_keeps_its_own_bracket() -> None:
    line = CLASSIC.replace("=joe", "=joe[1]")
    repeated = line.replace("4F2AB", "message repeated 2 times: [ 4F2AB") + "]"
    assert [mail[3] for mail in read(f"{line}\n{repeated}\n")] == ["joe[1]"] * 3


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"2025-11-22 mx1 postfix/smtpd[7]: {MESSAGE}", EXPECTED_FRONT),
        (f"[12345.678901] mx1 postfix/smtpd[7]: {MESSAGE}", EXPECTED_FRONT),
        (CLASSIC.replace("203.0.113.9", "nowhere"), EXPECTED_MESSAGE),
        (f"<22>1 {DATE} mx1 postfix/smtpd 71 - - {MESSAGE.replace('=joe', '=')}", EXPECTED_MESSAGE),
        (CLASSIC.replace("[203.0.113.9]", ""), EXPECTED_MESSAGE),
        (CLASSIC.replace("name=joe", ""), EXPECTED_MESSAGE),
        (CLASSIC.replace("Nov 22", "Nov 31"), EXPECTED_DATE),
        (CLASSIC.replace("Nov 22", "Foo 22"), EXPECTED_DATE),
        (HEAD.replace("2025-11", "2025-13") + MESSAGE, EXPECTED_DATE),
        (f"yesterday postfix/smtpd[7]: {MESSAGE}", EXPECTED_FRONT),
        (CLASSIC.replace("Nov 22 09:01:02", "2025-11-23T09:01:02Z"), EXPECTED_DATE),
        (FORMS["journalctl -o short-unix"].replace("1763", "1863"), EXPECTED_DATE),
    ],
)
def test_line_that_can_not_be_read_is_shown_with_what_was_expected(
    line: str, expected: str
) -> None:
    tally = Tally()
    assert read(f"{line}\nx {line}\n", tally) == []
    assert tally.unparsed >= 1
    assert (tally.unread, tally.expected) == (line, expected)


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({**JOURNAL, "__REALTIME_TIMESTAMP": "1" * 400}),
        json.dumps({**JOURNAL, "__REALTIME_TIMESTAMP": "1" * 5000}),
        json.dumps({**JOURNAL, "__REALTIME_TIMESTAMP": None}),
        f'{{"x": {"[" * 100_000}, "log": ": client={MESSAGE}',
    ],
    ids=["late", "later", "null", "deep"],
)
def test_line_of_damaged_json_does_not_end_a_replay(line: str) -> None:
    assert [mail[3] for mail in read(f"{line}\n{json.dumps(JOURNAL)}\n")] == ["joe"]


def test_journal_entry_whose_user_is_no_number_is_forgeable() -> None:
    for user in ("\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT ONE}", "1" * 5000, ["104"], None):
        tally = Tally(only_trusted=True)
        assert read(json.dumps({**JOURNAL, "_UID": user}), tally) == []
        assert tally.forgeable == 1


FORGED = f"Nov 22 09:01:02 mx1 postfix/smtpd[7]: {MESSAGE}"


@pytest.mark.parametrize(
    "line",
    [
        f"<22>1 {DATE} mx1 postfix/cleanup 7 - - 4F2: warning: header Subject: {FORGED}",
        f"<22>1 {DATE} mx1 postfix/smtpd 7 - - NOQUEUE: reject: RCPT: helo=<{FORGED}>",
        f"postfix_1  | Nov 22 09:01:02 mx1 postfix/smtpd[7]: NOQUEUE: reject: helo=<x | {FORGED}>",
        f"2025-11-22T09:01:02Z stdout F Nov 22 09:01:02 mx1 postfix/cleanup[7]: x: {FORGED}",
        f"Nov 22 09:01:02 mx1 mail.info postfix/cleanup[7]: 4F2: warning: Subject: {MESSAGE}",
        json.dumps({**JOURNAL, "SYSLOG_IDENTIFIER": "postfix/cleanup"}),
        json.dumps({**JOURNAL, "MESSAGE": "NOQUEUE: reject: helo=<" + FORGED + ">"}),
        json.dumps({"log": f"Nov 22 09:01:02 mx1 postfix/cleanup[7]: 4F2: warning: {FORGED}"}),
        HEAD + "4F2AB: client=unknown[192.0.2.1]",
        HEAD + "warning: unknown[192.0.2.1]: SASL PLAIN authentication failed: , sasl_username=joe",
        HEAD.replace("smtpd", "cleanup") + f"warning: header Subject: {MESSAGE} from x[192.0.2.1]",
        HEAD + f"NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 554 no; helo=<4F2: {MESSAGE}>",
        "    continued: " + MESSAGE.replace("client", "who"),
        "-- Journal begins at Mon 2025-11-03 --",
        "",
        "\0\0\0\0",
    ],
)
def test_line_of_another_kind_is_passed_over(line: str) -> None:
    tally = Tally()
    assert len(read(f"{line}\n{CLASSIC}\n", tally)) == 1
    assert tally.unparsed == 0


@pytest.mark.parametrize(
    ("fields", "is_read"),
    [
        ({}, True),
        ({"_SYSTEMD_UNIT": "postfix.service"}, True),
        ({"_SYSTEMD_UNIT": "postfix@out.service", "_EXE": "/usr/libexec/postfix/smtpd"}, True),
        ({"_EXE": "/usr/lib/postfix/sbin/smtpd (deleted)"}, True),
        ({"_UID": "0"}, True),
        ({"_UID": "1000", "_EXE": "/usr/bin/logger"}, False),
        ({"_UID": "1000"}, False),  # a program of a user that pipe(8) has run
        ({"_EXE": "/usr/bin/logger"}, False),
        ({"_EXE": "/home/eve/usr/lib/postfix/sbin/smtpd"}, False),
        ({"_SYSTEMD_UNIT": "user@1000.service"}, False),
        ({"_SYSTEMD_UNIT": "session-3.scope"}, False),
        ({"_UID": None, "_EXE": None, "_SYSTEMD_UNIT": None}, False),
    ],
)
def test_journal_entry_is_imported_only_if_postfix_wrote_it(
    fields: dict[str, str | None], is_read: bool
) -> None:
    entry = {name: value for name, value in {**JOURNAL, **fields}.items() if value is not None}
    tally = Tally(only_trusted=True)
    assert len(read(json.dumps(entry), tally)) == is_read
    assert tally.forgeable == 1 - is_read
    assert len(read(json.dumps(entry))) == 1  # to judge it does no harm


def test_hour_that_comes_twice_is_told_by_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Madrid")
    time.tzset()
    lines = [
        f"Sun 2025-10-26 02:30:00 {zone} mx1 postfix/smtpd[7]: {MESSAGE}"
        for zone in ("CEST", "CET")
    ]
    times = [mail[0] for mail in read("\n".join(lines))]
    assert times == [1761438600, 1761442200]
