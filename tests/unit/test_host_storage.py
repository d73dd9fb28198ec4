# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""storage_layout on what programs say of disks: what it plans, what it refuses by name, and what it leaves."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.loader import init_plugin_loader
from hypothesis import given
from hypothesis import strategies as st

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
COLLECTION = "ansible_collections.onprem.cloud.plugins"
storage = importlib.import_module(f"{COLLECTION}.module_utils.host.storage")
storage_layout = importlib.import_module(f"{COLLECTION}.modules.storage_layout")

BY_ID = "/dev/disk/by-id/"
A, B, C, D, E = (f"{BY_ID}ata-{name}" for name in ("A", "B", "C", "D", "E"))
GIB = 1 << 30
LOG_AND_CACHE = {"logs": [{"type": "single", "disks": [D]}], "cache": [E]}
IMPORT = f"env ZPOOL_VDEV_NAME_PATH=1 zpool import -d {BY_ID.rstrip('/')}"
STATUS = f"""\
  pool: tank
 state: DEGRADED
status: One or more devices could not be used because the label is missing or
\tinvalid.  Sufficient replicas exist for the pool to continue
\tfunctioning in a degraded state.
action: Replace the device using 'zpool replace'.
config:

\tNAME                            STATE     READ WRITE CKSUM
\ttank                            DEGRADED     0     0     0
\t  mirror-0                      DEGRADED     0     0     0
\t    {A}-part1  ONLINE       0     0     0
\t    10240562438402                UNAVAIL      0     0     0  was {B}-part1
\tlogs\t
\t  {D}-part1    ONLINE       0     0     0
\tcache
\t  {E}-part1    ONLINE       0     0     0

errors: No known data errors
"""
HEALTHY = STATUS.replace("DEGRADED", "ONLINE").replace("10240562438402", f"{B}-part1").replace("UNAVAIL", "ONLINE")
HEALTHY = HEALTHY.replace(f"  was {B}-part1", "")
IMPORTABLE = f"""\
   pool: tank
     id: 6421573895
  state: ONLINE
 action: The pool can be imported using its name or numeric identifier.
 config:

\ttank                            ONLINE
\t  mirror-0                      ONLINE
\t    {A}-part1  ONLINE
\t    {B}-part1  ONLINE
"""


