"""An SMTP client that says what the server answered at every stage of a mail.

It speaks to a Postfix on the loopback interface.  It claims an account and a client address by
XCLIENT, or proves the account by AUTH PLAIN.  It also sends the recipients of one mail in one
packet, uses BDAT, starts again with RSET, or vanishes in the middle, as decent clients rarely do.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

MESSAGE = "Subject: a test\n\nHello.\n"


class Answer(NamedTuple):
    """One answer of the server: its code, and its text with the lines joined by newlines."""

    code: int
    text: str

    @property
    def good(self) -> bool:
        """Whether the server agreed."""
        return 200 <= self.code < 400


@dataclass
class Reply:
    """The server's answers to one mail; a stage that was never reached is None or missing."""

    mail: Answer
    recipients: list[Answer] = field(default_factory=list)
    data: Answer | None = None
    end: Answer | None = None

    @property
    def accepted(self) -> bool:
        """Whether the server took the mail, for some recipient at least."""
        return self.end is not None and self.end.good

    @property
    def stage(self) -> str:
        """Where the mail failed, as protocol_state: MAIL, RCPT, DATA, END-OF-MESSAGE; or ""."""
        if self.accepted:
            return ""
        if not self.mail.good:
            return "MAIL"
        if not any(answer.good for answer in self.recipients):
            return "RCPT"
        return "END-OF-MESSAGE" if self.end else "DATA"

    @property
    def answer(self) -> Answer:
        """The last answer, which decided."""
        return self.end or self.data or (self.recipients[-1] if self.recipients else self.mail)

    @property
    def code(self) -> int:
        """The code of the answer that decided."""
        return self.answer.code

    @property
    def text(self) -> str:
        """The text of the answer that decided."""
        return self.answer.text

    @property
    def queue_id(self) -> str:
        """The queue id of an accepted mail, or ""."""
        return self.text.rpartition("queued as ")[2] if self.accepted else ""


