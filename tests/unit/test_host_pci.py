# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pci_info tells of real machines, by the files that their kernels show."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
COLLECTION = "ansible_collections.onprem.cloud.plugins"
pci = importlib.import_module(f"{COLLECTION}.module_utils.host.pci")
pci_info = importlib.import_module(f"{COLLECTION}.modules.pci_info")
files = importlib.import_module(f"{COLLECTION}.module_utils.host.files")

Unfold = Callable[[str], Any]
Ask = Callable[..., dict[str, Any]]

CARD = "0000:01:00.0"


@pytest.fixture
def ask(ansible: Any) -> Ask:
    """Ask for devices of a machine."""
    return lambda root, *devices: ansible.call(pci_info, root, devices=list(devices))


def test_a_card_with_all_that_the_kernel_shows(ask: Ask, unfold: Unfold) -> None:
    assert ask(unfold("b650e").root)["devices"][CARD] == {
        "address": CARD,
        "id": "10de:2684",
        "subsystem_id": "1458:40bf",
        "class": "display",
        "class_id": "030000",
        "class_name": "VGA compatible controller",
        "vendor_name": "NVIDIA Corporation",
        "device_name": "AD102 [GeForce RTX 4090]",
        "revision": "a1",
        "driver": "nouveau",
        "driver_module": "nouveau",
        "drivers": ["nouveau", "nvidiafb"],
        "iommu_group": 13,
        "upstream": ["0000:00:01.1"],
        "bridge": False,
        "boot_gpu": False,
    }


def test_the_machine_with_a_card_and_graphics_of_its_own(ask: Ask, unfold: Unfold) -> None:
    told = ask(unfold("b650e").root)
    assert told["groups"]["13"] == [CARD, "0000:01:00.1"]
    assert list(told["groups"]) == sorted(told["groups"], key=int)
    assert told["iommu"] == {"active": True, "kind": "amd", "firmware": "amd", "interrupt_remapping": True}
    assert told["boot_gpu"] == "0000:0c:00.0"
    assert (told["cpu_virtualization"], told["secure_boot"], told["kernel"]) == ("svm", False, "6.8.12-9-pve")
    assert told["devices"]["0000:00:00.2"]["iommu_group"] is None


def test_a_machine_without_an_iommu(ask: Ask, unfold: Unfold) -> None:
    told = ask(unfold("no_iommu").root)
    assert told["groups"] == {}
    assert told["iommu"] == {"active": False, "kind": None, "firmware": None, "interrupt_remapping": False}
    assert told["cpu_virtualization"] == "vmx"


def test_an_iommu_of_which_the_kernel_makes_no_use(ask: Ask, unfold: Unfold) -> None:
    machine = unfold("no_iommu")
    machine.write("sys/firmware/acpi/tables/DMAR", "")
    assert ask(machine.root)["iommu"] == {
        "active": False,
        "kind": None,
        "firmware": "intel",
        "interrupt_remapping": False,
    }


@pytest.mark.parametrize(
    ("name", "kind"), [("intel", "intel"), ("twins", "amd"), ("switch", "intel"), ("laptop", "amd")]
)
def test_iommus_of_both_makers(ask: Ask, unfold: Unfold, name: str, kind: str) -> None:
    iommu = ask(unfold(name).root)["iommu"]
    assert iommu == {"active": True, "kind": kind, "firmware": kind, "interrupt_remapping": True}


@pytest.mark.parametrize("chip", ["IR-IO-APIC    2-edge", "INTEL-IR    1-edge", "IR-PCI-MSI 524288-edge"])
def test_the_chips_tell_that_interrupts_are_remapped(ask: Ask, unfold: Unfold, chip: str) -> None:
    machine = unfold("no_iommu")
    assert not ask(machine.root)["iommu"]["interrupt_remapping"]
    machine.write("proc/interrupts", f"           CPU0\n   0:         20  {chip}      timer\n")
    assert ask(machine.root)["iommu"]["interrupt_remapping"]


@pytest.mark.parametrize("chip", ["IO-APIC    2-edge      timer", "PCI-MSI-0000:00:1f.2    0-edge      AIR-0"])
def test_other_chips_tell_that_they_are_not(ask: Ask, unfold: Unfold, chip: str) -> None:
    machine = unfold("intel")
    machine.write("proc/interrupts", f"           CPU0\n   0:         20  {chip}\n")
    assert not ask(machine.root)["iommu"]["interrupt_remapping"]


def test_a_device_behind_a_switch_names_all_bridges(ask: Ask, unfold: Unfold) -> None:
    device = ask(unfold("switch").root, "4f:00.0")["devices"]["0000:4f:00.0"]
    assert device["upstream"] == [
        f"0000:{bridge}" for bridge in ("4a:02.0", "4b:00.0", "4c:00.0", "4d:00.0", "4e:10.0")
    ]
    assert (device["driver"], device["driver_module"]) == ("nvidia", "nvidia")


def test_a_driver_is_told_apart_from_its_module(ask: Ask, unfold: Unfold) -> None:
    devices = ask(unfold("intel").root, "01:00")["devices"]
    assert [(d["driver"], d["driver_module"], d["drivers"]) for d in devices.values()] == [
        ("nouveau", "nouveau", ["nouveau", "nvidiafb"]),
        ("snd_hda_intel", "snd_hda_intel", ["snd_hda_intel"]),
        ("xhci_hcd", "xhci_pci", ["xhci_pci"]),
        ("nvidia-gpu", "i2c_nvidia_gpu", ["i2c_nvidia_gpu"]),
    ]


