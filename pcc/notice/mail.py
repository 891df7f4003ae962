"""A notice as a mail: its headers and encoding.

Logins and host names are chosen by strangers, and can't break a header.
"""

from __future__ import annotations

from email.header import Header
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from pcc.notice.text import body, subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.config import Config
    from pcc.notice.notice import Notice
    from pcc.store.incidents import IncidentRow

_LONGEST_PLAIN_LINE = 900  # RFC 5322 allows 998


def as_mail(
    notices: Sequence[Notice], config: Config, host: str, recipients: Sequence[str], now: float
) -> EmailMessage:
    """Return the mail to `recipients`, sent at `now` (UTC seconds) from `host`.

    Several notices are those of incidents, or those of one `unblock`.
    """
    notice = notices[0]
    # The same whenever it is sent, so that a mail system recognises one that was sent twice, and
    # a mail program shows block and unblock together.
    message_id = _message_id(notice.incident, notice.what, notice.at, host)
    text = body(notices, config, host, now)
    message = plain_mail(config, host, recipients, now, subject(notices), text, message_id)
    if notice.what == "unblocked" and len(notices) == 1:
        incident = notice.incident
        what = "blocked" if incident.mode == "enforce" else "observed"
        message["In-Reply-To"] = _message_id(incident, what, incident.began, host)
    return message


def plain_mail(
    config: Config,
    host: str,
    recipients: Sequence[str],
    now: float,
    subject: str,
    text: str,
    message_id: str,
) -> EmailMessage:
    """Return a mail of ours; `subject`: one line of printable characters."""
    message = EmailMessage(_Folding())
    # To a name without a domain sendmail(1) adds the right one: Postfix its $myorigin.
    bare = "." not in host and config.notify.transport == "sendmail"
    message["From"] = config.notify.sender or ("pcc" if bare else f"pcc@{host}")
    message["To"] = ", ".join(recipients)
    # A header's value may hold encoded words, which are decoded, newlines and all.
    message["Subject"] = subject.replace("=?", "=\\x3f")
    message["Date"] = formatdate(now, localtime=True)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    plain = text.isascii() and max(map(len, text.splitlines())) <= _LONGEST_PLAIN_LINE
    message.set_content(text, cte="7bit" if plain else "quoted-printable")
    return message


class _Folding(EmailPolicy):
    """Folds headers as Python does, the subject apart.

    Python leaves its first line empty where all of it has room on the second.
    """

    def fold(self, name: str, value: Any) -> str:
        if name != "Subject":
            folded: str = super().fold(name, value)
            return folded
        text = str(value)
        header = Header(text, "us-ascii" if text.isascii() else "utf-8", header_name=name)
        return f"{name}: {header.encode(linesep=self.linesep)}{self.linesep}"

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode("ascii")


def _message_id(incident: IncidentRow, what: str, at: float, host: str) -> str:
    return f"<pcc.{incident.id}.{what}.{int(at * 1000)}@{host}>"
