"""What the tests of replay share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import Site
from replaying import PLAIN


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A private folder whose configuration knows no familiar countries."""
    made = Site(tmp_path, PLAIN)
    yield made
    made.close()
