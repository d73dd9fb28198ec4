# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools, the options of the datacenter, and replication jobs."""

from __future__ import annotations

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, Unreachable

from tests.contract.life import Life, both, limited, lives, nothing, whole_life


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


@lives(POOL)
def test_whole_life_of_a_pool_with_no_more_privileges_than_are_documented(run, guests, life):
    pool = {"Pool_Allocate": "/pool/prod", "Pool_Audit": "/pool/prod"}
    members = {
        "VM_Audit": "/vms",
        "VM_Allocate": "/vms",
        "Datastore_Audit": "/storage",
        "Datastore_Allocate": "/storage",
    }
    whole_life(run, limited(run, life, **pool, **members))


@pytest.mark.parametrize("lost", ["POST", "PUT", "DELETE"])
def test_a_write_whose_answer_is_lost_happens_once(run, api, guests, monkeypatch, lost):
    real, times = Client._request, []

    def losing(self, method, path, values):
        answer = real(self, method, path, values)
        if method == lost and not times:
            times.append(path)
            raise Unreachable("The connection broke.")
        return answer

    monkeypatch.setattr(Client, "_request", losing)
    for state in ("present", "absent"):
        assert run("pve_pool", {"poolid": "prod", "vms": ["100"], "storages": ["local"], "state": state})["changed"]
    assert len(times) == 1
    assert api.pve.pools == {}


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


# ------------------------------------------------------------------------------ options of the datacenter

OPTIONS = Life(
    "pve_datacenter_options",
    {},
    {
        "migration": "secure,network=192.0.2.0/24",
        "tag_style": "color-map=a:ff0000;b:00ff00:ffffff,ordering=config",
        "registered_tags": ["y", "x"],
        "description": "dc\nnotes",
        "mac_prefix": "BC:24:12",
        "next_id": {"lower": 200, "upper": 300},
    },
    {
        "bwlimit": {"migration": 100, "restore": "0.5"},
        "consent_text": "Only for\nthose who may",
        "console": "html5",
        "crs": "ha=static,ha-rebalance-on-start=1",
        "description": "other",
        "email_from": "pve@example.com",
        "fencing": "hardware",
        "ha": {"shutdown_policy": "migrate"},
        "http_proxy": "http://192.0.2.1:3128",
        "keyboard": "de",
        "language": "de",
        "mac_prefix": "02:00:00",
        "max_workers": 5,
        "migration": {"type": "insecure"},
        "next_id": {"lower": 200},
        "notify": {"package-updates": "always", "target-fencing": "mail"},
        "registered_tags": ["x"],
        "replication": {"network": "198.51.100.0/24"},
        "tag_style": {"color-map": ["b:00ff00"], "shape": "none", "case-sensitive": True},
        "u2f": "appid=https://pve.example.com,origin=https://pve.example.com",
        "user_tag_access": {"user-allow": "list", "user-allow-list": ["b", "a"]},
        "webauthn": {"id": "example.com", "origin": "https://pve.example.com", "rp": "pve", "allow-subdomains": False},
    },
    spellings=[
        {"migration": {"network": "192.0.2.0/24"}},
        {"migration": "network=192.0.2.0/24,type=secure"},
        {"tag_style": {"ordering": "config", "shape": "circle", "color-map": ["b:00FF00:ffffff", "a:FF0000"]}},
        {"registered_tags": "x;y"},
        {"description": "dc\nnotes\n"},
        {"mac_prefix": "bc:24:12"},
        {"next_id": "upper=300,lower=200"},
        {"crs": "ha=basic", "ha": "shutdown_policy=conditional", "fencing": "watchdog", "replication": "secure"},
    ],
    removed=[
        *("bwlimit", "consent_text", "crs", "description", "email_from", "ha", "http_proxy", "migration", "next_id"),
        *("notify", "registered_tags", "tag_style", "user_tag_access", "webauthn"),
    ],
    once=True,
)


def test_whole_life_of_the_datacenters_options(run):
    whole_life(run, OPTIONS)


def test_whole_life_of_the_options_with_no_more_privileges_than_are_documented(run):
    whole_life(run, limited(run, OPTIONS, Sys_Audit="/", Sys_Modify="/"))


