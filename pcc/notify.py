"""Sends what is in the outbox, by mail and to the operator's own command.

A row of the outbox is one notice on one channel.  It is taken, sent outside of
any transaction and then removed, so that several processes can do this at once
and one that is killed loses nothing: after a while another sends it again.  Of
those that policy processes start only one at a time does, see pcc/notifier.py.
What fails stays, with growing pauses; one channel does not wait for the other.

    mail      sendmail(1), with the message on stdin, or SMTP
    command   notify.command, with the incident as JSON on stdin

Everything has a time limit.  The policy process never imports this.
"""

from __future__ import annotations

import json
import os
import smtplib
import socket
import subprocess
import threading
import time
from typing import IO, TYPE_CHECKING, NamedTuple

from pcc import maillog, notice
from pcc.errors import NoticeError
from pcc.escaping import escaped
from pcc.notifier import SUFFIX, Turn
from pcc.origins import Origins
from pcc.store import incidents, outbox

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

    from pcc.config import Config
    from pcc.evidence import Origin
    from pcc.store.incidents import SightingRow
    from pcc.store.interface import Database
    from pcc.store.outbox import OutboxRow

SENDING_SECONDS = 30
"""How long sending one notice on one channel may take."""

FIRST_PAUSE = 60
"""Seconds until a notice that failed once is due again; doubled with every further failure."""

LOG_SECONDS = 3600
"""How often the log is told that the same notice still fails."""

_LONGEST_ANSWER = 200  # characters of what a program or server says

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _TimeLimitError(NoticeError):
    """Sending took too long; whatever else goes the same way probably would, too."""


class _Delivery(NamedTuple):
    """What became of a notice that did not fail as a whole.

    `reached`: whether somebody got it now.  `error`: whom it did not reach and why, or "".
    `again`: who of them may get it later.
    """

    reached: bool = True
    error: str = ""
    again: tuple[str, ...] = ()


def send_outbox(
    config: Config,
    database: Database,
    *,
    account: str = "",
    seconds: float = SENDING_SECONDS,
) -> tuple[int, list[str]]:
    """Send what waits in the outbox; return how many were sent, and a sentence per failure.

    With `account` only notices about that account.  `seconds` is the most that one sending may
    take.  After one that took longer its channel is left alone.  Raises StoreError.
    """
    with _Sending(config, database, account=account, seconds=seconds) as sending:
        sending.go_through()
    return sending.sent, sending.failures


def send_due(
    config: Config, database: Database, *, seconds: float = SENDING_SECONDS
) -> tuple[int, list[str]]:
    """Send what waits but what failed lately, unless another process does just that.

    Else as send_outbox().
    """
    with _Sending(config, database, only_due=True, seconds=seconds) as sending:
        try:
            turn = Turn(config.state_path)
            turn.inherit()
        except OSError as error:  # each notice is sent once even so
            maillog.error(f"{config.state_path}{SUFFIX}: {error.strerror}")
            sending.go_through()
        else:
            _take_turns(turn, sending)
    return sending.sent, sending.failures


def _take_turns(turn: Turn, sending: _Sending) -> None:
    """Send while there is something to send and nobody else does.

    A policy process that found the turn taken relies on the look after it was given back.
    """
    try:
        while turn.take():
            sending.go_through()
            turn.give_back()
            if not sending.is_more():
                break
    finally:
        turn.close()


