#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_info
short_description: Read what Proxmox VE has and does
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Reads guests, nodes, storages, backups and much else of a cluster, and returns them as dictionaries by the names
    that people know. Booleans are booleans, numbers are numbers, lists are lists, and what Proxmox VE packs into a text
    such as C(name=eth0,bridge=vmbr0) is a dictionary.
  - Nothing is ever written, and no password, token or key is returned.
notes:
  - What the user or token may not see is empty in RV(pve) and has an entry in RV(denied). It fails nothing.
  - Proxmox VE answers with what the user may see and is silent about the rest. Where such an answer is empty, one more
    request finds out whether the user has the privilege anywhere, and RV(denied) tells if it has not.
  - Needs C(VM.Audit) on C(/vms) for guests, their configurations, the addresses of containers and replication,
    C(VM.GuestAgent.Audit) (C(VM.Monitor) in Proxmox VE 8) for the addresses of virtual machines, C(Datastore.Audit) on
    C(/storage) for storages, C(Pool.Audit) on C(/pool) for pools, C(Mapping.Audit) on C(/mapping) for notifications and
    mappings, C(SDN.Audit) on C(/sdn) for software defined networks, C(Sys.Modify) on C(/nodes) for updates, and
    C(Sys.Audit) on C(/) for the rest. Archives of backups are shown to who has C(Datastore.Allocate) on the storage, or
    C(VM.Backup) for the guest and C(Datastore.AllocateSpace) on the storage. The rights of others are shown to who has
    C(Permissions.Modify).
seealso:
  - module: onprem.cloud.pve_fleet
  - module: onprem.cloud.pve_backup_job
  - module: onprem.cloud.pve_storage
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
attributes:
  check_mode:
    description: Can run in check mode and reads the same.
  diff_mode:
    description: Nothing changes, so there is nothing to show.
    support: none
options:
  gather:
    description:
      - What is read. V(all) is everything, and a name after an exclamation mark is left out, as in V(all,!updates).
        Names that are left out are taken from the default if nothing else is given.
      - V(nodes), V(guests) and V(storages) come from one request, which most of the others need as well. The numbers
        below come on top of it.
      - "V(version): the version (1 request)."
      - "V(nodes): state and figures of the nodes (none)."
      - "V(guests): virtual machines and containers (none)."
      - "V(guest_configs): the configuration of each guest (1 for each)."
      - "V(guest_addresses): the addresses that each running guest has, from the node for a container and from the guest
        agent for a virtual machine (1 for each)."
      - "V(storages): what is on each node, and how full it is (none)."
      - "V(storage_contents): the volumes of each storage (1 for a shared one, else 1 for each node)."
      - "V(pools): pools and their members (1, and 1 for each pool)."
      - "V(cluster): quorum and members (1)."
      - "V(ha): what high availability manages, its rules or groups, and its state (3 or 4)."
      - "V(backups): jobs, archives, the newest archive of each guest, guests without one and guests in no job (2, and
        as many as V(storage_contents) for storages of backups unless that is read as well)."
      - "V(replication): jobs and their state (1, and 1 for each node that holds a replicated guest)."
      - "V(access): users, groups, roles, rights, tokens and realms (5)."
      - "V(firewall): the datacenter's options, rules, aliases, IP sets and security groups (5, and 1 for each set and
        group)."
      - "V(notifications): targets and matchers (2)."
      - "V(mappings): names of PCI and USB devices and of directories (3)."
      - "V(sdn): controllers, zones, vnets and subnets of software defined networks (3, and 1 for each vnet)."
      - "V(tasks): the last tasks that failed (1 for each node)."
      - "V(certificates): certificates of the nodes and how long they are valid (1 for each node)."
      - "V(ceph): health of Ceph (1)."
      - "V(subscription): state of the nodes' subscriptions (1 for each node)."
      - "V(updates): packages that can be updated (1 for each node)."
    type: list
    elements: str
    default: [version, nodes, guests, storages]
  node:
    description: Only this node, its guests and its storages.
    type: str
  vmid:
    description: Only these guests, and what is theirs.
    type: list
    elements: int
  tag:
    description: Only guests with this tag, and what is theirs.
    type: str
  pool:
    description: Only guests of this pool, and what is theirs.
    type: str
"""

EXAMPLES = r"""
- name: See what there is
  onprem.cloud.pve_info:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    gather: [guests, storages, backups]
  register: info

- name: Guests without a backup of the last 24 hours
  ansible.builtin.debug:
    msg: "{{ info.pve.guests | difference(fresh | map(attribute='guest')) | sort }}"
  vars:
    fresh: "{{ info.pve.backups.newest.values() | selectattr('age_hours', 'lt', 24) }}"

- name: Storages that are more than 80 % full
  ansible.builtin.debug:
    msg: "{{ info.pve.storages | community.general.json_query('values(@)[?used_percent > `80`].name') }}"

- name: No storage runs full this week
  ansible.builtin.assert:
    that: info.pve.storages.values() | selectattr('used_percent', 'gt', 95) | length == 0
    fail_msg: Clean up before you deploy

- name: Find the web servers
  onprem.cloud.pve_info:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    gather: [guest_addresses]
    tag: web
  register: web

- name: The addresses of those that run
  ansible.builtin.debug:
    msg: "{{ web.pve.guests.values() | selectattr('running') | map(attribute='addresses') | flatten }}"

- name: Everything about one guest but its volumes
  onprem.cloud.pve_info:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    gather: [all, "!storage_contents", "!updates"]
    vmid: [100]
