# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""High availability: guests, rules (9) and groups (8)."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, both, limited, lives, nothing, whole_life
from tests.lab.cluster import GROUPS, RESOURCES, RULES

RESOURCE, RULE, GROUP = "pve_ha_resource", "pve_ha_rule", "pve_ha_group"
PREFER = {"rule": "prefer", "type": "node-affinity", "resources": ["vm:100", "ct:101"], "nodes": "pve1:2,pve2"}
APART = {"rule": "apart", "type": "resource-affinity", "resources": ["vm:100", "ct:101"], "affinity": "negative"}


@pytest.fixture
def run(run):
    """Three nodes, a virtual machine and two containers."""
    for node in ("pve2", "pve3"):
        run.api.pve.add_node(node)
    run.api.pve.add_vm(100, "web")
    run.api.pve.add_ct(101, "db")
    run.api.pve.add_ct(102, "cache")
    return run


@pytest.fixture
def managed(run):
    """The guests are under high availability."""
    for sid in ("vm:100", "ct:101", "ct:102"):
        run(RESOURCE, {"sid": sid})
    return run


@pytest.fixture
def eight(run):
    """The API is that of 8.4."""
    run.api.pve.version = "8.4.14"
    return run


def held(run, collection):
    return run.api.pve.area(collection)


RESOURCE_LIFE = Life(
    RESOURCE,
    {"sid": "ct:101"},
    {"state": "started", "max_restart": 2, "comment": "the database"},
    {"state": "stopped", "max_restart": 0, "max_relocate": 3, "failback": False, "comment": "a database"},
    spellings=[
        {"state": "enabled"},
        {"state": "present"},
        {"sid": "101"},
        {"max_relocate": 1, "failback": True},
        {"max_restart": "2"},
    ],
    removed=["comment"],
)
EIGHT_LIFE = Life(
    RESOURCE,
    {"sid": "vm:100"},
    {"state": "ignored", "group": "first"},
    {"group": "second", "max_restart": 4, "state": "disabled"},
    spellings=[{"failback": True}],
    removed=["group"],
)
RULE_LIVES = (
    Life(
        RULE,
        {"rule": "prefer"},
        PREFER,
        {
            "resources": ["vm:100"],
            "nodes": {"pve1": 2, "pve3": 1},
            "strict": True,
            "disable": True,
            "comment": "the first node is faster",
        },
        spellings=[
            {"resources": ["ct:101", "vm:100"]},
            {"resources": "vm:100,ct:101"},
            {"nodes": {"pve2": 0, "pve1": 2}},
            {"nodes": {"pve2": None, "pve1": "2"}},
            {"nodes": ["pve2", "pve1:2"]},
            {"strict": False, "disable": False},
        ],
        removed=["comment"],
    ),
    Life(
        RULE,
        {"rule": "apart"},
        APART,
        {"affinity": "positive", "resources": ["vm:100", "ct:102"], "disable": True, "comment": "never on one node"},
        spellings=[{"resources": ["ct:101", "vm:100"]}],
        removed=["comment"],
    ),
)
GROUP_LIFE = Life(
    GROUP,
    {"group": "first"},
    {"nodes": "pve1:2,pve2"},
    {"nodes": ["pve3"], "restricted": True, "nofailback": True, "comment": "faster"},
    spellings=[{"nodes": {"pve2": 0, "pve1": 2}}, {"restricted": False, "nofailback": False}],
    removed=["comment"],
)


@lives(RESOURCE_LIFE)
def test_whole_life_of_a_resource(run, life):
    whole_life(run, life)


@lives(EIGHT_LIFE)
def test_whole_life_of_a_resource_on_8(eight, life):
    for name in ("first", "second"):
        eight(GROUP, {"group": name, "nodes": "pve1"})
    whole_life(eight, life)


@lives(*RULE_LIVES)
def test_whole_life_of_a_rule(managed, life):
    whole_life(managed, life)


@lives(GROUP_LIFE)
def test_whole_life_of_a_group(eight, life):
    whole_life(eight, life)


@lives(RESOURCE_LIFE, *RULE_LIVES, GROUP_LIFE)
def test_the_documented_privileges_are_enough_and_necessary(managed, life):
    if life is RESOURCE_LIFE:
        held(managed, RESOURCES).clear()
    if life is GROUP_LIFE:
        managed.api.pve.version = "8.4.14"
    privileges = {"Sys_Console": "/", "Sys_Audit": "/"}
    whole_life(managed, limited(managed, life, **privileges))
    for privilege in privileges:
        fewer = limited(managed, life, **{name: path for name, path in privileges.items() if name != privilege})
        assert "privilege" in managed.fails(life.module, {**fewer.ident, **life.created})


