#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_disk_lvmthin
short_description: Manage an LVM thin pool on a disk of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates a volume group with a thin pool of LVM on a disk, and removes the pool.
notes:
  - When the pool is removed, its volume group stays. With O(cleanup_disks=true) it goes as well, which is refused if
    there are other volumes in it.
seealso:
  - module: onprem.cloud.pve_disk_directory
  - module: onprem.cloud.pve_disk_lvm
  - module: onprem.cloud.pve_disk_zfs
  - module: onprem.cloud.pve_storage
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.disks
options:
  name:
    description: Name of the thin pool, of its volume group and of the storage.
    type: str
    required: true
  volume_group:
    description: The volume group, of a pool that was not made by Proxmox VE and has another name than its group.
    type: str
  device:
    description:
      - The disk or partition, by its name such as V(/dev/sdb), or by its link below C(/dev/disk/by-id). Required for a
        new one.
      - Links that Proxmox VE can be asked about are those with the serial number and those with the WWN.
    type: str
"""

EXAMPLES = r"""
- name: A thin pool for the disks of guests
  onprem.cloud.pve_disk_lvmthin:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    name: fast
    device: /dev/nvme0n1
    add_storage: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
disk_lvmthin:
  description: The thin pool as Proxmox VE shows it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"lv": "fast", "vg": "fast", "lv_size": 1978281033728, "used": 0, "metadata_size": 16978542592,
    "metadata_used": 84893}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.disks import INSTEAD, PLACES, Device, OnDisks, size
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

TABLE = Table(
    noun="thin pool",
    path="/nodes/{node}/disks/lvmthin",
    id="name",
    instead=INSTEAD,
    required=("device",),
    options={"device": Option(STR, Device(), "", fixed=True)},
    places={**PLACES, "volume_group": STR},
)


class ThinPool(OnDisks):
    """A thin pool in a volume group, which has its name if PVE made it."""

    kind = "lvmthin"

    @property
    def group(self) -> str:
        return self.params["volume_group"] or self.name

    def fetch(self) -> dict[str, Any] | None:
        groups = (self.client.get(f"/nodes/{self.node}/disks/lvm") or {}).get("children") or []
        self.groups = {group["name"]: group for group in groups}
        pools = self.client.get(self.path) or []
        return next((pool for pool in pools if (pool.get("vg"), pool.get("lv")) == (self.group, self.name)), None)

    @property
    def storage(self) -> dict[str, Any]:
        return {"type": "lvmthin", "vgname": self.name, "thinpool": self.name}

    def members(self) -> list[str]:
        return [item["name"] for item in self.groups.get(self.group, {}).get("children") or []]

    def holds(self) -> str:
        used = (self.raw or {}).get("used")
        return f"{size(used)} of data in it" if used else ""

    def on_devices(self, wanted: list[str]) -> bool:
        return set(wanted) <= set(self.members())

    def is_alone(self) -> bool:
        """Whether the pool is all that its volume group holds, the copy of its metadata that LVM keeps room for too."""
        group, pool = self.groups.get(self.group, {}), self.raw or {}
        taken = int(group.get("size") or 0) - int(group.get("free") or 0)
        return taken <= int(pool["lv_size"]) + 2 * int(pool["metadata_size"])

    def check_consent(self) -> None:
        if self.params["cleanup_disks"] and not self.is_alone():
            self.problem(
                f"cleanup_disks: its volume group '{self.group}' holds other volumes as well and cannot be wiped, "
                "set cleanup_disks to false"
            )
        super().check_consent()

    def validate(self) -> None:
        super().validate()
        if self.raw is None and self.group != self.name:
            self.problem(f"a new one gets a volume group of its own name, leave volume_group '{self.group}' out")
        elif self.raw is None and self.name in self.groups:
            self.problem(
                f"there is a volume group '{self.name}' without it, on {', '.join(self.members())}: choose another name"
            )

    @property
    def task_ids(self) -> tuple[str, ...]:
        return (self.name, f"{self.group}-{self.name}")

    def also(self) -> dict[str, Any]:
        return {"volume-group": self.group}


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, ThinPool)


if __name__ == "__main__":
    main()
