"""Writes a file that a command was told to write: as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat

from pcc.errors import PccError


def replace_file(path: str, content: str, mode: int, *, keep_rights: bool = False) -> None:
    """Write a file with these permissions, atomically.  Raises PccError.

    Its name until then does not end like the file's, so that whoever collects such files does not
    read half of it.  What is no file, /dev/stdout say, is not replaced.  With `keep_rights` group
    and permissions of a file that is ours and there already stay as they are.
    """
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    try:
        before = _plain_file(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
            if keep_rights and before is not None and before.st_uid == os.geteuid():
                os.fchown(file.fileno(), -1, before.st_gid)
                mode = before.st_mode & 0o777
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except OSError as error:
        raise PccError(f"{path}: can't be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _plain_file(path: str) -> os.stat_result | None:
    """Return the status of the file that is there, None for none; raises PccError."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise PccError(f"{path}: is not a plain file, so it is not replaced")
    return found
