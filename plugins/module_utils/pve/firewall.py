# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall: what its rules mean, how one list of rules becomes another, and whether the controller stays in.

A rule is what it says: two rules with the same type, action, macro, interface, addresses, protocol and ports are the
same rule, whatever their position, spelling, comment, log level or switch. Only the classes at the end ask the API.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, NamedTuple
from urllib.parse import urlsplit

from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import CONNECT_SECONDS, PveError, ssh_connection
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    Address,
    Boolean,
    Invalid,
    Note,
    PropertyString,
    nearest,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import STALE_TRIES

LOG_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog")
NAME = r"[A-Za-z][A-Za-z0-9_-]+"
REFERENCE = re.compile(rf"(dc/|guest/)?({NAME})")
SET = re.compile(rf"\+(dc/|guest/|sdn/)?({NAME})")
# Protocols that have both a name and a number in what people write; the others are compared as they are written.
PROTOCOLS = {
    **{"icmp": 1, "igmp": 2, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51},
    **{"ipv6-icmp": 58, "ospf": 89, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136},
}
PROTOCOL_NAMES = {str(number): name for name, number in PROTOCOLS.items()}
WITH_PORTS = ("tcp", "udp", "udplite", "dccp", "sctp")
ICMP = ("icmp", "ipv6-icmp")
MOST_PORTS = 15
MANAGED_PORTS = (22, 8006)
# The macros that open one of these ports.
MACRO_PORTS = {"ssh": 22, "pmg": 8006}

KEYS = (
    *("type", "action", "macro", "iface", "source", "dest", "proto", "sport", "dport", "icmp-type"),
    *("log", "comment", "enable"),
)
IDENTITY, ATTRIBUTES = KEYS[:10], KEYS[10:]
TYPES = {
    "cluster": ("in", "out", "forward", "group"),
    "node": ("in", "out", "forward", "group"),
    "guest": ("in", "out", "group"),
    "group": ("in", "out", "forward"),
}
RULE_OPTIONS = {
    "type": {"type": "str", "choices": ["in", "out", "forward", "group"], "default": "in"},
    "action": {"type": "str", "required": True},
    **{key.replace("-", "_"): {"type": "str"} for key in KEYS[2:10]},
    "log": {"type": "str", "choices": list(LOG_LEVELS)},
    "comment": {"type": "str"},
    "enable": {"type": "bool", "default": True},
}


# -------------------------------------------------------------------------------------------------------- values


def address(text: str) -> str:
    """One address or network, without the prefix length that a single address does not need."""
    network = ipaddress.ip_network(text, strict=False)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


class Cidr:
    """An address or network; with ``names`` the name of an alias as well."""

    def __init__(self, names: bool = False) -> None:
        self.names = names

    def parse(self, value: Any) -> str:
        text = str(value).strip()
        if self.names and REFERENCE.fullmatch(text):
            return text.lower()
        try:
            return address(text)
        except ValueError:
            alias = ", or the name of an alias" if self.names else ""
            raise Invalid(
                f"'{text}' is not an address or network, write for example 192.0.2.10 or 192.0.2.0/24{alias}"
            ) from None

    def format(self, value: str) -> str:
        return value


class Switch(Boolean):
    """On or off; the datacenter's switch is a number, and any but zero is on."""

    def parse(self, value: Any) -> bool:
        return int(value) > 0 if re.fullmatch(r"\d+", str(value).strip()) else super().parse(value)


class Comment(Note):
    """One line; PVE drops the blanks around it."""

    def parse(self, value: Any) -> str:
        text = str(value).strip()
        if "\n" in text:
            raise Invalid("a comment is one line, remove the line breaks")
        return text


