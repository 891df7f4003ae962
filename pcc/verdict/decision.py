"""Decisions: the verdicts on mail that may change something, or that has to be stopped.

- A mail that changes nothing but counts, as far as reading can tell, is judged
  without a lock and counted after its reply.
- Any other is judged again inside a write transaction, on what is true by
  then; what a verdict rests on is on disk before the reply.
- A mail is counted once, whatever its recipients and stages.

What stops the mail of a blocked account is in pcc/verdict/incident.py.  Logging and
notices wait until after the reply: a verdict depends on nothing but the store.
"""

from __future__ import annotations

from pcc.errors import StoreError
from pcc.rule import Place, Rule, Seen, clock_shift, end_of_incident, joined_days, judge
from pcc.store import repeats, sightings
from pcc.verdict import DUNNO, Mail, Verdict
from pcc.verdict.case import examine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.places.lookup import CountryLookup
    from pcc.protocol import PolicyRequest
    from pcc.rule import History
    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Sighting
    from pcc.verdict import Answered, Counts
    from pcc.verdict.case import Case
    from pcc.verdict.incident import Blocking

SETTLED_SECONDS = 20
"""So long a place must go on counting for its mail to be counted after the reply.

Longer than a mail waits to be counted, also while that fails (see pcc/verdict/counting.py):
else a country could leave a window although it was seen within it.
"""


