"""How a command is described to argparse, the same way for all."""

from __future__ import annotations

import argparse
import re
import textwrap
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pcc.config import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.admin.context import Context

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    Run = Callable[[Context, Any], int]


_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", re.ASCII)

WIDEST_HELP = 94
"""Characters in a line of help, however wide the terminal is."""


class HelpFormatter(argparse.HelpFormatter):
    """Fills paragraphs, and keeps lists: indented lines, with a term and two blanks or without."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        width = min(width, WIDEST_HELP)
        blocks = []
        for block in text.split("\n\n"):
            items = help_items(block)
            for number, item in enumerate(items):
                column = text_column(item)
                if column >= 0:
                    items[number] = textwrap.fill(
                        item,
                        width,
                        subsequent_indent=" " * column,
                        break_long_words=False,
                        break_on_hyphens=False,
                    )
            blocks.append("\n".join(items))
        return "\n\n".join(blocks)


def help_items(block: str) -> list[str]:
    """Return the items of a block of a help text, a paragraph or a list, each on one line."""
    items: list[str] = []
    for line in block.splitlines():
        if items and len(line) - len(line.lstrip()) == text_column(items[-1]):
            items[-1] += f" {line.strip()}"
        else:
            items.append(line)
    return items


def text_column(item: str) -> int:
    """Return where the text of an item begins, -1 for a line that is to be kept: a command, say."""
    if not item.startswith(" "):
        return 0
    gap = re.match(r" +\S.*   +(?=\S)", item) or re.match(r" +\S.*?  +(?=\S)", item)
    return gap.end() if gap else -1


def add_command(
    commands: Commands, name: str, run: Run, summary: str, details: str = ""
) -> argparse.ArgumentParser:
    """Add a command; `summary` is a line for the list, `details` more for its own help."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}".strip(),
        formatter_class=HelpFormatter,
        add_help=False,
    )
    # Without a default of its own, so that it can't undo what stood before the name.
    add_global_options(parser, argparse.SUPPRESS, json=argparse.SUPPRESS)
    parser.set_defaults(run=run)
    return parser


def add_global_options(
    parser: argparse.ArgumentParser, default_config: object, *, json: object
) -> None:
    """Add the options that may stand before and after a command's name."""
    parser.add_argument("-h", "--help", action="help", help="show this help")
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=default_config,
        help=f"configuration (default: {DEFAULT_PATH})",
    )
    parser.add_argument(
        "--json", action="store_true", default=json, help="print data as JSON on stdout"
    )


def typed(text: str) -> str:
    """Return what was typed as a policy process reads the like, for argparse.

    A login may hold bytes that are no UTF-8; both write them out.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def duration(text: str) -> int:
    """Return the seconds of a Postfix time such as `7d`, for argparse."""
    from pcc.config.checks import duration_seconds

    try:
        seconds = duration_seconds(text)
    except ValueError:
        seconds = 0
    if not seconds:
        raise argparse.ArgumentTypeError(
            f'must be a time such as 7d (a number above 0 and one of s, m, h, d, w), got "{text}"'
        )
    return seconds


def moment(text: str, also: str = "") -> float:
    """Return the UTC seconds of a date or time, for argparse; a date ends with its day.

    `also`: what else would be taken, for the message.
    """
    try:
        if _DATE.fullmatch(text):
            return (datetime.fromisoformat(text) + timedelta(days=1)).timestamp()
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        pass  # a month 13, say, or the year 9999
    raise argparse.ArgumentTypeError(
        f'must be such as {also}2026-12-24, 2026-12-24T18:00 or 2026-12-24T18:00:00Z, got "{text}"'
    )


def since(text: str) -> float:
    """Return the UTC seconds of a time ago, a date (its beginning) or a time, for argparse."""
    if text[-1:] in "smhdw":
        return time.time() - duration(text)
    return moment(f"{text}T00:00" if _DATE.fullmatch(text) else text, "2h, ")


def add_reason(parser: argparse.ArgumentParser) -> None:
    """Add --reason, the same for all commands that have it."""
    parser.add_argument(
        "--reason",
        type=typed,
        metavar="TEXT",
        default="",
        help="kept for administrators; what a client reads is policy.reason",
    )


def add_mail_config(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the Postfix instance."""
    parser.add_argument(
        "--mail-config",
        metavar="DIR",
        default="",
        help="configuration directory of the Postfix instance (default: $MAIL_CONFIG,"
        " otherwise Postfix's own)",
    )
