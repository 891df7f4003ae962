"""Folds the log of counts into the sums: what each account's addresses, places and blocks have.

A process appends the mails that it has answered to the log, a group of them a row
(pcc/store/repeats.py).  That locks no account.  Every few seconds of traffic the log is folded, and
before each command of an administrator.

Folding has two steps.  A process of its own sorts the log: it replaces the groups by pieces, which
are rows of the log as well.  They are in the order of the accounts, and have one line for all mails
from a place.  Then each process that counts adds a piece to the sums.  So each place is written
once, in the order of the disk, and no verdict waits long.  A decision waits for neither step.
Where the log is late, it renews the times of its account by what the log has of it.

A mail is in the sums once, whatever happened.  Making pieces deletes their groups, and adding a
piece deletes that, in one transaction each.  `folded` has the highest number of each writer.  So a
group that is written again, because the answer to its COMMIT was lost, is dropped.  Another process
may have been asked about a mail again, as by Postfix's retry.  Both counts have the same instance
then, and one is dropped.

A mail also teaches its day, unless its account has an incident, or counts afresh since then.
"""

from __future__ import annotations

from pcc.history import DAY, joined_days
from pcc.store import blocks, repeats, upsert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pcc.store.engine.interface import Database
    from pcc.store.repeats import Count, Place

GROUPS = 400
"""Groups that are sorted at once, a hundred thousand mails at most."""

PLACES = 100
"""Lines of a piece."""

KEYS = 40
"""Places that one query asks for."""

SORTING_SECONDS = 2
"""How long others leave the log to the process that sorts it: it has no more time either."""

REMEMBERED_SECONDS = 3600
"""How long the numbers of a writer are kept after its last group: longer than any writes again."""

# From the writer on that has waited longest once round, and each one's groups by their numbers.
_OLDEST = (
    "SELECT writer, number, mails FROM counted WHERE writer > '' ORDER BY"
    " writer < (SELECT writer FROM counted WHERE writer > '' ORDER BY at LIMIT 1), writer, number"
    f" LIMIT {GROUPS}"
)
_PIECE = "SELECT number, mails FROM counted WHERE writer = '' ORDER BY number LIMIT 1"
_LAST_PIECE = "SELECT number FROM folded WHERE writer = ''"
_WRITE_FOLDED = upsert("folded", ("writer",), ("number", "at"))


def fold(database: Database, now: float) -> None:
    """Add all of the log to the sums.

    Mails that are newer than all that it had at first may stay: others go on counting.
    """
    newest = database.row("SELECT coalesce(max(at), 0) FROM counted") or ()
    while database.row("SELECT 1 FROM counted WHERE at <= ? LIMIT 1", newest):
        if not add_piece(database):
            sort(database, now)


def may_sort(database: Database, now: float) -> bool:
    """Return whether this process is to sort the log: no other one that asked this is at it."""
    statement = "UPDATE folded SET at = ? WHERE writer = '' AND (at < ? OR at > ?)"
    values = (now, now - SORTING_SECONDS, now + SORTING_SECONDS)
    is_ours = database.in_turn(lambda: database.write(statement, values)) > 0
    return is_ours or database.row(_LAST_PIECE) is None


