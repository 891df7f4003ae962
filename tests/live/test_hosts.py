"""Two hosts, each with a Postfix and a pcc of its own, that share one PostgreSQL.

A thief who alternates between them is stopped at the same mail as on one, and held mail waits on
the host that held it.
"""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
import servers
from checkout import NETWORKS, address
from deployment import deploy
from mmdb import write_country_database
from postfix import Policy, PrivatePostfix, wait_until
from servers import PASSWORD, PostgreSQL
from smtp import Session

pytestmark = pytest.mark.postfix

THIEF = "thief@example.org"
CONFIG = """\
[policy]
action = "HOLD"
max_countries = 3
familiar_after = 0

[country]
database = "state/country.mmdb"
networks = ""
hosting = ""

[store]
database = "{url}"
host = "{name}"

[notify]
to = ["postmaster"]
from = "pcc@example.org"
"""


class Host:
    """A deployment with its own Postfix."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.pcc = deploy()
        self.pcc.write_config(CONFIG.format(url=url, name=name))
        write_country_database(self.pcc.state / "country.mmdb", NETWORKS)
        (self.pcc.state / "country.mmdb").chmod(0o644)
        done = self.pcc.admin("init", user=self.pcc.user)
        assert done.returncode == 0, done.stderr
        self.mta = PrivatePostfix(
            Policy(self.pcc.policy_argv(), ("data",)), main={"myhostname": name}
        )
        self.mta.start()

    def admin(self, *arguments: str, status: int = 0) -> str:
        """Run pcc_admin.py as root; return what it printed."""
        done = self.pcc.admin(*arguments, environment={"MAIL_CONFIG": str(self.mta.config)})
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout

    def send(self, country: str) -> str:
        """Send a mail of the thief's; return its queue id."""
        with Session(self.mta.submission) as session:
            session.xclient(THIEF, address(country))
            reply = session.mail(THIEF, ["recipient@example.net"])
        assert reply.accepted, reply
        return reply.queue_id

    def has_block(self) -> bool:
        """Whether the host's own file has a block."""
        path = f"file:{self.pcc.state}/pcc.host?mode=ro"
        with closing(sqlite3.connect(path, uri=True)) as file:
            return bool(file.execute("SELECT 1 FROM account WHERE incident > 0").fetchall())

    def on_hold(self) -> set[str]:
        """The queue ids of the mails on hold here."""
        return {mail["queue_id"] for mail in self.mta.queue() if mail["queue_name"] == "hold"}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    if reason := servers.missing(PostgreSQL):
        pytest.skip(reason)
    made = PostgreSQL()
    yield made
    made.stop(signal.SIGINT)


@pytest.fixture(scope="module")
def hosts(server: PostgreSQL) -> Iterator[list[Host]]:
    url = server.new_database()
    made = [Host(name, url) for name in ("mx1.example.org", "mx2.example.org")]
    yield made
    for host in made:
        host.mta.stop()


def test_doctor_looks_at_the_database_as_the_service_user(hosts: list[Host]) -> None:
    host = hosts[0]
    done = host.pcc.admin("--json", "doctor", environment={"MAIL_CONFIG": str(host.mta.config)})
    findings = {row["check"]: row for row in json.loads(done.stdout)}
    for check in ("password", "database", "clock", "cleanup", "outbox"):
        assert findings[check]["result"] == "OK", findings[check]
    assert "file system" not in findings
    text = host.pcc.config.read_text()
    host.pcc.write_config(text.replace("//pcc@/", "//pcc:secret@nowhere.invalid/"))
    host.pcc.config.chmod(0o644)
    done = host.pcc.admin("--json", "doctor", environment={"MAIL_CONFIG": str(host.mta.config)})
    host.pcc.write_config(text)
    assert host.pcc.admin("init", user=host.pcc.user).returncode == 0
    findings = {row["check"]: row for row in json.loads(done.stdout)}
    assert findings["password"]["fix"].startswith(f"`chmod o-rwx {host.pcc.config}`")
    assert findings["database"]["result"] == "FAIL"
    assert "secret" not in done.stdout


