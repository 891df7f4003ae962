"""Fuzz pcc, and print what was done: python -m fuzz [--scale N] [--seed N] [--guided SECONDS]."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from fuzz import conversation, generate, guided, parsing, showing, verdicts

STREAMS = 500_000
VERDICTS = 600_000
CONVERSED = 40_000
STRINGS = 200_000


def main() -> None:
    """Run every part, and print a table."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--scale", type=float, default=1, help="times as much (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="what all is generated from")
    parser.add_argument("--guided", type=int, default=60, help="seconds for atheris (default 60)")
    options = parser.parse_args()
    scaled: Callable[[int], int] = lambda number: max(1, int(number * options.scale))  # noqa: E731
    seed = options.seed
    total = 0

    done: Any = _timed("streams parsed, whole and in pieces", parsing.run, scaled(STREAMS), seed)
    print(f"  {done.requests} requests in them; {done.malformed} streams malformed", flush=True)
    total += done.streams
    done = _timed("verdicts on a real SQLite file", verdicts.run, scaled(VERDICTS), seed)
    print(f"  {done.refused} refused, {done.accounts} accounts, {done.unblocked} unblocked")
    total += done.requests
    done = _timed("requests through real processes", conversation.run, scaled(CONVERSED), seed)
    print(f"  {done.processes} processes, {done.disconnected} disconnected without a reply")
    total += done.requests
    done = _timed("hostile strings escaped", showing.run, scaled(STRINGS), seed)
    print(f"  {done.accounts} hostile accounts blocked, {done.notices} notices read")
    if guided.missing():
        print(f"SKIPPED: fuzzing guided by coverage: {guided.missing()}")
    elif options.guided:
        tried = guided.run(options.guided)
        print(f"{tried:>9,} inputs guided by coverage, {tried / options.guided:,.0f}/s")
        total += tried
    print(f"{total:>9,} requests and fragments, seed {seed}: no crash, no hang, no wrong verdict,")
    print(f"{'':9} no byte but replies ({len(generate.HOSTILE)} hostile strings among them)")


def _timed(what: str, run: Callable[[int, int], Any], count: int, seed: int) -> Any:
    begin = time.monotonic()
    done = run(count, seed)
    print(f"{count:>9,} {what}, {count / (time.monotonic() - begin):,.0f}/s", flush=True)
    return done


main()
