"""A verdict: the access(5) action for a policy request, recorded as promised.

Most mail comes from where its account was seen a moment ago, and changes
nothing but counts: for such a *repeat* one look at the database is enough, and
it is counted after its reply, in groups under load.  All other mail is judged
by pcc/verdict/decision.py, which many processes never need.
"""

from __future__ import annotations

from pcc.errors import StoreError
from pcc.store import repeats
from pcc.verdict import DUNNO, PASSED, Answered, Counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.places.lookup import Lookup
    from pcc.protocol import PolicyRequest
    from pcc.store.engine.interface import Database
    from pcc.verdict import Verdict
    from pcc.verdict.decision import Decisions

LOOK_SECONDS = 1
"""Between looks whether the country database has been replaced."""


class Verdicts:
    """Gives verdicts on the requests of one policy connection.

    `now` is UTC seconds throughout.  Raises StoreError when a verdict can't be
    given: the caller disconnects without a reply.
    """

    def __init__(self, config: Config, database: Database, lookup: Lookup) -> None:
        self._config = config
        self._database = database
        self._lookup = lookup
        self._looked = 0.0
        self._judged_by = 0
        self._answered = Answered()
        self.counts = Counts(database)
        self._decisions: Decisions | None = None
        # A verbose log has each mail's country: then all mail is looked at more closely.
        self._has_repeats = not (database.read_only or config.verbose)

    def verdict(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        """Return the verdict on a request of an account that the configuration covers."""
        self._database.check_in_place()
        if self._has_repeats and self._is_repeat(account, request, now):
            return PASSED
        if not self._database.read_only and repeats.is_late(self._database, now):
            self._fold(now)
        if self._decisions is None:
            from pcc.verdict.decision import Decisions

            self._decisions = Decisions(
                self._config, self._database, self._lookup, self._answered, self.counts
            )
        return self._decisions.verdict(account, request, now)

    def _fold(self, now: float) -> None:
        """Fold the log of counts, so that no decision rests on times that are too old."""
        from pcc.store import sums  # which few processes need

        try:
            sums.fold(self._database, now)
        except StoreError:
            pass  # what has to be recorded meets the same, and blocks hold all the same

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _is_repeat(self, account: str, request: PolicyRequest, now: float) -> bool:
        """Whether the mail is a repeat, which is answered and counted then."""
        instance, address = request.instance, request.client_address
        if ":" in address:
            address = self._recorded_address(address)
        if not instance or self._may_be_exempt(request):
            return False
        if not 0 <= now - self._looked < LOOK_SECONDS:
            self._looked = now
            self._judged_by = repeats.judged_by(self._config.identity, self._lookup.made())
        known = repeats.find(self._database, account, address, self._judged_by, now)
        if known is None:
            return False
        country, latest = known
        if instance != latest and not self._answered.answer(account, instance)[0]:
            self.counts.add_mail(account, address, country, instance, request.client_name, now)
        self._answered.remember(account, instance, (DUNNO, request.queue_id))
        return True

    def _may_be_exempt(self, request: PolicyRequest) -> bool:
        """Whether the client's name is an exempt one, which may differ from mail to mail."""
        names = self._config.exempt_names
        if not names:
            return False
        from pcc.address import is_named

        return is_named(request.client_name, names)

    def _recorded_address(self, text: str) -> str:
        """Return what is remembered of an IPv6 address, "" where that does not tell all."""
        from pcc import address

        packed = address.packed_address(text)
        if packed is None or self._config.exempt_networks:  # of which one may be within a /64
            return ""
        return address.recorded_address(packed)
