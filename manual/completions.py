"""The shell completions, made by shtab from the parser; accounts are completed by ourselves."""

from __future__ import annotations

from pathlib import Path

import shtab

from manual.commands import every_command
from pcc.admin.program import command_line

FOLDER = Path(__file__).resolve().parent

FILES = ("FILE", "LOG", "URL or FILE", "FROM", "TO")
ACCOUNTS = {"bash": "_pcc_admin_accounts", "zsh": "_pcc_admin_accounts"}
KINDS = {**dict.fromkeys(FILES, shtab.FILE), "DIR": shtab.DIRECTORY, "ACCOUNT": ACCOUNTS}
"""How an argument is completed, by its metavar; any other is not."""


def completions() -> dict[str, str]:
    """Return the text of both scripts by their paths in the checkout."""
    program = command_line()
    for parser in (program, *[command.parser for command in every_command(program)]):
        for action in parser._actions:
            if isinstance(action.metavar, str) and action.metavar in KINDS:
                action.complete = KINDS[action.metavar]  # type: ignore[attr-defined]
    bash, zsh = (
        shtab.complete(
            program, shell, preamble=(FOLDER / f"accounts.{shell}").read_text(encoding="utf-8")
        )
        for shell in ("bash", "zsh")
    )
    return {
        "completions/pcc_admin.bash": bash,
        # shtab's script completes the first of several accounts or logs alone.
        "completions/_pcc_admin": zsh.replace('"(*)::', '"*:').replace('"(*):', '"*:'),
    }
