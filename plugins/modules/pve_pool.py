#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_pool
short_description: Manage a resource pool of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a pool, and decides on its members.
  - An option that is given is enforced in full, one that is not given is left alone. With O(vms) or O(storages) the
    pool has these members and no others of that kind; an empty list takes all of them out.
  - Deleting a pool takes its members out, and nothing happens to them besides. A pool that holds other pools is not
    deleted.
notes:
  - Needs the privileges C(Pool.Allocate) and C(Pool.Audit) on C(/pool/NAME), C(VM.Audit) and C(VM.Allocate) (or
    C(Permissions.Modify)) on the guests and C(Datastore.Audit) and C(Datastore.Allocate) on the storages that come and
    go, and C(Pool.Allocate) on the pools that guests are taken from.
seealso:
  - module: onprem.cloud.pve_backup_job
  - module: onprem.cloud.pve_acl
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  poolid:
    description: Name of the pool. One in another pool is named with the other's name and a slash, V(prod/web).
    type: str
    required: true
  comment:
    description: What the pool is for. An empty text removes it.
    type: str
  vms:
    description: IDs of the guests in the pool, virtual machines and containers alike. A guest is in one pool at most.
    type: list
    elements: str
  storages:
    description: Names of the storages in the pool.
    type: list
    elements: str
  allow_move:
    description: Whether guests may be taken out of another pool.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A pool for what is in production
  onprem.cloud.pve_pool:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    poolid: prod
    comment: Production
    storages: [local]

- name: A pool within it
  onprem.cloud.pve_pool:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    poolid: prod/web
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
pool:
  description: The pool afterwards.
  type: dict
  returned: success
  sample: {"poolid": "prod", "comment": "Production", "vms": ["100", "101"], "storages": ["local"]}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import LIST, STR, Option, Text, Words
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

GUESTS = Words(",", unordered=True, word=r"[1-9]\d{2,8}", hint="the ID of a guest")
TABLE = Table(
    noun="pool",
    path="/pools",
    id="poolid",
    options={
        "comment": Option(STR, Text(), ""),
        "vms": Option(LIST, GUESTS, key="members"),
        "storages": Option(LIST, Words(",", unordered=True), key="members"),
    },
    places={"allow_move": {"type": "bool", "default": False}},
    deletes=False,
)
# What the members of each option are called: their key in the answer, and the parameter of a change.
MEMBERS = {"vms": ("vmid", "vms"), "storages": ("storage", "storage")}


class Pool(Resource):
    def fetch(self) -> dict[str, Any] | None:
        try:
            return self.client.get(self.path, poolid=self.name)[0]
        except PveError as error:
            if f"pool '{self.name}' does not exist" in error.text:
                return None
            raise

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        if option not in MEMBERS:
            return super().current(option, answer)
        key = MEMBERS[option][0]
        members = (answer or self.raw or {}).get("members", [])
        return sorted({str(member[key]) for member in members if key in member}) or None

    def change(self, option: str) -> tuple[set[str], set[str]]:
        """The members that come, and those that go."""
        now = set(self.current(option) or ()) if self.raw is not None else set()
        wanted = set(self.sets[option]) if option in self.sets else set() if option in self.deletes else now
        return wanted - now, now - wanted

    def plan(self) -> str:
        action = super().plan()
        if action == "delete":
            inner = [
                pool["poolid"] for pool in self.client.get(self.path) if pool["poolid"].startswith(f"{self.name}/")
            ]
            if inner:
                raise PveError(f"{self} holds the pool '{inner[0]}': remove that first.")
        return action

    def validate(self) -> None:
        guests, storages = self.change("vms")[0], self.change("storages")[0]
        if guests:
            known = {str(guest["vmid"]): guest for guest in self.client.get("/cluster/resources", type="vm")}
            self.check_known("guest", guests - known.keys(), "VM.Audit")
            for vmid in sorted(guests & known.keys()):
                other = known[vmid].get("pool")
                if other and other != self.name and not self.params["allow_move"]:
                    self.problem(f"guest {vmid} is in the pool '{other}', set allow_move to true to take it from there")
        if storages:
            known = {storage["storage"] for storage in self.client.get("/storage")}
            self.check_known("storage", storages - known, "Datastore.Audit")

    def check_known(self, what: str, missing: set[str], privilege: str) -> None:
        """Proxmox VE accepts a member that does not exist, and does not show it."""
        for name in sorted(missing):
            text = f"{what} '{name}' does not exist, or the privilege {privilege} to see it is missing"
            self.not_there(text, ", create it first or leave it out")

    def create(self) -> None:
        self.client.post(self.path, poolid=self.name, **self.values(self.comment()))
        self.write({})

    def update(self) -> None:
        self.write(self.values(self.comment()))

    def comment(self) -> dict[str, Any]:
        return {"comment": self.sets.get("comment", "")} if "comment" in (*self.sets, *self.deletes) else {}

    def write(self, values: dict[str, Any]) -> None:
        changes = {MEMBERS[option][1]: self.change(option) for option in MEMBERS}
        comes = {key: ",".join(sorted(names)) for key, (names, _gone) in changes.items() if names}
        goes = {key: ",".join(sorted(names)) for key, (_come, names) in changes.items() if names}
        if comes.get("vms") and self.params["allow_move"]:
            values = {**values, "allow-move": 1}
        if goes:
            self.client.put(self.path, poolid=self.name, delete=1, **goes)
        if comes or values:
            self.client.put(self.path, poolid=self.name, **comes, **values)

    def delete(self) -> None:
        self.deletes = list(MEMBERS)
        self.write({})
        self.client.delete(self.path, poolid=self.name)

    def facts(self) -> dict[str, Any]:
        if self.raw is None:
            return {}
        members = {option: self.current(option) or [] for option in MEMBERS}
        return {"poolid": self.name, "comment": self.current("comment"), **members}


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Pool)


if __name__ == "__main__":
    main()
