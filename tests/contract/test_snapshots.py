# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: made, described, kept few, rolled back to, removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakepve import PveError

from tests.contract.life import Life, limited, lives, whole_life
from tests.contract.test_recordings import login

RECORDINGS = Path(__file__).parents[1] / "unit/recordings/snapshots.jsonl"
# What is different each time.
NEW = ("digest", "meta", "smbios1", "snaptime", "vmgenid")

CT = {"vmid": 100, "snapname": "before"}
VM = {"vmid": 300, "snapname": "before"}


@pytest.fixture(autouse=True)
def guests(run, container):
    machine = {"vmid": 300, "type": "qemu", "node": "pve1", "hostname": "machine", "scsi": {"scsi0": "local-lvm:4"}}
    run.fleet(container(100, hostname="web"), machine)
    run.api.requests()


def held(api, vmid=100):
    guest = api.pve.ct(vmid) or api.pve.vm(vmid)
    return {name: snapshot.get("description", "").strip() for name, snapshot in guest.snapshots.items()}


@lives(
    *(
        Life(
            "pve_snapshot",
            ident,
            {"description": "first"},
            {"description": "another"},
            spellings=[{"description": "first\n"}, {"retention": 3, "prefix": "be"}],
            removed=["description"],
            kept_requests=2,
        )
        for ident in (CT, VM)
    )
)
def test_whole_life(run, life):
    whole_life(run, life)


@pytest.mark.parametrize("ident", [CT, VM])
def test_a_rollback_returns_the_guest_to_the_snapshot_at_each_run(run, api, ident):
    guest = api.pve.ct(100) if ident is CT else api.pve.vm(300)
    run("pve_snapshot", ident)
    guest.config["memory"] = 2048
    guest.status = "running"
    predicted = run("pve_snapshot", {**ident, "state": "rollback"}, check=True)
    assert guest.config["memory"] == 2048
    done = run("pve_snapshot", {**ident, "state": "rollback"})
    assert predicted["diff"] == done["diff"]
    assert done["diff"]["before"] == {"parent": "before", "status": "running"}
    assert done["diff"]["after"] == {"parent": "before", "status": "stopped"}
    assert guest.config.get("memory") != 2048
    assert guest.status == "stopped"
    again = run("pve_snapshot", {**ident, "state": "rollback", "start": True})
    assert (again["action"], again["changed"]) == ("rollback", True)
    assert guest.status == "running"


def test_the_memory_of_a_running_machine_is_kept_on_request(run, api):
    api.pve.vm(300).status = "running"
    run("pve_snapshot", {**VM, "vmstate": True})
    run("pve_snapshot", {**VM, "snapname": "without"})
    assert [bool(snapshot.get("vmstate")) for snapshot in api.pve.vm(300).snapshots.values()] == [True, False]
    for name, status in (("before", "running"), ("without", "stopped")):
        back = {**VM, "snapname": name, "state": "rollback"}
        predicted, done = run("pve_snapshot", back, check=True), run("pve_snapshot", back)
        assert predicted["diff"] == done["diff"]
        assert done["diff"]["after"]["status"] == status


def test_retention_removes_the_oldest_that_are_alike_and_no_other(run, api):
    for name in ("manual", "auto-1", "auto-2", "auto-3"):
        run("pve_snapshot", {"vmid": 100, "snapname": name})
    for name in ("auto-2", "auto-3"):
        api.pve.ct(100).snapshots[name]["snaptime"] -= 100  # auto-1 was made last, whatever its name is
    options = {"vmid": 100, "snapname": "auto-4", "prefix": "auto-", "retention": 2}
    predicted = run("pve_snapshot", options, check=True)
    assert len(held(api)) == 4
    done = run("pve_snapshot", options)
    assert predicted["removed"] == done["removed"] == ["auto-2", "auto-3"]
    assert predicted["diff"] == done["diff"]
    assert done["diff"]["before"]["snapshots"] == ["auto-2", "auto-3", "auto-1"]
    assert done["diff"]["after"]["snapshots"] == ["auto-1", "auto-4"]
    assert set(held(api)) == {"manual", "auto-1", "auto-4"}
    api.requests()
    assert not run("pve_snapshot", options)["changed"]
    assert api.writes() == []
    fewer = run("pve_snapshot", {**options, "retention": 1})
    assert (fewer["changed"], fewer["action"], fewer["removed"]) == (True, "prune", ["auto-1"])
    assert set(held(api)) == {"manual", "auto-4"}


