"""Plays months of known truth through `pcc_admin.py replay`, with the pcc.toml that we ship.

    python -m quality [--seeds 1,2] [--accounts N] [--days N] [--config FILE]

Each seed is a server of its own, whose database is empty at first.  Prints which honest accounts
were locked out, which stolen ones were stopped, and how many of the thief's mails passed before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

from checkout import ROOT

from quality import honest, thieves
from quality.honest import DAY
from quality.month import START, accounts, write_log
from quality.world import World

MONTH = 30
WEEK = 7 * DAY


class Outcome(NamedTuple):
    """The end of an account's month.

    `theft`: when its first mail was sent by a thief, 0 for never.  `at`: when it was blocked, 0 for
    never.  `passed`: the thief's mails before that.
    """

    name: str
    kind: str
    thief: str
    theft: int
    at: float
    rule: str
    passed: int

    @property
    def is_locked_out(self) -> bool:
        """Whether an owner was blocked, no thief having sent anything."""
        return bool(self.at) and (not self.theft or self.at < self.theft)


def play(seed: int, count: int, days: int, config: Path) -> list[Outcome]:
    """Return what replay says of the accounts of one server."""
    with tempfile.TemporaryDirectory(prefix="pcc-quality-") as name:
        folder = Path(name)
        world = World()
        world.write(folder)
        text = config.read_text(encoding="utf-8").replace("/var/lib/pcc", str(folder))
        (folder / "pcc.toml").write_text(text, encoding="utf-8")
        server = list(accounts(world, seed, count, days))
        write_log(folder / "mail.log", server)
        command = [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(folder / "pcc.toml")]
        subprocess.run([*command, "init"], check=True, stdout=subprocess.DEVNULL)
        done = subprocess.run(
            [*command, "--json", "replay", str(folder / "mail.log")],
            stdout=subprocess.PIPE,
            check=True,
            env={**os.environ, "TZ": "UTC"},
        )
    said = json.loads(done.stdout)
    mails = sum(len(account.mails) for account in server)
    assert said["parsed"] == mails, f"{said['parsed']} of {mails} mails were read"
    blocked = {row["account"]: row for row in said["accounts"]}
    outcomes = []
    for account in server:
        row = blocked.get(account.name)
        at = datetime.fromisoformat(row["at"].replace("Z", "+00:00")).timestamp() if row else 0
        passed = sum(mail.stolen and not (row and mail.at >= at) for mail in account.mails)
        rule = row.get("rule", "") if row else ""
        is_thief = any(mail.stolen for mail in account.mails)
        thief, theft = (account.thief, account.theft) if is_thief else ("", 0)
        outcomes.append(Outcome(account.name, account.kind, thief, theft, at, rule, passed))
    return outcomes


def report(outcomes: list[Outcome], days: int) -> None:
    """Print figures by kind, and of all."""
    months = days / MONTH
    print(f"{'HONEST':16}{'ACCOUNT-MONTHS':>15}{'LOCKED OUT':>12}{'IN THE FIRST WEEK':>19}")
    for kind in [kind.__name__ for kind in honest.KINDS]:
        _print_honest(kind, [one for one in outcomes if one.kind == kind], months)
    _print_honest("all", outcomes, months)
    locked = [one for one in outcomes if one.is_locked_out]
    every = 10_000 / len(outcomes)
    print(
        f"Locked out of 10,000: {len(locked) * every / months:.1f} a month,"
        f" {sum(one.at - START < WEEK for one in locked) * every:.1f} in the first week\n"
    )
    for one in locked:
        print(f"  {one.name}: {one.rule or 'blocked'}")
    print(f"{'STOLEN':16}{'ACCOUNTS':>15}{'STOPPED':>12}{'MAILS BEFORE (MEDIAN)':>23}")
    stolen = [one for one in outcomes if one.thief and not one.is_locked_out]
    for thief in [thief.__name__ for thief in thieves.KINDS]:
        _print_stolen(thief, [one for one in stolen if one.thief == thief])
    _print_stolen("all", stolen)
    _print_stolen("in the 1st week", [one for one in stolen if one.theft - START < WEEK])


def _print_honest(kind: str, found: list[Outcome], months: float) -> None:
    locked = [one for one in found if one.is_locked_out]
    first = sum(one.at - START < WEEK for one in locked)
    kind = kind.replace("_", " ")
    print(f"{kind:16}{len(found) * months:>15,.0f}{len(locked):>12}{first:>19}")


def _print_stolen(thief: str, found: Iterable[Outcome]) -> None:
    before = [one.passed for one in found if one.at]
    count = len(list(found))
    share = f"{len(before) / count:.1%}" if count else "-"
    middle = f"{median(before):.0f}" if before else "-"
    print(f"{thief.replace('_', ' '):16}{count:>15,}{share:>12}{middle:>23}")


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def main() -> None:
    """Play the servers, some at a time."""
    parser = argparse.ArgumentParser(prog="quality", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--seeds", type=_seeds, default=list(range(1, 9)), metavar="N,...", help="default: 1 to 8")
    add("--accounts", type=int, default=1500, metavar="N", help="of each seed (default: 1500)")
    add("--days", type=int, default=60, metavar="N", help="of each seed (default: 60)")
    add("--config", type=Path, default=ROOT / "pcc.toml", metavar="FILE", help="another pcc.toml")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        played = [
            pool.submit(play, seed, options.accounts, options.days, options.config)
            for seed in options.seeds
        ]
        for number, future in enumerate(played, 1):
            outcomes += future.result()
            print(f"{number} of {len(played)} servers played", file=sys.stderr)
    report(outcomes, options.days)


main()
