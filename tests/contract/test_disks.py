# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the disks of a node, and that no disk is ever taken that holds anything."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.disks import Disks
from fakepve import PveError

from tests.contract.life import Life, both, limited, nothing, whole_life

DIRECTORY, LVM, THIN, ZFS = "pve_disk_directory", "pve_disk_lvm", "pve_disk_lvmthin", "pve_disk_zfs"
RECORDED = Path(__file__).parents[1] / "unit/recordings/node.jsonl"
CONSENT = {"destroy_data": True, "cleanup_disks": True, "cleanup_config": True}
LINK = "/dev/disk/by-id"
SPELLINGS = [
    {"device": f"{LINK}/ata-EXAMPLE_SER0002"},
    {"device": f"{LINK}/wwn-0x5000c50000000002"},
    {"device": f"{LINK}/scsi-SATA_EXAMPLE_SER0002"},
]


def ident(name, **more):
    return {"node": "pve1", "name": name, **CONSENT, **more}


LIVES = (
    Life(
        DIRECTORY,
        ident("backup"),
        {"device": "/dev/sdb", "filesystem": "xfs"},
        {},
        spellings=[*SPELLINGS, {"device": "/dev/sdb1"}, {"device": f"{LINK}/ata-EXAMPLE_SER0002-part1"}],
    ),
    Life(DIRECTORY, ident("system"), {"device": "/dev/nvme0n1"}, {}, spellings=[{"filesystem": "ext4"}]),
    Life(LVM, ident("guests"), {"device": "/dev/sdb"}, {}, spellings=SPELLINGS),
    Life(THIN, ident("fast"), {"device": "/dev/sdb"}, {}, spellings=[*SPELLINGS, {"volume_group": "fast"}]),
    Life(
        ZFS,
        ident("tank"),
        {"devices": ["/dev/sdb", "/dev/sdc"], "raidlevel": "mirror"},
        {},
        spellings=[
            {"devices": [f"{LINK}/ata-EXAMPLE_SER0003", f"{LINK}/wwn-0x5000c50000000002"]},
            {"devices": "/dev/sdc,/dev/sdb"},
            {"ashift": 12, "compression": "zstd"},
        ],
    ),
    Life(ZFS, ident("one"), {"devices": ["/dev/vda"], "raidlevel": "single"}, {}),
)
MAKERS = [LIVES[0], LIVES[2], LIVES[3], LIVES[4]]


def names(life):
    return f"{life.module}-{life.ident['name']}"


each = pytest.mark.parametrize("life", MAKERS, ids=names)


@pytest.mark.parametrize("life", LIVES, ids=names)
def test_whole_life(run, life):
    before = copy.deepcopy(run.api.pve.disks_of("pve1"))
    whole_life(run, life)
    assert {path: item.get("used") for path, item in before.items()} == {
        path: item.get("used") for path, item in run.api.pve.disks_of("pve1").items()
    }


@each
def test_the_documented_privileges_are_enough_and_necessary(run, life):
    privileges = {"Sys_Audit": "/", "Sys_Modify": "/", "Datastore_Allocate": "/storage"}
    life = Life(life.module, life.ident, {**life.created, "add_storage": True}, {})
    whole_life(run, limited(run, life, **privileges))
    for privilege in privileges:
        fewer = limited(run, life, **{name: path for name, path in privileges.items() if name != privilege})
        assert "privilege" in run.fails(life.module, {**fewer.ident, **life.created})


@each
def test_a_storage_is_made_on_it_and_goes_with_it(run, life):
    name = life.ident["name"]
    run(life.module, {**life.ident, **life.created, "add_storage": True})
    assert run.api.pve.storages[name]["nodes"] == "pve1"
    run(life.module, {**life.ident, "state": "absent", "cleanup_config": False})
    assert name in run.api.pve.storages
    run.api.pve.storages.pop(name)
    run(life.module, {**life.ident, **life.created, "add_storage": True})
    run(life.module, {**life.ident, "state": "absent"})
    assert name not in run.api.pve.storages


