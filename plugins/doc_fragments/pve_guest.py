# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import textwrap

GUEST = r"""
vmid:
  description:
    - Number of the guest, 100 to 999999999. It decides which guest is meant.
    - A number that belongs to a guest of another name is refused.
  type: int
  required: true
state:
  description:
    - V(present) creates the guest and leaves its power state alone.
    - V(started) and V(stopped) see to the power state too. A running guest is shut down, see O(%force).
    - V(absent) destroys the guest with its volumes. A guest that runs, or that is protected, is refused, see O(%force).
  type: str
  choices: [present, started, stopped, absent]
  default: present
node:
  description:
    - Node that the guest is on. It may be left out for guests that exist and in clusters of one node.
    - A guest on another node is refused, as nothing is migrated, unless high availability moves it.
  type: str
force:
  description:
    - Shut a guest down by force if it does not end by itself, and destroy one that is running.
  type: bool
  default: false
purge:
  description:
    - Remove a destroyed guest from backup jobs, replication jobs, access rules and high availability too.
  type: bool
  default: false
rename_from:
  description:
    - Name that the guest had so far, which allows it to be renamed to O(%hostname).
  type: str
delete:
  description:
    - Keys of the configuration to remove, such as V(net1), V(mp0) or V(cpulimit). The volume of a removed mount point
      stays as an unused volume of the guest.
    - An option that is given empty is removed too.
  type: list
  elements: str
pool:
  description:
    - Resource pool of the guest. An empty string takes it out of its pool.
  type: str
ostemplate:
  description:
    - Template to create the container from, such as V(local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst). Needed to
      create a container, and not looked at afterwards.
  type: str
password:
  description:
    - Password of root in a new container, at least 5 characters. Not looked at afterwards, and refused with
      O(api_backend=local) because the process list would show it.
  type: str
ssh_public_keys:
  description:
    - Public keys for root in a new container, as a list or as lines of text. Not looked at afterwards.
  type: raw
unprivileged:
  description:
    - Whether root of the container is an unprivileged user of the node. New containers are unprivileged unless V(false)
      is given. It cannot be changed later.
  type: bool
hostname:
  description:
    - Name of the guest, a DNS name. For a virtual machine it is the C(name).
  type: str
arch:
  description:
    - Architecture of the container. Proxmox VE takes it from the template.
  type: str
  choices: [amd64, i386, arm64, armhf, riscv32, riscv64]
ostype:
  description:
    - Distribution of the container. Proxmox VE takes it from the template.
  type: str
  choices: [debian, devuan, ubuntu, centos, fedora, opensuse, archlinux, alpine, gentoo, nixos, unmanaged]
cores:
  description:
    - CPU cores the guest may use, 1 to 8192. V(0) removes the limit of a container.
  type: int
cpulimit:
  description:
    - CPU time the guest may use, in cores, such as V(0.5). V(0) removes the limit.
  type: float
cpuunits:
  description:
    - CPU weight against other guests, 2 to 10000, where 100 is usual. V(0) returns to that.
  type: int
memory:
  description:
    - Memory in MiB, at least 16. Proxmox VE gives a new container 512.
  type: int
swap:
  description:
    - Swap of a container in MiB. Proxmox VE gives a new one 512.
  type: int
rootfs:
  description:
    - Root volume of a container, as a dictionary or as Proxmox VE writes it (V(local-lvm:8)). Needed to create a
      container.
    - Keys are C(storage), C(size) (V(8), V(8G), V(8192M); GiB without a unit), C(acl), C(idmap), C(mountoptions)
      (V(noatime;nodev)), C(quota), C(replicate), C(ro), C(shared).
    - A larger C(size) grows the volume, a smaller one is refused, as is another C(storage).
  type: raw
mp:
  description:
    - Mount points of a container. Keys are V(mp0) to V(mp255), values are like O(%rootfs), with C(mp) (the path in the
      container, required), C(backup) and C(keepattrs) besides. C(volume) with an absolute path makes a bind mount.
    - A mount point that is not named is left alone, one that is V(null) is detached.
  type: dict
net:
  description:
    - Network interfaces of a container. Keys are V(net0) to V(net31), values are dictionaries or as Proxmox VE writes
      them (V(name=eth0,bridge=vmbr0,ip=dhcp)).
    - Keys are C(name) and C(bridge) (both required), C(ip) (V(dhcp), V(manual) or V(192.0.2.10/24)), C(gw), C(ip6)
      (V(auto), V(dhcp), V(manual) or an address), C(gw6), C(firewall), C(hwaddr), C(link_down), C(mtu), C(rate) (MB/s),
      C(tag) (1 to 4094), C(trunks) (V(2;3)) and C(host-managed).
    - An interface that is given is enforced in full, except that its MAC address stays unless C(hwaddr) is given. One
      that is not named is left alone, one that is V(null) is removed.
  type: dict
dev:
  description:
    - Devices of the node in a container. Keys are V(dev0) to V(dev255), values have the keys C(path), C(deny-write),
      C(gid), C(uid) and C(mode). Reserved to C(root@pam), see O(api_backend).
  type: dict
features:
  description:
    - Features of a container, as a dictionary or a string. Keys are C(nesting), C(keyctl), C(fuse), C(mknod),
      C(force_rw_sys) and C(mount) (V(nfs;cifs)). All but C(nesting) are reserved to C(root@pam), see O(api_backend).
  type: raw
onboot:
  description:
    - Start the guest when the node starts.
  type: bool
startup:
  description:
    - Place in the order of starts, with the keys C(order), C(up) and C(down) (seconds), as a dictionary or a string.
  type: raw
protection:
  description:
    - Refuse to destroy the guest or to change its volumes.
  type: bool
nameserver:
  description:
    - Name servers of a container, the node's own ones unless given.
  type: list
  elements: str
searchdomain:
  description:
    - Search domains of a container, the node's own ones unless given.
  type: list
  elements: str
timezone:
  description:
    - Time zone of a container, such as V(Europe/Berlin), or V(host) for the node's.
  type: str
tags:
  description:
    - Tags of the guest. Order and case have no meaning.
  type: list
  elements: str
description:
  description:
    - Notes about the guest, shown in the web interface.
  type: str
hookscript:
  description:
    - Volume of a script that is run at steps of the guest's life. Reserved to C(root@pam), see O(api_backend).
  type: str
console:
  description:
    - Whether a container has a console device. It has one unless V(false) is given.
  type: bool
tty:
  description:
    - Terminals of a container, 0 to 6, usually 2.
  type: int
cmode:
  description:
    - What the console of a container shows, usually V(tty).
  type: str
  choices: [shell, console, tty]
debug:
  description:
    - Have the container's start log more.
  type: bool
"""

