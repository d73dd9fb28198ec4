# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of Ceph: its configuration, daemons, disks, pools and file systems, as the nodes' API manages them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fakepve import PveError, TaskError

from tests.lab.quorum import root_alone
from tests.lab.records import Values

CEPH = "/nodes/{node}/ceph"
IDS = {"mon": "monid", "mgr": "id", "mds": "name"}
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size_of(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT])?", text)
    return int(float(match[1]) * UNITS.get(match[2] or "", 1))


class Ceph:
    """Mixin of FakePve. Ceph is on no node until a test puts it there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ceph_nodes: set[str] = set()  # that have the packages
        self.ceph_conf: dict[str, Values] | None = None  # the sections of ceph.conf
        self.ceph_daemons: dict[str, dict[str, Values]] = {kind: {} for kind in IDS}
        self.osds: dict[int, Values] = {}
        self.ceph_pools: dict[str, Values] = {}
        self.coded: dict[str, str] = {}  # pool -> its erasure code profile
        self.ceph_systems: dict[str, Values] = {}
        self.crush_rules = ["replicated_rule"]
        self.ec_profiles: dict[str, Values] = {"default": {"k": "2", "m": "2", "failure-domain": "host"}}
        self.unsafe: dict[str, str] = {}  # id of an OSD -> why Ceph would lose data with it
        self.copies: set[int] = set()  # OSDs of which one has to be up
        self.notices = True  # the monitors notice what services do

    # ------------------------------------------------------------------------------------------ what must be there

    def _ceph_installed(self, node: str, program: str = "ceph-mon") -> None:
        if node not in self.ceph_nodes:
            raise PveError(500, f"binary not installed: /usr/bin/{program}")

    def _ceph_initialized(self, node: str) -> None:
        self._ceph_installed(node)
        if self.ceph_conf is None:
            missing = "missing '/etc/pve/ceph.conf', missing '/etc/pve/ceph'"
            raise PveError(500, f"pveceph configuration not initialized - {missing}")

    def _ceph_answers(self, node: str) -> None:
        self._ceph_initialized(node)
        if not any(mon.get("quorum") for mon in self.ceph_daemons["mon"].values()):
            raise PveError(500, "rados_connect failed - No such file or directory")

    def _routes_ceph(self) -> list[tuple[str, str, Callable[..., Any]]]:
        routes = [
            ("POST", f"{CEPH}/init", self._ceph_init),
            ("GET", f"{CEPH}/cfg/raw", self._ceph_raw),
            ("GET", f"{CEPH}/osd", self._osd_tree),
            ("POST", f"{CEPH}/osd", self._osd_create),
            ("DELETE", f"{CEPH}/osd/{{osdid}}", self._osd_destroy),
            ("GET", f"{CEPH}/osd/{{osdid}}/metadata", self._osd_metadata),
            *(("POST", f"{CEPH}/osd/{{osdid}}/{what}", self._osd_change(what)) for what in ("in", "out")),
            *(("POST", f"{CEPH}/{what}", self._service(what)) for what in ("start", "stop")),
            ("GET", f"{CEPH}/cmd-safety", self._ceph_safety),
            ("GET", f"{CEPH}/rules", self._crush_rules),
            ("GET", f"{CEPH}/crush", self._crush_map),
            ("GET", f"{CEPH}/pool", self._ceph_pool_list),
            ("POST", f"{CEPH}/pool", self._ceph_pool_create),
            ("PUT", f"{CEPH}/pool/{{name}}", self._ceph_pool_set),
            ("DELETE", f"{CEPH}/pool/{{name}}", self._ceph_pool_destroy),
            ("GET", f"{CEPH}/fs", self._ceph_system_list),
            ("POST", f"{CEPH}/fs/{{name}}", self._ceph_system_create),
            ("DELETE", f"{CEPH}/fs/{{name}}", self._ceph_system_destroy),
        ]
        for kind, key in IDS.items():
            routes += [
                ("GET", f"{CEPH}/{kind}", self._ceph_daemon_handler(self._ceph_daemon_list, kind)),
                ("POST", f"{CEPH}/{kind}/{{{key}}}", self._ceph_daemon_handler(self._ceph_daemon_create, kind)),
                ("DELETE", f"{CEPH}/{kind}/{{{key}}}", self._ceph_daemon_handler(self._ceph_daemon_destroy, kind)),
            ]
        return routes

    # --------------------------------------------------------------------------------------------- configuration

    async def _ceph_init(self, v: Values, user: str) -> None:
        self._ceph_installed(v["node"], "ceph")
        if not self.quorate:
            raise PveError(500, "error during cfs-locked 'file-ceph_conf' operation: no quorum!")
        auth = "none" if v.get("disable_cephx") else "cephx"
        if self.ceph_conf is None:
            self.ceph_conf = {
                "global": {
                    "fsid": "5e1cbe25-4c8f-4cb4-b4bd-5e4bbd2b0c8e",
                    **{f"auth_{what}_required": auth for what in ("cluster", "service", "client")},
                    "osd_pool_default_size": v.get("size", 3),
                    "osd_pool_default_min_size": v.get("min_size", 2),
                    "mon_allow_pool_delete": "true",
                }
            }
        if auth == "cephx":
            self.ceph_conf["client"] = {"keyring": "/etc/pve/priv/$cluster.$name.keyring"}
        # A second call changes the networks below the daemons that use them.
        for option, keys in (
            ("network", ("public_network", "cluster_network")),
            ("cluster-network", ("cluster_network",)),
        ):
            if v.get(option):
                self.ceph_conf["global"].update(dict.fromkeys(keys, v[option]))

    async def _ceph_raw(self, v: Values, user: str) -> str:
        self._ceph_initialized(v["node"])
        lines = []
        for section, values in self.ceph_conf.items():
            lines += [f"[{section}]", *(f"\t{key} = {value}" for key, value in values.items()), ""]
        return "\n".join(lines)

    # --------------------------------------------------------------------------------------------------- daemons

    @staticmethod
    def _ceph_daemon_handler(handler: Callable[..., Any], kind: str) -> Callable[..., Any]:
        async def handle(values: Values, user: str) -> Any:
            return await handler(kind, values, user)

        return handle

    async def _ceph_daemon_list(self, kind: str, v: Values, user: str) -> list[Values]:
        (self._ceph_initialized if kind == "mon" else self._ceph_answers)(v["node"])
        return [{"name": name, **daemon} for name, daemon in self.ceph_daemons[kind].items()]

    async def _ceph_daemon_create(self, kind: str, v: Values, user: str) -> str:
        name, node, daemons = v[IDS[kind]], v["node"], self.ceph_daemons[kind]
        self._ceph_installed(node, f"ceph-{kind}")
        self._ceph_initialized(node)
        if kind == "mon" and name in daemons:
            raise PveError(500, f"monitor '{name}' already exists")
        if kind == "mds" and name[0].isdigit():
            raise PveError(500, "ID of the MDS cannot start with a number!")

        async def body() -> None:
            if kind != "mon" and not any(mon.get("quorum") for mon in self.ceph_daemons["mon"].values()):
                raise TaskError("rados_connect failed - No such file or directory")
            if name in daemons:
                raise TaskError(f"MDS '{name}' already referenced in ceph config, abort!")
            daemon: Values = {"host": node, "service": 1, "direxists": 1, "addr": "192.0.2.11:6800/1"}
            if kind == "mon":
                addresses = v.get("mon-address", f"192.0.2.{11 + len(daemons)}").replace(" ", ",").split(",")
                # Of several, the list has one.
                first = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
                daemon.update(addr=f"{first}:6789/0", rank=len(daemons), quorum=1, state="running")
            elif kind == "mgr":
                daemon["state"] = "standby" if daemons else "active"
            else:
                daemon.update(state="up:standby", rank=-1)
            daemons[name] = daemon
            if kind == "mon" and not self.ceph_daemons["mgr"]:
                self.ceph_daemons["mgr"][node] = {"host": node, "service": 1, "direxists": 1, "state": "active"}

        return await self.task(node, f"cephcreate{kind}", f"{kind}.{name}", user, body)

    async def _ceph_daemon_destroy(self, kind: str, v: Values, user: str) -> str:
        name, node, daemons = v[IDS[kind]], v["node"], self.ceph_daemons[kind]
        self._ceph_initialized(node)
        if kind == "mon" and name not in daemons:
            raise PveError(500, f"no such monitor id '{name}'")
        if kind == "mon" and len(daemons) <= 1:
            raise PveError(500, "can't remove last monitor")

        async def body() -> None:
            daemons.pop(name, None)

        return await self.task(node, f"cephdestroy{kind}", f"{kind}.{name}", user, body)

    def _daemon_turn(self, kind: str, daemon: Values, *, on: bool) -> None:
        """Another one takes over what a daemon that stops was at."""
        daemons = self.ceph_daemons[kind].values()
        if kind == "mon":
            daemon.update({"state": "running", "quorum": 1} if on else {"state": "stopped", "quorum": 0})
            return
        busy, idle = {"mgr": ("active", "standby"), "mds": ("up:active", "up:standby")}[kind]
        serving = {key: daemon.pop(key) for key in ("fs_name", "rank") if key in daemon}
        was, daemon["state"] = daemon["state"], idle if on else "stopped"
        heir = next((item for item in daemons if item["state"] == idle), None)
        if heir and (was == busy or (kind == "mgr" and busy not in [item["state"] for item in daemons])):
            heir.update({"state": busy, **serving})

    def _daemon_needed(self, kind: str, name: str) -> str | None:
        others = [item for other, item in self.ceph_daemons[kind].items() if other != name]
        if kind == "mon":
            voices = sum(bool(item.get("quorum")) for item in others)
            return None if voices > (len(others) + 1) // 2 else "not enough monitors would be available"
        serves = self.ceph_daemons[kind][name]["state"] == "up:active"
        free = [item for item in others if item["state"] == "up:standby"]
        return "one or more filesystems is currently degraded" if serves and not free else None

    async def _ceph_safety(self, v: Values, user: str) -> Values:
        self._ceph_answers(v["node"])
        why = self.unsafe.get(v["id"])
        if v["service"] != "osd":
            why = self._daemon_needed(v["service"], v["id"])
        elif v["action"] == "stop" and int(v["id"]) in self.copies:
            others = [number for number in self.copies - {int(v["id"])} if self.osds[number]["status"] == "up"]
            why = None if others else "12 PGs would become unavailable"
        return {"safe": 0, "status": why} if why else {"safe": 1}

    # ------------------------------------------------------------------------------------------------------ disks

    async def _osd_tree(self, v: Values, user: str) -> Values:
        self._ceph_answers(v["node"])
        hosts: dict[str, list[Values]] = {}
        for number, osd in self.osds.items():
            item = {"id": number, "name": f"osd.{number}", "type": "osd", "leaf": 1, "host": osd["host"]}
            shown = {key: osd[key] for key in ("status", "in", "device_class")}
            if osd["placed"]:
                hosts.setdefault(osd["host"], []).append({**item, **shown})
        children = [
            {"id": -3 - at, "name": host, "type": "host", "leaf": 0, "children": osds}
            for at, (host, osds) in enumerate(sorted(hosts.items()))
        ]
        root = {"id": -1, "name": "default", "type": "root", "leaf": 0, "children": children}
        for osd in self.osds.values():
            osd["placed"] = True
            # The monitors notice a moment later what a service did.
            osd["status"] = osd.pop("turns", osd["status"]) if self.notices else osd["status"]
        return {"root": {"leaf": 0, "children": [root]}}

    def _osd_disks(self, v: Values) -> dict[str, Values]:
        """The disks that a request names, if they can be taken."""
        found: dict[str, Values] = {}
        for name in ("dev", "db_dev", "wal_dev"):
            if name not in v:
                continue
            disk = self.device(v["node"], v[name])
            if disk is None:
                raise PveError(500, f"unable to get device info for '{v[name]}'")
            if any(disk is other for other in found.values()):
                wrong = {name: f"cannot chose '{v[name]}' for more than one type."}
                raise PveError(400, "Parameter verification failed.", wrong)
            used = "partitions" if disk.get("parts") else disk.get("used")
            if name == "dev" and used:
                raise PveError(500, f"device '{v[name]}' is already in use")
            if name != "dev" and used == "partitions" and not disk.get("gpt"):
                raise PveError(500, f"device '{v[name]}' is not GPT partitioned")
            if name != "dev" and used not in (None, "LVM", "partitions"):
                raise PveError(500, f"device '{v[name]}' is already in use and has no LVM on it")
            found[name] = disk
        return found

    def _osd_beside(self, node: str, kind: str, disk: Values) -> str:
        """Room for a database or a log, in a volume group of Ceph or on a new partition; on which device it is."""
        groups, path = self.made_of(node, "lvm"), self.path_of(node, disk)
        if disk.get("parts"):
            part = f"{path}{'p' if path[-1].isdigit() else ''}{len(disk['parts']) + 1}"
            # Nothing but its type says what it is for.
            disk["parts"][part] = {kind: 1}
            return part
        if not disk.get("used"):
            groups[f"ceph-{len(groups)}"] = {"devices": [path]}
            disk["used"] = "LVM"
        elif not any(name.startswith("ceph-") and path in group["devices"] for name, group in groups.items()):
            raise TaskError(f"no ceph vg found on '{path}'")
        disk[kind] = disk.get(kind, 0) + 1
        return path

    async def _osd_create(self, v: Values, user: str) -> str:
        root_alone(user)
        self._ceph_answers(v["node"])
        self._osd_disks(v)

        async def body() -> None:
            disks, groups = self._osd_disks(v), self.made_of(v["node"], "lvm")
            places = {
                name: self._osd_beside(v["node"], name.split("_")[0], disk)
                for name, disk in disks.items()
                if name != "dev"
            }
            disk = disks["dev"]
            places["dev"] = self.path_of(v["node"], disk)
            groups[f"ceph-{len(groups)}"] = {"devices": [places["dev"]]}
            fresh = [number for number in range(99) if number not in self.osds][: int(v.get("osds-per-device", 1))]
            for number in fresh:
                self.osds[number] = {
                    "host": v["node"],
                    "device_class": v.get("crush-device-class", disk.get("type", "hdd")),
                    "status": "up",
                    "in": 1,
                    "disks": places,
                    # It says where it is a moment after the task has ended.
                    "placed": False,
                }
            ids = [str(number) for number in fresh]
            # Of a partition, the same is told by another name.
            encrypted = "osdencrypted" if "devpath" in disk else "encrypted"
            secret = {encrypted: 1} if v.get("encrypted") else {}
            disk.update({"used": "LVM", "osdid": ids[0], "osdid-list": ids, "bluestore": 1, **secret})

        return await self.task(v["node"], "cephcreateosd", v["dev"].removeprefix("/dev/"), user, body)

    async def _osd_metadata(self, v: Values, user: str) -> Values:
        self._ceph_answers(v["node"])
        osd = self.osds.get(int(v["osdid"]))
        if osd is None or osd["host"] != v["node"]:
            raise PveError(500, f"OSD '{v['osdid']}' does not exists on host '{v['node']}'")
        kinds = {"dev": "block", "db_dev": "db", "wal_dev": "wal"}
        # A partition is told by the disk that it is on.
        disks = self.disks_of(v["node"])
        parents = {part: path for path, disk in disks.items() for part in disk.get("parts", ())}
        whole = {name: parents.get(path, path) for name, path in osd["disks"].items()}
        devices = [
            {"device": kinds[name], "dev_node": "/dev/dm-1", "physical_device": path.removeprefix("/dev/")}
            for name, path in whole.items()
        ]
        return {"osd": {"id": int(v["osdid"]), "hostname": v["node"]}, "devices": devices}

    async def _osd_destroy(self, v: Values, user: str) -> str:
        root_alone(user)
        self._ceph_answers(v["node"])
        osd = self.osds.get(int(v["osdid"]))
        if osd is None or osd["host"] != v["node"]:
            raise PveError(500, f"OSD osd.{v['osdid']} does not belong to node {v['node']}!")
        if osd["in"]:
            raise PveError(500, "osd is in use (in == 1)")
        if osd["status"] == "up":
            raise PveError(500, "osd is still running (up == 1)")

        async def body() -> None:
            del self.osds[int(v["osdid"])]
            for path in osd["disks"].values() if v.get("cleanup") else ():
                self._osd_wipe(v["node"], path)

        return await self.task(v["node"], "cephdestroyosd", f"osd.{v['osdid']}", user, body)

    def _osd_wipe(self, node: str, path: str) -> None:
        """A disk is empty again, and its volume group gone, when nothing of Ceph is left on it."""
        disk, groups = self.device(node, path), self.made_of(node, "lvm")
        if any(path in osd["disks"].values() for osd in self.osds.values()):
            return
        for key in ("used", "osdid", "osdid-list", "osdencrypted", "encrypted", "bluestore", "db", "wal"):
            disk.pop(key, None)
        for name in [name for name, group in groups.items() if name.startswith("ceph-") and path in group["devices"]]:
            del groups[name]

    def _osd_change(self, what: str) -> Callable[..., Any]:
        async def handle(v: Values, user: str) -> None:
            self._ceph_answers(v["node"])
            if int(v["osdid"]) not in self.osds:
                raise PveError(500, f"no such OSD '{v['osdid']}'")
            self.osds[int(v["osdid"])]["in"] = int(what == "in")

        return handle

    def _service(self, what: str) -> Callable[..., Any]:
        async def handle(v: Values, user: str) -> str:
            self._ceph_initialized(v["node"])
            kind, _dot, name = v["service"].partition(".")

            async def body() -> None:
                found = self.osds.get(int(name)) if kind == "osd" else self.ceph_daemons[kind].get(name)
                if found is None or found["host"] != v["node"]:
                    raise TaskError(f"command '/bin/systemctl {what} ceph-{kind}@{name}' failed: exit code 5")
                if kind == "osd":
                    found["turns"] = {"start": "up", "stop": "down"}[what]
                else:
                    self._daemon_turn(kind, found, on=what == "start")

            return await self.task(v["node"], f"srv{what}", v["service"], user, body)

        return handle

    # ------------------------------------------------------------------------------------------------------ pools

    async def _crush_rules(self, v: Values, user: str) -> list[Values]:
        self._ceph_answers(v["node"])
        return [{"name": name} for name in self.crush_rules]

    async def _crush_map(self, v: Values, user: str) -> str:
        self._ceph_answers(v["node"])
        rules = []
        for number, name in enumerate(self.crush_rules):
            profile = self.ec_profiles.get(self.coded.get(name, ""), {})
            domain = profile.get("failure-domain", "host")
            take = f"default class {profile['device-class']}" if "device-class" in profile else "default"
            how = ("choose" if domain == "osd" else "chooseleaf", "indep" if profile else "firstn")
            steps = [f"step take {take}", f"step {how[0]} {how[1]} 0 type {domain}", "step emit"]
            kind = ["type erasure", "step set_chooseleaf_tries 5"] if profile else ["type replicated"]
            rules.append("\n\t".join([f"rule {name} {{", f"id {number}", *kind, *steps]) + "\n}\n")
        return "# begin crush map\n# types\ntype 0 osd\ntype 1 host\n\n# rules\n" + "".join(rules)

    async def _ceph_pool_list(self, v: Values, user: str) -> list[Values]:
        self._ceph_answers(v["node"])
        return [{"pool_name": name, **pool} for name, pool in self.ceph_pools.items()]

    def make_ceph_pool(self, name: str, v: Values, profile: str = "") -> None:
        kind = "erasure" if profile else "replicated"
        if self.ceph_pools.get(name, {}).get("type", kind) != kind:
            raise TaskError(f"mon_command failed - pool '{name}' cannot change to type {kind}")
        rule = name if profile else "replicated_rule"
        if name not in self.ceph_pools:
            self.ceph_pools[name] = {"pool": len(self.ceph_pools) + 1, "type": kind, "size": 3, "min_size": 2}
        if profile:
            told = self.ec_profiles[profile]
            k, m = int(told["k"]), int(told["m"])
            self.ceph_pools[name].update(size=k + m, min_size=k + min(1, m - 1))
            self.coded[name] = profile
            self.crush_rules.append(rule)
        # One that is there already is taken as it is, and changed.
        defaults = {"pg_num": 128, "pg_autoscale_mode": "warn", "application": "rbd", "crush_rule": rule}
        self._ceph_pool_change(name, {**defaults, **v})

    def _ceph_pool_change(self, name: str, v: Values) -> None:
        pool = self.ceph_pools[name]
        if "size" in v and v["size"] != pool["size"]:
            # Ceph brings the other one along with every size, whatever it was.
            pool.update(size=v["size"], min_size=max(int(v["size"]) - int(v["size"]) // 2, 1))
        for option in ("min_size", "pg_num_min", "target_size_ratio", "pg_autoscale_mode"):
            if option in v:
                pool[option] = v[option] or None
        if "target_size" in v:
            pool["target_size"] = size_of(v["target_size"]) or None
        if "pg_num" in v:
            # The figure itself follows little by little.
            pool.setdefault("pg_num", v["pg_num"])
            pool["autoscale_status"] = {"pool_name": name, "pg_num_target": v["pg_num"]}
        if "crush_rule" in v:
            if v["crush_rule"] not in self.crush_rules:
                raise TaskError("Could not set: crush_rule")
            pool.update(crush_rule=self.crush_rules.index(v["crush_rule"]), crush_rule_name=v["crush_rule"])
        if "application" in v:
            if pool.get("application_metadata") not in (None, {}, {v["application"]: {}}):
                raise TaskError("Could not set: application")
            pool["application_metadata"] = {v["application"]: {}}

    async def _ceph_pool_create(self, v: Values, user: str) -> str:
        self.need_quorum()
        self._ceph_answers(v["node"])
        name, code = v["name"], v.get("erasure-coding")
        asked = dict(part.split("=") for part in code.split(",")) if code else {}
        if asked.get("profile") and asked["profile"] not in self.ec_profiles:
            raise PveError(500, f"Erasure code profile '{asked['profile']}' does not exist.")
        if int(v.get("add_storages", bool(asked))):
            self.require(user, "/storage", "Datastore.Allocate")
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]", name):
                raise PveError(500, "pool name contains characters which are illegal for storage naming")

        async def body() -> None:
            await self.pause(1)
            store = {"type": "rbd", "krbd": 0, "content": "rootdir,images", "active": 1}
            if asked:
                profile = asked.setdefault("profile", f"pve_ec_{name}")
                self.ec_profiles.setdefault(profile, {"failure-domain": "host", **asked})
                own = {key: value for key, value in v.items() if key not in ("size", "min_size", "crush_rule")}
                self.make_ceph_pool(f"{name}-data", own, profile)
                self.make_ceph_pool(f"{name}-metadata", {**v, "pg_num": 32})
                store.update({"pool": f"{name}-metadata", "data-pool": f"{name}-data"})
            else:
                self.make_ceph_pool(name, v)
                store["pool"] = name
            if int(v.get("add_storages", bool(asked))):
                if name in self.storages:
                    why = f"storage ID '{name}' already defined"
                    raise TaskError(f"adding PVE storage for ceph pool '{name}' failed: {why}")
                self.storages[name] = store

        return await self.task(v["node"], "cephcreatepool", name, user, body)

    async def _ceph_pool_set(self, v: Values, user: str) -> str:
        self._ceph_answers(v["node"])

        async def body() -> None:
            if v["name"] not in self.ceph_pools:
                raise TaskError(f"mon_cmd failed - unrecognized pool '{v['name']}'")
            coded = ("size", "crush_rule") if v["name"] in self.coded else ()
            self._ceph_pool_change(v["name"], {key: value for key, value in v.items() if key not in coded})

        return await self.task(v["node"], "cephsetpool", v["name"], user, body)

    def _ceph_without_storages(self, kind: str, names: tuple[str, ...]) -> None:
        for name, store in list(self.storages.items()):
            if store["type"] == kind and {store.get("pool"), store.get("data-pool"), store.get("fs-name")} & {*names}:
                del self.storages[name]

    async def _ceph_pool_destroy(self, v: Values, user: str) -> str:
        self._ceph_answers(v["node"])

        async def body() -> None:
            used = [item["name"] for item in self.ceph_systems.values() if v["name"] in item.values()]
            if used:
                raise TaskError(f"mon_command failed - pool '{v['name']}' is in use by CephFS")
            storages = [store for store in self.storages.values() if v["name"] == store.get("data-pool")]
            if any(store["pool"] not in self.ceph_pools for store in storages):
                raise TaskError("rbd error: rbd: listing images failed: (2) No such file or directory")
            self.ceph_pools.pop(v["name"], None)
            profile = self.coded.pop(v["name"], None)
            if profile:
                self.crush_rules.remove(v["name"])
            if profile and int(v.get("remove_ecprofile", 1)):
                del self.ec_profiles[profile]
            if v.get("remove_storages"):
                self._ceph_without_storages("rbd", (v["name"],))

        return await self.task(v["node"], "cephdestroypool", v["name"], user, body)

    # ----------------------------------------------------------------------------------------------- file systems

    async def _ceph_system_list(self, v: Values, user: str) -> list[Values]:
        self._ceph_answers(v["node"])
        return list(self.ceph_systems.values())

    async def _ceph_system_create(self, v: Values, user: str) -> str:
        self._ceph_answers(v["node"])
        name, servers = v["name"], self.ceph_daemons["mds"].values()
        pools = {"data_pool": f"{name}_data", "metadata_pool": f"{name}_metadata"}
        if self.ceph_pools.keys() & set(pools.values()):
            both = f"'{pools['data_pool']}' and/or '{pools['metadata_pool']}'"
            raise PveError(500, f"ceph pools {both} already exist")
        if not servers:
            raise PveError(500, "no running Metadata Server (MDS) found!")
        standby = next((server for server in servers if server["state"] == "up:standby"), None)
        if standby is None:
            raise PveError(500, "no standby Metadata Server (MDS) found!")
        if v.get("add-storage") and name in self.storages:
            raise PveError(500, f"storage ID '{name}' already defined")

        async def body() -> None:
            groups = int(v.get("pg_num", 128))
            self.make_ceph_pool(pools["data_pool"], {"pg_num": groups, "application": "cephfs"})
            self.make_ceph_pool(pools["metadata_pool"], {"pg_num": max(groups // 4, 8), "application": "cephfs"})
            self.ceph_systems[name] = {"name": name, **pools, "data_pools": [pools["data_pool"]]}
            standby.update(state="up:active", rank=0, fs_name=name)
            if v.get("add-storage"):
                content = "backup,iso,vztmpl"
                self.storages[name] = {"type": "cephfs", "content": content, "fs-name": name, "active": 1}

        return await self.task(v["node"], "cephfscreate", name, user, body)

    async def _ceph_system_destroy(self, v: Values, user: str) -> str:
        self._ceph_answers(v["node"])
        system = self.ceph_systems.get(v["name"])
        if system is None:
            raise PveError(500, f"no such cephfs '{v['name']}'")

        async def body() -> None:
            if v.get("remove-storages"):
                for name, store in self.storages.items():
                    if store.get("fs-name") == v["name"] and not store.get("disable"):
                        why = "is not disabled, make sure to disable and unmount the storage first"
                        raise TaskError(f"storage '{name}' {why}")
                self._ceph_without_storages("cephfs", (v["name"],))
            serving = [item for item in self.ceph_daemons["mds"].values() if item.get("fs_name") == v["name"]]
            if any(server["state"] == "up:active" for server in serving):
                raise TaskError(
                    "mon_command failed - all MDS daemons must be inactive/failed before removing filesystem. See "
                    "`ceph fs fail`."
                )
            del self.ceph_systems[v["name"]]
            if v.get("remove-pools"):
                for pool in (system["metadata_pool"], *system["data_pools"]):
                    self.ceph_pools.pop(pool, None)

        return await self.task(v["node"], "cephdestroyfs", v["name"], user, body)
