"""The years of logs that have none, and logs as files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest

from pcc.errors import PccError
from pcc.history import DAY
from pcc.replay.logfiles import Log, in_order
from pcc.replay.submissions import Tally

NOW = 1_795_780_800  # 2026-11-27T12:00:00Z


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(date: str, number: int = 1) -> str:
    if len(date) < 10:
        date = f"{date} 10:00:00"
    return (
        f"{date} mx1 postfix/smtpd[71]: {number:X}:"
        " client=unknown[203.0.113.9], sasl_method=PLAIN, sasl_username=joe\n"
    )


def log(*dates: str) -> bytes:
    return "".join([line(date, number) for number, date in enumerate(dates)]).encode()


def dates_of(*paths: Path | str, now: float = NOW) -> list[str]:
    """Return the days of the mails in some logs, as they are read."""
    logs = [Log(str(path), now) for path in paths]
    mails = in_order(logs, Tally(), lambda read: None)
    return [f"{datetime.fromtimestamp(mail.time):%Y-%m-%d}" for mail in mails]


def write(path: Path, text: bytes, changed: float | str = NOW) -> Path:
    """Write a log, or a gzipped one that says when what is in it was changed."""
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed).timestamp()
    path.write_bytes(gzip.compress(text, mtime=changed) if path.suffix == ".gz" else text)
    os.utime(path, (changed, changed))
    return path


FOURTEEN_MONTHS = ("Oct  1", "Jan 15", "Oct 15", "Nov 25", "Nov 26")
OF_THEM = ["2025-10-01", "2026-01-15", "2026-10-15", "2026-11-25", "2026-11-26"]


@pytest.mark.parametrize("name", ["mail.log", "mail.log.gz"])
def test_log_without_years_may_span_more_than_one(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, log(*FOURTEEN_MONTHS))
    assert dates_of(path) == OF_THEM
    assert dates_of(write(path, log(*FOURTEEN_MONTHS), "2024-11-26")) == [
        day.replace("2026", "2024").replace("2025", "2023") for day in OF_THEM
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_stdin_without_years_ends_now(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    text = b"-- Journal begins at Mon --\n" + log(*FOURTEEN_MONTHS)
    with io.FileIO(os.memfd_create("stdin"), "r+") as file:
        file.write(gzip.compress(text) if packed else text)
        file.seek(0)
        monkeypatch.setattr("sys.stdin", file)
        assert dates_of("-") == OF_THEM


@pytest.mark.parametrize(
    ("dates", "changed", "expected"),
    [
        (["Dec 31", "Jan  1"], "2026-01-01", ["2025-12-31", "2026-01-01"]),
        (["Dec 31", "Jan  1"], "2026-11-27", ["2025-12-31", "2026-01-01"]),
        (["Jan  1", "Dec 31", "Jan  1"], "2026-01-02", ["2026-01-01", "2025-12-31", "2026-01-01"]),
        (["Nov 28"], "2026-11-27", ["2026-11-28"]),  # a clock, or a zone, that is ahead
        (["Nov 29"], "2026-11-27", ["2025-11-29"]),
        (["Nov 27"], "2031-01-01", ["2026-11-27"]),  # a file of the future
        (["Feb 29"], "2026-11-27", ["2024-02-29"]),
        (["Feb 29", "Mar  1", "Mar  1"], "2026-11-27", ["2024-02-29", "2024-03-01", "2024-03-01"]),
        (["Feb 29", "Nov  1"], "2026-11-27", ["2024-02-29", "2024-11-01"]),
        (["Feb 28", "Feb 29"], "2024-03-01", ["2024-02-28", "2024-02-29"]),
        (["Nov 27", "Nov 27", "Nov 26"], "2026-11-27", ["2026-11-27", "2026-11-27", "2026-11-26"]),
        (["Nov 27", "Oct  1"], "2026-11-27", ["2026-11-27", "2026-10-01"]),  # joined wrongly
        (["Jun  1", "Mar  1"], "2026-11-27", ["2025-06-01", "2026-03-01"]),
        (["Jan  2", "Oct 30"], "2026-11-27", ["2026-01-02", "2026-10-30"]),  # a quiet summer
        (
            ["Oct  1", "Jan 15", "2026-01-16T10:00:00Z"],
            "2027-11-27",
            ["2025-10-01", "2026-01-15", "2026-01-16"],
        ),
        (["2024-12-31T10:00:00Z", "Jan  1"], "2026-11-27", ["2024-12-31", "2025-01-01"]),
        (["Feb 30", "Nov 27"], "2026-11-27", ["2026-11-27"]),
    ],
)
def test_year_follows_from_the_end_of_the_log(
    tmp_path: Path, dates: list[str], changed: str, expected: list[str]
) -> None:
    assert dates_of(write(tmp_path / "mail.log", log(*dates), changed)) == expected


def test_years_of_rotated_files_are_found_in_any_order(tmp_path: Path) -> None:
    parts = [["Oct  1", "Dec 31"], ["Jan  1", "Jul  1"], ["Sep  1", "Dec 30"], ["Apr  2", "Nov 26"]]
    expected = ["2024-10-01", "2024-12-31", "2025-01-01", "2025-07-01", "2025-09-01", "2025-12-30"]
    expected += ["2026-04-02", "2026-11-26"]
    paths = []
    for number, part in enumerate(parts):
        name = f"mail.log.{3 - number}" + (".gz" if number < 2 else "")
        paths.append(write(tmp_path / name, log(*part), f"{expected[2 * number + 1]}T12:00:00"))
    for _ in range(4):
        random.shuffle(paths)
        assert dates_of(*paths) == expected


@pytest.mark.parametrize("seed", range(8))
def test_years_of_a_random_log_are_the_true_ones(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    count = dice.choice((3, 40, 4000, 40_000))
    times = [NOW - dice.random() * DAY]
    while len(times) < count:
        longest = dice.choice((1, 30, 290) if len(times) < 20 else (0.01, 0.1))
        times.append(times[-1] - dice.random() * longest * DAY)
    times.reverse()
    dates = [f"{datetime.fromtimestamp(at):%b %e %H:%M:%S}" for at in times]
    path = write(tmp_path / dice.choice(("mail.log", "mail.log.gz")), log(*dates), times[-1] + 60)
    assert dates_of(path) == [f"{datetime.fromtimestamp(at):%Y-%m-%d}" for at in times]


def test_time_is_never_later_than_tomorrow(tmp_path: Path) -> None:
    text = log("2026-11-27T10:00:00Z", "2036-11-27T10:00:00Z", "2026-11-28T11:00:00Z", "Nov 30")
    assert dates_of(write(tmp_path / "mail.log", text)) == [
        "2026-11-27",
        "2026-11-28",
        "2025-11-30",
    ]


def test_year_at_midnight_is_that_of_the_local_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    text = log("Dec 31 23:59:59", "Jan  1 00:00:01")
    path = write(tmp_path / "mail.log", text, "2026-01-01T00:00:02")
    assert dates_of(path) == ["2025-12-31", "2026-01-01"]
    assert dates_of(path, now=datetime(2026, 1, 1).timestamp()) == ["2025-12-31", "2026-01-01"]


def test_local_time_is_that_of_the_machine_and_its_summer_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Madrid")
    time.tzset()
    dates = ["01:50:00", "02:50:00", "02:10:00", "02:50:00", "03:10:00"]
    text = log(*[f"Oct 27 {date}" for date in dates])
    logs = [Log(str(write(tmp_path / "mail.log", text, "2024-10-28")), NOW)]
    begin = 1_729_990_800 - 4200  # 2024-10-27T01:00:00Z: 03:00 becomes 02:00
    found = [mail.time - begin for mail in in_order(logs, Tally(), lambda read: None)]
    assert found == [0, 3600, 4800, 7200, 8400]


@pytest.mark.parametrize("style", ["%b %e %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
def test_rotated_files_may_come_in_any_order(tmp_path: Path, style: str) -> None:
    times = [NOW - 9 * DAY + number * 25_200 for number in range(24)]
    dates = [datetime.fromtimestamp(at).strftime(style) for at in times]
    paths = []
    for number in range(3):
        part = slice(number * 8, number * 8 + 8)
        name = f"mail.log.{3 - number}" + (".gz" if number < 2 else "")
        paths.append(write(tmp_path / name, log(*dates[part]), times[part][-1] + 3600))
    for _ in range(4):
        random.shuffle(paths)
        assert dates_of(*paths) == [f"{datetime.fromtimestamp(at):%Y-%m-%d}" for at in times]


def test_logs_of_several_hosts_are_merged_by_time(tmp_path: Path) -> None:
    dates = [f"2026-11-{day:02d}T10:00:00Z" for day in range(1, 21)]
    first = write(tmp_path / "mx1.log", log(*dates[::2]))
    second = write(tmp_path / "mx2.log", log(*dates[1::2]).replace(b"mx1", b"mx2"))
    assert dates_of(second, first) == [date[:10] for date in dates]


@pytest.mark.parametrize(("name", "module"), [("xz", lzma), ("bzip2", bz2)])
def test_log_compressed_by_another_program_is_refused_by_name(
    tmp_path: Path, name: str, module: ModuleType
) -> None:
    path = tmp_path / "mail.log.1"
    path.write_bytes(module.compress(b"Nov 22 09:01:02 mx1 postfix/smtpd[71]: connect"))
    with pytest.raises(PccError, match=f"compressed by {name}: read it by `{name} -dc`"):
        Log(str(path), 0)
