# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What concerns whole nodes: what only root@pam may do, and a node that is known by its certificate alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import CONNECT_SECONDS, Client, PveError, causes

if TYPE_CHECKING:
    from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource

ROOT = "root@pam"
# PVE's words where a majority of the nodes is missing, and what to do about it.
NO_QUORUM = "no quorum"
BRING_BACK = (
    "too few nodes of the cluster are up and reach each other: bring them back ('pvecm status' shows which are missing)"
)


def is_root(params: dict[str, Any]) -> bool:
    """Whether the requests are made by root@pam itself; a token of that user is another login."""
    return params["api_backend"] == "local" or (params["api_user"] == ROOT and bool(params["api_password"]))


def reserved(params: dict[str, Any], what: str, how: str = "") -> str:
    """The sentence for what Proxmox VE lets root@pam alone do."""
    who = params["api_user"] if params["api_password"] else f"the token '{params['api_user']}!{params['api_token_id']}'"
    how = how or "use api_backend 'local' as root on a node (become: true), or api_user 'root@pam' with api_password"
    return f"Proxmox VE lets root@pam alone {what}, and refuses {who}: {how}"


def root_only(resource: Resource, what: str, how: str = "") -> None:
    """A problem, unless root@pam itself asks."""
    if not is_root(resource.params):
        resource.problem(reserved(resource.params, what, how))


class Session:
    """A login to the node whose certificate has a fingerprint. The password is not sent to any other."""

    def __init__(self, params: dict[str, Any], fingerprint: str) -> None:
        requests = import_module("requests")
        adapter = requests.adapters.HTTPAdapter()
        adapter.init_poolmanager(1, 4, assert_fingerprint=fingerprint)
        self.session = requests.Session()
        self.session.mount("https://", adapter)
        host = f"[{params['api_host']}]" if ":" in params["api_host"] else params["api_host"]
        self.url = f"https://{host}:{params['api_port'] or 8006}/api2/json"
        self.timeout = (min(params["api_timeout"], CONNECT_SECONDS), params["api_timeout"])
        self.login(params)

    def login(self, params: dict[str, Any]) -> None:
        refused = import_module("proxmoxer.core").AuthenticationError
        secret = {"username": params["api_user"], "password": params["api_password"]}
        response = self.request("POST", f"{self.url}/access/ticket", data=secret)
        if response.status_code != 200:
            raise refused(f"code: {response.status_code}")
        answer = response.json()["data"]
        if answer.get("NeedTFA"):
            raise refused("missing Two Factor Authentication")
        self.session.cookies.set("PVEAuthCookie", answer["ticket"])
        self.session.headers["CSRFPreventionToken"] = answer["CSRFPreventionToken"]

    def request(self, method: str, url: str, **place: Any) -> Any:
        # The fingerprint is checked when the connection is made, before anything is sent over it.
        return self.session.request(method, url, verify=False, timeout=self.timeout, **place)

    def get_session(self) -> Session:
        return self

    def get_base_url(self) -> str:
        return self.url


class Pinned(Client):
    """A client that trusts one certificate, and no authority."""

    def __init__(self, params: dict[str, Any], fingerprint: str) -> None:
        super().__init__(params)
        self.fingerprint = fingerprint

    def _connect(self) -> Any:
        with self.lock:
            if self.backend is None:
                self.backend = Session(self.params, self.fingerprint)
        return self.backend

    def _transport_error(self, error: Exception) -> PveError:
        told = next((str(item) for item in causes(error) if str(item).startswith("Fingerprints did not match")), "")
        if told:
            return PveError(
                f"The certificate of {self.where} is another one than expected ({told}): check the fingerprint on that "
                "node with 'pvenode cert info', and that nobody is in between."
            )
        return super()._transport_error(error)
