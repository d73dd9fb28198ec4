# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role host_reboot does with the guests of a node, up to the reboot itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.running import Node, Played
from tests.contract.serving import Api


@pytest.fixture
def node(api: Api, tmp_path: Path) -> Node:
    node = Node(api, tmp_path)
    systemctl = tmp_path / "programs/systemctl"
    systemctl.write_text("#!/bin/sh\necho running\n")
    systemctl.chmod(0o755)
    for vmid, startup in ((100, "order=1"), (101, ""), (102, "order=2")):
        api.pve.add_ct(vmid, name=f"guest-{vmid}", status="running", config={"startup": startup} if startup else {})
    api.pve.add_ct(103, name="stopped")
    return node


def reboot(node: Node, tasks: str, *arguments: str) -> Played:
    include = {"name": "onprem.cloud.host_reboot", "tasks_from": tasks}
    return node.play(
        {
            "module_defaults": {"group/onprem.cloud.pve": {"api_backend": "local"}},
            "tasks": [{"ansible.builtin.include_role": include}],
        },
        *arguments,
    )


def bulk(api: Api) -> list[str]:
    """The guests that were stopped and started, in that order."""
    tasks = [task for task in api.pve.tasklog if task["type"] in ("vzshutdown", "vzstart")]
    return [f"{task['type']} {task['id']}" for task in tasks]


def test_guests_are_shut_down_in_reverse_order(api: Api, node: Node) -> None:
    done = reboot(node, "shut_down")
    assert done.code == 0, done.output
    assert bulk(api) == ["vzshutdown 101", "vzshutdown 102", "vzshutdown 100"]


def test_check_mode_shuts_nothing_down(api: Api, node: Node) -> None:
    done = reboot(node, "shut_down", "--check")
    assert done.code == 0, done.output
    assert api.writes() == []


def test_guest_that_stays_up_stops_the_reboot_and_the_others_run_again(api: Api, node: Node) -> None:
    api.pve.ct(102).shutdown_secs = 10_000
    done = reboot(node, "shut_down", "-e", "host_reboot_guest_timeout_seconds=30")
    assert done.code == 2
    assert "nothing was rebooted, and the guests run, because guest-102 did not shut down within 30 s" in done.output
    assert {ct.vmid: ct.status for ct in api.pve.cts} == {
        100: "running",
        101: "running",
        102: "running",
        103: "stopped",
    }


def test_node_that_the_cluster_cannot_do_without_stays(api: Api, node: Node) -> None:
    api.pve.nodes["pve2"] = {"online": False}
    done = reboot(node, "shut_down")
    assert done.code == 2
    assert "pve2 of the cluster is not online" in " ".join(done.output.split())
    assert api.writes() == []
