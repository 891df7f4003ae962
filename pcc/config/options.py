"""The options of pcc.toml: a table of names, defaults and checks.

`read_values()` reads a file into the plain values that the records of
pcc/config/__init__.py are made of.  Every key is optional.  A key that is not in the
table, a value of another type or out of its range is a ConfigError that names
file, key, rule and value; items of lists are counted from one.  Only whoever
parses TOML imports this module.
"""

from __future__ import annotations

import os

from pcc.config import checks
from pcc.config.checks import Wrong, shown
from pcc.errors import ConfigError
from pcc.host.packages import reach_packages
from pcc.rule import MOST_FAMILIAR_DAYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

    Options = dict[str, tuple[Any, checks.Check]]

DEFAULT_REASON = (
    "5.7.1 Sending is blocked: this account was used from too many countries."
    " Contact your administrator."
)

_COUNTRIES = checks.list_of(checks.country, "ISO 3166 codes")
_ACCOUNTS = checks.list_of(checks.account, "accounts")

_OVERRIDABLE: Options = {
    "mode": ("enforce", checks.one_of("enforce", "observe")),
    "max_countries": (3, checks.whole_number(0)),
    "window": ("2d", checks.duration),
    "familiar_after": (1, checks.whole_number(0, MOST_FAMILIAR_DAYS)),
    "min_mails": (1, checks.whole_number(1)),
    "max_addresses": (0, checks.whole_number(0)),
    "action": ("REJECT", checks.action),
    "hold_limit": (50, checks.whole_number(0)),
    "reason": (DEFAULT_REASON, checks.text),
    "block_for": ("", checks.or_empty(checks.seconds, 0)),
    "ignore_countries": ([], _COUNTRIES),
    "country_groups": ([], checks.country_groups),
    # Changes nothing in an override, whose accounts are complete by then.
    "default_domain": ("", checks.or_empty(checks.domain)),
}

POLICY: Options = {
    **_OVERRIDABLE,
    "account": ("sasl_username", checks.one_of("sasl_username", "sender")),
    "domains": ([], checks.list_of(checks.domain, "domains")),
    "exempt_accounts": ([], _ACCOUNTS),
    "exempt_clients": ([], checks.list_of(checks.client, "networks, addresses or host names")),
}
"""The keys of [policy]: default and check."""

LIMIT: Options = {
    "max_countries": (0, checks.whole_number(0)),
    "max_addresses": (0, checks.whole_number(0)),
    "window": ("2d", checks.duration),
}
"""The keys of a [[limit]]: default and check.  The window's real default is [policy]'s."""

OVERRIDE: Options = {**_OVERRIDABLE, "accounts": ([], _ACCOUNTS)}
"""The keys of an [[override]], besides `limit`."""

SECTIONS: dict[str, Options] = {
    "country": {
        "database": ("/var/lib/pcc/country.mmdb", checks.path),
        "asn": ("", checks.or_empty(checks.path)),
    },
    "store": {
        "database": ("/var/lib/pcc/pcc.db", checks.store),
        "host": ("", checks.or_empty(checks.domain)),
        "keep_sightings": ("30d", checks.seconds),
        "keep_incidents": ("180d", checks.seconds),
    },
    "notify": {
        "to": (["postmaster"], checks.list_of(checks.mail_address, "mail addresses")),
        "from": ("", checks.or_empty(checks.mail_address)),
        "transport": ("sendmail", checks.one_of("sendmail", "smtp")),
        "sendmail": ("/usr/sbin/sendmail", checks.absolute_path),
        "smtp": ("localhost:25", checks.host_and_port),
        "command": ([], checks.command),
    },
    "log": {"name": ("pcc", checks.log_name), "verbose": (False, checks.boolean)},
}
"""The other sections: the keys of each, default and check."""


def read_values(path: str) -> dict[str, Any]:
    """Return the checked values of the file at `path`, as Config takes them.

    Raises ConfigError.
    """
    return checked_values(path, read_document(path))


