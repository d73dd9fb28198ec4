#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_disk_zfs
short_description: Manage a ZFS pool on disks of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates a pool of ZFS on one or more disks, and destroys it.
notes:
  - A pool that is there with other disks or another RAID level is refused. Proxmox VE does not show O(ashift) and
    O(compression), which are for a new pool only.
seealso:
  - module: onprem.cloud.pve_disk_directory
  - module: onprem.cloud.pve_disk_lvm
  - module: onprem.cloud.pve_disk_lvmthin
  - module: onprem.cloud.pve_storage
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
  - onprem.cloud.pve.disks
options:
  name:
    description: Name of the pool, and of the storage.
    type: str
    required: true
  devices:
    description:
      - The disks or partitions, by their names such as V(/dev/sdb), or by their links below C(/dev/disk/by-id).
        Required for a new pool. For O(raidlevel=raid10), the first two are a mirror, and so on.
      - Links that Proxmox VE can be asked about are those with the serial number and those with the WWN.
    type: list
    elements: str
  raidlevel:
    description: How the data is spread over the disks. Required for a new pool.
    type: str
    choices: [single, mirror, raid10, raidz, raidz2, raidz3, draid, draid2, draid3]
  draid_config:
    description:
      - What a level of dRAID is made of, as a dict or as C(data=4,spares=1).
      - The keys are C(data), the disks for data in each group, and C(spares), the disks in reserve.
    type: raw
  ashift:
    description: Size of a sector as a power of two, for a new pool. Proxmox VE takes 12 unless given.
    type: int
    choices: [9, 10, 11, 12, 13, 14, 15, 16]
  compression:
    description: How data is compressed, for a new pool. Proxmox VE takes V(on) unless given.
    type: str
    choices: ["on", "off", gzip, lz4, lzjb, zle, zstd]
"""

EXAMPLES = r"""
- name: A mirror for the disks of guests
  onprem.cloud.pve_disk_zfs:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    name: tank
    raidlevel: mirror
    devices:
      - /dev/disk/by-id/ata-EXAMPLE_SER0002
      - /dev/disk/by-id/ata-EXAMPLE_SER0003
    compression: zstd
    add_storage: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
disk_zfs:
  description: The pool as Proxmox VE shows it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"name": "tank", "health": "ONLINE", "state": "ONLINE", "size": 7987200000000, "alloc": 0,
    "free": 7987200000000, "frag": 0, "dedup": 1.0, "errors": "No known data errors", "leaf": 0,
    "children": [{"name": "tank", "leaf": 0, "state": "ONLINE", "children": [{"name": "mirror-0", "leaf": 0,
    "state": "ONLINE", "children": [{"name": "/dev/disk/by-id/ata-EXAMPLE_SER0002-part1", "leaf": 1},
    {"name": "/dev/disk/by-id/ata-EXAMPLE_SER0003-part1", "leaf": 1}]}]}]}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.disks import INSTEAD, PLACES, Device, OnDisks, size
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    INT,
    LIST,
    RAW,
    STR,
    Items,
    Number,
    Option,
    PropertyString,
    Text,
    choice,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

# How many disks each level needs at least.
LEVELS = {
    "single": 1,
    "mirror": 2,
    "raid10": 4,
    "raidz": 3,
    "raidz2": 4,
    "raidz3": 5,
    "draid": 3,
    "draid2": 4,
    "draid3": 5,
}
COMPRESSIONS = ("on", "off", "gzip", "lz4", "lzjb", "zle", "zstd")


class Devices(Items):
    """Disks; their order is that of the mirrors of raid10."""

    def parse(self, value: Any) -> list[str]:
        parts = [word for item in super().parse(value) for word in re.split(r"[\s,;]+", item) if word]
        return [Device().parse(part) for part in parts]

    def format(self, value: list[str]) -> Any:
        return ",".join(value)


TABLE = Table(
    noun="ZFS pool",
    path="/nodes/{node}/disks/zfs",
    id="name",
    instead=INSTEAD,
    required=("devices", "raidlevel"),
    options={
        "devices": Option(LIST, Devices(), [], fixed=True),
        "raidlevel": choice(*LEVELS, fixed=True),
        "draid_config": Option(RAW, PropertyString({"data": Number(1), "spares": Number(0)}), {}, fixed=True),
        "ashift": Option({**INT, "choices": list(range(9, 17))}, Number(9, 16), making=True),
        "compression": Option({**STR, "choices": list(COMPRESSIONS)}, Text(COMPRESSIONS), making=True),
    },
    places=PLACES,
)


