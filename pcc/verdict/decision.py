"""Decisions: the verdicts on mail that may change something, or that has to be stopped.

- A mail that looks as if it changed nothing but counts is judged without a lock, and counted after
  its reply.
- Any other is judged again inside a write transaction, on what is true by then.  Its place is
  on disk before the reply.
- A mail is counted once, whatever its recipients and stages.

pcc/verdict/incident.py stops the mail of a blocked account.  Logging and notices wait until after
the reply: a verdict depends on nothing but the store.
"""

from __future__ import annotations

from pcc.config import NEVER
from pcc.errors import StoreError
from pcc.history import DAY, clock_shift, joined_days
from pcc.rule import Rule, end_of_incident, record
from pcc.store import repeats, sightings
from pcc.store.sightings import Sighting
from pcc.verdict import DUNNO, Verdict
from pcc.verdict.case import NO_COUNTRY, examine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.history import History, Place
    from pcc.places.lookup import Lookup
    from pcc.protocol import PolicyRequest
    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Known
    from pcc.verdict import Answered, Counts
    from pcc.verdict.case import Case
    from pcc.verdict.incident import Incidents

SETTLED_SECONDS = 20
"""Seconds that a place must go on counting for its mail to be counted after the reply.

Longer than a mail waits to be counted, also while that fails (see pcc/verdict/counting.py):
otherwise a country could leave a window although it was seen within it.
"""

JUDGED_SECONDS = 3600
"""Seconds for which a place is not judged again, unless a window is narrower.

They begin when the place was judged: no moment is common to all accounts.
"""


