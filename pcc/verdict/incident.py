"""The way of an account that crosses a limit, and of the mail of a blocked one.

An incident begins in the transaction that records the crossing mail, together with its notice.
The mail of a blocked account is stopped, even if that can't be written down.  Only processes that
meet a blocked account import this.
"""

from __future__ import annotations

from pcc import maillog
from pcc.errors import DeadlineError, StoreError
from pcc.store import blocks, sightings, tally
from pcc.verdict import DUNNO, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.config import Config, Policy
    from pcc.rule import Crossing, Judgement
    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Incident
    from pcc.verdict import Answered, Counts
    from pcc.verdict.case import Case


def stopping_action(policy: Policy) -> str:
    """Return what the mail of a blocked account is answered with, once none more is held.

    An action that has a text of its own keeps it; otherwise the reason follows.
    """
    action = "REJECT" if policy.holds else policy.action
    if " " in action or action in ("DUNNO", "OK"):
        return action
    return f"{action} {policy.reason}".strip()


def notice_channels(config: Config) -> tuple[str, ...]:
    """Return the ways on which administrators get notices: "mail", "command"."""
    mail = ("mail",) if config.notify.to else ()
    return (*mail, "command") if config.notify.command else mail


class Incidents:
    """Begins and ends incidents, and stops mail, for the verdicts of one process."""

    def __init__(
        self, config: Config, database: Database, answered: Answered, counts: Counts
    ) -> None:
        self._config = config
        self._database = database
        self._answered = answered
        self._counts = counts
        self._on_disk: set[int] = set()  # incidents

    def follow(self, case: Case, judgement: Judgement, now: float) -> Verdict:
        """Carry out a judgement that ended or began an incident, in the caller's turn."""
        database, account, known = self._database, case.account, case.known
        verdict = Verdict(DUNNO)
        if judgement.observed_ended:
            blocks.end_observed(database, account, known.observed, now)
            blocks.add_event(database, account, "cleared", "pcc", "no longer true", now)
        ended = judgement.ended and known.incident
        if ended:
            what = "expired" if judgement.ended == "expired" else "cleared"
            blocks.end_incidents(database, account, now)
            blocks.add_event(database, account, what, "pcc", judgement.ended, now)
            verdict.then(maillog.unblocked, account, "pcc", judgement.ended)
        if judgement.begins:
            assert judgement.crossing is not None
            if known.incident and not ended:  # an observed one, which the block takes the place of
                blocks.close_incident(database, account, known.incident.id, now)
            self._begin(case, judgement.crossing, verdict, now)
        elif judgement.observed:
            self._begin(case, judgement.observed, verdict, now)
        return verdict

    def stop(self, case: Case, now: float) -> Verdict | None:
        """Return the verdict on a mail of a blocked account, None if it is blocked no more."""
        action, queue_id = self._answered.answer(case.account, case.instance)
        if action not in ("", DUNNO) and (action != "HOLD" or queue_id == case.request.queue_id):
            return Verdict(action)  # another recipient or stage of a mail that was stopped
        return self._hold(case, now) if case.policy.holds else self._refuse(case, now)

    def _begin(self, case: Case, crossing: Crossing, verdict: Verdict, now: float) -> None:
        """Begin the incident of a limit that was crossed."""
        database, account, policy = self._database, case.account, case.policy
        only_observes = crossing.limit.observes
        incident = blocks.begin_incident(
            database, account, policy, crossing, case.request, case.country, now
        )
        what = "observed" if only_observes or policy.observes else "blocked"
        detail = f"{crossing.rule}: {','.join(crossing.countries)}"
        blocks.add_event(database, account, what, "pcc", detail, now)
        # Nobody is notified of a limit that only observes.
        channels = () if only_observes else notice_channels(self._config)
        blocks.add_notice(database, incident, account, what, channels, now)
        verdict.notify = bool(channels)
        crossed = (crossing.countries, crossing.rule)
        details = (account, case.request, case.country, case.network, *crossed)
        if what == "observed":
            verdict.then(maillog.observed, *details)
        else:
            verdict.action = self._count_stopped(case, incident, now)
            verdict.then(maillog.blocked, *details, verdict.action.partition(" ")[0])

    def _refuse(self, case: Case, now: float) -> Verdict:
        """Refuse a mail; the try is counted after the reply."""
        incident = case.known.incident
        assert incident is not None
        action = stopping_action(case.policy)
        if incident.id not in self._on_disk:  # a block that is new may not be yet
            try:
                self._database.sync()
            except (StoreError, DeadlineError):
                pass  # and it holds all the same
            else:
                self._on_disk.add(incident.id)
        self._remember(case, action)
        if case.instance == incident.instance:  # Postfix's retry
            return Verdict(action)
        place = (case.account, case.address, str(incident.id))
        self._counts.add(place, case.instance, "", now)
        return _refusal(case, incident, action)

    def _hold(self, case: Case, now: float) -> Verdict | None:
        """Hold a mail, which is remembered first; refuse it where that can't be done."""
        before = case.known.incident
        assert before is not None

        def count() -> tuple[Incident, str] | None:
            current = case.with_known(sightings.known(self._database, case.account, case.address))
            incident = current.known.incident
            if incident is None or not current.is_blocked(now):
                return None
            return incident, self._count_stopped(current, incident.id, now)

        try:
            done = self._database.in_turn(count, case.account)
            self._database.sync()
        except (StoreError, DeadlineError) as error:
            verdict = _refusal(case, before, stopping_action(case.policy))
            verdict.then(tally.note, self._config.state_path, f"errors {error.kind}")
            return verdict.then(maillog.error, str(error))
        if done is None:
            return None
        incident, action = done
        self._remember(case, action)
        if action == "HOLD":
            return Verdict(action).then(maillog.held, case.account, case.request, incident.rule)
        return _refusal(case, incident, action)

    def _remember(self, case: Case, action: str) -> None:
        answer = (action, case.request.queue_id)
        self._answered.remember(case.account, case.instance, answer)

    def _count_stopped(self, case: Case, incident: int, now: float) -> str:
        """Count a stopped mail once, in the caller's turn; return the action for it."""
        database, policy, request = self._database, case.policy, case.request
        if policy.holds:
            count, queue_id = blocks.held(database, case.account, incident, case.instance)
            if queue_id is not None:
                if request.queue_id and not queue_id:
                    blocks.remember_queue_id(
                        database, case.account, incident, case.instance, request.queue_id
                    )
                return "HOLD"
            limit = policy.hold_limit
            if not limit or count < limit:
                host = self._config.this_host
                account, instance = case.account, case.instance
                blocks.hold(database, incident, account, instance, request, host, case.address, now)
                return "HOLD"
        tries = [(case.address, 1, now, now)]
        blocks.count_tries(database, case.account, incident, tries, case.instance)
        return stopping_action(policy)


def _refusal(case: Case, incident: Incident, action: str) -> Verdict:
    verdict = Verdict(action)
    return verdict.then(maillog.refused, case.account, case.request, incident.rule, action)
