"""The quick path: a mail that one look at one row answers, and the way to all others.

Most mail comes from where its account was seen a moment ago, and changes nothing but counts.  When
may such a *repeat* be answered from its row?  It may if a mail from there was judged before and
let pass, and if nothing that decided that has changed.  That is the account (a block, an unblock),
the place (it leaves no window yet), the configuration and the files of places.  The row says all
of that (pcc/store/repeats.py).  It does not say what is exempt by now, so accounts, domains and
clients are looked at as well.  Two things may differ from mail to mail and be exempt: the client's
name, and its address within the /64 of IPv6.  A repeat is counted after its reply.

Unusual mail goes the long road, pcc/verdict/decision.py, which many processes never need.
"""

from __future__ import annotations

from time import monotonic, sleep

from pcc.errors import AgainError
from pcc.store import repeats
from pcc.verdict import DUNNO, Answered, Counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.config import Config
    from pcc.places.lookup import Lookup
    from pcc.protocol import PolicyRequest, UsualRequest
    from pcc.store.engine.interface import Database
    from pcc.verdict import Verdict
    from pcc.verdict.decision import Decisions

    Repeat = tuple[str, str, str]

AGAIN_SECONDS = 7
"""Seconds for which a verdict is tried again that a server did not allow; see its deadline."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between these attempts."""


class Verdicts:
    """Gives verdicts on the requests of one policy connection.

    `now` is UTC seconds throughout.  Raises StoreError when a verdict can't be
    given: the caller disconnects without a reply.  `complain` takes a sentence about each file of
    places that is missing or broken.
    """

    def __init__(self, config: Config, database: Database, complain: Callable[[str], None]) -> None:
        self._config = config
        self._database = database
        self._complain = complain
        self._looked = 0.0
        self._judged_by = 0
        self._exemptions_made = (0, 0.0)
        self._exempts_clients = False
        self._exempt: frozenset[str] = frozenset()
        self._answered = Answered()
        self.counts = Counts(database)
        self._lookup: Lookup | None = None
        self._decisions: dict[Database, Decisions] = {}

    def repeat(self, account: str, request: UsualRequest, now: float) -> Repeat | None:
        """Return what count() takes of a request that is a repeat, None for any other."""
        _, address, _, client_name, _ = request
        if self._config.exempt_names:
            from pcc.address import is_named  # which few configurations need

            if is_named(client_name, self._config.exempt_names):
                return None
        if ":" in address:
            if self._config.exempt_networks:
                return None
            from pcc.address import recorded  # which IPv4 does not need

            address = recorded(address)
        try:
            if not 0 <= now - self._looked < repeats.LOOK_SECONDS:
                self._database.check_in_place()
                self._judged_by = self._config.judged_by()
                made = repeats.exemptions_made(self._database)
                if made != self._exemptions_made:
                    self._exempts_clients, self._exempt = repeats.exempt(self._database)
                    self._exemptions_made = made
                self._looked = now
            if self._database.read_only or self._exempts_clients:
                return None
            if self._exempt and not self._exempt.isdisjoint((account, account.rpartition("@")[2])):
                return None
            latest = repeats.find(self._database, account, address, self._judged_by, now)
        except AgainError:
            return None
        return None if latest is None else (account, address, latest)

    def count(self, repeat: Repeat, request: UsualRequest, now: float) -> None:
        """Count a repeat that was answered, if its mail is not counted yet."""
        account, address, latest = repeat
        _, _, instance, client_name, queue_id = request
        if instance != latest and not self._answered.answer(account, instance)[0]:
            self.counts.add((account, address, ""), instance, client_name, now)
        self._answered.remember(account, instance, (DUNNO, queue_id))

    def verdict(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        """Return the verdict on a request of an account that the configuration covers.

        It is sought again where a server was in trouble: no mail counts twice, see verdict.Mail.
        """
        end, pause = monotonic() + AGAIN_SECONDS, FIRST_PAUSE
        while True:
            try:
                return self._verdict(account, request, now)
            except AgainError:
                if monotonic() + pause > end:
                    raise
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _verdict(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        self._database.check_in_place()
        return self._decide(self._database, account, request, now)

    def _decide(
        self, database: Database, account: str, request: PolicyRequest, now: float
    ) -> Verdict:
        if database not in self._decisions:
            from pcc.places.lookup import Lookup
            from pcc.verdict.decision import Decisions

            config = self._config
            self._lookup = self._lookup or Lookup(*config.files_of_places, self._complain)
            self._decisions[database] = Decisions(
                config, database, self._lookup, self._answered, self.counts
            )
        return self._decisions[database].verdict(account, request, now)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
