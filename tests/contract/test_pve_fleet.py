# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pve_fleet: the whole life of containers, from creation to removal."""

from __future__ import annotations

import pytest

from tests.contract.serving import SECRET

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0uZUmFn1W6g1rJIZyL6b3xE6u0rGmQ1yQ0T3x1h2pM admin@example.com"
NET0 = {"name": "eth0", "bridge": "vmbr0", "ip": "192.0.2.101/24", "gw": "192.0.2.254", "firewall": True}

# Option, another value of it, and what Proxmox VE then has under which key.
CHANGES = [
    ("cores", 2, "cores", 2),
    ("cpulimit", 1.5, "cpulimit", "1.5"),
    ("cpuunits", 200, "cpuunits", 200),
    ("memory", 512, "memory", 512),
    ("swap", 128, "swap", 128),
    ("description", "The database.\nKeep it.", "description", "The database.\nKeep it.\n"),
    ("nameserver", ["192.0.2.53", "192.0.2.54"], "nameserver", "192.0.2.53 192.0.2.54"),
    ("searchdomain", ["example.com"], "searchdomain", "example.com"),
    ("tags", ["web", "alpha"], "tags", "alpha;web"),
    ("onboot", True, "onboot", 1),
    ("protection", True, "protection", 1),
    ("startup", {"up": 30}, "startup", "up=30"),
    ("features", {"nesting": True, "fuse": True}, "features", "fuse=1,nesting=1"),
    ("timezone", "Europe/Berlin", "timezone", "Europe/Berlin"),
    ("tty", 4, "tty", 4),
    ("console", False, "console", 0),
    ("cmode", "shell", "cmode", "shell"),
]

# An option as it is on the container, and other ways to write the same.
SPELLINGS = [
    ("tags", ["web", "alpha"], ["alpha", "Web", "web"]),
    ("tags", ["web", "alpha"], "web;alpha"),
    ("tags", ["web", "alpha"], "web,alpha"),
    ("rootfs", {"storage": "local-lvm", "size": 4}, {"storage": "local-lvm", "size": "4G"}),
    ("rootfs", {"storage": "local-lvm", "size": 4}, {"storage": "local-lvm", "size": "4096M"}),
    ("rootfs", {"storage": "local-lvm", "size": 4}, "local-lvm:4"),
    ("net", {"net0": NET0}, {"net0": "ip=192.0.2.101/24,bridge=vmbr0,gw=192.0.2.254,firewall=1,name=eth0"}),
    ("net", {"net0": NET0}, {"net0": {**NET0, "firewall": "yes", "type": "veth", "link_down": False}}),
    ("net", {"net0": {**NET0, "hwaddr": "BC:24:11:00:00:01"}}, {"net0": {**NET0, "hwaddr": "bc:24:11:00:00:01"}}),
    ("net", {"net0": {**NET0, "trunks": "3;2"}}, {"net0": {**NET0, "trunks": "2;3"}}),
    ("features", {"nesting": True}, "nesting=1"),
    ("features", {"nesting": True}, {"nesting": "on", "keyctl": False}),
    ("features", {"nesting": True, "mount": "nfs;cifs"}, {"mount": "cifs;nfs", "nesting": True}),
    ("startup", {"order": 2, "up": 30}, "up=30,order=2"),
    ("startup", "order=2", "2"),
    ("nameserver", ["192.0.2.53", "192.0.2.54"], "192.0.2.53 192.0.2.54"),
    ("nameserver", ["192.0.2.53", "192.0.2.54"], "192.0.2.53,192.0.2.54"),
    ("description", "One line", "One line\n"),
    ("onboot", True, "1"),
    ("cpulimit", 2, 2.0),
    ("cpulimit", ..., 0),
    ("cpuunits", ..., 100),
    ("onboot", ..., False),
    ("protection", ..., False),
    ("tags", ..., []),
    ("description", ..., ""),
    ("startup", ..., {}),
    ("tty", ..., 2),
    ("console", ..., True),
    ("cmode", ..., "tty"),
]

