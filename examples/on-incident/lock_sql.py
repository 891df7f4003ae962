#!/usr/bin/python3
"""Locks a blocked account in the SQL table that Dovecot or saslauthd reads, and unlocks it.

    lock_sql.py DATABASE TABLE LOGIN_COLUMN PASSWORD_COLUMN

    DATABASE   postgresql://...   a URL of libpq (package python3-psycopg2)
               /etc/pcc/mail.cnf  MariaDB's or MySQL's option file (package python3-pymysql)
               mail.db, .sqlite   an SQLite file

A word in front of the password locks it.  So the account still receives mail, which it would not
with `active = 0` in PostfixAdmin's table.  The word needs 38 characters more in the column.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import incident


def connect(database: str) -> tuple[Any, str]:
    """Return a connection, and how its driver marks a value in a statement."""
    if database.startswith(("postgresql:", "postgres:")):
        import psycopg2

        return psycopg2.connect(database, connect_timeout=10), "%s"
    if not os.access(database, os.R_OK):
        incident.fail(f"{database} is missing, or this user may not read it")
    if database.endswith((".cnf", ".my.cnf")):
        import pymysql

        return pymysql.connect(read_default_file=database, connect_timeout=10), "%s"
    import sqlite3

    # As a URI that does not create the file.
    return sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=10), "?"


def main(database: str, table: str, login: str, password: str) -> None:
    """Lock or unlock the account of the incident on stdin."""
    for name in (table, login, password):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
            incident.fail(f"{name} is no name of a table or column")
    event = incident.read()
    account = event["account"]
    try:
        connection, value = connect(database)
    except ImportError as error:
        incident.fail(f"{error.name} is missing: install python3-{error.name}")
    cursor = connection.cursor()
    cursor.execute(f"SELECT {password} FROM {table} WHERE {login} = {value}", (account,))
    rows = cursor.fetchall()
    if not rows:
        incident.fail(f"{table} has no {login} {account!r}")
    for (old,) in rows:
        new = incident.changed(old, lock=event["blocked"])
        # A password that was changed meanwhile is left alone, and seen when pcc tries again.
        change = f"UPDATE {table} SET {password} = {value}"
        where = f" WHERE {login} = {value} AND {password} = {value}"
        cursor.execute(change + where, (new, account, old))
        if new != old and cursor.rowcount < 1:
            incident.fail(f"the password of {account!r} was changed at the same time")
    connection.commit()
    connection.close()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