class Pool(OnDisks):
    """A pool of ZFS."""

    devices = "devices"
    kind = "zfs"
    system = "rpool"

    # ------------------------------------------------------------------------------------------------- reading

    def fetch(self) -> dict[str, Any] | None:
        found = next((pool for pool in self.client.get(self.path) or [] if pool.get("name") == self.name), None)
        return found and {**found, **(self.client.get(self.item_path) or {})}

    @property
    def vdevs(self) -> list[dict[str, Any]]:
        """What the data is on."""
        roots = [item for item in (self.raw or {}).get("children") or [] if item.get("name") == self.name]
        return [item for root in roots for item in root.get("children") or []]

    def leaves(self, items: list[dict[str, Any]]) -> list[str]:
        found = []
        for item in items:
            children = item.get("children")
            found += self.leaves(children) if children else [item["name"]]
        return found

    @property
    def storage(self) -> dict[str, Any]:
        return {"type": "zfspool", "pool": self.name}

    def members(self) -> list[str]:
        return self.leaves(self.vdevs)

    def holds(self) -> str:
        used = (self.raw or {}).get("alloc")
        return f"{size(used)} of data in it" if used else ""

    def on_devices(self, wanted: list[str]) -> bool:
        """Whether each member is one of these disks, or the partition that ZFS made of it."""
        members = self.members()
        left = list(wanted)
        for member in members:
            path = self.disks.find(member) if self.disks else None
            item = self.disks.every.get(path or "", {}) if self.disks else {}
            match = next((device for device in left if device in (path, item.get("parent"))), None)
            if match is None:
                return False
            left.remove(match)
        return not left

    def level(self) -> str:
        """The level that the pool would have been made with."""
        kinds = [re.sub(r"(:.*)?-\d+$", "", item["name"]) for item in self.vdevs if item.get("children")]
        plain = len(self.vdevs) - len(kinds)
        if not kinds:
            return "single" if plain == 1 else f"a stripe of {plain} disks"
        if kinds == ["mirror"] * len(kinds) and not plain:
            return "mirror" if len(kinds) == 1 else "raid10"
        names = [kind[:-1] if kind in ("raidz1", "draid1") else kind for kind in kinds]
        return names[0] if len(names) == 1 and not plain else " and ".join([*names, *["disk"] * plain])

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        if option == "raidlevel":
            return self.level()
        if option == "draid_config":
            numbers = re.findall(r":(\d+)([ds])", (self.vdevs or [{"name": ""}])[0]["name"])
            have = {{"d": "data", "s": "spares"}[unit]: int(number) for number, unit in numbers}
            wanted = self.wanted.get(option)
            return {key: have[key] for key in have if not wanted or key in wanted}
        return super().current(option, answer)

    # ------------------------------------------------------------------------------------------------ planning

    def validate(self) -> None:
        super().validate()
        if self.raw is None and re.match(r"mirror|raidz|draid|spare|log$", self.name):
            self.problem("ZFS keeps 'log' and names that begin with mirror, raidz, draid or spare, choose another name")
        level, devices = self.sets.get("raidlevel"), self.sets.get("devices")
        if "draid_config" in self.sets and level and not level.startswith("draid"):
            self.problem(
                f"draid_config does not belong to raidlevel '{level}', leave it out or choose a level of dRAID"
            )
        if self.raw is not None or not level or not devices:
            return
        least = LEVELS[level]
        if level.startswith("draid") and "draid_config" in self.sets:
            least = max(least, least - 2 + sum(self.sets["draid_config"].values()))
        if len(devices) < least:
            self.problem(f"raidlevel '{level}' needs {least} disks or more and devices has {len(devices)}, give more")
        elif level == "single" and len(devices) > 1:
            self.problem(f"raidlevel 'single' takes one disk and devices has {len(devices)}, choose another level")
        elif level == "raid10" and len(devices) % 2:
            self.problem(f"raidlevel 'raid10' takes pairs of disks and devices has {len(devices)}, give one more")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Pool)


if __name__ == "__main__":
    main()
