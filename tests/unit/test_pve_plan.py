# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of one guest, and what a fleet refuses, without an API: what is done, what is left, what is said."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
UTILS = "ansible_collections.onprem.cloud.plugins.module_utils.pve"
engine = importlib.import_module(f"{UTILS}.engine")
lxc = importlib.import_module(f"{UTILS}.lxc")
plan = importlib.import_module(f"{UTILS}.plan")

CONFIG = {
    "hostname": "web",
    "memory": 512,
    "swap": 512,
    "rootfs": "tank:subvol-100-disk-0,size=8G",
    "mp0": "tank:subvol-100-disk-1,mp=/srv,backup=1,size=10G",
    "net0": "name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth",
    "unprivileged": 1,
    "digest": "d",
}


def params(**options: Any) -> dict[str, Any]:
    """The options of a guest as Ansible passes them."""
    defaults = {"vmid": 100, "hostname": "web", "node": "pve1", "state": "present", "force": False, "purge": False}
    return {**dict.fromkeys(lxc.guest_spec()), **defaults, **options}


def planned(config: dict[str, Any] | None = None, *, running: bool = False, item: Any = None, **options: Any) -> Any:
    """The plan for a container with this configuration, or for one that is not there."""
    guest = plan.Guest(params(**options))
    if config is not None:
        guest.item, guest.config, guest.running = {"node": "pve1", **(item or {})}, {**CONFIG, **config}, running
    return plan.Plan(guest)


def said(made: Any) -> str:
    return " ".join([*made.guest.problems, *made.problems])


def test_what_is_as_wanted_needs_nothing():
    made = planned(
        {},
        memory=512,
        rootfs="tank:8",
        mp={"mp0": {"storage": "tank", "size": 10, "mp": "/srv", "backup": True}},
        net={"net0": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp", "firewall": True}},
    )
    assert not made
    assert said(made) == ""
    assert (made.before, made.after) == ({}, {})


def test_options_not_given_are_not_even_looked_at():
    assert not planned({"cores": 7, "description": "theirs\n", "mp7": "/mnt,mp=/mnt"}, memory=512)


def test_an_interface_keeps_its_address_card_and_loses_what_is_not_given():
    made = planned({}, net={"net0": "name=eth0,bridge=vmbr1,ip=dhcp"})
    assert lxc.NET.format(made.sets["net0"]) == "name=eth0,bridge=vmbr1,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth"
    assert made.before["net0"] == "name=eth0,bridge=vmbr0,firewall=1,ip=dhcp"
    assert made.after["net0"] == "name=eth0,bridge=vmbr1,ip=dhcp"


def test_a_volume_grows_by_a_resize_and_keeps_its_name():
    made = planned({}, mp={"mp0": {"storage": "tank", "size": "12G", "mp": "/srv"}})
    assert made.resizes == {"mp0": 12 << 30}
    assert [step.verb for step in made.steps] == ["resize", "update"]
    assert lxc.MP.format(made.sets["mp0"]) == "tank:subvol-100-disk-1,mp=/srv,size=10G"


@pytest.mark.parametrize("empty", [None, "", {}])
def test_an_empty_interface_is_removed(empty):
    made = planned({}, net={"net0": empty})
    assert (made.sets, made.deletes) == ({}, ["net0"])


def test_zero_means_no_limit():
    made = planned({"cores": 2, "cpulimit": "1.5"}, cores=0, cpulimit=0)
    assert sorted(made.deletes) == ["cores", "cpulimit"]
    assert not planned({}, cores=0, cpulimit=0)


def test_stopping_comes_before_changing_and_starting_after():
    assert [step.verb for step in planned({}, running=True, state="stopped", memory=600).steps] == ["stop", "update"]
    assert [step.verb for step in planned({}, state="started", memory=600).steps] == ["update", "start"]


def test_new_containers_are_unprivileged():
    made = planned(ostemplate="local:vztmpl/debian.tar.zst", rootfs="tank:8")
    assert made.sets["unprivileged"] is True
    assert made.after["rootfs"] == "size=8G,storage=tank"


def verbs(made: Any) -> list[str]:
    return [step.verb for step in made.steps]


def test_a_volume_moves_then_grows_then_changes():
    wanted = {"mp0": {"storage": "ssd", "size": "12G", "mp": "/srv"}}
    made = planned({}, mp=wanted, move_volumes=True, state="started")
    assert (verbs(made), made.moves) == (["move", "resize", "update", "start"], {"mp0": {"storage": "ssd"}})
    assert made.before["mp0"] == "backup=1,mp=/srv,size=10G,storage=tank"
    assert made.after["mp0"] == "mp=/srv,size=12G,storage=ssd"


def test_a_guest_goes_before_it_changes_and_becomes_a_template_at_last():
    guest = plan.Guest(params(memory=600, template=True, state="stopped"))
    guest.item, guest.config, guest.running = {"node": "pve1"}, dict(CONFIG), True
    guest.target, guest.mapped = "pve2", {"tank": "ssd"}
    made = plan.Plan(guest)
    assert verbs(made) == ["stop", "migrate", "update", "template"]
    assert (made.before["node"], made.after["node"]) == ("pve1", "pve2")
    assert guest.current("rootfs")["storage"] == "ssd"


def cloned(config: dict[str, Any], clone: dict[str, Any] | None = None, **options: Any) -> Any:
    """The plan for a clone of a guest that has this configuration."""
    guest = plan.Guest(params(clone={"vmid": 900, **(clone or {})}, **options))
    guest.source = {"vmid": 900, "node": "pve1"}
    guest.inherit(config)
    return plan.Plan(guest)


def test_a_clone_has_what_its_source_has_but_for_what_only_one_can_have():
    held = {**CONFIG, "lock": "backup", "template": 1, "unused0": "tank:x", "digest": "d"}
    made = cloned(held, {"storage": "ssd"}, hostname="copy")
    assert (verbs(made), said(made)) == (["clone"], "")
    assert made.guest.inherited.keys() == {"hostname", "memory", "swap", "rootfs", "mp0", "net0", "unprivileged"}
    assert "hwaddr" not in made.guest.inherited["net0"]
    assert [made.guest.current(key)["storage"] for key in ("rootfs", "mp0")] == ["ssd", "ssd"]
    assert made.after == {"hostname": "copy", "status": "stopped"}
    assert set(made.before.values()) == {None, "absent"}


def test_a_clone_is_changed_to_what_is_wanted():
    made = cloned(CONFIG, memory=600, swap=512, rootfs="tank:9", state="started")
    assert verbs(made) == ["clone", "resize", "update", "start"]
    assert made.sets == {"memory": 600}
    assert made.after == {"hostname": "web", "memory": 600, "rootfs": "size=9G,storage=tank", "swap": 512,
                          "status": "running"}  # fmt: skip


def test_destroying_needs_force_when_it_runs():
    assert said(planned({}, running=True, state="absent")).endswith("or set force.")
    made = planned({}, running=True, state="absent", force=True)
    assert (said(made), [step.verb for step in made.steps]) == ("", ["stop", "destroy"])
    assert not planned(state="absent")


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        ({}, {"rootfs": "tank:4"}, ["rootfs", "8G", "cannot shrink to 4G"]),
        ({}, {"rootfs": "ssd:8"}, ["rootfs", "'tank'", "'ssd'", "set move_volumes"]),
        ({}, {"mp": {"mp0": "tank:subvol-100-disk-9,mp=/srv"}}, ["subvol-100-disk-1", "detach"]),
        ({"mp0": "/data,mp=/srv"}, {"mp": {"mp0": {"storage": "tank", "size": 1, "mp": "/srv"}}}, ["/data", "detach"]),
        ({}, {"mp": {"mp1": {"storage": "tank", "mp": "/x"}}}, ["mp1", "'size' is missing"]),
        ({}, {"mp": {"mp1": {"storage": "tank", "size": 1}}}, ["mp1", "'mp' is missing"]),
        ({}, {"mp": {"srv": {}}}, ["'srv'", "mp0"]),
        ({}, {"unprivileged": False}, ["unprivileged", "cannot be changed"]),
        ({}, {"delete": ["memory"]}, ["delete", "'memory'"]),
        ({}, {"delete": ["net0"], "net": {"net0": "name=eth0,bridge=vmbr0"}}, ["net0", "both"]),
        ({}, {"hostname": ""}, ["hostname is empty"]),
        ({"protection": 1}, {"state": "absent"}, ["protected", "turn off protection"]),
        ({"protection": 1}, {"delete": ["mp0"]}, ["protected", "mp0"]),
        ({}, {"state": "started", "_item": {"template": 1}}, ["template", "cannot be started"]),
        ({"template": 1}, {"template": False}, ["template", "cannot become a guest again"]),
        ({}, {"template": True, "state": "started"}, ["a template cannot be started", "set state"]),
        (None, {"rootfs": "tank:8"}, ["ostemplate is missing"]),
        (None, {"ostemplate": "local:vztmpl/x.tar.zst"}, ["rootfs is missing"]),
    ],
)
def test_what_cannot_be_done_is_a_sentence_with_a_remedy(config, options, words):
    item = options.pop("_item", None)
    message = said(planned(config, item=item, **options))
    assert message.startswith("guest 100")
    assert message.endswith((".", "?"))
    for word in words:
        assert word in message


