"""Checks of what the service user needs, and of what pcc has left undone."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator, Sequence

from pcc import prepared
from pcc.config import Config
from pcc.country import describe
from pcc.doctor import Fault, Finding, fail, finding, warn
from pcc.doctor.identity import User, as_user, hindrance, hindrances, run, user_of
from pcc.errors import CountryError, PccError
from pcc.escaping import escaped
from pcc.store.inspection import Inspection, inspect

DAY = 86400
OLDEST_COUNTRY_DATABASE = 60 * DAY
EARLIEST = 1735689600
"""2025-01-01: no clock that is right says anything earlier."""

PROBE = """\
import sys
if sys.version_info < (3, 10):
    sys.exit("needs Python 3.10 or later")
if sys.flags.no_site:
    import site
    site.main()
import _sqlite3, geoip2.database, tomli
"""


def check_service_user(user: User, mail_owner: str) -> Finding:
    """Check who owns the state folder: spawn(8) refuses root and the mail owner."""
    faults = []
    if user.uid == 0 or user.name in (mail_owner, str(user.uid)):
        faults.append(
            fail(
                "give the state folder to a user of pcc's own, not to"
                f" {'root' if user.uid == 0 else user.name}: that is who spawn(8) runs it as"
            )
        )
    return finding("service user", faults)


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


def check_state_folder(user: User, database: str) -> Finding:
    """Check that the user can write to the state folder, and that others can't look into it."""
    folder = os.path.dirname(database)
    faults = [
        fail(f"let {user.name} write to the state folder: {text}")
        for text in hindrances(user, [(folder, os.W_OK | os.X_OK)])
    ]
    if os.stat(folder).st_mode & 0o027:
        faults.append(warn(f"chmod 0750 {folder}: it says who sends from where"))
    name = os.path.basename(database)
    for file in sorted(os.listdir(folder)) if os.access(folder, os.R_OK) else []:
        path = os.path.join(folder, file)
        if file.startswith(name) and stat.S_IMODE(os.lstat(path).st_mode) & ~0o640:
            faults.append(warn(f"chmod 0640 {path}: it says who sends from where"))
    return finding("state folder", faults)


def check_database_rights(user: User, database: str) -> Finding:
    """Check that the user can read and write the database and its side files."""
    files = [database, *[database + suffix for suffix in ("-wal", "-shm", ".lock", ".notify")]]
    uses = [(file, os.R_OK | os.W_OK) for file in files if os.path.lexists(file)]
    return finding(
        "database rights",
        [fail(f"chown {user.name} the database: {text}") for text in hindrances(user, uses)],
    )


def check_database(config: Config, now: float) -> list[Finding]:
    """Check the database, and what it tells about the clock, cron and notices."""
    seen, faults = _inspected(config.store_database, now)
    return [
        finding("database", faults),
        finding("clock", _clock_faults(seen.newest, now)),
        finding("cleanup", _cleanup_faults(config, seen.oldest, now)),
        finding("outbox", _outbox_faults(seen)),
    ]


def _inspected(database: str, now: float) -> tuple[Inspection, list[Fault]]:
    owners = _owners(database)
    if not owners:
        return Inspection(""), [fail(f"run `pcc_admin.py init`: there is no {database}")]
    if len(owners) > 1:  # a fault of its own, which a look by root would mend
        return Inspection(""), []
    try:
        owner = user_of(owners.pop())
        seen = Inspection(*as_user(owner, lambda: inspect(database, now)))
    except PccError as error:
        return Inspection(""), [fail(f"make the database readable again: {error}")]
    fix = f"run `pcc_admin.py init`, or restore {database} from a backup: {seen.problem}"
    return seen, [fail(fix)] if seen.problem else []


def _owners(database: str) -> set[int]:
    """Return the user ids that a database and its side files belong to; none without it."""
    if not os.path.exists(database):
        return set()
    files = (database, database + "-wal", database + "-shm")
    return {os.stat(file).st_uid for file in files if os.path.exists(file)}


def _clock_faults(newest: float, now: float) -> Iterator[Fault]:
    if now < EARLIEST:
        yield fail("set the clock: it is years behind")
    elif newest > now + 300:
        yield warn(f"look at the clock: the latest mail came {int(newest - now)} s from now")


def _cleanup_faults(config: Config, oldest: float, now: float) -> Iterator[Fault]:
    policies = [config.policy, *[policy for _, policy in config.overrides]]
    keep = max(config.keep_sightings, *[policy.windows[-1] for policy in policies])
    if oldest and oldest < now - keep - 3 * DAY:
        yield warn(
            "run `pcc_admin.py cleanup` daily from cron: sightings are kept that should be gone"
            f" for {int(now - keep - oldest) // DAY} days"
        )


def _outbox_faults(seen: Inspection) -> Iterator[Fault]:
    if seen.stuck:
        cause = escaped(seen.last_error) or "nobody has tried"
        yield warn(
            f"run `pcc_admin.py notify`, and from cron: {seen.stuck} notices wait to be sent for"
            f" more than 15 minutes: {cause}"
        )


def check_country_database(user: User, path: str, now: float) -> Finding:
    """Check that the user can read the country database, its type and its age."""
    return finding("country database", _country_faults(user, path, now))


def _country_faults(user: User, path: str, now: float) -> Iterator[Fault]:
    for text in hindrances(user, [(path, os.R_OK)]):
        yield fail(f"let {user.name} read the country database: {text}")
    try:
        age = now - describe(path).build_epoch
    except CountryError as error:
        yield fail(f"run `pcc_admin.py country update`: {error}")
        return
    if age > OLDEST_COUNTRY_DATABASE:
        yield warn(
            f"run `pcc_admin.py country update URL`, monthly: it's {int(age) // DAY} days old"
        )


def check_notices(config: Config, user: User) -> Finding:
    """Check that administrators are told, and that the programs for it are there."""
    notify = config.notify
    faults = []
    if not (notify.to or notify.command):
        faults.append(warn("put an address into notify.to: nobody is told of incidents"))
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


def missing_state_folder(folder: str) -> str:
    """Return why the state folder can't be looked at, "" if it can."""
    return hindrance(folder, os.X_OK)
