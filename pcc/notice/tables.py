"""The evidence in a notice: what counted, what did not, and how fast one would have travelled."""

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
    from pcc.store.incidents import SightingRow

MOST_LEGS = 5
"""Ways between two places that are told of, the fastest ones."""

_LONGEST_CLIENT_NAME = 40


def table(notice: Notice) -> str:
    """Return the sightings as columns, the crossing one marked.

    Under each is what else is known of its address, which would make the table too wide.
    """
    incident = notice.incident
    packed = addresses.packed_address(incident.client_address)
    crossing = addresses.recorded_address(packed) if packed else ""
    lines = [("", "COUNTRY", "ADDRESS", "FIRST", "LAST", "MAILS")]
    lines += [
        (
            "*" if seen.address == crossing else "",
            seen.country,
            escaped(seen.address),
            short_time(seen.first_seen),
            short_time(seen.last_seen),
            str(seen.mails),
        )
        for seen in notice.sightings
    ]
    header, *rows = columns(lines)
    text = [header]
    for row, seen in zip(rows, notice.sightings, strict=True):
        text += [row, *_what_else(notice, seen)]
    more = notice.sighting_count - len(notice.sightings)
    if more > 0:
        text.append(f"and {more} more addresses")
    zone = datetime.fromtimestamp(incident.began).astimezone().strftime("%Z")
    return f"What counted (times in {zone}; * crossed the limit):\n\n" + "\n".join(text)


def _what_else(notice: Notice, seen: SightingRow) -> list[str]:
    """Return what is known of an address besides its country: host name, city, network."""
    origin = (notice.origins or {}).get(seen.address, evidence.Origin())
    name = "" if seen.client_name == "unknown" else escaped(seen.client_name)
    known = [
        tail(name, _LONGEST_CLIENT_NAME),
        plain(origin.city),
        plain(evidence.network(origin)),
    ]
    told = ", ".join([text for text in known if text])
    return filled(told, " " * 12).split("\n") if told else []


def travel(notice: Notice) -> list[str]:
    """Return how fast somebody would have had to travel, where that can be told."""
    legs = evidence.fastest(notice.legs(), MOST_LEGS)
    told = [filled(plain(evidence.sentence(leg)), " " * 3, " " * 5) for leg in legs]
    if not told:
        return []
    return ["How fast one person would have had to travel:\n\n" + "\n".join(told)]


def earlier_table(notice: Notice) -> list[str]:
    """Return what was seen earlier as columns, if there is any: a familiar home, say."""
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
    return ["Seen earlier, which did not count:\n\n" + "\n".join(text)]
