#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ceph_mgr
short_description: Manage a manager of Ceph on a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, stops, starts and destroys a manager, the daemon that gathers the figures of a Ceph cluster and scales its
    placement groups.
  - One manager is active, the others stand by. The last one is destroyed with a warning.
notes:
  - Needs the privilege C(Sys.Modify) on C(/), and C(Sys.Audit) on C(/) to look.
  - Proxmox VE creates a manager with the first monitor (M(onprem.cloud.pve_ceph_mon)), on the same node and with the
    name of the node.
seealso:
  - module: onprem.cloud.pve_ceph_mon
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  node:
    description: The node that the manager runs on.
    type: str
    required: true
  id:
    description: Id of the manager, the name of the node unless given.
    type: str
  running:
    description: Whether its service runs. The last one is stopped with a warning.
    type: bool
"""

EXAMPLES = r"""
- name: Another manager that stands by
  onprem.cloud.pve_ceph_mgr:
    api_host: 192.0.2.11
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve2
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
manager:
  description: The manager as Ceph has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"name": "pve2", "host": "pve2", "state": "standby"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.ceph import RUNNING, Daemon
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, argument_spec, run

TABLE = Table(
    noun="manager", path="/nodes/{node}/ceph/mgr", id="id", key="name", options={"running": RUNNING}, places=NODE
)


class Manager(Daemon):
    def check_removal(self) -> None:
        if not self.others("active", "standby"):
            self.module.warn(f"{self} is the last one that runs: without any, Ceph shows no figures.")

    def check_stop(self) -> None:
        # Ceph itself is not asked about managers.
        self.check_removal()


def main() -> None:
    spec = argument_spec(TABLE)
    spec["id"]["required"] = False
    run(AnsibleModule(spec, supports_check_mode=True), TABLE, Manager)


if __name__ == "__main__":
    main()
