# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is alone until it makes a cluster, or joins that of another API served in the same process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from fakepve import PveError, TaskError
from fakepve.server import ok

from tests.lab.records import Values

CONFIG = "/cluster/config"
# Real seconds until a node that joined ends its connections, and until it has quorum with its new certificate.
SETTLING = 0.05
NOT_IN_SCHEMA = "property is not defined in schema and the schema does not allow additional properties"


def root_alone(user: str) -> None:
    """What no permission covers is for root@pam, not for its tokens."""
    if user != "root@pam":
        raise PveError(403, "Permission check failed (user != root@pam)")


class Quorum:
    """Mixin of FakePve."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What corosync.conf says, the same object on every member: name, nodes, totem, and who is down.
        self.corosync: Values | None = None
        # The nodes that this one reaches, by address.
        self.reachable: dict[str, Quorum] = {}
        # Certificate and key that the cluster is going to make for this node.
        self.next_certificate: tuple[str, str] | None = None
        self.fingerprint = ""

    @property
    def here(self) -> str:
        """The node that answers."""
        return next(iter(self.nodes))

    async def start(self, certfile: str, keyfile: str) -> None:
        der = ssl.PEM_cert_to_DER_cert(Path(certfile).read_text())
        self.fingerprint = hashlib.sha256(der).hexdigest().upper()
        self.fingerprint = ":".join(self.fingerprint[at : at + 2] for at in range(0, 64, 2))
        await super().start(certfile, keyfile)

    async def _cluster_status(self, request: web.Request) -> web.Response:
        answer = json.loads((await super()._cluster_status(request)).text)["data"]
        if self.corosync is None:
            # With further nodes it is a cluster whose making nobody is interested in.
            alone = len(self.nodes) == 1
            return ok([{**item, "nodeid": 0} for item in answer if item["type"] == "node"] if alone else answer)
        members = self.corosync["nodes"]
        whole = {"type": "cluster", "id": "cluster", "name": self.corosync["name"], "nodes": len(members)}
        return ok(
            [
                {**whole, "version": len(members), "quorate": int(self.quorate)},
                *(
                    {
                        "type": "node",
                        "id": f"node/{name}",
                        "name": name,
                        "nodeid": int(member["nodeid"]),
                        "ip": member["ring0_addr"],
                        "online": int(name not in self.corosync["down"]),
                        "local": int(name == self.here),
                        "level": "",
                    }
                    for name, member in members.items()
                ),
            ]
        )

    def _routes_quorum(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("POST", CONFIG, self._cluster_create),
            ("GET", f"{CONFIG}/nodes", self._cluster_nodes),
            ("GET", f"{CONFIG}/totem", self._cluster_totem),
            ("GET", f"{CONFIG}/join", self._cluster_join_info),
            ("POST", f"{CONFIG}/join", self._cluster_join),
        ]

    async def _cluster_nodes(self, v: Values, user: str) -> list[Values]:
        members = (self.corosync or {"nodes": {}})["nodes"]
        return [
            {"node": name, **{key: value for key, value in member.items() if not key.startswith("pve_")}}
            for name, member in members.items()
        ]

    async def _cluster_totem(self, v: Values, user: str) -> Values | None:
        return self.corosync and self.corosync["totem"]

    async def _cluster_join_info(self, v: Values, user: str) -> Values:
        if self.corosync is None:
            raise PveError(424, "node is not in a cluster, no join info available!")
        nodes = list(self.corosync["nodes"].values())
        if any("pve_fp" not in node for node in nodes):
            raise PveError(500, "unable to read certificate of a node that has made none yet")
        return {"nodelist": nodes, "preferred_node": self.here, "totem": self.corosync["totem"], "config_digest": "0"}

    def _member(self, v: Values, nodeid: int) -> Values:
        links = {key: v[key] for key in v if key.startswith("link")} or {"link0": self.host}
        rings = {f"ring{link[4:]}_addr": address.split(",")[0] for link, address in links.items()}
        votes = str(v.get("votes", 1))
        return {"name": self.here, "nodeid": str(nodeid), "quorum_votes": votes, "pve_addr": self.host, **rings}

    async def _cluster_create(self, v: Values, user: str) -> str:
        root_alone(user)
        if self.version.startswith("8.") and "token-coefficient" in v:
            raise PveError(400, "Parameter verification failed.", {"token-coefficient": NOT_IN_SCHEMA})
        if self.corosync is not None:
            raise PveError(500, "cluster config '/etc/pve/corosync.conf' already exists")

        async def body() -> str:
            member = {**self._member(v, v.get("nodeid", 1)), "pve_fp": self.fingerprint}
            interfaces = {}
            for ring in (key for key in member if key.startswith("ring")):
                number = ring[4]
                _address, _comma, priority = str(v.get(f"link{number}", "")).partition(",priority=")
                chosen = {"knet_link_priority": priority} if priority else {}
                interfaces[number] = {"linknumber": number, **chosen}
            totem = {"cluster_name": v["clustername"], "config_version": "1", "interface": interfaces}
            if not self.version.startswith("8."):
                totem["token_coefficient"] = str(v.get("token-coefficient", 125))
            self.corosync = {"name": v["clustername"], "nodes": {self.here: member}, "totem": totem, "down": set()}
            return "Restart corosync and cluster filesystem"

        return await self.task(self.here, "clustercreate", v["clustername"], user, body)

    async def _cluster_join(self, v: Values, user: str) -> str:
        root_alone(user)
        log: list[str] = []

        async def body() -> str:
            if self.corosync is not None or self.vms or self.cts:
                log.append("* this host already contains virtual guests")
                raise TaskError("Check if node may join a cluster failed!")
            peer = self.reachable.get(v["hostname"])
            if peer is None:
                raise TaskError(f"500 Can't connect to {v['hostname']}:8006")
            if peer.fingerprint != v["fingerprint"].upper():
                raise TaskError("fingerprint not verified, abort!")
            if not peer.check_password("root@pam", v["password"]):
                raise TaskError("401 authentication failure")
            peer.admit(self, v)
            self.corosync, self.quorate = peer.corosync, False
            asyncio.get_running_loop().create_task(self._renew())
            return f"successfully added node '{self.here}' to cluster."

        upid = await self.task(self.here, "clusterjoin", "", user, body)
        self.tasks[upid]["log"][:0] = log
        return upid

    def admit(self, joiner: Quorum, v: Values) -> None:
        """A node is added to the configuration of the cluster."""
        members = self.corosync["nodes"]
        why = "" if self.quorate else "cluster not ready - no quorum?"
        if joiner.here in members:
            why = f"can't add existing node '{joiner.here}'"
        if why:
            raise TaskError(f"An error occurred on the cluster node: {why} Cluster join aborted!")
        used = {int(member["nodeid"]) for member in members.values()}
        free = next(number for number in range(1, 99) if number not in used)
        members[joiner.here] = joiner._member(v, v.get("nodeid", free))

    async def _renew(self) -> None:
        """The certificate and the key of the tickets are the cluster's now, and the API starts anew."""
        await asyncio.sleep(SETTLING)
        self.tickets.clear()
        await self.stop()
        await asyncio.sleep(SETTLING)
        if self.next_certificate is not None:
            await self.start(*self.next_certificate)
            self.corosync["nodes"][self.here]["pve_fp"] = self.fingerprint
            await asyncio.sleep(2 * SETTLING)
            self.quorate = True
