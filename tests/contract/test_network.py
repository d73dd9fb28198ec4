# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces of a node: planned, staged and applied together, and nobody locked out."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
from pathlib import Path

import pytest
import requests
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, Unreachable

from tests.contract import pvesh

NODE = {"node": "pve1"}
PATH = "/nodes/pve1/network"


@pytest.fixture
def node(api):
    """A node with four cards, the first of which is below the bridge with the node's address."""
    for number in (1, 2, 3, 4):
        api.pve.add_interface("pve1", f"eno{number}")
    api.pve.add_interface(
        "pve1",
        "vmbr0",
        type="bridge",
        autostart=1,
        cidr="192.0.2.11/24",
        gateway="192.0.2.1",
        bridge_ports="eno1",
    )
    api.requests()
    return api.pve


@pytest.fixture
def net(run, node):
    """Runs the module, in check mode before, whose prediction has to be right."""

    def network(*interfaces, **options):
        given = {**NODE, "interfaces": list(interfaces), **options}
        run.api.requests()
        predicted = run("pve_network", given, check=True)
        assert run.api.writes() == []
        real = run("pve_network", given)
        for key in ("changed", "applied", "diff"):
            assert predicted[key] == real[key], key
        return real

    return network


@pytest.fixture
def kept(run, node):
    """A run that finds nothing to do, and asks little."""

    def nothing(*interfaces, **options):
        run.api.requests()
        result = run("pve_network", {**NODE, "interfaces": list(interfaces), **options})
        assert not result["changed"], result["diff"]
        assert not result["applied"]
        assert [(request.method, request.path) for request in run.api.requests()] == [("GET", PATH)]
        return result

    return nothing


def writes(api):
    return [(request.method, request.path.removeprefix(PATH)) for request in api.writes()]


# -------------------------------------------------------------------------------------------- whole lives

# Type, what an interface of it is created with, and what is changed of it, one by one.
LIVES = {
    "vmbr1": (
        {
            "type": "bridge",
            "cidr": "198.51.100.2/24",
            "cidr6": "2001:db8::2/64",
            "bridge_ports": ["eno3", "eno2"],
            "bridge_vlan_aware": True,
            "bridge_vids": ["2-10", "20"],
            "comments": "for guests\nof others",
            "mtu": 1400,
        },
        {
            "cidr": "198.51.100.3/25",
            "cidr6": "",
            "gateway6": "2001:db8::1",
            "bridge_ports": ["eno2"],
            "bridge_vlan_aware": False,
            "bridge_vids": ["30"],
            "comments": "mine",
            "mtu": 1500,
            "autostart": False,
        },
        [
            {"bridge_ports": "eno2 eno3"},
            {"cidr": None, "address": "198.51.100.2", "netmask": "255.255.255.0"},
            {"cidr": None, "address": "198.51.100.2", "netmask": "24"},
            {"cidr6": "2001:DB8:0::2/64"},
            {"bridge_vids": "20;3,4-10 2-5"},
            {"comments": "for guests  \nof others\n"},
            {"autostart": True},
        ],
    ),
    "bond0": (
        {"type": "bond", "slaves": ["eno3", "eno2"], "bond_mode": "802.3ad", "bond_xmit_hash_policy": "layer2"},
        {"slaves": ["eno2"], "bond_mode": "active-backup", "bond_xmit_hash_policy": "layer3+4", "mtu": 9000},
        [{"slaves": "eno2,eno3"}],
    ),
    "vlan7": (
        {"type": "vlan", "vlan_raw_device": "eno2", "cidr": "198.51.100.2/24"},
        {"vlan_raw_device": "eno3", "cidr": "", "comments": "seven", "autostart": False},
        [{"vlan_id": 7}],
    ),
    "storage": (
        {"type": "vlan", "vlan_raw_device": "eno2", "vlan_id": 7},
        {"vlan_id": 8, "mtu": 1400},
        [],
    ),
    "eno2.7": (
        {"type": "vlan", "cidr": "198.51.100.2/24"},
        {"cidr": "198.51.100.3/24", "mtu": 1400},
        [{"vlan_raw_device": "eno2", "vlan_id": 7}],
    ),
    "eno2:1": ({"type": "alias", "cidr": "198.51.100.2/24"}, {"cidr": "198.51.100.3/24"}, []),
    "vmbr3": (
        {"type": "OVSBridge", "ovs_ports": ["eno2"]},
        {"ovs_ports": ["eno3"], "mtu": 1400, "ovs_options": "b=1 a=2"},
        [],
    ),
}


@pytest.mark.parametrize("name", LIVES)
def test_whole_life(api, net, kept, name):
    created, changes, spellings = LIVES[name]
    whole = {"iface": name, **created}
    kept({"iface": name, "state": "absent"})
    result = net(whole)
    assert result["diff"]["before"] == {} or name not in result["diff"]["before"]
    kept(whole)
    kept({"iface": name})
    for spelling in spellings:
        kept({key: value for key, value in {**whole, **spelling}.items() if value is not None})
    for option, value in changes.items():
        result = net({"iface": name, option: value})
        changed = {key for side in ("before", "after") for key in result["diff"][side].get(name, {})}
        assert option in changed
        kept({"iface": name, option: value})
        # What somebody else changed comes back, and is not changed on the way.
        net({**whole, "autostart": True})
        kept(whole)
    assert net({"iface": name, "state": "absent"})["diff"]["after"].get(name) is None
    kept({"iface": name, "state": "absent"})
    assert name not in api.pve.interfaces["pve1"]


def test_a_card_keeps_its_place(api, net, kept):
    net({"iface": "eno2", "cidr": "198.51.100.2/24", "mtu": 9000, "autostart": True, "comments": "fast"})
    result = net({"iface": "eno2", "state": "absent"})
    assert result["diff"]["after"] == {"eno2": {}}
    assert result["interfaces"][0]["iface"] == "eno2"
    kept({"iface": "eno2", "state": "absent"})
    assert api.pve.interfaces["pve1"]["eno2"] == {
        "type": "eth", "method": "manual", "method6": "manual", "families": ["inet"]
    }  # fmt: skip


def test_numbers_can_be_taken_away(net, kept):
    net({"iface": "vmbr1", "type": "bridge", "mtu": 1400})
    assert net({"iface": "vmbr1", "mtu": 0})["diff"] == {"before": {"vmbr1": {"mtu": 1400}}, "after": {"vmbr1": {}}}
    kept({"iface": "vmbr1", "mtu": 0})


def test_everything_of_open_vswitch_at_once(api, net, kept):
    """Internal ports and bonds are added to their bridge by Proxmox VE, cards become ports by it."""
    interfaces = [
        {"iface": "admin0", "type": "OVSIntPort", "ovs_bridge": "vmbr3", "ovs_tag": 5, "cidr": "198.51.100.2/24"},
        {"iface": "bond1", "type": "OVSBond", "ovs_bridge": "vmbr3", "ovs_bonds": ["eno3", "eno2"]},
        {"iface": "eno4", "type": "OVSPort", "ovs_bridge": "vmbr3", "ovs_tag": 6},
        {"iface": "vmbr3", "type": "OVSBridge"},
    ]
    net(*interfaces)
    kept(*interfaces)
    assert api.pve.interfaces["pve1"]["vmbr3"]["ovs_ports"].split() == ["admin0", "bond1", "eno4"]
    assert api.pve.interfaces["pve1"]["eno4"]["type"] == "OVSPort"
    kept({"iface": "vmbr3", "ovs_ports": ["eno4", "bond1", "admin0"]})
    net({"iface": "bond1", "bond_mode": "balance-slb"}, {"iface": "admin0", "ovs_tag": 0})
    net({"iface": "bond1", "state": "absent"}, {"iface": "eno4", "state": "absent"})
    assert api.pve.interfaces["pve1"]["vmbr3"]["ovs_ports"] == "admin0"
    assert api.pve.interfaces["pve1"]["eno4"]["type"] == "eth"
    net({"iface": "vmbr3", "state": "absent"}, {"iface": "admin0", "state": "absent"})
    assert sorted(api.pve.interfaces["pve1"]) == ["eno1", "eno2", "eno3", "eno4", "vmbr0"]


