"""Checks of the mail log: where pcc's lines go, and what Postfix's last lines say."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from pcc.config import Config
from pcc.doctor import Fault, Finding, finding, warn
from pcc.doctor.rights import User, hindrances
from pcc.errors import CountryError
from pcc.escaping import escaped
from pcc.host.syslog import LOG_SOCKET
from pcc.invocation import shell_word
from pcc.places.memory import CountryMemory
from pcc.postfix import postlog
from pcc.postfix.configuration import Entry
from pcc.postfix.recentlog import RecentLog, smtpd_complaint
from pcc.replay.recent import problem, recent_mails

PARAMETERS = ("command_directory", "maillog_file", "queue_directory", "setgid_group")


def check_log(user: User, values: Mapping[str, str], entries: Sequence[Entry]) -> Finding:
    """Check that the lines of the policy process arrive; the finding's name says where.

    `values`: those of PARAMETERS.
    """
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as connection, suppress(OSError):
            connection.settimeout(1)
            connection.connect(LOG_SOCKET)
            return finding(f"log to {LOG_SOCKET}", [])
    found = postlog.find(values)
    if found is None:
        fix = (
            "set maillog_file in main.cf, e.g. to /var/log/mail.log, and `postfix reload`: nobody"
            f" listens at {LOG_SOCKET}, so Postfix's lines and pcc's are lost"
        )
        return finding("log", [warn(fix)])
    faults = _faults(user, found, values, entries)
    return finding(f"log to {found.file} by postlog", faults)


def _faults(
    user: User, found: postlog.Postlog, values: Mapping[str, str], entries: Sequence[Entry]
) -> Iterator[Fault]:
    if not any(entry.command == "postlogd" for entry in entries):
        yield warn(
            "add `postlog unix-dgram n - n - 1 postlogd` to master.cf: without it neither Postfix"
            f" nor pcc can write to {found.file}"
        )
    hindering = hindrances(user, [(found.program, os.X_OK)])
    if hindering:
        yield warn(f"let {user.name} execute it, to log: {hindering[0]}")
        return
    # Postfix 3.7 and later: postlogd's socket is in a folder for the group of postdrop(1) alone.
    folder = os.path.join(values["queue_directory"], "public")
    is_set_gid = os.stat(found.program).st_mode & stat.S_ISGID
    if os.path.isdir(folder) and not is_set_gid and hindrances(user, [(folder, os.X_OK)]):
        program = shell_word(found.program)
        yield warn(
            f"`chgrp {values['setgid_group']} {program} && chmod 2755 {program}`: so Postfix"
            f" means it to be, and otherwise {user.name} can't log to {found.file} by it"
        )


def check_smtpd(log: RecentLog, endpoint: str, log_name: str, command: str) -> Finding:
    """Check what smtpd(8) has logged since Postfix last read its configuration.

    `command`: how to call postfix(1).
    """
    line = smtpd_complaint(log.lines, endpoint, log_name).decode("utf-8", "replace")
    fix = f"mend what {log.place} says, and `{command} reload`: {escaped(line[:500])}"
    return finding("smtpd's log", [warn(fix)] if line else [])


def check_recent_mail(log: RecentLog, config: Config, now: float) -> Finding:
    """Check that the last mails came from addresses that have a country."""
    fix = ""
    if log.problem:
        fix = (
            "run `pcc_admin.py replay LOG` to see whether mail has countries: the mail log can't"
            f" be read here: {log.problem}"
        )
    else:
        database = config.country_database
        try:
            memory = CountryMemory(database)
            fix = problem(recent_mails(config, log.lines, memory.country, now), database)
        except CountryError:  # that has a check of its own
            pass
    return finding("recent mail", [warn(fix)] if fix else [])