def test_snapshots_of_one_second_are_told_apart_by_their_parents(run, api):
    for name in ("auto-1", "auto-2", "auto-3"):
        run("pve_snapshot", {"vmid": 100, "snapname": name})
    for snapshot in api.pve.ct(100).snapshots.values():
        snapshot["snaptime"] = 1795357996
    options = {"vmid": 100, "snapname": "auto-3", "prefix": "auto-", "retention": 2}
    assert run("pve_snapshot", options)["removed"] == ["auto-1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"snapname": "1bad"}, "'1bad' is not a name of a snapshot, write 2 to 40 letters"),
        ({"snapname": "current"}, "its name is reserved for a container, choose another one"),
        ({"snapname": "Pending", "vmid": 300}, "its name is reserved for a virtual machine"),
        ({"retention": 0, "prefix": ""}, "retention is 0 and counts this snapshot too, write at least 1"),
        ({"retention": 2, "prefix": "auto-"}, "its name does not begin with 'auto-', so retention would not count it"),
        ({"vmstate": True}, "vmstate is for virtual machines, and the guest is a container"),
        ({"vmid": 900}, "snapshot 'before' of guest 900: there is no such guest"),
        ({"vmid": 900, "state": "rollback"}, "there is no such guest"),
        ({"state": "rollback"}, "it does not exist, and the guest has no other"),
    ],
)
def test_bad_input_is_refused_before_the_first_write(run, api, options, words):
    assert words in run.fails("pve_snapshot", {**CT, **options})
    assert api.writes() == []


def test_an_unknown_snapshot_to_roll_back_to_names_those_that_are_known(run):
    run("pve_snapshot", CT)
    message = run.fails("pve_snapshot", {**CT, "snapname": "other", "state": "rollback"})
    assert "snapshot 'other' of guest 100: it does not exist, choose one of before" in message


def test_a_guest_that_is_gone_has_no_snapshots(run):
    assert not run("pve_snapshot", {**CT, "vmid": 900, "state": "absent"})["changed"]


@pytest.mark.parametrize("state", ["present", "rollback"])
def test_a_guest_that_is_not_there_yet_is_no_error_in_check_mode(run, state):
    result = run("pve_snapshot", {**CT, "vmid": 900, "state": state}, check=True)
    assert result["changed"]
    assert "there is no such guest" in str(result["warnings"])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"mp0": "/srv,mp=/srv"}, "container 'web' can have no snapshots while it has mp0 (/srv), detach that first"),
        ({"rootfs": "local:100/vm-100-disk-0.raw,size=4G"}, "move those of local to one that does, such as ZFS"),
    ],
)
def test_trap_what_cannot_have_snapshots_is_told_before_a_task_begins(run, api, config, words):
    api.pve.ct(100).config.update(config)
    assert words in run.fails("pve_snapshot", CT)
    assert words in run.fails("pve_snapshot", CT, check=True)
    assert api.writes() == []


def test_a_template_has_no_snapshots(run, api):
    api.pve.ct(100).config["template"] = 1
    assert "container 'web' is a template" in run.fails("pve_snapshot", CT)
    assert api.writes() == []


def test_an_incomplete_snapshot_is_not_taken_for_one(run, api):
    run("pve_snapshot", CT)
    api.pve.ct(100).snapshots["before"]["snapstate"] = "prepare"
    for state in ("present", "rollback"):
        message = run.fails("pve_snapshot", {**CT, "description": "x", "state": state})
        assert "it is incomplete (state 'prepare'), remove it first (state absent, with force if need be)" in message
    api.requests()
    run("pve_snapshot", {**CT, "state": "absent", "force": True})
    assert [write.path for write in api.writes()] == ["/nodes/pve1/lxc/100/snapshot/before"]
    assert held(api) == {}


def test_a_locked_guest_is_waited_for(run, api):
    api.pve.time_scale = 0.05
    api.call(api.pve.backup(100, secs=20))
    assert run("pve_snapshot", CT)["changed"]
    assert held(api) == {"before": ""}


