# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a machine and what is made of them: ZFS pools and datasets, LVM, directories on file systems of their own.

What is there is read first, then the whole way from there to what is wanted is planned. Nothing in a plan takes
anything away, and a disk is put to use only if nothing at all is on it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Iterator, Optional

from ansible_collections.onprem.cloud.plugins.module_utils.host.files import Edit, Failed, Files, Run

BY_ID = "/dev/disk/by-id/"
FSTAB = "/etc/fstab"
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
# How many disks a part of a pool needs at least.
KINDS = {"single": 1, "mirror": 2, "raidz1": 2, "raidz2": 3, "raidz3": 4}
CLASSES = {"logs": "log", "cache": "cache", "spares": "spare", "special": "special", "dedup": "dedup"}
# Sizes, which ZFS tells in bytes.
SIZES = ("quota", "refquota", "reservation", "refreservation", "recordsize", "special_small_blocks")
# What ZFS takes when a dataset is created, and never again.
FIXED = ("casesensitivity", "encryption", "keyformat", "normalization", "utf8only")
PERIODS = ("monthly", "weekly")
JOBS = ("scrub", "trim")
# Debian's cron job scrubs and trims all pools that do not say otherwise.
CRON = {job: f"org.debian:periodic-{job}" for job in JOBS}
LVM_REPORT = ("--reportformat", "json", "--units", "b", "--nosuffix", "--options")
PARTITION_TABLES = ("gpt", "dos", "PMBR", "mac", "sun", "sgi", "bsd")


def size(text: str) -> Optional[int]:
    """Bytes of a size such as 1.5T, None if it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)", text.strip(), re.IGNORECASE)
    return int(float(match[1]) * UNITS[match[2].upper()]) if match else None


def human(number: int) -> str:
    for unit in "PTGMK":
        if number >= UNITS[unit]:
            return f"{number / UNITS[unit]:.1f} {unit}iB"
    return f"{number} B"


def word(value: Any) -> str:
    """A property as ZFS writes it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def missing(wanted: dict[str, Any], files: Files) -> list[str]:
    """The programs that what is wanted needs and that are not there."""
    volumes = wanted["logical_volumes"]
    needed = {
        "zpool": wanted["pools"] or wanted["datasets"],
        "vgs": wanted["volume_groups"] or volumes,
        "thin_check": [row for row in volumes if row["type"] == "thin_pool"],
        "mkfs.xfs": [row for row in wanted["directories"] if row["filesystem"] == "xfs"],
    }
    return [program for program, rows in needed.items() if rows and not files.exists(f"/usr/sbin/{program}")]


@dataclass
class Vdev:
    """A part of a pool, with the paths of its disks and their states."""

    role: str
    kind: str
    members: dict[str, str] = field(default_factory=dict)


@dataclass
class Pool:
    name: str
    state: str = ""
    # What 'zpool import' says besides.
    status: str = ""
    vdevs: list[Vdev] = field(default_factory=list)


def parse_pools(text: str) -> list[Pool]:
    """Pools as 'zpool status -P' and 'zpool import' show them."""
    pools: list[Pool] = []
    role = "data"
    for line in text.splitlines():
        head = re.match(r"\s*(pool|state|status): (.*)", line) if not line.startswith("\t") else None
        if head and head[1] == "pool":
            pools.append(Pool(head[2]))
            role = "data"
        elif head and pools:
            setattr(pools[-1], head[1], head[2])
        elif pools and line.startswith("\t") and line.strip():
            role = parse_member(pools[-1], role, line[1:])
    return pools


def parse_member(pool: Pool, role: str, line: str) -> str:
    """A line of the tree of a pool; returns the role of the lines that follow."""
    words = line.split()
    name, state = words[0], words[1] if len(words) > 1 else ""
    depth = (len(line) - len(line.lstrip(" "))) // 2
    if depth == 0:
        # Texts of 'status' and 'action' go on in such lines.
        return "data" if name == pool.name else CLASSES.get(name, role)
    group = re.fullmatch(r"(mirror|raidz\d?|draid\S*|replacing|spare|indirect)-\d+", name)
    if depth == 1:
        kind = group[1] if group else "single"
        pool.vdevs.append(Vdev(role, "raidz1" if kind == "raidz" else kind))
    if not group and pool.vdevs:
        path = words[words.index("was") + 1] if "was" in words[:-1] else name
        pool.vdevs[-1].members[path] = state
    return role


