"""The countries of very many addresses."""

from __future__ import annotations

import random
from pathlib import Path

from mmdb import CountryDatabase

from pcc.address import address_text
from pcc.places import bundled
from pcc.places.memory import CountryMemory


def test_countries_by_network_are_those_of_single_look_ups(tmp_path: Path) -> None:
    path = tmp_path / "country.mmdb"
    bundled.unpack(str(path))
    memory, single = CountryMemory(str(path)), CountryDatabase(str(path))
    dice = random.Random(6)
    for _ in range(3000):
        start = dice.choice((b"", b"", b"\x2a\x02", b"\x20\x01", b"\x26\x04"))
        packed = start + dice.randbytes(14) if start else dice.randbytes(4)
        assert memory.country(packed) == (single.country(address_text(packed)) or "")
        neighbour = packed[:-1] + dice.randbytes(1)
        assert memory.country(neighbour) == (single.country(address_text(neighbour)) or "")
