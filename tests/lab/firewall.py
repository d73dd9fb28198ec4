# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Proxmox VE spells what its firewall stores, where fakepve keeps it as it was sent."""

from __future__ import annotations

import re
from typing import Any

Values = dict[str, Any]


class Firewall:
    """Mixin of FakePve: names of sets and groups lose their case, and entries are sorted when they are read."""

    async def _fw_ipset_create(self, scope: str, v: Values, user: str) -> None:
        conf = self.firewall_config(scope, v.get("node"), v.get("vmid"))
        name = v["name"].lower()
        if not v.get("rename") and name in conf["ipset"] and name != v["name"]:
            # Whether the name is taken is asked before it loses its case; the set stays what it was.
            return
        await super()._fw_ipset_create(scope, {**v, "name": name}, user)

    async def _fw_ipset_get(self, scope: str, v: Values, user: str) -> list[Values]:
        return sorted(await super()._fw_ipset_get(scope, v, user), key=lambda entry: entry["cidr"])

    async def _fw_ip_update(self, scope: str, v: Values, user: str) -> None:
        await super()._fw_ip_update(scope, v, user)
        for entry in self._ipset_of(self.firewall_config(scope, v.get("node"), v.get("vmid")), v["name"]):
            # The file has no word for an entry that matches, or for an empty comment.
            for key in ("nomatch", "comment"):
                if not entry.get(key):
                    entry.pop(key, None)

    async def _fw_group_create(self, v: Values, user: str) -> None:
        await super()._fw_group_create({**v, "group": v["group"].lower()}, user)

    async def _fw_rule_get(self, scope: str, v: Values, user: str) -> Values:
        rule = await super()._fw_rule_get(scope, v, user)
        return {**rule, "pos": str(rule["pos"])}

    async def _fw_rule_create(self, scope: str, v: Values, user: str) -> None:
        # A rule that uses a group names it in lower case in the file.
        named = {"action": v["action"].lower()} if v.get("type") == "group" else {}
        comment = {"comment": re.sub(r"^\s+|\s+$", "", v["comment"])} if v.get("comment") else {}
        await super()._fw_rule_create(scope, {**v, **named, **comment}, user)