class Found:
    """What there is, read when it is asked for."""

    def __init__(self, files: Files, run: Run) -> None:
        self.files = files
        self.execute = run
        self.links = {name: self.real(name) for name in map(BY_ID.__add__, files.names(BY_ID))}
        code, report, errors = run(["lsblk", "--json", "--bytes", "--output", "PATH,TYPE,SIZE,MOUNTPOINTS"])
        # Without it, a disk with partitions looks like one without.
        self.unlisted = (errors or report).strip() or f"code {code}" if code else ""
        report = "" if code else report
        self.blocks: dict[str, dict[str, Any]] = {}
        self.parents: dict[str, str] = {}
        self.add_blocks(json.loads(report or "{}").get("blockdevices", []))
        self.pools = {pool.name: pool for pool in parse_pools(self.output("zpool", "status", "-P"))}
        self.datasets = set(self.output("zfs", "list", "-H", "-o", "name", "-t", "filesystem,volume").split())
        self.groups = {row["vg_name"]: row for row in self.lvm("vgs", "vg_name,vg_free,vg_extent_size")}
        self.physical = {row["pv_name"]: row["vg_name"] for row in self.lvm("pvs", "pv_name,vg_name")}
        self.volumes = {
            f"/dev/{row['vg_name']}/{row['lv_name']}": row
            for row in self.lvm("lvs", "vg_name,lv_name,lv_size,segtype,lv_path")
        }
        self.mounts = {
            line.split()[1].replace("\\040", " "): line.split()[0]
            for line in (files.text("/proc/self/mounts") or "").splitlines()
        }
        self.seen: dict[str, list[dict[str, str]]] = {}

    def output(self, *argv: str) -> str:
        """What a program says, nothing if it is not there or has nothing to tell."""
        code, output, _errors = self.execute(list(argv))
        return "" if code else output

    def add_blocks(self, rows: list[dict[str, Any]], parent: str = "") -> None:
        for row in rows:
            self.blocks[row["path"]] = row
            if parent:
                self.parents[row["path"]] = parent
            self.add_blocks(row.get("children", []), row["path"])

    def lvm(self, program: str, columns: str) -> list[dict[str, str]]:
        report = self.output(program, *LVM_REPORT, columns)
        return json.loads(report)["report"][0][program[:-1]] if report else []

    def real(self, path: str) -> str:
        """The device that a path leads to, by the name that the kernel has for it."""
        place = os.path.realpath(self.files.path(path))
        return "/" + os.path.relpath(place, os.path.realpath(self.files.root))

    def exists(self, device: str) -> bool:
        return self.files.exists(device)

    def names(self, device: str) -> list[str]:
        """What a device is called in /dev/disk/by-id."""
        return [name for name, real in self.links.items() if real == device]

    def within(self, device: str) -> Iterator[dict[str, Any]]:
        """A device, its partitions, and what is on top of them."""
        rows = [self.blocks.get(device, {"path": device})]
        while rows:
            row = rows.pop(0)
            yield row
            rows += row.get("children", [])

    def signatures(self, device: str) -> list[dict[str, str]]:
        """What wipefs finds on a device."""
        device = self.real(device)
        if device not in self.seen:
            code, output, errors = self.execute(["wipefs", "--json", device])
            if code:
                raise Failed(f"'wipefs {device}' failed: {(errors or output).strip()}. Nothing was changed.")
            self.seen[device] = json.loads(output)["signatures"] if output.strip() else []
        return self.seen[device]

    def contents(self, device: str) -> list[str]:
        """What is on a device, in words; nothing if it is empty."""
        if self.unlisted:
            raise Failed(f"'lsblk' failed: {self.unlisted}. Nothing was changed.")
        found = []
        for row in self.within(device):
            if row["path"] != device and row.get("type") not in ("part", None):
                found.append(f"{row['path']} ({row['type']})")
                continue
            where = [place for place in row.get("mountpoints") or [] if place]
            mounted = f" (mounted at {listed(where)})" if where else ""
            on = "" if row["path"] == device else f" on {row['path']}"
            kinds = {sign["type"]: sign.get("label") for sign in self.signatures(row["path"])}
            if set(kinds) & set(PARTITION_TABLES):
                kinds = {"partition table": None, **{k: v for k, v in kinds.items() if k not in PARTITION_TABLES}}
            for kind, label in kinds.items():
                found.append(f"{described(kind, label)}{on}{mounted}")
            if not kinds and (where or on):
                found.append(f"a partition{on}{mounted}" if on else f"something{mounted}")
        if self.physical.get(device):
            found.append(f"the volume group {self.physical[device]}")
        return found

    def importable(self, name: str) -> list[Pool]:
        """Pools of this name that are on the disks and not in use."""
        code, output, _errors = self.execute(
            ["env", "ZPOOL_VDEV_NAME_PATH=1", "zpool", "import", "-d", BY_ID.rstrip("/")]
        )
        return [] if code else [pool for pool in parse_pools(output) if pool.name == name]

    def properties(self, program: str, name: str) -> dict[str, str]:
        """Properties of a pool (zpool) or a dataset (zfs)."""
        rows = self.output(program, "get", "-H", "-p", "-o", "property,value", "all", name).splitlines()
        return dict(row.split("\t", 1) for row in rows if "\t" in row)

    def timers(self, pool: str) -> dict[str, bool]:
        """Timer -> whether it is enabled and runs, of all that there are for a pool."""
        units = [f"zfs-{job}-{period}@{pool}.timer" for job in JOBS for period in PERIODS]
        # Both say a line for each unit, and exit with failure if one of them is not.
        enabled, active = (self.execute(["systemctl", ask, *units])[1].split() for ask in ("is-enabled", "is-active"))
        states = dict(zip(units, zip(enabled, active)))
        return {unit: states.get(unit, ("", "")) == ("enabled", "active") for unit in units}

    def refuses(self, argv: list[str]) -> str:
        """What zpool has against a command, by doing all but the last of it."""
        code, output, errors = self.execute([*argv[:2], "-n", *argv[2:]])
        return " ".join((errors or output).split()) if code not in (0, 127) else ""


