"""disk.c, compiled: the environment that puts it, or libfaketime, under a policy process."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

from deployment import public_folder

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C"}
"""The descriptors and environment that spawn(8) gives its children, in short."""


def missing_compiler() -> str:
    """Why disk.c can't be compiled, or ""."""
    return "" if shutil.which("gcc") else "no gcc"


@functools.cache
def failing_disk() -> str:
    """The shared object of disk.c."""
    library = public_folder("disk") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O2",
        "-Wall",
        "-Werror",
        "-o",
        str(library),
        str(source),
        "-ldl",
    ]
    subprocess.run(command, check=True)
    library.chmod(0o755)
    return str(library)


@functools.cache
def faketime() -> str:
    """The library of faketime(1), "" where that is not installed."""
    found = sorted(Path("/usr").glob("lib*/**/faketime/libfaketime.so.1"))
    return str(found[0]) if found else ""


def on_failing_disk(folder: Path, **settings: object) -> dict[str, str]:
    """The environment of a policy process whose files in `folder` fail, see disk.c."""
    return {
        **ENVIRONMENT,
        "LD_PRELOAD": failing_disk(),
        "FAULTS_FOLDER": str(folder),
        **{f"FAULTS_{name.upper()}": str(value) for name, value in settings.items()},
    }


def at_faked_time(**settings: object) -> dict[str, str]:
    """The environment of a policy process with another clock; `settings` are libfaketime's."""
    return {
        **ENVIRONMENT,
        "LD_PRELOAD": faketime(),
        **{name.upper(): str(value) for name, value in settings.items()},
    }
