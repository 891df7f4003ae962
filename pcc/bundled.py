"""The country database that comes with pcc: DB-IP's IP to Country Lite, compressed.

data/README.md says where it comes from and what its licence asks for.  It's unpacked into the
state folder when pcc is set up, and only where there is no country database yet: one that an
administrator put there is never replaced.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from pcc.errors import CountryError
from pcc.serviceuser import give_to_service_user

BUNDLED = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "data",
    "dbip-country-lite.mmdb.xz",
)
_MODE = 0o640
_CHUNK = 1 << 20


def unpack(target: str) -> None:
    """Write the bundled country database to `target`, which must not exist.

    It appears there whole or not at all, readable by its owner and group.  When root does it, it
    belongs to the service user.  Raises CountryError.
    """
    if os.path.lexists(target):
        raise CountryError(f"{target}: exists already and is not replaced by the bundled database")
    temporary = f"{target}.{os.getpid()}-{os.urandom(4).hex()}"
    try:
        with _removed_on_failure(temporary):
            _write(temporary)
            os.rename(temporary, target)
        sync_folder(os.path.dirname(target) or ".")
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

    from pcc.country import describe

    with open(path, "rb") as file:
        rest = 0
        while chunk := file.read(_CHUNK):
            rest = crc32(chunk, rest)
    time = describe(path).build_epoch * 10**9 + rest % 10**9
    os.utime(descriptor, ns=(time, time))


def _write(temporary: str) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, _MODE)  # whatever the umask says, the group reads it
        give_to_service_user(descriptor, temporary)
        for chunk in chunks():
            file.write(chunk)
        file.flush()
        give_time(temporary, descriptor)
        os.fsync(descriptor)


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


@contextlib.contextmanager
def _removed_on_failure(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise


def sync_folder(folder: str) -> None:
    """Make the new name in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
