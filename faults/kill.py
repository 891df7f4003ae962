"""Policy processes that end without a warning at random instants, under load."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from checkout import Site

from faults.ledger import CONFIG, Figures, Load, Recorded, compare


class Killed(NamedTuple):
    """The measurements of a run."""

    kills: int
    figures: Figures


def run(seconds: float, workers: int = 12, seed: int = 1, *, gently: bool = True) -> Killed:
    """Kill processes for `seconds`; raise AssertionError if anything is wrong afterwards.

    `gently`: those that are left at the end are not killed as well.
    """
    choice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), CONFIG)
        try:
            load = Load(site.policy, workers, seed=seed)
            load.start()
            kills = 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                # Few enough that processes get to work, whose start takes the longest.
                time.sleep(choice.expovariate(20))
                kills += load.kill_one(choice)
            load.stop(gently=gently)
            return Killed(kills, compare(load.asked, load.ended, Recorded(site.database)))
        finally:
            site.close()