class Node:
    """A machine with five disks, on which nothing is but what a test puts there."""

    def __init__(self, root: Path, ansible: Any) -> None:
        self.root, self.ansible, self.answers = root, ansible, ansible.answers
        self.disks: dict[str, dict[str, Any]] = {}
        (root / BY_ID.lstrip("/")).mkdir(parents=True)
        for number, disk in enumerate((A, B, C, D, E)):
            self.add(disk, f"/dev/sd{'abcde'[number]}")
        self.timers()

    def add(self, link: str, device: str, **facts: Any) -> None:
        (self.root / device.lstrip("/")).touch()
        (self.root / link.lstrip("/")).symlink_to(f"../../{Path(device).name}")
        self.disks[device] = {"path": device, "type": "disk", "size": 20 * GIB, "mountpoints": [None], **facts}
        self.list_blocks()

    def partition(self, disk: str, number: int, **facts: Any) -> None:
        device = f"/dev/{(self.root / disk.lstrip('/')).readlink().name}"
        child = {"path": f"{device}{number}", "type": "part", "size": GIB, "mountpoints": [None], **facts}
        (self.root / child["path"].lstrip("/")).touch()
        (self.root / f"{disk}-part{number}".lstrip("/")).symlink_to(f"../../{Path(child['path']).name}")
        self.disks[device].setdefault("children", []).append(child)
        self.list_blocks()

    def list_blocks(self) -> None:
        self.answers["lsblk --json --bytes --output PATH,TYPE,SIZE,MOUNTPOINTS"] = (
            0, json.dumps({"blockdevices": list(self.disks.values())}), "",
        )  # fmt: skip

    def sign(self, device: str, kind: str, label: str | None = None) -> None:
        signs = {"signatures": [{"device": Path(device).name, "offset": "0x438", "type": kind, "label": label}]}
        self.answers[f"wipefs --json {device}"] = (0, json.dumps(signs), "")

    def pool(self, status: str = HEALTHY, disks: tuple[str, ...] = (A, B, D, E), **properties: str) -> None:
        for disk in disks:
            self.partition(disk, 1)
        self.answers["zpool status -P"] = (0, status, "")
        self.answers["zpool get -H -p -o property,value all tank"] = (0, "ashift\t12\nautotrim\toff\n", "")
        self.dataset("tank", **{"org.debian:periodic-scrub": "disable"}, **properties)

    def dataset(self, name: str, kind: str = "filesystem", **properties: str) -> None:
        listed = self.answers.get("zfs list -H -o name -t filesystem,volume", (0, "", ""))[1]
        self.answers["zfs list -H -o name -t filesystem,volume"] = (0, f"{listed}{name}\n", "")
        rows = "".join(f"{key}\t{value}\n" for key, value in {"type": kind, "used": "98304", **properties}.items())
        self.answers[f"zfs get -H -p -o property,value all {name}"] = (0, rows, "")

    def timers(self, *running: str) -> None:
        units = [f"zfs-{job}-{period}@tank.timer" for job in ("scrub", "trim") for period in ("monthly", "weekly")]
        for ask, yes, no in (("is-enabled", "enabled", "disabled"), ("is-active", "active", "inactive")):
            said = "".join(f"{yes if unit in running else no}\n" for unit in units)
            self.answers[f"systemctl {ask} {' '.join(units)}"] = (1, said, "")

    def lvm(self, *volumes: tuple[str, int, str], free: int = 100) -> None:
        columns = "--reportformat json --units b --nosuffix --options"
        reports = {
            "vgs {} vg_name,vg_free,vg_extent_size": {"vg": [
                {"vg_name": "pve", "vg_free": str(free * GIB), "vg_extent_size": "4194304"}]},
            "pvs {} pv_name,vg_name": {"pv": [{"pv_name": "/dev/sdc", "vg_name": "pve"}]},
            "lvs {} vg_name,lv_name,lv_size,segtype,lv_path": {"lv": [
                {"vg_name": "pve", "lv_name": name, "lv_size": str(gib * GIB), "segtype": kind}
                for name, gib, kind in volumes]},
        }  # fmt: skip
        for command, report in reports.items():
            self.answers[command.format(columns)] = (0, json.dumps({"report": [report]}), "")
        for name, _gib, kind in volumes:
            if kind == "linear":
                (self.root / "dev/pve").mkdir(exist_ok=True)
                (self.root / "dev/pve" / name).touch()

    def mount(self, device: str, path: str) -> None:
        (self.root / "proc/self").mkdir(parents=True, exist_ok=True)
        (self.root / "proc/self/mounts").write_text(f"{device} {path} ext4 rw 0 0\n")

    def write(self, path: str, text: str = "") -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def ask(self, doctor: bool = True, **wanted: Any) -> dict[str, Any]:
        spec = storage_layout.spec()
        params = {part: [filled(spec[part], row) for row in wanted.get(part, [])] for part in storage_layout.PARTS}
        return self.ansible.call(storage_layout, self.root, doctor=doctor, **params)

    def steps(self, **wanted: Any) -> list[str]:
        told = self.ask(**wanted)
        assert told["problems"] == []
        return told["steps"]

    def problem(self, **wanted: Any) -> str:
        """The one thing that stands in the way; it is all that the module fails with, and nothing is done."""
        told = self.ask(**wanted)
        assert len(told["problems"]) == 1, told
        failed = self.ask(doctor=False, **wanted)
        assert failed["failed"]
        assert failed["msg"] == told["problems"][0]
        changing = ("zpool create -o", "zpool add -o", "zfs create", "zfs set", "vgcreate", "lvcreate", "mkfs", "mount")
        assert [command for command in self.ansible.ran if command.startswith(changing)] == []
        return failed["msg"]


