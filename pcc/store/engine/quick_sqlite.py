"""SQLite's C module for Python, imported at the price of that module alone.

`sqlite3` adds datetime and collections to it, which the store does not need.
The C module itself imports functools, which costs three times as much as all the rest of it.  It
takes nothing from there but lru_cache for its statements.  So it is lent the C part of that
instead, unless functools is there already.  Measured: 2.3 of the 9 ms that an interpreter takes to
start and import it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection, Error, OperationalError, connect
else:
    if "functools" in sys.modules:
        from _sqlite3 import Connection, Error, OperationalError, connect
    else:
        from _functools import _lru_cache_wrapper

        _lender = type(sys)("functools")
        _lender.lru_cache = lambda size: lambda make: _lru_cache_wrapper(make, size, False, None)
        sys.modules["functools"] = _lender
        try:
            from _sqlite3 import Connection, Error, OperationalError, connect
        finally:
            del sys.modules["functools"]

__all__ = ["Connection", "Error", "OperationalError", "connect"]
