"""The forms in which logs hold a line of Postfix, apart from the plain ones of syslog.

    [FILE:][NAME | ][TIME [stdout F ]][<22>][mail.info ]DATE [mail.info ][HOST ]NAME[PID]: MESSAGE
    <22>1 TIME HOST NAME/smtpd PID MSGID DATA MESSAGE
    {"MESSAGE": ..., "__REALTIME_TIMESTAMP": ..., "SYSLOG_IDENTIFIER": ...}
    {"log": ..., "time": ...}

The first form is that of docker compose and `docker logs -t`, CRI, syslogd of FreeBSD and BusyBox,
programs that put a level in front, journalctl's short-full, short-unix and with-unit.  FILE is
grep's.  The others are RFC 5424, journalctl's json, and Docker's json-file and its like.  If
several times stand in front, the first one counts.  All that may stand before MESSAGE is named
here, because what others chose must not pass for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc.replay.logclock import DATE

if TYPE_CHECKING:
    from pcc.replay.logclock import Date, LogClock

_LEVEL = (
    rb"(?:<\d{1,3}>(?:1 )?|<?(?:mail|user|daemon|syslog|local\d)\.[a-z]+>? "
    rb"|\[?(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR)\]?:?[ \t]+(?:- )?)?"
)
_FRONT = re.compile(
    rb"(?:\S+:(?=[A-Z][a-z][a-z] [ \d]\d |\d{4}-\d\d-\d\d[T ]))?"  # grep
    rb"(?:\S+ +\| )?"  # docker compose
    rb"(?:(\d{4}-\d\d-\d\dT\d\d:\d)(\d:\d\d)([.,]\d+)?(Z|[+-]\d\d:?\d\d) "  # docker logs -t, CRI
    rb"(?:std(?:out|err) [FP] )?)?"
    + _LEVEL
    + rb"(?:[A-Z][a-z][a-z] (\d{4}-\d\d-\d\d \d\d:\d)(\d:\d\d)(\.\d+)? "  # journalctl's short-full
    rb"([A-Z]{3,5}|[+-]\d\d(?:\d\d)?) |" + DATE + rb"|(\d{9,10}(?:\.\d+)?) )?" + _LEVEL
)
_PROGRAM = re.compile(
    rb"(?:(\S*[^\s:]) )?" + _LEVEL + rb"(?:(\S*?)(?:\[\d+\])?:[ \t]+(?:\[ID \d+ \S+\] )?"
    rb"|(\S+) (?:\d+|-) \S+ (?:-|(?:\[(?:[^\]\\]|\\.)*\])+) (?:\xef\xbb\xbf)? ?)"  # RFC 5424
)
_SMTPD = re.compile(r"/usr/(?:\S+/)?smtpd(?: \(deleted\))?")
_PROGRAM_KEYS = ("appname", "programname", "ident")  # Vector, rsyslog, Fluentd
_SYSTEM_USER = re.compile(r"[0-9]{1,3}")
_UNIT = re.compile(r"postfix[^/]*\.service")


class Entry(NamedTuple):
    """A line of the log.

    `time`: UTC seconds, or the date as it is written.  `message`: empty if not smtpd wrote it.
    `is_forgeable`: whether any local user may have written it, by the trusted fields of a journal.
    """

    time: Date | float
    host: bytes
    message: bytes
    is_forgeable: bool = False


def entry(line: bytes) -> Entry | None:
    """Return what a line of another form holds, None where no form fits."""
    data = _data(line)
    if data is not None:
        return _of_journal(data) if "MESSAGE" in data else _of_container(data)
    front = _FRONT.match(line)
    when = _when(front) if front else None
    program = _PROGRAM.match(line, front.end()) if front else None
    if when is None or program is None:
        return None
    name = (program[2] or program[3] or b"").decode("ascii", "replace")
    is_smtpd = name.endswith("smtpd") or _UNIT.fullmatch(name)
    return Entry(when, program[1] or b"", line[program.end() :] if is_smtpd else b"")


def date(line: bytes) -> Date | float | None:
    """Return the date with which a line of any form begins."""
    data = _data(line)
    if data is not None:
        found = _of_journal(data) if "MESSAGE" in data else _of_container(data)
        return found.time if found else None
    front = _FRONT.match(line)
    return _when(front) if front else None


def seconds(time: Date | float, clock: LogClock) -> float:
    """Return the UTC seconds of an entry's time; raises ValueError where it can't be."""
    if not isinstance(time, float):
        return clock.time(*time)
    if not 0 < time <= clock.limit:
        raise ValueError(time)
    return time


def _when(front: re.Match[bytes]) -> Date | float | None:
    if front[13]:
        return float(front[13])
    for number in (1, 5, 9):
        begun, rest, fraction, zone = front.group(number, number + 1, number + 2, number + 3)
        if begun:
            return begun, rest, fraction, b"Z" if zone in (b"UTC", b"GMT") else zone
    return None


def _data(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line of JSON, as a file, a stream or journalctl -o json-sse has it."""
    line = line.removeprefix(b"data: ").lstrip(b"\x1e")
    if not line.startswith(b"{"):
        return None
    import json

    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _of_journal(data: dict[str, Any]) -> Entry | None:
    try:
        time = int(data["__REALTIME_TIMESTAMP"]) / 1e6
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    is_smtpd = str(data.get("SYSLOG_IDENTIFIER", "")).endswith("smtpd")
    message = _bytes(str(data["MESSAGE"])) if is_smtpd else b""
    host = _bytes(str(data.get("_HOSTNAME", "")))
    user, path, unit = (data.get(name) for name in ("_UID", "_EXE", "_SYSTEMD_UNIT"))
    is_postfix = (
        # pipe(8) and local(8) run users' programs in the same unit; people have IDs from 1000 on.
        _SYSTEM_USER.fullmatch(str(user))
        and _SMTPD.fullmatch(str(path))
        and _UNIT.fullmatch(str(unit))
    )
    return Entry(time, host, message, not is_postfix)


def _of_container(data: dict[str, Any]) -> Entry | None:
    text = next((data[key] for key in ("log", "message", "msg") if key in data), None)
    time = next((data[key] for key in ("time", "@timestamp", "timestamp") if key in data), None)
    if not isinstance(text, str):
        return None
    line = _bytes(text.rstrip("\n"))
    program = next((data[key] for key in _PROGRAM_KEYS if key in data), None)
    if isinstance(program, str):  # the text is the message alone
        line = _bytes(program) + b": " + line
    if isinstance(time, str):
        line = _bytes(time) + b" " + line
    return None if line.startswith(b"{") else entry(line)


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "backslashreplace")
