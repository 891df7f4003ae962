"""The manual pages: the prose files of this folder, with what the programs say of themselves.

A line `{name}` in the prose stands for what `_blocks()` has under that name, a
word `{NAME}` within a text for a constant of pcc/service.py, so that neither is
told twice.
"""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

from manual import commands, markup, settings
from manual.commands import Command, Operand, Option
from manual.markup import bold, italic
from pcc import VERSION, errors, service
from pcc.admin import UsageError

PROSE = Path(__file__).resolve().parent

TITLES = {
    "pcc_admin.8": "System Administration",
    "pcc_policy.8": "System Administration",
    "pcc.toml.5": "File Formats",
}
"""The pages, and the part of the manual that each belongs to."""

NOT_THE_POLICY_PROCESS = (
    errors.CountryError,
    errors.NoticeError,
    errors.QueueError,
    UsageError,
)
"""Errors that never end a policy process: it goes on without a country, or never meets them."""

Parts = dict[str, list[str]]


def pages() -> dict[str, str]:
    """Return the text of every manual page by its file's name."""
    parts = _parts()
    return {name: _page(name, parts) for name in TITLES}


def _page(name: str, parts: Parts) -> str:
    title, _, number = name.rpartition(".")
    prose = (PROSE / f"{name}.txt").read_text(encoding="utf-8")
    lines = [
        r".\" Made by `make manual` from the programs and manual/*.txt: change those.",
        f'.TH "{title.upper()}" "{number}" "" "pcc {VERSION}" "{TITLES[name]}"',
        ".nh",
        ".ad l",
    ]
    for section in markup.sections(prose):
        lines += [f'.SH "{section.title}"', *_section(section.text, parts)]
    return "\n".join(_tidied(lines)) + "\n"


def _tidied(lines: list[str]) -> list[str]:
    """Leave out the paragraph breaks that a heading makes anyway."""
    heads = (".SH", ".SS")
    return [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if not (line == ".PP" and before.startswith(heads))
    ]


def _section(text: str, parts: Parts) -> list[str]:
    lines: list[str] = []
    # The odd ones are the names of parts.
    for number, piece in enumerate(re.split(r"^\{([\w. ]+)\}$", text, flags=re.MULTILINE)):
        lines += parts[piece] if number % 2 else markup.text(_with_constants(piece))
    return lines


def _with_constants(text: str) -> str:
    return re.sub(r"\{([A-Z_]+)\}", lambda name: str(getattr(service, name[1])), text)


def _parts() -> Parts:
    """Return all that is not prose, in roff, by the names that the prose has for it."""
    program = commands.program()
    every = [command for child in program.children for command in child.all()]
    return {
        "synopsis": _synopsis(program),
        "options": [line for option in program.options for line in _option(option)],
        "commands": [line for command in every for line in _command(command, program)],
        "policy": _docstring(),
        "exit statuses": _exit_statuses(),
        "parameters": [line for name in settings.TABLES for line in _parameters(name)],
        "overridable": markup.paragraph(", ".join(f"`{key}`" for key in settings.overridable())),
        **{f"keys {name}": _keys(name) for name in settings.TABLES},
    }


# Commands.


def _synopsis(program: Command) -> list[str]:
    words = [*_words(program), italic("COMMAND"), rf"[{italic('ARGUMENT')} ...]"]
    return [".PP", bold("pcc_admin.py") + " " + " ".join(words)]


def _words(command: Command) -> list[str]:
    """Return the options and operands of a command as a synopsis has them."""
    shared = {option for options in command.exclusive for option in options}
    groups = [
        " | ".join(_taken(option) for option in _of(command, flags)) for flags in command.exclusive
    ]
    single = [
        _taken(option)
        for option in command.options
        if option.flags[0] not in shared and "--help" not in option.flags
    ]
    return [*[f"[{word}]" for word in [*groups, *single]], *map(_operand, command.operands)]


def _of(command: Command, flags: list[str]) -> list[Option]:
    return [option for option in command.options if option.flags[0] in flags]


def _taken(option: Option, flag: str = "") -> str:
    """Return an option with its argument."""
    word = bold(flag or option.flags[0])
    if not option.metavar:
        return word
    argument = italic(option.metavar)
    return f"{word} [{argument}]" if option.is_argument_optional else f"{word} {argument}"


