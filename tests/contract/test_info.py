# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pve_info reads, how little it asks for it, and what it keeps to itself."""

from __future__ import annotations

import importlib
import json
import threading
import time
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from fakepve import FakeVm

from tests.contract import pvesh
from tests.contract.life import Life, limited
from tests.contract.serving import GIB, SECRET

MODULE = "pve_info"
PASSWORD = "Correct-Horse-7"
HOUR = 3600
# What is asked on top of the request that guests, nodes and storages come from, in the company below.
BUDGETS = {
    "version": 1,
    "nodes": 0,
    "guests": 0,
    "guest_configs": 3,
    "guest_addresses": 2,
    "storages": 0,
    "storage_contents": 5,  # two nodes with two each, and the shared one
    "pools": 1 + 1,
    "cluster": 1,
    "ha": 3,
    "backups": 2 + 3,
    "replication": 1 + 1,
    "access": 5,
    "firewall": 5 + 2,
    "notifications": 2,
    "mappings": 3,
    "sdn": 4,
    "tasks": 2,
    "certificates": 2,
    "ceph": 1,
    "subscription": 2,
    "updates": 2,
}
WITHOUT_RESOURCES = {"version", "cluster", "ha", "access", "firewall", "notifications", "mappings", "sdn", "ceph"}


def age(api, volid: str, vmid: int, hours: float) -> None:
    """An archive of so many hours ago."""
    storage, _, name = volid.partition(":")
    api.pve.store_file(storage, name.removeprefix("backup/"), GIB, "backup")
    api.pve.storages[storage]["volumes"][name].update(vmid=vmid, ctime=int(time.time() - hours * HOUR))


@pytest.fixture
def company(api, run, container):
    """Two nodes, two containers, a virtual machine with an agent, and a bit of everything else."""
    pve = api.pve
    pve.add_node("pve2")
    pve.storages["office"] = {"type": "nfs", "active": 1, "shared": 1, "content": "backup", "files": set()}
    pve.storages["office"].update(total=100 * GIB, avail=10 * GIB)
    run("pve_pool", {"poolid": "prod", "comment": "Production", "storages": ["office"]})
    run.fleet(
        container(100, hostname="web", tags=["web", "production"], memory=2048, cores=2, pool="prod", state="started"),
        container(101, hostname="mail", onboot=True, mp={"mp0": {"storage": "local-lvm", "size": 2, "mp": "/srv"}}),
    )
    machine = FakeVm(300, "router", node="pve2", status="running")
    config = {"memory": "1024", "agent": "1", "net0": "virtio=BC:24:11:00:00:03,bridge=vmbr0,firewall=1"}
    machine.config.update(config, cipassword=PASSWORD, scsi0="local-lvm:vm-300-disk-0,size=8G", tags="router")
    machine.agent = {}
    pve.vms.append(machine)
    age(api, "office:backup/vzdump-lxc-100-2026_11_22-02_30_00.tar.zst", 100, 30)
    age(api, "local:backup/vzdump-lxc-100-2026_11_23-02_30_00.tar.zst", 100, 6)
    age(api, "office:backup/vzdump-lxc-101-2026_11_22-02_30_00.tar.zst", 101, 30)
    run("pve_backup_job", {"id": "nightly", "schedule": "02:30", "storage": "office", "vmid": [100, 101]})
    run("pve_replication_job", {"id": "101-0", "target": "pve2", "schedule": "*/10"})
    run("pve_firewall_ipset", {"name": "management", "entries": [{"cidr": "198.51.100.0/24"}]})
    run("pve_firewall_group", {"group": "web", "rules": [{"action": "ACCEPT", "proto": "tcp", "dport": "80"}]})
    run("pve_user", {"userid": "ada@pve", "keys": "x!otp", "password": PASSWORD})
    run("pve_acl", {"path": "/vms", "roleid": "PVEVMUser", "users": ["ada@pve"], "propagate": False})
    run("pve_pci_mapping", {"id": "gpu", "map": [{"node": "pve1", "path": "0000:01:00", "id": "10de:2204"}]})
    run("pve_ha_resource", {"sid": "ct:100", "state": "started"})
    run("pve_ha_rule", {"rule": "first", "type": "node-affinity", "resources": ["ct:100"], "nodes": {"pve1": 2}})
    run("pve_sdn_zone", {"zone": "lan", "type": "simple", "nodes": ["pve2", "pve1"], "mtu": 1400})
    run("pve_sdn_vnet", {"vnet": "guests", "zone": "lan"})
    subnet = {"vnet": "guests", "subnet": "198.51.100.0/24", "gateway": "198.51.100.1", "snat": True}
    run("pve_sdn_subnet", {**subnet, "dhcp_range": ["start-address=198.51.100.50,end-address=198.51.100.99"]})
    pve.updates["pve1"] = [{"Package": "pve-manager", "Version": "9.2.12", "OldVersion": "9.2.11", "Origin": "Proxmox"}]
    pve.subscriptions["pve2"] = {"status": "active", "key": "pve1c-0123456789", "serverid": "ABCD", "level": "c"}
    api.requests()
    return api


