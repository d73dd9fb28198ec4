#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_realm
short_description: Manage a realm that users of Proxmox VE log in by
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a realm that asks an LDAP server, an Active Directory or an OpenID Connect provider.
  - Changes the realms C(pam) and C(pve), which are always there.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(Realm.Allocate) on C(/access/realm).
  - The secret of a bind account and the key of an OpenID client are set when the realm is created, see
    O(update_password).
  - Users of a realm that is deleted stay in the list and can no longer log in.
seealso:
  - module: onprem.cloud.pve_user
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  realm:
    description: Name of the realm, the part of a user's name after the at sign.
    type: str
    required: true
  type:
    description: What the realm asks. A new realm needs it, and it cannot be changed.
    type: str
    choices: [pam, pve, ldap, ad, openid]
  comment:
    description: What people see when they choose a realm at the login.
    type: str
  default:
    description: Whether the login suggests this realm. Making one the suggestion ends that of another.
    type: bool
  tfa:
    description:
      - A second factor that everybody in the realm has to have, as Proxmox VE's string or as a dict.
      - Its keys are C(type) (V(oath)), C(digits) (6 to 8, 6 unless given) and C(step) (seconds, 30 unless given).
      - Not for realms of type V(openid).
    type: raw
  server1:
    description: Address of the server. A new realm of type V(ldap) or V(ad) needs it.
    type: str
  server2:
    description: Address of the server that is asked when O(server1) does not answer. For V(ldap) and V(ad).
    type: str
  port:
    description: Port of the servers, that of O(mode) unless given. For V(ldap) and V(ad).
    type: int
  mode:
    description:
      - How the connection to the servers is protected, V(ldap) (not at all) unless given.
      - For V(ldap) and V(ad).
    type: str
    choices: [ldap, ldaps, ldap+starttls]
  verify:
    description:
      - Whether the servers' certificates must be trusted. They need not, unless this is V(true).
      - For V(ldap) and V(ad).
    type: bool
  capath:
    description: File or directory with the trusted authorities, C(/etc/ssl/certs) unless given. For V(ldap) and V(ad).
    type: str
  cert:
    description: File with the certificate that the node shows to the servers. For V(ldap) and V(ad).
    type: str
  certkey:
    description: File with the key of O(cert). For V(ldap) and V(ad).
    type: str
  sslversion:
    description:
      - The TLS version, V(tlsv1), V(tlsv1_1), V(tlsv1_2) or V(tlsv1_3). The best that both know unless given.
      - For V(ldap) and V(ad).
    type: str
  case_sensitive:
    description: Whether names of users keep their case, which they do unless this is V(false). For V(ldap) and V(ad).
    type: bool
  domain:
    description: The domain of the Active Directory. A new realm of type V(ad) needs it.
    type: str
  base_dn:
    description: Where the users are. A new realm of type V(ldap) needs it. For V(ldap) and V(ad).
    type: str
  user_attr:
    description: The attribute that holds a user's name. A new realm of type V(ldap) needs it. For V(ldap) and V(ad).
    type: str
  bind_dn:
    description: The account that searches the directory. For V(ldap) and V(ad).
    type: str
  password:
    description: Password of O(bind_dn). Proxmox VE never shows it, see O(update_password). For V(ldap) and V(ad).
    type: str
  filter:
    description: LDAP filter of the users that are synchronized. For V(ldap) and V(ad).
    type: str
  user_classes:
    description: Object classes of users, in any order. For V(ldap) and V(ad).
    type: list
    elements: str
  group_dn:
    description: Where the groups are, O(base_dn) unless given. For V(ldap) and V(ad).
    type: str
  group_filter:
    description: LDAP filter of the groups that are synchronized. For V(ldap) and V(ad).
    type: str
  group_classes:
    description: Object classes of groups, in any order. For V(ldap) and V(ad).
    type: list
    elements: str
  group_name_attr:
    description: The attribute that holds a group's name. For V(ldap) and V(ad).
    type: str
  sync_attributes:
    description:
      - Which attributes fill the fields of a user, as Proxmox VE's string or as a dict with the keys C(firstname),
        C(lastname), C(email), C(comment), C(enable), C(expire) and C(keys). For V(ldap) and V(ad).
    type: raw
  sync_defaults_options:
    description:
      - What a synchronization does unless it is told otherwise, as Proxmox VE's string or as a dict.
      - Its keys are C(scope) (V(users), V(groups) or V(both)), C(enable-new) (V(true) unless given) and
        C(remove-vanished) (of C(acl), C(properties) and C(entry), separated by semicolons, or V(none), which it is
        unless given).
      - For V(ldap) and V(ad).
    type: raw
  check_connection:
    description: Whether Proxmox VE tries to log in to the servers before it stores a change. For V(ldap) and V(ad).
    type: bool
    default: false
  issuer_url:
    description: Address of the provider. A new realm of type V(openid) needs it.
    type: str
  client_id:
    description: Name that the provider knows this Proxmox VE by. A new realm of type V(openid) needs it.
    type: str
  client_key:
    description: Secret that belongs to O(client_id). It is never shown, see O(update_password). For V(openid).
    type: str
  username_claim:
    description: The claim that names the user. It cannot be changed. For V(openid).
    type: str
  autocreate:
    description: Whether users are created when they first log in. They are not, unless this is V(true). For V(openid).
    type: bool
  prompt:
    description: What the provider asks the user for, such as V(login) or V(consent). For V(openid).
    type: str
  scopes:
    description: What is asked of the provider, V(email) and V(profile) unless given, in any order. For V(openid).
    type: list
    elements: str
  acr_values:
    description: Authentication context classes that are asked for. For V(openid).
    type: str
  audiences:
    description: Audiences that are accepted besides O(client_id). For V(openid).
    type: str
  query_userinfo:
    description:
      - Whether the provider is asked for claims once more after the login, which it is unless this is V(false).
      - For V(openid).
    type: bool
  groups_claim:
    description: The claim that holds the groups of the user. For V(openid).
    type: str
  groups_autocreate:
    description: Whether groups that are missing are created. They are not, unless this is V(true). For V(openid).
    type: bool
  groups_overwrite:
    description: Whether a login takes the user out of all groups that the claim does not name. For V(openid).
    type: bool
  update_password:
    description:
      - V(on_create) sets O(password) and O(client_key) when the realm is created and never again.
      - V(always) sets them in every run, which then always reports a change.
    type: str
    choices: [always, on_create]
    default: on_create
