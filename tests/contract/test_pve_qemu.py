# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pve_qemu and the virtual machines of pve_fleet: what they make, change, keep and refuse."""

from __future__ import annotations

import importlib

import pytest

from tests.contract.serving import GIB, SECRET

KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0uZUmFn1W6g1rJIZyL6b3xE6u0rGmQ1yQ0T3x1h2pM lab@test"]
PASSWORD = "password-of-cloud-init"
MAC = "BC:24:11:00:00:09"


@pytest.fixture
def machine(api):
    """The options of pve_qemu for a machine that has a bit of everything."""
    api.pve.store_file("local", "debian.iso", 400 << 20, "iso")
    api.pve.store_file("local", "windows.iso", 500 << 20, "iso")
    api.pve.storages["local"]["content"] = "backup,images,import,iso,vztmpl"
    api.pve.store_file("local", "debian.qcow2", 3 * GIB, "import")

    def build(vmid=300, **options):
        guest = {
            "vmid": vmid,
            "node": "pve1",
            "hostname": f"machine-{vmid}",
            "machine": "q35",
            "bios": "ovmf",
            "efidisk0": {"storage": "local-lvm", "efitype": "4m", "pre-enrolled-keys": True},
            "tpmstate0": {"storage": "local-lvm", "version": "v2.0"},
            "ostype": "l26",
            "cores": 2,
            "memory": 1024,
            "scsihw": "virtio-scsi-single",
            "scsi": {"scsi0": {"storage": "local-lvm", "size": 8, "discard": "on", "iothread": True}},
            "ide": {"ide2": {"volume": "local:iso/debian.iso", "media": "cdrom"}},
            "net": {"net0": {"model": "virtio", "bridge": "vmbr0", "firewall": True}},
            "boot": "order=scsi0;ide2",
            **options,
        }
        return {name: value for name, value in guest.items() if value is not ...}

    return build


@pytest.fixture
def both(api, run):
    """A real run, after a prediction that wrote nothing and was right."""

    def go(options):
        api.requests()
        predicted = run("pve_qemu", options, check=True)
        assert api.changes() == []
        real = run("pve_qemu", options)
        for key in ("changed", "diff", "changes", "actions"):
            assert real[key] == predicted[key]
        return real

    return go


@pytest.fixture
def kept(api, run):
    """A run that finds nothing to do, and asks little."""

    def go(options):
        api.requests()
        result = run("pve_qemu", options)
        assert not result["changed"], result["diff"]
        requests = api.requests()
        assert [request for request in requests if request.method != "GET"] == []
        assert len(requests) <= 3, requests
        assert "/version" not in [request.path for request in requests]

    return go


def config(api, vmid=300):
    """The configuration of the next start."""
    vm = api.pve.vm(vmid)
    return {key: value for key, value in {**vm.config, **vm.pending}.items() if value is not None}


def test_whole_life(api, run, machine, both, kept):
    created = both(machine(state="started", tags=["web"]))
    assert (created["vmid"], created["hostname"], created["node"], created["status"], created["type"]) == (
        *(300, "machine-300", "pve1", "running", "qemu"),
    )
    assert created["actions"] == ["create", "start"]
    stored = config(api)
    assert stored["scsi0"] == "local-lvm:vm-300-disk-1,discard=on,iothread=1,size=8G"
    assert stored["efidisk0"] == "local-lvm:vm-300-disk-0,efitype=4m,pre-enrolled-keys=1,size=528K"
    assert stored["tpmstate0"] == "local-lvm:vm-300-disk-2,size=4M,version=v2.0"
    assert stored["ide2"] == "local:iso/debian.iso,media=cdrom,size=400M"
    kept(machine(state="started", tags=["web"]))

    stopped = both({"vmid": 300, "hostname": "machine-300", "state": "stopped"})
    assert (stopped["status"], api.pve.vm(300).status) == ("stopped", "stopped")
    gone = {"vmid": 300, "hostname": "machine-300", "state": "absent"}
    assert both(gone)["actions"] == ["destroy"]
    assert api.pve.vms == []
    kept(gone)


