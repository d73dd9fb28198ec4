#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_notification_matcher
short_description: Manage which notifications of Proxmox VE go where
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a matcher, which passes the notifications that it matches on to its targets. A matcher
    without any condition matches all of them.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
  - The built-in matcher C(default-matcher) is always there. It can be changed, and O(state=absent) brings it back to
    how it came. To receive no mail from it, disable it.
notes:
  - Needs the privilege C(Mapping.Modify) on C(/mapping/notifications).
  - Targets must exist before a matcher uses them, see M(onprem.cloud.pve_notification_endpoint).
seealso:
  - module: onprem.cloud.pve_notification_endpoint
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  name:
    description: Name of the matcher.
    type: str
    required: true
  comment:
    description: What the matcher is for.
    type: str
  disable:
    description: Whether the matcher does nothing.
    type: bool
  target:
    description: Names of the targets that get what matches, in any order.
    type: list
    elements: str
  mode:
    description: Whether V(all) conditions must hold, which is so unless set, or V(any) of them. Each item of
      O(match_field), O(match_severity) and O(match_calendar) is a condition.
    type: str
    choices: [all, any]
  invert_match:
    description: Whether the matcher passes on what does not match.
    type: bool
  match_field:
    description:
      - Conditions on the fields of a notification, such as C(type), C(hostname) and C(job-id), as a list in any order,
        or a text for one.
      - Each is C(exact:FIELD=VALUE), where C(VALUE) may be several separated by commas, or C(regex:FIELD=EXPRESSION).
    type: raw
  match_severity:
    description: Conditions on the severity, as a list in any order, or a text for one. Each is one or several of
      V(info), V(notice), V(warning), V(error) and V(unknown), separated by commas, of which any will do.
    type: raw
  match_calendar:
    description: Conditions on the day and time, as a list in any order, or a text for one, such as V(mon..fri 8-17).
    type: raw
"""

EXAMPLES = r"""
- name: What goes wrong during a backup is mailed to those on call
  onprem.cloud.pve_notification_matcher:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    name: backups
    comment: Failed backups
    match_field:
      - exact:type=vzdump
    match_severity:
      - error,warning
    target: [mail-to-root]

- name: The built-in matcher is silent
  onprem.cloud.pve_notification_matcher:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    name: default-matcher
    disable: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
notification_matcher:
  description: The matcher as Proxmox VE has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample:
    name: backups
    comment: Failed backups
    match-field: ["exact:type=vzdump"]
    match-severity: ["error,warning"]
    target: [mail-to-root]
    origin: user-created
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    LIST,
    RAW,
    STR,
    ArraySet,
    Boolean,
    Invalid,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

MODES = ("all", "any")
SEVERITIES = ("info", "notice", "warning", "error", "unknown")
FIELD = re.compile(r"(exact|regex):([A-Za-z0-9_][A-Za-z0-9._-]*)=(.*)")


class Severities(Text):
    """One or several severities, any of which will do."""

    def parse(self, value: Any) -> str:
        words = {word.strip() for word in str(value).split(",")}
        for word in sorted(words):
            if word not in SEVERITIES:
                raise Invalid(f"'{word}' is not one of {', '.join(SEVERITIES)}")
        return ",".join(sorted(words))


class Field(Text):
    """A field and the values, or the expression, that it is compared with."""

    def parse(self, value: Any) -> str:
        match = FIELD.fullmatch(str(value).strip())
        if not match:
            raise Invalid(f"'{value}' is neither exact:FIELD=VALUE nor regex:FIELD=EXPRESSION")
        how, field, wanted = match.groups()
        if how == "exact":
            wanted = ",".join(sorted({word.strip() for word in wanted.split(",")}))
        return f"{how}:{field}={wanted}"


class Hours(Text):
    """Days and hours; spaces separate, however many there are."""

    def parse(self, value: Any) -> str:
        return " ".join(str(value).split())


# How the matcher that Proxmox VE brings along is unless somebody changed it.
BUILTIN = {
    "default-matcher": {
        "comment": "Route all notifications to mail-to-root",
        "disable": False,
        "invert_match": False,
        "mode": "all",
        "target": ["mail-to-root"],
    }
}

TABLE = Table(
    noun="notification matcher",
    path="/cluster/notifications/matchers",
    id="name",
    options={
        "comment": Option(STR, Text(), ""),
        "disable": Option(BOOL, Boolean(), False),
        "target": Option(LIST, ArraySet(Text()), []),
        "mode": Option({**STR, "choices": list(MODES)}, Text(MODES), "all"),
        "invert_match": Option(BOOL, Boolean(), False),
        "match_field": Option(RAW, ArraySet(Field()), []),
        "match_severity": Option(RAW, ArraySet(Severities()), []),
        "match_calendar": Option(RAW, ArraySet(Hours()), []),
    },
    delete_array=True,
    builtin=BUILTIN,
)


class Matcher(Resource):
    """A matcher; the one that is built in is never absent."""

    def fetch(self) -> dict[str, Any] | None:
        try:
            return self.client.get(self.item_path)
        except PveError as error:
            if error.status == 404:
                return None
            raise


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Matcher)


if __name__ == "__main__":
    main()
