#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_disk_lvm
short_description: Manage an LVM volume group on a disk of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates a volume group of LVM on a disk, and removes it.
seealso:
  - module: onprem.cloud.pve_disk_directory
  - module: onprem.cloud.pve_disk_lvmthin
  - module: onprem.cloud.pve_disk_zfs
  - module: onprem.cloud.pve_storage
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.disks
options:
  name:
    description: Name of the volume group, and of the storage.
    type: str
    required: true
  device:
    description:
      - The disk or partition, by its name such as V(/dev/sdb), or by its link below C(/dev/disk/by-id). Required for a
        new one.
      - Links that Proxmox VE can be asked about are those with the serial number and those with the WWN.
    type: str
"""

EXAMPLES = r"""
- name: A volume group for the disks of guests
  onprem.cloud.pve_disk_lvm:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    name: guests
    device: /dev/sdb
    add_storage: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
disk_lvm:
  description: The volume group as Proxmox VE shows it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"name": "guests", "size": 8001559592960, "free": 8001559592960, "lvcount": 0, "leaf": 0,
    "children": [{"name": "/dev/sdb", "size": 8001559592960, "free": 8001559592960, "leaf": 1}]}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.disks import INSTEAD, PLACES, Device, OnDisks
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

TABLE = Table(
    noun="volume group",
    path="/nodes/{node}/disks/lvm",
    id="name",
    instead=INSTEAD,
    required=("device",),
    options={"device": Option(STR, Device(), "", fixed=True)},
    places=PLACES,
)


class VolumeGroup(OnDisks):
    """A volume group; others may have added disks to it."""

    kind = "lvm"
    system = "pve"

    def fetch(self) -> dict[str, Any] | None:
        groups = (self.client.get(self.path) or {}).get("children") or []
        return next((group for group in groups if group.get("name") == self.name), None)

    @property
    def storage(self) -> dict[str, Any]:
        return {"type": "lvm", "vgname": self.name}

    def members(self) -> list[str]:
        return [item["name"] for item in (self.raw or {}).get("children") or []]

    def holds(self) -> str:
        count = int((self.raw or {}).get("lvcount") or 0)
        return f"the {count} volumes in it" if count > 1 else "the volume in it" if count else ""

    def on_devices(self, wanted: list[str]) -> bool:
        return set(wanted) <= set(self.members())


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, VolumeGroup)


if __name__ == "__main__":
    main()
