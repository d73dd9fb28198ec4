# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Software defined networks: what is staged, and what takes effect."""

from __future__ import annotations

import json
import re
import urllib.parse
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.contract.life import Life, limited, lives, nothing, whole_life
from tests.contract.test_access_reality import plain

ZONE, VNET, SUBNET, CONTROLLER = "pve_sdn_zone", "pve_sdn_vnet", "pve_sdn_subnet", "pve_sdn_controller"
RANGE = {"start-address": "198.51.100.50", "end-address": "198.51.100.99"}
SECOND = {"start-address": "198.51.100.150", "end-address": "198.51.100.199"}
TITLE = "49.0001.1921.6800.1001.00"
KEPT = re.compile(r"PUT /cluster/sdn$|\w+ /cluster/sdn/(zones|vnets|controllers|rollback|lock)")
RECORDED = Path(__file__).parents[1] / "unit/recordings/sdn.jsonl"
# The whole of it, in the order in which it is made.
LAN = [
    (ZONE, {"zone": "lan", "type": "simple", "ipam": "pve", "dhcp": "dnsmasq"}),
    (VNET, {"vnet": "guests", "zone": "lan"}),
    (SUBNET, {"vnet": "guests", "subnet": "198.51.100.0/24", "gateway": "198.51.100.1"}),
]

LIVES = (
    Life(
        ZONE,
        {"zone": "lan"},
        {"type": "simple", "mtu": 1400, "nodes": ["pve1", "pve2"]},
        {"mtu": 1500, "nodes": ["pve1"], "ipam": "pve", "dhcp": "dnsmasq"},
        spellings=[{"nodes": ["pve2", "pve1"]}, {"nodes": ["pve2,pve1"]}, {"mtu": "1400"}],
        removed=["nodes", "ipam", "dhcp"],
    ),
    Life(
        ZONE,
        {"zone": "office"},
        {"type": "vlan", "bridge": "vmbr0"},
        {"bridge": "vmbr1", "bridge_disable_mac_learning": True},
        spellings=[{"bridge_disable_mac_learning": False, "nodes": []}],
    ),
    Life(
        ZONE,
        {"zone": "provider"},
        {"type": "qinq", "bridge": "vmbr0", "tag": 5},
        {"tag": 6, "vlan_protocol": "802.1ad", "bridge_disable_mac_learning": True},
        spellings=[{"vlan_protocol": "802.1q"}],
    ),
    Life(
        ZONE,
        {"zone": "tunnels"},
        {"type": "vxlan", "peers": ["192.0.2.11", "192.0.2.12"]},
        {"peers": ["192.0.2.11", "2001:db8::12"], "vxlan_port": 4790},
        spellings=[{"peers": ["192.0.2.12", "192.0.2.11"]}, {"peers": ["192.0.2.11,192.0.2.12"]}, {"vxlan_port": 4789}],
    ),
    Life(
        ZONE,
        {"zone": "routed"},
        {"type": "evpn", "controller": "routes", "vrf_vxlan": 1000, "mac": "BC:24:11:5B:9E:92"},
        {
            "vrf_vxlan": 1001,
            "mac": "BC:24:11:00:00:01",
            "exitnodes": ["pve1", "pve2"],
            "exitnodes_primary": "pve2",
            "exitnodes_local_routing": True,
            "advertise_subnets": True,
            "disable_arp_nd_suppression": True,
            "bridge_disable_mac_learning": True,
            "rt_import": ["65000:100", "65000:200"],
            "vxlan_port": 4790,
        },
        spellings=[{"mac": "bc:24:11:5b:9e:92"}, {"exitnodes_local_routing": False, "rt_import": [], "exitnodes": []}],
        removed=["exitnodes", "exitnodes_primary", "rt_import"],
    ),
    Life(
        VNET,
        {"vnet": "printers"},
        {"zone": "floors", "tag": 30, "alias": "All floors"},
        {"zone": "house", "tag": 31, "vlanaware": True, "alias": "Second floor", "isolate_ports": True},
        spellings=[{"tag": "30"}, {"vlanaware": False, "isolate_ports": False}],
        removed=["alias"],
    ),
    Life(
        SUBNET,
        {"vnet": "flat", "subnet": "198.51.100.0/24"},
        {"gateway": "198.51.100.1", "dhcp_range": [RANGE, SECOND]},
        {
            "gateway": "198.51.100.2",
            "snat": True,
            "dhcp_range": [RANGE],
            "dhcp_dns_server": "192.0.2.53",
            "dnszoneprefix": "guests",
        },
        spellings=[
            {"dhcp_range": [SECOND, RANGE]},
            {"dhcp_range": ["end-address=198.51.100.99,start-address=198.51.100.50", SECOND]},
            {"dhcp_range": [{key.replace("-", "_"): value for key, value in RANGE.items()}, SECOND]},
            {"snat": False},
        ],
        removed=["gateway", "dhcp_range", "dhcp_dns_server", "dnszoneprefix"],
    ),
    Life(
        SUBNET,
        {"vnet": "flat", "subnet": "2001:0DB8:30::/64"},
        {"gateway": "2001:db8:30::1"},
        {"gateway": "2001:db8:30::2"},
        spellings=[{"subnet": "2001:db8:30::/64"}, {"gateway": "2001:db8:30:0::1"}],
    ),
    Life(
        CONTROLLER,
        {"controller": "bgppve1"},
        {"type": "bgp", "node": "pve1", "asn": 65000, "peers": ["192.0.2.253", "192.0.2.254"]},
        {
            "node": "pve2",
            "asn": 65001,
            "peers": ["192.0.2.254"],
            "ebgp": True,
            "ebgp_multihop": 2,
            "loopback": "lo",
            "bgp_multipath_as_path_relax": True,
        },
        spellings=[{"peers": ["192.0.2.254", "192.0.2.253"]}, {"ebgp": False, "bgp_multipath_as_path_relax": False}],
        removed=["loopback"],
    ),
    Life(
        CONTROLLER,
        {"controller": "isis-pve1"},
        {"type": "isis", "node": "pve1", "isis_domain": "house", "isis_net": TITLE, "isis_ifaces": ["eno2", "eno3"]},
        {"isis_domain": "yard", "isis_net": "49.0001.1921.6800.1002.00", "isis_ifaces": ["eno2"], "loopback": "lo"},
        spellings=[{"isis_ifaces": ["eno3", "eno2"]}],
        removed=["loopback"],
    ),
)


