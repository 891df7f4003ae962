"""The policy process: the straight line from stdin to stdout.

    pcc_policy.py [-c FILE | --config FILE]

spawn(8) runs one process per policy connection, its stdin and stdout on the
SMTP server's socket.  The process reads requests and answers each with an action.  It ends at the
end of input, after ten minutes without a request, or at SIGTERM.  By then all answered mail has
been counted.

In trouble it does not answer: it logs one line with the cause, disconnects and
exits with a status of sysexits(3).  Postfix asks again in a new process and
then applies the `default_action` of its check_policy_service.  A decision that
takes longer than DECISION_SECONDS is also trouble: spawn(8) does not enforce its time limit before
Postfix 3.10.

Before the first verdict on a known account and address nothing is imported
that costs more than a millisecond; a test holds this.
"""

from __future__ import annotations

import posix  # what `os` adds to it would cost a tenth of the interpreter's start
import sys
from select import POLLIN, poll
from time import monotonic, time

from pcc.config import DEFAULT_PATH, prepared
from pcc.errors import DeadlineError, PccError, ProtocolError, StoreError
from pcc.protocol import RequestReader, reply, usual_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import ITIMER_REAL, SIG_IGN, SIGALRM, SIGCHLD, SIGPIPE, SIGTERM, alarm, setitimer
    from signal import signal as on_signal

    from pcc.config import Config
    from pcc.protocol import PolicyRequest
    from pcc.verdict import Verdict
    from pcc.verdict.counting import Counting
    from pcc.verdict.repeat import Verdicts
else:  # `signal` would cost more than all the rest: it makes enums of these
    from _signal import ITIMER_REAL, SIG_IGN, SIGALRM, SIGCHLD, SIGPIPE, SIGTERM, alarm, setitimer
    from _signal import signal as on_signal

DECISION_SECONDS = 8
"""Less than the 10 s that Postfix waits by master.cf.snippet, with time for a slow end."""

ALARM_SECONDS = 0.25
"""Between two settings of the alarm, each of which costs a system call."""

IDLE_SECONDS = 600
"""More than Postfix keeps an idle connection (smtpd_policy_service_max_idle, 300 s)."""

READ_BYTES = 65536

USAGE = "usage: pcc_policy.py [-c FILE | --config FILE]\n"


class Terminated(BaseException):
    """SIGTERM came while nothing was being decided."""


def main(arguments: list[str]) -> None:
    """Serve the connection on stdin and stdout, then end the process."""
    status, log_name, database_path = 0, "pcc", ""
    try:
        path = config_path(arguments[1:])
        config = prepared.load(path)
        log_name, database_path = config.log_name, config.state_path
        PolicyService(config, path).serve()
    except PccError as error:
        status = error.exit_status
        _tell(str(error), log_name, database_path, error.kind)
    except Terminated:
        pass
    except Exception as error:  # a bug: log its place, in a line
        status = 70  # EX_SOFTWARE
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}: " if trace else ""
        _tell(f"internal error: {place}{type(error).__name__}: {error}", log_name, database_path)
    # Nothing is left to be done that the interpreter's own way out would do.
    posix._exit(status)


def config_path(arguments: list[str]) -> str:
    """Return the configuration's path from the command line; usage errors end the process."""
    if not arguments:
        return DEFAULT_PATH
    if len(arguments) == 2 and arguments[0] in ("-c", "--config"):
        return arguments[1]
    if len(arguments) == 1 and arguments[0].startswith("--config="):
        return arguments[0].removeprefix("--config=")
    if arguments in (["-h"], ["--help"]):
        sys.stdout.write(f"{USAGE}\n{__doc__}")
        sys.exit(0)
    if arguments == ["--version"]:
        from pcc import VERSION

        sys.stdout.write(f"pcc {VERSION}\n")
        sys.exit(0)
    sys.stderr.write(USAGE)
    _tell(f"unknown arguments: {' '.join(arguments)}")
    sys.exit(64)  # EX_USAGE


