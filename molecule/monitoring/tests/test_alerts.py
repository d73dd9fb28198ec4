# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert fires when it should, not before, and says so in a sentence. ``promtool test rules`` is the judge."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

testinfra_hosts = ["monitoring"]

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
CASES = yaml.safe_load((SCENARIO / "files" / "alerts.yml").read_text())


@pytest.fixture(scope="module")
def rules(host) -> list[dict[str, Any]]:
    """The rules with the thresholds that the role comes with, rendered to /var/tmp/rules."""
    inventory = str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")
    subprocess.run(["ansible-playbook", "-i", inventory, str(SCENARIO / "render.yml")], check=True, capture_output=True)
    show = "cd /var/tmp/rules; for f in *.yml; do printf '%s\\n' --- \"topic: ${f%.yml}\"; cat $f; done"
    documents = yaml.safe_load_all(host.check_output(show))
    return [
        {**rule, "topic": document["topic"]}
        for document in documents
        for group in document["groups"]
        for rule in group["rules"]
    ]


def expand(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels.get(found[1], ""), text)


def case_test(case: dict[str, Any], description: str) -> dict[str, Any]:
    fires = {
        "exp_labels": case["labels"],
        "exp_annotations": {"summary": case["summary"], "description": expand(description, case["labels"])},
    }
    moments = [{"eval_time": case["fires"], "alertname": case["alert"], "exp_alerts": [fires]}]
    if "silent" in case:
        moments.insert(0, {"eval_time": case["silent"], "alertname": case["alert"]})
    return {
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case["series"].items()],
        "alert_rule_test": moments,
    }


def test_every_alert_has_a_case(rules):
    assert {rule["alert"] for rule in rules} == {case["alert"] for case in CASES}


def test_every_alert_has_a_severity_and_says_what_to_do(rules):
    for rule in rules:
        severities = {"none"} if rule["alert"] == "Watchdog" else {"critical", "warning"}
        assert rule["labels"]["severity"] in severities, rule
        assert len(rule["annotations"]["description"]) > 50, rule


def test_every_case_names_guest_and_service(rules):
    for case in CASES:
        assert case["labels"]["guest"] in case["summary"], case
        assert case["labels"]["service"] in case["summary"], case


def test_alerts_fire_when_they_should(host, rules):
    by_name = {rule["alert"]: rule for rule in rules}
    topics = sorted({rule["topic"] for rule in rules})
    for topic in topics:
        cases = [case for case in CASES if by_name[case["alert"]]["topic"] == topic]
        tests = {
            "rule_files": [f"/var/tmp/rules/{topic}.yml"],
            "evaluation_interval": "1m",
            "tests": [case_test(case, by_name[case["alert"]]["annotations"]["description"]) for case in cases],
        }
        host.check_output(f"cat > /var/tmp/{topic}.test.yml <<'END'\n{yaml.safe_dump(tests, width=1000)}END")
    result = host.run("promtool test rules " + " ".join(f"/var/tmp/{topic}.test.yml" for topic in topics))
    assert result.rc == 0, result.stdout + result.stderr
