"""The options of pcc.toml: a table of names, defaults and checks.

`read_values()` reads a file into the plain values that the records of
pcc/config.py are made of.  Every key is optional.  A key that is not in the
table, a value of another type or out of its range is a ConfigError that names
file, key, rule and value.  Only whoever parses TOML imports this module.
"""

from __future__ import annotations

import os

from pcc.errors import ConfigError
from pcc.iso3166 import CODES, MISTAKEN
from pcc.policy import MOST_FAMILIAR_DAYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[Any], Any]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""Seconds per Postfix time unit (postconf(5))."""

LONGEST_DURATION = 100 * 365 * 86400

ACTIONS = frozenset(
    "OK REJECT DEFER DEFER_IF_REJECT DEFER_IF_PERMIT BCC DISCARD DUNNO FILTER HOLD INFO PREPEND"
    " REDIRECT WARN".split()
)
"""access(5), ACCEPT ACTIONS to OTHER ACTIONS; also a reply code of the form 4NN or 5NN."""

ACTIONS_WITH_ARGUMENT = frozenset(("BCC", "FILTER", "PREPEND", "REDIRECT"))


class _Wrong(Exception):
    """A check failed; the text is the rule, to follow the key's name."""


def duration_seconds(text: str) -> int:
    """Return the seconds of a Postfix time such as `2d`; 0 to a hundred years.

    Raises ValueError for anything else.
    """
    number, unit = text[:-1], text[-1:].lower()
    if not (number.isascii() and number.isdigit()) or unit not in UNITS:
        raise ValueError(text)
    seconds = int(number) * UNITS[unit]
    if seconds > LONGEST_DURATION:
        raise ValueError(text)
    return seconds


def read_values(path: str) -> dict[str, Any]:
    """Return the checked values of the file at `path`, as Config takes them.

    Raises ConfigError.
    """
    return checked_values(path, _read_toml(path))


def _read_toml(path: str) -> dict[str, Any]:
    import tomli

    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    try:
        return tomli.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 at byte {error.start}") from None
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is not valid TOML: nested too deeply") from None


