"""HTML in which everything is escaped that is not known to be markup.

Logins and host names are chosen by strangers.  What is not printable is shown as in logs and
tables (pcc/escaping.py), then what means something to HTML is escaped.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from pcc.escaping import escaped, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Markup(str):
    """A piece of HTML, as opposed to text."""

    __slots__ = ()


def shown(value: Any) -> Markup:
    """Return a value as HTML: markup as it is, numbers in groups of three digits, text escaped."""
    if isinstance(value, Markup):
        return value
    if value is None or value == "":
        return Markup("&ndash;")
    if isinstance(value, int):
        return Markup(f"{value:,}")
    return Markup(html.escape(escaped(str(value))))


def sentence(text: str) -> Markup:
    """Return one of our own sentences as HTML, whatever values from outside it has."""
    return Markup(html.escape(printable(text)))


def joined(parts: Iterable[Markup]) -> Markup:
    """Return pieces one after the other."""
    return Markup("\n".join(parts))


def element(name: str, *content: Any, **attributes: Any) -> Markup:
    """Return an element; `class_` stands for `class`, `aria_label` for `aria-label`."""
    written = "".join(
        f' {key.strip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{''.join([shown(part) for part in content])}</{name}>")


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    is_stacked: bool = False,
) -> Markup:
    """Return a table that scrolls by itself where the page is too narrow for it.

    With `is_stacked` each row becomes a block of lines there instead.
    """
    are_numbers = [_are_numbers([row[n] for row in rows]) for n in range(len(columns))]
    head = [
        element("th", name, scope="col", class_="number" if is_number else None)
        for name, is_number in zip(columns, are_numbers, strict=True)
    ]
    body = [
        element(
            "tr",
            *[
                _cell(value, is_number=is_number, label=name if is_stacked else None)
                for value, is_number, name in zip(row, are_numbers, columns, strict=True)
            ],
            role="row" if is_stacked else None,
        )
        for row in rows
    ]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", joined(body), role="rowgroup" if is_stacked else None),
        # Style sheets that show it otherwise would take it from those who can't see it.
        role="table" if is_stacked else None,
        class_="stacked" if is_stacked else None,
    )
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _are_numbers(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int) for value in known)


def _cell(value: Any, *, is_number: bool, label: str | None) -> Markup:
    """Return a cell; `label`: what stands before it where rows are blocks."""
    kind = "number" if is_number else None
    if label is None:
        return element("td", value, class_=kind)
    content = element("span", value)
    return element("td", content, class_=kind, role="cell", data_label=label)
