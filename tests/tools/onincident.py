"""Runs the commands of examples/on-incident as pcc does, with an incident on stdin."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from checkout import ROOT

ACCOUNT = "joe@example.org"
ON_INCIDENT = ROOT / "examples" / "on-incident"

BLOCKED = {
    "what": "blocked",
    "account": ACCOUNT,
    "blocked": True,
    "rule": "max_countries 3 in 2d",
    "countries": ["ES", "FR", "BR", "VN"],
    "client_address": "45.4.3.2",
    "by": "pcc",
}
UNBLOCKED: dict[str, Any] = {"what": "unblocked", "blocked": False, "by": "alice"}
OBSERVED: dict[str, Any] = {"what": "observed", "blocked": False}


def run(
    script: str, *arguments: str, before: tuple[str, ...] = (), **changes: Any
) -> subprocess.CompletedProcess[str]:
    """Run a script with BLOCKED, these keys changed, on its stdin."""
    return subprocess.run(
        [*before, sys.executable, str(ON_INCIDENT / script), *arguments],
        input=json.dumps({**BLOCKED, **changes}) + "\n",
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=60,
    )


def carried_out(script: str, *arguments: str, before: tuple[str, ...] = (), **changes: Any) -> None:
    """Run a script that succeeds and says nothing."""
    done = run(script, *arguments, before=before, **changes)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
