"""`stats`: for people, as JSON, and for Prometheus, read by its own parser."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from checkout import ROOT, Site, address
from postfix import PrivatePostfix
from prometheus_client.parser import text_string_to_metric_families

from pcc.admin.stats import FIGURES
from pcc.store import tally

pytestmark = pytest.mark.subprocess

NAMES = {f"{figure.metric} {figure.value}".strip() for figure in FIGURES}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("stats"), "familiar_after = 0\n")
    for country in ("ES", "FR", "BR", "VN"):
        site.ask("joe@example.org", address(country))
    site.ask("ann@example.org", address("ES"))
    with closing(sqlite3.connect(site.database)) as connection, connection:
        connection.execute(
            "INSERT INTO outbox (id, incident, account, what, channel, detail, created, taken,"
            " tries, last_error, next_try, recipients)"
            " VALUES (1, 1, 'joe@example.org', 'blocked', 'mail', '', ?, 0, 0, '', 0, '')",
            (time.time() - 1000,),
        )
    yield site
    site.close()


def metrics(text: str) -> dict[str, float]:
    """Parse metrics, and hold that each has a type, a help text and a name of ours."""
    values = {}
    for family in text_string_to_metric_families(text):
        assert family.type in ("gauge", "counter")
        assert family.documentation
        assert family.name.startswith("pcc_")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            values[" ".join([sample.name, *sample.labels.values()])] = sample.value
    build = next(name for name in values if name.startswith("pcc_build_info"))
    values["pcc_build_info"] = values.pop(build)
    return values


def test_prometheus_reads_every_figure_in_base_units(site: Site) -> None:
    done = site.admin("stats", "--prometheus")
    assert (done.returncode, done.stderr) == (0, "")
    values = metrics(done.stdout)
    assert set(values) == {"pcc_build_info", *NAMES} - {"pcc_server_age_seconds"}
    assert values["pcc_accounts"] == 2
    assert values["pcc_countries"] == 4
    assert values["pcc_sightings"] == 5
    assert values["pcc_blocked_accounts"] == 1
    assert values["pcc_outbox_notices"] == 1
    assert 990 <= values["pcc_outbox_age_seconds"] < 1100
    assert 0 <= values["pcc_last_sighting_age_seconds"] < 100
    assert values["pcc_database_size_bytes"] >= os.stat(site.database).st_size


def test_stats_file_is_replaced_as_a_whole_and_readable_for_everybody(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "pcc.prom"
    file.write_text("old")
    file.chmod(0o600)
    before = file.stat().st_ino
    done = site.admin("stats", "--prometheus", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert metrics(file.read_text())["pcc_accounts"] == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.stat().st_ino != before
    assert os.listdir(tmp_path) == ["pcc.prom"]


def test_stats_file_that_can_not_be_written_is_an_error_and_leaves_nothing(
    site: Site, tmp_path: Path
) -> None:
    for path, cause in (
        (tmp_path / "none" / "pcc.prom", "No such file or directory"),
        (tmp_path, "is not a plain file"),
        (Path("/dev/null"), "is not a plain file"),
    ):
        done = site.admin("stats", "--prometheus", str(path))
        assert done.returncode == 4
        assert cause in done.stderr
    assert os.listdir(tmp_path) == []
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)


def test_stats_are_the_same_for_people_and_programs(site: Site) -> None:
    data = site.data("stats")
    assert list(data) == [figure.name for figure in FIGURES]
    assert data["accounts"] == 2
    text = site.admin("stats").stdout
    assert "Accounts that are blocked" in text
    assert next(line.split()[-1] for line in text.splitlines() if "blocked" in line) == "1"


def test_stats_refuse_json_and_metrics_on_stdout(site: Site, tmp_path: Path) -> None:
    done = site.admin("--json", "stats", "--prometheus")
    assert (done.returncode, done.stdout) == (2, "")
    data = site.data("stats", "--prometheus", str(tmp_path / "pcc.prom"))
    assert data["accounts"] == 2
    assert (tmp_path / "pcc.prom").exists()


def test_figure_that_does_not_exist_has_no_sample(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.countries.unlink()
    done = site.admin("stats", "--prometheus")
    assert done.returncode == 0
    assert "country database is missing" in done.stderr
    values = metrics(done.stdout)
    assert values["pcc_accounts"] == 0
    assert values["pcc_outbox_age_seconds"] == 0
    missing = NAMES - set(values)
    assert missing == {
        "pcc_server_age_seconds",
        "pcc_last_sighting_age_seconds",
        "pcc_oldest_sighting_age_seconds",
        "pcc_country_database_age_seconds",
    }


@pytest.mark.postfix
def test_stats_count_recent_mail_without_a_country(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    mta = PrivatePostfix()
    monkeypatch.setenv("MAIL_CONFIG", str(mta.config))
    line = (
        "Nov 22 09:01:02 mx postfix/smtpd[7]: {}: client=x[{}], sasl_method=PLAIN,"
        " sasl_username=joe\n"
    )
    clients = [address("ES"), "172.17.0.1", "172.17.0.1"]
    log = "".join(line.format(f"ABCDEF{n}", client) for n, client in enumerate(clients))
    (mta.folder / "maillog").write_text(log)
    try:
        done = site.admin("stats", "--prometheus")
        shown = site.admin("stats").stdout
    finally:
        shutil.rmtree(mta.folder)
    assert "\n\n2 of the last 3 mails had no country" in shown and "network_mode: host" in shown
    values = metrics(done.stdout)
    assert (values["pcc_recent_mails"], values["pcc_recent_mails_without_country"]) == (3, 2)


def test_stats_count_errors_by_kind_and_mail_without_a_country(tmp_path: Path) -> None:
    site = Site(tmp_path)
    process = site.policy()
    for instance in ("1.1.1", "1.1.1", "1.1.2"):  # a mail of two recipients, and another
        assert process.ask("joe@example.org", "192.168.0.7", instance=instance) == "DUNNO"
    process.end()
    for _ in range(2):
        process = site.policy()
        process.send("request=junk\n\n")
        assert process.reply() is None
        process.end()
    database = site.database.read_bytes()
    site.database.write_bytes(b"broken" * 1000)
    assert site.ask("joe@example.org", address("ES")) is None
    site.database.write_bytes(database)
    site.countries.unlink()
    assert site.ask("joe@example.org", address("ES")) == "DUNNO"
    found = {name: n for name, n in site.data("stats").items() if name.endswith("_total") and n}
    assert found == {
        "without_country_total": 3,
        "errors_protocol_total": 2,
        "errors_store_total": 1,
        "errors_places_total": 1,
    }


def test_tally_that_is_damaged_or_can_not_be_written_stops_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "pcc.db")
    tally.note(path, "errors internal")
    file = tmp_path / "pcc.db.tally"
    assert [name for name, n in tally.tally(path).items() if n] == ["errors internal"]
    file.write_bytes(b"damaged")
    tally.note(path, "without country")
    assert tally.tally(path)["without country"] == 1
    file.unlink()
    file.mkdir()
    tally.note(path, "without country")
    assert not any(tally.tally(path).values())


def test_tally_counts_what_many_processes_note_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "pcc.db")
    note = f"from pcc.store import tally\nfor _ in range(500): tally.note({path!r}, 'errors store')"
    children = [subprocess.Popen([sys.executable, "-c", note], cwd=ROOT) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    assert tally.tally(path)["errors store"] == 2000
