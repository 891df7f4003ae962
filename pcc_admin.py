#!/usr/bin/env python3
"""The administrator's command: see `pcc_admin.py --help` and README.md."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from pcc.admin import main

sys.exit(main(sys.argv[1:]))
