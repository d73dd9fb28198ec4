# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of software defined networks: what is staged, and what was staged when it was applied last."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from fakepve import PveError

from tests.lab.records import CHANGED, Values

SDN = "/cluster/sdn"
# Kind -> the options that a type has, required ones with an exclamation mark.
COMMON = "nodes mtu dns reversedns dnszone ipam"
OPTIONS = {
    "zone": {
        "simple": f"{COMMON} dhcp",
        "vlan": f"{COMMON} bridge! bridge-disable-mac-learning",
        "qinq": f"{COMMON} tag! bridge! bridge-disable-mac-learning vlan-protocol",
        "vxlan": f"{COMMON} peers vxlan-port fabric",
        "evpn": f"{COMMON} vrf-vxlan! controller! mac exitnodes exitnodes-local-routing exitnodes-primary rt-import "
        "advertise-subnets disable-arp-nd-suppression bridge-disable-mac-learning vxlan-port",
    },
    "vnet": {"vnet": "zone! tag alias vlanaware isolate-ports"},
    "subnet": {"subnet": "vnet! gateway snat dnszoneprefix dhcp-range dhcp-dns-server"},
    "controller": {
        "evpn": "asn! peers fabric",
        "bgp": "node! asn! peers! bgp-multipath-as-path-relax ebgp ebgp-multihop loopback",
        "isis": "isis-domain! isis-net! isis-ifaces! node! loopback",
    },
}
KINDS = tuple(OPTIONS)
ITEM_ACTS = {"GET": "read", "PUT": "update", "DELETE": "delete"}
OF_PLUGIN = "/usr/share/perl5/PVE/Network/SDN"


def wrong(**fields: str) -> PveError:
    """A parameter that is refused while the configuration is locked."""
    lines = "".join(f"{name}: {why}\n" for name, why in fields.items())
    return PveError(500, f"400 Parameter verification failed.\n{lines}")


def plain(key: str, value: Any) -> Any:
    """A value as it is compared: lists without their order."""
    if key in ("nodes", "exitnodes", "dhcp-range"):
        return ",".join(sorted(value if isinstance(value, list) else str(value).split(",")))
    return None if value is None else str(value)