"""

RETURN = r"""
pve:
  description: What was read. Each part is there if it was asked for.
  type: dict
  returned: success
  contains:
    version:
      description: The version, with the number before the first dot as C(major).
      type: dict
      returned: with V(version)
      sample: {"version": "9.2.11", "release": "9.2", "major": 9}
    nodes:
      description: Nodes by name. Memory is in MiB, C(cpu_usage) between 0 and 1, C(uptime) in seconds.
      type: dict
      returned: with V(nodes)
      sample: {"pve1": {"name": "pve1", "status": "online", "online": true, "cores": 16, "cpu_usage": 0.07,
        "memory": 65536, "memory_used": 20480, "disk_gib": 94.0, "disk_used_gib": 11.5, "uptime": 86400}}
    guests:
      description:
        - Guests by hostname, or by VMID those that share their name with another or have none.
        - C(config) holds the options of M(onprem.cloud.pve_lxc) or M(onprem.cloud.pve_qemu) with their defaults, sizes
          in bytes, and everything else as Proxmox VE has it.
        - C(addresses) are those that others can reach, C(interfaces) holds all. C(addresses_unknown) tells why the
          addresses of a guest could not be read.
      type: dict
      returned: with V(guests), V(guest_configs) or V(guest_addresses)
      sample: {"web": {"name": "web", "vmid": 100, "kind": "lxc", "node": "pve1", "status": "running", "running": true,
        "template": false, "tags": ["production", "web"], "pool": "prod", "lock": null, "ha_state": null, "cores": 2,
        "cpu_usage": 0.01, "memory": 2048, "memory_used": 512, "disk_gib": 8.0, "disk_used_gib": 1.2, "uptime": 3600,
        "addresses": ["192.0.2.10"],
        "interfaces": {"eth0": {"mac": "BC:24:11:00:00:01", "addresses": ["192.0.2.10/24"]}},
        "config": {"hostname": "web", "onboot": true, "net": {"net0": {"name": "eth0", "bridge": "vmbr0"}}}}}
    storages:
      description:
        - Storages by name. The figures of one that is not shared are those of its nodes together, but C(used_percent),
          which is the fullest node's. C(nodes) has the figures of each.
        - With V(storage_contents), C(contents) lists the volumes.
      type: dict
      returned: with V(storages) or V(storage_contents)
      sample: {"local": {"name": "local", "type": "dir", "content": ["backup", "iso"], "shared": false,
        "available": true, "total": 107374182400, "used": 53687091200, "free": 53687091200, "total_gib": 100.0,
        "used_gib": 50.0, "free_gib": 50.0, "used_percent": 50.0, "nodes": {"pve1": {"available": true,
        "total": 107374182400, "used": 53687091200, "free": 53687091200, "total_gib": 100.0, "used_gib": 50.0,
        "free_gib": 50.0, "used_percent": 50.0}}, "contents": [{"volid": "local:iso/debian-13.iso", "content": "iso",
        "format": "iso", "size": 3221225472, "size_gib": 3.0, "created": 1795357294, "node": "pve1", "vmid": null,
        "guest": null}]}}
    pools:
      description: Pools by name, with the names of their members.
      type: dict
      returned: with V(pools)
      sample: {"prod": {"comment": "Production", "guests": ["web"], "storages": ["local"]}}
    cluster:
      description: The cluster, or the node that is by itself and has no C(name).
      type: dict
      returned: with V(cluster)
      sample: {"name": "company", "quorate": true, "nodes": {"pve1": {"id": 1, "ip": "192.0.2.2", "online": true,
        "local": true}}}
    ha:
      description: High availability. C(rules) are of Proxmox VE 9, C(groups) of 8.
      type: dict
      returned: with V(ha)
      sample: {"quorate": true, "status": [], "resources": {"ct:100": {"type": "ct", "state": "started"}},
        "rules": {"intranet": {"type": "node-affinity", "resources": ["ct:100"], "nodes": {"pve1": 2, "pve2": 1},
        "disable": false}}, "groups": {}}
    backups:
      description:
        - Backup jobs by ID, archives of each guest with the newest first, the newest of each, guests without any
          (C(without)), and guests that no job includes (C(not_in_jobs)).
      type: dict
      returned: with V(backups)
      sample: {"jobs": {"nightly": {"schedule": "02:30", "enabled": true, "all": true, "storage": "local",
        "prune_backups": {"keep-daily": 14}}}, "newest": {"web": {"guest": "web", "vmid": 100, "age_hours": 7.5,
        "created": 1795357294, "size": 57909530, "size_gib": 0.05, "storage": "local", "node": "pve1",
        "volid": "local:backup/vzdump-lxc-100-2026_11_22-14_36_50.tar.zst", "protected": false, "verified": null}},
        "archives": {}, "without": ["router"], "not_in_jobs": []}
    replication:
      description: Replication jobs by ID, with the state that the node of the guest reports.
      type: dict
      returned: with V(replication)
      sample: {"100-0": {"vmid": 100, "guest": "web", "source": "pve1", "target": "pve2", "schedule": "*/10",
        "enabled": true, "last_sync": 1795357294, "next_sync": 1795357894, "duration": 3.2, "fail_count": 0,
        "error": null}}
    access:
      description: Users with their groups and tokens, groups with their members, roles, rights and realms, by name.
      type: dict
      returned: with V(access)
      sample: {"users": {"ada@pve": {"enable": true, "expire": 0, "groups": ["operators"], "tokens": {"ansible": {
        "comment": "Deploys the company", "expire": 0, "privsep": true}}}}, "groups": {"operators": {
        "comment": "On call", "users": ["ada@pve"]}}, "roles": {"Switch": {"privs": ["VM.Audit"], "special": false}},
        "acl": [{"path": "/vms", "roleid": "Switch", "type": "group", "ugid": "operators", "propagate": true}],
        "realms": {"pve": {"type": "pve",
        "comment": "Proxmox VE authentication server", "default": false, "tfa": null}}}
    firewall:
      description: The datacenter's firewall. Rules are in order.
      type: dict
      returned: with V(firewall)
      sample: {"options": {"enable": true, "policy_in": "DROP"}, "rules": [{"type": "in", "action": "ACCEPT",
        "macro": "SSH", "enable": true}], "aliases": {"admins": {"cidr": "198.51.100.0/24", "comment": "VPN"}},
        "ipsets": {"management": {"comment": "Who may reach the nodes", "entries": [{"cidr": "198.51.100.0/24",
        "nomatch": false}]}}, "groups": {"webserver": {"comment": "Web servers", "rules": []}}}
    notifications:
      description: Targets and matchers of notifications by name.
      type: dict
      returned: with V(notifications)
      sample: {"targets": {"mail-to-root": {"type": "sendmail", "origin": "builtin", "disable": false}},
        "matchers": {"default-matcher": {"mode": "all", "target": ["mail-to-root"], "disable": false}}}
    mappings:
      description: Names of devices and directories, with where they are on each node.
      type: dict
      returned: with V(mappings)
      sample: {"pci": {"gpu": {"description": "For transcoding", "map": [{"node": "pve1", "path": "0000:01:00",
        "id": "10de:2204"}]}}, "usb": {}, "dir": {}}
    sdn:
      description:
        - Software defined networks by name, and subnets by their network, as they are in force. What is staged and not
          applied has a C(state), V(new), V(changed) or V(deleted), and the staged values in C(pending), null for what
          goes.
      type: dict
      returned: with V(sdn)
      sample: {"controllers": {}, "zones": {"lan": {"type": "simple", "ipam": "pve", "nodes": ["pve1"], "mtu": 1400,
        "state": "changed", "pending": {"mtu": 1450}}}, "vnets": {"guests": {"type": "vnet", "zone": "lan",
        "vlanaware": false, "state": null, "pending": {}, "subnets": {"198.51.100.0/24": {
        "gateway": "198.51.100.1", "snat": true, "dhcp_range": [], "state": null, "pending": {}}}}}}
    tasks:
      description: The last tasks that failed, the newest first.
      type: list
      elements: dict
      returned: with V(tasks)
      sample: [{"type": "vzdump", "id": "100", "node": "pve1", "user": "root@pam", "status": "job errors",
        "started": 1795357294, "ended": 1795357298,
        "upid": "UPID:pve1:00006B83:0007CD71:6B0300DB:vzdump:100:root@pam:"}]
    certificates:
      description: Certificates by node and file.
      type: dict
      returned: with V(certificates)
      sample: {"pve1": {"pve-ssl.pem": {"subject": "/CN=pve1.example.com", "issuer": "/CN=Proxmox Virtual Environment",
        "fingerprint": "A3:62:39:41", "san": ["pve1.example.com"], "not_after": 2110630544, "days_left": 729}}}
    ceph:
      description: Health of Ceph. C(installed) is false where it has not been set up.
      type: dict
      returned: with V(ceph)
      sample: {"installed": true, "health": "HEALTH_OK", "checks": {}, "fsid": "2f5d2ab1-3a4c-4a9e-9a53-7f1f7a6ac1f4",
        "monitors": ["pve1"], "osds": 3, "osds_up": 3, "osds_in": 3, "total": 3221225472, "used": 1073741824,
        "free": 2147483648, "used_percent": 33.3}
    subscription:
      description: Subscriptions by node.
      type: dict
      returned: with V(subscription)
      sample: {"pve1": {"status": "active", "active": true, "product": "Proxmox VE Community Subscription 1 CPU/year",
        "level": "c", "message": null, "next_due": "2027-01-01"}}
    updates:
      description: Packages that can be updated, by node and name.
      type: dict
      returned: with V(updates)
      sample: {"pve1": {"pve-manager": {"version": "9.2.12", "installed": "9.2.11", "origin": "Proxmox",
        "title": "Proxmox Virtual Environment Management Tools"}}}
