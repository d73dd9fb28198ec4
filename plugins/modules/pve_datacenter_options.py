#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_datacenter_options
short_description: Manage the options of a datacenter of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Changes what holds for the whole cluster, in C(/etc/pve/datacenter.cfg).
  - An option that is given is enforced in full, one that is not given is left alone, and an empty value removes it,
    which brings the default of Proxmox VE back.
  - An option with keys is given as a dict or as the text of Proxmox VE. Keys that are not given have their default.
notes:
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/).
seealso:
  - module: onprem.cloud.pve_backup_job
  - module: onprem.cloud.pve_notification_matcher
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
  bwlimit:
    description:
      - Limits of the bandwidth in KiB/s. The keys are C(clone), C(default), C(migration), C(move) and C(restore).
    type: raw
  consent_text:
    description: Text that is shown before the login.
    type: str
  console:
    description: The viewer of consoles.
    type: str
    choices: [applet, vv, html5, xtermjs]
  crs:
    description:
      - How the cluster places guests. The keys are C(ha) (V(basic), V(static) or V(dynamic)), C(ha-rebalance-on-start),
        C(ha-auto-rebalance), C(ha-auto-rebalance-hold-duration), C(ha-auto-rebalance-margin) (percent),
        C(ha-auto-rebalance-method) (V(bruteforce) or V(topsis)) and C(ha-auto-rebalance-threshold) (percent).
    type: raw
  description:
    description: Notes of the datacenter, in Markdown.
    type: str
  email_from:
    description: The sender of mails.
    type: str
  fencing:
    description: How nodes are fenced.
    type: str
    choices: [watchdog, hardware, both]
  ha:
    description:
      - The key C(shutdown_policy) says what becomes of highly available guests when a node shuts down, V(freeze),
        V(failover), V(conditional) or V(migrate).
    type: raw
  http_proxy:
    description: Proxy for downloads. Whoever may read the options sees it, and a password in it too.
    type: str
  keyboard:
    description: Layout of the keyboard in consoles.
    type: str
    choices: [de, de-ch, da, en-gb, en-us, es, fi, fr, fr-be, fr-ca, fr-ch, hu, is, it, ja, lt, mk, nl, "no", pl, pt,
      pt-br, sv, sl, tr]
  language:
    description: Language of the web interface.
    type: str
    choices: [ar, ca, da, de, en, es, eu, fa, fr, hr, he, it, ja, ka, kr, nb, nl, nn, pl, pt_BR, ru, sl, sv, tr, ukr,
      zh_CN, zh_TW]
  mac_prefix:
    description: The first bytes of the MAC addresses that Proxmox VE makes.
    type: str
  max_workers:
    description: How many tasks a node runs at once when it starts, stops or migrates all guests.
    type: int
  migration:
    description: How guests migrate. The keys are C(type) (V(secure) or V(insecure)) and C(network) (in CIDR notation).
    type: raw
  next_id:
    description: The range of free IDs of guests. The keys are C(lower) (included) and C(upper) (not included).
    type: raw
  notify:
    description:
      - The older notification settings, for which there is M(onprem.cloud.pve_notification_matcher) now. The keys are
        C(package-updates), C(fencing), C(replication), C(target-package-updates), C(target-fencing) and
        C(target-replication).
    type: raw
  registered_tags:
    description: Tags that only those with C(Sys.Modify) on C(/) may set and remove.
    type: list
    elements: str
  replication:
    description: How replication jobs reach other nodes. The keys are those of O(migration).
    type: raw
  tag_style:
    description:
      - How tags look. The keys are C(case-sensitive), C(color-map) (C(tag:RRGGBB[:RRGGBB]) joined by semicolons, or a
        list), C(ordering) (V(config) or V(alphabetical)) and C(shape) (V(full), V(circle), V(dense) or V(none)).
    type: raw
  u2f:
    description: Second factors of the older kind. The keys are C(appid) and C(origin).
    type: raw
  user_tag_access:
    description:
      - Which tags users may set on their guests. The keys are C(user-allow) (V(none), V(list), V(existing) or V(free))
        and C(user-allow-list) (tags joined by semicolons, or a list).
    type: raw
  webauthn:
    description: Second factors. The keys are C(id), C(origin), C(rp) and C(allow-subdomains).
    type: raw
"""

EXAMPLES = r"""
- name: Migrate over the fast network, and keep the IDs of guests in one range
  onprem.cloud.pve_datacenter_options:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    migration:
      type: secure
      network: 198.51.100.0/24
    next_id:
      lower: 1000
      upper: 2000
    ha:
      shutdown_policy: migrate
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
datacenter_options:
  description: The options as Proxmox VE has them afterwards.
  type: dict
  returned: success
  sample: {"mac_prefix": "BC:24:11", "migration": {"type": "secure", "network": "198.51.100.0/24"}, "description": "",
    "next-id": {"lower": "1000", "upper": "2000"}, "ha": {"shutdown_policy": "migrate"}, "allowed-tags": []}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    INT,
    LIST,
    RAW,
    STR,
    Boolean,
    Note,
    Number,
    Option,
    PropertyString,
    Text,
    Words,
    choice,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

