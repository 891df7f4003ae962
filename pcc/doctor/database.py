"""Checks of what is in the database: whether it can be used, and what pcc has left undone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

from pcc.config import Config
from pcc.config.agreement import differences, settings
from pcc.config.databaseurl import ServerAddress
from pcc.doctor import Fault, Finding, fail, finding, named_check, warn
from pcc.doctor.files import odd_kind
from pcc.doctor.rights import User, as_user, hindrances, user_of
from pcc.errors import PccError
from pcc.escaping import escaped
from pcc.history import DAY
from pcc.invocation import shell_word
from pcc.store.engine.hostfile import stamp_of
from pcc.store.engine.inspection import Inspection, Trouble, inspect
from pcc.wording import quantity, verb

HOST_DAYS = 30
"""Days without init and cleanup after which a host is taken for gone."""

MOST_SHOWN = 5
"""Settings of another host that are named."""

LATE_SECONDS = 60
"""Seconds after its last round trip in which the follower reaches the server, if it runs."""

EARLIEST = 1735689600
"""2025-01-01: no clock that is right says anything earlier."""


@named_check("password")
def check_password(config_path: str, url: str) -> Iterator[Fault]:
    """Check that nobody else can read where the password of a database on a server stands."""
    address = ServerAddress(url)
    named = [address.parameters.get(name, "") for name in ("password_file", "passfile")]
    files = [*([config_path] if address.has_password() else []), *filter(os.path.exists, named)]
    for file in files:
        if os.stat(file).st_mode & 0o007:
            yield warn(f"`chmod o-rwx {shell_word(file)}`: the password of the database is in it")


def look(config: Config, user: User, now: float) -> tuple[Inspection, list[Fault]]:
    """Look at the database; return what it says, and what keeps it from being used."""
    database, nothing = config.store_database, Inspection()
    if config.is_on_server:
        try:
            file = config.host_file
            return Inspection(*as_user(user, lambda: tuple(inspect(database, now, file)))), []
        except PccError as error:
            return nothing, [fail(f"see docs/several-hosts.md: {escaped(str(error))}")]
    if odd := odd_kind(database):
        return nothing, [_fault(database, Trouble.RUBBISH, f"it is {odd}, not a file")]
    if not os.path.exists(database):
        if any(os.path.exists(path) for path in _files(database)):
            # A new database would take in what is in them.
            problem = "it is missing, but its side files are there"
            return nothing, [_fault(database, Trouble.RUBBISH, problem)]
        return nothing, [fail(f"run `pcc_admin.py init`: there is no {database}")]
    files = [path for path in _files(database) if os.path.exists(path)]
    owner = user_of(os.stat(database).st_uid)
    if any(os.stat(file).st_uid != owner.uid for file in files) or hindrances(
        owner, [(file, os.R_OK) for file in files]
    ):  # a fault of its own, which a look by root would mend
        return nothing, []
    try:
        seen = Inspection(*as_user(owner, lambda: tuple(inspect(database, now))))
    except PccError as error:
        return nothing, [fail(f"make the database readable again: {error}")]
    return seen, [_fault(database, seen.trouble, seen.problem)] if seen.trouble else []


def check_database(
    config: Config, seen: Inspection, faults: Sequence[Fault], now: float
) -> list[Finding]:
    """Check what `look` has found: the database, the clock, cron, notices and other hosts."""
    findings = [
        finding("database", faults),
        check_clock(seen.newest, now),
        check_cleanup(config.kept_sightings, seen.oldest, now),
        check_outbox(seen),
    ]
    if config.is_on_server:
        findings.append(check_hosts(config, seen.hosts, now))
    return findings


def _fault(database: str, trouble: str, problem: str) -> Fault:
    """Return the fault of a database that can't be used, with what helps and harms nothing."""
    path, folder = shell_word(database), shell_word(os.path.dirname(database))
    aside = f"`mkdir {folder}/old && mv {path}* {folder}/old/`"
    anew = "restore a backup or run `pcc_admin.py init`, which begins without blocks and history"
    fixes = {
        Trouble.OLDER: "run `pcc_admin.py init`",
        Trouble.NEWER: "use the newer pcc that wrote the database",
        Trouble.UNTIDY: "run `pcc_admin.py list`, which puts the database in order",
        Trouble.FOREIGN: "change store.database in pcc.toml, or move the file to where it belongs,"
        f" e.g. {aside}; then {anew}",
    }
    result = warn if trouble == Trouble.UNTIDY else fail
    return result(f"{fixes.get(trouble, f'{aside}, then {anew}')}: {escaped(problem)}")


