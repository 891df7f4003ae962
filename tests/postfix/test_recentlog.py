"""The end of the mail log, and what smtpd(8) says there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcc.postfix import recentlog
from pcc.postfix.recentlog import MOST_BYTES, read, smtpd_complaint

HEAD = "Nov 27 10:00:00 mx postfix"
FATAL = f'{HEAD}/submission/smtpd[7]: fatal: unknown option: "foo = 1"'
CONNECT = f"{HEAD}/smtpd[7]: warning: connect to private/pcc: No such file or directory"
OTHER = f"{HEAD}/smtpd[7]: warning: connect to private/other: No such file or directory"
OURS = "Nov 27 10:00:00 mx pcc[9]: error /var/lib/pcc/pcc.db: disk I/O error"
CLEANUP = f"{HEAD}/cleanup[7]: fatal: no"
RELOAD = f"{HEAD}/master[1]: reload -- version 3.7.11, configuration /etc/postfix"
START = f"{HEAD}/master[1]: daemon started -- version 3.7.11, configuration /etc/postfix"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        ([FATAL], FATAL),
        ([FATAL, CONNECT, OTHER, CLEANUP], CONNECT),
        ([FATAL, RELOAD], ""),
        ([FATAL, START, OTHER, CLEANUP], ""),
        ([RELOAD, FATAL], FATAL),
        ([OURS, CONNECT, OTHER], OURS),
        ([OURS, RELOAD, CONNECT], CONNECT),
        ([OURS, FATAL, CONNECT], CONNECT),
        ([OURS], ""),
        ([OURS, *[CLEANUP] * 20, CONNECT], CONNECT),
    ],
)
def test_smtpd_complaint_is_the_last_since_a_reload(lines: list[str], expected: str) -> None:
    log = "".join(f"{line}\n" for line in lines).encode()
    assert smtpd_complaint(log, "unix:private/pcc", "pcc").decode() == expected


def test_recent_log_is_whole_lines_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    assert read(str(path)) == (str(path), b"", "")
    path.write_bytes(b"first line\nsecond\n")
    assert read(str(path)) == (str(path), b"first line\nsecond\n", "")
    path.write_bytes(b"x" * 100 + b"\n" + b"a line\n" * (MOST_BYTES // 7))
    lines = read(str(path)).lines
    assert MOST_BYTES - 10 < len(lines) <= MOST_BYTES
    assert set(lines.splitlines()) == {b"a line"}


def test_recent_log_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    assert read(str(tmp_path)).problem == f"{tmp_path}: Is a directory"


def test_recent_log_of_a_container_is_not_a_device() -> None:
    assert not recentlog.place_of("/dev/stdout").startswith("/dev/")
