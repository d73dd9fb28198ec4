# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PCI devices of a machine, what drives them and how the IOMMU keeps them apart, as the kernel shows them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Iterable, Iterator, Optional

from ansible_collections.onprem.cloud.plugins.module_utils.host.files import Files

DEVICES = "/sys/bus/pci/devices"
GROUPS = "/sys/kernel/iommu_groups"
EFI = "/sys/firmware/efi"
EFI_VARIABLES = f"{EFI}/efivars"
NAMES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
# What the kernel's /sys/class/iommu calls the units of a vendor, and the table of the firmware that describes them.
IOMMUS = {"dmar": "intel", "ivhd": "amd", "smmu": "arm"}
TABLES = {"DMAR": "intel", "IVRS": "amd"}

# Names for classes by the beginning of their number: the longest that fits is a device's own.
CLASSES = {
    "storage": ("01",),
    "network": ("02",),
    "display": ("03",),
    "multimedia": ("04",),
    "audio": ("0401", "0403"),
    "memory": ("05",),
    "bridge": ("06",),
    "communication": ("07",),
    "system": ("08",),
    "input": ("09",),
    "processor": ("0b",),
    "serial": ("0c",),
    "usb": ("0c03",),
    "wireless": ("0d",),
    "encryption": ("10",),
    "accelerator": ("12",),
}
# What the classes that matter here are called where there is no list of names.
LABELS = {
    "0106": "SATA controller",
    "0108": "Non-Volatile memory controller",
    "01": "Mass storage controller",
    "0200": "Ethernet controller",
    "02": "Network controller",
    "0300": "VGA compatible controller",
    "0302": "3D controller",
    "03": "Display controller",
    "0403": "Audio device",
    "04": "Multimedia controller",
    "0600": "Host bridge",
    "0601": "ISA bridge",
    "0604": "PCI bridge",
    "06": "Bridge",
    "0c03": "USB controller",
    "0c05": "SMBus",
    "0c": "Serial bus controller",
}

ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2})(?:\.([0-7]))?")
ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
CLASS = re.compile(r"(?:[0-9a-f]{2}){1,3}")


class Unknown(ValueError):
    """A selector that means nothing, or nothing on this machine."""


@dataclass
class Device:
    """A function of a device."""

    address: str
    id: str
    subsystem_id: Optional[str]
    class_id: str
    revision: str
    driver: Optional[str]
    driver_module: Optional[str]
    drivers: list[str]
    iommu_group: Optional[int]
    upstream: list[str]
    boot_gpu: bool
    class_name: str = ""
    vendor_name: Optional[str] = None
    device_name: Optional[str] = None

    @property
    def kind(self) -> str:
        """The name of its class."""
        fitting = [
            (len(prefix), name) for name, prefixes in CLASSES.items() for prefix in prefixes if self.is_a(prefix)
        ]
        return max(fitting, default=(0, "other"))[1]

    @property
    def slot(self) -> str:
        return self.address.rpartition(".")[0]

    @property
    def passes_on(self) -> bool:
        """Whether it is a bridge between PCI buses, which a group may hold besides the devices behind it."""
        return self.class_id[:4] in ("0604", "0609")

    def is_a(self, prefix: str) -> bool:
        return self.class_id.startswith(prefix)

    def title(self) -> str:
        """How a sentence calls it."""
        names = " ".join(filter(None, (self.vendor_name, self.device_name)))
        return f"{self.address} ({self.class_name}{': ' if names else ''}{names} [{self.id}])"

    def view(self) -> dict[str, object]:
        return {**asdict(self), "class": self.kind, "bridge": self.is_a("06")}


@dataclass
class Iommu:
    """Whether devices are kept apart, and whether they could be."""

    active: bool
    kind: Optional[str]
    firmware: Optional[str]
    interrupt_remapping: bool


