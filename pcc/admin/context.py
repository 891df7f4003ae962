"""The context of a command: configuration, database, output, and the user's name."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
import time
from functools import cached_property
from typing import Any

from pcc.admin import UsageError
from pcc.admin.output import Output
from pcc.config import Config, prepared
from pcc.errors import StoreError
from pcc.escaping import printable
from pcc.store import incidents, open_database, sums
from pcc.store.engine.interface import Database


class Context:
    """One run of the command.  `now`: UTC seconds when it began."""

    def __init__(self, config_path: str, *, json: bool) -> None:
        self.config_path = config_path
        self.output = Output(json=json)
        self.now = time.time()
        self._database: Database | None = None

    @cached_property
    def config(self) -> Config:
        """The configuration, whose prepared form is renewed where needed; raises ConfigError."""
        values = prepared.read(self.config_path)
        return Config(values or self.prepare()[0])

    def prepare(self) -> tuple[dict[str, Any], str]:
        """Parse pcc.toml and keep its prepared form; return its values, and why it was not kept."""
        return prepared.renew(self.config_path)

    @property
    def database(self) -> Database:
        """The open database; raises StoreError."""
        if self._database is None:
            config = self.config
            file = config.host_file if config.is_on_server else ""
            self._database = open_database(config.store_database, host_file=file)
            if not self._database.read_only:
                # Every command sees what was answered until now.  Where folding fails, on a full
                # disk for example, what can be read is worth showing.
                with contextlib.suppress(StoreError):
                    sums.fold(self._database, self.now)
        return self._database

    def remember_host(self) -> None:
        """Leave this host's settings in a database that it shares, for doctor to compare."""
        if self.config.is_on_server:
            from pcc.config.agreement import settings
            from pcc.store import hosts

            host = self.config.this_host
            hosts.remember(self.database, host, settings(self.config), self.now)

    def close(self) -> None:
        """Close the database if it was opened."""
        if self._database is not None:
            self._database.close()

    @cached_property
    def by(self) -> str:
        """The name of the user who runs the command, for records of what was done."""
        sudo = os.environ.get("SUDO_USER", "")
        if sudo and os.getuid() == 0:
            return sudo
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return str(os.getuid())

    def account(self, text: str) -> str:
        """Return the normalised account for what was typed; raises UsageError for nothing."""
        account = self.config.normalised_account(text)
        if not account:
            raise UsageError("ACCOUNT must not be empty")
        return account

    def whole_login(self, account: str) -> str:
        """Return a question about a login that was never seen, "" for one that was."""
        database = self.database
        if incidents.sightings_of(database, account) or incidents.events_of(database, account):
            return ""
        question = "is this the whole login?"
        others = incidents.logins_like(database, account)
        return f"{question} {', '.join(others)} was seen" if others else question

    def command(self, name: str, account: str, *options: str) -> str:
        """Return a command line about an account, to be pasted into a shell."""
        from pcc.invocation import about_account, command_line

        return command_line(self.config_path, *about_account(name, account, *options))

    def complain(self, message: str) -> None:
        """Print what is wrong, a sentence, on stderr."""
        print(f"pcc_admin.py: {printable(message)}", file=sys.stderr)
