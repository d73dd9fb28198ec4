# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client where no server can be asked: pvesh on the node, missing credentials, and who waits for tasks."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
UTILS = "ansible_collections.onprem.cloud.plugins.module_utils.pve"
client = importlib.import_module(f"{UTILS}.client")
tasks = importlib.import_module(f"{UTILS}.tasks")

PVESH = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$1 $2" in
  "get /cluster/resources") echo '[{"type":"node","node":"pve1"}]' ;;
  "create /nodes/pve1/lxc/100/status/start") printf 'starting\\n"UPID:pve1:1:2:3:vzstart:100:root@pam:"\\n' ;;
  "set /nodes/pve1/lxc/100/config") ;;
  "get /nodes/pve1/status") echo 'perl: warning: Setting locale failed.' >&2; echo "{\\"lang\\":\\"$LC_ALL\\"}" ;;
  "create /nodes/pve1/vzdump") printf '{"log": "in braces"}\\n'; echo 'no space left' >&2
    echo '"UPID:pve1:1:2:3:vzdump:100:root@pam:"' ;;
  "get /nodes/pve9/status") echo '596 Connection refused' >&2; exit 29 ;;
  *) echo "500 CT is locked (backup)" >&2; exit 255 ;;
esac
"""
CONNECTION: dict[str, Any] = {
    "api_backend": "https", "api_host": "pve.example", "api_port": 8006, "api_user": "root@pam", "api_password": None,
    "api_token_id": None, "api_token_secret": None, "validate_certs": True, "ca_path": None, "api_timeout": 5,
}  # fmt: skip


@pytest.fixture
def pvesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node's pvesh; returns the file that it notes its calls in."""
    program = tmp_path / "pvesh"
    program.write_text(PVESH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "calls"


def test_local_backend_runs_pvesh(pvesh):
    local = client.Client({**CONNECTION, "api_backend": "local", "api_host": None, "task_timeout": 5})
    assert local.get("/cluster/resources") == [{"type": "node", "node": "pve1"}]
    assert local.put("/nodes/pve1/lxc/100/config", onboot=True, memory=512) is None
    assert local.post("/nodes/pve1/lxc/100/status/start").startswith("UPID:pve1:")
    with pytest.raises(client.PveError) as caught:
        local.delete("/nodes/pve1/lxc/100")
    assert "CT is locked (backup)" in str(caught.value)
    assert "set /nodes/pve1/lxc/100/config -onboot 1 -memory 512 --output-format json" in pvesh.read_text()


def test_only_the_exit_code_of_pvesh_tells_a_refusal(pvesh):
    local = client.Client({**CONNECTION, "api_backend": "local", "api_host": None, "task_timeout": 5})
    assert local.get("/nodes/pve1/status") == {"lang": "C.UTF-8"}
    # The task failed: its log and its error come first, and whoever waits for the task learns of it.
    assert local.post("/nodes/pve1/vzdump", vmid=100) == "UPID:pve1:1:2:3:vzdump:100:root@pam:"
    with pytest.raises(client.Unreachable, match="596 Connection refused"):
        local.get("/nodes/pve9/status")


def test_local_backend_away_from_a_node(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(client.PveError) as caught:
        client.Client({**CONNECTION, "api_backend": "local"}).get("/nodes")
    assert "Proxmox VE node" in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"api_host": None}, ["api_host", "PROXMOX_HOST"]),
        ({"api_user": None}, ["api_user"]),
        ({}, ["api_token_secret"]),
    ],
)
def test_missing_options_are_named(missing, words):
    with pytest.raises(client.PveError) as caught:
        client.Client({**CONNECTION, **missing})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            "Couldn't authenticate user: root@pam to x code: 401",
            ["refuses the login", "api_password"],
        ),
        ("Couldn't authenticate user: missing Two Factor Authentication (TFA)", ["second factor", "API token"]),
        ("Couldn't authenticate user: root@pam to x code: 503", ["503", "later"]),
    ],
)
def test_logins_that_fail_are_told_apart(reason, words):
    failure = type("AuthenticationError", (Exception,), {})(reason)
    sentence = str(client.Client({**CONNECTION, "api_password": "x"})._transport_error(failure))
    assert sentence.startswith("pve.example:8006")
    for word in words:
        assert word in sentence


