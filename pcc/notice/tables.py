"""The evidence in a notice: places that counted, others, and how fast one would have travelled."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pcc import address as addresses
from pcc.escaping import escaped
from pcc.notice.layout import columns, day, filled, plain, short_time, tail
from pcc.notice.notice import MOST_COUNTRIES
from pcc.places import travel as evidence

if TYPE_CHECKING:
    from pcc.notice.notice import Notice

MOST_LEGS = 5
"""Ways between two places that are shown, the fastest ones."""

_LONGEST_CLIENT_NAME = 40


def table(notice: Notice) -> str:
    """Return the sightings as columns, the crossing one marked.

    Under each is its host name, its city and whose network it is, which would not fit in a column.
    """
    incident = notice.incident
    origins = notice.origins or {}
    has_networks = any(origin.as_number for origin in origins.values())
    packed = addresses.packed_address(incident.client_address)
    crossing = addresses.recorded_address(packed) if packed else ""
    network = ["NETWORK"] if has_networks else []
    lines = [["", "COUNTRY", "ADDRESS", *network, "FIRST", "LAST", "MAILS"]]
    for seen in notice.sightings:
        if has_networks:
            number = origins.get(seen.address, evidence.Origin()).as_number
            network = [f"AS{number}" if number else ""]
        lines.append(
            [
                "*" if seen.address == crossing else "",
                seen.country,
                escaped(seen.address),
                *network,
                short_time(seen.first_seen),
                short_time(seen.last_seen),
                str(seen.mails),
            ]
        )
    header, *rows = columns(lines)
    text = [header]
    for row, seen in zip(rows, notice.sightings, strict=True):
        origin = origins.get(seen.address, evidence.Origin())
        name = "" if seen.client_name == "unknown" else escaped(seen.client_name)
        known = [
            tail(name, _LONGEST_CLIENT_NAME),
            plain(origin.city),
            plain(origin.operator),
            "hosting" if origin.is_hosting else "",
            "familiar" if seen.address in notice.familiar else "",
        ]
        below = ", ".join([part for part in known if part])
        text += [row, *(filled(below, " " * 12).splitlines() if below else [])]
    more = notice.sighting_count - len(notice.sightings)
    if more > 0:
        text.append(f"and {more} more addresses")
    zone = datetime.fromtimestamp(incident.began).astimezone().strftime("%Z")
    return f"Counted (times in {zone}; * crossed the limit):\n\n" + "\n".join(text)


def travel(notice: Notice) -> list[str]:
    """Return how fast somebody would have had to travel, where the places are known."""
    legs = evidence.fastest(notice.legs(), MOST_LEGS)
    ways = [filled(plain(evidence.sentence(leg)), " " * 3, " " * 5) for leg in legs]
    if not ways:
        return []
    return ["How fast one person would have had to travel:\n\n" + "\n".join(ways)]


def earlier_table(notice: Notice) -> list[str]:
    """Return earlier places as columns, if there are any: a familiar home, for example."""
    if not notice.earlier:
        return []
    lines = [("", "COUNTRY", "ADDRESSES", "SINCE", "MAILS")]
    lines += [
        ("", seen.country, str(seen.addresses), day(seen.first_seen), str(seen.mails))
        for seen in notice.earlier[:MOST_COUNTRIES]
    ]
    text = columns(lines)
    more = len(notice.earlier) - MOST_COUNTRIES
    if more > 0:
        text.append(f"and {more} more countries")
    return ["Seen earlier, not counted:\n\n" + "\n".join(text)]
