# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, groups, roles and rights."""

from __future__ import annotations

import pytest

from tests.contract import pvesh
from tests.contract.life import Life, lives, whole_life

ROLE = {"roleid": "Ops", "privs": ["VM.Audit", "VM.PowerMgmt", "Datastore.Audit"]}
ADA = {"userid": "ada@pve"}


@pytest.fixture
def groups(run):
    for groupid in ("operators", "auditors"):
        run("pve_group", {"groupid": groupid})


@lives(
    Life(
        "pve_group", {"groupid": "operators"}, {"comment": "on call"}, {"comment": "day and night"}, removed=["comment"]
    ),
    Life(
        "pve_role",
        {"roleid": "Ops"},
        {"privs": ["VM.Audit", "VM.PowerMgmt", "Datastore.Audit"]},
        {"privs": ["VM.Audit"]},
        spellings=[
            {"privs": ["VM.PowerMgmt", "Datastore.Audit", "VM.Audit", "VM.Audit"]},
            {"privs": ["VM.Audit VM.PowerMgmt;Datastore.Audit"]},
        ],
        removed=["privs"],
    ),
)
def test_whole_life(run, life):
    whole_life(run, life)


@lives(
    Life(
        "pve_user",
        ADA,
        {
            "comment": "Analyst",
            "email": "ada@example.com",
            "enable": True,
            "expire": 0,
            "firstname": "Ada",
            "lastname": "Byron",
            "groups": ["operators", "auditors"],
            "keys": "cccccccccccb",
        },
        {
            "comment": "Head of analysis",
            "email": "lovelace@example.com",
            "enable": False,
            "expire": 1999999999,
            "firstname": "Augusta",
            "lastname": "Lovelace",
            "groups": ["operators"],
            "keys": "cccccccccccd",
        },
        spellings=[{"groups": ["auditors,operators"]}, {"enable": "yes"}, {"comment": " Analyst "}],
        removed=["comment", "email", "firstname", "lastname", "groups", "keys"],
    ),
)
def test_whole_life_of_a_user(run, groups, life):
    whole_life(run, life)


# ------------------------------------------------------------------------------------------------------- roles


def test_a_role_gets_back_what_another_hand_took_or_added(run):
    run("pve_role", ROLE)
    run.api.pve.area("/access/roles")["Ops"]["privs"] = "Sys.Modify,VM.Audit"
    result = run("pve_role", ROLE)
    assert result["diff"]["before"] == {"privs": ["Sys.Modify", "VM.Audit"]}
    assert result["role"]["privs"] == "Datastore.Audit,VM.Audit,VM.PowerMgmt"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"roleid": "Ops", "privs": ["VM.Audi"]}, ["role 'Ops'", "'VM.Audi'", "did you mean 'VM.Audit'?"]),
        ({"roleid": "PVEOps", "privs": ["VM.Audit"]}, ["role 'PVEOps'", "reserved", "another roleid"]),
        ({"roleid": "PVEAdmin", "privs": ["VM.Audit"]}, ["role 'PVEAdmin'", "comes with Proxmox VE"]),
        ({"roleid": "PVEAuditor", "state": "absent"}, ["role 'PVEAuditor'", "comes with Proxmox VE"]),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_role_that_cannot_be_is_refused_before_the_first_write(run, given, words, check):
    run.api.requests()
    message = run.fails("pve_role", given, check=check)
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


def test_a_role_of_proxmox_that_is_as_wanted_is_left_alone(run):
    privs = run.api.pve.area("/access/roles")["PVEAuditor"]["privs"].split(",")
    assert not run("pve_role", {"roleid": "PVEAuditor", "privs": privs})["changed"]


# ------------------------------------------------------------------------------------------------------- users


def test_trap_user_without_tokens_given_keeps_every_token(run):
    """The peer deletes all tokens of a user for whom none is given."""
    run("pve_user", {**ADA, "comment": "first"})
    run.api.pve.user_tokens["ada@pve"] = {"backup": {"privsep": 1, "expire": 0}}
    assert run("pve_user", {**ADA, "comment": "second", "enable": False})["changed"]
    assert run.api.pve.user_tokens["ada@pve"] == {"backup": {"privsep": 1, "expire": 0}}
    assert {request.path for request in run.api.writes() if "token" in request.path} == set()


