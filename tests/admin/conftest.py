"""The configuration and database that most tests of commands begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, "familiar_after = 0\nmax_countries = 1\n")
    yield made
    made.close()
