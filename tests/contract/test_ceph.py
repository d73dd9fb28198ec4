# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceph: its configuration, daemons, disks, pools and file systems."""

from __future__ import annotations

import pytest
from fakepve import PveError

from tests.contract import pvesh
from tests.contract.life import Life, both, limited, lives, nothing, whole_life
from tests.contract.serving import TOKEN

NODE = {"node": "pve1"}
DISK = {**NODE, "dev": "/dev/sdb"}
POOL = {**NODE, "name": "guests"}
SYSTEM = {**NODE, "name": "files"}
LINK = "/dev/disk/by-id"


@pytest.fixture
def installed(run):
    """Ceph's packages are on the node."""
    run.api.pve.ceph_nodes.add("pve1")
    return run


@pytest.fixture
def ceph(installed):
    """A Ceph with one monitor."""
    installed("pve_ceph_init", NODE)
    installed("pve_ceph_mon", NODE)
    installed.api.requests()
    return installed


@pytest.fixture
def root(ceph):
    """The login that may create and destroy OSDs."""
    return {"api_token_id": None, "api_token_secret": None, "api_password": ceph.api.pve.password}


@pytest.fixture
def servers(ceph):
    """Two metadata servers."""
    ceph("pve_ceph_mds", NODE)
    ceph("pve_ceph_mds", {**NODE, "name": "second"})
    return ceph


def has(message, *words):
    assert [word for word in words if word not in message] == []


# ------------------------------------------------------------------------------------- what must be there before

EVERYTHING = [
    ("pve_ceph_init", NODE),
    ("pve_ceph_mon", NODE),
    ("pve_ceph_mgr", NODE),
    ("pve_ceph_mds", NODE),
    ("pve_ceph_osd", DISK),
    ("pve_ceph_pool", POOL),
    ("pve_ceph_fs", SYSTEM),
]


@pytest.mark.parametrize(("module", "options"), EVERYTHING)
def test_without_its_packages_the_command_that_brings_them_is_said(run, module, options):
    message = run.fails(module, options)
    has(message, "Ceph is not installed on node 'pve1'", "pveceph install --repository no-subscription")
    has(message, "binary not installed")
    assert run.api.writes() == []


@pytest.mark.parametrize(("module", "options"), EVERYTHING[1:])
def test_without_a_configuration_the_module_that_makes_it_is_said(installed, module, options):
    has(installed.fails(module, options), "pve_ceph_init", "pveceph configuration not initialized")


@pytest.mark.parametrize(("module", "options"), EVERYTHING[2:])
def test_without_a_monitor_the_module_that_makes_it_is_said(installed, module, options):
    installed("pve_ceph_init", NODE)
    has(installed.fails(module, options), "pve_ceph_mon", "rados_connect failed", "ceph -s")


@pytest.mark.parametrize(("module", "options"), EVERYTHING[1:])
def test_where_there_is_no_ceph_there_is_nothing_to_remove(installed, module, options):
    options = {**NODE, "osdid": 0} if module == "pve_ceph_osd" else options
    assert not installed(module, {**options, "state": "absent"})["changed"]


def test_check_mode_goes_through_a_whole_ceph_that_does_not_exist_yet(run):
    root = {"api_token_id": None, "api_token_secret": None, "api_password": run.api.pve.password}
    for module, options in EVERYTHING:
        result = run(module, {**options, **(root if module == "pve_ceph_osd" else {})}, check=True)
        assert result["changed"], module
        assert "not installed on node 'pve1'" in str(result["warnings"])
    assert run.api.changes() == []


@pytest.mark.parametrize(("module", "options"), EVERYTHING)
def test_a_node_that_is_offline_is_named(ceph, module, options):
    ceph.api.pve.set_node_offline("pve1")
    has(ceph.fails(module, options), "does not reach the node", "/nodes/pve1/", "bring it back")


@pytest.mark.parametrize(("module", "options"), [EVERYTHING[0], EVERYTHING[5]])
def test_without_quorum_the_words_of_the_api_and_a_remedy_are_said(installed, module, options):
    if module == "pve_ceph_pool":
        installed("pve_ceph_init", NODE)
        installed("pve_ceph_mon", NODE)
    installed.api.pve.lose_quorum()
    message = installed.fails(module, options)
    has(message, "no quorum", "pvecm status", "bring them back")
    if module == "pve_ceph_pool":
        has(message, "cluster not ready - no quorum?")


# -------------------------------------------------------------------------------------------------- configuration

INIT = {"network": "192.0.2.0/24", "cluster_network": "198.51.100.0/24", "size": 3, "min_size": 2}


def test_the_configuration_is_made_once(installed):
    wanted = {**NODE, **INIT, "disable_cephx": False}
    life = Life("pve_ceph_init", NODE, wanted, {})
    result = both(installed, life, wanted)
    assert result["changed"]
    assert result["ceph"]["public_network"] == "192.0.2.0/24"
    fsid = installed.api.pve.ceph_conf["global"]["fsid"]
    for options in (wanted, {}, {"network": "192.0.2.11/24"}, {"size": 3}):
        nothing(installed, life, options)
    assert installed.api.pve.ceph_conf["global"]["fsid"] == fsid


def test_defaults_are_those_of_proxmox_ve(installed):
    installed("pve_ceph_init", NODE)
    assert not installed("pve_ceph_init", {**NODE, "size": 3, "min_size": 2, "disable_cephx": False})["changed"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network": "203.0.113.0/24"}, ["network is '192.0.2.0/24'", "'203.0.113.0/24'"]),
        ({"cluster_network": "203.0.113.0/24"}, ["cluster_network is '198.51.100.0/24'"]),
        ({"size": 2}, ["size is '3'", "'2'"]),
        ({"disable_cephx": True}, ["disable_cephx is 'False'", "'True'"]),
        ({"network": ""}, ["network is '192.0.2.0/24'"]),
    ],
)
def test_a_configuration_is_never_written_again(installed, options, words, check):
    installed("pve_ceph_init", {**NODE, **INIT})
    installed.api.requests()
    has(installed.fails("pve_ceph_init", {**NODE, **options}, check=check), "/etc/pve/ceph.conf", *words)
    assert installed.api.writes() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network": "192.0.2.0"}, ["network", "'192.0.2.0'", "192.0.2.0/24"]),
        ({"cluster_network": "192.0.2.0/24"}, ["cluster_network needs network"]),
        ({"network": "192.0.2.0/24, 198.51.100.0/24"}, ["network '192.0.2.0/24, 198.51.100.0/24'", "one network"]),
        ({"size": 1, "min_size": 1}, ["size 1 loses data", "min_size 1", "force"]),
        ({"size": 2, "min_size": 3}, ["min_size 3 is more than size 2"]),
        ({"size": 8}, ["size", "at most 7"]),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_before_the_first_write(installed, options, words):
    has(installed.fails("pve_ceph_init", {**NODE, **options}), *words)
    has(installed.fails("pve_ceph_init", {**NODE, **options}, check=True), *words)
    assert installed.api.writes() == []


def test_a_configuration_written_by_hand_is_understood(installed):
    installed.api.pve.ceph_conf = {
        "global": {"auth client required": "none ; no logins", "public-network": "192.0.2.0/24, 198.51.100.0/24"}
    }
    wanted = {**NODE, "disable_cephx": True, "network": "198.51.100.0/24,192.0.2.0/24"}
    assert not installed("pve_ceph_init", wanted)["changed"]


# --------------------------------------------------------------------------------------------------------- daemons


