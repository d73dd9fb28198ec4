#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ha_group
short_description: Manage where Proxmox VE 8 runs guests under high availability
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a group of nodes, which guests are given with the option C(group) of
    M(onprem.cloud.pve_ha_resource).
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
  - Proxmox VE 9 has rules in place of groups. There this module says so, and O(state=absent) finds nothing to do. Use
    M(onprem.cloud.pve_ha_rule).
  - A cluster that is upgraded from 8 to 9 has its groups until all of its nodes are.
notes:
  - Needs the privileges C(Sys.Console) and C(Sys.Audit) on C(/).
  - Proxmox VE refuses to delete a group that a guest uses.
seealso:
  - module: onprem.cloud.pve_ha_resource
  - module: onprem.cloud.pve_ha_rule
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  group:
    description: Name of the group.
    type: str
    required: true
  nodes:
    description: The nodes, in any order, each with its priority, 0 unless given. A dictionary of nodes and priorities,
      a list of nodes such as V(pve1) or V(pve1:2), or Proxmox VE's text (V(pve1:2,pve2)). A node with a higher number
      comes before one with a lower number. A new group needs it.
    type: raw
  restricted:
    description: Whether guests stop if none of the nodes is up. If not, they run on another node.
    type: bool
  nofailback:
    description: Whether guests stay where they are when a node of higher priority comes back.
    type: bool
  comment:
    description: What the group is for.
    type: str
"""

EXAMPLES = r"""
- name: Guests of this group run on the first node if it is up (Proxmox VE 8)
  onprem.cloud.pve_ha_group:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    group: first
    nodes: {pve1: 2, pve2: 1}
    restricted: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
ha_group:
  description: The group as Proxmox VE has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"group": "first", "type": "group", "nodes": "pve1:2,pve2:1", "restricted": 1}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    RAW,
    STR,
    Boolean,
    Nodes,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

TABLE = Table(
    noun="HA group",
    path="/cluster/ha/groups",
    id="group",
    configid=True,
    required=("nodes",),
    options={
        "nodes": Option(RAW, Nodes(), {}),
        "restricted": Option(BOOL, Boolean(), False),
        "nofailback": Option(BOOL, Boolean(), False),
        "comment": Option(STR, Text(), ""),
    },
)


class Group(Resource):
    """A group; where rules have taken the place of groups there is none."""

    result_name = "ha_group"

    def fetch(self) -> dict[str, Any] | None:
        try:
            return super().fetch()
        except PveError as error:
            if "migrated to rules" not in error.text:
                raise
            if self.state == "absent":
                return None
            raise PveError(f"{self}: this Proxmox VE has rules in place of groups: use pve_ha_rule.") from error


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Group)


if __name__ == "__main__":
    main()
