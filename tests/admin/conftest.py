"""The configuration and database that most tests of commands begin with."""

from __future__ import annotations

import pytest


@pytest.fixture
def limits() -> str:
    """One country, the mail from a second one blocks."""
    return "familiar_after = 0\nmax_countries = 1\n"
