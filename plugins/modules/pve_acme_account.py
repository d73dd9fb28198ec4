#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_acme_account
short_description: Manage an account of Proxmox VE at an ACME authority
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Registers an account at an authority such as Let's Encrypt, with which the nodes order their certificates, changes
    who is told of problems, and deactivates the account at the authority.
notes:
  - Proxmox VE reserves this to the login C(root@pam) itself. None of its API tokens can do it. Log in with
    O(api_password), or use O(api_backend=local), which is refused O(eab_hmac_key) because that would be on the command
    line of C(pvesh).
  - It is the node that talks to the authority, so the node needs a way to it.
seealso:
  - module: onprem.cloud.pve_acme_plugin
  - module: onprem.cloud.pve_acme_domains
  - module: onprem.cloud.pve_certificate
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  name:
    description: Name of the account. Nodes that name no account use V(default).
    type: str
    default: default
  contact:
    description:
      - Mail addresses that the authority writes to, in any order. Required for a new account.
      - An authority may keep to itself what it was given, as Let's Encrypt does since 2025. Then it is left alone once
        the account is there.
    type: list
    elements: str
  directory:
    description:
      - Address of the authority's directory, which cannot be changed afterwards. A new account is one of
        V(https://acme-v02.api.letsencrypt.org/directory) unless given.
    type: str
  terms_agreed:
    description:
      - Whether you agree to the terms of service of the authority. An authority that has some takes no new account
        without it; the failure tells where they can be read.
    type: bool
    default: false
  eab_kid:
    description: Identifier of the key with which an authority knows its customers (external account binding).
    type: str
  eab_hmac_key:
    description: The key that goes with O(eab_kid), as the authority gives it. Both are used by the registration only.
    type: str
"""

EXAMPLES = r"""
- name: An account at Let's Encrypt
  onprem.cloud.pve_acme_account:
    api_host: 192.0.2.2
    api_user: root@pam
    api_password: "{{ vault_pve_root_password }}"
    name: default
    contact: admin@example.com
    terms_agreed: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
acme_account:
  description: The account as Proxmox VE has it afterwards. Empty if it is not there.
  type: dict
  returned: success
  sample: {"name": "default", "contact": ["mailto:admin@example.com"], "status": "valid",
    "directory": "https://acme-v02.api.letsencrypt.org/directory",
    "location": "https://acme-v02.api.letsencrypt.org/acme/acct/1", "tos": "https://letsencrypt.org/terms"}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError, Unreachable
from ansible_collections.onprem.cloud.plugins.module_utils.pve.cluster import is_root, reserved
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    LIST,
    SECRET,
    STR,
    Option,
    Text,
    Words,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class Contacts(Words):
    """Mail addresses, which are read back as addresses to open."""

    def __init__(self) -> None:
        super().__init__(",", unordered=True, word=r"[^@\s]+@[^@\s]+", hint="a mail address")

    def parse(self, value: Any) -> list[str]:
        parts = value if isinstance(value, (list, tuple)) else [value]
        return super().parse([re.sub(r"(^|[;,\s])mailto:", r"\1", str(part)) for part in parts])


TABLE = Table(
    noun="ACME account",
    path="/cluster/acme/account",
    id="name",
    detail=True,
    configid=True,
    required=("contact",),
    instead="leave {} out, or register another account under another name",
    options={
        "contact": Option(LIST, Contacts()),
        "directory": Option(STR, Text((), r"https?://\S+", "an address that begins with https://"), fixed=True),
    },
    places={
        "terms_agreed": {**BOOL, "default": False},
        "eab_kid": STR,
        "eab_hmac_key": SECRET,
    },
)


class AcmeAccount(Resource):
    """An account; the authority has it, and the cluster has its key."""

    result_name = "acme_account"
    terms: str | None = None  # where the authority's can be read

    def fetch(self) -> dict[str, Any] | None:
        try:
            found = super().fetch()
        except PveError as error:
            raise (self.refusal if error.status == 403 else error) from error
        if found is None:
            return None
        held = found.pop("account", None) or {}
        return {**found, **{key: held.get(key) for key in ("contact", "status")}}

    @property
    def refusal(self) -> PveError:
        return PveError(f"{self}: {reserved(self.params, 'see and change ACME accounts')}.")

    def plan(self) -> str:
        action = super().plan()
        if action and not is_root(self.params):
            raise self.refusal
        return action

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        if option == "contact" and self.raw is not None and not self.raw["contact"]:
            # The authority keeps it to itself, and it would never be seen to be as wanted.
            return self.wanted.get(option)
        return super().current(option, answer)

    def validate(self) -> None:
        given = [name for name in ("eab_kid", "eab_hmac_key") if self.params[name]]
        if len(given) == 1:
            (missing,) = {"eab_kid", "eab_hmac_key"} - set(given)
            self.problem(f"{missing} is missing, {given[0]} goes with it")
        if self.raw is None:
            self.sets.setdefault("directory", LETS_ENCRYPT)
            self.check_authority(self.sets["directory"])

    def check_authority(self, directory: str) -> None:
        """What the authority wants before it takes an account."""
        said = self.client.get("/cluster/acme/meta", directory=directory) or {}
        self.terms = said.get("termsOfService")
        if self.terms and not self.params["terms_agreed"]:
            self.problem(f"the authority has terms of service, read {self.terms} and set terms_agreed to true")
        if said.get("externalAccountRequired") and not self.params["eab_kid"]:
            self.problem(
                f"the authority {directory} takes accounts of its customers only, give the eab_kid and the "
                "eab_hmac_key that it gave you"
            )

    def begin(self, method: str, path: str, **values: Any) -> Any:
        """What the authority is asked for. If the answer is lost, it ends before anybody looks what there is."""
        try:
            return getattr(self.client, method)(path, **values)
        except Unreachable:
            self.settle("/cluster/tasks", "acme")
            raise

    def create(self) -> Any:
        binding = {key: self.params[key] for key in ("eab_kid", "eab_hmac_key") if self.params[key]}
        return self.begin(
            "post",
            self.path,
            name=self.name,
            **self.values(self.sets),
            **({"tos_url": self.terms} if self.terms else {}),
            **{key.replace("_", "-"): value for key, value in binding.items()},
        )

    def update(self) -> Any:
        return self.begin("put", self.item_path, **self.values(self.sets))

    def delete(self) -> Any:
        return self.begin("delete", self.item_path)


def spec() -> dict[str, Any]:
    """The options; the account of that name is the one that nodes use."""
    return {**argument_spec(TABLE), "name": {**STR, "default": "default"}}


def main() -> None:
    run(AnsibleModule(spec(), supports_check_mode=True), TABLE, AcmeAccount)


if __name__ == "__main__":
    main()
