#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_dir_mapping
short_description: Manage a name for directories of Proxmox VE nodes
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a mapping, which is a name in the whole cluster for a directory of each of its nodes.
    Virtual machines share the directory with their node by that name (virtiofs).
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(Mapping.Modify) on C(/mapping/dir).
  - The directory has to be there on the node that answers the API. Proxmox VE does not look at the other nodes, and a
    virtual machine does not start on one that does not have it.
  - Proxmox VE has these mappings since version 8.4.
seealso:
  - module: onprem.cloud.pve_pci_mapping
  - module: onprem.cloud.pve_usb_mapping
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  id:
    description: Name of the mapping.
    type: str
    required: true
  description:
    description: What is in the directories.
    type: str
  map:
    description:
      - The directories, as a list in any order, or one by itself. All of them, those that are not in the list go. A new
        mapping needs it. A node has one of them.
      - Each is a dictionary or Proxmox VE's text (C(node=pve1,path=/srv/share)).
      - C(node) is the name of the node, C(path) an absolute path without any of C(;,=()). Both are required.
    type: raw
"""

EXAMPLES = r"""
- name: Drawings, which virtual machines share with their node
  onprem.cloud.pve_dir_mapping:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: drawings
    map:
      - {node: pve1, path: /srv/drawings}
      - {node: pve2, path: /mnt/tank/drawings}
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
directory_mapping:
  description: The mapping as Proxmox VE has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample:
    id: drawings
    type: dir
    map: ["node=pve1,path=/srv/drawings", "node=pve2,path=/mnt/tank/drawings"]
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.mapping import Mapping, table
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Invalid, Item, Text
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import argument_spec, run


class Directory(Text):
    """An absolute path; slashes at its end mean nothing."""

    def parse(self, value: Any) -> str:
        path = str(value).strip().rstrip("/")
        if not re.fullmatch(r"/[^;,=()]+", path):
            raise Invalid(f"'{value}' is not an absolute path without any of ;,=(), such as /srv/share")
        return path


ENTRY = Item({"node": Text(), "path": Directory()}, required=("node", "path"), first=("node", "path"))
TABLE = table("directory mapping", "dir", ENTRY)


class Directories(Mapping):
    def validate(self) -> None:
        nodes = [entry["node"] for entry in self.wanted.get("map") or []]
        for node in sorted({node for node in nodes if nodes.count(node) > 1}):
            self.problem(f"map: node '{node}' has {nodes.count(node)} directories, leave it one of them")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Directories)


if __name__ == "__main__":
    main()