# An option that is set, and what Proxmox VE has after it is asked for as empty.
REMOVALS = [
    ("tags", ["web"], []),
    ("description", "text", ""),
    ("nameserver", ["192.0.2.53"], []),
    ("searchdomain", ["example.com"], []),
    ("startup", {"order": 2}, {}),
    ("features", {"nesting": True}, {}),
    ("cpulimit", 1.5, 0),
]


def test_create_start_and_nothing_more_to_do(api, run, container):
    guest = container(state="started", ssh_public_keys=PUBLIC_KEY, tags=["web"])
    result = run.fleet(guest)
    assert result["changed"]
    assert [(entry["vmid"], entry["hostname"], entry["changed"]) for entry in result["guests"]] == [
        (100, "guest-100", True)
    ]
    assert result["guests"][0]["actions"]
    config = api.config(100)
    assert config["hostname"] == "guest-100"
    assert (config["memory"], config["swap"], config["cores"], config["unprivileged"]) == (256, 0, 1, 1)
    assert config["rootfs"] == "local-lvm:vm-100-disk-0,size=4G"
    assert config["net0"].startswith("name=eth0,bridge=vmbr0,firewall=1,gw=192.0.2.254,hwaddr=")
    assert config["net0"].endswith(",ip=192.0.2.101/24,type=veth")
    assert api.pve.ct(100).status == "running"
    creation = next(request for request in api.writes() if request.path == "/nodes/pve1/lxc")
    assert creation.params["ssh-public-keys"].strip() == PUBLIC_KEY

    again = run.fleet(guest)
    assert not again["changed"]
    assert [entry["changed"] for entry in again["guests"]] == [False]
    assert api.writes() == []


def test_containers_are_unprivileged_unless_said_otherwise(api, run, container):
    run.fleet(container())
    creation = next(request for request in api.writes() if request.path == "/nodes/pve1/lxc")
    assert creation.params["unprivileged"] == "1"


@pytest.mark.parametrize(("option", "value", "key", "stored"), CHANGES, ids=[change[0] for change in CHANGES])
def test_one_option_changed(api, run, container, option, value, key, stored):
    if option == "features":
        run.as_root()
    run.fleet(container())
    before = api.config(100)
    guest = container(**{option: value})
    api.requests()

    predicted = run.fleet(guest, check=True)
    assert predicted["changed"]
    assert api.changes() == []
    assert api.config(100) == before

    done = run.fleet(guest)
    assert done["changed"]
    assert api.config(100) == {**before, key: stored}
    assert [write.path for write in api.changes()] == ["/nodes/pve1/lxc/100/config"]
    assert not run.fleet(guest)["changed"]
    assert api.changes() == []


@pytest.mark.parametrize(("option", "value", "spelling"), SPELLINGS)
def test_the_same_value_spelled_differently_changes_nothing(api, run, container, option, value, spelling):
    if option == "features":
        run.as_root()
    run.fleet(container(**{option: value}))
    before = api.config(100)
    api.requests()
    assert not run.fleet(container(**{option: spelling}), check=True)["changed"]
    assert not run.fleet(container(**{option: spelling}))["changed"]
    assert api.changes() == []
    assert api.config(100) == before


@pytest.mark.parametrize(("option", "value", "empty"), REMOVALS, ids=[removal[0] for removal in REMOVALS])
def test_an_option_given_empty_is_removed(api, run, container, option, value, empty):
    run.fleet(container(**{option: value}))
    assert option in api.config(100)
    assert run.fleet(container(**{option: empty}), check=True)["changed"]
    assert run.fleet(container(**{option: empty}))["changed"]
    assert option not in api.config(100)
    assert not run.fleet(container(**{option: empty}))["changed"]


def test_options_are_removed_by_name(api, run, container):
    interfaces = {"net0": NET0, "net1": {"name": "eth1", "bridge": "vmbr0"}}
    run.fleet(container(net=interfaces, description="text"))
    guest = container(net={"net0": NET0}, delete=["net1", "description"])
    assert run.fleet(guest)["changed"]
    assert {"net1", "description"} & set(api.config(100)) == set()
    assert not run.fleet(guest)["changed"]


