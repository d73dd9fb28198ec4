# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests go through beyond their configuration: snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fakepve import FakeCt
from fakepve.lxc import SNAPSHOT_STORAGE

Values = dict[str, Any]


class Archives:
    """Mixin of FakePve."""

    def _routes_archives(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("GET", "/nodes/{node}/lxc/{vmid}/feature", self._ct_feature),
            ("GET", "/nodes/{node}/qemu/{vmid}/feature", self._qm_feature),
        ]

    # ----------------------------------------------------------------------------------------------- snapshots

    def _ct_can_snapshot(self, ct: FakeCt) -> bool:
        """A path of the node is no volume, and so has no snapshots either."""
        stores = [self.storages.get(mount["volume"].partition(":")[0]) for _, mount in ct.volumes()]
        paths = [key for key, value in ct.config.items() if key.startswith("mp") and value.startswith("/")]
        return not paths and all(store and store["type"] in SNAPSHOT_STORAGE for store in stores)

    async def _ct_feature(self, v: Values, user: str) -> Values:
        ct = self._find_ct(v["node"], v["vmid"])
        return {"hasFeature": int(v["feature"] != "snapshot" or self._ct_can_snapshot(ct))}

    async def _qm_feature(self, v: Values, user: str) -> Values:
        vm = self.find(v["node"], v["vmid"])
        able = v["feature"] != "snapshot" or self._qm_can_snapshot(vm.config)
        return {"hasFeature": int(able), "nodes": sorted(self.nodes) if able else []}

    async def _lxc_snapshot(self, user: str, v: Values) -> str:
        if v.get("description"):
            # Kept as comment lines, as that of the container itself.
            v = {**v, "description": v["description"].rstrip("\n") + "\n"}
        return await super()._lxc_snapshot(user, v)

    async def _lxc_snapshot_config_put(self, user: str, v: Values) -> None:
        if v.get("description"):
            v = {**v, "description": v["description"].rstrip("\n") + "\n"}
        await super()._lxc_snapshot_config_put(user, v)

    async def _lxc_snapshot_list(self, user: str, v: Values) -> list[Values]:
        # Read from a hash, and so in no order.
        return (await super()._lxc_snapshot_list(user, v))[::-1]

    async def _qm_snapshot_list(self, v: Values, user: str) -> list[Values]:
        return (await super()._qm_snapshot_list(v, user))[::-1]

    async def _qm_rollback(self, v: Values, user: str) -> str:
        """The memory that a snapshot holds makes the machine go on running."""
        vm = self.find(v["node"], v["vmid"])
        memory = (vm.snapshots.get(v["snapname"]) or {}).get("vmstate")
        return await super()._qm_rollback({**v, "start": 1} if memory else v, user)
