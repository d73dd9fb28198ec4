# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers by one task of onprem.cloud.pve_fleet and by a loop over community.proxmox.proxmox, side by side.

Both run as whole ansible-playbook processes against one API on a loopback address: first with every
container as it should be, then with none of them there. The exit code is 1 if this collection is not
as much faster, or asks as little, as it promises.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

serving = importlib.import_module("tests.contract.serving")

NOOP_RATIO, CREATE_RATIO = 16, 4
# Requests of a run without changes: one for each container, and three for all of them.
BEYOND_CONTAINERS = 3
# Seconds of the tasks. A Debian template is unpacked in 1.9 s on a core of its own, as recorded (six one by one took
# 11.3 s, four at a time on two cores 5.5 s); the time of a start is an estimate.
CREATE_SECONDS, START_SECONDS = 1.9, 1.0
# Cores of the node, each of which unpacks one template: the server of the example inventory.
CORES = 16

OURS = """
- name: Converge the containers with one task
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Converge the containers
      onprem.cloud.pve_fleet:
        api_host: "{{ api.api_host }}"
        api_port: "{{ api.api_port }}"
        api_user: "{{ api.api_user }}"
        api_token_id: "{{ api.api_token_id }}"
        api_token_secret: "{{ api.api_token_secret }}"
        ca_path: "{{ api.ca_path }}"
        concurrency: "{{ concurrency }}"
        guests: "{{ guests }}"
"""
PEER = """
- name: Converge the containers with a loop
  hosts: localhost
  connection: local
  gather_facts: false
  module_defaults:
    group/community.proxmox.proxmox:
      api_host: "{{ api.api_host }}"
      api_port: "{{ api.api_port }}"
      api_user: "{{ api.api_user }}"
      api_token_id: "{{ api.api_token_id }}"
      api_token_secret: "{{ api.api_token_secret }}"
      validate_certs: true
  tasks:
    - name: Create the containers
      community.proxmox.proxmox:
        vmid: "{{ item.vmid }}"
        node: "{{ item.node }}"
        hostname: "{{ item.hostname }}"
        ostemplate: "{{ item.ostemplate }}"
        cores: "{{ item.cores }}"
        memory: "{{ item.memory }}"
        swap: "{{ item.swap }}"
        disk: "{{ item.rootfs.storage }}:{{ item.rootfs.size }}"
        netif:
          net0: "name=eth0,bridge=vmbr0,ip={{ item.net.net0.ip }},gw={{ item.net.net0.gw }}"
        features: [nesting=1]
        timeout: 300
        state: present
      loop: "{{ guests }}"
      loop_control:
        label: "{{ item.hostname }}"

    - name: Start the containers
      community.proxmox.proxmox:
        vmid: "{{ item.vmid }}"
        state: started
      loop: "{{ guests }}"
      loop_control:
        label: "{{ item.hostname }}"
"""


@dataclass
class Measured:
    """One ansible-playbook process."""

    seconds: float
    requests: int
    writes: int


def guests(count: int, template: str) -> list[dict[str, Any]]:
    """The containers, as pve_fleet takes them."""
    return [
        {
            "vmid": vmid,
            "type": "lxc",
            "node": "pve1",
            "hostname": f"guest-{vmid}",
            "ostemplate": template,
            "cores": 1,
            "memory": 512,
            "swap": 512,
            "rootfs": {"storage": "local-lvm", "size": 8},
            "net": {
                "net0": {
                    "name": "eth0",
                    "bridge": "vmbr0",
                    "ip": f"10.0.{vmid // 250}.{vmid % 250 + 1}/16",
                    "gw": "10.0.255.254",
                }
            },
            "features": {"nesting": True},
            "state": "started",
        }
        for vmid in range(100, 100 + count)
    ]


