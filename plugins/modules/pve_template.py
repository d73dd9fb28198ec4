#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_template
short_description: Manage container templates on a storage of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Has a node download a container template, from the index of appliances or from a URL, or removes one.
  - A template that is on the storage is not downloaded again, and its content is not looked at.
notes:
  - Needs the privileges C(Datastore.Audit) and C(Datastore.AllocateTemplate) on the storage, C(Sys.AccessNetwork) on
    the node for O(url), and C(Datastore.Allocate) on the storage to remove a template.
seealso:
  - module: onprem.cloud.pve_fleet
options:
  template:
    description:
      - An appliance of the index that C(pveam available) shows, whose checksum Proxmox VE verifies. Either the whole
        name (V(debian-13-standard_13.1-2_amd64.tar.zst)) or its part before the version (V(debian-13-standard)), which
        takes what is on the storage, and the newest of the index if there is nothing.
      - With O(url), the name of the file on the storage, the last part of the URL unless given.
      - One of O(template) and O(url) is required.
    type: str
  url:
    description:
      - HTTP or HTTPS address to download the template from.
    type: str
  checksum:
    description:
      - What the downloaded file must match, as algorithm and value, such as V(sha512:9ca1...). Algorithms are md5,
        sha1, sha224, sha256, sha384 and sha512. Required to download from O(url).
    type: str
  storage:
    description:
      - Storage that takes templates (content C(vztmpl)).
    type: str
    default: local
  node:
    description:
      - Node that downloads. It may be left out in clusters of one node.
    type: str
  task_timeout:
    description:
      - Seconds to wait for the download.
    type: int
    default: 1800
  state:
    description:
      - Whether the template is to be on the storage.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
"""

EXAMPLES = r"""
- name: Have the Debian template
  onprem.cloud.pve_template:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    node: pve1
    template: debian-13-standard
  register: debian

- name: Have a template of our own
  onprem.cloud.pve_template:
    node: pve1
    url: https://downloads.example.com/company-base_1.0_amd64.tar.zst
    checksum: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

- name: Remove a template
  onprem.cloud.pve_template:
    node: pve1
    template: debian-12-standard_12.7-1_amd64.tar.zst
    state: absent
