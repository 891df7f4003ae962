"""Delivery: to sendmail(1), to a command and to an SMTP server; a hanging one is left alone.

Programs are small shell scripts; the real sendmail and a real SMTP server are a private Postfix's.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from deployment import Deployment, deploy, public_folder, service_user
from notices import (
    USER,
    Place,
    insert_incident,
    renumbered,
)
from postfix import PrivatePostfix, wait_until

from pcc.config.prepared import load
from pcc.notice import delivery
from pcc.notice.notifier import Turn
from pcc.store import blocks, incidents, open_database

started = pytest.mark.subprocess


@started
def test_sendmail_gets_a_mail_for_all_recipients_at_once(place: Place) -> None:
    place.configure(to=["postmaster", "alice@example.org"])
    os.environ["SECRET"] = "1"
    place.notice()
    assert place.send() == (1, [])
    assert place.waiting() == []
    (message,) = place.received()
    assert message["To"] == "postmaster, alice@example.org"
    assert str(message["Subject"]).startswith("[pcc] user@example.org blocked: mail from ES, FR")
    (arguments,) = place.mails.glob("*.arguments")
    assert arguments.read_text().splitlines() == [
        *("-i", "-f", "pcc@example.org", "--", "postmaster", "alice@example.org")
    ]
    (environment,) = place.mails.glob("*.environment")
    names = {line.partition("=")[0] for line in environment.read_text().splitlines()}
    assert names <= {"PATH", "LANG", "TZ", "MAIL_CONFIG", "PWD", "_", "SHLVL", "OLDPWD"}


@started
@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (lambda path: path.unlink(), "can't be run: No such file or directory"),
        (lambda path: path.chmod(0o644), "can't be run: Permission denied"),
        (lambda path: path.write_text("#!/nowhere\n"), "can't be run: No such file or directory"),
    ],
)
def test_program_that_cannot_be_run_is_named_with_the_cause(
    place: Place, broken: Callable[[Path], Any], cause: str
) -> None:
    broken(place.sendmail)
    place.notice()
    (failure,) = place.send()[1]
    expected = f"notice 1 (blocked, incident 1) by mail: {place.sendmail} {cause}"
    assert renumbered(failure) == expected


@started
def test_program_that_fails_is_reported_by_the_last_line_it_said(place: Place) -> None:
    words = "Traceback (most recent call last):\\n  main()\\nOSError: no chat\\n\\n"
    place.program("sendmail", f"yes | head -c 99999 >&2; printf '{words}' >&2; exit 1")
    place.notice()
    (failure,) = place.send()[1]
    assert failure.endswith("/sendmail ended with status 1: OSError: no chat")


@started
def test_program_that_hangs_is_killed_with_its_children(
    place: Place,
) -> None:
    place.program("sendmail", f'sleep 97 & echo "$!" >{place.folder}/child; wait')
    place.program("command", place.recording)
    place.configure(command=[str(place.folder / "command")])
    for _ in range(5):
        place.notice(channels=("mail", "command"))
    begin = time.monotonic()
    sent, failures = place.send(seconds=0.5)
    assert time.monotonic() - begin < 3
    assert sent == 5  # the other channel's
    assert [renumbered(failure) for failure in failures] == [
        f"notice 1 (blocked, incident 1) by mail: {place.sendmail} took longer than 0.5 seconds"
    ]
    assert [row[1] for row in place.waiting()] == [1, 0, 0, 0, 0]
    child = int((place.folder / "child").read_text())
    wait_until(lambda: not _runs(child), "end of the child")
    place.program("sendmail", place.recording)
    assert place.send() == (5, [])


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@started
def test_program_that_leaves_a_child_behind_is_not_waited_for(place: Place) -> None:
    place.program("sendmail", f'sleep 30 & echo "$!" >{place.folder}/child')
    place.notice()
    begin = time.monotonic()
    assert place.send() == (1, [])
    assert time.monotonic() - begin < 2
    os.kill(int((place.folder / "child").read_text()), signal.SIGKILL)


@started
def test_command_gets_what_an_unblock_did(place: Place) -> None:
    command = place.program("command", f"cat >{place.folder}/told")
    place.configure(to=[], command=[str(command), "argument"])
    place.incident()
    lifted = incidents.unblock(place.database, USER, "alice", "holiday", 0, time.time())
    assert lifted is not None
    detail: dict[str, object] = {"by": "alice", "reason": "holiday", "released": 3, "deleted": 1}
    incidents.add_unblock_notices(place.database, [(lifted, detail)], ("command",), time.time())
    assert place.send() == (1, [])
    data = json.loads((place.folder / "told").read_text())
    assert {name: data[name] for name in ("what", *detail)} == {"what": "unblocked", **detail}


@started
def test_command_learns_that_a_block_it_failed_to_hear_of_is_over(place: Place) -> None:
    place.configure(to=[], command=[str(place.program("command", "exit 1"))])
    place.notice(channels=("command",), mode="enforce")
    assert place.send()[0] == 0
    lifted = incidents.unblock(place.database, USER, "alice", "", 0, time.time())
    assert lifted is not None
    incidents.add_unblock_notices(place.database, [(lifted, {})], ("command",), time.time())
    place.program("command", f"cat >>{place.folder}/told")
    assert place.send() == (2, [])
    lines = (place.folder / "told").read_text().splitlines()
    data = [json.loads(line) for line in lines]
    assert [(row["what"], row["blocked"]) for row in data] == [
        ("blocked", False),
        ("unblocked", False),
    ]


@started
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("database", ["pcc.db", "postgresql://pcc@db.example.org/pcc"])
def test_program_of_root_runs_as_the_service_user(database: str) -> None:
    place = Place(public_folder("notice"), database)
    user = pwd.getpwnam(service_user())
    for path in (place.folder, place.mails, *place.folder.glob("pcc.db*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    script = f"cat >/dev/null; id -un >>{place.mails}/who; id -Gn >>{place.mails}/groups"
    place.program("sendmail", script)
    place.configure(command=[str(place.program("command", script))])
    place.notice(channels=("mail", "command"))
    assert place.send() == (2, [])
    assert (place.mails / "who").read_text().split() == [user.pw_name] * 2
    group = grp.getgrgid(user.pw_gid).gr_name
    assert (place.mails / "groups").read_text().split() == [group] * 2


def test_server_that_drips_bytes_is_left_alone(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_drip, args=(server,), daemon=True).start()
        command = place.program("command", place.recording)
        place.configure(
            transport="smtp",
            smtp=f"127.0.0.1:{server.getsockname()[1]}",
            command=[str(command)],
        )
        place.notice(channels=("mail", "command"))
        place.notice(channels=("mail", "command"))
        begin = time.monotonic()
        sent, (failure,) = place.send_due(seconds=0.2)
        assert time.monotonic() - begin < 6
    assert sent == 2
    assert failure.endswith(" took longer than 0.2 seconds")
    assert [row[:2] for row in place.waiting()] == [("mail", 1), ("mail", 0)]
    turn = Turn(place.database.name)
    assert turn.take()
    turn.close()


def _drip(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        try:
            while True:
                connection.sendall(b"2")
                time.sleep(0.05)
        except OSError:
            pass  # who was greeted so has gone


REFUSING = (
    "check_recipient_access inline:{ {nobody@example.org = 550 5.1.1 nobody is here},"
    " {later@example.org = 450 4.2.1 come again} }, permit_mynetworks, reject"
)


@pytest.fixture(scope="module")
def mta() -> Iterator[PrivatePostfix]:
    with PrivatePostfix(main={"mua_recipient_restrictions": REFUSING}) as mta:
        yield mta


@pytest.fixture(scope="module")
def deployed() -> Deployment:
    return deploy()


def recipients(mta: PrivatePostfix, count: int) -> list[str]:
    """The recipients of a notice; the Maildir is emptied."""
    messages = mta.wait_for_delivered(count)
    mta.forget_delivered()
    return sorted(str(message["X-Original-To"]) for message in messages)


@pytest.mark.postfix
def test_sendmail_of_the_service_user_also_takes_mail_while_postfix_is_down(
    mta: PrivatePostfix, deployed: Deployment
) -> None:
    deployed.write_config(
        '[notify]\nto = ["postmaster", "alice@example.net"]\n[store]\ndatabase = "state/pcc.db"\n'
        '[country]\ndatabase = "state/country.mmdb"\n'
    )
    (deployed.state / "country.mmdb").touch()
    assert deployed.admin("init").returncode == 0
    account = "jürgen@example.org"
    database = open_database(str(deployed.state / "pcc.db"))
    config = load(str(deployed.config))
    with database:
        number = insert_incident(database, account, {})
        blocks.add_notice(database, number, account, "blocked", ("mail",), time.time())
    database.close()
    assert config.notify.to == ("postmaster", "alice@example.net")
    mta.stop()
    done = mta.run(deployed.admin_argv("--json", "notify"), deployed.user)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"sent": 1, "failed": 0}), done.stderr
    mta.start()
    messages = mta.wait_for_delivered(2)
    assert {str(message["Subject"]) for message in messages} == {
        "[pcc] jürgen@example.org blocked: mail from ES, FR, BR, VN within 2d"
    }
    assert {str(message["Auto-Submitted"]) for message in messages} == {"auto-generated"}
    assert "jürgen@example.org is blocked" in messages[0].get_content()
    host = delivery.host_name()
    domain = host if "." in host else "example.org"  # its myorigin
    assert {str(message["From"]) for message in messages} == {f"pcc@{domain}"}
    assert {str(message["Return-Path"]) for message in messages} == {f"<pcc@{domain}>"}
    assert recipients(mta, 2) == ["alice@example.net", "postmaster"]


@pytest.mark.postfix
def test_server_gets_one_mail_for_all_recipients(place: Place, mta: PrivatePostfix) -> None:
    place.configure(
        transport="smtp", smtp=f"127.0.0.1:{mta.submission}", to=["postmaster", "a@example.org"]
    )
    place.notice("jürgen@example.org")
    assert place.send() == (1, [])
    assert recipients(mta, 2) == ["a@example.org", "postmaster"]


@pytest.mark.postfix
def test_recipient_that_is_refused_is_named_and_tried_again_alone(
    place: Place, mta: PrivatePostfix
) -> None:
    server = f"127.0.0.1:{mta.submission}"
    later = "later@example.org: 450 4.2.1 \\x3clater@example.org\\x3e: Recipient address rejected"
    to = ["postmaster", "nobody@example.org", "later@example.org"]
    place.configure(transport="smtp", smtp=server, to=to)
    place.notice()
    sent, (failure,) = place.send()
    assert sent == 1
    assert f"{server} refused nobody@example.org: 550 5.1.1" in failure
    assert later in failure
    assert recipients(mta, 1) == ["postmaster"]
    # One is refused for good and given up.  The other is tried again, alone.
    ((_, tries, error, left),) = place.waiting()
    assert (tries, left) == (1, "later@example.org")
    assert error in failure
    sent, (failure,) = place.send()
    assert (sent, place.waiting()[0][1]) == (0, 2)
    assert later in failure
    assert "nobody" not in failure
    assert not mta.delivered()
    place.configure(transport="smtp", smtp=server, to=["postmaster"])
    assert place.send() == (0, [])
    assert place.waiting() == []


@pytest.mark.postfix
def test_mail_that_reached_nobody_waits(place: Place, mta: PrivatePostfix) -> None:
    server = f"127.0.0.1:{mta.submission}"
    place.configure(transport="smtp", smtp=server, to=["nobody@example.org"])
    place.notice()
    sent, (failure,) = place.send()
    assert sent == 0
    assert "nobody@example.org: 550 5.1.1" in failure
    place.configure(transport="smtp", smtp=server, to=["postmaster"])
    assert place.send() == (1, [])
    assert recipients(mta, 1) == ["postmaster"]


@pytest.mark.parametrize(
    ("spoken", "cause"),
    [
        (None, "Connection refused"),
        (b"554 5.7.1 go\taway \x1b[2J\r\n", "answered 554 5.7.1 go away \\x1b[2J"),
        (b"", "Connection unexpectedly closed"),
    ],
)
def test_server_that_fails_is_named_with_its_answer(
    place: Place, spoken: bytes | None, cause: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if spoken is None:
            server.close()
        else:
            threading.Thread(target=_speak, args=(server, spoken), daemon=True).start()
        place.configure(transport="smtp", smtp=f"127.0.0.1:{port}")
        place.notice()
        sent, (failure,) = place.send()
    assert sent == 0
    expected = f"notice 1 (blocked, incident 1) by mail: 127.0.0.1:{port}: {cause}"
    assert renumbered(failure) == expected


def _speak(server: socket.socket, spoken: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(spoken)
        while len(spoken) > len(TAKES) and connection.recv(4096):
            pass


TAKES = b"220 hello\r\n250 hello\r\n250 from\r\n250 to\r\n"


@pytest.mark.parametrize("is_rest", [False, True])
def test_server_that_leaves_amid_the_recipients_is_asked_again(place: Place, is_rest: bool) -> None:
    to = ["a@example.org", "b@example.org", "c@example.org"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        spoken = TAKES + b"421 4.3.2 closing\r\n"
        threading.Thread(target=_speak, args=(server, spoken), daemon=True).start()
        place.configure(transport="smtp", smtp=f"127.0.0.1:{server.getsockname()[1]}", to=to)
        place.notice()
        if is_rest:
            with place.database:
                place.database.write("UPDATE outbox SET recipients = ?", (" ".join(to),))
        sent, (failure,) = place.send()
    assert sent == 0
    assert "b@example.org: 421 4.3.2 closing" in failure
    assert [row[3] for row in place.waiting()] == [" ".join(to) if is_rest else ""]


def test_server_that_hangs_after_it_took_a_mail_has_it(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        spoken = TAKES + b"354 go on\r\n250 taken\r\n"  # and no answer to QUIT
        threading.Thread(target=_speak, args=(server, spoken), daemon=True).start()
        place.configure(transport="smtp", smtp=f"127.0.0.1:{server.getsockname()[1]}")
        place.notice()
        assert place.send(seconds=0.5) == (1, [])
    assert place.waiting() == []


def test_server_that_hangs_is_left_after_the_time_limit(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place.configure(transport="smtp", smtp=f"127.0.0.1:{server.getsockname()[1]}")
        place.notice()
        place.notice("other@example.org")
        begin = time.monotonic()
        sent, failures = place.send(seconds=0.3)
        assert time.monotonic() - begin < 2
    assert sent == 0
    assert [failure.partition(" took")[2] for failure in failures] == [" longer than 0.3 seconds"]
    assert [row[1] for row in place.waiting()] == [1, 0]


HANGING_NAMES = """\
import fcntl, pathlib, socket, struct, sys
from pcc.notice import outbox as notify
from notices import Place

ifreq = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(names, 0x8914, ifreq)  # SIOCSIFFLAGS
names.bind(("127.0.0.1", 53))  # where nobody answers
notify.HANGING_SECONDS = 9
place = Place(pathlib.Path(sys.argv[1]))
command = place.program("command", place.recording)
place.configure(transport="smtp", smtp="mail.example.org:25", command=[str(command)])
for _ in range(2):
    place.notice(channels=("mail", "command"))
print(*place.send(seconds=0.5))
"""


@pytest.mark.subprocess
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network of its own")
def test_name_service_that_hangs_keeps_no_other_notice_back(tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:2\n")
    (tmp_path / "place").mkdir()
    script = f'mount --bind {resolver} /etc/resolv.conf && exec "$@"'
    done = subprocess.run(
        [
            *("unshare", "--mount", "--net", "sh", "-c", script, "sh"),
            *(sys.executable, "-c", HANGING_NAMES, str(tmp_path / "place")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests/tools"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=30,
    )
    if "unshare failed" in done.stdout or "permission denied" in done.stdout:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout
    assert renumbered(done.stdout).endswith(
        "2 ['notice 1 (blocked, incident 1) by mail: mail.example.org:25 took longer than"
        " 0.5 seconds']\n"
    )
