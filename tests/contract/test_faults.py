# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults: whatever happens in a run, the next one converges, and nothing exists twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from fakepve import FakeCt

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"


@pytest.fixture
def converges(api, run):
    """Runs until nothing is left to do, and checks that every guest is there once."""

    def check(*guests, **options):
        run.fleet(*guests, **options)
        assert not run.fleet(*guests, **options)["changed"]
        assert sorted(made.vmid for made in api.pve.cts) == sorted(guest["vmid"] for guest in guests)
        made = Counter(
            task["id"] for task in api.pve.tasklog if task["type"] == "vzcreate" and task["exitstatus"] == "OK"
        )
        assert set(made.values()) <= {1}
        for guest in guests:
            assert api.pve.ct(guest["vmid"]).lock is None
            if guest["state"] == "started":
                assert api.pve.ct(guest["vmid"]).status == "running"

    return check


@pytest.mark.parametrize("seed", range(5))
def test_one_request_in_ten_is_dropped(api, run, container, converges, seed):
    guests = [container(vmid, state="started") for vmid in range(100, 112)]
    api.pve.time_scale = 0.01
    api.pve.ct_secs["create"] = 2
    api.pve._random.seed(seed)
    api.pve.flaky_network(drop_rate=0.1)
    for _ in range(3):
        result = run.any("pve_fleet", {"guests": guests})
        if not result.get("failed"):
            break
        assert "connection" in result["msg"].lower(), result["msg"]
    else:
        pytest.fail(f"three runs were not enough: {result['msg']}")
    api.pve.flaky_network()
    converges(*guests)


def test_answers_of_writes_that_are_lost(api, run, container, converges):
    """The write happens and its answer never arrives."""
    answer, lost = api.pve._answer, api.lose_answers()
    guests = [container(100, state="started"), container(101, state="started")]
    result = run.fleet(*guests)
    assert [guest["actions"] for guest in result["guests"]] == [["create", "start"]] * 2
    assert len(lost) == 3  # the collection of containers, and each one's start
    api.pve._answer = answer
    converges(*guests)


def test_guest_locked_by_a_backup(api, run, container, converges):
    run.fleet(container())
    api.pve.time_scale = 0.05
    api.call(api.pve.backup(100, secs=20))
    assert api.pve.ct(100).lock == "backup"
    # It is waited for, not given up on.
    assert run.fleet(container(memory=512))["changed"]
    converges(container(memory=512))
    assert api.config(100)["memory"] == 512


def test_guest_locked_for_longer_than_anybody_waits(api, run, container, converges):
    run.fleet(container())
    api.pve.snapshot_lock(100, "backup")
    message = run.fleet_fails(container(memory=512), task_timeout=1)
    assert "CT is locked (backup)" in message
    assert "guest-100" in message
    api.pve.unlock(100)
    converges(container(memory=512))


def test_creation_ends_in_an_error(api, run, container, converges):
    guests = [container(vmid, state="started") for vmid in (100, 101, 102)]
    words = "unable to create CT 101 - command 'tar xpf - --zstd' failed: exit code 2"
    api.pve.plan_task("vzcreate", vmid=101, error=words, log=["extracting archive", "tar: write error: No space left"])
    message = run.fleet_fails(*guests)
    assert words in message
    assert "No space left" in message
    assert "guest-101" in message
    # The others are not held up by it.
    assert {made.vmid for made in api.pve.cts} == {100, 102}
    converges(*guests)


def test_start_ends_in_an_error(api, run, container, converges):
    words = "startup for container '100' failed"
    api.pve.plan_task("vzstart", vmid=100, error=words, log=["run_buffer: 571 Script exited with status 255"])
    message = run.fleet_fails(container(state="started"))
    assert words in message
    assert "status 255" in message
    assert "guest-100" in message
    converges(container(state="started"))


def test_failed_run_still_says_what_it_changed(api, run, container):
    api.pve.plan_task("vzcreate", vmid=101, error="unable to create CT 101 - no space")
    result = run.any("pve_fleet", {"guests": [container(100), container(101)]})
    assert result["failed"]
    assert result["changed"]
    assert {entry["vmid"]: entry["changed"] for entry in result["guests"]}[100]


@pytest.mark.parametrize("kind", ["vzcreate", "vzstart"])
def test_task_ends_in_warnings(api, run, container, converges, kind):
    api.pve.plan_task(kind, warnings=2, log=["WARN: first", "WARN: second"])
    result = run.fleet(container(state="started"))
    assert result["changed"]
    assert "WARN: second" in str(result["warnings"])
    converges(container(state="started"))


