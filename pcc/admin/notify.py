"""The command `notify`: sends what is in the outbox."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE, PARTLY
from pcc.admin.commands import add_command
from pcc.errors import PccError
from pcc.store import exemptions
from pcc.verdict.incident import notice_channels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.store.outbox import Wanted


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    notifying = add_command(
        commands,
        "notify",
        notify,
        "send the notices that are still in the outbox",
        "pcc sends each notice at once.  This command, from cron, sends again what failed.\n"
        "It also sends one notice of each exemption that ends within a day.\n\n"
        "A policy process starts it with --due.  Then a notice that failed often waits longer, at\n"
        "most an hour, and nothing is done while another such process is sending.",
    )
    notifying.add_argument(
        "--due", action="store_true", help="leave out notices that failed a short while ago"
    )


def send_at_once(context: Context, wanted: Iterable[Wanted]) -> None:
    """Send notices that were left just now, and say what failed: cron sends it again."""
    from pcc.notice.outbox import send_outbox  # expensive: the modules of mail and SMTP

    for one in wanted:
        for failure in send_outbox(context.config, context.database, one)[1]:
            context.complain(failure)


def notify(context: Context, options: argparse.Namespace) -> int:
    """Send what is in the outbox."""
    from pcc.notice.outbox import send_due, send_outbox

    try:
        if not options.due:
            channels = notice_channels(context.config)
            exemptions.leave_notices(context.database, channels, context.now)
        send = send_due if options.due else send_outbox
        sent, failures = send(context.config, context.database)
    except PccError as error:
        # A policy process has started this with nobody to read its stderr.
        maillog.open_log(context.config.log_name)
        maillog.error(f"notices wait in the outbox: {error}")
        raise
    context.output.data({"sent": sent, "failed": len(failures)})
    if context.output.is_terminal:  # cron need not mail what went well
        context.output.say(f"{sent} sent, {len(failures)} failed")
    for failure in failures:
        context.complain(failure)
    if not failures:
        return DONE
    return PARTLY if sent else NOT_DONE
