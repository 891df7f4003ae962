"""The load generator: policy connections as Postfix makes them, and how long answers take.

Each connection has a process of its own, started as spawn(8) starts it: descriptors 0, 1 and 2 on
one socket, a session of its own, umask 077.  Its environment has only MAIL_CONFIG, LANG and PATH.
One loop in one process serves all connections, because the generator shares two processor cores
with what it measures; `Answers.own_seconds` is the share that it took itself.

Mails are requests with a `%d` where the instance goes: each is sent as a new mail.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator
from time import perf_counter, process_time

ENVIRONMENT = {"MAIL_CONFIG": "/etc/postfix", "LANG": "C", "PATH": "/usr/bin:/bin"}
PATIENCE_SECONDS = 30
LONGEST_REPLY = 4096
READY_AT_A_TIME = 16
"""Processes that import what they need at once, where what is measured comes after that."""

Argv = list[str]


class BrokenPolicyError(Exception):
    """A policy process ended, or hung, where it should have answered."""


def start(argv: Argv, *, connected: socket.socket | None = None) -> int:
    """Start a program as spawn(8) would; return its process id.

    `connected`: what its descriptors 0, 1 and 2 are; by default /dev/null.
    """
    descriptor = os.open(os.devnull, os.O_RDWR) if connected is None else connected.fileno()
    umask = os.umask(0o077)
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            ENVIRONMENT,
            file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, target) for target in (0, 1, 2)],
            setsid=True,
        )
    finally:
        os.umask(umask)
        if connected is None:
            os.close(descriptor)


class Answers:
    """The result: seconds per answer, how often each reply was given, seconds it all took.

    `own_seconds`: processor time of the generator itself.
    """

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.replies: Counter[bytes] = Counter()
        self.seconds = 0.0
        self.own_seconds = 0.0

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    @property
    def slowest(self) -> float:
        """The longest that an answer took, in seconds."""
        return max(self.latencies)

    def percentile(self, percent: float) -> float:
        """Return the seconds within which so many percent of the answers came."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Measure what is done within."""
        gc.collect()
        gc.disable()
        begin, own = perf_counter(), process_time()
        try:
            yield
        finally:
            self.seconds += perf_counter() - begin
            self.own_seconds += process_time() - own
            gc.enable()


class Connection:
    """A policy connection and the process at its other end."""

    def __init__(self, argv: Argv) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            self.pid = start(argv, connected=theirs)
        self.fd = self._ours.fileno()

    def ask(self, request: bytes) -> bytes:
        """Send a request; return the complete reply.  Raises BrokenPolicyError."""
        os.write(self.fd, request)
        return self.reply()

    def reply(self) -> bytes:
        """Return the next complete reply.  Raises BrokenPolicyError."""
        if not select.select([self.fd], [], [], PATIENCE_SECONDS)[0]:
            raise BrokenPolicyError(f"process {self.pid} gave no answer")
        return self.checked(os.read(self.fd, LONGEST_REPLY))

    def checked(self, reply: bytes) -> bytes:
        """Return a reply that was read, if it is one.  Raises BrokenPolicyError."""
        if not reply.endswith(b"\n\n"):
            raise BrokenPolicyError(f"process {self.pid} answered {reply!r}")
        return reply

    def close(self) -> None:
        """End the connection, as Postfix does."""
        self._ours.close()

    def wait(self) -> None:
        """Wait for the process to end by itself.  Raises BrokenPolicyError."""
        _, status = os.waitpid(self.pid, 0)
        if status:
            raise BrokenPolicyError(f"process {self.pid} ended with status {status}")


class Mails:
    """Requests without end: those given, in turn, each with an instance of its own."""

    def __init__(self, requests: list[bytes], first_instance: int = 1) -> None:
        self._requests = requests
        self.instance = first_instance

    def __iter__(self) -> Iterator[bytes]:
        while True:
            for request in self._requests:
                self.instance += 1
                yield request % self.instance


