"""The configuration as immutable records.

pcc/config/prepared.py loads them from a pcc.toml.  The options, their defaults, types
and ranges are in pcc/config/options.py, which only parsing needs.
"""

from __future__ import annotations

import posix  # what `os` adds to it would cost a tenth of the interpreter's start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pcc.address import Network
    from pcc.protocol import PolicyRequest

DEFAULT_PATH = "/etc/pcc/pcc.toml"

LONGEST_BLOCK = 30 * 86400
"""Seconds up to which a block that ends by itself gets longer each time."""


NEVER = -1.0
"""When a file was made that is not there."""


def time_of(path: str) -> float:
    """Return when a file was made, UTC seconds; NEVER where there is none.

    A microsecond for each byte is added: in images of systems all files have the same time.
    """
    try:
        status = posix.stat(path)
        return status.st_mtime + status.st_size * 1e-6
    except OSError:
        return NEVER


class Record:
    """Named values that can't be changed once made; each child lists its own."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, values: dict[str, Any]) -> None:
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} can't be changed")


class Limit(Record):
    """How many places an account may be seen in, and how many mails may come from there.

    `max_…`: the most that pass; 0 is off.  `familiar_after`: earlier days, 0
    is off.  `observes`: whether this limit alone blocks nobody, whatever the
    policy's mode.  `window`: seconds.  `window_text`: the window as the
    operator wrote it.
    """

    __slots__ = (
        "familiar_after",
        "max_addresses",
        "max_countries",
        "max_foreign_mails",
        "max_hosting_mails",
        "max_networks",
        "observes",
        "window",
        "window_text",
    )
    familiar_after: int
    max_addresses: int
    max_countries: int
    max_foreign_mails: int
    max_hosting_mails: int
    max_networks: int
    observes: bool
    window: int
    window_text: str


class Policy(Record):
    """The rules for one account: `[policy]`, or that with an `[[override]]` over it.

    `block_for`: seconds, 0 until an administrator lifts it.  `familiar_after`:
    that of `[policy]`.  `group_of`: the name of a country's group, for the
    countries that are in one.  `limits`: the limit of `[policy]` first, then
    the further ones.
    """

    __slots__ = (
        "action",
        "block_for",
        "familiar_after",
        "group_of",
        "hold_limit",
        "ignore_countries",
        "limits",
        "mail_limits",
        "min_mails",
        "mode",
        "narrowest_window",
        "reason",
        "windows",
    )
    action: str
    block_for: int
    familiar_after: int
    group_of: dict[str, str]
    hold_limit: int
    ignore_countries: frozenset[str]
    limits: tuple[Limit, ...]
    mail_limits: tuple[tuple[Limit, str], ...]
    min_mails: int
    mode: str
    narrowest_window: int
    reason: str
    windows: tuple[int, ...]

    def __init__(self, values: dict[str, Any]) -> None:
        limits = tuple([Limit(limit) for limit in values["limits"]])
        windows = tuple(sorted({limit.window for limit in limits}))
        super().__init__(
            {
                **values,
                "limits": limits,
                "mail_limits": tuple(
                    [(limit, "hosting") for limit in limits if limit.max_hosting_mails]
                    + [(limit, "foreign") for limit in limits if limit.max_foreign_mails]
                ),
                "windows": windows,
                "narrowest_window": windows[0],
            }
        )

    @property
    def action_word(self) -> str:
        """The action without its text: `REJECT`."""
        return self.action.partition(" ")[0]

    @property
    def holds(self) -> bool:
        """Whether the mail of a blocked account is held."""
        return self.action_word == "HOLD"

    def block_seconds(self, before: float) -> float:
        """Return how long a block lasts, 0 until an administrator lifts it.

        `before`: how long the account's last block lasted, if that ended by itself; otherwise 0.
        """
        if not self.block_for:
            return 0
        return max(self.block_for, min(2 * before, LONGEST_BLOCK))

    @property
    def observes(self) -> bool:
        """Whether mail passes that would be stopped in enforce mode."""
        return self.mode == "observe"


class Notify(Record):
    """The administrators who get notices, and the way to them.

    `sender`: the `from` option.  `smtp`: host and port.
    """

    __slots__ = ("command", "digest", "sender", "sendmail", "smtp", "to", "transport")
    command: tuple[str, ...]
    digest: int
    sender: str
    sendmail: str
    smtp: tuple[str, int]
    to: tuple[str, ...]
    transport: str


class Config(Record):
    """All that one pcc.toml says.

    `path`: the file itself.  `identity`: a number for the file as it was when it
    was read, the same for all processes; 0 where that is not known.  With a database
    on a server it is the same for all hosts with these settings.
    `networks_database`, `hosting_list`: paths, "" for none; a file need not be
    there.  `keep_sightings`, `keep_incidents`, `trust_for`: seconds.  `shown_database`:
    `store_database` without a password.  `exempt_accounts` and
    `domains` are in lower case, exempt domains begin with `@`.
    `exempt_systems`: numbers of autonomous systems.  `recipient_delimiter`: ""
    where what it ends is an account of its own: with logins that have no extension.
    """

    __slots__ = (
        "account",
        "country_database",
        "default_domain",
        "domains",
        "exempt_accounts",
        "exempt_names",
        "exempt_networks",
        "exempt_systems",
        "hosting_list",
        "identity",
        "keep_incidents",
        "keep_sightings",
        "log_name",
        "login_spellings",
        "networks_database",
        "notify",
        "overrides",
        "path",
        "policy",
        "recipient_delimiter",
        "shown_database",
        "store_database",
        "store_host",
        "trust_for",
        "verbose",
    )
    account: str
    country_database: str
    default_domain: str
    domains: frozenset[str]
    exempt_accounts: frozenset[str]
    exempt_names: tuple[str, ...]
    exempt_networks: tuple[Network, ...]
    exempt_systems: frozenset[int]
    hosting_list: str
    identity: int
    keep_incidents: int
    keep_sightings: int
    log_name: str
    login_spellings: tuple[str, ...]
    networks_database: str
    notify: Notify
    overrides: tuple[tuple[frozenset[str], Policy], ...]
    path: str
    policy: Policy
    recipient_delimiter: str
    shown_database: str
    store_database: str
    store_host: str
    trust_for: int
    verbose: bool

    def __init__(self, values: dict[str, Any]) -> None:
        overrides = [(accounts, Policy(override)) for accounts, override in values["overrides"]]
        super().__init__(
            {
                "identity": 0,
                **values,
                "policy": Policy(values["policy"]),
                "overrides": tuple(overrides),
                "notify": Notify(values["notify"]),
            }
        )

    @property
    def files_of_places(self) -> tuple[str, str, str]:
        """Paths of the country database, the network database and the hosting list."""
        return self.country_database, self.networks_database, self.hosting_list

    def judged_by(self) -> int:
        """Return what stands for this configuration and its files of places as they are now.

        The same in all processes.
        """
        return hash((self.identity, *[time_of(path) for path in self.files_of_places]))

    @property
    def is_on_server(self) -> bool:
        """Whether the database is on a server, which other hosts may share."""
        return "://" in self.store_database

    @property
    def this_host(self) -> str:
        """The name of this host in records of held mail; "" where none shares its database."""
        return (self.store_host or posix.uname().nodename) if self.is_on_server else ""

    @property
    def state_path(self) -> str:
        """The path that pcc's files beside the database are named after.

        Those of a database on a server lie beside the country database.
        """
        if self.is_on_server:
            return self.country_database.rpartition("/")[0] + "/pcc"
        return self.store_database

    @property
    def host_file(self) -> str:
        """The path of this host's own file in front of a database on a server."""
        return self.state_path + ".host"

    @property
    def policies(self) -> list[Policy]:
        """All policies: that of [policy], and those of the overrides."""
        return [self.policy, *[policy for _, policy in self.overrides]]

    @property
    def kept_sightings(self) -> int:
        """Seconds that sightings are really kept: as long as the longest window needs them."""
        return max(self.keep_sightings, *[policy.windows[-1] for policy in self.policies])

    def policy_for(self, account: str) -> Policy:
        """Return the policy of a normalised account: the first override that names it."""
        if self.overrides:
            domain = at_domain(account)
            for accounts, policy in self.overrides:
                if account in accounts or domain in accounts:
                    return policy
        return self.policy

    def normalised_account(self, login: str) -> str:
        """Return the account of a login: stripped, in lower case, with a domain."""
        return account_named(
            login, self.default_domain, self.login_spellings, self.recipient_delimiter
        )

    def account_of(self, request: PolicyRequest) -> str:
        """Return the account that a request is about, "" where no client is authenticated."""
        login = request.sasl_username
        if login and self.account == "sender":
            login = request.sender or login
        return self.normalised_account(login)

    def covers(self, account: str) -> bool:
        """Whether pcc looks at this account at all: in scope and not exempt."""
        domain = at_domain(account)
        if self.domains and domain[1:] not in self.domains:
            return False  # as is_in_scope(), which would be called for each mail
        return account not in self.exempt_accounts and domain not in self.exempt_accounts

    def is_in_scope(self, account: str) -> bool:
        """Whether the account is of one of the domains, or these are not listed."""
        return not self.domains or at_domain(account)[1:] in self.domains


