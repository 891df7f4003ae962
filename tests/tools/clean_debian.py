"""Installs, upgrades and removes pcc in clean Debian trees, as an administrator would.

    make test-install [CLEAN="--suites bookworm,trixie --trees FOLDER --previous COMMIT"]

Each tree comes from debootstrap with the Postfix of that release.  In one copy of it `make
install` installs pcc from this checkout (mounted read-only), in another apt the package, which
`make deb` built in a third.  Users log in and send mail until the fourth network is refused.  Then
pcc is installed over itself, upgraded from an older package with data, left an hour with cron,
removed and purged.  After that the tree must be, file by file, as before.  In one more copy
systemd runs, as process 1, and its timer.  All mounts and processes are in namespaces that end
with this program.  Postfix has a network of its own, with nothing but a loopback interface.  The
machine's own Postfix is neither read nor touched.  Needs root, debootstrap and a mirror of Debian:
that of the machine's own apt, unless --mirror names one, or --trees the trees of an earlier run.
If something is missing, it says so and exits 77.  It runs outside pytest because it takes minutes,
and uses only the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clean_boot import Booted, boot
from clean_system import (
    CHECKOUT,
    CannotRun,
    System,
    base_tree,
    changes,
    check_same,
    copy_of,
    own_mirror,
)

CANNOT_RUN = 77
INSIDE = "PCC_CLEAN_DEBIAN_NAMESPACE"

FOR_MAKE = ("make", "python3-venv", "python3-tomli")  # a part of what pcc needs
FOR_DEB = ("python3-geoip2", "python3-jinja2", "python3-rich", "python3-tomli", "adduser")
FOR_BUILDING = ("build-essential", "debhelper", "dh-python", "lintian")
"""All that pcc needs is installed first, so that afterwards only pcc makes a difference."""

PRODUCT = """CHANGELOG.md LICENSE Makefile README.md SECURITY.md completions data docs man
    master.cf.snippet packaging pcc pcc.toml pcc_admin.py pcc_policy.py requirements.txt schema.sql
    systemd tests""".split()

STOLEN = (
    ("anna@example.org", "90.77.1.1"),  # ES
    ("ben@example.org", "91.10.1.1"),
    ("anna@example.org", "91.10.1.1"),  # DE
    ("anna@example.org", "177.32.1.1"),  # BR
    ("anna@example.org", "2.3.4.5"),  # FR: the fourth unfamiliar network in ten minutes
)


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog="make test-install", description="See the module.")
    parser.add_argument("--suites", default="bookworm,trixie", help="releases of Debian")
    parser.add_argument("--trees", type=Path, help="where to keep the trees for the next time")
    parser.add_argument("--mirror", help="of Debian; else this machine's own")
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
    mirror = options.mirror or own_mirror()
    bases = {suite: base_tree(trees, suite, mirror) for suite in suites}
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
        with copy_of(base, trees) as system:
            step(suite, "systemd")
            try:
                try_systemd(system, packages)
            except CannotRun as error:
                print(f"     NOT TRIED: {error}")
    step("all", f"passed in {', '.join(suites)}")


def step(suite: str, what: str) -> None:
    print(f"==== {suite}: {what}", flush=True)


DATABASE = "var/lib/pcc/pcc.db"
"""With its log, which goes into the database whenever a process finds the time."""


# ---- what an administrator does -------------------------------------------------


def check_session(session: dict[str, Any], *, replay: bool = True) -> None:
    """The first networks pass, the fourth is refused, `doctor` is content, the notice arrives."""
    codes = [code for _, _, code, _ in session["answers"]]
    assert codes == [250, 250, 250, 250, 554], session["answers"]
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
    check_session(system.send(STOLEN))
    print(f"     from nothing to a refused mail: {time.monotonic() - began:.0f} s")

    installed = system.files()
    said = system.make("install", "POSTFIX=1")
    assert "main.cf: unchanged" in said and "master.cf: unchanged" in said, said
    check_same(installed, system.files(), but=DATABASE)
    config = system.path("/etc/pcc/pcc.toml")
    mine = config.read_text().replace("max_countries = 5 ", "max_countries = 9 ", 1)
    config.write_text(mine)
    said = system.make("install")
    assert "-max_countries = 9 " in said and config.read_text() == mine, said
    assert [row["account"] for row in system.admin("list")] == ["anna@example.org"]

    try_cron(system)
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
    check_session(system.send(STOLEN))
    system.make("uninstall", "POSTFIX=1", "PURGE=1")
    check_same(before, system.files())


def try_cron(system: System) -> None:
    """An hour of cron: waiting notices are sent, old rows go, what other hosts decided is done."""
    files = {name: system.path(name) for name in ("/etc/cron.d/pcc", "/etc/pcc/pcc.toml")}
    before = {name: path.read_text() for name, path in files.items()}
    hourly = before["/etc/cron.d/pcc"]
    assert "\n7 * * * * pcc " in hourly, hourly
    settle = system.shell("command -v pcc_admin.py").strip() + " held --settle >/dev/null"
    every_minute = hourly.replace("\n7 * * * * ", "\n* * * * * ") + f"* * * * * root {settle}\n"
    files["/etc/cron.d/pcc"].write_text(every_minute)
    config = before["/etc/pcc/pcc.toml"]
    files["/etc/pcc/pcc.toml"].write_text(config.replace('"REJECT"', '"HOLD"'))
    system.run("pcc_admin.py", "block", "ben@example.org")

    hour = system.inside("clean_cron.py", "ben@example.org")
    assert hour["held"][2] == 250 and hour["waiting"] and "/bin/false" in hour["unblocked"], hour
    assert hour["mailbox"].count("\nSubject: ") == 2, hour
    assert "\nSubject: [pcc] ben@example.org unblocked" in hour["mailbox"], hour
    # A mail of what a command printed would be to the user whose command it was.
    assert hour["mailboxes"] == ["root"] and "Cron <" not in hour["mailbox"], hour
    assert not hour["left"] and not hour["sightings"], hour
    assert sum(" CMD (" in line for line in hour["log"]) >= 2, hour["log"]
    print(f"     cron: what waited was sent, released and dropped within {hour['seconds']:.0f} s")
    for name, path in files.items():
        path.write_text(before[name])
    system.run("pcc_admin.py", "init")


def build_packages(system: System, packages: Path, previous: str | None) -> None:
    """Build an older package and that of this checkout; lintian must find no error."""
    step("all", "make deb, lintian")
    system.install(*FOR_BUILDING)
    for name, commit in (("old", previous), ("new", None)):
        tree = system.path(f"/srv/{name}")
        copy_checkout(tree, commit)
        if name == "old":
            lower_version(tree)
        built = system.run("make", "-s", "-C", f"/srv/{name}", "deb").split()[-1]
        shutil.copy(tree / built, packages / f"{name}.deb")
    said = system.try_run("lintian", "--fail-on", "error", f"/srv/new/{built}")
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
        shutil.copy(packages / f"{name}.deb", system.path(f"/srv/{name}.deb"))
    before = system.files()
    said = system.install("/srv/old.deb")
    assert "/usr/lib/pcc/postfix add" in said, said
    check_state_folder(system)
    assert list(system.path("/usr/lib/pcc/pcc/__pycache__").glob("*.pyc"))
    said = system.run("/usr/lib/pcc/postfix", "add")
    assert "+pcc" in said, said
    check_session(system.send(STOLEN), replay=False)
    shown = system.admin("show", "anna@example.org")

    config = system.path("/etc/pcc/pcc.toml")
    mine = config.read_text().replace("max_countries = 5 ", "max_countries = 9 ", 1)
    config.write_text(mine)
    system.install("-o", "Dpkg::Options::=--force-confold", "/srv/new.deb")
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
    system.install("--reinstall", "-o", "Dpkg::Options::=--force-confold", "/srv/new.deb")
    check_same(installed, system.files(), but=DATABASE)

    try_cron(system)
    said = system.try_run("apt-get", "-y", "remove", "pcc").stderr
    assert "Postfix still asks pcc" in said, said
    assert config.read_text() == mine and system.path("/var/lib/pcc/pcc.db").exists()
    system.install("/srv/new.deb")
    assert [row["account"] for row in system.admin("list")] == ["anna@example.org"]
    system.run("/usr/lib/pcc/postfix", "remove")
    system.run("apt-get", "-qq", "-y", "purge", "pcc")
    check_same(before, system.files())


def try_systemd(system: System, packages: Path) -> None:
    """Where services run: the package and `make install` start their timer, and take it away."""
    system.install(*FOR_DEB, "make")
    shutil.copy(packages / "new.deb", system.path("/srv/new.deb"))
    # From here on packages start their services.
    system.path("/usr/sbin/policy-rc.d").unlink()
    with boot(system) as booted:
        booted.install("/srv/new.deb")
        check_timer(booted)
        booted.run("/usr/lib/pcc/postfix", "add")
        booted.run("systemctl", "restart", "postfix")
        check_session(booted.send(STOLEN))
        try_timer(booted)
        booted.run("/usr/lib/pcc/postfix", "remove")
        booted.run("systemctl", "reload", "postfix")
        booted.run("apt-get", "-qq", "-y", "purge", "pcc")
        assert booted.unit("pcc.timer")["LoadState"] == "not-found", booted.unit("pcc.timer")

        booted.make("install", "PACKAGES=system", "TIMER=systemd", "POSTFIX=1")
        check_timer(booted)
        booted.run("systemctl", "start", "pcc.service")
        check_service(booted)
        booted.make("uninstall", "POSTFIX=1", "PURGE=1")
        assert booted.unit("pcc.timer")["LoadState"] == "not-found", booted.unit("pcc.timer")


def check_timer(booted: Booted) -> None:
    timer = booted.unit("pcc.timer")
    assert (timer["ActiveState"], timer["UnitFileState"]) == ("active", "enabled"), timer
    assert "pcc.service" in booted.run("systemctl", "list-timers", "--no-pager", "pcc.timer")


def check_service(booted: Booted) -> None:
    service = booted.unit("pcc.service")
    assert (service["Result"], service["ExecMainStatus"]) == ("success", "0"), service
    assert booted.unit("pcc.timer")["ActiveState"] == "active"


def try_timer(booted: Booted) -> None:
    """The timer makes up for an hour that it missed, and what waited is sent."""
    config = booted.path("/etc/pcc/pcc.toml").read_text()
    broken = config.replace('"/usr/sbin/sendmail"', '"/bin/false"')
    booted.path("/etc/pcc/broken.toml").write_text(broken)
    booted.run("pcc_admin.py", "-c", "/etc/pcc/broken.toml", "unblock", "anna@example.org")
    booted.shell("rm /etc/pcc/broken.toml*")
    # Where the timer does it, cron has nothing to do.
    _, _, command = booted.path("/etc/cron.d/pcc").read_text().partition("* pcc ")
    booted.run("runuser", "-u", "pcc", "--", "sh", "-c", command)
    assert booted.admin("stats")["outbox"] == 1

    booted.run("systemctl", "stop", "pcc.timer")
    added = {
        "timer": "[Timer]\nRandomizedDelaySec=0\n",
        "service": "[Service]\nExecStart=+/usr/sbin/pcc_admin.py held --settle\n",
    }
    for kind, text in added.items():
        drop_in = booted.path(f"/etc/systemd/system/pcc.{kind}.d")
        drop_in.mkdir()
        (drop_in / "test.conf").write_text(text)
    booted.run("touch", "-d", "2 hours ago", "/var/lib/systemd/timers/stamp-pcc.timer")
    booted.run("systemctl", "daemon-reload")
    booted.run("systemctl", "start", "pcc.timer")
    booted.wait_until("grep -q '^Subject: .pcc. anna@example.org unblocked' /var/mail/root")
    booted.wait_until("journalctl --unit pcc.service | grep -q 'Finished .*Upkeep'")
    check_service(booted)
    assert booted.admin("stats")["outbox"] == 0
    print("     systemd: an hour that was missed was made up for, its service ended well")
    for kind in added:
        shutil.rmtree(booted.path(f"/etc/systemd/system/pcc.{kind}.d"))


if __name__ == "__main__":
    sys.exit(main())
