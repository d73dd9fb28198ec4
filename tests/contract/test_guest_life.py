# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests go through beyond their configuration: volumes and guests that move, templates."""

from __future__ import annotations

import pytest
from fakepve import PveError

TANK = {"type": "zfspool", "active": 1, "content": "images,rootdir", "files": set(), "volumes": {}}


@pytest.fixture(autouse=True)
def cluster(api):
    """Two nodes, and three storages: one that only the first node has, and one that both share."""
    api.pve.add_node("pve2")
    api.pve.node_figures["pve2"] = api.pve.node_figures["pve1"]
    api.pve.storages["tank"] = {**TANK, "volumes": {}}
    api.pve.storages["ceph"] = {**TANK, "type": "rbd", "shared": 1, "volumes": {}}
    api.pve.storages["fast"] = {**TANK, "nodes": "pve1", "volumes": {}}
    api.pve.storages["local"]["content"] = "backup,images,import,iso,vztmpl"


@pytest.fixture
def machine():
    def build(vmid=300, **options):
        guest = {"vmid": vmid, "type": "qemu", "node": "pve1", "hostname": f"machine-{vmid}", "memory": 1024,
                 "scsi": {"scsi0": {"storage": "local-lvm", "size": 4}}, **options}  # fmt: skip
        return {name: value for name, value in guest.items() if value is not ...}

    return build


@pytest.fixture
def both(api, run):
    """A real run whose prediction was right, and after which nothing is left to do; what it did."""

    def go(*guests):
        api.requests()
        predicted = run.fleet(*guests, check=True)
        assert api.writes() == []
        real = run.fleet(*guests)
        for key in ("changed", "diff"):
            assert real[key] == predicted[key]
        for before, after in zip(predicted["guests"], real["guests"]):
            for key in ("actions", "changes", "node", "status"):
                assert after[key] == before[key], key
        api.requests()
        again = run.fleet(*guests)
        assert not again["changed"], again["guests"]
        assert api.writes() == []
        return real["guests"][0]

    return go


@pytest.fixture
def refused(api, run):
    """The message of a run that wrote nothing."""

    def check(guest, words):
        api.requests()
        for check in (False, True):
            message = run.fleet_fails(guest, check=check)
            assert words in message, message
        assert api.writes() == []

    return check


def config(api, vmid):
    return (api.pve.ct(vmid) or api.pve.vm(vmid)).config


def writes(api):
    return [(write.method, write.path, {key: value for key, value in write.params.items() if key != "digest"})
            for write in api.writes()]  # fmt: skip


# ------------------------------------------------------------------------------------------------------ volumes


def test_a_volume_moves_to_another_storage_and_grows_there(api, run, container, both):
    run.fleet(container())
    before = config(api, 100)["rootfs"].partition(",")[0]
    result = both(container(rootfs={"storage": "tank", "size": 8}, move_volumes=True))
    assert result["actions"] == [
        "move rootfs to storage 'tank' (the old volume stays as an unused one of the guest)",
        "resize rootfs to 8G",
    ]
    assert result["changes"] == {"rootfs": {"before": "size=4G,storage=local-lvm", "after": "size=8G,storage=tank"}}
    held = config(api, 100)
    assert held["rootfs"] == "tank:subvol-100-disk-0,size=8G"
    assert held["unused0"] == before


def test_an_option_changes_with_the_move(api, run, container, both):
    mount = {"storage": "local-lvm", "size": 1, "mp": "/data"}
    run.fleet(container(mp={"mp0": mount}))
    result = both(container(mp={"mp0": {**mount, "storage": "tank", "backup": True}}, move_volumes=True))
    assert [action.partition(" (")[0] for action in result["actions"]] == ["move mp0 to storage 'tank'", "update mp0"]
    assert config(api, 100)["mp0"] == "tank:subvol-100-disk-0,mp=/data,backup=1,size=1G"


def test_the_old_volume_goes_on_request(api, run, container, machine, both):
    run.fleet(container(), machine())
    run.fleet(container(rootfs="tank:4", move_volumes=True, delete_moved=True))
    result = both(machine(scsi={"scsi0": "tank:4"}, move_volumes=True, delete_moved=True))
    assert result["actions"] == ["move scsi0 to storage 'tank'"]
    assert [key for vmid in (100, 300) for key in config(api, vmid) if key.startswith("unused")] == []
    assert config(api, 300)["scsi0"] == "tank:vm-300-disk-0,size=4G"


def test_a_disk_of_a_running_machine_moves_and_is_converted(api, run, machine, both):
    run.fleet(machine(scsi={"scsi0": {"storage": "local", "size": 4}}, state="started"))
    api.requests()
    disk = {"storage": "local", "size": 4, "format": "qcow2"}
    result = both(machine(scsi={"scsi0": disk}, move_volumes=True, state="started"))
    assert result["actions"] == [
        "move scsi0 to storage 'local' in the format qcow2 (the old volume stays as an unused one of the guest)"
    ]
    assert config(api, 300)["scsi0"] == "local:300/vm-300-disk-1.qcow2,size=4G"


