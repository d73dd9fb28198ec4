#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_cluster
short_description: Create a cluster of Proxmox VE nodes, or join one
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - With O(state=created), the node of O(api_host) becomes the first node of a new cluster. With O(state=joined), it
    becomes a member of the cluster that O(peer) is in.
  - The module ends when the node answers as a member of a cluster with quorum. It tolerates that a node that joins
    gets another certificate, ends all logins and restarts its API meanwhile.
  - A node that is in the cluster already is left as it is. A node never changes from one cluster to another, and this
    module takes no node out of one.
  - Join one node after the other (C(serial) or C(throttle), 1).
notes:
  - Proxmox VE lets C(root@pam) alone create and join clusters, with its password and not with a token. A cluster can
    also be created with O(api_backend=local) as root on the node, a node that joins needs O(api_backend=https), because
    C(pvesh) takes the password of O(peer) on its command line only.
  - To find that a node is a member already needs the privilege C(Sys.Audit) on C(/).
  - A new certificate of a node that joins is accepted if it is the one that O(peer) tells of, or if O(ca_path) and
    O(validate_certs) accept it. Its authority is the cluster's (C(/etc/pve/pve-root-ca.pem)). Tasks that follow need
    that file in O(ca_path).
  - Only a node without guests can join, its configuration in C(/etc/pve) is replaced by that of the cluster. Storages
    that it had have to be defined again.
  - The API has no field for a second factor of C(root@pam) of O(peer).
seealso:
  - name: Cluster Manager
    description: How clusters of Proxmox VE work, and what their networks need.
    link: https://pve.proxmox.com/wiki/Cluster_Manager
  - module: onprem.cloud.pve_ha_resource
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  state:
    description:
      - V(created), the node makes a cluster of its own, O(clustername).
      - V(joined), it becomes a member of the cluster that O(peer) is in.
    type: str
    choices: [created, joined]
    required: true
  clustername:
    description:
      - Name of the cluster, 15 characters at most, letters, digits and dashes. It can never be changed. Required with
        O(state=created).
      - With O(state=joined), the name that the cluster of O(peer) must have. A node that is a member already is then
        recognized without asking O(peer).
    type: str
  links:
    description:
      - Addresses of this node in the networks of the cluster, from V(link0) to V(link7). An address, or a dict or text
        (V(address=192.0.2.11,priority=10)) with C(address) and C(priority). Of networks that work, the one with the
        lowest priority is used.
      - Priorities are set with O(state=created).
      - Without it, the address that the name of the node resolves to is the only link.
    type: dict
  nodeid:
    description: Number of the node in the cluster, the next free one unless given.
    type: int
  votes:
    description: Number of votes of the node, 1 unless given.
    type: int
  token_coefficient:
    description:
      - Milliseconds that every further node adds to the timeout of a token. For O(state=created), 125 unless given.
      - Proxmox VE 8 and the first releases of 9 refuse it. Clusters that they made have 650, the default of Corosync.
    type: int
  peer:
    description: A node of the cluster to join. Required with O(state=joined).
    type: dict
    suboptions:
      api_host:
        description: Name or address of the node.
        type: str
        required: true
      api_port:
        description: Port of its API for this module. The node that joins always uses 8006.
        type: int
        default: 8006
      api_user:
        description: The login, which can be no other.
        type: str
        choices: [root@pam]
        default: root@pam
      api_password:
        description: Password of C(root@pam) on that node.
        type: str
        required: true
      fingerprint:
        description:
          - SHA-256 fingerprint of the certificate of that node. It is trusted then, without an authority.
          - The node shows it as part of the join information, and with C(pvenode cert info).
        type: str
      validate_certs:
        description: Whether the certificate of the node must be trusted where no O(peer.fingerprint) is given.
        type: bool
        default: true
      ca_path:
        description: File with the authority that signed the certificate of the node.
        type: path
  task_timeout:
    description: Seconds to wait until the node answers as a member of a cluster with quorum.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: The first node makes the cluster
  onprem.cloud.pve_cluster:
    api_host: 192.0.2.11
    api_user: root@pam
    api_password: "{{ vault_pve_root_password }}"
    state: created
    clustername: example
    links:
      link0: 192.0.2.11

