"""What an administrator may want to do after a notice, each with the exact command.

A login is chosen by a stranger: in a command it is one word that no shell takes apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc.escaping import escaped
from pcc.invocation import about_account, command_line, program_by_path

if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.notice.notice import Notice


def advice(notice: Notice, config: Config, host: str) -> list[str]:
    """Return what an administrator may want to do next, each with the exact command."""
    incident = notice.incident
    account = incident.account
    lift = command(config, "unblock", account)
    to_owner = command(config, "unblock", account, "--release", "--exempt-for", "7d")
    advice = [("See all that is known of it:", command(config, "show", account))]
    if notice.what == "unblocked":
        if incident.held > notice.released + notice.deleted:
            advice.append(("See what is still on hold:", command(config, "held", account)))
        advice.append(("Block it again:", command(config, "block", account)))
    elif notice.what == "observed":
        advice += [
            ("It was the owner: let it send from anywhere for a week:", to_owner),
            ("It was stolen: change its password.  Then start counting afresh:", lift),
        ]
    else:
        if incident.action == "HOLD":
            advice.append(("See its held mail:", command(config, "held", account)))
        advice += [
            (
                "It was the owner: unblock, release any held mail, and let it send from\n"
                "anywhere for a week:",
                to_owner,
            ),
            (
                "It was stolen: change its password first, or the thief goes on.  Then unblock,\n"
                "and delete any held mail:",
                command(config, "unblock", account, "--delete"),
            ),
            ("Only unblock:", lift),
        ]
    where = f"What you can do, as root on {escaped(host)}:"
    return [where, *[f"{purpose}\n  {text}" for purpose, text in advice]]


def command(config: Config, name: str, account: str, *options: str) -> str:
    """Return a command line of pcc_admin.py about an account, to be pasted into a shell."""
    words = about_account(name, account, *options)
    return command_line(config.path, *words, program=program_by_path())
