#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_firewall_alias
short_description: Manage a name for an address or network in the firewall of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes an alias of the datacenter or of a guest. Rules and IP sets may say its name instead of
    the address.
  - An option that is given is enforced, one that is not given is left alone.
  - Refuses to shut the controller out of the nodes, see O(allow_lockout).
notes:
  - At the datacenter, needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/).
  - At a guest, needs C(VM.Config.Network) and C(VM.Audit) on C(/vms/{vmid}).
  - A node has no aliases of its own.
seealso:
  - module: onprem.cloud.pve_firewall_ipset
  - module: onprem.cloud.pve_firewall_rules
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.firewall
  - onprem.cloud.pve.firewall_guard
options:
  name:
    description: Name of the alias, letters, digits, C(-) and C(_). Its case means nothing.
    type: str
    required: true
  cidr:
    description: The address or network. Required for a new alias.
    type: str
  comment:
    description: What the alias is for. An empty text removes it.
    type: str
"""

EXAMPLES = r"""
- name: Name the network of the administrators
  onprem.cloud.pve_firewall_alias:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    name: admins
    cidr: 198.51.100.0/24
    comment: VPN of the administrators
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
firewall_alias:
  description: The alias as Proxmox VE has it afterwards.
  type: dict
  returned: success
  sample: {"name": "admins", "cidr": "198.51.100.0/24", "comment": "VPN of the administrators", "ipversion": 4}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.firewall import (
    DATACENTER,
    GUARD,
    GUEST,
    LEVEL,
    Cidr,
    Comment,
    Named,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

TABLE = Table(
    noun="firewall alias",
    path=f"{DATACENTER}/aliases",
    elsewhere=(f"{GUEST}/aliases",),
    id="name",
    options={"cidr": Option(STR, Cidr()), "comment": Option(STR, Comment(), "")},
    required=("cidr",),
    places={**LEVEL, **GUARD},
)


class Alias(Named):
    """PVE keeps the case of the name and finds it in any other."""

    def fetch(self) -> dict[str, Any] | None:
        listing = self.client.get(self.path)
        return next((item for item in listing if item["name"].lower() == self.name.lower()), None)

    def future(self, action: str) -> dict[str, Any]:
        cidr = self.sets.get("cidr", self.current("cidr"))
        return {self.path: self.listing(action, {"cidr": cidr})} if action == "delete" or "cidr" in self.sets else {}

    def update(self) -> Any:
        # PVE takes the whole alias: a comment that is not sent is lost.
        comment = "" if "comment" in self.deletes else self.sets.get("comment", self.current("comment"))
        values = {"cidr": self.sets.get("cidr", self.current("cidr")), **({"comment": comment} if comment else {})}
        return self.client.put(self.item_path, **values, digest=(self.raw or {})["digest"])


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Alias)


if __name__ == "__main__":
    main()