def test_a_guest_that_stays_locked_is_told(run, api):
    api.pve.snapshot_lock(100, "backup")
    message = run.fails("pve_snapshot", {**CT, "task_timeout": 1})
    assert "container 'web' is locked (backup), let its task end, or run 'pct unlock 100' on node 'pve1'" in message
    assert api.writes() == []
    assert "is locked (backup)" in str(run("pve_snapshot", CT, check=True)["warnings"])


@pytest.mark.parametrize(
    ("options", "kind"),
    [({}, "vzsnapshot"), ({"state": "rollback", "snapname": "old"}, "vzrollback"),
     ({"state": "absent", "snapname": "old"}, "vzdelsnapshot")],
)  # fmt: skip
def test_a_lost_answer_does_not_do_it_twice(run, api, options, kind):
    run("pve_snapshot", {**CT, "snapname": "old"})
    api.pve.tasklog.clear()
    task, lost = api.pve.task, [kind]

    async def losing(node, kind, *args, **kwargs):
        upid = await task(node, kind, *args, **kwargs)
        if kind in lost:
            lost.remove(kind)
            raise PveError(596, "Connection timed out")
        return upid

    api.pve.task = losing
    assert run("pve_snapshot", {**CT, **options})["changed"]
    assert lost == []
    assert [entry["type"] for entry in api.pve.tasklog].count(kind) == 1


def test_a_failed_task_in_its_own_words(run, api):
    api.pve.plan_task("vzsnapshot", error="lvcreate snapshot error", log=["Insufficient free space"])
    message = run.fails("pve_snapshot", CT)
    assert "snapshot 'before' of guest 100: snapshot: the task failed: lvcreate snapshot error" in message
    assert "Insufficient free space" in message


def test_it_needs_no_more_privileges_than_are_documented(run):
    rights = {"VM_Audit": "/vms/100", "VM_Snapshot": "/vms/100"}
    life = limited(run, Life("pve_snapshot", CT, {"description": "first"}, {"description": "another"}), **rights)
    whole_life(run, life)
    run("pve_snapshot", life.ident)
    run("pve_snapshot", {**life.ident, "state": "rollback"})
    assert "VM.PowerMgmt" in run.fails("pve_snapshot", {**life.ident, "state": "rollback", "start": True})


def comparable(answer):
    """An answer without what is different each time, tasks by their type, lists without an order."""
    if isinstance(answer, dict):
        return {key: comparable(value) for key, value in answer.items() if key not in NEW}
    if isinstance(answer, list):
        return sorted(map(comparable, answer), key=lambda item: json.dumps(item, sort_keys=True))
    return answer.split(":")[5] if str(answer).startswith("UPID:") else answer


@pytest.mark.parametrize("kind", ["lxc", "qemu"])
def test_the_api_of_the_tests_keeps_snapshots_as_recorded(api, kind):
    entries = [json.loads(line) for line in RECORDINGS.read_text().splitlines() if f"/{kind}/" in line]
    first = next(entry for entry in entries if entry["path"].endswith("/config") and not entry["params"])
    config = {key: value for key, value in first["response"]["data"].items() if key not in ("digest", "parent")}
    api.pve.storages["btr"] = {"type": "btrfs", "active": 1, "content": "rootdir", "files": set(), "volumes": {}}
    image = {"content": "images", "format": "qcow2", "vmid": 202, "size": 1 << 30}
    api.pve.storages["local"].update(content="images", volumes={"202/vm-202-disk-0.qcow2": image})
    made = api.pve.add_ct(140) if kind == "lxc" else api.pve.add_vm(202, "snapvm")
    made.config = config
    session, wrong = login(api), []
    for entry in entries:
        place = "data" if entry["method"] in ("POST", "PUT") else "params"
        given = {place: entry["params"] or {}}
        answer = session.request(entry["method"], f"{api.pve.url}/api2/json{entry['path']}", **given)
        here = [answer.status_code, comparable(answer.json().get("data"))]
        there = [entry["status"], comparable(entry["response"]["data"])]
        if "exitstatus" in entry:
            here.append(api.pve.tasks[answer.json()["data"]]["exitstatus"])
            there.append(entry["exitstatus"])
        if here != there:
            wrong.append((entry["method"], entry["path"], entry["params"], here, there))
    assert wrong == []
