"""The bare SQLite writer: one upsert per mail before the reply, in a fair order, nothing else.

    sqlite_writer.py DATABASE

A policy that writes down every mail and decides nothing, as a floor for the costs.
"""

import os
import sys
from _sqlite3 import connect
from fcntl import LOCK_EX, LOCK_UN, flock

path = sys.argv[1]
database = connect(path, isolation_level=None, timeout=10)
database.execute("PRAGMA synchronous = NORMAL")
lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
flock(lock, LOCK_EX)
database.execute("PRAGMA journal_mode = WAL")  # which does not wait for others
database.execute(
    "CREATE TABLE IF NOT EXISTS mail (account, address, mails, PRIMARY KEY (account, address))"
    " WITHOUT ROWID"
)
flock(lock, LOCK_UN)

left = b""
while data := os.read(0, 65536):
    *requests, left = (left + data).split(b"\n\n")
    for request in requests:
        attributes = dict([line.split(b"=", 1) for line in request.split(b"\n")])
        flock(lock, LOCK_EX)
        database.execute("BEGIN IMMEDIATE")
        database.execute(
            "INSERT INTO mail VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET mails = mails + 1",
            (attributes[b"sasl_username"], attributes[b"client_address"]),
        )
        database.execute("COMMIT")
        flock(lock, LOCK_UN)
        os.write(1, b"action=DUNNO\n\n")
