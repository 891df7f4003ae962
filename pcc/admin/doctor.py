"""The command `doctor`: whether pcc is asked and can answer, and what is to be mended."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from pcc.admin import DONE, NOT_DONE
from pcc.admin.commands import add_command, add_mail_config

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context

DETAILS = """\
Checks the configuration, what the service user may do, the database, the country database,
and in Postfix's configuration whether the mail of every client that logs in reaches pcc.
If Postfix is running, pcc is also asked through it, about a mail without a login, which is
not recorded.  Changes nothing.

  OK    all is well
  WARN  it works, but not as well as it could, or not in every case
  FAIL  it does not work

Exit status 1 if anything fails.  Run it as root: the service user's rights are tried as that
user, and only root can ask through Postfix."""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(commands, "doctor", doctor, "check the whole installation", DETAILS)
    add_mail_config(parser)


def doctor(context: Context, options: argparse.Namespace) -> int:
    """Make all checks, and show them with what is to be mended."""
    from pcc.doctor import FAIL, WARN
    from pcc.doctor.examination import examine
    from pcc.invocation import command_line

    # Not context.config, nor context.database: they keep things ready for others.
    found = examine(context.config_path, options.mail_config, context.now)
    # A fix is pasted: it calls our command as a shell finds it, with this configuration.
    command = f"`{command_line(context.config_path)} "
    findings = [
        f._replace(
            fixes=tuple(
                re.sub(r"`pcc_admin\.py (?!-c )", lambda _: command, fix) for fix in f.fixes
            )
        )
        for f in found
    ]
    data = [{"check": f.check, "result": f.result, "fix": f.fix} for f in findings]
    context.output.data(data)
    if context.output.is_terminal:
        for f in findings:
            context.output.item(f.result, f.check, f.fixes)
        # The result comes last, because a long list may have scrolled away.
        summary = [
            f"{result}: {', '.join(checks)}"
            for result in (FAIL, WARN)
            if (checks := [f.check for f in findings if f.result == result])
        ]
        context.output.say("\n" + ("\n".join(summary) or f"All {len(findings)} checks are OK."))
    else:
        rows = [[f.result, f.check, fix] for f in findings for fix in f.fixes or ("",)]
        context.output.table(["RESULT", "CHECK", "FIX"], rows)
    return NOT_DONE if any(f.result == FAIL for f in findings) else DONE
