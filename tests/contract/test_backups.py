# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that are made now."""

from __future__ import annotations

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, Unreachable

from tests.contract.life import Life, limited

BACKUP = {"vmid": 100, "storage": "local"}


@pytest.fixture(autouse=True)
def guest(run, container):
    run.fleet(container(100, hostname="web"))
    run.api.requests()


def test_a_backup_is_made_and_its_archive_returned(run, api):
    predicted = run("pve_backup", {**BACKUP, "compress": "zstd"}, check=True)
    assert api.writes() == []
    result = run("pve_backup", {**BACKUP, "compress": "zstd", "notes_template": "{{guestname}} x", "protected": True})
    assert predicted["changed"]
    assert result["changed"]
    assert predicted["diff"] == result["diff"]
    assert predicted["node"] == result["node"] == "pve1"
    assert result["archive"].startswith("local:backup/vzdump-lxc-100-")
    assert result["archive"].endswith(".tar.zst")
    assert result["size"] == api.pve.archive_size
    assert result["log"][-1] == "TASK OK"
    volume = api.pve.storages["local"]["volumes"][result["archive"].removeprefix("local:")]
    assert (volume["notes"], volume["protected"]) == ("web x", 1)


def test_a_backup_needs_the_privileges_that_are_documented_and_no_others(run):
    needed = {"VM_Backup": "/vms/100", "VM_Audit": "/vms/100", "Datastore_AllocateSpace": "/storage/local"}
    life = Life("pve_backup", BACKUP, {}, {})
    assert run("pve_backup", limited(run, life, **needed).ident)["archive"]
    for privilege in needed:
        fewer = limited(run, life, **{name: path for name, path in needed.items() if name != privilege})
        assert run.fails("pve_backup", fewer.ident)
    for options, privilege, path in (
        ({"prune_backups": "keep-last=2"}, "Datastore_Allocate", "/storage/local"),
        ({"bwlimit": 9, "ionice": 8, "performance": "max-workers=4"}, "Sys_Modify", "/"),
        ({"fleecing": "enabled=1,storage=local-lvm"}, "Datastore_AllocateSpace", "/storage"),
    ):
        message = run.fails("pve_backup", {**limited(run, life, **needed).ident, **options})
        assert privilege.replace("_", ".") in message
        assert "the missing privilege" in message
        assert run("pve_backup", {**limited(run, life, **{**needed, privilege: path}).ident, **options})["archive"]


def test_the_archive_of_this_run_is_returned_and_no_other(run, api):
    for stamp in ("2020_01_01-00_00_00", "2099_01_01-00_00_00"):
        api.pve.store_file("local", f"vzdump-lxc-100-{stamp}.tar", 1, "backup")
        api.pve.storages["local"]["volumes"][f"backup/vzdump-lxc-100-{stamp}.tar"]["vmid"] = 100
    result = run("pve_backup", BACKUP)
    assert result["size"] == api.pve.archive_size
    assert "2020_" not in result["archive"]
    assert "2099_" not in result["archive"]


def test_every_option_is_sent_as_the_api_takes_it(run, api):
    run(
        "pve_backup",
        {
            **BACKUP,
            "mode": "stop",
            "compress": "gzip",
            "zstd": 0,
            "remove": False,
            "prune_backups": {"keep-last": 2},
            "fleecing": {"enabled": True, "storage": "local-lvm"},
            "performance": {"max-workers": 4},
            "bwlimit": 0,
            "ionice": 8,
            "pbs_change_detection_mode": "data",
            "exclude_path": ["/tmp/?*"],
            "stdexcludes": True,
            "notification_mode": "auto",
        },
    )
    assert api.writes()[0].params == {
        "vmid": "100",
        "storage": "local",
        "mode": "stop",
        "compress": "gzip",
        "zstd": "0",
        "remove": "0",
        "prune-backups": "keep-last=2",
        "fleecing": "enabled=1,storage=local-lvm",
        "performance": "max-workers=4",
        "bwlimit": "0",
        "ionice": "8",
        "pbs-change-detection-mode": "data",
        "exclude-path": "/tmp/?*",
        "stdexcludes": "1",
        "notification-mode": "auto",
    }


def test_trap_a_backup_that_fails_at_once_says_why(run, api):
    api.pve.plan_task("vzdump", error="job errors", log=["ERROR: Backup of VM 100 failed - no space left on device"])
    message = run.fails("pve_backup", BACKUP)
    assert "backup of guest 100: the task failed: job errors" in message
    assert "no space left on device" in message


def test_trap_a_backup_with_warnings_is_a_backup(run, api):
    api.pve.plan_task("vzdump", warnings=1, log=["WARN: the guest agent does not answer"])
    result = run("pve_backup", BACKUP)
    assert result["archive"]
    assert "the guest agent does not answer" in str(result["warnings"])


def test_a_backup_that_is_pruned_at_once_is_told(run, api):
    volumes = api.pve._volumes
    api.pve._volumes = lambda name: {key: item for key, item in volumes(name).items() if item["content"] != "backup"}
    assert "does not show its archive" in run.fails("pve_backup", BACKUP)


def test_a_guest_that_moves_away_meanwhile_is_not_taken_for_backed_up(run, monkeypatch):
    """The node that it was on answers OK and makes nothing."""
    monkeypatch.setattr(Client, "post", lambda self, path, /, **data: "OK")
    message = run.fails("pve_backup", BACKUP)
    assert "backup of guest 100: node 'pve1' made none, as the guest has left it meanwhile: run again" in message


@pytest.mark.parametrize("begun", [True, False])
def test_an_answer_that_is_lost_makes_no_second_backup(run, api, monkeypatch, begun):
    real, lost = Client.post, []

    def losing(self, path, /, **data):
        if lost:
            return real(self, path, **data)
        lost.append(path)
        if begun:
            real(self, path, **data)
        raise Unreachable("The connection broke.")

    monkeypatch.setattr(Client, "post", losing)
    result = run("pve_backup", BACKUP)
    made = [name for name in api.pve.storages["local"]["volumes"] if name.startswith("backup/")]
    assert [f"local:{name}" for name in made] == [result["archive"]]
    assert len([request for request in api.writes() if request.path.endswith("/vzdump")]) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vmid": 900}, "backup of guest 900: there is no such guest"),
        (
            {"storage": "nosuch"},
            "backup of guest 100: storage 'nosuch' holds no backups on node 'pve1', choose of local",
        ),
        ({"storage": "local-lvm"}, "storage 'local-lvm' holds no backups on node 'pve1'"),
        ({"prune_backups": "keep-all=1,keep-last=1"}, "prune_backups: 'keep-all' keeps every backup"),
        ({"performance": "max-workers=0"}, "performance: max-workers: 0 is out of range"),
    ],
)
def test_bad_input_is_refused_before_the_first_write(run, api, options, words):
    assert words in run.fails("pve_backup", {**BACKUP, **options})
    assert api.writes() == []


@pytest.mark.parametrize("options", [{"vmid": 900}, {"storage": "nosuch"}])
def test_what_is_not_there_yet_is_no_error_in_check_mode(run, options):
    result = run("pve_backup", {**BACKUP, **options}, check=True)
    assert result["changed"]
    assert "there is no such guest" in str(result["warnings"]) or "'nosuch' holds no" in str(result["warnings"])


def test_a_storage_that_is_not_online_is_refused(run, api):
    api.pve.storages["local"]["active"] = 0
    assert "storage 'local' is not online on node 'pve1'" in run.fails("pve_backup", BACKUP)
    assert api.writes() == []
