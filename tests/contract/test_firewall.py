# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall of the datacenter, of nodes and of guests."""

from __future__ import annotations

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, Unreachable

from tests.contract.life import Life, limited, lives, whole_life

SSH = {"action": "ACCEPT", "proto": "tcp", "dport": "22", "source": "192.0.2.0/24"}
WEB = {"action": "ACCEPT", "proto": "tcp", "dport": "80,443,8000:8010", "comment": "web"}
PING = {"action": "ACCEPT", "macro": "Ping", "log": "info"}
DENY = {"action": "DROP"}
SPELLED = [
    {
        "rules": [
            {**SSH, "dport": "ssh", "proto": "6", "source": "192.0.2.0/24"},
            {**WEB, "dport": "443,8000:8010,http"},
        ]
    },
    {"rules": [{**SSH, "log": "nolog", "enable": True, "type": "in"}, {**WEB, "proto": "TCP", "comment": " web "}]},
]


LIVES = (
    Life(
        "pve_firewall_options",
        {},
        {"enable": True, "policy_in": "REJECT", "log_ratelimit": "enable=1,burst=10,rate=5/second"},
        {
            "enable": False,
            "policy_in": "ACCEPT",
            "policy_out": "DROP",
            "policy_forward": "DROP",
            "ebtables": False,
            "log_ratelimit": {"enable": False},
        },
        spellings=[
            {"log_ratelimit": {"rate": "5/second", "burst": 10}},
            {"log_ratelimit": "1,rate=5/second,burst=10", "policy_out": "ACCEPT", "ebtables": True},
        ],
        removed=["policy_in", "policy_out", "policy_forward", "log_ratelimit"],
        once=True,
    ),
    Life(
        "pve_firewall_options",
        {"node": "pve1"},
        {"log_level_in": "info", "nf_conntrack_helpers": ["ftp", "sip"]},
        {
            "enable": False,
            "log_level_in": "warning",
            "log_level_out": "err",
            "log_level_forward": "debug",
            "smurf_log_level": "info",
            "tcp_flags_log_level": "info",
            "nosmurfs": False,
            "tcpflags": True,
            "ndp": False,
            "nf_conntrack_max": 300000,
            "nf_conntrack_tcp_timeout_established": 8000,
            "nf_conntrack_tcp_timeout_syn_recv": 40,
            "nf_conntrack_allow_invalid": True,
            "nf_conntrack_helpers": ["tftp"],
            "log_nf_conntrack": True,
            "protection_synflood": True,
            "protection_synflood_rate": 100,
            "protection_synflood_burst": 500,
            "nftables": True,
        },
        spellings=[{"nf_conntrack_helpers": ["sip", "ftp"]}, {"log_level_out": "nolog", "nf_conntrack_max": 262144}],
        removed=["log_level_in", "nf_conntrack_helpers"],
        once=True,
    ),
    Life(
        "pve_firewall_options",
        {"node": "pve1", "type": "lxc", "vmid": 101},
        {"enable": True, "policy_in": "REJECT"},
        {
            "enable": False,
            "policy_in": "ACCEPT",
            "policy_out": "REJECT",
            "log_level_in": "info",
            "log_level_out": "info",
            "dhcp": True,
            "ipfilter": True,
            "macfilter": False,
            "ndp": False,
            "radv": True,
        },
        spellings=[{"policy_out": "ACCEPT", "macfilter": True, "log_level_out": "nolog"}],
        removed=["policy_in", "policy_out", "log_level_in"],
        once=True,
    ),
    Life(
        "pve_firewall_alias",
        {"name": "Admins"},
        {"cidr": "192.0.2.7", "comment": "on call"},
        {"cidr": "2001:db8::/64", "comment": "day and night"},
        spellings=[{"cidr": "192.0.2.7/32"}, {"name": "admins"}, {"comment": " on call "}],
        removed=["comment"],
    ),
    Life(
        "pve_firewall_alias",
        {"node": "pve1", "type": "qemu", "vmid": 102, "name": "web"},
        {"cidr": "192.0.2.0/24"},
        {"cidr": "192.0.2.0/25", "comment": "half"},
        spellings=[{"cidr": "192.0.2.1/24"}],
    ),
    Life(
        "pve_firewall_ipset",
        {"name": "Office"},
        {
            "comment": "who",
            "entries": [{"cidr": "192.0.2.0/25", "comment": "all"}, {"cidr": "192.0.2.9", "nomatch": True}],
        },
        {"comment": "nobody", "entries": [{"cidr": "192.0.2.0/25"}, {"cidr": "2001:db8::1"}, {"cidr": "192.0.2.9"}]},
        spellings=[
            {"entries": [{"cidr": "192.0.2.9/32", "nomatch": True}, {"cidr": "192.0.2.1/25", "comment": "all"}]},
            {"name": "office"},
        ],
        removed=["comment", "entries"],
    ),
    Life(
        "pve_firewall_ipset",
        {"node": "pve1", "type": "lxc", "vmid": 101, "name": "ipfilter-net0"},
        {"entries": [{"cidr": "192.0.2.44"}]},
        {"entries": [{"cidr": "192.0.2.45"}]},
    ),
    Life(
        "pve_firewall_group",
        {"group": "Web"},
        {"comment": "servers", "rules": [SSH, WEB]},
        {"comment": "all of them", "rules": [WEB, PING, {**SSH, "enable": False}]},
        spellings=[*SPELLED, {"group": "web"}],
        removed=["comment", "rules"],
    ),
    *(
        Life(
            "pve_firewall_rules",
            level,
            {"rules": [SSH, WEB]},
            {"rules": [PING, WEB, DENY]},
            SPELLED,
            ["rules"],
            once=True,
        )
        for level in ({}, {"node": "pve1"}, {"node": "pve1", "type": "lxc", "vmid": 101})
    ),
)


