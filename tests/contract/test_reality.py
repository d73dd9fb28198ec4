# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was sent to a real Proxmox VE and what it made of it are the same to the modules.

For every recorded write of a container's configuration that was accepted, and the reading after it: a
container that is as it was read, asked for as it was sent, needs no write.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

RECORDINGS = Path(__file__).parent / "recordings" / "containers.jsonl"
# Options of the API that the modules do not have, or that are about the request and not the container.
NOT_OPTIONS = {"lock", "revert", "digest", "env", "entrypoint", "hookscript", "storage", "start", "password"}


class Recorded(NamedTuple):
    """A write, and the configuration that was read after it."""

    vmid: int
    sent: dict[str, Any]
    read: dict[str, Any]


def recorded_writes() -> list[Recorded]:
    """The accepted creations and updates that a reading follows."""
    found: list[Recorded] = []
    sent: dict[int, dict[str, Any]] = {}
    for line in RECORDINGS.read_text().splitlines():
        entry = json.loads(line)
        params = entry.get("params") or {}
        config = re.fullmatch(r"/nodes/pve1/lxc/(\d+)/config", entry["path"])
        if entry["method"] == "POST" and entry["path"] == "/nodes/pve1/lxc" and entry["status"] == 200:
            sent[params["vmid"]] = params
        elif config and entry["method"] == "PUT":
            sent[int(config[1])] = params if entry["status"] == 200 else {}
        elif config and entry["method"] == "GET" and entry["status"] == 200:
            vmid = int(config[1])
            options = {key: value for key, value in sent.pop(vmid, {}).items() if key not in NOT_OPTIONS}
            if options:
                found.append(Recorded(vmid, options, entry["response"]["data"]))
    return found


def as_guest(recorded: Recorded) -> dict[str, Any]:
    """What was sent, as a guest of pve_fleet, which removes neither unused volumes nor the name of a guest."""
    guest: dict[str, Any] = {"vmid": recorded.vmid, "node": "pve1", "state": "present"}
    for key, value in recorded.sent.items():
        stem = key.rstrip("0123456789")
        if stem in ("net", "mp", "dev") and stem != key:
            guest.setdefault(stem, {})[key] = value
        elif key == "delete":
            guest["delete"] = [name for name in value.split(",") if not re.match("unused|hostname", name)]
        else:
            guest[key.replace("ssh-public-keys", "ssh_public_keys")] = value
    return guest


WRITES = recorded_writes()


def test_there_are_recorded_writes():
    assert len(WRITES) > 60


@pytest.mark.parametrize("recorded", WRITES, ids=[f"{entry.vmid}-{','.join(entry.sent)}"[:60] for entry in WRITES])
def test_what_was_sent_and_what_was_read_are_the_same(start_api, run, api, recorded):
    api.pve.storages["local"]["content"] = "backup,images,iso,rootdir,snippets,vztmpl"
    config = {key: value for key, value in recorded.read.items() if key != "digest"}
    api.pve.add_ct(recorded.vmid, defaults=False, config=config)
    guest = as_guest(recorded)
    result = run.fleet(guest)
    assert not result["changed"], result["guests"]
    assert api.writes() == []


# Refusals that a module cannot foresee, as they were recorded: the message is Proxmox VE's own.
REFUSALS = [
    (500, "CT is locked (backup)"),
    (500, "unable to modify read-only option: 'unprivileged'"),
    (403, "Permission check failed (/vms/101, VM.Config.Memory)"),
    (403, "Permission check failed (changing feature flags (except nesting) is only allowed for root@pam)"),
    (403, "Permission check failed (mount point type bind is only allowed for root@pam)"),
    (500, "bridge 'vmbr9' does not exist"),
]


@pytest.mark.parametrize(("status", "words"), REFUSALS, ids=[words[:40] for _, words in REFUSALS])
def test_refusals_name_the_guest_and_keep_the_words(api, run, container, status, words):
    run.fleet(container())
    api.pve.fail("PUT", "/lxc/100/config", status, words)
    message = run.fleet_fails(container(memory=512), task_timeout=1)
    assert words in message
    assert "guest-100" in message
    if "only allowed for root@pam" in words:
        assert "api_backend" in message
    elif status == 403:
        assert "privilege" in message
