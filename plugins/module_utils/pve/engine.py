# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests from what is to what is wanted: read, compare, validate the whole plan, apply, read back.

Every write is followed by reading the guest and planning again, so a run that is interrupted, an
answer that is lost and a configuration that somebody else changed all end the same way: what is
already there is kept, and only what is missing is done.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve import checks
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, PveError, Unreachable, connect
from ansible_collections.onprem.cloud.plugins.module_utils.pve.plan import Guest, Plan
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Size
from ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu import KINDS, QEMU, Drive
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import (
    LOCK_PAUSE,
    LOCKED,
    LOST_TRIES,
    MISSING,
    STALE,
    STALE_TRIES,
    Tasks,
)


class Refused(Exception):
    """The plan cannot be carried out; nothing was written."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))


def label(item: dict[str, Any]) -> str:
    return f"{item['vmid']} {item['hostname']}".strip()


def shown(item: dict[str, Any], side: str) -> dict[str, Any]:
    """One side of a guest's diff; what is not there is not shown."""
    return {key: value[side] for key, value in sorted(item["changes"].items()) if value[side] is not None}


class Fleet:
    """Any number of guests, brought to what is wanted together."""

    def __init__(
        self,
        client: Client,
        guests: list[dict[str, Any]],
        params: dict[str, Any],
        *,
        check_mode: bool,
        warn: Callable[[str], None],
    ) -> None:
        self.client, self.params, self.check_mode, self.warn = client, params, check_mode, warn
        self.guests = [Guest(guest) for guest in guests]
        self.timeout: float = params["task_timeout"]
        self.tasks = Tasks(client, self.timeout, warn)
        self.items: dict[int, dict[str, Any]] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.storages: dict[tuple[str, str], dict[str, Any]] = {}

    def run(self) -> dict[str, Any]:
        """Everything, in order; raises Refused before the first write if the plan cannot be carried out."""
        with ThreadPoolExecutor(max_workers=max(1, min(self.params["concurrency"], len(self.guests)))) as pool:
            self.read(pool)
            plans = [Plan(guest) for guest in self.guests if not guest.misplaced]
            self.validate(plans, pool)
            if self.check_mode:
                outcomes = [self.predict(plan) for plan in plans]
            else:
                outcomes = list(pool.map(self.converge, plans))
        changed = [outcome for outcome in outcomes if outcome["changed"]]
        return {
            "changed": bool(changed),
            "guests": outcomes,
            "diff": {side: {label(item): shown(item, side) for item in changed} for side in ("before", "after")},
        }

    def read(self, pool: ThreadPoolExecutor) -> None:
        """What PVE has: one listing, the power state of the nodes concerned, a configuration a guest."""
        for item in self.client.get("/cluster/resources"):
            if item["type"] == "node":
                self.nodes[item["node"]] = item
            elif item["type"] == "storage":
                self.storages[item["node"], item["storage"]] = item
            elif item["type"] in KINDS:
                self.items[int(item["vmid"])] = item
        for guest in self.guests:
            self.locate(guest)
        list(pool.map(self.read_source, [guest for guest in self.guests if guest.source and not guest.misplaced]))
        there = [guest for guest in self.guests if guest.exists and not guest.misplaced]
        live = {(guest.node, guest.kind.path) for guest in there if guest.state != "present"}
        running = {
            int(item["vmid"])
            for items in pool.map(lambda key: self.client.get(f"/nodes/{key[0]}/{key[1]}"), sorted(live))
            for item in items
            if item.get("status") == "running"
        }
        for guest in there:
            if guest.state != "present":
                guest.running = guest.vmid in running
        list(pool.map(self.read_config, there))
        if not self.check_mode:
            list(pool.map(self.finish_creation, there))
        for guest in there:
            self.identify(guest)

    def locate(self, guest: Guest) -> None:
        """Where the guest is, or is to be."""
        item = self.items.get(guest.vmid)
        if item is None:
            if guest.params.get("clone") and guest.state != "absent":
                self.originate(guest)
            if not guest.node and len(self.nodes) == 1:
                guest.node = next(iter(self.nodes))
            if guest.state != "absent" and guest.node not in self.nodes:
                known = ", ".join(sorted(self.nodes))
                given = f"node '{guest.node}' does not exist" if guest.node else "node is missing"
                guest.misplace(f"{given}, the cluster has {known}")
        elif KINDS[item["type"]] is not guest.kind:
            taken = f"{KINDS[item['type']].label} '{item.get('name', '')}'"
            guest.misplace(f"vmid {guest.vmid} is taken by {taken}, choose another vmid or set type to {item['type']}")
        else:
            elsewhere = guest.node not in ("", item["node"]) and not item.get("hastate")
            if elsewhere and not (guest.params.get("migrate") and guest.state != "absent"):
                guest.misplace(
                    f"it is on node '{item['node']}', not '{guest.node}': set migrate to have it moved, or change node"
                )
            elif elsewhere:
                self.aim(guest, item["node"])
            guest.item, guest.node = dict(item), item["node"]
            guest.running = item.get("status") == "running"
        for node in dict.fromkeys((guest.node, guest.home)):
            if self.nodes.get(node, {}).get("status") == "offline":
                guest.misplace(f"node '{node}' is offline, bring it back first")

    def originate(self, guest: Guest) -> None:
        """The guest that this one is to be a clone of."""
        clone = guest.params["clone"]
        vmid, name = clone.get("vmid"), (clone.get("name") or "").lower()
        found = [
            item
            for item in self.items.values()
            if vmid == item["vmid"] or (name and name == item.get("name", "").lower())
        ]
        which = vmid or f"'{name}'"
        if len(found) > 1:
            vmids = ", ".join(sorted(str(item["vmid"]) for item in found))
            guest.misplace(f"clone: {which} is the name of several guests ({vmids}), write vmid in place of name")
        elif not found:
            guest.lacking = f"clone: guest {which} does not exist, or the privilege VM.Audit to see it is missing"
            if not guest.node and len(self.nodes) > 1:
                guest.misplace(guest.lacking)
        elif KINDS[found[0]["type"]] is not guest.kind:
            guest.misplace(f"clone: guest {which} is a {KINDS[found[0]['type']].noun}, not a {guest.kind.noun}")
        else:
            guest.source = dict(found[0])
            guest.node = guest.node or guest.source["node"]

    def read_source(self, guest: Guest) -> None:
        source, snapshot = guest.source or {}, guest.params["clone"].get("snapname")
        path = f"/nodes/{source['node']}/{guest.kind.path}/{source['vmid']}"
        try:
            config = self.client.get(f"{path}/config", **({"snapshot": snapshot} if snapshot else {"current": 1}))
        except PveError as error:
            if not snapshot or "does not exist" not in error.text:
                raise
            entries = self.client.get(f"{path}/snapshot")
            known = ", ".join(sorted(entry["name"] for entry in entries if entry["name"] != "current"))
            guest.misplace(f"clone: guest {source['vmid']} has no snapshot '{snapshot}', it has {known or 'none'}")
            return
        source["config"] = config
        guest.inherit(config)

    def aim(self, guest: Guest, source: str) -> None:
        """The guest is to go from the source to the node that was given."""
        if guest.node not in self.nodes:
            guest.misplace(f"node '{guest.node}' does not exist, the cluster has {', '.join(sorted(self.nodes))}")
            return
        guest.target = guest.node
        pairs = [pair.split(":") for pair in str(guest.params.get("target_storage") or "").split(",") if pair]
        named = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        rest = next((pair[0] for pair in pairs if len(pair) == 1 and pair[0] != "1"), "")
        for node, storage in self.storages:
            if node == source and not self.storages[node, storage].get("shared"):
                guest.mapped[storage] = named.get(storage) or rest or storage

    @staticmethod
    def identify(guest: Guest) -> None:
        """A vmid that belongs to a guest of another name is never touched."""
        if not guest.exists or not guest.name or guest.config.get("lock") == "create":
            return
        name = str(guest.config.get(guest.kind.name_key) or guest.item.get("name") or "")
        if name.lower() not in ("", guest.name.lower(), str(guest.params.get("rename_from") or "").lower()):
            guest.misplace(
                f"vmid {guest.vmid} is taken by '{name}', choose another vmid, or set rename_from to '{name}' to "
                "rename that guest"
            )

    def read_config(self, guest: Guest) -> None:
        """The configuration of the next start, and which of it waits for that start."""
        try:
            entries = self.client.get(f"{guest.path}/pending")
        except PveError as error:
            if not MISSING.search(error.text):
                raise
            guest.item, guest.config, guest.running = None, dict(guest.inherited), False
            self.follow(guest)
            return
        guest.waiting = sorted(entry["key"] for entry in entries if "pending" in entry or entry.get("delete"))
        kept = [entry for entry in entries if not entry.get("delete")]
        values = {entry["key"]: entry.get("pending", entry.get("value")) for entry in kept}
        guest.config = {key: value for key, value in values.items() if value is not None}

    def follow(self, guest: Guest) -> None:
        """A guest that was to go to another node may have arrived: the answer about it was lost."""
        if not guest.target:
            return
        for item in self.client.get("/cluster/resources", type="vm"):
            if int(item["vmid"]) == guest.vmid and item["node"] == guest.target:
                self.arrive(guest, item)
                self.read_config(guest)

    @staticmethod
    def arrive(guest: Guest, item: dict[str, Any]) -> None:
        guest.item, guest.node, guest.target = {**item, "node": guest.target}, guest.target, ""

    def peek(self, guest: Guest) -> None:
        """The configuration of a guest that is not ours, if it can be had: its node may be down."""
        with contextlib.suppress(PveError):
            guest.config = self.client.get(f"{guest.path}/config")

    def reread(self, guest: Guest) -> None:
        """The guest as it is now, after a write or a failure."""
        if guest.item is None:
            guest.item = {"vmid": guest.vmid, "type": guest.kind.path, "node": guest.node}
        self.read_config(guest)
        if guest.exists:
            guest.running = self.client.get(f"{guest.path}/status/current").get("status") == "running"

    def finish_creation(self, guest: Guest) -> None:
        """A creation that an earlier run began: wait for its task. A half-made guest is left alone."""
        if guest.config.get("lock") not in ("create", "clone"):
            return
        if guest.params.get("clone"):
            self.originate(guest)
        self.settle(guest)
        self.reread(guest)
        if guest.config.get("lock") in ("create", "clone"):
            guest.misplace(
                f"its creation was interrupted (lock '{guest.config['lock']}', and no task works on it): make sure "
                f"that it holds nothing of value, remove it on node '{guest.node}' with '{guest.kind.tool} unlock "
                f"{guest.vmid}; {guest.kind.tool} destroy {guest.vmid}', and run again"
            )

    def settle(self, guest: Guest) -> None:
        """Wait for what is at work on the guest; that a guest is cloned is the work of its source."""
        self.tasks.settle(guest.node, str(guest), vmid=guest.vmid)
        if guest.source:
            self.tasks.settle(guest.source["node"], str(guest), vmid=guest.source["vmid"])

    def validate(self, plans: list[Plan], pool: ThreadPoolExecutor) -> None:
        """Raise every problem of the whole plan at once."""
        problems = [problem for guest in self.guests for problem in guest.problems]
        problems += checks.duplicates(self, plans, pool)
        problems += checks.capacity(self, plans)
        problems += checks.lives(self, plans)
        problems += checks.privileged(self, plans)
        missing = checks.references(self, [plan for plan in plans if plan], pool)
        problems = [problem for plan in plans for problem in plan.problems] + problems
        if self.check_mode:  # an earlier task of a real run may have made them
            for problem in missing:
                self.warn(problem)
        else:
            problems += missing
        if problems:
            raise Refused(list(dict.fromkeys(problems)))

    def predict(self, plan: Plan) -> dict[str, Any]:
        return self.report(plan, plan.after, [step.text for step in plan.steps], **self.waiting(plan.guest))

    @staticmethod
    def waiting(guest: Guest) -> dict[str, Any]:
        """What a running guest takes at its next start only, be it of this run or of another."""
        return {"pending": guest.waiting} if guest.running else {}

    def converge(self, plan: Plan) -> dict[str, Any]:
        """Carry out one guest's plan; a failure is reported and leaves the other guests alone."""
        guest = plan.guest
        done: list[str] = []
        extra: dict[str, Any] = {}
        try:
            self.work(plan, done)
            extra.update(self.waiting(guest))
        except (PveError, Refused) as failure:
            extra["error"] = str(failure) if str(failure).startswith(str(guest)) else f"{guest}: {failure}"
        return self.report(plan, {key: guest.now(key) for key in plan.before}, done, **extra)

    @staticmethod
    def report(plan: Plan, after: dict[str, Any], actions: list[str], **extra: Any) -> dict[str, Any]:
        """What the user reads about one guest."""
        guest, before = plan.guest, plan.before
        differing = [key for key in before if before[key] != after[key]]
        return {
            "vmid": guest.vmid,
            "hostname": guest.name or str((guest.item or {}).get("name", "")),
            "node": after.get("node") or guest.node,
            "type": guest.kind.path,
            "changed": bool(actions),
            "actions": actions,
            "changes": {key: {"before": before[key], "after": after[key]} for key in differing},
            "status": after.get("status", guest.status),
            "pending": [],
            **extra,
            "reboot_required": bool(extra.get("pending")),
        }

    def work(self, plan: Plan, done: list[str]) -> None:
        """Step, read back, plan again, until nothing is left to do."""
        guest = plan.guest
        deadline = time.monotonic() + self.timeout
        lost = stale = 0
        previous = None
        while plan:
            step, unsure = plan.steps[0], ""
            attempt = (step, plan.sets, plan.deletes)
            try:
                if guest.config.get("lock"):
                    raise PveError(f"{guest.kind.label} is locked ({guest.config['lock']})")
                if attempt == previous:
                    raise PveError(f"PVE accepted '{step.text}', but reads back {plan.before}: it stores another value")
                getattr(self, f"do_{step.verb}")(plan)
                previous = attempt
                if step.text not in done:
                    done.append(step.text)
            except Unreachable:
                lost += 1
                if lost > LOST_TRIES:
                    raise
                unsure = step.text
                time.sleep(min(0.1 * lost, 2))
                self.settle(guest)
            except PveError as error:
                if LOCKED.search(error.text):
                    if time.monotonic() > deadline:
                        sentence = f"{guest}: it is still locked after {self.timeout:g} s: {error.text}."
                        raise PveError(sentence) from error
                    time.sleep(LOCK_PAUSE)
                elif STALE.search(error.text) and stale < STALE_TRIES:
                    stale += 1
                    self.settle(guest)
                else:
                    raise
            self.reread(guest)
            self.identify(guest)  # somebody else may have taken the vmid meanwhile
            plan = plan if guest.misplaced else Plan(guest)
            if unsure and unsure not in [*done, *(left.text for left in plan.steps)]:
                done.append(unsure)  # its answer was lost, and it was done all the same
            if guest.problems or plan.problems:
                raise Refused(guest.problems or plan.problems)

    def do_create(self, plan: Plan) -> None:
        guest = plan.guest
        values = plan.values
        self.keep_secrets(plan)
        keys = guest.params.get("ssh_public_keys")
        if keys:
            values["ssh-public-keys"] = keys if isinstance(keys, str) else "\n".join(map(str, keys))
        for key in ("ostemplate", "password", "pool"):
            if guest.params.get(key):
                values[key] = guest.params[key]
        upid = self.client.post(f"/nodes/{guest.node}/{guest.kind.path}", vmid=guest.vmid, **values)
        self.tasks.wait(upid, f"{guest}: create")
        guest.item = {"vmid": guest.vmid, "type": guest.kind.path, "node": guest.node, "pool": values.get("pool")}

    def do_clone(self, plan: Plan) -> None:
        guest, source = plan.guest, plan.guest.source or {}
        clone = guest.params["clone"]
        values = {key: clone[key] for key in ("full", "storage", "snapname") if clone.get(key) is not None}
        if guest.name:
            values[guest.kind.name_key] = guest.name
        if guest.params.get("pool"):
            values["pool"] = guest.params["pool"]
        if source["node"] != guest.node:
            values["target"] = guest.node
        guest.cloned = True
        path = f"/nodes/{source['node']}/{guest.kind.path}/{source['vmid']}"
        upid = self.client.post(f"{path}/clone", newid=guest.vmid, **values)
        self.tasks.wait(upid, f"{guest}: clone")
        guest.item = {"vmid": guest.vmid, "type": guest.kind.path, "node": guest.node, "pool": values.get("pool")}

    def do_update(self, plan: Plan) -> None:
        guest = plan.guest
        names, values = guest.kind.renamed, plan.values
        if plan.drives and plan.sets.get("protection") is False:
            # Whether a volume may be changed is asked of the configuration as it is stored.
            self.client.put(f"{guest.path}/config", protection=values.pop("protection"), digest=guest.config["digest"])
            self.read_config(guest)
        if plan.deletes:
            values["delete"] = ",".join(names.get(key, key) for key in plan.deletes)
        if "digest" in guest.config:
            values["digest"] = guest.config["digest"]
        # PVE answers at once to PUT and with a task to POST, which has the time that a new disk takes.
        drives = [value for key, value in plan.sets.items() if isinstance(guest.kind.option(key).kind, Drive)]
        write = self.client.post if any(Drive.made(value) for value in drives) else self.client.put
        try:
            self.tasks.wait(write(f"{guest.path}/config", **values), f"{guest}: update")
        except PveError as error:
            # What a running machine does not let go of is stored and waits for its next start.
            if guest.kind is not QEMU or "hotplug problem" not in error.text:
                raise
            self.warn(f"{guest}: the running machine did not take the change, its next start will: {error.text}")
        self.keep_secrets(plan)

    @staticmethod
    def keep_secrets(plan: Plan) -> None:
        """Remember what was sent and cannot be read back."""
        plan.guest.sent.update(key for key in plan.sets if plan.guest.kind.option(key).secret)

    def do_resize(self, plan: Plan) -> None:
        guest, (disk, size) = plan.guest, min(plan.resizes.items())
        try:
            upid = self.client.put(f"{guest.path}/resize", disk=disk, size=Size().format(size))
            self.tasks.wait(upid, f"{guest}: resize {disk}")
        except PveError as error:
            if "already at specified size" not in error.text:
                raise
        self.read_config(guest)
        volume = guest.current(disk)
        if volume["size"] != size:  # an option that waits for a restart holds the old size
            value = guest.kind.option(disk).kind.format({**volume, "size": size})
            self.client.put(f"{guest.path}/config", **{disk: value, "digest": guest.config["digest"]})

    def do_move(self, plan: Plan) -> None:
        guest, (disk, place) = plan.guest, min(plan.moves.items())
        verb, noun = ("move_disk", "disk") if guest.kind is QEMU else ("move_volume", "volume")
        values = {noun: disk, "storage": guest.current(disk)["storage"], **place}
        if guest.params["delete_moved"]:
            values["delete"] = 1
        upid = self.client.post(f"{guest.path}/{verb}", **values, digest=guest.config["digest"])
        self.tasks.wait(upid, f"{guest}: move {disk}")

    def do_migrate(self, plan: Plan) -> None:
        guest, storage = plan.guest, plan.guest.params["target_storage"]
        values: dict[str, Any] = {"target": guest.target}
        if guest.kind is QEMU:
            values.update({"online": 1} if guest.running else {}, **({"targetstorage": storage} if storage else {}))
            if guest.params["with_local_disks"]:
                values["with-local-disks"] = 1
        else:
            values.update({"restart": 1} if guest.running else {}, **({"target-storage": storage} if storage else {}))
        upid = self.client.post(f"{guest.path}/migrate", **values)
        self.tasks.wait(upid, f"{guest}: migrate to node '{guest.target}'")
        self.arrive(guest, guest.item or {})

    def do_template(self, plan: Plan) -> None:
        guest = plan.guest
        self.tasks.once(
            lambda: self.client.post(f"{guest.path}/template"),
            f"{guest}: turn into a template",
            **{"node": guest.node, "vmid": guest.vmid, "kind": "qmtemplate" if guest.kind is QEMU else "vztemplate"},
        )

    def do_pool(self, plan: Plan) -> None:
        guest, old, new = plan.guest, plan.before["pool"], plan.after["pool"]
        if new:
            self.client.put("/pools", **{"poolid": new, "vms": str(guest.vmid), "allow-move": 1})
        else:
            self.client.put("/pools", poolid=old, vms=str(guest.vmid), delete=1)
        guest.item["pool"] = new

    def do_start(self, plan: Plan) -> None:
        self.power(plan.guest, "start", "running")

    def do_stop(self, plan: Plan) -> None:
        force = {"forceStop": 1} if plan.guest.params["force"] else {}
        try:
            self.power(plan.guest, "shutdown", "stopped", **force)
        except PveError as error:
            if force or "got timeout" not in error.text:
                raise
            sentence = f"{error}: it does not end by itself, set force to have it ended."
            raise PveError(sentence, error.text) from error

    def power(self, guest: Guest, verb: str, wanted: str, **params: Any) -> None:
        upid = self.client.post(f"{guest.path}/status/{verb}", **params)
        self.tasks.wait(upid, f"{guest}: {verb}")
        deadline = time.monotonic() + self.timeout
        while guest.item.get("hastate") and time.monotonic() < deadline:  # the HA manager acts later
            if self.client.get(f"{guest.path}/status/current").get("status") == wanted:
                return
            time.sleep(LOCK_PAUSE)

    def do_destroy(self, plan: Plan) -> None:
        guest = plan.guest
        params = {"purge": 1} if guest.params["purge"] else {}
        self.tasks.wait(self.client.delete(guest.path, **params), f"{guest}: destroy")


def run(module: AnsibleModule, guests: list[dict[str, Any]]) -> dict[str, Any]:
    """A module's work, from its options to its result."""
    try:
        fleet = Fleet(connect(module), guests, module.params, check_mode=module.check_mode, warn=module.warn)
        for option, instead in (("password", "ssh_public_keys"), ("cipassword", "sshkeys")):
            if fleet.client.local and any(guest.get(option) for guest in guests):
                raise PveError(
                    f"{option} would show in the node's process list: use {instead}, or api_backend 'https'."
                )
        result = fleet.run()
    except (PveError, Refused) as error:
        module.fail_json(msg=str(error))
    errors = [guest["error"] for guest in result["guests"] if "error" in guest]
    if errors:
        module.fail_json(msg="\n".join(errors), **result)
    return result
