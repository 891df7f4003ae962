"""Files in MaxMind's format that say where an address is: its country, its city, its network.

Makers other than MaxMind share their layout, such as DB-IP.  The country is the one where an
address is used, and never the one where its network is registered.  That would be a guess for
satellite providers and anycast networks: a traveller on a plane would be at the provider's
headquarters.  ZZ, DB-IP's word for unknown, is no country.  A file may be replaced, overwritten,
damaged or removed at any moment.  The next look-up follows, or raises CountryError, which lasts no
longer than its cause.  The files are somebody else's work, so every value is checked.  The first
look-up imports maxminddb, which geoip2 brings along: it costs several times the start of an
interpreter, and geoip2 itself half as much again.
"""

from __future__ import annotations

import os

from pcc.address import located, packed_address
from pcc.errors import CountryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from maxminddb.reader import Reader

_TRIES = 3

LONGEST_NAME = 60
"""Characters of a city's or an organisation's name that are shown."""

MOST_KM = 20_040
"""Half the way round the earth: nothing is wrong by more."""

WELL_KNOWN = {
    "128.32.0.1": ("US", 25),  # University of California, Berkeley.
    "128.100.100.1": ("CA", 239),  # University of Toronto.
    "129.78.5.8": ("AU", 23719),  # University of Sydney.
    "129.132.19.216": ("CH", 559),  # ETH Zurich.
    "130.79.200.1": ("FR", 2259),  # University of Strasbourg.
    "130.88.1.1": ("GB", 786),  # University of Manchester.
    "130.225.0.1": ("DK", 1835),  # Danish research network.
    "130.237.28.40": ("SE", 1653),  # Royal Institute of Technology, Stockholm.
    "133.11.0.1": ("JP", 2501),  # University of Tokyo.
    "134.130.4.17": ("DE", 47610),  # RWTH Aachen.
    "143.248.1.1": ("KR", 1781),  # KAIST.
    "147.83.2.135": ("ES", 13041),  # Polytechnic University of Catalonia.
    "193.0.6.139": ("NL", 3333),  # RIPE NCC.
    "193.206.158.22": ("IT", 137),  # Italian research network.
    "200.160.2.3": ("BR", 22548),  # NIC.br.
}
"""Addresses of old institutions that don't move, with their countries and networks."""

FIRST_RECORDS = 100
"""Records that are looked at in a file that knows no well-known address."""


class Kind:
    """Something that a file is asked for: countries, cities or networks.

    `types`: a file's type has one of these words in it.  `answer` takes a record to what is asked
    for, or to None where the record has no such thing, which it has in `field`.
    """

    __slots__ = ("answer", "field", "noun", "types")

    def __init__(
        self, noun: str, types: tuple[str, ...], field: str, answer: Callable[[Any], Any]
    ) -> None:
        self.noun = noun
        self.types = types
        self.field = field
        self.answer = answer

    def fits(self, database_type: str) -> bool:
        """Whether a file of this type has what is asked for."""
        return any(word in database_type for word in self.types)

    def check_type(self, path: str, database_type: str) -> None:
        """Raise CountryError for a file of a type that doesn't have what is asked for."""
        if not self.fits(database_type):
            types = f"{', '.join(self.types[:-1])} or {self.types[-1]}"
            article = "an" if types[0] in "AEIOU" else "a"
            raise CountryError(
                f"{path}: the {self.noun} must be of {article} {types} type, got {database_type!a}"
            )


class DatabaseInfo:
    """A file's description of itself; `build_epoch` is in UTC seconds."""

    __slots__ = ("build_epoch", "node_count", "path", "type")

    def __init__(self, path: str, type: str, build_epoch: int, node_count: int) -> None:
        self.path = path
        self.type = type
        self.build_epoch = build_epoch
        self.node_count = node_count


