"""The world map that comes with pcc, and the names of countries; data/README.md says whence."""

from __future__ import annotations

import functools
import json
import os
from typing import NamedTuple

_FILE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    "data",
    "world-map.json",
)


class World(NamedTuple):
    """The map: its size in units of its own, a path of SVG for each code it has, and all names.

    `borders`: for each code, those of its neighbours over land, separated by blanks.
    """

    width: int
    height: int
    shapes: dict[str, str]
    names: dict[str, str]
    borders: dict[str, str]

    def are_neighbours(self, code: str, other: str) -> bool:
        """Whether two countries have a border."""
        return other in self.borders.get(code, "").split()

    def name(self, code: str) -> str:
        """Return the name of a country, or its code where it has none here."""
        return self.names.get(code, code)


@functools.cache
def world() -> World:
    """Return the map, read once."""
    with open(_FILE, encoding="utf-8") as file:
        return World(**json.load(file))