def test_an_interface_or_a_volume_given_as_null_is_removed(api, run, container):
    interfaces = {"net0": NET0, "net1": {"name": "eth1", "bridge": "vmbr0"}}
    mount = {"storage": "local-lvm", "size": 1, "mp": "/data"}
    run.fleet(container(net=interfaces, mp={"mp0": mount}))
    guest = container(net={"net1": None}, mp={"mp0": None})
    assert run.fleet(guest, check=True)["changed"]
    assert run.fleet(guest)["changed"]
    config = api.config(100)
    assert "net0" in config
    assert {"net1", "mp0"} & set(config) == set()
    assert config["unused0"] == "local-lvm:vm-100-disk-1"
    assert not run.fleet(guest)["changed"]


def test_the_password_is_set_at_the_creation_only(api, run, container):
    guest = container(password="root-password-of-the-guest")
    run.fleet(guest)
    creation = next(write for write in api.writes() if write.path == "/nodes/pve1/lxc")
    assert "password" in creation.params
    assert not run.fleet({**guest, "password": "another-password"})["changed"]
    assert api.writes() == []


def test_a_pool_is_joined_and_changed_and_left(api, run, container):
    api.pve.pools.update(production=set(), staging=set())
    for pool, members in (("production", {100}), ("staging", {100}), ("", set())):
        predicted = run.fleet(container(pool=pool), check=True)
        done = run.fleet(container(pool=pool))
        assert done["changed"]
        assert done["diff"] == predicted["diff"]
        assert api.pve.pools.get(pool, set()) == members
        assert not run.fleet(container(pool=pool))["changed"]


def test_an_existing_virtual_machine_is_kept_as_declared(api, run):
    api.pve.add_vm(
        900, "windows-render", config={"memory": 4096, "cores": 2, "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0"}
    )
    guest = {"vmid": 900, "type": "qemu", "hostname": "windows-render", "node": "pve1", "memory": 4096, "cores": 2}
    assert not run.fleet(guest)["changed"]
    assert api.writes() == []
    assert run.fleet({**guest, "memory": 8192, "onboot": True})["changed"]
    config = api.pve.vm(900).config
    assert (int(config["memory"]), int(config["onboot"])) == (8192, 1)
    assert config["net0"] == "virtio=BC:24:11:00:00:01,bridge=vmbr0"
    assert not run.fleet({**guest, "memory": 8192, "onboot": True})["changed"]
    assert run.fleet({**guest, "memory": 8192, "state": "started"})["changed"]
    assert api.pve.vm(900).status == "running"


def test_options_not_given_are_left_alone(api, run, container):
    run.fleet(container(description="text", tags=["web"], cpulimit=2, nameserver=["192.0.2.53"], onboot=True))
    before = api.config(100)
    api.requests()
    assert not run.fleet({"vmid": 100, "hostname": "guest-100", "node": "pve1"})["changed"]
    assert run.fleet({"vmid": 100, "hostname": "guest-100", "node": "pve1", "memory": 512})["changed"]
    assert [write.params.keys() - {"digest"} for write in api.writes()] == [{"memory"}]
    assert api.config(100) == {**before, "memory": 512}


def test_what_another_hand_changed_is_shown_and_repaired(api, run, container):
    guest = container(state="started", description="text")
    run.fleet(guest)
    api.requests()
    before = api.config(100)
    container_of_pve = api.pve.ct(100)
    container_of_pve.config["memory"] = 1024
    container_of_pve.config["net0"] = container_of_pve.config["net0"].replace("firewall=1,", "")

    predicted = run.fleet(guest, check=True)
    assert predicted["changed"]
    assert set(predicted["guests"][0]["changes"]) == {"memory", "net0"}
    assert api.writes() == []

    assert run.fleet(guest)["changed"]
    assert [write.params.keys() - {"digest"} for write in api.writes()] == [{"memory", "net0"}]
    assert api.config(100) == before


def test_removal(api, run, container):
    run.fleet(container(100), container(101))
    gone = {"vmid": 100, "hostname": "guest-100", "state": "absent"}
    api.requests()
    assert run.fleet(gone, check=True)["changed"]
    assert api.writes() == []
    assert run.fleet(gone)["changed"]
    assert api.pve.ct(100) is None
    assert api.pve.ct(101) is not None
    api.requests()
    assert not run.fleet(gone)["changed"]
    assert not run.fleet(gone, check=True)["changed"]
    assert api.writes() == []


