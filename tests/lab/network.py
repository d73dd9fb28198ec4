# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of what a node has of its own: name servers, time zone, hosts file and interfaces."""

from __future__ import annotations

import datetime
import difflib
import hashlib
import ipaddress
import json
import re
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from fakepve import PveError

from tests.lab.records import CHANGED, Values

HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.11\tpve1.example.com pve1\n"


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def refuse(**fields: str) -> PveError:
    return PveError(400, "Parameter verification failed.", fields)


class Settings:
    """Mixin of FakePve: name servers, time zone and hosts file of each node."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.node_settings: dict[str, Values] = {}

    def settings(self, node: str) -> Values:
        """What a node has in its files; a test may edit it as another administrator would."""
        fresh = {"dns": {"dns1": "10.255.255.53"}, "timezone": "Etc/UTC", "hosts": HOSTS}
        return self.node_settings.setdefault(node, fresh)

    def _routes_node_settings(self) -> list[tuple[str, str, Callable[..., Any]]]:
        handlers = {
            ("GET", "dns"): self._dns_read,
            ("PUT", "dns"): self._dns_update,
            ("GET", "time"): self._time_read,
            ("PUT", "time"): self._time_update,
            ("GET", "hosts"): self._hosts_read,
            ("POST", "hosts"): self._hosts_write,
        }

        def route(handler: Callable[[Values, Values], Any]) -> Callable[..., Any]:
            async def handle(values: Values, user: str) -> Any:
                return handler(self.settings(values["node"]), values)

            return handle

        return [(verb, f"/nodes/{{node}}/{name}", route(handler)) for (verb, name), handler in handlers.items()]

    @staticmethod
    def _dns_read(settings: Values, values: Values) -> Values:
        return dict(settings["dns"])

    @staticmethod
    def _dns_update(settings: Values, values: Values) -> None:
        """The file is made of what was sent: servers move up, and what was not sent is gone."""
        servers = [values[name] for name in ("dns1", "dns2", "dns3") if values.get(name)]
        servers = list(dict.fromkeys(server for server in servers if server != "0.0.0.0"))
        search = str(values["search"]).split()[:1]
        settings["dns"] = {
            **({"search": search[0]} if search else {}),
            **{f"dns{number}": server for number, server in enumerate(servers, 1)},
        }

    @staticmethod
    def _time_read(settings: Values, values: Values) -> Values:
        now = datetime.datetime.now(zoneinfo.ZoneInfo(settings["timezone"])).replace(microsecond=0)
        local = now.replace(tzinfo=datetime.timezone.utc)
        moments = {"time": int(now.timestamp()), "localtime": int(local.timestamp())}
        return {"timezone": settings["timezone"], **moments}

    @staticmethod
    def _time_update(settings: Values, values: Values) -> None:
        if values["timezone"] not in zoneinfo.available_timezones():
            raise refuse(timezone="No such timezone")
        settings["timezone"] = values["timezone"]

    @staticmethod
    def _hosts_read(settings: Values, values: Values) -> Values:
        return {"data": settings["hosts"], "digest": sha1(settings["hosts"])}

    @staticmethod
    def _hosts_write(settings: Values, values: Values) -> None:
        if values.get("digest") not in (None, "", sha1(settings["hosts"])):
            raise PveError(500, CHANGED)
        for line in values["data"].split("\n"):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            address, *names = re.split(r"\s+", line.rstrip())
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise refuse(data=f"Invalid IP '{address}'") from None
            for name in names:
                if not re.fullmatch(r"[.a-zA-Z0-9-]+", name):
                    raise refuse(data=f"Invalid Hostname '{name}'")
        settings["hosts"] = values["data"]

    async def answer(self, request: web.Request, match: Any, params: Values, *args: Any) -> Any:
        if request.method == "PUT" and match and match.template == "/nodes/{node}/config":
            if self.version.startswith("8.") and "location" in params:
                why = "property is not defined in schema and the schema does not allow additional properties"
                raise refuse(location=why)
            # Of what a node has, this alone is in /etc/pve.
            self.need_quorum()
        return await super().answer(request, match, params, *args)

    def _node_config(self, node: str) -> Values:
        """The notes are comment lines at the top of the file."""
        config = super()._node_config(node)
        notes = config.get("description", "").rstrip("\n")
        return {**config, "description": f"{notes}\n"} if notes else config


# ---------------------------------------------------------------------------------------------- interfaces

INTERFACES = "/nodes/{node}/network"
INTERFACE = f"{INTERFACES}/{{iface}}"
PORTS = ("bridge_ports", "ovs_ports", "slaves", "ovs_bonds")
OVS = ("OVSPort", "OVSIntPort", "OVSBond")
METHODS = {"method": "address", "method6": "address6"}
NAMES = {"gateway": "Default gateway", "gateway6": "Default ipv6 gateway"}
CARD = {"type": "eth", "method": "manual", "method6": "manual", "families": ["inet"]}


def words(text: Any) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", str(text or "")) if word]


def ports_of(item: Values) -> list[str]:
    return [port for key in PORTS for port in words(item.get(key))]


def addressed(values: Values) -> Values:
    """A CIDR as address and netmask."""
    values = dict(values)
    for family in ("", "6"):
        cidr = values.pop(f"cidr{family}", None)
        if cidr:
            values[f"address{family}"], _slash, values[f"netmask{family}"] = cidr.partition("/")
    return values


def with_methods(values: Values) -> Values:
    """An update that does not say an address makes the interface one without: what it had stays behind in the file."""
    families = [name for name, key in (("inet", "address"), ("inet6", "address6")) if values.get(key)]
    methods = {key: "static" if values.get(address) else "manual" for key, address in METHODS.items()}
    return {**values, **methods, "families": families or ["inet"]}


def check_mtu(config: dict[str, Values], parent: str, child: str) -> None:
    lower, own = config.get(parent, {}), int(config.get(child, {}).get("mtu") or 0)
    limit = int(lower.get("mtu") or (own if lower.get("type") == "bond" else 1500) or 1500)
    if own > limit:
        raise PveError(500, f"interface '{parent}' - mtu {limit} is lower than '{child}' - mtu {own}")


def check_ports(config: dict[str, Values], name: str, item: Values) -> None:
    """What is checked of the ports and slaves of an interface at every write."""
    for port in words(item.get("ovs_ports")):
        if port not in config:
            raise PveError(500, f"OVS bridge '{name}' - unable to find port '{port}'")
        if config[port]["type"] not in ("eth", *OVS):
            raise PveError(500, f"interface '{port}' is not defined as OVS port/bond")
        check_mtu(config, name, port)
    for key, kinds, noun in (("slaves", ("eth", "bond"), "bond"), ("ovs_bonds", ("eth",), "OVS bond")):
        for port in words(item.get(key)):
            kind = config.get(port, {}).get("type", "")
            if kind not in kinds:
                raise PveError(
                    500,
                    f"{noun} '{name}' - wrong interface type on slave '{port}' ('{kind}' != '{' or '.join(kinds)}')",
                )
            check_mtu(config, name, port)
            config[port]["autostart"] = 1
    if item.get("bond-primary") and item["bond-primary"] not in words(item.get("slaves")):
        raise PveError(500, f"bond '{name}' - bond-primary interface is not a slave")
    for port in words(item.get("bridge_ports")):
        below = config.get(port, {} if re.search(r"\.\d+$", port) else None)
        if below is None:
            raise PveError(500, f"bridge '{name}' - unable to find bridge port '{port}'")
        if "static" in (below.get("method"), below.get("method6")):
            raise PveError(500, f"iface {port} - ip address can't be set on interface if bridged in {name}")
        # A VLAN without an entry takes what its interface says, and nothing from the name of a bond.
        whole = {port: {"mtu": config.get(port.rpartition(".")[0], {}).get("mtu")}, **config}
        check_mtu(whole, port, name)


def check_vlan(config: dict[str, Values], name: str, item: Values) -> None:
    below = re.fullmatch(r"(\S+)\.(\d+)", name)
    custom = re.fullmatch(r"vlan(\d+)", name)
    if below:
        item["vlan-raw-device"], item["vlan-id"] = below.groups()
    if not item.get("vlan-raw-device"):
        raise PveError(500, "missing vlan-raw-device option")
    if custom:
        item["vlan-id"] = custom[1]
    if not item.get("vlan-id"):
        raise PveError(500, "missing vlan-id option")
    parent = item["vlan-raw-device"]
    if parent not in config:
        raise PveError(500, f"vlan '{name}' - unable to find parent '{parent}'")
    kind = config[parent]["type"]
    if kind not in ("eth", "bridge", "bond", "vlan"):
        raise PveError(
            500, f"vlan '{name}' - wrong interface type on parent '{parent}' ('{kind}' != 'eth|bond|bridge|vlan' )"
        )
    check_mtu(config, parent, name)


def written(config: dict[str, Values]) -> dict[str, Values]:
    """What is in the file after a write, if it is not refused."""
    config = {name: dict(item) for name, item in config.items()}
    users: dict[str, str] = {}
    for name, item in config.items():
        for port in ports_of(item):
            if users.setdefault(port, name) != name:
                raise PveError(500, f"port '{port}' is already used on interface '{users[port]}'")
    for name, item in list(config.items()):
        if item["type"] in OVS and name not in users:
            config[name] = dict(CARD)
        elif config.get(users.get(name, ""), {}).get("type") == "OVSBridge":
            kind = "OVSPort" if item["type"] == "eth" else item["type"]
            item.update({"type": kind, "ovs_bridge": users[name], "autostart": 1})
    for name, item in config.items():
        check_ports(config, name, item)
        if item["type"] == "vlan":
            check_vlan(config, name, item)
    return {name: filed(item) for name, item in config.items()}


def filed(item: Values) -> Values:
    """One interface as the file holds it."""
    item = {key: value for key, value in item.items() if value not in ("", None) and (key, value) != ("autostart", 0)}
    if item["type"] == "bridge":
        item["bridge_ports"] = " ".join(sorted(set(words(item.get("bridge_ports")))))
        item.update({"bridge_stp": "off", "bridge_fd": "0"})
        if "bridge_vlan_aware" in item:
            # That it is said is enough; what it says is not looked at.
            vids = " ".join(words(item.get("bridge_vids"))) or "2-4094"
            item.update({"bridge_vlan_aware": 1, "bridge_vids": vids})
        else:
            item.pop("bridge_vids", None)
    if item["type"] == "bond":
        item["slaves"] = " ".join(sorted(set(words(item.get("slaves")))))
        mode = item.setdefault("bond_mode", "balance-rr")
        item["bond_miimon"] = "100"
        if mode not in ("balance-xor", "802.3ad"):
            item.pop("bond_xmit_hash_policy", None)
        if mode != "active-backup":
            item.pop("bond-primary", None)
    if item["type"] == "OVSBond":
        item.setdefault("bond_mode", "active-backup")
    if item["type"] in OVS and "ovs_options" in item:
        # They share a line with the tag and the mode of a bond, which are read from it; what has no value is lost.
        pairs = dict(word.split("=", 1) for word in item.pop("ovs_options").split() if "=" in word)
        item.update({"ovs_tag": int(pairs.pop("tag"))} if "tag" in pairs and "ovs_tag" not in item else {})
        own = ("tag", "bond_mode", "lacp") if item["type"] == "OVSBond" else ("tag",)
        rest = " ".join(f"{key}={value}" for key, value in sorted(pairs.items(), reverse=True) if key not in own)
        item.update({"ovs_options": rest} if rest else {})
    for key in ("mtu", "vlan-id", "netmask", "netmask6"):
        if key in item:
            item[key] = str(item[key])
    if item.get("comments"):
        item["comments"] = item["comments"].rstrip("\n") + "\n"
    return item


def text_of(config: dict[str, Values]) -> list[str]:
    """The file, by lines."""
    lines = []
    for name, item in sorted(config.items()):
        lines += [f"auto {name}"] if item.get("autostart") else []
        for family, suffix in (("inet", ""), ("inet6", "6")):
            if family in item.get("families", ()):
                lines.append(f"iface {name} {family} {item['method' + suffix]}")
                if item.get(f"address{suffix}"):
                    lines.append(f"\taddress {item[f'address{suffix}']}/{item[f'netmask{suffix}']}")
                if item.get(f"gateway{suffix}"):
                    lines.append(f"\tgateway {item[f'gateway{suffix}']}")
        skipped = ("type", "families", "autostart", "comments", *METHODS)
        skipped += tuple(f"{key}{suffix}" for key in ("address", "netmask", "gateway") for suffix in ("", "6"))
        lines += [f"\t{key} {value or 'none'}" for key, value in sorted(item.items()) if key not in skipped]
        lines += [f"#{line}" for line in str(item.get("comments") or "").splitlines()]
        lines.append("")
    return lines


class Network(Settings):
    """Mixin of FakePve: the interfaces of each node, changed in a file of their own until they are applied."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By node, what is in force and what is staged.
        self.interfaces: dict[str, dict[str, Values]] = {}
        self.staged_interfaces: dict[str, dict[str, Values]] = {}
        # Called with the node when new interfaces have come into force.
        self.after_reload: Callable[[str], None] = lambda node: None
        # Where the files are, for what runs on a node itself.
        self.interfaces_file: Path | None = None

    def add_interface(self, node: str, name: str, **values: Any) -> None:
        """An interface that is in force, with options as the API takes them."""
        given = with_methods(addressed({"type": "eth", **values}))
        self.interfaces[node] = written({**self._in_force(node), name: given})

    def _in_force(self, node: str) -> dict[str, Values]:
        bridge = {**CARD, "type": "bridge", "autostart": 1}
        fresh = {name: filed(with_methods(addressed({**bridge, **more}))) for name, more in self.bridges.items()}
        return self.interfaces.get(node, fresh)

    def _config(self, node: str) -> dict[str, Values]:
        return {name: dict(item) for name, item in self.staged_interfaces.get(node, self._in_force(node)).items()}

    def _interface_shown(self, node: str, name: str) -> Values:
        item = dict(self._config(node)[name])
        for family in ("", "6"):
            if item.get(f"address{family}"):
                item[f"cidr{family}"] = f"{item[f'address{family}']}/{item[f'netmask{family}']}"
        if item["type"] == "eth":
            item["exists"] = 1
        if item["type"] == "vlan":
            item["exists"] = None
        priority = {"priority": [*self._config(node)].index(name) + 3}
        return {**item, **priority, **({"active": 1} if name in self._in_force(node) else {})}

    async def _node_network(self, v: Values, user: str) -> list[Values]:
        node = v["node"]
        if node not in self.interfaces and node not in self.staged_interfaces:
            return await super()._node_network(v, user)
        wanted = v.get("type")
        kinds = ("bridge", "OVSBridge") if wanted in ("any_bridge", "any_local_bridge") else (wanted,)
        shown = [{"iface": name, **self._interface_shown(node, name)} for name in self._config(node)]
        return [item for item in shown if wanted in (None, "include_sdn") or item["type"] in kinds]

    def _stateful_handler(self, template: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        serve = super()._stateful_handler(template, handler)
        if template != INTERFACES:
            return serve

        async def with_changes(request: web.Request) -> web.Response:
            """What is staged is told beside the data."""
            response = await serve(request)
            changes = self.staged_diff(request.match_info["node"])
            if request.method != "GET" or not changes:
                return response
            return web.json_response({**json.loads(response.text), "changes": changes})

        return with_changes

    def staged_diff(self, node: str) -> str:
        if node not in self.staged_interfaces:
            return ""
        name = "/etc/network/interfaces"
        texts = text_of(self._in_force(node)), text_of(self.staged_interfaces[node])
        return "".join(f"{line}\n" for line in difflib.unified_diff(*texts, name, f"{name}.new", lineterm=""))

    def _routes_interfaces(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("POST", INTERFACES, self._interface_create),
            ("PUT", INTERFACES, self._interfaces_apply),
            ("DELETE", INTERFACES, self._interfaces_revert),
            ("GET", INTERFACE, self._interface_read),
            ("PUT", INTERFACE, self._interface_update),
            ("DELETE", INTERFACE, self._interface_delete),
        ]

    def _interface(self, v: Values) -> tuple[str, str, dict[str, Values]]:
        node, name = v.pop("node"), v.pop("iface")
        config = self._config(node)
        if name not in config:
            raise refuse(iface="interface does not exist")
        return node, name, config

    @staticmethod
    def _check_interface(config: dict[str, Values], name: str, values: Values) -> None:
        for key, noun in NAMES.items():
            for other in config if values.get(key) else ():
                if other != name and config[other].get(key):
                    raise refuse(**{key: f"{noun} already exists on interface '{other}'."})
        key = next((key for key in PORTS if values.get(key)), "")
        for other, item in config.items():
            for port in ports_of(values):
                if other != name and port in ports_of(item):
                    raise refuse(**{key: f"{port} is already used on interface '{other}'."})

    async def _interface_read(self, v: Values, user: str) -> Values:
        node, name, _config = self._interface(dict(v))
        return self._interface_shown(node, name)

    async def _interface_create(self, v: Values, user: str) -> None:
        values = dict(v)
        node, name = values.pop("node"), values.pop("iface")
        config = self._config(node)
        if name in config:
            raise refuse(iface="interface already exists")
        self._check_interface(config, name, values)
        if values["type"] in ("OVSIntPort", "OVSBond"):
            bridge = config.get(values.get("ovs_bridge", ""))
            if bridge is None:
                raise refuse(ovs_bridge=f"bridge '{values.get('ovs_bridge')}' does not exist")
            bridge["ovs_ports"] = " ".join([*words(bridge.get("ovs_ports")), name])
        config[name] = with_methods(addressed(values))
        self._stage(node, config)

    async def _interface_update(self, v: Values, user: str) -> None:
        values = dict(v)
        node, name, config = self._interface(values)
        gone = words(values.pop("delete", None))
        gone += [f"{part}{key[4:]}" for key in gone if key in ("cidr", "cidr6") for part in ("address", "netmask")]
        self._check_interface(config, name, values)
        kept = {key: value for key, value in config[name].items() if key not in gone}
        config[name] = {**kept, **with_methods(addressed(values))}
        self._stage(node, config)

    async def _interface_delete(self, v: Values, user: str) -> None:
        node, name, config = self._interface(dict(v))
        item = config.pop(name)
        bridge = config.get(item.get("ovs_bridge", ""))
        if bridge:
            bridge["ovs_ports"] = " ".join(port for port in words(bridge.get("ovs_ports")) if port != name)
        if item["type"] == "eth":
            config[name] = dict(CARD)
        self._stage(node, config)

    def _stage(self, node: str, config: dict[str, Values]) -> None:
        self.staged_interfaces[node] = written(config)
        if self.interfaces_file:
            self._new_file.write_text("\n".join(text_of(self.staged_interfaces[node])))

    @property
    def _new_file(self) -> Path:
        return Path(f"{self.interfaces_file}.new")

    async def _interfaces_revert(self, v: Values, user: str) -> None:
        self.staged_interfaces.pop(v["node"], None)
        if self.interfaces_file:
            self._new_file.unlink(missing_ok=True)

    async def _interfaces_apply(self, v: Values, user: str) -> str:
        node = v["node"]
        if node in self.staged_interfaces:
            config = self.interfaces[node] = self.staged_interfaces.pop(node)
            if self.interfaces_file:
                self._new_file.replace(self.interfaces_file)
            self.bridges = {name: {} for name, item in config.items() if item["type"] in ("bridge", "OVSBridge")}
        self.after_reload(node)

        async def body() -> None:
            return None

        return await self.task(node, "srvreload", "networking", user, body)
