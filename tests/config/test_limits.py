"""Further limits and overrides: the policy of each account."""

from __future__ import annotations

from pathlib import Path

import pytest
from configs import counted, limits_of, read, values


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pcc.toml"


OVERRIDES = """
[policy]
max_countries = 4
window = "1d"
action = "HOLD"

[[limit]]
max_countries = 2
[[limit]]
max_addresses = 5
window = "1h"

[[override]]
accounts = ["ceo@example.org"]
max_countries = 9

[[override]]
accounts = ["@example.org"]
window = "3d"

[[override]]
accounts = ["ceo@example.org", "@example.net"]
limit = []
action = "REJECT"
ignore_countries = ["ES"]

[[override]]
accounts = ["@example.com"]
window = "5h"
[[override.limit]]
max_addresses = 7
[[override.limit]]
max_countries = 1
window = "1m"
"""


@pytest.mark.parametrize(
    ("account", "limits"),
    [
        ("x@example.edu", [(4, 0, 86400, "1d"), (2, 0, 86400, "1d"), (0, 5, 3600, "1h")]),
        ("x", [(4, 0, 86400, "1d"), (2, 0, 86400, "1d"), (0, 5, 3600, "1h")]),
        ("ceo@example.org", [(9, 0, 86400, "1d"), (2, 0, 86400, "1d"), (0, 5, 3600, "1h")]),
        ("x@example.org", [(4, 0, 259200, "3d"), (2, 0, 259200, "3d"), (0, 5, 3600, "1h")]),
        ("x@example.net", [(4, 0, 86400, "1d")]),
        ("x@example.com", [(4, 0, 18000, "5h"), (0, 7, 18000, "5h"), (1, 0, 60, "1m")]),
        ("x@sub.example.com", [(4, 0, 86400, "1d"), (2, 0, 86400, "1d"), (0, 5, 3600, "1h")]),
    ],
)
def test_first_override_that_names_an_account_wins(
    path: Path, account: str, limits: list[tuple[int, int, int, str]]
) -> None:
    assert limits_of(read(path, OVERRIDES).policy_for(account)) == limits


def test_limit_has_familiar_after_window_and_mode_of_policy_unless_it_has_its_own(
    path: Path,
) -> None:
    config = read(
        path,
        '[policy]\nfamiliar_after = 4\nwindow = "3d"\n[[limit]]\nmax_networks = 3\n'
        '[[limit]]\nmax_foreign_mails = 9\nfamiliar_after = 0\nwindow = "1h"\nmode = "observe"\n'
        '[[override]]\naccounts = ["joe"]\nfamiliar_after = 5\nmode = "observe"\n',
    )
    names = ("familiar_after", "window_text", "observes")
    assert [tuple(values(limit, names).values()) for limit in config.policy.limits] == [
        (4, "3d", False),
        (4, "3d", False),
        (0, "1h", True),
    ]
    assert [limit.familiar_after for limit in config.policy_for("joe").limits] == [5, 5, 0]
    assert counted(config.policy) == [
        {"max_countries": 5},
        {"max_networks": 3},
        {"max_foreign_mails": 9},
    ]


def test_override_changes_only_what_it_says(path: Path) -> None:
    config = read(path, OVERRIDES)
    assert config.policy_for("ceo@example.org").action == "HOLD"
    changed = config.policy_for("x@example.net")
    assert (changed.action, changed.ignore_countries) == ("REJECT", frozenset({"ES"}))
    assert changed.reason == config.policy.reason


def test_group_of_countries_is_called_after_its_members(path: Path) -> None:
    config = read(path, '[policy]\ncountry_groups = [["ES", "pt"], ["DE", "AT", "CH"], []]')
    assert config.policy.group_of == {
        "ES": "ES+PT",
        "PT": "ES+PT",
        "DE": "DE+AT+CH",
        "AT": "DE+AT+CH",
        "CH": "DE+AT+CH",
    }
