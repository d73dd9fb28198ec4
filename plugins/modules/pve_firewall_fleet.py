#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_firewall_fleet
short_description: Manage the firewall of the nodes and of many guests of Proxmox VE in one call
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Has nodes and guests drop what comes in, but for what security groups let in. A group is what one service serves to
    whom. Guests, and the nodes together, use the groups of the services that they run.
  - Everything is read once and validated before the first write. Then it is written in an order that cuts no service
    off. Sets and groups come first, then the rules that use them, then the firewalls of the guests are turned on and
    that of the datacenter last. What is no longer used goes at the end.
  - IP sets and groups whose names begin with O(prefix), rules that use such groups, and entries of the set
    C(management) whose comments begin with it belong to this module. Those that are not declared are removed. All other
    rules, groups, sets and entries are left alone and stay where they are.
  - Refuses to shut the controller out, before anything is written, see O(ssh_connections) and O(allow_lockout).
notes:
  - Needs C(Sys.Audit) and C(Sys.Modify) on C(/), C(Sys.Audit) on C(/nodes), and C(VM.Audit) and C(VM.Config.Network) on
    C(/vms).
  - The rules of a guest apply to those of its interfaces that have C(firewall=1).
  - A guest that does not exist yet gets its rules as well, and is behind them from its first start.
  - A guest of the cluster that is not listed is left alone. A group that it uses is not removed.
  - A node whose own firewall has been turned off is left so, with a warning.
seealso:
  - module: onprem.cloud.pve_fleet
  - module: onprem.cloud.pve_firewall_rules
  - module: onprem.cloud.pve_firewall_options
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.firewall_guard
options:
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
  enabled:
    description: Whether the firewall of the datacenter is on. Without it, nothing is filtered anywhere.
    type: bool
    default: true
  prefix:
    description: What the names of everything begin with that belongs to this module.
    type: str
    default: onprem-
  admins:
    description:
      - Addresses and networks of the administrators. The set C(management) holds them and the addresses of the nodes,
        and Proxmox VE lets its members reach TCP 22, 3128, 5900 to 5999 and 8006 of the nodes.
      - Proxmox VE counts the local network of the nodes among them. So the alias C(local_network) is made the address
        of the first node alone, and the others of its network are administrators only if they are listed here.
    type: list
    elements: str
    required: true
  ssh_connections:
    description:
      - What C(SSH_CONNECTION) is in a login of the controller on a node, such as V(192.0.2.7 50000 192.0.2.2 22). Its
        client must stay among the administrators, and so must the address that the connection to the API comes from
        unless O(api_host) is the address of the same login.
      - O(controller_addresses) takes the place of all of them.
    type: list
    elements: str
    default: []
  sets:
    description: IP sets of the datacenter, for the sources of rules.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the set, which begins with O(prefix).
        type: str
        required: true
      comment:
        description: What the set is for.
        type: str
        default: ''
      entries:
        description: All members of the set.
        type: list
        elements: dict
        required: true
        suboptions:
          cidr:
            description: An address or a network.
            type: str
            required: true
          comment:
            description: What the entry is.
            type: str
            default: ''
  groups:
    description: Security groups, one for each service.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group, which begins with O(prefix), at most 18 characters.
        type: str
        required: true
      comment:
        description: What the group is for.
        type: str
        default: ''
      rules:
        description: All rules of the group, in the words of M(onprem.cloud.pve_firewall_rules).
        type: list
        elements: dict
        required: true
  node_groups:
    description: Groups that all nodes use, by the rules of the datacenter.
    type: list
    elements: str
    default: []
  guests:
    description: Guests whose firewall is on.
    type: list
    elements: dict
    default: []
    suboptions:
      vmid:
        description: Number of the guest.
        type: int
        required: true
      type:
        description: Kind of a guest that does not exist yet.
        type: str
        choices: [lxc, qemu]
        default: lxc
      groups:
        description: Groups that the guest uses.
        type: list
        elements: str
        default: []
