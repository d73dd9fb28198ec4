#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ceph_init
short_description: Create the configuration of Ceph on Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates the configuration of a Ceph cluster (C(/etc/pve/ceph.conf)), once for all nodes of a Proxmox VE cluster.
  - A configuration that is there is never written again. An option that differs from it is refused, with the reason.
notes:
  - Needs the privilege C(Sys.Modify) on C(/), and C(Sys.Audit) or C(Datastore.Audit) on C(/) to look.
  - Ceph must be installed on every node that has a part of it, C(pveceph install --repository no-subscription).
  - Proxmox VE takes a number of bits for placement groups as well, which it does not use since long. This module has
    no such option, the groups of a pool are set with M(onprem.cloud.pve_ceph_pool).
seealso:
  - module: onprem.cloud.pve_ceph_mon
  - module: onprem.cloud.pve_ceph_osd
  - module: onprem.cloud.pve_ceph_pool
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  node:
    description: The node that is asked. Any that Ceph is installed on.
    type: str
    required: true
  network:
    description: Network of Ceph in CIDR notation, such as V(192.0.2.0/24). Without it, monitors use the addresses of
      the nodes.
    type: str
  cluster_network:
    description: A network of its own for replication and recovery, in CIDR notation. O(network) unless given, and only
      together with it.
    type: str
  size:
    description: Copies of an object in new pools, 3 unless given.
    type: int
  min_size:
    description: Copies that must be there for an object to be written, 2 unless given.
    type: int
  disable_cephx:
    description: Whether everybody in the networks of Ceph may do everything. If not, logins are required.
    type: bool
  force:
    description: Whether O(size) and O(min_size) may be 1, where one broken disk is lost data.
    type: bool
    default: false
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: The configuration of Ceph, with a network of its own
  onprem.cloud.pve_ceph_init:
    api_host: 192.0.2.11
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    network: 192.0.2.0/24
    cluster_network: 198.51.100.0/24
"""

RETURN = r"""
action:
  description: What was done, V(create) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
ceph:
  description: Section C(global) of the configuration afterwards.
  type: dict
  returned: success
  sample: {"public_network": "192.0.2.0/24", "cluster_network": "192.0.2.0/24", "osd_pool_default_size": "3"}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.ceph import CONSENT, NO_CONFIGURATION, CephObject
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    STR,
    Boolean,
    Invalid,
    Number,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Table, argument_spec, run


class Networks(Text):
    """Networks in CIDR notation; an address in a network stands for the network."""

    def parse(self, value: Any) -> str:
        import ipaddress

        found = []
        for word in filter(None, re.split(r"[,\s]+", str(value))):
            try:
                if "/" not in word:
                    raise ValueError(word)
                found.append(str(ipaddress.ip_network(word, strict=False)))
            except ValueError:
                raise Invalid(f"'{word}' is not a network such as 192.0.2.0/24") from None
        return ", ".join(sorted(set(found)))


class Cephx(Boolean):
    """Given as a boolean, kept as the kind of login."""

    def parse(self, value: Any) -> bool:
        return value == "none" or (value != "cephx" and super().parse(value))


TABLE = Table(
    noun="Ceph",
    path="/nodes/{node}/ceph/init",
    options={
        "network": Option(STR, Networks()),
        "cluster_network": Option(STR, Networks()),
        "size": Option(INT, Number(1, 7), 3, key="size"),
        "min_size": Option(INT, Number(1, 7), 2, key="min_size"),
        "disable_cephx": Option(BOOL, Cephx(), False, key="disable_cephx"),
    },
    places={**NODE, "force": CONSENT},
)
# What the options are called in the configuration.
KEPT = {
    "network": "public_network",
    "cluster_network": "cluster_network",
    "size": "osd_pool_default_size",
    "min_size": "osd_pool_default_min_size",
    "disable_cephx": "auth_client_required",
}


class Configuration(CephObject):
    result_name = "ceph"

    def find(self) -> dict[str, Any] | None:
        try:
            return section(self.client.get(f"/nodes/{self.node}/ceph/cfg/raw"), "global")
        except PveError as error:
            if re.search(NO_CONFIGURATION, error.text):
                return None
            raise

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        spec, raw = self.table.options[option], (answer or self.raw or {}).get(KEPT[option])
        return spec.default if raw is None else spec.kind.parse(raw)

    def compare(self) -> None:
        super().compare()
        if self.raw is None:
            return
        for name in [*self.sets, *self.deletes]:
            self.problem(
                f"{name} is '{self.current(name)}' in /etc/pve/ceph.conf and not '{self.wanted[name]}', which the "
                "daemons that run would not notice: leave the option out, or change it by Ceph's own manual"
            )

    def validate(self) -> None:
        if self.raw is not None:
            return
        if "cluster_network" in self.sets and "network" not in self.sets:
            self.problem("cluster_network needs network, give both or neither")
        for name in ("network", "cluster_network"):
            if "," in self.sets.get(name, ""):
                self.problem(
                    f"{name} '{self.sets[name]}' is more than one, and Proxmox VE begins with one network: give one, "
                    "and add the others to /etc/pve/ceph.conf by Ceph's own manual"
                )
        self.check_sizes()

    def create(self) -> None:
        self.send("post", self.path, **self.values(self.sets))


def section(text: str, name: str) -> dict[str, str] | None:
    """A section of a configuration of Ceph, whose keys may be written with blanks and dashes."""
    found: dict[str, dict[str, str]] = {}
    lines: dict[str, str] = {}
    for line in text.splitlines():
        line = re.sub(r"(^|\s)[#;].*", "", line).strip()
        if line.startswith("["):
            lines = found.setdefault(line.strip("[] "), {})
        elif "=" in line:
            key, _equals, value = line.partition("=")
            lines[re.sub(r"[\s-]+", "_", key.strip())] = value.strip()
    return found.get(name)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Configuration)


if __name__ == "__main__":
    main()
