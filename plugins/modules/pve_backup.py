#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_backup
short_description: Back a guest of Proxmox VE up now
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Makes a backup of one guest, waits for it, and returns the archive. Each run makes another one.
  - What is not given is taken from C(/etc/vzdump.conf) of the node that the guest is on.
  - Older backups of the guest are pruned as the storage says, unless O(remove=false).
notes:
  - Needs the privileges C(VM.Backup) and C(VM.Audit) on the guest and C(Datastore.AllocateSpace) on the storage.
    O(prune_backups) needs C(Datastore.Allocate) on the storage, O(fleecing) C(Datastore.AllocateSpace) on its storage,
    O(bwlimit), O(performance) and O(ionice) need C(Sys.Modify) on C(/).
seealso:
  - module: onprem.cloud.pve_backup_job
  - module: onprem.cloud.pve_storage
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.vzdump
options:
  vmid:
    description: ID of the guest, a virtual machine or a container.
    type: int
    required: true
  storage:
    description: The storage that the archive goes to. It must hold backups.
    type: str
    required: true
  task_timeout:
    description: Seconds to wait for the backup.
    type: int
    default: 14400
  mode:
    description: How consistency is reached. A running guest is down for a while with V(suspend) and V(stop).
    type: str
    choices: [snapshot, suspend, stop]
  compress:
    description: How the archive is compressed. V(0) does not compress, V(1) is the fastest method.
    type: str
    choices: ["0", "1", gzip, lzo, zstd]
  notes_template:
    description:
      - Notes of the backup on one line, C(\n) is a new line and C(\\) a backslash; the variables are C({{cluster}}),
        C({{guestname}}), C({{node}}) and C({{vmid}}). In a playbook they are written with the tag C(!unsafe).
    type: str
  protected:
    description: Whether the backup is protected from pruning and deletion.
    type: bool
  remove:
    description: Whether older backups of the guest are pruned afterwards.
    type: bool
  prune_backups:
    description:
      - How many backups of the guest stay on the storage, as a dict or as C(keep-last=3,keep-weekly=4), in place of the
        storage's own policy. The keys are C(keep-last), C(keep-hourly), C(keep-daily), C(keep-weekly), C(keep-monthly),
        C(keep-yearly) and C(keep-all).
    type: raw
  exclude_path:
    description: Files of a container to leave out, as shell globs.
    type: list
    elements: str
  stdexcludes:
    description: Whether temporary files and logs of a container are left out.
    type: bool
  notification_mode:
    description: Whether notifications follow the matchers, or the older mail settings.
    type: str
    choices: [auto, legacy-sendmail, notification-system]
"""

EXAMPLES = r"""
- name: A backup before the upgrade
  onprem.cloud.pve_backup:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vmid: 100
    storage: local
    compress: zstd
    remove: false
    notes_template: !unsafe "{{guestname}} before the upgrade"
  register: backup

- name: Where it is
  ansible.builtin.debug:
    var: backup.archive
"""

RETURN = r"""
archive:
  description: ID of the volume that holds the backup.
  type: str
  returned: success, and not in check mode
  sample: local:backup/vzdump-lxc-100-2026_11_22-14_36_50.tar.zst
size:
  description: Size of the archive in bytes.
  type: int
  returned: success, and not in check mode
  sample: 57909530
node:
  description: The node that the guest is on; in check mode, empty if the guest does not exist yet.
  type: str
  returned: success
  sample: pve1
log:
  description: The last lines of the backup's log.
  type: list
  elements: str
  returned: success, and not in check mode
  sample: ["INFO: archive file size: 55MB", "INFO: Backup job finished successfully", "TASK OK"]
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import LAST_LINES
from ansible_collections.onprem.cloud.plugins.module_utils.pve.vzdump import OPTIONS

ARCHIVE = re.compile(r"creating (?:vzdump|Proxmox Backup Server) archive '(?:[^']*/)?([^'/]+)'")


REQUEST = Table(
    noun="backup",
    path="",
    options=OPTIONS,
    places={
        "vmid": {"type": "int", "required": True},
        "storage": {"type": "str", "required": True},
        "task_timeout": {"type": "int", "default": 14400},
    },
)


class Backup(Resource):
    """A request, and what came of it."""

    def __str__(self) -> str:
        return f"backup of guest {self.params['vmid']}"

    def run(self) -> dict[str, Any]:
        self.parse()
        vmid, storage = self.params["vmid"], self.params["storage"]
        guests = self.client.get("/cluster/resources", type="vm")
        node = next((guest["node"] for guest in guests if guest["vmid"] == vmid), "")
        if node:
            self.check_storage(node, storage)
        else:
            self.not_there("there is no such guest, or the privilege VM.Audit to see it is missing, check vmid")
        if self.problems:
            raise PveError("\n".join(self.problems))
        request = {"vmid": vmid, "storage": storage}
        request.update(self.values({name: value for name, value in self.wanted.items() if value is not None}))
        result = {"changed": True, "node": node, "diff": {"before": {}, "after": {"guest": vmid, "storage": storage}}}
        return result if self.module.check_mode else {**result, **self.back_up(node, request)}

    def check_storage(self, node: str, storage: str) -> None:
        """A backup to a storage that cannot take it fails after it has begun."""
        able = {found["storage"]: found for found in self.client.get(f"/nodes/{node}/storage", content="backup")}
        if storage not in able:
            known = f"choose of {', '.join(sorted(able))}" if able else "there is none"
            self.not_there(f"storage '{storage}' holds no backups on node '{node}', {known}")
        elif not able[storage].get("active"):
            self.problem(f"storage '{storage}' is not online on node '{node}', bring it back or choose another")

    def back_up(self, node: str, request: dict[str, Any]) -> dict[str, Any]:
        upid = self.tasks.once(
            lambda: self.client.post(f"/nodes/{node}/vzdump", **request),
            str(self),
            node=node,
            kind="vzdump",
            vmid=request["vmid"],
        )
        if not str(upid).startswith("UPID:"):
            raise PveError(f"{self}: node '{node}' made none, as the guest has left it meanwhile: run again.")
        answer = self.client.get(f"/nodes/{node}/tasks/{upid}/log", limit=5000)
        lines = [str(entry.get("t", "")) for entry in answer]
        names = [match[1] for match in map(ARCHIVE.search, lines) if match]
        content = self.client.get(
            f"/nodes/{node}/storage/{request['storage']}/content", content="backup", vmid=request["vmid"]
        )
        found = next((item for item in content if names and item["volid"].endswith(f"/{names[-1]}")), None)
        if found is None:
            raise PveError(
                f"{self}: the task ended well, and storage '{request['storage']}' does not show its archive: look "
                f"whether its policy prunes new backups. The task's last lines: {' | '.join(lines[-LAST_LINES:])}"
            )
        return {"archive": found["volid"], "size": found["size"], "log": lines[-LAST_LINES:]}


def main() -> None:
    run(AnsibleModule(argument_spec(REQUEST), supports_check_mode=True), REQUEST, Backup)


if __name__ == "__main__":
    main()
