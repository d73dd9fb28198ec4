# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of storages."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.contract.life import Life, both, limited, nothing, whole_life
from tests.contract.running import Run
from tests.contract.serving import Api

PRINT = ":".join(["ab"] * 32)
SECRET = "Correct-Horse-7"
DIR = {"type": "dir", "path": "/srv/d1"}
FILES = {
    "content": ["iso", "images"],
    "nodes": ["pve1", "pve2"],
    "disable": True,
    "create_base_path": False,
    "create_subdirs": False,
    "format": "qcow2",
    "prune_backups": {"keep-last": 3, "keep-daily": "7"},
    "max_protected_backups": 5,
}
IMAGES = {
    **FILES,
    "content_dirs": "iso=isos,backup=bk",
    "preallocation": "off",
    "bwlimit": {"restore": 100, "clone": 50.5},
}


def life(kind: str, created: dict[str, Any], changes: dict[str, Any], **more: Any) -> Life:
    return Life("pve_storage", {"storage": f"{kind}1"}, {"type": kind, **created}, changes, **more)


LIVES = [
    life(
        "dir",
        {**DIR, "content": ["iso", "backup", "images"], "nodes": ["pve2", "pve1"], "prune_backups": "keep-last=2"},
        {**IMAGES, "nodes": ["pve1"], "shared": True, "is_mountpoint": "yes"},
        spellings=[
            {"content": ["images", "iso", "backup"]},
            {"content": "backup,iso,images"},
            {"nodes": "pve1 pve2"},
            {"prune_backups": {"keep-last": "2", "keep-weekly": 0}},
            {"is_mountpoint": False, "shared": False, "disable": False, "format": "raw", "preallocation": "metadata"},
            {"create_base_path": True, "create_subdirs": True},
        ],
        removed=["nodes", "prune_backups", "content_dirs", "bwlimit"],
    ),
    life(
        "btrfs",
        {"path": "/srv/b"},
        {**FILES, "preallocation": "off", "shared": True, "is_mountpoint": "/srv", "nocow": True},
    ),
    life(
        "nfs",
        {"server": "192.0.2.9", "export": "/e", "content": ["backup"]},
        {**IMAGES, "options": "vers=4.2,hard"},
        removed=["options", "nodes"],
    ),
    life(
        "cifs",
        {"server": "192.0.2.9", "share": "s", "username": "u", "password": SECRET},
        {**IMAGES, "username": "v", "domain": "LAB", "smbversion": "3.11", "subdir": "/pve", "options": "noserverino"},
        spellings=[{"smbversion": "default"}],
        removed=["domain", "subdir"],
    ),
    life(
        "cephfs",
        {"content": ["backup"], "monhost": ["192.0.2.1", "192.0.2.2"], "keyring": SECRET},
        {
            **{key: value for key, value in FILES.items() if key != "content"},
            "content": ["iso"],
            "content_dirs": {"iso": "isos"},
            "bwlimit": "default=10",
            "options": "noatime",
            "subdir": "/pve",
            "username": "pve",
            "monhost": ["192.0.2.3"],
            "fs_name": "fs2",
            "fuse": True,
        },
        spellings=[{"monhost": "192.0.2.2,192.0.2.1"}, {"fuse": False}],
        removed=["fs_name", "monhost"],
    ),
    life(
        "lvm",
        {"vgname": "vg0"},
        {
            "content": ["images", "rootdir"],
            "nodes": ["pve1"],
            "disable": True,
            "shared": True,
            "bwlimit": "move=10",
            "saferemove": True,
            "saferemove_throughput": "10485760",
            "saferemove_stepsize": 8,
            "tagged_only": True,
            "snapshot_as_volume_chain": True,
        },
        spellings=[{"saferemove_stepsize": 32, "tagged_only": False, "saferemove": False}],
        removed=["saferemove_throughput"],
    ),
    life(
        "lvmthin",
        {"vgname": "vg0", "thinpool": "data"},
        {"content": ["images"], "nodes": ["pve1"], "disable": True, "bwlimit": "move=10"},
        spellings=[{"content": ["rootdir", "images"]}],
    ),
    life(
        "zfspool",
        {"pool": "rpool/data"},
        {
            "content": ["images"],
            "nodes": ["pve1"],
            "disable": True,
            "blocksize": "16k",
            "sparse": True,
            "mountpoint": "/data",
            "bwlimit": "move=10",
        },
        removed=["mountpoint", "blocksize"],
    ),
    life(
        "rbd",
        {"pool": "rbd", "monhost": "192.0.2.1 192.0.2.2", "username": "admin", "keyring": SECRET},
        {
            "content": ["images", "rootdir"],
            "nodes": ["pve1"],
            "disable": True,
            "pool": "vms",
            "data_pool": "ec",
            "namespace": "lab",
            "username": "pve",
            "monhost": ["192.0.2.3"],
            "krbd": True,
            "bwlimit": "move=10",
        },
        spellings=[{"monhost": ["192.0.2.2", "192.0.2.1"]}],
        removed=["namespace", "data_pool"],
    ),
    life(
        "iscsi",
        {"portal": "192.0.2.9", "target": "iqn.2003-01.test:disks"},
        {"content": ["none"], "nodes": ["pve1"], "disable": True, "bwlimit": "move=10"},
    ),
    life(
        "pbs",
        {"server": "192.0.2.9", "datastore": "ds", "username": "a@pbs", "password": SECRET, "fingerprint": PRINT},
        {
            "content": ["none"],
            "nodes": ["pve1"],
            "disable": True,
            "namespace": "lab",
            "port": 8008,
            "username": "b@pbs",
            "fingerprint": PRINT.replace("ab", "cd"),
            "prune_backups": "keep-last=1",
            "max_protected_backups": -1,
        },
        spellings=[{"fingerprint": PRINT.upper()}, {"port": 8007}],
        removed=["namespace", "prune_backups", "fingerprint"],
    ),
]