def checked_values(path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a parsed pcc.toml; `path` is for messages and relative paths.

    Raises ConfigError.
    """
    tables = _Tables(path)
    _refuse_unknown(path, "", document, ("policy", "limit", "override", *SECTIONS))
    policy = tables.section("policy", document.get("policy", {}), POLICY)
    further = document.get("limit", [])
    sections = {
        name: tables.section(name, document.get(name, {}), options)
        for name, options in SECTIONS.items()
    }
    folder = os.path.dirname(os.path.abspath(path))
    country, store, notify, log = (sections[name] for name in SECTIONS)
    default_domain = policy["default_domain"]
    command = notify["command"]
    if command and "/" in command[0]:
        command = (os.path.join(folder, command[0]), *command[1:])
    return {
        "path": os.path.abspath(path),
        "policy": tables.policy(policy, "limit", further),
        "overrides": [
            tables.override(number, table, policy, further)
            for number, table in enumerate(tables.array("override", document), 1)
        ],
        "account": policy["account"],
        "default_domain": default_domain,
        "domains": frozenset(policy["domains"]),
        "exempt_accounts": frozenset(
            _with_domain(account, default_domain) for account in policy["exempt_accounts"]
        ),
        "exempt_networks": tuple(c for c in policy["exempt_clients"] if not isinstance(c, str)),
        "exempt_names": tuple(c for c in policy["exempt_clients"] if isinstance(c, str)),
        "country_database": os.path.join(folder, country["database"]),
        "store_database": os.path.join(folder, store["database"]),
        "keep_sightings": store["keep_sightings"],
        "keep_incidents": store["keep_incidents"],
        "notify": {**notify, "sender": notify["from"], "command": command},
        "log_name": log["name"],
        "verbose": log["verbose"],
    }


class _Tables:
    """Checks the tables of one file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def section(
        self, name: str, table: Any, options: dict[str, tuple[Any, Check]]
    ) -> dict[str, Any]:
        """Return every option's checked value, the default where the table has none."""
        given = self.given(name, table, options)
        defaults = {
            key: check(default) for key, (default, check) in options.items() if key not in given
        }
        return {**defaults, **given}

    def given(self, name: str, table: Any, options: dict[str, tuple[Any, Check]]) -> dict[str, Any]:
        """Return the checked values of those options that the table has."""
        if not isinstance(table, dict):
            raise ConfigError(f"{self.path}: {name} must be a table, got {_shown(table)}")
        _refuse_unknown(self.path, name, table, options)
        values = {}
        for key, value in table.items():
            try:
                values[key] = options[key][1](value)
            except _Wrong as wrong:
                raise ConfigError(f"{self.path}: {name}.{key} {wrong}") from None
        return values

    def array(self, name: str, document: dict[str, Any]) -> list[Any]:
        """Return an array of tables, empty where there is none."""
        tables = document.get(name, [])
        if not isinstance(tables, list):
            raise ConfigError(
                f"{self.path}: {name} must be an array of tables ([[{name}]]), got {_shown(tables)}"
            )
        return tables

    def override(
        self, number: int, table: Any, policy: dict[str, Any], further: Any
    ) -> tuple[frozenset[str], dict[str, Any]]:
        """Return whom an override names, and its policy: its own keys over `[policy]`."""
        name = f"override[{number}]"
        if not isinstance(table, dict):
            raise ConfigError(f"{self.path}: {name} must be a table, got {_shown(table)}")
        own = {key: value for key, value in table.items() if key != "limit"}
        given = self.given(name, own, OVERRIDE)
        given.pop("default_domain", None)
        if "accounts" not in given:
            raise ConfigError(f"{self.path}: {name}.accounts is missing: whom is it for?")
        accounts = frozenset(
            _with_domain(account, policy["default_domain"]) for account in given.pop("accounts")
        )
        place = f"{name}.limit" if "limit" in table else "limit"
        return accounts, self.policy({**policy, **given}, place, table.get("limit", further))

    def policy(self, policy: dict[str, Any], place: str, further: Any) -> dict[str, Any]:
        """Return the values of a Policy record; `further` are the tables at `place`."""
        limits = [{key: policy[key] for key in ("max_countries", "max_addresses")}]
        limits[0]["window"], limits[0]["window_text"] = policy["window"]
        for number, table in enumerate(self.array(place, {place: further}), 1):
            limit = self.given(f"{place}[{number}]", table, LIMIT)
            if "max_countries" not in limit and "max_addresses" not in limit:
                raise ConfigError(
                    f"{self.path}: {place}[{number}] limits nothing: "
                    "it needs max_countries or max_addresses"
                )
            window, text = limit.get("window", policy["window"])
            limits.append(
                {
                    "max_countries": limit.get("max_countries", 0),
                    "max_addresses": limit.get("max_addresses", 0),
                    "window": window,
                    "window_text": text,
                }
            )
        keys = ("mode", "familiar_after", "min_mails", "action", "hold_limit", "reason")
        return {
            **{key: policy[key] for key in keys},
            "block_for": policy["block_for"],
            "ignore_countries": frozenset(policy["ignore_countries"]),
            "group_of": policy["country_groups"],
            "limits": limits,
        }


def _refuse_unknown(path: str, section: str, table: dict[str, Any], known: Any) -> None:
    for key in table:
        if key in known:
            continue
        from difflib import get_close_matches

        name = f"{section}.{key}" if section else key
        close = get_close_matches(key, known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"{path}: {name} is not a known key{hint}")


def _with_domain(account: str, default_domain: str) -> str:
    if default_domain and "@" not in account:
        return f"{account}@{default_domain}"
    return account


def _shown(value: Any) -> str:
    """Return a value as an operator wrote it in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.encode("unicode_escape").decode("ascii") + '"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"must be a string, got {_shown(value)}")
    if not value.isprintable():
        raise _Wrong(f"must be printable and on one line, got {_shown(value)}")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"must be true or false, got {_shown(value)}")
    return value


def _whole(least: int, most: int = 1_000_000_000) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _Wrong(f"must be a whole number, got {_shown(value)}")
        if value < least:
            raise _Wrong(f"must be {least} or more, got {value}")
        if value > most:
            raise _Wrong(f"must be {most} or less, got {value}")
        return value

    return check


def _one_of(*choices: str) -> Check:
    def check(value: Any) -> str:
        if value not in choices:
            listed = " or ".join(f'"{choice}"' for choice in choices)
            raise _Wrong(f"must be {listed}, got {_shown(value)}")
        return str(value)

    return check


def _duration(value: Any) -> tuple[int, str]:
    """Return seconds and the text of a duration longer than nothing."""
    text = _text(value).strip()
    try:
        seconds = duration_seconds(text)
    except ValueError:
        seconds = 0
    if seconds == 0:
        raise _Wrong(
            'must be a time such as "2d" (a number and one of s, m, h, d, w), at least a second '
            f"and at most a hundred years, got {_shown(value)}"
        )
    return seconds, text


def _seconds(value: Any) -> int:
    return _duration(value)[0]


def _optional_seconds(value: Any) -> int:
    return 0 if value == "" else _seconds(value)


def _list_of(check: Check) -> Check:
    def check_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _Wrong(f"must be a list, got {_shown(value)}")
        return tuple(check(item) for item in value)

    return check_all


def _action(value: Any) -> str:
    word, _, text = _text(value).strip().partition(" ")
    code = len(word) == 3 and word.isascii() and word.isdigit() and word[0] in "45"
    if word.upper() not in ACTIONS and not code:
        raise _Wrong(f"must be REJECT, HOLD or another action of access(5), got {_shown(value)}")
    if word.upper() in ACTIONS_WITH_ARGUMENT and not text.strip():
        raise _Wrong(f"must have something after {word.upper()}, got {_shown(value)}")
    return f"{word.upper()} {text.strip()}".strip()


def _country(value: Any) -> str:
    code = _text(value).strip().upper()
    if code in MISTAKEN:
        raise _Wrong(f"must have ISO 3166 codes: {MISTAKEN[code]} rather than {_shown(value)}")
    if code not in CODES:
        raise _Wrong(f'must have ISO 3166 codes such as "ES", got {_shown(value)}')
    return code


def _groups(value: Any) -> dict[str, str]:
    """Return which group each country is in; a group is called after its members."""
    group_of: dict[str, str] = {}
    for group in _list_of(_list_of(_country))(value):
        for country in group:
            if country in group_of:
                raise _Wrong(f"must have each country in one group only, got {country} twice")
            group_of[country] = "+".join(group)
    return group_of


def _account(value: Any) -> str:
    account = _text(value).strip().lower()
    _, at, domain = account.rpartition("@")
    if not account or " " in account or (at and not domain):
        raise _Wrong(f'must have "user@example.org" or "@example.org", got {_shown(value)}')
    return account


def _domain(value: Any) -> str:
    domain = _text(value).strip().lower().removeprefix("@")
    if not domain or "@" in domain or " " in domain:
        raise _Wrong(f'must be a domain such as "example.org", got {_shown(value)}')
    return domain


def _optional_domain(value: Any) -> str:
    return "" if value == "" else _domain(value)


def _client(value: Any) -> Any:
    """Return a network as pcc.address has it, or a host name in lower case."""
    client = _text(value).strip().lower()
    try:
        return exempt_client(client)
    except ValueError as error:
        raise _Wrong(f"{error}, got {_shown(value)}") from None


def exempt_client(client: str) -> Any:
    """Return what an exempt client is matched by: a network or a verified host name.

    Raises ValueError with the rule that `client` breaks.
    """
    from ipaddress import ip_network

    rule = (
        'must have networks, addresses or host names such as "192.0.2.0/24", "2001:db8::/32" '
        'or ".example.org"'
    )
    if ":" in client or "/" in client or client.replace(".", "").isdigit():
        try:
            network = ip_network(client)
        except ValueError as error:
            bits = "has host bits set" in str(error)
            raise ValueError("must have networks without host bits" if bits else rule) from None
        size = network.max_prefixlen // 8
        shift = network.max_prefixlen - network.prefixlen
        return size, shift, int(network.network_address) >> shift
    labels = client.removeprefix(".").rstrip(".").split(".")
    if not all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise ValueError(rule)
    return client.rstrip(".")


def _path(value: Any) -> str:
    path = _text(value)
    if not path:
        raise _Wrong("must be the path of a file, got an empty string")
    return path


def _absolute_path(value: Any) -> str:
    path = _path(value)
    if not path.startswith("/"):
        raise _Wrong(f"must be a path from the root on, got {_shown(value)}")
    return path


def _store(value: Any) -> str:
    database = _path(value)
    scheme, separator, _ = database.partition("://")
    if not separator:
        return database
    if scheme in ("postgresql", "mysql"):
        raise _Wrong(
            f"must be the path of an SQLite file: {scheme}:// comes with a later version of pcc"
        )
    raise _Wrong(f"must be the path of an SQLite file, got {_shown(value)}")


def _mail_address(value: Any) -> str:
    address = _text(value).strip()
    if not address or not address.isascii() or any(c in ' ,;<>()"\\' for c in address):
        raise _Wrong(f'must be a plain mail address such as "postmaster", got {_shown(value)}')
    if address.startswith("-"):
        raise _Wrong(f'must not begin with "-", got {_shown(value)}')
    return address


def _optional_mail_address(value: Any) -> str:
    return "" if value == "" else _mail_address(value)


def _host_and_port(value: Any) -> tuple[str, int]:
    host, _, port = _text(value).strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not host or not 0 < number < 65536:
        raise _Wrong(f'must be a host and a port such as "localhost:25", got {_shown(value)}')
    return host, number


def _log_name(value: Any) -> str:
    name = _text(value)
    if not name or len(name) > 32 or not name.isascii() or any(c in " []:%" for c in name):
        raise _Wrong(
            f"must be a short name without blanks, colons and brackets, got {_shown(value)}"
        )
    return name


DEFAULT_REASON = (
    "5.7.1 Sending is blocked: this account was used from too many countries."
    " Contact your administrator."
)

LIMIT: dict[str, tuple[Any, Check]] = {
    "max_countries": (0, _whole(0)),
    "max_addresses": (0, _whole(0)),
    "window": ("2d", _duration),
}
"""The keys of a [[limit]]: default and check.  The window's real default is [policy]'s."""

_OVERRIDABLE: dict[str, tuple[Any, Check]] = {
    "mode": ("enforce", _one_of("enforce", "observe")),
    "max_countries": (3, _whole(0)),
    "window": ("2d", _duration),
    "familiar_after": (1, _whole(0, MOST_FAMILIAR_DAYS)),
    "min_mails": (1, _whole(1)),
    "max_addresses": (0, _whole(0)),
    "action": ("REJECT", _action),
    "hold_limit": (50, _whole(0)),
    "reason": (DEFAULT_REASON, _text),
    "block_for": ("", _optional_seconds),
    "ignore_countries": ([], _list_of(_country)),
    "country_groups": ([], _groups),
    # Changes nothing in an override, whose accounts are complete by then.
    "default_domain": ("", _optional_domain),
}

POLICY: dict[str, tuple[Any, Check]] = {
    **_OVERRIDABLE,
    "account": ("sasl_username", _one_of("sasl_username", "sender")),
    "domains": ([], _list_of(_domain)),
    "exempt_accounts": ([], _list_of(_account)),
    "exempt_clients": ([], _list_of(_client)),
}
"""The keys of [policy]: default and check."""

OVERRIDE: dict[str, tuple[Any, Check]] = {**_OVERRIDABLE, "accounts": ([], _list_of(_account))}
"""The keys of an [[override]], besides `limit`."""

SECTIONS: dict[str, dict[str, tuple[Any, Check]]] = {
    "country": {"database": ("/var/lib/pcc/country.mmdb", _path)},
    "store": {
        "database": ("/var/lib/pcc/pcc.db", _store),
        "keep_sightings": ("30d", _seconds),
        "keep_incidents": ("180d", _seconds),
    },
    "notify": {
        "to": (["postmaster"], _list_of(_mail_address)),
        "from": ("", _optional_mail_address),
        "transport": ("sendmail", _one_of("sendmail", "smtp")),
        "sendmail": ("/usr/sbin/sendmail", _absolute_path),
        "smtp": ("localhost:25", _host_and_port),
        "command": ([], _list_of(_text)),
    },
    "log": {"name": ("pcc", _log_name), "verbose": (False, _boolean)},
}
"""The other sections: the keys of each, default and check."""
