"""One mail and its answer, and what a process keeps of those it has answered.

A mail is asked about by several requests: one per recipient and stage, and
once more when Postfix got no answer.  `Answered` recognises them, so that a
mail counts once; `Counts` has those that wait to be counted.
"""

from __future__ import annotations

from time import time_ns

from pcc.store import repeats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.protocol import PolicyRequest
    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Sighting
    from pcc.verdict.case import Case
    from pcc.verdict.unsure import Unsure

    Mails = dict[tuple[str, str], tuple[int, float, str, str, str]]
    Tries = dict[int, tuple[int, float, str, str]]

DUNNO = "DUNNO"

REMEMBERED_MAILS = 128
"""Mails whose later requests (recipients, stages) a process recognises."""


class Mail:
    """One mail: what its request is about, and how its requests are recognised."""

    __slots__ = ("account", "case", "instance", "request")

    def __init__(self, case: Case, request: PolicyRequest) -> None:
        self.case = case
        self.account = case.account
        self.request = request
        # A request without an instance is taken for a mail of its own.
        self.instance = request.instance or f"none.{time_ns()}"

    def is_latest(self, sighting: Sighting | None) -> bool:
        """Whether it is the latest mail of the sighting: Postfix's retry, say."""
        return sighting is not None and sighting.instance == self.instance


class Verdict:
    """The answer to a request, and what is to be done after it was given.

    `events`: calls of pcc.maillog.  `notify`: whether a notice is waiting.
    """

    __slots__ = ("action", "events", "notify")

    def __init__(self, action: str) -> None:
        self.action = action
        self.events: tuple[tuple[Callable[..., None], tuple[object, ...]], ...] = ()
        self.notify = False

    def then(self, event: Callable[..., None], *arguments: object) -> Verdict:
        """Add an event to be logged after the reply."""
        self.events = (*self.events, (event, arguments))
        return self


PASSED = Verdict(DUNNO)
"""Nothing is to be done after it."""


class Answered:
    """The latest mails that were answered, and how: (action, queue id) of each."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], tuple[str, str]] = {}

    def remember(self, account: str, instance: str, answer: tuple[str, str]) -> None:
        """Note the answer to a mail: action and queue id."""
        answers = self._answers
        if len(answers) >= REMEMBERED_MAILS:
            del answers[next(iter(answers))]
        answers[(instance, account)] = answer

    def answer(self, account: str, instance: str) -> tuple[str, str]:
        """Return how an earlier request about the mail was answered, ("", "") if none was."""
        return self._answers.get((instance, account), ("", ""))


class Counts:
    """Mails and tries that were answered and wait to be counted.

    By account and address, and by incident: how many, when the last was sent,
    its instance; of mails also its client name and country.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._mails: Mails = {}
        self._tries: Tries = {}
        self._unsure: Unsure | None = None
        self._written: tuple[Mails, Tries] | None = None  # in a transaction that may be committed

    def add_mail(
        self,
        account: str,
        address: str,
        country: str,
        instance: str,
        client_name: str,
        now: float,
    ) -> None:
        """Count a mail from an address and country that count already."""
        key = (account, address)
        before = self._mails.get(key)
        self._mails[key] = (before[0] + 1 if before else 1, now, instance, client_name, country)
        self.waiting += 1

    def add_try(self, incident: int, account: str, instance: str, now: float) -> None:
        """Count a mail that was refused because of an incident."""
        before = self._tries.get(incident)
        self._tries[incident] = (before[0] + 1 if before else 1, now, instance, account)
        self.waiting += 1

    def accounts(self) -> set[str]:
        """Return the accounts whose mails and tries wait."""
        of_mails = [account for account, _ in self._mails]
        unsure = self._unsure.accounts() if self._unsure else ()
        return {*of_mails, *[account for *_, account in self._tries.values()], *unsure}

    def write(self, database: Database) -> None:
        """Write all to the database, in the turn of its accounts.

        `clear()` once it is committed, `keep()` where that failed.
        """
        self._written = None
        mails, tries = self._mails, self._tries
        if self._unsure is not None:
            mails, tries = self._unsure.and_more(database, mails, tries)
        if mails:
            rows = sorted(mails.items())  # in the order of the keys, which is the disk's
            repeats.count(
                database,
                [(*counted[:4], *key) for key, counted in rows],
                [(*counted[:2], key[0], counted[4]) for key, counted in rows],
            )
        if tries:
            _write_tries(database, tries)
        self._written = mails, tries

    def clear(self) -> None:
        """Forget all: it was committed."""
        self.waiting = 0
        self._mails.clear()
        self._tries.clear()
        self._unsure = self._written = None

    def keep(self) -> None:
        """Write all another time, but for what turns out to have been committed all the same."""
        if self._written is None:  # it did not come to that
            return
        from pcc.verdict.unsure import Unsure

        self._unsure, self._written = Unsure(*self._written), None
        self._mails, self._tries = {}, {}


def _write_tries(database: Database, counted: Tries) -> None:
    from pcc.store import blocks  # which few processes need

    for incident, (tries, now, instance, _) in counted.items():
        blocks.count_tries(database, incident, tries, now, instance)
