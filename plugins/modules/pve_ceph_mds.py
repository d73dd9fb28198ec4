#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ceph_mds
short_description: Manage a metadata server of Ceph on a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, stops, starts and destroys a metadata server, which a file system of Ceph (M(onprem.cloud.pve_ceph_fs))
    needs.
  - A second one stands by and takes over.
  - The last one that runs is not destroyed while there is a file system, unless O(force=true).
notes:
  - Needs the privilege C(Sys.Modify) on C(/), and C(Sys.Audit) on C(/) to look.
seealso:
  - module: onprem.cloud.pve_ceph_fs
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  node:
    description: The node that the metadata server runs on.
    type: str
    required: true
  name:
    description: Id of the metadata server, the name of the node unless given. It cannot begin with a digit.
    type: str
  running:
    description: Whether its service runs. The service is not stopped if Ceph says that files could not be reached
      without it, unless O(force=true).
    type: bool
  force:
    description: Whether the last one that runs may stop or go although a file system needs it. Nobody reaches the files
      then.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A metadata server, and one that stands by
  onprem.cloud.pve_ceph_mds:
    api_host: 192.0.2.11
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: "{{ item }}"
  loop: [pve1, pve2]
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
metadata_server:
  description: The metadata server as Ceph has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"name": "pve1", "host": "pve1", "state": "up:standby"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.ceph import CONSENT, RUNNING, Daemon
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, argument_spec, run

TABLE = Table(
    noun="metadata server",
    path="/nodes/{node}/ceph/mds",
    id="name",
    options={"running": RUNNING},
    places={**NODE, "force": CONSENT},
)


class MetadataServer(Daemon):
    before_stop = "create another one that stands by first, or set force to true to cut the files off"

    def validate(self) -> None:
        super().validate()
        if self.raw is None and self.name[:1].isdigit():
            self.problem(f"name '{self.name}' begins with a digit, which Ceph does not accept, choose another name")

    def check_removal(self) -> None:
        if self.params["force"] or self.others("up:"):
            return
        systems = ", ".join(item["name"] for item in self.client.get(f"/nodes/{self.node}/ceph/fs"))
        if systems:
            raise PveError(
                f"{self} is the last one that runs, and the file system {systems} needs one: create another one first, "
                "or set force to true to cut it off."
            )


def main() -> None:
    spec = argument_spec(TABLE)
    spec["name"]["required"] = False
    run(AnsibleModule(spec, supports_check_mode=True), TABLE, MetadataServer)


if __name__ == "__main__":
    main()
