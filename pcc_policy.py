#!/usr/bin/env python3
"""Postfix policy server for spawn(8): reads requests on stdin, writes actions to stdout.

    pcc_policy.py [-c FILE | --config FILE]

See README.md and pcc/service.py.
"""

import posix  # what `os` adds to it would cost a tenth of the interpreter's start
import sys

# Under spawn(8) descriptor 2 is also the SMTP server's socket: any text written there would be
# taken for a reply.
if not posix.isatty(2):
    posix.dup2(posix.open("/dev/null", posix.O_RDWR), 2)


def folder_of(script: str) -> str:
    """Return the folder where the script really is; links to it are followed."""
    folder = script.rpartition("/")[0] or "."
    try:
        target = posix.readlink(script)
    except OSError:
        return folder
    return folder_of(target if target.startswith("/") else f"{folder}/{target}")


# `python -I` leaves the script's own folder out of the path.
sys.path.insert(0, folder_of(__file__))

from pcc.service import main  # noqa: E402

main(sys.argv)
