#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ceph_pool
short_description: Manage a pool of Ceph on Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and destroys a replicated pool of Ceph.
  - An option that is given is enforced, one that is not given is left alone.
notes:
  - Needs the privilege C(Sys.Modify) on C(/), C(Sys.Audit) or C(Datastore.Audit) on C(/) to look, and
    C(Datastore.Allocate) and C(Datastore.Audit) on C(/storage) for O(add_storages) and O(remove_storages).
  - Ceph moves to a new number of placement groups little by little. The number that it was told counts.
  - With O(pg_autoscale_mode=on), Ceph chooses the number of placement groups itself. O(pg_num) is then only what a new
    pool begins with.
  - A pool of a file system is made with M(onprem.cloud.pve_ceph_fs), and can be changed with this module.
seealso:
  - module: onprem.cloud.pve_ceph_fs
  - module: onprem.cloud.pve_storage
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  node:
    description: The node that is asked. Any that Ceph is installed on.
    type: str
    required: true
  name:
    description: Name of the pool.
    type: str
    required: true
  size:
    description: Copies of every object. A new pool has 3 unless given.
    type: int
  min_size:
    description: Copies that must be there for an object to be written. A new pool has 2 unless given.
    type: int
  pg_num:
    description: Number of placement groups, a power of two. A new pool has 128 unless given.
    type: int
  pg_num_min:
    description: The least number of placement groups that Ceph chooses. 0 for no limit.
    type: int
  pg_autoscale_mode:
    description: Whether Ceph chooses the number of placement groups (V(on)), warns of a bad one (V(warn), for a new
      pool unless given), or does neither.
    type: str
    choices: ["on", "off", "warn"]
  application:
    description: What the pool is for, V(rbd) for a new one unless given. It never changes once it is set.
    type: str
    choices: [rbd, cephfs, rgw]
  crush_rule:
    description: Name of the rule that says on which disks the copies are.
    type: str
  target_size:
    description: How much is going to be in the pool, such as V(500G). A number without a unit is bytes, V(0) no guess.
      It helps Ceph to choose the number of placement groups.
    type: str
  target_size_ratio:
    description: Which part of the pools is going to be in this one, in relation to the ratios of the other pools. 0 for
      no guess.
    type: float
  add_storages:
    description: Whether there is a storage of the name of the pool for disks of guests. V(false) leaves one that is
      there alone. Where there is one, M(onprem.cloud.pve_storage) changes it.
    type: bool
  force:
    description: Whether O(size) and O(min_size) may be 1, where one broken disk is lost data.
    type: bool
    default: false
  destroy_data:
    description: Consent to destroy the pool with everything in it. O(state=absent) needs it. Proxmox VE still refuses
      if a storage has disks in the pool.
    type: bool
    default: false
  remove_storages:
    description: Whether the storages of the pool are removed from Proxmox VE with it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A pool for the disks of guests, as a storage of Proxmox VE
  onprem.cloud.pve_ceph_pool:
    api_host: 192.0.2.11
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    name: guests
    pg_autoscale_mode: "on"
    target_size_ratio: 1
    add_storages: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
pool:
  description: The pool as Ceph has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"pool_name": "guests", "size": 3, "min_size": 2, "pg_num": 128, "type": "replicated"}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.ceph import CONSENT, CephObject
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    FLOAT,
    INT,
    STR,
    Boolean,
    Number,
    Option,
    Size,
    Text,
    choice,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, argument_spec, run


class Bytes(Size):
    """A size whose number without a unit is bytes."""

    def parse(self, value: Any) -> int:
        text = str(value).strip()
        return int(text) if text.isdigit() else super().parse(text)

    def format(self, value: int) -> str:
        return super().format(value) if value and value % 1024 == 0 else str(value)


