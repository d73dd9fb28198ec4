#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_role
short_description: Manage a role of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a role, which is a named set of privileges. It is granted with
    M(onprem.cloud.pve_acl).
  - An option that is given is enforced, one that is not given is left alone.
notes:
  - Needs the privilege C(Sys.Modify) on C(/access).
  - The roles that come with Proxmox VE, such as C(PVEAdmin), can be neither changed nor deleted.
  - Deleting a role takes away the rights that were granted with it.
seealso:
  - module: onprem.cloud.pve_acl
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  roleid:
    description: Name of the role. Names that begin with V(PVE), in whatever case, are reserved.
    type: str
    required: true
  privs:
    description:
      - The privileges of the role, such as V(VM.Audit). A privilege that the role has and that is not in the list is
        taken away, an empty list takes away all of them.
      - They are compared with the privileges that the Proxmox VE at hand knows. Between versions 8 and 9 some changed,
        for instance C(VM.Monitor) gave way to C(VM.GuestAgent.Audit) and its siblings.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: A role for those who switch virtual machines on and off
  onprem.cloud.pve_role:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    roleid: Switch
    privs: [VM.Audit, VM.PowerMgmt, VM.Console]
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
role:
  description: The role as Proxmox VE has it afterwards.
  type: dict
  returned: success
  sample: {"roleid": "Switch", "privs": "VM.Audit,VM.Console,VM.PowerMgmt", "special": 0}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import LIST, Option, Words, nearest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

TABLE = Table(
    noun="role",
    path="/access/roles",
    id="roleid",
    options={"privs": Option(LIST, Words(",", unordered=True), [])},
    deletes=False,
)


class Role(Resource):
    """A role; the one with every privilege tells which there are."""

    known: frozenset[str] = frozenset()

    def fetch(self) -> dict[str, Any] | None:
        listing = {item["roleid"]: item for item in self.client.get(self.path)}
        self.known = frozenset(TABLE.options["privs"].kind.parse(listing.get("Administrator", {}).get("privs", "")))
        return listing.get(self.name)

    def plan(self) -> str:
        action = super().plan()
        if action and (self.raw or {}).get("special"):
            raise PveError(f"{self}: it comes with Proxmox VE and stays as it is, choose another roleid.")
        return action

    def validate(self) -> None:
        if self.raw is None and self.name.lower().startswith("pve"):
            self.problem("names that begin with PVE are reserved, choose another roleid")
        for privilege in self.sets.get("privs") or ():
            if self.known and privilege not in self.known:
                self.problem(f"privs: there is no privilege '{privilege}', {nearest(privilege, self.known)}")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Role)


if __name__ == "__main__":
    main()