# ------------------------------------------------------------------------------------- staged and applied

VMBR1 = {"iface": "vmbr1", "type": "bridge", "bridge_ports": ["eno2"]}


def test_all_is_applied_once(api, run, node):
    run(
        "pve_network",
        {**NODE, "interfaces": [VMBR1, {"iface": "vmbr1.5", "type": "vlan"}, {"iface": "eno3", "mtu": 9000}]},
    )
    requests = writes(api)
    assert sorted(requests[:3]) == [("POST", ""), ("POST", ""), ("PUT", "/eno3")]
    assert requests[3:] == [("PUT", "")]
    assert api.pve.staged_interfaces == {}


def test_a_change_takes_few_requests(api, run, node):
    run("pve_network", {**NODE, "interfaces": [VMBR1]})
    requests = [(request.method, request.path.split("/")[-1]) for request in api.requests()]
    assert requests == [
        ("GET", "network"), ("GET", "vmbr1"), ("GET", "status"), ("POST", "network"), ("GET", "network"),
        ("PUT", "network"), ("GET", "status"), ("GET", "network"),
    ]  # fmt: skip


def test_interfaces_that_are_not_listed_are_left_alone(api, net):
    before = dict(api.pve.interfaces["pve1"])
    net(VMBR1)
    net({"iface": "vmbr1", "state": "absent"})
    assert api.pve.interfaces["pve1"] == before


def test_an_update_does_not_lose_the_address(api, net):
    """Proxmox VE makes an interface one without an address if an update does not repeat it."""
    net({**VMBR1, "cidr": "198.51.100.2/24", "cidr6": "2001:db8::2/64"})
    net({"iface": "vmbr1", "comments": "mine"})
    item = api.pve.interfaces["pve1"]["vmbr1"]
    assert (item["method"], item["address"], item["netmask"]) == ("static", "198.51.100.2", "24")
    assert (item["method6"], item["address6"], item["families"]) == ("static", "2001:db8::2", ["inet", "inet6"])


def test_a_bridge_that_knows_no_vlans_is_not_made_to(api, net, kept):
    """Proxmox VE takes any value of bridge_vlan_aware for yes."""
    net({**VMBR1, "bridge_vlan_aware": False})
    assert "bridge_vlan_aware" not in api.pve.interfaces["pve1"]["vmbr1"]
    net({"iface": "vmbr1", "bridge_vlan_aware": True})
    kept({"iface": "vmbr1", "bridge_vlan_aware": True, "bridge_vids": "2-4094"})
    net({"iface": "vmbr1", "bridge_vlan_aware": False})
    assert "bridge_vlan_aware" not in api.pve.interfaces["pve1"]["vmbr1"]


def test_a_new_interface_is_started_unless_that_is_not_wanted(api, net):
    net({"iface": "vmbr1", "type": "bridge"}, {"iface": "vmbr2", "type": "bridge", "autostart": False})
    assert api.pve.interfaces["pve1"]["vmbr1"]["autostart"] == 1
    assert "autostart" not in api.pve.interfaces["pve1"]["vmbr2"]


def test_the_network_of_another_node_is_another_one(api, run, node):
    node.nodes["pve2"] = {"online": True}
    node.add_interface("pve2", "eno1")
    before = dict(node.interfaces["pve1"])
    run("pve_network", {"node": "pve2", "interfaces": [{"iface": "vmbr7", "type": "bridge", "bridge_ports": ["eno1"]}]})
    assert node.interfaces["pve1"] == before
    assert "vmbr7" in node.interfaces["pve2"]


def test_what_another_administrator_changed_comes_back(api, net, kept):
    whole = {**VMBR1, "cidr": "198.51.100.2/24"}
    net(whole)
    api.pve.add_interface("pve1", "vmbr1", type="bridge", bridge_ports="eno3", cidr="198.51.100.9/24", comments="other")
    result = net(whole)
    assert result["diff"] == {
        "before": {"vmbr1": {"cidr": "198.51.100.9/24", "bridge_ports": ["eno3"]}},
        "after": {"vmbr1": {"cidr": "198.51.100.2/24", "bridge_ports": ["eno2"]}},
    }
    assert result["interfaces"][0]["comments"] == "other\n"


# ------------------------------------------------------------------------------- what moves between interfaces


def test_an_address_moves_from_a_card_to_a_bridge(api, net, kept):
    net({"iface": "eno2", "cidr": "198.51.100.2/24", "gateway6": "2001:db8::1", "cidr6": "2001:db8::2/64"})
    moved = [
        {**VMBR1, "cidr": "198.51.100.2/24", "gateway6": "2001:db8::1", "cidr6": "2001:db8::2/64"},
        {"iface": "eno2", "cidr": "", "cidr6": "", "gateway6": ""},
    ]
    net(*moved)
    kept(*moved)


def test_a_bond_comes_between_a_bridge_and_its_card(api, net, kept):
    net(VMBR1)
    between = [
        {"iface": "vmbr1", "bridge_ports": ["bond0"]},
        {"iface": "bond0", "type": "bond", "slaves": ["eno2", "eno3"], "bond_mode": "active-backup"},
    ]
    net(*between)
    kept(*between)
    assert api.pve.interfaces["pve1"]["vmbr1"]["bridge_ports"] == "bond0"
    net({"iface": "bond0", "state": "absent"}, {"iface": "vmbr1", "bridge_ports": ["eno2"]})


def test_two_bridges_swap_their_cards(api, net, kept):
    net(VMBR1, {"iface": "vmbr2", "type": "bridge", "bridge_ports": ["eno3"]})
    swapped = [{"iface": "vmbr1", "bridge_ports": ["eno3"]}, {"iface": "vmbr2", "bridge_ports": ["eno2"]}]
    net(*swapped)
    kept(*swapped)


def test_large_packets_come_and_go_on_every_level(api, net, kept):
    levels = [{**VMBR1, "mtu": 9000}, {"iface": "eno2", "mtu": 9000}, {"iface": "vmbr1.5", "type": "vlan", "mtu": 9000}]
    net(*levels)
    kept(*levels)
    smaller = [{"iface": item["iface"], "mtu": 1400} for item in levels]
    net(*smaller)
    kept(*smaller)
    net(*({"iface": item["iface"], "mtu": 0} for item in levels))


