# Copyright: The onprem.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: firewall_policy
author: The onprem.cloud contributors (@onprem-cloud)
version_added: 0.1.0
short_description: Who may reach what, from the services that an inventory declares
description:
  - Turns a list of services, each with the hosts that run it, its ports and whom they are for, into what
    M(onprem.cloud.pve_firewall_fleet) writes, and into a table for people.
  - A service becomes a security group, and whom it is for becomes IP sets. A group or host that the inventory does not
    have, and a guest that is to be absent, are nobody.
options:
  _input:
    description:
      - Services. Each has a C(name) of at most 11 lower-case letters, digits and dashes, a C(title), C(hosts) (the
        names of groups and hosts that run it), and C(rules).
      - A rule has C(ports), such as V(tcp/443), V(udp/5000:5010) and V(ping), C(from), and C(why) in a few words.
        C(from) lists V(lan), V(admins), and names of groups and hosts.
    type: list
    elements: dict
    required: true
  hostvars:
    description: The variables of all hosts. A host's address is its C(ansible_host).
    type: dict
    required: true
  groups:
    description: The groups of the inventory.
    type: dict
    required: true
  nodes:
    description: Hosts that are nodes of Proxmox VE.
    type: list
    elements: str
    default: []
  guests:
    description: Hosts that are guests, with their C(guest_vmid).
    type: list
    elements: str
    default: []
  lan:
    description: The networks of the site, by default those that C(guest_address) of the guests is in.
    type: list
    elements: str
  admins:
    description: The networks of the administrators, by default those of the site.
    type: list
    elements: str
  prefix:
    description: What the names of groups and sets begin with.
    type: str
    default: onprem-
"""

EXAMPLES = r"""
- name: Show who may reach what
  ansible.builtin.debug:
    msg: "{{ (services | onprem.cloud.firewall_policy(hostvars, groups, guests=groups['guests'])).table }}"
  vars:
    services:
      - name: web
        title: Web servers
        hosts: [web_servers]
        rules:
          - {ports: [tcp/80, tcp/443], from: [lan], why: Web sites}
          - {ports: [tcp/9100], from: [prometheus_servers], why: Metrics}
"""

RETURN = r"""
_value:
  description: The options V(admins), V(sets), V(groups), V(node_groups) and V(guests) of
    M(onprem.cloud.pve_firewall_fleet), and V(table), whose rows say V(guest), V(address), V(ports), V(from) and V(why).
  type: dict