CHANGES = {
    "acpi": False,
    "affinity": "0-1",
    "agent": {"enabled": True, "fstrim_cloned_disks": True},
    "allow_ksm": False,
    "args": "-no-hpet",
    "audio0": {"device": "ich9-intel-hda", "driver": "none"},
    "autostart": True,
    "balloon": 0,
    "bios": "seabios",
    "boot": "order=scsi0",
    "cicustom": {"user": "local:snippets/user.yaml"},
    "citype": "nocloud",
    "ciupgrade": False,
    "ciuser": "admin",
    "cores": 4,
    "cpu": {"cputype": "host", "flags": "+aes;-pcid"},
    "cpulimit": 1.5,
    "cpuunits": 200,
    "description": "two\nlines",
    "freeze": True,
    "hostpci": {"hostpci0": {"host": "01:00", "pcie": True, "x-vga": True}},
    "hotplug": ["network", "cpu"],
    "hugepages": "2",
    "ipconfig": {"ipconfig0": {"ip": "192.0.2.30/24", "gw": "192.0.2.1"}},
    "ivshmem": {"size": 32, "name": "shared"},
    "keephugepages": True,
    "keyboard": "de",
    "kvm": False,
    "localtime": True,
    "machine": {"type": "q35", "viommu": "virtio"},
    "memory": 2048,
    "migrate_downtime": 0.5,
    "migrate_speed": 100,
    "nameserver": ["192.0.2.53"],
    "net": {"net1": {"model": "e1000", "bridge": "vmbr0", "tag": 5}},
    "numa": True,
    "numa_nodes": {"numa0": {"cpus": "0-1", "memory": 1024}},
    "onboot": True,
    "ostype": "l24",
    "parallel": {"parallel0": "/dev/parport0"},
    "protection": True,
    "reboot": False,
    "rng0": {"source": "/dev/urandom", "max_bytes": 2048},
    "sata": {"sata0": {"storage": "local-lvm", "size": "1G", "ssd": True}},
    "scsi": {"scsi0": {"storage": "local-lvm", "size": "10G", "backup": False}},
    "scsihw": "virtio-scsi-pci",
    "searchdomain": ["lab.test"],
    "serial": {"serial0": "socket"},
    "shares": 500,
    "smbios1": {"serial": "MTIz", "base64": True},
    "sockets": 2,
    "spice_enhancements": {"foldersharing": True},
    "sshkeys": KEYS,
    "startdate": "2026-06-17",
    "startup": {"order": 1, "up": 5},
    "tablet": False,
    "tags": ["b", "A"],
    "tdf": True,
    "usb": {"usb0": {"host": "1234:5678", "usb3": True}},
    "vcpus": 2,
    "vga": {"type": "virtio", "memory": 64},
    "virtio": {"virtio0": {"storage": "local-lvm", "size": "1G", "cache": "writeback"}},
    "vmgenid": "0",
    "vmstatestorage": "local",
    "watchdog": {"model": "i6300esb", "action": "reset"},
}
ROOT_ONLY = (
    *("affinity", "args", "hookscript", "hostpci", "hugepages", "ivshmem", "keephugepages", "parallel"),
    *("spice_enhancements", "usb", "vmgenid"),
)


@pytest.mark.parametrize("option", sorted(CHANGES))
def test_each_option_changed_alone(api, run, machine, both, kept, option):
    if option in ROOT_ONLY:
        run.as_root()
    run("pve_qemu", machine())
    change = {"vmid": 300, option: CHANGES[option]}
    names = [*CHANGES[option]] if isinstance(CHANGES[option], dict) and option in numbered() else [option]
    assert set(both(change)["changes"]) == set(names)
    api.requests()
    assert not run("pve_qemu", change)["changed"]
    assert api.changes() == []
    if option in ("memory", "boot", "machine", "scsi"):
        return
    emptied = dict.fromkeys(names) if option in numbered() else empty(CHANGES[option])
    removed = {"vmid": 300, **({option: emptied} if emptied is not None else {"delete": [option]})}
    both(removed)
    assert not run("pve_qemu", removed)["changed"]