class Entries:
    """The entries of a set, in any order."""

    def parse(self, value: Any) -> list[dict[str, Any]]:
        parsed: dict[str, dict[str, Any]] = {}
        for item in value:
            cidr = Cidr(names=True).parse(item["cidr"])
            if cidr.endswith("/0"):
                raise Invalid(f"'{cidr}' is everything and PVE takes no such entry, write two halves such as 0.0.0.0/1")
            if cidr in parsed:
                raise Invalid(f"'{cidr}' is given twice, remove one of them")
            comment = Comment().parse(item.get("comment") or "")
            nomatch = Switch().parse(item.get("nomatch") or 0)
            parsed[cidr] = {
                "cidr": cidr,
                **({"nomatch": True} if nomatch else {}),
                **({"comment": comment} if comment else {}),
            }
        return [parsed[cidr] for cidr in sorted(parsed)]

    def format(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return value


class RateLimit(PropertyString):
    """How many packets are logged; PVE asks for the switch even where it is on by default."""

    def format(self, value: dict[str, Any]) -> str:
        return super().format({"enable": True, **value})


def parse_protocol(text: str) -> str:
    name = text.strip().lower()
    name = PROTOCOL_NAMES.get(name, name)
    return "ipv6-icmp" if name == "icmpv6" else name


def service(text: str) -> int | None:
    """The port that a name of /etc/services means."""
    for protocol in ("tcp", "udp"):
        try:
            return socket.getservbyname(text, protocol)
        except OSError:
            continue
    return None


def parse_ports(text: str) -> list[tuple[int, int]]:
    """Ranges of ports, sorted and merged. Raises ``Invalid``."""
    ranges = []
    for item in str(text).replace(" ", "").split(","):
        match = re.fullmatch(r"(\d+)(?::(\d+))?", item)
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
        else:
            number = service(item)
            if number is None:
                raise Invalid(
                    f"'{item}' is not a port, write a number from 0 to 65535, a range such as 8000:8010, or a name of "
                    "/etc/services"
                )
            first = last = number
        if last > 65535:
            raise Invalid(f"port {last} is out of range, it must be at most 65535")
        if first > last:
            raise Invalid(f"the range {item} runs backwards, write {last}:{first}")
        ranges.append((first, last))
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def show_ports(ranges: list[tuple[int, int]]) -> str:
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in ranges)


def parse_addresses(text: str) -> str:
    """What source and dest say: a set, an alias, a range, or a list of addresses and networks. Raises ``Invalid``."""
    text = text.strip()
    if SET.fullmatch(text) or REFERENCE.fullmatch(text):
        return text.lower()
    try:
        first, dash, last = text.partition("-")
        if dash:
            low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
            if low.version != high.version or low > high:  # type: ignore[operator]
                raise Invalid(f"the range '{text}' must run from the lower to the higher address of one family")
            return f"{low}-{high}"
        parts = [part.strip() for part in text.split(",")]
        for part in parts:
            network = ipaddress.ip_network(part, strict=False)
            if "/" in part and ipaddress.ip_address(part.partition("/")[0]) != network.network_address:
                raise Invalid(f"'{part}' has bits beyond its prefix length, write {address(part)}")
        if len({ipaddress.ip_network(part, strict=False).version for part in parts}) > 1:
            raise Invalid(f"'{text}' mixes IPv4 and IPv6, write one rule for each")
        return ",".join(sorted({address(part) for part in parts}))
    except Invalid:
        raise
    except ValueError:
        raise Invalid(
            f"'{text}' is none of an address, a network, a list or a range of addresses, an alias or a set such as "
            "+management"
        ) from None


# --------------------------------------------------------------------------------------------------------- rules


class Rule(NamedTuple):
    """A rule in canonical form; ``sent`` is how it is spelled to PVE."""

    identity: tuple[str, ...]
    attributes: tuple[Any, ...]
    sent: dict[str, Any]

    def get(self, key: str) -> Any:
        values = self.identity if key in IDENTITY else self.attributes
        return values[(IDENTITY if key in IDENTITY else ATTRIBUTES).index(key)]

    def same(self, other: Rule) -> bool:
        """Whether nothing is to be done to get from one to the other."""
        return self.identity == other.identity and self.attributes == other.attributes

    def shown(self) -> dict[str, Any]:
        """The rule as results and diffs have it."""
        said = {**dict(zip(IDENTITY, self.identity)), **dict(zip(ATTRIBUTES, self.attributes))}
        return {key.replace("-", "_"): value for key, value in said.items() if value != ""}

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in zip(IDENTITY, self.identity) if value)


PARSERS: dict[str, Callable[[str], Any]] = {
    "macro": str.lower,
    "proto": parse_protocol,
    "source": parse_addresses,
    "dest": parse_addresses,
    "log": lambda text: "" if text == "nolog" else text,
    "comment": Comment().parse,
}


