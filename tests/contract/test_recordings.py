# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake API that the tests and the lab run against answers as a real Proxmox VE 9.2.11 did.

The recordings are requests about containers and what the real API answered, in the order they happened.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import requests

RECORDINGS = Path(__file__).parent / "recordings" / "containers.jsonl"


def comparable(path: str, answer: Any) -> Any:
    """An answer without what is different each time: new MAC addresses, task ids, digests, order of lists."""
    text = json.dumps(answer)
    text = re.sub(r"BC:24:11(:[0-9A-F]{2}){3}", "MAC", text)
    text = re.sub(r"UPID:[^\"]*", "UPID", text)
    text = re.sub(r'"digest": "\w+"', '"digest": ""', text)
    answer = json.loads(text)
    if path.endswith("/pending") and answer["data"]:
        entries = [entry for entry in answer["data"] if entry["key"] != "digest"]
        return sorted(entries, key=lambda entry: entry["key"])
    return answer


def test_containers_answer_as_recorded(api):
    api.pve.storages["local"]["content"] = "backup,images,iso,rootdir,snippets,vztmpl"
    config = {
        "memory": 256,
        "rootfs": "local:101/vm-101-disk-0.raw,size=1G",
        "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:65:AC:1F,ip=dhcp,type=veth",
    }
    api.pve.add_ct(101, name="ct1", config=config)
    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would win over the next line
    session.verify = api.ca_path
    # The login of root, not a token of it: the recordings set what only root@pam may set.
    login = {"username": "root@pam", "password": api.pve.password}
    ticket = session.post(f"{api.pve.url}/api2/json/access/ticket", data=login).json()["data"]
    session.cookies["PVEAuthCookie"] = ticket["ticket"]
    session.headers["CSRFPreventionToken"] = ticket["CSRFPreventionToken"]
    compared = 0
    for line in RECORDINGS.read_text().splitlines():
        recorded = json.loads(line)
        where = "params" if recorded["method"] in ("GET", "DELETE") else "data"
        url = f"{api.pve.url}/api2/json{recorded['path']}"
        answer = session.request(recorded["method"], url, **{where: recorded.get("params")})
        expected = (recorded["status"], comparable(recorded["path"], recorded["response"]))
        assert (answer.status_code, comparable(recorded["path"], answer.json())) == expected, recorded
        compared += 1
    assert compared > 250