def sort(database: Database, now: float) -> bool:
    """Replace groups of the log by pieces; return whether there were any."""
    before = database.row(_LAST_PIECE)
    groups = database.rows(_OLDEST)
    writers = sorted({(writer,) for writer, *_ in groups})
    latest = dict(_rows(database, "SELECT writer, number FROM folded WHERE", ("writer",), writers))
    lines: list[str] = []
    for writer, number, mails in groups:
        if number > latest.get(writer, 0):
            latest[writer] = number
            lines += mails.split("\n")
    counts = sorted(_merged(lines).items())
    last = before[0] if before else 0
    # The same for all: fold() leaves none of them because its own mails are later.
    at = min([count[0] for _, count in counts], default=now)
    pieces = []
    for start in range(0, len(counts), PLACES):
        piece = counts[start : start + PLACES]
        last += 1
        pieces.append(("", last, at, "\n".join([repeats.line(*one) for one in piece])))

    def replace() -> None:
        if database.row(_LAST_PIECE) != before:
            return  # another process has sorted meanwhile
        rows = list(latest.items())
        database.write_many("DELETE FROM counted WHERE writer = ? AND number <= ?", rows)
        database.write_many(repeats.APPEND, pieces)
        folded = [(writer, number, now) for writer, number in rows]
        database.write_many(_WRITE_FOLDED, [*folded, ("", last, 0)])
        old = now - REMEMBERED_SECONDS
        database.write_later("DELETE FROM folded WHERE at < ? AND writer <> ''", (old,))

    if groups:
        database.in_turn(replace, "")  # the turn of no account is that to sort
    return bool(groups)


def _merged(lines: list[str]) -> dict[Place, Count]:
    """Return all mails of groups, a line each, by their places."""
    found = [one for line in lines if (one := repeats.parsed(line))]
    found.sort(key=lambda one: one[1][0])
    counts: dict[Place, Count] = {}
    for place, count in found:
        if before := counts.get(place):
            _, last, mails, first_instance, instance, name = count
            mails += before[2] - (first_instance == before[4])
            count = (before[0], max(before[1], last), mails, before[3], instance, name)
        counts[place] = count
    return counts


def add_piece(database: Database) -> bool:
    """Add the first piece of the log to the sums, in the turn of its accounts, if there is one."""
    piece = database.row(_PIECE)
    if piece is None:
        return False
    number, lines = piece
    mails: dict[tuple[str, str], Count] = {}
    tries: dict[tuple[str, int], list[tuple[str, Count]]] = {}  # by account and incident
    for line in lines.split("\n"):
        if found := repeats.parsed(line):
            (account, address, incident), count = found
            if incident:
                tries.setdefault((account, int(incident)), []).append((address, count))
            else:
                mails[account, address] = count

    def add() -> None:
        key = ("", number)
        if not database.write("DELETE FROM counted WHERE writer = ? AND number = ?", key):
            return  # another process has added it meanwhile
        _add_mails(database, mails)
        for (account, incident_id), stopped in tries.items():
            _add_tries(database, account, incident_id, stopped)

    # With the turn to sort: otherwise hosts that follow would read all these accounts again.
    database.in_turn(add, "", *{account for account, _ in [*mails, *tries]})
    return True


def renew_times(database: Database, account: str, now: float) -> None:
    """Bring the times of an account up to date by its mails that have been in the log for long.

    These are not counted by that.
    """
    # A server sends no other groups.  In LIKE, "%" and "\\" mean something else.
    name = account.replace("%", "_").replace("\\", "_")
    query = "SELECT mails FROM counted WHERE at < ? AND mails LIKE ?"
    found = database.rows(query, (repeats.late(now), f"%{repeats.FIELD}{name}%"))
    counts = _merged([line for (lines,) in found for line in lines.split("\n")])
    times = {place: count[:2] for place, count in counts.items() if place[0] == account}

    def renew() -> None:
        for (_, address, incident), (first, last) in times.items():
            count = (first, last, 0, "", "", "")
            if incident:
                _add_tries(database, account, int(incident), [(address, count)])
            else:
                _add_mails(database, {(account, address): count})

    if times:
        database.in_turn(renew, account)


def _add_tries(
    database: Database, account: str, incident: int, stopped: list[tuple[str, Count]]
) -> None:
    query = "SELECT instance FROM incident WHERE account = ? AND id = ?"
    if row := database.row(query, (account, incident)):
        tries = [
            (address, mails - (mails > 0 and instance == row[0]), first, last)
            for address, (first, last, mails, instance, *_) in stopped
        ]
        latest = max([count for _, count in stopped], key=lambda count: count[1])
        blocks.count_tries(database, account, incident, tries, latest[4] or row[0])


