"""The rule once more, written from its description alone: every mail kept, all counted each time.

It knows nothing of presences, generations, runs, caches or SQL.  Time never goes back in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DAY = 86400


@dataclass(frozen=True)
class Settings:
    """The values of a configuration; limits are pairs of a number and its window in seconds."""

    countries: tuple[tuple[int, int], ...] = ()
    addresses: tuple[tuple[int, int], ...] = ()
    familiar_after: int = 0
    min_mails: int = 1
    ignored: frozenset[str] = frozenset()
    groups: tuple[frozenset[str], ...] = ()
    block_for: int = 0
    keep: int = 30 * DAY

    def place(self, country: str) -> str:
        """The country, or what stands for its group."""
        return next((",".join(sorted(group)) for group in self.groups if country in group), country)


@dataclass
class Mail:
    """A recorded mail, and whether its day may make its country, and its address, familiar."""

    at: float
    country: str
    address: str
    country_learns: bool = True
    address_learns: bool = True
    is_dropped: bool = False


@dataclass
class Account:
    """Every recorded mail of an account, and its block."""

    mails: list[Mail] = field(default_factory=list)
    instances: set[str] = field(default_factory=set)
    blocked: bool = False
    expires: float = 0
    counting_from: int = 0  # the index of the first mail that counts


class Model:
    """The right answer to every mail."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.accounts: dict[str, Account] = {}

    def refuses(self, name: str, country: str, address: str, instance: str, now: float) -> bool:
        """Record a mail, and say whether it should be refused; `country` is "" for none."""
        account = self.accounts.setdefault(name, Account())
        if self.is_blocked(name, now):
            return True
        if not country or country in self.settings.ignored or instance in account.instances:
            return False
        if account.blocked:
            self.unblock(name)
        account.instances.add(instance)
        account.mails.append(Mail(now, country, address))
        if self._crosses(account, now):
            self._block(account, now)
        return account.blocked

    def is_blocked(self, name: str, now: float) -> bool:
        """Whether all mail of an account is refused, exemptions apart."""
        account = self.accounts.setdefault(name, Account())
        return account.blocked and not (account.expires and account.expires <= now)

    def learn(self, name: str, country: str, address: str, at: float) -> None:
        """Take a mail from a log in, unless the account had an incident."""
        account = self.accounts.setdefault(name, Account())
        if not (account.blocked or account.counting_from):
            account.mails.append(Mail(at, country, address))
            account.mails.sort(key=lambda mail: mail.at)

    def clean_up(self, before: float) -> None:
        """Forget places last seen by that time."""
        for account in self.accounts.values():
            for mail in account.mails:
                if max(m.at for m in account.mails if m.country == mail.country) <= before:
                    mail.country_learns, mail.is_dropped = False, True
                if max(m.at for m in account.mails if m.address == mail.address) <= before:
                    mail.address_learns = False

    def unblock(self, name: str) -> None:
        """Start afresh."""
        account = self.accounts[name]
        account.blocked = False
        account.counting_from = len(account.mails)

    def _crosses(self, account: Account, now: float) -> bool:
        latest = account.mails[-1]
        if not self._is_familiar_country(account, latest.country, now):
            for most, window in self.settings.countries:
                if most and len(self._places(account, window, now)) > most:
                    return True
        if not self._is_familiar_address(account, latest.address, now):
            for most, window in self.settings.addresses:
                if most and len(self._addresses(account, window, now)) > most:
                    return True
        return False

    def _places(self, account: Account, window: int, now: float) -> set[str]:
        counting = account.mails[account.counting_from :]
        return {
            "familiar"
            if self._is_familiar_country(account, country, now)
            else self.settings.place(country)
            for country in {mail.country for mail in counting} - self.settings.ignored
            if self._run([mail.at for mail in counting if mail.country == country], window, now)
            >= self.settings.min_mails
        }

    def _addresses(self, account: Account, window: int, now: float) -> set[str]:
        return {
            mail.address
            for mail in account.mails[account.counting_from :]
            if now - mail.at <= window and not self._is_familiar_address(account, mail.address, now)
        }

    def _run(self, times: list[float], window: int, now: float) -> int:
        """How many mails since the last absence for longer than the window."""
        run, later = 0, now
        for time in reversed(times):
            if later - time > window:
                break
            run, later = run + 1, time
        return run

    def _is_familiar_country(self, account: Account, country: str, now: float) -> bool:
        place = self.settings.place(country)
        members = {
            mail.country for mail in account.mails if self.settings.place(mail.country) == place
        }
        return any(
            self._is_enough(
                [mail.at for mail in account.mails if mail.country == name and mail.country_learns],
                now,
            )
            for name in members
        )

    def _is_familiar_address(self, account: Account, address: str, now: float) -> bool:
        return self._is_enough(
            [mail.at for mail in account.mails if mail.address == address and mail.address_learns],
            now,
        )

    def _is_enough(self, times: list[float], now: float) -> bool:
        today = now // DAY
        days = {time // DAY for time in times}
        earlier = [day for day in days if today - self.settings.keep // DAY <= day < today]
        return 0 < self.settings.familiar_after <= len(earlier)

    def _block(self, account: Account, now: float) -> None:
        unfamiliar_countries = {
            mail.country
            for mail in account.mails
            if not self._is_enough(
                [m.at for m in account.mails if m.country == mail.country and m.country_learns],
                now,
            )
        }
        unfamiliar_addresses = {
            mail.address
            for mail in account.mails
            if not self._is_familiar_address(account, mail.address, now)
        }
        for mail in account.mails:
            mail.country_learns &= mail.country not in unfamiliar_countries
            mail.address_learns &= mail.address not in unfamiliar_addresses
        account.blocked = True
        account.expires = now + self.settings.block_for if self.settings.block_for else 0
