# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake API makes of a virtual machine's options what a real Proxmox VE 9.2.11 made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakepve.lxc import parse_size

from tests.contract.test_recordings import login

RECORDINGS = Path(__file__).parents[1] / "unit" / "recordings" / "vms.jsonl"

# What is different each time, or came of a snapshot that is not a write of the configuration.
NEW = ("digest", "meta", "parent", "vmgenid")


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what is different each time: new addresses, names of new volumes, ids."""
    text = json.dumps({key: value for key, value in config.items() if key not in NEW})
    text = re.sub(r"BC:24:11(:[0-9A-F]{2}){3}", "MAC", text)
    text = re.sub(r"uuid=[0-9a-f-]{36}", "uuid=", text)
    return json.loads(re.sub(r"-disk-\d+", "-disk-N", text))


def steps() -> list[Any]:
    """Each recorded write with the reading before it, if there is one, and the reading after it."""
    lines = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
    before: dict[str, Any] = {}
    found = []
    for write, reading in zip(lines[::2], lines[1::2], strict=True):
        vmid, after = reading["path"].split("/")[4], reading["response"]["data"]
        name = ",".join(f"{key}={value}" for key, value in (write["params"] or {}).items())[:60]
        made = write["path"].endswith("/qemu")
        # A revert needs what is in force besides what waits for a restart.
        if (made or vmid in before) and "revert" not in write["params"]:
            found.append(pytest.param(write, None if made else before[vmid], after, id=f"{vmid}-{name}"))
        before[vmid] = after
    return found


@pytest.mark.parametrize(("write", "before", "after"), steps())
def test_virtual_machines_are_kept_as_recorded(api, write, before, after):
    api.pve.storages["local"]["content"] = "backup,images,iso,rootdir,snippets,vztmpl"
    vmid = int((write["params"] or {}).get("vmid") or write["path"].split("/")[4])
    if before is not None:
        kept = {key: value for key, value in before.items() if key != "digest"}
        vm = api.pve.add_vm(vmid, "", config=kept, status="running" if vmid == 230 else "stopped")
        vm.config, vm.lock = kept, kept.get("lock")
        volumes = api.pve.storages["local"].setdefault("volumes", {})
        for volume, suffix, size in re.findall(r"local:([\w/-]+\.(raw|qcow2))[^\s\"]*?size=(\w+)", json.dumps(before)):
            image = {"content": "images", "format": suffix, "vmid": vmid}
            volumes[volume] = {**image, "size": parse_size(size)}
        for volume, suffix in re.findall(r"local:([\w/-]+\.(raw|qcow2))", json.dumps(before)):
            volumes.setdefault(volume, {"content": "images", "format": suffix, "vmid": vmid, "size": 1 << 30})
    if "hotplug problem" in json.dumps(write.get("response", "")):
        api.pve.clinging = True
    session = login(api)
    answer = session.request(write["method"], f"{api.pve.url}/api2/json{write['path']}", data=write["params"])
    assert answer.status_code == write["status"], answer.text
    read = session.get(f"{api.pve.url}/api2/json/nodes/pve1/qemu/{vmid}/config").json()["data"]
    assert comparable(read) == comparable(after)
