"""A verdict: the access(5) action for a policy request, recorded as promised.

- A mail that can't change a verdict is judged on a read without a lock, and
  counted after its reply, in groups under load.
- Any other is judged again inside a write transaction, on what is true by
  then; what a verdict rests on is on disk before the reply.
- A mail is counted once, whatever its recipients and stages.

What stops the mail of a blocked account is in pcc/blocking.py.  Logging and
notices wait until after the reply: a verdict depends on nothing but the store.
"""

from __future__ import annotations

from time import time_ns

from pcc.case import examine
from pcc.policy import Place, Rule, Seen, clock_shift, end_of_incident, judge
from pcc.store import sightings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.case import Case, CountryLookup
    from pcc.config import Config
    from pcc.policy import History
    from pcc.protocol import PolicyRequest
    from pcc.store.database import Database
    from pcc.store.sightings import Sighting

DUNNO = "DUNNO"

UNCOUNTED_SECONDS = 1.3
"""The longest that a mail waits to be counted."""

UNCOUNTED_MAILS = 250
"""So many waiting mails are counted without waiting longer."""

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
        self._tries: dict[int, tuple[int, float]] = {}

    def add_mail(self, mail: Mail, now: float) -> None:
        """Count a mail from an address and country that count already."""
        key = (mail.account, mail.case.address)
        mails = self._mails.get(key, (0, 0, mail))[0]
        self._mails[key] = (mails + 1, now, mail)
        self.waiting += 1

    def add_try(self, incident: int, now: float) -> None:
        """Count a mail that was refused because of an incident."""
        self._tries[incident] = (self._tries.get(incident, (0, 0))[0] + 1, now)
        self.waiting += 1

    def write(self, database: Database) -> None:
        """Write all to the database, inside the caller's transaction; `clear()` after it."""
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
        for incident, (tries, now) in self._tries.items():
            sightings.count_tries(database, incident, tries, now)

    def clear(self) -> None:
        """Forget all: it was committed."""
        self.waiting = 0
        self._mails.clear()
        self._tries.clear()


class Verdicts:
    """Gives verdicts on the requests of one policy connection.

    `now` is UTC seconds throughout.  Raises StoreError when a verdict can't be
    given: the caller disconnects without a reply.
    """

    def __init__(self, config: Config, database: Database, lookup: CountryLookup) -> None:
        self.config = config
        self.database = database
        self.answered = Answered()
        self.counts = Counts()
        self._lookup = lookup

    def verdict(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        """Return the verdict on a request of an account that the configuration covers."""
        case = examine(self.config, self.database, self._lookup, account, request, now)
        mail = Mail(case, request)
        if case.because:
            return self.passing(mail)
        if case.is_blocked(now):
            from pcc import blocking

            return blocking.stop(self, mail, now)
        if self.answered.answer(mail)[0] or is_counted(case.known, mail):
            return self.passing(mail)
        if case.known and self._is_repeat(case, case.known, now):
            self.counts.add_mail(mail, now)
            return self.passing(mail)
        return self._decide(mail, now)

    def flush(self) -> None:
        """Count the mails that wait for it."""
        if self.counts.waiting:
            with self.database as database:
                self.counts.write(database)
            self.counts.clear()

    def passing(self, mail: Mail) -> Verdict:
        """Return the verdict that lets a mail pass."""
        self.answered.remember(mail, DUNNO)
        verdict = Verdict(DUNNO)
        if self.config.verbose:
            from pcc import maillog

            verdict.then(maillog.passed, mail.account, mail.request, mail.case.country)
        return verdict

    def _is_repeat(self, case: Case, known: Sighting, now: float) -> bool:
        """Whether the mail passes and changes nothing but counts, as far as anybody can see."""
        if self.database.read_only:
            return False
        rule = Rule(case.policy, now, self.config.keep_sightings)
        history = sightings.history(self.database, case.account, case.generation, case.incident)
        presence = history.countries.get(case.country)
        if presence is None:
            return False
        place = Place(presence, known)
        if not rule.is_repeat(history, place, UNCOUNTED_SECONDS) or end_of_incident(rule, history):
            return False
        observed = bool(history.incident) and case.policy.observes
        return observed or rule.crossing(history, place) is None

    def _decide(self, mail: Mail, now: float) -> Verdict:
        """Judge the mail on what is true inside a write transaction, and record it."""
        case = mail.case
        with self.database as database:
            self.counts.write(database)
            case.generation, case.incident = sightings.account_state(database, case.account)
            outcome = None if case.is_blocked(now) else self._record(mail, now)
        self.counts.clear()
        if outcome is None:  # blocked by another mail just now
            from pcc import blocking

            return blocking.stop(self, mail, now)
        verdict, decides = outcome
        if decides:
            self.database.sync()
        self.answered.remember(mail, verdict.action)
        return verdict

    def _record(self, mail: Mail, now: float) -> tuple[Verdict, bool]:
        """Return the verdict, and whether it rests on what must be on disk first."""
        case, database = mail.case, self.database
        known = sightings.sighting(database, case.account, case.address)
        if is_counted(known, mail):
            return self.passing(mail), False
        rule = Rule(case.policy, now, self.config.keep_sightings)
        history, known = self._settled_history(case, known, now)
        seen = known or sightings.Sighting(case.address, case.country, now, now)
        is_first = known is None or seen.country not in history.countries
        presence = history.countries.setdefault(seen.country, Seen(seen.country, now, now))
        judgement = judge(rule, history, Place(presence, seen))
        seen.instance = mail.instance
        seen.client_name = mail.request.client_name
        sightings.save_sighting(database, case.account, seen)
        sightings.save_presence(database, case.account, presence)
        if not (judgement.ended or judgement.begins):
            return self.passing(mail), is_first
        from pcc import blocking

        return blocking.follow(self, mail, rule, history, judgement), True

    def _settled_history(
        self, case: Case, known: Sighting | None, now: float
    ) -> tuple[History, Sighting | None]:
        """Return the account's history, mended first where the clock has jumped back."""
        database, account = self.database, case.account
        history = sightings.history(database, account, case.generation, case.incident)
        since, seconds = clock_shift(history, now)
        if not seconds:
            return history, known
        sightings.shift_times(database, account, since, seconds)
        return (
            sightings.history(database, account, case.generation, case.incident),
            sightings.sighting(database, account, case.address),
        )


def is_counted(known: Sighting | None, mail: Mail) -> bool:
    """Whether the mail is the latest of its account and address: Postfix's retry, say."""
    return known is not None and known.instance == mail.instance