@lives(
    Life("pve_ceph_mon", {**NODE, "monid": "second"}, {"mon_address": ["192.0.2.12"]}, {}),
    Life("pve_ceph_mon", {**NODE, "monid": "dual"}, {"mon_address": ["192.0.2.12", "2001:db8::12"]}, {}),
    Life("pve_ceph_mon", {**NODE, "monid": "dual"}, {"mon_address": ["2001:db8::12", "192.0.2.12"]}, {}),
    Life("pve_ceph_mgr", {**NODE, "id": "second"}, {}, {}),
    Life("pve_ceph_mds", {**NODE, "name": "second"}, {}, {}),
)
def test_whole_life_of_a_daemon(ceph, life):
    whole_life(ceph, life)


@lives(
    Life("pve_ceph_mon", {**NODE, "monid": "third"}, {"running": True}, {"running": False}),
    Life("pve_ceph_mgr", {**NODE, "id": "second"}, {"running": True}, {"running": False}),
    Life("pve_ceph_mds", {**NODE, "name": "second"}, {"running": True}, {"running": False}),
)
def test_a_daemon_is_stopped_and_started(ceph, life):
    ceph("pve_ceph_mon", {**NODE, "monid": "second"})
    ceph("pve_ceph_mds", NODE)
    whole_life(ceph, limited(ceph, life, Sys_Modify="/", Sys_Audit="/"))


def test_a_ceph_that_does_not_answer_while_a_daemon_stops_is_asked_again(ceph):
    ceph("pve_ceph_mds", NODE)
    answer, silent = ceph.api.pve.answer, []

    async def hesitate(request, *args):
        if request.path.endswith("/ceph/stop"):
            silent.extend(["got timeout", "rados_connect failed - Operation timed out"])
        elif request.method == "GET" and request.path.endswith("/ceph/mds") and silent:
            raise PveError(500, silent.pop())
        return await answer(request, *args)

    ceph.api.pve.answer = hesitate
    assert ceph("pve_ceph_mds", {**NODE, "running": False})["changed"]
    assert silent == []


def test_a_daemon_that_begins_stopped(ceph):
    life = Life("pve_ceph_mds", NODE, {}, {})
    assert both(ceph, life, {"running": False})["action"] == "create"
    nothing(ceph, life, {"running": False})
    assert both(ceph, life, {"running": True})["action"] == "update"


@pytest.mark.parametrize("check", [True, False])
def test_a_daemon_that_ceph_needs_is_not_stopped(servers, check):
    servers("pve_ceph_fs", SYSTEM)
    servers("pve_ceph_mds", {**NODE, "name": "second", "running": False})
    servers.api.requests()
    stop = {**NODE, "running": False}
    message = servers.fails("pve_ceph_mds", stop, check=check)
    has(message, "metadata server 'pve1'", "cannot do without it (one or more filesystems", "set force to true")
    message = servers.fails("pve_ceph_mon", stop, check=check)
    has(message, "monitor 'pve1'", "cannot do without it (not enough monitors", "bring the others back first")
    assert servers.api.writes() == []
    assert servers("pve_ceph_mds", {**stop, "force": True}, check=check)["changed"]
    has(str(servers("pve_ceph_mgr", stop, check=check)["warnings"]), "manager 'pve1'", "last one that runs")


def test_the_first_monitor_brings_a_manager_with_it(ceph):
    assert not ceph("pve_ceph_mgr", NODE)["changed"]
    assert ceph("pve_ceph_mon", NODE)["monitor"]["quorum"] == 1


def test_addresses_of_a_monitor_are_compared_by_meaning(ceph):
    wanted = {**NODE, "monid": "dual", "mon_address": ["192.0.2.12", "2001:DB8:0::12"]}
    daemon = {"host": "pve1", "rank": 1, "quorum": 1, "state": "running"}
    for addr in (
        "192.0.2.12:6789/0",
        "[2001:db8::12]:6789/0",
        "[v2:192.0.2.12:3300/0,v2:[2001:db8::12]:3300/0]",
        "[v2:[2001:db8::12]:3300/0,v1:[2001:db8::12]:6789/0,v2:192.0.2.12:3300/0]",
    ):
        ceph.api.pve.ceph_daemons["mon"]["dual"] = {**daemon, "addr": addr}
        assert not ceph("pve_ceph_mon", wanted)["changed"], addr
    message = ceph.fails("pve_ceph_mon", {**wanted, "mon_address": ["192.0.2.12"]})
    has(message, "monitor 'dual'", "mon_address is", "cannot be changed")
    # One that Ceph does not see has no address to compare.
    ceph.api.pve.ceph_daemons["mon"]["dual"] = {"host": "pve1", "state": "stopped", "service": 1}
    result = ceph("pve_ceph_mon", wanted)
    assert not result["changed"]
    has(str(result["warnings"]), "does not run (stopped): set running to true")


@pytest.mark.parametrize("check", [True, False])
def test_the_last_monitor_stays(ceph, check):
    has(ceph.fails("pve_ceph_mon", {**NODE, "state": "absent"}, check=check), "monitor 'pve1'", "last one")
    assert ceph.api.writes() == []


@pytest.mark.parametrize("check", [True, False])
def test_a_monitor_without_which_there_is_no_quorum_stays(ceph, check):
    monitors = ceph.api.pve.ceph_daemons["mon"]
    for rank, name in enumerate(("a", "b"), 1):
        monitors[name] = {"host": "pve1", "rank": rank, "state": "stopped", "addr": f"192.0.2.{30 + rank}:6789/0"}
    gone = {**NODE, "state": "absent"}
    message = ceph.fails("pve_ceph_mon", gone, check=check)
    has(message, "of the other 2 only 0", "no quorum")
    assert "Proxmox VE says" not in message
    # Half of them is no majority either.
    monitors["a"].update(quorum=1, state="running")
    has(ceph.fails("pve_ceph_mon", gone, check=check), "of the other 2 only 1", "ceph mon stat")
    assert ceph.api.writes() == []
    # One that is down may go, the others are as many as before.
    assert ceph("pve_ceph_mon", {**gone, "monid": "b"}, check=check)["changed"]


def test_a_daemon_of_another_node_is_left_alone(ceph):
    ceph.api.pve.add_node("pve2")
    ceph.api.pve.ceph_nodes.add("pve2")
    for module, key in (("pve_ceph_mon", "monid"), ("pve_ceph_mgr", "id")):
        for state in ("present", "absent"):
            message = ceph.fails(module, {"node": "pve2", key: "pve1", "state": state})
            has(message, "'pve1'", "is on node 'pve1' and not on 'pve2'")
    assert ceph.api.writes() == []


def test_the_last_manager_goes_with_a_warning(ceph):
    gone = {**NODE, "state": "absent"}
    has(str(ceph("pve_ceph_mgr", gone, check=True)["warnings"]), "manager 'pve1'", "last one that runs")
    ceph("pve_ceph_mgr", {**NODE, "id": "second"})
    assert "warnings" not in ceph("pve_ceph_mgr", gone)


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        ("pve_ceph_mon", {"monid": "a_b"}, ["monid 'a_b' is not an id", "dashes"]),
        ("pve_ceph_mgr", {"id": "-x"}, ["id '-x' is not an id"]),
        ("pve_ceph_mds", {"name": "1st"}, ["name '1st' begins with a digit"]),
        ("pve_ceph_mon", {"mon_address": ["pve1"]}, ["mon_address", "'pve1' is not an IP address"]),
    ],
)
def test_a_daemon_that_cannot_be_is_refused_before_the_first_write(ceph, module, options, words):
    has(ceph.fails(module, {**NODE, **options}), *words)
    assert ceph.api.writes() == []


