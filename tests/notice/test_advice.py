"""The commands in a notice: one that is pasted does what it says, and nothing else."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from notices import (
    NASTY,
    USER,
    Place,
    config_of,
)

from pcc.config import DEFAULT_PATH, Config
from pcc.config.options import read_values
from pcc.invocation import shell_word
from pcc.notice.advice import command
from pcc.store import incidents


def test_command_names_a_configuration_that_is_not_the_default(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    text = command(config, "show", USER)
    assert text.endswith(f"/pcc_admin.py -c {tmp_path}/pcc.toml show {USER}")
    default = Config({**read_values(config.path), "path": DEFAULT_PATH})
    assert command(default, "show", USER).endswith(f"/pcc_admin.py show {USER}")
    odd = tmp_path / "a b's"
    odd.mkdir()
    words = shlex.split(command(config_of(odd), "show", USER))
    assert words[-3] == f"{tmp_path}/a b's/pcc.toml"


@pytest.mark.subprocess
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_login_is_one_inert_word_in_a_shell(tmp_path: Path, shell: str) -> None:
    for odd in NASTY:
        if "\0" in odd:  # no login that Postfix passes on has one, nor can an argument
            continue
        done = subprocess.run(
            [shell, "-c", f"printf '<%s>' {shell_word(odd)}"],
            cwd=tmp_path,
            capture_output=True,
            env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            check=True,
        )
        if shell == "bash" or odd.isprintable():
            assert done.stdout.decode() == f"<{odd}>"
        else:
            assert done.stdout.count(b"<") == 1
        assert not done.stderr
    assert list(tmp_path.iterdir()) == []


started = pytest.mark.subprocess


@started
@pytest.mark.parametrize("odd", [odd for odd in NASTY if "\0" not in odd])
def test_command_that_is_pasted_does_only_what_it_says(place: Place, odd: str) -> None:
    account = place.config.normalised_account(odd)
    place.incident(account)
    pasted = command(place.config, "unblock", account, "--reason", "pasted")
    place.configure(to=[])
    done = subprocess.run(
        ["bash", "-c", pasted],
        cwd=place.mails,
        capture_output=True,
        text=True,
        env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert incidents.open_incident(place.database, account) is None
    assert list(place.mails.iterdir()) == []
