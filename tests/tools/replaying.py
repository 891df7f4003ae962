"""`pcc_admin.py replay` on logs that a test writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from checkout import ROOT, Site
from simulator import DAY, SentMail

START = 1_730_000_000 // DAY * DAY
"""An autumn day, at midnight UTC, longer ago than a year."""

FAMILIAR = "familiar_after = 1\n"
PLAIN = "familiar_after = 0\n"


def replay(site: Site, *arguments: str, text: bytes = b"", zone: str = "UTC") -> Any:
    """Return what replay says with --json, and what on stderr under "complaints"."""
    done = run(site, "--json", "replay", *arguments, text=text, zone=zone)
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "complaints": done.stderr.decode()}


def run(
    site: Site, *arguments: str, text: bytes = b"", zone: str = "UTC"
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(site.config), *arguments]
    environment = {**os.environ, "TZ": zone}
    return subprocess.run(
        command, input=text, capture_output=True, timeout=60, check=False, env=environment
    )


def hop(countries: str, at: int, account: str = "joe@example.org", gap: int = 60) -> list[SentMail]:
    """Return one mail from each country, `gap` seconds apart."""
    return [
        SentMail(at + number * gap, account, country, 1)
        for number, country in enumerate(countries.split())
    ]


def write(site: Site, name: str, text: str) -> str:
    path = site.folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)
