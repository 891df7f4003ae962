"""A real Postfix of the test's own: configuration, queue and data directory in one folder.

It listens on loopback ports only, has no smtp(8) client, and delivers all that it accepts, for any
domain, into one Maildir.  So nothing leaves the machine, and each test can read every notice.  The
system's own Postfix is neither read nor touched.

An unprivileged user's sendmail(1), postlog(1) and postqueue(1) refuse a configuration directory
that the system's main.cf does not list, because they or postdrop are set-gid.  The check is whether
the real and the effective group differ.  So this instance has a command_directory of its own with
copies of postdrop, postlog and postqueue, and its setgid_group is the service user's own group.
For that user nothing differs, and /usr/sbin/sendmail with MAIL_CONFIG set (as spawn(8) sets it)
submits mail as on a live system.  A private mount namespace would do without the copies, but it
takes CAP_SYS_ADMIN, which root in an ordinary container does not have.
"""

from __future__ import annotations

import contextlib
import email
import email.message
import email.policy
import grp
import json
import os
import pwd
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from deployment import (
    ENVIRONMENT,
    end_processes_of,
    processes_of,
    public_folder,
    run_as,
    service_user,
)

Found = TypeVar("Found")
STAGES = ("recipient", "data", "end_of_data")
SASL_PLUGINS = ("libplain.so*", "libsasldb.so*")

# As in Debian's sample master.cf, without TLS, and with the two further stages.
SUBMISSION = """\
127.0.0.1:{port} inet n - n - - smtpd
  -o syslog_name=postfix/{name}
  -o smtpd_tls_security_level=none
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_reject_unlisted_recipient=no
  -o smtpd_client_restrictions=
  -o smtpd_helo_restrictions=
  -o smtpd_sender_restrictions=
  -o smtpd_relay_restrictions=
  -o smtpd_recipient_restrictions=$mua_recipient_restrictions
  -o smtpd_data_restrictions=$mua_data_restrictions
  -o smtpd_end_of_data_restrictions=$mua_end_of_data_restrictions
  -o milter_macro_daemon_name=ORIGINATING
"""
# No smtp, relay or lmtp: mail can't leave the machine.
SERVICES = """\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
virtual   unix  -       n       n       -       -       virtual
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


def missing() -> str:
    """Return why this machine can have no private Postfix, "" where it can."""
    if os.geteuid() != 0:
        return "not root"
    for command in ("postfix", "sendmail", "saslpasswd2"):
        if not shutil.which(command, path=ENVIRONMENT["PATH"]):
            return f"no {command} command"
    for plugin in SASL_PLUGINS:
        if not any(Path("/usr").glob(f"lib*/**/sasl2/{plugin}")):
            return f"no Cyrus SASL plugin {plugin.partition('.')[0]}"
    try:
        service_user()
    except LookupError as error:
        return str(error)
    return ""


PATIENCE_SECONDS = 60
"""For what takes a moment: a busy machine may need many times as long."""


def wait_until(happened: Callable[[], Found | None], what: str) -> Found:
    """Ask `happened` until it says something true, and return that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (result := happened()):
        assert time.monotonic() < deadline, f"after {PATIENCE_SECONDS} s there was still no {what}"
        time.sleep(0.01)
    return result


class StuckLoggingError(Exception):
    """Postfix's processes wait for ever to be able to log.

    They log by postlogd(8), which master(8) starts again after a reload.  Seen once, under load:
    the socket's queue was full, and nobody read it, as if master waited with them.
    """


@dataclass(frozen=True)
class Policy:
    """A spawn(8) entry, and the check_policy_service that asks it."""

    argv: Sequence[str | Path]
    stages: Sequence[str] = ("data",)  # of STAGES
    name: str = "pcc"
    user: str = ""  # the service user
    max_procs: int = 0
    time_limit: int = 3600  # seconds
    timeout: str = "10s"
    default_action: str = "DUNNO"

    def entry(self) -> str:
        """The line in master.cf."""
        argv = " ".join(str(argument) for argument in self.argv)
        user = self.user or service_user()
        return f"{self.name} unix - n n - {self.max_procs} spawn user={user} argv={argv}\n"

    def check(self) -> str:
        """The restriction in main.cf."""
        default = f"{{ default_action = {self.default_action} }}"
        service = f"unix:private/{self.name}, timeout={self.timeout}, {default}"
        return f"check_policy_service {{ {service} }}"


LENIENT = {
    "notify_classes": "",
    # Only the loopback interface listens; and who has claimed another address by XCLIENT
    # may do so again.
    "smtpd_authorized_xclient_hosts": "static:all",
    # Tests are many clients from one address that make many mistakes at once.
    "smtpd_client_connection_count_limit": "0",
    "smtpd_error_sleep_time": "0",
    "smtpd_soft_error_limit": "1000",
    "smtpd_hard_error_limit": "1000",
    "in_flow_delay": "0",
    "smtpd_tls_security_level": "none",
    "smtpd_sasl_path": "smtpd",
}
"""The settings that keep Postfix out of the way of tests."""


