"""The command `list`: blocked accounts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pcc.admin import DONE
from pcc.admin.commands import add_command
from pcc.admin.incident import crossed, narrow_state, state
from pcc.admin.output import Lines, Moment, rfc3339
from pcc.store import incidents

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.store.incidents import IncidentRow


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
        "Shows since when and why each account is blocked, how many mails were held, and how many\n"
        "were stopped (TRIES, held ones included).\n\n" + _STATES,
    )
    parser.add_argument(
        "--observed",
        action="store_true",
        help="list accounts that would be blocked in enforce mode",
    )
    parser.add_argument("--history", action="store_true", help="also list blocks that have ended")


def list_accounts(context: Context, options: argparse.Namespace) -> int:
    """List open incidents, or all that are remembered."""
    mode = "observe" if options.observed else "enforce"
    if options.history:
        rows = incidents.all_incidents(context.database, mode)
    else:
        rows = incidents.open_incidents(context.database, mode, context.now)
    context.output.data([_incident_data(row, history=options.history) for row in rows])
    if rows:
        _show_incidents(context, rows)
    elif context.output.is_terminal:
        context.output.say("No account is blocked." if mode == "enforce" else "None is observed.")
    return DONE


def _show_incidents(context: Context, rows: list[IncidentRow]) -> None:
    columns = ["STATE", "ACCOUNT", "SINCE", "RULE", "COUNTRIES", "CLIENT ADDRESS", "ACTION"]
    columns += ["HELD", "TRIES", "EXPIRES"]
    lines = [_incident_line(context, row) for row in rows]
    fewer = ["STATE", "SINCE", "ACCOUNT AND RULE", "HELD", "TRIES"]
    shorter = [
        [narrow_state(line[0]), line[2], Lines((line[1], crossed(row))), *line[7:9]]
        for line, row in zip(lines, rows, strict=True)
    ]
    context.output.table(columns, lines, [("", (fewer, shorter))])
    account = rows[0].account if len(rows) == 1 else "ACCOUNT"
    context.output.hint("Where it was seen, and what happened:", context.command("show", account))


def _incident_data(row: IncidentRow, *, history: bool = False) -> dict[str, Any]:
    data = {
        "account": row.account,
        "since": rfc3339(row.began),
        "rule": row.rule,
        "countries": row.countries.split(",") if row.countries else [],
        "client_address": row.client_address or None,
        "action": row.action,
        "held": row.held,
        "tries": row.tries,
        "expires": rfc3339(row.expires),
    }
    return {**data, "ended": rfc3339(row.ended)} if history else data


def _incident_line(context: Context, row: IncidentRow) -> list[Any]:
    return [
        state(context, row),
        row.account,
        Moment(row.began),
        row.rule,
        row.countries,
        row.client_address,
        row.action,
        row.held,
        row.tries,
        Moment(row.expires) if row.expires else None,
    ]
