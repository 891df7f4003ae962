"""Private database servers from Debian's packages, on sockets of their own.

Each is started once per test session, when the first test asks for it, and stopped by its process
id.  It lies below session_folder(), and runs as the unprivileged user of its package.
`PCC_REQUIRE_SERVERS=1` makes failures of the tests that would be skipped without them.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from deployment import public_folder

PASSWORD = "s3cret@:/?%word"
"""The password of the user `secret`, with all characters that mean something in a URL."""

_numbers = itertools.count(1)


class Server(ABC):
    """A server process with its folder."""

    scheme: str
    user: str
    package: str
    start_seconds = 30

    def __init__(self, name: str = "") -> None:
        self.port = free_port()
        self.folder = public_folder(name or self.scheme)
        self.process: subprocess.Popen[bytes] | None = None
        shutil.chown(self.folder, self.user)
        self._make_certificate()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_user()
            )
        deadline = time.monotonic() + self.start_seconds
        while not self.answers():
            told = (self.folder / "server.log").read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server with a signal, and wait for its end."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(self.start_seconds)
            self.process = None

    def pause(self) -> None:
        """Suspend all its processes."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """Go on after pause()."""
        self._signal_all(signal.SIGCONT)

    @abstractmethod
    def command(self) -> list[str]:
        """Return the server's command line."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server takes connections."""

    def _make_certificate(self) -> None:
        """Make a certificate for localhost, which vouches for itself."""
        words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "ca.pem"]
        self._run("openssl", *words.split(), *names)
        (self.folder / "key.pem").chmod(0o600)

    def _as_user(self) -> dict[str, Any]:
        account = pwd.getpwnam(self.user)
        return {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": [],
            "cwd": self.folder,
            "env": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.folder)},
        }

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, **self._as_user()
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _signal_all(self, number: int) -> None:
        assert self.process is not None
        pids = [self.process.pid]
        for pid in pids:  # the parent first, so that it starts no others meanwhile
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(pid, number)
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                pids += [int(child) for child in children]


class DatabaseServer(Server):
    """A server of databases; `url()` is where they are."""

    def __init__(self, name: str = "", *, is_durable: bool = False, connections: int = 120) -> None:
        """Make a new server; only a durable one waits for the disk."""
        self.is_durable = is_durable
        self.connections = connections
        super().__init__(name)
        self.data = self.folder / "data"

    def new_database(self) -> str:
        """Return the URL of a database that is not there before, for its owner."""
        name = f"pcc{next(_numbers)}"
        self.create(name)
        return self.url(name)

    @abstractmethod
    def create(self, name: str) -> None:
        """Create a database."""

    @abstractmethod
    def url(self, name: str, user: str = "pcc") -> str:
        """Return the URL of a database."""

    @abstractmethod
    def execute(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        """Carry out a statement as the server's administrator."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def postgresql_programs() -> str:
    """Return the folder of the newest PostgreSQL's programs, "" where there is none."""
    return max(glob.glob("/usr/lib/postgresql/*/bin"), default="")


class PostgreSQL(DatabaseServer):
    """PostgreSQL; the user `secret` needs a password, all others none."""

    scheme = "postgresql"
    user = "postgres"
    package = "postgresql"

    def __init__(
        self,
        source: PostgreSQL | None = None,
        *,
        is_durable: bool = False,
        connections: int = 120,
    ) -> None:
        """Make a new server, or a hot standby of `source`."""
        folder = "standby" if source else ""
        super().__init__(folder, is_durable=is_durable, connections=connections)
        programs = postgresql_programs()
        if source:
            self.follow(source)
            return
        new = ["-D", str(self.data), "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"]
        self._run(f"{programs}/initdb", *new, "--no-locale", "--no-instructions")
        (self.data / "pg_hba.conf").write_text(
            "local all secret scram-sha-256\nlocal all all trust\nlocal replication all trust\n"
            "host all secret 127.0.0.1/32 scram-sha-256\n"
        )
        self.start()
        self.execute("CREATE ROLE pcc LOGIN")
        self.execute(f"CREATE ROLE secret LOGIN PASSWORD '{PASSWORD}' IN ROLE pcc")

    def follow(self, source: PostgreSQL) -> None:
        """Start as a hot standby of another server, with a new copy of what that has."""
        shutil.rmtree(self.data, ignore_errors=True)
        name = ["-h", str(source.folder), "-p", str(source.port), "-U", "postgres"]
        copy = [f"{postgresql_programs()}/pg_basebackup", "-D", str(self.data), "-R", "-c", "fast"]
        self._run(*copy, *name)
        self.start()

    def command(self) -> list[str]:
        """Return the server's command line."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "ssl": "on",
            "ssl_cert_file": str(self.folder / "ca.pem"),
            "ssl_key_file": str(self.folder / "key.pem"),
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if self.is_durable else "off",
            "shared_buffers": "64MB",
            "max_connections": str(self.connections),
            "logging_collector": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [f"{postgresql_programs()}/postgres", "-D", str(self.data), *options]

    def answers(self) -> bool:
        """Whether the server takes connections."""
        import psycopg2

        try:
            self.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def create(self, name: str) -> None:
        """Create a database that belongs to pcc."""
        self.execute(f"CREATE DATABASE {name} OWNER pcc")

    def url(self, name: str, user: str = "pcc") -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@/{name}?host={self.folder}&port={self.port}"

    def execute(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        """Carry out a statement as the server's administrator."""
        import psycopg2

        connection = psycopg2.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database or "postgres"
        )
        connection.autocommit = True
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