@lives(RESOURCE_LIFE, *RULE_LIVES, GROUP_LIFE)
def test_no_quorum_in_the_words_of_the_api(managed, life):
    if life is RESOURCE_LIFE:
        held(managed, RESOURCES).clear()
    if life is GROUP_LIFE:
        managed.api.pve.version = "8.4.14"
    for options in (life.created, {**life.created, "comment": "another"}, {"state": "absent"}):
        managed.api.pve.lose_quorum()
        assert "no quorum" in managed.fails(life.module, {**life.ident, **options})
        managed.api.pve.regain_quorum()
        assert managed(life.module, {**life.ident, **options})["changed"]


def test_an_ha_resource_that_is_absent_is_no_change(run):
    """The peer's module never finds the resource, and fails when it is not there."""
    absent = {"sid": "ct:101", "state": "absent"}
    nothing(run, RESOURCE_LIFE, {}, state="absent")
    run(RESOURCE, {"sid": "ct:101", "state": "ignored"})
    assert both(run, RESOURCE_LIFE, {}, state="absent")["changed"]
    assert held(run, RESOURCES) == {}
    assert not run(RESOURCE, absent)["changed"]
    assert not run(RESOURCE, {**absent, "sid": "101"})["changed"]


def test_another_priority_of_a_node_is_a_change(managed):
    managed(RULE, PREFER)
    result = managed(RULE, {"rule": "prefer", "nodes": {"pve1": 1, "pve2": 2}})
    assert result["diff"]["before"] == {"nodes": {"pve1": 2, "pve2": 0}}
    assert held(managed, RULES)["prefer"]["nodes"] == "pve1:1,pve2:2"


@pytest.mark.parametrize(("rule", "foreign"), [(PREFER, {"affinity"}), (APART, {"nodes", "strict"})])
def test_the_diff_shows_what_belongs_to_the_type(managed, rule, foreign):
    managed(RULE, rule)
    before = managed(RULE, {"rule": rule["rule"], "state": "absent"})["diff"]["before"]
    assert before["type"] == rule["type"]
    assert not foreign & set(before)


def test_present_leaves_what_is_requested_alone(run):
    run(RESOURCE, {"sid": "ct:101", "state": "stopped"})
    assert not run(RESOURCE, {"sid": "ct:101"})["changed"]
    assert held(run, RESOURCES)["ct:101"]["state"] == "stopped"


def test_an_id_alone_is_enough(run):
    assert run(RESOURCE, {"sid": "100", "max_restart": 3})["ha_resource"]["sid"] == "vm:100"
    assert run(RESOURCE, {"sid": "100", "state": "absent"})["changed"]


@pytest.mark.parametrize(
    ("module", "given", "collection", "ident", "drift"),
    [
        (RESOURCE, {"sid": "ct:101", "max_restart": 2}, RESOURCES, "ct:101", {"max_restart": 9, "comment": "theirs"}),
        (RULE, PREFER, RULES, "prefer", {"nodes": "pve3", "comment": "theirs"}),
    ],
    ids=["resource", "rule"],
)
def test_what_another_hand_changed_comes_back_and_nothing_else(managed, module, given, collection, ident, drift):
    managed(module, given)
    held(managed, collection)[ident].update(drift)
    changed = managed(module, given)
    assert len(changed["diff"]["after"]) == 1
    assert not managed(module, given)["changed"]
    assert held(managed, collection)[ident]["comment"] == "theirs"


@pytest.mark.parametrize(
    ("module", "given", "change", "collection", "ident"),
    [
        (RESOURCE, {"sid": "ct:101"}, {"max_restart": 5}, RESOURCES, "ct:101"),
        (RULE, PREFER, {"strict": True}, RULES, "prefer"),
    ],
    ids=["resource", "rule"],
)
def test_a_conflict_is_planned_again_on_fresh_data(managed, monkeypatch, module, given, change, collection, ident):
    managed(module, given)
    update, calls = type(managed.api.pve).record_update, []

    def another_was_quicker(self, area, name, values):
        if not calls:
            held(managed, collection)[ident]["comment"] = "theirs"
        calls.append(values)
        return update(self, area, name, values)

    monkeypatch.setattr(type(managed.api.pve), "record_update", another_was_quicker)
    assert managed(module, {**given, **change})["changed"]
    assert len(calls) == 2
    assert held(managed, collection)[ident]["comment"] == "theirs"


