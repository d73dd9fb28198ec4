#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_restore
short_description: Restore a guest of Proxmox VE from a backup
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Makes a virtual machine or a container from an archive, and waits for it.
  - A guest that is there is left as it is, whatever the archive holds, unless O(force=true).
notes:
  - Needs the privileges C(VM.Allocate) and C(VM.Audit) on the guest, C(Datastore.AllocateSpace) on the storages of the
    archive and of the volumes, and C(SDN.Use) on the bridges. O(start) needs C(VM.PowerMgmt), O(pool) needs
    C(VM.Allocate) on the pool, and what is given in place of the archive's needs C(VM.Config.*). A container that is
    not unprivileged needs C(Sys.Modify) on C(/).
  - C(VM.Backup) on the archive's guest is needed to see its archives.
  - In check mode an archive or a storage that does not exist is a warning, because an earlier task of a real run may
    make it.
seealso:
  - module: onprem.cloud.pve_backup
  - module: onprem.cloud.pve_snapshot
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  vmid:
    description: ID of the guest that is made.
    type: int
    required: true
  archive:
    description:
      - ID of the volume that holds the backup, such as V(local:backup/vzdump-lxc-100-2026_11_22-14_36_50.tar.zst), as
        M(onprem.cloud.pve_backup) returns it.
      - V(latest) takes the newest archive of O(source_vmid) on O(backup_storage).
    type: str
    required: true
  backup_storage:
    description: Where the newest archive is looked for. Required with O(archive=latest).
    type: str
  source_vmid:
    description: ID of the guest whose newest archive is looked for. It is O(vmid) unless given.
    type: int
  node:
    description:
      - Node that the guest is made on. It may be left out in clusters of one node, and for a guest that is there.
    type: str
  storage:
    description: Storage for all volumes. Without it they go where they were when the backup was made.
    type: str
  force:
    description:
      - Replace a guest that has the O(vmid), with all that it holds. It is done at each run.
      - A guest that runs, or that is protected, is not replaced.
    type: bool
    default: false
  unique:
    description: Whether the network cards get new MAC addresses, as they need if the guest of the archive goes on.
    type: bool
    default: false
  start:
    description: Start the guest once it is restored.
    type: bool
    default: false
  live_restore:
    description: Start a virtual machine at once, and restore its disks meanwhile.
    type: bool
    default: false
  bwlimit:
    description: Limit of the bandwidth in KiB/s, 0 for none.
    type: int
  pool:
    description: Resource pool that the guest joins.
    type: str
  hostname:
    description:
      - Name of the guest in place of the archive's. For a virtual machine it is the C(name).
      - A number that belongs to a guest of another name is refused, unless O(force=true).
    type: str
  cores:
    description: CPU cores in place of the archive's.
    type: int
  memory:
    description: Memory in MiB in place of the archive's.
    type: int
  net:
    description:
      - Network cards in place of those of the archive that have the same key, such as V(net0). Values are as in
        O(onprem.cloud.pve_lxc#module:net) and O(onprem.cloud.pve_qemu#module:net).
    type: dict
  task_timeout:
    description: Seconds to wait for the restore.
    type: int
    default: 14400
"""

EXAMPLES = r"""
- name: Have the container, from its newest backup if it is gone
  onprem.cloud.pve_restore:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vmid: 100
    node: pve1
    archive: latest
    backup_storage: local
    storage: local-lvm
    start: true

- name: Try a backup beside the guest that it is of
  onprem.cloud.pve_restore:
    vmid: 900
    node: pve1
    archive: latest
    source_vmid: 100
    backup_storage: local
    storage: local-lvm
    hostname: restore-test
    memory: 1024
    unique: true
    net:
      net0: name=eth0,bridge=vmbr0,ip=dhcp,link_down=1

- name: Stop what is to be replaced
  onprem.cloud.pve_lxc:
    vmid: 100
    state: stopped

- name: Return to a backup, losing all that came after it
  onprem.cloud.pve_restore:
    vmid: 100
    archive: local:backup/vzdump-lxc-100-2026_11_22-14_36_50.tar.zst
    storage: local-lvm
    force: true
"""

RETURN = r"""
restored:
  description: Whether the guest was restored, or would be in check mode. It is not if it was there.
  type: bool
  returned: success
  sample: true
archive:
  description: The archive that the guest was restored from; empty if it was not, or if check mode finds none.
  type: str
  returned: success
  sample: local:backup/vzdump-lxc-100-2026_11_22-14_36_50.tar.zst
vmid:
  description: ID of the guest.
  type: int
  returned: success
  sample: 100
node:
  description: Node of the guest.
  type: str
  returned: success
  sample: pve1
type:
  description: Kind of guest; empty if check mode does not find the archive.
  type: str
  returned: success
  sample: lxc
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.plan import Guest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import BOOL, DICT, INT, STR
from ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu import KINDS
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

SUBTYPES = re.compile(r"vzdump-(lxc|qemu)-|[/:](?:backup/)?(ct|vm)/")
FLAG = {**BOOL, "default": False}
OVERRIDES = ("hostname", "cores", "memory", "net")
REQUEST = Table(
    noun="restore",
    path="",
    options={},
    places={
        "vmid": {"type": "int", "required": True},
        "archive": {"type": "str", "required": True},
        "backup_storage": STR,
        "source_vmid": INT,
        "node": STR,
        "storage": STR,
        "bwlimit": INT,
        "pool": STR,
        "hostname": STR,
        "cores": INT,
        "memory": INT,
        "net": DICT,
        **dict.fromkeys(("force", "unique", "start", "live_restore"), FLAG),
        "task_timeout": {"type": "int", "default": 14400},
    },
)


class Restore(Resource):
    """One guest, and the archive that it is made from."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.vmid: int = self.params["vmid"]
        self.item: dict[str, Any] | None = None  # the guest that has the ID now
        self.node = self.params["node"] or ""
        self.archive: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"restore of guest {self.vmid}"

    @property
    def source(self) -> int:
        return self.params["source_vmid"] or self.vmid

    @property
    def newest(self) -> bool:
        return self.params["archive"] == "latest"

    @property
    def store(self) -> str:
        """The storage of the archive."""
        return self.params["backup_storage"] if self.newest else self.params["archive"].partition(":")[0]

    @property
    def type(self) -> str:
        """The kind of guest that the archive holds."""
        name = SUBTYPES.search(str(self.archive.get("volid") or self.params["archive"]))
        found = self.archive.get("subtype") or (name and (name[1] or {"ct": "lxc", "vm": "qemu"}[name[2]]))
        return found or ""

    def run(self) -> dict[str, Any]:
        self.check_options()
        self.refuse()
        self.locate()
        self.refuse()
        if self.item and not self.params["force"]:
            return self.result(restored=False)
        self.find_archive()
        self.refuse()
        guest = Guest(
            {
                **{name: self.params[name] for name in OVERRIDES},
                **{"vmid": self.vmid, "type": self.type or "lxc", "state": "present", "node": self.node},
            }
        )
        if self.type:
            self.problems += [problem.replace(str(guest), str(self), 1) for problem in guest.problems]
            for key in [key for key, value in guest.wanted.items() if value is None]:
                self.problem(f"{key} is empty, give it a value or leave it out")
        self.check_places(guest)
        if self.item:
            self.check_replaced(self.item)
        self.refuse()
        before = {"status": self.item["status"] if self.item else "absent"}
        running = self.params["start"] or self.params["live_restore"]
        after = {key: guest.view(key, value) for key, value in guest.wanted.items()}
        after["status"] = "running" if running else "stopped"
        if not self.module.check_mode:
            self.restore(guest)
            after = {**{key: guest.now(key) for key in guest.wanted}, "status": guest.status}
        after["archive"] = self.archive.get("volid", "")
        return self.result(restored=True, before=before, after=after)

    def result(self, *, restored: bool, before: dict[str, Any] | None = None, **after: Any) -> dict[str, Any]:
        return {
            **{"changed": restored, "restored": restored, "vmid": self.vmid, "node": self.node},
            "archive": self.archive.get("volid", ""),
            "type": self.item["type"] if self.item else self.type,
            "diff": {"before": before or {}, "after": after.get("after", {})},
        }

    def refuse(self) -> None:
        if self.problems:
            raise PveError("\n".join(dict.fromkeys(self.problems)))

    # ------------------------------------------------------------------------------------------------ checking

    def check_options(self) -> None:
        params = self.params
        if self.newest and not params["backup_storage"]:
            self.problem("backup_storage is missing, archive 'latest' is looked for there")
        if not self.newest:
            if not re.fullmatch(r"[A-Za-z][\w.-]*:.+", params["archive"]):
                self.problem(
                    f"archive '{params['archive']}' is not a volume such as local:backup/vzdump-lxc-100-... or 'latest'"
                )
            for name in ("backup_storage", "source_vmid"):
                if params[name] is not None:
                    self.problem(f"{name} is for archive 'latest', leave it out")

    def locate(self) -> None:
        """Where the guest is, or is to be."""
        items = self.client.get("/cluster/resources")
        self.item = next((item for item in items if item["type"] in KINDS and item["vmid"] == self.vmid), None)
        nodes = {item["node"]: item for item in items if item["type"] == "node"}
        known = ", ".join(sorted(nodes))
        if self.item:
            name, hostname = str(self.item.get("name", "")), self.params["hostname"]
            if hostname and name.lower() != hostname.lower() and not self.params["force"]:
                self.problem(f"vmid {self.vmid} is taken by '{name}', choose another vmid, or set force to replace it")
            if self.node not in ("", self.item["node"]):
                self.problem(
                    f"the guest is on node '{self.item['node']}', not '{self.node}': migrate it, or change node"
                )
            self.node = self.item["node"]
        elif not self.node and len(nodes) == 1:
            self.node = next(iter(nodes))
        elif self.node not in nodes:
            given = f"node '{self.node}' does not exist" if self.node else "node is missing"
            self.problem(f"{given}, the cluster has {known}")
        if nodes.get(self.node, {}).get("status") == "offline":
            self.problem(f"node '{self.node}' is offline, bring it back first")

    def find_archive(self) -> None:
        """The archive as its storage lists it, and what it holds."""
        stores = {store["storage"]: store for store in self.client.get(f"/nodes/{self.node}/storage")}
        able = {name for name, store in stores.items() if "backup" in str(store.get("content")).split(",")}
        if self.store not in able:
            known = f"choose of {', '.join(sorted(able))}" if able else "there is none"
            self.not_there(f"storage '{self.store}' holds no backups on node '{self.node}', {known}")
        elif not stores[self.store].get("active"):
            self.problem(f"storage '{self.store}' is not online on node '{self.node}', bring it back first")
        else:
            self.choose_archive()
        target, content = self.params["storage"], {"lxc": "rootdir", "qemu": "images"}.get(self.type)
        able = {
            name for name, store in stores.items() if not content or content in str(store.get("content")).split(",")
        }
        if target and target not in able:
            known = f"choose of {', '.join(sorted(able))}" if able else "there is none"
            self.not_there(f"storage '{target}' on node '{self.node}' does not take its volumes, {known}")

    def choose_archive(self) -> None:
        which = {"vmid": self.source} if self.newest else {}
        content = self.client.get(f"/nodes/{self.node}/storage/{self.store}/content", content="backup", **which)
        if self.newest:
            kinds = (self.item["type"], None) if self.item else (*KINDS, None)
            found = [item for item in content if item.get("subtype") in kinds]
            self.archive = max(found, key=lambda item: item.get("ctime") or 0, default={})
        else:
            self.archive = next((item for item in content if item["volid"] == self.params["archive"]), {})
        if self.archive and not self.type:
            self.problem(f"archive '{self.archive['volid']}' does not say what kind of guest it holds, choose another")
        elif not self.archive and self.newest:
            self.not_there(f"storage '{self.store}' has no backup of guest {self.source}, back it up or choose another")
        elif not self.archive:
            others = sorted(item["volid"] for item in content)[-3:]
            remedy = f", choose one such as {', '.join(others)}" if others else ", or VM.Backup to see it is missing"
            self.not_there(f"archive '{self.params['archive']}' does not exist", remedy)

    def check_places(self, guest: Guest) -> None:
        if self.params["live_restore"] and self.type == "lxc":
            self.problem("live_restore is for virtual machines, and the archive is that of a container: leave it out")
        cards = {key: value for key, value in guest.wanted.items() if key.startswith("net") and value}
        wanted = {key: card["bridge"] for key, card in cards.items() if "bridge" in card}
        if wanted:
            found = self.client.get(f"/nodes/{self.node}/network", type="any_bridge")
            bridges = sorted(item["iface"] for item in found)
            for key, bridge in wanted.items():
                if bridge not in bridges:
                    known = f", choose one of {', '.join(bridges)}"
                    self.not_there(f"{key}: bridge '{bridge}' does not exist on node '{self.node}'", known)

    def check_replaced(self, item: dict[str, Any]) -> None:
        """What is lost must be what was meant, and nothing may use it."""
        kind = KINDS[item["type"]]
        what = f"{kind.noun} '{item.get('name', '')}'"
        if self.type and self.type != item["type"]:
            holds = KINDS[self.type].noun
            self.problem(f"vmid {self.vmid} is the {what}, and the archive holds a {holds}: choose another vmid")
        if item["status"] == "running":
            self.problem(f"the {what} is running and will not be replaced, stop it first")
        path = f"/nodes/{self.node}/{item['type']}/{self.vmid}"
        if self.client.get(f"{path}/config").get("protection"):
            self.problem(f"the {what} is protected and will not be replaced, turn off its protection first")
        if not self.problems:
            lock = self.tasks.freed(path, item.get("lock"), patient=not self.module.check_mode)
            if lock:
                self.not_there(f"the {what} is locked ({lock})", ", let the task that holds it end first")

    # ------------------------------------------------------------------------------------------------- writing

    def restore(self, guest: Guest) -> None:
        params, kind = self.params, guest.kind
        values = {
            "vmid": self.vmid,
            **{name: params[name] for name in ("storage", "pool", "bwlimit") if params[name] is not None},
            **{name: 1 for name in ("unique", "start") if params[name]},
            **({"live-restore": 1} if params["live_restore"] else {}),
            **({"force": 1} if self.item else {}),
        }
        for key, value in guest.wanted.items():
            values[kind.renamed.get(key, key)] = kind.option(key).kind.format(value)
        archive = self.archive["volid"]
        values.update({"ostemplate": archive, "restore": 1} if self.type == "lxc" else {"archive": archive})
        task = {"lxc": "vzrestore", "qemu": "qmrestore"}[self.type]
        path = f"/nodes/{self.node}/{self.type}"
        self.tasks.once(lambda: self.client.post(path, **values), str(self), node=self.node, vmid=self.vmid, kind=task)
        guest.item = {"vmid": self.vmid, "type": self.type, "node": self.node}
        guest.config = self.client.get(f"{guest.path}/config")
        guest.running = self.client.get(f"{guest.path}/status/current").get("status") == "running"


def main() -> None:
    run(AnsibleModule(argument_spec(REQUEST), supports_check_mode=True), REQUEST, Restore)


if __name__ == "__main__":
    main()
