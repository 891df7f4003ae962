"""Postfix's queue: what is in it, and postsuper(1) and postqueue(1) to deal with what is on hold.

The tools are those of the Postfix instance in a configuration directory, by default that of the
environment's MAIL_CONFIG, or the usual one; postconf(1) says where they are.  Looking works for
every user in authorized_mailq_users; changes need root.  Queue ids are re-used, so a caller
compares the mail with what was remembered of it (pcc/postfix/heldmail.py) just before it acts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from pcc.errors import QueueError

HOLD = "hold"
_PATIENCE_SECONDS = 600
"""For one run of a tool; a queue of a hundred thousand mails takes a few seconds."""

_BATCH = 500
"""Mails that postcat(1) reads in one run: their ids must fit on a command line."""

_QUEUE_ID = re.compile(r"[0-9A-Za-z]{6,}")  # never "ALL", and never an option
_DONE = re.compile(r"^postsuper: ([0-9A-Za-z]+): (?:removed|released from hold)$", re.MULTILINE)
_ENVELOPE = re.compile(r"^\*\*\* ENVELOPE RECORDS (?:.*/)?([0-9A-Za-z]+) \*\*\*$")
_ATTRIBUTE = re.compile(r"named_attribute: (sasl_username|client_address)=(.*)")


class QueuedMail(NamedTuple):
    """One mail in the queue, as `postqueue -j` prints it.

    `arrived`: UTC seconds, whole ones, when the client said MAIL FROM.  `sender`: quoted as in
    RFC 5322, the null sender as empty_address_recipient.  `size`: bytes.
    """

    queue_name: str
    queue_id: str
    arrived: int
    size: int
    sender: str
    recipients: tuple[str, ...]


class Submission(NamedTuple):
    """The submission of a mail, as Postfix heard of it; "" for what its queue file lacks."""

    sasl_username: str = ""
    client_address: str = ""


class Done(NamedTuple):
    """Which mails postsuper(1) says it has touched, and why it gave up, if it did."""

    queue_ids: set[str]
    error: str


class Names(NamedTuple):
    """The parameters with which Postfix completes addresses."""

    empty_address_recipient: str
    mydomain: str
    myorigin: str


class Queue:
    """The queue of one Postfix instance.  All methods raise QueueError."""

    def __init__(self, config_directory: str = "") -> None:
        self._environment = dict(os.environ)
        # cron's PATH has no sbin, where postconf usually is.
        path = os.environ.get("PATH", os.defpath)
        self._environment["PATH"] = f"{path}:/usr/local/sbin:/usr/sbin:/sbin"
        if config_directory:
            self._environment["MAIL_CONFIG"] = os.path.abspath(config_directory)

    def mails(self) -> list[QueuedMail]:
        """Return what is in the queue; a mail that moves meanwhile may be missing, or there twice.

        A mail that is still being received is not there.
        """
        done = self._run("postqueue", ["-j"])
        if done.returncode:
            raise QueueError(f"the queue can't be read: {_last_line(done.stderr)}")
        try:
            return [
                QueuedMail(
                    entry["queue_name"],
                    entry["queue_id"],
                    int(entry["arrival_time"]),
                    int(entry["message_size"]),
                    entry["sender"],
                    tuple(recipient["address"] for recipient in entry["recipients"]),
                )
                for entry in map(json.loads, done.stdout.splitlines())
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise QueueError(f"the queue can't be read: postqueue -j: {error!r}") from None

    @cached_property
    def names(self) -> Names:
        """The parameters with which Postfix completes addresses."""
        values = self._parameters(*Names._fields)
        if values[-1].startswith("/"):  # a file whose first line is the value, as on Debian
            try:
                with open(values[-1], encoding="utf-8", errors="replace") as file:
                    values[-1] = file.readline().strip()
            except OSError as error:
                raise QueueError(f"myorigin: {values[-1]}: {error.strerror}") from None
        return Names(*values)

    def submissions(self, queue_ids: Sequence[str]) -> dict[str, Submission]:
        """Return what each queue file says, of those that can be read."""
        found: dict[str, Submission] = {}
        for start in range(0, len(queue_ids), _BATCH):
            self._read_submissions(queue_ids[start : start + _BATCH], found)
        return found

    def subject(self, queue_id: str) -> str | None:
        """Return the decoded subject of a mail, None for one that has none or can't be read."""
        from email import message_from_string  # expensive
        from email.errors import HeaderParseError
        from email.header import decode_header, make_header

        done = self._run("postcat", ["-qh", _checked(queue_id)])
        value = message_from_string(done.stdout)["Subject"]
        if value is None:
            return None
        text = " ".join(str(value).split())
        try:
            return str(make_header(decode_header(text)))
        except (HeaderParseError, LookupError, ValueError):
            return text  # a sender's own idea of an encoding

    def delete(self, queue_ids: Iterable[str]) -> Done:
        """Delete mails that are on hold."""
        return self._supervise("-d", queue_ids)

    def release(self, queue_ids: Iterable[str]) -> Done:
        """Move mails from hold to the deferred queue."""
        return self._supervise("-H", queue_ids)

    def deliver(self, queue_ids: Iterable[str]) -> None:
        """Deliver deferred mails now; without this they wait for the next queue run."""
        for queue_id in queue_ids:
            done = self._run("postqueue", ["-i", _checked(queue_id)])
            if done.returncode:
                raise QueueError(
                    f"what was released waits for the next queue run: {_last_line(done.stderr)}"
                )

    def _supervise(self, option: str, queue_ids: Iterable[str]) -> Done:
        lines = "".join(f"{_checked(queue_id)}\n" for queue_id in queue_ids)
        done = self._run("postsuper", [option, "-", HOLD], lines)
        error = f"the queue can't be changed: {_last_line(done.stderr)}" if done.returncode else ""
        return Done(set(_DONE.findall(done.stderr)), error)

    def _read_submissions(self, queue_ids: Sequence[str], found: dict[str, Submission]) -> None:
        done = self._run("postcat", ["-qe", *map(_checked, queue_ids)])
        if done.returncode and len(queue_ids) > 1:  # one has gone: postcat stops at it
            middle = len(queue_ids) // 2
            self._read_submissions(queue_ids[:middle], found)
            self._read_submissions(queue_ids[middle:], found)
            return
        queue_id = ""
        for line in done.stdout.split("\n"):
            begins = _ENVELOPE.match(line)
            if begins:
                queue_id = begins[1]
                found[queue_id] = Submission()
            elif attribute := _ATTRIBUTE.match(line):
                found[queue_id] = found[queue_id]._replace(**{attribute[1]: attribute[2]})

    @cached_property
    def _folder(self) -> str:
        return self._parameters("command_directory")[0]

    def _parameters(self, *names: str) -> list[str]:
        postconf = shutil.which("postconf", path=self._environment["PATH"])
        if not postconf:
            raise QueueError("postconf was found neither in PATH nor in /usr/sbin: no Postfix here")
        done = self._start([postconf, "-xh", *names])
        values = done.stdout.splitlines()
        if done.returncode or len(values) != len(names):
            raise QueueError(f"Postfix can't be asked: {_last_line(done.stderr)}")
        return values

    def _run(
        self, tool: str, arguments: list[str], text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return self._start([os.path.join(self._folder, tool), *arguments], text)

    def _start(self, command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                env=self._environment,
                input=text,
                capture_output=True,
                encoding="utf-8",
                errors="backslashreplace",
                timeout=_PATIENCE_SECONDS,
                check=False,
            )
        except OSError as error:
            raise QueueError(f"{command[0]}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise QueueError(
                f"{command[0]}: did not end within {_PATIENCE_SECONDS} seconds"
            ) from None


def _checked(queue_id: str) -> str:
    if not _QUEUE_ID.fullmatch(queue_id):
        raise QueueError(f"not a queue id: {queue_id!r}")
    return queue_id


def _last_line(text: str) -> str:
    """Return what a tool said last, which is why it gave up."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it did not say why"
