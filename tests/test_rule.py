"""The rule, on records in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pcc.config import Policy
from pcc.config.options import checked_values
from pcc.rule import (
    DAY,
    Crossing,
    History,
    Judgement,
    Place,
    Rule,
    Seen,
    clock_shift,
    joined_days,
    judge,
)

HOUR = 3600
NOON = 20000 * DAY + 12 * HOUR
KEEP = 30 * DAY


def policy(limits: list[dict[str, Any]] | None = None, **options: Any) -> Policy:
    """Return the policy of a pcc.toml with these options."""
    options = {"max_countries": 3, "familiar_after": 1, **options}
    return Policy(checked_values("pcc.toml", {"policy": options, "limit": limits or []})["policy"])


class Account:
    """An account in memory, as replay has it."""

    def __init__(self, rules: Policy) -> None:
        self.policy = rules
        self.addresses: dict[str, Seen] = {}
        self.history = History(0, {}, self._since)

    def _since(self, since: float) -> Iterable[Seen]:
        generation = self.history.generation
        return [
            seen
            for seen in self.addresses.values()
            if seen.last_seen >= since and seen.generation == generation
        ]

    def mail(self, country: str, at: float, address: str = "") -> Judgement:
        """Judge a mail, and do for addresses what the store does when an incident begins."""
        name = address or f"address in {country}"
        seen = self.addresses.setdefault(name, Seen(name, at, at))
        presence = self.history.countries.setdefault(country, Seen(country, at, at))
        rule = Rule(self.policy, at, KEEP)
        judgement = judge(rule, self.history, Place(presence, seen))
        if judgement.begins:
            for other in self.addresses.values():
                if not rule.is_familiar(other):
                    other.days = ""
        return judgement

    def mails(self, places: str, at: float, gap: float = 60) -> Crossing | None:
        """Judge a mail from each country, `gap` seconds apart; return what the last crossed."""
        crossing = None
        for number, country in enumerate(places.split()):
            crossing = self.mail(country, at + number * gap).crossing
        return crossing


PLAIN: dict[str, Any] = {"familiar_after": 0}


@pytest.mark.parametrize(
    ("options", "countries", "crosses"),
    [
        (PLAIN, "ES", False),
        (PLAIN, "ES FR BR", False),
        (PLAIN, "ES FR BR VN", True),
        (PLAIN, "ES FR BR ES FR BR ES", False),
        ({**PLAIN, "max_countries": 1}, "ES FR", True),
        ({**PLAIN, "max_countries": 1}, "ES ES ES", False),
        ({**PLAIN, "max_countries": 0}, "ES FR BR VN DE PT US IN", False),
        ({**PLAIN, "max_countries": 1, "ignore_countries": ["FR"]}, "ES FR", False),
        ({**PLAIN, "country_groups": [["ES", "PT"]], "max_countries": 1}, "ES PT", False),
        ({**PLAIN, "country_groups": [["ES", "PT"]], "max_countries": 1}, "ES PT FR", True),
        ({**PLAIN, "min_mails": 2, "max_countries": 1}, "ES FR", False),
        ({**PLAIN, "min_mails": 2, "max_countries": 1}, "ES FR FR", False),
        ({**PLAIN, "min_mails": 2, "max_countries": 1}, "ES FR FR ES", True),
    ],
)
def test_a_limit_counts_distinct_countries(
    options: dict[str, Any], countries: str, crosses: bool
) -> None:
    account = Account(policy(**options))
    assert bool(account.mails(countries, NOON)) is crosses


def test_the_crossing_names_the_rule_and_the_countries_in_the_order_they_were_seen() -> None:
    crossing = Account(policy(**PLAIN)).mails("VN ES BR FR", NOON)
    assert crossing is not None
    assert crossing.rule == "max_countries 3 in 2d"
    assert crossing.countries == ["VN", "ES", "BR", "FR"]


@pytest.mark.parametrize(("age", "crosses"), [(2 * DAY, True), (2 * DAY + 1, False)])
def test_a_country_counts_until_the_window_has_passed_since_it_was_last_seen(
    age: int, crosses: bool
) -> None:
    account = Account(policy(max_countries=1, **PLAIN))
    account.mail("ES", NOON)
    assert bool(account.mail("FR", NOON + age).crossing) is crosses


def test_the_shorter_window_of_a_further_limit_counts_for_itself() -> None:
    account = Account(policy([{"max_countries": 2, "window": "1h"}], **PLAIN))
    assert not account.mails("ES FR", NOON)
    assert not account.mail("BR", NOON + 2 * HOUR).crossing
    crossing = Account(policy([{"max_countries": 2, "window": "1h"}], **PLAIN)).mails(
        "ES FR BR", NOON
    )
    assert crossing is not None
    assert crossing.rule == "max_countries 2 in 1h"


def settled(rules: Policy, countries: str, days: int = 1) -> Account:
    """Return an account that was seen in the countries, one after the other, before NOON."""
    account = Account(rules)
    for number, country in enumerate(countries.split()):
        for day in range(days):
            account.mail(country, NOON - (len(countries.split()) - number) * 3 * DAY + day * DAY)
    return account


def test_familiar_countries_count_as_one_together() -> None:
    account = settled(policy(max_countries=2), "ES FR DE")
    assert not account.mails("ES FR DE BR", NOON)
    assert account.mail("VN", NOON + HOUR).crossing


def test_a_mail_from_a_familiar_country_never_crosses_a_limit_on_countries() -> None:
    account = settled(policy(max_countries=1), "ES")
    assert not account.mail("BR", NOON).crossing
    assert not account.mail("ES", NOON + 60).crossing
    assert account.mail("BR", NOON + 120).crossing  # BR and home are two


def test_a_country_is_familiar_only_from_the_next_utc_day_on() -> None:
    account = Account(policy(max_countries=1))
    account.mail("ES", NOON)
    assert account.mail("FR", NOON + 11 * HOUR).crossing
    account = Account(policy(max_countries=1, mode="observe", window="30d"))
    account.mail("FR", NOON)
    account.mail("ES", NOON + 60)
    assert account.mail("ES", NOON + 11 * HOUR).crossing  # the same day
    account = Account(policy(max_countries=2, window="30d"))
    account.mails("FR ES", NOON)
    assert account.mail("ES", NOON + 13 * HOUR).crossing is None  # the next day
    assert account.mail("BR", NOON + 13 * HOUR).crossing is None  # FR and ES are one


@pytest.mark.parametrize(("seen_days", "familiar"), [(1, False), (2, False), (3, True)])
def test_familiar_after_asks_for_so_many_earlier_days(seen_days: int, familiar: bool) -> None:
    account = Account(policy(max_countries=1, familiar_after=3, window="1h"))
    for day in range(seen_days):
        account.mail("ES", NOON - (5 - day) * DAY)
    account.mail("FR", NOON)
    assert (account.mail("ES", NOON + 60).crossing is None) is familiar


def test_a_day_makes_familiar_only_within_the_keep_time() -> None:
    for days_ago, familiar in ((30, True), (31, False)):
        account = Account(policy(max_countries=1, window="1h"))
        account.mail("ES", NOON - days_ago * DAY)
        account.mail("FR", NOON)
        assert (account.mail("ES", NOON + 60).crossing is None) is familiar


def test_a_group_is_familiar_when_one_of_its_members_is() -> None:
    account = settled(policy(max_countries=1, country_groups=[["ES", "PT"]]), "ES")
    account.mail("FR", NOON)
    assert not account.mail("PT", NOON + 60).crossing


def test_what_was_unfamiliar_when_an_incident_began_is_learnt_only_after_it_ended() -> None:
    account = settled(policy(max_countries=1, mode="observe", window="30d"), "ES")
    assert account.mail("BR", NOON).begins
    for day in range(1, 5):
        account.mail("BR", NOON + day * DAY)
    rule = Rule(account.policy, NOON + 5 * DAY, KEEP)
    assert not rule.is_familiar(account.history.countries["BR"])
    assert rule.is_familiar(account.history.countries["ES"])
    account.history.start_afresh()
    account.mail("BR", NOON + 5 * DAY)
    assert Rule(account.policy, NOON + 6 * DAY, KEEP).is_familiar(account.history.countries["BR"])


def test_an_incident_begins_once() -> None:
    account = Account(policy(mode="observe", max_countries=1, **PLAIN))
    begun = [account.mail(country, NOON).begins for country in "ES FR BR VN FR".split()]
    assert begun == [False, True, False, False, False]


def test_an_observed_incident_ends_when_it_is_no_longer_true_and_counting_starts_afresh() -> None:
    account = Account(policy(mode="observe", max_countries=2, window="1h", **PLAIN))
    account.mails("ES FR BR", NOON)
    judgement = account.mail("VN", NOON + 2 * HOUR)
    assert judgement.ended == "no longer true"
    assert judgement.crossing is None
    assert account.history.generation == 1


def test_what_was_only_observed_blocks_when_the_mode_becomes_enforce() -> None:
    account = Account(policy(mode="observe", max_countries=1, **PLAIN))
    account.mails("ES FR", NOON)
    account.policy = policy(max_countries=1, **PLAIN)
    assert account.mail("FR", NOON + 60).begins


def test_a_block_that_has_expired_ends_and_counting_starts_afresh() -> None:
    account = Account(policy(max_countries=1, **PLAIN))
    account.mails("ES FR", NOON)
    account.history.expires = NOON + HOUR
    judgement = account.mail("FR", NOON + 2 * HOUR)
    assert (judgement.ended, judgement.crossing) == ("expired", None)


def test_min_mails_are_counted_since_the_account_was_last_absent_for_the_window() -> None:
    rules = policy([{"max_countries": 1, "window": "1h"}], max_countries=0, min_mails=2, **PLAIN)
    account = Account(rules)
    account.mails("ES ES", NOON)
    account.mail("FR", NOON + 60)
    account.mails("ES ES", NOON + 3 * HOUR)
    assert not account.mail("FR", NOON + 3 * HOUR + 120).crossing
    assert account.mail("FR", NOON + 3 * HOUR + 180).crossing


def test_min_mails_start_afresh_with_the_account() -> None:
    account = Account(policy(max_countries=1, min_mails=2, **PLAIN))
    account.mails("ES ES FR", NOON)
    account.history.start_afresh()
    assert not account.mails("ES ES FR", NOON + HOUR)


def mail_addresses(account: Account, count: int, at: float, country: str = "ES") -> list[bool]:
    return [
        account.mail(country, at + number, f"address {number}").crossing is not None
        for number in range(count)
    ]


def test_a_limit_counts_distinct_addresses_within_one_country() -> None:
    account = Account(policy([{"max_addresses": 3, "window": "1h"}]))
    assert mail_addresses(account, 4, NOON) == [False, False, False, True]
    crossing = account.mail("ES", NOON + 60, "address 1").crossing
    assert crossing is not None
    assert crossing.rule == "max_addresses 3 in 1h"


def test_familiar_addresses_do_not_count_nor_cross() -> None:
    account = Account(policy([{"max_addresses": 3, "window": "1h"}]))
    mail_addresses(account, 3, NOON - DAY)
    assert mail_addresses(account, 6, NOON) == [False] * 6
    assert account.mail("ES", NOON + 30, "address 6").crossing
    assert not account.mail("ES", NOON + 31, "address 0").crossing


def test_new_addresses_count_in_a_familiar_country_too() -> None:
    account = settled(policy([{"max_addresses": 3, "window": "1h"}]), "ES")
    assert mail_addresses(account, 4, NOON)[-1]


def test_a_country_that_is_ignored_later_no_longer_counts() -> None:
    account = Account(policy(max_countries=1, **PLAIN))
    account.mail("ES", NOON)
    account.policy = policy(max_countries=1, ignore_countries=["ES"], **PLAIN)
    assert not account.mail("FR", NOON + 60).crossing


def shifted(account: Account, now: float) -> None:
    since, seconds = clock_shift(account.history, now)
    for seen in account.history.countries.values():
        if seconds and seen.last_seen >= since:
            seen.last_seen -= seconds


def test_a_clock_that_jumps_back_neither_blocks_nor_forgets() -> None:
    account = Account(policy([{"max_countries": 2, "window": "1h"}], max_countries=0, **PLAIN))
    account.mails("ES FR DE", NOON, gap=8 * HOUR)  # never two within an hour
    shifted(account, NOON - 8 * HOUR)
    assert not account.mail("DE", NOON - 8 * HOUR).crossing
    assert not account.mail("FR", NOON - 8 * HOUR).crossing
    assert account.mail("BR", NOON - 8 * HOUR).crossing


def test_a_clock_that_leapt_a_year_ahead_and_back_leaves_what_was_before_as_it_was() -> None:
    account = Account(policy(max_countries=2, **PLAIN))
    account.mail("ES", NOON)
    account.mail("FR", NOON + 365 * DAY)
    shifted(account, NOON + HOUR)
    seen = {name: place.last_seen for name, place in account.history.countries.items()}
    assert seen == {"ES": NOON, "FR": NOON + HOUR}


def test_a_mail_is_a_repeat_only_while_it_changes_nothing() -> None:
    account = Account(policy([{"max_countries": 2, "window": "1h"}]))
    account.mail("ES", NOON)
    place = Place(account.history.countries["ES"], account.addresses["address in ES"])

    def is_repeat(at: float) -> bool:
        return Rule(account.policy, at, KEEP).is_repeat(account.history, place, 2)

    assert is_repeat(NOON + 60)
    assert not is_repeat(NOON + HOUR)  # the shorter window is about to end
    assert not is_repeat(NOON + 12 * HOUR)  # a new day
    assert not is_repeat(NOON - 60)  # the clock has jumped back
    account.history.start_afresh()
    assert not is_repeat(NOON + 60)


def test_a_place_whose_country_was_corrected_stays_as_familiar_as_it_was() -> None:
    assert joined_days("20002 20000", "20003 20000") == "20003 20002 20000"
    assert joined_days("", "20003") == "20003"


@pytest.mark.parametrize(
    ("options", "days", "pause", "adds"),
    [
        ({}, 0, 60, False),
        ({"window": "1h"}, 0, HOUR + 1, True),
        ({}, 0, 2 * DAY + 1, False),
        ({}, 3, 60, False),
        ({}, 3, 2 * DAY + 1, False),
        ({"familiar_after": 0}, 3, 2 * DAY + 1, True),
        ({"familiar_after": 0, "min_mails": 3}, 0, 60, True),
    ],
)
def test_what_adds_to_what_counts_is_more_than_a_count(
    options: dict[str, Any], days: int, pause: float, adds: bool
) -> None:
    account = Account(policy(**options))
    for day in range(-days, 1):
        account.mail("ES", NOON + day * DAY, "11.1.0.1")
    place = Place(account.history.countries["ES"], account.addresses["11.1.0.1"])
    assert Rule(account.policy, NOON + pause, KEEP).adds(account.history, place) is adds
