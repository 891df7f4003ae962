"""Accounts of a mail server, honest and stolen, with the mails they send: traffic of known truth.

Every account is of a kind and sends for some weeks.  It is known which accounts are stolen, since
when and by which kind of thief.  The mails come in the order of time.  The same seed gives the
same mails.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import NamedTuple

from checkout import COUNTRIES, address

DAY = 86400
HOUR = 3600


class SentMail(NamedTuple):
    """One mail: when (UTC seconds), of whom, from where, and whether a thief sent it."""

    at: int
    account: str
    country: str
    host: int
    client_name: str = "unknown"
    stolen: bool = False

    @property
    def client_address(self) -> str:
        return address(self.country, self.host)


Places = Iterator[tuple[int, str, int, str, bool]]


def _days(dice: random.Random, start: int, days: int, mails: int) -> Iterator[int]:
    """Return times of mails on working hours of so many days."""
    for day in range(days):
        for _ in range(dice.randrange(1, mails + 1)):
            yield start + day * DAY + dice.randrange(7 * HOUR, 20 * HOUR)


def stay_at_home(dice: random.Random, start: int, days: int) -> Places:
    home, host = dice.choice(COUNTRIES), dice.randrange(1, 9000)
    for at in _days(dice, start, days, 4):
        yield at, home, host + dice.randrange(3), "unknown", False


def commuter(dice: random.Random, start: int, days: int) -> Places:
    """At work in one country and at home in another, every day."""
    home, work = dice.sample(COUNTRIES, 2)
    for at in _days(dice, start, days, 4):
        hour = (at - start) % DAY // HOUR
        yield at, work if 9 <= hour < 17 else home, dice.randrange(3), "unknown", False


def traveller(dice: random.Random, start: int, days: int) -> Places:
    """At home, except for a week in one or two other countries, which are reached by a third."""
    home, stop, away, further = dice.sample(COUNTRIES, 4)
    leaves = dice.randrange(8, max(9, days - 8))
    for at in _days(dice, start, days, 3):
        day = (at - start) // DAY
        country = home
        if leaves <= day < leaves + 7:
            hour = (at - start) % DAY // HOUR
            country = stop if day == leaves and hour < 12 else away if day < leaves + 4 else further
        yield at, country, dice.randrange(4), "unknown", False


def cloud_sender(dice: random.Random, start: int, days: int) -> Places:
    """Sends through Google's machines, wherever they are."""
    for at in _days(dice, start, days, 5):
        number = dice.randrange(200)
        yield at, dice.choice(COUNTRIES), number, f"mail-{number}.google.com", False


def shared(dice: random.Random, start: int, days: int) -> Places:
    """One account of the staff in three countries."""
    countries = dice.sample(COUNTRIES, 3)
    for at in _days(dice, start, days, 9):
        yield at, dice.choice(countries), dice.randrange(5), "unknown", False


def stolen(dice: random.Random, start: int, days: int) -> Places:
    """A stay-at-home, until thieves send through proxies all over the world for a day."""
    yield from stay_at_home(dice, start, days)
    theft = start + dice.randrange(9, days - 2) * DAY + dice.randrange(DAY)
    for number in range(60):
        at = theft + number * 600 + dice.randrange(600)
        yield at, dice.choice(COUNTRIES), dice.randrange(9000, 20000), "unknown", True


KINDS: dict[str, Callable[[random.Random, int, int], Places]] = {
    kind.__name__: kind
    for kind in (stay_at_home, commuter, traveller, cloud_sender, shared, stolen)
}


def simulate(seed: int, start: int, days: int, kinds: Iterable[str], each: int) -> list[SentMail]:
    """Return the mails of so many accounts of each kind: `KIND-NUMBER@example.org`."""
    dice = random.Random(seed)
    mails = [
        SentMail(at, f"{kind}-{number}@example.org", country, host, client_name, is_stolen)
        for kind in kinds
        for number in range(each)
        for at, country, host, client_name, is_stolen in KINDS[kind](dice, start, days)
    ]
    return sorted(mails)


def utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, timezone.utc)


def log_line(mail: SentMail, number: int, style: str = "rfc3339", host: str = "mx1") -> str:
    """Return the line that Postfix logs for a mail; `style`: "syslog" (in UTC) or "rfc3339"."""
    moment = utc(mail.at)
    date = f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S}"
    if style == "rfc3339":
        date = moment.isoformat()
    return (
        f"{date} {host} postfix/submission/smtpd[4711]: {number:011X}:"
        f" client={mail.client_name}[{mail.client_address}], sasl_method=PLAIN,"
        f" sasl_username={mail.account}\n"
    )


def log(mails: Iterable[SentMail], style: str = "rfc3339", host: str = "mx1") -> str:
    """Return a log of the mails, with other lines in between."""
    lines = []
    for number, mail in enumerate(mails, 1):
        lines.append(log_line(mail, number, style, host))
        lines.append(lines[-1].split(": ")[0] + ": disconnect from unknown[203.0.113.1] quit=1\n")
    return "".join(lines)
