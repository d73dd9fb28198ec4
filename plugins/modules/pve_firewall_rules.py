#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_firewall_rules
short_description: Manage the list of firewall rules of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Makes the rules of the datacenter, of a node, of a guest or of a security group those that are listed, in this
    order.
  - A rule is known by what it says and never by its position. Values are compared by meaning, so V(ssh) is V(22), and
    the order of ports and addresses within a rule means nothing.
  - What is there is moved rather than written anew, with the fewest writes. Every write is refused if somebody else
    changed the rules meanwhile, and is then planned again on what is there.
  - Refuses to shut the controller out, see O(allow_lockout).
notes:
  - At the datacenter and for security groups, needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/).
  - At a node, needs C(Sys.Modify) on C(/nodes/{node}), and C(Sys.Audit) on C(/) to judge whether the controller stays
    in.
  - At a guest, needs C(VM.Config.Network) and C(VM.Audit) on C(/vms/{vmid}).
  - Proxmox VE looks for changes every ten seconds. Between two writes of a run it may find a list that is not complete;
    connections that are open stay so.
seealso:
  - module: onprem.cloud.pve_firewall_options
  - module: onprem.cloud.pve_firewall_group
  - module: onprem.cloud.pve_firewall_ipset
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.firewall
  - onprem.cloud.pve.firewall_guard
  - onprem.cloud.pve.firewall_rules
options:
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
  group:
    description: Security group whose rules are meant. It must be there, and excludes O(node), O(vmid) and O(type).
    type: str
"""

EXAMPLES = r"""
- name: Let the administrators reach the nodes
  onprem.cloud.pve_firewall_rules:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    rules:
      - action: ACCEPT
        source: 198.51.100.0/24
        proto: tcp
        dport: 22,8006
        comment: Administrators
      - action: ACCEPT
        macro: Ping
      - action: DROP
        log: info

- name: Put the rules of a web server first and leave others alone
  onprem.cloud.pve_firewall_rules:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vmid: 101
    exclusive: false
    rules:
      - action: ACCEPT
        iface: net0
        proto: tcp
        dport: http,https
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
firewall_rules:
  description: The rules as Proxmox VE has them afterwards, in order.
  type: list
  elements: dict
  returned: success
  sample: [{"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "22", "enable": true}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.firewall import (
    DATACENTER,
    GUARD,
    GUEST,
    LEVEL,
    NODE,
    RULES,
    RuleHolder,
    RuleList,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

TABLE = Table(
    noun="firewall rules",
    path=f"{DATACENTER}/rules",
    elsewhere=(f"{NODE}/rules", f"{GUEST}/rules"),
    options={"rules": Option(RULES, RuleList(), [])},
    places={**LEVEL, "group": {"type": "str"}, "exclusive": {"type": "bool", "default": True}, **GUARD},
)


class Rules(RuleHolder):
    """The rules of a level or of a group."""

    def __str__(self) -> str:
        group = self.params["group"]
        return f"{self.table.noun} of group '{group}'" if group else super().__str__()

    def locate(self) -> None:
        group = self.params["group"]
        super().locate()
        if group:
            self.path = f"{DATACENTER}/groups/{group.lower()}"
        self.rule_level = "group" if group else self.level

    def fetch(self) -> dict[str, Any]:
        return {"rules": self.client.get(self.path) or []}

    def update(self) -> None:
        self.enforce()

    def facts(self) -> Any:
        return RuleList().format(self.current("rules"))


def main() -> None:
    level = [("group", option) for option in LEVEL]
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True, mutually_exclusive=level), TABLE, Rules)


if __name__ == "__main__":
    main()
