"""Many processes born at once, as after a restart of a busy server: their first verdicts."""

from __future__ import annotations

import statistics

from benchmarks.bench import MILLISECONDS, Bench
from benchmarks.installation import NULL_POLICY
from benchmarks.load import Argv, burst
from benchmarks.report import Figure, Goal, compared

SIZES = (128, 256)


def bursts(bench: Bench) -> list[Figure]:
    """First verdicts of 128 and of 256 processes, on SQLite, beside those of the null policy."""
    site = bench.populated_site()
    figures = []
    for size in SIZES:
        figures += burst_figures(bench, f"{size} processes at once", site.policy(), size)
    bench.installation.remove(site)
    return figures


def burst_figures(
    bench: Bench, name: str, argv: Argv, size: int, longest_median: float = 0
) -> list[Figure]:
    """Return what a burst gives: the median, the slowest, and how many got no answer.

    `longest_median`: the goal for the median in milliseconds, 0 for none.
    """
    mails = bench.mails(bench.mails_from_home())
    medians: dict[str, list[float]] = {"pcc": [], "null": []}
    slowest: list[float] = []
    unanswered = 0
    for _ in range(bench.scale.rounds):
        for kind, policy in (("null", NULL_POLICY), ("pcc", argv)):
            times = burst(policy, mails, size)
            medians[kind].append(statistics.median(times or [0]) * MILLISECONDS)
            if kind == "pcc":
                slowest.append(max(times, default=0) * MILLISECONDS)
                unanswered += size - len(times)
    goals = (Goal(longest_median, of_figure=True),) if longest_median else ()
    return [
        compared(
            f"first verdict, {name}", "ms", medians["pcc"], medians["null"], "null policy", *goals
        ),
        Figure("  the slowest", "ms", max(slowest), runs={"values": slowest}),
        Figure("  without an answer", "", unanswered, goals=(Goal(0, of_figure=True),)),
    ]
