"""Times and days as programs read them, and people where all read the same: UTC, to the second."""

from __future__ import annotations

from datetime import datetime, timezone

from pcc.policy import DAY


def rfc3339(seconds: float) -> str:
    """Return UTC seconds as RFC 3339 has them: `2026-11-01T06:05:04Z`."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def date(day: int) -> str:
    """Return the date of a UTC day, which are counted from 1970 on: `2026-11-01`."""
    return datetime.fromtimestamp(day * DAY, timezone.utc).strftime("%Y-%m-%d")
