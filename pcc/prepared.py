"""The prepared form of a pcc.toml: its checked values, kept beside it.

`pcc.toml.prepared` holds one marshalled tuple: what it was made by, what
pcc.toml was at that time, and the values.  It is used only when

- this version of pcc and of Python made it,
- pcc.toml has the device, inode, owner, size and times that it had then,
- it belongs to the owner of pcc.toml and nobody else can write to it.

So whoever could forge it could have changed pcc.toml itself.  It says nothing
about the folder: who may write there may replace pcc.toml, too.
"""

from __future__ import annotations

import marshal
import os
import sys

from pcc import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUFFIX = ".prepared"
_MADE_BY = (VERSION, sys.hexversion)


def read(path: str) -> dict[str, Any] | None:
    """Return the values prepared from the file at `path`, None unless they can be trusted."""
    try:
        source = os.stat(path)
        descriptor = os.open(path + SUFFIX, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        kept = os.fstat(descriptor)
        if kept.st_uid != source.st_uid or kept.st_mode & 0o22:
            return None
        content = os.read(descriptor, kept.st_size + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    try:
        made_by, made_from, values = marshal.loads(content)  # noqa: S302, only the owner of pcc.toml wrote it
    except (EOFError, ValueError, TypeError):
        return None
    if made_by != _MADE_BY or made_from != _identity(path, source):
        return None
    checked: dict[str, Any] = values
    return checked


def is_ours(source: os.stat_result) -> bool:
    """Whether this process may make a prepared form that will be trusted."""
    return os.geteuid() in (0, source.st_uid)


def write(path: str, values: dict[str, Any], source: os.stat_result) -> None:
    """Keep `values` as the prepared form of the file at `path`, atomically.

    `source` is what os.stat() said of the file before its values were read.
    The result has the file's owner and mode, without write permission for
    others.  Raises OSError when it can't be written.
    """
    content = marshal.dumps((_MADE_BY, _identity(path, source), values))
    temporary = f"{path}{SUFFIX}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if os.geteuid() == 0:
                os.fchown(descriptor, source.st_uid, source.st_gid)
            os.fchmod(descriptor, source.st_mode & 0o644)
        os.replace(temporary, path + SUFFIX)
    except BaseException:
        os.unlink(temporary)
        raise


def _identity(path: str, source: os.stat_result) -> tuple[Any, ...]:
    """What must be the same for the prepared form to be that of the file.

    The path counts because relative paths in the file count from its folder.
    """
    return (
        os.path.abspath(path),
        source.st_dev,
        source.st_ino,
        source.st_uid,
        source.st_size,
        source.st_mtime_ns,
        source.st_ctime_ns,
    )
