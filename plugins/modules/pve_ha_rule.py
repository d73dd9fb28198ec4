#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ha_rule
short_description: Manage where Proxmox VE 9 runs guests under high availability
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a rule. It says which nodes guests run on (V(node-affinity)), or which guests run
    on one node or on different ones (V(resource-affinity)).
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
  - Proxmox VE 8 has groups in place of rules, see M(onprem.cloud.pve_ha_group). There this module says so, and
    O(state=absent) finds nothing to do.
  - As soon as all nodes of a cluster are upgraded to 9, groups turn into rules named C(ha-group-NAME). Until then
    no rule can be written.
notes:
  - Needs the privileges C(Sys.Console) and C(Sys.Audit) on C(/).
  - Guests must be under high availability before a rule names them, see M(onprem.cloud.pve_ha_resource).
seealso:
  - module: onprem.cloud.pve_ha_resource
  - module: onprem.cloud.pve_ha_group
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  rule:
    description: Name of the rule.
    type: str
    required: true
  type:
    description: What the rule says. A new one needs it, and it cannot be changed later.
    type: str
    choices: [node-affinity, resource-affinity]
  resources:
    description: The guests, such as V(vm:100) and V(ct:101), in any order. A new rule needs it.
    type: list
    elements: str
  nodes:
    description: The nodes, in any order, each with its priority, 0 unless given. A dictionary of nodes and priorities,
      a list of nodes such as V(pve1) or V(pve1:2), or Proxmox VE's text (V(pve1:2,pve2)). The higher the number, the
      rather is the node taken. A new V(node-affinity) needs it.
    type: raw
  strict:
    description: Whether guests stop if none of O(nodes) is up. If not, they run on another node. For V(node-affinity).
    type: bool
  affinity:
    description: Whether guests are kept on the same node (V(positive)) or on different ones (V(negative)). A new
      V(resource-affinity) needs it.
    type: str
    choices: [positive, negative]
  disable:
    description: Whether the rule does nothing.
    type: bool
  comment:
    description: What the rule is for.
    type: str
"""

EXAMPLES = r"""
- name: Two guests run on the first node if it is up
  onprem.cloud.pve_ha_rule:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    rule: intranet
    type: node-affinity
    resources: [vm:100, ct:101]
    nodes: {pve1: 2, pve2: 1}

- name: The databases never share a node
  onprem.cloud.pve_ha_rule:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    rule: databases
    type: resource-affinity
    resources: [vm:100, ct:101]
    affinity: negative
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
ha_rule:
  description: The rule as Proxmox VE has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"rule": "intranet", "type": "node-affinity", "resources": "ct:101,vm:100", "nodes": "pve1:2,pve2:1"}
"""

from contextlib import contextmanager
from typing import Any, Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    LIST,
    RAW,
    STR,
    Boolean,
    Nodes,
    Option,
    Text,
    Words,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

BELONGS = {"node-affinity": ("nodes", "strict"), "resource-affinity": ("affinity",)}
NEEDED = {"node-affinity": ("nodes",), "resource-affinity": ("affinity",)}
AFFINITIES = ("positive", "negative")

TABLE = Table(
    noun="HA rule",
    path="/cluster/ha/rules",
    id="rule",
    configid=True,
    required=("type", "resources"),
    belongs=BELONGS,
    needed=NEEDED,
    options={
        "type": Option({**STR, "choices": list(BELONGS)}, Text(tuple(BELONGS)), fixed=True),
        "resources": Option(
            LIST,
            Words(",", unordered=True, word=r"(vm|ct):[1-9]\d{2,8}", hint="a guest such as vm:100 or ct:101"),
            [],
        ),
        "nodes": Option(RAW, Nodes(), {}),
        "strict": Option(BOOL, Boolean(), False),
        "affinity": Option({**STR, "choices": list(AFFINITIES)}, Text(AFFINITIES), ""),
        "disable": Option(BOOL, Boolean(), False),
        "comment": Option(STR, Text(), ""),
    },
)


class Rule(Resource):
    """A rule; the API wants its type with every write."""

    result_name = "ha_rule"

    def fetch(self) -> dict[str, Any] | None:
        try:
            return super().fetch()
        except PveError as error:
            if error.status != 501:
                raise
            if self.state == "absent":
                return None
            raise PveError(f"{self}: this Proxmox VE has groups in place of rules: use pve_ha_group.") from error

    def compare(self) -> None:
        super().compare()
        if self.raw is not None and self.sets.get("disable") is False:
            # Proxmox VE does not look at disable=0.
            del self.sets["disable"]
            self.deletes.append("disable")

    def validate(self) -> None:
        self.check_kind()

    def create(self) -> Any:
        with self.migrated():
            return super().create()

    def update(self) -> Any:
        self.sets.setdefault("type", self.current("type"))
        with self.migrated():
            return super().update()

    @contextmanager
    def migrated(self) -> Iterator[None]:
        """Says what to do about groups that are there still."""
        try:
            yield
        except PveError as error:
            if "have not been migrated yet" not in error.text:
                raise
            raise PveError(
                f"{self}: {error} Proxmox VE does that by itself when all nodes run 9: upgrade every node, and use "
                "pve_ha_group until then.",
                error.text,
                error.status,
            ) from error


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Rule)


if __name__ == "__main__":
    main()
