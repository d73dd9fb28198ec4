#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_token
short_description: Manage an API token of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes an API token of a user. Its rights are granted with M(onprem.cloud.pve_acl).
  - Proxmox VE makes the secret of a token and shows it once. The module returns it in RV(secret) when it was made, and
    in no other run. Put it away in the same play, and set C(no_log) on the task.
  - An option that is given is enforced, one that is not given is left alone.
notes:
  - Everybody may manage the tokens of their own. Those of another user need the privilege C(User.Modify) on
    C(/access/groups), or on C(/access/groups/<group>) for a group that the user is a member of.
  - If the answer that carries the secret of a new token is lost on the way, the module asks for another secret. This
    and O(regenerate) need Proxmox VE 9.
  - Deleting a token takes away the rights that were granted to it.
seealso:
  - module: onprem.cloud.pve_user
  - module: onprem.cloud.pve_acl
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  userid:
    description: The user whom the token belongs to, with the realm, such as V(automation@pve).
    type: str
    required: true
  tokenid:
    description:
      - Name of the token, the part after the exclamation mark.
      - It begins with a letter and has at least two letters, digits, dots, dashes or underscores.
    type: str
    required: true
  comment:
    description: What the token is for. An empty text removes it.
    type: str
  expire:
    description: When the token ends, in seconds since 1970-01-01 UTC. V(0) means never, which is what new tokens get.
    type: int
  privsep:
    description:
      - Whether the token has only the rights that are granted to it, and at most those of its user.
      - V(false) gives it all rights of its user. New tokens are separated.
    type: bool
  regenerate:
    description:
      - Whether to have a new secret made for a token that exists. The old one is no longer valid.
      - The module then reports a change in every run.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A token for the automation
  onprem.cloud.pve_token:
    api_host: 192.0.2.2
    api_user: root@pam
    api_password: "{{ vault_pve_root_password }}"
    userid: automation@pve
    tokenid: ansible
    comment: Deploys the company
  register: token
  no_log: true

- name: Its secret, for the controller alone
  ansible.builtin.copy:
    content: "{{ token.secret }}"
    dest: "{{ inventory_dir }}/pve-token-secret"
    mode: "0600"
  delegate_to: localhost
  when: token.secret is defined
  no_log: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
full_tokenid:
  description: What a login with the token gives as its name.
  type: str
  returned: success
  sample: automation@pve!ansible
secret:
  description: The secret of the token. It is shown in the run that had it made, and never again.
  type: str
  returned: when a secret was made
  sample: 00000000-0000-0000-0000-000000000000
token:
  description: The token as Proxmox VE has it afterwards, without its secret.
  type: dict
  returned: success
  sample: {"comment": "Deploys the company", "expire": 0, "privsep": 1}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    HIDDEN,
    INT,
    STR,
    Boolean,
    Number,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

TABLE = Table(
    noun="token",
    path="/access/users/{userid}/token",
    id="tokenid",
    options={
        "comment": Option(STR, Text(), ""),
        "expire": Option(INT, Number(), 0),
        "privsep": Option(BOOL, Boolean(), True),
    },
    places={"userid": {**STR, "required": True}, "regenerate": {**BOOL, "default": False}},
    deletes=False,
    # A user who is yet to be created has no tokens.
    missing="no such (token|user)",
)


class Token(Resource):
    """A token, and the secret that PVE tells once."""

    secret = ""
    owed = False  # whether a secret is to be made

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.owed = bool(self.params["regenerate"])

    def __str__(self) -> str:
        return f"token '{self.params['userid']}!{self.name}'"

    def parse(self) -> None:
        super().parse()
        if not re.fullmatch(r"[^@\s][^\s]*@[^@\s!]+", self.params["userid"]):
            self.problem("userid has no realm, write for example automation@pve")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]+", self.name):
            self.problem(
                f"tokenid '{self.name}' has to begin with a letter and to have at least two letters, digits, dots, "
                "dashes or underscores"
            )

    def plan(self) -> str:
        action = super().plan()
        if self.state == "present" and self.raw is not None and self.owed and not self.secret:
            return "update"
        return action

    def create(self) -> None:
        # Whatever becomes of the answer, the token that it leaves behind must have a secret that somebody knows.
        self.owed = True
        self.secret = self.client.post(self.item_path, **self.values(self.sets))["value"]

    def update(self) -> None:
        values = {**self.values(self.sets), **{self.api_key(name): "" for name in self.deletes}}
        if not self.owed or self.secret:
            self.client.put(self.item_path, **values)
            return
        try:
            self.secret = self.client.put(self.item_path, **values, regenerate=True)["value"]
        except PveError as error:
            if "regenerate: property is not defined" not in error.text:
                raise
            raise PveError(
                f"{self}: this Proxmox VE makes no new secret for a token that exists ({error.text}): remove it (state "
                "absent) and create it anew; the rights that were granted to it have to be granted again."
            ) from None

    def run(self) -> dict[str, Any]:
        result = super().run()
        if result["action"] == "update" and self.owed:
            result["diff"]["before"]["secret"] = HIDDEN
            result["diff"]["after"]["secret"] = "(hidden, another one)"
        result["full_tokenid"] = f"{self.params['userid']}!{self.name}"
        return {**result, "secret": self.secret} if self.secret else result


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Token)


if __name__ == "__main__":
    main()
