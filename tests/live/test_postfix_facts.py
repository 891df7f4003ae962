"""The facts about Postfix that pcc relies on, held against the Postfix of this machine.

A probe stands where pcc would: a script behind spawn(8) that records each request, and answers, or
misbehaves, as the test has planned.  One Postfix serves nearly all tests; it asks the probe at all
three stages.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployment import processes_of, public_folder, run_as, service_python, service_user
from postfix import STAGES, Policy, PrivatePostfix, wait_until
from smtp import Session, send

pytestmark = pytest.mark.postfix

ALICE = "alice@example.org"
THREE = ("one@example.net", "two@example.net", "three@example.net")
DEFAULT_ACTION = "451 4.7.1 nobody has answered"

PROBE = r"""
import json, os, sys, time

folder = sys.argv[1]

def note(name, **record):
    with open(f"{folder}/{name}", "a") as file:
        file.write(json.dumps(record) + "\n")

umask = os.umask(0)
os.umask(umask)
note(
    "processes",
    process=os.getpid(),
    environment=dict(os.environ),
    umask=umask,
    cwd=os.getcwd(),
    cwd_writable=os.access(".", os.W_OK),
    user=os.getuid(),
    groups=os.getgroups(),
    leader=os.getsid(0) == os.getpid(),
    files=[os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)],
)
while True:
    lines = []
    while (line := sys.stdin.buffer.readline()) != b"\n":
        if not line:
            sys.exit()
        lines.append(line.decode("latin-1"))
    attributes = dict(line.rstrip("\n").split("=", 1) for line in lines)
    stage = attributes["protocol_state"]
    plans = json.load(open(f"{folder}/plan")).get(stage, ["action=DUNNO\n\n"])
    with open(f"{folder}/requests") as file:
        before = sum(json.loads(line)["stage"] == stage for line in file)
    note("requests", process=os.getpid(), at=time.time(), stage=stage, raw="".join(lines))
    plan = plans[min(before, len(plans) - 1)]
    if plan == "die":
        sys.exit(1)
    if plan == "hang":
        sys.stdin.buffer.read()
        sys.exit()
    if plan.startswith("stderr "):
        os.write(2, plan.removeprefix("stderr ").encode())
        plan = "action=DUNNO\n\n"
    os.write(1, plan.encode())
