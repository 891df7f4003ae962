"""Sends what is in the outbox, by mail and to the operator's own command.

A row of the outbox is one notice on one channel.  A process takes it, sends it outside
of any transaction and then removes it.  Several processes can do this at once, and one
that is killed loses nothing: after a while another sends its notice again.  Policy
processes start only one at a time, see pcc/notice/notifier.py.

Mails of incidents that begin soon after each other wait for the end of `notify.digest` since
the last such mail, and then go as one.  The process that sends waits for that, and goes on
running commands meanwhile.

A notice that fails stays, with growing pauses.  One channel, "mail" or "command", does
not wait for the other, and no notice waits for another that hangs.  delivery.py hands a
notice over.  The policy process never imports this.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.errors import NoticeError, StoreError
from pcc.host.timelimit import within
from pcc.notice import delivery, ending, others
from pcc.notice.data import as_data
from pcc.notice.mail import as_mail
from pcc.notice.notice import MOST_SIGHTINGS, Notice
from pcc.notice.notifier import SUFFIX, Turn, last_mail, note_mail
from pcc.places.origins import Origins
from pcc.store import exemptions, incidents, outbox

if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.store.engine.interface import Database
    from pcc.store.exemptions import ExemptionRow
    from pcc.store.outbox import OutboxRow

SENDING_SECONDS = 30
"""The most that sending one notice on one channel may take."""

HANGING_SECONDS = 60
"""The process ends this much later, where nothing else can end the sending.

Both together are less than outbox.LEASE_SECONDS: nobody else has the notice by then.
"""

MOST_IN_MAIL = 50
"""Incidents in one mail."""

MOST_TOGETHER = 10_000
"""Unblocks, or exemptions that end, in one mail, which names the first ones."""

FIRST_PAUSE = 60
"""Seconds until a notice that failed once is due again; doubled with every further failure."""

LOG_SECONDS = 3600
"""How often the log says that the same notice still fails."""


def send_outbox(
    config: Config,
    database: Database,
    wanted: outbox.Wanted = outbox.ALL,
    *,
    seconds: float = SENDING_SECONDS,
) -> tuple[int, list[str]]:
    """Send the notices that wait; return how many were sent, and a sentence per failure.

    `seconds` is the most that one sending may take.  A channel that took longer is left alone
    then.  Raises StoreError.
    """
    with _Sending(config, database, wanted, seconds) as sending:
        sending.go_through()
    return sending.sent, sending.failures


def send_due(
    config: Config, database: Database, *, seconds: float = SENDING_SECONDS
) -> tuple[int, list[str]]:
    """Send the notices that are due, unless another process does just that.

    A notice that failed is due after its pause.  See send_outbox().
    """
    wanted = outbox.Wanted(only_due=True)
    with _Sending(config, database, wanted, seconds) as sending:
        try:
            turn = Turn(config.state_path)
            turn.inherit()
        except OSError as error:  # each notice is sent once even so
            maillog.error(f"{config.state_path}{SUFFIX}: {error.strerror}")
            sending.go_through()
        else:
            # A policy process that found the turn taken relies on the look after it was given back.
            try:
                while turn.take():
                    sending.go_through()
                    while sending.is_holding():
                        time.sleep(1)  # a policy process that finds the turn taken starts nothing
                        sending.go_through()
                    turn.give_back()
                    if not sending.is_more():
                        break
            finally:
                turn.close()
    return sending.sent, sending.failures


class _UnreadableError(NoticeError):
    """The evidence of a notice can't be read: that keeps no other notice back."""


