"""Counts of which nobody knows whether they were written: the answer to COMMIT was lost.

All of them were, or none.  Each row that counts mails, of an address or of an
incident, has the instance of the latest: so the rows tell, unless mail that
came by another process has been counted in each of them since then.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pcc.store import repeats

if TYPE_CHECKING:
    from pcc.store.engine.interface import Database
    from pcc.verdict import Mails, Tries

MOST_LOOKS = 50
"""Rows that are looked at; one that was written is enough."""


class Unsure:
    """Counts as in pcc.verdict.Counts, of a transaction that may have been committed."""

    def __init__(self, mails: Mails, tries: Tries) -> None:
        self._mails = mails
        self._tries = tries

    def accounts(self) -> set[str]:
        """Return the accounts whose mails and tries these are."""
        of_mails = [account for account, _ in self._mails]
        return {*of_mails, *[account for *_, account in self._tries.values()]}

    def and_more(self, database: Database, mails: Mails, tries: Tries) -> tuple[Mails, Tries]:
        """Return what is to be written: these and more, or only that if these were, in a turn."""
        if self._were_written(database):
            return mails, tries
        joined, joined_tries = {**self._mails, **mails}, {**self._tries, **tries}
        for key in mails.keys() & self._mails.keys():
            joined[key] = (self._mails[key][0] + mails[key][0], *mails[key][1:])
        for incident in tries.keys() & self._tries.keys():
            more = tries[incident]
            joined_tries[incident] = (self._tries[incident][0] + more[0], *more[1:])
        return joined, joined_tries

    def _were_written(self, database: Database) -> bool:
        return any(
            repeats.latest_mail(database, *key) == counted[2]
            for key, counted in islice(self._mails.items(), MOST_LOOKS)
        ) or any(
            repeats.latest_try(database, incident) == counted[2]
            for incident, counted in islice(self._tries.items(), MOST_LOOKS)
        )
