"""The kind of a file and the rights of its file system, found out without opening it.

Opening a FIFO waits for ever, and os.access() says the same of a file system
that is mounted read-only as of missing rights.  So both are looked at first.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def odd_kind(path: str) -> str:
    """Return what stands in the place of a file, "" for a regular file or none at all."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError:
        return ""
    return "" if kind == stat.S_IFREG else KINDS.get(kind, "something odd")


def is_read_only(path: str) -> bool:
    """Whether `path` is on a file system that is mounted read-only; False for what is missing."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def mount_point(path: str) -> str:
    """Return the folder where the file system of `path` is mounted."""
    place = os.path.realpath(path)
    mounted: set[str] = set()
    with suppress(OSError), open("/proc/self/mountinfo", errors="replace") as file:
        # Also folders mounted on others of the same file system (Linux).
        mounted = {line.split()[4] for line in file}
    while place not in mounted and not os.path.ismount(place):
        place = os.path.dirname(place)
    return place
