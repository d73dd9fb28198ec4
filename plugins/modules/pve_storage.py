#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_storage
short_description: Manage a storage of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes the entry of a storage in the configuration of the datacenter.
  - Deleting an entry never deletes data. What is on the storage stays there, and a new entry brings it back.
  - An option that is given is enforced, one that is not given is left alone, an empty value removes it.
  - The options that say where the data is (O(type), O(path), O(server), O(export), O(share), O(portal), O(target),
    O(datastore), O(vgname), O(thinpool), O(base), and O(pool) of ZFS) never change once the entry exists.
notes:
  - Needs the privileges C(Datastore.Allocate) and C(Datastore.Audit) on C(/storage).
  - Passwords and keys cannot be read back. They are sent when the entry is created, and with O(update_password=always)
    each time.
seealso:
  - module: onprem.cloud.pve_backup_job
  - module: onprem.cloud.pve_pool
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  storage:
    description: Name of the storage.
    type: str
    required: true
  type:
    description: What kind of storage it is. Required for a new one.
    type: str
    choices: [dir, btrfs, lvm, lvmthin, zfspool, nfs, cifs, rbd, cephfs, pbs, iscsi]
  content:
    description:
      - What may be stored, as a set of V(images) (disks of virtual machines), V(rootdir) (of containers), V(vztmpl),
        V(iso), V(backup), V(snippets) and V(import), as far as the type can hold it.
      - An empty list is the same as V(none), which V(dir), V(btrfs), V(iscsi) and V(pbs) know.
    type: list
    elements: str
  nodes:
    description: The nodes that have the storage. All of them if it is empty.
    type: list
    elements: str
  disable:
    description: Whether the storage is disabled.
    type: bool
  shared:
    description:
      - Whether all nodes see the same data under this name, which does not make it so. For V(dir), V(btrfs) and V(lvm);
        storages on the network are always shared.
    type: bool
  path:
    description: The directory, for V(dir) and V(btrfs). Where it is mounted, for V(nfs), V(cifs) and V(cephfs).
    type: path
  is_mountpoint:
    description:
      - V(yes) or the path of a mount point, if the directory is on a filesystem that must be mounted for the storage to
        be online.
    type: str
  create_base_path:
    description: Whether the directory is created.
    type: bool
  create_subdirs:
    description: Whether the directories for the kinds of content are created.
    type: bool
  content_dirs:
    description: Other directories for kinds of content, as a dict or as C(iso=images/iso,backup=dump).
    type: raw
  format:
    description: Format of new disks.
    type: str
    choices: [raw, qcow2, subvol, vmdk]
  preallocation:
    description: How much space a new disk takes at once.
    type: str
    choices: ["off", metadata, falloc, full]
  snapshot_as_volume_chain:
    description: Whether snapshots are chains of volumes. Fixed for storages with files.
    type: bool
  nocow:
    description: Whether copy-on-write is off for V(btrfs), and its checksums with it.
    type: bool
  prune_backups:
    description:
      - How many backups of a guest stay, as a dict or as C(keep-last=3,keep-weekly=4). The keys are C(keep-last),
        C(keep-hourly), C(keep-daily), C(keep-weekly), C(keep-monthly), C(keep-yearly) and C(keep-all).
      - All of them stay if it is empty.
    type: raw
  max_protected_backups:
    description: How many backups of a guest may be protected. V(-1) is any number.
    type: int
  bwlimit:
    description:
      - Limits of the bandwidth in KiB/s, as a dict or as C(restore=100000,clone=50000). The keys are C(clone),
        C(default), C(migration), C(move) and C(restore).
    type: raw
  server:
    description: Name or address of the server of V(nfs), V(cifs) or V(pbs).
    type: str
  export:
    description: Path that the server exports, for V(nfs).
    type: str
  share:
    description: Share of the server, for V(cifs).
    type: str
  subdir:
    description: Directory of the share or of the filesystem to mount, for V(cifs) and V(cephfs).
    type: str
  options:
    description: Mount options of V(nfs), V(cifs) or V(cephfs).
    type: str
  username:
    description: User of V(cifs), V(pbs), V(rbd) or V(cephfs).
    type: str
  password:
    description: Password of O(username) for V(cifs), or of the user or token for V(pbs).
    type: str
  domain:
    description: Domain of O(username), for V(cifs).
    type: str
  smbversion:
    description: Version of the protocol of V(cifs).
    type: str
    choices: [default, "2.0", "2.1", "3", "3.0", "3.11"]
  vgname:
    description: Volume group, for V(lvm) and V(lvmthin).
    type: str
  thinpool:
    description: Thin pool in the volume group, for V(lvmthin).
    type: str
  base:
    description: The volume of an V(iscsi) storage that the group of V(lvm) is on.
    type: str
  saferemove:
    description: Whether the data of a removed V(lvm) volume is overwritten with zeros.
    type: bool
  saferemove_throughput:
    description: Limit for O(saferemove), in bytes per second.
    type: str
  saferemove_stepsize:
    description: MiB that O(saferemove) overwrites at once.
    type: int
    choices: [1, 2, 4, 8, 16, 32]
  tagged_only:
    description: Whether only V(lvm) volumes with the tag C(pve-vm-ID) count.
    type: bool
  pool:
    description: ZFS pool or dataset for V(zfspool), Ceph pool for V(rbd).
    type: str
  blocksize:
    description: Block size of volumes of V(zfspool), such as V(16k).
    type: str
  sparse:
    description: Whether volumes of V(zfspool) take only the space that they need.
    type: bool
  mountpoint:
    description: Where the dataset of V(zfspool) is mounted.
    type: path
  monhost:
    description: Addresses of the monitors of a Ceph cluster elsewhere, for V(rbd) and V(cephfs).
    type: list
    elements: str
  data_pool:
    description: Erasure-coded Ceph pool for the data, for V(rbd).
    type: str
  namespace:
    description: Namespace in the pool of V(rbd) or in the datastore of V(pbs).
    type: str
  krbd:
    description: Whether the kernel maps volumes of V(rbd).
    type: bool
  keyring:
    description: Key of a Ceph cluster elsewhere, for V(rbd) and V(cephfs).
    type: str
  fs_name:
    description: Name of the Ceph filesystem, for V(cephfs).
    type: str
  fuse:
    description: Whether V(cephfs) is mounted with FUSE.
    type: bool
  datastore:
    description: Datastore of Proxmox Backup Server, for V(pbs).
    type: str
  port:
    description: Port of V(pbs), 8007 unless given.
    type: int
  fingerprint:
    description: SHA-256 fingerprint of the certificate of V(pbs).
    type: str
  encryption_key:
    description:
      - Key in JSON that backups to V(pbs) are encrypted with, or V(autogen) to make one if the storage has none.
        Proxmox VE keeps it in C(/etc/pve/priv/storage) of the node. Keep a copy, backups cannot be read without it.
      - An empty text removes it.
    type: str
  master_pubkey:
    description: RSA key in PEM and Base64 that a copy of O(encryption_key) is encrypted with, for V(pbs).
    type: str
  portal:
    description: Address of the target, with its port if that is not 3260, for V(iscsi).
    type: str
  target:
    description: Name of the target, for V(iscsi).
    type: str
  update_password:
    description: Whether passwords and keys are sent to a storage that exists. Then the module always reports a change.
    type: str
    choices: [always, on_create]
    default: on_create
