#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_node_options
short_description: Manage the options of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Changes what holds for one node of the cluster, in C(/etc/pve/nodes/{node}/config).
  - An option that is given is enforced in full, one that is not given is left alone, and an empty value removes it,
    which brings the default of Proxmox VE back.
notes:
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/).
  - O(ballooning_target) came with a later release of Proxmox VE 8, O(location) with one of 9. Older ones refuse them.
seealso:
  - module: onprem.cloud.pve_datacenter_options
  - module: onprem.cloud.pve_time
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  node:
    description: Name of the node.
    type: str
    required: true
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
  description:
    description: Notes of the node, in Markdown.
    type: str
  wakeonlan:
    description:
      - How other nodes wake this one, as a dict or as the text of Proxmox VE, such as V(bc:24:11:00:00:01).
      - The keys are C(mac), C(bind-interface) (the interface that the packet is sent from, that of the default route
        unless given) and C(broadcast-address) (V(255.255.255.255) unless given).
    type: raw
  startall_onboot_delay:
    description: Seconds from the start of the node to that of the first guest, up to 300. None unless given.
    type: int
  ballooning_target:
    description: Share of the memory in percent from which virtual machines have to give some back. 80 unless given.
    type: int
  location:
    description:
      - Where the node stands, as a dict or as the text of Proxmox VE. The keys are C(latitude) and C(longitude) in
        degrees, and C(name).
    type: raw
"""

EXAMPLES = r"""
- name: A node that can be woken, and that gives its switch a minute
  onprem.cloud.pve_node_options:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    description: Rack 2, unit 7
    wakeonlan:
      mac: BC:24:11:00:00:01
    startall_onboot_delay: 60
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
options:
  description: The options as Proxmox VE has them afterwards, without those of certificates.
  type: dict
  returned: success
  sample: {"description": "Rack 2, unit 7\n", "wakeonlan": "BC:24:11:00:00:01", "startall-onboot-delay": "60"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.interfaces import IFACE
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    INT,
    RAW,
    STR,
    Address,
    Invalid,
    Mac,
    Note,
    Number,
    Option,
    PropertyString,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, OfNode, Table, argument_spec, run


class Broadcast(Address):
    def parse(self, value: Any) -> str:
        address = super().parse(value)
        if ":" in address:
            raise Invalid(f"'{address}' is not an IPv4 address, which has broadcasts")
        return address


TABLE = Table(
    noun="options",
    path="/nodes/{node}/config",
    options={
        "description": Option(STR, Note(), ""),
        "wakeonlan": Option(
            RAW,
            PropertyString(
                {"mac": Mac(), "bind-interface": Text((), IFACE, "an interface"), "broadcast-address": Broadcast()},
                defaults={"broadcast-address": "255.255.255.255"},
                bare="mac",
                required=("mac",),
            ),
        ),
        "startall_onboot_delay": Option(INT, Number(0, 300), 0),
        "ballooning_target": Option(INT, Number(0, 100), 80),
        "location": Option(
            RAW,
            PropertyString(
                {
                    "latitude": Number(-90, 90, integer=False),
                    "longitude": Number(-180, 180, integer=False),
                    "name": Text((), r"[^,=]{1,128}", "a name of up to 128 characters without commas"),
                },
                required=("latitude", "longitude"),
            ),
        ),
    },
    places=NODE,
)


class NodeOptions(OfNode):
    def facts(self) -> dict[str, Any]:
        return {key: value for key, value in super().facts().items() if not key.startswith("acme")}


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, NodeOptions)


if __name__ == "__main__":
    main()