TABLE = Table(
    noun="Ceph pool",
    path="/nodes/{node}/ceph/pool",
    id="name",
    key="pool_name",
    instead="leave {} out, or give another pool its own name",
    options={
        "size": Option(INT, Number(1, 7), 3, key="size"),
        "min_size": Option(INT, Number(1, 7), 2, key="min_size"),
        "pg_num": Option(INT, Number(1, 32768), 128, key="pg_num"),
        "pg_num_min": Option(INT, Number(0, 32768), 0, key="pg_num_min"),
        "pg_autoscale_mode": choice("on", "off", "warn", default="warn", key="pg_autoscale_mode"),
        "application": choice("rbd", "cephfs", "rgw", default="rbd", key="application"),
        "crush_rule": Option(STR, Text(), key="crush_rule"),
        "target_size": Option(STR, Bytes(), 0, key="target_size"),
        "target_size_ratio": Option(FLOAT, Number(integer=False), 0, key="target_size_ratio"),
        "add_storages": Option(BOOL, Boolean(), False, key="add_storages"),
    },
    places={**NODE, "force": CONSENT, "destroy_data": CONSENT, "remove_storages": CONSENT},
)


class Pool(CephObject):
    result_name = "pool"
    told: int | None = None  # the number of placement groups that Ceph was told in this run

    def find(self) -> dict[str, Any] | None:
        found = super().find()
        if found is not None and self.wanted.get("add_storages"):
            found = {**found, "add_storages": bool(self.storages())}
        return found

    def storages(self) -> list[str]:
        """The storages of Proxmox VE that are in the pool."""
        return [
            item["storage"]
            for item in self.client.get("/storage", type="rbd")
            if self.name in (item.get("pool", "rbd"), item.get("data-pool"))
        ]

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        raw = answer or self.raw or {}
        if raw and option == "crush_rule":
            return raw.get("crush_rule_name")
        if raw and option == "application":
            used = sorted(raw.get("application_metadata") or {})
            return self.wanted.get(option) if self.wanted.get(option) in used else ",".join(used) or None
        if raw and option == "pg_num":
            # What Ceph was told counts. It gets there in steps, and says so a moment later.
            return self.told or (raw.get("autoscale_status") or {}).get("pg_num_target") or raw["pg_num"]
        if raw and option == "add_storages":
            return raw.get("add_storages", self.wanted.get(option))
        return super().current(option, answer)

    def is_fixed(self, option: str) -> bool:
        return option == "application" and self.current(option) is not None

    def compare(self) -> None:
        if self.raw is not None:
            if self.wanted.get("add_storages") is False:
                del self.wanted["add_storages"]
            if "size" in self.wanted:
                # Ceph chooses another one with every size.
                self.wanted.setdefault("min_size", self.current("min_size"))
        super().compare()
        if self.raw is not None and self.after("pg_autoscale_mode") == "on":
            self.sets.pop("pg_num", None)

    def validate(self) -> None:
        if not re.fullmatch(r"[^:/\s]+", self.name):
            self.problem("is not a name of a pool: leave out blanks, colons and slashes")
        self.check_sizes()
        if "crush_rule" in self.deletes:
            self.problem("crush_rule is empty, give it a value or leave it out")
        if (self.raw or {}).get("type") == "erasure":
            for name in {"size", "crush_rule"} & self.sets.keys():
                self.problem(f"{name} of an erasure coded pool cannot be changed, leave it out")
        if self.sets.get("crush_rule") and self.ready:
            # With a rule that does not exist, the pool would be there half made.
            rules = sorted(item["name"] for item in self.client.get(f"/nodes/{self.node}/ceph/rules"))
            if self.sets["crush_rule"] not in rules:
                self.problem(f"crush_rule '{self.sets['crush_rule']}' does not exist, Ceph has {', '.join(rules)}")

    def plan(self) -> str:
        action = super().plan()
        if action == "delete":
            self.consent("the pool with everything in it")
        return action

    def create(self) -> Any:
        return self.send("post", self.path, name=self.name, **self.values(self.sets))

    def update(self) -> Any:
        if self.sets.pop("add_storages", False):
            self.client.post(
                "/storage", storage=self.name, type="rbd", pool=self.name, krbd=0, content="rootdir,images"
            )
        if not self.sets and not self.deletes:
            return None
        self.told = self.sets.get("pg_num")
        return super().update()

    def delete(self) -> Any:
        storages = {"remove_storages": 1} if self.params["remove_storages"] else {}
        return self.send("delete", self.item_path, **storages)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Pool)


if __name__ == "__main__":
    main()
