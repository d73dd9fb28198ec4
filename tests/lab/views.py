# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can only be read: what a user is shown of the whole, and what nodes and jobs say of themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from fakepve.server import USER, ok

from tests.lab.records import Area, Records, Values

JOBS, REPLICATION = "/cluster/backup", "/cluster/replication"
FIGURES = ("cpu", "disk", "maxcpu", "maxdisk", "maxmem", "mem", "uptime")
NO_SUBSCRIPTION = {
    "status": "notfound",
    "message": "There is no subscription key",
    "serverid": "0123456789ABCDEF0123456789ABCDEF",
    "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing",
}


def listed(text: Any) -> list[str]:
    return [word for word in str(text or "").split(",") if word]


class Views(Records):
    """Mixin of FakePve."""

    areas_views = (
        Area("/cluster/mapping/usb", "id", missing=(500, "mapping '{id}' not found"), idempotent=True),
        Area("/cluster/mapping/dir", "id", missing=(500, "mapping '{id}' not found"), idempotent=True),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.updates: dict[str, list[Values]] = {}  # node -> packages as apt/update lists them
        self.subscriptions: dict[str, Values] = {}
        self.replicated: dict[str, Values] = {}  # job -> what the node says of its last run

    def _routes_views(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("GET", "/cluster/backup-info/not-backed-up", self._not_backed_up),
            ("GET", "/cluster/ha/status/current", self._ha_status),
            ("GET", "/nodes/{node}/replication", self._node_replication),
            ("GET", "/nodes/{node}/subscription", self._subscription),
            ("GET", "/nodes/{node}/apt/update", self._updates),
        ]

    async def _resources(self, request: web.Request) -> web.Response:
        """What the user may audit; a node without its figures, and pools as entries of their own."""
        answer = json.loads((await super()._resources(request)).text)["data"]
        user, kind = request[USER], request.query.get("type")
        shown = []
        for item in answer:
            if item["type"] == "node" and not self.allowed(user, f"/nodes/{item['node']}", "Sys.Audit"):
                item = {key: value for key, value in item.items() if key not in FIGURES}
            if item["type"] == "storage" and not self.allowed(user, f"/storage/{item['storage']}", "Datastore.Audit"):
                continue
            if "pool" in item and not self.allowed(user, f"/pool/{item['pool']}", "Pool.Audit"):
                del item["pool"]
            shown.append(item)
        if kind in (None, "pool"):
            names = [name for name in sorted(self.pools) if self.allowed(user, f"/pool/{name}", "Pool.Audit")]
            shown += [{"id": f"/pool/{name}", "pool": name, "type": "pool"} for name in names]
        return ok(shown)

    def _handler(self, area: Area, verb: str, one: bool) -> Callable[..., Any]:
        """Listings of mappings and users leave out what is not for this user."""
        handle = super()._handler(area, verb, one)
        privileges = ("Mapping.Audit", "Mapping.Modify", "Mapping.Use")
        if area.collection == "/access/users":
            privileges = ("Sys.Audit", "User.Modify")
        elif not area.collection.startswith("/cluster/mapping/"):
            return handle

        async def shown(values: Values, user: str) -> Any:
            def visible(item: Values) -> bool:
                base = "/access/groups" if area.key == "userid" else f"{area.collection[8:]}/{item[area.key]}"
                own = item[area.key] == user.partition("!")[0]
                return own or any(self.allowed(user, base, privilege) for privilege in privileges)

            return [item for item in await handle(values, user) if visible(item)]

        return shown if verb == "GET" and not one else handle

    def _acl_list(self, values: Values, user: str) -> list[Values]:
        rights = super()._acl_list(values, user)
        return [right for right in rights if self.allowed(user, right["path"], "Permissions.Modify")]

    async def _cluster_status(self, request: web.Request) -> web.Response:
        self.require(request[USER], "/", "Sys.Audit")
        return await super()._cluster_status(request)

    async def _ceph_status(self, request: web.Request) -> web.Response:
        if not self.allowed(request[USER], "/", "Datastore.Audit"):
            self.require(request[USER], "/", "Sys.Audit")
        return await super()._ceph_status(request)

    async def _not_backed_up(self, values: Values, user: str) -> list[Values]:
        covered = set()
        guests = [*self.vms, *self.cts]
        for job in self.area(JOBS).values():
            members = {str(vmid) for vmid in self.pools.get(job.get("pool"), ())}
            every = {str(guest.vmid) for guest in guests} if job.get("all") else set()
            covered |= (every | members | set(listed(job.get("vmid")))) - set(listed(job.get("exclude")))
        return [
            {"vmid": guest.vmid, "name": guest.name, "type": guest.guest.split("/")[0]}
            for guest in guests
            if str(guest.vmid) not in covered
        ]

    async def _ha_status(self, values: Values, user: str) -> list[Values]:
        node, quorate = sorted(self.nodes)[0], int(self.quorate)
        return [
            {"type": "quorum", "status": "OK", "quorate": quorate, "node": node, "id": "quorum"},
            {"type": "fencing", "status": "standby", "armed-state": "standby", "node": node, "id": "fencing"},
        ]

    async def _node_replication(self, values: Values, user: str) -> list[Values]:
        here = {str(guest.vmid) for guest in [*self.vms, *self.cts] if guest.node == values["node"]}
        jobs = self.area(REPLICATION).items()
        states = {ident: {"fail_count": 0, **self.replicated.get(ident, {})} for ident, _ in jobs}
        return [{**job, "id": ident, **states[ident]} for ident, job in jobs if ident.partition("-")[0] in here]

    async def _subscription(self, values: Values, user: str) -> Values:
        return self.subscriptions.get(values["node"], NO_SUBSCRIPTION)

    async def _updates(self, values: Values, user: str) -> list[Values]:
        return self.updates.get(values["node"], [])