def test_cards_and_packet_sizes_change_hands_in_open_vswitch(api, net, kept):
    large = [
        {"iface": "vmbr3", "type": "OVSBridge", "mtu": 9000},
        {"iface": "in0", "type": "OVSIntPort", "ovs_bridge": "vmbr3", "mtu": 9000},
        {"iface": "eno2", "type": "OVSPort", "ovs_bridge": "vmbr3", "mtu": 9000, "ovs_tag": 5},
        {"iface": "eno3", "mtu": 9000},
    ]
    net(*large)
    kept(*large)
    small = [
        {"iface": "vmbr3", "mtu": 1400},
        {"iface": "in0", "mtu": 1400},
        {"iface": "eno3", "type": "OVSPort", "ovs_bridge": "vmbr3", "mtu": 1400},
        {"iface": "eno2", "type": "eth", "mtu": 9000, "autostart": True},
    ]
    net(*small)
    kept(*small)
    assert "ovs_tag" not in api.pve.interfaces["pve1"]["eno2"]
    more = [*large[:3], {"iface": "in1", "type": "OVSIntPort", "ovs_bridge": "vmbr3", "mtu": 9000}]
    net(*more, {"iface": "eno3", "state": "absent"})
    kept(*more)


def test_a_vlan_goes_with_what_it_is_on(api, net):
    net(VMBR1, {"iface": "vmbr1.5", "type": "vlan"})
    net({"iface": "vmbr1", "state": "absent"}, {"iface": "vmbr1.5", "state": "absent"})
    assert sorted(api.pve.interfaces["pve1"]) == ["eno1", "eno2", "eno3", "eno4", "vmbr0"]


# ---------------------------------------------------------------------------------------------- bad input


OVS = [{"iface": "vmbr3", "type": "OVSBridge"}]
IN0 = {"iface": "in0", "type": "OVSIntPort", "ovs_bridge": "vmbr3"}
BAD = [
    ([{"iface": "vmbr1"}], "interface 'vmbr1': type is missing, a new interface needs it"),
    ([{"iface": "x y", "type": "bridge"}], "interface 'x y': that is no name"),
    ([{"iface": "vmbr1", "type": "bridge"}] * 2, "interface 'vmbr1': it is given twice"),
    ([{"iface": "eno9", "type": "eth"}], "interface 'eno9': the node has no such card, did you mean 'eno"),
    ([{"iface": "a23456789012345678", "type": "bridge"}], "the name has 18 characters and Linux takes 15"),
    ([{"iface": "team0", "type": "bond"}], "interface 'team0': an interface of type 'bond' is called bond0"),
    ([{"iface": "eno2:1", "type": "bridge"}], "an interface of type 'alias', and no other, has a name such as"),
    ([{"iface": "eno22", "type": "alias"}], "an interface of type 'alias', and no other, has a name such as"),
    ([{"iface": "eno2.1", "type": "bridge"}], "only an interface of type 'vlan' has a name such as eno1.5"),
    ([{"iface": "vmbr0", "type": "bond"}], "type is 'bridge' and cannot be changed to 'bond'"),
    ([{**VMBR1, "bridge_ports": ["eno1"]}], "interface 'vmbr1': 'eno1' is used by 'vmbr0' already"),
    ([{"iface": "bond0", "type": "bond", "slaves": ["vmbr0"]}], "slaves: 'vmbr0' is of type bridge, and only eth"),
    ([{"iface": "bond0", "type": "bond", "bond_mode": "balance-slb"}], "bond_mode 'balance-slb' is not for type"),
    (
        [
            {
                "iface": "bond0",
                "type": "bond",
                "slaves": ["eno2"],
                "bond_mode": "active-backup",
                "bond_primary": "eno3",
            }
        ],
        "bond_primary: 'eno3' is not among the slaves",
    ),
    (
        [{"iface": "bond0", "type": "bond", "bond_xmit_hash_policy": "layer3+4"}],
        "bond_xmit_hash_policy would be 'layer2', as that needs bond_mode balance-xor or 802.3ad: leave it out",
    ),
    (
        [{"iface": "bond0", "type": "bond", "slaves": ["eno2"]}, {"iface": "eno2", "autostart": False}],
        "interface 'eno2': autostart would be 'True', as Proxmox VE decides that for the slaves of a bond",
    ),
    ([{**VMBR1, "bridge_vids": [5]}], "bridge_vids would be '['2-4094']', as that needs bridge_vlan_aware"),
    ([{**VMBR1, "bridge_vids": ["9-5"]}], "bridge_vids: '9-5' is not a VLAN or a range of VLANs"),
    (
        [{"iface": "eno2.5", "type": "vlan", "vlan_id": 6}],
        "vlan_id would be '5', as the name of the interface says",
    ),
    ([{"iface": "vlan5", "type": "vlan"}], "vlan_raw_device and vlan_id are missing"),
    ([{"iface": "lan", "type": "vlan", "vlan_raw_device": "eno2"}], "vlan_raw_device and vlan_id are missing"),
    ([{"iface": "eno2:1", "type": "alias", "cidr": "198.51.100.2"}], "cidr: '198.51.100.2' is not an address with"),
    ([{**VMBR1, "cidr": "198.51.100.0/24"}], "'198.51.100.0/24' is the address of the network or its broadcast"),
    ([{**VMBR1, "cidr": "198.51.100.255/24"}], "is the address of the network or its broadcast"),
    ([{**VMBR1, "cidr": "198.51.100.2/33"}], "cidr: '198.51.100.2/33' is not an address with its prefix length"),
    ([{**VMBR1, "cidr": "2001:db8::2/64"}], "cidr: '2001:db8::2/64' is not an address with its prefix length"),
    ([{**VMBR1, "cidr6": "ff02::1/64"}], "cidr6: 'ff02::1/64' is not the address of a host"),
    ([{**VMBR1, "cidr6": "::ffff:192.0.2.2/120"}], "is not the address of a host"),
    ([{**VMBR1, "cidr": "dhcp"}], "cidr: Proxmox VE cannot set 'dhcp' by its API"),
    ([{**VMBR1, "address": "198.51.100.2"}], "address and netmask need each other, or write cidr"),
    ([{**VMBR1, "address": "198.51.100.2", "netmask": "255.0.255.0"}], "is not an address with its prefix length"),
    ([{**VMBR1, "address6": "2001:db8::2", "cidr6": "2001:db8::2/64"}], "cidr6 and address6 say the same"),
    ([{**VMBR1, "cidr": "192.0.2.11/25"}], "cidr: 192.0.2.11 is the address of 'vmbr0' already"),
    (
        [{**VMBR1, "cidr": "198.51.100.2/24", "gateway": "198.51.100.1"}],
        "interface 'vmbr1': gateway: 'vmbr0' has the default gateway already, take it from there",
    ),
    ([{**VMBR1, "gateway6": "2001:db8::1"}], "gateway6 is 2001:db8::1 and there is no cidr6"),
    (
        [{**VMBR1, "cidr6": "2001:db8::1/64", "gateway6": "2001:db8::1"}],
        "gateway6 2001:db8::1 is the interface's own address",
    ),
    ([{**VMBR1, "cidr6": "fe80::2%vmbr1/64"}], "cidr6: 'fe80::2%vmbr1/64' is not an address with its prefix length"),
    ([{**VMBR1, "gateway6": "fe80::1%vmbr1"}], "gateway6: 'fe80::1%vmbr1' is not an IPv6 address"),
    ([{**VMBR1, "gateway6": "192.0.2.1"}], "gateway6: '192.0.2.1' is not an IPv6 address"),
    ([{**VMBR1, "mtu": 100}], "mtu: 100 is out of range"),
    ([{**VMBR1, "mtu": 9000}], "interface 'vmbr1': mtu 9000 is more than that of 'eno2', raise that as well"),
    (
        [{"iface": "bond0", "type": "bond", "slaves": ["eno2"], "mtu": 1400}, {"iface": "eno2", "mtu": 1500}],
        "interface 'bond0': mtu 1400 is less than that of 'eno2' (1500)",
    ),
    ([{**VMBR1, "slaves": ["eno3"]}], "slaves does not belong to type 'bridge', leave it out or choose type bond"),
    (
        [VMBR1, {"iface": "eno2", "cidr": "198.51.100.2/24"}],
        "bridge_ports: 'eno2' has the address 198.51.100.2/24, give that to the bridge",
    ),
    ([{"iface": "in0", "type": "OVSIntPort", "ovs_bridge": "vmbr0"}], "no bridge 'vmbr0' of type OVSBridge"),
    ([{"iface": "in0", "type": "OVSIntPort"}], "interface 'in0': ovs_bridge is missing"),
    (
        [
            {"iface": "in0", "type": "OVSIntPort", "ovs_bridge": "vmbr3"},
            {"iface": "vmbr3", "type": "OVSBridge", "ovs_ports": ["eno2"]},
        ],
        "ovs_bridge: 'in0' is not among the ovs_ports of 'vmbr3'",
    ),
    ([{"iface": "eno1", "state": "absent"}, {"iface": "eno1.4", "state": "present"}], "type is missing"),
    # What is below itself, Proxmox VE would take.
    ([{**VMBR1, "bridge_ports": ["vmbr1.5"]}], "interface 'vmbr1': it would be below itself, by vmbr1.5, choose other"),
    (
        [
            {"iface": "vlan7", "type": "vlan", "vlan_raw_device": "store"},
            {"iface": "store", "type": "vlan", "vlan_raw_device": "vlan7", "vlan_id": 8},
        ],
        "interface 'vlan7': it would be below itself, by store",
    ),
    # Proxmox VE would read another type from these names.
    (
        [{"iface": "bond7", "type": "vlan", "vlan_raw_device": "eno2", "vlan_id": 7}],
        "interface 'bond7': only an interface of type bond or OVSBond has such a name, choose another one",
    ),
    (
        [*OVS, {"iface": "bond7", "type": "OVSIntPort", "ovs_bridge": "vmbr3"}],
        "only an interface of type bond",
    ),
    ([*OVS, {"iface": "engine", "type": "OVSIntPort", "ovs_bridge": "vmbr3"}], "only a card has such a name"),
    ([*OVS, {**IN0, "ovs_options": "tag=5"}], "ovs_options: 'tag=5' is said with ovs_tag, write it there"),
    ([*OVS, {**IN0, "ovs_options": "trunks=5 native"}], "ovs_options: 'native' is not key=value"),
    ([*OVS, {**IN0, "ovs_options": "trunks=5 trunks=6"}], "ovs_options: 'trunks' is given twice"),
    (
        [*OVS, {"iface": "bond1", "type": "OVSBond", "ovs_bridge": "vmbr3", "ovs_options": "lacp=active"}],
        "ovs_options: 'lacp=active' is said with bond_mode, write it there",
    ),
    (
        [{"iface": "bond0", "type": "bond"}, {**VMBR1, "bridge_ports": ["bond0.5"], "mtu": 9000}],
        "interface 'vmbr1': mtu 9000 is more than that of 'bond0.5', raise that as well",
    ),
]
# Also refused, except in check mode.
MISSING = [
    ([{"iface": "eno9:1", "type": "alias"}], "there is no interface 'eno9', did you mean"),
    ([{**VMBR1, "bridge_ports": ["eno9"]}], "bridge_ports: there is no interface 'eno9', did you mean 'eno"),
    ([{**VMBR1, "bridge_ports": ["eno9.5"]}], "bridge_ports: there is no interface 'eno9.5'"),
    ([{**VMBR1, "bridge_ports": ["zzz"]}], "'zzz', the node has eno1, eno2, eno3, eno4, vmbr0, vmbr1"),
    ([{"iface": "bond0", "type": "bond", "slaves": ["eno9"]}], "slaves: there is no interface 'eno9'"),
    ([{"iface": "eno9.5", "type": "vlan"}], "vlan_raw_device: there is no interface 'eno9', did you mean"),
]