@pytest.fixture
def gather(run):
    """The facts of some subsets."""

    def read(*subsets, **filters):
        result = run(MODULE, {"gather": list(subsets), **filters})
        assert (result["denied"], result["unanswered"], result["changed"]) == ({}, {}, False)
        return result["pve"]

    return read


# ------------------------------------------------------------------------------------------- the facts


def test_guests_are_known_by_their_names(company, gather):
    guests = gather("guests")["guests"]
    assert list(guests) == ["web", "mail", "router"]
    web = guests["web"]
    assert {name: web[name] for name in ("vmid", "kind", "node", "status", "running", "template", "pool")} == {
        "vmid": 100,
        "kind": "lxc",
        "node": "pve1",
        "status": "running",
        "running": True,
        "template": False,
        "pool": "prod",
    }
    assert web["tags"] == ["production", "web"]
    assert (web["cores"], web["memory"], web["disk_gib"]) == (2, 2048, 4.0)
    assert (guests["mail"]["running"], guests["mail"]["tags"], guests["mail"]["pool"]) == (False, [], None)
    assert guests["router"]["kind"] == "qemu"


def test_guests_of_one_name_are_known_by_their_numbers(company, run):
    company.pve.vms[0].name = "web"
    result = run(MODULE, {})
    assert list(result["pve"]["guests"]) == ["100", "mail", "300"]
    assert result["pve"]["guests"]["300"]["name"] == "web"
    assert "100 (web), 300 (web)" in str(result["warnings"])


def test_a_name_that_is_the_number_of_another_guest_hides_nobody(company, run):
    company.pve.vms[0].name = "100"
    assert list(run(MODULE, {})["pve"]["guests"]) == ["web", "mail", "300"]


def test_configurations_have_the_names_and_types_of_the_modules(company, gather):
    guests = gather("guest_configs")["guests"]
    mail, router = guests["mail"]["config"], guests["router"]["config"]
    assert (mail["onboot"], guests["web"]["config"]["onboot"], mail["memory"], mail["cores"]) == (True, False, 256, 1)
    assert mail["net"]["net0"]["bridge"] == "vmbr0"
    assert (mail["net"]["net0"]["firewall"], mail["net"]["net0"]["link_down"]) == (True, False)
    assert mail["features"] == {"nesting": True, "fuse": False, "keyctl": False, "mknod": False, "force_rw_sys": False}
    assert (mail["mp"]["mp0"]["size"], mail["mp"]["mp0"]["size_gib"]) == (2 * GIB, 2.0)
    assert (router["hostname"], router["memory"], router["agent"]["enabled"]) == ("router", 1024, True)
    assert router["net"]["net0"]["model"] == "virtio"
    assert router["scsi"]["scsi0"]["size_gib"] == 8.0
    assert router["cipassword"] == "(hidden)"
    assert "digest" not in mail


