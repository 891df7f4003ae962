"""The checks of an installation: what would keep pcc from being asked, or from answering.

`examine()` makes all of them and changes nothing.  Each check gives one
finding, OK, WARN or FAIL, with the fix in a sentence. Where something is
missing, the checks that depend on it judge as if it were there, so that one
fault makes one finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import NamedTuple, ParamSpec

Arguments = ParamSpec("Arguments")

OK, WARN, FAIL = "OK", "WARN", "FAIL"


class Fault(NamedTuple):
    """Something that is wrong: WARN or FAIL, and the fix in a sentence."""

    result: str
    fix: str


class Finding(NamedTuple):
    """The result of a check, and a fix for each fault; none for OK."""

    check: str
    result: str
    fixes: tuple[str, ...]

    @property
    def fix(self) -> str:
        """All fixes in a line."""
        return "; ".join(self.fixes)


def named_check(
    name: str,
) -> Callable[[Callable[Arguments, Iterable[Fault]]], Callable[Arguments, Finding]]:
    """Make the check of that name of a function that yields what is wrong."""

    def decorate(faults: Callable[Arguments, Iterable[Fault]]) -> Callable[Arguments, Finding]:
        @wraps(faults)
        def made(*arguments: Arguments.args, **named: Arguments.kwargs) -> Finding:
            return finding(name, faults(*arguments, **named))

        return made

    return decorate


def finding(check: str, faults: Iterable[Fault]) -> Finding:
    """Return the finding of a check: its worst fault decides, and comes first."""
    ordered = sorted(faults, key=lambda fault: fault.result != FAIL)
    result = ordered[0].result if ordered else OK
    return Finding(check, result, tuple(fault.fix for fault in ordered))


def fail(fix: str) -> Fault:
    """Return a fault because of which pcc does not do its work."""
    return Fault(FAIL, fix)


def warn(fix: str) -> Fault:
    """Return a fault that pcc can live with for now."""
    return Fault(WARN, fix)
