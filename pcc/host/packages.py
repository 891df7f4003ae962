"""Makes installed packages importable in an interpreter that was started with -S.

master.cf.snippet starts the policy process so, because looking through the
site-packages folders takes 2 to 6 ms that most verdicts need not spend.
"""

from __future__ import annotations


def reach_packages() -> None:
    """Do what -S left undone; elsewhere nothing."""
    import sys

    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