def test_what_another_administrator_changed_in_the_options_comes_back(run, api):
    run("pve_datacenter_options", {"migration": {"type": "secure"}, "ha": {"shutdown_policy": "migrate"}})
    api.pve.area("/cluster/options")[""].update({"ha": "shutdown_policy=freeze", "language": "de"})
    result = run("pve_datacenter_options", {"ha": {"shutdown_policy": "migrate"}})
    assert result["diff"]["before"] == {"ha": "shutdown_policy=freeze"}
    assert result["datacenter_options"]["language"] == "de"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"migration": "type=fast"}, "migration: type: 'fast' is not one of secure, insecure"),
        ({"next_id": {"lower": 1}}, "next_id: lower: 1 is out of range"),
        ({"next_id": {"low": 100}}, "next_id: unknown key 'low', did you mean 'lower'?"),
        ({"mac_prefix": "01:02:03"}, "mac_prefix: '01:02:03' is not the beginning of a MAC address"),
        ({"http_proxy": "proxy:3128"}, "http_proxy: 'proxy:3128' is not an address that begins with http://"),
        ({"tag_style": {"color-map": "web:red"}}, "tag_style: color-map: 'web:red' is not a tag with its color"),
        ({"registered_tags": ["a b!"]}, "registered_tags: 'b!' is not a tag"),
    ],
)
def test_bad_options_are_refused_before_the_first_write(run, api, options, words):
    message = run.fails("pve_datacenter_options", options)
    assert f"datacenter options: {words}" in message
    assert api.writes() == []


# -------------------------------------------------------------------------------------- replication jobs

REPLICATION = Life(
    "pve_replication_job",
    {"id": "100-0"},
    {"target": "pve2", "rate": 10, "schedule": "*/15"},
    {"schedule": "*/5", "rate": 2.5, "comment": "copy", "disable": True},
    spellings=[{"rate": "10.0"}, {"disable": False}],
    removed=["comment"],
)


@pytest.fixture
def nodes(run, api, guests):
    api.pve.nodes["pve2"] = {"online": True}


@lives(REPLICATION)
def test_whole_life_of_a_replication_job(run, api, nodes, life):
    whole_life(run, life)
    assert api.pve.area("/cluster/replication")["100-0"]["remove_job"] == "full"


@lives(REPLICATION)
def test_whole_life_of_a_replication_job_with_no_more_privileges_than_are_documented(run, api, nodes, life):
    whole_life(run, limited(run, life, VM_Replicate="/vms/100", VM_Audit="/vms/100"))
    api.pve.run_replication()
    api.pve.version = "8.4.14"
    assert "Datastore.Allocate" in run.fails(
        life.module, {**limited(run, life, VM_Audit="/vms/100").ident, **life.created}
    )
    whole_life(run, limited(run, life, Datastore_Allocate="/storage", VM_Audit="/vms/100"))


def test_replication_without_quorum_and_to_a_node_that_is_offline(run, api, nodes):
    job = {"id": "100-0", "target": "pve2"}
    for options in (job, {**job, "rate": 5}, {**job, "state": "absent"}):
        api.pve.lose_quorum()
        assert "no quorum" in run.fails("pve_replication_job", options)
        api.pve.regain_quorum()
        # Its turn comes when the node is back.
        api.pve.set_node_offline("pve2")
        assert run("pve_replication_job", options)["changed"]


def test_a_deleted_job_is_gone_when_the_node_has_cleaned_up(run, api, nodes):
    job = {"id": "100-0", "target": "pve2"}
    run("pve_replication_job", job)
    assert run("pve_replication_job", {**job, "state": "absent", "keep": True})["changed"]
    assert api.pve.area("/cluster/replication")["100-0"]["remove_job"] == "local"
    assert not run("pve_replication_job", {**job, "state": "absent"})["changed"]
    assert "is being deleted: run again when it is gone" in run.fails("pve_replication_job", job)
    api.pve.run_replication()
    assert run("pve_replication_job", job)["action"] == "create"


def test_no_limit_is_no_rate(run, api, nodes):
    run("pve_replication_job", {"id": "100-0", "target": "pve2", "rate": 10})
    both(run, REPLICATION, {"rate": 0})
    nothing(run, REPLICATION, {"rate": 0})
    assert "rate" not in api.pve.area("/cluster/replication")["100-0"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": "100"}, "the id is that of a guest, a dash and a number"),
        ({"id": "100-00"}, "the id is that of a guest, a dash and a number"),
        ({"id": "100-1", "target": "pve2"}, "target: the job '100-0' copies guest 100 to node 'pve2' already"),
        ({"id": "100-1"}, "target is missing, a new replication job needs it"),
        ({"id": "100-1", "target": "pve3"}, "target: there is no node 'pve3', choose of pve1, pve2"),
        ({"id": "100-1", "target": "pve1"}, "target: guest 100 is on node 'pve1' itself"),
        ({"id": "900-1", "target": "pve2"}, "guest 900 does not exist"),
        ({"id": "100-0", "target": "pve1"}, "target is 'pve2' and cannot be changed to 'pve1'"),
        ({"id": "100-0", "schedule": "now and then"}, "schedule: 'now and then' is not a calendar event"),
        ({"id": "100-0", "rate": 0.5}, "rate: 0.5 is out of range, it must be at least 1, or 0 for no limit"),
    ],
)
def test_bad_replication_is_refused_before_the_first_write(run, api, nodes, options, words):
    run("pve_replication_job", {"id": "100-0", "target": "pve2"})
    api.requests()
    message = run.fails("pve_replication_job", options)
    assert f"replication job '{options['id']}': {words}" in message
    assert api.writes() == []
