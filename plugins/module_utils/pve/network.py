# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network and the names of a node."""

from __future__ import annotations

from typing import Any

from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource

# What Proxmox VE takes as the name of an interface.
IFACE = r"(?i)[a-z][a-z0-9_]{1,20}([:.]\d+)?"
NODE: dict[str, dict[str, Any]] = {"node": {"type": "str", "required": True}}


class OfNode(Resource):
    """Settings that each node has once."""

    def __str__(self) -> str:
        return f"{super().__str__()} of node '{self.params['node']}'"
