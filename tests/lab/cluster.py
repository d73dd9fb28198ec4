# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of what a cluster has once: notifications, metric servers, hardware mappings and high availability."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from fakepve import PveError

from tests.lab.records import CHANGED, Area, Records, Values

NOTIFICATIONS = "/cluster/notifications"
ENDPOINTS = f"{NOTIFICATIONS}/endpoints"
MATCHERS = f"{NOTIFICATIONS}/matchers"
METRICS = "/cluster/metrics/server"
PCI, USB, DIR = (f"/cluster/mapping/{kind}" for kind in ("pci", "usb", "dir"))
# What the API calls them in refusals.
MAPPINGS = {PCI: "hardware", USB: "hardware", DIR: "directory"}
HA = "/cluster/ha"
RESOURCES, RULES, GROUPS = f"{HA}/resources", f"{HA}/rules", f"{HA}/groups"
OWN = (NOTIFICATIONS, METRICS, *MAPPINGS, HA)
LISTED_WITH_DIGEST = (*MAPPINGS, RESOURCES, RULES, GROUPS)
NOT_IN_SCHEMA = "property is not defined in schema and the schema does not allow additional properties"
ENDPOINT_TYPES = ("gotify", "sendmail", "smtp", "webhook")
SEVERITIES = ("info", "notice", "warning", "error", "unknown")
# What is there from the start, and comes back when it is deleted.
BUILTIN: dict[str, dict[str, Values]] = {
    f"{ENDPOINTS}/sendmail": {
        "mail-to-root": {"comment": "Send mails to root@pam's email address", "mailto-user": ["root@pam"]}
    },
    MATCHERS: {
        "default-matcher": {
            "comment": "Route all notifications to mail-to-root",
            "mode": "all",
            "target": ["mail-to-root"],
        }
    },
}


def without_secrets(values: Values) -> Values:
    """Passwords and tokens are in a file of their own; of a webhook's secrets the names are shown."""
    shown = {key: value for key, value in values.items() if key not in ("password", "token")}
    if "secret" in shown:
        shown["secret"] = [item.split(",value=")[0] for item in shown["secret"]]
    return shown


def of_type(kind: str, values: Values) -> Values:
    return {**values, "type": kind}


