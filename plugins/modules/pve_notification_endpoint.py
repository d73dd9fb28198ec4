#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_notification_endpoint
short_description: Manage where Proxmox VE sends its notifications
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a target of notifications, which is mail through the node itself (V(sendmail)) or
    through a server (V(smtp)), a Gotify server (V(gotify)) or any HTTP service (V(webhook)). Which notifications it
    gets is set with M(onprem.cloud.pve_notification_matcher).
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
  - The built-in target C(mail-to-root) is always there. It can be changed, and O(state=absent) brings it back to how it
    came.
notes:
  - Needs the privilege C(Mapping.Modify) on C(/mapping/notifications), and on C(/) either C(Sys.AccessNetwork) or both
    C(Sys.Audit) and C(Sys.Modify).
  - Proxmox VE refuses to delete a target that a matcher uses.
  - A new O(name) needs O(type). V(sendmail) and V(smtp) need O(mailto) or O(mailto_user), V(smtp) also O(server) and
    O(from_address), V(gotify) O(server) and O(token), V(webhook) O(url) and O(method).
seealso:
  - module: onprem.cloud.pve_notification_matcher
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  name:
    description: Name of the target.
    type: str
    required: true
  type:
    description: What the target is. It cannot be changed later.
    type: str
    choices: [sendmail, smtp, gotify, webhook]
  comment:
    description: What the target is for.
    type: str
  disable:
    description: Whether nothing is sent to this target.
    type: bool
  mailto:
    description: Addresses that get a mail, in any order. For V(sendmail) and V(smtp).
    type: list
    elements: str
  mailto_user:
    description: Users of Proxmox VE who get a mail at the address of their account, in any order. For V(sendmail) and
      V(smtp).
    type: list
    elements: str
  from_address:
    description: Address that mails come from. For V(sendmail) and V(smtp).
    type: str
  author:
    description: Name that mails come from. For V(sendmail) and V(smtp).
    type: str
  server:
    description: Address of the mail server (V(smtp)), or URL of the Gotify server (V(gotify)).
    type: str
  port:
    description: Port of the mail server. V(0) stands for the one that belongs to O(mode), 465 for V(tls), 587 for
      V(starttls) and 25 for V(insecure). For V(smtp).
    type: int
  mode:
    description: How the connection to the mail server is encrypted, V(tls) unless set. For V(smtp).
    type: str
    choices: [tls, starttls, insecure]
  username:
    description: Login on the mail server. When it is removed, so is its password. For V(smtp).
    type: str
  password:
    description: Password of O(username). Proxmox VE does not show it, see O(update_password). For V(smtp).
    type: str
  token:
    description: Token of the application on the Gotify server. Proxmox VE does not show it, see O(update_password).
      For V(gotify).
    type: str
  url:
    description: Where the request goes, a template of Proxmox VE. For V(webhook).
    type: str
  method:
    description: Method of the request. For V(webhook).
    type: str
    choices: [post, put, get]
  header:
    description:
      - Headers of the request, as a dictionary of names and values. All of them, an empty dictionary removes them.
        Values are templates of Proxmox VE.
      - Proxmox VE shows headers to whoever may read the target. What is secret belongs in O(secret), and is used in a
        header as C({{ secrets.NAME }}).
      - For V(webhook).
    type: dict
  body:
    description: Text of the request, a template of Proxmox VE. For V(webhook).
    type: str
  secret:
    description:
      - Secrets that the templates of the request may use, as a dictionary of names and values. All of them, an empty
        dictionary removes them.
      - Proxmox VE shows their names only. Other names are always a change, for other values see O(update_password).
      - For V(webhook).
    type: dict
  update_password:
    description: Whether O(password), O(token) and the values of O(secret) are written every time (V(always)), which is
      a change every time, or only when the target or the name of a secret is new (V(on_create)).
    type: str
    choices: [always, on_create]
    default: on_create
"""

EXAMPLES = r"""
- name: Mail through the company's server
  onprem.cloud.pve_notification_endpoint:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    name: office-mail
    type: smtp
    server: mail.example.com
    mode: starttls
    username: pve
    password: "{{ vault_smtp_password }}"
    from_address: pve@example.com
    mailto: [ops@example.com, oncall@example.com]

- name: A message in the team's chat, its key kept secret
  onprem.cloud.pve_notification_endpoint:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    name: chat
    type: webhook
    method: post
    url: https://chat.example.com/hooks/pve
    header:
      Content-Type: application/json
      Authorization: !unsafe "Bearer {{ secrets.key }}"
    body: !unsafe '{"text": "{{ escape title }}"}'
    secret:
      key: "{{ vault_chat_key }}"

- name: Nothing goes to the node's own mail any more
  onprem.cloud.pve_notification_endpoint:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    name: mail-to-root
    disable: true
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
notification_endpoint:
  description: The target as Proxmox VE has it afterwards, without secrets. Empty if it is not there.
  type: dict
  returned: success
  sample:
    name: office-mail
    type: smtp
    server: mail.example.com
    mode: starttls
    username: pve
    from-address: pve@example.com
    mailto: [ops@example.com]
    origin: user-created
