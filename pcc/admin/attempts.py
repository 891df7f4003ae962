"""Where the mail of a blocked account goes on coming from, as `show` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcc.address import packed_address
from pcc.admin.output import Lines, Moment, local_time, relative_time, rfc3339
from pcc.places.lookup import Lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.admin.context import Context
    from pcc.store.incidents import AttemptRow

STILL_SECONDS = 3600
"""A thief whose last mail is not older is still trying."""


class Attempts:
    """The mail that a block has stopped, by address, the latest first."""

    def __init__(self, context: Context, rows: Sequence[AttemptRow]) -> None:
        self._context = context
        self._rows = rows
        config = context.config
        lookup = Lookup(config.country_database, config.networks_database, "", context.complain)
        self._places: dict[str, tuple[str, str]] = {}
        for row in rows:
            packed = packed_address(row.address.removesuffix("/64"))
            if packed is not None:
                self._places[row.address] = lookup.country(packed), lookup.network(packed)

    def data(self) -> list[dict[str, Any]]:
        """Return the rows for `--json`."""
        return [
            {
                "address": row.address,
                "country": self._places[row.address][0] or None,
                "network": self._places[row.address][1] or None,
                "mails": row.mails,
                "first_try": rfc3339(row.first_try),
                "last_try": rfc3339(row.last_try),
            }
            for row in self._rows
        ]

    def say(self) -> None:
        """Tell a person whether the thief is still trying."""
        if not self._rows:
            return
        last, now = self._rows[0].last_try, self._context.now
        when = f"{local_time(last)}, {relative_time(last, now)}"
        still = "Still trying. " if now - last <= STILL_SECONDS else ""
        self._context.output.say(f"{still}Its last mail was stopped at {when}.")

    def show(self, most: int) -> None:
        """Show a person where that mail came from: the latest addresses, `most` of them."""
        if not self._rows:
            return
        output = self._context.output
        columns = ["COUNTRY", "STOPPED FROM", "NETWORK", "FIRST TRY", "LAST TRY", "MAILS"]
        lines = [
            [
                self._places[row.address][0],
                row.address,
                self._places[row.address][1],
                Moment(row.first_try),
                Moment(row.last_try),
                row.mails,
            ]
            for row in self._rows[:most]
        ]
        narrow = [[line[0], Lines(line[1:3]), *line[4:]] for line in lines]
        output.table(columns, lines, [("", ([*columns[:2], *columns[4:]], narrow))])
        output.rest(len(self._rows) - most, "address", "addresses")
