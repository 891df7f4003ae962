"""Programs that are stuck for ever: syslog, sendmail, Postfix itself; and processes that nobody
needs.

A store that is stuck is among the slow cases of `broken`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from checkout import address, is_pass, is_refusal, request_text
from deployment import processes_of

from faults.preload import at_faked_time
from faults.world import OWNER, THIEF, World, product

CASES: list[Callable[[], None]] = []
NEED_FAKETIME: list[Callable[[], None]] = []


def case(function: Callable[[], None]) -> Callable[[], None]:
    """Add a case."""
    CASES.append(function)
    return function


def with_faketime(function: Callable[[], None]) -> Callable[[], None]:
    """Add a case that needs libfaketime."""
    NEED_FAKETIME.append(function)
    return case(function)


def _seconds(function: Callable[[], object]) -> float:
    begin = time.monotonic()
    function()
    return time.monotonic() - begin


@case
def replies_do_not_wait_for_a_stuck_syslog() -> None:
    with World() as world:
        world.log.fill()
        running = world.policy()
        for number in range(5):  # each of which is logged
            begin = time.monotonic()
            assert is_refusal(running.ask(THIEF, address("ES", number)))
            assert time.monotonic() - begin < 1.5
        world.countries.unlink()
        begin = time.monotonic()
        assert is_pass(running.ask(OWNER, address("ES", 7)))  # which there is to complain about
        assert time.monotonic() - begin < 1.5
        assert running.end() == 0


@case
def an_error_does_not_wait_for_a_stuck_syslog() -> None:
    with World() as world:
        world.log.fill()
        world.database.unlink()
        begin = time.monotonic()
        assert world.ask(OWNER, address("ES")) is None
        assert time.monotonic() - begin < 2


@case
def without_a_syslog_nothing_is_different() -> None:
    with World() as world:
        world.log.path.unlink()
        assert world.block_holds()
        assert world.works()


@case
def replies_do_not_wait_for_a_stuck_sendmail() -> None:
    with World(more='[notify]\nto = ["root"]\nsendmail = "/tmp/none"\n') as world:
        program = world.folder / "sendmail"
        program.write_text(f"#!{product().python}\nimport time\ntime.sleep(600)\n")
        program.chmod(0o755)
        world.config.write_text(world.config.read_text().replace("/tmp/none", str(program)))
        running = world.policy()
        for country in ("ES", "FR", "BR", "VN"):
            begin = time.monotonic()
            running.ask("noticed@example.org", address(country))
            assert time.monotonic() - begin < 2
        assert _seconds(lambda: running.ask(THIEF, address("ES"))) < 1
        assert running.end() == 0
        deadline = time.monotonic() + 10
        while not _sending(world.folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _sending(world.folder), "no notice was tried"
        for process, command in processes_of(world.folder).items():
            if "notify" in command:
                files = [os.readlink(f"/proc/{process}/fd/{number}") for number in (0, 1, 2)]
                turn = f"{world.database}.notify"  # which it may have been given as its stdin
                assert files in (["/dev/null"] * 3, [turn, "/dev/null", "/dev/null"]), files
        for process in processes_of(world.folder):
            os.kill(process, signal.SIGKILL)
        assert world.admin("stats").returncode == 0
        assert '"outbox": 0' not in world.admin("--json", "stats").stdout


@with_faketime
def an_idle_process_ends_by_itself() -> None:
    with World() as world:
        # Ten minutes pass in a second and a half.
        environment = at_faked_time(faketime="+0 x400")
        running = world.policy(environment=environment)
        assert is_pass(running.ask(OWNER, address("ES")))
        begin = time.monotonic()
        assert running.reply() is None
        assert running.process.wait(5) == 0
        assert time.monotonic() - begin < 15


@with_faketime
def a_half_sent_request_ends_with_the_idle_time() -> None:
    with World() as world:
        running = world.policy(environment=at_faked_time(faketime="+0 x400"))
        running.send("request=smtpd_access_policy\n")
        assert running.reply() is None
        assert running.process.wait(5) in (0, 76)


@case
def a_postfix_that_does_not_read_its_replies_is_given_up() -> None:
    with World() as world:
        running = world.policy()
        text = request_text("", "10.0.0.1").encode()
        running.socket.settimeout(2)
        try:
            while True:
                running.socket.send(text * 50)
        except (TimeoutError, ConnectionError):
            pass  # both directions are full now
        running.socket.shutdown(socket.SHUT_WR)
        try:
            running.process.wait(15)
        except subprocess.TimeoutExpired:
            raise AssertionError("it waits for ever to be read") from None


@case
def a_stopped_process_ends_with_its_connection() -> None:
    with World() as world:
        running = world.policy()
        assert is_pass(running.ask(OWNER, address("ES")))
        running.process.send_signal(signal.SIGSTOP)
        running.socket.close()
        running.process.send_signal(signal.SIGCONT)
        assert running.process.wait(5) == 0


@case
def sigterm_in_the_middle_of_a_decision_loses_nothing() -> None:
    with World() as world:
        for number in range(5):
            running = world.policy()
            account = f"terminated{number}@example.org"
            assert is_pass(running.ask(OWNER, address("ES")))
            running.send(request_text(account, address("ES")))
            running.process.terminate()
            action = running.reply()
            assert action in (None, "DUNNO")
            assert running.process.wait(10) == 0
            assert action is None or world.knows(account)


def _sending(folder: Path) -> bool:
    return any(str(folder / "sendmail") in command for command in processes_of(folder).values())
