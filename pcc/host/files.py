"""Writes a file as a whole: a reader finds the old one or the new one, nothing between.

The folder may belong to somebody else, the service user, who can put anything there under any name
at any moment.  So the new file has a name that nobody can foresee, and is never an existing one or
the target of a link. It is its maker's alone until it is given away. It gets its owner and mode by
its descriptor, so that root changes nothing else that has its name meanwhile.  It is on disk as a
whole before it takes its place.

SQLite wants names, so databases are made another way (pcc/store/engine/creation.py).
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import IO

from pcc.errors import PccError


class NewFile:
    """A new file for `path`, of mode 0600; gone at the end of the `with` unless it took its place.

    `name`: its path until then, which does not end like the file's: a program that collects such
    files never reads half of it.  `file`: to be written to, in bytes.  All raises OSError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.file: IO[bytes] = open(os.open(self.name, flags, 0o600), "wb")

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with contextlib.suppress(OSError):  # which was raised by writing already
            self.file.close()
        with contextlib.suppress(OSError):  # it took its place
            os.unlink(self.name)

    def take_place(self) -> None:
        """Sync the file, and then give it its own name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.name, self.path)


def sync_folder(path: str) -> None:
    """Sync the folder, so that a new file at `path` survives a crash.  Raises OSError."""
    folder = os.path.dirname(path) or "."
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: str, content: str, mode: int, *, keep_rights: bool = False) -> None:
    """Write a file that an administrator named, with these permissions.  Raises PccError.

    A device such as /dev/stdout is not replaced.  With `keep_rights` group and permissions of
    a file that is ours and there already stay as they are.
    """
    try:
        before = os.lstat(path) if os.path.lexists(path) else None
        if before is not None and not stat.S_ISREG(before.st_mode):
            raise PccError(f"{path}: is not a plain file, so it is not replaced")
        with NewFile(path) as new:
            new.file.write(content.encode())
            if keep_rights and before is not None and before.st_uid == os.geteuid():
                os.fchown(new.file.fileno(), -1, before.st_gid)
                mode = before.st_mode & 0o777
            os.fchmod(new.file.fileno(), mode)
            new.take_place()
    except OSError as error:
        raise PccError(f"{path}: can't be written: {error.strerror}") from None
