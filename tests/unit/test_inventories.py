# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example inventory is the reference site, and the lab's is the same one, smaller."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# vmid, name, last part of the address, cores, memory in GB, priority
GUESTS = [
    (100, "database-primary", 10, 4, 8, "high"),
    (101, "database-replica", 11, 2, 4, "medium"),
    (102, "redis", 12, 2, 4, "high"),
    (200, "frontend", 20, 4, 8, "medium"),
    (201, "backend", 21, 4, 8, "medium"),
    (300, "network-services", 30, 2, 2, "high"),
    (301, "monitoring", 31, 2, 4, "low"),
    (400, "nextcloud-bowbo", 40, 4, 8, "medium"),
    (401, "nextcloud-maro", 41, 4, 8, "medium"),
    (500, "frappe-bowbo", 50, 6, 4, "high"),
    (501, "snipe-it", 51, 2, 4, "low"),
    (502, "passbolt", 52, 2, 2, "low"),
    (900, "windows-render", 14, 8, 16, "low"),
]


@pytest.fixture(scope="module")
def inventories() -> dict[str, dict[str, Any]]:
    return {
        name: json.loads(
            subprocess.check_output(["ansible-inventory", "-i", f"inventories/{name}", "--list"], cwd=ROOT)
        )
        for name in ("example", "lab")
    }


@pytest.mark.parametrize(("vmid", "name", "part", "cores", "memory", "priority"), GUESTS, ids=[g[1] for g in GUESTS])
def test_example_is_the_reference_site(inventories, vmid, name, part, cores, memory, priority) -> None:
    found = inventories["example"]["_meta"]["hostvars"][name]
    assert found["guest_vmid"] == vmid
    assert found["guest_address"] == f"{{{{ site_prefix }}}}.{part}/24"
    assert (found["guest_cores"], found["guest_memory"]) == (cores, memory * 1024)
    assert found["guest_priority"] == priority
    assert found["site_prefix"] == "192.168.0"


def test_example_database_has_the_disk_and_swap_of_the_reference_site(inventories) -> None:
    found = inventories["example"]["_meta"]["hostvars"]["database-primary"]
    assert found["guest_rootfs"] == {"storage": "local-lvm", "size": "175G"}
    assert found["guest_swap"] == 4096
    for name in ("nextcloud-bowbo", "nextcloud-maro"):
        found = inventories["example"]["_meta"]["hostvars"][name]
        assert found["guest_rootfs"] == {"storage": "local-lvm", "size": "50G"}
        assert found["guest_swap"] == 2048
        assert found["guest_mounts"]["mp0"]["storage"] == name
        assert found["guest_mounts"]["mp0"]["mp"] == "/var/www/nextcloud/data"


def test_example_machine_for_windows_is_the_reference_sites(inventories) -> None:
    found = inventories["example"]["_meta"]["hostvars"]["windows-render"]
    assert inventories["example"]["windows_machines"]["hosts"] == ["windows-render"]
    assert (found["guest_type"], found["windows_vm_disk_size"]) == ("qemu", "100G")
    assert found["windows_vm_gpu"] == "10de:2684"
    assert (found["ansible_connection"], found["ansible_port"]) == ("psrp", 5986)


def test_lab_has_the_same_groups(inventories) -> None:
    def groups(name: str) -> dict[str, Any]:
        return {group: sorted(what.get("hosts", [])) for group, what in inventories[name].items() if group != "_meta"}

    assert groups("lab") == groups("example")


def test_lab_differs_in_sizes_only(inventories) -> None:
    def unsized(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: unsized(item) for key, item in value.items() if key != "size"}
        return value

    sizes = {"guest_cores", "guest_memory", "guest_swap", "guest_rootfs", "guest_mounts"}
    example, lab = (inventories[name]["_meta"]["hostvars"] for name in ("example", "lab"))
    for _, name, *_ in GUESTS:
        for key in {k for k in {**example[name], **lab[name]} if k.startswith("guest_")} - sizes:
            assert unsized(lab[name].get(key)) == unsized(example[name].get(key)), (name, key)
