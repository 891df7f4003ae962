#!/usr/bin/env python3
"""The administrator's command: see `pcc_admin.py --help` and README.md."""

import os
import sys
from importlib.util import find_spec

FOLDER = os.path.dirname(os.path.realpath(__file__))
OWN_PYTHON = os.path.join(FOLDER, ".venv", "bin", "python")

# So that it works by its name alone, where its packages are only in .venv.
if find_spec("tomli") is None:
    if os.path.realpath(sys.prefix) == os.path.join(FOLDER, ".venv") or not os.path.exists(
        OWN_PYTHON
    ):
        sys.exit(
            f"pcc_admin.py: the packages that it needs are not in {FOLDER}/.venv: "
            "run `make venv`, or `make install` again"
        )
    os.execv(OWN_PYTHON, [OWN_PYTHON, *sys.argv])  # noqa: S606

sys.path.insert(0, FOLDER)

from pcc.admin.program import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
