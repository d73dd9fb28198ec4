# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real Proxmox VE 9.2.11 made of containers' options, and how it refused, against the plan and the client.

The recordings are requests and answers of the official API code, in the order they happened.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
UTILS = "ansible_collections.onprem.cloud.plugins.module_utils.pve"
client = importlib.import_module(f"{UTILS}.client")
engine = importlib.import_module(f"{UTILS}.engine")
lxc = importlib.import_module(f"{UTILS}.lxc")
plan = importlib.import_module(f"{UTILS}.plan")

RECORDINGS = Path(__file__).parent / "recordings"
# Of the request and not of the container, or unknown to the modules.
OTHER = {"storage", "start", "revert", "digest", "env", "entrypoint", "lock"}


def recorded(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDINGS / name).read_text().splitlines()]


def as_guest(vmid: int, sent: dict[str, Any]) -> dict[str, Any]:
    """The options of a guest that ask for what was sent."""
    guest: dict[str, Any] = dict.fromkeys(lxc.guest_spec())
    guest.update(vmid=vmid, state="present", force=False)
    for key, value in sent.items():
        stem = key.rstrip("0123456789")
        if stem in lxc.NUMBERED and stem != key:
            guest[stem] = {**(guest[stem] or {}), key: value}
        elif key == "delete":
            guest["delete"] = [name for name in value.split(",") if not name.startswith("unused")]
        elif key not in OTHER:
            guest[key.replace("-", "_")] = value
    return guest


def writes() -> list[Any]:
    """Each accepted write with the reading that follows it."""
    entries = recorded("container_writes.jsonl")
    pairs = []
    for write, reading in zip(entries[::2], entries[1::2]):
        keys = sorted(set(write["params"]) - OTHER)
        if keys:
            vmid = int(reading["path"].split("/")[4])
            pairs.append(
                pytest.param(vmid, write["params"], reading["response"]["data"], id=f"{vmid}-{','.join(keys)}"[:70])
            )
    return pairs


def existing(guest: Any, config: dict[str, Any]) -> Any:
    guest.item, guest.node, guest.config = {"vmid": guest.vmid, "type": "lxc", "node": "pve1"}, "pve1", config
    return plan.Plan(guest)


@pytest.mark.parametrize(("vmid", "sent", "config"), writes())
def test_a_second_run_would_send_nothing(vmid, sent, config):
    guest = plan.Guest(as_guest(vmid, sent))
    assert guest.problems == []
    again = existing(guest, config)
    assert (again.sets, again.deletes, again.resizes, again.problems) == ({}, [], {}, [])


@pytest.mark.parametrize(("vmid", "sent", "config"), writes())
def test_what_was_read_and_asked_for_again_would_send_nothing(vmid, sent, config):
    known = {key: value for key, value in config.items() if lxc.option(key)}
    guest = plan.Guest(as_guest(vmid, known))
    assert guest.problems == []
    assert not existing(guest, config)


def test_the_recorded_writes_are_covered():
    covered, accepted = len(writes()), len(recorded("container_writes.jsonl")) // 2
    print(f"containers: {covered} of {accepted} recorded writes compared ({covered / accepted:.0%})")
    assert accepted > 70
    assert covered >= 0.9 * accepted


CONNECTION = {
    "api_backend": "https", "api_host": "pve.example", "api_port": None, "api_user": "root@pam", "api_password": None,
    "api_token_id": "t", "api_token_secret": "s", "validate_certs": True, "ca_path": None, "api_timeout": 5,
}  # fmt: skip


def refusals() -> list[Any]:
    return [pytest.param(entry, id=f"{entry['status']} {entry['reason']}"[:60]) for entry in recorded("refusals.jsonl")]


@pytest.mark.parametrize("entry", refusals())
def test_a_refusal_is_a_sentence_with_the_words_of_the_api(entry):
    body = json.dumps(entry["response"]) if "response" in entry else ""
    answer = SimpleNamespace(status_code=entry["status"], reason=entry["reason"], content=body.encode())
    error = client.Client(CONNECTION)._refusal(entry["method"], entry["path"], answer)
    message = str(error)
    assert message.endswith(".")
    assert "\n" not in message
    if entry["status"] == 401:
        for word in ("pve.example:8006", "root@pam!t", "api_token_secret"):
            assert word in message
        return
    assert entry["reason"].strip().rstrip(".") in message
    for key, why in ((entry.get("response") or {}).get("errors") or {}).items():
        assert f"{key}: {' '.join(why.split())}" in message
    if entry["status"] == 403:
        assert "privilege" in message or "api_backend 'local'" in message


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("LOCKED", "CT is locked (backup)"),
        ("STALE", "detected modified configuration - file changed by other user? Try again."),
        ("STALE", "CT 130 already running"),
        ("STALE", "CT 102 not running"),
        ("STALE", "disk is already at specified size"),
        ("STALE", "CT 101 already exists on node 'pve1'"),
        ("STALE", "update pools failed: VM 101 is already a pool member"),
        ("MISSING", "Configuration file 'nodes/pve1/lxc/999.conf' does not exist"),
    ],
)
def test_refusals_that_are_waited_for_or_looked_at_again_were_recorded_so(pattern, words):
    assert words in {entry["reason"] for entry in recorded("refusals.jsonl")}
    assert re.search(getattr(engine, pattern), words)


@pytest.mark.parametrize("entry", refusals())
def test_other_refusals_end_the_work(entry):
    final = ("Permission check failed", "storage '", "bridge '", "script '", "unable to ", "Parameter verification")
    if entry["reason"].startswith(final):
        assert not engine.LOCKED.search(entry["reason"])
        assert not engine.STALE.search(entry["reason"])
