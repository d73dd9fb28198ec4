#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import connection_spec
from ansible_collections.onprem.cloud.plugins.module_utils.pve.engine import run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.lxc import guest_spec


def main() -> None:
    kind = {"type": "str", "choices": ["lxc", "qemu"], "default": "lxc"}
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "guests": {"type": "list", "elements": "dict", "required": True, "options": guest_spec(type=kind)},
            "concurrency": {"type": "int", "default": 4},
            "task_timeout": {"type": "int", "default": 600},
            "cpu_overcommit": {"type": "float", "default": 2.0},
        },
        supports_check_mode=True,
    )
    module.exit_json(**run(module, module.params["guests"]))


if __name__ == "__main__":
    main()
