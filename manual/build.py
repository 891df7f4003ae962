"""Writes manual pages, completions and docs/reference/: `make manual`, or `python -m manual.build`.

`--check` writes nothing, names what is out of date, and exits with 1 if anything is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from manual import completions, markdown, pages

CHECKOUT = Path(__file__).resolve().parent.parent


def files() -> dict[str, str]:
    """Return the text of every generated file by its path in the checkout."""
    made = {f"man/{name}": text for name, text in pages.pages().items()}
    return {**made, **completions.completions(), **markdown.reference()}


def outdated() -> list[str]:
    """Return the paths of generated files that are missing or not as they should be."""
    return [path for path, text in files().items() if _content(CHECKOUT / path) != text]


def _content(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(arguments: list[str]) -> int:
    """Write what has changed, or with --check only tell."""
    changed = outdated()
    for path in changed:
        if arguments == ["--check"]:
            sys.stdout.write(f"{path} is out of date: run `make manual`\n")
            continue
        (CHECKOUT / path).parent.mkdir(parents=True, exist_ok=True)
        (CHECKOUT / path).write_text(files()[path], encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 1 if changed and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
