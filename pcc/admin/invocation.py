"""Command lines of pcc_admin.py that a person can paste into a shell as they are.

The short name stands in them where the shell finds this very program under it, else its path, and
where the script could not find its packages by itself, the interpreter before that.
"""

from __future__ import annotations

import os
import shutil
import sys

from pcc.config import DEFAULT_PATH

NAMES = ("pcc_admin.py", "pcc_admin")
_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SCRIPT = os.path.join(_FOLDER, NAMES[0])


def command_line(config_path: str, *words: str) -> str:
    """Return the command line with these words, for this configuration."""
    from pcc.notice import shell_word  # which imports what makes mails

    path = os.path.abspath(config_path)
    config = [] if path == DEFAULT_PATH else ["-c", path]
    return " ".join([shell_word(word) for word in [*program(), *config, *words]])


def program() -> list[str]:
    """Return the words that start this program."""
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
    if os.access(script, os.X_OK) and _finds_packages():
        return [script]
    return [sys.executable, script]


def _finds_packages() -> bool:
    """Whether the script started by its path alone gets an interpreter that has its packages."""
    if os.path.exists(os.path.join(_FOLDER, ".venv", "bin", "python")):
        return True
    python = shutil.which("python3")
    return bool(python) and os.path.abspath(str(python)) in (
        os.path.abspath(sys.executable),
        os.path.join(sys.prefix, "bin", "python3"),
    )