class _Sending:
    """Sends the wanted notices; counts those `sent`, and has a sentence for each failure."""

    def __init__(
        self, config: Config, database: Database, wanted: outbox.Wanted, seconds: float
    ) -> None:
        self.sent = 0
        self.failures: list[str] = []
        self._config = config
        self._database = database
        self._wanted = wanted
        self._seconds = seconds
        self._origins: Origins | None = None
        maillog.open_log(config.log_name)

    def __enter__(self) -> _Sending:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._origins is not None:
            self._origins.close()

    def go_through(self) -> None:
        """Try to send each notice once, but hold back the mails that a digest will have."""
        digest = self._config.notify.digest
        if self._wanted.only_due:
            passed = -1.0
            with contextlib.suppress(OSError):  # each notice is sent once even so
                passed = time.time() - last_mail(self._config.state_path)
            self._wanted = self._wanted._replace(holds_mail=0 <= passed < digest)
        after = 0
        while row := outbox.take(self._database, after, time.time(), self._wanted):
            after = row.id
            rows = [row]
            if row.channel == "mail" and (row.together or (digest and row.is_incident)):
                # Others go in the same mail.
                wanted = self._wanted._replace(left=row.recipients, together=row.together)
                most = MOST_TOGETHER if row.together else MOST_IN_MAIL
                while len(rows) < most and (
                    other := outbox.take(self._database, row.id, time.time(), wanted)
                ):
                    rows.append(other)
            self._try(rows)

    def is_more(self) -> bool:
        """Whether a wanted notice is in the outbox again."""
        every = self._wanted._replace(holds_mail=False)
        return outbox.first(self._database, 0, time.time(), every) is not None

    def is_holding(self) -> bool:
        """Whether a mail is held back for a digest."""
        return self._wanted.holds_mail and self.is_more()

    def _try(self, rows: list[OutboxRow]) -> None:
        """Send one notice, or several in one mail."""
        database, channel = self._database, rows[0].channel
        try:
            done = self._send_in_time(rows)
        except _UnreadableError as error:
            if len(rows) > 1:
                for row in rows:
                    self._try([row])
            else:
                self.failures.append(_failed(database, rows[0], str(error)))
            return
        except NoticeError as error:
            self.failures += [_failed(database, row, str(error)) for row in rows]
            if isinstance(error, delivery.TimeLimitError):
                # This channel would keep the others waiting as long, each time.
                hanging = self._wanted.without | {channel}
                self._wanted = self._wanted._replace(without=hanging)
            return
        for row in rows:
            if done is not None and done.reached:
                self.sent += 1
                maillog.notice_sent(row.incident, channel)
            if done is not None and done.error:
                self.failures.append(_failed(database, row, done.error, done))
            else:
                outbox.remove(database, row, sent=done is not None, failed=False)
        if done is not None and done.reached and channel == "mail" and rows[0].is_incident:
            with contextlib.suppress(OSError):
                note_mail(self._config.state_path, time.time())
            holds_mail = self._wanted.only_due and self._config.notify.digest > 0
            self._wanted = self._wanted._replace(holds_mail=holds_mail)

    def _send_in_time(self, rows: list[OutboxRow]) -> delivery.Delivery | None:
        """As _send(), but within a time, wherever it hangs."""
        last = self._seconds + HANGING_SECONDS
        try:
            return within(self._seconds, last, lambda: self._send(rows))
        except TimeoutError as error:
            raise delivery.TimeLimitError(f"reading what it is about {error}") from None
        except (StoreError, ValueError, OverflowError) as error:
            # Where more than this notice is broken, noting that down fails as well.
            raise _UnreadableError(f"what it is about can't be read: {error}") from None

    def _send(self, rows: list[OutboxRow]) -> delivery.Delivery | None:
        """Send notices; return None if their incidents, their channel or their readers are gone.

        Raises NoticeError when nobody got them.
        """
        config, row = self._config, rows[0]
        notices = [notice for row in rows if (notice := self._notice(row)) is not None]
        endings = [found for row in rows if (found := self._ending(row)) is not None]
        if not notices and not endings:
            return None
        if row.channel == "command":
            if not config.notify.command:
                return None
            if endings:
                block = incidents.open_incident(self._database, row.account)
                is_blocked = block is not None and block.blocks(time.time())
                data = ending.as_data(endings[0], row.created, is_blocked=is_blocked)
                return delivery.by_command(config, data)
            return delivery.by_command(config, as_data(notices[0]))
        left = row.recipients.split()
        recipients = [address for address in config.notify.to if not left or address in left]
        if not recipients:
            return None
        host = delivery.host_name()
        if endings:
            everybody, now = config.notify.to, time.time()
            message = ending.as_mail(endings, row.id, config, host, everybody, now)
        else:
            message = as_mail(notices, config, host, config.notify.to, time.time())
        return delivery.by_mail(config, host, message, recipients, is_rest=bool(left))

    def _ending(self, row: OutboxRow) -> ExemptionRow | None:
        """Return the exemption that ends, None if it has another end by now, or is none."""
        if row.what != "exemption_ends":
            return None
        found = ending.exemption(row)
        return found if exemptions.is_as_told(self._database, found) else None

    def _notice(self, row: OutboxRow) -> Notice | None:
        """Return the notice, None if its incident has been forgotten."""
        database = self._database
        incident = incidents.incident(database, row.account, row.incident)
        if incident is None:
            return None
        # The mail about thousands of accounts shows no evidence.
        most = 0 if row.together and row.channel == "mail" else MOST_SIGHTINGS
        sightings, count = outbox.evidence(database, incident, most) if most else ([], 0)
        addresses = [seen.address for seen in sightings]
        if self._origins is None:
            self._origins = Origins(*self._config.files_of_places, maillog.error)
        familiar = others.familiar(self._config, database, incident) if sightings else set()
        telling = {*addresses} - familiar
        detail = json.loads(row.detail)
        current = incidents.open_incident(database, incident.account)
        return Notice(
            row.what,
            row.created,
            incident,
            sightings,
            count,
            str(detail.get("by") or "pcc"),
            str(detail.get("reason") or ""),
            int(detail.get("released") or 0),
            int(detail.get("deleted") or 0),
            outbox.seen_earlier(database, incident) if sightings else [],
            self._origins.find(addresses),
            current is not None and current.blocks(time.time()),
            others.find(database, incident.account, telling, time.time()),
            familiar,
            len(incidents.held_mail(database, incident.account)) if incident.held else 0,
        )


def _failed(
    database: Database, row: OutboxRow, error: str, done: delivery.Delivery | None = None
) -> str:
    """Mark a notice as failed, for some recipients or for all; return the sentence for people."""
    sent = done is not None and done.reached
    now = time.time()
    failure = f"notice {row.id} ({row.what}, incident {row.incident}) by {row.channel}: {error}"
    before = row.next_try - _pause(row.tries)  # when it failed last
    if not row.tries or (now - row.created) // LOG_SECONDS > (before - row.created) // LOG_SECONDS:
        maillog.error(failure)
    if done is None or done.again:
        next_try = now + _pause(row.tries + 1)
        recipients = row.recipients if done is None else " ".join(done.again)
        outbox.mark_failed(database, row, error, next_try, recipients, sent=sent)
    else:  # others got it, and the rest never will
        outbox.remove(database, row, sent=sent, failed=True)
    return failure


def _pause(tries: int) -> int:
    """Return the seconds between a notice's last failure and the next try."""
    return min(outbox.LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries - 1, 10)) if tries else 0
