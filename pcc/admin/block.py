"""The command `block`: blocks an account by hand."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE
from pcc.admin.commands import add_command, add_reason, typed
from pcc.admin.incident import why_not_enforced
from pcc.admin.notify import send_at_once
from pcc.admin.output import local_time
from pcc.escaping import escaped
from pcc.rule import Rule
from pcc.store import blocks, incidents
from pcc.store.outbox import Wanted

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "block",
        block,
        "block an account by hand",
        "Its mail is answered with policy.action from now on, until it is unblocked, or as long\n"
        "as policy.block_for says.  notify.command is run if the block stops mail.  No notice is\n"
        "mailed.\n\n"
        "--json: blocked: a list with the account.",
    )
    parser.add_argument("account", type=typed, metavar="ACCOUNT")
    add_reason(parser)


def block(context: Context, options: argparse.Namespace) -> int:
    """Block an account by hand."""
    account = context.account(options.account)
    policy = context.config.policy_for(account)
    expires = blocks.end_of_block(context.database, account, policy, context.now)
    action = policy.action_word
    rule = Rule(policy, context.now, context.config.keep_sightings)
    question = context.whole_login(account)
    why = why_not_enforced(context, account)
    # The one who blocks needs no mail.
    channels = ("command",) if context.config.notify.command and not why else ()
    if not incidents.block(
        context.database,
        account,
        action,
        expires,
        context.by,
        options.reason,
        context.now,
        rule.marked,
        channels,
    ):
        context.complain(f"{account} is blocked already")
        return NOT_DONE
    maillog.open_log(context.config.log_name)
    maillog.block_by_hand(account, context.by, options.reason)
    context.output.data({"blocked": [account]})
    until = f" until {local_time(expires)}" if expires else ""
    context.output.say(f"{escaped(account)} is blocked{until}.")
    if why:
        context.complain(f"mail of {account} passes all the same: {why}")
    if question:
        context.complain(f"{account} was never seen sending: {question}")
    if channels:
        send_at_once(context, [Wanted(account)])
    return DONE
