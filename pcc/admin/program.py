"""The command line as a whole: parses it, carries the command out, gives the exit status."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module

from pcc import VERSION
from pcc.admin import DONE, PARTLY, TROUBLE, USAGE, UsageError
from pcc.admin.commands import HelpFormatter, add_global_options
from pcc.admin.context import Context
from pcc.config import DEFAULT_PATH
from pcc.errors import PccError
from pcc.maillog import fall_back_to_stderr

COMMANDS = (
    "list",
    "show",
    "check",
    "seen",
    "block",
    "forget",
    "unblock",
    "held",
    "release",
    "delete",
    "exempt",
    "replay",
    "report",
    "places",
    "stats",
    "doctor",
    "init",
    "cleanup",
    "move",
    "notify",
)
"""Every module with a command, as --help lists them; `places` is also `country`."""

DESCRIPTION = """\
Sees and lifts what pcc has blocked, and looks after its database.
"""

EPILOG = """\
when a notice has come:
  pcc_admin.py show user@example.org              what happened, from where
  pcc_admin.py held user@example.org              its mail on hold
  pcc_admin.py unblock user@example.org --delete  the account was stolen: after its
                                                  password was changed
  pcc_admin.py unblock user@example.org --release --exempt-for 7d
                                                  it was its owner, travelling

`pcc_admin.py COMMAND --help` says more about a command.
"""


def main(arguments: list[str]) -> int:
    """Carry out one command line; return the exit status."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help(sys.stderr)
        return USAGE
    os.umask(0o027)
    fall_back_to_stderr()
    prepare_stdout(json=options.json)
    context = Context(options.config, json=options.json)
    try:
        status: int = options.run(context, options)
        sys.stdout.flush()
    except UsageError as error:
        context.complain(str(error))
        return USAGE
    except PccError as error:
        lacks_rights = os.geteuid() and "permission" in str(error).lower()
        context.complain(f"{error}: try it as root" if lacks_rights else str(error))
        return TROUBLE
    except BrokenPipeError:  # the reader of our output, such as head(1), has ended
        _discard_output()
        return DONE
    except OSError as error:
        if error.filename is not None:  # no file of ours: stdout
            raise
        _discard_output()
        context.complain(f"the output can't be written: {error.strerror}")
        return TROUBLE
    except KeyboardInterrupt:
        print("pcc_admin.py: interrupted", file=sys.stderr)
        return PARTLY
    finally:
        context.close()
    return status


def prepare_stdout(*, json: bool) -> None:
    """Make stdout take every character in every locale; JSON is UTF-8."""
    if sys.stdout is None:  # closed: no file that is opened later may take its place
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    elif isinstance(sys.stdout, io.TextIOWrapper):
        encoding = "utf-8" if json else sys.stdout.encoding
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def _discard_output() -> None:
    """Keep the interpreter from writing again what can't be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, also for manual pages and completions."""
    parser = argparse.ArgumentParser(
        prog="pcc_admin.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=HelpFormatter,
        add_help=False,
    )
    add_global_options(parser, DEFAULT_PATH, json=False)
    parser.add_argument(
        "--version", action="version", version=f"pcc {VERSION}", help="show the version"
    )
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name in COMMANDS:
        import_module(f"pcc.admin.{name}").add_commands(commands)
    return parser