"""

EXAMPLES = r"""
- name: Backups go to a server of the network
  onprem.cloud.pve_storage:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    storage: backups
    type: nfs
    server: 192.0.2.9
    export: /srv/backups
    content: [backup]
    prune_backups:
      keep-daily: 14
      keep-monthly: 6

- name: A Proxmox Backup Server
  onprem.cloud.pve_storage:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    storage: pbs
    type: pbs
    server: 192.0.2.10
    datastore: main
    username: backup@pbs
    password: "{{ vault_pbs_password }}"

- name: The entry of an old storage is gone, its data is not
  onprem.cloud.pve_storage:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    storage: old
    state: absent
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
storage:
  description: The entry as Proxmox VE has it afterwards, without secrets.
  type: dict
  returned: success
  sample: {"storage": "backups", "type": "nfs", "server": "192.0.2.9", "export": "/srv/backups", "content": "backup",
    "path": "/mnt/pve/backups", "prune-backups": "keep-daily=14,keep-monthly=6", "shared": 1}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    FALSE,
    INT,
    LIST,
    RAW,
    STR,
    TRUE,
    Boolean,
    Number,
    Option,
    PropertyString,
    Retention,
    Text,
    Words,
    choice,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

CONTENT = ("images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import")
EVERY = "content nodes disable"
FILES = f"{EVERY} path content_dirs create_base_path create_subdirs prune_backups max_protected_backups format"
IMAGES = f"{FILES} bwlimit preallocation snapshot_as_volume_chain"
# What a type knows besides its own content: what it must have, and what it may.
TYPES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "dir": ((*CONTENT, "none"), "path", f"{IMAGES} shared is_mountpoint"),
    "btrfs": (
        (*CONTENT, "none"),
        "path",
        f"{EVERY} path create_base_path create_subdirs prune_backups max_protected_backups format preallocation shared "
        "is_mountpoint nocow",
    ),
    "nfs": (CONTENT, "server export", f"{IMAGES} options"),
    "cifs": (CONTENT, "server share", f"{IMAGES} options subdir username password domain smbversion"),
    "cephfs": (
        ("vztmpl", "iso", "backup", "snippets", "import"),
        "",
        f"{FILES} bwlimit options subdir username monhost keyring fs_name fuse",
    ),
    "lvm": (
        ("images", "rootdir"),
        "vgname",
        f"{EVERY} bwlimit shared base saferemove saferemove_throughput saferemove_stepsize tagged_only "
        "snapshot_as_volume_chain",
    ),
    "lvmthin": (("images", "rootdir"), "vgname thinpool", f"{EVERY} bwlimit"),
    "zfspool": (("images", "rootdir"), "pool", f"{EVERY} bwlimit blocksize sparse mountpoint"),
    "rbd": (
        ("images", "rootdir"),
        "",
        f"{EVERY} bwlimit pool data_pool namespace monhost username keyring krbd",
    ),
    "iscsi": (("images", "none"), "portal target", f"{EVERY} bwlimit"),
    "pbs": (
        ("backup", "none"),
        "server datastore",
        f"{EVERY} prune_backups max_protected_backups namespace port username password fingerprint encryption_key "
        "master_pubkey",
    ),
}
# What is fixed for some types only.
FIXED = {"pool": ("zfspool",), "snapshot_as_volume_chain": ("dir", "nfs", "cifs")}