@pytest.mark.parametrize("check", [True, False])
def test_bad_interfaces_are_refused_before_the_first_write(run, node, api, check):
    for interfaces, words in BAD:
        message = run.fails("pve_network", {**NODE, "interfaces": interfaces}, check=check)
        assert "network of node 'pve1': interface '" in message
        assert words in message
    for interfaces, words in MISSING:
        given = {**NODE, "interfaces": interfaces}
        # What comes before in the same run may be about to make it.
        message = str(run("pve_network", given, check=True)["warnings"]) if check else run.fails("pve_network", given)
        assert words in message
    assert api.writes() == []


def test_a_card_may_be_called_by_another_of_its_names(run, api, net, kept):
    api.pve.interfaces["pve1"]["eno2"]["altnames"] = ["enp2s0", "enxaabbccddeeff"]
    net({"iface": "vmbr1", "type": "bridge", "bridge_ports": ["enp2s0"]}, {"iface": "enp2s0", "mtu": 9000})
    assert api.pve.interfaces["pve1"]["vmbr1"]["bridge_ports"] == "eno2"
    api.pve.interfaces["pve1"]["eno2"]["altnames"] = ["enp2s0", "enxaabbccddeeff"]
    kept({"iface": "vmbr1", "bridge_ports": ["enxaabbccddeeff"]}, {"iface": "enp2s0", "mtu": 9000})
    kept({"iface": "v7", "state": "absent"}, {"iface": "eno2"})
    both = [{"iface": "eno2"}, {"iface": "enp2s0", "mtu": 0}]
    message = run.fails("pve_network", {**NODE, "interfaces": both})
    assert "interface 'enp2s0': it is given as 'eno2' as well" in message


def test_an_alias_comes_and_goes_with_what_it_is_on(run, api, net, kept):
    both = [{"iface": "vmbr1:1", "type": "alias", "cidr": "198.51.100.2/24"}, VMBR1]
    net(*both)
    kept(*both)
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "vmbr1", "state": "absent"}]})
    assert "interface 'vmbr1:1': there is no interface 'vmbr1'" in message
    net({"iface": "vmbr1", "state": "absent"}, {"iface": "vmbr1:1", "state": "absent"})


def test_options_of_open_vswitch_may_have_commas(api, net, kept):
    wanted = [*OVS, {**IN0, "ovs_tag": 5, "ovs_options": "vlan_mode=native-untagged trunks=7,8"}]
    net(*wanted)
    kept(*wanted)
    assert sorted(api.pve.interfaces["pve1"]["in0"]["ovs_options"].split()) == [
        "trunks=7,8", "vlan_mode=native-untagged"
    ]  # fmt: skip


def test_the_policy_of_a_bond_goes_back_to_the_usual_one(api, net, kept):
    bond = {"iface": "bond0", "type": "bond", "slaves": ["eno2"], "bond_mode": "802.3ad"}
    net({**bond, "bond_xmit_hash_policy": "layer3+4"})
    net({"iface": "bond0", "bond_xmit_hash_policy": "layer2"})
    assert "bond_xmit_hash_policy" not in api.pve.interfaces["pve1"]["bond0"]
    kept({**bond, "bond_xmit_hash_policy": "layer2"})


