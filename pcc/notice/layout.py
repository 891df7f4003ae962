"""Lines of a notice: filled, in columns, and the names and times in them.

Nothing but a command is wider than a terminal.  Logins and host names are
chosen by strangers: the callers of these functions escape them.
"""

from __future__ import annotations

import textwrap
import unicodedata
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pcc.escaping import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 78
"""The most columns of a line; a command alone may be longer, because it stays in one piece."""


def filled(text: str, indent: str = "", further: str | None = None) -> str:
    """Return a sentence in lines of WIDTH columns, the further ones with another indent."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if further is None else further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def listed(facts: list[tuple[str, str]]) -> str:
    """Return names and values, the values below one another."""
    width = max(len(name) for name, _ in facts) + 2
    return "\n".join(
        [filled(f"{name + ':':{width}}{value}", "", " " * width) for name, value in facts]
    )


def columns(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells as lines of text, the cells below one another."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["  ".join(row).rstrip() for row in rows]


def plain(name: str) -> str:
    """Return a name that a database gives, without accents if that makes it ASCII.

    A mail in ASCII can be read, and its commands pasted, even as it lies in a mailbox.
    """
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    letters = [c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)]
    return escaped(bare if len(bare) == len(letters) else name)


def cut(text: str, most: int) -> str:
    """Return the beginning of a text, with dots where it was longer."""
    return text if len(text) <= most else text[: most - 3] + "..."


def tail(text: str, most: int) -> str:
    """Return the end of a host name, which shows whose it is."""
    return text if len(text) <= most else "..." + text[3 - most :]


def moment(seconds: float) -> str:
    """Return a time for people: local, and in UTC where that differs."""
    local = datetime.fromtimestamp(seconds).astimezone()
    text = local.strftime("%Y-%m-%d %H:%M:%S %Z")
    if not local.utcoffset():
        return text
    return f"{text} ({local.astimezone(timezone.utc):%H:%M:%S} UTC)"


def short_time(seconds: float) -> str:
    """Return a local time without its year."""
    return datetime.fromtimestamp(seconds).strftime("%m-%d %H:%M")


def day(seconds: float) -> str:
    """Return a local day."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d")