"""

RETURN = r"""
volid:
  description: Volume of the template, as O(onprem.cloud.pve_fleet#module:guests[].ostemplate) takes it.
  type: str
  returned: success
  sample: local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst
"""

import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import (
    Client,
    PveError,
    Unreachable,
    connect,
    connection_spec,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import nearest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import Tasks

CHECKSUM = re.compile(r"(md5|sha(1|224|256|384|512)):[0-9a-f]{32,128}", re.IGNORECASE)
ARCHIVE = re.compile(r"\.tar\.(gz|xz|zst|bz2)$")
TRIES = 6


def version(name: str) -> list[Any]:
    """Sorts 13.10 after 13.9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


class Template:
    """One template on one storage."""

    def __init__(self, client: Client, params: dict[str, Any], tasks: Tasks) -> None:
        self.client, self.params, self.tasks = client, params, tasks
        self.node = params["node"] or self._only_node()
        self.storage = params["storage"]
        self.content = f"/nodes/{self.node}/storage/{self.storage}/content"
        self.name = params["template"] or params["url"].partition("?")[0].rpartition("/")[2]

    def _only_node(self) -> str:
        nodes = [item["node"] for item in self.client.get("/nodes")]
        if len(nodes) != 1:
            raise PveError(f"node is missing: choose one of {', '.join(sorted(nodes))}.")
        return nodes[0]

    def check_storage(self) -> None:
        """Refuse a storage that cannot take the template, in check mode too."""
        taking = [item["storage"] for item in self.client.get(f"/nodes/{self.node}/storage", content="vztmpl")]
        if self.storage not in taking:
            raise PveError(
                f"storage '{self.storage}' on node '{self.node}' takes no templates: add 'vztmpl' to its content, or "
                f"choose one of {', '.join(sorted(taking)) or 'none that this user may see'}."
            )

    def found(self) -> str:
        """The volume on the storage, or nothing."""
        volumes = [item["volid"] for item in self.client.get(self.content, content="vztmpl")]
        wanted = f"{self.storage}:vztmpl/{self.name}"
        if wanted in volumes or ARCHIVE.search(self.name):
            return wanted if wanted in volumes else ""
        return max((volume for volume in volumes if volume.startswith(f"{wanted}_")), key=version, default="")

    def appliance(self) -> str:
        """The whole name of the appliance in the node's index."""
        index = [item["template"] for item in self.client.get(f"/nodes/{self.node}/aplinfo")]
        newest = max((name for name in index if name.startswith(f"{self.name}_")), key=version, default="")
        if self.name not in index and not newest:
            remedy = nearest(self.name, index) if index else "it is empty"
            raise PveError(
                f"The index of appliances on node '{self.node}' has no '{self.name}', {remedy.rstrip('?')}: correct "
                "template, or refresh the index with 'pveam update' there."
            )
        return self.name if self.name in index else newest

    def download(self) -> str:
        """Start the download; returns what PVE answers."""
        if not self.params["url"]:
            name = self.appliance()
            return self.client.post(f"/nodes/{self.node}/aplinfo", storage=self.storage, template=name)
        algorithm, _colon, value = self.params["checksum"].partition(":")
        return self.client.post(
            f"/nodes/{self.node}/storage/{self.storage}/download-url",
            **{"content": "vztmpl", "url": self.params["url"], "filename": self.name},
            **{"checksum": value, "checksum-algorithm": algorithm.lower()},
        )

    def make(self) -> str:
        """Download, and look whether it is there: an answer that is lost does not start a second download."""
        what = f"template '{self.name}'"
        for attempt in range(1, TRIES + 1):
            try:
                self.tasks.wait(self.download(), what)
            except Unreachable:
                if attempt == TRIES:
                    raise
                time.sleep(0.2 * attempt)
                self.tasks.settle(self.node, what)
            volume = self.found()
            if volume:
                return volume
        raise PveError(f"{what}: Proxmox VE reports success, but storage '{self.storage}' does not hold it.")

    def remove(self, volume: str) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                self.tasks.wait(self.client.delete(f"{self.content}/{volume}"), f"template '{volume}'")
            except Unreachable:
                if attempt == TRIES:
                    raise
            if not self.found():
                return


def run(module: AnsibleModule) -> dict[str, Any]:
    """Bring the template to the wanted state."""
    params = module.params
    client = connect(module)
    template = Template(client, params, Tasks(client, params["task_timeout"], module.warn))
    volume = template.found()
    wanted = params["state"] == "present"
    changed = bool(volume) != wanted
    if changed and wanted:
        template.check_storage()
        if module.check_mode:
            name = template.name if params["url"] else template.appliance()
            volume = f"{template.storage}:vztmpl/{name}"
        else:
            volume = template.make()
    elif changed and not module.check_mode:
        template.remove(volume)
    states = ({"state": "absent"}, {"state": "present"}) if wanted else ({"state": "present"}, {"state": "absent"})
    before, after = ({volume: state} for state in states) if changed else ({}, {})
    return {"changed": changed, "volid": volume, "diff": {"before": before, "after": after}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "template": {"type": "str"},
            "url": {"type": "str"},
            "checksum": {"type": "str"},
            "storage": {"type": "str", "default": "local"},
            "node": {"type": "str"},
            "task_timeout": {"type": "int", "default": 1800},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_one_of=[("template", "url")],
        supports_check_mode=True,
    )
    url, checksum = module.params["url"], module.params["checksum"] or ""
    if url and module.params["state"] == "present" and not CHECKSUM.fullmatch(checksum):
        module.fail_json(
            msg="checksum is missing or malformed: a download from a URL needs one, such as sha256:9f86d0..."
        )
    try:
        module.exit_json(**run(module))
    except PveError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
