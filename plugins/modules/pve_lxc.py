#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_lxc
short_description: Manage a container of Proxmox VE
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, clones, changes, grows, moves, migrates, starts, stops and destroys one container of Proxmox VE.
  - An option that is given is enforced in full, one that is not given is left alone. Values are compared by meaning.
  - For more than one container use M(onprem.cloud.pve_fleet), which takes the same options and is much faster than a
    loop.
notes:
  - A change that a running container takes only at its next start is reported in RV(pending). It is not restarted.
  - In check mode a template, storage, bridge or pool that does not exist is a warning, because an earlier task of a
    real run may make it. Otherwise it is refused before the first write.
  - The privileges needed are C(VM.Audit), C(VM.Allocate), C(VM.PowerMgmt) and those of C(VM.Config.*) that belong to
    the options given, C(Datastore.AllocateSpace) on the storages, C(Datastore.Audit) to see the templates,
    C(SDN.Use) on the bridges, and C(Sys.Modify) on C(/) to create a container with O(unprivileged=false).
  - Proxmox VE lets root@pam alone, and none of its tokens, change O(features) other than C(nesting), any feature of a
    privileged container, mount points that are paths of the node, O(dev) and O(hookscript). Use
    O(api_backend=local) as root on a node for such a container, or the password of root@pam.
seealso:
  - module: onprem.cloud.pve_fleet
  - module: onprem.cloud.pve_template
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve_guest
"""

EXAMPLES = r"""
- name: Keep a web server running
  onprem.cloud.pve_lxc:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    vmid: 200
    node: pve1
    hostname: web
    ostemplate: local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst
    cores: 2
    memory: 2048
    rootfs: local-lvm:8
    net:
      net0: name=eth0,bridge=vmbr0,ip=dhcp
    mp:
      mp0: {storage: tank, size: 100G, mp: /srv, backup: true}
    features: {nesting: true}
    state: started

- name: Have it on another node, with its root volume on other storage
  onprem.cloud.pve_lxc:
    vmid: 200
    node: pve2
    migrate: true
    rootfs: {storage: tank, size: 8G}
    move_volumes: true
    delete_moved: true
    state: stopped

- name: Let it have fuse, which only root@pam may allow, from the node itself
  onprem.cloud.pve_lxc:
    api_backend: local
    vmid: 200
    features: {nesting: true, fuse: true}
  delegate_to: pve1
"""

RETURN = r"""
vmid:
  description: Number of the container.
  type: int
  returned: unless the plan was refused
  sample: 200
hostname:
  description: Name of the container.
  type: str
  returned: unless the plan was refused
  sample: web
node:
  description: Node of the container.
  type: str
  returned: unless the plan was refused
  sample: pve1
actions:
  description: What was done, in order. In check mode, what would be done.
  type: list
  elements: str
  returned: unless the plan was refused
  sample: ["create", "start"]
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
    - Options that the running container takes at its next start only, whoever changed them.
    - In check mode, what waits already.
  type: list
  elements: str
  returned: unless the plan was refused
  sample: ["features"]
reboot_required:
  description: Whether anything is pending.
  type: bool
  returned: unless the plan was refused
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import connection_spec
from ansible_collections.onprem.cloud.plugins.module_utils.pve.engine import run
from ansible_collections.onprem.cloud.plugins.module_utils.pve.lxc import fleet_spec, guest_spec


def main() -> None:
    module = AnsibleModule(
        argument_spec={**connection_spec(), **fleet_spec(), **guest_spec()}, supports_check_mode=True
    )
    result = run(module, [module.params])
    container = result.pop("guests")[0]
    module.exit_json(**{**container, **result})


if __name__ == "__main__":
    main()
