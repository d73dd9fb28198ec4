# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No policy of the firewall shuts out the machine that writes it, unless it is told to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve import firewall
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client

# In and out of the node's network, 192.0.2.0/24.
CONTROLLER = {"controller_addresses": ["198.51.100.7"]}
INSIDE = {"controller_addresses": ["192.0.2.200"]}
SSH = {"action": "ACCEPT", "proto": "tcp", "dport": "22", "source": "198.51.100.0/24"}
API = {"action": "ACCEPT", "proto": "tcp", "dport": "8006", "source": "198.51.100.0/24"}
DENY = {"action": "DROP"}


@pytest.fixture
def on(run):
    """The firewall of the datacenter is on, and nobody is let in."""
    run("pve_firewall_options", {"enable": True, "allow_lockout": True})
    run.api.requests()


def test_turning_on_without_a_rule_is_refused(run):
    for check in (True, False):
        message = run.fails("pve_firewall_options", {"enable": True, **CONTROLLER}, check=check)
        assert (
            "firewall options of the datacenter: the controller 198.51.100.7 could no longer reach TCP 22 and 8006"
            in (message)
        )
        assert "node 'pve1'" in message
        assert "{type: in, action: ACCEPT, source: 198.51.100.7, proto: tcp, dport: '22,8006'}" in message
        assert "allow_lockout" in message
    assert run.api.writes() == []


def test_what_is_not_told_about_is_found_on_the_connection(run):
    # This machine talks to the API over the loopback interface, which is always open.
    assert run("pve_firewall_options", {"enable": True})["changed"]


@pytest.mark.parametrize(("came", "found"), [("198.51.100.7 50000 192.0.2.11 22", ["198.51.100.7"]), ("", [])])
def test_on_the_node_itself_the_ssh_client_is_who_stays_in(monkeypatch, came, found):
    monkeypatch.setenv("SSH_CONNECTION", came)
    holder = object.__new__(firewall.Guarded)
    holder.params, holder.client = {"controller_addresses": None}, SimpleNamespace(local=True)
    assert holder.controllers() == found


def test_rules_come_first_and_then_the_firewall_is_turned_on(run):
    run("pve_firewall_rules", {"rules": [SSH, API, DENY], **CONTROLLER})
    assert run("pve_firewall_options", {"enable": True, **CONTROLLER})["changed"]


def test_a_set_of_destinations_is_looked_into(run, on):
    run("pve_firewall_ipset", {"name": "nodes", "entries": [{"cidr": "192.0.2.11"}]})
    rules = [{**SSH, "dport": "22,8006", "dest": "+nodes"}, {**DENY, "dest": "+nodes"}]
    assert run("pve_firewall_rules", {"rules": rules, **CONTROLLER})["changed"]
    assert "could no longer" in run.fails("pve_firewall_rules", {"rules": rules[::-1], **CONTROLLER})


@pytest.mark.parametrize(("rules", "port"), [([SSH], "8006"), ([API], "22"), ([SSH, DENY, API], "8006")])
def test_the_missing_port_is_named(run, on, rules, port):
    message = run.fails("pve_firewall_rules", {"rules": rules, **CONTROLLER})
    assert f"reach TCP {port} of node 'pve1'" in message
    assert f"dport: '{port}'" in message
    assert run.api.writes() == []


def test_it_may_be_meant(run, on):
    assert run("pve_firewall_rules", {"rules": [DENY], "allow_lockout": True, **CONTROLLER})["changed"]


def test_an_accepting_policy_lets_in(run):
    assert run("pve_firewall_options", {"enable": True, "policy_in": "ACCEPT", **CONTROLLER})["changed"]
    message = run.fails("pve_firewall_options", {"policy_in": "", **CONTROLLER})
    assert "could no longer reach" in message


@pytest.mark.parametrize("source", ["interfaces", "alias"])
def test_the_local_network_lets_in(run, on, monkeypatch, source):
    if source == "alias":
        run("pve_firewall_alias", {"name": "local_network", "cidr": "192.0.2.0/24"})
    else:
        real = Client.get
        interfaces = [
            {"iface": "vmbr1", "type": "bridge", "method": "manual"},
            {"iface": "vmbr0", "type": "bridge", "method": "static", "address": "192.0.2.11", "cidr": "192.0.2.11/24"},
        ]
        monkeypatch.setattr(
            Client,
            "get",
            lambda self, path, **params: interfaces if path.endswith("/network") else real(self, path, **params),
        )
    assert run("pve_firewall_rules", {"rules": [{**DENY, "source": "203.0.113.0/24"}], **INSIDE})["changed"]
    assert "could no longer" in run.fails(
        "pve_firewall_rules", {"rules": [{**DENY, "source": "203.0.113.1"}], **CONTROLLER}
    )
    # Rules come first.
    assert "could no longer" in run.fails("pve_firewall_rules", {"rules": [DENY], **INSIDE})


