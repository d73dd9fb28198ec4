# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the disks of a node: created on disks that hold nothing, removed by consent, changed never."""

from __future__ import annotations

import re
from typing import Any, Callable

from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import BOOL, Invalid, Text
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, OfNode

BY_ID = "/dev/disk/by-id/"
# By the key that PVE counts them with.
CEPH = {
    "db": "a database of Ceph",
    "wal": "a log of Ceph",
    "journals": "a journal of Ceph",
    "bluestore": "data of Ceph",
}
PLACES: dict[str, dict[str, Any]] = {
    **NODE,
    "add_storage": {**BOOL, "default": False},
    "cleanup_disks": BOOL,
    "cleanup_config": BOOL,
    "destroy_data": {**BOOL, "default": False},
}
# What is there is never changed.
INSTEAD = "leave {} out or say what it is, or choose another name"


def size(number: Any) -> str:
    """As it stands on a disk."""
    amount = int(number or 0) / 1e9
    return f"{amount / 1000:.3g} TB" if amount >= 1000 else f"{amount:.3g} GB"


class Device(Text):
    """A block device of a node, by any of its names."""

    def parse(self, value: Any) -> str:
        text = super().parse(value)
        if text and not re.fullmatch(r"/dev/[^\s,;]+", text):
            raise Invalid(f"'{text}' is not a device such as /dev/sdb or {BY_ID}ata-EXAMPLE_1234")
        return text


class Disks:
    """The disks and partitions of a node."""

    def __init__(self, node: str, listing: list[dict[str, Any]]) -> None:
        self.node = node
        self.every = {item["devpath"]: item for item in listing}

    def parts(self, device: str) -> list[dict[str, Any]]:
        return [item for item in self.every.values() if item.get("parent") == device]

    def find(self, name: str) -> str | None:
        """The device that a name is for; PVE tells one link for a disk, its serial number and its WWN."""
        if name in self.every:
            return name
        whole, _mark, part = name.rpartition("-part")
        if not part.isdigit():
            whole, part = name, ""
        found = [path for path, item in self.every.items() if not item.get("parent") and self.is_called(whole, item)]
        if len(found) != 1:
            return None
        if not part:
            return found[0]
        path = found[0] + ("p" if found[0][-1].isdigit() else "") + part
        return path if path in self.every else None

    @staticmethod
    def is_called(name: str, disk: dict[str, Any]) -> bool:
        if name == disk.get("by_id_link"):
            return True
        if not name.startswith(BY_ID):
            return False
        link = name[len(BY_ID) :]
        wwn, serial = (str(disk.get(key) or "unknown") for key in ("wwn", "serial"))
        if wwn != "unknown" and link in (f"wwn-{wwn}", f"nvme-{wwn}", f"scsi-3{wwn[2:]}"):
            return True
        # Behind the serial number, NVMe has the number of the namespace and USB that of the unit.
        return serial != "unknown" and bool(re.search(rf"_{re.escape(serial)}(_\d+|-\d+:\d+)?$", link))

    def osds(self, device: str) -> list[int]:
        """The OSDs that have their data on a disk or partition."""
        item = self.every[device]
        return sorted(int(number) for number in item.get("osdid-list") or [item.get("osdid", -1)] if int(number) >= 0)

    def ceph(self, device: str) -> str:
        """What Ceph has on a disk or partition besides OSDs; of a partition, its type alone may say so."""
        item = self.every[device]
        return " and ".join(word for key, word in CEPH.items() if int(item.get(key) or 0))

    def on_it(self, device: str) -> str:
        """What a disk or partition holds, in words; nothing if it is free."""
        item = self.every[device]
        osds = self.osds(device)
        if osds:
            return f"Ceph OSD {' and '.join(map(str, osds))}"
        parts = [f"{part['devpath']} ({self.on_it(part['devpath']) or 'empty'})" for part in self.parts(device)]
        if parts:
            return f"partitions, {', '.join(parts)}"
        mounted = "mounted" if str(item.get("mounted") or "0") == "1" else ""
        words = [item.get("used") or "", mounted, self.ceph(device)]
        return ", ".join(dict.fromkeys(filter(None, words)))

    def free(self) -> list[str]:
        return sorted(path for path, item in self.every.items() if not item.get("parent") and not self.on_it(path))

    def called(self, device: str) -> str:
        """A disk with what tells it from others."""
        item = self.every[device]
        parent = self.every.get(item.get("parent") or "", item)
        known = [item.get("model"), parent.get("serial"), size(item.get("size"))]
        return f"{device} ({', '.join(str(word) for word in known if word and word != 'unknown')})"

    def missing(self, name: str) -> str:
        """That there is no such disk, and which there are."""
        links = [f"{path} is {item['by_id_link']}" for path, item in self.every.items() if "by_id_link" in item]
        known = f"; {', '.join(links)}" if name.startswith("/dev/disk/") and links else ""
        return f"there is no '{name}' among the disks of the node, {self.choice}{known}"

    @property
    def choice(self) -> str:
        free = self.free()
        if not free:
            return f"no disk of node '{self.node}' is free"
        return f"free on node '{self.node}' {'is' if len(free) == 1 else 'are'} {', '.join(map(self.called, free))}"


def read_disks(client: Client, node: str) -> Disks:
    """The disks of a node as they are now."""
    listing = client.get(f"/nodes/{node}/disks/list", **{"include-partitions": 1, "skipsmart": 1})
    return Disks(node, listing or [])


