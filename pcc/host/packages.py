"""Makes installed packages importable in an interpreter that was started with -S, and in peace.

master.cf.snippet starts the policy process so, because looking through the
site-packages folders takes 2 to 6 ms that most verdicts need not spend.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_BLOCK, SIG_UNBLOCK, SIGALRM, pthread_sigmask
else:
    from _signal import SIG_BLOCK, SIG_UNBLOCK, SIGALRM, pthread_sigmask


def reach_packages() -> None:
    """Do what -S left undone; elsewhere nothing."""
    import sys

    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()


class Undisturbed:
    """Puts alarms off for a `with`: the import of a C module may lose one."""

    def __enter__(self) -> None:
        """Put the alarm off."""
        pthread_sigmask(SIG_BLOCK, (SIGALRM,))

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Allow alarms again; one that was put off rings now."""
        pthread_sigmask(SIG_UNBLOCK, (SIGALRM,))
