"""Checks of the delegation to us: the entry in master.cf, and whether submitted mail reaches it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pcc.doctor import Fault, Finding, fail, finding, warn
from pcc.doctor.postfix import LISTS_AT_RCPT, Entry, PolicyCheck, Service, policy_checks, seconds

SCRIPT = "pcc_policy.py"
DEFAULT_NAME = "pcc"
TIMEOUT_SECONDS = 10
"""What the snippet has; a decision takes 8 s at most."""

SHORTEST_TIMEOUT_SECONDS = 9


class Argv(NamedTuple):
    """What an entry of spawn(8) runs; empty where it is missing."""

    user: str
    interpreter: Sequence[str]  # with its options
    script: str
    config: str


class Installed(NamedTuple):
    """What the entry should name: our script, the configuration looked at, the service user."""

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
    return Argv(user, argv[:place], script, _config(argv[place + 1 :]))


def _config(arguments: Sequence[str]) -> str:
    for number, word in enumerate(arguments):
        if word in ("-c", "--config"):
            return arguments[number + 1] if number + 1 < len(arguments) else ""
        if word.startswith("--config="):
            return word.partition("=")[2]
    return "/etc/pcc/pcc.toml"


def check_entry(entry: Entry | None, installed: Installed) -> Finding:
    """Check the entry in master.cf."""
    if entry is None:
        faults = [fail(f"add the entry of master.cf.snippet, which runs {SCRIPT}, to master.cf")]
    else:
        faults = [*_column_faults(entry), *_argv_faults(argv_of(entry), installed)]
    return finding("master.cf entry", faults)


def _column_faults(entry: Entry) -> Iterator[Fault]:
    name = entry.name
    if entry.command != "spawn":
        yield fail(f"let the command of {name} in master.cf be spawn, not {entry.command}")
    if entry.type != "unix":
        yield fail(f"make the type of {name} in master.cf unix, not {entry.type}: anybody can talk")
    if entry.private == "n":
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


def _argv_faults(argv: Argv, installed: Installed) -> Iterator[Fault]:
    user = argv.user.partition(":")[0]
    if user != installed.user:
        yield fail(
            f"write user={installed.user} in master.cf, the owner of the state folder,"
            f" not user={user}"
        )
    if not argv.script:
        yield fail(f"let argv= in master.cf run {installed.script}")
    elif not os.path.isabs(argv.script) or not os.path.isfile(argv.script):
        yield fail(f"let argv= in master.cf run {installed.script}: there is no {argv.script}")
    elif os.path.realpath(argv.script) != os.path.realpath(installed.script):
        yield warn(f"master.cf runs {argv.script}: run the doctor that is beside it")
    if argv.script and not (argv.interpreter and os.path.isabs(argv.interpreter[0])):
        yield warn(f"name an interpreter, with its whole path, before {SCRIPT} in master.cf")
    if argv.config and os.path.realpath(argv.config) != os.path.realpath(installed.config):
        yield warn(f"master.cf uses {argv.config}: run `pcc_admin.py -c {argv.config} doctor`")


def check_time_limit(name: str, limit: str, longest_connection: str) -> Finding:
    """Check how long spawn(8) lets a process live: longer than smtpd(8) keeps a connection."""
    faults = []
    if seconds(limit) <= seconds(longest_connection):
        faults.append(warn(f"set {name}_time_limit = 3600 in main.cf: after {limit} it is killed"))
    return finding("time limit", faults)


def check_services(
    services: Sequence[Service], endpoints: Sequence[str], *, holds: bool
) -> list[Finding]:
    """Check whether what logged-in clients send reaches us, and how we are asked.

    `holds`: whether some policy's action is HOLD.
    """
    ours = {
        service.name: [check for check in policy_checks(service) if check.endpoint in endpoints]
        for service in services
    }
    findings = [
        finding(
            f"policy check on {service.name}",
            _reach_faults(service, ours[service.name], endpoints[0]),
        )
        for service in services
    ]
    if not services:
        fault = fail("set smtpd_sasl_auth_enable = yes for submission in master.cf: nobody logs in")
        findings.append(finding("policy check on submission", [fault]))
    return [
        *findings,
        finding("policy check spelling", _spelling_faults(ours)),
        finding("default_action", _default_action_faults(services, ours)),
        finding("policy timeout", _timeout_faults(services, ours)),
        finding("HOLD", _hold_faults(services, ours) if holds else []),
    ]


def _reach_faults(
    service: Service, checks: Sequence[PolicyCheck], endpoint: str
) -> Iterator[Fault]:
    early = service.values["smtpd_delay_reject"] != "yes"
    checks = [check for check in checks if not (early and check.list in LISTS_AT_RCPT[:2])]
    name = service.name
    if not checks:
        yield fail(
            f"let {name} in master.cf have -o smtpd_data_restrictions=$mua_data_restrictions with"
            f" check_policy_service {endpoint} in it: none of its lists asks pcc"
        )
        return
    if any(not check.hidden_by for check in checks):
        return
    check = next((check for check in checks if check.some), checks[0])
    what = f"put check_policy_service before {check.hidden_by} in the {check.list} of {name}"
    if check.hidden_by == "warn_if_reject":
        yield fail(f"take warn_if_reject away from check_policy_service on {name}")
    elif check.some:
        yield warn(f"{what}, or its clients are never looked at")
    else:
        yield fail(f"{what}, or pcc is never asked")


def _spelling_faults(ours: Mapping[str, Sequence[PolicyCheck]]) -> Iterator[Fault]:
    for name, checks in ours.items():
        if len({check.text for check in checks}) > 1:
            yield warn(
                f"write check_policy_service the same way in all lists of {name}: each spelling"
                " has connections and processes of its own"
            )


def _default_action_faults(
    services: Sequence[Service], ours: Mapping[str, Sequence[PolicyCheck]]
) -> Iterator[Fault]:
    for service in services:
        default = service.values["smtpd_policy_service_default_action"]
        given = all("default_action" in check.options for check in ours[service.name])
        if not given and default.startswith("451 4.3.5"):
            yield warn(
                f"give check_policy_service on {service.name} a default_action, e.g. {{"
                " unix:private/pcc, timeout=10s, default_action=DUNNO }: without one all mail is"
                " answered with 451 while pcc is down"
            )


def _timeout_faults(
    services: Sequence[Service], ours: Mapping[str, Sequence[PolicyCheck]]
) -> Iterator[Fault]:
    for service in services:
        for check in ours[service.name]:
            timeout = check.options.get("timeout", service.values["smtpd_policy_service_timeout"])
            if not SHORTEST_TIMEOUT_SECONDS <= seconds(timeout) <= 3 * TIMEOUT_SECONDS:
                yield warn(
                    f"give check_policy_service on {service.name} timeout={TIMEOUT_SECONDS}s, not"
                    f" {timeout}: a verdict takes 8 s at most"
                )
                break


def _hold_faults(
    services: Sequence[Service], ours: Mapping[str, Sequence[PolicyCheck]]
) -> Iterator[Fault]:
    for service in services:
        if service.values["smtpd_proxy_filter"]:
            yield fail(
                f"use REJECT, or a content_filter in place of smtpd_proxy_filter on {service.name}:"
                " behind that HOLD lets the mail pass"
            )
        checks = [check for check in ours[service.name] if not check.hidden_by or check.some]
        if checks and all(check.list in LISTS_AT_RCPT for check in checks):
            yield warn(
                f"ask in smtpd_data_restrictions on {service.name}: before, mail put on HOLD has"
                " no queue id yet and can't be found again with certainty"
            )
