"""The other accounts that were seen at the addresses of an incident: who else the thief has got.

Two kinds of addresses say nothing, and are left out.  Some are familiar for the account, as its
home and its office are.  Others are shared by very many accounts, as those of mobile networks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc.escaping import escaped
from pcc.rule import Rule
from pcc.store import incidents, seen, sightings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pcc.config import Config
    from pcc.store.engine.interface import Database
    from pcc.store.incidents import IncidentRow

MOST_SHARING = 20
"""An address that more accounts share says nothing about any of them."""

MOST_NAMED = 10
"""Accounts that are named to people; the rest is only counted."""

_LONGEST_NAME = 60


class Other(NamedTuple):
    """An account, at which of the addresses it was seen, and whether it is blocked."""

    account: str
    addresses: list[str]
    is_blocked: bool


def familiar(config: Config, database: Database, incident: IncidentRow) -> set[str]:
    """Return the addresses that were familiar for the account at the time of the incident."""
    policy = config.policy_for(incident.account)
    if not policy.familiar_after:
        return set()
    rule = Rule(policy, incident.began, config.keep_sightings)
    known = sightings.known(database, incident.account, "")
    history = known.history()
    return {
        at.name
        for at in known.since(incident.began - incident.window_seconds)
        if rule.familiarity_of("address", at, history) >= policy.familiar_after
    }


def find(database: Database, account: str, addresses: Iterable[str], now: float) -> list[Other]:
    """Return who else was seen at these addresses: with most addresses first, then the latest."""
    telling = {*addresses}
    if not telling:
        return []
    found: dict[str, list[str]] = {}
    for name, address in seen.others_at(database, account, sorted(telling), MOST_SHARING):
        found.setdefault(name, []).append(address)
    if not found:
        return []
    blocked = {row.account for row in incidents.open_incidents(database, "enforce", now)}
    others = [Other(name, sorted(at), name in blocked) for name, at in found.items()]
    return sorted(others, key=lambda other: -len(other.addresses))


def address_of_most(others: Iterable[Other]) -> str:
    """Return the address where most of them were seen."""
    counts = Counter(address for other in others for address in other.addresses)
    return counts.most_common(1)[0][0]


def sentence(others: Sequence[Other]) -> str:
    """Return who they are in a sentence, escaped; "" for nobody."""
    if not others:
        return ""
    names = []
    for other in others[:MOST_NAMED]:
        notes = ["blocked"] if other.is_blocked else []
        if len(other.addresses) > 1:
            notes.append(f"at {len(other.addresses)} of them")
        name = other.account
        if len(name) > _LONGEST_NAME:
            name = name[: _LONGEST_NAME - 3] + "..."
        names.append(escaped(name) + (f" ({', '.join(notes)})" if notes else ""))
    more = len(others) - MOST_NAMED
    text = ", ".join(names) + (f" and {more} more" if more > 0 else "")
    return f"Also seen from these addresses: {text}."


def data(others: Sequence[Other]) -> list[dict[str, Any]]:
    """Return them for `--json` and notify.command."""
    return [
        {"account": other.account, "addresses": other.addresses, "blocked": other.is_blocked}
        for other in others
    ]
