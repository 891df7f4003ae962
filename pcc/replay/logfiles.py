"""Mail logs as files: plain or gzipped, rotated, of several hosts, in any order; `-` is stdin.

The submissions of all logs come out in the order of time.  A log is opened when the others have
got to its first date: so thirty rotated files are not open at once.  A line that is in two of the
files, as where Debian's rsyslog wrote both mail.log and mail.info, counts once.  A log whose dates
have no year is first looked through for the New Years that it passes: its last line is no later
than the file's last change.  That of stdin is no later than now; what matters of it is kept in a
temporary file meanwhile.  The lines of stdin must be in order by themselves.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from heapq import heappop, heappush, heapreplace
from itertools import chain, count
from typing import TYPE_CHECKING

from pcc.errors import PccError
from pcc.history import DAY
from pcc.replay import forms
from pcc.replay.logclock import LogClock, is_yearless, year_of_first
from pcc.replay.submissions import (
    MARK,
    Submission,
    Tally,
    dates,
    first_date,
    submissions,
    whole_lines,
)

if TYPE_CHECKING:
    from io import BufferedReader
    from typing import BinaryIO

    Advance = Callable[[int], None]

STDIN = "-"

CHUNK = 1 << 18
"""Bytes that are read at a time."""

SAMPLE_EVERY = 1 << 16
SAMPLE = 1 << 12
SMALL = 1 << 21
"""Bytes: of a plain log that is not SMALL, a SAMPLE of every SAMPLE_EVERY is read."""

RECENT_MAILS = 20_000
"""The latest mails whose lines are recognised when they also come from another file."""

BACKWARDS_SECONDS = 7200
"""A log whose lines go back by more was put together in the wrong order."""

_GZIP = b"\x1f\x8b"
_OTHERS = {b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}


class Log:
    """One log.

    `size`: bytes on disk, 0 for stdin.  `first`: UTC seconds of its first line
    with a date, None where none was found in its first chunk.  `backwards`: the
    most seconds that its lines went back in time.  `problem`: why it was not
    read to its end, "" if it was.

    Raises PccError when it can't be opened.
    """

    def __init__(self, path: str, now: float) -> None:
        self.path = path
        self.size = 0
        self.backwards = 0.0
        self.problem = ""
        self.first: float | None = None
        self._advance: Advance = lambda _read: None
        self._kept: BinaryIO | None = None
        self._begun: Iterator[bytes] | None = None
        self._clock = LogClock(now + DAY)
        chunks = self._chunks()
        try:
            head = next(chunks, b"")
            for begin, program in _OTHERS.items():
                if head.startswith(begin):
                    raise PccError(f"{path}: compressed by {program}: read it by `{program} -dc`")
            if path == STDIN:
                self._begun = chain((head,), chunks)
            date = first_date(head)
            if is_yearless(date):
                self._set_year(now)
        except OSError as error:
            raise PccError(f"{path}: can't be read: {error.strerror or error}") from None
        if date is not None:
            with suppress(ValueError, OverflowError):
                self.first = forms.seconds(date, self._clock)

    @property
    def years(self) -> set[int]:
        """Those that were assumed for dates without one."""
        return self._clock.years

    @property
    def is_whole(self) -> bool:
        """Whether the log was read to its end."""
        return not self.problem

    def submissions(self, tally: Tally, advance: Advance) -> Iterator[Submission]:
        """Return the log's submissions in the order of its lines; to be called once.

        `advance` gets the number of bytes on disk that were read.
        """
        self._advance = advance
        latest = 0.0
        for submission in submissions(self._readable_chunks(), self._clock, tally):
            if submission.time > latest:
                latest = submission.time
            elif latest - submission.time > self.backwards:
                self.backwards = latest - submission.time
            yield submission

    def _set_year(self, now: float) -> None:
        """Set the year of the first line, by which the clock goes on."""
        end = now
        if self._begun:
            from tempfile import TemporaryFile

            # stdin can't be read twice: keep its submissions and some dates between.
            self._kept = TemporaryFile()
            for lines in whole_lines(self._begun):
                self._kept.write(lines[: lines.find(b"\n") + 1])
                self._kept.writelines(line + b"\n" for line in lines.split(b"\n") if MARK in line)
            self._begun = None
            chunks = self._readable_chunks()
        else:
            end = min(now, os.stat(self.path).st_mtime)
            with open(self.path, "rb") as file:
                start = file.read(8)
            is_gzipped = start.startswith(_GZIP)
            if is_gzipped:  # it says when what is in it was changed, if not 0
                end = min(end, int.from_bytes(start[4:8], "little") or end)
            is_small = is_gzipped or self.size < SMALL
            chunks = self._readable_chunks() if is_small else self._samples()
        self._clock.year = year_of_first(dates(chunks, self.size), end + DAY)

    def _samples(self) -> Iterator[bytes]:
        """Return some lines from all over a large plain log."""
        with open(self.path, "rb") as file:
            for at in range(0, self.size, SAMPLE_EVERY):
                file.seek(at)
                piece = file.read(SAMPLE if at + SAMPLE_EVERY < self.size else -1)
                yield piece[piece.find(b"\n") + 1 if at else 0 : piece.rfind(b"\n") + 1]

    def _readable_chunks(self) -> Iterator[bytes]:
        try:
            yield from self._begun or self._chunks()
        except (OSError, EOFError, zlib.error) as error:
            self.problem = getattr(error, "strerror", None) or str(error)

    def _chunks(self) -> Iterator[bytes]:
        if self._kept:
            self._kept.seek(0)
        stdin = self._kept or sys.stdin
        is_stdin = self.path == STDIN
        with open(stdin.fileno() if is_stdin else self.path, "rb", closefd=not is_stdin) as raw:
            if not is_stdin:
                self.size = os.fstat(raw.fileno()).st_size
            if raw.peek(2)[:2] != _GZIP:
                yield from self._pieces(raw, CHUNK)
                return
            decoder = None
            for piece in self._pieces(raw, CHUNK // 8):
                rest = piece
                while rest:
                    decoder = decoder or zlib.decompressobj(zlib.MAX_WBITS + 16)
                    yield decoder.decompress(rest, CHUNK)
                    rest = decoder.unconsumed_tail
                    if decoder.eof:  # another one may follow, or padding
                        rest = decoder.unused_data.lstrip(b"\0")
                        decoder = None
            if decoder is not None:
                raise EOFError("its end is missing")

    def _pieces(self, raw: BufferedReader, size: int) -> Iterator[bytes]:
        while piece := raw.read(size):
            self._advance(len(piece))
            yield piece


def in_order(logs: list[Log], tally: Tally, advance: Advance) -> Iterator[Submission]:
    """Return the submissions of all logs, in the order of time; each mail once."""
    if len(logs) == 1:
        yield from logs[0].submissions(tally, advance)
        return
    recent: dict[Submission, Log] = {}
    for mail, log in _merged(logs, tally, advance):
        known = mail._replace(time=int(mail.time))  # one of the files may have no fractions
        if recent.get(known, log) is not log:
            tally.parsed -= 1
            tally.repeated += 1
            continue
        if mail.queue_id != b"NOQUEUE":
            if len(recent) >= RECENT_MAILS:
                del recent[next(iter(recent))]
            recent[known] = log
        yield mail


def _merged(logs: list[Log], tally: Tally, advance: Advance) -> Iterator[tuple[Submission, Log]]:
    waiting = sorted(logs, key=lambda log: log.first or 0, reverse=True)
    numbers = count()  # so that submissions themselves are never compared
    active: list[tuple[float, int, Submission, Iterator[Submission], Log]] = []
    while waiting or active:
        while waiting and (not active or (waiting[-1].first or 0) <= active[0][0]):
            log = waiting.pop()
            mails = log.submissions(tally, advance)
            mail = next(mails, None)
            if mail is not None:
                heappush(active, (mail.time, next(numbers), mail, mails, log))
        if active:
            _, number, mail, mails, log = active[0]
            yield mail, log
            following = next(mails, None)
            if following is None:
                heappop(active)
            else:
                heapreplace(active, (following.time, number, following, mails, log))
