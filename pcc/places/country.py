"""The country of a client address, from a country database in MaxMind's format.

GeoIP2 and GeoLite2 Country, City and Enterprise files are read, and those of other makers that
share their layout, such as DB-IP's.  The country is the one where the database says an address is
used, and nothing else: where that is unknown, as for satellite providers and anycast networks that
answer from everywhere at once, the country in which the network is registered would be a guess,
and would have a traveller on a plane seen at the provider's headquarters.  ZZ, DB-IP's word for
unknown, is no country.  The file may be replaced, overwritten, damaged or removed at any moment:
the next look-up follows, or raises CountryError, which lasts no longer than its cause.  geoip2 is
imported on the first look-up and not before.
"""

from __future__ import annotations

import os

from pcc.errors import CountryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from geoip2.database import Reader

_METHODS = {"Country": "country", "City": "city", "Enterprise": "enterprise"}
"""What a database's type contains, and the method of geoip2's Reader that asks such a database."""

_TRIES = 3


class DatabaseInfo:
    """What a country database says of itself; `build_epoch` is in UTC seconds."""

    __slots__ = ("build_epoch", "node_count", "path", "type")

    def __init__(self, path: str, type: str, build_epoch: int, node_count: int) -> None:
        self.path = path
        self.type = type
        self.build_epoch = build_epoch
        self.node_count = node_count


class CountryDatabase:
    """The country database at a path, opened on the first look-up and whenever it was replaced.

    `mapped`: map the file into memory, for a command with many thousands of
    look-ups, which may end if somebody truncates the file meanwhile.
    """

    __slots__ = ("_database", "_failure", "_identity", "_mapped", "path")

    def __init__(self, path: str, *, mapped: bool = False) -> None:
        self.path = path
        self._mapped = mapped
        self._identity: tuple[int, ...] | None = None
        self._database: _OpenDatabase | None = None
        self._failure = ""

    def country(self, address: str) -> str | None:
        """Return the ISO 3166 code in upper case of an IPv4 or IPv6 address, or None.

        None where the database has no country for it.  Raises CountryError when the database is
        missing, can't be read, is damaged or of the wrong type; ValueError when `address` is no
        address.
        """
        return self._answer(address)[0]

    def country_and_bits(self, address: str) -> tuple[str | None, int]:
        """Return the country of an address, and of how many leading bits of it that is true.

        All of them where geoip2 doesn't tell: that of Debian 12 (2.9) doesn't know the network.
        """
        country, source = self._answer(address)
        network = getattr(source, "network", None)
        return country, network.prefixlen if network is not None else 128

    def _answer(self, address: str) -> tuple[str | None, Any]:
        for _ in range(_TRIES):
            database = self._current()
            try:
                answer = database.answer(address)
            except CountryError:
                if self._is_current():
                    raise
            else:
                # Of a file that somebody truncated meanwhile, the reader says "not in there".
                if self._is_current():
                    return answer
        raise CountryError(
            f"{self.path}: the country database is being overwritten in place;"
            " it should be written beside and renamed"
        )

    def close(self) -> None:
        """Close the file; the next look-up opens it again."""
        database, self._database = self._database, None
        self._identity = None
        if database is not None:
            database.close()

    def _current(self) -> _OpenDatabase:
        """Return the database that is at the path now.

        Where that could not be opened, what is wrong with it is said again at the cost of a stat(2)
        until it changes.
        """
        try:
            identity = _identity(self.path)
        except CountryError:
            self.close()
            raise
        if identity != self._identity:
            self._reopen(identity)
        if self._database is None:
            raise CountryError(self._failure)
        return self._database

    def _is_current(self) -> bool:
        return _identity(self.path) == self._identity

    def _reopen(self, identity: tuple[int, ...]) -> None:
        self.close()
        try:
            self._database = _OpenDatabase(self.path, mapped=self._mapped)
        except CountryError as error:
            self._failure = str(error)
        self._identity = identity


