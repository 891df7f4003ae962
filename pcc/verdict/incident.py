"""What happens to an account that crosses a limit, and to the mail of a blocked one.

An incident begins in the transaction that records the crossing mail, together
with its notice; the mail of a blocked account is stopped whether or not that
can be written down.  Only processes that meet a blocked account import this.
"""

from __future__ import annotations

from pcc import maillog
from pcc.errors import DeadlineError, StoreError
from pcc.store import blocks, sightings
from pcc.verdict import DUNNO, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.config import Config, Policy
    from pcc.rule import History, Judgement, Rule
    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Incident
    from pcc.verdict import Answered, Counts, Mail


def stopping_action(policy: Policy) -> str:
    """Return what the mail of a blocked account is answered with, once none more is held.

    An action that has a text of its own keeps it; else the reason follows.
    """
    action = "REJECT" if policy.holds else policy.action
    if " " in action or action in ("DUNNO", "OK"):
        return action
    return f"{action} {policy.reason}".strip()


def notice_channels(config: Config) -> tuple[str, ...]:
    """Return the ways on which administrators are told: "mail", "command"."""
    mail = ("mail",) if config.notify.to else ()
    return (*mail, "command") if config.notify.command else mail


class Blocking:
    """Begins and ends incidents, and stops mail, for the verdicts of one process."""

    def __init__(
        self, config: Config, database: Database, answered: Answered, counts: Counts
    ) -> None:
        self._config = config
        self._database = database
        self._answered = answered
        self._counts = counts
        self._on_disk: set[int] = set()  # incidents

    def follow(self, mail: Mail, rule: Rule, history: History, judgement: Judgement) -> Verdict:
        """Carry out a judgement that ended or began an incident, in the caller's transaction."""
        account = mail.account
        ended = judgement.ended and mail.case.known.incident
        if ended:
            self._end_incident(mail, judgement, rule.now)
        verdict = (
            self._begin_incident(mail, rule, history, judgement)
            if judgement.begins
            else Verdict(DUNNO)
        )
        if ended:
            ending = (maillog.unblocked, (account, "pcc", judgement.ended))
            verdict.events = (ending, *verdict.events)
        return verdict

    def stop(self, mail: Mail, now: float) -> Verdict | None:
        """Return the verdict on a mail of a blocked account, None if it is blocked no more."""
        action, queue_id = self._answered.answer(mail.account, mail.instance)
        if action not in ("", DUNNO) and (action != "HOLD" or queue_id == mail.request.queue_id):
            return Verdict(action)  # another recipient or stage of a mail that was stopped
        if mail.case.policy.holds:
            return self._hold(mail, now)
        return self._refuse(mail, now)

    def _end_incident(self, mail: Mail, judgement: Judgement, now: float) -> None:
        case, database = mail.case, self._database
        assert case.known.incident is not None
        blocks.end_incident(database, case.account, case.known.incident.id, now)
        what = "expired" if judgement.ended == "expired" else "cleared"
        blocks.add_event(database, case.account, what, "pcc", judgement.ended, now)
        case.known.incident = None

    def _begin_incident(
        self, mail: Mail, rule: Rule, history: History, judgement: Judgement
    ) -> Verdict:
        case, crossing, database, now = mail.case, judgement.crossing, self._database, rule.now
        assert crossing is not None
        if case.known.incident:  # an observed one, which the block takes the place of
            blocks.close_incident(database, case.known.incident.id, now)
        blocks.void_unfamiliar_days(database, case.account, rule.are_familiar)
        incident = blocks.begin_incident(
            database, case.account, case.policy, crossing, mail.request, case.country, now
        )
        what = "observed" if case.policy.observes else "blocked"
        detail = f"{crossing.rule}: {','.join(crossing.countries)}"
        blocks.add_event(database, case.account, what, "pcc", detail, now)
        channels = notice_channels(self._config)
        blocks.add_notice(database, incident, case.account, what, channels, now)
        details = (case.account, mail.request, case.country, crossing.countries, crossing.rule)
        if case.policy.observes:
            verdict = Verdict(DUNNO).then(maillog.observed, *details)
        else:
            verdict = Verdict(self._count_stopped(mail, incident, now))
            verdict.then(maillog.blocked, *details, verdict.action.partition(" ")[0])
        verdict.notify = bool(channels)
        return verdict

    def _refuse(self, mail: Mail, now: float) -> Verdict:
        """Refuse a mail; the try is counted after the reply."""
        incident = mail.case.known.incident
        assert incident is not None
        action = stopping_action(mail.case.policy)
        if incident.id not in self._on_disk:
            self._sync(incident.id)
        self._remember(mail, action)
        if mail.instance == incident.instance:  # Postfix's retry
            return Verdict(action)
        self._counts.add_try(incident.id, mail.account, mail.instance, now)
        return _refusal(mail, incident, action)

    def _sync(self, incident: int) -> None:
        """Have a block on disk, which may be newer, once for all mail of it here."""
        try:
            self._database.sync()
        except (StoreError, DeadlineError):
            return  # and it holds all the same
        self._on_disk.add(incident)

    def _hold(self, mail: Mail, now: float) -> Verdict | None:
        """Hold a mail, which is remembered first; refuse it where that can't be done."""
        case = mail.case
        before = case.known.incident
        assert before is not None
        try:
            done = self._database.in_turn(lambda: self._held(mail, now), mail.account)
            self._database.sync()
        except (StoreError, DeadlineError) as error:
            verdict = _refusal(mail, before, stopping_action(case.policy))
            return verdict.then(maillog.error, str(error))
        if done is None:
            return None
        incident, action = done
        self._remember(mail, action)
        if action == "HOLD":
            return Verdict(action).then(maillog.held, mail.account, mail.request, incident.rule)
        return _refusal(mail, incident, action)

    def _held(self, mail: Mail, now: float) -> tuple[Incident, str] | None:
        """Count a mail as stopped by the open incident; return that and the action, if any."""
        case = mail.case
        case.known = sightings.known(self._database, case.account, case.address)
        incident = case.known.incident
        if incident is None or not case.is_blocked(now):
            return None
        return incident, self._count_stopped(mail, incident.id, now)

    def _remember(self, mail: Mail, action: str) -> None:
        answer = (action, mail.request.queue_id)
        self._answered.remember(mail.account, mail.instance, answer)

    def _count_stopped(self, mail: Mail, incident: int, now: float) -> str:
        """Count a stopped mail once, in the caller's transaction; return the action for it."""
        database, policy, request = self._database, mail.case.policy, mail.request
        if policy.holds:
            queue_id = blocks.held_queue_id(database, incident, mail.instance)
            if queue_id is not None:
                if request.queue_id and not queue_id:
                    blocks.remember_queue_id(database, incident, mail.instance, request.queue_id)
                return "HOLD"
            limit = policy.hold_limit
            if not limit or blocks.held_count(database, incident) < limit:
                host = self._config.this_host
                blocks.hold(database, incident, mail.account, mail.instance, request, host, now)
                return "HOLD"
        blocks.count_tries(database, incident, 1, now, mail.instance)
        return stopping_action(policy)


def _refusal(mail: Mail, incident: Incident, action: str) -> Verdict:
    verdict = Verdict(action)
    return verdict.then(maillog.refused, mail.account, mail.request, incident.rule, action)
