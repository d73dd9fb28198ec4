#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_network
short_description: Manage the network interfaces of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Brings interfaces of a node to what is wanted. All of them are planned first, then staged, compared with what was
    planned, and applied once. Interfaces that are not listed are left alone.
  - An option that is given is enforced in full, one that is not given is left alone, and an empty value removes it.
  - The order of the writes is found by the module. What moves from one interface to another, such as an address from a
    card to a bridge, is described in one call.
  - If anything is refused while it is staged, what was staged is taken back, so that nothing is applied in part.
notes:
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/nodes/{node}), and C(SDN.Audit) on
    C(/sdn/zones/localnetwork), without which Proxmox VE does not show bridges.
  - Proxmox VE cannot take back a change of the network once it has been applied. What the module does about it depends
    on O(api_backend).
  - With O(api_backend=https), changes by which the node might no longer be reached are refused unless O(force) is true.
    The address of O(api_host) is looked at, and the one that the cluster has for the node if the user has C(Sys.Audit)
    on C(/). If the node has neither, as behind NAT, the interface with the default gateway is. If the
    task that applies the changes fails and the API still answers, the previous settings are staged and applied again.
    If the API does not answer within O(rollback_timeout), the module fails and says what was there before. Nothing can
    be restored then but on the console of the node.
  - With O(api_backend=local), run on the node by SSH, there is a real rollback. Before it applies the changes, the
    module saves C(/etc/network/interfaces) and starts a timer of systemd on the node that puts it back and runs
    C(ifreload -a). It calls the timer off when the O(check_addresses) answer with the new settings. If the module dies
    with its connection, the timer acts.
  - The API sets no DHCP. An interface that gets its address that way is not written unless O(interfaces[].cidr) says
    what is to be in its place.
  - A card may be called by any of its names.
  - In check mode a missing interface that others build on is only warned of, as what comes before in the same run may
    be about to make it.
  - Interfaces of software defined networks are none of a node, and not managed here.
