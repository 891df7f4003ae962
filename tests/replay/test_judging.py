"""Replay against another computation of its grid, and against real verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkout import Site, is_refusal
from replaying import START, replay, write
from simulator import DAY, HOUR, SentMail, log, simulate, utc

pytestmark = pytest.mark.subprocess


class Reckoning:
    """One account under one setting, reckoned from all of its mails anew for every mail."""

    def __init__(self, limits: list[tuple[str, int, int]], familiar_after: int) -> None:
        self.limits = limits
        self.familiar_after = familiar_after
        self.seen: list[tuple[int, str, str]] = []

    def crosses(self, at: int, country: str, client_address: str) -> bool:
        """Add a mail, and tell whether a limit (kind, most, window) is crossed by it."""
        self.seen.append((at, country, client_address))
        for kind, most, window in self.limits:
            field = 1 if kind == "countries" else 2
            places = {mail[field] for mail in self.seen if at - mail[0] <= window}
            familiar = {place for place in places if self._is_familiar(field, place, at)}
            count = len(places - familiar)
            if kind == "countries":
                count += bool(familiar)
            if count > most and (country, client_address)[field - 1] not in familiar:
                return True
        return False

    def _is_familiar(self, field: int, place: object, now: int) -> bool:
        days = {mail[0] // DAY for mail in self.seen if mail[field] == place}
        earlier = [day for day in days if now // DAY - 30 <= day < now // DAY]
        return bool(self.familiar_after) and len(earlier) >= self.familiar_after


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
        limits = [("countries", most, SECONDS[window])]
        if further:
            limits += [("countries", 2, HOUR), ("addresses", 5, HOUR)]
        accounts = {mail.account: Reckoning(limits, familiar_after) for mail in mails}
        for mail in mails:
            stops = expected.get((mail.account, most, window))
            if stops:
                stops[1] += 1
                continue
            crosses = accounts[mail.account].crosses(mail.at, mail.country, mail.client_address)
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


@pytest.mark.skipif(LIBFAKETIME is None, reason="needs Debian's package faketime")
@pytest.mark.parametrize("name", REAL_POLICIES)
def test_replay_stops_exactly_the_mails_that_policy_processes_refuse(site: Site, name: str) -> None:
    site.configure(REAL_POLICIES[name])
    mails = simulate(len(name), START, 20, KINDS, 5)
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