class Sdn:
    """Mixin of FakePve."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Kind -> id -> values; a test may edit them as another administrator would.
        self.sdn_staged: dict[str, dict[str, Values]] = {kind: {} for kind in KINDS}
        self.sdn_running: dict[str, dict[str, Values]] = {kind: {} for kind in KINDS}
        # As the listing with pending changes has them; None is an API that knows none, as before 9.
        self.sdn_fabrics: list[Values] | None = []
        self.sdn_lock = ""

    def _routes_sdn(self) -> list[tuple[str, str, Callable[..., Any]]]:
        routes = [
            ("PUT", SDN, self._sdn_apply),
            ("POST", f"{SDN}/lock", self._sdn_lock),
            ("DELETE", f"{SDN}/lock", self._sdn_unlock),
            ("POST", f"{SDN}/rollback", self._sdn_rollback),
            ("GET", f"{SDN}/fabrics/all", self._sdn_fabrics_all),
        ]
        for kind in KINDS:
            path = f"{SDN}/vnets/{{vnet}}/subnets" if kind == "subnet" else f"{SDN}/{kind}s"
            item = f"{path}/{{{kind}}}"
            routes += [(verb, path, self._sdn_of(kind, act)) for verb, act in (("GET", "list"), ("POST", "create"))]
            routes += [(verb, item, self._sdn_of(kind, act)) for verb, act in ITEM_ACTS.items()]
        return routes

    def _sdn_of(self, kind: str, act: str) -> Callable[..., Any]:
        async def handle(values: Values, user: str) -> Any:
            return getattr(self, f"_sdn_{act}")(kind, dict(values), user)

        return handle

    # ---------------------------------------------------------------------------------------------- rights

    def _sdn_path(self, kind: str, ident: str, values: Values) -> str:
        """The path of the rights that an object is under."""
        if kind in ("zone", "controller"):
            return f"/sdn/{kind}s/{ident}"
        vnet = ident if kind == "vnet" else values["vnet"]
        if kind == "subnet":
            values = self._sdn_item("vnet", vnet)
        return f"/sdn/zones/{values.get('zone') or values['pending']['zone']}/{vnet}"

    def _sdn_may(self, user: str, path: str, *privileges: str) -> bool:
        return any(self.allowed(user, path, privilege) for privilege in privileges)

    # --------------------------------------------------------------------------------------------- reading

    def _sdn_digest(self, kind: str) -> str:
        return hashlib.sha1(json.dumps(self.sdn_staged[kind], sort_keys=True).encode()).hexdigest()

    @staticmethod
    def _sdn_shown(kind: str, ident: str, values: Values, digest: str | None) -> Values:
        shown = {**copy.deepcopy(values), kind: ident, "digest": digest}
        if kind == "subnet":
            zone, network, mask = ident.split("-")
            shown |= {"id": ident, "cidr": f"{network}/{mask}", "zone": zone, "network": network, "mask": mask}
            ranges = values.get("dhcp-range") or []
            shown["dhcp-range"] = [dict(part.split("=") for part in item.split(",")) for item in ranges]
        return shown

    def _sdn_pending(self, kind: str) -> dict[str, Values]:
        """What is in force, and beside it what is staged."""
        staged, running = self.sdn_staged[kind], self.sdn_running[kind]
        found: dict[str, Values] = {}
        for ident in sorted({*staged, *running}):
            was, now = running.get(ident, {}), staged.get(ident, {})
            item, pending = dict(was), {}
            for key in now:
                if key in ("type", "vnet"):
                    item[key] = now[key]
                elif plain(key, now[key]) != plain(key, was.get(key)):
                    pending[key] = now[key]
            pending |= {key: "deleted" for key in was if now and key not in now}
            state = "new" if not was else "deleted" if not now else "changed" if pending else ""
            found[ident] = {**item, **({"state": state, "pending": pending} if state else {})}
        return found

    def _sdn_list(self, kind: str, values: Values, user: str) -> list[Values]:
        if kind == "subnet":
            path = self._sdn_path(kind, "", values)
            if not self._sdn_may(user, path, "SDN.Audit", "SDN.Allocate"):
                raise PveError(403, f"Permission check failed ({path}, SDN.Audit|SDN.Allocate)")
        digest = None if values.get("pending") or values.get("running") else self._sdn_digest(kind)
        if values.get("pending"):
            found = self._sdn_pending(kind)
        else:
            found = (self.sdn_running if values.get("running") else self.sdn_staged)[kind]
        if kind == "subnet":
            found = {ident: item for ident, item in found.items() if item.get("vnet") == values["vnet"]}
        else:
            found = {
                ident: item
                for ident, item in found.items()
                if self._sdn_may(user, self._sdn_path(kind, ident, item), "SDN.Audit", "SDN.Allocate")
            }
        return [self._sdn_shown(kind, ident, item, digest) for ident, item in found.items()]

    def _sdn_item(self, kind: str, ident: str) -> Values:
        if ident not in self.sdn_staged[kind]:
            noun = {"zone": "", "controller": ""}.get(kind, f"{kind} ")
            raise PveError(500, f"sdn {noun}'{ident}' does not exist")
        return self.sdn_staged[kind][ident]

    def _sdn_read(self, kind: str, values: Values, user: str) -> Values:
        ident = values[kind]
        item = self._sdn_item(kind, ident)
        path = self._sdn_path(kind, ident, item)
        if not self._sdn_may(user, path, "SDN.Audit", "SDN.Allocate"):
            raise PveError(403, f"Permission check failed ({path}, SDN.Audit|SDN.Allocate)")
        return self._sdn_shown(kind, ident, item, self._sdn_digest(kind))

    # --------------------------------------------------------------------------------------------- writing

    def _sdn_locked(self, token: str | None, what: str) -> None:
        if self.sdn_lock and token != self.sdn_lock:
            raise PveError(500, f"{what}: invalid lock token provided! at {OF_PLUGIN}.pm line 331.")

    def _sdn_checked(self, kind: str, ident: str, values: Values) -> None:
        """What the plugin of the type refuses."""
        options = OPTIONS[kind][values["type"]].split()
        for key in values:
            if key != "type" and key not in options and f"{key}!" not in options:
                raise PveError(500, f"unexpected property '{key}'")
        for option in options:
            if option.endswith("!") and values.get(option[:-1]) is None:
                raise PveError(500, f"missing value for required option '{option[:-1]}'")

    def _sdn_write(self, kind: str, ident: str, values: Values, verb: str) -> None:
        try:
            getattr(self, f"_sdn_check_{kind}")(ident, values)
        except PveError as error:
            raise PveError(500, f"{verb} sdn {kind} object failed: {error.message}") from None
        for key in ("nodes", "exitnodes"):
            if key in values:
                values[key] = plain(key, values[key])
        self.sdn_staged[kind][ident] = values

    def _sdn_check_zone(self, ident: str, values: Values) -> None:
        for key in ("dns", "reversedns"):
            if values.get(key) and values[key] not in ("powerdns",):
                raise wrong(**{key: f"{values[key]} don't exist"})
        if values.get("dnszone") and not values.get("dns"):
            raise wrong(dnszone="missing dns server")
        if values.get("ipam") and values["ipam"] != "pve":
            raise wrong(ipam=f"{values['ipam']} not existing")
        used = any(item_id.startswith(f"{ident}-") for item_id in self.sdn_staged["subnet"])
        if used and values.get("ipam") != self.sdn_staged["zone"].get(ident, {}).get("ipam"):
            raise wrong(ipam="can't change ipam if a subnet is already defined in this zone")
        if values["type"] == "vxlan" and bool(values.get("peers")) == bool(values.get("fabric")):
            why = "must have exactly one of peers / fabric defined"
            raise wrong(peers=why, fabric=why)
        if values["type"] != "evpn":
            return
        at = f"at {OF_PLUGIN}/Zones/EvpnPlugin.pm line 400."
        controller = self.sdn_staged["controller"].get(values["controller"])
        if controller is None:
            raise PveError(500, f"controller {values['controller']} don't exist {at}")
        if controller["type"] != "evpn":
            raise PveError(500, f"{values['controller']} is not a evpn controller type {at}")
        for other, item in self.sdn_staged["zone"].items():
            if other != ident and item.get("vrf-vxlan") == values["vrf-vxlan"]:
                raise PveError(500, f"vrf-vxlan {values['vrf-vxlan']} is already declared in {other} {at}")
        values.setdefault("mac", "BC:24:11:" + ":".join(uuid.uuid4().hex[i : i + 2].upper() for i in (0, 2, 4)))

    def _sdn_check_vnet(self, ident: str, values: Values) -> None:
        zones, tag = self.sdn_staged["zone"], values.get("tag")
        if values["zone"] not in zones:
            module = "/usr/share/perl5/PVE/API2/Network/SDN/Vnets.pm"
            raise PveError(500, f"cannot lookup undefined type! at {module} line 326.")
        zone = zones[values["zone"]]["type"]
        subnets = [item for item in self.sdn_staged["subnet"].values() if item["vnet"] == ident]
        if subnets and self.sdn_staged["vnet"][ident]["zone"] != values["zone"]:
            raise wrong(zone="can't change zone if subnets exist")
        if zone == "simple":
            if tag is not None:
                raise wrong(tag="vlan tag is not allowed on simple zone")
            values.setdefault("mac", f"BC:24:11:{len(self.sdn_staged['vnet']):02X}:00:00")
        if tag is None and zone in ("vlan", "vxlan", "evpn"):
            raise wrong(tag="missing vlan tag" if zone == "vlan" else "missing vxlan tag")
        if tag and tag > 4096 and zone in ("vlan", "qinq"):
            raise wrong(tag="vlan tag max value is 4096")
        if zone == "evpn" and values.get("vlanaware"):
            raise wrong(**{"vlan-aware": "vlan-aware option can't be enabled with evpn"})
        tunnels = {name for name, item in zones.items() if item["type"] in ("vxlan", "evpn")}
        among = tunnels if zone in ("vxlan", "evpn") else {values["zone"]}
        for other, item in self.sdn_staged["vnet"].items():
            if other != ident and zone != "simple" and item["zone"] in among and item.get("tag") == tag:
                raise wrong(tag=f"tag {tag} already exist in vnet {other}")
        if values.get("vlanaware") and subnets:
            raise wrong(vlanaware="vlanaware vnet is not compatible with subnets")

    def _sdn_check_subnet(self, ident: str, values: Values) -> None:
        vnet = self.sdn_staged["vnet"].get(values["vnet"])
        if vnet is None:
            raise wrong(vnet=f"{values['vnet']} don't exist")
        if vnet.get("vlanaware"):
            raise wrong(vnet="you can't add a subnet on a vlanaware vnet")

    def _sdn_check_controller(self, ident: str, values: Values) -> None:
        others = [item for name, item in self.sdn_staged["controller"].items() if name != ident]
        if values["type"] != "evpn":
            return
        if any(item["type"] == "evpn" for item in others):
            raise PveError(500, "only 1 global evpn controller can be defined")
        if bool(values.get("peers")) == bool(values.get("fabric")):
            raise PveError(500, "must have exactly one of peers / fabric defined")

    def _sdn_create(self, kind: str, values: Values, user: str) -> None:
        ident, failed = values.pop(kind), f"create sdn {kind} object failed"
        token = values.pop("lock-token", None)
        values.setdefault("type", kind)
        if kind == "subnet":
            path = self._sdn_path(kind, "", values)
            self.require(user, path, "SDN.Allocate")
            ident = f"{path.split('/')[3]}-{ident.replace('/', '-')}"
        self._sdn_checked(kind, ident, values)
        self._sdn_locked(token, failed)
        if ident in self.sdn_staged[kind]:
            raise PveError(500, f"{failed}: sdn {kind} object ID '{ident}' already defined")
        self._sdn_write(kind, ident, values, "create")

    def _sdn_update(self, kind: str, values: Values, user: str) -> None:
        ident, failed = values.pop(kind), f"update sdn {kind} object failed"
        token, digest = values.pop("lock-token", None), values.pop("digest", None)
        gone = [key for key in re.split(r"[\s,;]+", str(values.pop("delete", ""))) if key]
        if kind in ("vnet", "subnet"):
            self.require(user, self._sdn_path(kind, ident, self._sdn_item(kind, ident)), "SDN.Allocate")
        self._sdn_locked(token, failed)
        if digest not in (None, self._sdn_digest(kind)):
            raise PveError(500, f"{failed}: {CHANGED}")
        current = self._sdn_item(kind, ident)
        options = OPTIONS[kind][current["type"]].split()
        for key in gone:
            if key not in options:
                needed = f"{key}!" in options
                why = f"unable to delete required option '{key}'" if needed else f"no such option '{key}'"
                raise PveError(500, f"{failed}: {why}")
        kept = {key: value for key, value in current.items() if key not in gone}
        checked = {key: value for key, value in {**kept, **values}.items() if key != "mac" or kind == "zone"}
        self._sdn_checked(kind, ident, checked)
        self._sdn_write(kind, ident, {**kept, **values}, "update")

    def _sdn_delete(self, kind: str, values: Values, user: str) -> None:
        ident, failed = values[kind], f"delete sdn {kind} object failed"
        if kind in ("vnet", "subnet"):
            where = self.sdn_staged[kind].get(ident, values)
            self.require(user, self._sdn_path(kind, ident, where), "SDN.Allocate")
        self._sdn_locked(values.get("lock-token"), failed)
        try:
            self._sdn_item(kind, ident)
        except PveError as error:
            raise PveError(500, f"{failed}: {error.message}") from None
        if kind == "vnet" and any(item["vnet"] == ident for item in self.sdn_staged["subnet"].values()):
            refused = wrong(vnet="Can't delete vnet if subnets exists")
            raise PveError(500, f"{failed}: {refused.message}")
        used_by = {"zone": "vnet", "controller": "zone"}.get(kind, "")
        for other, item in self.sdn_staged.get(used_by, {}).items():
            if item.get(kind) == ident:
                where = f"{OF_PLUGIN}/{kind.title()}s/Plugin.pm line 149."
                user_of = f"vnet {other}" if kind == "zone" else other
                raise PveError(500, f"{failed}: {kind} {ident} is used by {user_of} at {where}")
        del self.sdn_staged[kind][ident]

    # ---------------------------------------------------------------------------------------------- bridges

    def vnets(self, node: str) -> dict[str, Values]:
        """The vnets in force that the node has."""
        zones = self.sdn_running["zone"]
        here = {
            name: vnet
            for name, vnet in self.sdn_running["vnet"].items()
            if node in str(zones[vnet["zone"]].get("nodes", node)).split(",")
        }
        return {
            name: {
                "iface": name,
                "type": "vnet",
                "active": "1",
                "ipam": int("ipam" in zones[vnet["zone"]]),
                "vlanaware": vnet.get("vlanaware", 0),
                **({"comments": vnet["alias"]} if "alias" in vnet else {}),
            }
            for name, vnet in here.items()
        }

    async def _node_network(self, v: Values, user: str) -> list[Values]:
        listed = await super()._node_network(v, user)
        if v.get("type") not in ("any_bridge", "include_sdn", "vnet"):
            return listed
        paths = {name: f"/sdn/zones/{vnet['zone']}/{name}" for name, vnet in self.sdn_running["vnet"].items()}
        vnets = self.vnets(v["node"]).items()
        return [*listed, *(item for name, item in vnets if self._sdn_may(user, paths[name], "SDN.Audit", "SDN.Use"))]

    def _missing_bridge(self, net: str) -> str | None:
        bridge = super()._missing_bridge(net)
        return None if bridge in self.sdn_running["vnet"] else bridge

    # -------------------------------------------------------------------------------------------- applying

    def _sdn_waits(self) -> bool:
        return any("state" in item for kind in KINDS for item in self._sdn_pending(kind).values())

    async def _sdn_apply(self, v: Values, user: str) -> str:
        self._sdn_locked(v.get("lock-token"), "could not commit SDN config")
        self.sdn_running = copy.deepcopy(self.sdn_staged)
        for fabric in self.sdn_fabrics or ():
            fabric.pop("state", None)
        if v.get("lock-token") and v.get("release-lock", 1):
            self.sdn_lock = ""

        async def body() -> None:
            return None

        nodes = sorted(self.nodes)
        log = [f"{node}: reloading network config" for node in nodes]
        return await self.task(nodes[0], "reloadnetworkall", "", user, body, log=log)

    async def _sdn_rollback(self, v: Values, user: str) -> None:
        self._sdn_locked(v.get("lock-token"), "could not rollback SDN configuration")
        self.sdn_staged = copy.deepcopy(self.sdn_running)
        self.sdn_lock = "" if v.get("lock-token") and v.get("release-lock", 1) else self.sdn_lock

    async def _sdn_lock(self, v: Values, user: str) -> str:
        self._sdn_locked(None, "could not acquire lock for SDN config")
        if self._sdn_waits() and not v.get("allow-pending"):
            raise PveError(500, "could not acquire lock for SDN config: configuration has pending changes")
        self.sdn_lock = str(uuid.uuid4())
        return self.sdn_lock

    async def _sdn_unlock(self, v: Values, user: str) -> None:
        if not v.get("force"):
            self._sdn_locked(v.get("lock-token"), "could not release lock")
        self.sdn_lock = ""

    async def _sdn_fabrics_all(self, v: Values, user: str) -> Values:
        if self.sdn_fabrics is None:
            raise PveError(501, f"Method 'GET {SDN}/fabrics/all' not implemented")
        return {"fabrics": copy.deepcopy(self.sdn_fabrics), "nodes": []}
