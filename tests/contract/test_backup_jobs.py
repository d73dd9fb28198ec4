# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that back guests up."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.contract.life import Life, both, limited, lives, nothing, whole_life
from tests.contract.running import Run
from tests.contract.serving import Api

JOB = {"id": "nightly", "schedule": "02:30", "storage": "local", "vmid": ["101", "100"]}
LIFE = Life(
    "pve_backup_job",
    {"id": "nightly"},
    {**JOB, "prune_backups": "keep-last=2", "fleecing": "enabled=1,storage=local", "mailto": ["b@x.test", "a@x.test"]},
    {
        "schedule": "sat 03:00",
        "vmid": ["100", "102"],
        "node": "pve1",
        "enabled": False,
        "comment": "all but é",
        "repeat_missed": True,
        "mode": "stop",
        "compress": "zstd",
        "prune_backups": {"keep-daily": 7, "keep-weekly": "4"},
        "remove": False,
        "protected": True,
        "notes_template": "{{guestname}}",
        "notification_mode": "notification-system",
        "mailto": ["root@pam"],
        "mailnotification": "failure",
        "fleecing": {"enabled": False},
        "performance": "max-workers=4,pbs-entries-max=1048576",
        "bwlimit": 100,
        "ionice": 8,
        "lockwait": 10,
        "stopwait": 5,
        "pigz": 1,
        "zstd": 4,
        "pbs_change_detection_mode": "metadata",
        "exclude_path": ["/tmp/?*", "/var/a, b"],
        "stdexcludes": False,
        "storage": "backups",
    },
    spellings=[
        {"vmid": ["100", "101"]},
        {"vmid": "100,101"},
        {"prune_backups": {"keep-last": 2, "keep-daily": 0}},
        {"fleecing": {"storage": "local", "enabled": "yes"}},
        {"mailto": "a@x.test;b@x.test"},
        {"enabled": True, "repeat_missed": False, "all": False},
    ],
    removed=["comment", "prune_backups", "fleecing", "performance", "mailto", "node", "notes_template", "exclude_path"],
)


@pytest.fixture
def job(api: Api, run: Run) -> dict[str, Any]:
    """A job as it is stored, for another administrator to edit."""
    run("pve_backup_job", JOB)
    return api.pve.area("/cluster/backup")["nightly"]


@lives(LIFE)
def test_whole_life(run, life):
    run.api.pve.storages["backups"] = {"type": "dir", "path": "/srv/backups", "content": "backup", "active": 1}
    whole_life(run, life)


@lives(LIFE)
def test_whole_life_with_no_more_privileges_than_are_documented(run, life):
    run.api.pve.storages["backups"] = {"type": "dir", "path": "/srv/backups", "content": "backup", "active": 1}
    privileges = {
        "Sys_Audit": "/",
        "Sys_Modify": "/",
        "Datastore_Allocate": "/storage",
        "Datastore_AllocateSpace": "/storage",
    }
    whole_life(run, limited(run, life, **privileges))
    for privilege in privileges:
        fewer = limited(run, life, **{name: path for name, path in privileges.items() if name != privilege})
        assert "privilege" in run.fails(life.module, {**fewer.ident, **life.created})


ROOT_ONLY = {"tmpdir": "/var/tmp/backup", "dumpdir": "/srv/dump", "script": "/usr/local/bin/hook"}


def test_what_root_alone_may_set(run, api):
    """Also what it takes to remove it, and everything else of a job with a directory of its own."""
    root = {"api_password": api.pve.password, "api_token_id": None, "api_token_secret": None}
    for option, value in ROOT_ONLY.items():
        run("pve_backup_job", {**JOB, **root})
        api.requests()
        for check in (True, False):
            message = run.fails("pve_backup_job", {**JOB, option: value}, check=check)
            assert f"backup job 'nightly': Proxmox VE lets root@pam alone set {option} of a job" in message
            assert "api_backend 'local'" in message
        assert api.writes() == []
        assert run("pve_backup_job", {**JOB, **root, option: value})["changed"]
        assert not run("pve_backup_job", {**JOB, option: value})["changed"]
        assert f"set {option} of a job" in run.fails("pve_backup_job", {**JOB, option: ""})
        if option == "dumpdir":
            assert "alone change a job with a dumpdir" in run.fails("pve_backup_job", {**JOB, "comment": "x"})
        assert run("pve_backup_job", {**JOB, **root, option: ""})["changed"]
        assert not run("pve_backup_job", {**JOB, option: ""})["changed"]


