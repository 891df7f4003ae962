"""Measure pcc: every goal beside its floor, as a table; see README.md here.

The figures go to benchmarks/results/ as JSON; those of a full run also to benchmarks/last-run.json,
with its table beside it as .txt and its chart as .png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import monotonic

from benchmarks import chart, report
from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.installation import Installation, system_log
from benchmarks.load import BrokenPolicyError
from benchmarks.measurements import MEASUREMENTS, curve

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
LONG = ("servers",)
"""The measurements that a quick run leaves out unless they are named."""


def main() -> None:
    """Carry out the measurements that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="rougher, in a few minutes")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}")
    options = parser.parse_args()
    unknown = set(options.names) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    with system_log(), Installation() as installation:
        bench = Bench(installation, QUICK if options.quick else FULL)
        usual = [name for name in MEASUREMENTS if not (options.quick and name in LONG)]
        figures = measure(bench, options.names or usual)
        points = {} if options.names else curve(bench)
    print(report.text(figures))
    if not options.names:
        keep(figures, points, is_full=not options.quick)


def measure(bench: Bench, names: list[str]) -> list[report.Figure]:
    """Carry out these measurements; report one that breaks down as such."""
    figures: list[report.Figure] = []
    for name in names:
        begin = monotonic()
        try:
            figures += MEASUREMENTS[name](bench)
        except (BrokenPolicyError, ConnectionError) as error:
            figures.append(report.Figure(name, "", missing=f"NOT met: {error}"))
        print(f"{name}: {monotonic() - begin:.0f} s", file=sys.stderr)
    return figures


def keep(figures: list[report.Figure], points: chart.Curve, *, is_full: bool) -> None:
    """Keep the figures, and draw the chart of a full run."""
    kept = [RESULTS / ("full.json" if is_full else "quick.json")]
    if is_full:
        kept.append(HERE / "last-run.json")
        (HERE / "last-run.txt").write_text(f"{report.text(figures)}\n", encoding="utf-8")
        chart.draw(points, HERE / "last-run.png")
    for path in kept:
        report.save(path, figures, points)


main()
