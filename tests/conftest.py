"""The parts of every test run: its markers and their order, and its last words.

Tests without a marker come first, then `subprocess`, then `postfix`, so that what fails fast fails
first.  Where a real Postfix can't be had, the tests marked `postfix` are skipped, and the last
lines of the run say so; --require-postfix, or PCC_REQUIRE_POSTFIX=1, makes failures of them.
A process that a test leaves behind fails the run.

With pytest-xdist each worker has a session of its own, and passes its findings to the session that
reports.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import forked
import postfix
import pytest
import servers
from checkout import Site
from deployment import Deployment, deploy, end_processes_of, session_folder
from hypothesis import settings
from patient import Patient

settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")

MARKERS = {
    "subprocess": "starts child processes",
    "postfix": "needs root, Postfix, libsasl2-modules and sasl2-bin",
}
NOT_TRIED = "a real Postfix was missing"
SKIPPED = pytest.StashKey[Counter[str]]()
LEFT_BEHIND = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --require-postfix."""
    parser.addoption(
        "--require-postfix",
        action="store_true",
        default=os.environ.get("PCC_REQUIRE_POSTFIX", "") not in ("", "0"),
        help="fail the tests of a real Postfix where they would be skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and mark this session's processes from the first one on."""
    # The service user must be able to read the files that tests write, whatever the caller's
    # umask.
    os.umask(0o022)
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    config.stash[SKIPPED] = Counter()
    config.pluginmanager.register(_Listener(config))
    config.stash[LEFT_BEHIND] = []
    if not _has_workers(config):
        session_folder()


def _has_workers(config: pytest.Config) -> bool:
    """Whether the tests are run by other processes, which this one only hears of."""
    return bool(getattr(config.option, "numprocesses", 0)) and not hasattr(config, "workerinput")


class _Listener:
    """Collects the findings of the tests, or of the workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, reason in report.user_properties:
            if name == NOT_TRIED:
                self._config.stash[SKIPPED][str(reason)] += 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", {})  # none of one that crashed
        self._config.stash[LEFT_BEHIND] += output.get("left behind", [])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the fast tests first."""
    ranks = {name: rank for rank, name in enumerate(MARKERS, start=1)}
    items.sort(
        key=lambda item: max((ranks.get(mark.name, 0) for mark in item.iter_markers()), default=0)
    )


@functools.cache
def _missing() -> str:
    return postfix.missing()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of a real Postfix, before its fixtures, where there is none."""
    if item.get_closest_marker("postfix") and _missing():
        pytest.skip(_missing())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Mark the skipped tests of a real Postfix, for whatever reason, or make failures of them."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("postfix"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        report.user_properties.append((NOT_TRIED, reason))
        if item.config.getoption("--require-postfix"):
            report.outcome = "failed"
            report.longrepr = f"a test of a real Postfix must not be skipped: {reason}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run, and kill them by process id, when processes were left behind."""
    config = session.config
    forked.end()
    if not _has_workers(config):
        config.stash[LEFT_BEHIND] = end_processes_of(session_folder(), patience=2)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left behind"] = config.stash[LEFT_BEHIND]
    if config.stash[LEFT_BEHIND]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last, below the totals, what a green run would hide."""
    lines = [f"LEFT BEHIND, and killed: {command}" for command in config.stash[LEFT_BEHIND]]
    lines += [
        f"{count} TESTS OF A REAL POSTFIX WERE SKIPPED: {reason}"
        for reason, count in config.stash[SKIPPED].items()
    ]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for line in lines:
            reporter.write_line(line, red=True, bold=True)


@pytest.fixture(scope="session", autouse=True)
def servers_stopped() -> Iterator[None]:
    """Stop the database servers after the last test."""
    yield
    servers.stop_all()


@pytest.fixture
def limits() -> str:
    """The `[policy]` of this test's sites; modules and folders have fixtures of their own."""
    return ""


@pytest.fixture
def make(tmp_path: Path, limits: str) -> Iterator[Callable[..., Site]]:
    """Makes sites in the test's folder, each with another configuration if one is given."""
    sites: list[Site] = []

    def make_site(toml: str = limits) -> Site:
        sites.append(Site(tmp_path, toml))
        return sites[-1]

    yield make_site
    for site in sites:
        site.close()


@pytest.fixture
def site(make: Callable[..., Site]) -> Site:
    """A site with `limits`."""
    return make()


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """The product in a folder where the service user can run it, removed afterwards."""
    deployed = deploy()
    yield deployed
    shutil.rmtree(deployed.folder)


@pytest.fixture(scope="module")
def installed() -> Iterator[Patient]:
    """An installation that doctor finds nothing wrong with, for all tests of a module."""
    patient = Patient()
    yield patient
    patient.remove()


@pytest.fixture
def patient(installed: Patient) -> Iterator[Patient]:
    """That installation; main.cf and master.cf are put right afterwards."""
    main, master = dict(installed.postfix.main), installed.postfix.master
    yield installed
    installed.postfix.main, installed.postfix.master = main, master
    installed.postfix.write_config()
