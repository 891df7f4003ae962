"""The manual pages, and what the database holds, as Markdown for docs/reference/.

The pages are read in the roff that manual/pages.py has made, of which only the
few requests and escapes are known that stand there; any other is an error.
"""

from __future__ import annotations

import re
from pathlib import Path

from manual import pages
from pcc.store.engine.definitions import tables

SCHEMA = Path(__file__).resolve().parent.parent / "schema.sql"

_CHARACTERS = {"-": "-", "e": "\\", "(aq": "'", "(dq": '"', "(ga": "`", "(ti": "~", "(ha": "^"}

_TAKEN_FOR_MARKS = re.compile(r"([\\`*_<>\[\]|])")

NOTE = "<!-- Made by `make manual`, from {}: change that. -->"


def reference() -> dict[str, str]:
    """Return the text of every page of the reference by its path in the checkout."""
    made = {
        f"docs/reference/{name.rpartition('.')[0]}.md": _page(text)
        for name, text in pages.pages().items()
    }
    return {**made, "docs/reference/database.md": _database()}


# The manual pages.


def _page(roff: str) -> str:
    page = _Page()
    for line in roff.splitlines():
        page.take(line)
    page.end_paragraph()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(page.lines).lstrip("\n")) + "\n"


class _Page:
    """A page in the making: `lines` of Markdown, and whether what comes now belongs to an item."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._paragraph: list[str] = []
        self._is_term = self._is_item = self._is_literal = False
        self._depth = 0

    def take(self, line: str) -> None:
        """Take in one line of roff."""
        if line.startswith("."):
            self._request(*line[1:].split(" ", 1))
        elif self._is_literal:
            self.lines.append(self._indented(_characters(line)))
        elif self._is_term:
            self._is_term = False
            self.lines.append(f"- {_inline(line)}  ")
        else:
            self._paragraph.append(line)

    def end_paragraph(self) -> None:
        """Write the paragraph, if any."""
        if self._paragraph:
            self.lines += [self._indented(_inline(" ".join(self._paragraph))), ""]
        self._paragraph = []

    def _indented(self, text: str) -> str:
        return f"  {text}" if self._is_item and text else text

    def _request(self, name: str, argument: str = "") -> None:
        if name in ("nh", "ad", '\\"'):
            return
        self.end_paragraph()
        if name == "TH":
            title, section = re.findall(r'"([^"]*)"', argument)[:2]
            self.lines += [NOTE.format("manual/*.txt and the programs"), ""]
            self.lines += [f"# {_characters(title).lower()}({section})", ""]
        elif name in ("SH", "SS"):
            self._is_item = False
            mark = "##" if name == "SH" else "###"
            self.lines += ["", f"{mark} {_inline(argument.strip(chr(34)))}", ""]
        elif name in ("nf", "fi"):
            self._is_literal = name == "nf"
            fence = "```text" if name == "nf" else "```"
            self.lines += [self._indented(fence)] + [""] * (name == "fi")
        elif name == "TP":
            self._is_term = self._is_item = True
        elif name == "PP":
            self._is_item = self._is_item and self._depth > 0
        elif name in ("RS", "RE"):  # what stands in between belongs to the item before
            self._depth += 1 if name == "RS" else -1
        else:
            raise ValueError(f".{name}: not known")


def _characters(text: str) -> str:
    """Return roff text without fonts and escapes."""
    text = re.sub(r"\\(f[BIP]|&)", "", text)
    return re.sub(r"\\(\(..|\[u[0-9A-F]+\]|.)", _character, text)


def _character(escape: re.Match[str]) -> str:
    name = escape[1]
    return chr(int(name[2:-1], 16)) if name.startswith("[u") else _CHARACTERS[name]


def _inline(text: str) -> str:
    """Return running text: bold as code, which is what is typed, italics as they are."""
    parts = []
    for font, piece in re.findall(r"\\f([BIP])((?:(?!\\f[BIP]).)*)", rf"\fP{text}"):
        shown = _characters(piece)
        if font == "B" and shown:
            fence = "``" if "`" in shown else "`"
            parts.append(f"{fence}{shown}{fence}")
        else:
            plain = _TAKEN_FOR_MARKS.sub(r"\\\1", shown)
            parts.append(f"*{plain}*" if font == "I" and shown else plain)
    return "".join(parts)


# The database.


def _database() -> str:
    """Return what schema.sql says of its tables and columns."""
    schema = SCHEMA.read_text(encoding="utf-8")
    lines = [NOTE.format("schema.sql"), "", "# The database", "", _comment(schema), ""]
    for table in tables(schema):
        found = re.search(
            rf"((?:^--[^\n]*\n)+)CREATE TABLE {table.name} \((.*?)^\)", schema, re.DOTALL | re.M
        )
        if not found:
            continue  # that of servers alone
        lines += [f"## {table.name}", "", _comment(found[1]), ""]
        lines += ["| column | type | |", "|---|---|---|"]
        for column in table.columns:
            line = re.search(rf"^ +{column.name} .*?(?:-- (.*))?$", found[2], re.MULTILINE)
            about = _TAKEN_FOR_MARKS.sub(r"\\\1", (line and line[1]) or "")
            lines.append(f"| `{column.name}` | {column.kind} | {about} |")
        lines.append("")
    return "\n".join(lines)


def _comment(text: str) -> str:
    """Return the lines of the comment that a text begins with, as one paragraph."""
    found = re.match(r"(?:--.*\n)+", text)
    return " ".join(line.lstrip("- ") for line in found[0].splitlines()) if found else ""
