"""The country of an address, by a country database that is opened when it is first asked.

Asking is dear, so only mail from an address that is new for its account needs
it; whether the file has been replaced since is seen from its time.
"""

from __future__ import annotations

import posix  # what `os` adds to it would cost a tenth of the interpreter's start

from pcc.errors import CountryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.places.country import CountryDatabase

NEVER = -1.0
"""When a country database was made that is not there."""


class CountryLookup:
    """The country of an address, or "" where it is unknown for whatever reason.

    `complain` is called when the database is missing or broken.
    """

    def __init__(self, path: str, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain = complain
        self._database: CountryDatabase | None = None

    def made(self) -> float:
        """Return when the database was made, UTC seconds; NEVER where there is none."""
        try:
            return posix.stat(self._path).st_mtime
        except OSError:
            return NEVER

    def country(self, address: str) -> str:
        """Return the ISO 3166 code for an address in canonical form, "" if there is none."""
        if self._database is None:
            from pcc.places.country import CountryDatabase

            self._database = CountryDatabase(self._path)
        try:
            return self._database.country(address) or ""
        except CountryError as error:
            self._complain(str(error))
            return ""
