# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of the tests answers about users, rights, tokens and realms what a real Proxmox VE 9.2.11 answered."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

import requests

RECORDED = Path(__file__).parents[1] / "unit/recordings/access.jsonl"
# What no two machines have in common.
VARYING = {"digest", "value", "realm-type"}


def plain(value: Any) -> Any:
    """An answer without what varies; lists of objects have no order, numbers may be texts, null is nothing."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in VARYING and item is not None}
    if isinstance(value, list):
        return sorted((plain(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value if value is None else str(value)


def test_the_recorded_requests_get_the_recorded_answers(api):
    session = requests.Session()
    session.trust_env, session.verify = False, api.ca_path
    base = f"{api.pve.url}/api2/json"
    login = session.post(f"{base}/access/ticket", {"username": "root@pam", "password": api.pve.password}).json()["data"]
    session.cookies["PVEAuthCookie"] = login["ticket"]
    session.headers["CSRFPreventionToken"] = login["CSRFPreventionToken"]
    wrong = []
    for entry in map(json.loads, RECORDED.read_text().splitlines()):
        place = "params" if entry["method"] in ("GET", "DELETE") else "data"
        url = base + urllib.parse.quote(entry["path"])
        response = session.request(entry["method"], url, **{place: entry.get("params") or {}})
        said, real = response.json(), entry["response"] or {}
        here = {part: plain(said.get(part)) for part in ("data", "message", "errors")}
        there = {part: plain(real.get(part)) for part in ("data", "message", "errors")}
        if (response.status_code, here) != (entry["status"], there):
            wrong.append((entry["section"], entry["method"], entry["path"], entry.get("params"), here, there))
    assert wrong == []