def _operand(operand: Operand) -> str:
    word = italic(operand.metavar) + (" ..." if operand.is_repeated else "")
    return f"[{word}]" if operand.is_optional else word


def _option(option: Option) -> list[str]:
    term = ", ".join(_taken(option, flag) for flag in option.flags)
    return markup.item(term, markup.filled(_sentence(option.help)))


def _command(command: Command, program: Command) -> list[str]:
    """Return what the manual says of one command."""
    general = {option.flags for option in program.options}
    own = command._replace(options=[o for o in command.options if o.flags not in general])
    actions = [rf"{'|'.join(bold(child.name.split()[-1]) for child in own.children)}"]
    words = [bold(own.name), *_words(own), *(actions if own.children else [])]
    told = [operand for operand in own.operands if operand.help]
    return [
        f'.SS "{own.name}"',
        markup.protected(" ".join(words)),
        *markup.text(_without_repetition(command, program)),
        *[
            line
            for o in told
            for line in markup.item(_operand(o), markup.filled(_sentence(o.help)))
        ],
        *[line for option in own.options for line in _option(option)],
    ]


def _without_repetition(command: Command, program: Command) -> str:
    """Return a command's description without what the command it belongs to has told."""
    description = command.description
    for parent in program.children:
        details = parent.description.partition("\n\n")[2]
        if command in parent.children and details:
            description = description.replace(details, "")
    return description


def _sentence(text: str) -> str:
    """Return a short text as a sentence."""
    if not text:
        return text
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


# The policy process.


def _docstring() -> list[str]:
    """Return what pcc/service.py says of itself to operators, numbers in place of names."""
    told = inspect.cleandoc(service.__doc__ or "").split("\n\n")[2:]
    for_operators = "\n\n".join(part for part in told if "import" not in part)
    return markup.text(re.sub(r"\b([A-Z]+_SECONDS)\b", _seconds, for_operators))


def _seconds(name: re.Match[str]) -> str:
    return f"{getattr(service, name[1])} seconds"


def _exit_statuses() -> list[str]:
    """Return the statuses that a policy process ends with in trouble."""
    names = {
        getattr(os, name): name for name in dir(os) if name.startswith("EX_") and name != "EX_OK"
    }
    kinds: list[type[errors.PccError]] = [errors.PccError, *errors.PccError.__subclasses__()]
    told = {kind.exit_status: kind for kind in kinds if kind not in NOT_THE_POLICY_PROCESS}
    lines = []
    for status, kind in sorted(told.items()):
        about = "A bug" if kind is errors.PccError else (kind.__doc__ or "").split("\n")[0]
        term = f"{bold(str(status))} ({names[status]})"
        lines += markup.item(term, markup.filled(_sentence(about)))
    return lines


# The configuration.


def _keys(table: str) -> list[str]:
    """Return what pcc.toml(5) says of the keys of a table."""
    further = further_texts()
    lines = []
    for key in settings.keys(table):
        said = further.get(f"{key.table}.{key.name}", "")
        if not (said or key.comment):
            raise LookupError(f"pcc.toml: {key.table}.{key.name} has neither comment nor text")
        term = f"{bold(key.name)} (default: {markup.literal(key.default)})"
        lines += markup.item(term, markup.filled(_sentence(key.comment) or said))
        lines += [".RS", *markup.text(said), ".RE"] if key.comment and said else []
        lines += [".RS", *markup.paragraph(f"Value: {key.range}."), ".RE"]
    return lines


def further_texts() -> dict[str, str]:
    """Return what there is to be said about keys beyond their comments."""
    return dict(markup.sections((PROSE / "keys.txt").read_text(encoding="utf-8")))


def _parameters(table: str) -> list[str]:
    """Return a line about each key of a table, for pcc_policy(8)."""
    further = further_texts()
    lines = []
    for key in settings.keys(table):
        about = _sentence(key.comment) or further[f"{key.table}.{key.name}"]
        term = f"{bold(f'{key.table}.{key.name}')} ({markup.literal(key.default)})"
        lines += markup.item(term, markup.filled(about))
    return lines