@pytest.fixture
def run(api: Api) -> Run:
    api.pve.nodes["pve2"] = {"online": True}
    return Run(api)


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.created["type"])
def test_whole_life(run, life):
    whole_life(run, life)
    assert SECRET not in run.output


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.created["type"])
def test_whole_life_with_no_more_privileges_than_are_documented(run, life):
    whole_life(run, limited(run, life, Datastore_Allocate="/storage", Datastore_Audit="/storage"))


# ---------------------------------------------------------------------------------------------- traps


def test_trap_a_storage_with_a_password_is_not_always_changed(run, api):
    cifs = {"storage": "c1", "type": "cifs", "server": "192.0.2.9", "share": "s", "username": "u", "password": SECRET}
    assert run("pve_storage", cifs)["changed"]
    assert api.pve.storage_secrets["c1"] == {"password": SECRET}
    assert not run("pve_storage", cifs)["changed"]
    assert not run("pve_storage", {**cifs, "password": "Another-Horse-8"})["changed"]
    assert SECRET not in run.output


def test_trap_content_in_another_order_is_no_change(run):
    run("pve_storage", {"storage": "d1", **DIR, "content": ["iso", "images", "backup"], "nodes": ["pve1", "pve2"]})
    for _ in range(2):
        result = run(
            "pve_storage", {"storage": "d1", "content": ["backup", "iso", "images"], "nodes": ["pve2", "pve1"]}
        )
        assert not result["changed"]


# -------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("created", "name", "key"),
    [
        ({"type": "cifs", "server": "192.0.2.9", "share": "s", "username": "u"}, "password", "password"),
        ({"type": "pbs", "server": "192.0.2.9", "datastore": "ds", "username": "a@pbs"}, "password", "password"),
        ({"type": "pbs", "server": "192.0.2.9", "datastore": "ds"}, "master_pubkey", "master-pubkey"),
        ({"type": "rbd", "pool": "rbd"}, "keyring", "keyring"),
        ({"type": "cephfs"}, "keyring", "keyring"),
    ],
)
def test_a_secret_is_sent_on_request_and_never_shown(run, api, created, name, key):
    storage = {"storage": "s1", **created, name: SECRET}
    assert run("pve_storage", storage)["diff"]["after"][name] == "(hidden)"
    assert api.pve.storage_secrets["s1"][key] == SECRET
    other = {**storage, name: "Another-Horse-8"}
    result = both(run, Life("pve_storage", {"storage": "s1"}, {}, {}), {**other, "update_password": "always"})
    assert result["changed"]
    assert api.pve.storage_secrets["s1"][key] == "Another-Horse-8"
    assert SECRET not in run.output
    assert "Another-Horse-8" not in run.output
    assert f"{name} is empty" in run.fails("pve_storage", {**storage, name: ""})


