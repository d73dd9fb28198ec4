# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State for the areas of the API that fakepve checks and answers without keeping anything.

An ``Area`` says where its objects are and how Proxmox VE spells what it stores; a mixin of the API declares its areas
in an attribute whose name begins with ``areas_``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fakepve import PveError
from fakepve import schema as pve_schema

Values = dict[str, Any]
CHANGED = "detected modified configuration - file changed by other user? Try again."


def same(values: Values) -> Values:
    return dict(values)


@dataclass(frozen=True)
class Area:
    """A collection of the API, or an object that there is once (``key`` empty)."""

    collection: str
    key: str = ""
    item: str = ""  # its path, if it is not the collection with the key below
    missing: tuple[int, str] = (500, "no such object '{id}'")
    taken: str = "'{id}' already exists"
    stored: Callable[[Values], Values] = same  # the object as it is written to the file
    shown: Callable[[Values], Values] = same  # what is stored, as the object reads
    listed: Callable[[Values], Values] = same  # what is stored, as the listing has it
    required: tuple[str, ...] = ()  # options that cannot be deleted
    idempotent: bool = False  # deleting what is not there succeeds

    @property
    def path(self) -> str:
        return self.item or (f"{self.collection}/{{{self.key}}}" if self.key else self.collection)


class Records:
    """Mixin of FakePve: every declared area keeps what it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.records: dict[str, dict[str, Values]] = {}
        super().__init__(*args, **kwargs)

    def area(self, collection: str) -> dict[str, Values]:
        """The objects of a collection, by id; a test may edit them as another administrator would."""
        return self.records.setdefault(collection, {})

    def digest(self, collection: str) -> str:
        """Of the whole file, as Proxmox VE has it."""
        return hashlib.sha1(json.dumps(self.area(collection), sort_keys=True, default=str).encode()).hexdigest()

    def _routes_records(self) -> list[tuple[str, str, Callable[..., Any]]]:
        paths = pve_schema.load().paths
        routes = []
        for name in sorted(dir(self)):
            for area in getattr(self, name) if name.startswith("areas_") else ():
                for template, verbs in ((area.collection, ("GET", "POST")), (area.path, ("GET", "PUT", "DELETE"))):
                    for verb in verbs:
                        if verb in paths.get(template, {}) and (area.key or verb in ("GET", "PUT")):
                            routes.append((verb, template, self._handler(area, verb, template == area.path)))
        return list({route[:2]: route for route in routes}.values())

    def _handler(self, area: Area, verb: str, one: bool) -> Callable[..., Any]:
        async def handle(values: Values, user: str) -> Any:
            ident = str(values.get(area.key, "")) if area.key else ""
            if verb == "POST":
                return self.record_create(area, ident, values)
            if verb == "GET":
                return self.record_read(area, ident) if one else self.record_list(area, values)
            return self.record_update(area, ident, values) if verb == "PUT" else self.record_delete(area, ident)

        return handle

    def record_list(self, area: Area, values: Values) -> list[Values]:
        found = self.area(area.collection).items()
        return [{**area.listed(record), **({area.key: ident} if area.key else {})} for ident, record in found]

    def record_read(self, area: Area, ident: str) -> Values:
        if area.key and ident not in self.area(area.collection):
            self.record_missing(area, ident)
        record = self.area(area.collection).get(ident, {})
        digest = {"digest": self.digest(area.collection)}
        return {**area.shown(record), **({area.key: ident} if area.key else {}), **digest}

    def record_missing(self, area: Area, ident: str) -> None:
        status, text = area.missing
        raise PveError(status, text.format(id=ident))

    def record_create(self, area: Area, ident: str, values: Values) -> Any:
        if ident in self.area(area.collection):
            raise PveError(500, area.taken.format(id=ident))
        given = {key: value for key, value in values.items() if key not in (area.key, "digest")}
        self.area(area.collection)[ident] = area.stored(given)

    def record_update(self, area: Area, ident: str, values: Values) -> Any:
        if area.key and ident not in self.area(area.collection):
            self.record_missing(area, ident)
        if values.get("digest") not in (None, self.digest(area.collection)):
            raise PveError(500, CHANGED)
        deletes = [key for key in re.split(r"[\s,;]+", str(values.get("delete") or "")) if key]
        for key in deletes:
            if key in area.required:
                raise PveError(500, f"400 Parameter verification failed.\ndelete: unknown option '{key}'\n")
        kept = {key: value for key, value in self.area(area.collection).get(ident, {}).items() if key not in deletes}
        given = {key: value for key, value in values.items() if key not in (area.key, "digest", "delete")}
        self.area(area.collection)[ident] = area.stored({**kept, **given})

    def record_delete(self, area: Area, ident: str) -> Any:
        if ident not in self.area(area.collection) and not area.idempotent:
            self.record_missing(area, ident)
        self.area(area.collection).pop(ident, None)
