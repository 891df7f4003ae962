"""The keys of pcc.toml in Markdown.

Keys and defaults come from pcc/config/options.py, descriptions from the comments of the pcc.toml
that we ship.  The range of a value comes from its check: it gets values that are wrong in many
ways, and its messages name what it wants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from manual.commands import marked, sentence
from pcc.config import options
from pcc.config.checks import Wrong

SHIPPED = Path(__file__).resolve().parent.parent / "pcc.toml"
FURTHER = Path(__file__).with_name("keys.md")

TABLES: dict[str, options.Options] = {
    "policy": options.POLICY,
    "limit": options.LIMIT,
    "override": options.OVERRIDE,
    **options.SECTIONS,
}
"""The tables of pcc.toml and the options of each."""

NO_DEFAULT = {("limit", "window"): "that of [policy]", ("override", "accounts"): "none, required"}
"""The text in place of the default that the table of options has."""

MUCH = 10**12
_NUMBERS = (-MUCH, MUCH)
_WRONG = (None, [["?"]], "\n", ["\n"], "", [" "], ["?"], " ", "?")
"""Wrong values for most keys, from the crudest mistake to the finest."""

_UNTOLD = ("a string", "printable and on one line")


class Key(NamedTuple):
    """A key of a table: its default as in TOML, what it may be, and what is said about it."""

    table: str
    name: str
    default: str
    range: str
    comment: str
    further: str


def keys(table: str) -> Iterator[Key]:
    """Yield the keys of a table that are its own: an override has those of [policy] besides."""
    told, further = comments(), further_texts()
    for name, (default, check) in TABLES[table].items():
        if table == "override" and name in options.POLICY:
            continue
        comment = told.get((table, name)) or (told[("policy", name)] if table == "limit" else "")
        text = further.get(f"{table}.{name}", "")
        if not (comment or text):
            raise LookupError(f"pcc.toml: {table}.{name} has neither comment nor text")
        written = NO_DEFAULT.get((table, name)) or json.dumps(default, ensure_ascii=False)
        yield Key(table, name, written, _range(check), comment, text)


def described_keys(table: str) -> str:
    """Return what pcc.toml(5) says of the keys of a table."""
    items = []
    for key in keys(table):
        said = [f"- `{key.name}` (default: `{key.default}`)\\\n  {sentence(marked(key.comment))}"]
        said = [said[0] + key.further] if not key.comment else [*said, f"  {key.further}"]
        items += [part for part in [*said, f"  Value: {marked(key.range)}."] if part.strip()]
    return "\n\n".join(items)


def parameters() -> str:
    """Return a line about each key, for pcc_policy(8)."""
    return "\n\n".join(
        f"- `{key.table}.{key.name}` (`{key.default}`)\\\n"
        f"  {sentence(marked(key.comment)) or key.further}"
        for table in TABLES
        for key in keys(table)
    )


def overridable() -> str:
    """Return the keys of [policy] that an override may have."""
    return ", ".join(f"`{name}`" for name in options.POLICY if name in options.OVERRIDE) + "."


def further_texts() -> dict[str, str]:
    """Return what there is to be said about keys beyond their comments."""
    parts = re.split(r"^# (.+)\n", FURTHER.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _range(check: Callable[[Any], Any]) -> str:
    """Return what a value may be, in the words of the check."""
    least, most = (_rule(check, number) for number in _NUMBERS)
    if least.endswith(" or more") and most.endswith(" or less"):
        return f"{least.removesuffix(' or more')} to {most.removesuffix(' or less')}"
    rules = [_rule(check, value) for value in _WRONG]
    telling = [rule for rule in rules if rule not in ("", *_UNTOLD)]
    if not telling:
        return "a string on one line"
    return telling[-1] if _rule(check, "") else f"empty, or {telling[-1]}"


def _rule(check: Callable[[Any], Any], value: Any) -> str:
    """Return the rule that a value breaks, "" if it breaks none."""
    try:
        check(value)
    except Wrong as fault:
        return fault.rule.partition(", got ")[0].removeprefix("must ").removeprefix("be ")
    return ""


def comments() -> dict[tuple[str, str], str]:
    """Return the comments of the shipped pcc.toml by table and key.

    A comment above a table has the empty key, one above all of them the empty table.
    """
    told: dict[tuple[str, str], str] = {}
    table, above = "", []
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        code = line.removeprefix("#")
        header = re.fullmatch(r"\[+(\w+)\]+", code)
        key = re.match(r'(\w+) = (?:[^"#]|"[^"]*")*(?:# (.*))?', code)
        if line.startswith("# "):
            above.append(line[2:])
            continue
        if header:
            table = header[1]
            told.setdefault((table, ""), " ".join(above))
        elif key and table:
            told.setdefault((table, key[1]), key[2] or " ".join(above))
        elif not table:
            told.setdefault(("", ""), " ".join(above))
        above = []
    return told