class Session:
    """One connection to an SMTP server: a context manager that ends it with QUIT."""

    def __init__(self, port: int, *, timeout: float = 30) -> None:
        """Connect and read the greeting; the server may take `timeout` seconds for any answer."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._answers = self._socket.makefile("rb")
        self.answer()
        self.command("EHLO client.example")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._socket.fileno() != -1:
            self.quit()
        self.drop()

    def send(self, data: str | bytes) -> None:
        """Send `data` as it is, and wait for nothing."""
        self._socket.sendall(data.encode() if isinstance(data, str) else data)

    def answer(self) -> Answer:
        """Read one answer; ConnectionError where the server has hung up."""
        lines = []
        while True:
            line = self._answers.readline().decode("utf-8", "replace").rstrip("\r\n")
            if not line:
                raise ConnectionError("the server has closed the connection")
            lines.append(line[4:])
            if line[3:4] != "-":
                return Answer(int(line[:3]), "\n".join(lines))

    def command(self, line: str) -> Answer:
        """Send one command and read the answer."""
        self.send(f"{line}\r\n")
        return self.answer()

    def xclient(
        self, account: str | None, client_address: str, client_name: str | None = None
    ) -> None:
        """Be `account` (None: not logged in) at `client_address`, or "unknown", from now on.

        `client_name` counts as verified; without it the name is "unknown".  Postfix takes
        no value over 255 bytes.
        """
        prefix = "IPV6:" if ":" in client_address else ""
        unknown = client_address == "unknown"
        address = "[UNAVAILABLE]" if unknown else prefix + client_address
        name = xtext(client_name) if client_name else "[UNAVAILABLE]"
        login = xtext(account) if account is not None else "[UNAVAILABLE]"
        self._expect(220, self.command(f"XCLIENT ADDR={address} NAME={name} LOGIN={login}"))
        self.command("EHLO client.example")

    def login(self, account: str, password: str) -> Answer:
        """Log in by AUTH PLAIN; 235 is success."""
        secret = base64.b64encode(f"\0{account}\0{password}".encode()).decode()
        return self.command(f"AUTH PLAIN {secret}")

    def mail(
        self,
        sender: str = "sender@example.org",
        recipients: Sequence[str] = ("recipient@example.net",),
        *,
        message: str = MESSAGE,
        pipelined: bool = False,
        chunked: bool = False,
        options: str = "",
    ) -> Reply:
        """Send one mail, as far as the server lets us.

        `pipelined` sends all up to DATA at once, `chunked` uses BDAT, `options` go behind MAIL
        FROM.  A mail that failed is followed by RSET, so that the next can be sent.
        """
        begin = [f"MAIL FROM:<{sender}>{options}", *(f"RCPT TO:<{to}>" for to in recipients)]
        if not chunked:
            begin.append("DATA")
        answers = self._together(begin) if pipelined else self._in_turn(begin)
        reply = Reply(answers[0], answers[1 : len(recipients) + 1])
        if len(answers) == len(begin) and not chunked:
            reply.data = answers[-1]
        if chunked and any(answer.good for answer in reply.recipients):
            body = _crlf(message)
            self.send(f"BDAT {len(body)} LAST\r\n".encode() + body)
            reply.end = self.answer()
        elif reply.data and reply.data.good:
            reply.end = self.body(message)
        if not reply.accepted:
            self.reset()
        return reply

    def _together(self, lines: Sequence[str]) -> list[Answer]:
        self.send("".join(f"{line}\r\n" for line in lines))
        return [self.answer() for _ in lines]

    def _in_turn(self, lines: Sequence[str]) -> list[Answer]:
        """Stop like a polite client: after a bad MAIL, and before a DATA without recipients."""
        answers: list[Answer] = []
        for line in lines:
            if line == "DATA" and not any(answer.good for answer in answers[1:]):
                break
            answers.append(self.command(line))
            if not answers[0].good:
                break
        return answers

    def body(self, message: str = MESSAGE) -> Answer:
        """Send the message after a good answer to DATA, ended by a dot."""
        lines = _crlf(message).split(b"\r\n")
        stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
        self.send(stuffed + b".\r\n")
        return self.answer()

    def reset(self) -> None:
        """Forget the mail begun."""
        self._expect(250, self.command("RSET"))

    def quit(self) -> None:
        """Say good-bye and close."""
        self.command("QUIT")
        self.drop()

    def drop(self) -> None:
        """Close without a word."""
        self._answers.close()
        self._socket.close()

    @staticmethod
    def _expect(code: int, answer: Answer) -> None:
        if answer.code != code:
            raise ConnectionError(f"expected {code}, got {answer.code} {answer.text}")


def send(
    port: int,
    account: str | None,
    client_address: str = "192.0.2.1",
    *,
    sender: str = "sender@example.org",
    recipients: Sequence[str] = ("recipient@example.net",),
    client_name: str | None = None,
    xclient: bool = True,
    password: str | None = None,
    message: str = MESSAGE,
    pipelined: bool = False,
    chunked: bool = False,
) -> Reply:
    """Send one mail in a session of its own, as `account` at `client_address` by XCLIENT.

    With a `password` the account is proved by AUTH PLAIN instead of claimed by XCLIENT's LOGIN;
    with `xclient` off the client address stays 127.0.0.1.
    """
    with Session(port) as session:
        if xclient:
            session.xclient(None if password is not None else account, client_address, client_name)
        if password is not None:
            answer = session.login(account or "", password)
            if not answer.good:
                raise PermissionError(f"AUTH PLAIN: {answer.code} {answer.text}")
        return session.mail(
            sender, recipients, message=message, pipelined=pipelined, chunked=chunked
        )


def xtext(value: str) -> str:
    """`value` as XCLIENT wants it: RFC 3461 xtext of its UTF-8."""
    plain = (33 <= byte <= 126 and byte not in b"+=" for byte in value.encode())
    return "".join(
        chr(byte) if is_plain else f"+{byte:02X}"
        for byte, is_plain in zip(value.encode(), plain, strict=True)
    )


def _crlf(message: str) -> bytes:
    lines = message.splitlines()
    return "".join(f"{line}\r\n" for line in lines).encode()
