# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in the whole cluster for what its nodes have: devices and directories."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    RAW,
    STR,
    ArraySet,
    Invalid,
    Item,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table

# A text within a property string.
NOTE = Text(pattern=r"[^,]*", hint="a text without commas")


class Vendor(Text):
    """A vendor and a device; what the node finds is compared in lower case."""

    def parse(self, value: Any) -> str:
        text = str(value).strip().lower()
        if not re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", text):
            raise Invalid(f"'{value}' is not a vendor and a device, such as 10de:2204")
        return text


def table(noun: str, kind: str, item: Item, **options: Option) -> Table:
    """A mapping whose items are of one kind."""
    return Table(
        noun=noun,
        path=f"/cluster/mapping/{kind}",
        id="id",
        required=("map",),
        options={"description": Option(STR, Text(), ""), "map": Option(RAW, ArraySet(item), []), **options},
    )


class Mapping(Resource):
    """A mapping; the API wants all of its items with every write."""

    @property
    def result_name(self) -> str:
        return super().result_name.lower()

    def update(self) -> Any:
        self.sets.setdefault("map", self.current("map"))
        return super().update()

    def view(self, name: str, value: Any) -> Any:
        return self.table.options[name].kind.format(value) if name == "map" and value else super().view(name, value)
