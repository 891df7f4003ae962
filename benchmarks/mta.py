"""A real Postfix with and without pcc: mails per second, and processor time.

The Postfix is that of the tests, in a folder of its own.  It takes mail for submission in and
throws it away.  The load is sessions of one mail each.  smtp-source(1) can't log in, so that pcc
would pass its mail by unseen: sessions claim account and address by XCLIENT.  The kernel counts
processor time in control groups: one for all of Postfix, and in it one for the policy processes
and what these start.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.bench import ADDRESSES, Bench
from benchmarks.installation import CHECKOUT, FILES_OF_PLACES, configuration
from benchmarks.population import Filling
from benchmarks.report import Figure, Goal, compared, measured
from benchmarks.traffic import account

SESSIONS = 16
"""Clients at a time."""

MAILS_PER_SECOND = 2000
"""A run has so many mails for each of a measurement's usual seconds."""

MAIN = {
    **dict.fromkeys(("local_transport", "default_transport", "relay_transport"), "discard:"),
    "max_use": "1000000",  # no process is replaced within a run
}
"""The lines of main.cf beside those of the tests."""


def real_postfix(bench: Bench) -> list[Figure]:
    """Mails per second that a Postfix takes in, and what pcc adds to its processor time."""
    tools = str(CHECKOUT / "tests" / "tools")
    if tools not in sys.path:
        sys.path.append(tools)
    import postfix

    name, goal = "mails through Postfix with pcc", Goal(0.97, at_least=True)
    if reason := postfix.missing() or ControlGroup.missing():
        return [Figure(name, "/s", goals=(goal,), missing=f"not measured: {reason}")]
    rates: dict[bool, list[float]] = {True: [], False: []}
    costs: dict[bool, list[float]] = {True: [], False: []}
    of_pcc: list[float] = []
    mails = int(MAILS_PER_SECOND * bench.scale.seconds)
    for _ in range(bench.scale.rounds):
        for has_pcc in (False, True):
            rate, cost, policies = _run(bench, mails, has_pcc=has_pcc)
            rates[has_pcc].append(rate)
            costs[has_pcc].append(cost)
            if has_pcc:
                of_pcc.append(policies)
    beside = "without pcc"
    return [
        compared(name, "/s", rates[True], rates[False], beside, goal),
        compared("  processor time a mail", "ms", costs[True], costs[False], beside),
        measured("  of that the policy processes'", "ms", of_pcc, Goal(0.08, of_figure=True)),
    ]


def _run(bench: Bench, mails: int, *, has_pcc: bool) -> tuple[float, float, float]:
    """Return mails per second, and milliseconds a mail of Postfix and of its policy processes."""
    from deployment import service_user
    from postfix import Policy, PrivatePostfix

    whole = ControlGroup(f"pcc-bench-{os.getpid()}")
    policies = ControlGroup(f"{whole.name}/policies")
    user = pwd.getpwnam(service_user())
    for group in (whole, policies):  # a process may go from one to the other
        os.chown(group.folder / "cgroup.procs", user.pw_uid, user.pw_gid)
    try:
        script = _policy(bench, policies)
        with PrivatePostfix(Policy([script]) if has_pcc else None, main=MAIN) as server:
            whole.take(server.folder)
            _send(bench, server.submission, SESSIONS * 30)  # all processes are there now
            before, policies_before = whole.seconds(), policies.seconds()
            begin = time.monotonic()
            _send(bench, server.submission, mails)
            seconds = time.monotonic() - begin
            time.sleep(3)  # what was answered gets counted
            cost, of_policies = whole.seconds() - before, policies.seconds() - policies_before
    finally:
        policies.remove()
        whole.remove()
    return mails / seconds, cost / mails * 1000, of_policies / mails * 1000


def _policy(bench: Bench, group: ControlGroup) -> Path:
    """Install pcc for Postfix's service user; return a program that runs it in a group."""
    from deployment import deploy

    pcc = deploy()
    for name in FILES_OF_PLACES:
        shutil.copy2(bench.installation.places / name, pcc.state)
        shutil.chown(pcc.state / name, pcc.user, pcc.user)
    config = pcc.write_config(configuration(folder=f"{pcc.state}/"))
    done = pcc.admin("init")
    assert done.returncode == 0, done.stderr
    Filling(config, pcc.state / "pcc.db", bench.world).add(bench.scale.accounts, ADDRESSES)
    script = pcc.folder / "policy"
    python, program, *options = pcc.policy_argv()
    words = " ".join([python, "-I", "-S", program, *options])
    script.write_text(f"#!/bin/sh\necho $$ >{group.folder}/cgroup.procs\nexec {words}\n")
    script.chmod(0o755)
    return script


def _send(bench: Bench, port: int, mails: int) -> None:
    """Send mails of known accounts from their known addresses, each in a session of its own."""
    import smtp

    chance = random.Random(mails)

    def send_one(number: int, place: int) -> bool:
        address = bench.world.known(number, place, ADDRESSES)[1]
        return smtp.send(port, account(number), address, pipelined=True).accepted

    with ThreadPoolExecutor(SESSIONS) as threads:
        jobs = [
            threads.submit(
                send_one, chance.randrange(bench.scale.accounts), chance.randrange(ADDRESSES)
            )
            for _ in range(mails)
        ]
        assert all(job.result() for job in jobs)


class ControlGroup:
    """A control group of version 2 (cgroups(7)), which counts its processes' processor time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(_hierarchy()) / name
        self.folder.mkdir()

    @staticmethod
    def missing() -> str:
        """Return why there can be no such group, "" where there can."""
        hierarchy = _hierarchy()
        return "" if hierarchy and os.access(hierarchy, os.W_OK) else "no control groups to write"

    def take(self, folder: Path) -> None:
        """Take the processes that mention a folder, and so all that these start from now on."""
        from deployment import processes_of

        for process in processes_of(folder):
            (self.folder / "cgroup.procs").write_text(str(process))

    def seconds(self) -> float:
        """Return the processor time so far, of groups within as well."""
        usage = (self.folder / "cpu.stat").read_text(encoding="ascii").split()
        return int(usage[usage.index("usage_usec") + 1]) / 1e6

    def remove(self) -> None:
        """Remove it; its processes have ended, or end within seconds."""
        give_up = time.monotonic() + 10
        while (self.folder / "cgroup.procs").read_text() and time.monotonic() < give_up:
            time.sleep(0.05)
        self.folder.rmdir()


def _hierarchy() -> str:
    """Return where control groups of version 2 are mounted, "" for nowhere."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return where
    return ""
