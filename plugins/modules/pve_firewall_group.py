#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_firewall_group
short_description: Manage a security group of the firewall of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a security group of the datacenter, together with its rules. A rule of the type
    C(group) uses it, at any level.
  - An option that is given is enforced, one that is not given is left alone.
  - The rules are handled as M(onprem.cloud.pve_firewall_rules) does it. A group that is deleted loses its rules first.
  - Refuses to shut the controller out of the nodes, see O(allow_lockout).
notes:
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/).
seealso:
  - module: onprem.cloud.pve_firewall_rules
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.firewall_guard
  - onprem.cloud.pve.firewall_rules
options:
  group:
    description: Name of the group, at most 18 letters, digits, C(-) and C(_). Proxmox VE keeps it in lower case.
    type: str
    required: true
  comment:
    description: What the group is for. An empty text removes it.
    type: str
"""

EXAMPLES = r"""
- name: What every web server lets in
  onprem.cloud.pve_firewall_group:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    group: webserver
    comment: Web servers
    rules:
      - action: ACCEPT
        proto: tcp
        dport: 80,443
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
firewall_group:
  description: The group as Proxmox VE has it afterwards, with its rules.
  type: dict
  returned: success
  sample: {"group": "webserver", "comment": "Web servers", "rules": [{"type": "in", "action": "ACCEPT"}]}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.firewall import (
    DATACENTER,
    GUARD,
    RULES,
    Comment,
    RuleHolder,
    RuleList,
    check_name,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Invalid, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

TABLE = Table(
    noun="firewall group",
    path=f"{DATACENTER}/groups",
    id="group",
    lower=True,
    options={"comment": Option(STR, Comment(), ""), "rules": Option(RULES, RuleList(), [])},
    places={"exclusive": {"type": "bool", "default": True}, **GUARD},
)


class Group(RuleHolder):
    """A group, whose rules are a list of their own in the API."""

    rule_level = "group"

    def parse(self) -> None:
        super().parse()
        try:
            check_name(self.name, 18)
        except Invalid as error:
            self.problem(str(error))

    def fetch(self) -> dict[str, Any] | None:
        found = super().fetch()
        return found and {**found, "rules": self.client.get(self.item_path)}

    def create(self) -> None:
        comment = {"comment": self.sets["comment"]} if "comment" in self.sets else {}
        self.client.post(self.path, group=self.name, **comment)
        if "rules" in self.sets:
            self.enforce()

    def update(self) -> None:
        if "comment" in self.sets or "comment" in self.deletes:
            values = {"group": self.name, "rename": self.name, "comment": self.sets.get("comment", "")}
            self.client.post(self.path, **values, digest=(self.raw or {})["digest"])
        if "rules" in self.sets:
            self.enforce()

    def delete(self) -> Any:
        rules = (self.raw or {})["rules"]
        while rules:
            self.client.delete(f"{self.item_path}/0", digest=rules[0]["digest"])
            rules = self.client.get(self.item_path)
        return self.client.delete(self.item_path)

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "rules": RuleList().format(self.current("rules"))} if self.raw else {}


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Group)


if __name__ == "__main__":
    main()
