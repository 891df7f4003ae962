"""The quick path: a mail that one look at a record answers, and the way to all others.

Most mail comes from where its account was seen a moment ago, and changes nothing but counts.  When
may such a *repeat* be answered from what is known of it?  A mail from there must have been judged
before and let pass, and nothing that decided that may have changed.  Four things decided: the
account (a block, an unblock, an exemption), the place (it leaves no window yet), the configuration,
and the files of places.  The row of the sighting says all of that (pcc/store/repeats.py), and a
cache beside the database says it again (pcc/store/engine/repeatcache.py).  Two things may differ
from mail to mail and be exempt: the client's name, and its address within the /64 of IPv6.  A
repeat is counted after its reply.  Only then is a database opened that the cache was in front of.

Unusual mail goes the long road, pcc/verdict/decision.py, which many processes never need.
"""

from __future__ import annotations

import posix
from time import monotonic

from pcc.errors import AgainError, StoreError
from pcc.store import repeats
from pcc.store.engine import repeatcache
from pcc.verdict import DUNNO, Answered, Counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.config import Config
    from pcc.places.lookup import Lookup
    from pcc.protocol import PolicyRequest
    from pcc.store.engine.interface import Database
    from pcc.verdict import Verdict
    from pcc.verdict.decision import Decisions

    Repeat = tuple[str, str, str]

LOOK_SECONDS = 1
"""Between looks whether the database, or a file of places, has been replaced."""


class Verdicts:
    """Gives verdicts on the requests of one policy connection.

    Without a `database` its file is opened when it is needed.  `now` is UTC seconds throughout.
    Raises StoreError when a verdict can't be given: the caller disconnects without a reply.
    `complain` takes a sentence about each file of places that is missing or broken.
    """

    def __init__(
        self, config: Config, database: Database | None, complain: Callable[[str], None]
    ) -> None:
        self._config = config
        self._opened = database
        self._complain = complain
        self._cached_file = "" if config.is_on_server else config.store_database
        if database is not None and database.follows:
            self._cached_file = config.host_file
        self._cache = repeatcache.RepeatCache(self._cached_file)
        self._looked = 0.0
        self._judged_by = 0
        self._basis = 0  # of what is in the cache; 0 while there is none
        self._answered = Answered()
        self.counts = Counts()
        self._lookup: Lookup | None = None
        self._decisions: dict[Database, Decisions] = {}

    @property
    def database(self) -> Database:
        """The database, open.  Where that fails nobody has a cache in front of it any more."""
        if self._opened is None:
            from pcc.store import open_database

            try:
                self._opened = open_database(self._config.store_database)
            except StoreError:
                self._cached_file, self._basis = "", 0
                self._cache.remove()
                raise
        return self._opened

    def repeat(self, account: str, request: tuple[str, ...], now: float) -> Repeat | None:
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
            if not 0 <= now - self._looked < LOOK_SECONDS:
                self._look(now)
            latest = self._find(account, address, now)
        except AgainError:
            return None
        except OSError:  # of the cache's file: without it until the next look
            self._basis = 0
            return None
        return None if latest is None else (account, address, latest)

    def _find(self, account: str, address: str, now: float) -> str | None:
        """Return the instance of the latest mail from where a repeat is from, "" by the cache."""
        place, record = 0, b""
        if self._basis:
            place, record = self._cache.find(account, address, self._basis, now)
            if place < 0:
                return ""
        if not self._config.covers(account) or self.database.read_only:
            return None
        found = repeats.find(self.database, account, address, self._judged_by, now)
        if found is None:
            return None
        self._cache.keep(place, record, found[1])
        return found[0]

    def _look(self, now: float) -> None:
        """Look which database, configuration and files of places there are by now."""
        if self._opened is not None:
            self._opened.check_in_place()
        self._judged_by = self._config.judged_by()
        self._basis = 0
        if self._cached_file:
            try:
                self._cache.open()
                # Another one when the system was started or its clock has jumped.
                started = int((now - monotonic()) // repeats.FRESH_SECONDS)
                file = posix.stat(self._cached_file)
                self._basis = hash((self._judged_by, file.st_dev, file.st_ino, started))
            except OSError:
                pass  # the database says what is wrong
        self._looked = now

    def count(self, repeat: Repeat, request: tuple[str, ...], now: float) -> None:
        """Count a repeat that was answered, if its mail is not counted yet."""
        account, address, latest = repeat
        _, _, instance, client_name, queue_id = request
        is_new = self._answered.remember(account, instance, (DUNNO, queue_id))
        if is_new and instance != latest:
            self.counts.add((account, address, ""), instance, client_name, now)

    def verdict(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        """Return the verdict on a request of an account that the configuration covers.

        It is sought again where a server was in trouble.  No mail counts twice by that.
        """
        database = self.database

        def decide() -> Verdict:
            database.check_in_place()
            return self._decide(database, account, request, now)

        return database.again(decide)

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
        self._cache.close()
        if self._opened is not None:
            self._opened.close()