@lives(*LIVES)
def test_whole_life(run, life):
    whole_life(run, life)


@lives(*LIVES)
def test_whole_life_with_no_more_privileges_than_are_documented(run, life):
    if "vmid" in life.ident:
        guest = f"/vms/{life.ident['vmid']}"
        whole_life(run, limited(run, life, VM_Audit=guest, VM_Config_Network=guest))
    else:
        whole_life(
            run,
            limited(
                run, life, Sys_Audit="/", Sys_Modify=f"/nodes/{life.ident.get('node')}" if "node" in life.ident else "/"
            ),
        )


# ----------------------------------------------------------------------------------------------------- rules


GUEST = {"node": "pve1", "type": "lxc", "vmid": 101}


def said(result):
    """What the rules of a result say, briefly."""
    return [rule.get("dport") or rule.get("macro") or rule["action"] for rule in result["firewall_rules"]]


def accept(*ports):
    return [{"action": "ACCEPT", "proto": "tcp", "dport": str(port)} for port in ports]


def test_rules_are_known_by_what_they_say_and_never_by_position(run):
    run("pve_firewall_rules", {"rules": accept(1, 2, 3)})
    run.api.requests()
    result = run("pve_firewall_rules", {"rules": accept(3, 1, 2)})
    assert said(result) == ["3", "1", "2"]
    (move,) = run.api.writes()
    assert (move.method, move.path, move.params["moveto"]) == ("PUT", "/cluster/firewall/rules/2", "0")


def test_two_fields_of_a_rule_change_in_one_write(run):
    run("pve_firewall_rules", {"rules": accept(1, 2)})
    run.api.requests()
    run(
        "pve_firewall_rules",
        {"rules": [accept(1)[0], {**accept(2)[0], "comment": "two", "enable": False, "log": "info"}]},
    )
    (write,) = run.api.writes()
    assert (write.method, write.path) == ("PUT", "/cluster/firewall/rules/1")
    assert {key: write.params[key] for key in ("comment", "enable", "log")} == {
        "comment": "two",
        "enable": "0",
        "log": "info",
    }
    run("pve_firewall_rules", {"rules": accept(1, 2)})
    assert run.api.pve.firewall_config("cluster")["rules"][1].keys() == {"type", "action", "proto", "dport", "enable"}


