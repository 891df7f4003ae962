"""A question to pcc by way of the running Postfix, which proves that it really answers.

The question is about a mail without a login, which pcc answers with DUNNO before it looks at any
database: nothing is recorded.  It takes the way of smtpd(8)'s questions, through the socket of
master(8) to spawn(8), the service user, the interpreter, the script and its configuration; an
answer proves them all.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from pcc.doctor import Fault, fail, named_check, warn
from pcc.escaping import escaped

PATIENCE_SECONDS = 10
"""As long as Postfix waits, where it is configured as in the snippet."""

LONGEST_ANSWER = 1000

QUESTION = b"""\
request=smtpd_access_policy
protocol_state=DATA
protocol_name=ESMTP
client_address=127.0.0.1
client_name=localhost
sender=
instance=doctor

"""

ANSWER = b"action=DUNNO\n\n"


class Running(NamedTuple):
    """The Postfix to be asked through.

    `places`: where its smtpd(8) services look for us (`unix:PATH` or `inet:HOST:PORT`), and what
    check_policy_service calls us for that.  `command`: how to call postfix(1) for it.  `log`: where
    it logs.  `patience`: how many seconds to wait for the whole answer.
    """

    places: Mapping[str, str]
    queue_directory: str
    command: str
    log: str
    patience: float = PATIENCE_SECONDS


@named_check("answer through Postfix")
def check_answer(running: Running) -> Iterator[Fault]:
    """Check that pcc answers through Postfix, within the time that Postfix waits."""
    if os.geteuid() != 0:
        yield warn("run this as root: only then can pcc be asked through Postfix's socket")
        return
    if not _is_running(running.queue_directory):
        yield warn(
            f"`{running.command} start`, and run this again: Postfix is not running, so pcc could"
            " not be asked through it"
        )
        return
    for place, endpoint in running.places.items():
        yield from _faults_at(place, endpoint, running)


def _faults_at(place: str, endpoint: str, running: Running) -> Iterator[Fault]:
    try:
        answer = _ask(place, running.patience)
    except (FileNotFoundError, ConnectionRefusedError):
        where = f" ({place})" if place != endpoint and os.path.isabs(endpoint[5:]) else ""
        yield fail(f"`{running.command} reload`: Postfix does not listen on {endpoint}{where} yet")
    except TimeoutError:
        yield fail(
            f"look for spawn and pcc in {running.log}, mend what they say and `{running.command}"
            f" reload`: pcc gave no answer within {running.patience} s"
        )
    except socket.gaierror:
        yield warn(f"name an address in place of the host in {endpoint}, for it to be asked")
    except OSError as error:
        yield fail(f"look at {endpoint}: it can't be asked: {error.strerror or error}")
    else:
        text = answer.decode("utf-8", "replace").strip()
        if text.startswith("action=") and answer != ANSWER:
            yield fail(f"find out what is at {endpoint}: it is not pcc, and said {_end(text)}")
        elif not text:
            yield fail(
                f"look for spawn and pcc in {running.log}, mend what they say and"
                f" `{running.command} reload`: Postfix starts pcc, which ends without an answer"
            )
        elif answer != ANSWER:  # of the interpreter's, before pcc could keep it from the socket
            yield fail(f"mend this, which Postfix reads in place of an answer: {_end(text)}")


def _end(text: str) -> str:
    return escaped(text.splitlines()[-1][-300:])


def _is_running(queue_directory: str) -> bool:
    """Whether the master(8) that wrote its process id there still runs."""
    try:
        with open(os.path.join(queue_directory, "pid", "master.pid")) as file:
            process = int(file.read(100))
        os.kill(process, 0)
    except (OSError, ValueError):
        return False
    try:
        with open(f"/proc/{process}/stat") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        # Not one that has got the number since, nor one that has ended.
        return name == "master" and not rest.startswith(" Z")
    except OSError:
        return True


def _ask(place: str, patience: float) -> bytes:
    """Return what was answered, b"" for nothing.  Raises OSError, for one TimeoutError."""
    deadline = time.monotonic() + patience
    family = socket.AF_UNIX
    kind, _, rest = place.partition(":")
    address: str | tuple[str, int] = rest
    if kind != "unix":
        host, _, port = rest.rpartition(":")
        # It raises OSError for a name: asking DNS could take long.
        flags = socket.AI_NUMERICHOST
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=flags)
        family = found[0][0]
        address = str(found[0][4][0]), int(found[0][4][1])
    answer = b""
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        connection.connect(address)
        with suppress(BrokenPipeError):  # a process that ends at once may have said why
            connection.sendall(QUESTION)
        while not answer.endswith(b"\n\n") and len(answer) < LONGEST_ANSWER:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            data = b""
            with suppress(ConnectionResetError):
                data = connection.recv(LONGEST_ANSWER)
            if not data:
                break
            answer += data
    return answer