@dataclass
class Machine:
    """What matters of a machine for handing its devices to virtual machines."""

    devices: dict[str, Device]
    iommu: Iommu
    kernel: str
    cpu_vendor: Optional[str]
    cpu_virtualization: Optional[str]
    secure_boot: bool
    modules: Optional[set[str]] = None
    built_in: set[str] = field(default_factory=set)

    def group(self, number: Optional[int]) -> list[Device]:
        return [device for device in self.devices.values() if device.iommu_group == number and number is not None]

    def groups(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for device in self.devices.values():
            if device.iommu_group is not None:
                found[str(device.iommu_group)].append(device.address)
        return dict(sorted(found.items(), key=lambda group: int(group[0])))

    def select(self, selector: str) -> list[Device]:
        """The functions that a selector means: an address with or without function, vendor:device, or a class."""
        text = selector.strip().lower()
        if ID.fullmatch(text):
            return [device for device in self.devices.values() if device.id == text]
        place = ADDRESS.fullmatch(text)
        if place:
            slot = f"{place[1] or '0000'}:{place[2]}"
            return [d for d in self.devices.values() if d.slot == slot and place[3] in (None, d.address[-1])]
        if text in CLASSES:
            return [device for device in self.devices.values() if any(device.is_a(c) for c in CLASSES[text])]
        if CLASS.fullmatch(text):
            return [device for device in self.devices.values() if device.is_a(text)]
        raise Unknown(
            f"'{selector}' is neither an address such as 0000:01:00.0 or 01:00, nor a vendor and a device such as"
            f" 10de:2684, nor a class: {', '.join(CLASSES)}, or its number, such as 0300."
        )

    def select_all(self, selectors: Iterable[str]) -> list[Device]:
        chosen = {device.address for selector in selectors for device in self.select(selector)}
        return [device for address, device in self.devices.items() if address in chosen]


def read(files: Files) -> Machine:
    """The machine as its kernel shows it."""
    kernel = files.line("/proc/sys/kernel/osrelease")
    aliases = Aliases(files, kernel)
    devices = {address: read_device(files, address, aliases) for address in files.names(DEVICES)}
    name(files, devices.values())
    modules = files.text(f"/lib/modules/{kernel}/modules.dep")
    processor = files.text("/proc/cpuinfo") or ""
    return Machine(
        devices=devices,
        iommu=read_iommu(files),
        kernel=kernel,
        cpu_vendor={"GenuineIntel": "intel", "AuthenticAMD": "amd"}.get(word(processor, "vendor_id")),
        cpu_virtualization=next((flag for flag in ("vmx", "svm") if flag in word(processor, "flags").split()), None),
        secure_boot=(efi_variable(files, "SecureBoot", "8be4df61-93ca-11d2-aa0d-00e098032b8c") or b"\0")[-1] == 1,
        modules=None if modules is None else set(module_names(modules)),
        built_in=set(module_names(files.text(f"/lib/modules/{kernel}/modules.builtin") or "")),
    )


def read_device(files: Files, address: str, aliases: Aliases) -> Device:
    place = f"{DEVICES}/{address}"
    attribute = {
        key: files.line(f"{place}/{key}").replace("0x", "")
        for key in ("vendor", "device", "subsystem_vendor", "subsystem_device", "class", "revision")
    }
    group = files.target(f"{place}/iommu_group")
    subsystem = f"{attribute['subsystem_vendor']}:{attribute['subsystem_device']}"
    # The directory of a device is in that of the bridge that it is behind.
    path = files.path(place).resolve().parts
    return Device(
        address=address,
        id=f"{attribute['vendor']}:{attribute['device']}",
        subsystem_id=subsystem if ID.fullmatch(subsystem) and subsystem != "0000:0000" else None,
        class_id=attribute["class"],
        revision=attribute["revision"],
        driver=files.target(f"{place}/driver") or None,
        driver_module=files.target(f"{place}/driver/module") or None,
        drivers=aliases.of(files.line(f"{place}/modalias")),
        iommu_group=int(group) if group.isdigit() else None,
        upstream=[part for part in path[:-1] if ADDRESS.fullmatch(part)],
        boot_gpu=files.line(f"{place}/boot_vga") == "1",
    )


def read_iommu(files: Files) -> Iommu:
    """Whether an IOMMU is on, and whether the firmware describes one.

    With interrupt remapping on, the chips that interrupts go through are called IR-..., and nothing else tells without
    reading the kernel's log, which forgets.
    """
    units = [IOMMUS.get(re.sub(r"\d.*", "", unit)) for unit in files.names("/sys/class/iommu")]
    tables = [TABLES[table] for table in TABLES if files.exists(f"/sys/firmware/acpi/tables/{table}")]
    return Iommu(
        active=bool(files.names(GROUPS)),
        kind=next(filter(None, units), None),
        firmware=next(iter(tables), None),
        interrupt_remapping=bool(re.search(r"\bIR-|-IR\b", files.text("/proc/interrupts") or "")),
    )


def efi_variable(files: Files, variable: str, vendor: str) -> Optional[bytes]:
    """The value of a variable of the firmware, without its four bytes of attributes."""
    content = files.content(f"{EFI_VARIABLES}/{variable}-{vendor}")
    return content[4:] if content and len(content) > 4 else None


def word(processor: str, key: str) -> str:
    match = re.search(rf"^{key}\s*:[ \t]*(.*)$", processor, re.MULTILINE)
    return match[1] if match else ""


def module_names(listing: str) -> Iterator[str]:
    """The modules of modules.dep or modules.builtin, as the kernel writes their names."""
    for line in listing.splitlines():
        path = line.partition(":")[0]
        yield path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


class Aliases:
    """Which modules of a kernel drive which devices."""

    def __init__(self, files: Files, kernel: str) -> None:
        self.patterns: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for line in (files.text(f"/lib/modules/{kernel}/modules.alias") or "").splitlines():
            alias, _space, module = line.partition(" ")[2].rpartition(" ")
            if alias.startswith("pci:"):
                self.patterns[self.vendor(alias)].append((alias, module))

    @staticmethod
    def vendor(alias: str) -> str:
        """The part that names the vendor, by which most of the patterns are left out."""
        return alias.partition("d")[0]

    def of(self, modalias: str) -> list[str]:
        fitting = self.patterns.get(self.vendor(modalias), []) + self.patterns.get("pci:v*", []) if modalias else []
        return sorted({module.replace("-", "_") for pattern, module in fitting if fnmatchcase(modalias, pattern)})


def name(files: Files, devices: Iterable[Device]) -> None:
    """Give the devices the names of the list of PCI ids, if the machine has it."""
    listing = next(filter(None, (files.text(path) for path in NAMES)), "")
    vendors, classes = sections(listing, {device.id[:4] for device in devices})
    for device in devices:
        vendor, models = vendors.get(device.id[:4], (None, {}))
        device.vendor_name = vendor
        device.device_name = models.get(device.id[5:])
        number = device.class_id
        known = max((prefix for prefix in LABELS if device.is_a(prefix)), key=len, default="")
        label, subclasses = classes.get(number[:2], (None, {}))
        device.class_name = subclasses.get(number[2:4]) or LABELS.get(known) or label or f"Device of class {number}"


Section = "tuple[Optional[str], dict[str, str]]"


def sections(listing: str, wanted: set[str]) -> tuple[dict[str, Section], dict[str, Section]]:
    """The names of these vendors with their devices, and of all classes with what is below them."""
    vendors: dict[str, Section] = {}
    classes: dict[str, Section] = {}
    below: dict[str, str] = {}
    for line in listing.splitlines():
        if line.startswith("\t"):
            if line[1:2] != "\t":
                number, _space, text = line[1:].partition("  ")
                below[number] = text
        elif line and line[0] not in "#\n":
            number, _space, text = line.partition("  ")
            below = {}
            if number.startswith("C "):
                classes[number[2:]] = (text, below)
            elif number in wanted:
                vendors[number] = (text, below)
    return vendors, classes
