# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are restored from their backups."""

from __future__ import annotations

import pytest
from fakepve import PveError

from tests.contract.life import Life, limited

CARD = {"name": "eth0", "bridge": "vmbr0", "ip": "192.0.2.77/24"}


@pytest.fixture(autouse=True)
def guests(run, container):
    """A container and a machine, each with one backup."""
    machine = {"vmid": 300, "type": "qemu", "node": "pve1", "hostname": "machine", "scsi": {"scsi0": "local-lvm:4"}}
    run.fleet(container(100, hostname="web", memory=512), {**machine, "net": {"net0": "virtio,bridge=vmbr0"}})
    found = {vmid: run("pve_backup", {"vmid": vmid, "storage": "local"})["archive"] for vmid in (100, 300)}
    run.api.requests()
    return found


def both(run, options):
    """A real run whose prediction was right."""
    run.api.requests()
    predicted = run("pve_restore", options, check=True)
    assert run.api.writes() == []
    real = run("pve_restore", options)
    assert predicted == real
    return real


def lost(api, vmid):
    """Somebody destroys the guest."""
    held = api.pve.cts if api.pve.ct(vmid) else api.pve.vms
    held.remove(api.pve.ct(vmid) or api.pve.vm(vmid))


def config(api, vmid):
    return (api.pve.ct(vmid) or api.pve.vm(vmid)).config


@pytest.mark.parametrize(("vmid", "kind"), [(100, "lxc"), (300, "qemu")])
def test_a_guest_that_is_gone_is_restored_once(run, api, guests, vmid, kind):
    lost(api, vmid)
    options = {"vmid": vmid, "archive": guests[vmid], "start": True}
    result = both(run, options)
    assert (result["restored"], result["archive"], result["type"]) == (True, guests[vmid], kind)
    assert result["diff"]["before"] == {"status": "absent"}
    assert result["diff"]["after"] == {"status": "running", "archive": guests[vmid]}
    assert (api.pve.ct(vmid) or api.pve.vm(vmid)).status == "running"
    api.requests()
    again = run("pve_restore", options)
    assert (again["changed"], again["restored"], again["type"]) == (False, False, kind)
    assert len(api.requests()) == 1


@pytest.mark.parametrize("vmid", [100, 300])
def test_a_backup_is_tried_beside_its_guest(run, api, guests, vmid):
    net = {100: {"net0": CARD}, 300: {"net0": "virtio,bridge=vmbr0,link_down=1"}}[vmid]
    before = config(api, vmid)["net0"]
    latest = {"archive": "latest", "source_vmid": vmid, "backup_storage": "local", "storage": "local-lvm"}
    other = {"vmid": 900, "hostname": "trial", "memory": 1024, "cores": 2, "unique": True, "net": net}
    result = both(run, {**latest, **other})
    assert result["archive"] == guests[vmid]
    made = config(api, 900)
    assert (made.get("hostname") or made.get("name"), int(made["memory"]), made["cores"]) == ("trial", 1024, 2)
    assert result["diff"]["after"].keys() == {"hostname", "memory", "cores", "net0", "status", "archive"}
    assert made["net0"] != before
    assert config(api, vmid)["net0"] == before


def test_a_card_of_a_machine_may_be_on_no_bridge(run, api, guests):
    both(run, {"vmid": 900, "archive": guests[300], "net": {"net0": "virtio,link_down=1"}})
    assert config(api, 900)["net0"].endswith(",link_down=1")


def test_the_newest_archive_of_the_right_guest_is_taken(run, api, guests):
    volumes = api.pve.storages["local"]["volumes"]
    for vmid, ctime in ((100, 5), (101, 4_000_000_000), (100, 3_000_000_000)):
        name = f"vzdump-lxc-{vmid}-2033_05_18-{ctime % 100:02}_00_00.tar.zst"
        api.pve.store_file("local", name, 1, "backup")
        volumes[f"backup/{name}"]["ctime"] = ctime
    options = {"vmid": 900, "source_vmid": 100, "archive": "latest", "backup_storage": "local"}
    assert both(run, options)["archive"] == f"local:backup/{name}"


