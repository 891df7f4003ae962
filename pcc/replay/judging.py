"""What the limits would have done: the rule of a verdict, on the mails of a log, in memory.

A grid of settings is judged in one pass.  A setting is the configuration with another limit in
`[policy]`, and mode "enforce" there; overrides and further limits hold as they are.  As long as an
account is blocked by none of them its history is the same for all, and is kept once; from its block
on a setting needs none, unless the block ends by itself (`block_for`), when a history of its own
goes on.  A mail is first judged by the few limits that none of the others can be crossed without,
and repeated mail not at all.

A block lasts until the end of the log or until `block_for` has passed.  `config.account` is taken
to be the login: the line of the log has no sender.  Exemptions in the database hold for the mails
until they end.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc.config import Config, Policy
from pcc.config.options import checked_values, read_document
from pcc.history import History
from pcc.replay.past import Client, Past
from pcc.replay.submissions import text
from pcc.rule import MOST_MAILS, MOST_PLACES, Rule, record
from pcc.store.imports import AccountPast
from pcc.store.sightings import Sighting
from pcc.verdict.case import exemption_of_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pcc.config import Limit, Record
    from pcc.history import Place
    from pcc.replay.past import CountryOf, LoggedAddress
    from pcc.replay.submissions import Submission
    from pcc.rule import Crossing
    from pcc.store.exemptions import ExemptionRow
    from pcc.store.imports import Stored

KEYS = tuple(key for _, key in (*MOST_PLACES, *MOST_MAILS))
"""What a limit may limit."""

CLIENTS_KEPT = 50_000
"""Clients of which it is remembered what is to be done with their mail."""

ADDRESSES_KEPT = 4
"""Of those that a stopped account was seen at, how many are named."""


class Setting(NamedTuple):
    """One limit of the grid, and the configuration with it; `window` as it was written."""

    max_countries: int
    window: str
    config: Config

    def __str__(self) -> str:
        return f"{self.max_countries} in {self.window}"


def grid(path: str, max_countries: Sequence[int], windows: Sequence[str]) -> list[Setting]:
    """Return every combination; what is empty stays as pcc.toml has it.

    Raises ConfigError.
    """
    document = read_document(path)
    limit = Config(checked_values(path, document)).policy.limits[0]
    settings = []
    for most in max_countries or [limit.max_countries]:
        for window in windows or [limit.window_text]:
            changes = {"max_countries": most, "window": window, "mode": "enforce"}
            changed = {**document, "policy": {**document.get("policy", {}), **changes}}
            settings.append(Setting(most, window, Config(checked_values(path, changed))))
    return settings


class Stop:
    """The first time that a setting would have blocked an account.

    `number`: of the setting.  `addresses`: some of those that it was seen at
    within the limit's window, the latest first, and `address_count` of them
    all.  `countries`: those that counted.
    """

    __slots__ = (
        "_mails_before",
        "_mails_stopped",
        "account",
        "address_count",
        "addresses",
        "at",
        "client",
        "country",
        "crossing",
        "number",
    )

    def __init__(
        self, account: Account, number: int, crossing: Crossing, client: Client, now: float
    ) -> None:
        self.account = account
        self.number = number
        self.crossing = crossing
        self.client = client
        self.at = now
        self.country = account.past.addresses[client.recorded].country
        seen = list(account.past.since(now - crossing.limit.window))
        self.addresses = [address.name for address in seen[:ADDRESSES_KEPT]]
        self.address_count = len(seen)
        self._mails_before = account.mails - 1
        self._mails_stopped: int | None = None

    @property
    def mails_stopped(self) -> int:
        """How many mails would not have passed until the end of the log, the crossing one too."""
        if self._mails_stopped is None:
            return self.account.mails - self._mails_before
        return self._mails_stopped

    def count(self) -> None:
        """Count one mail as stopped, of a block that ends by itself."""
        self._mails_stopped = (self._mails_stopped or 0) + 1


class Branch(Past):
    """How an account's history goes on under one setting whose blocks end by themselves."""

    __slots__ = ("_policy", "_stop")

    def __init__(self, past: Past, policy: Policy, stop: Stop, rule: Rule) -> None:
        super().__init__()
        self._policy = policy
        self._stop = stop
        self.latest = past.latest
        self.addresses = {name: copy(seen) for name, seen in past.addresses.items()}
        countries = {name: copy(seen) for name, seen in past.history.countries.items()}
        networks = {name: copy(seen) for name, seen in past.history.networks.items()}
        self.history = History(past.history.generation, countries, networks, self)
        self.history.incident = policy.mode
        for seen in (*countries.values(), *networks.values()):
            seen.days = rule.marked(seen.days)
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
        place = self.place(replay.country_of, now - replay.kept, self._policy, client, now)
        if place is None:
            return
        rule = Rule(self._policy, now, replay.keep)
        if record(rule, history, place).begins:
            self._begin_block(rule)

    def _begin_block(self, rule: Rule) -> None:
        """Do what is left to do when an incident begins, see rule.record()."""
        self._stop.count()
        self.history.expires = rule.now + self._policy.block_for