class Pool:
    """Connections that are used side by side.  `replies` counts all that were ever given."""

    def __init__(self, argv: Argv, size: int) -> None:
        self._connections: dict[int, Connection] = {}
        self._poller = select.epoll()
        self.replies: Counter[bytes] = Counter()
        for _ in range(size):
            connection = Connection(argv)
            self._connections[connection.fd] = connection
            self._poller.register(connection.fd, select.EPOLLIN)
        self._cores = os.sched_getaffinity(0)
        if size == 1 and len(self._cores) > 1:
            self._part()

    def _part(self) -> None:
        """Give the generator and the one process a core each.

        Left to itself the kernel has them share a core on a busy machine, where a null policy
        answers five times as often, and part them on an idle one.
        """
        ours = {min(self._cores)}
        os.sched_setaffinity(0, ours)
        os.sched_setaffinity(self.pids[0], self._cores - ours)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close all connections and wait for the processes; after an error, kill them."""
        os.sched_setaffinity(0, self._cores)
        self._poller.close()
        for connection in self._connections.values():
            connection.close()
            if kind is not None:
                os.kill(connection.pid, signal.SIGKILL)
        for connection in self._connections.values():
            with contextlib.suppress(BrokenPolicyError) if kind else contextlib.nullcontext():
                connection.wait()

    @property
    def pids(self) -> list[int]:
        """The process ids."""
        return [connection.pid for connection in self._connections.values()]

    def ask_each(self, mails: Iterator[bytes]) -> None:
        """Send one mail over each connection, few at a time, to have all processes ready."""
        connections = list(self._connections.values())
        for start in range(0, len(connections), READY_AT_A_TIME):
            few = connections[start : start + READY_AT_A_TIME]
            for connection in few:
                os.write(connection.fd, next(mails))
            for connection in few:
                self.replies[connection.reply()] += 1

    def saturate(self, mails: Iterator[bytes], goes_on: Callable[[], bool]) -> Answers:
        """Keep every connection busy: the next mail follows the answer at once.

        Mails are sent as long as `goes_on`; all are answered.
        """
        answers = Answers()
        record, replies = answers.latencies.append, answers.replies
        sent: dict[int, float] = {}
        with answers.timed():
            for fd in self._connections:
                sent[fd] = perf_counter()
                os.write(fd, next(mails))
            while sent:
                sending = goes_on()
                for fd, _ in self._wait(PATIENCE_SECONDS):
                    reply = os.read(fd, LONGEST_REPLY)
                    if not reply:
                        raise BrokenPolicyError(f"a process ended among {len(self._connections)}")
                    record(perf_counter() - sent.pop(fd))
                    replies[reply] += 1
                    if sending:
                        request = next(mails)
                        sent[fd] = perf_counter()
                        os.write(fd, request)
        return self._checked(answers)

    def offer(self, mails: Iterator[bytes], rate: float, seconds: float) -> Answers:
        """Send so many mails per second, whether the answers keep up or not.

        An answer's time counts from when its mail was due, so that a mail which had to wait for a
        free connection counts as slow.
        """
        answers = Answers()
        free = deque(self._connections)
        due_of: dict[int, float] = {}
        with answers.timed():
            begin = perf_counter()
            number, total = 0, int(rate * seconds)
            while number < total or due_of:
                due = begin + number / rate
                while number < total and free and due <= perf_counter():
                    fd = free.popleft()
                    due_of[fd] = due
                    os.write(fd, next(mails))
                    number += 1
                    due = begin + number / rate
                can_send = number < total and free
                pause = max(0.0, due - perf_counter()) if can_send else PATIENCE_SECONDS
                for fd, _ in self._wait(pause, may_be_idle=bool(can_send)):
                    answers.replies[os.read(fd, LONGEST_REPLY)] += 1
                    answers.latencies.append(perf_counter() - due_of.pop(fd))
                    free.append(fd)
        return self._checked(answers)

    def _wait(self, seconds: float, *, may_be_idle: bool = False) -> list[tuple[int, int]]:
        events = self._poller.poll(seconds)
        if not events and not may_be_idle:
            raise BrokenPolicyError(f"no answer within {seconds} seconds")
        return events

    def _checked(self, answers: Answers) -> Answers:
        broken = [reply for reply in answers.replies if not reply.endswith(b"\n\n")]
        if broken:
            raise BrokenPolicyError(f"answers were {broken!r}")
        self.replies += answers.replies
        return answers


def lasting(seconds: float) -> Callable[[], bool]:
    """Return what is true for so many seconds from the first time it is asked."""
    end = 0.0

    def goes_on() -> bool:
        nonlocal end
        end = end or perf_counter() + seconds
        return perf_counter() < end

    return goes_on


def counting(times: int) -> Callable[[], bool]:
    """Return what is true when it is asked the first so many times."""
    left = times

    def goes_on() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    return goes_on


def first_verdict(argv: Argv, request: bytes) -> float:
    """Return the seconds from starting a process to its complete first reply."""
    begin = perf_counter()
    connection = Connection(argv)
    connection.ask(request)
    seconds = perf_counter() - begin
    connection.close()
    connection.wait()
    return seconds


POSTFIX_SECONDS = 10
"""Seconds that Postfix waits for an answer, by master.cf.snippet."""


def burst(argv: Argv, mails: Iterator[bytes], size: int) -> list[float]:
    """Start many processes at once, with a mail for each; return the seconds of each answer.

    They count from the start of the process.  One that ends, or takes longer than Postfix waits,
    gives no answer.  All have ended when this returns.
    """
    connections: dict[int, Connection] = {}
    begins: dict[int, float] = {}
    poller = select.poll()
    for _ in range(size):
        begin = perf_counter()
        connection = Connection(argv)
        begins[connection.fd] = begin
        connections[connection.fd] = connection
        os.write(connection.fd, next(mails))
        poller.register(connection.fd, select.POLLIN)
    times: list[float] = []
    while begins and (events := poller.poll(POSTFIX_SECONDS * 1000)):
        for fd, _ in events:
            seconds = perf_counter() - begins.pop(fd)
            poller.unregister(fd)
            with contextlib.suppress(ConnectionResetError):  # it ended without reading
                if os.read(fd, LONGEST_REPLY) and seconds < POSTFIX_SECONDS:
                    times.append(seconds)
    for connection in connections.values():
        connection.close()
    for connection in connections.values():
        with contextlib.suppress(BrokenPolicyError):  # it has been missed already
            connection.wait()
    return times


def run(argv: Argv) -> float:
    """Return the seconds that a program takes from its start to its end."""
    return run_measured(argv)[0]


def run_measured(argv: Argv) -> tuple[float, float]:
    """Return the seconds that a program takes, and its peak memory in MB."""
    begin = perf_counter()
    pid = start(argv)
    handle = os.pidfd_open(pid)
    peak = 0.0
    # The peak that wait4(2) reports includes the generator's, from before the exec.
    while not select.select([handle], [], [], 0.02)[0]:
        peak = max(peak, _peak_memory(pid))
    seconds = perf_counter() - begin
    os.close(handle)
    if os.waitpid(pid, 0)[1]:
        raise BrokenPolicyError(f"{argv} did not end well")
    return seconds, peak


def _peak_memory(pid: int) -> float:
    """Return the peak of a process's resident set in MB, 0 if it has none any more."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        _, _, rest = status.read().partition("\nVmHWM:")
    return int(rest.split()[0]) / 1000 if rest else 0.0


def churn(argv: Argv, mails: Iterator[bytes], processes: int, at_a_time: int) -> float:
    """Send one mail per process, several processes at a time; return processes per second.

    The next process starts when one has ended: its work after the reply counts as well.
    """
    answering: dict[int, Connection] = {}
    ending: dict[int, Connection] = {}
    poller = select.epoll()
    started = 0
    begin = perf_counter()
    while started < processes or answering or ending:
        while started < processes and len(answering) + len(ending) < at_a_time:
            connection = Connection(argv)
            os.write(connection.fd, next(mails))
            answering[connection.fd] = connection
            poller.register(connection.fd, select.EPOLLIN)
            started += 1
        for fd, _ in poller.poll(PATIENCE_SECONDS):
            poller.unregister(fd)
            if fd in answering:
                connection = answering.pop(fd)
                connection.checked(os.read(fd, LONGEST_REPLY))
                connection.close()
                handle = os.pidfd_open(connection.pid)
                ending[handle] = connection
                poller.register(handle, select.EPOLLIN)
            else:
                ending.pop(fd).wait()
                os.close(fd)
    poller.close()
    return processes / (perf_counter() - begin)