def test_addresses_come_from_the_node_and_from_the_agent(company, gather):
    guests = gather("guest_addresses")["guests"]
    assert guests["web"]["addresses"] == ["192.0.2.101"]
    assert guests["web"]["interfaces"]["eth0"]["addresses"] == ["192.0.2.101/24"]
    assert guests["mail"]["addresses"] == []
    assert guests["router"]["addresses"] == ["192.0.2.10"]
    assert guests["router"]["interfaces"]["eth0"]["mac"] == "BC:24:11:00:00:01"


def test_a_machine_without_an_agent_says_why_it_has_no_addresses(company, gather):
    company.pve.vms[0].agent = None
    router = gather("guest_addresses")["guests"]["router"]
    assert (router["addresses"], router["addresses_unknown"]) == ([], "QEMU guest agent is not running")


def test_addresses_as_before_8_4():
    interface = {"name": "eth0", "hwaddr": "bc:24:11:00:00:01", "inet": "192.0.2.9/24", "inet6": "fe80::1/64"}

    module = importlib.import_module("ansible_collections.onprem.cloud.plugins.modules.pve_info")
    found = module.interfaces([interface])
    assert found == {"eth0": {"mac": "BC:24:11:00:00:01", "addresses": ["192.0.2.9/24", "fe80::1/64"]}}
    assert module.reachable(found) == ["192.0.2.9"]


def test_storages_say_how_full_they_are(company, gather):
    storages = gather("storages")["storages"]
    office = storages["office"]
    assert (office["type"], office["shared"], office["content"], office["available"]) == ("nfs", True, ["backup"], True)
    assert (office["total"], office["used_gib"], office["free_gib"]) == (100 * GIB, 92.0, 8.0)
    assert office["used_percent"] == 92.0
    assert list(office["nodes"]) == ["pve1", "pve2"]
    # What is not shared is there once for each node.
    assert storages["local-lvm"]["total"] == 2 * storages["local-lvm"]["nodes"]["pve1"]["total"]


def test_a_storage_that_is_out_of_reach_has_no_figures(company, gather):
    company.pve.storages["office"]["active"] = 0
    pve = gather("storages", "storage_contents", "backups")
    office = pve["storages"]["office"]
    assert (office["available"], office["total"], office["used_percent"]) == (False, None, 0.0)
    assert "office" not in [item["storage"] for item in pve["backups"]["newest"].values()]


def test_contents_of_storages_name_their_guests(company, gather):
    contents = gather("storage_contents")["storages"]["office"]["contents"]
    archive = next(item for item in contents if item["vmid"] == 101)
    assert (archive["guest"], archive["size_gib"], archive["content"]) == ("mail", 1.0, "backup")
    assert len(contents) == 2


def test_backups_tell_what_is_missing(company, gather):
    backups = gather("backups")["backups"]
    assert {guest: item["age_hours"] for guest, item in backups["newest"].items()} == {"web": 6.0, "mail": 30.0}
    assert [item["storage"] for item in backups["archives"]["web"]] == ["local", "local", "office"]
    assert backups["without"] == ["router"]
    assert backups["not_in_jobs"] == ["router"]
    job = backups["jobs"]["nightly"]
    assert (job["enabled"], job["vmid"], job["schedule"]) == (True, ["100", "101"], "02:30")


def test_pools_name_their_members(company, gather):
    pools = gather("pools")["pools"]
    assert pools == {"prod": {"comment": "Production", "guests": ["web"], "storages": ["office"]}}


