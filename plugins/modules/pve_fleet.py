#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_fleet
short_description: Manage many guests of Proxmox VE in one call
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, clones, changes, grows, moves, migrates, starts, stops and destroys containers and virtual machines of
    Proxmox VE, any number of them in one call.
  - Everything is read once. The whole plan is validated before the first write, and all of its problems are reported
    together. Then it is applied to several guests at a time, and read back.
  - Values are compared by meaning. Order, case, units, spellings of booleans and defaults that Proxmox VE leaves out
    make no change.
  - A run that was interrupted is continued by the next one. A guest that is locked, by a backup for example, is waited
    for.
notes:
  - A change that a running guest takes only at its next start is reported in RV(guests[].pending). The guest is not
    restarted.
  - In check mode a template, storage, bridge or pool that does not exist is a warning, because an earlier task of a
    real run may make it. Otherwise it is refused before the first write.
  - The privileges needed, and what Proxmox VE lets root@pam alone change, are those of M(onprem.cloud.pve_lxc) and
    M(onprem.cloud.pve_qemu).
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve_guest.fleet
"""

EXAMPLES = r"""
- name: Keep the database servers running
  onprem.cloud.pve_fleet:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    ca_path: /etc/ssl/certs/pve-root-ca.pem
    guests:
      - vmid: 100
        node: pve1
        hostname: database-primary
        ostemplate: local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst
        cores: 4
        memory: 8192
        swap: 4096
        rootfs: {storage: local-lvm, size: 175G}
        net:
          net0: {name: eth0, bridge: vmbr0, ip: 192.0.2.10/24, gw: 192.0.2.1, firewall: true}
        features: {nesting: true}
        onboot: true
        startup: {order: 1, up: 30}
        tags: [database, production]
        ssh_public_keys: ["{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"]
        state: started
      - vmid: 101
        hostname: database-replica
        memory: 4096
        net:
          net1: null
        delete: [cpulimit]
        state: started
      - vmid: 300
        type: qemu
        node: pve1
        hostname: router
        memory: 1024
        scsi:
          scsi0: {storage: local-lvm, size: 8G}
        ide:
          ide2: {volume: "local:iso/debian-13.iso", media: cdrom}
        net:
          net0: virtio,bridge=vmbr0
        boot: order=scsi0;ide2

- name: Remove a container that may be running
  onprem.cloud.pve_fleet:
    guests:
      - {vmid: 999, hostname: scratch, state: absent, force: true}
"""

RETURN = r"""
guests:
  description: What became of each guest, in the order they were given.
  type: list
  elements: dict
  returned: always, unless the plan was refused
  contains:
    vmid:
      description: Number of the guest.
      type: int
      sample: 100
    hostname:
      description: Name of the guest.
      type: str
      sample: database-primary
    node:
      description: Node of the guest.
      type: str
      sample: pve1
    type:
      description: Kind of guest.
      type: str
      sample: lxc
    changed:
      description: Whether anything was done to the guest.
      type: bool
    actions:
      description: What was done, in order. In check mode, what would be done.
      type: list
      elements: str
      sample: ["resize rootfs to 16G", "update cores, memory", "start"]
    changes:
      description: What differed, by option, each with the value before and after. It says why the actions were taken.
      type: dict
      sample: {"memory": {"before": 4096, "after": 8192}}
    status:
      description: Power state afterwards.
      type: str
      sample: running
    pending:
      description:
        - Options that the running guest takes at its next start only, whoever changed them.
        - In check mode, what waits already.
      type: list
      elements: str
      sample: ["features"]
    reboot_required:
      description: Whether anything is pending.
      type: bool
    error:
      description: Why the guest could not be brought to what was wanted.
      type: str
      returned: when it failed
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import connection_spec
from ansible_collections.onprem.cloud.plugins.module_utils.pve.engine import run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.lxc import fleet_spec
from ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu import guest_spec


def main() -> None:
    guests = {"type": "list", "elements": "dict", "required": True, "options": guest_spec("lxc", "qemu")}
    module = AnsibleModule(
        argument_spec={**connection_spec(), **fleet_spec(), "guests": guests}, supports_check_mode=True
    )
    module.exit_json(**run(module, module.params["guests"]))


if __name__ == "__main__":
    main()
