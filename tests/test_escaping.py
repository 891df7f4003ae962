"""Values that came from outside, made safe to show."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcc.escaping import LONGEST, escaped


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("user@example.org", "user@example.org"),
        ("gr\u00fc\u00dfe@example.org", "gr\u00fc\u00dfe@example.org"),
        ("\u7530\u4e2d@example.jp", "\u7530\u4e2d@example.jp"),
        ("a b=c", "a b=c"),
        ("one\ntwo", r"one\ntwo"),
        ("one\r\ntwo", r"one\r\ntwo"),
        ("tab\there", r"tab\there"),
        ("\x1b[2J\x1b]0;title\a", r"\x1b[2J\x1b]0;title\x07"),
        ("nul\0", r"nul\x00"),
        ("del\x7f", r"del\x7f"),
        ("c1\x9b31m", r"c1\x9b31m"),
        ("joe> action=<DUNNO", r"joe\x3e action=\x3cDUNNO"),
        ("back\\slash", r"back\x5cslash"),
        (r"\n", r"\x5cn"),
        ("gro.elpmaxe@\u202enaol", r"gro.elpmaxe@\u202enaol"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("no\u00a0break", r"no\xa0break"),
        ("line\u2028separator", r"line\u2028separator"),
        ("byte order\ufeff", r"byte order\ufeff"),
        ("half \ud800", r"half \ud800"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_character_that_is_not_printable_or_could_end_a_value_is_escaped(
    value: str, shown: str
) -> None:
    assert escaped(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * LONGEST, "x" * LONGEST),
        ("x" * (LONGEST + 1), "x" * (LONGEST - 3) + "..."),
        ("x" * 1_000_000, "x" * (LONGEST - 3) + "..."),
        ("\n" * 1_000_000, r"\n" * (LONGEST - 3) + "..."),
    ],
    ids=["longest", "one more", "long", "long and escaped"],
)
def test_long_value_is_cut(value: str, shown: str) -> None:
    assert escaped(value) == shown


@given(st.text(st.characters(), max_size=50))
def test_value_is_one_printable_line_and_can_be_read_back(value: str) -> None:
    shown = escaped(value)
    assert shown.isprintable()
    assert not re.search(r"[<>]", shown)
    escape = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([tnr]))")
    names = {"t": "\t", "n": "\n", "r": "\r"}
    again = escape.sub(
        lambda match: (
            names[match[4]] if match[4] else chr(int(match[1] or match[2] or match[3], 16))
        ),
        shown,
    )
    assert again == value
