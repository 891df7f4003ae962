"""The checkout's own programs on a private folder: a configuration, a database, a country database.

`Site` is such a folder; `PolicyProcess` a policy process as spawn(8) would
start it, with descriptors 0, 1 and 2 on one socket.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked
from mmdb import write_country_database

from pcc.config import prepared
from pcc.places import bundled
from pcc.store.engine.creation import create_or_upgrade

ROOT = Path(__file__).resolve().parents[2]

COUNTRIES = ("ES", "FR", "BR", "VN", "DE", "PT", "US", "IN")
NETWORKS = {f"11.{number}.0.0/16": code for number, code in enumerate(COUNTRIES, 1)}
IPV6_NETWORKS = {f"2a0{number}::/32": code for number, code in enumerate(COUNTRIES, 1)}

NO_NETWORKS = 'networks = ""\nhosting = ""\n'
"""Of [country]: without the files that only an installation has."""

_instances = itertools.count(1)


def address(country: str, host: int = 1) -> str:
    """Return an IPv4 address that is in `country`, another one for each `host`."""
    return f"11.{COUNTRIES.index(country) + 1}.{host // 256}.{host % 256}"


def address6(country: str, network: int = 1, host: int = 1) -> str:
    """Return an IPv6 address that is in `country`, in another /64 for each `network`."""
    return f"2a0{COUNTRIES.index(country) + 1}:0:0:{network:x}::{host:x}"


def new_instance() -> str:
    """Return an instance that no other mail has."""
    return f"{os.getpid():x}.{next(_instances):x}.0"


def request_text(
    account: str = "joe@example.org",
    client_address: str | None = None,
    *,
    instance: str | None = None,
    **attributes: str,
) -> str:
    """Return a policy request as Postfix sends it; `attributes` are added or changed."""
    values = {
        "request": "smtpd_access_policy",
        "protocol_state": "DATA",
        "protocol_name": "ESMTP",
        "client_address": address("ES") if client_address is None else client_address,
        "client_name": "unknown",
        "reverse_client_name": "unknown",
        "helo_name": "there.example",
        "sender": account,
        "recipient": "",
        "recipient_count": "1",
        "queue_id": "4F2ABC",
        "instance": new_instance() if instance is None else instance,
        "size": "0",
        "sasl_method": "PLAIN",
        "sasl_username": account,
        "sasl_sender": "",
        **attributes,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items()) + "\n"


def first_limit(policy: str) -> str:
    """Return the limit of `[policy]` that most tests mean, except where their own text has it."""
    own = policy.partition("\n[")[0]
    meant = {"max_countries": 3, "familiar_after": 1}
    return "".join([f"{key} = {value}\n" for key, value in meant.items() if key not in own])


class PolicyProcess:
    """A policy process, its descriptors 0, 1 and 2 on one socket."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        self._received = b""
        with theirs:
            descriptor = theirs.fileno()
            self.process = subprocess.Popen(
                command,
                stdin=descriptor,
                stdout=descriptor,
                stderr=descriptor,
                env=environment or {"PATH": "/usr/bin:/bin", "LANG": "C"},
                start_new_session=True,
                cwd="/",
            )

    def send(self, text: str | bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(text if isinstance(text, bytes) else os.fsencode(text))

    def reply(self) -> str | None:
        """Return the action of the next reply, None if the process disconnected instead."""
        while b"\n\n" not in self._received:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                assert self._received == b"", f"not a reply: {self._received!r}"
                return None
            self._received += more
        data, _, self._received = self._received.partition(b"\n\n")
        text = data.decode()
        assert text.startswith("action="), text
        assert "\n" not in text, text
        return text.removeprefix("action=")

    def ask(self, *arguments: str, **attributes: Any) -> str | None:
        """Send one request (see request_text) and return the action of its reply."""
        try:
            self.send(request_text(*arguments, **attributes))
        except (BrokenPipeError, ConnectionResetError):
            return None
        return self.reply()

    def end(self) -> int:
        """Close the connection as Postfix does, and return the exit status."""
        self.socket.close()
        return self.process.wait(60)

    def kill(self) -> None:
        """End the process without a warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)
        self.socket.close()


class Site:
    """One configuration with its database and country database in a folder."""

    def __init__(self, folder: Path, toml: str = "", python: str = sys.executable) -> None:
        self.folder = folder
        self.python = python
        self.config = folder / "pcc.toml"
        self.database = folder / "pcc.db"
        self.countries = folder / "country.mmdb"
        self._processes: list[PolicyProcess] = []
        write_country_database(self.countries, {**NETWORKS, **IPV6_NETWORKS})
        self.configure(toml)
        self._init()

    def _init(self) -> None:
        """Do what `pcc_admin.py init` does; in this process, which is ten times as quick."""
        if self.python != sys.executable:  # which has a prepared form of its own
            assert self.admin("init").returncode == 0
            return
        values, problem = prepared.renew(str(self.config))
        assert not problem, problem
        create_or_upgrade(values["store_database"])
        if not Path(values["country_database"]).exists():
            bundled.unpack(values["country_database"])

    def configure(self, toml: str = "") -> None:
        """Write the configuration: `toml` for `[policy]` and after, local files, no notices."""
        local = (
            f'[country]\ndatabase = "country.mmdb"\n{NO_NETWORKS}[store]\ndatabase = "pcc.db"\n'
            if "[store]" not in toml
            else ""
        )
        quiet = "[notify]\nto = []\n" if "[notify]" not in toml else ""
        head = "" if toml.lstrip().startswith("[") else "[policy]\n"
        if not toml.lstrip().startswith("["):
            head += first_limit(toml)
        self.config.write_text(f"{head}{toml}\n{local}{quiet}", encoding="utf-8")

    def policy(self, *interpreter_options: str, environment: Any = None) -> PolicyProcess:
        """Start a policy process."""
        command = [self.python, *interpreter_options, str(ROOT / "pcc_policy.py")]
        process = PolicyProcess([*command, "--config", str(self.config)], environment)
        self._processes.append(process)
        return process

    def ask(self, *arguments: str, **attributes: Any) -> str | None:
        """Ask a process of its own, which has ended when this returns."""
        process = self.policy()
        action = process.ask(*arguments, **attributes)
        process.end()
        return action

    def cross(self, account: str) -> None:
        """Make an account cross a limit of one country."""
        process = self.policy()
        for country in ("ES", "FR"):
            process.ask(account, address(country))
        process.end()

    def admin(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run pcc_admin.py."""
        if self.python == sys.executable:
            return forked.run(["-c", str(self.config), *arguments], text, 60)
        return subprocess.run(
            [self.python, str(ROOT / "pcc_admin.py"), "-c", str(self.config), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def data(self, *arguments: str) -> Any:
        """Return what a command says with --json."""
        done = self.admin("--json", *arguments)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def blocked(self) -> list[str]:
        """Return the accounts that are blocked."""
        return [row["account"] for row in self.data("list")]

    def mails(self, account: str = "joe@example.org") -> dict[str, int]:
        """Return how many mails of an account were counted from each address."""
        seen = self.data("show", account)["sightings"]
        return {row["address"]: row["mails"] for row in seen}

    def close(self) -> None:
        """End what was started."""
        for process in self._processes:
            if process.process.poll() is None:
                process.kill()
            process.socket.close()
        # Without its file a follower ends.
        (self.folder / "pcc.host").unlink(missing_ok=True)


def is_pass(action: str | None) -> bool:
    """Whether the mail passes."""
    return action == "DUNNO"


def is_refusal(action: str | None) -> bool:
    """Whether the mail is refused."""
    return action is not None and action.startswith("REJECT ")
