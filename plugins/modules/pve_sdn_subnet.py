#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_sdn_subnet
short_description: Manage a subnet of a vnet of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a subnet, which is a range of addresses of a vnet, with the gateway that the nodes have
    in it and the addresses that are handed out.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(SDN.Allocate) on C(/sdn), propagated. With O(apply=false), C(SDN.Allocate) on the vnet
    (C(/sdn/zones/{zone}/{vnet})) is enough.
seealso:
  - module: onprem.cloud.pve_sdn_vnet
  - module: onprem.cloud.pve_sdn_zone
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.sdn
options:
  vnet:
    description: Name of the vnet. It has to be there, and not to be aware of VLANs.
    type: str
    required: true
  subnet:
    description: The network with its prefix length, such as V(198.51.100.0/24) or V(2001:db8:30::/64).
    type: str
    required: true
  gateway:
    description: Address of the gateway, within the subnet unless that is a single IPv4 address.
    type: str
  snat:
    description: Whether packets that leave the subnet get the address of the node.
    type: bool
  dhcp_range:
    description:
      - Addresses that are handed out, as a list in any order. All of them, those that are not in the list go. The zone
        needs C(dhcp) and C(ipam) for it.
      - Each is a dictionary or Proxmox VE's text (C(start-address=198.51.100.50,end-address=198.51.100.99)).
    type: raw
  dhcp_dns_server:
    description: Address of the name server that is handed out with the addresses.
    type: str
  dnszoneprefix:
    description: What is put before the domain of the zone in the names of guests.
    type: str
"""

EXAMPLES = r"""
- name: Addresses for guests, handed out by the nodes
  onprem.cloud.pve_sdn_subnet:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vnet: guests
    subnet: 198.51.100.0/24
    gateway: 198.51.100.1
    snat: true
    dhcp_range:
      - {start-address: 198.51.100.50, end-address: 198.51.100.99}
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
sdn_subnet:
  description: The subnet as it is staged afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample:
    subnet: lan-198.51.100.0-24
    cidr: 198.51.100.0/24
    vnet: guests
    zone: lan
    type: subnet
    gateway: 198.51.100.1
    snat: 1
    dhcp-range: [{"start-address": "198.51.100.50", "end-address": "198.51.100.99"}]
"""

import ipaddress
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    RAW,
    STR,
    Address,
    ArraySet,
    Boolean,
    Item,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.sdn import STAGING, SUBNETS, VNETS, Staged

ENDS = ("start-address", "end-address")
# The first and the last address of those that are handed out.
RANGE = Item({key: Address() for key in ENDS}, required=ENDS, first=ENDS)

TABLE = Table(
    noun="SDN subnet",
    path=SUBNETS,
    id="subnet",
    places={"vnet": {"type": "str", "required": True}, **STAGING},
    options={
        "gateway": Option(STR, Address()),
        "snat": Option(BOOL, Boolean(), False),
        "dhcp_range": Option(RAW, ArraySet(RANGE), []),
        "dhcp_dns_server": Option(STR, Address()),
        "dnszoneprefix": Option(STR, Text(), ""),
    },
)


class Subnet(Staged):
    """A subnet, whose id is made of the zone and the network."""

    result_name = "sdn_subnet"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.vnet_there = True

    def __str__(self) -> str:
        return f"{super().__str__()} of vnet '{self.params['vnet']}'"

    def parse(self) -> None:
        super().parse()
        try:
            interface = ipaddress.ip_interface(self.name)
            if "/" not in self.name:
                raise ValueError(self.name)
        except ValueError:
            self.problem("it is not a network with its prefix length, write for example 198.51.100.0/24")
            return
        if interface.ip != interface.network.network_address:
            self.problem(f"it has bits behind the prefix, write {interface.network}")
        self.name = str(interface.network)

    @property
    def network(self) -> Any:
        return ipaddress.ip_network(self.name)

    @property
    def item_path(self) -> str:
        return f"{self.path}/{self.raw['subnet']}" if self.raw else super().item_path

    def is_it(self, item: dict[str, Any]) -> bool:
        return str(ipaddress.ip_network(item["cidr"], strict=False)) == self.name

    def new(self) -> dict[str, Any]:
        return {"subnet": self.name, "type": "subnet"}

    def fetch(self) -> dict[str, Any] | None:
        try:
            return super().fetch()
        except PveError as error:
            if f"sdn vnet '{self.params['vnet']}' does not exist" not in error.text:
                raise
            self.vnet_there = False
            self.listings[self.path], self.entry = [], {}
            return None

    def view(self, name: str, value: Any) -> Any:
        """Ranges as PVE's texts."""
        if name == "dhcp_range" and value:
            return self.table.options[name].kind.format(value)
        return super().view(name, value)

    def validate(self) -> None:
        vnet, changed = self.params["vnet"], {*self.sets, *self.deletes}
        if not self.vnet_there:
            self.not_there(f"there is no vnet '{vnet}'", ": make it with pve_sdn_vnet first, or grant SDN.Audit on it")
        elif self.raw is None and any(item["vnet"] == vnet and item.get("vlanaware") for item in self.staged(VNETS)):
            self.problem(f"vnet '{vnet}' is aware of VLANs, and cannot have subnets: set its vlanaware to false first")
        gateway = self.after("gateway")
        # A single address has its gateway elsewhere.
        single = (self.network.version, self.network.prefixlen) == (4, 32)
        if "gateway" in changed and gateway and not single and ipaddress.ip_address(gateway) not in self.network:
            self.problem(f"gateway {gateway} is not in the subnet, choose an address of it")
        if "dhcp_range" in changed:
            self.check_ranges()

    def check_ranges(self) -> None:
        last = None
        ranges = [
            (ipaddress.ip_address(item["start-address"]), ipaddress.ip_address(item["end-address"]))
            for item in self.after("dhcp_range")
        ]
        for start, end in ranges:
            for address in (start, end):
                if address not in self.network:
                    self.problem(f"dhcp_range: {address} is not in the subnet, choose an address of it")
                    return
        for start, end in sorted(ranges):
            if start > end:
                self.problem(f"dhcp_range: {start} comes after {end}, give the first address and then the last")
            elif last is not None and start <= last:
                self.problem(f"dhcp_range: {start} is in two ranges, make one of them")
            last = end


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Subnet)


if __name__ == "__main__":
    main()
