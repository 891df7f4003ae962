"""Replay against another computation of its grid, and against real verdicts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from checkout import Site, is_refusal
from replaying import START, configure_networks, is_hosting, network, replay, write
from simulator import DAY, HOUR, SentMail, log, simulate, utc

pytestmark = pytest.mark.subprocess


class Reckoning:
    """One account under one setting, reckoned from all of its mails again for every mail."""

    def __init__(
        self, limits: list[tuple[str, int, int]], familiar_after: int, *, has_networks: bool
    ) -> None:
        self.limits = limits
        self.familiar_after = familiar_after
        self.has_networks = has_networks
        self.seen: list[SentMail] = []
        self.counted: dict[str, list[int]] = {"hosting": [], "foreign": []}

    def crosses(self, mail: SentMail) -> bool:
        """Add a mail; return whether it crosses a limit (kind, most, window)."""
        self.seen.append(mail)
        is_new = len(self._days(lambda other: True, mail.at)) < self.familiar_after
        if not is_new:
            if not self._is_familiar("country", mail, mail.at):
                self.counted["foreign"].append(mail.at)
            if is_hosting(mail) and not self._is_familiar("network", mail, mail.at):
                self.counted["hosting"].append(mail.at)
        return any(self._crosses(kind, most, window, mail) for kind, most, window in self.limits)

    def _crosses(self, kind: str, most: int, window: int, mail: SentMail) -> bool:
        if kind in self.counted:
            moments = self.counted[kind]
            return mail.at in moments and sum(mail.at - at <= window for at in moments) > most
        near = {place(kind, other): other for other in self.seen if mail.at - other.at <= window}
        familiar = {name for name, other in near.items() if self._is_familiar(kind, other, mail.at)}
        count = len(near) - len(familiar) + (kind == "country" and bool(familiar))
        return count > most and place(kind, mail) not in familiar

    def _is_familiar(self, kind: str, mail: SentMail, now: int) -> bool:
        kinds = [kind, "network"] if kind == "address" and self.has_networks else [kind]
        days = [len(self._days(partial(_are_together, kind, mail), now)) for kind in kinds]
        return 0 < self.familiar_after <= max(days)

    def _days(self, is_there: Callable[[SentMail], bool], now: int) -> set[int]:
        days = {mail.at // DAY for mail in self.seen if is_there(mail)}
        return {day for day in days if now // DAY - 30 <= day < now // DAY}


def _are_together(kind: str, mail: SentMail, other: SentMail) -> bool:
    return place(kind, mail) == place(kind, other)


def place(kind: str, mail: SentMail) -> str:
    """Return where a mail is from."""
    if kind == "network":
        return network(mail)
    return mail.country if kind == "country" else mail.client_address


GRID = [(most, window) for most in (1, 2, 3, 5) for window in ("1h", "1d", "2d", "7d")]
SECONDS = {"1h": HOUR, "1d": DAY, "2d": 2 * DAY, "7d": 7 * DAY}
FURTHER = """
[[limit]]
max_countries = 2
window = "1h"
[[limit]]
max_addresses = 5
window = "1h"
"""
KINDS = ["stay_at_home", "commuter", "traveller", "cloud_sender", "shared", "stolen"]


@pytest.mark.parametrize(
    ("familiar_after", "learn", "further"), [(0, 0, ""), (1, 7, FURTHER), (2, 3, FURTHER)]
)
def test_grid_is_what_another_computation_finds(
    site: Site, familiar_after: int, learn: int, further: str
) -> None:
    site.configure(f"familiar_after = {familiar_after}\n{further}")
    mails = simulate(familiar_after, START, 24, KINDS, 4)
    expected: dict[tuple[str, int, str], list[int]] = {}
    for most, window in GRID:
        limits = [("country", most, SECONDS[window])]
        if further:
            limits += [("country", 2, HOUR), ("address", 5, HOUR)]
        reckon = partial(Reckoning, limits, familiar_after, has_networks=False)
        accounts = {mail.account: reckon() for mail in mails}
        for mail in mails:
            stops = expected.get((mail.account, most, window))
            if stops:
                stops[1] += 1
                continue
            crosses = accounts[mail.account].crosses(mail)
            if crosses and mail.at >= mails[0].at + learn * DAY:
                expected[mail.account, most, window] = [mail.at, 1]
    path = write(site, "mail.log", log(mails))
    options = ["--max-countries", "1,2,3,5", "--window", "1h,1d,2d,7d", "--learn", f"{learn}d"]
    said = replay(site, path, *options)
    found = {
        (row["account"], row["max_countries"], row["window"]): (row["at"], row["mails_stopped"])
        for row in said["accounts"]
    }
    assert found == {
        key: (utc(at).strftime("%Y-%m-%dT%H:%M:%SZ"), stopped)
        for key, (at, stopped) in expected.items()
    }
    assert len(found) > 30
    for row in said["settings"]:
        stopped = [
            n
            for key, (_, n) in expected.items()
            if key[1:] == (row["max_countries"], row["window"])
        ]
        assert (row["accounts_blocked"], row["mails_stopped"]) == (len(stopped), sum(stopped))


NETWORK_LIMITS = """
[[limit]]
max_networks = 2
window = "1h"
[[limit]]
max_hosting_mails = 6
window = "6h"
[[limit]]
max_foreign_mails = 9
window = "12h"
familiar_after = 2
"""


def bursts(start: int) -> list[SentMail]:
    """Return mails of accounts that are stolen after five days at home, from one place each."""
    mails = []
    for number, (country, host) in enumerate([("FR", 17_000), ("FR", 9), ("ES", 17_000)]):
        account = f"burst-{number}@example.org"
        for day in range(5):
            mails += [SentMail(start + day * DAY + HOUR, account, "ES", 1)]
        midnight = start + 5 * DAY
        mails += [
            SentMail(midnight - HOUR + minute * 150, account, country, host + minute % 3)
            for minute in range(60)
        ]
    return mails


@pytest.mark.parametrize("familiar_after", [1, 2])
def test_grid_of_networks_and_mails_is_what_another_computation_finds(
    site: Site, familiar_after: int
) -> None:
    tried = {"max_networks": [3, 5], "max_hosting_mails": [0, 4], "max_foreign_mails": [0, 7, 30]}
    configure_networks(site, f"familiar_after = {familiar_after}\nmax_countries = 0\n")
    mails = sorted(simulate(familiar_after, START, 20, KINDS, 3) + bursts(START))
    expected: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for numbers in product(*tried.values()):
        kinds = zip(("network", "hosting", "foreign"), numbers, strict=True)
        limits = [(kind, most, DAY) for kind, most in kinds if most]
        reckon = partial(Reckoning, limits, familiar_after, has_networks=True)
        accounts = {mail.account: reckon() for mail in mails}
        for mail in mails:
            stops = expected.get((mail.account, numbers))
            if stops:
                stops[1] += 1
            elif accounts[mail.account].crosses(mail):
                expected[mail.account, numbers] = [mail.at, 1]
    options = [f"--{key.replace('_', '-')}={','.join(map(str, tried[key]))}" for key in tried]
    path = write(site, "mail.log", log(mails))
    said = replay(site, path, "--window", "1d", *options)
    found = {
        (row["account"], tuple(row[key] for key in tried)): (row["at"], row["mails_stopped"])
        for row in said["accounts"]
    }
    assert found == {
        key: (utc(at).strftime("%Y-%m-%dT%H:%M:%SZ"), stopped)
        for key, (at, stopped) in expected.items()
    }
    assert len(found) > 60
    assert {row["rule"].partition(" ")[0] for row in said["accounts"]} == set(tried)


LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

REAL_POLICIES = {
    "as shipped": FURTHER,
    "the original's rule": "familiar_after = 0\n",
    "blocks that end": 'familiar_after = 2\nmax_countries = 2\nblock_for = "20h"\n' + FURTHER,
    "all sorts": 'min_mails = 2\nmax_countries = 2\nignore_countries = ["IN"]\n'
    'country_groups = [["ES", "PT"]]\nexempt_clients = [".google.com"]\n'
    '[[override]]\naccounts = ["shared-0@example.org"]\nmax_countries = 1\nwindow = "1d"\n'
    '[[limit]]\nmax_addresses = 3\nwindow = "6h"\n',
}


WITH_NETWORKS = {
    "networks and mails": "familiar_after = 2\n" + NETWORK_LIMITS,
    "addresses of familiar networks": 'max_countries = 0\nmax_addresses = 3\nwindow = "1d"\n',
    "networks, and blocks that end": 'block_for = "20h"\nexempt_clients = ["AS64501"]\n'
    + NETWORK_LIMITS,
}


@pytest.mark.skipif(LIBFAKETIME is None, reason="needs Debian's package faketime")
@pytest.mark.parametrize("name", [*REAL_POLICIES, *WITH_NETWORKS])
def test_replay_stops_exactly_the_mails_that_policy_processes_refuse(site: Site, name: str) -> None:
    if name in REAL_POLICIES:
        site.configure(REAL_POLICIES[name])
    else:
        configure_networks(site, WITH_NETWORKS[name])
    mails = sorted(simulate(len(name), START, 20, KINDS, 5) + bursts(START + 9 * DAY))
    clock = site.folder / "clock"
    environment = {
        "PATH": "/usr/bin:/bin",
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }
    clock.write_text(f"{utc(mails[0].at):%Y-%m-%d %H:%M:%S}\n", encoding="ascii")
    process = site.policy(environment=environment)
    refused: dict[str, list[SentMail]] = {}
    for mail in mails:
        clock.write_text(f"{utc(mail.at):%Y-%m-%d %H:%M:%S}\n", encoding="ascii")
        attributes = {"client_name": mail.client_name}
        if is_refusal(process.ask(mail.account, mail.client_address, **attributes)):
            refused.setdefault(mail.account, []).append(mail)
    assert process.end() == 0
    said = replay(site, write(site, "mail.log", log(mails)))
    found = {row["account"]: (row["at"], row["mails_stopped"]) for row in said["accounts"]}
    assert found == {
        account: (utc(stopped[0].at).strftime("%Y-%m-%dT%H:%M:%SZ"), len(stopped))
        for account, stopped in refused.items()
    }
    assert refused
