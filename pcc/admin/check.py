"""The command `check`: the verdict that a mail would get now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pcc.address import packed_address
from pcc.admin import DONE, NOT_DONE, USAGE
from pcc.admin.commands import add_command, typed

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "check",
        check,
        "show the verdict that a mail would get now, and why",
        "Writes nothing.  Exit status 1 if the mail would be stopped; in observe mode none is.",
    )
    parser.add_argument("account", type=typed, metavar="ACCOUNT")
    parser.add_argument("address", metavar="ADDRESS", help="the client's IP address")
    parser.add_argument(
        "--client-name",
        type=typed,
        metavar="NAME",
        default="unknown",
        help="the client's verified host name",
    )


def check(context: Context, options: argparse.Namespace) -> int:
    """Show the verdict that a mail would get now."""
    from pcc.verdict.preview import preview

    account = context.account(options.account)
    if packed_address(options.address) is None and options.address != "unknown":
        context.complain(f"{options.address} is not an IP address")
        return USAGE
    seen = preview(
        context.config,
        context.database,
        account,
        options.address,
        options.client_name,
        context.now,
    )
    for problem in seen.problems:
        context.complain(problem)
    context.output.data(
        {
            "account": account,
            "client_address": options.address,
            "country": seen.country or None,
            "action": seen.action,
            "would_block": seen.stopped,
            "rule": seen.rule or None,
            "countries": seen.countries,
            "because": seen.because,
        }
    )
    context.output.facts(
        ["ACCOUNT", "CLIENT ADDRESS", "COUNTRY", "ACTION", "BECAUSE"],
        [account, options.address, seen.country, seen.action, seen.because],
    )
    return NOT_DONE if seen.stopped else DONE
