"""The exemptions that several commands look at: those of pcc.toml and those of the database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from pcc.address import network_text
from pcc.store import exemptions
from pcc.store.engine import hostfile

if TYPE_CHECKING:
    from pcc.admin.context import Context
    from pcc.config import Config

KINDS = ("account", "domain", "client")
CONFIGURATION = "pcc.toml"
"""The name under BY of an exemption that is in the configuration."""


class Shown(NamedTuple):
    """An exemption to be shown; `until` is 0 for one that does not end."""

    kind: str
    value: str
    until: float
    by: str
    reason: str | None


def wait_until_known(config: Config) -> None:
    """Wait until the policy processes of other hosts know of an exemption."""
    if config.is_on_server:
        time.sleep(hostfile.FRESH_SECONDS)


def in_database(context: Context) -> list[Shown]:
    """Return the exemptions in the database, expired ones too."""
    return [Shown(*row) for row in exemptions.all_exemptions(context.database)]


def in_configuration(config: Config) -> list[Shown]:
    """Return the exemptions of pcc.toml."""
    accounts = sorted(name for name in config.exempt_accounts if not name.startswith("@"))
    domains = sorted(name[1:] for name in config.exempt_accounts if name.startswith("@"))
    networks = [network_text(network) for network in config.exempt_networks]
    return [
        Shown(kind, value, 0, CONFIGURATION, None)
        for kind, values in zip(
            KINDS, (accounts, domains, [*networks, *config.exempt_names]), strict=True
        )
        for value in values
    ]


def of_account(context: Context, account: str) -> list[Shown]:
    """Return the exemptions in force that let an account's mail pass, blocked or not."""
    domain = account.rpartition("@")[2] if "@" in account else ""
    names = (("account", account), ("domain", domain))
    return [
        row
        for row in [*in_configuration(context.config), *in_database(context)]
        if (row.kind, row.value) in names and not is_expired(row, context.now)
    ]


def is_expired(row: Shown, now: float) -> bool:
    """Whether an exemption has ended by itself."""
    return bool(row.until) and row.until <= now
