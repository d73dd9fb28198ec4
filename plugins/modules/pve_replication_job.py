#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_replication_job
short_description: Manage a replication job of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a job that copies the disks of a guest on ZFS to another node by schedule.
  - An option that is given is enforced, one that is not given is left alone, an empty value removes it.
  - A deleted job is gone once the node of the guest has cleaned up after it, which it does with its next run. Until
    then the module counts it as deleted.
notes:
  - Needs the privileges C(VM.Replicate) and C(VM.Audit) on the guest. Proxmox VE 8 has no C(VM.Replicate), there
    C(Datastore.Allocate) on C(/storage) takes its place.
seealso:
  - module: onprem.cloud.pve_backup_job
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  id:
    description: ID of the guest, a dash and a number, such as V(100-0). A guest has a job for each target.
    type: str
    required: true
  target:
    description: The node that the disks are copied to. Required for a new job, and fixed.
    type: str
  schedule:
    description: When the job runs, a calendar event such as V(*/15) or V(22:00). Every quarter of an hour unless given.
    type: str
  rate:
    description: Limit of the bandwidth in MB/s, 1 or more. V(0) is no limit.
    type: float
  comment:
    description: What the job is for.
    type: str
  disable:
    description: Whether the job is disabled.
    type: bool
  keep:
    description: Whether the copies stay on the target when the job is deleted.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A copy of the database on the second node, no older than ten minutes
  onprem.cloud.pve_replication_job:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: 100-0
    target: pve2
    schedule: "*/10"
    rate: 50
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
replication_job:
  description: The job as Proxmox VE has it afterwards.
  type: dict
  returned: success
  sample: {"id": "100-0", "guest": 100, "jobnum": 0, "type": "local", "target": "pve2", "schedule": "*/10", "rate": 50}
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    FLOAT,
    STR,
    Boolean,
    Invalid,
    Number,
    Option,
    Text,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run


class Rate(Number):
    """Megabytes in a second; no limit is no option."""

    def parse(self, value: Any) -> Any:
        rate = super().parse(value)
        if 0 < rate < 1:
            raise Invalid(f"{value} is out of range, it must be at least 1, or 0 for no limit")
        return rate or None


TABLE = Table(
    noun="replication job",
    path="/cluster/replication",
    id="id",
    required=("target",),
    options={
        "target": Option(STR, Text(), fixed=True),
        "schedule": Option(STR, Text(), "*/15"),
        "rate": Option(FLOAT, Rate(integer=False)),
        "comment": Option(STR, Text(), ""),
        "disable": Option(BOOL, Boolean(), False),
    },
    places={"keep": {"type": "bool", "default": False}},
)


class ReplicationJob(Resource):
    jobs: dict[str, dict[str, Any]]

    def fetch(self) -> dict[str, Any] | None:
        if not re.fullmatch(r"[1-9]\d{2,8}-(0|[1-9]\d{0,8})", self.name):
            raise PveError(f"{self}: the id is that of a guest, a dash and a number, write for example 100-0.")
        self.jobs = {str(job["id"]): job for job in self.client.get(self.path)}
        if self.name not in self.jobs:
            return None
        found = {**self.jobs[self.name], **self.client.get(self.item_path)}
        if not found.get("remove_job"):
            return found
        if self.state == "present":
            raise PveError(f"{self} is being deleted: run again when it is gone, or choose another number.")
        return None

    def validate(self) -> None:
        if "schedule" in self.sets:
            self.check_schedule(self.sets["schedule"])
        if self.raw is None and "target" in self.sets:
            self.check_target(self.name.partition("-")[0], self.sets["target"])

    def check_schedule(self, schedule: str) -> None:
        try:
            self.client.get("/cluster/jobs/schedule-analyze", schedule=schedule, iterations=1)
        except PveError as error:
            if error.status != 400:
                raise
            self.problem(f"schedule: '{schedule}' is not a calendar event such as '*/15' ({error.text})")

    def check_target(self, vmid: str, target: str) -> None:
        nodes = sorted(node["node"] for node in self.client.get("/nodes"))
        if target not in nodes:
            self.problem(f"target: there is no node '{target}', choose of {', '.join(nodes)}")
        guests = {str(guest["vmid"]): guest["node"] for guest in self.client.get("/cluster/resources", type="vm")}
        if guests.get(vmid) == target:
            self.problem(f"target: guest {vmid} is on node '{target}' itself, choose another")
        elif vmid not in guests:
            self.not_there(f"guest {vmid} does not exist", ", create it first")
        for name, job in self.jobs.items():
            if name.partition("-")[0] == vmid and job.get("target") == target:
                self.problem(
                    f"target: the job '{name}' copies guest {vmid} to node '{target}' already, change that or choose "
                    "another node"
                )

    def create(self) -> Any:
        return self.client.post(self.path, id=self.name, type="local", **self.values(self.sets))

    def delete(self) -> Any:
        return self.client.delete(self.item_path, **({"keep": 1} if self.params["keep"] else {}))


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, ReplicationJob)


if __name__ == "__main__":
    main()
