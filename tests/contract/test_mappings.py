# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of PCI devices."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, limited, lives, whole_life
from tests.lab.cluster import PCI

MODULE = "pve_pci_mapping"
FIRST = {"node": "pve1", "path": "0000:01:00", "id": "10de:2204", "subsystem-id": "1458:403b", "iommugroup": 12}
SECOND = {"node": "pve2", "path": "0000:41:00.0;0000:42:00.0", "id": "10de:2204", "description": "the other one"}
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
)


@lives(*LIVES)
def test_whole_life(run, life):
    whole_life(run, life)


@lives(*LIVES)
def test_the_documented_privileges_are_enough_and_necessary(run, life):
    privileges = {"Mapping_Modify": "/mapping/pci"}
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
