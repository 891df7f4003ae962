"""The outcome of each setting of a replay, and the accounts that look stolen.

That is a rule of thumb for choosing limits (DEFINITION); verdicts know nothing of it.  Places are
those that the limit is about: countries, networks or addresses.  Its owner's mail sent by Google's
or Microsoft's machines all over the world is recognised by the names of the clients.  A patient
thief goes to a new country every day or two, and may never cross a limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcc.history import DAY
from pcc.rule import MOST_MAILS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pcc.history import Seen
    from pcc.replay.judging import Account, Replay, Stop
    from pcc.replay.settings import Setting

BEFORE, AFTER = 2 * DAY, 2 * DAY
"""Seconds around the crossing mail that are looked at; before it, at least the limit's window."""

MANY_NEW = 5
MANY_GONE = 3
"""New places, or places that the account never came back to, that look like a theft."""

MANY_BRIEF = 8
BRIEF_DAYS = 30
"""Countries, each for a day at most, that look like a patient theft within that many days."""

CLOUDS = {".google.com": "Google's", ".outlook.com": "Microsoft's"}
"""Whose machines send their users' mail through other people's servers, from where they like."""

DEFINITION = (
    f"An account looks stolen when it was seen in {MANY_NEW} or more countries that were new to it"
    " in these logs.  They count from two days (or the limit's window) before the mail that crossed"
    " the limit to two days after it.  Where the limit counts networks or addresses, so does this."
    f"  {MANY_GONE} are enough if it was not seen there again more than a day later, and 1 where"
    f" mails are limited.  An account also looks stolen when it was seen in {MANY_BRIEF} or more"
    f" countries within {BRIEF_DAYS} days, each on one day only."
)

EXAMPLES = 3
"""Accounts that are named in one sentence, places that are."""


class Pattern(NamedTuple):
    """Whether a stop looks like a theft, and why: what follows the account's name.

    `cloud`: the domain of the machines it was sent by, "" if they were not a cloud's.
    """

    looks_stolen: bool
    because: str
    cloud: str = ""


def pattern(stop: Stop, end: float) -> Pattern:
    """Return what a stop looks like; `end`: UTC seconds at which the log ends."""
    cloud = _cloud(stop)
    if cloud:
        return Pattern(False, f"sends by {CLOUDS[cloud]} machines", cloud)
    past = stop.account.past
    seen: list[Seen]
    if stop.crossing.key == "max_addresses":
        what, seen = "addresses", [*past.addresses.values()]
    elif stop.crossing.key in ("max_networks", "max_hosting_mails"):
        what, seen = "networks", [*past.history.networks.values()]
    else:
        what, seen = "countries", [*past.history.countries.values()]
    since = stop.at - max(BEFORE, stop.crossing.limit.window)
    new = [place for place in seen if since <= place.first_seen <= stop.at + AFTER]
    gone = [place for place in new if place.last_seen - place.first_seen <= DAY]
    least = 1 if stop.crossing.key in dict(MOST_MAILS).values() else MANY_GONE
    if len(new) >= MANY_NEW:
        return Pattern(True, f"was seen in {len(new)} new {what} around it ({_names(new)})")
    if len(gone) >= least and end - stop.at > AFTER + DAY:
        return Pattern(
            True, f"never came back to {len(gone)} of the {what} new to it ({_names(gone)})"
        )
    if len(gone) >= least:
        return Pattern(False, "was stopped too near to the end of the logs to judge")
    back = [place for place in new if place not in gone]
    if back:
        return Pattern(False, f"came back to {_names(back)} on later days")
    return Pattern(False, f"was seen in only {len(new)} {what} new to it")


def _cloud(stop: Stop) -> str:
    """Return the cloud without whose machines the limit would not have been crossed."""
    past, crossing = stop.account.past, stop.crossing
    near = [
        address
        for address in past.addresses.values()
        if address.first_seen <= stop.at and stop.at - address.last_seen <= crossing.limit.window
    ]
    kind = {"max_countries": "country", "max_networks": "network"}.get(crossing.key, "name")
    for domain in CLOUDS:
        sent = [address for address in near if address.client_name.lower().endswith(domain)]
        if not sent:
            continue
        if crossing.key in dict(MOST_MAILS).values():
            if stop.client.name.lower().endswith(domain):
                return domain
            continue
        others = {getattr(address, kind) for address in near}
        others -= {getattr(address, kind) for address in sent}
        if len(others) <= getattr(crossing.limit, crossing.key):
            return domain
    return ""


class Patient(NamedTuple):
    """An account that looks stolen for long, and in which countries it was seen so briefly."""

    account: Account
    countries: list[str]

    @property
    def because(self) -> str:
        """Why, in words that follow the account's name."""
        return (
            f"was seen in {len(self.countries)} countries within {BRIEF_DAYS} days, each on one day"
            f" only ({', '.join(self.countries[:EXAMPLES])}, ...)"
        )


def patient_thefts(accounts: Iterable[Account]) -> list[Patient]:
    """Return the accounts that were seen in many countries for a day at most each."""
    found = []
    for account in accounts:
        past = account.past
        clouds = {
            address.country
            for address in past.addresses.values()
            if address.client_name.lower().endswith(tuple(CLOUDS))
        }
        brief = sorted(
            (place.first_seen, place.name)
            for place in past.history.countries.values()
            if place.last_seen - place.first_seen <= DAY and place.name not in clouds
        )
        most = max(
            (
                [name for at, name in brief[number:] if at - first <= BRIEF_DAYS * DAY]
                for number, (first, _) in enumerate(brief)
            ),
            key=len,
            default=[],
        )
        if len(most) >= MANY_BRIEF:
            found.append(Patient(account, most))
    return sorted(found, key=lambda patient: (-len(patient.countries), patient.account.name))


class Outcome:
    """The outcome of one setting: its stops, and which of them look like thefts.

    `missed`: accounts that look stolen, and that it would not have stopped.
    """

    def __init__(
        self, setting: Setting, stops: Sequence[Stop], end: float, patient: Sequence[Patient]
    ) -> None:
        self.setting = setting
        self.stops = stops
        slow = {found.account.name: found for found in patient}
        self.patterns = []
        for stop in stops:
            found = pattern(stop, end)
            known = slow.pop(stop.account.name, None)
            if known and not found.looks_stolen:
                found = Pattern(True, known.because)
            self.patterns.append(found)
        self.missed = list(slow.values())
        self.mails_stopped = sum(stop.mails_stopped for stop in stops)
        self.pairs = list(zip(stops, self.patterns, strict=True))
        self.stolen = [stop for stop, found in self.pairs if found.looks_stolen]
        self.others = [(stop, found) for stop, found in self.pairs if not found.looks_stolen]

    @property
    def strength(self) -> tuple[int, int, int, int]:
        """The order of settings by tightness: the mails that one stopped, then its text."""
        limit = self.setting.config.policy.limits[0]
        numbers = -sum(self.setting.most.values())
        return len(self.stolen), self.mails_stopped, numbers, limit.window


def outcomes_of(replay: Replay) -> list[Outcome]:
    """Return what each setting would have done."""
    patient = patient_thefts(replay.accounts)
    return [
        Outcome(setting, replay.stops(number), replay.latest, patient)
        for number, setting in enumerate(replay.settings)
    ]


def _names(places: Sequence[Seen]) -> str:
    names = [place.name for place in places[:EXAMPLES]]
    return ", ".join(names) + (", ..." if len(places) > EXAMPLES else "")
