# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role proxmox_storage has Proxmox VE know the storages of the reference site; pvesh is a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.contract.running import ROOT, Node
from tests.contract.serving import Api

SITE = yaml.safe_load((ROOT / "inventories/example/host_vars/pve1.yml").read_text())
ENTRIES = SITE["proxmox_storage_entries"]
TASK = "onprem.cloud.proxmox_storage : Set the storages of Proxmox VE"


def play(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "module_defaults": {"group/onprem.cloud.pve": {"api_backend": "local"}},
        "tasks": [{
            "ansible.builtin.include_role": {"name": "onprem.cloud.proxmox_storage", "tasks_from": "entries.yml"},
            "vars": {"proxmox_storage_entries": entries},
        }],
    }  # fmt: skip


def test_the_storages_of_the_reference_site_are_known_and_stay(api: Api, tmp_path: Path) -> None:
    node, known = Node(api, tmp_path), api.pve.storages
    predicted = node.play(play(ENTRIES), "--check")
    assert (predicted.code, predicted.changed) == (0, [TASK]), predicted.output
    assert api.changes() == []
    applied = node.play(play(ENTRIES))
    assert (applied.code, applied.changed) == (0, [TASK]), applied.output
    assert {entry["name"] for entry in ENTRIES} <= known.keys()
    assert known["nextcloud-bowbo"]["pool"] == "tank/nextcloud-bowbo"
    assert known["backups"]["is_mountpoint"] == "yes"
    api.changes()
    assert node.play(play(ENTRIES)).changed == []
    assert api.changes() == []


def test_the_disks_of_the_reference_site_hold_what_is_declared() -> None:
    quotas = [row["properties"].get("quota") for row in SITE["proxmox_storage_datasets"]]
    # Of 12 TB, ZFS keeps 128 GiB to itself.
    assert sum(int(quota[:-1]) for quota in quotas if quota) < 12e12 / 2**30 - 128
    pools = {row["name"] for row in SITE["proxmox_storage_datasets"]}
    assert {row["pool"] for row in ENTRIES if row["type"] == "zfspool"} <= pools
