"""The parser once more, guided by coverage: python -m fuzz.guided SECONDS (needs atheris).

Run by `python -m fuzz` in a process of its own, because libFuzzer ends it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys


def missing() -> str:
    """Why this can't be run, or ""."""
    return "" if importlib.util.find_spec("atheris") else "atheris is not installed"


def run(seconds: int) -> int:
    """Fuzz for `seconds`; return the number of inputs.  Raises AssertionError for a failure."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.guided", str(seconds)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stdout + done.stderr
    tried = re.search(r"Done (\d+) in", said) or re.search(r"Done (\d+) runs", said)
    assert done.returncode == 0 and tried, said[-3000:]
    return int(tried[1])


def main(seconds: str) -> None:
    """Never returns."""
    atheris = importlib.import_module("atheris")

    with atheris.instrument_imports(include=["pcc"]):
        from pcc import escaping, protocol
    assert escaping
    assert protocol

    from fuzz import parsing, protocol_model

    def one_input(data: bytes) -> None:
        size = 1 + (data[0] if data else 0)
        stream = data[1:]
        parts = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert parsing.read(parts) == protocol_model.requests(stream)

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1])
