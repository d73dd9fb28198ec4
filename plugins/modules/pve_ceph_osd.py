#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ceph_osd
short_description: Manage the disks that Ceph keeps its data on
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Makes an empty disk of a node a disk of Ceph (an OSD), and destroys an OSD.
  - A disk that is an OSD of this Ceph cluster is left as it is. A disk with anything else on it is refused, and never
    wiped.
  - How an OSD was made cannot be changed. An option that differs is refused.
notes:
  - Proxmox VE lets C(root@pam) alone create and destroy OSDs. Use O(api_backend=local) as root on a node, or the
    password of C(root@pam). A token is refused.
  - To find that nothing is to be done needs the privilege C(Sys.Audit) on C(/).
seealso:
  - module: onprem.cloud.pve_ceph_mon
  - module: onprem.cloud.pve_ceph_pool
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  node:
    description: The node that the disk is in.
    type: str
    required: true
  dev:
    description: The disk, such as V(/dev/sdb), or one of its links in C(/dev/disk/by-id). Required with
      O(state=present).
    type: path
  osdid:
    description: Number of the OSD. Required with O(state=absent).
    type: int
  db_dev:
    description: Another disk, faster than O(dev), for the database of the OSD. It may hold those of several OSDs.
    type: path
  db_dev_size:
    description: Size of the database in GiB, a tenth of O(dev) unless given. It counts when the OSD is made.
    type: float
  wal_dev:
    description: Another disk for the write-ahead log of the OSD. Without it, the log is with the database.
    type: path
  wal_dev_size:
    description: Size of the log in GiB, a hundredth of O(dev) unless given. It counts when the OSD is made.
    type: float
  encrypted:
    description: Whether the data on the disk is encrypted.
    type: bool
  crush_device_class:
    description: Class of the disk that rules of Ceph can ask for, such as V(ssd). Ceph finds it out unless given.
    type: str
  osds_per_device:
    description: Number of OSDs on the disk, for fast NVMe disks. Not together with O(db_dev) and O(wal_dev).
    type: int
  destroy_data:
    description: Consent to destroy the OSD with what is on it. O(state=absent) needs it.
    type: bool
    default: false
  cleanup:
    description: Whether the logical volumes of an OSD are removed with it, so that the disk is empty afterwards.
    type: bool
    default: true
  force:
    description: Whether an OSD may be destroyed although Ceph says that data would be lost, or that it cannot tell.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Two disks with their databases on a faster one
  onprem.cloud.pve_ceph_osd:
    api_backend: local
    node: "{{ ansible_facts.hostname }}"
    dev: "{{ item }}"
    db_dev: /dev/nvme0n1
    db_dev_size: 60
  become: true
  loop: [/dev/sdb, /dev/sdc]

- name: A disk that Ceph has moved everything away from, and that is stopped, is taken out for good
  onprem.cloud.pve_ceph_osd:
    api_backend: local
    node: pve1
    osdid: 3
    state: absent
    destroy_data: true
  become: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
osds:
  description: The OSDs on the disk, or the one with the number, as Ceph has them afterwards.
  type: list
  elements: dict
  returned: success
  sample: [{"id": 3, "name": "osd.3", "host": "pve1", "device_class": "ssd", "status": "up", "in": 1}]
