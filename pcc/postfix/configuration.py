"""Postfix's configuration as postconf(1) tells it, and its restriction lists taken apart.

All expanding of `$name` and `-o` is left to postconf(1): a service's values are
asked for with its own overrides.  Lists are read as smtpd(8) reads them: words
parted by blanks and commas, `{ }` holding what belongs together.
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
    "smtpd_delay_reject",
    "smtpd_policy_service_default_action",
    "smtpd_policy_service_timeout",
    "smtpd_proxy_filter",
    "smtpd_restriction_classes",
    "smtpd_sasl_auth_enable",
)

POSTCONF_SECONDS = 20
"""It waits for ever where a map or main.cf is a FIFO."""

CHECK = "check_policy_service"
WARN_IF_REJECT = "warn_if_reject"
ENDS = frozenset(("permit", "permit_sasl_authenticated", "reject", "defer"))
"""What ends a list for every client that has logged in."""

ENDS_FOR_SOME = frozenset(
    (
        "permit_mynetworks",
        "permit_inet_interfaces",
        "permit_tls_clientcerts",
        "permit_tls_all_clientcerts",
        "permit_auth_destination",
        "permit_mx_backup",
        "permit_naked_ip_address",
    )
)
"""What ends a list for some of them."""


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

    `classes` are its restriction classes.
    """

    name: str
    values: Mapping[str, str]
    classes: Mapping[str, str]


class PolicyCheck(NamedTuple):
    """A check_policy_service in a list of a service.

    `text`: as it's written.  `hidden_by`: what ends the list before it, for
    `some` clients or for all of them; "" if nothing does.
    """

    list: str
    text: str
    endpoint: str
    options: Mapping[str, str]
    hidden_by: str
    some: bool


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
        return Service(entry.name, values, classes)

    def _run(self, *arguments: str) -> str:
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
        program = shutil.which("postconf", path=path)
        if program is None:
            raise PccError("postconf(1) was not found")
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
            raise PccError(f"postconf(1): {error}") from None
        if done.returncode:
            raise PccError((done.stderr.strip().splitlines() or ["postconf(1) failed"])[-1])
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


def policy_checks(service: Service) -> list[PolicyCheck]:
    """Return every check_policy_service in the lists of a service."""
    return [check for name in LISTS for check in _checks_in(name, service)]


def _checks_in(name: str, service: Service) -> Iterator[PolicyCheck]:
    hidden_by, some = "", False
    words = iter(_expanded(words_of(service.values[name]), service.classes))
    before = ""
    for word in words:
        if word == CHECK:
            text = next(words, "")
            warned = before == WARN_IF_REJECT
            endpoint, options = _taken_apart(text)
            yield PolicyCheck(
                name,
                text,
                endpoint,
                options,
                WARN_IF_REJECT if warned else hidden_by,
                some and not warned,
            )
        elif word in ENDS and before != WARN_IF_REJECT and (some or not hidden_by):
            hidden_by, some = word, False
        elif word in ENDS_FOR_SOME and not hidden_by:
            hidden_by, some = word, True
        before = word


def _expanded(words: Sequence[str], classes: Mapping[str, str], depth: int = 0) -> Iterator[str]:
    """Put what restriction classes stand for in their places."""
    for word in words:
        if word in classes and depth < 10:
            yield from _expanded(words_of(classes[word]), classes, depth + 1)
        else:
            yield word


def _taken_apart(text: str) -> tuple[str, dict[str, str]]:
    """Return the endpoint of a policy service, and the options that it is given in braces."""
    if not text.startswith("{"):
        return text, {}
    endpoint, *options = words_of(bare(text)) or [""]
    pairs = [bare(option).partition("=") for option in options]
    return endpoint, {name.strip(): bare(value.strip()) for name, _, value in pairs}


def seconds(text: str) -> int:
    """Return the seconds of a Postfix time, of which they are the unit where it has none.

    0 for what is no time.
    """
    number = text.strip().rstrip("".join(UNITS))
    unit = text.strip()[len(number) :] or "s"
    return int(number) * UNITS.get(unit, 0) if number.isascii() and number.isdigit() else 0