def test_the_last_metadata_server_stays_while_there_are_files(servers):
    servers("pve_ceph_fs", SYSTEM)
    first, second = ({**NODE, "name": name, "state": "absent"} for name in ("pve1", "second"))
    assert servers("pve_ceph_mds", second)["changed"]
    has(servers.fails("pve_ceph_mds", first), "metadata server 'pve1'", "file system files", "force")
    assert servers("pve_ceph_mds", {**first, "force": True})["changed"]


# ----------------------------------------------------------------------------------------------------------- disks


def test_a_disk_becomes_an_osd_once(ceph, root):
    wanted = {**DISK, **root, "db_dev": "/dev/sdc", "db_dev_size": 60, "encrypted": True, "crush_device_class": "nvme"}
    predicted = ceph("pve_ceph_osd", wanted, check=True)
    assert ceph.api.changes() == []
    made = ceph("pve_ceph_osd", wanted)
    assert made["changed"]
    assert made["diff"] == predicted["diff"]
    shown = {"id": 0, "name": "osd.0", "type": "osd", "host": "pve1", "device_class": "nvme", "status": "up", "in": 1}
    assert made["osds"] == [shown]
    ceph.api.requests()
    by_id = {"dev": f"{LINK}/ata-EXAMPLE_SER0002", "db_dev": f"{LINK}/wwn-0x5000c50000000003"}
    for spelling in (wanted, {**DISK, **root}, {**wanted, "db_dev_size": 30}, {**wanted, **by_id}):
        assert not ceph("pve_ceph_osd", spelling)["changed"]
        requests = [request for request in ceph.api.requests() if request.path != "/access/ticket"]
        assert {request.method for request in requests} == {"GET"}
        assert len(requests) <= 3
    # Another OSD has its database beside the first one's.
    assert ceph("pve_ceph_osd", {**NODE, **root, "dev": "/dev/sdd", "db_dev": "/dev/sdc"})["changed"]


def test_several_osds_on_a_disk(ceph, root):
    wanted = {**DISK, **root, "osds_per_device": 2}
    assert [osd["id"] for osd in ceph("pve_ceph_osd", wanted)["osds"]] == [0, 1]
    assert not ceph("pve_ceph_osd", wanted)["changed"]
    has(ceph.fails("pve_ceph_osd", {**wanted, "osds_per_device": 4}), "osds_per_device is '2'", "cannot be changed")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dev": "/dev/sdz"}, ["disk '/dev/sdz' of node 'pve1'", "(EXAMPLE, SER0026, 8 TB) is in use, it holds ZFS"]),
        ({"dev": "/dev/sdz"}, ["take another disk, free on node 'pve1' are /dev/nvme0n1 (EXAMPLE, SER0040, 2 TB), /d"]),
        ({"dev": "/dev/sda"}, ["partitions, /dev/sda1 (BIOS boot), ", "ceph-volume lvm zap /dev/sda --destroy"]),
        ({"dev": "/dev/sdq"}, ["disk '/dev/sdq'", "there is no '/dev/sdq' among the disks of the node", "/dev/sdb"]),
        ({"dev": "sdb"}, ["dev: 'sdb' is not a device such as /dev/sdb"]),
        ({"db_dev": "/dev/sdq"}, ["db_dev: there is no '/dev/sdq'"]),
        ({"db_dev": "/dev/sdz"}, ["db_dev: /dev/sdz (EXAMPLE, SER0026, 8 TB) is in use, it holds ZFS: take another"]),
        # A volume group of somebody else.
        ({"db_dev": "/dev/sda3"}, ["db_dev: /dev/sda3", "is in use, it holds LVM", "or one with databases of Ceph"]),
        ({"db_dev": "/dev/sdb"}, ["db_dev is the same disk as dev"]),
        ({"db_dev": "/dev/sdc", "wal_dev": f"{LINK}/ata-EXAMPLE_SER0003"}, ["wal_dev is the same disk as db_dev"]),
        ({"db_dev_size": 10}, ["db_dev_size needs db_dev"]),
        ({"wal_dev_size": 10}, ["wal_dev_size needs wal_dev"]),
        ({"db_dev": "/dev/sdc", "osds_per_device": 2}, ["osds_per_device does not go together with db_dev"]),
        ({"db_dev": "/dev/sdc", "db_dev_size": 0.5}, ["db_dev_size", "at least 1"]),
    ],
)
def test_a_disk_that_cannot_be_taken_is_refused_before_the_first_write(ceph, root, options, words, check):
    has(ceph.fails("pve_ceph_osd", {**DISK, **root, **options}, check=check), *words)
    assert ceph.api.changes() == []


def test_a_disk_of_another_ceph_is_not_taken_for_one_of_this(ceph, root):
    """Its number may even be one that this Ceph has, on another node."""
    ceph.api.pve.disks_of("pve1")["/dev/sdb"].update({"used": "LVM", "osdid": "7", "osdid-list": ["7"]})
    has(ceph.fails("pve_ceph_osd", {**DISK, **root}), "holds osd.7", "of another or of an earlier Ceph", "zap")
    ceph.api.pve.osds[7] = {"host": "pve2", "status": "up", "in": 1, "device_class": "ssd", "disks": {}, "placed": True}
    has(ceph.fails("pve_ceph_osd", {**DISK, **root}), "holds osd.7")
    assert ceph.api.changes() == []


def test_what_an_osd_is_cannot_be_changed(ceph, root):
    ceph("pve_ceph_osd", {**DISK, **root, "db_dev": "/dev/sdc"})
    for options, words in (
        ({"encrypted": True}, ["encrypted is 'False'", "'True'"]),
        ({"crush_device_class": "ssd"}, ["crush_device_class is 'hdd'", "'ssd'"]),
        ({"db_dev": "/dev/sdd"}, ["db_dev is '/dev/sdc'", "'/dev/sdd'"]),
        ({"wal_dev": "/dev/sdd"}, ["wal_dev is 'None'"]),
    ):
        message = ceph.fails("pve_ceph_osd", {**DISK, **root, **options})
        has(message, "cannot be changed", "this is for an OSD that is made", *words)
        assert "absent" not in message


def test_a_database_on_a_partition_is_found_again_by_its_disk(ceph, root):
    """Ceph tells the disk and not the partition."""
    wanted = {**DISK, **root, "db_dev": "/dev/sdf1"}
    ceph.api.pve.add_disk("/dev/sdf1", parent="/dev/sdf")
    predicted = ceph("pve_ceph_osd", wanted, check=True)
    made = ceph("pve_ceph_osd", wanted)
    assert made["diff"] == predicted["diff"] == {"before": {}, "after": {"db_dev": "/dev/sdf1"}}
    assert ceph.api.pve.osds[0]["disks"]["db_dev"] == "/dev/sdf1"
    for spelling in (
        wanted,
        {**wanted, "db_dev": f"{LINK}/ata-EXAMPLE_SER0006-part1"},
        {**wanted, "db_dev": "/dev/sdf"},
    ):
        assert not ceph("pve_ceph_osd", spelling)["changed"]


def test_a_partition_becomes_an_osd(ceph, root):
    ceph.api.pve.add_disk("/dev/sdf4", parent="/dev/sdf")
    wanted = {**NODE, **root, "dev": "/dev/sdf4", "encrypted": True}
    assert ceph("pve_ceph_osd", wanted)["changed"]
    assert not ceph("pve_ceph_osd", wanted)["changed"]


