"""The chart: throughput and p99 over the number of processes."""

from __future__ import annotations

from pathlib import Path

Curve = dict[str, list[tuple[int, float, float]]]
"""For each policy: processes, verdicts per second, p99 in milliseconds."""

COLOURS = {"pcc": "#0b6e99", "null policy": "#999999"}


def draw(curve: Curve, path: Path) -> None:
    """Write the chart as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 6.5))
    for name, points in curve.items():
        processes, rates, p99 = zip(*points, strict=True)
        above.plot(processes, rates, marker="o", color=COLOURS[name], label=name)
        below.plot(processes, p99, marker="o", color=COLOURS[name], label=name)
        below.set_xticks(processes, [str(number) for number in processes])
    above.set(ylabel="verdicts per second", ylim=(0, None), title="Saturated policy processes")
    below.set(ylabel="p99, ms", xlabel="processes")
    below.set_xscale("log", base=2)
    below.set_xticks(processes, [str(number) for number in processes], minor=False)
    below.set_yscale("log")
    for part in (above, below):
        part.grid(visible=True, alpha=0.3)
        part.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