seealso:
  - module: onprem.cloud.pve_dns
  - module: onprem.cloud.pve_hosts
  - module: onprem.cloud.pve_firewall_rules
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  node:
    description: Name of the node.
    type: str
    required: true
  task_timeout:
    description: Seconds to wait for a task or for a lock of Proxmox VE.
    type: int
    default: 600
  apply:
    description: Whether the changes take effect. If not, they are only staged.
    type: bool
    default: true
  pending:
    description:
      - What becomes of changes that somebody else, or an earlier run without O(apply), has staged and not applied. They
        cannot be told from those of this run, and would be applied with them.
      - V(fail) refuses to go on. V(keep) takes them for granted and applies them as well. V(revert) drops them first.
      - In check mode, V(revert) predicts from what is staged, as the API does not show what is below.
    type: str
    choices: [fail, keep, revert]
    default: fail
  force:
    description:
      - Whether changes are made by which the node might no longer be reached. Such are another address, another default
        gateway, a missing port or another bonding mode of the interface that the API is reached by.
    type: bool
    default: false
  rollback_timeout:
    description:
      - Seconds within which the node has to answer after the changes have been applied.
      - With V(0) nothing is waited for, and there is no rollback. That is for a node that gets another address with
        O(force).
    type: int
    default: 60
  check_addresses:
    description:
      - With O(api_backend=local), addresses that the node has to reach by ping after the change.
      - Without it, the client of the SSH connection and the default gateways, as far as they answer before the change.
    type: list
    elements: str
  interfaces:
    description: The interfaces that are to be, or not to be.
    type: list
    elements: dict
    required: true
    suboptions:
      iface:
        description: Name of the interface. A bond is called C(bond0) or with another number.
        type: str
        required: true
      state:
        description:
          - Whether the interface is there.
          - A card cannot be removed. V(absent) takes all of its settings from it.
        type: str
        choices: [present, absent]
        default: present
      type:
        description: Kind of the interface. Required for a new one. It cannot be changed.
        type: str
        choices: [bridge, bond, eth, alias, vlan, OVSBridge, OVSBond, OVSPort, OVSIntPort]
      cidr:
        description: IPv4 address with its prefix length, such as V(192.0.2.2/24).
        type: str
      address:
        description: IPv4 address, together with O(interfaces[].netmask) another spelling of O(interfaces[].cidr).
        type: str
      netmask:
        description: Netmask or prefix length.
        type: str
      gateway:
        description: Default gateway. A node has one.
        type: str
      cidr6:
        description: IPv6 address with its prefix length, such as V(2001:db8::2/64).
        type: str
      address6:
        description: IPv6 address, together with O(interfaces[].netmask6) another spelling of O(interfaces[].cidr6).
        type: str
      netmask6:
        description: Prefix length.
        type: str
      gateway6:
        description: Default gateway for IPv6. A node has one.
        type: str
      autostart:
        description:
          - Whether the interface is started with the node, and when changes are applied. A new one is unless this is
            V(false). Not for ports of Open vSwitch, which their bridge starts.
        type: bool
      mtu:
        description: Largest packet in bytes, from 1280 to 65520, or V(0) to remove it. 1500 unless given.
        type: int
      comments:
        description: Notes of one or more lines.
        type: str
      bridge_ports:
        description: Interfaces that are ports of a bridge, in any order.
        type: list
        elements: str
      bridge_vlan_aware:
        description: Whether a bridge knows VLANs.
        type: bool
      bridge_vids:
        description: VLANs of a bridge that knows them, as numbers and ranges. V(2-4094) unless given.
        type: list
        elements: str
      slaves:
        description: Interfaces that a bond consists of, in any order. Proxmox VE starts them with the node.
        type: list
        elements: str
      bond_mode:
        description:
          - How a bond uses its slaves. V(balance-rr) unless given, and V(active-backup) for type V(OVSBond).
          - The last three and V(active-backup) are for V(OVSBond), the others for V(bond).
        type: str
        choices: [balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb, balance-slb,
          lacp-balance-slb, lacp-balance-tcp]
      bond_primary:
        description: The slave that is preferred with bond_mode V(active-backup).
        type: str
      bond_xmit_hash_policy:
        description: By what packets are spread with bond_mode V(balance-xor) and V(802.3ad). V(layer2) unless given.
        type: str
        choices: [layer2, layer2+3, layer3+4]
      vlan_raw_device:
        description: The interface that a VLAN is on. A name such as C(eno1.5) says it.
        type: str
      vlan_id:
        description: Number of a VLAN. A name such as C(eno1.5) or C(vlan5) says it.
        type: int
      ovs_bridge:
        description: The bridge of a port, bond or internal port of Open vSwitch.
        type: str
      ovs_ports:
        description:
          - Ports of a bridge of Open vSwitch, in any order.
          - Unless given, they follow from O(interfaces[].ovs_bridge) of the ports.
        type: list
        elements: str
      ovs_bonds:
        description: Cards that a bond of Open vSwitch consists of, in any order.
        type: list
        elements: str
      ovs_tag:
        description: Number of the VLAN of a port of Open vSwitch, or V(0) to remove it.
        type: int
      ovs_options:
        description: Further options of Open vSwitch with blanks between them, in any order. Those of a port are
          C(key=value), such as V(vlan_mode=trunk trunks=7,8).
        type: str
"""

EXAMPLES = r"""
- name: A bridge for guests on the second card, with VLANs, and an address in one of them
  onprem.cloud.pve_network:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    interfaces:
      - iface: vmbr1
        type: bridge
        bridge_ports: [eno2]
        bridge_vlan_aware: true
        comments: Guests
      - iface: vmbr1.30
        type: vlan
        cidr: 198.51.100.2/24

- name: Two more cards as one, below a bridge of their own
  onprem.cloud.pve_network:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    interfaces:
      - iface: bond0
        type: bond
        slaves: [eno3, eno4]
        bond_mode: 802.3ad
        bond_xmit_hash_policy: layer3+4
      - iface: vmbr2
        type: bridge
        bridge_ports: [bond0]
        cidr: 203.0.113.2/24
"""

RETURN = r"""
applied:
  description: Whether changes were applied, or would be in check mode.
  type: bool
  returned: success
  sample: true