def test_new_rules_are_enabled_and_in_order(run):
    run.api.requests()
    result = run("pve_firewall_rules", {"rules": accept(1, 2, 3)})
    assert said(result) == ["1", "2", "3"]
    assert all(rule["enable"] for rule in result["firewall_rules"])
    assert [write.method for write in run.api.writes()] == ["POST"] * 3


def test_others_are_left_alone_after_the_listed_ones(run):
    run("pve_firewall_rules", {"rules": accept(1, 2, 3)})
    assert said(run("pve_firewall_rules", {"rules": accept(9, 3), "exclusive": False})) == ["9", "3", "1", "2"]
    run.api.requests()
    assert not run("pve_firewall_rules", {"rules": accept(9, 3), "exclusive": False})["changed"]
    assert len(run.api.requests()) == 1
    assert said(run("pve_firewall_rules", {"rules": accept(9, 3)})) == ["9", "3"]


def test_a_rule_that_is_there_twice_is_there_once(run, api):
    run("pve_firewall_rules", {"rules": accept(1, 2)})
    rules = api.pve.firewall_config("cluster")["rules"]
    rules.append({**rules[0], "enable": 0})
    assert said(run("pve_firewall_rules", {"rules": accept(1), "exclusive": False})) == ["1", "2"]


def test_drift_by_another_hand_comes_back(run, api):
    run("pve_firewall_rules", {"rules": accept(1, 2, 3)})
    rules = api.pve.firewall_config("cluster")["rules"]
    rules.reverse()
    rules[0]["enable"] = 0
    rules.append({"type": "in", "action": "DROP", "enable": 1, "macro": "DNS"})
    result = run("pve_firewall_rules", {"rules": accept(1, 2, 3)})
    assert result["diff"]["before"]["rules"][3] == {"type": "in", "action": "DROP", "macro": "dns", "enable": True}
    assert said(result) == ["1", "2", "3"]
    assert all(rule["enable"] for rule in result["firewall_rules"])


@pytest.fixture
def meddle(api, monkeypatch):
    """Have somebody else change the firewall of the datacenter right before the next write that changes something."""
    times = []

    def arm(change):
        real = Client._request
        times.clear()

        def meddled(self, method, path, values):
            if method in ("PUT", "DELETE") and not times:
                times.append(path)
                change(api.pve.firewall_config("cluster"))
            return real(self, method, path, values)

        monkeypatch.setattr(Client, "_request", meddled)
        return times

    return arm


