# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines as a real Proxmox VE keeps them: addresses, disks, unused volumes, pending changes."""

from __future__ import annotations

import hashlib
import json
import re
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from aiohttp import web
from fakepve import FakeVm, PveError, TaskError
from fakepve import schema as pve_schema
from fakepve.lxc import format_size, parse_size
from fakepve.qemu import DRIVE_KEY, boot_order, is_cdrom, join_drive, split_drive, volume_ref, with_mac
from fakepve.server import USER, ok, params
from fakepve.storage import _is_file

Values = dict[str, Any]
CONFIG = "/nodes/{node}/qemu/{vmid}/config"
MASK = "**********"
# What a running machine takes at once, devices that can be plugged in aside.
LIVE = (
    *("balloon", "cpulimit", "cpuunits", "description", "hookscript", "hotplug", "lock", "name", "onboot"),
    *("protection", "shares", "startup", "tags", "vmstatestorage"),
    *("cicustom", "cipassword", "citype", "ciupgrade", "ciuser", "nameserver", "searchdomain", "sshkeys"),
)
VERSION = "10.0+pve1"


def digest(vm: FakeVm) -> str:
    """Of the file, which holds what is pending too."""
    held = json.dumps([vm.config, vm.pending, vm.snapshots], sort_keys=True, default=str)
    return hashlib.sha1(held.encode()).hexdigest()


def next_start(vm: FakeVm) -> Values:
    """The configuration with what is pending."""
    values = {**vm.config, **vm.pending}
    return {key: value for key, value in values.items() if value is not None}


def stored_value(key: str, value: Any) -> Any:
    """An option as it is written to the configuration file and read back."""
    properties = pve_schema.load().paths[CONFIG]["PUT"]["parameters"]["properties"]
    kind = (properties.get(key) or properties.get(re.sub(r"\d+$", "[n]", key)) or {}).get("type")
    if kind in ("integer", "boolean"):
        return int(value)
    if re.fullmatch(r"net\d+", key):
        return with_mac(value)
    if key == "tags":
        return ";".join(sorted({tag.lower() for tag in re.split(r"[;,\s]+", value) if tag})) or " "
    if key == "cpulimit" and isinstance(value, float):
        return f"{value:g}"
    return str(value)


def pinned(values: Values) -> Values:
    """The machine's version that a Windows machine keeps."""
    machine, _, rest = str(values.get("machine", "pc")).partition(",")
    if not str(values.get("ostype", "")).startswith("w") or machine.removeprefix("type=") not in ("pc", "q35"):
        return {}
    family = "pc-q35" if "q35" in machine else "pc-i440fx"
    return {"machine": ",".join(filter(None, [f"{family}-{VERSION}", rest]))}


