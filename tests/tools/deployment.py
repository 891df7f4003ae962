"""pcc put where spawn(8)'s service user can run it.

The checkout and its .venv may lie in a folder which that user can't traverse, with a Python out
of somebody's home.  So a deployment is a copy of the product in a folder that everybody may read,
beside a state folder that the service user owns.  A virtual environment runs it, made once per
test session.  Needs root, for the ownership.  All folders of a session lie below session_folder().
Every process that a test starts mentions that folder in its environment, its arguments or its
working directory.  By that processes_of() finds the processes that were left behind.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import grp
import importlib.metadata
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PRODUCT = ("pcc_policy.py", "pcc_admin.py", "schema.sql", "pcc", "data")
DISTRIBUTIONS = ("geoip2", "maxminddb", "tomli", "rich", "jinja2")
DRIVERS = ("psycopg2-binary", "PyMySQL")
# Only geoip2.webservice imports these, and pcc never imports that.
WEB_CLIENTS = {"aiohttp", "requests"}
# System accounts of every Debian and Ubuntu which hardly any machine uses, each with a group of
# its own.  They are neither root nor the mail owner, and no account need be made for the tests.
SERVICE_USERS = ("irc", "list", "uucp", "news", "games", "proxy", "backup")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def service_user() -> str:
    """The account that runs the policy script: one of SERVICE_USERS.

    Raises LookupError where this system has none of them.
    """
    for name in SERVICE_USERS:
        try:
            account = pwd.getpwnam(name)
            group = grp.getgrgid(account.pw_gid)
        except KeyError:
            continue
        if account.pw_uid and account.pw_gid and group.gr_name == name:
            return name
    raise LookupError(f"none of the system accounts {', '.join(SERVICE_USERS)} exists")


@functools.cache
def session_folder() -> Path:
    """A folder everybody may traverse, removed at exit; short, for UNIX-domain sockets."""
    parent = Path(tempfile.gettempdir())
    if not _traversable(parent) or len(str(parent)) > 40:
        parent = Path("/tmp")
    folder = Path(tempfile.mkdtemp(prefix="pcc-", dir=parent))
    folder.chmod(0o755)
    # Processes that inherit our environment are known by it.
    os.environ["PCC_TEST_SESSION"] = str(folder)
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork of it
        end_processes_of(folder, patience=0)
        shutil.rmtree(folder, ignore_errors=True)


def public_folder(name: str) -> Path:
    """A new folder, mode 0755 whatever the umask, below session_folder()."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=session_folder()))
    folder.chmod(0o755)
    return folder


def _traversable(folder: Path) -> bool:
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


# The processes that a session leaves behind.


def processes_of(folder: Path) -> dict[int, list[str]]:
    """Process id to command line of every process that mentions `folder`, but this one."""
    mention = os.fsencode(folder)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes()
            place = os.fsencode((entry / "cwd").readlink())
            environment = (entry / "environ").read_bytes()
        except OSError:  # it has ended, is a zombie, or is not ours to look at
            continue
        if any(mention in text for text in (arguments, place, environment)):
            found[int(entry.name)] = os.fsdecode(arguments).rstrip("\0").split("\0")
    return found


def end_processes_of(folder: Path, patience: float) -> list[str]:
    """Wait `patience` seconds for the processes of `folder`, then kill what is left, by id.

    Returns the command lines of what had to be killed.
    """
    deadline = time.monotonic() + patience
    while processes := processes_of(folder):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while processes_of(folder):
        time.sleep(0.01)
    return [" ".join(arguments) for arguments in processes.values()]


# The virtual environment.


@functools.cache
def service_python() -> Path:
    """An interpreter with pcc's dependencies that the service user may execute.

    It has the running one's version where the service user may execute that, otherwise the
    system's.  A version manager's Python in a home folder is out of that user's reach.
    """
    folder = public_folder("venv")
    base = _base_interpreter()
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True, cwd="/")
    python = folder / "bin" / "python"
    site = next(folder.glob("lib/python3*/site-packages"))
    for distribution in _distributions([*DISTRIBUTIONS, *DRIVERS]):
        _copy_distribution(distribution, site)
    version = site.parent.name.removeprefix("python")
    if version != f"{sys.version_info.major}.{sys.version_info.minor}":
        # The driver is compiled for one version.
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wheel = ["--only-binary", ":all:", "--python-version", version, "--upgrade"]
        subprocess.run([*pip, *wheel, "--target", site, "psycopg2-binary"], check=True)
    # Hundreds of lexers and styles of pygments would be most of the work, for nothing.
    _compile(python, site, "-x", r"pygments.(lexers|styles|formatters)")
    _open_up(folder)
    return python


