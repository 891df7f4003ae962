"""A time limit ends whatever hangs, and the process where nothing else can."""

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import ROOT


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        ("time.sleep(60)", 0, "TimeoutError"),
        ("collections.deque(itertools.repeat(1), maxlen=0)", 1, "most recent call first"),
    ],
)
def test_time_limit_ends_the_work_or_the_process(work: str, status: int, said: str) -> None:
    script = f"""\
import collections, itertools, time
from pcc.host.timelimit import within
try:
    within(0.2, 0.8, lambda: {work})
except TimeoutError as error:
    print(repr(error))
time.sleep(1.2)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout
