"""Loads the configuration, from the prepared form of its pcc.toml where there is one.

Parsing TOML costs more than a bare interpreter, and every policy connection is
a new process.  The checked values are therefore kept beside the file in a
prepared form, as Postfix keeps its maps.

`pcc.toml.prepared` holds a line about its maker and its file, and the
marshalled values.  It is used only when

- this version of pcc and of Python made it,
- pcc.toml has the device, inode, owner, size and times that it had then,
- it is a plain file of the owner of pcc.toml, to which nobody else can write,
- and root uses root's only: marshal is no shield against its writer.

So a user who can forge it can also change pcc.toml itself.  The folder is not
looked at: a user who may replace files there may also replace pcc.toml.
Otherwise the TOML is parsed as if the prepared form were not there.
"""

from __future__ import annotations

import marshal
import posix  # what `os` adds to it would cost a tenth of the interpreter's start
import sys
from _stat import S_ISREG

from pcc import VERSION
from pcc.config import Config, Limit, Notify, Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import stat_result
    from typing import Any

SUFFIX = ".prepared"
LARGEST = 16_000_000
"""Bytes; a larger form is not looked at."""

TICK_SECONDS = 0.02
"""Longer than the kernel's clock for the times of files stands still."""


def load(path: str) -> Config:
    """Return the configuration in the file at `path`.

    Raises ConfigError, naming file, key, rule and value.
    """
    identity = 0  # of the file as it is now, and of this version of pcc; 0 for no file
    try:
        source = posix.stat(path)
        version = int.from_bytes(VERSION.encode(), "big")
        # A hash of numbers is the same in all processes.
        times = (source.st_mtime_ns, source.st_ctime_ns)  # a file that was away has another ctime
        identity = hash((version, source.st_dev, source.st_ino, source.st_size, *times))
    except OSError:
        pass
    values = read(path)
    if values is None:
        from pcc.config import options  # with tomli this costs more than a bare interpreter

        values = options.read_values(path)
    return Config({"identity": identity, **values})


def read(path: str) -> dict[str, Any] | None:
    """Return the values prepared from the file at `path`, None unless they can be trusted."""
    try:
        source = posix.stat(path)
        # Not to wait for what is no file: O_NONBLOCK.
        flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
        descriptor = posix.open(path + SUFFIX, flags)
    except OSError:
        return None
    try:
        kept = posix.fstat(descriptor)
        # Nobody may have written it but those who may write the file itself.
        is_trusted = (
            kept.st_uid == source.st_uid
            and not kept.st_mode & 0o22
            and S_ISREG(kept.st_mode)
            and kept.st_size <= LARGEST
            and (kept.st_uid == 0 or posix.geteuid() != 0)
        )
        content = posix.read(descriptor, kept.st_size) if is_trusted else b""
    except OSError:
        return None
    finally:
        posix.close(descriptor)
    head = _head(path, source)
    if not content.startswith(head):
        return None
    try:
        values: dict[str, Any] = marshal.loads(content[len(head) :])  # noqa: S302, the owner's
    except (EOFError, ValueError, TypeError, MemoryError):  # the disk's fault
        return None
    return values


def renew(path: str) -> tuple[dict[str, Any], str]:
    """Parse the file at `path` and keep its prepared form.

    Returns its values, and why the form was not kept, "" if it was.  Raises
    ConfigError.
    """
    from time import sleep, time

    from pcc.config import options

    try:
        source = posix.stat(path)
    except OSError:
        return options.read_values(path), "it has only just come to be there"
    if 0 <= time() - source.st_ctime < TICK_SECONDS:
        sleep(TICK_SECONDS)  # else a change after this reading could leave the same time
    values = options.read_values(path)
    if posix.geteuid() not in (0, source.st_uid):
        return values, "it belongs to another user"
    try:
        write(path, values, source)
    except OSError as error:
        return values, error.strerror or str(error)
    return values, ""


def write(path: str, values: dict[str, Any], source: stat_result) -> None:
    """Keep `values` as the prepared form of the file at `path`, atomically.

    `source` is what stat(2) said of the file before its values were read.
    The result has the file's owner and mode, without write permission for
    others.  Raises OSError when it can't be written.
    """
    from pcc.host.files import NewFile

    with NewFile(path + SUFFIX) as new:
        new.file.write(_head(path, source) + marshal.dumps(values))
        descriptor, mode = new.file.fileno(), source.st_mode & 0o644
        try:
            posix.fchown(descriptor, source.st_uid, source.st_gid)
        except PermissionError:  # not in that group: then no group may read it
            mode &= 0o604
        posix.fchmod(descriptor, mode)
        new.take_place()


def _head(path: str, source: stat_result) -> bytes:
    """Return the first line of the prepared form, if it is that of the file as it is.

    The path counts because relative paths in the file count from its folder;
    the records' fields, because a newer pcc may have more of them.
    """
    absolute = path
    if not path.startswith("/") or "/." in path or "//" in path:
        import os  # expensive, and hardly ever needed

        absolute = os.path.abspath(path)
    made_of = (
        (Config.__slots__, Policy.__slots__, Limit.__slots__, Notify.__slots__),
        absolute,
        source.st_dev,
        source.st_ino,
        source.st_uid,
        source.st_size,
        source.st_mtime_ns,
        source.st_ctime_ns,
    )
    return f"pcc {VERSION}, Python {sys.hexversion:x}: {made_of!r}\n".encode()
