"""The part that all commands here share: reading the incident that pcc writes to their stdin."""

from __future__ import annotations

import json
import re
import secrets
import sys
from typing import Any, NoReturn

LOCK = re.compile(r"!pcc-[0-9a-f]{32}!")


def read() -> dict[str, Any]:
    """Return the incident; end here, with status 0, unless an account was blocked or unblocked.

    An observed incident is neither.  `blocked` is the state now.  The commands act on that and not
    on `what`, because pcc repeats a notice that failed, perhaps after a later one.
    """
    incident: dict[str, Any] = json.load(sys.stdin)
    if incident["what"] not in ("blocked", "unblocked"):
        sys.exit(0)
    return incident


def changed(password: str, *, lock: bool) -> str:
    """Return a stored password (as its column or attribute has it) locked or unlocked.

    A lock is a word in front of the password, which matches nothing.  It is random, because the
    whole would otherwise be a password that can be guessed where passwords are stored as text.
    Only a lock of this form is taken off: an account that you locked yourself stays locked.
    """
    if LOCK.match(password):
        return password if lock else LOCK.sub("", password, count=1)
    return f"!pcc-{secrets.token_hex(16)}!{password}" if lock else password


def fail(why: str) -> NoReturn:
    """End so that pcc logs the reason and tries again later."""
    sys.exit(f"{sys.argv[0].rpartition('/')[2]}: {why}")
