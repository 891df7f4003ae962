#!/usr/bin/python3
r"""Locks a blocked account in an LDAP directory, and unlocks it (package ldap-utils).

    lock_ldap.py URI BIND_DN PASSWORD_FILE BASE ATTRIBUTE

    lock_ldap.py ldap://127.0.0.1 cn=pcc,dc=example,dc=org /etc/pcc/ldap-password \
        ou=people,dc=example,dc=org mail

ATTRIBUTE holds the login: mail or uid, for example.  A word in front of each
userPassword locks the account.  BIND_DN needs the right to read and write userPassword below BASE.
PASSWORD_FILE holds the password without a line end, readable by pcc alone.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys

import incident


def run(*command: str, text: str = "") -> str:
    """Run a command with `text` on its stdin; return what it prints."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        incident.fail(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def encoded(text: str) -> str:
    """Return a value in LDIF's base64."""
    return base64.b64encode(text.encode()).decode()


def entries(ldif: str) -> list[tuple[str, list[str]]]:
    """Return each entry's name and passwords."""
    found: list[tuple[str, list[str]]] = []
    for line in ldif.splitlines():
        match = re.fullmatch(r"(dn|userPassword)(::?) (.*)", line)
        if match:
            plain = match[2] == ":"
            value = match[3] if plain else base64.b64decode(match[3]).decode()
            if match[1] == "dn":
                found.append((value, []))
            else:
                found[-1][1].append(value)
    return found


def main(uri: str, name: str, password_file: str, base: str, attribute: str) -> None:
    """Lock or unlock the account of the incident on stdin."""
    event = incident.read()
    account = event["account"]
    server = ("-x", "-H", uri, "-D", name, "-y", password_file, "-o", "nettimeout=10")
    # RFC 4515: each byte of a value may be written in this way.
    wanted = "".join(f"\\{byte:02x}" for byte in account.encode())
    layout = ("-LLL", "-o", "ldif-wrap=no")
    search = ("ldapsearch", *server, *layout, "-b", base)
    found = entries(run(*search, f"({attribute}={wanted})", "userPassword"))
    if not found:
        incident.fail(f"no entry below {base} has the {attribute} {account!r}")
    changes = ""
    for entry, passwords in found:
        for old in passwords:
            new = incident.changed(old, lock=event["blocked"])
            if new != old:
                # The old value is named, so that a password that was changed meanwhile survives.
                changes += f"dn:: {encoded(entry)}\nchangetype: modify\n"
                changes += f"delete: userPassword\nuserPassword:: {encoded(old)}\n-\n"
                changes += f"add: userPassword\nuserPassword:: {encoded(new)}\n-\n\n"
    if changes:
        run("ldapmodify", *server, text=changes)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