def account_named(login: str, default_domain: str, spellings: tuple[str, ...], ends: str) -> str:
    """Return the account of a login; `ends`: the characters one of which ends the local part.

    The account of an account is itself: otherwise `init` would take it for a spelling of another.
    """
    account = login.strip().lower()
    if "@" in account:  # other spellings of the same login: `joe@`, `joe@example.org.`
        account = account.rstrip("@.")
    if spellings and "@" not in account:
        if "\\" in account and "domain\\user" in spellings:
            domain, _, user = account.partition("\\")
            account = f"{user}@{domain}" if user and domain else account
        elif "%" in account and "user%domain" in spellings:
            user, _, domain = account.rpartition("%")
            account = f"{user}@{domain}" if user and domain else account
    if default_domain and account and "@" not in account:
        account = f"{account}@{default_domain}"
    if ends:  # from its second character on, as Postfix looks for them: `+joe` has no extension
        user, at, domain = account.rpartition("@")
        local = user if at else domain
        found = [place for end in ends if (place := local.find(end, 1)) > 0]
        if found:
            account = local[: min(found)] + account[len(local) :]
    if account == login:
        return account
    return account_named(account, default_domain, spellings, ends)


def at_domain(account: str) -> str:
    """Return the account's domain with its `@`, or `@` alone for one without."""
    return "@" + account.rpartition("@")[2] if "@" in account else "@"