def test_a_running_container_is_stopped_for_a_move_only_if_that_is_wanted(api, run, container, both, refused):
    run.fleet(container(state="started"))
    moved = {"rootfs": "tank:4", "move_volumes": True}
    refused(container(**moved), "guest 100 (guest-100): rootfs cannot be moved while the container runs, stop it first")
    assert both(container(**moved, state="stopped"))["actions"][0] == "stop"
    assert config(api, 100)["rootfs"].startswith("tank:")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "rootfs is on storage 'local-lvm', not 'tank': set move_volumes to have the volume moved"),
        ({"move_volumes": True, "rootfs": "tank:2"}, "rootfs is 4G and cannot shrink to 2G"),
    ],
)
def test_a_volume_is_moved_only_if_that_is_wanted(run, container, refused, options, words):
    run.fleet(container())
    refused(container(**{"rootfs": "tank:4", **options}), words)


@pytest.mark.parametrize(
    ("storage", "words"),
    [("nosuch", "rootfs: storage 'nosuch' does not exist on node 'pve1'"),
     ("iso", "rootfs: storage 'iso' does not take container disks")],
)  # fmt: skip
def test_a_volume_moves_to_a_storage_that_takes_it(api, run, container, storage, words):
    api.pve.storages["iso"] = {**TANK, "content": "iso"}
    run.fleet(container())
    api.requests()
    assert words in run.fleet_fails(container(rootfs=f"{storage}:4", move_volumes=True))
    assert api.writes() == []


def test_a_tpm_of_a_running_machine_is_not_moved(run, machine, refused):
    run.fleet(machine(tpmstate0={"storage": "local-lvm", "version": "v2.0"}, state="started"))
    other = machine(tpmstate0={"storage": "tank", "version": "v2.0"}, move_volumes=True)
    refused(other, "tpmstate0 cannot be moved while the virtual machine runs")


def test_the_old_volume_of_a_snapshot_is_not_deleted(api, run, container, refused):
    run.fleet(container())
    run("pve_snapshot", {"vmid": 100, "snapname": "before"})
    moved = container(rootfs="tank:4", move_volumes=True, delete_moved=True)
    refused(
        moved, "the old volume of rootfs is part of snapshot 'before' and cannot be deleted: leave delete_moved out"
    )
    mount = {"mp0": {"storage": "local-lvm", "size": 1, "mp": "/data"}}
    run.fleet(container(mp=mount))  # after the snapshot
    run.fleet(container(mp={"mp0": {**mount["mp0"], "storage": "tank"}}, move_volumes=True, delete_moved=True))
    assert config(api, 100)["mp0"].startswith("tank:")


# ----------------------------------------------------------------------------------------------------- templates


@pytest.mark.parametrize("kind", ["container", "machine"])
def test_a_guest_becomes_a_template_and_stays_one(api, run, container, machine, both, refused, kind):
    build, vmid = (container, 100) if kind == "container" else (machine, 300)
    result = both(build(template=True))
    assert result["actions"] == ["create", "turn into a template"]
    assert config(api, vmid)["template"] == 1
    assert result["changes"]["template"] == {"before": None, "after": True}
    both(build(template=True, memory=2048))
    both(build(memory=1024))
    refused(build(template=False), "it is a template and cannot become a guest again, clone it or leave template out")
    refused(build(state="started"), "it is a template and cannot be started")


def test_a_running_guest_becomes_a_template_only_if_it_is_to_stop(run, container, both, refused):
    run.fleet(container(state="started"))
    refused(container(template=True), "it is running and cannot become a template, stop it first (state stopped)")
    refused(container(template=True, state="started"), "a template cannot be started, set state to present or stopped")
    assert both(container(template=True, state="stopped"))["actions"] == ["stop", "turn into a template"]


def test_a_guest_with_snapshots_becomes_no_template(run, container, refused):
    run.fleet(container())
    run("pve_snapshot", {"vmid": 100, "snapname": "before"})
    words = "it has snapshots (before) and cannot become a template, remove them first"
    refused(container(template=True, memory=999), words)


# ---------------------------------------------------------------------------------------------------- migrations


@pytest.mark.parametrize("state", ["present", "started"])
@pytest.mark.parametrize("kind", ["container", "machine"])
def test_a_guest_goes_to_the_node_that_it_is_to_be_on(api, run, container, machine, both, kind, state):
    build, vmid = (container, 100) if kind == "container" else (machine, 300)
    disk = {"rootfs": "ceph:4"} if kind == "container" else {"scsi": {"scsi0": "ceph:4"}}
    run.fleet(build(**disk, state=state))
    result = both(build(**disk, node="pve2", migrate=True, state=state, memory=2048))
    restart = " (with a restart)" if (kind, state) == ("container", "started") else ""
    assert result["actions"] == [f"migrate to node 'pve2'{restart}", "update memory"]
    assert (result["node"], result["changes"]["node"]) == ("pve2", {"before": "pve1", "after": "pve2"})
    guest = api.pve.ct(vmid) or api.pve.vm(vmid)
    assert (guest.node, guest.status) == ("pve2", "running" if state == "started" else "stopped")


