# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import textwrap

# Of every guest. An option of the same list of options is written with a percent sign.
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
    - A guest on another node is refused, unless O(%migrate=true), or high availability manages it, which decides where
      it is.
  type: str
migrate:
  description:
    - Have a guest that is on another node migrated to O(%node). A running virtual machine goes on running, a running
      container is restarted there.
    - What belongs to its node, such as a bind mount or a PCI device, keeps a guest there, which is refused. Needs the
      privilege C(VM.Migrate).
  type: bool
  default: false
target_storage:
  description:
    - Where volumes go that are not on shared storage, when O(%migrate=true). A storage for all of them, or pairs such
      as V(local-lvm:tank,fast:ssd). Unless it is given, each needs a storage of the same name on O(%node).
  type: str
clone:
  description:
    - Make the guest as a clone of another one, if it is not there, and change it to what is wanted in the same run. Not
      looked at afterwards.
    - What is not given is as the source has it, but for addresses and identities that only one guest can have.
    - Needs the privilege C(VM.Clone) on the source.
  type: dict
  suboptions:
    vmid:
      description: Number of the source, a guest of the same kind. One of O(%clone.vmid) and O(%clone.name) is required.
      type: int
    name:
      description: Name of the source.
      type: str
    snapname:
      description: Snapshot of the source to clone. Needed for a container that runs.
      type: str
    full:
      description:
        - Whether all volumes are copied. If not, they are based on those of the source, which must be a template. That
          is what happens to a template unless V(true) is given.
      type: bool
    storage:
      description: Storage for the volumes of a full clone. They are on those of the source unless it is given.
      type: str
move_volumes:
  description:
    - Have a volume moved whose C(storage) or C(format) is another one than it has. Otherwise that is refused.
    - The volumes of a container are moved while it is stopped, with O(%state=stopped) if need be.
  type: bool
  default: false
delete_moved:
  description:
    - Delete the old volume after O(%move_volumes). It stays as an unused volume of the guest otherwise.
  type: bool
  default: false
template:
  description:
    - Turn the guest into a template, once everything else is as wanted. That cannot be undone, and a template cannot be
      started.
  type: bool
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
    - Keys of the configuration to remove, such as V(net1), V(mp0), V(scsi1) or V(cpulimit). The volume of a removed
      disk or mount point stays as an unused volume of the guest.
    - An option that is given empty is removed too.
  type: list
  elements: str
pool:
  description:
    - Resource pool of the guest. An empty string takes it out of its pool.
  type: str
hostname:
  description:
    - Name of the guest, a DNS name. For a virtual machine it is the C(name).
  type: str
cores:
  description:
    - CPU cores that a container may use, or that each socket of a virtual machine has, 1 to 8192. V(0) removes the
      limit of a container, and returns a virtual machine to one core.
  type: int
cpulimit:
  description:
    - CPU time the guest may use, in cores, such as V(0.5). V(0) removes the limit.
  type: float
cpuunits:
  description:
    - CPU weight against other guests, up to 10000, where 100 is usual. V(0) returns to that.
  type: int
memory:
  description:
    - Memory in MiB, at least 16. Proxmox VE gives a new guest 512.
  type: int
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
    - Refuse to destroy the guest or its volumes, and to change the volumes of a container.
  type: bool
nameserver:
  description:
    - Name servers of a container, or those that cloud-init gives a virtual machine. The node's own ones unless given.
  type: list
  elements: str
searchdomain:
  description:
    - Search domains of a container, or those that cloud-init gives a virtual machine. The node's own ones unless given.
  type: list
  elements: str
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
"""

CONTAINER = r"""
ostemplate:
  description:
    - Template to create the container from, such as V(local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst). Needed to
      create a container, unless it is a O(%clone), and not looked at afterwards.
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
swap:
  description:
    - Swap of a container in MiB. Proxmox VE gives a new one 512.
  type: int
rootfs:
  description:
    - Root volume of a container, as a dictionary or as Proxmox VE writes it (V(local-lvm:8)). Needed to create a
      container, unless it is a O(%clone).
    - Keys are C(storage), C(size) (V(8), V(8G), V(8192M); GiB without a unit), C(acl), C(idmap), C(mountoptions)
      (V(noatime;nodev)), C(quota), C(replicate), C(ro), C(shared).
    - A larger C(size) grows the volume, a smaller one is refused. For another C(storage) see O(%move_volumes).
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
timezone:
  description:
    - Time zone of a container, such as V(Europe/Berlin), or V(host) for the node's.
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

