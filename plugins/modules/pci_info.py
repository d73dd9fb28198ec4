#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pci_info
short_description: Tell which PCI devices a machine has, and how the IOMMU keeps them apart
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Reads what the kernel shows of the PCI devices, with the drivers that are bound and that could be, of the IOMMU
    groups, of interrupt remapping, Secure Boot and the virtualization of the processor.
  - Runs on the machine itself and needs no program on it.
notes:
  - Names are those of the list of PCI ids in C(/usr/share/misc/pci.ids) or C(/usr/share/hwdata/pci.ids). Without it,
    vendors and devices have numbers only.
  - Interrupt remapping is told by C(/proc/interrupts), where the chips that interrupts go through are called C(IR-) and
    their name while it is on.
  - Whether Secure Boot is on is told by the variable of the firmware, which every login may read.
seealso:
  - module: onprem.cloud.gpu_passthrough
  - module: onprem.cloud.pve_pci_mapping
extends_documentation_fragment:
  - onprem.cloud.host.attributes_info
options:
  devices:
    description:
      - Which devices to return. All of them unless given. RV(groups) always holds all groups.
      - An address (V(0000:01:00.0), V(01:00.0)), or one without function for all functions of a device (V(0000:01:00)).
      - A vendor and a device (V(10de:2684)).
      - A class by name, that is V(accelerator), V(audio), V(bridge), V(communication), V(display), V(encryption),
        V(input), V(memory), V(multimedia), V(network), V(processor), V(serial), V(storage), V(system), V(usb) or
        V(wireless), or by its number or the beginning of it (V(0300)).
      - Something that the machine does not have returns nothing.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look at the graphics cards
  onprem.cloud.pci_info:
    devices: [display]
  register: cards

- name: Show what shares an IOMMU group with the first of them
  ansible.builtin.debug:
    msg: "{{ cards.groups[cards.devices.values() | map(attribute='iommu_group') | first | string] }}"
"""

RETURN = r"""
devices:
  description: The devices by their address, one for each function.
  type: dict
  returned: success
  contains:
    address:
      description: The key again.
      type: str
    id:
      description: Vendor and device.
      type: str
    subsystem_id:
      description: Vendor and device of the board, null if it has none.
      type: str
    class:
      description: Name of the class, one of those of O(devices), or V(other).
      type: str
    class_id:
      description: Number of class, subclass and programming interface.
      type: str
    class_name:
      description: What the list of PCI ids calls the subclass.
      type: str
    vendor_name:
      description: Name of the vendor, null if it is not known.
      type: str
    device_name:
      description: Name of the device, null if it is not known.
      type: str
    revision:
      description: Revision of the device.
      type: str
    driver:
      description: The driver that is bound, null if none is.
      type: str
    driver_module:
      description: The module that the bound driver is in, null if it is built into the kernel or none is bound.
      type: str
    drivers:
      description: The modules of the running kernel that could drive it.
      type: list
      elements: str
    iommu_group:
      description: Number of its IOMMU group, null if there are no groups.
      type: int
    upstream:
      description: The bridges that it is behind, beginning at the processor.
      type: list
      elements: str
    bridge:
      description: Whether it is a bridge.
      type: bool
    boot_gpu:
      description: Whether the firmware showed its messages on it.
      type: bool
  sample:
    "0000:01:00.0":
      address: "0000:01:00.0"
      id: "10de:2684"
      subsystem_id: "1458:40bf"
      class: display
      class_id: "030000"
      class_name: VGA compatible controller
      vendor_name: NVIDIA Corporation
      device_name: AD102 [GeForce RTX 4090]
      revision: a1
      driver: nouveau
      driver_module: nouveau
      drivers: [nouveau, nvidiafb]
      iommu_group: 13
      upstream: ["0000:00:01.1"]
      bridge: false
      boot_gpu: false
groups:
  description: The addresses of the devices in each IOMMU group.
  type: dict
  returned: success
  sample: {"13": ["0000:01:00.0", "0000:01:00.1"]}
iommu:
  description: The IOMMU, which keeps devices apart.
  type: dict
  returned: success
  contains:
    active:
      description: Whether it is on, that is whether there are groups.
      type: bool
    kind:
      description: V(intel), V(amd) or V(arm), null if it is off or of another kind.
      type: str
    firmware:
      description:
        - V(intel) or V(amd) if the firmware describes an IOMMU. Null mostly means that it is turned off in the
          firmware's setup.
      type: str
    interrupt_remapping:
      description: Whether interrupts are kept apart as well.
      type: bool
  sample: {"active": true, "kind": "amd", "firmware": "amd", "interrupt_remapping": true}
boot_gpu:
  description: Address of the device on which the firmware showed its messages, null if there is none.
  type: str
  returned: success
  sample: "0000:11:00.0"
cpu_virtualization:
  description: V(vmx) for Intel and V(svm) for AMD if the processor offers virtualization, else null.
  type: str
  returned: success
  sample: svm
secure_boot:
  description: Whether Secure Boot is on.
  type: bool
  returned: success
  sample: false
kernel:
  description: The release of the running kernel.
  type: str
  returned: success
  sample: 6.8.12-9-pve
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.host.files import Files
from ansible_collections.onprem.cloud.plugins.module_utils.host.pci import Unknown, read


def run(module: AnsibleModule, root: str = "/") -> None:
    machine = read(Files(root))
    try:
        chosen = machine.select_all(module.params["devices"]) if module.params["devices"] else machine.devices.values()
    except Unknown as error:
        module.fail_json(msg=f"devices: {error}")
    module.exit_json(
        devices={device.address: device.view() for device in chosen},
        groups=machine.groups(),
        iommu=asdict(machine.iommu),
        boot_gpu=next((device.address for device in machine.devices.values() if device.boot_gpu), None),
        cpu_virtualization=machine.cpu_virtualization,
        secure_boot=machine.secure_boot,
        kernel=machine.kernel,
    )


def main() -> None:
    spec = {"devices": {"type": "list", "elements": "str", "default": []}}
    run(AnsibleModule(spec, supports_check_mode=True))


if __name__ == "__main__":
    main()
