#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_group
short_description: Manage a group of users of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a group. Its members are set with M(onprem.cloud.pve_user), its rights with
    M(onprem.cloud.pve_acl).
  - An option that is given is enforced, one that is not given is left alone.
notes:
  - Needs the privilege C(Group.Allocate) on C(/access/groups).
seealso:
  - module: onprem.cloud.pve_user
  - module: onprem.cloud.pve_acl
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  groupid:
    description: Name of the group.
    type: str
    required: true
  comment:
    description: What the group is for. An empty text removes it.
    type: str
"""

EXAMPLES = r"""
- name: A group for those who look after the virtual machines
  onprem.cloud.pve_group:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    groupid: operators
    comment: On call
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
group:
  description: The group as Proxmox VE has it afterwards.
  type: dict
  returned: success
  sample: {"groupid": "operators", "comment": "On call", "users": "ada@pve"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Option, Text
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

TABLE = Table(
    noun="group",
    path="/access/groups",
    id="groupid",
    options={"comment": Option(STR, Text(), "")},
    deletes=False,
)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE)


if __name__ == "__main__":
    main()
