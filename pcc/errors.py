"""The errors of pcc.

Every error that an operator can cause or mend is a PccError whose text is one
clear sentence.  Only the two main functions turn one into a log line or a
message, and into an exit status.  Anything else that is raised is a bug.
"""

from __future__ import annotations


class PccError(Exception):
    """Base of all errors of pcc.

    `exit_status` is what the policy process ends with, from sysexits(3); `kind` is as what it is
    counted, see pcc/store/tally.py.
    """

    exit_status = 70  # EX_SOFTWARE
    kind = "internal"


class ConfigError(PccError):
    """The configuration can't be read, or says something that can't be meant."""

    exit_status = 78  # EX_CONFIG


class ProtocolError(PccError):
    """A policy request that Postfix would not have sent."""

    exit_status = 76  # EX_PROTOCOL
    kind = "protocol"


class StoreError(PccError):
    """The database can't be opened, read or written."""

    exit_status = 74  # EX_IOERR
    kind = "store"


class AgainError(StoreError):
    """The database failed in a way that may be over soon: what was asked may be done again."""


class DeadlineError(PccError):
    """A decision took longer than Postfix would wait for it."""

    exit_status = 75  # EX_TEMPFAIL
    kind = "deadline"


class CountryError(PccError):
    """The country database, or that of networks, is missing, broken or of the wrong type."""

    exit_status = 66  # EX_NOINPUT
    kind = "places"


class NoticeError(PccError):
    """A notice could not be handed over; it stays in the outbox."""

    exit_status = 75  # EX_TEMPFAIL


class QueueError(PccError):
    """Postfix's queue could not be read or changed."""

    exit_status = 69  # EX_UNAVAILABLE
