"""Blocks that an administrator lifted again soon: likely false alarms, and how to prevent them.

An administrator lifted such a block by hand within a day, and deleted no held mail before the
account's next incident, as one does after a theft.  A block set by hand is no false alarm.

The rule itself tries whether a setting would have prevented a block, on the countries that counted
then: with familiar countries, or as a group.  It tries the limit that was crossed, and the mail
that crossed it: later mail was stopped, and nobody knows where it came from.
"""

from __future__ import annotations

import json
import math
import re
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from pcc.config import Limit, Policy, checks
from pcc.history import DAY, History, Place, Seen, Unchanged
from pcc.replay.outcomes import CLOUDS
from pcc.report.world import world
from pcc.rule import MOST_MAILS, MOST_PLACES, Rule
from pcc.store.sightings import Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pcc.config import Config
    from pcc.places.travel import Leg
    from pcc.store.incidents import IncidentRow, SightingRow
    from pcc.store.report import LiftRow

    Command = Callable[..., str]

SOON = DAY
"""Seconds within which a block must be lifted to be a likely false alarm."""

JOURNEY = "14d"

_KEYS = [key for _, key in (*MOST_PLACES, *MOST_MAILS)]
_RULE = re.compile(rf"({'|'.join(_KEYS)}) ([0-9]+) in (\S+)")


class Cure(NamedTuple):
    """A setting or a command that would have prevented a block.

    `kind`: "client", "familiar_after", "country_groups", "account" or "override".  `text`: a
    command, or lines of pcc.toml where `is_setting`.  `because`: why, in a sentence.
    """

    kind: str
    text: str
    is_setting: bool
    because: str


class Alarm(NamedTuple):
    """A block that was lifted soon.

    `again`: those of its countries where the account was seen after it was lifted.  `legs`: the
    fastest ways between the places where it was seen before, as far as those are known.
    """

    incident: IncidentRow
    by: str
    reason: str
    again: list[str]
    cures: list[Cure]
    legs: list[Leg]


class Evidence(NamedTuple):
    """All countries of an account, and its addresses within the window.

    `is_whole`: there were not more of them than were read.  `legs`: how fast it travelled.
    """

    countries: Sequence[Seen]
    sightings: Sequence[SightingRow]
    is_whole: bool
    legs: list[Leg]


def lifted_soon(
    incidents: Sequence[IncidentRow], lifts: Iterable[LiftRow]
) -> list[tuple[IncidentRow, LiftRow]]:
    """Return blocks that look like false alarms, also observed ones, with who lifted each.

    `incidents`: the oldest first.
    """
    unblocked = {(row.account, row.at): row for row in lifts if row.what == "unblocked"}
    deleted: dict[str, list[float]] = {}
    for row in lifts:
        if row.what == "deleted":
            deleted.setdefault(row.account, []).append(row.at)
    found = []
    next_began: dict[str, float] = {}  # mail deleted from then on is of that incident
    for incident in reversed(incidents):
        lift = unblocked.get((incident.account, incident.ended or 0))
        until = next_began.get(incident.account, math.inf)
        next_began[incident.account] = incident.began
        if (
            lift is not None
            and _RULE.fullmatch(incident.rule)
            and lift.at - incident.began <= SOON
            and not any(incident.began <= at < until for at in deleted.get(incident.account, ()))
        ):
            found.append((incident, lift))
    return found[::-1]


def alarm(
    config: Config, command: Command, incident: IncidentRow, lift: LiftRow, known: Evidence
) -> Alarm:
    """Return a block that was lifted soon, with its cures, the most fitting one first."""
    counted = incident.countries.split(",")
    again = [
        seen.name for seen in known.countries if seen.name in counted and seen.last_seen > lift.at
    ]
    crossed = _Crossed(config, incident, known)
    cures = [_client_exemption(command, crossed)]
    if (
        crossed.key == "max_countries"
        and crossed.policy.familiar_after != 1
        and crossed.is_prevented_by(familiar_after=1)
    ):
        because = "It had been seen in some of these countries on earlier days."
        cures.append(Cure("familiar_after", "familiar_after = 1", True, because))
    cures.append(_group(crossed, again))
    account = incident.account
    # A login that begins with a dash would be taken for an option.
    what = ["--for", JOURNEY, "--", account] if account[0] == "-" else [account, "--for", JOURNEY]
    exemption = Cure(
        "account",
        command("exempt", "add", "account", *what),
        False,
        "Before a journey, for as long as it lasts.",
    )
    override = _override(config, crossed)
    # An account that was there again later is at home there: for good comes before for a while.
    is_back = incident.country in again
    cures += [override, exemption] if is_back and override else [exemption, override]
    cures_found = [cure for cure in cures if cure is not None]
    return Alarm(incident, lift.by, lift.detail, again, cures_found, known.legs)