def test_everything_else(company, gather):
    company.pve.replicated["101-0"] = {"last_sync": 5, "fail_count": 2, "error": "no route to host"}
    facts = gather("all")
    assert facts["version"]["major"] == 9
    assert facts["nodes"]["pve1"]["memory"] == 128 * 1024
    assert facts["cluster"]["quorate"] is True
    assert facts["cluster"]["nodes"]["pve2"]["online"] is True
    assert facts["ha"]["resources"]["ct:100"]["state"] == "started"
    assert facts["ha"]["rules"]["first"]["nodes"] == {"pve1": 2}
    job = facts["replication"]["101-0"]
    assert (job["guest"], job["source"], job["target"], job["enabled"]) == ("mail", "pve1", "pve2", True)
    assert (job["fail_count"], job["error"]) == (2, "no route to host")
    assert facts["access"]["users"]["ada@pve"]["enable"] is True
    assert facts["access"]["acl"][0]["propagate"] is False
    assert "VM.Audit" in facts["access"]["roles"]["PVEAuditor"]["privs"]
    assert facts["firewall"]["options"]["enable"] is False
    assert facts["firewall"]["ipsets"]["management"]["entries"][0]["cidr"] == "198.51.100.0/24"
    assert facts["firewall"]["groups"]["web"]["rules"][0]["enable"] is True
    assert facts["notifications"]["matchers"]["default-matcher"]["target"] == ["mail-to-root"]
    assert facts["mappings"]["pci"]["gpu"]["map"][0]["path"] == "0000:01:00"
    assert facts["ceph"]["health"] == "HEALTH_OK"
    assert facts["subscription"]["pve1"]["active"] is False
    assert facts["subscription"]["pve2"]["active"] is True
    assert facts["updates"]["pve1"]["pve-manager"]["version"] == "9.2.12"
    assert facts["updates"]["pve2"] == {}
    assert isinstance(next(iter(facts["certificates"]["pve1"].values()))["days_left"], int)


def test_failed_tasks_the_newest_first(company, run, gather):
    company.pve.plan_task("vzdump", error="no space left on device")
    run.fails("pve_backup", {"vmid": 101, "storage": "local"})
    company.pve.plan_task("vzdump", warnings=1)
    run("pve_backup", {"vmid": 100, "storage": "local"})
    tasks = gather("tasks")["tasks"]
    assert [(task["type"], task["id"], task["status"]) for task in tasks] == [
        ("vzdump", "101", "no space left on device")
    ]


def test_ceph_that_is_not_installed_is_no_failure(company, gather):
    company.pve.fail("GET", "/cluster/ceph/status", 500, "binary not installed: /usr/bin/ceph-mon")
    assert gather("ceph")["ceph"] == {"installed": False}


def test_software_defined_networks_with_what_is_staged(company, run, gather):
    run("pve_sdn_zone", {"zone": "lan", "mtu": 1450, "nodes": [], "apply": False})
    run("pve_sdn_vnet", {"vnet": "new", "zone": "lan", "isolate_ports": True, "apply": False})
    sdn = gather("sdn")["sdn"]
    lan = sdn["zones"]["lan"]
    assert (lan["type"], lan["nodes"], lan["mtu"]) == ("simple", ["pve1", "pve2"], 1400)
    assert (lan["state"], lan["pending"]) == ("changed", {"mtu": 1450, "nodes": None})
    assert sdn["vnets"]["new"]["state"] == "new"
    assert {"zone": "lan", "isolate_ports": True}.items() <= sdn["vnets"]["new"]["pending"].items()
    subnet = sdn["vnets"]["guests"]["subnets"]["198.51.100.0/24"]
    assert (subnet["gateway"], subnet["snat"], subnet["state"]) == ("198.51.100.1", True, None)
    assert subnet["dhcp_range"] == [{"start-address": "198.51.100.50", "end-address": "198.51.100.99"}]
    run("pve_sdn_subnet", {"vnet": "guests", "subnet": "198.51.100.0/24", "state": "absent", "apply": False})
    run("pve_sdn_vnet", {"vnet": "guests", "state": "absent", "apply": False})
    assert gather("sdn")["sdn"]["vnets"]["guests"]["state"] == "deleted"


def test_groups_instead_of_rules_on_8(company, run, gather):
    company.pve.version = "8.4.1"
    run("pve_ha_group", {"group": "first", "nodes": {"pve1": 2, "pve2": 1}})
    ha = gather("ha")["ha"]
    assert ha["groups"]["first"]["nodes"] == {"pve1": 2, "pve2": 1}
    assert ha["rules"] == {}


