"""The measurements: one function per goal, each returning its figures.

Two things that are compared run in turn, A B A B, so that both meet the same noise.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import maillog
from benchmarks.bench import ADDRESSES, DIFFERENT_MAILS, MILLISECONDS, Bench, saturated
from benchmarks.burst import bursts
from benchmarks.decisions import decisions, turn_of_the_hour
from benchmarks.installation import BARE, NULL_POLICY, Site
from benchmarks.load import (
    Answers,
    Pool,
    churn,
    counting,
    first_verdict,
    lasting,
    run,
    run_measured,
)
from benchmarks.mta import real_postfix
from benchmarks.population import LASTING, Census
from benchmarks.report import Figure, Goal, compared, measured
from benchmarks.servers import servers
from benchmarks.traffic import account, home_country, request


def first_verdicts(bench: Bench) -> list[Figure]:
    """From the start of a process to its complete first reply."""
    site = bench.populated_site()
    mails = [bench.mails(bench.mails_from_home()) for _ in range(3)]
    new = bench.mails(bench.new_addresses_at_home())
    times: dict[str, list[float]] = {"bare": [], "null": [], "known": [], "again": [], "new": []}
    for _ in range(bench.scale.first_verdicts):
        times["bare"].append(run(BARE) * MILLISECONDS)
        times["null"].append(first_verdict(NULL_POLICY, next(mails[0])) * MILLISECONDS)
        times["known"].append(first_verdict(site.policy(), next(mails[1])) * MILLISECONDS)
        times["again"].append(first_verdict(site.policy(), next(mails[2])) * MILLISECONDS)
        times["new"].append(first_verdict(site.policy(), next(new)) * MILLISECONDS)
    return [
        compared("first verdict, null policy", "ms", times["null"], times["bare"], "bare Python"),
        *[
            compared(name, "ms", times[kind], times["bare"], "bare Python", Goal(1.3))
            for kind, name in (
                ("again", "first verdict, known account and address"),
                ("known", "  the same, whose place no process has looked up lately"),
            )
        ],
        compared(
            "first verdict, new address",
            "ms",
            times["new"],
            times["bare"],
            "bare Python",
            Goal(9),
        ),
    ]


@dataclass
class Load:
    """Answers of the policies under the same load, run by turns, and what pcc counted of them."""

    pcc: list[Answers]
    null: list[Answers]
    writer: list[Answers]
    counted: list[Count]


class Count:
    """The answers of processes, and the database's account of them.

    The mail that crosses a limit is recorded like those before it, and stopped.
    """

    def __init__(self, replies: Counter[bytes], before: Census, after: Census) -> None:
        self.answers = sum(replies.values())
        self.stopped = self.answers - replies[b"action=DUNNO\n\n"]
        self.blocks = after.incidents - before.incidents
        recorded = self.answers - self.stopped + self.blocks
        self.wrong = (
            abs(recorded - (after.mails - before.mails))
            + sum([abs(recorded - n + before.by_kind[kind]) for kind, n in after.by_kind.items()])
            + abs(self.stopped - (after.stopped - before.stopped))
        )


SUSTAINED = 4
"""How many times as long as others pcc is kept busy: it folds its counts every five seconds."""


def throughput(bench: Bench) -> list[Figure]:
    """Verdicts per second, how long they take, and whether all were counted."""
    figures = []
    counted: list[Count] = []
    load = Load([], [], [], [])
    goals = {1: 0.42, 8: 0.38, 64: 0.22}
    for processes, goal in goals.items():
        load = _loaded(bench, processes)
        counted += load.counted
        rates = [[a.per_second for a in answers] for answers in (load.pcc, load.null, load.writer)]
        name = f"verdicts, {processes} process{'es' if processes > 1 else ''}"
        figures += [
            compared(name, "/s", rates[0], rates[1], "null policy", Goal(goal, at_least=True)),
            compared("  the same", "/s", rates[0], rates[2], "SQLite writer"),
        ]
    return [
        *figures,
        *_latency_figures(load),
        Figure("answers given at full load", "", sum(count.answers for count in counted)),
        Figure("  accounts that got blocked", "", sum(count.blocks for count in counted)),
        Figure("  stopped mails", "", sum(count.stopped for count in counted)),
        Figure(
            "  answers that were not counted, or twice",
            "",
            sum(count.wrong for count in counted),
            goals=(Goal(0, of_figure=True),),
        ),
        _generator_cost(load),
    ]


def _loaded(bench: Bench, processes: int) -> Load:
    load = Load([], [], [], [])
    for turn in range(bench.scale.rounds):
        mixed = bench.mixed_mails(turn)
        saturated(bench, NULL_POLICY, processes, mixed, load.null)
        saturated(bench, bench.installation.sqlite_writer(), processes, mixed, load.writer)
        site = bench.populated_site()  # where nobody is blocked yet
        before = Census(site.database)
        seconds = SUSTAINED * bench.scale.seconds
        replies = saturated(bench, site.policy(), processes, mixed, load.pcc, seconds)
        load.counted.append(Count(replies, before, Census(site.database)))
        bench.installation.remove(site)
    return load


def _latency_figures(load: Load) -> list[Figure]:
    p99 = [
        [answers.percentile(99) * MILLISECONDS for answers in kind]
        for kind in (load.pcc, load.null, load.writer)
    ]
    slowest = [answers.slowest * MILLISECONDS for answers in load.pcc]
    return [
        compared("p99 at 64 processes", "ms", p99[0], p99[1], "null policy", Goal(5)),
        compared("  the same", "ms", p99[0], p99[2], "SQLite writer"),
        Figure(
            "slowest of all at 64 processes",
            "ms",
            max(slowest),
            goals=(Goal(200, of_figure=True),),
            runs={"values": slowest},
        ),
    ]


def _generator_cost(load: Load) -> Figure:
    costs = [answers.own_seconds / len(answers.latencies) * 1e6 for answers in load.null]
    return measured("the load generator itself, per answer", "us", costs)


def memory(bench: Bench) -> list[Figure]:
    """Proportional set size of each of 64 processes that have answered, before geoip2."""
    site = bench.populated_site()
    requests = bench.mails_from_home()
    sizes: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(bench.scale.rounds):
        for is_pcc, argv in ((False, NULL_POLICY), (True, site.policy())):
            with Pool(argv, 64) as pool:
                mails = bench.mails(requests)
                pool.ask_each(mails)
                pool.ask_each(mails)
                sizes[is_pcc].append(statistics.mean(map(_proportional_size, pool.pids)))
    bench.installation.remove(site)
    return [
        compared(
            "memory per process at 64 (PSS)",
            "MB",
            sizes[True],
            sizes[False],
            "null policy",
            Goal(1.25),
        )
    ]


def _proportional_size(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(rollup.partition("\nPss:")[2].split()[0]) / 1000


def urgent_writes(bench: Bench) -> list[Figure]:
    """Mails that must be written before the reply: each account's first from another country."""
    rate, seconds = 1000, 3 * bench.scale.seconds
    p99: dict[str, list[float]] = {"pcc": [], "null": []}
    numbers = range(int(rate * seconds))
    for turn in range(bench.scale.rounds):
        site = bench.populated_site(accounts=len(numbers))
        chance = random.Random(turn)
        requests = [request(account(n), bench.world.abroad(n, chance)) for n in numbers]
        for name, argv in (("null", NULL_POLICY), ("pcc", site.policy())):
            with Pool(argv, 64) as pool:
                bench.warm(pool)
                answers = pool.offer(bench.mails(requests), rate, seconds)
                p99[name].append(answers.percentile(99) * MILLISECONDS)
        bench.installation.remove(site)
    goal = Goal(30, of_figure=True)
    name = "p99 of mails from a new country, 1000/s offered"
    return [compared(name, "ms", p99["pcc"], p99["null"], "null policy", goal)]


