"""Clean Debian systems for tests/tools/clean_debian.py: made, copied, entered, and compared.

A tree comes from debootstrap and the mirror that this machine's own apt uses, with what a mail
server has: Postfix, SASL, cron and systemd, none of which runs.  A trial runs in a copy, an
overlay whose changes are thrown away.  Commands run in it chrooted, in namespaces that end with
them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]

SERVER = (
    *("postfix", "sasl2-bin", "libsasl2-modules", "ca-certificates"),
    *("cron", "systemd", "systemd-sysv", "dbus"),
)

FORWARDED = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE")
"""Variables of this machine that the clean one's package clients may need to reach anything."""

CHANGING = """dev proc sys run tmp mnt root var/log var/cache var/mail var/spool/postfix
    var/lib/postfix var/lib/apt var/lib/saslauthd""".split()
CHANGING_FILES = """etc/.pwd.lock etc/ld.so.cache var/lib/dpkg/status-old var/lib/dpkg/lock
    var/lib/dpkg/lock-frontend var/lib/dpkg/triggers/Lock""".split()
"""Files that change without an installation, or are not pcc's: logs, queues, mailboxes."""

POSTFIX = """
set -e
postconf -e maillog_file=/var/log/mail.log myhostname=mail.example.org \
    'mydestination=$myhostname localhost' myorigin=mail.example.org \
    inet_interfaces=127.0.0.1 smtpd_tls_security_level=none smtpd_peername_lookup=no \
    smtpd_authorized_xclient_hosts=127.0.0.1 cyrus_sasl_config_path=/etc/postfix/sasl \
    in_flow_delay=0
postconf -M 'submission/inet=submission inet n - y - - smtpd'
postconf -P submission/inet/smtpd_sasl_auth_enable=yes \
    submission/inet/smtpd_recipient_restrictions=permit_sasl_authenticated,reject
mkdir -p /etc/postfix/sasl /var/spool/postfix/etc
printf '%s\\n' 'pwcheck_method: auxprop' 'auxprop_plugin: sasldb' 'mech_list: PLAIN' \
    'sasldb_path: /etc/sasldb2' >/etc/postfix/sasl/smtpd.conf
for user in anna ben; do
    printf secret | saslpasswd2 -p -c -f /var/spool/postfix/etc/sasldb2 -u example.org $user
done
chown postfix /var/spool/postfix/etc/sasldb2
printf 'postmaster: root\\n' >/etc/aliases
newaliases
"""


class CannotRun(Exception):
    """Something that this test needs is not here."""


def own_mirror() -> str:
    """The mirror that this machine's own apt has its Debian from, whichever form names it.

    Raises CannotRun if it has none.
    """
    said = ""
    if shutil.which("apt-get"):
        # As if no list were there yet, so that it prints the addresses of all.
        with tempfile.TemporaryDirectory() as lists:
            command = ["apt-get", "update", "--print-uris", "-o", f"Dir::State::lists={lists}"]
            said = subprocess.run(command, capture_output=True, text=True).stdout
    release = platform.freedesktop_os_release()
    suites = f"{release.get('VERSION_CODENAME', 'sid')}|stable|testing|unstable|sid"
    found = re.search(rf"'(\S+)/dists/(?:{suites})/main/binary-", said)
    if not found or release["ID"] != "debian":
        raise CannotRun("apt has no mirror of Debian here: name one with --mirror")
    return found[1]


def base_tree(trees: Path, suite: str, mirror: str) -> Path:
    """Make a clean Debian with a mail server in it, unless an earlier run left such a one."""
    tree = trees / suite
    recipe = f"{SERVER}{POSTFIX}"
    if (tree / "ready").exists() and (tree / "ready").read_text() == recipe:
        return tree
    print(f"==== {suite}: debootstrap from {mirror}", flush=True)
    shutil.rmtree(tree, ignore_errors=True)
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", suite, str(tree), mirror],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode:
        raise CannotRun(f"debootstrap of {suite} from {mirror} failed:\n{made.stdout[-800:]}")
    # No service is started by its package.
    (tree / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (tree / "usr/sbin/policy-rc.d").chmod(0o755)
    for name in ("resolv.conf", "pip.conf"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), tree / "etc" / name)
    system = System(tree)
    system.run("apt-get", "-qq", "update")
    system.install(*SERVER)
    for certificate in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        shutil.copy(certificate, tree / "usr/local/share/ca-certificates")
    system.run("update-ca-certificates")
    system.shell(POSTFIX)
    (tree / "ready").write_text(recipe)
    return tree


