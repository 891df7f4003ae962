"""Every command and configuration of the README and of docs/ does what it is shown for.

Fenced blocks are marked by their language:

    sh           is run, in the order of the document, on a site whose Postfix and whose paths
                 stand in place of the system's (see scene.py)
    cron         likewise, without its times
    toml         is read by the table of options
    cf           is read by postconf(1) as main.cf, and with `master` as master.cf
    sql          is carried out by the servers of test_store.py, and gives pcc enough rights
    text         is the output of a program
    sh db1 mx1   is run by tests/live/test_guide.py, on these machines of an example

Above a block that can't be run a comment says why.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from checkout import ROOT
from scene import CLIENTS, Scene
from smtp import Session

from pcc import VERSION
from pcc.config import options

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<why>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[\w ]*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
MOST_NOT_RUN = 17


class Block(NamedTuple):
    """A fenced block: `why` it is not run, "" if it is; `place` in its file."""

    document: Path
    language: str
    text: str
    why: str
    line: int

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks_of(document: Path) -> list[Block]:
    """Return the fenced blocks of a document."""
    text = document.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        lines = [line.removeprefix(match["indent"]) for line in match["text"].splitlines()]
        line = text.count("\n", 0, match.start()) + 1
        shown = "\n".join(lines) + "\n"
        found.append(Block(document, match["language"], shown, match["why"] or "", line))
    assert 2 * len(found) == len(re.findall(r"^ *```", text, re.MULTILINE)), document
    return found


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def blocks(language: str) -> list[Block]:
    """Return the blocks of a language that are to be run."""
    return [block for block in BLOCKS if block.language == language and not block.why]


def test_block_has_a_language_that_is_held() -> None:
    known = r"sh( (db|mx)\d)*|cron|toml|cf|cf master|sql|text"
    assert [block.place for block in BLOCKS if not re.fullmatch(known, block.language)] == []


def test_blocks_that_are_not_run_are_few() -> None:
    assert len([block for block in BLOCKS if block.why]) <= MOST_NOT_RUN
    assert len(blocks("sh")) > 30


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.place)
def test_example_of_a_configuration_is_taken(block: Block) -> None:
    import tomli

    assert options.checked_values(block.place, tomli.loads(block.text))


def test_readme_shows_what_make_run_prints() -> None:
    """Times differ, and `…` stands for what is left out."""
    (shown,) = (block.text for block in BLOCKS if "anna@example.org" in block.text)
    pattern = re.escape(shown).replace("…", "[^\n]*")
    pattern = re.sub(r"\d{4}\\-\d\d\\-\d\d\\ [\d:]+\\ UTC", "[^\n]{23}", pattern)
    command = [sys.executable, str(ROOT / "examples" / "session.py")]
    env = {**os.environ, "TZ": "UTC"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert re.fullmatch(pattern, done.stdout), done.stdout


def links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        text = FENCE.sub("", document.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" not in target:
                yield document, target


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_link_leads_somewhere() -> None:
    astray = []
    for document, target in links():
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or (anchor and anchor not in anchors(there)):
            astray.append(f"{document.name}: {target}")
    assert astray == []


def test_table_of_contents_has_every_document() -> None:
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "reference").glob("*.md")]:
        name = path.relative_to(ROOT / "docs")
        assert f"]({name})" in contents or path.name == "README.md", name


def test_changelog_begins_with_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d|not yet released)\)$", changes, re.MULTILINE)
    assert latest and latest[1] == VERSION


# On a real site.


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene() as made:
        yield made


def command_of(cron: str) -> str:
    """Return the commands of lines of a crontab with a user."""
    lines = [re.fullmatch(r"(?:\S+ +){5}(?:root|pcc) +(.+)", line) for line in cron.splitlines()]
    assert all(lines), cron
    return "\n".join(line[1] for line in lines if line)


@pytest.mark.postfix
@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if any(b.language in ("sh", "cron") for b in blocks_of(path))],
    ids=lambda path: path.name,
)
def test_command_in_a_document_does_its_work(scene: Scene, document: Path) -> None:
    scene.reset()
    for block in blocks_of(document):
        if block.why or block.language not in ("sh", "cron"):
            continue
        text = block.text if block.language == "sh" else command_of(block.text)
        done = scene.run(scene.on_site(text))
        assert done.returncode == 0, f"{block.place}:\n{done.stdout}{done.stderr}"
        assert done.stderr == "", block.place


@pytest.mark.postfix
@pytest.mark.parametrize("language", ["cf", "cf master"])
def test_postconf_takes_every_setting(scene: Scene, tmp_path: Path, language: str) -> None:
    for block in blocks(language):
        folder = tmp_path / f"{block.line}"
        shutil.copytree(scene.mta.config, folder)
        name = "master.cf" if "master" in language else "main.cf"
        kept = (folder / name).read_text() if language == "cf" else ""
        (folder / name).write_text(kept + block.text)
        os.utime(folder / name, (0, 0))  # postconf(1) waits for a file to come to rest
        words = re.findall(r"^(\w+)", block.text, re.MULTILINE)
        query = [f"{word}/unix" for word in words] if "master" in language else words
        command = ["postconf", "-c", str(folder), *(["-M"] if "master" in language else []), *query]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        warnings = [line for line in done.stderr.splitlines() if "overriding earlier" not in line]
        assert (done.returncode, warnings) == (0, []), block.place
        assert len(done.stdout.splitlines()) == len(query), block.place


@pytest.mark.postfix
def test_webmail_is_seen_by_its_xclient_and_not_by_its_xforward(scene: Scene) -> None:
    scene.mta.main["smtpd_authorized_xforward_hosts"] = "127.0.0.0/8"
    scene.mta.write_config()
    scene.mta.reload()
    scene.mta.add_user("web@example.org", "secret")
    for command, is_seen in (("XFORWARD", False), ("XCLIENT", True)):
        with Session(scene.mta.submission) as session:
            assert session.command(f"{command} ADDR={CLIENTS['FR']}").good
            session.command("EHLO webmail.example.org")
            session.login("web@example.org", "secret")
            assert session.mail("web@example.org", ["friend@example.net"]).accepted
        shown = scene.run("pcc_admin.py show web@example.org 2>&1 || true").stdout
        assert (CLIENTS["FR"] in shown) == is_seen, shown