def test_check_mode_reads_the_same(company, run):
    there, here = (run(MODULE, {"gather": ["guests"]}, check=check)["pve"] for check in (True, False))
    for guest in (*there["guests"].values(), *here["guests"].values()):
        guest["uptime"] = 0
    assert here == there


def test_root_on_the_node_reads_the_same(company, run, gather, tmp_path, monkeypatch):
    subsets = ("guest_configs", "pools", "tasks")
    calls = pvesh.stand_in(company, tmp_path, monkeypatch)
    there, here = gather(*subsets), gather(*subsets, api_backend="local")
    for guest in (*there["guests"].values(), *here["guests"].values()):
        guest["uptime"] = 0
    assert here == there
    assert "get /pools -poolid prod" in calls.read_text()


# ------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["!guests"], {"version", "nodes", "storages"}),
        (["all", "!ceph", "!updates"], set(BUDGETS) - {"ceph", "updates"}),
        (["guests", "!guests"], set()),
        (["!all"], set()),
    ],
)
def test_what_is_left_out(company, gather, asked, found):
    parts = {"guest_configs": "guests", "guest_addresses": "guests", "storage_contents": "storages"}
    assert set(gather(*asked)) == {parts.get(name, name) for name in found}


def test_the_default_is_cheap(company, run):
    result = run(MODULE, {})
    assert set(result["pve"]) == {"version", "nodes", "guests", "storages"}
    assert [request.path for request in company.requests()] == ["/version", "/cluster/resources"]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"node": "pve1"}, ["web", "mail"]),
        ({"vmid": [101, 300, 999]}, ["mail", "router"]),
        ({"tag": "Production"}, ["web"]),
        ({"pool": "prod"}, ["web"]),
        ({"node": "pve2", "tag": "web"}, []),
    ],
)
def test_filters(company, gather, filters, names):
    pve = gather("guests", "backups", **filters)
    assert list(pve["guests"]) == names
    assert set(pve["backups"]["newest"]) | set(pve["backups"]["without"]) <= set(names)


def test_what_is_not_chosen_keeps_its_name(company, gather):
    pve = gather("pools", "backups", "storage_contents", node="pve2")
    assert pve["backups"]["archives"] == {}
    assert pve["backups"]["without"] == ["router"]
    assert pve["pools"]["prod"]["guests"] == []
    assert list(pve["storages"]["office"]["nodes"]) == ["pve2"]
    # On the shared storage are archives of guests of the other node.
    assert pve["storages"]["office"]["contents"] == []


def test_a_filter_keeps_requests_down(company, gather):
    gather("guest_configs", vmid=[100])
    assert len(company.requests()) == 2
    gather("updates", node="pve2")
    assert [request.path for request in company.requests()][1:] == ["/nodes/pve2/apt/update"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gather": ["gests"]}, ["'gests'", "did you mean 'guests'?"]),
        ({"gather": ["!nothing"]}, ["'!nothing'"]),
        ({"node": "pve9"}, ["'pve9'", "pve1, pve2"]),
    ],
)
def test_what_there_is_not_is_named(company, run, given, words):
    message = run.fails(MODULE, given)
    assert [word for word in words if word not in message] == []


# ---------------------------------------------------------------------------------------------- budgets


def test_every_subset_has_a_budget_and_is_documented():
    module = importlib.import_module("ansible_collections.onprem.cloud.plugins.modules.pve_info")
    assert set(BUDGETS) == set(module.SUBSETS)
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert [name for name in BUDGETS if f"V({name}): " not in "\n".join(options["gather"]["description"])] == []


def test_budgets(company, gather):
    asked = {}
    for subset in BUDGETS:
        gather(subset)
        requests = company.requests()
        assert {request.method for request in requests} == {"GET"}
        # An answer that is empty may cost one more.
        paths = [request.path for request in requests if request.path != "/access/permissions"]
        assert ("/cluster/resources" in paths) == (subset not in WITHOUT_RESOURCES)
        asked[subset] = len(paths) - paths.count("/cluster/resources")
    assert asked == BUDGETS


