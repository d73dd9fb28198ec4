#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_hosts
short_description: Manage entries of the hosts file of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Sets and removes entries of C(/etc/hosts) on a node. All other lines stay as they are, byte for byte.
  - An entry is known by its address. If the file has several lines for an address that is to change, they become one.
notes:
  - Needs the privileges C(Sys.Audit) on C(/) and C(Sys.Modify) on C(/nodes/{node}).
  - Proxmox VE writes no file with a line that it does not understand, such as one with a comment behind the names. Such
    a line of somebody else is refused by its number before anything is written, and only when there is something to
    write.
  - A node needs its own name in this file. A change after which no entry has it is refused.
seealso:
  - module: onprem.cloud.pve_dns
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  node:
    description: Name of the node.
    type: str
    required: true
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
  entries:
    description: Entries to set or to remove. Those of other addresses are left alone.
    type: list
    elements: dict
    suboptions:
      address:
        description: The IP address.
        type: str
        required: true
      names:
        description:
          - All names of the address, in any case. The first one is its own, in whatever order the others are.
          - Required with O(entries[].state=present).
        type: list
        elements: str
      state:
        description: Whether there is an entry for the address.
        type: str
        choices: [present, absent]
        default: present
"""

EXAMPLES = r"""
- name: The other node by name, and no longer the old one
  onprem.cloud.pve_hosts:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    entries:
      - address: 192.0.2.3
        names: [pve2.example.com, pve2]
      - address: 192.0.2.9
        state: absent
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
hosts:
  description: The file as Proxmox VE has it afterwards.
  type: dict
  returned: success
  contains:
    data:
      description: All of its text.
      type: str
      sample: "127.0.0.1 localhost\n192.0.2.2 pve1\n192.0.2.3 pve2.example.com pve2\n"
    digest:
      description: Checksum of the file.
      type: str
      sample: f9fd6dfe5a002217b00b98559ff530bc3cf50c8d
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Address, Invalid, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, OfNode, Table, argument_spec, run

NAME = re.compile(r"[.a-zA-Z0-9-]+")


def line_entry(line: str) -> tuple[str, list[str]] | None:
    """The address and the names of a line, if it has any."""
    words = line.partition("#")[0].split()
    try:
        return (Address().parse(words[0]), words[1:]) if words else None
    except Invalid:
        return None


def understood(line: str) -> bool:
    """Whether Proxmox VE writes a file with this line."""
    if not line.strip() or line.lstrip().startswith("#"):
        return True
    words = line.rstrip().split()
    return not line[0].isspace() and line_entry(line) is not None and all(map(NAME.fullmatch, words[1:]))


def same(one: list[str], other: list[str]) -> bool:
    """Whether names mean the same: they have no case, and only the first one has a place."""
    one, other = ([name.lower() for name in names] for names in (one, other))
    return one[:1] == other[:1] and set(one) == set(other)


class Entries:
    """Names by address; no names mean that the entry goes."""

    def parse(self, value: Any) -> dict[str, list[str]]:
        parsed: dict[str, list[str]] = {}
        for item in value:
            address = Address().parse(item["address"])
            names = list(dict.fromkeys(str(name).strip() for name in item.get("names") or []))
            if address in parsed:
                raise Invalid(f"{address} is given twice, write one entry with all of its names")
            if item.get("state") == "absent" and names:
                raise Invalid(f"{address} is to be absent and has names, leave them out")
            if item.get("state") != "absent" and not names:
                raise Invalid(f"{address} has no names, give it some or set state to absent")
            for name in names:
                if not NAME.fullmatch(name):
                    raise Invalid(f"{address}: '{name}' is not a name of letters, digits, dots and dashes")
            parsed[address] = names
        return parsed

    def format(self, value: dict[str, list[str]]) -> list[str]:
        return [" ".join([address, *names]) for address, names in value.items() if names]


ENTRIES = {
    "type": "list",
    "elements": "dict",
    "options": {
        "address": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    },
}
TABLE = Table(
    noun="hosts",
    path="/nodes/{node}/hosts",
    options={"entries": Option(ENTRIES, Entries())},
    places=NODE,
)


class Hosts(OfNode):
    @property
    def lines(self) -> list[str]:
        """The lines of the file with their ends."""
        return re.findall(r"[^\n]*\n|[^\n]+", (self.raw or {}).get("data") or "")

    def current(self, option: str, answer: dict[str, Any] | None = None) -> dict[str, list[str]]:
        """What the file says of the addresses that are asked about."""
        found: dict[str, list[str]] = {address: [] for address in self.wanted.get("entries") or {}}
        for address, names in filter(None, map(line_entry, self.lines)):
            if address in found:
                found[address] += [name for name in names if name not in found[address]]
        return found

    def compare(self) -> None:
        now, wanted = self.current("entries"), self.wanted.get("entries") or {}
        self.sets = {}
        if any(not same(now[address], names) for address, names in wanted.items()):
            self.sets["entries"] = {
                address: now[address] if same(now[address], names) else names for address, names in wanted.items()
            }

    def view(self, name: str, value: Any) -> Any:
        return Entries().format(value) or None

    def target(self) -> list[str]:
        """The lines that are to be there."""
        now = self.current("entries")
        left = {address: names for address, names in self.sets["entries"].items() if names != now[address]}
        goes, after = set(left), []
        for line in self.lines:
            entry = line_entry(line)
            if entry is None or entry[0] not in goes:
                after.append(line)
            elif left.get(entry[0]):
                after.append(f"{entry[0]} {' '.join(left.pop(entry[0]))}\n")
        if after and not after[-1].endswith("\n") and any(left.values()):
            after[-1] += "\n"
        return after + [f"{address} {' '.join(names)}\n" for address, names in left.items() if names]

    def validate(self) -> None:
        if not self.sets:
            return
        kept = set(self.target())
        for number, line in enumerate(self.lines, 1):
            if line in kept and not understood(line):
                self.problem(
                    f"line {number} of the file is '{line.strip()}', with which Proxmox VE does not write it, mend it "
                    "on the node"
                )
        named, will = (self.own_name(lines) for lines in (self.lines, kept))
        if named and not will:
            self.problem(
                f"no entry would have the node's own name '{self.params['node']}', which Proxmox VE needs, add it to "
                "the names of an address"
            )

    def own_name(self, lines: Any) -> bool:
        """Whether an entry has the name of the node."""
        entries = filter(None, map(line_entry, lines))
        return any(name.partition(".")[0] == self.params["node"] for _address, names in entries for name in names)

    def update(self) -> Any:
        digest = {"digest": self.raw["digest"]} if (self.raw or {}).get("digest") else {}
        return self.client.post(self.path, data="".join(self.target()), **digest)


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Hosts)


if __name__ == "__main__":
    main()