@pytest.fixture(autouse=True)
def _around(api):
    """What the objects of the lives are built on, in force."""
    api.pve.add_node("pve2")
    zones = {
        "floors": {"type": "vlan", "bridge": "vmbr0"},
        "house": {"type": "vlan", "bridge": "vmbr0"},
        "plain": {"type": "simple"},
    }
    routes = {"type": "evpn", "asn": 65000, "peers": "192.0.2.11,192.0.2.12"}
    for kinds in (api.pve.sdn_staged, api.pve.sdn_running):
        kinds["zone"].update({name: dict(values) for name, values in zones.items()})
        kinds["vnet"]["flat"] = {"type": "vnet", "zone": "plain"}
        kinds["controller"]["routes"] = dict(routes)


@lives(*LIVES)
def test_whole_life(run, life):
    whole_life(run, life)


@pytest.mark.parametrize(
    ("life", "privileges"),
    [(life, {"SDN_Allocate": "/sdn"}) for life in LIVES]
    + [
        (LIVES[0], {"SDN_Allocate": "/sdn/zones"}),
        (LIVES[4], {"SDN_Allocate": "/sdn/zones", "SDN_Audit": "/sdn/controllers"}),
        (LIVES[5], {"SDN_Allocate": "/sdn/zones"}),
        (LIVES[6], {"SDN_Allocate": "/sdn/zones/plain/flat"}),
        (LIVES[8], {"SDN_Allocate": "/sdn/controllers"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_the_documented_privileges_are_enough_and_necessary(run, life, privileges):
    staged = {} if privileges["SDN_Allocate"] == "/sdn" else {"apply": False}
    change = dict(list(life.changes.items())[:1])
    life = replace(life, ident={**life.ident, **staged}, changes=change, spellings=[], removed=[])
    whole_life(run, limited(run, life, **privileges))
    for privilege in privileges:
        fewer = limited(run, life, **{name: path for name, path in privileges.items() if name != privilege})
        message = run.fails(life.module, {**fewer.ident, **life.created})
        assert "missing privilege" in message or "or grant SDN.Audit on it" in message


# ---------------------------------------------------------------------------------- what takes effect, and when


def applied(run):
    """How often the configuration was applied since the last look."""
    return len([write for write in run.api.writes() if (write.method, write.path) == ("PUT", "/cluster/sdn")])


def in_force(run, kind):
    return run.api.pve.sdn_running[kind]


def warnings(result):
    return " ".join(map(str, result.get("warnings", [])))


def build(run, **last):
    """The whole of it, staged, and what the last call makes of it."""
    results = [run(module, {**options, "apply": False}) for module, options in LAN[:-1]]
    return [*results, run(LAN[-1][0], {**LAN[-1][1], **last})]


def test_trap_sdn_zone_is_written_and_applied_at_every_run(run):
    zone = {"zone": "lan", "type": "simple", "mtu": 1400, "nodes": ["pve1"]}
    first = run(ZONE, zone)
    assert first["changed"]
    assert first["applied"]
    assert in_force(run, "zone")["lan"] == {"type": "simple", "mtu": 1400, "nodes": "pve1"}
    run.api.requests()
    second = run(ZONE, zone)
    assert not second["changed"]
    assert not second["applied"]
    assert run.api.writes() == []


def test_trap_check_mode_of_an_sdn_zone_is_missing(run):
    zone = {"zone": "lan", "type": "simple", "mtu": 1400}
    run(ZONE, zone)
    run.api.requests()
    predicted = run(ZONE, {**zone, "mtu": 1450}, check=True)
    assert run.api.writes() == []
    assert predicted["changed"]
    assert predicted["diff"] == {"before": {"mtu": 1400}, "after": {"mtu": 1450}}


def test_several_objects_are_applied_once(run):
    run.api.requests()
    results = build(run, pending="keep")
    assert applied(run) == 1
    assert [result["applied"] for result in results] == [False, False, True]
    assert "zone 'lan' (new); vnet 'guests' (new)" in warnings(results[-1])
    assert results[-1]["diff"]["before"] == {"(staged)": ["zone 'lan' (new)", "vnet 'guests' (new)"]}
    assert {"lan"} < set(in_force(run, "zone"))
    assert "guests" in in_force(run, "vnet")
    assert "lan-198.51.100.0-24" in in_force(run, "subnet")
    run.api.requests()
    assert not any(result["changed"] or result["applied"] for result in build(run, pending="keep"))
    assert run.api.writes() == []


def test_the_last_call_applies_what_the_first_one_changed(run):
    build(run, pending="keep")
    run(ZONE, {"zone": "lan", "mtu": 1400, "apply": False})
    module, options = LAN[-1]
    assert not run(module, options)["changed"]
    predicted = run(module, {**options, "pending": "keep"}, check=True)
    run.api.requests()
    result = run(module, {**options, "pending": "keep"})
    assert [write.method for write in run.api.writes()] == ["PUT"]
    assert (result["action"], result["changed"], result["applied"]) == ("apply", True, True)
    assert predicted["diff"] == result["diff"] == {"before": {"(staged)": ["zone 'lan' (changed)"]}, "after": {}}
    assert in_force(run, "zone")["lan"]["mtu"] == 1400


def test_what_somebody_else_staged_is_not_applied(run):
    run.api.pve.sdn_staged["vnet"]["flat"]["alias"] = "half done"
    del run.api.pve.sdn_staged["zone"]["house"]
    run.api.requests()
    for check in (True, False):
        message = run.fails(ZONE, {"zone": "lan", "type": "simple"}, check=check)
        assert "'lan'" in message
        assert "zone 'house' (deleted); vnet 'flat' (changed)" in message
        assert "set pending to keep" in message
        assert "apply to false" in message
    assert run.api.writes() == []
    # Staged beside it, and left alone where there is nothing to do.
    assert run(ZONE, {"zone": "lan", "type": "simple", "apply": False})["changed"]
    assert not run(ZONE, {"zone": "floors", "type": "vlan"})["changed"]
    assert applied(run) == 0
    assert "house" in in_force(run, "zone")


def test_what_somebody_else_staged_is_named_when_it_is_applied(run):
    run.api.pve.sdn_fabrics = [{"id": "spine", "state": "changed"}]
    run.api.pve.sdn_staged["subnet"]["plain-10.0.0.0-8"] = {"type": "subnet", "vnet": "flat"}
    run.api.pve.sdn_staged["controller"]["routes"]["asn"] = 65009
    result = run(ZONE, {"zone": "lan", "type": "simple", "pending": "keep"})
    names = ["controller 'routes' (changed)", "subnet '10.0.0.0/8' (new)", "fabric 'spine' (changed)"]
    assert result["diff"]["before"]["(staged)"] == names
    assert [name for name in names if name not in warnings(result)] == []
    assert in_force(run, "controller")["routes"]["asn"] == 65009


def test_what_is_staged_in_the_meantime_is_not_applied(run, monkeypatch):
    create = type(run.api.pve)._sdn_create

    def another_was_quick(self, kind, values, user):
        create(self, kind, values, user)
        self.sdn_staged["vnet"]["flat"]["alias"] = "half done"

    monkeypatch.setattr(type(run.api.pve), "_sdn_create", another_was_quick)
    message = run.fails(ZONE, {"zone": "lan", "type": "simple"})
    assert "staged, and not applied" in message
    assert "vnet 'flat' (changed)" in message
    assert "alias" not in in_force(run, "vnet")["flat"]


@pytest.mark.parametrize("again", [{"mtu": 1400}, {}, {"mtu": 1450}], ids=["same", "nothing given", "another value"])
def test_what_an_earlier_run_left_takes_effect(run, again):
    run(ZONE, {"zone": "lan", "type": "simple"})
    run(ZONE, {"zone": "lan", "mtu": 1400, "nodes": ["pve1"], "apply": False})
    assert not run(ZONE, {"zone": "lan", "mtu": 1400, "apply": False})["changed"]
    predicted = run(ZONE, {"zone": "lan", **again}, check=True)
    run.api.requests()
    result = run(ZONE, {"zone": "lan", **again})
    assert applied(run) == 1
    assert predicted["diff"] == result["diff"]
    assert result["action"] == ("update" if again == {"mtu": 1450} else "apply")
    # Values in force, but for what was staged and is changed again.
    before = {"mtu": 1400} if again == {"mtu": 1450} else {}
    assert result["diff"] == {"before": before, "after": {"mtu": again.get("mtu", 1400), "nodes": ["pve1"]}}
    names = "nodes" if again else "nodes, mtu"
    assert f"what was staged before for {names} takes effect as well" in warnings(result)
    nothing(run, LIVES[0], again)


def test_what_was_staged_and_is_taken_back_is_not_applied(run):
    run(ZONE, {"zone": "lan", "type": "simple", "mtu": 1400})
    run.api.pve.sdn_staged["zone"]["lan"]["mtu"] = 1500
    # Nothing takes effect, and so somebody else's work does not matter.
    run.api.pve.sdn_staged["vnet"]["flat"]["alias"] = "half done"
    run.api.requests()
    predicted = run(ZONE, {"zone": "lan", "mtu": 1400}, check=True)
    result = run(ZONE, {"zone": "lan", "mtu": 1400})
    assert result["changed"]
    assert not result["applied"]
    assert not predicted["applied"]
    assert [write.path for write in run.api.writes()] == ["/cluster/sdn/zones/lan"]


def test_a_deletion_is_staged_and_then_applied(run):
    zone = {"zone": "lan", "type": "simple", "mtu": 1400}
    run(ZONE, zone)
    assert run(ZONE, {"zone": "lan", "state": "absent", "apply": False})["changed"]
    assert "lan" in in_force(run, "zone")
    nothing(run, LIVES[0], {"apply": False}, state="absent")
    predicted = run(ZONE, {"zone": "lan", "state": "absent"}, check=True)
    result = run(ZONE, {"zone": "lan", "state": "absent"})
    assert (result["action"], result["applied"]) == ("apply", True)
    assert predicted["diff"] == result["diff"]
    assert result["diff"]["before"]["mtu"] == 1400
    assert result["diff"]["after"] == {}
    assert "lan" not in in_force(run, "zone")


def test_what_was_to_be_deleted_is_made_anew(run):
    zone = {"zone": "lan", "type": "simple", "mtu": 1400}
    run(ZONE, zone)
    run(ZONE, {"zone": "lan", "state": "absent", "apply": False})
    result = run(ZONE, {**zone, "mtu": 1500})
    assert (result["action"], result["applied"]) == ("create", True)
    assert in_force(run, "zone")["lan"]["mtu"] == 1500


def test_what_was_never_applied_is_deleted_without_applying(run):
    run(ZONE, {"zone": "lan", "type": "simple", "apply": False})
    run.api.requests()
    result = run(ZONE, {"zone": "lan", "state": "absent"})
    assert result["changed"]
    assert not result["applied"]
    assert applied(run) == 0


def test_the_whole_of_it_goes_in_the_other_order(run):
    build(run, pending="keep")
    run.api.requests()
    for number, (module, options) in enumerate(reversed(LAN)):
        last = {"pending": "keep"} if number == 2 else {"apply": False}
        names = {name: options[name] for name in ("zone", "vnet", "subnet") if name in options}
        names = {"vnet": names["vnet"]} if module == VNET else names
        assert run(module, {**names, "state": "absent", **last})["changed"]
    assert applied(run) == 1
    assert "lan" not in in_force(run, "zone")
    assert in_force(run, "subnet") == {}


def test_a_guest_is_connected_to_a_vnet_that_is_in_force(run, container):
    guest = container(net={"net0": {"name": "eth0", "bridge": "guests", "ip": "198.51.100.9/24"}}, state="started")
    for options in ({"apply": False}, {"pending": "keep"}):
        assert "'guests'" in run.fleet_fails(guest)
        build(run, **options)
    assert run.fleet(guest)["changed"]
    assert not run.fleet(guest)["changed"]
    # On the nodes of its zone only.
    run(ZONE, {"zone": "lan", "nodes": ["pve2"]})
    other = container(101, net={"net0": {"name": "eth0", "bridge": "guests", "ip": "dhcp"}})
    assert "'guests'" in run.fleet_fails(other)


# ----------------------------------------------------------------------------------------------- what is built on what


@pytest.mark.parametrize(
    ("module", "names", "words"),
    [
        (ZONE, {"zone": "plain"}, "is used by vnet 'flat': remove or move that first"),
        (VNET, {"vnet": "flat"}, "is used by subnet '10.0.0.0/8'"),
        (CONTROLLER, {"controller": "routes"}, "is used by zone 'routed'"),
    ],
)
def test_what_others_are_built_on_is_not_deleted(run, module, names, words):
    run.api.pve.sdn_staged["subnet"]["plain-10.0.0.0-8"] = {"type": "subnet", "vnet": "flat"}
    run.api.pve.sdn_staged["zone"]["routed"] = {"type": "evpn", "controller": "routes", "vrf-vxlan": 1}
    run.api.requests()
    gone = {**names, "state": "absent", "apply": False}
    assert words in run.fails(module, gone)
    # What comes before in the same run may be about to remove it.
    assert words.partition(":")[0] in warnings(run(module, gone, check=True))
    assert run.api.writes() == []


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        (VNET, {"vnet": "new", "zone": "nowhere"}, "there is no zone 'nowhere'"),
        (SUBNET, {"vnet": "nowhere", "subnet": "10.0.0.0/8"}, "there is no vnet 'nowhere'"),
        (ZONE, {"zone": "new", "type": "evpn", "controller": "none", "vrf_vxlan": 1}, "there is no controller 'none'"),
    ],
)
def test_what_is_built_on_is_there_or_made_by_what_comes_before(run, module, options, words):
    run.api.requests()
    assert f"{words}: make it with pve_sdn_" in run.fails(module, options)
    assert words in warnings(run(module, options, check=True))
    assert run.api.writes() == []


def test_a_subnet_of_no_vnet_is_absent(run):
    assert not run(SUBNET, {"vnet": "nowhere", "subnet": "10.0.0.0/8", "state": "absent"})["changed"]


def test_a_tag_whose_removal_is_staged_is_none(run):
    run(ZONE, {"zone": "stack", "type": "qinq", "bridge": "vmbr0", "tag": 5})
    run(VNET, {"vnet": "one", "zone": "stack", "tag": 7})
    run(VNET, {"vnet": "one", "tag": 0, "apply": False})
    message = run.fails(VNET, {"vnet": "two", "zone": "stack", "apply": False})
    assert "vnet 'one' of zone 'stack' has no tag either" in message
    assert run(VNET, {"vnet": "two", "zone": "stack", "tag": 7, "apply": False})["changed"]


def test_numbers_are_removed_with_0(run):
    run(ZONE, {"zone": "lan", "type": "simple", "mtu": 1400})
    run(ZONE, {"zone": "stack", "type": "qinq", "bridge": "vmbr0", "tag": 5})
    run(VNET, {"vnet": "one", "zone": "stack", "tag": 7})
    for module, options in ((ZONE, {"zone": "lan", "mtu": 0}), (VNET, {"vnet": "one", "tag": 0})):
        assert run(module, options)["changed"]
        assert not run(module, options)["changed"]
    assert "mtu" not in in_force(run, "zone")["lan"]
    assert "tag" not in in_force(run, "vnet")["one"]


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        (ZONE, {"zone": "toolongname", "type": "simple"}, ["'toolongname'", "2 to 8 letters and digits"]),
        (ZONE, {"zone": "1st", "type": "simple"}, ["'1st'", "the first of them a letter"]),
        (ZONE, {"zone": "my_lan", "type": "simple"}, ["'my_lan'", "choose another name"]),
        (ZONE, {"zone": "new"}, ["type is missing"]),
        (ZONE, {"zone": "plain", "type": "vlan"}, ["type is 'simple' and cannot be changed to 'vlan'"]),
        (ZONE, {"zone": "new", "type": "vlan"}, ["bridge is missing", "type 'vlan' needs it"]),
        (ZONE, {"zone": "floors", "bridge": ""}, ["bridge is empty"]),
        (ZONE, {"zone": "new", "type": "qinq", "bridge": "vmbr0"}, ["tag is missing"]),
        (ZONE, {"zone": "new", "type": "qinq", "bridge": "vmbr0", "tag": 4095}, ["tag", "4095", "at most 4094"]),
        (ZONE, {"zone": "new", "type": "simple", "bridge": "vmbr0"}, ["bridge does not belong to type 'simple'"]),
        (ZONE, {"zone": "new", "type": "simple", "dhcp": "kea"}, ["'kea' is not one of dnsmasq"]),
        (ZONE, {"zone": "new", "type": "vxlan"}, ["needs peers or fabric"]),
        (ZONE, {"zone": "new", "type": "vxlan", "peers": ["192.0.2.1"], "fabric": "f1"}, ["needs peers or fabric"]),
        (ZONE, {"zone": "new", "type": "vxlan", "peers": ["pve1"]}, ["'pve1' is not an IP address"]),
        (ZONE, {"zone": "new", "type": "evpn", "controller": "routes"}, ["vrf_vxlan is missing"]),
        (ZONE, {"zone": "new", "type": "evpn", "controller": "b", "vrf_vxlan": 9}, ["'b' is of type 'bgp'"]),
        (ZONE, {"zone": "new", "type": "evpn", "controller": "routes", "vrf_vxlan": 7}, ["7 is that of zone 'core'"]),
        (ZONE, {"zone": "core", "mac": ""}, ["mac is empty"]),
        (ZONE, {"zone": "core", "rt_import": ["65000"]}, ["'65000' is not a route target such as 65000:100"]),
        (ZONE, {"zone": "plain", "dnszone": "example.com"}, ["dnszone needs dns"]),
        (VNET, {"vnet": "toolongname", "zone": "plain"}, ["'toolongname'", "2 to 8"]),
        (VNET, {"vnet": "new"}, ["zone is missing"]),
        (VNET, {"vnet": "new", "zone": "plain", "tag": 5}, ["tag 5", "'plain' of type 'simple'", "leave it out"]),
        (VNET, {"vnet": "new", "zone": "floors"}, ["tag is missing, zone 'floors' of type 'vlan' needs it"]),
        (VNET, {"vnet": "new", "zone": "floors", "tag": 4095}, ["4095", "at most 4094"]),
        (VNET, {"vnet": "new", "zone": "floors", "tag": 12}, ["vnet 'taken' of zone 'floors' has tag 12 already"]),
        (VNET, {"vnet": "new", "zone": "core"}, ["tag is missing"]),
        (VNET, {"vnet": "new", "zone": "core", "tag": 99}, ["vnet 'tunnel' of zone 'core' has tag 99 already"]),
        (VNET, {"vnet": "new", "zone": "core", "tag": 5, "vlanaware": True}, ["vlanaware cannot be true"]),
        (VNET, {"vnet": "taken", "tag": 0}, ["tag is missing"]),
        (VNET, {"vnet": "flat", "alias": "a & b"}, ["alias", "'a & b'"]),
        (SUBNET, {"vnet": "flat", "subnet": "198.51.100.0"}, ["'198.51.100.0'", "prefix length"]),
        (SUBNET, {"vnet": "flat", "subnet": "lan/24"}, ["'lan/24'", "198.51.100.0/24"]),
        (SUBNET, {"vnet": "flat", "subnet": "198.51.100.7/24"}, ["write 198.51.100.0/24"]),
        (SUBNET, {"vnet": "trunk", "subnet": "10.0.0.0/8"}, ["'trunk' is aware of VLANs"]),
        (SUBNET, {"gateway": "192.0.2.1"}, ["gateway 192.0.2.1 is not in the subnet"]),
        (SUBNET, {"dhcp_dns_server": "dns"}, ["'dns' is not an IP address"]),
        (SUBNET, {"dhcp_range": [{"start-address": "198.51.100.5"}]}, ["'end-address' is missing"]),
        (SUBNET, {"dhcp_range": [{**RANGE, "start-address": "198.51.100.100"}]}, ["198.51.100.100 comes after"]),
        (SUBNET, {"dhcp_range": [{**RANGE, "end-address": "198.51.101.1"}]}, ["198.51.101.1 is not in the subnet"]),
        (SUBNET, {"dhcp_range": [RANGE, {**SECOND, "start-address": "198.51.100.60"}]}, ["is in two ranges"]),
        (CONTROLLER, {"controller": "x", "type": "bgp"}, ["2 to 64", "node is missing", "asn is missing"]),
        (
            CONTROLLER,
            {"controller": "second", "type": "evpn", "asn": 1, "peers": ["192.0.2.1"]},
            ["'routes' is of type"],
        ),
        (CONTROLLER, {"controller": "routes", "fabric": "f1"}, ["peers or fabric, one of them"]),
        (CONTROLLER, {"controller": "routes", "ebgp": True}, ["ebgp does not belong to type 'evpn'"]),
        (
            CONTROLLER,
            {
                "controller": "i1",
                "type": "isis",
                "node": "pve1",
                "isis_domain": "a",
                "isis_net": "49",
                "isis_ifaces": "e",
            },
            ["isis_net", "'49' is not the title of a node"],
        ),
    ],
    ids=lambda value: "-".join(str(item) for item in value.values())[:40] if isinstance(value, dict) else None,
)
def test_bad_input_is_refused_before_anything_is_written(run, module, options, words):
    staged = run.api.pve.sdn_staged
    staged["controller"]["b"] = {"type": "bgp", "node": "pve1", "asn": 1, "peers": "192.0.2.1"}
    staged["zone"]["core"] = {"type": "evpn", "controller": "routes", "vrf-vxlan": 7, "mac": "BC:24:11:00:00:02"}
    staged["vnet"]["taken"] = {"type": "vnet", "zone": "floors", "tag": 12}
    staged["vnet"]["tunnel"] = {"type": "vnet", "zone": "core", "tag": 99}
    staged["vnet"]["trunk"] = {"type": "vnet", "zone": "plain", "vlanaware": 1}
    names = {"vnet": "flat", "subnet": "198.51.100.0/24"} if module == SUBNET else {}
    run.api.requests()
    message = run.fails(module, {**names, **options, "apply": False})
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


