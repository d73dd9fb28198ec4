# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine knows of guests and of containers; virtual machines are in ``qemu``.

An option is written once: the type it has in Ansible, its kind in PVE, and what its absence means.
"""

from __future__ import annotations

import re
from typing import Any, Callable, NamedTuple

from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    DICT,
    FLOAT,
    INT,
    LIST,
    RAW,
    STR,
    Address,
    Boolean,
    Mac,
    Mount,
    Network,
    Note,
    Number,
    Option,
    PropertyString,
    Size,
    Text,
    Words,
)


class Kind(NamedTuple):
    """A kind of guest."""

    path: str
    label: str  # what PVE's messages call it
    noun: str
    name_key: str  # the key that holds its name
    renamed: dict[str, str]  # options that PVE names differently
    options: dict[str, Option]
    numbered: dict[str, Option]  # options that are a dict of numbered keys: net0, mp3, dev1
    # Whether only root@pam may bring a key from its old to its new text, both as PVE spells them, empty for none.
    reserved: Callable[[str, str, str], bool]
    required: tuple[str, ...] = ()  # options that cannot be removed
    content: str = "rootdir"  # what a storage must take to hold its disks
    tool: str = "pct"  # the node's command for it
    local: str = ""  # what of its configuration belongs to the node (a regular expression)

    def tied(self, key: str, value: str) -> bool:
        """Whether what this key holds is part of the node, so that the guest cannot leave it."""
        return bool(re.fullmatch(self.local, f"{key}: {value}"))

    def option(self, key: str) -> Option | None:
        """The option behind a configuration key, numbered ones included."""
        stem = key.rstrip("0123456789")
        if stem != key:
            for name, item in self.numbered.items():
                if stem == (item.key or name):
                    return item
        return self.options.get(key)


NET = PropertyString(
    {
        "name": Text(), "bridge": Text(), "firewall": Boolean(), "gw": Address(), "gw6": Address(),
        "host-managed": Boolean(), "hwaddr": Mac(), "ip": Network(4, ("dhcp", "manual")),
        "ip6": Network(6, ("auto", "dhcp", "manual")), "link_down": Boolean(), "mtu": Number(64, 65535),
        "rate": Number(0, integer=False), "tag": Number(1, 4094), "trunks": Words(";", unordered=True, split=";"),
        "type": Text(("veth",)),
    },
    defaults={"firewall": False, "link_down": False, "host-managed": False},
    required=("name", "bridge"), kept=("hwaddr", "type"), first=("name", "bridge"),
)  # fmt: skip


class Volume(Mount):
    """A volume of a container, or a path of the node in its place."""

    def flaw(self, wanted: dict[str, Any]) -> str:
        """Why a new volume cannot be made, if it cannot."""
        volume = wanted.get("volume", "")
        if volume and not volume.startswith("/"):
            return f"'{volume}' is not a new volume, write storage:GiB such as local-lvm:8"
        return "" if volume or "size" in wanted else "'size' is missing, a new volume needs it"

    def clash(self, key: str, wanted: dict[str, Any], current: dict[str, Any]) -> str:
        """Why the volume that is there cannot become what is wanted, if it cannot."""
        old = current["volume"]
        new = wanted.get("volume", wanted.get("storage", "") if old.startswith("/") else old) or old
        if old == new or (new.startswith("/") and old.startswith("/")):
            return ""
        return f"{key} holds {old}, detach it ({key}: null) before you attach another"


MOUNT = {
    "volume": Text(), "storage": Text(), "size": Size(), "acl": Boolean(), "idmap": Text(),
    "mountoptions": Words(";", unordered=True, split="[;+]"), "quota": Boolean(), "replicate": Boolean(),
    "ro": Boolean(), "shared": Boolean(),
}  # fmt: skip
MOUNT_DEFAULTS = {"quota": False, "replicate": True, "ro": False, "shared": False}
ROOTFS = Volume(MOUNT, defaults=MOUNT_DEFAULTS, bare="volume", kept=("volume", "storage", "size"))
MP = Volume(
    {**MOUNT, "mp": Text(pattern="/.+", hint="an absolute path"), "backup": Boolean(), "keepattrs": Boolean()},
    defaults={**MOUNT_DEFAULTS, "backup": False, "keepattrs": False},
    bare="volume", required=("mp",), kept=("volume", "storage", "size"),
)  # fmt: skip
FEATURES = PropertyString(
    {"force_rw_sys": Boolean(), "fuse": Boolean(), "keyctl": Boolean(), "mknod": Boolean(), "nesting": Boolean(),
     "mount": Words(";", unordered=True, split=r"[;\s]+")},
    defaults=dict.fromkeys(("force_rw_sys", "fuse", "keyctl", "mknod", "nesting"), False),
)  # fmt: skip
STARTUP = PropertyString({"order": Number(), "up": Number(), "down": Number()}, bare="order")
DEVICE = PropertyString(
    {"path": Text(pattern="/dev/.+", hint="a path in /dev"), "deny-write": Boolean(), "gid": Number(), "uid": Number(),
     "mode": Text()},
    defaults={"deny-write": False}, bare="path",
)  # fmt: skip

HOSTNAME = Text(pattern=r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?", hint="a DNS name (letters, digits, - and .)")
TAGS = Words(
    ";", unordered=True, lower=True, word=r"[a-z0-9_][a-z0-9_+.-]*", hint="a tag (letters, digits, _, +, . and -)"
)

# Options of the configuration. Zero means "no limit" to cores, cpulimit and cpuunits: the key is deleted.
LXC_OPTIONS = {
    "arch": Option(STR, Text(("amd64", "i386", "arm64", "armhf", "riscv32", "riscv64"))),
    "cmode": Option(STR, Text(("shell", "console", "tty")), "tty"),
    "console": Option(BOOL, Boolean(), True),
    "cores": Option(INT, Number(0, 8192), 0),
    "cpulimit": Option(FLOAT, Number(0, 8192, integer=False), 0),
    "cpuunits": Option(INT, Number(0, 500000, clamp=(2, 10000)), 100),
    "debug": Option(BOOL, Boolean(), False),
    "description": Option(STR, Note(), ""),
    "features": Option(RAW, FEATURES, {}),
    "hookscript": Option(STR, Text(), ""),
    "hostname": Option(STR, HOSTNAME, ""),
    "memory": Option(INT, Number(16), 512),
    "nameserver": Option(LIST, Words(" "), []),
    "onboot": Option(BOOL, Boolean(), False),
    "ostype": Option(STR, Text(("debian", "devuan", "ubuntu", "centos", "fedora", "opensuse", "archlinux", "alpine",
                                "gentoo", "nixos", "unmanaged"))),
    "protection": Option(BOOL, Boolean(), False),
    "rootfs": Option(RAW, ROOTFS),
    "searchdomain": Option(LIST, Words(" "), []),
    "startup": Option(RAW, STARTUP, {}),
    "swap": Option(INT, Number(0), 512),
    "tags": Option(LIST, TAGS, []),
    "timezone": Option(STR, Text(), ""),
    "tty": Option(INT, Number(0, 6), 2),
    "unprivileged": Option(BOOL, Boolean(), False, fixed=True),
}  # fmt: skip

# Options that are a dict of numbered keys: net0, mp3, dev1.
NUMBERED = {"net": Option(DICT, NET, {}), "mp": Option(DICT, MP, {}), "dev": Option(DICT, DEVICE, {})}


def reserved(key: str, old: str, new: str) -> bool:
    """What Proxmox VE lets root@pam alone change in a container (check_ct_modify_config_perm of pve-container)."""
    if key == "features":
        before, after = FEATURES.split(old), FEATURES.split(new)
        return any(before.get(name) != after.get(name) for name in {*before, *after} - {"nesting"})
    mount = key == "rootfs" or re.fullmatch(r"mp\d+", key)
    return bool(new.startswith("/") if mount else re.fullmatch(r"hookscript|dev\d+", key))


LXC = Kind(
    path="lxc",
    label="CT",
    noun="container",
    name_key="hostname",
    renamed={},
    options=LXC_OPTIONS,
    numbered=NUMBERED,
    reserved=reserved,
    required=("memory", "rootfs", "arch", "ostype", "unprivileged"),
    local=r"(mp\d+: /(?!.*shared=1)|dev\d+: ).*",
)

# Options that only a creation uses, or that say what to do with the guest.
CREATION = {
    "ostemplate": STR,
    "password": {"type": "str", "no_log": True},
    "ssh_public_keys": RAW,
}
FLAG = {**BOOL, "default": False}
CONTROL = {
    "vmid": {"type": "int", "required": True},
    "node": STR,
    "pool": STR,
    "delete": LIST,
    "rename_from": STR,
    "force": FLAG,
    "purge": FLAG,
    "state": {"type": "str", "choices": ["present", "started", "stopped", "absent"], "default": "present"},
    "clone": {
        **DICT,
        "options": {"vmid": INT, "name": STR, "snapname": STR, "full": BOOL, "storage": STR},
        "required_one_of": [("vmid", "name")],
        "mutually_exclusive": [("vmid", "name")],
    },
    "template": BOOL,
    "move_volumes": FLAG,
    "delete_moved": FLAG,
    "migrate": FLAG,
    "target_storage": STR,
}


option = LXC.option


def guest_spec() -> dict[str, Any]:
    """The Ansible options of a container."""
    spec = {**{key: dict(item.spec) for key, item in {**LXC_OPTIONS, **NUMBERED}.items()}, **CREATION, **CONTROL}
    for key in ("arch", "cmode", "ostype"):
        spec[key]["choices"] = list(LXC_OPTIONS[key].kind.choices)
    return spec


def fleet_spec() -> dict[str, Any]:
    """The Ansible options for the work on guests."""
    return {
        "concurrency": {"type": "int", "default": 6},
        "task_timeout": {"type": "int", "default": 600},
        "cpu_overcommit": {"type": "float", "default": 2.0},
        "memory_overcommit": {"type": "float", "default": 1.5},
    }
