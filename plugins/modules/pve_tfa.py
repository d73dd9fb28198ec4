#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_tfa
short_description: Enroll a second factor (TOTP) for a user of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Enrolls a user for time-based one-time passwords, as the apps on phones show them, and takes the enrolment away.
  - Proxmox VE wants a current code as proof. It is computed from the secret as RFC 6238 says, so nobody has to type.
  - An enrolment is identified by its user and its description.
notes:
  - Proxmox VE takes changes of second factors from no API token. Log in with O(api_password), or use
    O(api_backend=local) as root on the node. Reading is allowed to tokens, so a run that finds nothing to do succeeds.
  - With O(api_backend=local), O(secret) is on no command line.
  - Everybody may change the second factors of their own. Those of another user need the privilege C(User.Modify) on
    C(/access/groups), or on C(/access/groups/<group>) for a group that the user is a member of. Only C(root@pam) may
    change those of C(root@pam).
  - The clocks of the node and of the machine that the module runs on may differ by half a minute.
  - The automation's own user should have no second factor, it could not log in with its password any more.
seealso:
  - module: onprem.cloud.pve_user
  - name: RFC 6238
    description: How a code is computed from the secret and the time.
    link: https://www.rfc-editor.org/rfc/rfc6238
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  userid:
    description: The user, with the realm, such as V(ada@pve).
    type: str
    required: true
  description:
    description: Tells one enrolment of a user from another, such as V(phone).
    type: str
    required: true
  secret:
    description:
      - What the app and Proxmox VE share, in base32 (the letters A to Z and the digits 2 to 7). Blanks, dashes and case
        do not matter. A new enrolment needs it, and Proxmox VE never shows it.
      - It should hold at least 20 random bytes, which are 32 letters.
    type: str
  update_password:
    description:
      - V(on_create) enrolls O(secret) once.
      - V(always) enrolls it anew in every run, which then always reports a change. The old enrolment goes once the new
        one is there.
    type: str
    choices: [always, on_create]
    default: on_create
  enable:
    description: Whether codes of this enrolment are accepted. Those of a new one are.
    type: bool
  issuer:
    description: What the app shows as the origin of the code. Taken with O(secret).
    type: str
    default: Proxmox VE
  digits:
    description: Length of a code. Taken with O(secret).
    type: int
    choices: [6, 7, 8]
    default: 6
  period:
    description: Seconds that a code is valid. Taken with O(secret).
    type: int
    default: 30
  algorithm:
    description: How codes are computed. Many apps know V(sha1) only. Taken with O(secret).
    type: str
    choices: [sha1, sha256, sha512]
    default: sha1
"""

EXAMPLES = r"""
- name: Ada has a second factor
  onprem.cloud.pve_tfa:
    api_host: 192.0.2.2
    api_user: root@pam
    api_password: "{{ vault_pve_root_password }}"
    userid: ada@pve
    description: phone
    secret: "{{ vault_ada_totp_secret }}"
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
second_factor:
  description: The enrolment as Proxmox VE has it afterwards, without its secret.
  type: dict
  returned: success
  sample: {"id": "00000000-0000-0000-0000-000000000000", "type": "totp", "description": "phone", "created": 1767225600}
"""

import base64
import hashlib
import hmac
import struct
import time
import urllib.parse
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    SECRET,
    STR,
    Boolean,
    Invalid,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run


class Base32(Text):
    """A shared secret; its parse never repeats it."""

    def parse(self, value: Any) -> str:
        text = "".join(str(value).split()).replace("-", "").rstrip("=").upper()
        try:
            decode(text)
        except ValueError:
            raise Invalid("it is not base32, write the letters A to Z and the digits 2 to 7") from None
        return text


def decode(secret: str) -> bytes:
    return base64.b32decode(secret + "=" * (-len(secret) % 8))


def code(secret: str, moment: float, digits: int = 6, period: int = 30, algorithm: str = "sha1") -> str:
    """The one-time password of a moment, as RFC 6238 has it."""
    counter = struct.pack(">Q", int(moment) // period)
    digest = hmac.new(decode(secret), counter, getattr(hashlib, algorithm)).digest()
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**digits:0{digits}d}"


TABLE = Table(
    noun="second factor",
    path="/access/tfa/{userid}",
    id="description",
    options={
        "enable": Option(BOOL, Boolean(), True),
        "secret": Option(SECRET, Base32(), secret=True),
    },
    required=("secret",),
    places={
        "userid": {**STR, "required": True},
        "issuer": {**STR, "default": "Proxmox VE"},
        "digits": {**INT, "choices": [6, 7, 8], "default": 6},
        "period": {**INT, "default": 30},
        "algorithm": {**STR, "choices": ["sha1", "sha256", "sha512"], "default": "sha1"},
    },
)


class SecondFactor(Resource):
    """An enrolment; PVE names it by an id of its own making."""

    private = ("secret", "totp", "value")

    def __str__(self) -> str:
        return f"second factor '{self.name}' of '{self.params['userid']}'"

    def fetch(self) -> dict[str, Any] | None:
        found = [
            entry
            for entry in self.client.get(self.path) or []
            if entry.get("type") == "totp" and entry.get("description", "") == self.name
        ]
        # A run that broke off while it replaced an enrolment may have left the old one beside the new one.
        return max(found, key=lambda entry: entry.get("created", 0)) if found else None

    @property
    def item_path(self) -> str:
        return f"{self.path}/{(self.raw or {})['id']}"

    @property
    def proof(self) -> dict[str, str]:
        """That it is them is what everybody but root has to prove."""
        own = self.params["api_password"]
        return {"password": own} if own and not self.client.local and self.params["api_user"] != "root@pam" else {}

    def parse(self) -> None:
        super().parse()
        if self.params["period"] < 1:
            self.problem(f"period is {self.params['period']}, write a number of seconds such as 30")

    def plan(self) -> str:
        action = super().plan()
        if action and not (self.client.local or self.params["api_password"]):
            raise PveError(
                f"{self}: PVE takes changes of second factors from no API token: log in with api_password, or use "
                "api_backend 'local' as root on the node."
            )
        return action

    def enroll(self) -> str:
        """The new enrolment's id."""
        how = {name: self.params[name] for name in ("digits", "period", "algorithm")}
        label = urllib.parse.quote(f"{self.params['issuer']}:{self.params['userid']}")
        query = {
            "secret": self.sets["secret"],
            "issuer": self.params["issuer"],
            **{name: str(value).upper() for name, value in how.items()},
        }
        return self.client.post(
            self.path,
            type="totp",
            description=self.name,
            totp=f"otpauth://totp/{label}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}",
            value=code(self.sets["secret"], time.time(), **how),
            **self.proof,
        )["id"]

    def create(self) -> None:
        new = self.enroll()
        if self.sets.get("enable") is False:
            self.client.put(f"{self.path}/{new}", enable=False, **self.proof)

    def update(self) -> None:
        if "secret" in self.sets:
            # The user is at no time without a second factor.
            disabled = not self.sets.get("enable", self.current("enable"))
            new = self.enroll()
            if disabled:
                self.client.put(f"{self.path}/{new}", enable=False, **self.proof)
            self.delete()
        else:
            self.client.put(self.item_path, enable=self.sets["enable"], **self.proof)

    def delete(self) -> None:
        self.client.delete(self.item_path, **self.proof)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, SecondFactor)


if __name__ == "__main__":
    main()
