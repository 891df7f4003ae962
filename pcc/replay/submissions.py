"""Submissions in Postfix's log: the line that says which login sent a mail from where.

    DATE HOST NAME/smtpd[PID]: QUEUEID: client=NAME[ADDRESS], sasl_method=METHOD,
        sasl_username=LOGIN[, sasl_sender=...][, orig_queue_id=...][, orig_client=...]

NAME is any syslog_name; for DATE see `logclock`, for other forms of a line `forms`.  Lines go
through as bytes, a chunk of many at a time: most are of other kinds, and only those that name a
SASL method are looked at.  Text of strangers, such as a HELO name or a header that is logged,
can't pass for a submission, because a line must match from its first byte on.  A local user who
may write to syslog can forge a whole line: only a journal in JSON says who wrote an entry.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pcc.replay import forms
from pcc.replay.logclock import DATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pcc.replay.logclock import Date, LogClock

MARK = b", sasl_method="
"""Every submission has this, and hardly another line: logins that fail are logged without it."""

LONGEST_LINE = 1_000_000
"""Bytes; a longer line is not one of a log."""

MOST_REPEATED = 100_000
"""Times that one line may say it was repeated; more is no count of syslogd's."""

SAMPLE_BYTES = 16384
"""Bytes of a large log of which one line is read, to count the New Years."""

EXPECTED_FRONT = "DATE HOST postfix/smtpd[PID]: in front, the date as in Nov 22 09:01:02"
EXPECTED_DATE = "a date that exists and is not in the future"
EXPECTED_MESSAGE = "QUEUEID: client=NAME[ADDRESS], sasl_method=METHOD, sasl_username=LOGIN"

_MESSAGE = (
    rb"(\w+): client=([^\s\[\]]*\[(?:unknown|[0-9A-Fa-f:.]+)\])(?::\d+)?"
    rb", sasl_method=[^,]*, sasl_username=(.+)"
)
_SUBMISSION = re.compile(
    DATE + rb"(?:(\S+) )?\S*smtpd(?:\[\d+\])?: (?:\[ID \d+ \S+\] )?" + _MESSAGE  # Solaris: ID
)
_MESSAGE_ALONE = re.compile(_MESSAGE)
_REPEATED = re.compile(rb"message repeated (\d+) times: \[ ?(.*)\]\r?")
_ABOUT_CLIENT = re.compile(rb"(?:message repeated \d+ times: \[ ?)?\w+: client=")
_AFTER_LOGIN = re.compile(rb", (?:sasl_sender|orig_queue_id|orig_client)=")
_BEGINS_WITH_DATE = re.compile(DATE)


class Submission(NamedTuple):
    """One mail of an authenticated client, from its log line.

    `time`: UTC seconds.  `queue_id` is "NOQUEUE" where the mail goes through a
    proxy before it is queued.  `client`: as Postfix writes it, `NAME[ADDRESS]`.
    """

    time: float
    host: bytes
    queue_id: bytes
    client: bytes
    login: bytes

    @property
    def client_name(self) -> str:
        """The client's verified host name, or `unknown`."""
        return text(self.client.partition(b"[")[0])

    @property
    def client_address(self) -> str:
        """The client's address, or `unknown`."""
        return text(self.client.partition(b"[")[2][:-1])


def text(value: bytes) -> str:
    """Return what a policy request would have for a value of the log (see pcc/protocol.py)."""
    return value.decode("utf-8", "backslashreplace")


class Tally:
    """How many submissions were read, and how many lines only looked like one.

    `unread`: the first of those lines, as text.  `expected`: what it should have had.  `repeated`:
    submissions that were in two of the files and were counted once.  `forgeable`: entries of a
    journal that were left out, because its trusted fields do not say that Postfix wrote them.
    """

    def __init__(self, *, only_trusted: bool = False) -> None:
        self.parsed = 0
        self.unparsed = 0
        self.repeated = 0
        self.forgeable = 0
        self.unread = ""
        self.expected = ""
        self.only_trusted = only_trusted

    def add_unread(self, line: bytes, expected: str) -> None:
        """Count a line that could not be read."""
        self.unparsed += 1
        if self.unparsed == 1:
            self.unread, self.expected = text(line), expected


