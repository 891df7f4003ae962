"""The checks of pcc.toml, one for each kind of value.

A check takes a value as TOML has it and returns it as the records of
pcc/config/__init__.py have it, or raises Wrong with the rule that the value breaks.
Checks that take arguments return the check.  Only programs that parse TOML import
this module.
"""

from __future__ import annotations

from pcc.address import exempt_client
from pcc.config.iso3166 import CODES, MISTAKEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pcc.address import Network

    Check = Callable[[Any], Any]

LONGEST_SHOWN = 80
"""Characters of a value that a message shows."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""Seconds per Postfix time unit (postconf(5))."""

LONGEST_DURATION = 100 * 365 * 86400

ACTIONS = frozenset(
    "OK REJECT DEFER DEFER_IF_REJECT DEFER_IF_PERMIT BCC DISCARD DUNNO FILTER HOLD INFO PREPEND"
    " REDIRECT WARN".split()
)
"""access(5), ACCEPT ACTIONS to OTHER ACTIONS; also a reply code of the form 4NN or 5NN."""

ARGUMENTS = {
    "BCC": ("@", "a mail address"),
    "FILTER": (":", "transport:destination"),
    "PREPEND": (":", "a header"),
    "REDIRECT": ("@", "a mail address"),
}
"""The sign that an action's text must have, and its name: without it Postfix lets the mail pass."""


class Wrong(Exception):
    """A value breaks a rule.

    The text is place and rule: `policy.window must be ...`.  `inside()` puts the outer
    part of the place in front.
    """

    def __init__(self, rule: str, place: str = "") -> None:
        super().__init__(f"{place} {rule}")
        self.rule = rule
        self.place = place

    def inside(self, place: str) -> Wrong:
        """Return the same fault, at `place`."""
        return Wrong(self.rule, place + self.place)


def wrong(rule: str, value: object) -> Wrong:
    """Return the fault of a value that breaks `rule`."""
    return Wrong(f"{rule}, got {shown(value)}")


