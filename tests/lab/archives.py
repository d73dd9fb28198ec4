# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests go through beyond their configuration: snapshots, restores, volumes and guests that move."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from fakepve import FakeCt, FakeVm, PveError, TaskError
from fakepve.lxc import SNAPSHOT_STORAGE, parse_mount, parse_size, print_mount
from fakepve.qemu import DRIVE_KEY, is_cdrom, join_drive, split_drive, with_mac

from tests.lab.vms import digest

Values = dict[str, Any]
MOUNT = re.compile(r"rootfs|mp\d+")
# What a backup holds of a configuration is all but these.
PASSING = ("lock", "parent", "template", "digest", "pending", "snapshots")
GIB = 1024**3


class Archives:
    """Mixin of FakePve."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What the archives hold: the name of the file -> the configuration at the time.
        self.archived: dict[str, Values] = {}
        self.recovering: dict[int, Values] = {}

    def _routes_archives(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("GET", "/nodes/{node}/lxc/{vmid}/feature", self._ct_feature),
            ("GET", "/nodes/{node}/qemu/{vmid}/feature", self._qm_feature),
            ("POST", "/nodes/{node}/lxc/{vmid}/move_volume", self._ct_move),
            ("POST", "/nodes/{node}/qemu/{vmid}/move_disk", self._qm_move),
            ("POST", "/nodes/{node}/qemu/{vmid}/migrate", self._qm_migrate),
        ]

    async def _lxc_pending(self, user: str, v: Values) -> list[Values]:
        entries = await super()._lxc_pending(user, v)
        return [*entries, {"key": "digest", "value": self._find_ct(v["node"], v["vmid"]).digest()}]

    # ----------------------------------------------------------------------------------------------- snapshots

    def _ct_can_snapshot(self, ct: FakeCt) -> bool:
        """A path of the node is no volume, and so has no snapshots either."""
        stores = [self.storages.get(mount["volume"].partition(":")[0]) for _, mount in ct.volumes()]
        paths = [key for key, value in ct.config.items() if key.startswith("mp") and value.startswith("/")]
        return not paths and all(store and store["type"] in SNAPSHOT_STORAGE for store in stores)

    async def _ct_feature(self, v: Values, user: str) -> Values:
        ct = self._find_ct(v["node"], v["vmid"])
        return {"hasFeature": int(v["feature"] != "snapshot" or self._ct_can_snapshot(ct))}

    async def _qm_feature(self, v: Values, user: str) -> Values:
        vm = self.find(v["node"], v["vmid"])
        able = v["feature"] != "snapshot" or self._qm_can_snapshot(vm.config)
        return {"hasFeature": int(able), "nodes": sorted(self.nodes) if able else []}

    async def _lxc_snapshot(self, user: str, v: Values) -> str:
        if v.get("description"):
            # Kept as comment lines, as that of the container itself.
            v = {**v, "description": v["description"].rstrip("\n") + "\n"}
        return await super()._lxc_snapshot(user, v)

    async def _lxc_snapshot_config_put(self, user: str, v: Values) -> None:
        if v.get("description"):
            v = {**v, "description": v["description"].rstrip("\n") + "\n"}
        await super()._lxc_snapshot_config_put(user, v)

    async def _lxc_template(self, user: str, v: Values) -> None:
        """The task is begun, and its name is not told."""
        await super()._lxc_template(user, v)

    async def _lxc_snapshot_list(self, user: str, v: Values) -> list[Values]:
        # Read from a hash, and so in no order.
        return (await super()._lxc_snapshot_list(user, v))[::-1]

    async def _qm_snapshot_list(self, v: Values, user: str) -> list[Values]:
        return (await super()._qm_snapshot_list(v, user))[::-1]

    async def _qm_rollback(self, v: Values, user: str) -> str:
        """The memory that a snapshot holds makes the machine go on running."""
        vm = self.find(v["node"], v["vmid"])
        memory = (vm.snapshots.get(v["snapname"]) or {}).get("vmstate")
        return await super()._qm_rollback({**v, "start": 1} if memory else v, user)

    # ------------------------------------------------------------------------------------------------- backups

    def store_file(self, storage: str, name: str, size: int, content: str = "iso") -> None:
        super().store_file(storage, name, size, content)
        match = re.match(r"vzdump-(lxc|qemu)-(\d+)-", name)
        guest = match and ((self.ct if match[1] == "lxc" else self.vm)(int(match[2])))
        if match and content == "backup":
            self.storages[storage]["volumes"][f"backup/{name}"]["vmid"] = int(match[2])
        if guest:
            kept = {key: value for key, value in guest.config.items() if key not in PASSING}
            self.archived[name] = {key: value for key, value in kept.items() if not key.startswith("unused")}

    def _item(self, storage: str, name: str, volume: Values) -> Values:
        match = re.match(r"backup/vzdump-(lxc|qemu)-", name)
        return {**super()._item(storage, name, volume), **({"subtype": match[1]} if match else {})}

    def _archived(self, volume: str) -> Values:
        return self.archived.get(volume.rpartition("/")[2], {})

    async def _lxc_create(self, user: str, v: Values) -> str:
        if not v.get("restore"):
            return await super()._lxc_create(user, v)
        held, vmid = self._archived(v["ostemplate"]), int(v["vmid"])
        for key in [key for key in held if MOUNT.fullmatch(key)]:
            mount = parse_mount(held[key])
            storage = v.get("storage") or mount["volume"].partition(":")[0]
            size = parse_size(mount.pop("size", "4G")) / GIB
            held = {**held, key: print_mount({**mount, "volume": f"{storage}:{size:g}"}, key == "rootfs")}
        if v.get("unique"):
            nets = {key: re.sub(r",hwaddr=[^,]+", "", held[key]) for key in held if key.startswith("net")}
            held = {**held, **nets}
        # Only what is given is a change that the user must be allowed to make.
        self.recovering[vmid] = {key: value for key, value in held.items() if key not in v}
        try:
            return await super()._lxc_create(user, {**held, **v})
        finally:
            del self.recovering[vmid]

    def _check_modify_perm(self, user: str, vmid: int, pool: Any, old: Any, new: Values, *rest: Any) -> None:
        kept = self.recovering.get(vmid, {})
        super()._check_modify_perm(user, vmid, pool, old, {key: new[key] for key in new if key not in kept}, *rest)

    async def _qm_create(self, v: Values, user: str) -> str:
        if not v.get("archive"):
            return await super()._qm_create(v, user)
        vmid, failed = int(v["vmid"]), f"unable to restore VM {v['vmid']} -"
        old = self.vm(vmid)
        for option in ("start", "live-restore"):
            if v.get(option):
                self._qm_perm(user, vmid, v.get("pool"), "VM.PowerMgmt")
        self._qm_perm(user, vmid, v.get("pool"), "VM.Backup" if old and v.get("force") else "VM.Allocate")
        ours = ("node", "vmid", "archive", "storage", "pool", "force", "unique", "start", "live-restore", "bwlimit")
        given = {key: value for key, value in v.items() if key not in ours}
        for key in given:
            self._qm_perm(user, vmid, v.get("pool"), self._config_priv(key))
        if self._qm_taken(vmid) and not (old and v.get("force")):
            kind = "VM" if old else "CT"
            raise PveError(500, f"{failed} {kind} {vmid} already exists on node '{(old or self.ct(vmid)).node}'")

        async def body() -> None:
            if old and old.config.get("protection"):
                raise TaskError(f"{failed} protection mode enabled")
            if old and old.status == "running":
                raise TaskError(f"{failed} vm is running")
            if old:
                for _key, volume in [item for item in old.config.items() if DRIVE_KEY.match(item[0])]:
                    self._qm_free(split_drive(volume)[0])
                self.vms.remove(old)
            config = self._recovered(vmid, v, given)
            made = FakeVm(vmid, config.get("name", f"VM {vmid}"), node=v["node"])
            made.config = config
            self.vms.append(made)
            if v.get("pool"):
                self._pool_join(v["pool"], vmid)
            if v.get("start") or v.get("live-restore"):
                made.status = made.qmpstatus = "running"
                made.started_at = time.time()

        return await self.task(v["node"], "qmrestore", vmid, user, body)

    def _recovered(self, vmid: int, v: Values, given: Values) -> Values:
        """The configuration of a restored machine, with disks of its own."""
        config = {**self._archived(v["archive"]), "vmgenid": str(uuid.uuid4())}
        for key, value in list(config.items()):
            volume, props = split_drive(value) if DRIVE_KEY.match(key) else ("", {})
            if ":" in volume and not is_cdrom(volume, props):
                storage = v.get("storage") or volume.partition(":")[0]
                size = parse_size(props.get("size", "1G"))
                config[key] = join_drive(self._qm_alloc(storage, vmid, None, size)[0], props)
            elif key.startswith("net"):
                config[key] = with_mac(value, fresh=bool(v.get("unique")))
        return {**config, **{key: with_mac(value) if key.startswith("net") else value for key, value in given.items()}}

    # -------------------------------------------------------------------------------------------------- clones

    async def _qm_clone(self, v: Values, user: str) -> str:
        upid = await super()._qm_clone(v, user)
        made = self.vm(int(v["newid"]))
        for key, value in made.config.items() if made else ():
            if DRIVE_KEY.match(key) and "cloudinit" in value:  # the one drive for discs that is copied
                storage = v.get("storage") or value.partition(":")[0]
                made.config[key] = self._qm_new_drive(made.vmid, key, f"{storage}:cloudinit,media=cdrom", None)[0]
        return upid

    # -------------------------------------------------------------------------------------------------- moving

    def _left(self, guest: FakeCt | FakeVm, key: str, volume: str, delete: bool) -> None:
        """What becomes of the volume that a guest has a copy of now."""
        if any(volume == str(value).partition(",")[0] for value in guest.config.values()):
            return
        if delete:
            self._qm_free(volume)
        else:
            number = next(number for number in range(256) if f"unused{number}" not in guest.config)
            guest.config[f"unused{number}"] = volume

    async def _ct_move(self, v: Values, user: str) -> str:
        ct, key = self._find_ct(v["node"], v["vmid"]), v["volume"]
        self.require(user, f"/vms/{ct.vmid}", "VM.Config.Disk")
        self.require(user, f"/storage/{v['storage']}", "Datastore.AllocateSpace")
        self._ct_check_lock(ct)
        if ct.status == "running":
            raise PveError(500, "cannot move volumes of a running container")
        mount = parse_mount(ct.config[key])
        held = [parse_mount(config.get(key, ""))["volume"] for config in ct.snapshots.values() if key in config]
        if v.get("delete") and mount["volume"] in held:
            raise PveError(500, "you can't move a volume with snapshots and delete the source")
        if v.get("digest") not in (None, ct.digest()):
            raise PveError(500, "detected modified configuration - file changed by other user? Try again.")

        async def body() -> None:
            volume = self._allocate(ct.vmid, v["storage"], self._taken_volumes())
            ct.config[key] = print_mount({**mount, "volume": volume}, key == "rootfs")
            self._left(ct, key, mount["volume"], bool(v.get("delete")))

        return await self._ct_task(ct, "move_volume", user, body)

    async def _qm_move(self, v: Values, user: str) -> str:
        vm, key = self.find(v["node"], v["vmid"]), v["disk"]
        self.require(user, f"/vms/{vm.vmid}", "VM.Config.Disk")
        self._check_lock(vm)
        volume, props = split_drive(vm.config[key])
        store = volume.partition(":")[0]
        old = self._qm_volume(volume) or {}
        if store == v["storage"] and v.get("format", old.get("format")) == old.get("format"):
            raise PveError(500, "you can't move to the same storage with same format")
        if v.get("delete") and any(str(config.get(key)).startswith(volume) for config in vm.snapshots.values()):
            raise PveError(500, "you can't move a disk with snapshots and delete the source")
        if v.get("digest") not in (None, digest(vm)):
            raise PveError(500, "checksum mismatch (file change by other user?)")

        async def body() -> None:
            if key == "tpmstate0" and vm.status == "running":
                raise TaskError("cannot move TPM state while VM is running")
            size = parse_size(props.get("size", "1G"))
            vm.config[key] = join_drive(self._qm_alloc(v["storage"], vm.vmid, v.get("format"), size)[0], props)
            self._left(vm, key, volume, bool(v.get("delete")))

        return await self.task(vm.node, "qmmove", vm.vmid, user, body, vm=vm)

    def _settled(self, guest: FakeCt | FakeVm, target: str) -> None:
        """The volumes of a guest that has arrived, on the storages that were named for them."""
        for key, value in guest.config.items():
            storage, colon, rest = str(value).partition(":")
            known = storage in self.storages and not self.storages[storage].get("shared")
            if target and colon and known and "media=cdrom" not in rest:
                guest.config[key] = f"{target}:{rest}"

    async def _lxc_migrate(self, user: str, v: Values) -> str:
        self.require(user, f"/vms/{v['vmid']}", "VM.Migrate")
        ct = self._find_ct(v["node"], v["vmid"])
        paths = [key for key, value in ct.config.items() if key.startswith("mp") and str(value).startswith("/")]
        if paths:
            self.plan_task("vzmigrate", vmid=ct.vmid, error=f"cannot migrate local bind mount point '{paths[0]}'")
        upid = await super()._lxc_migrate(user, v)
        self._settled(ct, v.get("target-storage", ""))
        return upid

    async def _qm_migrate(self, v: Values, user: str) -> str:
        vm, target = self.find(v["node"], v["vmid"]), v["target"]
        self.require(user, f"/vms/{vm.vmid}", "VM.Migrate")
        if target not in self.nodes:
            raise PveError(500, f"no such cluster node '{target}'")
        self._check_lock(vm)
        if vm.status == "running" and not v.get("online"):
            raise PveError(500, "can't migrate running VM without --online")
        disks = [split_drive(value)[0] for key, value in vm.config.items() if DRIVE_KEY.match(key)]
        local = [disk for disk in disks if ":" in disk and not self.storages[disk.split(":")[0]].get("shared")]

        async def body() -> None:
            if local and vm.status == "running" and not v.get("with-local-disks"):
                raise TaskError("can't live migrate attached local disks without with-local-disks option")
            vm.node = target
            self._settled(vm, v.get("targetstorage", ""))

        return await self.task(v["node"], "qmigrate", vm.vmid, user, body, vm=vm)
