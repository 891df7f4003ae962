"""Checks of what the service user needs: configuration, interpreter, code, country database."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator, Sequence

from pcc.config import Config, prepared
from pcc.doctor import Fault, Finding, fail, finding, warn
from pcc.doctor.files import odd_kind
from pcc.doctor.rights import User, as_user, hindrances, run
from pcc.errors import CountryError
from pcc.escaping import escaped
from pcc.history import DAY
from pcc.invocation import shell_word
from pcc.places.database import COUNTRIES, describe
from pcc.wording import quantity

OLDEST_COUNTRY_DATABASE = 60 * DAY
PROBE = """\
import sys
if sys.version_info < (3, 10):
    sys.exit("needs Python 3.10 or later")
if sys.flags.no_site:
    import site
    site.main()
import _sqlite3, geoip2.database, tomli
"""


def check_configuration(config: Config) -> Finding:
    """Check what a configuration without errors may still not mean."""
    faults = []
    if config.domains and config.default_domain not in config.domains:
        faults.append(
            warn(
                "set policy.default_domain in pcc.toml to one of policy.domains: otherwise logins"
                " without a domain are never looked at"
            )
        )
    return finding("configuration", faults)


def check_configuration_file(path: str, user: User) -> list[Finding]:
    """Check who may read and write pcc.toml, and its prepared form."""
    faults = [
        fail(f"let {user.name} read the configuration: {text}")
        for text in hindrances(user, [(path, os.R_OK)])
    ]
    if os.stat(path).st_mode & stat.S_IWOTH:
        faults.append(fail(f"chmod o-w {path}: anybody can change it"))
    stale = not faults and not as_user(user, lambda: prepared.read(path) is not None)
    fix = "run `pcc_admin.py init` and `postfix reload`: every new process parses pcc.toml again"
    return [
        finding("configuration readable", faults),
        finding("prepared configuration", [warn(fix)] if stale else []),
    ]


def check_interpreter(user: User, command: Sequence[str]) -> Finding:
    """Check that the user can execute the interpreter, and that it has what pcc needs."""
    return finding("interpreter", _interpreter_faults(user, command))


def _interpreter_faults(user: User, command: Sequence[str]) -> Iterator[Fault]:
    hindering = hindrances(user, [(command[0], os.X_OK)])
    if hindering:
        yield fail(
            f"let {user.name} execute the interpreter, or use the system's own: {hindering[0]}"
        )
        return
    try:
        done = run(user, [*command, "-B", "-c", PROBE])
    except (OSError, subprocess.SubprocessError) as error:
        yield fail(f"mend {command[0]}: {error}")
        return
    if done.returncode:
        cause = escaped((done.stderr.strip().splitlines() or ["it fails"])[-1])
        yield fail(f"make {command[0]} run pcc, e.g. by `make venv`: {cause}")


def check_code(user: User, script: str) -> Finding:
    """Check that the user can read the script and the package beside it."""
    folder = os.path.dirname(os.path.realpath(script))
    files = [script, os.path.join(folder, "schema.sql")]
    for place, _, names in os.walk(os.path.join(folder, "pcc")):
        files += [os.path.join(place, name) for name in names if name.endswith(".py")]
    hindering = hindrances(user, [(file, os.R_OK) for file in files])
    return finding(
        "code", [fail(f"let {user.name} read {folder}: {text}") for text in hindering[:1]]
    )


def check_country_database(user: User, path: str, now: float) -> Finding:
    """Check that the user can read the country database, its type and its age."""
    return finding("country database", _country_faults(user, path, now))


def _country_faults(user: User, path: str, now: float) -> Iterator[Fault]:
    if not os.path.lexists(path):
        yield fail(f"run `pcc_admin.py init`, which puts the bundled one there: there is no {path}")
        return
    if odd := odd_kind(path):
        quoted = shell_word(path)
        yield fail(f"`mv {quoted} {quoted}.away`, then run `pcc_admin.py init`: it is {odd}")
        return
    hindering = hindrances(user, [(path, os.R_OK)])
    if hindering:
        yield fail(f"let {user.name} read the country database: {hindering[0]}")
        return
    try:
        info = describe(path, COUNTRIES)
    except CountryError as error:
        yield fail(f"run `pcc_admin.py country update`: {error}")
        return
    age = now - info.build_epoch
    if age > OLDEST_COUNTRY_DATABASE:
        kind = "city" if "City" in info.type else "country"
        url = f"https://download.db-ip.com/free/dbip-{kind}-lite-$(date +%Y-%m).mmdb.gz"
        command = f"pcc_admin.py country update {url}" if "DBIP" in info.type else "geoipupdate"
        yield warn(f"run `{command}`, monthly: it's {quantity(int(age) // DAY, 'day')} old")


def check_notices(config: Config, user: User) -> Finding:
    """Check that administrators get notices, and that the programs for it are there."""
    notify = config.notify
    faults = []
    if not (notify.to or notify.command):
        faults.append(warn("put an address into notify.to: nobody gets notices of incidents"))
    uses = []
    if notify.to and notify.transport == "sendmail":
        uses.append((notify.sendmail, os.X_OK))
    if notify.command and "/" in notify.command[0]:
        uses.append((notify.command[0], os.X_OK))
    faults += [
        fail(f"let {user.name} execute it, or change [notify]: {text}")
        for text in hindrances(user, uses)
    ]
    return finding("notices", faults)
