"""Mail logs as files: plain or gzipped, rotated, of several hosts, in any order; `-` is stdin.

The submissions of all logs come out in the order of time: a log is opened when the others have got
to its first date, so that thirty rotated files are not open at once.  A line that is in two of the
files, as where Debian's rsyslog wrote both mail.log and mail.info, counts once.  Dates without a
year lie before the file's last change: of a plain file the last line is the latest that does, of a
gzipped one the first; within a file years follow from one line to the next.  What comes from stdin
must be in order by itself.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Iterator
from heapq import heappop, heappush, heapreplace
from itertools import chain, count
from typing import TYPE_CHECKING

from pcc.errors import PccError
from pcc.replay.submissions import (
    HALF_A_YEAR,
    LogClock,
    Submission,
    Tally,
    first_time,
    last_time,
    submissions,
)
from pcc.rule import DAY

if TYPE_CHECKING:
    from io import BufferedReader

    Advance = Callable[[int], None]

STDIN = "-"

CHUNK = 1 << 18
"""Bytes that are read at a time."""

END = 1 << 16
"""Bytes at the end of a plain file in which its last date is looked for."""

RECENT_MAILS = 20_000
"""The latest mails whose lines are recognised when they come from another file, too."""

BACKWARDS_SECONDS = 7200
"""A log whose lines go back by more was put together in the wrong order."""

_GZIP = b"\x1f\x8b"


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
        self._advance: Advance = _ignore
        chunks = self._chunks()
        try:
            head = next(chunks, b"")
        except OSError as error:
            raise PccError(f"{path}: can't be read: {error.strerror or error}") from None
        anchor = self._latest_end(head, now) - HALF_A_YEAR
        self.first = first_time(head, LogClock(anchor))
        self._clock = LogClock(anchor if self.first is None else self.first)
        self._begun = chain((head,), chunks) if path == STDIN else None

    @property
    def is_whole(self) -> bool:
        """Whether the log was read to its end."""
        return not self.problem

    def submissions(self, tally: Tally, advance: Advance) -> Iterator[Submission]:
        """Return the log's submissions in the order of its lines; to be called once.

        `advance` is told of the bytes on disk that were read.
        """
        self._advance = advance
        latest = 0.0
        for submission in submissions(self._readable_chunks(), self._clock, tally):
            if submission.time > latest:
                latest = submission.time
            elif latest - submission.time > self.backwards:
                self.backwards = latest - submission.time
            yield submission

    def _latest_end(self, head: bytes, now: float) -> float:
        """Return UTC seconds at or before which the first line must lie.

        A day is allowed for clocks and time zones that differ.
        """
        if self.path == STDIN:
            return now + DAY
        changed = os.stat(self.path).st_mtime
        with open(self.path, "rb") as file:
            start = file.read(8)
            is_plain = not start.startswith(_GZIP)
            if is_plain and self.size > END:
                file.seek(-END, os.SEEK_END)
                head = file.read()
        if not is_plain:
            before = int.from_bytes(start[4:8], "little")  # the change of what was gzipped
            return (min(before, changed) if before else changed) + DAY
        last = last_time(head, LogClock(changed + DAY - HALF_A_YEAR))
        return (changed if last is None else last) + DAY

    def _readable_chunks(self) -> Iterator[bytes]:
        try:
            yield from self._begun or self._chunks()
        except (OSError, EOFError, zlib.error) as error:
            self.problem = getattr(error, "strerror", None) or str(error)

    def _chunks(self) -> Iterator[bytes]:
        with self._open() as raw:
            if self.path != STDIN:
                self.size = os.fstat(raw.fileno()).st_size
            if raw.peek(2)[:2] == _GZIP:
                yield from _unzipped(self._pieces(raw, CHUNK // 8))
            else:
                yield from self._pieces(raw, CHUNK)

    def _pieces(self, raw: BufferedReader, size: int) -> Iterator[bytes]:
        while piece := raw.read(size):
            self._advance(len(piece))
            yield piece

    def _open(self) -> BufferedReader:
        if self.path == STDIN:
            return open(sys.stdin.fileno(), "rb", closefd=False)
        return open(self.path, "rb")


def _unzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Return what gzipped pieces hold; raises EOFError where the end is missing."""
    decoder = None
    for piece in pieces:
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


def _ignore(read: int) -> None:
    """Tell nobody."""
