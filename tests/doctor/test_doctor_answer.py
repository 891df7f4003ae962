"""`doctor` asks pcc through a running Postfix: every part of the way is broken in turn.

Only the answer counts here: tests/doctor/test_doctor.py has the configuration.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patient import Break, Patient, main, master, snapshot

from pcc.doctor.answer import Running, check_answer

CHECK = "answer through Postfix"
ENTRY = "pcc unix - n n - 0 spawn"


@pytest.fixture(scope="module")
def running() -> Iterator[Patient]:
    patient = Patient()
    try:
        with patient.postfix:
            yield patient
    finally:
        shutil.rmtree(patient.pcc.folder)


@pytest.fixture
def patient(running: Patient) -> Iterator[Patient]:
    """The installation in service; main.cf and master.cf are put right afterwards."""
    before = dict(running.postfix.main), running.postfix.master
    yield running
    if before != (running.postfix.main, running.postfix.master):
        running.postfix.main, running.postfix.master = before
        running.postfix.write_config()
        running.postfix.reload()


@pytest.mark.postfix
def test_question_through_postfix_records_nothing(patient: Patient) -> None:
    before = snapshot(patient.pcc.folder)
    findings = patient.findings()
    assert {check: found for check, found in findings.items() if found != ("OK", "")} == {}
    assert list(findings)[-1] == CHECK
    assert snapshot(patient.pcc.folder) == before
    assert "warning" not in patient.postfix.log()


@pytest.mark.postfix
def test_question_needs_root(patient: Patient) -> None:
    result, fix = patient.findings(user=patient.pcc.user)[CHECK]
    assert result == "WARN"
    assert fix == "run this as root: only then can pcc be asked through Postfix's socket"


def script(text: str) -> Break:
    """Return what has spawn(8) run another program under the name of pcc_policy.py."""

    def change(patient: Patient) -> None:
        program = patient.pcc.folder / "other" / "pcc_policy.py"
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        old = str(patient.pcc.folder / "pcc_policy.py")
        patient.postfix.master = patient.postfix.master.replace(old, str(program))

    return change


NO_ANSWER: dict[str, tuple[Break, str]] = {
    "no such interpreter": (master("argv=", "argv=/none/"), "ends without an answer"),
    "no such script": (
        master("pcc_policy.py", "pcc_police.py"),
        "pcc_police.py': [Errno 2] No such file",
    ),
    "no such configuration": (master("pcc.toml", "none.toml"), "ends without an answer"),
    "a script that fails": (script("raise SystemExit(1)\n"), "ends without an answer"),
    "a script that says something else": (
        script("print('action=REJECT', flush=True)\nprint(flush=True)\ninput()\n"),
        "it is not pcc, and said action=REJECT",
    ),
    "not reloaded": (master(ENTRY, "other unix - n n - 0 spawn"), "reload`: Postfix does not list"),
}


@pytest.mark.postfix
@pytest.mark.parametrize("name", NO_ANSWER)
def test_answer_that_never_comes_is_found(patient: Patient, name: str) -> None:
    breaking, words = NO_ANSWER[name]
    right = patient.postfix.master
    breaking(patient)
    patient.postfix.write_config()
    patient.postfix.reload()
    patient.postfix.master = right
    patient.postfix.write_config()  # so that reading it shows nothing
    patient.postfix.master += "\n"  # and the running Postfix is put right afterwards
    turned = patient.differing(patient.findings())
    assert list(turned) == [CHECK]
    assert turned[CHECK][0] == "FAIL"
    assert words in turned[CHECK][1]
    if words == "ends without an answer":
        assert str(patient.postfix.folder / "maillog") in turned[CHECK][1]


@pytest.mark.postfix
def test_service_on_a_port_is_asked_there(patient: Patient) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    master(ENTRY, f"127.0.0.1:{port} inet n n n - 0 spawn")(patient)
    endpoint = f"{{ inet:127.0.0.1:{port}, timeout=10s, default_action=DUNNO }}"
    name = f"127.0.0.1:{port}_time_limit"
    main(mua_data_restrictions=f"check_policy_service {endpoint}", **{name: "3600"})(patient)
    patient.postfix.write_config()
    patient.postfix.reload()
    turned = patient.differing(patient.findings())
    assert list(turned) == ["master.cf entry", CHECK]
    assert turned["master.cf entry"][0] == "WARN"
    assert turned[CHECK] == ("OK", "")


@pytest.mark.postfix
def test_silence_is_not_waited_for(patient: Patient, tmp_path: Path) -> None:
    queue_directory = str(patient.postfix.queue_directory)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen(1)
        place = f"unix:{tmp_path}/silent"
        running = Running({place: place}, queue_directory, "postfix", "the log", 0.3)
        begun = time.monotonic()
        found = check_answer(running)
        assert time.monotonic() - begun < 2
    assert found.result == "FAIL"
    assert "no answer within 0.3 s" in found.fix


@pytest.mark.postfix
@pytest.mark.parametrize(
    ("endpoint", "result", "words"),
    [
        ("inet:mail.example.org:10045", "WARN", "name an address in place of the host"),
        ("inet:127.0.0.1:1", "FAIL", "does not listen on inet:127.0.0.1:1"),
        ("inet:[::1]:1", "FAIL", "inet:[::1]:1"),
        (f"unix:/{'long/' * 50}", "FAIL", "can't be asked: AF_UNIX path too long"),
    ],
)
def test_endpoint_out_of_reach_is_found(
    patient: Patient, endpoint: str, result: str, words: str
) -> None:
    queue_directory = str(patient.postfix.queue_directory)
    found = check_answer(Running({endpoint: endpoint}, queue_directory, "postfix", "the log"))
    assert found.result == result
    assert words in found.fix


@pytest.mark.postfix
def test_stopped_postfix_is_to_be_started(patient: Patient) -> None:
    patient.postfix.stop()
    try:
        result, fix = patient.findings()[CHECK]
        assert result == "WARN"
        assert fix.startswith(f"`postfix -c {patient.postfix.config} start`")
    finally:
        patient.postfix.start()
    assert patient.findings()[CHECK] == ("OK", "")