def described(kind: str, label: Optional[str]) -> str:
    names = {
        "LVM2_member": "a physical volume of LVM", "zfs_member": "a part of the ZFS pool",
        "linux_raid_member": "a part of a Linux RAID", "crypto_LUKS": "an encrypted volume (LUKS)",
        "swap": "swap space", "partition table": "a partition table",
    }  # fmt: skip
    text = names.get(kind) or f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} file system"
    return f"{text} '{label}'" if label else text


@dataclass(frozen=True)
class Step:
    """One thing to do: what it is, the programs that do it, and the file that says so afterwards."""

    text: str
    commands: tuple[tuple[str, ...], ...] = ()
    edit: Optional[Edit] = None


class Plan:
    """The way from what is found to what is wanted, and what stands in it."""

    def __init__(self, wanted: dict[str, Any], found: Found) -> None:
        self.found = found
        self.steps: list[Step] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []
        # Device -> what it is declared for.
        self.claimed: dict[str, str] = {}
        self.new_volumes: set[str] = set()
        self.new_datasets: set[str] = set()
        # Pools of which more is known when they are there.
        self.importing: set[str] = set()
        # Volume group -> bytes that are free as far as this plan goes.
        self.free = {name: int(row["vg_free"]) for name, row in found.groups.items()}
        self.fstab = found.files.text(FSTAB) or ""
        self.wanted = wanted
        roots = {row["name"]: row["properties"] for row in wanted["datasets"]}
        for row in wanted["pools"]:
            self.pool(row, roots.get(row["name"], {}))
        for row in wanted["datasets"]:
            self.dataset(row["name"], row["properties"])
        for row in wanted["volume_groups"]:
            self.group(row)
        for row in wanted["logical_volumes"]:
            self.volume(row)
        for row in wanted["directories"]:
            self.directory(row)

    def do(self, text: str, *argv: str) -> None:
        self.steps.append(Step(text, (argv,)))

    # Disks.

    def device(self, disk: str, user: str) -> Optional[str]:
        """The device of a declared disk, None with the reason if it cannot be told."""
        if not disk.startswith(BY_ID):
            names = self.found.names(self.found.real(disk)) if disk.startswith("/dev/") else []
            better = f"It is {listed(names)} now." if names else f"'ls -l {BY_ID}' shows what there is."
            self.problems.append(
                f"{disk}, declared for {user}, is no name of /dev/disk/by-id: another disk may have that name after "
                f"the next reboot. {better}"
            )
            return None
        real = self.found.real(disk)
        for other, owner in self.claimed.items():
            if real == other or real in self.above(other) or other in self.above(real):
                self.problems.append(
                    f"{disk} ({real}) is declared for {user}, and {other} for {owner}: one of them is it."
                )
                return None
        if self.found.exists(disk):
            self.claimed[real] = user
        return real

    def above(self, device: str) -> list[str]:
        """The devices that a device is a part of."""
        found = []
        while device in self.found.parents:
            device = self.found.parents[device]
            found.append(device)
        return found

    def unused(self, disks: list[str], user: str) -> bool:
        """Whether disks are there and nothing is on them; says what is."""
        fine = True
        for disk in disks:
            if not self.found.exists(disk):
                self.problems.append(f"{disk}, declared for {user}, is not there: 'ls -l {BY_ID}' shows what is.")
                fine = False
                continue
            real = self.found.real(disk)
            contents = self.found.contents(real)
            if contents:
                fine = False
                parts = [row["path"] for row in self.found.within(real) if row.get("type") == "part"]
                wipe = f"wipefs --all {' '.join([*parts, real])}"
                self.problems.append(
                    f"{disk} ({real}), declared for {user}, holds {listed(contents)}. It is left as it is. Declare "
                    f"another disk; or, if nothing of that is wanted any more, '{wipe}' empties it."
                )
        return fine

    # ZFS.

    def pool(self, row: dict[str, Any], root: dict[str, Any]) -> None:
        name, user = row["name"], f"the pool {row['name']}"
        parts = [("data", part["type"], part["disks"]) for part in row["vdevs"]]
        parts += [("log", part["type"], part["disks"]) for part in row["logs"]]
        parts += [("cache", "single", [disk]) for disk in row["cache"]]
        # All of them are looked at, so that all that is wrong is said.
        devices = [self.device(disk, user) for _role, _kind, disks in parts for disk in disks]
        known = all(devices)
        for _role, kind, disks in parts:
            if len(disks) < KINDS[kind] or (kind == "single" and len(disks) > 1):
                self.problems.append(f"{user}: {kind} of {len(disks)} disks; it needs {KINDS[kind]}.")
                known = False
        if not known:
            return
        have = self.found.pools.get(name)
        if have:
            self.grow(row, have, parts)
        elif not self.bring_in(row, parts):
            self.create(row, parts, root)
        if have:
            self.pool_properties(row)
        self.timers(row)

    def bring_in(self, row: dict[str, Any], parts: list[tuple[str, str, list[str]]]) -> bool:
        """Import a pool that is on its disks already; whether there is one."""
        name = row["name"]
        pools = self.found.importable(name)
        if not pools:
            return False
        where = listed([path for pool in pools for vdev in pool.vdevs for path in vdev.members])
        there = f"A pool named {name} is on {where} and not imported"
        if len(pools) > 1:
            self.problems.append(f"{there}, and it is {len(pools)} pools: import the right one by its id.")
        elif pools[0].state not in ("ONLINE", "DEGRADED"):
            self.problems.append(f"{there}; it is {pools[0].state}: see what 'zpool import' says of it.")
        elif "another system" in pools[0].status:
            self.problems.append(
                f"{there}; another machine used it last. If that one does not any more, 'zpool import -f {name}' takes "
                "it over."
            )
        elif not any(self.same(pools[0], disks) for role, _kind, disks in parts if role == "data"):
            self.problems.append(
                f"{there}; other disks are declared for it. Declare these, or give the pool another name."
            )
        else:
            self.do(f"import the pool {name}", "zpool", "import", "-d", BY_ID.rstrip("/"), name)
            self.importing.add(name)
        return True

    def places(self, pool: Pool, disk: str) -> list[Vdev]:
        """The parts of a pool that a disk belongs to."""
        device = self.found.real(disk)

        def is_it(path: str) -> bool:
            real = self.found.real(path)
            there = self.found.exists(disk) and device in (real, self.found.parents.get(real))
            return there or disk in (path, re.sub(r"-part\d+$", "", path))

        return [vdev for vdev in pool.vdevs if any(map(is_it, vdev.members))]

    def same(self, pool: Pool, disks: list[str]) -> Optional[Vdev]:
        """The part of a pool that is made of these disks and no others."""
        places = [self.places(pool, disk) for disk in disks]
        first = places[0][0] if places[0] else None
        whole = first and all(place == [first] for place in places) and len(first.members) == len(disks)
        return first if whole else None

    def create(self, row: dict[str, Any], parts: list[tuple[str, str, list[str]]], root: dict[str, Any]) -> None:
        name, user = row["name"], f"the pool {row['name']}"
        argv = ["zpool", "create", "-o", f"ashift={row['ashift']}"]
        for key, value in row["properties"].items():
            argv += ["-o", f"{key}={word(value)}"]
        for key, value in {**root, **by_timers(row)}.items():
            argv += ["-O", f"{key}={word(value)}"]
        argv += [name, *arguments(parts)]
        kinds = sorted({kind for role, kind, _disks in parts if role == "data"})
        mountpoint = root.get("mountpoint", f"/{name}")
        if not kinds:
            self.problems.append(f"{user} is not there, and no disks are declared for it.")
        elif len(kinds) > 1:
            self.problems.append(
                f"{user} is declared of {listed(kinds)}: the whole pool is as safe as the weakest of them."
            )
        elif self.unused([disk for part in parts for disk in part[2]], user) and self.free_path(mountpoint, user):
            refusal = self.found.refuses(argv)
            if refusal:
                self.problems.append(f"{user} cannot be created: {refusal}")
            text = ", ".join(
                f"{'' if role == 'data' else role + ' '}{kind} of {listed(disks)}" for role, kind, disks in parts
            )
            self.do(f"create {user}: {text}", *argv)
            self.new_datasets.add(name)

    def grow(self, row: dict[str, Any], have: Pool, parts: list[tuple[str, str, list[str]]]) -> None:
        name, user = row["name"], f"the pool {row['name']}"
        bad = [f"{path} is {state}" for vdev in have.vdevs for path, state in vdev.members.items()
               if state not in ("ONLINE", "AVAIL", "INUSE")]  # fmt: skip
        if have.state != "ONLINE":
            self.warnings.append(f"{user} is {have.state}: {listed(bad) or 'see zpool status'}.")
        kinds = {vdev.kind for vdev in have.vdevs if vdev.role == "data"}
        seen = []
        for role, kind, disks in parts:
            places = [vdev for disk in disks for vdev in self.places(have, disk)]
            seen += places
            if places:
                if not self.is_as_declared(have, role, kind, disks):
                    now = ", ".join(
                        f"{vdev.role} {vdev.kind} of {listed(list(vdev.members))}" for vdev in unique(places)
                    )
                    self.warnings.append(
                        f"{user}: declared is {role} {kind} of {listed(disks)}, there is {now}. It is left as it is; a "
                        f"disk is replaced with 'zpool replace {name} OLD NEW'."
                    )
                continue
            if role == "data" and kind not in kinds:
                self.problems.append(
                    f"{user} consists of {listed(sorted(kinds))}: with a part that is {kind}, all of it would be as "
                    "safe as the weaker one."
                )
            elif self.unused(disks, user):
                argv = ["zpool", "add", "-o", f"ashift={row['ashift']}", name, *arguments([(role, kind, disks)])]
                refusal = self.found.refuses(argv)
                if refusal:
                    self.problems.append(f"{user} cannot be grown by {listed(disks)}: {refusal}")
                what = kind if role == "data" else f"{role} {kind}"
                self.do(f"grow {user} by {what} of {listed(disks)}", *argv)
        others = [path for vdev in have.vdevs if vdev not in seen for path in vdev.members]
        if others:
            self.warnings.append(f"{user} has more than is declared, and keeps it: {listed(others)}.")

    def is_as_declared(self, pool: Pool, role: str, kind: str, disks: list[str]) -> bool:
        vdev = self.same(pool, disks)
        return bool(vdev) and (vdev.role, vdev.kind) == (role, kind)

    def pool_properties(self, row: dict[str, Any]) -> None:
        name = row["name"]
        have = self.found.properties("zpool", name)
        # 0 stands for what the disks said when the pool was created.
        if have.get("ashift", "0") not in ("0", str(row["ashift"])):
            self.warnings.append(
                f"the pool {name} was created with ashift={have['ashift']}, declared is {row['ashift']}: that cannot "
                "be changed."
            )
        for key, value in row["properties"].items():
            if have.get(key) != word(value):
                self.do(
                    f"pool {name}: {key} {have.get(key, '-')} -> {word(value)}",
                    "zpool",
                    "set",
                    f"{key}={word(value)}",
                    name,
                )
        if name not in {row["name"] for row in self.wanted["datasets"]}:
            self.dataset(name, {})

    def timers(self, row: dict[str, Any]) -> None:
        running = self.found.timers(row["name"])
        wanted = [f"zfs-{job}-{row[job]}@{row['name']}.timer" for job in JOBS if row[job] in PERIODS]
        for unit, runs in running.items():
            if runs and unit not in wanted and row[unit.split("-")[1]] != "auto":
                self.do(f"stop {unit}", "systemctl", "--quiet", "disable", "--now", unit)
        for unit in wanted:
            if not running[unit]:
                self.do(f"start {unit}", "systemctl", "--quiet", "enable", "--now", unit)

    def dataset(self, name: str, properties: dict[str, Any]) -> None:
        pool = name.split("/")[0]
        wanted = {key: word(value) for key, value in properties.items()}
        for row in self.wanted["pools"]:
            if row["name"] == name:
                wanted.update(by_timers(row))
        for key, value in wanted.items():
            if key in SIZES and value != "none" and size(value) is None:
                self.problems.append(f"the dataset {name}: {key} {value} is no size such as 500G.")
                return
        if pool in self.importing:
            return
        if name in self.found.datasets:
            self.dataset_properties(name, wanted)
        elif pool in self.new_datasets and name == pool:
            return
        elif self.parent_is_there(name) and self.free_path(wanted.get("mountpoint", f"/{name}"), f"the dataset {name}"):
            options = [text for key, value in wanted.items() for text in ("-o", f"{key}={value}")]
            said = ", ".join(f"{key}={value}" for key, value in wanted.items())
            self.do(f"create the dataset {name}{f' ({said})' if said else ''}", "zfs", "create", *options, name)
            self.new_datasets.add(name)

    def parent_is_there(self, name: str) -> bool:
        parent = name.rpartition("/")[0]
        if parent in self.found.datasets or parent in self.new_datasets:
            return True
        # What stands in the way of its pool has been said.
        if name.split("/")[0] not in {row["name"] for row in self.wanted["pools"]} or "/" in parent:
            self.problems.append(
                f"the dataset {name}: there is no {parent or 'pool of that name'}, and none is declared before it."
            )
        return False

    def dataset_properties(self, name: str, wanted: dict[str, str]) -> None:
        have = self.found.properties("zfs", name)
        if have.get("type") != "filesystem":
            self.problems.append(f"{name} is declared as a dataset, and it is a {have.get('type')}.")
            return
        changes = {}
        for key, value in wanted.items():
            if same_property(key, value, have.get(key, "")):
                continue
            if key in FIXED:
                self.warnings.append(
                    f"the dataset {name} was created with {key}={have.get(key)}: that cannot be changed to {value}."
                )
                continue
            used = int(have.get({"quota": "used", "refquota": "referenced"}.get(key, ""), 0) or 0)
            if value != "none" and used > (size(value) or 0) > 0 and key in ("quota", "refquota"):
                self.problems.append(
                    f"the dataset {name} holds {human(used)}, more than the declared {key} of {value}."
                )
            changes[key] = value
        if "mountpoint" in changes and changes["mountpoint"].startswith("/"):
            self.free_path(changes["mountpoint"], f"the dataset {name}")
        if changes:
            said = ", ".join(f"{key} {have.get(key, '-')} -> {value}" for key, value in changes.items())
            self.do(
                f"dataset {name}: {said}", "zfs", "set", *(f"{key}={value}" for key, value in changes.items()), name
            )

    def free_path(self, path: str, user: str) -> bool:
        """Whether something can be mounted at a path without hiding what is there."""
        if not path.startswith("/"):
            return True
        if path in self.found.mounts:
            self.problems.append(f"{user} is to be mounted at {path}, where {self.found.mounts[path]} is mounted.")
            return False
        files = self.found.files.names(path)
        if files:
            some = listed([*files[:3], "more"] if len(files) > 3 else files)
            self.problems.append(
                f"{user} is to be mounted at {path}, which holds {some}: that would be hidden. Move it away first."
            )
        return not files

    # LVM.

    def group(self, row: dict[str, Any]) -> None:
        name, user = row["name"], f"the volume group {row['name']}"
        devices = [self.device(disk, user) for disk in row["disks"]]
        if not all(devices):
            return
        there = name in self.found.groups
        members = [device for device, group in self.found.physical.items() if group == name]
        devices = {self.found.real(device) for device in members}
        missing = [disk for disk in row["disks"] if self.found.real(disk) not in devices]
        if not there and not row["disks"]:
            self.problems.append(f"{user} is not there, and no disks are declared for it.")
        if missing and self.unused(missing, user):
            self.free[name] = self.free.get(name, 0) + sum(self.room(disk) for disk in missing)
            text = f"grow {user} by" if there else f"create {user} of"
            self.do(f"{text} {listed(missing)}", "vgextend" if there else "vgcreate", name, *missing)

    def room(self, disk: str) -> int:
        """Bytes for volumes on a disk that LVM is given: whole extents, less the first for LVM's own notes."""
        extents = int(self.found.blocks.get(self.found.real(disk), {}).get("size") or 0) // (4 << 20)
        return max(0, extents - 1) * (4 << 20)

    def volume(self, row: dict[str, Any]) -> None:
        group, path = row["group"], f"/dev/{row['group']}/{row['name']}"
        user = f"the logical volume {group}/{row['name']}"
        bytes_wanted = size(row["size"])
        if not bytes_wanted:
            self.problems.append(f"{user}: {row['size']} is no size such as 400G.")
            return
        if group not in self.free:
            if group not in {row["name"] for row in self.wanted["volume_groups"]}:
                self.problems.append(f"{user}: there is no volume group {group}, and none is declared.")
            return
        extent = int(self.found.groups.get(group, {}).get("vg_extent_size", 4 << 20))
        bytes_wanted = -(-bytes_wanted // extent) * extent
        have = self.found.volumes.get(path)
        kind = "thin-pool" if row["type"] == "thin_pool" else "linear"
        if have and kind not in (have["segtype"], "linear" if have["segtype"] in ("striped", "raid1") else ""):
            self.problems.append(f"{user} is declared as {kind}, and it is {have['segtype']}. It is left as it is.")
            return
        more = bytes_wanted - int(have["lv_size"] if have else 0)
        if more < 0:
            self.warnings.append(
                f"{user} has {human(int(have['lv_size']))}, more than the declared {row['size']}. It is never shrunk."
            )
        if more <= 0:
            return
        if more > self.free[group]:
            others = [f"{volume['lv_name']} {human(int(volume['lv_size']))}" for volume in self.found.volumes.values()
                      if volume["vg_name"] == group]  # fmt: skip
            self.problems.append(
                f"{user} needs {human(more)} more, and the volume group {group} has {human(self.free[group])} left"
                f"{f' ({listed(others)})' if others else ''}."
            )
            return
        self.free[group] -= more
        if have:
            # A file system on it grows with it.
            holds = {sign["type"] for sign in self.found.signatures(path)} if kind == "linear" else set()
            options = ["--resizefs"] if holds & {"ext4", "xfs"} else []
            self.do(
                f"grow {user} to {row['size']}",
                "lvextend",
                "--size",
                f"{bytes_wanted}b",
                *options,
                f"{group}/{row['name']}",
            )
        else:
            self.new_volumes.add(path)
            argv = ["lvcreate", "--yes", "--type", kind, "--size", f"{bytes_wanted}b"]
            # What an earlier volume has left in the group's free space belongs to nobody. A thin pool shows none of it.
            argv += ["--wipesignatures", "y"] if kind == "linear" else []
            self.do(f"create {user} of {row['size']} ({kind})", *argv, "--name", row["name"], group)

    # Directories.

    def directory(self, row: dict[str, Any]) -> None:
        path, device, kind = row["path"].rstrip("/"), row["device"], row["filesystem"]
        user = f"the directory {path}"
        declared = {f"/dev/{one['group']}/{one['name']}" for one in self.wanted["logical_volumes"]}
        is_volume = device in declared or device in self.found.volumes
        if not is_volume and not self.device(device, user):
            return
        new = device in self.new_volumes
        if not new and not self.found.exists(device):
            # What stands in the way of a declared volume has been said.
            if device not in declared:
                self.problems.append(f"{device}, declared for {user}, is not there: 'ls -l {BY_ID}' shows what is.")
            return
        real = self.found.real(device)
        at = [
            place
            for place, source in self.found.mounts.items()
            if source.startswith("/") and self.found.real(source) == real
        ]
        if at and path not in at:
            self.problems.append(f"{device}, declared for {user}, is mounted at {listed(at)}.")
            return
        if (new or self.has_filesystem(device, kind, user, is_volume)) and (at or self.free_path(path, user)):
            self.mount(row, path, bool(at))

    def has_filesystem(self, device: str, kind: str, user: str, is_volume: bool) -> bool:
        """Whether a device has the wanted file system or nothing on it; then it gets one."""
        kinds = [sign["type"] for sign in self.found.signatures(device)]
        if kinds == [kind]:
            return True
        if is_volume and kinds:
            self.problems.append(
                f"{device}, declared for {user}, holds {listed(self.found.contents(device))}. It is left as it is."
            )
        elif is_volume or self.unused([device], user):
            self.new_volumes.add(device)
            return True
        return False

    def mount(self, row: dict[str, Any], path: str, mounted: bool) -> None:
        device, kind, options = row["device"], row["filesystem"], row["options"]
        if device in self.new_volumes:
            self.do(f"make an {kind} file system on {device}", f"mkfs.{kind}", "-q", device)
        line = f"{device} {path} {kind} {options} 0 2"
        lines = self.fstab.splitlines()
        entries = [
            number for number, text in enumerate(lines) if not text.startswith("#") and text.split()[1:2] == [path]
        ]
        if entries and self.source(lines[entries[0]].split()[0]) != self.found.real(device):
            self.problems.append(f"{FSTAB} mounts {lines[entries[0]].split()[0]} at {path}, declared is {device}.")
            return
        if entries and lines[entries[0]].split()[2:4] == [kind, options]:
            if not mounted:
                self.do(f"mount {path}", "mount", path)
            return
        for number in entries:
            lines[number] = line
        after = "\n".join(lines if entries else [*lines, line]) + "\n"
        edit, self.fstab = Edit(FSTAB, self.fstab, after), after
        if mounted:
            commands = [("mount", "--options", f"remount,{options}", path)]
        else:
            commands = [("mkdir", "--parents", path), ("mount", "--types", kind, "--options", options, device, path)]
        self.steps.append(Step(f"mount {device} at {path} ({options})", tuple(commands), edit))

    def source(self, text: str) -> str:
        """The device of an entry of fstab."""
        key, _sign, value = text.partition("=")
        folders = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}
        quoted = value.strip('"')
        return self.found.real(f"/dev/disk/{folders[key]}/{quoted}" if key in folders else text)


