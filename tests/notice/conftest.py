"""The zone that notices show times in, and a place to send them from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from notices import (
    Place,
)


@pytest.fixture(autouse=True)
def madrid(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Madrid")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.database.close()
