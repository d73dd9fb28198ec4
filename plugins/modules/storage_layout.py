#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: storage_layout
short_description: Manage ZFS pools, LVM and directories on the disks of a machine
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates ZFS pools and datasets, LVM volume groups and logical volumes, and directories on file systems of their own,
    and makes them bigger. What a machine has and is not declared stays as it is.
  - First everything is looked at and the whole way is planned. If anything stands in it, all of that is said, and
    nothing is changed.
  - A disk is put to use only if nothing is on it, neither a partition table nor a file system, a part of a pool, a
    volume of LVM or of a RAID. Nothing is ever removed, formatted again or made smaller because a setting differs.
  - A pool that is on its disks and not imported is imported.
notes:
  - Disks are named by their links in C(/dev/disk/by-id), which are the same after every reboot.
  - A difference that cannot be mended without loss, such as a mirror where RAID-Z is declared, is a warning.
  - Debian's cron job scrubs all pools and trims those on SSDs. It is told to leave a pool alone for which anything but
    V(auto) is declared.
  - The programs of what is declared (C(zpool), C(vgcreate), C(mkfs.xfs), ...) must be installed. In check mode they may
    be missing.
seealso:
  - module: onprem.cloud.pve_storage
extends_documentation_fragment:
  - onprem.cloud.host.attributes
options:
  pools:
    description: Pools of ZFS.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the pool.
        type: str
        required: true
      vdevs:
        description:
          - What the data is on. The pool is grown by another entry. Needed for a pool that is not there.
        type: list
        elements: dict
        default: []
        suboptions:
          type:
            description: How the data is spread over the disks of this entry.
            type: str
            choices: [single, mirror, raidz1, raidz2, raidz3]
            default: mirror
          disks:
            description: The disks.
            type: list
            elements: path
            required: true
      logs:
        description: What writes that must be safe at once are noted on (SLOG).
        type: list
        elements: dict
        default: []
        suboptions:
          type:
            description: How it is spread over the disks of this entry.
            type: str
            choices: [single, mirror]
            default: mirror
          disks:
            description: The disks.
            type: list
            elements: path
            required: true
      cache:
        description: Disks that what is read often is kept on (L2ARC).
        type: list
        elements: path
        default: []
      ashift:
        description: Size of a sector as a power of two, for disks that are added.
        type: int
        default: 12
      properties:
        description: Properties of the pool, such as C(autotrim=on) and C(autoexpand=on).
        type: dict
        default: {}
      scrub:
        description:
          - How often all data is read and compared with its checksums, by the timer that comes with OpenZFS. V(auto)
            leaves it to the distribution.
        type: str
        choices: [auto, monthly, weekly, never]
        default: monthly
      trim:
        description:
          - How often the disks are told what is free, by the timer that comes with OpenZFS. V(auto) leaves it to the
            distribution. A timer is for disks that know of it, as SSDs do.
        type: str
        choices: [auto, monthly, weekly, never]
        default: auto
  datasets:
    description: File systems of ZFS, each after the one it is in. The name of a pool stands for its first one.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, with that of the pool.
        type: str
        required: true
      properties:
        description:
          - Properties, such as C(compression=zstd), C(quota=500G) and C(mountpoint=/srv/files). Units are powers of
            1024.
        type: dict
        default: {}
  volume_groups:
    description: Volume groups of LVM.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group.
        type: str
        required: true
      disks:
        description: Disks of the group. It is grown by another one.
        type: list
        elements: path
        default: []
  logical_volumes:
    description: Logical volumes of LVM.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the volume.
        type: str
        required: true
      group:
        description: Its volume group.
        type: str
        required: true
      size:
        description: Size such as V(400G), in powers of 1024. A smaller volume is grown, with the file system on it.
        type: str
        required: true
      type:
        description: V(thin_pool) is what Proxmox VE makes thin volumes in.
        type: str
        choices: [linear, thin_pool]
        default: linear
  directories:
    description: Directories, each on a file system of its own.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is mounted.
        type: path
        required: true
      device:
        description: A logical volume such as V(/dev/pve/db), or a disk. If it is empty, the file system is made.
        type: path
        required: true
      filesystem:
        description: The file system.
        type: str
        choices: [ext4, xfs]
        default: ext4
      options:
        description: Options of the mount.
        type: str
        default: defaults,nofail
  doctor:
    description: Whether to look only, and to tell in RV(problems) what stands in the way instead of failing.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A mirror with a dataset, and a directory for databases
  onprem.cloud.storage_layout:
    pools:
      - name: tank
        vdevs:
          - disks: [/dev/disk/by-id/ata-EXAMPLE_SER0001, /dev/disk/by-id/ata-EXAMPLE_SER0002]
    datasets:
      - name: tank
        properties: {compression: lz4, atime: false}
      - name: tank/files
        properties: {quota: 500G}
    logical_volumes:
      - {name: db, group: pve, size: 400G}
    directories:
      - {path: /srv/db, device: /dev/pve/db}
