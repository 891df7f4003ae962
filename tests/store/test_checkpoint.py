"""A long write-ahead log is moved into the database beside the mail, by a child process."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from checkout import ROOT

from pcc.store import open_database
from pcc.store.engine import creation
from pcc.store.engine.sqlite import CHECKPOINT_BYTES

pytestmark = pytest.mark.subprocess

WRITES = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pcc.store import blocks, open_database
from pcc.store.engine.sqlite import CHECKPOINT_BYTES
database = open_database(sys.argv[1])
with database.turn("joe@example.org"):
    for number in range(CHECKPOINT_BYTES // 1_000_000 + 1):
        blocks.add_event(database, "joe@example.org", "x", "pcc", "x" * 1_000_000, number)
print("written", flush=True)
input()
begin = time.monotonic()
database.checkpoint_if_due(in_background=True)
print(time.monotonic() - begin, flush=True)
input()
"""


class Writer:
    """A process that has written a long log, which `move()` has it move."""

    def __init__(self, path: str) -> None:
        command = [sys.executable, "-c", WRITES, path]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._line() == "written"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def move(self) -> float:
        """Make the process move its log; return the seconds that this kept it."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return float(self._line())

    def children(self) -> list[int]:
        return children_of(self.process.pid)

    def end(self) -> None:
        self.process.communicate(b"\n", timeout=20)


def children_of(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "pcc.db"
    assert creation.create_or_upgrade(str(path)) == "created"
    return str(path)


def within(seconds: float, is_true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_true():
            return True
        time.sleep(0.02)
    return False


def log_length(path: str) -> int:
    return os.stat(f"{path}-wal").st_size


def test_log_is_emptied_while_the_process_goes_on(path: str) -> None:
    writer = Writer(path)
    writer.move()
    assert within(10, lambda: log_length(path) == 0)
    assert os.stat(path).st_size > CHECKPOINT_BYTES
    assert writer.process.poll() is None
    writer.end()


def test_writer_keeps_only_the_child_waiting(path: str) -> None:
    """And the child has nothing of the connection, or Postfix would wait for it to end."""
    writer = Writer(path)
    with open(f"{path}.lock") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        assert writer.move() < 1
        assert within(5, lambda: is_waiting(writer.children()))
        [child] = writer.children()
        descriptors = f"/proc/{child}/fd"
        assert {os.readlink(f"{descriptors}/{n}") for n in (1, 2)} == {os.devnull}
        assert os.readlink(f"{descriptors}/0") == f"{path}.checkpoint"
        files = [os.readlink(f"{descriptors}/{n}") for n in os.listdir(descriptors)]
        assert files.count(f"{path}.lock") == 1  # its own, not its parent's
    assert within(10, lambda: log_length(path) == 0)
    writer.end()


def test_process_that_ends_meanwhile_leaves_the_child_its_log(path: str) -> None:
    """Else the child would write what is in it over what others have written since."""
    writer = Writer(path)
    with open(f"{path}.lock") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        writer.move()
        assert within(5, lambda: is_waiting(writer.children()))
        writer.end()
        assert log_length(path) > CHECKPOINT_BYTES
    assert within(10, lambda: not os.path.exists(f"{path}-wal"))


def is_waiting(children: list[int]) -> bool:
    """Whether the one child waits for the turn."""
    if not children:
        return False
    waited_for = Path(f"/proc/{children[0]}/wchan").read_text()
    return "flock" in waited_for or "locks" in waited_for


def test_reader_that_stays_does_not_keep_writers_waiting(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM event").fetchall()
        writer = Writer(path)
        before = children_of(os.getpid())
        with closing(open_database(path)) as database:
            waited = 0.0
            for _ in range(100):
                database.checkpoint_if_due(in_background=True)
                time.sleep(0.01)
                begin = time.monotonic()
                with database.turn(""):
                    waited += time.monotonic() - begin
        writer.end()
    for child in set(children_of(os.getpid())) - set(before):  # which pause before the next attempt
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    assert waited < 0.3


def test_child_is_one_at_a_time(path: str) -> None:
    writer = Writer(path)
    with open(f"{path}.checkpoint", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer.move()
        assert writer.children() == []
        assert log_length(path) > CHECKPOINT_BYTES
        writer.end()