MACHINE = r"""
ostype:
  description:
    - Operating system of the virtual machine, which decides details of the machine. Proxmox VE pins the version of
      O(%machine) for Windows.
  type: str
  choices: [other, wxp, w2k, w2k3, w2k8, wvista, win7, win8, win10, win11, l24, l26, solaris]
arch:
  description:
    - Architecture of the virtual processor, the node's own one unless given. Reserved to C(root@pam).
  type: str
  choices: [x86_64, aarch64]
net:
  description:
    - Network cards. Keys are V(net0) to V(net31), values are dictionaries or as Proxmox VE writes them
      (V(virtio,bridge=vmbr0)).
    - Keys are C(model) (V(virtio), V(e1000), V(vmxnet3) and others, required), C(bridge), C(firewall), C(link_down),
      C(macaddr), C(mtu) (1 takes that of the bridge), C(queues), C(rate) (MB/s), C(tag) (1 to 4094), C(trunks) (V(2;3))
      and C(host-tunnel).
    - A card that is given is enforced in full, except that its MAC address stays unless C(macaddr) is given. One that
      is not named is left alone, one that is V(null) is removed.
  type: dict
scsi:
  description:
    - Disks and CD drives at the SCSI controller. Keys are V(scsi0) to V(scsi30), values are dictionaries or as Proxmox
      VE writes them (V(local-lvm:32,discard=on)).
    - A new disk needs C(storage) and C(size) (V(32), V(32G), V(512M); GiB without a unit), or C(storage) and
      C(import-from), a volume such as V(local:import/debian-13.qcow2) to copy, with a C(size) to grow to. C(format) may
      say how it is kept. C(volume) attaches a volume that is there, such as an unused one.
    - A larger C(size) grows the disk, a smaller one is refused, as is another C(volume). For another C(storage) or
      C(format) see O(%move_volumes). C(import-from) is not looked at once the disk is there.
    - A CD drive has C(media=cdrom) and in C(volume) an image such as V(local:iso/debian.iso), V(none) or V(cdrom), the
      node's own drive. The image may be changed. V(local-lvm:cloudinit) makes the drive of cloud-init.
    - Further keys are C(aio), C(backup), C(cache), C(detect_zeroes), C(discard) (V(on), V(ignore)), C(iothread),
      C(product), C(queues), C(replicate), C(rerror), C(ro), C(scsiblock), C(serial), C(shared), C(snapshot), C(ssd),
      C(vendor), C(werror), C(wwn), and the limits C(bps), C(iops) and C(mbps), each also with C(_rd), C(_wr) and
      C(_max) as Proxmox VE has them.
    - A disk that is given is enforced in full. One that is not named is left alone, one that is V(null) is detached and
      its volume stays as an unused volume of the machine.
  type: dict
virtio:
  description:
    - Disks at the VIRTIO bus, V(virtio0) to V(virtio15), as in O(%scsi). They have no C(ssd), C(wwn), C(queues),
      C(product), C(vendor) and C(scsiblock).
  type: dict
sata:
  description:
    - Disks and CD drives at the SATA bus, V(sata0) to V(sata5), as in O(%scsi). They have no C(iothread), C(ro),
      C(queues), C(product), C(vendor) and C(scsiblock).
  type: dict
ide:
  description:
    - Disks and CD drives at the IDE bus, V(ide0) to V(ide3), as in O(%scsi), with C(model) besides. They have no
      C(iothread), C(ro), C(queues), C(product), C(vendor) and C(scsiblock).
  type: dict
efidisk0:
  description:
    - Disk for the variables of O(%bios=ovmf). Keys are C(storage), C(efitype) (V(4m), or V(2m) if left out),
      C(pre-enrolled-keys), C(ms-cert), C(format), C(import-from) and C(volume). Its size is what the firmware needs.
    - C(efitype) and C(pre-enrolled-keys) cannot be changed once it is there.
  type: raw
tpmstate0:
  description:
    - Disk for the state of a TPM. Keys are C(storage), C(version) (V(v2.0), or V(v1.2) if left out), C(format),
      C(import-from) and C(volume). C(version) cannot be changed once it is there.
  type: raw
scsihw:
  description:
    - Model of the SCSI controller. V(virtio-scsi-single) has an I/O thread for each disk with C(iothread).
  type: str
  choices: [lsi, lsi53c810, virtio-scsi-pci, virtio-scsi-single, megasas, pvscsi]
bios:
  description:
    - Firmware. V(ovmf) is UEFI and needs O(%efidisk0) to keep its variables.
  type: str
  choices: [seabios, ovmf]
machine:
  description:
    - Type of the machine, such as V(q35), V(pc) or V(pc-q35-10.0), alone or with the keys C(viommu), C(aw-bits),
      C(enable-s3) and C(enable-s4).
    - A type without a version is satisfied by any version of it, as Proxmox VE pins one for Windows.
  type: raw
boot:
  description:
    - Devices to boot from, V(order=scsi0;net0), as a string or as a dictionary with a list in C(order).
  type: raw
bootdisk:
  description:
    - Disk to boot from, as older versions of Proxmox VE kept it. O(%boot) replaces it.
  type: str
cpu:
  description:
    - Type of the virtual processor, V(host) or V(x86-64-v2-AES), alone or with the keys C(flags) (V(+aes;-pcid)),
      C(hidden), C(hv-vendor-id), C(level), C(phys-bits), C(guest-phys-bits) and C(reported-model).
  type: raw
sockets:
  description:
    - Processor sockets, each with O(%cores) cores.
  type: int
vcpus:
  description:
    - Processors that are plugged in at the start, at most sockets times cores. V(0) means all of them.
  type: int
affinity:
  description:
    - Cores of the node that the machine may run on, such as V(0,5,8-11). Reserved to C(root@pam).
  type: str
numa:
  description:
    - Whether the machine sees NUMA nodes.
  type: bool
numa_nodes:
  description:
    - The NUMA nodes. Keys are V(numa0) and so on, values have the keys C(cpus) (V(0-1), required), C(hostnodes),
      C(memory) (MiB) and C(policy).
  type: dict
balloon:
  description:
    - Least memory in MiB that ballooning may leave the machine. V(0) turns ballooning off.
  type: int
shares:
  description:
    - Weight of the machine when ballooning gives memory, 0 to 50000, usually 1000.
  type: int
hugepages:
  description:
    - Size of the huge pages for the memory in MiB. Reserved to C(root@pam).
  type: str
keephugepages:
  description:
    - Keep the huge pages when the machine stops.
  type: bool
allow_ksm:
  description:
    - Whether the node may merge equal pages of memory with those of other guests.
  type: bool
agent:
  description:
    - Whether the QEMU guest agent is used, as a boolean or with the keys C(enabled), C(freeze-fs),
      C(fstrim_cloned_disks) and C(type).
  type: raw
hostpci:
  description:
    - PCI devices of the node. Keys are V(hostpci0) to V(hostpci15), values are dictionaries or strings.
    - C(mapping) names a mapping of the cluster and needs C(Mapping.Use). C(host) is an address such as V(0000:01:00),
      all functions of it, or V(0000:01:00.0), and is reserved to C(root@pam), see O(api_backend).
    - Further keys are C(pcie) (needs O(%machine) V(q35)), C(x-vga), C(rombar), C(romfile), C(mdev), C(driver),
      C(legacy-igd), C(vendor-id), C(device-id), C(sub-vendor-id) and C(sub-device-id).
  type: dict
usb:
  description:
    - USB devices. Keys are V(usb0) to V(usb14), values have C(mapping), or C(host) (V(spice), or V(1234:5678) and
      V(1-2) for those of the node, reserved to C(root@pam)), and C(usb3).
  type: dict
serial:
  description:
    - Serial ports. Keys are V(serial0) to V(serial3), values V(socket) or a device such as V(/dev/ttyS0).
  type: dict
parallel:
  description:
    - Parallel ports of the node. Keys are V(parallel0) to V(parallel2). Reserved to C(root@pam).
  type: dict
virtiofs:
  description:
    - Directories shared with the machine. Keys are V(virtiofs0) to V(virtiofs9), values have C(dirid) (a directory
      mapping, required), C(cache), C(direct-io), C(expose-acl) and C(expose-xattr).
  type: dict
vga:
  description:
    - Display, V(std), V(virtio), V(qxl), V(serial0), V(none) and others, alone or with C(memory) (MiB) and
      C(clipboard).
  type: raw
audio0:
  description:
    - Sound card, with the keys C(device) (V(ich9-intel-hda), V(intel-hda), V(AC97)) and C(driver) (V(spice), V(none)).
  type: raw
rng0:
  description:
    - Random number generator, with the keys C(source) (V(/dev/urandom)), C(max_bytes) and C(period).
  type: raw
watchdog:
  description:
    - Watchdog, with the keys C(model) (V(i6300esb), V(ib700)) and C(action).
  type: raw
ivshmem:
  description:
    - Memory shared between machines, with the keys C(size) (MiB) and C(name).
  type: raw
spice_enhancements:
  description:
    - What SPICE offers besides, with the keys C(foldersharing) and C(videostreaming).
  type: raw
amd_sev:
  description:
    - Encryption of the memory by AMD processors, with the keys C(type) (V(std), V(es), V(snp)), C(allow-smt),
      C(kernel-hashes), C(no-debug) and C(no-key-sharing).
  type: raw
intel_tdx:
  description:
    - Encryption of the memory by Intel processors, with the keys C(type) (V(tdx)), C(attestation), C(vsock-cid) and
      C(vsock-port).
  type: raw
smbios1:
  description:
    - What the firmware tells of the machine, with the keys C(uuid), C(manufacturer), C(product), C(version), C(serial),
      C(sku), C(family) and C(base64). C(uuid) stays unless given.
  type: raw
vmgenid:
  description:
    - Generation ID of the machine, a UUID, or V(0) for none. Proxmox VE makes one for a new machine.
  type: str
ciuser:
  description:
    - User that cloud-init makes. The drive of cloud-init is V(local-lvm:cloudinit) in O(%ide) or another bus.
  type: str
cipassword:
  description:
    - Password of that user. Refused with O(api_backend=local) because the process list would show it.
  type: str
update_password:
  description:
    - Proxmox VE does not show O(%cipassword). V(on_create) sets it where there is none, V(always) at every run, which
      is then always a change.
  type: str
  choices: [always, on_create]
  default: on_create
with_local_disks:
  description:
    - Have disks on storages of one node copied when a running machine is migrated, see O(%migrate). Otherwise that is
      refused.
  type: bool
  default: false
sshkeys:
  description:
    - Public keys that cloud-init gives the user, as a list or as lines of text. Their order has no meaning.
  type: raw
ipconfig:
  description:
    - Addresses that cloud-init gives the cards. Keys are V(ipconfig0) and so on, values have C(ip) (V(dhcp) or
      V(192.0.2.10/24)), C(gw), C(ip6) (V(auto), V(dhcp) or an address) and C(gw6).
  type: dict
cicustom:
  description:
    - Volumes with files for cloud-init instead of those that are made, with the keys C(user), C(network), C(meta) and
      C(vendor).
  type: raw
ciupgrade:
  description:
    - Whether cloud-init upgrades the packages at the first start.
  type: bool
citype:
  description:
    - Format of the drive of cloud-init. Proxmox VE chooses by O(%ostype) unless it is given.
  type: str
  choices: [configdrive2, nocloud, opennebula]
hotplug:
  description:
    - What can be plugged into the running machine, of C(network), C(disk), C(usb), C(cpu), C(memory) and C(cloudinit).
      V(0) means nothing, V(1) the first three, which is usual.
  type: list
  elements: str
acpi:
  description:
    - Whether the machine has ACPI, which a shutdown needs.
  type: bool
kvm:
  description:
    - Whether the processor's virtualization is used.
  type: bool
tablet:
  description:
    - Whether the machine has a pointing device with absolute positions.
  type: bool
keyboard:
  description:
    - Keyboard of the console, such as V(de).
  type: str
localtime:
  description:
    - Whether the clock has local time, as Windows expects.
  type: bool
startdate:
  description:
    - What the clock says at the start, V(now) or a date such as V(2026-06-17T16:01:21).
  type: str
tdf:
  description:
    - Whether lost clock ticks are made up for.
  type: bool
reboot:
  description:
    - Whether the machine may reboot itself. With V(false) it ends instead.
  type: bool
freeze:
  description:
    - Wait with the processor stopped at the start.
  type: bool
autostart:
  description:
    - Start again after a crash, which Proxmox VE does not act upon.
  type: bool
migrate_downtime:
  description:
    - Seconds that a migration may stop the machine for.
  type: float
migrate_speed:
  description:
    - Most MB/s of a migration. V(0) means no limit.
  type: int
vmstatestorage:
  description:
    - Storage for the memory of snapshots and of a machine suspended to disk.
  type: str
args:
  description:
    - Further arguments of QEMU. Reserved to C(root@pam), see O(api_backend).
  type: str
"""

