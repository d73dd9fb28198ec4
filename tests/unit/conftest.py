# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that work on a machine, on machines in a directory: what their kernels show is unfolded from machines/."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

MACHINES = Path(__file__).parent / "machines"
# Drivers that are not called like the module that they are in, and those that are in the kernel itself.
MODULES = {"xhci_hcd": "xhci_pci", "nvidia-gpu": "i2c_nvidia_gpu", "pcieport": None, "skl_uncore": None}
KERNEL_MODULES = ("vfio", "vfio_iommu_type1", "vfio-pci", "nouveau", "amdgpu", "snd-hda-intel", "xhci-pci")
SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADER = "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
CHIP = {True: "IR-PCI-MSI-0000:00:01.1", False: "PCI-MSI-0000:00:01.1"}


class Unfolded:
    """The root of a machine's files, and what a test changes there."""

    def __init__(self, root: Path, facts: dict[str, Any]) -> None:
        self.root = root
        self.kernel = facts["kernel"]
        lib = f"lib/modules/{self.kernel}"
        self.write("proc/sys/kernel/osrelease", self.kernel + "\n")
        self.write("proc/cmdline", facts["cmdline"] + "\n")
        vendor, _, flags = facts["cpu"].partition(" ")
        self.write("proc/cpuinfo", f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu msr {flags} nx\n")
        chip = CHIP[facts.get("remapping", False)]
        self.write("proc/interrupts", f"            CPU0\n  29:          0  {chip}    0-edge      PCIe PME\n")
        self.write(f"{lib}/modules.dep", "".join(f"kernel/drivers/{name}.ko:\n" for name in KERNEL_MODULES))
        self.write(f"{lib}/modules.builtin", "kernel/drivers/pci/pcie/pcieport.ko\n")
        self.write(f"{lib}/modules.alias", (MACHINES / "modules.alias").read_text() + facts.get("aliases", ""))
        (root / "usr/share/misc").mkdir(parents=True)
        shutil.copy(MACHINES / "pci.ids", root / "usr/share/misc/pci.ids")
        if "firmware" in facts:
            self.write(f"sys/firmware/acpi/tables/{facts['firmware']}", "")
        for unit in facts.get("iommu", "").split():
            (root / "sys/class/iommu" / unit).mkdir(parents=True)
        if facts.get("efi"):
            self.variable(SECURE_BOOT, bytes([bool(facts.get("secure_boot"))]))
        if "loader" in facts:
            self.variable(LOADER, facts["loader"].encode("utf-16-le") + b"\0\0")
        for line in facts["devices"].splitlines():
            self.add(line)

    def write(self, path: str, content: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def variable(self, name: str, value: bytes) -> None:
        place = self.root / "sys/firmware/efi/efivars" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"\x06\0\0\0" + value)

    def link(self, path: str, target: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        # From link to target within the tree, as the kernel's own are.
        place.symlink_to(os.path.relpath(self.root / target, place.parent))

    def add(self, line: str) -> None:
        """A device: the bridges that it is behind with its address, class, ids, group, driver and what is special."""
        path, number, ids, subsystem, group, driver, *special = line.split()
        bridges = path.split("/")
        address = f"0000:{bridges[-1]}"
        place = "/".join([f"sys/devices/pci0000:{bridges[0][:2]}", *(f"0000:{bridge}" for bridge in bridges)])
        vendor, device = ids.split(":")
        board_vendor, board = subsystem.split(":") if ":" in subsystem else ("0000", "0000")
        for name, value in {
            "vendor": vendor,
            "device": device,
            "subsystem_vendor": board_vendor,
            "subsystem_device": board,
            "class": number,
            "revision": "a1",
        }.items():
            self.write(f"{place}/{name}", f"0x{value}\n")
        numbers = [part.upper() for part in (vendor, device, board_vendor, board, number[:2], number[2:4], number[4:])]
        self.write(f"{place}/modalias", "pci:v0000{}d0000{}sv0000{}sd0000{}bc{}sc{}i{}\n".format(*numbers))
        if number.startswith("0300"):
            self.write(f"{place}/boot_vga", f"{int('boot' in special)}\n")
        self.link(f"sys/bus/pci/devices/{address}", place)
        if group != "-":
            self.link(f"{place}/iommu_group", f"sys/kernel/iommu_groups/{group}")
            self.link(f"sys/kernel/iommu_groups/{group}/devices/{address}", place)
        if driver != "-":
            self.bind(address, driver)

    def place(self, address: str) -> str:
        """Where the kernel has a device."""
        return str((self.root / "sys/bus/pci/devices" / address).resolve().relative_to(self.root.resolve()))

    def bind(self, address: str, driver: str) -> None:
        """Have a driver take a device."""
        module = MODULES.get(driver, driver.replace("-", "_"))
        (self.root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        if module:
            self.link(f"sys/bus/pci/drivers/{driver}/module", f"sys/module/{module}")
        self.link(f"{self.place(address)}/driver", f"sys/bus/pci/drivers/{driver}")


class Answered(Exception):
    """A module ended with a result."""


class Ansible:
    """As much of AnsibleModule as such modules use. Programs do nothing but what a test has them answer."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.check_mode = False
        self.answers: dict[str, Any] = {}
        self.ran: list[str] = []
        self.warned: list[str] = []
        self.watch: Callable[[], None] = lambda: None

    def run_command(self, argv: list[str], **_options: Any) -> tuple[int, str, str]:
        if argv[0] == "/bin/sh":
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr
        command = " ".join(argv)
        self.ran.append(command)
        self.watch()
        answer = self.answers.get(command, (0, "", ""))
        answer = answer.pop(0) if isinstance(answer, list) else answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def warn(self, warning: str) -> None:
        self.warned.append(warning)

    def exit_json(self, **result: Any) -> None:
        raise Answered(result)

    def fail_json(self, **result: Any) -> None:
        raise Answered({"failed": True, **result})

    def call(self, module: Any, root: Path, **params: Any) -> dict[str, Any]:
        """What a module returns."""
        self.params = params
        self.ran.clear()
        self.warned.clear()
        with pytest.raises(Answered) as answer:
            module.run(self, str(root))
        return answer.value.args[0]

    def predicted(self, module: Any, root: Path, **params: Any) -> dict[str, Any]:
        """What check mode says, which must be what a run then says, and leave everything alone."""
        before = tree(root)
        self.check_mode = True
        told = self.call(module, root, **params)
        self.check_mode = False
        assert tree(root) == before
        assert set(self.ran) <= {"proxmox-boot-tool status"}
        assert self.call(module, root, **params) == told
        return told


def tree(root: Path) -> dict[str, bytes]:
    """All files."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def ansible(monkeypatch: pytest.MonkeyPatch) -> Ansible:
    # Nothing of a test has to outlive a power cut, and a busy disk takes its time.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return Ansible()


@pytest.fixture
def unfold(tmp_path: Path) -> Callable[[str], Unfolded]:
    """Unfold a machine."""
    return lambda name: Unfolded(tmp_path / "root", yaml.safe_load((MACHINES / f"{name}.yml").read_text()))