def parse_rule(values: dict[str, Any], strict: bool = True) -> Rule:
    """A rule as the user or PVE wrote it. What PVE has and nobody understands is kept as it is unless ``strict``."""
    given = {str(key).replace("_", "-"): value for key, value in values.items()}
    unknown = [key for key in given if key not in KEYS]
    if unknown and strict:
        raise Invalid(f"unknown key '{unknown[0]}', {nearest(unknown[0], [key.replace('-', '_') for key in KEYS])}")
    texts = {key: str(given[key]).strip() for key in KEYS[:-1] if given.get(key) not in (None, "")}
    canonical = {key: texts.get(key, "") for key in KEYS[:-1]}
    group = canonical["type"] == "group"
    canonical["action"] = canonical["action"].lower() if group else canonical["action"].upper()
    for key, parse in PARSERS.items():
        if canonical[key]:
            try:
                canonical[key] = parse(canonical[key])
            except Invalid as error:
                if strict:
                    raise Invalid(f"{key}: {error}") from None
    for key in ("sport", "dport"):
        if canonical[key] and not (canonical["proto"] in ICMP and re.match(r"[a-zA-Z]", canonical[key])):
            try:
                canonical[key] = show_ports(parse_ports(canonical[key]))
            except Invalid as error:
                if strict:
                    raise Invalid(f"{key}: {error}") from None
    enable = Switch().parse(given.get("enable") or 0)
    # Names that PVE wants in its own case; an address stays as it was written.
    sent = {
        **texts,
        **{key: canonical[key] for key in ("action", "proto", "comment") if canonical[key]},
        **{key: texts[key].replace(" ", "") for key in ("source", "dest", "sport", "dport") if key in texts},
        **{key: canonical[key] for key in ("source", "dest") if canonical[key].startswith("+")},
        "enable": int(enable),
    }
    return Rule(tuple(canonical[key] for key in IDENTITY), (canonical["log"], canonical["comment"], enable), sent)


def check_rule(rule: Rule, level: str) -> None:
    """What PVE would refuse, or accept and never apply, as a sentence. Raises ``Invalid``."""
    kind, action, proto = rule.get("type"), rule.get("action"), rule.get("proto")
    if kind not in TYPES[level]:
        where = {"group": "a security group", "guest": "a guest"}.get(level, f"the {level}")
        raise Invalid(f"type '{kind}' is not for the rules of {where}, use one of {', '.join(TYPES[level])}")
    if kind == "group":
        if not re.fullmatch(NAME, action):
            raise Invalid(f"action '{action}' is not the name of a security group")
        for key in (*KEYS[2:3], *KEYS[4:10], "log"):
            if rule.get(key):
                raise Invalid(f"{key.replace('-', '_')} is not for a rule of type 'group', set it in the group's rules")
    elif action not in ("ACCEPT", "DROP", "REJECT"):
        raise Invalid(f"action '{action}' is not one of ACCEPT, DROP, REJECT")
    elif kind == "forward" and action == "REJECT":
        raise Invalid("action 'REJECT' is not for a rule of type 'forward', use DROP")
    if rule.get("iface"):
        if level == "group":
            raise Invalid("iface is not for the rules of a security group, set it where the group is used")
        if level == "guest" and not re.fullmatch(r"net\d+", rule.get("iface")):
            raise Invalid(f"iface '{rule.get('iface')}' is not an interface of a guest, write for example net0")
    for key in ("sport", "dport"):
        if rule.get(key) and not proto:
            raise Invalid(f"{key} needs proto, write for example proto: tcp")
        if rule.get(key) and proto not in WITH_PORTS and not (key == "dport" and proto in ICMP):
            raise Invalid(f"{key} needs a proto with ports, one of {', '.join(WITH_PORTS)}, and proto is '{proto}'")
        numbers = re.findall(r"\w+", rule.sent.get(key, ""))
        if len(numbers) > MOST_PORTS:
            raise Invalid(f"{key} has {len(numbers)} numbers and PVE takes {MOST_PORTS}, write ranges or two rules")
    if rule.get("icmp-type") and proto not in ICMP:
        raise Invalid("icmp_type needs proto 'icmp' or 'ipv6-icmp'")
    if rule.get("icmp-type") and rule.get("dport"):
        raise Invalid("icmp_type and dport exclude each other, leave dport out")


