"""The rule: when has an account been seen in too many places?  Pure; no clock, SQL or I/O.

`record()` takes what is known of an account (History), the place a mail comes from (its country,
network and address) and the time.  It updates the history by that mail and returns what follows.
Live verdicts load and save the history with the store; `check` and `replay` keep it in memory.

- A place counts for a limit when it was last seen within the limit's window and since counting
  last started afresh (its `generation` is the account's).  A country also needs `min_mails` mails
  since it was last absent for longer than the window.
- A place's *familiarity* is the number of earlier UTC days that it was seen on within the keep
  time.  A group of countries is as familiar as its most familiar member, an address at least as
  familiar as its network.  A limit takes a place for familiar from `familiar_after` days on.
- Familiar countries count as one together, familiar networks and addresses not at all.  A mail
  from a familiar place crosses no limit on places of that kind.
- Mail limits count the mails from unfamiliar hosting networks, or from unfamiliar countries, once
  the account itself was seen on `familiar_after` earlier days.
- While an incident lasts, only familiar places gain days.  From its first moment the earlier days
  of all other places count no more: a thief teaches nothing.
- Limits that only observe are judged beside all this and change nothing of it.

Times are UTC seconds, days are UTC days since 1970.
"""

from __future__ import annotations

from itertools import chain

from pcc.history import CLOCK_SLACK, DAY, MOST_FAMILIAR_DAYS, Address, familiarity, with_day

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pcc.config import Limit, Policy
    from pcc.history import History, Place, Seen

MOST_PLACES = (
    ("country", "max_countries"),
    ("network", "max_networks"),
    ("address", "max_addresses"),
)
"""The kinds of place, and the key of a limit that counts them."""

MOST_MAILS = (("hosting", "max_hosting_mails"), ("foreign", "max_foreign_mails"))
"""The kinds of mail that are counted one by one, and the key of a limit that counts them."""


class Crossing:
    """A limit that was crossed, by its key, and the countries that were seen within its window."""

    __slots__ = ("countries", "key", "limit")

    def __init__(self, limit: Limit, key: str, countries: list[str]) -> None:
        self.limit = limit
        self.key = key
        self.countries = countries

    @property
    def rule(self) -> str:
        """The limit as logs and lists show it: `max_countries 3 in 2d`."""
        return f"{self.key} {getattr(self.limit, self.key)} in {self.limit.window_text}"