def _files(database: str) -> tuple[str, ...]:
    return (database, database + "-wal", database + "-shm")


@named_check("clock")
def check_clock(newest: float, now: float) -> Iterator[Fault]:
    """Check the time, by that of the latest mail."""
    if now < EARLIEST:
        yield fail("set the clock: it is years behind")
    elif newest > now + 300:
        yield warn(f"look at the clock: the latest mail came {int(newest - now)} s from now")


@named_check("cleanup")
def check_cleanup(keep: int, oldest: float, now: float) -> Iterator[Fault]:
    """Check that nothing is kept for much longer than `keep` seconds."""
    if oldest and oldest < now - keep - 3 * DAY:
        yield warn(
            "run `pcc_admin.py cleanup` daily from cron: sightings are kept that should be gone"
            f" for {quantity(int(now - keep - oldest) // DAY, 'day')}"
        )


@named_check("outbox")
def check_outbox(seen: Inspection) -> Iterator[Fault]:
    """Check that notices are sent."""
    if seen.stuck:
        cause = escaped(seen.last_error) or "nobody has tried"
        yield warn(
            f"run `pcc_admin.py notify`, and from cron: {quantity(seen.stuck, 'notice')}"
            f" {verb(seen.stuck, 'waits', 'wait')} to be sent for more than 15 minutes: {cause}"
        )


@named_check("other hosts")
def check_hosts(
    config: Config, hosts: Sequence[tuple[str, str, float]], now: float
) -> Iterator[Fault]:
    """Check that the hosts that share the database have the same limits."""
    ours = settings(config)
    for host, theirs, at in hosts:
        if host == config.this_host or at < now - HOST_DAYS * DAY:
            continue
        found = differences(ours, json.loads(theirs))
        shown = [f"{key} ({here} here, {there} there)" for key, here, there in found[:MOST_SHOWN]]
        shown += ["..."] * (len(found) > MOST_SHOWN)
        if found:
            yield fail(
                f"make pcc.toml the same here and on {escaped(host)}, and run `pcc_admin.py init`"
                f" on both: they share a database, but not {escaped('; '.join(shown))}"
            )


@named_check("host file")
def check_host_file(config: Config, user: User, now: float, *, is_away: bool) -> Iterator[Fault]:
    """Check that this host's own file has what the shared server has, or had a moment ago."""
    path = config.host_file
    if not os.path.exists(path):
        yield warn(f"run `pcc_admin.py init`: there is no {path}, so all mail asks the server")
        return
    try:
        stamp = as_user(user, lambda: stamp_of(config))
    except PccError as error:
        folder = shell_word(os.path.dirname(path))
        aside = f"`mkdir {folder}/old && mv {shell_word(path)}* {folder}/old/`"
        yield fail(f"{aside}, then run `pcc_admin.py init`: {escaped(str(error))}")
        return
    age = int(now - stamp)
    if stamp and age > LATE_SECONDS and is_away:
        left = max(0, config.trust_for - age)
        yield fail(
            f"mend the server: it is away for {quantity(age, 'second')}, and mail from known"
            f" places passes for {quantity(left, 'second')} more"
        )
    elif stamp and age > LATE_SECONDS:
        yield warn(
            f"look for `server_away` in the mail log: this host has not followed the server for"
            f" {quantity(age, 'second')}, and begins again with the next mail"
        )