def test_what_ceph_keeps_on_a_partition_without_a_name_is_not_taken(ceph, root):
    """Proxmox VE makes databases on partitions of a disk that has some, and takes them for unused."""
    assert ceph("pve_ceph_osd", {**DISK, **root, "db_dev": "/dev/sdx"})["changed"]
    assert ceph.api.pve.disks_of("pve1")["/dev/sdx"]["parts"]["/dev/sdx2"] == {"db": 1}
    ceph.api.requests()
    for module, options in (
        ("pve_ceph_osd", {"dev": "/dev/sdx2"}),
        ("pve_ceph_osd", {"dev": "/dev/sdc", "wal_dev": "/dev/sdx2"}),
        ("pve_disk_lvm", {"name": "guests", "device": "/dev/sdx2"}),
    ):
        has(ceph.fails(module, {**NODE, **root, **options}), "/dev/sdx2", "is in use, it holds a database of Ceph")
    assert ceph.api.changes() == []


def test_a_disk_is_taken_once_whoever_takes_it(ceph, root):
    assert ceph("pve_ceph_osd", {**DISK, **root, "db_dev": "/dev/sdd"})["changed"]
    assert ceph("pve_disk_lvm", {**NODE, "name": "guests", "device": "/dev/sdc"})["changed"]
    ceph.api.requests()
    zfs = {**NODE, "name": "tank", "raidlevel": "mirror", "devices": ["/dev/sdb", "/dev/sdd"]}
    has(ceph.fails("pve_disk_zfs", zfs), "it holds Ceph OSD 0", "it holds LVM, a database of Ceph")
    has(ceph.fails("pve_ceph_osd", {**NODE, **root, "dev": "/dev/sdc"}), "it holds LVM")
    has(ceph.fails("pve_ceph_osd", {**NODE, **root, "dev": "/dev/sde", "db_dev": "/dev/sdc"}), "it holds LVM")
    assert ceph.api.changes() == []


def test_one_osd_on_a_disk_is_what_a_disk_has_anyway(ceph, root):
    wanted = {**DISK, **root, "osds_per_device": 1, "db_dev": "/dev/sdc"}
    predicted, made = ceph("pve_ceph_osd", wanted, check=True), ceph("pve_ceph_osd", wanted)
    assert predicted["diff"] == made["diff"]
    assert not ceph("pve_ceph_osd", wanted)["changed"]


def test_a_ceph_without_any_osd_takes_the_first(ceph, root):
    answer = ceph.api.pve.answer

    async def empty(request, *args):
        if request.method == "GET" and request.path.endswith("/ceph/osd") and not ceph.api.pve.osds:
            raise PveError(500, "no tree nodes found")
        return await answer(request, *args)

    ceph.api.pve.answer = empty
    assert ceph("pve_ceph_osd", {**DISK, **root})["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_a_token_is_told_who_may_create_osds(ceph, check):
    message = ceph.fails("pve_ceph_osd", DISK, check=check)
    has(message, "root@pam", f"token '{TOKEN}'", "api_backend 'local'", "create OSDs")
    assert ceph.api.writes() == []


def test_root_on_the_node_manages_osds_with_pvesh(ceph, tmp_path, monkeypatch):
    pvesh.stand_in(ceph.api, tmp_path, monkeypatch)
    local = {**NODE, "api_backend": "local"}
    assert ceph("pve_ceph_osd", {**local, "dev": "/dev/sdb", "encrypted": True})["changed"]
    assert not ceph("pve_ceph_osd", {**local, "dev": "/dev/sdb"})["changed"]
    ceph.api.pve.osds[0].update({"in": 0, "status": "down"})
    assert ceph("pve_ceph_osd", {**local, "osdid": 0, "state": "absent", "destroy_data": True})["changed"]
    assert ceph.api.pve.osds == {}


def test_an_osd_that_does_not_come_up_is_said(ceph, root):
    class Hidden(dict):
        def __setitem__(self, number, osd):
            super().__setitem__(number, {**osd, "host": "elsewhere"})

    ceph.api.pve.osds = Hidden()
    message = ceph.fails("pve_ceph_osd", {**DISK, **root, "task_timeout": 1})
    has(message, "did not come up within 1 s", "systemctl status ceph-osd.target")


# ------------------------------------------------------------------------------------------ what an OSD does


@pytest.fixture
def osd(ceph, root):
    """An OSD, and the options that name it, for whom may not create one."""
    ceph("pve_ceph_osd", {**DISK, **root})
    ceph.api.requests()
    return {**NODE, "osdid": 0}


@pytest.mark.parametrize("named", [{"osdid": 0}, {"dev": "/dev/sdb"}], ids=["number", "disk"])
def test_an_osd_goes_out_and_down_and_comes_back(ceph, osd, named):
    life = Life("pve_ceph_osd", {**NODE, **named}, {}, {})
    life = limited(ceph, life, Sys_Audit="/", Sys_Modify="/")
    nothing(ceph, life, {"in": True, "running": True})
    for options in ({"in": False}, {"running": False}, {"in": True, "running": True}, {"in": False, "running": False}):
        result = both(ceph, life, options)
        assert result["action"] == "update"
        assert result["diff"] == {"before": {name: not value for name, value in options.items()}, "after": options}
        nothing(ceph, life, options)
    assert [result["osds"][0][key] for key in ("status", "in")] == ["down", 0]
    assert [task["type"] for task in ceph.api.pve.tasklog[-3:]] == ["srvstop", "srvstart", "srvstop"]


def test_an_osd_without_the_right_to_change_it(ceph, osd):
    life = limited(ceph, Life("pve_ceph_osd", osd, {}, {}), Sys_Audit="/")
    for options in ({"in": False}, {"running": False}):
        has(ceph.fails("pve_ceph_osd", {**life.ident, **options}), "Sys.Modify")


def test_all_osds_of_a_disk_go_together(ceph, root):
    wanted = {**DISK, **root, "osds_per_device": 2}
    ceph("pve_ceph_osd", wanted)
    ceph.api.pve.osds[1]["in"] = 0
    result = ceph("pve_ceph_osd", {**wanted, "in": False})
    assert result["diff"] == {"before": {"in": "different"}, "after": {"in": False}}
    assert [request.path for request in ceph.api.changes()[-1:]] == ["/nodes/pve1/ceph/osd/0/out"]
    result = ceph("pve_ceph_osd", {**wanted, "running": False})
    assert [osd["status"] for osd in result["osds"]] == ["down", "down"]


def test_a_new_osd_begins_as_it_is_wanted(ceph, root):
    wanted = {**DISK, **root, "in": False, "running": True}
    predicted, made = ceph("pve_ceph_osd", wanted, check=True), ceph("pve_ceph_osd", wanted)
    assert made["diff"] == predicted["diff"] == {"before": {}, "after": {"in": False, "running": True}}
    assert ceph.api.pve.osds[0]["in"] == 0


@pytest.mark.parametrize("check", [True, False])
def test_an_osd_that_ceph_needs_is_not_stopped(ceph, osd, check):
    ceph.api.pve.copies = {0}
    message = ceph.fails("pve_ceph_osd", {**osd, "running": False}, check=check)
    has(message, "OSD 0 of node 'pve1'", "cannot do without osd.0 (12 PGs", "ceph -s", "set force to true")
    assert ceph.api.changes() == []
    assert ceph("pve_ceph_osd", {**osd, "running": False, "force": True}, check=check)["changed"]


def test_two_osds_of_which_ceph_needs_one_are_not_both_stopped(ceph, root):
    """Ceph is asked about each, and either may be missed while the other is there."""
    ceph("pve_ceph_osd", {**DISK, **root, "osds_per_device": 2})
    ceph.api.pve.copies = {0, 1}
    has(ceph.fails("pve_ceph_osd", {**DISK, **root, "running": False}), "cannot do without osd.1 (12 PGs")
    assert [osd["status"] for osd in ceph.api.pve.osds.values()] == ["down", "up"]


def test_a_service_that_does_not_do_what_it_is_told_is_said(ceph, osd):
    ceph.api.pve.notices = False
    message = ceph.fails("pve_ceph_osd", {**osd, "running": False, "task_timeout": 1})
    has(message, "osd.0 was told to stop and is not down within 1 s", "systemctl status ceph-osd@0.service")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"osdid": 9, "in": False}, ["OSD 9 of node 'pve1'", "is not there", "give the number of another one"]),
        ({"osdid": 0, "encrypted": True}, ["encrypted goes with dev"]),
        ({"osdid": 0, "dev": "/dev/sdb"}, ["mutually exclusive"]),
        ({}, ["one of the following is required: dev, osdid"]),
    ],
)
def test_an_osd_that_is_not_told_well_is_refused(ceph, osd, options, words):
    has(ceph.fails("pve_ceph_osd", {**NODE, **options}), *words)
    assert ceph.api.changes() == []


