"""The verdict that a mail would get now, and why; nothing is written.

It takes the steps of a verdict on records in memory that are never saved, so
that it can't say anything else than the verdict would.
"""

from __future__ import annotations

from pcc.address import packed_address
from pcc.config import Config
from pcc.history import Unchanged, clock_shift
from pcc.places.lookup import Lookup
from pcc.protocol import PolicyRequest
from pcc.rule import Rule, record
from pcc.store import networks
from pcc.store.engine.interface import Database
from pcc.store.sightings import Incident, Sighting
from pcc.verdict.case import Case, examine, locate
from pcc.verdict.incident import stopping_action


class Preview:
    """The verdict: `stopped` or not, the action, and the reason in a sentence."""

    def __init__(self, country: str) -> None:
        self.country = country
        self.action = "DUNNO"
        self.stopped = False
        self.rule = ""
        self.countries: list[str] = []
        self.because = ""
        self.problems: list[str] = []


def preview(
    config: Config, database: Database, account: str, address: str, client_name: str, now: float
) -> Preview:
    """Return the verdict on a mail of an account from an address at this time."""
    if not config.covers(account):
        return _passing("", "the configuration exempts the account or leaves its domain out")
    request = PolicyRequest({"client_address": address, "client_name": client_name})
    problems: list[str] = []
    lookup = Lookup(*config.files_of_places, problems.append)
    case = examine(config, database, lookup, account, request, now)
    if case.because:
        result = _passing(case.country, case.because)
    elif case.known.incident is not None and case.is_blocked(now):
        locate(case, lookup, packed_address(address))
        result = _blocked(case, case.known.incident)
    else:
        result = _judged(config, database, lookup, case, now)
    result.problems = problems
    return result


def _passing(country: str, because: str) -> Preview:
    result = Preview(country)
    result.because = because
    return result


def _blocked(case: Case, incident: Incident) -> Preview:
    result = Preview(case.country)
    result.stopped = True
    hold = case.policy.holds
    under_limit = not case.policy.hold_limit or incident.held < case.policy.hold_limit
    result.action = "HOLD" if hold and under_limit else stopping_action(case.policy)
    result.rule = incident.rule
    result.countries = incident.countries.split(",") if incident.countries else []
    result.because = f"the account is blocked: {incident.rule}"
    return result


def _judged(config: Config, database: Database, lookup: Lookup, case: Case, now: float) -> Preview:
    rule = Rule(case.policy, now, config.keep_sightings)
    history = case.known.history()
    history.addresses = Unchanged(history.addresses)
    made = lookup.networks_made()
    if case.network and case.known.networks_made != made:  # as a decision would write it down
        network_of = lookup.network_of_recorded
        history.networks = networks.sums(networks.addresses(database, case.account), network_of)
    _, seconds = clock_shift(history, now)
    rule.now += seconds  # times that lie ahead are mended when a mail is recorded
    seen = case.known.sighting or Sighting(case.address, case.country, case.network, now, now)
    place = history.place(seen, now, is_hosting=case.is_hosting)
    is_familiar = {
        where.name: rule.is_familiar(case.policy.limits[0], kind, where, history)
        for kind, where in (("country", place.country), ("network", place.network))
        if where is not None
    }
    judgement = record(rule, history, place)
    result = Preview(case.country)
    crossing = judgement.crossing or judgement.observed
    if crossing is None:
        words = [
            f"{name} is {'familiar' if familiar else 'counted'}"
            for name, familiar in is_familiar.items()
        ]
        hosting = ", of a hosting provider" if case.is_hosting else ""
        result.because = f"no limit is crossed; {', '.join(words)}{hosting}"
        result.countries = rule.countries_within(case.policy.windows[-1], history)
        return result
    result.rule = crossing.rule
    result.countries = crossing.countries
    result.because = f"{crossing.rule} would be crossed"
    if case.policy.observes or judgement.crossing is None:
        result.because += ", which is only observed"
        return result
    result.stopped = True
    result.action = "HOLD" if case.policy.holds else stopping_action(case.policy)
    return result