# -------------------------------------------------------------------------------------------------------- other hands


def test_what_another_hand_changed_comes_back_and_nothing_else(run):
    zone = {"zone": "lan", "type": "simple", "mtu": 1400, "nodes": ["pve1"]}
    run(ZONE, zone)
    for kinds in (run.api.pve.sdn_staged, run.api.pve.sdn_running):
        kinds["zone"]["lan"] |= {"mtu": 1500, "ipam": "pve"}
    assert set(run(ZONE, zone)["diff"]["after"]) == {"mtu"}
    assert in_force(run, "zone")["lan"] == {"type": "simple", "mtu": 1400, "nodes": "pve1", "ipam": "pve"}


@pytest.mark.parametrize("life", [LIVES[0], LIVES[5], LIVES[6], LIVES[8]], ids=str)
def test_a_conflict_is_planned_again_on_fresh_data(run, monkeypatch, life):
    run(life.module, {**life.ident, **life.created})
    update, calls = type(run.api.pve)._sdn_update, []

    def another_was_quicker(self, kind, values, user):
        if not calls:
            # Others are in the same file.
            self.sdn_staged[kind]["another"] = dict(next(iter(self.sdn_staged[kind].values())))
        calls.append(values)
        try:
            return update(self, kind, values, user)
        finally:
            self.sdn_staged[kind].pop("another", None)

    monkeypatch.setattr(type(run.api.pve), "_sdn_update", another_was_quicker)
    option, value = next(iter(life.changes.items()))
    assert run(life.module, {**life.ident, option: value})["changed"]
    assert len(calls) == 2


