"""`held`: what it says where there is no mail to list."""

from __future__ import annotations

from checkout import Site


def test_held_asks_whether_a_login_that_was_never_seen_is_whole(site: Site) -> None:
    assert site.ask("joe@example.org") == "DUNNO"
    done = site.admin("held", "joe")
    question = "is this the whole login? joe@example.org was seen"
    assert done.stderr == f"pcc_admin.py: nothing is known of joe: {question}\n"
    assert done.returncode == 0
    assert site.admin("held", "joe@example.org").stderr == ""
