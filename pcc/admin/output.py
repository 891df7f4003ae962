"""What a command shows: tables for people, columns for pipes, JSON for programs.

On a terminal tables are drawn by rich, coloured by state (NO_COLOR is
honoured), with times relative to now.  In a pipe they are columns parted by two
blanks at least, with local times, no colours and no tabs.  Values that came
from outside are escaped in both.  JSON has times as RFC 3339 in UTC.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pcc.escaping import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE_COLUMNS = 110
"""Columns of a terminal that `list` needs for all that it knows."""

STYLES = {
    "BLOCKED": "bold red",
    "OBSERVED": "yellow",
    "FAIL": "bold red",
    "WARN": "yellow",
    "OK": "green",
    "held": "yellow",
    "released": "green",
    "deleted": "red",
    "expired": "dim",
    "lifted": "dim",
}
"""Words that stand for a state, and the colour that makes them seen."""


class Moment(int):
    """UTC seconds that are to be shown as a time."""


class Output:
    """Prints the result of one command."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking at stdout."""
        return sys.stdout.isatty()

    @property
    def is_narrow(self) -> bool:
        """Whether a person is looking at a terminal too narrow for a wide table."""
        return self.is_terminal and shutil.get_terminal_size().columns < WIDE_COLUMNS

    def title(self, text: str) -> None:
        """Print a heading that came from outside."""
        self.say(escaped(text))

    def say(self, text: str) -> None:
        """Print a line for people; nothing with --json."""
        if not self.json:
            print(text)

    def data(self, value: Any) -> None:
        """Print the result for programs; nothing without --json."""
        if self.json:
            print(json.dumps(value, ensure_ascii=False, indent=2))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print rows for people; nothing with --json."""
        if self.json:
            return
        if self.is_terminal:
            self._draw(columns, rows)
        else:
            self._print_columns(columns, rows)

    def _draw(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for number, column in enumerate(columns):
            is_number = all(_is_count(row[number]) for row in rows)
            table.add_column(column, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*[Text(_shown(v, relative=True), STYLES.get(str(v), "")) for v in row])
        Console(highlight=False).print(table)

    def _print_columns(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        lines = [list(columns), *[[_shown(value, relative=False) for value in row] for row in rows]]
        widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
        for line in lines:
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            print("  ".join(cells).rstrip())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, Moment)


def _shown(value: Any, *, relative: bool) -> str:
    if isinstance(value, Moment):
        return relative_time(value, time.time()) if relative else local_time(value)
    if value is None or value == "":
        return "-"
    return escaped(str(value))


def rfc3339(seconds: float | None) -> str | None:
    """Return UTC seconds as RFC 3339, None for none or 0."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_time(seconds: float) -> str:
    """Return UTC seconds as a local time for people."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def relative_time(seconds: float, now: float) -> str:
    """Return UTC seconds as the distance from now: `5 min ago`, `in 3 h`."""
    distance = int(now - seconds)
    for unit, name in ((86400 * 2, "d"), (3600 * 2, "h"), (120, "min"), (0, "s")):
        if abs(distance) >= unit:
            step = {"d": 86400, "h": 3600, "min": 60, "s": 1}[name]
            amount = f"{abs(distance) // step} {name}"
            return f"{amount} ago" if distance >= 0 else f"in {amount}"
    return "now"