def test_trap_backup_jobs_are_created_with_schedule_and_retention(run):
    """The peer's module can only edit a job, and knows no schedule and no retention."""
    result = run("pve_backup_job", {**JOB, "prune_backups": {"keep-last": 3}})
    assert result["action"] == "create"
    assert result["backup_job"]["schedule"] == "02:30"
    assert result["backup_job"]["prune-backups"] == {"keep-last": "3"}


@pytest.mark.parametrize(
    ("chosen", "gone"),
    [
        ({"all": True, "exclude": ["900"]}, {"vmid": ["100", "101"]}),
        ({"pool": "prod"}, {"vmid": ["100", "101"]}),
    ],
)
def test_one_selection_takes_the_place_of_another_and_back(run, job, chosen, gone):
    run.api.pve.pools["prod"] = set()
    life = Life("pve_backup_job", {"id": "nightly"}, JOB, {})
    result = both(run, life, chosen)
    assert result["diff"]["before"].items() >= gone.items()
    assert set(gone) & set(result["diff"]["after"]) == set()
    nothing(run, life, chosen)
    both(run, life, {"vmid": JOB["vmid"]})
    nothing(run, life, JOB)
    assert {"all", "exclude", "pool"} & set(run.api.pve.area("/cluster/backup")["nightly"]) == set()


def test_what_another_administrator_changed_comes_back(run, api, job):
    job.update({"prune-backups": "keep-last=1", "comment": "mine", "schedule": "daily"})
    result = run("pve_backup_job", {**JOB, "prune_backups": "keep-last=5"})
    assert result["diff"]["before"] == {"prune_backups": "keep-last=1", "schedule": "daily"}
    assert api.pve.area("/cluster/backup")["nightly"]["comment"] == "mine"


def test_what_vzdump_conf_may_say_is_written_to_the_job(run, job):
    assert run("pve_backup_job", {"id": "nightly", "mode": "snapshot"})["changed"]
    assert not run("pve_backup_job", {"id": "nightly", "mode": "snapshot"})["changed"]


def test_notes_are_sent_together_with_the_storage(run, api, job):
    api.requests()
    run("pve_backup_job", {"id": "nightly", "notes_template": "{{guestname}}"})
    assert api.writes()[0].params == {"notes-template": "{{guestname}}", "storage": "local"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": "new", "vmid": ["100"]}, ["backup job 'new'", "schedule is missing"]),
        ({"id": "new", "schedule": "daily"}, ["backup job 'new'", "give vmid, pool or all"]),
        ({**JOB, "vmid": ["100"], "all": True}, ["vmid and all exclude each other"]),
        ({**JOB, "vmid": []}, ["no guest is selected"]),
        ({**JOB, "exclude": ["900"]}, ["set all to true"]),
        ({**JOB, "vmid": ["web"]}, ["vmid: 'web' is not the ID of a guest"]),
        ({**JOB, "schedule": "at noon"}, ["schedule: 'at noon' is not a calendar event such as 'sat 03:00'"]),
        ({**JOB, "schedule": ""}, ["schedule is empty"]),
        ({**JOB, "storage": "nosuch"}, ["storage 'nosuch' does not exist", "pve_storage"]),
        ({**JOB, "storage": "local-lvm"}, ["storage 'local-lvm' holds no backups"]),
        ({**JOB, "storage": None, "notes_template": "x"}, ["notes_template needs a storage"]),
        ({**JOB, "prune_backups": "keep-first=1"}, ["prune_backups: unknown key 'keep-first'"]),
        ({**JOB, "prune_backups": "keep-all=1,keep-last=1"}, ["prune_backups: 'keep-all' keeps every backup"]),
        ({**JOB, "fleecing": {"enabled": True}}, ["fleecing: 'storage' is missing"]),
        ({**JOB, "notes_template": "two\nlines"}, ["notes_template", "one line", "write \\n for a new line"]),
        ({**JOB, "notes_template": "100\\%"}, ["notes_template: '\\%' means nothing", "write '\\\\' for a backslash"]),
        ({**JOB, "id": "my job"}, ["backup job 'my job'", "no name of letters, digits, dashes and underscores"]),
        ({**JOB, "performance": "max-workers=0"}, ["max-workers: 0 is out of range, it must be at least 1"]),
    ],
)
def test_bad_input_is_refused_before_the_first_write(run, api, options, words):
    message = run.fails("pve_backup_job", options)
    assert all(word in message for word in words), message
    assert api.writes() == []


