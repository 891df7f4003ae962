"""The options of pcc.toml: a table of names, defaults and checks.

`read_values()` reads a file into the plain values that the records of
pcc/config/__init__.py are made of.  Every key is optional.  A key that is not in the
table, or a value of another type or out of its range, is a ConfigError.  That names
file, key, rule and value.  Items of lists are counted from one.  Only programs that
parse TOML import this module.
"""

from __future__ import annotations

import os

from pcc.config import Config, account_named, agreement, checks, databaseurl
from pcc.config.checks import Wrong, shown
from pcc.errors import ConfigError
from pcc.history import MOST_FAMILIAR_DAYS
from pcc.host.packages import reach_packages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Options = dict[str, tuple[Any, checks.Check]]

DEFAULT_REASON = (
    "5.7.1 Sending is blocked: this account was used from too many places."
    " Contact your administrator."
)

_COUNTRIES = checks.list_of(checks.country, "ISO 3166 codes")
_ACCOUNTS = checks.list_of(checks.account, "accounts")

_MOST = checks.whole_number(0)

_COUNTED = {
    "max_countries": 5,
    "max_networks": 0,
    "max_addresses": 0,
    "max_hosting_mails": 0,
    "max_foreign_mails": 0,
}
"""The keys of a limit, one for each thing that it counts, with the defaults of [policy]."""

_LIMIT: Options = {
    "mode": ("enforce", checks.one_of("enforce", "observe")),
    "window": ("2d", checks.duration),
    "familiar_after": (3, checks.whole_number(0, MOST_FAMILIAR_DAYS)),
}

_OVERRIDABLE: Options = {
    **_LIMIT,
    **{key: (most, _MOST) for key, most in _COUNTED.items()},
    "min_mails": (1, checks.whole_number(1)),
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
    "recipient_delimiter": ("+", checks.delimiters),
    "login_spellings": ([], checks.list_of(checks.spelling, "spellings of a login")),
    "domains": ([], checks.list_of(checks.domain, "domains")),
    "exempt_accounts": ([], _ACCOUNTS),
    "exempt_clients": ([], checks.list_of(checks.client, "networks, addresses or host names")),
}
"""The keys of [policy]: default and check."""

LIMIT: Options = {**dict.fromkeys(_COUNTED, (0, _MOST)), **_LIMIT}
"""The keys of a [[limit]]: default and check.  The default of its own keys is [policy]'s value."""

OVERRIDE: Options = {**_OVERRIDABLE, "accounts": ([], _ACCOUNTS)}
"""The keys of an [[override]], besides `limit`."""

