"""The countries and networks of an account, as `show` shows them: on which days, how familiar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pcc.admin.output import Lines, Moment, Word, relative_time, rfc3339
from pcc.rule import Rule
from pcc.store import sightings
from pcc.wording import date

if TYPE_CHECKING:
    from pcc.admin.context import Context
    from pcc.admin.whereabouts import Whereabouts

DAYS_SHOWN = 30

_COLUMNS = ["FAMILIAR", "DAYS", "LAST 30 DAYS (UTC)", "MAILS", "LAST SEEN"]


class Spot(NamedTuple):
    """A country or a network (`kind`) where an account was seen; `days`: UTC days, newest first."""

    kind: str
    name: str
    first_seen: float
    last_seen: float
    mails: int
    days: list[int]
    is_familiar: bool


class Glance:
    """The places of an account, the latest first."""

    def __init__(self, context: Context, account: str) -> None:
        self._context = context
        known = sightings.known(context.database, account, "")
        policy = context.config.policy_for(account)
        rule = Rule(policy, context.now, context.config.keep_sightings)
        self._today = rule.today
        history = known.history()
        self.spots = [
            Spot(
                kind,
                seen.name,
                seen.first_seen,
                seen.last_seen,
                seen.mails,
                [int(day) for day in seen.days.split() if day[0] != "|"],
                0 < policy.familiar_after <= rule.familiarity_of(kind, seen, history),
            )
            for kind, places in (("country", known.countries), ("network", known.networks))
            for seen in sorted(places.values(), key=lambda seen: -seen.last_seen)
        ]

    def data(self) -> list[dict[str, Any]]:
        """Return the rows for `--json`."""
        return [
            {
                "kind": spot.kind,
                "name": spot.name,
                "mails": spot.mails,
                "first_seen": rfc3339(spot.first_seen),
                "last_seen": rfc3339(spot.last_seen),
                "days": [date(day) for day in spot.days],
                "familiar": spot.is_familiar,
            }
            for spot in self.spots
        ]

    def show(self, where: Whereabouts, most: int) -> None:
        """Show a table of countries and one of networks, `most` rows of each."""
        output = self._context.output
        for kind, many in (("country", "countries"), ("network", "networks")):
            title = kind.upper()
            spots = [spot for spot in self.spots if spot.kind == kind]
            if not spots:
                continue
            rows: list[list[Any]] = []
            narrow: list[list[Any]] = []
            for spot in spots[:most]:
                operator = where.operator(spot.name)
                days = {day for day in spot.days if 0 <= self._today - day < DAYS_SHOWN}
                familiar = Word("familiar" if spot.is_familiar else "-")
                bar = output.calendar(days, self._today, DAYS_SHOWN)
                last = Moment(spot.last_seen)
                name = f"{spot.name} {operator}".strip()
                rows.append([name, familiar, len(days), bar, spot.mails, last])
                first = f"{spot.name}, familiar" if spot.is_familiar else spot.name
                ago = Word(relative_time(last, self._context.now))
                place = Lines((first, operator)) if operator else first
                narrow.append([place, bar, spot.mails, ago])
            output.table([title, *_COLUMNS], rows, [("", ([title, *_COLUMNS[2:]], narrow))])
            output.rest(len(spots) - most, kind, many)
