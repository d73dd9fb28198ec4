# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_passthrough on real machines, by the files that their kernels show: what it writes, takes back and refuses."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
COLLECTION = "ansible_collections.onprem.cloud.plugins"
passthrough = importlib.import_module(f"{COLLECTION}.module_utils.host.passthrough")
gpu_passthrough = importlib.import_module(f"{COLLECTION}.modules.gpu_passthrough")

Unfold = Callable[[str], Any]

MODPROBE = "etc/modprobe.d/onprem-gpu-passthrough.conf"
MODULES = "etc/modules-load.d/onprem-gpu-passthrough.conf"
GRUB = "etc/default/grub"
UNTOUCHED = 'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n'
INITRAMFS = "update-initramfs -u -k all"
HEADER = "# Managed by Ansible, onprem.cloud.gpu_passthrough, which takes it back with state: absent.\n"
DEFAULTS = {
    "state": "present",
    "devices": [],
    "accepted": [],
    "boot_gpu_accepted": False,
    "iommu_passthrough": False,
    "acs_override": [],
    "bootloader": None,
    "doctor": False,
}


class Host:
    """A machine that cards are taken from."""

    def __init__(self, machine: Any, ansible: Any) -> None:
        self.machine = machine
        self.ansible = ansible
        self.root = machine.root
        machine.write(GRUB, UNTOUCHED)

    def ask(self, *devices: str, **options: Any) -> dict[str, Any]:
        params = {**DEFAULTS, "devices": list(devices), **options}
        return self.ansible.call(gpu_passthrough, self.root, **params)

    def predicted(self, *devices: str, **options: Any) -> dict[str, Any]:
        params = {**DEFAULTS, "devices": list(devices), **options}
        return self.ansible.predicted(gpu_passthrough, self.root, **params)

    def converged(self, *devices: str, **options: Any) -> dict[str, Any]:
        """Changed once, and not a second time."""
        told = self.predicted(*devices, **options)
        assert told.get("changed"), told
        again = self.predicted(*devices, **options)
        assert not again["changed"], again
        assert set(self.ansible.ran) <= {"proxmox-boot-tool status"}
        assert {**again, "changed": True, "diff": told["diff"]} == told
        return told

    def doctor(self, *devices: str, **options: Any) -> dict[str, Any]:
        return self.predicted(*devices, doctor=True, **options)

    def refused(self, *devices: str, **options: Any) -> dict[str, Any]:
        """Refused before anything was written."""
        before = self.files()
        told = self.ask(*devices, **options)
        assert told.get("failed"), told
        assert self.files() == before
        assert set(self.ansible.ran) <= {"proxmox-boot-tool status"}
        return told

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def reboot(self, line: str | None = None, drivers: dict[str, str] | None = None) -> None:
        """Start again: as modprobe says, with the command line of GRUB."""
        line = line or re.search(r'DEFAULT="(.*)"', self.machine.read(GRUB))[1]
        self.machine.write("proc/cmdline", f"BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro {line}\n")
        for address, driver in (drivers or {}).items():
            self.machine.bind(f"0000:{address}", driver)
        marker = self.root / "run/onprem.cloud/gpu_passthrough.reboot"
        marker.unlink(missing_ok=True)


@pytest.fixture
def host(unfold: Unfold, ansible: Any) -> Callable[[str], Host]:
    return lambda name: Host(unfold(name), ansible)


def messages(told: dict[str, Any], *levels: str) -> list[str]:
    return [finding["message"] for finding in told["findings"] if not levels or finding["level"] in levels]


def topics(told: dict[str, Any], level: str) -> list[str]:
    return [finding["topic"] for finding in told["findings"] if finding["level"] == level]