# ---------------------------------------------------------------------------------------- the end of an OSD


@pytest.mark.parametrize("check", [True, False])
def test_an_osd_goes_only_when_nothing_is_lost_with_it(ceph, root, check):
    ceph("pve_ceph_osd", {**DISK, **root})
    ceph.api.requests()
    gone = {**NODE, **root, "osdid": 0, "state": "absent"}
    agreed = {**gone, "destroy_data": True}
    has(ceph.fails("pve_ceph_osd", gone, check=check), "OSD 0 of node 'pve1'", "destroy_data")
    osd = ceph.api.pve.osds[0]
    for state, words in (
        ({}, ["it is up and in", "Take it out (in: false)", "ceph osd safe-to-destroy 0", "stop it (running: false)"]),
        ({"in": 0}, ["it is up."]),
        ({"in": 1, "status": "down"}, ["it is in."]),
    ):
        osd.update(state)
        has(ceph.fails("pve_ceph_osd", agreed, check=check), *words)
    osd.update({"in": 0, "status": "down"})
    ceph.api.pve.unsafe["0"] = "OSD(s) 0 have 12 pgs currently mapped to them."
    has(ceph.fails("pve_ceph_osd", agreed, check=check), "12 pgs", "force")
    has(ceph.fails("pve_ceph_osd", {**agreed, "node": "pve1", "osdid": 0, **token(ceph)}, check=check), "12 pgs")
    assert ceph.api.changes() == []
    assert ceph("pve_ceph_osd", {**agreed, "force": True}, check=True)["changed"]
    ceph.api.pve.unsafe.clear()
    has(ceph.fails("pve_ceph_osd", {**agreed, **token(ceph)}, check=check), "api_backend 'local'", "destroy OSDs")
    assert ceph("pve_ceph_osd", agreed)["changed"]
    assert not ceph("pve_ceph_osd", agreed)["changed"]
    # The disk is empty again.
    assert ceph("pve_ceph_osd", {**DISK, **root})["changed"]


def token(run):
    return {**run.api.connection, "api_password": None}


def test_an_osd_of_another_node_is_named(ceph, root):
    ceph.api.pve.osds[3] = {"host": "pve2", "status": "down", "in": 0, "device_class": "", "disks": {}, "placed": True}
    gone = {**NODE, **root, "osdid": 3, "state": "absent", "destroy_data": True}
    has(ceph.fails("pve_ceph_osd", gone), "in node 'pve2'")
    has(ceph.fails("pve_ceph_osd", {**NODE, "osdid": 3, "running": True}), "in node 'pve2'")


def test_volumes_may_be_kept_for_inspection(ceph, root):
    ceph("pve_ceph_osd", {**DISK, **root})
    ceph.api.pve.osds[0].update({"in": 0, "status": "down"})
    gone = {**NODE, **root, "osdid": 0, "state": "absent", "destroy_data": True, "cleanup": False}
    ceph("pve_ceph_osd", gone)
    assert ceph.api.pve.disks_of("pve1")["/dev/sdb"]["used"] == "LVM"


# ----------------------------------------------------------------------------------------------------------- pools


@lives(
    Life(
        "pve_ceph_pool",
        {**POOL, "destroy_data": True},
        {
            "size": 3,
            "min_size": 2,
            "pg_num": 64,
            "pg_num_min": 16,
            "pg_autoscale_mode": "warn",
            "application": "rbd",
            "crush_rule": "replicated_rule",
            "target_size": "500G",
            "target_size_ratio": 0.5,
        },
        {
            "size": 4,
            "min_size": 3,
            "pg_num": 128,
            "pg_num_min": 32,
            "pg_autoscale_mode": "off",
            "crush_rule": "fast",
            "target_size": "1T",
            "target_size_ratio": 0.2,
        },
        spellings=[{"target_size": "536870912000"}, {"target_size": "512000M"}, {"target_size_ratio": "0.50"}],
        removed=["target_size"],
    )
)
def test_whole_life_of_a_pool(ceph, life):
    ceph.api.pve.crush_rules.append("fast")
    whole_life(ceph, life)


def test_defaults_of_a_pool_are_those_of_proxmox_ve(ceph):
    ceph("pve_ceph_pool", POOL)
    same = {"size": 3, "min_size": 2, "pg_num": 128, "pg_autoscale_mode": "warn", "application": "rbd", "pg_num_min": 0}
    nothing(ceph, Life("pve_ceph_pool", POOL, {}, {}), {**same, "target_size": "0", "target_size_ratio": 0})


def test_a_number_of_groups_that_ceph_is_on_its_way_to_is_no_drift(ceph):
    wanted = {**POOL, "pg_num": 64}
    ceph("pve_ceph_pool", wanted)
    ceph("pve_ceph_pool", {**wanted, "pg_num": 256})
    assert ceph.api.pve.ceph_pools["guests"]["pg_num"] == 64
    assert not ceph("pve_ceph_pool", {**wanted, "pg_num": 256})["changed"]


def test_a_number_of_groups_that_ceph_tells_of_a_moment_later_is_taken_as_told(ceph):
    ceph("pve_ceph_pool", {**POOL, "pg_num": 64})
    change = ceph.api.pve._ceph_pool_change

    def late(name, values):
        change(name, {**values, "pg_num": 64})

    ceph.api.pve._ceph_pool_change = late
    assert ceph("pve_ceph_pool", {**POOL, "pg_num": 256})["diff"]["after"] == {"pg_num": 256}


def test_a_number_of_groups_that_ceph_chooses_is_no_drift(ceph):
    wanted = {**POOL, "pg_num": 64, "pg_autoscale_mode": "on"}
    ceph("pve_ceph_pool", wanted)
    ceph.api.pve._ceph_pool_change("guests", {"pg_num": 32})
    assert not ceph("pve_ceph_pool", wanted)["changed"]
    # It counts again as soon as Ceph does not choose any more.
    result = ceph("pve_ceph_pool", {**wanted, "pg_autoscale_mode": "off"})
    assert result["diff"]["after"] == {"pg_autoscale_mode": "off", "pg_num": 64}


