"""`doctor`: all is well on a real installation, and each thing that is broken turns its check.

postconf(1) needs no running Postfix, so a private one is configured and never started: each test
breaks one thing in its files, runs the doctor, and puts it right again.
"""

from __future__ import annotations

import json

import pytest
from deployment import service_user
from patient import POLICY, Break, Patient, both, main, master
from terminal import on_terminal

from pcc.admin.output import folded


@pytest.mark.postfix
def test_doctor_finds_a_healthy_installation_ok(patient: Patient) -> None:
    unwell = {check: found for check, found in patient.healthy.items() if found != ("OK", "")}
    assert list(unwell) == ["answer through Postfix"]  # it doesn't run: see test_doctor_answer.py
    assert list(patient.healthy) == [
        "configuration",
        "limits",
        "service user",
        "file system",
        "configuration readable",
        "prepared configuration",
        "interpreter",
        "code",
        "state folder",
        "database rights",
        "database",
        "clock",
        "cleanup",
        "outbox",
        "country database",
        "network database",
        "hosting list",
        "hosting of users",
        "notices",
        "master.cf entry",
        "time limit",
        "log",
        "smtpd's log",
        "recent mail",
        f"policy check on {patient.submission}",
        f"policy check on {patient.submissions}",
        "policy check spelling",
        "default_action",
        "policy timeout",
        "HOLD",
        "soft_bounce",
        "sender addresses",
        "XCLIENT",
        "exempt names",
        "answer through Postfix",
    ]


@pytest.mark.postfix
def test_doctor_prints_a_table_and_finds_the_same_as_service_user(patient: Patient) -> None:
    done = patient.doctor()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("RESULT  CHECK")
    findings = patient.findings(user=patient.pcc.user)
    assert list(patient.differing(findings)) == ["answer through Postfix"]
    assert findings["answer through Postfix"][1].startswith("run this as root")
    assert list(findings) == list(patient.healthy)


@pytest.mark.postfix
def test_doctor_on_a_terminal_puts_each_fix_below_its_check(
    patient: Patient,
) -> None:
    master(ENTRY, "pcc unix - n y - 1 spawn")(patient)
    patient.postfix.write_config()
    argv = patient.pcc.admin_argv("doctor", "--mail-config", str(patient.postfix.config))
    lines = on_terminal(argv, 80, {"NO_COLOR": "1", "TERM": "dumb"}).splitlines()
    entry = lines.index("FAIL  master.cf entry")
    assert lines[entry + 1 : entry + 4] == [
        "      put n into the fifth column (chroot) of pcc in master.cf",
        "      put 0 into the seventh column (maxproc) of pcc in master.cf: with 1",
        "      further clients are answered with 451",
    ]
    assert lines[0] == "OK    configuration"
    answer = lines.index("WARN  answer through Postfix")
    assert f"`postfix -c {patient.postfix.config} start`," in lines[answer + 1]
    assert lines[-2:] == ["FAIL: master.cf entry", "WARN: answer through Postfix"]


def test_note_is_folded_and_its_commands_are_not() -> None:
    assert folded("do `mv a b c`, then that: it is wrong", 12) == [
        "do", "`mv a b c`,", "then that:", "it is wrong",
    ]  # fmt: skip
    assert folded("`much longer than that` it is", 6) == ["`much longer than that`", "it is"]
    assert folded("", 6) == []


@pytest.mark.postfix
def test_doctor_asks_another_user_to_be_root(patient: Patient) -> None:
    done = patient.doctor("--json", user="nobody")
    findings = {row["check"]: row for row in json.loads(done.stdout)}
    assert findings["state folder"]["result"] == "FAIL" or findings["rights"]["result"] == "WARN"


CHECK = "check_policy_service { unix:private/pcc, timeout=10s, { default_action = DUNNO } }"
SHORT_CHECK = "check_policy_service,{unix:private/pcc,timeout=10s}"
ON_SUBMISSION = "policy check on {submission}"
ON_BOTH = (ON_SUBMISSION, "policy check on {submissions}")
OVERRIDE = "-o smtpd_data_restrictions=$mua_data_restrictions"
ENTRY = "pcc unix - n n - 0 spawn"

