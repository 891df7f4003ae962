"""Where the machine has no /dev/log, pcc logs where Postfix does: through postlog(1)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from checkout import address
from deployment import Deployment, installation, run_as
from postfix import Policy, PrivatePostfix
from smtp import send
from systemlog import no_system_log

pytestmark = pytest.mark.postfix


@pytest.fixture(autouse=True)
def _nobody_is_the_log() -> Iterator[None]:
    with no_system_log():
        yield


@pytest.fixture(scope="module")
def pcc() -> Iterator[Deployment]:
    pcc = installation("max_countries = 1")
    yield pcc
    shutil.rmtree(pcc.folder)


@pytest.fixture(scope="module")
def mta(pcc: Deployment) -> Iterator[PrivatePostfix]:
    with PrivatePostfix(Policy(pcc.policy_argv())) as mta:
        yield mta


def test_postlog_gets_the_lines_of_a_policy_process(mta: PrivatePostfix) -> None:
    for country in ("ES", "FR"):
        send(mta.submission, "joe@example.org", address(country))
    line = mta.wait_for_log(r"^.* pcc\[\d+\]: blocked account=<joe@example\.org>.*$")[0]
    assert "countries=ES,FR rule=<max_countries 1 in 2d> action=REJECT queue_id=" in line


def test_postlog_gets_the_lines_of_a_command(mta: PrivatePostfix, pcc: Deployment) -> None:
    environment = {"MAIL_CONFIG": str(mta.config)}
    pcc.admin("unblock", "joe@example.org", environment=environment)
    mta.wait_for_log(r"pcc\[\d+\]: unblocked account=<joe@example\.org> by=<root>")
    done = pcc.admin("block", "joe@example.org", "--reason", "caf\xe9", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    mta.wait_for_log(r"pcc\[\d+\]: blocked account=<joe@example\.org> rule=<by hand> .*=<caf\xe9>")


def test_postlog_says_which_key_is_mistyped(mta: PrivatePostfix, pcc: Deployment) -> None:
    right = pcc.config.read_text()
    pcc.write_config(right.replace("max_countries", "max_countrys"))
    try:
        mta.reload()
        begin = len(mta.log())
        send(mta.submission, "joe@example.org", address("ES"))
        error = r"pcc\[\d+\]: error .*pcc\.toml: .*max_countrys"
        mta.wait_for_log(error, after=begin)
    finally:
        pcc.write_config(right)
        mta.reload()


def logged(pcc: Deployment, code: str, mail_config: str) -> str:
    """Run code that logs; return what it wrote to stderr."""
    begin = f"import sys; sys.path.insert(0, {str(pcc.folder)!r}); from pcc import maillog; "
    argv = [str(pcc.python), "-c", begin + code]
    done = run_as(argv, pcc.user, {"MAIL_CONFIG": mail_config})
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_postlog_that_ended_is_started_again(mta: PrivatePostfix, pcc: Deployment) -> None:
    program = mta.commands / "postlog"
    real = program.rename(mta.commands / "postlog.real")
    # One line each, then the end: the pipe to it breaks, as when it is killed.
    program.write_text(f'#!/bin/sh\nhead -n 1 | {real} "$@"\n')
    program.chmod(0o755)
    try:
        code = "maillog.error('one'); import time; time.sleep(0.5); maillog.error('two')"
        assert logged(pcc, code, str(mta.config)) == ""
        for word in ("one", "two"):
            mta.wait_for_log(rf"pcc\[\d+\]: error {word}$")
    finally:
        real.rename(program)


def test_log_that_is_nowhere_leaves_errors_of_a_command_to_stderr(pcc: Deployment) -> None:
    code = "maillog.error('one'); maillog.forgotten('joe', 'root')"
    assert logged(pcc, code, "/none") == ""
    assert logged(pcc, f"maillog.fall_back_to_stderr(); {code}", "/none") == "pcc: error one\n"