def numbered():
    return importlib.import_module("ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu").QEMU_NUMBERED


def empty(value):
    """What takes an option away, or nothing if only its name does."""
    return {dict: {}, list: []}.get(type(value))


@pytest.mark.parametrize(
    ("option", "spelling"),
    [
        ("agent", "1"), ("agent", "enabled=1"), ("agent", {"enabled": "yes", "type": "virtio"}),
        ("net", {"net0": "virtio,firewall=1,bridge=vmbr0"}),
        ("net", {"net0": "model=virtio,bridge=vmbr0,firewall=1,link_down=0"}),
        ("scsi", {"scsi0": "local-lvm:8,iothread=1,discard=on"}),
        ("scsi", {"scsi0": {"storage": "local-lvm", "size": "8192M", "discard": "on", "iothread": "on",
                            "backup": True}}),
        ("ide", {"ide2": "local:iso/debian.iso,media=cdrom"}),
        ("efidisk0", "local-lvm:1,pre-enrolled-keys=1,efitype=4m"),
        ("tpmstate0", "version=v2.0,storage=local-lvm"),
        ("boot", {"order": ["scsi0", "ide2"]}),
        ("machine", {"type": "q35"}),
        ("hotplug", "1"), ("hotplug", ["usb", "disk", "network"]),
        ("tablet", True), ("cpulimit", 0), ("vga", "std"),
    ],
)  # fmt: skip
def test_another_spelling_is_the_same(run, machine, kept, option, spelling):
    run("pve_qemu", machine(agent=True))
    kept({"vmid": 300, option: spelling})


# ---------------------------------------------------------------------------------------------------- traps


def drives(api):
    return {key: value for key, value in config(api).items() if key[:4] in ("scsi", "efid", "tpms", "net0", "ide2")}


def test_trap_vm_update_ignores_drift(api, run, machine, both, kept):
    run("pve_qemu", machine())
    api.pve.vm(300).config.update(memory="512", cores=8, tags="theirs")
    result = both(machine(tags=["ours"]))
    assert set(result["changes"]) == {"memory", "cores", "tags"}
    assert (config(api)["memory"], config(api)["cores"], config(api)["tags"]) == ("1024", 2, "ours")
    kept(machine(tags=["ours"]))


@pytest.mark.parametrize("options", [{"memory": 2048}, {"cores": 4, "description": "text"}, {"tags": ["a"]}])
def test_trap_vm_update_drops_disks_nics_efi_and_tpm(api, run, machine, both, options):
    run("pve_qemu", machine())
    before = drives(api)
    assert both({"vmid": 300, **options})["changed"]
    assert both(machine(**options))["changed"] is False
    assert drives(api) == before


def test_trap_vm_update_is_changed_on_every_repeat(run, machine, kept):
    options = machine(agent=True, description="text", sshkeys=KEYS, ciuser="admin", cpu="host", vga="virtio")
    run("pve_qemu", options)
    kept(options)


def test_trap_mac_address_of_a_card_is_new_at_every_change(api, run, machine):
    run("pve_qemu", machine())
    before = config(api)["net0"].split(",")[0]
    run("pve_qemu", {"vmid": 300, "net": {"net0": "virtio,bridge=vmbr0,tag=7"}})
    assert config(api)["net0"] == f"{before},bridge=vmbr0,tag=7"


def test_trap_mac_address_in_lower_case(run, machine, kept):
    run("pve_qemu", machine(net={"net0": f"virtio={MAC},bridge=vmbr0"}))
    kept({"vmid": 300, "net": {"net0": {"model": "virtio", "macaddr": MAC.lower(), "bridge": "vmbr0"}}})


