"""pcc_admin.py: everything an administrator does.

`program` is the command line as a whole.  Each command has a module of its name with
`add_commands(commands)`, which describes it to argparse, and a function that carries it out:
`command(context, options) -> exit status`.

The exit status is 0 for done, 1 for not found, nothing to do or a failed check, 2 for usage.  It is
3 for partly done, 4 for the configuration or the database.  Data goes to stdout, and with `--json`
nothing else does.  A complaint goes to stderr in one sentence.
"""

from pcc.errors import PccError

DONE, NOT_DONE, USAGE, PARTLY, TROUBLE = range(5)


class UsageError(PccError):
    """A well-formed command line with a value that can't be meant."""
