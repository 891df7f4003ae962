"""A little of the fuzzer; `make fuzz` does more than a million requests."""

from __future__ import annotations

import pytest

from fuzz import conversation, parsing, showing, verdicts


def test_parser_agrees_with_a_simple_model() -> None:
    assert parsing.run(8000).malformed > 1000


def test_verdicts_agree_with_a_simple_model_of_the_rule() -> None:
    done = verdicts.run(6000)
    assert done.refused > 500
    assert done.unblocked > 50


@pytest.mark.subprocess
def test_process_says_nothing_but_replies() -> None:
    assert conversation.run(800).disconnected > 0


@pytest.mark.subprocess
def test_hostile_strings_are_shown_safely() -> None:
    assert showing.run(5000, accounts=12).notices == 12