class Database:
    """The file at a path, opened on the first look-up and whenever it was replaced.

    `mapped`: map the file into memory, for a command with many thousands of look-ups, which may
    end if somebody truncates the file meanwhile.
    """

    __slots__ = ("_failure", "_identity", "_kind", "_mapped", "_open", "path")

    def __init__(self, path: str, kind: Kind, *, mapped: bool = False) -> None:
        self.path = path
        self._kind = kind
        self._mapped = mapped
        self._identity: tuple[int, ...] | None = None
        self._open: _OpenDatabase | None = None
        self._failure = ""

    def find(self, packed: bytes) -> tuple[Any, int]:
        """Return what the file has for a packed address, and of how many leading bits it is true.

        None where it has nothing.  Raises CountryError for a file that is missing, can't be read,
        is damaged, of the wrong type or of another layout.
        """
        packed = located(packed)
        for _ in range(_TRIES):
            database = self._current()
            try:
                answer = database.find(packed)
            except CountryError:
                if self._is_current():
                    raise
            else:
                # The reader says "not in there" of a file that somebody truncated meanwhile.
                if self._is_current():
                    return answer
        raise CountryError(
            f"{self.path}: the {self._kind.noun} is being overwritten in place;"
            " it should be written beside and renamed"
        )

    def close(self) -> None:
        """Close the file; the next look-up opens it again."""
        database, self._open = self._open, None
        self._identity = None
        if database is not None:
            database.close()

    def _current(self) -> _OpenDatabase:
        """Return the database that is at the path now.

        One that could not be opened is complained of again, at the cost of a stat(2), until it
        changes.
        """
        try:
            identity = self._look()
        except CountryError:
            self.close()
            raise
        if identity != self._identity:
            self.close()
            try:
                self._open = _OpenDatabase(self.path, self._kind, mapped=self._mapped)
            except CountryError as error:
                self._failure = str(error)
            self._identity = identity
        if self._open is None:
            raise CountryError(self._failure)
        return self._open

    def _is_current(self) -> bool:
        return self._look() == self._identity

    def _look(self) -> tuple[int, ...]:
        """Return what changes when the file is replaced, written to, or made readable."""
        status = _status(self.path, self._kind)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def describe(path: str, kind: Kind) -> DatabaseInfo:
    """Return what the file at `path`, which must have what is asked for, says of itself.

    Raises CountryError.
    """
    database = _OpenDatabase(path, kind, mapped=False)
    try:
        metadata = database.metadata
        return DatabaseInfo(path, metadata.database_type, metadata.build_epoch, metadata.node_count)
    finally:
        database.close()


class _OpenDatabase:
    """A file that is open, of a type that can be asked, and of the layout that is asked for.

    The file is read, and mapped into memory only where that is asked for.  Touching a page that
    somebody has just truncated away kills a process by SIGBUS, and so all policy processes at once.
    Reading is slower: 30 us a look-up in the bundled database, 14 mapped, 4 with the C extension
    (GeoLite2 City: 220, 75 and 17).  But only an address that is new for an account is looked up,
    and importing maxminddb costs hundreds of times as much.  Either way 64 processes share the
    file in the page cache, with 0.2 MB or less for each.
    """

    __slots__ = ("_kind", "_path", "_reader", "metadata")

    def __init__(self, path: str, kind: Kind, *, mapped: bool) -> None:
        self._path = path
        self._kind = kind
        self._reader = _read(path, kind, mapped=mapped)
        try:
            self.metadata = self._reader.metadata()
            if not isinstance(self.metadata.database_type, str) or not isinstance(
                self.metadata.build_epoch, int
            ):
                raise CountryError(f"{path}: is a damaged MaxMind DB file")
            kind.check_type(path, self.metadata.database_type)
            self._check_layout()
        except CountryError:
            self._reader.close()
            raise

    def find(self, packed: bytes) -> tuple[Any, int]:
        """Return what `Database.find` does.  Raises CountryError."""
        import ipaddress  # the reader needs it anyway

        if len(packed) == 16 and self.metadata.ip_version == 4:
            return None, 0
        address = ipaddress.ip_address(packed)
        try:
            record, bits = self._reader.get_with_prefix_len(address)
            return self._kind.answer(_table(record)), bits
        except damage() as error:
            raise CountryError(
                f"{self._path}: the {self._kind.noun} is damaged where {address} would be: {error}"
            ) from None

    def close(self) -> None:
        self._reader.close()

    def _check_layout(self) -> None:
        """Raise CountryError where no record has what is asked for in the place to look for it.

        A file whose maker has another layout would open, and know nothing of anybody.
        """
        for text in WELL_KNOWN:
            packed = packed_address(text)
            if packed and self.find(packed)[0] is not None:
                return
        import ipaddress

        # The bits that an answer is true of lead to the next network.  Readers iterate by
        # themselves only from maxminddb 2.4 on, and Debian 12 has 2.2.
        size = 4 if self.metadata.ip_version == 4 else 16
        number, seen = 0, 0
        while number < 1 << size * 8 and seen < FIRST_RECORDS:
            address = ipaddress.ip_address(number.to_bytes(size, "big"))
            try:
                record, bits = self._reader.get_with_prefix_len(address)
                if self._kind.answer(_table(record)) is not None:
                    return
            except damage() as error:
                raise CountryError(
                    f"{self._path}: the {self._kind.noun} is damaged: {error}"
                ) from None
            seen += record is not None
            number += 1 << size * 8 - bits
        raise CountryError(
            f"{self._path}: the {self._kind.noun} is of another layout:"
            f" no record has {self._kind.field}"
        )