class Machines:
    """Mixin of FakePve."""

    # ------------------------------------------------------------------------------------------------- reading

    async def _config_get(self, request: web.Request) -> web.Response:
        vm, snapshot = self._vm(request, "VM.Audit"), request.query.get("snapshot")
        if snapshot and snapshot not in vm.snapshots:
            raise PveError(500, f"snapshot '{snapshot}' does not exist")
        values = vm.config if request.query.get("current") == "1" else next_start(vm)
        values = vm.snapshots[snapshot] if snapshot else values
        return ok({**self._machine_masked(values), "digest": digest(vm)})

    async def _pending(self, request: web.Request) -> web.Response:
        vm = self._vm(request, "VM.Audit")
        held, waiting = self._machine_masked(vm.config), self._machine_masked(vm.pending)
        entries = [{"key": "digest", "value": digest(vm)}]
        for key in sorted({*held, *waiting}):
            entry = {"key": key}
            if key in held:
                entry["value"] = held[key]
            if key in waiting:
                entry.update({"delete": 1} if waiting[key] is None else {"pending": waiting[key]})
            entries.append(entry)
        return ok(entries)

    @staticmethod
    def _machine_masked(values: Values) -> Values:
        masked = {"cipassword": MASK} if values.get("cipassword") else {}
        strings = {key: str(values[key]) for key in ("memory", "agent") if values.get(key) is not None}
        return {**values, **strings, **masked}

    # ------------------------------------------------------------------------------------------------- drives

    def _qm_new_drive(self, vmid: int, key: str, value: str, default: str | None) -> tuple[str, list[str]]:
        volume, props = split_drive(value)
        store, name = volume_ref(volume)
        if name == "cloudinit":
            file = _is_file(self.storages[store])
            name = f"{vmid}/vm-{vmid}-cloudinit.qcow2" if file else f"vm-{vmid}-cloudinit"
            made = {"content": "images", "format": "qcow2" if file else "raw", "size": 4 << 20, "vmid": vmid}
            self.storages[store].setdefault("volumes", {})[name] = {**made, "ctime": int(time.time())}
            return f"{store}:{name},media=cdrom", [f"{store}:{name}"]
        source = props.pop("import-from", "")
        if not source:
            return super()._qm_new_drive(vmid, key, value, default)
        origin, name = volume_ref(source)
        held = self._volumes(origin).get(name) if origin else {"size": 1 << 30}
        if held is None:
            raise PveError(500, f"volume '{source}' does not exist")
        made, volumes = super()._qm_new_drive(vmid, key, join_drive(f"{store}:1", props), default)
        for volid in volumes:
            self._qm_volume(volid)["size"] = held["size"]
        return re.sub(r"size=\w+", f"size={format_size(held['size'])}", made), volumes

    def _machine_keep_unused(self, vm: FakeVm, key: str) -> None:
        """What becomes of the drive that is in the way: a disk stays as unused, the one of cloud-init goes."""
        volume, props = split_drive(vm.config.get(key, "none"))
        if "cloudinit" in volume:
            self._qm_free(volume)
        elif ":" in volume and not is_cdrom(volume, props) and not self._machine_holds(vm, volume, key):
            number = next(number for number in range(256) if f"unused{number}" not in vm.config)
            vm.config[f"unused{number}"] = volume

    @staticmethod
    def _machine_holds(vm: FakeVm, volume: str, key: str) -> bool:
        """Whether the volume is in another place of the machine as well."""
        return any(
            split_drive(value)[0] == volume
            for name, value in vm.config.items()
            if name != key and re.match(r"(ide|sata|scsi|virtio|efidisk|tpmstate|unused)\d+$", name)
        )

    # ------------------------------------------------------------------------------------------------- writing

    async def _qm_create(self, v: Values, user: str) -> str:
        values = dict(v)
        for key in [key for key in v if DRIVE_KEY.match(key) and str(v[key]).endswith(":cloudinit")]:
            values[key] = f"{v[key]},media=cdrom"
        properties = pve_schema.load().paths[CONFIG]["PUT"]["parameters"]["properties"]
        for key in v:
            if key not in ("node", "vmid") and (key in properties or re.sub(r"\d+$", "[n]", key) in properties):
                values[key] = stored_value(key, values[key])
        values.setdefault("boot", boot_order(values) or " ")
        values.update(pinned(values))
        return await super()._qm_create(values, user)

    def _config_priv(self, key: str) -> str:
        if key in ("args", "hookscript", "parallel0") or re.fullmatch(r"(parallel|virtiofs)\d+", key):
            return "root"
        if key in ("ciuser", "cipassword", "cicustom", "sshkeys", "ciupgrade", "citype", "nameserver", "searchdomain"):
            return "VM.Config.Cloudinit"
        return "VM.Config.Network" if key.startswith("ipconfig") else super()._config_priv(key)

    async def _config_put(self, request: web.Request) -> web.Response:
        given = await params(request)
        self._verify(request, given)
        # fakepve drops what was sent empty.
        sent = urllib.parse.parse_qsl((await request.read()).decode(), keep_blank_values=True)
        blank = {name: value for name, value in sent if value == ""}
        await self._apply_config(self._vm(request), request[USER], {**blank, **given})
        return ok()

    def _machine_pluggable(self, vm: FakeVm, key: str) -> bool:
        """Whether a device of this name can be plugged in and out while the machine runs."""
        hotplug = str(vm.config.get("hotplug", "1"))
        words = ("disk", "network", "usb") if hotplug == "1" else hotplug.split(",")
        return ("network" in words and key.startswith("net")) or (
            "disk" in words and bool(re.fullmatch(r"(scsi|virtio)\d+", key))
        )

    async def _apply_config(self, vm: FakeVm, user: str, p: Values) -> None:
        self.need_quorum()
        updates = {key: value for key, value in p.items() if key not in ("skiplock", "force")}
        if updates.pop("digest", None) not in (None, "", digest(vm)):
            raise PveError(500, "checksum mismatch (file change by other user?)")
        deletes = [key for key in re.split(r"[\s,;]+", str(updates.pop("delete", "") or "")) if key]
        for key in re.split(r"[\s,;]+", str(updates.pop("revert", "") or "")):
            vm.pending.pop(key, None)
        properties = pve_schema.load().paths[CONFIG]["PUT"]["parameters"]["properties"]
        for key in deletes:
            if key not in properties and re.sub(r"\d+$", "[n]", key) not in properties:
                raise PveError(400, "Parameter verification failed.", {"delete": f"unknown option '{key}'"})
            if key in updates:
                why = f"you can't use '-{key}' and -delete {key}' at the same time"
                raise PveError(400, "Parameter verification failed.", {"delete": why})
        for key in (*updates, *deletes):
            privilege = self._config_priv(key)
            if privilege == "root" or (key.startswith("hostpci") and "mapping" not in str(updates.get(key, "mapping"))):
                if user != "root@pam":
                    raise PveError(500, f"only root can set '{key}' config")
            else:
                self.require(user, f"/vms/{vm.vmid}", privilege)
        if not p.get("skiplock"):
            self._check_lock(vm)
        if vm.config.get("protection") and any(DRIVE_KEY.match(key) for key in deletes):
            raise PveError(500, f"can't remove drive '{deletes[0]}' - protection mode enabled")
        for key in [key for key in updates if DRIVE_KEY.match(key)]:
            self._qm_check_drive(user, vm.vmid, None, key, updates[key], None)
        if "boot" in updates:
            known = {**next_start(vm), **updates}
            for device in re.split(";", str(updates["boot"]).partition("order=")[2]):
                if device and device not in known:
                    raise PveError(500, f"invalid bootorder: device '{device}' does not exist'")
        try:
            await self.acquire(vm, "config")
        except TaskError as error:
            raise PveError(500, str(error)) from error
        try:
            self._machine_write(vm, updates, deletes)
        finally:
            self.release(vm, "config")
        vm.name = vm.config.get("name") or f"VM {vm.vmid}"

    def _machine_write(self, vm: FakeVm, updates: Values, deletes: list[str]) -> None:
        if updates.get("description") == "":
            updates = {key: value for key, value in updates.items() if key != "description"}
            deletes = [*deletes, "description"]
        order = str(next_start(vm).get("boot", ""))
        devices = order.removeprefix("order=").split(";") if order.startswith("order=") else []
        running = vm.status == "running"
        busy: dict[str, str] = {}
        for key in deletes:
            if key in devices and "boot" not in deletes:
                devices.remove(key)
                updates = {"boot": f"order={';'.join(devices)}" if devices else " ", **updates}
            self._machine_delete(vm, key, running, busy)
        for key, value in updates.items():
            if DRIVE_KEY.match(key):
                current = next_start(vm).get(key)
                value, _ = self._qm_new_drive(vm.vmid, key, value, None)
                volume, props = split_drive(value)
                if current is not None and split_drive(current)[0] != volume:
                    self._machine_keep_unused(vm, key)
                if current is None and is_cdrom(volume, props) and "cloudinit" not in volume and devices:
                    updates = {**updates, "boot": updates.get("boot", f"order={';'.join([*devices, key])}")}
                    self._machine_set(vm, "boot", updates["boot"], running, busy)
            self._machine_set(vm, key, stored_value(key, value), running, busy)
        if {"ostype", "machine"} & updates.keys():
            for key, value in pinned(next_start(vm)).items():
                self._machine_set(vm, key, value, running, busy)
        if busy:
            raise PveError(400, "Parameter verification failed.", busy)

    def _machine_delete(self, vm: FakeVm, key: str, running: bool, busy: dict[str, str]) -> None:
        held = vm.config.get(key)
        if key.startswith("unused"):
            self._qm_free(str(held))
        if not running or key in LIVE or held is None or (self._machine_pluggable(vm, key) and not self.clinging):
            if DRIVE_KEY.match(key):
                self._machine_keep_unused(vm, key)
            vm.config.pop(key, None)
            vm.pending.pop(key, None)
            return
        vm.pending[key] = None
        if self._machine_pluggable(vm, key):
            busy[key] = f"hotplug problem - error on hot-unplugging device '{key}' - still busy in guest?\n"

    def _machine_set(self, vm: FakeVm, key: str, value: Any, running: bool, busy: dict[str, str]) -> None:
        held = vm.config.get(key)
        plugged = self._machine_pluggable(vm, key) and (
            held is None or key.startswith("net") or split_drive(held)[0] != split_drive(value)[0]
        )
        if not running or key in LIVE or (plugged and (held is None or not self.clinging)):
            vm.config[key] = value
            vm.pending.pop(key, None)
        elif held == value:
            vm.pending.pop(key, None)
        else:
            vm.pending[key] = value
            if self._machine_pluggable(vm, key) and key.startswith("net"):
                busy[key] = f"hotplug problem - error on hot-unplugging device '{key}' - still busy in guest?\n"

    # Whether running machines do not let go of what is to be plugged out.
    clinging = False

    # ------------------------------------------------------------------------------------------------ resizing

    def _routes_machines(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [("PUT", "/nodes/{node}/qemu/{vmid}/resize", self._qm_resize)]

    async def _qm_resize(self, v: Values, user: str) -> str:
        vm, key = self.find(v["node"], v["vmid"]), v["disk"]
        self.require(user, f"/vms/{vm.vmid}", "VM.Config.Disk")
        self._check_lock(vm)

        async def body() -> None:
            if key not in vm.config:
                raise TaskError(f"disk '{key}' does not exist")
            volume, props = split_drive(vm.config[key])
            old = parse_size(props.get("size", "0"))
            size = parse_size(v["size"].removeprefix("+")) + (old if v["size"].startswith("+") else 0)
            if size < old:
                raise TaskError("shrinking disks is not supported")
            held = self._qm_volume(volume)
            if held:
                held["size"] = size
            vm.config[key] = join_drive(volume, {**props, "size": format_size(size)})

        return await self.task(vm.node, "resize", vm.vmid, user, body, vm=vm)
