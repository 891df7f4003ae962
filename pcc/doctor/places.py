"""Checks of the files that say where an address is, and of what the limits make of them.

Without a country database pcc sees nothing; without a network database limits on networks and on
hosting mails are off.  A hosting list that has the provider of most of this server's users would
lock them out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from pcc.config import Config
from pcc.doctor import Fault, Finding, fail, finding, named_check, warn
from pcc.doctor.files import odd_kind
from pcc.doctor.rights import User, hindrances
from pcc.errors import CountryError
from pcc.history import DAY
from pcc.invocation import shell_word
from pcc.places.bundled import COUNTRIES, FILES, HOSTING, NETWORKS, File
from pcc.places.hosting import read_hosting
from pcc.wording import quantity

OLDEST_DAYS = {COUNTRIES: 60, NETWORKS: 180, HOSTING: 365}
"""Networks change hands more slowly than addresses move."""

DBIP = "https://download.db-ip.com/free/dbip-{}-lite-$(date +%Y-%m).mmdb.gz"

MOST = 0.5
"""The share of accounts that makes a provider that of most users."""

FEWEST = 3
"""Fewer accounts of one provider are no sign of anything."""


def check_places(config: Config, user: User, now: float) -> list[Finding]:
    """Check each file: that the user can read it, and that it is of use and not old."""
    findings = []
    limits = [limit for policy in config.policies for limit in policy.limits]
    for name, file in FILES.items():
        faults: Iterable[Fault] = ()
        if path := file.path(config):
            faults = _file_faults(name, file, path, user, now)
        elif any(x.max_hosting_mails or (x.max_networks and file is NETWORKS) for x in limits):
            faults = [fail(f"set {file.key} in pcc.toml: a limit of yours needs it, and is off")]
        findings.append(finding(file.noun, faults))
    return findings


def _file_faults(name: str, file: File, path: str, user: User, now: float) -> Iterator[Fault]:
    if not os.path.lexists(path):
        yield fail(f"run `pcc_admin.py init`, which puts the bundled one there: there is no {path}")
        return
    if odd := odd_kind(path):
        quoted = shell_word(path)
        yield fail(f"`mv {quoted} {quoted}.away`, then run `pcc_admin.py init`: it is {odd}")
        return
    for text in hindrances(user, [(path, os.R_OK)]):
        yield fail(f"let {user.name} read the {file.noun}: {text}")
        return
    try:
        info = file.describe(path)
    except CountryError as error:
        yield fail(f"run `pcc_admin.py places update {name}`: {error}")
        return
    days = int(now - info.build_epoch) // DAY
    if days > OLDEST_DAYS[file]:
        command = "geoipupdate"
        if file is HOSTING:
            command = "pcc_admin.py places update hosting"
        elif "DBIP" in info.type:
            kind = "asn" if file is NETWORKS else "city" if "City" in info.type else "country"
            command = f"pcc_admin.py places update {name} {DBIP.format(kind)}"
        upgraded = " after an upgrade of pcc" if file is HOSTING else ", monthly"
        yield warn(f"run `{command}`{upgraded}: it's {quantity(days, 'day')} old")


@named_check("hosting of users")
def check_hosting(
    config: Config, networks: Sequence[tuple[str, int]], accounts: int
) -> Iterator[Fault]:
    """Check that most users' own provider is not in the hosting list.

    `networks`: those of most accounts, with how many of `accounts` were seen there.
    """
    limits = [limit for policy in config.policies for limit in policy.limits]
    if not config.hosting_list or not any(limit.max_hosting_mails for limit in limits):
        return
    try:
        hosting = read_hosting(config.hosting_list)
    except CountryError:  # that has a check of its own
        return
    for network, count in networks:
        if network in hosting and count >= FEWEST and count > MOST * accounts:
            yield warn(
                f"take {network} out of {config.hosting_list}, or put your own host there into"
                f" policy.exempt_clients: {count} of {accounts} accounts"
                f" ({100 * count // accounts} %) send from this network, and max_hosting_mails"
                " would lock them out"
            )


OLD_LIMITS = (
    ("max_addresses", 5, 3600),
    ("max_countries", 2, 3600),
    ("max_countries", 3, 2 * DAY),
)
"""Those of the pcc.toml of version 1.0.0: key, value, window in seconds."""


@named_check("limits")
def check_limits(config: Config) -> Iterator[Fault]:
    """Check that places can become familiar, and that the limits are no longer those of 1.0.0."""
    days = max(limit.familiar_after for policy in config.policies for limit in policy.limits)
    if config.keep_sightings < days * DAY:
        yield fail(
            f'put keep_sightings = "{days}d" or more into [store]: familiar_after = {days} needs'
            f" {days} earlier days, and fewer are remembered. Until then no place is familiar, and"
            " max_hosting_mails and max_foreign_mails stop nobody"
        )
    old = [
        f"{key} {value} in {limit.window_text}"
        for limit in config.policy.limits
        for key, value, window in OLD_LIMITS
        if limit.familiar_after == 1 and (getattr(limit, key), limit.window) == (value, window)
    ]
    if old:
        yield warn(
            "put familiar_after = 3 and the limits of the pcc.toml that came with this version"
            f" into yours, in place of {', '.join(old)}, which version 1.0.0 shipped. In simulated"
            " months those locked out about 585 of 10,000 honest accounts a month, nine in ten by"
            " max_addresses, and stopped 65 % of thieves. The new ones locked out about 1, and"
            " stopped 87 %. `pcc_admin.py replay LOG` shows what both do with your own mail"
        )
