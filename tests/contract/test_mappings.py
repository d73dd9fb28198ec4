# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of PCI and USB devices and of directories."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, limited, lives, whole_life
from tests.lab.cluster import DIR, PCI, USB

MODULE = "pve_pci_mapping"
FIRST = {"node": "pve1", "path": "0000:01:00", "id": "10de:2204", "subsystem-id": "1458:403b", "iommugroup": 12}
SECOND = {"node": "pve2", "path": "0000:41:00.0;0000:42:00.0", "id": "10de:2204", "description": "the other one"}
USB_MODULE, DIR_MODULE = "pve_usb_mapping", "pve_dir_mapping"
DONGLE = {"node": "pve1", "id": "0529:0abc"}
PORT = {"node": "pve2", "id": "0529:0abc", "path": "1-2.3", "description": "behind the hub"}
HERE = {"node": "pve1", "path": "/srv/drawings"}
THERE = {"node": "pve2", "path": "/mnt/tank/drawings"}
GPU = {"id": "gpu", "map": [FIRST, SECOND], "description": "for transcoding"}


LIVES = (
    Life(
        MODULE,
        {"id": "gpu"},
        GPU,
        {
            "description": "for games",
            "map": [{**FIRST, "iommugroup": 13}, SECOND],
            "mdev": True,
            "live_migration_capable": True,
        },
        spellings=[
            {"map": [SECOND, FIRST]},
            {"map": [SECOND, FIRST, SECOND]},
            {"map": [{**FIRST, "id": "10DE:2204", "path": "01:00", "iommugroup": "12"}, SECOND]},
            {"map": ["iommugroup=12,id=10de:2204,node=pve1,subsystem-id=1458:403b,path=0000:01:00", SECOND]},
            {
                "map": [
                    {**{key.replace("-", "_"): value for key, value in FIRST.items()}},
                    {**SECOND, "path": "0000:41:00.0; 0000:42:00.0"},
                ]
            },
            {"mdev": False, "live_migration_capable": False},
        ],
        removed=["description"],
    ),
    Life(
        USB_MODULE,
        {"id": "dongle"},
        {"map": [DONGLE, PORT], "description": "for drawing"},
        {"description": "for the office", "map": [DONGLE]},
        spellings=[
            {"map": [PORT, DONGLE]},
            {"map": ["id=0529:0ABC,node=pve1", PORT]},
            {"map": [DONGLE, "path=1-2.3,description=behind the hub,node=pve2,id=0529:0abc"]},
        ],
        removed=["description"],
    ),
    Life(
        DIR_MODULE,
        {"id": "drawings"},
        {"map": [HERE, THERE], "description": "of the office"},
        {"description": "of the house", "map": [HERE, {**THERE, "path": "/mnt/other"}]},
        spellings=[
            {"map": [THERE, HERE]},
            {"map": ["path=/srv/drawings,node=pve1", "node=pve2,path=/mnt/tank/drawings"]},
            {"map": [{**HERE, "path": "/srv/drawings/"}, THERE]},
        ],
        removed=["description"],
    ),
)
# The path of the privilege, by module.
PATHS = {MODULE: "/mapping/pci", USB_MODULE: "/mapping/usb", DIR_MODULE: "/mapping/dir"}


@lives(*LIVES)
def test_whole_life(run, life):
    whole_life(run, life)


@lives(*LIVES)
def test_the_documented_privileges_are_enough_and_necessary(run, life):
    privileges = {"Mapping_Modify": PATHS[life.module]}
    whole_life(run, limited(run, life, **privileges))
    for privilege in privileges:
        fewer = limited(run, life, **{name: path for name, path in privileges.items() if name != privilege})
        assert "privilege" in run.fails(life.module, {**fewer.ident, **life.created})


def mappings(run):
    return run.api.pve.area(PCI)


def test_a_device_by_itself(run):
    text = "node=pve1,path=0000:01:00,id=10de:2204"
    assert run(MODULE, {"id": "gpu", "map": text})["pci_mapping"]["map"] == [text]
    assert not run(MODULE, {"id": "gpu", "map": {"node": "pve1", "path": "01:00", "id": "10de:2204"}})["changed"]


def test_an_address_has_no_case(run):
    device = {"node": "pve1", "path": "0000:c1:00.0", "id": "10de:2204"}
    run(MODULE, {"id": "gpu", "map": [{**device, "path": "0000:C1:00.0"}]})
    assert mappings(run)["gpu"]["map"] == ["node=pve1,path=0000:c1:00.0,id=10de:2204"]
    assert not run(MODULE, {"id": "gpu", "map": [device]})["changed"]


@pytest.mark.parametrize(
    "other", [{"path": "0000:01:00.0"}, {"iommugroup": None}, {"node": "pve3"}], ids=lambda other: next(iter(other))
)
def test_another_device_is_a_change(run, other):
    run(MODULE, GPU)
    assert run(MODULE, {**GPU, "map": [{**FIRST, **other}, SECOND]})["changed"]


def test_a_device_that_is_not_in_the_list_goes(run):
    run(MODULE, GPU)
    result = run(MODULE, {"id": "gpu", "map": [FIRST]})
    assert len(result["diff"]["before"]["map"]) == 2
    assert len(mappings(run)["gpu"]["map"]) == 1


