# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may reach what: derived from what an inventory says, and for the reference site as it was reviewed."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[2]
init_plugin_loader([str(ROOT / "collections")])
firewall_policy = importlib.import_module(
    "ansible_collections.onprem.cloud.plugins.filter.firewall_policy"
).firewall_policy
REVIEWED = ROOT / "docs/firewall.md"

HOSTS: dict[str, dict[str, Any]] = {
    "node": {"ansible_host": "192.0.2.2"},
    "web": {"guest_vmid": 200, "guest_address": "192.0.2.20/24", "ansible_host": "192.0.2.20"},
    "shop": {"guest_vmid": 201, "guest_address": "192.0.2.21/24", "ansible_host": "192.0.2.21"},
    "metrics": {"guest_vmid": "301", "guest_address": "192.0.2.31/24", "ansible_host": "192.0.2.31"},
    "desk": {"guest_vmid": 900, "guest_type": "qemu", "guest_address": "dhcp", "ansible_host": "dhcp"},
    "old": {"guest_vmid": 202, "guest_address": "192.0.2.22/24", "guest_state": "absent"},
}
GROUPS = {"nodes": ["node"], "web_servers": ["web", "shop", "old"], "prometheus_servers": ["metrics"], "none": []}
METRICS = {"ports": ["tcp/9100"], "from": ["prometheus_servers"], "why": "Metrics"}


def derived(*services: dict[str, Any], **options: Any) -> dict[str, Any]:
    return firewall_policy(list(services), HOSTS, GROUPS, nodes=["node"], guests=list(HOSTS)[1:], **options)


def service(*rules: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"name": "web", "title": "Web servers", "hosts": ["web_servers"], "rules": list(rules), **options}


def test_service_becomes_a_group_and_its_clients_a_set() -> None:
    found = derived(service(METRICS))
    assert found["groups"] == [
        {
            "name": "onprem-web",
            "comment": "Web servers",
            "rules": [
                {
                    "action": "ACCEPT",
                    "source": "+dc/onprem-prometheus_servers",
                    "proto": "tcp",
                    "dport": "9100",
                    "comment": "Metrics",
                }
            ],
        }
    ]
    assert [(one["name"], one["entries"]) for one in found["sets"]] == [
        ("onprem-prometheus_servers", [{"cidr": "192.0.2.31", "comment": "metrics"}])
    ]
    assert found["guests"] == [
        {"vmid": 200, "type": "lxc", "groups": ["onprem-web"]},
        {"vmid": 201, "type": "lxc", "groups": ["onprem-web"]},
        {"vmid": 301, "type": "lxc", "groups": []},
        {"vmid": 900, "type": "qemu", "groups": []},
    ]
    assert found["node_groups"] == []
    assert {row["guest"]: row["from"] for row in found["table"]} == {
        "node": "nobody",
        "web": "metrics",
        "shop": "metrics",
        "metrics": "nobody",
        "desk": "nobody",
    }


def test_nodes_share_their_groups() -> None:
    assert derived(service(METRICS, hosts=["nodes", "web"]))["node_groups"] == ["onprem-web"]


def test_networks_are_those_of_the_guests_unless_they_are_given() -> None:
    both = service({"ports": ["tcp/80", "udp/443", "tcp/8000:8010", "ping"], "from": ["lan", "admins"], "why": "Web"})
    found = derived(both)
    assert found["admins"] == ["192.0.2.0/24"]
    assert found["sets"][0]["name"] == "onprem-lan"
    assert found["sets"][0]["entries"] == [{"cidr": "192.0.2.0/24", "comment": ""}]
    said = [
        {key: rule.get(key) for key in ("source", "proto", "dport", "macro") if key in rule}
        for rule in found["groups"][0]["rules"]
    ]
    assert said == [
        rule
        for source in ("+dc/onprem-lan", "+dc/management")
        for rule in (
            {"source": source, "macro": "Ping"},
            {"source": source, "proto": "tcp", "dport": "80,8000:8010"},
            {"source": source, "proto": "udp", "dport": "443"},
        )
    ]
    row = found["table"][1]
    assert (row["ports"], row["from"]) == ("80/tcp, 443/udp, 8000-8010/tcp, ping", "LAN, administrators")
    given = derived(both, lan=["203.0.113.0/24"], admins=["198.51.100.7"])
    assert given["admins"] == ["198.51.100.7"]
    assert given["sets"][0]["entries"] == [{"cidr": "203.0.113.0/24", "comment": ""}]


def test_hosts_by_name_share_a_set_of_the_port() -> None:
    found = derived(service({"ports": ["tcp/3306"], "from": ["shop", "old", "metrics"], "why": "Data"}))
    assert found["sets"] == [
        {
            "name": "onprem-web-3306",
            "comment": "Data",
            "entries": [{"cidr": "192.0.2.21", "comment": "shop"}, {"cidr": "192.0.2.31", "comment": "metrics"}],
        }
    ]


def test_the_same_rule_twice_is_one() -> None:
    found = derived(service(METRICS, {**METRICS, "why": "Metrics again"}))
    assert len(found["groups"][0]["rules"]) == 1


