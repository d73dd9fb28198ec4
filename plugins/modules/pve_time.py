#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_time
short_description: Manage the time zone of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Sets the time zone of a node. Without O(timezone), only the time is returned.
notes:
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/nodes/{node}).
  - A time zone that the machine running the module does not know is refused before anything is written. A machine
    without time zones leaves that to the node.
seealso:
  - module: onprem.cloud.pve_node_options
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
  timezone:
    description: Name of the time zone, such as V(Europe/Vienna). V(UTC) and V(Etc/UTC) are the same.
    type: str
"""

EXAMPLES = r"""
- name: Time of Vienna
  onprem.cloud.pve_time:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    timezone: Europe/Vienna
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
time:
  description: The time zone and the time of the node, in seconds since 1970, in UTC and as its own clock shows it.
  type: dict
  returned: success
  sample: {"timezone": "Europe/Vienna", "time": 1795358236, "localtime": 1795361836}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, Option, Text, nearest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, OfNode, Table, argument_spec, run


class Zone(Text):
    def parse(self, value: object) -> str:
        zone = super().parse(value)
        return "UTC" if zone == "Etc/UTC" else zone


TABLE = Table(
    noun="time",
    path="/nodes/{node}/time",
    options={
        "timezone": Option(
            STR, Zone((), r"[A-Za-z][\w+-]*(/[A-Za-z][\w+-]*){0,2}", "a time zone such as Europe/Vienna")
        )
    },
    places=NODE,
    required=("timezone",),
    deletes=False,
)


class Time(OfNode):
    def validate(self) -> None:
        zone = self.sets.get("timezone")
        known = time_zones() if zone else set()
        if known and zone not in known:
            self.problem(f"timezone: there is no time zone '{zone}', {suggestion(zone, known)}")


def time_zones() -> set[str]:
    """The names that this machine knows."""
    from zoneinfo import available_timezones

    return available_timezones()


def suggestion(zone: str, known: set[str]) -> str:
    hint = nearest(zone, known)
    return hint if hint.endswith("?") else "write for example Europe/Vienna, as timedatectl list-timezones shows it"


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Time)


if __name__ == "__main__":
    main()