def test_the_lock_of_another_program_is_waited_for(run, monkeypatch):
    run.api.pve.sdn_lock = "01a203bf-fd19-75f6-a740-e64238059d52"
    tries = []

    def wait(seconds):
        tries.append(seconds)
        if len(tries) == 2:
            run.api.pve.sdn_lock = ""

    monkeypatch.setattr("time.sleep", wait)
    assert run(ZONE, {"zone": "lan", "type": "simple"})["applied"]
    assert len(tries) >= 2


def test_a_lock_that_stays_is_named(run):
    run.api.pve.sdn_lock = "01a203bf-fd19-75f6-a740-e64238059d52"
    message = run.fails(ZONE, {"zone": "lan", "type": "simple", "task_timeout": 0})
    assert "another program holds the lock" in message
    assert "pvesh delete /cluster/sdn/lock --force 1" in message


def test_the_right_to_stage_is_not_the_right_to_apply(run):
    life = limited(run, LIVES[0], SDN_Allocate="/sdn/zones", SDN_Audit="/sdn")
    message = run.fails(ZONE, {**life.ident, **life.created})
    assert "staged, and not applied" in message
    assert "privilege" in message
    assert "lan" in run.api.pve.sdn_staged["zone"]
    assert "lan" not in in_force(run, "zone")
    # Somebody who may finds it left.
    assert run(ZONE, {**LIVES[0].ident, **LIVES[0].created})["action"] == "apply"


