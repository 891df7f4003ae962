"""The check of the database of autonomous systems, which only notices, `show` and `report` need.

Nothing that is wrong with it keeps pcc from its work: at worst it's a warning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pcc.doctor import Fault, Finding, finding, warn
from pcc.doctor.rights import User, hindrances
from pcc.errors import CountryError
from pcc.history import DAY
from pcc.places.database import NETWORKS, describe
from pcc.wording import quantity

OLDEST = 180 * DAY
"""Networks change hands more slowly than addresses move."""


def check_asn_database(user: User, path: str, now: float) -> Finding:
    """Check that the user can read the database, its type and its age."""
    return finding("ASN database", _faults(user, path, now))


def _faults(user: User, path: str, now: float) -> Iterator[Fault]:
    for text in hindrances(user, [(path, os.R_OK)]):
        yield warn(f"let {user.name} read the file of country.networks: {text}")
        return
    try:
        age = now - describe(path, NETWORKS).build_epoch
    except CountryError as error:
        yield warn(f"put a GeoLite2 ASN or DB-IP ASN Lite database there: {error}")
        return
    if age > OLDEST:
        old = quantity(int(age) // DAY, "day")
        yield warn(f"fetch a newer database for country.networks: it's {old} old")
