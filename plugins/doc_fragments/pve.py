# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """How a module reaches Proxmox VE, and what all of them have in common."""

    DOCUMENTATION = r"""
options:
  api_backend:
    description:
      - How to reach Proxmox VE.
      - V(https) asks the API of O(api_host), as a user or with an API token.
      - V(local) runs C(pvesh) on the machine that the module runs on, which must be a Proxmox VE node, as root. It acts
        as C(root@pam) and so does what Proxmox VE reserves to that login, such as container features other than
        C(nesting), bind mounts, devices and hook scripts.
      - The environment variable E(PROXMOX_API_BACKEND) is used when the option is not given.
    type: str
    choices: [https, local]
    default: https
  api_host:
    description:
      - Name or address of a node of the cluster. Required with O(api_backend=https).
      - The environment variable E(PROXMOX_HOST) is used when the option is not given.
    type: str
  api_port:
    description:
      - Port of the API, 8006 unless given.
      - The environment variable E(PROXMOX_PORT) is used when the option is not given.
    type: int
  api_user:
    description:
      - User with its realm, such as V(automation@pve). Required with O(api_backend=https).
      - The environment variable E(PROXMOX_USER) is used when the option is not given.
    type: str
  api_password:
    description:
      - Password of O(api_user). It wins over a token.
      - Prefer a token. Its rights can be limited, and it needs no login.
      - The environment variable E(PROXMOX_PASSWORD) is used when the option is not given.
    type: str
  api_token_id:
    description:
      - Name of the API token, the part after the exclamation mark.
      - The environment variable E(PROXMOX_TOKEN_ID) is used when the option is not given.
    type: str
  api_token_secret:
    description:
      - Secret of the API token.
      - The environment variable E(PROXMOX_TOKEN_SECRET) is used when the option is not given.
    type: str
  validate_certs:
    description:
      - Whether the certificate of O(api_host) must be trusted.
      - The environment variable E(PROXMOX_VALIDATE_CERTS) is used when the option is not given.
    type: bool
    default: true
  ca_path:
    description:
      - File with the certificate authority that signed the certificate of O(api_host). On a node it is
        C(/etc/pve/pve-root-ca.pem).
      - The environment variable E(PROXMOX_CA_PATH) is used when the option is not given.
    type: path
  api_timeout:
    description:
      - Seconds to wait for the answer to one request. Tasks that Proxmox VE runs in the background have a limit of
        their own.
      - The environment variable E(PROXMOX_API_TIMEOUT) is used when the option is not given.
    type: int
    default: 60
requirements:
  - proxmoxer >= 2.0
  - requests (with O(api_backend=https))
"""

    RESOURCE = r"""
options:
  state:
    description: Whether the object is there.
    type: str
    choices: [present, absent]
    default: present
  task_timeout:
    description: Seconds to wait for a task or for a lock of Proxmox VE.
    type: int
    default: 600
"""

    ATTRIBUTES = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and predicts what a run would change. Nothing is written.
    support: full
  diff_mode:
    description: Returns what changed, or would change, in diff format.
    support: full
  action_group:
    description: Use C(group/onprem.cloud.pve) in C(module_defaults) to give the connection options once.
    support: full
    membership:
      - onprem.cloud.pve
"""

    FIREWALL = r"""
options:
  node:
    description:
      - Node whose own firewall is meant. Without O(node) and O(vmid), the datacenter's is.
      - With O(vmid), the node that the guest is on.
    type: str
  vmid:
    description:
      - Guest whose own firewall is meant. It is looked for in the cluster unless O(node) and O(type) are given.
    type: int
  type:
    description: Kind of the guest O(vmid).
    type: str
    choices: [qemu, lxc]
"""

    FIREWALL_GUARD = r"""
options:
  controller_addresses:
    description:
      - Addresses that the nodes must go on accepting on TCP 22 and 8006.
      - Without it, the address that the connection to the API comes from. Give it where the nodes see another one, as
        behind NAT or a proxy. With O(api_backend=local) it is the client of the SSH connection.
    type: list
    elements: str
  allow_lockout:
    description:
      - Whether a policy is accepted under which O(controller_addresses) could no longer reach TCP 22 and 8006 of the
        nodes.
      - The judgement follows Proxmox VE. The rules of the node come first, then the datacenter's. After them, the
        addresses of the set C(management) and of the node's local network are let in. What is left is up to the policy.
    type: bool
    default: false
"""
