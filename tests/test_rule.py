"""The rule, on records in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pcc.config import Policy
from pcc.config.options import checked_values
from pcc.history import DAY, Address, History, Place, clock_shift, familiarity, joined_days
from pcc.rule import Crossing, Judgement, Rule, record

HOUR = 3600
NOON = 20000 * DAY + 12 * HOUR
KEEP = 30 * DAY


def policy(limits: list[dict[str, Any]] | None = None, **options: Any) -> Policy:
    """Return the policy of a pcc.toml with these options, as 1.0.0 had their defaults."""
    options = {"max_countries": 3, "familiar_after": 1, **options}
    return Policy(checked_values("pcc.toml", {"policy": options, "limit": limits or []})["policy"])


class Account:
    """An account in memory, as replay has it."""

    def __init__(self, rules: Policy) -> None:
        self.policy = rules
        self.addresses: dict[str, Address] = {}
        self.history = History(0, {}, {}, self)

    def since(self, time: float) -> Iterable[Address]:
        return [seen for seen in self.addresses.values() if seen.last_seen >= time]

    def change_days(self, change: Callable[[str], str]) -> None:
        for seen in self.addresses.values():
            seen.days = change(seen.days)

    def place(self, country: str, at: float, address: str, network: str, hosting: bool) -> Place:
        name = address or f"address in {network or country}"
        seen = self.addresses.get(name)
        if seen is None:
            seen = self.addresses[name] = Address(name, at, at)
            seen.country, seen.network = country, network
        return self.history.place(seen, at, is_hosting=hosting)

    def mail(
        self,
        country: str,
        at: float,
        address: str = "",
        *,
        network: str = "",
        hosting: bool = False,
    ) -> Judgement:
        """Judge a mail."""
        place = self.place(country, at, address, network, hosting)
        return record(Rule(self.policy, at, KEEP), self.history, place)

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
def test_limit_counts_distinct_countries(
    options: dict[str, Any], countries: str, crosses: bool
) -> None:
    account = Account(policy(**options))
    assert bool(account.mails(countries, NOON)) is crosses


def test_crossing_names_the_rule_and_the_countries_in_the_order_they_were_seen() -> None:
    crossing = Account(policy(**PLAIN)).mails("VN ES BR FR", NOON)
    assert crossing is not None
    assert crossing.rule == "max_countries 3 in 2d"
    assert crossing.countries == ["VN", "ES", "BR", "FR"]


@pytest.mark.parametrize(("age", "crosses"), [(2 * DAY, True), (2 * DAY + 1, False)])
def test_country_counts_until_the_window_has_passed_since_it_was_last_seen(
    age: int, crosses: bool
) -> None:
    account = Account(policy(max_countries=1, **PLAIN))
    account.mail("ES", NOON)
    assert bool(account.mail("FR", NOON + age).crossing) is crosses


def test_shorter_window_of_a_further_limit_counts_for_itself() -> None:
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


def test_mail_from_a_familiar_country_never_crosses_a_limit_on_countries() -> None:
    account = settled(policy(max_countries=1), "ES")
    assert not account.mail("BR", NOON).crossing
    assert not account.mail("ES", NOON + 60).crossing
    assert account.mail("BR", NOON + 120).crossing  # BR and home are two


def test_country_is_familiar_only_from_the_next_utc_day_on() -> None:
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
def test_familiar_after_is_a_number_of_earlier_days(seen_days: int, familiar: bool) -> None:
    account = Account(policy(max_countries=1, familiar_after=3, window="1h"))
    for day in range(seen_days):
        account.mail("ES", NOON - (5 - day) * DAY)
    account.mail("FR", NOON)
    assert (account.mail("ES", NOON + 60).crossing is None) is familiar


def test_day_makes_familiar_only_within_the_keep_time() -> None:
    for days_ago, familiar in ((30, True), (31, False)):
        account = Account(policy(max_countries=1, window="1h"))
        account.mail("ES", NOON - days_ago * DAY)
        account.mail("FR", NOON)
        assert (account.mail("ES", NOON + 60).crossing is None) is familiar


def test_group_is_familiar_when_one_of_its_members_is() -> None:
    account = settled(policy(max_countries=1, country_groups=[["ES", "PT"]]), "ES")
    account.mail("FR", NOON)
    assert not account.mail("PT", NOON + 60).crossing


def test_place_that_was_unfamiliar_when_an_incident_began_is_learnt_only_after_it_ended() -> None:
    account = settled(policy(max_countries=1, mode="observe", window="30d"), "ES")
    assert account.mail("BR", NOON).begins
    for day in range(1, 5):
        account.mail("BR", NOON + day * DAY)
    rule = Rule(account.policy, NOON + 5 * DAY, KEEP)
    assert rule.familiarity(account.history.countries["BR"]) == 0
    assert rule.familiarity(account.history.countries["ES"]) == 1
    account.history.start_afresh()
    account.mail("BR", NOON + 5 * DAY)
    rule = Rule(account.policy, NOON + 6 * DAY, KEEP)
    assert rule.familiarity(account.history.countries["BR"]) == 1


def test_incident_begins_once() -> None:
    account = Account(policy(mode="observe", max_countries=1, **PLAIN))
    begun = [account.mail(country, NOON).begins for country in "ES FR BR VN FR".split()]
    assert begun == [False, True, False, False, False]


def test_observed_incident_ends_when_it_is_no_longer_true_and_counting_starts_afresh() -> None:
    account = Account(policy(mode="observe", max_countries=2, window="1h", **PLAIN))
    account.mails("ES FR BR", NOON)
    judgement = account.mail("VN", NOON + 2 * HOUR)
    assert judgement.ended == "no longer true"
    assert judgement.crossing is None
    assert account.history.generation == 1


def test_observed_incident_blocks_when_the_mode_becomes_enforce() -> None:
    account = Account(policy(mode="observe", max_countries=1, **PLAIN))
    account.mails("ES FR", NOON)
    account.policy = policy(max_countries=1, **PLAIN)
    assert account.mail("FR", NOON + 60).begins


def test_block_that_has_expired_ends_and_counting_starts_afresh() -> None:
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


def test_limit_counts_distinct_addresses_within_one_country() -> None:
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


def test_new_addresses_also_count_in_a_familiar_country() -> None:
    account = settled(policy([{"max_addresses": 3, "window": "1h"}]), "ES")
    assert mail_addresses(account, 4, NOON)[-1]


def test_country_that_is_ignored_later_no_longer_counts() -> None:
    account = Account(policy(max_countries=1, **PLAIN))
    account.mail("ES", NOON)
    account.policy = policy(max_countries=1, ignore_countries=["ES"], **PLAIN)
    assert not account.mail("FR", NOON + 60).crossing


def shifted(account: Account, now: float) -> None:
    since, seconds = clock_shift(account.history, now)
    for seen in account.history.countries.values():
        if seconds and seen.last_seen >= since:
            seen.last_seen -= seconds


def test_clock_that_jumps_back_neither_blocks_nor_forgets() -> None:
    account = Account(policy([{"max_countries": 2, "window": "1h"}], max_countries=0, **PLAIN))
    account.mails("ES FR DE", NOON, gap=8 * HOUR)  # never two within an hour
    shifted(account, NOON - 8 * HOUR)
    assert not account.mail("DE", NOON - 8 * HOUR).crossing
    assert not account.mail("FR", NOON - 8 * HOUR).crossing
    assert account.mail("BR", NOON - 8 * HOUR).crossing


def test_clock_that_leapt_a_year_ahead_and_back_leaves_what_was_before_as_it_was() -> None:
    account = Account(policy(max_countries=2, **PLAIN))
    account.mail("ES", NOON)
    account.mail("FR", NOON + 365 * DAY)
    shifted(account, NOON + HOUR)
    seen = {name: place.last_seen for name, place in account.history.countries.items()}
    assert seen == {"ES": NOON, "FR": NOON + HOUR}


def test_mail_is_a_repeat_only_while_it_changes_nothing() -> None:
    account = Account(policy([{"max_countries": 2, "window": "1h"}]))
    account.mail("ES", NOON)
    place = account.place("ES", NOON, "", "", False)

    def is_repeat(at: float) -> bool:
        return Rule(account.policy, at, KEEP).is_repeat(account.history, place, 2)

    assert is_repeat(NOON + 60)
    assert not is_repeat(NOON + HOUR)  # the shorter window is about to end
    assert not is_repeat(NOON + 12 * HOUR)  # a new day
    assert not is_repeat(NOON - 60)  # the clock has jumped back
    account.history.start_afresh()
    assert not is_repeat(NOON + 60)


def test_place_whose_country_was_corrected_stays_as_familiar_as_it_was() -> None:
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
def test_mail_that_adds_to_what_counts_is_more_than_a_count(
    options: dict[str, Any], days: int, pause: float, adds: bool
) -> None:
    account = Account(policy(**options))
    for day in range(-days, 1):
        account.mail("ES", NOON + day * DAY, "11.1.0.1")
    place = account.place("ES", NOON, "11.1.0.1", "", False)
    assert Rule(account.policy, NOON + pause, KEEP).adds(account.history, place) is adds


# Networks, and what a limit has of its own.


def networks(account: Account, names: str, at: float, gap: float = 60) -> list[str]:
    """Return the rule that a mail from each network crosses, all of one country, or ""."""
    crossed = []
    for number, name in enumerate(names.split()):
        crossing = account.mail("ES", at + number * gap, network=name).crossing
        crossed.append(crossing.rule if crossing else "")
    return crossed


def test_networks_count_where_all_are_in_one_country() -> None:
    account = Account(policy([{"max_networks": 3, "window": "10m"}]))
    assert networks(account, "AS1 AS2 AS3 AS4", NOON) == ["", "", "", "max_networks 3 in 10m"]
    crossing = account.mail("ES", NOON + 300, network="AS1").crossing
    assert crossing is not None
    assert crossing.countries == ["ES"]


def test_networks_count_within_the_window_alone() -> None:
    account = Account(policy([{"max_networks": 3, "window": "10m"}]))
    assert networks(account, "AS1 AS2 AS3 AS4 AS5", NOON, gap=301) == [""] * 5


def test_familiar_network_counts_and_crosses_no_limit_on_networks() -> None:
    account = Account(policy([{"max_networks": 2, "window": "1d", "familiar_after": 2}]))
    for days in (3, 2):
        account.mail("ES", NOON - days * DAY, network="AS1")
    assert networks(account, "AS2 AS1 AS3 AS1", NOON) == [""] * 4
    assert account.mail("ES", NOON + 600, network="AS4").crossing
    assert account.mail("ES", NOON + 700, network="AS1").crossing is None


def test_address_without_a_network_crosses_no_limit_on_networks() -> None:
    account = Account(policy([{"max_networks": 1, "window": "1d"}, {"max_hosting_mails": 1}]))
    account.mail("ES", NOON - 2 * DAY)
    assert not any(
        account.mail("ES", NOON + number, f"address {number}", hosting=True).crossing
        for number in range(9)
    )


def test_address_in_a_familiar_network_is_familiar() -> None:
    account = Account(policy([{"max_addresses": 3, "window": "1h"}]))
    account.mail("ES", NOON - DAY, "address 0", network="AS1")
    of_telephone = [
        account.mail("ES", NOON + number, f"address {number}", network="AS1").crossing
        for number in range(200)
    ]
    assert of_telephone == [None] * 200
    crossed = [
        account.mail("ES", NOON + 300 + number, f"other {number}", network="AS2").crossing
        for number in range(4)
    ]
    assert [crossing is not None for crossing in crossed] == [False, False, False, True]


def test_limit_has_a_familiarity_of_its_own() -> None:
    limits = [{"max_countries": 1, "window": "3d", "familiar_after": 2}]
    account = Account(policy(limits, max_countries=1, window="2d"))
    account.mail("FR", NOON - DAY)
    assert account.mail("ES", NOON - DAY + 60).crossing  # FR was familiar to neither
    account = settled(policy(limits, max_countries=1, window="2d"), "ES")
    account.mail("BR", NOON)
    crossing = account.mail("ES", NOON + 60).crossing
    assert crossing is not None
    assert crossing.rule == "max_countries 1 in 3d"  # one day is enough for the other


def test_limit_that_observes_blocks_nobody_and_hides_nothing() -> None:
    limits = [{"max_networks": 1, "window": "1h", "mode": "observe"}]
    account = Account(policy(limits, max_countries=2))
    account.mail("ES", NOON, network="AS1")
    judgement = account.mail("ES", NOON + 1, network="AS2")
    assert judgement.observed is not None
    assert judgement.observed.rule == "max_networks 1 in 1h"
    assert (judgement.crossing, judgement.begins) == (None, False)
    again = account.mail("ES", NOON + 2, network="AS3")
    assert (again.observed, again.observed_ended) == (None, False)
    account.mail("FR", NOON + 3, "address in FR", network="AS3")
    assert account.mail("BR", NOON + 4, "address in BR", network="AS3").begins


def test_limit_that_observes_lets_places_become_familiar_and_ends_by_itself() -> None:
    limits = [{"max_networks": 1, "window": "1h", "mode": "observe"}]
    account = Account(policy(limits))
    account.mail("ES", NOON, network="AS1")
    assert account.mail("ES", NOON + 1, network="AS2").observed
    ended = account.mail("ES", NOON + 2 * HOUR, network="AS1")
    assert (ended.observed_ended, account.history.generation) == (True, 0)
    rule = Rule(account.policy, NOON + DAY, KEEP)
    assert rule.familiarity(account.history.networks["AS2"]) == 1


# Mails that are counted one by one.


def mails(account: Account, count: int, at: float, country: str, **place: Any) -> list[int]:
    """Return the numbers of the mails that cross a limit, a second apart, counted from 1."""
    return [
        number
        for number in range(1, count + 1)
        if account.mail(country, at + number, **place).crossing is not None
    ]


@pytest.mark.parametrize(
    ("key", "country", "place"),
    [
        ("max_foreign_mails", "BR", {"network": "AS1"}),
        ("max_hosting_mails", "ES", {"network": "AS9", "hosting": True}),
    ],
)
def test_mail_that_makes_one_more_crosses_a_limit_on_mails(
    key: str, country: str, place: dict[str, Any]
) -> None:
    account = settled(policy([{key: 25, "window": "1h"}], familiar_after=3), "ES", days=3)
    assert mails(account, 27, NOON, country, **place)[:1] == [26]
    assert account.history.incident == "enforce"


def test_mails_of_a_new_account_are_left_alone() -> None:
    limits = [{"max_foreign_mails": 2, "window": "1h"}, {"max_hosting_mails": 2, "window": "1h"}]
    for days, crossing in ((2, []), (3, [3])):
        account = settled(policy(limits, familiar_after=3), "ES", days=days)
        assert mails(account, 3, NOON, "BR", network="AS9", hosting=True) == crossing
    account = Account(policy(limits, familiar_after=0))
    assert mails(account, 3, NOON, "BR")[:1] == [3]  # nothing is familiar, nobody is new


def test_mails_from_familiar_places_are_not_counted() -> None:
    limits = [{"max_foreign_mails": 2, "window": "1h"}, {"max_hosting_mails": 2, "window": "1h"}]
    account = Account(policy(limits))
    account.mail("BR", NOON - DAY, network="AS9", hosting=True)
    assert mails(account, 30, NOON, "BR", network="AS9", hosting=True) == []


def test_mails_that_are_counted_leave_the_window_one_by_one() -> None:
    account = settled(policy([{"max_foreign_mails": 2, "window": "1h"}]), "ES")
    assert not any(
        account.mail("BR", NOON + number * 1801).crossing is not None for number in range(20)
    )
    assert account.mail("BR", NOON + 19 * 1801 + 1).crossing


def test_moments_are_as_many_as_the_largest_limit_needs() -> None:
    limits = [
        {"max_foreign_mails": 5, "window": "1h"},
        {"max_foreign_mails": 9, "window": "1d", "mode": "observe"},
    ]
    account = settled(policy(limits, max_countries=0), "ES")
    account.policy = policy(limits, max_countries=0, mode="enforce")
    mails(account, 4, NOON, "BR")
    for number in range(50):
        account.mail("BR", NOON + 3600 * (number + 1))
        assert len(account.history.mails["foreign"].split()) <= 10
    account.history.start_afresh()
    assert account.history.mails == {"hosting": "", "foreign": ""}


def test_limit_on_mails_that_observes_does_not_hasten_one_that_blocks() -> None:
    blocks = {"max_foreign_mails": 5, "window": "7d", "familiar_after": 4}
    observes = {**blocks, "max_foreign_mails": 99, "familiar_after": 1, "mode": "observe"}
    for limits in ([blocks], [blocks, observes], [observes, blocks]):
        account = settled(policy(limits, max_countries=0), "ES", days=3)
        assert mails(account, 20, NOON, "BR") == []  # a new account, for the limit that blocks
        assert mails(account, 7, NOON + DAY, "FR")[:1] == [6]


def test_mail_that_a_limit_counts_is_no_repeat() -> None:
    account = settled(policy([{"max_foreign_mails": 9, "window": "1h"}]), "ES")
    for country, is_repeat in (("BR", False), ("ES", True)):
        account.mail(country, NOON)
        place = account.place(country, NOON, "", "", False)
        rule = Rule(account.policy, NOON + 60, KEEP)
        assert rule.is_repeat(account.history, place, 2) is is_repeat


# Days, and what an incident makes of them.


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("", 0),
        ("20000", 0),  # today
        ("20000 19999 19998", 2),
        ("19999 19970 19969", 2),  # the last is too old
        ("|0 19999 19998", 0),
        ("20000 |2 19999 19998 19997", 2),
        ("19999 |0 19998 19997", 1),
        ("19999 |1 19998", 1),
        ("19999 |3 19998 19997 19996 19995", 3),
        ("19999 19998 |1 19997", 2),
        ("|1 19999 |0 19998 19997", 1),
    ],
)
def test_familiarity_is_the_earlier_days_that_count(days: str, expected: int) -> None:
    assert familiarity(days, 20000, 19970) == expected


def test_incident_leaves_to_each_limit_what_was_familiar_to_it() -> None:
    limits = [{"max_networks": 1, "window": "1h", "familiar_after": 1}]
    account = Account(policy(limits, max_countries=0, familiar_after=3))
    for days in (3, 2):
        account.mail("ES", NOON - days * DAY, network="AS1")
    assert networks(account, "AS2 AS3", NOON)[-1]
    assert account.history.networks["AS1"].days.startswith("|2 ")
    account.history.start_afresh()
    rule = Rule(account.policy, NOON + DAY, KEEP)
    short, long = account.policy.limits[1], account.policy.limits[0]
    assert rule.is_familiar(short, "network", account.history.networks["AS1"], account.history)
    account.mail("ES", NOON + DAY, network="AS1")
    rule = Rule(account.policy, NOON + 2 * DAY, KEEP)
    assert not rule.is_familiar(long, "network", account.history.networks["AS1"], account.history)


def test_days_of_two_places_in_one_keep_the_marks_where_they_are() -> None:
    assert joined_days("20003 |0 20000", "20001") == "20003 20001 |0 20000"
    assert joined_days("|0 20000", "|1 20002 20001") == "|1 20002 20001 |0 20000"


def test_day_after_the_block_of_the_same_day_goes_on_counting() -> None:
    account = Account(policy(max_countries=1, familiar_after=2))
    assert account.mail("FR", NOON - DAY)
    account.mail("ES", NOON)
    account.mail("BR", NOON)
    assert account.history.incident
    account.history.start_afresh()
    account.mail("ES", NOON + HOUR)
    days = joined_days(
        account.history.countries["ES"].days, "20001"
    )  # as the log of counts is folded
    assert familiarity(days, 20002, 19970) == 2
