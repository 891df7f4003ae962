"""Hands one notice over: to a program on its stdin, or to an SMTP server.

    sendmail(1)       the mail, for all its recipients
    notify.command    the incident as JSON
    SMTP              the mail, and which recipients the server takes

None of it has a clock of its own: the caller's time limit (pcc/host/timelimit.py) ends it wherever
it hangs, and what it started is killed then.  As root, programs are run with the rights of the
service user.  All functions raise NoticeError when nobody got the notice.
"""

from __future__ import annotations

import functools
import json
import os
import smtplib
import socket
import subprocess
import threading
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
    """Sending took too long; another notice by the same channel probably would as well."""


class Delivery(NamedTuple):
    """The outcome of a notice that did not fail as a whole.

    `reached`: whether somebody got it now.  `error`: whom it did not reach and why, or "".
    `again`: which of them may get it later.
    """

    reached: bool = True
    error: str = ""
    again: tuple[str, ...] = ()


def by_command(config: Config, data: dict[str, Any]) -> Delivery:
    """Run notify.command with these data as JSON."""
    _run(config, config.notify.command, (json.dumps(data) + "\n").encode())
    return Delivery()


def by_mail(
    config: Config,
    host: str,
    message: EmailMessage,
    recipients: Sequence[str],
    *,
    is_rest: bool = False,
) -> Delivery:
    """Send a mail by notify.transport; `is_rest`: others have it already."""
    if config.notify.transport == "smtp":
        return by_smtp(config, host, message, recipients, is_rest)
    return by_sendmail(config, message, recipients)


def by_sendmail(config: Config, message: EmailMessage, recipients: Sequence[str]) -> Delivery:
    """Give a mail to sendmail(1) for all recipients."""
    # -i: a line with a single dot does not end the message.
    program = (config.notify.sendmail, "-i", "-f", message["From"], "--", *recipients)
    _run(config, program, message.as_bytes())
    return Delivery()


def _run(config: Config, program: Sequence[str], text: bytes) -> None:
    """Run a program with `text` on its stdin; raise NoticeError unless it ends with status 0."""
    name = escaped(program[0])
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # root's rights are for no such program
        try:
            user, group = service_user(config.state_path)
        except OSError as error:
            folder = os.path.dirname(config.state_path)
            raise NoticeError(f"{folder}: {error.strerror}") from None
        as_user = {"user": user, "group": group, "extra_groups": []}
    # Our own environment may be spawn(8)'s or a person's.
    kept = {name: os.environ[name] for name in ("MAIL_CONFIG", "TZ") if name in os.environ}
    try:
        with os.fdopen(os.memfd_create("notice"), "w+b") as stdin:  # a pipe would make us wait
            stdin.write(text)
            stdin.seek(0)
            process = subprocess.Popen(
                program,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env={"PATH": PATH, "LANG": "C.UTF-8", **kept},
                start_new_session=True,
                **as_user,
            )
    except OSError as error:
        raise NoticeError(f"{name} can't be run: {error.strerror}") from None
    assert process.stderr is not None
    complaint = _LastLine(process.stderr)
    try:
        status = process.wait()
    except TimeoutError as error:
        raise TimeLimitError(f"{name} {error}") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)  # with all that it has started
            process.wait()
    if status:
        how = f"ended with status {status}" if status > 0 else f"was killed by signal {-status}"
        raise NoticeError(f"{name} {how}{complaint.text()}")


class _LastLine:
    """The last line of a child's stderr; the rest is read and dropped, so that it never waits."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._end = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream as stream:
            while chunk := os.read(stream.fileno(), 4096):
                self._end = (self._end + chunk)[-4096:]

    def text(self) -> str:
        """Return the line after ": ", or "" where nothing was said."""
        self._thread.join(1)  # a child of the child may have the stream still
        lines = self._end.decode("utf-8", "replace").strip().splitlines()
        return f": {escaped(lines[-1][:_LONGEST_ANSWER])}" if lines else ""


def by_smtp(
    config: Config, host: str, message: EmailMessage, recipients: Sequence[str], is_rest: bool
) -> Delivery:
    """Send a mail to those of the recipients that the server takes.

    `is_rest`: others have it already, so a recipient who is refused for good is given up.
    """
    server, port = config.notify.smtp
    place = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
    refused: dict[str, tuple[int, bytes]]
    reached = True
    try:
        # smtplib would ask the name service where nothing can interrupt it.  It does so again,
        # but by now there is an answer.
        _answer_of_names(lambda: socket.getaddrinfo(server, port, type=socket.SOCK_STREAM))
        with smtplib.SMTP(server, port, local_hostname=host) as smtp:
            refused = smtp.send_message(message, to_addrs=recipients)
    except smtplib.SMTPRecipientsRefused as error:
        # A server that goes away in the middle has not been asked about the others.
        refused = {**dict.fromkeys(recipients, (421, b"not asked")), **error.recipients}
        reached = False
    except (smtplib.SMTPException, OSError) as error:
        # smtplib takes the end of our time for a lost connection.
        for cause in (error, error.__context__):
            if isinstance(cause, TimeoutError):
                raise TimeLimitError(f"{place} {cause}") from None
        raise NoticeError(f"{place}: {_smtp_error(error)}") from None
    if not refused:
        return Delivery()
    answers = [f"{address}: {_answer(*answer)}" for address, answer in refused.items()]
    complaint = f"{place} refused {'; '.join(answers)}"
    if not reached and not is_rest:
        raise NoticeError(complaint)
    again = [address for address, (code, _) in refused.items() if code < 500]
    return Delivery(reached, complaint, tuple(again))


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


def _answer_of_names(question: Callable[[], Answer], seconds: float | None = None) -> Answer:
    """Return what a name service answers, or raise what the question does.

    TimeoutError when it takes longer.  Nothing interrupts a name service that hangs, so a thread
    asks, and is left alone.
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
