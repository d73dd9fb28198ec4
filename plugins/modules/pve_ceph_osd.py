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
  - Makes an empty disk of a node a disk of Ceph (an OSD), takes OSDs out and in, stops and starts them, and destroys
    them.
  - A disk with anything else than an OSD of this Ceph cluster on it is refused, and never wiped.
  - How an OSD was made cannot be changed. An option that differs is refused.
notes:
  - Proxmox VE lets C(root@pam) alone create and destroy OSDs. Use O(api_backend=local) as root on a node, or the
    password of C(root@pam). A token is refused.
  - O(in) and O(running) need the privileges C(Sys.Modify) and C(Sys.Audit) on C(/). To find that nothing is to be done
    needs C(Sys.Audit) on C(/).
  - An OSD goes in three steps. Take it out (O(in=false)), wait until Ceph has moved its data elsewhere
    (C(ceph osd safe-to-destroy)), and stop it (O(running=false)). Then it can be destroyed (O(state=absent)).
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
    description:
      - The disk or partition, such as V(/dev/sdb), or its link below C(/dev/disk/by-id). If it is no OSD, it becomes
        one.
      - Links that Proxmox VE can be asked about are those with the serial number and those with the WWN.
    type: str
  osdid:
    description: Number of an OSD that is there, instead of O(dev). Required with O(state=absent).
    type: int
  in:
    description:
      - Whether Ceph keeps data on it. Ceph moves everything away from an OSD that is out, which takes a while.
      - With O(dev), all OSDs on the disk are meant, by O(running) as well.
    type: bool
  running:
    description:
      - Whether its service runs. One is not stopped if Ceph says that something could not be read or written without
        it, unless O(force=true).
      - It starts again with the node.
    type: bool
  db_dev:
    description: Another disk, faster than O(dev), for the database of the OSD. It may hold those of several OSDs.
    type: str
  db_dev_size:
    description: Size of the database in GiB, a tenth of O(dev) unless given. It counts when the OSD is made.
    type: float
  wal_dev:
    description: Another disk for the write-ahead log of the OSD. Without it, the log is with the database.
    type: str
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
    description: Whether an OSD may be destroyed although Ceph says that data would be lost, or that it cannot tell, and
      stopped although Ceph cannot do without it.
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

- name: Ceph moves everything away from an OSD
  onprem.cloud.pve_ceph_osd:
    api_host: 192.0.2.11
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    osdid: 4
    in: false

- name: One that Ceph has moved everything away from, and that is stopped, is destroyed
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
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
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
from typing import Any, Iterable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.ceph import CONSENT, RUNNING, CephObject
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.cluster import root_only
from ansible_collections.onprem.cloud.plugins.module_utils.pve.disks import Device, Disks, read_disks
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    FLOAT,
    INT,
    STR,
    Boolean,
    Invalid,
    Number,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, argument_spec, run

TABLE = Table(
    noun="OSD",
    path="/nodes/{node}/ceph/osd",
    instead="leave {} out, this is for an OSD that is made",
    options={
        "in": Option(BOOL, Boolean(), True),
        "running": RUNNING,
        "db_dev": Option(STR, Device(), fixed=True, key="db_dev"),
        "db_dev_size": Option(FLOAT, Number(1, integer=False), making=True, key="db_dev_size"),
        "wal_dev": Option(STR, Device(), fixed=True, key="wal_dev"),
        "wal_dev_size": Option(FLOAT, Number(0.5, integer=False), making=True, key="wal_dev_size"),
        "encrypted": Option(BOOL, Boolean(), False, fixed=True),
        "crush_device_class": Option(STR, Text(), fixed=True),
        "osds_per_device": Option(INT, Number(1), 1, fixed=True),
    },
    places={
        **NODE,
        "state": {**STR, "choices": ["present", "absent"], "default": "present"},
        "dev": STR,
        "osdid": INT,
        "destroy_data": CONSENT,
        "cleanup": {**BOOL, "default": True},
        "force": CONSENT,
    },
)
# What an OSD does, besides what it is.
STATES = ("in", "running")
SEPARATE = ("db_dev", "wal_dev")


def is_in(osd: dict[str, Any]) -> bool:
    return str(osd.get("in")) == "1"


def is_up(osd: dict[str, Any]) -> bool:
    return osd.get("status") == "up"


def common(answers: Iterable[bool]) -> Any:
    """The answer that all OSDs of a disk give."""
    found = set(answers)
    return found.pop() if len(found) == 1 else "different"


