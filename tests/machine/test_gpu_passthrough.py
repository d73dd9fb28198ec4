# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gpu_passthrough on real kernels: what the kernel's drivers hold before, with it, and after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .machine import Hardware, Machine
from .playing import Play, play

PLAYBOOK = Path(__file__).parent / "gpu_passthrough.yml"
CARD = {Hardware.display_function: "bochs-drm", Hardware.audio_function: "snd_hda_intel"}
# The role's own parameter that these kernels do not need: it shows that the command line reaches the kernel.
WANTED = {"gpu_passthrough_devices": ["01:00"], "gpu_passthrough_iommu_passthrough": True}


def role(machine: Machine, *options: str, **variables: Any) -> Play:
    return play(machine, PLAYBOOK, *options, **{**WANTED, **variables})


def files(machine: Machine, *folders: str) -> str:
    """What there is: names, owners, modes, sizes, times and, of what is not big, contents."""
    look = " ".join(folders or ("/etc", "/boot", "/mnt"))
    return machine.run(
        # The EFI system partition, where it is not seen in /boot/efi.
        f"findmnt /dev/vda1 > /dev/null || mount -o ro /dev/vda1 /mnt; "
        f"find {look} -printf '%p %M %U %G %s %T@ %l\\n' | sort; "
        f"find {look} -type f -size -1024k -exec sha256sum {{}} + | sort; ! mountpoint -q /mnt || umount /mnt"
    )


def contents(machine: Machine) -> str:
    """What the files of /etc say."""
    return machine.run("find /etc -type f -exec sha256sum {} + | sort")


@pytest.mark.parametrize(("layout", "iommu"), [("grub", "intel"), ("systemd-boot", "amd")])
def test_a_card_is_handed_over_and_taken_back(boot: Callable[..., Machine], layout: str, iommu: str) -> None:
    machine = boot(layout, Hardware(iommu=iommu, card=True, onboard=True))
    drivers, before, said = machine.drivers(), files(machine), contents(machine)
    assert CARD.items() <= drivers.items()
    groups = machine.groups()
    assert groups[Hardware.display_function] == groups[Hardware.audio_function]
    # The machine has more that these two drivers hold, and keeps it.
    assert drivers[Hardware.onboard_audio] == "snd_hda_intel"

    predicted = role(machine, "--check").succeeded()
    assert predicted.changed == 1
    assert files(machine) == before

    applied = role(machine, gpu_passthrough_reboot=True).succeeded()
    assert applied.changed == 2, applied.output  # the files, and the reboot
    assert machine.drivers() == {**drivers, **dict.fromkeys(CARD, "vfio-pci")}
    assert "iommu=pt" in machine.read("/proc/cmdline").split()

    again = files(machine)
    assert role(machine, gpu_passthrough_reboot=True).succeeded().changed == 0
    assert role(machine, "--check").succeeded().changed == 0
    assert files(machine) == again

    assert role(machine, "--check", gpu_passthrough_state="absent").succeeded().changed == 1
    assert files(machine) == again
    assert role(machine, gpu_passthrough_state="absent").succeeded().changed == 1
    machine.reboot()
    assert machine.drivers() == drivers
    assert "iommu=pt" not in machine.read("/proc/cmdline").split()
    assert contents(machine) == said
    assert role(machine, gpu_passthrough_state="absent").succeeded().changed == 0


def test_a_group_with_a_disk_and_a_network_card_is_refused(boot: Callable[..., Machine]) -> None:
    machine = boot("systemd-boot", Hardware(iommu="intel", card=True, neighbors=("nvme", "e1000e")))
    drivers, before = machine.drivers(), files(machine)
    assert [drivers[f"0000:01:00.{number}"] for number in (2, 3)] == ["nvme", "e1000e"]
    for accepted in ([], ["01:00.2", "01:00.3"]):
        refused = role(machine, gpu_passthrough_devices=["01:00.0", "01:00.1"], gpu_passthrough_accepted=accepted)
        assert refused.code == 2, refused.output
        for name in ("0000:01:00.2", "Non-Volatile memory controller", "0000:01:00.3", "Ethernet controller"):
            assert name in refused.output
    assert files(machine) == before
    assert machine.drivers() == drivers