class Decisions:
    """Decides about the mails of one policy connection; see pcc/verdict/repeat.py.

    `answered` and `counts` are those of the connection.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        lookup: Lookup,
        answered: Answered,
        counts: Counts,
    ) -> None:
        self._config = config
        self._database = database
        self._lookup = lookup
        self._answered = answered
        self._counts = counts
        self._incidents_of_process: Incidents | None = None

    def verdict(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        """Return the verdict on a request of an account that the configuration covers.

        Raises StoreError when none can be given.
        """
        database = self._database
        case = examine(self._config, database, self._lookup, account, request, now)
        if case.known.counted_since < repeats.late(now) and not case.because:
            self._renew_times(case, now)
            case = examine(self._config, database, self._lookup, account, request, now)
        if case.is_blocked(now) and not case.because:
            return self._stop(case, now)
        database.require_current()
        is_answered = bool(self._answered.answer(account, case.instance)[0])
        if case.because == NO_COUNTRY and not is_answered:
            from pcc.store import tally

            return self._pass(case).then(tally.note, self._config.state_path, "without country")
        if case.because or is_answered:
            return self._pass(case)
        known = case.known.sighting
        if known is not None and not repeats.is_on_disk(known, now):
            database.sync()  # another process may have recorded it and be about to
        if known is not None and known.instance == case.instance:  # Postfix's retry
            return self._pass(case)
        until = None if known is None else self._is_repeat_until(case, known, now)
        # Judged again where that makes repeats of the next mails, unless it can't be written.
        if known is not None and until is not None and not abs(known.repeats_until) <= now < until:
            return self._count(case, now)
        return self._judge(case, now, is_repeat=until is not None)

    def _judge(self, case: Case, now: float, *, is_repeat: bool) -> Verdict:
        """Return the verdict on a mail that is recorded; a repeat passes if it can't be."""
        database, account = self._database, case.account
        try:
            outcome = database.in_turn(lambda: self._record(case, now), account)
        except StoreError:
            if is_repeat:
                return self._count(case, now)
            raise
        if outcome is None:  # blocked by another mail just now
            known_by_now = sightings.known(database, account, case.address)
            return self._stop(case.with_known(known_by_now), now)
        verdict, decides = outcome
        if decides:
            database.sync()
        self._answered.remember(account, case.instance, (verdict.action, case.request.queue_id))
        return verdict

    def _renew_times(self, case: Case, now: float) -> None:
        """Bring an account's times up to date by what the log of counts has of it."""
        if self._database.read_only or self._database.follows:
            return
        incident = case.known.incident
        if incident and incident.blocks(now) and not incident.expires:
            return  # no time matters
        from pcc.store import sums  # which few processes need

        try:
            sums.renew_times(self._database, case.account, now)
        except StoreError:
            pass  # what has to be recorded meets the same, and blocks hold all the same

    def _pass(self, case: Case) -> Verdict:
        """Return the verdict that lets a mail pass."""
        self._answered.remember(case.account, case.instance, (DUNNO, case.request.queue_id))
        return self._passing(case)

    def _passing(self, case: Case) -> Verdict:
        """Return the same, which holds only when a transaction is committed."""
        verdict = Verdict(DUNNO)
        if self._config.verbose:
            from pcc import maillog

            verdict.then(maillog.passed, case.account, case.request, case.country)
        return verdict

    def _stop(self, case: Case, now: float) -> Verdict:
        """Return the verdict on a mail of a blocked account."""
        verdict = self._incidents().stop(case, now)
        # None: it has been unblocked meanwhile, so that the mail is one like any other.
        return verdict or self.verdict(case.account, case.request, now)

    def _incidents(self) -> Incidents:
        if self._incidents_of_process is None:
            from pcc.verdict.incident import Incidents  # which few processes need

            self._incidents_of_process = Incidents(
                self._config, self._database, self._answered, self._counts
            )
        return self._incidents_of_process

    def _count(self, case: Case, now: float) -> Verdict:
        """Return the verdict on a mail that changes nothing but counts."""
        name = case.request.client_name
        self._counts.add((case.account, case.address, ""), case.instance, name, now)
        return self._pass(case)

    def _is_repeat_until(self, case: Case, known: Sighting, now: float) -> float | None:
        """Return until when mail like this is a repeat, 0 for never, if it is judged now.

        None where it may change more than counts, as far as anybody can see.
        """
        if known.looked_up != case.looked_up or known.network != case.network:
            return None
        if case.country not in case.known.countries:
            return None
        rule = Rule(case.policy, now, self._config.keep_sightings)
        history = case.known.history()
        place = history.place(known, now, is_hosting=case.is_hosting)
        if not rule.is_repeat(history, place, SETTLED_SECONDS) or end_of_incident(rule, history):
            return None
        if history.is_observed and not rule.is_over(history, observed=True):
            return None
        if rule.crossing(history, place) is not None and not (
            history.incident and case.policy.observes
        ):
            return None
        if not history.is_observed and rule.crossing(history, place, observed=True) is not None:
            return None
        return self._repeats_until(rule, history, place)

    def _record(self, case: Case, now: float) -> tuple[Verdict, bool] | None:
        """Record the mail, in a turn; return the verdict, and whether it rests on a new place.

        A new place must be on disk before the reply.  None where the account is blocked by now.
        """
        database, account = self._database, case.account
        case = case.with_known(self._known(case))
        if case.is_blocked(now):
            return None
        seen = case.known.sighting
        if seen is not None and seen.instance == case.instance:
            return self._passing(case), False
        rule = Rule(case.policy, now, self._config.keep_sightings)
        history = case.known.history()
        since, seconds = clock_shift(history, now)
        if seconds:  # the clock has jumped back
            sightings.shift_times(database, account, since, seconds)
            case = case.with_known(sightings.known(database, account, case.address))
            history, seen = case.known.history(), case.known.sighting
            history.shift_mails(min(since, now), seconds)
        is_on_disk = seen is not None and repeats.is_on_disk(seen, now)
        if seen is None:
            seen = Sighting(case.address, case.country, case.network, now, now)
        elif seen.country != case.country:  # another country database says so
            self._move(case, history, seen, now)
        seen.looked_up, seen.network = case.looked_up, case.network
        place = history.place(seen, now, is_hosting=case.is_hosting)
        decides = not is_on_disk or rule.adds(history, place)
        judgement = record(rule, history, place)
        seen.instance = case.instance
        seen.client_name = case.request.client_name
        seen.judged_by = self._config.judged_by()
        until = self._repeats_until(rule, history, place)
        seen.repeats_until = until if is_on_disk else -until
        sightings.save_sighting(database, account, seen)
        sightings.save_places(database, account, place)
        verdict = None
        if any((judgement.ended, judgement.begins, judgement.observed, judgement.observed_ended)):
            verdict = self._incidents().follow(case, judgement, now)
        if judgement.ended or history.mails != case.known.mails:  # its end has dropped what was
            sightings.save_mails(database, account, history.mails)
        if verdict is not None:
            return verdict, True
        return self._passing(case), decides

    def _known(self, case: Case) -> Known:
        """Return what is known of the account in a turn, networks by the database that there is.

        All its networks are looked up again where that has been replaced, so that nothing known
        looks unfamiliar meanwhile.
        """
        database, account = self._database, case.account
        known = sightings.known(database, account, case.address)
        made = self._lookup.networks_made() if case.network else 0
        if made in (known.networks_made, NEVER):
            return known
        from pcc.store import networks  # which is needed once for an account

        if made and known.countries:
            networks.renew_networks(database, account, self._lookup.network_of_recorded, made)
        else:  # a new account has nothing to look up; without a database nothing can be
            networks.set_networks_made(database, account, made)
        return sightings.known(database, account, case.address)

    def _move(self, case: Case, history: History, seen: Sighting, now: float) -> None:
        """Move an address to another country, with the days that it was seen on.

        Where it was the account's only address in the old one, the account was never seen there:
        otherwise a new country database would make two countries of one.
        """
        database, account = self._database, case.account
        if not sightings.has_other_address(database, account, seen.country, seen.name):
            sightings.drop_country(database, account, seen.country)
            history.countries.pop(seen.country, None)
        seen.country = case.country
        country = history.place(seen, now, is_hosting=False).country
        country.days = joined_days(country.days, seen.days)

    def _repeats_until(self, rule: Rule, history: History, place: Place) -> float:
        """Return until when a mail from a place that was just judged changes nothing, or 0."""
        if history.incident or history.is_observed:
            return 0
        if not rule.is_repeat(history, place, SETTLED_SECONDS):
            return 0
        if not rule.is_out_of_reach(history, place.country):
            return 0
        seconds = min(JUDGED_SECONDS, rule.policy.narrowest_window - SETTLED_SECONDS)
        midnight = float((rule.today + 1) * DAY)
        if rule.now + seconds > midnight and not rule.holds_tomorrow(history, place):
            return midnight
        return rule.now + seconds
