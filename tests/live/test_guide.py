"""The example of docs/several-hosts.md, line by line: two hosts, a primary and a standby.

Each database machine is a PostgreSQL in private folders, laid out as Debian's, on an address of
loopback.  A `systemctl` of the test starts and stops it.  The two hosts are sites with a Postfix.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest
import servers
from checkout import ROOT
from deployment import ENVIRONMENT, processes_of, run_as
from hosts import wait_for
from scene import Scene
from servers import PostgreSQL, Server, free_port, postgresql_programs

pytestmark = pytest.mark.postfix

FENCE = re.compile(r"^```(sh|toml)((?: \w+)*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SYSTEM = re.compile(r"(?<![\w/])/(etc|var|usr|root|home)/")
"""Paths that no command of the example may have when it is run."""


class Machine(Server):
    """A PostgreSQL as Debian has it: its configuration is not in its data folder."""

    scheme = "postgresql"
    user = "postgres"

    def __init__(self, address: str, port: int) -> None:
        super().__init__(address)
        self.port = port
        self.address = address
        self.etc = self.folder / "etc"
        self.data = self.folder / "lib" / "15" / "main"
        (self.etc / "conf.d").mkdir(parents=True)
        self.data.parent.mkdir(parents=True)
        shutil.chown(self.data.parent, self.user)
        new = ["-D", str(self.data), "-A", "trust", "-U", "postgres", "--no-sync", "--no-locale"]
        self._run(f"{postgresql_programs()}/initdb", *new)
        (self.etc / "pg_hba.conf").write_text("local all all trust\n")
        (self.etc / "postgresql.conf").write_text(
            f"data_directory = '{self.data}'\nhba_file = '{self.etc}/pg_hba.conf'\n"
            f"ident_file = '{self.etc}/pg_hba.conf'\nunix_socket_directories = '{self.folder}'\n"
            f"listen_addresses = '{address}'\nport = {port}\nssl = on\n"
            f"ssl_cert_file = '{self.folder}/ca.pem'\n"
            f"ssl_key_file = '{self.folder}/key.pem'\nshared_buffers = 16MB\nfsync = off\n"
            f"include_dir = 'conf.d'\n"
        )
        self.start()

    def command(self) -> list[str]:
        """Return the server's command line."""
        config = f"config_file={self.etc}/postgresql.conf"
        return [f"{postgresql_programs()}/postgres", "-D", str(self.data), "-c", config]

    def answers(self) -> bool:
        """Whether the server takes connections."""
        ready = [f"{postgresql_programs()}/pg_isready", "-q", "-h", str(self.folder)]
        return not subprocess.run([*ready, "-p", str(self.port)], check=False).returncode

    def run_line_by_line(self, text: str, others: dict[str, str]) -> None:
        """Run commands of the example; a line with systemctl is carried out by this object."""
        for old, new in {
            "/etc/postgresql/15/main": str(self.etc),
            "/var/lib/postgresql": str(self.folder / "lib"),
            r"192\.0\.2\.\d+/32": "127.0.0.1/32",
            **others,
            r"'\*'$": f"'{self.address}'",
        }.items():
            text = re.sub(old, new, text, flags=re.MULTILINE)
        assert not SYSTEM.search(text), text
        for part in re.split(r"^(systemctl .*)\n", text, flags=re.MULTILINE):
            if part.startswith("systemctl"):
                assert part.endswith(" postgresql@15-main")
                self.stop(signal.SIGINT)
                if "stop" not in part:
                    self.start()
                continue
            environment = {
                "PATH": f"{postgresql_programs()}:{ENVIRONMENT['PATH']}",
                "PGHOST": str(self.folder),
                "PGPORT": str(self.port),
            }
            done = run_as(["sh", "-eu", "-c", part], environment=environment)
            assert done.returncode == 0, (part, done.stdout, done.stderr)