class MountPoint(Text):
    """Yes, no, or a path."""

    def parse(self, value: Any) -> str:
        text = str(value).strip()
        return {**dict.fromkeys(TRUE, "yes"), **dict.fromkeys(FALSE, "no")}.get(text.lower(), text)


class Fingerprint(Text):
    def parse(self, value: Any) -> str:
        return super().parse(str(value).upper())


def fixed(spec: dict[str, Any] = STR) -> Option:
    return Option(spec, Text(), fixed=True)


def flag(default: bool = False, key: str = "") -> Option:
    return Option(BOOL, Boolean(), default, key=key)


def secret() -> Option:
    return Option({**STR, "no_log": True}, Text(), secret=True)


PATH = {"type": "path"}
PRINT = Fingerprint((), "([0-9A-F]{2}:){31}[0-9A-F]{2}", "a SHA-256 fingerprint, 32 bytes in hex joined by colons")
LIMITS = {key: Number(integer=False) for key in ("clone", "default", "migration", "move", "restore")}
STEPS = (1, 2, 4, 8, 16, 32)
TABLE = Table(
    noun="storage",
    path="/storage",
    id="storage",
    required=("type",),
    options={
        "type": Option({**STR, "choices": list(TYPES)}, Text(), fixed=True),
        "content": Option(LIST, Words(",", unordered=True), ["none"]),
        "nodes": Option(LIST, Words(",", unordered=True)),
        "disable": flag(),
        "shared": flag(),
        "path": fixed(PATH),
        "is_mountpoint": Option(STR, MountPoint(), "no", key="is_mountpoint"),
        "create_base_path": flag(True),
        "create_subdirs": flag(True),
        "content_dirs": Option(RAW, PropertyString({kind: Text() for kind in CONTENT})),
        "format": choice("raw", "qcow2", "subvol", "vmdk", default="raw"),
        "preallocation": choice("off", "metadata", "falloc", "full", default="metadata"),
        "snapshot_as_volume_chain": flag(),
        "nocow": flag(),
        "prune_backups": Option(RAW, Retention(), {"keep-all": True}),
        "max_protected_backups": Option(INT, Number(-1)),
        "bwlimit": Option(RAW, PropertyString(LIMITS)),
        "server": fixed(),
        "export": fixed(),
        "share": fixed(),
        "subdir": Option(STR, Text()),
        "options": Option(STR, Text()),
        "username": Option(STR, Text()),
        "password": secret(),
        "domain": Option(STR, Text()),
        "smbversion": choice("default", "2.0", "2.1", "3", "3.0", "3.11", default="default"),
        "vgname": fixed(),
        "thinpool": fixed(),
        "base": fixed(),
        "saferemove": flag(),
        "saferemove_throughput": Option(STR, Text(), key="saferemove_throughput"),
        "saferemove_stepsize": Option({**INT, "choices": list(STEPS)}, Number(1, 32), 32),
        "tagged_only": flag(key="tagged_only"),
        "pool": Option(STR, Text()),
        "blocksize": Option(STR, Text()),
        "sparse": flag(),
        "mountpoint": Option(PATH, Text()),
        "monhost": Option(LIST, Words(" ", unordered=True)),
        "data_pool": Option(STR, Text()),
        "namespace": Option(STR, Text()),
        "krbd": flag(),
        "keyring": secret(),
        "fs_name": Option(STR, Text()),
        "fuse": flag(),
        "datastore": fixed(),
        "port": Option(INT, Number(1, 65535), 8007),
        "fingerprint": Option(STR, PRINT),
        "encryption_key": secret(),
        "master_pubkey": secret(),
        "portal": fixed(),
        "target": fixed(),
    },
)