def _base_interpreter() -> str:
    running = str(getattr(sys, "_base_executable", sys.executable))
    for python in (running, "/usr/bin/python3"):
        if _usable(python):
            return python
    raise LookupError(
        f"{service_user()} can run neither {running} nor /usr/bin/python3 3.10 or later"
    )


def _usable(python: str) -> bool:
    probe = "import sqlite3, ssl, sys, venv; sys.exit(sys.version_info < (3, 10))"
    account = pwd.getpwnam(service_user())
    try:
        return not subprocess.run(
            [python, "-c", probe],
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            env=ENVIRONMENT,
            cwd="/",
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
    except OSError:
        return False


def _distributions(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """The named distributions of the running interpreter and all that they require."""
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted = list(names)
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found or name in WEB_CLIENTS:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in DISTRIBUTIONS:
                raise
            continue  # required of another Python or system only
        required = (line for line in found[name].requires or () if "extra ==" not in line)
        wanted += (re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in required)
    return list(found.values())


def _copy_distribution(distribution: importlib.metadata.Distribution, site: Path) -> None:
    files = distribution.files
    if files is None:
        raise LookupError(
            f"{distribution.metadata['Name']} does not list its files: install it with pip"
        )
    for file in files:
        source = Path(str(distribution.locate_file(file)))
        if ".." in file.parts or not source.is_file():
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _compile(python: Path, folder: Path, *options: str) -> None:
    subprocess.run([python, "-m", "compileall", "-q", *options, folder], check=True, cwd="/")


def _open_up(folder: Path) -> None:
    """Make `folder` readable for everybody, whatever the umask and the modes in the checkout."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


# The product.


@dataclass(frozen=True)
class Deployment:
    """A copy of pcc that `user` can run, with a state folder of its own."""

    folder: Path
    python: Path
    user: str

    @property
    def config(self) -> Path:
        """Where write_config() puts pcc.toml."""
        return self.folder / "pcc.toml"

    @property
    def state(self) -> Path:
        """The folder for the database: the service user's, mode 0750."""
        return self.folder / "state"

    def write_config(self, text: str) -> Path:
        """Write pcc.toml, owned by root, readable for all; return its path."""
        self.config.write_text(text, encoding="utf-8")
        self.config.chmod(0o644)
        return self.config

    def policy_argv(self) -> list[str]:
        """The command line for spawn(8)."""
        return [str(self.python), str(self.folder / "pcc_policy.py"), "--config", str(self.config)]

    def admin_argv(self, *arguments: str) -> list[str]:
        """pcc_admin.py with this deployment's configuration and `arguments`."""
        script = str(self.folder / "pcc_admin.py")
        return [str(self.python), script, "--config", str(self.config), *arguments]

    def admin(
        self,
        *arguments: str,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        text: str = "",
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run pcc_admin.py as root, or as `user`, with `text` on its standard input."""
        return run_as(self.admin_argv(*arguments), user, environment, text=text, timeout=timeout)


def run_as(
    argv: Iterable[str | Path],
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    text: str = "",
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `argv` as root, or as `user` with its primary group alone, in a bare environment."""
    account = pwd.getpwnam(user or "root")
    session = {"PCC_TEST_SESSION": str(session_folder())}
    return subprocess.run(
        [str(argument) for argument in argv],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        env={**ENVIRONMENT, **session, **(environment or {})},
        cwd="/",
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )


def deploy() -> Deployment:
    """Copy the product into a new public folder, for the service user to run."""
    folder = public_folder("pcc")
    user = service_user()
    for name in PRODUCT:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, folder / name)
    python = service_python()
    if (folder / "pcc").is_dir():
        _compile(python, folder / "pcc")
    _open_up(folder)
    deployment = Deployment(folder, python, user)
    deployment.state.mkdir()
    deployment.state.chmod(0o750)
    shutil.chown(deployment.state, user, user)
    return deployment


def installation(policy: str = "") -> Deployment:
    """Install the product for a service user, its country database one that the tests know."""
    pcc = deploy()
    from checkout import IPV6_NETWORKS, NETWORKS, NO_NETWORKS, first_limit
    from mmdb import write_country_database

    write_country_database(pcc.state / "country.mmdb", {**NETWORKS, **IPV6_NETWORKS})
    (pcc.state / "country.mmdb").chmod(0o644)
    policy = f"familiar_after = 0\n{policy}"
    pcc.write_config(
        f'[policy]\n{first_limit(policy)}{policy}\n[store]\ndatabase = "{pcc.state}/pcc.db"\n'
        f'[country]\ndatabase = "{pcc.state}/country.mmdb"\n{NO_NETWORKS}'
        '[notify]\ndigest = ""\n'
    )
    done = pcc.admin("init")
    assert done.returncode == 0, done.stderr
    return pcc
