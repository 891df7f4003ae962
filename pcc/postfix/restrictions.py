"""Restriction lists as smtpd(8) goes through them: where it asks policy services, and what permits.

A list is a sequence of restrictions, some with an argument.  It ends at the first one that permits
or rejects; what comes later in it is then never asked.  An access map may permit by what it has
for a client or sender (`OK`), so its results are read where they can be: access(5).

smtpd(8) is fatal, for every client, where the braces of a check_policy_service hold a word that is
no option: `default_action=451 4.3.0 Later` needs braces of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pcc.errors import PccError
from pcc.postfix.configuration import LISTS, Postconf, Service, bare, words_of

CHECK = "check_policy_service"
WARN_IF_REJECT = "warn_if_reject"
SASL = "permit_sasl_authenticated"
REFUSALS = frozenset(("reject", "defer"))
PERMITS_SOME = frozenset(
    (
        "permit_auth_destination",
        "permit_dnswl_client",
        "permit_inet_interfaces",
        "permit_mx_backup",
        "permit_mynetworks",
        "permit_naked_ip_address",
        "permit_rhswl_client",
        "permit_tls_all_clientcerts",
        "permit_tls_clientcerts",
    )
)
"""These end a list for some of the clients that have logged in."""

_HAS_ARGUMENT = re.compile(
    r"check_.*|permit_(?:dnswl|rhswl)_client|reject_rbl.*|reject_rhsbl_.*|sleep"
)
_ACCESS = re.compile(r"|check_address_map|check_(?!.*_(?:a|mx|ns)_access).*_access")
"""These have an access map; smtpd(8) takes no OK from maps of DNS records, which anybody makes."""

_ACTIONS = frozenset(
    "reject defer defer_if_reject defer_if_permit discard dunno hold filter bcc info prepend"
    " redirect warn strip".split()
)
"""access(5): actions that do not permit, or that keep the mail from being sent."""

_OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(("timeout", "max_idle", "max_ttl", "retry_delay"), r"\d+[smhdw]?"),
    **dict.fromkeys(("request_limit", "try_limit"), r"\d+"),
    "default_action": r"[^{].*",
    "policy_context": r".*",
}
"""Options of a policy service, and what smtpd(8) takes for their values."""


class Step(NamedTuple):
    """A restriction in a list, in lower case, and its argument, if it takes one.

    `name` is "" for an access map alone.  `hidden_by`: what ends the list before it, for `some`
    clients or for all of them, "" if nothing does.  `maps`: the access maps before it.
    """

    name: str
    argument: str
    hidden_by: str
    some: bool
    maps: tuple[str, ...]


class PolicyCheck(NamedTuple):
    """A check_policy_service in a list of a service.

    `text`: as it is written.  `mistake`: the part at which smtpd(8) gives up, "" for none.
    `hidden_by`, `some` and `maps` are those of a Step.
    """

    list: str
    text: str
    endpoint: str
    options: Mapping[str, str]
    mistake: str
    hidden_by: str
    some: bool
    maps: tuple[str, ...]

    @property
    def lacks_braces(self) -> bool:
        """Whether the mistake is a default_action of several words without braces around it."""
        is_value = "=" not in self.mistake or self.mistake.startswith("default_action")
        return bool(self.mistake) and "default_action" in self.options and is_value


def policy_checks(service: Service) -> list[PolicyCheck]:
    """Return every check_policy_service in the lists of a service."""
    return [
        PolicyCheck(name, step.argument, *_taken_apart(step.argument), *step[2:])
        for name in LISTS
        for step in steps(service, service.values[name])
        if step.name == CHECK
    ]


def steps(service: Service, text: str) -> Iterator[Step]:
    """Return what smtpd(8) goes through in a list of a service, for a client that has logged in."""
    hidden_by, some, is_warned = "", False, False
    maps: list[str] = []
    for name, argument in _expanded(service, text):
        if is_warned:
            yield Step(name, argument, WARN_IF_REJECT, False, tuple(maps))
        else:
            yield Step(name, argument, hidden_by, some, tuple(maps))
        for_all = _permits_all(service, name) or (name in REFUSALS and not is_warned)
        if for_all and (some or not hidden_by):
            hidden_by, some = name, False
        elif name in PERMITS_SOME and not hidden_by:
            hidden_by, some = name, True
        elif _ACCESS.fullmatch(name):
            maps.append(argument)
        is_warned = name == WARN_IF_REJECT


def _permits_all(service: Service, name: str) -> bool:
    # Without SASL smtpd(8) passes over it, also where a proxy has named the login by XCLIENT.
    return name == "permit" or (name == SASL and service.is_on("smtpd_sasl_auth_enable"))


def _expanded(service: Service, text: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Return restrictions with their arguments, what classes stand for in their places."""
    words = iter(words_of(text))
    for word in words:
        name = word.lower()
        if word in service.classes and depth < 10:
            yield from _expanded(service, service.classes[word], depth + 1)
        elif _HAS_ARGUMENT.fullmatch(name):
            yield name, next(words, "")
        elif ":" in word:  # an access map alone, in the way of old
            yield "", word
        else:
            yield name, ""


def permits(postconf: Postconf, service: Service, access_map: str) -> bool:
    """Whether some result of an access map permits.  Raises PccError if that can't be known."""
    name = access_map.removeprefix("proxy:")
    kind, _, table = name.partition(":")
    if kind == "static":
        return _permits(service, bare(table))
    if kind not in ("cidr", "pcre", "regexp"):
        return any(_permits(service, result) for result in postconf.map_results(name))
    try:
        with open(table, encoding="utf-8", errors="replace") as file:
            lines = re.sub(r"\n[ \t]+", " ", file.read()).splitlines()
    except OSError as error:
        raise PccError(f"{table}: {error.strerror}") from None
    pattern = r"[^#\s]\S*" if kind == "cidr" else r"!?([^\w\s#])(?:\\.|(?!\1).)*\1\w*"
    rules = [re.match(rf"{pattern}[ \t]+(?P<result>.*)", line) for line in lines]
    return any(_permits(service, rule["result"]) for rule in rules if rule)


def _permits(service: Service, result: str) -> bool:
    word = result.strip().partition(" ")[0].lower()
    if word in _ACTIONS or re.fullmatch(r"[45]\d\d", word):
        return False
    if word == "ok" or result.strip().isdigit():
        return True
    found = steps(service, result)
    return any(step.name in PERMITS_SOME or _permits_all(service, step.name) for step in found)


def _taken_apart(text: str) -> tuple[str, dict[str, str], str]:
    """Return the endpoint of a policy service, its options, and where smtpd(8) gives up."""
    if not text.startswith("{"):
        return text, {}, _mistaken_endpoint(text)
    endpoint, *words = words_of(bare(text)) or [""]
    options: dict[str, str] = {}
    mistake = _mistaken_endpoint(endpoint) if text.endswith("}") else text
    for word in words:
        name, equals, value = (part.strip() for part in bare(word).partition("="))
        if not equals or not re.fullmatch(_OPTIONS.get(name, "(?!)"), value):
            mistake = mistake or word
        options[name] = value
    return endpoint, options, mistake


def _mistaken_endpoint(endpoint: str) -> str:
    kind, _, place = endpoint.partition(":")
    return "" if kind in ("inet", "local", "unix") and place else endpoint or "{ }"
