"""Hands one notice over: to a program on its stdin, or to an SMTP server.

    sendmail(1)       the mail, for all its recipients
    notify.command    the incident as JSON
    SMTP              the mail, and which recipients the server takes

Everything has a time limit, at which all that was started is killed.  As root, programs are run
with the rights of the service user.  All functions raise NoticeError when nobody got the notice.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import smtplib
import socket
import subprocess
import threading
import time
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from pcc.errors import NoticeError
from pcc.escaping import escaped
from pcc.host.serviceuser import service_user

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from email.message import EmailMessage

    from pcc.config import Config

Answer = TypeVar("Answer")

_LONGEST_ANSWER = 200  # characters of what a program or server says

NAME_SECONDS = 3
"""How long to wait for the domain of this host."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class TimeLimitError(NoticeError):
    """Sending took too long; whatever else goes the same way probably would, too."""


class Delivery(NamedTuple):
    """What became of a notice that did not fail as a whole.

    `reached`: whether somebody got it now.  `error`: whom it did not reach and why, or "".
    `again`: who of them may get it later.
    """

    reached: bool = True
    error: str = ""
    again: tuple[str, ...] = ()


def by_command(config: Config, data: dict[str, Any], seconds: float) -> Delivery:
    """Run notify.command with these data as JSON."""
    text = json.dumps(data) + "\n"
    _run(config.notify.command, text.encode(), seconds, _rights(config))
    return Delivery()


def by_sendmail(
    config: Config, message: EmailMessage, recipients: Sequence[str], seconds: float
) -> Delivery:
    """Give a mail to sendmail(1) for all recipients."""
    # -i: a line with a single dot does not end the message.
    program = (config.notify.sendmail, "-i", "-f", message["From"], "--", *recipients)
    _run(program, message.as_bytes(), seconds, _rights(config))
    return Delivery()


def _rights(config: Config) -> tuple[int, int] | None:
    """Return as whom root starts programs, user and group, None where we are not root.

    Raises NoticeError where there is none, as root's rights are for no such program.
    """
    if os.geteuid() != 0:
        return None
    try:
        return service_user(config.state_path)
    except OSError as error:
        folder = os.path.dirname(config.state_path)
        raise NoticeError(f"{folder}: {error.strerror}") from None


def _run(
    program: Sequence[str], text: bytes, seconds: float, rights: tuple[int, int] | None
) -> None:
    """Run a program with `text` on its stdin; raise NoticeError unless it ends with status 0.

    At the time limit all that it has started is killed with it.
    """
    name = escaped(program[0])
    try:
        process = _started(program, text, rights)
    except OSError as error:
        raise NoticeError(f"{name} can't be run: {error.strerror}") from None
    assert process.stderr is not None
    complaint = _FirstLine(process.stderr)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise TimeLimitError(f"{name} took longer than {seconds:g} seconds") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
            process.wait()
    if status:
        how = f"ended with status {status}" if status > 0 else f"was killed by signal {-status}"
        raise NoticeError(f"{name} {how}{complaint.text()}")


