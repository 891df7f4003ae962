"""The output of postconf(1), taken apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pcc.errors import PccError
from pcc.postfix.configuration import Postconf, bare, entry, seconds, words_of


@pytest.mark.postfix
def test_postconf_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "main.cf")
    with pytest.raises(PccError, match=r"timed out after 0\.5 seconds"):
        Postconf(str(tmp_path), patience=0.5).values(["mail_owner"], {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a, b\tc", ["a", "b", "c"]),
        ("a { b, c } d", ["a", "{ b, c }", "d"]),
        ("x={ 451 4.3.0 Later } y", ["x={ 451 4.3.0 Later }", "y"]),
        ("{ a { b c } }, } d", ["{ a { b c } }", "}", "d"]),
    ],
)
def test_words_are_separated_as_smtpd_separates_them(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_braces_hold_blanks_together_in_master_cf() -> None:
    line = "pcc unix - n n - 0 spawn user=irc argv=/usr/bin/python3 {/a b/pcc_policy.py} -c /x"
    found = entry(line, {"pcc/unix": {"pcc_time_limit": "1h"}})
    assert found.words == ("user=irc", "argv=/usr/bin/python3", "/a b/pcc_policy.py", "-c", "/x")
    assert found.overrides == {"pcc_time_limit": "1h"}
    assert bare("{ a b }") == "a b"


@pytest.mark.parametrize(
    ("text", "expected"), [("3600", 3600), ("1000s", 1000), ("10m", 600), ("1h", 3600), ("x", 0)]
)
def test_postfix_times_are_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected
