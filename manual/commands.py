"""The commands of pcc_admin.py as plain records, from its argparse parser.

Nothing here depends on how argparse prints, which differs between versions of
Python and with the width of the terminal.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from pcc.admin.program import command_line


class Option(NamedTuple):
    """An option.  `metavar` is empty for one without an argument."""

    flags: tuple[str, ...]
    metavar: str
    is_argument_optional: bool
    choices: tuple[str, ...]
    help: str


class Operand(NamedTuple):
    """An argument that is not an option's."""

    metavar: str
    is_optional: bool
    is_repeated: bool
    choices: tuple[str, ...]
    help: str


class Command(NamedTuple):
    """A command, or the whole program, whose name is empty.

    `name` has two words for the actions of a command.  `exclusive`: options of
    which one at most can be given, by their first flags.
    """

    name: str
    summary: str
    description: str
    options: list[Option]
    operands: list[Operand]
    exclusive: list[list[str]]
    children: list[Command]

    def all(self) -> Iterator[Command]:
        """Yield this command and all below it."""
        yield self
        for child in self.children:
            yield from child.all()


def program() -> Command:
    """Return the whole command line."""
    return _command("", "", command_line())


def _command(name: str, summary: str, parser: argparse.ArgumentParser) -> Command:
    options, operands, children = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            children = _children(name, action)
        elif action.option_strings:
            options.append(_option(action))
        else:
            operands.append(_operand(action))
    exclusive = [
        [action.option_strings[0] for action in group._group_actions]
        for group in parser._mutually_exclusive_groups
    ]
    description = parser.description or ""
    return Command(name, summary, description, options, operands, exclusive, children)


def _children(
    name: str, action: argparse._SubParsersAction[argparse.ArgumentParser]
) -> list[Command]:
    return [
        _command(f"{name} {choice.dest}".strip(), choice.help or "", action.choices[choice.dest])
        for choice in action._choices_actions
    ]


def _option(action: argparse.Action) -> Option:
    takes_argument = action.nargs != 0
    return Option(
        tuple(action.option_strings),
        _metavar(action) if takes_argument else "",
        action.nargs == "?",
        _choices(action),
        _help(action),
    )


def _operand(action: argparse.Action) -> Operand:
    return Operand(
        _metavar(action),
        action.nargs in ("?", "*"),
        action.nargs in ("+", "*"),
        _choices(action),
        _help(action),
    )


def _metavar(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(str(choice) for choice in action.choices or ())


def _help(action: argparse.Action) -> str:
    if isinstance(action, argparse._HelpAction):  # whose text is Python's, in some language
        return "tell what the program, or a command, does"
    if isinstance(action, argparse._VersionAction):
        return "tell the version"
    return (action.help or "") % {**vars(action), "prog": "pcc_admin.py"}
