"""Which setting of a replay's grid to take, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc import address as addresses
from pcc.escaping import escaped
from pcc.history import DAY
from pcc.replay.outcomes import DEFINITION, EXAMPLES
from pcc.wording import quantity, verb

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from pcc.replay.judging import Stop
    from pcc.replay.outcomes import Outcome, Pattern

NEARLY_ALL = 0.9
"""The share of mails without a country from which on the limits have nothing to judge."""


def advice(outcomes: Sequence[Outcome], *, tried: Sequence[str], learnt: bool) -> list[str]:
    """Return what to do, in sentences.

    `tried`: the keys of which numbers were tried.  `learnt`: the replay learned for a time first.
    """
    tried = tried or ["max_countries"]
    good = [outcome for outcome in outcomes if outcome.stolen and not outcome.others]
    best = max(good or outcomes, key=lambda outcome: outcome.strength)
    if not any(outcome.stops for outcome in outcomes):
        sentences = ["Nobody would have been blocked.", *_missed(best)]
        return [*sentences, DEFINITION] if best.missed else sentences
    sentences = _recommended(best, outcomes, tried) if good else _none_recommended(outcomes, tried)
    sentences += _missed(best)
    # What would keep those who do not look stolen from being blocked?
    others = [pair for outcome in outcomes for pair in outcome.others]
    if clouds := sorted({found.cloud for _, found in others if found.cloud}):
        names = ", ".join([f'"{cloud}"' for cloud in clouds])
        sentences.append(f"exempt_clients = [{names}] lets mail by those machines pass uncounted.")
    if any(not found.cloud for _, found in others):
        sentences.append(
            "For people of two countries see country_groups, for single ones [[override]] in"
            " pcc.toml, for a journey `pcc_admin.py exempt add account NAME --for 14d`."
        )
        if not learnt:
            sentences.append(
                "At the beginning of these logs no country is familiar for anybody: with"
                " --learn 7d nobody is blocked in the first days, from which pcc learns."
            )
    return [*sentences, DEFINITION]


def _missed(outcome: Outcome) -> list[str]:
    """Return whom no limit stopped although the account looks stolen."""
    missed = outcome.missed
    if not missed:
        return []
    count = len(missed)
    sentences = [
        f"{quantity(count, 'account')} {verb(count, 'looks', 'look')} stolen for long and would not"
        " have been blocked:",
        *[f"  {escaped(found.account.name)} {found.because}." for found in missed[:EXAMPLES]],
    ]
    if count > EXAMPLES:
        sentences.append(f"  And {count - EXAMPLES} more.")
    limits = outcome.setting.config.policy.limits
    if not any(0 < limit.max_countries <= 15 and limit.window >= 14 * DAY for limit in limits):
        sentences.append('A [[limit]] of max_countries = 15, window = "14d" stops such thieves.')
    return sentences


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


def _recommended(best: Outcome, outcomes: Sequence[Outcome], tried: Sequence[str]) -> list[str]:
    of_all = " the tightest of these settings that" if len(outcomes) > 1 else " it"
    sentences = [
        f"Recommended: {best.setting.named(tried)}:"
        f"{of_all} would have blocked only accounts that look stolen."
    ]
    sentences += _reasons(best.pairs)
    tighter = [outcome for outcome in outcomes if outcome.others]
    if tighter:
        mildest = min(tighter, key=lambda outcome: len(outcome.others))
        sentences.append(
            f"{_rule(mildest, tried)} would have blocked"
            f" {quantity(len(mildest.others), 'account')} that"
            f" {verb(len(mildest.others), 'does', 'do')} not look stolen:"
        )
        sentences += _reasons(mildest.others)
    return sentences


def _none_recommended(outcomes: Sequence[Outcome], tried: Sequence[str]) -> list[str]:
    nearest = max(
        (outcome for outcome in outcomes if outcome.stops),
        key=lambda outcome: (bool(outcome.stolen), -len(outcome.others), outcome.strength),
    )
    subject = "No setting is recommended: each that would have blocked somebody"
    if len(outcomes) == 1:
        subject = f"Not recommended as it is: {_rule(nearest, tried)}"
    return [
        f"{subject} would have blocked accounts that do not look stolen.",
        f"{_rule(nearest, tried)} would have blocked"
        f" {quantity(len(nearest.stolen), 'account')} that"
        f" {verb(len(nearest.stolen), 'looks', 'look')} stolen, and"
        f" {quantity(len(nearest.others), 'account')} that"
        f" {verb(len(nearest.others), 'does', 'do')} not:",
        *_reasons(nearest.others),
    ]


def _reasons(pairs: Sequence[tuple[Stop, Pattern]]) -> list[str]:
    sentences = [
        f"  {escaped(stop.account.name)} {found.because}." for stop, found in pairs[:EXAMPLES]
    ]
    if len(pairs) > EXAMPLES:
        sentences.append(f"  And {len(pairs) - EXAMPLES} more; see the list above.")
    return sentences


def _rule(outcome: Outcome, tried: Sequence[str]) -> str:
    numbers = [f"{key} {outcome.setting.most[key]}" for key in tried]
    return f"{', '.join(numbers)} in {outcome.setting.window}"
