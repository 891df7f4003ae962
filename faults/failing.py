"""A disk that is full, or fails, from the nth write on, or once.

The same short session of mails is played again and again.  Each time the next change of a file
(write, truncation, sync) fails, until there is none left to fail.  After each the disk is well
again, and what was answered is held against the database.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from checkout import Site, address, is_pass, is_refusal

from faults.preload import on_failing_disk

ERRORS = {"full": errno.ENOSPC, "failing": errno.EIO, "read-only": errno.EROFS}
HOLDING = 'familiar_after = 0\naction = "HOLD"\nhold_limit = 2\n'
SESSION = (
    *((f"{country.lower()}@example.org", country) for country in ("ES", "FR")),
    *(("thief@example.org", country) for country in ("ES", "FR", "BR", "VN", "VN", "ES")),
    *(("es@example.org", country) for country in ("ES", "ES", "BR")),
)


class Failed(NamedTuple):
    """The measurements of a run: faults injected, and requests that got no reply for that."""

    faults: int
    unanswered: int


def run(every: int = 1, kinds: Iterable[str] = tuple(ERRORS)) -> Failed:
    """Make every, or every 2nd, 3rd …, change fail, in turn for good and just once."""
    faults = unanswered = 0
    with tempfile.TemporaryDirectory() as name:
        template = Site(_made(Path(name) / "template"), HOLDING)
        for kind in kinds:
            for lasts in (True, False):
                at = 1
                while True:
                    site = _Copy(template, _made(Path(name) / "site"))
                    hit, missing = _play(site, at, ERRORS[kind], lasts)
                    shutil.rmtree(site.folder)
                    if not hit:
                        break
                    faults += 1
                    unanswered += missing
                    at += every
    return Failed(faults, unanswered)


class _Copy(Site):
    """A copy of a site that was never used."""

    def __init__(self, template: Site, folder: Path) -> None:
        self.folder = folder
        self.python = template.python
        self.config = folder / "pcc.toml"
        self.database = folder / "pcc.db"
        self.countries = folder / "country.mmdb"
        self._processes = []
        for file in (template.config, template.database, template.countries):
            shutil.copy(file, folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _play(site: Site, at: int, error: int, lasts: bool) -> tuple[bool, int]:
    """Return whether the fault was met, and how many requests got no reply."""
    count = site.folder / "count"
    settings: dict[str, object] = {"fail_at": at, "error": error, "count": count}
    if lasts:
        settings["lasts"] = 1
    # The count lies in another folder than what fails.
    environment = on_failing_disk(site.database, **settings)
    process = site.policy(environment=environment)
    answers = []
    for account, country in SESSION:
        action = process.ask(account, address(country))
        answers.append((account, country, action))
        if action is None:
            status = process.process.wait(20)
            assert status == 74, f"status {status} at change {at}"
            break
    process.socket.close()
    process.process.wait(20)
    changes = count.stat().st_size if count.exists() else 0
    _check(site, answers, f"change {at}, errno {error}, {'for good' if lasts else 'once'}")
    return changes >= at, sum(action is None for _, _, action in answers)


def _check(site: Site, answers: list[tuple[str, str, str | None]], where: str) -> None:
    """Hold what was answered against the database, and see that all works again."""
    with closing(sqlite3.connect(site.database)) as connection:
        read = connection.execute
        assert read("PRAGMA integrity_check").fetchone() == ("ok",), where
        presences = set(read("SELECT account, name FROM place WHERE kind = 'country'"))
        blocked = {account for (account,) in read("SELECT account FROM incident")}
        (held,) = read("SELECT count(*) FROM held").fetchone()
    for account, country, action in answers:
        if is_pass(action):
            assert (account, country) in presences, (where, account, country)
        elif action is not None:
            assert account in blocked, (where, account)
    assert blocked <= {"thief@example.org"}, (where, blocked)
    assert held >= sum(action == "HOLD" for _, _, action in answers), (where, "a lost held mail")
    assert is_pass(site.ask("later@example.org", address("ES"))), where
    if blocked:
        after = site.ask("thief@example.org", address("ES"))
        assert after == "HOLD" or is_refusal(after), (where, after)