class Storage(Resource):
    @property
    def type(self) -> str:
        return self.current("type") if self.raw else self.params["type"] or ""

    def is_fixed(self, option: str) -> bool:
        return super().is_fixed(option) or self.type in FIXED.get(option, ())

    def parse(self) -> None:
        super().parse()
        if "content" in self.wanted and self.wanted["content"] is None:
            self.wanted["content"] = ["none"]
        for name in ("password", "keyring", "master_pubkey"):
            if name in self.wanted and self.wanted[name] is None:  # nobody can tell whether there is one to remove
                self.problem(f"{name} is empty, give it a value or leave it out")

    def compare(self) -> None:
        super().compare()
        if self.raw is None or "encryption_key" not in self.wanted:
            return
        key, there = self.wanted["encryption_key"], self.raw.get("encryption-key")  # its fingerprint, if there is one
        if key is None and there:
            self.deletes.append("encryption_key")
        elif key == "autogen" and there:  # another key would make the old backups unreadable
            self.sets.pop("encryption_key", None)
        elif key and not there:
            self.sets["encryption_key"] = key

    def validate(self) -> None:
        if self.type not in TYPES:  # none of those that this module knows
            return
        contents, needed, known = TYPES[self.type]
        for name in (*self.sets, *self.deletes):
            if name != "type" and name not in (*known.split(), *needed.split()):
                self.problem(f"{name} is not an option of a storage of type {self.type}, leave it out")
        for name in needed.split():
            if self.raw is None and self.wanted.get(name) is None:
                self.problem(f"{name} is missing, a new storage of type {self.type} needs it")
        for name in self.deletes:
            if self.is_fixed(name):
                self.problem(f"{name} cannot be taken away from a storage of type {self.type}, leave it out")
        wanted = self.sets.get("content", [])
        for content in wanted:
            if content not in contents:
                self.problem(
                    f"content: a storage of type {self.type} cannot hold '{content}', choose of {', '.join(contents)}"
                )
        if "none" in wanted and len(wanted) > 1:
            self.problem("content: none stands alone, leave it or the others out")
        for name in ("path", "mountpoint", "subdir"):
            if not str(self.sets.get(name) or "/").startswith("/"):
                self.problem(f"{name}: '{self.sets[name]}' is not an absolute path, begin it with /")


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, Storage)


if __name__ == "__main__":
    main()