def test_trap_option_turned_off_in_a_card(api, run, machine, both):
    run("pve_qemu", machine())
    both({"vmid": 300, "net": {"net0": {"model": "virtio", "bridge": "vmbr0"}}})
    assert "firewall" not in config(api)["net0"]


def test_trap_disk_option_removed(api, run, machine, both):
    run("pve_qemu", machine())
    both({"vmid": 300, "scsi": {"scsi0": {"storage": "local-lvm", "size": 8}}})
    assert config(api)["scsi0"] == "local-lvm:vm-300-disk-1,size=8G"


# ---------------------------------------------------------------------------------------------------- disks


def test_a_disk_grows_by_resize(api, run, machine, both):
    run("pve_qemu", machine())
    api.requests()
    assert both({"vmid": 300, "scsi": {"scsi0": "local-lvm:16,discard=on,iothread=1"}})["actions"] == [
        "resize scsi0 to 16G"
    ]
    assert [write.path for write in api.writes()] == ["/nodes/pve1/qemu/300/resize"]
    assert config(api)["scsi0"] == "local-lvm:vm-300-disk-1,discard=on,iothread=1,size=16G"


def test_a_disk_is_imported_and_grown(api, run, machine, both, kept):
    imported = {"storage": "local-lvm", "import-from": "local:import/debian.qcow2", "size": "10G"}
    assert both(machine(scsi={"scsi0": imported}))["actions"] == ["create", "resize scsi0 to 10G"]
    assert config(api)["scsi0"].endswith(",size=10G")
    kept(machine(scsi={"scsi0": imported}))


def test_a_disk_is_imported_as_it_is(api, run, machine, both, kept):
    imported = {"storage": "local-lvm", "import-from": "local:import/debian.qcow2"}
    both(machine())
    both({"vmid": 300, "scsi": {"scsi1": imported}})
    assert config(api)["scsi1"].endswith(",size=3G")
    kept({"vmid": 300, "scsi": {"scsi1": imported}})
    same = {**imported, "size": "3G"}
    assert both({"vmid": 300, "scsi": {"scsi2": same}})["actions"] == ["update scsi2"]


def test_a_disk_left_out_stays(api, run, machine, kept):
    run("pve_qemu", machine())
    before = drives(api)
    kept(machine(scsi={}, ide=..., efidisk0=..., tpmstate0=..., net={}))
    assert drives(api) == before


@pytest.mark.parametrize("how", [{"scsi": {"scsi1": None}}, {"delete": ["scsi1"]}], ids=["null", "delete"])
def test_a_disk_that_is_removed_is_detached_and_said_so(api, run, machine, both, how):
    disks = {"scsi0": "local-lvm:8,discard=on,iothread=1", "scsi1": "local-lvm:2"}
    run("pve_qemu", machine(scsi=disks))
    volume = config(api)["scsi1"].split(",")[0]
    actions = both({"vmid": 300, **how})["actions"]
    assert actions == ["update scsi1 (detach scsi1: each volume stays as an unused one of the guest)"]
    assert config(api)["unused0"] == volume
    assert both({"vmid": 300, "scsi": {"scsi3": volume}})["changed"]


def test_the_efi_disk_and_the_tpm_are_detached_only_when_told(api, run, machine, both):
    run("pve_qemu", machine())
    both({"vmid": 300, "efidisk0": {}, "tpmstate0": ""})
    assert {"efidisk0", "tpmstate0"} & config(api).keys() == set()
    assert {"unused0", "unused1"} <= config(api).keys()


def test_the_image_of_a_cd_drive_is_changed_and_ejected(api, run, machine, both, kept):
    run("pve_qemu", machine())
    for volume in ("local:iso/windows.iso", "none", "local:iso/debian.iso"):
        options = {"vmid": 300, "ide": {"ide2": {"volume": volume, "media": "cdrom"}}}
        both(options)
        assert config(api)["ide2"].startswith(f"{volume},media=cdrom")
        kept(options)
    assert not any(key.startswith("unused") for key in config(api))


