#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_sdn_zone
short_description: Manage a zone of the software defined network of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a zone, which is the kind of network that its vnets are made of, and the nodes that
    have them.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(SDN.Allocate) on C(/sdn), propagated. With O(apply=false), C(SDN.Allocate) on C(/sdn/zones) is
    enough, together with C(SDN.Audit) on C(/sdn/controllers) for a zone of type V(evpn).
  - A zone that vnets belong to is not deleted. In check mode that is a warning, as what comes before in the same run
    may be about to remove them.
seealso:
  - module: onprem.cloud.pve_sdn_vnet
  - module: onprem.cloud.pve_sdn_subnet
  - module: onprem.cloud.pve_sdn_controller
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.sdn
options:
  zone:
    description: Name of the zone, from 2 to 8 letters and digits, the first of which is a letter.
    type: str
    required: true
  type:
    description:
      - Kind of the zone. Required for a new one. It cannot be changed.
      - V(simple) has a bridge on each node, V(vlan) a VLAN of a bridge, V(qinq) a VLAN inside another, V(vxlan) tunnels
        between the nodes, and V(evpn) tunnels with routing between them.
    type: str
    choices: [simple, vlan, qinq, vxlan, evpn]
  nodes:
    description: Nodes that have the zone, in any order. All of them unless given.
    type: list
    elements: str
  mtu:
    description: Largest packet of the bridges in bytes, or V(0) to remove it.
    type: int
  ipam:
    description:
      - Name of the address management, such as V(pve). It cannot be changed while the zone has subnets.
    type: str
  dns:
    description: Name of the DNS server that guests are registered with.
    type: str
  reversedns:
    description: Name of the DNS server for the names of addresses.
    type: str
  dnszone:
    description: Domain of the guests, such as V(example.com). Needs O(dns).
    type: str
  dhcp:
    description: What hands out addresses in a zone of type V(simple). There is V(dnsmasq).
    type: str
  bridge:
    description: Bridge that carries the VLANs. For types V(vlan) and V(qinq), which need it.
    type: str
  bridge_disable_mac_learning:
    description: Whether bridges do not learn addresses from packets. For types V(vlan), V(qinq) and V(evpn).
    type: bool
  tag:
    description: Number of the outer VLAN. For type V(qinq), which needs it.
    type: int
  vlan_protocol:
    description: Protocol of the outer VLAN, V(802.1q) unless given. For type V(qinq).
    type: str
    choices: ['802.1q', '802.1ad']
  peers:
    description:
      - Addresses of the nodes that the tunnels end at, in any order. A zone of type V(vxlan) needs it or O(fabric).
    type: list
    elements: str
  fabric:
    description: Fabric that connects the nodes. A zone of type V(vxlan) needs it or O(peers).
    type: str
  vxlan_port:
    description: UDP port of the tunnels, 4789 unless given. For types V(vxlan) and V(evpn).
    type: int
  controller:
    description: Controller of type C(evpn). For type V(evpn), which needs it.
    type: str
  vrf_vxlan:
    description: Number of the VXLAN between the routers, none other's. For type V(evpn), which needs it.
    type: int
  mac:
    description:
      - MAC address of the gateways, the same on every node. Proxmox VE makes one unless given. For type V(evpn).
    type: str
  exitnodes:
    description: Nodes that lead out of the zone, in any order. For type V(evpn).
    type: list
    elements: str
  exitnodes_primary:
    description: The node that leads out of the zone as long as it is there. For type V(evpn).
    type: str
  exitnodes_local_routing:
    description: Whether nodes that lead out of the zone reach its guests themselves. For type V(evpn).
    type: bool
  advertise_subnets:
    description: Whether whole subnets are announced, and not only the guests that were seen. For type V(evpn).
    type: bool
  disable_arp_nd_suppression:
    description: Whether questions for MAC addresses are sent to all nodes. For type V(evpn).
    type: bool
  rt_import:
    description: Route targets, such as V(65000:100), whose routes are taken in, in any order. For type V(evpn).
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: A network between the nodes for guests
  onprem.cloud.pve_sdn_zone:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    zone: guests
    type: vxlan
    peers: [192.0.2.11, 192.0.2.12]
    mtu: 1450

- name: VLANs of a bridge, staged here and applied together with the last of their vnets
  onprem.cloud.pve_sdn_zone:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    zone: office
    type: vlan
    bridge: vmbr0
    apply: false

- name: A vnet of them, with which both take effect
  onprem.cloud.pve_sdn_vnet:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vnet: printers
    zone: office
    tag: 30
    pending: keep
"""

RETURN = r"""
action:
  description:
    - What was done, V(create), V(update), V(delete), V(apply) or V(none). In check mode, what would be done.
    - V(apply) means that nothing was staged by this run, and what was staged before took effect.
  type: str
  returned: success
  sample: create
