"""The mails that a shared database server is away, and that it is back.

The outbox is on that server.  So the follower sends them itself, each once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc.invocation import command_line, program_by_path
from pcc.notice import delivery
from pcc.notice.mail import plain_mail
from pcc.wording import quantity

if TYPE_CHECKING:
    from pcc.config import Config


def away(config: Config, reason: str, since: float, now: float) -> tuple[str, str]:
    """Return subject and text of the mail that the server is away.

    `reason`: a sentence.  `since`: UTC seconds, when it last answered.
    """
    left = max(0, config.trust_for - (now - since))
    known = (
        f"Mail from places that this host knows passes for {quantity(round(left / 60), 'minute')}"
        " more, and is counted later."
        if config.trust_for
        else "Mail from known places gets no answer (store.trust_for is 0)."
    )
    text = f"""\
The database server that this host shares with others does not answer
for {quantity(int(now - since), "second")}:

  {reason}

Meanwhile {config.this_host} answers by what it has in {config.host_file}:

- Accounts that it knows as blocked are refused.
- {known}
- Any other mail gets no answer.  Postfix does what default_action says.

This is sent once.  To look closer:

  {command_line(config.path, "doctor", program=program_by_path())}
"""
    return f"[pcc] {config.this_host}: the database server is away", text


def back(config: Config, since: float, now: float) -> tuple[str, str]:
    """Return subject and text of the mail that the server is back; `since`: of the first mail."""
    text = f"""\
The database server that {config.this_host} shares with others answers again,
{quantity(int(now - since), "second")} after the mail that it was away.

Mail that was counted here meanwhile has been handed on.
"""
    return f"[pcc] {config.this_host}: the database server is back", text


def send(config: Config, words: tuple[str, str], now: float) -> None:
    """Send a mail to those of notify.to.  Raises NoticeError."""
    if not config.notify.to:
        return
    subject, text = words
    host = delivery.host_name()
    message_id = f"<pcc.server.{int(now * 1000)}@{host}>"
    message = plain_mail(config, host, config.notify.to, now, subject, text, message_id)
    delivery.by_mail(config, host, message, config.notify.to)