def test_another_size_leaves_the_least_number_of_copies_alone(ceph):
    """Ceph chooses another one with every size."""
    ceph("pve_ceph_pool", {**POOL, "size": 5, "min_size": 4})
    result = ceph("pve_ceph_pool", {**POOL, "size": 6})
    assert result["diff"] == {"before": {"size": 5}, "after": {"size": 6}}
    assert ceph.api.pve.ceph_pools["guests"]["min_size"] == 4


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 1, "min_size": 1}, ["size 1 loses data", "min_size 1 loses data", "force"]),
        ({"min_size": 1}, ["min_size 1 loses data"]),
        ({"size": 2, "min_size": 3}, ["min_size 3 is more than size 2", "give min_size 2 or less, or a greater size"]),
        ({"size": 1, "force": True}, ["min_size 2 is more than size 1", "give min_size 1 or less"]),
        ({"name": "a pool"}, ["is not a name of a pool"]),
        ({"crush_rule": "nosuch"}, ["crush_rule 'nosuch' does not exist", "replicated_rule"]),
        ({"target_size": "many"}, ["target_size", "'many' is not a size"]),
        ({"pg_num": 0}, ["pg_num", "at least 1"]),
    ],
)
def test_a_pool_that_cannot_be_is_refused_before_the_first_write(ceph, options, words, check):
    has(ceph.fails("pve_ceph_pool", {**POOL, **options}, check=check), *words)
    assert ceph.api.writes() == []


def test_one_copy_takes_a_word_of_its_own(ceph):
    assert ceph("pve_ceph_pool", {**POOL, "size": 1, "min_size": 1, "force": True})["changed"]
    # What is so already is no decision of this run.
    assert not ceph("pve_ceph_pool", {**POOL, "size": 1, "min_size": 1})["changed"]


def test_what_never_changes_of_a_pool(ceph):
    ceph("pve_ceph_pool", POOL)
    message = ceph.fails("pve_ceph_pool", {**POOL, "application": "rgw"})
    has(message, "application is 'rbd' and cannot be changed to 'rgw': leave application out, or give another pool")
    # To remove it is nothing that a message proposes.
    assert "absent" not in message
    has(ceph.fails("pve_ceph_pool", {**POOL, "crush_rule": ""}), "crush_rule is empty")
    ceph.api.pve.ceph_pools["guests"].update(type="erasure", application_metadata={})
    has(ceph.fails("pve_ceph_pool", {**POOL, "size": 4}), "erasure coded", "size")
    # A pool without one is given it.
    assert ceph("pve_ceph_pool", {**POOL, "application": "rgw"})["changed"]


def test_the_storage_of_a_pool_is_there_afterwards(ceph):
    wanted = {**POOL, "add_storages": True}
    predicted, made = ceph("pve_ceph_pool", wanted, check=True), ceph("pve_ceph_pool", wanted)
    assert made["diff"] == predicted["diff"]
    assert ceph.api.pve.storages["guests"]["type"] == "rbd"
    nothing(ceph, Life("pve_ceph_pool", POOL, {}, {}), {"add_storages": True})
    nothing(ceph, Life("pve_ceph_pool", POOL, {}, {}), {"add_storages": False})
    del ceph.api.pve.storages["guests"]
    assert both(ceph, Life("pve_ceph_pool", POOL, {}, {}), {"add_storages": True})["changed"]
    assert ceph.api.pve.storages["guests"]["pool"] == "guests"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("more", [{"add_storages": True}, {"erasure_coding": "k=2,m=1"}], ids=["replicated", "coded"])
def test_a_storage_that_cannot_be_added_is_found_before_there_is_a_pool(ceph, more, check):
    """Proxmox VE adds it when the pools are there, and fails then."""
    ceph.api.pve.storages["guests"] = {"type": "dir", "path": "/srv", "content": "iso", "active": 1}
    for name, words in (("guests", "there is a storage 'guests' already"), ("2nd", "a storage of that name cannot be")):
        message = ceph.fails("pve_ceph_pool", {**POOL, **more, "name": name}, check=check)
        has(message, f"Ceph pool '{name}'", f"add_storages: {words}", "set add_storages to false")
    assert ceph.api.writes() == []
    assert ceph("pve_ceph_pool", {**POOL, **more, "add_storages": False}, check=check)["changed"]


def test_a_storage_of_another_ceph_is_not_in_the_pool(ceph):
    ceph("pve_ceph_pool", POOL)
    ceph.api.pve.storages["far"] = {"type": "rbd", "pool": "guests", "monhost": "203.0.113.1", "active": 1}
    assert ceph("pve_ceph_pool", {**POOL, "add_storages": True})["changed"]
    assert "monhost" not in ceph.api.pve.storages["guests"]


def test_what_ceph_does_not_tell_without_a_manager_is_not_written_blindly(ceph):
    wanted = {**POOL, "target_size": "500G", "size": 3}
    ceph("pve_ceph_pool", wanted)
    ceph.api.requests()
    pool = ceph.api.pve.ceph_pools["guests"]
    for key in ("autoscale_status", "target_size"):
        del pool[key]
    has(ceph.fails("pve_ceph_pool", wanted), "does not tell target_size without a manager", "pve_ceph_mgr")
    assert ceph.api.writes() == []
    nothing(ceph, Life("pve_ceph_pool", POOL, {}, {}), {"size": 3})


# ------------------------------------------------------------------------------------------------- erasure coding

CODED = {**POOL, "destroy_data": True}
CODE = {"k": 4, "m": 2, "failure-domain": "osd", "device-class": "hdd"}


@lives(
    Life(
        "pve_ceph_pool",
        CODED,
        {
            "erasure_coding": CODE,
            "size": 3,
            "min_size": 2,
            "pg_num": 64,
            "pg_autoscale_mode": "warn",
            "crush_rule": "replicated_rule",
            "target_size": "500G",
        },
        {
            "size": 4,
            "min_size": 3,
            "pg_num": 128,
            "pg_autoscale_mode": "off",
            "crush_rule": "fast",
            "target_size": "1T",
        },
        spellings=[
            {"erasure_coding": "m=2,k=4,device-class=hdd,failure-domain=osd"},
            {"add_storages": True},
            {"add_storages": False},
        ],
        removed=["target_size"],
    )
)
def test_whole_life_of_an_erasure_coded_pool(ceph, life):
    ceph.api.pve.crush_rules.append("fast")
    whole_life(ceph, life)
    assert ceph.api.pve.ceph_pools == {}
    assert list(ceph.api.pve.ec_profiles) == ["default"]


def test_an_erasure_coded_pool_is_two_for_ceph(ceph):
    made = ceph(
        "pve_ceph_pool", {**CODED, "erasure_coding": CODE, "pg_num": 64, "min_size": 1, "size": 2, "force": True}
    )
    pools = ceph.api.pve.ceph_pools
    assert [(name, pool["type"], pool["size"], pool["min_size"]) for name, pool in pools.items()] == [
        ("guests-data", "erasure", 6, 5),
        ("guests-metadata", "replicated", 2, 1),
    ]
    assert (made["pool"]["pool_name"], made["pool"]["metadata"]["pool_name"]) == tuple(pools)
    store = ceph.api.pve.storages["guests"]
    assert (store["pool"], store["data-pool"]) == ("guests-metadata", "guests-data")
    # Each is a pool of its own as well.
    has(ceph.fails("pve_ceph_pool", {**NODE, "name": "guests-data", "size": 4}), "size of an erasure coded pool")
    assert not ceph("pve_ceph_pool", {**NODE, "name": "guests-metadata", "size": 2})["changed"]
    # What another hand changed of either comes back.
    pools["guests-metadata"]["pg_autoscale_mode"] = "on"
    assert both(ceph, Life("pve_ceph_pool", POOL, {}, {}), {"pg_autoscale_mode": "warn"})["diff"] == {
        "before": {"pg_autoscale_mode": "on"},
        "after": {"pg_autoscale_mode": "warn"},
    }
    assert pools["guests-metadata"]["pg_autoscale_mode"] == "warn"


