#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_pci_mapping
short_description: Manage a name for PCI devices of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a mapping, which is a name in the whole cluster for PCI devices of its nodes. A virtual
    machine that uses the name can start on each of these nodes, and whoever has C(Mapping.Use) on it can hand the
    device to a virtual machine, which otherwise only root@pam may.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(Mapping.Modify) on C(/mapping/pci).
  - Proxmox VE does not look at the devices when a mapping is written. A virtual machine does not start if C(id),
    C(subsystem-id) or C(iommugroup) differ from what the node finds at C(path).
seealso:
  - module: onprem.cloud.pve_usb_mapping
  - module: onprem.cloud.pve_dir_mapping
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  id:
    description: Name of the mapping.
    type: str
    required: true
  description:
    description: What the devices are.
    type: str
  map:
    description:
      - The devices, as a list in any order, or one by itself. All of them, those that are not in the list go. A new
        mapping needs it.
      - Each is a dictionary or Proxmox VE's text (C(node=pve1,path=0000:01:00,id=10de:2204)).
      - C(node), C(path) and C(id) are required. C(node) is the name of the node, C(path) the address of the device and
        C(id) its vendor and device.
      - An address without function (C(0000:01:00)) means all functions of the device. Several addresses, separated by
        semicolons, are tried in turn. Without domain, an address is in C(0000).
      - C(subsystem-id) is the vendor and device of the board, C(iommugroup) the number of the IOMMU group and
        C(description) a text without commas.
    type: raw
  mdev:
    description: Whether the devices provide mediated devices.
    type: bool
  live_migration_capable:
    description: Whether a running virtual machine can take the device along to another node.
    type: bool
"""

EXAMPLES = r"""
- name: A graphics card that two nodes have
  onprem.cloud.pve_pci_mapping:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: gpu
    description: For transcoding
    map:
      - {node: pve1, path: "0000:01:00", id: "10de:2204", subsystem-id: "1458:403b", iommugroup: 12}
      - node=pve2,path=0000:41:00,id=10de:2204,subsystem-id=1458:403b,iommugroup=27
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
pci_mapping:
  description: The mapping as Proxmox VE has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample:
    id: gpu
    type: pci
    description: For transcoding
    map: ["node=pve1,path=0000:01:00,id=10de:2204,iommugroup=12"]
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.mapping import NOTE, Mapping, Vendor, table
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    Boolean,
    Invalid,
    Item,
    Number,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import argument_spec, run

ADDRESS = re.compile(r"(?:([0-9a-f]{4,}):)?([0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?)")


class Addresses(Text):
    """Addresses that are tried in turn; the kernel writes them in lower case."""

    def parse(self, value: Any) -> str:
        addresses = []
        for part in str(value).lower().split(";"):
            match = ADDRESS.fullmatch(part.strip())
            if not match:
                raise Invalid(f"'{part.strip()}' is not the address of a device, such as 0000:01:00.0, or 0000:01:00")
            addresses.append(f"{match[1] or '0000'}:{match[2]}")
        return ";".join(addresses)


DEVICE = Item(
    {
        "node": Text(),
        "path": Addresses(),
        "id": Vendor(),
        "subsystem-id": Vendor(),
        "iommugroup": Number(),
        "description": NOTE,
    },
    required=("node", "path", "id"),
    first=("node", "path", "id"),
)

TABLE = table(
    "PCI mapping",
    "pci",
    DEVICE,
    mdev=Option(BOOL, Boolean(), False),
    live_migration_capable=Option(BOOL, Boolean(), False),
)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Mapping)


if __name__ == "__main__":
    main()