interfaces:
  description: The listed interfaces as Proxmox VE has them afterwards. With O(apply=false), as they are staged.
  type: list
  elements: dict
  returned: success
  sample: [{"iface": "vmbr1", "type": "bridge", "active": 1, "autostart": 1, "bridge_ports": "eno2",
    "bridge_vlan_aware": 1, "bridge_vids": "2-4094", "method": "manual", "method6": "manual", "comments": "Guests\n"}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import connection_spec
from ansible_collections.onprem.cloud.plugins.module_utils.pve.interfaces import (
    BOND_MODES,
    IFACE,
    Comments,
    Gateway,
    HostAddress,
    Vlans,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.network import Network
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    LIST,
    STR,
    Boolean,
    Number,
    Option,
    Text,
    Words,
    choice,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, run

ALL_MODES = tuple(dict.fromkeys(mode for modes in BOND_MODES.values() for mode in modes))
COMMON = {"type", "mtu", "comments"}
ADDRESSED = {*COMMON, "cidr", "cidr6", "gateway", "gateway6"}
OVS = {"ovs_bridge", "ovs_tag", "ovs_options"}
BELONGS = {
    "bridge": {*ADDRESSED, "autostart", "bridge_ports", "bridge_vlan_aware", "bridge_vids"},
    "bond": {*ADDRESSED, "autostart", "slaves", "bond_mode", "bond_primary", "bond_xmit_hash_policy"},
    "eth": {*ADDRESSED, "autostart"},
    "alias": {*ADDRESSED, "autostart"},
    "vlan": {*ADDRESSED, "autostart", "vlan_raw_device", "vlan_id"},
    "OVSBridge": {*ADDRESSED, "autostart", "ovs_ports", "ovs_options"},
    "OVSBond": {*COMMON, *OVS, "ovs_bonds", "bond_mode"},
    "OVSPort": {*COMMON, *OVS},
    "OVSIntPort": {*ADDRESSED, *OVS},
}


def interfaces(key: str) -> Option:
    return Option(LIST, Words(" ", unordered=True, word=IFACE, hint="the name of an interface"), [], key=key)


def interface(key: str = "") -> Option:
    return Option(STR, Text((), IFACE, "the name of an interface"), key=key)


TABLE = Table(
    noun="network",
    path="/nodes/{node}/network",
    id="iface",
    options={
        "type": choice(*BELONGS),
        "cidr": Option(STR, HostAddress(4)),
        "cidr6": Option(STR, HostAddress(6)),
        "gateway": Option(STR, Gateway(4)),
        "gateway6": Option(STR, Gateway(6)),
        "autostart": Option(BOOL, Boolean(), False),
        "mtu": Option(INT, Number(1280, 65520)),
        "comments": Option(STR, Comments(), ""),
        "bridge_ports": interfaces("bridge_ports"),
        "bridge_vlan_aware": Option(BOOL, Boolean(), False, key="bridge_vlan_aware"),
        "bridge_vids": Option(LIST, Vlans(), ["2-4094"], key="bridge_vids"),
        "slaves": interfaces("slaves"),
        "bond_mode": choice(*ALL_MODES, default="balance-rr", key="bond_mode"),
        "bond_primary": interface(),
        "bond_xmit_hash_policy": choice(
            "layer2", "layer2+3", "layer3+4", default="layer2", key="bond_xmit_hash_policy"
        ),
        "vlan_raw_device": interface(),
        "vlan_id": Option(INT, Number(1, 4094)),
        "ovs_bridge": interface("ovs_bridge"),
        "ovs_ports": interfaces("ovs_ports"),
        "ovs_bonds": interfaces("ovs_bonds"),
        "ovs_tag": Option(INT, Number(1, 4094), key="ovs_tag"),
        "ovs_options": Option(STR, Words(" ", unordered=True, split=r"\s+"), [], key="ovs_options"),
    },
    places=NODE,
    belongs=BELONGS,
)


def network_spec() -> dict[str, Any]:
    spelled = dict.fromkeys(("address", "netmask", "address6", "netmask6"), STR)
    suboptions: dict[str, Any] = {
        "iface": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **{name: dict(option.spec) for name, option in TABLE.options.items()},
        **spelled,
    }
    return {
        **connection_spec(),
        **NODE,
        "task_timeout": {"type": "int", "default": 600},
        "apply": {"type": "bool", "default": True},
        "pending": {"type": "str", "choices": ["fail", "keep", "revert"], "default": "fail"},
        "force": {"type": "bool", "default": False},
        "rollback_timeout": {"type": "int", "default": 60},
        "check_addresses": {"type": "list", "elements": "str"},
        "interfaces": {"type": "list", "elements": "dict", "required": True, "options": suboptions},
    }


def main() -> None:
    run(AnsibleModule(network_spec(), supports_check_mode=True), TABLE, Network)


if __name__ == "__main__":
    main()
