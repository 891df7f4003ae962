"""The grid of settings that a replay judges, and what is to be measured of an account for all.

A setting is the configuration with other values in `[policy]`, and mode "enforce" there; overrides
and further limits hold as they are.  Limits that differ only in their number are one *measure*:
what counts towards it, and how much of that passes under which settings.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc.config import Config, Policy
from pcc.config.options import checked_values, read_document
from pcc.history import DAY
from pcc.rule import MOST_MAILS, MOST_PLACES, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pcc.config import Limit, Record

KINDS = {key: kind for kind, key in (*MOST_PLACES, *MOST_MAILS)}
"""The keys of a limit, and what each counts."""


class Setting(NamedTuple):
    """A configuration of the grid: the numbers of its first limit by key; `window` as written."""

    most: dict[str, int]
    window: str
    config: Config

    def named(self, keys: Sequence[str]) -> str:
        """Return its numbers of some keys, as in pcc.toml, and its window."""
        numbers = [f"{key} = {self.most[key]}" for key in keys]
        return ", ".join([*numbers, f'window = "{self.window}"'])


def grid(path: str, tried: Mapping[str, Sequence[int]], windows: Sequence[str]) -> list[Setting]:
    """Return every combination of numbers, by key, and windows; others stay as pcc.toml has them.

    Raises ConfigError.
    """
    document = read_document(path)
    limit = Config(checked_values(path, document)).policy.limits[0]
    keys = [key for key, numbers in tried.items() if numbers]
    settings = []
    numbers = product(*[tried[key] for key in keys])
    for most, window in product(numbers, windows or [limit.window_text]):
        changes = {**dict(zip(keys, most, strict=True)), "window": window, "mode": "enforce"}
        changed = {**document, "policy": {**document.get("policy", {}), **changes}}
        config = Config(checked_values(path, changed))
        first = config.policy.limits[0]
        settings.append(Setting({key: getattr(first, key) for key in KINDS}, window, config))
    return settings


class Measure:
    """The count towards limits that differ in nothing but their number.

    `thresholds`: these numbers, ascending.  `policy`: one with such a limit and no other.
    """

    def __init__(self, key: str, limit: Limit, policy: Policy, thresholds: Sequence[int]) -> None:
        values = {**dict.fromkeys(KINDS, 0), key: max(thresholds), "observes": False}
        self.key = key
        self.kind = KINDS[key]
        self.counts_mails = self.kind in dict(MOST_MAILS)
        self.window_text = limit.window_text
        self.familiar_after = limit.familiar_after
        self.thresholds = tuple(sorted(set(thresholds)))
        self.policy = Policy({**_values(policy), "limits": [{**_values(limit), **values}]})
        self.limit = self.policy.limits[0]

    @property
    def name(self) -> str:
        """The counted thing, as in `max_countries in 2d`."""
        return f"{self.key} in {self.window_text}"


class Rules:
    """The policies of the settings for one account, which differ only in limits.

    `recorder`: the policy by which mails are recorded for all of them.  `measures`: of all limits,
    also of those that only observe.  `order`: by setting, the limits that block, in the order in
    which the rule looks at them, each as the number of its measure and its own.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = policies
        numbers: dict[tuple[str, int, int], list[tuple[int, Limit]]] = {}
        for policy in policies:
            for limit in policy.limits:
                for key in KINDS:
                    if getattr(limit, key):
                        alike = numbers.setdefault((key, limit.window, limit.familiar_after), [])
                        alike.append((getattr(limit, key), limit))
        first = policies[0]
        self.measures = [
            Measure(key, alike[0][1], first, [most for most, _ in alike])
            for (key, _, _), alike in numbers.items()
        ]
        index = {key: number for number, key in enumerate(numbers)}
        self.order = [
            []
            if policy.observes
            else [
                (index[key, limit.window, limit.familiar_after], getattr(limit, key))
                for limit in policy.limits
                for key in KINDS
                if getattr(limit, key) and not limit.observes
            ]
            for policy in policies
        ]
        limits = [_values(measure.limit) for measure in self.measures]
        self.recorder = Policy({**_values(first), "limits": limits or [_values(first.limits[0])]})
        self._day = (0, 0)
        self._at: tuple[Rule, list[Rule]] | None = None

    def at(self, now: float, keep: int) -> tuple[Rule, list[Rule]]:
        """Return the rule by which a mail is recorded, and that of each measure."""
        day = (int(now // DAY), keep)
        if self._at is None or day != self._day:
            self._day = day
            rules = [Rule(measure.policy, now, keep) for measure in self.measures]
            self._at = (Rule(self.recorder, now, keep), rules)
        else:
            self._at[0].now = now
            for rule in self._at[1]:
                rule.now = now
        return self._at


def _values(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}
