"""`pcc_admin.py replay` on logs that a test writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from checkout import COUNTRIES, NETWORKS, NO_NETWORKS, ROOT, Site
from mmdb import write_database
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


BLOCK = 4096
"""Addresses of a network, in tests of networks."""

HOSTING = 4
"""In each country the network from this one on are of hosting providers."""


def network(mail: SentMail) -> str:
    """Return the network that a mail is from, by the database of configure_networks()."""
    return f"AS{64500 + 16 * COUNTRIES.index(mail.country) + mail.host // BLOCK}"


def is_hosting(mail: SentMail) -> bool:
    """Whether a mail is from a hosting network."""
    return mail.host // BLOCK >= HOSTING


def configure_networks(site: Site, toml: str) -> None:
    """Write the configuration, with a network database and a hosting list."""
    records = {}
    hosting = []
    for index, net in enumerate(NETWORKS):
        for block in range(16):
            number = 64500 + 16 * index + block
            prefix = net.removesuffix("0.0/16")
            records[f"{prefix}{16 * block}.0/20"] = {
                "autonomous_system_number": number,
                "autonomous_system_organization": f"Network {number}",
            }
            if block >= HOSTING:
                hosting.append(f"{number} # Network {number}\n")
    write_database(site.folder / "networks.mmdb", records, "GeoLite2-ASN")
    (site.folder / "hosting.txt").write_text("".join(hosting), encoding="ascii")
    site.configure(toml)
    text = site.config.read_text(encoding="utf-8")
    files = 'networks = "networks.mmdb"\nhosting = "hosting.txt"\n'
    site.config.write_text(text.replace(NO_NETWORKS, files), encoding="utf-8")