def test_a_storage_that_is_not_there_yet_is_no_error_in_check_mode(run):
    result = run("pve_backup_job", {**JOB, "storage": "nosuch"}, check=True)
    assert "storage 'nosuch' does not exist" in str(result["warnings"])


@pytest.mark.parametrize(("kept", "means"), [(3, {"keep-last": 3}), (0, {"keep-all": True})])
def test_what_8_has_from_before_there_was_a_retention(run, api, kept, means):
    """A job that was never changed since says maxfiles, and refuses prune-backups beside it."""
    api.pve.version = "8.4.14"
    run("pve_backup_job", JOB)
    job = api.pve.area("/cluster/backup")["nightly"]
    job["maxfiles"] = kept
    life = Life("pve_backup_job", {"id": "nightly"}, {}, {})
    nothing(run, life, {"prune_backups": means})
    result = both(run, life, {"prune_backups": {"keep-daily": 7}})
    assert result["diff"]["before"] == {"prune_backups": "keep-last=3" if kept else "keep-all=1"}
    assert api.pve.area("/cluster/backup")["nightly"]["prune-backups"] == "keep-daily=7"
    assert "maxfiles" not in api.pve.area("/cluster/backup")["nightly"]
    api.pve.area("/cluster/backup")["nightly"].update({"maxfiles": kept})
    del api.pve.area("/cluster/backup")["nightly"]["prune-backups"]
    assert warned(run("pve_backup_job", {**JOB, "id": "weekly", "prune_backups": {"keep-last": 4}}))
    both(run, life, {"prune_backups": ""})
    nothing(run, life, {"prune_backups": ""})


# ----------------------------------------------------------------------------- one policy for each storage

WARNING = "pruning counts all backups of a guest on a storage"


def warned(result: dict[str, Any]) -> bool:
    return WARNING in str(result.get("warnings"))


def test_trap_two_policies_on_one_storage_delete_each_others_backups(run):
    run("pve_backup_job", {**JOB, "prune_backups": "keep-daily=7"})
    weekly = {**JOB, "id": "weekly", "schedule": "sat 03:00", "prune_backups": {"keep-weekly": 4}}
    for check in (True, False, False):
        result = run("pve_backup_job", weekly, check=check)
        assert warned(result), result
        told = "backup job 'weekly' keeps keep-weekly=4 on storage 'local' and the job 'nightly' keep-daily=7"
        assert told in str(result["warnings"])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"prune_backups": {"keep-daily": "7", "keep-last": 0}}, False),
        ({"prune_backups": {"keep-daily": 6}}, True),
        ({"prune_backups": {"keep-daily": 6}, "storage": "backups"}, False),
        ({"prune_backups": {"keep-daily": 6}, "enabled": False}, False),
        ({"prune_backups": {"keep-daily": 6}, "vmid": ["200"]}, False),
        ({"prune_backups": {"keep-daily": 6}, "vmid": None, "all": True}, True),
        ({"prune_backups": {"keep-daily": 6}, "vmid": None, "all": True, "exclude": ["100", "101"]}, False),
        ({}, True),
        ({"storage": "backups"}, False),
    ],
)
def test_the_warning_is_given_when_it_is_true(run, api, other, told):
    api.pve.storages["backups"] = {"type": "dir", "path": "/srv/backups", "content": "backup", "active": 1}
    run("pve_backup_job", {**JOB, "prune_backups": "keep-daily=7"})
    assert warned(run("pve_backup_job", {**JOB, "id": "weekly", **other})) == told


