#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_firewall_ipset
short_description: Manage a set of addresses in the firewall of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes an IP set of the datacenter or of a guest, together with its entries. Rules say
    C(+name) to mean it.
  - An option that is given is enforced, one that is not given is left alone.
  - Entries are added before others are removed, so that a set in use is never emptier than it has to be.
  - Refuses to shut the controller out of the nodes, see O(allow_lockout).
notes:
  - At the datacenter, needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/).
  - At a guest, needs C(VM.Config.Network) and C(VM.Audit) on C(/vms/{vmid}).
  - A node has no IP sets of its own.
  - The addresses of the datacenter's set C(management) may reach the web interface and SSH of every node. A guest's set
    C(ipfilter-net0) holds the addresses that its interface net0 may use.
seealso:
  - module: onprem.cloud.pve_firewall_alias
  - module: onprem.cloud.pve_firewall_rules
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.firewall
  - onprem.cloud.pve.firewall_guard
options:
  name:
    description: Name of the set, letters, digits, C(-) and C(_). Proxmox VE keeps it in lower case.
    type: str
    required: true
  comment:
    description: What the set is for. An empty text removes it.
    type: str
  entries:
    description: All addresses of the set, in any order. An empty list removes them.
    type: list
    elements: dict
    suboptions:
      cidr:
        description: An address, a network or the name of an alias, such as V(dc/admins).
        type: str
        required: true
      nomatch:
        description: Whether the entry takes addresses out that a wider entry lets in.
        type: bool
        default: false
      comment:
        description: What the entry is.
        type: str
        default: ''
"""

EXAMPLES = r"""
- name: Let the administrators reach the nodes
  onprem.cloud.pve_firewall_ipset:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    name: management
    comment: Who may reach the nodes
    entries:
      - cidr: 198.51.100.0/24
        comment: VPN
      - cidr: 198.51.100.66
        nomatch: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
firewall_ipset:
  description: The set as Proxmox VE has it afterwards, with its entries.
  type: dict
  returned: success
  sample: {"name": "management", "comment": "Who may reach the nodes", "entries": [{"cidr": "198.51.100.0/24"}]}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.firewall import (
    DATACENTER,
    GUARD,
    GUEST,
    LEVEL,
    Comment,
    Entries,
    Named,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

ENTRIES = {
    "type": "list",
    "elements": "dict",
    "options": {
        "cidr": {"type": "str", "required": True},
        "nomatch": {"type": "bool", "default": False},
        "comment": {"type": "str", "default": ""},
    },
}
TABLE = Table(
    noun="firewall ipset",
    path=f"{DATACENTER}/ipset",
    elsewhere=(f"{GUEST}/ipset",),
    id="name",
    lower=True,
    options={"comment": Option(STR, Comment(), ""), "entries": Option(ENTRIES, Entries(), [])},
    places={**LEVEL, **GUARD},
)


class IpSet(Named):
    """A set, whose entries are objects of their own in the API."""

    def fetch(self) -> dict[str, Any] | None:
        found = super().fetch()
        return found and {**found, "entries": self.client.get(self.item_path)}

    def future(self, action: str) -> dict[str, Any]:
        if action == "update" and not {"entries"} & {*self.sets, *self.deletes}:
            return {}
        return {self.path: self.listing(action, {}), self.item_path: self.sets.get("entries", [])}

    def create(self) -> None:
        comment = {"comment": self.sets["comment"]} if "comment" in self.sets else {}
        self.client.post(self.path, name=self.name, **comment)
        self.enforce([])

    def update(self) -> None:
        if "comment" in self.sets or "comment" in self.deletes:
            values = {"name": self.name, "rename": self.name, "comment": self.sets.get("comment", "")}
            self.client.post(self.path, **values, digest=(self.raw or {})["digest"])
        if "entries" in self.sets or "entries" in self.deletes:
            self.enforce((self.raw or {})["entries"])

    def enforce(self, raw: list[dict[str, Any]]) -> None:
        """Add, then change, then remove; what changes or removes is refused by PVE if somebody else was at work."""
        kind = Entries()
        wanted = {entry["cidr"]: entry for entry in self.wanted.get("entries") or []}
        known = {entry["cidr"] for entry in kind.parse(raw)}
        for cidr in wanted:
            if cidr not in known:
                self.client.post(self.item_path, **wanted[cidr])
        for item in raw:
            (entry,) = kind.parse([item])
            if entry != wanted.get(entry["cidr"]):
                digest = self.client.get(self.item_path)[0]["digest"]
                where = f"{self.item_path}/{item['cidr']}"
                if entry["cidr"] in wanted:
                    values = {"nomatch": False, **wanted[entry["cidr"]], "digest": digest}
                    self.client.put(where, **{key: value for key, value in values.items() if key != "cidr"})
                else:
                    self.client.delete(where, digest=digest)

    def delete(self) -> Any:
        return self.client.delete(self.item_path, force=1)

    def facts(self) -> dict[str, Any]:
        facts = super().facts()
        return {**facts, "entries": Entries().parse(facts["entries"])} if facts else facts


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, IpSet)


if __name__ == "__main__":
    main()