def arguments(parts: list[tuple[str, str, list[str]]]) -> list[str]:
    """Parts of a pool as zpool is told them."""
    found = []
    for role, kind, disks in parts:
        found += [*([] if role == "data" else [role]), *([] if kind == "single" else [kind]), *disks]
    return found


def by_timers(pool: dict[str, Any]) -> dict[str, str]:
    """What keeps Debian's cron job away from a pool for which more is declared than that."""
    return {CRON[job]: "disable" for job in JOBS if pool[job] != "auto"}


def unique(items: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def same_property(key: str, wanted: str, have: str) -> bool:
    if key in SIZES:
        return (0 if wanted == "none" else size(wanted)) == (int(have) if have.isdigit() else None)
    return wanted == have


def carry_out(files: Files, run: Run, steps: list[Step]) -> list[str]:
    """Do the steps one after the other; returns those that are done."""
    done: list[str] = []
    for step in steps:
        for argv in step.commands:
            code, output, errors = run(list(argv))
            if code:
                words = " ".join((errors or output).split())[-500:].rstrip(".")
                before = f"Done before: {'; '.join(done)}." if done else "Nothing was changed before."
                raise Failed(f"'{' '.join(argv)}' failed with exit code {code}: {words}. {before}")
        if step.edit:
            files.write(step.edit.path, step.edit.after or "")
        done.append(step.text)
    if any(step.edit for step in steps):
        run(["systemctl", "daemon-reload"])
    return done
