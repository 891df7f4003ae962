"""The settings that hosts with one database should share, as text to compare.

One key a value: `policy.max_countries` is `5`, `limit 1.window` is `10m`.  Each host leaves its own
in the database (`init` and `cleanup` write it), so that doctor can compare.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pcc import VERSION
from pcc.address import network_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pcc.config import Config, Limit, Policy

OWN = frozenset(
    (
        "country_database",
        "hosting_list",
        "identity",
        "log_name",
        "networks_database",
        "notify",
        "path",
        "shown_database",
        "store_database",
        "store_host",
        "trust_for",
        "verbose",
    )
)
"""Each host may have these as it likes."""

DERIVED = frozenset(("limits", "mail_limits", "narrowest_window", "window", "windows"))
"""These follow from other values, or are taken apart here."""


def settings(config: Config) -> dict[str, str]:
    """Return what should be the same on every host."""
    found: dict[str, str] = {}
    for name in config.__slots__:
        if name not in OWN and name not in ("overrides", "policy"):
            found[name] = _text(getattr(config, name))
    found.update(_of_policy("policy", config.policy))
    for number, (accounts, policy) in enumerate(config.overrides, 1):
        found[f"override {number}.accounts"] = _text(accounts)
        found.update(_of_policy(f"override {number}", policy))
    return found


def identity(config: Config) -> int:
    """Return a number for what should be the same on every host, and for this version of pcc."""
    text = json.dumps([VERSION, settings(config)], sort_keys=True)
    return int.from_bytes(sha256(text.encode()).digest()[:7], "big")


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return each key with our value and theirs, where these differ.

    A key that only one of the two versions of pcc has counts as the same.
    """
    known = [{key.rpartition(".")[2] for key in side} for side in (ours, theirs)]
    return [
        (key, ours.get(key, "not there"), theirs.get(key, "not there"))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key) and key.rpartition(".")[2] in known[0] & known[1]
    ]


def _of_policy(name: str, policy: Policy) -> Iterator[tuple[str, str]]:
    yield from _of_record(name, policy)
    first, *further = policy.limits
    yield from _of_record(name, first)
    for number, limit in enumerate(further, 1):
        yield from _of_record(f"{name}.limit {number}", limit)


def _of_record(name: str, record: Policy | Limit) -> Iterator[tuple[str, str]]:
    for key in record.__slots__:
        if key not in DERIVED:
            yield f"{name}.{key.replace('window_text', 'window')}", _text(getattr(record, key))


def _text(value: Any) -> str:
    """Return a value as an operator would write it, about; the same text for the same value."""
    if isinstance(value, dict):
        return _text([f"{key}={one}" for key, one in value.items()])
    if isinstance(value, (frozenset, list, tuple)):
        items = [network_text(one) if isinstance(one, tuple) else str(one) for one in value]
        return ", ".join(sorted(items)) or "none"
    return str(value)
