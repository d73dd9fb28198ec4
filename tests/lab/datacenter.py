# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of jobs and of the datacenter's options, storages as they read, and backups."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from fakepve import PveError, TaskError, formats

from tests.lab.records import Area, Records, Values

EVENT = re.compile(
    r"(minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly)"
    r"|((mon|tue|wed|thu|fri|sat|sun)((\.\.|,)(mon|tue|wed|thu|fri|sat|sun))* )?([\d*,./-]+-[\d*,./-]+ )?[\d*,./:]+"
)


def properties(text: str, bare: str = "", flags: tuple[str, ...] = ()) -> Values:
    """A property string as the object that some areas of the API answer."""
    pairs = (part if "=" in part else f"{bare}={part}" for part in text.split(","))
    found = dict(pair.split("=", 1) for pair in pairs)
    return {key: int(value) if key in flags else value for key, value in found.items()}


# ------------------------------------------------------------------------------------ backup jobs


def job_stored(values: Values) -> Values:
    values = {key: value for key, value in values.items() if value != ""}
    if values.get("vmid"):
        gone = {"all", "exclude", "pool"}
    elif values.get("all"):
        gone = {"vmid", "pool"}
    else:
        gone = {"vmid", "all", "exclude"} if values.get("pool") else set()
    return {"enabled": 1, "type": "vzdump", **{key: value for key, value in values.items() if key not in gone}}


def job_shown(values: Values) -> Values:
    shown = dict(values)
    for key in ("prune-backups", "performance"):
        if key in shown:
            shown[key] = properties(shown[key])
    if "fleecing" in shown:
        shown["fleecing"] = properties(shown["fleecing"], flags=("enabled",))
    return shown


# ------------------------------------------------------------------------- options of the datacenter

OBJECTS = (
    "crs",
    "ha",
    "migration",
    "next-id",
    "notify",
    "replication",
    "tag-style",
    "u2f",
    "user-tag-access",
    "webauthn",
)
FLAGS = ("ha-rebalance-on-start", "ha-auto-rebalance", "case-sensitive", "allow-subdomains")


def options_shown(values: Values) -> Values:
    shown = {key: str(value) if key == "max_workers" else value for key, value in values.items()}
    for key in OBJECTS:
        if key in shown:
            shown[key] = properties(shown[key], "type", FLAGS)
    access = shown.get("user-tag-access", {})
    for place, key in ((shown, "registered-tags"), (access, "user-allow-list")):
        if key in place:
            place[key] = sorted(place[key].split(";"))
    allowed = sorted({*shown.get("registered-tags", ()), *access.get("user-allow-list", ())})
    notes = values.get("description", "")
    notes = f"{notes}\n" if notes and not notes.endswith("\n") else notes
    return {"mac_prefix": "BC:24:11", **shown, "description": notes, "allowed-tags": allowed}


# --------------------------------------------------------------------------------------- storages

# The API takes it for a storage that holds nothing.
formats.CONTENT_TYPES = (*formats.CONTENT_TYPES, "none")
# These are on the network, so every node sees the same.
ALWAYS_SHARED = ("nfs", "cifs", "pbs", "rbd", "cephfs", "iscsi")
SECRETS = ("password", "keyring", "encryption-key", "master-pubkey")


