"""The pcc.toml of each host that shares the database, for doctor to compare."""

from __future__ import annotations

import json

from pcc.store import upsert
from pcc.store.engine.interface import Database


def remember(database: Database, host: str, settings: dict[str, str], now: float) -> None:
    """Write what a host has in its pcc.toml; see pcc/config/agreement.py."""
    values = host, json.dumps(settings, sort_keys=True), now
    database.in_turn(lambda: database.write(upsert("host", ("host",), ("limits", "at")), values))
