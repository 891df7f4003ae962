"""Figures and how they are shown: a table, JSON, and whether the goals are met."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Goal:
    """A bound that the ratio to the floor, or the figure itself, must keep."""

    bound: float
    at_least: bool = False
    of_figure: bool = False

    def is_met(self, figure: float, ratio: float | None) -> bool:
        """Whether the bound is kept."""
        value = figure if self.of_figure or ratio is None else ratio
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}{'' if self.of_figure else ' x'}"


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    `floor`: what it is compared with, called `beside`; None where there is nothing.  `goals`: none
    where it is only printed.  `missing`: why there is no figure.
    """

    what: str
    unit: str
    value: float | None = None
    floor: float | None = None
    beside: str = ""
    ratio: float | None = None
    goals: tuple[Goal, ...] = ()
    missing: str = ""
    runs: dict[str, list[float]] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Return "met", "NOT met", "" without a goal, or why there is no figure."""
        if self.value is None:
            return self.missing
        if not self.goals:
            return ""
        met = all(goal.is_met(self.value, self.ratio) for goal in self.goals)
        return "met" if met else "NOT met"


def compared(
    what: str,
    unit: str,
    values: Sequence[float],
    floors: Sequence[float],
    beside: str,
    *goals: Goal,
) -> Figure:
    """Return the medians of interleaved runs, and the median of the ratios of neighbours."""
    ratios = [value / floor for value, floor in zip(values, floors, strict=True)]
    return Figure(
        what,
        unit,
        statistics.median(values),
        statistics.median(floors),
        beside,
        statistics.median(ratios),
        goals,
        runs={"values": list(values), "floors": list(floors)},
    )


def measured(what: str, unit: str, values: Sequence[float], *goals: Goal) -> Figure:
    """Return the median of several runs, which is compared with nothing."""
    return Figure(what, unit, statistics.median(values), goals=goals, runs={"values": list(values)})


def machine() -> dict[str, str]:
    """Return what the figures were measured on; nothing that names it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{memory:.0f} GB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


HEADINGS = ("what", "figure", "unit", "beside", "floor", "ratio", "goal", "")
RIGHT = (1, 4, 5)


def text(figures: Sequence[Figure]) -> str:
    """Return what the figures were measured on, and their table."""
    lines = [f"{name}: {value}" for name, value in machine().items()]
    return "\n".join([*lines, "", table(figures)])


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as an aligned table."""
    lines = [HEADINGS, *[_cells(figure) for figure in figures]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.what,
        _rounded(figure.value),
        figure.unit,
        figure.beside,
        _rounded(figure.floor),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        ", ".join(map(str, figure.goals)),
        figure.verdict,
    )


def _rounded(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def save(
    path: Path, figures: Iterable[Figure], curve: dict[str, list[tuple[int, float, float]]]
) -> None:
    """Write figures, machine and the points of the chart as JSON."""
    content = {
        "machine": machine(),
        "figures": [
            {
                **asdict(figure),
                "goals": [str(goal) for goal in figure.goals],
                "verdict": figure.verdict,
                "runs": {name: [round(v, 4) for v in runs] for name, runs in figure.runs.items()},
            }
            for figure in figures
        ],
        "curve": curve,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