CASES: dict[str, tuple[Break, tuple[str, ...], str, str]] = {
    "entry missing": (
        lambda patient: setattr(
            patient.postfix, "master", patient.postfix.master.partition(ENTRY)[0]
        ),
        ("master.cf entry",),
        "FAIL",
        "add the entry of master.cf.snippet",
    ),
    "wrong user": (
        master(f"user={service_user()}", "user=nobody"),
        ("master.cf entry",),
        "FAIL",
        f"user={service_user()}",
    ),
    "maxproc 1": (
        master(ENTRY, "pcc unix - n n - 1 spawn"),
        ("master.cf entry",),
        "FAIL",
        "maxproc",
    ),
    "maxproc by default": (
        master(ENTRY, "pcc unix - n n - - spawn"),
        ("master.cf entry",),
        "WARN",
        "maxproc",
    ),
    "chroot y": (master(ENTRY, "pcc unix - n y - 0 spawn"), ("master.cf entry",), "FAIL", "chroot"),
    "chroot by default": (
        master(ENTRY, "pcc unix - n - - 0 spawn"),
        ("master.cf entry",),
        "WARN",
        "chroot",
    ),
    "unprivileged": (
        master(ENTRY, "pcc unix - - n - 0 spawn"),
        ("master.cf entry",),
        "FAIL",
        "fourth column",
    ),
    "public": (master(ENTRY, "pcc unix n n n - 0 spawn"), ("master.cf entry",), "FAIL", "private"),
    "another script": (
        master("pcc_policy.py", "none/pcc_policy.py"),
        ("master.cf entry",),
        "FAIL",
        "there is no",
    ),
    "another configuration": (
        master("pcc.toml", "other.toml"),
        ("master.cf entry",),
        "WARN",
        "other.toml doctor",
    ),
    "a command that is not spawn": (
        master("0 spawn", "0 pipe"),
        ("master.cf entry",),
        "FAIL",
        "write spawn as the command of pcc in master.cf, not pipe",
    ),
    "no interpreter named": (
        lambda patient: master(f"argv={patient.pcc.python} ", "argv=")(patient),
        ("master.cf entry",),
        "WARN",
        "name an interpreter",
    ),
    "a group that is not there": (
        master(f"user={service_user()}", f"user={service_user()}:nosuch"),
        ("master.cf entry",),
        "FAIL",
        "no group nosuch",
    ),
    "nothing to run": (
        lambda patient: master(" argv=" + " ".join(patient.pcc.policy_argv()), "")(patient),
        ("master.cf entry",),
        "FAIL",
        "in argv= in master.cf: it names no",
    ),
    "asked before the login": (
        main(
            smtpd_delay_reject="no",
            smtpd_client_restrictions=CHECK,
            mua_data_restrictions="",
        ),
        ON_BOTH,
        "FAIL",
        "asks pcc",
    ),
    "no time limit": (main(pcc_time_limit="-"), ("time limit",), "WARN", "pcc_time_limit = 3600"),
    "only global, overridden for submission": (
        both(
            main(smtpd_data_restrictions=CHECK),
            master(OVERRIDE, "-o smtpd_data_restrictions="),
        ),
        (ON_SUBMISSION,),
        "FAIL",
        "none of its lists asks pcc",
    ),
    "not in any list": (main(mua_data_restrictions=""), ON_BOTH, "FAIL", "asks pcc"),
    "permit_sasl_authenticated in front": (
        main(mua_data_restrictions=f"permit_sasl_authenticated, {CHECK}"),
        ON_BOTH,
        "FAIL",
        "before permit_sasl_authenticated",
    ),
    "permit in front, for submission alone, in braces": (
        master(OVERRIDE, "-o { smtpd_data_restrictions = permit, $mua_data_restrictions }"),
        (ON_SUBMISSION,),
        "FAIL",
        "before permit",
    ),
    "permit_mynetworks in front": (
        main(mua_data_restrictions=f"permit_mynetworks {CHECK}"),
        ON_BOTH,
        "WARN",
        "before permit_mynetworks",
    ),
    "permit in a restriction class in front": (
        main(
            smtpd_restriction_classes="insiders",
            insiders="reject_unauth_pipelining, permit_sasl_authenticated",
            mua_data_restrictions=f"insiders, {CHECK}",
        ),
        ON_BOTH,
        "FAIL",
        "before permit_sasl_authenticated",
    ),
    "only warned": (
        main(mua_data_restrictions=f"warn_if_reject {CHECK}"),
        ON_BOTH,
        "FAIL",
        "warn_if_reject",
    ),
    "two spellings": (
        main(mua_end_of_data_restrictions=CHECK.replace("10s", "11s")),
        ("policy check spelling",),
        "WARN",
        "the same way",
    ),
    "no default_action": (
        main(mua_data_restrictions="check_policy_service { unix:private/pcc, timeout=10s }"),
        ("default_action",),
        "WARN",
        "give check_policy_service in mua_data_restrictions in main.cf a default_action, e.g."
        " { unix:private/pcc, timeout=10s, default_action=DUNNO }: without one",
    ),
    "no default_action, on submission alone": (
        master(OVERRIDE, f"{OVERRIDE.partition('$')[0]}{SHORT_CHECK}"),
        ("default_action",),
        "WARN",
        "in smtpd_data_restrictions of {submission} in master.cf a default_action",
    ),
    "no default_action, in a name of its own": (
        main(
            pcc_check="{ unix:private/pcc, timeout=10s }",
            mua_data_restrictions="check_policy_service $pcc_check",
        ),
        ("default_action",),
        "WARN",
        "in smtpd_data_restrictions of {submission}, smtpd_data_restrictions of {submissions} a",
    ),
    "no timeout": (
        main(mua_data_restrictions=CHECK.replace("timeout=10s,", "")),
        ("policy timeout",),
        "WARN",
        "give check_policy_service in mua_data_restrictions in main.cf timeout=10s, not 100s",
    ),
    "timeout too short": (
        main(mua_data_restrictions=CHECK.replace("10s", "5s")),
        ("policy timeout",),
        "WARN",
        "not 5s",
    ),
    "an access map in front that permits": (
        main(mua_data_restrictions=f"check_sender_access inline:{{ a=REJECT, b=ok }}, {CHECK}"),
        ON_BOTH,
        "WARN",
        "put check_policy_service before inline:{ a=REJECT, b=ok } in",
    ),
    "an access map that permits by a restriction class": (
        main(
            smtpd_restriction_classes="friends",
            friends="permit_mynetworks",
            mua_data_restrictions=f"check_client_access static:friends, {CHECK}",
        ),
        ON_BOTH,
        "WARN",
        "put check_policy_service before static:friends in",
    ),
    "an access map that can't be looked through": (
        main(mua_data_restrictions=f"check_sasl_access pipemap:{{static:x}}, {CHECK}"),
        ON_BOTH,
        "WARN",
        "before pipemap:{static:x} (which can't be looked through: ",
    ),
    "a default_action without braces": (
        main(
            mua_data_restrictions=CHECK.replace(
                "{ default_action = DUNNO }", "default_action=451 4.3.0 no"
            )
        ),
        ("default_action",),
        "FAIL",
        "smtpd(8) can't read 4.3.0, and takes no mail",
    ),
    "a default_action whose braces are in the wrong place": (
        main(
            mua_data_restrictions=CHECK.replace(
                "{ default_action = DUNNO }", "default_action={450 x}"
            )
        ),
        ("default_action",),
        "FAIL",
        "smtpd(8) can't read default_action={450 x}",
    ),
    "an option that is none": (
        main(mua_data_restrictions=CHECK.replace("timeout", "max_time=5s timeout")),
        ("policy check spelling",),
        "FAIL",
        "smtpd(8) can't read max_time=5s",
    ),
    "an absolute path and a chrooted smtpd": (
        lambda patient: both(
            master("inet n - n - - smtpd", "inet n - y - - smtpd"),
            main(
                mua_data_restrictions=CHECK.replace(
                    "unix:", f"unix:{patient.postfix.queue_directory}/"
                )
            ),
        )(patient),
        (ON_SUBMISSION,),
        "FAIL",
        "write unix:private/pcc in mua_data_restrictions in main.cf: {submission} runs chrooted in",
    ),
    "SASL in capitals": (
        both(
            master("smtpd_sasl_auth_enable=yes", "smtpd_sasl_auth_enable=YES"),
            master(OVERRIDE, "-o smtpd_data_restrictions="),
        ),
        (ON_SUBMISSION,),
        "FAIL",
        "none of its lists asks pcc",
    ),
    "a service for logins by XCLIENT that does not ask": (
        master("pickup ", "10025 inet n - n - - smtpd\npickup "),
        ("policy check on 10025",),
        "WARN",
        "though a proxy may name a login there by XCLIENT",
    ),
    "XCLIENT for a whole network": (
        main(smtpd_authorized_xclient_hosts="127.0.0.0/8 172.16.0.0/12"),
        ("XCLIENT",),
        "WARN",
        "of {submissions}, not 172.16.0.0/12",
    ),
    "XCLIENT for everybody": (
        main(smtpd_authorized_xclient_hosts="static:all"), ("XCLIENT",), "WARN", "not static:all",
    ),
    "soft_bounce": (
        main(soft_bounce="Yes"), ("soft_bounce",), "WARN",
        "set soft_bounce = no for {submission}, {submissions}:",
    ),
    "login on another service": (
        master(
            "pickup ", "10025 inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes\npickup "
        ),
        ("policy check on 10025",),
        "FAIL",
        "asks pcc",
    ),
}  # fmt: skip