def test_a_task_that_fails_is_told(run):
    run.api.pve.plan_task("reloadnetworkall", error="no quorum")
    message = run.fails(ZONE, {"zone": "lan", "type": "simple"})
    assert "the task failed: no quorum" in message
    assert "apply again with 'pvesh set /cluster/sdn'" in message


def test_a_node_that_did_not_take_it_is_told(run):
    # As recorded; the task ends with OK.
    entries = map(json.loads, RECORDED.read_text().splitlines())
    recorded = next(entry["response"]["data"] for entry in entries if entry["path"].endswith("/log"))
    run.api.pve.plan_task("reloadnetworkall", log=[line["t"] for line in recorded[1:-1]])
    text = warnings(run(ZONE, {"zone": "lan", "type": "simple"}))
    assert "not every node took what was applied" in text
    assert "incompatible 'ifupdown2' package version" in text
    assert "/nodes/pve1/network --regenerate-frr 0" in text
    run.api.pve.plan_task("reloadnetworkall", log=["pve2: reloading network config"])
    assert "warnings" not in run(ZONE, {"zone": "lan", "mtu": 1400})


def test_what_is_changed_while_it_is_applied_comes_back_and_is_applied(run):
    answer, changed = run.api.pve._answer, []

    async def changing(request, *args):
        if (request.method, request.path) == ("PUT", "/api2/json/cluster/sdn") and not changed:
            changed.append(request.path)
            run.api.pve.sdn_staged["zone"]["lan"]["mtu"] = 1500
        return await answer(request, *args)

    run.api.pve._answer = changing
    run(ZONE, {"zone": "lan", "type": "simple", "mtu": 1400})
    assert run.api.pve.sdn_staged["zone"]["lan"]["mtu"] == in_force(run, "zone")["lan"]["mtu"] == 1400