def checked_values(path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a parsed pcc.toml; `path` is for messages and relative paths.

    Raises ConfigError.
    """
    try:
        return _config_values(os.path.abspath(path), document)
    except Wrong as fault:
        raise ConfigError(f"{path}: {fault}") from None


def read_document(path: str) -> dict[str, Any]:
    """Return the TOML of a file, unchecked.  Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            content = file.read().removeprefix(b"\xef\xbb\xbf")  # some editors' mark of UTF-8
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}{_cure(error)}") from None
    reach_packages()
    try:
        import tomli
    except ImportError as error:
        raise ConfigError(f"{path}: can't be read without Python's tomli: {error}") from None
    try:
        return tomli.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: is not UTF-8 (at line {line})") from None
    except RecursionError:
        raise ConfigError(f"{path}: is not valid TOML: nested too deeply") from None
    except ValueError as error:  # tomli's own, and int()'s of a number with thousands of digits
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None


def _cure(error: OSError) -> str:
    """Return what an operator can do about a file that can't be opened, to end a message."""
    if isinstance(error, FileNotFoundError):
        return ": copy the pcc.toml that comes with pcc there, or name yours with --config"
    if isinstance(error, PermissionError):
        return f": user id {os.geteuid()} must be able to read it, and to enter the folders above"
    return ""


