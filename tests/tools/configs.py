"""A pcc.toml read from its text, and the values of its records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pcc.config import Config, Limit, options


def read(path: Path, text: str) -> Config:
    """Return what a pcc.toml with this text says."""
    path.write_text(text, encoding="utf-8")
    return Config(options.read_values(str(path)))


def limits_of(policy: Any) -> list[tuple[int, int, int, str]]:
    """Return (max_countries, max_addresses, window, window_text) of each limit."""
    return [
        (limit.max_countries, limit.max_addresses, limit.window, limit.window_text)
        for limit in policy.limits
    ]


def counted(policy: Any) -> list[dict[str, int]]:
    """Return what each limit is about, and the most of it."""
    return [
        {
            name: most
            for name in Limit.__slots__
            if name[:4] == "max_" and (most := getattr(limit, name))
        }
        for limit in policy.limits
    ]


def values(record: Any, names: Any) -> dict[str, Any]:
    """Return some of a record's values."""
    return {name: getattr(record, name) for name in names}
