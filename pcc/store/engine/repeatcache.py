"""A cache of repeats that all policy processes of a host share: the file `.repeats` of a database.

A look at a row costs a process 50 to 100 microseconds where many share two cores.  The first one
costs an import.  A record here says the same: until when mail of an account from an address is a
repeat (pcc/store/repeats.py).  A process that has just seen the row writes the record.

A transaction that changes what repeats rest on ends them.  Before COMMIT it makes the number of the
account's bucket odd, and after it even.  A record is good while its bucket has the number that was
there before the row was read.  At an odd number no process writes one.  So none outlives a COMMIT
that it did not see.  A process that dies in between leaves an odd number: then the rows are read
until the next such transaction.

All is written in place, without a lock: a record that two processes write at once is good for
nothing.  Where somebody has removed the file, all make it again.
"""

from __future__ import annotations

import posix

from pcc.store.engine.sidefile import open_side_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SUFFIX = ".repeats"

BUCKETS = 65521
"""A prime: names that differ by a number are spread evenly.  The file has 34 MB at most."""

SLOTS, SLOT_BYTES, NUMBER_BYTES, TIME_BYTES = 4, 126, 8, 5
BUCKET_BYTES = NUMBER_BYTES + SLOTS * SLOT_BYTES
"""A bucket has its number, and then records.  It lies within a page."""

EVERYBODY = ""
"""The account of the first bucket, whose number all records depend on."""


class RepeatCache:
    """The repeats of the database at `path`.  All but close() and resume() raise OSError."""

    def __init__(self, path: str) -> None:
        self._database = path
        self._file = -1
        self._ended: set[int] = set()

    def open(self) -> None:
        """Open the file that is there; make it if need be."""
        self.close()
        self._file = open_side_file(self._database, SUFFIX)
        if not posix.fstat(self._file).st_size:  # a full disk has room for the first number
            posix.posix_fallocate(self._file, 0, NUMBER_BYTES)

    def find(self, account: str, address: str, basis: int, now: float) -> tuple[int, bytes]:
        """Return what keep() takes of a mail; -1 and nothing for a repeat, by a good record.

        `address` is as recorded.  `basis` is another number whenever all repeats have ended.
        """
        name, number_of = account.encode(), int.from_bytes
        start = _start(name)
        bucket = posix.pread(self._file, BUCKET_BYTES, start)
        number = number_of(bucket[:NUMBER_BYTES], "big")
        of_all = number_of(posix.pread(self._file, NUMBER_BYTES, 0), "big")
        key = b"%b\0%b\0" % (name, address.encode())
        # A hash of numbers is the same in all processes.
        stamp = hash((basis, number, of_all, number_of(key, "big"))) % 2**64
        record = key + stamp.to_bytes(NUMBER_BYTES, "big")
        slot = NUMBER_BYTES + stamp % SLOTS * SLOT_BYTES
        if bucket.startswith(record, slot):
            at = slot + len(record)
            if now < number_of(bucket[at : at + TIME_BYTES], "big"):
                return -1, b""
        if (number | of_all) % 2:
            return 0, b""
        return start + slot, record

    def keep(self, start: int, record: bytes, until: float) -> None:
        """Keep that the mail is a repeat, until then at most (UTC seconds)."""
        record += int(until).to_bytes(TIME_BYTES, "big")
        if start and len(record) <= SLOT_BYTES:
            posix.pwrite(self._file, record, start)

    def end(self, accounts: Iterable[str]) -> None:
        """End all records of these accounts, and allow no new ones before resume().

        By a process that is alone in that, before it changes the database.
        """
        starts = {_start(account.encode()) for account in accounts}
        if self._number(0) % 2:  # of a process that was killed
            starts.add(0)
        for start in starts:
            try:
                self._count(start, 0)
            except OSError:  # a full disk
                start = 0
                self._count(start, 0)
            self._ended.add(start)

    def resume(self) -> None:
        """Allow records again, of what is true now."""
        try:
            if self._ended:
                self.open()  # the file may have been removed meanwhile
            while self._ended:
                self._count(self._ended.pop(), 1)
        except OSError:  # a sick disk: then none are made
            self._ended.clear()

    def _count(self, start: int, more: int) -> None:
        """Make the number of a bucket odd, and add so much."""
        number = (self._number(start) | 1) + more
        posix.pwrite(self._file, number.to_bytes(NUMBER_BYTES, "big"), start)

    def _number(self, start: int) -> int:
        return int.from_bytes(posix.pread(self._file, NUMBER_BYTES, start), "big")

    def remove(self) -> None:
        """Remove the file, if it can be removed: others notice that at their next look."""
        try:
            posix.unlink(self._database + SUFFIX)
        except OSError:
            pass

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, -1
        if file >= 0:
            posix.close(file)


def _start(name: bytes) -> int:
    return (1 + int.from_bytes(name, "big") % BUCKETS) * BUCKET_BYTES if name else 0