def another_rule(conf):
    conf["rules"].insert(0, {"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "7", "enable": 1})


@pytest.mark.parametrize("wanted", [accept(3, 1, 2), accept(1, 2), [*accept(1, 2), {**accept(3)[0], "log": "info"}]])
def test_a_digest_conflict_is_planned_again_on_fresh_data(run, meddle, wanted):
    run("pve_firewall_rules", {"rules": accept(1, 2, 3)})
    times = meddle(another_rule)
    result = run("pve_firewall_rules", {"rules": wanted})
    assert len(times) == 1
    assert said(result) == [rule["dport"] for rule in wanted]


def test_rules_of_another_hand_survive_a_conflict(run, api, meddle):
    """What is refused is not written to the rule that stands there now."""
    others = {"exclusive": False}
    run("pve_firewall_rules", {"rules": accept(1, 2, 3)})
    meddle(another_rule)
    assert said(run("pve_firewall_rules", {"rules": accept(3), **others})) == ["3", "7", "1", "2"]
    rules = api.pve.firewall_config("cluster")["rules"]
    rules.append(dict(rules[0]))
    meddle(lambda conf: conf["rules"].insert(0, {"type": "out", "action": "DROP", "enable": 1}))
    assert said(run("pve_firewall_rules", {"rules": accept(3), **others})) == ["3", "DROP", "7", "1", "2"]
    meddle(lambda conf: conf["rules"].insert(0, {"type": "out", "action": "REJECT", "enable": 1}))
    result = run("pve_firewall_rules", {"rules": [{**accept(3)[0], "log": "info"}], **others})
    assert said(result) == ["3", "REJECT", "DROP", "7", "1", "2"]
    assert ["log" in rule for rule in result["firewall_rules"]] == [True, *[False] * 5]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"action": "ALLOW"}, "rule 2: action 'ALLOW' is not one of ACCEPT, DROP, REJECT"),
        ({"dport": "22"}, "rule 2: dport needs proto, write for example proto: tcp"),
        ({"proto": "icmp", "sport": "22"}, "rule 2: sport needs a proto with ports"),
        ({"proto": "tcp", "dport": "70000"}, "rule 2: dport: port 70000 is out of range"),
        ({"proto": "tcp", "dport": "90:80"}, "rule 2: dport: the range 90:80 runs backwards, write 80:90"),
        ({"proto": "tcp", "dport": "80-90"}, "rule 2: dport: '80-90' is not a port"),
        ({"proto": "tcp", "dport": ",".join(map(str, range(1, 40, 2)))}, "rule 2: dport has 20 numbers"),
        ({"source": "192.0.2.1/24"}, "rule 2: source: '192.0.2.1/24' has bits beyond its prefix length"),
        ({"source": "192.0.2.9-192.0.2.1"}, "must run from the lower to the higher address"),
        ({"source": "192.0.2.1,2001:db8::1"}, "mixes IPv4 and IPv6, write one rule for each"),
        ({"dest": "192.0.2.999"}, "rule 2: dest: '192.0.2.999' is none of"),
        ({"type": "forward", "action": "REJECT"}, "rule 2: action 'REJECT' is not for a rule of type 'forward'"),
        ({"type": "group", "action": "web", "dport": "1"}, "dport is not for a rule of type 'group'"),
        ({"icmp_type": "echo-request"}, "rule 2: icmp_type needs proto"),
        ({"comment": "a\nb"}, "rule 2: comment: a comment is one line"),
        ({"macro": "Pong"}, "macro 'Pong' is unknown, did you mean 'Ping'?"),
        ({"source": "+nosuch"}, "there is no IP set 'nosuch', create it first"),
        ({"dest": "nosuch"}, "there is no alias 'nosuch', create it first"),
        ({"type": "group", "action": "nosuch"}, "there is no security group 'nosuch', create it first"),
        ({"proto": "tcp", "dport": "http"}, "rule 2 says the same as rule 1"),
    ],
)
def test_bad_rules_are_refused_before_the_first_write(run, rule, sentence):
    good = {"action": "ACCEPT", "proto": "tcp", "dport": "80"}
    message = run.fails("pve_firewall_rules", {"rules": [good, {"action": "ACCEPT", **rule}]})
    assert message.startswith("firewall rules of the datacenter: ")
    assert sentence in message
    assert run.api.writes() == []


