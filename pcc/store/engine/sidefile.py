"""The files beside a database, which the service user and root share."""

from __future__ import annotations

import posix

from pcc.errors import StoreError


def open_side_file(path: str, suffix: str) -> int:
    """Open the file beside a database that some lock is on, made if need be.  Raises OSError."""
    flags = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
    with rights_of_service_user(path):
        return posix.open(path + suffix, flags, 0o640)


class rights_of_service_user:  # noqa: N801, it is used as a function
    """Within it, root acts with the rights of the service user, in whose folder `path` is.

    The service user may put links into its folder: root must not follow them to
    files that the service user could not open itself.  Root's supplementary groups
    are left behind as well.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_root = posix.geteuid() == 0
        self._before: tuple[int, list[int]] | None = None  # root's group and others

    def __enter__(self) -> None:
        """Become the service user, effectively, where we are root.  Raises StoreError."""
        if not self._is_root:
            return
        from pcc.host.serviceuser import service_user  # which no policy process needs

        try:
            user, group = service_user(self._path)
        except OSError:
            return  # the caller finds out what is wrong there
        self._before = posix.getegid(), posix.getgroups()
        try:
            if user:  # else nothing is gained, and a namespace of root's alone doesn't let us
                posix.setgroups([group])
            posix.setegid(group)
            posix.seteuid(user)
        except OSError as error:
            raise StoreError(
                f"{self._path}: root can't act as the service user, {user}: {error.strerror}"
            ) from None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Become root again."""
        if self._before is not None:
            group, others = self._before
            posix.seteuid(0)
            posix.setegid(group)
            if posix.getgroups() != others:
                posix.setgroups(others)
