"""The list of networks whose addresses are rented by the hour: hosting, cloud, VPN and proxies.

One autonomous system number a line; `#` begins a comment, and an empty line is none.
"""

from __future__ import annotations

import posix  # what `os` adds to it would cost a tenth of the interpreter's start

from pcc.errors import CountryError

_REGULAR = 0o100000


class HostingError(CountryError):
    """A line of the list is no number; `networks` are those of the other lines."""

    def __init__(self, message: str, networks: frozenset[str]) -> None:
        super().__init__(message)
        self.networks = networks


def read_hosting(path: str) -> frozenset[str]:
    """Return the networks of the list at `path`, as `AS64500`.

    Raises CountryError for a file that can't be read, HostingError for lines that are no numbers,
    of which it names the first.
    """
    try:
        if posix.stat(path).st_mode & 0o170000 != _REGULAR:  # opening a FIFO would wait for ever
            raise CountryError(f"{path}: the hosting list must be a regular file")
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise CountryError(
            f"{path}: the hosting list is missing; `pcc_admin.py init` puts one there"
        ) from None
    except OSError as error:
        raise CountryError(f"{path}: the hosting list can't be read: {error.strerror}") from None
    networks = set()
    wrong = ""
    for number, line in enumerate(lines, 1):
        value = line.partition(b"#")[0].strip()
        if not value:
            continue
        if value.isdigit() and len(value) <= 10 and 0 < int(value) < 1 << 32:
            networks.add(f"AS{int(value)}")
        elif not wrong:
            shown = value[:40].decode("utf-8", "backslashreplace")
            wrong = f"{number}: must be an autonomous system number such as 64500, got {shown!a}"
    if wrong:
        raise HostingError(f"{path}:{wrong}", frozenset(networks))
    return frozenset(networks)
