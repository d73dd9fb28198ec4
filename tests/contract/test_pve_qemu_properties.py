# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From any valid configuration of a virtual machine to any other: what was predicted happens, only once, and no volume
is lost."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.contract.running import Run
from tests.contract.serving import Api
from tests.contract.test_properties import differences

# Machines of one run, and runs: 500 transitions.
MACHINES, EXAMPLES = 25, 20

booleans = st.booleans()
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)


def some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these keys."""
    return st.fixed_dictionaries({}, optional=optional)


def needing(required: dict[str, Any], **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """These keys, and some of the others."""
    return some(**optional).map(lambda chosen: {**required, **chosen})


OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "acpi": booleans,
    "agent": booleans | some(enabled=booleans, fstrim_cloned_disks=booleans, type=st.sampled_from(["virtio", "isa"])),
    "balloon": st.integers(0, 512),
    "bios": st.sampled_from(["seabios", "ovmf"]),
    "boot": st.lists(st.sampled_from(["scsi0", "ide2", "net0"]), min_size=1, unique=True).map(
        lambda devices: "order=" + ";".join(devices)
    ),
    "ciupgrade": booleans,
    "ciuser": words,
    "cores": st.integers(0, 8),
    "cpu": st.sampled_from(["host", "x86-64-v2-AES,flags=+aes;-pcid", {"cputype": "host", "hidden": True}]),
    "cpulimit": st.sampled_from([0, 0.5, 1, 2.5]),
    "cpuunits": st.integers(1, 10000),
    "description": st.lists(texts.map(str.strip).filter(bool), max_size=3).map("\n".join),
    "efidisk0": st.just({"storage": "local-lvm", "efitype": "4m"}) | st.just({}),
    "hotplug": st.lists(st.sampled_from(["network", "disk", "usb", "cpu"]), unique=True) | st.just(["0"]),
    "kvm": booleans,
    "localtime": booleans,
    "machine": st.sampled_from(["q35", "pc", "pc-q35-9.2", {"type": "q35", "viommu": "virtio"}]),
    "memory": st.integers(16, 4096),
    "nameserver": st.lists(st.integers(1, 250).map("192.0.2.{}".format), max_size=3, unique=True),
    "numa": booleans,
    "onboot": booleans,
    "ostype": st.sampled_from(["l26", "win11", "other"]),
    "rng0": st.just({}) | needing({"source": "/dev/urandom"}, max_bytes=st.sampled_from([1024, 2048])),
    "scsihw": st.sampled_from(["lsi", "virtio-scsi-pci", "virtio-scsi-single"]),
    "searchdomain": st.lists(words.map("{}.example".format), max_size=2, unique=True),
    "shares": st.integers(0, 2000),
    "sockets": st.integers(1, 4),
    "sshkeys": st.lists(words.map("ssh-ed25519 AAAA{} key".format), max_size=3),
    "startup": some(order=st.integers(0, 99), up=st.integers(0, 99), down=st.integers(0, 99)),
    "tablet": booleans,
    "tags": st.lists(words.map(str.title) | words, max_size=4),
    "tpmstate0": st.just({"storage": "local-lvm", "version": "v2.0"}) | st.just(""),
    "vcpus": st.integers(0, 4),
    "vga": st.sampled_from(["std", "virtio", "serial0", {"type": "qxl", "memory": 32}, {"memory": 16}]),
    "watchdog": st.just("") | needing({"model": "i6300esb"}, action=st.sampled_from(["reset", "none"])),
}
CARD: dict[str, st.SearchStrategy[Any]] = {
    "firewall": booleans,
    "link_down": booleans,
    "mtu": st.integers(1, 1500),
    "queues": st.integers(0, 8),
    "rate": st.sampled_from([1, 2.5, 100]),
    "tag": st.integers(1, 4094),
    "macaddr": st.integers(0, 255).map("bc:24:11:aa:00:{:02x}".format),
}
DISK = some(
    backup=booleans,
    cache=st.sampled_from(["none", "writeback"]),
    discard=st.sampled_from(["on", "ignore"]),
    mbps_rd=st.integers(1, 100),
    replicate=booleans,
    serial=words,
)
NUMBERED: dict[str, st.SearchStrategy[Any]] = {
    "hostpci": st.fixed_dictionaries({"hostpci0": st.none() | needing({"mapping": "gpu"}, rombar=booleans)}),
    "ipconfig": st.fixed_dictionaries({"ipconfig0": st.none() | st.just("ip=dhcp") | st.just({"ip6": "auto"})}),
    "serial": st.fixed_dictionaries({"serial0": st.none() | st.just("socket")}),
    "usb": st.fixed_dictionaries({"usb0": st.none() | needing({"host": "spice"}, usb3=booleans)}),
}
DISCS = st.sampled_from(["none", "local:iso/one.iso", "local:iso/two.iso"]).map(
    lambda volume: {"volume": volume, "media": "cdrom"}
)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """The options of a machine; sizes are steps that only grow from one configuration to the next."""
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional={**OPTIONS, **NUMBERED}))
    card = {"model": draw(st.sampled_from(["virtio", "e1000"])), "bridge": "vmbr0"}
    chosen["net"] = {"net0": {**card, **draw(st.fixed_dictionaries({}, optional=CARD))}}
    if draw(booleans):
        chosen["net"]["net1"] = draw(st.none() | st.just("virtio,bridge=vmbr0"))
    size = st.integers(0, 2)
    chosen["scsi"] = {"scsi0": {"storage": "local-lvm", **draw(DISK), "size": draw(size)}}
    if draw(booleans):
        new = st.builds(lambda options, step: {"storage": "local-lvm", **options, "size": step}, DISK, size)
        chosen["scsi"]["scsi1"] = draw(st.none() | new)
    chosen["ide"] = {"ide2": draw(DISCS)}
    if draw(booleans):
        chosen["ide"]["ide0"] = draw(st.none() | st.just("local-lvm:cloudinit"))
    chosen["state"] = draw(st.sampled_from(["present", "started", "stopped"]))
    return chosen


def machine(vmid: int, chosen: dict[str, Any], least: int) -> dict[str, Any]:
    """A machine of pve_fleet: names and addresses are its own, sizes are not below `least`."""
    built = {"vmid": vmid, "type": "qemu", "hostname": f"machine-{vmid}", "node": "pve1", "memory": 256, **chosen}
    net0 = dict(built["net"]["net0"])
    if "macaddr" in net0:
        net0["macaddr"] = net0["macaddr"].replace("aa:00", f"aa:{vmid - 100:02x}")
    disks = {key: disk and {**disk, "size": disk["size"] + least} for key, disk in built["scsi"].items()}
    return {**built, "net": {**built["net"], "net0": net0}, "scsi": disks}


def volumes(api: Api) -> set[str]:
    """The disks that machines hold, in use or not; the drive of cloud-init is made anew at will."""
    values = [str(value) for vm in api.pve.vms for value in {**vm.config, **vm.pending}.values()]
    values += [str(value) for vm in api.pve.vms for value in vm.config.values()]
    return {match for value in values for match in re.findall(r"local-lvm:vm-\d+-disk-\d+", value)}


@pytest.fixture(scope="module")
def shared() -> Iterator[Api]:
    directory = Path(tempfile.mkdtemp())
    api = Api(directory)
    for name in ("one.iso", "two.iso"):
        api.pve.store_file("local", name, 1 << 20, "iso")
    api.pve.area("/cluster/mapping/pci")["gpu"] = {"map": ["node=pve1,path=0000:01:00,id=10de:1234"]}
    api.pve.node_figures["pve1"] = {"maxcpu": 1024, "maxmem": 1024**4}
    yield api
    api.stop()
    shutil.rmtree(directory)


@settings(
    phases=[Phase.generate],
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(pairs=st.lists(st.tuples(configurations(), configurations()), min_size=MACHINES, max_size=MACHINES))
def test_any_configuration_to_any_other(shared, pairs):
    run = Run(shared)
    shared.pve.vms.clear()
    shared.pve.storages["local-lvm"].pop("volumes", None)
    first = [machine(100 + number, before, 1) for number, (before, _) in enumerate(pairs)]
    predicted = run.fleet(*first, check=True, cpu_overcommit=1000)
    made = run.fleet(*first, cpu_overcommit=1000)
    assert made["diff"] == predicted["diff"]
    wanted = [machine(100 + number, after, 3) for number, (_, after) in enumerate(pairs)]
    disks = volumes(shared)
    macs = {vm.vmid: vm.config["net0"].split("=")[1][:17].lower() for vm in shared.pve.vms}
    shared.requests()

    prediction = run.fleet(*wanted, check=True, cpu_overcommit=1000)
    assert shared.writes() == []
    result = run.fleet(*wanted, cpu_overcommit=1000)
    assert differences(prediction, result) == {}
    assert result["diff"] == prediction["diff"]
    assert disks <= volumes(shared)

    shared.requests()
    again = run.fleet(*wanted, cpu_overcommit=1000)
    assert not again["changed"], again["diff"]
    assert shared.writes() == []

    for options in wanted:
        vm = shared.pve.vm(options["vmid"])
        stored = {**vm.config, **vm.pending}
        if "memory" in options:
            assert str(stored["memory"]) == str(options["memory"])
        if "description" in options:
            assert (stored.get("description") or "") == options["description"]
        net0 = options["net"]["net0"]
        assert stored["net0"].split("=")[1][:17].lower() == net0.get("macaddr", macs[vm.vmid])
        assert ("firewall=1" in stored["net0"]) is bool(net0.get("firewall"))
        assert stored["ide2"].split(",")[0] == options["ide"]["ide2"]["volume"]
        assert f"size={options['scsi']['scsi0']['size']}G" in stored["scsi0"]