def test_defaults_of_erasure_coding(ceph):
    ceph("pve_ceph_pool", {**POOL, "erasure_coding": {"k": 2, "m": 1}, "add_storages": False})
    assert "guests" not in ceph.api.pve.storages
    assert ceph.api.pve.ceph_pools["guests-data"]["min_size"] == 2
    life = Life("pve_ceph_pool", POOL, {}, {})
    nothing(ceph, life, {"erasure_coding": "k=2,m=1,failure-domain=host"})
    nothing(ceph, life, {})


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("k=6,m=3,failure-domain=osd,device-class=hdd", ["is 'k+m=6,failure-domain=osd,device-class=hdd'", "k=6,m=3"]),
        ("k=4,m=2,device-class=hdd", ["cannot be changed to 'device-class=hdd,k=4,m=2'"]),
        ("k=4,m=2,failure-domain=osd", ["cannot be changed to 'failure-domain=osd,k=4,m=2'"]),
        ("k=4,m=2,failure-domain=osd,device-class=ssd", ["cannot be changed"]),
    ],
)
def test_how_a_pool_is_coded_never_changes(ceph, code, words, check):
    ceph("pve_ceph_pool", {**POOL, "erasure_coding": CODE})
    ceph.api.requests()
    message = ceph.fails("pve_ceph_pool", {**POOL, "erasure_coding": code}, check=check)
    has(message, "Ceph pool 'guests': erasure_coding is", "leave erasure_coding out, or give another pool", *words)
    assert ceph.api.writes() == []


@pytest.mark.parametrize("check", [True, False])
def test_a_code_that_has_more_chunks_than_there_are_places_is_warned_of(ceph, root, check):
    for letter in "bcd":
        ceph("pve_ceph_osd", {**NODE, **root, "dev": f"/dev/sd{letter}"})
    for code, words in (
        ("k=2,m=1", "wants 3 hosts with OSDs and Ceph has 1: "),
        ("k=2,m=2,failure-domain=osd", "wants 4 OSDs and Ceph has 3: "),
        ("k=2,m=1,failure-domain=osd,device-class=ssd", "wants 3 OSDs of class ssd and Ceph has 0: "),
    ):
        result = ceph("pve_ceph_pool", {**CODED, "erasure_coding": code, "add_storages": False}, check=check)
        has(str(result["warnings"]), words)
        ceph("pve_ceph_pool", {**CODED, "state": "absent"})
    enough = {**CODED, "erasure_coding": "k=2,m=1,failure-domain=osd,device-class=hdd"}
    assert "warnings" not in ceph("pve_ceph_pool", enough, check=check)


def test_a_replicated_pool_does_not_become_an_erasure_coded_one(ceph):
    ceph("pve_ceph_pool", POOL)
    has(ceph.fails("pve_ceph_pool", {**POOL, "erasure_coding": CODE}), "erasure_coding is 'None' and cannot be changed")
    assert list(ceph.api.pve.ceph_pools) == ["guests"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("other", ["guests-data", "guests-metadata"])
def test_a_pool_of_somebody_else_does_not_become_a_part_of_one(ceph, other, check):
    """Ceph takes a pool that is there for the one that it is to make."""
    ceph("pve_ceph_pool", {**NODE, "name": other})
    ceph.api.requests()
    message = ceph.fails("pve_ceph_pool", {**POOL, "erasure_coding": CODE}, check=check)
    has(message, f"there is a pool '{other}' already", "choose another name")
    assert ceph.api.writes() == []
    # And it does not go with one.
    assert not ceph("pve_ceph_pool", {**CODED, "state": "absent"})["changed"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("k=1,m=1", ["erasure_coding: k: 1 is out of range", "at least 2"]),
        ("k=4", ["erasure_coding: 'm' is missing"]),
        ("k=4,m=2,domain=osd", ["erasure_coding: unknown key 'domain'", "did you mean 'failure-domain'"]),
        ("k=2,m=2,profile=default,device-class=ssd", ["device-class does not go together with profile"]),
    ],
)
def test_erasure_coding_that_cannot_be_is_refused(ceph, code, words):
    has(ceph.fails("pve_ceph_pool", {**POOL, "erasure_coding": code}), *words)
    assert ceph.api.writes() == []


def test_an_erasure_code_profile_that_was_there_before_stays(ceph):
    wanted = {**CODED, "erasure_coding": "k=2,m=2,profile=default", "remove_ecprofile": False}
    assert ceph("pve_ceph_pool", wanted)["changed"]
    nothing(ceph, Life("pve_ceph_pool", wanted, {}, {}), {})
    has(
        ceph.fails("pve_ceph_pool", {**wanted, "erasure_coding": "k=4,m=2,profile=default"}),
        "is 'k+m=4,failure-domain=h",
    )
    has(
        ceph.fails("pve_ceph_pool", {**wanted, "name": "other", "erasure_coding": "k=2,m=1,profile=x"}),
        "'x' does not exist",
    )
    ceph("pve_ceph_pool", {**wanted, "state": "absent"})
    assert list(ceph.api.pve.ec_profiles) == ["default"]


def test_both_pools_go_with_their_storage(ceph):
    ceph("pve_ceph_pool", {**POOL, "erasure_coding": CODE})
    gone = {**POOL, "state": "absent", "remove_storages": True}
    has(ceph.fails("pve_ceph_pool", gone), "destroys the pools 'guests-data' and 'guests-metadata' with everything")
    ceph("pve_ceph_pool", {**gone, "destroy_data": True})
    assert (ceph.api.pve.ceph_pools, "guests" in ceph.api.pve.storages) == ({}, False)


def test_the_second_pool_goes_although_the_answer_about_it_was_lost(ceph):
    ceph("pve_ceph_pool", {**POOL, "erasure_coding": CODE})
    answer, lost = ceph.api.pve.answer, []

    async def cut(request, *args):
        if request.method == "DELETE" and request.path.endswith("guests-metadata") and not lost:
            lost.append(request.path)
            raise PveError(596, "Connection timed out")
        return await answer(request, *args)

    ceph.api.pve.answer = cut
    assert ceph("pve_ceph_pool", {**CODED, "state": "absent"})["changed"]
    assert lost
    assert ceph.api.pve.ceph_pools == {}


@pytest.mark.parametrize("check", [True, False])
def test_a_pool_goes_only_with_consent(ceph, check):
    ceph("pve_ceph_pool", {**POOL, "add_storages": True})
    ceph.api.requests()
    gone = {**POOL, "state": "absent"}
    has(ceph.fails("pve_ceph_pool", gone, check=check), "Ceph pool 'guests'", "destroy_data")
    assert ceph.api.writes() == []
    ceph("pve_ceph_pool", {**gone, "destroy_data": True, "remove_storages": True})
    assert "guests" not in ceph.api.pve.storages
    assert "guests" not in ceph.api.pve.ceph_pools


def test_a_pool_changed_by_another_hand_is_brought_back(ceph):
    wanted = {**POOL, "size": 3, "min_size": 2, "pg_autoscale_mode": "on"}
    ceph("pve_ceph_pool", wanted)
    ceph.api.pve.ceph_pools["guests"].update(size=2, min_size=1, pg_autoscale_mode="off", target_size=5)
    result = ceph("pve_ceph_pool", wanted)
    assert result["diff"]["before"] == {"min_size": 1, "pg_autoscale_mode": "off", "size": 2}
    assert ceph.api.pve.ceph_pools["guests"]["target_size"] == 5


