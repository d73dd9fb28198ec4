# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, lives, nothing, whole_life

RIGHT = {"path": "/vms/101", "roleid": "PVEVMUser", "users": ["ada@pve"]}
ALL = {**RIGHT, "users": ["bob@pve", "ada@pve"], "groups": ["operators"], "tokens": ["ada@pve!tok"]}


@pytest.fixture(autouse=True)
def people(run):
    run("pve_group", {"groupid": "operators"})
    run("pve_user", {"userid": "ada@pve", "groups": ["operators"]})
    run("pve_user", {"userid": "bob@pve"})
    run.api.pve.user_tokens["ada@pve"] = {"tok": {"privsep": 1, "expire": 0}}


@lives(
    Life(
        "pve_acl",
        ALL,
        {"propagate": True},
        {"propagate": False},
        spellings=[
            {"path": "vms//101/"},
            {"users": ["ada@pve", "bob@pve", "ada@pve"]},
            {"users": "ada@pve;bob@pve"},
            {"propagate": "yes"},
        ],
    ),
)
def test_whole_life(run, life):
    whole_life(run, life)


def rights(run):
    return {key: right["propagate"] for key, right in run.api.pve.rights.items()}


def test_trap_propagate_false_over_an_existing_one(run):
    """The peer finds the right there and changes nothing."""
    run("pve_acl", RIGHT)
    assert rights(run) == {("/vms/101", "PVEVMUser", "ada@pve"): 1}
    result = run("pve_acl", {**RIGHT, "propagate": False})
    assert result["changed"]
    assert result["diff"] == {
        "before": {"propagate": {"ada@pve": True}},
        "after": {"propagate": {"ada@pve": False}},
    }
    assert rights(run) == {("/vms/101", "PVEVMUser", "ada@pve"): 0}
    assert not run("pve_acl", {**RIGHT, "propagate": False})["changed"]


def test_propagate_that_is_not_given_is_left_alone(run):
    run("pve_acl", {**RIGHT, "propagate": False})
    assert not run("pve_acl", RIGHT)["changed"]
    run("pve_acl", {**RIGHT, "users": ["ada@pve", "bob@pve"]})
    assert list(rights(run).values()) == [0, 1]


def test_only_who_lacks_the_right_gets_it_in_one_request(run):
    run("pve_acl", RIGHT)
    run.api.requests()
    run("pve_acl", ALL)
    (write,) = run.api.writes()
    assert write.params == {
        "path": "/vms/101",
        "roles": "PVEVMUser",
        "users": "bob@pve",
        "groups": "operators",
        "tokens": "ada@pve!tok",
        "propagate": "1",
    }


def test_a_right_that_is_taken_away_leaves_the_others(run):
    run("pve_acl", ALL)
    run("pve_acl", {**RIGHT, "roleid": "PVEAuditor"})
    run("pve_acl", {**RIGHT, "path": "/vms"})
    run("pve_acl", {**RIGHT, "state": "absent"})
    assert sorted(rights(run)) == [
        ("/vms", "PVEVMUser", "ada@pve"),
        ("/vms/101", "PVEAuditor", "ada@pve"),
        ("/vms/101", "PVEVMUser", "ada@pve!tok"),
        ("/vms/101", "PVEVMUser", "bob@pve"),
        ("/vms/101", "PVEVMUser", "operators"),
    ]


def test_a_right_that_another_hand_took_comes_back(run):
    run("pve_acl", ALL)
    del run.api.pve.rights["/vms/101", "PVEVMUser", "operators"]
    result = run("pve_acl", ALL)
    assert result["diff"]["before"]["propagate"].keys() == {"ada@pve", "ada@pve!tok", "bob@pve"}
    assert ("/vms/101", "PVEVMUser", "operators") in rights(run)


def test_a_group_and_a_user_are_told_apart(run):
    run.api.pve.rights["/vms/101", "PVEVMUser", "operators"] = {
        "path": "/vms/101",
        "roleid": "PVEVMUser",
        "ugid": "operators",
        "type": "user",
        "propagate": 1,
    }
    assert run("pve_acl", {"path": "/vms/101", "roleid": "PVEVMUser", "groups": ["operators"]}, check=True)["changed"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": "/pools/office"}, ["'/pools/office'", "did you mean 'pool'?"]),
        ({"path": "/vms/web"}, ["'/vms/web'", "/vms/100"]),
        ({"users": ["ada"]}, ["users", "'ada'", "ada@pve"]),
        ({"users": ["ada@pve!tok"]}, ["users", "'ada@pve!tok'", "ada@pve"]),
        ({"groups": ["ada@pve"]}, ["groups", "'ada@pve'", "name of a group"]),
        ({"tokens": ["ada@pve"]}, ["tokens", "'ada@pve'", "automation@pve!ansible"]),
        ({"users": []}, ["nobody is given", "users, groups or tokens"]),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_right_that_cannot_be_is_refused_before_the_first_write(run, given, words, check):
    run.api.requests()
    message = run.fails("pve_acl", {**RIGHT, **given}, check=check)
    assert [word for word in ["right on '/", "role 'PVEVMUser'", *words] if word not in message] == []
    assert run.api.writes() == []


def test_what_proxmox_says_of_unknown_names_is_passed_on(run):
    assert "role 'Nothing' does not exist" in run.fails("pve_acl", {**RIGHT, "roleid": "Nothing"})
    assert "user 'ghost@pve' does not exist" in run.fails("pve_acl", {**RIGHT, "users": ["ghost@pve"]})


def test_rights_of_somebody_who_is_gone_are_gone(run):
    run("pve_acl", ALL)
    run("pve_user", {"userid": "ada@pve", "state": "absent"})
    nothing(run, Life("pve_acl", RIGHT, {}, {}), {}, state="absent")
    assert {key[2] for key in rights(run)} == {"bob@pve", "operators"}
