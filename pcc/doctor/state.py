"""Checks of the state folder: its file system, and who may read and write what is in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from pcc.doctor import Fault, fail, named_check, warn
from pcc.doctor.files import is_read_only, mount_point, odd_kind
from pcc.doctor.rights import User, hindrances
from pcc.invocation import shell_word

SIDE_FILES = ("-wal", "-shm", ".lock", ".notify", ".checkpoint", ".repeats", ".tally")
"""SQLite and pcc keep these beside the database."""

FULL_BYTES = 1_000_000
"""A verdict writes some pages, and the write-ahead log's index 32 KB at a time."""

NEARLY_FULL_BYTES = 50_000_000


@named_check("file system")
def check_file_system(database: str) -> Iterator[Fault]:
    """Check that what holds the database can be written to, and has room."""
    folder = os.path.dirname(database)
    for path in (folder, database):
        if is_read_only(path):
            place = shell_word(mount_point(path))
            yield fail(
                f"`mount -o remount,rw {place}`, after a look at the kernel's log (`dmesg`) for"
                f" why: {path} is on a file system that is mounted read-only"
            )
            return
    status = os.statvfs(folder)
    room = status.f_bavail * status.f_frsize
    place = mount_point(folder)
    if room < FULL_BYTES:
        yield fail(f"make room on {place}: the disk is full, and pcc can't remember what it sees")
    elif status.f_files and not status.f_favail:
        yield fail(f"remove files on {place}: it has no inode left for the write-ahead log")
    elif room < NEARLY_FULL_BYTES:
        yield warn(f"make room on {place}: only {room // 1_000_000} MB are left")


def is_reachable(user: User, folder: str) -> bool:
    """Whether the user can get at what is in the state folder."""
    return not hindrances(user, [(folder, os.X_OK)])


@named_check("state folder")
def check_state_folder(user: User, database: str) -> Iterator[Fault]:
    """Check that the user can write to the state folder, and that others can't look into it."""
    folder, name = os.path.split(database)
    for text in hindrances(user, [(folder, os.W_OK | os.X_OK)]):
        if os.stat(folder).st_mode & 0o700 != 0o700:
            yield fail(f"`chmod 0750 {shell_word(folder)}`: {user.name} can't write to it")
        else:
            yield fail(f"let {user.name} write to the state folder: {text}")
    if os.stat(folder).st_mode & 0o027:
        yield warn(f"`chmod 0750 {shell_word(folder)}`: it says who sends from where")
    for file in sorted(os.listdir(folder)) if os.access(folder, os.R_OK) else []:
        path = os.path.join(folder, file)
        mode = os.lstat(path).st_mode  # chmod(1) would follow a link
        if file.startswith(name) and stat.S_ISREG(mode) and mode & 0o137:
            yield warn(f"`chmod 0640 {shell_word(path)}`: it says who sends from where")


@named_check("database rights")
def check_database_rights(user: User, database: str) -> Iterator[Fault]:
    """Check that the database and its side files are the user's, to be read and written."""
    files = [database, *[database + end for end in SIDE_FILES]]
    files = [path for path in files if os.path.lexists(path)]
    for path in files:
        status = os.lstat(path)
        quoted = shell_word(path)
        if stat.S_ISLNK(status.st_mode) and path == files[0]:
            yield fail(
                f"name {os.path.realpath(path)} as store.database in pcc.toml: {path} is only a"
                " link to it"
            )
        elif stat.S_ISLNK(status.st_mode):  # its maker may want root to follow it
            yield fail(f"`mv {quoted} {quoted}.away`: it is a link, not a file")
        elif odd := odd_kind(path):
            if path != files[0]:  # the database itself has a check of its own
                yield fail(f"`mv {quoted} {quoted}.away`: it is {odd}, not a file")
        elif status.st_uid != user.uid:
            owner = "root" if status.st_uid == 0 else f"user {status.st_uid}"
            yield fail(f"`chown -h {user.name}: {quoted}`: it belongs to {owner}")
        elif status.st_mode & 0o600 != 0o600:
            yield fail(f"`chmod 0640 {quoted}`: {user.name} can't read and write it")
        else:
            for text in hindrances(user, [(path, os.R_OK | os.W_OK)]):
                yield fail(f"look at `lsattr {quoted}` and `getfacl {quoted}` for why: {text}")
