# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interfaces of a node as values: what Proxmox VE makes of them, refuses, and takes in which order."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Any, Dict, Iterable, Iterator, NamedTuple

from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    Address,
    Invalid,
    Note,
    Text,
    nearest,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import EMPTY

# What Proxmox VE takes as the name of an interface.
IFACE = r"(?i)[a-z][a-z0-9_]{1,20}([:.]\d+)?"


# -------------------------------------------------------------------------------------------------------- values

# Where an address comes from that no option says.
ELSEWHERE = ("dhcp", "auto")
# Linux has no longer ones.
LONGEST_NAME = 15


class HostAddress(Text):
    """The address of a host with its prefix length."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version

    def parse(self, value: Any) -> str:
        text = str(value).strip()
        if text in ELSEWHERE:
            raise Invalid(f"Proxmox VE cannot set '{text}' by its API, write an address or set it on the node")
        try:
            interface = ipaddress.ip_interface(text)
            if "/" not in text or "%" in text or interface.version != self.version:
                raise ValueError(text)
        except ValueError:
            example = "192.0.2.10/24" if self.version == 4 else "2001:db8::10/64"
            raise Invalid(f"'{value}' is not an address with its prefix length such as {example}") from None
        address, network = interface.ip, interface.network
        few = network.num_addresses <= 2
        if not few and (address == network.network_address or (self.version == 4 and address == network[-1])):
            raise Invalid(f"'{text}' is the address of the network or its broadcast, write the address of a host in it")
        nobody = address.is_multicast or address.is_unspecified or address.is_loopback
        if nobody or (self.version == 6 and (address.is_reserved or address.is_site_local)):
            raise Invalid(f"'{text}' is not the address of a host")
        return str(interface)


class Gateway(Address):
    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version

    def parse(self, value: Any) -> str:
        try:
            address = super().parse(value)
        except Invalid:
            address = ""
        if not address or (":" in address) != (self.version == 6):
            raise Invalid(f"'{value}' is not an IPv{self.version} address")
        return address


class Vlans:
    """Numbers of VLANs and ranges of them, in any order."""

    def parse(self, value: Any) -> list[str]:
        parts = value if isinstance(value, (list, tuple)) else [value]
        tags: set[int] = set()
        for word in (word for part in parts for word in re.split(r"[;,\s]+", str(part).strip()) if word):
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not match or not 2 <= first <= last <= 4094:
                raise Invalid(f"'{word}' is not a VLAN or a range of VLANs from 2 to 4094, such as 10 or 100-200")
            tags.update(range(first, last + 1))
        starts = [tag for tag in sorted(tags) if tag - 1 not in tags]
        ends = [tag for tag in sorted(tags) if tag + 1 not in tags]
        return [str(first) if first == last else f"{first}-{last}" for first, last in zip(starts, ends)]

    def format(self, value: list[str]) -> str:
        return " ".join(value)


class Comments(Note):
    """Comment lines; what is blank at their ends is lost."""

    def parse(self, value: Any) -> str:
        return "\n".join(line.rstrip() for line in str(value).split("\n")).rstrip("\n")


# ---------------------------------------------------------------------------------------------------- interfaces

# The interfaces of a node by name, each with its options as far as they are not the default.
Config = Dict[str, Dict[str, Any]]
PORTS = ("bridge_ports", "slaves", "ovs_ports", "ovs_bonds")
SINGLE = ("bond_primary", "vlan_raw_device", "ovs_bridge")
BRIDGES = ("bridge", "OVSBridge")
# What hangs on a bridge of Open vSwitch, and is started by it.
MEMBERS = ("OVSPort", "OVSBond", "OVSIntPort")
DEFAULT_MTU = 1500
BOND_MODES = {
    "bond": ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"),
    "OVSBond": ("active-backup", "balance-slb", "lacp-balance-slb", "lacp-balance-tcp"),
}
# The names by which Proxmox VE knows bonds and cards, whatever they are.
BOND, CARD = r"bond\d+", r"eth\d+|(en|ib)[^:.]+|(nic|if)\d+"
# What a port of Open vSwitch has in the same line as its options.
ELSEWHERE_IN_OVS = {"tag": "ovs_tag", "bond_mode": "bond_mode", "lacp": "bond_mode"}
# The modes of a bond that spread packets by a hash.
HASHED = ("balance-xor", "802.3ad")


def host(cidr: str | None) -> Any:
    """The address of ``cidr`` or ``cidr6``, if there is one."""
    with suppress(ValueError):
        return ipaddress.ip_interface(cidr).ip if cidr else None
    return None


class Missing(str):
    """A sentence about an interface that is not there, and that something before in the same run may make."""


def known(name: str, names: Iterable[str]) -> str:
    """The remedy for an interface that is not there."""
    return nearest(name, names).replace("valid keys are", "the node has")


def implied(name: str, kind: str | None) -> dict[str, Any]:
    """What the name of a VLAN says."""
    below, custom = re.fullmatch(r"(.+)\.(\d+)", name), re.fullmatch(r"vlan(\d+)", name)
    if kind != "vlan":
        return {}
    if below:
        return {"vlan_raw_device": below[1], "vlan_id": int(below[2])}
    return {"vlan_id": int(custom[1])} if custom else {}


def ports(item: dict[str, Any]) -> list[str]:
    return [port for key in PORTS for port in item.get(key, ())]


def found(config: Config, name: str) -> dict[str, Any] | None:
    """An interface; a VLAN that is a port of a bridge needs no entry of its own."""
    raw = implied(name, "vlan").get("vlan_raw_device")
    return config.get(name) or ({"type": "vlan", **implied(name, "vlan")} if raw and raw in config else None)


def mtu(config: Config, name: str, least: int) -> int:
    """The MTU of what lies below an interface; a bond without one takes what it is given, a VLAN on it does not."""
    item = config.get(name) or config[found(config, name)["vlan_raw_device"]]
    bond = item.get("type") == "bond" and name in config
    return item.get("mtu") or (max(least, DEFAULT_MTU) if bond else DEFAULT_MTU)


def settled(config: Config) -> Config:
    """What Proxmox VE makes of interfaces when it writes them."""
    after = {name: dict(item) for name, item in config.items()}
    bridge_of = {port: name for name, item in after.items() for port in item.get("ovs_ports", ())}
    for name, item in after.items():
        if item.get("type") == "OVSPort" and name not in bridge_of:
            after[name] = {"type": "eth"}
        elif item.get("type") == "eth" and name in bridge_of:
            item["type"] = "OVSPort"
        if after[name].get("type") in MEMBERS:
            after[name].pop("autostart", None)
            if name in bridge_of:
                after[name]["ovs_bridge"] = bridge_of[name]
        if not item.get("bridge_vlan_aware"):
            item.pop("bridge_vids", None)
        if item.get("type") == "bond" and item.get("bond_mode") not in HASHED:
            item.pop("bond_xmit_hash_policy", None)
        if item.get("type") == "bond" and item.get("bond_mode") != "active-backup":
            item.pop("bond_primary", None)
        item.update(implied(name, item.get("type")))
    for item in after.values():
        for slave in (*item.get("slaves", ()), *item.get("ovs_bonds", ())):
            if slave in after:
                after[slave]["autostart"] = True
    return after


def refusals(config: Config) -> Iterator[tuple[str, str]]:
    """What Proxmox VE refuses of a whole configuration: the interface, and a sentence."""
    users: dict[str, str] = {}
    gateways: dict[str, str] = {}
    for name, item in config.items():
        for port in ports(item):
            if users.setdefault(port, name) != name:
                yield name, f"'{port}' is used by '{users[port]}' already, take it from there"
        for key in ("gateway", "gateway6"):
            if item.get(key) and gateways.setdefault(key, name) != name:
                yield name, f"{key}: '{gateways[key]}' has the default gateway already, take it from there"
        yield from ((name, text) for text in port_refusals(config, item))
        yield from ((name, text) for text in type_refusals(config, name, item))


def port_refusals(config: Config, item: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the ports and slaves of an interface."""
    allowed = {"slaves": ("eth", "bond"), "ovs_bonds": ("eth",), "ovs_ports": ("eth", *MEMBERS)}
    own = item.get("mtu") or 0
    for key in PORTS:
        for port in item.get(key, ()):
            below = found(config, port) if key == "bridge_ports" else config.get(port)
            if below is None:
                yield Missing(f"{key}: there is no interface '{port}', {known(port, config)}")
                continue
            kind = below.get("type")
            if key in allowed and kind not in allowed[key]:
                yield f"{key}: '{port}' is of type {kind}, and only {' or '.join(allowed[key])} can be there"
            address = below.get("cidr") or below.get("cidr6")
            if key == "bridge_ports" and host(address):
                yield f"{key}: '{port}' has the address {address}, give that to the bridge and take it from the port"
            theirs = below.get("mtu") or 0
            if key == "bridge_ports" and own > mtu(config, port, own):
                yield f"mtu {own} is more than that of '{port}', raise that as well"
            if key != "bridge_ports" and theirs > (own or (theirs if item["type"] == "bond" else DEFAULT_MTU)):
                yield f"mtu {own or DEFAULT_MTU} is less than that of '{port}' ({theirs}), raise it"


