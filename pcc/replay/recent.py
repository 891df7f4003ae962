"""How many of the last mails had no country, by the end of the mail log.

Where all clients seem to have one private address, as behind Docker's gateway, pcc records nothing,
so that only the log shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from pcc import address as addresses
from pcc.config import Config
from pcc.escaping import escaped
from pcc.history import DAY
from pcc.replay.advice import about_unlocated
from pcc.replay.logclock import LogClock
from pcc.replay.submissions import Tally, submissions, text
from pcc.wording import quantity

MOST_MAILS = 200
"""So that what was mended is soon seen to be mended."""

MANY = 0.1
"""Where more of the mails have no country, that is no accident."""


class Recent(NamedTuple):
    """How many of the last mails pcc should judge, and from which addresses without a country."""

    mails: int
    unlocated: Counter[str]


def recent_mails(
    config: Config, lines: bytes, country: Callable[[bytes], str], now: float
) -> Recent:
    """Return what the last mails in a log were, those of exempt accounts and clients left out."""
    clients = []
    for mail in submissions([lines], LogClock(now + DAY), Tally()):
        packed = addresses.packed_address(mail.client_address)
        if config.covers(config.normalised_account(text(mail.login))) and not (
            (packed and addresses.in_networks(packed, config.exempt_networks))
            or addresses.is_named(mail.client_name, config.exempt_names)
        ):
            clients.append((mail.client_address, packed))
    last = clients[-MOST_MAILS:]
    without = [
        address
        for address, packed in last
        if not packed or addresses.is_without_country(packed) or not country(packed)
    ]
    return Recent(len(last), Counter(without))


def problem(recent: Recent, database: str) -> str:
    """Return what is wrong and how to mend it where many had no country, "" where they had."""
    count = recent.unlocated.total()
    if count <= MANY * recent.mails:
        return ""
    ((address, most),) = recent.unlocated.most_common(1)
    causes = about_unlocated(count, recent.unlocated, database)[1:]
    return " ".join(
        [
            f"{count} of the last {quantity(recent.mails, 'mail')} had no country, so pcc recorded"
            f" nothing of them; {most} came from {escaped(address)}.",
            *causes,
            "Where that is as it should be, put the address into policy.exempt_clients.",
        ]
    )
