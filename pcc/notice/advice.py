"""The commands below a notice, each with the reason to use it.

A stranger chooses a login: in a command it is one word that no shell takes apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc.escaping import escaped
from pcc.invocation import about_account, command_line, program_by_path
from pcc.notice.others import address_of_most

if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.notice.notice import Notice


def advice(notice: Notice, config: Config, host: str) -> list[str]:
    """Return the paragraphs with the commands, the likeliest next step first."""
    incident = notice.incident
    account = incident.account
    lift = command(config, "unblock", account)
    to_owner = command(config, "unblock", account, "--release", "--exempt-for", "7d")
    advice = [("See all that pcc knows of this account:", command(config, "show", account))]
    if notice.others:
        place = address_of_most(notice.others)
        advice.append(("See who else was at one of its addresses:", command(config, "seen", place)))
    if notice.what == "unblocked":
        if notice.on_hold:
            advice.append(("See the mail that is still on hold:", command(config, "held", account)))
        advice.append(("Block it again:", command(config, "block", account)))
    elif notice.what == "observed":
        advice += [
            ("If it was the owner: clear this, and exempt the account for a week:", to_owner),
            (
                "If it was a thief: change the password, and restart Postfix.  Then count from\n"
                "now on:",
                lift,
            ),
        ]
    else:
        if incident.action == "HOLD":
            advice.append(("See its mail on hold:", command(config, "held", account)))
        advice += [
            (
                "If it was the owner: unblock, release mail on hold, and exempt the account\n"
                "for a week:",
                to_owner,
            ),
            (
                "If it was a thief: change the password, and restart Postfix, or the thief goes\n"
                "on: a reload ends no open session.  Then unblock, and delete mail on hold:",
                command(config, "unblock", account, "--delete"),
            ),
            ("Only unblock:", lift),
        ]
    where = f"Commands, as root on {escaped(host)}:"
    return [where, *[f"{purpose}\n  {text}" for purpose, text in advice]]


def command(config: Config, name: str, account: str, *options: str) -> str:
    """Return a command line of pcc_admin.py about an account, to be pasted into a shell."""
    words = about_account(name, account, *options)
    return command_line(config.path, *words, program=program_by_path())
