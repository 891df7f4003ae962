"""The nftables set in a network of its own, and fail2ban's filter on pcc's own log lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import Site, address
from onincident import ACCOUNT, OBSERVED, ON_INCIDENT, UNBLOCKED, carried_out, run
from servers import require
from systemlog import system_log

pytestmark = pytest.mark.subprocess


@pytest.fixture
def network() -> Iterator[tuple[str, ...]]:
    """The words before a command that is to run in a network of its own, with pcc.nft loaded."""
    require("" if os.geteuid() == 0 else "needs root")
    require("" if shutil.which("nft") else "nftables is not installed")
    command = ["unshare", "--net", "sh", "-c", "echo; exec sleep 600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    is_there = process.stdout.readline() == "\n"
    inside = ("nsenter", f"--net=/proc/{process.pid}/ns/net", "--")
    load = [*inside, "nft", "-f", str(ON_INCIDENT / "pcc.nft")]
    try:
        if not is_there or subprocess.run(load, check=False).returncode:
            require("this machine has no network namespaces with nftables")
        yield inside
    finally:
        process.kill()
        process.communicate()


def elements(inside: tuple[str, ...], name: str) -> str:
    """Return what nft says of the elements of a set, without what remains of their time."""
    command = [*inside, "nft", "list", "set", "inet", "pcc", name]
    shown = subprocess.check_output(command, text=True)
    found = re.search(r"elements = \{(.*?)\}", shown, re.DOTALL)
    return re.sub(r" expires \w+", "", " ".join(found[1].split())) if found else ""


@pytest.mark.parametrize(
    ("client_address", "name", "element"),
    [
        ("45.4.3.2", "blocked4", "45.4.3.2 timeout 1h"),
        ("2a01:4f8:1:2:3::4", "blocked6", "2a01:4f8:1:2::/64 timeout 1h"),
    ],
)
def test_address_is_in_the_set_while_the_account_is_blocked(
    network: tuple[str, ...], client_address: str, name: str, element: str
) -> None:
    def hear(**changes: object) -> None:
        values = {"client_address": client_address, **changes}
        carried_out("block_address.py", "3600", before=network, **values)

    hear(**OBSERVED)
    assert elements(network, name) == ""
    hear()
    hear()
    assert elements(network, name) == element
    hear(**UNBLOCKED)
    hear(**UNBLOCKED)
    assert elements(network, name) == ""


def test_address_that_is_private_or_none_is_left_alone(network: tuple[str, ...]) -> None:
    for client_address in ("10.0.0.1", "127.0.0.1", "fe80::1", None):
        carried_out("block_address.py", before=network, client_address=client_address)
    assert elements(network, "blocked4") + elements(network, "blocked6") == ""
    done = run("block_address.py", before=network, client_address="45.4.3.2; flush ruleset")
    assert done.returncode == 1


def test_fail2ban_bans_the_addresses_of_stopped_mail_alone(tmp_path: Path) -> None:
    require("" if shutil.which("fail2ban-regex") else "fail2ban is not installed")
    ours = []
    forging = f"x> client_address=<{address('IN')}> y"
    with system_log() as log:
        for folder, policy in {
            "observing": 'mode = "observe"',
            "refusing": "",
            "holding": 'action = "HOLD"',
        }.items():
            (tmp_path / folder).mkdir()
            site = Site(tmp_path / folder, f"max_countries = 1\nfamiliar_after = 0\n{policy}\n")
            process = site.policy()
            ours.append(f"pcc[{process.process.pid}]")
            for account in (ACCOUNT, forging):
                for country in {"observing": ("ES", "DE", "PT")}.get(folder, ("ES", "FR", "BR")):
                    process.ask(account, address(country))
            process.end()
        lines = [line for line in log.lines(10, of="pcc[") if any(name in line for name in ours)]
    assert {line.split("pcc[")[1].split()[1] for line in lines} == {
        "observed",
        "blocked",
        "refused",
        "held",
    }
    # As rsyslog writes them: with the host's name in place of the priority.
    written = [re.sub(r"^<\d+>(.{15}) ", r"\1 mail ", line) for line in lines]
    (tmp_path / "mail.log").write_text("".join(f"{line}\n" for line in written))
    command = ["fail2ban-regex", "-o", "ip", "mail.log", str(ON_INCIDENT / "fail2ban/filter.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == [address("FR"), address("BR")] * 4
