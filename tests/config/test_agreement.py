"""Settings that hosts with one database should share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcc.config import Config
from pcc.config.agreement import OWN, differences, settings
from pcc.config.options import read_values


def of(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "pcc.toml").write_text(text)
    return settings(Config(read_values(str(tmp_path / "pcc.toml"))))


LIMIT = '[[limit]]\nmax_networks = 3\nwindow = "10m"\n'
OVERRIDE = '[[override]]\naccounts = ["ceo@example.org"]\nmax_countries = 8\n'


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("", "", []),
        ("[policy]\nmax_countries = 4", "", [("policy.max_countries", "4", "5")]),
        ('[policy]\nwindow = "1d"', "", [("policy.window", "1d", "2d")]),
        ('[store]\nhost = "mx1"\n[log]\nverbose = true', "", []),
        ('[country]\ndatabase = "/x.mmdb"\n[notify]\nto = []', "", []),
        (
            '[policy]\nignore_countries = ["ES", "FR"]\nexempt_clients = ["192.0.2.0/24", "x.org"]',
            '[policy]\nignore_countries = ["FR", "ES"]\nexempt_clients = ["x.org", "192.0.2.0/24"]',
            [],
        ),
        (
            '[policy]\nexempt_clients = ["192.0.2.0/24"]',
            "",
            [("exempt_networks", "192.0.2.0/24", "none")],
        ),
        (LIMIT, LIMIT, []),
        (LIMIT, LIMIT.replace("10m", "20m"), [("policy.limit 1.window", "10m", "20m")]),
        (OVERRIDE, OVERRIDE.replace("8", "9"), [("override 1.max_countries", "8", "9")]),
    ],
)
def test_settings_of_two_hosts_differ_where_their_verdicts_would(
    tmp_path: Path, ours: str, theirs: str, expected: list[tuple[str, str, str]]
) -> None:
    assert differences(of(tmp_path, ours), of(tmp_path, theirs)) == expected


def test_settings_of_a_limit_that_only_one_host_has_differ(tmp_path: Path) -> None:
    found = differences(of(tmp_path, ""), of(tmp_path, LIMIT))
    assert ("policy.limit 1.max_networks", "not there", "3") in found


def test_settings_that_another_version_does_not_know_are_no_difference(tmp_path: Path) -> None:
    ours = of(tmp_path, "")
    theirs = {key: value for key, value in ours.items() if "familiar_after" not in key}
    assert differences(ours, theirs) == differences(theirs, ours) == []


def test_settings_can_be_kept_as_json_and_name_nothing_of_a_hosts_own(tmp_path: Path) -> None:
    found = of(tmp_path, LIMIT + OVERRIDE)
    assert json.loads(json.dumps(found)) == found
    assert set(Config.__slots__) >= OWN
    assert not OWN & set(found)


def test_settings_are_the_same_text_for_the_same_file(tmp_path: Path) -> None:
    text = LIMIT + '[[limit]]\nmax_foreign_mails = 50\n[[override]]\naccounts = ["joe"]\n'
    first, second = of(tmp_path, text), of(tmp_path, text)
    assert first == second
    assert not [value for value in first.values() if " object at " in value]
