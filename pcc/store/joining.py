"""Accounts that a configuration takes for one, joined in the database: joe+1@ and joe+2@ are joe@.

The rows become the sum of all, so that joining frees nobody.  A place that counted for one of them
goes on counting.  The strictest of their open incidents stays open, with the mail that any of them
has on hold.  An account of which the policy processes write meanwhile under its old name is joined
the next time.  An exemption of joe+1@ goes: it was not for joe@.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc.history import joined_days
from pcc.store import blocks, counters
from pcc.store.engine.creation import SCHEMA_FILE
from pcc.store.engine.definitions import tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.store.engine.interface import Database

    Row = dict[str, Any]

NAMES_IN_EVENT = 10
"""Names of joined accounts that their event has; the rest is only counted."""


class Joined(NamedTuple):
    """A joined account, the names that it had, and whether it is blocked now."""

    account: str
    names: list[str]
    blocked: bool


def join_accounts(
    database: Database, account_of: Callable[[str], str], by: str, now: float
) -> list[Joined]:
    """Join what is remembered of accounts that `account_of` says are another; return which."""
    names_of: dict[str, set[str]] = {}
    for table in ("place", "account", "incident", "event", "outbox"):
        for (name,) in database.rows(f"SELECT DISTINCT account FROM {table}"):
            account = account_of(name)
            if account not in ("", name):
                names_of.setdefault(account, set()).add(name)
    joined = []
    for account, names in sorted(names_of.items()):
        join = partial(_join, database, account, sorted(names), by, now)
        joined.append(database.in_turn(join, account, *names))
        database.checkpoint_if_due()
    database.sync()
    return joined


def drop_exemptions(
    database: Database, account_of: Callable[[str], str], by: str, now: float
) -> list[tuple[str, str]]:
    """Drop the exemptions of names that no mail counts for; return name and account of each."""
    rows = database.rows("SELECT value FROM exemption WHERE kind = 'account' ORDER BY value")
    dropped = [(name, account_of(name)) for (name,) in rows if account_of(name) != name]

    def drop() -> None:
        for name, account in dropped:
            database.write("DELETE FROM exemption WHERE kind = 'account' AND value = ?", (name,))
            blocks.add_event(database, account, "exemption removed", by, f"that of {name}", now)

    database.in_turn(drop)
    return dropped


def _join(database: Database, account: str, names: list[str], by: str, now: float) -> Joined:
    schema = {table.name: table for table in tables(SCHEMA_FILE.read_text(encoding="utf-8"))}
    columns = {
        name: [column.name for column in schema[name].columns]
        for name in ("account", "sighting", "place")
    }
    known: dict[str, list[Row]] = {
        table: [
            dict(zip(own, row, strict=True))
            for name in (account, *names)
            for row in database.rows(
                f"SELECT {', '.join(own)} FROM {table} WHERE account = ?", (name,)
            )
        ]
        for table, own in columns.items()
    }
    for row in known["account"]:
        if row["observed"]:  # a limit that only observes begins again with what all have
            blocks.close_incident(database, row["account"], row["observed"], now)
    generations = dict.fromkeys((account, *names), 0)
    generations.update({row["account"]: row["generation"] for row in known["account"]})
    # A new one if they differ, so that of each name counts what counted, and nothing that did not.
    generation = max(generations.values()) + (len(set(generations.values())) > 1)
    for row in (*known["sighting"], *known["place"]):
        if row["generation"] == generations[row["account"]]:
            row["generation"] = generation
    known["sighting"] = _sums(known["sighting"], ("address",))
    known["place"] = _sums(known["place"], ("kind", "name"))
    known["account"] = [_account(known["account"], generation)]
    _replace(database, account, names, known)
    blocked = _keep_strictest(database, account, now)
    more = f" and {len(names) - NAMES_IN_EVENT} more" if len(names) > NAMES_IN_EVENT else ""
    detail = ", ".join(names[:NAMES_IN_EVENT]) + more
    blocks.add_event(database, account, "joined", by, detail, now)
    return Joined(account, names, blocked)


def _replace(
    database: Database, account: str, names: list[str], known: dict[str, list[Row]]
) -> None:
    """Write the account's rows of some tables in place of those of all its names."""
    for name in names:
        for table in ("incident", "held", "attempt", "event", "outbox"):
            database.write(f"UPDATE {table} SET account = ? WHERE account = ?", (account, name))
    for table, rows in known.items():
        for name in (account, *names):
            database.write(f"DELETE FROM {table} WHERE account = ?", (name,))
        for row in rows:
            row["account"] = account
            marks = ", ".join("?" * len(row))
            statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
            database.write(statement, tuple(row.values()))


