"""The command `doctor`: whether pcc is asked and can answer, and what is to be mended."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from pcc.admin import DONE, NOT_DONE
from pcc.admin.commands import add_command, add_mail_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.doctor import Finding

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
    from pcc.doctor import FAIL
    from pcc.doctor.examination import examine

    # Not context.config, nor context.database: they keep things ready for others.
    found = examine(context.config_path, options.mail_config, context.now)
    findings = [f._replace(fixes=_to_be_pasted(f.fixes, context.config_path)) for f in found]
    data = [{"check": f.check, "result": f.result, "fix": f.fix} for f in findings]
    context.output.data(data)
    if context.output.is_terminal:
        for f in findings:
            context.output.item(f.result, f.check, f.fixes)
        context.output.say(f"\n{_summary(findings)}")
    else:
        rows = [[f.result, f.check, fix] for f in findings for fix in f.fixes or ("",)]
        context.output.table(["RESULT", "CHECK", "FIX"], rows)
    return NOT_DONE if any(f.result == FAIL for f in findings) else DONE


def _to_be_pasted(fixes: Sequence[str], config_path: str) -> tuple[str, ...]:
    """Return fixes with our command called as a shell finds it, with this configuration."""
    from pcc.invocation import command_line

    command = f"`{command_line(config_path)} "
    return tuple(re.sub(r"`pcc_admin\.py (?!-c )", lambda _: command, fix) for fix in fixes)


def _summary(findings: Sequence[Finding]) -> str:
    """Return a last line with the result, which a long list may have scrolled away."""
    from pcc.doctor import FAIL, WARN

    parts = []
    for result in (FAIL, WARN):
        checks = [found.check for found in findings if found.result == result]
        if checks:
            parts.append(f"{result}: {', '.join(checks)}")
    return "\n".join(parts) or f"All {len(findings)} checks are OK."
