"""The shell completions: the scripts of this folder, with the grammar of the commands filled in."""

from __future__ import annotations

from pathlib import Path

from manual import commands
from manual.commands import Command, Operand, Option

TEMPLATES = Path(__file__).resolve().parent

KINDS = {
    "ACCOUNT": "account",
    "DIR": "folder",
    "FILE": "file",
    "LOG": "file",
    "URL or FILE": "file",
}
"""How an argument is completed, by its metavar; any other is not."""

ZSH_ACTIONS = {"account": "_pcc_admin_accounts", "file": "_files", "folder": "_files -/", "": " "}


def completions() -> dict[str, str]:
    """Return the text of both scripts by their paths in the checkout."""
    program = commands.program()
    bash = "\n".join(_bash_case(command) for command in program.all())
    zsh = "\n\n".join(_zsh_function(command) for command in program.all())
    return {
        "completions/pcc_admin.bash": _template("completion.bash").replace("@GRAMMAR@", bash),
        "completions/_pcc_admin": _template("completion.zsh").replace("@COMMANDS@", zsh),
    }


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _kind(argument: Option | Operand) -> str:
    if argument.choices:
        return f"words:{','.join(argument.choices)}"
    return KINDS.get(argument.metavar, "")


# bash


def _bash_case(command: Command) -> str:
    takes = [
        f"{flag}={_kind(option) or 'none'}{'%' if option.is_argument_optional else ''}"
        for option in command.options
        if option.metavar
        for flag in option.flags
    ]
    values = {
        "commands": [child.name.split()[-1] for child in command.children],
        "options": [f for option in command.options if not option.metavar for f in option.flags],
        "takes": takes,
        "operands": [
            f"{_kind(operand) or 'none'}{'...' if operand.is_repeated else ''}"
            for operand in command.operands
        ],
    }
    lines = [f"            {name}='{' '.join(words)}'" for name, words in values.items() if words]
    return "\n".join([f"        '{command.name}')", *lines, "            ;;"])


# zsh


def _zsh_function(command: Command) -> str:
    """Return the function that completes what follows a command."""
    name = _zsh_name(command)
    specs = [_zsh_option(option, command) for option in command.options]
    specs += [
        f"'{'*' if operand.is_repeated else number}{':' * (1 + operand.is_optional)}"
        f"{operand.metavar}:{_zsh_action(operand)}'"
        for number, operand in enumerate(command.operands, 1)
    ]
    if not command.children:
        return "\n".join([f"{name}() {{", *_zsh_arguments(specs), "}"])
    names = [f"        {_zsh_described(child)}" for child in command.children]
    specs += ["'1: :->command'", "'*:: :->rest'"]
    first = [] if command.name else ['    local -a _pcc_admin_line=("${(@)words[1,CURRENT-1]}")']
    return "\n".join(
        [
            f"{name}() {{",
            *first,
            "    local curcontext=$curcontext state state_descr line",
            "    local -A opt_args",
            "    local -a names=(",
            *names,
            "    )",
            *_zsh_arguments(specs, "-C"),
            "    case $state in",
            "        command) _describe -t commands command names ;;",
            "        rest)",
            "            case $line[1] in",
            *[
                f"                {child.name.split()[-1]}) {_zsh_name(child)} ;;"
                for child in command.children
            ],
            "            esac",
            "            ;;",
            "    esac",
            "}",
        ]
    )


def _zsh_described(command: Command) -> str:
    """Return a command's name and summary as _describe takes them."""
    summary = command.summary.replace(":", r"\:")
    return _zsh_quoted(f"{command.name.split()[-1]}:{summary}")


def _zsh_arguments(specs: list[str], *flags: str) -> list[str]:
    words = [" ".join(["_arguments", "-S", *flags]), *specs]
    return [f"    {'    ' * (number > 0)}{word} \\" for number, word in enumerate(words[:-1])] + [
        f"        {words[-1]}"
    ]


def _zsh_name(command: Command) -> str:
    return "-".join(["_pcc_admin", *command.name.split()])


def _zsh_option(option: Option, command: Command) -> str:
    """Return the specification of an option, with those that it excludes."""
    excluded = [flag for flags in command.exclusive if option.flags[0] in flags for flag in flags]
    barred = sorted({*option.flags, *excluded}, key=[*option.flags, *excluded].index)
    text = option.help.replace("[", r"\[").replace("]", r"\]")
    argument = ""
    if option.metavar:
        colons = "::" if option.is_argument_optional else ":"
        argument = f"{colons}{option.metavar}:{_zsh_action(option)}"
    flags = [f"{flag}=" if argument and flag.startswith("--") else flag for flag in option.flags]
    listed = flags[0] if len(flags) == 1 else f"{{{','.join(flags)}}}"
    return f"'({' '.join(barred)})'{listed}{_zsh_quoted(f'[{text}]{argument}')}"


def _zsh_action(argument: Option | Operand) -> str:
    kind = _kind(argument)
    if kind.startswith("words:"):
        return f"({' '.join(argument.choices)})"
    return ZSH_ACTIONS[kind]


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"
