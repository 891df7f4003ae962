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
from pcc.rule import Crossing, Rule, record
from pcc.store.engine.interface import Database
from pcc.store.sightings import Incident, Sighting
from pcc.verdict.case import Case, examine, locate
from pcc.verdict.incident import stopping_action


class Preview:
    """What would happen: `stopped` or not, the action, and the reason in a sentence."""

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
    lookup = Lookup(
        config.country_database, config.networks_database, config.hosting_list, problems.append
    )
    case = examine(config, database, lookup, account, request, now)
    if case.because:
        result = _passing(case.country, case.because)
    elif case.known.incident is not None and case.is_blocked(now):
        locate(case, lookup, packed_address(address))
        result = _blocked(case, case.known.incident)
    else:
        result = _judged(config, case, now)
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


def _judged(config: Config, case: Case, now: float) -> Preview:
    rule = Rule(case.policy, now, config.keep_sightings)
    history = case.known.history()
    history.addresses = Unchanged(history.addresses)
    _, seconds = clock_shift(history, now)
    rule.now += seconds  # times that lie ahead are mended when a mail is recorded
    seen = case.known.sighting or Sighting(case.address, case.country, case.network, now, now)
    place = history.place(seen, now, is_hosting=case.is_hosting)
    was_familiar = rule.is_familiar(case.policy.limits[0], "country", place.country, history)
    judgement = record(rule, history, place)
    crossing = judgement.crossing
    result = Preview(case.country)
    if crossing is None:
        familiar = "familiar" if was_familiar else "counted"
        result.because = f"no limit is crossed; {case.country} is {familiar}"
        result.countries = rule.countries_within(case.policy.windows[-1], history)
        return result
    _tell_crossing(result, case, crossing)
    return result


def _tell_crossing(result: Preview, case: Case, crossing: Crossing) -> None:
    result.rule = crossing.rule
    result.countries = crossing.countries
    result.because = f"{crossing.rule} would be crossed"
    if case.policy.observes:
        result.because += ", which is only observed"
        return
    result.stopped = True
    is_held = case.policy.holds
    result.action = "HOLD" if is_held else stopping_action(case.policy)
