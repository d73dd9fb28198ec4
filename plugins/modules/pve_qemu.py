#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_qemu
short_description: Manage a virtual machine of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, clones, changes, grows, moves, migrates, starts, stops and destroys one virtual machine of Proxmox VE.
  - An option that is given is enforced in full, one that is not given is left alone. Values are compared by meaning.
  - A disk, a card or a device that is not named is left alone. A disk that is given as V(null) is detached and stays
    as an unused volume of the machine. No volume is ever destroyed but with the machine itself.
  - For more than one machine use M(onprem.cloud.pve_fleet), which takes the same options and is much faster than a
    loop.
notes:
  - What a running machine takes only at its next start is reported in RV(pending) and RV(reboot_required). It is not
    restarted. What cloud-init gives a machine reaches it at its next start too.
  - In check mode a storage, volume, bridge, mapping or pool that does not exist is a warning, because an earlier task
    of a real run may make it. Otherwise it is refused before the first write.
  - The privileges needed are C(VM.Audit), C(VM.Allocate), C(VM.PowerMgmt) and those of C(VM.Config.*) that belong to
    the options given, C(Datastore.AllocateSpace) on the storages, C(Datastore.Audit) to see the volumes, C(SDN.Use) on
    the bridges, C(Mapping.Use) on the mappings, and C(Sys.Modify) on C(/) for O(startup).
  - Proxmox VE lets root@pam alone, and none of its tokens, change O(affinity), O(amd_sev), O(arch), O(args),
    O(hookscript), O(hugepages), O(intel_tdx), O(ivshmem), O(keephugepages), O(parallel), O(spice_enhancements),
    O(vmgenid), disks that are paths of the node, and devices of the node without a mapping (O(hostpci), O(usb),
    O(serial)). Use O(api_backend=local) as root on a node for such a machine, or the password of root@pam.
seealso:
  - module: onprem.cloud.pve_fleet
  - module: onprem.cloud.pve_lxc
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve_guest.qemu
"""

EXAMPLES = r"""
- name: Keep a virtual machine made from a cloud image running
  onprem.cloud.pve_qemu:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vmid: 300
    node: pve1
    hostname: web
    ostype: l26
    cores: 2
    cpu: x86-64-v2-AES
    memory: 2048
    agent: true
    scsihw: virtio-scsi-single
    scsi:
      scsi0:
        storage: local-lvm
        import-from: local:import/debian-13-genericcloud-amd64.qcow2
        size: 20G
        discard: "on"
        iothread: true
    ide:
      ide2: local-lvm:cloudinit
    net:
      net0: {model: virtio, bridge: vmbr0, firewall: true}
    ciuser: admin
    sshkeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0uZUmFn1W6g1rJIZyL6b3xE6u0rGmQ1yQ0T3x1h2pM admin"]
    ipconfig:
      ipconfig0: ip=192.0.2.30/24,gw=192.0.2.1
    boot: order=scsi0
    serial:
      serial0: socket
    vga: serial0
    state: started

- name: Describe a workstation with Windows and a graphics card
  onprem.cloud.pve_qemu:
    vmid: 301
    node: pve1
    hostname: render
    ostype: win11
    machine: q35
    bios: ovmf
    efidisk0: {storage: local-lvm, efitype: 4m, pre-enrolled-keys: true}
    tpmstate0: {storage: local-lvm, version: v2.0}
    cpu: host
    cores: 8
    memory: 32768
    balloon: 0
    scsihw: virtio-scsi-single
    scsi:
      scsi0: {storage: local-lvm, size: 64G, iothread: true, ssd: true, discard: "on"}
    ide:
      ide2: {volume: "local:iso/windows-11.iso", media: cdrom}
    net:
      net0: virtio,bridge=vmbr0
    hostpci:
      hostpci0: {mapping: gpu, pcie: true, x-vga: true}

- name: Turn a machine into a template
  onprem.cloud.pve_qemu:
    vmid: 301
    template: true

- name: Have a machine made from it, with a larger memory
  onprem.cloud.pve_qemu:
    vmid: 302
    hostname: render-2
    clone: {vmid: 301, full: true}
    memory: 65536

- name: Have it on another node while it runs, with the disks that the first one has
  onprem.cloud.pve_qemu:
    vmid: 300
    node: pve2
    migrate: true
    with_local_disks: true

- name: Take a disk off, which stays as an unused volume
  onprem.cloud.pve_qemu:
    vmid: 300
    scsi:
      scsi1: null
"""

RETURN = r"""
vmid:
  description: Number of the virtual machine.
  type: int
  returned: unless the plan was refused
  sample: 300
hostname:
  description: Name of the virtual machine.
  type: str
  returned: unless the plan was refused
  sample: web
node:
  description: Node of the virtual machine.
  type: str
  returned: unless the plan was refused
  sample: pve1
actions:
  description: What was done, in order. In check mode, what would be done.
  type: list
  elements: str
  returned: unless the plan was refused
  sample: ["create", "resize scsi0 to 20G", "start"]
changes:
  description: What differed, by option, each with the value before and after. It says why the actions were taken.
  type: dict
  returned: unless the plan was refused
  sample: {"memory": {"before": 1024, "after": 2048}}
status:
  description: Power state afterwards.
  type: str
  returned: unless the plan was refused
  sample: running
pending:
  description:
    - Options, as Proxmox VE names them, that the running machine takes at its next start only, whoever changed them.
    - In check mode, what waits already.
  type: list
  elements: str
  returned: unless the plan was refused
  sample: ["memory"]
reboot_required:
  description: Whether anything is pending.
  type: bool
  returned: unless the plan was refused
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import connection_spec
from ansible_collections.onprem.cloud.plugins.module_utils.pve.engine import run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.lxc import fleet_spec
from ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu import guest_spec


def main() -> None:
    module = AnsibleModule(
        argument_spec={**connection_spec(), **fleet_spec(), **guest_spec("qemu")}, supports_check_mode=True
    )
    result = run(module, [{**module.params, "type": "qemu"}])
    machine = result.pop("guests")[0]
    module.exit_json(**{**machine, **result})


if __name__ == "__main__":
    main()
