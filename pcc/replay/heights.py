"""How high accounts got towards each limit, and which limit stops accounts that no other does."""

from __future__ import annotations

from collections import Counter
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from pcc.replay.judging import Replay

NAMED = 10
"""Accounts that are named, of those that got highest."""


class Heights(NamedTuple):
    """The most that ever counted towards limits of a kind, over all accounts.

    `honest`: the highest of those that do not look stolen.  `accounts`: who got highest.
    """

    key: str
    window: str
    familiar_after: int
    median: int
    p99: int
    p999: int
    highest: int
    honest: int
    accounts: list[tuple[str, int]]


def heights(replay: Replay, stolen: Collection[str]) -> list[Heights]:
    """Return the heights of each measure; `stolen`: accounts that look so."""
    found: dict[tuple[str, str, int], list[tuple[int, str]]] = {}
    for account in replay.accounts:
        for measure, height in zip(account.rules.measures, account.heights, strict=True):
            alike = (measure.key, measure.window_text, measure.familiar_after)
            found.setdefault(alike, []).append((height, account.name))
    rows = []
    for alike, reached in found.items():
        reached.sort(key=lambda pair: (pair[0], pair[1]))
        values = [height for height, _ in reached]
        median, p99, p999 = [values[ceil(len(values) * part) - 1] for part in (0.5, 0.99, 0.999)]
        honest = max((height for height, name in reached if name not in stolen), default=0)
        highest = sorted(reached, key=lambda pair: (-pair[0], pair[1]))[:NAMED]
        named = [(name, height) for height, name in highest if height]
        rows.append(Heights(*alike, median, p99, p999, values[-1], honest, named))
    return rows


class LimitStops(NamedTuple):
    """How many accounts a limit stops, and how many of them no other limit does."""

    rule: str
    accounts_blocked: int
    alone: int


def limit_stops(replay: Replay, number: int) -> list[LimitStops]:
    """Return what each limit does under a setting."""
    stopped: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for account in replay.accounts:
        measures = account.rules.measures
        limits = account.rules.order[number]
        rules = [f"{measures[n].key} {most} in {measures[n].window_text}" for n, most in limits]
        stopped.update(dict.fromkeys(rules, 0))
        crossed = [
            rule for rule, limit in zip(rules, limits, strict=True) if limit in account.crossed
        ]
        stopped.update(crossed)
        if len(crossed) == 1:
            alone.update(crossed)
    return [LimitStops(rule, count, alone[rule]) for rule, count in stopped.items()]