def test_the_drive_of_cloud_init(api, run, machine, both, kept):
    options = machine(ide={"ide0": "local-lvm:cloudinit"}, boot="order=scsi0", ciuser="admin", sshkeys=KEYS)
    both(options)
    assert config(api)["ide0"] == "local-lvm:vm-300-cloudinit,media=cdrom"
    kept(options)
    both({"vmid": 300, "ide": {"ide0": None}})
    assert not any(key.startswith(("ide0", "unused")) for key in config(api))


def test_a_cd_drive_added_joins_the_boot_order_unless_told(api, run, machine, both, kept):
    run("pve_qemu", machine(ide=..., boot="order=scsi0"))
    both({"vmid": 300, "ide": {"ide1": "none,media=cdrom"}})
    assert config(api)["boot"] == "order=scsi0;ide1"
    run("pve_qemu", {"vmid": 300, "ide": {"ide3": "none,media=cdrom"}, "boot": "order=ide3;scsi0"})
    assert config(api)["boot"] == "order=ide3;scsi0"
    kept({"vmid": 300, "ide": {"ide3": "none,media=cdrom"}, "boot": "order=ide3;scsi0"})


def test_windows_pins_the_version_of_its_machine(api, run, machine, both, kept):
    options = machine(ostype="win11")
    both(options)
    assert config(api)["machine"].startswith("pc-q35-")
    kept(options)


# ----------------------------------------------------------------------------------------------- running


def test_pending_changes_are_told_apart_and_nothing_reboots(api, run, machine, kept):
    run("pve_qemu", machine(state="started"))
    api.requests()
    result = run("pve_qemu", machine(memory=2048, description="at once", onboot=True))
    assert (result["pending"], result["reboot_required"]) == (["memory"], True)
    assert result["changes"]["memory"] == {"before": 1024, "after": 2048}
    assert [write.path for write in api.writes()] == ["/nodes/pve1/qemu/300/config"]
    assert (api.pve.vm(300).status, api.pve.vm(300).config["memory"]) == ("running", "1024")
    again = run("pve_qemu", machine(memory=2048))
    assert (again["changed"], again["pending"], again["reboot_required"]) == (False, ["memory"], True)
    back = run("pve_qemu", machine(memory=1024))
    assert (back["changed"], back["pending"], back["reboot_required"]) == (True, [], False)


def test_a_machine_that_was_restarted_waits_for_nothing(run, machine):
    run("pve_qemu", machine(state="started"))
    run("pve_qemu", machine(memory=2048))
    run("pve_qemu", machine(memory=2048, state="stopped"))
    result = run("pve_qemu", machine(memory=2048, state="started"))
    assert (result["pending"], result["reboot_required"]) == ([], False)


def test_a_card_that_a_running_machine_does_not_let_go_of_waits(api, run, machine, kept):
    run("pve_qemu", machine(state="started"))
    api.pve.clinging = True
    options = {"vmid": 300, "net": {"net0": "virtio,bridge=vmbr0,tag=9"}}
    result = run("pve_qemu", options)
    assert result["changed"]
    assert (result["pending"], result["reboot_required"]) == (["net0"], True)
    assert "hotplug problem" in str(result["warnings"])
    kept(options)


def test_a_shutdown_that_the_guest_ignores_needs_force(api, run, machine):
    run("pve_qemu", machine(state="started"))
    api.pve.vm(300).acpi = False
    message = run.fails("pve_qemu", {"vmid": 300, "state": "stopped"})
    assert "got timeout" in message
    assert "force" in message
    assert run("pve_qemu", {"vmid": 300, "state": "stopped", "force": True})["status"] == "stopped"


def test_a_running_machine_is_destroyed_by_force_only(api, run, machine):
    run("pve_qemu", machine(state="started"))
    gone = {"vmid": 300, "hostname": "machine-300", "state": "absent"}
    assert "running" in run.fails("pve_qemu", gone)
    assert run("pve_qemu", {**gone, "force": True})["actions"] == ["stop", "destroy"]