def filled(spec: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """A row with the defaults of its options, as Ansible hands it over."""
    found = {name: row.get(name, option.get("default")) for name, option in spec["options"].items()}
    for name, option in spec["options"].items():
        if "options" in option:
            found[name] = [filled(option, part) for part in found[name]]
    return found


def tank(*vdevs: list[str], **more: Any) -> dict[str, Any]:
    return {"name": "tank", "vdevs": [{"disks": disks} for disks in vdevs or ([A, B],)], "scrub": "auto", **more}


@pytest.fixture
def node(tmp_path: Path, ansible: Any) -> Node:
    return Node(tmp_path, ansible)


def test_a_pool_is_created_on_empty_disks_with_all_that_is_declared(node: Node) -> None:
    wanted = {
        "pools": [tank(**LOG_AND_CACHE, properties={"autotrim": True}, scrub="weekly")],
        "datasets": [{"name": "tank", "properties": {"compression": "zstd", "atime": False}},
                     {"name": "tank/files", "properties": {"quota": "5G"}}],
    }  # fmt: skip
    assert node.steps(**wanted) == [
        f"create the pool tank: mirror of {A} and {B}, log single of {D}, cache single of {E}",
        "start zfs-scrub-weekly@tank.timer",
        "create the dataset tank/files (quota=5G)",
    ]
    tried = [command for command in node.ansible.ran if command.startswith("zpool create")]
    assert tried == [
        "zpool create -n -o ashift=12 -o autotrim=on -O compression=zstd -O atime=off "
        f"-O org.debian:periodic-scrub=disable tank mirror {A} {B} log {D} cache {E}"
    ]  # fmt: skip


def test_nothing_is_left_to_do_where_all_is_there(node: Node) -> None:
    node.pool(compression="lz4")
    node.dataset("tank/files", quota=str(5 * GIB), refquota="0")
    node.timers("zfs-scrub-monthly@tank.timer")
    wanted = {
        "pools": [tank(**LOG_AND_CACHE, scrub="monthly")],
        "datasets": [{"name": "tank", "properties": {"compression": "lz4"}},
                     {"name": "tank/files", "properties": {"quota": "5G", "refquota": "none"}}],
    }  # fmt: skip
    told = node.ask(**wanted)
    assert (told["steps"], told["problems"], told["differences"]) == ([], [], [])
    assert not node.ask(doctor=False, **wanted)["changed"]


def test_a_pool_grows_by_a_mirror_a_log_and_a_cache(node: Node) -> None:
    node.pool(HEALTHY.partition("\tlogs")[0], disks=(A, B))
    assert node.steps(pools=[tank([A, B], [C, D], cache=[E])]) == [
        f"grow the pool tank by mirror of {C} and {D}",
        f"grow the pool tank by cache single of {E}",
    ]


def test_an_unhealthy_pool_with_more_than_is_declared_is_left_and_said(node: Node) -> None:
    node.pool(STATUS)
    told = node.ask(pools=[tank(cache=[E])])
    assert (told["steps"], told["problems"]) == ([], [])
    assert told["differences"] == [
        f"the pool tank is DEGRADED: {B}-part1 is UNAVAIL.",
        f"the pool tank has more than is declared, and keeps it: {D}-part1.",
    ]


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (tank([A, C]), f"there is data mirror of {A}-part1 and {B}-part1"),
        ({"name": "tank", "vdevs": [{"type": "raidz1", "disks": [A, B]}], "scrub": "auto"}, "declared is data raidz1"),
        (tank(ashift=9), "created with ashift=12, declared is 9"),
        (tank([A, B, C]), "declared is data mirror"),
    ],
)
def test_what_cannot_be_changed_is_said_and_left(node: Node, pool: dict[str, Any], said: str) -> None:
    node.pool()
    told = node.ask(pools=[pool])
    assert (told["steps"], told["problems"]) == ([], [])
    assert said in " ".join(told["differences"])


