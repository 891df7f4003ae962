"""Where very many addresses are."""

from __future__ import annotations

import random
from pathlib import Path

from pcc.address import address_text
from pcc.places import bundled
from pcc.places.lookup import Lookup
from pcc.places.memory import LookupOfMany


def test_lookup_of_many_is_that_of_each(tmp_path: Path) -> None:
    path = str(tmp_path / "country.mmdb")
    bundled.unpack(path)
    complaints: list[str] = []
    many = LookupOfMany(path, "", "", complaints.append)
    single = Lookup(path, "", "", complaints.append)
    dice = random.Random(6)
    for _ in range(3000):
        start = dice.choice((b"", b"", b"\x2a\x02", b"\x20\x01", b"\x26\x04", b"\x20\x02"))
        packed = start + dice.randbytes(14) if start else dice.randbytes(4)
        for asked in (packed, packed[:-1] + dice.randbytes(1)):
            assert many.country(asked) == single.country(asked), address_text(asked)
    assert complaints == []
