#!/usr/bin/python3
"""Locks a blocked account that is a user of this system (/etc/shadow), and unlocks it.

    lock_passwd.py DOMAIN

Only accounts of DOMAIN, or without a domain, are users of the system.  A word in front of the
password locks it, as `usermod -L` does with one character.  It needs root: see sudoers in this
folder.  root and the system's own users (below 1000) are never locked.
"""

from __future__ import annotations

import pwd
import subprocess
import sys

import incident


def main(domain: str) -> None:
    """Lock or unlock the account of the incident on stdin."""
    event = incident.read()
    user, _, of = event["account"].partition("@")
    if of not in ("", domain):
        return
    try:
        if pwd.getpwnam(user).pw_uid < 1000:
            incident.fail(f"{user} is a user of the system's own")
    except KeyError:
        incident.fail(f"there is no user {user!r}")
    with open("/etc/shadow", encoding="utf-8") as shadow:
        passwords = [line.split(":")[1] for line in shadow if line.startswith(f"{user}:")]
    if not passwords:
        incident.fail(f"/etc/shadow has no user {user!r}")
    new = incident.changed(passwords[0], lock=event["blocked"])
    if new != passwords[0]:
        subprocess.run(["chpasswd", "-e"], input=f"{user}:{new}\n", text=True, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
