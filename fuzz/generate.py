"""Requests, their mutations, and strings made to break something; all from a seeded Random."""

from __future__ import annotations

import random

from checkout import COUNTRIES, address, address6

HOSTILE = (
    "j'; DROP TABLE sighting; --",
    'a" OR "1"="1',
    "%s%n%x",
    "{0.__class__}",
    "$(reboot)",
    "`reboot`",
    "; reboot #",
    "| reboot",
    "-rf",
    "--config=/etc/shadow",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\u202egro.elpmaxe@eoj",
    "\u2066joe\u2069",
    "<b>joe</b>",
    "joe>\tcountry=ES account=<ann",
    'joe" \\" \\u0000',
    "joe\\",
    "'''",
    '"""',
    "[policy]",
    "joe\rBcc: everybody",
    "joe\x0b\x0c\x1c\x1d\x85\u2028\u2029x",
    "=",
    "==x=",
    "a=b=c",
    "@",
    "@@",
    "@example.org",
    "joe@",
    ".",
    "..",
    "../../etc/passwd",
    "ALL",
    "é" * 9,
    "e\u0301",
    "İ",
    "ß",
    "ﬁ",
    "\U0001f600",
    "\ufeffjoe",
    "\u200bjoe",
    "\xa0joe\xa0",
    "nan",
    "1e999",
    "-1",
    "9" * 40,
    "a" * 5000,
    "🏴" * 1000,
    "\ud7ff\ue000\uffff",
)
"""Values of a login, a client name or a sender; none has a newline or a NUL, which end values."""

RAW = (b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80joe", b"jos\xe9")
"""The same as bytes that are not UTF-8."""

ADDRESSES = (
    "",
    "unknown",
    "10.1.2.3",
    "127.0.0.1",
    "::1",
    "fe80::1%eth0",
    "203.0.113.9",
    "0.0.0.0",
    "255.255.255.255",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "\u0661.\u0662.\u0663.\u0664",
    "::ffff:300.1.1.1",
    "2a01:::1",
    "2a01::g",
    "[2a01::1]",
    "2a01::1/64",
    " 11.1.0.1",
    "11.1.0.1 ",
    "x" * 300,
)
"""Client addresses without a country, most of which are no address at all."""

NAMES = ("unknown", "mail.example.com", "a.google.com", "-", "xn--e1afmkfd.example")
STATES = ("RCPT", "DATA", "END-OF-MESSAGE", "CONNECT", "VRFY")


def instance(choice: random.Random) -> str:
    """An instance that no other mail has."""
    return f"{choice.getrandbits(64):x}.{choice.getrandbits(32):x}.0"


def client_address(choice: random.Random) -> tuple[str, str, str]:
    """An address, its country and how it is to be recorded; ("…", "", "") without a country."""
    if choice.random() < 0.1:
        return choice.choice(ADDRESSES), "", ""
    # Some places are seen again and again, as in life.
    country = choice.choice(COUNTRIES[:3] if choice.random() < 0.6 else COUNTRIES)
    host = 1 if choice.random() < 0.7 else choice.randrange(1, 6)
    if choice.random() < 0.2:
        text = address6(country, host, choice.randrange(1, 100))
        network = address6(country, host, 0).removesuffix("::0") + "::/64"
        return (text.upper() if choice.random() < 0.1 else text), country, network
    text = address(country, host)
    return (f"::ffff:{text}" if choice.random() < 0.05 else text), country, text


def spelled(account: str, choice: random.Random) -> str:
    """The account as a login may be written."""
    how = choice.random()
    if how < 0.6:
        return account
    if how < 0.75:
        return account.upper() if account.upper().lower() == account else account
    return f"{' ' * choice.randrange(3)}{account}{choice.choice(['', ' ', chr(9)])}"


def request(values: dict[str, str | bytes], choice: random.Random) -> bytes:
    """A well-formed request with these values, its attributes in any order, and more of them."""
    attributes: list[tuple[str, str | bytes]] = [("request", "smtpd_access_policy")]
    attributes += values.items()
    if choice.random() < 0.5:
        attributes += [
            ("protocol_state", choice.choice(STATES)),
            ("helo_name", choice.choice(HOSTILE)),
            ("recipient", "friend@example.net"),
            (choice.choice(["etrn_domain", "stress", "x-new", "", " "]), choice.choice(HOSTILE)),
        ]
        choice.shuffle(attributes)
    lines = [
        name.encode() + b"=" + (value if isinstance(value, bytes) else _encoded(value))
        for name, value in attributes
    ]
    return b"\n".join(lines) + b"\n\n"


def mutated(data: bytes, choice: random.Random) -> bytes:
    """The request with something about it changed, so that it may be malformed."""
    mutable = bytearray(data)
    for _ in range(choice.randrange(1, 4)):
        place = choice.randrange(len(mutable) + 1)
        what = choice.randrange(8)
        if what == 0:
            mutable[place : place + choice.randrange(1, 30)] = b""
        elif what == 1:
            mutable[place:place] = choice.randbytes(choice.randrange(1, 9))
        elif what == 2:
            mutable[place:place] = choice.choice(
                [b"\n", b"\n\n", b"\r\n", b"\0", b"=", b"\r\n\r\n"]
            )
        elif what == 3 and mutable:
            mutable[place % len(mutable)] ^= 1 << choice.randrange(8)
        elif what == 4:
            mutable += mutable[: choice.randrange(len(mutable) + 1)]
        elif what == 5:
            del mutable[place:]
        elif what == 6:
            mutable[place:place] = b"x" * choice.choice([100, 5000, 70000])
        else:
            mutable[place:place] = choice.choice(RAW)
        if not mutable:
            mutable += b"\n"
    return bytes(mutable)


def _encoded(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
