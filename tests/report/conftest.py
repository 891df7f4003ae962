"""A site, and one whose every account, client name and reason is hostile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from checkout import Site
from incidents import HOSTILE, PLAIN, lifted, send_mails


@pytest.fixture
def limits() -> str:
    """No country is familiar."""
    return PLAIN


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose every account, client name and reason is meant ill."""
    site = Site(tmp_path_factory.mktemp("hostile"), PLAIN)
    for login in HOSTILE:
        send_mails(site, login, "ES FR BR", client_name="<img src=x>.example\x1b[1m")
    for account in site.blocked():
        lifted(site, "--reason", "<b onclick=x>\x1b[2J", "--", account)
        send_mails(site, account, "ES FR")
    for login in HOSTILE[:3]:
        send_mails(site, login, "DE")
    yield site
    site.close()