# What containers and virtual machines both have, and each in its own way.
BOTH = r"""
ostype:
  description:
    - Distribution of a container, which Proxmox VE takes from the template, or operating system of a virtual machine,
      which decides details of the machine.
  type: str
  choices:
    - debian
    - devuan
    - ubuntu
    - centos
    - fedora
    - opensuse
    - archlinux
    - alpine
    - gentoo
    - nixos
    - unmanaged
    - other
    - wxp
    - w2k
    - w2k3
    - w2k8
    - wvista
    - win7
    - win8
    - win10
    - win11
    - l24
    - l26
    - solaris
arch:
  description:
    - Architecture. Proxmox VE takes that of a container from the template, and the node's own one for a virtual
      machine.
  type: str
  choices: [amd64, i386, arm64, armhf, riscv32, riscv64, x86_64, aarch64]
net:
  description:
    - Network interfaces. Keys are V(net0) to V(net31), values are dictionaries or as Proxmox VE writes them
      (V(name=eth0,bridge=vmbr0,ip=dhcp) for a container, V(virtio,bridge=vmbr0) for a virtual machine).
    - Both have C(bridge), C(firewall), C(link_down), C(mtu), C(rate) (MB/s), C(tag) (1 to 4094) and C(trunks) (V(2;3)).
    - That of a container has C(name) and C(bridge) (both required), C(ip) (V(dhcp), V(manual) or V(192.0.2.10/24)),
      C(gw), C(ip6) (V(auto), V(dhcp), V(manual) or an address), C(gw6), C(hwaddr) and C(host-managed) besides, that of
      a virtual machine C(model) (required), C(macaddr), C(queues) and C(host-tunnel).
    - An interface that is given is enforced in full, except that its MAC address stays unless it is given. One that is
      not named is left alone, one that is V(null) is removed.
  type: dict
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
          - An option that the other kind has is refused.
        type: str
        choices: [lxc, qemu]
        default: lxc
"""

