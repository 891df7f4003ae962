"""`doctor` on the state folder and on what else the service user needs.

Each test breaks one thing on the disk, runs the doctor, and puts it right again.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from deployment import public_folder, run_as
from mmdb import built
from patient import POLICY, Break, Patient, both, chmod, chown, follow, master, snapshot

from pcc.config import Config
from pcc.config.options import read_values
from pcc.doctor.database import check_database, look
from pcc.doctor.rights import user_of


def countries(age: float, database_type: str = "GeoLite2-Country") -> Break:
    return lambda patient: void(built(patient.countries, age, database_type))


def void(value: object) -> None:
    pass


def outbox(age: float) -> Break:
    return lambda patient: patient.sql(
        "INSERT INTO outbox (id, incident, account, what, channel, detail, created, taken, tries,"
        " last_error, next_try, recipients)"
        " VALUES (1, 1, 'joe@example.org', 'blocked', 'mail', '', ?, 0, 3, 'no route', 0, '')",
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
        "pcc.db`: it belongs to root",
    ),
    "database of root": (
        chown("pcc.db", "root"), chown("pcc.db", "service"),
        "database rights", "FAIL", "`chown -h ",
    ),
    "lock file of root": (
        chown("pcc.db.lock", "root"), chown("pcc.db.lock", "service"),
        "database rights", "FAIL", "pcc.db.lock`: it belongs to root",
    ),
    "others may read the database": (
        chmod("pcc.db", 0o644), chmod("pcc.db", 0o640), "state folder", "WARN", "chmod 0640",
    ),
    "others may look into the state folder": (
        chmod(".", 0o755), chmod(".", 0o750), "state folder", "WARN", "chmod 0750",
    ),
    "state folder not writable": (
        chmod(".", 0o550), chmod(".", 0o750), "state folder", "FAIL", "chmod 0750",
    ),
    "country database old": (
        countries(61 * DAY), countries(0), "country database", "WARN",
        "run `geoipupdate`, monthly: it's 61 days old",
    ),
    "bundled country database old": (
        countries(61 * DAY, "DBIP-Country-Lite"), countries(0), "country database", "WARN",
        " places update country https://download.db-ip.com/free/"
        "dbip-country-lite-$(date +%Y-%m).mmdb.gz`, monthly: it's 61 days old",
    ),
    "country database of the wrong type": (
        countries(0, "GeoLite2-ASN"), countries(0), "country database", "FAIL", "GeoLite2-ASN",
    ),
    "country database not readable": (
        both(chmod("country.mmdb", 0o600), chown("country.mmdb", "root")),
        both(chmod("country.mmdb", 0o640), chown("country.mmdb", "service")),
        "country database", "FAIL", "can't be read",
    ),
    "database not writable by its owner": (
        chmod("pcc.db", 0o440), chmod("pcc.db", 0o640), "database rights", "FAIL", "chmod 0640",
    ),
    "logins without a domain never looked at": (
        lambda patient: patient.configure('[policy]\ndomains = ["example.org"]'),
        lambda patient: patient.configure(POLICY),
        "configuration", "WARN", "default_domain",
    ),
    "stuck outbox": (outbox(1000), empty("outbox"), "outbox", "WARN", "no route"),
    "cleanup never ran": (
        sighting(40 * DAY), empty("sighting"), "cleanup", "WARN", "for 10 days",
    ),
    "clock behind": (sighting(-1000), empty("sighting"), "clock", "WARN", "from now"),
    "pcc.toml changed since init": (
        lambda patient: patient.pcc.config.touch(),
        lambda patient: patient.configure(POLICY),
        "prepared configuration", "WARN", "init` and `postfix reload",
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
def test_check_of_the_state_is_turned_by_exactly_its_faults(patient: Patient, name: str) -> None:
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


def test_clock_that_was_never_set_is_found(tmp_path: Path) -> None:
    (tmp_path / "pcc.toml").write_text('store = { database = "pcc.db" }')
    config = Config(read_values(str(tmp_path / "pcc.toml")))
    for now, result in ((1000, "FAIL"), (1767225600, "OK")):
        seen, faults = look(config, user_of(0), now)
        found = {one.check: one for one in check_database(config, seen, faults, now)}
        clock = found["clock"]
        assert clock.result == result


@pytest.mark.postfix
def test_interpreter_out_of_reach_is_found(patient: Patient) -> None:
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
        python.write_text("neither a program nor a script")
        assert patient.turned()["interpreter"][1].startswith(f"mend {python}: ")
    finally:
        shutil.rmtree(private)


@pytest.mark.postfix
def test_copy_of_pcc_has_a_doctor_of_its_own(patient: Patient) -> None:
    other = public_folder("other")
    for name in ("pcc_policy.py", "schema.sql", "pcc"):
        run_as(["cp", "-a", patient.pcc.folder / name, other])
    master(f"{patient.pcc.folder}/pcc_policy.py", f"{other}/pcc_policy.py")(patient)
    patient.postfix.write_config()
    try:
        turned = patient.turned()
        assert list(turned) == ["master.cf entry"]
        assert turned["master.cf entry"][0] == "WARN"
        assert "run the doctor that is beside it" in turned["master.cf entry"][1]
    finally:
        shutil.rmtree(other)


@pytest.mark.postfix
def test_code_out_of_reach_is_found(patient: Patient) -> None:
    module = patient.pcc.folder / "pcc" / "verdict" / "case.py"
    module.chmod(0o600)
    try:
        turned = patient.turned()
        assert list(turned) == ["code"]
        assert str(module) in turned["code"][1]
    finally:
        module.chmod(0o644)


@pytest.mark.postfix
@pytest.mark.parametrize("user", ["root", "postfix"])
def test_state_folder_of_root_or_postfix_goes_to_the_service_user(
    patient: Patient, user: str
) -> None:
    chown(".", user)(patient)
    try:
        turned = patient.differing(patient.findings())
        assert list(turned) == ["service user"]
        assert turned["service user"] == (
            "FAIL",
            f"`chown -hR {patient.pcc.user}: {patient.pcc.state}`: the state folder belongs to"
            f" {user}, as whom spawn(8) does not run pcc",
        )
        follow(patient, turned["service user"][1])
        assert patient.turned() == {}
        assert patient.pcc.state.group() == patient.pcc.user
    finally:
        chown(".", "service")(patient)


@pytest.mark.postfix
def test_state_folder_is_looked_into_without_a_service_user(
    patient: Patient,
) -> None:
    chown(".", "root")(patient)
    country = patient.pcc.state / "country.mmdb"
    good = country.read_bytes()
    try:
        country.write_bytes(b"rubbish")
        turned = patient.differing(patient.findings())
        assert {name: result for name, (result, _) in turned.items()} == {
            "service user": "FAIL",
            "country database": "FAIL",
        }
    finally:
        country.write_bytes(good)
        chown(".", "service")(patient)


@pytest.mark.postfix
def test_service_user_is_made_where_none_is_named(patient: Patient) -> None:
    chown(".", "root")(patient)
    master(f"user={patient.pcc.user}", "user=root")(patient)
    patient.postfix.write_config()
    try:
        turned = patient.differing(patient.findings())
        assert list(turned) == ["service user", "master.cf entry"]
        made = "useradd --system" in turned["service user"][1]
        assert made == ("pcc" not in [entry.pw_name for entry in pwd.getpwall()])
        assert f"chown -hR pcc: {patient.pcc.state}" in turned["service user"][1]
        assert turned["master.cf entry"][1].startswith("write user=pcc in master.cf")
    finally:
        chown(".", "service")(patient)


@pytest.mark.postfix
def test_state_folder_that_is_missing_is_made(patient: Patient) -> None:
    moved = patient.pcc.state.with_name("moved")
    patient.pcc.state.rename(moved)
    try:
        findings = patient.findings()
        assert list(patient.differing(findings)) == ["state folder"]
        follow(patient, findings["state folder"][1])
        assert patient.differing(patient.findings()).keys() <= {"country database"}  # its age
        shutil.rmtree(patient.pcc.state)
        patient.pcc.state.touch()
        findings = patient.findings()
        assert list(patient.differing(findings)) == ["state folder"]
        follow(patient, findings["state folder"][1])
        assert patient.findings()["state folder"][1].startswith("`install")
    finally:
        if patient.pcc.state.exists():
            shutil.rmtree(patient.pcc.state)
        patient.pcc.state.with_name("state.away").unlink(missing_ok=True)
        moved.rename(patient.pcc.state)


@pytest.mark.postfix
def test_doctor_says_what_to_do_where_something_is_missing(
    patient: Patient, tmp_path: Path
) -> None:
    moved = patient.database.with_name("away")
    patient.database.rename(moved)
    try:
        turned = patient.turned()
        assert list(turned) == ["database"]
        assert f"run `{patient.init}`" in turned["database"][1]
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


@pytest.mark.postfix
def test_doctor_changes_nothing(patient: Patient) -> None:
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
                    "INSERT INTO event (id, at, account, what, who, detail)"
                    " VALUES (1, 1, '', '', '', '')"
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
