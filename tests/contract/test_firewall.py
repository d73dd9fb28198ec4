# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall of the datacenter, of nodes and of guests."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, lives, whole_life

SSH = {"action": "ACCEPT", "proto": "tcp", "dport": "22", "source": "192.0.2.0/24"}
WEB = {"action": "ACCEPT", "proto": "tcp", "dport": "80,443,8000:8010", "comment": "web"}
PING = {"action": "ACCEPT", "macro": "Ping", "log": "info"}
DENY = {"action": "DROP"}
SPELLED = [
    {
        "rules": [
            {**SSH, "dport": "ssh", "proto": "6", "source": "192.0.2.0/24"},
            {**WEB, "dport": "443,8000:8010,http"},
        ]
    },
    {"rules": [{**SSH, "log": "nolog", "enable": True, "type": "in"}, {**WEB, "proto": "TCP", "comment": " web "}]},
]
GUESTS = pytest.mark.parametrize("kind", ["qemu", "lxc"])


@lives(
    Life(
        "pve_firewall_options",
        {},
        {"enable": True, "policy_in": "REJECT", "log_ratelimit": "enable=1,burst=10,rate=5/second"},
        {
            "enable": False,
            "policy_in": "ACCEPT",
            "policy_out": "DROP",
            "policy_forward": "DROP",
            "ebtables": False,
            "log_ratelimit": {"enable": False},
        },
        spellings=[
            {"log_ratelimit": {"rate": "5/second", "burst": 10}},
            {"log_ratelimit": "1,rate=5/second,burst=10", "policy_out": "ACCEPT", "ebtables": True},
        ],
        removed=["policy_in", "policy_out", "policy_forward", "log_ratelimit"],
        once=True,
    ),
    Life(
        "pve_firewall_options",
        {"node": "pve1"},
        {"log_level_in": "info", "nf_conntrack_helpers": ["ftp", "sip"]},
        {
            "enable": False,
            "log_level_in": "warning",
            "log_level_out": "err",
            "log_level_forward": "debug",
            "smurf_log_level": "info",
            "tcp_flags_log_level": "info",
            "nosmurfs": False,
            "tcpflags": True,
            "ndp": False,
            "nf_conntrack_max": 300000,
            "nf_conntrack_tcp_timeout_established": 8000,
            "nf_conntrack_tcp_timeout_syn_recv": 40,
            "nf_conntrack_allow_invalid": True,
            "nf_conntrack_helpers": ["tftp"],
            "log_nf_conntrack": True,
            "protection_synflood": True,
            "protection_synflood_rate": 100,
            "protection_synflood_burst": 500,
            "nftables": True,
        },
        spellings=[{"nf_conntrack_helpers": ["sip", "ftp"]}, {"log_level_out": "nolog", "nf_conntrack_max": 262144}],
        removed=["log_level_in", "nf_conntrack_helpers"],
        once=True,
    ),
    Life(
        "pve_firewall_options",
        {"node": "pve1", "type": "lxc", "vmid": 101},
        {"enable": True, "policy_in": "REJECT"},
        {
            "enable": False,
            "policy_in": "ACCEPT",
            "policy_out": "REJECT",
            "log_level_in": "info",
            "log_level_out": "info",
            "dhcp": True,
            "ipfilter": True,
            "macfilter": False,
            "ndp": False,
            "radv": True,
        },
        spellings=[{"policy_out": "ACCEPT", "macfilter": True, "log_level_out": "nolog"}],
        removed=["policy_in", "policy_out", "log_level_in"],
        once=True,
    ),
    Life(
        "pve_firewall_alias",
        {"name": "Admins"},
        {"cidr": "192.0.2.7", "comment": "on call"},
        {"cidr": "2001:db8::/64", "comment": "day and night"},
        spellings=[{"cidr": "192.0.2.7/32"}, {"name": "admins"}, {"comment": " on call "}],
        removed=["comment"],
    ),
    Life(
        "pve_firewall_alias",
        {"node": "pve1", "type": "qemu", "vmid": 102, "name": "web"},
        {"cidr": "192.0.2.0/24"},
        {"cidr": "192.0.2.0/25", "comment": "half"},
        spellings=[{"cidr": "192.0.2.1/24"}],
    ),
    Life(
        "pve_firewall_ipset",
        {"name": "Office"},
        {
            "comment": "who",
            "entries": [{"cidr": "192.0.2.0/25", "comment": "all"}, {"cidr": "192.0.2.9", "nomatch": True}],
        },
        {"comment": "nobody", "entries": [{"cidr": "192.0.2.0/25"}, {"cidr": "2001:db8::1"}, {"cidr": "192.0.2.9"}]},
        spellings=[
            {"entries": [{"cidr": "192.0.2.9/32", "nomatch": True}, {"cidr": "192.0.2.1/25", "comment": "all"}]},
            {"name": "office"},
        ],
        removed=["comment", "entries"],
    ),
    Life(
        "pve_firewall_ipset",
        {"node": "pve1", "type": "lxc", "vmid": 101, "name": "ipfilter-net0"},
        {"entries": [{"cidr": "192.0.2.44"}]},
        {"entries": [{"cidr": "192.0.2.45"}]},
    ),
    Life(
        "pve_firewall_group",
        {"group": "Web"},
        {"comment": "servers", "rules": [SSH, WEB]},
        {"comment": "all of them", "rules": [WEB, PING, {**SSH, "enable": False}]},
        spellings=[*SPELLED, {"group": "web"}],
        removed=["comment", "rules"],
    ),
    *(
        Life(
            "pve_firewall_rules",
            level,
            {"rules": [SSH, WEB]},
            {"rules": [PING, WEB, DENY]},
            SPELLED,
            ["rules"],
            once=True,
        )
        for level in ({}, {"node": "pve1"}, {"node": "pve1", "type": "lxc", "vmid": 101})
    ),
)
def test_whole_life(run, life):
    whole_life(run, life)
