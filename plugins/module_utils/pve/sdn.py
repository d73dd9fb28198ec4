# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of software defined networks: each is staged by itself, and all that is staged is applied at once."""

from __future__ import annotations

import re
from typing import Any, Callable

from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError, Unreachable
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Address, Number, Words
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import LOCKED, TaskFailed

SDN = "/cluster/sdn"
ZONES, VNETS, CONTROLLERS = f"{SDN}/zones", f"{SDN}/vnets", f"{SDN}/controllers"
SUBNETS = f"{VNETS}/{{vnet}}/subnets"
# The options of every object.
STAGING: dict[str, dict[str, Any]] = {
    "apply": {"type": "bool", "default": True},
    "pending": {"type": "str", "choices": ["fail", "keep"], "default": "fail"},
}
# What the task that applies says of a node that did not take it; the task itself ends well nevertheless.
NOT_TAKEN = re.compile(r"^error|^command '.*' failed", re.IGNORECASE)


class Addresses(Words):
    """IP addresses in any order."""

    def __init__(self) -> None:
        super().__init__(",", unordered=True)

    def parse(self, value: Any) -> list[str]:
        return sorted({Address().parse(word) for word in super().parse(value)})


class NumberOrNone(Number):
    """A number that an object need not have; none is written as 0."""

    def parse(self, value: Any) -> Any:
        return None if str(value).strip() == "0" else super().parse(value)


