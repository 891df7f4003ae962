"""The pcc that is measured: a copy of the checkout, byte-compiled, in a temporary folder.

A copy, so that an edit during a long run changes nothing, and so that nothing is left behind.  Each
Site is a configuration with databases of its own for the one copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.load import Argv

CHECKOUT = Path(__file__).resolve().parent.parent
PRODUCT = ("pcc_policy.py", "pcc_admin.py", "schema.sql", "pcc", "data")

INTERPRETER = [sys.executable, "-I", "-S"]
"""As master.cf.snippet has it."""

BARE = [*INTERPRETER, "-c", "pass"]
NULL_POLICY = [*INTERPRETER, str(CHECKOUT / "benchmarks" / "null_policy.py")]

LAST_CHECKPOINT_SECONDS = 10
"""A checkpoint begun before a site is removed ends sooner than that."""

SHIPPED = (CHECKOUT / "pcc.toml").read_text(encoding="utf-8")
FILES_OF_PLACES = ("country.mmdb", "networks.mmdb", "hosting.txt")


SYSTEM_LOG = Path("/dev/log")


@contextlib.contextmanager
def system_log() -> Iterator[None]:
    """Take what is logged within it, where nothing else does, as in most containers.

    Without a log a line costs a process 16 system calls in place of one.
    """
    if SYSTEM_LOG.exists() or os.geteuid():
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(SYSTEM_LOG))
        try:
            SYSTEM_LOG.chmod(0o666)
            with subprocess.Popen(["cat"], stdin=log.fileno(), stdout=subprocess.DEVNULL) as reader:
                try:
                    yield
                finally:
                    reader.kill()
        finally:
            SYSTEM_LOG.unlink()


def configuration(more: str = "", folder: str = "") -> str:
    """Return the pcc.toml that we ship, with more limits, and its files in another folder.

    Without notices: what sends them is another process, after the reply.
    """
    text = SHIPPED
    changes = {'"/var/lib/pcc/': f'"{folder}', 'to = ["postmaster"]': "to = []"}
    for shipped, ours in changes.items():
        assert shipped in text
        text = text.replace(shipped, ours)
    return text + more


class Site:
    """A configuration and its databases."""

    def __init__(self, product: Path, folder: Path, limits: str = "") -> None:
        self._product = product
        self.folder = folder
        self.config = folder / "pcc.toml"
        self.database = folder / "pcc.db"
        self.config.write_text(configuration(limits), encoding="utf-8")

    def policy(self) -> Argv:
        """Return what spawn(8) would run."""
        return [*INTERPRETER, str(self._product / "pcc_policy.py"), "--config", str(self.config)]

    def admin(self, *arguments: str) -> Argv:
        """Return a command of the administrator's."""
        script = str(self._product / "pcc_admin.py")
        return [sys.executable, script, "--config", str(self.config), *arguments]

    def run(self, *arguments: str) -> Any:
        """Carry out a command of the administrator's; return its data, if any."""
        done = subprocess.run(
            [*self.admin(*arguments), "--json"], check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout or "null")

    def has(self, command: str) -> bool:
        """Whether there is such a command of the administrator's."""
        argv = self.admin(command, "--help")
        return not subprocess.run(argv, check=False, capture_output=True).returncode


class Installation:
    """The copy of the product, and the folder that all of a run is in."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pcc-bench-"))
        self._product = self.folder / "product"
        self._product.mkdir()
        self._sites = 0
        for name in PRODUCT:
            source = CHECKOUT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, self._product / name)
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", str(self._product / "pcc")], check=True
        )
        self.places = self._unpacked_places()

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Remove it all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def site(self, limits: str = "") -> Site:
        """Make a site with an empty database; `limits` are further ones, as TOML."""
        self._sites += 1
        folder = self.folder / f"site{self._sites}"
        folder.mkdir()
        for name in FILES_OF_PLACES:
            (folder / name).symlink_to(self.places / name)
        site = Site(self._product, folder, limits)
        site.run("init")
        return site

    def remove(self, site: Site) -> None:
        """Give the disk space of a site back.

        The program that shortens a long log may still be at work in the folder.
        """
        give_up = time.monotonic() + LAST_CHECKPOINT_SECONDS
        while site.folder.exists():
            shutil.rmtree(site.folder, ignore_errors=time.monotonic() < give_up)

    def sqlite_writer(self) -> Argv:
        """Return the bare SQLite writer, with a database of its own."""
        self._sites += 1
        database = self.folder / f"writer{self._sites}.db"
        return [*INTERPRETER, str(CHECKOUT / "benchmarks" / "sqlite_writer.py"), str(database)]

    def _unpacked_places(self) -> Path:
        """Return a folder with the bundled databases and list, as `init` unpacks them."""
        folder = self.folder / "places"
        folder.mkdir()
        Site(self._product, folder).run("init")
        return folder
