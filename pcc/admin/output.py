"""The output of a command: tables for people, columns for pipes, JSON for programs.

On a terminal tables are drawn by rich, coloured by state (NO_COLOR is honoured), with local times
and how long ago that is.  Where a table is too wide, times take two lines, and where that is not
enough the command's narrow form of it is drawn, if it has one.  In a pipe the columns of a table
stand two blanks or more apart, with local times, without colours and tabs.  Values that came from
outside are escaped in both.  JSON has times as RFC 3339 in UTC.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pcc import wording
from pcc.escaping import escaped, printable

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    Table = tuple[Sequence[str], Sequence[Sequence[Any]]]

LONGEST_UNFOLDED = 40
"""Characters of a cell beyond which it may well be folded, however wide the terminal is."""

_GAP = 2  # characters between columns

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
    "unsure": "yellow",
    "not enforced": "yellow",
}
"""Words that stand for a state, alone or before a colon, and the colour that makes them seen."""


class Moment(int):
    """UTC seconds that are to be shown as a time."""


class Word(str):
    """A word of our own: shown as it is, where one from outside would be escaped."""

    __slots__ = ()


class Bar(Word):
    """A word that is never folded."""

    __slots__ = ()


class Lines(tuple[Any, ...]):
    """Values that stand one below the other; only for the narrow form of a table."""

    __slots__ = ()


class Output:
    """Prints the result of one command."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking at stdout."""
        return sys.stdout.isatty()

    def title(self, text: str) -> None:
        """Print a heading that came from outside."""
        self.say(escaped(text))

    def heading(self, text: str, style: str = "bold") -> None:
        """Print a heading of ours, bold where a person is looking, and folded between words."""
        if self.is_terminal and not self.json:
            from rich.console import Console
            from rich.text import Text

            Console(highlight=False).print(Text(text, style))
        else:
            self.say(text)

    def bars(self, values: Sequence[int], width: int) -> list[str]:
        """Return a bar for each value, the longest of `width` characters; plain in a pipe."""
        most = max(values, default=0)
        sign = "█" if self.is_terminal else "#"
        return [sign * max(round(value * width / most), 1) if value else " " for value in values]

    def calendar(self, days: Container[int], last: int, count: int) -> Bar:
        """Return a sign for each of `count` days up to the last one; plain in a pipe."""
        on, off = ("█", "·") if self.is_terminal else ("#", ".")
        return Bar(
            "".join([on if day in days else off for day in range(last - count + 1, last + 1)])
        )

    def rest(self, count: int, one: str, many: str) -> None:
        """Tell a person that there are so many more than a table has, if there are any."""
        if count > 0:
            self.say(f"and {wording.quantity(count, f'more {one}', f'more {many}')}: see --all")

    def say(self, text: str) -> None:
        """Print a line for people; nothing with --json."""
        if not self.json:
            print(text)

    def paragraph(self, text: str) -> None:
        """Print text of ours below an empty line; on a terminal, folded between words."""
        self.say("")
        self.heading(text, "")

    def data(self, value: Any) -> None:
        """Print the result for programs; nothing without --json."""
        if self.json:
            print(json.dumps(value, ensure_ascii=False, indent=2))

    def hint(self, text: str, *commands: str) -> None:
        """Print what a person may do next, each command on a line of its own to be pasted."""
        if self.is_terminal:
            self.say(f"\n{text}")
            for command in commands:
                self.say(f"  {command}")

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        narrow: Sequence[tuple[str, Table]] = (),
    ) -> None:
        """Print rows for people; nothing with --json.

        `narrow`: tables with a heading each ("" for none) that a terminal gets which is too narrow.
        """
        if self.json:
            return
        if not self.is_terminal:
            lines = [list(columns), *[[_shown(value, "") for value in row] for row in rows]]
            widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
            for line in lines:
                cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
                print("  ".join(cells).rstrip())
            return
        from rich.console import Console

        console = Console(highlight=False)
        between = " " if _width(columns, rows, " ") <= console.width else "\n"
        if not narrow or _width(columns, rows, between) <= console.width:
            narrow = [("", (columns, rows))]
        for heading, part in narrow:
            console.print()
            if heading:
                console.print(escaped(heading), markup=False, style="bold")
            console.print(_drawn(*part, between))

    def facts(self, columns: Sequence[str], row: Sequence[Any]) -> None:
        """Print a table of one row; on a terminal, its cells one below the other."""
        if self.json or not self.is_terminal:
            self.table(columns, [row])
            return
        width = max(map(len, columns)) + _GAP
        for column, value in zip(columns, row, strict=True):
            print(f"{column:{width}}{_shown(value, ' ')}")

    def item(self, state: str, text: str, notes: Sequence[str]) -> None:
        """Print a line with a state, on a terminal, and below it notes, indented."""
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False)
        line = Text().append(f"{state:6}", STYLES.get(state, ""))
        console.print(line.append(printable(text), "bold" if notes else ""))
        for note in notes:
            for part in folded(printable(note), shutil.get_terminal_size().columns - 6):
                print(f"{'':6}{part}")


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[Any]], between: str) -> Any:
    """Return a table for rich."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, _GAP - 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    for number, column in enumerate(columns):
        values = [row[number] for row in rows]
        are_counts = all(
            isinstance(value, int) and not isinstance(value, Moment) for value in values
        )
        table.add_column(
            column,
            justify="right" if are_counts else "left",
            overflow="fold",
            no_wrap=all(value is None or isinstance(value, (int, Bar)) for value in values),
        )
    for row in rows:
        cells = []
        for value in row:
            state = str(value[0] if isinstance(value, Lines) else value).partition(":")[0]
            cells.append(Text(_shown(value, between), STYLES.get(state, "")))
        table.add_row(*cells)
    return table


def _width(columns: Sequence[str], rows: Sequence[Sequence[Any]], between: str) -> int:
    """Return how wide a terminal must be for a table that hardly folds anything."""
    from rich.cells import cell_len

    widths = [len(column) for column in columns]
    for row in rows:
        for number, value in enumerate(row):
            lines = _shown(value, between).split("\n")
            widths[number] = max(widths[number], *[cell_len(line) for line in lines])
    return sum(min(width, LONGEST_UNFOLDED) for width in widths) + _GAP * (len(widths) - 1)


def folded(text: str, width: int) -> list[str]:
    """Return `text` in lines of `width` columns, but commands in backticks whole, to be copied."""
    lines: list[str] = []
    for word in re.findall(r"`[^`]*`\S*|\S+", text):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _shown(value: Any, between: str) -> str:
    """Return a cell's text; `between` a time and how long ago it is, "" for the time alone."""
    if isinstance(value, Lines):
        return "\n".join(_shown(line, between) for line in value)
    if isinstance(value, Moment) and between:
        absolute = datetime.fromtimestamp(value).strftime("%Y-%m-%d %H:%M")
        relative = relative_time(value, time.time())
        return f"{absolute} ({relative})" if between == " " else f"{absolute}{between}{relative}"
    if isinstance(value, Moment):
        return local_time(value)
    if value is None or value == "":
        return "-"
    return value if isinstance(value, Word) else escaped(str(value))


def rfc3339(seconds: float | None) -> str | None:
    """Return UTC seconds as RFC 3339, None for none or 0."""
    return wording.rfc3339(seconds) if seconds else None


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
