"""Brings what has changed on a shared server into a host's own file.

One query says what may be new, by what is true at one moment.  These are the accounts that
processes had their turn to decide about, all open incidents, and a sum over the exemptions.

A decision may commit after a younger one.  So turns of the last seconds are read again each time,
now and then those of two minutes, and their numbers say which are new.  Should a COMMIT take even
longer, that hides nothing but a place.  The next mail from there is decided on the server.  Blocks
and exemptions don't depend on any time.

A host has only the accounts that have sent mail since it began.  The rows of an account are
replaced as a whole where it is new here, or where its incident, its generation or the network
database is another one.  Otherwise only what was seen lately is brought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc.store import repeats, sightings, upkeep, upsert
from pcc.store.engine.creation import SCHEMA_FILE
from pcc.store.engine.definitions import tables

if TYPE_CHECKING:
    from typing import Any

    from pcc.store.engine.hostfile import HostFile
    from pcc.store.engine.interface import Database

    Rows = list[tuple[Any, ...]]

WINDOW_SECONDS = 5
WIDE_WINDOW_SECONDS = 120
"""So much later than others that were decided at once a turn may be seen.

The wide window is read again twice as often as it is over.
"""

ACCOUNTS = 100
"""Accounts that are brought in one transaction."""

GROUPS = 500
"""Groups of counted mails that are handed on in one transaction."""

_CHANGES = """
    SELECT 'account' AS what, account AS name, turns AS number, 0.0 AS total
        FROM account WHERE changed >= ?
    UNION ALL SELECT 'incident', account, id, 0.0 FROM incident WHERE ended IS NULL
    UNION ALL SELECT 'exemption', '', count(*), coalesce(sum(created + until), 0.0) FROM exemption