def test_everything_asks_nothing_twice(company, gather):
    gather("all")
    asked = [(request.path, str(request.params)) for request in company.requests()]
    # Of pools, the listing and each of them are at one path.
    twice = [path for path, _ in asked if path != "/pools" and [other for other, _ in asked].count(path) > 1]
    assert twice == []
    assert len(asked) <= 1 + sum(BUDGETS.values()) - 3 + 1  # archives are among the contents


# ----------------------------------------------------------------------------------------- what is denied


def test_what_a_token_may_not_see_is_named_and_fails_nothing(company, run):
    result = run(MODULE, {"gather": ["all"], **limited(run, Life("", {}, {}, {}), VM_Audit="/vms/100").ident})
    assert list(result["pve"]["guests"]) == ["web"]
    assert result["denied"]["cluster"] == {
        "message": "Permission check failed (/, Sys.Audit)",
        "privilege": "Sys.Audit on /",
        "where": [],
    }
    assert result["denied"]["updates"]["where"] == ["pve1", "pve2"]
    assert result["denied"]["updates"]["privilege"] == "Sys.Modify on /nodes/pve1"
    assert result["pve"]["cluster"] == {}
    silent = {"nodes", "storages", "pools", "mappings", "sdn", "tasks", "access", "backups"}
    assert silent <= set(result["denied"])
    assert "Datastore.Audit nowhere" in result["denied"]["storages"]["message"]
    assert "guests" not in result["denied"]


def test_a_token_that_sees_no_guest_is_told_why(company, run):
    login = limited(run, Life("", {}, {}, {}), Sys_Audit="/").ident
    result = run(MODULE, {"gather": ["guests"], **login})
    assert result["pve"]["guests"] == {}
    assert result["denied"]["guests"]["privilege"] == "VM.Audit on /vms"
    assert len(company.requests()) == 2


def test_nothing_to_see_is_not_denied(api, run):
    result = run(MODULE, {"gather": ["all"]})
    assert (result["pve"]["guests"], result["denied"]) == ({}, {})


def test_documented_privileges_are_enough(company, run):
    rights = {"Sys_Audit": "/", "Sys_Modify": "/nodes", "VM_Audit": "/vms", "VM_GuestAgent_Audit": "/vms"}
    rights.update(VM_Backup="/vms", Datastore_Audit="/storage", Datastore_AllocateSpace="/storage")
    rights.update(Pool_Audit="/pool", Mapping_Audit="/mapping", SDN_Audit="/sdn", Permissions_Modify="/")
    everything = run(MODULE, {"gather": ["all"]})
    result = run(MODULE, {"gather": ["all"], **limited(run, Life("", {}, {}, {}), **rights).ident})
    assert (result["denied"], result["unanswered"]) == ({}, {})
    assert result["pve"]["backups"]["newest"].keys() == everything["pve"]["backups"]["newest"].keys()


def test_a_node_that_is_down_is_not_asked(company, gather):
    company.pve.set_node_offline("pve2")
    facts = gather("nodes", "certificates")
    assert facts["nodes"]["pve2"]["online"] is False
    assert list(facts["certificates"]) == ["pve1"]


def test_what_a_node_cannot_answer_is_named(company, run):
    company.pve.fail("GET", "/nodes/pve2/certificates/info", 500, "unable to read certificate")
    result = run(MODULE, {"gather": ["certificates"]})
    assert list(result["pve"]["certificates"]) == ["pve1"]
    assert result["unanswered"] == {"certificates": {"message": "unable to read certificate", "where": ["pve2"]}}
    assert "certificates (pve2): unable to read certificate" in str(result["warnings"])


def test_a_login_that_is_refused_fails(company, run):
    assert "refuses the API token" in run.fails(MODULE, {"api_token_secret": "wrong"})


