"""Hostile strings through all that shows them: log lines, tables, JSON, and notices."""

from __future__ import annotations

import email
import email.policy
import json
import random
import re
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import NamedTuple

from checkout import Site, address

from fuzz import generate
from pcc.escaping import escaped

UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of what may drive a terminal, end a line or turn one around."""

SENDMAIL = '#!/bin/sh\nexec cat > "$(mktemp {folder}/notice.XXXXXX)"\n'


class Shown(NamedTuple):
    """The counts of a run."""

    strings: int
    accounts: int
    notices: int


def run(strings: int, seed: int = 1, accounts: int = len(generate.HOSTILE)) -> Shown:
    """Escape so many random strings; block so many hostile accounts, and look at all output."""
    choice = random.Random(seed)
    for _ in range(strings):
        shown = escaped(a_string(choice))
        assert is_safe(shown), ascii(shown)
        assert not set("<>") & set(shown), shown
    hostile = generate.HOSTILE[:accounts]
    return Shown(strings, len(hostile), _block_and_look(hostile))


def a_string(choice: random.Random) -> str:
    """Characters of any plane, and pieces of what is hostile."""
    characters = [
        chr(
            choice.choice(
                [choice.randrange(0x20), choice.randrange(0x300), choice.randrange(0xD800)]
            )
        )
        for _ in range(choice.randrange(1, 12))
    ]
    return "".join([*characters, choice.choice(generate.HOSTILE)[:200]])


def is_safe(text: str) -> bool:
    """Whether a text of one line drives nothing."""
    return not any(unicodedata.category(character) in UNSAFE for character in text)


def _block_and_look(hostile: tuple[str, ...]) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = folder / "sendmail"
        program.write_text(SENDMAIL.format(folder=folder))
        program.chmod(0o755)
        site = Site(
            folder,
            "familiar_after = 0\nmax_countries = 1\n"
            f'[notify]\nto = ["root"]\nsendmail = "{program}"\ndigest = ""\n',
        )
        try:
            process = site.policy()
            for number, text in enumerate(hostile):
                for country in ("ES", "FR"):
                    process.ask(f"{number}{text}", address(country), client_name=text, sender=text)
            assert process.end() == 0
            _look_at_output(site, len(hostile))
            return _look_at_notices(site, folder, len(hostile))
        finally:
            site.close()


def _look_at_output(site: Site, count: int) -> None:
    listed = site.data("list")
    assert len(listed) == count
    for row in listed:
        shown = site.data("show", row["account"])
        assert shown["account"] == row["account"]
    for command in (["list"], ["list", "--history"]):
        done = site.admin(*command)
        assert done.returncode == 0, (command, done.stderr)
        assert all(is_safe(line) for line in done.stdout.split("\n")), command
    for row in listed[:: max(1, count // 6)]:
        for command in (["show", row["account"]], ["check", row["account"], address("BR")]):
            done = site.admin(*command)
            assert all(is_safe(line) for line in done.stdout.split("\n")), ascii(done.stdout)


def _look_at_notices(site: Site, folder: Path, count: int) -> int:
    deadline = time.monotonic() + 30
    while json.loads(site.admin("--json", "stats").stdout)["outbox"]:
        assert time.monotonic() < deadline, "the outbox is not sent"
        site.admin("notify")
        time.sleep(0.1)
    notices = list(folder.glob("notice.*"))
    assert len(notices) == count
    for file in notices:
        message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        assert message["To"] == "root"
        assert not message["Bcc"]
        assert is_safe(str(message["Subject"])), ascii(message["Subject"])
        assert set(message.keys()) <= NOTICE_HEADERS, message.keys()
        text = message.get_content()
        assert all(is_safe(line) for line in re.split("\r?\n", text)), ascii(text)
    return len(notices)


NOTICE_HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Precedence",
    "X-Auto-Response-Suppress",
    "References",
    "In-Reply-To",
}
