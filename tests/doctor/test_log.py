"""`doctor` on the log: where the lines of pcc go, and what keeps them from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from patient import Break, Patient, both, main, master
from systemlog import no_system_log, system_log

from pcc.doctor.log import check_log
from pcc.doctor.rights import user_of

pytestmark = pytest.mark.postfix


@pytest.fixture(autouse=True)
def _nobody_is_the_log(request: pytest.FixtureRequest) -> Iterator[None]:
    if "machine" in request.node.name:  # it makes one
        yield
        return
    with no_system_log():
        yield


MAIL = (
    "Nov 22 09:01:02 mx postfix/smtpd[7]: 4F2ABC{}: client=x[{}], sasl_method=PLAIN,"
    " sasl_username=joe"
)
FATAL = "Nov 22 09:01:02 mx postfix/smtpd[7]: fatal: bad numerical configuration: x"


def unusable(patient: Patient) -> None:
    program = patient.postfix.commands / "postlog"
    program.chmod(0o755)
    public = patient.postfix.queue_directory / "public"
    public.mkdir(exist_ok=True)
    shutil.chown(public, "postfix", "postdrop")
    public.chmod(0o2710)


CASES: dict[str, tuple[Break, str]] = {
    "no maillog_file": (
        both(main(maillog_file="-"), main(maillog_file_prefixes="-")),
        "set maillog_file in main.cf",
    ),
    "no postlogd": (
        master("postlogd\n", "postlogx\n"),
        "add `postlog unix-dgram n - n - 1 postlogd` to master.cf",
    ),
    "no postlog": (main(command_directory="/none"), "to log: no /none"),
    "postlog without its group": (unusable, "chmod 2755"),
}


@pytest.mark.parametrize("name", CASES)
def test_log_that_is_out_of_reach_is_found(patient: Patient, name: str) -> None:
    breaking, fix = CASES[name]
    breaking(patient)
    patient.postfix.write_config()
    try:
        found = patient.findings()["log"]
        assert found[0] == "WARN"
        assert fix in found[1]
    finally:
        (patient.postfix.commands / "postlog").chmod(0o2755)
        shutil.rmtree(patient.postfix.queue_directory / "public", ignore_errors=True)


def test_log_of_postfix_is_named(patient: Patient) -> None:
    name = f"log to {patient.postfix.folder}/maillog by postlog"
    assert name in patient.doctor().stdout


def test_log_of_the_machine_is_named() -> None:
    with system_log():
        assert check_log(user_of(0), {}, []) == ("log to /dev/log", "OK", ())


@pytest.mark.parametrize(
    ("lines", "check", "fix"),
    [
        ([MAIL.format(n, "172.17.0.1") for n in range(9)], "recent mail", "network_mode: host"),
        ([FATAL], "smtpd's log", "fatal: bad numerical configuration: x"),
    ],
)
def test_log_says_what_else_is_wrong(
    patient: Patient, lines: list[str], check: str, fix: str
) -> None:
    log = patient.postfix.folder / "maillog"
    log.write_text("\n".join(lines) + "\n")
    try:
        turned = patient.turned()
    finally:
        log.unlink()
    assert list(turned) == [check]
    assert turned[check][0] == "WARN"
    assert fix in turned[check][1]