def test_what_another_hand_changed_comes_back_and_nothing_else(run):
    run(MODULE, GPU)
    mappings(run)["gpu"].update({"map": ["node=pve1,path=0000:02:00,id=10de:2204"], "mdev": 1})
    assert set(run(MODULE, GPU)["diff"]["after"]) == {"map"}
    assert len(mappings(run)["gpu"]["map"]) == 2
    assert mappings(run)["gpu"]["mdev"] == 1


def test_a_conflict_is_planned_again_on_fresh_data(run, monkeypatch):
    run(MODULE, GPU)
    update, calls = type(run.api.pve).record_update, []

    def another_was_quicker(self, area, ident, values):
        if not calls:
            mappings(run)["gpu"]["map"] = ["node=pve9,path=0000:09:00,id=10de:2204"]
        calls.append(values)
        return update(self, area, ident, values)

    monkeypatch.setattr(type(run.api.pve), "record_update", another_was_quicker)
    run(MODULE, {"id": "gpu", "mdev": True})
    assert len(calls) == 2
    # The devices go along with every write, and must be those that are there.
    assert mappings(run)["gpu"]["map"] == ["node=pve9,path=0000:09:00,id=10de:2204"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id": "new"}, ["'new'", "map is missing"]),
        ({"map": []}, ["'gpu'", "map is empty"]),
        ({"map": [{"node": "pve1", "path": "0000:01:00"}]}, ["'gpu'", "'id' is missing", "node=pve1"]),
        ({"map": [{**FIRST, "path": "gpu0"}]}, ["path", "'gpu0'", "0000:01:00.0"]),
        ({"map": [{**FIRST, "id": "10de"}]}, ["id", "'10de'", "10de:2204"]),
        ({"map": [{**FIRST, "iommu_group": 3}]}, ["'iommu-group'", "did you mean 'iommugroup'"]),
        ({"map": [{**FIRST, "description": "a, b"}]}, ["description", "without commas"]),
    ],
    ids=lambda given: "-".join(str(value) for value in given.values())[:40] if isinstance(given, dict) else "",
)
def test_bad_input_is_refused_before_anything_is_written(run, given, words):
    run(MODULE, GPU)
    run.api.requests()
    message = run.fails(MODULE, {"id": "gpu", **given})
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


@pytest.mark.parametrize(
    ("module", "given", "words"),
    [
        (USB_MODULE, {}, ["'new'", "map is missing"]),
        (USB_MODULE, {"map": [{"node": "pve1"}]}, ["'id' is missing in 'node=pve1'"]),
        (USB_MODULE, {"map": [{**DONGLE, "id": "0529"}]}, ["id", "'0529' is not a vendor and a device"]),
        (USB_MODULE, {"map": [{**DONGLE, "path": "/dev/bus/usb/001"}]}, ["path", "a bus and a port, such as 1-2"]),
        (USB_MODULE, {"map": [{**DONGLE, "port": "1-2"}]}, ["unknown key 'port'"]),
        (DIR_MODULE, {"map": []}, ["map is empty"]),
        (DIR_MODULE, {"map": [{"node": "pve1"}]}, ["'path' is missing in 'node=pve1'"]),
        (DIR_MODULE, {"map": [{**HERE, "path": "drawings"}]}, ["'drawings' is not an absolute path"]),
        (DIR_MODULE, {"map": [{**HERE, "path": "/"}]}, ["'/' is not an absolute path"]),
        (DIR_MODULE, {"map": [{**HERE, "path": "/srv/a;b"}]}, ["without any of ;,=()"]),
        (DIR_MODULE, {"map": [HERE, {**HERE, "path": "/srv"}]}, ["node 'pve1' has 2 directories", "one of them"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_input_of_the_others_is_refused_before_anything_is_written(run, module, given, words):
    run.api.requests()
    message = run.fails(module, {"id": "new", **given})
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


def test_what_they_hold_goes_along_with_every_change(run):
    """Proxmox VE refuses a change that does not repeat it."""
    for module, area, created in ((USB_MODULE, USB, [DONGLE]), (DIR_MODULE, DIR, [HERE])):
        run(module, {"id": "one", "map": created})
        assert run(module, {"id": "one", "description": "changed"})["changed"]
        assert len(run.api.pve.area(area)["one"]["map"]) == 1


def test_a_directory_that_is_not_there_in_the_words_of_the_api(run):
    run.api.pve.no_directories.add("/srv/drawings")
    assert "Path /srv/drawings does not exist" in run.fails(DIR_MODULE, {"id": "drawings", "map": [HERE]})
    assert run(DIR_MODULE, {"id": "drawings", "map": [THERE]})["changed"]
    assert "Path /srv/drawings does not exist" in run.fails(DIR_MODULE, {"id": "drawings", "map": [HERE, THERE]})


def test_another_usb_port_is_a_change(run):
    run(USB_MODULE, {"id": "dongle", "map": [DONGLE]})
    assert run(USB_MODULE, {"id": "dongle", "map": [{**DONGLE, "path": "1-2"}]})["changed"]
    assert run.api.pve.area(USB)["dongle"]["map"] == ["node=pve1,id=0529:0abc,path=1-2"]
    run.api.pve.area(USB)["dongle"]["map"] = ["node=pve1,path=1-3,id=0529:0abc"]
    assert run(USB_MODULE, {"id": "dongle", "map": [{**DONGLE, "path": "1-2"}]})["changed"]
