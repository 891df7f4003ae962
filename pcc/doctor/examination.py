"""All checks, in the order in which an administrator would mend what they find."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from pcc.config import Config, options
from pcc.doctor import Finding, entry, fail, finding, installation, places, state, warn
from pcc.doctor.answer import Running, check_answer
from pcc.doctor.database import check_database, check_host_file, check_password, look
from pcc.doctor.files import odd_kind
from pcc.doctor.log import check_log, check_recent_mail, check_smtpd
from pcc.doctor.mailsystem import MailSystem
from pcc.doctor.proxies import check_exempt_names, exempt_names
from pcc.doctor.restrictions import check_asking
from pcc.doctor.rights import User, can_become, hindrance, user_of
from pcc.doctor.serviceuser import ServiceUser, check_service_user, find_service_user
from pcc.errors import ConfigError
from pcc.invocation import shell_word
from pcc.postfix import recentlog
from pcc.store.engine.inspection import Inspection

PROGRAMS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder of pcc_policy.py and pcc_admin.py."""


def examine(config_path: str, mail_config: str, now: float) -> list[Finding]:
    """Make all checks; nothing is changed.  `mail_config`: Postfix's configuration directory."""
    try:
        if odd := odd_kind(config_path):
            raise ConfigError(f"{config_path}: is {odd}, not a file")
        config = Config(options.read_values(config_path))
    except ConfigError as error:
        return [finding("configuration", [fail(f"mend it, then run this again: {error}")])]
    return list(_Examination(config_path, config, MailSystem(mail_config), now).findings())


class _Examination:
    """The checks of one installation."""

    def __init__(self, path: str, config: Config, postfix: MailSystem, now: float) -> None:
        self._path = path
        self._config = config
        self._postfix = postfix
        self._now = now
        self._seen = Inspection()
        self._folder = os.path.dirname(config.state_path)
        self._argv = entry.argv_of(postfix.entry)
        mail_owner = postfix.values.get("mail_owner", "postfix")
        self._service_user: ServiceUser = find_service_user(
            config.state_path, self._argv.user, mail_owner
        )

    def findings(self) -> Iterator[Finding]:
        """Make all checks."""
        yield installation.check_configuration(self._config)
        yield places.check_limits(self._config)
        yield from self._installation()
        postfix = self._postfix
        if postfix.problem:
            fix = f"run this where Postfix is, or with --mail-config: {postfix.problem}"
            yield finding("Postfix", [fail(fix)])
            return
        installed = entry.Installed(_script(), self._path, self._service_user.name)
        yield entry.check_entry(postfix.entry, installed)
        longest = postfix.values["smtpd_policy_service_max_ttl"]
        yield entry.check_time_limit(postfix.name, postfix.limit, longest)
        user = self._service_user.user
        if user and can_become(user):
            yield check_log(user, postfix.values, postfix.entries)
        asking = postfix.asking()
        log = recentlog.read(postfix.values["maillog_file"])
        yield check_smtpd(log, asking.endpoint, self._config.log_name, postfix.command)
        yield check_recent_mail(log, self._config, self._now)
        holds = any(policy.holds for policy in self._config.policies)
        yield from check_asking(asking, holds=holds, by_sender=self._config.account == "sender")
        names = exempt_names(self._config, self._seen.exempt_clients)
        yield check_exempt_names(names, postfix.smtpd, postfix.values["myhostname"])
        if postfix.entry is not None:
            queue_directory = postfix.values["queue_directory"]
            yield check_answer(
                Running(asking.endpoints(), queue_directory, postfix.command, postfix.log)
            )

    def _installation(self) -> Iterator[Finding]:
        if missing := self._missing_state_folder():
            yield finding("state folder", [fail(missing)])
            return
        yield check_service_user(self._service_user, self._folder)
        if not self._config.is_on_server:
            yield state.check_file_system(self._config.store_database)
        user = self._service_user.user
        if user and not can_become(user):
            fix = f"run this as root or {user.name}: the rights of {user.name} were not checked"
            yield finding("rights", [warn(fix)])
            return
        if user:
            script = self._argv.script if os.path.isfile(self._argv.script) else _script()
            yield from installation.check_configuration_file(self._path, user)
            yield installation.check_interpreter(user, self._argv.interpreter or [sys.executable])
            yield installation.check_code(user, script)
        if user and self._service_user.fits:
            reader = user
            yield from self._rights(user)
        else:  # its rights would be the same fault again, but root can look at what is there
            reader = user_of(0)
        if can_become(reader) and state.is_reachable(reader, self._folder):
            config = self._config
            self._seen, faults = look(config, reader, self._now)
            yield from check_database(config, self._seen, faults, self._now)
            if config.is_on_server:
                yield check_host_file(config, reader, self._now, is_away=bool(faults))
            yield from places.check_places(config, reader, self._now)
            yield places.check_hosting(config, self._seen.networks, self._seen.accounts)
        yield installation.check_notices(self._config, user or reader)

    def _missing_state_folder(self) -> str:
        """Return what to do where the state folder can't be looked at, "" where it can."""
        folder = shell_word(self._folder)
        if os.path.lexists(self._folder) and not os.path.isdir(self._folder):
            return f"`mv {folder} {folder}.away`, and run this again: it should be a folder"
        if not (text := hindrance(self._folder, os.X_OK)):
            return ""
        if os.path.isdir(self._folder) or os.geteuid() != 0:
            return f"run this as root: {text}"
        name = self._service_user.name
        group = self._service_user.user.gid if self._service_user.user else name
        return (
            f"`install -d -m 0750 -o {name} -g {group} {folder}`, then `pcc_admin.py init`: {text}"
        )

    def _rights(self, user: User) -> Iterator[Finding]:
        config = self._config
        yield state.check_state_folder(user, config.state_path)
        if not state.is_reachable(user, self._folder):
            return
        if config.is_on_server:
            yield check_password(self._path, config.store_database)
        else:
            yield state.check_database_rights(user, config.store_database)


def _script() -> str:
    return os.path.join(PROGRAMS, entry.SCRIPT)