def test_what_is_below_something_else_does_not_go(run, api, net):
    net(VMBR1, {"iface": "vmbr1.5", "type": "vlan"})
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "vmbr1", "state": "absent"}]})
    assert "interface 'vmbr1.5': vlan_raw_device: there is no interface 'vmbr1'" in message
    assert "vmbr1" in api.pve.interfaces["pve1"]


def test_dhcp_is_not_lost_by_the_way(run, api, net, kept):
    """The API writes no DHCP, not even where it was."""
    dynamic = api.pve.interfaces["pve1"]["eno4"]
    dynamic.update({"method": "dhcp", "method6": "auto"})
    kept({"iface": "eno4"})
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "eno4", "mtu": 9000}]})
    assert "its IPv4 address comes by dhcp, which Proxmox VE drops when it writes the interface, give cidr" in message
    assert "its IPv6 address comes by auto" in message
    result = net({"iface": "eno4", "mtu": 9000, "cidr": "198.51.100.2/24", "cidr6": ""})
    assert result["diff"] == {
        "before": {"eno4": {"cidr": "dhcp", "cidr6": "auto"}},
        "after": {"eno4": {"cidr": "198.51.100.2/24", "mtu": 9000}},
    }


# ------------------------------------------------------------------------------------ what PVE itself refuses


def test_nothing_is_applied_in_part(run, node, api):
    node.fail("POST", "/nodes/pve1/network", 500, "Open VSwitch is not installed", times=1)
    before = dict(node.interfaces["pve1"])
    interfaces = [{"iface": "eno3", "mtu": 9000}, VMBR1]
    message = run.fails("pve_network", {**NODE, "interfaces": interfaces})
    assert "Open VSwitch is not installed" in message
    assert "What was staged has been taken back, nothing was applied." in message
    assert writes(api) == [("PUT", "/eno3"), ("POST", ""), ("DELETE", "")]
    assert node.interfaces["pve1"] == before
    assert node.staged_interfaces == {}


def test_what_cannot_be_taken_back_is_said(run, node):
    node.fail("POST", "/nodes/pve1/network", 500, "out of paper")
    node.fail("DELETE", "/nodes/pve1/network", 500, "out of ink")
    message = run.fails("pve_network", {**NODE, "interfaces": [VMBR1]})
    assert "out of paper" in message
    assert "What was staged could not be taken back (out of ink" in message


def test_what_reads_back_otherwise_is_not_applied(run, node, api, monkeypatch):
    """Be it that Proxmox VE made something else of it, or that somebody else is at work."""
    post = Client.post
    monkeypatch.setattr(Client, "post", lambda self, path, /, **data: post(self, path, **data, comments="other"))
    message = run.fails("pve_network", {**NODE, "interfaces": [VMBR1]})
    assert "PVE accepted the change and reads back another: {'vmbr1': {'comments': 'other'}}" in message
    assert writes(api) == [("POST", ""), ("DELETE", "")]
    assert node.staged_interfaces == {}


@pytest.mark.parametrize("lost", ["POST", "PUT", "DELETE"])
def test_a_write_whose_answer_is_lost_happens_once(api, net, monkeypatch, lost):
    net(VMBR1)
    real, times = Client._request, []

    def losing(self, method, path, values):
        answer = real(self, method, path, values)
        if method == lost and not times:
            times.append(path)
            raise Unreachable("The connection broke.")
        return answer

    monkeypatch.setattr(Client, "_request", losing)
    net(
        {"iface": "vmbr1", "state": "absent"}, {"iface": "vmbr2", "type": "bridge"}, {"iface": "vmbr0", "comments": "x"}
    )
    assert times
    assert sorted(api.pve.interfaces["pve1"]) == ["eno1", "eno2", "eno3", "eno4", "vmbr0", "vmbr2"]


def test_a_node_that_is_offline_is_named(run, node):
    node.add_node("pve2", online=False)
    for check in (True, False):
        message = run.fails("pve_network", {"node": "pve2", "interfaces": [VMBR1]}, check=check)
        assert "/nodes/pve2/network" in message
        assert "bring it back" in message


def test_a_node_that_goes_offline_while_changes_are_staged(run, api, node, monkeypatch):
    real = Client.put

    def last(self, path, /, **data):
        answer = real(self, path, **data)
        node.set_node_offline("pve1")
        return answer

    monkeypatch.setattr(Client, "put", last)
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "eno3", "mtu": 9000}, VMBR1]})
    assert "No route to host (POST /nodes/pve1/network" in message
    assert "What was staged could not be taken back (No route to host" in message
    node.set_node_offline("pve1", False)
    monkeypatch.setattr(Client, "put", real)
    assert "changes are staged and not applied" in run.fails("pve_network", {**NODE, "interfaces": [VMBR1]})
    assert run("pve_network", {**NODE, "interfaces": [VMBR1], "pending": "revert"})["applied"]
    assert "mtu" not in node.interfaces["pve1"]["eno3"]


def test_the_network_of_a_node_needs_no_quorum(run, node, net):
    node.lose_quorum()
    assert net(VMBR1)["applied"]


def test_a_lock_is_waited_for(net, node, monkeypatch):
    monkeypatch.setattr("ansible_collections.onprem.cloud.plugins.module_utils.pve.network.LOCK_PAUSE", 0)
    node.fail(
        "POST", "/nodes/pve1/network", 500, "can't lock file '/etc/network/.pve-interfaces.lock' - got timeout", times=1
    )
    assert net(VMBR1)["changed"]


def test_bridges_that_the_user_does_not_see_are_not_made_again(run, node, api, monkeypatch):
    """Proxmox VE lists only those that SDN.Audit is for."""
    real = Client.get

    def partial(self, path, /, **params):
        answer = real(self, path, **params)
        return [item for item in answer if item["type"] != "bridge"] if path == PATH else answer

    monkeypatch.setattr(Client, "get", partial)
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "vmbr0", "type": "bridge"}]})
    assert "it is there and the user does not see it, grant SDN.Audit on /sdn/zones/localnetwork" in message
    assert api.writes() == []


def test_the_documented_privileges_are_enough(run, api, net, kept):
    api.pve.apitokens["limited@pve!net"] = "0b7a3c8e-4f7f-4d0c-9a55-6c1f2f1f5a10"
    api.pve.acl = {}
    for privilege, path in (
        ("Sys.Audit", "/nodes/pve1"),
        ("Sys.Modify", "/nodes/pve1"),
        ("SDN.Audit", "/sdn/zones/localnetwork"),
    ):
        api.pve.grant("limited@pve", path, privilege)
    login = {
        "api_user": "limited@pve",
        "api_token_id": "net",
        "api_token_secret": "0b7a3c8e-4f7f-4d0c-9a55-6c1f2f1f5a10",
    }
    net(VMBR1, **login)
    net({"iface": "vmbr1", "comments": "x"}, **login)
    net({"iface": "vmbr1", "state": "absent"}, **login)
    kept({"iface": "vmbr1", "state": "absent"}, **login)


# ------------------------------------------------------------------------------------------ staged by others


@pytest.fixture
def pending(api, node):
    """Somebody has staged a change, and not applied it."""
    node.staged_interfaces["pve1"] = {**node._config("pve1")}
    node.staged_interfaces["pve1"]["eno4"] = {**node.interfaces["pve1"]["eno4"], "mtu": "9000"}
    return node


