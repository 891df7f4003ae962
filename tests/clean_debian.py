"""Installs, upgrades and removes pcc in clean Debian trees, as an administrator would.

    make test-install [CLEAN="--suites bookworm,trixie --trees FOLDER --previous COMMIT"]

Each tree comes from debootstrap with the Postfix of that release.  In a copy of it pcc is put there
by `make install` from this checkout (mounted read-only), and in another as the package that
`make deb` built in a third; users log in and send mail until the third country is refused; it is
installed over itself, upgraded from an older package with data, taken away and purged; and then the
tree must be, file by file, what it was.  All mounts and processes are in namespaces that end with
this program, and Postfix has a network of its own with nothing but a loopback interface: the
machine's Postfix is neither read nor touched.  Needs root, debootstrap and a Debian mirror (or
--trees with what an earlier run left there); where something is missing it says so and exits 77.
It runs outside pytest because it takes minutes, and uses only the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
CANNOT_RUN = 77
MIRROR = "http://deb.debian.org/debian"
INSIDE = "PCC_CLEAN_DEBIAN_NAMESPACE"

SERVER = ("postfix", "sasl2-bin", "libsasl2-modules", "ca-certificates")
FOR_MAKE = ("make", "python3-venv", "python3-tomli")  # a part of what pcc needs
FOR_DEB = ("python3-geoip2", "python3-rich", "python3-tomli", "adduser")
FOR_BUILDING = ("build-essential", "debhelper", "dh-python", "lintian")
"""What must be there is installed first, so that afterwards only pcc makes a difference."""

FORWARDED = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE")
"""Variables of this machine that the clean one's package clients may need to reach anything."""

PRODUCT = """CHANGELOG.md LICENSE Makefile README.md SECURITY.md completions data man
    master.cf.snippet packaging pcc pcc.toml pcc_admin.py pcc_policy.py requirements.txt schema.sql
    systemd tests""".split()

CHANGING = """dev proc sys run tmp mnt root var/log var/cache var/mail var/spool/postfix
    var/lib/postfix var/lib/apt var/lib/saslauthd""".split()
CHANGING_FILES = """etc/.pwd.lock etc/ld.so.cache var/lib/dpkg/status-old var/lib/dpkg/lock
    var/lib/dpkg/lock-frontend var/lib/dpkg/triggers/Lock""".split()
"""What changes though nobody installs anything, or is somebody else's: logs, queues, mailboxes."""

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

THIRD = (
    ("anna@example.org", "90.77.1.1"),  # ES
    ("ben@example.org", "91.10.1.1"),
    ("anna@example.org", "91.10.1.1"),  # DE
    ("anna@example.org", "177.32.1.1"),  # BR
)


class CannotRun(Exception):
    """Something that this test needs is not here."""


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog="make test-install", description="See the module.")
    parser.add_argument("--suites", default="bookworm,trixie", help="releases of Debian")
    parser.add_argument("--trees", type=Path, help="where to keep the trees for the next time")
    parser.add_argument("--mirror", default=MIRROR)
    parser.add_argument("--previous", help="commit to build the older package of")
    options = parser.parse_args()
    try:
        if os.environ.get(INSIDE) != str(os.getppid()):
            return enter_namespace()
        with folder(options.trees) as trees:
            run_all(options, trees)
    except CannotRun as error:
        print(f"test-install: can't run here: {error}", file=sys.stderr)
        return CANNOT_RUN
    return 0


def enter_namespace() -> int:
    """Start this program again where its mounts are its own."""
    if os.geteuid():
        raise CannotRun("it needs root, to make a tree and namespaces")
    for command in ("debootstrap", "unshare"):
        if not shutil.which(command):
            raise CannotRun(f"there is no {command}: apt-get install debootstrap util-linux")
    namespace = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"]).returncode:
        raise CannotRun("namespaces are not allowed here (a container without CAP_SYS_ADMIN?)")
    environment = {**os.environ, INSIDE: str(os.getpid())}
    return subprocess.run(
        [*namespace, sys.executable, *sys.orig_argv[1:]], env=environment
    ).returncode


@contextlib.contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """A folder for the trees: `kept`, or one that's removed at the end."""
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    temporary = Path(tempfile.mkdtemp(prefix="pcc-clean-debian-"))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def run_all(options: argparse.Namespace, trees: Path) -> None:
    """Build the packages in the first release, then try everything in each."""
    suites = options.suites.split(",")
    bases = {suite: base_tree(trees, suite, options.mirror) for suite in suites}
    packages = trees / "packages"
    packages.mkdir(exist_ok=True)
    with copy_of(bases[suites[0]], trees) as system:
        build_packages(system, packages, options.previous)
    for suite, base in bases.items():
        with copy_of(base, trees) as system:
            step(suite, "make install")
            try_make_install(system)
        with copy_of(base, trees) as system:
            step(suite, "Debian package")
            try_package(system, packages)
    step("all", f"passed in {', '.join(suites)}")