@pytest.mark.postfix
@pytest.mark.parametrize("name", CASES)
def test_check_of_postfix_is_turned_by_exactly_its_faults(patient: Patient, name: str) -> None:
    breaking, checks, result, fix = CASES[name]
    breaking(patient)
    patient.postfix.write_config()
    findings = patient.findings()
    names = {"submission": patient.submission, "submissions": patient.submissions}
    turned = patient.differing(findings)
    assert sorted(turned) == sorted(check.format(**names) for check in checks), turned
    assert set(patient.healthy) - {"answer through Postfix"} <= set(findings)
    for found in turned.values():
        assert found[0] == result
        for service, name in names.items():
            fix = fix.replace(f"{{{service}}}", name)
        assert found[1].count(fix) == 1


@pytest.mark.postfix
def test_service_for_logins_by_xclient_alone_is_as_good(patient: Patient) -> None:
    master("smtpd_sasl_auth_enable=yes", "smtpd_sasl_auth_enable=no", 2)(patient)
    # Without SASL smtpd(8) passes over permit_sasl_authenticated.
    main(mua_data_restrictions=f"permit_sasl_authenticated, {CHECK}")(patient)
    patient.postfix.write_config()
    assert patient.turned() == {}
    main(mua_data_restrictions="")(patient)
    patient.postfix.write_config()
    turned = patient.turned()
    assert list(turned) == [
        f"policy check on {name}" for name in (patient.submission, patient.submissions)
    ]
    assert {result for result, _ in turned.values()} == {"FAIL"}