class Rule:
    """The policy of an account at a moment.

    `now`: UTC seconds.  `keep`: seconds for which a day can make a place familiar.
    """

    __slots__ = ("now", "oldest_day", "policy", "today")

    def __init__(self, policy: Policy, now: float, keep: int) -> None:
        self.policy = policy
        self.now = now
        self.today = int(now // DAY)
        self.oldest_day = self.today - max(1, keep // DAY)

    # How familiar is a place?

    def familiarity(self, seen: Seen) -> int:
        """Return for how many earlier days a place is familiar, by itself."""
        return seen.familiarity(self.today, self.oldest_day)

    def familiarity_of(self, kind: str, seen: Seen, history: History) -> int:
        """Return the familiarity of a place: its own, or that of its group or network."""
        own = self.familiarity(seen)
        if kind == "address":
            network = history.networks.get(seen.network) if isinstance(seen, Address) else None
            return own if network is None else max(own, self.familiarity(network))
        group_of = self.policy.group_of
        if kind == "network" or seen.name not in group_of:
            return own
        group = group_of[seen.name]
        members = [
            other for other in history.countries.values() if group_of.get(other.name) == group
        ]
        return max([own, *[self.familiarity(other) for other in members]])

    def is_familiar(self, limit: Limit, kind: str, seen: Seen, history: History) -> bool:
        """Whether a limit takes a place for familiar."""
        wanted = limit.familiar_after
        return bool(wanted) and self.familiarity_of(kind, seen, history) >= wanted

    def is_new(self, limit: Limit, history: History) -> bool:
        """Whether a mail limit leaves an account alone: it was seen on too few earlier days."""
        return history.age(self.today, self.oldest_day) < limit.familiar_after

    # What counts towards a limit?

    def towards(
        self, limit: Limit, kind: str, history: History, own: Seen | None = None, enough: int = 0
    ) -> tuple[int, list[Seen]]:
        """Return how many places of a kind count towards a limit, and which, with familiar ones.

        `own` is the address of the mail that is being judged, whose record may be newer than what
        the history's addresses say of it.  With `enough`, no more addresses are looked for.
        """
        seen_at: Iterable[Seen] = (
            history.countries.values() if kind == "country" else history.networks.values()
        )
        if kind == "address":
            seen_at = history.addresses.since(self.now - limit.window)
            if own is not None:
                seen_at = chain((own,), (seen for seen in seen_at if seen.name != own.name))
        counted: list[Seen] = []
        names = set()
        for seen in seen_at:
            if not self._counts(kind, seen, history.generation, limit.window):
                continue
            counted.append(seen)
            if not self.is_familiar(limit, kind, seen, history):
                names.add(self.policy.group_of.get(seen.name, seen.name))
            elif kind == "country":
                names.add("")
            if enough and kind == "address" and len(names) > enough:
                break
        return len(names), counted

    def mails_towards(self, limit: Limit, kind: str, history: History) -> int:
        """Return how many mails of a kind, "hosting" or "foreign", count towards a limit."""
        moments = _moments(history.mails[kind])
        return sum(self._counts_moment(limit, *moment) for moment in moments)

    def countries_within(self, window: int, history: History) -> list[str]:
        """Return the countries that were seen within a window and count, first seen first."""
        seen = [
            country
            for country in history.countries.values()
            if self._counts("country", country, history.generation, window)
        ]
        return _in_order(seen)

    # What does a mail cross?

    def crossing(
        self, history: History, place: Place, *, observed: bool = False
    ) -> Crossing | None:
        """Return the first limit that a mail from `place` crosses, the mail being recorded.

        `observed`: of the limits that only observe, otherwise of those that block.
        """
        for limit in self.policy.limits:
            if limit.observes != observed:
                continue
            for kind, key in MOST_PLACES:
                seen, most = place.of(kind), getattr(limit, key)
                if not most or seen is None or self.is_familiar(limit, kind, seen, history):
                    continue
                own = place.address if kind == "address" else None
                count, counted = self.towards(limit, kind, history, own, most)
                if count > most:
                    if kind != "country":  # the networks or addresses that counted are too many
                        return Crossing(limit, key, self.countries_within(limit.window, history))
                    return Crossing(limit, key, _in_order(counted))
            for kind, key in MOST_MAILS:
                most = getattr(limit, key)
                if (
                    most
                    and self._counts_mail(limit, kind, place, history)
                    and self.mails_towards(limit, kind, history) > most
                ):
                    return Crossing(limit, key, self.countries_within(limit.window, history))
        return None

    def is_over(self, history: History, *, observed: bool = False) -> bool:
        """Whether any limit is exceeded, whatever mail comes next."""
        for limit in self.policy.limits:
            if limit.observes != observed:
                continue
            for kind, key in MOST_PLACES:
                most = getattr(limit, key)
                if most and self.towards(limit, kind, history, None, most)[0] > most:
                    return True
            for kind, key in MOST_MAILS:
                most = getattr(limit, key)
                if most and self.mails_towards(limit, kind, history) > most:
                    return True
        return False

    # Does a mail change anything?

    def is_repeat(self, history: History, place: Place, slack: float) -> bool:
        """Whether a mail from `place` changes nothing but counts and times.

        Its country, network and address count in every window already, and will for `slack` more
        seconds, and no mail limit counts it.  Such a mail may be counted after it was answered.
        """
        for seen in place.records:
            age = self.now - seen.last_seen
            if not (
                seen.generation == history.generation
                and -CLOCK_SLACK <= age <= self.policy.narrowest_window - slack
                and self._has_min_mails(seen)
            ):
                return False
        return not self.counts_mail(history, place)

    def counts_mail(self, history: History, place: Place) -> bool:
        """Whether any mail limit counts a mail from `place`."""
        return any(
            self._counts_mail(limit, kind, place, history)
            for limit, kind in self.policy.mail_limits
        )

    def adds(self, history: History, place: Place) -> bool:
        """Whether a mail from `place`, not recorded yet, makes anything count that may block.

        One of its places is unfamiliar and was absent for longer than some window, or its country
        has not had `min_mails` yet, or a mail limit counts it.
        """
        for kind, _ in MOST_PLACES:
            seen = place.of(kind)
            if seen is None or self._is_familiar_for_all(kind, seen, history):
                continue
            absence = self.now - seen.last_seen
            if seen.generation != history.generation or absence > self.policy.narrowest_window:
                return True
            if kind == "country" and not self._has_min_mails(seen):
                return True
        return self.counts_mail(history, place)

    def is_out_of_reach(self, history: History, country: Seen) -> bool:
        """Whether mail from elsewhere can't make the next mail from a country cross a limit.

        A mail that adds to a count crosses the limit itself, if any mail does.  Mail from a
        familiar country is different: it never crosses a limit, and may leave the account at one
        that the next mail from an unfamiliar country crosses.
        """
        if self._is_familiar_for_all("country", country, history):
            return True
        wanted = [limit.familiar_after for limit in self.policy.limits if limit.familiar_after]
        least = min(wanted, default=MOST_FAMILIAR_DAYS + 1)
        return not any(self.familiarity(seen) >= least for seen in history.countries.values())

    def holds_tomorrow(self, history: History, place: Place) -> bool:
        """Whether a mail from `place` that is a repeat today is one after midnight as well.

        It is not sure where a country may become familiar meanwhile, and bring a mail from here
        within reach, or where what is familiar ages.
        """
        tomorrow = Rule(self.policy, self.now, 0)
        tomorrow.today, tomorrow.oldest_day = self.today + 1, self.oldest_day + 1
        is_familiar = self._is_familiar_for_all("country", place.country, history)
        return (
            is_familiar
            and tomorrow._is_familiar_for_all("country", place.country, history)
            and tomorrow.crossing(history, place) is None
            and tomorrow.crossing(history, place, observed=True) is None
            and not tomorrow.counts_mail(history, place)
        )

    # What does a mail leave behind?

    def see(self, history: History, place: Place) -> None:
        """Record one mail from a place in its records."""
        self._keep_moments(history, place)
        for kind, _ in MOST_PLACES:
            seen = place.of(kind)
            if seen is None:
                continue
            if self.policy.min_mails > 1:
                continues = seen.generation == history.generation
                seen.runs = self._continued_runs(seen, continues)
            if not history.incident or self._is_familiar_for_all(kind, seen, history):
                seen.days = with_day(seen.days, self.today)
            seen.mails += 1
            seen.last_seen = max(self.now, seen.last_seen)
            seen.generation = history.generation

    def marked(self, days: str) -> str:
        """Return the days of a place when an incident begins, see Seen."""
        known = familiarity(days, self.today, self.oldest_day)
        most = max([limit.familiar_after for limit in self.policy.limits])
        newest = days.partition(" ")[0]
        if not days or known >= max(most, 1) or newest == f"|{known}":
            return days
        return f"|{known} {days}"

    def _counts(self, kind: str, seen: Seen, generation: int, window: int) -> bool:
        return (
            seen.generation == generation
            and self.now - seen.last_seen <= window
            and (
                kind != "country"
                or (
                    seen.name not in self.policy.ignore_countries
                    and (self.policy.min_mails == 1 or _run(seen, window) >= self.policy.min_mails)
                )
            )
        )

    def _counts_mail(self, limit: Limit, kind: str, place: Place, history: History) -> bool:
        """Whether a mail limit with a number above 0 counts a mail from `place`."""
        where = "country" if kind == "foreign" else "network"
        seen = place.of(where)
        if seen is None or (kind == "hosting" and not place.is_hosting):
            return False
        return not (self.is_familiar(limit, where, seen, history) or self.is_new(limit, history))

    def _keep_moments(self, history: History, place: Place) -> None:
        """Add the mail's moment where a mail limit counts it; drop what no limit needs any more."""
        for kind, key in MOST_MAILS:
            limits = [limit for limit, counted in self.policy.mail_limits if counted == kind]
            if not any(self._counts_mail(limit, kind, place, history) for limit in limits):
                continue
            where = "country" if kind == "foreign" else "network"
            seen = place.of(where)
            assert seen is not None
            age = history.age(self.today, self.oldest_day)
            latest = (self.now, self.familiarity_of(where, seen, history), age)
            moments = [latest, *_moments(history.mails[kind])]
            needed = set()
            for limit in limits:
                counted = [
                    n for n, moment in enumerate(moments) if self._counts_moment(limit, *moment)
                ]
                needed.update(counted[: getattr(limit, key) + 1])
            kept = [moment for n, moment in enumerate(moments) if n in needed]
            texts = [f"{time:.6f}:{known}:{age}" for time, known, age in kept]
            history.mails[kind] = " ".join(texts)

    def _counts_moment(self, limit: Limit, time: float, known: int, age: int) -> bool:
        """Whether a mail limit counts a mail of that time; what is known is as it was then."""
        wanted = limit.familiar_after
        return (not wanted or known < wanted <= age) and self.now - time <= limit.window

    def _is_familiar_for_all(self, kind: str, seen: Seen, history: History) -> bool:
        """Whether every limit takes a place for familiar."""
        wanted = [limit.familiar_after for limit in self.policy.limits]
        return min(wanted) > 0 and self.familiarity_of(kind, seen, history) >= max(wanted)

    def _has_min_mails(self, seen: Seen) -> bool:
        least = self.policy.min_mails
        return least == 1 or all(_run(seen, window) >= least for window in self.policy.windows)

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
    """The consequences of a mail.

    `ended`: why the incident that was open has ended before this mail: "", "expired" or "no longer
    true".  `crossing`: the limit that the mail crosses.  `begins`: whether a new incident begins
    with it.  `observed`: the observing limit that it crosses, where that begins an incident of its
    own; `observed_ended`: whether such an incident is no longer true.
    """

    __slots__ = ("begins", "crossing", "ended", "observed", "observed_ended")

    def __init__(self, ended: str) -> None:
        self.ended = ended
        self.crossing: Crossing | None = None
        self.begins = False
        self.observed: Crossing | None = None
        self.observed_ended = False


def record(rule: Rule, history: History, place: Place) -> Judgement:
    """Record a mail from `place` in the account's history, and say what follows.

    `place` is the history's.  The account must not be blocked, unless its block has expired or
    `rule` only observes.
    """
    judgement = Judgement(end_of_incident(rule, history))
    if judgement.ended:
        history.start_afresh()
    rule.see(history, place)
    crossing = judgement.crossing = rule.crossing(history, place)
    judgement.begins = crossing is not None and (
        not history.incident or (history.incident == "observe" and not rule.policy.observes)
    )
    if judgement.begins:
        history.incident = rule.policy.mode
        for seen in (*history.countries.values(), *history.networks.values(), place.address):
            seen.days = rule.marked(seen.days)
        history.addresses.change_days(rule.marked)
    elif history.is_observed and not rule.is_over(history, observed=True):
        judgement.observed_ended, history.is_observed = True, False
    elif not history.is_observed and not history.incident:
        judgement.observed = rule.crossing(history, place, observed=True)
        history.is_observed = judgement.observed is not None
    return judgement


def end_of_incident(rule: Rule, history: History) -> str:
    """Return why the open incident has ended by now, or "" when none is open or it lasts."""
    if history.expires and history.expires <= rule.now:
        return "expired"
    if history.incident == "observe" and not rule.is_over(history):
        return "no longer true"
    return ""


def _moments(text: str) -> list[tuple[float, int, int]]:
    moments = [moment.split(":") for moment in text.split()]
    return [(float(time), int(known), int(age)) for time, known, age in moments]


def _in_order(countries: list[Seen]) -> list[str]:
    """Return the names, the country that was seen first of all first."""
    return [seen.name for seen in sorted(countries, key=lambda seen: seen.first_seen)]


def _runs(seen: Seen) -> dict[int, int]:
    pairs = [run.split(":") for run in seen.runs.split()]
    return {int(window): int(mails) for window, mails in pairs}


def _run(seen: Seen, window: int) -> int:
    return _runs(seen).get(window, 0)
