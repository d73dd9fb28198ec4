#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_acme_plugin
short_description: Manage how Proxmox VE proves to an ACME authority that a name is its own
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a plugin, with which the nodes answer the challenges of an ACME authority, be it by a
    record in the DNS of a provider or by a web server on port 80.
  - The plugin V(standalone) is always there. Deleting it takes back what was changed in it.
notes:
  - Needs the privilege C(Sys.Modify) on C(/).
  - Proxmox VE shows the credentials to whoever has that privilege, so the module compares them. It shows them to
    nobody.
  - O(api_backend=local) is refused O(data), which would be on the command line of C(pvesh).
seealso:
  - module: onprem.cloud.pve_acme_account
  - module: onprem.cloud.pve_acme_domains
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  id:
    description: Name of the plugin.
    type: str
    required: true
  type:
    description: How it answers. Required for a new plugin, and cannot be changed.
    type: str
    choices: [dns, standalone]
  api:
    description:
      - The provider's interface, under the name that it has in acme.sh without C(dns_), such as V(cf), V(hetzner) or
        V(route53). Required for a new plugin of O(type=dns), and only for those.
    type: str
  data:
    description:
      - The credentials that the interface needs, as names and values such as C(CF_Token), or as lines of the form
        C(CF_Token=value), which may be in base64. Only with O(type=dns). An empty value removes them.
    type: raw
  validation_delay:
    description: Seconds to wait for the DNS before the authority is asked to look. Only with O(type=dns). PVE waits 30.
    type: int
  nodes:
    description: Nodes that may use it, in any order. An empty list means all.
    type: list
    elements: str
  disable:
    description: Whether it is out of use.
    type: bool
"""

EXAMPLES = r"""
- name: Answer by records in a zone at Cloudflare
  onprem.cloud.pve_acme_plugin:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: cloudflare
    type: dns
    api: cf
    data:
      CF_Token: "{{ vault_cloudflare_token }}"
      CF_Zone_ID: 0123456789abcdef0123456789abcdef
    validation_delay: 60
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
acme_plugin:
  description: The plugin as Proxmox VE has it afterwards, without credentials. Empty if it is not there.
  type: dict
  returned: success
  sample: {"plugin": "cloudflare", "type": "dns", "api": "cf", "validation-delay": 60,
    "digest": "1d5f0e6a5b3f0c0a0f1d0e5c6b7a8f9e0d1c2b3a"}
"""

import base64
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    LIST,
    RAW,
    STR,
    Boolean,
    Invalid,
    Number,
    Option,
    Text,
    Words,
    choice,
    nearest,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run


class Credentials(Text):
    """Names and values; PVE keeps them as lines in base64."""

    def parse(self, value: Any) -> dict[str, str]:
        if isinstance(value, dict):
            pairs = {str(name).strip(): str(item) for name, item in value.items()}
        else:
            lines = [line.strip() for line in self.decoded(str(value)).splitlines()]
            parted = [line.partition("=") for line in lines if line and not line.startswith("#")]
            pairs = {name.strip(): item for name, _sign, item in parted}
        for name, item in pairs.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\n" in item:
                raise Invalid("it is neither a dictionary nor lines of the form NAME=value")
        return dict(sorted(pairs.items()))

    @staticmethod
    def decoded(text: str) -> str:
        """The lines themselves; what is in base64 is base64 of such lines."""
        try:
            inside = base64.b64decode("".join(text.split()), validate=True).decode()
        except ValueError:
            return text
        return inside if "=" in inside else text

    def format(self, value: dict[str, str]) -> str:
        lines = "\n".join(f"{name}={item}" for name, item in value.items())
        return base64.b64encode(lines.encode()).decode()


TABLE = Table(
    noun="ACME plugin",
    path="/cluster/acme/plugins",
    id="id",
    missing=r"ACME plugin '.*' not defined",
    required=("type",),
    belongs={"dns": ("api", "data", "validation_delay"), "standalone": ()},
    needed={"dns": ("api",)},
    options={
        "type": choice("dns", "standalone", fixed=True),
        "api": Option(STR, Text()),
        "data": Option({**RAW, "no_log": True}, Credentials(), {}, hidden=True),
        "validation_delay": Option(INT, Number(0, 172800), 30),
        "nodes": Option(LIST, Words(",", unordered=True), []),
        "disable": Option(BOOL, Boolean(), False),
    },
    builtin={"standalone": {"type": "standalone", "disable": False}},
)


class AcmePlugin(Resource):
    """A plugin; one of them needs no entry in the file."""

    result_name = "acme_plugin"

    def plan(self) -> str:
        untouched = set(self.raw or {}) <= {"type", "plugin", "digest"}
        if self.state == "absent" and self.name in self.table.builtin and untouched:
            return ""
        return super().plan()

    def validate(self) -> None:
        self.check_kind()
        if "api" in self.sets:
            known = [item["id"] for item in self.client.get("/cluster/acme/challenge-schema") or []]
            if known and self.sets["api"] not in known:
                self.problem(f"api: PVE has no interface '{self.sets['api']}', {nearest(self.sets['api'], known)}")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, AcmePlugin)


if __name__ == "__main__":
    main()
