"""The command `delete`: deletes single held mails, by their queue ids."""

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
        "delete",
        delete,
        "delete single held mails",
        "A mail that has left the hold queue is not deleted.",
    )


def delete(context: Context, options: argparse.Namespace) -> int:
    """Delete held mails by their queue ids."""
    return deal_with_ids(context, options, "deleted")
