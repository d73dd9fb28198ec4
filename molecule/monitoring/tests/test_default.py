# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import email
import email.policy
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = ["monitoring"]

INVENTORY = str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory")
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
SECRET = "only-for-this-scenario"


@pytest.fixture
def target():
    return AnsibleRunner(INVENTORY).get_host("target")


@pytest.fixture
def mail():
    return AnsibleRunner(INVENTORY).get_host("mail")


def get(host, url: str) -> Any:
    program = f"import urllib.request as u; print(u.urlopen({url!r}).read().decode())"
    return json.loads(host.check_output("python3 -c %s", program))


def query(host, expression: str) -> list[dict[str, Any]]:
    return get(host, f"http://127.0.0.1:9090/api/v1/query?query={quote(expression)}")["data"]["result"]


def wait(condition: Callable[[], Any], seconds: int) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(1)
    return answer


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "-i", INVENTORY, *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
    )


def converge(*options: str) -> subprocess.CompletedProcess[str]:
    return run("ansible-playbook", *options, str(SCENARIO / "converge.yml"))


def mails(mail) -> list[tuple[str, str]]:
    """Subject and text of each mail."""
    raw = mail.check_output("cd /var/lib/stand-in/mail && for f in $(ls); do cat $f; printf '\\036'; done")
    parsed = [email.message_from_string(one, policy=email.policy.default) for one in raw.split("\036") if one.strip()]
    return [(one["subject"], one.get_body(("plain",)).get_content()) for one in parsed]


def mailed(mail, *words: str) -> list[str]:
    """Texts of the mails whose subject or text holds every word."""
    return [text for subject, text in mails(mail) if all(word in subject + text for word in words)]


def test_every_target_is_up_and_names_guest_and_service(host):
    expected = {
        ("monitoring", "alertmanager"),
        ("monitoring", "prometheus"),
        ("target", "node_exporter"),
        ("target", "other"),
    }

    def up() -> set[tuple[str, str]]:
        targets = get(host, "http://127.0.0.1:9090/api/v1/targets")["data"]["activeTargets"]
        return {(t["labels"]["guest"], t["labels"]["service"]) for t in targets if t["health"] == "up"}

    wait(lambda: up() == expected, 40)
    assert up() == expected


def test_an_alert_on_a_backup_names_the_guest_that_was_to_be_backed_up(host):
    (series,) = query(host, 'onprem_backup_last_success_timestamp_seconds{kind="dump",job="node"}')
    assert series["metric"]["guest"] == "database-primary"
    assert "exported_guest" not in series["metric"]


def test_a_stopped_service_is_mailed_and_so_is_its_end(host, target, mail):
    mail.check_output("find /var/lib/stand-in -type f -delete")
    target.check_output("systemctl stop prometheus-node-exporter")
    try:
        texts = wait(lambda: mailed(mail, "[ALERT]", "ServiceDown", "node_exporter"), 60)
        assert texts, mails(mail)
        assert "node_exporter on target does not answer." in texts[0]
        assert "What to do:" in texts[0]
        assert wait(lambda: "node_exporter on target does not answer." in telegram(mail), 10)

        target.check_output("systemctl stop other")
        assert wait(lambda: mailed(mail, "[ALERT]", "GuestDown", "target"), 60), mails(mail)
        down = {
            (a["labels"]["alertname"], a["labels"]["service"]): a["status"]["state"]
            for a in get(host, "http://127.0.0.1:9093/api/v2/alerts")
            if a["labels"]["guest"] == "target" and a["labels"]["alertname"] in ("GuestDown", "ServiceDown")
        }
        assert down.pop(("GuestDown", "all")) == "active"
        assert set(down.values()) == {"suppressed"}, "a guest that is down holds the alerts of its services back"
    finally:
        target.check_output("systemctl start prometheus-node-exporter other")
    assert wait(lambda: mailed(mail, "[RESOLVED]", "node_exporter on target does not answer."), 60), mails(mail)


def telegram(mail) -> str:
    return mail.check_output("cat /var/lib/stand-in/telegram/* 2>/dev/null || true")