def _status(path: str, kind: Kind) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError:
        raise CountryError(
            f"{path}: the {kind.noun} is missing; `pcc_admin.py init` puts one there"
        ) from None
    except OSError as error:
        raise _unreadable(path, kind, error) from None


def _read(path: str, kind: Kind, *, mapped: bool) -> Reader:
    """Return maxminddb's reader of the file.  Raises CountryError."""
    import stat  # in the interpreter already, by way of os

    from pcc.host.packages import reach_packages

    status = _status(path, kind)
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        raise CountryError(f"{path}: the {kind.noun} must be a regular file")
    if not status.st_size:
        raise CountryError(f"{path}: the {kind.noun} is empty")
    reach_packages()
    try:
        from maxminddb import MODE_AUTO, MODE_FILE, open_database
    except ImportError as error:
        raise CountryError(f"{path}: can't be read without Python's geoip2: {error}") from None
    try:
        return open_database(path, MODE_AUTO if mapped else MODE_FILE)
    except OSError as error:
        raise _unreadable(path, kind, error) from None
    except damage():
        raise CountryError(f"{path}: is not a MaxMind DB file, or a damaged one") from None


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


def _unreadable(path: str, kind: Kind, error: OSError) -> CountryError:
    return CountryError(f"{path}: the {kind.noun} can't be read: {error.strerror}")


# The kinds: the answer of each is taken from where a record has it.


def _country(record: dict[str, Any]) -> str | None:
    """Return the code of a country in upper case; None for ZZ and for what is no such code."""
    code = _table(record.get("country")).get("iso_code")
    if isinstance(code, str) and len(code) == 2 and code.isascii() and code.isalpha():
        return code.upper() if code.upper() != "ZZ" else None
    return None


def _city(record: dict[str, Any]) -> tuple[str, float | None, float | None, int] | None:
    """Return city, latitude, longitude and radius in km, of which any may be unknown."""
    location = _table(record.get("location"))
    latitude = _number(location.get("latitude"), 90)
    longitude = _number(location.get("longitude"), 180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    names = _table(_table(record.get("city")).get("names"))
    name = _text(names.get("en") or next(iter(names.values()), ""))
    if not name and latitude is None:
        return None
    return (
        name,
        latitude,
        longitude,
        int(abs(_number(location.get("accuracy_radius"), MOST_KM) or 0)),
    )


def _network(record: dict[str, Any]) -> tuple[int, str] | None:
    """Return the number of an autonomous system, 0 if unknown, and the name of its organisation."""
    number = int(max(0, _number(record.get("autonomous_system_number"), 2**32 - 1) or 0))
    organisation = _text(record.get("autonomous_system_organization"))
    return (number, organisation) if number or organisation else None


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value[:LONGEST_NAME] if isinstance(value, str) else ""


def _number(value: object, most: float) -> float | None:
    """Return a number between -most and most, None for anything else, NaN as well."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if -most <= value <= most else None


COUNTRIES = Kind(
    "country database", ("Country", "City", "Enterprise"), "country.iso_code", _country
)
CITIES = Kind("country database", ("City", "Enterprise"), "location.latitude or city.names", _city)
NETWORKS = Kind("network database", ("ASN", "ISP"), "autonomous_system_number", _network)