def parse_rules(rules: Iterable[dict[str, Any]], level: str) -> list[Rule]:
    """The rules that a user wants, in order. Raises ``Invalid``."""
    parsed: list[Rule] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, values in enumerate(rules, 1):
        try:
            rule = parse_rule({"type": "in", "enable": True, **{k: v for k, v in values.items() if v is not None}})
            check_rule(rule, level)
        except Invalid as error:
            raise Invalid(f"rule {number}: {error}") from None
        if rule.identity in seen:
            raise Invalid(f"rule {number} says the same as rule {seen[rule.identity]} ({rule}), remove one of them")
        seen[rule.identity] = number
        parsed.append(rule)
    return parsed


# ------------------------------------------------------------------------------------------------------ planning


def target(current: list[Rule], wanted: list[Rule], exclusive: bool) -> list[Rule]:
    """The list that is to be there: the wanted rules, then the others unless they have to go."""
    listed = {rule.identity for rule in wanted}
    return [*wanted, *([] if exclusive else (rule for rule in current if rule.identity not in listed))]


class RuleList:
    """The rules as PVE has them."""

    def parse(self, value: Any) -> list[Rule]:
        return [parse_rule(rule, strict=False) for rule in value]

    def format(self, value: list[Rule]) -> list[dict[str, Any]]:
        return [rule.shown() for rule in value]


class Step(NamedTuple):
    """One write: ``insert`` (always at the top), ``move`` in front of ``to``, ``update`` or ``delete``."""

    action: str
    position: int = 0
    to: int = 0
    rule: Rule | None = None


def pairs(current: list[Rule], goal: list[Rule]) -> dict[int, int]:
    """Which current rule becomes which rule of the goal; of several that say the same, the best one."""
    places: dict[tuple[str, ...], list[int]] = {}
    for position, rule in enumerate(current):
        places.setdefault(rule.identity, []).append(position)
    found: dict[int, int] = {}
    for index, rule in enumerate(goal):
        free = [place for place in places.get(rule.identity, []) if place not in found]
        if free:
            found[next((place for place in free if current[place].same(rule)), free[0])] = index
    return found


