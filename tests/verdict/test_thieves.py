"""Thieves and owners under the limits of the pcc.toml we ship, through the real process.

The clock of the process is shifted by libfaketime, whose offset is in a file: one process sees
days go by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT, PolicyProcess, Site, is_pass, is_refusal, request_text
from mmdb import write_country_database, write_database

from pcc.config.iso3166 import CODES

LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

pytestmark = [
    pytest.mark.subprocess,
    pytest.mark.skipif(LIBFAKETIME is None, reason="needs Debian's package faketime"),
]

DAY = 86400
FOREIGN = [code for code in sorted(CODES) if code != "ES"]


class Months:
    """A site with the limits that we ship, and a policy process whose clock is ours."""

    def __init__(self, folder: Path, more: str = "") -> None:
        shipped = (ROOT / "pcc.toml").read_text(encoding="utf-8")
        policy = shipped[shipped.index("[policy]") : shipped.index("\n[country]")]
        self.site = Site(
            folder,
            f'{policy}\n{more}\n[country]\ndatabase = "country.mmdb"\nnetworks = "networks.mmdb"\n'
            'hosting = "hosting.txt"\n[store]\ndatabase = "pcc.db"\n[notify]\nto = []\n',
        )
        # 12.0 to 12.99 are the owner's country, a network each; the next 99 are a country each.
        countries = {f"12.{n}.0.0/16": "ES" if n < 100 else FOREIGN[n - 100] for n in range(199)}
        write_country_database(self.site.countries, countries)
        write_database(
            folder / "networks.mmdb",
            {f"12.{n}.0.0/16": {"autonomous_system_number": 64500 + n} for n in range(199)},
            "GeoLite2-ASN",
        )
        (folder / "hosting.txt").write_text("64590\n")
        self._offset = folder / "offset"
        self.now = 0.0
        self.process: PolicyProcess | None = None

    def mail(self, at: float, network: int, host: int = 1) -> bool:
        """Send a mail at a time, seconds from now on; return whether it passes."""
        self._offset.write_text(f"+{at:.0f}")
        if self.process is None:
            self.process = self.site.policy(
                environment={
                    "PATH": "/usr/bin:/bin",
                    "LD_PRELOAD": str(LIBFAKETIME),
                    "FAKETIME_TIMESTAMP_FILE": str(self._offset),
                    "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                }
            )
        address = f"12.{network}.{host // 250}.{host % 250 + 1}"
        self.process.send(request_text("owner@example.org", address))
        action = self.process.reply()
        assert is_pass(action) or is_refusal(action), action
        return is_pass(action)

    def at_home(self, days: int) -> None:
        """Send a mail from the owner's own network on the first days."""
        assert all(self.mail(day * DAY, 0) for day in range(days))

    def rule(self) -> str:
        """Return the rule that the account was blocked by."""
        (blocked,) = self.site.data("list")
        return str(blocked["rule"])


@pytest.fixture
def months(tmp_path: Path) -> Iterator[Months]:
    made = Months(tmp_path)
    yield made
    made.site.close()


def test_thief_is_stopped_at_the_fourth_network_in_the_owners_country(months: Months) -> None:
    passed = [months.mail(60 * number, 10 + number) for number in range(5)]
    assert passed == [True, True, True, False, False]
    assert months.rule() == "max_networks 3 in 10m"


def test_telephone_with_two_hundred_addresses_of_its_provider_is_never_stopped(
    tmp_path: Path,
) -> None:
    months = Months(tmp_path, '[[limit]]\nmax_addresses = 5\nwindow = "1h"\n')
    try:
        months.at_home(3)
        assert all(months.mail(3 * DAY + 400 * number, 0, number) for number in range(200))
    finally:
        months.site.close()


def test_thief_with_two_new_countries_a_day_is_stopped_within_eight_days(months: Months) -> None:
    months.at_home(3)
    for day in range(3, 11):
        passed = [months.mail(day * DAY + 36000 * n, 100 + 2 * day + n) for n in range(2)]
        if not all(passed):
            break
    assert not all(passed)
    assert re.fullmatch("max_countries (5 in 2d|15 in 14d)", months.rule())


@pytest.mark.parametrize(
    ("network", "passing", "rule"),
    [(150, 50, "max_foreign_mails 50 in 1h"), (90, 25, "max_hosting_mails 25 in 1h")],
)
def test_mails_by_the_thousand_end_from_one_address(
    months: Months, network: int, passing: int, rule: str
) -> None:
    months.at_home(3)
    passed = [months.mail(3 * DAY + number, network) for number in range(passing + 20)]
    assert passed == [True] * passing + [False] * 20
    assert months.rule() == rule
    assert not months.mail(3 * DAY + 100, 0)


def test_account_that_is_new_may_send_by_the_hundred_from_anywhere(months: Months) -> None:
    months.at_home(1)
    assert all(months.mail(DAY + number, 150) for number in range(100))


def test_mails_of_a_time_that_the_clock_took_back_count_no_longer_than_the_window(
    months: Months,
) -> None:
    months.at_home(3)
    assert all(months.mail(13 * DAY + number, 90) for number in range(20))
    assert months.mail(3 * DAY + 60, 90)  # the clock had leapt ahead
    assert all(months.mail(3 * DAY + 7300 + number, 90) for number in range(20))
