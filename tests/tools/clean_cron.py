"""An hour of a clean system's cron; tests/tools/clean_debian.py runs it inside, by its Python.

    clean_cron.py ACCOUNT

The account is blocked, and its mail held.  Starts Postfix, sends one, and lifts the block while no
notice can be sent, so that one waits.  Decides about the held mail as another host would have, and
makes a country last seen too long ago.  Then cron(8) runs for up to 75 seconds, until all of that
is dealt with.  The last line of its output is JSON of what happened.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from clean_session import admin, answer, listen_to_log, mailbox, raise_loopback

SECONDS = 75


DATABASE = "/var/lib/pcc/pcc.db"

AGO = """
    UPDATE held SET state = 'to release' WHERE account = :account;
    UPDATE sighting SET last_seen = last_seen - 40 * 86400 WHERE account = :account;
"""


def main(account: str) -> None:
    raise_loopback()
    log = listen_to_log()
    subprocess.run(["postfix", "start"], check=True, stdout=sys.stderr)
    held = answer(account, "90.77.1.1")
    Path("/var/mail/root").unlink(missing_ok=True)
    unblocked = unblock_in_silence(account)
    for statement in AGO.split(";")[:-1]:
        execute(statement, account=account)
    waiting = admin("stats")["outbox"]
    seconds = run_cron(account)
    result = {
        "held": held,
        "unblocked": unblocked,
        "waiting": waiting,
        "seconds": seconds,
        "mailbox": mailbox(),
        "mailboxes": sorted(os.listdir("/var/mail")),
        "left": admin("stats")["outbox"],
        "sightings": admin("show", account)["sightings"],
        "log": log,
    }
    subprocess.run(["postfix", "stop"], check=True, stdout=sys.stderr)
    print(json.dumps(result))


def unblock_in_silence(account: str) -> str:
    """Lift a block when the mail system does not take notices; return what is complained."""
    text = Path("/etc/pcc/pcc.toml").read_text()
    broken = Path("/tmp/pcc.toml")
    broken.write_text(text.replace('"/usr/sbin/sendmail"', '"/bin/false"'))
    command = ["pcc_admin.py", "--config", str(broken), "unblock", account]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def execute(statement: str, **values: str) -> list[Any]:
    with closing(sqlite3.connect(DATABASE)) as database, database:
        return database.execute(statement, values).fetchall()


def run_cron(account: str) -> float:
    """Run cron until all is done; return how many seconds that took."""
    began = time.monotonic()
    cron = subprocess.Popen(["cron", "-f"])
    while not all_is_done(account) and time.monotonic() < began + SECONDS:
        time.sleep(0.2)
    seconds = time.monotonic() - began
    # A mail of what its commands printed has arrived by then.
    time.sleep(2)
    cron.terminate()
    cron.wait()
    return seconds


def all_is_done(account: str) -> bool:
    """Whether the notice and the held mail have arrived, and the old row has gone."""
    arrived = "[pcc]" in mailbox() and mailbox().count("\nSubject: ") >= 2
    return arrived and not execute("SELECT * FROM sighting WHERE account = :a", a=account)


if __name__ == "__main__":
    main(*sys.argv[1:])
