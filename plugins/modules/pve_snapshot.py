#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_snapshot
short_description: Manage the snapshots of a guest of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Makes, describes and removes a snapshot of a virtual machine or a container, and rolls a guest back to one.
  - A snapshot that is there is kept as it is, but for its description. It is not made anew.
  - With O(retention), snapshots that have become too many are removed.
notes:
  - A guest that is locked, by a backup for example, is waited for.
  - Needs the privileges C(VM.Audit) and C(VM.Snapshot) on the guest. C(VM.Snapshot.Rollback) is enough to roll back,
    O(start) needs C(VM.PowerMgmt) besides.
seealso:
  - module: onprem.cloud.pve_backup
  - module: onprem.cloud.pve_fleet
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  vmid:
    description: ID of the guest, a virtual machine or a container. It is looked for in the cluster.
    type: int
    required: true
  snapname:
    description: Name of the snapshot, 2 to 40 letters, digits, C(-) and C(_) that begin with a letter.
    type: str
    required: true
  state:
    description:
      - Whether the snapshot is there.
      - V(rollback) returns the guest to the snapshot, at each run. What was written since is lost. A running guest is
        stopped.
    type: str
    choices: [present, absent, rollback]
    default: present
  description:
    description: What the snapshot is for. An empty text removes it.
    type: str
  vmstate:
    description:
      - Whether a new snapshot of a running virtual machine holds its memory too. A rollback to it goes on running.
    type: bool
    default: false
  start:
    description: Start the guest after O(state=rollback).
    type: bool
    default: false
  retention:
    description:
      - How many of the guest's snapshots whose names begin with O(prefix) are kept with O(state=present), this one
        included. The oldest are removed. Other snapshots are not touched.
    type: int
  prefix:
    description: How the names of the snapshots that O(retention) counts begin. O(snapname) must begin so too.
    type: str
  force:
    description: With O(state=absent), forget the snapshot even if its storage fails to remove it.
    type: bool
    default: false
  task_timeout:
    description: Seconds to wait for a task or for a lock of Proxmox VE.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Have a snapshot of today, and keep seven of them
  onprem.cloud.pve_snapshot:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vmid: 100
    snapname: daily-{{ now(fmt='%Y%m%d') }}
    prefix: daily-
    retention: 7

- name: A snapshot before the upgrade, with the memory of the running machine
  onprem.cloud.pve_snapshot:
    vmid: 300
    snapname: before-upgrade
    description: Before the upgrade to 14
    vmstate: true

- name: Return to it
  onprem.cloud.pve_snapshot:
    vmid: 300
    snapname: before-upgrade
    state: rollback

- name: Remove it
  onprem.cloud.pve_snapshot:
    vmid: 300
    snapname: before-upgrade
    state: absent
"""

RETURN = r"""
action:
  description:
    - What was done first, V(create), V(update), V(delete), V(rollback), V(prune) or V(none). In check mode, what would
      be done.
  type: str
  returned: success
  sample: create
snapshot:
  description: The snapshot as Proxmox VE has it afterwards.
  type: dict
  returned: success
  sample: {"name": "daily-20261122", "snaptime": 1795357996, "description": "", "parent": "daily-20261121"}
removed:
  description: The snapshots that O(retention) removed, the oldest first. In check mode, those that it would remove.
  type: list
  elements: str
  returned: success
  sample: ["daily-20261115"]
node:
  description: The node that the guest is on; in check mode, empty if the guest does not exist yet.
  type: str
  returned: success
  sample: pve1
