# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests go through beyond their configuration: volumes and guests that move, templates."""

from __future__ import annotations

import pytest
from fakepve import PveError

from tests.contract import pvesh
from tests.contract.life import Life, limited

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


def test_the_old_disk_of_a_snapshot_is_not_deleted(run, machine, refused):
    run.fleet(machine())
    run("pve_snapshot", {"vmid": 300, "snapname": "before"})
    moved = machine(scsi={"scsi0": "tank:4"}, move_volumes=True, delete_moved=True)
    refused(moved, "the old volume of scsi0 is part of snapshot 'before' and cannot be deleted: leave delete_moved out")


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


# ----------------------------------------------------------------------------------------------------- privileges


def test_what_guests_go_through_needs_no_more_privileges_than_are_documented(api, run, sources, container, machine):
    life = limited(run, Life("pve_fleet", {}, {}, {}), Datastore_AllocateSpace="/storage", VM_Clone="/vms")
    for privilege in (
        "VM.Audit",
        "VM.Allocate",
        "VM.Migrate",
        "VM.Config.Disk",
        "VM.Config.Memory",
        "VM.Config.Options",
    ):
        api.pve.grant("limited@pve", "/vms", privilege)
    for path, privilege in (("/storage", "Datastore.Audit"), ("/sdn", "SDN.Use"), ("/nodes", "Sys.Audit")):
        api.pve.grant("limited@pve", path, privilege)
    guests = [clone_of(container, 900, memory=700), clone_of(machine, 901, memory=700)]
    moved = [{"vmid": 100, "rootfs": "tank:4"}, {"vmid": 300, "type": "qemu", "scsi": {"scsi0": "tank:4"}}]
    gone = [{"vmid": 100, "node": "pve2"}, {"vmid": 300, "type": "qemu", "node": "pve2"}]
    made = [{"vmid": 100, "template": True}, {"vmid": 300, "type": "qemu", "template": True}]
    for step, options in ((guests, {}), (moved, {"move_volumes": True}), (gone, {"migrate": True}), (made, {})):
        assert run.fleet(*({**guest, **options} for guest in step), **life.ident)["changed"]
    life = limited(run, life, VM_Audit="/vms", VM_Allocate="/vms")
    for build, vmid in ((container, 900), (machine, 901)):
        assert "VM.Clone" in run.fleet_fails({**clone_of(build, vmid, hostname="other"), "vmid": 500}, **life.ident)


CONTAINERS = (
    *("VM.Allocate", "VM.Audit", "VM.Config.CPU", "VM.Config.Disk", "VM.Config.Memory", "VM.Config.Network"),
    *("VM.Config.Options", "VM.PowerMgmt", "Datastore.AllocateSpace", "Datastore.Audit", "SDN.Use"),
)


def containers_only(api, run, *without):
    """The login of a token that may do what containers need, but for what is left out."""
    life = limited(run, Life("pve_lxc", {}, {}, {}))
    for privilege in set(CONTAINERS) - set(without):
        api.pve.grant("limited@pve", "/", privilege)
    return life.ident


def test_the_documented_privileges_are_enough_for_a_container(api, run, container):
    login = containers_only(api, run)
    first, then = container(state="started"), container(memory=300, cores=2, rootfs="local-lvm:5", description="web")
    for given in (first, then, {**then, "state": "stopped", "tags": ["web"]}):
        lxc = {key: value for key, value in given.items() if key != "type"}
        assert run("pve_lxc", {**lxc, **login})["changed"]
        assert not run("pve_lxc", {**lxc, **login})["changed"]
    assert run("pve_lxc", {"vmid": 100, "state": "absent", **login})["changed"]


@pytest.mark.parametrize("privilege", ["VM.Config.Memory", "Datastore.AllocateSpace"])
def test_a_privilege_that_a_container_lacks_is_named(api, run, container, privilege):
    login = containers_only(api, run, privilege)
    message = run.fleet_fails(container(), **login)
    for word in ("guest 100", privilege, "grant 'limited@pve'"):
        assert word in message
    assert api.pve.cts == []


# ------------------------------------------------------------------------------------------------- pvesh on a node


def test_root_on_the_node_keeps_guests_with_pvesh(api, run, container, machine, tmp_path, monkeypatch):
    """With what only root@pam may change; a task that fails is told as over the network."""
    calls = pvesh.stand_in(api, tmp_path, monkeypatch)
    run.login = {"api_backend": "local", "api_host": None, "api_token_id": None, "api_token_secret": None}
    guests = [
        container(features={"nesting": True, "keyctl": True}, state="started", description="of the\nteam"),
        machine(hostpci={"hostpci0": "0000:01:00"}, args="-no-hpet"),
    ]
    predicted = run.fleet(*guests, check=True)
    result = run.fleet(*guests)
    assert result["diff"] == predicted["diff"]
    assert config(api, 100)["features"] == "keyctl=1,nesting=1"
    calls.write_text("")
    assert not run.fleet(*guests)["changed"]
    assert [line for line in calls.read_text().splitlines() if not line.startswith("get ")] == []
    gone = [{"vmid": 100, "state": "absent", "force": True}, {"vmid": 300, "type": "qemu", "state": "absent"}]
    assert run.fleet(*gone)["changed"]
    api.pve.plan_task("vzcreate", error="no space left on device", log=["extracting archive"])
    assert "extracting archive | TASK ERROR: no space left on device" in run.fleet_fails(container())


