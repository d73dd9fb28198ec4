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
  - Creates, changes and destroys a pool of Ceph.
  - An option that is given is enforced, one that is not given is left alone.
notes:
  - Needs the privilege C(Sys.Modify) on C(/), C(Sys.Audit) or C(Datastore.Audit) on C(/) to look, and
    C(Datastore.Allocate) and C(Datastore.Audit) on C(/storage) for O(add_storages) and O(remove_storages).
  - Ceph moves to a new number of placement groups little by little. The number that it was told counts.
  - With O(pg_autoscale_mode=on), Ceph chooses the number of placement groups itself. O(pg_num) is then only what a new
    pool begins with.
  - An erasure coded pool (O(erasure_coding)) is two for Ceph, NAME-data and NAME-metadata. This module creates, changes
    and destroys both as one, by O(name), unless there is a pool with just that name. O(pg_num) is that of NAME-data,
    and O(size), O(min_size) and O(crush_rule) are those of NAME-metadata, which is replicated.
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
      there alone. Where there is one, M(onprem.cloud.pve_storage) changes it. A new erasure coded pool has one unless
      this is V(false).
    type: bool
  erasure_coding:
    description:
      - Makes the new pool an erasure coded one, as a dict or as C(k=4,m=2). Every object is cut into C(k) chunks, to
        which C(m) coding chunks are added. As many may be lost as there are coding chunks.
      - The keys are C(k), at least 2, C(m), at least 1, C(failure-domain), the kind of place that has one chunk at most
        (V(host) unless given, or for example V(osd)), C(device-class), such as V(ssd), and C(profile), an erasure code
        profile of Ceph that is there. With it, give the numbers that it has.
      - It never changes. Proxmox VE tells of an existing pool how many chunks there are together, where they are and
        on what class of disks, and these are compared.
    type: raw
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
  remove_ecprofile:
    description: Whether the erasure code profile of an erasure coded pool goes with it. Say V(false) for one that was
      not made with the pool.
    type: bool
    default: true
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

- name: An erasure coded pool for large disks, with a storage, across six hosts
  onprem.cloud.pve_ceph_pool:
    api_host: 192.0.2.11
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    name: archive
    erasure_coding:
      k: 4
      m: 2
      device-class: hdd
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
pool:
  description: The pool as Ceph has it afterwards. Empty if it is not there. Of an erasure coded pool, the one with the
    data, which has the other one in C(metadata).
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
    RAW,
    STR,
    Boolean,
    Number,
    Option,
    PropertyString,
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


CODE = PropertyString(
    {
        "k": Number(2),
        "m": Number(1),
        "failure-domain": Text(),
        "device-class": Text(),
        "profile": Text(),
    },
    defaults={"failure-domain": "host"},
    required=("k", "m"),
)
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
        "erasure_coding": Option(RAW, CODE, fixed=True),
    },
    places={
        **NODE,
        "force": CONSENT,
        "destroy_data": CONSENT,
        "remove_storages": CONSENT,
        "remove_ecprofile": {**BOOL, "default": True},
    },
)
# Of the two pools that an erasure coded one is, which of them an option is for; all others are for both.
ONLY = {"pg_num": "data", "size": "metadata", "min_size": "metadata", "crush_rule": "metadata"}
NOBODYS = ("add_storages", "erasure_coding")


