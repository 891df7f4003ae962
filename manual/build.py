"""Writes docs/reference/, man pages and completions: `make manual`, or `python -m manual.build`.

`--check` writes nothing, names what is out of date, and exits with 1 if anything is.

Versions of pandoc write different roff.  So the first line of a man page has the digest of its
source, and pandoc's version.  Where another version is installed, or none, a page is fresh if that
digest is right.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from manual import commands, completions, database, settings
from pcc import VERSION, errors, service
from pcc.admin import UsageError
from pcc.admin.program import command_line

FOLDER = Path(__file__).resolve().parent
CHECKOUT = FOLDER.parent

PAGES = {
    "pcc_admin.8": "System Administration",
    "pcc_policy.8": "System Administration",
    "pcc.toml.5": "File Formats",
}
"""The man pages, and the part of the manual that each belongs to."""

NOT_THE_POLICY_PROCESS = (
    errors.CountryError,
    errors.NoticeError,
    errors.QueueError,
    UsageError,
)
"""Errors that never end a policy process: it goes on without a country, or never meets them."""


def files() -> dict[str, str]:
    """Return the text of every generated file but the man pages, by its path in the checkout."""
    parts = _parts()
    titles = {name: f"{name[:-2]}({name[-1]})" for name in PAGES} | {"database": "The database"}
    made = {}
    for name, title in titles.items():
        source = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        text = re.sub(r"^\{\{([\w ]+)\}\}$", lambda found: parts[found[1]], source, flags=re.M)
        note = (
            f"<!-- Made by `make manual`, from manual/{name}.md and the programs: change that. -->"
        )
        path = f"docs/reference/{name.removesuffix('.8').removesuffix('.5')}.md"
        made[path] = f"# {title}\n\n{note}\n\n{text.strip()}\n"
    return {**made, **completions.completions()}


def _parts() -> dict[str, str]:
    """Return all that is not prose, by the names that the prose has for it."""
    program = command_line()
    service_says = inspect.cleandoc(service.__doc__ or "").split("\n\n")[2:]
    policy = "\n\n".join(part for part in service_says if "import" not in part)
    return {
        "options": commands.options(program),
        "commands": commands.commands(program),
        "policy": commands.described(
            policy.replace("DECISION_SECONDS", f"{service.DECISION_SECONDS} seconds")
        ),
        "exit statuses": _exit_statuses(),
        "parameters": settings.parameters(),
        "overridable": settings.overridable(),
        **{f"keys {table}": settings.described_keys(table) for table in settings.TABLES},
        "database": database.about(),
        "tables": database.described_tables(),
    }


def _exit_statuses() -> str:
    """Return the statuses that a policy process ends with in trouble."""
    names = {
        getattr(os, name): name for name in dir(os) if name.startswith("EX_") and name != "EX_OK"
    }
    kinds: list[type[errors.PccError]] = [errors.PccError, *errors.PccError.__subclasses__()]
    told = {kind.exit_status: kind for kind in kinds if kind not in NOT_THE_POLICY_PROCESS}
    items = []
    for status, kind in sorted(told.items()):
        about = "A bug" if kind is errors.PccError else (kind.__doc__ or "").split("\n")[0]
        text = commands.sentence(commands.marked(about))
        items.append(f"- `{status}` ({names[status]})\\\n  {text}")
    return "\n\n".join(items)


def _pandoc_version() -> str:
    """Return the version of pandoc, "" where it is not installed."""
    if not shutil.which("pandoc"):
        return ""
    done = subprocess.run(["pandoc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def man_page(name: str, reference: str, pandoc: str, there: str) -> str:
    """Return the text of a man page: `there`, if that is fresh.

    `reference`: the Markdown that it is made from.  `pandoc`: the version, "" for none.
    """
    source = (FOLDER / "man.lua").read_bytes() + reference.encode()
    digest = hashlib.sha256(source).hexdigest()[:16]
    head = rf".\" Made by `make manual` from {digest}, with pandoc "
    if there.startswith(head) and not there.startswith(f"{head}{pandoc}\n"):
        return there
    if not pandoc:
        raise SystemExit(f"man/{name} is out of date, and there is no pandoc: apt install pandoc")
    options = ("-f", "gfm-autolink_bare_uris", "-t", "man", "--shift-heading-level-by=-1")
    made = subprocess.run(
        ["pandoc", *options, f"--lua-filter={FOLDER / 'man.lua'}"],
        input=reference,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    made = re.sub(r"^(\.S[HS] .*)\n\.PP$", r"\1", made, flags=re.MULTILINE)
    lines = [
        # A dash that is no \- some systems show as a hyphen that no shell takes.
        line if line.startswith(".") else re.sub(r"(?<!\\)-", r"\-", line)
        for line in made.splitlines()
        if line not in (r"\f[C]", r"\f[R]")  # a typewriter's font, which mandoc does not know
    ]
    title, _, number = name.rpartition(".")
    heading = f'.TH "{title.upper()}" "{number}" "" "pcc {VERSION}" "{PAGES[name]}"'
    return "\n".join([f"{head}{pandoc}", heading, ".nh", ".ad l", ".ss 12 0", *lines]) + "\n"


def outdated() -> dict[str, str]:
    """Return the text of what is missing or not as it should be, by its path in the checkout."""
    made, pandoc = files(), _pandoc_version()
    for name in PAGES:
        path = f"man/{name}"
        reference = made[f"docs/reference/{name[:-2]}.md"]
        made[path] = man_page(name, reference, pandoc, _content(path))
    return {path: text for path, text in made.items() if _content(path) != text}


def _content(path: str) -> str:
    file = CHECKOUT / path
    return file.read_text(encoding="utf-8") if file.exists() else ""


def main(arguments: list[str]) -> int:
    """Write what has changed, or name it with --check."""
    changed = outdated()
    for path, text in changed.items():
        if arguments == ["--check"]:
            sys.stdout.write(f"{path} is out of date: run `make manual`\n")
            continue
        (CHECKOUT / path).parent.mkdir(parents=True, exist_ok=True)
        (CHECKOUT / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 1 if changed and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
