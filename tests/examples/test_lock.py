"""The commands that lock an account: a real Dovecot decides whether it may log in."""

from __future__ import annotations

import imaplib
import json
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from checkout import ROOT, Site, address, is_refusal
from deployment import public_folder
from dovecot import Dovecot, missing
from onincident import ACCOUNT, BLOCKED, OBSERVED, ON_INCIDENT, UNBLOCKED, carried_out, run
from servers import free_port, require, running

pytestmark = pytest.mark.subprocess

PASSWORD = "correct horse"
COLLEAGUE = "jo@example.org"
STRANGE = "o'brien%*@example.org"


def hashed(password: str) -> str:
    """Return a password as Dovecot's tables have it."""
    command = ["doveadm", "pw", "-s", "SHA512-CRYPT", "-p", password]
    return subprocess.check_output(command, text=True).strip()


class Place(NamedTuple):
    """Where passwords are: the script that locks there with its arguments, and Dovecot."""

    script: str
    arguments: tuple[str, ...]
    dovecot: Dovecot

    def hear(self, **changes: Any) -> None:
        """Run the script, and empty the auth cache as end_sessions.py does."""
        carried_out(self.script, *self.arguments, **changes)
        account = str(changes.get("account", ACCOUNT))
        carried_out("end_sessions.py", "-c", str(self.dovecot.config), account=account, **UNBLOCKED)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """A stack of servers, which stop after the test."""
    with ExitStack() as opened:
        yield opened


def sql_place(scheme: str, stack: ExitStack) -> Place:
    """Return a table as PostfixAdmin has it."""
    folder = public_folder("mailusers")
    statements = [
        "CREATE TABLE mailbox (username VARCHAR(255) PRIMARY KEY, password VARCHAR(255) NOT NULL)",
        *(
            "INSERT INTO mailbox VALUES ('{}', '{}')".format(
                account.replace("'", "''"), hashed(PASSWORD)
            )
            for account in (ACCOUNT, COLLEAGUE, STRANGE)
        ),
    ]
    if scheme == "sqlite":
        import sqlite3

        database = connect = str(folder / "mail.db")
        with sqlite3.connect(database) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
    else:
        server = running(scheme)
        url = server.new_database()
        name = url.partition("@/")[2].partition("?")[0]
        for statement in statements:
            server.execute(statement, name)
        if scheme == "mysql":
            socket = f"{server.folder}/socket"
            connect = f"host={socket} dbname={name} user=root"
            database = str(folder / "mail.cnf")
            Path(database).write_text(
                f"[client]\nsocket = {socket}\nuser = root\ndatabase = {name}\n"
            )
        else:
            connect = f"host={server.folder} port={server.port} dbname={name} user=postgres"
            database = f"postgresql://postgres@/{name}?host={server.folder}&port={server.port}"
    driver = {"postgresql": "pgsql"}.get(scheme, scheme)
    query = "SELECT username AS user, password FROM mailbox WHERE username = '%u'"
    dovecot = Dovecot("sql", f"driver = {driver}\nconnect = {connect}\npassword_query = {query}\n")
    stack.callback(dovecot.stop)
    return Place("lock_sql.py", (database, "mailbox", "username", "password"), dovecot)


