"""Postfix's configuration as postconf(1) prints it.

All expanding of `$name` and `-o` is left to postconf(1): a service's values are
asked for with its own overrides.  A value is a list of words, separated by blanks
and commas; `{ }` holds together what belongs together.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pcc.config.checks import UNITS
from pcc.errors import PccError

LISTS_AT_RCPT = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
)
"""Restriction lists that are gone through before the queue id is known."""

LISTS = (*LISTS_AT_RCPT, "smtpd_data_restrictions", "smtpd_end_of_data_restrictions")

PARAMETERS = (
    *LISTS,
    "compatibility_level",
    "smtpd_authorized_xclient_hosts",
    "smtpd_delay_reject",
    "smtpd_policy_service_default_action",
    "smtpd_policy_service_timeout",
    "smtpd_proxy_filter",
    "smtpd_restriction_classes",
    "smtpd_sasl_auth_enable",
    "smtpd_upstream_proxy_protocol",
    "soft_bounce",
)

POSTCONF_SECONDS = 20
"""It waits for ever where a map or main.cf is a FIFO."""


class Entry(NamedTuple):
    """A service in master.cf; `words` follow the command's name."""

    name: str
    type: str
    private: str
    unprivileged: str
    chroot: str
    wakeup: str
    max_processes: str
    command: str
    words: tuple[str, ...]
    overrides: Mapping[str, str]


class Service(NamedTuple):
    """An smtpd(8) service: its name in master.cf, and its own values of PARAMETERS.

    `classes` are its restriction classes.  `chroot`: whether it runs in the queue directory.
    """

    name: str
    values: Mapping[str, str]
    classes: Mapping[str, str]
    chroot: bool = False

    def is_on(self, parameter: str) -> bool:
        """Whether a boolean parameter is set; smtpd(8) takes `yes` in any case."""
        return self.values[parameter].lower() == "yes"


class Postconf:
    """postconf(1) for one Postfix instance.  All methods raise PccError.

    `patience`: seconds to wait for it.
    """

    def __init__(self, config_directory: str = "", patience: float = POSTCONF_SECONDS) -> None:
        self._patience = patience
        self.directory = config_directory or os.environ.get("MAIL_CONFIG", "")

    def entries(self) -> list[Entry]:
        """Return the services of master.cf."""
        overrides: dict[str, dict[str, str]] = {}
        for name, value in _assignments(self._run("-P")):
            service, _, parameter = name.rpartition("/")
            overrides.setdefault(service, {})[parameter] = value
        return [entry(line, overrides) for line in self._run("-M").splitlines()]

    def values(self, names: Sequence[str], overrides: Mapping[str, str]) -> dict[str, str]:
        """Return the expanded values of parameters, "" for unknown ones."""
        options = [word for name, value in overrides.items() for word in ("-o", f"{name}={value}")]
        found = dict(_assignments(self._run("-x", *options, *names)))
        return {name: found.get(name, "") for name in names}

    def settings(self) -> dict[str, str]:
        """Return what main.cf says, as it is written there."""
        return dict(_assignments(self._run("-n")))

    def service(self, entry: Entry) -> Service:
        """Return an smtpd(8) service with its own values."""
        values = self.values(PARAMETERS, entry.overrides)
        names = words_of(values["smtpd_restriction_classes"])
        classes = self.values(names, entry.overrides) if names else {}
        level = values["compatibility_level"].partition(".")[0]
        by_default = not (level.isdigit() and int(level) >= 1)
        return Service(
            entry.name, values, classes, entry.chroot == "y" or (entry.chroot == "-" and by_default)
        )

    def map_results(self, name: str) -> list[str]:
        """Return the right-hand sides of a map, `type:table`, that postmap(1) can list."""
        lines = self._run("-s", name, tool="postmap").splitlines()
        return [line.partition("\t")[2] for line in lines]

    def _run(self, *arguments: str, tool: str = "postconf") -> str:
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
        program = shutil.which(tool, path=path)
        if program is None:
            raise PccError(f"{tool}(1) was not found")
        where = ["-c", self.directory] if self.directory else []
        try:
            done = subprocess.run(
                [program, *where, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._patience,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PccError(f"{tool}(1): {error}") from None
        if done.returncode:
            raise PccError((done.stderr.strip().splitlines() or [f"{tool}(1) failed"])[-1])
        return done.stdout


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name.strip(), value.strip()


def entry(line: str, overrides: Mapping[str, Mapping[str, str]]) -> Entry:
    """Return the service that a line of `postconf -M` describes."""
    name, kind, *columns = words_of(line)
    private, unprivileged, chroot, wakeup, max_processes, command, *words = columns
    return Entry(
        name,
        kind,
        private,
        unprivileged,
        chroot,
        wakeup,
        max_processes,
        command,
        tuple(bare(word) for word in words),
        overrides.get(f"{name}/{kind}", {}),
    )


def words_of(text: str) -> list[str]:
    """Return the words of a list, `{ }` with what is inside as part of one word."""
    words, word, depth = [], "", 0
    for character in text:
        if character in ", \t\r\n" and not depth:
            if word:
                words.append(word)
            word = ""
            continue
        depth += {"{": 1, "}": -1 if depth else 0}.get(character, 0)
        word += character
    return [*words, word] if word else words


def bare(word: str) -> str:
    """Return what is inside the braces of a word, or the word where it has none."""
    return word[1:-1].strip() if word.startswith("{") and word.endswith("}") else word


def seconds(text: str) -> int:
    """Return the seconds of a Postfix time, of which they are the unit where it has none.

    0 for what is no time.
    """
    number = text.strip().rstrip("".join(UNITS))
    unit = text.strip()[len(number) :] or "s"
    return int(number) * UNITS.get(unit, 0) if number.isascii() and number.isdigit() else 0
