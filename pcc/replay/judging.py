"""The rule of a verdict on the mails of a log, in memory: where each limit would have blocked.

A grid of settings is judged in one pass.  As long as an account is not blocked, its history is the
same under every setting, and is kept once.  The highest count of each measure (see `settings`)
says which limits were crossed.  A setting stops the account at the first mail that went over one.
From there on a setting needs no history, unless the block ends by itself (`block_for`): then one
of its own goes on.  Mail that repeats what is known is hardly looked at.

A block lasts until the end of the log or until `block_for` has passed.  `config.account` is taken
to be the login: the line of the log has no sender.  Exemptions in the database hold for the mails
until they end.
"""

from __future__ import annotations

from collections import Counter, deque
from copy import copy
from typing import TYPE_CHECKING

from pcc.history import DAY, History
from pcc.replay.past import Client, Past
from pcc.replay.settings import Rules
from pcc.replay.submissions import text
from pcc.rule import Rule, record
from pcc.store.imports import AccountPast
from pcc.store.sightings import Sighting
from pcc.verdict.case import exemption_of_account

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from pcc.config import Policy
    from pcc.places.lookup import Lookup
    from pcc.replay.past import LoggedAddress
    from pcc.replay.settings import Setting
    from pcc.replay.submissions import Submission
    from pcc.rule import Crossing
    from pcc.store.exemptions import ExemptionRow
    from pcc.store.imports import Stored

CLIENTS_KEPT = 50_000
"""Clients of which it is remembered what is to be done with their mail."""

ADDRESSES_KEPT = 4
"""The number of named addresses that a stopped account was seen at."""


class Stop:
    """The first time that a setting would have blocked an account.

    `number`: of the setting.  `addresses`: some of those that it was seen at
    within the limit's window, the latest first, and `address_count` of them
    all.  `networks`: those that it was seen in within it.  `mails`: how many of
    the account had come by then.
    """

    __slots__ = (
        *("_mails_stopped", "account", "address_count", "addresses", "at", "client", "country"),
        *("crossing", "mails", "networks", "number"),
    )

    def __init__(
        self, account: Account, number: int, crossing: Crossing, client: Client, now: float
    ) -> None:
        past = account.past
        since = now - crossing.limit.window
        self.account = account
        self.number = number
        self.crossing = crossing
        self.client = client
        self.at = now
        self.country = past.addresses[client.recorded].country
        seen = list(past.since(since))
        self.addresses = [address.name for address in seen[:ADDRESSES_KEPT]]
        self.address_count = len(seen)
        networks = past.history.networks.values()
        self.networks = [network.name for network in networks if network.last_seen >= since]
        self.mails = account.mails
        self._mails_stopped: int | None = None

    @property
    def mails_stopped(self) -> int:
        """How many mails would not have passed until the end of the log, with the crossing one."""
        if self._mails_stopped is None:
            return self.account.mails - self.mails + 1
        return self._mails_stopped

    def count(self) -> None:
        """Count one mail as stopped, of a block that ends by itself."""
        self._mails_stopped = (self._mails_stopped or 0) + 1