def test_the_management_set_lets_in(run, on):
    run("pve_firewall_ipset", {"name": "management", "entries": [{"cidr": "198.51.100.0/24"}]})
    assert run("pve_firewall_rules", {"rules": [{**DENY, "source": "203.0.113.1"}], **CONTROLLER})["changed"]
    assert "could no longer" in run.fails("pve_firewall_rules", {"rules": [DENY], **CONTROLLER})


def test_a_node_may_shut_out_what_the_datacenter_lets_in(run, on):
    run("pve_firewall_rules", {"rules": [SSH, API], **CONTROLLER})
    message = run.fails("pve_firewall_rules", {"node": "pve1", "rules": [DENY], **CONTROLLER})
    assert "node 'pve1'" in message
    assert run("pve_firewall_options", {"node": "pve1", "enable": False, **CONTROLLER})["changed"]
    run("pve_firewall_rules", {"node": "pve1", "rules": [DENY], **CONTROLLER})
    # Now the rules of the node are written, and its firewall is off.
    assert "could no longer" in run.fails("pve_firewall_options", {"node": "pve1", "enable": True, **CONTROLLER})


def test_a_security_group_is_looked_into(run, on):
    run("pve_firewall_group", {"group": "admin", "rules": [SSH, API]})
    assert run("pve_firewall_rules", {"rules": [{"type": "group", "action": "admin"}], **CONTROLLER})["changed"]
    message = run.fails("pve_firewall_group", {"group": "admin", "rules": [SSH], **CONTROLLER})
    assert "TCP 8006" in message
    message = run.fails("pve_firewall_rules", {"group": "admin", "rules": [API], **CONTROLLER})
    assert "TCP 22" in message


def test_what_lets_in_stays_there(run, on):
    """A set, an alias or a group that the controller comes in by is not taken away or emptied."""
    entries = [{"cidr": "dc/admins"}]
    run("pve_firewall_alias", {"name": "admins", "cidr": "198.51.100.0/24", **INSIDE, "allow_lockout": True})
    run("pve_firewall_ipset", {"name": "management", "entries": entries, **CONTROLLER})
    run.api.requests()
    for module, options in (
        ("pve_firewall_ipset", {"name": "management", "entries": []}),
        (
            "pve_firewall_ipset",
            {"name": "management", "entries": [*entries, {"cidr": "198.51.100.7", "nomatch": True}]},
        ),
        ("pve_firewall_ipset", {"name": "management", "state": "absent"}),
        ("pve_firewall_alias", {"name": "Admins", "cidr": "203.0.113.0/24"}),
        ("pve_firewall_alias", {"name": "admins", "state": "absent"}),
    ):
        for check in (True, False):
            assert "could no longer reach TCP 22 and 8006" in run.fails(module, {**options, **CONTROLLER}, check=check)
    assert run.api.writes() == []
    assert run("pve_firewall_ipset", {"name": "management", "comment": "in", **CONTROLLER})["changed"]
    assert run("pve_firewall_alias", {"name": "admins", "comment": "in", **CONTROLLER})["changed"]
    run("pve_firewall_group", {"group": "admin", "rules": [SSH, API], **CONTROLLER})
    run("pve_firewall_rules", {"rules": [{"type": "group", "action": "admin"}], **CONTROLLER})
    assert run("pve_firewall_ipset", {"name": "management", "state": "absent", **CONTROLLER})["changed"]
    assert "could no longer" in run.fails("pve_firewall_group", {"group": "admin", "state": "absent", **CONTROLLER})


def test_a_guest_locks_nobody_out(run, on):
    level = {"node": "pve1", "type": "qemu", "vmid": 100}
    assert run("pve_firewall_rules", {**level, "rules": [DENY], **CONTROLLER})["changed"]
    assert run("pve_firewall_options", {**level, "enable": True, **CONTROLLER})["changed"]


def test_a_node_that_is_down_is_not_asked(run, api):
    api.pve.nodes["pve2"] = {"online": False}
    message = run.fails("pve_firewall_options", {"enable": True, **CONTROLLER})
    assert "'pve1'" in message
    assert "'pve2'" not in message


def test_an_address_that_is_none_is_said(run, on):
    message = run.fails("pve_firewall_rules", {"rules": [SSH], "controller_addresses": ["workstation"]})
    assert "controller_addresses: 'workstation' is not an IP address" in message