@each
def test_a_storage_of_that_name_is_in_nobodys_way_on_another_node(run, life):
    run.api.pve.add_node("pve2")
    name = life.ident["name"]
    given = {**life.ident, **life.created, "add_storage": True}
    kind = {DIRECTORY: "dir", LVM: "lvm", THIN: "lvmthin", ZFS: "zfspool"}[life.module]
    place = {
        DIRECTORY: {"path": f"/mnt/pve/{name}"},
        LVM: {"vgname": name},
        THIN: {"vgname": name, "thinpool": name},
        ZFS: {"pool": name},
    }[life.module]
    run.api.pve.storages[name] = {"type": kind, **place, "active": 1, "content": "images", "files": set()}
    assert f"this node has a storage '{name}' already, choose another name" in run.fails(life.module, given)
    assert run.api.writes() == []
    run.api.pve.storages[name]["nodes"] = "pve2"
    for key in ("type", next(iter(place))):
        run.api.pve.storages[name].update({key: "btrfs" if key == "type" else "/elsewhere"})
        words = f"'{name}' is a storage of pve2 with {key} {run.api.pve.storages[name][key]}, which cannot be the same"
        assert words in run.fails(life.module, given, check=True)
        assert run.api.writes() == []
        run.api.pve.storages[name].update({"type": kind, **place})
    assert run(life.module, given)["changed"]
    assert run.api.pve.storages[name]["nodes"] == "pve1,pve2"


DEVICES = Disks(
    "pve1",
    [
        {"devpath": "/dev/sdb", "serial": "SER1", "wwn": "0x5000c500a1b2c3d4", "by_id_link": f"{LINK}/ata-DISK_SER1"},
        {"devpath": "/dev/sdb1", "parent": "/dev/sdb"},
        {"devpath": "/dev/sdc", "serial": "SER11", "wwn": "unknown"},
        {"devpath": "/dev/sdd", "serial": "TWIN", "wwn": "unknown"},
        {"devpath": "/dev/sde", "serial": "TWIN", "wwn": "unknown"},
        {"devpath": "/dev/nvme0n1", "serial": "NV1", "wwn": "eui.0025385b"},
        {"devpath": "/dev/nvme0n1p2", "parent": "/dev/nvme0n1"},
        {"devpath": "/dev/vda", "serial": "unknown", "wwn": "unknown"},
    ],
)


@pytest.mark.parametrize(
    ("link", "path"),
    [
        *(
            ("ata-DISK_SER1", "/dev/sdb"),
            ("wwn-0x5000c500a1b2c3d4", "/dev/sdb"),
            ("scsi-35000c500a1b2c3d4", "/dev/sdb"),
        ),
        *(("ata-DISK_SER1-part1", "/dev/sdb1"), ("ata-DISK_SER1-part2", None), ("ata-DISK_SER1-part", None)),
        *(("usb-DISK_SER11-0:0", "/dev/sdc"), ("ata-DISK_SER", None), ("ata-DISK_1", None), ("ata-DISK_TWIN", None)),
        *(
            ("nvme-DISK_NV1", "/dev/nvme0n1"),
            ("nvme-DISK_NV1_1", "/dev/nvme0n1"),
            ("nvme-eui.0025385b", "/dev/nvme0n1"),
        ),
        *(("nvme-DISK_NV1_1-part2", "/dev/nvme0n1p2"), ("virtio-unknown", None), ("wwn-unknown", None)),
    ],
)
def test_links_to_disks(link, path):
    assert DEVICES.find(f"{LINK}/{link}") == path


# ------------------------------------------------------------------------ never what holds anything

USED = {
    "/dev/sda": ["/dev/sda (EXAMPLE, SER0001, 8 TB)", "partitions", "/dev/sda1 (BIOS boot)", "/dev/sda3 (LVM)"],
    "/dev/sda3": ["holds LVM"],
    "/dev/sdx": ["partitions, /dev/sdx1 (ext4, mounted)"],
    "/dev/sdx1": ["holds ext4, mounted"],
    "/dev/sdy": ["holds Ceph OSD 3 and 4"],
    "/dev/sdz": ["holds ZFS"],
    f"{LINK}/ata-EXAMPLE_SER0026": ["/dev/sdz", "holds ZFS"],
}


@each
@pytest.mark.parametrize("device", USED)
def test_a_disk_in_use_is_refused_with_what_is_on_it_and_what_to_do(run, life, device):
    before = copy.deepcopy(run.api.pve.disks_of("pve1"))
    given = {"devices": ["/dev/sdb", device]} if life.module == ZFS else {"device": device}
    message = run.fails(life.module, {**life.ident, **life.created, **given})
    expected = [
        *USED[device],
        "is in use",
        f"'{life.ident['name']}' of node 'pve1'",
        "take another disk",
        "wipe this one",
    ]
    assert [word for word in expected if word not in message] == []
    assert "free on node 'pve1' are /dev/nvme0n1 (EXAMPLE, SER0040, 2 TB), /dev/sdb" in message
    assert message.endswith(".")
    # Nor does it help to consent to anything, or to try it first.
    assert run.fails(life.module, {**life.ident, **life.created, **given}, check=True) == message
    assert run.api.writes() == []
    assert run.api.pve.disks_of("pve1") == before


