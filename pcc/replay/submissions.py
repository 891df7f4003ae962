"""Submissions in Postfix's log: the line that tells which login sent a mail from where.

    DATE HOST NAME/smtpd[PID]: QUEUEID: client=NAME[ADDRESS], sasl_method=METHOD,
        sasl_username=LOGIN[, sasl_sender=...][, orig_queue_id=...][, orig_client=...]

NAME is any syslog_name; DATE is `Nov 22 09:01:02`, in local time and without a year, or RFC 3339,
both with or without a fraction; journalctl's short formats are the same.  Lines go through as
bytes, a chunk of many at a time: most are of other kinds, and only those that name a SASL
method are looked at.  What others chose, such as a HELO name or a header that is logged, can't
pass for a submission, because a line must match from its first byte on.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from pcc.rule import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MARK = b", sasl_method="
"""What every submission has, and hardly another line: logins that fail are logged without it."""

SHOWN_UNREAD = 3
"""Lines that could not be read of which the text is kept."""

LONGEST_LINE = 1_000_000
"""Bytes; a longer line is not one of a log."""

_DATE = (
    rb"(?:([A-Z][a-z][a-z] [ \d]\d \d\d:\d)|(\d{4}-\d\d-\d\d[T ]\d\d:\d))"
    rb"(\d:\d\d)([.,]\d+)?(Z|[+-]\d\d:?\d\d)? "
)
_SUBMISSION = re.compile(
    _DATE + rb"(?:(\S+) )?\S*smtpd(?:\[\d+\])?: (?:\[ID \d+ \S+\] )?"  # Solaris has the ID
    rb"(\w+): client=([^\s\[\]]*\[(?:unknown|[0-9A-Fa-f:.]+)\])(?::\d+)?"
    rb", sasl_method=[^,]*, sasl_username=(.+)"
)
_BEGINS_WITH_DATE = re.compile(_DATE)
_HEAD = re.compile(_DATE + rb"(?:\S+ )?(\S*?)(?:\[\d+\])?: ")
_ABOUT_CLIENT = re.compile(rb"(?:\[ID \d+ \S+\] )?\w+: client=")
_AFTER_LOGIN = re.compile(rb", (?:sasl_sender|orig_queue_id|orig_client)=")

_MONTHS = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}

HALF_A_YEAR = 365.2425 / 2 * DAY
AMBIGUOUS_SECONDS = 900
"""A local time that lies further back than the line before may be one that came twice that day."""


class Submission(NamedTuple):
    """One mail of an authenticated client, as its log line tells.

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

    `unread`: the first of those lines, as text.  `repeated`: submissions that
    were in two of the files and were counted once.
    """

    def __init__(self) -> None:
        self.parsed = 0
        self.unparsed = 0
        self.repeated = 0
        self.unread: list[str] = []

    def add_unread(self, line: bytes) -> None:
        """Count a line that could not be read."""
        self.unparsed += 1
        if len(self.unread) < SHOWN_UNREAD:
            self.unread.append(text(line))


class LogClock:
    """Gives the time of lines that come in about their order.

    `latest`: UTC seconds of the line before.  A date without a year is in the
    year that puts it nearest to that; a local time that came twice, because
    summer time ended, is the one that does not lie before it.
    """

    def __init__(self, latest: float) -> None:
        self.latest = latest
        self._begun: tuple[bytes | None, ...] = ()
        self._begin = 0.0

    def time(
        self,
        yearless: bytes | None,
        dated: bytes | None,
        rest: bytes,
        fraction: bytes | None,
        zone: bytes | None,
    ) -> float:
        """Return the UTC seconds of a date; `rest` is from the last digit of the minute on.

        Raises ValueError for a date that does not exist.
        """
        begun = (yearless, dated, zone)
        if begun != self._begun:  # another ten minutes than those of the line before
            self._begin = self._with_year(dated, zone) if dated else self._without_year(yearless)
            self._begun = begun
        seconds = int(rest[2:])
        if seconds > 60:
            raise ValueError(rest)
        time = self._begin + 60 * (rest[0] - 48) + seconds
        if fraction:
            time += int(fraction[1:]) / 10 ** (len(fraction) - 1)
        self.latest = time
        return time

    def _with_year(self, dated: bytes, zone: bytes | None) -> float:
        moment = datetime.fromisoformat(f"{text(dated).replace(' ', 'T')}0")
        if zone is None:
            return self._local(moment)
        time = moment.replace(tzinfo=timezone.utc).timestamp()
        if zone == b"Z":
            return time
        offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        return time + offset if zone[0] == ord("-") else time - offset

    def _without_year(self, yearless: bytes | None) -> float:
        assert yearless is not None
        month = _MONTHS.get(yearless[:3], 0)
        day, hour, minute = int(yearless[4:6]), int(yearless[7:9]), int(yearless[10:]) * 10
        year = datetime.fromtimestamp(self.latest).year
        times = []
        for candidate in (year - 1, year, year + 1):
            try:
                times.append(self._local(datetime(candidate, month, day, hour, minute)))
            except ValueError:
                continue  # 29 February, or no date at all
        return min(times, key=lambda time: abs(time - self.latest))

    def _local(self, moment: datetime) -> float:
        time = moment.timestamp()
        if time < self.latest - AMBIGUOUS_SECONDS:
            return max(time, moment.replace(fold=1).timestamp())
        return time


def submissions(chunks: Iterable[bytes], clock: LogClock, tally: Tally) -> Iterator[Submission]:
    """Return the submissions among the lines of a log that comes in chunks."""
    rest = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield from _in_lines(rest + chunk[:end], clock, tally)
            rest = chunk[end:]
        elif len(rest) < LONGEST_LINE:
            rest += chunk
    yield from _in_lines(rest, clock, tally)


def _in_lines(lines: bytes, clock: LogClock, tally: Tally) -> Iterator[Submission]:
    find, match = lines.find, _SUBMISSION.match
    at = find(MARK)
    while at >= 0:
        begin = lines.rfind(b"\n", 0, at) + 1
        end = find(b"\n", at)
        end = end if end >= 0 else len(lines)
        found = match(lines, begin, end)
        submission = _submission(found, clock) if found else None
        if submission is not None:
            tally.parsed += 1
            yield submission
        elif _looks_like_submission(lines[begin:end]):
            tally.add_unread(lines[begin:end])
        at = find(MARK, end)


def _submission(match: re.Match[bytes], clock: LogClock) -> Submission | None:
    """Return what a line says, None if its date or its client's address does not exist."""
    yearless, dated, rest, fraction, zone, host, queue_id, client, login = match.groups()
    if b", " in login:
        login = _AFTER_LOGIN.split(login, 1)[0]
    try:
        time = clock.time(yearless, dated, rest, fraction, zone)
    except (ValueError, OverflowError):
        return None
    return Submission(time, host or b"", queue_id, client, login.rstrip(b"\r"))


def _looks_like_submission(line: bytes) -> bool:
    """Whether a line with a SASL method was probably meant to be a submission."""
    head = _HEAD.match(line)
    if head is None:
        return b": client=" in line[: line.find(MARK)]
    is_smtpd = head.group(6).endswith(b"smtpd")
    return is_smtpd and _ABOUT_CLIENT.match(line, head.end()) is not None


def first_time(lines: bytes, clock: LogClock) -> float | None:
    """Return the time of the first line that begins with a date."""
    return next(_times(lines.splitlines(), clock), None)


def last_time(lines: bytes, clock: LogClock) -> float | None:
    """Return the time of the last line that begins with a date."""
    return next(_times(reversed(lines.splitlines()), clock), None)


def _times(lines: Iterable[bytes], clock: LogClock) -> Iterator[float]:
    for line in lines:
        match = _BEGINS_WITH_DATE.match(line)
        if match:
            try:
                yield clock.time(*match.groups())
            except (ValueError, OverflowError):
                continue
