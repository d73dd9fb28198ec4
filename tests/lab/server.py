# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's Proxmox VE API: what it is told about containers happens to real machines.

The API answers from fakepve's model. After every task and every change of a configuration the machine behind the
container is brought to what the model says, so one function covers create, start, stop, destroy, new limits, and
what is left to do after a crash or a reboot of the computer. A virtual machine is in the model only: nothing runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from fakepve import FakeVm
from fakepve.certs import make_cert
from fakepve.lxc import FakeCt, parse_mount, split_props
from fakepve.model import TaskError

from . import machines, pct, pvesh
from .api import Pve

NODE = "pve1"
TEMPLATE = "debian-13-standard_13.1-2_amd64.tar.zst"
# What was uploaded, and the medium that the role windows_vm puts into the storage: no file of the node is looked at.
DISCS = ("windows-11.iso", "virtio-win.iso", "onprem-900-windows-render.iso")
MAIL_PORT = 2525
# What the API keeps of everything else, as it is.
KEPT = ("records", "node_settings", "interfaces", "apt_files")
SAVED = ("vmid", "node", "status", "config", "pending", "snapshots", "pool")


class Lab(Pve):
    """The API of one node whose containers are machines on this computer."""

    def __init__(self, folder: Path, host: str, root_secret: str) -> None:
        super().__init__(host=host)
        self.folder = folder
        self.time_scale = 1.0
        self.ticket_ttl = float("inf")
        # As on a fresh node, there is nobody but root, whose token is for those who look at the lab from outside.
        self.apitokens["root@pam!lab"] = root_secret
        self.acl = {}
        # The password login stays closed: its default is public.
        self.password = root_secret
        self._keys: dict[int, str] = {}
        self._settling: dict[int, asyncio.Lock] = {}
        self._figures()
        self._load()

    async def answer(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().answer(request, *args, **kwargs)
        finally:
            if request.method != "GET":
                self.save()

    def _figures(self) -> None:
        """The node's figures are this computer's."""
        disk = os.statvfs(self.folder)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
        self.node_figures[NODE] = {"maxcpu": os.cpu_count(), "maxmem": memory, "maxdisk": total}
        kinds = {
            "local": ("dir", "iso,vztmpl,backup"),
            "local-lvm": ("lvmthin", "images,rootdir"),
            "local-db": ("dir", "rootdir,images"),
            "nextcloud-bowbo": ("zfspool", "rootdir,images"),
            "nextcloud-maro": ("zfspool", "rootdir,images"),
        }
        for name, (kind, content) in kinds.items():
            store = {"type": kind, "active": 1, "content": content, "files": set(), "total": total, "avail": free}
            self.storages[name] = {**self.storages.get(name, {}), **store}
        files = {f"vztmpl/{TEMPLATE}": "tzst", **{f"iso/{disc}": "iso" for disc in DISCS}}
        for name, kind in files.items():
            made = {"content": name.split("/")[0], "size": 130_000_000, "ctime": int(time.time()), "format": kind}
            self.storages["local"].setdefault("volumes", {})[name] = made

    # ------------------------------------------------------------------ state

    def _load(self) -> None:
        path = self.folder / "state.json"
        if not path.exists():
            return
        state = json.loads(path.read_text())
        for saved in state["containers"]:
            self._keys[saved["vmid"]] = saved.pop("public_keys", "")
            pool, snapshots = saved.pop("pool"), saved.pop("snapshots")
            if saved["config"].get("lock") == "create":
                # The computer went down while it was made: Proxmox VE leaves such a container locked, too.
                saved["status"] = "stopped"
            container = FakeCt(defaults=False, **saved)
            container.snapshots, container.pool = snapshots, pool
            self.cts.append(container)
        for saved in state.get("machines", []):
            snapshots = saved.pop("snapshots")
            machine = FakeVm(**saved)
            machine.snapshots = snapshots
            self.vms.append(machine)
        for name, volumes in state.get("volumes", {}).items():
            self.storages.get(name, {}).setdefault("volumes", {}).update(volumes)
        for name in KEPT:
            setattr(self, name, state.get(name, getattr(self, name)))
        if firewall := state.get("firewall"):
            self._fw_state = {**firewall, "guests": {int(vmid): of for vmid, of in firewall["guests"].items()}}
        self.restore_access(state.get("access", {}))

    def save(self) -> None:
        containers = [
            {**{name: getattr(ct, name) for name in SAVED}, "public_keys": self._keys.get(ct.vmid, "")}
            for ct in self.cts
        ]
        state = {
            "containers": containers,
            "machines": [{name: getattr(vm, name) for name in (*SAVED, "name", "template")} for vm in self.vms],
            "volumes": {name: store["volumes"] for name, store in self.storages.items() if store.get("volumes")},
            **{name: getattr(self, name) for name in KEPT},
            "firewall": self._fw(),
            "access": self.access_state(),
        }
        partial = self.folder / "state.json.partial"
        partial.write_text(json.dumps(state, indent=1))
        partial.replace(self.folder / "state.json")

    def _record(self, request: Any, body: bytes) -> None:
        super()._record(request, body)
        with (self.folder / "requests.log").open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {request.method} {request.path}\n")

    # --------------------------------------------------------------- machines

    async def _lxc_create(self, user: str, v: dict[str, Any]) -> Any:
        self._keys[int(v["vmid"])] = v.get("ssh-public-keys") or ""
        return await super()._lxc_create(user, v)

    async def task(self, node: str, ttype: str, tid: Any, user: str, body: Any, **kwargs: Any) -> str:
        """Every container task ends with its machine in the state that the model says; what any task did is kept."""
        container = ttype.startswith("vz") or (ttype == "resize" and self.ct(int(tid)))

        async def whole() -> Any:
            try:
                note = await body()
                if container:
                    await self.settle(int(tid), restart=ttype == "vzreboot")
            except TaskError:
                if ttype == "vzcreate" and (made := self.ct(int(tid))):
                    self._drop(made)
                    await asyncio.to_thread(machines.remove, str(tid))
                raise
            finally:
                self.save()
            return note

        upid = await super().task(node, ttype, tid, user, whole, **kwargs)
        self.save()
        return upid

    async def _update_config(self, ct: FakeCt, *args: Any) -> None:
        try:
            await super()._update_config(ct, *args)
        finally:
            self.save()
        await self.settle(ct.vmid)

    async def settle(self, vmid: int, restart: bool = False) -> None:
        """Bring the machine of a container to what the model says of it."""
        async with self._settling.setdefault(vmid, asyncio.Lock()):
            ct = self.ct(vmid)
            if ct is not None and ct.lock == "create" and not ct.config.get("rootfs"):
                return
            try:
                await asyncio.to_thread(self._settle, vmid, ct, restart)
            except machines.LabError as error:
                if ct is not None:
                    ct.status = "stopped"
                raise TaskError(str(error)) from error

    def _settle(self, vmid: int, ct: FakeCt | None, restart: bool) -> None:
        ident = str(vmid)
        known = machines.machines().get(ident)
        if ct is None:
            if known:
                machines.remove(ident)
            return
        config = ct.config
        memory, swap = int(config.get("memory") or 512), int(config.get("swap") or 0)
        cores = float(config.get("cpulimit") or config.get("cores") or 0)
        address = split_props(config.get("net0", ""))[1].get("ip", "").split("/")[0]
        address = address if re.fullmatch(r"[\d.]+", address) else None
        if known is None:
            volumes = []
            for key in sorted(k for k in config if re.fullmatch(r"mp\d+", k)):
                volumes.append(f"{machines.volume(ident, key)}:{parse_mount(config[key])['mp']}")
            machines.create(
                ident, hostname=ct.name, address=address, memory_mb=memory, swap_mb=swap, cores=cores, volumes=volumes,
                public_keys=self._keys.get(vmid, ""), owner=str(self.folder),
            )  # fmt: skip
            known = {"state": "created"}
        running = known["state"] == "running"
        if running and (restart or ct.status != "running"):
            machines.stop(ident)
            running = False
        if ct.status == "running" and not running:
            if known["state"] != "created" and address:
                machines.readdress(ident, address)
            machines.start(ident)
        machines.limit(ident, memory_mb=memory, swap_mb=swap, cores=cores)

    async def watch(self) -> None:
        """A machine that powered itself off is a stopped container."""
        while True:
            await asyncio.sleep(5)
            states = await asyncio.to_thread(machines.machines)
            for ct in self.cts:
                exited = states.get(str(ct.vmid), {}).get("state") == "exited"
                busy = ct.lock_holder or self._settling[ct.vmid].locked()
                if exited and ct.status == "running" and not busy:
                    ct.status, ct.pid = "stopped", None
                    self.save()


class Mailbox:
    """A stand-in for the company's mail relay: takes every message and keeps it as a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        (self.folder / f"{time.time_ns()}.eml").write_bytes(envelope.content)
        return "250 OK"


async def serve(folder: Path, host: str, root_secret: str) -> None:
    """Answer until the process is ended."""
    lab = Lab(folder, host, root_secret)
    certificate, key = str(folder / "pve.crt"), str(folder / "pve.key")
    # As that of a node, it outlives a restart. It is valid for a month.
    if not Path(certificate).exists() or time.time() - Path(certificate).stat().st_mtime > 14 * 86400:
        make_cert(str(folder), name="pve", hosts=(host, NODE))
    for ct in list(lab.cts):
        # Whatever stopped the computer: containers that ran run again, and what went missing is made anew.
        await lab.settle(ct.vmid)
    await lab.start(certificate, key)
    Controller(Mailbox(folder / "mail"), hostname=host, port=MAIL_PORT).start()
    (folder / "node").mkdir(exist_ok=True)
    shutil.copy(certificate, folder / "node")
    pvesh.admit(folder / "node" / pvesh.ACCESS.name, lab, str(pvesh.ACCESS.with_name(Path(certificate).name)))
    await pct.serve(folder / "node/pct.sock", lambda vmid: lab.ct(vmid) and lab.ct(vmid).status, machines.PREFIX)
    (folder / "api.ready").write_text(str(os.getpid()))
    await lab.watch()