KEYBOARDS = (
    *("de", "de-ch", "da", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is", "it", "ja", "lt"),
    *("mk", "nl", "no", "pl", "pt", "pt-br", "sv", "sl", "tr"),
)
LANGUAGES = (
    *("ar", "ca", "da", "de", "en", "es", "eu", "fa", "fr", "hr", "he", "it", "ja", "ka", "kr", "nb", "nl", "nn", "pl"),
    *("pt_BR", "ru", "sl", "sv", "tr", "ukr", "zh_CN", "zh_TW"),
)


class Way(PropertyString):
    """How data goes from node to node; Proxmox VE wants the type to be said."""

    def parse(self, value: Any) -> dict[str, Any]:
        parsed = super().parse(value)
        return {"type": "secure", **parsed} if parsed else {}


class Prefix(Text):
    def parse(self, value: Any) -> str:
        return super().parse(str(value).upper())


class Colors(Words):
    """Colors of tags, in any order; their hex digits have no case."""

    def parse(self, value: Any) -> list[str]:
        colors = [word.partition(":") for word in super().parse(value)]
        return sorted(f"{tag}:{color.lower()}" for tag, _sign, color in colors)


def keys(kinds: dict[str, Any], **defaults: Any) -> Option:
    """Keys that have a default each, so that no key at all is the same as no option."""
    return Option(RAW, PropertyString(kinds, defaults={key.replace("_", "-"): defaults[key] for key in defaults}), {})


def tags() -> Words:
    return Words(";", unordered=True, word=r"(?i)[a-z0-9_][a-z0-9_+.-]*", hint="a tag")


COLOR = r"(?i)[a-z0-9_][a-z0-9_+.-]*:[0-9a-f]{6}(:[0-9a-f]{6})?"
NOTIFIED = Text(("always", "never"))
WAY = Way({"type": Text(("secure", "insecure")), "network": Text()}, bare="type")
TABLE = Table(
    noun="datacenter options",
    path="/cluster/options",
    options={
        "bwlimit": keys({key: Number(integer=False) for key in ("clone", "default", "migration", "move", "restore")}),
        "consent_text": Option(STR, Note()),
        "console": choice("applet", "vv", "html5", "xtermjs"),
        "crs": keys(
            {
                "ha": Text(("basic", "static", "dynamic")),
                "ha-rebalance-on-start": Boolean(),
                "ha-auto-rebalance": Boolean(),
                "ha-auto-rebalance-hold-duration": Number(),
                "ha-auto-rebalance-margin": Number(0, 100, integer=False),
                "ha-auto-rebalance-method": Text(("bruteforce", "topsis")),
                "ha-auto-rebalance-threshold": Number(integer=False),
            },
            ha="basic",
            ha_rebalance_on_start=False,
            ha_auto_rebalance=False,
            ha_auto_rebalance_hold_duration=3,
            ha_auto_rebalance_margin=10,
            ha_auto_rebalance_method="bruteforce",
            ha_auto_rebalance_threshold=30,
        ),
        "description": Option(STR, Note(), ""),
        "email_from": Option(STR, Text(), key="email_from"),
        "fencing": choice("watchdog", "hardware", "both", default="watchdog"),
        "ha": Option(
            RAW,
            PropertyString({"shutdown_policy": Text(("freeze", "failover", "conditional", "migrate"))}),
            {"shutdown_policy": "conditional"},
        ),
        "http_proxy": Option(STR, Text((), "http://.+", "an address that begins with http://"), key="http_proxy"),
        "keyboard": choice(*KEYBOARDS),
        "language": choice(*LANGUAGES),
        "mac_prefix": Option(
            STR,
            Prefix((), "[0-9A-F][02468ACE](:[0-9A-F]{2}){0,4}:?", "the beginning of a MAC address such as BC:24:11"),
            "BC:24:11",
            key="mac_prefix",
        ),
        "max_workers": Option(INT, Number(1), key="max_workers"),
        "migration": Option(RAW, WAY, {"type": "secure"}),
        "next_id": keys({"lower": Number(100, 999999999), "upper": Number(100, 10**9)}, lower=100, upper=10**6),
        "notify": keys(
            {
                "package-updates": Text(("auto", "always", "never")),
                **dict.fromkeys(("fencing", "replication"), NOTIFIED),
                **{f"target-{key}": Text() for key in ("package-updates", "fencing", "replication")},
            },
            package_updates="auto",
        ),
        "registered_tags": Option(LIST, tags()),
        "replication": Option(RAW, WAY, {"type": "secure"}),
        "tag_style": keys(
            {
                "case-sensitive": Boolean(),
                "color-map": Colors(";", unordered=True, word=COLOR, hint="a tag with its color such as web:ff0000"),
                "ordering": Text(("config", "alphabetical")),
                "shape": Text(("full", "circle", "dense", "none")),
            },
            case_sensitive=False,
            ordering="alphabetical",
            shape="circle",
        ),
        "u2f": keys({"appid": Text(), "origin": Text()}),
        "user_tag_access": keys(
            {"user-allow": Text(("none", "list", "existing", "free")), "user-allow-list": tags()}, user_allow="free"
        ),
        "webauthn": keys(
            {"id": Text(), "origin": Text(), "rp": Text(), "allow-subdomains": Boolean()}, allow_subdomains=True
        ),
    },
)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE)


if __name__ == "__main__":
    main()