"""

EXAMPLES = r"""
- name: The company's directory
  onprem.cloud.pve_realm:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    realm: company
    type: ldap
    comment: Company account
    server1: ldap1.example.com
    server2: ldap2.example.com
    mode: ldaps
    verify: true
    base_dn: ou=people,dc=example,dc=com
    user_attr: uid
    bind_dn: cn=proxmox,ou=services,dc=example,dc=com
    password: "{{ vault_ldap_bind_password }}"
    sync_attributes: {firstname: givenName, lastname: sn, email: mail}
    sync_defaults_options: {scope: both, remove-vanished: entry;acl}

- name: Everybody in the realm of Proxmox VE has a second factor
  onprem.cloud.pve_realm:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    realm: pve
    tfa: {type: oath, digits: 6}
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
realm:
  description: The realm as Proxmox VE has it afterwards, without secrets.
  type: dict
  returned: success
  sample: {"type": "ldap", "server1": "ldap1.example.com", "base_dn": "dc=example,dc=com", "user_attr": "uid"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    LIST,
    RAW,
    SECRET,
    STR,
    Boolean,
    Invalid,
    Number,
    Option,
    PropertyString,
    Text,
    Words,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

TYPES = ("pam", "pve", "ldap", "ad", "openid")
MODES = ("ldap", "ldaps", "ldap+starttls")
VERSIONS = ("tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3")
# Always there, each with a comment of its own when it is given none.
BUILT_IN = {"pam": "Linux PAM standard authentication", "pve": "Proxmox VE authentication server"}
USER_CLASSES = ["inetorgperson", "person", "posixaccount", "user"]
GROUP_CLASSES = ["group", "groupOfNames", "ipausergroup", "univentionGroup"]


class Vanished(Words):
    """What a synchronization takes from who is no longer in the directory."""

    def parse(self, value: Any) -> list[str]:
        return [word for word in super().parse(value) if word != "none"]


class Factor(PropertyString):
    """A second factor; the one key that has no default cannot be told from the defaults once it is left out."""

    def split(self, value: Any) -> dict[str, Any]:
        pairs = super().split(value)
        if pairs and "type" not in pairs:
            raise Invalid("'type' is missing")
        return pairs


def text(key: str = "", *, fixed: bool = False) -> Option:
    return Option(STR, Text(), "", fixed=fixed, key=key)


def yes_no(default: bool) -> Option:
    return Option(BOOL, Boolean(), default)


def classes(key: str, default: list[str]) -> Option:
    return Option(LIST, Words(",", unordered=True), default, key=key)


ANY = {
    "type": Option({**STR, "choices": list(TYPES)}, Text(choices=TYPES), fixed=True),
    "comment": text(),
    "default": yes_no(False),
}
NOT_OPENID = {
    "tfa": Option(
        RAW,
        Factor(
            {"type": Text(choices=("oath",)), "digits": Number(6, 8), "step": Number(10)},
            defaults={"digits": 6, "step": 30},
            first=("type",),
        ),
    ),
}
DIRECTORY = {
    "server1": text(),
    "server2": text(),
    "port": Option(INT, Number(1, 65535)),
    "mode": Option({**STR, "choices": list(MODES)}, Text(choices=MODES), "ldap"),
    "verify": yes_no(False),
    "capath": Option(STR, Text(), "/etc/ssl/certs"),
    "cert": text(),
    "certkey": Option({**STR, "no_log": False}, Text(), ""),
    "sslversion": Option(STR, Text(choices=VERSIONS), ""),
    "case_sensitive": yes_no(True),
    "base_dn": text("base_dn"),
    "user_attr": text("user_attr"),
    "bind_dn": text("bind_dn"),
    "password": Option(SECRET, Text(), secret=True),
    "filter": text(),
    "user_classes": classes("user_classes", USER_CLASSES),
    "group_dn": text("group_dn"),
    "group_filter": text("group_filter"),
    "group_classes": classes("group_classes", GROUP_CLASSES),
    "group_name_attr": text("group_name_attr"),
    "sync_attributes": Option(
        RAW,
        PropertyString(
            {key: Text() for key in ("firstname", "lastname", "email", "comment", "enable", "expire", "keys")}
        ),
        key="sync_attributes",
    ),
    "sync_defaults_options": Option(
        RAW,
        PropertyString(
            {
                "scope": Text(choices=("users", "groups", "both")),
                "enable-new": Boolean(),
                "remove-vanished": Vanished(
                    ";",
                    unordered=True,
                    word="acl|properties|entry|none",
                    hint="one of acl, properties, entry and none",
                ),
            },
            defaults={"enable-new": True, "remove-vanished": []},
        ),
    ),
}
OPENID = {
    "issuer_url": text(),
    "client_id": text(),
    "client_key": Option(SECRET, Text(), secret=True),
    "username_claim": text(fixed=True),
    "autocreate": yes_no(False),
    "prompt": text(),
    "scopes": Option(LIST, Words(" ", unordered=True), ["email", "profile"]),
    "acr_values": text(),
    "audiences": text(),
    "query_userinfo": yes_no(True),
    "groups_claim": text(),
    "groups_autocreate": yes_no(False),
    "groups_overwrite": yes_no(False),
}
# The options that a realm of each type has, and what a new one cannot be without.
OPTIONS = {
    "pam": {**ANY, **NOT_OPENID},
    "pve": {**ANY, **NOT_OPENID},
    "ldap": {**ANY, **NOT_OPENID, **DIRECTORY},
    "ad": {**ANY, **NOT_OPENID, **DIRECTORY, "domain": text()},
    "openid": {**ANY, **OPENID},
}
NEEDED = {
    "ldap": ("server1", "base_dn", "user_attr"),
    "ad": ("server1", "domain"),
    "openid": ("issuer_url", "client_id"),
}

TABLE = Table(
    noun="realm",
    path="/access/domains",
    id="realm",
    options={**OPTIONS["ad"], **OPENID},
    places={"check_connection": {**BOOL, "default": False}},
    required=("type",),
    missing="domain .* does not exist",
)


class Realm(Resource):
    """A realm; its type says which options it has."""

    def parse(self) -> None:
        super().parse()
        if self.name in BUILT_IN and self.wanted.get("comment") == BUILT_IN[self.name]:
            self.wanted["comment"] = None

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        value = super().current(option, answer)
        return "" if option == "comment" and value == BUILT_IN.get(self.name) else value

    def plan(self) -> str:
        action = super().plan()
        if action == "delete" and self.name in BUILT_IN:
            raise PveError(f"{self}: it comes with Proxmox VE and stays, choose another realm.")
        return action

    def validate(self) -> None:
        kind = (self.raw or self.wanted).get("type")
        if kind not in OPTIONS:
            return
        if self.raw is None and (kind in BUILT_IN or self.name in BUILT_IN):
            self.problem("there is one realm of each of the types pam and pve, and it has that name")
            return
        for name in self.wanted:
            if name not in OPTIONS[kind]:
                types = " and ".join(other for other in TYPES if name in OPTIONS[other])
                self.problem(f"{name} is an option of realms of type {types}, this one is of type {kind}: leave it out")
        for name in NEEDED.get(kind, ()):
            if name in self.deletes or (self.raw is None and self.wanted.get(name) is None):
                self.problem(f"{name} is missing, a realm of type {kind} needs it")

    def values(self, names: dict[str, Any]) -> dict[str, Any]:
        tried = {"check-connection": True} if self.params["check_connection"] else {}
        return {**super().values(names), **tried}

    def facts(self) -> dict[str, Any]:
        # The key of a Yubico service is part of the value.
        return {key: value for key, value in super().facts().items() if key != "tfa" or "key=" not in str(value)}


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Realm)


if __name__ == "__main__":
    main()
