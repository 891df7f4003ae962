"""Which setting of a replay's grid to take, in sentences; and whose stops look like a theft.

An account looks stolen when, from two days before the crossing mail to two days after it, it was
seen in five or more countries where the log had not seen it before, or in three or more where it
was not seen again more than a day later.  Where a limit on addresses was crossed the same is asked
of addresses.  Its owner's mail sent by Google's or Microsoft's machines all over the world is told
by the names of the clients.  That is a rule of thumb for choosing limits; verdicts know nothing of
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcc import address as addresses
from pcc.escaping import escaped
from pcc.history import DAY
from pcc.wording import quantity

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

    from pcc.history import Seen
    from pcc.replay.judging import Setting, Stop

BEFORE, AFTER = 2 * DAY, 2 * DAY
"""Seconds around the crossing mail that are looked at."""

MANY_NEW = 5
MANY_GONE = 3
"""So many new countries, or so many that it never came back to, look like a theft."""

CLOUDS = {".google.com": "Google's", ".outlook.com": "Microsoft's"}
"""Whose machines send their users' mail through other people's servers, from where they like."""

DEFINITION = (
    "An account looks stolen when, from two days before the mail that crossed the limit to two days"
    f" after it, it was seen in {MANY_NEW} or more countries (or at addresses, where they are"
    f" limited) new to it in these logs, or in {MANY_GONE} or more where it was not seen again more"
    " than a day later."
)

NEARLY_ALL = 0.9
"""Where so many of the mails have no country, the limits have nothing to judge."""

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
    of_addresses = stop.crossing.key == "max_addresses"
    seen = past.addresses.values() if of_addresses else past.history.countries.values()
    what = "addresses" if of_addresses else "countries"
    new = _new(seen, stop)
    gone = [place for place in new if place.last_seen - place.first_seen <= DAY]
    if len(new) >= MANY_NEW:
        return Pattern(True, f"was seen in {len(new)} new {what} around it ({_names(new)})")
    if len(gone) >= MANY_GONE and end - stop.at > AFTER + DAY:
        return Pattern(
            True, f"never came back to {len(gone)} of the {what} new to it ({_names(gone)})"
        )
    if len(gone) >= MANY_GONE:
        return Pattern(False, "was stopped too near to the end of the logs to tell")
    back = [place for place in new if place not in gone]
    if back:
        return Pattern(False, f"came back to {_names(back)} on later days")
    return Pattern(False, f"was seen in only {len(new)} {what} new to it")


def _new(seen: Iterable[Seen], stop: Stop) -> list[Seen]:
    return [place for place in seen if stop.at - BEFORE <= place.first_seen <= stop.at + AFTER]


def _cloud(stop: Stop) -> str:
    """Return the cloud without whose machines the limit would not have been crossed."""
    past, crossing = stop.account.past, stop.crossing
    near = [
        address
        for address in past.addresses.values()
        if address.first_seen <= stop.at and stop.at - address.last_seen <= crossing.limit.window
    ]
    for domain in CLOUDS:
        sent = [address for address in near if address.client_name.lower().endswith(domain)]
        of_addresses = crossing.key == "max_addresses"
        if of_addresses and sent and len(near) - len(sent) <= crossing.limit.max_addresses:
            return domain
        others = set(crossing.countries) - {address.country for address in sent}
        if crossing.limit.max_countries and sent and len(others) <= crossing.limit.max_countries:
            return domain
    return ""


class Outcome:
    """What one setting would have done: its stops, and which of them look like thefts."""

    def __init__(self, setting: Setting, stops: Sequence[Stop], end: float) -> None:
        self.setting = setting
        self.stops = stops
        self.patterns = [pattern(stop, end) for stop in stops]
        self.mails_stopped = sum(stop.mails_stopped for stop in stops)
        self.stolen = [s for s, p in self._pairs() if p.looks_stolen]
        self.others = [(s, p) for s, p in self._pairs() if not p.looks_stolen]

    @property
    def strength(self) -> tuple[int, int, int, int]:
        """What makes a setting tighter than another: what it stopped, then how it is written."""
        limit = self.setting.config.policy.limits[0]
        return len(self.stolen), self.mails_stopped, -limit.max_countries, limit.window

    def _pairs(self) -> list[tuple[Stop, Pattern]]:
        return list(zip(self.stops, self.patterns, strict=True))


def advice(outcomes: Sequence[Outcome], *, learnt: bool) -> list[str]:
    """Return what to do, in sentences; `learnt`: the replay learned for a time first."""
    if not any(outcome.stops for outcome in outcomes):
        return ["Nobody would have been blocked."]
    good = [outcome for outcome in outcomes if outcome.stolen and not outcome.others]
    if good:
        sentences = _recommended(max(good, key=lambda outcome: outcome.strength), outcomes)
    else:
        sentences = _none_recommended(outcomes)
    return [*sentences, *_cures(outcomes, learnt=learnt), DEFINITION]


def are_unlocated(mails: int, unlocated: Counter[str]) -> bool:
    """Whether nearly all mails came from addresses that have no country."""
    return unlocated.total() > NEARLY_ALL * mails


def about_unlocated(mails: int, unlocated: Counter[str], database: str) -> list[str]:
    """Return how many mails had no country and, if these are nearly all, why, and what to do."""
    if not unlocated:
        return []
    count = unlocated.total()
    sentences = [f"{count:,} of {quantity(mails, 'mail')} had no country and could not be judged."]
    if not are_unlocated(mails, unlocated):
        return sentences
    ((address, most),) = unlocated.most_common(1)
    packed = addresses.packed_address(address)
    if packed is not None and not addresses.is_without_country(packed):
        return [
            *sentences,
            f"{escaped(address)}, for example, is not in {database}: is that a database of"
            " countries, whole and up to date? See `pcc_admin.py doctor`.",
        ]
    if most < NEARLY_ALL * count:
        return [
            *sentences,
            f"They came from {len(unlocated)} private addresses, such as {escaped(address)}: where"
            " all users are in a network of your own, pcc has nothing to judge.",
        ]
    return [
        *sentences,
        f"{most:,} of them came from {escaped(address)}, a private address: Postfix sees a gateway"
        " or a proxy where it should see its clients.",
        "With Docker, run Postfix with `network_mode: host`: docker-proxy and rootless Docker hide"
        " the clients of a published port.",
        "With HAProxy, add `send-proxy-v2` to its server line and `-o"
        " smtpd_upstream_proxy_protocol=haproxy` to the service in master.cf.",
        "With webmail, see docs/webmail.md.",
    ]


def _recommended(best: Outcome, outcomes: Sequence[Outcome]) -> list[str]:
    setting = best.setting
    of_all = " the tightest of these settings that" if len(outcomes) > 1 else " it"
    sentences = [
        f'Recommended: max_countries = {setting.max_countries}, window = "{setting.window}":'
        f"{of_all} would have blocked only accounts that look stolen."
    ]
    sentences += _reasons(list(zip(best.stops, best.patterns, strict=True)))
    tighter = [outcome for outcome in outcomes if outcome.others]
    if tighter:
        mildest = min(tighter, key=lambda outcome: len(outcome.others))
        sentences.append(
            f"{_rule(mildest)} would have blocked {_accounts(len(mildest.others))} that"
            f" {_does(len(mildest.others))} not look stolen:"
        )
        sentences += _reasons(mildest.others)
    return sentences


def _none_recommended(outcomes: Sequence[Outcome]) -> list[str]:
    nearest = max(
        (outcome for outcome in outcomes if outcome.stops),
        key=lambda outcome: (bool(outcome.stolen), -len(outcome.others), outcome.strength),
    )
    subject = "No setting is recommended: each that would have blocked somebody"
    if len(outcomes) == 1:
        subject = f"Not recommended as it is: {_rule(nearest)}"
    return [
        f"{subject} would have blocked accounts that do not look stolen.",
        f"{_rule(nearest)} would have blocked {_accounts(len(nearest.stolen))} that"
        f" {'looks' if len(nearest.stolen) == 1 else 'look'} stolen, and"
        f" {_accounts(len(nearest.others))} that {_does(len(nearest.others))} not:",
        *_reasons(nearest.others),
    ]


def _reasons(pairs: Sequence[tuple[Stop, Pattern]]) -> list[str]:
    sentences = [
        f"  {escaped(stop.account.name)} {found.because}." for stop, found in pairs[:EXAMPLES]
    ]
    if len(pairs) > EXAMPLES:
        sentences.append(f"  And {len(pairs) - EXAMPLES} more; see the list above.")
    return sentences


def _cures(outcomes: Sequence[Outcome], *, learnt: bool) -> list[str]:
    """Return what would keep those who do not look stolen from being blocked."""
    others = [pair for outcome in outcomes for pair in outcome.others]
    clouds = sorted({found.cloud for _, found in others if found.cloud})
    cures = []
    if clouds:
        names = ", ".join([f'"{cloud}"' for cloud in clouds])
        cures.append(f"exempt_clients = [{names}] lets mail by those machines pass uncounted.")
    if any(not found.cloud for _, found in others):
        cures.append(
            "For people of two countries see country_groups, for single ones [[override]] in"
            " pcc.toml, for a journey `pcc_admin.py exempt add account NAME --for 14d`."
        )
        if not learnt:
            cures.append(
                "At the beginning of these logs no country is familiar for anybody: with"
                " --learn 7d nobody is blocked in the first days, from which pcc learns."
            )
    return cures


def _rule(outcome: Outcome) -> str:
    return f"max_countries {outcome.setting.max_countries} in {outcome.setting.window}"


def _accounts(count: int) -> str:
    return f"{count} account{'' if count == 1 else 's'}"


def _does(count: int) -> str:
    return "does" if count == 1 else "do"


def _names(places: Sequence[Seen]) -> str:
    names = [place.name for place in places[:EXAMPLES]]
    return ", ".join(names) + (", ..." if len(places) > EXAMPLES else "")
