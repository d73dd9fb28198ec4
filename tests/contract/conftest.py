# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Proxmox VE API on a loopback address, and the collection's modules run against it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import os
import signal
import sys
import threading
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
from fakepve import next_loopback
from fakepve.certs import make_cert

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()

from tests.lab.api import Pve  # noqa: E402 - needs the path above

TOKEN = "root@pam!test"
SECRET = "7d1c9b52-5f0e-4f8e-9a53-7f1f7a6ac1f4"
# No module run of these tests takes longer; one that hangs must not take the whole run with it.
PATIENCE = 60


class Request(NamedTuple):
    """What the API saw."""

    method: str
    path: str
    params: dict[str, str]


class Api:
    """A served `Pve`."""

    def __init__(self, directory: Path) -> None:
        self.pve = Pve(host=next_loopback(), port=0)
        self.pve.apitokens[TOKEN] = SECRET
        self.template = self.pve.add_template()
        self._seen = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.ca_path, key, _ = make_cert(str(directory), hosts=(self.pve.host,))
        self.call(self.pve.start(self.ca_path, key))

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine where the API runs."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine where the API runs, without waiting for it."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        self.call(self.pve.interrupt_tasks())
        self.call(self.pve.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def connection(self) -> dict[str, Any]:
        """The connection options of every module."""
        user, token = TOKEN.split("!")
        return {
            "api_host": self.pve.host,
            "api_port": self.pve.port,
            "api_user": user,
            "api_token_id": token,
            "api_token_secret": SECRET,
            "ca_path": self.ca_path,
        }

    def requests(self) -> list[Request]:
        """The requests since the last call."""
        fresh = self.pve.requests[self._seen :]
        self._seen = len(self.pve.requests)
        return [
            Request(method, path.removeprefix("/api2/json"), dict(urllib.parse.parse_qsl(body.decode(), True)))
            for method, path, body in fresh
        ]

    def writes(self) -> list[Request]:
        """The requests since the last call that can change something."""
        return [request for request in self.requests() if request.method != "GET"]

    def config(self, vmid: int) -> dict[str, Any]:
        """The configuration of a container as the API shows it, changes that wait for a restart included."""
        container = self.pve.ct(vmid)
        waiting = {**container.config, **container.pending}
        return {key: value for key, value in waiting.items() if value is not None}


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
