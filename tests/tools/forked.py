"""pcc_admin.py in a process that has imported it already, which takes a fifth of the time.

A server is started for each worker of the tests.  Each command is a fork of it, with arguments,
environment, folder and standard streams of its own; tests of the start itself begin a new
interpreter.
"""

from __future__ import annotations

import json
import os
import pkgutil
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LARGEST_MESSAGE = 1_000_000


def run(argv: list[str], text: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run pcc_admin.py with arguments and what it reads; `timeout` in seconds."""
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(text.encode())
        stdin.seek(0)
        _, server = _server()
        server.settimeout(timeout)
        message = json.dumps([argv, dict(os.environ), os.getcwd()]).encode()
        streams = [stream.fileno() for stream in (stdin, stdout, stderr)]
        socket.send_fds(server, [message], streams)
        status = int(server.recv(100))
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(
            [str(ROOT / "pcc_admin.py"), *argv],
            status,
            stdout.read().decode(),
            stderr.read().decode(),
        )


def end() -> None:
    """End the server, if there is one."""
    if _server.cache_info().currsize:
        process, server = _server()
        server.close()
        process.wait()
        _server.cache_clear()


@cache
def _server() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
    return process, ours


def serve(connection: socket.socket) -> None:
    """Run a command for each message, one at a time, and send back its status."""
    sys.path.insert(0, str(ROOT))
    from pcc.admin import __path__ as folder
    from pcc.admin.program import main

    for module in pkgutil.iter_modules(folder):
        import_module(f"pcc.admin.{module.name}")
    while True:
        message, streams, _, _ = socket.recv_fds(connection, LARGEST_MESSAGE, 3)
        if not message:
            return
        child = os.fork()
        if child == 0:
            connection.close()
            argv, environment, folder_of_test = json.loads(message)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            os.environ.clear()
            os.environ.update(environment)
            time.tzset()
            os.chdir(folder_of_test)
            sys.argv[:] = [str(ROOT / "pcc_admin.py"), *argv]
            sys.exit(main(argv))
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
