# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices for virtual machines: what stands in the way, and which files have vfio-pci take them at the next boot.

How a device is bound: by vendor and device where no device that stays has the same, else together with the vendor and
device of the board, else by address. vfio-pci takes the first two as an option; an address it does not, so that the
command that loads it writes driver_override before, if the device at the address is still the same. Every driver that
could take the card waits for vfio-pci (softdep), in the initramfs as well. A rule of udev would come too late for two
identical cards: the driver that the one is to keep takes the other as soon as it is loaded.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Iterable, Optional

from ansible_collections.onprem.cloud.plugins.module_utils.host.boot import (
    RUNNING,
    Loader,
    Unclear,
    Wish,
    find_loader,
    name,
    words,
)
from ansible_collections.onprem.cloud.plugins.module_utils.host.files import (
    STATE,
    Edit,
    Files,
    Rebuild,
    Run,
    is_pending,
)
from ansible_collections.onprem.cloud.plugins.module_utils.host.pci import Device, Machine, Unknown

VFIO = "vfio-pci"
MODPROBE = "/etc/modprobe.d/onprem-gpu-passthrough.conf"
MODULES = "/etc/modules-load.d/onprem-gpu-passthrough.conf"
MODPROBE_DIRECTORIES = tuple(f"{place}/modprobe.d" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
# Gone with the next start, as the reason for it is.
REBOOT = "/run/onprem.cloud/gpu_passthrough.reboot"
INITRAMFS = Rebuild("initramfs", ("update-initramfs", "-u", "-k", "all"))
INTEL_ON = "intel_iommu=on"

HEADER = "# Managed by Ansible, onprem.cloud.gpu_passthrough, which takes it back with state: absent.\n"
ADDED = "# Added to the kernel's command line: "
DEVICE = "# Device: "
MODULES_TEXT = f"{HEADER}vfio\nvfio_iommu_type1\nvfio_pci\n"

PROBLEM, WARNING, NOTE = "problem", "warning", "note"
FIRMWARE = {
    "intel": "VT-d",
    "amd": "IOMMU, also called AMD-Vi, and SVM",
    None: "the IOMMU, called VT-d or AMD-Vi",
}
# What a host is lost without.
VITAL = {"01": "a disk controller", "02": "a network card", "0d": "a wireless card"}


@dataclass(frozen=True)
class Finding:
    """What stands in the way, or is worth knowing, in a sentence."""

    level: str
    topic: str
    message: str
    device: Optional[str] = None


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    devices: tuple[str, ...]
    accepted: tuple[str, ...] = ()
    boot_gpu_accepted: bool = False
    iommu_passthrough: bool = False
    acs_override: tuple[str, ...] = ()
    bootloader: Optional[str] = None


@dataclass
class Plan:
    """What is found, and what is done about it."""

    findings: list[Finding] = field(default_factory=list)
    functions: list[Device] = field(default_factory=list)
    bindings: dict[str, str] = field(default_factory=dict)
    # What the files hand over already, whatever is asked for now.
    prepared: set[str] = field(default_factory=set)
    parameters: list[str] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    rebuilds: list[Rebuild] = field(default_factory=list)
    complete: bool = True
    reboot_required: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.edits or self.rebuilds)

    def problems(self) -> list[str]:
        return [finding.message for finding in self.findings if finding.level == PROBLEM]

    def view(self) -> dict[str, Any]:
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "devices": [
                {
                    **{key: getattr(device, key) for key in ("address", "id", "subsystem_id", "iommu_group", "driver")},
                    "name": " ".join(filter(None, (device.vendor_name, device.device_name))) or device.class_name,
                    "class": device.kind,
                    "binding": self.bindings.get(device.address),
                    "prepared": device.address in self.prepared,
                }
                for device in self.functions
            ],
            "parameters": self.parameters,
            "complete": self.complete,
            "reboot_required": self.reboot_required,
            "diff": [edit.diff() for edit in self.edits],
        }


@dataclass
class Record:
    """What the module has put so far, as its own file says."""

    parameters: list[str]
    devices: list[str]
    body: str

    @property
    def addresses(self) -> list[str]:
        return [device.split()[0] for device in self.devices]

    @classmethod
    def read(cls, files: Files) -> "Record":
        lines = (files.text(MODPROBE) or "").splitlines(keepends=True)
        added = "".join(line[len(ADDED) :] for line in lines if line.startswith(ADDED))
        devices = [line[len(DEVICE) :].strip() for line in lines if line.startswith(DEVICE)]
        return cls(added.split(), devices, "".join(line for line in lines if not line.startswith("#")))