class Staged(Resource):
    """An object as it is staged, beside what is in force."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.listings: dict[str, list[dict[str, Any]]] = {}  # with what is staged and not applied, by path
        self.entry: dict[str, Any] = {}  # the object in its listing
        self.begun = self.applies = self.applied = False
        self.leftover: tuple[dict[str, Any], dict[str, Any]] = ({}, {})  # what earlier runs staged, for the diff

    # ------------------------------------------------------------------------------------------------- reading

    def is_it(self, item: dict[str, Any]) -> bool:
        return str(item.get(self.key)) == self.name

    def fetch(self) -> dict[str, Any] | None:
        self.listings.clear()
        # What is staged comes first: its digest must not be newer than what is planned from.
        found = next(filter(self.is_it, self.client.get(self.path)), None)
        self.entry = next(filter(self.is_it, self.pending(self.path)), {})
        return found

    def pending(self, path: str) -> list[dict[str, Any]]:
        """A collection as it is in force, each object with its state and with what is staged for it."""
        if path not in self.listings:
            self.listings[path] = self.client.get(path, pending=1) or []
        return self.listings[path]

    def staged(self, path: str) -> list[dict[str, Any]]:
        """A collection as it is going to be; what an option that goes had is left out."""
        items = [item for item in self.pending(path) if item.get("state") != "deleted"]
        merged = [{**item, **(item.get("pending") or {})} for item in items]
        return [{key: value for key, value in item.items() if value != "deleted"} for item in merged]

    @property
    def in_force(self) -> dict[str, Any]:
        return {} if self.entry.get("state") == "new" else self.entry

    def others(self) -> list[str]:
        """What else is staged, and would be applied as well."""
        found = [
            (noun, item[noun], item)
            for noun, path in (("controller", CONTROLLERS), ("zone", ZONES), ("vnet", VNETS))
            for item in self.pending(path)
            if path != self.path or not self.is_it(item)
        ]
        for vnet in self.staged(VNETS):
            path = SUBNETS.format(vnet=vnet["vnet"])
            found += [
                ("subnet", item["cidr"], item)
                for item in self.pending(path)
                if path != self.path or not self.is_it(item)
            ]
        fabrics = self.fabrics()
        found += [("fabric", item.get("id"), item) for item in fabrics.get("fabrics") or []]
        found += [
            ("node of a fabric", f"{item.get('fabric_id')}/{item.get('node_id')}", item)
            for item in fabrics.get("nodes") or []
        ]
        return [f"{noun} '{name}' ({item['state']})" for noun, name, item in found if item.get("state")]

    def fabrics(self) -> dict[str, Any]:
        try:
            return self.client.get(f"{SDN}/fabrics/all", pending=1) or {}
        except PveError as error:
            if error.status != 501:
                raise
            return {}  # they came with Proxmox VE 9

    # ------------------------------------------------------------------------------------------------ planning

    def check_name(self, longest: int, more: str = "", marks: str = "letters and digits") -> None:
        """The name of a new object."""
        if not re.fullmatch(rf"[a-zA-Z][a-zA-Z0-9{more}]*[a-zA-Z0-9]", self.name) or len(self.name) > longest:
            self.problem(f"choose another name, of 2 to {longest} {marks}, the first of them a letter")

    def users(self) -> list[str]:
        """What is built on the object, and has to go before it."""
        return []

    def options_that_wait(self) -> list[str]:
        """The options whose staged value is another one than that in force."""
        return [name for name in self.table.options if self.current(name) != self.current(name, self.in_force)]

    def takes_effect(self, action: str) -> bool:
        """Whether something of the object has to be applied once the action is done."""
        state = self.entry.get("state")
        if action == "create" or not action:
            return action == "create" or bool(state)
        if action == "delete":
            return bool(self.in_force)
        known = {self.api_key(name) for name in self.table.options}
        return (
            state == "new"
            or bool(set(self.entry.get("pending") or {}) - known)
            or any(self.after(name) != self.current(name, self.in_force) for name in self.table.options)
        )

    def plan(self) -> str:
        action = super().plan()
        if action == "delete":
            users = self.users()
            if users:
                self.not_there(f"is used by {', '.join(users)}", ": remove or move that first")
            if self.problems:
                raise PveError("\n".join(self.problems))
        if not self.begun:
            self.begin(action)
        if action:
            self.applied = False
            return action
        return "commit" if self.applies and not self.applied else ""

    def begin(self, action: str) -> None:
        """Decide, once, whether all that is staged is applied in the end."""
        self.begun = True
        if not self.params["apply"]:
            return
        own, keep = self.takes_effect(action), self.params["pending"] == "keep"
        others = self.others() if own or keep else []
        if own and not keep:
            self.refuse(others)
        self.applies = own or bool(others)
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        if own and action in ("", "update"):
            names = [name for name in self.options_that_wait() if name not in self.sets and name not in self.deletes]
            strange = [name for name in names if name not in self.wanted and self.entry["state"] == "changed"]
            if strange:
                self.module.warn(
                    f"{self}: what was staged before for {', '.join(strange)} takes effect as well, as this run "
                    "does not say otherwise."
                )
            before = {name: self.view(name, self.current(name, self.in_force)) for name in names if self.in_force}
            after = {name: self.view(name, self.current(name)) for name in names if self.raw is not None}
        if others:
            before["(staged)"] = others
            self.module.warn(
                f"{self}: Proxmox VE applies all at once, so this takes effect as well: {'; '.join(others)}."
            )
        self.leftover = tuple(
            {name: value for name, value in side.items() if value is not None} for side in (before, after)
        )

    def refuse(self, others: list[str], done: str = "") -> None:
        if others:
            raise PveError(
                f"{self}: {done}somebody else, or an earlier run without apply, has staged what would take effect as "
                f"well: {'; '.join(others)}. Apply or revert that first, set pending to keep to apply it together "
                "with this, or set apply to false to stage this beside it."
            )

    # ------------------------------------------------------------------------------------------------- writing

    def unlocked(self, write: Callable[[], Any]) -> Any:
        """A write; whoever holds the lock of the configuration is waited for."""
        try:
            return write()
        except PveError as error:
            if "invalid lock token" not in error.text:
                raise
            raise PveError(
                f"{self}: another program holds the lock of the SDN configuration: let it finish and run again, or, "
                f"if it has died, release the lock with 'pvesh delete {SDN}/lock --force 1'.",
                "is locked",
                error.status,
            ) from None

    def new(self) -> dict[str, Any]:
        """What a new object is told besides its options."""
        return {self.key: self.name}

    def create(self) -> Any:
        return self.unlocked(lambda: self.client.post(self.path, **self.new(), **self.values(self.sets)))

    def update(self) -> Any:
        return self.unlocked(super().update)

    def delete(self) -> Any:
        return self.unlocked(super().delete)

    def commit(self) -> None:
        """Apply all that is staged, and wait for it."""
        if self.params["pending"] == "fail":
            # It may have been staged a moment ago.
            self.refuse(self.others(), "staged, and not applied: ")
        try:
            upid = self.unlocked(lambda: self.client.put(SDN))
        except Unreachable:
            raise
        except PveError as error:
            if LOCKED.search(error.text):
                raise
            raise PveError(f"{self}: staged, and not applied: {error}", error.text, error.status) from None
        # From here on it counts as applied, whatever the nodes make of it, and no later run sees a difference.
        remedy = f"Once that is mended, apply again with 'pvesh set {SDN}'."
        try:
            self.tasks.wait(upid, f"{self}: apply")
        except TaskFailed as error:
            raise TaskFailed(f"{error} {remedy}", error.text) from None
        self.applied = True
        if str(upid).startswith("UPID:"):
            self.listen(upid, remedy)

    def listen(self, upid: str, remedy: str) -> None:
        """What the task says of nodes that did not take it."""
        log = self.client.get(f"/nodes/{upid.split(':')[1]}/tasks/{upid}/log", limit=5000) or []
        lines = [line for line in (str(entry.get("t", "")).strip() for entry in log) if line and line != "TASK OK"]
        if any(map(NOT_TAKEN.search, lines)):
            self.module.warn(f"{self}: not every node took what was applied: {' | '.join(lines)}. {remedy}")

    # ------------------------------------------------------------------------------------------------- running

    def run(self) -> dict[str, Any]:
        result = super().run()
        before, after = self.leftover
        diff = {"before": {**before, **result["diff"]["before"]}, "after": {**after, **result["diff"]["after"]}}
        action = "apply" if result["action"] == "commit" else result["action"]
        return {**result, "action": action, "applied": self.applies, "diff": diff}
