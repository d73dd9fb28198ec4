# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: pct
author:
  - The onprem.cloud contributors (@onprem-cloud)
short_description: Run tasks inside a container through its Proxmox VE node
version_added: 0.1.0
description:
  - Reaches a container by C(lxc-attach) on its node, so the container needs neither an SSH server nor a network.
  - This is what C(pct exec) becomes once it has seen that the container runs, with the same control groups,
    namespaces and AppArmor profile. C(pct) itself, which loads most of Proxmox VE for most of a second, is asked only
    when C(lxc-attach) could not enter the container, and says why.
  - One SSH connection to the node is kept open for all of its containers. A module is one C(lxc-attach), whose input is
    the module itself, when pipelining is on, as it is by default here. Files pass through the same way, byte for byte.
  - Tasks run as root in the container; C(become) changes the user there. They see none of the environment of the node,
    which C(pct exec) passes on; they have the C(PATH) of C(lxc-attach), which has C(/usr/local), the variables of the
    container's own configuration, and C(HOME), C(USER) and C(LOGNAME) of root.
requirements:
  - An SSH login on the node that may run C(lxc-attach) and C(/usr/sbin/pct status), which is root unless
    O(node_become_exe) is set.
  - Python in the container, for modules other than M(ansible.builtin.raw).
options:
  vmid:
    description: Number of the container.
    type: int
    required: true
    vars:
      - name: ansible_pct_vmid
      - name: guest_vmid
  host:
    description: Name or address of the node that the container is on.
    type: str
    required: true
    vars:
      - name: ansible_pct_host
  user:
    description: Who logs in to the node.
    type: str
    default: root
    vars:
      - name: ansible_pct_user
  port:
    description: Port of the node's SSH server.
    type: int
    vars:
      - name: ansible_pct_port
  private_key_file:
    description: File with the private key of the login.
    type: path
    vars:
      - name: ansible_pct_private_key_file
      - name: ansible_ssh_private_key_file
  ssh_common_args:
    description: Further arguments of C(ssh).
    type: str
    default: ""
    vars:
      - name: ansible_pct_ssh_common_args
      - name: ansible_ssh_common_args
  node_become_exe:
    description: What O(user) becomes root with on the node, such as V(sudo -n). Empty when it is root already.
    type: str
    default: ""
    vars:
      - name: ansible_pct_node_become_exe
  pipelining:
    description:
      - Whether a module is the input of the Python that runs it, instead of a file that is copied first.
    type: bool
    default: true
    vars:
      - name: ansible_pct_pipelining
"""

EXAMPLES = r"""
# An inventory in which the containers of a node need no SSH:
#
# containers:
#   hosts:
#     web:
#       guest_vmid: 200
#   vars:
#     ansible_connection: onprem.cloud.pct
#     ansible_pct_host: 192.0.2.2
- name: Ask a container that has no network for its release
  hosts: web
  gather_facts: false
  tasks:
    - name: Read the release
      ansible.builtin.slurp:
        src: /etc/os-release
