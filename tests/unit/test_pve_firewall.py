# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules of a firewall mean, how a list of them becomes another, and who stays outside."""

from __future__ import annotations

import importlib
import itertools
import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
init_plugin_loader([str(ROOT / "collections")])
UTILS = "ansible_collections.onprem.cloud.plugins.module_utils.pve"
firewall = importlib.import_module(f"{UTILS}.firewall")
Invalid = importlib.import_module(f"{UTILS}.properties").Invalid
RECORDINGS = ROOT / "tests/unit/recordings/firewall.jsonl"


def rule(**said: Any) -> Any:
    return firewall.parse_rule({"type": "in", "action": "ACCEPT", "enable": 1, **said})


def numbered(number: int, **said: Any) -> Any:
    return rule(proto="tcp", dport=str(1000 + 2 * number), **said)


# ------------------------------------------------------------------------------------------------------- meaning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"proto": "tcp", "dport": "22"}, {"proto": "6", "dport": "ssh"}),
        ({"proto": "tcp", "dport": "443,80"}, {"proto": "TCP", "dport": "http, https"}),
        ({"proto": "tcp", "dport": "80:82,83"}, {"proto": "tcp", "dport": "80,81,82:83"}),
        ({"proto": "tcp", "dport": "80:80"}, {"proto": "tcp", "dport": "80"}),
        ({"proto": "icmpv6"}, {"proto": "ipv6-icmp"}),
        ({"source": "192.0.2.1/32"}, {"source": "192.0.2.1"}),
        ({"source": "192.0.2.0/24,198.51.100.1"}, {"source": "198.51.100.1,192.0.2.0/24"}),
        ({"source": "2001:DB8:0::1"}, {"source": "2001:db8::1"}),
        ({"dest": "192.0.2.1 - 192.0.2.9"}, {"dest": "192.0.2.1-192.0.2.9"}),
        ({"source": "+Office"}, {"source": "+office"}),
        ({"source": "dc/Admins"}, {"source": "dc/admins"}),
        ({"macro": "ssh"}, {"macro": "SSH"}),
        ({"action": "accept"}, {"action": "ACCEPT"}),
        ({"type": "group", "action": "Web"}, {"type": "group", "action": "web"}),
        ({"log": "nolog"}, {}),
        ({"comment": " web\n"}, {"comment": "web"}),
        ({"enable": True}, {"enable": "1"}),
        ({"icmp_type": "echo-request", "proto": "icmp"}, {"icmp-type": "echo-request", "proto": "1"}),
    ],
)
def test_two_spellings_of_one_rule(one, other):
    assert rule(**one).same(rule(**other))
    assert rule(**rule(**one).shown()).same(rule(**one))


def test_entries_of_a_set_in_any_order_and_spelling():
    one = [{"cidr": "dc/Admins", "nomatch": 1, "digest": "d"}, {"cidr": "192.0.2.7/25", "comment": " all "}]
    other = [{"cidr": "192.0.2.0/25", "comment": "all", "nomatch": False}, {"cidr": "dc/admins", "nomatch": True}]
    assert firewall.Entries().parse(one) == firewall.Entries().parse(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"source": "+office"}, {"source": "+dc/office"}),
        ({"source": "office"}, {"source": "+office"}),
        ({"proto": "tcp", "dport": "80"}, {"proto": "udp", "dport": "80"}),
        ({"proto": "tcp", "dport": "80"}, {"proto": "tcp", "sport": "80"}),
        ({"type": "in"}, {"type": "out"}),
    ],
)
def test_two_rules_that_say_different_things(one, other):
    assert rule(**one).identity != rule(**other).identity


