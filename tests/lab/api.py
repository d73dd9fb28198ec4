# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Proxmox VE API that answers about containers as a real one does.

The package fakepve checks every request against Proxmox VE's schema and keeps containers, storages
and tasks in memory. Where recordings of a real 9.2.11 show that it differs, a mixin below mends it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import time
import urllib.parse
import zoneinfo
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from fakepve import FakeCt, FakePve, PveError, TaskError, lxc
from fakepve.routing import split_list
from fakepve.server import ok

from tests.lab.access import Access
from tests.lab.archives import Archives
from tests.lab.ceph import Ceph
from tests.lab.cluster import Cluster
from tests.lab.datacenter import Datacenter
from tests.lab.firewall import Firewall
from tests.lab.network import Network
from tests.lab.node import Node
from tests.lab.quorum import Quorum
from tests.lab.sdn import Sdn
from tests.lab.views import Views
from tests.lab.vms import Machines

GIB = 1024**3
Values = dict[str, Any]

# ---------------------------------------------------------------------------------- stored form

_fakepve_normalise = lxc.normalise


def stored_value(key: str, value: Any) -> Any:
    """An option of a container as Proxmox VE writes it to the configuration file and reads it back."""
    if re.fullmatch(r"net\d+", key):
        props = lxc.split_props(_fakepve_normalise(key, value))[1]
        order = ["name", "bridge", *sorted(set(props) - {"name", "bridge"})]
        return ",".join(f"{option}={props[option]}" for option in order if option in props)
    if key == "description":
        # Kept as comment lines at the top of the file, so it always ends in a newline.
        return value.rstrip("\n") + "\n"
    if key in ("tags", "nameserver") and value == "":
        # "key: " in the file; what is read back is the blank.
        return " "
    if key == "tags":
        return _fakepve_normalise(key, value)
    if key == "cpuunits":
        return max(int(value), 2)
    if key == "cpulimit":
        return f"{value:g}" if isinstance(value, float) else str(value)
    return value


def stored_mount(mount: dict[str, str], rootfs: bool = False) -> str:
    """A mount point as stored: the volume, where it is mounted, then its options in order."""
    first = [] if rootfs else ["mp"]
    order = [*first, *sorted(set(mount) - {"volume", "mp"})]
    return ",".join([mount["volume"], *(f"{option}={mount[option]}" for option in order if option in mount)])


# Every write of fakepve, be it a create, an update, a clone or a resize, spells its values with
# these two functions of its module; there is no hook on the class for them.
lxc.normalise = stored_value
lxc.print_mount = stored_mount


# ------------------------------------------------------------------------------------ requests


class StrictForms:
    """What the API takes from a form: booleans are 0 and 1, and some texts may be empty."""

    async def answer(
        self, request: web.Request, match: Any, params: Values, user: str | None, call: Callable[..., Any] | None = None
    ) -> Any:
        method = match.methods.get(request.method) if match else None
        if request.method != "GET" and match and not match.template.startswith("/nodes/"):
            # All of it is in /etc/pve, of which fakepve knows for guests only.
            self.need_quorum()
        if request.content_type == "application/x-www-form-urlencoded":
            # fakepve drops what was sent empty.
            sent = urllib.parse.parse_qsl((await request.read()).decode(), keep_blank_values=True)
            params = {**{name: value for name, value in sent if value == ""}, **params}
        declared = ((method or {}).get("parameters") or {}).get("properties", {})
        # A list that comes as repeated parameters reads as one text.
        params = {
            name: ",".join(value)
            if isinstance(value, list) and declared.get(name, {}).get("format", "").endswith("-list")
            else value
            for name, value in params.items()
        }
        # 9.x refuses yes, on and true although the schema's own parser knows them.
        wrong = {
            name: f"type check ('boolean') failed - got '{value}'"
            for name, value in params.items()
            if declared.get(name, {}).get("type") == "boolean" and isinstance(value, str) and value not in ("0", "1")
        }
        if wrong:
            raise PveError(400, "Parameter verification failed.", wrong)
        if call and match.template == "/nodes/{node}/lxc/{vmid}/config" and params.get("tags") == "":
            # fakepve's check of the format refuses the empty list, Proxmox VE stores it.
            params = {name: value for name, value in params.items() if name != "tags"}
            checked = call

            async def call(found: Any, values: Values) -> Any:
                return await checked(found, {**values, "tags": ""})

        try:
            return await super().answer(request, match, params, user, call)
        except PveError as error:
            for name, why in (error.errors or {}).items():
                # fakepve has the wording of older versions for a key that the property string does not know.
                error.errors[name] = re.sub(
                    r"invalid key in comma-separated list property: (\S+)",
                    rf"format error\n{name}.\1: property is not defined in schema and the schema does not allow "
                    "additional properties",
                    str(why),
                )
            raise