class Api:
    """Answers reads about one container."""

    local = False

    def __init__(self, item: dict[str, Any], config: dict[str, Any]) -> None:
        self.item, self.config = item, config

    def get(self, path: str, **_query: Any) -> Any:
        answers = {
            "/cluster/resources": [
                {"type": "node", "node": "pve1", "status": "online"},
                {"type": "node", "node": "pve2", "status": "offline"},
                {"type": "lxc", "vmid": 100, "name": "web", "status": "stopped", **self.item},
            ],
            "pending": [{"key": key, "value": value} for key, value in self.config.items()],
            "current": {"status": "stopped"},
            "tasks": [],
            "lxc": [],
        }
        return answers.get(path) or answers[path.rpartition("/")[2]]


def fleet(item: dict[str, Any], config: dict[str, Any], **options: Any) -> dict[str, Any]:
    given = {
        "api_backend": "local",
        "task_timeout": 5,
        "concurrency": 2,
        "cpu_overcommit": 2.0,
        "memory_overcommit": 1.5,
    }
    return engine.Fleet(Api(item, config), [params(**options)], given, check_mode=False, warn=print).run()


def test_a_container_whose_creation_was_interrupted_is_left_alone():
    with pytest.raises(engine.Refused, match=r"guest 100 \(web\): its creation was interrupted.*pct destroy 100"):
        fleet({"node": "pve1", "name": "CT100"}, {"lock": "create"}, memory=512)


def test_a_guest_that_high_availability_moved_stays_where_it_is():
    result = fleet({"node": "pve1", "hastate": "started"}, CONFIG, node="pve3", memory=512)
    assert (result["changed"], result["guests"][0]["node"]) == (False, "pve1")
    with pytest.raises(engine.Refused, match="it is on node 'pve1', not 'pve3'"):
        fleet({"node": "pve1"}, CONFIG, node="pve3", memory=512)


def test_a_guest_on_a_node_that_is_down_is_not_read():
    with pytest.raises(engine.Refused, match="node 'pve2' is offline"):
        fleet({"node": "pve2"}, {}, node="pve2", memory=512)