def ldap_place(stack: ExitStack) -> Place:
    """Return a directory with an entry for each account."""
    folder = public_folder("directory")
    (folder / "data").mkdir()
    base, port = "dc=example,dc=org", free_port()
    (folder / "slapd.conf").write_text(
        "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine"))
        + "include /etc/ldap/schema/inetorgperson.schema\n"
        + "modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        + f'database mdb\nsuffix "{base}"\nrootdn "cn=pcc,{base}"\nrootpw secret\n'
        + f"directory {folder}/data\n"
    )
    uri = f"ldap://127.0.0.1:{port}"
    with open(folder / "log", "wb") as log:
        command = ["slapd", "-f", str(folder / "slapd.conf"), "-h", uri, "-d", "0"]
        slapd = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(slapd.wait, 20)
    stack.callback(slapd.terminate)
    (folder / "password").write_text("secret")
    ldif = f"dn: {base}\nobjectClass: domain\ndc: example\n\n"
    for number, account in enumerate((ACCOUNT, COLLEAGUE, STRANGE)):
        ldif += (
            f"dn: cn={number},{base}\nobjectClass: inetOrgPerson\nsn: x\nmail: {account}\n"
            f"userPassword: {hashed(PASSWORD).replace('{SHA512-CRYPT}', '{CRYPT}')}\n\n"
        )
    who = ("-x", "-H", uri, "-D", f"cn=pcc,{base}", "-y", str(folder / "password"))
    deadline = time.monotonic() + 20
    add = ["ldapadd", *who]
    # 255: it does not listen yet.
    while (done := subprocess.run(add, input=ldif.encode(), capture_output=True)).returncode == 255:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)
    assert done.returncode == 0, done.stderr
    dovecot = Dovecot(
        "ldap",
        f"uris = {uri}\ndn = cn=pcc,{base}\ndnpass = secret\nbase = {base}\n"
        "pass_attrs = userPassword=password\npass_filter = (mail=%u)\n",
    )
    stack.callback(dovecot.stop)
    arguments = (uri, f"cn=pcc,{base}", str(folder / "password"), base, "mail")
    return Place("lock_ldap.py", arguments, dovecot)


