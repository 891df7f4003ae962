#!/usr/bin/python3
"""Puts the address of the crossing mail into an nftables set for a day, and takes it out again.

    block_address.py [SECONDS]

The set belongs to pcc.nft in this folder.  An IPv6 address stands for its /64.  Behind one address
there may be many people, those of a mobile provider for instance: prefer a short time.  Addresses
that are not public are left alone.  It needs root: see sudoers in this folder.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys

import incident


def nft(*words: str, may_fail: bool = False) -> bool:
    """Return whether this command of nft succeeded."""
    done = subprocess.run(["nft", *words], capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        incident.fail(f"nft: {done.stderr.strip()}")
    return done.returncode == 0


def main(seconds: int = 86400) -> None:
    """Block or unblock the address of the incident on stdin."""
    event = incident.read()
    if not event["client_address"]:  # blocked by hand
        return
    address = ipaddress.ip_address(event["client_address"])
    if not address.is_global:
        return
    place = str(address)
    if address.version == 6:
        place = str(ipaddress.ip_network(f"{address}/64", strict=False))
    element = ("element", "inet", "pcc", f"blocked{address.version}")
    is_there = nft("get", *element, f"{{ {place} }}", may_fail=True)
    if event["blocked"] and not is_there:
        nft("add", *element, f"{{ {place} timeout {seconds}s }}")
    elif is_there and not event["blocked"]:
        nft("delete", *element, f"{{ {place} }}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