"""


@dataclass(frozen=True)
class Request:
    """One policy request, as the probe has seen it."""

    process: int
    at: float
    stage: str
    raw: str

    @property
    def attributes(self) -> dict[str, str]:
        """The request, taken apart."""
        text = self.raw.encode("latin-1").decode()
        return dict(line.split("=", 1) for line in text.splitlines())


class Probe:
    """The policy script of this module, and what it has recorded."""

    def __init__(self) -> None:
        self.folder = public_folder("probe")
        self.script = self.folder / "probe.py"
        self.script.write_text(PROBE)
        (self.folder / "processes").touch()
        self.plan()
        for path in self.folder.iterdir():
            shutil.chown(path, service_user())

    @property
    def argv(self) -> list[str | Path]:
        """The command line for spawn(8)."""
        return ["/usr/bin/python3", "-I", self.script, self.folder]

    def plan(self, **stages: list[str]) -> None:
        """Forget all requests; from now on answer the nth request of a stage with its nth plan.

        The last plan of a stage goes on for ever; DUNNO is the answer at other stages.
        """
        plans = {stage.replace("_", "-"): plans for stage, plans in stages.items()}
        (self.folder / "plan").write_text(json.dumps(plans))
        (self.folder / "requests").write_text("")

    def requests(self, stage: str = "") -> list[Request]:
        """The requests since the last plan(), of one protocol_state or of all."""
        lines = (self.folder / "requests").read_text().splitlines()
        found = [Request(**json.loads(line)) for line in lines]
        return [request for request in found if stage in ("", request.stage)]

    def processes(self) -> list[dict[str, Any]]:
        """How each process found itself at its start."""
        return [json.loads(line) for line in (self.folder / "processes").read_text().splitlines()]


@pytest.fixture(scope="module")
def module_probe() -> Iterator[Probe]:
    """The one probe."""
    probe = Probe()
    yield probe
    shutil.rmtree(probe.folder)


@pytest.fixture(scope="module")
def mta(module_probe: Probe) -> Iterator[PrivatePostfix]:
    """The one Postfix."""
    policy = Policy(module_probe.argv, STAGES, timeout="5s", default_action=DEFAULT_ACTION)
    with PrivatePostfix(policy) as running:
        running.add_user(ALICE, "secret")
        yield running


@pytest.fixture
def probe(module_probe: Probe) -> Probe:
    """The probe, saying DUNNO and remembering nothing."""
    module_probe.plan()
    return module_probe


# Requests.


def test_mail_to_three_recipients_is_asked_about_five_times(
    mta: PrivatePostfix, probe: Probe
) -> None:
    reply = send(mta.submission, ALICE, recipients=THREE)
    assert reply.accepted
    asked = [
        (
            request.stage,
            request.attributes["recipient"],
            request.attributes["recipient_count"],
            request.attributes["queue_id"],
        )
        for request in probe.requests()
    ]
    assert asked == [
        ("RCPT", THREE[0], "0", ""),
        ("RCPT", THREE[1], "0", reply.queue_id),
        ("RCPT", THREE[2], "0", reply.queue_id),
        ("DATA", "", "3", reply.queue_id),
        ("END-OF-MESSAGE", "", "3", reply.queue_id),
    ]


def test_single_recipient_is_named_at_every_stage(mta: PrivatePostfix, probe: Probe) -> None:
    send(mta.submission, ALICE, recipients=THREE[:1])
    assert [request.attributes["recipient"] for request in probe.requests()] == [THREE[0]] * 3


def test_size_is_the_declared_one_until_the_end(mta: PrivatePostfix, probe: Probe) -> None:
    with Session(mta.submission) as session:
        session.xclient(ALICE, "192.0.2.1")
        session.mail()
        session.mail(options=" SIZE=1000")
    sizes = [request.attributes["size"] for request in probe.requests()]
    assert sizes[:2] + sizes[3:5] == ["0", "0", "1000", "1000"]
    assert 0 < int(sizes[2]) == int(sizes[5]) != 1000


def test_instance_is_one_mail(mta: PrivatePostfix, probe: Probe) -> None:
    with Session(mta.submission) as session:
        session.xclient(ALICE, "192.0.2.1")
        session.mail(recipients=THREE)
        session.command("MAIL FROM:<sender@example.org>")
        session.command("RCPT TO:<one@example.net>")
        session.reset()
        session.mail(recipients=THREE, pipelined=True)
    instances = [request.attributes["instance"] for request in probe.requests()]
    assert instances == [instances[0]] * 5 + [instances[5]] + [instances[6]] * 5
    assert len(set(instances)) == 3


def test_process_serves_the_users_of_one_smtpd_in_turn(mta: PrivatePostfix, probe: Probe) -> None:
    accounts = [ALICE, "bob@example.org", ALICE]
    with Session(mta.submission) as session:
        for account in accounts:
            session.xclient(account, "192.0.2.1")
            assert session.mail().accepted
    asked = probe.requests("DATA")
    assert [request.attributes["sasl_username"] for request in asked] == accounts
    assert len({request.process for request in probe.requests()}) == 1


def test_bdat_is_reported_as_data(mta: PrivatePostfix, probe: Probe) -> None:
    assert send(mta.submission, ALICE, chunked=True).accepted
    assert [request.stage for request in probe.requests()] == ["RCPT", "DATA", "END-OF-MESSAGE"]


def test_client_that_vanishes_is_not_reported(mta: PrivatePostfix, probe: Probe) -> None:
    with Session(mta.submission) as session:
        session.xclient(ALICE, "192.0.2.1")
        session.command("MAIL FROM:<sender@example.org>")
        session.command("RCPT TO:<one@example.net>")
        session.drop()
    mta.wait_for_log(r"lost connection after RCPT from unknown\[192\.0\.2\.1\]")
    assert [request.stage for request in probe.requests()] == ["RCPT"]


# The account and its address.


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.3", "192.0.2.3"),
        ("unknown", "unknown"),
    ],
)
def test_xclient_fills_the_client_address(
    mta: PrivatePostfix, probe: Probe, address: str, told: str
) -> None:
    send(mta.submission, ALICE, address)
    assert probe.requests("DATA")[0].attributes["client_address"] == told


@pytest.mark.parametrize(
    ("account", "told"),
    [
        (ALICE, ALICE),
        ("Alice", "Alice"),
        ("a b=c+d", "a b=c+d"),
        ("gr\u00fc\u00dfe@example.org", "gr\u00fc\u00dfe@example.org"),
        ("bell\a\x1b[2J", "bell??[2J"),
        ("x" * 255, "x" * 255),
    ],
)
def test_xclient_fills_the_sasl_username(
    mta: PrivatePostfix, probe: Probe, account: str, told: str
) -> None:
    assert send(mta.submission, account).accepted
    attributes = probe.requests("DATA")[0].attributes
    assert (attributes["sasl_username"], attributes["sasl_method"]) == (told, "XCLIENT")


def test_client_name_is_a_verified_one_or_unknown(mta: PrivatePostfix, probe: Probe) -> None:
    send(mta.submission, ALICE, client_name="mail-1.google.com")
    send(mta.submission, ALICE)
    names = [request.attributes["client_name"] for request in probe.requests("DATA")]
    assert names == ["mail-1.google.com", "unknown"]


def test_auth_fills_the_same_attributes(mta: PrivatePostfix, probe: Probe) -> None:
    assert send(mta.submissions, ALICE, xclient=False, password="secret").accepted
    attributes = probe.requests("DATA")[0].attributes
    assert attributes["sasl_username"] == ALICE
    assert attributes["sasl_method"] == "PLAIN"
    assert attributes["client_address"] == "127.0.0.1"


def test_auth_and_xclient_go_together(mta: PrivatePostfix, probe: Probe) -> None:
    assert send(mta.submission, ALICE, "203.0.113.9", password="secret").accepted
    attributes = probe.requests("DATA")[0].attributes
    assert attributes["sasl_method"] == "PLAIN"
    assert attributes["client_address"] == "203.0.113.9"


def test_wrong_password_is_refused(mta: PrivatePostfix, probe: Probe) -> None:
    with pytest.raises(PermissionError, match="535"):
        send(mta.submission, ALICE, password="wrong")
    assert not probe.requests()


def test_client_without_a_login_has_no_sasl_username(mta: PrivatePostfix, probe: Probe) -> None:
    assert send(mta.submission, None).stage == "RCPT"
    assert [request.attributes["sasl_username"] for request in probe.requests()] == [""]


# Actions.


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("RCPT", "5.7.1 <recipient@example.net>: Recipient address rejected: go away"),
        ("DATA", "5.7.1 <DATA>: Data command rejected: go away"),
        ("END-OF-MESSAGE", "5.7.1 <END-OF-MESSAGE>: End-of-data rejected: go away"),
    ],
)
def test_reject_says_where(mta: PrivatePostfix, probe: Probe, stage: str, text: str) -> None:
    probe.plan(**{stage: ["action=REJECT 5.7.1 go away\n\n"]})
    reply = send(mta.submission, ALICE)
    assert (reply.stage, reply.code, reply.text) == (stage, 554, text)


@pytest.mark.parametrize("stage", ["RCPT", "DATA", "END-OF-MESSAGE"])
def test_hold_takes_the_mail_and_keeps_it(mta: PrivatePostfix, probe: Probe, stage: str) -> None:
    probe.plan(**{stage: ["action=HOLD a policy\n\n"]})
    mta.forget_delivered()
    reply = send(mta.submission, ALICE, recipients=THREE)
    assert reply.accepted
    [held] = [mail for mail in mta.queue() if mail["queue_id"] == reply.queue_id]
    assert held["queue_name"] == "hold"
    assert [recipient["address"] for recipient in held["recipients"]] == list(THREE)
    assert not mta.delivered()
    assert mta.run(["postsuper", "-H", reply.queue_id, "hold"]).returncode == 0
    assert mta.run(["postqueue", "-i", reply.queue_id]).returncode == 0
    delivered = mta.wait_for_delivered(3)
    assert sorted(mail["X-Original-To"] for mail in delivered) == sorted(THREE)


def test_code_without_reject_sets_code_and_enhanced_code(mta: PrivatePostfix, probe: Probe) -> None:
    probe.plan(DATA=["action=550 5.7.9 go away\n\n"])
    reply = send(mta.submission, ALICE)
    assert (reply.code, reply.text) == (550, "5.7.9 <DATA>: Data command rejected: go away")


def test_unknown_action_does_not_take_the_default_action(mta: PrivatePostfix, probe: Probe) -> None:
    probe.plan(DATA=["action=FROBNICATE\n\n"])
    reply = send(mta.submission, ALICE)
    assert (reply.stage, reply.code) == ("DATA", 451)
    assert "4.3.5" in reply.text
    assert "nobody has answered" not in reply.text


def test_empty_action_lets_the_mail_pass(mta: PrivatePostfix, probe: Probe) -> None:
    probe.plan(DATA=["action=\n\n"])
    assert send(mta.submission, ALICE).accepted


# Trouble.


def test_disconnect_brings_the_same_request_to_a_fresh_process(
    mta: PrivatePostfix, probe: Probe
) -> None:
    probe.plan(DATA=["die", "action=DUNNO\n\n"])
    assert send(mta.submission, ALICE).accepted
    first, second = probe.requests("DATA")
    assert first.raw == second.raw
    assert first.process != second.process
    assert second.at - first.at > 0.9


def test_default_action_is_taken_after_two_disconnects(mta: PrivatePostfix, probe: Probe) -> None:
    probe.plan(DATA=["die"])
    reply = send(mta.submission, ALICE)
    assert (reply.code, reply.text) == (
        451,
        "4.7.1 <DATA>: Data command rejected: nobody has answered",
    )
    first, second = probe.requests("DATA")
    assert first.raw == second.raw
    mta.wait_for_log(r"warning: problem talking to server private/pcc")


def test_line_on_stderr_becomes_the_verdict(mta: PrivatePostfix, probe: Probe) -> None:
    probe.plan(DATA=["stderr action=REJECT oops\n\n"])
    assert send(mta.submission, ALICE).text == "5.7.1 <DATA>: Data command rejected: oops"


def test_empty_line_on_stderr_spoils_the_reply(mta: PrivatePostfix, probe: Probe) -> None:
    probe.plan(DATA=["stderr \n", "action=DUNNO\n\n"])
    begin = len(mta.log())
    assert send(mta.submission, ALICE).accepted
    mta.wait_for_log("warning: missing attribute action in input from private/pcc", after=begin)
    # Where the second process takes longer to start than Postfix waits, it reads the request then.
    wait_until(lambda: len(probe.requests("DATA")) == 2, "second request")
    first, second = probe.requests("DATA")
    assert first.process != second.process


def test_lines_on_stderr_are_skipped_where_a_reply_follows(
    mta: PrivatePostfix, probe: Probe
) -> None:
    probe.plan(DATA=["stderr Traceback (most recent call last):\n  x = y\n"])
    assert send(mta.submission, ALICE).accepted
    assert len(probe.requests("DATA")) == 1


def test_spelling_of_its_own_is_a_process_with_the_global_default(
    module_probe: Probe, probe: Probe
) -> None:
    policy = Policy(module_probe.argv, ("data",), timeout="1s")
    with PrivatePostfix(policy) as mta:
        mta.main["mua_end_of_data_restrictions"] = "check_policy_service unix:private/pcc"
        mta.write_config()
        mta.reload()
        assert send(mta.submission, ALICE).accepted
        assert len({request.process for request in probe.requests()}) == 2
        assert len(mta.policy_processes()) == 2
        # A hang costs both timeouts and the second between; this default_action is DUNNO.
        probe.plan(DATA=["hang"], END_OF_MESSAGE=["die"])
        reply = send(mta.submission, ALICE)
        assert (reply.stage, reply.code) == ("END-OF-MESSAGE", 451)
        assert (
            reply.text
            == "4.3.5 <END-OF-MESSAGE>: End-of-data rejected: Server configuration problem"
        )
        first, second = probe.requests("DATA")
        assert second.at - first.at > 1.9


def test_permit_in_front_of_the_check_hides_it(probe: Probe) -> None:
    policy = Policy(probe.argv, ("data",))
    hidden = {"mua_data_restrictions": f"permit_sasl_authenticated, {policy.check()}"}
    with PrivatePostfix(policy, main=hidden) as mta:
        assert send(mta.submission, ALICE).accepted
        assert not probe.requests()
        mta.main["mua_data_restrictions"] = policy.check()
        mta.write_config()
        mta.reload()
        assert send(mta.submission, ALICE).accepted
        assert len(probe.requests()) == 1


# spawn(8).


def test_spawn_gives_a_bare_environment_and_one_socket(mta: PrivatePostfix, probe: Probe) -> None:
    send(mta.submission, ALICE)
    asked = probe.requests()[0].process
    [process] = [process for process in probe.processes() if process["process"] == asked]
    user = pwd.getpwnam(service_user())
    environment = process["environment"]
    assert set(environment) - {"TZ", "LC_CTYPE"} == {"MAIL_CONFIG", "LANG", "PATH"}
    assert environment["MAIL_CONFIG"] == str(mta.config)
    assert (environment["LANG"], environment["PATH"]) == ("C", "/usr/bin:/bin")
    assert process["umask"] == 0o077
    assert process["cwd"] == str(mta.queue_directory)
    assert not process["cwd_writable"]
    assert process["user"] == user.pw_uid
    assert process["groups"] in ([], [user.pw_gid])
    assert process["leader"]
    assert re.fullmatch(r"socket:\[\d+\]", process["files"][0])
    assert len(set(process["files"])) == 1


def test_reload_ends_the_idle_processes(mta: PrivatePostfix, probe: Probe) -> None:
    send(mta.submission, ALICE)
    before = set(mta.policy_processes())
    assert probe.requests()[-1].process in before
    mta.reload()
    wait_until(lambda: not before & set(mta.policy_processes()), "end of the policy processes")


def test_open_session_outlives_a_reload_and_its_password_but_no_restart() -> None:
    with PrivatePostfix() as mta:
        mta.add_user(ALICE, "old")
        with Session(mta.submission) as session:
            assert session.login(ALICE, "old").good
            assert session.mail().accepted
            mta.add_user(ALICE, "new")
            mta.reload()
            assert session.mail().accepted
            mta.stop()
            mta.start()
            with pytest.raises(ConnectionError):
                session.mail()
            session.drop()
        with pytest.raises(PermissionError):
            send(mta.submission, ALICE, password="old")
        assert send(mta.submission, ALICE, password="new").accepted


def test_script_that_hangs_survives_the_stop() -> None:
    with PrivatePostfix(Policy(["/bin/sleep", "1000"], timeout="1s")) as mta:
        with Session(mta.submission) as session:
            session.xclient(ALICE, "192.0.2.1")
            session.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
            [process] = wait_until(mta.policy_processes, "policy process")
            session.drop()
        assert process in mta.policy_processes()
        assert "/bin/sleep 1000" in mta.stop(patience=0.2)
        assert not processes_of(mta.folder)


# Mail that does not come by SMTP.


def test_sendmail_of_the_service_user_never_asks(mta: PrivatePostfix, probe: Probe) -> None:
    mta.forget_delivered()
    command = ["/usr/sbin/sendmail", "-i", "-f", "", "postmaster"]
    done = mta.run(command, service_user(), text="Subject: a notice\n\nHello.\n")
    assert (done.returncode, done.stderr) == (0, "")
    [mail] = mta.wait_for_delivered(1)
    assert (mail["Subject"], mail["X-Original-To"]) == ("a notice", "postmaster")
    assert not probe.requests()


def test_sendmail_works_while_postfix_is_down() -> None:
    with PrivatePostfix() as mta:
        mta.stop()
        text = "Subject: a notice\n\nHello.\n"
        assert (
            mta.run(["/usr/sbin/sendmail", "postmaster"], service_user(), text=text).returncode == 0
        )
        mta.start()
        [mail] = mta.wait_for_delivered(1)
        assert mail["Subject"] == "a notice"


def test_postsuper_is_for_root_alone(mta: PrivatePostfix) -> None:
    done = mta.run(["postsuper", "-d", "ABCDEF", "hold"], service_user())
    assert done.returncode != 0
    assert "reserved for the superuser" in done.stderr + mta.log()


# The harness itself.


def test_service_user_can_run_the_deployed_interpreter() -> None:
    program = "import geoip2.database, maxminddb, os, rich.table, tomli; print(os.getuid())"
    done = run_as([service_python(), "-c", program], service_user())
    assert (done.stdout, done.stderr) == (f"{pwd.getpwnam(service_user()).pw_uid}\n", "")


def test_systems_own_postfix_is_not_touched(mta: PrivatePostfix) -> None:
    assert os.path.commonpath([mta.folder, mta.postconf("queue_directory")]) == str(mta.folder)
    assert mta.postconf("config_directory") == str(mta.config)