def test_removal_of_a_protected_container_is_refused_in_the_words_of_the_api(api, run, container):
    run.fleet(container(protection=True))
    message = run.fleet_fails({"vmid": 100, "hostname": "guest-100", "state": "absent"})
    assert "guest-100" in message
    assert "protection" in message
    assert api.pve.ct(100) is not None


def test_guests_that_nobody_named_are_left_alone(api, run, container):
    run.fleet(container(100), container(101, state="started"))
    run.fleet(container(100, memory=512))
    assert api.pve.ct(101).status == "running"
    assert api.config(101)["memory"] == 256


@pytest.mark.parametrize("state", ["present", "started", "stopped"])
@pytest.mark.parametrize("before", ["running", "stopped"])
def test_power(api, run, container, before, state):
    run.fleet(container(state="started" if before == "running" else "present"))
    wanted = {"present": before, "started": "running", "stopped": "stopped"}[state]
    api.requests()
    predicted = run.fleet(container(state=state), check=True)
    assert predicted["changed"] == (wanted != before)
    assert api.writes() == []
    assert run.fleet(container(state=state))["changed"] == (wanted != before)
    assert api.pve.ct(100).status == wanted
    assert not run.fleet(container(state=state))["changed"]


def test_check_mode_of_a_creation_predicts_it_and_writes_nothing(api, run, container):
    guests = [container(100, state="started", tags=["web"]), container(101)]
    api.requests()
    predicted = run.fleet(*guests, check=True)
    assert predicted["changed"]
    assert api.writes() == []
    assert api.pve.cts == []
    done = run.fleet(*guests)
    assert done["diff"] == predicted["diff"]
    assert [entry["changes"] for entry in done["guests"]] == [entry["changes"] for entry in predicted["guests"]]


def test_check_mode_of_a_change_predicts_it(run, container):
    run.fleet(container(state="started"))
    mount = {"mp0": {"storage": "local-lvm", "size": 1, "mp": "/data"}}
    guest = container(
        state="stopped", memory=512, tags=["b", "a"], rootfs={"storage": "local-lvm", "size": 8}, mp=mount, features={}
    )
    predicted = run.fleet(guest, check=True)
    done = run.fleet(guest)
    assert done["diff"] == predicted["diff"]
    again = run.fleet(guest)
    assert not again["changed"]
    assert again["diff"] == {"before": {}, "after": {}}


def test_the_diff_shows_what_changes_and_nothing_else(run, container):
    run.fleet(container())
    diff = run.fleet(container(memory=512), check=True)["diff"]
    assert diff == {"before": {"100 guest-100": {"memory": 256}}, "after": {"100 guest-100": {"memory": 512}}}


def test_a_disk_grows(api, run, container):
    mount = {"mp0": {"storage": "local-lvm", "size": 1, "mp": "/data"}}
    bigger = {"mp0": {**mount["mp0"], "size": "2G"}}
    run.fleet(container(mp=mount))
    api.requests()
    assert run.fleet(container(mp=bigger))["changed"]
    assert [(write.path, write.params["disk"], write.params["size"]) for write in api.writes()] == [
        ("/nodes/pve1/lxc/100/resize", "mp0", "2G")
    ]
    assert api.config(100)["mp0"] == "local-lvm:vm-100-disk-1,mp=/data,size=2G"
    assert not run.fleet(container(mp=bigger))["changed"]


def test_a_volume_is_added_and_detached_and_its_data_kept(api, run, container):
    mount = {"mp0": {"storage": "local-lvm", "size": 1, "mp": "/data", "backup": True}}
    run.fleet(container())
    assert run.fleet(container(mp=mount))["changed"]
    assert api.config(100)["mp0"] == "local-lvm:vm-100-disk-1,mp=/data,backup=1,size=1G"
    assert not run.fleet(container(mp=mount))["changed"]
    assert not run.fleet(container())["changed"]
    assert run.fleet(container(delete=["mp0"]))["changed"]
    assert api.config(100)["unused0"] == "local-lvm:vm-100-disk-1"