"""

import ipaddress
import itertools
import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

LAN = "lan"
ADMINS = "admins"
PING = "ping"
PORT = re.compile(r"(tcp|udp)/(\d+(?::\d+)?)")
# Proxmox VE takes 18 characters.
LONGEST = 18


class Policy:
    """What is derived, as it grows."""

    def __init__(self, hostvars: Mapping, groups: Mapping, nodes: list[str], guests: list[str], prefix: str) -> None:
        self.hostvars, self.groups_of_hosts, self.nodes, self.prefix = hostvars, groups, nodes, prefix
        self.guests = [host for host in guests if self.present(host)]
        self.sets: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.used: dict[str, list[str]] = {host: [] for host in [*nodes, *self.guests]}
        self.rows: dict[str, list[dict[str, str]]] = {host: [] for host in self.used}

    def present(self, host: str) -> bool:
        return self.hostvars[host].get("guest_state", "started") != "absent"

    def place(self, host: str) -> str:
        return str(self.hostvars[host].get("ansible_host", host))

    def address(self, host: str) -> str:
        said = self.place(host)
        try:
            return str(ipaddress.ip_address(said))
        except ValueError:
            raise AnsibleFilterError(
                f"{host}: rules of the firewall need its address, and ansible_host is '{said}', give it a static one"
            ) from None

    def hosts(self, names: list[str]) -> list[str]:
        """The hosts that groups and hosts of these names are, each once."""
        found = [self.groups_of_hosts.get(name, [name] if name in self.hostvars else []) for name in names]
        return [host for host in dict.fromkeys(itertools.chain(*found)) if self.present(host)]

    def networks(self) -> list[str]:
        """The networks that the guests are in."""
        said = [str(self.hostvars[host].get("guest_address", "")) for host in self.guests]
        return list(dict.fromkeys(str(ipaddress.ip_interface(cidr).network) for cidr in said if "/" in cidr))

    def source(self, name: str, comment: str, members: dict[str, str]) -> str:
        """A rule's source: a set of addresses, which is made if it is new."""
        full = f"{self.prefix}{name}".lower()
        known = self.sets.setdefault(full, {"name": full, "comment": comment, "entries": []})
        there = {entry["cidr"] for entry in known["entries"]}
        known["entries"] += [{"cidr": cidr, "comment": why} for cidr, why in members.items() if cidr not in there]
        return f"+dc/{full}"

    def sources(self, service: str, rule: dict[str, Any], lan: list[str]) -> dict[str, str]:
        """The sources of a rule, and what they are called in the table."""
        found, single = {}, []
        for name in rule["from"]:
            if name == ADMINS:
                found["+dc/management"] = "administrators"
            elif name == LAN and lan:
                found[self.source(LAN, "Networks of the site", dict.fromkeys(lan, ""))] = "LAN"
            elif self.groups_of_hosts.get(name):
                hosts = self.hosts([name])
                if hosts:
                    members = {self.address(host): host for host in hosts}
                    found[self.source(name, f"Inventory group {name}", members)] = ", ".join(hosts)
            else:
                single += self.hosts([name])
        if single:
            port = rule["ports"][0].rpartition("/")[2].replace(":", "-")
            members = {self.address(host): host for host in dict.fromkeys(single)}
            found[self.source(f"{service}-{port}", rule["why"], members)] = ", ".join(members.values())
        return found

    def add(self, service: dict[str, Any], lan: list[str]) -> None:
        """A service: its group, the hosts that use it, and their rows of the table."""
        self.check(service)
        name = self.prefix + service["name"]
        hosts = [host for host in self.hosts(service["hosts"]) if host in self.used]
        rules: list[dict[str, str]] = []
        for rule in service["rules"] if hosts else []:
            sources = self.sources(service["name"], rule, lan)
            for source in sources:
                rules += [
                    one for one in self.rules(rule, source) if not any(says_the_same(one, there) for there in rules)
                ]
            for host in hosts if sources else []:
                ports = ", ".join("/".join(port.split("/")[::-1]).replace(":", "-") for port in rule["ports"])
                row = {"guest": host, "address": self.place(host), "ports": ports}
                self.rows[host].append({**row, "from": ", ".join(sources.values()), "why": rule["why"]})
        if rules:
            self.groups[name] = {"name": name, "comment": service["title"], "rules": rules}
            for host in hosts:
                self.used[host].append(name)

    def rules(self, rule: dict[str, Any], source: str) -> list[dict[str, str]]:
        """The rules that let one source in, one for each protocol."""
        common = {"action": "ACCEPT", "source": source, "comment": rule["why"]}
        found = [{**common, "macro": "Ping"}] if PING in rule["ports"] else []
        for protocol in ("tcp", "udp"):
            ports = [port.split("/")[1] for port in rule["ports"] if port.startswith(protocol)]
            if ports:
                found.append({**common, "proto": protocol, "dport": ",".join(ports)})
        return found

    def check(self, service: dict[str, Any]) -> None:
        """Raise an error that names what is wrong."""
        name = service.get("name", "")
        problem = ""
        most = LONGEST - len(self.prefix)
        wrong = sorted({"name", "title", "hosts", "rules"} ^ set(service))
        if wrong:
            problem = f"name, title, hosts and rules make a service, look at {', '.join(wrong)}"
        elif not re.fullmatch(r"[a-z][a-z0-9-]*", name) or len(name) > most:
            problem = f"a name is at most {most} lower-case letters, digits and dashes"
        elif self.prefix + name in self.groups:
            problem = "it is declared twice, make it one or name them apart"
        for rule in service.get("rules", []):
            wrong = sorted({"ports", "from", "why"} ^ set(rule))
            if wrong:
                problem = f"ports, from and why make a rule, look at {', '.join(wrong)}"
            for port in rule.get("ports", []):
                if port != PING and not PORT.fullmatch(str(port)):
                    problem = f"'{port}' is no port, write for example tcp/443 or ping"
        if problem:
            raise AnsibleFilterError(f"service '{name}': {problem}")

    def result(self, admins: list[str]) -> dict[str, Any]:
        nobody = {"ports": "none", "from": "nobody", "why": ""}
        guests = [
            {
                "vmid": int(self.hostvars[host]["guest_vmid"]),
                "type": str(self.hostvars[host].get("guest_type", "lxc")),
                "groups": self.used[host],
            }
            for host in self.guests
        ]
        return {
            "admins": admins,
            "sets": list(self.sets.values()),
            "groups": list(self.groups.values()),
            "node_groups": list(dict.fromkeys(name for host in self.nodes for name in self.used[host])),
            "guests": guests,
            "table": [
                row
                for host, rows in self.rows.items()
                for row in rows or [{"guest": host, "address": self.place(host), **nobody}]
            ],
        }


def says_the_same(one: dict[str, str], other: dict[str, str]) -> bool:
    return {**one, "comment": ""} == {**other, "comment": ""}


def firewall_policy(
    services: list[dict[str, Any]],
    hostvars: Mapping,
    groups: Mapping,
    nodes: list[str] | None = None,
    guests: list[str] | None = None,
    lan: list[str] | None = None,
    admins: list[str] | None = None,
    prefix: str = "onprem-",
) -> dict[str, Any]:
    policy = Policy(hostvars, groups, nodes or [], guests or [], prefix)
    networks = lan or policy.networks()
    for service in services:
        policy.add(service, networks)
    return policy.result(admins or networks)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"firewall_policy": firewall_policy}
