"""Words for numbers of things (`2,000 mails`), and for times and days in UTC.

Times are RFC 3339 to the second, for programs and for people where all read the same.
"""

from __future__ import annotations

from datetime import datetime, timezone

from pcc.history import DAY


def rfc3339(seconds: float) -> str:
    """Return UTC seconds as RFC 3339 has them: `2026-11-01T06:05:04Z`."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def date(day: int) -> str:
    """Return the date of a UTC day, which are counted from 1970 on: `2026-11-01`."""
    return datetime.fromtimestamp(day * DAY, timezone.utc).strftime("%Y-%m-%d")


def quantity(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun; `many` where the plural is not the noun and an `s`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def verb(count: int, one: str, many: str) -> str:
    """Return the verb's form for a count: `was`, `were`."""
    return one if count == 1 else many