def test_the_mac_address_stays_when_the_address_changes(api, run, container):
    run.fleet(container())
    mac = api.config(100)["net0"].split("hwaddr=")[1].split(",")[0]
    run.fleet(container(net={"net0": {**NET0, "ip": "192.0.2.77/24"}}))
    assert f"hwaddr={mac},ip=192.0.2.77/24" in api.config(100)["net0"]


def test_a_container_is_renamed_when_it_is_said_what_it_was(api, run, container):
    run.fleet(container())
    guest = container(hostname="renamed", rename_from="guest-100")
    assert run.fleet(guest)["changed"]
    assert api.config(100)["hostname"] == "renamed"
    assert not run.fleet(guest)["changed"]


def test_what_waits_for_a_restart_is_said(api, run, container):
    run.as_root()
    run.fleet(container(state="started"))
    result = run.fleet(container(state="started", features={"nesting": True, "fuse": True}))
    assert api.pve.ct(100).pending == {"features": "fuse=1,nesting=1"}
    assert result["guests"][0]["pending"] == ["features"]
    assert result["guests"][0]["reboot_required"]
    assert not run.fleet(container(state="started", features={"nesting": True, "fuse": True}))["changed"]


def test_guests_on_several_nodes(api, run, container):
    api.pve.add_node("pve2")
    run.fleet(container(100, node="pve1"), container(101, node="pve2"))
    assert [api.pve.ct(vmid).node for vmid in (100, 101)] == ["pve1", "pve2"]
    assert not run.fleet(container(100, node="pve1"), container(101, node="pve2"))["changed"]


def test_results_keep_the_order_of_the_guests(run, container):
    guests = [container(vmid) for vmid in (105, 101, 103, 100)]
    assert [entry["vmid"] for entry in run.fleet(*guests)["guests"]] == [105, 101, 103, 100]


def test_creations_run_side_by_side(api, run, container):
    api.pve.time_scale = 1.0
    api.pve.ct_secs["create"] = 0.5
    overlap: list[int] = []
    task = api.pve.task

    async def counting(*args, **kwargs):
        overlap.append(sum(entry["status"] == "running" for entry in api.pve.tasklog) + 1)
        return await task(*args, **kwargs)

    api.pve.task = counting
    run.fleet(*(container(vmid) for vmid in range(100, 108)), concurrency=3)
    assert max(overlap) == 3
    assert len(api.pve.cts) == 8


def test_a_hundred_containers_with_nothing_to_do(api, run, container):
    guests = [container(vmid, state="started", tags=["web"]) for vmid in range(100, 200)]
    for vmid in range(100, 200):
        container_of_pve = api.pve.add_ct(vmid, name=f"guest-{vmid}", status="running")
        container_of_pve.config = {
            "hostname": f"guest-{vmid}",
            "ostype": "debian",
            "arch": "amd64",
            "cores": 1,
            "memory": 256,
            "swap": 0,
            "rootfs": f"local-lvm:vm-{vmid}-disk-0,size=4G",
            "net0": f"name=eth0,bridge=vmbr0,firewall=1,gw=192.0.2.254,hwaddr=BC:24:11:00:00:{vmid - 100:02X},"
            f"ip=192.0.2.{vmid % 250 + 1}/24,type=veth",
            "features": "nesting=1",
            "tags": "web",
            "unprivileged": 1,
        }
    api.pve.node_figures["pve1"] = {"maxcpu": 64, "maxmem": 128 * 1024**3}
    assert not run.fleet(*guests)["changed"]
    requests = api.requests()
    assert len(requests) <= 103
    assert {request.method for request in requests} == {"GET"}
    assert "/version" not in {request.path for request in requests}


def test_secrets_are_never_shown(api, run, container):
    guest = container(password="root-password-of-the-guest", state="started")
    run.fleet(guest, check=True)
    run.fleet(guest)
    run.fleet(guest)
    api.pve.plan_task("vzcreate", error="unable to create CT 101 - no space left on device")
    run.fleet_fails(container(101, password="root-password-of-the-guest"))
    run.fleet_fails(container(102, password="root-password-of-the-guest", node="nosuch"))
    assert "root-password-of-the-guest" not in run.output
    assert SECRET not in run.output