def test_a_guest_that_is_there_is_replaced_by_force_only(run, api, guests):
    config(api, 100)["memory"] = 4096
    options = {"vmid": 100, "archive": guests[100]}
    assert not run("pve_restore", options)["changed"]
    assert config(api, 100)["memory"] == 4096
    result = both(run, {**options, "force": True})
    assert result["diff"]["before"] == {"status": "stopped"}
    assert config(api, 100)["memory"] == 512
    assert run("pve_restore", {**options, "force": True})["changed"]


def test_a_machine_is_replaced_by_force(run, api, guests):
    config(api, 300)["memory"] = "4096"
    both(run, {"vmid": 300, "archive": guests[300], "force": True, "live_restore": True, "bwlimit": 1000})
    assert config(api, 300).get("memory") != "4096"
    assert api.pve.vm(300).status == "running"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"archive": "latest"}, "backup_storage is missing, archive 'latest' is looked for there"),
        ({"archive": "/var/dump/x.tar"}, "archive '/var/dump/x.tar' is not a volume such as local:backup/"),
        ({"source_vmid": 100}, "source_vmid is for archive 'latest', leave it out"),
        ({"backup_storage": "local"}, "backup_storage is for archive 'latest', leave it out"),
        ({"node": "pve9"}, "restore of guest 900: node 'pve9' does not exist, the cluster has pve1"),
        ({"archive": "local:backup/x"}, "archive 'local:backup/x' does not exist, choose one such as local:backup/"),
        ({"archive": "local-lvm:backup/x"}, "storage 'local-lvm' holds no backups on node 'pve1', choose of local"),
        ({"archive": "nosuch:backup/x"}, "storage 'nosuch' holds no backups on node 'pve1'"),
        ({"archive": "latest", "backup_storage": "local"}, "storage 'local' has no backup of guest 900"),
        ({"storage": "nosuch"}, "storage 'nosuch' on node 'pve1' does not take its volumes, choose of local-lvm"),
        ({"live_restore": True}, "live_restore is for virtual machines, and the archive is that of a container"),
        ({"cores": 0}, "restore of guest 900: cores is empty, give it a value or leave it out"),
        ({"net": {"net0": None}}, "restore of guest 900: net0 is empty, give it a value or leave it out"),
        ({"hostname": ""}, "restore of guest 900: hostname is empty, give it a value or leave it out"),
        ({"memory": 3}, "restore of guest 900: memory: 3 is out of range"),
        ({"net": {"net0": "bridge=vmbr0"}}, "restore of guest 900: net0: 'name' is missing"),
        ({"net": {"net0": {**CARD, "bridge": "vmbr7"}}}, "net0: bridge 'vmbr7' does not exist on node 'pve1'"),
        ({"vmid": 100, "hostname": "other"}, "vmid 100 is taken by 'web', choose another vmid, or set force"),
        ({"vmid": 300, "force": True}, "vmid 300 is the virtual machine 'machine', and the archive holds a container"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_the_first_write(run, api, guests, options, words):
    assert words in run.fails("pve_restore", {"vmid": 900, "archive": guests[100], **options})
    assert api.writes() == []


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"status": "running"}, "the container 'web' is running and will not be replaced, stop it first"),
        ({"protection": 1}, "the container 'web' is protected and will not be replaced, turn off its protection"),
        ({"lock": "backup"}, "the container 'web' is locked (backup), let the task that holds it end first"),
    ],
)
def test_a_guest_that_is_in_use_is_not_replaced(run, api, guests, state, words):
    container = api.pve.ct(100)
    container.config.update({key: value for key, value in state.items() if key != "status"})
    container.status = state.get("status", "stopped")
    assert words in run.fails("pve_restore", {"vmid": 100, "archive": guests[100], "force": True, "task_timeout": 1})
    assert api.writes() == []


