"""The site of the documentation, with its Postfix, where two accounts were stolen.

ann@example.org and joe@example.org have been at work in Spain for some days, and then send from
four other networks within minutes: their mail is on hold.  The mail log has more people.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

from checkout import ROOT
from deployment import ENVIRONMENT, Deployment, deploy, run_as
from postfix import Policy, PrivatePostfix
from smtp import Session

from pcc.store.engine.creation import SCHEMA_FILE
from pcc.store.engine.definitions import tables

CLIENTS = {
    "ES": "90.77.1.1",
    "FR": "2.3.4.5",
    "BR": "177.32.1.1",
    "VN": "14.160.1.1",
    "DE": "91.10.1.1",
}
"""Addresses as the bundled country database knows them."""

STOLEN = ("ann@example.org", "joe@example.org")


DAY = 86400


class Scene:
    """The site, whose Postfix runs within a `with`; `reset` makes it as it was in the beginning."""

    def __init__(self) -> None:
        self.pcc: Deployment = deploy()
        self.mta = PrivatePostfix(Policy([*self._interpreter(), *self.pcc.policy_argv()[1:]]))
        self._files = (self.mta.config / "main.cf", self.mta.config / "master.cf")
        self._texts = [path.read_text() for path in self._files]
        self.log = self.pcc.folder / "mail.log"
        self.log.write_text(_mail_log())
        self.commands = self.pcc.folder / "bin"
        self._make_command()
        self._configure()

    def __enter__(self) -> Scene:
        self.mta.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.mta.__exit__(*error)
        shutil.rmtree(self.pcc.folder)

    def _interpreter(self) -> list[str]:
        return [str(self.pcc.python), "-I", "-S"]

    def _make_command(self) -> None:
        """Put a pcc_admin.py that knows this configuration on the path."""
        self.commands.mkdir()
        command = self.commands / "pcc_admin.py"
        command.write_text("#!/bin/sh\nexec " + " ".join(self.pcc.admin_argv()) + ' "$@"\n')
        command.chmod(0o755)

    def _configure(self) -> None:
        """Write the pcc.toml that we ship, with mail put on hold and no notices."""
        text = (ROOT / "pcc.toml").read_text(encoding="utf-8")
        text = text.replace("/var/lib/pcc", str(self.pcc.state))
        text = text.replace('action = "REJECT"', 'action = "HOLD"')
        self.pcc.write_config(text.replace('"postmaster"', ""))
        done = self.pcc.admin("init")
        assert done.returncode == 0, done.stderr

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root, its path and Postfix being the site's."""
        path = f"{self.commands}:{self.mta.commands}:{ENVIRONMENT['PATH']}"
        environment = {"MAIL_CONFIG": str(self.mta.config), "PATH": path}
        return run_as(["sh", "-eu", "-c", script], environment=environment)

    def on_site(self, text: str) -> str:
        """Return commands with the places of the site in place of the system's."""
        for old, new in {
            "/usr/local/lib/pcc/.venv/bin/python": str(self.pcc.python),
            "/usr/local/lib/pcc/pcc_admin.py": "pcc_admin.py",
            "/usr/local/lib/pcc": str(self.pcc.folder),
            "/etc/pcc": str(self.pcc.folder),
            "/var/lib/pcc": str(self.pcc.state),
            "/var/log/mail.log": str(self.log),
            "/var/lib/prometheus/node-exporter": str(self.pcc.folder),
            "/run/pcc": str(self.pcc.folder / "pcc"),
            "runuser -u pcc ": f"runuser -u {self.pcc.user} ",
            "user=pcc": f"user={self.pcc.user}",
            "submission/inet": f"127.0.0.1:{self.mta.submission}/inet",
            "submissions/inet": f"127.0.0.1:{self.mta.submissions}/inet",
        }.items():
            text = re.sub(rf"(?<![\w/]){re.escape(old)}", new, text)
        return text

    def reset(self) -> None:
        """Forget all that was done since; the theft has just happened, and mail is on hold."""
        if [path.read_text() for path in self._files] != self._texts:
            self.mta.write_config()
            self.mta.reload()
        self.mta.run(["postsuper", "-d", "ALL"])
        with closing(sqlite3.connect(self.pcc.state / "pcc.db", timeout=10)) as database, database:
            for table in tables(SCHEMA_FILE.read_text()):
                if table.name != "pcc_schema":
                    database.execute(f"DELETE FROM {table.name}")
        self._steal()

    def _steal(self) -> None:
        for account in (*STOLEN, "carl@example.org"):
            assert self.send(account, "ES")
        self._age(2 * DAY)
        for country in ("FR", "BR", "VN", "DE", "DE"):
            for account in STOLEN:
                assert self.send(account, country)

    def send(self, account: str, country: str) -> bool:
        """Send a mail; return whether it was accepted."""
        with Session(self.mta.submission) as session:
            session.xclient(account, CLIENTS[country])
            return session.mail(account, ["friend@example.net"]).accepted

    def _age(self, seconds: int) -> None:
        """Make all sightings older by this time."""
        day = int((time.time() - seconds) // DAY)
        with closing(sqlite3.connect(self.pcc.state / "pcc.db", timeout=10)) as database, database:
            for table in ("sighting", "place"):
                database.execute(
                    f"UPDATE {table} SET first_seen = first_seen - ?, last_seen = last_seen - ?,"
                    " days = ?",
                    (seconds, seconds, str(day)),
                )
            database.execute("UPDATE sighting SET hour = hour - ?", (seconds // 3600,))


def _mail_log() -> str:
    """Return the mail log of two weeks: three people in Spain, one account stolen."""
    begin = datetime.now(timezone.utc) - timedelta(days=14)
    mails = [
        (begin + timedelta(days=day, minutes=number), account, "ES")
        for day in range(14)
        for number, account in enumerate((*STOLEN, "eve@example.org"))
    ]
    mails += [
        (begin + timedelta(days=12, hours=1, minutes=number), "eve@example.org", country)
        for number, country in enumerate(CLIENTS)
    ]
    return "".join(_log_line(number, *mail) for number, mail in enumerate(sorted(mails)))


def _log_line(number: int, at: datetime, account: str, country: str) -> str:
    return (
        f"{at.isoformat(timespec='seconds')} mail postfix/submission/smtpd[811]: {number + 4096:X}:"
        f" client=unknown[{CLIENTS[country]}], sasl_method=PLAIN, sasl_username={account}\n"
    )