def growth(bench: Bench) -> list[Figure]:
    """The same load on few and on many sightings."""
    places = 10
    sites, loads = [], []
    for sightings in (10_000, bench.scale.many_sightings):
        site = bench.installation.site()
        accounts = sightings // places
        bench.filling(site).add(accounts, places, ending=LASTING)
        sites.append(site)
        loads.append(bench.world.mails_from_home(accounts, places, DIFFERENT_MAILS))
    answers: tuple[list[Answers], list[Answers]] = ([], [])
    for _ in range(bench.scale.rounds):
        for site, requests, found in zip(sites, loads, answers, strict=True):
            with Pool(site.policy(), 8) as pool:
                mails = bench.mails(requests)
                pool.ask_each(mails)
                found.append(pool.saturate(mails, lasting(bench.scale.seconds)))
    for site in sites:
        bench.installation.remove(site)
    times = [[1e6 / each.per_second for each in found] for found in answers]
    p99 = [[each.percentile(99) * MILLISECONDS for each in found] for found in answers]
    many = f"{bench.scale.many_sightings:,} sightings"
    few = "10,000 sightings"
    return [
        compared(f"time per verdict, {many}", "us", times[1], times[0], few, Goal(1.5)),
        compared(f"p99, {many}", "ms", p99[1], p99[0], few, Goal(1.5)),
    ]


