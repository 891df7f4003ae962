"""The command `release`: releases single held mails, by their queue ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc.admin.onhold import add_single_mails, deal_with_ids

if TYPE_CHECKING:
    import argparse

    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    add_single_mails(
        commands,
        "release",
        release,
        "release single held mails, and deliver them",
        "They go to the deferred queue, and Postfix delivers them at once.",
    )


def release(context: Context, options: argparse.Namespace) -> int:
    """Release held mails by their queue ids."""
    return deal_with_ids(context, options, "released")