def test_a_task_that_fails_is_quoted(ceph):
    ceph.api.pve.plan_task("cephcreatepool", error="mon_command failed - pg_num 128 size 3 would mean 384 total pgs")
    has(ceph.fails("pve_ceph_pool", POOL), "Ceph pool 'guests'", "would mean 384 total pgs")


def test_an_answer_that_is_lost_is_not_asked_twice(ceph):
    answer = ceph.api.pve.answer

    async def cut(request, *args):
        result = await answer(request, *args)
        if request.method == "POST":
            request.transport.close()
        return result

    ceph.api.pve.answer = cut
    ceph.api.pve.time_scale = 0.5
    assert ceph("pve_ceph_pool", POOL)["changed"]
    assert [task["exitstatus"] for task in ceph.api.pve.tasklog if task["type"] == "cephcreatepool"] == ["OK"]


# ---------------------------------------------------------------------------------------------------- file systems


def test_a_file_system_is_made_once(servers):
    wanted = {**SYSTEM, "pg_num": 64, "add_storage": True}
    life = Life("pve_ceph_fs", SYSTEM, wanted, {})
    made = both(servers, life, wanted)
    assert made["changed"]
    assert made["file_system"]["metadata_pool"] == "files_metadata"
    # The groups of its pools are no matter of the file system afterwards.
    for options in (wanted, {}, {"pg_num": 128}, {"add_storage": False}):
        nothing(servers, life, options)
    del servers.api.pve.storages["files"]
    assert both(servers, life, {"add_storage": True})["changed"]
    assert servers.api.pve.storages["files"]["fs-name"] == "files"


def test_a_file_system_needs_a_metadata_server_that_stands_by(ceph):
    message = ceph.fails("pve_ceph_fs", SYSTEM)
    has(message, "file system 'files'", "none runs", "pve_ceph_mds")
    # In check mode it may be made in the same run.
    has(str(ceph("pve_ceph_fs", SYSTEM, check=True)["warnings"]), "none runs")
    ceph("pve_ceph_mds", NODE)
    ceph("pve_ceph_fs", {**NODE, "pg_num": 8})
    assert list(ceph.api.pve.ceph_systems) == ["cephfs"]
    has(ceph.fails("pve_ceph_fs", SYSTEM), "all that run serve other file systems")


@pytest.mark.parametrize("check", [True, False])
def test_a_file_system_goes_only_with_consent(servers, check):
    servers("pve_ceph_fs", {**SYSTEM, "add_storage": True})
    servers.api.requests()
    gone = {**SYSTEM, "state": "absent"}
    has(servers.fails("pve_ceph_fs", gone, check=check), "file system 'files'", "destroy_data")
    assert servers.api.writes() == []
    agreed = {**gone, "destroy_data": True, "remove_pools": True, "remove_storages": True}
    message = servers.fails("pve_ceph_fs", agreed, check=check)
    has(message, "metadata server pve1 on node 'pve1' serves it", "pve_ceph_mds with running false and force true")
    has(message, "storage 'files' is in use: disable it (pve_storage)")
    assert servers.api.writes() == []
    servers.api.pve.storages["files"]["disable"] = 1
    for name in ("pve1", "second"):
        servers("pve_ceph_mds", {**NODE, "name": name, "running": False, "force": True})
    assert servers("pve_ceph_fs", agreed, check=check)["changed"]
    assert servers("pve_ceph_fs", agreed)["changed"] == check
    assert not servers("pve_ceph_fs", agreed)["changed"]
    assert (servers.api.pve.ceph_pools, "files" in servers.api.pve.storages) == ({}, False)


@pytest.mark.parametrize("check", [True, False])
def test_what_stands_in_the_way_of_a_file_system_is_found_in_check_mode_too(servers, check):
    servers("pve_ceph_pool", {**NODE, "name": "files_data"})
    servers.api.pve.storages["files"] = {"type": "dir", "path": "/srv", "content": "iso", "active": 1}
    servers.api.requests()
    message = servers.fails("pve_ceph_fs", {**SYSTEM, "add_storage": True}, check=check)
    has(message, "there is a pool 'files_data' already", "there is a storage 'files' already", "choose another name")
    assert servers.api.writes() == []


def test_a_storage_without_a_name_has_the_first_file_system(servers):
    servers("pve_ceph_fs", NODE)
    servers("pve_ceph_fs", SYSTEM)
    servers.api.pve.storages["shared"] = {"type": "cephfs", "content": "iso", "active": 1}
    servers.api.pve.storages["far"] = {"type": "cephfs", "fs-name": "files", "monhost": "203.0.113.1", "active": 1}
    assert not servers("pve_ceph_fs", {**NODE, "add_storage": True})["changed"]
    assert servers("pve_ceph_fs", {**SYSTEM, "add_storage": True})["changed"]
    assert "files" in servers.api.pve.storages


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "a/b"}, ["is not a name of a file system"]),
        ({"pg_num": 4}, ["pg_num", "at least 8"]),
    ],
)
def test_a_file_system_that_cannot_be_is_refused_before_the_first_write(servers, options, words):
    servers.api.requests()
    has(servers.fails("pve_ceph_fs", {**SYSTEM, **options}), *words)
    assert servers.api.writes() == []


# ------------------------------------------------------------------------------------------------- least privilege


@lives(
    Life("pve_ceph_mon", {**NODE, "monid": "second"}, {}, {}),
    Life("pve_ceph_mgr", {**NODE, "id": "second"}, {}, {}),
    Life("pve_ceph_mds", {**NODE, "name": "second"}, {}, {}),
    Life("pve_ceph_pool", {**POOL, "destroy_data": True}, {"size": 3}, {"size": 4}),
)
def test_least_privilege(ceph, life):
    whole_life(ceph, limited(ceph, life, Sys_Modify="/", Sys_Audit="/"))
    without = limited(ceph, life, Sys_Audit="/")
    has(ceph.fails(life.module, without.ident), "Sys.Modify", "grant 'limited@pve'")


def test_least_privilege_of_what_is_made_once(installed):
    allowed = {"Sys_Modify": "/", "Sys_Audit": "/", "Datastore_Allocate": "/storage", "Datastore_Audit": "/storage"}
    init = Life("pve_ceph_init", NODE, {}, {})
    has(installed.fails("pve_ceph_init", limited(installed, init, Sys_Audit="/").ident), "Sys.Modify")
    assert installed("pve_ceph_init", limited(installed, init, **allowed).ident)["changed"]
    for module in ("pve_ceph_mon", "pve_ceph_mds"):
        installed(module, NODE)
    system = Life("pve_ceph_fs", {**SYSTEM, "add_storage": True}, {}, {})
    pool = Life("pve_ceph_pool", {**POOL, "add_storages": True}, {}, {})
    for life in (system, pool):
        assert installed(life.module, limited(installed, life, **allowed).ident)["changed"]
        assert not installed(life.module, limited(installed, life, **allowed).ident)["changed"]


def test_reading_is_enough_to_find_that_a_disk_is_an_osd(ceph, root):
    ceph("pve_ceph_osd", {**DISK, **root, "db_dev": "/dev/sdc"})
    reader = limited(ceph, Life("pve_ceph_osd", {**DISK, "db_dev": "/dev/sdc"}, {}, {}), Sys_Audit="/")
    assert not ceph("pve_ceph_osd", reader.ident)["changed"]
