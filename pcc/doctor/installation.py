"""Checks of what the service user needs: configuration, interpreter, code, country database."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator, Sequence

from pcc.config import Config, prepared
from pcc.doctor import Fault, Finding, fail, finding, named_check, warn
from pcc.doctor.rights import User, as_user, hindrances, run
from pcc.escaping import escaped

PROBE = """\
import sys
if sys.version_info < (3, 10):
    sys.exit("needs Python 3.10 or later")
if sys.flags.no_site:
    import site
    site.main()
import _sqlite3, geoip2.database, tomli
"""


@named_check("configuration")
def check_configuration(config: Config) -> Iterator[Fault]:
    """Check that a configuration without errors does not leave out logins by mistake."""
    if config.domains and config.default_domain not in config.domains:
        yield warn(
            "set policy.default_domain in pcc.toml to one of policy.domains: otherwise logins"
            " without a domain are never looked at"
        )


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


@named_check("interpreter")
def check_interpreter(user: User, command: Sequence[str]) -> Iterator[Fault]:
    """Check that the user can execute the interpreter, and that it has what pcc needs."""
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


@named_check("code")
def check_code(user: User, script: str) -> Iterator[Fault]:
    """Check that the user can read the script and the package beside it."""
    folder = os.path.dirname(os.path.realpath(script))
    files = [script, os.path.join(folder, "schema.sql")]
    for place, _, names in os.walk(os.path.join(folder, "pcc")):
        files += [os.path.join(place, name) for name in names if name.endswith(".py")]
    for text in hindrances(user, [(file, os.R_OK) for file in files])[:1]:
        yield fail(f"let {user.name} read {folder}: {text}")


@named_check("notices")
def check_notices(config: Config, user: User) -> Iterator[Fault]:
    """Check that administrators get notices, and that the programs for it are there."""
    notify = config.notify
    if not (notify.to or notify.command):
        yield warn("put an address into notify.to: nobody gets notices of incidents")
    uses = []
    if notify.to and notify.transport == "sendmail":
        uses.append((notify.sendmail, os.X_OK))
    if notify.command and "/" in notify.command[0]:
        uses.append((notify.command[0], os.X_OK))
    for text in hindrances(user, uses):
        yield fail(f"let {user.name} execute it, or change [notify]: {text}")
