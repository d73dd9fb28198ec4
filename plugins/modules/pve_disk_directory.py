#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_disk_directory
short_description: Manage a file system on a disk of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates a file system on a disk, mounts it below C(/mnt/pve), and removes it.
notes:
  - Proxmox VE does not tell on which disk a directory is. One that is there is taken for the right one if O(device)
    holds a file system of the same type, or one that is mounted and of which nothing else is known.
seealso:
  - module: onprem.cloud.pve_disk_lvm
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
    description: Name of the directory below C(/mnt/pve), and of the storage.
    type: str
    required: true
  device:
    description:
      - The disk or partition, by its name such as V(/dev/sdb), or by its link below C(/dev/disk/by-id). Required for a
        new one.
      - Links that Proxmox VE can be asked about are those with the serial number and those with the WWN.
    type: str
  filesystem:
    description: The file system. A new one is V(ext4) unless given.
    type: str
    choices: [ext4, xfs]
"""

EXAMPLES = r"""
- name: A disk for backups
  onprem.cloud.pve_disk_directory:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    name: backup
    device: /dev/disk/by-id/ata-EXAMPLE_SER0002
    filesystem: xfs
    add_storage: true

- name: Unmount it and leave what is on it
  onprem.cloud.pve_disk_directory:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    name: backup
    state: absent
    cleanup_disks: false
    cleanup_config: true
    destroy_data: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
disk_directory:
  description: The directory as Proxmox VE shows it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"path": "/mnt/pve/backup", "type": "xfs", "filesystem": "xfs", "options": "defaults",
    "device": "/dev/disk/by-uuid/0b7a3c8e-4f7f-4d0c-9a55-6c1f2f1f5a10",
    "unitfile": "/etc/systemd/system/mnt-pve-backup.mount"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.disks import INSTEAD, PLACES, Device, OnDisks
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Option, choice
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

TABLE = Table(
    noun="directory",
    path="/nodes/{node}/disks/directory",
    id="name",
    instead=INSTEAD,
    required=("device",),
    options={
        "device": Option(STR, Device(), "", fixed=True),
        "filesystem": choice("ext4", "xfs", default="ext4", fixed=True),
    },
    places=PLACES,
)


class Directory(OnDisks):
    """A file system of its own, mounted where storages are."""

    kind = "dir"

    def fetch(self) -> dict[str, Any] | None:
        mounted = self.client.get(self.path) or []
        found = next((item for item in mounted if item.get("path") == f"/mnt/pve/{self.name}"), None)
        return found and {**found, "filesystem": found.get("type")}

    @property
    def storage(self) -> dict[str, Any]:
        return {"type": "dir", "path": f"/mnt/pve/{self.name}"}

    def members(self) -> list[str]:
        return [(self.raw or {}).get("device", "")]

    def on_devices(self, wanted: list[str]) -> bool:
        """PVE knows the file system by its UUID, and does not tell on which disk it is; on a free one it is not."""
        every = self.disks.every if self.disks else {}
        items = [every[device] for device in wanted] + [item for item in every.values() if item.get("parent") in wanted]
        # Of what is mounted, the type may be unknown.
        return any(item.get("used") in ((self.raw or {}).get("type"), "mounted") for item in items)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Directory)


if __name__ == "__main__":
    main()