@pytest.fixture(params=["sqlite", "postgresql", "mysql", "ldap"])
def place(request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    """Each kind of place that passwords are in."""
    require(missing())
    if request.param == "ldap":
        gone = [name for name in ("slapd", "ldapadd") if not shutil.which(name)]
        require(f"{gone[0]} is not installed" if gone else "")
        return ldap_place(stack)
    return sql_place(request.param, stack)


def test_lock_keeps_one_account_out_until_it_is_unblocked(place: Place) -> None:
    takes = place.dovecot.takes
    assert takes(ACCOUNT, PASSWORD)
    place.hear()
    place.hear()  # as after another command that failed
    assert not takes(ACCOUNT, PASSWORD)
    assert takes(COLLEAGUE, PASSWORD)
    place.hear(**UNBLOCKED)
    place.hear(**UNBLOCKED)
    assert takes(ACCOUNT, PASSWORD)


def test_lock_leaves_an_observed_account_alone(place: Place) -> None:
    place.hear(**OBSERVED)
    assert place.dovecot.takes(ACCOUNT, PASSWORD)


def test_lock_goes_by_the_state_now(place: Place) -> None:
    place.hear(what="blocked", blocked=False)
    assert place.dovecot.takes(ACCOUNT, PASSWORD)
    place.hear(what="unblocked", blocked=True)
    assert not place.dovecot.takes(ACCOUNT, PASSWORD)


def test_lock_takes_a_login_for_nothing_but_a_login(place: Place) -> None:
    carried_out(place.script, *place.arguments, account=STRANGE)
    assert place.dovecot.takes(ACCOUNT, PASSWORD)
    for account in ("*", "%", "x' OR 'a' = 'a", "*)(mail=*", "nobody@example.org"):
        done = run(place.script, *place.arguments, account=account)
        assert done.returncode == 1
        assert account in done.stderr.replace('"', "'").replace("\\'", "'"), done.stderr
    assert place.dovecot.takes(ACCOUNT, PASSWORD)


@pytest.fixture
def user(stack: ExitStack) -> str:
    """A user of this system, for the time of a test."""
    require(missing())
    name = "pcc-joe"
    with pytest.raises(KeyError):
        pwd.getpwnam(name)
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/false", name], check=True)
    stack.callback(subprocess.run, ["userdel", name], check=True)
    subprocess.run(["chpasswd"], input=f"{name}:{PASSWORD}\n", text=True, check=True)
    return name


def test_passwd_locks_a_user_of_the_system(user: str, stack: ExitStack) -> None:
    dovecot = Dovecot("shadow", "")
    stack.callback(dovecot.stop)
    place = Place("lock_passwd.py", ("example.org",), dovecot)
    assert dovecot.takes(user, PASSWORD)
    place.hear(account=f"{user}@example.net")  # somebody else
    assert dovecot.takes(user, PASSWORD)
    place.hear(account=f"{user}@example.org")
    carried_out("end_sessions.py", "-c", str(dovecot.config), account=user, **UNBLOCKED)
    assert not dovecot.takes(user, PASSWORD)
    carried_out("lock_passwd.py", "example.org", account=user, **UNBLOCKED)
    carried_out("end_sessions.py", "-c", str(dovecot.config), account=user, **UNBLOCKED)
    assert dovecot.takes(user, PASSWORD)


def test_passwd_never_locks_root(user: str) -> None:
    done = run("lock_passwd.py", "example.org", account="root@example.org")
    assert (done.returncode, done.stderr) == (
        1,
        "lock_passwd.py: root is a user of the system's own\n",
    )


def test_sessions_of_a_blocked_account_end(stack: ExitStack) -> None:
    require(missing())
    place = sql_place("sqlite", stack)
    config = ("-c", str(place.dovecot.config))
    thief = place.dovecot.login(ACCOUNT, PASSWORD)
    colleague = place.dovecot.login(COLLEAGUE, PASSWORD)
    carried_out("end_sessions.py", *config, **OBSERVED)
    assert thief.noop()[0] == "OK"
    carried_out(place.script, *place.arguments)
    done = run("end_sessions.py", *config)
    assert (done.returncode, done.stderr) == (0, "")
    thief.sock.settimeout(20)
    with pytest.raises((imaplib.IMAP4.abort, OSError)):
        list(iter(thief.noop, None))  # the session ends by a signal
    assert not place.dovecot.takes(ACCOUNT, PASSWORD)  # although its login was in the cache
    assert colleague.noop()[0] == "OK"
    colleague.logout()
    assert run("end_sessions.py", *config).returncode == 0  # there is none any more
    assert run("end_sessions.py", *config, account="*@example.org").returncode == 1


def test_lock_says_in_one_sentence_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "mail.cnf"
    done = run("lock_sql.py", str(file), "mailbox", "username", "password")
    why = f"lock_sql.py: {file} is missing, or this user may not read it\n"
    assert (done.returncode, done.stderr) == (1, why)
    file.touch()
    script = [str(ON_INCIDENT / "lock_sql.py"), str(file), "mailbox", "username", "password"]
    without_packages = [sys.executable, "-S", *script]
    done = subprocess.run(
        without_packages, input=json.dumps(BLOCKED), capture_output=True, text=True, check=False
    )
    assert done.stderr == "lock_sql.py: pymysql is missing: install python3-pymysql\n"


def test_sudoers_takes_the_lines_for_the_commands_that_need_root() -> None:
    require("" if shutil.which("visudo") else "sudo is not installed")
    command = ["visudo", "-c", "-f", str(ON_INCIDENT / "sudoers")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def documented_keys() -> set[str]:
    """Return the keys of an incident that the guide has in its table."""
    guide = (ROOT / "docs" / "on-incident.md").read_text()
    section = guide.partition("## The incident as JSON")[2]
    table = section.partition("|---|---|\n")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}


def test_script_of_all_commands_runs_each_although_one_fails(tmp_path: Path) -> None:
    """All the way from the crossing mail: pcc's notifier starts the commands."""
    said = tmp_path / "said"
    for name, status in (("one", 1), ("two", 0)):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho {name} $1 "$(cat)" >>{said}\nexit {status}\n')
        script.chmod(0o755)
    words = [str(ON_INCIDENT / "all.sh"), f"{tmp_path}/one a", f"{tmp_path}/two b"]
    site = Site(
        tmp_path,
        "max_countries = 1\nfamiliar_after = 0\n"
        f"[notify]\nto = []\ncommand = {json.dumps(words)}\n",
    )
    assert site.ask(ACCOUNT, address("ES")) == "DUNNO"
    assert is_refusal(site.ask(ACCOUNT, address("FR")))
    deadline = time.monotonic() + 20
    while not (said.exists() and "two" in said.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    one, two = said.read_text().splitlines()
    assert (one[:6], two[:6]) == ("one a ", "two b ")
    event = json.loads(two[6:])
    assert (event["what"], event["account"], event["blocked"]) == ("blocked", ACCOUNT, True)
    assert one[6:] == two[6:]
    assert set(event) | {"travel"} == documented_keys()
    done = site.admin("notify")
    assert done.returncode == 1
    assert len(said.read_text().splitlines()) == 4
