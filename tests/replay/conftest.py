"""The fixtures of the tests of replay."""

from __future__ import annotations

import pytest
from replaying import PLAIN


@pytest.fixture
def limits() -> str:
    """No country is familiar."""
    return PLAIN