def _config_values(path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a Config from a parsed pcc.toml; raises Wrong."""
    _refuse_unknown("", document, ("policy", "limit", "override", *SECTIONS))
    policy = _section("policy", document, POLICY)
    further = document.get("limit", [])
    sections = {name: _section(name, document, options) for name, options in SECTIONS.items()}
    country, store, notify, log = (sections[name] for name in SECTIONS)
    folder = os.path.dirname(path)
    exempt = [_with_domain(account, policy) for account in policy["exempt_accounts"]]
    return {
        "path": path,
        "policy": _policy_values(policy, "limit", further),
        "overrides": [
            _override(f"override[{number}]", table, policy, further)
            for number, table in enumerate(_array("override", document), 1)
        ],
        "account": policy["account"],
        "default_domain": policy["default_domain"],
        "domains": frozenset(policy["domains"]),
        "exempt_accounts": frozenset(exempt),
        "exempt_networks": tuple([c for c in policy["exempt_clients"] if not isinstance(c, str)]),
        "exempt_names": tuple([c for c in policy["exempt_clients"] if isinstance(c, str)]),
        "country_database": os.path.join(folder, country["database"]),
        "country_asn": country["asn"] and os.path.join(folder, country["asn"]),
        "store_database": _store_from(folder, store["database"]),
        "store_host": store["host"],
        "keep_sightings": store["keep_sightings"],
        "keep_incidents": store["keep_incidents"],
        "notify": {
            **notify,
            "sender": notify["from"],
            "command": _program_from(folder, notify["command"]),
        },
        "log_name": log["name"],
        "verbose": log["verbose"],
    }


def _override(
    name: str, table: Any, policy: dict[str, Any], further: Any
) -> tuple[frozenset[str], dict[str, Any]]:
    """Return whom an override names, and its policy: its own keys over `[policy]`."""
    _require_table(name, table)
    for key in table:
        if key in POLICY and key not in OVERRIDE:
            rule = f"is for all accounts: it belongs in [policy], got {shown(table[key])}"
            raise Wrong(rule, f"{name}.{key}")
    given = _given(name, {key: table[key] for key in table if key != "limit"}, OVERRIDE)
    if "accounts" not in given:
        raise Wrong("is missing: whom is it for?", f"{name}.accounts")
    accounts = frozenset([_with_domain(account, policy) for account in given["accounts"]])
    if "limit" in table:
        return accounts, _policy_values({**policy, **given}, f"{name}.limit", table["limit"])
    return accounts, _policy_values({**policy, **given}, "limit", further)


def _policy_values(policy: dict[str, Any], place: str, further: Any) -> dict[str, Any]:
    """Return the values of a Policy; `further` are the tables of its further limits, at `place`."""
    keys = ("mode", "familiar_after", "min_mails", "action", "hold_limit", "reason", "block_for")
    return {
        **{key: policy[key] for key in keys},
        "ignore_countries": frozenset(policy["ignore_countries"]),
        "group_of": policy["country_groups"],
        "limits": [_limit_values(policy), *_further_limits(policy, place, further)],
    }


def _further_limits(policy: dict[str, Any], place: str, further: Any) -> list[dict[str, Any]]:
    limits = []
    for number, table in enumerate(_array(place, {place: further}), 1):
        given = _given(f"{place}[{number}]", table, LIMIT)
        if "max_countries" not in given and "max_addresses" not in given:
            raise Wrong("must have max_countries or max_addresses", f"{place}[{number}]")
        off = {"max_countries": 0, "max_addresses": 0}
        limits.append(_limit_values({**off, "window": policy["window"], **given}))
    return limits


def _limit_values(values: dict[str, Any]) -> dict[str, Any]:
    window, window_text = values["window"]
    return {
        "max_countries": values["max_countries"],
        "max_addresses": values["max_addresses"],
        "window": window,
        "window_text": window_text,
    }


def _with_domain(account: str, policy: dict[str, Any]) -> str:
    if policy["default_domain"] and "@" not in account:
        return f"{account}@{policy['default_domain']}"
    return account


def _store_from(folder: str, database: str) -> str:
    """Return a database whose path, if it is a relative one, counts from `folder`."""
    return database if "://" in database else os.path.join(folder, database)


def _program_from(folder: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command whose program, if given by a relative path, is found from `folder`."""
    if command and "/" in command[0]:
        return (os.path.join(folder, command[0]), *command[1:])
    return command


# Tables of TOML.


def _section(name: str, document: dict[str, Any], options: Options) -> dict[str, Any]:
    """Return every option's checked value, the default where the document has none."""
    given = _given(name, document.get(name, {}), options)
    defaults = {
        key: check(default) for key, (default, check) in options.items() if key not in given
    }
    return {**defaults, **given}


def _given(name: str, table: Any, options: Options) -> dict[str, Any]:
    """Return the checked values of those options that a table has."""
    _require_table(name, table)
    _refuse_unknown(name, table, options)
    values = {}
    for key, value in table.items():
        try:
            values[key] = options[key][1](value)
        except Wrong as fault:
            raise fault.inside(f"{name}.{key}") from None
    return values


def _require_table(name: str, table: Any) -> None:
    if not isinstance(table, dict):
        raise Wrong(f"must be a table, got {shown(table)}", name)


def _array(name: str, document: dict[str, Any]) -> list[Any]:
    """Return an array of tables, empty where there is none."""
    tables = document.get(name, [])
    if not isinstance(tables, list):
        header = "override.limit" if name.startswith("override[") else name
        raise Wrong(f"must be an array of tables ([[{header}]]), got {shown(tables)}", name)
    return tables


def _refuse_unknown(section: str, table: dict[str, Any], known: Container[str]) -> None:
    for key in table:
        if key not in known:
            shown_key = key if key.isprintable() else shown(key)
            name = f"{section}.{shown_key}" if section else shown_key
            got = "" if "pass" in key.lower() else f", got {shown(table[key])}"
            raise Wrong(f"is not a known key{got}{_suggestion(key, known)}", name)


def _suggestion(key: str, known: Any) -> str:
    """Return what an unknown key was probably meant to be, to end a message."""
    from difflib import get_close_matches

    elsewhere = [
        f"{section}.{key}"
        for section, options in {"policy": POLICY, **SECTIONS}.items()
        if key in options
    ]
    meant = elsewhere or get_close_matches(key, known, 1)
    return f"; did you mean {' or '.join(meant)}?" if meant else ""