"""

import base64
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    DICT,
    INT,
    LIST,
    SECRET,
    STR,
    ArraySet,
    Boolean,
    Number,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

MODES = ("tls", "starttls", "insecure")
METHODS = ("post", "put", "get")
MAIL = {"mailto", "mailto_user", "from_address", "author"}
BELONGS = {
    "sendmail": MAIL,
    "smtp": {*MAIL, "server", "port", "mode", "username", "password"},
    "gotify": {"server", "token"},
    "webhook": {"url", "method", "header", "body", "secret"},
}
NEEDED = {
    "sendmail": (),
    "smtp": ("server", "from_address"),
    "gotify": ("server", "token"),
    "webhook": ("url", "method"),
}
# How the target that Proxmox VE brings along is unless somebody changed it.
BUILTIN = {
    "mail-to-root": {
        "comment": "Send mails to root@pam's email address",
        "mailto_user": ["root@pam"],
        "disable": False,
    }
}

TABLE = Table(
    noun="notification endpoint",
    path="/cluster/notifications/endpoints/{type}",
    id="name",
    places={"type": {"type": "str", "choices": list(BELONGS)}},
    options={
        "comment": Option(STR, Text(), ""),
        "disable": Option(BOOL, Boolean(), False),
        "mailto": Option(LIST, ArraySet(Text()), []),
        "mailto_user": Option(LIST, ArraySet(Text()), []),
        "from_address": Option(STR, Text(), ""),
        "author": Option(STR, Text(), ""),
        "server": Option(STR, Text(), ""),
        "port": Option(INT, Number(0, 65535)),
        "mode": Option({**STR, "choices": list(MODES)}, Text(MODES), "tls"),
        "username": Option(STR, Text(), ""),
        "password": Option(SECRET, Text(), secret=True),
        "token": Option(SECRET, Text(), secret=True),
        "url": Option(STR, Text(), ""),
        "method": Option({**STR, "choices": list(METHODS)}, Text(METHODS), ""),
        "header": Option(DICT, ArraySet(Text()), []),
        "body": Option(STR, Text(), ""),
        "secret": Option({**DICT, "no_log": True}, ArraySet(Text()), [], secret=True),
    },
    delete_array=True,
    belongs=BELONGS,
    needed=NEEDED,
    builtin=BUILTIN,
)


def encoded(value: Any) -> str:
    return base64.b64encode(str(value).encode()).decode()


def decoded(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except ValueError:
        return value


def pairs(values: dict[str, Any]) -> list[str]:
    """Names and values as the API takes them."""
    return [f"name={name},value={encoded(value)}" for name, value in values.items()]


def unpaired(items: list[str]) -> dict[str, str]:
    """Names and values as the API shows them; the values of secrets are empty."""
    parts = (item.partition(",value=") for item in items)
    return {name.partition("=")[2]: decoded(value) for name, _sign, value in sorted(parts)}


class Endpoint(Resource):
    """A target; its type is part of its path, and what is there decides if the type was not given."""

    def fetch(self) -> dict[str, Any] | None:
        targets = self.client.get("/cluster/notifications/targets")
        found = next((target for target in targets if target["name"] == self.name), None)
        kind = found["type"] if found else self.params["type"]
        self.path = self.table.path.format(type=kind)
        return {**self.client.get(self.item_path), "type": kind} if found else None

    def parse(self) -> None:
        # The module's own are returned, with what was given as a secret made unreadable.
        self.params = dict(self.params)
        for name in ("header", "secret"):
            if self.params[name]:
                self.params[name] = pairs(self.params[name])
        if self.params["body"]:
            self.params["body"] = encoded(self.params["body"])
        super().parse()
        if self.params["port"] == 0:
            self.wanted["port"] = None

    @property
    def kind(self) -> str | None:
        return (self.raw or self.params)["type"]

    def compare(self) -> None:
        super().compare()
        if self.raw is None or "secret" not in self.wanted:
            return
        wanted, there = self.wanted["secret"], self.raw.get("secret", [])
        if wanted is None and there:
            self.deletes.append("secret")
        elif wanted is not None and [*unpaired(wanted)] != [*unpaired(there)]:
            self.sets["secret"] = wanted

    def validate(self) -> None:
        given = self.params["type"]
        if self.kind is None:
            self.problem(f"type is missing, a new {self.table.noun} needs it: {', '.join(BELONGS)}")
            return
        if given and given != self.kind:
            self.problem(
                f"type is '{self.kind}' and cannot be changed to '{given}': remove it (state absent) and create it "
                "anew, or choose another name"
            )
            return
        self.check_kind()
        if self.wanted.get("password", "") is None:
            self.problem("password is empty, remove username and its password goes as well")
        if "mailto" in BELONGS[self.kind] and not any(self.after(name) for name in ("mailto", "mailto_user")):
            self.problem("nobody would get a mail, give mailto or mailto_user")

    def update(self) -> Any:
        if "username" in self.deletes:
            self.deletes.append("password")
        return super().update()

    def view(self, name: str, value: Any) -> Any:
        if name == "secret" and value:
            return [*unpaired(value)]
        if name == "header" and value:
            return unpaired(value)
        if name == "body" and value:
            return decoded(value)
        return super().view(name, value)

    def shown(self, names: list[str]) -> dict[str, Any]:
        """With the names of secrets."""
        shown = super().shown(names)
        secrets = self.view("secret", self.current("secret")) if self.raw and "secret" in names else None
        return {**shown, **({"secret": secrets} if secrets else {})}


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Endpoint)


if __name__ == "__main__":
    main()