def longest(values: list[int]) -> list[int]:
    """The longest increasing subsequence."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, value in enumerate(values):
        place = bisect_left(tails, value)
        tails[place:], ends[place:] = [value, *tails[place + 1 :]], [number, *ends[place + 1 :]]
        before.append(ends[place - 1] if place else -1)
    chain, number = [], ends[-1] if ends else -1
    while number >= 0:
        chain.append(values[number])
        number = before[number]
    return chain[::-1]


def standing(order: list[int], length: int) -> set[int]:
    """Which rules of the goal stay where they are while the others are brought around them.

    A new rule lands at the top. In front of the first rule that stays it is right there, behind it it has to be moved.
    """
    here, best, most = set(order), set(), 0
    behind = 0
    for first in range(length - 1, -1, -1):
        if first not in here:
            behind += 1
            continue
        chain = [first, *longest([index for index in order[order.index(first) + 1 :] if index > first])]
        if len(chain) - behind > most:
            best, most = set(chain), len(chain) - behind
    return best


def plan(current: list[Rule], goal: list[Rule]) -> list[Step]:
    """The writes that make the goal of the current list, in order; no others are fewer.

    Rules go last, so that what a new rule replaces holds until the new one is there.
    """
    matched = pairs(current, goal)
    steps: list[Step] = []
    # What stands where during the plan: the index in the goal, or None for a rule that goes.
    row: list[int | None] = [matched.get(position) for position in range(len(current))]
    for position, index in sorted(matched.items()):
        if not current[position].same(goal[index]):
            steps.append(Step("update", position, rule=goal[index]))
    stay = standing([index for index in row if index is not None], len(goal))
    placed = set(stay)
    for index in range(len(goal) - 1, -1, -1):
        if index in stay:
            continue
        follower = min((other for other in placed if other > index), default=None)
        if index not in row:
            steps.append(Step("insert", rule=goal[index]))
            row.insert(0, index)
        # In front of everything that stays it belongs to the top, else right in front of its follower.
        if any(other < index for other in placed) or row[0] != index:
            first = not any(other < index for other in placed)
            source = row.index(index)
            to = 0 if first else len(row) if follower is None else row.index(follower)
            steps.append(Step("move", source, to))
            row.insert(to, index)
            del row[source + (1 if to <= source else 0)]
        placed.add(index)
    for position in range(len(row) - 1, -1, -1):
        if row[position] is None:
            steps.append(Step("delete", position))
            del row[position]
    return steps


def perform(rules: list[Rule], step: Step) -> list[Rule]:
    """The list after one write."""
    after = list(rules)
    if step.action == "insert":
        after.insert(0, step.rule)
    elif step.action == "update":
        after[step.position] = step.rule
    elif step.action == "delete":
        del after[step.position]
    else:
        after.insert(step.to, rules[step.position])
        del after[step.position + (1 if step.to <= step.position else 0)]
    return after


def changes(old: Rule, new: Rule) -> dict[str, Any]:
    """The parameters that turn one spelling of a rule into another with other attributes."""
    values: dict[str, Any] = {}
    gone = []
    for key in ATTRIBUTES:
        if old.get(key) != new.get(key):
            if new.get(key) == "":
                gone.append(key)
            else:
                values[key] = new.sent[key]
    return {**values, **({"delete": ",".join(gone)} if gone else {})}


# -------------------------------------------------------------------------------------------------------- guard


@dataclass
class Host:
    """What the guard knows of a node."""

    name: str
    enable: bool = True
    rules: list[Rule] = field(default_factory=list)
    address: str = ""
    iface: str = ""
    local_network: str = ""


@dataclass
class Policy:
    """What decides whether somebody reaches a node."""

    enable: bool = False
    policy_in: str = "DROP"
    rules: list[Rule] = field(default_factory=list)
    groups: dict[str, list[Rule]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    sets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    hosts: list[Host] = field(default_factory=list)


def specificity(policy: Policy, host: Host, said: str, who: str) -> int:
    """How long the prefix is by which an address is meant by what a rule or an entry of a set says; -1 if it is not."""
    one = ipaddress.ip_address(who)
    if said.startswith("+"):
        return 0 if in_set(policy, host, said.rpartition("/")[2].lstrip("+"), who) else -1
    if REFERENCE.fullmatch(said):
        name = said.rpartition("/")[2].lower()
        said = policy.aliases.get(name, host.local_network if name == "local_network" else "")
        return specificity(policy, host, said, who) if said else -1
    try:
        first, dash, last = said.partition("-")
        if dash:
            low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
            return 0 if low.version == one.version and int(low) <= int(one) <= int(high) else -1
        networks = [ipaddress.ip_network(part, strict=False) for part in said.split(",")]
        return max((network.prefixlen for network in networks if one in network), default=-1)
    except ValueError:
        return -1


def contains(policy: Policy, host: Host, said: str, who: str) -> bool:
    return specificity(policy, host, said, who) >= 0


def in_set(policy: Policy, host: Host, name: str, who: str) -> bool:
    """Of the entries that mean an address the narrowest decides; one that says nomatch takes it out."""
    decided, narrowest = False, -1
    for entry in policy.sets.get(name, []):
        length = specificity(policy, host, entry["cidr"], who)
        if length > narrowest:
            decided, narrowest = not Switch().parse(entry.get("nomatch") or 0), length
    return decided


def applies(policy: Policy, host: Host, rule: Rule, who: str, port: int) -> bool:
    """Whether a rule decides about a new connection from an address to a port of the node.

    Where that depends on what is not known, only a rule that shuts out applies.
    """
    unknown = rule.get("action") != "ACCEPT"
    if not rule.get("enable") or rule.get("sport") or rule.get("icmp-type"):
        return False
    if rule.get("macro") and MACRO_PORTS.get(rule.get("macro")) != port:
        return False
    if rule.get("proto") not in ("", "tcp"):
        return False
    if rule.get("iface") and rule.get("iface") != host.iface and not (unknown and not host.iface):
        return False
    if rule.get("dest") and not (contains(policy, host, rule.get("dest"), host.address) if host.address else unknown):
        return False
    if rule.get("source") and not contains(policy, host, rule.get("source"), who):
        return False
    try:
        return not rule.get("dport") or any(low <= port <= high for low, high in parse_ports(rule.get("dport")))
    except Invalid:
        return unknown


def verdict(policy: Policy, host: Host, rules: list[Rule], who: str, port: int) -> bool | None:
    """What a list of rules decides; None if it decides nothing."""
    for rule in rules:
        decided = None
        if rule.get("type") == "group" and rule.get("enable"):
            if not rule.get("iface") or rule.get("iface") == host.iface or not host.iface:
                decided = verdict(policy, host, policy.groups.get(rule.get("action"), []), who, port)
        elif rule.get("type") == "in" and applies(policy, host, rule, who, port):
            decided = rule.get("action") == "ACCEPT"
        if decided is not None:
            return decided
    return None


def reaches(policy: Policy, host: Host, who: str, port: int) -> bool:
    """Whether an address can open a connection to a managed port of a node.

    In the order of Proxmox VE: the node's rules, the datacenter's, then the addresses of the set ``management`` and of
    the local network, then the policy for what comes in.
    """
    if not (policy.enable and host.enable) or ipaddress.ip_address(who).is_loopback or who == host.address:
        return True
    decided = verdict(policy, host, [*host.rules, *policy.rules], who, port)
    if decided is not None:
        return decided
    if in_set(policy, host, "management", who) or contains(policy, host, "local_network", who):
        return True
    return policy.policy_in == "ACCEPT"


def lockouts(policy: Policy, controllers: Iterable[str]) -> list[str]:
    """A sentence for each controller and node that the policy parts, naming the missing rule."""
    sentences = []
    for who in controllers:
        for host in policy.hosts:
            shut = [port for port in MANAGED_PORTS if not reaches(policy, host, who, port)]
            if shut:
                ports = ",".join(map(str, shut))
                sentences.append(
                    f"the controller {who} could no longer reach TCP {' and '.join(map(str, shut))} of node "
                    f"'{host.name}': the rule {{type: in, action: ACCEPT, source: {who}, proto: tcp, dport: "
                    f"'{ports}'}} is missing above what shuts it out, add it to the datacenter's rules, or add the "
                    "address to the set 'management', or set allow_lockout to true if you mean it"
                )
    return sentences


# ------------------------------------------------------------------------------------------------------ the API

DATACENTER = "/cluster/firewall"
# The options that choose the level; none of them means the datacenter.
LEVEL = {
    "node": {"type": "str"},
    "vmid": {"type": "int"},
    "type": {"type": "str", "choices": ["qemu", "lxc"]},
}
RULES = {"type": "list", "elements": "dict", "options": RULE_OPTIONS}
# Where the firewall is below the datacenter.
NODE = "/nodes/{node}/firewall"
GUEST = "/nodes/{node}/{type}/{vmid}/firewall"
GUARD = {
    "controller_addresses": {"type": "list", "elements": "str"},
    "allow_lockout": {"type": "bool", "default": False},
}


class Leveled(Resource):
    """An object of the datacenter, of a node or of a guest. The path of its table is the datacenter's."""

    @property
    def level(self) -> str:
        return "guest" if self.params.get("vmid") else "node" if self.params.get("node") else "cluster"

    def __str__(self) -> str:
        where = {"cluster": "the datacenter", "node": f"node '{self.params.get('node')}'"}
        return f"{super().__str__()} of {where.get(self.level) or 'guest ' + str(self.params.get('vmid'))}"

    @property
    def base(self) -> str:
        """Where the firewall of the level is."""
        return self.path[: self.path.rindex("/firewall") + len("/firewall")]

    def locate(self) -> None:
        """The path of the level; a guest is looked for unless both its node and its type are given."""
        node, vmid, kind = (self.params.get(name) for name in ("node", "vmid", "type"))
        if kind and not vmid:
            raise PveError(f"{self}: type is for a guest, set vmid as well or leave type out.")
        if vmid and not (node and kind):
            guests = self.client.get("/cluster/resources", type="vm")
            found = next((guest for guest in guests if str(guest.get("vmid")) == str(vmid)), None)
            if found is None:
                raise PveError(f"{self}: the API shows no guest with this VMID, check vmid and the user's VM.Audit.")
            node, kind = found["node"], found["type"]
        field = {"guest": "{vmid}", "node": "{node}/firewall"}.get(self.level)
        places = (place for place in self.table.elsewhere if field and field in place)
        self.path = next(places, self.path).format(node=node, vmid=vmid, type=kind)

    def run(self) -> dict[str, Any]:
        self.locate()
        return super().run()