def test_a_key_is_made_once_and_taken_away(run, api):
    pbs = {"storage": "p1", "type": "pbs", "server": "192.0.2.9", "datastore": "ds"}
    one = Life("pve_storage", {"storage": "p1"}, {}, {})
    run("pve_storage", pbs)
    key = {"encryption_key": "autogen", "update_password": "always"}
    assert both(run, one, key)["changed"]
    assert api.pve.storage_secrets["p1"] == {"encryption-key": "autogen"}
    nothing(run, one, key)
    assert "encryption-key" not in run("pve_storage", pbs)["storage"]
    assert both(run, one, {"encryption_key": ""})["changed"]
    assert api.pve.storage_secrets["p1"] == {}
    nothing(run, one, {"encryption_key": ""})


# ------------------------------------------------------------------------------------ another writer


def test_what_another_administrator_changed_comes_back(run, api):
    run("pve_storage", {"storage": "d1", **DIR, "content": ["iso"], "prune_backups": "keep-last=2"})
    api.pve.storages["d1"].update({"content": "iso,backup", "prune-backups": "keep-last=9", "max-protected-backups": 3})
    result = run("pve_storage", {"storage": "d1", **DIR, "content": ["iso"], "prune_backups": "keep-last=2"})
    assert result["diff"]["before"] == {"content": ["backup", "iso"], "prune_backups": "keep-last=9"}
    assert api.pve.storages["d1"]["max-protected-backups"] == 3


def test_a_change_of_another_writer_is_not_overwritten(run, api):
    """The digest is that of the whole file: the change is planned again on fresh data."""
    run("pve_storage", {"storage": "d1", **DIR, "content": ["iso"]})
    read, store = api.pve.storage_config, api.pve.storages["d1"]

    def read_before_another_writer(name):
        answer = read(name)
        store["nodes"] = "pve1"
        return answer

    api.pve.storage_config = read_before_another_writer
    api.requests()
    result = run("pve_storage", {"storage": "d1", "content": ["iso", "images"]})
    assert [write.method for write in api.writes()] == ["PUT", "PUT"]
    assert result["diff"]["after"] == {"content": ["images", "iso"]}
    assert api.pve.storages["d1"]["nodes"] == "pve1"


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"storage": "n"}, ["storage 'n'", "type is missing"]),
        ({"storage": "n", "type": "dir"}, ["path is missing, a new storage of type dir needs it"]),
        ({"storage": "n", "type": "pbs", "server": "h"}, ["datastore is missing"]),
        ({"storage": "n", "type": "dir", "path": "rel"}, ["path: 'rel' is not an absolute path"]),
        ({"storage": "n", **DIR, "server": "h"}, ["server is not an option of a storage of type dir"]),
        ({"storage": "n", **DIR, "content": ["bogus"]}, ["cannot hold 'bogus'", "images"]),
        ({"storage": "n", "type": "lvm", "vgname": "v", "content": ["iso"]}, ["type lvm cannot hold 'iso'"]),
        ({"storage": "n", "type": "nfs", "server": "h", "export": "/e", "content": []}, ["cannot hold 'none'"]),
        ({"storage": "n", **DIR, "content": ["none", "iso"]}, ["none stands alone"]),
        ({"storage": "n", **DIR, "prune_backups": "last=1"}, ["unknown key 'last', did you mean 'keep-last'?"]),
        ({"storage": "n", **DIR, "bwlimit": "clone=fast"}, ["bwlimit: clone: 'fast' is not a number"]),
        ({"storage": "n", "type": "pbs", "server": "h", "datastore": "d", "fingerprint": "ab"}, ["SHA-256"]),
        ({"storage": "d1", "path": "/srv/other"}, ["path is '/srv/d1' and cannot be changed to '/srv/other'"]),
        ({"storage": "d1", "type": "nfs"}, ["type is 'dir' and cannot be changed to 'nfs'"]),
        ({"storage": "d1", "path": ""}, ["path is empty"]),
        ({"storage": "d1", "snapshot_as_volume_chain": True}, ["cannot be changed to 'True'"]),
        ({"storage": "z1", "pool": "tank"}, ["pool is 'rpool' and cannot be changed to 'tank'"]),
        ({"storage": "z1", "pool": ""}, ["pool cannot be taken away from a storage of type zfspool"]),
    ],
)
def test_bad_input_is_refused_before_the_first_write(run, api, options, words):
    run("pve_storage", {"storage": "d1", **DIR})
    run("pve_storage", {"storage": "z1", "type": "zfspool", "pool": "rpool"})
    api.requests()
    message = run.fails("pve_storage", options)
    assert all(word in message for word in words), message
    assert api.writes() == []