denied:
  description:
    - What the user or token may not see, by the name in O(gather), with the words of Proxmox VE, the privilege that is
      missing, and the guests or nodes in question if it is not all.
  type: dict
  returned: success
  sample: {"cluster": {"message": "Permission check failed (/, Sys.Audit)", "privilege": "Sys.Audit on /", "where": []}}
unanswered:
  description: What Proxmox VE could not answer for another reason, such as a storage that is out of reach.
  type: dict
  returned: success
  sample: {"certificates": {"message": "No route to host", "where": ["pve2"]}}
"""

import contextlib
import ipaddress
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Callable, Iterable, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError, connect, connection_spec
from ansible_collections.onprem.cloud.plugins.module_utils.pve.lxc import Kind
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    HIDDEN,
    UNITS,
    Boolean,
    Invalid,
    Nodes,
    Number,
    PropertyString,
    Retention,
    Text,
    Words,
    nearest,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu import KINDS

Values = dict[str, Any]
DEFAULT = ("version", "nodes", "guests", "storages")
# How many guests, nodes or storages are asked at a time; an agent that hangs must not hold up the others.
CONCURRENCY = 6
TASKS = 50
# What is never shown, whatever answer it turns up in.
SECRETS = ("cipassword", "encryption-key", "keyring", "keys", "password", "secret", "serverid", "signature")
REFUSED = re.compile(r"\((/\S*), ([\w.|]+)\)")
ARCHIVE = re.compile(r"backup/vzdump-\w+-(\d+)-")
NO_CEPH = re.compile(r"not installed|not (fully )?(initialized|configured)", re.IGNORECASE)


class Subset(NamedTuple):
    """Something that can be gathered."""

    privilege: str  # what it needs, where the words of a refusal do not tell
    # One of these a user must have to be shown anything at all, where PVE is silent about what is not shown.
    silent: tuple[str, ...] = ()


AUDIT = "Sys.Audit on /"
SUBSETS = {
    "version": Subset(""),
    "nodes": Subset("Sys.Audit on /nodes", ("Sys.Audit",)),
    "guests": Subset("VM.Audit on /vms", ("VM.Audit",)),
    "guest_configs": Subset("VM.Audit on /vms"),
    "guest_addresses": Subset("VM.GuestAgent.Audit on /vms"),
    "storages": Subset("Datastore.Audit on /storage", ("Datastore.Audit",)),
    "storage_contents": Subset("Datastore.Audit on /storage"),
    "pools": Subset("Pool.Audit on /pool", ("Pool.Audit",)),
    "cluster": Subset(AUDIT),
    "ha": Subset(AUDIT),
    "backups": Subset(
        "VM.Backup on /vms, and Datastore.AllocateSpace on /storage", ("VM.Backup", "Datastore.Allocate")
    ),
    "replication": Subset("VM.Audit on /vms", ("VM.Audit",)),
    "access": Subset("Sys.Audit on /access, and Permissions.Modify on /", ("Sys.Audit", "User.Modify")),
    "firewall": Subset(AUDIT),
    "notifications": Subset("Mapping.Audit on /mapping/notifications"),
    "mappings": Subset("Mapping.Audit on /mapping", ("Mapping.Audit", "Mapping.Modify", "Mapping.Use")),
    "sdn": Subset("SDN.Audit on /sdn", ("SDN.Audit", "SDN.Allocate")),
    "tasks": Subset("Sys.Audit on /nodes", ("Sys.Audit",)),
    "certificates": Subset(""),
    "ceph": Subset(AUDIT),
    "subscription": Subset(""),
    "updates": Subset("Sys.Modify on /nodes"),
}

FLAG = Boolean()
LIST = Words(",", unordered=True)
COUNT = Number()
TAGS = Words(";", unordered=True)
JOB = {
    **dict.fromkeys(("all", "enabled", "protected", "repeat-missed", "stdexcludes"), FLAG),
    **dict.fromkeys(("vmid", "exclude"), Words(",")),
    "prune-backups": Retention(),
    "fleecing": PropertyString({"enabled": FLAG, "storage": Text()}),
    "performance": PropertyString({"max-workers": COUNT, "pbs-entries-max": COUNT}),
}
RULE = {"enable": FLAG}
FIREWALL = {
    **dict.fromkeys(("enable", "ebtables"), FLAG),
    "log_ratelimit": PropertyString({"enable": FLAG, "burst": COUNT, "rate": Text()}, bare="enable"),
}
OFF = {"enable": False, "policy_in": "DROP", "policy_out": "ACCEPT"}
HA_RULE = {"resources": LIST, "nodes": Nodes(), "disable": FLAG, "strict": FLAG}
SDN = {
    **dict.fromkeys(("nodes", "exitnodes", "peers", "rt-import", "isis-ifaces"), LIST),
    **dict.fromkeys(("snat", "vlanaware", "isolate-ports", "ebgp", "bgp-multipath-as-path-relax"), FLAG),
    **dict.fromkeys(("advertise-subnets", "bridge-disable-mac-learning", "disable-arp-nd-suppression"), FLAG),
    "exitnodes-local-routing": FLAG,
}
HA_GROUP = {"nodes": Nodes(), "restricted": FLAG, "nofailback": FLAG}


def plain(item: Values, kinds: Values, *without: str) -> Values:
    """An answer with its values by their kinds, under names for Jinja."""
    facts = {}
    for key, value in item.items():
        if key in (*without, "digest") or value is None:
            continue
        with contextlib.suppress(Invalid):
            value = kinds[key].parse(value) if key in kinds else value
        facts[key.replace("-", "_")] = value
    return facts


def masked(value: Any) -> Any:
    """Without anything that is called like a secret."""
    if isinstance(value, dict):
        hidden = {key for key in value if str(key).replace("_", "-") in SECRETS and isinstance(value[key], str)}
        return {key: HIDDEN if key in hidden else masked(item) for key, item in value.items()}
    return [masked(item) for item in value] if isinstance(value, list) else value


def mebibytes(value: Any) -> int | None:
    return None if value is None else round(value / UNITS["M"])


def gibibytes(value: Any) -> float | None:
    return None if value is None else round(value / UNITS["G"], 2)


def percent(used: Any, total: Any) -> float | None:
    return round(100 * used / total, 1) if total and used is not None else None


def figures(item: Values) -> Values:
    """What nodes and guests have in common."""
    return {
        "cores": item.get("maxcpu"),
        "cpu_usage": item.get("cpu"),
        "memory": mebibytes(item.get("maxmem")),
        "memory_used": mebibytes(item.get("mem")),
        "disk_gib": gibibytes(item.get("maxdisk")),
        "disk_used_gib": gibibytes(item.get("disk")),
        "uptime": item.get("uptime"),
    }


def space(total: Any, used: Any) -> Values:
    """How full a storage is."""
    free = None if total is None or used is None else total - used
    sizes = {"total": total, "used": used, "free": free}
    units = {f"{name}_gib": gibibytes(size) for name, size in sizes.items()}
    return {**sizes, **units, "used_percent": percent(used, total) or 0.0}


def configuration(kind: Kind, raw: Values) -> Values:
    """The configuration of a guest by the options of the modules; what they do not know stays as it is."""
    names = {kind.renamed.get(name, name): name for name in kind.options}
    stems = {option.key or name: name for name, option in kind.numbered.items()}
    facts: Values = {name: option.default for name, option in kind.options.items() if option.default is not None}
    facts.update({name: {} for name in kind.numbered})
    for key, value in raw.items():
        stem = key.rstrip("0123456789")
        option = kind.options[names[key]] if key in names else kind.option(key)
        if option is None:
            facts[key] = bool(value) if key == "template" else value
            continue
        if option.secret:
            value = HIDDEN
        elif str(value).strip() == "":
            value = option.default
        else:
            value = parsed(option.kind, value)
        if key in names:
            facts[names[key]] = value
        else:
            facts[stems[stem]][key] = value
    return {key: value for key, value in facts.items() if key != "digest"}


def parsed(kind: Any, value: Any) -> Any:
    """A value of a configuration; property strings have their defaults, and sizes a second unit."""
    try:
        value = kind.parse(value)
    except Invalid:
        return value
    if isinstance(kind, PropertyString):
        value = {**kind.defaults, **value}
        if isinstance(value.get("size"), int):
            value["size_gib"] = gibibytes(value["size"])
    return value


def interfaces(answer: Any) -> Values:
    """The interfaces of a guest, by name."""
    found = {}
    for item in answer or []:
        addresses = [f"{a['ip-address']}/{a['prefix']}" for a in item.get("ip-addresses") or [] if "prefix" in a]
        # Before 8.4, containers have one of each family and no list.
        addresses = addresses or [item[family] for family in ("inet", "inet6") if item.get(family)]
        mac = item.get("hardware-address") or item.get("hwaddr") or ""
        found[item["name"]] = {"mac": mac.upper(), "addresses": addresses}
    return {name: item for name, item in found.items() if name != "lo"}


def reachable(found: Values) -> list[str]:
    """The addresses that others can reach, without their prefix lengths."""
    every = [ipaddress.ip_interface(address).ip for item in found.values() for address in item["addresses"]]
    return [str(address) for address in every if not address.is_link_local and not address.is_loopback]


def chosen(gather: Iterable[str]) -> set[str]:
    """The subsets that are meant."""
    names = [str(name).strip() for name in gather]
    for name in names:
        if name.removeprefix("!") not in (*SUBSETS, "all"):
            raise PveError(f"gather: '{name}' cannot be gathered, {nearest(name.removeprefix('!'), [*SUBSETS, 'all'])}")
    given = {name for name in names if not name.startswith("!")}
    wanted = set(SUBSETS) if "all" in given else given or set(DEFAULT)
    without = {name.removeprefix("!") for name in names if name.startswith("!")}
    return set() if "all" in without else wanted - without


class Info:
    """What was read so far, and who is what."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.params = module, module.params
        self.client = connect(module)
        self.wanted = chosen(self.params["gather"])
        self.denied: dict[str, Values] = {}
        self.unanswered: dict[str, Values] = {}
        self.resources: list[Values] | None = None
        self.volumes: dict[tuple[str, str], list[Values] | None] = {}
        self.privileges: set[str] | None = None
        self.now = time.time()
        self.lock = threading.Lock()

    # ------------------------------------------------------------------------------------------------- asking

    def get(self, subset: str, path: str, where: str = "", **params: Any) -> Any:
        """The answer; None if there is none, with the reason put down."""
        try:
            return self.client.get(path, **params)
        except PveError as error:
            if error.status in (0, 401):
                raise
            if error.status == 403:
                self.deny(subset, error.text, where)
            elif error.status != 501:  # this version does not have it
                self.note(self.unanswered, subset, where, message=error.text)
            return None

    def note(self, book: dict[str, Values], subset: str, where: str, **entry: str) -> None:
        """Put a reason down; of several, the one of the first place in order."""
        with self.lock:
            noted = book.setdefault(subset, {**entry, "where": []})
            noted["where"] = sorted({*noted["where"], where} - {""})
            if where and noted["where"][0] == where:
                noted.update(entry)

    def deny(self, subset: str, words: str, where: str = "") -> None:
        found = REFUSED.search(words)
        privilege = f"{found[2].replace('|', ' or ')} on {found[1]}" if found else SUBSETS[subset].privilege
        self.note(self.denied, subset, where, message=words, privilege=privilege)

    def check_silence(self, subset: str) -> None:
        """An answer is empty: because there is nothing, or because the user may see none of it."""
        if self.privileges is None:
            answer = self.client.get("/access/permissions") or {}
            self.privileges = {name for held in answer.values() for name in held}
        needed = SUBSETS[subset].silent
        if not self.privileges & set(needed):
            self.deny(subset, f"Proxmox VE shows nothing to a user who has {' or '.join(needed)} nowhere")

    def each(self, ask: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        """The answers for several things, asked for at the same time."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            return list(pool.map(ask, items))

    def each_node(self, subset: str, path: str, **params: Any) -> Values:
        """The answer of each node that is up."""
        nodes = [name for name, node in self.nodes().items() if node["status"] != "offline"]
        answers = self.each(lambda node: self.get(subset, f"/nodes/{node}/{path}", node, **params), nodes)
        return {node: answer for node, answer in zip(nodes, answers) if answer is not None}

    # ---------------------------------------------------------------------------------------- who is what

    def of(self, *kinds: str) -> list[Values]:
        """The resources of some types, on every node."""
        if self.resources is None:
            self.resources = self.client.get("/cluster/resources")
            nodes = sorted(item["node"] for item in self.resources if item["type"] == "node")
            if self.params["node"] and self.params["node"] not in nodes:
                raise PveError(f"node '{self.params['node']}' is not in the cluster: it has {', '.join(nodes)}.")
        return [item for item in self.resources if item["type"] in kinds]

    def here(self, item: Values) -> bool:
        """Whether it is on the node that is meant."""
        return self.params["node"] in (None, item["node"])

    def nodes(self) -> Values:
        return {
            item["node"]: {
                "name": item["node"],
                "status": item["status"],
                "online": item["status"] == "online",
                **figures(item),
            }
            for item in sorted(filter(self.here, self.of("node")), key=lambda item: item["node"])
        }

    @cached_property
    def everyone(self) -> dict[int, Values]:
        """Every guest that can be seen, by its id, with the name that it goes by."""
        items = sorted(self.of("lxc", "qemu"), key=lambda item: item["vmid"])
        count = Counter(item.get("name") for item in items)
        taken = {str(item["vmid"]) for item in items}
        found = {}
        for item in items:
            name = item.get("name") or None
            found[item["vmid"]] = {
                "name": name,
                "key": name if name and count[name] == 1 and name not in taken else str(item["vmid"]),
                "vmid": item["vmid"],
                "kind": item["type"],
                "node": item["node"],
                "status": item["status"],
                "running": item["status"] == "running",
                "template": bool(item.get("template")),
                "tags": TAGS.parse(item.get("tags") or ""),
                "pool": item.get("pool"),
                "lock": item.get("lock"),
                "ha_state": item.get("hastate"),
                **figures(item),
            }
        return found

    @cached_property
    def guests(self) -> dict[int, Values]:
        """Those that the filters leave."""
        tag = (self.params["tag"] or "").lower()
        return {
            vmid: guest
            for vmid, guest in self.everyone.items()
            if self.here(guest)
            if self.params["vmid"] is None or vmid in self.params["vmid"]
            if not tag or tag in guest["tags"]
            if self.params["pool"] in (None, guest["pool"])
        }

    @property
    def only_some(self) -> bool:
        """Whether there are filters that choose guests."""
        return any(self.params[name] is not None for name in ("node", "vmid", "tag", "pool"))

    def shows(self, vmid: Any) -> bool:
        """Whether the filters leave what belongs to a guest, or to none."""
        return not self.only_some or (vmid is not None and int(vmid) in self.guests)

    def called(self, vmid: Any) -> str | None:
        """The name that a guest goes by; its id if it is not there."""
        if vmid is None:
            return None
        guest = self.everyone.get(int(vmid))
        return guest["key"] if guest else str(vmid)

    # ------------------------------------------------------------------------------------- what is gathered

    def gather_version(self) -> Values:
        answer = self.get("version", "/version") or {}
        return {**plain(answer, {}, "repoid"), "major": int(answer["version"].partition(".")[0])} if answer else {}

    def gather_nodes(self) -> Values:
        found = self.nodes()
        if any(node["status"] != "offline" and node["memory"] is None for node in found.values()):
            self.check_silence("nodes")
        return found

    def gather_guests(self) -> Values:
        every, found = self.everyone, {vmid: dict(guest) for vmid, guest in self.guests.items()}
        if not every:
            self.check_silence("guests")
        shared = [guest for guest in found.values() if guest["name"] and guest["key"] != guest["name"]]
        if shared:
            names = ", ".join(f"{guest['vmid']} ({guest['name']})" for guest in shared)
            self.module.warn(f"These guests are listed by VMID, because their names do not tell them apart: {names}.")
        if "guest_configs" in self.wanted:
            for guest, answer in zip(found.values(), self.each(self.config_of, found.values())):
                guest["config"] = configuration(KINDS[guest["kind"]], answer) if answer else {}
        if "guest_addresses" in self.wanted:
            self.each(self.addresses_of, found.values())
        keys = [guest.pop("key") for guest in found.values()]
        return dict(zip(keys, found.values()))

    gather_guest_configs = gather_guest_addresses = gather_guests

    def config_of(self, guest: Values) -> Any:
        return self.get("guest_configs", f"/nodes/{guest['node']}/{guest['kind']}/{guest['vmid']}/config", guest["key"])

    def addresses_of(self, guest: Values) -> None:
        found: Values = {}
        path = f"/nodes/{guest['node']}/{guest['kind']}/{guest['vmid']}"
        if guest["running"]:
            try:
                if guest["kind"] == "lxc":
                    found = interfaces(self.client.get(f"{path}/interfaces"))
                else:
                    answer = self.client.get(f"{path}/agent/network-get-interfaces") or {}
                    found = interfaces(answer.get("result"))
            except PveError as error:
                if error.status in (0, 401):
                    raise
                if error.status == 403:
                    self.deny("guest_addresses", error.text, guest["key"])
                guest["addresses_unknown"] = error.text
        guest.update(interfaces=found, addresses=reachable(found))

    def storages(self) -> Values:
        found: Values = {}
        for item in sorted(filter(self.here, self.of("storage")), key=lambda item: (item["storage"], item["node"])):
            storage = found.setdefault(
                item["storage"],
                {
                    "name": item["storage"],
                    "type": item.get("plugintype"),
                    "content": LIST.parse(item.get("content") or ""),
                    "shared": bool(item.get("shared")),
                    "nodes": {},
                },
            )
            there = item["status"] == "available"
            storage["nodes"][item["node"]] = {"available": there, **space(item.get("maxdisk"), item.get("disk"))}
        for storage in found.values():
            every = list(storage["nodes"].values())
            known = [node for node in every if node["total"] is not None and node["used"] is not None]
            counted = known[:1] if storage["shared"] else known
            sums = [sum(node[name] for node in counted) if counted else None for name in ("total", "used")]
            storage.update(available=all(node["available"] for node in every), **space(*sums))
            storage["used_percent"] = max((node["used_percent"] for node in known), default=0.0)
        return found

    def gather_storages(self) -> Values:
        found = self.storages()
        if not found:
            self.check_silence("storages")
        if "storage_contents" in self.wanted:
            for name, node, volumes in self.listed("storage_contents", found, ""):
                contents = found[name].setdefault("contents", [])
                contents += [self.volume(name, node, item) for item in volumes if self.shows(item.get("vmid"))]
        return found

    gather_storage_contents = gather_storages

    def listed(self, subset: str, storages: Values, content: str) -> list[tuple[str, str, list[Values]]]:
        """The volumes of storages, of a shared one from one node."""
        places = []
        for name, storage in storages.items():
            nodes = [node for node, there in storage["nodes"].items() if there["available"]]
            places += [(name, node) for node in (nodes[:1] if storage["shared"] else nodes)]
        missing = [place for place in places if place not in self.volumes]
        params = {"content": content} if content else {}

        def ask(place: tuple[str, str]) -> Any:
            name, node = place
            return self.get(subset, f"/nodes/{node}/storage/{name}/content", f"{name} on {node}", **params)

        self.volumes.update(zip(missing, self.each(ask, missing)))
        return [(name, node, self.volumes[name, node] or []) for name, node in places]

    def volume(self, storage: str, node: str, item: Values) -> Values:
        return {
            "volid": item["volid"],
            "storage": storage,
            "node": node,
            "content": item.get("content"),
            "format": item.get("format"),
            "size": item.get("size"),
            "size_gib": gibibytes(item.get("size")),
            "created": item.get("ctime"),
            "vmid": item.get("vmid"),
            "guest": self.called(item.get("vmid")),
        }

    def gather_pools(self) -> Values:
        pools = self.get("pools", "/pools") or []
        if not pools:
            self.check_silence("pools")
        pools = [pool for pool in pools if self.params["pool"] in (None, pool["poolid"])]
        answers = self.each(lambda pool: self.get("pools", "/pools", pool["poolid"], poolid=pool["poolid"]), pools)
        found = {}
        for pool, answer in zip(pools, answers):
            members = (answer or [{}])[0].get("members", [])
            vmids = [item["vmid"] for item in members if "vmid" in item and self.shows(item["vmid"])]
            found[pool["poolid"]] = {
                "comment": pool.get("comment"),
                "guests": [self.called(vmid) for vmid in sorted(vmids)],
                "storages": sorted({item["storage"] for item in members if "storage" in item}),
            }
        return found

    def gather_cluster(self) -> Values:
        answer = self.get("cluster", "/cluster/status")
        if answer is None:
            return {}
        whole = next((item for item in answer if item["type"] == "cluster"), {})
        nodes = {
            item["name"]: {
                "id": item.get("nodeid"),
                "ip": item.get("ip"),
                "online": bool(item.get("online")),
                "local": bool(item.get("local")),
            }
            for item in answer
            if item["type"] == "node" and self.params["node"] in (None, item["name"])
        }
        return {"name": whole.get("name"), "quorate": bool(whole.get("quorate", 1)), "nodes": nodes}

    def gather_ha(self) -> Values:
        status = self.get("ha", "/cluster/ha/status/current")
        resources = self.get("ha", "/cluster/ha/resources")
        rules = self.get("ha", "/cluster/ha/rules")
        none = rules is None and "ha" not in {**self.denied, **self.unanswered}
        groups = self.get("ha", "/cluster/ha/groups") if none else []
        states = [plain(item, {"quorate": FLAG}) for item in status or []]
        return {
            "quorate": next((item["quorate"] for item in states if "quorate" in item), None),
            "status": [item for item in states if item.get("type") != "quorum"],
            "resources": {
                item["sid"]: plain(item, {"failback": FLAG}, "sid")
                for item in resources or []
                if self.shows(item["sid"].partition(":")[2])
            },
            "rules": {item["rule"]: {"disable": False, **plain(item, HA_RULE, "rule")} for item in rules or []},
            "groups": {item["group"]: plain(item, HA_GROUP, "group", "type") for item in groups or []},
        }

    def gather_backups(self) -> Values:
        jobs = self.get("backups", "/cluster/backup") or []
        outside = self.get("backups", "/cluster/backup-info/not-backed-up") or []
        storages = {name: item for name, item in self.storages().items() if "backup" in item["content"]}
        archives: dict[str, list[Values]] = {}
        for name, node, volumes in self.listed("backups", storages, "backup"):
            for item in volumes:
                match = ARCHIVE.search(item["volid"])
                vmid = item.get("vmid") or (int(match[1]) if match else None)
                if item.get("content") != "backup" or vmid is None or not self.shows(vmid):
                    continue
                facts = self.volume(name, node, {**item, "vmid": int(vmid)})
                age = None if facts["created"] is None else round((self.now - facts["created"]) / 3600, 1)
                check = (item.get("verification") or {}).get("state")
                facts.update(age_hours=age, notes=item.get("notes"), protected=bool(item.get("protected")))
                facts["verified"] = None if check is None else check == "ok"
                archives.setdefault(facts["guest"], []).append(facts)
        if not archives:
            self.check_silence("backups")
        for items in archives.values():
            items.sort(key=lambda item: -(item["created"] or 0))
        return {
            "jobs": {job["id"]: {"enabled": True, **plain(job, JOB, "id", "type")} for job in jobs},
            "archives": archives,
            "newest": {guest: items[0] for guest, items in archives.items()},
            "without": [guest["key"] for guest in self.guests.values() if guest["key"] not in archives],
            "not_in_jobs": [self.called(item["vmid"]) for item in outside if self.shows(item["vmid"])],
        }

    def gather_replication(self) -> Values:
        jobs = self.get("replication", "/cluster/replication") or []
        guests = self.guests
        owners = {job["id"]: int(job["id"].partition("-")[0]) for job in jobs}
        jobs = [job for job in jobs if owners[job["id"]] in guests]
        if not jobs and not guests:
            self.check_silence("replication")
        nodes = sorted({guests[owners[job["id"]]]["node"] for job in jobs})
        answers = self.each(lambda node: self.get("replication", f"/nodes/{node}/replication", node), nodes)
        states = {item["id"]: item for answer in answers for item in answer or []}
        found = {}
        for job in jobs:
            found[job["id"]] = self.replicated(guests[owners[job["id"]]], job, states.get(job["id"], {}))
        return found

    @staticmethod
    def replicated(guest: Values, job: Values, state: Values) -> Values:
        return {
            **plain(job, {}, "id", "guest", "jobnum", "type", "disable", "source"),
            "vmid": guest["vmid"],
            "guest": guest["key"],
            "source": guest["node"],
            "enabled": not int(job.get("disable") or 0),
            **{name: state.get(name) for name in ("last_sync", "next_sync", "duration", "error")},
            "fail_count": state.get("fail_count", 0),
        }

    def gather_access(self) -> Values:
        paths = {"users": "/access/users", "groups": "/access/groups", "roles": "/access/roles"}
        paths.update(acl="/access/acl", realms="/access/domains")
        full = {"users": {"full": 1}}
        answers = {name: self.get("access", path, **full.get(name, {})) or [] for name, path in paths.items()}
        if not answers["acl"] and len(answers["users"]) < 2:
            self.check_silence("access")
        token = {"privsep": FLAG}
        return {
            "users": {
                user["userid"]: {
                    **plain(user, {"enable": FLAG, "groups": LIST}, "userid", "keys", "tokens"),
                    "tokens": {
                        item["tokenid"]: {"privsep": True, **plain(item, token, "tokenid")}
                        for item in user.get("tokens") or []
                    },
                }
                for user in answers["users"]
            },
            "groups": {item["groupid"]: plain(item, {"users": LIST}, "groupid") for item in answers["groups"]},
            "roles": {
                item["roleid"]: plain(item, {"privs": LIST, "special": FLAG}, "roleid") for item in answers["roles"]
            },
            "acl": [plain(item, {"propagate": FLAG}) for item in answers["acl"]],
            "realms": {
                item["realm"]: {
                    "comment": None,
                    "default": False,
                    "tfa": None,
                    **plain(item, {"default": FLAG}, "realm"),
                }
                for item in answers["realms"]
            },
        }

    def gather_firewall(self) -> Values:
        base = "/cluster/firewall"
        parts = ("options", "rules", "aliases", "ipset", "groups")
        answers = {name: self.get("firewall", f"{base}/{name}") or [] for name in parts}

        def rules(found: Any) -> list[Values]:
            return [plain(item, RULE, "pos") for item in sorted(found or [], key=lambda item: int(item["pos"]))]

        def below(kind: str, key: str) -> list[Any]:
            return self.each(lambda item: self.get("firewall", f"{base}/{kind}/{item[key]}", item[key]), answers[kind])

        return {
            "options": {**OFF, **plain(answers["options"] or {}, FIREWALL)},
            "rules": rules(answers["rules"]),
            "aliases": {item["name"]: plain(item, {}, "name") for item in answers["aliases"]},
            "ipsets": {
                item["name"]: {
                    "comment": item.get("comment"),
                    "entries": [{"nomatch": False, **plain(entry, {"nomatch": FLAG})} for entry in entries or []],
                }
                for item, entries in zip(answers["ipset"], below("ipset", "name"))
            },
            "groups": {
                item["group"]: {"comment": item.get("comment"), "rules": rules(found)}
                for item, found in zip(answers["groups"], below("groups", "group"))
            },
        }

    def gather_notifications(self) -> Values:
        found = {}
        for name in ("targets", "matchers"):
            items = self.get("notifications", f"/cluster/notifications/{name}") or []
            kinds = {"disable": FLAG, "invert-match": FLAG}
            found[name] = {item["name"]: {"disable": False, **plain(item, kinds, "name")} for item in items}
        return found

    def gather_mappings(self) -> Values:
        found = {}
        for kind in ("pci", "usb", "dir"):
            items = self.get("mappings", f"/cluster/mapping/{kind}") or []
            found[kind] = {
                item["id"]: {
                    **plain(item, {"mdev": FLAG, "live-migration-capable": FLAG}, "id", "type"),
                    "map": [
                        dict(pair.partition("=")[::2] for pair in text.split(",")) for text in item.get("map") or []
                    ],
                }
                for item in items
            }
        if not any(found.values()):
            self.check_silence("mappings")
        return found

    def gather_sdn(self) -> Values:
        def found(path: str, key: str, *without: str) -> dict[str, Values]:
            items = self.get("sdn", f"/cluster/sdn/{path}", pending=1) or []
            return {
                item[key]: {
                    "state": None,
                    **plain(item, SDN, key, "pending", *without),
                    "pending": staged(item.get("pending") or {}),
                }
                for item in items
            }

        def staged(values: Values) -> Values:
            gone = {key.replace("-", "_"): None for key, value in values.items() if value == "deleted"}
            return {**plain(values, SDN), **gone}

        every = {f"{name}s": found(f"{name}s", name) for name in ("controller", "zone", "vnet")}
        # Of a vnet that is staged to go, Proxmox VE shows no subnets.
        vnets = [name for name, vnet in every["vnets"].items() if vnet["state"] != "deleted"]
        without = ("id", "mask", "network", "subnet", "type", "vnet")
        below = self.each(lambda name: found(f"vnets/{name}/subnets", "cidr", *without), vnets)
        for vnet in every["vnets"].values():
            vnet["subnets"] = {}
        for name, subnets in zip(vnets, below):
            every["vnets"][name]["subnets"] = subnets
        if not any(every.values()):
            self.check_silence("sdn")
        return every

    def gather_tasks(self) -> list[Values]:
        answers = self.each_node("tasks", "tasks", errors=1, limit=TASKS)
        if not any(answers.values()):
            self.check_silence("tasks")
        every = [item for answer in answers.values() for item in answer]
        bad = [item for item in every if not re.match(r"OK$|WARNINGS", item.get("status") or "OK")]
        names = ("type", "id", "node", "user", "status", "upid")
        return [
            {**{name: item.get(name) for name in names}, "started": item["starttime"], "ended": item.get("endtime")}
            for item in sorted(bad, key=lambda item: -item["starttime"])
            if not self.only_some or (str(item.get("id")).isdigit() and self.shows(item["id"]))
        ]

    def gather_certificates(self) -> Values:
        found = {}
        for node, items in self.each_node("certificates", "certificates/info").items():
            found[node] = {
                item["filename"]: {
                    **{name: item.get(name) for name in ("subject", "issuer", "fingerprint")},
                    "san": item.get("san") or [],
                    "not_before": item.get("notbefore"),
                    "not_after": item.get("notafter"),
                    "days_left": int((item["notafter"] - self.now) // 86400) if item.get("notafter") else None,
                }
                for item in items
                if item.get("filename")
            }
        return found

    def gather_ceph(self) -> Values:
        answer = self.get("ceph", "/cluster/ceph/status")
        if answer is None:
            words = self.unanswered.get("ceph", {}).get("message", "")
            if not NO_CEPH.search(words):
                return {}
            del self.unanswered["ceph"]
            return {"installed": False}
        health, disks, places = answer.get("health", {}), answer.get("osdmap", {}), answer.get("pgmap", {})
        total, used = places.get("bytes_total"), places.get("bytes_used")
        checks = health.get("checks", {})
        return {
            "installed": True,
            "health": health.get("status"),
            "checks": {name: item.get("summary", {}).get("message") for name, item in checks.items()},
            "fsid": answer.get("fsid"),
            "monitors": answer.get("quorum_names", []),
            "osds": disks.get("num_osds"),
            "osds_up": disks.get("num_up_osds"),
            "osds_in": disks.get("num_in_osds"),
            **space(total, used),
        }

    def gather_subscription(self) -> Values:
        return {
            node: {
                "status": item.get("status"),
                "active": str(item.get("status", "")).lower() == "active",
                "product": item.get("productname"),
                "level": item.get("level"),
                "message": item.get("message"),
                "next_due": item.get("nextduedate"),
            }
            for node, item in self.each_node("subscription", "subscription").items()
        }

    def gather_updates(self) -> Values:
        return {
            node: {
                item["Package"]: {
                    "version": item.get("Version"),
                    "installed": item.get("OldVersion"),
                    "origin": item.get("Origin"),
                    "title": item.get("Title"),
                }
                for item in items
            }
            for node, items in self.each_node("updates", "apt/update").items()
        }

    # ------------------------------------------------------------------------------------------------- running

    def run(self) -> Values:
        """Everything that was asked for."""
        parts = {"guest_configs": "guests", "guest_addresses": "guests", "storage_contents": "storages"}
        found = {}
        for subset in SUBSETS:
            name = parts.get(subset, subset)
            if subset in self.wanted and name not in found:
                found[name] = getattr(self, f"gather_{subset}")()
        for subset, entry in self.unanswered.items():
            places = f" ({', '.join(entry['where'])})" if entry["where"] else ""
            self.module.warn(f"{subset}{places}: {entry['message']}")
        return {"changed": False, "pve": masked(found), "denied": self.denied, "unanswered": self.unanswered}


def main() -> None:
    module = AnsibleModule(
        {
            **connection_spec(),
            "gather": {"type": "list", "elements": "str", "default": list(DEFAULT)},
            "node": {"type": "str"},
            "vmid": {"type": "list", "elements": "int"},
            "tag": {"type": "str"},
            "pool": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = Info(module).run()
    except PveError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
