"""How a command is described to argparse, the same way for all."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pcc.config import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.admin.context import Context

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    Run = Callable[[Context, Any], int]


def add_command(
    commands: Commands, name: str, run: Run, summary: str, details: str = ""
) -> argparse.ArgumentParser:
    """Add a command; `summary` is a line for the list, `details` more for its own help."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Without a default of its own, so that it can't undo what stood before the name.
    add_global_options(parser, argparse.SUPPRESS, json=argparse.SUPPRESS)
    parser.set_defaults(run=run)
    return parser


def add_global_options(
    parser: argparse.ArgumentParser, default_config: object, *, json: object
) -> None:
    """Add the options that may stand before and after a command's name."""
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


def duration(text: str) -> int:
    """Return the seconds of a Postfix time such as `7d`, for argparse."""
    from pcc.checks import duration_seconds

    try:
        seconds = duration_seconds(text)
    except ValueError:
        seconds = 0
    if not seconds:
        raise argparse.ArgumentTypeError(
            f'must be a time such as 7d (a number and one of s, m, h, d, w), got "{text}"'
        )
    return seconds


def add_reason(parser: argparse.ArgumentParser) -> None:
    """Add --reason, the same for all commands that have it."""
    parser.add_argument(
        "--reason",
        metavar="TEXT",
        default="",
        help="kept for administrators; what a client reads is policy.reason",
    )
