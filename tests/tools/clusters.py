"""Clusters that several hosts share: servers, their standbys, and the network between.

Each kind has three URLs, one for each host, and `failures`: each breaks something, waits for some
seconds and mends it.  All lies below session_folder(), on loopback, and ends by its process id.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from urllib.parse import quote

import servers
from deployment import public_folder
from servers import PASSWORD, MariaDB, PostgreSQL, Server, free_port

Failure = Callable[[float], None]

GALERA = Path("/usr/lib/galera/libgalera_smm.so")


class Cluster:
    """A shared database."""

    urls: list[str]
    failures: list[Failure]

    def close(self) -> None:
        """End what was started."""

    @staticmethod
    def missing() -> str:
        """Return why there can be none here, "" where there can."""
        return servers.missing(PostgreSQL)


def away(server: Server, seconds: float) -> None:
    """Kill a server as a power cut does, and start it again after some seconds."""
    server.stop(signal.SIGQUIT if isinstance(server, PostgreSQL) else signal.SIGKILL)
    time.sleep(seconds)
    server.start()


def silent(server: Server, seconds: float) -> None:
    """Suspend a server for some seconds."""
    try:
        server.pause()
        time.sleep(seconds)
    finally:
        server.go_on()


class Relay:
    """A network between a host and a port of loopback.

    While it is cut it takes nothing and passes nothing on, and nobody hears of it.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_closed = False
        self.is_cut = False
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections."""
        self._is_closed = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]

    def _pass_on(self) -> None:
        while not self._is_closed:
            if self.is_cut:
                time.sleep(0.02)
                continue
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fd in self._selector.get_map():  # its other end has not ended just now
                    self._pass_on_from(key.fileobj, key.data)  # type: ignore[arg-type]

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            return
        for end, other in ((near, far), (far, near)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end, selectors.EVENT_READ, other)

    def _pass_on_from(self, end: socket.socket, other: socket.socket) -> None:
        try:
            if data := end.recv(65536):
                other.sendall(data)
                return
        except OSError:
            pass
        for one in (end, other):
            self._selector.unregister(one)
            one.close()


class Single(Cluster):
    """One PostgreSQL, that each host reaches by a network of its own."""

    def __init__(self, choice: Random, server: PostgreSQL | None = None) -> None:
        self._choice = choice
        self._server = server or PostgreSQL()
        self._is_own = server is None
        name = self._server.new_database().partition("@/")[2].partition("?")[0]
        self._relays = [Relay(self._server.port) for _ in range(3)]
        user = f"secret:{quote(PASSWORD, safe='')}"
        self.urls = [f"postgresql://{user}@127.0.0.1:{relay.port}/{name}" for relay in self._relays]
        self.failures = [
            self._drop,
            lambda seconds: away(self._server, seconds),
            lambda seconds: silent(self._server, seconds),
        ]

    def _drop(self, seconds: float) -> None:
        """Cut one host off, or all."""
        relays = self._choice.choice([self._relays, *[[relay] for relay in self._relays]])
        for relay in relays:
            relay.is_cut = True
        time.sleep(seconds)
        for relay in relays:
            relay.is_cut = False

    def close(self) -> None:
        """End what was started."""
        for relay in self._relays:
            relay.close()
        if self._is_own:
            self._server.stop(signal.SIGINT)


class Pair(Cluster):
    """A PostgreSQL and its synchronous standby, which is promoted when the primary fails."""

    def __init__(self, choice: Random) -> None:
        self.primary = PostgreSQL()
        name = self.primary.new_database().partition("@/")[2].partition("?")[0]
        self.standby = PostgreSQL(self.primary)
        self._wait_for_standby()
        first, second = self.primary, self.standby
        self.urls = [
            f"postgresql://pcc@/{name}?host={one.folder},{other.folder}"
            f"&port={one.port},{other.port}"
            for one, other in ((first, second), (second, first), (first, second))
        ]
        self.failures = [
            self.fail_over,
            lambda seconds: away(self.standby, seconds),
            lambda seconds: silent(self.primary, seconds),
            lambda seconds: silent(self.standby, seconds),
        ]

    def fail_over(self, seconds: float) -> None:
        """Kill the primary and promote the other; the old one comes back as it was, then follows.

        The other one has all that was acknowledged: no COMMIT ends without a standby.
        """
        old, new = self.primary, self.standby
        old.stop(signal.SIGQUIT)
        new.execute("SELECT pg_promote()")
        self.primary, self.standby = new, old
        time.sleep(seconds / 2)
        old.start()
        time.sleep(seconds / 2)
        old.stop(signal.SIGQUIT)
        old.follow(new)
        self._wait_for_standby()

    def _wait_for_standby(self) -> None:
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
        self.primary.execute("SELECT pg_reload_conf()")
        query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'"
        deadline = time.monotonic() + 20
        while self.primary.execute(query) != [(1,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> None:
        """End what was started."""
        for one in (self.standby, self.primary):
            one.stop(signal.SIGINT)


class PgBouncer(Server):
    """A pooler of transactions in front of a PostgreSQL."""

    scheme = "postgresql"
    user = "postgres"

    def __init__(self, server: PostgreSQL) -> None:
        self.port = free_port()
        self.folder = public_folder("pgbouncer")
        shutil.chown(self.folder, self.user)
        (self.folder / "users").write_text('"pcc" ""\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": self.folder / "users",
            "pool_mode": "transaction",
            "max_client_conn": 500,
            "default_pool_size": 20,
            "server_login_retry": 1,
            "query_wait_timeout": 7,
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.folder} port={server.port}\n"
            f"[pgbouncer]\n{''.join(lines)}"
        )
        self.start()

    def command(self) -> list[str]:
        """Return its command line."""
        return ["/usr/sbin/pgbouncer", str(self.folder / "pgbouncer.ini")]

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True


class Pooled(Cluster):
    """A PostgreSQL behind a PgBouncer."""

    def __init__(self, choice: Random, server: PostgreSQL | None = None) -> None:
        self._server = server or PostgreSQL()
        self._is_own = server is None
        name = self._server.new_database().partition("@/")[2].partition("?")[0]
        self._pooler = PgBouncer(self._server)
        self.urls = [f"postgresql://pcc@127.0.0.1:{self._pooler.port}/{name}?prepare=no"] * 3
        self.failures = [
            lambda seconds: away(self._pooler, seconds),
            lambda seconds: silent(self._pooler, seconds),
            lambda seconds: away(self._server, seconds),
        ]

    @staticmethod
    def missing() -> str:
        """Return why there can be none here, "" where there can."""
        none = "" if shutil.which("pgbouncer") else "pgbouncer is not installed"
        return servers.missing(PostgreSQL) or none

    def close(self) -> None:
        """End what was started."""
        self._pooler.stop()
        if self._is_own:
            self._server.stop(signal.SIGINT)


class GaleraNode(MariaDB):
    """A node of a Galera cluster, as Debian starts it: it finds its position first."""

    start_seconds = 120

    def __init__(self, others: list[GaleraNode]) -> None:
        self._others = others
        self._position: list[str] = []
        self._group, self._receiver, self._copier = free_port(), free_port(), free_port()
        super().__init__(has_data=not others)

    def command(self) -> list[str]:
        """Return the server's command line."""
        peers = ",".join([f"127.0.0.1:{one._group}" for one in self._others])
        options = (
            f"gmcast.listen_addr=tcp://127.0.0.1:{self._group}"
            f";ist.recv_addr=127.0.0.1:{self._receiver};gcache.size=64M;pc.recovery=no"
        )
        return [
            *super().command(),
            *("--wsrep-on=ON", f"--wsrep-provider={GALERA}", "--binlog-format=ROW"),
            *("--innodb-autoinc-lock-mode=2", "--wsrep-sst-method=rsync"),
            f"--wsrep-cluster-address=gcomm://{peers}",
            f"--wsrep-node-address=127.0.0.1:{self._group}",
            f"--wsrep-sst-receive-address=127.0.0.1:{self._copier}",
            f"--wsrep-provider-options={options}",
            *self._position,
        ]

    def join(self, others: list[GaleraNode]) -> None:
        """Start again, after it was killed, as one of the cluster of these others."""
        self._others, self._position = others, []
        done = subprocess.run(
            [*self.command(), "--wsrep-recover"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **self._as_user(),
        )
        found = re.findall(r"Recovered position: (\S+)", done.stdout + done.stderr)
        self._position = [f"--wsrep-start-position={found[-1]}"] if found else []
        self.start()

    def answers(self) -> bool:
        """Whether the node is one of its cluster, and has all that the others have."""
        import pymysql

        with contextlib.suppress(pymysql.Error):
            query = "SHOW STATUS LIKE 'wsrep_local_state_comment'"
            return bool(self.execute(query)[0][1] == "Synced")
        return False


class Galera(Cluster):
    """Three nodes; each host prefers one."""

    def __init__(self, choice: Random) -> None:
        self._choice = choice
        self.nodes: list[GaleraNode] = []
        for _ in range(3):
            self.nodes.append(GaleraNode(self.nodes.copy()))
        name = self.nodes[0].new_database().partition("@/")[2].partition("?")[0]
        ports = [node.port for node in self.nodes]
        user = f"secret:{quote(PASSWORD, safe='')}"
        self.urls = []
        for first in range(3):
            order = ports[first:] + ports[:first]
            hosts = ",".join([f"127.0.0.1:{port}" for port in order])
            self.urls.append(f"mysql://{user}@{hosts}/{name}")
        self.failures = [self.kill, lambda seconds: silent(choice.choice(self.nodes), seconds)]

    def kill(self, seconds: float) -> None:
        """Kill a node, which joins again after some seconds."""
        node = self._choice.choice(self.nodes)
        node.stop(signal.SIGKILL)
        time.sleep(seconds)
        node.join([one for one in self.nodes if one is not node])

    @staticmethod
    def missing() -> str:
        """Return why there can be none here, "" where there can."""
        none = [name for name in ("rsync", "lsof") if not shutil.which(name)]
        if not GALERA.exists():
            none.append("galera-4")
        return servers.missing(MariaDB) or (f"{none[0]} is not installed" if none else "")

    def close(self) -> None:
        """End what was started."""
        for node in self.nodes:
            node.stop(signal.SIGKILL)


KINDS: dict[str, type[Single | Pair | Pooled | Galera]] = {
    "one PostgreSQL": Single,
    "a PostgreSQL and its standby": Pair,
    "a PostgreSQL behind PgBouncer": Pooled,
    "three nodes of Galera": Galera,
}
