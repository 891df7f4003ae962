"""The rule once more, written from its description alone: every mail kept, all counted each time.

It knows nothing of sums, generations, runs, marks, moments, caches or SQL.  Time never goes back
in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

DAY = 86400


@dataclass(frozen=True)
class Limit:
    """A limit: its key in pcc.toml, the most that passes, seconds, and what is its own."""

    key: str
    most: int
    window: int
    familiar_after: int = 0
    observes: bool = False


@dataclass(frozen=True)
class Settings:
    """The values of a configuration."""

    limits: tuple[Limit, ...] = ()
    min_mails: int = 1
    ignored: frozenset[str] = frozenset()
    groups: tuple[frozenset[str], ...] = ()
    block_for: int = 0
    keep: int = 30 * DAY

    def place(self, country: str) -> str:
        """The country, or what stands for its group."""
        return next((",".join(sorted(group)) for group in self.groups if country in group), country)

    @property
    def thresholds(self) -> set[int]:
        """After how many days places are familiar, for some limit."""
        return {limit.familiar_after for limit in self.limits}


@dataclass(frozen=True)
class Origin:
    """Where a mail comes from; `network` is "" where none is known."""

    country: str
    network: str
    address: str
    is_hosting: bool = False


@dataclass
class Mail:
    """A recorded mail.

    `void`: the kinds of its places that its day makes familiar for nobody who asks for so many
    days.  `counted_by`: the mail limits that count it.  `dropped`: the kinds that were forgotten.
    """

    at: float
    origin: Origin
    void: set[tuple[str, int]] = field(default_factory=set)
    counted_by: set[Limit] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)


@dataclass
class Account:
    """Every recorded mail of an account, and its block."""

    mails: list[Mail] = field(default_factory=list)
    instances: set[str] = field(default_factory=set)
    blocked: bool = False
    expires: float = 0
    lasted: float = 0  # how long the latest block did, if it ended by itself
    counting_from: int = 0  # the index of the first mail that counts


class Model:
    """The right answer to every mail."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.accounts: dict[str, Account] = {}

    def refuses(self, name: str, origin: Origin, instance: str, now: float) -> bool:
        """Record a mail, and say whether it should be refused; its country is "" for none."""
        account = self.accounts.setdefault(name, Account())
        if self.is_blocked(name, now):
            return True
        country = origin.country
        if not country or country in self.settings.ignored or instance in account.instances:
            return False
        if account.blocked:
            self.unblock(name, by_itself=True)
        account.instances.add(instance)
        mail = Mail(now, origin)
        account.mails.append(mail)
        mail.counted_by = {
            limit for limit in self.settings.limits if self._counts_mail(account, limit, mail)
        }
        if any(
            self._crosses(account, limit, now)
            for limit in self.settings.limits
            if limit.most and not limit.observes
        ):
            self._block(account, now)
        return account.blocked

    def is_blocked(self, name: str, now: float) -> bool:
        """Whether all mail of an account is refused, exemptions apart."""
        account = self.accounts.setdefault(name, Account())
        return account.blocked and not (account.expires and account.expires <= now)

    def learn(self, name: str, origin: Origin, at: float) -> None:
        """Take a mail from a log in, unless the account had an incident."""
        account = self.accounts.setdefault(name, Account())
        if not (account.blocked or account.counting_from):
            account.mails.append(Mail(at, origin))
            account.mails.sort(key=lambda mail: mail.at)

    def clean_up(self, before: float) -> None:
        """Forget places last seen by that time."""
        for account in self.accounts.values():
            for kind in ("country", "network", "address"):
                latest: dict[str, float] = {}
                for mail in account.mails:
                    latest[getattr(mail.origin, kind)] = mail.at
                for mail in account.mails:
                    if latest[getattr(mail.origin, kind)] <= before:
                        mail.dropped.add(kind)

    def unblock(self, name: str, *, by_itself: bool = False) -> None:
        """Start afresh."""
        account = self.accounts[name]
        if not by_itself:
            account.lasted = 0
        account.blocked = False
        account.counting_from = len(account.mails)

    def _crosses(self, account: Account, limit: Limit, now: float) -> bool:
        origin = account.mails[-1].origin
        counting = account.mails[account.counting_from :]
        within = [mail for mail in counting if now - mail.at <= limit.window]
        if limit.key in ("max_hosting_mails", "max_foreign_mails"):
            counted = [limit in mail.counted_by for mail in within]
            return bool(counted) and counted[-1] and sum(counted) > limit.most
        kind = {
            "max_countries": "country",
            "max_networks": "network",
            "max_addresses": "address",
        }[limit.key]
        if not getattr(origin, kind) or self._is_familiar(account, limit, kind, origin, now):
            return False
        if kind == "country":
            return len(self._countries(account, limit, counting, now)) > limit.most
        unfamiliar = {
            getattr(mail.origin, kind)
            for mail in within
            if getattr(mail.origin, kind)
            and not self._is_familiar(account, limit, kind, mail.origin, now)
        }
        return len(unfamiliar) > limit.most

    def _countries(
        self, account: Account, limit: Limit, counting: list[Mail], now: float
    ) -> set[str]:
        origins = {mail.origin.country: mail.origin for mail in counting}
        return {
            "familiar"
            if self._is_familiar(account, limit, "country", origins[country], now)
            else self.settings.place(country)
            for country in origins.keys() - self.settings.ignored
            if self._run(
                [mail.at for mail in counting if mail.origin.country == country], limit.window, now
            )
            >= self.settings.min_mails
        }

    def _counts_mail(self, account: Account, limit: Limit, mail: Mail) -> bool:
        origin, now = mail.origin, mail.at
        if limit.key == "max_foreign_mails":
            kind = "country"
        elif limit.key == "max_hosting_mails" and origin.network and origin.is_hosting:
            kind = "network"
        else:
            return False
        if self._is_familiar(account, limit, kind, origin, now):
            return False
        # A day that a place was seen on is known as long as the place is.
        seen = [other.at for other in account.mails if "country" not in other.dropped]
        return self._earlier_days(seen, now) >= limit.familiar_after

    def _run(self, times: list[float], window: int, now: float) -> int:
        """How many mails since the last absence for longer than the window."""
        run, later = 0, now
        for time in reversed(times):
            if later - time > window:
                break
            run, later = run + 1, time
        return run

    def _is_familiar(
        self, account: Account, limit: Limit, kind: str, origin: Origin, now: float
    ) -> bool:
        return self._is_familiar_after(account, limit.familiar_after, kind, origin, now)

    def _is_familiar_after(
        self, account: Account, days: int, kind: str, origin: Origin, now: float
    ) -> bool:
        if not days:
            return False
        names = {getattr(origin, kind)}
        if kind == "country":
            place = self.settings.place(origin.country)
            names = {
                mail.origin.country
                for mail in account.mails
                if self.settings.place(mail.origin.country) == place
            }
        named = [(kind, name) for name in names]
        if kind == "address" and origin.network:
            named.append(("network", origin.network))
        return any(self._is_enough(account, days, *place, now) for place in named)

    def _is_enough(self, account: Account, days: int, kind: str, name: str, now: float) -> bool:
        times = [
            mail.at
            for mail in account.mails
            if getattr(mail.origin, kind) == name
            and kind not in mail.dropped
            and (kind, days) not in mail.void
        ]
        return self._earlier_days(times, now) >= days

    def _earlier_days(self, times: Iterable[float], now: float) -> int:
        today = now // DAY
        days = {time // DAY for time in times}
        return len([day for day in days if today - self.settings.keep // DAY <= day < today])

    def _block(self, account: Account, now: float) -> None:
        void = {
            (kind, days, getattr(mail.origin, kind))
            for mail in account.mails
            for kind in ("country", "network", "address")
            for days in self.settings.thresholds
            # By itself: what its group or network makes of it, these go on making of it.
            if not self._is_enough(account, days, kind, getattr(mail.origin, kind), now)
        }
        for mail in account.mails:
            mail.void |= {
                (kind, days)
                for kind, days, name in void
                if days and getattr(mail.origin, kind) == name
            }
        account.blocked = True
        if self.settings.block_for:
            longest = max(30 * DAY, self.settings.block_for)
            account.lasted = min(max(self.settings.block_for, 2 * account.lasted), longest)
            account.expires = now + account.lasted