def test_a_user_gets_back_what_another_hand_changed(run, groups):
    wanted = {**ADA, "groups": ["operators"], "enable": True}
    run("pve_user", wanted)
    run.api.pve.area("/access/users")["ada@pve"].update(groups="auditors", enable=0, lastname="Byron")
    result = run("pve_user", wanted)
    assert result["diff"]["after"] == {"enable": True, "groups": ["operators"]}
    assert result["user"]["lastname"] == "Byron"


def test_a_new_user_has_the_password_and_it_is_set_once(run):
    pve = run.api.pve
    assert run("pve_user", {**ADA, "password": "first secret"})["changed"]
    assert pve.check_password("ada@pve", "first secret")
    assert not run("pve_user", {**ADA, "password": "second secret"})["changed"]
    assert pve.check_password("ada@pve", "first secret")


def test_update_password_sets_it_in_every_run(run):
    run("pve_user", {**ADA, "password": "first secret"})
    again = {**ADA, "password": "second secret", "update_password": "always", "api_password": run.api.pve.password}
    predicted, result = run("pve_user", again, check=True), run("pve_user", again)
    assert result["diff"] == predicted["diff"] == {"before": {}, "after": {"password": "(hidden)"}}
    assert run.api.pve.check_password("ada@pve", "second secret")
    assert run("pve_user", again)["changed"]


def test_root_on_the_node_sets_a_password_that_no_command_line_shows(run, tmp_path, monkeypatch):
    calls = pvesh.stand_in(run.api, tmp_path, monkeypatch)
    for password, when in (("first secret", "on_create"), ("zweites Geheimnis äöü 'x'", "always")):
        given = {**ADA, "password": password, "update_password": when, "comment": when, "api_backend": "local"}
        assert run("pve_user", given)["changed"]
        assert run.api.pve.check_password("ada@pve", password)
    assert "set /access/users/ada@pve -comment always" in calls.read_text()
    assert [word for word in ("secret", "Geheimnis") if word in calls.read_text()] == []


def test_an_administrator_who_is_not_root_confirms_a_new_password(run):
    pve = run.api.pve
    run("pve_user", {"userid": "boss@pve", "password": "boss secret"})
    run("pve_user", {**ADA, "password": "first secret"})
    run.api.requests()
    as_boss = {"api_user": "boss@pve", "api_password": "boss secret"}
    run("pve_user", {**ADA, "password": "second secret", "update_password": "always", "comment": "x", **as_boss})
    sent = [request.params for request in run.api.requests() if request.path == "/access/password"]
    assert [sorted(params) for params in sent] == [["confirmation-password", "password", "userid"]]
    assert pve.check_password("ada@pve", "second secret")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"userid": "ada"}, ["user 'ada'", "realm", "ada@pve"]),
        ({**ADA, "password": "short"}, ["user 'ada@pve'", "password", "8"]),
        ({**ADA, "email": "ada"}, ["user 'ada@pve'", "email", "'ada'", "ada@example.com"]),
        ({**ADA, "expire": -1}, ["user 'ada@pve'", "expire", "at least 0"]),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_user_that_cannot_be_is_refused_before_the_first_write(run, given, words, check):
    run.api.requests()
    message = run.fails("pve_user", given, check=check)
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


@pytest.mark.parametrize("check", [True, False])
def test_a_token_is_told_that_it_cannot_change_a_password(run, check):
    run("pve_user", {**ADA, "password": "first secret"})
    run.api.requests()
    message = run.fails(
        "pve_user", {**ADA, "password": "second secret", "update_password": "always", "comment": "x"}, check=check
    )
    assert [word for word in ("API token", "api_password", "'on_create'") if word not in message] == []
    assert run.api.writes() == []


def test_what_proxmox_says_of_an_unknown_group_is_passed_on(run):
    assert "no such group 'nobody'" in run.fails("pve_user", {**ADA, "groups": ["nobody"]})


def test_no_secret_of_a_user_is_shown(run):
    secrets = {"password": "first secret", "keys": "cccccccccccb"}
    run("pve_user", {**ADA, **secrets})
    run("pve_user", {**ADA, "keys": "cccccccccccd"})
    run("pve_user", ADA)
    run("pve_user", {**ADA, "keys": "cccccccccccb", "comment": "x"}, check=True)
    run("pve_user", {**ADA, "state": "absent"})
    assert [secret for secret in ("first secret", "cccccccccccb", "cccccccccccd") if secret in run.output] == []