class Osd(CephObject):
    result_name = "osds"

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.disks = Disks(self.node, [])
        self.device: str | None = None  # of the disk that is given
        self.strangers_on_disk: list[int] = []  # OSDs on it that this Ceph does not have there

    def __str__(self) -> str:
        what = f"disk '{self.params['dev']}'" if self.params["dev"] else f"OSD {self.params['osdid']}"
        return f"{what} of node '{self.node}'"

    # ------------------------------------------------------------------------------------------------- reading

    def find(self) -> dict[str, Any] | None:
        if not self.params["dev"]:
            osd = self.osds().get(self.params["osdid"])
            return osd and self.described([osd])
        self.disks = read_disks(self.client, self.node)
        self.device = self.disks.find(self.params["dev"])
        ids = self.disks.osds(self.device) if self.device else []
        # Without any, this tells whether Ceph is there to take the disk.
        tree = self.osds()
        self.strangers_on_disk = [number for number in ids if tree.get(number, {}).get("host") != self.node]
        if not ids or self.strangers_on_disk:
            return None
        disk = self.disks.every[self.device]
        encrypted = bool(int(disk.get("osdencrypted") or disk.get("encrypted") or 0))
        found = {"encrypted": encrypted, "crush-device-class": tree[ids[0]].get("device_class")}
        found.update(self.described([tree[number] for number in ids]), **{"osds-per-device": len(ids)})
        if self.wanted.keys() & set(SEPARATE):
            metadata = self.client.get(f"{self.path}/{ids[0]}/metadata")
            for device in metadata.get("devices", []):
                if device["device"] in ("db", "wal"):
                    name = re.split(r"[,\s]", str(device.get("physical_device") or ""))[0]
                    found[f"{device['device']}_dev"] = f"/dev/{name.rpartition('/')[2]}"
        return found

    @staticmethod
    def described(osds: list[dict[str, Any]]) -> dict[str, Any]:
        return {"osds": osds, "in": common(map(is_in, osds)), "running": common(map(is_up, osds))}

    # ------------------------------------------------------------------------------------------------ planning

    def parse(self) -> None:
        super().parse()
        if self.params["dev"]:
            try:
                Device().parse(self.params["dev"])
            except Invalid as error:
                self.problem(f"dev: {error}")
            return
        if self.params["osdid"] is None:
            self.problem("dev is empty, give it a disk")
        for name in self.wanted.keys() - set(STATES) if self.state == "present" else ():
            self.problem(f"{name} goes with dev, leave it out or give the disk instead of osdid")

    def compare(self) -> None:
        for name in self.wanted.keys() & set(SEPARATE):
            self.wanted[name] = self.disks.find(self.wanted[name]) or self.wanted[name]
        super().compare()

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        found = super().current(option, answer)
        wanted = self.wanted.get(option)
        # Ceph tells the disk, also of a partition.
        whole = self.disks.every.get(wanted, {}).get("parent") if option in SEPARATE else None
        return wanted if whole and whole == found else found

    def validate(self) -> None:
        if self.raw is not None:
            self.check_place()
            self.check_stop(self.raw["osds"])
            return
        if not self.params["dev"]:
            self.not_there("is not there", ": give the number of another one, or dev to make one")
            return
        for size, device in (("db_dev_size", "db_dev"), ("wal_dev_size", "wal_dev")):
            if size in self.wanted and device not in self.wanted:
                self.problem(f"{size} needs {device}, give both or neither")
        separate = [name for name in SEPARATE if name in self.wanted]
        if self.sets.get("osds_per_device") == 1:
            # Given, it would keep database and log from having disks of their own.
            del self.sets["osds_per_device"]
        if separate and "osds_per_device" in self.sets:
            self.problem(f"osds_per_device does not go together with {separate[0]}, leave one out")
        held = self.device and self.disks.on_it(self.device)
        if self.device is None:
            self.problem(self.disks.missing(self.params["dev"]))
        elif self.strangers_on_disk:
            names = " and ".join(f"osd.{number}" for number in self.strangers_on_disk)
            whose = "which this Ceph does not have here: it is of another or of an earlier Ceph"
            self.problem(f"{self.disks.called(self.device)} holds {names}, {whose}. {self.wipe(self.device)}")
        elif held:
            self.problem(f"{self.disks.called(self.device)} is in use, it holds {held}. {self.wipe(self.device)}")
        self.check_separate(separate)
        root_only(self, "create OSDs")

    def check_place(self) -> None:
        host = self.raw["osds"][0]["host"]
        if host != self.node:
            raise PveError(f"{self}: it is in node '{host}', give that node.")

    def check_stop(self, osds: list[dict[str, Any]]) -> None:
        """None is stopped that Ceph needs."""
        if self.sets.get("running") is not False or self.params["force"]:
            return
        for osd in filter(is_up, osds):
            why = self.unsafe("osd", osd["id"], "stop")
            if why:
                self.problem(
                    f"Ceph says that it cannot do without osd.{osd['id']} ({why}): wait until all copies are there "
                    "again ('ceph -s'), or set force to true if reading and writing may stop"
                )

    def check_separate(self, separate: list[str]) -> None:
        """The disks for database and log: Proxmox VE adds to what Ceph has there, and to nothing else."""
        taken = {self.device: "dev"}
        for name in separate:
            path = self.disks.find(self.wanted[name])
            if path is None:
                self.problem(f"{name}: {self.disks.missing(self.wanted[name])}")
                continue
            if path in taken:
                self.problem(f"{name} is the same disk as {taken[path]}, give another one")
            taken[path] = name
            if not self.has_room(path):
                self.problem(
                    f"{name}: {self.disks.called(path)} is in use, it holds {self.disks.on_it(path)}: take another "
                    f"disk, {self.disks.choice}, or one with databases of Ceph"
                )

    def has_room(self, path: str) -> bool:
        """Whether Proxmox VE takes it for a database or a log."""
        used = self.disks.every[path].get("used")
        if used == "partitions":
            return str(self.disks.every[path].get("gpt")) == "1"
        if used != "LVM":
            return not self.disks.on_it(path)
        groups = (self.client.get(f"/nodes/{self.node}/disks/lvm") or {}).get("children") or []
        of_ceph = [group for group in groups if group["name"].startswith("ceph-")]
        return any(path == item["name"] for group in of_ceph for item in group.get("children") or [])

    def wipe(self, device: str) -> str:
        return (
            f"If nothing on it is needed, wipe it on the node ('ceph-volume lvm zap {device} --destroy'), or take "
            f"another disk, {self.disks.choice}"
        )

    def plan(self) -> str:
        if self.state == "absent" and self.raw is not None:
            self.check_removal(self.raw["osds"][0])
        return super().plan()

    def check_removal(self, osd: dict[str, Any]) -> None:
        self.check_place()
        self.consent("what is on it")
        if is_up(osd) or is_in(osd):
            now = " and ".join(word for word, true in (("up", is_up(osd)), ("in", is_in(osd))) if true)
            raise PveError(
                f"{self}: it is {now}. Take it out (in: false), wait until 'ceph osd safe-to-destroy {osd['id']}' "
                "agrees, stop it (running: false) and run again."
            )
        why = "" if self.params["force"] else self.unsafe("osd", osd["id"], "destroy")
        if why:
            raise PveError(
                f"{self}: Ceph says that it is not safe to destroy it ({why}): wait until its data is elsewhere "
                "('ceph -s'), or set force to true if that data may be lost."
            )
        root_only(self, "destroy OSDs")
        if self.problems:
            raise PveError("\n".join(self.problems))

    # ------------------------------------------------------------------------------------------------- writing

    def create(self) -> None:
        values = self.values({name: value for name, value in self.sets.items() if name not in STATES})
        self.tasks.wait(self.send("post", self.path, dev=self.device, **values), str(self))
        # An OSD says where it is when it starts.
        self.wait_until(lambda: self.find() is not None, "the OSD was made and did not come up", "osd")

    def update(self) -> None:
        for osd in self.raw["osds"]:
            number, wanted = osd["id"], self.sets.get("in", is_in(osd))
            if wanted != is_in(osd):
                self.client.post(f"{self.path}/{number}/{'in' if wanted else 'out'}")
        for osd in self.raw["osds"]:
            number, on = osd["id"], self.sets.get("running", is_up(osd))
            if on == is_up(osd):
                continue
            # Those of the disk that were stopped before count.
            self.check_stop([osd])
            if self.problems:
                raise PveError("\n".join(self.problems))
            self.turn(f"osd.{number}", lambda number=number, on=on: is_up(self.osds().get(number, {})) == on, on=on)

    def delete(self) -> Any:
        cleanup = {"cleanup": 1} if self.params["cleanup"] else {}
        return self.send("delete", f"{self.path}/{self.params['osdid']}", **cleanup)

    # ------------------------------------------------------------------------------------------------- running

    def facts(self) -> Any:
        return (self.raw or {}).get("osds", [])


def main() -> None:
    module = AnsibleModule(
        argument_spec(TABLE),
        supports_check_mode=True,
        mutually_exclusive=[("dev", "osdid")],
        required_one_of=[("dev", "osdid")],
        required_if=[("state", "absent", ["osdid"])],
    )
    run(module, TABLE, Osd)


if __name__ == "__main__":
    main()
