#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_backup_job
short_description: Manage a backup job of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes a job that backs guests up by schedule.
  - An option that is given is enforced, one that is not given is left alone, an empty value removes it.
  - What a job leaves out is taken from C(/etc/vzdump.conf) of the node that a guest is on, so an option such as O(mode)
    is written to the job even if its value is the one that Proxmox VE ships with.
  - Pruning counts all backups of a guest on a storage, no matter which job made them. Two jobs with different
    O(prune_backups) on one storage delete each other's archives, and the module warns of it.
  - The older C(starttime) and C(dow) are said with O(schedule), for example C(mon,tue 02:00), and C(maxfiles) with
    O(prune_backups), for example C(keep-last=3). A job of Proxmox VE 8 that has C(maxfiles) still loses it when
    O(prune_backups) is changed.
notes:
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/), C(Datastore.Allocate) and C(Datastore.AllocateSpace) on
    the storage that the job has and the one that it gets (C(local) for a job without), C(Datastore.AllocateSpace) on
    the storage of O(fleecing) and C(VM.Backup) on C(/pool/NAME) for O(pool).
  - O(tmpdir), O(dumpdir) and O(script), and all of a job that has O(dumpdir), are reserved to C(root@pam), use
    O(api_backend=local).
seealso:
  - module: onprem.cloud.pve_backup
  - module: onprem.cloud.pve_storage
  - module: onprem.cloud.pve_pool
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.vzdump
  - onprem.cloud.pve.resource
options:
  id:
    description: Name of the job.
    type: str
    required: true
  schedule:
    description:
      - When the job runs, a calendar event such as V(sat 03:00), V(daily) or V(mon..fri 22:30). Required for a new job.
    type: str
  storage:
    description: The storage that the archives go to. It must hold backups.
    type: str
  vmid:
    description:
      - IDs of the guests to back up. Exactly one of O(vmid), O(pool) and O(all) selects the guests; giving one takes
        the place of another.
    type: list
    elements: str
  pool:
    description: The resource pool whose guests are backed up.
    type: str
  all:
    description: Whether all guests are backed up.
    type: bool
  exclude:
    description: IDs of the guests that O(all=true) leaves out.
    type: list
    elements: str
  node:
    description: The job runs on this node only.
    type: str
  enabled:
    description: Whether the job runs. A new job does.
    type: bool
  comment:
    description: What the job is for.
    type: str
  repeat_missed:
    description: Whether a run that was missed while the node was down is made up for.
    type: bool
  mode:
    description: How consistency is reached.
    type: str
    choices: [snapshot, suspend, stop]
  compress:
    description: How archives are compressed. V(0) does not compress, V(1) is the fastest method.
    type: str
    choices: ["0", "1", gzip, lzo, zstd]
  prune_backups:
    description:
      - How many backups of a guest stay on the storage, as a dict or as C(keep-last=3,keep-weekly=4). The keys are
        C(keep-last), C(keep-hourly), C(keep-daily), C(keep-weekly), C(keep-monthly), C(keep-yearly) and C(keep-all).
      - Without it the storage's own policy holds.
    type: raw
  remove:
    description: Whether backups are pruned after a run.
    type: bool
  protected:
    description: Whether new backups are protected from pruning and deletion. Needs O(storage).
    type: bool
  notes_template:
    description:
      - Notes of the backups on one line, C(\n) is a new line and C(\\) a backslash; the variables are C({{cluster}}),
        C({{guestname}}), C({{node}}) and C({{vmid}}). In a playbook they are written with the tag C(!unsafe). Needs
        O(storage).
    type: str
  notification_mode:
    description: Whether notifications follow the matchers, go to O(mailto), or whichever of them is set.
    type: str
    choices: [auto, legacy-sendmail, notification-system]
  mailto:
    description: Mail addresses or users for O(notification_mode=legacy-sendmail).
    type: list
    elements: str
  mailnotification:
    description: When a mail is sent with O(notification_mode=legacy-sendmail).
    type: str
    choices: [always, failure]
  lockwait:
    description: Minutes to wait for another backup of the node to end.
    type: int
  stopwait:
    description: Minutes to wait for a guest to stop.
    type: int
  pigz:
    description: Threads of pigz, which is used instead of gzip if above 0; 1 is half of the cores.
    type: int
  exclude_path:
    description: Files of containers to leave out, as shell globs.
    type: list
    elements: str
  stdexcludes:
    description: Whether temporary files and logs of containers are left out.
    type: bool
  tmpdir:
    description: Directory of temporary files on the node.
    type: path
  dumpdir:
    description: Directory on the node that the archives go to, in place of O(storage).
    type: path
  script:
    description: Hook script on the node.
    type: path
