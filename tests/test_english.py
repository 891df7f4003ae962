"""Docstrings, comments, messages, help texts and documents are in plain English.

A sentence has an actor, a verb and an object, one fact, and ordinary words (CONTRIBUTING.md).
The patterns below find the commonest ways to break that.  They forbid generously.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from checkout import ROOT

MOST_WORDS = 30
"""In one sentence, code apart.  20 are better: the difference is room for a list."""

PATTERNS = {
    "write says, prints, logs or reports, or give the fact": r"\b(?:tells?|told|telling)\b",
    "write also, before the verb": r", too\b(?=\W|$)",
    "write again": r"\banew\b",
    "write expensive": r"\bdear(?:er|est|ly)?\b",
    "write separated or split": r"\bparted\b",
    "name the actor": r"^(?:Who|What|Whom|Whoever|Whatever|Whichever|That which|He who)\b"
    r"(?![^?]*\?)(?= (?!follows:)\w)",
    "name the actor in the sentence": r"\bthe ones? (?:who|that)\b|\b(?:whoever|he who)\b",
    "write a plain imperative, or make and allow": r"^(?:Have|Let)(?= [a-z])",
    "write otherwise": r"(?<!one)(?<!body)(?<!thing)(?<!where)(?<!what)(?<!What)(?<!who)"
    r" else\b(?! (?:if|branch))",
    "write for N seconds, or as long as": r"\bso long\b(?! as)",
    "begin with the thing that is counted": r"^So (?:many|long|old|short)\b",
    "begin with the actor": r"^Of (?!course)\w",
    "write an ordinary word": r"\b(?:whereupon|thereof|whereof|therein|wherein|lest|whilst|hither"
    r"|thither|thereby|hereby|beget|betwixt|nay|ere)\b",
    "write except": r"\b(?:but for|save for)\b",
    "one fact per sentence: at most one semicolon": r";.*;",
}

SQL = re.compile(r"\b(?:SELECT|INSERT|UPDATE|CREATE|DELETE FROM|GRANT|PRAGMA|BEGIN|sys\.path)\b")

DOCSTRINGS_ONLY = ("tests/", "data/", "faults/", "fuzz/", "benchmarks/")
"""Strings there are data more often than messages."""

OTHER_FILES = (
    *("Makefile", "master.cf.snippet", "pcc.toml", ".ci/run", "tests/install-packages"),
    *("systemd/pcc.service", "systemd/pcc.timer"),
    *("examples/on-incident/all.sh", "examples/on-incident/pcc.nft"),
    *("examples/on-incident/sudoers", "examples/monitoring/rules.yml"),
    *("examples/on-incident/fail2ban/filter.conf", "examples/on-incident/fail2ban/jail.conf"),
    *("packaging/install", "packaging/uninstall", "packaging/postfix", "packaging/deb"),
)


class Sentence(NamedTuple):
    """One sentence of prose, and where its paragraph begins."""

    place: str
    text: str


def in_paragraph(place: str, paragraph: str) -> Iterator[Sentence]:
    """Split a paragraph into sentences; code in backticks counts as one word."""
    text = re.sub(r"``[^`]+``|`[^`]*`", "CODE", " ".join(paragraph.split()))
    text = re.sub(r"\]\([^)\s]*\)", "]", text)
    for sentence in re.split(r"(?<=[.!?:])[)*\"”]*\s+(?=[\"(*\[]*(?:[A-Z0-9]|pcc\b))", text):
        if sentence:
            yield Sentence(place, sentence)


def paragraphs(text: str, deepest: int = 2) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs, list items and table cells of a text, each with its line.

    A line that is indented by more than `deepest` spaces begins a paragraph of its own.
    """
    text = re.sub(r"^ *```.*?^ *```$", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)
    text = re.sub(r"<!--.*?-->", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    held: list[str] = []
    start = 1
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        begins = re.match(rf"\s*(?:[-*] |\d+\. |\||#|$)| {{{deepest + 1},}}\S", line)
        if begins and held:
            yield start, "\n".join(held)
            held = []
        if line.lstrip().startswith("|"):
            for fact in re.split(r"[|;]", line.strip().strip("|")):
                yield number, fact
        elif line.strip() and not line.lstrip().startswith("#"):
            if not held:
                start = number
            held.append(re.sub(r"^\s*(?:[-*]|\d+\.) ", "", line))


def prose_of(tree: ast.AST, with_messages: bool) -> Iterator[tuple[int, str]]:
    """Yield a module's docstrings and, if asked for, its other strings of several words."""
    within = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            within.add(id(node.value))
            yield node.lineno, inspect.cleandoc(str(node.value.value))
        elif isinstance(node, ast.JoinedStr) and with_messages:
            parts = [p.value if isinstance(p, ast.Constant) else "VALUE" for p in node.values]
            if not SQL.search(text := "".join(map(str, parts))):
                yield node.lineno, text
        elif isinstance(node, ast.Constant) and with_messages and id(node) not in within:
            text = str(node.value)
            if len(text.split()) > 3 and not SQL.search(text):
                yield node.lineno, text


def in_python(path: Path, place: str) -> Iterator[Sentence]:
    """Yield the sentences of a module: docstrings, comments and, outside tests, messages."""
    source = path.read_text(encoding="utf-8")
    for first, text in prose_of(ast.parse(source), not place.startswith(DOCSTRINGS_ONLY)):
        for line, paragraph in paragraphs(text):
            yield from in_paragraph(f"{place}:{first + line - 1}", paragraph)
    held: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(
            r"#(?:!|:? ?(?:noqa|type:))", token.string
        ):
            line = token.start[0]
            if held and line != last + 1:
                yield from in_paragraph(f"{place}:{last - len(held) + 1}", "\n".join(held))
                held = []
            held.append(token.string.lstrip("#: "))
            last = line
    yield from in_paragraph(f"{place}:{last - len(held) + 1}", "\n".join(held))


def in_comments(path: Path, place: str) -> Iterator[Sentence]:
    """Yield the sentences of a file's `#` comments, whole lines and ends of lines."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        code, _, comment = line.partition("#")
        if code.strip() and re.search(r"\s$", code):  # a paragraph of its own
            found.append(f"  {comment.strip()}")
        else:
            found.append(comment[1:] if comment.startswith(" ") and not code.strip() else "")
    for number, paragraph in paragraphs("\n".join(found), 1):
        yield from in_paragraph(f"{place}:{number}", paragraph)


def files() -> list[str]:
    """Return the files with prose of our own, by their paths in the checkout."""
    found = [
        str(path.relative_to(ROOT)) for pattern in ("*.md", "*.py") for path in ROOT.rglob(pattern)
    ]
    return sorted(
        name for name in found if not name.startswith((".", "docs/reference/")) and "/." not in name
    ) + list(OTHER_FILES)


def sentences(name: str) -> Iterator[Sentence]:
    """Yield the sentences of a file."""
    path = ROOT / name
    if path.suffix == ".py":
        yield from in_python(path, name)
    elif path.suffix == ".md":
        for line, paragraph in paragraphs(path.read_text(encoding="utf-8"), 3):
            yield from in_paragraph(f"{name}:{line}", paragraph)
    else:
        yield from in_comments(path, name)


def faults(name: str) -> list[str]:
    """Return what is not plain in a file."""
    found = []
    for place, text in sentences(name):
        words = len([word for word in text.split() if "CODE" not in word])
        if words > MOST_WORDS:
            found.append(f"{place}: {words} words, {MOST_WORDS} at most: {text}")
        found += [
            f"{place}: {advice}: {text}"
            for advice, pattern in PATTERNS.items()
            if re.search(pattern, text)
        ]
    return found


@pytest.mark.parametrize("name", files())
def test_prose_is_plain(name: str) -> None:
    assert faults(name) == []