@pytest.mark.parametrize("options", [{}, {"apply": False}])
def test_what_others_staged_is_not_applied_by_the_way(run, api, pending, options):
    for check in (True, False):
        message = run.fails("pve_network", {**NODE, "interfaces": [VMBR1], **options}, check=check)
        assert (
            "changes are staged and not applied (+ mtu 9000): apply or revert them, or set pending to keep" in message
        )
    assert api.writes() == []


def test_what_others_staged_is_applied_as_well_if_told(run, api, pending, net, kept):
    result = net(VMBR1, pending="keep")
    assert result["diff"]["before"] == {"(staged)": ["+\tmtu 9000"]}
    assert pending.interfaces["pve1"]["eno4"]["mtu"] == "9000"
    assert "vmbr1" in pending.interfaces["pve1"]
    kept(VMBR1)


def test_what_others_staged_is_dropped_if_told(run, api, pending, net, kept):
    net(VMBR1, pending="revert")
    assert "mtu" not in pending.interfaces["pve1"]["eno4"]
    assert "vmbr1" in pending.interfaces["pve1"]
    kept(VMBR1)


def test_what_others_staged_and_is_wanted_is_applied_after_all(run, pending, kept):
    """It is dropped first, and then it is a change like any other."""
    result = run("pve_network", {**NODE, "interfaces": [{"iface": "eno4", "mtu": 9000}], "pending": "revert"})
    assert (result["changed"], result["applied"]) == (True, True)
    assert result["diff"] == {
        "before": {"(staged)": ["+\tmtu 9000"], "eno4": {}}, "after": {"eno4": {"mtu": 9000}}
    }  # fmt: skip
    assert pending.interfaces["pve1"]["eno4"]["mtu"] == "9000"
    kept({"iface": "eno4", "mtu": 9000})


def test_what_others_staged_and_is_not_wanted_needs_no_reload(run, api, pending, kept):
    result = run("pve_network", {**NODE, "interfaces": [{"iface": "eno4", "mtu": 0}], "pending": "revert"})
    assert (result["changed"], result["applied"]) == (True, False)
    assert writes(api) == [("DELETE", "")]
    kept({"iface": "eno4", "mtu": 0})


def test_what_others_staged_stays_staged_when_something_is_refused(run, api, pending):
    pending.fail("POST", "/nodes/pve1/network", 500, "out of paper", times=1)
    interfaces = [{"iface": "eno3", "mtu": 9000}, VMBR1]
    message = run.fails("pve_network", {**NODE, "interfaces": interfaces, "pending": "keep"})
    assert "What was staged has been taken back" in message
    assert pending.staged_interfaces["pve1"]["eno4"]["mtu"] == "9000"
    assert "mtu" not in pending.staged_interfaces["pve1"]["eno3"]


def test_changes_can_wait(run, api, net, kept):
    result = net(VMBR1, apply=False)
    assert (result["changed"], result["applied"]) == (True, False)
    assert "vmbr1" not in api.pve.interfaces["pve1"]
    kept(VMBR1, apply=False)
    message = run.fails("pve_network", {**NODE, "interfaces": [VMBR1]})
    assert "changes are staged and not applied" in message
    assert net(VMBR1, pending="keep")["applied"]
    assert "vmbr1" in api.pve.interfaces["pve1"]
    kept(VMBR1)


def test_what_is_staged_and_not_wanted_is_only_dropped(run, api, pending, net):
    result = net({"iface": "vmbr0"}, pending="revert")
    assert (result["changed"], result["applied"]) == (True, False)
    assert pending.staged_interfaces == {}


# ------------------------------------------------------------------------------------------- locking out


@pytest.mark.parametrize(
    ("interfaces", "words"),
    [
        (
            [{"iface": "vmbr0", "cidr": "192.0.2.12/24"}],
            "'vmbr0' would have another address or none instead of 192.0.2.11/24",
        ),
        ([{"iface": "vmbr0", "cidr": "192.0.2.11/25"}], "'vmbr0' would have 192.0.2.11/25 instead of 192.0.2.11/24"),
        ([{"iface": "vmbr0", "state": "absent"}], "'vmbr0' would have another address or none"),
        ([{"iface": "vmbr0", "bridge_ports": []}], "'vmbr0' with 192.0.2.11/24 would lose its way by eno1"),
        ([{"iface": "vmbr0", "bridge_ports": ["eno1.7"]}], "would lose its way by eno1"),
        ([{"iface": "vmbr0", "gateway": "192.0.2.2"}], "the default gateway would be 192.0.2.2 instead of 192.0.2.1"),
        ([{"iface": "vmbr0", "gateway": ""}], "the default gateway would be none instead of 192.0.2.1"),
        ([{"iface": "vmbr0", "autostart": False}], "'vmbr0' with 192.0.2.11/24 would not be started"),
    ],
)
def test_the_branch_that_the_api_is_on_is_not_sawn_off(run, api, net, interfaces, words):
    api.requests()
    for check in (True, False):
        message = run.fails("pve_network", {**NODE, "interfaces": interfaces}, check=check)
        assert words in message
        assert "the node may be out of reach then: set force to true if you mean it" in message
    assert api.writes() == []
    assert net(*interfaces, force=True)["changed"]


def test_the_address_may_move_up_to_where_the_same_cable_is(net):
    net(
        {"iface": "bond0", "type": "bond", "slaves": ["eno1", "eno2"]},
        {"iface": "vmbr0", "bridge_ports": ["bond0"]},
    )
    net(
        {
            "iface": "vmbr1",
            "type": "bridge",
            "bridge_ports": ["bond0"],
            "cidr": "192.0.2.11/24",
            "gateway": "192.0.2.1",
        },
        {"iface": "vmbr0", "state": "absent"},
    )


def test_a_bond_below_the_api_stays_in_its_mode(run, net):
    net({"iface": "bond0", "type": "bond", "slaves": ["eno1"]}, {"iface": "vmbr0", "bridge_ports": ["bond0"]})
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "bond0", "bond_mode": "802.3ad"}]})
    assert "'bond0' below 192.0.2.11/24 would change its bond_mode" in message
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "bond0", "slaves": ["eno2"]}]})
    assert "'vmbr0' with 192.0.2.11/24 would lose its way by eno1" in message


def test_a_vlan_below_the_api_stays_the_same(run, api, node, net):
    net(
        {"iface": "vmbr0", "cidr": "", "gateway": ""},
        {"iface": "mgmt", "type": "vlan", "vlan_raw_device": "vmbr0", "vlan_id": 5, "cidr": "192.0.2.11/24"},
        force=True,
    )
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "mgmt", "vlan_id": 6}]})
    assert "'mgmt' with 192.0.2.11/24 would lose its way by eno1 (VLAN 5)" in message


def test_the_address_of_the_api_counts(run, api, node):
    """Here that is a loopback address, which no card has by itself."""
    node.add_interface("pve1", "eno4", cidr=f"{api.pve.host}/8", autostart=1)
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "eno4", "state": "absent"}]})
    assert f"'eno4' would have another address or none instead of {api.pve.host}/8" in message


def test_the_address_that_the_cluster_knows_counts(run, api, node):
    node.add_interface("pve1", "vmbr0", type="bridge", autostart=1, cidr="198.51.100.2/24", gateway="198.51.100.1")
    node.add_interface("pve1", "eno4", cidr="192.0.2.11/24", autostart=1)
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "eno4", "state": "absent"}]})
    assert "'eno4' would have another address or none instead of 192.0.2.11/24" in message