def test_a_driver_in_the_kernel_itself_has_no_module(ask: Ask, unfold: Unfold) -> None:
    bridge = ask(unfold("intel").root, "00:01.0")["devices"]["0000:00:01.0"]
    assert (bridge["driver"], bridge["driver_module"], bridge["bridge"]) == ("pcieport", None, True)


def test_secure_boot_is_on(ask: Ask, unfold: Unfold) -> None:
    assert ask(unfold("laptop").root)["secure_boot"]


@pytest.mark.parametrize(
    ("selector", "functions"),
    [
        ("0000:01:00.1", ["01:00.1"]),
        ("01:00.1", ["01:00.1"]),
        ("01:00", ["01:00.0", "01:00.1"]),
        ("0000:01:00", ["01:00.0", "01:00.1"]),
        ("0001:01:00", []),
        ("10DE:2684", ["01:00.0"]),
        ("10de:ffff", []),
        ("display", ["01:00.0", "0c:00.0"]),
        ("0300", ["01:00.0", "0c:00.0"]),
        ("audio", ["01:00.1", "0c:00.1", "0c:00.6"]),
        ("network", ["07:00.0", "08:00.0"]),
        ("storage", ["02:00.0", "0b:00.0"]),
        ("usb", ["0a:00.0", "0c:00.3", "0c:00.4", "0d:00.0"]),
        ("serial", ["00:14.0", "0a:00.0", "0c:00.3", "0c:00.4", "0d:00.0"]),
    ],
)
def test_devices_are_chosen(ask: Ask, unfold: Unfold, selector: str, functions: list[str]) -> None:
    assert list(ask(unfold("b650e").root, selector)["devices"]) == [f"0000:{function}" for function in functions]


def test_several_selectors_choose_each_device_once(ask: Ask, unfold: Unfold) -> None:
    assert len(ask(unfold("b650e").root, "01:00", "10de:2684", "01:00.0")["devices"]) == 2


@pytest.mark.parametrize("selector", ["gpu", "01:00.9", "0000:1:00.0", "10de:268", "03000", ""])
def test_a_selector_that_means_nothing_is_refused(ask: Ask, unfold: Unfold, selector: str) -> None:
    told = ask(unfold("b650e").root, selector)
    assert told["msg"].startswith(f"devices: '{selector}' is neither an address such as 0000:01:00.0")


def test_classes_are_named_by_the_longest_number(ask: Ask, unfold: Unfold) -> None:
    devices = ask(unfold("laptop").root)["devices"]
    assert {address[5:]: devices[address]["class"] for address in devices if address.startswith("0000:04")} == {
        "04:00.0": "display",
        "04:00.1": "audio",
        "04:00.2": "encryption",
        "04:00.3": "usb",
        "04:00.4": "usb",
        "04:00.5": "multimedia",
        "04:00.6": "audio",
    }
    assert devices["0000:00:00.2"]["class"] == "system"


def test_without_the_list_of_names_classes_still_have_some(ask: Ask, unfold: Unfold) -> None:
    machine = unfold("b650e")
    (machine.root / "usr/share/misc/pci.ids").unlink()
    devices = ask(machine.root)["devices"]
    assert (devices[CARD]["vendor_name"], devices[CARD]["device_name"]) == (None, None)
    assert devices[CARD]["class_name"] == "VGA compatible controller"
    assert devices["0000:00:00.2"]["class_name"] == "Device of class 080600"


def test_the_list_of_names_of_other_distributions_is_read(ask: Ask, unfold: Unfold) -> None:
    machine = unfold("b650e")
    (machine.root / "usr/share/hwdata").mkdir()
    (machine.root / "usr/share/misc/pci.ids").rename(machine.root / "usr/share/hwdata/pci.ids")
    assert ask(machine.root, CARD)["devices"][CARD]["vendor_name"] == "NVIDIA Corporation"


def test_a_device_that_the_list_does_not_have_keeps_its_number(unfold: Unfold) -> None:
    machine = pci.read(files.Files(str(unfold("b650e").root)))
    assert machine.devices["0000:00:01.1"].title() == (
        "0000:00:01.1 (PCI bridge: Advanced Micro Devices, Inc. [AMD] [1022:14db])"
    )
    assert machine.devices[CARD].title() == (
        "0000:01:00.0 (VGA compatible controller: NVIDIA Corporation AD102 [GeForce RTX 4090] [10de:2684])"
    )


def test_a_machine_without_pci_has_nothing(ask: Ask, tmp_path: Path) -> None:
    told = ask(tmp_path)
    assert (told["devices"], told["groups"], told["boot_gpu"], told["kernel"]) == ({}, {}, None, "")


def test_the_documentation_names_all_classes() -> None:
    described = re.search(r"A class by name, that is (.*?), or by its number", " ".join(pci_info.DOCUMENTATION.split()))
    assert sorted(re.findall(r"V\((\w+)\)", described[1])) == sorted(pci.CLASSES)


def test_this_computer_can_be_read(ask: Ask) -> None:
    told = ask(Path("/"))
    assert told["kernel"]
    assert set(told["devices"]) >= {address for group in told["groups"].values() for address in group}