def test_secrets_are_for_root_and_the_service_only(host):
    files = host.check_output(f"grep -rl {SECRET} /etc").splitlines()
    assert sorted(files) == [
        "/etc/prometheus/alertmanager_secrets/smtp_password",
        "/etc/prometheus/alertmanager_secrets/telegram_bot_token",
        "/etc/prometheus/secrets/other",
    ]
    for file in files:
        assert host.run("su -s /bin/sh nobody -c 'cat %s'", file).rc != 0
        assert host.run("su -s /bin/sh prometheus -c 'cat %s'", file).rc == 0
    assert SECRET not in host.check_output("ps axww")


def test_alertmanager_is_reachable_from_its_own_guest_only(host, target):
    assert host.run("bash -c 'exec 3<>/dev/tcp/127.0.0.1/9093'").rc == 0
    assert target.run("bash -c 'exec 3<>/dev/tcp/monitoring/9093'").rc != 0
    assert "9094" not in host.check_output("ss -lntu")


def test_a_broken_rule_is_refused_before_anything_changes(host, tmp_path):
    state = "find /etc/prometheus /etc/default -type f -exec sha256sum {} + | sort"
    before = host.check_output(state)
    (tmp_path / "site.yml").write_text("groups: [{name: site, rules: [{record: 'site:up:count', expr: 'count(up'}]}]\n")
    settings = {"prometheus_rule_files": [str(tmp_path / "site.yml")], "prometheus_alert_disk_percent": 50}
    refused = converge("-e", json.dumps(settings))
    assert refused.returncode != 0
    assert "unclosed left parenthesis" in refused.stdout
    assert host.check_output(state) == before
    assert query(host, "site:up:count")


def starts_and_oldest_sample(host) -> list[str]:
    expressions = (
        'last_over_time(process_start_time_seconds{job="prometheus"}[5m])',
        'last_over_time(process_start_time_seconds{job="alertmanager"}[5m])',
        'min(min_over_time(timestamp(up{job="node"})[2h:10s]))',
    )
    return [query(host, expression)[0]["value"][1] for expression in expressions]


def test_a_hand_edit_is_shown_alone_and_repaired_without_a_restart(host):
    before = starts_and_oldest_sample(host)
    host.check_output("sed -i 's/^  scrape_timeout: 5s/  scrape_timeout: 3s/' /etc/prometheus/prometheus.yml")
    host.check_output("sed -i 's/repeat_interval: 4h/repeat_interval: 5h/' /etc/prometheus/alertmanager.yml")

    shown = converge("--check", "--diff")
    assert shown.returncode == 0, shown.stdout
    lines = [line.strip() for line in shown.stdout.splitlines() if line.startswith(("+", "-"))]
    assert [line for line in lines if not line.startswith(("+++", "---"))] == [
        "-  scrape_timeout: 3s",
        "+  scrape_timeout: 5s",
        "-  repeat_interval: 5h",
        "+  repeat_interval: 4h",
    ]
    assert "scrape_timeout: 3s" in host.file("/etc/prometheus/prometheus.yml").content_string

    repaired = converge()
    assert repaired.returncode == 0, repaired.stdout
    assert "scrape_timeout: 5s" in get(host, "http://127.0.0.1:9090/api/v1/status/config")["data"]["yaml"]
    assert "repeat_interval: 4h" in get(host, "http://127.0.0.1:9093/api/v2/status")["config"]["original"]
    assert starts_and_oldest_sample(host) == before


@pytest.mark.parametrize(
    ("role", "settings", "sentence"),
    [
        ("alertmanager", {}, "monitoring: Alertmanager has nobody to tell."),
        (
            "alertmanager",
            {"alertmanager_email_to": ["it@example.com"], "alertmanager_smtp_smarthost": "mail"},
            'alertmanager_smtp_smarthost is "mail"',
        ),
        (
            "prometheus",
            {"prometheus_scrape_jobs": [{"name": "web", "targets": [{"targets": ["w:80"], "labels": {"guest": "w"}}]}]},
            "w:80 of the job web has the labels {'guest': 'w'}. Add both guest and service",
        ),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(role, settings, sentence):
    refused = run(
        "ansible",
        "monitoring",
        *("-m", "ansible.builtin.include_role", "-a", f"name=onprem.cloud.{role} tasks_from=preflight"),
        *("-e", json.dumps(settings)),
    )
    assert refused.returncode != 0
    assert sentence in " ".join(refused.stdout.split()), refused.stdout
