# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of virtual machines, and the kinds of guests together."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from ansible_collections.onprem.cloud.plugins.module_utils.pve.lxc import (
    CONTROL,
    CREATION,
    FLAG,
    HOSTNAME,
    LXC,
    STARTUP,
    TAGS,
    Kind,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    DICT,
    FLOAT,
    INT,
    LIST,
    RAW,
    STR,
    UNITS,
    Address,
    Boolean,
    Invalid,
    Mac,
    Mount,
    Network,
    Note,
    Number,
    Option,
    PropertyString,
    Size,
    Text,
    Words,
)

MODELS = (
    *("e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b", "i82559er"),
    *("ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "virtio", "vmxnet3"),
)
CLOUDINIT = re.compile(r"[^:/]+:(.*[/])?(vm-\d+-)?cloudinit(\.\w+)?")
FORMATS = ("raw", "qcow", "qed", "qcow2", "vmdk", "cloop")
ROOTS = re.compile(
    r"affinity|amd-sev|arch|args|hookscript|hugepages|intel-tdx|ivshmem|keephugepages|spice_enhancements|vmgenid"
    r"|parallel\d+"
)
PCI = re.compile(r"(?:([0-9a-f]{4,}):)?([0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-9a-f])?)", re.IGNORECASE)


class Memory(Number):
    """MiB, with the name that Proxmox VE may write before it."""

    def parse(self, value: Any) -> float:
        return super().parse(re.sub(r"^\s*current=", "", str(value)) if isinstance(value, str) else value)


class Hotplug(Words):
    """What can be plugged into a running machine; 1 stands for what is usual, 0 for nothing."""

    USUAL = ("disk", "network", "usb")

    def parse(self, value: Any) -> list[str]:
        words = super().parse(value)
        if words in (["1"], ["true"]):
            return [*self.USUAL]
        return ["0"] if words == ["false"] else words


class Keys(Words):
    """Public keys, which Proxmox VE takes and shows percent-encoded; their order has no meaning."""

    def parse(self, value: Any) -> list[str]:
        parts = value if isinstance(value, (list, tuple)) else [value]
        lines = [line.strip() for part in parts for line in self.decoded(str(part)).splitlines()]
        return sorted({line for line in lines if line})

    @staticmethod
    def decoded(text: str) -> str:
        return text if " " in text else urllib.parse.unquote(text)

    def format(self, value: list[str]) -> str:
        return urllib.parse.quote("\n".join(value), safe="")


class PciAddress(Text):
    """An address of the node's bus; its domain may be left out."""

    def parse(self, value: Any) -> str:
        parts = value if isinstance(value, (list, tuple)) else str(value).split(";")
        found = [PCI.fullmatch(str(part).strip()) for part in parts]
        if not all(found):
            raise Invalid(f"'{value}' is not a PCI address such as 0000:01:00 or 0000:01:00.0")
        return ";".join(f"{match[1] or '0000'}:{match[2]}".lower() for match in found if match)


class Agent(PropertyString):
    """Options of the guest agent: one has two names more, and Proxmox VE wants to be told whether it is enabled."""

    def split(self, value: Any) -> dict[str, Any]:
        aliases = dict.fromkeys(("freeze-fs-on-backup", "guest-fsfreeze"), "freeze-fs")
        return {aliases.get(key, key): item for key, item in super().split(value).items()}

    def format(self, value: dict[str, Any]) -> str:
        return super().format({"enabled": False, **value})


class Card(PropertyString):
    """A network card: the model and its address may be one pair, ``virtio=BC:24:11:00:00:01``."""

    def split(self, value: Any) -> dict[str, Any]:
        pairs = super().split(value)
        for model in MODELS:
            if model in pairs:
                pairs.update(model=model, macaddr=pairs.pop(model))
        return pairs

    def format(self, value: dict[str, Any]) -> str:
        rest = {key: item for key, item in value.items() if key not in ("model", "macaddr")}
        first = value.get("model", "") + (f"={value['macaddr']}" if "macaddr" in value else "")
        return ",".join(filter(None, [first, super().format(rest)]))


class Machine(PropertyString):
    """A machine's type; Proxmox VE adds the version it pins for Windows to q35 and pc."""

    @staticmethod
    def pinned(wanted: dict[str, Any], current: dict[str, Any]) -> bool:
        """Whether the current type is what is wanted, with or without a version."""
        family = {"q35": "pc-q35-", "pc": "pc-i440fx-"}.get(wanted.get("type", ""), "?")
        return current.get("type", "pc-i440fx-" if family == "pc-i440fx-" else "").startswith(family)

    def complete(self, wanted: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
        if not self.pinned(wanted, current):
            return wanted
        return {**{key: item for key, item in wanted.items() if key != "type"}, **self.only_type(current)}

    @staticmethod
    def only_type(value: dict[str, Any]) -> dict[str, Any]:
        return {key: item for key, item in value.items() if key == "type"}

    def visible(self, value: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        return {**value, **self.only_type(wanted)} if self.pinned(wanted, value) else value


ALIASES = {
    "file": "volume",
    **{f"{rate}_length": f"{rate}_max_length" for rate in ("bps_rd", "bps_wr", "iops_rd", "iops_wr")},
}


class Drive(Mount):
    """A disk or a CD drive. ``storage`` and ``size`` make a new disk, ``volume`` names one that is there.

    ``fixed`` are the keys that say what is made; PVE cannot change them afterwards.
    """

    def __init__(self, kinds: dict[str, Any], *, sized: bool = True, fixed: tuple[str, ...] = (), **rest: Any) -> None:
        kept = ("volume", "storage", "size", "format", *rest.pop("kept", ()))
        super().__init__({**VOLUME, **kinds}, bare="volume", kept=kept, **rest)
        self.sized, self.fixed = sized, fixed

    def split(self, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            value = {ALIASES.get(str(key), key): item for key, item in value.items()}
        else:
            value = re.sub(r"(^|,)\s*file=", r"\1volume=", str(value))
        return {ALIASES.get(key, key): item for key, item in super().split(value).items()}

    def parse(self, value: Any) -> dict[str, Any]:
        parsed = PropertyString.parse(self, value)
        volume = parsed.get("volume", "")
        if ":" in volume:
            parsed["storage"] = volume.partition(":")[0]
        if CLOUDINIT.fullmatch(volume):
            parsed["media"] = "cdrom"
        if parsed.get("media") == "cdrom":
            parsed.setdefault("volume", "none")
            return {key: item for key, item in parsed.items() if key not in ("size", "format")}
        if ":" in volume:
            suffix = volume.rpartition(".")[2]
            parsed["format"] = suffix if suffix in FORMATS else "raw"
        if not self.sized or ("import-from" in parsed and not parsed.get("size")):
            parsed.pop("size", None)
        return parsed

    def check(self, value: dict[str, Any]) -> None:
        super().check(value)
        if value and value.get("media") != "cdrom" and ":iso/" in value.get("volume", ""):
            raise Invalid(f"'{value['volume']}' is the image of a disc, add media=cdrom")

    def format(self, value: dict[str, Any]) -> str:
        value = dict(value)
        storage, source = value.pop("storage", ""), value.pop("import-from", "")
        if "volume" in value:
            value.pop("format", None)
        else:
            size = value.pop("size", 0 if source or self.sized else UNITS["G"]) / UNITS["G"]
            value["volume"] = f"{storage}:0" if source else f"{storage}:{size:.10g}"
            if source:
                value["import-from"] = source
        return PropertyString.format(self, value)

    def complete(self, wanted: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
        if not current:
            return wanted
        if wanted.get("media") == "cdrom":
            same = CLOUDINIT.fullmatch(wanted["volume"]) and CLOUDINIT.fullmatch(current.get("volume", ""))
            return {**wanted, "volume": current["volume"]} if same else wanted
        return super().complete({key: item for key, item in wanted.items() if key != "import-from"}, current)

    def visible(self, value: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        shown = super().visible(value, wanted)
        shown.pop("import-from", None)
        if CLOUDINIT.fullmatch(wanted.get("volume", "")) and CLOUDINIT.fullmatch(value.get("volume", "")):
            shown["volume"] = wanted["volume"]
        return shown

    @staticmethod
    def made(value: dict[str, Any]) -> bool:
        """Whether sending the value makes a volume."""
        return "volume" not in value or bool(re.fullmatch(r"[^:/]+:cloudinit", value["volume"]))

    def flaw(self, wanted: dict[str, Any]) -> str:
        """Why a new drive cannot be made, if it cannot."""
        if self.sized and not {"volume", "size", "import-from"} & wanted.keys():
            return "'size' is missing, a new volume needs it"
        return ""

    def clash(self, key: str, wanted: dict[str, Any], current: dict[str, Any]) -> str:
        """Why the drive that is there cannot become what is wanted, if it cannot."""
        holds = f"{key} holds {current.get('volume')}, detach it ({key}: null) before you attach another"
        discs = [value.get("media") == "cdrom" for value in (wanted, current)]
        if discs[0] != discs[1]:
            return holds
        if discs[0]:
            both = [bool(CLOUDINIT.fullmatch(value["volume"])) for value in (wanted, current)]
            moved = all(both) and wanted["storage"] != current["storage"]
            return holds if moved or both[0] != both[1] else ""
        if wanted.get("volume", current.get("volume")) != current.get("volume"):
            return holds
        for name in self.fixed:
            old, new = (value.get(name, self.defaults.get(name)) for value in (current, wanted))
            if old != new:
                spelled = [str(self.kinds[name].format(item)) for item in (old, new)]
                return (
                    f"{key} was made with {name}={spelled[0]}, not {spelled[1]}: write {name}={spelled[0]}, or detach "
                    f"it ({key}: null) in a run of its own to have a new one made"
                )
        return ""


VOLUME = {"volume": Text(), "storage": Text(), "size": Size(), "format": Text(FORMATS), "import-from": Text()}
INTEGER, DECIMAL, LENGTH = Number(0), Number(0, integer=False), Number(1)
DISK_KINDS = {
    "aio": Text(("native", "threads", "io_uring")), "backup": Boolean(),
    "cache": Text(("none", "writethrough", "writeback", "unsafe", "directsync")), "detect_zeroes": Boolean(),
    "discard": Text(("ignore", "on")), "iothread": Boolean(), "media": Text(("cdrom", "disk")), "model": Text(),
    "product": Text(), "queues": Number(2), "replicate": Boolean(), "ro": Boolean(),
    "rerror": Text(("ignore", "report", "stop")), "scsiblock": Boolean(), "serial": Text(), "shared": Boolean(),
    "snapshot": Boolean(), "ssd": Boolean(), "vendor": Text(),
    "werror": Text(("enospc", "ignore", "report", "stop")),
    "wwn": Text(pattern="0x[0-9a-fA-F]{16}", hint="a world wide name such as 0x5000c500a1b2c3d4"),
    **dict.fromkeys(("mbps", "mbps_max", "mbps_rd", "mbps_rd_max", "mbps_wr", "mbps_wr_max"), DECIMAL),
    **dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_max", "iops_rd", "iops_rd_max", "iops_wr",
                     "iops_wr_max"), INTEGER),
    **dict.fromkeys(("bps_max_length", "bps_rd_max_length", "bps_wr_max_length", "iops_max_length",
                     "iops_rd_max_length", "iops_wr_max_length"), LENGTH),
}  # fmt: skip
DISK_DEFAULTS = {
    "backup": True, "discard": "ignore", "iothread": False, "media": "disk", "replicate": True, "ro": False,
    "scsiblock": False, "shared": False, "snapshot": False, "ssd": False,
}  # fmt: skip


def disk(*without: str) -> Drive:
    """The drive of a bus that does not have all the keys."""
    return Drive({key: kind for key, kind in DISK_KINDS.items() if key not in without}, defaults=DISK_DEFAULTS)


SCSI = disk("model")
VIRTIO = disk("model", "product", "queues", "scsiblock", "ssd", "vendor", "wwn")
SATA = disk("iothread", "model", "product", "queues", "ro", "scsiblock", "vendor")
IDE = disk("iothread", "product", "queues", "ro", "scsiblock", "vendor")
EFIDISK = Drive(
    {"efitype": Text(("2m", "4m")), "pre-enrolled-keys": Boolean(),
     "ms-cert": Text(("2011", "2023", "2023w", "2023k"))},
    sized=False, defaults={"efitype": "2m", "pre-enrolled-keys": False}, kept=("ms-cert",),
    fixed=("efitype", "pre-enrolled-keys"),
)  # fmt: skip
TPMSTATE = Drive({"version": Text(("v1.2", "v2.0"))}, sized=False, defaults={"version": "v1.2"}, fixed=("version",))
NET = Card(
    {
        "model": Text(MODELS), "macaddr": Mac(), "bridge": Text(), "firewall": Boolean(), "host-tunnel": Boolean(),
        "link_down": Boolean(), "mtu": Number(1, 65520), "queues": Number(0, 64), "rate": DECIMAL,
        "tag": Number(1, 4094), "trunks": Words(";", unordered=True, split=";"),
    },
    defaults={"firewall": False, "host-tunnel": False, "link_down": False},
    bare="model", required=("model",), kept=("macaddr",), first=("model", "bridge"),
)  # fmt: skip
HOSTPCI = PropertyString(
    {
        "host": PciAddress(), "mapping": Text(), "device-id": Text(), "driver": Text(("vfio", "keep")),
        "legacy-igd": Boolean(), "mdev": Text(), "pcie": Boolean(), "rombar": Boolean(), "romfile": Text(),
        "sub-device-id": Text(), "sub-vendor-id": Text(), "vendor-id": Text(), "x-vga": Boolean(),
    },
    defaults={"driver": "vfio", "legacy-igd": False, "pcie": False, "rombar": True, "x-vga": False}, bare="host",
)  # fmt: skip
USB = PropertyString(
    {"host": Text(), "mapping": Text(), "usb3": Boolean()}, defaults={"usb3": False}, bare="host",
)  # fmt: skip
IPCONFIG = PropertyString(
    {"ip": Network(4, ("dhcp",)), "gw": Address(), "ip6": Network(6, ("auto", "dhcp")), "gw6": Address()}
)
NUMA = PropertyString(
    {"cpus": Words(";", split=";"), "hostnodes": Words(";", split=";"), "memory": DECIMAL,
     "policy": Text(("preferred", "bind", "interleave"))},
    required=("cpus",),
)  # fmt: skip
VIRTIOFS = PropertyString(
    {"dirid": Text(), "cache": Text(("auto", "always", "metadata", "never")), "direct-io": Boolean(),
     "expose-acl": Boolean(), "expose-xattr": Boolean()},
    defaults={"cache": "auto", "direct-io": False, "expose-acl": False, "expose-xattr": False},
    bare="dirid", required=("dirid",),
)  # fmt: skip
AGENT = Agent(
    {"enabled": Boolean(), "freeze-fs": Boolean(), "fstrim_cloned_disks": Boolean(), "type": Text(("virtio", "isa"))},
    defaults={"enabled": False, "freeze-fs": True, "fstrim_cloned_disks": False, "type": "virtio"}, bare="enabled",
)  # fmt: skip
CPU = PropertyString(
    {"cputype": Text(), "flags": Words(";", unordered=True, split=r"[;\s]+"), "guest-phys-bits": INTEGER,
     "hidden": Boolean(), "hv-vendor-id": Text(), "level": INTEGER, "phys-bits": Text(), "reported-model": Text()},
    defaults={"hidden": False}, bare="cputype",
)  # fmt: skip
MACHINE = Machine(
    {"type": Text(), "aw-bits": Number(32, 64), "enable-s3": Boolean(), "enable-s4": Boolean(),
     "viommu": Text(("intel", "virtio"))},
    bare="type",
)  # fmt: skip
BOOT = PropertyString({"legacy": Text(), "order": Words(";", split=r"[;\s]+")}, bare="legacy")
VGA = PropertyString(
    {"type": Text(("cirrus", "qxl", "qxl2", "qxl3", "qxl4", "none", "serial0", "serial1", "serial2", "serial3", "std",
                   "virtio", "virtio-gl", "vmware")),
     "clipboard": Text(("vnc",)), "memory": Number(4, 512)},
    defaults={"type": "std"}, bare="type",
)  # fmt: skip
SMBIOS = PropertyString(
    {"base64": Boolean(),
     **dict.fromkeys(("family", "manufacturer", "product", "serial", "sku", "uuid", "version"), Text())},
    defaults={"base64": False}, kept=("uuid",),
)  # fmt: skip
RNG = PropertyString(
    {"source": Text(("/dev/urandom", "/dev/random", "/dev/hwrng")), "max_bytes": INTEGER, "period": INTEGER},
    defaults={"max_bytes": 1024, "period": 1000}, bare="source", required=("source",),
)  # fmt: skip
AUDIO = PropertyString(
    {"device": Text(("ich9-intel-hda", "intel-hda", "AC97")), "driver": Text(("spice", "none"))},
    defaults={"driver": "spice"}, required=("device",),
)  # fmt: skip
WATCHDOG = PropertyString(
    {"model": Text(("i6300esb", "ib700")),
     "action": Text(("reset", "shutdown", "poweroff", "pause", "debug", "none"))},
    bare="model",
)  # fmt: skip
CICUSTOM = PropertyString(dict.fromkeys(("meta", "network", "user", "vendor"), Text()))
SPICE = PropertyString(
    {"foldersharing": Boolean(), "videostreaming": Text(("off", "all", "filter"))},
    defaults={"foldersharing": False, "videostreaming": "off"},
)  # fmt: skip
IVSHMEM = PropertyString({"size": Number(1), "name": Text()}, required=("size",))
SEV = PropertyString(
    {"type": Text(("std", "es", "snp")), "allow-smt": Boolean(), "kernel-hashes": Boolean(), "no-debug": Boolean(),
     "no-key-sharing": Boolean()},
    defaults={"allow-smt": True, "kernel-hashes": False, "no-debug": False, "no-key-sharing": False},
    bare="type", required=("type",),
)  # fmt: skip
TDX = PropertyString(
    {"type": Text(("tdx",)), "attestation": Boolean(), "vsock-cid": INTEGER, "vsock-port": INTEGER},
    bare="type", required=("type",),
)  # fmt: skip
SERIAL = Text(pattern="/dev/[^,]+|socket", hint="socket or a path in /dev")
PARALLEL = Text(pattern=r"/dev/parport\d+|/dev/usb/lp\d+", hint="a path such as /dev/parport0")
GENERATION = Text(pattern=r"0|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", hint="a UUID, or 0 for none")

OSTYPES = (
    *("other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26", "solaris"),
)
KEYBOARDS = (
    *("de", "de-ch", "da", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is", "it", "ja"),
    *("lt", "mk", "nl", "no", "pl", "pt", "pt-br", "sv", "sl", "tr"),
)
SECRET = {"type": "str", "no_log": True}

QEMU_OPTIONS = {
    "acpi": Option(BOOL, Boolean(), True),
    "affinity": Option(STR, Text(), ""),
    "agent": Option(RAW, AGENT, {}),
    "allow_ksm": Option(BOOL, Boolean(), True),
    "amd_sev": Option(RAW, SEV, {}),
    "arch": Option(STR, Text(("x86_64", "aarch64")), ""),
    "args": Option(STR, Text(), ""),
    "audio0": Option(RAW, AUDIO, {}),
    "autostart": Option(BOOL, Boolean(), False),
    "balloon": Option(INT, Number(0)),
    "bios": Option(STR, Text(("seabios", "ovmf")), "seabios"),
    "boot": Option(RAW, BOOT, {}),
    "bootdisk": Option(STR, Text(), ""),
    "cicustom": Option(RAW, CICUSTOM, {}),
    "cipassword": Option(SECRET, Text(), "", secret=True),
    "citype": Option(STR, Text(("configdrive2", "nocloud", "opennebula")), ""),
    "ciupgrade": Option(BOOL, Boolean(), True),
    "ciuser": Option(STR, Text(), ""),
    "cores": Option(INT, Number(0, 8192), 1),
    "cpu": Option(RAW, CPU, {}),
    "cpulimit": Option(FLOAT, Number(0, 128, integer=False), 0),
    "cpuunits": Option(INT, Number(0, 262144, clamp=(1, 10000)), 100),
    "description": Option(STR, Note(), ""),
    "efidisk0": Option(RAW, EFIDISK, {}),
    "freeze": Option(BOOL, Boolean(), False),
    "hookscript": Option(STR, Text(), ""),
    "hostname": Option(STR, HOSTNAME, ""),
    "hotplug": Option(LIST, Hotplug(",", unordered=True, lower=True), [*Hotplug.USUAL]),
    "hugepages": Option(STR, Text(("any", "2", "1024")), ""),
    "intel_tdx": Option(RAW, TDX, {}),
    "ivshmem": Option(RAW, IVSHMEM, {}),
    "keephugepages": Option(BOOL, Boolean(), False),
    "keyboard": Option(STR, Text(KEYBOARDS), ""),
    "kvm": Option(BOOL, Boolean(), True),
    "localtime": Option(BOOL, Boolean()),
    "machine": Option(RAW, MACHINE, {}),
    "memory": Option(INT, Memory(16), 512),
    "migrate_downtime": Option(FLOAT, DECIMAL, 0.1),
    "migrate_speed": Option(INT, INTEGER, 0),
    "nameserver": Option(LIST, Words(" "), []),
    "numa": Option(BOOL, Boolean(), False),
    "onboot": Option(BOOL, Boolean(), False),
    "ostype": Option(STR, Text(OSTYPES), "other"),
    "protection": Option(BOOL, Boolean(), False),
    "reboot": Option(BOOL, Boolean(), True),
    "rng0": Option(RAW, RNG, {}),
    "scsihw": Option(STR, Text(("lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi")),
                     "lsi"),
    "searchdomain": Option(LIST, Words(" "), []),
    "shares": Option(INT, Number(0, 50000), 1000),
    "smbios1": Option(RAW, SMBIOS, {}),
    "sockets": Option(INT, Number(1), 1),
    "spice_enhancements": Option(RAW, SPICE, {}),
    "sshkeys": Option({**RAW, "no_log": False}, Keys("\n"), []),
    "startdate": Option(STR, Text(), "now"),
    "startup": Option(RAW, STARTUP, {}),
    "tablet": Option(BOOL, Boolean(), True),
    "tags": Option(LIST, TAGS, []),
    "tdf": Option(BOOL, Boolean(), False),
    "tpmstate0": Option(RAW, TPMSTATE, {}),
    "vcpus": Option(INT, Number(0), 0),
    "vga": Option(RAW, VGA, {}),
    "vmgenid": Option(STR, GENERATION, ""),
    "vmstatestorage": Option(STR, Text(), ""),
    "watchdog": Option(RAW, WATCHDOG, {}),
}  # fmt: skip

# Options that are a dict of numbered keys; the nodes of NUMA are numa0 and so on to Proxmox VE.
QEMU_NUMBERED = {
    "hostpci": Option(DICT, HOSTPCI, {}),
    "ide": Option(DICT, IDE, {}),
    "ipconfig": Option(DICT, IPCONFIG, {}),
    "net": Option(DICT, NET, {}),
    "numa_nodes": Option(DICT, NUMA, {}, key="numa"),
    "parallel": Option(DICT, PARALLEL, ""),
    "sata": Option(DICT, SATA, {}),
    "scsi": Option(DICT, SCSI, {}),
    "serial": Option(DICT, SERIAL, ""),
    "usb": Option(DICT, USB, {}),
    "virtio": Option(DICT, VIRTIO, {}),
    "virtiofs": Option(DICT, VIRTIOFS, {}),
}


def reserved(key: str, old: str, new: str) -> bool:
    """What Proxmox VE lets root@pam alone change in a virtual machine (API2/Qemu.pm of qemu-server)."""
    if ROOTS.fullmatch(key) or any("romfile=" in text for text in (old, new)):
        return True
    if re.fullmatch(r"(hostpci|usb)\d+", key):
        return any(text and not re.search(r"mapping=|^(host=)?spice", text) for text in (old, new))
    if re.fullmatch(r"serial\d+", key):
        return any(text not in ("", "socket") for text in (old, new))
    return bool(re.fullmatch(r"(scsi|virtio|sata|ide)\d+", key) and re.search(r"^(file=)?/|import-from=/", new))


QEMU = Kind(
    path="qemu",
    label="VM",
    noun="virtual machine",
    name_key="name",
    renamed={"hostname": "name", "allow_ksm": "allow-ksm", "amd_sev": "amd-sev", "intel_tdx": "intel-tdx"},
    options=QEMU_OPTIONS,
    numbered=QEMU_NUMBERED,
    reserved=reserved,
    content="images",
    tool="qm",
    local=r"(hostpci\d+: (?!.*mapping=)|usb\d+: (?!.*mapping=|.*spice)|serial\d+: /|parallel\d+: ).*",
)
KINDS = {"lxc": LXC, "qemu": QEMU}

# What is done with a virtual machine only.
MACHINES = {
    "update_password": {
        "type": "str",
        "choices": ["always", "on_create"],
        "default": "on_create",
        "no_log": False,
    },
    "with_local_disks": FLAG,
}


def guest_spec(*kinds: str) -> dict[str, Any]:
    """The Ansible options of one guest; several kinds of guest are told apart by ``type``."""
    spec: dict[str, Any] = {}
    for kind in kinds:
        for key, item in {**KINDS[kind].options, **KINDS[kind].numbered}.items():
            spec.setdefault(key, dict(item.spec))
    for key in [key for key in spec if key in ("arch", "bios", "citype", "cmode", "ostype", "scsihw")]:
        options = [KINDS[kind].options[key] for kind in kinds if key in KINDS[kind].options]
        spec[key]["choices"] = [choice for option in options for choice in option.kind.choices]
    spec.update(CREATION if "lxc" in kinds else {}, **CONTROL)
    spec.update(MACHINES if "qemu" in kinds else {})
    if len(kinds) > 1:
        spec["type"] = {"type": "str", "choices": list(kinds), "default": kinds[0]}
    return spec