def _started(
    program: Sequence[str], text: bytes, rights: tuple[int, int] | None
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own.  Raises OSError.

    `rights`: the user and the only group it gets, None for the caller's own.
    """
    with os.fdopen(os.memfd_create("notice"), "w+b") as stdin:  # unlike a pipe it never makes wait
        stdin.write(text)
        stdin.seek(0)
        return subprocess.Popen(
            program,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            user=rights[0] if rights else None,
            group=rights[1] if rights else None,
            extra_groups=[] if rights else None,
        )


def _environment() -> dict[str, str]:
    """Return what a child gets of our environment, which may be spawn(8)'s or a person's."""
    kept = {name: os.environ[name] for name in ("MAIL_CONFIG", "TZ") if name in os.environ}
    return {"PATH": PATH, "LANG": "C.UTF-8", **kept}


class _FirstLine:
    """The first line of a child's stderr; the rest is read and dropped, so that it never waits."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._start = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream as stream:
            while chunk := os.read(stream.fileno(), 4096):
                if len(self._start) < 4096:
                    self._start += chunk

    def text(self) -> str:
        """Return the line after ": ", or "" where nothing was said."""
        self._thread.join(1)  # a child of the child may have the stream still
        lines = self._start.decode("utf-8", "replace").strip().splitlines()
        return f": {escaped(lines[0][:_LONGEST_ANSWER])}" if lines else ""


def by_smtp(
    config: Config,
    host: str,
    message: EmailMessage,
    recipients: Sequence[str],
    is_rest: bool,
    seconds: float,
) -> Delivery:
    """Send a mail to those of the recipients that the server takes.

    `is_rest`: others have it already, so that who is refused for good is given up.
    """
    server, port = config.notify.smtp
    place = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
    deadline = time.monotonic() + seconds
    try:
        with _SmtpClient(host, deadline) as client:
            client.open(server, port)
            refused = client.deliver(message, recipients)
    except (smtplib.SMTPException, OSError) as error:
        if time.monotonic() >= deadline:
            raise TimeLimitError(f"{place} took longer than {seconds:g} seconds") from None
        raise NoticeError(f"{place}: {_smtp_error(error)}") from None
    if not refused:
        return Delivery()
    answers = [f"{address}: {_answer(*answer)}" for address, answer in refused.items()]
    complaint = f"{place} refused {'; '.join(answers)}"
    reached = len(refused) < len(recipients)
    if not reached and not is_rest:
        raise NoticeError(complaint)
    again = [address for address, (code, _) in refused.items() if code < 500]
    return Delivery(reached, complaint, tuple(again))


class _SmtpClient:
    """An SMTP client with one time limit for all that it does: `deadline`, monotonic seconds."""

    def __init__(self, host: str, deadline: float) -> None:
        self._deadline = deadline
        self._smtp = smtplib.SMTP(local_hostname=host, timeout=self._left())

    def __enter__(self) -> _SmtpClient:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._smtp.close()

    def open(self, server: str, port: int) -> None:
        """Connect and greet."""
        self._expect(220, *self._connect(server, port))
        self._limit()
        self._smtp.ehlo_or_helo_if_needed()

    def _connect(self, server: str, port: int) -> tuple[int, bytes]:
        """Connect to the first of the server's addresses that takes it; return its greeting."""
        places = _answer_of_names(
            lambda: socket.getaddrinfo(server, port, type=socket.SOCK_STREAM), self._left()
        )
        *others, last = dict.fromkeys(str(place[4][0]) for place in places)
        for address in others:
            self._smtp.timeout = self._left()
            with contextlib.suppress(OSError):
                return self._smtp.connect(address, port)
        self._smtp.timeout = self._left()
        return self._smtp.connect(last, port)

    def deliver(
        self, message: EmailMessage, recipients: Sequence[str]
    ) -> dict[str, tuple[int, bytes]]:
        """Send a mail; return who was refused, with code and text.

        If all are, nothing is sent.
        """
        self._limit()
        self._expect(250, *self._smtp.mail(message["From"]))
        refused = {}
        for recipient in recipients:
            self._limit()
            code, text = self._smtp.rcpt(recipient)
            if code not in (250, 251):
                refused[recipient] = (code, text)
        if len(refused) < len(recipients):
            self._limit()
            policy = message.policy.clone(linesep="\r\n")
            self._expect(250, *self._smtp.data(message.as_bytes(policy=policy)))
        try:
            self._limit()
            self._smtp.quit()
        except (smtplib.SMTPException, OSError):
            pass  # what was accepted was accepted
        return refused

    @staticmethod
    def _expect(wanted: int, code: int, text: bytes) -> None:
        if code != wanted:
            raise smtplib.SMTPResponseException(code, text)

    def _limit(self) -> None:
        if self._smtp.sock is not None:
            self._smtp.sock.settimeout(self._left())

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _smtp_error(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"answered {_answer(error.smtp_code, error.smtp_error)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return escaped(str(error))


def _answer(code: int, text: bytes | str) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return escaped(f"{code} {' '.join(text.split())[:_LONGEST_ANSWER]}")


@functools.cache
def host_name() -> str:
    """Return this host's name, with its domain if that is known within NAME_SECONDS."""
    name = socket.gethostname()
    if "." in name:
        return name
    try:
        full = _answer_of_names(lambda: socket.getfqdn(name), NAME_SECONDS)
    except TimeoutError:
        return name
    return full if "." in full and not full.startswith("localhost") else name


def _answer_of_names(question: Callable[[], Answer], seconds: float) -> Answer:
    """Return what a name service answers, or raise what the question does.

    TimeoutError when it takes longer: one that hangs can't be interrupted, only left alone.
    """
    answers: list[Answer] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(question())
        except (OSError, ValueError) as error:  # the latter for what can't be a name
            errors.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError
    return answers[0]
