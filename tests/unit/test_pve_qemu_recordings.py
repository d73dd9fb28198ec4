# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real Proxmox VE 9.2.11 made of virtual machines' options, against the plan.

The recordings are writes, each followed by the reading of the same machine: a machine that is as it was read, asked
for as it was sent, needs nothing.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
UTILS = "ansible_collections.onprem.cloud.plugins.module_utils.pve"
qemu = importlib.import_module(f"{UTILS}.qemu")
plan = importlib.import_module(f"{UTILS}.plan")

RECORDINGS = Path(__file__).parent / "recordings" / "vms.jsonl"
NAMES = {name: option for option, name in qemu.QEMU.renamed.items()}


def option_of(key: str) -> str:
    """The option of the module for a key of the API, or nothing."""
    name = NAMES.get(key, key)
    return name if qemu.QEMU.option(name) else ""


def as_guest(vmid: int, sent: dict[str, Any]) -> dict[str, Any]:
    """The options of a machine that ask for what was sent; a name is not removed."""
    guest: dict[str, Any] = dict.fromkeys(qemu.guest_spec("qemu"))
    guest.update(vmid=vmid, type="qemu", state="present", force=False, update_password="on_create")
    stems = {item.key or name: name for name, item in qemu.QEMU_NUMBERED.items()}
    for key, value in sent.items():
        name, stem = option_of(key), key.rstrip("0123456789")
        if key == "delete":
            names = [option_of(item) for item in value.split(",")]
            guest["delete"] = [item for item in names if item not in ("", "hostname")]
        elif stem in stems and stem != key:
            guest[stems[stem]] = {**(guest[stems[stem]] or {}), key: value}
        elif name:
            guest[name] = value
    return guest


def asked(guest: dict[str, Any]) -> list[str]:
    """The options that are asked for."""
    return [key for key, value in guest.items() if value is not None and (value if key == "delete" else key in KNOWN)]


KNOWN = {*qemu.QEMU_OPTIONS, *qemu.QEMU_NUMBERED}


def writes() -> list[Any]:
    """Each accepted write with the reading that follows it."""
    entries = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
    pairs = []
    for write, reading in zip(entries[::2], entries[1::2]):
        vmid, sent = int(reading["path"].split("/")[4]), write.get("params") or {}
        name = ",".join(f"{key}={value}" for key, value in sent.items())
        pairs.append(pytest.param(vmid, sent, reading["response"]["data"], id=f"{vmid}-{name}"[:70]))
    return pairs


COVERED = [pair for pair in writes() if asked(as_guest(*pair.values[:2])) or pair.values[1] == {"vmid": 200}]


def existing(guest: Any, config: dict[str, Any]) -> Any:
    guest.item, guest.node, guest.config = {"vmid": guest.vmid, "type": "qemu", "node": "pve1"}, "pve1", config
    return plan.Plan(guest)


@pytest.mark.parametrize(("vmid", "sent", "config"), COVERED)
def test_a_second_run_would_send_nothing(vmid, sent, config):
    guest = plan.Guest(as_guest(vmid, sent))
    assert guest.problems == []
    again = existing(guest, config)
    assert (again.sets, again.deletes, again.resizes, again.problems) == ({}, [], {}, [])


@pytest.mark.parametrize(("vmid", "sent", "config"), COVERED)
def test_what_was_read_and_asked_for_again_would_send_nothing(vmid, sent, config):
    guest = plan.Guest(as_guest(vmid, config))
    assert guest.problems == []
    again = existing(guest, config)
    assert (again.sets, again.deletes, again.resizes, again.problems) == ({}, [], {}, [])


def test_the_recorded_writes_are_covered():
    recorded = len(writes())
    print(f"virtual machines: {len(COVERED)} of {recorded} recorded writes compared ({len(COVERED) / recorded:.0%})")
    assert recorded > 130
    assert len(COVERED) >= 0.9 * recorded
