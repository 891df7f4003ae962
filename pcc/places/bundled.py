"""The files that come along: a country database, a network database, and the hosting list.

data/README.md says where they come from and what their licences ask for.  `init` unpacks
them into the state folder, and only where there is none yet: it never replaces a file that an
administrator put there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pcc.errors import CountryError
from pcc.host.files import NewFile, sync_folder
from pcc.host.serviceuser import give_to_service_user
from pcc.places import database
from pcc.places.database import DatabaseInfo, Kind, describe
from pcc.places.hosting import read_hosting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pcc.config import Config

FOLDER = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "data"
)


class File(NamedTuple):
    """One of the files that say where an address is.

    `key` is its key in pcc.toml, `bundled` the name of the file that comes along, and `kind` what a
    database is asked for.
    """

    noun: str
    key: str
    bundled: str
    kind: Kind | None

    def path(self, config: Config) -> str:
        """Return where the configuration has the file, "" for nowhere."""
        paths = {
            "country.database": config.country_database,
            "country.networks": config.networks_database,
            "country.hosting": config.hosting_list,
        }
        return paths[self.key]

    def describe(self, path: str) -> DatabaseInfo:
        """Return what the one at `path` says of itself; CountryError where it can't be used.

        A hosting list has a time of writing in place of one of building, and its networks are
        counted in place of nodes.
        """
        if self.kind:
            return describe(path, self.kind)
        networks = read_hosting(path)
        return DatabaseInfo(path, self.noun, int(os.stat(path).st_mtime), len(networks))


COUNTRIES = File(
    database.COUNTRIES.noun, "country.database", "dbip-country-lite.mmdb.xz", database.COUNTRIES
)
NETWORKS = File(database.NETWORKS.noun, "country.networks", "networks.mmdb.xz", database.NETWORKS)
HOSTING = File("hosting list", "country.hosting", "hosting.txt", None)
FILES = {"country": COUNTRIES, "networks": NETWORKS, "hosting": HOSTING}
"""By what `pcc_admin.py places` calls them."""

MODE = 0o640
"""A new file gets it, whatever the umask says: the group reads it."""

_CHUNK = 1 << 20


def unpack(target: str, file: File = COUNTRIES) -> None:
    """Write the bundled file to `target`, which must not exist.

    It appears there whole or not at all, readable by its owner and group.  When root does it, it
    belongs to the service user.  Raises CountryError.
    """
    if os.path.lexists(target):
        raise CountryError(
            f"{target}: exists already and is not replaced by the bundled {file.noun}"
        )
    try:
        with NewFile(target) as new:
            for chunk in chunks(file):
                new.file.write(chunk)
            new.file.flush()
            give_time(new.name, new.file.fileno(), file)
            os.fchmod(new.file.fileno(), MODE)
            give_to_service_user(new.file.fileno(), target)
            new.take_place()
        sync_folder(target)
    except OSError as error:
        raise CountryError(
            f"{target}: the bundled {file.noun} can't be written: {error.strerror}"
        ) from None


def give_time(path: str, descriptor: int, file: File) -> None:
    """Give a new file, open as `descriptor`, a time that follows from what is in it.

    The time of a database stands for its answers (`looked_up` in schema.sql): hosts that share a
    store must not take each other's copy for another database.  It is the time of building, to the
    second; the rest distinguishes databases that were built in the same one.
    """
    from zlib import crc32

    with open(path, "rb") as content:
        rest = 0
        while chunk := content.read(_CHUNK):
            rest = crc32(chunk, rest)
    time = file.describe(path).build_epoch * 10**9 + rest % 10**9
    os.utime(descriptor, ns=(time, time))


def chunks(file: File) -> Iterator[bytes]:
    """Yield the content of the bundled file; the checksum of xz vouches for it."""
    path = os.path.join(FOLDER, file.bundled)
    try:
        import lzma  # 2 ms, for the one command that needs it
    except ImportError:
        raise _broken(path, "this Python was built without lzma") from None
    try:
        with lzma.open(path) if path.endswith(".xz") else open(path, "rb") as content:
            while chunk := content.read(_CHUNK):
                yield chunk
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise _broken(path, str(error)) from None


def _broken(path: str, cause: str) -> CountryError:
    return CountryError(f"{path}: can't be unpacked: {cause}")