def submissions(chunks: Iterable[bytes], clock: LogClock, tally: Tally) -> Iterator[Submission]:
    """Return the submissions among the lines of a log that comes in chunks."""
    for lines in whole_lines(chunks):
        find, match = lines.find, _SUBMISSION.match
        at = find(MARK)
        while at >= 0:
            begin = lines.rfind(b"\n", 0, at) + 1
            end = find(b"\n", at)
            end = end if end >= 0 else len(lines)
            found = match(lines, begin, end)
            if found:
                begun, rest, fraction, zone, host, queue_id, client, login = found.groups()
                try:
                    time = clock.time(begun, rest, fraction, zone)
                except (ValueError, OverflowError):
                    tally.add_unread(lines[begin:end], EXPECTED_DATE)
                else:
                    tally.parsed += 1
                    if login[-1] == 13 or b", " in login:
                        login = _login(login)
                    yield Submission(time, host or b"", queue_id, client, login)
            else:
                yield from _in_another_form(lines[begin:end], clock, tally)
            at = find(MARK, end)


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Return chunks that end where a line ends."""
    rest = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end]
            rest = chunk[end:]
        elif len(rest) < LONGEST_LINE:
            rest += chunk
    yield rest


def _in_another_form(line: bytes, clock: LogClock, tally: Tally) -> Iterator[Submission]:
    """Return the submissions that one line holds that is not of the plain form: mostly one."""
    entry = forms.entry(line)
    if entry is None:
        if b": client=" in line[: line.find(MARK)]:
            tally.add_unread(line, EXPECTED_FRONT)
        return
    repeated = _REPEATED.fullmatch(entry.message)
    times = int(repeated[1][:9]) if repeated else 1
    found = _MESSAGE_ALONE.fullmatch(repeated[2] if repeated else entry.message)
    if found is None or times > MOST_REPEATED:
        if _ABOUT_CLIENT.match(entry.message):
            tally.add_unread(line, EXPECTED_MESSAGE)
        return
    if entry.is_forgeable and tally.only_trusted:
        tally.forgeable += times
        return
    try:
        time = forms.seconds(entry.time, clock)
    except (ValueError, OverflowError):
        tally.add_unread(line, EXPECTED_DATE)
        return
    tally.parsed += times
    for _ in range(times):
        yield Submission(time, entry.host, found[1], found[2], _login(found[3]))


def _login(value: bytes) -> bytes:
    return _AFTER_LOGIN.split(value, 1)[0].rstrip(b"\r")


def date(line: bytes) -> Date | float | None:
    """Return the date with which a line begins."""
    found = _BEGINS_WITH_DATE.match(line)
    return (found[1], found[2], found[3], found[4]) if found else forms.date(line)


def first_date(lines: bytes) -> Date | float | None:
    """Return the date of the first line that begins with one."""
    return next((found for found in map(date, lines.splitlines()) if found is not None), None)


def dates(chunks: Iterable[bytes], size: int) -> Iterator[Date]:
    """Return dates of a log of `size` bytes: those of all lines, or of some if it is large.

    All lines of its first and its last chunk: a server that is hardly used logs months in one
    chunk.
    """
    lines, step = b"", 0
    for following in filter(None, whole_lines(chunks)):
        if lines:
            yield from _dates(lines, step)
            step = min(SAMPLE_BYTES, size // 1000)
        lines = following
    yield from _dates(lines, 0)


def _dates(lines: bytes, step: int) -> Iterator[Date]:
    at = 0
    while at < len(lines):
        end = lines.find(b"\n", at)
        found = date(lines[at:end] if end >= 0 else lines[at:])
        if isinstance(found, tuple):
            yield found
        at = lines.find(b"\n", at + step) + 1 or len(lines)
