"""A private Dovecot on loopback, which decides whether an account may log in."""

from __future__ import annotations

import imaplib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from deployment import public_folder
from servers import free_port

BASE = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
ssl = no
disable_plaintext_auth = no
protocols = imap
listen = 127.0.0.1
auth_mechanisms = plain
auth_cache_size = 1M
auth_failure_delay = 0
auth_verbose = yes
default_internal_user = dovecot
default_login_user = dovenull
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
# No client waits longer after each failure.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%u
}}
"""


def missing() -> str:
    """Return why Dovecot can't be started here, "" where it can."""
    if os.geteuid() != 0:
        return "needs root"
    return "" if shutil.which("dovecot") else "dovecot-imapd is not installed"


class Dovecot:
    """Dovecot with a password database: the lines of its `passdb`, or a file for sql and ldap."""

    def __init__(self, driver: str, args: str) -> None:
        version = subprocess.check_output(["dovecot", "--version"], text=True)
        if not version.startswith("2.3."):
            pytest.skip(f"these tests have a configuration of Dovecot 2.3, not {version.strip()}")
        self.folder = public_folder("dovecot")
        for name in ("run", "state", "mail"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "mail", "nobody", "nogroup")
        if "\n" in args:
            (self.folder / "passdb.conf").write_text(args)
            args = str(self.folder / "passdb.conf")
        self.port = free_port()
        self.config = self.folder / "dovecot.conf"
        passdb = f"passdb {{\n  driver = {driver}\n  args = {args}\n}}\n"
        self.config.write_text(BASE.format(folder=self.folder, port=self.port) + passdb)
        self.process = subprocess.Popen(["dovecot", "-F", "-c", str(self.config)])
        deadline = time.monotonic() + 20
        while not self.is_ready():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """The log of Dovecot."""
        path = Path(self.folder, "log")
        return path.read_text() if path.exists() else ""

    def is_ready(self) -> bool:
        """Whether it greets a client."""
        try:
            self.session().shutdown()
        except (OSError, imaplib.IMAP4.error):
            return False
        return True

    def session(self) -> imaplib.IMAP4:
        """Return a connection that nobody has logged in on."""
        return imaplib.IMAP4("127.0.0.1", self.port, timeout=10)

    def login(self, account: str, password: str) -> imaplib.IMAP4:
        """Return a session.  Raises imaplib.IMAP4.error where the login is refused."""
        client = self.session()
        client.login(f'"{account}"', password)
        return client

    def takes(self, account: str, password: str) -> bool:
        """Whether this login succeeds."""
        try:
            self.login(account, password).logout()
        except imaplib.IMAP4.error as error:
            if "AUTHENTICATIONFAILED" not in str(error):
                raise
            return False
        return True

    def stop(self) -> None:
        """End it, and all that it has started."""
        self.process.terminate()
        self.process.wait(60)
