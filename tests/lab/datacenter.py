# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of backup jobs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fakepve import PveError

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
        shown["fleecing"] = properties(shown["fleecing"], "enabled", ("enabled",))
    return shown


class Datacenter(Records):
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
    )
    # What reads without a digest.
    undigested = ("/cluster/backup",)

    def record_read(self, area: Area, ident: str) -> Values:
        record = super().record_read(area, ident)
        if area.collection in self.undigested:
            del record["digest"]
        return record

    def record_create(self, area: Area, ident: str, values: Values) -> Any:
        if area.collection == "/cluster/backup":
            check_event(values)
            if not values.get("schedule"):
                raise PveError(
                    400, "Parameter verification failed.", {"schedule": "neither 'starttime' nor 'schedule' were set"}
                )
            if not any(values.get(key) for key in ("vmid", "all", "pool", "exclude")):
                raise PveError(500, "400 Parameter verification failed.\nvmid: property is missing\n")
        return super().record_create(area, ident, values)

    def record_update(self, area: Area, ident: str, values: Values) -> Any:
        check_event(values)
        return super().record_update(area, ident, values)

    def _routes_schedules(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [("GET", "/cluster/jobs/schedule-analyze", self._analyze)]

    async def _analyze(self, values: Values, user: str) -> list[Values]:
        check_event(values)
        return [{"timestamp": 1795359600, "utc": "Sun Nov 22 15:00:00 2026"}]


def check_event(values: Values) -> None:
    event = values.get("schedule")
    if event and not EVENT.fullmatch(event):
        why = (
            f"invalid format - invalid calendar event '{event}' - unable to parse calendar event - unexpected input\n\n"
        )
        raise PveError(400, "Parameter verification failed.", {"schedule": why})