class MariaDB(DatabaseServer):
    """MariaDB; the user `secret` needs a password, `pcc` none."""

    scheme = "mysql"
    user = "mysql"
    package = "mariadb-server"

    def __init__(
        self, *, is_durable: bool = False, connections: int = 120, has_data: bool = True
    ) -> None:
        """Make a new server, or one that gets all it has from others (`has_data`)."""
        super().__init__(is_durable=is_durable, connections=connections)
        self.socket = str(self.folder / "socket")
        if not has_data:
            self.data.mkdir()
            shutil.chown(self.data, self.user)
            self.start()
            return
        new = ["--no-defaults", f"--datadir={self.data}", "--skip-test-db"]
        self._run(
            "mariadb-install-db", *new, "--auth-root-authentication-method=normal", "--skip-log-bin"
        )
        self.start()
        self.execute("CREATE USER pcc@localhost")
        for host in ("localhost", "127.0.0.1"):
            self.execute(f"CREATE USER secret@'{host}' IDENTIFIED BY '{PASSWORD}'")

    def command(self) -> list[str]:
        """Return the server's command line."""
        return [
            *("/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.data}"),
            *(f"--socket={self.socket}", f"--pid-file={self.folder}/pid", "--skip-name-resolve"),
            *("--bind-address=127.0.0.1", f"--port={self.port}"),
            *(f"--ssl-cert={self.folder}/ca.pem", f"--ssl-key={self.folder}/key.pem"),
            f"--innodb-flush-log-at-trx-commit={1 if self.is_durable else 2}",
            "--innodb-buffer-pool-size=64M",
            *(f"--max-connections={self.connections}", "--innodb-use-native-aio=0"),
        ]

    def answers(self) -> bool:
        """Whether the server takes connections."""
        import pymysql

        try:
            self.execute("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True

    def create(self, name: str) -> None:
        """Create a database in which pcc may do all that it needs."""
        self.execute(f"CREATE DATABASE {name}")
        for user in ("pcc@localhost", "secret@localhost", "secret@'127.0.0.1'"):
            self.execute(f"GRANT ALL ON {name}.* TO {user}")

    def url(self, name: str, user: str = "pcc") -> str:
        """Return the URL of a database."""
        return f"mysql://{user}@/{name}?unix_socket={self.socket}"

    def connection(self, database: str = "") -> Any:
        """Return a connection of the server's administrator."""
        import pymysql

        return pymysql.connect(
            unix_socket=self.socket, user="root", database=database or None, autocommit=True
        )

    def execute(self, statement: str, database: str = "") -> list[tuple[Any, ...]]:
        """Carry out a statement as the server's administrator."""
        with self.connection(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


def missing(server: type[DatabaseServer]) -> str:
    """Return why a server can't be started here, "" where it can."""
    if os.geteuid() != 0:
        return "needs root"
    programs = {"postgresql": postgresql_programs(), "mysql": shutil.which("mariadb-install-db")}
    if not programs[server.scheme]:
        return f"{server.package} is not installed"
    try:
        if server.scheme == "mysql":
            import pymysql  # noqa: F401
        else:
            import psycopg2  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


KINDS: dict[str, type[DatabaseServer]] = {"postgresql": PostgreSQL, "mysql": MariaDB}

_started: dict[str, DatabaseServer] = {}


def require(reason: str) -> None:
    """Skip the test for this reason, if there is one; fail it where CI has installed all."""
    if reason:
        assert not os.environ.get("PCC_REQUIRE_SERVERS"), reason
        pytest.skip(reason)


def running(scheme: str) -> DatabaseServer:
    """Return the session's server of this kind, or skip the test where there can be none."""
    require(missing(KINDS[scheme]))
    if scheme not in _started:
        _started[scheme] = KINDS[scheme]()
    return _started[scheme]


def stop_all() -> None:
    """Stop the session's servers."""
    for server in _started.values():
        server.stop(signal.SIGINT if isinstance(server, PostgreSQL) else signal.SIGTERM)
