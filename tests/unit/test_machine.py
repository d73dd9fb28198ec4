# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the machines in QEMU can be told without starting one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.machines import LabError
from tests.machine import images
from tests.machine.machine import Hardware, Machine
from tests.machine.playing import Play


def devices(hardware: Hardware) -> list[str]:
    arguments = hardware.arguments()
    return [value for key, value in zip(arguments, arguments[1:]) if key == "-device"]


def test_a_machine_has_only_the_hardware_that_was_asked_for() -> None:
    assert devices(Hardware()) == []
    assert devices(Hardware(iommu="intel")) == ["intel-iommu,intremap=on,caching-mode=on"]
    assert devices(Hardware(iommu="amd")) == ["amd-iommu,intremap=on"]


def test_neighbors_are_further_functions_of_the_card() -> None:
    found = devices(Hardware(card=True, neighbors=("nvme", "e1000e")))
    on_the_card = [device.split(",") for device in found if "bus=card" in device]
    assert [(part[0], part[2]) for part in on_the_card] == [
        ("secondary-vga", "addr=00.0"), ("ich9-intel-hda", "addr=00.1"), ("nvme", "addr=00.2"), ("e1000e", "addr=00.3"),
    ]  # fmt: skip


def test_disks_are_empty_and_keep_what_is_written_through_a_reboot(tmp_path: Path) -> None:
    hardware = Hardware(disks=("one", "two"))
    machine = Machine(tmp_path / "disk", tmp_path / "variables", tmp_path, tmp_path / "key", hardware)
    found = machine.disks()
    assert [value.split(",")[2] for value in found if value.startswith("scsi-hd")] == ["id=one", "id=two"]
    assert [(tmp_path / f"{name}.disk").stat().st_blocks for name in hardware.disks] == [0, 0]
    (tmp_path / "one.disk").write_bytes(b"kept")
    assert machine.disks() == found
    assert (tmp_path / "one.disk").read_bytes() == b"kept"


def test_ansible_reaches_a_machine_as_the_tests_do(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "disk", tmp_path / "variables", tmp_path, tmp_path / "key", Hardware())
    machine.sockets, machine.port = tmp_path, 2222
    host = machine.inventory("pve1")["all"]["hosts"]["pve1"]
    assert (host["ansible_host"], host["ansible_port"]) == ("127.0.0.1", 2222)
    assert host["ansible_ssh_args"].split() == machine.ssh_options()


def test_an_error_shows_the_end_of_the_console(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "disk", tmp_path / "variables", tmp_path, tmp_path / "key", Hardware())
    assert "(nothing)" in str(machine.error("it did not start"))
    machine.log.write_text("early\n" * 1000 + "Kernel panic")
    assert str(machine.error("it did not start")).endswith("Kernel panic")


def test_disks_are_built_anew_when_what_they_are_made_of_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images.digest()
    copy = tmp_path / "machine"
    shutil.copytree(images.HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(images, "HERE", copy)
    assert images.digest() == before
    (copy / "guest/etc/hostname").write_text("another\n")
    changed = images.digest()
    assert changed != before
    (copy / "guest/usr/sbin/proxmox-boot-tool").chmod(0o644)
    assert images.digest() not in (before, changed)


def test_disks_in_use_are_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "disks"
    folder.mkdir()
    (folder / "ssh_key").touch()
    with images.in_use(folder):
        images.remove_unused(folder)
        assert folder.exists()
    images.remove_unused(folder)
    assert not folder.exists()


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "NEEDED", {"qemu-system-x86": "/nonexistent/qemu", "fdisk": "/bin/sh"})
    monkeypatch.setattr("tests.lab.machines.is_root", lambda: False)
    with pytest.raises(LabError, match="apt-get install qemu-system-x86\\)"):
        images.ensure_programs()


SCRIPTS = [*sorted(images.HERE.rglob("*.sh")), images.HERE / "guest/usr/sbin/proxmox-boot-tool"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid(script: Path) -> None:
    assert subprocess.run(["sh", "-n", script], capture_output=True, check=False).stderr == b""


def test_changes_are_read_from_the_recap() -> None:
    assert Play(0, "PLAY RECAP ***\nmachine   : ok=3    changed=2    unreachable=0    failed=0 \n").changed == 2
