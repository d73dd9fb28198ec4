# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall of a whole site: one call of the module, and the role with the reference site."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client
from ansible_collections.onprem.cloud.plugins.module_utils.pve.firewall import Guarded

from tests.contract.running import ROOT, Node, Played, Run
from tests.contract.serving import SECRET, TOKEN, Api

MODULE = "pve_firewall_fleet"
ADMINS, CONTROLLER = "198.51.100.0/24", "198.51.100.7"
LOGIN = f"{CONTROLLER} 50000 192.0.2.11 22"
SSH = {
    "name": "onprem-ssh",
    "comment": "Administration",
    "rules": [
        {"action": "ACCEPT", "source": "+dc/management", "proto": "tcp", "dport": "22", "comment": "SSH"},
        {"action": "ACCEPT", "source": "+dc/management", "macro": "Ping"},
    ],
}
DATABASE = {
    "name": "onprem-db",
    "comment": "Database",
    "rules": [{"action": "ACCEPT", "source": "+dc/onprem-clients", "proto": "tcp", "dport": "3306"}],
}
CLIENTS = {"name": "onprem-clients", "comment": "Clients", "entries": [{"cidr": "192.0.2.40", "comment": "app"}]}
GUESTS = [{"vmid": 100, "groups": ["onprem-ssh", "onprem-db"]}, {"vmid": 101, "groups": ["onprem-ssh"]}]
SITE: dict[str, Any] = {
    "admins": [ADMINS],
    "ssh_connections": [LOGIN],
    "sets": [CLIENTS],
    "groups": [SSH, DATABASE],
    "node_groups": ["onprem-ssh"],
    "guests": GUESTS,
}
FIREWALL = "/cluster/firewall"


def of(vmid: int) -> str:
    return f"/nodes/pve1/lxc/{vmid}/firewall"


@pytest.fixture
def site(run: Run) -> Run:
    """A site as it is declared."""
    run.api.pve.add_ct(100, name="database")
    run.api.pve.add_ct(101, name="other")
    run(MODULE, SITE)
    run.api.requests()
    return run


def told(run: Run, options: dict[str, Any]) -> dict[str, Any]:
    """The difference that a run makes, which check mode says beforehand without a write; a second run makes none."""
    predicted = run(MODULE, options, check=True)
    assert run.api.writes() == []
    result = run(MODULE, options)
    assert predicted["diff"] == result["diff"]
    assert predicted["changed"] == result["changed"] == bool(result["diff"]["before"] or result["diff"]["after"])
    writes = run.api.writes()
    assert bool(writes) == result["changed"]
    again = run(MODULE, options)
    assert not again["changed"]
    assert run.api.writes() == []
    return {**result["diff"], "writes": [f"{write.method} {write.path}" for write in writes]}


def rules_of(run: Run, vmid: int) -> list[str]:
    """The actions of the rules of a container, whether it is there or not."""
    result = run("pve_firewall_rules", {"node": "pve1", "type": "lxc", "vmid": vmid})
    return [rule["action"] for rule in result["firewall_rules"]]


def test_rules_come_first_and_the_datacenter_is_turned_on_last(run: Run) -> None:
    run.api.pve.add_ct(100, name="database")
    writes = told(run, SITE)["writes"]
    for vmid in (100, 101):
        assert writes.index(f"PUT {of(vmid)}/options") > writes.index(f"POST {of(vmid)}/rules")
        assert writes.index(f"POST {of(vmid)}/rules") > writes.index(f"POST {FIREWALL}/groups/onprem-ssh")
    assert writes.index(f"POST {FIREWALL}/groups/onprem-db") > writes.index(f"POST {FIREWALL}/ipset/onprem-clients")
    assert writes[-1] == f"PUT {FIREWALL}/options"
    options = run("pve_firewall_options", {"controller_addresses": [CONTROLLER]})["firewall_options"]
    assert {key: options[key] for key in ("enable", "policy_in", "policy_out")} == {
        "enable": 1,
        "policy_in": "DROP",
        "policy_out": "ACCEPT",
    }


