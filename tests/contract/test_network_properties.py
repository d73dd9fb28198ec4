# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From any valid set of interfaces to any other: what was predicted happens, nothing is left behind, and only once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import fakepve
import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, PveError
from ansible_collections.onprem.cloud.plugins.modules.pve_network import BELONGS, TABLE
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.contract.running import Run
from tests.contract.serving import Api
from tests.lab.network import INTERFACE, INTERFACES, addressed, with_methods, written

Item = dict[str, Any]
CARDS = ("eno1", "eno2", "eno3", "eno4")
MTUS = (None, 1400, 9000)
ADDRESSES = {
    "cidr": ("198.51.100.2/24", "198.51.100.3/24", "203.0.113.2/25"),
    "cidr6": ("2001:db8::2/64", "2001:db8:1::2/48"),
}
GATEWAYS = {"cidr": ("gateway", "198.51.100.1"), "cidr6": ("gateway6", "2001:db8::1")}
COMMENTS = st.sampled_from(["one", "two\nlines", "# é"])
# What an option that is not wanted is given as.
NOTHING = {"list": [], "int": 0, "bool": False, "str": ""}


def limit(config: dict[str, Item], name: str) -> int:
    """The MTU that what is on top of an interface may have."""
    item = config.get(name) or config[name.rpartition(".")[0]]
    return item.get("mtu") or (9000 if item["type"] == "bond" and name in config else 1500)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Item]:
    """Interfaces of every type by name, each with its options as far as they are not the default."""

    def one_of(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    def size(item: Item, least: int, most: int) -> None:
        chosen = one_of(*(mtu for mtu in MTUS if least <= (mtu or 1500) <= most))
        item.update({"mtu": chosen} if chosen else {})

    bridges = [name for name in ("vmbr0", "vmbr1") if draw(st.booleans())]
    bonds = ["bond0"] if draw(st.booleans()) else []
    switched = draw(st.booleans())
    members = [name for name in ("bond1", "in0") if switched and draw(st.booleans())]
    places = ["", *bridges, *bonds, *(["vmbr3"] if switched else []), *(["bond1"] if "bond1" in members else [])]
    place = {card: one_of(*places) for card in CARDS}

    def placed(at: str) -> list[str]:
        return [card for card in CARDS if place[card] == at]

    config: dict[str, Item] = {}
    for card in CARDS:
        config[card] = {"type": "OVSPort" if place[card] == "vmbr3" else "eth"}
        size(config[card], 0, 9000)
    for bond in bonds:
        mode = one_of("balance-rr", "active-backup", "802.3ad")
        config[bond] = {"type": "bond", "slaves": placed(bond), "bond_mode": mode}
        size(config[bond], max([config[card].get("mtu", 0) for card in placed(bond)], default=0), 9000)
        if mode == "802.3ad" and draw(st.booleans()):
            config[bond]["bond_xmit_hash_policy"] = one_of("layer2+3", "layer3+4")
        if mode == "active-backup" and placed(bond) and draw(st.booleans()):
            config[bond]["bond_primary"] = one_of(*placed(bond))
    free = [*placed(""), *bonds]
    tagged = [f"{name}.9" for name in free if draw(st.booleans())]
    on_bridges = {name: one_of("", *bridges) for name in (*bonds, *tagged)}
    for bridge in bridges:
        ports = sorted([*placed(bridge), *(name for name in on_bridges if on_bridges[name] == bridge)])
        config[bridge] = {"type": "bridge", "bridge_ports": ports}
        size(config[bridge], 0, min([limit(config, port) for port in ports], default=9000))
        if draw(st.booleans()):
            config[bridge]["bridge_vlan_aware"] = True
            config[bridge]["bridge_vids"] = one_of(["2-4094"], ["5", "7-9"])
    for member in members:
        below = {"ovs_bonds": placed("bond1"), "bond_mode": one_of("active-backup", "lacp-balance-tcp")}
        config[member] = {"type": "OVSBond", **below} if member == "bond1" else {"type": "OVSIntPort"}
        slowest = max([config[card].get("mtu", 0) for card in placed("bond1")], default=0) if member == "bond1" else 0
        size(config[member], slowest, 9000)
    ports = sorted([*placed("vmbr3"), *members])
    for port in ports:
        config[port]["ovs_bridge"] = "vmbr3"
        if draw(st.booleans()):
            config[port]["ovs_tag"] = one_of(5, 6)
        if draw(st.booleans()):
            config[port]["ovs_options"] = ["trunks=7,8", "vlan_mode=trunk"]
    if switched:
        config["vmbr3"] = {"type": "OVSBridge", "ovs_ports": ports}
        size(config["vmbr3"], max([config[port].get("mtu", 0) for port in ports], default=0), 9000)
    for name in [f"{one_of(*free)}.9"] * draw(st.booleans()) if free else []:
        raw = name.rpartition(".")[0]
        config[name] = {"type": "vlan", "vlan_raw_device": raw, "vlan_id": 9}
        # As long as nothing is known of it, a port takes its packets from what it is on.
        size(config[name], min(limit(config, raw), 1500) if on_bridges.get(name) else 0, limit(config, raw))
        if on_bridges.get(name) and config[on_bridges[name]].get("mtu", 0) > limit(config, name):
            del config[name]
    for name in ("vlan7", "store"):
        below = [other for other in config if config[other]["type"] in ("eth", "bond", "bridge", "vlan")]
        if below and draw(st.booleans()):
            raw = one_of(*below)
            config[name] = {"type": "vlan", "vlan_raw_device": raw, "vlan_id": 7 if name == "vlan7" else one_of(8, 9)}
            size(config[name], 0, limit(config, raw))
    if draw(st.booleans()):
        config[f"{one_of('eno1', *bridges)}:1"] = {"type": "alias"}

    used = {port for item in config.values() for port in item.get("bridge_ports", ())}
    slaves = {port for item in config.values() for key in ("slaves", "ovs_bonds") for port in item.get(key, ())}
    for name, item in config.items():
        if draw(st.booleans()):
            item["comments"] = draw(COMMENTS)
        if name in slaves or ("autostart" in BELONGS[item["type"]] and draw(st.booleans())):
            item["autostart"] = True
    for key, choices in ADDRESSES.items():
        able = [name for name, item in config.items() if key in BELONGS[item["type"]] and name not in used]
        holders = draw(st.lists(st.sampled_from(able), max_size=len(choices), unique=True)) if able else []
        for name, address in zip(holders, draw(st.permutations(choices))):
            config[name][key] = address
        if holders and draw(st.booleans()):
            gateway, address = GATEWAYS[key]
            config[one_of(*holders)][gateway] = address
    return {name: {key: value for key, value in item.items() if value != []} for name, item in config.items()}


def stored(config: dict[str, Item]) -> dict[str, Item]:
    """The interfaces as Proxmox VE has them in its file."""
    options = TABLE.options
    keys = {name: option.key or name.replace("_", "-") for name, option in options.items()}
    return written(
        {
            name: with_methods(addressed({keys[key]: options[key].kind.format(value) for key, value in item.items()}))
            for name, item in config.items()
        }
    )


def in_order(config: dict[str, Item]) -> dict[str, Item]:
    """Ports have no order, and what is added to them comes last."""
    return {
        name: {key: " ".join(sorted(value.split())) if key == "ovs_ports" else value for key, value in item.items()}
        for name, item in config.items()
    }


def described(before: dict[str, Item], after: dict[str, Item], whole: bool) -> list[Item]:
    """What a user writes to get from one to the other: everything, or what is another one."""
    wanted: list[Item] = [{"iface": name, "state": "absent"} for name in before if name not in after]
    for name, item in after.items():
        was = before.get(name, {})
        if item == {"type": "eth"} and whole:
            wanted.append({"iface": name, "state": "absent"})
            continue
        said = dict(item)
        for key in BELONGS[item["type"]] - item.keys() - {"vlan_raw_device", "vlan_id", "ovs_bridge"}:
            usual = "active-backup" if item["type"] == "OVSBond" else TABLE.options[key].default
            said[key] = usual if "choices" in TABLE.options[key].spec else NOTHING[TABLE.options[key].spec["type"]]
        if not whole and was:
            said = {key: value for key, value in said.items() if was.get(key) != item.get(key)}
        if said.get("ovs_options"):
            said["ovs_options"] = " ".join(said["ovs_options"])
        wanted.append({"iface": name, **said})
    return wanted


class Direct:
    """The requests of the module, answered by the served API's own handlers without a connection in between."""

    def __init__(self, api: Api) -> None:
        self.api, self.seen = api, []
        routes = [*api.pve._routes_interfaces(), ("GET", INTERFACES, api.pve._node_network)]
        self.handlers = {(verb, template == INTERFACE): handler for verb, template, handler in routes}

    def request(self, client: Client, method: str, path: str, values: Item) -> Any:
        name = path.removeprefix("/nodes/pve1/network").strip("/")
        self.seen.append(method)
        given = {"node": "pve1", **({"iface": name} if name else {}), **values}
        try:
            answer = self.api.call(self.handlers[method, bool(name)](given, "root@pam"))
        except fakepve.PveError as error:
            raise PveError(error.message, status=error.status) from error
        client.threads.attributes = {"changes": self.api.pve.staged_diff("pve1")}
        # Nothing is asked of the task that applies it all, as it is over.
        return None if method == "PUT" else answer


@pytest.fixture
def api() -> Any:
    with tempfile.TemporaryDirectory() as directory:
        served = Api(Path(directory))
        yield served
        served.stop()


def test_any_interfaces_become_any_others(api: Api) -> None:
    run, direct, tried = Run(api), Direct(api), []

    def ran(options: Item, check: bool = False) -> tuple[Item, list[str]]:
        direct.seen = []
        with mock.patch.object(Client, "_request", lambda *request: direct.request(*request)):
            result = run("pve_network", options, check=check)
        return {key: result[key] for key in ("changed", "applied", "diff")}, direct.seen

    @settings(max_examples=500, phases=[Phase.generate])
    @given(configurations(), configurations(), st.booleans())
    def transition(before, after, whole):
        tried.append(after)
        api.pve.staged_interfaces.clear()
        api.pve.interfaces["pve1"] = stored(before)
        options = {"node": "pve1", "force": True, "interfaces": described(before, after, whole)}
        predicted, asked = ran(options, check=True)
        assert set(asked) == {"GET"}
        real, _asked = ran(options)
        assert real == predicted
        found, expected = in_order(api.pve.interfaces["pve1"]), stored(after)
        assert {name: found.get(name) for name in {*found, *expected} if found.get(name) != expected.get(name)} == {}
        again, asked = ran(options)
        assert not again["changed"], again["diff"]
        assert asked == ["GET"]

    transition()
    assert len(tried) >= 500
