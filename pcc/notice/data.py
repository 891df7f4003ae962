"""A notice as data: the JSON that notify.command reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcc.notice import others
from pcc.places import travel
from pcc.wording import rfc3339

if TYPE_CHECKING:
    from pcc.notice.notice import Notice


def as_data(notice: Notice) -> dict[str, Any]:
    """Return the JSON for notify.command; times are RFC 3339 in UTC."""
    incident = notice.incident
    origins = notice.origins or {}
    return {
        "what": notice.what,
        "account": incident.account,
        # A notice that failed is sent later, perhaps after a later one: "what" may be out of date.
        "blocked": notice.is_blocked,
        "rule": incident.rule,
        "countries": incident.countries.split(",") if incident.countries else [],
        "country": incident.country or None,
        "client_address": incident.client_address or None,
        "client_name": incident.client_name or None,
        "action": incident.action,
        "at": rfc3339(notice.at),
        "queue_id": incident.queue_id or None,
        "sightings": [
            {
                "country": seen.country,
                "address": seen.address,
                "client_name": seen.client_name,
                "mails": seen.mails,
                "first_seen": rfc3339(seen.first_seen),
                "last_seen": rfc3339(seen.last_seen),
                **(travel.origin_data(origins[seen.address]) if seen.address in origins else {}),
            }
            for seen in notice.sightings
        ],
        **({"travel": [travel.leg_data(leg) for leg in notice.legs()]} if origins else {}),
        "earlier": [
            {
                "country": seen.country,
                "addresses": seen.addresses,
                "mails": seen.mails,
                "first_seen": rfc3339(seen.first_seen),
            }
            for seen in notice.earlier
        ],
        "also_seen": others.data(notice.others),
        "by": notice.by,
        "reason": notice.reason or None,
        "released": notice.released,
        "deleted": notice.deleted,
    }
