"""The answer to a mail, and what a process keeps of the mails that it has answered.

A mail is asked about by several requests: one per recipient and stage, and
once more when Postfix got no answer.  `Answered` recognises them, so that a
mail counts once; `Counts` has those that wait to be counted.
"""

from __future__ import annotations

import posix

from pcc.store import repeats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.store.engine.interface import Database
    from pcc.store.repeats import Place

DUNNO = "DUNNO"

REMEMBERED_MAILS = 128
"""Mails whose later requests (recipients, stages) a process recognises."""


class Verdict:
    """The answer to a request, and what is to be done after it was given.

    `events`: calls of pcc.maillog and pcc.store.tally.  `notify`: whether a notice is waiting.
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


class Answered:
    """The latest mails that were answered, and how: (action, queue id) of each."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], tuple[str, str]] = {}

    def remember(self, account: str, instance: str, answer: tuple[str, str]) -> bool:
        """Note the answer to a mail, action and queue id; return whether it is the first one."""
        answers, mail = self._answers, (instance, account)
        is_new = mail not in answers
        if is_new and len(answers) >= REMEMBERED_MAILS:
            del answers[next(iter(answers))]
        answers[mail] = answer
        return is_new

    def answer(self, account: str, instance: str) -> tuple[str, str]:
        """Return how an earlier request about the mail was answered, ("", "") if none was."""
        return self._answers.get((instance, account), ("", ""))


class Counts:
    """Mails, and tries of blocked accounts, that were answered and wait to be counted.

    They are in the log once, whatever an error left unknown: a group of them keeps its number
    until a COMMIT was answered, and the log takes each number once.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._lines: list[str] = []
        self._since = 0.0
        self._writer = posix.urandom(9).hex()
        self._number = 0
        self._groups: list[tuple[str, int, float, str]] = []  # which may be in the log

    def add(self, place: Place, instance: str, client_name: str, now: float) -> None:
        """Count a mail from a place that counts already, or one that an incident stopped."""
        if not self._lines:
            self._since = now
        # A request that Postfix has not made may have any character.
        instance = instance.replace(repeats.FIELD, "?")
        client_name = client_name.replace(repeats.FIELD, "?")
        self._lines.append(repeats.line(place, (now, now, 1, instance, instance, client_name)))
        self.waiting += 1

    def write(self, database: Database) -> None:
        """Append all to the log.  Raises StoreError: then it goes on waiting."""
        if self._lines:
            self._number += 1
            group = self._writer, self._number, self._since, "\n".join(self._lines)
            groups = [*self._groups, group]
            self._groups, self._lines = groups, []  # at once: the deadline's error may come between
        repeats.append(database, self._groups)
        self._groups, self.waiting = [], 0