def test_a_machine_with_disks_of_its_node_goes_with_them(api, run, machine, both, refused):
    disk = {"scsi0": {"storage": "local-lvm", "size": 4}}
    run.fleet(machine(scsi=disk, state="started"))
    there = {"node": "pve2", "migrate": True}
    words = "scsi0 are on storages of node 'pve1' only: set with_local_disks to have them copied while it runs"
    refused(machine(**there), words)
    api.requests()
    both(machine(**there, with_local_disks=True))
    assert api.pve.vm(300).node == "pve2"


def test_a_stopped_guest_goes_with_its_disks(api, run, container, machine, both):
    run.fleet(container(), machine())
    both(container(node="pve2", migrate=True), machine(node="pve2", migrate=True))
    assert [api.pve.ct(100).node, api.pve.vm(300).node] == ["pve2", "pve2"]


@pytest.mark.parametrize("storage", ["tank", "fast:tank", "fast:tank,local-lvm:ceph"])
def test_the_disks_find_a_storage_on_the_other_node(api, run, container, both, refused, storage):
    run.fleet(container(rootfs="fast:4"))
    there = {"rootfs": "tank:4", "node": "pve2", "migrate": True}
    refused(container(**{**there, "rootfs": ...}), "rootfs would be on storage 'fast', which node 'pve2' does not have")
    if ":" not in storage:
        both(container(**there, target_storage=storage))
        assert config(api, 100)["rootfs"].startswith("tank:")
    else:
        assert run.fleet(container(**there, target_storage=storage), check=True)["guests"][0]["actions"] == [
            "migrate to node 'pve2'"
        ]


def test_a_guest_is_migrated_only_if_that_is_wanted(api, run, container, refused):
    run.fleet(container())
    refused(container(node="pve2"), "it is on node 'pve1', not 'pve2': set migrate to have it moved, or change node")
    refused(container(node="pve9", migrate=True), "node 'pve9' does not exist, the cluster has pve1, pve2")
    api.pve.nodes["pve2"]["online"] = False
    refused(container(node="pve2", migrate=True), "node 'pve2' is offline, bring it back first")


@pytest.mark.parametrize(
    ("kind", "held", "words"),
    [
        ("container", {"mp0": "/srv,mp=/srv"}, "mp0 belong to node 'pve1' and keep it from being migrated"),
        ("container", {"dev0": "/dev/dri/card0"}, "dev0 belong to node 'pve1'"),
        ("machine", {"hostpci0": "0000:01:00,pcie=1"}, "hostpci0 belong to node 'pve1'"),
        ("machine", {"usb0": "host=1234:5678", "serial0": "/dev/ttyS0"}, "serial0, usb0 belong to node 'pve1'"),
        (
            "machine",
            {"ide2": "local:iso/x.iso,media=cdrom"},
            "ide2 holds local:iso/x.iso, which node 'pve2' cannot read",
        ),
    ],
)
def test_what_belongs_to_a_node_keeps_a_guest_there(api, run, container, machine, refused, kind, held, words):
    build, vmid = (container, 100) if kind == "container" else (machine, 300)
    run.fleet(build())
    config(api, vmid).update(held)
    refused(build(node="pve2", migrate=True), words)


def test_what_is_on_every_node_does_not(api, run, container, machine, both):
    run.fleet(container(), machine())
    config(api, 300).update(hostpci0="mapping=gpu", usb0="spice", serial0="socket", ide2="none,media=cdrom")
    both(machine(node="pve2", migrate=True))


def test_a_guest_of_high_availability_stays_where_its_manager_has_it(api, run, container):
    run.fleet(container())
    api.pve.ct(100).ha_state = "started"
    assert not run.fleet(container(node="pve2", migrate=True))["changed"]


@pytest.mark.parametrize("kind", ["container", "machine"])
def test_a_lost_answer_does_not_make_a_second_guest(api, run, container, machine, kind):
    build = container if kind == "container" else machine
    run.fleet(build())
    task, losses = api.pve.task, ["vzmigrate", "qmigrate"]

    async def losing(node, kind, *args, **kwargs):
        upid = await task(node, kind, *args, **kwargs)
        if kind in losses:
            losses.clear()
            raise PveError(596, "Connection timed out")
        return upid

    api.pve.task = losing
    api.pve.tasklog.clear()
    assert run.fleet(build(node="pve2", migrate=True, memory=777))["guests"][0]["node"] == "pve2"
    assert losses == []
    assert [entry["type"] for entry in api.pve.tasklog] in (["vzmigrate"], ["qmigrate"])
    assert len([*api.pve.cts, *api.pve.vms]) == 1