"""

EXAMPLES = r"""
- name: All guests but two, every night, two weeks and half a year kept
  onprem.cloud.pve_backup_job:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: nightly
    schedule: "02:30"
    storage: local
    all: true
    exclude: [900, 901]
    mode: snapshot
    compress: zstd
    prune_backups:
      keep-daily: 14
      keep-monthly: 6
    notes_template: !unsafe "{{guestname}} on {{node}}"
    repeat_missed: true

- name: The old job is gone
  onprem.cloud.pve_backup_job:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: weekly
    state: absent
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
backup_job:
  description: The job as Proxmox VE has it afterwards; C(next-run) is a Unix time.
  type: dict
  returned: success
  sample: {"id": "nightly", "schedule": "02:30", "storage": "local", "all": 1, "exclude": "900,901", "enabled": 1,
    "prune-backups": {"keep-daily": "14", "keep-monthly": "6"}, "next-run": 1795402800, "type": "vzdump"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.cluster import root_only
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    LIST,
    STR,
    Boolean,
    Number,
    Option,
    Text,
    Words,
    choice,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.vzdump import OPTIONS

SELECTIONS = ("vmid", "pool", "all")
ROOT_ONLY = ("tmpdir", "dumpdir", "script")
WITH_STORAGE = ("notes_template", "protected")  # PVE takes them together with the storage only


def guests() -> Words:
    return Words(",", unordered=True, word=r"[1-9]\d{2,8}", hint="the ID of a guest")


PATH = {"type": "path"}
TABLE = Table(
    noun="backup job",
    path="/cluster/backup",
    id="id",
    configid=True,
    required=("schedule",),
    options={
        "schedule": Option(STR, Text()),
        "storage": Option(STR, Text()),
        "vmid": Option(LIST, guests()),
        "pool": Option(STR, Text()),
        "all": Option(BOOL, Boolean(), False),
        "exclude": Option(LIST, guests()),
        "node": Option(STR, Text()),
        "enabled": Option(BOOL, Boolean(), True),
        "comment": Option(STR, Text()),
        "repeat_missed": Option(BOOL, Boolean(), False),
        **OPTIONS,
        "mailto": Option(LIST, Words(",", unordered=True)),
        "mailnotification": choice("always", "failure"),
        "lockwait": Option(INT, Number()),
        "stopwait": Option(INT, Number()),
        "pigz": Option(INT, Number()),
        "tmpdir": Option(PATH, Text()),
        "dumpdir": Option(PATH, Text()),
        "script": Option(PATH, Text()),
    },
)


class BackupJob(Resource):
    jobs: list[dict[str, Any]]
    storages: dict[str, dict[str, Any]] | None = None

    def fetch(self) -> dict[str, Any] | None:
        self.jobs = [with_retention(job) for job in self.client.get(self.path)]
        return next((job for job in self.jobs if str(job.get("id")) == self.name), None)

    def compare(self) -> None:
        super().compare()
        chosen = {name for name in SELECTIONS if self.wanted.get(name)}
        if chosen:  # it takes the place of what selected the guests before
            gone = {*SELECTIONS, "exclude"} - chosen - ({"exclude"} if "all" in chosen else set())
            self.deletes += [name for name in sorted(gone) if name not in self.wanted and self.after(name)]

    def validate(self) -> None:
        chosen = [name for name in SELECTIONS if self.after(name)]
        if not chosen:
            self.problem("no guest is selected, give vmid, pool or all")
        elif len(chosen) > 1:
            self.problem(f"{' and '.join(chosen)} exclude each other, give one of them")
        elif self.after("exclude") and not self.after("all"):
            self.problem("exclude leaves guests out of all of them, set all to true")
        for name in WITH_STORAGE:
            if name in self.sets and not self.after("storage"):
                self.problem(f"{name} needs a storage, give storage too")
        changes = {*self.sets, *self.deletes}
        mine = [name for name in ROOT_ONLY if name in changes]
        if mine:
            root_only(self, f"set {' and '.join(mine)} of a job")
        elif changes and self.raw is not None and self.current("dumpdir"):
            root_only(self, "change a job with a dumpdir")
        if self.problems:
            return
        if "schedule" in self.sets:
            self.check_schedule(self.sets["schedule"])
        if "storage" in self.sets:
            self.check_storage(self.sets["storage"])

    def check_schedule(self, schedule: str) -> None:
        try:
            self.client.get("/cluster/jobs/schedule-analyze", schedule=schedule, iterations=1)
        except PveError as error:
            if error.status != 400:
                raise
            self.problem(f"schedule: '{schedule}' is not a calendar event such as 'sat 03:00' ({error.text})")

    def check_storage(self, storage: str) -> None:
        """Proxmox VE accepts any name, and every run of the job fails."""
        found = self.storage(storage)
        if found is None:
            text = (
                f"storage '{storage}' does not exist, or the privilege Datastore.Audit to see it is missing, create it "
                "first (pve_storage) or choose another"
            )
        elif "backup" not in str(found.get("content")).split(","):
            text = f"storage '{storage}' holds no backups, add backup to its content (pve_storage) or choose another"
        else:
            return
        self.not_there(text)

    def storage(self, name: str) -> dict[str, Any] | None:
        """The storage of a name; all of them are read once."""
        if self.storages is None:
            self.storages = {storage["storage"]: storage for storage in self.client.get("/storage")}
        return self.storages.get(name)

    def gone(self) -> list[str]:
        outdated = "maxfiles" in self.raw and "prune_backups" in {*self.sets, *self.deletes}
        return [*super().gone(), *(["maxfiles"] if outdated else [])]

    def values(self, names: dict[str, Any]) -> dict[str, Any]:
        values = super().values(names)
        if any(name in names for name in WITH_STORAGE):
            values.setdefault("storage", self.after("storage"))
        return values

    def run(self) -> dict[str, Any]:
        result = super().run()
        if self.state == "present":
            self.warn_of_rivals()
        return result

    def warn_of_rivals(self) -> None:
        """Pruning counts all backups of a guest on a storage, whichever job made them."""
        mine = {name: self.after(name) for name in ("storage", "enabled", "prune_backups", *SELECTIONS, "exclude")}
        for job in self.jobs:
            theirs = {name: self.current(name, job) for name in mine}
            running = mine["enabled"] and theirs["enabled"] and job.get("id") != self.name
            if not running or not mine["storage"] or mine["storage"] != theirs["storage"] or apart(mine, theirs):
                continue
            if mine["prune_backups"] == theirs["prune_backups"]:
                continue
            kept = [self.policy(each["prune_backups"], mine["storage"]) for each in (mine, theirs)]
            if kept[0] != kept[1]:
                self.module.warn(
                    f"{self} keeps {kept[0]} on storage '{mine['storage']}' and the job '{job.get('id')}' {kept[1]}: "
                    "pruning counts all backups of a guest on a storage, so each deletes what the other keeps. Give "
                    "both the same prune_backups, or a storage each."
                )

    def policy(self, keep: dict[str, Any] | None, storage: str) -> str:
        """How many backups a job keeps; without a word of its own it is the storage's."""
        kind = self.table.options["prune_backups"].kind
        found = keep or kind.parse((self.storage(storage) or {}).get("prune-backups") or {}) or {"keep-all": True}
        return kind.format(found)


def with_retention(job: dict[str, Any]) -> dict[str, Any]:
    """A job of Proxmox VE 8 that says with maxfiles how many backups stay."""
    if "maxfiles" not in job or job.get("prune-backups"):
        return job
    most = int(job["maxfiles"])
    return {**job, "prune-backups": {"keep-last": most} if most else {"keep-all": 1}}


def apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two jobs never back up the same guest, as far as their selections tell."""
    for some, rest in ((one, other), (other, one)):
        guests_of_some = set(some["vmid"] or ())
        if guests_of_some and rest["all"] and guests_of_some <= set(rest["exclude"] or ()):
            return True
    return bool(one["vmid"] and other["vmid"] and not set(one["vmid"]) & set(other["vmid"]))


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, BackupJob)


if __name__ == "__main__":
    main()
