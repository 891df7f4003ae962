"""The parts that all measurements share: size, mails, and processes kept busy with them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.installation import Installation, Site
from benchmarks.load import Answers, Argv, Mails, Pool, lasting
from benchmarks.population import SPREAD, Filling
from benchmarks.traffic import World, account, home_country, request

MILLISECONDS = 1000.0


@dataclass(frozen=True)
class Scale:
    """How much is done: `rounds` of everything interleaved, `seconds` of load in each."""

    rounds: int
    seconds: float
    accounts: int
    first_verdicts: int
    churned: int
    many_sightings: int
    heavy_addresses: int
    old_rows: int
    log_megabytes: int
    curve: tuple[int, ...]  # numbers of processes


FULL = Scale(
    rounds=3,
    seconds=3,
    accounts=5_000,
    first_verdicts=60,
    churned=300,
    many_sightings=10_000_000,
    heavy_addresses=5_000,
    old_rows=1_000_000,
    log_megabytes=200,
    curve=(1, 2, 4, 8, 16, 32, 64, 128),
)
QUICK = replace(
    FULL,
    rounds=2,
    seconds=1,
    first_verdicts=15,
    churned=60,
    many_sightings=300_000,
    old_rows=100_000,
    log_megabytes=30,
    curve=(),
)

ADDRESSES = 2
"""Known addresses of an ordinary account."""

DIFFERENT_MAILS = 30_000
"""Different requests of a run; they are sent again as new mails when they have all been sent."""


class Bench:
    """The parts that all measurements share."""

    def __init__(self, installation: Installation, scale: Scale) -> None:
        self.installation = installation
        self.scale = scale
        self.world = World(
            installation.places / "country.mmdb", installation.places / "networks.mmdb"
        )
        self._instance = 0

    def mails(self, requests: list[bytes]) -> Iterator[bytes]:
        """Return these requests in turn, as mails that were never sent before."""
        self._instance += 100_000_000
        return iter(Mails(requests, self._instance))

    def filling(self, site: Site) -> Filling:
        """Return what fills a site's database."""
        return Filling(site.config, site.database, self.world)

    def populated_site(
        self, limits: str = "", accounts: int = 0, ending: str = SPREAD, hours_ago: int = 0
    ) -> Site:
        """Return a site with the ordinary accounts, or so many; see Filling.add()."""
        site = self.installation.site(limits)
        accounts = accounts or self.scale.accounts
        self.filling(site).add(accounts, ADDRESSES, ending=ending, hours_ago=hours_ago)
        return site

    def mails_from_home(self) -> list[bytes]:
        """Return mails that change nothing: known accounts from known addresses."""
        return self.world.mails_from_home(self.scale.accounts, ADDRESSES, DIFFERENT_MAILS)

    def mixed_mails(self, turn: int = 0) -> list[bytes]:
        """Return mails of which 2 % are of accounts that hop, others in each turn."""
        return self.world.mixed_mails(self.scale.accounts, ADDRESSES, DIFFERENT_MAILS, turn)

    def new_addresses_at_home(self, accounts: int = 0) -> list[bytes]:
        """Return a mail of each account, or of so many, from a new address in its home country."""
        chance = random.Random(3)
        accounts = accounts or self.scale.accounts
        numbers = chance.sample(range(accounts), accounts)
        return [request(account(n), self.world.somewhere(home_country(n), chance)) for n in numbers]

    def warm(self, pool: Pool) -> None:
        """Send every process of a pool a new address of its own: it has imported geoip2 then."""
        first = self._instance // 100_000_000 * 1000
        chance = random.Random(first)
        numbers = [(first + number) % self.scale.accounts for number in range(len(pool.pids))]
        addresses = [self.world.somewhere(home_country(n), chance) for n in numbers]
        requests = [request(account(n), a) for n, a in zip(numbers, addresses, strict=True)]
        pool.ask_each(self.mails(requests))


def saturated(
    bench: Bench,
    argv: Argv,
    processes: int,
    requests: list[bytes],
    answers: list[Answers],
    seconds: float = 0,
) -> Counter[bytes]:
    """Keep processes busy for a while, append the answers, and return all replies ever given."""
    with Pool(argv, processes) as pool:
        bench.warm(pool)
        answers.append(
            pool.saturate(bench.mails(requests), lasting(seconds or bench.scale.seconds))
        )
    return pool.replies
