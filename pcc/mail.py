"""One mail and its answer, and what a process keeps of those it has answered.

A mail is asked about by several requests: one per recipient and stage, and
once more when Postfix got no answer.  `Answered` recognises them, so that a
mail counts once; `Counts` has those that wait to be counted.
"""

from __future__ import annotations

from time import time_ns

from pcc.store import sightings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.case import Case
    from pcc.protocol import PolicyRequest
    from pcc.store.interface import Database
    from pcc.store.sightings import Sighting

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
        self.events: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self.notify = False

    def then(self, event: Callable[..., None], *arguments: object) -> Verdict:
        """Add an event to be logged after the reply."""
        self.events.append((event, arguments))
        return self


class Answered:
    """The latest mails that were answered, and how: (action, queue id) of each."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], tuple[str, str]] = {}

    def remember(self, mail: Mail, action: str) -> None:
        """Note the answer to a mail."""
        answers = self._answers
        if len(answers) >= REMEMBERED_MAILS:
            del answers[next(iter(answers))]
        answers[(mail.instance, mail.account)] = (action, mail.request.queue_id)

    def answer(self, mail: Mail) -> tuple[str, str]:
        """Return how an earlier request about the mail was answered, ("", "") if none was."""
        return self._answers.get((mail.instance, mail.account), ("", ""))


class Counts:
    """Mails and tries that were answered and wait to be counted."""

    def __init__(self) -> None:
        self.waiting = 0
        self._mails: dict[tuple[str, str], tuple[int, float, Mail]] = {}
        self._tries: dict[int, tuple[int, float, Mail]] = {}

    def add_mail(self, mail: Mail, now: float) -> None:
        """Count a mail from an address and country that count already."""
        key = (mail.account, mail.case.address)
        mails = self._mails.get(key, (0, 0, mail))[0]
        self._mails[key] = (mails + 1, now, mail)
        self.waiting += 1

    def add_try(self, incident: int, mail: Mail, now: float) -> None:
        """Count a mail that was refused because of an incident."""
        tries = self._tries.get(incident, (0, 0, mail))[0]
        self._tries[incident] = (tries + 1, now, mail)
        self.waiting += 1

    def accounts(self) -> set[str]:
        """Return the accounts whose mails and tries wait."""
        return {mail.account for _, _, mail in (*self._mails.values(), *self._tries.values())}

    def write(self, database: Database) -> None:
        """Write all to the database, in the turn of its accounts; `clear()` after it."""
        for (account, address), (mails, now, mail) in self._mails.items():
            sightings.count_mails(
                database,
                account,
                address,
                mail.case.country,
                mails,
                now,
                mail.instance,
                mail.request.client_name,
            )
        if self._tries:
            self._write_tries(database)

    def _write_tries(self, database: Database) -> None:
        from pcc.store import blocks  # which few processes need

        for incident, (tries, now, mail) in self._tries.items():
            blocks.count_tries(database, incident, tries, now, mail.instance)

    def clear(self) -> None:
        """Forget all: it was committed."""
        self.waiting = 0
        self._mails.clear()
        self._tries.clear()
