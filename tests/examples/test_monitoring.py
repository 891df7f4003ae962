"""The alert rules and the dashboard ask for figures that `stats --prometheus` has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT, Site, address
from servers import require

from pcc.admin.stats import FIGURES

MONITORING = ROOT / "examples" / "monitoring"
RULES = MONITORING / "rules.yml"

ALERTS = {
    "PccBlockedAnAccount": {'pcc_incidents_total{mode="enforce"}': "0x5 1x10"},
    "PccSeesNoMail": {"pcc_last_sighting_age_seconds": "86401x10"},
    "PccFails": {'pcc_errors_total{kind="store"}': "0x5 1x10"},
    "PccNoticesFail": {"pcc_notices_failed_total": "0x5 1 2 3 4 5 6 7x10"},
    "PccNoticesWait": {"pcc_outbox_age_seconds": "3601x10"},
    "PccCountryDatabaseOld": {"pcc_country_database_age_seconds": "7776001x10"},
    "PccHeldMailForgotten": {"pcc_held_mails": "1x4400"},
    "PccMailWithoutCountry": {
        "pcc_recent_mails": "200x100",
        "pcc_recent_mails_without_country": "101x100",
    },
    "PccServerAway": {"pcc_server_age_seconds": "61x10"},
    "PccFiguresOld": {'node_textfile_mtime_seconds{file="/x/pcc.prom"}': "0x40"},
}
"""For each alert the series that make it fire, a sample a minute."""


def test_rules_and_dashboard_ask_for_figures_that_are_exported() -> None:
    for file in (RULES, MONITORING / "grafana.json"):
        used = set(re.findall(r"\bpcc_(?!admin)[a-z_]+", file.read_text()))
        assert used
        assert used <= {figure.metric for figure in FIGURES}, file


def test_dashboard_shows_every_figure_but_the_oldest_sighting() -> None:
    board = json.loads((MONITORING / "grafana.json").read_text())
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    missing = [figure.metric for figure in FIGURES if f"{figure.metric}{{" not in asked]
    assert missing == ["pcc_oldest_sighting_age_seconds"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.subprocess
@pytest.mark.parametrize("alert", re.findall(r"alert: (\w+)", RULES.read_text()))
def test_alert_fires(tmp_path: Path, alert: str) -> None:
    require("" if shutil.which("promtool") else "promtool (package prometheus) is not installed")
    minutes = int(next(iter(ALERTS[alert].values())).rpartition("x")[2])
    firing = {
        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
        "eval_time": f"{minutes}m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
    samples = [{"series": name, "values": values} for name, values in ALERTS[alert].items()]
    trial = {"interval": "1m", "input_series": samples, "promql_expr_test": [firing]}
    file = tmp_path / "trial.yml"  # JSON is YAML as well
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [trial]}))
    command = ["promtool", "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.subprocess
def test_promtool_takes_the_metrics(tmp_path: Path) -> None:
    require("" if shutil.which("promtool") else "promtool (package prometheus) is not installed")
    site = Site(tmp_path)
    assert site.ask("joe@example.org", address("ES")) == "DUNNO"
    text = site.admin("stats", "--prometheus").stdout
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
