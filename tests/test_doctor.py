"""`doctor`: all is well on a real installation, and each thing that is broken turns its check.

postconf(1) needs no running Postfix, so a private one is configured and never started: each test
breaks one thing in its files, runs the doctor, and puts it right again.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from deployment import Deployment, deploy, public_folder, service_user
from postfix import Policy, PrivatePostfix
from test_country_update import built

from pcc.doctor import postfix as postfix_parts
from pcc.doctor.postfix import Service, bare, entry, policy_checks, seconds, words_of

Findings = dict[str, tuple[str, str]]
POLICY = "[policy]\n"


class Patient:
    """An installation with its Postfix, and what the doctor says of it."""

    def __init__(self) -> None:
        self.pcc: Deployment = deploy()
        self.postfix = PrivatePostfix(Policy(self.pcc.policy_argv()))
        self.database = self.pcc.state / "pcc.db"
        self.countries = self.pcc.state / "country.mmdb"
        built(self.countries)
        self.countries.chmod(0o640)
        shutil.chown(self.countries, self.pcc.user, self.pcc.user)
        self.configure(POLICY)
        self.healthy = self.findings()

    def configure(self, policy: str, more: str = "") -> None:
        """Write pcc.toml and prepare it."""
        self.pcc.write_config(
            f'{policy}\n[store]\ndatabase = "{self.database}"\n'
            f'[country]\ndatabase = "{self.countries}"\n{more}'
        )
        done = self.pcc.admin("init")
        assert done.returncode == 0, done.stderr

    def doctor(self, *options: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it for the private Postfix."""
        mail_config = str(self.postfix.config)
        return self.pcc.admin("doctor", "--mail-config", mail_config, *options, user=user)

    def findings(self, user: str | None = None) -> Findings:
        """Return result and fix of each check."""
        done = self.doctor("--json", user=user)
        assert done.stdout, done.stderr
        assert done.stderr == ""
        rows = json.loads(done.stdout)
        assert len({row["check"] for row in rows}) == len(rows)
        assert done.returncode == any(row["result"] == "FAIL" for row in rows)
        return {row["check"]: (row["result"], row["fix"]) for row in rows}

    def turned(self) -> Findings:
        """Return the findings that are not as they are in health."""
        findings = self.findings()
        assert list(findings) == list(self.healthy)
        return {check: found for check, found in findings.items() if found != self.healthy[check]}

    def sql(self, statement: str, *values: object) -> None:
        """Change the database behind everybody's back, and leave no side files."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(statement, values)

    @property
    def submission(self) -> str:
        """The name of the first service for submission in master.cf."""
        return f"127.0.0.1:{self.postfix.submission}"

    @property
    def submissions(self) -> str:
        """The name of the other one."""
        return f"127.0.0.1:{self.postfix.submissions}"


@pytest.fixture(scope="module")
def installed() -> Iterator[Patient]:
    patient = Patient()
    yield patient
    shutil.rmtree(patient.postfix.folder)
    shutil.rmtree(patient.pcc.folder)


@pytest.fixture
def patient(installed: Patient) -> Iterator[Patient]:
    """The healthy installation; main.cf and master.cf are put right afterwards."""
    main, master = dict(installed.postfix.main), installed.postfix.master
    yield installed
    installed.postfix.main, installed.postfix.master = main, master
    installed.postfix.write_config()


@pytest.mark.postfix
def test_a_healthy_installation_is_ok_in_every_respect(patient: Patient) -> None:
    assert {check: found for check, found in patient.healthy.items() if found != ("OK", "")} == {}
    assert list(patient.healthy) == [
        "configuration",
        "service user",
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
        "notices",
        "master.cf entry",
        "time limit",
        f"policy check on {patient.submission}",
        f"policy check on {patient.submissions}",
        "policy check spelling",
        "default_action",
        "policy timeout",
        "HOLD",
    ]


@pytest.mark.postfix
def test_people_get_a_table_and_the_service_user_the_same_findings(patient: Patient) -> None:
    done = patient.doctor()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("RESULT  CHECK")
    assert patient.findings(user=patient.pcc.user) == patient.healthy


@pytest.mark.postfix
def test_another_user_is_told_to_be_root(patient: Patient) -> None:
    done = patient.doctor("--json", user="nobody")
    findings = {row["check"]: row for row in json.loads(done.stdout)}
    assert findings["state folder"]["result"] == "FAIL" or findings["rights"]["result"] == "WARN"


Break = Callable[[Patient], None]


def master(old: str, new: str, count: int = 1) -> Break:
    """Return what changes master.cf, in the first place only or `count` places."""

    def change(patient: Patient) -> None:
        assert old in patient.postfix.master
        patient.postfix.master = patient.postfix.master.replace(old, new, count)

    return change


def main(**parameters: str) -> Break:
    """Return what changes main.cf."""

    def change(patient: Patient) -> None:
        for name, value in parameters.items():
            if value == "-":
                patient.postfix.main.pop(name)
            else:
                patient.postfix.main[name] = value

    return change


def both(*changes: Break) -> Break:
    def change(patient: Patient) -> None:
        for one in changes:
            one(patient)

    return change


CHECK = "check_policy_service { unix:private/pcc, timeout=10s, { default_action = DUNNO } }"
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
        "451",
    ),
    "no timeout": (
        main(mua_data_restrictions=CHECK.replace("timeout=10s,", "")),
        ("policy timeout",),
        "WARN",
        "not 100s",
    ),
    "timeout too short": (
        main(mua_data_restrictions=CHECK.replace("10s", "5s")),
        ("policy timeout",),
        "WARN",
        "not 5s",
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
def test_what_is_broken_in_postfix_turns_exactly_its_check(patient: Patient, name: str) -> None:
    breaking, checks, result, fix = CASES[name]
    breaking(patient)
    patient.postfix.write_config()
    findings = patient.findings()
    names = {"submission": patient.submission, "submissions": patient.submissions}
    turned = {
        check: found
        for check, found in findings.items()
        if found != patient.healthy.get(check, ("OK", ""))
    }
    assert sorted(turned) == sorted(check.format(**names) for check in checks), turned
    assert set(patient.healthy) <= set(findings)
    for found in turned.values():
        assert found[0] == result
        assert fix in found[1]


@pytest.mark.postfix
@pytest.mark.parametrize(
    "check",
    [
        "check_policy_service unix:private/pcc",
        "check_policy_service { unix:private/pcc timeout=10s, default_action={ 451 4.3.0 Later } }",
        "reject_unauth_pipelining,\n  check_policy_service\n  { unix:private/pcc,\n"
        "  { timeout = 10s }\n  { default_action = 451 4.3.0 Try again } }, permit",
        "ours",
    ],
)
def test_other_ways_to_write_it_are_as_good(patient: Patient, check: str) -> None:
    main(
        mua_data_restrictions=check,
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


def chown(name: str, user: str) -> Break:
    def change(patient: Patient) -> None:
        owner = patient.pcc.user if user == "service" else user
        shutil.chown(patient.pcc.state / name, owner, owner)

    return change


def chmod(name: str, mode: int) -> Break:
    return lambda patient: (patient.pcc.state / name).chmod(mode)


def countries(age: float, database_type: str = "GeoLite2-Country") -> Break:
    return lambda patient: void(built(patient.countries, age, database_type))


def void(value: object) -> None:
    pass


def outbox(age: float) -> Break:
    return lambda patient: patient.sql(
        "INSERT INTO outbox (incident, account, what, channel, detail, created, taken, tries,"
        " last_error, next_try, recipients)"
        " VALUES (1, 'joe@example.org', 'blocked', 'mail', '', ?, 0, 3, 'no route', 0, '')",
        time.time() - age,
    )


def sighting(age: float) -> Break:
    def change(patient: Patient) -> None:
        with closing(sqlite3.connect(patient.database)) as connection, connection:
            columns = [row[1:3] for row in connection.execute("PRAGMA table_info(sighting)")]
            seen = time.time() - age
            values = [
                seen if kind == "REAL" else 1 if kind == "INTEGER" else "x" for _, kind in columns
            ]
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO sighting VALUES ({marks})", values)

    return change


def empty(table: str) -> Break:
    return lambda patient: patient.sql(f"DELETE FROM {table}")


DAY = 86400
STATE_CASES: dict[str, tuple[Break, Break, str, str, str]] = {
    "database not writable by the service user": (
        both(chown("pcc.db", "root"), chmod("pcc.db", 0o644)),
        both(chown("pcc.db", "service"), chmod("pcc.db", 0o640)),
        "database rights+state folder",
        "FAIL",
        "can't be written",
    ),
    "database of root": (
        chown("pcc.db", "root"), chown("pcc.db", "service"),
        "database rights", "FAIL", "chown",
    ),
    "lock file of root": (
        chown("pcc.db.lock", "root"), chown("pcc.db.lock", "service"),
        "database rights", "FAIL", "pcc.db.lock can't be written",
    ),
    "others may read the database": (
        chmod("pcc.db", 0o644), chmod("pcc.db", 0o640), "state folder", "WARN", "chmod 0640",
    ),
    "others may look into the state folder": (
        chmod(".", 0o755), chmod(".", 0o750), "state folder", "WARN", "chmod 0750",
    ),
    "state folder not writable": (
        chmod(".", 0o550), chmod(".", 0o750), "state folder", "FAIL", "can't be written",
    ),
    "country database old": (
        countries(61 * DAY), countries(0), "country database", "WARN", "61 days old",
    ),
    "country database of the wrong type": (
        countries(0, "GeoLite2-ASN"), countries(0), "country database", "FAIL", "GeoLite2-ASN",
    ),
    "country database not readable": (
        both(chmod("country.mmdb", 0o600), chown("country.mmdb", "root")),
        both(chmod("country.mmdb", 0o640), chown("country.mmdb", "service")),
        "country database", "FAIL", "can't be read",
    ),
    "stuck outbox": (outbox(1000), empty("outbox"), "outbox", "WARN", "no route"),
    "cleanup never ran": (
        sighting(40 * DAY), empty("sighting"), "cleanup", "WARN", "for 10 days",
    ),
    "clock behind": (sighting(-1000), empty("sighting"), "clock", "WARN", "from now"),
    "pcc.toml changed since init": (
        lambda patient: patient.pcc.config.touch(),
        lambda patient: patient.configure(POLICY),
        "prepared configuration", "WARN", "pcc_admin.py init",
    ),
    "pcc.toml not readable": (
        lambda patient: patient.pcc.config.chmod(0o600),
        lambda patient: patient.configure(POLICY),
        "configuration readable", "FAIL", "can't be read",
    ),
    "nobody is told": (
        lambda patient: patient.configure(POLICY, "[notify]\nto = []"),
        lambda patient: patient.configure(POLICY),
        "notices", "WARN", "notify.to",
    ),
    "no sendmail": (
        lambda patient: patient.configure(POLICY, '[notify]\nsendmail = "/none/sendmail"'),
        lambda patient: patient.configure(POLICY),
        "notices", "FAIL", "no /none",
    ),
}  # fmt: skip


@pytest.mark.postfix
@pytest.mark.parametrize("name", STATE_CASES)
def test_what_is_broken_in_the_state_turns_exactly_its_check(patient: Patient, name: str) -> None:
    breaking, mending, checks, result, fix = STATE_CASES[name]
    (patient.pcc.state / "pcc.db.lock").touch(0o640)
    chown("pcc.db.lock", "service")(patient)
    breaking(patient)
    try:
        turned = patient.turned()
        first = checks.partition("+")[0]
        assert sorted(turned) == sorted(checks.split("+")), turned
        assert turned[first][0] == result
        assert fix in turned[first][1]
    finally:
        mending(patient)


@pytest.mark.postfix
def test_an_interpreter_out_of_the_service_users_reach_is_found(patient: Patient) -> None:
    private = public_folder("home")
    (private / "bin").mkdir()
    python = private / "bin" / "python"
    python.symlink_to(patient.pcc.python)
    master(f"argv={patient.pcc.python}", f"argv={python}")(patient)
    patient.postfix.write_config()
    try:
        private.chmod(0o700)
        turned = patient.turned()
        assert list(turned) == ["interpreter"]
        assert turned["interpreter"][0] == "FAIL"
        assert f"{private} can't be traversed" in turned["interpreter"][1]
        private.chmod(0o755)
        python.unlink()
        python.write_text("#!/bin/sh\necho 'No module named geoip2' >&2\nexit 1\n")
        python.chmod(0o755)
        turned = patient.turned()
        assert list(turned) == ["interpreter"]
        assert "No module named geoip2" in turned["interpreter"][1]
    finally:
        shutil.rmtree(private)


@pytest.mark.postfix
def test_code_that_the_service_user_can_not_read_is_found(patient: Patient) -> None:
    module = patient.pcc.folder / "pcc" / "verdict.py"
    module.chmod(0o600)
    try:
        turned = patient.turned()
        assert list(turned) == ["code"]
        assert str(module) in turned["code"][1]
    finally:
        module.chmod(0o644)


@pytest.mark.postfix
def test_a_state_folder_of_root_or_of_postfix_has_no_service_user(patient: Patient) -> None:
    for user in ("root", "postfix"):
        chown(".", user)(patient)
        try:
            findings = patient.findings()
            assert findings["service user"][0] == "FAIL"
            assert user in findings["service user"][1]
        finally:
            chown(".", "service")(patient)


@pytest.mark.postfix
def test_without_database_or_configuration_or_postfix_it_says_what_to_do(
    patient: Patient, tmp_path: Path
) -> None:
    moved = patient.database.with_name("away")
    patient.database.rename(moved)
    try:
        turned = patient.turned()
        assert list(turned) == ["database"]
        assert "pcc_admin.py init" in turned["database"][1]
    finally:
        moved.rename(patient.database)
    patient.pcc.config.rename(patient.pcc.config.with_name("away"))
    try:
        done = patient.doctor("--json")
        assert [row["check"] for row in json.loads(done.stdout)] == ["configuration"]
        assert done.returncode == 1
    finally:
        patient.pcc.config.with_name("away").rename(patient.pcc.config)
        patient.configure(POLICY)
    done = patient.pcc.admin("--json", "doctor", "--mail-config", str(tmp_path))
    assert done.returncode == 1
    assert json.loads(done.stdout)[-1]["check"] == "Postfix"


def snapshot(*folders: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            status = path.lstat()
            found[str(path)] = (
                status.st_ino,
                status.st_size,
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
    return found


@pytest.mark.postfix
def test_it_changes_nothing_with_the_database_in_use_or_not(patient: Patient) -> None:
    folders = (patient.pcc.folder, patient.postfix.folder)
    patient.pcc.config.touch()  # would be prepared again by any other command
    (patient.pcc.state / "pcc.db.lock").unlink(missing_ok=True)
    try:
        before = snapshot(*folders)
        assert f"{patient.database}-wal" not in before
        patient.findings()
        assert snapshot(*folders) == before
        user = pwd.getpwnam(patient.pcc.user)
        with closing(sqlite3.connect(patient.database)) as connection:
            with connection:
                connection.execute("DELETE FROM outbox")
                connection.execute(
                    "INSERT INTO event (at, account, what, who, detail) VALUES (1, '', '', '', '')"
                )
            for owner, faults in ((user.pw_uid, []), (0, ["database rights"])):
                os.chown(f"{patient.database}-wal", owner, -1)
                before = snapshot(*folders)
                assert before[f"{patient.database}-wal"][1] > 0
                assert list(patient.turned()) == ["prepared configuration", *faults]
                assert snapshot(*folders) == before
            os.chown(f"{patient.database}-wal", user.pw_uid, -1)
    finally:
        patient.configure(POLICY)
    patient.sql("DELETE FROM event")
    assert patient.turned() == {}


# The parts that need no Postfix.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a, b\tc", ["a", "b", "c"]),
        ("a { b, c } d", ["a", "{ b, c }", "d"]),
        ("x={ 451 4.3.0 Later } y", ["x={ 451 4.3.0 Later }", "y"]),
        ("{ a { b c } }, } d", ["{ a { b c } }", "}", "d"]),
    ],
)
def test_words_are_parted_as_smtpd_parts_them(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_braces_hold_blanks_together_in_master_cf() -> None:
    line = "pcc unix - n n - 0 spawn user=irc argv=/usr/bin/python3 {/a b/pcc_policy.py} -c /x"
    found = entry(line, {"pcc/unix": {"pcc_time_limit": "1h"}})
    assert found.words == ("user=irc", "argv=/usr/bin/python3", "/a b/pcc_policy.py", "-c", "/x")
    assert found.overrides == {"pcc_time_limit": "1h"}
    assert bare("{ a b }") == "a b"


@pytest.mark.parametrize(
    ("text", "expected"), [("3600", 3600), ("1000s", 1000), ("10m", 600), ("1h", 3600), ("x", 0)]
)
def test_postfix_times_are_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("words", "hidden_by", "some"),
    [
        ("", "", False),
        ("reject_unauth_pipelining, check_sender_access hash:/permit", "", False),
        ("permit_mynetworks", "permit_mynetworks", True),
        ("permit_mynetworks permit_sasl_authenticated", "permit_sasl_authenticated", False),
        ("permit_sasl_authenticated permit_mynetworks", "permit_sasl_authenticated", False),
        ("reject", "reject", False),
        ("warn_if_reject reject", "", False),
        ("check_policy_service inet:127.0.0.1:1 permit", "permit", False),
    ],
)
def test_what_stands_before_a_check_may_hide_it(words: str, hidden_by: str, some: bool) -> None:
    values = dict.fromkeys(postfix_parts.LISTS, "")
    values["smtpd_data_restrictions"] = f"{words} check_policy_service unix:private/pcc"
    check = policy_checks(Service("submission", values, {}))[-1]
    assert (check.endpoint, check.options) == ("unix:private/pcc", {})
    assert (check.hidden_by, check.some) == (hidden_by, some)