MANY_ADDRESSES_PASS = """
[[limit]]
max_addresses = 100000
window = "1h"
"""

HEAVY = 7
"""The number of the heavy account."""


def heavy_account(bench: Bench) -> list[Figure]:
    """An account with thousands of addresses in the window beside ordinary ones.

    First with the limits that we ship, then, without a goal, with one that counts them all.
    """
    return [
        *_heavy_account(bench, "", "", Goal(1.5)),
        *_heavy_account(bench, ", max_addresses 100,000", MANY_ADDRESSES_PASS),
    ]


def _heavy_account(bench: Bench, condition: str, limits: str, *goals: Goal) -> list[Figure]:
    site = bench.populated_site(limits)
    blocks = bench.world.largest_network(home_country(HEAVY))
    many = bench.scale.heavy_addresses
    places = [
        (block, block.address(n)) for n in range(2 * many // len(blocks) + 1) for block in blocks
    ]
    bench.filling(site).add_addresses(HEAVY, places[:many])
    addresses = [address for _, address in places]
    kinds = {
        "known address": (bench.mails_from_home(), addresses[:many], 500),
        "new address": (bench.new_addresses_at_home(), addresses[many:], 50),
    }
    figures = []
    for name, (ordinary, known, mails) in kinds.items():
        heavy = [request(account(HEAVY), address) for address in known]
        times = _times_by_turns(bench, site, mails, [ordinary, heavy])
        what = f"heavy account, {name}{condition}"
        figures.append(compared(what, "us", times[1], times[0], "ordinary account", *goals))
    bench.installation.remove(site)
    return figures


def _times_by_turns(
    bench: Bench, site: Site, mails: int, kinds: list[list[bytes]]
) -> list[list[float]]:
    """Return for each kind of mails the microseconds per verdict of one process in each round."""
    times: list[list[float]] = [[] for _ in kinds]
    sources = [bench.mails(requests) for requests in kinds]
    with Pool(site.policy(), 1) as pool:
        bench.warm(pool)
        for _ in range(bench.scale.rounds):
            for source, found in zip(sources, times, strict=True):
                answers = pool.saturate(source, counting(mails))
                found.append(statistics.mean(answers.latencies) * 1e6)
    return times


def one_mail_per_process(bench: Bench) -> list[Figure]:
    """The worst churn: a process for every mail, eight at a time."""
    site = bench.populated_site()
    mails = bench.mails(bench.mails_from_home())
    rates: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(bench.scale.rounds):
        for is_pcc, argv in ((False, NULL_POLICY), (True, site.policy())):
            rates[is_pcc].append(churn(argv, mails, bench.scale.churned, 8))
    bench.installation.remove(site)
    return [
        compared(
            "one mail per process, 8 at a time",
            "/s",
            rates[True],
            rates[False],
            "null policy",
            Goal(0.75, at_least=True),
        )
    ]


CLEANUP_SECONDS = 20
"""Seconds that dropping a million rows may take under load."""


def cleanup(bench: Bench) -> list[Figure]:
    """Dropping old sightings while 64 processes serve; late, it goes on without the load."""
    p99: dict[bool, list[float]] = {True: [], False: []}
    wrong = 0
    durations: list[float] = []
    requests = bench.mails_from_home()
    for _ in range(max(1, bench.scale.rounds // 2)):
        site = bench.populated_site()
        old = bench.scale.old_rows // ADDRESSES
        bench.filling(site).add(old, ADDRESSES, first=bench.scale.accounts, days_ago=60)
        with Pool(site.policy(), 64) as pool:
            mails = bench.mails(requests)
            pool.ask_each(mails)
            without = pool.saturate(mails, lasting(2 * bench.scale.seconds))
            begin = time.monotonic()
            process = subprocess.Popen(site.admin("--json", "cleanup"), stdout=subprocess.PIPE)
            during = pool.saturate(mails, _while_running(process, CLEANUP_SECONDS + 10))
            output, _ = process.communicate()
            durations.append(time.monotonic() - begin)
        wrong += abs(bench.scale.old_rows - json.loads(output)["sightings"])
        p99[False].append(without.percentile(99) * MILLISECONDS)
        p99[True].append(during.percentile(99) * MILLISECONDS)
        bench.installation.remove(site)
    name = f"p99 while cleanup drops {bench.scale.old_rows:,} rows"
    return [
        compared(name, "ms", p99[True], p99[False], "without", Goal(2)),
        measured("  done within", "s", durations, Goal(CLEANUP_SECONDS, of_figure=True)),
        Figure("  rows dropped wrongly, or left", "", wrong, goals=(Goal(0, of_figure=True),)),
    ]


def _while_running(process: subprocess.Popen[bytes], seconds: float) -> Callable[[], bool]:
    in_time = lasting(seconds)
    return lambda: in_time() and process.poll() is None


RECEIVED_PER_SENT = 5
"""In the log of a server that also takes mail in."""


def replay(bench: Bench) -> list[Figure]:
    """Playing a mail log: how fast beside reading its lines, and whether memory grows with it.

    A server that only sends has a mail to judge in every seventh line; others have fewer.
    """
    name, goal = "replay of a mail log", Goal(100, at_least=True, of_figure=True)
    site = bench.installation.site()
    if not site.has("replay"):
        return [Figure(name, "MB/s", goals=(goal,), missing="not built")]
    megabytes = bench.scale.log_megabytes
    logs = {kind: site.folder / f"{kind}.log" for kind in ("half", "sent", "mixed")}
    maillog.write(logs["half"], bench.world, bench.scale.accounts, megabytes / 2)
    maillog.write(logs["sent"], bench.world, bench.scale.accounts, megabytes)
    maillog.write(logs["mixed"], bench.world, bench.scale.accounts, megabytes, RECEIVED_PER_SENT)
    rates: dict[str, list[float]] = {kind: [] for kind in logs}
    floors: dict[str, list[float]] = {kind: [] for kind in logs}
    peaks: dict[str, list[float]] = {kind: [] for kind in logs}
    for _ in range(bench.scale.rounds):
        for kind, log in logs.items():
            floors[kind].append(megabytes / maillog.seconds_to_read(log))
            seconds, peak = run_measured(site.admin("--json", "replay", str(log)))
            peaks[kind].append(peak)
            rates[kind].append(megabytes / seconds)
    bench.installation.remove(site)
    beside, ratio = "loop over lines", Goal(0.08, at_least=True)
    mixed = f"  {RECEIVED_PER_SENT} received for each sent"
    return [
        compared(name, "MB/s", rates["sent"], floors["sent"], beside, goal, ratio),
        compared(mixed, "MB/s", rates["mixed"], floors["mixed"], beside),
        compared("  peak memory", "MB", peaks["sent"], peaks["half"], "half the log", Goal(1.2)),
    ]


def curve(bench: Bench) -> dict[str, list[tuple[int, float, float]]]:
    """Return for each policy (processes, verdicts per second, p99 in ms), for the chart."""
    points: dict[str, list[tuple[int, float, float]]] = {"pcc": [], "null policy": []}
    mixed = bench.mixed_mails()
    for processes in bench.scale.curve:
        site = bench.populated_site()
        for name, argv in (("null policy", NULL_POLICY), ("pcc", site.policy())):
            answers: list[Answers] = []
            saturated(bench, argv, processes, mixed, answers)
            p99 = answers[0].percentile(99) * MILLISECONDS
            points[name].append((processes, answers[0].per_second, p99))
        bench.installation.remove(site)
    return points


MEASUREMENTS: dict[str, Callable[[Bench], Iterable[Figure]]] = {
    "first": first_verdicts,
    "throughput": throughput,
    "urgent": urgent_writes,
    "decisions": decisions,
    "hour": turn_of_the_hour,
    "burst": bursts,
    "memory": memory,
    "growth": growth,
    "heavy": heavy_account,
    "churn": one_mail_per_process,
    "cleanup": cleanup,
    "replay": replay,
    "postfix": real_postfix,
    "servers": servers,
}