FLEET = """
options:
  guests:
    description:
      - The guests, in any order. Guests that are not named are left alone.
      - An option that is given is enforced in full, one that is not given is left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      type:
        description:
          - V(lxc) for a container, V(qemu) for a virtual machine.
          - Virtual machines are not created yet. Of one that exists, the power state and the options C(cores),
            C(cpulimit), C(cpuunits), C(description), C(hostname), C(memory), C(onboot), C(protection), C(startup) and
            C(tags) are managed.
        type: str
        choices: [lxc, qemu]
        default: lxc
"""

LIMITS = """
  concurrency:
    description:
      - Guests that are worked on at the same time, and connections to the API.
    type: int
    default: 4
  task_timeout:
    description:
      - Seconds to wait for one task of Proxmox VE, and for a lock on a guest such as that of a backup.
    type: int
    default: 600
  cpu_overcommit:
    description:
      - Cores that the guests of a node may have together, as a multiple of the node's CPUs. It is looked at when a run
        adds cores. Guests without a limit of their own do not count.
    type: float
    default: 2.0
"""


class ModuleDocFragment:
    """The options of a guest: of the module itself, and of each element of a list."""

    DOCUMENTATION: str = "options:\n" + textwrap.indent(GUEST.replace("%", ""), "  ") + LIMITS

    FLEET: str = FLEET + textwrap.indent(GUEST.replace("%", "guests[]."), " " * 6) + LIMITS