@pytest.mark.parametrize("kind", ["vzcreate", "vzstart"])
def test_task_never_ends(api, run, container, converges, kind):
    api.pve.time_scale = 0.01
    api.pve.plan_task(kind, never=True)
    started = time.monotonic()
    message = run.fleet_fails(container(state="started"), task_timeout=1)
    assert time.monotonic() - started < 8
    assert "guest-100" in message
    assert "UPID:pve1:" in message
    assert "task_timeout" in message
    # Still running: the next run does not start a second one.
    run.any("pve_fleet", {"guests": [container(state="started")], "task_timeout": 1})
    assert len([task for task in api.pve.tasklog if task["type"] == "vzcreate"]) == 1
    api.call(api.pve.interrupt_tasks())
    time.sleep(0.1)
    converges(container(state="started"))


def test_creation_goes_on_while_the_next_run_begins(api, run, container, converges):
    guests = [container(vmid, state="started") for vmid in (100, 101)]
    api.pve.time_scale = 1.0
    api.pve.ct_secs["create"] = 3
    run.fleet_fails(*guests, task_timeout=1)
    converges(*guests)
    assert len([task for task in api.pve.tasklog if task["type"] == "vzcreate"]) == 2


def test_run_is_killed_in_the_middle_of_creating(api, container, converges, tmp_path):
    guests = [container(vmid, state="started") for vmid in range(100, 108)]
    api.pve.time_scale = 1.0
    api.pve.ct_secs["create"] = 1
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {**api.connection, "guests": guests, "concurrency": 2}}))
    module = "ansible_collections.onprem.cloud.plugins.modules.pve_fleet"
    run = subprocess.Popen(
        [sys.executable, "-m", module, str(arguments)],
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 20
    while len(api.pve.cts) < 4 and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, run.stdout.read().decode()
    assert any(made.lock == "create" for made in api.pve.cts)
    assert len(api.pve.cts) < len(guests)
    converges(*guests)


def test_creation_that_the_node_itself_did_not_survive(api, run, container):
    """What is left is a locked stub that no task works on; whether it is of value is for a human to say."""
    api.pve.add_ct(100, defaults=False, config={"lock": "create"})
    started = time.monotonic()
    message = run.fleet_fails(container(), task_timeout=30)
    assert time.monotonic() - started < 10
    assert "guest-100" in message
    assert "pct destroy 100" in message
    assert api.writes() == []
    assert api.pve.ct(100) is not None


def test_configuration_changed_by_another_hand_meanwhile(api, run, container, converges):
    run.fleet(container())
    lock = api.pve._config_lock
    meddled: list[int] = []

    async def meddle(ct):
        # Between the module's reading and its writing.
        if not meddled:
            meddled.append(ct.vmid)
            ct.config["swap"] = 64
        await lock(ct)

    api.pve._config_lock = meddle
    run.fleet(container(memory=512))
    assert meddled == [100]
    converges(container(memory=512))
    assert (api.config(100)["memory"], api.config(100)["swap"]) == (512, 0)


def test_updates_carry_the_digest_of_what_was_read(api, run, container):
    """Without it Proxmox VE would write over what another hand changed meanwhile."""
    run.fleet(container())
    digest = api.pve.ct(100).digest()
    api.requests()
    run.fleet(container(memory=512))
    assert [write.params.get("digest") for write in api.writes()] == [digest]


def test_power_state_that_the_listing_has_not_noticed_yet(api, run, container):
    """The listing of the cluster is some seconds old."""
    run.fleet(container(100, state="started"), container(101))
    listing = api.pve.ct_resources

    def old(*args):
        return [{**item, "status": "stopped" if item["vmid"] == 100 else "running"} for item in listing(*args)]

    api.pve.ct_resources = old
    api.requests()
    assert not run.fleet(container(100, state="started"), container(101, state="stopped"))["changed"]
    assert api.writes() == []


def test_vmid_taken_by_somebody_else_meanwhile(api, run, container):
    """Between the module's reading and its creating; what the other one made is not touched."""
    unused = api.pve._check_vmid_unused

    def taken(vmid):
        if api.pve.ct(vmid) is None:
            api.pve.cts.append(FakeCt(vmid, name="somebody-else", config={"rootfs": "local-lvm:vm-100-disk-0,size=4G"}))
        unused(vmid)

    api.pve._check_vmid_unused = taken
    message = run.fleet_fails(container())
    assert "guest-100" in message
    assert "somebody-else" in message
    assert (api.config(100)["hostname"], api.config(100)["memory"]) == ("somebody-else", 512)
    assert [write.method for write in api.writes()] == ["POST"]


def test_no_quorum_in_the_words_of_the_api(api, run, container, converges):
    api.pve.lose_quorum()
    message = run.fleet_fails(container())
    assert "no quorum" in message
    api.pve.regain_quorum()
    converges(container())