class _Crossed:
    """A limit that was crossed, and the mail that did.

    `key`: of the limit, "max_countries" for example; `most`: how many it allowed.
    """

    def __init__(self, config: Config, incident: IncidentRow, known: Evidence) -> None:
        found = _RULE.fullmatch(incident.rule)
        assert found is not None
        self.incident = incident
        self.known = known
        self.key, self.window_text = found[1], found[3]
        self.most = int(found[2])
        self.countries = incident.countries.split(",")
        self.policy = config.policy_for(incident.account)
        self._keep = config.keep_sightings

    def is_prevented_by(self, **changes: object) -> bool:
        """Whether a change of the account's policy would have let the crossing mail pass."""
        limit = {
            **dict.fromkeys(Limit.__slots__, 0),
            "max_countries": self.most,
            "familiar_after": changes.get("familiar_after", self.policy.familiar_after),
            "window": self.incident.window_seconds,
            "window_text": self.window_text,
        }
        values = {name: getattr(self.policy, name) for name in Policy.__slots__}
        # All of them had counted, and of how many mails it was is not known any more.
        values |= {"limits": [limit], "min_mails": 1, "ignore_countries": frozenset(), **changes}
        rule = Rule(Policy(values), self.incident.began, self._keep)
        # Each country as it was when the limit was crossed; of earlier days, the first.
        countries: dict[str, Seen] = {}
        for name in self.countries:
            firsts = [seen.first_seen for seen in self.known.countries if seen.name == name]
            first = firsts[0] if firsts else self.incident.began
            day = int(first // DAY)
            earlier = str(day) if day < rule.today else ""
            countries[name] = Seen(name, first, self.incident.began, 1, 0, earlier)
        here = countries.get(self.incident.country)
        if here is None:
            return False
        place = Place(here, None, Sighting("", here.name, "", 0, 0), is_hosting=False)
        return rule.crossing(History(0, countries, {}, Unchanged()), place) is None


def _client_exemption(command: Command, crossed: _Crossed) -> Cure | None:
    """Exempt the machines of a cloud, if without them nothing would have been crossed."""
    if not crossed.known.is_whole:
        return None
    for domain, whose in CLOUDS.items():
        others = [
            row for row in crossed.known.sightings if not row.client_name.lower().endswith(domain)
        ]
        if len(others) == len(crossed.known.sightings):
            continue
        left = len(others)  # at least as many as there are networks
        if crossed.key == "max_countries":
            left = len({row.country for row in others} & set(crossed.countries))
        elif crossed.key.endswith("_mails"):
            left = sum(row.mails for row in others)
        if left <= crossed.most:
            return Cure(
                "client",
                command("exempt", "add", "client", domain),
                False,
                f"It sends by {whose} machines, wherever they are.",
            )
    return None


def _group(crossed: _Crossed, again: list[str]) -> Cure | None:
    """Count two neighbours as one, if it was seen in both again later."""
    if crossed.key != "max_countries":
        return None
    policy = crossed.policy
    free = [name for name in again if name not in policy.group_of]
    for pair in combinations(free, 2):
        if not world().are_neighbours(*pair):
            continue
        group_of = {**policy.group_of, **dict.fromkeys(pair, pair[0])}
        if crossed.is_prevented_by(group_of=group_of):
            groups: dict[str, list[str]] = {}
            for country, group in group_of.items():
                groups.setdefault(group, []).append(country)
            return Cure(
                "country_groups",
                f"country_groups = {json.dumps(list(groups.values()))}",  # as TOML writes it
                True,
                f"Later it was seen again on both sides of the border of {' and '.join(pair)}.",
            )
    return None


def _override(config: Config, crossed: _Crossed) -> Cure | None:
    """Raise the limit that was crossed, for the account."""
    account = crossed.incident.account
    lines = _raised(crossed)
    try:
        is_nameable = checks.account(account) == account
    except checks.Wrong:
        is_nameable = False
    if not lines or not is_nameable:
        return None
    because = "It is in so many places as a rule."
    if crossed.policy is not config.policy:
        because += "  (In the [[override]] that it has.)"
        return Cure("override", lines, True, because)
    # A basic string of TOML that has nothing unprintable in it.
    name = "".join(
        [c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in account]
    )
    return Cure("override", f'[[override]]\naccounts = ["{name}"]\n{lines}', True, because)


def _raised(crossed: _Crossed) -> str:
    """Return the keys with the limit raised by one, "" if today's configuration has none such."""
    key = crossed.key
    limits = crossed.policy.limits
    matching = [
        number
        for number, limit in enumerate(limits)
        if (getattr(limit, key), limit.window) == (crossed.most, crossed.incident.window_seconds)
    ]
    if not matching:
        return ""
    if matching[0] == 0:
        return f"{key} = {crossed.most + 1}"
    further = []
    for number, limit in enumerate(limits[1:], start=1):
        values = {name: getattr(limit, name) for name in _KEYS}
        if number == matching[0]:
            values[key] += 1
        pairs = [f"{name} = {value}" for name, value in values.items() if value]
        if limit.familiar_after != crossed.policy.familiar_after:
            pairs.append(f"familiar_after = {limit.familiar_after}")
        if limit.observes:
            pairs.append('mode = "observe"')
        further.append(f'{{ {", ".join(pairs)}, window = "{limit.window_text}" }}')
    return f"limit = [{', '.join(further)}]"
