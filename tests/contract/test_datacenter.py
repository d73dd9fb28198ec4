# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, both, lives, nothing, whole_life


@pytest.fixture
def guests(run, container):
    """Three containers that stand still."""
    run.fleet(*(container(vmid) for vmid in (100, 101, 102)))


POOL = Life(
    "pve_pool",
    {"poolid": "prod"},
    {"comment": "production", "vms": ["101", "100"], "storages": ["local-lvm", "local"]},
    {"comment": "all of it", "vms": ["100", "102"], "storages": ["local"]},
    spellings=[{"vms": ["100", "101"]}, {"vms": "101,100"}, {"storages": "local local-lvm"}],
    removed=["comment", "vms", "storages"],
)


@lives(POOL)
def test_whole_life_of_a_pool(run, guests, life):
    whole_life(run, life)


def test_a_guest_moves_when_it_may(run, api, guests):
    run("pve_pool", {"poolid": "dev", "vms": ["100", "101"]})
    message = run.fails("pve_pool", {"poolid": "prod", "vms": ["100"]})
    assert "pool 'prod': guest 100 is in the pool 'dev', set allow_move to true" in message
    assert "prod" not in api.pve.pools
    both(run, POOL, {"vms": ["100"]}, allow_move=True)
    nothing(run, POOL, {"vms": ["100"]}, allow_move=True)
    assert api.pve.pools == {"dev": {101}, "prod": {100}}


def test_what_another_administrator_changed_comes_back(run, api, guests):
    run("pve_pool", {"poolid": "prod", "comment": "a", "vms": ["100", "101"], "storages": ["local"]})
    api.pve.pools["prod"] = {101, 102}
    api.pve.pool_info["prod"]["comment"] = "mine"
    result = run("pve_pool", {"poolid": "prod", "vms": ["100", "101"]})
    assert result["diff"] == {"before": {"vms": ["101", "102"]}, "after": {"vms": ["100", "101"]}}
    assert result["pool"] == {"poolid": "prod", "comment": "mine", "vms": ["100", "101"], "storages": ["local"]}


def test_pools_in_pools(run, api):
    assert "parent 'prod'" in run.fails("pve_pool", {"poolid": "prod/web"})
    run("pve_pool", {"poolid": "prod", "storages": ["local"]})
    run("pve_pool", {"poolid": "prod/web", "comment": "web"})
    for check in (True, False):
        api.requests()
        message = run.fails("pve_pool", {"poolid": "prod", "state": "absent"}, check=check)
        assert message == "pool 'prod' holds the pool 'prod/web': remove that first."
        assert api.writes() == []
    run("pve_pool", {"poolid": "prod/web", "state": "absent"})
    run("pve_pool", {"poolid": "prod", "state": "absent"})
    assert api.pve.pools == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vms": ["999"]}, "guest '999' does not exist"),
        ({"storages": ["nosuch"]}, "storage 'nosuch' does not exist"),
        ({"vms": ["web"]}, "vms: 'web' is not the ID of a guest"),
    ],
)
def test_members_that_do_not_exist_are_refused_before_the_first_write(run, api, options, words):
    message = run.fails("pve_pool", {"poolid": "prod", **options})
    assert f"pool 'prod': {words}" in message
    assert api.writes() == []


def test_members_that_are_not_there_yet_are_no_error_in_check_mode(run):
    result = run("pve_pool", {"poolid": "prod", "vms": ["999"]}, check=True)
    assert "guest '999' does not exist" in str(result["warnings"])
    assert result["diff"]["after"] == {"vms": ["999"]}
