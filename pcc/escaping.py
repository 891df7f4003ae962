"""Makes values that came from outside safe to show in a log, a table or a mail.

Logins and host names are chosen by strangers.  A control character could forge
a log line, an escape sequence could drive a terminal, and a right-to-left mark
could turn a name around.
"""

from __future__ import annotations

LONGEST = 400
"""Characters of one value that are shown; what is beyond is cut and marked."""

LONGEST_SENTENCE = 2000
"""Characters; the end of a sentence may be the very thing to do about it."""


def escaped(value: str) -> str:
    """Return `value`, or its beginning, with backslash escapes for what is not printable.

    `<`, `>` and the backslash are escaped too, because log lines put values in
    angle brackets.  Printable characters outside ASCII stay as they are.
    """
    if len(value) > LONGEST:
        value = value[: LONGEST - 3] + "..."
    if value.isprintable() and not ("\\" in value or "<" in value or ">" in value):
        return value
    return "".join([_escaped_character(character) for character in value])


def printable(sentence: str) -> str:
    """Return one of our own sentences, whatever values from outside it has, fit to be shown.

    Only what is not printable is escaped, so that values that were escaped when
    the sentence was made stay as they are; a sentence of over LONGEST_SENTENCE
    characters is cut.
    """
    if len(sentence) > LONGEST_SENTENCE:
        sentence = sentence[: LONGEST_SENTENCE - 3] + "..."
    if sentence.isprintable():
        return sentence
    return "".join([c if c.isprintable() else _escaped_character(c) for c in sentence])


def _escaped_character(character: str) -> str:
    if character in "\\<>":
        return f"\\x{ord(character):02x}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