class Rules:
    """The policies of the settings for one account, which differ only in limits.

    `enforced`: the numbers of those that block.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = policies
        self.enforced = tuple([n for n, policy in enumerate(policies) if not policy.observes])
        self._screens: dict[tuple[int, ...], Policy] = {}

    def screen(self, numbers: tuple[int, ...]) -> Policy:
        """Return a policy that is crossed by every mail that crosses one of these settings.

        A mail that it records is recorded for all settings.
        """
        screen = self._screens.get(numbers)
        if screen is None:
            limits = [limit for number in numbers for limit in self.policies[number].limits]
            values = [value for key in KEYS for value in _tightest(key, limits)]
            first = self.policies[0]
            off = {**_values(first.limits[0]), **dict.fromkeys(KEYS, 0), "observes": False}
            # min_mails are counted for every window, also of settings that are closed.
            windows = {window for policy in self.policies for window in policy.windows}
            values += [{"window": window} for window in (windows if first.min_mails > 1 else ())]
            limits_with_all = [{**off, **limit} for limit in values or [off]]
            screen = Policy({**_values(first), "limits": limits_with_all})
            self._screens[numbers] = screen
        return screen


def _values(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def _tightest(key: str, limits: list[Limit]) -> list[dict[str, Any]]:
    """Return those limits that are crossed whenever any other is: fewest, longest window."""
    found = {
        (getattr(limit, key), limit.window, limit.familiar_after)
        for limit in limits
        if getattr(limit, key) and not limit.observes
    }
    return [
        {key: most, "window": window, "familiar_after": familiar_after}
        for most, window, familiar_after in found
        if not any(
            other != (most, window, familiar_after)
            and (other[0] <= most and other[1] >= window and other[2] == familiar_after)
            for other in found
        )
    ]


class Account:
    """One account of the log: its history as far as no setting has blocked it, and its stops.

    `open`: the numbers of the settings that have not blocked it, and `screen`
    the policy that stands for them.  `stored`: see Replay.  `changes`:
    grows with every mail that may make a place count that did not: a mail from
    an address that was checked since can't cross a limit.  `mails`: how many
    came that no exemption of the account lets pass.
    """

    __slots__ = (
        "branches",
        "changes",
        "mails",
        "name",
        "open",
        "past",
        "rules",
        "screen",
        "stops",
        "stored",
    )

    def __init__(self, name: str, rules: Rules, stored: dict[str, Stored]) -> None:
        self.name = name
        self.rules = rules
        self.stored = stored
        self.open = rules.enforced
        self.screen = rules.screen(self.open)
        self.changes = 0
        self.mails = 0
        self.past = Past()
        self.branches: list[Branch] = []
        self.stops: list[Stop] = []

    def close(self, stop: Stop) -> None:
        """Note that a setting has blocked the account."""
        self.stops.append(stop)
        self.open = tuple([number for number in self.open if number != stop.number])
        self.screen = self.rules.screen(self.open)
        self.changes += 1  # others than before are checked from now on


class Replay:
    """Judges the mails of a log, one after the other, under every setting at once.

    `learn_until`: UTC seconds before which no account is blocked.  `stored`:
    for an import, gives an account's addresses that the store has, by name.
    `keep`, `kept`: for how many seconds a day makes familiar, and an address is
    remembered.  `latest`: UTC seconds of the last mail.  `exempt`, `outside`:
    accounts of which mail was not judged, for an exemption or `policy.domains`.
    `unlocated`: how many mails came from each address that has no country.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        country_of: CountryOf,
        exemptions: Sequence[ExemptionRow] = (),
        learn_until: float = 0,
        stored: Callable[[str], dict[str, Stored]] | None = None,
    ) -> None:
        self.settings = settings
        self._config = settings[0].config  # they differ only in limits
        self.country_of = country_of
        self.keep = self._config.keep_sightings
        # As `pcc_admin.py cleanup` does.
        self.kept = max(setting.config.kept_sightings for setting in settings)
        self.latest = 0.0
        self.exempt: set[str] = set()
        self.outside: set[str] = set()
        self.unlocated: Counter[str] = Counter()
        self._exemptions = exemptions
        self._learn_until = learn_until
        self._stored = stored
        self._logins: dict[bytes, Account | None] = {}
        self._accounts: dict[str, Account] = {}
        self._clients: dict[bytes, Client] = {}
        self._rules: dict[tuple[int, ...], Rules] = {}

    @property
    def accounts(self) -> Iterable[Account]:
        """The accounts that were met and that the configuration covers."""
        return self._accounts.values()

    @property
    def mails(self) -> int:
        """How many came that no exemption of their account lets pass."""
        return sum(account.mails for account in self._accounts.values())

    @property
    def stops(self) -> list[Stop]:
        """Whom the settings would have blocked: by setting, then in the order of time."""
        stops = [stop for account in self._accounts.values() for stop in account.stops]
        return sorted(stops, key=lambda stop: (stop.number, stop.at, stop.account.name))

    def mail(self, submission: Submission) -> None:
        """Take the steps of a verdict on one mail, under every setting."""
        try:
            account = self._logins[submission.login]
        except KeyError:
            account = self._account(submission.login)
        if account is None:
            return
        now = submission.time
        if now > self.latest:
            self.latest = now
        exempt = self._exempt(account, now) if self._exemptions else []
        if exempt and exemption_of_account(exempt):
            self.exempt.add(account.name)
            return
        account.mails += 1
        client = self._clients.get(submission.client) or self._client(submission.client)
        passes = client.is_exempt or (bool(exempt) and client.is_exempt_by(self._config, exempt))
        for branch in account.branches:
            branch.mail(self, client, now, passes=passes)
        if not passes:
            self._judge(account, client, now)

    def _judge(self, account: Account, client: Client, now: float) -> None:
        """Record a mail in the history that is the same for all, and judge it by the open ones."""
        past, policy = account.past, account.screen
        stored = account.stored.get(client.recorded) if account.stored else None
        place = past.place(self.country_of, now - self.kept, policy, client, now, stored)
        if place is None:
            if not client.country(self.country_of):
                self.unlocated[client.address] += 1
            return
        history = past.history
        rule = Rule(policy, now, self.keep)
        is_repeat = rule.is_repeat(history, place, 0)
        rule.see(history, place)
        address = past.addresses[client.recorded]
        if stored is None or not stored.first_seen <= now <= stored.last_seen:
            address.new_mails += 1
        if not is_repeat:
            account.changes += 1
        elif address.checked == account.changes:
            return
        if now >= self._learn_until:
            address.checked = account.changes
            if rule.crossing(history, place) is not None:
                self._check(account, client, place, now)

    def _check(self, account: Account, client: Client, place: Place, now: float) -> None:
        """Find which open settings block the account because of a mail that was recorded."""
        for number in account.open:
            policy = account.rules.policies[number]
            rule = Rule(policy, now, self.keep)
            crossing = rule.crossing(account.past.history, place)
            if crossing is not None:
                stop = Stop(account, number, crossing, client, now)
                account.close(stop)
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

    def _client(self, written: bytes) -> Client:
        if len(self._clients) >= CLIENTS_KEPT:
            self._clients.clear()
        client = self._clients[written] = Client(written, self._config)
        return client

    def _exempt(self, account: Account, now: float) -> list[tuple[str, str]]:
        """Return the exemptions that hold for an account, and for clients, at a time."""
        names = ("account", account.name), ("domain", account.name.rpartition("@")[2])
        return [
            (row.kind, row.value)
            for row in self._exemptions
            if (row.kind == "client" or (row.kind, row.value) in names)
            and (not row.until or row.until > now)
        ]


def pasts(replay: Replay, thefts: Mapping[str, Stop]) -> Iterator[AccountPast]:
    """Return what is to be imported of each account.

    `thefts`: stops that look like one.  To those accounts no place becomes
    familiar that was not so by then: a thief teaches nothing.
    """
    for account in replay.accounts:
        stop = thefts.get(account.name)
        countries = {name: copy(seen) for name, seen in account.past.history.countries.items()}
        for country in countries.values():
            country.mails = 0
        sightings = []
        for address in account.past.addresses.values():
            countries[address.country].mails += address.new_mails
            sightings.append(_sighting(address))
        if stop is not None:
            rule = Rule(account.screen, stop.at, replay.keep)
            for seen in (*countries.values(), *sightings):
                seen.days = rule.marked(seen.days)
        yield AccountPast(account.name, list(countries.values()), sightings)


def _sighting(address: LoggedAddress) -> Sighting:
    return Sighting(
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