@contextlib.contextmanager
def copy_of(base: Path, trees: Path) -> Iterator[System]:
    """A system that begins as `base` and whose changes are thrown away."""
    work = Path(tempfile.mkdtemp(prefix="copy-", dir=trees))
    for name in ("upper", "work", "system"):
        (work / name).mkdir()
    (work / "upper").chmod(0o755)
    options = f"lowerdir={base},upperdir={work}/upper,workdir={work}/work"
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, work / "system"], check=True
    )
    try:
        checkout = work / "system/mnt/pcc"
        checkout.mkdir()
        subprocess.run(["mount", "--bind", "-o", "ro", CHECKOUT, checkout], check=True)
        yield System(work / "system")
        subprocess.run(["umount", checkout], check=True)
    finally:
        subprocess.run(["umount", "--recursive", work / "system"], check=True)
        shutil.rmtree(work)


class System:
    """A clean system: commands run in it as root, in a bare environment."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def try_run(self, *command: str, alone: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command; all that it leaves running ends with it.  `alone`: without a network."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **{name: os.environ[name] for name in FORWARDED if name in os.environ},
        }
        return subprocess.run(
            [*self.entrance(alone), *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

    def entrance(self, alone: bool) -> list[str]:
        """The words before a command that make it run inside."""
        enter = f'mount -t proc proc "{self.root}/proc" && exec chroot "{self.root}" "$@"'
        namespace = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        namespace += ["--net"] if alone else []
        return [*namespace, "sh", "-c", enter, "sh"]

    def run(self, *command: str, alone: bool = False) -> str:
        """Run a command that must succeed; return what it said on stdout."""
        done = self.try_run(*command, alone=alone)
        assert not done.returncode, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, script: str) -> str:
        return self.run("sh", "-c", script)

    def install(self, *packages: str) -> str:
        return self.run("apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages)

    def make(self, *arguments: str) -> str:
        return self.run("make", "-s", "-C", "/mnt/pcc", *arguments)

    def admin(self, *arguments: str) -> Any:
        return json.loads(self.run("pcc_admin.py", "--json", *arguments))

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def send(self, mails: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Start Postfix, let logged-in users send, ask doctor, wait for mail, stop Postfix."""
        return self.inside("clean_session.py", json.dumps(list(mails)))

    def inside(self, script: str, *arguments: str) -> dict[str, Any]:
        """Run a script of tests/ without a network; return what its last line says."""
        said = self.run("python3", "-B", f"/mnt/pcc/tests/tools/{script}", *arguments, alone=True)
        result: dict[str, Any] = json.loads(said.splitlines()[-1])
        return result

    def files(self) -> dict[str, str]:
        """Every file and folder: its kind, mode, owner, and content or target."""
        found = {}
        for place, folders, names in os.walk(self.root):
            relative = os.path.relpath(place, self.root)
            prefix = "" if relative == "." else f"{relative}/"
            folders[:] = [name for name in folders if prefix + name not in CHANGING]
            for name in [*folders, *names]:
                path = prefix + name
                if path not in CHANGING_FILES and not path.endswith("-"):
                    found[path] = describe(self.root / path)
        return found


def describe(path: Path) -> str:
    status = path.lstat()
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{text} -> {path.readlink()}"
    if stat.S_ISREG(status.st_mode):
        return f"{text} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return text


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The differences between two lists of files."""
    names = sorted(before.keys() | after.keys())
    return [
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def check_same(before: dict[str, str], after: dict[str, str], *, but: str = "") -> None:
    """Nothing differs but what begins with `but`, if given."""
    found = [line for line in changes(before, after) if not but or not line.startswith(but)]
    assert not found, "\n".join(found)