def test_what_a_level_does_not_know_is_refused(run):
    iface = {"rules": [{"action": "ACCEPT", "iface": "eth0"}]}
    assert "guest 101: rule 1: iface 'eth0' is not an interface of a guest" in run.fails(
        "pve_firewall_rules", {**GUEST, **iface}
    )
    assert "iface is not for the rules of a security group" in run.fails(
        "pve_firewall_group", {"group": "web", **iface}
    )
    assert "type 'group' is not for the rules of a security group" in run.fails(
        "pve_firewall_group", {"group": "web", "rules": [{"type": "group", "action": "web"}]}
    )
    assert "type 'forward' is not for the rules of a guest" in run.fails(
        "pve_firewall_rules", {**GUEST, "rules": [{"type": "forward", "action": "DROP"}]}
    )
    assert "dhcp is an option of a guest, leave it out here" in run.fails("pve_firewall_options", {"dhcp": True})
    assert "policy_in: 'drop' is not one of ACCEPT, REJECT, DROP" in run.fails(
        "pve_firewall_options", {"policy_in": "drop"}
    )
    assert "a node has none of its own" in run.fails(
        "pve_firewall_alias", {"node": "pve1", "name": "a1", "cidr": "::1"}
    )
    assert "type is for a guest, set vmid as well" in run.fails("pve_firewall_options", {"type": "lxc", "enable": True})
    assert "is not a name of 2 to 18" in run.fails("pve_firewall_group", {"group": "a-very-long-name-of-a-group"})
    assert "is not a name of 2 to 64" in run.fails("pve_firewall_ipset", {"name": "1st"})
    assert "no such security group 'nosuch'" in run.fails("pve_firewall_rules", {"group": "nosuch", "rules": []})
    assert run.api.writes() == []


def test_sets_and_aliases_of_the_level_are_known_to_its_rules(run):
    run("pve_firewall_alias", {"name": "Admins", "cidr": "198.51.100.0/24"})
    run("pve_firewall_ipset", {**GUEST, "name": "office", "entries": [{"cidr": "dc/admins"}]})
    rules = [{"action": "ACCEPT", "source": "+office"}, {"action": "ACCEPT", "source": "Admins"}]
    assert run("pve_firewall_rules", {**GUEST, "rules": rules})["changed"]
    assert not run("pve_firewall_rules", {**GUEST, "rules": [{"action": "accept", "source": "+Office"}, rules[1]]})[
        "changed"
    ]
    assert "there is no IP set 'office'" in run.fails("pve_firewall_rules", {"rules": rules})


def test_a_guest_is_found_by_its_vmid(run, container):
    run.fleet(container(105))
    assert run("pve_firewall_options", {"vmid": 105, "enable": True})["changed"]
    run.api.requests()
    assert not run("pve_firewall_options", {"vmid": 105, "enable": True})["changed"]
    assert [request.path for request in run.api.requests()] == [
        "/cluster/resources",
        "/nodes/pve1/lxc/105/firewall/options",
    ]
    assert "guest 999: the API shows no guest with this VMID" in run.fails(
        "pve_firewall_options", {"vmid": 999, "enable": True}
    )


# ----------------------------------------------------------------------------------------- groups, sets, options


def test_a_group_and_its_rules_go_together(run):
    run("pve_firewall_group", {"group": "web", "rules": accept(80, 443)})
    run("pve_firewall_rules", {"group": "web", "rules": accept(443)})
    assert run("pve_firewall_group", {"group": "web", "state": "absent"})["action"] == "delete"
    assert run.api.pve.firewall_config("cluster")["groups"] == {}


def test_the_comment_of_an_alias_survives_another_address(run):
    run("pve_firewall_alias", {"name": "a1", "cidr": "192.0.2.1", "comment": "kept"})
    result = run("pve_firewall_alias", {"name": "a1", "cidr": "192.0.2.2"})
    assert result["firewall_alias"]["comment"] == "kept"
    assert run("pve_firewall_alias", {"name": "a1", "comment": "new"})["firewall_alias"]["cidr"] == "192.0.2.2"


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([{"cidr": "0.0.0.0/0"}], "entries: '0.0.0.0/0' is everything"),
        ([{"cidr": "192.0.2.1"}, {"cidr": "192.0.2.1/32"}], "entries: '192.0.2.1' is given twice"),
        ([{"cidr": "192.0.2.300"}], "entries: '192.0.2.300' is not an address or network"),
    ],
)
def test_bad_entries_are_refused_before_the_set_is_made(run, entries, sentence):
    assert sentence in run.fails("pve_firewall_ipset", {"name": "office", "entries": entries})
    assert run.api.writes() == []


