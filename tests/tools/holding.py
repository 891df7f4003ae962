"""A Postfix that holds the mail of blocked accounts, and the administrator's commands about it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from deployment import Deployment, deploy
from postfix import STAGES, Policy, PrivatePostfix
from smtp import Session

CONFIG = """\
[policy]
action = "HOLD"
max_countries = 3
familiar_after = 1
hold_limit = 0

[[override]]
accounts = ["@limited.example"]
hold_limit = 2

[country]
database = "state/country.mmdb"
networks = ""
hosting = ""

[store]
database = "state/pcc.db"

[notify]
to = ["postmaster"]
from = "pcc@example.org"
"""


class Holding:
    """A deployment with its own Postfix, which asks it at `stage`, one of STAGES."""

    def __init__(self, stage: str = "data") -> None:
        self.deployment: Deployment = deploy()
        self.deployment.write_config(CONFIG)
        done = self.deployment.admin("init", user=self.deployment.user)
        assert not done.returncode, done.stderr
        self.mta = PrivatePostfix(Policy(self.deployment.policy_argv(), (stage,)))
        self.stage = stage
        self._accounts = 0

    def change(self, **main: str) -> None:
        """Let Postfix run with other values of these parameters of main.cf."""
        if any(self.mta.main.get(name) != value for name, value in main.items()):
            self.mta.main.update(main)
            self.mta.write_config()
            self.mta.reload()

    def ask_at(self, stage: str) -> None:
        """Make Postfix ask pcc at this stage, one of STAGES, and at no other."""
        policy = self.mta.policy
        assert policy
        rest = {"recipient": "permit_sasl_authenticated, reject", "data": "", "end_of_data": ""}
        checks = {name: policy.check() if name == stage else "" for name in STAGES}
        self.change(
            **{
                f"mua_{name}_restrictions": ", ".join(filter(None, (checks[name], rest[name])))
                for name in STAGES
            }
        )

    # The administrator.

    def admin(
        self, *arguments: str, user: str | None = None, mail_config: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run pcc_admin.py, as root and with MAIL_CONFIG by default."""
        environment = {"MAIL_CONFIG": str(self.mta.config)} if mail_config else {}
        return self.deployment.admin(*arguments, user=user, environment=environment)

    def data(self, *arguments: str, user: str | None = None, status: int = 0) -> Any:
        """Run pcc_admin.py with --json; return what it printed, after a look at its exit status."""
        done = self.admin(*arguments, "--json", user=user)
        assert done.returncode == status, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def blocked(self, domain: str = "example.org") -> str:
        """Return a new account that is blocked."""
        self._accounts += 1
        account = f"user{self._accounts}@{domain}"
        assert not self.admin("block", account).returncode
        return account

    def foreign_files(self) -> list[str]:
        """The files of the state folder that the service user does not own."""
        user = self.deployment.user
        return [path.name for path in self.deployment.state.iterdir() if path.owner() != user]

    # The accounts.

    def send(
        self,
        account: str,
        *senders: str,
        recipients: Sequence[str] = ("recipient@example.net",),
        options: str = "",
    ) -> list[str]:
        """Send mails with these senders (by default one of the account); return their queue ids."""
        with Session(self.mta.submission) as session:
            session.xclient(account, "192.0.2.1")
            replies = [
                session.mail(sender, recipients, options=options) for sender in senders or [account]
            ]
        assert all(reply.accepted for reply in replies), replies
        return [reply.queue_id for reply in replies]

    # The mails in the database, and those in the queue.

    def on_hold(self) -> set[str]:
        """The queue ids of the mails on hold."""
        return {mail["queue_id"] for mail in self.mta.queue() if mail["queue_name"] == "hold"}

    def states(self, account: str) -> list[str]:
        """The database's rows about the account's held mails, oldest first."""
        rows = self.sql("SELECT state FROM held WHERE account = ? ORDER BY at", account)
        return [str(state) for (state,) in rows]

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Carry out one statement on the database."""
        path = self.deployment.state / "pcc.db"
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
        return rows


def next_second() -> None:
    """Wait until the clock shows another second: Postfix gives arrival times in whole ones."""
    time.sleep(1.01 - time.time() % 1)