class Example:
    """The machines of the example, and its blocks, taken one after the other."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        text = (ROOT / "docs" / "several-hosts.md").read_text(encoding="utf-8")
        section = text.partition("\n## An example")[2].partition("\n## ")[0]
        self.blocks = [
            (kind, names.split(), block) for kind, names, block in FENCE.findall(section)
        ]
        port = free_port()
        self.servers = {}
        for name, address in (("db1", "127.0.0.2"), ("db2", "127.0.0.3")):
            self.servers[name] = Machine(address, port)
            stack.callback(self.servers[name].stop, signal.SIGQUIT)
        self.hosts = {name: stack.enter_context(Scene()) for name in ("mx1", "mx2")}
        stack.callback(self._end_followers)
        self._addresses = {
            r"192\.0\.2\.1,192\.0\.2\.2": f"127.0.0.2:{port},127.0.0.3:{port}",
            r"192\.0\.2\.1\b": "127.0.0.2",
            r"192\.0\.2\.2\b": "127.0.0.3",
        }

    def go_on(self, blocks: int) -> None:
        """Carry out the next blocks."""
        for kind, names, text in self.blocks[:blocks]:
            if kind == "toml":
                for old, new in self._addresses.items():
                    text = re.sub(old, new, text)
                self._configure(text)
            for name in names:
                if name in self.servers:
                    self.servers[name].run_line_by_line(text, self._addresses)
                else:
                    host = self.hosts[name]
                    text = text.replace("-g pcc", f"-g {host.pcc.user}")
                    done = host.run(host.on_site(text))
                    assert done.returncode == 0, (name, text, done.stdout, done.stderr)
        del self.blocks[:blocks]

    def _end_followers(self) -> None:
        for host in self.hosts.values():
            (host.pcc.state / "pcc.host").unlink()
        found = [host.pcc.config for host in self.hosts.values()]
        wait_for(lambda: not any("follower.main" in str(processes_of(path)) for path in found))

    def _configure(self, text: str) -> None:
        """Replace the option `store.database` of both hosts."""
        (line,) = re.findall(r"^database = .*$", text, re.MULTILINE)
        for host in self.hosts.values():
            before = host.pcc.config.read_text()
            kept, store, rest = before.partition("[store]")
            rest = re.sub(r"^database = .*$", host.on_site(line), rest, count=1, flags=re.MULTILINE)
            host.pcc.write_config(kept + store + rest)


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    servers.require(servers.missing(PostgreSQL))
    with contextlib.ExitStack() as stack:
        yield Example(stack)


def test_example_of_two_hosts_and_a_pair_of_servers_does_what_it_says(example: Example) -> None:
    first, second = example.hosts["mx1"], example.hosts["mx2"]

    def places(account: str) -> set[str]:
        shown = second.run(f"pcc_admin.py --json show {account} || true").stdout
        return set(re.findall(r'"country": "(\w+)"', shown))

    example.go_on(6)
    assert first.send("ann@example.org", "ES")
    assert second.send("ann@example.org", "FR")
    assert places("ann@example.org") == {"ES", "FR"}
    assert first.run("pcc_admin.py block joe@example.org").returncode == 0

    example.servers["db1"].stop(signal.SIGQUIT)
    example.go_on(1)
    wait_for(lambda: second.run("pcc_admin.py list").returncode == 0)
    assert "joe@example.org" in second.run("pcc_admin.py list").stdout
    assert second.send("ann@example.org", "BR")

    example.servers["db1"].start()  # as it was: it is no primary any more
    assert first.send("ann@example.org", "VN")
    assert places("ann@example.org") == {"BR", "ES", "FR", "VN"}
    example.go_on(2)
    assert first.send("ann@example.org", "DE")
    assert places("ann@example.org") == {"BR", "DE", "ES", "FR", "VN"}

    example.servers["db1"].stop(signal.SIGQUIT)
    example.go_on(1)
    assert second.send("eve@example.org", "DE")
    assert example.blocks == []


def test_example_has_no_line_that_is_not_run() -> None:
    """Every fence of the section is one that is carried out."""
    text = (ROOT / "docs" / "several-hosts.md").read_text(encoding="utf-8")
    section = text.partition("\n## An example")[2].partition("\n## ")[0]
    assert len(re.findall(r"^```", section, re.MULTILINE)) == 2 * len(FENCE.findall(section)) > 0
