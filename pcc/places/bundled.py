"""The country database that comes with pcc: DB-IP's IP to Country Lite, compressed.

data/README.md says where it comes from and what its licence asks for.  It's unpacked into the
state folder when pcc is set up, and only where there is no country database yet: one that an
administrator put there is never replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pcc.errors import CountryError
from pcc.host.files import NewFile, sync_folder
from pcc.host.serviceuser import give_to_service_user

BUNDLED = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    "data",
    "dbip-country-lite.mmdb.xz",
)
MODE = 0o640
"""Of a country database that is new: whatever the umask says, the group reads it."""

_CHUNK = 1 << 20


def unpack(target: str) -> None:
    """Write the bundled country database to `target`, which must not exist.

    It appears there whole or not at all, readable by its owner and group.  When root does it, it
    belongs to the service user.  Raises CountryError.
    """
    if os.path.lexists(target):
        raise CountryError(f"{target}: exists already and is not replaced by the bundled database")
    try:
        with NewFile(target) as new:
            for chunk in chunks():
                new.file.write(chunk)
            new.file.flush()
            give_time(new.name, new.file.fileno())
            os.fchmod(new.file.fileno(), MODE)
            give_to_service_user(new.file.fileno(), target)
            new.take_place()
        sync_folder(target)
    except OSError as error:
        raise CountryError(
            f"{target}: the bundled country database can't be written: {error.strerror}"
        ) from None


def give_time(path: str, descriptor: int) -> None:
    """Give a new country database, open as `descriptor`, a time that follows from what is in it.

    What was looked up in a database goes by its time (`looked_up` in schema.sql): hosts that share
    what they know must not take each other's copy for another database.  The time is that of its
    building, to the second; the rest tells databases apart that were built in the same one.
    """
    from zlib import crc32

    from pcc.places.country import describe

    with open(path, "rb") as file:
        rest = 0
        while chunk := file.read(_CHUNK):
            rest = crc32(chunk, rest)
    time = describe(path).build_epoch * 10**9 + rest % 10**9
    os.utime(descriptor, ns=(time, time))


def chunks() -> Iterator[bytes]:
    """Yield the bundled database, unpacked; its own checksum vouches for it."""
    try:
        import lzma  # 2 ms, for the one command that needs it
    except ImportError:
        raise _broken("this Python was built without lzma") from None
    try:
        with lzma.open(BUNDLED) as packed:
            while chunk := packed.read(_CHUNK):
                yield chunk
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise _broken(str(error)) from None


def _broken(cause: str) -> CountryError:
    return CountryError(f"{BUNDLED}: the bundled country database can't be unpacked: {cause}")
