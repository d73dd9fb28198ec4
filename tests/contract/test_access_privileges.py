# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The privileges that the modules of this area document are enough, and each is necessary."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, limited, whole_life

ADA = {"userid": "ada@pve"}
USERS = {"User_Modify": "/access/groups"}
LIVES = {
    "group": (
        Life("pve_group", {"groupid": "staff"}, {"comment": "a"}, {"comment": "b"}),
        {"Group_Allocate": "/access/groups"},
    ),
    "role": (Life("pve_role", {"roleid": "Ops"}, {"privs": ["VM.Audit"]}, {"privs": []}), {"Sys_Modify": "/access"}),
    "user": (
        Life("pve_user", {"userid": "new@pve"}, {"comment": "a", "groups": ["operators"]}, {"comment": "b"}),
        {"Realm_AllocateUser": "/access/realm/pve", **USERS},
    ),
    "acl": (
        Life("pve_acl", {"path": "/vms", "roleid": "PVEVMUser", "users": ["ada@pve"]}, {}, {"propagate": False}),
        {"Permissions_Modify": "/vms"},
    ),
    "token": (Life("pve_token", {**ADA, "tokenid": "ansible"}, {"comment": "a"}, {"privsep": False}), USERS),
    "realm": (
        Life(
            "pve_realm",
            {"realm": "company"},
            {"type": "ad", "server1": "dc1.example.com", "domain": "example.com"},
            {"comment": "a"},
        ),
        {"Realm_Allocate": "/access/realm"},
    ),
}


@pytest.mark.parametrize(("life", "privileges"), LIVES.values(), ids=LIVES)
def test_the_documented_privileges_are_enough_and_necessary(run, life, privileges):
    run("pve_group", {"groupid": "operators"})
    run("pve_user", ADA)
    whole_life(run, limited(run, life, **privileges))
    for privilege in privileges:
        fewer = limited(run, life, **{name: path for name, path in privileges.items() if name != privilege})
        assert "privilege" in run.fails(life.module, {**fewer.ident, **life.created})