# ------------------------------------------------------------------------------------------------------- pending


def test_what_waits_for_a_restart_is_told_whoever_changed_it(api, run, container):
    run.fleet(container(state="started"))
    api.pve.ct(100).pending["tty"] = 4
    for check in (True, False):
        result = run.fleet(container(), check=check)["guests"][0]
        assert (result["changed"], result["pending"], result["reboot_required"]) == (False, ["tty"], True)
    result = run.fleet(container(timezone="UTC", delete=["features"], features=...))["guests"][0]
    assert result["pending"] == ["features", "timezone", "tty"]
    assert not run.fleet(container(tty=4, timezone="UTC", features={}))["changed"]
    result = run.fleet(container(features={}, state="stopped"))["guests"][0]
    assert (result["pending"], result["reboot_required"]) == ([], False)


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
    result = run.fleet(build(node="pve2", migrate=True))["guests"][0]
    assert (result["node"], result["changed"], result["actions"]) == ("pve2", True, ["migrate to node 'pve2'"])
    assert losses == []
    assert [entry["type"] for entry in api.pve.tasklog] in (["vzmigrate"], ["qmigrate"])
    assert len([*api.pve.cts, *api.pve.vms]) == 1


# -------------------------------------------------------------------------------------------------------- clones


@pytest.fixture
def sources(run, container, machine):
    """A container and a machine to clone."""
    card = {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"}
    run.fleet(
        container(900, hostname="golden-ct", net={"net0": card}, tags=["golden"], onboot=True),
        machine(
            901,
            hostname="golden-vm",
            net={"net0": "virtio,bridge=vmbr0"},
            ide={"ide2": "local-lvm:cloudinit"},
            ciuser="admin",
            cipassword="password of the golden one",
            tags=["golden"],
        ),
    )


def clone_of(build, vmid, **options):
    """The guest 100 or 300 as a clone of 900 or 901."""
    bare = dict.fromkeys(("ostemplate", "rootfs", "net", "features", "cores", "memory", "swap", "node", "scsi"), ...)
    number = 100 if vmid == 900 else 300
    return build(number, **{**bare, "clone": {"vmid": vmid}, **options})


@pytest.mark.parametrize("vmid", [900, 901])
def test_a_guest_is_cloned_and_changed_in_one_run(api, sources, container, machine, both, vmid):
    build = container if vmid == 900 else machine
    disk = {"rootfs": "local-lvm:8"} if vmid == 900 else {"scsi": {"scsi0": "local-lvm:8"}}
    guest = clone_of(build, vmid, **disk, memory=2048, tags=["mine"], state="started", pool="production")
    api.pve.pools["production"] = set()
    api.requests()
    result = both(guest)
    key = "rootfs" if vmid == 900 else "scsi0"
    assert result["actions"] == [f"clone guest {vmid}", f"resize {key} to 8G", "update memory, tags", "start"]
    assert result["changes"]["memory"] == {"before": None, "after": 2048}
    held, source = config(api, result["vmid"]), config(api, vmid)
    assert held[key].endswith(",size=8G")
    assert held[key].partition(",")[0] != source[key].partition(",")[0]
    assert held["net0"] != source["net0"]
    assert (held["tags"], int(held["memory"]), source["tags"]) == ("mine", 2048, "golden")
    assert result["vmid"] in api.pve.pools["production"]
    if vmid == 900:
        assert held["onboot"] == 1  # as the source has it


@pytest.mark.parametrize("vmid", [900, 901])
def test_a_clone_is_found_by_name_and_left_alone_afterwards(api, run, sources, container, machine, both, vmid):
    name = {900: "golden-ct", 901: "GOLDEN-vm"}[vmid]
    guest = clone_of(container if vmid == 900 else machine, vmid, clone={"name": name}, hostname="copy")
    result = both(guest)
    assert (result["actions"], result["hostname"]) == ([f"clone guest {vmid}"], "copy")
    held = config(api, result["vmid"])
    assert (held.get("hostname") or held["name"]) == "copy"
    gone = {"vmid": vmid, "type": guest["type"], "state": "absent"}
    run.fleet(gone)
    assert not run.fleet(guest)["changed"]


@pytest.mark.parametrize("vmid", [900, 901])
def test_a_template_has_linked_clones_unless_told(api, run, sources, container, machine, both, vmid):
    build = container if vmid == 900 else machine
    run.fleet({"vmid": vmid, "type": build()["type"], "template": True})
    api.requests()
    both(clone_of(build, vmid))
    both(
        {
            **clone_of(build, vmid, hostname="full"),
            "vmid": 500,
            "clone": {"vmid": vmid, "full": True, "storage": "tank"},
        }
    )
    key = "rootfs" if vmid == 900 else "scsi0"
    assert config(api, 500)[key].startswith("tank:")


def test_a_clone_has_the_password_that_it_is_given(api, sources, machine, both):
    both(clone_of(machine, 901, cipassword="a password of its own"))
    assert config(api, 300)["cipassword"] == "a password of its own"
    assert config(api, 901)["cipassword"] == "password of the golden one"


def test_the_drive_of_cloud_init_is_cloned_too(api, sources, machine, both):
    both(clone_of(machine, 901, ide={"ide2": "local-lvm:cloudinit"}))
    assert "vm-300-cloudinit" in config(api, 300)["ide2"]


def test_a_snapshot_is_cloned(api, run, sources, container, both, refused):
    run("pve_snapshot", {"vmid": 900, "snapname": "clean"})
    run.fleet({"vmid": 900, "memory": 4096, "state": "started"})
    refused(clone_of(container, 900), "clone: container 900 is running, stop it first or clone one of its snapshots")
    missing = clone_of(container, 900, clone={"vmid": 900, "snapname": "other"})
    refused(missing, "clone: guest 900 has no snapshot 'other', it has clean")
    both(clone_of(container, 900, clone={"vmid": 900, "snapname": "clean"}))
    assert config(api, 100)["memory"] == 256


def test_a_snapshot_of_a_running_machine_is_cloned(api, run, sources, machine, both, refused):
    run("pve_snapshot", {"vmid": 901, "snapname": "clean"})
    run.fleet({"vmid": 901, "type": "qemu", "memory": 4096, "state": "started"})
    missing = clone_of(machine, 901, clone={"vmid": 901, "snapname": "other"})
    refused(missing, "clone: guest 901 has no snapshot 'other', it has clean")
    clean = clone_of(machine, 901, clone={"vmid": 901, "snapname": "clean"}, memory=1024)
    assert both(clean)["actions"] == ["clone guest 901 at snapshot 'clean'"]
    assert int(config(api, 300)["memory"]) == 1024


def test_a_volume_of_a_clone_is_moved_only_if_that_is_wanted(api, sources, container, both, refused):
    guest = clone_of(container, 900, rootfs="tank:4")
    refused(guest, "rootfs is on storage 'local-lvm', not 'tank': set move_volumes")
    both({**guest, "clone": {"vmid": 900, "storage": "tank"}})
    both({**guest, "vmid": 101, "hostname": "moved", "move_volumes": True})
    assert [config(api, vmid)["rootfs"].partition(":")[0] for vmid in (100, 101)] == ["tank", "tank"]


def test_a_clone_is_made_on_another_node_where_both_share_the_storage(api, sources, machine, both, refused):
    words = "its clone would be on storage 'local-lvm', which node 'pve2' does not share: leave node out"
    refused(clone_of(machine, 901, node="pve2"), words)
    both(clone_of(machine, 901, node="pve2", clone={"vmid": 901, "storage": "ceph"}))
    assert api.pve.vm(300).node == "pve2"


def test_many_are_cloned_at_once(api, sources, container, both):
    api.pve.time_scale = 0.01
    api.pve.ct_secs["clone"] = 5
    both(*({**clone_of(container, 900, hostname=f"copy-{vmid}"), "vmid": vmid} for vmid in (100, 101, 102)))
    assert len(api.pve.cts) == 4


@pytest.mark.parametrize(
    ("vmid", "options", "words"),
    [
        (900, {"clone": {"vmid": 901}}, "clone: guest 901 is a virtual machine, not a container"),
        (900, {"clone": {"vmid": 900, "full": False}}, "clone: container 900 is no template, and only a template has"),
        (900, {"ostemplate": "local:vztmpl/x"}, "'ostemplate' is not for a clone, which has what its source has"),
        (900, {"password": "12345"}, "'password' is not for a clone"),
        (900, {"unprivileged": False}, "unprivileged is True and cannot be changed"),
        (900, {"rootfs": "local-lvm:2"}, "rootfs is 4G and cannot shrink to 2G"),
        (901, {"hostname": "golden-vm"}, "hostname golden-vm is used by"),
    ],
)
def test_a_clone_that_cannot_be(sources, container, machine, refused, vmid, options, words):
    refused(clone_of(container if vmid == 900 else machine, vmid, **options), words)


def test_a_linked_clone_stays_on_the_storage_of_its_template(run, sources, container, refused):
    run.fleet({"vmid": 900, "template": True})
    words = "clone: container 900 has linked clones on its own storage only: leave storage out, or set full"
    refused(clone_of(container, 900, clone={"vmid": 900, "storage": "tank"}), words)


def test_a_container_with_a_path_of_its_node_is_not_cloned(api, sources, container, refused):
    config(api, 900)["mp0"] = "/srv,mp=/srv"
    refused(clone_of(container, 900), "clone: container 900 has mp0, which is no volume and cannot be cloned")


def test_a_source_that_is_called_as_another_is_told(api, run, sources, container, refused):
    api.pve.vm(901).name = api.pve.vm(901).config["name"] = "golden-ct"
    refused(
        clone_of(container, 900, clone={"name": "golden-ct"}),
        "'golden-ct' is the name of several guests (900, 901), write vmid",
    )


@pytest.mark.parametrize("options", [{"clone": {"vmid": 999}}, {"clone": {"vmid": 900, "storage": "nosuch"}}])
def test_what_a_clone_needs_may_come_in_check_mode(api, run, sources, container, options):
    guest = clone_of(container, 900, node="pve1", memory=512, **options)
    api.requests()
    message = run.fleet_fails(guest)
    assert "999 does not exist" in message or "storage 'nosuch' does not exist" in message
    result = run.fleet(guest, check=True)
    assert result["guests"][0]["actions"][0].startswith("clone guest")
    assert result["guests"][0]["changes"]["memory"]["after"] == 512
    assert "does not exist" in str(result["warnings"])
    assert api.writes() == []


@pytest.mark.parametrize("vmid", [900, 901])
def test_a_lost_answer_does_not_clone_twice(api, run, sources, container, machine, vmid):
    task, losses = api.pve.task, ["vzclone", "qmclone"]

    async def losing(node, kind, *args, **kwargs):
        upid = await task(node, kind, *args, **kwargs)
        if kind in losses:
            losses.clear()
            raise PveError(596, "Connection timed out")
        return upid

    api.pve.task = losing
    api.pve.tasklog.clear()
    guest = clone_of(container if vmid == 900 else machine, vmid, memory=777)
    assert run.fleet(guest)["guests"][0]["actions"] == [f"clone guest {vmid}", "update memory"]
    assert losses == []
    assert [entry["type"] for entry in api.pve.tasklog if "clone" in entry["type"]] == [
        "vzclone" if vmid == 900 else "qmclone"
    ]
    assert not run.fleet(guest)["changed"]


def test_a_clone_that_an_interrupted_run_began_is_waited_for(api, run, sources, container):
    api.pve.time_scale = 0.02
    api.pve.ct_secs["clone"] = 30
    api.call(api.pve._lxc_clone("root@pam", {"node": "pve1", "vmid": 900, "newid": 100, "hostname": "guest-100"}))
    assert api.pve.ct(100).lock == "create"
    result = run.fleet(clone_of(container, 900, memory=777))["guests"][0]
    assert result["actions"] == ["update memory"]
    assert api.pve.ct(100).lock is None


@pytest.mark.parametrize("seed", range(2))
def test_one_request_in_ten_is_dropped(api, run, sources, container, machine, seed):
    api.pve.time_scale = 0.01
    api.pve.ct_secs.update(clone=3, migrate=3)
    api.pve._random.seed(seed)
    cts = [{**clone_of(container, 900, hostname=f"copy-{vmid}", memory=777), "vmid": vmid} for vmid in range(100, 104)]
    moved = {"move_volumes": True, "delete_moved": True, "rootfs": "tank:4"}
    steps = [
        [*cts, clone_of(machine, 901, memory=777)],
        [{**guest, **moved} for guest in cts],
        [{**guest, "rootfs": "tank:4", "node": "pve2", "migrate": True, "template": True} for guest in cts],
    ]
    for guests in steps:
        api.pve.flaky_network(drop_rate=0.1)
        for _ in range(4):
            result = run.any("pve_fleet", {"guests": guests})
            if not result.get("failed"):
                break
            assert "connection" in result["msg"].lower(), result["msg"]
        api.pve.flaky_network()
        assert not run.any("pve_fleet", {"guests": guests}).get("failed")
        assert not run.fleet(*guests)["changed"]
    assert sorted(guest.vmid for guest in [*api.pve.cts, *api.pve.vms]) == [100, 101, 102, 103, 300, 900, 901]
    assert {(guest.node, guest.config["template"]) for guest in api.pve.cts if guest.vmid < 200} == {("pve2", 1)}
    assert [key for guest in api.pve.cts for key in guest.config if key.startswith("unused")] == []