def test_behind_nat_the_default_gateway_is_what_counts(run, api, node, monkeypatch):
    monkeypatch.setattr(
        "ansible_collections.onprem.cloud.plugins.module_utils.pve.network.Network.addresses",
        lambda self: ["203.0.113.9"],
    )
    message = run.fails("pve_network", {**NODE, "interfaces": [{"iface": "vmbr0", "bridge_ports": []}]})
    assert "would lose its way by eno1" in message


# ---------------------------------------------------------------------------------- when applying goes wrong


def test_a_task_that_fails_brings_the_previous_settings_back(run, api, node):
    before = dict(node.interfaces["pve1"])
    node.plan_task("srvreload", error="command 'ifreload -a' failed: exit code 1", log=["error: vmbr1: no such thing"])
    interfaces = [VMBR1, {"iface": "eno3", "mtu": 9000}, {"iface": "vmbr0", "comments": "x"}]
    message = run.fails("pve_network", {**NODE, "interfaces": interfaces})
    assert "exit code 1" in message
    assert "vmbr1: no such thing" in message
    assert "The previous settings have been applied again." in message
    assert node.interfaces["pve1"] == before
    assert node.staged_interfaces == {}


def test_a_rollback_that_fails_is_said(run, api, node):
    node.plan_task("srvreload", error="command 'ifreload -a' failed: exit code 1", times=2)
    message = run.fails("pve_network", {**NODE, "interfaces": [VMBR1]})
    assert "The previous settings could not be applied again" in message


def test_a_node_that_answers_no_more_is_left_with_a_sentence(run, api, node):
    node.after_reload = lambda name: node.nodes[name].update(online=False)
    message = run.fails("pve_network", {**NODE, "interfaces": [VMBR1], "rollback_timeout": 1})
    assert "it has not answered for 1 s since its network was applied" in message
    assert "mend /etc/network/interfaces on its console and run 'ifreload -a' there" in message
    assert "It was vmbr0: {" in message
    assert "192.0.2.11/24" in message


def test_a_node_may_need_a_moment(run, api, net, node):
    """While the links go down and up nothing answers, and that is no failure."""
    real, times = Client._request, []

    def deaf(self, method, path, values):
        if method == "GET" and times and len(times) < 20:
            times.append(path)
            raise Unreachable("The connection broke.")
        if (method, path) == ("PUT", PATH):
            times.append(path)
        return real(self, method, path, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "_request", deaf)
        patch.setattr("time.sleep", lambda seconds: None)
        assert run("pve_network", {**NODE, "interfaces": [VMBR1]})["applied"]
    assert len(times) == 20


@pytest.mark.parametrize("done", [True, False])
def test_the_order_to_apply_may_be_lost(run, api, node, monkeypatch, done):
    real, times = Client.put, []

    def lost(self, path, /, **data):
        if path != PATH or times:
            return real(self, path, **data)
        times.append(path)
        if done:
            real(self, path, **data)
        raise Unreachable("The connection broke.")

    monkeypatch.setattr(Client, "put", lost)
    assert run("pve_network", {**NODE, "interfaces": [VMBR1]})["applied"]
    assert "vmbr1" in node.interfaces["pve1"]
    assert writes(api) == [("POST", ""), ("PUT", "")]


def test_nothing_is_waited_for_if_told(run, api, node):
    node.after_reload = lambda name: node.nodes[name].update(online=False)
    given = {**NODE, "interfaces": [{"iface": "vmbr0", "cidr": "192.0.2.12/24"}], "force": True, "rollback_timeout": 0}
    assert run("pve_network", given)["applied"]
    assert node.interfaces["pve1"]["vmbr0"]["address"] == "192.0.2.12"


# ------------------------------------------------------------------------------------- on the node itself

# What a node has besides pvesh, as far as the module uses it.
PROGRAMS = {
    "systemd-run": 'for script; do :; done; echo "$script" > "$here/timer"',
    "systemctl": 'case "$1" in start) sh -c "$(cat "$here/timer")" ;; stop) rm -f "$here/timer" ;; esac',
    "ifreload": ":",
    "ping": 'for address; do :; done; grep -qw "$address" "$here/answering"',
}
UTILS = "ansible_collections.onprem.cloud.plugins.module_utils.pve.network"


class Machine:
    """The node that the module runs on."""

    def __init__(self, directory, api):
        self.directory = directory
        self.interfaces = directory / "interfaces"
        self.interfaces.write_text("before\n")
        api.pve.interfaces_file = self.interfaces
        self.answers("192.0.2.200", "192.0.2.1")
        for name, text in PROGRAMS.items():
            program = directory / name
            program.write_text(f'#!/bin/sh\nhere="{directory}"\necho "{name} $*" >> "$here/called"\n{text}\n')
            program.chmod(0o755)

    def answers(self, *addresses):
        """Who answers a ping."""
        (self.directory / "answering").write_text(" ".join(addresses))

    @property
    def called(self):
        """What was run, without the directory; pings are not interesting."""
        lines = (self.directory / "called").read_text().replace(f"{self.directory}/", "").splitlines()
        return [line for line in lines if not line.startswith("ping")]


@pytest.fixture
def machine(api, node, tmp_path, monkeypatch):
    made = Machine(tmp_path, api)
    pvesh.stand_in(api, tmp_path, monkeypatch)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.200 50000 192.0.2.11 22")
    monkeypatch.setattr(f"{UTILS}.INTERFACES", str(made.interfaces))
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example.com")
    return made


HERE = {**NODE, "api_backend": "local", "api_host": None}
STARTED = (
    "systemd-run --unit=onprem-cloud-network-rollback --collect --service-type=oneshot --on-active=65 "
    "--timer-property=AccuracySec=1 /bin/sh -c mv -f interfaces.onprem-cloud-network-rollback interfaces && "
    "rm -f interfaces.new && ifreload -a"
)


def test_on_the_node_a_timer_waits_while_the_network_changes(run, node, machine):
    result = run("pve_network", {**HERE, "interfaces": [VMBR1]})
    assert result["applied"]
    assert "vmbr1" in node.interfaces["pve1"]
    assert machine.called == [STARTED, "systemctl stop onprem-cloud-network-rollback.timer"]
    assert machine.interfaces.read_text().startswith("iface eno1 inet manual\n")
    assert sorted(path.name for path in machine.directory.glob("interfaces*")) == ["interfaces"]
    assert not run("pve_network", {**HERE, "interfaces": [VMBR1]})["changed"]


@pytest.mark.parametrize("lost", ["192.0.2.200", "192.0.2.1"])
def test_on_the_node_the_file_comes_back_when_others_are_out_of_reach(run, node, machine, lost):
    node.after_reload = lambda name: machine.answers({"192.0.2.200": "192.0.2.1", "192.0.2.1": "192.0.2.200"}[lost])
    message = run.fails("pve_network", {**HERE, "interfaces": [VMBR1], "rollback_timeout": 1})
    assert (
        f"{lost} cannot be reached any more with the new settings. The previous settings have been restored" in message
    )
    assert machine.interfaces.read_text() == "before\n"
    assert machine.called[1:] == [
        "systemctl start onprem-cloud-network-rollback.service",
        "ifreload -a",
        "systemctl stop onprem-cloud-network-rollback.timer",
    ]


