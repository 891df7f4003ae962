"""Thieves, each of a kind: the mails that they send by an account that is somebody else's.

Public traces show these: botnets and residential proxies over the world, over a region or in one
country, single servers, and thieves who take care to look like the owner.  The shares are
assumptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from quality.honest import DAY, HOUR, MINUTE, Mail, Mails, Person
from quality.world import COUNTRIES, HOSTING, REGIONS

Thief = Callable[[Person, int], Mails]


def _proxies(who: Person, begin: int, codes: list[str], mails: int, pause: int) -> Mails:
    """Yield mails, each from another proxy in one of the countries, some in bursts."""
    at = begin
    for _ in range(mails):
        network = who.world.any_provider(who.dice, who.dice.choice(codes))
        yield Mail(at, network.address(who.dice.randrange(65536)), stolen=True)
        at += who.dice.randrange(1, 30) if who.dice.random() < 0.6 else who.dice.randrange(pause)


def botnet_world(who: Person, begin: int) -> Mails:
    """Hundreds of mails from all over the world."""
    yield from _proxies(who, begin, COUNTRIES, who.dice.randrange(60, 500), 10 * MINUTE)


def botnet_region(who: Person, begin: int) -> Mails:
    """The same from one region, most of it from one country."""
    region = who.dice.choice(list(REGIONS.values()))
    codes = [*region, *[who.dice.choice(region)] * len(region)]
    yield from _proxies(who, begin, codes, who.dice.randrange(60, 500), 20 * MINUTE)


def botnet_country(who: Person, begin: int) -> Mails:
    """The same from one country."""
    yield from _proxies(who, begin, [who.abroad()], who.dice.randrange(60, 500), 20 * MINUTE)


def neighbour(who: Person, begin: int) -> Mails:
    """Proxies in the owner's own country."""
    yield from _proxies(who, begin, [who.home], who.dice.randrange(60, 300), 20 * MINUTE)


def drip(who: Person, begin: int) -> Mails:
    """One mail each half hour, from another address each time."""
    codes = COUNTRIES if who.dice.random() < 0.5 else [who.abroad()]
    for number in range(who.dice.randrange(100, 300)):
        network = who.world.any_provider(who.dice, who.dice.choice(codes))
        address = network.address(who.dice.randrange(65536))
        yield Mail(begin + number * 30 * MINUTE, address, stolen=True)


def slow(who: Person, begin: int) -> Mails:
    """Six mails a day for weeks, each from another proxy of one country or region."""
    region = who.dice.choice(list(REGIONS.values()))
    codes = region if who.dice.random() < 0.5 else [who.dice.choice(region)]
    for number in range(6 * 20):
        network = who.world.any_provider(who.dice, who.dice.choice(codes))
        address = network.address(who.dice.randrange(65536))
        yield Mail(begin + number * 4 * HOUR + who.dice.randrange(HOUR), address, stolen=True)


def few_proxies(who: Person, begin: int) -> Mails:
    """Two to six proxies, a thousand mails."""
    codes = [who.abroad() for _ in range(who.dice.randrange(2, 7))]
    proxies = [who.world.any_provider(who.dice, code).address(7) for code in codes]
    for number in range(who.dice.randrange(300, 1500)):
        yield Mail(begin + number * 20, who.dice.choice(proxies), stolen=True)


def hosting(who: Person, begin: int) -> Mails:
    """One rented server: a test, and two days later hundreds of mails."""
    network = who.world.provider(who.dice, who.abroad(), HOSTING)
    if who.dice.random() < 0.3:
        network = who.dice.choice(who.dice.choice(who.world.providers[HOSTING]))
    address = network.address(who.dice.randrange(65536))
    yield Mail(begin, address, stolen=True)
    later = begin + who.dice.choice([HOUR, 2 * DAY])
    for number in range(who.dice.randrange(200, 2000)):
        yield Mail(later + number * 4, address, stolen=True)


def new_countries(who: Person, begin: int) -> Mails:
    """One or two new countries a day for weeks, some mails from each."""
    codes = who.dice.sample(COUNTRIES, 60)
    each_day = who.dice.choice([1, 2, 2])
    for number in range(each_day * 28):
        network = who.world.any_provider(who.dice, codes[number])
        at = begin + number * DAY // each_day
        for mail in range(who.dice.randrange(2, 9)):
            yield Mail(at + mail * 15 * MINUTE, network.address(3), stolen=True)


def five_a_day(who: Person, begin: int) -> Mails:
    """Five mails a day from one place."""
    address = who.world.any_provider(who.dice, who.abroad()).address(9)
    for number in range(5 * 20):
        yield Mail(begin + number * DAY // 5, address, stolen=True)


def by_hand(who: Person, begin: int) -> Mails:
    """Fraud: a few mails, written by hand, by the owner's own provider."""
    for number in range(who.dice.randrange(2, 21)):
        at = begin + number * who.dice.randrange(2 * HOUR, 2 * DAY)
        yield Mail(at, who.line.address(who.dice.randrange(65536)), stolen=True)


KINDS: dict[Thief, int] = {
    botnet_world: 18,
    botnet_region: 14,
    botnet_country: 12,
    neighbour: 8,
    drip: 9,
    slow: 4,
    few_proxies: 8,
    hosting: 14,
    new_countries: 3,
    five_a_day: 5,
    by_hand: 5,
}
"""The kinds, and how many of 100 thieves are of each."""


def until(mails: Mails, end: int) -> Iterator[Mail]:
    """Yield the mails that are sent before a time."""
    return (mail for mail in mails if mail.at < end)