"""

EXAMPLES = r"""
- name: Let web servers serve the office, and administrators administer
  onprem.cloud.pve_firewall_fleet:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    admins: [198.51.100.0/24]
    sets:
      - name: onprem-office
        entries:
          - {cidr: 203.0.113.0/24, comment: First floor}
    groups:
      - name: onprem-ssh
        comment: SSH
        rules:
          - {action: ACCEPT, source: +dc/management, proto: tcp, dport: 22}
      - name: onprem-web
        comment: Web servers
        rules:
          - {action: ACCEPT, source: +dc/onprem-office, proto: tcp, dport: "80,443"}
    node_groups: [onprem-ssh]
    guests:
      - {vmid: 101, groups: [onprem-ssh, onprem-web]}
      - {vmid: 102, groups: [onprem-ssh]}
    controller_addresses: [198.51.100.7]
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
firewall_fleet:
  description: Sets, groups, rules and options as Proxmox VE has them afterwards, by what they are.
  type: dict
  returned: success
  sample: {"set management": {"entries": [{"cidr": "198.51.100.0/24"}]}, "options of guest 101": {"enable": true}}
"""

import dataclasses
import ipaddress
from typing import Any, Callable, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.firewall import (
    DATACENTER,
    GUARD,
    REFERENCE,
    SET,
    Cidr,
    Comment,
    Entries,
    Rule,
    RuleHolder,
    RuleList,
    Switch,
    check_name,
    parse_rule,
    parse_rules,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import RAW, Invalid, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Table, argument_spec, run

TEXT = {"type": "str", "default": ""}
NAMES = {"type": "list", "elements": "str", "default": []}
NAME = {"type": "str", "required": True}
ENTRIES = {"type": "list", "elements": "dict", "required": True, "options": {"cidr": NAME, "comment": TEXT}}
GROUP_RULES = {"type": "list", "elements": "dict", "required": True}
SETS = {"name": NAME, "comment": TEXT, "entries": ENTRIES}
GROUPS = {"name": NAME, "comment": TEXT, "rules": GROUP_RULES}
GUESTS = {
    "vmid": {"type": "int", "required": True},
    "type": {"type": "str", "choices": ["lxc", "qemu"], "default": "lxc"},
    "groups": NAMES,
}
TABLE = Table(
    noun="firewall fleet",
    path=DATACENTER,
    options={},
    places={
        "enabled": {"type": "bool", "default": True},
        "prefix": {"type": "str", "default": "onprem-"},
        "admins": {"type": "list", "elements": "str", "required": True},
        "ssh_connections": NAMES,
        "sets": {"type": "list", "elements": "dict", "default": [], "options": SETS},
        "groups": {"type": "list", "elements": "dict", "default": [], "options": GROUPS},
        "node_groups": NAMES,
        "guests": {"type": "list", "elements": "dict", "default": [], "options": GUESTS},
        **GUARD,
    },
)
ALIAS = "alias local_network"
DEFAULTS = {"enable": False, "policy_in": "DROP", "policy_out": "ACCEPT"}
# What is written before what: nothing is used before it is complete, and nothing goes as long as it is used.
ORDER = ("set", "alias", "group", "rules", "options of guest", "options of the datacenter")


def label_order(label: str) -> tuple[int, str]:
    return next(place for place, kind in reversed([*enumerate(ORDER)]) if label.startswith(kind)), label


class Part(NamedTuple):
    """Something of the firewall: where it is, and what it is to become, which may depend on what it is."""

    path: str
    goal: Callable[[Any], Any]


class Fleet(RuleHolder):
    """The firewall of a site. What messages and diffs call its parts is what they are known by here."""

    def __str__(self) -> str:
        return "firewall of nodes and guests"

    def parse(self) -> None:
        super().parse()
        self.prefix = self.params["prefix"].lower()
        for login in self.params["ssh_connections"]:
            if len(login.split()) != 4:
                self.problem(
                    f"ssh_connections: '{login}' is not what SSH_CONNECTION is, two addresses, each with a port"
                )
        try:
            self.parse_declared()
        except Invalid as error:
            self.problem(str(error))

    def named(self, name: str, most: int) -> str:
        check_name(name, most)
        if not name.lower().startswith(self.prefix) or name.lower() == self.prefix:
            raise Invalid(f"'{name}' does not begin with the prefix '{self.prefix}', by which what is managed is known")
        return name.lower()

    def parse_declared(self) -> None:
        """Everything in canonical form. Raises ``Invalid``."""
        check_name(self.prefix, 12)
        self.admins = [Cidr().parse(item) for item in self.params["admins"]]
        Entries().parse([{"cidr": cidr} for cidr in self.admins])
        if not self.admins:
            raise Invalid("admins is empty, and nobody could administer anything: name the administrators' networks")
        self.declared_sets = {
            self.named(item["name"], 64): {
                "comment": Comment().parse(item["comment"]),
                "entries": Entries().parse(item["entries"]),
            }
            for item in self.params["sets"]
        }
        self.declared_groups = {}
        for item in self.params["groups"]:
            name = self.named(item["name"], 18)
            try:
                rules = parse_rules(item["rules"], "group")
            except Invalid as error:
                raise Invalid(f"group '{name}': {error}") from None
            self.declared_groups[name] = {"comment": Comment().parse(item["comment"]), "rules": rules}
            for rule in rules:
                self.check_source(name, rule.get("source"))
        used = [*self.params["node_groups"], *(name for guest in self.params["guests"] for name in guest["groups"])]
        for name in used:
            if name.lower() not in self.declared_groups:
                raise Invalid(f"there is no group '{name}' in groups, declare it or leave it out")

    def check_source(self, group: str, source: str) -> None:
        """Raises ``Invalid`` for a set that nobody declares: Proxmox VE would never apply the rule."""
        match = SET.fullmatch(source)
        if match and match[2] not in {*self.declared_sets, "management"}:
            raise Invalid(f"group '{group}': there is no set '{match[2]}' in sets, declare it")
        if not match and REFERENCE.fullmatch(source):
            raise Invalid(f"group '{group}': '{source}' is neither an address nor a set with a plus in front of it")

    # ------------------------------------------------------------------------------------------------- reading

    def fetch(self) -> dict[str, Any]:
        """Every part as it is, in canonical form, and what is to become of it."""
        self.parts: dict[str, Part] = {}
        self.raw = {}
        status = self.client.get("/cluster/status")
        self.nodes = sorted(node["ip"] for node in status if node.get("type") == "node" and node.get("ip"))
        self.read_sets()
        aliases = {item["name"].lower(): item for item in self.client.get(f"{DATACENTER}/aliases") or []}
        local = aliases.get("local_network")
        if self.nodes:
            self.add(ALIAS, f"{DATACENTER}/aliases", local and Cidr().parse(local["cidr"]), lambda _: self.nodes[0])
        self.read_rules("rules of the datacenter", f"{DATACENTER}/rules", self.params["node_groups"])
        self.read_options("options of the datacenter", f"{DATACENTER}/options", self.params["enabled"])
        guests = {item["vmid"]: item for item in self.client.get("/cluster/resources", type="vm")}
        online = [node["name"] for node in status if node.get("type") == "node" and node.get("online")]

        switches = {node: self.client.get(f"/nodes/{node}/firewall/options").get("enable") for node in online}
        self.open_nodes = [node for node, on in switches.items() if on is not None and not Switch().parse(on)]

        def base(vmid: int, kind: str) -> str:
            """Where the guest is, if that node answers; any other has the same rules, of a guest to come as well."""
            found = guests.get(vmid, {"node": "", "type": kind})
            node = found["node"] if found["node"] in online else online[0]
            return f"/nodes/{node}/{found['type']}/{vmid}/firewall"

        for guest in self.params["guests"]:
            where = base(guest["vmid"], guest["type"])
            self.read_rules(f"rules of guest {guest['vmid']}", f"{where}/rules", guest["groups"])
            self.read_options(f"options of guest {guest['vmid']}", f"{where}/options", True)
        listed = {guest["vmid"] for guest in self.params["guests"]}
        self.read_groups([f"{base(vmid, '')}/rules" for vmid in guests if vmid not in listed])
        # What has gone is compared as well.
        labels = {**self.table.options, **{label: Option(RAW, RuleList()) for label in self.parts}}
        self.table = dataclasses.replace(TABLE, options=labels)
        return self.raw

    def add(self, label: str, path: str, found: Any, goal: Callable[[Any], Any]) -> None:
        self.raw[label] = found
        self.parts[label] = Part(path, goal)

    def read_sets(self) -> None:
        there = {item["name"]: item for item in self.client.get(f"{DATACENTER}/ipset") or []}
        mine = {name for name in there if name.startswith(self.prefix)}
        for name in sorted({*mine, *self.declared_sets, "management"}):
            path = f"{DATACENTER}/ipset/{name}"
            found = None
            if name in there:
                entries = Entries().parse(self.client.get(path))
                found = {"comment": (there[name].get("comment") or "").strip(), "entries": entries}
            wanted = self.declared_sets.get(name)
            self.add(f"set {name}", path, found, self.managers if name == "management" else lambda _, it=wanted: it)

    def managers(self, found: dict[str, Any] | None) -> dict[str, Any]:
        """The administrators and the nodes, and whom somebody else has let in."""
        others = [] if found is None else found["entries"]
        members = {entry["cidr"]: entry for entry in others if not entry.get("comment", "").startswith(self.prefix)}
        for comment, addresses in (("nodes", self.nodes), ("admins", self.admins)):
            members.update({cidr: {"cidr": cidr, "comment": self.prefix + comment} for cidr in addresses})
        return {"comment": (found or {}).get("comment", ""), "entries": [members[cidr] for cidr in sorted(members)]}

    def read_groups(self, strangers: list[str]) -> None:
        """The groups, but for those that are not declared and that other guests use."""
        there = {item["group"]: item for item in self.client.get(f"{DATACENTER}/groups") or []}
        stale = {name for name in there if name.startswith(self.prefix)} - set(self.declared_groups)
        if stale:
            used = [rule for path in strangers for rule in self.client.get(path) or []]
            stale -= {rule["action"] for rule in used if rule["type"] == "group"}
        for name in sorted({*self.declared_groups, *stale}):
            path, wanted = f"{DATACENTER}/groups/{name}", self.declared_groups.get(name)
            found = None
            if name in there:
                rules = RuleList().parse(self.client.get(path) or [])
                found = {"comment": (there[name].get("comment") or "").strip(), "rules": rules}
            self.add(f"group {name}", path, found, lambda _, it=wanted: it)

    def read_rules(self, label: str, path: str, groups: list[str]) -> None:
        names = [name.lower() for name in groups]
        wanted = [parse_rule({"type": "group", "action": name, "enable": True}) for name in dict.fromkeys(names)]
        self.add(label, path, RuleList().parse(self.client.get(path) or []), lambda found: self.merged(found, wanted))

    def merged(self, found: list[Rule], wanted: list[Rule]) -> list[Rule]:
        """The wanted groups where they stand, or at the end; of the others those that are not managed."""
        missing = {rule.identity: rule for rule in wanted}
        merged = []
        for rule in found:
            if not self.managed(rule):
                merged.append(rule)
            elif rule.identity in missing:
                merged.append(missing.pop(rule.identity))
        return [*merged, *missing.values()]

    def managed(self, rule: Rule) -> bool:
        return rule.get("type") == "group" and rule.get("action").startswith(self.prefix)

    def read_options(self, label: str, path: str, enable: bool) -> None:
        found = self.client.get(path) or {}
        values = {key: found.get(key) or default for key, default in DEFAULTS.items()}
        values["enable"] = Switch().parse(values["enable"])
        self.add(label, path, values, lambda _: {**DEFAULTS, "enable": enable})

    # ------------------------------------------------------------------------------------------------ planning

    def current(self, option: str) -> Any:
        return self.raw.get(option)

    def compare(self) -> None:
        """What differs, in the order in which it is written; what goes comes last."""
        self.sets, self.deletes = {}, []
        for label in sorted(self.parts, key=label_order):
            goal = self.parts[label].goal(self.raw[label])
            if goal is None:
                self.deletes.insert(0, label)
            elif not same(goal, self.raw[label]):
                self.sets[label] = goal

    def validate(self) -> None:
        """The controllers must be among the administrators: those reach the guests as well."""
        for node in self.open_nodes if self.params["enabled"] else ():
            self.module.warn(
                f"{self}: the firewall of node '{node}' itself is off, and nothing is dropped there; turn it on with "
                "pve_firewall_options."
            )
        if self.params["allow_lockout"] or not self.params["enabled"] or not (self.sets or self.deletes):
            return
        allowed = [ipaddress.ip_network(cidr) for cidr in (*self.admins, *self.nodes)]
        for who in self.controllers():
            address = ipaddress.ip_address(who)
            if not address.is_loopback and not any(address in network for network in allowed):
                self.problem(
                    f"the controller {who} could no longer reach the nodes and guests, it is in none of the "
                    f"administrators' networks ({', '.join(self.admins)}): add it to admins, which the playbooks take "
                    "from site_admin_networks"
                )

    def controllers(self) -> list[str]:
        """The clients of the SSH logins, and the API's unless it is told or the same."""
        if self.params["controller_addresses"]:
            return super().controllers()
        logins = [login.split() for login in self.params["ssh_connections"]]
        clients = [login[0].partition("%")[0] for login in logins]
        if self.params["api_host"] not in [login[2] for login in logins]:
            clients += super().controllers()
        return list(dict.fromkeys(clients))

    def future(self, action: str) -> dict[str, Any]:
        """All that decides about the nodes, as it is going to be."""
        after = {label: self.sets.get(label, found) for label, found in self.raw.items() if label not in self.deletes}
        of = {kind: {la.split()[1]: it for la, it in after.items() if la.startswith(f"{kind} ")} for kind in ORDER[:3]}
        options, rules = after["options of the datacenter"], after["rules of the datacenter"]
        groups = {item["group"]: item for item in self.client.get(f"{DATACENTER}/groups") or []}
        aliases = [item for item in self.client.get(f"{DATACENTER}/aliases") or [] if item["name"] != "local_network"]
        aliases += [{"name": name, "cidr": cidr} for name, cidr in of["alias"].items() if cidr]
        sets = [item for item in self.client.get(f"{DATACENTER}/ipset") or [] if item["name"] not in of["set"]]
        return {
            f"{DATACENTER}/options": {**options, "enable": int(options["enable"])},
            f"{DATACENTER}/rules": rules,
            f"{DATACENTER}/groups": [{"group": name} for name in {**groups, **of["group"]}],
            f"{DATACENTER}/aliases": aliases,
            f"{DATACENTER}/ipset": [*sets, *({"name": name} for name in of["set"])],
            **{f"{DATACENTER}/groups/{name}": group["rules"] for name, group in of["group"].items()},
            **{f"{DATACENTER}/ipset/{name}": one["entries"] for name, one in of["set"].items()},
        }

    def view(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            value = RuleList().format(value)
        elif isinstance(value, dict) and "rules" in value:
            value = {**value, "rules": RuleList().format(value["rules"])}
        return value or None

    def predicted(self, action: str, before: dict[str, Any]) -> dict[str, Any]:
        after = {label: self.view(label, value) for label, value in self.sets.items()}
        after = {**{label: value for label, value in before.items() if label not in self.deletes}, **after}
        return {label: value for label, value in after.items() if value is not None}

    # ------------------------------------------------------------------------------------------------- writing

    def update(self) -> None:
        for label, value in self.sets.items():
            write = getattr(self, f"write_{label.split()[0]}")
            write(self.parts[label], self.raw[label], value)
        for label in self.deletes:
            path = self.parts[label].path
            if label.startswith("group"):
                self.enforce_at(path, self.raw[label]["rules"], [])
                self.client.delete(path)
            else:
                self.client.delete(path, force=1)

    def keep_comment(self, path: str, key: str, found: Any, value: dict[str, Any]) -> None:
        """Have the object, with its comment."""
        collection, name = path.rsplit("/", 1)
        comment = {"comment": value["comment"]} if value["comment"] else {}
        if found is None:
            self.client.post(collection, **{key: name, **comment})
        elif found["comment"] != value["comment"]:
            self.client.post(collection, **{key: name, "rename": name, "comment": value["comment"]})

    def write_set(self, part: Part, found: Any, value: dict[str, Any]) -> None:
        """Add, then change, then remove, so that a set in use is never emptier than it has to be."""
        self.keep_comment(part.path, "name", found, value)
        there = {entry["cidr"]: entry for entry in (found or {}).get("entries", [])}
        wanted = {entry["cidr"]: entry for entry in value["entries"]}
        for cidr in [cidr for cidr in wanted if cidr not in there]:
            self.client.post(part.path, **wanted[cidr])
        for cidr in [cidr for cidr in wanted if cidr in there and there[cidr] != wanted[cidr]]:
            self.client.put(f"{part.path}/{cidr}", nomatch=False, comment=wanted[cidr].get("comment", ""))
        for cidr in [cidr for cidr in there if cidr not in wanted]:
            self.client.delete(f"{part.path}/{cidr}")

    def write_alias(self, part: Part, found: Any, value: str) -> None:
        values = {"cidr": value, "comment": f"{self.prefix}nodes"}
        if found is None:
            self.client.post(part.path, name="local_network", **values)
        else:
            self.client.put(f"{part.path}/local_network", **values)

    def write_group(self, part: Part, found: Any, value: dict[str, Any]) -> None:
        self.keep_comment(part.path, "group", found, value)
        self.enforce_at(part.path, (found or {}).get("rules", []), value["rules"])

    def write_rules(self, part: Part, found: list[Rule], value: list[Rule]) -> None:
        self.enforce_at(part.path, found, value, shared=True)

    def write_options(self, part: Part, _found: Any, value: dict[str, Any]) -> None:
        self.client.put(part.path, **value)

    def enforce_at(self, path: str, found: list[Rule], rules: list[Rule], shared: bool = False) -> None:
        """Step by step, each planned on what is there; a shared list may get others from elsewhere meanwhile."""
        self.path, self.aim, self.shared = path, rules, shared
        if found:
            self.enforce()
        else:
            # A new rule lands at the top.
            for rule in reversed(rules):
                self.client.post(path, **rule.sent)

    def goal(self, rules: list[Rule]) -> list[Rule]:
        if not self.shared:
            return self.aim
        aimed, there = ({rule.identity for rule in some} for some in (self.aim, rules))
        added = [rule for rule in rules if rule.identity not in aimed and not self.managed(rule)]
        return [*added, *(rule for rule in self.aim if rule.identity in there or self.managed(rule))]

    def facts(self) -> dict[str, Any]:
        return {label: self.view(label, value) for label, value in self.raw.items()}


def same(one: Any, other: Any) -> bool:
    """Whether two parts are the same, where rules may be spelled differently."""
    if isinstance(one, list):
        return len(one) == len(other) and all(rule.same(there) for rule, there in zip(one, other))
    if isinstance(one, dict) and "rules" in one:
        return bool(other) and one["comment"] == other["comment"] and same(one["rules"], other["rules"])
    return bool(one == other)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Fleet)


if __name__ == "__main__":
    main()
