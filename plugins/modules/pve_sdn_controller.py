#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_sdn_controller
short_description: Manage a controller of the software defined network of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a controller, which says how nodes exchange routes with each other and with routers.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(SDN.Allocate) on C(/sdn), propagated. With O(apply=false), C(SDN.Allocate) on
    C(/sdn/controllers), propagated, is enough.
  - A controller that zones use is not deleted. In check mode that is a warning, as what comes before in the same run
    may be about to remove them.
  - The nodes need the package C(frr-pythontools).
seealso:
  - module: onprem.cloud.pve_sdn_zone
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.sdn
options:
  controller:
    description:
      - Name of the controller, from 2 to 64 letters, digits, dashes and underscores, the first of which is a letter.
    type: str
    required: true
  type:
    description:
      - Kind of the controller. Required for a new one. It cannot be changed.
      - V(evpn) is for the zones of that type, and there is one in the cluster. V(bgp) and V(isis) are for one node.
    type: str
    choices: [evpn, bgp, isis]
  asn:
    description: Number of the autonomous system. For types V(evpn) and V(bgp), which need it.
    type: int
  peers:
    description:
      - Addresses of the routers, in any order. Type V(bgp) needs it, type V(evpn) needs it or O(fabric).
    type: list
    elements: str
  fabric:
    description: Fabric that connects the nodes. Type V(evpn) needs it or O(peers).
    type: str
  node:
    description: Name of the node. For types V(bgp) and V(isis), which need it.
    type: str
  loopback:
    description: Interface with the address that the node is known by. For types V(bgp) and V(isis).
    type: str
  ebgp:
    description: Whether the routers are of another autonomous system. For type V(bgp).
    type: bool
  ebgp_multihop:
    description: Most hops to routers of another autonomous system, or V(0) to remove it. For type V(bgp) with O(ebgp).
    type: int
  bgp_multipath_as_path_relax:
    description: Whether ways of the same length through other systems are used together. For type V(bgp).
    type: bool
  isis_domain:
    description: Name of the IS-IS domain. For type V(isis), which needs it.
    type: str
  isis_net:
    description: Title of the node, such as V(49.0001.1921.6800.1001.00). For type V(isis), which needs it.
    type: str
  isis_ifaces:
    description: Interfaces that speak IS-IS, in any order. For type V(isis), which needs it.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Routes between the nodes
  onprem.cloud.pve_sdn_controller:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    controller: fabric
    type: evpn
    asn: 65000
    peers: [192.0.2.11, 192.0.2.12]

- name: Routes of a node to the router of the house
  onprem.cloud.pve_sdn_controller:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    controller: bgppve1
    type: bgp
    node: pve1
    asn: 65000
    peers: [192.0.2.254]
    ebgp: true
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
sdn_controller:
  description: The controller as it is staged afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"controller": "fabric", "type": "evpn", "asn": 65000, "peers": "192.0.2.11,192.0.2.12",
    "digest": "246d2b7455f44752825f1d0f842b233c56edc784"}
"""

from ansible.module_utils.basic import AnsibleModule
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
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.sdn import (
    CONTROLLERS,
    STAGING,
    ZONES,
    Addresses,
    NumberOrNone,
    Staged,
)

TITLE = r"[a-fA-F0-9]{2}(\.[a-fA-F0-9]{4}){3,9}\.[a-fA-F0-9]{2}"

TABLE = Table(
    noun="SDN controller",
    path=CONTROLLERS,
    id="controller",
    required=("type",),
    places=STAGING,
    belongs={
        "evpn": ("asn", "peers", "fabric"),
        "bgp": ("asn", "peers", "node", "loopback", "ebgp", "ebgp_multihop", "bgp_multipath_as_path_relax"),
        "isis": ("node", "loopback", "isis_domain", "isis_net", "isis_ifaces"),
        # Not made here, and may be there.
        "faucet": (),
    },
    needed={
        "evpn": ("asn",),
        "bgp": ("node", "asn", "peers"),
        "isis": ("node", "isis_domain", "isis_net", "isis_ifaces"),
    },
    options={
        "type": choice("evpn", "bgp", "isis", fixed=True),
        "asn": Option(INT, Number(1, 4294967295)),
        "peers": Option(LIST, Addresses(), []),
        "fabric": Option(STR, Text(), ""),
        "node": Option(STR, Text(), ""),
        "loopback": Option(STR, Text(), ""),
        "ebgp": Option(BOOL, Boolean(), False),
        "ebgp_multihop": Option(INT, NumberOrNone(1, 255)),
        "bgp_multipath_as_path_relax": Option(BOOL, Boolean(), False),
        "isis_domain": Option(STR, Text(), ""),
        "isis_net": Option(STR, Text((), TITLE, "the title of a node such as 49.0001.1921.6800.1001.00"), ""),
        "isis_ifaces": Option(LIST, Words(",", unordered=True), []),
    },
)


class Controller(Staged):
    result_name = "sdn_controller"

    def users(self) -> list[str]:
        return [f"zone '{item['zone']}'" for item in self.staged(ZONES) if item.get("controller") == self.name]

    def validate(self) -> None:
        if self.raw is None:
            self.check_name(64, "_-", "letters, digits, dashes and underscores")
        self.check_kind()
        if self.kind != "evpn":
            return
        if bool(self.after("peers")) == bool(self.after("fabric")):
            self.problem("type 'evpn' needs peers or fabric, one of them: give it, and leave the other empty")
        if self.raw is None:
            for item in self.staged(CONTROLLERS):
                if item["type"] == "evpn":
                    self.problem(f"'{item['controller']}' is of type 'evpn' already, and a cluster has one of them")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Controller)


if __name__ == "__main__":
    main()
