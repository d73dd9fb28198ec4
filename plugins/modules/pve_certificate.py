#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_certificate
short_description: Manage the TLS certificate of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Installs a certificate of one's own for the API and the web interface of a node, has the node order one by ACME, or
    takes the node back to the certificate that the authority of the cluster signed.
notes:
  - Needs the privilege C(Sys.Modify) on C(/nodes/{node}). With O(source=acme), C(Sys.Audit) on C(/) as well.
  - O(api_backend=local) is refused O(key), which would be on the command line of C(pvesh).
  - The connection of the module itself may run over the certificate that changes. Connections that break while
    C(pveproxy) restarts are made anew. If O(ca_path) does not trust the new certificate, the module checks by its
    fingerprint that the node presents it and warns, because the following tasks need another O(ca_path). What an ACME
    authority will sign is not known beforehand, so with O(source=acme) give an O(ca_path) that holds both authorities.
  - A certificate is known by the fingerprint of the node's own certificate, the first of O(certificates). Proxmox VE
    does not show the others, so a chain in which only they differ counts as the same.
  - Proxmox VE does not record where an installed certificate came from. With O(source=acme), one that is valid for
    exactly the domains of the node, and for long enough, is left alone.
seealso:
  - module: onprem.cloud.pve_acme_account
  - module: onprem.cloud.pve_acme_plugin
  - module: onprem.cloud.pve_acme_domains
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  node:
    description: Name of the node.
    type: str
    required: true
  source:
    description:
      - V(custom) installs O(certificates) and O(key).
      - V(acme) orders a certificate for the ACME domains of the node, see M(onprem.cloud.pve_acme_domains), if the
        installed one has other names. It is renewed when less than 30 days and less than a third of its time are left.
        Proxmox VE renews it daily by itself as well.
      - V(self-signed) removes the installed certificate, so that the node uses the one that the cluster signed.
    type: str
    choices: [custom, acme, self-signed]
    default: custom
  state:
    description:
      - V(absent) removes the installed certificate, whatever it is. With O(source=acme) it is revoked at the authority
        as well, in the name of the account that the node orders with. Not with O(source=self-signed).
  certificates:
    description:
      - The certificate of the node in PEM format, followed by those of its authorities. Required with
        O(source=custom) and O(state=present).
      - A certificate that has expired, that is not valid yet, or that is not for O(server_names) is refused.
    type: str
  key:
    description: Private key of the certificate in PEM format, without a passphrase. Required with O(certificates).
    type: str
  server_names:
    description:
      - Names and addresses that O(certificates) must be valid for. Only with O(source=custom).
      - Without it, the name of the node, alone or with any domain behind it. An empty list accepts any certificate.
    type: list
    elements: str
  restart:
    description:
      - Whether C(pveproxy) takes the change at once. If not, it does when it starts the next time.
      - With O(source=acme) Proxmox VE always restarts it.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: A certificate of the company's own authority
  onprem.cloud.pve_certificate:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    certificates: "{{ lookup('ansible.builtin.file', 'pve1.example.com.crt') }}"
    key: "{{ vault_pve1_key }}"

- name: A certificate that the node orders and renews
  onprem.cloud.pve_certificate:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    source: acme
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
certificate:
  description: The installed certificate as Proxmox VE shows it afterwards. Empty if the cluster's own is used.
  type: dict
  returned: success
  sample: {"filename": "pveproxy-ssl.pem", "subject": "/CN=pve1.example.com", "issuer": "/CN=Example CA",
    "san": ["pve1.example.com"], "notbefore": 1795270544, "notafter": 1858342544, "public-key-type": "rsaEncryption",
    "public-key-bits": 2048, "fingerprint":
    "BF:0F:54:F4:44:11:6E:A6:A8:FD:70:3D:98:A7:E1:C8:19:76:A2:91:D5:26:AD:B1:2C:98:93:A4:DC:E4:2C:07"}
"""

import base64
import contextlib
import hashlib
import ipaddress
import os
import re
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.acme import NodeAcme
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError, causes
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    LIST,
    SECRET,
    STR,
    Invalid,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, OfNode, Table, argument_spec, run

INSTALLED = "pveproxy-ssl.pem"
CLUSTER = "pve-ssl.pem"
PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
TASKS = ("acmenewcert", "acmerenew", "acmerevoke")
DAY = 24 * 60 * 60
# ssl.VERIFY_X509_PARTIAL_CHAIN, which has a name from Python 3.10 on: a certificate may be trusted for itself.
PARTIAL_CHAIN = 0x80000


def fingerprint(certificate: str) -> str:
    """Of a certificate in PEM format, as Proxmox VE writes it."""
    binary = base64.b64decode("".join(certificate.split("\n")[1:-1]), validate=True)
    return hashlib.sha256(binary).digest().hex(":").upper()


def blocks(text: str) -> list[str]:
    """The certificates in a text, the node's own first."""
    found = [(match[1], "\n".join(map(str.strip, match[0].splitlines()))) for match in PEM.finditer(text)]
    if any(label.endswith("PRIVATE KEY") for label, _block in found):
        raise Invalid("it holds a private key, which belongs into key")
    return [block for label, block in found if label == "CERTIFICATE"]


