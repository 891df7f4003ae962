"""Checks of the restrictions: whether logged-in clients' mail reaches us, and how we are asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pcc.doctor import Fault, Finding, fail, finding, warn
from pcc.postfix.configuration import (
    CHECK,
    LISTS_AT_RCPT,
    PolicyCheck,
    Service,
    policy_checks,
    seconds,
    words_of,
)

TIMEOUT_SECONDS = 10
"""What the snippet has; a decision takes 8 s at most."""

SHORTEST_TIMEOUT_SECONDS = 9


class Asking(NamedTuple):
    """How Postfix asks us.

    `services`: those where clients log in.  `endpoints`: what
    check_policy_service may call us.  `settings`: where lists are written, a
    parameter of main.cf or an option in master.cf, and what is written there.
    """

    services: Sequence[Service]
    endpoints: Sequence[str]
    settings: Mapping[str, str]

    def checks(self, service: Service) -> list[PolicyCheck]:
        """Return the checks of a service that ask us."""
        return [check for check in policy_checks(service) if check.endpoint in self.endpoints]

    def all_checks(self) -> list[tuple[Service, PolicyCheck]]:
        """Return all checks that ask us, each with its service."""
        return [(service, check) for service in self.services for check in self.checks(service)]

    @property
    def endpoint(self) -> str:
        """What check_policy_service calls us, or should call us."""
        return next((check.endpoint for _, check in self.all_checks()), self.endpoints[0])

    def places(self, checks: Sequence[tuple[Service, PolicyCheck]]) -> str:
        """Return where checks are written, each place once."""
        texts = {check.text for _, check in checks}
        places = [place for place, value in self.settings.items() if texts & _checks_in(value)]
        return ", ".join(
            places or dict.fromkeys(f"{check.list} of {service.name}" for service, check in checks)
        )


def _checks_in(value: str) -> set[str]:
    words = words_of(value)
    return {after for word, after in pairwise(words) if word == CHECK}


def check_asking(asking: Asking, *, holds: bool) -> list[Finding]:
    """Make all checks of how we are asked.  `holds`: whether some policy's action is HOLD."""
    findings = [
        finding(
            f"policy check on {service.name}",
            _reach_faults(service, asking.checks(service), asking.endpoints[0]),
        )
        for service in asking.services
    ]
    if not asking.services:
        fault = fail("set smtpd_sasl_auth_enable = yes for submission in master.cf: nobody logs in")
        findings.append(finding("policy check on submission", [fault]))
    return [
        *findings,
        finding("policy check spelling", _spelling_faults(asking)),
        finding("default_action", _default_action_faults(asking)),
        finding("policy timeout", _timeout_faults(asking)),
        finding("HOLD", _hold_faults(asking) if holds else []),
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


def _spelling_faults(asking: Asking) -> Iterator[Fault]:
    several = [
        (service, check)
        for service in asking.services
        for check in asking.checks(service)
        if len({check.text for check in asking.checks(service)}) > 1
    ]
    if several:
        yield warn(
            f"write check_policy_service the same way in {asking.places(several)}: each spelling"
            " has connections and processes of its own"
        )


def _default_action_faults(asking: Asking) -> Iterator[Fault]:
    without = [
        (service, check)
        for service, check in asking.all_checks()
        if "default_action" not in check.options
        and service.values["smtpd_policy_service_default_action"].startswith("451 4.3.5")
    ]
    if without:
        yield warn(
            f"give check_policy_service in {asking.places(without)} a default_action, e.g."
            f" {{ {asking.endpoint}, timeout={TIMEOUT_SECONDS}s, default_action=DUNNO }}: without"
            " one all mail is answered with 451 while pcc is down"
        )


def _timeout_faults(asking: Asking) -> Iterator[Fault]:
    wrong: dict[str, list[tuple[Service, PolicyCheck]]] = {}
    for service, check in asking.all_checks():
        timeout = check.options.get("timeout", service.values["smtpd_policy_service_timeout"])
        if not SHORTEST_TIMEOUT_SECONDS <= seconds(timeout) <= 3 * TIMEOUT_SECONDS:
            wrong.setdefault(timeout, []).append((service, check))
    for timeout, checks in wrong.items():
        yield warn(
            f"give check_policy_service in {asking.places(checks)} timeout={TIMEOUT_SECONDS}s, not"
            f" {timeout}: a verdict takes 8 s at most"
        )


def _hold_faults(asking: Asking) -> Iterator[Fault]:
    filtered = [s.name for s in asking.services if s.values["smtpd_proxy_filter"]]
    if filtered:
        yield fail(
            "use REJECT, or a content_filter in place of smtpd_proxy_filter on"
            f" {', '.join(filtered)}: behind that HOLD lets the mail pass"
        )
    early = [service.name for service in asking.services if _asks_early(asking.checks(service))]
    if early:
        yield warn(
            f"ask in smtpd_data_restrictions on {', '.join(early)}: before, mail put on HOLD has"
            " no queue id yet and can't be found again with certainty"
        )


def _asks_early(checks: Sequence[PolicyCheck]) -> bool:
    reached = [check for check in checks if not check.hidden_by or check.some]
    return bool(reached) and all(check.list in LISTS_AT_RCPT for check in reached)
