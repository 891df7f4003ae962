"""The last mails in a log: how many had no country, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcc.config import Config
from pcc.config.options import read_values
from pcc.replay.recent import problem, recent_mails

NOW = 1767225600.0


def line(address: str, login: str = "joe@example.org", name: str = "unknown") -> str:
    return (
        f"2025-12-30T09:01:02+00:00 mx postfix/smtpd[7]: 4F2ABC: client={name}[{address}],"
        f" sasl_method=PLAIN, sasl_username={login}\n"
    )


def country(packed: bytes) -> str:
    return "ES" if packed[0] == 90 else ""


def told(tmp_path: Path, *lines: str, policy: str = "") -> str:
    (tmp_path / "pcc.toml").write_text(f"[policy]\n{policy}\n")
    config = Config(read_values(str(tmp_path / "pcc.toml")))
    recent = recent_mails(config, "".join(lines).encode(), country, NOW)
    return problem(recent, "country.mmdb")


def test_recent_mail_behind_a_gateway_is_told_with_the_fix(tmp_path: Path) -> None:
    text = told(tmp_path, *[line("172.17.0.1")] * 180, *[line("90.77.1.1")] * 20)
    assert text.startswith(
        "180 of the last 200 mails had no country, so pcc recorded nothing of them; 180 came from"
        " 172.17.0.1."
    )
    assert "network_mode: host" in text and "send-proxy-v2" in text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([line("90.77.1.1")] * 20, ""),
        ([line("90.77.1.1")] * 20 + [line("10.0.0.7")] * 2, ""),
        ([line("90.77.1.1")] * 20 + [line("10.0.0.7")] * 3, "3 of the last 23 mails had no"),
        ([line("10.0.0.7")] * 500 + [line("90.77.1.1")] * 200, ""),  # mended since
        ([line("unknown")], "1 of the last 1 mail had no country"),
        ([line("198.51.100.7")], "is that a database of countries"),
        ([line("10.0.0.7", login="joe@elsewhere.example")], ""),
        ([line("10.1.0.7")], ""),
        ([line("10.0.0.7", name="webmail.example.org")], ""),
        ([], ""),
        (["Nov 22 no line of Postfix\n", "\xff\n"], ""),
    ],
)
def test_recent_mail_is_told_of_where_pcc_should_judge_it(
    tmp_path: Path, lines: list[str], words: str
) -> None:
    policy = 'domains = ["example.org"]\nexempt_clients = ["10.1.0.0/16", "webmail.example.org"]'
    text = told(tmp_path, *lines, policy=policy)
    assert words in text if words else text == ""
