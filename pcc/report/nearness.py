"""How near accounts are to their limits, by the rule's own count, and which to keep an eye on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcc.history import DAY
from pcc.rule import MOST_MAILS, MOST_PLACES, Crossing, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pcc.config import Config, Policy
    from pcc.history import Seen
    from pcc.store.exemptions import ExemptionRow
    from pcc.store.report import AccountRow

SHARE = 0.5
"""An account that has used this share of a limit is listed."""

LEAST = 2
"""The least places or mails near a limit: everybody is somewhere."""

WATCHED_SECONDS = 30 * DAY
"""The time that the watch list looks back."""

LEAST_WATCHED = 4
"""The least unfamiliar countries and networks of an account on the watch list."""


class Near(NamedTuple):
    """An account near a limit, or over it: places or mails that count now, of how many allowed.

    `rule`: the limit, as logs show it.  `mode`: "observe" where it blocks nobody, otherwise
    "enforce".  `countries`, `networks`: those that count in its window.
    """

    account: str
    rule: str
    mode: str
    counted: int
    allowed: int
    countries: list[str]
    networks: list[str]

    @property
    def limit(self) -> str:
        """The limit for people, who shall not take one that only observes for one that blocks."""
        return f"{self.rule} (observes)" if self.mode == "observe" else self.rule

    @property
    def is_over(self) -> bool:
        """Whether more count than the limit allows."""
        return self.counted > self.allowed

    @property
    def rank(self) -> tuple[float, int, str]:
        """The key to sort by, the nearest first."""
        return -self.counted / self.allowed, -self.counted, self.account


class Watched(NamedTuple):
    """An account and the unfamiliar places where it was seen, with its mails from these countries.

    A thief who is patient enough for every limit has many.
    """

    account: str
    countries: list[str]
    networks: list[str]
    mails: int

    @property
    def rank(self) -> tuple[int, int, str]:
        """The key to sort by, most places first."""
        return -len(self.countries) - len(self.networks), -self.mails, self.account


class Nearness:
    """Measures accounts under a configuration at a time (UTC seconds), one after the other."""

    def __init__(self, config: Config, exempt: Iterable[ExemptionRow], now: float) -> None:
        self._config = config
        self._exempt = {(row.kind, row.value) for row in exempt if not row.until or row.until > now}
        self._now = now
        self._rules: dict[int, Rule] = {}
        self.over: list[Near] = []
        self.near: list[Near] = []
        self.watch: list[Watched] = []

    def add(self, row: AccountRow) -> None:
        """Note an account where it is near a limit, over one, or one to keep an eye on."""
        if not self.covers(row):
            return
        for found in self.of(row):
            (self.over if found.is_over else self.near).append(found)
        if watched := self.watched(row):
            self.watch.append(watched)

    @property
    def addresses_since(self) -> float:
        """From when on a limit on addresses counts them; now, where there is no such limit."""
        windows = [
            limit.window
            for policy in self._config.policies
            for limit in policy.limits
            if limit.max_addresses
        ]
        return self._now - max(windows, default=0)

    def covers(self, row: AccountRow) -> bool:
        """Whether limits hold for an account: it has no incident already, and is not exempt."""
        domain = row.account.rpartition("@")[2]
        return (
            not row.has_incident
            and self._config.covers(row.account)
            and ("account", row.account) not in self._exempt
            and ("domain", domain) not in self._exempt
        )

    def of(self, row: AccountRow) -> list[Near]:
        """Return how near an account is to the limits in force, and to those that observe.

        The nearest of each, if it is near any.
        """
        rule = self._rule(row)
        history = row.history()
        found: dict[str, Near] = {}
        for limit in rule.policy.limits:
            counts = {
                key: rule.towards(limit, kind, history)[0]
                for kind, key in MOST_PLACES
                if getattr(limit, key)  # it is on
            }
            for kind, key in MOST_MAILS:
                if getattr(limit, key):
                    counts[key] = rule.mails_towards(limit, kind, history)
            for key, counted in counts.items():
                allowed = getattr(limit, key)
                if counted < max(LEAST, allowed * SHARE):
                    continue
                mode = "observe" if limit.observes or rule.policy.observes else "enforce"
                near = Near(
                    row.account,
                    Crossing(limit, key, []).rule,
                    mode,
                    counted,
                    allowed,
                    rule.countries_within(limit.window, history),
                    [seen.name for seen in rule.towards(limit, "network", history)[1]],
                )
                if mode not in found or near.rank < found[mode].rank:
                    found[mode] = near
        return list(found.values())

    def watched(self, row: AccountRow) -> Watched | None:
        """Return an account with its unfamiliar places, None where these are few."""
        countries = self._unfamiliar(row, row.countries)
        networks = self._unfamiliar(row, row.networks)
        if len(countries) + len(networks) < LEAST_WATCHED:
            return None
        return Watched(
            row.account,
            [seen.name for seen in countries],
            [seen.name for seen in networks],
            sum(seen.mails for seen in countries),
        )

    def _unfamiliar(self, row: AccountRow, places: list[Seen]) -> list[Seen]:
        rule = self._rule(row)
        return [
            seen
            for seen in places
            if seen.generation == row.generation
            and seen.last_seen > self._now - WATCHED_SECONDS
            and seen.name not in rule.policy.ignore_countries
            and rule.familiarity(seen) < (rule.policy.familiar_after or 1)
        ]

    def _rule(self, row: AccountRow) -> Rule:
        policy: Policy = self._config.policy_for(row.account)
        rule = self._rules.get(id(policy))
        if rule is None:
            rule = self._rules[id(policy)] = Rule(policy, self._now, self._config.keep_sightings)
        return rule
