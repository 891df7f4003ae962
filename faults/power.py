"""Power cuts: what was written and never synced is lost, in part or altogether.

Policy processes work on a disk that keeps, beside the files, what would survive a power cut at
this moment (disk.c).  At random instants all syncing is stopped, a picture is taken of both, and
the processes go on.  From each picture several disks are made as a power cut may leave them.  A
system may have written all, some or none of the data that was not synced:

    nothing    only what was synced is there
    database   so is what was written to the database, but not to its write-ahead log
    log        the other way round
    some       of every unsynced page the old or the new content, at random
    torn       the same by sectors of 512 bytes
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from checkout import PolicyProcess, Site, is_pass, is_refusal, request_text

from faults.ledger import CONFIG, Asked, Load, Recorded
from faults.preload import on_failing_disk

FILES = ("pcc.db", "pcc.db-wal")
KINDS = ("nothing", "database", "log", "some", "torn")


class Cut(NamedTuple):
    """The measurements of a run; `promised` are the answers that had to survive, all cuts added."""

    cuts: int
    images: int
    promised: int
    requests: int


class Disk:
    """The folder of a site, and its shadow: what would survive."""

    def __init__(self, folder: Path, shadow: Path) -> None:
        self.folder = folder
        self.shadow = shadow
        shadow.mkdir()
        names = []
        for file in folder.glob("pcc.db*"):
            inode = file.stat().st_ino
            shutil.copy(file, shadow / str(inode))
            names.append(f"{inode} {file.name}\n")  # as disk.c does
        (shadow / "names").write_text("".join(names))

    @contextmanager
    def without_syncs(self) -> Iterator[None]:
        """Make all processes that sync wait."""
        with (self.shadow / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def take_picture(self, picture: Path) -> None:
        """Copy both to a new folder, with syncing stopped for as long as that takes."""
        picture.mkdir()
        with self.without_syncs():
            (picture / "synced").mkdir()
            (picture / "written").mkdir()
            for line in (self.shadow / "names").read_text().splitlines():
                inode, name = line.split(" ", 1)
                if name in FILES:
                    self._copy(int(inode), name, picture)

    def _copy(self, inode: int, name: str, picture: Path) -> None:
        """Copy what is known by that name on disk; and what was written to it since."""
        kept = self.shadow / str(inode)
        synced = picture / "synced" / name
        if kept.exists():
            shutil.copy(kept, synced)
        else:
            synced.touch()
        try:
            with (self.folder / name).open("rb") as file:
                if os.fstat(file.fileno()).st_ino == inode:  # else: of that name by now
                    (picture / "written" / name).write_bytes(file.read())
        except FileNotFoundError:
            pass


def after_power_cut(picture: Path, kind: str, target: Path, choice: random.Random) -> None:
    """Make the files as a power cut may have left them."""
    for name in FILES:
        synced, written = picture / "synced" / name, picture / "written" / name
        old = synced.read_bytes() if synced.exists() else None
        new = written.read_bytes() if written.exists() else None
        if kind in ("some", "torn"):
            content = _mixed(old, new, 4096 if kind == "some" else 512, choice)
        else:
            keeps = kind == ("log" if name.endswith("-wal") else "database")
            content = new if keeps and new is not None else old
        if content is not None:
            (target / name).write_bytes(content)


def _mixed(old: bytes | None, new: bytes | None, size: int, choice: random.Random) -> bytes | None:
    if old is None or new is None:
        return old
    length = choice.choice([len(old), len(new)])
    mixed = bytearray(length)
    for start in range(0, length, size):
        # Where one of them has ended by then nothing can have been written over the other.
        there = [content for content in (old, new) if len(content) > start]
        piece = choice.choice(there)[start : start + size][: length - start]
        mixed[start : start + len(piece)] = piece
    return bytes(mixed)


def run(cuts: int, workers: int = 6, seed: int = 1, mails_per_process: int = 0) -> Cut:
    """Take so many pictures under load, and look at every disk made of them.

    With one worker and few `mails_per_process` write-ahead logs come and go all the time.
    """
    choice = random.Random(seed)
    promised = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "site").mkdir()
        site = Site(folder / "site", CONFIG)
        disk = Disk(site.folder, folder / "shadow")
        environment = on_failing_disk(site.folder, shadow=disk.shadow)

        def start() -> PolicyProcess:
            return site.policy(environment=environment)

        load = Load(start, workers, seed=seed, pause=0.01, mails_per_process=mails_per_process)
        try:
            load.start()
            for number in range(cuts):
                time.sleep(choice.uniform(0.02, 0.3))
                if number % 4 == 3:
                    load.kill_one(choice)
                known = list(load.asked)
                disk.take_picture(folder / "picture")
                promised += _look(site, folder, known, choice)
                shutil.rmtree(folder / "picture")
            load.stop()
        finally:
            site.close()
    return Cut(cuts, cuts * len(KINDS), promised, len(load.asked))


def answers_without_syncs(folder: Path) -> int:
    """Return how many of two processes answer an account's first mails before any is on disk.

    The second is asked when it can see what the first has recorded.
    """
    (folder / "site").mkdir()
    site = Site(folder / "site", CONFIG)
    disk = Disk(site.folder, folder / "shadow")
    environment = on_failing_disk(site.folder, shadow=disk.shadow)
    processes = [site.policy(environment=environment) for _ in range(2)]
    try:
        for process in processes:  # SQLite syncs the head of a new log itself
            assert is_pass(process.ask(sasl_username="ann@example.org"))
        with disk.without_syncs():
            for process in processes:
                process.send(request_text())
                time.sleep(0.5)
                assert site.mails()
            answered = select.select([process.socket for process in processes], [], [], 1)[0]
        assert all(is_pass(process.reply()) for process in processes)
    finally:
        site.close()
    return len(answered)


def _look(site: Site, folder: Path, known: list[Asked], choice: random.Random) -> int:
    """Hold every disk made of a picture against what had been answered before it was taken."""
    for kind in KINDS:
        place = Path(tempfile.mkdtemp(dir=folder))
        after_power_cut(folder / "picture", kind, place, choice)
        try:
            found = Recorded(place / "pcc.db")
        except sqlite3.DatabaseError as error:
            raise AssertionError(f"{kind}: {error}") from error
        assert found.soundness == "ok", f"{kind}: {found.soundness}"
        for entry in known:
            _check(kind, entry, found)
        shutil.rmtree(place)
    return sum(entry.action is not None for entry in known)


def _check(kind: str, entry: Asked, found: Recorded) -> None:
    if is_pass(entry.action):
        assert (entry.account, entry.address) in found.sightings, f"{kind}: lost sighting: {entry}"
        assert (entry.account, entry.country) in found.presences, f"{kind}: lost country: {entry}"
    elif is_refusal(entry.action):
        assert entry.account in found.open, f"{kind}: a lost block: {entry}"
