# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role proxmox_storage on real disks, with the real ZFS and LVM, through a reboot and the loss of a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .images import ZFS
from .machine import Hardware, Machine
from .playing import Play, play
from .zfs import ensure_modules

HERE = Path(__file__).parent
NAMES = ("mirror1", "mirror2", "mirror3", "mirror4", "ssd", "lvm1", "lvm2", "foreign")
DISKS = {name: Hardware.by_id(name) for name in NAMES}
POOL: dict[str, Any] = {
    "name": "tank", "vdevs": [{"disks": [DISKS["mirror1"], DISKS["mirror2"]]}], "scrub": "weekly", "trim": "monthly",
}  # fmt: skip
WANTED: dict[str, Any] = {
    "proxmox_storage_pools": [POOL],
    "proxmox_storage_datasets": [
        {"name": "tank", "properties": {"compression": "lz4", "atime": "off"}},
        {"name": "tank/files", "properties": {"quota": "1G", "reservation": "100M", "mountpoint": "/srv/files"}},
    ],
    "proxmox_storage_volume_groups": [{"name": "data", "disks": [DISKS["lvm1"]]}],
    "proxmox_storage_logical_volumes": [
        {"name": "db", "group": "data", "size": "400M"},
        {"name": "thin", "group": "data", "size": "400M", "type": "thin_pool"},
    ],
    "proxmox_storage_directories": [{"path": "/srv/db", "device": "/dev/data/db"}],
}
GROWN: dict[str, Any] = {
    **WANTED,
    "proxmox_storage_pools": [{
        **POOL, "vdevs": [*POOL["vdevs"], {"disks": [DISKS["mirror3"], DISKS["mirror4"]]}], "cache": [DISKS["ssd"]],
    }],
    "proxmox_storage_volume_groups": [{"name": "data", "disks": [DISKS["lvm1"], DISKS["lvm2"]]}],
    "proxmox_storage_logical_volumes": [
        {"name": "db", "group": "data", "size": "2600M"},
        {"name": "thin", "group": "data", "size": "500M", "type": "thin_pool"},
    ],
}  # fmt: skip


def role(machine: Machine, *options: str, **variables: Any) -> Play:
    return play(machine, HERE / "proxmox_storage.yml", *options, **{**WANTED, **variables})


def state(machine: Machine) -> str:
    """What the disks, pools and volumes are, and what is mounted."""
    return machine.run(
        "lsblk --noheadings --output NAME,SIZE,FSTYPE,LABEL,MOUNTPOINTS; zpool status -P; "
        "zfs get -H -s local -o name,property,value all; "
        "vgs --noheadings; lvs --noheadings; cat /etc/fstab; wipefs /dev/sd?; "
        "ls /etc/systemd/system/timers.target.wants"
    )


def answer(machine: Machine, command: str) -> list[str]:
    return machine.run(command).split()


@pytest.fixture
def machine(boot: Callable[..., Machine], images: Path) -> Machine:
    modules = ensure_modules((images / "kernel").read_text())
    machine = boot("grub", Hardware(disks=NAMES))
    machine.unpack(modules, "/usr/lib/zfs")
    machine.run(f"systemctl --quiet enable {' '.join(ZFS)} && systemctl start zfs-load-module.service")
    return machine


def test_disks_become_pools_and_volumes_that_grow_and_survive(machine: Machine) -> None:
    foreign = DISKS["foreign"]
    machine.run(f"mkfs.ext4 -q -L photos {foreign} && mkdir /photos && mount {foreign} /photos && touch /photos/first")
    before = state(machine)

    refused = role(machine, proxmox_storage_pools=[{**POOL, "cache": [foreign]}])
    assert refused.code == 2, refused.output
    for words in (foreign, "an ext4 file system 'photos' (mounted at /photos)"):
        assert words in " ".join(refused.output.split())
    assert state(machine) == before

    assert role(machine, "--check").succeeded().changed == 1
    assert state(machine) == before

    assert role(machine).succeeded().changed == 1
    assert answer(machine, "zfs get -Hpo value compression,quota,reservation,mountpoint tank/files") == [
        "lz4", str(1 << 30), str(100 << 20), "/srv/files",
    ]  # fmt: skip
    assert (
        answer(machine, "systemctl is-active zfs-scrub-weekly@tank.timer zfs-trim-monthly@tank.timer") == ["active"] * 2
    )
    machine.run("cp /usr/bin/python3 /srv/files/kept && cp /usr/bin/python3 /srv/db/kept && sync")
    assert answer(machine, "lvs --noheadings -o lv_name,segtype data") == ["db", "linear", "thin", "thin-pool"]

    again = state(machine)
    assert role(machine).succeeded().changed == 0
    assert state(machine) == again

    # Grown while something writes.
    write = "while sleep 0.2; do date >> /srv/files/log; date >> /srv/db/log; done"
    machine.run(f"systemd-run --quiet --unit writer sh -c '{write}'")
    assert role(machine, **GROWN).succeeded().changed == 1
    pool = machine.run("zpool status -P tank")
    assert pool.count("mirror-") == 2
    assert pool.index("cache") < pool.index(DISKS["ssd"])
    assert int(machine.run("zpool list -Hpo size tank")) > 3 << 30
    assert int(machine.run("df --output=size --block-size=M /srv/db | tail -n 1").strip("M ")) > 2400
    machine.run("systemctl stop writer && test $(stat -c %Y /srv/files/log) -gt $(($(date +%s) - 30))")
    assert role(machine, "--check", **GROWN).succeeded().changed == 0

    machine.reboot()
    machine.run("cmp /usr/bin/python3 /srv/files/kept && cmp /usr/bin/python3 /srv/db/kept")
    assert role(machine, **GROWN).succeeded().changed == 0

    # A pool that is there and not imported is imported, never created.
    machine.run("zpool export tank")
    assert role(machine, **GROWN).succeeded().changed == 1
    machine.run("cmp /usr/bin/python3 /srv/files/kept")

    play(machine, HERE / "node_exporter.yml").succeeded()
    healthy = 'node_zfs_zpool_state{state="online",zpool="tank"}'
    degraded = 'node_zfs_zpool_state{state="degraded",zpool="tank"}'
    metrics = (
        "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:9100/metrics\").read().decode())'"
    )
    assert f"{healthy} 1" in machine.run(metrics)
    machine.qmp("device_del", id="mirror2")
    machine.run("cp /usr/bin/python3 /srv/files/more && zpool sync tank && cmp /usr/bin/python3 /srv/files/more")
    told = machine.run(metrics)
    assert f"{degraded} 1" in told
    assert f"{healthy} 0" in told
    assert "DEGRADED" in role(machine, **GROWN).succeeded().output