class Leaf(Text):
    """The fingerprint of the first certificate, which is all that can be read back."""

    def parse(self, value: Any) -> str:
        text = str(value).strip()
        if re.fullmatch(r"(?i)([0-9a-f]{2}:){31}[0-9a-f]{2}", text):
            return text.upper()
        found = blocks(text)
        if not found:
            raise Invalid("it holds no certificate in PEM format")
        try:
            return fingerprint(found[0])
        except ValueError:
            raise Invalid("it holds a damaged certificate, copy it anew") from None


def seen_by_client(chain: list[str], key: str, directory: str) -> dict[str, Any]:
    """The certificate as a client that trusts it decodes it; Invalid if it could not be used.

    The standard library shows the certificate of a peer only, so both ends are here.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    handle, path = tempfile.mkstemp(dir=directory)
    try:
        with os.fdopen(handle, "w") as file:
            file.write("\n".join([*chain, key, ""]))
        server.load_cert_chain(path)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Invalid(
                "key does not belong to the first of certificates: give the key of that one, and put the node's own "
                "certificate before those of its authorities"
            ) from None
        why = error.reason or "no private key in PEM format"
        raise Invalid(f"certificates and key cannot be loaded ({why}), copy them anew") from None
    finally:
        Path(path).unlink()
    client.check_hostname = False
    client.verify_flags |= PARTIAL_CHAIN
    client.load_verify_locations(cadata=chain[0] + "\n")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    near, far = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for end in (near, far) * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return near.getpeercert() or {}


def canonical(name: str) -> str:
    """A name without case, an address in its shortest form."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name.strip().lower().rstrip(".")


def is_for(certified: list[str], name: str, *, any_domain: bool) -> bool:
    """Whether the names of a certificate cover this one, perhaps with a domain behind it."""
    name = canonical(name)
    label, _dot, domain = name.partition(".")
    for item in map(canonical, certified):
        first, _dot, rest = item.partition(".")
        if item == name or (any_domain and first in (label, "*")) or (first == "*" and rest == domain):
            return True
    return False


TABLE = Table(
    noun="certificate",
    path="/nodes/{node}/certificates",
    options={"certificates": Option(STR, Leaf(), key="fingerprint")},
    places={
        **NODE,
        "state": {**STR, "choices": ["present", "absent"], "default": "present"},
        "source": {**STR, "choices": ["custom", "acme", "self-signed"], "default": "custom"},
        "key": SECRET,
        "server_names": LIST,
        "restart": {**BOOL, "default": True},
    },
)


