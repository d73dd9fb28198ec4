# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Proxmox VE API on a loopback address, and the collection's modules run against it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()
Api = importlib.import_module("tests.contract.serving").Api
Run = importlib.import_module("tests.contract.running").Run


@pytest.fixture(autouse=True)
def _no_credentials_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PROXMOX_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def start_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Api]]:
    """Starts an API; all of them are stopped at the end."""
    started: list[Api] = []

    def start() -> Api:
        started.append(Api(tmp_path_factory.mktemp("pve")))
        return started[-1]

    yield start
    for api in started:
        api.stop()


@pytest.fixture
def api(start_api: Callable[[], Api]) -> Api:
    """An API with one node, nothing on it but a template."""
    return start_api()


@pytest.fixture
def run(api: Api) -> Run:
    """Runs modules against `api`."""
    return Run(api)


@pytest.fixture
def container(api: Api) -> Callable[..., dict[str, Any]]:
    """Builds a guest of pve_fleet: complete enough to be created, with what a test changes."""

    def build(vmid: int = 100, **options: Any) -> dict[str, Any]:
        guest = {
            "vmid": vmid,
            "type": "lxc",
            "node": "pve1",
            "hostname": f"guest-{vmid}",
            "ostemplate": api.template,
            "cores": 1,
            "memory": 256,
            "swap": 0,
            "rootfs": {"storage": "local-lvm", "size": 4},
            "net": {
                "net0": {
                    "name": "eth0",
                    "bridge": "vmbr0",
                    "ip": f"192.0.2.{vmid % 250 + 1}/24",
                    "gw": "192.0.2.254",
                    "firewall": True,
                }
            },
            "features": {"nesting": True},
            "state": "present",
            **options,
        }
        return {name: value for name, value in guest.items() if value is not ...}

    return build


@pytest.fixture
def machine() -> Callable[..., dict[str, Any]]:
    """Builds a virtual machine of pve_fleet, with what a test changes."""

    def build(vmid: int = 300, **options: Any) -> dict[str, Any]:
        guest = {
            "vmid": vmid,
            "type": "qemu",
            "node": "pve1",
            "hostname": f"machine-{vmid}",
            "memory": 1024,
            "scsi": {"scsi0": {"storage": "local-lvm", "size": 4}},
            **options,
        }
        return {name: value for name, value in guest.items() if value is not ...}

    return build
