"""Two months of a mail server: accounts of all kinds, some of them stolen, and its mail log."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from quality import honest, thieves
from quality.honest import DAY, Mail, Person
from quality.world import World

START = 1767571200
"""Monday, 2026-01-05."""

STOLEN = 0.1
"""The share of the accounts, in two months."""

FIRST_WEEK = 0.15
"""The share of the thefts: in the first week, when the database knows little."""

KNOWN_DAYS, LATE_DAYS = 28, 10
"""The other thefts come after this many days, and this many days before the end, to have time to
be seen.
"""


class Account(NamedTuple):
    """An account and its mails in the order of time.

    `thief`: of which kind, "" for none.  `theft`: when its first mail was sent, 0 for never.
    """

    name: str
    kind: str
    thief: str
    theft: int
    mails: list[Mail]


def accounts(world: World, seed: int, count: int, days: int) -> Iterator[Account]:
    """Yield the accounts of a server: the same for the same seed."""
    end = START + days * DAY
    for number in range(count):
        dice = random.Random(seed * 1_000_003 + number)
        [kind] = dice.choices(list(honest.KINDS), list(honest.KINDS.values()))
        who = Person(dice, world, START, days)
        mails = [mail for mail in kind(who) if mail.at < end]
        thief, theft = "", 0
        if dice.random() < STOLEN:
            [steal] = dice.choices(list(thieves.KINDS), list(thieves.KINDS.values()))
            early = dice.random() < FIRST_WEEK
            first, last = (1, 7) if early else (KNOWN_DAYS, days - LATE_DAYS)
            theft = START + dice.randrange(first * DAY, last * DAY)
            mails += [mail for mail in steal(who, theft) if mail.at < end]
            thief = steal.__name__
        name = f"{thief or kind.__name__}-{number}@example.org".replace("_", "-")
        yield Account(name, kind.__name__, thief, theft, sorted(mails))


def write_log(path: Path, month: list[Account]) -> int:
    """Write the log of all mails in the order of time; return how many there are."""
    mails = sorted((mail.at, account.name, mail) for account in month for mail in account.mails)
    with path.open("w", encoding="utf-8") as file:
        for number, (at, account, mail) in enumerate(mails, 1):
            moment = datetime.fromtimestamp(at, timezone.utc).isoformat()
            file.write(
                f"{moment} mx postfix/submission/smtpd[4711]: {number:011X}:"
                f" client={mail.client_name}[{mail.address}], sasl_method=PLAIN,"
                f" sasl_username={account}\n"
            )
    return len(mails)