class Branch(Past):
    """How an account's history goes on under one setting whose blocks end by themselves."""

    __slots__ = ("_lasted", "_policy", "_stop")

    def __init__(self, past: Past, policy: Policy, stop: Stop, rule: Rule) -> None:
        super().__init__()
        self._policy = policy
        self._stop = stop
        self._lasted = 0.0  # the block before, seconds
        self.latest = past.latest
        countries = {name: copy(seen) for name, seen in past.history.countries.items()}
        networks = {name: copy(seen) for name, seen in past.history.networks.items()}
        self.history = History(past.history.generation, countries, networks, self)
        self.history.incident = policy.mode
        for name, seen in past.addresses.items():
            self.addresses[name] = own = copy(seen)
            own.place = self.history.place(own, rule.now, is_hosting=seen.place.is_hosting)
        for place in (*countries.values(), *networks.values()):
            place.days = rule.marked(place.days)
        self.change_days(rule.marked)
        self._begin_block(rule)

    def mail(self, replay: Replay, client: Client, now: float, *, passes: bool) -> None:
        """Take the steps of a verdict on a mail; `passes`: the client is exempt."""
        history = self.history
        if history.incident and history.expires > now:
            self._stop.count()
            return
        if passes:
            return
        seen = self.located(replay.lookup, now - replay.kept, self._policy, client, now)
        if seen is None:
            return
        rule = Rule(self._policy, now, replay.keep)
        if record(rule, history, seen.place).begins:
            self._begin_block(rule)

    def _begin_block(self, rule: Rule) -> None:
        self._stop.count()
        self._lasted = self._policy.block_seconds(self._lasted)
        self.history.expires = rule.now + self._lasted