def test_a_card_of_its_own_group(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    told = board.converged("10de:2684")
    assert board.machine.read(MODPROBE) == (
        f"{HEADER}"
        "# Device: 0000:01:00.0 10de:2684\n"
        "# Device: 0000:01:00.1 10de:22ba\n"
        "options vfio-pci ids=10de:2684,10de:22ba\n"
        "softdep nouveau pre: vfio-pci\n"
        "softdep nvidiafb pre: vfio-pci\n"
        "softdep snd_hda_intel pre: vfio-pci\n"
    )
    assert board.machine.read(MODULES) == f"{HEADER}vfio\nvfio_iommu_type1\nvfio_pci\n"
    assert board.machine.read(GRUB) == UNTOUCHED
    assert (told["complete"], told["reboot_required"], told["parameters"]) == (True, True, [])
    assert told["devices"][0] == {
        "address": "0000:01:00.0",
        "id": "10de:2684",
        "subsystem_id": "1458:40bf",
        "iommu_group": 13,
        "driver": "nouveau",
        "name": "NVIDIA Corporation AD102 [GeForce RTX 4090]",
        "class": "display",
        "binding": "10de:2684",
        "prepared": True,
    }


def test_the_initramfs_is_built_once_with_the_new_files(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ansible.watch = lambda: board.machine.read(MODPROBE)
    board.ask("01:00")
    assert board.ansible.ran == [INITRAMFS]


def test_no_reboot_is_needed_once_the_card_is_bound(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ask("01:00")
    board.reboot(drivers={"01:00.0": "vfio-pci"})
    assert board.ask("01:00")["reboot_required"]
    board.reboot(drivers={"01:00.1": "vfio-pci"})
    told = board.predicted("01:00")
    assert (told["changed"], told["reboot_required"]) == (False, False)
    assert [finding for finding in told["findings"] if finding["level"] == "problem"] == []


@pytest.mark.parametrize(
    "selectors", [["01:00"], ["01:00.0"], ["0000:01:00.1"], ["10de:2684"], ["10de:22ba", "01:00.0"]]
)
def test_the_sound_of_a_card_comes_with_it(host: Callable[[str], Host], selectors: list[str]) -> None:
    told = host("b650e").ask(*selectors)
    assert [device["address"] for device in told["devices"]] == ["0000:01:00.0", "0000:01:00.1"]


def test_all_four_functions_of_a_card_come_with_it(host: Callable[[str], Host]) -> None:
    board = host("intel")
    told = board.converged("10de:21c4")
    assert [device["address"][-1] for device in told["devices"]] == ["0", "1", "2", "3"]
    assert "ids=10de:21c4,10de:1aeb,10de:1aec,10de:1aed\n" in board.machine.read(MODPROBE)
    assert re.findall(r"softdep (\w+) pre: vfio-pci", board.machine.read(MODPROBE)) == [
        "i2c_nvidia_gpu",
        "nouveau",
        "nvidiafb",
        "snd_hda_intel",
        "xhci_pci",
    ]


def test_other_devices_of_the_processor_stay(host: Callable[[str], Host]) -> None:
    told = host("b650e").ask("1002:164e", boot_gpu_accepted=True)
    assert [device["address"] for device in told["devices"]] == ["0000:0c:00.0"]


def test_what_is_no_longer_named_is_no_longer_bound(host: Callable[[str], Host]) -> None:
    server = host("switch")
    server.ask("4f:00", "52:00")
    assert "10de:2231" in server.machine.read(MODPROBE)
    server.converged("52:00")
    assert "10de:2231" not in server.machine.read(MODPROBE)
    assert "0000:4f:00" not in server.machine.read(MODPROBE)


def test_bridges_of_a_switch_are_no_obstacle(host: Callable[[str], Host]) -> None:
    server = host("switch")
    told = server.converged("10de:2231")
    assert topics(told, "problem") == []
    assert "softdep nvidia pre: vfio-pci" in server.machine.read(MODPROBE)


def test_a_driver_that_the_kernel_does_not_name_is_remembered(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.machine.bind("0000:01:00.0", "strange")
    board.ask("01:00")
    assert "softdep strange pre: vfio-pci" in board.machine.read(MODPROBE)
    board.reboot(drivers={"01:00.0": "vfio-pci", "01:00.1": "vfio-pci"})
    assert not board.ask("01:00")["changed"]


# Groups


def test_a_disk_controller_and_a_network_card_in_the_group_are_refused_by_name(host: Callable[[str], Host]) -> None:
    told = host("chipset_slot").refused("10de:1b81")
    assert (
        "IOMMU group 12, which 0000:04:00.0 is in, also holds 0000:01:00.1 (SATA controller: Advanced Micro Devices,"
        " Inc. [AMD] 400 Series Chipset SATA Controller [1022:43c8]), a disk controller: the host would lose it to the"
        " virtual machine. Put the card into another slot."
    ) in messages(told, "problem")
    assert (
        "IOMMU group 12, which 0000:04:00.0 is in, also holds 0000:03:00.0 (Ethernet controller: Realtek Semiconductor"
        " Co., Ltd. RTL8111/8168/8411 PCI Express Gigabit Ethernet Controller [10ec:8168]), a network card: the host"
        " would lose it to the virtual machine. Put the card into another slot."
    ) in messages(told, "problem")
    assert told["msg"] == " ".join(messages(told, "problem"))


def test_they_are_refused_even_if_they_are_accepted(host: Callable[[str], Host]) -> None:
    told = host("chipset_slot").refused("10de:1b81", accepted=["storage", "network", "usb"])
    assert [finding["device"] for finding in told["findings"] if finding["level"] == "problem"] == [
        "0000:01:00.1",
        "0000:03:00.0",
    ]


def test_bridges_between_buses_are_not_named(host: Callable[[str], Host]) -> None:
    told = host("chipset_slot").refused("10de:1b81")
    assert {finding["device"] for finding in told["findings"] if finding["topic"] == "group"} == {
        "0000:01:00.0",
        "0000:01:00.1",
        "0000:03:00.0",
    }


def test_a_laptops_shared_group_is_refused_with_all_that_is_in_it(host: Callable[[str], Host]) -> None:
    told = host("laptop").refused("1002:1638", boot_gpu_accepted=True)
    group = [finding for finding in told["findings"] if finding["topic"] == "group"]
    assert [finding["device"][-4:] for finding in group] == ["00.2", "00.3", "00.4", "00.5", "00.6"]
    assert group[1]["message"] == (
        "IOMMU group 5, which 0000:04:00.0 is in, also holds 0000:04:00.3 (USB controller: Advanced Micro Devices, Inc."
        " [AMD] Renoir/Cezanne USB 3.1 [1022:1639]): name it in devices if it belongs to the card, in accepted if the"
        " host can do without it."
    )


def test_devices_of_a_group_can_be_accepted(host: Callable[[str], Host]) -> None:
    laptop = host("laptop")
    told = laptop.converged("1002:1638", boot_gpu_accepted=True, accepted=["1022:15df", "usb", "04:00.5", "04:00.6"])
    assert topics(told, "note").count("group") == 5
    assert "ids=1002:1638,1002:1637\n" in laptop.machine.read(MODPROBE)
    assert "xhci_pci" not in laptop.machine.read(MODPROBE)


def test_a_host_bridge_with_a_driver_is_a_device_like_others(host: Callable[[str], Host]) -> None:
    board = host("laptop")
    board.machine.bind("0000:00:08.0", "strange")
    told = board.refused("04:00", boot_gpu_accepted=True)
    assert [finding["device"] for finding in told["findings"] if finding["level"] == "problem"] == ["0000:00:08.0"]


@pytest.mark.parametrize(
    ("selector", "what"),
    [("02:00", "a disk controller"), ("08:00", "a network card"), ("07:00", "a network card"), ("00:01.1", "a bridge")],
)
def test_what_the_host_needs_is_not_handed_over(host: Callable[[str], Host], selector: str, what: str) -> None:
    told = host("b650e").refused("01:00", selector)
    assert f"is {what}, and this is for graphics cards and what belongs to them." in told["msg"]


# Identical cards


def test_the_second_of_two_identical_cards_is_bound_by_its_address(host: Callable[[str], Host]) -> None:
    twins = host("twins")
    told = twins.converged("0b:00")
    text = twins.machine.read(MODPROBE)
    assert "options vfio-pci" not in text
    assert "give 0000:0b:00.0 0x10020x67df; \\\n  give 0000:0b:00.1 0x10020xaaf0; \\\n" in text
    assert re.findall(r"softdep (\w+)", text) == ["amdgpu", "snd_hda_intel"]
    assert [device["binding"] for device in told["devices"]] == ["address", "address"]
    assert topics(told, "note").count("identical") == 2


def command_of(text: str) -> str:
    """The command that modprobe runs for vfio-pci."""
    lines = text.replace("\\\n", "").splitlines()
    return next(line for line in lines if line.startswith("install vfio-pci ")).removeprefix("install vfio-pci ")


def test_the_command_binds_the_card_at_the_address_and_no_other(host: Callable[[str], Host]) -> None:
    twins = host("twins")
    twins.ask("0b:00")
    # The second function has become a disk controller, as after a card was added.
    place = twins.machine.place("0000:0b:00.1")
    twins.machine.write(f"{place}/vendor", "0x144d\n")
    twins.machine.write("sbin/modprobe", '#!/bin/sh\necho "$@" >>"$0.log"\n')
    (twins.root / "sbin/modprobe").chmod(0o755)
    command = command_of(twins.machine.read(MODPROBE)).replace("/sys/", f"{twins.root}/sys/")
    command = command.replace("/sbin/", f"{twins.root}/sbin/").replace("$CMDLINE_OPTS", "disable_vga=1")
    subprocess.run(["sh", "-c", command], check=True, env={"PATH": os.environ["PATH"]})
    written = sorted((twins.root / "sys").rglob("driver_override"))
    assert [path.read_text() for path in written] == ["vfio-pci\n"]
    assert written[0].parent.name == "0000:0b:00.0"
    assert twins.machine.read("sbin/modprobe.log") == "--ignore-install vfio-pci disable_vga=1\n"


def test_cards_of_two_makers_are_told_apart_by_their_boards(host: Callable[[str], Host]) -> None:
    twins = host("twins")
    for function, board in (("0b:00.0", "3418"), ("0b:00.1", "aaf0")):
        place = twins.machine.place(f"0000:{function}")
        twins.machine.write(f"{place}/subsystem_vendor", "0x1462\n")
        twins.machine.write(f"{place}/subsystem_device", f"0x{board}\n")
    twins.converged("0b:00")
    assert "options vfio-pci ids=1002:67df:1462:3418,1002:aaf0:1462:aaf0\n" in twins.machine.read(MODPROBE)


def test_two_identical_cards_are_bound_by_what_they_are_if_both_go(host: Callable[[str], Host]) -> None:
    twins = host("twins")
    twins.converged("1002:67df", boot_gpu_accepted=True)
    assert "options vfio-pci ids=1002:67df,1002:aaf0\n" in twins.machine.read(MODPROBE)


def test_only_the_function_that_has_a_twin_is_bound_by_its_address(host: Callable[[str], Host]) -> None:
    twins = host("twins")
    place = twins.machine.place("0000:0b:00.0")
    twins.machine.write(f"{place}/device", "0x73bf\n")
    twins.converged("0b:00")
    text = twins.machine.read(MODPROBE)
    assert "options vfio-pci ids=1002:73bf\n" in text
    assert "give 0000:0b:00.1 0x10020xaaf0; \\\n" in text
    assert "give 0000:0b:00.0" not in text


# IOMMU, interrupts, processor, firmware


def test_an_iommu_that_is_off_in_the_firmware(host: Callable[[str], Host]) -> None:
    told = host("no_iommu").refused("10de:1187", boot_gpu_accepted=True)
    assert told["msg"] == (
        "The firmware describes no IOMMU (there is neither an ACPI table DMAR nor IVRS): turn on VT-d in its setup."
    )


def test_the_words_are_those_of_the_processors_maker(host: Callable[[str], Host]) -> None:
    computer = host("no_iommu")
    computer.machine.write("proc/cpuinfo", "vendor_id\t: AuthenticAMD\nflags\t: svm\n")
    assert "turn on IOMMU, also called AMD-Vi, and SVM in its setup" in computer.refused("10de:1187")["msg"]


@pytest.mark.parametrize("word", ["intel_iommu=off", "iommu=off", "iommu=pt,off"])
def test_an_iommu_that_is_turned_off_on_the_command_line(host: Callable[[str], Host], word: str) -> None:
    computer = host("no_iommu")
    computer.machine.write("sys/firmware/acpi/tables/DMAR", "")
    computer.reboot(f"quiet {word}")
    assert computer.refused("10de:1187", boot_gpu_accepted=True)["msg"] == (
        f"The kernel was told to leave the IOMMU off, with {word} on its command line: take it away with"
        " onprem.cloud.kernel_cmdline and reboot."
    )


def test_an_iommu_of_which_the_kernel_makes_no_use(host: Callable[[str], Host]) -> None:
    computer = host("no_iommu")
    computer.machine.write("sys/firmware/acpi/tables/DMAR", "")
    computer.reboot("intel_iommu=on")
    assert "nothing turns it off, but the kernel makes no use of it" in computer.refused("01:00")["msg"]


def add_groups(computer: Host) -> None:
    """What the kernel shows once the IOMMU is on."""
    (computer.root / "sys/class/iommu/dmar0").mkdir(parents=True)
    computer.machine.write("proc/interrupts", "  29:          0  IR-PCI-MSI    0-edge      PCIe PME\n")
    for function in ("00:01.0", "01:00.0", "01:00.1"):
        place = computer.machine.place(f"0000:{function}")
        computer.machine.link(f"{place}/iommu_group", "sys/kernel/iommu_groups/1")
        computer.machine.link(f"sys/kernel/iommu_groups/1/devices/0000:{function}", place)


def test_on_intel_the_iommu_is_turned_on_first_and_the_rest_follows(host: Callable[[str], Host]) -> None:
    computer = host("no_iommu")
    computer.machine.write("sys/firmware/acpi/tables/DMAR", "")
    first = computer.converged("10de:1187", boot_gpu_accepted=True)
    assert (first["complete"], first["reboot_required"], first["parameters"]) == (False, True, ["intel_iommu=on"])
    assert computer.machine.read(GRUB) == UNTOUCHED.replace("quiet", "quiet intel_iommu=on")
    assert computer.machine.read(MODPROBE) == f"{HEADER}# Added to the kernel's command line: intel_iommu=on\n"
    assert not (computer.root / MODULES).exists()

    computer.reboot()
    add_groups(computer)
    second = computer.converged("10de:1187", boot_gpu_accepted=True)
    assert (second["complete"], second["reboot_required"]) == (True, True)
    assert "options vfio-pci ids=10de:1187,10de:0e0a\n" in computer.machine.read(MODPROBE)

    computer.reboot(drivers={"01:00.0": "vfio-pci", "01:00.1": "vfio-pci"})
    third = computer.predicted("10de:1187", boot_gpu_accepted=True)
    assert (third["changed"], third["complete"], third["reboot_required"]) == (False, True, False)
    assert third["parameters"] == ["intel_iommu=on"]

    before = computer.machine.read(GRUB)
    assert computer.converged(state="absent")["reboot_required"]
    assert before != computer.machine.read(GRUB) == UNTOUCHED
    assert not (computer.root / MODPROBE).exists()


def test_the_first_step_builds_no_initramfs(host: Callable[[str], Host]) -> None:
    computer = host("no_iommu")
    computer.machine.write("sys/firmware/acpi/tables/DMAR", "")
    computer.ask("10de:1187", boot_gpu_accepted=True)
    assert computer.ansible.ran == ["update-grub"]


def test_a_group_that_shows_after_the_first_step_is_refused(host: Callable[[str], Host]) -> None:
    computer = host("no_iommu")
    computer.machine.write("sys/firmware/acpi/tables/DMAR", "")
    computer.ask("10de:1187", boot_gpu_accepted=True)
    computer.reboot()
    add_groups(computer)
    place = computer.machine.place("0000:03:00.0")
    computer.machine.link(f"{place}/iommu_group", "sys/kernel/iommu_groups/1")
    computer.machine.link("sys/kernel/iommu_groups/1/devices/0000:03:00.0", place)
    assert "a network card" in computer.refused("10de:1187", boot_gpu_accepted=True)["msg"]


def test_intels_own_graphics_may_be_left_out_of_the_iommu(host: Callable[[str], Host]) -> None:
    computer = host("intel")
    place = computer.machine.place("0000:00:02.0")
    (computer.root / place / "iommu_group").unlink()
    told = computer.converged("00:02.0", boot_gpu_accepted=True)
    assert (told["parameters"], told["complete"]) == (["intel_iommu=on"], False)
    computer.reboot()
    assert "is in no IOMMU group, though the IOMMU is on" in computer.refused("00:02.0", boot_gpu_accepted=True)["msg"]


def test_where_intels_iommu_is_on_no_parameter_is_needed(host: Callable[[str], Host]) -> None:
    computer = host("intel")
    assert computer.converged("10de:21c4")["parameters"] == []
    assert computer.machine.read(GRUB) == UNTOUCHED


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("quiet", "by the firmware, or the board cannot do it"),
        ("intremap=off", "with intremap=off on the kernel's command line"),
    ],
)
def test_interrupts_that_are_not_remapped(host: Callable[[str], Host], line: str, cause: str) -> None:
    board = host("b650e")
    board.machine.write("proc/interrupts", "  29:          0  PCI-MSI 524288-edge      PCIe PME\n")
    board.reboot(line)
    assert f"Interrupt remapping is off, {cause}:" in board.refused("01:00")["msg"]


def test_a_processor_without_virtualization_is_a_warning(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.machine.write("proc/cpuinfo", "vendor_id\t: AuthenticAMD\nflags\t: fpu\n")
    board.ask("01:00")
    assert "The processor offers no virtualization" in board.ansible.warned[0]


def test_secure_boot_is_a_warning(host: Callable[[str], Host]) -> None:
    told = host("laptop").doctor("1002:1638")
    assert [finding["message"][:18] for finding in told["findings"] if finding["topic"] == "secure_boot"] == [
        "Secure Boot is on:"
    ]
    assert topics(told, "warning") == ["secure_boot"]


# The boot GPU and drivers


def test_the_card_that_the_firmware_starts_on_is_refused(host: Callable[[str], Host]) -> None:
    told = host("twins").refused("0a:00")
    assert told["msg"] == (
        "0000:0a:00.0 (VGA compatible controller: Advanced Micro Devices, Inc. [AMD/ATI] Ellesmere [Radeon RX"
        " 470/480/570/570X/580/580X/590] [1002:67df]) is the one that the firmware starts on: the host's screen stays"
        " dark without it, and the firmware's picture may keep its memory occupied; choose another one as primary in"
        " the firmware's setup, or accept that with boot_gpu_accepted."
    )


def test_it_can_be_accepted(host: Callable[[str], Host]) -> None:
    twins = host("twins")
    told = twins.converged("0a:00", boot_gpu_accepted=True)
    assert topics(told, "warning") == ["boot_gpu"]


def test_the_driver_that_holds_the_card_is_told(host: Callable[[str], Host]) -> None:
    told = host("b650e").doctor("01:00")
    assert messages(told, "note")[0] == (
        "0000:01:00.0 (VGA compatible controller: NVIDIA Corporation AD102 [GeForce RTX 4090] [10de:2684]) is driven by"
        " nouveau until the next reboot, and by vfio-pci from then on."
    )


def test_a_driver_in_the_kernel_itself_is_a_warning(host: Callable[[str], Host]) -> None:
    computer = host("intel")
    computer.machine.write(f"lib/modules/{computer.machine.kernel}/modules.builtin", "kernel/drivers/usb/xhci-pci.ko\n")
    told = computer.converged("01:00")
    assert topics(told, "warning") == ["driver"]
    assert "is driven by xhci_hcd, which is built into the kernel and takes it before vfio-pci can" in str(told)
    assert "xhci_pci" not in computer.machine.read(MODPROBE)


def test_a_kernel_without_vfio_is_refused(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.machine.write(f"lib/modules/{board.machine.kernel}/modules.dep", "kernel/drivers/nouveau.ko:\n")
    assert board.refused("01:00")["msg"] == "The kernel 6.8.12-9-pve has no module vfio-pci."


@pytest.mark.parametrize(
    "line",
    [
        "options vfio-pci ids=10de:1b81",
        "options vfio_pci disable_vga=1 ids=10de:1b81",
        "blacklist vfio_pci",
        "install vfio-pci /usr/local/bin/vfio",
    ],
)
def test_files_of_others_that_would_interfere_are_named(host: Callable[[str], Host], line: str) -> None:
    board = host("b650e")
    board.machine.write("etc/modprobe.d/vfio.conf", f"# by hand\n{line}\n")
    assert board.refused("01:00")["msg"].startswith(f"/etc/modprobe.d/vfio.conf says '{line}', which would not go")


@pytest.mark.parametrize(
    "line", ["options vfio-pci disable_vga=1", "softdep nouveau pre: vfio-pci", "#options vfio-pci ids=1"]
)
def test_files_of_others_that_go_together_are_left_alone(host: Callable[[str], Host], line: str) -> None:
    board = host("b650e")
    board.machine.write("etc/modprobe.d/vfio.conf", f"{line}\n")
    board.converged("01:00")


def test_ids_on_the_command_line_would_interfere(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.reboot("quiet vfio-pci.ids=10de:2684")
    assert "The kernel's command line has vfio-pci.ids=10de:2684" in board.refused("01:00")["msg"]


# The command line


def test_iommu_passthrough_is_added_and_taken_back(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    told = board.converged("01:00", iommu_passthrough=True)
    assert told["parameters"] == ["iommu=pt"]
    assert board.machine.read(GRUB) == UNTOUCHED.replace("quiet", "quiet iommu=pt")
    assert "# Added to the kernel's command line: iommu=pt\n" in board.machine.read(MODPROBE)
    board.converged("01:00")
    assert board.machine.read(GRUB) == UNTOUCHED
    assert "Added" not in board.machine.read(MODPROBE)


def test_the_initramfs_is_not_built_for_a_parameter_only(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ask("01:00")
    board.ask("01:00", iommu_passthrough=True)
    assert board.ansible.ran == ["update-grub"]


def test_a_parameter_of_the_administrator_is_not_taken_back(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.machine.write(GRUB, UNTOUCHED.replace("quiet", "quiet iommu=pt"))
    board.converged("01:00", iommu_passthrough=True)
    board.converged(state="absent")
    assert board.machine.read(GRUB) == UNTOUCHED.replace("quiet", "quiet iommu=pt")


def test_a_parameter_of_the_administrator_is_not_changed(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.machine.write(GRUB, UNTOUCHED.replace("quiet", "quiet iommu=soft"))
    assert board.refused("01:00", iommu_passthrough=True)["msg"] == (
        "The kernel's command line has iommu=soft, and iommu=pt is needed: change it with onprem.cloud.kernel_cmdline."
    )


def test_a_reboot_is_needed_until_the_kernel_was_passed_it(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ask("01:00", iommu_passthrough=True)
    board.reboot("quiet", {"01:00.0": "vfio-pci", "01:00.1": "vfio-pci"})
    assert board.ask("01:00", iommu_passthrough=True)["reboot_required"]
    board.reboot()
    assert not board.ask("01:00", iommu_passthrough=True)["reboot_required"]
    assert board.ask("01:00")["reboot_required"]


def test_proxmox_boot_tool_is_used_where_it_boots(host: Callable[[str], Host]) -> None:
    twins = host("twins")
    twins.machine.write("etc/kernel/proxmox-boot-uuids", "AB12-CD34\n")
    twins.machine.write("etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n")
    twins.converged("0b:00", iommu_passthrough=True)
    assert twins.machine.read("etc/kernel/cmdline") == "root=ZFS=rpool/ROOT/pve-1 boot=zfs iommu=pt\n"
    assert twins.machine.read(GRUB) == UNTOUCHED
    twins.converged(state="absent")
    assert twins.machine.read("etc/kernel/cmdline") == "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n"


def test_an_unknown_boot_loader_is_refused_only_if_it_matters(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.machine.write("proc/cmdline", "root=/dev/sda1\n")
    assert "Nothing tells which boot loader" in board.refused("01:00", iommu_passthrough=True)["msg"]
    board.converged("01:00")
    board.converged("01:00", iommu_passthrough=True, bootloader="grub")


def test_an_acs_override_is_written_first_and_warned_of(host: Callable[[str], Host]) -> None:
    board = host("chipset_slot")
    told = board.converged("10de:1b81", acs_override=["id:1022:43c7", "downstream"])
    assert (told["complete"], told["parameters"]) == (False, ["pcie_acs_override=id:1022:43c7,downstream"])
    assert topics(told, "warning") == ["acs_override"]
    assert topics(told, "problem") == []
    board.reboot()
    assert "a network card" in board.refused("10de:1b81", acs_override=["id:1022:43c7", "downstream"])["msg"]


def test_an_acs_override_of_its_own_is_changed(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ask("01:00", acs_override=["downstream"])
    board.reboot()
    board.converged("01:00", acs_override=["multifunction"])
    assert board.machine.read(GRUB) == UNTOUCHED.replace("quiet", "quiet pcie_acs_override=multifunction")
    board.converged("01:00", state="absent")
    assert board.machine.read(GRUB) == UNTOUCHED


def test_an_acs_override_leaves_what_is_bound(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ask("01:00")
    before = board.machine.read(MODPROBE)
    board.converged("01:00", acs_override=["downstream"])
    added = "# Added to the kernel's command line: pcie_acs_override=downstream\n"
    assert board.machine.read(MODPROBE).replace(added, "") == before


# Taking back


def test_absent_takes_back_its_own_and_nothing_else(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.machine.write("etc/modprobe.d/others.conf", "options kvm ignore_msrs=1\n")
    before = board.files()
    board.converged("01:00", iommu_passthrough=True)
    told = board.converged(state="absent")
    assert {path: board.files()[path] for path in before} == before
    assert {Path(path).name for path in set(board.files()) - set(before)} <= {"gpu_passthrough.reboot"}
    assert told["devices"] == []


def test_absent_needs_a_reboot_until_the_cards_are_free(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ask("01:00")
    board.reboot(drivers={"01:00.0": "vfio-pci", "01:00.1": "vfio-pci"})
    assert board.ask(state="absent")["reboot_required"]
    assert board.ansible.ran == [INITRAMFS]
    assert board.ask(state="absent")["reboot_required"]
    board.reboot(drivers={"01:00.0": "nouveau", "01:00.1": "snd_hda_intel"})
    told = board.predicted(state="absent")
    assert (told["changed"], told["reboot_required"]) == (False, False)


def test_absent_before_a_reboot_needs_none(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ask("01:00", iommu_passthrough=True)
    assert not board.ask(state="absent")["reboot_required"]


def test_a_card_that_others_bound_is_not_theirs_to_give_back(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.machine.bind("0000:01:00.0", "vfio-pci")
    told = board.predicted("01:00", state="absent")
    assert (told["changed"], told["reboot_required"]) == (False, False)


# Failures


def test_a_failure_of_the_initramfs_puts_everything_back(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    before = board.files()
    board.ansible.answers[INITRAMFS] = [(1, "", "No space left on device\n"), (0, "", "")]
    told = board.ask("01:00", iommu_passthrough=True)
    assert told["msg"].startswith(
        f"'{INITRAMFS}' failed with exit code 1: No space left on device. The earlier content of"
    )
    assert board.files() == before


def test_a_failure_of_the_boot_loader_puts_everything_back(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    before = board.files()
    board.ansible.answers["update-grub"] = [(1, "", "no space"), (0, "", "")]
    assert board.ask("01:00", iommu_passthrough=True)["failed"]
    assert board.files() == before
    # The initramfs that was built with the new files is built once more.
    assert board.ansible.ran == [INITRAMFS, "update-grub", INITRAMFS, "update-grub"]


def test_a_run_that_ended_in_between_is_made_up_for(host: Callable[[str], Host]) -> None:
    board = host("b650e")
    board.ansible.answers[INITRAMFS] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        board.ask("01:00", iommu_passthrough=True)
    board.ansible.answers.clear()
    told = board.predicted("01:00", iommu_passthrough=True)
    assert (told["changed"], told["diff"]) == (True, [])
    assert board.ansible.ran == [INITRAMFS, "update-grub"]
    assert not board.ask("01:00", iommu_passthrough=True)["changed"]


# What is asked for


def test_a_card_that_is_not_there_is_refused_with_those_that_are(host: Callable[[str], Host]) -> None:
    assert host("b650e").refused("10de:1234")["msg"] == (
        "This machine has no device 10de:1234. Its graphics cards: 0000:01:00.0 (VGA compatible controller: NVIDIA"
        " Corporation AD102 [GeForce RTX 4090] [10de:2684]); 0000:0c:00.0 (VGA compatible controller: Advanced Micro"
        " Devices, Inc. [AMD/ATI] Raphael [1002:164e])."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "devices: say what virtual machines are to have"),
        ({"devices": ["gpu"]}, "'gpu' is neither an address"),
        ({"devices": ["01:00"], "accepted": ["05:00"]}, "accepted: this machine has no device 05:00."),
        ({"devices": ["01:00"], "acs_override": ["all"]}, "acs_override: 'all' is none of downstream"),
        ({"devices": ["01:00"], "acs_override": ["id:8086"]}, "acs_override: 'id:8086' is none of downstream"),
    ],
)
def test_a_mistake_is_refused(host: Callable[[str], Host], options: dict[str, Any], sentence: str) -> None:
    assert host("b650e").refused(**options)["msg"].startswith(sentence)


def test_the_doctor_changes_nothing_and_does_not_fail(host: Callable[[str], Host]) -> None:
    board = host("chipset_slot")
    before = board.files()
    told = board.doctor()
    assert board.files() == before
    assert not told["changed"]
    assert [device["address"] for device in told["devices"]] == ["0000:04:00.0", "0000:04:00.1"]
    assert "group" in topics(told, "problem")


def test_the_doctor_looks_at_the_only_card_even_if_the_firmware_starts_on_it(host: Callable[[str], Host]) -> None:
    told = host("laptop").doctor()
    assert topics(told, "problem")[0] == "boot_gpu"


def test_topics_are_those_of_the_documentation() -> None:
    known = set(re.findall(r'self\.note\([^"]*"(\w+)"', Path(passthrough.__file__).read_text()))
    described = " ".join(gpu_passthrough.RETURN.split("topic:")[1].split("message:")[0].split())
    assert known == set(re.findall(r"V\((\w+)\)", described))