"""

import re
import shlex
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader

# ssh answers 255 when the connection failed, and so may a command; said on the node, it is not ssh's.
NOT_SSH = "the code 255 is from the node"
# The environment that a container starts a command with has no home, which git and others ask for.
ROOT = ("HOME=/root", "USER=root", "LOGNAME=root")
# What the node says, with one of these codes, when the command may not have been run: lxc-attach of a container that it
# cannot enter, a shell of a program that it does not know, and sudo of a user who may not. A command in the container
# may say the same.
NOT_RUN = (1, 127)
NOT_RUN_WORDS = re.compile(r"lxc-attach|^(sudo: |Sorry, user )", re.MULTILINE)
# The answers of pct, and what the user can do about them.
REFUSALS = {
    r"^status: stopped": "is not running: start it first (pct start {vmid})",
    r"onfiguration file '.*lxc/\d+\.conf' does not exist": (
        "does not exist on node '{host}': check guest_vmid and ansible_pct_host"
    ),
    r"/pct: .*(not found|No such file)": "cannot be reached: '{host}' has no pct, it is no Proxmox VE node",
    r"please run as root|^(sudo: |Sorry, user )": (
        "cannot be reached: '{user}' may not run lxc-attach and pct on '{host}', log in as root or set "
        "ansible_pct_node_become_exe"
    ),
}


class Connection(ConnectionBase):
    """A container, behind an SSH connection to its node."""

    transport = "onprem.cloud.pct"
    has_pipelining = True

    def set_options(self, task_keys=None, var_options=None, direct=None) -> None:
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        self._node = connection_loader.get("ansible.builtin.ssh", self._play_context, "/dev/null")
        options = {"host": self.get_option("host"), "remote_user": self.get_option("user"), "pipelining": True}
        for name in ("port", "private_key_file", "ssh_common_args"):
            if self.get_option(name) not in (None, ""):
                options[name] = self.get_option(name)
        self._node.set_options(direct=options)

    def _connect(self):
        self._connected = True
        return self

    def _on_node(self, *command: str, in_data: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run a command on the node as root; what it reads, writes and returns is untouched."""
        on_node = (
            f"{self.get_option('node_become_exe')} {shlex.join(command)}; code=$?; "
            f"if [ $code = 255 ]; then echo '{NOT_SSH}' >&2; code=254; fi; exit $code"
        )
        code, out, err = self._node.exec_command(on_node.strip(), in_data=in_data, sudoable=False)
        said = f"{NOT_SSH}\n".encode()
        return (255, out, err.replace(said, b"")) if said in err else (code, out, err)

    def _run(self, command: str, in_data: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run a command in the container, in the same way."""
        vmid = str(self.get_option("vmid"))
        self._display.vvv(f"PCT {vmid} EXEC {command}", host=self.get_option("host"))
        attach = ["lxc-attach", "-n", vmid, "--clear-env", *(f"--set-var={variable}" for variable in ROOT)]
        code, out, err = self._on_node(*attach, "--", "/bin/sh", "-c", command, in_data=in_data)
        if code in NOT_RUN and NOT_RUN_WORDS.search(err.decode(errors="replace")):
            self._refuse(vmid)
        return code, out, err

    def _refuse(self, vmid: str) -> None:
        """Say why the container cannot be reached, if that is so."""
        # Whoever is not root has no /usr/sbin in the PATH.
        _code, out, err = self._on_node("/usr/sbin/pct", "status", vmid)
        text = (out + err).decode(errors="replace")
        words = {"vmid": vmid, "host": self.get_option("host"), "user": self.get_option("user")}
        for pattern, sentence in REFUSALS.items():
            if re.search(pattern, text, re.MULTILINE):
                raise AnsibleConnectionFailure(f"container {vmid} {sentence.format(**words)}.")

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(cmd, in_data or b"")

    def put_file(self, in_path: str, out_path: str) -> None:
        super().put_file(in_path, out_path)
        source = Path(in_path)
        if not source.is_file():
            raise AnsibleFileNotFound(f"the file to copy, {in_path}, does not exist")
        code, _out, err = self._run(f"cat > {shlex.quote(out_path)}", source.read_bytes())
        if code:
            raise AnsibleError(
                f"cannot write {out_path} in container {self.get_option('vmid')}: {err.decode(errors='replace')}"
            )

    def fetch_file(self, in_path: str, out_path: str) -> None:
        super().fetch_file(in_path, out_path)
        code, out, err = self._run(f"cat {shlex.quote(in_path)}")
        if code:
            raise AnsibleError(
                f"cannot read {in_path} in container {self.get_option('vmid')}: {err.decode(errors='replace')}"
            )
        Path(out_path).write_bytes(out)

    def reset(self) -> None:
        self._node.reset()

    def close(self) -> None:
        self._connected = False
