# Copyright: The onprem.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.onprem.cloud.plugins.lookup.secret import Store, place

SPEC = {
    "name": {"type": "str", "required": True},
    "value": {"type": "str", "required": True, "no_log": True},
    "directory": {"type": "str"},
}


class ActionModule(ActionBase):
    """Keeps a secret on the controller."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result, variables = super().run(tmp, task_vars), task_vars or {}
        given = self.validate_argument_spec(argument_spec=SPEC)[1]
        name, value = given["name"], given["value"]
        if not value or len(value.splitlines()) != 1:
            raise AnsibleActionFail(f"The secret {name} is not one line of text: give 'value' the secret alone.")
        directory = given["directory"] or self._templar.template(variables.get("secrets_directory") or "")
        store = Store(place(directory, variables.get("ansible_inventory_sources", ())), self._loader._vault.secrets)
        changed = store.read(name) != value
        if changed and not self._task.check_mode:
            store.replace(name, value)
        return {**result, "changed": changed, "path": str(store.path(name))}