def check_name(name: str, most: int) -> None:
    """Raises ``Invalid`` for what PVE does not take as a name."""
    if not re.fullmatch(NAME, name) or len(name) > most:
        raise Invalid(f"'{name}' is not a name of 2 to {most} letters, digits, '-' and '_' that begins with a letter")


class Guarded(Leveled):
    """An object that may shut the controller out."""

    def controllers(self) -> list[str]:
        """The addresses that the nodes see the controller by."""
        given = self.params.get("controller_addresses")
        if given:
            try:
                return [Address().parse(item) for item in given]
            except Invalid as error:
                self.problem(f"controller_addresses: {error}")
                return []
        if self.client.local:
            # Whoever came by SSH wants to come again; without SSH nobody is outside.
            return ssh_connection()[:1]
        url = urlsplit(self.client.backend.get_base_url())
        try:
            with socket.create_connection((url.hostname, url.port), CONNECT_SECONDS) as connection:
                return [connection.getsockname()[0].partition("%")[0]]
        except OSError as error:
            self.problem(
                f"the address that this machine reaches {url.hostname} from cannot be found ({error}), set "
                "controller_addresses"
            )
            return []

    def future(self, action: str) -> dict[str, Any]:
        """What the change makes of the firewall, by its path; nothing if it lets in whom it did."""
        return {}

    def plan(self) -> str:
        """Refuse what would shut the controller out."""
        action = super().plan()
        future = {} if self.params["allow_lockout"] or self.level == "guest" or not action else self.future(action)
        policy = self.policy(future) if future else Policy()
        if policy.enable:
            for sentence in lockouts(policy, self.controllers()):
                self.problem(sentence)
        if self.problems:
            raise PveError("\n".join(self.problems))
        return action

    def policy(self, future: dict[str, Any]) -> Policy:
        """What is in force once the change is made."""

        def get(path: str) -> Any:
            return future[path] if path in future else self.client.get(path)

        def rules(path: str) -> list[Rule]:
            return [item if isinstance(item, Rule) else parse_rule(item, strict=False) for item in get(path) or []]

        options = get(f"{DATACENTER}/options") or {}
        policy = Policy(Switch().parse(options.get("enable") or 0), options.get("policy_in") or "DROP")
        if not policy.enable:
            return policy
        policy.rules = rules(f"{DATACENTER}/rules")
        for node in get("/cluster/status"):
            if node.get("type") == "node" and node.get("online") and self.params.get("node") in (None, node["name"]):
                policy.hosts.append(self.host(node, get, rules))
        used = [*policy.rules, *(rule for host in policy.hosts for rule in host.rules)]
        groups = {rule.get("action") for rule in used if rule.get("type") == "group" and rule.get("enable")}
        for item in get(f"{DATACENTER}/groups") if groups else ():
            if item["group"] in groups:
                policy.groups[item["group"]] = rules(f"{DATACENTER}/groups/{item['group']}")
        policy.aliases = {item["name"].lower(): item["cidr"] for item in get(f"{DATACENTER}/aliases") or []}
        used += [rule for group in policy.groups.values() for rule in group]
        named = (SET.fullmatch(rule.get(key)) for rule in used for key in ("source", "dest"))
        sets = {match[2].lower() for match in named if match}
        for item in get(f"{DATACENTER}/ipset") or []:
            if item["name"] in {*sets, "management"}:
                policy.sets[item["name"]] = get(f"{DATACENTER}/ipset/{item['name']}")
        return policy

    def host(self, node: dict[str, Any], get: Callable[[str], Any], rules: Callable[[str], list[Rule]]) -> Host:
        """A node with its own rules, and the network that it is in."""
        base = f"/nodes/{node['name']}"
        switch = (get(f"{base}/firewall/options") or {}).get("enable")
        host = Host(node["name"], switch is None or Switch().parse(switch), address=node.get("ip") or "")
        host.rules = rules(f"{base}/firewall/rules") if host.enable else []
        for iface in get(f"{base}/network") if host.enable and host.address else ():
            for cidr in (iface.get("cidr"), iface.get("cidr6")):
                if cidr and ipaddress.ip_interface(cidr).ip == ipaddress.ip_address(host.address):
                    host.iface, host.local_network = iface["iface"], address(cidr)
        return host