# ---------------------------------------------------------------------------------- containers


class Containers:
    """Writing and starting containers."""

    async def _lxc_create(self, user: str, v: Values) -> str:
        for line in str(v.get("ssh-public-keys") or "").strip().splitlines():
            if not re.match(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ AAAA\S+", line):
                raise PveError(500, "SSH public key validation error")
        for key, value in v.items():
            volume = lxc.parse_mount(value).get("volume", "") if re.fullmatch(r"rootfs|mp\d+", key) else ""
            storage, colon, name = volume.partition(":")
            if colon and storage in self.storages and not lxc.NEW_DISK.match(volume):
                try:
                    self._parse_volname(self.storages[storage], name)
                except PveError as error:
                    # The name of an existing volume is looked at in the task only.
                    self.plan_task(
                        "vzcreate", vmid=int(v["vmid"]), error=f"unable to create CT {v['vmid']} - {error.message}"
                    )
        return await super()._lxc_create(user, v)

    async def _lxc_resize(self, user: str, v: Values) -> str:
        if v["disk"] not in self._find_ct(v["node"], v["vmid"]).config:
            missing = "property is missing and it is not optional"
            raise PveError(500, "format error", {"volume": missing, "mp": missing})
        return await super()._lxc_resize(user, v)

    def _cpus(self, ct: FakeCt) -> float:
        """A container without limit has the node's cores."""
        cores = ct.config.get("cores") or float(ct.config.get("cpulimit") or 0)
        return cores or self.figures(ct.node)["maxcpu"]

    def volume_exists(self, volid: str) -> bool | None:
        """Whether a template is there: one that nobody put on the storage is missing."""
        storage, _, name = str(volid).partition(":")
        if storage in self.storages and name.startswith("vztmpl/"):
            return name in self._volumes(storage)
        return super().volume_exists(volid)

    def add_template(self, storage: str = "local", name: str = "debian-13-standard_13.1-2_amd64.tar.zst") -> str:
        """Put an OS template on a storage; returns its volume id."""
        self.store_file(storage, name, 128 * 1024**2, "vztmpl")
        return f"{storage}:vztmpl/{name}"

    def _realise(self, vmid: int, key: str, value: str, taken: set[str], default_storage: str | None = None) -> str:
        mount = lxc.parse_mount(value)
        if key == "rootfs" and not lxc.NEW_DISK.match(mount.get("volume", "")):
            # Only mount points are parsed and printed again on an update.
            return value
        current = lxc.parse_mount((self.ct(vmid).config if self.ct(vmid) else {}).get(key, ""))
        if current.get("volume") == mount.get("volume") and "size" in current:
            # The size of a volume is read from the volume, whatever the request says or leaves out.
            value = lxc.print_mount({**mount, "size": current["size"]}, key == "rootfs")
        return super()._realise(vmid, key, value, taken, default_storage)

    async def _update_config(
        self, ct: FakeCt, user: str, values: Values, deletes: list[str], reverts: list[str]
    ) -> None:
        zone = values.get("timezone", "host")
        if zone != "host" and zone not in zoneinfo.available_timezones():
            raise PveError(
                400, "Parameter verification failed.", {"timezone": f"invalid format - invalid time zone '{zone}'\n"}
            )
        script = values.get("hookscript")
        if script and not self.volume_exists(script):
            raise PveError(500, f"script '{script}' does not exist")
        if values.get("description") == "":
            values = {key: value for key, value in values.items() if key != "description"}
            deletes = [*deletes, "description"]
        unknown = {
            key: self._missing_bridge(value)
            for key, value in values.items()
            if re.fullmatch(r"net\d+", key) and self._missing_bridge(value) is not None
        }
        if ct.status == "running" and unknown:
            # The interface is plugged in while the request waits, so a running container refuses it.
            kept = {key: value for key, value in values.items() if key not in unknown}
            await super()._update_config(ct, user, kept, deletes, reverts)
            raise PveError(
                400,
                "Parameter verification failed.",
                {
                    key: f"unable to hotplug {key}: bridge '{bridge}' does not exist\n"
                    for key, bridge in unknown.items()
                },
            )
        await super()._update_config(ct, user, values, deletes, reverts)
        if ct.status != "running":
            # The file is written first, then LXC's own configuration is derived from all of it.
            for key in sorted(ct.config):
                bridge = self._missing_bridge(ct.config[key]) if re.fullmatch(r"net\d+", key) else None
                if bridge is not None:
                    raise PveError(500, f"bridge '{bridge}' does not exist")

    def _missing_bridge(self, net: str) -> str | None:
        """The bridge of an interface if the node has none of that name ('' for an interface without one)."""
        bridge = lxc.split_props(net)[1].get("bridge", "")
        return None if bridge in self.bridges else bridge

    async def _start_steps(self, ct: FakeCt, user: str, skiplock: bool = False) -> None:
        for key in sorted(ct.config):
            bridge = self._missing_bridge(ct.config[key]) if re.fullmatch(r"net\d+", key) else None
            if bridge is not None:
                raise TaskError(f"bridge '{bridge}' does not exist")
        await self.pause(self.ct_secs.get("start", 0))
        await super()._start_steps(ct, user, skiplock)


# ------------------------------------------------------------------------------- nodes, storages


class Figures:
    """What nodes, networks and storages say about themselves comes from state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Bridge -> what GET /nodes/{node}/network adds to it (cidr, comments, ...); the same on every node.
        self.bridges: dict[str, Values] = {"vmbr0": {}}
        # Node -> its figures: maxcpu, maxmem, maxdisk, cpu, mem, disk, uptime. Sizes in bytes.
        self.node_figures: dict[str, Values] = {}

    def figures(self, node: str) -> Values:
        """The figures of a node, complete."""
        return {**self._node_stats(True), **self.node_figures.get(node, {})}

    def _routes_figures(self) -> list[tuple[str, str, Callable[..., Awaitable[Any]]]]:
        return [
            ("GET", "/nodes/{node}/status", self._node_status),
            ("GET", "/nodes/{node}/network", self._node_network),
        ]

    async def _nodes(self, request: web.Request) -> web.Response:
        answer = json.loads((await super()._nodes(request)).text)["data"]
        return ok([{**node, **self._shown(node)} for node in answer])

    def _shown(self, node: Values) -> Values:
        return self.figures(node["node"]) if node["status"] == "online" else {}

    async def _resources(self, request: web.Request) -> web.Response:
        answer = json.loads((await super()._resources(request)).text)["data"]
        for item in answer:
            if item["type"] == "node" and item["status"] == "online":
                item.update(self.figures(item["node"]), **{"cgroup-mode": 2})
            elif item["type"] == "lxc":
                item["memhost"] = item["mem"]
        if request.query.get("type") in (None, "sdn"):
            answer.extend(
                {
                    "type": "network",
                    "id": f"network/{node}/zone/localnetwork",
                    "network": "localnetwork",
                    "network-type": "zone",
                    "node": node,
                    "status": "ok",
                }
                for node in sorted(self.nodes)
            )
        return ok(answer)

    async def _node_status(self, v: Values, user: str) -> Values:
        figures = self.figures(v["node"])
        sizes = {
            "memory": ("mem", "maxmem", "available"),
            "rootfs": ("disk", "maxdisk", "avail"),
        }
        data: Values = {
            "pveversion": f"pve-manager/{self.version}/fakepve",
            "cpu": figures["cpu"],
            "uptime": figures["uptime"],
            "cpuinfo": {"cpus": figures["maxcpu"], "cores": figures["maxcpu"], "sockets": 1},
        }
        for name, (used, total, free) in sizes.items():
            left = figures[total] - figures[used]
            data[name] = {"total": figures[total], "used": figures[used], "free": left, free: left}
        return self._complete("/nodes/{node}/status", data, node=v["node"])

    async def _node_network(self, v: Values, user: str) -> list[Values]:
        if v.get("type") not in (None, "bridge", "any_bridge", "any_local_bridge", "include_sdn"):
            return []
        bridge = {
            "type": "bridge",
            "active": 1,
            "autostart": 1,
            "method": "static",
            "method6": "manual",
            "families": ["inet"],
            "bridge_ports": "",
            "bridge_stp": "off",
            "bridge_fd": "0",
        }
        return [
            {**bridge, "iface": name, "priority": number, **options}
            for number, (name, options) in enumerate(self.bridges.items(), start=3)
        ]

    def _space(self, store: Values) -> tuple[int, int, int]:
        """(total, used, avail): what the state says, and fakepve's sums for the rest."""
        total, used, avail = super()._space(store)
        if "total" in store and "avail" in store:
            used = total - avail
        used = store.get("used", used)
        return total, used, store.get("avail", max(total - used, 0))

    @staticmethod
    def _options_of(store: Values) -> Values:
        return {key: value for key, value in FakePve._options_of(store).items() if key not in ("used", "total")}

    def _storage_resource(self, node: str, name: str) -> Values | None:
        item = super()._storage_resource(node, name)
        if item and self.storages[name].get("active"):
            total, used, _ = self._space(self.storages[name])
            return {**item, "disk": used, "maxdisk": total}
        # A storage that is configured and not reachable shows no figures.
        return item and {key: value for key, value in item.items() if key not in ("disk", "maxdisk")}


# --------------------------------------------------------------------------------------- tasks


@dataclass
class Plan:
    """How the next task of a type (of a guest) is to end."""

    kind: str
    vmid: int | None = None
    warnings: int = 0
    error: str | None = None
    never: bool = False
    log: Iterable[str] = ()
    times: int = 1


class Tasks:
    """Tasks that end in WARNINGS, in an error or not at all, and creates that share the node's cores."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plans: list[Plan] = []
        # How many templates the node unpacks at once before they slow each other down; None: any number.
        # Recorded on two cores: six creates took 11.3 s in a row and 5.5 s four at a time.
        self.unpack_slots: int | None = None
        self._unpacking: asyncio.Semaphore | None = None
        self._hung: list[asyncio.Event] = []

    def plan_task(self, kind: str, **how: Any) -> Plan:
        """The next task of this type (vzcreate, vzstart, ...) ends as told; see Plan."""
        plan = Plan(kind, **how)
        self.plans.append(plan)
        return plan

    def _take_plan(self, kind: str, tid: Any) -> Plan:
        for plan in self.plans:
            if plan.kind == kind and plan.vmid in (None, tid):
                plan.times -= 1
                if not plan.times:
                    self.plans.remove(plan)
                return plan
        return Plan(kind)

    async def interrupt_tasks(self) -> None:
        """End the tasks that never end, as an administrator's "Stop" does."""
        for event in self._hung:
            event.set()
        self._hung.clear()

    async def task(
        self,
        node: str,
        ttype: str,
        tid: Any,
        user: str,
        body: Callable[[], Awaitable[str | None]],
        vm: Any = None,
        lock: bool = True,
        log: Iterable[str] = (),
    ) -> str:
        plan = self._take_plan(ttype, tid)
        upid, pid, start = self._upid(node, ttype, tid, user)
        record: Values = {
            "upid": upid,
            "node": node,
            "pid": pid,
            "pstart": pid * 7,
            "starttime": start,
            "type": ttype,
            "id": str(tid),
            "user": user,
            "status": "running",
            "log": [*log, *plan.log],
        }
        self.tasks[upid] = record
        self.tasklog.append(record)

        async def work() -> str | None:
            try:
                if plan.never:
                    stopped = asyncio.Event()
                    self._hung.append(stopped)
                    await stopped.wait()
                    raise TaskError("interrupted by signal")
                if plan.error is not None:
                    raise TaskError(plan.error)
            except TaskError:
                if ttype in ("vzcreate", "vzrestore"):
                    # A container whose creation failed is removed by the task itself.
                    self._drop(vm)
                raise
            if ttype == "vzcreate" and self.unpack_slots:
                self._unpacking = self._unpacking or asyncio.Semaphore(self.unpack_slots)
                async with self._unpacking:
                    return await body()
            return await body()

        async def run() -> None:
            status, last = "OK", "TASK OK"
            try:
                if vm is not None and lock:
                    await self.acquire(vm, upid)
                try:
                    note = await work()
                    if note:
                        record["log"].append(note)
                    if plan.warnings:
                        status = f"WARNINGS: {plan.warnings}"
                        last = f"TASK {status}"
                finally:
                    if vm is not None and lock:
                        self.release(vm, upid)
            except TaskError as error:
                status, last = str(error), f"TASK ERROR: {error}"
            record.update(status="stopped", exitstatus=status, endtime=int(time.time()))
            record["log"].append(last)

        running = asyncio.ensure_future(run())
        if not self.time_scale and not plan.never:
            await running
        return upid


# ----------------------------------------------------------------------------------- templates


class Downloads:
    """The appliance index and downloads with checksum."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What GET /nodes/{node}/aplinfo lists: template -> its other fields and `content`, the bytes behind it.
        self.appliances: dict[str, Values] = {}
        # What the node finds at a URL.
        self.downloads: dict[str, bytes] = {}

    def add_appliance(self, template: str, content: bytes = b"template", **fields: Any) -> None:
        """List an appliance; its checksum is that of the content unless fields say otherwise."""
        package, version = [*template.split("_"), "1"][:2]
        self.appliances[template] = {
            "package": package,
            "version": version,
            "os": template.split("_")[0].rsplit("-", 1)[0],
            "section": "system",
            "headline": package,
            "description": package,
            "architecture": "amd64",
            "type": "lxc",
            "source": "http://download.proxmox.com/images",
            "location": f"http://download.proxmox.com/images/system/{template}",
            "infopage": "https://pve.proxmox.com/wiki/Linux_Container",
            "maintainer": "Proxmox Support Team <support@proxmox.com>",
            "sha512sum": hashlib.sha512(content).hexdigest(),
            **fields,
            "content": content,
        }

    def _routes_downloads(self) -> list[tuple[str, str, Callable[..., Awaitable[Any]]]]:
        return [
            ("GET", "/nodes/{node}/aplinfo", self._aplinfo),
            ("POST", "/nodes/{node}/aplinfo", self._apl_download),
        ]

    async def _aplinfo(self, v: Values, user: str) -> list[Values]:
        return [
            {"template": name, **{key: value for key, value in fields.items() if key != "content"}}
            for name, fields in sorted(self.appliances.items())
        ]

    async def _apl_download(self, v: Values, user: str) -> str:
        found = self.appliances.get(v["template"])
        if found is None:
            raise PveError(400, "Parameter verification failed.", {"template": "no such template"})
        store = self._active_store(v["storage"], v["node"])
        if "vztmpl" not in str(store.get("content", "")).split(","):
            raise PveError(500, f"storage '{v['storage']}' does not support templates")
        return await self._fetch(
            v["node"],
            user,
            v["storage"],
            "vztmpl",
            v["template"],
            found["location"],
            found["content"],
            ("sha512", found["sha512sum"]),
        )

    async def _download_url(self, request: web.Request) -> web.Response:
        from fakepve.server import USER, params

        storage, node = request.match_info["storage"], request.match_info["node"]
        store = self._active_store(storage, node)
        values = self._verify(request, await params(request))
        content = values["content"]
        if content not in str(store.get("content", "")).split(","):
            raise PveError(500, f"storage '{storage}' is not configured for content-type '{content}'")
        algorithm, checksum = values.get("checksum-algorithm"), values.get("checksum")
        for given, needed in (("checksum", "checksum-algorithm"), ("checksum-algorithm", "checksum")):
            if values.get(given) and not values.get(needed):
                raise PveError(
                    400, "Parameter verification failed.", {needed: f"missing property required by '{given}'"}
                )
        upid = await self._fetch(
            node,
            request[USER],
            storage,
            content,
            values["filename"],
            values["url"],
            self.downloads.get(values["url"]),
            (algorithm, checksum) if checksum else None,
        )
        return ok(upid)

    async def _fetch(
        self,
        node: str,
        user: str,
        storage: str,
        content: str,
        name: str,
        url: str,
        data: bytes | None,
        checksum: tuple[str, str] | None,
    ) -> str:
        """The download task: nothing is left behind when the checksum is another one."""

        def differs(found: bytes) -> str | None:
            if checksum is None:
                return None
            digest = hashlib.new(checksum[0], found).hexdigest()
            return None if digest == checksum[1].lower() else digest

        async def body() -> str:
            present = self._volumes(storage).get(f"{content}/{name}")
            if present is not None:
                if checksum and differs(present.get("data", b"")) is None:
                    return "OK, got correct file already, no need to download"
                raise TaskError(f"refusing to override existing file '/var/lib/vz/template/cache/{name}'")
            if data is None:
                raise TaskError(f"download failed: {url}: 404 Not Found")
            await self.pause(self.download_secs)
            digest = differs(data)
            if digest:
                raise TaskError(f"checksum mismatch: got '{digest}' != expect '{checksum[1]}', aborting")
            self.store_file(storage, name, len(data), content)
            self.storages[storage]["volumes"][f"{content}/{name}"]["data"] = data
            return f"download of '{url}' to '/var/lib/vz/template/cache/{name}' finished"

        return await self.task(node, "download", name, user, body, log=[f"downloading {url} to {name}"])

    # PVE seconds a download takes.
    download_secs = 5


class Bulk:
    """Mixin of FakePve: all guests of a node, or those that are named, started and stopped by one task."""

    def _routes_bulk(self) -> list[tuple[str, str, Callable[..., Awaitable[Any]]]]:
        return [("POST", f"/nodes/{{node}}/{verb}all", getattr(self, f"_{verb}_all")) for verb in ("start", "stop")]

    def _bulk(self, v: Values, status: str) -> list[Any]:
        """The guests that the request is about, the first to start first."""
        named = {int(vmid) for vmid in split_list(v.get("vms") or "")}
        found = [
            guest
            for guest in (*self.cts, *self.vms)
            if guest.node == v["node"] and guest.status == status and (not named or guest.vmid in named)
        ]

        def place(guest: Any) -> tuple[float, int]:
            order = re.search(r"(?:^|order=)(\d+)", str(guest.config.get("startup", "")))
            return (float(order[1]) if order else math.inf), guest.vmid

        return sorted(found, key=place)

    async def _each(self, v: Values, user: str, kind: str, guests: list[Any], doing: str, act: Callable) -> str:
        """A task that starts those of the guests, one after the other; those that fail do not make it fail."""

        async def body() -> None:
            for guest in guests:
                container = isinstance(guest, FakeCt)
                record["log"].append(f"{doing} {'CT' if container else 'VM'} {guest.vmid}")
                upid = await act(guest, container)
                while self.tasks[upid]["status"] == "running":
                    await asyncio.sleep(0.01)

        record: Values = {"log": []}
        upid = await self.task(v["node"], kind, "", user, body)
        record = self.tasks[upid]
        return upid

    async def _start_all(self, v: Values, user: str) -> str:
        def act(guest: Any, container: bool) -> Awaitable[str]:
            values = {"node": v["node"], "vmid": guest.vmid}
            return self._lxc_start(user, values) if container else self._do_start(guest, user, values)

        wanted = [guest for guest in self._bulk(v, "stopped") if v.get("force") or guest.config.get("onboot")]
        return await self._each(v, user, "startall", wanted, "Starting", act)

    async def _stop_all(self, v: Values, user: str) -> str:
        limits = {"timeout": v.get("timeout", 180), "forceStop": int(v.get("force-stop", True))}

        def act(guest: Any, container: bool) -> Awaitable[str]:
            values = {"node": v["node"], "vmid": guest.vmid, **limits}
            return self._lxc_shutdown(user, values) if container else self._do_shutdown(guest, user, values)

        return await self._each(v, user, "stopall", self._bulk(v, "running")[::-1], "Stopping", act)


# ---------------------------------------------------------------------------------------- whole


class Pve(
    Views,
    StrictForms,
    Sdn,
    Archives,
    Containers,
    Network,
    Figures,
    Tasks,
    Downloads,
    Bulk,
    Cluster,
    Access,
    Datacenter,
    Firewall,
    Machines,
    Node,
    Quorum,
    Ceph,
    FakePve,
):
    """The fake API with everything above; state is set on its attributes, see fakepve's FakePve."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.version, self.release_version = "9.2.11", "9.2"
