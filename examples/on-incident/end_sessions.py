#!/usr/bin/python3
"""Ends the Dovecot sessions of a blocked account, and empties its place in the auth cache.

    end_sessions.py [doveadm's options, such as -c FILE]

Lock the account first: otherwise the thief logs in again.  When the account is unblocked, only the
cache is emptied, so that the password is valid at once.  It needs root: see sudoers in this folder.
"""

from __future__ import annotations

import subprocess
import sys

import incident

NO_SESSION = 68  # doveadm's status where there is nothing to kick


def main(*options: str) -> None:
    """Deal with the account of the incident on stdin."""
    event = incident.read()
    account = event["account"]
    if set("*?") & set(account):
        incident.fail(f"{account!r} would be a pattern to doveadm")
    doveadm = ("doveadm", *options)
    for words in ["auth cache flush", "kick"] if event["blocked"] else ["auth cache flush"]:
        command = [*doveadm, *words.split(), "--", account]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, NO_SESSION):
            incident.fail(f"doveadm {words}: {done.stderr.strip()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
