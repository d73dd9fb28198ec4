# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for Ceph have in common: an object that a node is asked about, and a daemon that runs on it."""

from __future__ import annotations

import re
import time
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError, Unreachable
from ansible_collections.onprem.cloud.plugins.module_utils.pve.cluster import BRING_BACK, NO_QUORUM
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import BOOL, Boolean, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import TaskFailed

CONSENT = {**BOOL, "default": False}
# Whether the service of a daemon runs, as one that is made does.
RUNNING = Option(BOOL, Boolean(), True)
# How the states of monitors, managers and metadata servers that run begin.
RUN = ("running", "active", "standby", "up:")
# Seconds between two looks whether Ceph has noticed what a service did.
PAUSE = 0.5
# An id of a daemon, as systemd and Ceph both take it.
DAEMON = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")

# PVE's words (regular expressions) for a Ceph that is not there yet, and what comes first then.
NO_PACKAGES = r"binary not installed|please run 'pveceph install'"
NO_CONFIGURATION = r"configuration not initialized|not fully configured"
NO_MONITOR = r"rados_connect failed|rados_conf_read_file failed"
TIMEOUT = r"^got timeout"
REMEDIES = {
    NO_PACKAGES: "Ceph is not installed on node '{node}': run 'pveceph install --repository no-subscription' there",
    NO_CONFIGURATION: "Ceph has no configuration: create it with pve_ceph_init",
    NO_MONITOR: "no monitor of Ceph answers: create the first with pve_ceph_mon, or look at 'ceph -s' on the node",
    TIMEOUT: "Ceph does not answer: look at 'ceph -s' on node '{node}'",
    r"all MDS daemons must be inactive": "stop its metadata servers (pve_ceph_mds with running false and force true)",
    NO_QUORUM: BRING_BACK,
}
NOT_YET = re.compile("|".join((NO_PACKAGES, NO_CONFIGURATION, NO_MONITOR)))
BUSY = re.compile(f"{NO_MONITOR}|{TIMEOUT}")


class CephObject(Resource):
    """Something of a Ceph cluster, asked of one node; Ceph itself may not be there yet."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.node: str = self.params["node"]
        self.ready = True  # Ceph answers

    # ------------------------------------------------------------------------------------------------- reading

    def find(self) -> dict[str, Any] | None:
        """The object where Ceph answers."""
        raise NotImplementedError  # every kind has an answer of its own

    def fetch(self) -> dict[str, Any] | None:
        try:
            return self.find()
        except PveError as error:
            if not NOT_YET.search(error.text):
                raise
            nothing = self.state == "absent" and re.search(NO_CONFIGURATION, error.text)
            if not nothing and not self.module.check_mode:
                raise
            if not nothing:
                # What comes before in the same run may be about to make it.
                self.module.warn(f"{self}: {self.explained(error)}")
            self.ready = False
            return None

    def explained(self, error: PveError) -> str:
        """PVE's words with what to do about them."""
        if not error.status and not isinstance(error, TaskFailed):
            return str(error)
        remedy = next((text for words, text in REMEDIES.items() if re.search(words, error.text)), "")
        remedy = remedy.format(node=self.node)
        if isinstance(error, TaskFailed):
            return f"{error}. Remedy: {remedy}." if remedy else str(error)
        return f"{remedy} (Proxmox VE says: {error.text})." if remedy else str(error)

    def osds(self) -> dict[int, dict[str, Any]]:
        """The OSDs of the whole Ceph cluster, with the node that each is in."""
        found: dict[int, dict[str, Any]] = {}
        try:
            queue: list[dict[str, Any]] = [self.client.get(f"/nodes/{self.node}/ceph/osd")["root"]]
        except PveError as error:
            if not re.search("no tree nodes found|no root node", error.text):
                raise
            # Ceph has had no OSD so far.
            queue = []
        while queue:
            bucket = queue.pop()
            for item in bucket.get("children", []):
                queue.append(item)
                if item.get("type") == "osd":
                    host = bucket["name"] if bucket.get("type") == "host" else ""
                    plain = {key: value for key, value in item.items() if key not in ("leaf", "children")}
                    found[int(item["id"])] = {"host": host, **plain, "id": int(item["id"])}
        return found

    # ------------------------------------------------------------------------------------------------ planning

    def check_sizes(self) -> None:
        """The copies of an object: how many there are, and how many there must be."""
        for name in ("size", "min_size"):
            if self.sets.get(name) == 1 and not self.params["force"]:
                self.problem(f"{name} 1 loses data with the first broken disk, give 2 or more, or set force to true")
        size, least = self.after("size"), self.after("min_size")
        if {"size", "min_size"} & self.sets.keys() and least > size:
            self.problem(
                f"min_size {least} is more than size {size}, nothing could be written: give min_size {size} or less, "
                "or a greater size"
            )

    def consent(self, what: str) -> None:
        """Nothing that holds data goes without a word of its own."""
        if not self.params["destroy_data"]:
            raise PveError(f"{self}: removing it destroys {what}: set destroy_data to true if that is meant.")

    def unsafe(self, service: str, name: Any, action: str) -> str:
        """Why Ceph would rather not have a daemon stopped or destroyed; nothing if it agrees."""
        asked = {"service": service, "id": str(name), "action": action}
        answer = self.client.get(f"/nodes/{self.node}/ceph/cmd-safety", **asked)
        return "" if int(answer.get("safe") or 0) else str(answer.get("status") or "no reason").strip()

    # ------------------------------------------------------------------------------------------------- writing

    def turn(self, service: str, reached: Callable[[], bool], *, on: bool) -> None:
        """Start or stop a service, and wait until Ceph has noticed."""
        action, state = ("start", "up") if on else ("stop", "down")
        upid = self.send("post", f"/nodes/{self.node}/ceph/{action}", service=service)
        self.tasks.wait(upid, f"{self}: {action} {service}")
        self.wait_until(reached, f"{service} was told to {action} and is not {state}", service)

    def wait_until(self, reached: Callable[[], bool], what: str, service: str) -> None:
        kind, dot, name = service.partition(".")
        unit = f"ceph-{kind}@{name}.service" if dot else f"ceph-{kind}.target"
        deadline = time.monotonic() + self.tasks.timeout
        while not self.answered(reached):
            if time.monotonic() > deadline:
                raise PveError(
                    f"{self}: {what} within {self.tasks.timeout:g} s: look at 'systemctl status {unit}' on the node, "
                    "or raise task_timeout."
                )
            time.sleep(PAUSE)

    @staticmethod
    def answered(reached: Callable[[], bool]) -> bool:
        """Whether it is so; while monitors come and go, Ceph may not answer."""
        try:
            return reached()
        except PveError as error:
            if not BUSY.search(error.text):
                raise
            return False

    def send(self, method: str, path: str, **values: Any) -> Any:
        """A write. If its answer is lost, what it began ends before anybody looks what there is."""
        try:
            return getattr(self.client, method)(path, **values)
        except Unreachable:
            self.settle(f"/nodes/{self.node}/tasks", "ceph", "srv", source="active")
            raise

    # ------------------------------------------------------------------------------------------------- running

    def run(self) -> dict[str, Any]:
        try:
            return super().run()
        except PveError as error:
            sentence = self.explained(error)
            prefix = "" if sentence.startswith(str(self)) else f"{self}: "
            raise PveError(f"{prefix}{sentence}", error.text, error.status) from error


