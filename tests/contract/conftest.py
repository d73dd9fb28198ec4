# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Proxmox VE API on a loopback address, and the collection's modules run against it."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()
Api = importlib.import_module("tests.contract.serving").Api

# No module run of these tests takes longer; one that hangs must not take the whole run with it.
PATIENCE = 60


class Run:
    """Runs modules of the collection in this process, as Ansible would execute them."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.output = ""

    def __call__(self, module: str, args: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
        """The result of a run that must succeed."""
        result = self.any(module, args, check=check)
        assert not result.get("failed"), result["msg"]
        return result

    def fails(self, module: str, args: dict[str, Any], *, check: bool = False) -> str:
        """The message of a run that must fail."""
        result = self.any(module, args, check=check)
        assert result.get("failed"), result
        return result["msg"]

    def any(self, module: str, args: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
        """The result of a run, whatever it is."""
        main = importlib.import_module(f"ansible_collections.onprem.cloud.plugins.modules.{module}").main
        given = {**self.api.connection, **args, "_ansible_check_mode": check, "_ansible_diff": True}
        given = {name: value for name, value in given.items() if value is not None}
        # A process of its own would have none from the run before.
        warnings._global_warnings.clear()
        stdout = io.StringIO()
        with _patience(), patch_module_args(given), contextlib.redirect_stdout(stdout), pytest.raises(SystemExit):
            main()
        self.output += stdout.getvalue()
        return json.loads(stdout.getvalue())

    def fleet(self, *guests: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        """The result of pve_fleet for these guests."""
        return self("pve_fleet", {"guests": list(guests), **options}, check=check)

    def fleet_fails(self, *guests: dict[str, Any], check: bool = False, **options: Any) -> str:
        """The message of pve_fleet for these guests."""
        return self.fails("pve_fleet", {"guests": list(guests), **options}, check=check)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError(f"the module did not end within {PATIENCE} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


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