# ---------------------------------------------------------------------------------------------- secrets


def test_no_secret_is_shown(company, run):
    run(MODULE, {"gather": ["all"]})
    secrets = (PASSWORD, SECRET, "x!otp", "pve1c-0123456789", "ABCD")
    assert [secret for secret in secrets if secret in run.output] == []
    assert "(hidden)" in run.output


def test_what_is_called_like_a_secret_is_masked():
    module = importlib.import_module("ansible_collections.onprem.cloud.plugins.modules.pve_info")
    given = {"a": [{"password": "x", "tokens": {"t": {"privsep": True}}}], "keys": "y", "encryption_key": "z"}
    hidden = {"a": [{"password": "(hidden)", "tokens": {"t": {"privsep": True}}}]}
    assert module.masked(given) == {**hidden, "keys": "(hidden)", "encryption_key": "(hidden)"}


# -------------------------------------------------------------------------------------------- reality


def test_what_was_recorded_is_read(monkeypatch):
    """The answers of a real one, through the same conversions."""
    module = importlib.import_module("ansible_collections.onprem.cloud.plugins.modules.pve_info")
    lines = (Path(__file__).parent / "recordings/info.jsonl").read_text().splitlines()
    answers = {(item["path"], json.dumps(item["params"])): item["data"] for item in map(json.loads, lines)}
    info = object.__new__(module.Info)
    filters = dict.fromkeys(("node", "vmid", "tag", "pool"))
    info.params, info.wanted, info.resources, info.volumes = (
        filters,
        set(module.SUBSETS) - {"ceph", "sdn", "tasks"},
        None,
        {},
    )
    info.denied, info.unanswered, info.privileges, info.now = {}, {}, {"Sys.Audit"}, 1795357400
    info.lock = threading.Lock()
    info.client = type("Recorded", (), {"get": lambda _, path, **params: answers[path, json.dumps(params)]})()
    facts = info.run()["pve"]
    assert facts["guests"]["ct1"]["memory"] == 256
    assert facts["guests"]["ct1"]["config"]["net"]["net0"]["bridge"] == "vmbr0"
    assert facts["backups"]["jobs"]["job1"]["prune_backups"] == {"keep-last": 2}
    assert facts["backups"]["jobs"]["job1"]["fleecing"] == {"enabled": True, "storage": "local"}
    assert facts["access"]["users"]["root@pam"]["tokens"]["t1"]["privsep"] is False
    assert facts["firewall"]["options"]["log_ratelimit"] == {"enable": True, "burst": 10, "rate": "5/second"}
    assert facts["ha"]["rules"]["r1"]["nodes"] == {"pve1": 0}
    assert facts["mappings"]["pci"]["gpu"]["map"][0]["iommugroup"] == "1"
    assert facts["certificates"]["pve1"]["pve-root-ca.pem"]["days_left"] > 3000
    assert facts["storages"]["local"]["used_percent"] == 13.5
    assert facts["cluster"]["quorate"] is True


# -------------------------------------------------------------------------------------------- examples


def test_what_the_examples_say(company, run):
    """The expressions of the examples, over what the tasks before them found."""
    module = importlib.import_module("ansible_collections.onprem.cloud.plugins.modules.pve_info")
    said, found = [], {}
    for task in yaml.safe_load(module.EXAMPLES):
        options = task.get("onprem.cloud.pve_info")
        if options is not None:
            given = {key: value for key, value in options.items() if not key.startswith("api_")}
            found[task.get("register")] = run(MODULE, given)
            continue
        variables = {**found, **{name: trust_as_template(text) for name, text in task.get("vars", {}).items()}}
        templar = Templar(DataLoader(), variables)
        told = task.get("ansible.builtin.debug", {}).get("msg")
        that = task.get("ansible.builtin.assert", {}).get("that")
        said.append(templar.template(trust_as_template(told or f"{{{{ {that} }}}}")))
    assert said == [["mail", "router"], ["office"], True, ["192.0.2.101"]]
