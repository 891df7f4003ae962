"""The command `list`: blocked accounts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pcc.admin import DONE, USAGE
from pcc.admin.commands import add_command
from pcc.admin.incident import crossed, narrow_state, state
from pcc.admin.output import Lines, Moment, rfc3339
from pcc.store import incidents

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.store.incidents import Ends, IncidentRow


_STATES = """\
STATE:
  BLOCKED       mail of the account is stopped
  not enforced  the block is there, but mail passes: the mode is observe, or the account is
                exempt or outside policy.domains
  OBSERVED      it would be blocked in enforce mode (--observed)
  expired       the block ended by itself (--history)
  lifted        an administrator ended the block (--history)"""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "list",
        list_accounts,
        "list blocked accounts",
        "Shows since when and why each account is blocked, how many mails were held, how many\n"
        "were stopped (TRIES, held ones included), and when the last one was.  With --history\n"
        "also when a block ended, by whom and why.\n\n"
        "--watch shows the blocks, where their mail goes on coming from, and what was decided\n"
        "last.  Those whose mail was stopped last are first.  It looks again every two seconds,\n"
        "and at any key.\n\n" + _STATES,
    )
    parser.add_argument(
        "--observed",
        action="store_true",
        help="list accounts that would be blocked in enforce mode",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--history", action="store_true", help="also list blocks that have ended")
    which.add_argument(
        "--watch",
        action="store_true",
        help="show them live on the terminal, until q or Ctrl-C",
    )


def list_accounts(context: Context, options: argparse.Namespace) -> int:
    """List open incidents, or all that are remembered."""
    mode = "observe" if options.observed else "enforce"
    if options.watch:
        return _watch(context, mode)
    if options.history:
        rows = incidents.all_incidents(context.database, mode)
        ends = incidents.ends(context.database)
    else:
        rows = incidents.open_incidents(context.database, mode, context.now)
        ends = None
    data: list[dict[str, Any]] = []
    for row in rows:
        data.append(
            {
                "account": row.account,
                "since": rfc3339(row.began),
                "rule": row.rule,
                "countries": row.countries.split(",") if row.countries else [],
                "client_address": row.client_address or None,
                "action": row.action,
                "held": row.held,
                "tries": row.tries,
                "last_try": rfc3339(row.last_try),
                "expires": rfc3339(row.expires),
            }
        )
        if ends is not None:
            end = ends.get((row.account, row.ended))
            data[-1] |= {
                "ended": rfc3339(row.ended),
                "lifted_by": end.by if end else None,
                "reason": end.detail if end else None,
            }
    context.output.data(data)
    if rows:
        _show_incidents(context, rows, ends)
    elif context.output.is_terminal:
        context.output.say("No account is blocked." if mode == "enforce" else "None is observed.")
    return DONE


def _watch(context: Context, mode: str) -> int:
    from rich.console import Console  # which no pipe needs

    console = Console(highlight=False)
    if context.output.json or not context.output.is_terminal or console.is_dumb_terminal:
        context.complain("--watch needs a terminal: leave it out in a pipe, and with --json")
        return USAGE
    from pcc.admin.watch import Watch

    Watch(context, mode).show(console)
    return DONE


def _show_incidents(context: Context, rows: list[IncidentRow], ends: Ends | None) -> None:
    columns = ["STATE", "ACCOUNT", "SINCE", "RULE", "COUNTRIES", "CLIENT ADDRESS", "ACTION"]
    columns += ["HELD", "TRIES", "LAST TRY", "EXPIRES"]
    fewer = ["STATE", "SINCE", "ACCOUNT AND RULE", "HELD", "TRIES"]
    lines: list[list[Any]] = []
    shorter: list[list[Any]] = []
    for row in rows:
        end = (ends or {}).get((row.account, row.ended))
        word = "expired" if end and end.what == "expired" else state(context, row)
        since = Moment(row.began)
        line = [word, row.account, since, row.rule, row.countries, row.client_address, row.action]
        line += [row.held, row.tries, Moment(row.last_try) if row.last_try else None]
        line += [Moment(row.expires) if row.expires else None]
        about = [row.account, crossed(row)]
        if ends is not None:
            line += [Moment(row.ended) if row.ended else None]
            line += [end.by, end.detail] if end else [None, None]
            about += [f"by {end.by}: {end.detail}".removesuffix(": ")] if end else []
        lines.append(line)
        shorter.append([narrow_state(word), since, Lines(about), row.held, row.tries])
    if ends is not None:
        columns += ["ENDED", "BY", "REASON"]
    context.output.table(columns, lines, [("", (fewer, shorter))])
    account = rows[0].account if len(rows) == 1 else "ACCOUNT"
    context.output.hint("Where it was seen, and what happened:", context.command("show", account))