def test_a_pool_of_mirrors_is_not_grown_by_a_single_disk(node: Node) -> None:
    node.pool()
    pool = {**tank(), "vdevs": [{"disks": [A, B]}, {"type": "single", "disks": [C]}]}
    assert "the pool tank consists of mirror" in node.problem(pools=[pool])


@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        ("ext4", "photos", "an ext4 file system 'photos'"),
        ("gpt", None, "a partition table"),
        ("zfs_member", "old", "a part of the ZFS pool 'old'"),
        ("LVM2_member", None, "a physical volume of LVM"),
        ("crypto_LUKS", None, "an encrypted volume (LUKS)"),
        ("linux_raid_member", "md0", "a part of a Linux RAID 'md0'"),
        ("something_new", None, "a something_new file system"),
    ],
)
@pytest.mark.parametrize("use", ["pool", "group", "directory", "cache"])
def test_a_disk_with_something_on_it_is_refused_by_name(node: Node, use: str, kind: str, label: str, said: str) -> None:
    node.sign("/dev/sda", kind, label)
    wanted = {
        "pool": {"pools": [tank()], "datasets": [{"name": "tank/files", "properties": {}}]},
        "cache": {"pools": [tank([B, C], cache=[A])]},
        "group": {"volume_groups": [{"name": "data", "disks": [A]}],
                  "logical_volumes": [{"name": "db", "group": "data", "size": "1G"}]},
        "directory": {"directories": [{"path": "/srv/db", "device": A, "filesystem": "xfs"}]},
    }[use]  # fmt: skip
    told = node.ask(**wanted)["problems"][0]
    assert f"{A} (/dev/sda), declared for " in told
    assert f"holds {said}." in told
    assert "wipefs --all /dev/sda" in told


def test_partitions_and_mounts_of_a_disk_are_named(node: Node) -> None:
    node.sign("/dev/sda", "gpt")
    node.partition(A, 1, mountpoints=["/srv/photos"])
    node.sign("/dev/sda1", "ext4", "photos")
    told = node.problem(pools=[tank()])
    assert "a partition table and an ext4 file system 'photos' on /dev/sda1 (mounted at /srv/photos)" in told
    assert "'wipefs --all /dev/sda1 /dev/sda'" in told


def test_a_disk_whose_partitions_cannot_be_listed_is_not_taken_for_empty(node: Node) -> None:
    node.answers["lsblk --json --bytes --output PATH,TYPE,SIZE,MOUNTPOINTS"] = (1, "", "lsblk: no sysfs")
    failed = node.ask(doctor=False, pools=[tank()])
    assert failed["msg"] == "'lsblk' failed: lsblk: no sysfs. Nothing was changed."


def test_one_thing_in_the_way_stops_the_whole_declaration(node: Node) -> None:
    node.sign("/dev/sdc", "ext4")
    told = node.problem(pools=[tank()], directories=[{"path": "/srv/db", "device": C, "filesystem": "xfs"}])
    assert C in told


def test_names_that_another_disk_may_have_are_refused_with_the_right_one(node: Node) -> None:
    told = node.problem(pools=[tank([A, "/dev/sdb"])])
    assert "/dev/sdb" in told
    assert f"It is {B} now." in told


def test_a_disk_that_is_not_there_is_named(node: Node) -> None:
    assert f"{BY_ID}ata-F, declared for the pool tank, is not there" in node.problem(pools=[tank([A, f"{BY_ID}ata-F"])])


def test_a_disk_is_declared_once(node: Node) -> None:
    (node.root / BY_ID.lstrip("/") / "wwn-a").symlink_to("../../sda")
    assert "one of them is it" in node.problem(pools=[tank([A, f"{BY_ID}wwn-a"])])
    node.partition(A, 1)
    told = node.ask(pools=[tank([A, B])], volume_groups=[{"name": "data", "disks": [f"{A}-part1"]}])
    assert "one of them is it" in " ".join(told["problems"])