"""

import re
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.lxc import Kind
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import BOOL, STR, Note, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu import KINDS
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,39}")
RESERVED = {"lxc": ("current", "vzdump"), "qemu": ("current", "pending")}
VOLUMES = r"(rootfs|mp|ide|sata|scsi|virtio|efidisk|tpmstate)\d*"
FLAG = {**BOOL, "default": False}
TABLE = Table(
    noun="snapshot",
    path="/nodes/{node}/{type}/{vmid}/snapshot",
    id="snapname",
    options={"description": Option(STR, Note(), "")},
    places={
        "vmid": {"type": "int", "required": True},
        "vmstate": FLAG,
        "start": FLAG,
        "force": FLAG,
        "retention": {"type": "int"},
        "prefix": {**STR, "no_log": False},
    },
)


class Snapshot(Resource):
    """One snapshot, and with a retention those that are like it."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.guest: dict[str, Any] = {}
        self.entries: list[dict[str, Any]] = []
        self.here: dict[str, Any] = {}  # where the guest is among its snapshots
        self.rolled = False
        self.removed: list[str] | None = None  # what is too many, once that is known

    def __str__(self) -> str:
        return f"snapshot '{self.name}' of guest {self.params['vmid']}"

    @property
    def kinds(self) -> Kind:
        return KINDS[self.guest["type"]]

    @property
    def owner(self) -> str:
        return f"{self.kinds.noun} '{self.guest.get('name', '')}'"

    @property
    def owner_path(self) -> str:
        return self.path.rpartition("/")[0]

    # ------------------------------------------------------------------------------------------------- reading

    def fetch(self) -> dict[str, Any] | None:
        if not self.guest:
            guests = self.client.get("/cluster/resources", type="vm")
            self.guest = next((guest for guest in guests if guest["vmid"] == self.params["vmid"]), {})
            if not self.guest:
                return None
            self.path = self.path.format(**self.guest)
        found = self.read()
        if found and found.get("snapstate") and not self.module.check_mode:
            # An earlier run may have been interrupted while its task went on.
            self.tasks.settle(self.guest["node"], str(self), vmid=self.guest["vmid"])
            found = self.read()
        return found

    def read(self) -> dict[str, Any] | None:
        entries = self.client.get(self.path)
        parents = {entry["name"]: entry.get("parent") for entry in entries}

        def age(entry: dict[str, Any]) -> tuple[int, int]:
            """Those of the same second are parent and child; the listing has no order."""
            depth, name = 0, entry["name"]
            while name and depth <= len(parents):
                depth, name = depth + 1, parents.get(name)
            return entry.get("snaptime") or 0, depth

        self.here = next((entry for entry in entries if entry["name"] == "current"), {})
        self.entries = sorted((entry for entry in entries if entry["name"] != "current"), key=age)
        return next((entry for entry in self.entries if entry["name"] == self.name), None)

    @property
    def alike(self) -> list[str]:
        """The snapshots that retention counts, the oldest first."""
        prefix = self.params["prefix"] or ""
        return [entry["name"] for entry in self.entries if entry["name"].startswith(prefix)]

    @property
    def surplus(self) -> list[str]:
        """Those that are too many once this one is there."""
        if self.state != "present" or self.params["retention"] is None:
            return []
        others = [name for name in self.alike if name != self.name]
        return others[: max(0, len(others) + 1 - self.params["retention"])]

    # ------------------------------------------------------------------------------------------------ planning

    def parse(self) -> None:
        super().parse()
        retention, prefix = self.params["retention"], self.params["prefix"]
        if not NAME.fullmatch(self.name):
            self.problem(
                f"'{self.name}' is not a name of a snapshot, write 2 to 40 letters, digits, - and _ that begin with a "
                "letter"
            )
        elif prefix is not None and not self.name.startswith(prefix):
            self.problem(
                f"its name does not begin with '{prefix}', so retention would not count it: change one of them"
            )
        if retention is not None and retention < 1:
            self.problem(f"retention is {retention} and counts this snapshot too, write at least 1 or leave it out")

    def plan(self) -> str:
        if self.state == "rollback":
            action = "" if self.rolled else "rollback"
            if action and self.guest and self.raw is None:
                known = ", ".join(entry["name"] for entry in self.entries)
                remedy = f", choose one of {known}" if known else ", and the guest has no other"
                self.not_there("it does not exist", remedy)
        else:
            action = super().plan()
            if self.removed is None:
                self.removed = self.surplus
            if not action and self.surplus:
                action = "prune"
        if self.guest:
            self.check(action)
        elif action:
            self.not_there("there is no such guest, or the privilege VM.Audit to see it is missing, check vmid")
        if self.problems:
            raise PveError("\n".join(dict.fromkeys(self.problems)))
        return action

    def check(self, action: str) -> None:
        """What Proxmox VE would say once its task has begun."""
        if self.name.lower() in RESERVED[self.guest["type"]]:
            self.problem(f"its name is reserved for a {self.kinds.noun}, choose another one")
        if self.params["vmstate"] and self.guest["type"] == "lxc":
            self.problem("vmstate is for virtual machines, and the guest is a container: leave it out")
        if not action:
            return
        if self.guest.get("template"):
            self.problem(f"{self.owner} is a template, whose snapshots cannot change: clone it, and take the clone")
        incomplete = (self.raw or {}).get("snapstate")
        if incomplete and action != "delete":
            self.problem(
                f"it is incomplete (state '{incomplete}'), remove it first (state absent, with force if need be)"
            )
        if action == "create" and not self.problems:
            self.check_storages()
        if not self.problems:
            self.check_lock()

    def check_storages(self) -> None:
        if self.client.get(f"{self.owner_path}/feature", feature="snapshot").get("hasFeature"):
            return
        config = self.client.get(f"{self.owner_path}/config")
        volumes = {
            key: value for key, value in config.items() if re.fullmatch(VOLUMES, key) and "media=cdrom" not in value
        }
        foreign = [f"{key} ({value.partition(',')[0]})" for key, value in sorted(volumes.items()) if value[0] == "/"]
        if foreign:
            self.problem(f"{self.owner} can have no snapshots while it has {', '.join(foreign)}, detach that first")
            return
        storages = ", ".join(sorted({value.partition(":")[0] for value in volumes.values()}))
        self.problem(
            f"{self.owner} can have no snapshots, because not all of its volumes are on a storage that has them: move "
            f"those of {storages} to one that does, such as ZFS, LVM-thin, BTRFS or Ceph (or, for a virtual machine, "
            "to the format qcow2)"
        )

    def check_lock(self) -> None:
        """A real run waits for whoever holds the guest."""
        lock = self.tasks.freed(self.owner_path, self.guest.get("lock"), patient=not self.module.check_mode)
        self.guest["lock"] = lock
        if lock:
            unlock = f"{self.kinds.tool} unlock {self.params['vmid']}"
            remedy = f", let its task end, or run '{unlock}' on node '{self.guest['node']}' if there is none"
            self.not_there(f"{self.owner} is locked ({lock})", remedy)

    # -------------------------------------------------------------------------------------------------- result

    def shown(self, names: list[str]) -> dict[str, Any]:
        if self.state == "rollback":
            status = "running" if self.here.get("running") else "stopped"
            return {"parent": self.here.get("parent"), "status": status} if self.guest else {}
        return {**super().shown(names), **({"snapshots": self.alike} if self.removed else {})}

    def predicted(self, action: str, before: dict[str, Any]) -> dict[str, Any]:
        if self.state == "rollback":
            running = self.params["start"] or (self.raw or {}).get("vmstate")
            return {"parent": self.name, "status": "running" if running else "stopped"}
        after = super().predicted(action, before)
        if self.removed:
            new = [self.name] if self.raw is None else []
            after["snapshots"] = [*(name for name in self.alike if name not in self.removed), *new]
        return after

    def run(self) -> dict[str, Any]:
        return {**super().run(), "removed": self.removed or [], "node": self.guest.get("node", "")}

    # ------------------------------------------------------------------------------------------------- writing

    def once(self, write: Callable[[], Any], verb: str) -> None:
        kind = {"lxc": "vz", "qemu": "qm"}[self.guest["type"]] + verb
        where = {"node": self.guest["node"], "vmid": self.guest["vmid"], "kind": kind}
        self.tasks.once(write, f"{self}: {verb}", **where)

    def create(self) -> None:
        values = {"snapname": self.name, **self.values(self.sets), **({"vmstate": 1} if self.params["vmstate"] else {})}
        self.once(lambda: self.client.post(self.path, **values), "snapshot")

    def update(self) -> Any:
        return self.client.put(f"{self.item_path}/config", description=self.sets.get("description", ""))

    def delete(self) -> None:
        force = {"force": 1} if self.params["force"] else {}
        self.once(lambda: self.client.delete(self.item_path, **force), "delsnapshot")

    def prune(self) -> None:
        for name in self.surplus:
            self.once(lambda name=name: self.client.delete(f"{self.path}/{name}"), "delsnapshot")

    def rollback(self) -> None:
        start = {"start": 1} if self.params["start"] else {}
        self.once(lambda: self.client.post(f"{self.item_path}/rollback", **start), "rollback")
        self.rolled = True


def main() -> None:
    spec = argument_spec(TABLE)
    spec["state"]["choices"] = ["present", "absent", "rollback"]
    needed = [("retention", "prefix")]
    run(AnsibleModule(spec, supports_check_mode=True, required_together=needed), TABLE, Snapshot)


if __name__ == "__main__":
    main()
