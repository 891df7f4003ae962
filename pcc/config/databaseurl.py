"""The URL of a database server, as `store.database` has it.

    postgresql://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/DATABASE][?NAME=VALUE[&...]]
    mysql://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/DATABASE][?NAME=VALUE[&...]]

A character that means something in a URL is written as `%` and two hexadecimal
digits.  The parameters of postgresql are libpq's, and `prepare=no`; those of mysql are the options
in MYSQL_PARAMETERS.  `password_file=/FILE`, for both, names a file whose first line is the
password.  No message may have the password: `shown` is what they call the database.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

SCHEMES = ("postgresql", "mysql")

MYSQL_PARAMETERS = (
    *("unix_socket", "read_default_file", "read_default_group"),
    *("ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"),
)
SSL_MODES = ("DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


class ServerAddress:
    """Where a database is and who we are there.

    `hosts`: (name, port) of each, "" and 0 where the URL has none.
    """

    def __init__(self, url: str) -> None:
        """Take a URL apart; raises ValueError with the rule that it breaks."""
        self.scheme, separator, rest = url.partition("://")
        if not separator or self.scheme not in SCHEMES:
            raise ValueError("must begin with postgresql:// or mysql://")
        rest, _, query = rest.partition("?")
        place, _, database = rest.partition("/")
        user, _, hosts = place.rpartition("@")
        name, _, password = user.partition(":")
        self.user, self.password = unquote(name), unquote(password)
        self.database = unquote(database) or "pcc"
        self.hosts: list[tuple[str, int]] = []
        for text in hosts.split(","):
            host, colon, port = text.rpartition(":")
            if not colon or text.endswith("]"):  # an IPv6 address without a port
                host, port = text, ""
            if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
                raise ValueError("must have a port that is a number")
            self.hosts.append((unquote(host.removeprefix("[").removesuffix("]")), int(port or 0)))
        self.parameters: dict[str, str] = {}
        try:
            if query:  # Python 3.10 takes none for a fault
                self.parameters.update(parse_qsl(query, True, strict_parsing=True))
        except ValueError:
            raise ValueError("must have parameters as in ?name=value&name=value") from None
        self._check()
        self.shown = f"{self.scheme}://{hosts or 'localhost'}/{database or 'pcc'}"

    def _check(self) -> None:
        password_file = self.parameters.get("password_file", "/")
        if not password_file.startswith("/"):
            raise ValueError('must have a password_file that begins with "/"')
        if self.scheme == "postgresql":
            if self.parameters.get("prepare", "yes") not in ("yes", "no"):
                raise ValueError("must have a prepare of yes or no")
            return  # libpq knows its other parameters itself
        for name in self.parameters:
            if name not in (*MYSQL_PARAMETERS, "password_file"):
                known = ", ".join((*MYSQL_PARAMETERS, "password_file"))
                raise ValueError(f"must have parameters of {known}, not {name}")
        if self.parameters.get("ssl-mode", "DISABLED") not in SSL_MODES:
            raise ValueError(f"must have an ssl-mode of {', '.join(SSL_MODES)}")

    def has_password(self) -> bool:
        """Whether the URL itself has a password in it."""
        return bool(self.password or self.parameters.get("password"))

    def find_password(self) -> str:
        """Return the password of the URL or of password_file; raises OSError."""
        if path := self.parameters.get("password_file"):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.readline().rstrip("\r\n")
        return self.password or self.parameters.get("password", "")


def shown(database: str) -> str:
    """Return a database of the configuration as messages may show it."""
    return ServerAddress(database).shown if "://" in database else database
