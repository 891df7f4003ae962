"""What happens to an account that crosses a limit, and to the mail of a blocked one.

An incident begins in the transaction that records the crossing mail, together
with its notice; the mail of a blocked account is stopped whether or not that
can be written down.  Only processes that meet a blocked account import this.
"""

from __future__ import annotations

from pcc import maillog
from pcc.errors import DeadlineError, StoreError
from pcc.policy import Seen
from pcc.store import sightings
from pcc.verdict import DUNNO, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.config import Config, Policy
    from pcc.policy import History, Judgement, Rule
    from pcc.verdict import Mail, Verdicts


def stopping_action(policy: Policy) -> str:
    """Return what the mail of a blocked account is answered with, once none more is held.

    An action that has a text of its own keeps it; else the reason follows.
    """
    action = "REJECT" if policy.action.partition(" ")[0] == "HOLD" else policy.action
    if " " in action or action in ("DUNNO", "OK"):
        return action
    return f"{action} {policy.reason}".strip()


def notice_channels(config: Config) -> tuple[str, ...]:
    """Return the ways on which administrators are told: "mail", "command"."""
    mail = ("mail",) if config.notify.to else ()
    return (*mail, "command") if config.notify.command else mail


def follow(
    verdicts: Verdicts, mail: Mail, rule: Rule, history: History, judgement: Judgement
) -> Verdict:
    """Carry out a judgement that ended or began an incident, in the caller's transaction."""
    case, database = mail.case, verdicts.database
    before: list[tuple[str, str, str]] = []
    if judgement.ended and case.incident:
        sightings.end_incident(database, case.account, case.incident.id, rule.now)
        what = "expired" if judgement.ended == "expired" else "cleared"
        sightings.add_event(database, case.account, what, "pcc", judgement.ended, rule.now)
        before.append((case.account, "pcc", judgement.ended))
        case.incident = None
    if judgement.begins:
        verdict = _begin_incident(verdicts, mail, rule, history, judgement)
    else:
        verdict = verdicts.passing(mail)
    verdict.events[:0] = [(maillog.unblocked, details) for details in before]
    return verdict


def _begin_incident(
    verdicts: Verdicts, mail: Mail, rule: Rule, history: History, judgement: Judgement
) -> Verdict:
    case, crossing, database, now = mail.case, judgement.crossing, verdicts.database, rule.now
    assert crossing is not None
    if case.incident:  # an observed one, which the block takes the place of
        sightings.close_incident(database, case.incident.id, now)
    _void_unfamiliar_days(verdicts, mail, rule, history)
    incident = sightings.begin_incident(
        database, case.account, case.policy, crossing, mail.request, case.country, now
    )
    what = "observed" if case.policy.observes else "blocked"
    detail = f"{crossing.rule}: {','.join(crossing.countries)}"
    sightings.add_event(database, case.account, what, "pcc", detail, now)
    channels = notice_channels(verdicts.config)
    sightings.add_notice(database, incident, case.account, what, channels, now)
    details = (case.account, mail.request, case.country, crossing.countries, crossing.rule)
    if case.policy.observes:
        verdict = verdicts.passing(mail).then(maillog.observed, *details)
    else:
        verdict = Verdict(_count_stopped(verdicts, mail, incident, now))
        verdict.then(maillog.blocked, *details, verdict.action.partition(" ")[0])
    verdict.notify = bool(channels)
    return verdict


def _void_unfamiliar_days(verdicts: Verdicts, mail: Mail, rule: Rule, history: History) -> None:
    account = mail.case.account
    for seen in history.countries.values():
        sightings.save_presence(verdicts.database, account, seen)
    sightings.void_unfamiliar_days(
        verdicts.database, account, lambda days: rule.is_familiar(Seen("", 0, 0, days=days))
    )


def stop(verdicts: Verdicts, mail: Mail, now: float) -> Verdict:
    """Return the verdict on a mail of a blocked account.

    Raises StoreError only if the account has been unblocked meanwhile and the
    mail can't be judged.
    """
    action, queue_id = verdicts.answered.answer(mail)
    if action and action != DUNNO and (action != "HOLD" or queue_id == mail.request.queue_id):
        return Verdict(action)  # another recipient or stage of a mail that was stopped
    if mail.case.policy.action.partition(" ")[0] == "HOLD":
        return _hold(verdicts, mail, now)
    return _refuse(verdicts, mail, now)


def _refuse(verdicts: Verdicts, mail: Mail, now: float) -> Verdict:
    """Refuse a mail; the try is counted after the reply."""
    assert mail.case.incident is not None
    action = stopping_action(mail.case.policy)
    try:
        verdicts.database.sync()  # the block may be newer than what is on disk
    except (StoreError, DeadlineError):
        pass  # and holds all the same
    verdicts.counts.add_try(mail.case.incident.id, now)
    verdicts.answered.remember(mail, action)
    return Verdict(action).then(maillog.refused, mail.account, mail.request, action)


def _hold(verdicts: Verdicts, mail: Mail, now: float) -> Verdict:
    """Hold a mail, which is remembered first; refuse it where that can't be done."""
    case = mail.case
    try:
        with verdicts.database as database:
            _, case.incident = sightings.account_state(database, case.account)
            if case.incident is not None and case.is_blocked(now):
                action = _count_stopped(verdicts, mail, case.incident.id, now)
            else:
                action = ""
        verdicts.database.sync()
    except (StoreError, DeadlineError) as error:
        action = stopping_action(case.policy)
        return (
            Verdict(action)
            .then(maillog.refused, mail.account, mail.request, action)
            .then(maillog.error, str(error))
        )
    if not action:  # unblocked meanwhile
        return verdicts.verdict(case.account, mail.request, now)
    verdicts.answered.remember(mail, action)
    if action == "HOLD":
        return Verdict(action).then(maillog.held, mail.account, mail.request)
    return Verdict(action).then(maillog.refused, mail.account, mail.request, action)


def _count_stopped(verdicts: Verdicts, mail: Mail, incident: int, now: float) -> str:
    """Count a stopped mail once, in the caller's transaction; return the action for it."""
    database, policy, request = verdicts.database, mail.case.policy, mail.request
    if policy.action.partition(" ")[0] == "HOLD":
        queue_id = sightings.held_queue_id(database, incident, mail.instance)
        if queue_id is not None:
            if request.queue_id and not queue_id:
                sightings.remember_queue_id(database, incident, mail.instance, request.queue_id)
            return "HOLD"
        if not policy.hold_limit or sightings.held_count(database, incident) < policy.hold_limit:
            sightings.hold(database, incident, mail.account, mail.instance, request, now)
            return "HOLD"
    sightings.count_tries(database, incident, 1, now)
    return stopping_action(policy)
