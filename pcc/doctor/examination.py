"""All checks, in the order in which an administrator would mend what they find."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from pcc import options
from pcc.config import Config
from pcc.doctor import Finding, delegation, fail, finding, installation, warn
from pcc.doctor.identity import User, can_become, user_of
from pcc.doctor.postfix import Entry, Postconf, Service
from pcc.errors import ConfigError, PccError

PROGRAMS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder of pcc_policy.py and pcc_admin.py."""


def examine(config_path: str, mail_config: str, now: float) -> list[Finding]:
    """Make all checks; nothing is changed.  `mail_config`: Postfix's configuration directory."""
    try:
        config = Config(options.read_values(config_path))
    except ConfigError as error:
        return [finding("configuration", [fail(f"mend it, then run this again: {error}")])]
    postfix = MailSystem(mail_config)
    return [
        finding("configuration", []),
        *_installation(config_path, config, postfix, now),
        *_mail_system(config_path, config, postfix),
    ]


class MailSystem:
    """What postconf(1) tells; `problem` says why it tells nothing."""

    def __init__(self, config_directory: str) -> None:
        self.problem = ""
        self.entry: Entry | None = None
        self.services: list[Service] = []
        self.values: dict[str, str] = {}
        try:
            self._read(Postconf(config_directory))
        except PccError as error:
            self.problem = str(error)

    def _read(self, postconf: Postconf) -> None:
        entries = postconf.entries()
        self.entry = delegation.find_entry(entries)
        services = [postconf.service(entry) for entry in entries if entry.command == "smtpd"]
        self.services = [
            service for service in services if service.values["smtpd_sasl_auth_enable"] == "yes"
        ]
        names = ["mail_owner", "queue_directory", "smtpd_policy_service_max_ttl"]
        names += [self.time_limit, "command_time_limit"]
        self.values = postconf.values(names, self.entry.overrides if self.entry else {})

    @property
    def name(self) -> str:
        """What our entry in master.cf is called."""
        return self.entry.name if self.entry else delegation.DEFAULT_NAME

    @property
    def time_limit(self) -> str:
        """The parameter with the time limit of our entry."""
        return f"{self.name}_time_limit"

    @property
    def endpoints(self) -> list[str]:
        """What check_policy_service may call our entry."""
        queue_directory = self.values["queue_directory"]
        return [f"unix:private/{self.name}", f"unix:{queue_directory}/private/{self.name}"]


def _installation(
    config_path: str, config: Config, postfix: MailSystem, now: float
) -> Iterator[Finding]:
    database = config.store_database
    folder = os.path.dirname(database)
    if missing := installation.missing_state_folder(folder):
        yield finding("state folder", [fail(f"make it, for the service user alone: {missing}")])
        return
    argv = delegation.argv_of(postfix.entry)
    user = _service_user(folder, argv.user)
    yield installation.check_service_user(user, postfix.values.get("mail_owner", "postfix"))
    if not can_become(user):
        fix = f"run this as root or {user.name}: the rights of {user.name} were not checked"
        yield finding("rights", [warn(fix)])
        return
    interpreter = argv.interpreter or [sys.executable]
    script = argv.script if os.path.exists(argv.script) else _script()
    yield from installation.check_configuration_file(config_path, user)
    yield installation.check_interpreter(user, interpreter)
    yield installation.check_code(user, script)
    yield installation.check_state_folder(user, database)
    yield installation.check_database_rights(user, database)
    yield from installation.check_database(config, now)
    yield installation.check_country_database(user, config.country_database, now)
    yield installation.check_notices(config, user)


def _service_user(folder: str, named: str) -> User:
    """Return the owner of the state folder, with the group that master.cf may give it."""
    import grp

    user = user_of(os.stat(folder).st_uid)
    name, _, group = named.partition(":")
    if group and name == user.name:
        try:
            return user._replace(gid=grp.getgrnam(group).gr_gid)
        except KeyError:
            pass  # spawn(8) will complain
    return user


def _script() -> str:
    return os.path.join(PROGRAMS, delegation.SCRIPT)


def _mail_system(config_path: str, config: Config, postfix: MailSystem) -> Iterator[Finding]:
    if postfix.problem:
        fix = f"run this where Postfix is, or with --mail-config: {postfix.problem}"
        yield finding("Postfix", [fail(fix)])
        return
    owner = _service_user(os.path.dirname(config.store_database), "").name
    installed = delegation.Installed(_script(), config_path, owner)
    yield delegation.check_entry(postfix.entry, installed)
    limit = postfix.values[postfix.time_limit] or postfix.values["command_time_limit"]
    if postfix.entry is None:
        limit = "3600"
    longest = postfix.values["smtpd_policy_service_max_ttl"]
    yield delegation.check_time_limit(postfix.name, limit, longest)
    policies = [config.policy, *[policy for _, policy in config.overrides]]
    holds = any(policy.holds for policy in policies)
    yield from delegation.check_services(postfix.services, postfix.endpoints, holds=holds)