@pytest.mark.parametrize("of", [{"hosts": ["nobody"]}, {"hosts": ["none"]}, {"hosts": ["old"]}])
def test_service_that_nobody_runs_is_none(of: dict[str, Any]) -> None:
    found = derived(service(METRICS, **of))
    assert found["groups"] == found["sets"] == []


@pytest.mark.parametrize("clients", ["nobody", "none", "old"])
def test_service_that_nobody_uses_lets_nobody_in(clients: str) -> None:
    found = derived(service({**METRICS, "from": [clients]}))
    assert found["groups"] == found["sets"] == []
    assert all(not guest["groups"] for guest in found["guests"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (service(METRICS, name="a-name-too-long"), "a name is at most 11 lower-case letters, digits and dashes"),
        (service(METRICS, name="Web"), "a name is at most 11"),
        ({"name": "web", "rules": []}, "name, title, hosts and rules make a service, look at hosts, title"),
        (service({**METRICS, "port": 1}), "ports, from and why make a rule, look at port"),
        (service({**METRICS, "ports": ["9100"]}), "'9100' is no port, write for example tcp/443 or ping"),
        (
            service({**METRICS, "from": ["desk"]}),
            "desk: rules of the firewall need its address, and ansible_host is 'dhcp'",
        ),
    ],
    ids=["long", "capital", "service", "rule", "port", "address"],
)
def test_mistakes_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=re.escape(words)):
        derived(wrong)


def test_service_that_is_declared_twice_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="service 'web': it is declared twice"):
        derived(service(METRICS), service(METRICS))


# -------------------------------------------------------------------------------------------- the reference site


def page(inventory: Path, file: Path) -> list[str]:
    """The page about an inventory, as the playbook writes it."""
    command = ["ansible-playbook", "playbooks/host.yml", "-i", str(inventory), "--tags", "firewall_table"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    subprocess.run(
        [*command, "-e", f"site_firewall_file={file}"], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    return file.read_text().splitlines()


def rows(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("| ")]


def test_reference_site_is_as_it_was_reviewed(tmp_path: Path) -> None:
    assert page(ROOT / "inventories/example", tmp_path / "page") == REVIEWED.read_text().splitlines()


def test_lab_is_the_reference_site(tmp_path: Path) -> None:
    """But for a machine with Windows, which does not run there and has no metrics."""
    lab = page(ROOT / "inventories/lab", tmp_path / "page")
    (prefix,) = {match[1] for line in lab if (match := re.match(r"\| pve1 \| (\d+\.\d+\.\d+)\.2 \|", line))}
    there, reviewed = (
        [row for row in rows(lines) if "Metrics of windows" not in row]
        for lines in ([line.replace(f"{prefix}.", "192.168.0.") for line in lab], REVIEWED.read_text().splitlines())
    )
    assert there == reviewed


def test_rules_move_with_hosts_and_groups(tmp_path: Path) -> None:
    """Redis moves to another guest, an application is added, and there is no reverse proxy any more."""
    site = tmp_path / "inventory"
    shutil.copytree(ROOT / "inventories/example", site)
    hosts = yaml.safe_load((site / "hosts.yml").read_text())
    groups = hosts["all"]["children"]
    groups["redis_servers"]["hosts"] = {"backend": None}
    groups["guests"]["children"]["containers"]["hosts"]["wiki"] = {
        "guest_vmid": 503,
        "guest_address": "192.168.0.53/24",
        "guest_databases": [{"name": "wiki"}],
    }
    del groups["reverse_proxy_servers"]
    (site / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
    before, after = rows(REVIEWED.read_text().splitlines()), rows(page(site, tmp_path / "page"))
    accounts = "nextcloud-bowbo, nextcloud-maro, frappe-bowbo, snipe-it, passbolt"
    databases = [("database-primary", 10), ("database-replica", 11)]
    (proxy,) = [line for line in before if "Web sites and applications" in line]
    applications = [
        line for line in before if re.search(r"\| (frontend, administrators|administrators, frontend) \|", line)
    ]
    moved = [line for line in before if line.startswith("| redis |") and re.search(r"Users of|Redis", line)]
    assert len(moved) == 4
    # Two are for administrators only.
    assert len(applications) == 7
    gone = [line for line in before if line not in after]
    assert sorted(gone) == sorted(
        [
            *moved,
            *applications,
            proxy,
            *(
                f"| {name} | 192.168.0.{part} | 3306/tcp | Accounts of databases | {accounts} |"
                for name, part in databases
            ),
        ]
    )
    new = [line for line in after if line not in before]
    assert sorted(new) == sorted(
        [
            *(line.replace("| redis | 192.168.0.12 |", "| backend | 192.168.0.21 |") for line in moved),
            *(
                line.replace("frontend, administrators", "LAN, administrators")
                if "443/tcp" in line
                else re.sub(r"frontend, | ?, frontend", "", line)
                for line in applications
            ),
            *(
                f"| {name} | 192.168.0.{part} | 3306/tcp | Accounts of databases | {accounts}, wiki |"
                for name, part in databases
            ),
            "| wiki | 192.168.0.53 | 22/tcp | SSH | administrators |",
            "| wiki | 192.168.0.53 | ping | Ping | administrators |",
            "| wiki | 192.168.0.53 | 9100/tcp | Metrics of machine | monitoring |",
        ]
    )