class OnDisks(OfNode):
    """Something that PVE makes on disks of a node and calls by a name."""

    devices = "device"  # the option that says on which
    kind = ""  # how PVE's tasks call it
    system = ""  # the name of the one that the installer makes for the system itself
    disks: Disks | None = None

    @property
    def node(self) -> str:
        return self.params["node"]

    @property
    def result_name(self) -> str:
        return f"disk_{self.path.rpartition('/')[2]}"

    # ------------------------------------------------------------------------------------------------- reading

    def members(self) -> list[str]:
        """What it is on, as PVE calls it."""
        raise NotImplementedError  # every kind has an answer of its own

    def holds(self) -> str:
        """How much there is to lose, as far as PVE tells."""
        return ""

    def on_devices(self, wanted: list[str]) -> bool:
        """Whether what is there is on these devices."""
        raise NotImplementedError  # every kind has an answer of its own

    # ------------------------------------------------------------------------------------------------ planning

    def parse(self) -> None:
        super().parse()
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]", self.name):
            self.problem(
                "a name has two characters or more, letters and digits with dots, dashes and underscores inside"
            )

    def plan(self) -> str:
        if self.state == "absent" and self.raw is not None:
            self.check_consent()
        return super().plan()

    def check_consent(self) -> None:
        what = ", ".join(self.members())
        if self.name == self.system:
            self.problem(
                f"the installer of Proxmox VE puts the system on one of that name, and it is never removed: if {what} "
                "holds something else, remove it on the node"
            )
        if not self.params["destroy_data"]:
            self.problem(
                f"it is on {what}, and {self.holds() or 'what it holds'} would be lost: set destroy_data to true if "
                "that is what you want"
            )
        for name, means in (
            ("cleanup_disks", "whether its disks are wiped as well"),
            ("cleanup_config", "whether the storages that are on it are taken from this node as well"),
        ):
            if self.params[name] is None:
                self.problem(f"{name} is missing, say {means}")
        if self.problems:
            raise PveError("\n".join(self.problems))

    def compare(self) -> None:
        """What is there stays as it is: it is what was wanted, or it is refused."""
        given = self.wanted.get(self.devices)
        if given is not None:
            self.wanted[self.devices] = self.found(given)
        if self.problems:
            return
        super().compare()

    def found(self, given: Any) -> Any:
        """The devices, by the names that PVE lists."""
        disks = self.disks = read_disks(self.client, self.node)
        paths = []
        for name in given if isinstance(given, list) else [given]:
            path = disks.find(name)
            if path is None:
                self.problem(f"{self.devices}: {disks.missing(name)}")
            elif path in paths:
                self.problem(f"{self.devices}: '{name}' is {path}, which is given twice")
            else:
                paths.append(path)
        return paths if isinstance(given, list) else "".join(paths)

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        if option != self.devices:
            return super().current(option, answer)
        wanted = self.wanted.get(option)
        listed = wanted if isinstance(wanted, list) else [wanted] if wanted else []
        if self.disks and listed and self.on_devices(listed):
            return wanted
        members = sorted(self.members())
        return members if isinstance(self.table.options[option].default, list) else ", ".join(members)

    def validate(self) -> None:
        """No disk that holds anything is ever taken."""
        if self.raw is not None or self.disks is None or self.problems:
            return
        if self.params["add_storage"]:
            self.check_storage()
        given = self.wanted[self.devices]
        for device in given if isinstance(given, list) else [given]:
            held = self.disks.on_it(device)
            if held:
                self.problem(
                    f"{self.devices}: {self.disks.called(device)} is in use, it holds {held}: take another disk, "
                    f"{self.disks.choice}, or wipe this one yourself if nothing on it is needed, in the web interface "
                    "under Disks"
                )

    @property
    def storage(self) -> dict[str, Any]:
        """What a storage on it has."""
        raise NotImplementedError  # every kind has an answer of its own

    def check_storage(self) -> None:
        """Whether the name is free for a storage on this node, or is that of the same on other nodes."""
        remedy = "choose another name or leave add_storage out"
        for found in self.client.get("/storage") or []:
            if found.get("storage") != self.name:
                continue
            nodes = found.get("nodes")
            other = [f"{key} {found.get(key)}" for key, value in self.storage.items() if found.get(key) != value]
            if not nodes or self.node in nodes.split(","):
                self.problem(f"add_storage: this node has a storage '{self.name}' already, {remedy}")
            elif other:
                self.problem(
                    f"add_storage: '{self.name}' is a storage of {nodes} with {' and '.join(other)}, which cannot be "
                    f"the same on this node, {remedy}"
                )

    # ------------------------------------------------------------------------------------------------- writing

    @property
    def task_ids(self) -> tuple[str, ...]:
        """What PVE's tasks about it carry."""
        return (self.name,)

    def once(self, what: str, write: Callable[[], Any]) -> None:
        """A task of PVE that must not run twice."""
        kind = f"{self.kind}{what}"
        self.tasks.once(write, f"{self}: {what}", node=self.node, kind=kind, ids=self.task_ids)

    def create(self) -> None:
        values = {"name": self.name, "add_storage": self.params["add_storage"], **self.values(self.sets)}
        self.once("create", lambda: self.client.post(self.path, **values))

    def delete(self) -> None:
        cleanup = {name.replace("_", "-"): self.params[name] for name in ("cleanup_disks", "cleanup_config")}
        self.once("remove", lambda: self.client.delete(self.item_path, **cleanup, **self.also()))

    def also(self) -> dict[str, Any]:
        """What else names the object that goes."""
        return {}
