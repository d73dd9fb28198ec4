#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ceph_fs
short_description: Manage a file system of Ceph on Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates and destroys a file system of Ceph (CephFS), with a pool for its data (C(NAME_data)) and one for its
    metadata (C(NAME_metadata)).
  - A new one needs a metadata server that stands by, see M(onprem.cloud.pve_ceph_mds).
notes:
  - Needs the privilege C(Sys.Modify) on C(/), C(Sys.Audit) or C(Datastore.Audit) on C(/) to look, and
    C(Datastore.Allocate) and C(Datastore.Audit) on C(/storage) for O(add_storage) and O(remove_storages).
  - Ceph destroys a file system only when its metadata servers are stopped (M(onprem.cloud.pve_ceph_mds) with
    C(running=false)). As long as one serves it, nothing is removed.
seealso:
  - module: onprem.cloud.pve_ceph_mds
  - module: onprem.cloud.pve_ceph_pool
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
    description: Name of the file system.
    type: str
    default: cephfs
  pg_num:
    description: Number of placement groups that the pool for the data begins with, 128 unless given. The other pool has
      a quarter of them. Afterwards M(onprem.cloud.pve_ceph_pool) changes it.
    type: int
  add_storage:
    description: Whether there is a storage of the name of the file system, for backups, ISO images and templates.
      V(false) leaves one that is there alone. Where there is one, M(onprem.cloud.pve_storage) changes it.
    type: bool
  destroy_data:
    description: Consent to destroy the file system with everything in it. O(state=absent) needs it.
    type: bool
    default: false
  remove_storages:
    description: Whether the storages of the file system are removed from Proxmox VE with it. They must be disabled.
    type: bool
    default: false
  remove_pools:
    description: Whether the pools of the file system are destroyed with it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A file system for backups and ISO images
  onprem.cloud.pve_ceph_fs:
    api_host: 192.0.2.11
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    name: cephfs
    pg_num: 32
    add_storage: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
file_system:
  description: The file system as Ceph has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"name": "cephfs", "metadata_pool": "cephfs_metadata", "data_pool": "cephfs_data"}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.ceph import CONSENT, CephObject
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import BOOL, INT, Boolean, Number, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, argument_spec, run

TABLE = Table(
    noun="file system",
    path="/nodes/{node}/ceph/fs",
    id="name",
    options={
        "pg_num": Option(INT, Number(8, 32768), making=True, key="pg_num"),
        "add_storage": Option(BOOL, Boolean(), False),
    },
    places={**NODE, "destroy_data": CONSENT, "remove_storages": CONSENT, "remove_pools": CONSENT},
)


class FileSystem(CephObject):
    first: str | None = None  # the file system that a storage without the name of one has

    def find(self) -> dict[str, Any] | None:
        systems = self.client.get(self.path)
        self.first = systems[0]["name"] if systems else None
        found = next((item for item in systems if item["name"] == self.name), None)
        if found is not None and self.state == "present" and self.wanted.get("add_storage"):
            found["add-storage"] = bool(self.storages())
        return found

    def storages(self) -> list[dict[str, Any]]:
        """The storages of Proxmox VE that are in the file system, and not in one of that name of another Ceph."""
        stored = [item for item in self.client.get("/storage", type="cephfs") if not item.get("monhost")]
        return [item for item in stored if item.get("fs-name", self.first) == self.name]

    def compare(self) -> None:
        if self.raw is not None and not self.wanted.get("add_storage"):
            self.wanted.pop("add_storage", None)
        super().compare()

    def validate(self) -> None:
        if not re.fullmatch(r"[^:/\s]+", self.name):
            self.problem("is not a name of a file system: leave out blanks, colons and slashes")
        if self.sets.get("add_storage"):
            self.check_storage()
        if self.raw is not None or not self.ready:
            return
        pools = {item["pool_name"] for item in self.client.get(f"/nodes/{self.node}/ceph/pool")}
        for pool in sorted(pools & {f"{self.name}_data", f"{self.name}_metadata"}):
            self.problem(f"there is a pool '{pool}' already, which it would need for itself: choose another name")
        states = [str(item.get("state", "")) for item in self.servers()]
        if "up:standby" not in states:
            why = "all that run serve other file systems" if "up:active" in states else "none runs"
            self.not_there(f"needs a metadata server that stands by, {why}", ": create one with pve_ceph_mds")

    def servers(self) -> list[dict[str, Any]]:
        return self.client.get(f"/nodes/{self.node}/ceph/mds")

    def check_storage(self) -> None:
        """Whether the name is free for a storage."""
        if any(item["storage"] == self.name for item in self.client.get("/storage")):
            self.problem(
                f"add_storage: there is a storage '{self.name}' already, which has something else: choose another "
                "name, or leave add_storage out"
            )

    def plan(self) -> str:
        action = super().plan()
        if action == "delete":
            self.consent("the file system with everything in it")
            self.check_removal()
        return action

    def check_removal(self) -> None:
        """Nobody uses it. Proxmox VE would remove its storages, and find the metadata servers only then."""
        for server in self.servers():
            state = str(server.get("state", ""))
            if server.get("fs_name") == self.name and state.startswith("up:") and not state.startswith("up:standby"):
                name, host = server["name"], server.get("host", self.node)
                self.problem(
                    f"metadata server {name} on node '{host}' serves it: stop all of them (pve_ceph_mds with running "
                    "false and force true) and run again"
                )
        for storage in self.storages() if self.params["remove_storages"] else ():
            if not int(storage.get("disable") or 0):
                self.problem(
                    f"storage '{storage['storage']}' is in use: disable it (pve_storage), unmount it on all nodes "
                    f"('umount /mnt/pve/{storage['storage']}') and run again"
                )
        if self.problems:
            raise PveError("\n".join(self.problems))

    def create(self) -> Any:
        return self.send("post", self.item_path, **self.values(self.sets))

    def update(self) -> Any:
        content = "backup,iso,vztmpl"
        return self.client.post(
            "/storage", **{"storage": self.name, "type": "cephfs", "content": content, "fs-name": self.name}
        )

    def delete(self) -> Any:
        given = {"remove-storages": self.params["remove_storages"], "remove-pools": self.params["remove_pools"]}
        return self.send("delete", self.item_path, **{name: 1 for name, value in given.items() if value})


def main() -> None:
    spec = argument_spec(TABLE)
    spec["name"].update(required=False, default="cephfs")
    run(AnsibleModule(spec, supports_check_mode=True), TABLE, FileSystem)


if __name__ == "__main__":
    main()