class _OpenDatabase:
    """A country database that's open, and of a type that can be asked."""

    __slots__ = ("_lookup", "_path", "_reader")

    def __init__(self, path: str, *, mapped: bool) -> None:
        self._path = path
        self._reader = _open(path, mapped=mapped)
        method = check_type(path, self._reader.metadata().database_type)
        self._lookup: Callable[..., Any] = getattr(self._reader, method)

    def answer(self, address: str) -> tuple[str | None, Any]:
        """Return the country of an address, and what knows the network it is true of, if any."""
        import ipaddress  # the reader needs it anyway

        from geoip2.errors import AddressNotFoundError

        ip_address = ipaddress.ip_address(address)
        try:
            if ip_address.version > self._reader.metadata().ip_version:
                return None, None  # an IPv6 address in a database of IPv4 alone
            response = self._lookup(ip_address)
            return _code(response.country.iso_code), response.traits
        except AddressNotFoundError as error:
            return None, error
        except damage() as error:
            raise CountryError(
                f"{self._path}: the country database is damaged where {address} would be: {error}"
            ) from None

    def close(self) -> None:
        self._reader.close()


def describe(path: str) -> DatabaseInfo:
    """Return what the country database at `path` says of itself.  Raises CountryError."""
    reader = _open(path)
    try:
        metadata = reader.metadata()
        return DatabaseInfo(path, metadata.database_type, metadata.build_epoch, metadata.node_count)
    finally:
        reader.close()


def check_type(path: str, database_type: str) -> str:
    """Return the method of geoip2's Reader that asks a database of this type for a country.

    Raises CountryError when there is none.
    """
    for word, method in _METHODS.items():
        if word in database_type:
            return method
    raise CountryError(
        f"{path}: the country database must be of a Country, City or Enterprise type,"
        f" got {database_type!a}"
    )


def _identity(path: str) -> tuple[int, ...]:
    """Return what changes when a file is replaced, written to, or made readable."""
    status = _status(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError:
        raise CountryError(
            f"{path}: the country database is missing; `pcc_admin.py init` puts one there"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _open(path: str, *, mapped: bool = False) -> Reader:
    """Open a country database of a type that can be asked.  Raises CountryError.

    The file is read, not mapped into memory unless that is asked for: touching a page that somebody
    has just truncated away kills a process by SIGBUS, and that would be every policy process at
    once.  Reading is slower, 30 us instead of 14 for a look-up in the bundled database and 4 with
    the C extension (GeoLite2 City: 220, 75 and 17), but a look-up is only made for an address
    that's new for an account, and importing geoip2 costs hundreds of times as much.  Either way 64
    processes share the file in the page cache, 0.2 MB or less for each; a copy in the memory of
    each would be safe too, and take 3 to 63 MB.
    """
    import stat  # in the interpreter already, by way of os

    status = _status(path)
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        raise CountryError(f"{path}: the country database must be a regular file")
    if not status.st_size:
        raise CountryError(f"{path}: the country database is empty")
    reader = _read(path, mapped=mapped)
    try:
        _check_metadata(path, reader)
    except CountryError:
        reader.close()
        raise
    return reader


def _read(path: str, *, mapped: bool) -> Reader:
    """Return geoip2's reader of the file.

    Importing it costs 50 to 90 ms, several times the start of an interpreter.
    """
    from pcc.host.packages import reach_packages

    reach_packages()
    try:
        from geoip2.database import MODE_AUTO, MODE_FILE, Reader
    except ImportError as error:
        raise CountryError(f"{path}: can't be read without Python's geoip2: {error}") from None
    try:
        return Reader(path, locales=[], mode=MODE_AUTO if mapped else MODE_FILE)
    except OSError as error:
        raise _unreadable(path, error) from None
    except damage():
        raise CountryError(f"{path}: is not a MaxMind DB file, or a damaged one") from None


def _check_metadata(path: str, reader: Reader) -> None:
    metadata = reader.metadata()
    if not isinstance(metadata.database_type, str) or not isinstance(metadata.build_epoch, int):
        raise CountryError(f"{path}: is a damaged MaxMind DB file")
    check_type(path, metadata.database_type)


def damage() -> tuple[type[Exception], ...]:
    """Return what a reader may raise on its way through rubbish, which depends on the rubbish.

    No PccError is among it, such as the deadline that may interrupt a look-up.
    """
    from struct import error  # the reader has imported it already

    return (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        error,
    )


def _unreadable(path: str, error: OSError) -> CountryError:
    return CountryError(f"{path}: the country database can't be read: {error.strerror}")


def _code(iso_code: object) -> str | None:
    """Return the code of a country in upper case; None for ZZ and for what is no such code."""
    if isinstance(iso_code, str) and len(iso_code) == 2 and iso_code.isascii():
        country = iso_code.upper()
        if country.isalpha() and country != "ZZ":
            return country
    return None