"""

_NEW = upsert("followed", ("server",), ("at", "mailed"))


class Following:
    """Keeps a host's file up to date with a server.  All methods raise StoreError."""

    def __init__(self, file: HostFile, server: Database) -> None:
        self._file = file
        self._server = server
        self._columns = {
            table.name: tuple([column.name for column in table.columns])
            for table in tables(SCHEMA_FILE.read_text(encoding="utf-8"))
        }
        self._turns: dict[str, int] = {}
        self._next_wide = 0.0
        self._exemptions: tuple[int, float] | None = None

    def catch_up(self, asked: set[tuple[str, str]], now: float) -> None:
        """Bring what has changed into the file, and stamp it with `now`, when this began.

        `asked`: account and recorded address of mails that the server was asked about.
        """
        since = self._file.stamp()
        if since < now - upkeep.KEPT_SECONDS:
            self._begin_anew()
            since = now
        is_wide = now >= self._next_wide
        since -= WIDE_WINDOW_SECONDS if is_wide else WINDOW_SECONDS
        turns: dict[str, int] = {}
        there: set[tuple[str, int]] = set()
        exemptions = (0, 0.0)
        for what, name, number, total in self._server.rows(_CHANGES, (since,)):
            if what == "account":
                turns[name] = number
            elif what == "incident":
                there.add((name, number))
            else:
                exemptions = number, float(total)
        changed = {name for name, turn in turns.items() if turn != self._turns.get(name)}
        changed.discard("")  # the turn to fold
        here = set(self._file.rows("SELECT account, id FROM incident WHERE ended IS NULL"))
        changed.update([name for name, _ in there ^ here])
        changed.update([account for account, _ in asked])
        names = sorted(changed)
        for start in range(0, len(names), ACCOUNTS):
            self._bring(names[start : start + ACCOUNTS], asked, since)
        if exemptions != self._exemptions:
            found = self._rows_of("exemption", "", ())
            with self._file:
                self._file.end_repeats()
                self._replace("exemption", "", (), found)
        with self._file:
            self._file.write(
                "UPDATE followed SET at = ? WHERE server = ?", (now, self._file.server)
            )
        # Only now: what was not brought is brought again.
        self._turns = turns if is_wide else {**self._turns, **turns}
        self._exemptions = exemptions
        if is_wide:
            self._next_wide = now + WIDE_WINDOW_SECONDS / 2

    def hand_on_counts(self) -> None:
        """Hand the mails that were counted here on to the server's log.

        Each group keeps its writer and number, by which the server takes it once.
        They go in portions, so that the file does not get old meanwhile.
        """
        if groups := self._file.rows(
            f"SELECT writer, number, at, mails FROM counted ORDER BY writer, number LIMIT {GROUPS}"
        ):
            repeats.append(self._server, groups)
            with self._file:
                self._file.write_many(
                    "DELETE FROM counted WHERE writer = ? AND number = ?",
                    [group[:2] for group in groups],
                )

    def _begin_anew(self) -> None:
        """Empty the file, apart from what is to be counted."""
        with self._file:
            self._file.end_repeats()
            for table in ("sighting", "place", "account", "incident", "exemption", "followed"):
                self._file.write(f"DELETE FROM {table}")
            self._file.write(_NEW, (self._file.server, 0, 0))

    def _bring(self, accounts: list[str], asked: set[tuple[str, str]], since: float) -> None:
        """Bring the rows of some accounts; of known ones the sightings since then, and asked."""
        is_one = f"account IN ({', '.join('?' * len(accounts))})"
        # First, so that the other rows are as new at least.
        rows = {"account": self._rows_of("account", is_one, accounts)}
        for table, more in (("place", ""), ("incident", " AND ended IS NULL")):
            rows[table] = self._rows_of(table, is_one + more, accounts)
        before = {self._name(row): self._state(row) for row in self._known(is_one, accounts)}
        now = {self._name(row): self._state(row) for row in rows["account"]}
        whole = [name for name in accounts if name not in before or before[name] != now.get(name)]
        some = f"account IN ({', '.join('?' * len(whole))})"
        seen = self._rows_of("sighting", some, whole) if whole else []
        known = sorted(set(accounts).difference(whole))
        lately: Rows = []
        if known:
            late = f"account IN ({', '.join('?' * len(known))}) AND hour >= ?"
            lately = self._rows_of("sighting", late, [*known, sightings.hour(since)])
        mails = [mail for mail in asked if mail[0] in known]
        if mails:
            is_one_of_them = " OR ".join(["(account = ? AND address = ?)"] * len(mails))
            lately += self._rows_of(
                "sighting", is_one_of_them, [word for mail in mails for word in mail]
            )
        with self._file:
            self._file.end_repeats(*accounts)
            for table, found in rows.items():
                self._replace(table, is_one, accounts, found)
            if whole:
                self._replace("sighting", some, whole, seen)
            statement = upsert("sighting", ("account", "address"), self._columns["sighting"][2:])
            self._file.write_many(statement, lately)

    def _known(self, condition: str, values: list[str]) -> Rows:
        columns = ", ".join(self._columns["account"])
        return self._file.rows(f"SELECT {columns} FROM account WHERE {condition}", tuple(values))

    def _name(self, row: tuple[Any, ...]) -> str:
        return str(row[self._columns["account"].index("account")])

    def _state(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what is different where all sightings may be."""
        names = self._columns["account"]
        return tuple(
            [row[names.index(name)] for name in ("generation", "incident", "networks_made")]
        )

    def _rows_of(self, table: str, condition: str, values: Any) -> Rows:
        """Return rows of the server.  All that it shows is on its disk: see store/repeats.py."""
        columns = ", ".join(self._columns[table]).replace("repeats_until", "abs(repeats_until)")
        where = f" WHERE {condition}" if condition else ""
        return self._server.rows(f"SELECT {columns} FROM {table}{where}", tuple(values))

    def _replace(self, table: str, condition: str, values: Any, rows: Rows) -> None:
        columns = self._columns[table]
        where = f" WHERE {condition}" if condition else ""
        self._file.write(f"DELETE FROM {table}{where}", tuple(values))
        marks = ", ".join("?" * len(columns))
        self._file.write_many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def mailed(file: HostFile) -> float:
    """Return when a mail went out that the server is away, 0 while it is not."""
    row = file.row("SELECT mailed FROM followed WHERE server = ?", (file.server,))
    return row[0] if row else 0.0


def set_mailed(file: HostFile, at: float) -> None:
    """Note when a mail goes out that the server is away, 0 for that it is back."""
    with file:
        file.write("UPDATE followed SET mailed = ? WHERE server = ?", (at, file.server))
