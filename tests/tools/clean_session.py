"""One session of a clean system's Postfix; clean_debian.py runs it inside, by its Python.

    clean_session.py JSON            pairs of account and client address, a mail for each
    clean_session.py JSON booted     where systemd runs, and has started Postfix

It's in namespaces of its own, which end with it.  It brings the loopback interface up, is the
system's log, and starts Postfix.  It logs in and sends, asks `doctor` and `replay`, and waits
until all mail and a notice (where something was refused) are in root's mailbox.  Then it stops
Postfix.  Where systemd runs that has done the first three.  The last line of its output is JSON of
what happened.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from smtp import send

SET_FLAGS, UP_AND_RUNNING = 0x8914, 0x41  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING: netdevice(7)
MAILBOX = Path("/var/mail/root")


def main(mails: list[tuple[str, str]], *, booted: bool) -> None:
    log: list[str] = []
    if not booted:
        raise_loopback()
        log = listen_to_log()
        subprocess.run(["postfix", "start"], check=True, stdout=sys.stderr)
    answers = [answer(account, client_address) for account, client_address in mails]
    passed = sum(code < 400 for _, _, code, _ in answers)
    wait_for_mails(passed + (passed < len(answers)))
    result = {
        "answers": answers,
        "doctor": admin("doctor"),
        "replay": admin("replay", "/var/log/mail.log"),
        "mailbox": mailbox(),
        "log": journal() if booted else log,
    }
    if not booted:
        subprocess.run(["postfix", "stop"], check=True, stdout=sys.stderr)
    print(json.dumps(result))


def raise_loopback() -> None:
    """Bring up the loopback interface, which is down in a new network namespace."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", UP_AND_RUNNING))


def listen_to_log() -> list[str]:
    """Be the system's log; return the list to which its lines are added."""
    lines: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/dev/log")
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind("/dev/log")
    os.chmod("/dev/log", 0o666)

    def listen() -> None:
        while True:
            lines.append(receiver.recv(65536).decode(errors="replace"))

    threading.Thread(target=listen, daemon=True).start()
    return lines


def journal() -> list[str]:
    """The lines about pcc in systemd's log."""
    command = ["journalctl", "--no-pager", "--identifier=pcc"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def answer(account: str, client_address: str) -> tuple[str, str, int, str]:
    """Send one mail; return whose and whence it was, and the code and text of the answer."""
    reply = send(
        587,
        account,
        client_address,
        sender=account,
        recipients=["root@localhost"],
        password="secret",
    )
    return account, client_address, reply.code, reply.text


def admin(*arguments: str) -> Any:
    """The output of a command with --json, or its complaint if it prints nothing."""
    done = subprocess.run(
        ["pcc_admin.py", "--json", *arguments], capture_output=True, text=True, check=False
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        return f"{done.returncode}: {done.stderr}"


def mailbox() -> str:
    try:
        return MAILBOX.read_text()
    except FileNotFoundError:
        return ""


def wait_for_mails(count: int) -> None:
    """Wait up to 20 s; who reads the mailbox sees if some are missing."""
    deadline = time.monotonic() + 20
    while mailbox().count("\nSubject: ") < count and time.monotonic() < deadline:
        time.sleep(0.1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), booted=sys.argv[2:] == ["booted"])
