# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users of other tools suffer from: each trap is a test that carries its name.

Traps of one module alone are beside its other tests. docs/traps.md has all of them in one table.
"""

from __future__ import annotations

import asyncio
import time

import pytest

NET0 = {"name": "eth0", "bridge": "vmbr0", "ip": "192.0.2.101/24", "gw": "192.0.2.254"}


@pytest.mark.parametrize("off", [{}, {"firewall": False}, {"firewall": 0}], ids=["removed", "false", "0"])
def test_trap_option_turned_off_in_net0(api, run, container, off):
    run.fleet(container(net={"net0": {**NET0, "firewall": True}}))
    assert "firewall=1" in api.config(100)["net0"]
    assert run.fleet(container(net={"net0": {**NET0, **off}}))["changed"]
    assert "firewall=1" not in api.config(100)["net0"]
    assert not run.fleet(container(net={"net0": {**NET0, **off}}))["changed"]


def test_trap_option_removed_from_net0(api, run, container):
    run.fleet(container(net={"net0": {**NET0, "tag": 5, "rate": 10, "mtu": 1400}}))
    assert run.fleet(container(net={"net0": NET0}))["changed"]
    assert api.config(100)["net0"].split(",hwaddr=")[0] == "name=eth0,bridge=vmbr0,gw=192.0.2.254"
    assert not run.fleet(container(net={"net0": NET0}))["changed"]


@pytest.mark.parametrize("off", [{}, {"keyctl": False}], ids=["removed", "false"])
def test_trap_option_turned_off_in_features(api, run, container, off):
    run.as_root()
    run.fleet(container(features={"nesting": True, "keyctl": True}))
    assert run.fleet(container(features={"nesting": True, **off}))["changed"]
    assert "keyctl=1" not in api.config(100)["features"]
    assert not run.fleet(container(features={"nesting": True, **off}))["changed"]


@pytest.mark.parametrize("off", [{}, {"ro": False}], ids=["removed", "false"])
def test_trap_option_turned_off_in_mp0(api, run, container, off):
    mount = {"storage": "local-lvm", "size": 1, "mp": "/data"}
    run.fleet(container(mp={"mp0": {**mount, "ro": True}}))
    assert "ro=1" in api.config(100)["mp0"]
    assert run.fleet(container(mp={"mp0": {**mount, **off}}))["changed"]
    assert "ro=1" not in api.config(100)["mp0"]
    assert not run.fleet(container(mp={"mp0": {**mount, **off}}))["changed"]


def test_trap_rootfs_grown_from_8_to_16_gb(api, run, container):
    run.fleet(container(rootfs={"storage": "local-lvm", "size": 8}))
    api.requests()
    assert run.fleet(container(rootfs={"storage": "local-lvm", "size": 16}))["changed"]
    assert [(write.method, write.path) for write in api.writes()] == [("PUT", "/nodes/pve1/lxc/100/resize")]
    assert [task["type"] for task in api.pve.tasklog][-1] == "resize"
    assert api.config(100)["rootfs"] == "local-lvm:vm-100-disk-0,size=16G"


def test_trap_mac_address_in_lower_case(api, run, container):
    run.fleet(container(net={"net0": {**NET0, "hwaddr": "BC:24:11:AA:BB:CC"}}))
    api.requests()
    assert not run.fleet(container(net={"net0": {**NET0, "hwaddr": "bc:24:11:aa:bb:cc"}}))["changed"]
    assert api.writes() == []


@pytest.mark.parametrize("spelling", ["1", "on", "yes", "true", 1, True])
def test_trap_boolean_spelled_in_another_way(api, run, container, spelling):
    run.fleet(container(onboot=True, net={"net0": {**NET0, "firewall": True}}))
    api.requests()
    guest = container(onboot=spelling, net={"net0": {**NET0, "firewall": spelling}}, features={"nesting": spelling})
    assert not run.fleet(guest)["changed"]
    assert api.writes() == []


@pytest.mark.parametrize("spelling", ["1", "on", "yes", "true", 1, True])
def test_trap_boolean_spelled_in_another_way_is_sent_as_the_api_takes_it(api, run, container, spelling):
    run.fleet(container(onboot=spelling, protection=spelling))
    assert (api.config(100)["onboot"], api.config(100)["protection"]) == (1, 1)


def test_trap_list_in_another_order(api, run, container):
    run.fleet(container(tags=["web", "alpha"]))
    api.requests()
    assert not run.fleet(container(tags=["alpha", "web"]))["changed"]
    assert api.writes() == []


@pytest.mark.parametrize("option", [{"tags": ["Web", "alpha"]}, {"description": "text"}], ids=["tags", "description"])
def test_trap_tags_and_description_change_at_every_run(api, run, container, option):
    run.fleet(container(**option))
    api.requests()
    assert not run.fleet(container(**option))["changed"]
    assert api.writes() == []


def test_trap_interface_gets_a_new_mac_address_at_every_change(api, run, container):
    run.fleet(container(net={"net0": NET0}))
    mac = api.config(100)["net0"].split("hwaddr=")[1][:17]
    run.fleet(container(net={"net0": {**NET0, "firewall": True}}, memory=512))
    assert api.config(100)["net0"].split("hwaddr=")[1][:17] == mac


@pytest.mark.parametrize("state", ["present", "started", "stopped", "absent"])
def test_trap_check_mode_is_missing_or_writes(api, run, container, state):
    run.fleet(container(100), container(101, state="started"))
    api.requests()
    guests = [container(vmid, state=state, force=True, memory=512, rootfs="local-lvm:8") for vmid in (100, 101, 102)]
    assert run.fleet(*guests, check=True)["changed"]
    assert api.writes() == []


def test_trap_check_mode_says_unchanged_on_a_deletion(run, container):
    run.fleet(container())
    assert run.fleet({"vmid": 100, "hostname": "guest-100", "state": "absent"}, check=True)["changed"]
    assert run.fleet(container(delete=["features"], features=...), check=True)["changed"]


def test_trap_task_that_fails_at_once(api, run, container):
    log = ["Formatting '/dev/pve/vm-100-disk-0'", "extracting archive", "tar: Exiting with failure status"]
    words = "unable to create CT 100 - command 'tar xpf - --zstd' failed: exit code 2"
    api.pve.plan_task("vzcreate", error=words, log=log)
    started = time.monotonic()
    message = run.fleet_fails(container())
    assert time.monotonic() - started < 5
    assert words in message
    assert "timeout" not in message.lower()
    assert "guest-100" in message


def test_trap_task_with_warnings(api, run, container):
    log = ["WARN: Systemd 257 detected. You may need to enable nesting."]
    api.pve.plan_task("vzcreate", warnings=1, log=log)
    started = time.monotonic()
    result = run.fleet(container(state="started"))
    assert time.monotonic() - started < 5
    assert result["changed"]
    assert api.pve.ct(100).status == "running"
    assert "Systemd 257 detected" in str(result["warnings"])
    assert "guest-100" in str(result["warnings"])


def test_trap_answer_that_takes_longer_than_five_seconds(api, run, container):
    task = api.pve.task

    async def slow(node, kind, *args, **kwargs):
        if kind == "vzcreate":
            await asyncio.sleep(6)
        return await task(node, kind, *args, **kwargs)

    api.pve.task = slow
    assert run.fleet(container())["changed"]


def test_trap_task_gets_thirty_seconds(run, container):
    used = run.fleet(container())["invocation"]["module_args"]
    assert used["task_timeout"] >= 600
    assert used["api_timeout"] >= 30


def test_trap_parallel_creates_race_for_ids(api, run, container):
    api.pve.time_scale = 0.05
    api.pve.ct_secs["create"] = 2
    guests = [container(vmid, state="started") for vmid in range(100, 112)]
    run.fleet(*guests, concurrency=8)
    assert sorted(made.vmid for made in api.pve.cts) == list(range(100, 112))
    assert {made.name for made in api.pve.cts} == {f"guest-{vmid}" for vmid in range(100, 112)}
    assert "/cluster/nextid" not in {request.path for request in api.requests()}


def test_trap_cpus_mean_one_thing_on_create_and_another_on_update(api, run, container):
    processor = {"cores": 2, "cpulimit": 1.5, "cpuunits": 200}
    run.fleet(container(100, **processor))
    run.fleet(container(101))
    run.fleet(container(101, **processor))
    for vmid in (100, 101):
        assert {key: api.config(vmid)[key] for key in processor} == {"cores": 2, "cpulimit": "1.5", "cpuunits": 200}
    assert not run.fleet(container(100, **processor), container(101, **processor))["changed"]


def test_trap_absent_on_a_running_guest_is_ok_and_unchanged(api, run, container):
    run.fleet(container(state="started"))
    api.requests()
    message = run.fleet_fails({"vmid": 100, "hostname": "guest-100", "state": "absent"})
    assert "running" in message
    assert "force" in message
    assert api.writes() == []
    assert run.fleet({"vmid": 100, "hostname": "guest-100", "state": "absent", "force": True})["changed"]
    assert api.pve.ct(100) is None


def test_trap_twelve_containers_need_192_requests(api, run, container):
    guests = [container(vmid, state="started") for vmid in range(100, 112)]
    run.fleet(*guests)
    creating = api.requests()
    assert "/version" not in {request.path for request in creating}
    assert "/access/ticket" not in {request.path for request in creating}
    assert len([request for request in creating if request.method == "POST"]) <= 24
    started = time.monotonic()
    assert not run.fleet(*guests)["changed"]
    assert time.monotonic() - started < 2
    assert len(api.requests()) <= 15


def test_trap_tasks_are_polled_with_sleeps_of_a_second(run, container):
    started = time.monotonic()
    run.fleet(*(container(vmid, state="started") for vmid in range(100, 104)))
    assert time.monotonic() - started < 2


# ----------------------------------------------------------------------------------- virtual machines

MACHINE = {"vmid": 300, "hostname": "machine-300", "node": "pve1", "cores": 2, "memory": 1024}


def test_trap_check_mode_of_a_vm_is_missing(api, run):
    for options in (MACHINE, {**MACHINE, "cores": 4}, {**MACHINE, "state": "absent"}):
        api.requests()
        predicted = run("pve_qemu", options, check=True)
        assert predicted["changed"]
        assert api.writes() == []
        assert run("pve_qemu", options)["changes"] == predicted["changes"]


def test_trap_absent_on_a_running_vm_is_ok_and_unchanged(api, run):
    run("pve_qemu", {**MACHINE, "state": "started"})
    api.requests()
    gone = {"vmid": 300, "hostname": "machine-300", "state": "absent"}
    message = run.fails("pve_qemu", gone)
    assert "running" in message
    assert "force" in message
    assert api.writes() == []
    assert run("pve_qemu", {**gone, "force": True})["changed"]
    assert api.pve.vm(300) is None


# ------------------------------------------------------------------------------------------- firewall

SSH = {"action": "ACCEPT", "proto": "tcp", "dport": "22"}
OTHER = {"type": "in", "action": "DROP", "source": "198.51.100.7", "enable": 1}


@pytest.mark.parametrize("exclusive", [False, True])
def test_trap_firewall_rules_are_identified_by_their_position(api, run, exclusive):
    run("pve_firewall_rules", {"rules": [SSH]})
    # What somebody adds is the first rule, in the place of the one that was there.
    api.pve.firewall_config("cluster")["rules"].insert(0, dict(OTHER))
    assert run("pve_firewall_rules", {"rules": [SSH], "exclusive": exclusive})["changed"]
    rules = api.pve.firewall_config("cluster")["rules"]
    assert [rule.get("dport") for rule in rules].count("22") == 1
    assert ("198.51.100.7" in [rule.get("source") for rule in rules]) is not exclusive


def test_trap_two_options_of_a_rule_differ(api, run):
    run("pve_firewall_rules", {"rules": [{**SSH, "comment": "home", "log": "debug"}]})
    api.requests()
    assert run("pve_firewall_rules", {"rules": [{**SSH, "comment": "office", "log": "info"}]})["changed"]
    (write,) = api.writes()
    assert (write.method, write.params["comment"], write.params["log"]) == ("PUT", "office", "info")


# ------------------------------------------------------------------- backup jobs, users, availability


@pytest.mark.parametrize("change", [{"vmid": [100, 101]}, {"state": "absent"}], ids=["one more guest", "absent"])
def test_trap_check_mode_writes_a_backup_job(api, run, container, change):
    run.fleet(container(100), container(101))
    run("pve_backup_job", {"id": "nightly", "schedule": "02:30", "storage": "local", "vmid": [100]})
    api.requests()
    assert run("pve_backup_job", {"id": "nightly", **change}, check=True)["changed"]
    assert api.writes() == []


def test_trap_check_mode_says_unchanged_on_a_deleted_user(api, run):
    run("pve_user", {"userid": "ops@pve"})
    api.requests()
    assert run("pve_user", {"userid": "ops@pve", "state": "absent"}, check=True)["changed"]
    assert api.writes() == []


def test_trap_ha_resource_is_changed_on_every_repeat(api, run, container):
    run.fleet(container())
    run("pve_ha_resource", {"sid": "ct:100"})
    api.requests()
    for options in ({}, {"state": "started", "comment": "", "max_restart": 1, "max_relocate": 1}):
        assert not run("pve_ha_resource", {"sid": "ct:100", **options})["changed"]
    assert api.writes() == []


@pytest.mark.parametrize("sid", ["ct:100", "100"])
def test_trap_ha_resource_absent_never_matches(run, container, sid):
    run.fleet(container())
    run("pve_ha_resource", {"sid": "ct:100"})
    assert run("pve_ha_resource", {"sid": sid, "state": "absent"})["changed"]
    assert run.api.pve.area("/cluster/ha/resources") == {}
    assert not run("pve_ha_resource", {"sid": sid, "state": "absent"})["changed"]


def test_trap_a_node_that_joined_is_found_again(api, run):
    root = {"api_token_id": None, "api_token_secret": None, "api_password": api.pve.password, "clustername": "example"}
    run("pve_cluster", {**root, "state": "created"})
    api.requests()
    peer = {"api_host": "192.0.2.11", "api_password": "secret", "fingerprint": ":".join(["AB"] * 32)}
    assert not run("pve_cluster", {**root, "state": "joined", "peer": peer})["changed"]
    assert [write.path for write in api.writes()] == ["/access/ticket"]