def test_entries_are_changed_one_by_one(run):
    entries = [{"cidr": "192.0.2.1"}, {"cidr": "192.0.2.128/25", "nomatch": True}, {"cidr": "192.0.2.3"}]
    run("pve_firewall_ipset", {"name": "office", "entries": entries})
    run.api.requests()
    wanted = [{"cidr": "192.0.2.128/25", "comment": "in"}, {"cidr": "192.0.2.3"}, {"cidr": "192.0.2.4"}]
    result = run("pve_firewall_ipset", {"name": "office", "entries": wanted})
    assert [entry["cidr"] for entry in result["firewall_ipset"]["entries"]] == [
        "192.0.2.128/25",
        "192.0.2.3",
        "192.0.2.4",
    ]
    assert [(write.method, write.path.rpartition("/office")[2]) for write in run.api.writes()] == [
        ("POST", ""),
        ("DELETE", "/192.0.2.1"),
        ("PUT", "/192.0.2.128/25"),
    ]


def test_a_conflict_over_an_alias_or_a_set_is_retried(run, meddle):
    run("pve_firewall_alias", {"name": "a1", "cidr": "192.0.2.1", "comment": "one"})
    times = meddle(lambda conf: conf["aliases"]["a1"].update(comment="by another hand"))
    result = run("pve_firewall_alias", {"name": "a1", "cidr": "192.0.2.2"})
    assert len(times) == 1
    assert result["firewall_alias"]["comment"] == "by another hand"
    run("pve_firewall_ipset", {"name": "office", "entries": [{"cidr": "192.0.2.1"}, {"cidr": "192.0.2.2"}]})
    meddle(lambda conf: conf["ipset"]["office"].append({"cidr": "192.0.2.9"}))
    result = run("pve_firewall_ipset", {"name": "office", "entries": [{"cidr": "192.0.2.1"}]})
    assert len(times) == 1
    assert result["firewall_ipset"]["entries"] == [{"cidr": "192.0.2.1"}]


def test_a_conflict_over_options_is_retried(run, meddle):
    run("pve_firewall_options", {"policy_in": "REJECT"})
    times = meddle(lambda conf: conf["options"].update(policy_out="REJECT"))
    result = run("pve_firewall_options", {"policy_in": "ACCEPT"})
    assert len(times) == 1
    assert result["firewall_options"]["policy_in"] == "ACCEPT"
    assert result["firewall_options"]["policy_out"] == "REJECT"


def test_the_datacenter_is_switched_on_whatever_number_that_is(run, api):
    api.pve.firewall_config("cluster")["options"]["enable"] = 1790000000
    assert not run("pve_firewall_options", {"enable": True})["changed"]
    assert run("pve_firewall_options", {"enable": False})["changed"]


@pytest.mark.parametrize("lost", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("module", ["pve_firewall_rules", "pve_firewall_group", "pve_firewall_ipset"])
def test_a_write_whose_answer_is_lost_happens_once(run, monkeypatch, lost, module):
    option = "entries" if module == "pve_firewall_ipset" else "rules"
    ident = {"pve_firewall_group": {"group": "web"}, "pve_firewall_ipset": {"name": "office"}}.get(module, {})
    before, after = accept(1, 2, 3), accept(4, 3, 1)
    if option == "entries":
        before = [{"cidr": "192.0.2.1"}, {"cidr": "192.0.2.2"}, {"cidr": "192.0.2.3"}]
        after = [{"cidr": "192.0.2.1", "nomatch": True}, {"cidr": "192.0.2.3"}, {"cidr": "192.0.2.4"}]
    run(module, {**ident, option: before})
    real, times = Client._request, []

    def losing(self, method, path, values):
        answer = real(self, method, path, values)
        if method == lost and not times:
            times.append(path)
            raise Unreachable("The connection broke.")
        return answer

    monkeypatch.setattr(Client, "_request", losing)
    assert run(module, {**ident, option: after})["changed"]
    assert len(times) == 1
    assert not run(module, {**ident, option: after})["changed"]