def step(suite: str, what: str) -> None:
    print(f"==== {suite}: {what}", flush=True)


# ---- trees ----------------------------------------------------------------------


def base_tree(trees: Path, suite: str, mirror: str) -> Path:
    """Make a clean Debian with a mail server in it, unless an earlier run left one."""
    tree = trees / suite
    if (tree / "ready").exists():
        return tree
    step(suite, "debootstrap")
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
    (tree / "ready").touch()
    return tree


@contextlib.contextmanager
def copy_of(base: Path, trees: Path) -> Iterator[System]:
    """A system that begins as `base` and whose changes are thrown away."""
    work = Path(tempfile.mkdtemp(prefix="copy-", dir=trees))
    for name in ("upper", "work", "root"):
        (work / name).mkdir()
    (work / "upper").chmod(0o755)
    options = f"lowerdir={base},upperdir={work}/upper,workdir={work}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, work / "root"], check=True)
    try:
        checkout = work / "root/mnt/pcc"
        checkout.mkdir()
        subprocess.run(["mount", "--bind", "-o", "ro", CHECKOUT, checkout], check=True)
        yield System(work / "root")
        subprocess.run(["umount", checkout], check=True)
    finally:
        subprocess.run(["umount", "--recursive", work / "root"], check=True)
        shutil.rmtree(work)


