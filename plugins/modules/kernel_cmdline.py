#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_cmdline
short_description: Manage parameters of the kernel's command line
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Adds, changes and removes parameters that the boot loader passes to the kernel, and tells whether a reboot is needed
    because the running kernel was passed something else. Other parameters stay as they are, to the byte.
  - For GRUB, parameters are changed where they stand, in C(GRUB_CMDLINE_LINUX_DEFAULT) or C(GRUB_CMDLINE_LINUX) of
    C(/etc/default/grub) or C(/etc/default/grub.d/*.cfg). New ones are added to C(GRUB_CMDLINE_LINUX_DEFAULT). Then
    C(update-grub) makes the menu.
  - For systemd-boot, it is the first line of C(/etc/kernel/cmdline), and C(proxmox-boot-tool refresh) makes the
    entries. If the file is not there, it begins as the running kernel's command line, which is what
    C(proxmox-boot-tool) uses then.
  - Where C(proxmox-boot-tool) looks after the boot partitions, C(proxmox-boot-tool refresh) is run for GRUB as well, as
    its menu is on these partitions.
notes:
  - Which boot loader starts this machine is told by what the running kernel was passed, by what the boot loader and the
    firmware left in the variables of UEFI (what C(bootctl) and C(efibootmgr) show), and by C(proxmox-boot-tool status).
    If these do not agree or tell nothing, nothing is changed unless O(bootloader) is given. A root file system on ZFS
    tells nothing.
  - The files of GRUB are read by the shell. So is what they would become, before they are written. If they say the
    parameters in a way that is not understood, nothing is changed.
  - If C(update-grub) or C(proxmox-boot-tool) fails, the files are put back. If a run ends in between, the next one
    makes up for it.
  - Works on Debian and what is made of it, as root.
seealso:
  - module: onprem.cloud.gpu_passthrough
extends_documentation_fragment:
  - onprem.cloud.host.attributes
options:
  present:
    description:
      - Parameters that the kernel is to be passed, such as V(iommu=pt) or V(quiet).
      - A parameter that is there with another value gets this one. Of a parameter that may be given several times, such
        as V(console=tty0) and V(console=ttyS0), give all values in their order, as others are removed.
      - In names, dashes and underscores are the same, as they are to the kernel.
    type: list
    elements: str
    default: []
  absent:
    description:
      - Parameters that the kernel is not to be passed. With a name only (V(nomodeset)), whichever value it has, with a
        value (V(iommu=soft)), only this one.
    type: list
    elements: str
    default: []
  bootloader:
    description: The boot loader that starts this machine, if that cannot be told.
    type: str
    choices: [grub, systemd-boot]
"""

EXAMPLES = r"""
- name: Let devices of the host pass by the IOMMU, and see what the kernel says
  onprem.cloud.kernel_cmdline:
    present:
      - iommu=pt
      - console=tty0
      - console=ttyS0,115200
    absent: [quiet]
  register: cmdline

- name: Reboot
  ansible.builtin.reboot:
  when: cmdline.reboot_required
"""

RETURN = r"""
bootloader:
  description: The boot loader that starts this machine.
  type: str
  returned: success
  sample: grub
evidence:
  description: What tells so.
  type: list
  elements: str
  returned: success
  sample: ["the running kernel was passed BOOT_IMAGE=, as only GRUB does"]
parameters:
  description: All parameters that the boot loader passes at the next start, but those that it adds itself.
  type: list
  elements: str
  returned: success
  sample: [quiet, iommu=pt]
files:
  description: The files that were changed.
  type: list
  elements: str
  returned: success
  sample: [/etc/default/grub]
reboot_required:
  description: Whether the running kernel was passed something else for the parameters of O(present) and O(absent).
  type: bool
  returned: success
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.host.boot import (
    LOADERS,
    RUNNING,
    Unclear,
    Wish,
    find_loader,
    skipped,
    words,
)
from ansible_collections.onprem.cloud.plugins.module_utils.host.files import Failed, Files, apply, is_pending, runner


def run(module: AnsibleModule, root: str = "/") -> None:
    files = Files(root)
    run_program = runner(module)
    wish = Wish(tuple(module.params["present"]), tuple(module.params["absent"]))
    mistake = wish.mistake()
    if mistake:
        module.fail_json(msg=mistake)
    try:
        loader = find_loader(files, run_program, module.params["bootloader"])
        line = loader.line(files, run_program)
        edits = line.plan(wish)
        changed = bool(edits) or is_pending(files, loader.rebuild)
        if changed and not module.check_mode:
            for warning in skipped(apply(files, run_program, edits, [loader.rebuild])):
                module.warn(f"{' '.join(loader.rebuild.argv)}: {warning}")
    except (Unclear, Failed) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=changed,
        bootloader=loader.name,
        evidence=loader.evidence,
        parameters=line.after,
        files=[edit.path for edit in edits],
        reboot_required=not wish.met(words(files.line(RUNNING))),
        diff=[edit.diff() for edit in edits],
    )


def main() -> None:
    spec = {
        "present": {"type": "list", "elements": "str", "default": []},
        "absent": {"type": "list", "elements": "str", "default": []},
        "bootloader": {"type": "str", "choices": list(LOADERS)},
    }
    run(AnsibleModule(spec, supports_check_mode=True))


if __name__ == "__main__":
    main()