def test_what_zpool_has_against_it_is_said_before(node: Node) -> None:
    tried = f"zpool create -n -o ashift=12 tank mirror {A} {B}"
    node.answers[tried] = (1, "", "invalid vdev specification\nmirror contains devices of different sizes\n")
    assert "mirror contains devices of different sizes" in node.problem(pools=[tank()])


def test_a_pool_that_is_on_its_disks_is_imported_and_never_created(node: Node) -> None:
    node.answers[IMPORT] = (0, IMPORTABLE, "")
    datasets = [{"name": name, "properties": {}} for name in ("tank", "tank/files", "tank/files/old")]
    assert node.steps(pools=[tank()], datasets=datasets) == ["import the pool tank"]


@pytest.mark.parametrize(("kind", "disks"), [("mirror", [A]), ("single", [A, B]), ("raidz2", [A, B])])
def test_a_pool_needs_enough_disks(node: Node, kind: str, disks: list[str]) -> None:
    pool = {**tank(), "vdevs": [{"type": kind, "disks": disks}]}
    assert f"the pool tank: {kind} of {len(disks)} disks" in node.problem(pools=[pool])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  state: ONLINE", "  state: UNAVAIL", "it is UNAVAIL"),
        (" action:", " status: The pool was last accessed by another system.\n action:", "zpool import -f tank"),
        (A, C, "other disks are declared for it"),
        ("   pool: tank", f"{IMPORTABLE}   pool: tank", "it is 2 pools"),
    ],
)
def test_a_pool_on_the_disks_that_is_another_one_is_refused(node: Node, old: str, new: str, said: str) -> None:
    node.answers[IMPORT] = (0, IMPORTABLE.replace(old, new, 1), "")
    assert said in node.problem(pools=[tank()])


def test_properties_are_compared_by_meaning(node: Node) -> None:
    node.pool(compression="off", quota="0", atime="on")
    root = {"name": "tank", "properties": {"compression": "zstd", "quota": "none", "atime": True}}
    told = node.steps(pools=[tank(properties={"autotrim": True})], datasets=[root])
    assert told == ["pool tank: autotrim off -> on", "dataset tank: compression off -> zstd"]


def test_a_quota_below_what_is_used_is_refused(node: Node) -> None:
    node.pool()
    node.dataset("tank/files", used=str(6 * GIB), quota="0")
    told = node.problem(pools=[tank()], datasets=[{"name": "tank/files", "properties": {"quota": "5G"}}])
    assert "tank/files holds 6.0 GiB, more than the declared quota of 5G" in told


def test_a_dataset_needs_the_one_it_is_in(node: Node) -> None:
    node.pool()
    assert "there is no tank/a" in node.problem(pools=[tank()], datasets=[{"name": "tank/a/b", "properties": {}}])
    assert node.steps(pools=[tank()], datasets=[{"name": name, "properties": {}} for name in ("tank/a", "tank/a/b")])


def test_a_volume_and_what_a_dataset_was_created_with_are_left(node: Node) -> None:
    node.pool()
    node.dataset("tank/disk", kind="volume")
    assert "it is a volume" in node.problem(pools=[tank()], datasets=[{"name": "tank/disk", "properties": {}}])
    node.dataset("tank/files", casesensitivity="sensitive")
    told = node.ask(pools=[tank()], datasets=[{"name": "tank/files", "properties": {"casesensitivity": "mixed"}}])
    assert told["steps"] == []
    assert "created with casesensitivity=sensitive" in told["differences"][1]


def test_files_are_not_hidden_by_a_mount(node: Node) -> None:
    node.write("/tank/precious")
    assert "/tank, which holds precious" in node.problem(pools=[tank()])
    node.write("/srv/db/1")
    told = node.problem(directories=[{"path": "/srv/db", "device": C}])
    assert "/srv/db, which holds 1" in told