@pytest.mark.parametrize(
    ("module", "given", "words"),
    [
        (RESOURCE, {"sid": "lxc:101"}, ["'lxc:101'", "vm:100 or ct:101"]),
        (RESOURCE, {"sid": "ct:101", "group": "first"}, ["'ct:101'", "group 'first'", "use pve_ha_rule"]),
        (RESOURCE, {"sid": "ct:101", "max_restart": -1}, ["max_restart", "-1", "at least 0"]),
        (GROUP, {"group": "first", "nodes": "pve1"}, ["HA group 'first'", "use pve_ha_rule"]),
        (RULE, {**PREFER, "rule": "first rule"}, ["HA rule 'first rule'", "no name of letters, digits, dashes"]),
        (RULE, {"rule": "new"}, ["'new'", "type is missing", "resources is missing"]),
        (RULE, {**PREFER, "nodes": None}, ["'prefer'", "nodes is missing", "'node-affinity'"]),
        (RULE, {**APART, "affinity": None}, ["'apart'", "affinity is missing", "'resource-affinity'"]),
        (RULE, {**APART, "strict": True}, ["strict does not belong", "node-affinity"]),
        (RULE, {**PREFER, "affinity": "positive"}, ["affinity does not belong", "resource-affinity"]),
        (RULE, {**PREFER, "resources": ["100"]}, ["resources", "'100'", "vm:100"]),
        (RULE, {**PREFER, "nodes": "pve1:high"}, ["nodes", "'pve1:high'", "pve1:2"]),
        (RULE, {**PREFER, "nodes": ["pve1", "pve1:2"]}, ["nodes", "'pve1' is given twice"]),
        (RULE, {"rule": "there", "type": "resource-affinity"}, ["'there'", "'node-affinity'", "cannot be changed"]),
        (RULE, {"rule": "there", "nodes": ""}, ["nodes is empty"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(managed, module, given, words):
    managed(RULE, {"rule": "there", "type": "node-affinity", "resources": ["ct:102"], "nodes": "pve1"})
    managed.api.requests()
    message = managed.fails(module, {name: value for name, value in given.items() if value is not None})
    assert [word for word in words if word not in message] == []
    assert managed.api.writes() == []


@pytest.mark.parametrize(
    ("module", "given", "words"),
    [
        (RULE, PREFER, ["HA rule 'prefer'", "use pve_ha_group"]),
        (RESOURCE, {"sid": "ct:101", "failback": False}, ["'ct:101'", "failback", "nofailback", "pve_ha_group"]),
        (RESOURCE, {"sid": "ct:101", "group": "nowhere"}, ["group 'nowhere' does not exist", "pve_ha_group"]),
    ],
    ids=["rule", "failback", "group"],
)
def test_what_8_does_not_know_is_refused_before_anything_is_written(eight, module, given, words):
    message = eight.fails(module, given)
    assert [word for word in words if word not in message] == []
    assert eight.api.writes() == []


def test_a_group_may_be_made_earlier_in_the_same_run(eight):
    given = {"sid": "ct:101", "group": "first"}
    assert "group 'first' does not exist" in str(eight(RESOURCE, given, check=True)["warnings"])
    assert "group 'first' does not exist, create it with pve_ha_group" in eight.fails(RESOURCE, given)


def test_no_group_is_left_on_9(run):
    nothing(run, GROUP_LIFE, {}, state="absent")


def test_no_rule_is_there_on_8(eight):
    for life in RULE_LIVES:
        nothing(eight, life, {}, state="absent")


def test_a_rule_that_is_disabled_is_enabled_again(managed):
    """Proxmox VE does not look at disable=0."""
    for life in RULE_LIVES:
        both(managed, life, {**life.created, "disable": True})
        result = both(managed, life, {"disable": False})
        assert result["diff"] == {"before": {"disable": True}, "after": {"disable": False}}
        nothing(managed, life, {"disable": False})
        assert "disable" not in held(managed, RULES)[life.ident["rule"]]


def test_a_group_that_a_guest_uses_is_not_deleted(eight):
    eight(GROUP, {"group": "first", "nodes": "pve1"})
    eight(RESOURCE, {"sid": "vm:100", "group": "first"})
    assert "ha group is used by service 'vm:100'" in eight.fails(GROUP, {"group": "first", "state": "absent"})
    eight(RESOURCE, {"sid": "vm:100", "group": ""})
    assert both(eight, GROUP_LIFE, {}, state="absent")["changed"]


def test_a_cluster_on_its_way_from_8_to_9_has_groups_until_all_nodes_are_upgraded(eight):
    for sid in ("vm:100", "ct:101"):
        eight(RESOURCE, {"sid": sid})
    eight(GROUP, {"group": "first", "nodes": "pve1"})
    eight.api.pve.version = "9.0.3"
    nothing(eight, GROUP_LIFE, {"nodes": "pve1"})
    assert eight(RESOURCE, {"sid": "ct:101", "group": "first"})["changed"]
    message = eight.fails(RULE, PREFER)
    for word in ("HA rule 'prefer'", "have not been migrated yet", "upgrade every node", "pve_ha_group"):
        assert word in message
    held(eight, GROUPS).clear()
    assert eight(RULE, PREFER)["changed"]


@pytest.mark.parametrize(
    ("module", "given", "words"),
    [
        (RESOURCE, {"sid": "vm:999"}, "resource 'vm:999' does not exist in cluster"),
        (RULE, {**PREFER, "nodes": "pve9"}, "cannot use non-existent node(s) pve9"),
        (RULE, {**APART, "resources": ["vm:100"]}, "there are less than two resources"),
        (RULE, {**PREFER, "resources": ["vm:998"]}, "cannot use unmanaged resource(s) vm:998"),
    ],
    ids=["guest", "node", "too-few", "unmanaged"],
)
def test_what_only_the_cluster_knows_is_said_in_its_words(managed, module, given, words):
    assert words in managed.fails(module, given)
