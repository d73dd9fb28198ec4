#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_usb_mapping
short_description: Manage a name for USB devices of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a mapping, which is a name in the whole cluster for USB devices of its nodes. A virtual
    machine that uses the name can start on each of these nodes, and whoever has C(Mapping.Use) on it can hand the
    device to a virtual machine, which otherwise only root@pam may.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(Mapping.Modify) on C(/mapping/usb).
  - Proxmox VE does not look at the devices when a mapping is written. A virtual machine does not start if there is no
    device with that C(id), or another one at C(path).
seealso:
  - module: onprem.cloud.pve_pci_mapping
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
      - Each is a dictionary or Proxmox VE's text (C(node=pve1,id=0529:0620,path=1-2)).
      - C(node) and C(id) are required. C(node) is the name of the node and C(id) the vendor and device.
      - C(path) is the bus and the port, such as C(1-2) or C(1-2.3) behind a hub. Without it the device is found
        wherever it is plugged in. C(description) is a text without commas.
    type: raw
"""

EXAMPLES = r"""
- name: The dongle of a licence, on either of two nodes
  onprem.cloud.pve_usb_mapping:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: dongle
    description: For the drawing office
    map:
      - {node: pve1, id: "0529:0620"}
      - {node: pve2, id: "0529:0620", path: "1-2.3"}
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
usb_mapping:
  description: The mapping as Proxmox VE has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample:
    id: dongle
    type: usb
    description: For the drawing office
    map: ["node=pve1,id=0529:0620"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.mapping import NOTE, Mapping, Vendor, table
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Item, Text
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import argument_spec, run

PORT = r"\d+-\d+(\.\d+)*"

DEVICE = Item(
    {
        "node": Text(),
        "id": Vendor(),
        "path": Text((), PORT, "a bus and a port, such as 1-2, or 1-2.3 behind a hub"),
        "description": NOTE,
    },
    required=("node", "id"),
    first=("node", "id"),
)

TABLE = table("USB mapping", "usb", DEVICE)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Mapping)


if __name__ == "__main__":
    main()