class Storages:
    """Entries of storages: lists read in any order, secrets are kept apart."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What the node has in files: storage -> secret -> value.
        self.storage_secrets: dict[str, dict[str, str]] = {}
        self._readings = 0

    def storage_config(self, name: str) -> Values:
        shown = super().storage_config(name)
        self._readings += 1
        for key in ("content", "nodes"):
            if shown.get(key):
                # A hash in Perl: no two readings need to agree.
                words = sorted(str(shown[key]).split(","), reverse=bool(self._readings % 2))
                shown[key] = ",".join(words)
        if not shown.get("disable"):
            shown.pop("disable", None)
        if isinstance(shown.get("content-dirs"), str):
            shown["content-dirs"] = properties(shown["content-dirs"])
        if shown.get("type") in ALWAYS_SHARED:
            shown["shared"] = 1
        if self.storage_secrets.get(name, {}).get("encryption-key"):
            shown["encryption-key"] = "9c:f3:5b:ad"
        return shown

    async def _sc_create(self, v: Values, user: str) -> Any:
        answer = await super()._sc_create(v, user)
        self.storage_secrets[v["storage"]] = {key: v[key] for key in SECRETS if key in v}
        return answer

    async def _sc_update(self, v: Values, user: str) -> Any:
        answer = await super()._sc_update(v, user)
        secrets = self.storage_secrets.setdefault(v["storage"], {})
        secrets.update({key: v[key] for key in SECRETS if key in v})
        for key in re.split(r"[\s,;]+", str(v.get("delete") or "")):
            secrets.pop(key, None)
        return answer

    async def _sc_delete(self, v: Values, user: str) -> Any:
        await super()._sc_delete(v, user)
        self.storage_secrets.pop(v["storage"], None)


# --------------------------------------------------------------------------------------- backups


class Backups:
    """Running vzdump."""

    # How large an archive is.
    archive_size = 57909530

    def _routes_backups(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [("POST", "/nodes/{node}/vzdump", self._vzdump)]

    async def _vzdump(self, v: Values, user: str) -> str:
        vmid, node, storage = int(v["vmid"]), v["node"], v["storage"]
        fleecing = properties(v["fleecing"]) if v.get("fleecing") else {}
        if {"bwlimit", "ionice", "performance"} & {*v}:
            self.require(user, "/", "Sys.Modify")
        if fleecing.get("storage"):
            self.require(user, f"/storage/{fleecing['storage']}", "Datastore.AllocateSpace")
        if v.get("prune-backups"):
            self.require(user, f"/storage/{storage}", "Datastore.Allocate")
        self.require(user, f"/storage/{storage}", "Datastore.AllocateSpace")
        self.require(user, f"/vms/{vmid}", "VM.Backup")
        guest = next((guest for guest in [*self.vms, *self.cts] if guest.vmid == vmid), None)
        kind = guest.guest.split("/")[0] if guest else "qemu"
        packed = {"zstd": ".zst", "gzip": ".gz", "lzo": ".lzo", "1": ".lzo"}.get(v.get("compress", "0"), "")
        stamp = time.strftime("%Y_%m_%d-%H_%M_%S")
        name = f"vzdump-{kind}-{vmid}-{stamp}{'.tar' if kind == 'lxc' else '.vma'}{packed}"

        async def body() -> str:
            if guest is None:
                raise TaskError(f"unable to find VM '{vmid}'")
            self.store_file(storage, name, self.archive_size, "backup")
            notes = v.get("notes-template", "").replace("{{guestname}}", guest.name)
            facts = {"vmid": vmid, "notes": notes or None, "protected": v.get("protected")}
            self.storages[storage]["volumes"][f"backup/{name}"].update(facts)
            return "INFO: Backup job finished successfully"

        log = [
            f"INFO: starting new backup job: vzdump {vmid} --storage {storage} --node {node}",
            f"INFO: Starting Backup of VM {vmid} ({kind})",
            f"INFO: creating vzdump archive '/var/lib/vz/dump/{name}'",
        ]
        return await self.task(node, "vzdump", vmid, user, body, vm=guest, log=log)


# ------------------------------------------------------------------------------------------ whole


class Datacenter(Storages, Backups, Records):
    """Mixin of FakePve."""

    areas_datacenter = (
        Area(
            "/cluster/backup",
            "id",
            missing=(500, "400 Parameter verification failed.\nid: No such job '{id}'\n"),
            taken="Job '{id}' already exists",
            stored=job_stored,
            shown=job_shown,
            listed=lambda values: {**job_shown(values), "next-run": 1795402800},
            required=("schedule", "enabled", "repeat-missed"),
        ),
        Area("/cluster/options", shown=options_shown),
        Area(
            "/cluster/replication",
            "id",
            missing=(500, "no such replication job '{id}'"),
            taken="job '{id}' already exists",
            stored=lambda values: {"type": "local", **values},
            required=("target", "type"),
        ),
    )
    # What reads without a digest.
    undigested = ("/cluster/backup", "/cluster/options")

    def record_read(self, area: Area, ident: str) -> Values:
        record = super().record_read(area, ident)
        if area.collection in self.undigested:
            del record["digest"]
        return record

    def record_create(self, area: Area, ident: str, values: Values) -> Any:
        check_event(values)
        check_job(values)
        if area.collection == "/cluster/replication" and values["target"] not in self.nodes:
            raise PveError(500, f"Target '{values['target']}' does not exist.")
        guest = ident.partition("-")[0]
        for other, job in self.area(area.collection).items() if area.collection == "/cluster/replication" else ():
            if other != ident and (other.partition("-")[0], job["target"]) == (guest, values["target"]):
                why = f"replication job for guest '{guest}' to target 'local/{values['target']}' already exists"
                raise PveError(500, why)
        if area.collection == "/cluster/backup":
            if not values.get("schedule"):
                raise PveError(
                    400, "Parameter verification failed.", {"schedule": "neither 'starttime' nor 'schedule' were set"}
                )
            if not any(values.get(key) for key in ("vmid", "all", "pool", "exclude")):
                raise PveError(500, "400 Parameter verification failed.\nvmid: property is missing\n")
        return super().record_create(area, ident, values)

    def record_update(self, area: Area, ident: str, values: Values) -> Any:
        check_event(values)
        check_job(values)
        job = self.area(area.collection).get(ident, {})
        gone = re.split(r"[\s,;]+", str(values.get("delete") or ""))
        if "maxfiles" in job and "maxfiles" not in gone and values.get("prune-backups"):
            # Only 8 has jobs with it, from before there was another way.
            raise PveError(
                500, "400 Parameter verification failed.\nprune-backups: option conflicts with option 'maxfiles'\n"
            )
        return super().record_update(area, ident, values)

    def _handler(self, area: Area, verb: str, one: bool) -> Callable[..., Any]:
        async def mark(values: Values, user: str) -> None:
            """The node of the guest deletes the job when it has cleaned up."""
            jobs = self.area(area.collection)
            if values["id"] not in jobs:
                self.record_missing(area, values["id"])
            jobs[values["id"]]["remove_job"] = "local" if values.get("keep") else "full"

        marked = area.collection == "/cluster/replication" and verb == "DELETE"
        handle = mark if marked else super()._handler(area, verb, one)
        allow = {"/cluster/replication": self._allow_replication, "/cluster/backup": self._allow_backup}
        if verb == "GET" or area.collection not in allow:
            return handle

        async def allowed(values: Values, user: str) -> Any:
            allow[area.collection](values, user)
            return await handle(values, user)

        return allowed

    def _allow_replication(self, values: Values, user: str) -> None:
        """With 9 there is a privilege for it."""
        if self.version.startswith("8."):
            self.require(user, "/storage", "Datastore.Allocate")
        else:
            self.require(user, f"/vms/{values['id'].partition('-')[0]}", "VM.Replicate")

    def _allow_backup(self, values: Values, user: str) -> None:
        """What a job may be given depends on the options, and on what it has."""
        gone = re.split(r"[\s,;]+", str(values.get("delete") or ""))
        job = self.area("/cluster/backup").get(values["id"], {})
        if user == "root@pam" or not values.keys() - {"id"}:
            return
        for key in ("tmpdir", "dumpdir", "script"):
            if key in values or key in gone:
                raise PveError(400, "Parameter verification failed.", {key: "Only root may set this option."})
        if job.get("dumpdir"):
            raise PveError(500, "only root@pam may edit jobs with a 'dumpdir' option.")
        if {"bwlimit", "ionice", "performance"} & {*values, *gone}:
            self.require(user, "/", "Sys.Modify")
        fleecing = properties(values["fleecing"]) if values.get("fleecing") else {}
        if fleecing.get("storage"):
            self.require(user, f"/storage/{fleecing['storage']}", "Datastore.AllocateSpace")
        for storage in (values.get("storage"), job.get("storage", "local") if job else values.get("storage", "local")):
            if storage:
                self.require(user, f"/storage/{storage}", "Datastore.Allocate")

    def run_replication(self) -> None:
        """What the nodes do with the jobs that are marked."""
        jobs = self.area("/cluster/replication")
        for ident in [ident for ident, job in jobs.items() if job.get("remove_job")]:
            del jobs[ident]

    def _routes_schedules(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [("GET", "/cluster/jobs/schedule-analyze", self._analyze)]

    async def _analyze(self, values: Values, user: str) -> list[Values]:
        check_event(values)
        return [{"timestamp": 1795359600, "utc": "Sun Nov 22 15:00:00 2026"}]


def check_job(values: Values) -> None:
    template = str(values.get("notes-template") or "")
    wrong = "contains a line feed\n" if "\n" in template else ""
    if re.search(r"\\[^n\\]", template):
        wrong = "found unknown: escape sequence\n"
    if wrong:
        raise PveError(400, "Parameter verification failed.", {"notes-template": wrong})
    fleecing = properties(values["fleecing"]) if values.get("fleecing") else {}
    if fleecing.get("enabled") == "1" and not fleecing.get("storage"):
        why = "invalid format - format error\n'storage' parameter is required when 'enabled' is set\n"
        raise PveError(400, "Parameter verification failed.", {"fleecing": why})


def check_event(values: Values) -> None:
    event = values.get("schedule")
    if event and not EVENT.fullmatch(event):
        why = (
            f"invalid format - invalid calendar event '{event}' - unable to parse calendar event - unexpected input\n\n"
        )
        raise PveError(400, "Parameter verification failed.", {"schedule": why})