class _Sending:
    """The sending of what is in the outbox, as far as `account` and `only_due` allow.

    `sent`: how many were.  `failures`: a sentence for each that was not.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        *,
        account: str = "",
        only_due: bool = False,
        seconds: float,
    ) -> None:
        self.sent = 0
        self.failures: list[str] = []
        self._config = config
        self._database = database
        self._account = account
        self._only_due = only_due
        self._seconds = seconds
        self._hanging: set[str] = set()  # the channels that took too long
        self._origins: Origins | None = None
        maillog.open_log(config.log_name)

    def __enter__(self) -> _Sending:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._origins is not None:
            self._origins.close()

    def go_through(self) -> None:
        """Try to send each notice once."""
        after = 0
        while row := outbox.take(
            self._database,
            after,
            time.time(),
            account=self._account,
            only_due=self._only_due,
            without=self._hanging,
        ):
            after = row.id
            self._try(row)

    def is_more(self) -> bool:
        """Whether there is something to go through the outbox again for."""
        found = outbox.first(
            self._database,
            0,
            time.time(),
            account=self._account,
            only_due=self._only_due,
            without=self._hanging,
        )
        return found is not None

    def _try(self, row: OutboxRow) -> None:
        database = self._database
        try:
            delivery = self._send(row)
        except NoticeError as error:
            self.failures.append(_failed(database, row, str(error)))
            if isinstance(error, _TimeLimitError):
                self._hanging.add(row.channel)
            return
        if delivery is None:
            outbox.remove(database, row)
            return
        if delivery.reached:
            self.sent += 1
            maillog.notice_sent(row.incident, row.channel)
        if delivery.error:
            self.failures.append(_failed(database, row, delivery.error, delivery.again))
        else:
            outbox.remove(database, row)

    def _send(self, row: OutboxRow) -> _Delivery | None:
        """Send one notice; return None if there is nothing to tell, or nobody, any more.

        Raises NoticeError when nobody got it.
        """
        config, seconds = self._config, self._seconds
        told = self._notice(row)
        if told is None:
            return None
        if row.channel == "command":
            return _run_command(config, told, seconds) if config.notify.command else None
        left = row.recipients.split()
        recipients = [address for address in config.notify.to if not left or address in left]
        if not recipients:
            return None
        host = _host_name()
        message = notice.as_mail(told, config, host, config.notify.to, time.time())
        if config.notify.transport == "smtp":
            return _send_by_smtp(config, host, message, recipients, bool(left), seconds)
        return _send_by_sendmail(config, message, recipients, seconds)

    def _notice(self, row: OutboxRow) -> notice.Notice | None:
        """Return what there is to tell, None if the incident has been forgotten."""
        database = self._database
        incident = incidents.incident(database, row.incident)
        if incident is None:
            return None
        sightings, count = outbox.evidence(database, incident, notice.MOST_SIGHTINGS)
        detail = json.loads(row.detail)
        return notice.Notice(
            row.what,
            row.created,
            incident,
            sightings,
            count,
            str(detail.get("by") or "pcc"),
            str(detail.get("reason") or ""),
            int(detail.get("released") or 0),
            int(detail.get("deleted") or 0),
            outbox.seen_earlier(database, incident),
            self._origins_of(sightings),
        )

    def _origins_of(self, sightings: Sequence[SightingRow]) -> dict[str, Origin]:
        if self._origins is None:
            config = self._config
            self._origins = Origins(config.country_database, config.country_asn, maillog.error)
        return self._origins.find([seen.address for seen in sightings])


def _failed(
    database: Database, row: OutboxRow, error: str, again: tuple[str, ...] | None = None
) -> str:
    """Mark a notice as failed, for some recipients or for all; return the sentence for people."""
    now = time.time()
    told = f"notice {row.id} ({row.what}, incident {row.incident}) by {row.channel}: {error}"
    before = row.next_try - _pause(row.tries)  # when it failed last
    if not row.tries or (now - row.created) // LOG_SECONDS > (before - row.created) // LOG_SECONDS:
        maillog.error(told)
    if again is None or again:
        next_try = now + _pause(row.tries + 1)
        recipients = row.recipients if again is None else " ".join(again)
        outbox.mark_failed(database, row, error, next_try, recipients)
    else:
        outbox.remove(database, row)  # others got it, and the rest never will
    return told


def _pause(tries: int) -> int:
    """Return the seconds between a notice's last failure and the next try."""
    return min(outbox.LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries - 1, 10)) if tries else 0


def _run_command(config: Config, told: notice.Notice, seconds: float) -> _Delivery:
    text = json.dumps(notice.as_data(told)) + "\n"
    _run(config.notify.command, text.encode(), seconds, _service_user(config))
    return _Delivery()


def _send_by_sendmail(
    config: Config, message: EmailMessage, recipients: Sequence[str], seconds: float
) -> _Delivery:
    # -i: a line with a single dot does not end the message.
    program = (config.notify.sendmail, "-i", "-f", message["From"], "--", *recipients)
    _run(program, message.as_bytes(), seconds, _service_user(config))
    return _Delivery()


def _service_user(config: Config) -> tuple[int, int] | None:
    """Return as whom root starts programs, user and group: whom the state folder belongs to.

    Raises NoticeError where there is none, as root's rights are for no such program.
    """
    if os.geteuid() != 0:
        return None
    folder = os.path.dirname(config.state_path)
    try:
        owner = os.stat(folder)
    except OSError as error:
        raise NoticeError(f"{folder}: {error.strerror}") from None
    return owner.st_uid, owner.st_gid


def _run(
    program: Sequence[str], text: bytes, seconds: float, rights: tuple[int, int] | None
) -> None:
    """Run a program with `text` on its stdin; raise NoticeError unless it ends with status 0.

    `rights`: the user and the only group it gets, None for the caller's own.

    At the time limit all that it has started is killed with it.
    """
    name = escaped(program[0])
    with os.fdopen(os.memfd_create("notice"), "w+b") as stdin:  # unlike a pipe it never makes wait
        stdin.write(text)
        stdin.seek(0)
        try:
            process = subprocess.Popen(
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
        except OSError as error:
            raise NoticeError(f"{name} can't be run: {error.strerror}") from None
    assert process.stderr is not None
    complaint = _FirstLine(process.stderr)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise _TimeLimitError(f"{name} took longer than {seconds:g} seconds") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
            process.wait()
    if status:
        how = f"ended with status {status}" if status > 0 else f"was killed by signal {-status}"
        raise NoticeError(f"{name} {how}{complaint.text()}")


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


def _send_by_smtp(
    config: Config,
    host: str,
    message: EmailMessage,
    recipients: Sequence[str],
    is_rest: bool,
    seconds: float,
) -> _Delivery:
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
            raise _TimeLimitError(f"{place} took longer than {seconds:g} seconds") from None
        raise NoticeError(f"{place}: {_smtp_error(error)}") from None
    if not refused:
        return _Delivery()
    answers = [f"{address}: {_answer(*answer)}" for address, answer in refused.items()]
    complaint = f"{place} refused {'; '.join(answers)}"
    reached = len(refused) < len(recipients)
    if not reached and not is_rest:
        raise NoticeError(complaint)
    again = [address for address, (code, _) in refused.items() if code < 500]
    return _Delivery(reached, complaint, tuple(again))


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
        self._expect(220, *self._smtp.connect(server, port))
        self._limit()
        self._smtp.ehlo_or_helo_if_needed()

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


def _host_name() -> str:
    """Return this host's name, with its domain if it knows that."""
    name = socket.gethostname()
    if "." in name:
        return name
    full = socket.getfqdn(name)
    return full if "." in full and not full.startswith("localhost") else name
