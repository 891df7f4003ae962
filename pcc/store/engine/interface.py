"""The interface of a database engine to the rest of the store.

Statements are SQL that all engines understand, with `?` for bound values; the
few that no common wording exists for are methods.  Words that do not travel
are left out: scalar max() and ifnull(), INSERT OR REPLACE, numbers as truth
values, functions of our own, columns named like a keyword.  In an UPDATE no
column is read after it was assigned, because MySQL would see its new value.

    rows = database.rows("SELECT ...", (account,))      # one statement, no lock
    database.in_turn(work, account)                     # a write transaction, in which work() does
    database.write("UPDATE ...", (value, account))      # this
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

Result = TypeVar("Result")


class Database(Protocol):
    """One open database.  All methods raise StoreError, naming the database.

    `name` is how messages call it, without a password.  With `read_only` nothing
    can be written; `reason` says why.  With `is_stale` the latest commits may be
    missing.  With `follows` the log of counts is handed on to another
    database.
    """

    name: str
    follows: bool
    read_only: bool
    is_stale: bool
    reason: str

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""

    def row(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""

    def cursor(self, statement: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query one by one, for a reader that may stop early.

        The query says the order of all its rows, so that it can be read by parts.
        """

    def write(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        """Carry out one statement inside a transaction; return how many rows it changed."""

    def write_later(self, statement: str, values: tuple[Any, ...] = ()) -> object:
        """Carry out one statement inside a transaction, before the next one or COMMIT.

        A server gets it in one message with that.  It may be that which raises StoreError.
        """

    def write_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Carry out one statement for each row of values, inside a transaction."""

    def turn(self, *accounts: str) -> AbstractContextManager[object]:
        """Return what a `with` enters within which nobody else decides about these accounts."""

    def again(self, work: Callable[[], Result]) -> Result:
        """Return work(), done again for some seconds while it raises AgainError."""

    def in_turn(self, work: Callable[[], Result], *accounts: str) -> Result:
        """Return work(), done within `with turn(*accounts)`.

        It is done again where another transaction was in its way, or a server's answer was lost.
        So all writes go this way.  The accounts are all whose verdicts may change by the work: what
        is kept of their repeats ends.  The work reads the rows that it depends on itself.  Beside
        the database it changes only things that a second run sets right.
        """

    def end_repeats(self, *accounts: str) -> None:
        """Within a transaction: end what is kept of repeats of these accounts, or of all.

        in_turn() does so for its accounts.
        """

    def __enter__(self) -> Database:
        """Begin a write transaction."""

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Commit, or roll back if an error got here."""

    def sync(self) -> None:
        """Wait until all that was committed is on disk."""

    def is_free(self) -> bool:
        """Whether a write transaction could begin now without waiting for others."""

    def check_in_place(self) -> None:
        """Raise StoreError if this is not the database any more that `name` means.

        Outside transactions.  Only here a database may become stale, or current.
        """

    def require_current(self) -> None:
        """Raise StoreError if the latest commits may be missing."""

    def checkpoint_if_due(self, *, in_background: bool = False) -> None:
        """Tidy up what many writes leave behind; to be called outside transactions."""

    def tidy_in_background(self) -> bool:
        """Start a process that sorts the log of counts, False where the caller has to."""

    def close(self) -> None:
        """Close the database."""
