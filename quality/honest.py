"""Honest accounts as a mail server has them, each of a kind, with the mails of some weeks.

A kind is a function of a `Person` that yields mails: when, the address, the verified client name.
Every person has a line at home, a telephone and perhaps an office, and sends in sessions of a few
mails.  The other places make the kind.  The shares are assumptions; the kinds are those that rules
of this sort are known to lock out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from quality.world import (
    CLOUD,
    COUNTRIES,
    FIXED,
    HOMES,
    HOSTING,
    MOBILE,
    PUBLIC,
    REGIONS,
    SHIP,
    VPN,
    Network,
    World,
)

DAY = 86400
HOUR = 3600
MINUTE = 60

NO_COUNTRY = "10.0.0.5"
"""The address of a webmail server."""


class Mail(NamedTuple):
    """A mail: when it was sent (UTC seconds), from where, and whether by a thief."""

    at: int
    address: str
    client_name: str = "unknown"
    stolen: bool = False


Mails = Iterator[Mail]


Kind = Callable[["Person"], Mails]


class Person:
    """Somebody with an account: their dice, the world, and where they usually are."""

    def __init__(self, dice: random.Random, world: World, start: int, days: int) -> None:
        self.dice = dice
        self.world = world
        self.start = start
        self.days = days
        self.home = dice.choice(HOMES)
        self.line = world.provider(dice, self.home, FIXED)
        self.line_host = dice.randrange(65536)
        self.telephone = world.provider(dice, self.home, MOBILE)
        self.office = world.provider(dice, self.home, FIXED) if dice.random() < 0.5 else None
        self.office_host = dice.randrange(65536)
        self.rate = min(12.0, dice.lognormvariate(0, 0.8))  # sessions on a working day
        self.has_ipv6 = dice.random() < 0.4

    def at_line(self) -> str:
        """Return the address at home, which changes now and then."""
        if self.dice.random() < 0.02:
            self.line_host = self.dice.randrange(65536)
        if self.has_ipv6 and self.dice.random() < 0.6:
            return self.line.address6(self.line_host)
        return self.line.address(self.line_host)

    def on_telephone(self) -> str:
        """Return an address of the telephone, another one for each connection."""
        if self.has_ipv6 and self.dice.random() < 0.5:
            return self.telephone.address6(self.dice.randrange(65536))
        return self.telephone.address(self.dice.randrange(65536))

    def elsewhere(self, country: str = "") -> str:
        """Return an address at friends', in a café, a hotel or a train."""
        kind = FIXED if self.dice.random() < 0.6 else PUBLIC
        network = self.world.provider(self.dice, country or self.home, kind)
        return network.address(self.dice.randrange(65536))

    def usual(self, at: int) -> str:
        """Return an address of everyday life at a time."""
        chance = self.dice.random()
        if chance < 0.02:
            return self.elsewhere()
        if chance < 0.3:
            return self.on_telephone()
        weekday, hour = (at // DAY) % 7, at % DAY // HOUR
        if self.office is not None and weekday < 5 and 7 <= hour < 17:
            return self.office.address(self.office_host)
        return self.at_line()

    def times(self, days: range | None = None, rate: float = 0) -> Iterator[int]:
        """Yield when sessions begin, on some days or on all; at night and on Sundays fewer."""
        for day in range(self.days) if days is None else days:
            weekday = (self.start // DAY + day) % 7
            expected = (rate or self.rate) * (1 if weekday < 5 else 0.3)
            count = int(expected) + (self.dice.random() < expected % 1)
            for _ in range(count):
                hour = min(23.9, max(0, self.dice.gauss(12.5, 3.5)))
                yield self.start + day * DAY + int(hour * HOUR)

    def session(self, at: int, address: str) -> Mails:
        """Yield the mails of one session; sometimes another place follows within minutes."""
        for number in range(1 + int(self.dice.expovariate(1.2))):
            yield Mail(at + number * 40 + self.dice.randrange(40), address)
        if self.dice.random() < 0.05:
            yield Mail(at + self.dice.randrange(8 * MINUTE), self.on_telephone())

    def life(self, days: range | None = None) -> Mails:
        """Yield the mails of everyday life."""
        for at in self.times(days):
            yield from self.session(at, self.usual(at))

    def away(self, days: range, address: Callable[[int], str], rate: float = 1.5) -> Mails:
        """Yield everyday life, and on some days mails from elsewhere."""
        yield from self.life(range(days.start))
        for at in self.times(days, rate):
            yield from self.session(at, address(at))
        yield from self.life(range(days.stop, self.days))

    def trip(self, most: int) -> range:
        """Return some days in a row."""
        length = min(self.dice.randrange(2, most + 1), self.days - 2)
        first = self.dice.randrange(1, self.days - length)
        return range(first, first + length)

    def day(self, at: int) -> int:
        """Return in which of the days a time is."""
        return (at - self.start) // DAY

    def abroad(self, region: str = "") -> str:
        """Return another country than that of home."""
        codes = REGIONS[region] if region else COUNTRIES
        return self.dice.choice([code for code in codes if code != self.home])


def everyday(who: Person) -> Mails:
    """At home, in the office, by telephone; now and then in a café or with friends."""
    yield from who.life()


def telephone(who: Person) -> Mails:
    """Sends by telephone alone: another address of one provider for each connection."""
    for at in who.times(rate=who.rate * 2):
        yield from who.session(at, who.on_telephone())


def busy_day(who: Person) -> Mails:
    """Answers two hundred mails in a day."""
    yield from who.life()
    day = who.dice.randrange(who.days)
    for at in who.times(range(day, day + 1), 120):
        yield Mail(at, who.usual(at))


def newsletter(who: Person) -> Mails:
    """Writes to all members, one by one, in an hour."""
    yield from who.life()
    at = who.start + who.dice.randrange(who.days) * DAY + 10 * HOUR
    for number in range(who.dice.randrange(100, 600)):
        yield Mail(at + number * 6, who.line.address(who.line_host))


def second_line(who: Person) -> Mails:
    """An office whose line fails over to another provider's for hours."""
    other = who.world.provider(who.dice, who.home, FIXED)
    failing = {who.dice.randrange(who.days) for _ in range(3)}
    for at in who.times(rate=4):
        line = other if who.day(at) in failing and at % DAY > 12 * HOUR else who.line
        yield from who.session(at, line.address(who.office_host))


def commuter(who: Person) -> Mails:
    """Works in the next country; the telephone roams over both."""
    work = who.world.provider(who.dice, who.abroad("Europe"), FIXED)
    roaming = who.world.provider(who.dice, work.country, MOBILE)
    for at in who.times(rate=3):
        if (at // DAY) % 7 < 5 and 8 <= at % DAY // HOUR < 17:
            network = roaming if who.dice.random() < 0.2 else work
            yield from who.session(at, network.address(who.office_host))
        else:
            yield from who.session(at, who.usual(at))


def two_offices(who: Person) -> Mails:
    """One account, people in two or three countries."""
    offices = [who.world.provider(who.dice, who.abroad("Europe"), FIXED) for _ in range(2)]
    for at in who.times(rate=6):
        network = who.dice.choice([who.line, *offices])
        yield from who.session(at, network.address(who.office_host))


def holiday(who: Person) -> Mails:
    """A week or two abroad: hotels, cafés, a telephone that roams by its own network."""
    country, stop = who.abroad("Europe" if who.dice.random() < 0.7 else ""), who.abroad("Europe")
    trip = who.trip(14)
    hotel = who.world.provider(who.dice, country, FIXED)

    def address(at: int) -> str:
        if who.day(at) in (trip.start, trip.stop - 1) and who.dice.random() < 0.3:
            return who.elsewhere(stop)
        chance = who.dice.random()
        if chance < 0.4:
            return who.on_telephone()  # roaming goes through the provider at home
        return who.elsewhere(country) if chance < 0.6 else hotel.address(who.line_host)

    yield from who.away(trip, address)


def long_haul(who: Person) -> Mails:
    """Home, two stops and a destination within two days; back the same way."""
    way = [who.home, who.abroad("South"), who.abroad("Asia"), who.abroad("Asia")]
    trip = who.trip(10)

    def address(at: int) -> str:
        first, last = who.day(at) - trip.start, trip.stop - 1 - who.day(at)
        hours = at % DAY // HOUR // 7
        stage = min(first * 3 + hours, last * 3 + 3 - hours, 3)
        return who.elsewhere(way[max(0, stage)])

    yield from who.away(trip, address, 3)


def cruise(who: Person) -> Mails:
    """Another port every day or two; at sea by the ship's provider."""
    ship = who.dice.choice(who.dice.choice(who.world.providers[SHIP]))
    ports = who.dice.sample(REGIONS[who.dice.choice(list(REGIONS))], 9)
    trip = who.trip(14)

    def address(at: int) -> str:
        if who.dice.random() < 0.6:
            return ship.address(who.dice.randrange(4096))
        return who.elsewhere(ports[(who.day(at) - trip.start) * 2 // 3 % 9])

    yield from who.away(trip, address)


def railway_tour(who: Person) -> Mails:
    """Through Europe by train: another country nearly every day, and networks of all sorts."""
    tour = who.dice.sample(REGIONS["Europe"], 12)
    trip = who.trip(16)

    def address(at: int) -> str:
        country = tour[(who.day(at) - trip.start) * 3 // 4 % 12]
        if who.dice.random() < 0.3:
            return who.on_telephone()
        return who.elsewhere(country)

    yield from who.away(trip, address, 2)


def air_crew(who: Person) -> Mails:
    """Three rotations a week, a night in a hotel each."""
    stations = who.dice.sample(COUNTRIES, 9)
    rotations = {day: who.dice.choice(stations) for day in range(who.days) if day % 7 in (0, 3, 5)}
    for at in who.times(rate=2):
        day = who.day(at)
        station = rotations.get(day) or (at % DAY < 10 * HOUR and rotations.get(day - 1))
        if station and who.dice.random() < 0.6:
            yield from who.session(at, who.elsewhere(station))
        else:
            yield from who.session(at, who.usual(at))


def field_worker(who: Person) -> Mails:
    """At customers all day long, often by their networks."""
    for at in who.times(rate=6):
        if at // DAY % 7 < 5 and who.dice.random() < 0.3:
            yield from who.session(at, who.elsewhere())
        else:
            yield from who.session(at, who.on_telephone())


def sales(who: Person) -> Mails:
    """Two or three countries a week, hotels and trade fairs."""
    for at in who.times(rate=4):
        week = random.Random(who.day(at) // 2 * 1000 + who.line_host)
        country = week.choice([who.home, who.home, *REGIONS["Europe"][:12]])
        hotel = who.world.provider(week, country, FIXED)
        if country == who.home or who.dice.random() < 0.3:
            yield from who.session(at, who.usual(at))
        elif who.dice.random() < 0.5:
            yield from who.session(at, hotel.address(who.line_host))
        else:
            yield from who.session(at, who.elsewhere(country))


def privacy_vpn(who: Person) -> Mails:
    """One VPN provider, and each day another country of its."""
    exits = who.dice.choice(who.world.providers[VPN])
    favourites = who.dice.sample(exits, 12)
    for at in who.times():
        if who.dice.random() < 0.3:
            yield from who.session(at, who.on_telephone())
            continue
        network = random.Random(who.day(at) + who.line_host).choice(favourites)
        yield from who.session(at, network.address(who.dice.randrange(200)))


def travel_esim(who: Person) -> Mails:
    """On a journey with a travel eSIM, which leaves through third countries, and hotels."""
    exits = [who.world.networks[code, MOBILE][2] for code in ("PL", "HK", "SG", "NL")]
    leaves = who.dice.sample(exits, 3)
    country, trip = who.abroad(), who.trip(14)

    def address(at: int) -> str:
        if who.dice.random() < 0.3:
            return who.elsewhere(country)
        return who.dice.choices(leaves, [6, 2, 1])[0].address(who.dice.randrange(65536))

    yield from who.away(trip, address, 2)


def new_telephone(who: Person) -> Mails:
    """Changes the provider of the telephone."""
    day = who.dice.randrange(1, who.days)
    yield from who.life(range(day))
    who.telephone = who.world.provider(who.dice, who.home, MOBILE)
    yield from who.life(range(day, who.days))


def moving_house(who: Person) -> Mails:
    """Moves, to another country now and then: new lines, and some days of others' networks."""
    day = who.dice.randrange(1, who.days)
    yield from who.life(range(day))
    if who.dice.random() < 0.2:
        who.home = who.abroad("Europe")
        who.telephone = who.world.provider(who.dice, who.home, MOBILE)
    who.line = who.world.provider(who.dice, who.home, FIXED)
    who.office = None
    yield from who.life(range(day, who.days))


def server(who: Person) -> Mails:
    """A program at a hoster that reports each night; one of twenty moves to another."""
    here: Network = who.world.provider(who.dice, who.home, HOSTING)
    moves = who.dice.randrange(who.days) if who.dice.random() < 0.05 else who.days
    count = int(who.dice.lognormvariate(2, 1.2)) + 1
    for day in range(who.days):
        if day == moves:
            here = who.world.provider(who.dice, who.home, HOSTING)
        at = who.start + day * DAY + 2 * HOUR
        for number in range(count):
            yield Mail(at + number * 5, here.address(who.line_host))


def monthly_batch(who: Person) -> Mails:
    """A program in a cloud that sends the bills once a month, from a new machine each time."""
    cloud = who.dice.choice(who.world.providers[CLOUD])
    for day in range(who.dice.randrange(30), who.days, 30):
        machine = who.dice.choice(cloud).address(who.dice.randrange(65536))
        for number in range(who.dice.randrange(50, 1000)):
            yield Mail(who.start + day * DAY + 9 * HOUR + number * 3, machine)


def cloud_sender(who: Person) -> Mails:
    """Sends by a mail program whose maker's machines are in some countries."""
    machines = who.dice.sample(who.dice.choice(who.world.providers[CLOUD]), 4)
    for at in who.times():
        machine = who.dice.choices(machines, [12, 4, 2, 1])[0]
        address = machine.address(who.dice.randrange(300))
        yield from who.session(at, address if who.dice.random() < 0.7 else who.usual(at))


def webmail(who: Person) -> Mails:
    """Sends by webmail alone, which does not say where its users are."""
    for at in who.times():
        yield from who.session(at, NO_COUNTRY)


def new_account(who: Person) -> Mails:
    """Comes to the server some time, and writes to everybody on the first day."""
    day = who.dice.randrange(who.days)
    for at in who.times(range(day, day + 1), 40):
        yield Mail(at, who.usual(at))
    yield from who.life(range(day + 1, who.days))


KINDS: dict[Kind, int] = {
    everyday: 3400,
    telephone: 1500,
    busy_day: 250,
    newsletter: 150,
    second_line: 100,
    commuter: 150,
    two_offices: 60,
    holiday: 1700,
    long_haul: 80,
    cruise: 50,
    railway_tour: 50,
    air_crew: 20,
    field_worker: 250,
    sales: 150,
    privacy_vpn: 150,
    travel_esim: 130,
    new_telephone: 250,
    moving_house: 130,
    server: 100,
    monthly_batch: 50,
    cloud_sender: 300,
    webmail: 400,
    new_account: 500,
}
"""The kinds, and how many of 10,000 accounts are of each in two months."""
