"""Mail that has to be decided about, and the turn of the hour, when much of it once had to be."""

from __future__ import annotations

from benchmarks.bench import ADDRESSES, Bench
from benchmarks.installation import NULL_POLICY
from benchmarks.load import Pool, lasting
from benchmarks.population import OVER, SPREAD
from benchmarks.report import Figure, Goal, compared
from benchmarks.traffic import account, request

PROCESSES = 8

MINUTE = 4
"""The factor of a measurement's usual seconds that stands for the minute after a full hour.

A shorter time is the harder one: what the turn of the hour brings falls into the first seconds.
"""


def decisions(bench: Bench) -> list[Figure]:
    """Decisions per second over 8 processes: each mail from a place that has to be judged."""
    accounts = int(bench.scale.seconds * 5000)  # more mails than there is time for
    again = [
        request(account(number), bench.world.known(number, place, ADDRESSES)[1])
        for place in range(ADDRESSES)
        for number in range(accounts)
    ]
    kinds = {
        "decisions, known places judged again": (OVER, again),
        "decisions, new addresses at home": (SPREAD, bench.new_addresses_at_home(accounts)),
    }
    figures = []
    for name, (ending, requests) in kinds.items():
        rates: dict[str, list[float]] = {"pcc": [], "null": []}
        for _ in range(bench.scale.rounds):
            site = bench.populated_site(accounts=accounts, ending=ending)
            for kind, argv in (("null", NULL_POLICY), ("pcc", site.policy())):
                with Pool(argv, PROCESSES) as pool:
                    bench.warm(pool)
                    answers = pool.saturate(bench.mails(requests), lasting(bench.scale.seconds))
                # A place that was judged is a repeat from then on.
                assert kind == "null" or len(answers.latencies) < len(requests)
                rates[kind].append(answers.per_second)
            bench.installation.remove(site)
        figures.append(compared(name, "/s", rates["pcc"], rates["null"], "null policy"))
    return figures


def turn_of_the_hour(bench: Bench) -> list[Figure]:
    """Verdicts per second after a full hour beside those at any other time.

    After it all accounts were last seen in the hour before, so that the index by hours changes
    with the first mail of each.  Their repeats end at moments of their own, as at any time.  The
    other row has what happened at a full hour in version 1.0.0: all repeats have just ended.
    """
    kinds = {"rest": (SPREAD, 0), "turn": (SPREAD, 1), "all": (OVER, 1)}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    requests = bench.mails_from_home()
    for _ in range(bench.scale.rounds):
        for kind, (ending, hours_ago) in kinds.items():
            site = bench.populated_site(ending=ending, hours_ago=hours_ago)
            with Pool(site.policy(), PROCESSES) as pool:
                bench.warm(pool)
                answers = pool.saturate(
                    bench.mails(requests), lasting(MINUTE * bench.scale.seconds)
                )
            rates[kind].append(answers.per_second)
            bench.installation.remove(site)
    beside = "the rest"
    return [
        compared(
            "verdicts after a full hour, 8 processes",
            "/s",
            rates["turn"],
            rates["rest"],
            beside,
            Goal(0.9, at_least=True),
        ),
        compared("  if all repeats ended then", "/s", rates["all"], rates["rest"], beside),
    ]