class Named(Guarded):
    """An alias or a set: there are none at nodes."""

    def parse(self) -> None:
        super().parse()
        if self.level == "node":
            self.problem("a node has none of its own, leave node out to define it for the datacenter, or set vmid")
        try:
            check_name(self.name, 64)
        except Invalid as error:
            self.problem(str(error))

    def listing(self, action: str, item: dict[str, Any]) -> list[dict[str, Any]]:
        """What the datacenter has of the kind once the change is made."""
        others = [one for one in self.client.get(self.path) if one["name"].lower() != self.name.lower()]
        return others if action == "delete" else [*others, {"name": self.name, **item}]


class RuleHolder(Guarded):
    """An object with an ordered list of rules, its option ``rules``."""

    rule_level = "cluster"

    def parse(self) -> None:
        super().parse()
        given = self.params.get("rules")
        if given is not None and not self.problems:
            try:
                self.wanted["rules"] = parse_rules(given, self.rule_level)
            except Invalid as error:
                self.problem(str(error))

    def current(self, option: str) -> Any:
        return super().current(option) or [] if option == "rules" else super().current(option)

    def goal(self, rules: list[Rule]) -> list[Rule]:
        return target(rules, self.wanted["rules"], self.params["exclusive"])

    def compare(self) -> None:
        wanted = self.wanted.pop("rules", None)
        super().compare()
        if wanted is not None:
            self.wanted["rules"] = wanted
            rules = self.current("rules")
            if plan(rules, self.goal(rules)):
                self.sets["rules"] = self.goal(rules)

    def view(self, name: str, value: Any) -> Any:
        return RuleList().format(value or []) or None if name == "rules" else super().view(name, value)

    def validate(self) -> None:
        """Look at what is new; without a change nothing is asked."""
        if "rules" in self.sets:
            rules = self.current("rules")
            new = [step.rule for step in plan(rules, self.sets["rules"]) if step.action == "insert" and step.rule]
            self.check_references(new)

    def future(self, action: str) -> dict[str, Any]:
        return {self.item_path: self.sets.get("rules", [])} if action == "delete" or "rules" in self.sets else {}

    def check_references(self, rules: list[Rule]) -> None:
        """PVE refuses a rule that says a macro, alias or set that is not there, or never applies it."""
        if any(rule.get("macro") for rule in rules):
            macros = {item["macro"].lower(): item["macro"] for item in self.client.get(f"{DATACENTER}/macros")}
            for rule in rules:
                if rule.get("macro") and rule.get("macro") not in macros:
                    self.problem(
                        f"macro '{rule.sent['macro']}' is unknown, {nearest(rule.sent['macro'], macros.values())}"
                    )
        if any(rule.get("type") == "group" for rule in rules):
            groups = [item["group"] for item in self.client.get(f"{DATACENTER}/groups")]
            for rule in rules:
                if rule.get("type") == "group" and rule.get("action") not in groups:
                    self.problem(f"there is no security group '{rule.get('action')}', create it first")
        said = {rule.get(key) for rule in rules for key in ("source", "dest")}
        said = {text for text in said if SET.fullmatch(text) or REFERENCE.fullmatch(text)}
        if said:
            refs = self.client.get(f"{self.base if self.level == 'guest' else DATACENTER}/refs")
            known = {(item["type"], item["name"].lower()) for item in refs}
            for text in sorted(said):
                name = re.split(r"[+/]", text)[-1]
                kind, noun = ("ipset", "IP set") if text.startswith("+") else ("alias", "alias")
                if (kind, name) not in known and "sdn/" not in text and name != "local_network":
                    self.problem(f"there is no {noun} '{name}', create it first")

    def enforce(self) -> None:
        """Write step by step; every step is planned on what is there, and refused by PVE if that has changed."""
        path = self.item_path
        inserted: list[Rule] = []
        fruitless, before = 0, 0
        while True:
            raw = self.client.get(path) or []
            rules = RuleList().parse(raw)
            steps = plan(rules, self.goal(rules))
            if not steps:
                return
            fruitless += bool(before) and len(steps) >= before
            before, step = len(steps), steps[0]
            if fruitless > STALE_TRIES or any(step.rule and rule.same(step.rule) for rule in inserted):
                raise PveError(
                    f"{self}: PVE accepted the rules and reads back others: {[str(rule) for rule in rules]}."
                )
            where = f"{path}/{step.position}"
            if step.action == "insert" and step.rule:
                self.client.post(path, **step.rule.sent)
                inserted.append(step.rule)
            elif step.action == "update" and step.rule:
                found = rules[step.position]
                self.client.put(where, **changes(found, step.rule), digest=raw[0]["digest"])
            elif step.action == "move":
                self.client.put(where, moveto=step.to, digest=raw[0]["digest"])
            else:
                self.client.delete(where, digest=raw[0]["digest"])