"""

import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.ceph import CONSENT, CephObject
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.cluster import root_only
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    FLOAT,
    INT,
    STR,
    Boolean,
    Number,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, argument_spec, run

# Seconds between two looks whether a new OSD has found its place.
PAUSE = 0.5
PATH = {"type": "path"}
TABLE = Table(
    noun="OSD",
    path="/nodes/{node}/ceph/osd",
    instead="leave {} out, this is for an OSD that is made",
    options={
        "db_dev": Option(PATH, Text(), fixed=True, key="db_dev"),
        "db_dev_size": Option(FLOAT, Number(1, integer=False), making=True, key="db_dev_size"),
        "wal_dev": Option(PATH, Text(), fixed=True, key="wal_dev"),
        "wal_dev_size": Option(FLOAT, Number(0.5, integer=False), making=True, key="wal_dev_size"),
        "encrypted": Option(BOOL, Boolean(), False, fixed=True),
        "crush_device_class": Option(STR, Text(), fixed=True),
        "osds_per_device": Option(INT, Number(1), 1, fixed=True),
    },
    places={
        **NODE,
        "state": {**STR, "choices": ["present", "absent"], "default": "present"},
        "dev": PATH,
        "osdid": INT,
        "destroy_data": CONSENT,
        "cleanup": {**BOOL, "default": True},
        "force": CONSENT,
    },
)


class Osd(CephObject):
    result_name = "osds"

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.disks: list[dict[str, Any]] = []  # of the node, with their partitions
        self.disk: dict[str, Any] | None = None
        self.strangers_on_disk: list[int] = []  # OSDs on it that this Ceph does not have there

    def __str__(self) -> str:
        what = f"OSD {self.params['osdid']}" if self.state == "absent" else f"disk '{self.params['dev']}'"
        return f"{what} of node '{self.node}'"

    # ------------------------------------------------------------------------------------------------- reading

    def tree(self) -> dict[int, dict[str, Any]]:
        """The OSDs of the whole Ceph cluster, with the node that each is in."""
        found: dict[int, dict[str, Any]] = {}
        try:
            queue: list[dict[str, Any]] = [self.client.get(self.path)["root"]]
        except PveError as error:
            if not re.search("no tree nodes found|no root node", error.text):
                raise
            # Ceph has had no OSD so far.
            queue = []
        while queue:
            bucket = queue.pop()
            for item in bucket.get("children", []):
                queue.append(item)
                if item.get("type") == "osd":
                    host = bucket["name"] if bucket.get("type") == "host" else ""
                    plain = {key: value for key, value in item.items() if key not in ("leaf", "children")}
                    found[int(item["id"])] = {"host": host, **plain, "id": int(item["id"])}
        return found

    def find(self) -> dict[str, Any] | None:
        if self.state == "absent":
            osd = self.tree().get(self.params["osdid"])
            return osd and {"osds": [osd]}
        listing = {"include-partitions": 1, "skipsmart": 1}
        self.disks = self.client.get(f"/nodes/{self.node}/disks/list", **listing)
        self.disk = self.named(self.params["dev"])
        ids = osds_of(self.disk or {})
        self.strangers_on_disk = []
        if not ids:
            # Whether Ceph is there to take the disk.
            self.tree()
            return None
        tree = self.tree()
        self.strangers_on_disk = [number for number in ids if tree.get(number, {}).get("host") != self.node]
        if self.strangers_on_disk:
            return None
        found = {"osds": [tree[number] for number in ids], "osds-per-device": len(ids)}
        found["encrypted"] = bool(int(self.disk.get("osdencrypted") or 0))
        found["crush-device-class"] = tree[ids[0]].get("device_class")
        if {"db_dev", "wal_dev"} & self.wanted.keys():
            metadata = self.client.get(f"{self.path}/{ids[0]}/metadata")
            for device in metadata.get("devices", []):
                if device["device"] in ("db", "wal"):
                    name = str(device.get("physical_device") or "").split(",", maxsplit=1)[0]
                    found[f"{device['device']}_dev"] = f"/dev/{name.rpartition('/')[2]}"
        return found

    def named(self, path: str) -> dict[str, Any] | None:
        """The disk or partition of that name."""
        return next((item for item in self.disks if path in (item["devpath"], item.get("by_id_link"))), None)

    # ------------------------------------------------------------------------------------------------ planning

    def compare(self) -> None:
        if self.raw is not None:
            for name in {"db_dev", "wal_dev"} & self.wanted.keys():
                self.wanted[name] = self.view(name, self.wanted[name])
        super().compare()

    def view(self, name: str, value: Any) -> Any:
        other = self.named(value) if name in ("db_dev", "wal_dev") and value else None
        # Ceph tells the disk, whichever of its names and partitions it was given.
        return super().view(name, (other.get("parent") or other["devpath"]) if other else value)

    def validate(self) -> None:
        if self.raw is not None:
            return
        for size, device in (("db_dev_size", "db_dev"), ("wal_dev_size", "wal_dev")):
            if size in self.wanted and device not in self.wanted:
                self.problem(f"{size} needs {device}, give both or neither")
        separate = [name for name in ("db_dev", "wal_dev") if name in self.wanted]
        if separate and "osds_per_device" in self.wanted:
            self.problem(f"osds_per_device does not go together with {separate[0]}, leave one out")
        if self.strangers_on_disk:
            names = ", ".join(f"osd.{number}" for number in self.strangers_on_disk)
            whose = "which this Ceph does not have here: it is of another or of an earlier Ceph"
            self.problem(f"holds {names}, {whose}. {self.wipe(self.disk['devpath'])}")
        elif self.disk is None:
            self.problem(f"is not there, {self.free()}")
        elif self.disk.get("used"):
            self.problem(f"is in use ({self.contents(self.disk)}). {self.wipe(self.disk['devpath'])}")
        self.validate_separate(separate)
        root_only(self, "create OSDs")

    def validate_separate(self, separate: list[str]) -> None:
        """The disks for database and log: Proxmox VE adds to what Ceph has there, and to nothing else."""
        taken = {self.disk["devpath"]: "dev"} if self.disk else {}
        for name in separate:
            other = self.named(self.wanted[name])
            if other is None:
                self.problem(f"{name} '{self.wanted[name]}' is not there, {self.free()}")
                continue
            if other["devpath"] in taken:
                self.problem(f"{name} is the same disk as {taken[other['devpath']]}, give another one")
            taken[other["devpath"]] = name
            used = other.get("used")
            if used and used != "LVM" and not (used == "partitions" and str(other.get("gpt")) == "1"):
                self.problem(f"{name} '{other['devpath']}' is in use ({self.contents(other)}), {self.free()}")

    def contents(self, disk: dict[str, Any]) -> str:
        """What is on a disk, in words."""
        parts = [item for item in self.disks if item.get("parent") == disk["devpath"]]
        inside = ", ".join(f"{item['devpath']} {item.get('used') or 'empty'}" for item in parts)
        return f"{disk['used']}: {inside}" if inside else str(disk["used"])

    def wipe(self, devpath: str) -> str:
        return (
            f"If nothing on it is needed, wipe it on the node ('ceph-volume lvm zap {devpath} --destroy'), or "
            f"{self.free()}"
        )

    def free(self) -> str:
        """The remedy: the disks that could be taken."""
        unused = [item["devpath"] for item in self.disks if not item.get("used") and not item.get("parent")]
        return f"give an empty disk: {', '.join(sorted(unused)) or 'the node has none'}"

    def plan(self) -> str:
        if self.state == "absent" and self.raw is not None:
            self.check_removal(self.raw["osds"][0])
        return super().plan()

    def check_removal(self, osd: dict[str, Any]) -> None:
        if osd["host"] != self.node:
            raise PveError(f"{self}: it is in node '{osd['host']}', give that node.")
        self.consent("what is on it")
        up, taken = osd.get("status") == "up", str(osd.get("in")) == "1"
        if up or taken:
            now = " and ".join(word for word, true in (("up", up), ("in", taken)) if true)
            raise PveError(
                f"{self}: it is {now}. Take it out ('ceph osd out {osd['id']}'), wait until 'ceph osd safe-to-destroy "
                f"{osd['id']}' agrees, stop it ('systemctl stop ceph-osd@{osd['id']}') and run again."
            )
        if not self.params["force"]:
            asked = {"service": "osd", "id": str(osd["id"]), "action": "destroy"}
            answer = self.client.get(f"/nodes/{self.node}/ceph/cmd-safety", **asked)
            if not int(answer.get("safe") or 0):
                raise PveError(
                    f"{self}: Ceph says that it is not safe to destroy it ({answer.get('status', 'no reason')}): wait "
                    "until its data is elsewhere ('ceph -s'), or set force to true if that data may be lost."
                )
        root_only(self, "destroy OSDs")
        if self.problems:
            raise PveError("\n".join(self.problems))

    # ------------------------------------------------------------------------------------------------- writing

    def create(self) -> None:
        self.tasks.wait(self.send("post", self.path, dev=self.disk["devpath"], **self.values(self.sets)), str(self))
        deadline = time.monotonic() + self.tasks.timeout
        # An OSD says where it is when it starts.
        while self.find() is None:
            if time.monotonic() > deadline:
                raise PveError(
                    f"{self}: the OSD was made and did not come up within {self.tasks.timeout:g} s: look at "
                    "'systemctl status ceph-osd.target' on the node, or raise task_timeout."
                )
            time.sleep(PAUSE)

    def delete(self) -> Any:
        cleanup = {"cleanup": 1} if self.params["cleanup"] else {}
        return self.send("delete", f"{self.path}/{self.params['osdid']}", **cleanup)

    # ------------------------------------------------------------------------------------------------- running

    def facts(self) -> Any:
        return (self.raw or {}).get("osds", [])


def osds_of(disk: dict[str, Any]) -> list[int]:
    """The OSDs that have their data on a disk."""
    several = disk.get("osdid-list") or []
    one = int(disk.get("osdid") or 0) if disk.get("osdid") is not None else -1
    return sorted({int(number) for number in several} or ({one} if one >= 0 else set()))


def main() -> None:
    module = AnsibleModule(
        argument_spec(TABLE),
        supports_check_mode=True,
        required_if=[("state", "present", ["dev"]), ("state", "absent", ["osdid"])],
    )
    run(module, TABLE, Osd)


if __name__ == "__main__":
    main()