def test_timers_change_their_period(node: Node) -> None:
    node.pool()
    node.timers("zfs-scrub-monthly@tank.timer", "zfs-trim-weekly@tank.timer")
    assert node.steps(pools=[tank(scrub="weekly")]) == [
        "stop zfs-scrub-monthly@tank.timer", "start zfs-scrub-weekly@tank.timer",
    ]  # fmt: skip
    node.dataset("tank", **{"org.debian:periodic-scrub": "disable", "org.debian:periodic-trim": "disable"})
    assert node.steps(pools=[tank(scrub="never", trim="never")]) == [
        "stop zfs-scrub-monthly@tank.timer", "stop zfs-trim-weekly@tank.timer",
    ]  # fmt: skip


def test_volumes_are_created_where_there_is_room(node: Node) -> None:
    node.lvm(("root", 100, "linear"), free=500)
    volumes = [
        {"name": "db", "group": "pve", "size": "400G"},
        {"name": "data", "group": "pve", "size": "90G", "type": "thin_pool"},
    ]
    assert node.steps(logical_volumes=volumes, directories=[{"path": "/srv/db", "device": "/dev/pve/db"}]) == [
        "create the logical volume pve/db of 400G (linear)",
        "create the logical volume pve/data of 90G (thin-pool)",
        "make an ext4 file system on /dev/pve/db",
        "mount /dev/pve/db at /srv/db (defaults,nofail)",
    ]
    # LVM takes no order to wipe what is below a thin pool.
    found = storage.Found(storage.Files(str(node.root)), node.ansible.run_command)
    rows = [{"type": "linear", **volume} for volume in volumes]
    plan = storage.Plan({**{part: [] for part in storage_layout.PARTS}, "logical_volumes": rows}, found)
    assert ["--wipesignatures" in step.commands[0] for step in plan.steps] == [True, False]
    told = node.problem(logical_volumes=[*volumes, {"name": "more", "group": "pve", "size": "11G"}])
    assert "pve/more needs 11.0 GiB more, and the volume group pve has 10.0 GiB left (root 100.0 GiB)" in told


def test_volumes_grow_with_their_file_system_and_are_never_shrunk(node: Node) -> None:
    node.lvm(("db", 40, "linear"), ("data", 90, "thin-pool"))
    node.sign("/dev/pve/db", "ext4")
    assert node.steps(logical_volumes=[{"name": "db", "group": "pve", "size": "50G"}]) == [
        "grow the logical volume pve/db to 50G"
    ]
    found = storage.Found(storage.Files(str(node.root)), node.ansible.run_command)
    wanted = {part: [] for part in storage_layout.PARTS}
    row = {"name": "db", "group": "pve", "size": "50G", "type": "linear"}
    commands = storage.Plan({**wanted, "logical_volumes": [row]}, found).steps[0].commands
    assert commands == (("lvextend", "--size", f"{50 * GIB}b", "--resizefs", "pve/db"),)
    told = node.ask(logical_volumes=[{"name": "data", "group": "pve", "size": "80G", "type": "thin_pool"}])
    assert told["steps"] == []
    assert "It is never shrunk." in told["differences"][0]
    assert "it is thin-pool" in node.problem(logical_volumes=[{"name": "data", "group": "pve", "size": "100G"}])


def test_a_group_grows_and_is_created(node: Node) -> None:
    node.lvm()
    assert node.steps(volume_groups=[{"name": "pve", "disks": [C, D]}, {"name": "more", "disks": [E]}]) == [
        f"grow the volume group pve by {D}", f"create the volume group more of {E}",
    ]  # fmt: skip
    assert "no disks are declared" in node.problem(volume_groups=[{"name": "none"}])
    assert "no volume group none" in node.problem(logical_volumes=[{"name": "db", "group": "none", "size": "1G"}])
    new = [{"name": "db", "group": "more", "size": "19G"}]
    assert len(node.steps(volume_groups=[{"name": "more", "disks": [E]}], logical_volumes=new)) == 2


