"""Command lines that a person can paste into a shell as they are, pcc_admin.py's above all.

They begin with the short name if the shell finds this very program by it, otherwise with the path.
The interpreter stands before the path if the script can't find its packages by itself.  Words that
came from outside, logins and paths, are words still whatever they hold.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

from pcc.config import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("pcc_admin.py", "pcc_admin")
_FOLDER = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
SCRIPT = os.path.join(_FOLDER, NAMES[0])


def command_line(config_path: str, *words: str, program: Sequence[str] = ()) -> str:
    """Return the command line with these words, for this configuration.

    `program`: the words that start it, program_by_name() where none are given.
    """
    path = os.path.abspath(config_path)
    config = [] if path == DEFAULT_PATH else ["-c", path]
    all_words = [*(program or program_by_name()), *config, *words]
    return " ".join([shell_word(word) for word in all_words])


def about_account(name: str, account: str, *options: str) -> list[str]:
    """Return the words of a command about an account."""
    # An account that begins with a dash would be taken for an option.
    rest = [*options, "--", account] if account.startswith("-") else [account, *options]
    return [name, *rest]


def shell_word(text: str) -> str:
    """Return `text` as one word for a shell, safe to paste whatever it holds.

    Characters that are not printable would act on the terminal, quoted or not.  They are written
    as bash, ksh and zsh read them ($'...'), without a quote that another shell could take for the
    end.
    """
    if text.isprintable():
        return shlex.quote(text)
    word = ""
    for character in text:
        number = ord(character)
        if character.isprintable() and character not in "\\'!":
            word += character
        elif number < 0x80:
            word += f"\\x{number:02x}"
        else:
            word += f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return f"$'{word}'"


def program_by_name() -> list[str]:
    """Return the words that start this program in the caller's shell."""
    for name in NAMES:
        found = shutil.which(name)
        if found and os.path.realpath(found) == SCRIPT:
            return [name]
    typed = os.path.abspath(sys.argv[0])
    return _by_path(typed if os.path.realpath(typed) == SCRIPT else SCRIPT)


def program_by_path() -> list[str]:
    """Return the words that start this program in whatever shell, such as a mail's reader has."""
    for folder in ("/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin"):
        path = os.path.join(folder, NAMES[0])
        if os.path.realpath(path) == SCRIPT:
            return _by_path(path)
    return _by_path(SCRIPT)


def _by_path(script: str) -> list[str]:
    """Return the script alone if that starts an interpreter that has the packages."""
    if os.access(script, os.X_OK):
        python = shutil.which("python3")
        ours = (os.path.abspath(sys.executable), os.path.join(sys.prefix, "bin", "python3"))
        if os.path.exists(os.path.join(_FOLDER, ".venv", "bin", "python")) or (
            python and os.path.abspath(python) in ours
        ):
            return [script]
    return [sys.executable, script]
