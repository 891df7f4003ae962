"""Checks of our entry in master.cf, and of what it runs."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pcc.config import DEFAULT_PATH
from pcc.doctor import Fault, fail, named_check, warn
from pcc.invocation import shell_word
from pcc.postfix.configuration import Entry, seconds

SCRIPT = "pcc_policy.py"
DEFAULT_NAME = "pcc"
TIME_LIMIT = "3600"
"""Seconds, as the snippet has it."""


class Argv(NamedTuple):
    """The command of an entry of spawn(8); empty where it is missing."""

    user: str
    interpreter: Sequence[str]  # with its options
    script: str
    config: str


class Installed(NamedTuple):
    """The names that the entry should have: script, configuration and service user."""

    script: str
    config: str
    user: str


def find_entry(entries: Sequence[Entry]) -> Entry | None:
    """Return the entry that runs our script, or failing that is called as ours should be."""
    for is_ours in (
        lambda entry: any(os.path.basename(word) == SCRIPT for word in entry.words),
        lambda entry: entry.command == "spawn" and entry.name == DEFAULT_NAME,
    ):
        for entry in entries:
            if is_ours(entry):
                return entry
    return None


def argv_of(entry: Entry | None) -> Argv:
    """Return what an entry runs, and as whom."""
    words = list(entry.words) if entry else []
    user = next((word.partition("=")[2] for word in words if word.startswith("user=")), "")
    starts = [number for number, word in enumerate(words) if word.startswith("argv=")]
    if not starts:
        return Argv(user, (), "", "")
    argv = [words[starts[0]].partition("=")[2], *words[starts[0] + 1 :]]
    place = next((n for n, word in enumerate(argv) if os.path.basename(word) == SCRIPT), len(argv))
    script = argv[place] if place < len(argv) else ""
    config = DEFAULT_PATH
    options = argv[place + 1 :]
    for number, word in enumerate(options):
        if word in ("-c", "--config"):
            config = options[number + 1] if number + 1 < len(options) else ""
        elif word.startswith("--config="):
            config = word.partition("=")[2]
    return Argv(user, argv[:place], script, config)


@named_check("master.cf entry")
def check_entry(entry: Entry | None, installed: Installed) -> Iterator[Fault]:
    """Check the entry in master.cf."""
    if entry is None:
        yield fail(f"add the entry of master.cf.snippet, which runs {SCRIPT}, to master.cf")
        return
    name = entry.name
    if entry.command != "spawn":
        yield fail(f"write spawn as the command of {name} in master.cf, not {entry.command}")
    if entry.type == "inet":
        yield warn(f"make {name} in master.cf a unix service: anybody who reaches its port can ask")
    elif entry.private == "n":
        yield fail(f"make {name} in master.cf private: its third column must not be n")
    if entry.unprivileged != "n":
        yield fail(f"put n into the fourth column of {name} in master.cf: spawn(8) starts as root")
    if entry.chroot != "n":
        fault = warn if entry.chroot == "-" else fail  # its default has changed over time
        yield fault(f"put n into the fifth column (chroot) of {name} in master.cf")
    if entry.max_processes == "-":
        yield warn(
            f"put 0 into the seventh column (maxproc) of {name} in master.cf: its default is"
            " less than the connections of several busy services"
        )
    elif entry.max_processes != "0":
        yield fail(
            f"put 0 into the seventh column (maxproc) of {name} in master.cf: with"
            f" {entry.max_processes} further clients are answered with 451"
        )
    yield from _argv_faults(argv_of(entry), installed)


def _argv_faults(argv: Argv, installed: Installed) -> Iterator[Fault]:
    user, _, group = argv.user.partition(":")
    if user != installed.user:
        yield fail(
            f"write user={installed.user} in master.cf, not user={user}: spawn(8) must run pcc as"
            " the owner of the state folder"
        )
    try:
        if group:
            grp.getgrnam(group)
    except KeyError:
        yield fail(f"write user={user} in master.cf: there is no group {group}")
    if not argv.script:
        yield fail(f"name {installed.script} in argv= in master.cf: it names no {SCRIPT}")
    elif not os.path.isabs(argv.script) or not os.path.isfile(argv.script):
        yield fail(f"name {installed.script} in argv= in master.cf: there is no {argv.script}")
    elif os.path.realpath(argv.script) != os.path.realpath(installed.script):
        yield warn(f"master.cf runs {argv.script}: run the doctor that is beside it")
    if argv.script and not (argv.interpreter and os.path.isabs(argv.interpreter[0])):
        yield warn(f"name an interpreter, with its whole path, before {SCRIPT} in master.cf")
    if argv.config and os.path.realpath(argv.config) != os.path.realpath(installed.config):
        command = f"pcc_admin.py -c {shell_word(argv.config)} doctor"
        yield warn(f"master.cf uses {argv.config}: run `{command}`")


@named_check("time limit")
def check_time_limit(name: str, limit: str, longest_connection: str) -> Iterator[Fault]:
    """Check how long spawn(8) lets a process live: longer than smtpd(8) keeps a connection."""
    if seconds(limit) <= seconds(longest_connection):
        yield warn(f"set {name}_time_limit = {TIME_LIMIT} in main.cf: after {limit} it is killed")