def test_a_directory_uses_the_file_system_that_is_there(node: Node) -> None:
    node.sign("/dev/sda", "ext4", "db")
    wanted = {"directories": [{"path": "/srv/db", "device": A}]}
    assert node.steps(**wanted) == [f"mount {A} at /srv/db (defaults,nofail)"]
    node.mount("/dev/sda", "/srv/db")
    node.write("/etc/fstab", f"# disks\nUUID=0a / ext4 defaults 0 1\n{A} /srv/db ext4 defaults,nofail 0 2\n")
    assert node.steps(**wanted) == []
    node.mount("/dev/sda", "/mnt")
    assert f"{A}, declared for the directory /srv/db, is mounted at /mnt." in node.problem(**wanted)


def test_fstab_keeps_its_other_lines_and_is_written_after_the_mount(node: Node) -> None:
    before = "# disks\nUUID=0a / ext4 defaults 0 1\n"
    node.write("/etc/fstab", before)
    node.sign("/dev/sda", "ext4")
    node.answers["mkdir --parents /srv/db"] = [(0, "", "")]
    node.answers[f"mount --types ext4 --options noatime {A} /srv/db"] = [(32, "", "wrong fs type")]
    wanted = {"directories": [{"path": "/srv/db", "device": A, "options": "noatime"}]}
    assert "wrong fs type. Nothing was changed before." in node.ask(doctor=False, **wanted)["msg"]
    assert (node.root / "etc/fstab").read_text() == before
    node.answers["mkdir --parents /srv/db"] = [(0, "", "")]
    node.answers[f"mount --types ext4 --options noatime {A} /srv/db"] = [(0, "", "")]
    node.ansible.watch = lambda: node.mount("/dev/sda", "/srv/db")
    told = node.ask(doctor=False, **wanted)
    assert told["changed"]
    assert (node.root / "etc/fstab").read_text() == f"{before}{A} /srv/db ext4 noatime 0 2\n"
    assert node.ansible.ran[-1] != "systemctl daemon-reload"
    assert "systemctl daemon-reload" in node.ansible.ran
    node.write("/etc/fstab", f"{before}/dev/sdb /srv/db ext4 noatime 0 2\n")
    assert "/etc/fstab mounts /dev/sdb at /srv/db" in node.problem(**wanted)


def test_missing_programs_are_told(node: Node) -> None:
    wanted = {
        "pools": [tank()], "logical_volumes": [{"name": "d", "group": "pve", "size": "1G", "type": "thin_pool"}],
        "directories": [{"path": "/srv/db", "device": "/dev/pve/d", "filesystem": "xfs"}],
    }  # fmt: skip
    assert node.ask(**wanted)["missing"] == ["zpool", "vgs", "thin_check", "mkfs.xfs"]
    node.write("/usr/sbin/zpool")
    assert node.ask(pools=[tank()])["missing"] == []


def test_pools_are_read_with_their_states() -> None:
    (pool,) = storage.parse_pools(STATUS)
    assert (pool.name, pool.state) == ("tank", "DEGRADED")
    assert [(vdev.role, vdev.kind, list(vdev.members.items())) for vdev in pool.vdevs] == [
        ("data", "mirror", [(f"{A}-part1", "ONLINE"), (f"{B}-part1", "UNAVAIL")]),
        ("log", "single", [(f"{D}-part1", "ONLINE")]),
        ("cache", "single", [(f"{E}-part1", "ONLINE")]),
    ]


@given(st.integers(1, 9999), st.sampled_from("KMGTP"))
def test_sizes_are_powers_of_1024(number: int, unit: str) -> None:
    assert storage.size(f"{number}{unit}") == number * storage.UNITS[unit] == storage.size(f"{number}{unit.lower()}")
    assert storage.size(f"{number}{unit}B") is None


def test_the_documentation_has_the_options_that_the_module_takes() -> None:
    def same(documented: dict[str, Any], taken: dict[str, Any]) -> None:
        assert documented.keys() == taken.keys()
        for name, option in documented.items():
            for key in ("type", "elements", "default", "choices", "required"):
                assert option.get(key) == taken[name].get(key), (name, key)
            same(option.get("suboptions", {}), taken[name].get("options", {}))

    same(yaml.safe_load(storage_layout.DOCUMENTATION)["options"], storage_layout.spec())