# ----------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"net": {"net0": {"model": "virtio", "brigde": "vmbr0"}}}, ["net0", "brigde", "bridge"]),
        ({"net": {"net0": {"bridge": "vmbr0"}}}, ["net0", "'model' is missing"]),
        ({"net": {"net0": "virtio,bridge=vmbr9"}}, ["net0", "vmbr9", "vmbr0"]),
        ({"scsi": {"scsi0": "nosuch:8"}}, ["scsi0", "nosuch", "local-lvm"]),
        ({"scsi": {"scsi0": {"storage": "local-lvm"}}}, ["scsi0", "'size' is missing"]),
        ({"scsi": {"disk": "local-lvm:8"}}, ["'disk'", "scsi0"]),
        ({"ide": {"ide2": "local:iso/nosuch.iso,media=cdrom"}}, ["ide2", "nosuch.iso", "debian.iso"]),
        ({"ide": {"ide2": "local:iso/debian.iso"}}, ["ide2", "media=cdrom"]),
        ({"scsi": {"scsi0": {"storage": "local-lvm", "import-from": "local:import/no.qcow2"}}}, ["scsi0", "no.qcow2"]),
        ({"scsi": {"scsi0": {"storage": "local-lvm", "import-from": "local:import/debian.qcow2", "size": "1G"}}},
         ["scsi0", "3G", "1G"]),
        ({"boot": "order=scsi9"}, ["boot", "scsi9"]),
        ({"machine": "pc", "hostpci": {"hostpci0": {"mapping": "gpu", "pcie": True}}}, ["hostpci0", "q35"]),
        ({"hostpci": {"hostpci0": {"mapping": "nosuch"}}}, ["hostpci0", "nosuch"]),
        ({"hostpci": {"hostpci0": "zz:00"}}, ["hostpci0", "zz:00", "0000:01:00"]),
        ({"memory": 999999}, ["memory", "pve1"]),
        ({"node": "pve9"}, ["pve9", "pve1"]),
        ({"hostname": "bad_name"}, ["hostname", "bad_name"]),
        ({"tpmstate0": {"storage": "local-lvm", "version": "v3"}}, ["tpmstate0", "v3", "v2.0"]),
        ({"agent": {"enable": True}}, ["agent", "enable", "enabled"]),
        ({"ipconfig": {"ipconfig0": "ip=192.0.2.5"}}, ["ipconfig0", "192.0.2.5", "/24"]),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_the_first_write(api, run, machine, options, words):
    message = run.fails("pve_qemu", machine(**options))
    assert api.writes() == []
    for word in ["guest 300", *words]:
        assert word in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scsi": {"scsi0": "local-lvm:4"}}, ["scsi0", "8G", "cannot shrink"]),
        ({"scsi": {"scsi0": "local:8"}}, ["scsi0", "'local-lvm'", "'local'", "move"]),
        ({"scsi": {"scsi0": "local-lvm:vm-300-disk-9"}}, ["scsi0", "detach"]),
        ({"scsi": {"scsi0": "none,media=cdrom"}}, ["scsi0", "detach"]),
        ({"scsi": {"scsi0": {"storage": "local-lvm", "size": 8, "format": "qcow2"}}}, ["scsi0", "raw", "qcow2"]),
        ({"ide": {"ide2": "local-lvm:8"}}, ["ide2", "local:iso/debian.iso", "detach"]),
        ({"ide": {"ide2": "local-lvm:cloudinit"}}, ["ide2", "detach"]),
        ({"efidisk0": {"storage": "local-lvm"}}, ["efidisk0", "efitype=4m", "2m"]),
        ({"tpmstate0": {"storage": "local-lvm", "version": "v1.2"}}, ["tpmstate0", "version=v2.0", "v1.2"]),
        ({"delete": ["unused0"]}, ["delete", "unused0"]),
        ({"boot": "order=net5"}, ["boot", "net5"]),
    ],
)  # fmt: skip
def test_what_would_lose_data_is_refused(api, run, machine, options, words):
    run("pve_qemu", machine())
    api.requests()
    message = run.fails("pve_qemu", {"vmid": 300, **options})
    assert api.writes() == []
    for word in ["guest 300", *words]:
        assert word in message


