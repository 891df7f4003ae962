"""From help texts and the prose of this folder to the man macros of roff(7).

Both have the same simple form.  Paragraphs are parted by empty lines.  Indented
lines are shown as they are, unless they are a list: a term, two blanks or more,
and a text whose further lines stand below it; or a term on a line of its own,
with its text indented further below.  Lines indented by four or more are never
a list.  In the prose alone `# NAME` begins a section and `## name` a part of
one.  `**word**` and `` `word` `` are bold, `*word*` is in italics, and options
and names such as access(5) are bold without marks.
"""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

WIDTH = 80
"""Columns of the source of a page; what a reader sees is filled anew."""

LITERAL = 4
"""Columns: lines indented so far are not a list."""

_SPECIAL = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
    '"': r"\(dq",
}
"""Characters that roff would show as others, or take for its own."""

_MARKED = re.compile(
    r"\*\*(?P<bold>\S(?:.*?\S)?)\*\*"
    r"|`(?P<word>[^`]+)`"
    r"|(?<![\w*])\*(?P<italic>[^\s*](?:[^*]*[^\s*])?)\*(?![\w*])"
    r"|(?<![\w$/.-])(?P<option>--?[A-Za-z][A-Za-z-]*)"
    r"|(?<![\w/])(?P<page>[A-Za-z][\w.-]*)(?P<section>\([1-8]\))"
)


class Entry(NamedTuple):
    """A part of a list: `term` has several words where they are parted by two blanks."""

    term: tuple[str, ...]
    text: list[str]


class Section(NamedTuple):
    """A titled part of the prose."""

    title: str
    text: str


def literal(text: str) -> str:
    """Return text that is shown character by character."""
    return "".join([_SPECIAL.get(character, _ascii(character)) for character in text])


def plain(text: str) -> str:
    """Return running text without marks; dashes between letters stay hyphens."""
    return "".join([_plain_word(part) for part in re.split(r"(\s+)", text)])


def _plain_word(word: str) -> str:
    name = re.search(r"[/_=\d]|--|^-|\w\.\w", word)
    return literal(word) if name else "".join([_prose(character) for character in word])


def _prose(character: str) -> str:
    return character if character in "-'" else _SPECIAL.get(character, _ascii(character))


def _ascii(character: str) -> str:
    return character if character.isascii() else f"\\[u{ord(character):04X}]"


def bold(text: str) -> str:
    """Return text in bold, as what is to be typed."""
    return rf"\fB{literal(text)}\fP"


def italic(text: str) -> str:
    """Return text in italics, as what stands for something else."""
    return rf"\fI{literal(text)}\fP"


def inline(text: str) -> str:
    """Return running text with its marks carried out."""
    parts, end = [], 0
    for found in _MARKED.finditer(text):
        parts += [plain(text[end : found.start()]), _emphasised(found)]
        end = found.end()
    return "".join([*parts, plain(text[end:])])


def _emphasised(found: re.Match[str]) -> str:
    marks = found.groupdict()
    if marks["italic"]:
        return italic(marks["italic"])
    if marks["page"]:
        return bold(marks["page"]) + marks["section"]
    return bold(marks["bold"] or marks["word"] or marks["option"])


def filled(text: str) -> list[str]:
    """Return the lines of running text."""
    lines = textwrap.wrap(
        inline(" ".join(text.split())), WIDTH, break_long_words=False, break_on_hyphens=False
    )
    return [protected(line) for line in lines]


def protected(line: str) -> str:
    """Return a line of text that roff can't take for a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def paragraph(text: str) -> list[str]:
    """Return a paragraph."""
    return [".PP", *filled(text)]


def display(lines: list[str]) -> list[str]:
    """Return lines shown as they are, indented."""
    dedented = textwrap.dedent("\n".join(lines)).splitlines()
    return [".PP", ".RS 4", ".nf", *[protected(literal(line)) for line in dedented], ".fi", ".RE"]


def item(term: str, body: list[str]) -> list[str]:
    """Return a term, in roff already, and what is said about it."""
    return [".TP", protected(term), *body]


def text(source: str) -> list[str]:
    """Return a help text, or the text of a section, in roff."""
    lines = []
    for block in _blocks(source.splitlines()):
        if not block[0].startswith(" "):
            lines += paragraph(" ".join(block))
            continue
        entries = _entries(block)
        lines += [line for e in entries for line in _item(e)] if entries else display(block)
    return lines


def sections(source: str) -> list[Section]:
    """Return the titled parts of a prose file."""
    parts = re.split(r"^# (.+)\n", source, flags=re.MULTILINE)[1:]
    return [
        Section(title, body.strip("\n"))
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def _blocks(lines: list[str]) -> list[list[str]]:
    """Return runs of lines that are indented, or not; an empty line within the first is kept."""
    blocks: list[list[str]] = []
    after_gap = True
    for line in lines:
        if not line.strip():
            after_gap = True
            continue
        is_indented = line.startswith(" ")
        goes_on = bool(blocks) and is_indented == blocks[-1][0].startswith(" ")
        if goes_on and (is_indented or not after_gap):
            blocks[-1] += [""] * (after_gap and is_indented) + [line]
        else:
            blocks.append([line])
        after_gap = False
    return blocks


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _entries(block: list[str]) -> list[Entry]:
    """Return the parts of a list, none if the lines are to be shown as they are."""
    lines = [line for line in block if line]
    base = _indent(lines[0])
    heads = [line for line in lines if _indent(line) == base]
    column = _text_column(lines, base)
    if base >= LITERAL or not column:
        return []
    entries: list[Entry] = []
    for line in lines:
        if line not in heads:
            entries[-1].text.append(line[min(column, _indent(line)) :])
        elif _has_column(line, column):
            term = re.split(r"\s{2,}", line[:column].strip())
            entries.append(Entry(tuple(term), [line[column:]]))
        else:
            entries.append(Entry((line.strip(),), []))
    return entries if all(entry.text for entry in entries) else []


def _has_column(line: str, column: int) -> bool:
    return line[column - 2 : column] == "  " and line[column : column + 1].strip() != ""


def _text_column(lines: list[str], base: int) -> int:
    """Return where the texts of a list begin, 0 if these lines are not a list."""
    deeper = [_indent(line) for line in lines if _indent(line) > base]
    heads = [line for line in lines if _indent(line) == base]
    found = [{m.end() for m in re.finditer(r"(?<=\S)\s{2,}", line)} for line in heads]
    shared = set.intersection(*[columns for columns in found if columns] or [set()])
    wanted = [column for column in shared if all(column <= depth for depth in deeper)]
    return max(wanted) if wanted else min(deeper, default=0)


def _item(entry: Entry) -> list[str]:
    first, *others = entry.term
    words = inline(first) if re.search(r"[`*]|\([1-8]\)$", first) else bold(first)
    term = "  ".join([words, *[italic(word) for word in others]])
    if any(line.startswith(" ") or line.endswith("\\") for line in entry.text):
        shown = [protected(literal(line)) for line in entry.text]
        return item(term, [".nf", *shown, ".fi"])
    return item(term, filled(" ".join(entry.text)))
