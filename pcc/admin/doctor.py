"""The command `doctor`: whether pcc is asked and can answer, and what is to be mended."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pcc.admin import DONE, NOT_DONE
from pcc.admin.commands import add_command
from pcc.admin.held import add_mail_config

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context

DETAILS = """\
Checks the configuration, what the service user may do, the database, the country database,
and whether Postfix asks pcc about the mail of every client that logs in.  Changes nothing.

  OK    all is well
  WARN  it works, but not as well as it could, or not in every case
  FAIL  it does not work

Exit status 1 if anything fails.  Run it as root: the service user's rights are tried as that
user."""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(commands, "doctor", doctor, "check the whole installation", DETAILS)
    add_mail_config(parser)


def doctor(context: Context, options: argparse.Namespace) -> int:
    """Make all checks, and show them with what is to be mended."""
    from pcc.doctor import FAIL
    from pcc.doctor.examination import examine

    # Not context.config, nor context.database: they keep things ready for others.
    findings = examine(context.config_path, options.mail_config, context.now)
    context.output.data([finding._asdict() for finding in findings])
    rows = [[finding.result, finding.check, finding.fix] for finding in findings]
    context.output.table(["RESULT", "CHECK", "FIX"], rows)
    return NOT_DONE if any(finding.result == FAIL for finding in findings) else DONE
