"""Inject faults, and print what was measured: python -m faults [--scale N] [--seed N] [KIND...]."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import clusters
import forked
import postfix
from deployment import end_processes_of, session_folder

from faults import broken, crowd, failing, kill, mta, power, preload, sharing, watchdogs, world

Lines = Iterable[str]


def kills(scale: float, seed: int) -> Lines:
    """Count what kills have cost."""
    for part, gently in ((0, True), (1, False)):
        done = kill.run(30 * scale, seed=seed + part, gently=gently)
        figures = done.figures
        yield (
            f"{done.kills} processes killed under load: {figures.requests} requests of"
            f" {figures.accounts} accounts, {figures.blocks} blocks, all with a cause,"
            f" {figures.refused} refusals, all with a block, no decided sighting lost;"
            f" {figures.lost} mails uncounted, {figures.might_be_lost} in flight"
        )


def power_cuts(scale: float, seed: int) -> Lines:
    """Count what power cuts have cost."""
    if preload.missing_compiler():
        yield f"SKIPPED: power cuts: {preload.missing_compiler()}"
        return
    for workers, mails, cuts in ((6, 0, 60), (1, 2, 60)):
        done = power.run(max(1, int(cuts * scale)), workers, seed, mails)
        yield (
            f"{done.cuts} power cuts, {done.images} disks as they may be left, with {workers}"
            f" processes: {done.requests} requests, {done.promised} promises looked up, none broken"
        )


def failing_disks(scale: float, seed: int) -> Lines:
    """Count failed writes."""
    if preload.missing_compiler():
        yield f"SKIPPED: failing disks: {preload.missing_compiler()}"
        return
    done = failing.run(max(1, round(2 / scale)))
    yield (
        f"{done.faults} writes, truncations and syncs failed (ENOSPC, EIO, EROFS; once or for"
        f" good): {done.unanswered} requests without a reply, no wrong one, all sound again"
    )


def broken_worlds(scale: float, seed: int) -> Lines:
    """Count the cases that were withstood."""
    if world.missing():
        yield f"SKIPPED: broken files, rights, locks, limits and clocks: {world.missing()}"
        return
    cases = [*broken.CASES, *watchdogs.CASES]
    if not preload.faketime():
        yield "SKIPPED: clocks and idle processes: faketime is not installed"
        need = broken.NEED_FAKETIME + watchdogs.NEED_FAKETIME
        cases = [case for case in cases if case not in need]
    failures = [_failure(case) for case in cases]
    with ThreadPoolExecutor(len(broken.SLOW)) as pool:  # they wait most of the time
        failures += pool.map(_failure, broken.SLOW)
    told = [failure for failure in failures if failure]
    yield from told
    count = len(failures)
    yield f"{count - len(told)} of {count} kinds of breakage withstood, and recovered from"


def crowds(scale: float, seed: int) -> Lines:
    """Count exact rounds."""
    for kind, rounds, notify in (
        (crowd.COUNTRIES, 650, False),
        (crowd.COUNTRIES, 50, True),
        *[(kind, 100, False) for kind in crowd.KINDS[1:]],
    ):
        done = crowd.run(max(1, int(rounds * scale)), kind=kind, notify=notify)
        yield (
            f"{done.rounds} rounds of {kind.mails} mails over {done.processes} processes at the"
            f" same instant, {kind.key} = {kind.most}: exactly {kind.most} passed each time,"
            " one block each" + (", one notice each" if notify else "")
        )


def postfixes(scale: float, seed: int) -> Lines:
    """Count what a real Postfix has answered."""
    if postfix.missing():
        yield f"SKIPPED: a real Postfix under load: {postfix.missing()}"
        return
    done = mta.run(200, 30 * scale, seed=seed)
    yield (
        f"{done.connections} connections to a real Postfix, {done.kills} policy processes killed,"
        f" {done.reloads} reloads: {done.mails} mails, {done.passed} passed,"
        f" {done.refused} refused, none wrongly; {done.undecided} got default_action,"
        f" {done.lost} were cut off by postfix stop, after which nothing was left within"
        f" {done.seconds_to_stop} s"
    )


def shared_servers(scale: float, seed: int) -> Lines:
    """Count what faults of shared servers, and of those who follow them, have cost."""
    for name, kind in clusters.KINDS.items():
        if reason := kind.missing():
            yield f"SKIPPED: hosts that share {name}: {reason}"
            continue
        rounds = max(2, int(200 * scale))
        with closing(kind(random.Random(seed))) as cluster:
            done = sharing.run(cluster, rounds, seed=seed, longest=60 * min(scale, 1))
        yield (
            f"{'' if done.is_sound() else 'FAILED: '}three hosts share {name}: {done.rounds} crowds"
            f" of {sharing.MAILS} mails, {done.failures} failures meanwhile; more than"
            f" {sharing.MOST} mails passed in {done.too_many}, fewer in {done.fewer};"
            f" {done.sightings_lost} first sightings and {done.blocks_lost} blocks lost;"
            f" {done.late} mails of accounts blocked elsewhere passed, at most"
            f" {done.late_seconds:.1f} s late; {done.uncounted_mails} mails and"
            f" {done.uncounted_tries} tries uncounted; {done.ended} processes ended without an"
            f" answer, {done.undecided} mails got default_action"
        )


KINDS: dict[str, Callable[[float, int], Lines]] = {
    "kill": kills,
    "power": power_cuts,
    "disk": failing_disks,
    "broken": broken_worlds,
    "crowd": crowds,
    "sharing": shared_servers,
    "postfix": postfixes,
}


def main() -> int:
    """Run the kinds that were asked for; return 1 if anything was not withstood."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--scale", type=float, default=1, help="times as much (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="what instants are chosen by")
    parser.add_argument("kind", nargs="*", metavar="KIND", help=", ".join(KINDS))
    options = parser.parse_args()
    unknown = set(options.kind) - set(KINDS)
    if unknown:
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    session_folder()
    status = 0
    for name in options.kind or KINDS:
        begin = time.monotonic()
        try:
            for line in KINDS[name](options.scale, options.seed):
                print(f"{name:8} {line}", flush=True)
                status |= line.startswith("FAILED")
        except AssertionError as error:
            print(f"{name:8} FAILED: {error}", flush=True)
            status = 1
        print(f"{name:8} took {time.monotonic() - begin:.0f} s", flush=True)
    forked.end()
    left = end_processes_of(session_folder(), patience=5)
    for command in left:
        print(f"LEFT BEHIND, and killed: {command}")
    return 1 if left else status


def _failure(case: Callable[[], None]) -> str:
    try:
        case()
    except Exception as error:
        return f"FAILED: {case.__name__}: {type(error).__name__}: {error}"
    return ""


sys.exit(main())