class Certificate(OfNode):
    """What pveproxy presents instead of the certificate that the cluster signed."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.source = self.params["source"]
        self.removal = self.state == "absent" or self.source == "self-signed"
        self.own = ""  # the fingerprint of the certificate that the cluster signed
        # What would be ordered, and as whom.
        self.domains: list[str] = []
        self.account = ""
        self.ordered = ""  # how the diff shows a certificate that is not known before it is there
        self.answer: dict[str, Any] = {}  # what PVE told of the certificate that it installed

    # ------------------------------------------------------------------------------------------------- reading

    def fetch(self) -> dict[str, Any] | None:
        found = {item.get("filename"): item for item in self.client.get(f"{self.path}/info") or []}
        self.own = found.get(CLUSTER, {}).get("fingerprint", "")
        return found.get(INSTALLED)

    # ------------------------------------------------------------------------------------------------ planning

    def parse(self) -> None:
        given = [name for name in ("certificates", "key") if self.params[name]]
        given += ["server_names"] if self.params["server_names"] is not None else []
        # A key that is given where certificates belong is a secret all the same.
        held = PEM.finditer(self.params["certificates"] or "")
        self.module.no_log_values.update(match[0] for match in held if match[1].endswith("PRIVATE KEY"))
        if self.state == "absent" and self.source == "self-signed":
            self.problem("source 'self-signed' cannot be absent, take state present")
        if self.source != "custom" and given:
            self.problem(f"{given[0]} does not belong to source '{self.source}', leave it out or choose source custom")
        if self.source == "custom" and not self.removal:
            for name in ("certificates", "key"):
                if not self.params[name]:
                    self.problem(f"{name} is missing, source 'custom' needs it")
        if not self.problems and not self.removal:
            super().parse()
        if self.removal:
            self.state = "absent"

    def compare(self) -> None:
        if self.source == "custom":
            super().compare()
            if self.raw is not None and not self.sets and int(self.raw.get("notafter") or 0) < time.time():
                self.module.warn(f"{self}: it has expired, install another one.")
            return
        self.read_acme()
        text = f"(ordered by ACME for {', '.join(self.domains)})"
        self.sets = {} if self.is_current() else {"certificates": text}

    def plan(self) -> str:
        action = super().plan()
        if action == "delete" and self.source == "acme":
            # Proxmox VE revokes in the name of the account, and wants the node to have domains for it.
            self.read_acme()
            remedy = ", or leave source out to remove the certificate without telling anybody"
            for text, instead in self.missing():
                self.problem(f"{text}{instead}{remedy}")
            if self.problems:
                raise PveError("\n".join(self.problems))
        return action

    def read_acme(self) -> None:
        acme = NodeAcme(self.params["node"], self.client.get(f"/nodes/{self.params['node']}/config") or {})
        self.account, self.domains = acme.account, acme.names

    def missing(self) -> list[tuple[str, str]]:
        """What the node lacks to talk to an authority, and how it gets it."""
        if not self.domains:
            return [("the node has no ACME domains", ", give it some with onprem.cloud.pve_acme_domains")]
        if self.account in [item.get("name") for item in self.client.get("/cluster/acme/account") or []]:
            return []
        return [(f"there is no ACME account '{self.account}'", ", register it with onprem.cloud.pve_acme_account")]

    def has_domains(self) -> bool:
        names = sorted(map(str.lower, (self.raw or {}).get("san") or []))
        return bool(names) and names == self.domains

    def is_current(self) -> bool:
        """Whether the installed certificate is what would be ordered, and lasts."""
        if not self.has_domains():
            return False
        ends, begins = (int((self.raw or {}).get(key) or 0) for key in ("notafter", "notbefore"))
        return ends - time.time() >= min(30 * DAY, (ends - begins) / 3)

    def validate(self) -> None:
        if not self.sets:
            return
        if self.source == "custom":
            self.check_certificate()
            return
        for text, remedy in self.missing():
            self.not_there(text, remedy)

    def check_certificate(self) -> None:
        """What PVE would accept and no client would."""
        if "ENCRYPTED" in self.params["key"]:
            self.problem("key has a passphrase, take it away: nobody types it when pveproxy starts")
            return
        try:
            shown = seen_by_client(blocks(self.params["certificates"]), self.params["key"], self.module.tmpdir)
        except ssl.SSLCertVerificationError as error:
            self.problem(f"certificates: no client would accept it ({error.verify_message}), get another one")
            return
        except Invalid as error:
            self.problem(str(error))
            return
        certified = [value for kind, value in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
        names = self.params["server_names"]
        for name in [self.params["node"]] if names is None else names:
            if not is_for(certified, name, any_domain=names is None):
                self.problem(
                    f"certificates: it is not for '{name}' but for {', '.join(certified) or 'no name at all'}, get "
                    "another one or say in server_names what it is for"
                )

    # ------------------------------------------------------------------------------------------------- writing

    def create(self) -> Any:
        if self.source == "acme":
            return self.order("post")
        self.answer = self.client.post(
            f"{self.path}/custom",
            certificates="\n".join([*blocks(self.params["certificates"]), ""]),
            key=self.params["key"].strip() + "\n",
            force=self.raw is not None,
            restart=self.params["restart"],
        )

    def update(self) -> Any:
        if self.source == "acme" and self.has_domains():
            # It revokes the old one; the module has looked at how long that lasts.
            return self.order("put")
        return self.create()

    def order(self, verb: str) -> Any:
        self.ordered = self.sets["certificates"]
        return self.task(verb, force=self.raw is not None)

    def task(self, verb: str, **values: Any) -> Any:
        """One at the authority; if one is at work already, it is waited for, its answer may have been lost."""
        for task in self.client.get(f"/nodes/{self.params['node']}/tasks", source="active") or []:
            if task.get("type") in TASKS and not task.get("endtime"):
                return task["upid"]
        return getattr(self.client, verb)(f"{self.path}/acme/certificate", **values)

    def delete(self) -> Any:
        if self.source == "acme":
            return self.task("delete")
        return self.client.delete(f"{self.path}/custom", restart=self.params["restart"])

    def apply(self, action: str) -> None:
        expected = self.own if action == "delete" else self.wanted.get("certificates")
        try:
            super().apply(action)
        except PveError as error:
            if not any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(error)):
                raise
            # What answers now presents another certificate than at the beginning.
            remedy = "set ca_path to the authority of the new one for what comes next"
            if expected != self.presented():
                raise PveError(
                    f"{self}: it has changed, and what is presented now is not trusted: {remedy}, and run again."
                ) from error
            self.module.warn(f"{self}: the connection does not trust it: {remedy}.")
            self.raw = None if action == "delete" else {**self.answer, "fingerprint": expected}

    def presented(self) -> str:
        """The fingerprint of what answers; nothing is said to it."""
        try:
            place = self.params["api_host"], self.params["api_port"] or 8006
            return fingerprint(ssl.get_server_certificate(place).strip())
        except OSError:
            return ""

    def shown(self, names: list[str]) -> dict[str, Any]:
        return {"certificates": self.ordered} if self.ordered and names else super().shown(names)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Certificate)


if __name__ == "__main__":
    main()