def test_the_network_of_the_nodes_is_not_let_in_with_the_administrators(
    site: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = site("pve_firewall_ipset", {"name": "management"})["firewall_ipset"]["entries"]
    assert members == [
        {"cidr": "192.0.2.11", "comment": "onprem-nodes"},
        {"cidr": ADMINS, "comment": "onprem-admins"},
    ]
    real = Client.get
    vmbr0 = {"iface": "vmbr0", "type": "bridge", "method": "static", "address": "192.0.2.11", "cidr": "192.0.2.11/24"}
    monkeypatch.setattr(
        Client,
        "get",
        lambda self, path, **params: [vmbr0] if path.endswith("/network") else real(self, path, **params),
    )
    # The guard of another module tells who would stay outside.
    for address, stays in ((CONTROLLER, True), ("192.0.2.200", False)):
        change = {"policy_out": "DROP", "controller_addresses": [address]}
        assert bool(site.any("pve_firewall_options", change, check=True).get("failed")) != stays


@pytest.mark.parametrize(
    ("change", "writes"),
    [
        (
            {"guests": [*GUESTS, {"vmid": 102, "groups": ["onprem-ssh"]}]},
            [f"POST {of(102)}/rules", f"PUT {of(102)}/options"],
        ),
        (
            {"sets": [{**CLIENTS, "entries": [*CLIENTS["entries"], {"cidr": "192.0.2.41"}]}]},
            [f"POST {FIREWALL}/ipset/onprem-clients"],
        ),
        (
            {"guests": [{"vmid": 100, "groups": ["onprem-ssh"]}, {"vmid": 101, "groups": ["onprem-ssh", "onprem-db"]}]},
            [f"DELETE {of(100)}/rules/1", f"POST {of(101)}/rules", f"PUT {of(101)}/rules/1"],
        ),
        ({"admins": [ADMINS, "203.0.113.7"]}, [f"POST {FIREWALL}/ipset/management"]),
        ({"enabled": False}, [f"PUT {FIREWALL}/options"]),
    ],
    ids=["guest", "client", "moved", "administrator", "off"],
)
def test_only_what_is_new_is_written(site: Run, change: dict[str, Any], writes: list[str]) -> None:
    assert told(site, {**SITE, **change})["writes"] == writes


def test_what_is_no_longer_declared_goes_once_nobody_uses_it(site: Run) -> None:
    gone = {**SITE, "sets": [], "groups": [SSH], "guests": [{**GUESTS[0], "groups": ["onprem-ssh"]}, GUESTS[1]]}
    writes = told(site, gone)["writes"]
    assert writes == [
        f"DELETE {of(100)}/rules/1",
        f"DELETE {FIREWALL}/groups/onprem-db/0",
        f"DELETE {FIREWALL}/groups/onprem-db",
        f"DELETE {FIREWALL}/ipset/onprem-clients",
    ]


def test_guest_that_leaves_the_inventory_keeps_its_rules(site: Run) -> None:
    rest = {**SITE, "groups": [SSH], "guests": GUESTS[1:]}
    assert told(site, rest)["writes"] == []
    assert site("pve_firewall_rules", {"group": "onprem-db"})["firewall_rules"]


DRIFT: dict[str, Callable[[Run], Any]] = {
    "a rule of a group": lambda run: run("pve_firewall_rules", {"group": "onprem-db", "rules": []}),
    "the port of a rule": lambda run: run(
        "pve_firewall_rules", {"group": "onprem-db", "rules": [{**DATABASE["rules"][0], "dport": "3307"}]}
    ),
    "a wider rule": lambda run: run(
        "pve_firewall_rules",
        {"group": "onprem-db", "rules": [{"action": "ACCEPT"}], "exclusive": False},
    ),
    "the rules of a guest": lambda run: run("pve_firewall_rules", {"vmid": 100, "rules": []}),
    "a rule turned off": lambda run: run(
        "pve_firewall_rules",
        {"vmid": 101, "rules": [{"type": "group", "action": "onprem-ssh", "enable": False}]},
    ),
    "a group too many": lambda run: run(
        "pve_firewall_rules",
        {"vmid": 101, "rules": [{"type": "group", "action": "onprem-db"}], "exclusive": False},
    ),
    "a guest's firewall off": lambda run: run("pve_firewall_options", {"vmid": 100, "enable": False}),
    "a guest that accepts": lambda run: run("pve_firewall_options", {"vmid": 100, "policy_in": "ACCEPT"}),
    "the datacenter accepts": lambda run: run("pve_firewall_options", {"policy_in": "ACCEPT"}),
    "members of a set": lambda run: run(
        "pve_firewall_ipset", {"name": "onprem-clients", "entries": [{"cidr": "203.0.113.0/24"}]}
    ),
    "an administrators' network": lambda run: run(
        "pve_firewall_ipset",
        {"name": "management", "entries": [{"cidr": "203.0.113.0/24", "comment": "onprem-admins"}]},
    ),
    "the comment of a group": lambda run: run("pve_firewall_group", {"group": "onprem-db", "comment": "?"}),
    "the nodes' network let in": lambda run: run(
        "pve_firewall_alias", {"name": "local_network", "cidr": "192.0.2.0/24"}
    ),
}


@pytest.mark.parametrize("drift", DRIFT)
def test_what_was_changed_by_hand_is_repaired(site: Run, drift: str) -> None:
    declared = site(MODULE, SITE)[MODULE.removeprefix("pve_")]
    assert DRIFT[drift](site)["changed"]
    site.api.requests()
    assert told(site, SITE)["writes"]
    assert site(MODULE, SITE)[MODULE.removeprefix("pve_")] == declared


def test_what_was_added_by_hand_stays_where_it_is(site: Run) -> None:
    banned = {"action": "DROP", "source": "203.0.113.66"}
    own = {"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "8080"}
    ours = {"type": "group", "action": "onprem-ssh"}
    hand = [
        ("pve_firewall_rules", {"vmid": 101, "rules": [banned, ours, own]}),
        ("pve_firewall_rules", {"rules": [own, ours, banned]}),
        ("pve_firewall_rules", {"node": "pve1", "rules": [own]}),
        ("pve_firewall_group", {"group": "theirs", "rules": [own]}),
        ("pve_firewall_ipset", {"name": "theirs", "entries": [{"cidr": "203.0.113.0/24"}]}),
        ("pve_firewall_alias", {"name": "theirs", "cidr": "203.0.113.0/24"}),
        (
            "pve_firewall_ipset",
            {
                "name": "management",
                "entries": [
                    {"cidr": "192.0.2.11", "comment": "onprem-nodes"},
                    {"cidr": ADMINS, "comment": "onprem-admins"},
                    {"cidr": "203.0.113.9", "comment": "the vendor, until Friday"},
                ],
            },
        ),
    ]
    for module, options in hand:
        assert site(module, options)["changed"]
    site.api.requests()
    assert told(site, SITE)["writes"] == []
    # Another service of the guest comes behind them.
    more = {**SITE, "guests": [GUESTS[0], {"vmid": 101, "groups": ["onprem-db", "onprem-ssh"]}]}
    told(site, more)
    assert rules_of(site, 101) == ["DROP", "onprem-ssh", "ACCEPT", "onprem-db"]
    for module, options in hand[1:]:
        assert not site(module, options, check=True)["changed"]


@pytest.mark.parametrize(
    "who",
    [
        {"ssh_connections": ["203.0.113.7 50000 192.0.2.11 22"]},
        {"ssh_connections": [LOGIN, "203.0.113.7 50000 192.0.2.12 22"]},
        {"controller_addresses": ["203.0.113.7"]},
    ],
    ids=["login", "one login of two", "told"],
)
def test_controller_that_is_no_administrator_is_refused(run: Run, who: dict[str, Any]) -> None:
    for check in (True, False):
        message = run.fails(MODULE, {**SITE, **who}, check=check)
        assert "the controller 203.0.113.7 could no longer reach the nodes and guests" in message
        assert f"({ADMINS}): add it to admins, which the playbooks take from site_admin_networks" in message
    assert run.api.writes() == []
    assert run(MODULE, {**SITE, **who, "allow_lockout": True})["changed"]


def test_rule_by_hand_that_shuts_the_controller_out_is_refused(run: Run) -> None:
    drop = {"action": "DROP", "source": ADMINS, "proto": "tcp", "dport": "8006"}
    run("pve_firewall_rules", {"rules": [drop]})
    run.api.requests()
    message = run.fails(MODULE, SITE)
    assert f"the controller {CONTROLLER} could no longer reach TCP 8006 of node 'pve1'" in message
    assert run.api.writes() == []


def test_the_way_to_the_api_counts_unless_it_is_that_of_the_login(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guarded, "controllers", lambda self: ["203.0.113.8"])
    assert "the controller 203.0.113.8 could no longer" in run.fails(MODULE, SITE)
    same = f"{CONTROLLER} 50000 {run.api.pve.host} 22"
    assert run(MODULE, {**SITE, "ssh_connections": [same]})["changed"]


def test_answers_of_writes_that_are_lost(run: Run) -> None:
    answer, lost = run.api.pve._answer, []
    paths = {f"{FIREWALL}/ipset", f"{FIREWALL}/groups/onprem-ssh", f"{of(100)}/rules", f"{FIREWALL}/options"}

    async def losing(request: Any, *args: Any) -> Any:
        response = await answer(request, *args)
        path = request.path.removeprefix("/api2/json")
        if request.method != "GET" and path in paths - set(lost):
            lost.append(path)
            request.transport.abort()
        return response

    run.api.pve._answer = losing
    assert run(MODULE, SITE)["changed"]
    assert set(lost) == paths
    assert not run(MODULE, SITE)["changed"]
    assert sorted(rules_of(run, 100)) == ["onprem-db", "onprem-ssh"]


def test_rule_that_somebody_adds_meanwhile_stays(run: Run) -> None:
    answer, added = run.api.pve._answer, []

    async def adding(request: Any, *args: Any) -> Any:
        if request.method == "POST" and request.path.endswith("/100/firewall/rules") and not added:
            added.append({"type": "in", "action": "DROP", "source": "203.0.113.66", "enable": 1})
            run.api.pve.firewall_config("vm", "pve1", 100)["rules"].insert(0, dict(added[0]))
        return await answer(request, *args)

    run(MODULE, {**SITE, "guests": [{"vmid": 100, "groups": ["onprem-ssh"]}]})
    run.api.pve._answer = adding
    assert run(MODULE, SITE)["changed"]
    assert sorted(rules_of(run, 100)) == ["DROP", "onprem-db", "onprem-ssh"]


def test_guest_of_a_node_that_is_down(site: Run) -> None:
    site.api.pve.nodes["pve2"] = {"online": True}
    site.api.pve.add_ct(102, name="elsewhere", node="pve2")
    site.api.pve.set_node_offline("pve2")
    told(site, {**SITE, "guests": [*GUESTS, {"vmid": 102, "groups": ["onprem-ssh"]}]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"admins": []}, "admins is empty"),
        ({"admins": ["0.0.0.0/0"]}, "'0.0.0.0/0' is everything and PVE takes no such entry"),
        ({"admins": ["the office"]}, "'the office' is not an address or network"),
        ({"sets": [{**CLIENTS, "name": "clients"}]}, "'clients' does not begin with the prefix 'onprem-'"),
        ({"groups": [SSH, {**DATABASE, "name": "onprem-much-too-long"}]}, "is not a name of 2 to 18 letters"),
        ({"sets": []}, "group 'onprem-db': there is no set 'onprem-clients' in sets"),
        ({"groups": [SSH]}, "there is no group 'onprem-db' in groups"),
        ({"groups": [SSH, {**DATABASE, "rules": [{"action": "ALLOW"}]}]}, "group 'onprem-db': rule 1: action 'ALLOW'"),
        ({"ssh_connections": [CONTROLLER]}, "is not what SSH_CONNECTION is"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_mistakes_are_named_before_the_first_write(run: Run, change: dict[str, Any], words: str) -> None:
    assert words in run.fails(MODULE, {**SITE, **change})
    assert run.api.writes() == []


def test_node_whose_firewall_was_turned_off_is_told(site: Run) -> None:
    site("pve_firewall_options", {"node": "pve1", "enable": False})
    result = site(MODULE, SITE)
    assert not result["changed"]
    assert "the firewall of node 'pve1' itself is off" in str(result["warnings"])
    site("pve_firewall_options", {"node": "pve1", "enable": True, "controller_addresses": [CONTROLLER]})
    assert "warnings" not in site(MODULE, SITE)


def test_privileges_that_the_documentation_names_are_enough(run: Run) -> None:
    user = "automation@pve"
    run.api.pve.apitokens[f"{user}!site"] = SECRET
    run.login = {"api_user": user, "api_token_id": "site"}
    for path, privileges in {
        "/": ("Sys.Audit", "Sys.Modify"),
        "/nodes": ("Sys.Audit",),
        "/vms": ("VM.Audit", "VM.Config.Network"),
    }.items():
        run.api.pve.grant(user, path, *privileges)
    told(run, SITE)


# ------------------------------------------------------------------------------------------------------ the role


class Site:
    """The reference site on a served API, whose node is this computer."""

    def __init__(self, api: Api, directory: Path) -> None:
        self.api, self.node = api, Node(api, directory)
        user, token = TOKEN.split("!")
        self.access = {
            "pve_api_host": api.pve.host,
            "pve_api_user": user,
            "pve_api_token_id": token,
            "pve_api_token_secret": SECRET,
            "pve_api_ca_path": api.ca_path,
            "proxmox_firewall_settle_seconds": 0,
        }

    def play(self, *arguments: str, login: str = "192.168.0.77 50000 192.168.0.2 22") -> Played:
        self.api.requests()
        where = ("-i", str(ROOT / "inventories/example"), "--tags", "proxmox_firewall", "-e", json.dumps(self.access))
        port = {"PROXMOX_PORT": str(self.api.pve.port)}
        return self.node.play(ROOT / "playbooks/host.yml", *where, *arguments, SSH_CONNECTION=login, **port)


@pytest.fixture
def reference(api: Api, tmp_path: Path) -> Site:
    return Site(api, tmp_path)


def test_reference_site_is_foreseen_written_once_and_then_only_looked_at(reference: Site) -> None:
    step = "onprem.cloud.proxmox_firewall : Bring the firewall of nodes and guests to what is declared"
    api, calls = reference.api, reference.node.calls
    # As root of a node every request is a process: one guest will do.
    one = ("-e", json.dumps({"site_firewall_guests": ["database-replica"]}))
    over_the_network = ("-e", "proxmox_firewall_api_backend=https")
    for arguments, changed in (
        # Before there is a token, what is going to be is found out as root of the node.
        ((*one, "--check", "-e", "pve_api_token_secret=''"), [f"{step}, as root of a node"]),
        (one, [f"{step}, as root of a node"]),
        (over_the_network, [step]),
        ((), []),
    ):
        before = len(calls.read_text().splitlines())
        done = reference.play(*arguments)
        assert done.code == 0, done.output
        assert done.changed == changed
        requests = api.requests()
        written = any(request.method != "GET" for request in requests)
        assert written == (bool(changed) and "--check" not in arguments)
        by_root = [call for call in calls.read_text().splitlines()[before:] if "firewall" in call]
        assert bool(by_root) == (arguments[:2] == one)
    assert len(requests) < 70
    for vmid, groups in (
        (101, {"onprem-admin", "onprem-mariadb"}),
        (102, {"onprem-admin", "onprem-redis", "onprem-redis-exp"}),
    ):
        firewall = api.pve.firewall_config("vm", "pve1", vmid)
        assert {rule["action"] for rule in firewall["rules"]} >= groups
        assert firewall["options"]["enable"]


def test_reference_site_that_would_lock_out_its_controller_is_refused(reference: Site) -> None:
    done = reference.play(login="203.0.113.7 50000 192.168.0.2 22")
    assert done.code == 2
    said = " ".join(done.output.split())
    assert "the controller 203.0.113.7 could no longer reach the nodes and guests" in said
    assert "site_admin_networks" in said
    assert reference.api.writes() == []


def test_network_device_of_a_guest_gets_its_firewall(reference: Site) -> None:
    api = reference.api
    api.pve.add_ct(100, name="pve1", config={"net0": "name=eth0,bridge=vmbr0,ip=192.0.2.10/24"})
    play = {
        "module_defaults": {"group/onprem.cloud.pve": {**api.connection, "api_port": api.pve.port}},
        "vars": {
            "guest_vmid": 100,
            "guest_address": "192.0.2.10/24",
            "guest_wait": False,
            "guest_proxmox_host": "pve1",
        },
        "tasks": [{"ansible.builtin.include_role": {"name": "onprem.cloud.guest"}}],
    }
    for switch, there in (("true", True), ("false", False)):
        done = reference.node.play(play, "-e", f'{{"guest_firewall": {switch}}}')
        assert done.code == 0, done.output
        assert ("firewall=1" in api.config(100)["net0"]) == there
