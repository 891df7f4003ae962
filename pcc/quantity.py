"""A number of things in words: `1 mail`, `2,000 mails`, `3 countries`."""

from __future__ import annotations


def quantity(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun; `many` where the plural is not the noun and an `s`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def verb(count: int, one: str, many: str) -> str:
    """Return the verb's form for so many: `was`, `were`."""
    return one if count == 1 else many