class Cluster(Records):
    """Mixin of FakePve."""

    areas_notifications = (
        *(
            Area(
                f"{ENDPOINTS}/{kind}",
                "name",
                missing=(404, "endpoint '{id}' not found"),
                shown=without_secrets,
                listed=without_secrets,
            )
            for kind in ENDPOINT_TYPES
        ),
        Area(MATCHERS, "name", missing=(404, "matcher '{id}' not found")),
    )

    areas_metrics = (
        Area(
            METRICS,
            "id",
            missing=(500, "status server entry '{id}' does not exist"),
            taken="Metric server '{id}' already exists",
            shown=without_secrets,
            listed=lambda values: {key: values[key] for key in ("disable", "port", "server", "type") if key in values},
        ),
    )

    areas_mappings = tuple(
        Area(
            collection,
            "id",
            missing=(500, "mapping '{id}' not found"),
            taken=f"create {noun} mapping failed: {kind} ID '{{id}}' already defined",
            stored=partial(of_type, kind),
            idempotent=True,
        )
        for (collection, noun), kind in zip(MAPPINGS.items(), ("pci", "usb", "dir"))
    )

    areas_ha = (
        Area(
            RESOURCES,
            "sid",
            missing=(500, "no such resource '{id}'"),
            taken="create resource failed: resource ID '{id}' already defined",
        ),
        Area(
            RULES,
            "rule",
            missing=(500, "no such ha rule '{id}'"),
            taken="create ha rule failed: HA rule ID '{id}' already defined",
            idempotent=True,
        ),
        Area(
            GROUPS,
            "group",
            missing=(500, "no such ha group '{id}'"),
            taken="create ha group failed: ha group ID '{id}' already defined",
            stored=lambda values: {**values, "type": "group"},
            idempotent=True,
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.no_directories: set[str] = set()  # paths that the first node does not have
        for collection, objects in BUILTIN.items():
            for name, values in objects.items():
                self.area(collection)[name] = {**values, "origin": "builtin"}

    def _routes_cluster_objects(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("GET", f"{NOTIFICATIONS}/targets", self._notification_targets),
            ("POST", f"{METRICS}/{{id}}", self._metric_create),
        ]

    def record_list(self, area: Area, values: Values) -> list[Values]:
        self._check_ha_version(area, "GET", "index groups")
        found = super().record_list(area, values)
        if area.collection not in LISTED_WITH_DIGEST:
            return found
        return [{**item, "digest": self.digest(area.collection)} for item in found]

    # -------------------------------------------------------------------------------------- notifications

    async def _notification_targets(self, v: Values, user: str) -> list[Values]:
        return [
            {
                **{key: values[key] for key in ("comment", "disable", "origin") if key in values},
                "name": name,
                "type": kind,
            }
            for kind in ENDPOINT_TYPES
            for name, values in self.area(f"{ENDPOINTS}/{kind}").items()
        ]

    def digest(self, collection: str) -> str:
        if not collection.startswith(NOTIFICATIONS):
            return super().digest(collection)
        # One file for all of them.
        held = {name: objects for name, objects in self.records.items() if name.startswith(NOTIFICATIONS)}
        return hashlib.sha256(json.dumps(held, sort_keys=True, default=str).encode()).hexdigest()

    def _check_notification(self, area: Area, values: Values) -> None:
        if area.collection.endswith(("/sendmail", "/smtp")) and not (values.get("mailto") or values.get("mailto-user")):
            raise PveError(400, "must at least provide one recipient, either in mailto or in mailto-user")
        if area.collection != MATCHERS:
            return
        for severity in (word.strip() for item in values.get("match-severity", []) for word in item.split(",")):
            if severity not in SEVERITIES:
                raise PveError(500, f"error: invalid severity {severity}")
        for statement in values.get("match-field", []):
            if not re.match(r"(exact|regex):[\w.-]+=", statement):
                raise PveError(500, f"error: could not apply filter: invalid match-field statement: {statement}")
        targets = {name for kind in ENDPOINT_TYPES for name in self.area(f"{ENDPOINTS}/{kind}")}
        for target in values.get("target", []):
            if target not in targets:
                raise PveError(404, f"endpoint '{target}' does not exist")

    def record_create(self, area: Area, ident: str, values: Values) -> Any:
        if area.collection.startswith(HA):
            return self._ha_create(area, ident, values)
        self._check_directories(area, values)
        if not area.collection.startswith(NOTIFICATIONS):
            return super().record_create(area, ident, values)
        if any(ident in objects for name, objects in self.records.items() if name.startswith(NOTIFICATIONS)):
            raise PveError(400, f"Cannot create '{ident}', an entity with the same name already exists")
        self._check_notification(area, values)
        return super().record_create(area, ident, {**values, "origin": "user-created"})

    def _check_directories(self, area: Area, values: Values, words: str = "") -> None:
        """The node that answers looks for its own directories; nobody looks for those of the others."""
        for item in values.get("map", []) if area.collection == DIR else ():
            node, path = item.removeprefix("node=").split(",path=")
            if node == min(self.nodes) and path in self.no_directories:
                raise PveError(500, f"{words}Path {path} does not exist")

    def record_update(self, area: Area, ident: str, values: Values) -> Any:
        if area.collection.startswith(HA):
            return self._ha_update(area, ident, values)
        if area.collection in MAPPINGS and not values.get("map"):
            words = f"update {MAPPINGS[area.collection]} mapping failed"
            raise PveError(500, f"{words}: missing value for required option 'map'")
        self._check_directories(area, values, "update directory mapping failed: ")
        if not area.collection.startswith(NOTIFICATIONS):
            return super().record_update(area, ident, values)
        current = self.area(area.collection).get(ident)
        if current is None:
            self.record_missing(area, ident)
        if values.get("digest") not in (None, self.digest(area.collection)):
            raise PveError(400, CHANGED)
        gone = values.get("delete") or []
        values = {key: value for key, value in values.items() if key not in ("delete", "digest")}
        self._check_notification(area, {key: value for key, value in {**current, **values}.items() if key not in gone})
        origin = "user-created" if current["origin"] == "user-created" else "modified-builtin"
        return super().record_update(area, ident, {**values, "origin": origin, "delete": ",".join(gone)})

    def record_delete(self, area: Area, ident: str) -> Any:
        if area.collection.startswith(HA):
            return self._ha_delete(area, ident)
        if area.collection.startswith(ENDPOINTS):
            users = [name for name, values in self.area(MATCHERS).items() if ident in values.get("target", [])]
            if users and ident not in BUILTIN.get(area.collection, {}):
                raise PveError(400, f"cannot delete '{ident}', referenced by: {', '.join(users)}")
        super().record_delete(area, ident)
        if ident in BUILTIN.get(area.collection, {}):
            self.area(area.collection)[ident] = {**BUILTIN[area.collection][ident], "origin": "builtin"}

    # --------------------------------------------------------------------------------------------- metrics

    async def _metric_create(self, v: Values, user: str) -> None:
        self.record_create(self.areas_metrics[0], v["id"], v)

    def record_read(self, area: Area, ident: str) -> Values:
        self._check_ha_version(area, "GET", "read group")
        if area.collection == RESOURCES:
            ident = self._sid(ident)
        if not area.collection.startswith(OWN):
            return super().record_read(area, ident)
        # What other areas hide of theirs, such as the digest, is shown of these.
        read = Records.record_read(self, area, ident)
        if area.collection != METRICS:
            return read
        return {key: value for key, value in read.items() if key not in ("id", "digest")}

    # ---------------------------------------------------------------------------------- high availability

    def _check_ha_version(self, area: Area, verb: str, what: str) -> None:
        """Groups went with 8, rules came with 9, where none is written before the groups have become rules."""
        if area.collection == GROUPS and self._groups_are_rules:
            raise PveError(500, f"cannot {what}: ha groups have been migrated to rules")
        if area.collection == RULES and self._eight:
            raise PveError(501, f"Method '{verb} {RULES}' not implemented")
        if area.collection == RULES and verb in ("POST", "PUT") and not self._groups_are_rules:
            word = "create" if verb == "POST" else "update"
            raise PveError(500, f"cannot {word} ha rule: ha groups have not been migrated yet")

    @property
    def _eight(self) -> bool:
        return self.version.startswith("8.")

    @property
    def _groups_are_rules(self) -> bool:
        """A cluster of 9 takes the groups that it had with 8 away as soon as all of its nodes are upgraded."""
        return not self._eight and not self.area(GROUPS)

    def _sid(self, sid: str) -> str:
        """An id by itself is that of a container or a virtual machine."""
        if ":" in sid:
            return sid
        return f"ct:{sid}" if any(ct.vmid == int(sid) for ct in self.cts) else f"vm:{sid}"

    def _check_ha(self, area: Area, ident: str, values: Values) -> None:
        """What Proxmox VE refuses of an object that is to be."""
        if area.collection == RESOURCES:
            if self._eight and "failback" in values:
                raise PveError(400, "Parameter verification failed.", {"failback": NOT_IN_SCHEMA})
            if "group" in values and self._groups_are_rules:
                raise PveError(500, "invalid parameter 'group': ha groups have been migrated to rules")
        nodes = [part.partition(":")[0] for part in str(values.get("nodes") or "").split(",") if part]
        unknown = sorted(set(nodes) - set(self.nodes))
        if unknown:
            raise PveError(500, f"create ha rule failed: cannot use non-existent node(s) {', '.join(unknown)}.")
        if area.collection != RULES:
            return
        resources = values["resources"].split(",")
        unmanaged = [sid for sid in resources if sid not in self.area(RESOURCES)]
        if unmanaged:
            raise PveError(500, f"create ha rule failed: cannot use unmanaged resource(s) {', '.join(unmanaged)}.")
        wrong = ""
        if values["type"] == "resource-affinity" and len(resources) < 2:
            wrong = "rule is ineffective as there are less than two resources"
        for name, rule in self.area(RULES).items():
            both = set(rule["resources"].split(",")) & set(resources)
            if values["type"] == rule["type"] == "node-affinity" and name != ident and both:
                wrong = f"resource '{min(both)}' is already used in another node affinity rule"
        if wrong:
            raise PveError(500, f"create ha rule failed: 400 Rule '{ident}' is invalid.\nresources: {wrong}")

    def _ha_create(self, area: Area, ident: str, values: Values) -> Any:
        self._check_ha_version(area, "POST", "create group")
        given = _rule_values(values) if area.collection == RULES else dict(values)
        if area.collection == RESOURCES:
            ident = self._sid(ident)
            kind, _, vmid = ident.partition(":")
            if not vmid.isdigit():
                raise PveError(500, "invalid VMID")
            if not any(guest.vmid == int(vmid) for guest in (self.vms if kind == "vm" else self.cts)):
                raise PveError(500, f"resource '{ident}' does not exist in cluster")
            given["type"] = kind
        if ident not in self.area(area.collection):
            self._check_ha(area, ident, given)
        return super().record_create(area, ident, given)

    def _ha_update(self, area: Area, ident: str, values: Values) -> Any:
        self._check_ha_version(area, "PUT", "update group")
        given = dict(values)
        if area.collection == RESOURCES:
            ident = self._sid(ident)
        if area.collection == RULES:
            if "type" not in given:
                raise PveError(400, "Parameter verification failed.", {"type": "property is missing"})
            given = _rule_values(given)
        current = self.area(area.collection).get(ident)
        if current is None:
            self.record_missing(area, ident)
        if given.get("digest") in (None, self.digest(area.collection)):
            self._check_ha(area, ident, {**current, **given})
        return super().record_update(area, ident, given)

    def _ha_delete(self, area: Area, ident: str) -> Any:
        self._check_ha_version(area, "DELETE", "delete group")
        if area.collection == RESOURCES:
            ident = self._sid(ident)
            if ident not in self.area(RESOURCES):
                raise PveError(500, f"cannot delete service '{ident}', not HA managed!")
            for name, rule in list(self.area(RULES).items()):
                left = [sid for sid in rule["resources"].split(",") if sid != ident]
                rule["resources"] = ",".join(left)
                if not left:
                    self.area(RULES).pop(name)
        for sid, resource in self.area(RESOURCES).items() if area.collection == GROUPS else ():
            if resource.get("group") == ident:
                raise PveError(500, f"delete ha group failed: ha group is used by service '{sid}'")
        return super().record_delete(area, ident)


def _rule_values(values: Values) -> Values:
    """The schema of a rule is one of several, its values arrive as they were sent, and disable=0 is not looked at."""
    found = {key: int(value) if key in ("disable", "strict") else value for key, value in values.items()}
    return {key: value for key, value in found.items() if (key, value) != ("disable", 0)}
