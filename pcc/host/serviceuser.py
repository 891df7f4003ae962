"""The service user: whom the state folder belongs to, and with it all that pcc keeps there.

Root's commands ask for it, in order to leave nothing behind there that it can't write, and to do
nothing for it with rights that it hasn't.  The service user itself never asks.
"""

from __future__ import annotations

import posix  # what `os` adds to it would cost a tenth of the interpreter's start


def service_user(path: str) -> tuple[int, int]:
    """Return user and group of the service user, by a path in the state folder.

    `path` need not exist, its folder must.  Raises OSError.
    """
    folder = posix.stat(path[: path.rfind("/") + 1] or ".")
    return folder.st_uid, folder.st_gid


def give_to_service_user(descriptor: int, path: str) -> None:
    """As root, give a new file, open as `descriptor`, to the service user.  Raises OSError.

    By its descriptor: in the state folder a name may lead elsewhere a moment later.
    """
    if posix.geteuid() == 0:
        posix.fchown(descriptor, *service_user(path))
