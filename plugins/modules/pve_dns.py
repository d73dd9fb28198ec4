#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_dns
short_description: Manage the name servers of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Changes the name servers and the search domain that a node resolves names with, in its C(/etc/resolv.conf).
  - An option that is given is enforced, one that is not given is left alone, and an empty text removes it.
notes:
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/nodes/{node}).
  - Proxmox VE knows one search domain. If somebody wrote several to the file, a change of any option leaves the first.
  - Proxmox VE knows three name servers, one after the other. A gap between them and a server that is given twice are
    refused, because Proxmox VE would move the others up.
seealso:
  - module: onprem.cloud.pve_hosts
  - module: onprem.cloud.pve_network
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  node:
    description: Name of the node.
    type: str
    required: true
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
  search:
    description: The domain that is added to names without one.
    type: str
  dns1:
    description: Address of the first name server.
    type: str
  dns2:
    description: Address of the second name server.
    type: str
  dns3:
    description: Address of the third name server.
    type: str
"""

EXAMPLES = r"""
- name: Two name servers
  onprem.cloud.pve_dns:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    search: example.com
    dns1: 192.0.2.53
    dns2: 2001:db8::53
    dns3: ""
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
dns:
  description: The name servers and the search domain as Proxmox VE has them afterwards.
  type: dict
  returned: success
  sample: {"search": "example.com", "dns1": "192.0.2.53", "dns2": "2001:db8::53"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Address, Option, Text
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, OfNode, Table, argument_spec, run

SERVERS = ("dns1", "dns2", "dns3")


class Domain(Text):
    def parse(self, value: Any) -> str:
        return super().parse(str(value).lower())


DOMAIN = Domain((), r"\.|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", "a domain such as example.com, and Proxmox VE knows one")
TABLE = Table(
    noun="dns",
    path="/nodes/{node}/dns",
    options={"search": Option(STR, DOMAIN), **{name: Option(STR, Address()) for name in SERVERS}},
    places=NODE,
)


class Dns(OfNode):
    def validate(self) -> None:
        if not self.sets and not self.deletes:
            return
        servers = [self.after(name) for name in SERVERS]
        for number, server in enumerate(servers):
            if server and server in servers[:number]:
                first = SERVERS[servers.index(server)]
                self.problem(f"{SERVERS[number]} is '{server}', which {first} is as well, give another one or ''")
            elif server and number and servers[number - 1] is None:
                self.problem(
                    f"{SERVERS[number]} is '{server}' and there is no {SERVERS[number - 1]}, give the name servers "
                    "without a gap"
                )

    def update(self) -> Any:
        """All of them: what an update does not say is removed, and it has to say the search domain."""
        values = {name: self.after(name) for name in TABLE.options}
        given = {name: value for name, value in values.items() if value is not None}
        return self.client.put(self.path, **{"search": "", **given})


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Dns)


if __name__ == "__main__":
    main()