class Daemon(CephObject):
    """A monitor, a manager or a metadata server."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        module.params[table.id] = module.params[table.id] or module.params["node"]
        super().__init__(module, table)
        self.daemons: list[dict[str, Any]] = []  # all of the kind, wherever they run
        if not DAEMON.fullmatch(self.name):
            self.problem(f"{table.id} '{self.name}' is not an id: write letters, digits and dashes")

    def find(self) -> dict[str, Any] | None:
        self.daemons = self.client.get(self.path)
        return next((item for item in self.daemons if item["name"] == self.name), None)

    def others(self, *states: str) -> list[str]:
        """The daemons of the kind besides this one that are in one of these states."""
        return [
            item["name"]
            for item in self.daemons
            if item["name"] != self.name and str(item.get("state", "")).startswith(states)
        ]

    @property
    def kind(self) -> str:
        """What Ceph calls such a daemon."""
        return self.path.rpartition("/")[2]

    @staticmethod
    def runs(daemon: dict[str, Any] | None) -> bool:
        return str((daemon or {}).get("state", "")).startswith(RUN)

    def check_removal(self) -> None:
        """Raises PveError if Ceph needs the daemon."""

    def check_stop(self) -> None:
        """A problem if Ceph cannot do without the daemon."""
        why = self.unsafe(self.kind, self.name, "stop")
        if why:
            self.problem(f"Ceph says that it cannot do without it ({why}): {self.before_stop}")

    before_stop = "bring the others back first ('ceph -s' shows which are missing)"

    def validate(self) -> None:
        if self.raw is not None and self.sets.get("running") is False and not self.params.get("force"):
            self.check_stop()

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        if option == "running" and self.raw is not None:
            return self.runs(self.raw)
        return super().current(option, answer)

    def plan(self) -> str:
        host = (self.raw or {}).get("host")
        if host and host != self.node:
            raise PveError(
                f"{self} is on node '{host}' and not on '{self.node}': give that node, or another {self.table.id}."
            )
        action = super().plan()
        if action == "delete":
            self.check_removal()
        elif self.raw is not None and "running" not in self.wanted and self.raw.get("state") in ("stopped", "unknown"):
            self.module.warn(
                f"{self} is there and does not run ({self.raw['state']}): set running to true to start it."
            )
        return action

    def create(self) -> Any:
        values = {name: value for name, value in self.sets.items() if name != "running"}
        return self.send("post", self.item_path, **self.values(values))

    def update(self) -> None:
        on = self.sets["running"]
        self.turn(f"{self.kind}.{self.name}", lambda: self.runs(self.find()) == on, on=on)

    def delete(self) -> Any:
        return self.send("delete", self.item_path)
