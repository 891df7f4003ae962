"""The dates of log lines as UTC seconds, also where they have no year.

A DATE is `Nov 22 09:01:02`, in local time and without a year, or RFC 3339, with or without a
fraction, whose zone may be missing; then it is local time.  In a log without years each line is of
the year that puts it after the line before, or not long before it.  The year of the first line
follows from that of the last: the years between are counted.  No time lies in the future.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from time import localtime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    Date = tuple[bytes, bytes, bytes | None, bytes | None]
    """The groups of DATE: until the last digit of the minute, from it, fraction, zone."""

_TEN_MINUTES = rb"(?:[A-Z][a-z][a-z] [ \d]|\d{4}-\d\d-\d)\d[T ]\d\d:\d"
DATE = rb"(" + _TEN_MINUTES + rb")(\d:\d\d)([.,]\d+)?(Z|[+-]\d\d:?\d\d)? "

MOST_BACKWARDS = 62
"""Days by which a line without a year may lie before the one above it.

Logs that were joined in the wrong order go back by weeks; a quiet server may log nothing for
months.
"""

AMBIGUOUS_SECONDS = 900
"""A local time that lies further back than the line before may be one that came twice that day."""

_MONTHS = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
_SECONDS = {
    b"%d:%02d" % (minute, second): 60 * minute + second
    for minute in range(10)
    for second in range(61)  # a leap second
}


class LogClock:
    """Gives the time of lines that come in about their order.

    `limit`: UTC seconds; a date after it can't be.  `year`: of the first date if that has none,
    None for the latest that can be.  `latest`: UTC seconds of the line before, 0 for none.
    `years`: those that were assumed.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.year: int | None = None
        self.latest = 0.0
        self.years: set[int] = set()
        self._begun = b""
        self._zone: bytes | None = None
        self._begin = 0.0

    def time(
        self, begun: bytes, rest: bytes, fraction: bytes | None = None, zone: bytes | None = None
    ) -> float:
        """Return the UTC seconds of a date, given as the groups of DATE.

        Raises ValueError for a date that does not exist, or that is still to come.
        """
        if begun != self._begun or zone != self._zone:  # other ten minutes than the line before
            is_dated = begun[0] < 58  # it begins with a digit
            self._begin = self._dated(begun, zone) if is_dated else self._yearless(begun)
            self._begun, self._zone = begun, zone
        seconds = _SECONDS.get(rest)
        if seconds is None:
            raise ValueError(rest)
        time = self._begin + seconds
        if fraction:
            time += int(fraction[1:]) / 10 ** (len(fraction) - 1)
        if time > self.limit:
            raise ValueError(begun)
        self.latest = time
        return time

    def _dated(self, begun: bytes, zone: bytes | None) -> float:
        moment = datetime.fromisoformat(f"{begun.decode().replace(' ', 'T')}0")
        seconds = moment.replace(tzinfo=timezone.utc).timestamp()
        if zone == b"Z":
            return seconds
        if zone is None or zone.isalpha():
            return self._local(moment, zone)
        offset = int(zone[1:3]) * 3600 + int(zone[3:].lstrip(b":") or b"0") * 60
        return seconds + offset if zone[:1] == b"-" else seconds - offset

    def _yearless(self, begun: bytes) -> float:
        date = _parts(begun)
        if self.latest:
            last = datetime.fromtimestamp(self.latest)
            year = last.year + _years_between((last.month, last.day), date[:2])
        else:
            year = self.year or datetime.fromtimestamp(self.limit).year
        time = self._local(datetime(year, *date), None)
        if time > self.limit:  # a line out of order, or of a clock that was wrong
            year -= 1
            time = self._local(datetime(year, *date), None)
        self.years.add(year)
        return time

    def _local(self, moment: datetime, zone: bytes | None) -> float:
        """Return the UTC seconds of a local time; of two, the one of that zone, or not before."""
        first, second = moment.timestamp(), moment.replace(fold=1).timestamp()
        if zone and localtime(second).tm_zone.encode() == zone:
            return second
        return max(first, second) if not zone and first < self.latest - AMBIGUOUS_SECONDS else first


def year_of_first(dates: Iterable[Date], end: float) -> int | None:
    """Return the year of the first of these dates, None if that has one or is unknown.

    The last lies at or before `end`, UTC seconds.  A date with a year gives the years before it.
    """
    last = (0, 0)
    passed = 0  # New Years since the first date
    leap_days = []
    day_before = b""
    for begun, _, _, zone in dates:
        if begun[:6] == day_before:
            continue
        day_before = begun[:6]
        try:
            if begun[0] < 58:
                dated = datetime.fromtimestamp(LogClock(end).time(begun, b"0:00", None, zone))
                return dated.year - passed - _years_between(last, (dated.month, dated.day))
            day = _parts(begun)[:2]
            datetime(2000, *day)
        except ValueError:
            continue  # it does not exist
        if last[0]:
            passed += _years_between(last, day)
        last = day
        if day == (2, 29):
            leap_days.append(passed)
    latest = datetime.fromtimestamp(end).year
    for year in range(latest, latest - 12, -1):
        with suppress(ValueError):  # a day that the year does not have
            for leap_day in leap_days:
                datetime(year - passed + leap_day, 2, 29)
            if datetime(year, *last).timestamp() <= end:
                return year - passed
    return None


def is_yearless(date: Date | float | None) -> bool:
    """Whether a date has no year."""
    return isinstance(date, tuple) and not date[0][:1].isdigit()


def _years_between(last: tuple[int, int], day: tuple[int, int]) -> int:
    """Return how many New Years lie between the month and day of a line and of the next."""
    days = 31 * (day[0] - last[0]) + day[1] - last[1]
    if days < -MOST_BACKWARDS:
        return 1
    return -1 if days >= 372 - MOST_BACKWARDS else 0


def _parts(begun: bytes) -> tuple[int, int, int, int]:
    """Return month, day, hour and minute; raises ValueError."""
    month = _MONTHS.get(begun[:3], 0)
    return month, int(begun[4:6]), int(begun[7:9]), int(begun[10:]) * 10