class Account:
    """One account of the log: its history as if nobody were ever blocked, and its stops.

    `stored`: see Replay.  `changes`: grows with every mail that may make a place count that did
    not: a mail from an address that was checked since can't cross a limit.  `mails`: how many came
    that no exemption of the account lets pass.  `heights`: by measure, the most that ever counted.
    `crossed`: the limits that were crossed, as a Rules.order has them.  `stops`: by the number of
    the setting.
    """

    __slots__ = (
        *("branches", "changes", "crossed", "heights", "mails", "moments", "name", "past", "rules"),
        *("stops", "stored"),
    )

    def __init__(self, name: str, rules: Rules, stored: dict[str, Stored]) -> None:
        self.name = name
        self.rules = rules
        self.stored = stored
        self.changes = 0
        self.mails = 0
        self.past = Past()
        self.heights = [0] * len(rules.measures)
        self.moments: dict[int, deque[float]] = {}
        self.crossed: set[tuple[int, int]] = set()
        self.branches: list[Branch] = []
        self.stops: dict[int, Stop] = {}

    def counts(
        self, rules: Sequence[Rule], seen: LoggedAddress, now: float
    ) -> list[tuple[int, int]]:
        """Return how many count towards each measure that a mail adds to, once it is recorded."""
        history, place = self.past.history, seen.place
        counts = []
        for number, (measure, rule) in enumerate(zip(self.rules.measures, rules, strict=True)):
            if measure.counts_mails:
                if rule.counts_mail(history, place):
                    moments = self.moments.setdefault(number, deque())
                    moments.append(now)
                    while now - moments[0] > measure.limit.window:
                        moments.popleft()
                    counts.append((number, len(moments)))
                continue
            at = place.of(measure.kind)
            if at is not None and not rule.is_familiar(measure.limit, measure.kind, at, history):
                own = seen if measure.kind == "address" else None
                count, _ = rule.towards(measure.limit, measure.kind, history, own)
                counts.append((number, count))
        return counts

    def is_at_top(self) -> bool:
        """Whether it was seen in no more places of any kind than have counted at a time."""
        history = self.past.history
        sizes = {
            "country": len(history.countries),
            "network": len(history.networks),
            "address": len(self.past.addresses),
        }
        return all(
            measure.counts_mails or sizes[measure.kind] <= height
            for measure, height in zip(self.rules.measures, self.heights, strict=True)
        )

    def rise(self, counts: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
        """Keep the highest counts; return the limits that they exceed for the first time."""
        crossed: set[tuple[int, int]] = set()
        for number, count in counts:
            before = self.heights[number]
            if count > before:
                self.heights[number] = count
                thresholds = self.rules.measures[number].thresholds
                crossed.update((number, most) for most in thresholds if before <= most < count)
        self.crossed |= crossed
        return crossed


class Replay:
    """Judges the mails of a log, one after the other, under every setting at once.

    `learn_until`: UTC seconds before which no account is blocked.  `stored`:
    for an import, gives an account's addresses that the store has, by name.
    `keep`, `kept`: for how many seconds a day makes familiar, and an address is
    remembered.  `latest`: UTC seconds of the last mail.  `exempt`, `outside`:
    accounts of which mail was not judged, for an exemption or `policy.domains`.
    `unlocated`: how many mails came from each address that has no country;
    `without_network`: how many came from elsewhere, but from no known network.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        lookup: Lookup,
        exemptions: Sequence[ExemptionRow] = (),
        learn_until: float = 0,
        stored: Callable[[str], dict[str, Stored]] | None = None,
    ) -> None:
        self.settings = settings
        self._config = settings[0].config  # they differ only in limits
        self.lookup = lookup
        self.keep = self._config.keep_sightings
        # As `pcc_admin.py cleanup` does.
        self.kept = max(setting.config.kept_sightings for setting in settings)
        self.latest = 0.0
        self.exempt: set[str] = set()
        self.outside: set[str] = set()
        self.unlocated: Counter[str] = Counter()
        self.without_network = 0
        self._exemptions = exemptions
        self._learn_until = learn_until
        self._stored = stored
        self._logins: dict[bytes, Account | None] = {}
        self._accounts: dict[str, Account] = {}
        self._clients: dict[bytes, Client] = {}
        self._rules: dict[tuple[int, ...], Rules] = {}

    @property
    def accounts(self) -> Collection[Account]:
        """The accounts that were met and that the configuration covers."""
        return self._accounts.values()

    @property
    def mails(self) -> int:
        """How many came that no exemption of their account lets pass."""
        return sum(account.mails for account in self._accounts.values())

    @property
    def needs_networks(self) -> bool:
        """Whether any limit is about networks."""
        kinds = {measure.kind for rules in self._rules.values() for measure in rules.measures}
        return not kinds.isdisjoint(("network", "hosting"))

    def stops(self, number: int) -> list[Stop]:
        """Return whom a setting would have blocked, in the order of time."""
        stops = [account.stops[number] for account in self.accounts if number in account.stops]
        return sorted(stops, key=lambda stop: (stop.at, stop.account.name))

    def mail(self, submission: Submission) -> None:
        """Take the steps of a verdict on one mail, under every setting."""
        now, _, _, written, login = submission
        try:
            account = self._logins[login]
        except KeyError:
            account = self._account(login)
        if account is None:
            return
        if now > self.latest:
            self.latest = now
        exempt = self._exempt(account, now) if self._exemptions else []
        if exempt and exemption_of_account(exempt):
            self.exempt.add(account.name)
            return
        account.mails += 1
        client = self._clients.get(written)
        if client is None:
            if len(self._clients) >= CLIENTS_KEPT:
                self._clients.clear()
            client = self._clients[written] = Client(written, self._config, self.lookup)
        passes = client.is_exempt or (
            bool(exempt) and client.is_exempt_by(self._config, exempt, self.lookup)
        )
        for branch in account.branches:
            branch.mail(self, client, now, passes=passes)
        if not passes:
            self._judge(account, client, now)

    def _judge(self, account: Account, client: Client, now: float) -> None:
        """Record a mail in the history that is the same for all settings, and measure it."""
        past = account.past
        seen = past.addresses.get(client.recorded)
        stored = account.stored.get(client.recorded) if account.stored else None
        if (
            seen is not None
            and seen.checked == account.changes
            and past.latest <= now <= seen.plain_until
        ):  # Most mail repeats what is known.
            past.latest = now
            past.addresses[client.recorded] = past.addresses.pop(client.recorded)
            seen.client_name = client.name
            for record_of in seen.place.records:
                record_of.mails += 1
                record_of.last_seen = now
        else:
            policy = account.rules.recorder
            seen = past.located(self.lookup, now - self.kept, policy, client, now, stored)
            if seen is None:
                if not client.country:
                    self.unlocated[client.address] += 1
                return
            self._measure(account, client, seen, now)
        if stored is None or not stored.first_seen <= now <= stored.last_seen:
            seen.new_mails += 1
        self.without_network += not seen.network

    def _measure(self, account: Account, client: Client, seen: LoggedAddress, now: float) -> None:
        history = account.past.history
        rule, rules = account.rules.at(now, self.keep)
        counts_mail = rule.counts_mail(history, seen.place)
        # Most accounts never get higher: then it does not matter what counts in which window.
        is_at_top = account.is_at_top() and not counts_mail
        if not is_at_top and not rule.is_repeat(history, seen.place, 0):
            account.changes += 1
        rule.see(history, seen.place)
        if seen.checked != account.changes and not is_at_top:
            counts = account.counts(rules, seen, now)
            if now >= self._learn_until:
                crossed = account.rise(counts)
                if crossed:
                    self._stop(account, client, crossed, seen, now)
        if now >= self._learn_until:
            seen.checked = account.changes
        # Until when does more mail from there change nothing but counts and times?
        policy = rule.policy
        if policy.min_mails == 1 and not counts_mail:
            midnight = (rule.today + 1) * DAY - 1e-6
            seen.plain_until = (
                midnight if is_at_top else min(now + policy.narrowest_window, midnight)
            )

    def _stop(
        self,
        account: Account,
        client: Client,
        crossed: set[tuple[int, int]],
        seen: LoggedAddress,
        now: float,
    ) -> None:
        """Stop an account under the settings whose first limit a mail crosses."""
        for number, limits in enumerate(account.rules.order):
            if number in account.stops or crossed.isdisjoint(limits):
                continue
            policy = account.rules.policies[number]
            rule = Rule(policy, now, self.keep)
            crossing = rule.crossing(account.past.history, seen.place)
            if crossing is not None:
                stop = account.stops[number] = Stop(account, number, crossing, client, now)
                if policy.block_for:
                    account.branches.append(Branch(account.past, policy, stop, rule))

    def _account(self, login: bytes) -> Account | None:
        """Return the account of a login that is met for the first time, None to leave it alone."""
        name = self._config.normalised_account(text(login))
        account = self._accounts.get(name)
        if name and not self._config.covers(name):
            (self.exempt if self._config.is_in_scope(name) else self.outside).add(name)
        elif account is None and name:
            policies = [setting.config.policy_for(name) for setting in self.settings]
            key = tuple([id(policy) for policy in policies])
            rules = self._rules.get(key)
            if rules is None:
                rules = self._rules[key] = Rules(policies)
            stored = self._stored(name) if self._stored else {}
            account = self._accounts[name] = Account(name, rules, stored)
        self._logins[login] = account
        return account

    def _exempt(self, account: Account, now: float) -> list[tuple[str, str]]:
        """Return the exemptions that hold for an account, and for clients, at a time."""
        names = ("account", account.name), ("domain", account.name.rpartition("@")[2])
        return [
            (row.kind, row.value)
            for row in self._exemptions
            if (row.kind == "client" or (row.kind, row.value) in names)
            and (not row.until or row.until > now)
        ]


def pasts(replay: Replay) -> Iterator[AccountPast]:
    """Return what is to be imported of each account.

    To those that any setting would have blocked the log makes nothing familiar: a thief teaches
    nothing, and a patient one had been there for days before.
    """
    for account in replay.accounts:
        countries = {name: copy(seen) for name, seen in account.past.history.countries.items()}
        for country in countries.values():
            country.mails = 0
        sightings = []
        for address in account.past.addresses.values():
            countries[address.country].mails += address.new_mails
            sighting = Sighting(
                address.name,
                address.country,
                address.network,
                address.first_seen,
                address.last_seen,
                mails=address.new_mails,
                days=address.days,
                runs=address.runs,
                client_name=address.client_name,
            )
            sightings.append(sighting)
        if account.stops:
            for seen in (*countries.values(), *sightings):
                seen.days = ""
        yield AccountPast(account.name, list(countries.values()), sightings)