def test_an_answer_that_is_lost_while_it_is_applied(run):
    answer, lost = run.api.pve._answer, []

    async def losing(request, *args):
        response = await answer(request, *args)
        if (request.method, request.path) == ("PUT", "/api2/json/cluster/sdn") and not lost:
            lost.append(request.path)
            request.transport.abort()
        return response

    run.api.pve._answer = losing
    run.api.requests()
    assert run(ZONE, {"zone": "lan", "type": "simple"})["applied"]
    # The second one has a task that can be waited for.
    assert applied(run) == 2


def test_an_api_without_fabrics(run):
    run.api.pve.sdn_fabrics = None
    assert run(ZONE, {"zone": "lan", "type": "simple"})["applied"]


# ------------------------------------------------------------------------------------------------------------ reality


def comparable(answer):
    """An answer without what varies: numbers of lines, names of tasks and what Proxmox VE makes up."""
    text = json.dumps(plain({part: answer.get(part) for part in ("data", "message", "errors")}), sort_keys=True)
    text = re.sub(r" at [^ ]+\.pm line \d+\.", "", text.replace("\\n", ""))
    text = re.sub(r'"mac": "[^"]*",? ?|UPID:.*?@pam:', "", text)
    return re.sub(r'"[0-9a-f-]{36}"', "", text)


def test_the_recorded_requests_get_the_recorded_answers(start_api):
    api = start_api()
    session = requests.Session()
    session.trust_env, session.verify = False, api.ca_path
    base = f"{api.pve.url}/api2/json"
    login = session.post(f"{base}/access/ticket", {"username": "root@pam", "password": api.pve.password}).json()["data"]
    session.cookies["PVEAuthCookie"] = login["ticket"]
    session.headers["CSRFPreventionToken"] = login["CSRFPreventionToken"]
    wrong = []
    for entry in map(json.loads, RECORDED.read_text().splitlines()):
        # The others are about what is not kept here.
        if not KEPT.match(f"{entry['method']} {entry['path']}"):
            continue
        place = "params" if entry["method"] in ("GET", "DELETE") else "data"
        url = base + urllib.parse.quote(entry["path"])
        response = session.request(entry["method"], url, **{place: entry.get("params") or {}})
        here, there = comparable(response.json()), comparable(entry["response"])
        if (response.status_code, here) != (entry["status"], there):
            wrong.append((entry["method"], entry["path"], entry.get("params"), here, there))
    assert wrong == []