"""

RETURN = r"""
steps:
  description: What was done, a sentence each. In check mode and with O(doctor=true), what would be done.
  type: list
  elements: str
  returned: success
  sample: ["create the dataset tank/files (quota=500G)"]
problems:
  description: What stands in the way. Without O(doctor=true), the module fails with it.
  type: list
  elements: str
  returned: success
  sample: []
missing:
  description: Programs of what is declared that are not installed.
  type: list
  elements: str
  returned: success
  sample: [mkfs.xfs]
differences:
  description: What is not as declared and is left so, as warnings say too.
  type: list
  elements: str
  returned: success
  sample: ["the pool tank was created with ashift=9, declared is 12: that cannot be changed."]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.host.files import Failed, Files, runner
from ansible_collections.onprem.cloud.plugins.module_utils.host.storage import Found, Plan, carry_out, missing

PARTS = ("pools", "datasets", "volume_groups", "logical_volumes", "directories")


def dicts(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "options": options, **more}


def spec() -> dict[str, Any]:
    def text(*choices: str, default: str = "") -> dict[str, Any]:
        return {"type": "str", **({"choices": list(choices), "default": default} if choices else {"required": True})}

    disks = {"type": "list", "elements": "path"}
    nothing: dict[str, Any] = {"default": []}
    properties = {"type": "dict", "default": {}}
    kinds = text("single", "mirror", "raidz1", "raidz2", "raidz3", default="mirror")
    vdev = {"type": kinds, "disks": {**disks, "required": True}}
    log = {**vdev, "type": text("single", "mirror", default="mirror")}
    pool = {
        "name": text(), "vdevs": dicts(vdev, **nothing), "logs": dicts(log, **nothing), "cache": {**disks, **nothing},
        "ashift": {"type": "int", "default": 12}, "properties": properties,
        "scrub": text("auto", "monthly", "weekly", "never", default="monthly"),
        "trim": text("auto", "monthly", "weekly", "never", default="auto"),
    }  # fmt: skip
    volume = {"name": text(), "group": text(), "size": text(), "type": text("linear", "thin_pool", default="linear")}
    path = {"type": "path", "required": True}
    directory = {
        "path": path, "device": path, "filesystem": text("ext4", "xfs", default="ext4"),
        "options": {"type": "str", "default": "defaults,nofail"},
    }  # fmt: skip
    return {
        "pools": dicts(pool, **nothing),
        "datasets": dicts({"name": text(), "properties": properties}, **nothing),
        "volume_groups": dicts({"name": text(), "disks": {**disks, **nothing}}, **nothing),
        "logical_volumes": dicts(volume, **nothing),
        "directories": dicts(directory, **nothing),
        "doctor": {"type": "bool", "default": False},
    }


def run(module: AnsibleModule, root: str = "/") -> None:
    files, run_program = Files(root), runner(module)
    wanted = {part: module.params[part] for part in PARTS}
    try:
        plan = Plan(wanted, Found(files, run_program))
        if plan.problems and not module.params["doctor"]:
            module.fail_json(msg=" ".join(plan.problems), problems=plan.problems)
        steps = [step.text for step in plan.steps]
        if not module.check_mode and not module.params["doctor"]:
            steps = act(files, run_program, wanted, plan)
    except Failed as error:
        module.fail_json(msg=str(error))
    for warning in plan.warnings:
        module.warn(warning)
    told = "".join(f"{step}\n" for step in steps)
    module.exit_json(
        changed=bool(steps) and not module.params["doctor"],
        steps=steps,
        problems=plan.problems,
        missing=missing(wanted, files),
        differences=plan.warnings,
        diff={"before": "", "after": told} if told else {},
    )


def act(files: Files, run_program: Any, wanted: dict[str, Any], plan: Plan) -> list[str]:
    """Carry a plan out, and what can be seen only then, such as the datasets of a pool that was imported."""
    done: list[str] = []
    for _round in range(3):
        if not plan.steps:
            return done
        done += carry_out(files, run_program, plan.steps)
        plan = Plan(wanted, Found(files, run_program))
        if plan.problems:
            break
    raise Failed(
        f"Done: {'; '.join(done)}. After that, this is still not as declared: "
        f"{'; '.join(plan.problems or [step.text for step in plan.steps])}"
    )


def main() -> None:
    run(AnsibleModule(spec(), supports_check_mode=True))


if __name__ == "__main__":
    main()