def test_a_protected_machine_keeps_its_disks(api, run, machine):
    run("pve_qemu", machine(protection=True, scsi={"scsi0": "local-lvm:8", "scsi1": "local-lvm:1"}))
    api.requests()
    assert "protected" in run.fails("pve_qemu", {"vmid": 300, "scsi": {"scsi1": None}})
    assert "protected" in run.fails("pve_qemu", {"vmid": 300, "state": "absent"})
    assert api.writes() == []
    assert run("pve_qemu", {"vmid": 300, "scsi": {"scsi1": None}, "protection": False})["changed"]


def test_addresses_are_given_once(run, machine):
    run("pve_qemu", machine(net={"net0": f"virtio={MAC},bridge=vmbr0"}, ipconfig={"ipconfig0": "ip=192.0.2.9/24"}))
    assert MAC in run.fails("pve_qemu", machine(301, net={"net0": f"e1000={MAC.lower()},bridge=vmbr0"}))
    assert "192.0.2.9" in run.fails("pve_qemu", machine(301, ipconfig={"ipconfig0": "ip=192.0.2.9/24"}))


def test_another_writer_is_never_overwritten(api, run, machine):
    run("pve_qemu", machine())
    written = []
    write = api.pve._apply_config

    async def race(vm, user, values):
        if not written:
            written.append(values)
            vm.config["cores"] = 8
        return await write(vm, user, values)

    api.pve._apply_config = race
    assert run("pve_qemu", {"vmid": 300, "memory": 2048})["changed"]
    assert (config(api)["memory"], config(api)["cores"]) == ("2048", 8)


def test_an_agent_option_alone_says_that_the_agent_is_off(api, run, machine, both):
    run("pve_qemu", machine())
    both({"vmid": 300, "agent": {"fstrim_cloned_disks": True}})
    assert config(api)["agent"] == "0,fstrim_cloned_disks=1"


def test_a_disk_grows_while_an_option_of_it_waits_for_a_restart(api, run, machine, kept):
    run("pve_qemu", machine(state="started"))
    assert run("pve_qemu", {"vmid": 300, "scsi": {"scsi0": "local-lvm:8,cache=writeback"}})["pending"] == ["scsi0"]
    grown = {"vmid": 300, "scsi": {"scsi0": "local-lvm:9,cache=writeback"}}
    assert run("pve_qemu", grown)["pending"] == ["scsi0"]
    assert api.pve.vm(300).config["scsi0"].endswith("size=9G")
    assert config(api)["scsi0"] == "local-lvm:vm-300-disk-1,cache=writeback,size=9G"
    kept(grown)


def test_answers_of_writes_that_are_lost(api, run, machine, kept):
    """The write happens and its answer never arrives; the work goes on with what is there."""
    answer, lost = api.pve._answer, api.lose_answers()
    larger = machine(scsi={"scsi0": "local-lvm:9,discard=on,iothread=1", "scsi1": "local-lvm:1"}, state="started")
    for options in (machine(state="started"), larger):
        assert run("pve_qemu", options)["changed"]
    assert [path.rpartition("/")[2] for path in lost] == ["qemu", "start", "resize", "config"]
    api.pve._answer = answer
    assert [key for key in config(api) if key.startswith("unused")] == []
    kept(larger)


PRIVILEGES = (
    *("VM.Allocate", "VM.Audit", "VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Disk", "VM.Config.HWType"),
    *("VM.Config.Memory", "VM.Config.Network", "VM.Config.Options", "VM.PowerMgmt"),
    *("Datastore.AllocateSpace", "Datastore.Audit", "SDN.Use"),
)