def test_many_rivals_take_no_more_requests(run, api):
    run("pve_backup_job", {**JOB, "prune_backups": "keep-daily=7"})
    for name in ("one", "two", "three", "four"):
        run("pve_backup_job", {**JOB, "id": name})
    nothing(run, Life("pve_backup_job", {"id": "nightly"}, {}, {}), {})


def test_a_job_without_a_policy_has_that_of_its_storage(run, api):
    api.pve.storages["local"]["prune-backups"] = "keep-daily=7"
    run("pve_backup_job", {**JOB, "prune_backups": "keep-daily=7"})
    assert not warned(run("pve_backup_job", {**JOB, "id": "weekly"}))


# --------------------------------------------------------------------------- any configuration to any other

text = st.text("abcdefghijklmnop é&=%+,;", max_size=12).map(str.strip)
guest_ids = st.lists(st.integers(100, 120).map(str), min_size=1, max_size=4, unique=True)
retention = st.dictionaries(st.sampled_from(["keep-last", "keep-daily", "keep-weekly"]), st.integers(0, 9))
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "enabled": st.booleans(),
    "comment": text,
    "repeat_missed": st.booleans(),
    "mode": st.sampled_from(["snapshot", "suspend", "stop"]),
    "compress": st.sampled_from(["0", "gzip", "lzo", "zstd"]),
    "prune_backups": retention | st.just("") | st.just({"keep-all": True}),
    "remove": st.booleans(),
    "protected": st.booleans(),
    "notes_template": text,
    "notification_mode": st.sampled_from(["auto", "legacy-sendmail", "notification-system"]),
    "mailto": st.lists(st.sampled_from(["a@x.test", "b@x.test", "root@pam"]), unique=True),
    "fleecing": st.fixed_dictionaries({"storage": st.just("local-lvm")}, optional={"enabled": st.booleans()})
    | st.just({"enabled": False}),
    "performance": st.fixed_dictionaries({}, optional={"max-workers": st.integers(1, 256)}),
    "bwlimit": st.integers(0, 10**6),
    "ionice": st.integers(0, 8),
    "exclude_path": st.lists(st.sampled_from(["/tmp/?*", "*.iso", "/var/a, b"]), unique=True),
    "stdexcludes": st.booleans(),
}
SELECTED = st.one_of(
    guest_ids.map(lambda ids: {"vmid": ids}),
    st.lists(st.integers(100, 120).map(str), max_size=3, unique=True).map(lambda ids: {"all": True, "exclude": ids}),
    st.just({"pool": "prod"}),
)
CONFIGURATION = st.tuples(
    st.fixed_dictionaries({"schedule": st.sampled_from(["daily", "02:30", "sat 03:00"])}, optional=OPTIONS), SELECTED
).map(lambda parts: {**parts[0], **parts[1], "storage": "local"})


@pytest.fixture(scope="module")
def shared() -> Api:
    directory = Path(tempfile.mkdtemp())
    api = Api(directory)
    api.pve.pools["prod"] = set()
    yield api
    api.stop()
    shutil.rmtree(directory)


@settings(
    phases=[Phase.generate],
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(before=CONFIGURATION, after=CONFIGURATION)
def test_any_configuration_to_any_other(shared, before, after):
    run, life = Run(shared), Life("pve_backup_job", {"id": "any"}, {}, {})
    shared.pve.area("/cluster/backup").clear()
    run(life.module, {"id": "any", **before})
    both(run, life, after)
    nothing(run, life, after)
    stored = shared.pve.area("/cluster/backup")["any"]
    assert [key for key in ("vmid", "all", "pool") if stored.get(key)] == [
        key for key in ("vmid", "all", "pool") if key in after
    ]
    for key in ("mode", "compress", "bwlimit", "ionice", "schedule"):
        if key in after:
            assert str(stored[key]) == str(after[key])