SECTIONS: dict[str, Options] = {
    "country": {
        "database": ("/var/lib/pcc/country.mmdb", checks.path),
        "networks": ("/var/lib/pcc/networks.mmdb", checks.or_empty(checks.path)),
        "hosting": ("/var/lib/pcc/hosting.txt", checks.or_empty(checks.path)),
    },
    "store": {
        "database": ("/var/lib/pcc/pcc.db", checks.store),
        "host": ("", checks.or_empty(checks.domain)),
        "trust_for": ("15m", checks.or_zero(checks.seconds)),
        "keep_sightings": ("30d", checks.seconds),
        "keep_incidents": ("180d", checks.seconds),
    },
    "notify": {
        "to": (["postmaster"], checks.list_of(checks.mail_address, "mail addresses")),
        "from": ("", checks.or_empty(checks.mail_address)),
        "digest": ("5m", checks.or_empty(checks.seconds, 0)),
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
        values = _config_values(os.path.abspath(path), document)
    except Wrong as fault:
        raise ConfigError(f"{path}: {fault}") from None
    config = Config(values)
    # So that hosts with the same settings rely on what each other has judged.
    return {**values, "identity": agreement.identity(config)} if config.is_on_server else values


def read_document(path: str) -> dict[str, Any]:
    """Return the TOML of a file, unchecked.  Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            content = file.read().removeprefix(b"\xef\xbb\xbf")  # some editors' mark of UTF-8
    except OSError as error:
        cure = ""
        if isinstance(error, FileNotFoundError):
            cure = ": copy the pcc.toml that comes with pcc there, or name yours with --config"
        elif isinstance(error, PermissionError):
            user = f"user id {os.geteuid()}"
            cure = f": {user} must be able to read it, and to enter the folders above"
        raise ConfigError(f"{path}: can't be read: {error.strerror}{cure}") from None
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
        problem = f"{error}{_key_given_twice(content, error)}"
        raise ConfigError(f"{path}: is not valid TOML: {problem}") from None


def _key_given_twice(content: bytes, error: ValueError) -> str:
    """Return which key tomli can't overwrite: it says only in which line."""
    import re  # expensive, and only for this

    where = re.match(r"Cannot overwrite a value \(at line (\d+)", str(error))
    line = content.decode().split("\n")[int(where[1]) - 1] if where else ""
    key = re.match(r"\s*([\w.-]+)\s*=", line)
    return f": {key[1]} is given twice" if key else ""


def _config_values(path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a Config from a parsed pcc.toml; raises Wrong."""
    _refuse_unknown("", document, ("policy", "limit", "override", *SECTIONS))
    policy = _section("policy", document, POLICY)
    further = document.get("limit", [])
    document = {**document, "country": _with_asn_as_networks(document.get("country", {}))}
    sections = {name: _section(name, document, options) for name, options in SECTIONS.items()}
    country, store, notify, log = (sections[name] for name in SECTIONS)
    folder = os.path.dirname(path)
    if policy["account"] != "sender" and "extension" not in policy["login_spellings"]:
        policy["recipient_delimiter"] = ""
    exempt = [_as_account(account, policy) for account in policy["exempt_accounts"]]
    database, command = store["database"], notify["command"]
    if "://" not in database:
        database = os.path.join(folder, database)
    if command and "/" in command[0]:  # otherwise it is looked for on PATH
        command = (os.path.join(folder, command[0]), *command[1:])
    return {
        "path": path,
        "policy": _policy_values(policy, "policy", "limit", further),
        "overrides": [
            _override(f"override[{number}]", table, policy, further)
            for number, table in enumerate(_array("override", document), 1)
        ],
        "account": policy["account"],
        "default_domain": policy["default_domain"],
        "domains": frozenset(policy["domains"]),
        "exempt_accounts": frozenset(exempt),
        "exempt_networks": tuple([c for c in policy["exempt_clients"] if isinstance(c, tuple)]),
        "exempt_systems": frozenset([c for c in policy["exempt_clients"] if isinstance(c, int)]),
        "exempt_names": tuple([c for c in policy["exempt_clients"] if isinstance(c, str)]),
        "country_database": os.path.join(folder, country["database"]),
        "networks_database": country["networks"] and os.path.join(folder, country["networks"]),
        "hosting_list": country["hosting"] and os.path.join(folder, country["hosting"]),
        "recipient_delimiter": policy["recipient_delimiter"],
        "login_spellings": policy["login_spellings"],
        "store_database": database,
        "store_host": store["host"],
        "shown_database": databaseurl.shown(database),
        "trust_for": store["trust_for"],
        "keep_sightings": store["keep_sightings"],
        "keep_incidents": store["keep_incidents"],
        "notify": {**notify, "sender": notify["from"], "command": command},
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
    accounts = frozenset([_as_account(account, policy) for account in given["accounts"]])
    if "limit" in table:
        further, place = table["limit"], f"{name}.limit"
    else:
        place = "limit"
    mode_of = name if "mode" in given else "policy"
    return accounts, _policy_values({**policy, **given}, mode_of, place, further)


def _policy_values(
    policy: dict[str, Any], mode_of: str, place: str, further: Any
) -> dict[str, Any]:
    """Return the values of a Policy.

    `further` are the tables of its further limits, at `place`; its mode is that of `mode_of`.
    """
    limits = [_limit_values(policy, observes=False)]
    for number, table in enumerate(_array(place, {place: further}), 1):
        name = f"{place}[{number}]"
        given = _given(name, table, LIMIT)
        if not any(given.get(key) for key in _COUNTED):
            *keys, last = _COUNTED
            got = ", got " + " and ".join([f"{key} = 0" for key in given if key in _COUNTED])
            rule = f"must have {', '.join(keys)} or {last} above 0"
            raise Wrong(rule + got.removesuffix(", got "), name)
        if policy["mode"] == "observe" and given.get("mode") == "enforce":
            rule = f'must not be "enforce" while {mode_of}.mode is "observe", got "enforce"'
            raise Wrong(rule, f"{name}.mode")
        off = dict.fromkeys(_COUNTED, 0)
        own = given.get("mode") == "observe"
        limits.append(_limit_values({**policy, **off, **given}, observes=own))
    kept = ("mode", "familiar_after", "min_mails", "action", "hold_limit", "reason", "block_for")
    return {
        **{key: policy[key] for key in kept},
        "ignore_countries": frozenset(policy["ignore_countries"]),
        "group_of": policy["country_groups"],
        "limits": limits,
    }


def _limit_values(values: dict[str, Any], *, observes: bool) -> dict[str, Any]:
    window, window_text = values["window"]
    return {
        **{key: values[key] for key in (*_COUNTED, "familiar_after")},
        "observes": observes,
        "window": window,
        "window_text": window_text,
    }


def _as_account(account: str, policy: dict[str, Any]) -> str:
    if account.startswith("@"):
        return account
    names = ("default_domain", "login_spellings", "recipient_delimiter")
    return account_named(account, *[policy[name] for name in names])


def _with_asn_as_networks(country: Any) -> Any:
    """Return the table [country] with `asn`, which version 1.0.0 had, under its new name."""
    if not isinstance(country, dict) or "asn" not in country:
        return country
    asn = _given("country", {"asn": country["asn"]}, {"asn": SECTIONS["country"]["networks"]})[
        "asn"
    ]
    rest = {key: value for key, value in country.items() if key != "asn"}
    if not asn:  # as 1.0.0 shipped it: nothing was chosen
        return rest
    if rest.setdefault("networks", asn) != asn:
        rule = "is another name for country.networks and must not be different, got "
        raise Wrong(rule + shown(asn), "country.asn")
    return rest


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


def _refuse_unknown(section: str, table: dict[str, Any], known: Any) -> None:
    for key in table:
        if key in known:
            continue
        from difflib import get_close_matches  # for a mistake alone

        shown_key = key if key.isprintable() else shown(key)
        name = f"{section}.{shown_key}" if section else shown_key
        got = "" if "pass" in key.lower() else f", got {shown(table[key])}"
        elsewhere = [
            f"{other}.{key}"
            for other, options in {"policy": POLICY, **SECTIONS}.items()
            if key in options
        ]
        meant = elsewhere or get_close_matches(key, known, 1)
        suggestion = f"; did you mean {' or '.join(meant)}?" if meant else ""
        raise Wrong(f"is not a known key{got}{suggestion}", name)