def _sums(rows: list[Row], key: tuple[str, ...]) -> list[Row]:
    """Return the rows with one for each key; what can't be summed is that of the latest mail."""
    sums: dict[tuple[str, ...], Row] = {}
    for row in sorted(rows, key=lambda row: float(row["last_seen"])):
        before = sums.get(tuple([row[name] for name in key]))
        if before is not None:
            if "mails_before" in row:  # how many mails don't count, and since when others do
                since = row["counts_since"] or row["first_seen"]
                since_before = before["counts_since"] or before["first_seen"]
                if row["generation"] == before["generation"]:
                    row["mails_before"] += before["mails_before"]
                    if row["counts_since"] or before["counts_since"]:
                        row["counts_since"] = min(since, since_before)
                elif row["generation"] > before["generation"]:
                    row["mails_before"] += before["mails"]
                    row["counts_since"] = since
                else:
                    row["mails_before"] = row["mails"] + before["mails_before"]
                    row["counts_since"] = since_before
            row["first_seen"] = min(row["first_seen"], before["first_seen"])
            row["generation"] = max(row["generation"], before["generation"])
            row["days"] = joined_days(row["days"], before["days"])
            row["mails"] += before["mails"]
        if "repeats_until" in row:
            row["repeats_until"] = 0  # the next mail from there is judged by all that is known
        sums[tuple([row[name] for name in key])] = row
    return list(sums.values())


def _account(rows: list[Row], generation: int) -> Row:
    """Return the row of an account that several were; its incident is found out later."""
    # Its networks are looked up again, by the next decision or by init.
    joined: Row = {"generation": generation, "incident": None, "observed": None, "networks_made": 0}
    for latest in ("turns", "changed"):
        joined[latest] = max([row[latest] for row in rows], default=0)
    for mails in ("hosting_mails", "foreign_mails"):
        moments = [moment for row in rows for moment in row[mails].split()]
        moments.sort(key=lambda moment: float(moment.partition(":")[0]), reverse=True)
        joined[mails] = " ".join(moments)
    return joined


def _keep_strictest(database: Database, account: str, now: float) -> bool:
    """Close all open incidents of an account but one; return whether that blocks it."""
    found = database.rows(
        "SELECT id, mode, expires, held, tries FROM incident WHERE account = ? AND ended IS NULL",
        (account,),
    )
    if not found:
        return False

    def strictness(row: tuple[Any, ...]) -> tuple[bool, float, int]:
        number, mode, expires, *_ = row
        return mode == "enforce", expires or float("inf"), -number

    kept, *others = sorted(found, key=strictness, reverse=True)
    for number, _, _, held, tries in others:
        blocks.close_incident(database, account, number, now)
        key = account, number
        database.write(
            "UPDATE held SET incident = ? WHERE account = ? AND incident = ?", (kept[0], *key)
        )
        for row in database.rows(
            "SELECT address, mails, first_try, last_try FROM attempt"
            " WHERE account = ? AND incident = ?",
            key,
        ):
            _add_attempts(database, account, number, kept[0], *row)
        database.write(
            "UPDATE incident SET held = held + ?, tries = tries + ? WHERE account = ? AND id = ?",
            (held, tries, account, kept[0]),
        )
        counters.add(database, {"stopped": -tries, "held": -held})  # both have them now
    database.write("UPDATE account SET incident = ? WHERE account = ?", (kept[0], account))
    return bool(kept[1] == "enforce")


def _add_attempts(
    database: Database,
    account: str,
    closed: int,
    kept: int,
    address: str,
    mails: int,
    first: float,
    last: float,
) -> None:
    """Make what came from an address while one incident was open part of another."""
    key = (account, kept, address)
    known = database.row(
        "SELECT first_try, last_try FROM attempt WHERE account = ? AND incident = ?"
        " AND address = ?",
        key,
    )
    if known is None:
        database.write(
            "UPDATE attempt SET incident = ? WHERE account = ? AND incident = ? AND address = ?",
            (kept, account, closed, address),
        )
        return
    database.write(
        "UPDATE attempt SET mails = mails + ?, first_try = ?, last_try = ?"
        " WHERE account = ? AND incident = ? AND address = ?",
        (mails, min(first, known[0]), max(last, known[1]), *key),
    )
    database.write(
        "DELETE FROM attempt WHERE account = ? AND incident = ? AND address = ?",
        (account, closed, address),
    )
