"""An installation of pcc with its private Postfix, and what the doctor says of it.

A test breaks one thing and sees which findings differ from those in health.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from checkout import NO_NETWORKS
from deployment import Deployment, deploy, run_as
from mmdb import built
from postfix import Policy, PrivatePostfix

Findings = dict[str, tuple[str, str]]
POLICY = "[policy]\n"


class Patient:
    """An installation with its Postfix, and what the doctor says of it."""

    def __init__(self) -> None:
        self.pcc: Deployment = deploy()
        proxies = {"smtpd_authorized_xclient_hosts": "127.0.0.1"}
        self.postfix = PrivatePostfix(Policy(self.pcc.policy_argv()), main=proxies)
        self.database = self.pcc.state / "pcc.db"
        self.countries = self.pcc.state / "country.mmdb"
        built(self.countries)
        self.countries.chmod(0o640)
        shutil.chown(self.countries, self.pcc.user, self.pcc.user)
        self.configure(POLICY)
        self.healthy = self.findings()

    def configure(self, policy: str, more: str = "") -> None:
        """Write pcc.toml and prepare it."""
        self.pcc.write_config(
            f'{policy}\n[store]\ndatabase = "{self.database}"\n'
            f'[country]\ndatabase = "{self.countries}"\n{NO_NETWORKS}{more}'
        )
        done = self.pcc.admin("init")
        assert done.returncode == 0, done.stderr

    @property
    def init(self) -> str:
        """The command `init` as a fix has it."""
        return " ".join([*self.pcc.admin_argv()[:2], "-c", str(self.pcc.config), "init"])

    def doctor(self, *options: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it for the private Postfix."""
        mail_config = str(self.postfix.config)
        return self.pcc.admin("doctor", "--mail-config", mail_config, *options, user=user)

    def findings(self, user: str | None = None) -> Findings:
        """Return result and fix of each check."""
        done = self.doctor("--json", user=user)
        assert done.stdout, done.stderr
        assert done.stderr == ""
        rows = json.loads(done.stdout)
        assert len({row["check"] for row in rows}) == len(rows)
        assert done.returncode == any(row["result"] == "FAIL" for row in rows)
        # Another test may be the machine's log for a while, see systemlog.py.
        names = ["log" if row["check"].startswith("log to ") else row["check"] for row in rows]
        return {name: (row["result"], row["fix"]) for name, row in zip(names, rows, strict=True)}

    def turned(self) -> Findings:
        """Return the findings that are not as they are in health."""
        findings = self.findings()
        assert list(findings) == list(self.healthy)
        return self.differing(findings)

    def differing(self, findings: Findings) -> Findings:
        """Return the findings that are not as they are in health, new ones that are not OK too."""
        return {
            check: found
            for check, found in findings.items()
            if found != self.healthy.get(check, ("OK", ""))
        }

    def sql(self, statement: str, *values: object) -> None:
        """Change the database behind everybody's back, and leave no side files."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(statement, values)

    @property
    def submission(self) -> str:
        """The name of the first service for submission in master.cf."""
        return f"127.0.0.1:{self.postfix.submission}"

    @property
    def submissions(self) -> str:
        """The name of the other one."""
        return f"127.0.0.1:{self.postfix.submissions}"

    def remove(self) -> None:
        """Remove it from the disk."""
        shutil.rmtree(self.postfix.folder)
        shutil.rmtree(self.pcc.folder)


Break = Callable[[Patient], None]


def master(old: str, new: str, count: int = 1) -> Break:
    """Return what changes master.cf, in the first place only or `count` places."""

    def change(patient: Patient) -> None:
        assert old in patient.postfix.master
        patient.postfix.master = patient.postfix.master.replace(old, new, count)

    return change


def main(**parameters: str) -> Break:
    """Return what changes main.cf."""

    def change(patient: Patient) -> None:
        for name, value in parameters.items():
            if value == "-":
                patient.postfix.main.pop(name)
            else:
                patient.postfix.main[name] = value

    return change


def both(*changes: Break) -> Break:
    """Return what makes all the changes."""

    def change(patient: Patient) -> None:
        for one in changes:
            one(patient)

    return change


def chown(name: str, user: str) -> Break:
    """Return what gives a file in the state folder to a user, or to the `service` user."""

    def change(patient: Patient) -> None:
        owner = patient.pcc.user if user == "service" else user
        shutil.chown(patient.pcc.state / name, owner, owner)

    return change


def chmod(name: str, mode: int) -> Break:
    """Return what sets the mode of a file in the state folder."""
    return lambda patient: (patient.pcc.state / name).chmod(mode)


def snapshot(*folders: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when any file in these folders does."""
    found: dict[str, tuple[int, ...]] = {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            status = path.lstat()
            found[str(path)] = (
                status.st_ino,
                status.st_size,
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
    return found


def commands(fix: str) -> list[str]:
    """Return the commands of a fix, in order."""
    return re.findall(r"`([^`]+)`", fix)


def follow(patient: Patient, fix: str) -> None:
    """Do what a fix says."""
    for command in commands(fix):
        done = run_as(["sh", "-ec", command])
        assert done.returncode == 0, (command, done.stderr)
