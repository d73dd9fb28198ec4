#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_user
short_description: Manage a user of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a user of any realm. The tokens of the user are left alone, see
    M(onprem.cloud.pve_token).
  - An option that is given is enforced, one that is not given is left alone.
notes:
  - Needs the privileges C(Realm.AllocateUser) on C(/access/realm/<realm>) to create and to delete, and C(User.Modify)
    on C(/access/groups), or on C(/access/groups/<group>) for each group that the user is or becomes a member of.
  - Proxmox VE takes the new password of a user that exists from no API token. Log in with O(api_password). The
    password of a new user may come from a token.
  - Deleting a user deletes the user's tokens, second factors and rights.
  - With O(api_backend=local), O(password) and O(keys) are on no command line.
seealso:
  - module: onprem.cloud.pve_group
  - module: onprem.cloud.pve_acl
  - module: onprem.cloud.pve_token
  - module: onprem.cloud.pve_tfa
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  userid:
    description: Name of the user with the realm, such as V(ada@pve).
    type: str
    required: true
  comment:
    description: Whom the account is for. An empty text removes it.
    type: str
  email:
    description: Address that mail for the user goes to. An empty text removes it.
    type: str
  enable:
    description: Whether the user can log in. New users can.
    type: bool
  expire:
    description: When the account ends, in seconds since 1970-01-01 UTC. V(0) means never, which is what new users get.
    type: int
  firstname:
    description: First name. An empty text removes it.
    type: str
  lastname:
    description: Last name. An empty text removes it.
    type: str
  groups:
    description: The groups that the user is in, and no others. An empty list takes the user out of all of them.
    type: list
    elements: str
  keys:
    description:
      - Identifiers of the Yubico keys that are a second factor in a realm which demands one. It is never shown.
      - An empty text removes them.
      - Use M(onprem.cloud.pve_tfa) for the second factors that the user owns in any realm.
    type: str
  password:
    description:
      - Password, at least 8 characters. It can be set in the realms C(pve) and C(pam), a user of C(pam) must exist on
        the node.
      - Proxmox VE never shows it, see O(update_password).
    type: str
  update_password:
    description:
      - V(on_create) sets O(password) when the user is created and never again.
      - V(always) sets it in every run, which then always reports a change.
    type: str
    choices: [always, on_create]
    default: on_create
"""

EXAMPLES = r"""
- name: A user who looks after the virtual machines
  onprem.cloud.pve_user:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    userid: ada@pve
    firstname: Ada
    lastname: Lovelace
    email: ada@example.com
    groups: [operators]
    password: "{{ vault_ada_password }}"

- name: Nobody logs in as this user for the time being
  onprem.cloud.pve_user:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    userid: ada@pve
    enable: false
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
user:
  description: The user as Proxmox VE has it afterwards, without secrets.
  type: dict
  returned: success
  sample: {"enable": 1, "expire": 0, "firstname": "Ada", "groups": ["operators"], "tokens": {}}
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    LIST,
    SECRET,
    STR,
    Boolean,
    Number,
    Option,
    Text,
    Words,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

TABLE = Table(
    noun="user",
    path="/access/users",
    id="userid",
    options={
        "comment": Option(STR, Text(), ""),
        "email": Option(STR, Text(pattern=r"[^@\s]+@[^@\s]+", hint="an address such as ada@example.com"), ""),
        "enable": Option(BOOL, Boolean(), True),
        "expire": Option(INT, Number(), 0),
        "firstname": Option(STR, Text(), ""),
        "lastname": Option(STR, Text(), ""),
        "groups": Option(LIST, Words(",", unordered=True), []),
        "keys": Option(SECRET, Text(), "", hidden=True),
        "password": Option(SECRET, Text(), secret=True),
    },
    deletes=False,
    missing="no such user",
)


class User(Resource):
    """A user; the password has a call of its own once the user exists."""

    private = ("password", "keys")

    def parse(self) -> None:
        super().parse()
        name, _sign, realm = self.name.rpartition("@")
        if not (name and realm):
            self.problem("userid has no realm, write for example ada@pve")
        if self.params["password"]:
            # Blanks at its ends belong to a password.
            self.wanted["password"] = self.params["password"]

    def validate(self) -> None:
        password = self.params["password"]
        if password and not 8 <= len(password) <= 64:
            self.problem("password has less than 8 or more than 64 characters, choose another")
        if self.raw is not None and "password" in self.sets and not (self.client.local or self.params["api_password"]):
            self.problem(
                "PVE takes the new password of a user that exists from no API token: log in with api_password, or set "
                "update_password to 'on_create'"
            )

    def update(self) -> None:
        password = self.sets.get("password")
        if self.deletes or set(self.sets) - {"password"}:
            values = self.values({name: value for name, value in self.sets.items() if name != "password"})
            self.client.put(self.item_path, **values, **dict.fromkeys(self.deletes, ""))
        if password is not None:
            own = self.params["api_password"]
            # Others than root@pam have to prove that it is them.
            confirmation = {"confirmation-password": own} if own and self.params["api_user"] != "root@pam" else {}
            self.client.put("/access/password", userid=self.name, password=password, **confirmation)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, User)


if __name__ == "__main__":
    main()
