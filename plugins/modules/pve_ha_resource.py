#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_ha_resource
short_description: Manage the high availability of a guest of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Puts a virtual machine or a container under high availability, changes how, and takes it out again. The guest itself
    is left as it is, unless O(state) asks for it to be started or stopped.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privileges C(Sys.Console) and C(Sys.Audit) on C(/).
  - Proxmox VE 9.1 takes a guest that is no longer under high availability out of the rules that name it, and deletes
    a rule that names no other.
seealso:
  - module: onprem.cloud.pve_ha_rule
  - module: onprem.cloud.pve_ha_group
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  sid:
    description: The guest, such as V(vm:100) or V(ct:101). Its id alone will do.
    type: str
    required: true
  state:
    description:
      - V(absent) takes the guest out of high availability, V(present) puts it there and leaves what is requested of it
        alone.
      - The others are what is requested of the guest. V(started) keeps it running, V(stopped) keeps it stopped and
        moves it away from a node that fails, V(disabled) stops it and leaves it where it is, and
        V(ignored) leaves it alone. V(enabled) is another word for V(started).
      - A new one is V(started) unless set.
    type: str
    choices: [present, absent, started, enabled, stopped, disabled, ignored]
    default: present
  max_restart:
    description: How often a guest that does not start is tried again on its node, once unless set.
    type: int
  max_relocate:
    description: How often a guest that does not start is tried on other nodes, once unless set.
    type: int
  failback:
    description: Whether the guest goes back to a node of higher priority as soon as there is one, true unless set. For
      Proxmox VE 9. In 8, groups have C(nofailback).
    type: bool
  group:
    description: Name of the group of nodes that the guest runs on. For Proxmox VE 8. In 9, rules take its place, see
      M(onprem.cloud.pve_ha_rule).
    type: str
  comment:
    description: Anything worth noting.
    type: str
"""

EXAMPLES = r"""
- name: The container runs, on whichever node is up
  onprem.cloud.pve_ha_resource:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    sid: ct:101
    state: started
    max_restart: 2
    comment: The intranet

- name: Nobody restarts it any more
  onprem.cloud.pve_ha_resource:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    sid: ct:101
    state: absent
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
ha_resource:
  description: What Proxmox VE has of it afterwards. Empty if the guest is not under high availability.
  type: dict
  returned: success
  sample: {"sid": "ct:101", "type": "ct", "state": "started", "max_restart": 2, "comment": "The intranet"}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    STR,
    Boolean,
    Number,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

REQUESTS = ("started", "enabled", "stopped", "disabled", "ignored")


class Request(Text):
    """What is requested of a guest."""

    def parse(self, value: Any) -> str:
        text = super().parse(value)
        return "started" if text == "enabled" else text


TABLE = Table(
    noun="HA resource",
    path="/cluster/ha/resources",
    id="sid",
    options={
        "state": Option(
            {**STR, "choices": ["present", "absent", *REQUESTS], "default": "present"}, Request(REQUESTS), "started"
        ),
        "max_restart": Option(INT, Number(0), 1, key="max_restart"),
        "max_relocate": Option(INT, Number(0), 1, key="max_relocate"),
        "failback": Option(BOOL, Boolean(), True),
        "group": Option(STR, Text(), ""),
        "comment": Option(STR, Text(), ""),
    },
)


class HaResource(Resource):
    """A guest under high availability; its state is also what is requested of it."""

    result_name = "ha_resource"
    version: str | None = None

    def fetch(self) -> dict[str, Any] | None:
        listing = self.client.get(self.path)
        return next((item for item in listing if self.name in (item["sid"], item["sid"].partition(":")[2])), None)

    def parse(self) -> None:
        if not re.fullmatch(r"((vm|ct):)?[1-9]\d{2,8}", self.name):
            self.problem(f"sid '{self.name}' is not a guest, write for example vm:100 or ct:101")
        if self.state in ("present", "absent"):
            # Nothing is requested of the guest; the result still tells what was given.
            self.params = {**self.params, "state": None}
        super().parse()

    def is_8(self) -> bool:
        """Asked once, however often a change is planned."""
        if self.version is None:
            self.version = self.client.get("/version")["version"]
        return str(self.version).startswith("8.")

    def validate(self) -> None:
        """What only one of 8 and 9 knows; the other is asked before anything is written."""
        group = self.sets.get("group")
        if group:
            try:
                groups = [item["group"] for item in self.client.get("/cluster/ha/groups")]
            except PveError as error:
                if "migrated to rules" not in error.text:
                    raise
                self.problem(
                    f"group '{group}' cannot be set, this Proxmox VE has rules in place of groups: use pve_ha_rule"
                )
                return
            if group not in groups:
                self.not_there(f"group '{group}' does not exist", ", create it with pve_ha_group")
        if "failback" in self.sets and self.is_8():
            self.problem("failback is an option of Proxmox VE 9, on 8 set nofailback of the group with pve_ha_group")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, HaResource)


if __name__ == "__main__":
    main()