class Pool(CephObject):
    result_name = "pool"
    told: int | None = None  # the number of placement groups that Ceph was told in this run
    coded = False  # the pool is two for Ceph
    crush = ""  # the map that says where chunks are
    names: tuple[str, ...] = ()  # of all pools that there are

    # ------------------------------------------------------------------------------------------------- reading

    def find(self) -> dict[str, Any] | None:
        pools = {item["pool_name"]: item for item in self.client.get(self.path)}
        self.names = tuple(pools)
        found = pools.get(self.name)
        pair = {part: pools[f"{self.name}-{part}"] for part in ("data", "metadata") if f"{self.name}-{part}" in pools}
        if found is None and (self.coded or (len(pair) == 2 and pair["data"].get("type") == "erasure")):
            self.coded = True
            found = {**pair.get("data", {}), "metadata": pair.get("metadata")} if pair else None
        if found is not None and self.state == "present":
            if self.wanted.get("add_storages"):
                found["add_storages"] = bool(self.storages())
            if self.wanted.get("erasure_coding") and found.get("type") == "erasure":
                self.crush = self.client.get(f"/nodes/{self.node}/ceph/crush") or ""
        return found

    def storages(self) -> list[str]:
        """The storages of Proxmox VE that are in the pool, and not in one of that name of another Ceph."""
        places = {(f"{self.name}-metadata", f"{self.name}-data")} if self.coded else {(self.name, None)}
        return [
            item["storage"]
            for item in self.client.get("/storage", type="rbd")
            if (item.get("pool", "rbd"), item.get("data-pool")) in places and not item.get("monhost")
        ]

    def parts(self, raw: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The pools that Ceph has for it, by name."""
        if not self.coded:
            return {self.name: raw}
        found = {"data": raw if "pool_name" in raw else None, "metadata": raw["metadata"]}
        return {f"{self.name}-{part}": pool for part, pool in found.items() if pool}

    def concerns(self, option: str, pool: str) -> bool:
        """Whether the option is one of that pool."""
        part = ONLY.get(option)
        return option not in NOBODYS and (not self.coded or part is None or pool == f"{self.name}-{part}")

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        raw = answer or self.raw or {}
        if not raw:
            return super().current(option, answer)
        if option == "add_storages":
            return raw.get("add_storages", self.wanted.get(option))
        if option == "erasure_coding":
            return self.code(raw)
        values = [self.value(option, pool) for name, pool in self.parts(raw).items() if self.concerns(option, name)]
        wanted = self.wanted.get(option)
        target = self.table.options[option].default if wanted is None else wanted
        return next((value for value in values if value != target), values[0])

    def value(self, option: str, pool: dict[str, Any]) -> Any:
        """What one pool has."""
        if option == "crush_rule":
            return pool.get("crush_rule_name")
        if option == "application":
            used = sorted(pool.get("application_metadata") or {})
            return self.wanted.get(option) if self.wanted.get(option) in used else ",".join(used) or None
        if option == "pg_num":
            # What Ceph was told counts. It gets there in steps, and says so a moment later.
            return self.told or (pool.get("autoscale_status") or {}).get("pg_num_target") or pool["pg_num"]
        return super().current(option, pool)

    def code(self, raw: dict[str, Any]) -> Any:
        """How the pool is coded: as it is wanted, or what is known of it in words."""
        wanted = self.wanted.get("erasure_coding")
        if raw.get("type") != "erasure":
            return None
        if not wanted:
            return wanted
        rule = re.search(rf"^rule {re.escape(str(raw.get('crush_rule_name')))} {{(.*?)^}}", self.crush, re.M | re.S)
        steps = rule[1] if rule else ""
        place = re.search(r"step choose(?:leaf)? indep \S+ type (\S+)", steps)
        disks = re.search(r"step take \S+ class (\S+)", steps)
        domain, kind = place[1] if place else "host", disks[1] if disks else None
        same = wanted["k"] + wanted["m"] == int(raw["size"])
        if same and place and "profile" not in wanted:
            same = (wanted.get("failure-domain", "host"), wanted.get("device-class")) == (domain, kind)
        known = {"k+m": raw["size"], "failure-domain": domain if place else None, "device-class": kind}
        return wanted if same else ",".join(f"{key}={value}" for key, value in known.items() if value)

    # ------------------------------------------------------------------------------------------------ planning

    def is_fixed(self, option: str) -> bool:
        return super().is_fixed(option) or (option == "application" and self.current(option) is not None)

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
        if (self.raw or {}).get("type") == "erasure" and not self.coded:
            for name in {"size", "crush_rule"} & self.sets.keys():
                self.problem(f"{name} of an erasure coded pool cannot be changed, leave it out")
        if self.raw is not None and "autoscale_status" not in self.raw:
            for name in sorted({"pg_num_min", "target_size", "target_size_ratio"} & self.wanted.keys()):
                self.problem(
                    f"Ceph does not tell {name} without a manager: bring one back, or create one (pve_ceph_mgr)"
                )
        self.check_code()
        self.check_storage()
        if self.sets.get("crush_rule") and self.ready:
            # With a rule that does not exist, the pool would be there half made.
            rules = sorted(item["name"] for item in self.client.get(f"/nodes/{self.node}/ceph/rules"))
            if self.sets["crush_rule"] not in rules:
                self.problem(f"crush_rule '{self.sets['crush_rule']}' does not exist, Ceph has {', '.join(rules)}")

    def check_code(self) -> None:
        """A profile says all itself, and no pool that is there becomes a part of this one."""
        code = self.sets.get("erasure_coding")
        if not code:
            return
        for key in ("failure-domain", "device-class"):
            if "profile" in code and key in code:
                self.problem(f"erasure_coding: {key} does not go together with profile, which says it, leave one out")
        self.warn_of_places(code)
        for name in (f"{self.name}-data", f"{self.name}-metadata"):
            if name in self.names:
                self.problem(
                    f"erasure_coding: there is a pool '{name}' already, which it would take: choose another name"
                )

    def warn_of_places(self, code: dict[str, Any]) -> None:
        """Nothing can be written to a pool until there is a place for each chunk, and Ceph makes it nevertheless."""
        domain, kind = code.get("failure-domain", "host"), code.get("device-class")
        if "profile" in code or domain not in ("host", "osd") or not self.ready:
            return
        osds = [osd for osd in self.osds().values() if kind in (None, osd.get("device_class"))]
        places = {osd["host"] if domain == "host" else osd["id"] for osd in osds}
        if len(places) < code["k"] + code["m"]:
            what = {"host": "hosts with OSDs", "osd": "OSDs"}[domain] + (f" of class {kind}" if kind else "")
            self.module.warn(
                f"{self}: erasure_coding wants {code['k'] + code['m']} {what} and Ceph has {len(places)}: until there "
                "are more, chunks have no place: give smaller numbers, or another failure-domain."
            )

    def check_storage(self) -> None:
        """Whether a storage that is to be added can be. Proxmox VE finds out when the pool is there."""
        adds = self.sets.get("add_storages", self.raw is None and "erasure_coding" in self.sets)
        if not adds or self.wanted.get("add_storages") is False:
            return
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]", self.name):
            self.problem(
                "add_storages: a storage of that name cannot be, choose one of letters, digits, dots, dashes and "
                "underscores that begins with a letter, or set add_storages to false"
            )
        if any(item["storage"] == self.name for item in self.client.get("/storage")):
            self.problem(
                f"add_storages: there is a storage '{self.name}' already, which is not in this pool: choose another "
                "name, or set add_storages to false"
            )

    def plan(self) -> str:
        action = super().plan()
        if action == "delete":
            pools = " and ".join(f"'{name}'" for name in self.parts(self.raw))
            self.consent(
                f"the pools {pools} with everything in them" if self.coded else "the pool with everything in it"
            )
        return action

    # ------------------------------------------------------------------------------------------------- writing

    def create(self) -> Any:
        return self.send("post", self.path, name=self.name, **self.values(self.sets))

    def update(self) -> None:
        if self.sets.pop("add_storages", False):
            place = {"pool": f"{self.name}-metadata", "data-pool": f"{self.name}-data"}
            place = place if self.coded else {"pool": self.name}
            values = {"storage": self.name, "type": "rbd", **place, "krbd": 0, "content": "rootdir,images"}
            self.client.post("/storage", **values)
        for name, pool in self.parts(self.raw).items():
            gone = {option: self.table.options[option].default for option in self.deletes}
            new = {
                option: value
                for option, value in {**self.sets, **gone}.items()
                if self.concerns(option, name) and self.value(option, pool) != value
            }
            if new:
                self.told = new.get("pg_num", self.told)
                path = f"{self.path}/{name}"
                self.tasks.wait(self.send("put", path, **self.values(new)), f"{self}: update")

    def delete(self) -> None:
        given = {"remove_storages": 1} if self.params["remove_storages"] else {}
        if not self.params["remove_ecprofile"]:
            given["remove_ecprofile"] = 0
        pools = list(self.parts(self.raw))
        for name in pools:
            # The storage shows the disks that are in them, until the last one goes.
            last = given if name == pools[-1] else {key: given[key] for key in given if key != "remove_storages"}
            self.tasks.wait(self.send("delete", f"{self.path}/{name}", **last), f"{self}: delete '{name}'")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Pool)


if __name__ == "__main__":
    main()
