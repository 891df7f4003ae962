"""Verdicts of a host that shares a database with others, and has a file in front of it.

Most mail is answered from the file, as on a single host: repeats, the mail of blocked accounts
that is refused, and what is exempt.  The server decides about any other, in its transaction.

The file may be older than two seconds: the follower does not run, or gets no answer.  Then the
server is asked about every mail.  Where that gives no answer either, it is away.  Then the file's
blocks hold.  Mail from known places passes while the file is not older than `store.trust_for`, and
is counted later.  Any other mail gets no reply.
"""

from __future__ import annotations

from pcc.errors import DeadlineError, StoreError
from pcc.store.engine import hostfile
from pcc.verdict.repeat import Verdicts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.config import Config
    from pcc.protocol import PolicyRequest
    from pcc.store.engine.hostfile import HostFile
    from pcc.store.engine.interface import Database
    from pcc.verdict import Verdict
    from pcc.verdict.repeat import Repeat


class SharedVerdicts(Verdicts):
    """Gives verdicts by the host's file and by the server; see pcc/verdict/repeat.py.

    `config_path` is what the follower is started with.
    """

    def __init__(
        self, config: Config, config_path: str, file: HostFile, complain: Callable[[str], None]
    ) -> None:
        super().__init__(config, file, complain)
        self._file = file
        self._config_path = config_path
        self._server: Database | None = None

    def repeat(self, account: str, request: tuple[str, ...], now: float) -> Repeat | None:
        """Return what count() takes of a request that is a repeat by a file that is up to date."""
        if not self._file.is_fresh(now):
            return None
        return super().repeat(account, request, now)

    def verdict(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        """Return the verdict on a request of an account that the configuration covers."""
        file = self._file
        file.check_in_place()
        file.take_for_here()
        is_fresh = file.is_fresh(now)
        if is_fresh:
            try:
                return self._decide(file, account, request, now)
            except hostfile.AskServer:
                problem = ""
        else:
            self._start_follower()
            problem = file.why_not_ask()
        if not problem:
            has_answered = False
            try:
                verdict = self._ask(account, request, now)
                has_answered = True
            except (StoreError, DeadlineError) as error:
                problem = str(error)
            else:
                if not hostfile.wake(file.path, account, request.client_address):
                    self._start_follower()
                return verdict
            finally:
                if not is_fresh:
                    file.tell_answer(has_answered=has_answered)
        file.take_for_away(problem)
        return self._decide(file, account, request, now)

    def _ask(self, account: str, request: PolicyRequest, now: float) -> Verdict:
        """Return the server's verdict."""
        if self._server is None:
            from pcc.store import open_database

            self._server = open_database(
                self._config.store_database, for_verdicts=True, host_file=self._config.host_file
            )
        server = self._server
        server.check_in_place()
        if server.is_stale:
            raise StoreError(f"{server.name}: {server.reason}")
        return self._decide(server, account, request, now)

    def _start_follower(self) -> None:
        from pcc import follower

        try:
            follower.start(self._config_path, self._file.path)
        except OSError:
            pass  # the server is asked until another process succeeds

    def close(self) -> None:
        """Close the file and the connection."""
        super().close()
        if self._server is not None:
            self._server.close()
