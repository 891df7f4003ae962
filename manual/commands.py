"""The command line of pcc_admin.py in Markdown, from its argparse parser.

Nothing here depends on how argparse prints, which differs between versions of Python and with the
width of the terminal.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import NamedTuple

from pcc.admin.commands import help_items, text_column

FENCE = "\n```"


class Command(NamedTuple):
    """A command; the name is two words for the action of a command, empty for the whole program."""

    name: str
    summary: str
    parser: argparse.ArgumentParser


def every_command(parser: argparse.ArgumentParser, name: str = "") -> Iterator[Command]:
    """Yield all commands below a parser, each before its own actions."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                child = f"{name} {choice.dest}".strip()
                yield Command(child, choice.help or "", action.choices[choice.dest])
                yield from every_command(action.choices[choice.dest], child)


def options(parser: argparse.ArgumentParser, *, but: tuple[str, ...] = ()) -> str:
    """Return the arguments of a parser that have a help text, as a list; without those named."""
    items = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.dest in but or not action.help:
            continue
        text = action.help % {**vars(action), "prog": "pcc_admin.py"}
        flags = [_taken(action, flag) for flag in action.option_strings]
        items.append(f"- `{', '.join(flags) or _operand(action)}`\\\n  {sentence(marked(text))}")
    return "\n\n".join(items)


def commands(program: argparse.ArgumentParser) -> str:
    """Return what the manual says of each command."""
    general = tuple(action.dest for action in program._actions)
    parts, told = [], ""
    for command in every_command(program):
        description = command.parser.description or ""
        if " " in command.name and told:
            description = description.replace(told, "")  # the command that it belongs to says it
        else:
            told = description.partition("\n\n")[2]
        usage = f"`{command.name} {' '.join(_usage(command.parser, general))}`".replace(" `", "`")
        parts += [f"### {command.name}", usage, described(description)]
        parts.append(options(command.parser, but=general))
    return "\n\n".join(filter(None, parts))


def _usage(parser: argparse.ArgumentParser, general: tuple[str, ...]) -> Iterator[str]:
    """Yield the options and operands of a command as a synopsis has them."""
    group_of = {
        id(action): group._group_actions
        for group in parser._mutually_exclusive_groups
        for action in group._group_actions
    }
    flagged = [a for a in parser._actions if a.option_strings and a.dest not in general]
    for action in flagged:
        group = group_of.get(id(action), [action])
        if action is group[0]:
            yield f"[{' | '.join(_taken(one, one.option_strings[0]) for one in group)}]"
    for action in parser._actions:
        if not action.option_strings:
            optional = action.nargs in ("?", "*")
            yield f"[{_operand(action)}]" if optional else _operand(action)


def _taken(action: argparse.Action, flag: str) -> str:
    """Return an option with its argument."""
    if action.nargs == 0:
        return flag
    return f"{flag} [{action.metavar}]" if action.nargs == "?" else f"{flag} {action.metavar}"


def _operand(action: argparse.Action) -> str:
    return f"{action.metavar}{' ...' if action.nargs in ('+', '*') else ''}"


def described(text: str) -> str:
    """Return a help text: paragraphs, lists of terms, and lines that are kept as they are."""
    parts: list[str] = []
    for item in (item for block in text.strip().split("\n\n") for item in help_items(block)):
        column = text_column(item)
        if column > 0:
            parts.append(f"- `{item[:column].strip()}`\\\n  {marked(item[column:])}")
        elif column == 0:
            parts.append(marked(item))
        elif parts and parts[-1].endswith(FENCE):
            parts[-1] = f"{parts[-1].removesuffix(FENCE)}\n{item[2:]}{FENCE}"
        else:
            parts.append(f"```text\n{item[2:]}{FENCE}")
    return "\n\n".join(parts)


def marked(text: str) -> str:
    """Return running text of the programs as Markdown: options as code, nothing else meant."""
    words = re.sub(r"([\\*<>\[\]])", r"\\\1", " ".join(text.split()))
    code = r"(`[^`]*`)|(?<![\w$/.-])(--?[A-Za-z][\w-]*)"
    return re.sub(code, lambda found: found[1] or f"`{found[2]}`", words)


def sentence(text: str) -> str:
    """Return a short text as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") or not text else ".")
