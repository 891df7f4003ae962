"""The live view of `list --watch`: blocks, where their mail goes on coming from, the latest events.

It has the terminal's other screen for itself, as less(1) has, and gives it back however it ends.
Each look reads the database by single statements, so that no policy process ever waits for it.  A
database that can't be read for a while is a line in the view.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING, Any

from pcc.address import packed_address
from pcc.admin.attempts import STILL_SECONDS
from pcc.admin.incident import crossed, state
from pcc.admin.output import STYLES, relative_time
from pcc.errors import StoreError
from pcc.escaping import escaped
from pcc.places.lookup import Lookup
from pcc.store import incidents, sums
from pcc.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from rich.console import Console, RenderableType

    from pcc.admin.context import Context

REFRESH_SECONDS = 2

MOST_ROWS = 200
"""Rows that a table may have, however high the terminal is."""

FOLDING = ("STATE", "ACCOUNT", "RULE", "DETAIL")
"""Columns that are cut off where the terminal is narrow; all others stay whole."""

NARROW = 72
"""Columns of a terminal below which BESIDE are left out: those of a telephone, say."""

BESIDE = ("SINCE", "RULE", "COUNTRY", "NETWORK", "MAILS", "BY", "DETAIL")


class Watch:
    """The view of the accounts of a mode, "enforce" or "observe"."""

    def __init__(self, context: Context, mode: str) -> None:
        self._context = context
        self._mode = mode
        config = context.config
        files = config.country_database, config.networks_database
        problems: list[str] = []  # they only leave a column empty
        self._lookup = Lookup(*files, "", problems.append)

    def show(self, console: Console) -> None:
        """Show the view until a person types q or Ctrl-C.

        Raises StoreError where the database can't be read at first, SystemExit at a signal.
        """
        from rich.live import Live

        live = Live(self._view(console), console=console, screen=True, auto_refresh=False)
        with (
            contextlib.suppress(KeyboardInterrupt),
            _signals_as_exit(),
            _keys() as keys,
            contextlib.ExitStack() as stack,
        ):
            stack.callback(live.stop)  # not as its own context: a signal may come as it starts
            live.start(refresh=True)
            while not _is_end(keys, REFRESH_SECONDS):
                try:
                    view = self._view(console)
                except StoreError as error:
                    view = _table(f"The database can't be read: {error}", console.width)
                live.update(view, refresh=True)

    def _view(self, console: Console) -> RenderableType:
        """Read the database; return what there is to see."""
        from rich.console import Group
        from rich.text import Text

        context, database = self._context, self._context.database
        now = context.now = time.time()
        database.check_in_place()
        if not database.read_only:
            with contextlib.suppress(StoreError):  # what can be read is worth showing
                sums.fold(database, now)
        rows = incidents.open_incidents(database, self._mode, now)
        rows.sort(key=lambda row: row.last_try or row.began, reverse=True)
        attempts = incidents.latest_attempts(database, self._mode, MOST_ROWS)
        events = incidents.latest_events(database, MOST_ROWS)
        # Three tables, each with a title, a header of two lines and a blank line; and a last line.
        width, room = console.width, console.height - 13
        most_rows = max(room // 2, room - len(attempts) - len(events), 1)
        most_attempts = max((room - min(len(rows), most_rows)) // 2, 1)
        parts = [self._blocks(rows, most_rows, now, width)]
        if attempts:
            parts.append(self._attempts(attempts[:most_attempts], now, width))
        used = min(len(rows), most_rows) + min(len(attempts), most_attempts)
        parts.append(_events(events[: max(room - used, 1)], now, width))
        clock = time.strftime("%H:%M:%S %Z", time.localtime(now))
        return Group(*parts, Text(f"{clock}  q or Ctrl-C ends", "dim", no_wrap=True))

    def _blocks(
        self, rows: Sequence[incidents.IncidentRow], most: int, now: float, width: int
    ) -> RenderableType:
        what = "is blocked" if self._mode == "enforce" else "is observed"
        title = f"{quantity(len(rows), 'account')} {what if len(rows) == 1 else 'are' + what[2:]}"
        if trying := sum(now - (row.last_try or 0) <= STILL_SECONDS for row in rows):
            title += f"; mail of {trying} was stopped within the last hour"
        if len(rows) > most:
            title += f"; the latest {most}"
        lines = [
            [
                state(self._context, row),
                row.account,
                relative_time(row.began, now),
                crossed(row),
                row.held,
                row.tries,
                relative_time(row.last_try, now) if row.last_try else "-",
            ]
            for row in rows[:most]
        ]
        columns = ["STATE", "ACCOUNT", "SINCE", "RULE", "HELD", "TRIES", "LAST TRY"]
        return _table(title, width, columns, lines)

    def _attempts(
        self, rows: Sequence[tuple[str, incidents.AttemptRow]], now: float, width: int
    ) -> RenderableType:
        lines: list[list[Any]] = []
        for account, row in rows:
            packed = packed_address(row.address.removesuffix("/64"))
            country = self._lookup.country(packed) if packed else ""
            network = self._lookup.network(packed) if packed else ""
            last = relative_time(row.last_try, now)
            lines.append([account, row.address, country, network, row.mails, last])
        columns = ["ACCOUNT", "STOPPED FROM", "COUNTRY", "NETWORK", "MAILS", "LAST TRY"]
        return _table("Mail that was stopped", width, columns, lines)


def _events(
    rows: Sequence[tuple[str, incidents.EventRow]], now: float, width: int
) -> RenderableType:
    lines = [
        [relative_time(row.at, now), row.what, account, row.by, row.detail] for account, row in rows
    ]
    columns = ["WHEN", "WHAT", "ACCOUNT", "BY", "DETAIL"]
    return _table("Decided last", width, columns, lines)


def _table(
    title: str, width: int, columns: Sequence[str] = (), lines: Sequence[Sequence[Any]] = ()
) -> RenderableType:
    """Return a title, and below it a table with one line of a terminal so wide for each row."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    heading = Text(escaped(title), "bold", no_wrap=True, overflow="ellipsis")
    if not lines:
        return Group(heading, Text())
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    shown = [number for number, name in enumerate(columns) if width >= NARROW or name not in BESIDE]
    for number in shown:
        column = columns[number]
        table.add_column(
            column,
            justify="right" if isinstance(lines[0][number], int) else "left",
            no_wrap=column not in FOLDING,
        )
    for line in lines:
        texts = [escaped(str(line[number])) or "-" for number in shown]
        styles = [STYLES.get(text.partition(":")[0], "") for text in texts]
        cells = zip(texts, styles, strict=True)
        table.add_row(*[Text(*cell, no_wrap=True, overflow="ellipsis") for cell in cells])
    return Group(heading, table, Text())


def _is_end(keys: int | None, seconds: float) -> bool:
    """Wait for a key; return whether it ends the view.  Any other key ends the waiting."""
    if keys is None:
        time.sleep(seconds)
        return False
    if not select.select([keys], [], [], seconds)[0]:
        return False
    typed = os.read(keys, 64)
    # An arrow key, say, sends several characters.
    return not typed or (not typed.startswith(b"\x1b") and b"q" in typed.lower())


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """Give the terminal whose keys come one by one and unseen, None where stdin is none."""
    if not sys.stdin.isatty():
        yield None
        return
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    try:
        tty.setcbreak(keys)
        mode = termios.tcgetattr(keys)
        mode[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave the terminal as it is in the view
        termios.tcsetattr(keys, termios.TCSANOW, mode)
        yield keys
    finally:
        termios.tcsetattr(keys, termios.TCSAFLUSH, before)


@contextlib.contextmanager
def _signals_as_exit() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP end the program by SystemExit, which restores the terminal."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
