"""Plays a recorded submission session through pcc_policy.py, as spawn(8) would run it.

    .venv/bin/python examples/session.py

Everything happens in a temporary folder, on the bundled country database.  The recorded
requests of examples/session.txt go over one socket, which is the process's stdin, stdout
and stderr.  The program prints each mail with its action, and then `pcc_admin.py list`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "examples" / "session.txt"

CONFIG = """\
[[limit]]
max_countries = 2
window = "1h"

[country]
database = "country.mmdb"

[store]
database = "pcc.db"

[notify]
to = []
"""


def main() -> int:
    """Play the session; return an exit status."""
    with tempfile.TemporaryDirectory(prefix="pcc-") as folder:
        config = Path(folder, "pcc.toml")
        config.write_text(CONFIG, encoding="utf-8")
        admin = [sys.executable, str(ROOT / "pcc_admin.py"), "--config", str(config)]
        subprocess.run([*admin, "init"], check=True, stdout=subprocess.DEVNULL)
        play(config, admin)
        print("\n$ pcc_admin.py list", flush=True)
        return subprocess.run([*admin, "list"], check=False).returncode


def play(config: Path, admin: list[str]) -> None:
    """Send each recorded request, and show what it was about and its action."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-I", "-S", str(ROOT / "pcc_policy.py"), "--config", str(config)]
    with theirs:
        fd = theirs.fileno()
        process = subprocess.Popen(command, stdin=fd, stdout=fd, stderr=fd)
    print(f"{'ACCOUNT':<22}{'CLIENT ADDRESS':<22}{'COUNTRY':<9}ACTION")
    with ours, ours.makefile("rb") as replies:
        for request in RECORDED.read_text(encoding="utf-8").strip().split("\n\n"):
            attributes = dict(line.split("=", 1) for line in request.strip().splitlines())
            ours.sendall(request.strip().encode() + b"\n\n")
            action = replies.readline().decode().strip().removeprefix("action=")
            replies.readline()
            show(attributes, action, config)
    process.wait()


def show(attributes: dict[str, str], action: str, config: Path) -> None:
    """Print a line about a mail."""
    sys.path.insert(0, str(ROOT))
    from pcc.address import packed_address
    from pcc.places.lookup import Lookup

    lookup = Lookup(str(config.with_name("country.mmdb")), "", "", print)
    packed = packed_address(attributes["client_address"])
    country = (lookup.country(packed) if packed else "") or "-"
    login = attributes["sasl_username"] or "-"
    print(f"{login:<22}{attributes['client_address']:<22}{country:<9}{action}")


if __name__ == "__main__":
    sys.exit(main())