class Decisions:
    """Decides about the mails of one policy connection; see pcc/verdict/repeat.py.

    `answered` and `counts` are those of the connection.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        lookup: CountryLookup,
        answered: Answered,
        counts: Counts,
    ) -> None:
        self._config = config
        self._database = database
        self._lookup = lookup
        self._answered = answered
        self._counts = counts
        self._blocking_mail: Blocking | None = None

    def verdict(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        """Return the verdict on a request of an account that the configuration covers.

        Raises StoreError when none can be given.
        """
        case = examine(self._config, self._database, self._lookup, account, request, now)
        mail = Mail(case, request)
        if case.is_blocked(now) and not case.because:
            return self._stop(mail, now)
        if self._database.is_stale:
            raise StoreError(
                f"{self._database.name}: its latest changes can't be read: {self._database.reason}"
            )
        if case.because:
            return self._pass(mail)
        if self._answered.answer(account, mail.instance)[0]:
            return self._pass(mail)
        known = case.known.sighting
        if known is not None and not repeats.is_on_disk(known, now):
            self._database.sync()  # another process may have recorded it and be about to
        if mail.is_latest(known):
            return self._pass(mail)
        if self._is_repeat(case, now):
            self._counts.add_mail(
                account, case.address, case.country, mail.instance, request.client_name, now
            )
            return self._pass(mail)
        return self._decide(mail, now)

    def _pass(self, mail: Mail) -> Verdict:
        """Return the verdict that lets a mail pass."""
        self._answered.remember(mail.account, mail.instance, (DUNNO, mail.request.queue_id))
        verdict = Verdict(DUNNO)
        if self._config.verbose:
            from pcc import maillog

            verdict.then(maillog.passed, mail.account, mail.request, mail.case.country)
        return verdict

    def _stop(self, mail: Mail, now: float) -> Verdict:
        """Return the verdict on a mail of a blocked account."""
        verdict = self._blocking().stop(mail, now)
        # None: it has been unblocked meanwhile, so that the mail is one like any other.
        return verdict or self.verdict(mail.account, mail.request, now)

    def _blocking(self) -> Blocking:
        if self._blocking_mail is None:
            from pcc.verdict.incident import Blocking  # which few processes need

            self._blocking_mail = Blocking(
                self._config, self._database, self._answered, self._counts
            )
        return self._blocking_mail

    def _is_repeat(self, case: Case, now: float) -> bool:
        """Whether the mail passes and changes nothing but counts, as far as anybody can see."""
        known = case.known
        presence = known.countries.get(case.country)
        if presence is None or known.sighting is None:
            return False
        if known.sighting.looked_up != case.looked_up:
            return False
        rule = Rule(case.policy, now, self._config.keep_sightings)
        history = known.history()
        place = Place(presence, known.sighting)
        if sightings.hour(known.sighting.last_seen) != sightings.hour(now):
            return False
        if not rule.is_repeat(history, place, SETTLED_SECONDS) or end_of_incident(rule, history):
            return False
        observed = bool(history.incident) and case.policy.observes
        return observed or rule.crossing(history, place) is None

    def _decide(self, mail: Mail, now: float) -> Verdict:
        """Judge the mail on what is true inside a write transaction, and record it."""
        outcome = self._database.in_turn(lambda: self._judged_anew(mail, now), mail.account)
        if outcome is None:  # blocked by another mail just now
            return self._stop(mail, now)
        verdict, decides = outcome
        if decides:
            self._database.sync()
        answer = (verdict.action, mail.request.queue_id)
        self._answered.remember(mail.account, mail.instance, answer)
        return verdict

    def _judged_anew(self, mail: Mail, now: float) -> tuple[Verdict, bool] | None:
        case = mail.case
        case.known = sightings.known(self._database, case.account, case.address)
        return None if case.is_blocked(now) else self._record(mail, now)

    def _record(self, mail: Mail, now: float) -> tuple[Verdict, bool]:
        """Return the verdict, and whether it rests on what must be on disk first."""
        case, database = mail.case, self._database
        if mail.is_latest(case.known.sighting):
            return self._pass(mail), False
        rule = Rule(case.policy, now, self._config.keep_sightings)
        history = self._settled_history(case, now)
        seen = case.known.sighting or sightings.Sighting(case.address, case.country, now, now)
        is_on_disk = case.known.sighting is not None and repeats.is_on_disk(seen, now)
        is_new_country = case.country not in history.countries
        presence = history.countries.setdefault(case.country, Seen(case.country, now, now))
        if seen.country != case.country:  # another country database says so
            presence.days = joined_days(presence.days, seen.days)
            self._correct_country(case, history, seen)
        seen.looked_up = case.looked_up
        place = Place(presence, seen)
        decides = is_new_country or not is_on_disk or rule.adds(history, place)
        seen.judged_by = repeats.judged_by(self._config.identity, case.looked_up)
        judgement = judge(rule, history, place)
        seen.instance = mail.instance
        seen.client_name = mail.request.client_name
        until = self._repeats_until(rule, history, place)
        seen.repeats_until = until if is_on_disk else -until
        sightings.save_sighting(database, case.account, seen)
        sightings.save_presence(database, case.account, presence)
        if not (judgement.ended or judgement.begins):
            return self._pass(mail), decides
        return self._blocking().follow(mail, rule, history, judgement), True

    def _correct_country(self, case: Case, history: History, seen: Sighting) -> None:
        """Have an address be in another country, and the account never seen in the old one there.

        Else a new country database would make of one country two.
        """
        if not sightings.has_other_address(self._database, case.account, seen.country, seen.name):
            sightings.drop_presence(self._database, case.account, seen.country)
            history.countries.pop(seen.country, None)
        seen.country = case.country

    def _repeats_until(self, rule: Rule, history: History, place: Place) -> float:
        """Return until when a mail from a place that was just judged changes nothing, or 0."""
        if history.incident or not rule.is_repeat(history, place, SETTLED_SECONDS):
            return 0
        if not rule.is_out_of_reach(history, place.country):
            return 0
        end_of_hour = (sightings.hour(rule.now) + 1) * 3600.0
        return min(end_of_hour, rule.now + rule.policy.narrowest_window - SETTLED_SECONDS)

    def _settled_history(self, case: Case, now: float) -> History:
        """Return the account's history, mended first where the clock has jumped back."""
        history = case.known.history()
        since, seconds = clock_shift(history, now)
        if not seconds:
            return history
        sightings.shift_times(self._database, case.account, since, seconds)
        case.known = sightings.known(self._database, case.account, case.address)
        return case.known.history()