def test_deleting_an_entry_deletes_no_data(run, api):
    run("pve_storage", {"storage": "d1", **DIR, "content": ["iso"]})
    api.pve.store_file("d1", "x.iso", 1024)
    api.requests()
    run("pve_storage", {"storage": "d1", "state": "absent"})
    assert [(write.method, write.path) for write in api.writes()] == [("DELETE", "/storage/d1")]


# --------------------------------------------------------------------------- any configuration to any other


@st.composite
def transitions(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two configurations of a storage; what is fixed is in the first one only."""
    life = draw(st.sampled_from(LIVES))
    values = {**VALUES, **({} if life.created["type"] in ("dir", "btrfs", "pbs") else {"content": st.nothing()})}
    known = {name: values.get(name, st.just(value)) for name, value in life.changes.items()}
    known = {name: strategy for name, strategy in known.items() if not strategy.is_empty}
    chosen = st.fixed_dictionaries({}, optional=known)
    return {**life.created, **draw(chosen)}, draw(chosen)


booleans = st.booleans()
retention = st.dictionaries(st.sampled_from(["keep-last", "keep-daily", "keep-weekly"]), st.integers(0, 9))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "content": st.just(["backup"]) | st.just([]) | st.just(["none"]),
    "nodes": st.lists(st.sampled_from(["pve1", "pve2", "pve3"]), unique=True),
    **dict.fromkeys(("disable", "shared", "create_base_path", "create_subdirs", "nocow", "krbd", "fuse"), booleans),
    **dict.fromkeys(("sparse", "saferemove", "tagged_only"), booleans),
    "is_mountpoint": st.sampled_from(["yes", "no", "/srv", ""]),
    "prune_backups": retention | st.just("") | st.just("keep-all=1"),
    "max_protected_backups": st.integers(-1, 20),
    "format": st.sampled_from(["raw", "qcow2"]),
    "preallocation": st.sampled_from(["off", "metadata", "falloc", "full"]),
    "content_dirs": st.dictionaries(st.sampled_from(["iso", "backup"]), st.sampled_from(["a", "b/c"])),
    "bwlimit": st.dictionaries(st.sampled_from(["clone", "move", "default"]), st.integers(0, 10**6)),
    "monhost": st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"]), unique=True),
    "port": st.integers(1, 65535),
    "saferemove_stepsize": st.sampled_from([1, 2, 4, 8, 16, 32]),
    **dict.fromkeys(("options", "domain", "namespace"), st.sampled_from(["", "a", "b=c,d"])),
    **dict.fromkeys(("subdir", "mountpoint"), st.sampled_from(["", "/a", "/b/c"])),
}


@pytest.fixture(scope="module")
def shared() -> Api:
    directory = Path(tempfile.mkdtemp())
    api = Api(directory)
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
@given(transition=transitions())
def test_any_configuration_to_any_other(shared, transition):
    before, after = transition
    run, one = Run(shared), Life("pve_storage", {"storage": "any"}, {}, {})
    shared.pve.storages.pop("any", None)
    run(one.module, {"storage": "any", **before})
    both(run, one, after)
    nothing(run, one, after)
    stored = shared.pve.storages["any"]
    for name, key in {"nodes": "nodes", "content": "content", "monhost": "monhost"}.items():
        if name in after:
            empty = ["none"] if name == "content" else []
            words = str(stored.get(key) or ",".join(empty)).replace(" ", ",").split(",")
            assert sorted(filter(None, words)) == sorted(after[name] or empty)
