"""The rights of the service user, found out by being it.

Permission bits are not all: there are access lists, read-only file systems
and mount options.  So root asks in a child process that has become the service
user for good, without supplementary groups, as spawn(8) would start it.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pcc.doctor.files import is_read_only
from pcc.errors import PccError

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C"}
"""As spawn(8) gives it to the script."""


class User(NamedTuple):
    """A user with its primary group."""

    name: str
    uid: int
    gid: int


def user_of(uid: int) -> User:
    """Return the user with an id; its name is the number where it has none."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(str(uid), uid, uid)
    return User(entry.pw_name, uid, entry.pw_gid)


def can_become(user: User) -> bool:
    """Whether this process is the user, or may become it."""
    return os.geteuid() in (0, user.uid)


def as_user(user: User, function: Callable[[], Any]) -> Any:
    """Return what `function` returns, called as `user`; something that JSON can carry.

    Its environment is also that of the script: libpq, for one, looks below HOME for certificates,
    and ends where it may not look, as below root's.
    Raises PccError with the text of a PccError or OSError that it raised.
    """
    if os.geteuid() != 0 or user.uid == 0:
        return function()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.environ.clear()
            os.environ.update(ENVIRONMENT)
            os.setgroups([])
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            outcome = json.dumps([function(), ""])
        except (PccError, OSError) as error:
            outcome = json.dumps([None, str(error)])
        finally:
            os.write(writer, outcome.encode())
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    result, problem = json.loads(answer or b'[null, "the child process failed"]')
    if problem:
        raise PccError(problem)
    return result


def run(user: User, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program as the user, as spawn(8) would.  Raises OSError, subprocess.SubprocessError."""
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": user.uid, "group": user.gid, "extra_groups": []}
    return subprocess.run(
        argv,
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
        **identity,
    )


def hindrance(path: str, mode: int) -> str:
    """Return what keeps this process from using `path` in that way, "" if nothing does.

    `mode` is that of os.access().  A file system that is mounted read-only is
    none of it: that hinders everybody, and has a check of its own.
    """
    if is_read_only(path):
        mode &= ~os.W_OK
    if os.access(path, mode):
        return ""
    for place in (os.path.abspath(path), os.path.realpath(path)):
        folders = []
        while (place := os.path.dirname(place)) not in folders:
            folders.append(place)
        for folder in reversed(folders):
            if not os.access(folder, os.X_OK):
                return f"{folder} can't be traversed" if os.path.isdir(folder) else f"no {folder}"
    if not os.path.exists(path):
        return f"no {path}"
    doing = {os.X_OK: "executed", os.R_OK: "read"}.get(mode, "written")
    return f"{path} can't be {doing}"


def hindrances(user: User, uses: Sequence[tuple[str, int]]) -> list[str]:
    """Return what keeps `user` from using files: pairs of path and os.access() mode."""
    found: list[str] = as_user(user, lambda: [hindrance(path, mode) for path, mode in uses])
    return list(dict.fromkeys(text for text in found if text))
