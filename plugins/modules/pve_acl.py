#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_acl
short_description: Grant a role of Proxmox VE to users, groups and tokens
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Grants a role on a path, or takes it away. A right is identified by its path, its role and who has it. Other rights
    are left alone.
  - O(propagate) is enforced if it is given, in both directions.
notes:
  - Needs the privilege C(Permissions.Modify) on O(path). Proxmox VE lists the rights on the paths that the caller may
    change only.
  - A token has at most the rights of its user, unless it was made without privilege separation, see
    M(onprem.cloud.pve_token).
seealso:
  - module: onprem.cloud.pve_role
  - module: onprem.cloud.pve_group
  - module: onprem.cloud.pve_user
  - module: onprem.cloud.pve_token
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  path:
    description: What the role is granted on, such as V(/), V(/vms/100), V(/pool/office) or V(/storage/local).
    type: str
    required: true
  roleid:
    description: The role that is granted.
    type: str
    required: true
  users:
    description: Users, with their realms. At least one of O(users), O(groups) and O(tokens) is needed.
    type: list
    elements: str
  groups:
    description: Groups of users.
    type: list
    elements: str
  tokens:
    description: API tokens, such as V(automation@pve!ansible).
    type: list
    elements: str
  propagate:
    description:
      - Whether the role is granted on everything below O(path), too.
      - New rights are, unless this is V(false).
    type: bool
"""

EXAMPLES = r"""
- name: Those on call look after all virtual machines
  onprem.cloud.pve_acl:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    path: /vms
    roleid: PVEVMAdmin
    groups: [operators]

- name: A token that sees the datacenter itself and nothing below it
  onprem.cloud.pve_acl:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    path: /
    roleid: PVEAuditor
    tokens: [monitoring@pve!exporter]
    propagate: false
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
acl:
  description: The rights of these users, groups and tokens by this role on this path afterwards.
  type: list
  elements: dict
  returned: success
  sample: [{"path": "/vms", "roleid": "PVEVMAdmin", "type": "group", "ugid": "operators", "propagate": 1}]
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    LIST,
    STR,
    Boolean,
    Option,
    Words,
    nearest,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

# What a right is about begins with one of these.
ROOTS = ("access", "mapping", "nodes", "pool", "sdn", "storage", "vms")
# Who can have one: what the API calls its kind, and how its name is written.
KINDS = {
    "users": Words(",", unordered=True, word=r"[^!]+@[^!@]+", hint="a user with a realm such as ada@pve"),
    "groups": Words(",", unordered=True, word=r"[^!@]+", hint="the name of a group"),
    "tokens": Words(",", unordered=True, word=r".+@[^@]+!.+", hint="a token such as automation@pve!ansible"),
}

TABLE = Table(
    noun="acl",
    path="/access/acl",
    options={"propagate": Option(BOOL, Boolean())},
    places={
        "path": {**STR, "required": True},
        "roleid": {**STR, "required": True},
        **{kind: {**LIST, "no_log": False} for kind in KINDS},
        "state": {**STR, "choices": ["present", "absent"], "default": "present"},
    },
)


class Acl(Resource):
    """The rights of several by one role on one path; the value of ``propagate`` is a dict, by who has the right."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.where = "/" + "/".join(part for part in self.params["path"].split("/") if part)
        self.who: dict[str, str] = {}

    def __str__(self) -> str:
        return f"right on '{self.where}' by role '{self.params['roleid']}'"

    def parse(self) -> None:
        super().parse()
        root = self.where.split("/")[1]
        if root and root not in ROOTS:
            self.problem(f"path: '{self.where}' is nothing that rights are about, {nearest(root, ROOTS)}")
        elif re.match(r"/vms/(?![1-9]\d{2,}$)", self.where):
            self.problem(f"path: '{self.where}' is no guest, write its number as in /vms/100")
        for kind, words in KINDS.items():
            try:
                self.who.update(dict.fromkeys(words.parse(self.params[kind] or []), kind))
            except ValueError as error:
                self.problem(f"{kind}: {error}")
        if not self.who and not self.problems:
            self.problem("nobody is given, name users, groups or tokens")

    def fetch(self) -> dict[str, Any] | None:
        found = [
            item
            for item in self.client.get(self.path)
            if (item["path"], item["roleid"]) == (self.where, self.params["roleid"])
            and self.who.get(item["ugid"]) == f"{item['type']}s"
        ]
        return {"entries": sorted(found, key=lambda item: item["ugid"])} if found else None

    def current(self, option: str, answer: dict[str, Any] | None = None) -> dict[str, bool]:
        entries = (self.raw or {}).get("entries", [])
        return {item["ugid"]: Boolean().parse(item.get("propagate", True)) for item in entries}

    def compare(self) -> None:
        now, wanted = self.current("propagate"), self.wanted.get("propagate")
        target = {name: now.get(name, True) if wanted is None else wanted for name in self.who}
        self.sets = {} if target == now else {"propagate": dict(sorted(target.items()))}

    def put(self, names: list[str], **how: Any) -> None:
        who = {kind: ",".join(name for name in names if self.who[name] == kind) for kind in KINDS}
        given = {kind: listed for kind, listed in who.items() if listed}
        self.client.put(self.path, path=self.where, roles=self.params["roleid"], **given, **how)

    def update(self) -> None:
        now, target = self.current("propagate"), self.sets["propagate"]
        names = [name for name, value in target.items() if now.get(name) is not value]
        # Whatever is written is written with one value: the one that was given, or that of new rights.
        self.put(names, propagate=target[names[0]])

    create = update

    def delete(self) -> None:
        self.put(sorted(self.current("propagate")), delete=True)

    def facts(self) -> Any:
        return (self.raw or {}).get("entries", [])


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Acl)


if __name__ == "__main__":
    main()
