"""pcc_admin.py: everything an administrator does.

`program` is the command line as a whole.  Each command has a module of its name with
`add_commands(commands)`, which describes it to argparse, and a function that carries it out:
`command(context, options) -> exit status`.

Exit status: 0 done; 1 not found, nothing to do, or a check failed; 2 usage;
3 partly done; 4 configuration or database.  Data goes to stdout, and with
`--json` nothing else does; what is wrong goes to stderr in one sentence.
"""

from pcc.errors import PccError

DONE, NOT_DONE, USAGE, PARTLY, TROUBLE = range(5)


class UsageError(PccError):
    """What was typed can't be meant, though the command line is well-formed."""
