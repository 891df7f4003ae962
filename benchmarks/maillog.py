"""A mail log as a submission server writes it, for replay."""

from __future__ import annotations

import random
from pathlib import Path
from time import gmtime, perf_counter, strftime
from zlib import crc32

from benchmarks.traffic import World, account

SESSION = """\
{smtpd}: connect from {client}
{smtpd}: {queue_id}: client={client}, sasl_method=PLAIN, sasl_username={account}
{when} mail postfix/cleanup[{pid}]: {queue_id}: message-id=<{number}@client.example.net>
{when} mail postfix/qmgr[812]: {queue_id}: from=<{account}>, size=3817, nrcpt=1 (queue active)
{smtpd}: disconnect from {client} ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8
{when} mail postfix/smtp[{pid}]: {queue_id}: to=<somebody@example.net>, \
relay=mx.example.net[192.0.2.25]:25, delay=0.8, delays=0.1/0/0.4/0.3, dsn=2.0.0, \
status=sent (250 2.0.0 Ok)
{when} mail postfix/qmgr[812]: {queue_id}: removed
"""
"""The lines that one mail leaves behind."""

RECEIVED = """\
{when} mail postfix/postscreen[811]: CONNECT from [{sender}]:51234 to [192.0.2.1]:25
{when} mail postfix/postscreen[811]: PASS OLD [{sender}]:51234
{when} mail postfix/smtpd[{pid}]: connect from mx.example.net[{sender}]
{when} mail postfix/smtpd[{pid}]: {queue_id}: client=mx.example.net[{sender}]
{when} mail postfix/cleanup[{pid}]: {queue_id}: message-id=<{number}@example.net>
{when} mail postfix/qmgr[812]: {queue_id}: from=<somebody@example.net>, size=8817, nrcpt=1 \
(queue active)
{when} mail postfix/smtpd[{pid}]: disconnect from mx.example.net[{sender}] ehlo=2 starttls=1 \
mail=1 rcpt=1 data=1 quit=1 commands=7
{when} mail postfix/lmtp[{pid}]: {queue_id}: to=<{account}>, relay=mail[private/dovecot-lmtp], \
delay=0.2, delays=0.1/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 <{account}> Saved)
{when} mail postfix/qmgr[812]: {queue_id}: removed
"""
"""The lines that a received mail leaves behind."""

FIRST_MAIL = 1_760_000_000
SECONDS_BETWEEN = 2


def write(path: Path, world: World, accounts: int, megabytes: float, received: int = 0) -> None:
    """Write a log of so many megabytes; 1 mail in 500 comes from another country.

    `received`: mails that the server receives for each that is sent.
    """
    chance = random.Random(6)
    number = size = 0
    with path.open("w", encoding="ascii") as log:
        while size < megabytes * 1e6:
            number += 1
            who = chance.randrange(accounts)
            is_abroad = not chance.randrange(500)
            address = world.abroad(who, chance) if is_abroad else world.known(who, 0, 1)[1]
            when = strftime("%b %e %H:%M:%S", gmtime(FIRST_MAIL + number * SECONDS_BETWEEN))
            pid = 2000 + number % 64
            lines = (SESSION + RECEIVED * received).format(
                when=when,
                pid=pid,
                smtpd=f"{when} mail postfix/submission/smtpd[{pid}]",
                client=f"host-{crc32(address.encode()) % 977}.example.net[{address}]",
                sender=f"198.51.100.{number % 256}",
                queue_id=f"4{number:011X}",
                account=account(who),
                number=number,
            )
            size += log.write(lines)


def seconds_to_read(path: Path) -> float:
    """Return how long a bare loop over the lines takes."""
    begin = perf_counter()
    with path.open("rb") as log:
        for _ in log:
            pass
    return perf_counter() - begin
