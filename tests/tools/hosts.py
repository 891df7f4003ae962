"""Hosts that share a server, each with a file of its own in front of it, and a follower."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from checkout import NO_NETWORKS, Site, address, is_pass

from pcc.store.engine.creation import create_or_upgrade

USER = "joe@example.org"


class Host(Site):
    """A host with its own file in front of the server."""

    def __init__(self, folder: Path, url: str, policy: str = "", more: str = "", store: str = ""):
        folder.mkdir()
        self.server_url = url
        places = f'[country]\ndatabase = "country.mmdb"\n{NO_NETWORKS}'
        text = f'{places}[store]\ndatabase = "{url}"\n{store}'
        super().__init__(folder, f"max_countries = 3\nfamiliar_after = 0\n{policy}\n{text}\n{more}")

    def _init(self) -> None:
        super()._init()
        self.file = self.folder / "pcc.host"
        create_or_upgrade(str(self.file))

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Look into the host's own file."""
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()

    def age(self) -> float:
        """Seconds since the stamp of the file."""
        rows = self.rows("SELECT at FROM followed")
        return time.time() - (rows[0][0] if rows else 0)

    def follow(self) -> None:
        """Start the follower, by a mail that the server is asked about."""

        def follows() -> bool:  # not that of one that was killed a moment ago
            assert is_pass(self.ask("warm-up@example.org", address("ES")))
            return bool(self.followers()) and self.age() < 1

        wait_for(follows, 30)

    def knows(self, account: str = USER, country: str = "ES") -> bool:
        """Whether the file has a place of an account, for a repeat."""
        query = "SELECT 1 FROM sighting WHERE account = ? AND address = ? AND repeats_until > 0"
        return bool(self.rows(query, account, address(country)))

    def has_block(self, account: str = USER) -> bool:
        """Whether the file has a block of an account."""
        return bool(self.rows("SELECT 1 FROM account WHERE account = ? AND incident > 0", account))

    def followers(self) -> list[int]:
        """The follower's process, and its children."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"follower.main" in b" ".join(words) and str(self.config).encode() in words:
                    found.append(int(path.parent.name))
        return found

    def signal_follower(self, number: int) -> None:
        """Send a signal to the follower, and to its children."""
        for pid in self.followers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def close(self) -> None:
        """End what was started, the follower as well."""
        super().close()
        self.signal_follower(signal.SIGKILL)


def wait_for(is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come to be so"
        time.sleep(0.02)