@pytest.mark.parametrize(
    "facts",
    [
        {"used": "mounted", "mounted": 1},
        {"used": "Device Mapper"},
        {"osdid": 0},
        {"osdid-list": [7]},
        {"mounted": 1},
        {"parts": {"/dev/sdb1": {}}, "gpt": 1},
    ],
    ids=str,
)
def test_every_sign_of_use_counts(run, facts):
    run.api.pve.disks_of("pve1")["/dev/sdb"].update(facts)
    assert "/dev/sdb (EXAMPLE, SER0002, 8 TB) is in use" in run.fails(LVM, {**LIVES[2].ident, "device": "/dev/sdb"})
    assert run.api.writes() == []


def test_the_disk_that_was_recorded_is_in_use(run, monkeypatch):
    recorded = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    (answer,) = [entry["response"]["data"] for entry in recorded if entry["path"].endswith("/disks/list")]
    (disk,) = answer
    assert set(disk) - {"mounted"} <= set(run.api.pve.disks_of("pve1")["/dev/vda"]) | {"osdid", "osdid-list", "used"}
    run.api.pve.disks["pve1"] = {disk["devpath"]: disk}
    message = run.fails(LVM, {**LIVES[2].ident, "device": "/dev/vda"})
    assert "/dev/vda (275 GB) is in use, it holds mounted: take another disk, no disk of node 'pve1' is free" in message


def test_an_empty_partition_beside_others_can_be_taken(run):
    run.api.pve.disks_of("pve1")["/dev/sda"]["parts"]["/dev/sda4"] = {}
    assert both(run, LIVES[2], {"device": "/dev/sda4"})["changed"]
    nothing(run, LIVES[2], {"device": f"{LINK}/ata-EXAMPLE_SER0001-part4"})


def test_a_disk_that_is_taken_meanwhile_is_left_to_who_took_it(run, monkeypatch):
    """The last word is PVE's own, which looks again."""

    def taken(node, path):
        raise PveError(500, f"device '{path}' is already in use")

    monkeypatch.setattr(run.api.pve, "_free", taken)
    assert "device '/dev/sdb' is already in use" in run.fails(LVM, {**LIVES[2].ident, "device": "/dev/sdb"})


@each
def test_what_is_not_a_disk_of_the_node_is_refused(run, life):
    for device, words in (
        ("/dev/sdq", ["no '/dev/sdq'", "/dev/nvme0n1"]),
        (f"{LINK}/ata-EXAMPLE_SER9999", ["no '/dev/disk/by-id/ata-EXAMPLE_SER9999'", f"/dev/sdb is {LINK}/ata-"]),
        (f"{LINK}/ata-EXAMPLE_SER0002-part3", ["no '/dev/disk/by-id/ata-EXAMPLE_SER0002-part3'"]),
        ("sdb", ["'sdb' is not a device such as /dev/sdb"]),
    ):
        given = {"devices": [device, "/dev/sdc"]} if life.module == ZFS else {"device": device}
        message = run.fails(life.module, {**life.ident, **life.created, **given})
        assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


def test_when_no_disk_is_free_it_is_said(run):
    for item in run.api.pve.disks_of("pve1").values():
        item.setdefault("used", "LVM")
    message = run.fails(LVM, {**LIVES[2].ident, "device": "/dev/sdb"})
    assert "no disk of node 'pve1' is free" in message


# ---------------------------------------------------------------------------- never without consent