- name: The second node joins it
  onprem.cloud.pve_cluster:
    api_host: 192.0.2.12
    api_user: root@pam
    api_password: "{{ vault_pve_root_password }}"
    state: joined
    clustername: example
    links:
      link0: 192.0.2.12
    peer:
      api_host: 192.0.2.11
      api_password: "{{ vault_pve_root_password }}"
      fingerprint: "{{ pve1_fingerprint }}"
"""

RETURN = r"""
action:
  description: What was done, V(create) for a new or a joined cluster, or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
cluster:
  description: The cluster as the node sees it afterwards. Empty if the node is in none, as in check mode.
  type: dict
  returned: success
  sample:
    name: example
    quorate: true
    nodes:
      - {"name": "pve1", "nodeid": 1, "ip": "192.0.2.11", "online": true, "local": false}
      - {"name": "pve2", "nodeid": 2, "ip": "192.0.2.12", "online": true, "local": true}
"""

import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, PveError, Unreachable
from ansible_collections.onprem.cloud.plugins.module_utils.pve.cluster import (
    BRING_BACK,
    NO_QUORUM,
    ROOT,
    Pinned,
    root_only,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    DICT,
    INT,
    STR,
    Invalid,
    Number,
    Option,
    PropertyString,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import TaskFailed, Tasks

QUICKEST = 0.1
SLOWEST = 2.0
# What counts in a cluster that was made before Proxmox VE wrote one of its own.
COROSYNC_COEFFICIENT = 650
FINGERPRINT = re.compile(r"([0-9A-F]{2}:){31}[0-9A-F]{2}")


class Host(Text):
    """A name or an address; an address has one spelling."""

    def parse(self, value: Any) -> str:
        import ipaddress

        text = str(value).strip().lower()
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            return text


LINK = PropertyString(
    {"address": Host(), "priority": Number(0, 255)}, defaults={"priority": 0}, bare="address", required=("address",)
)


class Links:
    """The addresses of a node, by link."""

    def parse(self, value: Any) -> dict[str, dict[str, Any]]:
        found = {}
        for name, link in value.items():
            if not re.fullmatch(r"link[0-7]", name):
                raise Invalid(f"'{name}' is not one of link0 to link7")
            try:
                found[name] = LINK.parse(link)
                LINK.check(found[name] or {"address": ""})
            except Invalid as error:
                raise Invalid(f"{name}: {error}") from None
        return dict(sorted(found.items()))

    def format(self, value: dict[str, dict[str, Any]]) -> dict[str, str]:
        return {name: LINK.format(link) for name, link in value.items()}


PEER = {
    "api_host": {**STR, "required": True},
    "api_port": {**INT, "default": 8006},
    "api_user": {**STR, "choices": [ROOT], "default": ROOT},
    "api_password": {**STR, "required": True, "no_log": True},
    "fingerprint": STR,
    "validate_certs": {**BOOL, "default": True},
    "ca_path": {"type": "path"},
}
TABLE = Table(
    noun="cluster",
    path="/cluster/config",
    options={
        "clustername": Option(
            STR,
            Text(
                pattern=r"[A-Za-z0-9]([A-Za-z0-9-]{0,13}[A-Za-z0-9])?",
                hint="the name of a cluster: 15 characters at most, letters, digits and dashes",
            ),
            fixed=True,
        ),
        "links": Option(DICT, Links(), fixed=True),
        "nodeid": Option(INT, Number(1)),
        "votes": Option(INT, Number(), 1),
        "token_coefficient": Option({**INT, "no_log": False}, Number(), 125),
    },
    places={
        "state": {**STR, "choices": ["created", "joined"], "required": True},
        "peer": {**DICT, "options": PEER},
    },
)


class Cluster(Resource):
    """The cluster that the node is in, or is to be in."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.joins = self.state == "joined"
        self.node = ""  # the name of the node that answers
        self.info: dict[str, Any] | None = None  # what the peer says of its cluster
        self.peer: Client | None = None

    def __str__(self) -> str:
        return f"node '{self.node}'" if self.node else "cluster"

    # ------------------------------------------------------------------------------------------------- reading

    def fetch(self) -> dict[str, Any] | None:
        status = self.client.get("/cluster/status")
        nodes = [item for item in status if item["type"] == "node"]
        self.node = next((item["name"] for item in nodes if item.get("local")), "")
        cluster = next((item for item in status if item["type"] == "cluster"), None)
        if cluster is None:
            return None
        found = {"clustername": cluster["name"], "quorate": str(cluster.get("quorate")) == "1", "nodes": nodes}
        if {"links", "nodeid", "votes"} & self.wanted.keys():
            members = self.client.get("/cluster/config/nodes")
            own = next((item for item in members if item.get("name", item.get("node")) == self.node), {})
            found.update(nodeid=own.get("nodeid"), votes=own.get("quorum_votes"), links=addresses(own))
        if "token_coefficient" in self.wanted or ("links" in self.wanted and not self.joins):
            totem = self.client.get("/cluster/config/totem") or {}
            found["token-coefficient"] = totem.get("token_coefficient", COROSYNC_COEFFICIENT)
            for number, interface in (totem.get("interface") or {}).items():
                if f"link{number}" in found.get("links", {}):
                    found["links"][f"link{number}"]["priority"] = interface.get("knet_link_priority") or 0
        return found

    def facts(self) -> dict[str, Any]:
        if self.raw is None:
            return {}
        nodes = [
            {
                "name": item["name"],
                "nodeid": int(item.get("nodeid") or 0),
                "ip": item.get("ip", ""),
                "online": str(item.get("online")) == "1",
                "local": str(item.get("local")) == "1",
            }
            for item in sorted(self.raw["nodes"], key=lambda item: item["name"])
        ]
        return {"name": self.raw["clustername"], "quorate": self.raw["quorate"], "nodes": nodes}

    # ------------------------------------------------------------------------------------------------ the peer

    def ask_peer(self) -> dict[str, Any] | None:
        """What a node needs to know to join the peer's cluster, or nothing where that may come in the same run."""
        given = self.params["peer"]
        if self.peer is None:
            fingerprint = (given["fingerprint"] or "").upper()
            if fingerprint and not FINGERPRINT.fullmatch(fingerprint):
                raise PveError(
                    f"{self}: peer.fingerprint '{given['fingerprint']}' is not a SHA-256 fingerprint: write 32 bytes "
                    "in hexadecimal with colons between them, as 'pvenode cert info' shows it."
                )
            login = {**self.params, **given, "api_backend": "https", "api_token_id": None, "api_token_secret": None}
            self.peer = Pinned(login, fingerprint) if fingerprint else Client(login)
        try:
            return self.peer.get("/cluster/config/join")
        except PveError as error:
            if "second factor" in str(error):
                raise PveError(
                    f"{self}: root@pam of the peer {given['api_host']} has a second factor, which the API cannot pass "
                    "on: join with 'pvecm add' on the console, or take the factor away meanwhile."
                ) from error
            if "not in a cluster" not in error.text:
                raise PveError(f"{self}: the peer does not tell of its cluster: {error}", error.text) from error
            self.not_there(
                f"the peer {given['api_host']} is in no cluster ({error.text})", ": create one there, state created"
            )
            return None

    # ------------------------------------------------------------------------------------------------ planning

    def plan(self) -> str:
        if self.joins and (self.raw is None or "clustername" not in self.wanted):
            self.info = self.ask_peer()
            name = ((self.info or {}).get("totem") or {}).get("cluster_name")
            if name and self.wanted.setdefault("clustername", name) != name:
                self.problem(
                    f"the peer {self.params['peer']['api_host']} is in the cluster '{name}' and not in "
                    f"'{self.wanted['clustername']}', give another peer or clustername"
                )
        return super().plan()

    def compare(self) -> None:
        if self.raw is None:
            super().compare()
            return
        self.sets, self.deletes = {}, []
        name = self.wanted.get("clustername", self.raw["clustername"])
        if name != self.raw["clustername"]:
            self.problem(
                f"is in the cluster '{self.raw['clustername']}' and cannot become a member of '{name}': a node leaves "
                "a cluster only by 'pvecm delnode' on another node, and is installed anew"
            )
            return
        for option, value in self.wanted.items():
            if value is not None and value != self.current(option):
                self.problem(
                    f"{option} is {self.current(option)} and the API of Proxmox VE does not change it to {value}: edit "
                    "/etc/pve/corosync.conf as its manual says, or leave the option out"
                )

    def validate(self) -> None:
        if self.joins and "token_coefficient" in self.wanted:
            self.problem("token_coefficient belongs to state 'created', leave it out")
        if self.joins and any("priority" in link for link in (self.wanted.get("links") or {}).values()):
            self.problem("links: the priorities of a cluster are set when it is created, leave them out")
        if self.raw is not None:
            self.validate_member()
        elif self.joins:
            self.validate_joiner()
        else:
            if self.wanted.get("votes") == 0:
                self.problem("votes is 0, and the first node of a cluster needs 1 or more")
            root_only(self, "create a cluster")

    def validate_member(self) -> None:
        if not self.raw["quorate"]:
            up = [item["name"] for item in self.raw["nodes"] if str(item.get("online")) == "1"]
            self.problem(
                f"is a member of the cluster '{self.raw['clustername']}' and has no quorum "
                f"({len(up)} of {len(self.raw['nodes'])} nodes online). It joined half-way, or {BRING_BACK}. Look at "
                "'systemctl status corosync pve-cluster' on it"
            )

    def validate_joiner(self) -> None:
        if self.client.local:
            self.problem(
                "api_backend 'local' would put the password of the peer on the command line of pvesh, where every user "
                "of the node sees it: use api_backend 'https' with api_user 'root@pam' and api_password"
            )
            return
        root_only(
            self,
            "join a cluster",
            "use api_user 'root@pam' with api_password of the node that joins (api_backend 'local' only creates "
            "clusters, because pvesh would show the password of the peer)",
        )
        guests = [item for item in self.client.get("/cluster/resources", type="vm") if item["node"] == self.node]
        if guests:
            names = ", ".join(
                f"{item['vmid']} ({item.get('name', '')})" for item in sorted(guests, key=lambda item: item["vmid"])
            )
            self.problem(f"has guests, {names}: back them up, remove them and restore them after it has joined")
        if self.info is None:
            return
        members = {item["name"]: item for item in self.info["nodelist"]}
        if self.node in members:
            self.problem(
                f"the cluster '{self.wanted['clustername']}' has a node of that name, and this one is in no cluster: "
                f"it joined half-way, or the name was used before. Call 'pvecm delnode {self.node}' on {min(members)} "
                "and run again"
            )
        self.validate_place(members)
        quorate = [item.get("quorate") for item in self.peer.get("/cluster/status") if item["type"] == "cluster"]
        if "1" not in map(str, quorate):
            self.problem(f"the cluster of the peer is not ready - {NO_QUORUM}, {BRING_BACK}")

    def validate_place(self, members: dict[str, dict[str, Any]]) -> None:
        """Whether the cluster has room for the number and the addresses of this node."""
        links, nodeid = self.wanted.get("links"), self.wanted.get("nodeid")
        taken = {int(item["nodeid"]): name for name, item in members.items() if item.get("nodeid")}
        if nodeid in taken:
            self.problem(f"nodeid {nodeid} is that of node '{taken[nodeid]}', choose another one or leave it out")
        known = set().union(*(addresses(item) for item in members.values()))
        if links is None and len(known) > 1:
            self.problem(f"links is missing, the cluster has {', '.join(sorted(known))}: give an address for each")
        if links is not None and known and links.keys() != known:
            self.problem(
                f"links has {', '.join(links)} and the cluster has {', '.join(sorted(known))}: give an address for each"
            )
        used = {link["address"]: name for name, item in members.items() for link in addresses(item).values()}
        for name, link in (links or {}).items():
            owner = used.get(link["address"], self.node)
            if owner != self.node:
                self.problem(f"{name}: {link['address']} is the address of node '{owner}', give one of this node")

    # ------------------------------------------------------------------------------------------------- writing

    def values(self, names: dict[str, Any]) -> dict[str, Any]:
        values = super().values(names)
        return {**values.pop("links", {}), **values}

    def create(self) -> None:
        values = self.values(self.sets)
        path = self.path
        if self.joins:
            del values["clustername"]
            path = f"{self.path}/join"
            preferred = self.info["preferred_node"]
            peer = next(item for item in self.info["nodelist"] if item["name"] == preferred)
            values.update(
                hostname=peer.get("pve_addr") or self.params["peer"]["api_host"],
                fingerprint=peer["pve_fp"],
                password=self.params["peer"]["api_password"],
            )
        try:
            self.follow(self.client.post(path, **values), None)
        except Unreachable as error:
            self.follow(None, error)

    def follow(self, upid: str | None, lost: PveError | None) -> None:
        """Ask until the node answers as a member with quorum, whatever happens to its API meanwhile."""
        deadline, pause = time.monotonic() + self.tasks.timeout, QUICKEST
        last = lost
        while True:
            try:
                ended = self.ended(upid)
                self.raw = self.fetch()
                if ended and self.raw is not None and self.raw["quorate"]:
                    return
                if ended and self.raw is None and lost is not None:
                    raise TaskFailed(f"{self}: {lost} Nothing came of the request.", lost.text)
                last = None
            except TaskFailed:
                raise
            except PveError as error:
                last = error
                self.log_in_again()
            if time.monotonic() > deadline:
                raise PveError(
                    f"{self}: no answer as a member of a cluster with quorum, its task ended, after "
                    f"{self.tasks.timeout:g} s. It may have joined half-way: look at its task log and at "
                    f"'pvecm status' on it, or raise task_timeout.{f' The last answer: {last}' if last else ''}"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, SLOWEST)

    def ended(self, upid: str | None) -> bool:
        """Whether the task is over; raises if it failed. Without an answer, whether none is at work."""
        tasks = f"/nodes/{self.node}/tasks"
        if upid is None:
            # The list has tasks that ended a moment ago as well.
            kinds = ("clustercreate", "clusterjoin")
            active = self.client.get(tasks, source="active") or []
            return not any(task.get("type") in kinds and not task.get("endtime") for task in active)
        if self.client.get(f"{tasks}/{upid}/status").get("status") != "stopped":
            return False
        what = "join the cluster" if self.joins else "create the cluster"
        try:
            Tasks(self.client, self.tasks.timeout, self.module.warn).wait(upid, f"{self}: {what}")
        except TaskFailed as error:
            if NO_QUORUM not in str(error):
                raise
            raise TaskFailed(f"{error}. Remedy: {BRING_BACK}.", error.text) from error
        return True

    def log_in_again(self) -> None:
        """The node has a new certificate and no longer knows the ticket: what the cluster says of it is trusted."""
        if self.client.local:
            return
        fingerprint = ""
        if self.joins:
            try:
                members = self.peer.get("/cluster/config/join")["nodelist"]
                fingerprint = next((item.get("pve_fp") or "" for item in members if item["name"] == self.node), "")
            except PveError:
                # The peer cannot tell before the node has made its certificate.
                fingerprint = ""
        self.client = Pinned(self.params, fingerprint) if fingerprint else Client(self.params)


def addresses(member: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The links of a node of corosync's list."""
    found = {name: re.fullmatch(r"ring([0-7])_addr", name) for name in member}
    return {
        f"link{match[1]}": {"address": Host().parse(member[name])} for name, match in sorted(found.items()) if match
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec(TABLE),
        supports_check_mode=True,
        required_if=[("state", "created", ["clustername"]), ("state", "joined", ["peer"])],
    )
    run(module, TABLE, Cluster)


if __name__ == "__main__":
    main()
