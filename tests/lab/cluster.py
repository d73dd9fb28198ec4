# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of what a cluster has once: notifications, metric servers, hardware mappings and high availability."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from fakepve import PveError

from tests.lab.records import CHANGED, Area, Records, Values

NOTIFICATIONS = "/cluster/notifications"
ENDPOINTS = f"{NOTIFICATIONS}/endpoints"
MATCHERS = f"{NOTIFICATIONS}/matchers"
METRICS = "/cluster/metrics/server"
PCI = "/cluster/mapping/pci"
LISTED_WITH_DIGEST = (PCI,)
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

    areas_mappings = (
        Area(
            PCI,
            "id",
            missing=(500, "mapping '{id}' not found"),
            taken="create hardware mapping failed: pci ID '{id}' already defined",
            stored=lambda values: {**values, "type": "pci"},
            idempotent=True,
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for collection, objects in BUILTIN.items():
            for name, values in objects.items():
                self.area(collection)[name] = {**values, "origin": "builtin"}

    def _routes_cluster_objects(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("GET", f"{NOTIFICATIONS}/targets", self._notification_targets),
            ("POST", f"{METRICS}/{{id}}", self._metric_create),
        ]

    def record_list(self, area: Area, values: Values) -> list[Values]:
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
        if not area.collection.startswith(NOTIFICATIONS):
            return super().record_create(area, ident, values)
        if any(ident in objects for name, objects in self.records.items() if name.startswith(NOTIFICATIONS)):
            raise PveError(400, f"Cannot create '{ident}', an entity with the same name already exists")
        self._check_notification(area, values)
        return super().record_create(area, ident, {**values, "origin": "user-created"})

    def record_update(self, area: Area, ident: str, values: Values) -> Any:
        if area.collection == PCI and not values.get("map"):
            raise PveError(500, "update hardware mapping failed: missing value for required option 'map'")
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
        read = super().record_read(area, ident)
        if area.collection != METRICS:
            return read
        return {key: value for key, value in read.items() if key not in ("id", "digest")}