class PolicyService:
    """One policy connection: stdin to stdout.

    `config_path` is what children are started with.
    """

    def __init__(self, config: Config, config_path: str) -> None:
        self._config = config
        self._config_path = config_path
        self._reader = RequestReader()
        self._verdicts: Verdicts | None = None
        self._counting: Counting | None = None
        self._seconds = 0  # after which the alarm rings
        self._alarm_set = 0.0  # when, if for decisions
        self._has_begun = False  # A request that is no repeat is next.
        # A verbose log has each mail's country: then all mail is looked at more closely.
        self._has_repeats = config.account == "sasl_username" and not config.verbose
        self._poller = poll()
        self._poller.register(0, POLLIN)
        self._is_waiting = False
        self._is_ending = False
        self._told: set[str] = set()
        self._problems: list[str] = []  # with files about places, met during a verdict

    def serve(self) -> None:
        """Answer requests until the connection ends.

        Raises PccError when a request can't be answered.
        """
        on_signal(SIGALRM, self._on_alarm)
        on_signal(SIGTERM, self._on_terminate)
        on_signal(SIGPIPE, SIG_IGN)
        on_signal(SIGCHLD, SIG_IGN)  # children are not waited for
        try:
            while not self._is_ending:
                request = self._reader.next_request() if self._reader.unfinished else None
                if request is not None:
                    self._answer(request)
                elif not self._read():
                    break
            if self._reader.unfinished and not self._is_ending:
                raise ProtocolError("malformed policy request: the connection ended within it")
        finally:
            self._end()

    def _answer_repeat(self, data: bytes) -> bool:
        """Answer a request as Postfix usually sends it, if one look does; see verdict/repeat."""
        if not self._has_repeats or (request := usual_request(data)) is None:
            return False
        account = self._config.normalised_account(request[0])
        if not account:
            return False
        self._begin()
        verdicts = self._verdicts = self._verdicts or self._open()
        now = time()
        repeat = verdicts.repeat(account, request, now)
        if repeat is None:
            self._has_begun = True  # and the request, which is complete, is answered at once
            return False
        if not _send(b"action=DUNNO\n\n"):
            self._is_ending = True  # Postfix has gone
        verdicts.count(repeat, request, now)
        self._counter(verdicts).count_if_due()
        return True

    def _answer(self, request: PolicyRequest) -> None:
        verdict = None  # for a mail that pcc does not look at
        if not self._has_begun:
            self._begin()  # also for that: the reply may wait for a client that reads none
        self._has_begun = False
        account = self._config.account_of(request) if request.sasl_username else ""
        if account and self._config.covers(account):
            verdicts = self._verdicts = self._verdicts or self._open()
            verdict = verdicts.verdict(account, request, time())
        if not _send(reply(verdict.action if verdict else "DUNNO")):
            self._is_ending = True  # Postfix has gone
        if verdict is not None and (verdict.events or verdict.notify or self._problems):
            self._tell_of(verdict)
        if self._verdicts is not None:
            self._counter(self._verdicts).count_if_due()

    def _begin(self) -> None:
        """Raise DeadlineError when a decision takes longer than DECISION_SECONDS.

        It may be ALARM_SECONDS late.  While nothing is being done the alarm may ring.
        """
        now = monotonic()
        if now - self._alarm_set > ALARM_SECONDS:
            self._alarm_set = now
            self._seconds = DECISION_SECONDS
            setitimer(ITIMER_REAL, DECISION_SECONDS + ALARM_SECONDS)

    def _limit(self, seconds: int) -> None:
        """Raise DeadlineError when what comes now takes longer."""
        self._alarm_set = 0.0
        self._seconds = seconds
        alarm(seconds)

    def _open(self) -> Verdicts:
        from pcc.verdict.repeat import Verdicts

        config = self._config
        if not config.is_on_server:
            return Verdicts(config, None, self._problems.append)
        if (shared := self._open_shared()) is not None:
            return shared
        from pcc.store import open_database

        database = open_database(
            config.store_database, for_verdicts=True, host_file=config.host_file
        )
        self._alarm_set = 0.0  # the deadline begins when its driver is there
        self._begin()
        return Verdicts(config, database, self._problems.append)

    def _counter(self, verdicts: Verdicts) -> Counting:
        """Return what counts, imported when the first reply is out."""
        if self._counting is None:
            from pcc.verdict.counting import Counting

            self._counting = Counting(verdicts, self._limit, self._complain)
        return self._counting

    def _open_shared(self) -> Verdicts | None:
        """Return the verdicts by a shared server and this host's file, None without the file."""
        from pcc.store.engine.hostfile import HostFile
        from pcc.verdict.sharing import SharedVerdicts

        config = self._config
        if not posix.access(config.host_file, posix.F_OK):
            return None  # doctor says so
        try:
            file = HostFile(config.host_file, config.shown_database, config.trust_for)
        except StoreError as error:
            self._complain("host file", f"the server is asked about all mail: {error}")
            return None
        if file.read_only:
            self._complain("host file", f"the server is asked about all mail: {file.reason}")
            return None
        return SharedVerdicts(config, self._config_path, file, self._problems.append)

    def _tell_of(self, verdict: Verdict) -> None:
        """Log a verdict, and start the notice to administrators."""
        from pcc import maillog

        self._limit(DECISION_SECONDS)
        for problem in self._problems:
            # Once for each file: Lookup sees to that.
            _tell(problem, self._config.log_name, self._config.state_path, "places")
        self._problems.clear()
        maillog.open_log(self._config.log_name)
        for event, details in verdict.events:
            event(*details)
        if verdict.notify:
            from pcc.notice.notifier import start

            try:
                start(self._config_path, self._config.state_path)
            except OSError as error:  # the notice waits for the next one, or for cron
                self._complain("notify", f"{sys.executable}: can't be started: {error.strerror}")

    def _complain(self, subject: str, message: str) -> None:
        """Log what is wrong but stops nothing, once per process and subject."""
        if subject not in self._told:
            self._told.add(subject)
            kind = "notifier" if subject == "notify" else "store"
            _tell(message, self._config.log_name, self._config.state_path, kind)

    def _read(self) -> bool:
        """Wait for input, counting meanwhile, and take it in.

        Returns False when the connection has ended, or was idle for long.
        """
        counting = self._counting
        while not self._poll((pause := counting.pause() if counting else 0) or IDLE_SECONDS):
            if counting is None or not pause:
                return False
            counting.count_if_due()
        try:
            data = posix.read(0, READ_BYTES)
        except ConnectionResetError:
            return False
        if self._reader.unfinished or not self._answer_repeat(data):
            self._reader.receive(data)
        return bool(data)

    def _poll(self, seconds: float) -> bool:
        """Wait for input for `seconds` at most; return whether there is any, or its end."""
        self._is_waiting = True
        try:
            if self._is_ending:
                raise Terminated
            return bool(self._poller.poll(seconds * 1000))
        finally:
            self._is_waiting = False

    def _on_terminate(self, signal: int, frame: object) -> None:
        self._is_ending = True
        if self._is_waiting:
            raise Terminated

    def _on_alarm(self, signal: int, frame: object) -> None:
        if self._is_waiting:
            return
        # Code that catches this error only goes on to the reply, and counting may wait.
        self._is_ending = self._is_ending or self._seconds == DECISION_SECONDS
        alarm(1)  # until the next begins, also where some library drops this error
        raise DeadlineError(f"not done within {self._seconds} seconds")

    def _end(self) -> None:
        """Count what was answered, and close the database."""
        alarm(0)
        if self._verdicts is None:
            return
        self._counter(self._verdicts).finish(DECISION_SECONDS)
        self._limit(DECISION_SECONDS)
        self._verdicts.close()
        alarm(0)


def _send(data: bytes) -> bool:
    """Write a whole reply to stdout; return False when nobody reads it any more."""
    try:
        while data:
            data = data[posix.write(1, data) :]
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _tell(
    message: str, log_name: str = "pcc", database_path: str = "", kind: str = "internal"
) -> None:
    """Log an error, and also print it if a person tries the program on a terminal.

    It is counted as one of this kind where it is known which database pcc has.
    """
    from pcc import maillog

    maillog.open_log(log_name)
    maillog.error(message)
    if database_path:
        from pcc.store import tally

        tally.note(database_path, f"errors {kind}")
    if posix.isatty(2):
        from pcc.escaping import printable

        sys.stderr.write(f"pcc_policy.py: {printable(message)}\n")