def _add_mails(database: Database, mails: dict[tuple[str, str], Count]) -> None:
    """Add mails, by account and address, to their addresses, countries and networks."""
    sightings: list[tuple[Any, ...]] = []
    hours: list[tuple[Any, ...]] = []
    places: dict[tuple[str, ...], tuple[int, float]] = {}
    days_of: dict[tuple[str, ...], set[str]] = {}
    for row in _rows(
        database,
        "SELECT sighting.account, address, country, network, hour, days, CASE WHEN incident IS NULL"
        " AND sighting.generation = coalesce(account.generation, 0) THEN 1 ELSE 0 END,"
        " last_seen, instance, client_name"
        " FROM sighting LEFT JOIN account ON account.account = sighting.account WHERE",
        ("sighting.account", "address"),
        [*mails],
    ):
        account, address, country, network, hour, days, teaches, last_seen, *latest = row
        first, last, count, first_instance, *newest = mails[account, address]
        if count:  # otherwise only times are renewed
            count -= latest[0] in (first_instance, newest[0])  # or a decision has counted it
            latest = newest if last >= last_seen else latest
        last_seen = max(last_seen, last)
        kinds = (("country", country), ("network", network))
        names = [(account, kind, name) for kind, name in kinds if name]
        for key in names:
            before = places.get(key, (0, 0.0))
            places[key] = before[0] + count, max(before[1], last_seen)
        if teaches:
            seen_on = {str(int(at // DAY)) for at in (first, last)}
            if not seen_on.issubset(days.split()):
                days = joined_days(days, " ".join(seen_on))
                for key in names:
                    days_of.setdefault(key, set()).update(seen_on)
        if int(last_seen // 3600) != hour:
            hours.append((int(last_seen // 3600), account, address))
        sightings.append((count, last_seen, *latest, days, account, address))
    where = "WHERE account = ? AND address = ?"
    database.write_many(f"UPDATE sighting SET hour = ? {where}", hours)  # few: it is in an index
    database.write_many(
        "UPDATE sighting SET mails = mails + ?, last_seen = ?, instance = ?, client_name = ?,"
        f" days = ?, repeats_until = abs(repeats_until) {where}",
        sightings,
    )
    _add_to_places(database, places, days_of)


def _add_to_places(
    database: Database,
    places: dict[tuple[str, ...], tuple[int, float]],
    days_of: dict[tuple[str, ...], set[str]],
) -> None:
    """Add mails, and the days of some, to countries and networks: by account, kind and name."""
    database.write_many(
        "UPDATE place SET mails = mails + ?,"
        " last_seen = CASE WHEN last_seen < ? THEN ? ELSE last_seen END"
        " WHERE account = ? AND kind = ? AND name = ?",
        [(count, seen, seen, *key) for key, (count, seen) in places.items()],
    )
    found = _rows(
        database,
        "SELECT account, kind, name, days FROM place WHERE",
        ("account", "kind", "name"),
        [*days_of],
    )
    database.write_many(
        "UPDATE place SET days = ? WHERE account = ? AND kind = ? AND name = ?",
        [(joined_days(days, " ".join(days_of[tuple(key)])), *key) for *key, days in found],
    )


def _rows(
    database: Database, query: str, names: tuple[str, ...], keys: list[Any]
) -> list[tuple[Any, ...]]:
    """Return the rows with these keys; `names` are those of the key's columns."""
    one = f"({' AND '.join([f'{name} = ?' for name in names])})"
    rows = []
    for start in range(0, len(keys), KEYS):
        wanted = keys[start : start + KEYS]
        values = tuple([value for key in wanted for value in key])
        rows += database.rows(f"{query} {' OR '.join([one] * len(wanted))}", values)
    return rows
