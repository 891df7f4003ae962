"""The command `move`."""

from __future__ import annotations

import pytest
from checkout import Site

pytestmark = pytest.mark.subprocess


def test_move_refuses_a_database_that_is_not_there(site: Site) -> None:
    source, target = site.folder / "none.db", site.folder / "target.db"
    done = site.admin("move", str(source), str(target))
    assert (done.returncode, done.stderr) == (
        4,
        f"pcc_admin.py: FROM does not exist: {source}\n",
    )
    assert not target.exists()


def test_move_of_a_database_to_itself_is_refused(site: Site) -> None:
    done = site.admin("move", str(site.database), f"{site.folder}/./pcc.db")
    assert (done.returncode, done.stderr) == (4, "pcc_admin.py: FROM and TO are the same\n")
