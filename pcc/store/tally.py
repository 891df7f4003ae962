"""Counts of one host that no database can take: errors by kind, mails without a country.

They are in a file beside the database (`pcc.db.tally`), a line of digits for each.  pcc records
nothing else of such mail, and an error may be that of the database.  Where the file can't be
written nothing is counted: no reply depends on it.
"""

from __future__ import annotations

import posix
from fcntl import LOCK_EX, flock

from pcc.errors import StoreError
from pcc.store.engine.sidefile import open_side_file

SUFFIX = ".tally"

KINDS = ("protocol", "store", "deadline", "places", "notifier", "internal")
"""The kinds of errors; see pcc/errors.py.  `notifier`: sending notices could not be started."""

NAMES = ("without country", *[f"errors {kind}" for kind in KINDS])
"""The names of the counts, in the order of their lines.  A new one is added at the end."""

_LINE = 21  # 20 digits and a newline


def note(database_path: str, name: str) -> None:
    """Count one of NAMES."""
    try:
        descriptor = open_side_file(database_path, SUFFIX)
    except (OSError, StoreError):
        return
    try:
        flock(descriptor, LOCK_EX)
        place = NAMES.index(name) * _LINE
        count = _number(posix.pread(descriptor, _LINE, place)) + 1
        posix.pwrite(descriptor, b"%020d\n" % count, place)
    except OSError:
        pass  # a full disk, say
    finally:
        posix.close(descriptor)


def tally(database_path: str) -> dict[str, int]:
    """Return all counts by name; all are 0 where the file can't be read."""
    text = b""
    try:
        descriptor = open_side_file(database_path, SUFFIX)  # root must follow no link
    except (OSError, StoreError):
        pass
    else:
        try:
            text = posix.pread(descriptor, len(NAMES) * _LINE, 0)
        except OSError:
            pass
        finally:
            posix.close(descriptor)
    places = [number * _LINE for number in range(len(NAMES))]
    return {
        name: _number(text[place : place + _LINE])
        for name, place in zip(NAMES, places, strict=True)
    }


def _number(line: bytes) -> int:
    try:
        return int(line.strip(b"\0\n") or 0)
    except ValueError:  # a file that a crash, or somebody, has damaged
        return 0