def limited(api, *privileges):
    """The login of a token that has these privileges and no others."""
    api.pve.apitokens["limited@pve!life"] = SECRET
    api.pve.acl = {}
    for privilege in privileges:
        api.pve.grant("limited@pve", "/", privilege)
    return {"api_user": "limited@pve", "api_token_id": "life"}


def test_the_documented_privileges_are_enough(api, run, machine):
    login = limited(api, *PRIVILEGES)
    assert run("pve_qemu", machine(state="started", **login))["changed"]
    assert run("pve_qemu", machine(memory=2048, scsi={"scsi0": "local-lvm:16"}, **login))["changed"]
    assert run("pve_qemu", {"vmid": 300, "state": "absent", "force": True, **login})["changed"]


def test_a_missing_privilege_is_named(api, run, machine):
    login = limited(api, *(privilege for privilege in PRIVILEGES if privilege != "VM.Config.Memory"))
    message = run.fails("pve_qemu", machine(**login))
    for word in ("VM.Config.Memory", "limited@pve", "privilege"):
        assert word in message
    assert api.pve.vms == []


# ------------------------------------------------------------------------------------------------ secrets


def test_secrets_are_never_shown(api, run, machine, kept):
    options = machine(cipassword=PASSWORD, ciuser="admin")
    run("pve_qemu", options, check=True)
    created = run("pve_qemu", options)
    assert created["diff"]["after"]["300 machine-300"]["cipassword"] == "(hidden)"
    assert config(api)["cipassword"] == PASSWORD
    kept(options)
    kept({**options, "cipassword": PASSWORD + "-other"})
    assert run("pve_qemu", {**options, "cipassword": PASSWORD + "-other", "update_password": "always"})["changed"]
    assert config(api)["cipassword"] == PASSWORD + "-other"
    run("pve_qemu", {"vmid": 300, "cipassword": ""})
    assert "cipassword" not in config(api)
    run.fails("pve_qemu", {**options, "node": "nosuch", "vmid": 301})
    run.fleet({**options, "type": "qemu"})
    assert PASSWORD not in run.output
    assert SECRET not in run.output


def test_a_password_is_not_put_on_a_command_line(run, machine):
    message = run.fails("pve_qemu", machine(cipassword=PASSWORD, api_backend="local"))
    assert "cipassword" in message
    assert "sshkeys" in message


# -------------------------------------------------------------------------------------------------- fleet


def test_both_kinds_in_one_call(api, run, container, machine):
    guests = [container(state="started"), machine(type="qemu", state="started")]
    predicted = run.fleet(*guests, check=True)
    made = run.fleet(*guests)
    assert made["diff"] == predicted["diff"]
    assert [(guest["type"], guest["status"]) for guest in made["guests"]] == [("lxc", "running"), ("qemu", "running")]
    api.requests()
    assert not run.fleet(*guests)["changed"]
    requests = api.requests()
    assert [request for request in requests if request.method != "GET"] == []
    assert len(requests) <= 5


@pytest.mark.parametrize(
    ("guest", "words"),
    [
        ({"type": "qemu", "rootfs": "local-lvm:8"}, ["'rootfs'", "virtual machine"]),
        ({"type": "qemu", "ostemplate": "local:vztmpl/x.tar.zst"}, ["'ostemplate'", "virtual machine"]),
        ({"type": "lxc", "scsi": {"scsi0": "local-lvm:8"}}, ["'scsi'", "container"]),
        ({"type": "qemu", "ostype": "debian"}, ["ostype", "debian", "l26"]),
    ],
)
def test_an_option_of_the_other_kind_is_refused(api, run, guest, words):
    message = run.fleet_fails({"vmid": 300, "node": "pve1", "hostname": "mixed", **guest})
    assert api.writes() == []
    for word in words:
        assert word in message


def test_a_creation_that_was_interrupted_is_left_alone(api, run, machine):
    run("pve_qemu", machine())
    api.pve.vm(300).config["lock"] = api.pve.vm(300).lock = "create"
    message = run.fails("pve_qemu", machine(memory=2048))
    assert "qm destroy 300" in message