def type_refusals(config: Config, name: str, item: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a VLAN, an alias, a bond or a port of Open vSwitch."""
    kind = item.get("type")
    if kind == "alias" and name.partition(":")[0] not in config:
        below = name.partition(":")[0]
        yield Missing(f"there is no interface '{below}', {known(below, set(config) - {name})}")
    if kind == "vlan":
        raw, own = item.get("vlan_raw_device"), item.get("mtu") or 0
        below = config.get(raw or "")
        if not raw or not item.get("vlan_id"):
            yield "vlan_raw_device and vlan_id are missing, give them or a name such as eno1.5"
        elif below is None:
            yield Missing(f"vlan_raw_device: there is no interface '{raw}', {known(raw, set(config) - {name})}")
        elif below.get("type") not in ("eth", "bridge", "bond", "vlan"):
            yield f"vlan_raw_device: '{raw}' is of type {below.get('type')}, which carries no VLANs here"
        elif own > mtu(config, raw, own):
            yield f"mtu {own} is more than that of '{raw}', raise that as well"
    if kind == "bond" and item.get("bond_primary") and item["bond_primary"] not in item.get("slaves", ()):
        yield f"bond_primary: '{item['bond_primary']}' is not among the slaves, add it"
    if kind in MEMBERS:
        bridge = item.get("ovs_bridge")
        if not bridge:
            yield "ovs_bridge is missing"
        elif config.get(bridge, {}).get("type") != "OVSBridge":
            text = f"ovs_bridge: there is no bridge '{bridge}' of type OVSBridge, create it as well"
            yield text if bridge in config else Missing(text)
        elif name not in config[bridge].get("ovs_ports", ()):
            yield f"ovs_bridge: '{name}' is not among the ovs_ports of '{bridge}', add it"


def beneath(config: Config, name: str) -> list[str]:
    """What an interface consists of, or is on."""
    item = found(config, name) or {}
    return [*ports(item), *filter(None, [item.get("vlan_raw_device")])]


def circle(config: Config, name: str) -> str | None:
    """What makes an interface be below itself, if anything does."""
    for first in beneath(config, name):
        seen: set[str] = set()
        queue = [first]
        while queue:
            other = queue.pop()
            if other == name:
                return first
            queue += [] if other in seen else beneath(config, other)
            seen.add(other)
    return None


def mistakes(config: Config, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What Proxmox VE would take, and nobody means."""
    for name in names:
        item = config.get(name, {})
        by = circle(config, name)
        if by:
            yield name, f"it would be below itself, by {by}, choose other ports or another vlan_raw_device"
        for key, gateway in (("cidr", "gateway"), ("cidr6", "gateway6")):
            own = host(item.get(key))
            if item.get(gateway) and not item.get(key):
                yield name, f"{gateway} is {item[gateway]} and there is no {key}, give one or an empty {gateway}"
            if own and str(own) == item.get(gateway):
                yield name, f"{gateway} {own} is the interface's own address, write that of the router"
            for other, theirs in config.items():
                if own and other != name and host(theirs.get(key)) == own:
                    yield name, f"{key}: {own} is the address of '{other}' already, give another one"


# ------------------------------------------------------------------------------------------------------ planning


class Step(NamedTuple):
    """One write: the interface as it was and as it is to be (``None`` if it is not there)."""

    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def perform(config: Config, step: Step) -> Config:
    """The interfaces after one write."""
    after = {name: dict(item) for name, item in config.items()}
    member = (step.after or step.before or {}).get("type") in ("OVSBond", "OVSIntPort")
    bridge = after.get((step.after or step.before or {}).get("ovs_bridge", ""))
    if step.after is None:
        del after[step.name]
    else:
        after[step.name] = dict(step.after)
    if member and bridge is not None and (step.before is None or step.after is None):
        # A new port of this kind is added to its bridge, and one that goes is taken from it.
        others = [port for port in bridge.get("ovs_ports", ()) if port != step.name]
        bridge["ovs_ports"] = sorted([*others, *([step.name] if step.after is not None else [])])
    return settled(after)


def released(now: dict[str, Any] | None, goal: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """An interface on its way, without what another one may be waiting for."""
    item, kept = dict(now if now is not None else goal or {}), goal or {}
    for key in PORTS:
        item[key] = [port for port in item.get(key, ()) if now is not None and port in kept.get(key, ())]
    for key in ("cidr", "cidr6", "gateway", "gateway6"):
        if now is None or item.get(key) != kept.get(key):
            item.pop(key, None)
    # What limits the packets of others may have to allow more of them before, and what is limited to ask for less.
    sizes = sorted({item.get("mtu"), kept.get("mtu")}, key=lambda size: size or DEFAULT_MTU)
    for size in sizes:
        yield {key: value for key, value in {**item, "mtu": size}.items() if value not in EMPTY}


def plan(current: Config, goal: Config) -> list[Step]:
    """The writes that make the goal of the current interfaces, each of which Proxmox VE accepts.

    It checks the whole configuration at every write, so what is taken from one interface has to be free before it is
    given to another one.
    """
    state, steps = settled(current), []
    wrong = set(refusals(state))
    goal = settled(goal)
    seen = [state]

    def take(name: str, after: dict[str, Any] | None) -> bool:
        nonlocal state, wrong
        step = Step(name, state.get(name), after)
        if step.before == after:
            return False
        there = perform(state, step)
        if there.get(name) != after or there in seen or not set(refusals(there)) <= wrong:
            return False
        state, wrong = there, set(refusals(there))
        seen.append(there)
        steps.append(step)
        return True

    def differing() -> list[str]:
        return sorted(name for name in {*state, *goal} if state.get(name) != goal.get(name))

    waiting = differing()
    for _step in range(4 * len(waiting)):
        if not any(take(name, goal.get(name)) for name in waiting):
            any(take(name, way) for name in waiting for way in released(state.get(name), goal.get(name)))
        waiting = differing()
    if waiting:
        raise PveError(f"Proxmox VE takes no order of changes to {', '.join(waiting)}: make them in two runs.")
    return steps


# --------------------------------------------------------------------------------------------------------- guard


def ways(config: Config, name: str, tags: tuple[int, ...] = ()) -> set[tuple[str, tuple[int, ...]]]:
    """The cards that an interface reaches the network by, each with the VLANs on the way."""
    item = found(config, name) or {}
    kind = item.get("type")
    below = ports(item)
    if kind == "vlan":
        below, tags = [item.get("vlan_raw_device", "")], (*tags, item.get("vlan_id", 0))
    elif kind == "OVSIntPort":
        below, tags = [item.get("ovs_bridge", "")], (*tags, item.get("ovs_tag", 0))
        # Of the bridge, the other ports lead on.
        others = [port for port in config.get(below[0], {}).get("ovs_ports", ()) if port != name]
        below = [port for port in others if config.get(port, {}).get("type") != "OVSIntPort"]
    elif kind == "alias":
        below = [name.partition(":")[0]]
    if not below:
        return {(name, tags)}
    return {way for port in below for way in ways(config, port, tags)}


def chain(config: Config, name: str) -> set[str]:
    """An interface and all that is below it."""
    item = found(config, name) or {}
    below = {*ports(item), item.get("vlan_raw_device"), item.get("ovs_bridge"), name.partition(":")[0]} - {None, name}
    return {name, *(other for port in below for other in chain({**config, name: {}}, port))}


def carrier(config: Config, address: str) -> tuple[str, str] | None:
    """The interface that has an address, and the address with its prefix length."""
    for name, item in config.items():
        for key in ("cidr", "cidr6"):
            if host(item.get(key)) == ipaddress.ip_address(address):
                return name, item[key]
    return None


def lockouts(current: Config, goal: Config, addresses: Iterable[str]) -> list[str]:
    """A sentence for everything by which the node might no longer be reached at an address that it has."""
    sentences = []
    carriers = [(address, carrier(current, address)) for address in dict.fromkeys(addresses)]
    for address, has in carriers:
        if has is None:
            continue
        name, cidr = has
        will = carrier(goal, address)
        if will is None or will[1] != cidr:
            sentences.append(f"'{name}' would have {will[1] if will else 'another address or none'} instead of {cidr}")
            continue
        after = will[0]
        if current[name].get("autostart") and not goal[after].get("autostart") and goal[after]["type"] not in MEMBERS:
            sentences.append(f"'{after}' with {cidr} would not be started")
        for leaf, tags in sorted(ways(current, name) - ways(goal, after)):
            by = f"{leaf} (VLAN {' in '.join(map(str, tags))})" if tags else leaf
            sentences.append(f"'{after}' with {cidr} would lose its way by {by}")
        for other in sorted(chain(current, name) & set(goal)):
            was, will_be = (config[other].get("bond_mode") for config in (current, goal))
            if was != will_be:
                sentences.append(f"'{other}' below {cidr} would change its bond_mode")
    versions = {ipaddress.ip_address(address).version for address, has in carriers if has}
    for version, key in ((4, "gateway"), (6, "gateway6")):
        was, will_be = ([item[key] for item in config.values() if item.get(key)] for config in (current, goal))
        if version in versions and was and was != will_be:
            sentences.append(f"the default gateway would be {will_be[0] if will_be else 'none'} instead of {was[0]}")
    return sentences