class PrivatePostfix:
    """A Postfix that runs from start() to stop(), or in a with block.

    `main` holds further parameters for main.cf, or other values; `master` further lines of
    master.cf.  Both can be changed while it runs: change the attributes, then write_config() and
    reload().
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        main: Mapping[str, str] | None = None,
        master: str = "",
    ) -> None:
        """Make the folders and the configuration; nothing runs yet."""
        self.policy = policy
        self.folder = public_folder("mta")
        self.config = self.folder / "etc"
        # Debian's Postfix looks here whatever cyrus_sasl_config_path says.
        self.sasl = self.config / "sasl"
        self.queue_directory = self.folder / "queue"
        self.commands = self.folder / "sbin"
        self.maildir = self.folder / "mail" / "Maildir"
        self.submission, self.submissions = _free_ports(2)
        self._make_folders()
        self._copy_commands()
        self._make_sasl()
        self.main = {**self._main(), **(main or {})}
        self.master = self._master() + master
        self.write_config()

    # Configuration.

    def _make_folders(self) -> None:
        for path in (self.config, self.sasl, self.queue_directory, self.commands):
            path.mkdir()
            path.chmod(0o755)
        for path, user in ((self.folder / "data", "postfix"), (self.maildir.parent, "nobody")):
            path.mkdir()
            path.chmod(0o755)
            shutil.chown(path, user)

    def _copy_commands(self) -> None:
        system = Path(
            shutil.which("postfix", path=ENVIRONMENT["PATH"]) or "/usr/sbin/postfix"
        ).parent
        for command in system.glob("post*"):
            if command.name not in ("postdrop", "postlog", "postqueue"):
                (self.commands / command.name).symlink_to(command)
                continue
            copy = Path(shutil.copy(command, self.commands))
            shutil.chown(copy, "root", self._setgid_group())
            copy.chmod(0o2755)

    def _setgid_group(self) -> str:
        return grp.getgrgid(pwd.getpwnam(service_user()).pw_gid).gr_name

    def _make_sasl(self) -> None:
        self._sasldb = self.sasl / "sasldb2"
        (self.sasl / "smtpd.conf").write_text(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n"
            f"sasldb_path: {self._sasldb}\n"
        )

    def _main(self) -> dict[str, str]:
        """Return what main.cf says."""
        return {**self._places(), **self._delivery(), **LENIENT, **self._submission_rules()}

    def _places(self) -> dict[str, str]:
        return {
            "compatibility_level": _compatibility_level(),
            "command_directory": str(self.commands),
            "queue_directory": str(self.queue_directory),
            "data_directory": str(self.folder / "data"),
            "setgid_group": self._setgid_group(),
            "maillog_file": str(self.folder / "maillog"),
            "maillog_file_prefixes": str(self.folder),
            "cyrus_sasl_config_path": str(self.sasl),
        }

    def _delivery(self) -> dict[str, str]:
        """Return what has all mail be delivered into one folder."""
        nobody = pwd.getpwnam("nobody")
        return {
            "myhostname": "mail.example.org",
            "mydomain": "example.org",
            "myorigin": "$mydomain",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            # Without IPv6 XCLIENT would refuse such an address.
            "inet_protocols": "all",
            "smtpd_peername_lookup": "no",
            "append_dot_mydomain": "no",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "local_transport": "virtual:",
            "relay_transport": "virtual:",
            "default_transport": "virtual:",
            "virtual_mailbox_base": str(self.maildir.parent),
            "virtual_mailbox_maps": f"static:{self.maildir.name}/",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{nobody.pw_uid}",
            "virtual_gid_maps": f"static:{nobody.pw_gid}",
        }

    def _submission_rules(self) -> dict[str, str]:
        check = self.policy.check() if self.policy else ""
        stages = self.policy.stages if self.policy else ()
        return {
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject",
            **{
                f"mua_{stage}_restrictions": ", ".join(
                    ([check] if stage in stages else [])
                    + (["permit_sasl_authenticated", "reject"] if stage == "recipient" else [])
                )
                for stage in STAGES
            },
            **(
                {f"{self.policy.name}_time_limit": str(self.policy.time_limit)}
                if self.policy
                else {}
            ),
        }

    def _master(self) -> str:
        return (
            SUBMISSION.format(port=self.submission, name="submission")
            + SUBMISSION.format(port=self.submissions, name="submissions")
            + SERVICES
            + (self.policy.entry() if self.policy else "")
        )

    def write_config(self) -> None:
        """Write main.cf and master.cf from the attributes `main` and `master`."""
        main = self.config / "main.cf"
        main.write_text("".join(f"{name} = {value}\n" for name, value in self.main.items()))
        (self.config / "master.cf").write_text(self.master)
        # Every Postfix process waits for a main.cf that changed just now to come to rest.
        a_minute_ago = time.time() - 60
        os.utime(main, (a_minute_ago, a_minute_ago))

    def add_user(self, login: str, password: str) -> None:
        """Let `login`, as in user@example.org, log in by AUTH PLAIN."""
        user, _, realm = login.rpartition("@")
        command = ["saslpasswd2", "-p", "-c", "-f", str(self._sasldb), "-u", realm, user]
        done = run_as(command, text=password)
        assert done.returncode == 0, done.stderr
        shutil.chown(self._sasldb, "postfix")

    # Running.

    def __enter__(self) -> PrivatePostfix:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leftovers = (
            self.stop() if self.master_process() else end_processes_of(self.folder, patience=0)
        )
        shutil.rmtree(self.folder)
        assert kind or not leftovers, f"survived postfix stop: {leftovers}"

    def start(self) -> None:
        """Start it, and wait until its ports answer."""
        self._postfix("start")

    def stop(self, patience: float = 3) -> list[str]:
        """Stop it, and see by process id that all it started has ended.

        Kill the processes that have not ended after `patience` seconds is killed; returns the
        command lines of that.
        """
        try:
            self._postfix("stop", timeout=20)
        except subprocess.TimeoutExpired:
            waits = self._waits()
            end_processes_of(self.folder, patience=0)
            if "unix_wait_for_peer" in waits.values():
                raise StuckLoggingError(f"postfix stop: {waits}") from None
            raise AssertionError(f"postfix stop does not end: {waits}") from None
        return end_processes_of(self.folder, patience)

    def _waits(self) -> dict[str, str]:
        """The kernel functions that its processes wait in, by process and command."""
        waits = {}
        for process, command in processes_of(self.folder).items():
            with contextlib.suppress(OSError):
                waits[f"{process} {command[0]}"] = Path(f"/proc/{process}/wchan").read_text()
        return waits

    def reload(self) -> None:
        """Make it read its configuration again; wait until no idle smtpd(8) has the old one."""
        begin = len(self.log())
        old = self._smtpd_processes()
        self._postfix("reload")
        self.wait_for_log(r"postfix/master\[\d+\]: reload ", after=begin)
        deadline = time.monotonic() + 2  # one with an open session goes on
        while old & self._smtpd_processes() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _smtpd_processes(self) -> set[int]:
        found = processes_of(self.folder).items()
        return {process for process, command in found if command[0] == "smtpd"}

    def _postfix(self, command: str, timeout: float = 60) -> None:
        done = self.run(["postfix", command], timeout=timeout)
        assert done.returncode == 0, f"postfix {command}: {done.stderr}\n{self.log()[-4000:]}"

    def master_process(self) -> int | None:
        """The process id of master(8), if it runs."""
        try:
            process = int((self.queue_directory / "pid" / "master.pid").read_text())
        except FileNotFoundError:
            return None
        return process if process in processes_of(self.folder) else None

    def policy_processes(self) -> list[int]:
        """The process ids of the policy script, in order."""
        assert self.policy
        argv = [str(argument) for argument in self.policy.argv]
        found = processes_of(self.folder).items()
        return sorted(process for process, command in found if command[-len(argv) :] == argv)

    def run(
        self,
        argv: Iterable[str | Path],
        user: str | None = None,
        *,
        text: str = "",
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command for this Postfix, as root or as `user`, `text` on its standard input."""
        path = f"{self.commands}:{ENVIRONMENT['PATH']}"
        environment = {"MAIL_CONFIG": str(self.config), "PATH": path}
        return run_as(argv, user, environment, text=text, timeout=timeout)

    def _read(self, *argv: str | Path) -> str:
        done = self.run(argv)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Looking.

    def postconf(self, name: str) -> str:
        """The value of a parameter in main.cf, or the default."""
        return self._read("postconf", "-h", name).rstrip("\n")

    def log(self) -> str:
        """The mail log so far."""
        try:
            return (self.folder / "maillog").read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def wait_for_log(self, pattern: str, *, after: int = 0) -> re.Match[str]:
        """The first place in the mail log, behind `after` characters, where `pattern` matches."""
        search = re.compile(pattern, re.MULTILINE).search
        return wait_until(lambda: search(self.log(), after), f"{pattern!r} in the mail log")

    def queue(self) -> list[dict[str, Any]]:
        """The mails in the queue, as postqueue -j shows them."""
        return [json.loads(line) for line in self._read("postqueue", "-j").splitlines()]

    def delivered(self) -> list[email.message.EmailMessage]:
        """Return the delivered mails, oldest first, one per recipient (X-Original-To)."""
        files = sorted(self.maildir.glob("new/*"), key=lambda file: file.stat().st_mtime_ns)
        return [
            email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            for file in files
        ]

    def wait_for_delivered(self, count: int) -> list[email.message.EmailMessage]:
        """The delivered mails, once that is `count` mails or more."""
        wait_until(lambda: len(self.delivered()) >= count, f"delivery of {count} mails")
        return self.delivered()

    def forget_delivered(self) -> None:
        """Empty the Maildir."""
        for file in self.maildir.glob("new/*"):
            file.unlink()


def _compatibility_level() -> str:
    """The newest defaults of this Postfix: 2 before 3.6, from then on its own version."""
    version = run_as(["postconf", "-dh", "mail_version"]).stdout.split(".")
    return ".".join(version[:2]) if [int(number) for number in version[:2]] >= [3, 6] else "2"


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, below the range from which the kernel gives them to clients."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports
