#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_firewall_options
short_description: Manage the options of the firewall of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Sets the options of the firewall of the datacenter, of a node or of a guest.
  - An option that is given is enforced, one that is not given is left alone. An empty text or list brings back the
    default of Proxmox VE.
  - Refuses to shut the controller out, see O(allow_lockout).
notes:
  - At the datacenter, needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/).
  - At a node, needs C(Sys.Modify) on C(/nodes/{node}), and C(Sys.Audit) on C(/) to judge whether the controller stays
    in.
  - At a guest, needs C(VM.Config.Network) and C(VM.Audit) on C(/vms/{vmid}).
  - The rules of a guest apply to those of its interfaces that have C(firewall=1).
seealso:
  - module: onprem.cloud.pve_firewall_rules
  - module: onprem.cloud.pve_firewall_ipset
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.firewall
  - onprem.cloud.pve.firewall_guard
options:
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
  enable:
    description: Whether the firewall is on. By default it is off at the datacenter and at guests, and on at nodes.
    type: bool
  policy_in:
    description: What happens to incoming packets that no rule decides about, V(ACCEPT), V(REJECT) or V(DROP) (the
      default of Proxmox VE). At the datacenter and at guests.
    type: str
  policy_out:
    description: What happens to outgoing packets that no rule decides about, V(ACCEPT) (the default of Proxmox VE),
      V(REJECT) or V(DROP). At the datacenter and at guests.
    type: str
  policy_forward:
    description: What happens to forwarded packets that no rule decides about, V(ACCEPT) (the default of Proxmox VE) or
      V(DROP). At the datacenter.
    type: str
  ebtables:
    description: Whether rules for Ethernet frames are in force, on by default. At the datacenter.
    type: bool
  log_ratelimit:
    description:
      - How many packets are logged. At the datacenter.
      - A string as in Proxmox VE, or a dict with the keys C(enable) (default true), C(burst) (packets that are logged
        in any case, default 5) and C(rate) (such as V(1/second), the default; C(minute), C(hour) and C(day) too).
    type: raw
  log_level_in:
    description: Log level for incoming packets, V(nolog) by default, or V(emerg), V(alert), V(crit), V(err),
      V(warning), V(notice), V(info), V(debug). At nodes and guests.
    type: str
  log_level_out:
    description: Log level for outgoing packets, as O(log_level_in). At nodes and guests.
    type: str
  log_level_forward:
    description: Log level for forwarded packets, as O(log_level_in). At nodes.
    type: str
  smurf_log_level:
    description: Log level of the filter O(nosmurfs), as O(log_level_in). At nodes.
    type: str
  tcp_flags_log_level:
    description: Log level of the filter O(tcpflags), as O(log_level_in). At nodes.
    type: str
  nosmurfs:
    description: Whether packets from broadcast addresses are dropped, on by default. At nodes.
    type: bool
  tcpflags:
    description: Whether illegal combinations of TCP flags are dropped, off by default. At nodes.
    type: bool
  ndp:
    description: Whether neighbor discovery is let through, on by default. At nodes and guests.
    type: bool
  nf_conntrack_max:
    description: Most connections that are tracked, 262144 by default, at least 32768. At nodes.
    type: int
  nf_conntrack_tcp_timeout_established:
    description: Seconds that an idle TCP connection is tracked, 432000 by default, at least 7875. At nodes.
    type: int
  nf_conntrack_tcp_timeout_syn_recv:
    description: Seconds that a half-open TCP connection is tracked, from 30 to 60, 60 by default. At nodes.
    type: int
  nf_conntrack_allow_invalid:
    description: Whether packets that belong to no connection are let through, off by default. At nodes.
    type: bool
  nf_conntrack_helpers:
    description: Protocols whose secondary connections are tracked, of V(amanda), V(ftp), V(irc), V(netbios-ns),
      V(pptp), V(sane), V(sip), V(snmp), V(tftp). At nodes.
    type: list
    elements: str
  log_nf_conntrack:
    description: Whether tracked connections are logged, off by default. At nodes.
    type: bool
  protection_synflood:
    description: Whether floods of new connections are held back, off by default. At nodes.
    type: bool
  protection_synflood_rate:
    description: New connections per second and source that O(protection_synflood) lets through, 200 by default. At
      nodes.
    type: int
  protection_synflood_burst:
    description: New connections per source that O(protection_synflood) lets through at once, 1000 by default. At nodes.
    type: int
  nftables:
    description: Whether the implementation with nftables is used, off by default. At nodes.
    type: bool
  dhcp:
    description: Whether DHCP is let through, off by default. At guests.
    type: bool
  ipfilter:
    description: Whether an interface may only use its own addresses, off by default. At guests.
    type: bool
  macfilter:
    description: Whether an interface may only use its own MAC address, on by default. At guests.
    type: bool
  radv:
    description: Whether the guest may send router advertisements, off by default. At guests.
    type: bool
"""

EXAMPLES = r"""
- name: Turn on the firewall of the datacenter
  onprem.cloud.pve_firewall_options:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    enable: true
    policy_in: DROP
    log_ratelimit:
      rate: 5/second

- name: Log what a node drops
  onprem.cloud.pve_firewall_options:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    log_level_in: info

- name: Turn on the firewall of a guest
  onprem.cloud.pve_firewall_options:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vmid: 101
    enable: true
    ipfilter: true
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
firewall_options:
  description: The options as Proxmox VE has them afterwards, without those that have their default.
  type: dict
  returned: success
  sample: {"enable": 1, "policy_in": "DROP"}
"""

import dataclasses
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.firewall import (
    DATACENTER,
    GUARD,
    GUEST,
    LEVEL,
    LOG_LEVELS,
    NODE,
    Guarded,
    RateLimit,
    Switch,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    LIST,
    RAW,
    STR,
    Boolean,
    Number,
    Option,
    Text,
    Words,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

HELPERS = r"amanda|ftp|irc|netbios-ns|pptp|sane|sip|snmp|tftp"
RATE = Text(pattern=r"[1-9]\d*/(second|minute|hour|day)", hint="a rate such as 5/second")
POLICY = Text(("ACCEPT", "REJECT", "DROP"))
FORWARD = Text(("ACCEPT", "DROP"))


def switch(default: bool) -> Option:
    return Option(BOOL, Boolean(), default)


def log_level() -> Option:
    return Option(STR, Text(LOG_LEVELS), "nolog")


LEVELS = {
    "cluster": {
        "enable": Option(BOOL, Switch(), False),
        "policy_in": Option(STR, POLICY, "DROP"),
        "policy_out": Option(STR, POLICY, "ACCEPT"),
        "policy_forward": Option(STR, FORWARD, "ACCEPT"),
        "ebtables": switch(True),
        "log_ratelimit": Option(
            RAW,
            RateLimit(
                {"enable": Boolean(), "burst": Number(), "rate": RATE},
                defaults={"enable": True, "burst": 5, "rate": "1/second"},
                bare="enable",
            ),
            {},
        ),
    },
    "node": {
        "enable": Option(BOOL, Switch(), True),
        **{f"log_level_{way}": log_level() for way in ("in", "out", "forward")},
        "smurf_log_level": log_level(),
        "tcp_flags_log_level": log_level(),
        "nosmurfs": switch(True),
        "tcpflags": switch(False),
        "ndp": switch(True),
        "nf_conntrack_max": Option(INT, Number(32768), 262144),
        "nf_conntrack_tcp_timeout_established": Option(INT, Number(7875), 432000),
        "nf_conntrack_tcp_timeout_syn_recv": Option(INT, Number(30, 60), 60),
        "nf_conntrack_allow_invalid": switch(False),
        "nf_conntrack_helpers": Option(
            LIST, Words(",", unordered=True, word=HELPERS, hint=f"one of {HELPERS.replace('|', ', ')}"), []
        ),
        "log_nf_conntrack": switch(False),
        "protection_synflood": switch(False),
        "protection_synflood_rate": Option(INT, Number(), 200),
        "protection_synflood_burst": Option(INT, Number(), 1000),
        "nftables": switch(False),
    },
    "guest": {
        "enable": Option(BOOL, Switch(), False),
        "policy_in": Option(STR, POLICY, "DROP"),
        "policy_out": Option(STR, POLICY, "ACCEPT"),
        "log_level_in": log_level(),
        "log_level_out": log_level(),
        "dhcp": switch(False),
        "ipfilter": switch(False),
        "macfilter": switch(True),
        "ndp": switch(True),
        "radv": switch(False),
    },
}
# The options of the firewall have underscores in the API as well.
LEVELS = {
    level: {name: option._replace(key=name) for name, option in options.items()} for level, options in LEVELS.items()
}
TABLE = Table(
    noun="firewall options",
    path=f"{DATACENTER}/options",
    elsewhere=(f"{NODE}/options", f"{GUEST}/options"),
    options={**LEVELS["guest"], **LEVELS["node"], **LEVELS["cluster"]},
    places={**LEVEL, **GUARD},
)
WHERE = {"cluster": "the datacenter", "node": "a node", "guest": "a guest"}


class Options(Guarded):
    """The options of one level."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, table)
        self.table = dataclasses.replace(table, options=LEVELS[self.level])

    def parse(self) -> None:
        super().parse()
        for name in sorted(set(TABLE.options) - set(self.table.options)):
            if self.params.get(name) is not None:
                levels = " or ".join(WHERE[level] for level, options in LEVELS.items() if name in options)
                self.problem(f"{name} is an option of {levels}, leave it out here")

    def future(self, action: str) -> dict[str, Any]:
        options: dict[str, Any] = {**(self.raw or {}), **self.values(self.sets)}
        return {self.path: {key: value for key, value in options.items() if key not in self.deletes}}


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Options)


if __name__ == "__main__":
    main()
