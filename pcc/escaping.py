"""Makes values that came from outside safe to show in a log, a table or a mail.

Logins and host names are chosen by strangers.  A control character could forge
a log line, an escape sequence could drive a terminal, and a right-to-left mark
could turn a name around.
"""

from __future__ import annotations

LONGEST = 400
"""Characters of one value that are shown; what is beyond is cut and marked."""


def escaped(value: str, longest: int = LONGEST) -> str:
    """Return `value`, or its beginning, with backslash escapes for what is not printable.

    `<`, `>` and the backslash are escaped too, because log lines put values in
    angle brackets.  Printable characters outside ASCII stay as they are.
    """
    if len(value) > longest:
        value = value[: longest - 3] + "..."
    if value.isprintable() and not ("\\" in value or "<" in value or ">" in value):
        return value
    return "".join([_escaped_character(character) for character in value])


def _escaped_character(character: str) -> str:
    if character in "\\<>":
        return f"\\x{ord(character):02x}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
