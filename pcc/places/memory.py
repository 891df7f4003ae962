"""The countries of very many addresses: each network of the country database is looked up but once.

For a command that reads months of mail at once.  What was said of a network stays, whatever becomes
of the database meanwhile.
"""

from __future__ import annotations

from pcc.address import located
from pcc.places.database import COUNTRIES, Database


class CountryMemory:
    """The countries of addresses, by the country database at a path."""

    def __init__(self, path: str) -> None:
        self._database = Database(path, COUNTRIES, mapped=True)
        self._known: dict[int, dict[int, dict[int, str]]] = {4: {}, 16: {}}

    def country(self, packed: bytes) -> str:
        """Return the ISO 3166 code for a packed address, "" if there is none.

        Raises CountryError.
        """
        packed = located(packed)
        size = len(packed)
        networks = self._known[size]  # by the bits to the right, then by those to the left
        number = int.from_bytes(packed, "big")
        for shift, countries in networks.items():
            country = countries.get(number >> shift)
            if country is not None:
                return country
        found, bits = self._database.find(packed)
        shift = max(0, size * 8 - bits)
        networks.setdefault(shift, {})[number >> shift] = found or ""
        return found or ""
