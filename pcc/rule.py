"""The rule: when has an account been seen in too many places?  Pure; no clock, SQL or I/O.

`judge()` takes what is known of an account (History), the place a mail comes
from (a country and an address) and the time.  It updates the history by that
mail and returns what follows.  Live verdicts load and save the history with
the store; replay keeps it in memory; the rule is the same code.

- A place counts for a limit when it was last seen within the limit's window and
  since counting last started afresh (its `generation` is the account's); a
  country also needs `min_mails` mails since it was last absent for longer than
  the window.
- A place is familiar when it was seen on `familiar_after` earlier UTC days
  within the keep time.  Familiar countries count as one together, a group is
  familiar when a member is, and a mail from there crosses no limit on
  countries; familiar addresses do not count, nor cross a limit on addresses.
- While an incident lasts only what is familiar goes on being learnt, and the
  earlier days of all else are void from its first moment: a thief teaches
  nothing.

Times are UTC seconds, days are UTC days since 1970.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pcc.config import Limit, Policy

DAY = 86400
MOST_FAMILIAR_DAYS = 30
"""The most earlier days that `familiar_after` may ask for; so many are remembered."""

CLOCK_SLACK = 10
"""Seconds that a time may lie in the future without the clock having jumped back.

Longer than a mail may have waited for its turn to be recorded.
"""


class Seen:
    """A place, a country or an address, where an account was seen sending from.

    `name`: a country's code, or an address as address.recorded_address() has it.
    `generation`: the account's when this place last counted.
    `days`: the UTC days it was seen on, newest first, parted by blanks.
    `runs`: for each window, `seconds:mails` since the account was last absent
    from here for longer, as far as `min_mails` needs it; empty where that is 1.
    """

    __slots__ = ("days", "first_seen", "generation", "last_seen", "mails", "name", "runs")

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


class History:
    """What is known of one account.

    `generation`: how often counting has started afresh.
    `countries`: by code, all that are remembered.
    `addresses_since`: gives the addresses last seen at that time or later.
    `incident`: "" for none, else the mode it began in: "enforce" or "observe".
    `expires`: when the block ends by itself, 0 for never.
    """

    __slots__ = ("addresses_since", "countries", "expires", "generation", "incident")

    def __init__(
        self,
        generation: int,
        countries: dict[str, Seen],
        addresses_since: Callable[[float], Iterable[Seen]],
    ) -> None:
        self.generation = generation
        self.countries = countries
        self.addresses_since = addresses_since
        self.incident = ""
        self.expires: float = 0

    def start_afresh(self) -> None:
        """Forget the incident, and count from now on only what is seen from now on."""
        self.generation += 1
        self.incident = ""
        self.expires = 0


class Crossing:
    """A limit that was crossed, and the countries that were seen within its window."""

    __slots__ = ("addresses", "countries", "limit")

    def __init__(self, limit: Limit, countries: list[str], addresses: int = 0) -> None:
        self.limit = limit
        self.countries = countries
        self.addresses = addresses  # 0: it is a limit on countries

    @property
    def rule(self) -> str:
        """The limit as logs and lists show it: `max_countries 3 in 2d`."""
        if self.addresses:
            return f"max_addresses {self.limit.max_addresses} in {self.limit.window_text}"
        return f"max_countries {self.limit.max_countries} in {self.limit.window_text}"


class Place:
    """Where a mail comes from: the records of its country and address in the history."""

    __slots__ = ("address", "country")

    def __init__(self, country: Seen, address: Seen) -> None:
        self.country = country
        self.address = address


class Rule:
    """The policy of an account at a moment.

    `now`: UTC seconds.  `keep`: seconds for which a day can make a place familiar.
    """

    __slots__ = ("_today_text", "now", "oldest_day", "policy", "today")

    def __init__(self, policy: Policy, now: float, keep: int) -> None:
        self.policy = policy
        self.now = now
        self.today = int(now // DAY)
        self._today_text = str(self.today)
        self.oldest_day = self.today - max(1, keep // DAY)

    def is_familiar(self, seen: Seen) -> bool:
        """Whether the account was seen there on enough earlier days."""
        return self.are_familiar(seen.days)

    def are_familiar(self, days: str) -> bool:
        """Whether `days`, as in Seen, are enough earlier days to be familiar with a place."""
        wanted = self.policy.familiar_after
        if not wanted:
            return False
        for day in days.split():
            if self.oldest_day <= int(day) < self.today:
                wanted -= 1
                if not wanted:
                    return True
        return False

    def is_familiar_country(self, country: Seen, history: History) -> bool:
        """Whether the country, or another of its group, is familiar."""
        if self.is_familiar(country):
            return True
        group = self.policy.group_of.get(country.name)
        if group is None:
            return False
        group_of = self.policy.group_of
        return any(
            group_of.get(other.name) == group and self.is_familiar(other)
            for other in history.countries.values()
        )

    def counts(self, seen: Seen, generation: int, window: int) -> bool:
        """Whether a country is one of those that a limit with this window counts."""
        return (
            seen.generation == generation
            and self.now - seen.last_seen <= window
            and seen.name not in self.policy.ignore_countries
            and (self.policy.min_mails == 1 or _run(seen, window) >= self.policy.min_mails)
        )

    def countries_over(self, limit: Limit, history: History) -> list[str]:
        """Return the countries that exceed the limit together, else an empty list."""
        if len(history.countries) <= limit.max_countries:
            return []
        counted = self._counted(history, limit.window)
        if len(counted) <= limit.max_countries:
            return []
        places = self._places(counted, history)
        return _in_order(counted) if places > limit.max_countries else []

    def countries_towards(self, limit: Limit, history: History) -> tuple[int, list[str]]:
        """Return how many countries count towards a limit, familiar ones and groups as one; which.

        The limit is exceeded when there are more than `max_countries`.
        """
        counted = self._counted(history, limit.window)
        return self._places(counted, history), _in_order(counted)

    def counted_countries(self, history: History) -> list[str]:
        """Return the countries that count for the limit with the widest window."""
        return _in_order(self._counted(history, self.policy.windows[-1]))

    def addresses_over(self, limit: Limit, history: History, own: Seen | None) -> int:
        """Return how many unfamiliar addresses exceed the limit, else 0.

        `own` is the address of the mail that is being judged, whose record may
        be newer than what the history's addresses say of it.
        """
        count = self.addresses_towards(limit, history, own, limit.max_addresses)
        return 0 if count <= limit.max_addresses else count

    def addresses_towards(
        self, limit: Limit, history: History, own: Seen | None, enough: int
    ) -> int:
        """Return how many unfamiliar addresses count towards a limit; more than `enough` is enough.

        `own`: see addresses_over().
        """
        count = 0
        if own is not None and not self.is_familiar(own):
            count = 1
        for seen in history.addresses_since(self.now - limit.window):
            if seen.generation != history.generation or (own and seen.name == own.name):
                continue
            if not self.is_familiar(seen):
                count += 1
                if count > enough:
                    return count
        return count

    def crossing(self, history: History, place: Place) -> Crossing | None:
        """Return the first limit that a mail from `place` crosses, the mail being recorded."""
        country_may_cross = not self.is_familiar_country(place.country, history)
        address_may_cross = not self.is_familiar(place.address)
        for limit in self.policy.limits:
            if limit.max_countries and country_may_cross:
                countries = self.countries_over(limit, history)
                if countries:
                    return Crossing(limit, countries)
            if limit.max_addresses and address_may_cross:
                addresses = self.addresses_over(limit, history, place.address)
                if addresses:
                    return Crossing(limit, self._seen_within(limit, history), addresses)
        return None

    def is_over(self, history: History) -> bool:
        """Whether any limit is exceeded, whatever mail comes next."""
        for limit in self.policy.limits:
            if limit.max_countries and self.countries_over(limit, history):
                return True
            if limit.max_addresses and self.addresses_over(limit, history, None):
                return True
        return False

    def adds(self, history: History, place: Place) -> bool:
        """Whether a mail from `place`, not recorded yet, makes anything count that may block.

        Its country, or its address, is unfamiliar and was absent for longer than some window,
        or its country has not had `min_mails` yet.
        """
        if not self.is_familiar(place.address) and self._is_back(place.address, history):
            return True
        country = place.country
        return not self.is_familiar_country(country, history) and (
            self._is_back(country, history) or not self._has_min_mails(country)
        )

    def is_out_of_reach(self, history: History, country: Seen) -> bool:
        """Whether mail from elsewhere can't make the next mail from a country cross a limit.

        What adds to what counts crosses the limit itself, if any mail does, but
        for mail from a familiar country: it never crosses one, and may leave the
        account at a limit over which the next mail from an unfamiliar one goes.
        """
        return self.is_familiar_country(country, history) or not any(
            self.is_familiar(seen) for seen in history.countries.values()
        )

    def is_repeat(self, history: History, place: Place, slack: float) -> bool:
        """Whether a mail from `place` changes nothing but counts and times.

        Its country and address count in every window already, and will for
        `slack` more seconds.  Such a mail may be counted after it was answered.
        """
        return self._is_settled(history, place.country, slack) and self._is_settled(
            history, place.address, slack
        )

    def see(self, history: History, seen: Seen) -> None:
        """Record one mail from a place in its record."""
        if self.policy.min_mails > 1:
            continues = seen.generation == history.generation
            seen.runs = self._continued_runs(seen, continues)
        if not history.incident or self.is_familiar(seen):
            seen.days = _with_day(seen.days, self.today)
        seen.mails += 1
        seen.last_seen = max(self.now, seen.last_seen)
        seen.generation = history.generation

    def _is_settled(self, history: History, seen: Seen, slack: float) -> bool:
        age = self.now - seen.last_seen
        return (
            seen.generation == history.generation
            and -CLOCK_SLACK <= age <= self.policy.narrowest_window - slack
            and (seen.days.startswith(self._today_text) or bool(history.incident))
            and self._has_min_mails(seen)
        )

    def _is_back(self, seen: Seen, history: History) -> bool:
        """Whether an account is seen in a place that does not count in every window."""
        absence = self.now - seen.last_seen
        return seen.generation != history.generation or absence > self.policy.narrowest_window

    def _has_min_mails(self, seen: Seen) -> bool:
        least = self.policy.min_mails
        return least == 1 or all(_run(seen, window) >= least for window in self.policy.windows)

    def _counted(self, history: History, window: int) -> list[Seen]:
        """Return the countries that a limit with this window counts."""
        return [
            seen
            for seen in history.countries.values()
            if self.counts(seen, history.generation, window)
        ]

    def _places(self, counted: list[Seen], history: History) -> int:
        """Return how many countries these are, familiar ones and each group counted as one."""
        group_of = self.policy.group_of
        places = {
            "" if self.is_familiar_country(seen, history) else group_of.get(seen.name, seen.name)
            for seen in counted
        }
        return len(places)

    def _seen_within(self, limit: Limit, history: History) -> list[str]:
        return _in_order(
            [
                seen
                for seen in history.countries.values()
                if seen.generation == history.generation
                and self.now - seen.last_seen <= limit.window
            ]
        )

    def _continued_runs(self, seen: Seen, continues: bool) -> str:
        """Return `runs` with this mail; a window that is new there starts from a narrower one."""
        known = _runs(seen) if continues else {}
        gap = self.now - seen.last_seen
        runs = []
        mails = 0
        for window in self.policy.windows:
            mails = max(known.get(window, 0), mails) if gap <= window else 0
            runs.append(f"{window}:{min(mails + 1, self.policy.min_mails)}")
        return " ".join(runs)


class Judgement:
    """What follows from a mail.

    `ended`: why the incident that was open has ended before this mail: "",
    "expired" or "no longer true".  `crossing`: the limit that the mail
    crosses.  `begins`: whether a new incident begins with it.
    """

    __slots__ = ("begins", "crossing", "ended")

    def __init__(self, ended: str, crossing: Crossing | None, begins: bool) -> None:
        self.ended = ended
        self.crossing = crossing
        self.begins = begins


def judge(rule: Rule, history: History, place: Place) -> Judgement:
    """Record a mail from `place` in the account's history, and say what follows.

    `place.country` must be in `history.countries`.  The account must not be
    blocked, unless its block has expired or `rule` only observes.  When an
    incident begins the caller makes the days of all unfamiliar addresses void,
    as is done here for the countries.
    """
    ended = end_of_incident(rule, history)
    if ended:
        history.start_afresh()
    rule.see(history, place.country)
    rule.see(history, place.address)
    crossing = rule.crossing(history, place)
    begins = crossing is not None and (
        not history.incident or (history.incident == "observe" and not rule.policy.observes)
    )
    if begins:
        history.incident = rule.policy.mode
        for seen in (*history.countries.values(), place.address):
            if not rule.is_familiar(seen):
                seen.days = ""
    return Judgement(ended, crossing, begins)


def end_of_incident(rule: Rule, history: History) -> str:
    """Return why the open incident has ended by now, or "" when none is open or it lasts."""
    if history.expires and history.expires <= rule.now:
        return "expired"
    if history.incident == "observe" and not rule.is_over(history):
        return "no longer true"
    return ""


def clock_shift(history: History, now: float) -> tuple[float, float]:
    """Return how to mend times that lie in the future because the clock jumped back.

    The result is (since, seconds): times from `since` on must go back by so
    many seconds; (0, 0) when none is needed.  The time between two sightings
    stays what it was, so nothing is lost and nothing comes to count that did
    not.  Where the clock had first leapt ahead, only what was seen during the
    leap goes back.
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
    """Return the days of two places in one, newest first."""
    known = sorted({*days.split(), *more.split()}, key=int, reverse=True)
    return " ".join(known[: MOST_FAMILIAR_DAYS + 1])


def _in_order(countries: list[Seen]) -> list[str]:
    """Return the names, the country that was seen first of all first."""
    return [seen.name for seen in sorted(countries, key=lambda seen: seen.first_seen)]


def _runs(seen: Seen) -> dict[int, int]:
    pairs = [run.split(":") for run in seen.runs.split()]
    return {int(window): int(mails) for window, mails in pairs}


def _run(seen: Seen, window: int) -> int:
    return _runs(seen).get(window, 0)


def _with_day(days: str, today: int) -> str:
    if days.startswith(str(today)):
        return days
    known = days.split()
    if known and int(known[0]) > today:  # the clock has jumped back
        known = [str(day) for day in sorted({today, *map(int, known)}, reverse=True)]
    else:
        known.insert(0, str(today))
    return " ".join(known[: MOST_FAMILIAR_DAYS + 1])
