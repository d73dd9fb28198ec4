# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake API that the tests and the lab run against answers as a real Proxmox VE 9.2.11 did.

The recordings are requests about containers and what the real API answered, in the order they happened.
"""

from __future__ import annotations

import json
import re
import time
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


def login(api) -> requests.Session:
    """A session of root, not of a token: some of the recordings set what only root@pam may set."""
    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would win over the next line
    session.verify = api.ca_path
    credentials = {"username": "root@pam", "password": api.pve.password}
    ticket = session.post(f"{api.pve.url}/api2/json/access/ticket", data=credentials).json()["data"]
    session.cookies["PVEAuthCookie"] = ticket["ticket"]
    session.headers["CSRFPreventionToken"] = ticket["CSRFPreventionToken"]
    return session


def test_containers_answer_as_recorded(api):
    api.pve.storages["local"]["content"] = "backup,images,iso,rootdir,snippets,vztmpl"
    config = {
        "memory": 256,
        "rootfs": "local:101/vm-101-disk-0.raw,size=1G",
        "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:65:AC:1F,ip=dhcp,type=veth",
    }
    api.pve.add_ct(101, name="ct1", config=config)
    session = login(api)
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


def test_figures_are_the_same_wherever_they_are_shown(api):
    gib = 1024**3
    api.pve.node_figures["pve1"] = {"maxcpu": 16, "maxmem": 64 * gib, "mem": 10 * gib, "maxdisk": 100 * gib}
    api.pve.storages["local-lvm"].update(total=400 * gib, avail=300 * gib)
    api.pve.storages["offline"] = {"type": "dir", "active": 0, "content": "rootdir", "files": set()}
    api.pve.bridges = {"vmbr0": {"cidr": "192.0.2.2/24"}, "vmbr1": {}}
    api.pve.add_ct(100, name="unlimited")
    session = login(api)

    def get(path, **params):
        return session.get(f"{api.pve.url}/api2/json{path}", params=params).json()["data"]

    resources = {item["id"]: item for item in get("/cluster/resources")}
    status = get("/nodes/pve1/status")
    assert get("/nodes")[0]["maxmem"] == resources["node/pve1"]["maxmem"] == status["memory"]["total"] == 64 * gib
    assert get("/nodes")[0]["maxcpu"] == resources["node/pve1"]["maxcpu"] == status["cpuinfo"]["cpus"] == 16
    assert status["memory"]["free"] == 54 * gib
    assert status["rootfs"]["total"] == 100 * gib
    storage = resources["storage/pve1/local-lvm"]
    assert (storage["maxdisk"], storage["disk"]) == (400 * gib, 100 * gib)
    shown = get("/nodes/pve1/storage/local-lvm/status")
    assert (shown["total"], shown["used"], shown["avail"]) == (400 * gib, 100 * gib, 300 * gib)
    assert resources["storage/pve1/offline"]["status"] == "unknown"
    assert "maxdisk" not in resources["storage/pve1/offline"]
    assert resources["lxc/100"]["maxcpu"] == 16
    assert [bridge["iface"] for bridge in get("/nodes/pve1/network", type="any_bridge")] == ["vmbr0", "vmbr1"]
    assert get("/nodes/pve1/network")[0]["cidr"] == "192.0.2.2/24"


def test_creations_share_the_cores_of_the_node(api, run, container):
    api.pve.time_scale = 0.1
    api.pve.ct_secs["create"] = 2
    api.pve.unpack_slots = 2
    started = time.monotonic()
    run.fleet(*(container(vmid) for vmid in range(100, 106)), concurrency=6)
    assert time.monotonic() - started > 0.55