def play(api: Any, directory: Path, playbook: str, wanted: list[dict[str, Any]], concurrency: int = 6) -> Measured:
    """Run a playbook over the containers."""
    print(f"... {playbook.split(': ', 1)[1].splitlines()[0]} ({len(wanted)})", file=sys.stderr)
    path = directory / "playbook.yml"
    path.write_text(playbook)
    variables = directory / "variables.json"
    interpreter = {"ansible_python_interpreter": sys.executable}
    variables.write_text(
        json.dumps({"guests": wanted, "api": api.connection, "concurrency": concurrency, **interpreter})
    )
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        # The way to make the peer, which has no option for it, verify the certificate as well.
        "REQUESTS_CA_BUNDLE": api.ca_path,
    }
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        "localhost,",
        "-e",
        f"@{variables}",
        str(path),
    ]
    api.requests()
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    seen = api.requests()
    return Measured(round(seconds, 2), len(seen), sum(request.method != "GET" for request in seen))


def nothing_to_do(api: Any, directory: Path, count: int) -> dict[str, Measured]:
    """Both over containers that are as they should be."""
    wanted = guests(count, api.template)
    api.pve.time_scale = 0.0
    play(api, directory, OURS, wanted)
    measured = {"peer": play(api, directory, PEER, wanted), "ours": play(api, directory, OURS, wanted)}
    api.pve.cts.clear()
    return measured


def creation(api: Any, directory: Path, count: int, concurrency: int) -> dict[str, Measured]:
    """Both from nothing to running containers."""
    wanted = guests(count, api.template)
    api.pve.time_scale = 1.0
    api.pve.ct_secs.update(create=CREATE_SECONDS, start=START_SECONDS)
    measured = {}
    for name, playbook in (("peer", PEER), ("ours", OURS)):
        measured[name] = play(api, directory, playbook, wanted, concurrency)
        if len(api.pve.cts) != count or {made.status for made in api.pve.cts} != {"running"}:
            sys.exit(f"{name}: not every container was created and started")
        api.pve.cts.clear()
    return measured


def ratio(measured: dict[str, Measured]) -> float:
    return measured["peer"].seconds / measured["ours"].seconds


def broken_promises(noop: dict[str, Measured], create: dict[str, Measured], count: int) -> list[str]:
    """What the figures do not hold of what they should."""
    limit = count + BEYOND_CONTAINERS
    promises = {
        f"a run without changes is {NOOP_RATIO} times faster": ratio(noop) >= NOOP_RATIO,
        f"a run without changes sends at most {limit} requests": noop["ours"].requests <= limit,
        "a run without changes writes nothing": noop["ours"].writes == 0,
        f"creating is {CREATE_RATIO} times faster": ratio(create) >= CREATE_RATIO,
    }
    return [promise for promise, kept in promises.items() if not kept]


def table(results: dict[str, dict[str, Measured]]) -> str:
    lines = [f"{'':28}{'community.proxmox':^32}{'onprem.cloud':^32}{'ratio':>8}"]
    lines.append(f"{'':28}" + f"{'seconds':>12}{'requests':>10}{'writes':>10}" * 2)
    for title, measured in results.items():
        cells = [measured[name] for name in ("peer", "ours")]
        figures = "".join(f"{cell.seconds:>12.1f}{cell.requests:>10}{cell.writes:>10}" for cell in cells)
        lines.append(f"{title:28}{figures}{ratio(measured):>8.1f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--containers", type=int, default=100, help="containers with nothing to do (default: 100)")
    parser.add_argument("--create", type=int, default=13, help="containers to create (default: 13)")
    parser.add_argument("--concurrency", type=int, default=6, help="how many pve_fleet creates at a time (default: 6)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        api = serving.Api(Path(directory))
        api.pve.node_figures["pve1"] = {"maxcpu": 256, "maxmem": 512 * 1024**3}
        api.pve.storages["local-lvm"].update(total=4 * 1024**4)
        api.pve.unpack_slots = CORES
        noop = nothing_to_do(api, Path(directory), options.containers)
        create = creation(api, Path(directory), options.create, options.concurrency)
        api.stop()
    broken = broken_promises(noop, create, options.containers)
    results = {
        f"{options.containers} with nothing to do": noop,
        f"{options.create} created and started": create,
    }
    if options.json:
        figures = {
            title: {**{name: asdict(cell) for name, cell in measured.items()}, "ratio": round(ratio(measured), 2)}
            for title, measured in results.items()
        }
        print(json.dumps({"results": figures, "broken": broken}, indent=2))
    else:
        print(table(results))
        print(f"onprem.cloud created {options.concurrency} at a time, a loop creates one after the other.")
        for promise in broken:
            print(f"Not so: {promise}.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
