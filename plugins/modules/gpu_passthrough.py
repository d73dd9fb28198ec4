#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_passthrough
short_description: Keep graphics cards free for virtual machines
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Has vfio-pci take graphics cards, and what belongs to them, when the machine starts, so that virtual machines can
    have them. Looks for all that stands in the way first, says it in a sentence each, and changes nothing then.
  - What it writes are files of its own, C(/etc/modprobe.d/onprem-gpu-passthrough.conf) and
    C(/etc/modules-load.d/onprem-gpu-passthrough.conf), and parameters of the kernel's command line where they are
    needed, as M(onprem.cloud.kernel_cmdline) does. Then the initramfs of every kernel is built again.
  - No driver is put on a blacklist, which would take other cards of the same driver from the host as well. Instead,
    every driver that could take the card waits for vfio-pci. Which drivers these are is told by the kernel.
  - AMD processors need no parameter. On Intel's, V(intel_iommu=on) is added if the kernel leaves the IOMMU off without
    it. Which devices are in a group with the card is then known only after a reboot. Nothing is bound before,
    RV(complete) is false, and a second run after the reboot does the rest.
notes:
  - A function is bound by its vendor and device. If a device that stays with the host has the same ones, the vendor and
    device of the board are added, as two identical chips are often on boards of different makers. If these are the same
    as well, it is bound by its address, by a command that modprobe runs before it loads vfio-pci. The command leaves an
    address alone at which there is another device, as there may be after a card was added.
  - A disk controller or a network card is never handed over, and a card that shares its group with one is refused.
    Bridges between buses may be in the group, as may a host bridge without driver.
  - With the devices bound, O(state=absent) gives them back at the next reboot.
  - An interrupted run is made up for by the next one. If a program fails, the files are put back.
  - Works on Debian and what is made of it, with initramfs-tools, as root.
seealso:
  - module: onprem.cloud.pci_info
  - module: onprem.cloud.kernel_cmdline
  - module: onprem.cloud.pve_pci_mapping
  - module: onprem.cloud.pve_qemu
extends_documentation_fragment:
  - onprem.cloud.host.attributes
options:
  state:
    description:
      - V(present) binds O(devices) to vfio-pci, and no others that were bound by this module before.
      - V(absent) takes back all that this module has put, whichever devices are named, and nothing else.
    type: str
    choices: [present, absent]
    default: present
  devices:
    description:
      - What virtual machines are to have, all of it. Required for O(state=present), unless O(doctor=true).
      - An address of a function (V(0000:01:00.0), V(01:00.0)), or one without function for all functions (V(01:00)), a
        vendor and a device (V(10de:2684)), or a class by name or number (V(display), V(0300)), as
        M(onprem.cloud.pci_info) has them.
      - Functions of the same maker in the same slot and group, such as the sound of a graphics card, are included.
    type: list
    elements: str
    default: []
  accepted:
    description:
      - Other devices that may be in the group of a card, in the same form as O(devices). The host loses them while a
        virtual machine has the card. Disk controllers and network cards are refused all the same.
    type: list
    elements: str
    default: []
  boot_gpu_accepted:
    description: Whether the card that the firmware starts on may be taken. The host's screen stays dark then.
    type: bool
    default: false
  iommu_passthrough:
    description:
      - Whether V(iommu=pt) is added to the kernel's command line, with which devices of the host pass by the IOMMU.
        They are a little faster then, and the host is not protected against them.
    type: bool
    default: false
  acs_override:
    description:
      - Has the kernel assume that devices are kept apart where the hardware does not say so, and make smaller groups.
        It does not keep them apart. It is better to put the card into another slot.
      - C(id:) with the vendor and device of a bridge (V(id:8086:a33c)) is the narrowest form. V(downstream) means all
        ports of switches and V(multifunction) all devices with several functions.
      - Only Proxmox VE's kernels know it.
    type: list
    elements: str
    default: []
  bootloader:
    description: The boot loader that starts this machine, if that cannot be told.
    type: str
    choices: [grub, systemd-boot]
  doctor:
    description:
      - Whether to change nothing and only say what was found. It never fails because of what it finds.
      - Without O(devices), it looks at all graphics cards but the one that the firmware starts on.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See what stands in the way
  onprem.cloud.gpu_passthrough:
    doctor: true
  register: doctor

- name: Tell
  ansible.builtin.debug:
    msg: "{{ doctor.findings | map(attribute='message') }}"

- name: An RTX 4090 with its sound
  onprem.cloud.gpu_passthrough:
    devices: ["10de:2684"]
  register: card

- name: The second of two identical cards, in a group with a sound card that the host can do without
  onprem.cloud.gpu_passthrough:
    devices: ["0b:00"]
    accepted: ["0c:00.4"]

- name: Give the cards back
  onprem.cloud.gpu_passthrough:
    state: absent