def test_doctor_compares_what_the_hosts_have_in_their_configurations(hosts: list[Host]) -> None:
    first, second = hosts
    right = second.pcc.config.read_text()
    second.pcc.write_config(right.replace("max_countries = 3", "max_countries = 4"))
    try:
        assert second.pcc.admin("init", user=second.pcc.user).returncode == 0
        found = json.loads(first.admin("--json", "doctor", status=1))
        finding = {row["check"]: row for row in found}["other hosts"]
        assert finding["result"] == "FAIL"
        assert "on mx2.example.org, and run" in finding["fix"]
        assert finding["fix"].endswith("not policy.max_countries (3 here, 4 there)")
    finally:
        second.pcc.write_config(right)
        assert second.pcc.admin("cleanup", user=second.pcc.user).returncode == 0
    found = json.loads(first.pcc.admin("--json", "doctor").stdout)
    assert {row["check"]: row["result"] for row in found}["other hosts"] == "OK"


def test_doctor_as_the_service_user_looks_for_nothing_in_the_home_of_root(
    hosts: list[Host], server: PostgreSQL, tmp_path: Path
) -> None:
    host = hosts[0]
    (name,) = re.findall(r"//pcc@/(\w+)", host.url)
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO secret", name)
    text = host.pcc.config.read_text()
    encrypted = (
        f"//secret:{quote(PASSWORD, safe='')}@localhost:{server.port}/{name}?sslmode=require"
    )
    host.pcc.write_config(text.replace(host.url.partition(":")[2], encrypted))
    tmp_path.chmod(0o700)
    environment = {"MAIL_CONFIG": str(host.mta.config), "HOME": str(tmp_path)}
    done = host.pcc.admin("--json", "doctor", environment=environment)
    host.pcc.write_config(text)
    assert host.pcc.admin("init", user=host.pcc.user).returncode == 0
    (finding,) = [row for row in json.loads(done.stdout) if row["check"] == "database"]
    assert finding["result"] == "OK", finding


def notices(hosts: list[Host], count: int) -> list[str] | None:
    """Return the subjects of the notices that have arrived, None while there are too few."""
    found = [
        str(mail["Subject"])
        for host in hosts
        for mail in host.mta.delivered()
        if mail["X-Original-To"].startswith("postmaster")
    ]
    return sorted(found) if len(found) >= count else None


def test_thief_who_alternates_between_hosts_is_held_on_both_and_settled_on_each(
    hosts: list[Host],
) -> None:
    first, second = hosts
    for host, country in ((first, "ES"), (second, "FR"), (first, "BR")):
        host.send(country)
    assert not first.on_hold() | second.on_hold()
    held = [second.send("VN")]
    for host in hosts:
        wait_until(host.has_block, f"the block on {host.name}")
    held += [first.send("ES"), second.send("FR")]
    assert second.on_hold() == {held[0], held[2]}
    assert first.on_hold() == {held[1]}
    listed = json.loads(first.admin("--json", "held"))
    assert {row["queue_id"]: row["state"] for row in listed} == {
        held[0]: "on mx2.example.org",
        held[1]: "held",
        held[2]: "on mx2.example.org",
    }
    told = first.admin("unblock", THIEF, "--release")
    assert "1 held mail released." in told
    assert "2 held mails to release on mx2.example.org, by pcc_admin.py held --settle" in told
    assert first.on_hold() == set()
    assert second.on_hold() == {held[0], held[2]}
    assert first.admin("held", "--settle") == ""
    settled = json.loads(second.admin("--json", "held", "--settle"))
    assert settled == {
        "released": [held[0], held[2]],
        "deleted": [],
        "missing": [],
        "unsure": [],
    }
    assert second.on_hold() == set()
    assert second.admin("held", "--settle") == ""
    assert json.loads(second.admin("--json", "held")) == []
    arrived = [host.mta.wait_for_delivered for host in hosts]
    mails = [*arrived[0](3), *arrived[1](3)]
    recipients = [mail["X-Original-To"] for mail in mails]
    assert recipients.count("recipient@example.net") >= 5
    assert wait_until(lambda: notices(hosts, 2), "both notices") == [
        f"[pcc] {THIEF} blocked: mail from ES, FR, BR, VN within 2d",
        f"[pcc] {THIEF} unblocked by root: 1 held mail released",
    ]