class Node:
    """Answers about tasks: each ends after some polls."""

    def __init__(self, polls: int) -> None:
        self.left: dict[str, int] = {}
        self.polls = polls
        self.askers: set[int] = set()

    def get(self, path: str, **params: Any) -> Any:
        upid = path.split("/")[4]
        if path.endswith("/log"):
            return [{"n": 1, "t": "WARN: look here"}, {"n": 2, "t": "TASK ERROR: no space"}]
        self.askers.add(threading.get_ident())
        self.left[upid] = self.left.get(upid, self.polls) - 1
        if self.left[upid] > 0:
            return {"status": "running"}
        return {"status": "stopped", "exitstatus": upid.split(":")[-1] or "OK"}


def test_many_tasks_are_waited_for_by_one_poller():
    node = Node(polls=4)
    waiting = tasks.Tasks(node, 10, print)
    upids = [f"UPID:pve1:0:0:0:vzcreate:{vmid}:root@pam:" for vmid in range(20)]
    threads = [threading.Thread(target=waiting.wait, args=(upid, "guest")) for upid in upids]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 5
    assert len(node.left) == 20
    assert len(node.askers) == 1


def test_task_ends_are_told_apart():
    told: list[str] = []
    waiting = tasks.Tasks(Node(polls=1), 10, told.append)
    waiting.wait(None, "guest")
    waiting.wait("UPID:pve1:0:0:0:vzstart:1:root@pam:OK", "guest 1")
    assert told == []
    waiting.wait("UPID:pve1:0:0:0:vzstart:1:root@pam:WARNINGS", "guest 1")
    assert told == ["guest 1: the task ended with WARNINGS: WARN: look here"]
    with pytest.raises(tasks.TaskFailed, match=r"guest 1: the task failed: broken.*TASK ERROR: no space"):
        waiting.wait("UPID:pve1:0:0:0:vzstart:1:root@pam:broken", "guest 1")


def test_task_that_takes_too_long_is_named():
    waiting = tasks.Tasks(Node(polls=10**6), 0.2, print)
    with pytest.raises(tasks.TaskTimeout, match=r"guest 1: the task vzcreate still runs on node 'pve1'.*task_timeout"):
        waiting.wait("UPID:pve1:0:0:0:vzcreate:1:root@pam:", "guest 1")


def test_consoles_and_backups_are_not_waited_for():
    class Busy(Node):
        def get(self, path: str, **params: Any) -> Any:
            if path == "/nodes/pve1/tasks":
                ends = {"vncproxy": "", "vzdump": "", "vzcreate": "broken", "vzstart": "OK"}
                return [
                    {"type": kind, "upid": f"UPID:pve1:0:0:0:{kind}:1:root@pam:{end}"} for kind, end in ends.items()
                ]
            return super().get(path, **params)

    node = Busy(polls=2)
    tasks.Tasks(node, 10, print).settle("pve1", "guest 1", vmid=1)
    assert {upid.split(":")[5] for upid in node.left} == {"vzcreate", "vzstart"}


@pytest.mark.parametrize(("sudo", "found"), [("SUDO_COMMAND=/bin/sh", "192.0.2.7 50000 192.0.2.2 22"), ("LANG=C", "")])
def test_the_login_is_known_behind_sudo_too(sudo: str, found: str) -> None:
    collections = str(Path(__file__).resolve().parents[2] / "collections")
    program = f"import sys; sys.path.append({collections!r}); import {UTILS}.client as it; print(*it.ssh_connection())"
    told = subprocess.check_output(
        # The shell is what called sudo, and stays.
        ["sh", "-c", 'env -i "$0" "$1" -c "$2"; true', sudo, sys.executable, program],
        env={"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.2 22", "PATH": "/usr/bin:/bin"}, text=True,
    )  # fmt: skip
    assert told.strip() == found