def test_on_the_node_the_timer_acts_when_the_module_is_gone(run, node, machine, monkeypatch):
    """The module dies with its connection right after it has applied the changes."""

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{UTILS}.Network.wait_applied", die)
    with pytest.raises(KeyboardInterrupt):
        run("pve_network", {**HERE, "interfaces": [VMBR1]})
    assert machine.interfaces.read_text().startswith("iface eno1 inet manual\n")
    assert machine.called == [STARTED]
    subprocess.run(["sh", "-c", (machine.directory / "timer").read_text()], check=True)
    assert machine.interfaces.read_text() == "before\n"
    assert machine.called[-1] == "ifreload -a"


def test_on_the_node_a_task_that_fails_brings_the_file_back(run, node, machine):
    node.plan_task("srvreload", error="command 'ifreload -a' failed: exit code 1")
    message = run.fails("pve_network", {**HERE, "interfaces": [VMBR1]})
    assert "exit code 1" in message
    assert "The previous settings have been restored." in message
    assert machine.interfaces.read_text() == "before\n"


def test_on_the_node_the_timer_may_be_first(run, node, machine):
    node.after_reload = lambda name: machine.answers()
    systemctl = machine.directory / "systemctl"
    text = systemctl.read_text()
    systemctl.write_text(f'#!/bin/sh\nsh -c "$(cat "{machine.directory}/timer")"; echo Unit not found. >&2; exit 5\n')
    message = run.fails("pve_network", {**HERE, "interfaces": [VMBR1], "rollback_timeout": 1})
    assert "The previous settings have been restored." in message
    systemctl.write_text(text.replace("start)", "start) exit 5;"))
    machine.answers("192.0.2.1")
    message = run.fails(
        "pve_network", {**HERE, "interfaces": [{"iface": "vmbr2", "type": "bridge"}], "rollback_timeout": 1}
    )
    assert "could not be restored (systemctl failed" in message
    assert f"put {machine.interfaces}.onprem-cloud-network-rollback back by hand" in message


def test_on_the_node_nothing_is_applied_without_the_timer(run, node, machine):
    (machine.directory / "systemd-run").write_text("#!/bin/sh\necho Unit already exists >&2\nexit 1\n")
    message = run.fails("pve_network", {**HERE, "interfaces": [VMBR1]})
    assert "systemd-run failed (Unit already exists): the network cannot be guarded on the node" in message
    assert "vmbr1" not in node.interfaces["pve1"]
    assert node.staged_interfaces == {}
    assert sorted(path.name for path in machine.directory.glob("interfaces*")) == ["interfaces"]


def test_on_the_node_the_timer_of_an_earlier_run_keeps_what_it_saved(run, node, machine):
    """That run died, and what is in the file now is what its timer is going to put back."""
    saved = Path(f"{machine.interfaces}.onprem-cloud-network-rollback")
    saved.write_text("long before\n")
    (machine.directory / "systemd-run").write_text("#!/bin/sh\necho Unit already exists >&2\nexit 1\n")
    message = run.fails("pve_network", {**HERE, "interfaces": [VMBR1]})
    assert "Unit already exists" in message
    assert saved.read_text() == "long before\n"


def test_on_the_node_nothing_is_applied_when_the_file_cannot_be_saved(run, node, machine, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("shutil.copy2", full)
    message = run.fails("pve_network", {**HERE, "interfaces": [VMBR1]})
    assert "interfaces cannot be saved (No space left on device)" in message
    assert "What was staged has been taken back" in message
    assert machine.called == [STARTED, "systemctl stop onprem-cloud-network-rollback.timer"]
    assert node.staged_interfaces == {}


def test_on_the_node_check_addresses_have_to_answer_before(run, node, machine):
    given = {**HERE, "interfaces": [VMBR1], "check_addresses": ["192.0.2.200", "192.0.2.99"]}
    message = run.fails("pve_network", given)
    assert "check_addresses: '192.0.2.99' does not answer a ping now, so it proves nothing later" in message
    assert "vmbr1" not in node.interfaces["pve1"]
    assert run("pve_network", {**given, "check_addresses": ["192.0.2.200"]})["applied"]


def test_on_the_node_it_is_said_when_nothing_can_tell(run, node, machine):
    machine.answers()
    warnings = run("pve_network", {**HERE, "interfaces": [VMBR1]})["warnings"]
    assert "nothing can tell whether the node is still reached: give check_addresses that do" in str(warnings)


def test_on_the_node_what_others_staged_is_seen_in_the_file(run, node, machine):
    (machine.directory / "interfaces.new").write_text("before\nmtu 9000\n")
    for check in (True, False):
        message = run.fails("pve_network", {**HERE, "interfaces": [VMBR1]}, check=check)
        assert "changes are staged and not applied (+mtu 9000)" in message


def test_on_the_node_the_client_of_ssh_is_not_locked_out(run, node, machine):
    node.add_interface("pve1", "eno4", cidr="198.51.100.2/24", autostart=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSH_CONNECTION", "198.51.100.9 50000 198.51.100.2 22")
        message = run.fails("pve_network", {**HERE, "interfaces": [{"iface": "eno4", "state": "absent"}]})
    assert "'eno4' would have another address or none instead of 198.51.100.2/24" in message


def test_the_node_is_the_one_that_the_module_runs_on(run, node, machine):
    message = run.fails("pve_network", {**HERE, "node": "pve2", "interfaces": [VMBR1]})
    assert "api_backend 'local' is for the network of the node that it runs on, run it there" in message


# ---------------------------------------------------------------------------------------------- reality

RECORDED = Path(__file__).parents[1] / "unit/recordings/network.jsonl"
# What no two machines have in common; cards of the recorded machine are no real ones.
VARYING = {"digest", "exists", "time", "localtime"}


def plain(value):
    """An answer without what varies; lists of objects have no order, numbers may be texts, null is nothing."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in VARYING and item is not None}
    if isinstance(value, list):
        return sorted((plain(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value if value is None else re.sub(r"^UPID:pve1:.*(:srvreload:networking:).*", r"\1", str(value))


def test_the_recorded_requests_get_the_recorded_answers(api):
    """Of the API that these tests are made with: what 9.2.11 answered about the network and the names of a node."""
    api.pve.bridges = {}
    api.pve.add_interface("pve1", "eth0", cidr="172.17.0.2/16", gateway="172.17.0.1", autostart=1)
    api.pve.add_interface("pve1", "vmbr0", type="bridge", cidr="10.99.0.1/24", autostart=1)
    entries = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    api.pve.settings("pve1")["hosts"] = next(
        e["response"]["data"]["data"] for e in entries if e["path"].endswith("hosts")
    )
    session = requests.Session()
    session.trust_env, session.verify = False, api.ca_path
    login = f"{api.pve.url}/api2/json/access/ticket", {"username": "root@pam", "password": api.pve.password}
    ticket = session.post(*login).json()["data"]
    session.cookies["PVEAuthCookie"] = ticket["ticket"]
    session.headers["CSRFPreventionToken"] = ticket["CSRFPreventionToken"]
    wrong = []
    for entry in entries:
        place = "params" if entry["method"] in ("GET", "DELETE") else "data"
        url = f"{api.pve.url}/api2/json" + urllib.parse.quote(entry["path"])
        response = session.request(entry["method"], url, **{place: entry.get("params") or {}})
        said, real = response.json(), entry["response"] or {}
        here, there = (
            {"staged": "changes" in body, **{part: plain(body.get(part)) for part in ("data", "message", "errors")}}
            for body in (said, real)
        )
        if (response.status_code, here) != (entry["status"], there):
            wrong.append((entry["method"], entry["path"], entry.get("params"), here, there))
    assert wrong == []
