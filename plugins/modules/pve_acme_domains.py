#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_acme_domains
short_description: Set for which names a Proxmox VE node orders its certificate
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Sets the names that the certificate of a node is ordered for by ACME, how each is proven to be the node's, and the
    account that orders. The order itself is placed by M(onprem.cloud.pve_certificate).
  - An option that is given is enforced, one that is not given is left alone. The other options of the node are left
    alone as well.
notes:
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/).
  - Proxmox VE has two places for names. The module keeps a name where it is, puts new ones into the places
    C(acmedomain0) to C(acmedomain5), and names without a plugin and an alias into C(acme) when these are full.
seealso:
  - module: onprem.cloud.pve_acme_account
  - module: onprem.cloud.pve_acme_plugin
  - module: onprem.cloud.pve_certificate
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  node:
    description: Name of the node.
    type: str
    required: true
  account:
    description:
      - The account that orders. An empty text means V(default), which is what Proxmox VE takes if none is named.
    type: str
  domains:
    description:
      - All names, in any order and in either case, each as a name, as C(domain=pve1.example.com,plugin=cloudflare), or
        as a dict. An empty list removes them all.
      - The keys are C(domain), C(plugin), which is V(standalone) unless given, and C(alias), the name in whose zone the
        record is made in place of C(domain).
    type: list
    elements: raw
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Order certificates for two names of the node
  onprem.cloud.pve_acme_domains:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    account: default
    domains:
      - pve1.example.com
      - domain: pve.example.com
        plugin: cloudflare
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
acme_domains:
  description: What the node has about ACME afterwards, as Proxmox VE shows it.
  type: dict
  returned: success
  sample: {"acme": "account=default", "acmedomain0": "pve1.example.com",
    "acmedomain1": "domain=pve.example.com,plugin=cloudflare"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.acme import (
    DEFAULT,
    DOMAIN,
    PLACES,
    STANDALONE,
    NodeAcme,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import STR, ArraySet, Option, Text, nearest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, OfNode, Table, argument_spec, run

TABLE = Table(
    noun="ACME domains",
    path="/nodes/{node}/config",
    options={
        "account": Option(STR, Text((), r"(?i)[a-z][a-z0-9_-]+", "the name of an account"), DEFAULT),
        "domains": Option({"type": "list", "elements": "raw"}, ArraySet(DOMAIN), []),
    },
    places=NODE,
)


class AcmeDomains(OfNode):
    """The part of a node's configuration that is about ACME."""

    result_name = "acme_domains"

    # ------------------------------------------------------------------------------------------------- reading

    def fetch(self) -> dict[str, Any] | None:
        config = self.client.get(self.path) or {}
        self.acme = NodeAcme(self.params["node"], config)
        return {key: value for key, value in config.items() if key.startswith("acme") or key == "digest"}

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        if option == "account":
            return self.acme.account
        return self.table.options["domains"].kind.parse([*self.acme.listed, *self.acme.placed.values()])

    def facts(self) -> dict[str, Any]:
        return {key: value for key, value in super().facts().items() if key != "digest"}

    # ------------------------------------------------------------------------------------------------ planning

    def parse(self) -> None:
        super().parse()
        names = [item.get("domain") for item in self.wanted.get("domains") or []]
        for item in self.wanted.get("domains") or []:
            if not item.get("domain"):
                self.problem(f"domains: 'domain' is missing beside {DOMAIN.format(item)}, write for which name it is")
        for name in sorted({name for name in names if name and names.count(name) > 1}):
            self.problem(f"domains: '{name}' is given twice, leave one out")

    def validate(self) -> None:
        domains = self.sets.get("domains", [])
        special = [item for item in domains if set(item) != {"domain"}]
        if len(special) > len(PLACES):
            self.problem(
                f"domains: {len(special)} have a plugin or an alias and Proxmox VE has room for {len(PLACES)} such "
                "names, leave some out"
            )
        if special:
            known = {STANDALONE, *(item["plugin"] for item in self.client.get("/cluster/acme/plugins") or [])}
            for item in special:
                if item.get("plugin", STANDALONE) not in known:
                    self.not_there(
                        f"there is no ACME plugin '{item['plugin']}' for '{item['domain']}'",
                        f", create it with onprem.cloud.pve_acme_plugin first; {nearest(item['plugin'], known)}",
                    )
        if "account" in self.sets:
            names = [item["name"] for item in self.client.get("/cluster/acme/account") or []]
            if self.sets["account"] not in names:
                self.not_there(
                    f"there is no ACME account '{self.sets['account']}'",
                    ", register it with onprem.cloud.pve_acme_account first",
                )

    # ------------------------------------------------------------------------------------------------- writing

    def layout(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """What each place is to hold, and the names that are listed without one."""
        left = {item["domain"]: item for item in self.after("domains")}
        listed = [name for name in self.acme.listed if left.get(name) == {"domain": name}]
        for name in listed:
            del left[name]
        held = {place: left.pop(item["domain"]) for place, item in self.acme.placed.items() if item["domain"] in left}
        for item in left.values():
            place = next((place for place in PLACES if place not in held), None)
            if place is None and len(item) > 1:
                # A name that needs no place of its own makes room.
                place = next(place for place in PLACES if len(held[place]) == 1)
                listed.append(held[place]["domain"])
            if place is None:
                listed.append(item["domain"])
            else:
                held[place] = item
        return held, listed

    def update(self) -> Any:
        held, listed = self.layout()
        before = self.acme.placed
        sets = {place: DOMAIN.format(item) for place, item in held.items() if before.get(place) != item}
        gone = [place for place in before if place not in held]
        account = self.after("account")
        common = {
            **({"account": account} if account != DEFAULT else {}),
            **({"domains": ";".join(listed)} if listed else {}),
        }
        if (account, listed) != (self.acme.account, self.acme.listed):
            if common:
                sets["acme"] = ",".join(f"{key}={value}" for key, value in common.items())
            elif self.acme.common:
                gone.append("acme")
        digest = {"digest": self.raw["digest"]} if (self.raw or {}).get("digest") else {}
        return self.client.put(self.path, **sets, **({"delete": ",".join(gone)} if gone else {}), **digest)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, AcmeDomains)


if __name__ == "__main__":
    main()
