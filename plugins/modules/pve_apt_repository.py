#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_apt_repository
short_description: Enable and disable the package repositories of a Proxmox VE node
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Enables and disables repositories of packages, and adds those of Proxmox VE itself, such as C(no-subscription).
  - The API can change no more of a repository than whether it is enabled, and takes none away.
notes:
  - Needs the privilege C(Sys.Audit) on C(/nodes/{node}) to read, and C(Sys.Modify) on it to change.
  - Files of both formats are changed, C(.list) and C(.sources). All repositories of a stanza of C(.sources) are enabled
    and disabled together.
  - What packages there are is read anew by the node once a day, or by M(ansible.builtin.apt) with
    O(ansible.builtin.apt#module:update_cache=true).
seealso:
  - module: ansible.builtin.deb822_repository
  - module: ansible.builtin.apt
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
options:
  node:
    description: Name of the node.
    type: str
    required: true
  handle:
    description:
      - Proxmox VE's name for a repository of its own. These are V(enterprise), V(no-subscription), V(test), and the
        same after the name of a Ceph release, such as V(ceph-squid-no-subscription). Which there are depends on the
        version.
      - It is added if it is not there and is to be enabled. All its entries are disabled if it is to be disabled.
      - Exactly one of O(handle) and O(uris) is needed.
    type: str
  uris:
    description:
      - Addresses of a repository that is there, exactly as many as its line or stanza has, in any order. A slash at the
        end means nothing.
    type: list
    elements: str
  suites:
    description: Its suites, such as V(trixie), in any order. Required with O(uris).
    type: list
    elements: str
  components:
    description: Its components, such as V(main), in any order. Without it, they do not matter.
    type: list
    elements: str
  types:
    description: Its types. Without it, they do not matter, so that a line for sources goes along with one for packages.
    type: list
    elements: str
    choices: [deb, deb-src]
  enabled:
    description: Whether it is enabled.
    type: bool
    default: true
  task_timeout:
    description: Seconds to wait for a lock of Proxmox VE.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: No repository that needs a subscription
  onprem.cloud.pve_apt_repository:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    handle: "{{ item }}"
    enabled: false
  loop:
    - enterprise
    - ceph-squid-enterprise

- name: The one that is there for everybody
  onprem.cloud.pve_apt_repository:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    handle: no-subscription

- name: Security updates of Debian
  onprem.cloud.pve_apt_repository:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    uris: http://security.debian.org/debian-security
    suites: trixie-security
"""

RETURN = r"""
action:
  description: What was done, V(update) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: update
apt_repository:
  description: The repository as Proxmox VE has it afterwards.
  type: dict
  returned: success
  contains:
    handle:
      description: The handle that was given.
      type: str
      sample: no-subscription
    enabled:
      description: Whether it is enabled.
      type: bool
      sample: true
    entries:
      description: Where it stands. O(handle) finds them by their addresses and components.
      type: list
      elements: dict
      sample: [{"path": "/etc/apt/sources.list.d/proxmox.sources", "index": 0, "Enabled": 1, "FileType": "sources",
        "Types": ["deb"], "URIs": ["http://download.proxmox.com/debian/pve"], "Suites": ["trixie"],
        "Components": ["pve-no-subscription"]}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import BOOL, LIST, STR, Boolean, Option
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import NODE, Resource, Table, argument_spec, run

CHANNELS = ("enterprise", "no-subscription", "test")
TABLE = Table(
    noun="repository",
    path="/nodes/{node}/apt/repositories",
    options={"enabled": Option({**BOOL, "default": True}, Boolean(), False)},
    places={
        **NODE,
        "handle": STR,
        "uris": LIST,
        "suites": LIST,
        "components": LIST,
        "types": {**LIST, "choices": ["deb", "deb-src"]},
    },
)


def is_on(value: Any) -> bool:
    """A flag of the API, which may be a text."""
    return str(value).lower() in ("1", "true")


def same(wanted: list[str], have: list[str]) -> bool:
    return {item.rstrip("/") for item in wanted} == {item.rstrip("/") for item in have}


def is_standard(handle: str, entry: dict[str, Any]) -> bool:
    """Whether the entry is the one that Proxmox VE means by the handle."""
    channel = next((channel for channel in CHANNELS if handle.endswith(channel)), handle)
    software = handle[: -len(channel)].rstrip("-")
    components = entry.get("Components") or []
    if not software:
        # Before version 9 the channel for tests had no dash.
        return bool({f"pve-{channel}", f"pve{channel}"} & set(components))
    return channel in components and any(software in uri.split("/") for uri in entry.get("URIs") or [])


def described(entry: dict[str, Any]) -> str:
    words = [" ".join(entry.get(key) or []) for key in ("Types", "URIs", "Suites", "Components")]
    return f"'{' '.join(filter(None, words))}'"


class Repository(Resource):
    """What a handle means, or the lines and stanzas that say the same."""

    result_name = "apt_repository"

    def __str__(self) -> str:
        what = self.params["handle"] or " ".join([*(self.params["uris"] or []), *(self.params["suites"] or [])])
        return f"repository '{what}' of node '{self.params['node']}'"

    # ------------------------------------------------------------------------------------------------- reading

    def fetch(self) -> dict[str, Any]:
        self.answer = self.client.get(self.path) or {}
        every = [
            {**entry, "path": file["path"], "index": index}
            for file in self.answer.get("files") or []
            for index, entry in enumerate(file["repositories"])
        ]
        return self.by_handle(every) if self.params["handle"] else self.by_words(every)

    def by_handle(self, every: list[dict[str, Any]]) -> dict[str, Any]:
        handle = self.params["handle"]
        standard = {item["handle"]: item for item in self.answer.get("standard-repos") or []}
        if handle not in standard:
            raise PveError(
                f"{self}: Proxmox VE knows no handle '{handle}' there, it knows {', '.join(standard) or 'none at all'}."
            )
        entries = [entry for entry in every if is_standard(handle, entry)]
        return {"handle": handle, "enabled": is_on(standard[handle].get("status")), "entries": entries}

    def by_words(self, every: list[dict[str, Any]]) -> dict[str, Any]:
        wanted = {"URIs": "uris", "Suites": "suites", "Components": "components", "Types": "types"}
        given = {key: self.params[name] for key, name in wanted.items() if self.params[name] is not None}
        entries = [entry for entry in every if all(same(value, entry.get(key) or []) for key, value in given.items())]
        if not entries:
            unread = [f"{item['path']} ({item['error'].strip()})" for item in self.answer.get("errors") or []]
            known = ", ".join(dict.fromkeys(map(described, every))) or "none at all"
            raise PveError(
                f"{self}: there is no such repository, the node has {known}. Write one with "
                "ansible.builtin.deb822_repository, or take a handle"
                + (f". Proxmox VE cannot read {', '.join(unread)}." if unread else ".")
            )
        # It is as it is to be when all of them are.
        together = all if self.params["enabled"] else any
        return {"enabled": together(is_on(entry.get("Enabled")) for entry in entries), "entries": entries}

    def validate(self) -> None:
        enabled = any(is_on(entry.get("Enabled")) for entry in (self.raw or {})["entries"])
        if self.sets.get("enabled") is False and not enabled:
            self.problem("Proxmox VE does not say in which file it is enabled, name it by its uris and suites")

    # ------------------------------------------------------------------------------------------------- writing

    @property
    def digest(self) -> dict[str, str]:
        """Of all files, so it is another one after each change."""
        return {"digest": self.answer["digest"]} if self.answer.get("digest") else {}

    def update(self) -> None:
        enabled = self.sets["enabled"]
        if enabled and self.params["handle"]:
            self.client.put(self.path, handle=self.params["handle"], **self.digest)
            return
        for entry in (self.raw or {})["entries"]:
            if is_on(entry.get("Enabled")) != enabled:
                where = {key: entry[key] for key in ("path", "index")}
                self.client.post(self.path, **where, enabled=enabled, **self.digest)
                self.raw = self.fetch()


def main() -> None:
    module = AnsibleModule(
        argument_spec(TABLE),
        supports_check_mode=True,
        mutually_exclusive=[("handle", name) for name in ("uris", "suites", "components", "types")],
        required_one_of=[("handle", "uris")],
        required_together=[("uris", "suites")],
    )
    run(module, TABLE, Repository)


if __name__ == "__main__":
    main()