class Planner:
    """Finds out what stands in the way of handing devices to virtual machines, and plans how to."""

    def __init__(self, files: Files, run: Run, machine: Machine, settings: Settings) -> None:
        self.files = files
        self.run = run
        self.machine = machine
        self.settings = settings
        self.running = words(files.line(RUNNING))
        self.record = Record.read(files)
        self.plan = Plan()
        # Why the groups are known only after a reboot.
        self.waiting: Optional[str] = None
        self.desired: list[str] = []

    def note(self, level: str, topic: str, message: str, device: Optional[Device] = None) -> None:
        self.plan.findings.append(Finding(level, topic, message, device.address if device else None))

    # What is asked for

    def present(self) -> Plan:
        chosen = self.choose()
        accepted = self.accept()
        self.plan.functions = chosen
        self.look_at_processor()
        self.look_at_iommu(chosen)
        self.look_at_interrupts()
        self.look_at_kernel()
        for device in chosen:
            self.look_at_device(device)
        if not self.waiting:
            self.look_at_groups(chosen, accepted)
        self.look_at_other_files()
        self.plan.bindings = {device.address: self.binding(device) for device in chosen}
        recorded = self.record.addresses
        # Before the groups are known, the files have the kernel's parameters only.
        begun = bool(self.waiting and self.record.parameters)
        self.plan.prepared = {device.address for device in chosen if begun or device.address in recorded}
        self.plan_files(chosen)
        self.plan.complete = not self.waiting
        running = Wish(tuple(self.desired), tuple(p for p in self.record.parameters if p not in self.desired))
        bound = all(device.driver == VFIO for device in chosen)
        self.plan.reboot_required = bool(self.waiting) or not bound or not running.met(self.running)
        return self.plan

    def absent(self) -> Plan:
        for path in (MODPROBE, MODULES):
            if self.files.exists(path):
                self.plan.edits.append(Edit(path, self.files.text(path), None))
        if self.record.body or is_pending(self.files, INITRAMFS):
            self.plan.rebuilds.append(INITRAMFS)
        self.plan_line(Wish(absent=tuple(self.record.parameters)))
        held = [self.machine.devices.get(address) for address in self.record.addresses]
        in_force = any(device and device.driver == VFIO for device in held)
        in_force = in_force or any(word in self.record.parameters for word in self.running)
        self.plan.reboot_required = in_force or self.files.exists(REBOOT)
        return self.plan

    def choose(self) -> list[Device]:
        """The functions that are asked for, with those that belong to the same card."""
        displays = self.machine.select("display")
        if not self.settings.devices:
            # Nothing is named only where nothing is changed: look at what a virtual machine could have.
            return self.with_companions([d for d in displays if not d.boot_gpu] or displays)
        for selector in self.settings.devices:
            if not self.machine.select(selector):
                there = "; ".join(device.title() for device in displays) or "none"
                raise Unknown(f"This machine has no device {selector}. Its graphics cards: {there}.")
        return self.with_companions(self.machine.select_all(self.settings.devices))

    def with_companions(self, chosen: list[Device]) -> list[Device]:
        """With the functions of the same maker that are in the same slot and group, such as the sound of a card."""
        cards = {
            (device.slot, device.iommu_group, device.id[:4]) for device in chosen if device.iommu_group is not None
        }
        addresses = {device.address for device in chosen}
        return [
            device
            for address, device in self.machine.devices.items()
            if address in addresses or (device.slot, device.iommu_group, device.id[:4]) in cards
        ]

    def accept(self) -> set[str]:
        for selector in self.settings.accepted:
            if not self.machine.select(selector):
                raise Unknown(f"accepted: this machine has no device {selector}.")
        return {device.address for device in self.machine.select_all(self.settings.accepted)}

    # What stands in the way

    def look_at_processor(self) -> None:
        if not self.machine.cpu_virtualization:
            self.note(
                WARNING,
                "processor",
                "The processor offers no virtualization (neither vmx nor svm), without which a virtual machine is"
                " emulated: turn on VT-x or SVM in the firmware's setup.",
            )
        if self.machine.secure_boot:
            self.note(
                WARNING,
                "secure_boot",
                "Secure Boot is on: the kernel takes vfio-pci, which is signed with it, but no module that was built on"
                " this machine without a key of its own, such as vendor-reset.",
            )

    def look_at_iommu(self, chosen: list[Device]) -> None:
        iommu = self.machine.iommu
        kind = iommu.kind or iommu.firmware or self.machine.cpu_vendor
        needs = False
        if iommu.active:
            apart = [device for device in chosen if device.iommu_group is None]
            needs = bool(apart) and kind == "intel" and INTEL_ON not in self.running
            for device in apart if not needs else []:
                self.note(PROBLEM, "iommu", f"{device.title()} is in no IOMMU group, though the IOMMU is on.", device)
        elif not iommu.firmware:
            self.note(
                PROBLEM,
                "iommu",
                "The firmware describes no IOMMU (there is neither an ACPI table DMAR nor IVRS): turn on"
                f" {FIRMWARE.get(kind, FIRMWARE[None])} in its setup.",
            )
        elif not self.turned_off():
            needs = kind == "intel" and INTEL_ON not in self.running
            if not needs:
                self.note(
                    PROBLEM,
                    "iommu",
                    "The firmware describes an IOMMU and nothing turns it off, but the kernel makes no use of it: read"
                    " what 'journalctl -k --grep \"DMAR|AMD-Vi\"' says.",
                )
        if needs:
            self.wait(f"The kernel leaves the IOMMU off without {INTEL_ON}")
        if needs or INTEL_ON in self.record.parameters:
            self.desired.append(INTEL_ON)
        if self.settings.iommu_passthrough:
            self.desired.append("iommu=pt")
        if self.settings.acs_override:
            override = f"pcie_acs_override={','.join(self.settings.acs_override)}"
            self.desired.append(override)
            self.note(
                WARNING,
                "acs_override",
                f"{override} has the kernel believe that devices are kept apart, which nothing does then: what runs in"
                " a virtual machine may reach the memory of others and of the host. Only Proxmox VE's kernels know it.",
            )
            if not Wish((override,)).met(self.running):
                self.wait("The groups change with pcie_acs_override")

    def turned_off(self) -> bool:
        """Whether the command line turns the IOMMU off, which is then said."""
        off = [
            word
            for word in self.running
            if name(word) in ("iommu", "intel_iommu", "amd_iommu") and "off" in word.partition("=")[2].split(",")
        ]
        for word in off:
            self.note(
                PROBLEM,
                "iommu",
                f"The kernel was told to leave the IOMMU off, with {word} on its command line: take it away with"
                " onprem.cloud.kernel_cmdline and reboot.",
            )
        return bool(off)

    def wait(self, reason: str) -> None:
        self.waiting = reason
        self.note(
            NOTE,
            "iommu",
            f"{reason}. Which devices are in a group with the card can be seen only after the next reboot: run this"
            " again then, nothing is bound before.",
        )

    def look_at_interrupts(self) -> None:
        if self.machine.iommu.active and not self.machine.iommu.interrupt_remapping:
            off = [word for word in self.running if word in ("intremap=off", "nointremap")]
            cause = (
                f"with {off[0]} on the kernel's command line" if off else "by the firmware, or the board cannot do it"
            )
            self.note(
                PROBLEM,
                "interrupt_remapping",
                f"Interrupt remapping is off, {cause}: a virtual machine could send the host interrupts of its choice,"
                " and vfio-pci refuses that.",
            )

    def look_at_kernel(self) -> None:
        modules = self.machine.modules
        if modules is not None and "vfio_pci" not in modules:
            built_in = "vfio_pci" in self.machine.built_in
            self.note(
                PROBLEM,
                "driver",
                f"The kernel {self.machine.kernel} has "
                + ("vfio-pci built in, where files cannot give it options." if built_in else "no module vfio-pci."),
            )

    def look_at_device(self, device: Device) -> None:
        vital = next((what for prefix, what in VITAL.items() if device.is_a(prefix)), None)
        if vital or device.is_a("06"):
            self.note(
                PROBLEM,
                "device",
                f"{device.title()} is {vital or 'a bridge'}, and this is for graphics cards and what belongs to them.",
                device,
            )
        if device.boot_gpu:
            self.look_at_boot_gpu(device)
        self.look_at_drivers(device)

    def look_at_boot_gpu(self, device: Device) -> None:
        accepted = self.settings.boot_gpu_accepted
        remedy = (
            "if a virtual machine cannot use it because of that, pass the kernel initcall_blacklist=sysfb_init."
            if accepted
            else "choose another one as primary in the firmware's setup, or accept that with boot_gpu_accepted."
        )
        self.note(
            WARNING if accepted else PROBLEM,
            "boot_gpu",
            f"{device.title()} is the one that the firmware starts on: the host's screen stays dark without it, and the"
            f" firmware's picture may keep its memory occupied; {remedy}",
            device,
        )

    def look_at_drivers(self, device: Device) -> None:
        if device.driver == VFIO or not device.driver:
            return
        if device.driver_module and device.driver_module not in self.machine.built_in:
            text = f"{device.title()} is driven by {device.driver} until the next reboot, and by vfio-pci from then on."
            self.note(NOTE, "driver", text, device)
            return
        self.note(
            WARNING,
            "driver",
            f"{device.title()} is driven by {device.driver}, which is built into the kernel and takes it before"
            " vfio-pci can: it is freed only when Proxmox VE starts a virtual machine with it.",
            device,
        )

    def look_at_groups(self, chosen: list[Device], accepted: set[str]) -> None:
        mine = {device.address for device in chosen}
        for number in sorted({device.iommu_group for device in chosen if device.iommu_group is not None}):
            card = next(device for device in chosen if device.iommu_group == number)
            for device in self.machine.group(number):
                # A host bridge without driver reaches no memory, and a bridge between buses only passes on.
                harmless = device.passes_on or (device.is_a("0600") and not device.driver)
                if device.address not in mine and not harmless:
                    self.look_at_stranger(device, card, device.address in accepted)

    def look_at_stranger(self, device: Device, card: Device, accepted: bool) -> None:
        vital = next((what for prefix, what in VITAL.items() if device.is_a(prefix)), None)
        what = (
            f"IOMMU group {card.iommu_group}, which {card.address} is in, also holds {device.title()}"
            f"{f', {vital}' if vital else ''}"
        )
        if vital:
            message = f"{what}: the host would lose it to the virtual machine. Put the card into another slot."
        elif accepted:
            message = f"{what}, which the host loses while a virtual machine has the card, as accepted."
        elif device.slot == card.slot:
            message = (
                f"{what}: name it in devices if it belongs to the card, in accepted if the host can do without it."
            )
        else:
            message = f"{what}: accept that the host loses it with accepted, or put the card into another slot."
        self.note(NOTE if accepted and not vital else PROBLEM, "group", message, device)

    def look_at_other_files(self) -> None:
        """Of several lists of devices for vfio-pci, only the last counts."""
        for directory in MODPROBE_DIRECTORIES:
            if directory == "/lib/modprobe.d" and self.files.path("/lib").is_symlink():
                continue
            for path in (f"{directory}/{part}" for part in self.files.names(directory) if part.endswith(".conf")):
                for line in (self.files.text(path) or "").splitlines() if path != MODPROBE else ():
                    if re.match(r"\s*(options\s+vfio[-_]pci\s(.*\s)?ids=|(install|blacklist)\s+vfio[-_]pci\b)", line):
                        self.note(
                            PROBLEM,
                            "modprobe",
                            f"{path} says '{line.strip()}', which would not go together with what is written here:"
                            " take the line away.",
                        )
        for word in self.running:
            if name(word) == "vfio_pci.ids":
                self.note(
                    PROBLEM,
                    "modprobe",
                    f"The kernel's command line has {word}, which would not go together with what is written here:"
                    " take it away with onprem.cloud.kernel_cmdline.",
                )

    # What is written

    def binding(self, device: Device) -> str:
        """How it is told apart from what stays with the host."""
        mine = {function.address for function in self.plan.functions}
        same = [d for d in self.machine.devices.values() if d.id == device.id and d.address not in mine]
        if not same:
            return device.id
        if device.subsystem_id and all(d.subsystem_id != device.subsystem_id for d in same):
            return f"{device.id}:{device.subsystem_id}"
        self.note(
            NOTE,
            "identical",
            f"{same[0].title()} is identical and stays with the host: {device.address} is bound by its address, where"
            " another device is never bound.",
            device,
        )
        return "address"

    def plan_files(self, chosen: list[Device]) -> None:
        added = self.plan_parameters()
        if self.waiting:
            devices = self.record.devices
            body, modules = self.record.body, self.files.text(MODULES)
        else:
            devices = [f"{device.address} {device.id}" for device in chosen]
            body, modules = self.body(chosen), MODULES_TEXT
        comments = [f"{ADDED}{' '.join(added)}\n"] if added else []
        comments += [f"{DEVICE}{device}\n" for device in devices]
        text = "".join([HEADER, *comments, body]) if added or body else None
        for path, content in ((MODPROBE, text), (MODULES, modules)):
            before = self.files.text(path)
            if content != before:
                self.plan.edits.append(Edit(path, before, content))
        if body != self.record.body or is_pending(self.files, INITRAMFS):
            self.plan.rebuilds.insert(0, INITRAMFS)

    def plan_parameters(self) -> list[str]:
        """Plan the kernel's command line. Returns which of its parameters are the module's own."""
        recorded = self.record.parameters
        self.plan.parameters = self.desired
        gone = tuple(parameter for parameter in recorded if parameter not in self.desired)
        line = self.plan_line(Wish(tuple(self.desired), gone))
        for word in line:
            for parameter in self.desired:
                if name(word) == name(parameter) and word != parameter and word not in recorded:
                    self.note(
                        PROBLEM,
                        "command_line",
                        f"The kernel's command line has {word}, and {parameter} is needed: change it with"
                        " onprem.cloud.kernel_cmdline.",
                    )
        return [parameter for parameter in self.desired if parameter in recorded or parameter not in line]

    def plan_line(self, wish: Wish) -> list[str]:
        """Plan the kernel's command line, and return what it says so far."""
        # Whether a run ended before the boot loader saw the newest command line, whichever it is.
        pending = self.files.exists(f"{STATE}/boot-loader.pending")
        if not (wish.present or wish.absent or pending):
            return []
        try:
            loader: Loader = find_loader(self.files, self.run, self.settings.bootloader)
            line = loader.line(self.files, self.run)
            edits = line.plan(wish)
        except Unclear as error:
            self.note(PROBLEM, "boot_loader", str(error))
            return []
        self.plan.edits += edits
        if edits or pending:
            self.plan.rebuilds.append(loader.rebuild)
        return line.words

    def body(self, chosen: list[Device]) -> str:
        """What modprobe is told."""
        bindings = self.plan.bindings
        ids = list(
            dict.fromkeys(bindings[device.address] for device in chosen if bindings[device.address] != "address")
        )
        lines = [f"options {VFIO} ids={','.join(ids)}"] if ids else []
        by_address = [device for device in chosen if bindings[device.address] == "address"]
        if by_address:
            lines.append(override(by_address))
        lines += [f"softdep {module} pre: {VFIO}" for module in sorted(self.drivers(chosen))]
        return "".join(f"{line}\n" for line in lines)

    def drivers(self, chosen: Iterable[Device]) -> set[str]:
        """The modules that could take the devices, bound now or not."""
        found = {module for device in chosen for module in device.drivers}
        found |= {device.driver_module for device in chosen if device.driver != VFIO and device.driver_module}
        if self.record.addresses == [device.address for device in chosen]:
            # A driver that took a device it was not made for shows only as long as it has it.
            found |= set(re.findall(rf"^softdep (\S+) pre: {VFIO}$", self.record.body, re.MULTILINE))
        return found - self.machine.built_in - {"vfio_pci"}


def override(devices: list[Device]) -> str:
    """Have vfio-pci take devices by their address when it is loaded, each if it is still the one that was meant."""
    give = (
        "give() { d=/sys/bus/pci/devices/$1; read -r v <$d/vendor && read -r m <$d/device"
        f' && [ "$v$m" = "$2" ] && echo {VFIO} >$d/driver_override; }}'
    )
    calls = [f"give {d.address} 0x{d.id[:4]}0x{d.id[5:]}" for d in devices]
    load = f"/sbin/modprobe --ignore-install {VFIO} $CMDLINE_OPTS"
    return f"install {VFIO} " + "; \\\n  ".join([give, *calls, load])
