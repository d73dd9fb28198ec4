#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ceph_mon
short_description: Manage a monitor of Ceph on a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, stops, starts and destroys a monitor. With the first monitor, Proxmox VE creates a manager on the same
    node.
  - Three monitors on three nodes let one of them fail.
  - The last monitor is not destroyed, and none without which the others would have no majority.
notes:
  - Needs the privilege C(Sys.Modify) on C(/), and C(Sys.Audit) on C(/) to look.
  - Ceph must be installed on the node (C(pveceph install --repository no-subscription)) and have a configuration
    (M(onprem.cloud.pve_ceph_init)).
seealso:
  - module: onprem.cloud.pve_ceph_init
  - module: onprem.cloud.pve_ceph_mgr
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  node:
    description: The node that the monitor runs on.
    type: str
    required: true
  monid:
    description: Id of the monitor, the name of the node unless given.
    type: str
  mon_address:
    description: Addresses of the monitor, from the public network of Ceph. Proxmox VE takes the node's own if it has
      one there. They never change. Proxmox VE may show one of them only, which is then all that is compared.
    type: list
    elements: str
  running:
    description: Whether its service runs. The service is not stopped if the others would have no majority.
    type: bool
"""

EXAMPLES = r"""
- name: A monitor on each of three nodes
  onprem.cloud.pve_ceph_mon:
    api_host: 192.0.2.11
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: "{{ item }}"
  loop: [pve1, pve2, pve3]
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
monitor:
  description: The monitor as Ceph has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"name": "pve1", "host": "pve1", "addr": "192.0.2.11:6789/0", "state": "running", "quorum": 1, "rank": 0}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.ceph import RUNNING, Daemon
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import LIST, Address, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, argument_spec, run


class Addresses(Address):
    """Addresses, given as such or with the protocol, the port and the nonce that Ceph shows them with."""

    def parse(self, value: Any) -> list[str]:
        parts = value if isinstance(value, list) else [value]
        words = [word for part in parts for word in re.split(r"[,;\s]+", str(part)) if word]
        plain = [re.sub(r"^\[?v\d+:|/\d+\]?$", "", word) for word in words]
        bare = [re.sub(r"^\[(.*)\](:\d+)?$", r"\1", re.sub(r"^([^:\[]+):\d+$", r"\1", word)) for word in plain]
        return sorted({super(Addresses, self).parse(word) for word in bare})

    def format(self, value: list[str]) -> str:
        return ",".join(value)


TABLE = Table(
    noun="monitor",
    path="/nodes/{node}/ceph/mon",
    id="monid",
    key="name",
    options={"mon_address": Option(LIST, Addresses(), fixed=True), "running": RUNNING},
    places=NODE,
)


class Monitor(Daemon):
    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        if option != "mon_address":
            return super().current(option, answer)
        shown = (answer or self.raw or {}).get("addr")
        wanted = self.wanted.get(option)
        # One that Ceph does not see at the moment has no address that could be compared.
        found = self.table.options[option].kind.parse(shown) if shown else wanted
        # Of several addresses, the list may have one.
        return wanted if found and set(found) <= set(wanted or ()) else found

    def check_removal(self) -> None:
        members = [item for item in self.daemons if item["name"] != self.name and item.get("rank") is not None]
        running = [item["name"] for item in members if str(item.get("quorum")) == "1"]
        if not members:
            raise PveError(f"{self} is the last one, and Ceph ends without it: create another one first.")
        if len(running) <= len(members) // 2:
            raise PveError(
                f"{self}: of the other {len(members)} only {len(running)} would have a voice, which is no quorum: "
                "bring them back first ('ceph mon stat' shows which are missing)."
            )


def main() -> None:
    spec = argument_spec(TABLE)
    spec["monid"]["required"] = False
    run(AnsibleModule(spec, supports_check_mode=True), TABLE, Monitor)


if __name__ == "__main__":
    main()
