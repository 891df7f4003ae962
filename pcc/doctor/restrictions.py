"""Checks of the restrictions: whether logged-in clients' mail reaches us, and how we are asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pcc.doctor import Fault, Finding, fail, finding, named_check, warn
from pcc.doctor.proxies import check_xclient
from pcc.errors import PccError
from pcc.escaping import escaped
from pcc.postfix.configuration import LISTS, LISTS_AT_RCPT, Service, seconds, words_of
from pcc.postfix.restrictions import CHECK, WARN_IF_REJECT, PolicyCheck, policy_checks, steps

TIMEOUT_SECONDS = 10
"""As in the snippet; a decision takes 8 s at most."""

SHORTEST_TIMEOUT_SECONDS = 9

LOCAL_HOSTS = ("", "127.0.0.1", "localhost", "[::1]", "[127.0.0.1]")

SUBMISSION = ("submission", "submissions", "smtps", "587", "465")
"""The names of services that users submit their mail to."""

OWNER_CHECKS = frozenset(
    (
        "reject_authenticated_sender_login_mismatch",
        "reject_known_sender_login_mismatch",
        "reject_sender_login_mismatch",
    )
)
"""Restrictions that keep a client from another account's sender address."""


class Asking(NamedTuple):
    """How Postfix asks us.

    `smtpd`: its smtpd(8) services.  `endpoint`: what check_policy_service should call us.
    `settings`: where lists are written, a parameter of main.cf or an option in master.cf, and what
    is written there.  `permits`: whether an access map may permit; raises PccError if that can't be
    known.
    """

    smtpd: Sequence[Service]
    endpoint: str
    queue_directory: str
    settings: Mapping[str, str]
    permits: Callable[[Service, str], bool]

    @property
    def services(self) -> list[Service]:
        """Those where clients log in, or a proxy may name their login by XCLIENT and we look."""
        return [
            service
            for service in self.smtpd
            if service.is_on("smtpd_sasl_auth_enable")
            or (service.values["smtpd_authorized_xclient_hosts"] and self.checks(service))
        ]

    @property
    def passed_over(self) -> list[Service]:
        """Those where a proxy may name a login by XCLIENT, and nobody asks us."""
        return [
            service
            for service in self.smtpd
            if service.values["smtpd_authorized_xclient_hosts"] and service not in self.services
        ]

    def checks(self, service: Service) -> list[PolicyCheck]:
        """Return the checks of a service that ask us, or would if they were written right."""
        ours = self.place(self.endpoint, chroot=False)
        return [
            check
            for check in policy_checks(service)
            if ours in (self.place(check.endpoint, chroot=chroot) for chroot in (False, True))
        ]

    def all_checks(self) -> list[tuple[Service, PolicyCheck]]:
        """Return all checks that ask us, each with its service."""
        return [(service, check) for service in self.services for check in self.checks(service)]

    def place(self, endpoint: str, *, chroot: bool) -> str:
        """Return where smtpd(8) looks for a policy service, `unix:PATH` or `inet:HOST:PORT`."""
        kind, _, place = endpoint.partition(":")
        if kind == "inet":
            host, _, port = place.rpartition(":")
            return f"inet:{'127.0.0.1' if host in LOCAL_HOSTS else host}:{port}"
        if chroot:
            place = place.lstrip("/")
        return f"unix:{os.path.realpath(os.path.join(self.queue_directory, place))}"

    def endpoints(self) -> dict[str, str]:
        """Return how we are called, or should be, by where smtpd(8) looks for us then."""
        found = {
            self.place(check.endpoint, chroot=service.chroot): check.endpoint
            for service, check in self.all_checks()
        }
        return found or {self.place(self.endpoint, chroot=False): self.endpoint}

    def places(self, checks: Sequence[tuple[Service, PolicyCheck]]) -> str:
        """Return where checks are written, each place once."""
        texts = {check.text for _, check in checks}
        places = [
            place
            for place, value in self.settings.items()
            for word, after in pairwise(words_of(value))
            if word.lower() == CHECK and after in texts
        ]
        return ", ".join(
            dict.fromkeys(places)
            or dict.fromkeys(f"{check.list} of {service.name}" for service, check in checks)
        )


def check_asking(asking: Asking, *, holds: bool, by_sender: bool) -> list[Finding]:
    """Make all checks of how we are asked.

    `holds`: whether some policy's action is HOLD.  `by_sender`: whether the sender address is the
    account.
    """
    services, passed_over = asking.services, asking.passed_over
    findings = [
        finding(f"policy check on {service.name}", _reach_faults(service, asking))
        for service in services
    ]
    if not services and not passed_over:
        fix = "set smtpd_sasl_auth_enable = yes for submission in master.cf: nobody logs in"
        if not any(service.name.rpartition(":")[2] in SUBMISSION for service in asking.smtpd):
            fix = (
                "uncomment submission and its options in master.cf, and let it have"
                " -o smtpd_data_restrictions=$mua_data_restrictions: no service there takes mail"
                " from users"
            )
        findings.append(finding("policy check on submission", [fail(fix)]))
    findings += [
        finding(
            f"policy check on {service.name}",
            [(warn if services else fail)(_unasked(service, asking.endpoint))],
        )
        for service in passed_over
    ]
    return [
        *findings,
        check_spelling(asking),
        check_default_action(asking),
        check_timeout(asking),
        check_hold(asking) if holds else finding("HOLD", []),
        check_soft_bounce(asking),
        check_sender(asking) if by_sender else finding("sender addresses", []),
        check_xclient(asking.smtpd),
    ]


