# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Proxmox VE API served on a loopback address of its own, in a thread."""

from __future__ import annotations

import asyncio
import threading
import urllib.parse
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from fakepve import next_loopback
from fakepve.certs import make_cert

from tests.lab.api import Pve

TOKEN = "root@pam!test"
SECRET = "7d1c9b52-5f0e-4f8e-9a53-7f1f7a6ac1f4"
PATIENCE = 60
GIB = 1024**3


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
        # Large enough that no test meets a limit that it is not about.
        self.pve.node_figures["pve1"] = {"maxcpu": 64, "maxmem": 128 * GIB}
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

    def changes(self) -> list[Request]:
        """The writes since the last call, but for logins."""
        return [request for request in self.writes() if request.path != "/access/ticket"]

    def lose_answers(self) -> list[str]:
        """From now on, the first write to each path happens and its answer never arrives; the paths, as they come."""
        answer, lost = self.pve._answer, []

        async def losing(request: Any, *args: Any) -> Any:
            response = await answer(request, *args)
            if request.method != "GET" and request.path not in lost:
                lost.append(request.path)
                request.transport.abort()
            return response

        self.pve._answer = losing
        return lost

    def config(self, vmid: int) -> dict[str, Any]:
        """The configuration of a container as the API shows it, changes that wait for a restart included."""
        container = self.pve.ct(vmid)
        waiting = {**container.config, **container.pending}
        return {key: value for key, value in waiting.items() if value is not None}
