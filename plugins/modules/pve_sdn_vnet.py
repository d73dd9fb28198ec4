#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_sdn_vnet
short_description: Manage a vnet of the software defined network of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a vnet, which is a bridge of the same name on every node of its zone. Guests are
    connected to it like to any other bridge.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(SDN.Allocate) on C(/sdn), propagated. With O(apply=false), C(SDN.Allocate) on the zone
    (C(/sdn/zones/{zone})), propagated, is enough. Tags are compared with those of the vnets that the user may see.
  - A vnet that has subnets is not deleted. In check mode that is a warning, as what comes before in the same run may be
    about to remove them.
seealso:
  - module: onprem.cloud.pve_sdn_zone
  - module: onprem.cloud.pve_sdn_subnet
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.sdn
options:
  vnet:
    description: Name of the vnet, from 2 to 8 letters and digits, the first of which is a letter.
    type: str
    required: true
  zone:
    description: Zone of the vnet. Required for a new one. It cannot be changed while the vnet has subnets.
    type: str
  tag:
    description:
      - Number of the VLAN, from 1 to 4094, or of the VXLAN, from 1 to 16777215. V(0) removes it.
      - A zone of type C(vlan), C(vxlan) or C(evpn) needs it, one of type C(simple) has none, and one of type C(qinq)
        has at most one vnet without.
    type: int
  vlanaware:
    description:
      - Whether VLANs of the guests pass through. Such a vnet has no subnets, and is in no zone of type C(evpn).
    type: bool
  alias:
    description: A name for people, of up to 256 characters.
    type: str
  isolate_ports:
    description: Whether guests of the vnet do not reach each other on a node.
    type: bool
"""

EXAMPLES = r"""
- name: A VLAN for printers
  onprem.cloud.pve_sdn_vnet:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vnet: printers
    zone: office
    tag: 30
    alias: All floors

- name: A network that is not used any more
  onprem.cloud.pve_sdn_vnet:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vnet: fax
    state: absent
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
sdn_vnet:
  description: The vnet as it is staged afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"vnet": "printers", "type": "vnet", "zone": "office", "tag": 30, "alias": "All floors",
    "digest": "98b4b6dc35b6b5c2b2994aa69f90e734b7e0b03f"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    STR,
    Boolean,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.sdn import (
    STAGING,
    SUBNETS,
    VNETS,
    ZONES,
    NumberOrNone,
    Staged,
)

TUNNELS = ("vxlan", "evpn")
LAST_VLAN = 4094

TABLE = Table(
    noun="SDN vnet",
    path=VNETS,
    id="vnet",
    required=("zone",),
    places=STAGING,
    options={
        "zone": Option(STR, Text()),
        "tag": Option(INT, NumberOrNone(1, 16777215)),
        "vlanaware": Option(BOOL, Boolean(), False),
        "alias": Option(
            STR,
            Text((), r"[()\-_.\w\s*+,/:;<=>?@\[\\\]^]{0,256}", "at most 256 letters, digits, blanks and . , : ( ) -"),
            "",
        ),
        "isolate_ports": Option(BOOL, Boolean(), False),
    },
)


class Vnet(Staged):
    result_name = "sdn_vnet"

    def users(self) -> list[str]:
        return [f"subnet '{item['cidr']}'" for item in self.staged(SUBNETS.format(vnet=self.name))]

    def validate(self) -> None:
        if self.raw is None:
            self.check_name(8)
        changed = {*self.sets, *self.deletes}
        zone = self.after("zone")
        if not zone or not changed & {"zone", "tag", "vlanaware"}:
            return
        zones = {item["zone"]: item["type"] for item in self.staged(ZONES)}
        if zone not in zones:
            self.not_there(f"there is no zone '{zone}'", ": make it with pve_sdn_zone first, or grant SDN.Audit on it")
            return
        kind, tag = zones[zone], self.after("tag")
        where = f"zone '{zone}' of type '{kind}'"
        if kind == "simple" and tag is not None:
            self.problem(f"tag {tag} has no meaning in {where}: leave it out or choose another zone")
        elif kind in ("vlan", *TUNNELS) and tag is None:
            self.problem(f"tag is missing, {where} needs it")
        elif kind in ("vlan", "qinq") and tag is not None and tag > LAST_VLAN:
            self.problem(f"tag {tag} is out of range, a VLAN of {where} is at most {LAST_VLAN}")
        elif kind != "simple":
            self.check_tag(kind, tag, zones)
        if kind == "evpn" and self.after("vlanaware"):
            self.problem(f"vlanaware cannot be true in {where}")

    def check_tag(self, kind: str, tag: Any, zones: dict[str, str]) -> None:
        """A VLAN is there once in a zone, a VXLAN once in all of them."""
        for item in self.staged(VNETS):
            near = zones.get(item["zone"]) in TUNNELS if kind in TUNNELS else item["zone"] == self.after("zone")
            if near and item.get("tag") == tag and not self.is_it(item):
                which = (
                    "no tag either, one of them needs it" if tag is None else f"tag {tag} already, choose another one"
                )
                self.problem(f"vnet '{item['vnet']}' of zone '{item['zone']}' has {which}")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Vnet)


if __name__ == "__main__":
    main()