def _unasked(service: Service, endpoint: str) -> str:
    why = "none of its lists asks pcc"
    if not service.is_on("smtpd_sasl_auth_enable"):
        why += ", though a proxy may name a login there by XCLIENT"
    return (
        f"let {service.name} in master.cf have -o smtpd_data_restrictions=$mua_data_restrictions"
        f" with check_policy_service {endpoint} in it: {why}"
    )


def _reach_faults(service: Service, asking: Asking) -> Iterator[Fault]:
    early = not service.is_on("smtpd_delay_reject")
    checks = [
        check for check in asking.checks(service) if not (early and check.list in LISTS_AT_RCPT[:2])
    ]
    if not checks:
        yield fail(_unasked(service, asking.endpoint))
        return
    ours = asking.place(asking.endpoint, chroot=False)
    for check in checks:
        if asking.place(check.endpoint, chroot=service.chroot) != ours:
            yield fail(
                f"write {asking.endpoint} in {asking.places([(service, check)])}: {service.name}"
                f" runs chrooted in {asking.queue_directory}, where there is no {check.endpoint}"
            )
    reached = [check for check in checks if not check.hidden_by]
    if reached:
        hidden = [_hiding_map(service, check, asking) for check in reached]
        if all(hidden):
            yield warn(
                f"put check_policy_service before {hidden[0]} in the {reached[0].list} of"
                f" {service.name}, or pcc never sees the mail that it permits"
            )
        return
    check = next((check for check in checks if check.some), checks[0])
    what = f"put check_policy_service before {check.hidden_by} in the {check.list} of"
    if check.hidden_by == WARN_IF_REJECT:
        yield fail(f"take warn_if_reject away from check_policy_service on {service.name}")
    elif check.some:
        yield warn(f"{what} {service.name}, or its clients are never looked at")
    else:
        yield fail(f"{what} {service.name}, or pcc is never asked")


def _hiding_map(service: Service, check: PolicyCheck, asking: Asking) -> str:
    """Return the first access map in front of a check that permits, or may for all we know."""
    for access_map in check.maps:
        try:
            if asking.permits(service, access_map):
                return access_map
        except PccError as error:
            return f"{access_map} (which can't be looked through: {escaped(str(error))})"
    return ""


@named_check("policy check spelling")
def check_spelling(asking: Asking) -> Iterator[Fault]:
    """Check that smtpd(8) can read how we are called, and that it is the same everywhere."""
    checks = asking.all_checks()
    mistaken = [one for one in checks if one[1].mistake and not one[1].lacks_braces]
    if mistaken:
        yield fail(
            f"write check_policy_service in {asking.places(mistaken)} as {_example(asking)}:"
            f" smtpd(8) can't read {escaped(mistaken[0][1].mistake)}, and takes no mail"
        )
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


def _example(asking: Asking) -> str:
    return f"{{ {asking.endpoint}, timeout={TIMEOUT_SECONDS}s, default_action=DUNNO }}"


@named_check("default_action")
def check_default_action(asking: Asking) -> Iterator[Fault]:
    """Check what becomes of mail while pcc is down."""
    checks = asking.all_checks()
    mistaken = [one for one in checks if one[1].mistake and one[1].lacks_braces]
    if mistaken:
        yield fail(
            f"write it in braces of its own in {asking.places(mistaken)}, e.g."
            " { default_action = 451 4.3.0 Try again later }: smtpd(8) can't read"
            f" {escaped(mistaken[0][1].mistake)}, and takes no mail"
        )
    without = [
        (service, check)
        for service, check in checks
        if "default_action" not in check.options
        and service.values["smtpd_policy_service_default_action"].startswith("451 4.3.5")
    ]
    if without:
        yield warn(
            f"give check_policy_service in {asking.places(without)} a default_action, e.g."
            f" {_example(asking)}: without one all mail is answered with 451 while pcc is down"
        )


@named_check("policy timeout")
def check_timeout(asking: Asking) -> Iterator[Fault]:
    """Check how long smtpd(8) waits for a verdict."""
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


@named_check("HOLD")
def check_hold(asking: Asking) -> Iterator[Fault]:
    """Check that HOLD holds, and that held mail can be found again."""
    filtered = [s.name for s in asking.services if s.values["smtpd_proxy_filter"]]
    if filtered:
        yield fail(
            "use REJECT, or a content_filter in place of smtpd_proxy_filter on"
            f" {', '.join(filtered)}: behind that HOLD lets the mail pass"
        )
    early = []
    for service in asking.services:
        reached = [one for one in asking.checks(service) if not one.hidden_by or one.some]
        if reached and all(one.list in LISTS_AT_RCPT for one in reached):
            early.append(service.name)
    if early:
        yield warn(
            f"ask in smtpd_data_restrictions on {', '.join(early)}: before, mail put on HOLD has"
            " no queue id yet and can't be found again with certainty"
        )


@named_check("soft_bounce")
def check_soft_bounce(asking: Asking) -> Iterator[Fault]:
    """Check that a refusal is final."""
    soft = [service.name for service in asking.services if service.is_on("soft_bounce")]
    if soft:
        yield warn(
            f"set soft_bounce = no for {', '.join(soft)}: with yes REJECT becomes a temporary"
            " error, and a blocked account's client tries again for days"
        )


@named_check("sender addresses")
def check_sender(asking: Asking) -> Iterator[Fault]:
    """Check that the sender address, by which accounts are known, is the client's own."""
    for service in asking.services:
        found = [step for name in LISTS for step in steps(service, service.values[name])]
        if not any(step.name in OWNER_CHECKS and not step.hidden_by for step in found):
            yield warn(
                "put reject_sender_login_mismatch first in the smtpd_sender_restrictions of"
                f' {service.name}, or set policy.account = "sasl_username": with "sender" a client'
                " can have any other's account blocked by its address"
            )
