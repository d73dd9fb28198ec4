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
        C(nesting), bind mounts, devices and hook scripts. Every login of the node can read the command line of
        C(pvesh), so it is given no secrets, but for those of users and second factors, which it takes by other means.
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
  - proxmoxer >= 2.0 and requests (with O(api_backend=https))
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

    SDN = r"""
options:
  apply:
    description:
      - Whether what differs takes effect. Proxmox VE stages every change of a software defined network, and applies all
        that is staged in the whole cluster at once, which reloads the network of every node.
      - With V(false) the change is staged only. Several objects are staged that way, and the last one of them applies
        all, with O(apply=true) and O(pending=keep).
      - Nothing is applied if nothing of this object is waiting, with O(pending=fail).
    type: bool
    default: true
  pending:
    description:
      - What becomes of changes of other objects that somebody else, or an earlier run without O(apply), has staged and
        not applied. Proxmox VE would apply them together with this object.
      - V(fail) refuses to go on, before anything is written, and names them.
      - V(keep) applies them as well, also if this object itself is as it should be, and names them in a warning. To
        find them costs a request for each kind of object and for each vnet, in every run.
    type: str
    choices: [fail, keep]
    default: fail
notes:
  - What was staged of this object itself before, and is not given, takes effect with O(apply=true) as well, with a
    warning that names the options.
  - Whoever holds the lock of the configuration, as Proxmox VE 9 has it, is waited for up to O(task_timeout).
  - The task that applies ends well even if a node did not take the configuration. What its log says about that becomes
    a warning.
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

    FIREWALL_RULES = r"""
options:
  rules:
    description:
      - All rules, in the order in which Proxmox VE goes through them. An empty list removes them.
      - A rule is known by what it says, that is by everything but its comment, its log level and whether it is enabled.
        Two rules of a list cannot say the same.
    type: list
    elements: dict
    suboptions:
      type:
        description: What the rule is for, incoming, outgoing or forwarded packets, or V(group) to use a
          security group. A security group holds no rules of that type.
        type: str
        choices: [in, out, forward, group]
        default: in
      action:
        description: V(ACCEPT), V(DROP) or V(REJECT), or the name of the security group.
        type: str
        required: true
      macro:
        description: A service that Proxmox VE knows by name, such as V(SSH). Its case means nothing.
        type: str
      iface:
        description: Interface, such as V(vmbr0), or V(net0) for a guest. Not for rules of a security group.
        type: str
      source:
        description: Where packets come from, an address, a network, a range V(192.0.2.3-192.0.2.9), a list of addresses
          and networks with commas, the name of an alias, or C(+) and the name of an IP set.
        type: str
      dest:
        description: Where packets go to, as O(rules[].source).
        type: str
      proto:
        description: Protocol by name or number, such as V(tcp).
        type: str
      sport:
        description: Source ports, as O(rules[].dport).
        type: str
      dport:
        description: Destination ports, numbers, names and ranges with commas between them, such as V(443,8000:8010).
        type: str
      icmp_type:
        description: Type of ICMP packet, such as V(echo-request).
        type: str
      log:
        description: Log level. None means V(nolog).
        type: str
        choices: [emerg, alert, crit, err, warning, notice, info, debug, nolog]
      comment:
        description: What the rule is for.
        type: str
      enable:
        description: Whether the rule is in force.
        type: bool
        default: true
  exclusive:
    description: Whether rules that are not listed are removed. If not, they are left alone, after the listed ones.
    type: bool
    default: true
"""

    VZDUMP = r"""
options:
  zstd:
    description: Threads of zstd; 0 is half of the cores.
    type: int
  fleecing:
    description:
      - Where writes of a virtual machine wait during its backup, as a dict or as C(enabled=1,storage=local-lvm). The
        keys are C(enabled) and C(storage).
    type: raw
  performance:
    description:
      - Limits of a backup as a dict or as C(max-workers=4). The keys are C(max-workers) (1 to 256) and
        C(pbs-entries-max) (1 or more).
    type: raw
  bwlimit:
    description: Limit of the bandwidth in KiB/s, 0 for none.
    type: int
  ionice:
    description: Priority of disk access with the BFQ scheduler, from 0 to 7, or 8 for when the disk is idle.
    type: int
  pbs_change_detection_mode:
    description: How Proxmox Backup Server's client finds the files of a container that changed.
    type: str
    choices: [legacy, data, metadata]
"""

    DISKS = r"""
notes:
  - A disk that holds anything is never taken. It is refused with what is on it. To use it nevertheless, wipe it
    yourself.
  - What is there is never changed. If it is not what is asked for, it is refused.
  - Needs the privileges C(Sys.Audit) and C(Sys.Modify) on C(/). With O(add_storage) and O(cleanup_config),
    C(Datastore.Allocate) on C(/storage) as well.
options:
  node:
    description: Name of the node.
    type: str
    required: true
  add_storage:
    description:
      - Whether a storage of the same name is made on it when it is created. Later, use M(onprem.cloud.pve_storage).
    type: bool
    default: false
  cleanup_disks:
    description:
      - Whether the disks are wiped when it is removed, so that they can be used for something else.
      - Has to be said for O(state=absent).
    type: bool
  cleanup_config:
    description:
      - Whether the storages that are on it are taken from this node as well when it is removed, and deleted if they are
        on no other node.
      - Has to be said for O(state=absent).
    type: bool
  destroy_data:
    description: Your consent to the loss of everything that it holds. Without it, nothing is removed.
    type: bool
    default: false
"""
