"""The command `seen`: which accounts were seen from an address, a network or a country."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pcc.address import exempt_client
from pcc.admin import DONE, NOT_DONE, UsageError
from pcc.admin.commands import add_command, typed
from pcc.admin.output import Lines, Moment, Word, rfc3339
from pcc.config.iso3166 import MISTAKEN
from pcc.escaping import escaped
from pcc.store import incidents, seen
from pcc.wording import quantity

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.store.seen import Found

MOST = 100

DETAILS = """\
PLACE is an address, a range such as 192.0.2.0/24, an autonomous system such as AS64500, or a
country such as ES.  Shows the latest 100 sightings, the latest first, and which of their
accounts are blocked: who else has the thief got?  An IPv6 address stands for its /64.

Exit status 1 if nobody was seen from there."""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    summary = "list accounts that were seen from a place"
    parser = add_command(commands, "seen", list_seen, summary, DETAILS)
    parser.add_argument("place", type=typed, metavar="PLACE")


def list_seen(context: Context, options: argparse.Namespace) -> int:
    """List the accounts that were seen from a place."""
    found = _find(context, options.place)
    blocked = {
        row.account for row in incidents.open_incidents(context.database, "enforce", context.now)
    }
    context.output.data(
        [
            {
                **row._asdict(),
                "network": row.network or None,
                "first_seen": rfc3339(row.first_seen),
                "last_seen": rfc3339(row.last_seen),
                "blocked": row.account in blocked,
            }
            for row in found.rows
        ]
    )
    if not found.rows:
        context.complain(f"{escaped(options.place)}: nobody was seen from there")
        return NOT_DONE
    rows, narrow = [], []
    for row in found.rows:
        state = Word("BLOCKED" if row.account in blocked else "-")
        last = [Moment(row.last_seen), row.mails]
        where = [row.address, row.country, row.network or "-"]
        rows.append([state, row.account, *where, Moment(row.first_seen), *last])
        narrow.append([state, row.account, Lines(where), *last])
    columns = ["STATE", "ACCOUNT", "ADDRESS", "COUNTRY", "NETWORK", "FIRST SEEN", "LAST SEEN"]
    context.output.table(
        [*columns, "MAILS"],
        rows,
        narrow=[("", (["STATE", "ACCOUNT", "FROM", "LAST SEEN", "MAILS"], narrow))],
    )
    if found.sightings > len(found.rows):
        all_of_them = quantity(found.accounts, "account")
        context.output.say(f"and {found.sightings - len(found.rows)} more, in all of {all_of_them}")
    return DONE


def _find(context: Context, place: str) -> Found:
    """Return the sightings at a place.  Raises UsageError for what is none."""
    code = place.strip().upper()
    if len(code) == 2 and code.isascii() and code.isalpha():
        if code in MISTAKEN:
            raise UsageError(f"PLACE must be an ISO 3166 code, here {MISTAKEN[code]}, got {code}")
        return seen.seen_in(context.database, code, MOST)
    try:
        client = exempt_client(place)
    except ValueError as error:
        if "host bits" in str(error):
            raise UsageError(f'PLACE {error}, got "{escaped(place)}"') from None
        client = ""
    if not isinstance(client, str):
        return seen.seen_within(context.database, client, MOST)
    if client.startswith("AS"):
        return seen.seen_by_system(context.database, client, MOST)
    raise UsageError(
        "PLACE must be an address, a range, an autonomous system or a country such as"
        f' 192.0.2.7, 192.0.2.0/24, AS64500 or ES, got "{escaped(place)}"'
    )