"""

RETURN = r"""
findings:
  description: What stands in the way, and what is worth knowing.
  type: list
  elements: dict
  returned: always
  contains:
    level:
      description: V(problem) for what stands in the way, V(warning) for what is risky, V(note) for the rest.
      type: str
    topic:
      description:
        - What it is about, V(acs_override), V(boot_gpu), V(boot_loader), V(command_line), V(device), V(driver),
          V(group), V(identical), V(interrupt_remapping), V(iommu), V(modprobe), V(processor) or V(secure_boot).
      type: str
    message:
      description: A sentence.
      type: str
    device:
      description: Address of the device that it is about, null if it is not about one.
      type: str
  sample:
    - level: problem
      topic: group
      message: >-
        IOMMU group 12, which 0000:04:00.0 is in, also holds 0000:03:00.0 (Ethernet controller: Realtek Semiconductor
        Co., Ltd. RTL8111/8168/8411 PCI Express Gigabit Ethernet Controller [10ec:8168]), a network card: the host would
        lose it to the virtual machine. Put the card into another slot.
      device: "0000:03:00.0"
devices:
  description:
    - The functions that are handed over, with what a PCI mapping of Proxmox VE needs. Empty with O(state=absent).
  type: list
  elements: dict
  returned: always
  contains:
    address:
      description: Address of the function.
      type: str
    id:
      description: Vendor and device.
      type: str
    subsystem_id:
      description: Vendor and device of the board, null if it has none.
      type: str
    iommu_group:
      description: Number of its IOMMU group, null while there are no groups.
      type: int
    driver:
      description: The driver that is bound now, null if none is.
      type: str
    name:
      description: What the list of PCI ids calls it.
      type: str
    class:
      description: Name of its class.
      type: str
    binding:
      description: What it is bound by, V(address) or the numbers that vfio-pci is given.
      type: str
    prepared:
      description:
        - Whether the files of this machine have it handed over at the next boot, with O(doctor=true) as they are found.
          If so, and C(driver) is not V(vfio-pci), a reboot is what is missing.
      type: bool
  sample:
    - address: "0000:01:00.0"
      id: "10de:2684"
      subsystem_id: "1458:40bf"
      iommu_group: 13
      driver: vfio-pci
      name: NVIDIA Corporation AD102 [GeForce RTX 4090]
      class: display
      binding: "10de:2684"
      prepared: true
parameters:
  description: The parameters that the kernel's command line needs for it.
  type: list
  elements: str
  returned: always
  sample: [iommu=pt]
complete:
  description: Whether this is all, or the rest is left to a run after the reboot.
  type: bool
  returned: always
  sample: true
reboot_required:
  description: Whether a reboot is needed before it is as asked for.
  type: bool
  returned: always
  sample: true
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.host.boot import LOADERS, skipped
from ansible_collections.onprem.cloud.plugins.module_utils.host.files import Failed, Files, Run, apply, runner
from ansible_collections.onprem.cloud.plugins.module_utils.host.passthrough import (
    REBOOT,
    WARNING,
    Plan,
    Planner,
    Settings,
)
from ansible_collections.onprem.cloud.plugins.module_utils.host.pci import Unknown, read


def run(module: AnsibleModule, root: str = "/") -> None:
    params = module.params
    present = params["state"] == "present" or params["doctor"]
    for part in params["acs_override"]:
        if not re.fullmatch(r"downstream|multifunction|id:[0-9a-f]{4}:[0-9a-f]{4}", part):
            module.fail_json(msg=f"acs_override: '{part}' is none of downstream, multifunction and id:8086:a33c.")
    if present and not params["devices"] and not params["doctor"]:
        module.fail_json(msg="devices: say what virtual machines are to have; doctor: true shows what there is.")
    files, run_program = Files(root), runner(module)
    settings = Settings(
        **{key: tuple(params[key]) for key in ("devices", "accepted", "acs_override")},
        **{key: params[key] for key in ("boot_gpu_accepted", "iommu_passthrough", "bootloader")},
    )
    try:
        planner = Planner(files, run_program, read(files), settings)
        plan = planner.present() if present else planner.absent()
    except Unknown as error:
        module.fail_json(msg=str(error))
    if params["doctor"]:
        module.exit_json(changed=False, **{**plan.view(), "diff": []})
    if plan.problems():
        module.fail_json(msg=" ".join(plan.problems()), **{**plan.view(), "diff": []})
    plan.prepared = {function.address for function in plan.functions}
    if plan.changed and not module.check_mode:
        carry_out(module, files, run_program, plan, present)
    module.exit_json(changed=plan.changed, **plan.view())


def carry_out(module: AnsibleModule, files: Files, run_program: Run, plan: Plan, present: bool) -> None:
    try:
        printed = apply(files, run_program, plan.edits, plan.rebuilds)
    except Failed as error:
        module.fail_json(msg=str(error), **{**plan.view(), "diff": []})
    warnings = [finding.message for finding in plan.findings if finding.level == WARNING]
    for warning in warnings + skipped(printed):
        module.warn(warning)
    if present:
        files.remove(REBOOT)
    elif plan.reboot_required:
        files.write(REBOOT, "")


def main() -> None:
    spec = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "devices": {"type": "list", "elements": "str", "default": []},
        "accepted": {"type": "list", "elements": "str", "default": []},
        "boot_gpu_accepted": {"type": "bool", "default": False},
        "iommu_passthrough": {"type": "bool", "default": False},
        "acs_override": {"type": "list", "elements": "str", "default": []},
        "bootloader": {"type": "str", "choices": list(LOADERS)},
        "doctor": {"type": "bool", "default": False},
    }
    run(AnsibleModule(spec, supports_check_mode=True))


if __name__ == "__main__":
    main()