@each
@pytest.mark.parametrize(
    ("consent", "words"),
    [
        ({}, ["set destroy_data to true", "cleanup_disks is missing", "cleanup_config is missing"]),
        ({"destroy_data": True}, ["cleanup_disks is missing, say whether", "cleanup_config is missing, say whether"]),
        ({"destroy_data": True, "cleanup_disks": False}, ["cleanup_config is missing"]),
        ({"cleanup_disks": True, "cleanup_config": True}, ["set destroy_data to true"]),
        ({**CONSENT, "destroy_data": False}, ["set destroy_data to true"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_nothing_is_removed_without_consent(run, life, consent, words):
    run(life.module, {**life.ident, **life.created})
    run.api.requests()
    given = {"node": "pve1", "name": life.ident["name"], "state": "absent", **consent}
    message = run.fails(life.module, given)
    assert [word for word in words if word not in message] == []
    assert run.fails(life.module, given, check=True) == message
    assert run.api.writes() == []
    nothing(run, life, life.created)


@pytest.mark.parametrize(
    ("life", "content", "words"),
    [
        (LIVES[0], {}, "what it holds would be lost"),
        (LIVES[2], {"plain": {"vm-100-disk-0": 10**9, "vm-101-disk-0": 10**9}}, "the 2 volumes in it would be lost"),
        (LIVES[3], {"used": 3 * 10**12}, "3 TB of data in it would be lost"),
        (LIVES[4], {"used": 4 * 10**9}, "4 GB of data in it would be lost"),
    ],
    ids=lambda value: names(value) if isinstance(value, Life) else "",
)
def test_who_is_asked_for_consent_is_told_what_there_is_to_lose(run, life, content, words):
    run(life.module, {**life.ident, **life.created})
    kind = {DIRECTORY: "directory", LVM: "lvm", THIN: "lvmthin", ZFS: "zfs"}[life.module]
    run.api.pve.made_of("pve1", kind)[life.ident["name"]].update(content)
    assert words in run.fails(life.module, {**life.ident, "state": "absent", "destroy_data": False})


@each
def test_what_is_gone_needs_no_consent(run, life):
    nothing(run, Life(life.module, {"node": "pve1", "name": life.ident["name"]}, {}, {}), {}, state="absent")


@each
def test_disks_are_wiped_only_if_it_is_said(run, life):
    run(life.module, {**life.ident, **life.created})
    run(life.module, {**life.ident, "state": "absent", "cleanup_disks": False})
    message = run.fails(life.module, {**life.ident, **life.created})
    assert "is in use" in message or "without it" in message


# -------------------------------------------------------------------- what is there is never changed


@pytest.mark.parametrize(
    ("life", "given", "words"),
    [
        (LIVES[0], {"filesystem": "ext4"}, ["filesystem is 'xfs'", "cannot be changed to 'ext4'"]),
        (LIVES[0], {"device": "/dev/sdc"}, ["device is '/dev/disk/by-uuid/", "cannot be changed to '/dev/sdc'"]),
        (LIVES[2], {"device": "/dev/sdc"}, ["device is '/dev/sdb'", "cannot be changed to '/dev/sdc'"]),
        (LIVES[2], {"device": "/dev/sda3"}, ["device is '/dev/sdb'", "cannot be changed to '/dev/sda3'"]),
        (LIVES[3], {"device": "/dev/sdc"}, ["device is '/dev/sdb'", "cannot be changed to '/dev/sdc'"]),
        (
            LIVES[4],
            {"devices": ["/dev/sdb", "/dev/sdd"]},
            ["devices is", "SER0003", "cannot be changed to /dev/sdb, /dev/sdd"],
        ),
        (LIVES[4], {"devices": ["/dev/sdb"]}, ["devices is", "cannot be changed to /dev/sdb:"]),
        (
            LIVES[4],
            {"devices": ["/dev/sdb", "/dev/sdc", "/dev/sdd"]},
            ["cannot be changed to /dev/sdb, /dev/sdc, /dev/sdd"],
        ),
        (LIVES[4], {"raidlevel": "raid10"}, ["raidlevel is 'mirror'", "cannot be changed to 'raid10'"]),
    ],
    ids=lambda value: names(value) if isinstance(value, Life) else "",
)
def test_what_is_there_otherwise_is_refused_and_left_alone(run, life, given, words):
    run(life.module, {**life.ident, **life.created})
    before = copy.deepcopy(run.api.pve.disks_of("pve1"))
    run.api.requests()
    message = run.fails(life.module, {**life.ident, **life.created, **given})
    assert [word for word in (*words, "choose another name") if word not in message] == []
    # To remove it is nothing that a message proposes.
    assert "absent" not in message
    assert run.api.writes() == []
    assert run.api.pve.disks_of("pve1") == before


def test_a_volume_group_that_was_extended_is_still_on_its_disk(run):
    run(LVM, {**LIVES[2].ident, "device": "/dev/sdb"})
    run.api.pve.made_of("pve1", "lvm")["guests"]["devices"].append("/dev/sdc")
    nothing(run, LIVES[2], {"device": "/dev/sdc"})
    nothing(run, LIVES[2], {"device": "/dev/sdb"})


def test_thin_pools_in_a_group_of_another_name(run):
    life = Life(THIN, {"node": "pve1", "name": "data", "volume_group": "pve"}, {}, {})
    nothing(run, life, {"device": "/dev/sda3"})
    message = run.fails(THIN, {**ident("more"), "volume_group": "pve", "device": "/dev/sdb"})
    assert "leave volume_group 'pve' out" in message
    message = run.fails(THIN, {**ident("pve"), "device": "/dev/sdb"})
    assert "there is a volume group 'pve' without it, on /dev/sda3: choose another name" in message
    assert run.api.writes() == []


@pytest.mark.parametrize("check", [True, False])
def test_a_volume_group_with_other_volumes_is_not_wiped_with_a_thin_pool(run, check):
    """Proxmox VE would remove the pool, and find the others only then."""
    given = {"node": "pve1", "name": "data", "volume_group": "pve", "state": "absent", **CONSENT}
    message = run.fails(THIN, given, check=check)
    assert "cleanup_disks: its volume group 'pve' holds other volumes as well" in message
    assert message.endswith("set cleanup_disks to false.")
    run.api.pve.made_of("pve1", "lvm")["pve"]["plain"] = {}
    run.api.pve.made_of("pve1", "lvmthin")["more"] = {"devices": ["/dev/sda3"], "vg": "pve"}
    assert run.fails(THIN, given, check=check) == message
    assert run.api.writes() == []
    assert run(THIN, {**given, "cleanup_disks": False}, check=check)["changed"]
    del run.api.pve.made_of("pve1", "lvmthin")["more"]
    run.api.pve.made_of("pve1", "lvmthin")["data"] = {"devices": ["/dev/sda3"], "vg": "pve"}
    assert run(THIN, given, check=check)["changed"]
    assert ("pve" in run.api.pve.made_of("pve1", "lvm")) == check


@pytest.mark.parametrize(("module", "name"), [(LVM, "pve"), (ZFS, "rpool")])
def test_what_the_system_is_on_is_never_removed(run, module, name):
    run.api.pve.made_of("pve1", "zfs")["rpool"] = {"devices": ["/dev/sda3"], "raidlevel": "single", "draid": {}}
    message = run.fails(module, {**ident(name), "state": "absent"})
    assert f"'{name}' of node 'pve1'" in message
    assert "the installer of Proxmox VE puts the system on" in message
    assert run.api.writes() == []


def test_a_directory_is_not_on_a_disk_that_holds_another_file_system(run):
    run(DIRECTORY, {**LIVES[0].ident, **LIVES[0].created})
    # The one on /dev/sdx is mounted as well.
    message = run.fails(DIRECTORY, {**LIVES[0].ident, "device": "/dev/sdx"})
    assert "device is '/dev/disk/by-uuid/" in message
    run.api.pve.disks_of("pve1")["/dev/sdx"]["parts"]["/dev/sdx1"]["used"] = "mounted"
    nothing(run, LIVES[0], {"device": "/dev/sdx"})


# ----------------------------------------------------------------------------------------- RAID levels

SEVEN = ["/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde", "/dev/sdf", "/dev/sdg", "/dev/vda"]


@pytest.mark.parametrize(
    ("level", "count"),
    [
        *(("mirror", 3), ("raid10", 4), ("raid10", 6), ("raidz", 3), ("raidz2", 4), ("raidz3", 5)),
        *(("draid", 3), ("draid2", 4), ("draid3", 6)),
    ],
)
def test_every_level_reads_back_as_what_it_was_made_with(run, level, count):
    life = Life(ZFS, ident("tank"), {"devices": SEVEN[:count], "raidlevel": level}, {})
    assert both(run, life, life.created)["diff"]["after"] == life.created
    nothing(run, life, life.created)
    other = "mirror" if level != "mirror" else "raidz"
    message = run.fails(ZFS, {**life.ident, **life.created, "raidlevel": other})
    assert f"raidlevel is '{level}' and cannot be changed to '{other}'" in message


def test_disks_of_raid10_go_in_the_order_of_the_mirrors(run):
    given = [SEVEN[3], SEVEN[0], SEVEN[2], SEVEN[1]]
    run(ZFS, {**ident("tank"), "devices": given, "raidlevel": "raid10", "ashift": 13, "compression": "lz4"})
    made = run.api.pve.made_of("pve1", "zfs")["tank"]
    assert (made["devices"], made["ashift"], made["compression"]) == (given, 13, "lz4")


def test_dispersed_spares(run):
    given = {"devices": SEVEN, "raidlevel": "draid2", "draid_config": {"data": 3, "spares": 1}}
    life = Life(ZFS, ident("tank"), given, {})
    assert both(run, life, given)["changed"]
    assert run.api.pve.made_of("pve1", "zfs")["tank"]["draid"] == {"data": "3", "spares": "1"}
    for config in ("spares=1,data=3", {"data": 3}, {"spares": "1"}):
        nothing(run, life, {**given, "draid_config": config})
    message = run.fails(ZFS, {**life.ident, **given, "draid_config": "data=2"})
    assert "draid_config is" in message
    assert "cannot be changed" in message


def test_a_pool_that_another_hand_changed_is_told_from_what_was_made(run):
    run(ZFS, {**ident("tank"), **LIVES[4].created})
    made = run.api.pve.made_of("pve1", "zfs")["tank"]
    made["devices"] = ["/dev/sdb", "/dev/sdc", "/dev/sdd"]
    message = run.fails(ZFS, {**ident("tank"), **LIVES[4].created})
    assert f"devices is {', '.join(f'{LINK}/ata-EXAMPLE_SER000{number}-part1' for number in (2, 3, 4))}" in message
    made["raidlevel"] = "single"
    message = run.fails(ZFS, {**ident("tank"), "raidlevel": "single"})
    assert "raidlevel is 'a stripe of 3 disks' and cannot be changed to 'single'" in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["devices is missing", "raidlevel is missing"]),
        ({"devices": [], "raidlevel": "mirror"}, ["devices is empty"]),
        ({"devices": SEVEN[:1], "raidlevel": "mirror"}, ["'mirror' needs 2 disks or more and devices has 1"]),
        ({"devices": SEVEN[:2], "raidlevel": "single"}, ["'single' takes one disk and devices has 2"]),
        ({"devices": SEVEN[:5], "raidlevel": "raid10"}, ["takes pairs of disks and devices has 5"]),
        ({"devices": SEVEN[:4], "raidlevel": "raidz3"}, ["'raidz3' needs 5 disks or more and devices has 4"]),
        (
            {"devices": SEVEN[:4], "raidlevel": "draid2", "draid_config": "data=4,spares=1"},
            ["'draid2' needs 7 disks or more and devices has 4"],
        ),
        (
            {"devices": SEVEN[:2], "raidlevel": "mirror", "draid_config": "data=4"},
            ["draid_config does not belong to raidlevel 'mirror'"],
        ),
        ({"devices": SEVEN[:4], "raidlevel": "draid", "draid_config": "parity=1"}, ["unknown key 'parity'"]),
        (
            {"devices": ["/dev/sdb", f"{LINK}/ata-EXAMPLE_SER0002"], "raidlevel": "mirror"},
            [f"'{LINK}/ata-EXAMPLE_SER0002' is /dev/sdb, which is given twice"],
        ),
        (
            {"name": "mirrors", "devices": SEVEN[:2], "raidlevel": "mirror"},
            ["begin with mirror", "choose another name"],
        ),
        ({"name": "t", "devices": SEVEN[:2], "raidlevel": "mirror"}, ["a name has two characters or more"]),
    ],
)
def test_bad_pools_are_refused_before_anything_is_written(run, given, words):
    message = run.fails(ZFS, {**ident("tank"), **given})
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


# --------------------------------------------------------------------------------------------- faults


@each
def test_a_creation_whose_answer_is_lost_is_waited_for(run, life, monkeypatch):
    pve, begin = run.api.pve, run.api.pve.task
    # Longer than the engine takes to look again.
    pve.time_scale, pve.disk_secs = 0.01, 40

    async def lost(*args, **kwargs):
        await begin(*args, **kwargs)
        pve.task = begin
        raise PveError(596, "Connection timed out")

    for state in ("present", "absent"):
        pve.task = lost
        assert run(life.module, {**life.ident, **life.created, "state": state})["changed"]
        assert len(pve.tasklog) == 1 + (state == "absent")


def test_what_pve_says_is_in_the_failure(run):
    run.api.pve.plan_task("zfscreate", error="command 'zpool create' failed: exit code 1", log=["cannot create 'tank'"])
    message = run.fails(ZFS, {**ident("tank"), **LIVES[4].created})
    assert "ZFS pool 'tank' of node 'pve1'" in message
    assert "exit code 1" in message
    assert "cannot create 'tank'" in message