def shown(value: object) -> str:
    """Return a value as an operator wrote it in TOML, on one line and not too long."""
    text = _written(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        scheme, separator, _ = value.partition("://")
        if separator:  # what follows may have a password
            value = f"{scheme}://..."
        written = ""
        for character in value:
            is_plain = character.isprintable() and character not in '"\\'
            escaped = character.encode("unicode_escape").decode("ascii")
            written += character if is_plain else '\\"' if character == '"' else escaped
        return f'"{written}"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "[" + ", ".join([_written(item) for item in value]) + "]"
    return str(value)


# Kinds of values.


def text(value: Any) -> str:
    """One line without control characters."""
    if not isinstance(value, str):
        raise wrong("must be a string", value)
    if not value.isprintable():
        raise wrong("must be printable and on one line", value)
    return value


def boolean(value: Any) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise wrong("must be true or false", value)
    return value


def whole_number(least: int, most: int = 1_000_000_000) -> Check:
    """Return the check for a whole number within bounds."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong("must be a whole number", value)
        if value < least:
            raise wrong(f"must be {least} or more", value)
        if value > most:
            raise wrong(f"must be {most} or less", value)
        return value

    return check


def one_of(*choices: str) -> Check:
    """Return the check for one of a few words."""

    def check(value: Any) -> str:
        if value not in choices:
            raise wrong("must be " + " or ".join([shown(choice) for choice in choices]), value)
        return str(value)

    return check


def list_of(check: Check, what: str) -> Check:
    """Return the check for a list; `what` names the items in a message."""

    def check_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise wrong(f"must be a list of {what}", value)
        checked = []
        for number, item in enumerate(value, 1):
            try:
                checked.append(check(item))
            except Wrong as fault:
                raise fault.inside(f"[{number}]") from None
        return tuple(checked)

    return check_all


def or_empty(check: Check, nothing: object = "") -> Check:
    """Return the check for an empty string, which means `nothing`, or what `check` takes."""
    return lambda value: nothing if value == "" else check(value)


def or_zero(check: Check) -> Check:
    """Return the check for 0, a number or text, or what `check` takes."""
    return lambda value: 0 if str(value) == "0" else check(value)


# Times.


def duration_seconds(text: str) -> int:
    """Return the seconds of a Postfix time such as `2d`; 0 to a hundred years.

    Raises ValueError for anything else.
    """
    number, unit = text[:-1], text[-1:].lower()
    if not (number.isascii() and number.isdigit()) or unit not in UNITS:
        raise ValueError(text)
    seconds = int(number) * UNITS[unit]
    if seconds > LONGEST_DURATION:
        raise ValueError(text)
    return seconds


def duration(value: Any) -> tuple[int, str]:
    """A time longer than nothing: its seconds, and its text for messages."""
    written = value.strip() if isinstance(value, str) else ""
    try:
        seconds = duration_seconds(written)
    except ValueError:
        seconds = 0
    if seconds == 0:
        raise wrong(
            'must be a time such as "2d" (a number and one of s, m, h, d, w), '
            "at least a second and at most a hundred years",
            value,
        )
    return seconds, written


def seconds(value: Any) -> int:
    """A time longer than nothing, in seconds."""
    return duration(value)[0]


# Postfix's things.


def action(value: Any) -> str:
    """An action of access(5), with its text if it has one."""
    word, _, argument = text(value).strip().partition(" ")
    word, argument = word.upper(), argument.strip()
    code = len(word) == 3 and word.isascii() and word.isdigit() and word[0] in "45"
    if word not in ACTIONS and not code:
        raise wrong("must be REJECT, HOLD or another action of access(5)", value)
    if word in ARGUMENTS:
        sign, what = ARGUMENTS[word]
        if sign not in argument:
            raise wrong(f"must have {what} after {word}", value)
    return f"{word} {argument}".strip()


def account(value: Any) -> str:
    """An account, or a domain with an `@` before it; in lower case."""
    name = text(value).strip().lower()
    user, at, host = name.rpartition("@")
    right = bool(host) and " " not in name
    if at and not user:
        right = _is_domain(host)
    if not right:
        raise wrong('must be an account such as "user@example.org", or "@example.org"', value)
    return name


def domain(value: Any) -> str:
    """A mail domain in lower case; an `@` before it is left out."""
    try:
        return plain_domain(text(value))
    except ValueError as error:
        raise wrong(str(error), value) from None


def plain_domain(text: str) -> str:
    """Return a mail domain in lower case, without an `@` before it.

    Raises ValueError with the rule that `text` breaks.
    """
    name = text.strip().lower().removeprefix("@")
    if not _is_domain(name):
        raise ValueError('must be a domain such as "example.org"')
    return name


def _is_domain(name: str) -> bool:
    labels = name.split(".")
    return all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels)


def client(value: Any) -> Network | str | int:
    """A network or a verified host name, as pcc.address matches them, or the number of an AS."""
    name = text(value).strip().upper()
    if name.startswith("AS") and name[2:].isascii() and name[2:].isdigit():
        number = int(name[2:]) if len(name) <= len("AS4294967295") else 0
        if not 0 < number < 1 << 32:
            raise wrong("must be an autonomous system such as AS64500", value)
        return number
    try:
        return exempt_client(name)
    except ValueError as error:
        raise wrong(str(error), value) from None


def delimiters(value: Any) -> str:
    """Characters one of which ends the local part proper, as Postfix has them; "" for none."""
    characters = text(value)
    if not characters.isascii() or any(c.isalnum() or c in " @" for c in characters):
        raise wrong('must be punctuation such as "+", and not "@"', value)
    return characters


spelling = one_of("domain\\user", "user%domain", "extension")
"""Another form of a login than user@domain that means the same account."""


def mail_address(value: Any) -> str:
    """An address for sendmail's command line and a message's header."""
    address = text(value).strip()
    if not address or not address.isascii() or any(c in ' ,;<>()"\\' for c in address):
        raise wrong('must be a plain mail address such as "postmaster"', value)
    if address.startswith("-"):
        raise wrong('must not begin with "-"', value)
    return address


def host_and_port(value: Any) -> tuple[str, int]:
    """A host's name or address (IPv6 in brackets) and a port."""
    host, _, port = text(value).strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not host or any(c in " []/" for c in host) or not 0 < number < 65536:
        raise wrong('must be a host and a port such as "localhost:25"', value)
    return host, number


def log_name(value: Any) -> str:
    """A name that syslog lines can begin with."""
    name = text(value)
    if not name or len(name) > 32 or not name.isascii() or any(c in " []:%" for c in name):
        raise wrong(
            "must be a name of 1 to 32 ASCII characters without blanks, colons, percent signs "
            "and brackets",
            value,
        )
    return name


# Countries.


def country(value: Any) -> str:
    """An ISO 3166 code in upper case."""
    code = text(value).strip().upper()
    if code in MISTAKEN:
        raise wrong(f"must be an ISO 3166 code, here {MISTAKEN[code]}", value)
    if code not in CODES:
        raise wrong('must be an ISO 3166 code such as "ES"', value)
    return code


def country_groups(value: Any) -> dict[str, str]:
    """Lists of countries: which group each is in; a group is called after its members."""
    group_of: dict[str, str] = {}
    members = list_of(country, "ISO 3166 codes")
    for group in list_of(members, 'groups such as ["ES", "PT"]')(value):
        for code in group:
            if code in group_of:
                raise Wrong(f"must have each country in one group only, got {code} twice")
            group_of[code] = "+".join(group)
    return group_of


# Files.


def path(value: Any) -> str:
    """The path of a file."""
    name = text(value)
    if not name:
        raise wrong("must be the path of a file", value)
    return name


def absolute_path(value: Any) -> str:
    """The path of a file, from the root on."""
    name = path(value)
    if not name.startswith("/"):
        raise wrong('must be a path that begins with "/"', value)
    return name


def store(value: Any) -> str:
    """The path of an SQLite file, or the URL of a database server."""
    name = path(value)
    if "://" not in name:
        return name
    from pcc.config.databaseurl import SCHEMES, ServerAddress

    if name.partition("://")[0] not in SCHEMES:
        raise wrong("must be the path of an SQLite file, or a postgresql:// or mysql:// URL", name)
    try:
        ServerAddress(name)
    except ValueError as error:
        raise wrong(str(error), name) from None
    return name


def command(value: Any) -> tuple[str, ...]:
    """A program and its arguments; empty for none."""
    words: tuple[str, ...] = list_of(text, "a program and its arguments")(value)
    if words and not words[0]:
        raise wrong("must begin with the program to run", value)
    return words
