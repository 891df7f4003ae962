"""Where very many addresses are, for a command that reads months of mail at once.

Each network of a database is looked up but once.  Its answer stays, even if the database changes
meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcc.address import located
from pcc.places.database import COUNTRIES, NETWORKS, Database
from pcc.places.lookup import Lookup

if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.places.database import Kind


class LookupOfMany(Lookup):
    """A Lookup that remembers all that it was asked."""

    def __init__(
        self, countries: str, networks: str, hosting: str, complain: Callable[[str], None]
    ) -> None:
        super().__init__(countries, networks, hosting, complain)
        self._countries = _Remembered(countries, COUNTRIES)
        self._networks = _Remembered(networks, NETWORKS) if networks else None


class CountryMemory:
    """The countries of addresses, by the country database at a path."""

    def __init__(self, path: str) -> None:
        self._database = _Remembered(path, COUNTRIES)

    def country(self, packed: bytes) -> str:
        """Return the ISO 3166 code, "" if there is none; raises CountryError."""
        return self._database.find(packed)[0] or ""


class _Remembered(Database):
    __slots__ = ("_known",)

    def __init__(self, path: str, kind: Kind) -> None:
        super().__init__(path, kind, mapped=True)
        # By size, by the bits to the right, and by those to the left: what was found.
        self._known: dict[int, dict[int, dict[int, tuple[Any, int]]]] = {4: {}, 16: {}}

    def find(self, packed: bytes) -> tuple[Any, int]:
        packed = located(packed)
        networks = self._known[len(packed)]
        number = int.from_bytes(packed, "big")
        for shift, answers in networks.items():
            answer = answers.get(number >> shift)
            if answer is not None:
                return answer
        answer = super().find(packed)
        shift = max(0, len(packed) * 8 - answer[1])
        networks.setdefault(shift, {})[number >> shift] = answer
        return answer