class System:
    """A clean system: commands run in it as root, in a bare environment."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def try_run(self, *command: str, alone: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command; all that it leaves running ends with it.  `alone`: without a network."""
        enter = f'mount -t proc proc "{self.root}/proc" && exec chroot "{self.root}" "$@"'
        namespace = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        namespace += ["--net"] if alone else []
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **{name: os.environ[name] for name in FORWARDED if name in os.environ},
        }
        return subprocess.run(
            [*namespace, "sh", "-c", enter, "sh", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

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
        argument = json.dumps(list(mails))
        script = "/mnt/pcc/tests/clean_session.py"
        said = self.run("python3", "-B", script, argument, alone=True)
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
    """What differs between two lists of files."""
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


DATABASE = "var/lib/pcc/pcc.db"
"""With its log, which goes into the database whenever a process finds the time."""


# ---- what an administrator does -------------------------------------------------


def check_session(session: dict[str, Any], *, replay: bool = True) -> None:
    """The first countries pass, the third is refused, `doctor` is content, the notice arrives."""
    codes = [code for _, _, code, _ in session["answers"]]
    assert codes == [250, 250, 250, 554], session["answers"]
    assert "Sending is blocked" in session["answers"][-1][3], session["answers"]
    check_doctor(session)
    assert any("pcc[" in line and "blocked account=<anna@" in line for line in session["log"])
    assert "[pcc] anna@example.org blocked" in session["mailbox"], session["mailbox"]
    if replay:
        check_replay(session)


def check_replay(session: dict[str, Any]) -> None:
    """It asks the country database in another way than a verdict does."""
    assert isinstance(session["replay"], dict), session["replay"]
    assert session["replay"]["parsed"] >= 2, session["replay"]


def check_doctor(session: dict[str, Any]) -> None:
    failed = [row for row in session["doctor"] if row["result"] != "OK"]
    assert not [row for row in failed if row["result"] == "FAIL"], failed
    for row in failed:
        print(f"     doctor: {row['result']} {row['check']}: {row['fix']}")


def check_state_folder(system: System) -> None:
    said = system.run("stat", "-c", "%U:%G %a %n", "/var/lib/pcc", "/var/lib/pcc/pcc.db")
    assert said.splitlines()[0] == "pcc:pcc 750 /var/lib/pcc", said
    assert said.splitlines()[1].startswith("pcc:pcc 6"), said


def try_make_install(system: System) -> None:
    """From nothing to a refused mail, installed again over itself, and away without a trace."""
    system.install(*FOR_MAKE)
    before = system.files()
    began = time.monotonic()
    said = system.make("install")
    assert "postconf -M 'pcc/unix=pcc unix" in said, said
    said = system.make("install", "POSTFIX=1")
    assert "+pcc" in said and "+mua_data_restrictions" in said, said
    check_state_folder(system)
    check_session(system.send(THIRD))
    print(f"     from nothing to a refused mail: {time.monotonic() - began:.0f} s")

    installed = system.files()
    said = system.make("install", "POSTFIX=1")
    assert "main.cf: unchanged" in said and "master.cf: unchanged" in said, said
    check_same(installed, system.files(), but=DATABASE)
    config = system.path("/etc/pcc/pcc.toml")
    mine = config.read_text().replace("max_countries = 3 ", "max_countries = 9 ", 1)
    config.write_text(mine)
    said = system.make("install")
    assert "-max_countries = 9 " in said and config.read_text() == mine, said
    assert [row["account"] for row in system.admin("list")] == ["anna@example.org"]

    refused = system.try_run("make", "-s", "-C", "/mnt/pcc", "uninstall")
    assert refused.returncode and "Postfix still asks pcc" in refused.stderr, refused
    system.make("uninstall", "POSTFIX=1")
    left = [line for line in changes(before, system.files()) if " -> None" not in line]
    kept = ("etc/pcc", "var/lib/pcc", "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow")
    assert all(line.startswith(kept) for line in left), left
    assert system.path("/var/lib/pcc/pcc.db").exists() and config.read_text() == mine
    system.make("uninstall", "PURGE=1")
    check_same(before, system.files())

    system.install(*FOR_DEB)
    before = system.files()
    system.make("install", "PACKAGES=system", "POSTFIX=1")
    check_session(system.send(THIRD))
    system.make("uninstall", "POSTFIX=1", "PURGE=1")
    check_same(before, system.files())


def build_packages(system: System, packages: Path, previous: str | None) -> None:
    """Build an older package and that of this checkout; lintian must find no error."""
    step("all", "make deb, lintian")
    system.install(*FOR_BUILDING)
    for name, commit in (("old", previous), ("new", None)):
        tree = system.path(f"/root/{name}")
        copy_checkout(tree, commit)
        if name == "old":
            lower_version(tree)
        built = system.run("make", "-s", "-C", f"/root/{name}", "deb").split()[-1]
        shutil.copy(tree / built, packages / f"{name}.deb")
    said = system.try_run("lintian", "--fail-on", "error", f"/root/new/{built}")
    print(f"     lintian: {said.stdout.strip() or 'nothing to say'}")
    assert not said.returncode, said.stdout


def copy_checkout(tree: Path, commit: str | None) -> None:
    """Copy this checkout, with the program of another commit if one is given."""
    tree.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in PRODUCT:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=ignored)
        else:
            shutil.copy2(source, tree / name)
    if commit:
        names = ("pcc", "data", "schema.sql", "pcc.toml", "pcc_policy.py", "pcc_admin.py")
        shutil.rmtree(tree / "pcc")
        git = ["git", "-c", "safe.directory=*", "-C", str(CHECKOUT), "archive", commit, *names]
        with subprocess.Popen(git, stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-x", "-C", tree], stdin=archive.stdout, check=True)


def lower_version(tree: Path) -> None:
    """Make the copy an older version than this checkout."""
    for name, begin in (("pcc/__init__.py", 'VERSION = "'), ("CHANGELOG.md", "## ")):
        text = (tree / name).read_text()
        head, _, rest = text.partition(begin)
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        (tree / name).write_text(head + begin + "0.0.1" + rest[len(number) :])


def try_package(system: System, packages: Path) -> None:
    """Installed, upgraded with data, removed, purged."""
    system.install(*FOR_DEB)
    for name in ("old", "new"):
        shutil.copy(packages / f"{name}.deb", system.path(f"/root/{name}.deb"))
    before = system.files()
    said = system.install("/root/old.deb")
    assert "/usr/lib/pcc/postfix add" in said, said
    check_state_folder(system)
    assert list(system.path("/usr/lib/pcc/pcc/__pycache__").glob("*.pyc"))
    said = system.run("/usr/lib/pcc/postfix", "add")
    assert "+pcc" in said, said
    check_session(system.send(THIRD), replay=False)
    shown = system.admin("show", "anna@example.org")

    config = system.path("/etc/pcc/pcc.toml")
    mine = config.read_text().replace("max_countries = 3 ", "max_countries = 9 ", 1)
    config.write_text(mine)
    system.install("-o", "Dpkg::Options::=--force-confold", "/root/new.deb")
    version = system.run("dpkg-query", "-W", "-f", "${Version}", "pcc")
    assert version != "0.0.1" and version in system.run("pcc_admin.py", "--version")
    assert config.read_text() == mine
    check_state_folder(system)
    later = system.admin("show", "anna@example.org")
    assert later["sightings"] == shown["sightings"], later
    assert [row["account"] for row in system.admin("list")] == ["anna@example.org"]
    session = system.send([("anna@example.org", "90.77.1.1"), ("ben@example.org", "91.10.1.1")])
    assert [answer[2] for answer in session["answers"]] == [554, 250], session["answers"]
    check_replay(session)
    check_doctor(session)
    print(f"     upgraded from 0.0.1 to {version}, blocks and sightings kept")

    installed = system.files()
    system.install("--reinstall", "-o", "Dpkg::Options::=--force-confold", "/root/new.deb")
    check_same(installed, system.files(), but=DATABASE)

    said = system.try_run("apt-get", "-y", "remove", "pcc").stderr
    assert "Postfix still asks pcc" in said, said
    assert config.read_text() == mine and system.path("/var/lib/pcc/pcc.db").exists()
    system.install("/root/new.deb")
    assert [row["account"] for row in system.admin("list")] == ["anna@example.org"]
    system.run("/usr/lib/pcc/postfix", "remove")
    system.run("apt-get", "-qq", "-y", "purge", "pcc")
    check_same(before, system.files())


if __name__ == "__main__":
    sys.exit(main())