def test_what_pve_has_and_nobody_understands_is_kept():
    odd = {"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "nosuchservice", "source": "1.2.3.4/99"}
    kept = firewall.parse_rule(odd, strict=False)
    assert kept.shown() == {**odd, "enable": False}
    with pytest.raises(Invalid, match=r"source: '1\.2\.3\.4/99' is none of"):
        firewall.parse_rule(odd)


def test_an_unknown_key_is_named():
    with pytest.raises(Invalid, match="unknown key 'sources', did you mean 'source'"):
        rule(sources="192.0.2.1")


def test_recorded_rules_read_as_they_were_written():
    """Every rule that a real Proxmox VE took is found again in what it listed afterwards, new ones at the top."""
    lists: dict[str, list[Any]] = {}
    compared = 0
    for line in RECORDINGS.read_text().splitlines():
        entry = json.loads(line)
        path, status, params = entry["path"], entry["status"], entry.get("params") or {}
        where, _, last = path.rpartition("/")
        if status != 200:
            continue
        if entry["method"] == "POST" and "action" in params:
            said = {key: value for key, value in params.items() if key not in ("pos", "digest")}
            lists.setdefault(path, []).insert(0, firewall.parse_rule(said))
        elif entry["method"] == "PUT" and last.isdigit():
            known, position = lists[where], int(last)
            if "moveto" in params:
                known[:] = firewall.perform(known, firewall.Step("move", position, params["moveto"]))
            else:
                merged = {**known[position].sent, **params}
                known[position] = firewall.parse_rule(merged)
        elif entry["method"] == "DELETE" and last.isdigit() and where in lists:
            del lists[where][int(last)]
        elif entry["method"] == "GET" and path in lists:
            read = [firewall.parse_rule(item, strict=False) for item in entry["response"]["data"]]
            assert len(read) == len(lists[path])
            assert all(one.same(other) for one, other in zip(read, lists[path])), path
            compared += len(read)
    assert compared >= 10


def test_recorded_switch_of_the_datacenter_is_a_number():
    assert firewall.Switch().parse(1790000000) is True
    assert firewall.Switch().parse("0") is False


# ------------------------------------------------------------------------------------------------------ planning


def fewest(current: tuple[int, ...], goal: tuple[int, ...]) -> int:
    """How many writes there must be, found by trying all of them."""
    seen, queue = {current: 0}, deque([current])
    while queue:
        state = queue.popleft()
        if state == goal:
            return seen[state]
        following = [(new, *state) for new in set(goal) - set(state)]
        for place in range(len(state)):
            rest = state[:place] + state[place + 1 :]
            following.append(rest)
            following += [(*rest[:to], state[place], *rest[to:]) for to in range(len(state))]
        for one in following:
            if one not in seen:
                seen[one] = seen[state] + 1
                queue.append(one)
    raise AssertionError("unreachable")


def all_lists(numbers: int) -> list[tuple[int, ...]]:
    return [row for size in range(numbers + 1) for row in itertools.permutations(range(numbers), size)]


def test_no_writes_are_fewer():
    for goal in [row for row in all_lists(4) if list(row) == sorted(row)]:
        for current in all_lists(4):
            rules = [numbered(number) for number in current]
            steps = firewall.plan(rules, [numbered(number) for number in goal])
            assert len(steps) == fewest(current, goal), (current, goal, steps)


def test_replacing_removes_last():
    steps = firewall.plan([numbered(1), numbered(2)], [numbered(3), numbered(2)])
    assert [step.action for step in steps] == ["insert", "delete"]


@st.composite
def rule_lists(draw: Any) -> list[Any]:
    """A list as the API may have it or as a user may want it; nothing is said twice."""
    numbers = draw(st.lists(st.integers(0, 15), unique=True, max_size=12))
    attributes = st.fixed_dictionaries(
        {},
        optional={
            "comment": st.sampled_from(["", "web", "mail # 2"]),
            "log": st.sampled_from(["nolog", "info", "err"]),
            "enable": st.booleans(),
        },
    )
    return [numbered(number, **draw(attributes)) for number in numbers]


@settings(max_examples=500)
@given(rule_lists(), rule_lists(), st.booleans(), st.lists(st.integers(0, 11), max_size=3))
def test_any_list_becomes_any_other(current, wanted, exclusive, doubled):
    current = current + [current[place] for place in doubled if place < len(current)]
    goal = firewall.target(current, wanted, exclusive)
    goal = list({one.identity: one for one in reversed(goal)}.values())[::-1] if exclusive else goal
    steps = firewall.plan(current, goal)
    rules = current
    for number, step in enumerate(steps):
        assert len(firewall.plan(rules, goal)) == len(steps) - number, "planned anew, the rest is the same"
        rules = firewall.perform(rules, step)
    assert [one.identity for one in rules] == [one.identity for one in goal]
    assert all(one.same(other) for one, other in zip(rules, goal))
    assert firewall.plan(rules, firewall.target(rules, wanted, exclusive)) == []


@settings(max_examples=500)
@given(rule_lists(), rule_lists())
def test_attributes_are_changed_and_taken_away(current, wanted):
    for old, new in zip(current, wanted):
        changed = firewall.changes(old, new)
        gone = changed.pop("delete", "").split(",")
        merged = {key: value for key, value in {**old.sent, **changed}.items() if key not in gone}
        assert firewall.parse_rule(merged).attributes == new.attributes


# --------------------------------------------------------------------------------------------------------- guard

WHO = "198.51.100.7"


def policy(rules: list[Any], **said: Any) -> Any:
    host = firewall.Host("pve1", address="192.0.2.11", iface="vmbr0", local_network="192.0.2.0/24")
    return firewall.Policy(**{"enable": True, "rules": rules, "hosts": [host], **said})


@pytest.mark.parametrize(
    ("rules", "said", "who", "inside"),
    [
        ([], {}, WHO, False),
        ([], {"enable": False}, WHO, True),
        ([], {"policy_in": "ACCEPT"}, WHO, True),
        ([], {}, "192.0.2.200", True),
        ([], {}, "192.0.2.11", True),
        ([], {}, "127.0.0.1", True),
        ([rule(action="DROP")], {}, "192.0.2.200", False),
        ([rule(action="DROP")], {"policy_in": "ACCEPT"}, WHO, False),
        ([rule(action="DROP", enable=0)], {"policy_in": "ACCEPT"}, WHO, True),
        ([rule(action="DROP", sport="53", proto="udp")], {"policy_in": "ACCEPT"}, WHO, True),
        ([rule(action="DROP", macro="DNS")], {"policy_in": "ACCEPT"}, WHO, True),
        ([rule(action="DROP", macro="SSH")], {"policy_in": "ACCEPT"}, WHO, False),
        ([rule(action="DROP", iface="vmbr1")], {"policy_in": "ACCEPT"}, WHO, True),
        ([rule(action="DROP", iface="vmbr0")], {"policy_in": "ACCEPT"}, WHO, False),
        ([rule(proto="tcp", dport="22,8000:8010")], {}, WHO, True),
        ([rule(proto="tcp", dport="22")], {}, WHO, False),
        ([rule(proto="udp", dport="22,8006")], {}, WHO, False),
        ([rule(macro="ssh"), rule(macro="pmg")], {}, WHO, True),
        ([rule(source="198.51.100.0/24")], {}, WHO, True),
        ([rule(source="198.51.100.1-198.51.100.9")], {}, WHO, True),
        ([rule(source="198.51.100.8,198.51.100.9")], {}, WHO, False),
        ([rule(source="2001:db8::/32")], {}, WHO, False),
        ([rule(source="2001:db8::/32")], {}, "2001:db8::7", True),
        ([rule(source="admins")], {"aliases": {"admins": "198.51.100.0/24"}}, WHO, True),
        ([rule(source="admins")], {}, WHO, False),
        ([rule(dest="192.0.2.11")], {}, WHO, True),
        ([rule(dest="192.0.2.12")], {}, WHO, False),
        ([rule(type="out")], {}, WHO, False),
        ([rule(source="+dc/office")], {"sets": {"office": [{"cidr": "198.51.100.0/24"}]}}, WHO, True),
        ([], {"sets": {"management": [{"cidr": "dc/admins"}]}, "aliases": {"admins": "198.51.100.7"}}, WHO, True),
        ([], {"sets": {"management": [{"cidr": "198.51.100.0/24"}, {"cidr": WHO, "nomatch": 1}]}}, WHO, False),
        ([], {"sets": {"management": [{"cidr": "198.51.100.0/24", "nomatch": 1}, {"cidr": WHO}]}}, WHO, True),
        ([], {"sets": {"management": [{"cidr": WHO, "nomatch": 1}, {"cidr": "198.51.100.0/24"}]}}, WHO, False),
        ([rule(type="group", action="admin")], {"groups": {"admin": [rule()]}}, WHO, True),
        ([rule(type="group", action="admin", enable=0)], {"groups": {"admin": [rule()]}}, WHO, False),
        ([rule(type="group", action="admin", iface="vmbr1")], {"groups": {"admin": [rule()]}}, WHO, False),
        ([rule(type="group", action="none"), rule()], {}, WHO, True),
    ],
)
def test_who_is_let_in(rules, said, who, inside):
    assert (firewall.lockouts(policy(rules, **said), [who]) == []) is inside


def test_the_rules_of_the_node_come_first():
    shut = policy([rule()])
    shut.hosts[0].rules = [rule(action="DROP")]
    assert firewall.lockouts(shut, [WHO])
    shut.hosts[0].enable = False
    assert not firewall.lockouts(shut, [WHO])


def test_an_unknown_node_is_judged_with_care():
    """Without the address of the node, what may shut out does and what may let in does not."""
    unknown = firewall.Policy(enable=True, hosts=[firewall.Host("pve1")], rules=[rule(iface="vmbr0")])
    assert firewall.lockouts(unknown, [WHO])
    unknown.policy_in, unknown.rules = "ACCEPT", [rule(action="DROP", iface="vmbr0")]
    assert firewall.lockouts(unknown, [WHO])
    unknown.rules = [rule(action="DROP", dest="192.0.2.1")]
    assert firewall.lockouts(unknown, [WHO])
    unknown.rules = []
    assert not firewall.lockouts(unknown, [WHO])


def test_the_sentence_names_the_missing_rule():
    (sentence,) = firewall.lockouts(policy([rule(proto="tcp", dport="22")]), [WHO])
    assert "the controller 198.51.100.7 could no longer reach TCP 8006 of node 'pve1'" in sentence
    assert "{type: in, action: ACCEPT, source: 198.51.100.7, proto: tcp, dport: '8006'}" in sentence