LIMITS = """
  concurrency:
    description:
      - Guests that are worked on at the same time, and connections to the API.
    type: int
    default: 6
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
  memory_overcommit:
    description:
      - Memory that the guests of a node may have together, as a multiple of the node's. It is looked at when a run adds
        memory. Swap does not count, and a guest that is stopped counts like one that runs.
    type: float
    default: 1.5
"""


def without(options: str, others: str) -> str:
    """Options of a kind of guest, but those that others describe for both kinds."""
    names = re.findall(r"(?m)^(\w+):$", others)
    blocks = re.split(r"(?m)^(?=\w+:$)", options)
    return "".join(block for block in blocks if block.partition(":")[0] not in names)


class ModuleDocFragment:
    """The options of a guest: of the module itself, and of each element of a list."""

    DOCUMENTATION: str = "options:\n" + textwrap.indent((GUEST + CONTAINER).replace("%", ""), "  ") + LIMITS

    QEMU: str = "options:\n" + textwrap.indent((GUEST + MACHINE).replace("%", ""), "  ") + LIMITS

    FLEET: str = (
        FLEET
        + textwrap.indent((GUEST + without(CONTAINER + MACHINE, BOTH) + BOTH).replace("%", "guests[]."), " " * 6)
        + LIMITS
    )