@pytest.mark.postfix
@pytest.mark.parametrize(
    ("exempt", "parameters", "words"),
    [
        ("localhost", {}, "(127.0.0.1 in smtpd_authorized_xclient_hosts of"),
        (".example.org", {"smtpd_authorized_xclient_hosts": "p.example.org"}, "(p.example.org in"),
        ("p.example.org", {"smtpd_authorized_xclient_hosts": ".example.org"}, "(.example.org in"),
        ("p.example.org", {"smtpd_authorized_xclient_hosts": "192.0.2.7"}, ""),
        (
            "mail.example.org",
            {"smtpd_upstream_proxy_protocol": "haproxy", "smtpd_authorized_xclient_hosts": ""},
            "(smtpd_upstream_proxy_protocol of",
        ),
        ("localhost", {"smtpd_authorized_xclient_hosts": ""}, ""),
    ],
)
@pytest.mark.parametrize("by_hand", [False, True])
def test_exempt_name_of_a_proxy_is_found(
    patient: Patient, exempt: str, parameters: dict[str, str], words: str, *, by_hand: bool
) -> None:
    main(**parameters)(patient)
    patient.postfix.write_config()
    if by_hand:
        assert patient.pcc.admin("exempt", "add", "client", exempt).returncode == 0
    else:
        patient.configure(f'[policy]\nexempt_clients = ["{exempt}"]')
    try:
        turned = patient.turned()
        assert list(turned) == (["exempt names"] if words else [])
        if words:
            assert turned["exempt names"][0] == "WARN"
            assert turned["exempt names"][1].startswith(f"exempt {exempt} by an address: ")
            assert words in turned["exempt names"][1]
    finally:
        patient.sql("DELETE FROM exemption")
        patient.configure(POLICY)