def test_a_guest_elsewhere_and_a_node_that_is_down_are_told(run, api, guests):
    api.pve.add_node("pve2")
    options = {"vmid": 900, "archive": guests[100]}
    assert "node is missing, the cluster has pve1, pve2" in run.fails("pve_restore", options)
    message = run.fails("pve_restore", {**options, "vmid": 100, "node": "pve2", "force": True})
    assert "the guest is on node 'pve1', not 'pve2': migrate it, or change node" in message
    api.pve.nodes["pve2"]["online"] = False
    assert "node 'pve2' is offline, bring it back first" in run.fails("pve_restore", {**options, "node": "pve2"})
    assert api.writes() == []


def test_a_storage_that_is_not_online_is_told(run, api, guests):
    api.pve.storages["local"]["active"] = 0
    message = run.fails("pve_restore", {"vmid": 900, "archive": guests[100]})
    assert "storage 'local' is not online on node 'pve1', bring it back first" in message


@pytest.mark.parametrize(
    "options",
    [{"archive": "local:backup/vzdump-lxc-100-2099_01_01-00_00_00.tar"}, {"archive": "nosuch:backup/x"},
     {"archive": "latest", "backup_storage": "local"}],
)  # fmt: skip
def test_what_is_not_there_yet_is_no_error_in_check_mode(run, options):
    result = run("pve_restore", {"vmid": 900, **options}, check=True)
    assert (result["changed"], result["archive"]) == (True, "")
    assert "restore of guest 900" in str(result["warnings"])


def test_an_archive_that_may_not_be_seen_is_told(run, guests):
    life = limited(run, Life("pve_restore", {"vmid": 900, "archive": guests[100]}, {}, {}), VM_Audit="/vms/900")
    run.api.pve.grant("limited@pve", "/storage", "Datastore.AllocateSpace")
    message = run.fails("pve_restore", life.ident)
    assert f"archive '{guests[100]}' does not exist, or VM.Backup to see it is missing" in message


def test_a_lost_answer_does_not_restore_twice(run, api, guests):
    task, losses = api.pve.task, ["vzrestore"]

    async def losing(node, kind, *args, **kwargs):
        upid = await task(node, kind, *args, **kwargs)
        if kind in losses:
            losses.remove(kind)
            raise PveError(596, "Connection timed out")
        return upid

    api.pve.task = losing
    assert run("pve_restore", {"vmid": 100, "archive": guests[100], "force": True})["restored"]
    assert losses == []
    assert [entry["type"] for entry in api.pve.tasklog].count("vzrestore") == 1


def test_trap_a_restore_that_fails_says_why(run, api, guests):
    api.pve.plan_task("vzrestore", error="unable to restore CT 900 - exit code 2", log=["tar: Unexpected EOF"])
    message = run.fails("pve_restore", {"vmid": 900, "archive": guests[100]})
    assert "restore of guest 900: the task failed: unable to restore CT 900 - exit code 2" in message
    assert "tar: Unexpected EOF" in message


@pytest.mark.parametrize("vmid", [100, 300])
def test_it_needs_no_more_privileges_than_are_documented(run, guests, vmid):
    source = f"/vms/{vmid}"
    life = limited(run, Life("pve_restore", {"vmid": 900, "archive": guests[vmid]}, {}, {}), VM_Backup=source)
    for privilege in ("VM.Allocate", "VM.Audit", "VM.PowerMgmt", "VM.Config.Memory"):
        run.api.pve.grant("limited@pve", "/vms/900", privilege)
    for storage in ("local", "local-lvm"):
        run.api.pve.grant("limited@pve", f"/storage/{storage}", "Datastore.AllocateSpace")
    assert run("pve_restore", {**life.ident, "memory": 700, "start": True})["restored"]
