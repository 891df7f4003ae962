"""The history of one account: where it was seen, and on which days.  Pure; no clock, SQL or I/O.

Live verdicts load a History from the store and save what changed; `check` and `replay` keep it in
memory.  pcc/rule.py judges by it.  Times are UTC seconds, days are UTC days since 1970.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Addresses(Protocol):
        """The addresses of an account, which may be too many to be in memory."""

        def since(self, time: float) -> Iterable[Address]:
            """Return the addresses that were last seen at that time or later."""

        def change_days(self, change: Callable[[str], str]) -> None:
            """Replace the `days` of every address by change(days)."""


DAY = 86400
MOST_FAMILIAR_DAYS = 30
"""The most earlier days that `familiar_after` may ask for, and that are remembered."""

CLOCK_SLACK = 10
"""Seconds that a time may lie in the future without the clock having jumped back.

Longer than a mail may have waited for its turn to be recorded.
"""


class Seen:
    """A place, a country, network or address, where an account was seen sending from.

    `name`: a country's code, a network as places.lookup has it, or an address as
    address.recorded_address() has it.
    `generation`: the account's when this place last counted.
    `days`: the UTC days it was seen on, newest first, separated by blanks.  A mark `|N` among them
    says that an incident began when N earlier days counted: older days count for nobody who asks
    for more than N.
    `runs`: for each window, `seconds:mails` since the account was last absent from here for longer,
    as far as `min_mails` needs it; empty where that is 1.
    """

    __slots__ = (
        *("_earlier", "days", "first_seen", "generation", "last_seen", "mails", "name", "runs"),
    )

    def __init__(
        self,
        name: str,
        first_seen: float,
        last_seen: float,
        mails: int = 0,
        generation: int = -1,
        days: str = "",
        runs: str = "",
    ) -> None:
        self.name = name
        self.first_seen = first_seen
        self.last_seen = last_seen
        self.mails = mails
        self.generation = generation
        self.days = days
        self.runs = runs
        self._earlier = ("", 0, 0, 0)

    def familiarity(self, today: int, oldest_day: int) -> int:
        """Return on how many earlier days that count for familiarity it was seen."""
        asked = (self.days, today, oldest_day)
        if self._earlier[:3] != asked:  # a replay asks for the same days thousands of times
            self._earlier = (*asked, familiarity(*asked))
        return self._earlier[3]


class Address(Seen):
    """An address, with the names of its country and its network; "" where there is none."""

    __slots__ = ("country", "network")
    country: str
    network: str


class Unchanged:
    """Addresses, some or none, which nothing is written of; see Addresses."""

    def __init__(self, addresses: Addresses | None = None) -> None:
        self._addresses = addresses

    def since(self, time: float) -> Iterable[Address]:
        """Return the addresses that were last seen at that time or later."""
        return self._addresses.since(time) if self._addresses is not None else ()

    def change_days(self, change: Callable[[str], str]) -> None:
        """Change nothing."""


class History:
    """The history of one account.

    `generation`: how often counting has started afresh.
    `countries`, `networks`: by name, all that are remembered.
    `incident`: "" for none, otherwise the mode it began in: "enforce" or "observe".
    `expires`: when the block ends by itself, 0 for never.
    `is_observed`: whether an incident of a limit that only observes is open.
    `mails`: by kind, the moments of mails that a mail limit counts, newest first, as text,
    separated by blanks: `seconds:familiarity:age`, of the place and of the account by then.
    """

    __slots__ = (
        "_age",
        "addresses",
        "countries",
        "expires",
        "generation",
        "incident",
        "is_observed",
        "mails",
        "networks",
    )

    def __init__(
        self,
        generation: int,
        countries: dict[str, Seen],
        networks: dict[str, Seen],
        addresses: Addresses,
    ) -> None:
        self.generation = generation
        self.countries = countries
        self.networks = networks
        self.addresses = addresses
        self.incident = ""
        self.expires: float = 0
        self.is_observed = False
        self.mails = {"hosting": "", "foreign": ""}
        self._age = (0, 0, 0)

    def age(self, today: int, oldest_day: int) -> int:
        """Return on how many earlier days the account was seen anywhere."""
        if self._age[:2] != (today, oldest_day):
            days = {day for seen in self.countries.values() for day in seen.days.split()}
            earlier = sum(day[0] != "|" and oldest_day <= int(day) < today for day in days)
            self._age = (today, oldest_day, earlier)
        return self._age[2]

    def start_afresh(self) -> None:
        """Forget the incident, and count from now on only what is seen from now on."""
        self.generation += 1
        self.incident = ""
        self.expires = 0
        self.mails = {"hosting": "", "foreign": ""}

    def shift_mails(self, since: float, seconds: float) -> None:
        """Put the moments of mails from `since` on back, after the clock jumped back."""
        for kind, text in self.mails.items():
            pairs = [moment.partition(":") for moment in text.split()]
            moments = [(float(time), known) for time, _, known in pairs]
            self.mails[kind] = " ".join(
                [f"{time - seconds * (time >= since):.6f}:{known}" for time, known in moments]
            )

    def place(self, address: Address, now: float, *, is_hosting: bool) -> Place:
        """Return the records of an address, of its country and of its network, made if need be."""
        country = self.countries.get(address.country)
        if country is None:
            country = self.countries[address.country] = Seen(address.country, now, now)
        network = self.networks.get(address.network) if address.network else None
        if network is None and address.network:
            network = self.networks[address.network] = Seen(address.network, now, now)
        return Place(country, network, address, is_hosting=is_hosting)


class Place:
    """Where a mail comes from: its records in the history; `network` is None where none is known.

    `is_hosting`: whether the network is one of hosting providers.
    """

    __slots__ = ("address", "country", "is_hosting", "network")

    def __init__(
        self, country: Seen, network: Seen | None, address: Address, *, is_hosting: bool
    ) -> None:
        self.country = country
        self.network = network
        self.address = address
        self.is_hosting = is_hosting

    @property
    def records(self) -> tuple[Seen, ...]:
        """The two or three records."""
        if self.network is None:
            return self.country, self.address
        return self.country, self.network, self.address

    def of(self, kind: str) -> Seen | None:
        """Return the record of a kind of place."""
        record: Seen | None = getattr(self, kind)
        return record


def familiarity(days: str, today: int, oldest_day: int) -> int:
    """Return how many earlier days, of those in `days` as in Seen, make a place familiar.

    The largest number for which a limit that asks for so many days has them since its mark.
    """
    earlier = best = 0
    most = MOST_FAMILIAR_DAYS
    for day in days.split():
        if day[0] == "|":
            most = min(most, int(day[1:]))
            if most <= best:
                break
        elif oldest_day <= int(day) < today:
            earlier += 1
            best = max(best, min(earlier, most))
    return best


def clock_shift(history: History, now: float) -> tuple[float, float]:
    """Return how to mend times that lie in the future because the clock jumped back.

    The result is (since, seconds): times from `since` on must go back by so many seconds; (0, 0)
    when none is needed.  The time between two sightings stays what it was, so nothing is lost and
    nothing comes to count that did not.  Where the clock had first leapt ahead, only what was seen
    during the leap goes back.
    """
    times = [seen.last_seen for seen in history.countries.values()]
    latest = max(times, default=0)
    if latest <= now + CLOCK_SLACK:
        return 0, 0
    jump = latest - now
    earliest_ahead = min(time for time in times if time > now)
    latest_before = max((time for time in times if time <= now), default=0)
    leapt_ahead = latest_before and earliest_ahead - latest_before >= jump
    return (earliest_ahead if leapt_ahead else 1), jump


def joined_days(days: str, more: str) -> str:
    """Return the days of two places in one, newest first.

    A mark keeps its place in time, and then counts for both: nothing becomes more familiar.
    """
    known: dict[tuple[float, int], str] = {}
    for text in (days, more):
        marks: list[str] = []
        for token in text.split():
            if token[0] == "|":
                marks.append(token)
                continue
            day = int(token)
            for mark in marks:  # between this day and the next
                known[day + 0.5, -int(mark[1:])] = mark
            marks.clear()
            known[day, 0] = token
    return " ".join(_shortened([known[key] for key in sorted(known, reverse=True)]))


def with_day(days: str, today: int) -> str:
    """Return the days of a place with today's."""
    if days.startswith(str(today)):
        return days
    newest = next((day for day in days.split() if day[0] != "|"), "")
    if newest and int(newest) > today:  # the clock has jumped back
        return joined_days(days, str(today))
    # Today may be behind a mark. It counts from now on, and joined_days() would put the mark back.
    known = [token for token in days.split() if token != str(today)]
    return " ".join(_shortened([str(today), *known]))


def _shortened(days: list[str]) -> list[str]:
    return days[: MOST_FAMILIAR_DAYS + 1]