applied:
  description: Whether the configuration of the cluster was applied, or would be in check mode.
  type: bool
  returned: success
  sample: true
sdn_zone:
  description: The zone as it is staged afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"zone": "guests", "type": "vxlan", "peers": "192.0.2.11,192.0.2.12", "mtu": 1450,
    "digest": "fd9ab7e17a562ea41c18c381870fd503636c92bc"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    LIST,
    STR,
    Boolean,
    Mac,
    Number,
    Option,
    Text,
    Words,
    choice,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.sdn import (
    CONTROLLERS,
    STAGING,
    VNETS,
    ZONES,
    Addresses,
    NumberOrNone,
    Staged,
)

TYPES = ("simple", "vlan", "qinq", "vxlan", "evpn")
TARGET = r"\d+:\d+"


def text() -> Option:
    return Option(STR, Text(), "")


def flag() -> Option:
    return Option(BOOL, Boolean(), False)


def nodes() -> Option:
    return Option(LIST, Words(",", unordered=True), [])


TABLE = Table(
    noun="SDN zone",
    path=ZONES,
    id="zone",
    required=("type",),
    places=STAGING,
    belongs={
        "simple": ("dhcp",),
        "vlan": ("bridge", "bridge_disable_mac_learning"),
        "qinq": ("bridge", "bridge_disable_mac_learning", "tag", "vlan_protocol"),
        "vxlan": ("peers", "fabric", "vxlan_port"),
        "evpn": (
            *("controller", "vrf_vxlan", "mac", "exitnodes", "exitnodes_primary", "exitnodes_local_routing"),
            *("advertise_subnets", "disable_arp_nd_suppression", "rt_import", "vxlan_port"),
            "bridge_disable_mac_learning",
        ),
        # Not made here, and may be there.
        "faucet": (),
    },
    needed={"vlan": ("bridge",), "qinq": ("bridge", "tag"), "evpn": ("controller", "vrf_vxlan")},
    options={
        "type": choice(*TYPES, fixed=True),
        "nodes": nodes(),
        "mtu": Option(INT, NumberOrNone(68, 65535)),
        "ipam": text(),
        "dns": text(),
        "reversedns": text(),
        "dnszone": text(),
        "dhcp": Option(STR, Text(("dnsmasq",)), ""),
        "bridge": text(),
        "bridge_disable_mac_learning": flag(),
        "tag": Option(INT, Number(1, 4094)),
        "vlan_protocol": choice("802.1q", "802.1ad", default="802.1q"),
        "peers": Option(LIST, Addresses(), []),
        "fabric": text(),
        "vxlan_port": Option(INT, Number(1, 65535), 4789),
        "controller": text(),
        "vrf_vxlan": Option(INT, Number(1, 16777215)),
        "mac": Option(STR, Mac()),
        "exitnodes": nodes(),
        "exitnodes_primary": text(),
        "exitnodes_local_routing": flag(),
        "advertise_subnets": flag(),
        "disable_arp_nd_suppression": flag(),
        "rt_import": Option(LIST, Words(",", unordered=True, word=TARGET, hint="a route target such as 65000:100"), []),
    },
)


class Zone(Staged):
    result_name = "sdn_zone"

    def users(self) -> list[str]:
        return [f"vnet '{item['vnet']}'" for item in self.staged(VNETS) if item.get("zone") == self.name]

    def validate(self) -> None:
        if self.raw is None:
            self.check_name(8)
        self.check_kind()
        if self.wanted.get("mac", "") is None:
            self.problem("mac is empty, and Proxmox VE would make another one at once: give it a value or leave it out")
        if {"dns", "dnszone"} & {*self.sets, *self.deletes} and self.after("dnszone") and not self.after("dns"):
            self.problem("dnszone needs dns, the name of a DNS server")
        if self.kind == "vxlan" and bool(self.after("peers")) == bool(self.after("fabric")):
            self.problem(
                "a zone of type 'vxlan' needs peers or fabric, one of them: give it, and leave the other empty"
            )
        if self.kind == "evpn" and {"controller", "vrf_vxlan"} & set(self.sets):
            self.check_routing()

    def check_routing(self) -> None:
        """The controller is there, and the number is nobody else's."""
        name, number = self.after("controller"), self.after("vrf_vxlan")
        found = next((item for item in self.staged(CONTROLLERS) if item["controller"] == name), None)
        if name and found is None:
            self.not_there(
                f"there is no controller '{name}'", ": make it with pve_sdn_controller first, or grant SDN.Audit on it"
            )
        elif found is not None and found["type"] != "evpn":
            self.problem(f"controller '{name}' is of type '{found['type']}', name one of type 'evpn'")
        for item in self.staged(ZONES):
            if number and item.get("vrf-vxlan") == number and not self.is_it(item):
                self.problem(f"vrf_vxlan {number} is that of zone '{item['zone']}', choose another one")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Zone)


if __name__ == "__main__":
    main()
