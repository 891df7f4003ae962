"""How near accounts are to their limit, by the rule's own count."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcc.rule import MOST_MAILS, MOST_PLACES, Crossing, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pcc.config import Config, Limit, Policy
    from pcc.history import History
    from pcc.store.history import AccountRow

SHARE = 0.5
"""An account that has used this share of a limit is listed."""

LEAST = 2
"""Places that an account must be in to be near a limit: everybody is somewhere."""


class Near(NamedTuple):
    """An account near a limit: places that count now, of how many allowed.

    `rule`: the limit that it is nearest to, as logs show it.  `countries`: seen in its window.
    """

    account: str
    rule: str
    counted: int
    allowed: int
    countries: list[str]

    @property
    def rank(self) -> tuple[float, int, str]:
        """The key to sort by, the nearest first."""
        return -self.counted / self.allowed, -self.counted, self.account


class Nearness:
    """Measures accounts under a configuration at a time (UTC seconds)."""

    def __init__(self, config: Config, exempt: set[tuple[str, str]], now: float) -> None:
        self._config = config
        self._exempt = exempt
        self._now = now
        self._rules: dict[int, Rule] = {}

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

    def of(self, row: AccountRow) -> Near | None:
        """Return how near an account is, None if it isn't: exempt, over its limit, or far away."""
        if row.has_incident or (len(row.countries) < LEAST and len(row.addresses) < LEAST):
            return None
        if not self._config.covers(row.account) or self._is_exempt(row.account):
            return None
        rule = self._rule(self._config.policy_for(row.account))
        history = row.history()
        found = [
            Near(
                row.account,
                Crossing(limit, key, []).rule,
                counted,
                getattr(limit, key),
                rule.countries_within(limit.window, history),
            )
            for limit in rule.policy.limits
            for key, counted in _counted(rule, limit, history)
            if counted >= max(LEAST, getattr(limit, key) * SHARE)
        ]
        return min(found, key=lambda near: near.rank, default=None)

    def _rule(self, policy: Policy) -> Rule:
        rule = self._rules.get(id(policy))
        if rule is None:
            rule = self._rules[id(policy)] = Rule(policy, self._now, self._config.keep_sightings)
        return rule

    def _is_exempt(self, account: str) -> bool:
        domain = account.rpartition("@")[2]
        return ("account", account) in self._exempt or ("domain", domain) in self._exempt


def _counted(rule: Rule, limit: Limit, history: History) -> Iterator[tuple[str, int]]:
    """Yield what a limit counts, by its key: places, or mails."""
    for kind, key in MOST_PLACES:
        if getattr(limit, key):
            yield key, rule.towards(limit, kind, history)[0]
    for kind, key in MOST_MAILS:
        if getattr(limit, key):
            yield key, rule.mails_towards(limit, kind, history)