@pytest.mark.postfix
def test_sender_as_account_needs_a_check_of_its_owner(patient: Patient) -> None:
    patient.configure('[policy]\naccount = "sender"')
    try:
        turned = patient.turned()
        assert list(turned) == ["sender addresses"]
        assert turned["sender addresses"][0] == "WARN"
        assert turned["sender addresses"][1].count("put reject_sender_login_mismatch first") == 2
        override = "-o smtpd_sender_restrictions="
        master(f"{override}\n", f"{override}reject_authenticated_sender_login_mismatch\n", 2)(
            patient
        )
        patient.postfix.write_config()
        assert patient.turned() == {}
        master(override, f"{override}permit_sasl_authenticated,")(patient)
        patient.postfix.write_config()
        assert (
            patient.turned()["sender addresses"][1].count("put reject_sender_login_mismatch") == 1
        )
    finally:
        patient.configure(POLICY)


@pytest.mark.postfix
def test_mail_system_where_nobody_logs_in_is_found(patient: Patient) -> None:
    master("smtpd_sasl_auth_enable=yes", "smtpd_sasl_auth_enable=no", 2)(patient)
    main(smtpd_authorized_xclient_hosts="")(patient)
    patient.postfix.write_config()
    turned = patient.differing(patient.findings())
    assert list(turned) == ["policy check on submission"]
    result, fix = turned["policy check on submission"]
    assert result == "FAIL"
    assert "uncomment submission and its options in master.cf" in fix
    master("pickup ", "submission inet n - n - - smtpd\npickup ")(patient)
    patient.postfix.write_config()
    result, fix = patient.differing(patient.findings())["policy check on submission"]
    assert fix.startswith("set smtpd_sasl_auth_enable = yes for submission in master.cf")


@pytest.mark.postfix
@pytest.mark.parametrize(
    "check",
    [
        "check_policy_service unix:private/pcc",
        "CHECK_policy_service { local:private/pcc timeout=10s, {default_action=451 4.3.0 Later} }",
        "check_policy_service { unix:{queue}/private/pcc, timeout=10s }",
        f"check_sender_access inline:{{ a=REJECT, b=450, {{c=DISCARD OK}}, d=DUNNO }}, {CHECK}",
        f"check_sender_mx_access static:OK, warn_if_reject reject, {CHECK}",
        "reject_unauth_pipelining,\n  check_policy_service\n  { unix:private/pcc,\n"
        "  { timeout = 10s }\n  { default_action = 451 4.3.0 Try again } }, permit",
        "ours",
    ],
)
def test_policy_check_may_be_written_in_other_ways(patient: Patient, check: str) -> None:
    main(
        mua_data_restrictions=check.replace("{queue}", str(patient.postfix.queue_directory)),
        smtpd_restriction_classes="ours",
        ours=CHECK,
        smtpd_policy_service_timeout="10s",
        smtpd_policy_service_default_action="DUNNO",
    )(patient)
    patient.postfix.write_config()
    assert patient.turned() == {}


@pytest.mark.postfix
def test_hold_needs_a_service_without_proxy_filter_and_a_late_stage(patient: Patient) -> None:
    main(smtpd_proxy_filter="127.0.0.1:10026")(patient)
    patient.postfix.write_config()
    assert patient.turned() == {}
    patient.configure('[policy]\naction = "HOLD"')
    try:
        turned = patient.turned()
        assert list(turned) == ["HOLD"]
        assert turned["HOLD"][0] == "FAIL" and "smtpd_proxy_filter" in turned["HOLD"][1]
        main(
            smtpd_proxy_filter="-",
            mua_data_restrictions="",
            mua_recipient_restrictions=f"{CHECK}, permit_sasl_authenticated, reject",
        )(patient)
        patient.postfix.write_config()
        turned = patient.turned()
        assert list(turned) == ["HOLD"]
        assert turned["HOLD"][0] == "WARN" and "queue id" in turned["HOLD"][1]
    finally:
        patient.configure(POLICY)
    assert patient.turned() == {}
