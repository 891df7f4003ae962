#!/usr/bin/env python3
"""Postfix policy server for spawn(8): reads requests on stdin, writes actions to stdout.

    pcc_policy.py [-c FILE | --config FILE]

See README.md and pcc/service.py.
"""

import os
import sys

# Under spawn(8) descriptor 2 is the SMTP server's socket, too: whatever is
# written there would be taken for a reply.
if not os.isatty(2):
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)

# `python -I` leaves the script's own folder out of the path.
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from pcc.service import main

main(sys.argv)
