"""pcc_admin.py: everything an administrator does.

One module per group of commands.  Each has `add_commands(commands)`, which
describes its commands to argparse, and functions that carry one out:
`command(context, arguments) -> exit status`.

Exit status: 0 done; 1 not found, nothing to do, or a check failed; 2 usage;
3 partly done; 4 configuration or database.  Data goes to stdout, and with
`--json` nothing else does; what is wrong goes to stderr in one sentence.
"""

from __future__ import annotations

import argparse
import os
import sys

from pcc import VERSION, config
from pcc.errors import PccError

DONE, NOT_DONE, USAGE, PARTLY, TROUBLE = range(5)

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

`pcc_admin.py COMMAND --help` tells more about a command.
"""


def main(arguments: list[str]) -> int:
    """Carry out one command line; return the exit status."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return USAGE
    from pcc.admin.context import Context

    os.umask(0o027)
    context = Context(options.config, json=options.json)
    try:
        status: int = options.run(context, options)
    except PccError as error:
        context.complain(str(error))
        return TROUBLE
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("pcc_admin.py: interrupted", file=sys.stderr)
        return PARTLY
    finally:
        context.close()
    return status


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; manual pages and completions use it, too."""
    from pcc.admin import (
        accounts,
        country,
        doctor,
        exemptions,
        history,
        mail,
        statistics,
        unblocking,
        upkeep,
    )

    parser = argparse.ArgumentParser(
        prog="pcc_admin.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pcc {VERSION}")
    add_global_options(parser, config.DEFAULT_PATH, json=False)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for module in (
        accounts,
        unblocking,
        mail,
        exemptions,
        history,
        country,
        statistics,
        doctor,
        upkeep,
    ):
        module.add_commands(commands)
    return parser


def add_global_options(
    parser: argparse.ArgumentParser, default_config: object, *, json: object
) -> None:
    """Add the options that may stand before and after a command's name."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=default_config,
        help=f"configuration (default: {config.DEFAULT_PATH})",
    )
    parser.add_argument(
        "--json", action="store_true", default=json, help="print data as JSON on stdout"
    )
