# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel_cmdline on the files of GRUB and of proxmox-boot-tool: what changes, what does not, and when it refuses."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader
from hypothesis import given
from hypothesis import strategies as st

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
COLLECTION = "ansible_collections.onprem.cloud.plugins"
boot = importlib.import_module(f"{COLLECTION}.module_utils.host.boot")
files = importlib.import_module(f"{COLLECTION}.module_utils.host.files")
kernel_cmdline = importlib.import_module(f"{COLLECTION}.modules.kernel_cmdline")

GRUB = """\
# If you change this file, run 'update-grub' afterwards to update
# /boot/grub/grub.cfg.
#GRUB_CMDLINE_LINUX_DEFAULT="nothing"

GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${NAME:-Debian} ) 2>/dev/null || echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
"""
LINE = "root=ZFS=rpool/ROOT/pve-1 boot=zfs"
STATUS = """\
Re-executing '/usr/sbin/proxmox-boot-tool' in new private mount namespace..
System currently booted with uefi
"""
UEFI = "is configured with: uefi (versions: 6.8.12-9-pve)\n"
BIOS = "is configured with: grub (versions: 6.8.12-9-pve)\n"


class Host:
    """A machine whose boot loader is asked for, with programs that do nothing but say what they did."""

    def __init__(self, root: Path, ansible: Any) -> None:
        self.root = root
        self.ansible = ansible
        self.ran = ansible.ran
        self.warned = ansible.warned
        self.answers = ansible.answers
        self.seen: dict[str, str] = {}
        ansible.watch = self.watch

    def write(self, path: str, text: str | bytes) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def tree(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def grub(self, text: str = GRUB, **parts: str) -> Host:
        self.write("/etc/default/grub", text)
        for name, part in parts.items():
            self.write(f"/etc/default/grub.d/{name}.cfg", part)
        self.write("/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz-6.1.0-31-amd64 root=UUID=0a ro quiet\n")
        return self

    def systemd_boot(self, line: str | None = LINE + "\n") -> Host:
        self.write("/sys/firmware/efi/efivars/x", "")
        self.write("/etc/kernel/proxmox-boot-uuids", "AB12-CD34\nAB12-CD35\n")
        self.write("/proc/cmdline", "initrd=\\EFI\\proxmox\\6.8.12-9-pve\\initrd.img-6.8.12-9-pve " + LINE + "\n")
        if line is not None:
            self.write("/etc/kernel/cmdline", line)
        self.answers["proxmox-boot-tool status"] = (
            0,
            STATUS + "AB12-CD34 is configured with: uefi (versions: 6.8)\n",
            "",
        )
        return self

    def watch(self) -> None:
        """What the files say when a program is run."""
        for path in ("/etc/default/grub", "/etc/kernel/cmdline"):
            if (self.root / path.lstrip("/")).exists():
                self.seen[path] = (self.root / path.lstrip("/")).read_text(errors="replace")

    def ask(self, *present: str, **options: Any) -> dict[str, Any]:
        return self.ansible.call(kernel_cmdline, self.root, **wanted(*present, **options))

    def predicted(self, *present: str, **options: Any) -> dict[str, Any]:
        return self.ansible.predicted(kernel_cmdline, self.root, **wanted(*present, **options))

    def converged(self, *present: str, **options: Any) -> dict[str, Any]:
        """Changed once, and not a second time."""
        told = self.predicted(*present, **options)
        assert told["changed"], told
        again = self.predicted(*present, **options)
        assert not again["changed"]
        assert (again["parameters"], again["files"], again["diff"]) == (told["parameters"], [], [])
        return told


def wanted(*present: str, absent: tuple[str, ...] = (), loader: str | None = None) -> dict[str, Any]:
    return {"present": list(present), "absent": list(absent), "bootloader": loader}


@pytest.fixture
def host(tmp_path: Path, ansible: Any) -> Host:
    return Host(tmp_path, ansible)


def assigned(value: str, default: str = "GRUB_CMDLINE_LINUX_DEFAULT") -> str:
    return f"GRUB_DEFAULT=0\n{default}={value}\nGRUB_TIMEOUT=5\n"


def test_a_parameter_is_added_to_grub(host: Host) -> None:
    told = host.grub().converged("iommu=pt")
    assert host.read("/etc/default/grub") == GRUB.replace('DEFAULT="quiet"', 'DEFAULT="quiet iommu=pt"')
    assert told["bootloader"] == "grub"
    assert told["parameters"] == ["quiet", "iommu=pt"]
    assert told["files"] == ["/etc/default/grub"]
    assert told["diff"][0]["after"] == host.read("/etc/default/grub")


def test_update_grub_runs_once_with_the_new_file(host: Host) -> None:
    host.grub().ask("iommu=pt")
    assert host.ran == ["update-grub"]
    assert "iommu=pt" in host.seen["/etc/default/grub"]
    host.ask("iommu=pt")
    assert host.ran == []


@pytest.mark.parametrize(
    ("before", "present", "absent", "after"),
    [
        ('"quiet"', ["iommu=pt"], [], '"quiet iommu=pt"'),
        ("'quiet'", ["iommu=pt"], [], "'quiet iommu=pt'"),
        ("quiet", ["iommu=pt"], [], '"quiet iommu=pt"'),
        ('""', ["iommu=pt"], [], '"iommu=pt"'),
        ("", ["iommu=pt"], [], '"iommu=pt"'),
        ('"quiet "', ["iommu=pt"], [], '"quiet iommu=pt"'),
        ("\"quiet\"''", ["iommu=pt"], [], '"quiet"\'\'" iommu=pt"'),
        ('"quiet" # silent', ["iommu=pt"], [], '"quiet iommu=pt" # silent'),
        ('"iommu=soft quiet"', ["iommu=pt"], [], '"iommu=pt quiet"'),
        ('"quiet  iommu=soft   splash"', ["iommu=pt"], [], '"quiet  iommu=pt   splash"'),
        ('"quiet iommu=soft iommu=off"', ["iommu=pt"], [], '"quiet iommu=pt"'),
        (
            '"console=tty1 quiet"',
            ["console=tty0", "console=ttyS0,115200"],
            [],
            '"console=tty0 quiet console=ttyS0,115200"',
        ),
        ('"console=ttyS0 console=tty0"', ["console=tty0", "console=ttyS0"], [], '"console=tty0 console=ttyS0"'),
        ('"quiet nomodeset splash"', [], ["nomodeset"], '"quiet splash"'),
        ('"nomodeset"', [], ["nomodeset"], '""'),
        ("nomodeset", [], ["nomodeset"], ""),
        ('"nomodeset quiet"', [], ["nomodeset"], '"quiet"'),
        ('"a b c d"', [], ["a", "b", "d"], '"c"'),
        ('"a b c d"', [], ["b", "c", "d"], '"a"'),
        ('"iommu=pt iommu=soft"', [], ["iommu=soft"], '"iommu=pt"'),
        ('"iommu=pt iommu=soft iommu"', [], ["iommu"], '""'),
        ('"quiet nomodeset"', ["iommu=pt"], ["nomodeset"], '"quiet iommu=pt"'),
        ('"nomodeset"', ["iommu=pt"], ["nomodeset"], '"iommu=pt"'),
        ('"quiet -- iommu=soft"', ["iommu=pt"], [], '"quiet iommu=pt -- iommu=soft"'),
        ('"vfio_pci.ids=1:2"', ["vfio-pci.ids=10de:2684"], [], '"vfio-pci.ids=10de:2684"'),
        ('"quiet \\"dyndbg=file a +p\\""', [], ["quiet"], '"\\"dyndbg=file a +p\\""'),
        ('"quiet"', ['dyndbg="file a +p"'], [], '"quiet dyndbg=\\"file a +p\\""'),
        ("'quiet'", ["x=a'b$c"], [], "'quiet x=a'\\''b$c'"),
        ('"quiet"', ["x=a`b$c\\"], [], '"quiet x=a\\`b\\$c\\\\"'),
        ('"quiet \\\n  splash"', ["splash", "quiet", "iommu=pt"], [], '"quiet \\\n  splash iommu=pt"'),
        ('"iommu="soft" quiet"', ["iommu=pt"], [], '"iommu=pt"" quiet"'),
        ('"$(echo quiet) iommu=soft"', ["iommu=pt"], [], '"$(echo quiet) iommu=pt"'),
        ('"`echo quiet` ${NO-a} iommu=soft"', ["iommu=pt"], [], '"`echo quiet` ${NO-a} iommu=pt"'),
    ],
)
def test_the_value_of_grub(host: Host, before: str, present: list[str], absent: list[str], after: str) -> None:
    host.grub(assigned(before)).converged(*present, absent=tuple(absent))
    assert host.read("/etc/default/grub") == assigned(after)


@pytest.mark.parametrize(
    ("value", "present", "absent"),
    [
        ('"quiet iommu=pt"', ["iommu=pt"], []),
        ('"quiet vfio_pci.ids=1"', ["vfio-pci.ids=1"], []),
        ('"console=tty0 quiet console=ttyS0"', ["console=tty0", "console=ttyS0"], []),
        ('"iommu=pt"', [], ["iommu=soft"]),
        ('"iommu=pt"', [], ["amd_iommu"]),
        ('"quiet -- nomodeset"', [], ["nomodeset"]),
        ("\"$(printf 'iommu=%s' pt)\"", ["iommu=pt"], []),
    ],
)
def test_a_value_that_is_right_is_left_alone(host: Host, value: str, present: list[str], absent: list[str]) -> None:
    told = host.grub(assigned(value)).predicted(*present, absent=tuple(absent))
    assert not told["changed"]
    assert host.ran == []


def test_a_parameter_is_changed_where_it_stands(host: Host) -> None:
    host.grub('GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="iommu=soft"\n').converged("iommu=pt")
    assert host.read("/etc/default/grub") == 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="iommu=pt"\n'


def test_a_parameter_of_both_variables_stays_once(host: Host) -> None:
    host.grub('GRUB_CMDLINE_LINUX_DEFAULT="quiet iommu=off"\nGRUB_CMDLINE_LINUX="iommu=soft"\n').converged("iommu=pt")
    assert host.read("/etc/default/grub") == 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="iommu=pt"\n'


def test_without_the_variable_a_line_is_added(host: Host) -> None:
    host.grub('GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX="a=1"').converged("iommu=pt", absent=("a",))
    assert host.read("/etc/default/grub") == (
        'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=""\nGRUB_CMDLINE_LINUX_DEFAULT="iommu=pt"\n'
    )


def test_a_part_that_adds_keeps_what_it_adds(host: Host) -> None:
    part = 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=512M iommu=soft"\n'
    told = host.grub(GRUB, kdump=part).converged("iommu=pt", "loglevel=3")
    assert host.read("/etc/default/grub.d/kdump.cfg") == part.replace("soft", "pt")
    assert 'DEFAULT="quiet loglevel=3"' in host.read("/etc/default/grub")
    assert told["parameters"] == ["quiet", "loglevel=3", "crashkernel=512M", "iommu=pt"]
    assert sorted(told["files"]) == ["/etc/default/grub", "/etc/default/grub.d/kdump.cfg"]


def test_a_part_that_begins_anew_is_the_one_that_counts(host: Host) -> None:
    host.grub(GRUB, cloud='GRUB_CMDLINE_LINUX_DEFAULT="console=tty1"\n').converged("iommu=pt", absent=("quiet",))
    assert host.read("/etc/default/grub") == GRUB
    assert host.read("/etc/default/grub.d/cloud.cfg") == 'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 iommu=pt"\n'


def test_only_files_that_grub_reads_are_read(host: Host) -> None:
    host.grub().write("/etc/default/grub.d/50-old.cfg.dpkg-old", 'GRUB_CMDLINE_LINUX_DEFAULT="old"\n')
    assert host.converged("iommu=pt")["parameters"] == ["quiet", "iommu=pt"]


@pytest.mark.parametrize(
    "text",
    [
        'if true; then GRUB_CMDLINE_LINUX_DEFAULT="quiet"; fi\nif true; then GRUB_CMDLINE_LINUX="iommu=soft"; fi\n',
        'OTHERS="iommu=soft"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet $OTHERS"\n',
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="iommu=soft $GRUB_CMDLINE_LINUX_DEFAULT"\nunset IFS\n'
        'GRUB_CMDLINE_LINUX_DEFAULT="${GRUB_CMDLINE_LINUX} x"\n',
    ],
)
def test_what_is_not_understood_is_left_alone(host: Host, text: str) -> None:
    before = host.grub(text).tree()
    told = host.ask("iommu=pt")
    assert "not understood well enough" in told["msg"]
    assert host.tree() == before


@pytest.mark.parametrize("text", ['GRUB_CMDLINE_LINUX_DEFAULT="quiet\n', "if true; then\n", "exit 3\n"])
def test_a_file_that_the_shell_cannot_read_is_refused(host: Host, text: str) -> None:
    before = host.grub(text).tree()
    assert host.ask("iommu=pt")["msg"].startswith("The shell cannot read /etc/default/grub, which update-grub does")
    assert host.tree() == before


def test_bytes_of_other_encodings_are_kept(host: Host) -> None:
    host.grub()
    host.write("/etc/default/grub", b'# caf\xe9\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    host.ask("iommu=pt")
    kept = (host.root / "etc/default/grub").read_bytes()
    assert kept == b'# caf\xe9\nGRUB_CMDLINE_LINUX_DEFAULT="quiet iommu=pt"\n'


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(host: Host) -> None:
    host.grub()
    real = host.root / "etc/default/grub.real"
    (host.root / "etc/default/grub").rename(real)
    real.chmod(0o640)
    (host.root / "etc/default/grub").symlink_to("grub.real")
    host.ask("iommu=pt")
    assert (host.root / "etc/default/grub").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "iommu=pt" in real.read_text()


def test_a_parameter_is_added_to_the_line_of_proxmox_boot_tool(host: Host) -> None:
    told = host.systemd_boot().converged("iommu=pt")
    assert host.read("/etc/kernel/cmdline") == f"{LINE} iommu=pt\n"
    assert told["bootloader"] == "systemd-boot"
    assert told["parameters"] == [*LINE.split(), "iommu=pt"]


def test_proxmox_boot_tool_runs_with_the_new_line(host: Host) -> None:
    host.systemd_boot().ask("iommu=pt")
    assert host.ran == ["proxmox-boot-tool status", "proxmox-boot-tool refresh"]
    assert "iommu=pt" in host.seen["/etc/kernel/cmdline"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("root=a quiet", "root=a quiet iommu=pt"),
        ("root=a\tiommu=soft  x\nsecond iommu=soft\n", "root=a\tiommu=pt  x\nsecond iommu=soft\n"),
        ('root=a x="b c" iommu=on,off\n', 'root=a x="b c" iommu=pt\n'),
        ("root=a -- single\n", "root=a iommu=pt -- single\n"),
    ],
)
def test_the_rest_of_the_line_stays_as_it_is(host: Host, before: str, after: str) -> None:
    host.systemd_boot(before).converged("iommu=pt")
    assert host.read("/etc/kernel/cmdline") == after


def test_without_the_file_the_line_is_the_running_kernels(host: Host) -> None:
    host.systemd_boot(None).converged("iommu=pt")
    assert host.read("/etc/kernel/cmdline") == f"{LINE} iommu=pt\n"


def test_a_line_without_root_is_refused(host: Host) -> None:
    told = host.systemd_boot("quiet\nroot=a\n").ask("iommu=pt")
    assert "has no root=" in told["msg"]


def test_a_partition_that_was_left_out_is_a_warning(host: Host) -> None:
    host.systemd_boot().answers["proxmox-boot-tool refresh"] = (
        0,
        "Running hook script 'zz-proxmox-boot'..\n",
        "mount of /dev/disk/by-uuid/AB12-CD35 failed - skipping\nCopying and configuring kernels on AB12-CD34\n",
    )
    host.ask("iommu=pt")
    assert host.warned == ["proxmox-boot-tool refresh: mount of /dev/disk/by-uuid/AB12-CD35 failed - skipping"]


def test_a_reboot_is_needed_until_the_kernel_was_passed_it(host: Host) -> None:
    host.grub()
    assert host.ask("iommu=pt", absent=("quiet",))["reboot_required"]
    assert host.ask("iommu=pt", absent=("quiet",))["reboot_required"]
    host.write("/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=a quiet iommu=pt\n")
    assert host.ask("iommu=pt", absent=("quiet",))["reboot_required"]
    host.write("/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=a iommu=pt\n")
    assert not host.ask("iommu=pt", absent=("quiet",))["reboot_required"]


def test_parameters_of_others_need_no_reboot(host: Host) -> None:
    host.grub(assigned('"quiet somebody=else"')).write("/proc/cmdline", "BOOT_IMAGE=/a iommu=pt\n")
    assert not host.ask("iommu=pt")["reboot_required"]


def test_a_failure_of_update_grub_puts_the_file_back(host: Host) -> None:
    before = host.grub().tree()
    host.answers["update-grub"] = [(1, "", "grub-probe: error: no space\n"), (0, "", "")]
    told = host.ask("iommu=pt")
    assert told["msg"] == (
        "'update-grub' failed with exit code 1: grub-probe: error: no space. The earlier content of /etc/default/grub"
        " is back."
    )
    assert host.tree() == before
    assert host.ran == ["update-grub", "update-grub"]


def test_a_failure_that_stays_is_told_and_made_up_for(host: Host) -> None:
    host.grub().answers["update-grub"] = (1, "", "no space")
    told = host.ask("iommu=pt")
    assert "but 'update-grub' fails with it as well: mend that before the next reboot" in told["msg"]
    assert host.read("/etc/default/grub") == GRUB
    host.answers.clear()
    assert host.ask("quiet")["changed"]
    assert host.ran == ["update-grub"]
    assert not host.ask("quiet")["changed"]


def test_a_program_that_is_missing_is_a_failure(host: Host) -> None:
    before = host.grub().tree()
    host.answers["update-grub"] = FileNotFoundError(2, "No such file or directory")
    assert "update-grub: No such file or directory" in host.ask("iommu=pt")["msg"]
    assert host.read("/etc/default/grub") == before[str(host.root / "etc/default/grub")].decode()


def test_a_run_that_ended_in_between_is_made_up_for(host: Host) -> None:
    host.grub().answers["update-grub"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        host.ask("iommu=pt")
    host.answers.clear()
    told = host.predicted("iommu=pt")
    assert (told["changed"], told["files"]) == (True, [])
    assert not host.ask("iommu=pt")["changed"]
    assert not (host.root / "var/lib/onprem.cloud").exists()


@pytest.mark.parametrize(
    ("present", "absent", "sentence"),
    [
        (["iommu=pt quiet"], [], "'iommu=pt quiet' is not one parameter of the kernel"),
        ([""], [], "'' is not one parameter of the kernel"),
        (["=a"], [], "'=a' is not one parameter of the kernel"),
        (["--"], [], "'--' is not one parameter of the kernel"),
        (['a="b'], [], "'a=\"b' is not one parameter of the kernel"),
        (["a\nb"], [], "'a\nb' is not one parameter of the kernel"),
        ([], ["root"], "'root' is passed by the boot loader itself"),
        (["initrd=/x"], [], "'initrd=/x' is passed by the boot loader itself"),
        (["iommu=pt"], ["iommu"], "'iommu=pt' cannot be both present and absent."),
    ],
)
def test_a_mistake_is_refused(host: Host, present: list[str], absent: list[str], sentence: str) -> None:
    before = host.grub().tree()
    assert host.ask(*present, absent=tuple(absent))["msg"].startswith(sentence)
    assert host.tree() == before
    assert host.ran == []


def variable(name: str, vendor: str, value: bytes) -> tuple[str, bytes]:
    return f"/sys/firmware/efi/efivars/{name}-{vendor}", b"\x06\0\0\0" + value


def entry(path: str) -> bytes:
    """What the firmware keeps of a program: a hard disk's partition and a file on it."""
    node = path.encode("utf-16-le") + b"\0\0"
    disk = b"\x04\x01\x2a\x00" + b"\x11" * 38
    return (
        b"\x01\0\0\0\0\0"
        + "Linux".encode("utf-16-le")
        + b"\0\0"
        + disk
        + b"\x04\x04"
        + (len(node) + 4).to_bytes(2, "little")
        + node
        + b"\x7f\xff\x04\x00"
    )


@pytest.mark.parametrize(
    ("image", "loader"),
    [
        ("\\EFI\\proxmox\\grubx64.efi", "grub"),
        ("\\EFI\\debian\\shimx64.efi", "grub"),
        ("\\EFI\\systemd\\systemd-bootx64.efi", "systemd-boot"),
        ("\\EFI\\systemd\\shimx64.efi", "systemd-boot"),
    ],
)
def test_the_firmware_tells_what_it_started(host: Host, image: str, loader: str) -> None:
    host.systemd_boot().grub()
    host.write("/proc/cmdline", LINE)
    host.answers.clear()
    host.write(*variable("BootCurrent", boot.STANDARD, b"\x0a\x00"))
    host.write(*variable("Boot000A", boot.STANDARD, entry(image)))
    told = host.ask("iommu=pt")
    assert told["bootloader"] == loader
    assert told["evidence"] == [f"the firmware started {image}"]
    assert host.ran[-1] == "proxmox-boot-tool refresh"


@pytest.mark.parametrize(
    ("name", "loader"), [("systemd-boot 252.36-1~deb12u1", "systemd-boot"), ("GRUB 2.12-9+pmx2", "grub")]
)
def test_the_boot_loader_tells_its_name(host: Host, name: str, loader: str) -> None:
    host.systemd_boot().grub()
    host.write("/proc/cmdline", LINE)
    host.answers.clear()
    host.write(*variable("LoaderInfo", boot.LOADER, name.encode("utf-16-le") + b"\0\0"))
    assert host.ask("iommu=pt")["bootloader"] == loader


@pytest.mark.parametrize(
    ("status", "loader"),
    [
        (f"AB12-CD34 {UEFI}", "systemd-boot"),
        (f"AB12-CD34 {BIOS}", "grub"),
        ("AB12-CD34 is configured with: uefi (versions: 6.8), grub (versions: 6.8)\n", None),
        (
            "AB12-CD34 is configured with: uefi (versions: 6.8)\nAB12-CD35 is configured with: grub (versions: 6)\n",
            None,
        ),
        ("", None),
    ],
)
def test_proxmox_boot_tool_tells_what_it_installed(host: Host, status: str, loader: str | None) -> None:
    host.systemd_boot().grub()
    host.write("/proc/cmdline", LINE)
    host.answers["proxmox-boot-tool status"] = (0, STATUS + status, "")
    told = host.ask("iommu=pt")
    assert told.get("bootloader") == loader
    if loader is None:
        assert told["msg"] == ("Nothing tells which boot loader starts this machine: say which it is with bootloader.")
        assert host.ask("iommu=pt", loader="grub")["changed"]
        assert host.ran[-1] == "proxmox-boot-tool refresh"


def test_grub_without_uefi_on_the_partitions_of_proxmox_boot_tool(host: Host) -> None:
    host.grub().write("/etc/kernel/proxmox-boot-uuids", "AB12-CD34\n")
    host.write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz-6.8.12-9-pve root=ZFS=rpool/ROOT/pve-1 ro\n")
    host.ask("iommu=pt")
    assert host.ran == ["proxmox-boot-tool refresh"]
    assert "iommu=pt" in host.read("/etc/default/grub")


def test_grub_where_the_kernel_was_started_without_a_boot_loader(host: Host) -> None:
    host.grub().write("/proc/cmdline", "root=/dev/vda ro\n")
    assert host.ask("iommu=pt")["evidence"] == ["the firmware is not UEFI, and there is /etc/default/grub"]


def test_grub_with_uefi_and_a_kernel_that_does_not_tell(host: Host) -> None:
    host.grub().write("/proc/cmdline", "root=/dev/vda ro\n")
    host.write("/sys/firmware/efi/efivars/x", "")
    assert "Nothing tells" in host.ask("iommu=pt")["msg"]
    host.write("/boot/grub/grub.cfg", "")
    assert host.ask("iommu=pt")["evidence"] == ["there is /boot/grub/grub.cfg"]


def test_a_machine_of_which_nothing_tells_is_refused(host: Host) -> None:
    host.write("/proc/cmdline", "root=/dev/vda ro\n")
    assert host.ask("iommu=pt")["msg"].startswith("Nothing tells which boot loader starts this machine")


def test_signs_that_do_not_agree_are_refused(host: Host) -> None:
    before = host.systemd_boot().grub().tree()
    told = host.ask("iommu=pt")
    assert told["msg"] == (
        "It is not clear which boot loader starts this machine: the running kernel was passed BOOT_IMAGE=, as only GRUB"
        " does; but proxmox-boot-tool has put systemd-boot on its partitions: say which it is with bootloader."
    )
    assert host.tree() == before
    assert host.ask("iommu=pt", loader="systemd-boot")["files"] == ["/etc/kernel/cmdline"]


def test_a_root_on_zfs_tells_nothing(host: Host) -> None:
    host.grub().write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz-6.8 root=ZFS=rpool/ROOT/pve-1 boot=zfs\n")
    assert host.ask("iommu=pt")["bootloader"] == "grub"


def test_systemd_boot_without_proxmox_boot_tool_is_refused(host: Host) -> None:
    host.write("/proc/cmdline", "initrd=\\abc\\initrd root=UUID=0a\n")
    host.write("/sys/firmware/efi/efivars/x", "")
    assert "proxmox-boot-tool does not look after its boot partitions" in host.ask("iommu=pt")["msg"]


def test_grub_without_its_file_is_refused(host: Host) -> None:
    host.write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=UUID=0a\n")
    assert host.ask("iommu=pt")["msg"] == (
        "GRUB starts this machine, but there is no /etc/default/grub, from which its menu is made."
    )


NAMES = st.sampled_from(["quiet", "iommu", "console", "vfio-pci.ids", "vfio_pci.ids", "a"])
VALUES = st.sampled_from(["", "=pt", "=tty0", "=1,2", '="b c"', "='", "=$x", "=`", "=\\"])
WORDS = st.builds(lambda name, value: name + value, NAMES, VALUES)
QUOTES = st.sampled_from(['"', "'", ""])


@given(st.lists(st.tuples(WORDS, QUOTES), max_size=5), st.lists(WORDS, max_size=3), st.lists(WORDS, max_size=2))
def test_any_value_is_changed_and_the_rest_kept(
    there: list[tuple[str, str]], present: list[str], absent: list[str]
) -> None:
    wish = boot.Wish(tuple(present), tuple(absent))
    if wish.mistake():
        return
    text = f"X={''.join(quote + boot.quoted(f'{word} ', quote) + quote for word, quote in there)}\n"
    value = boot.scan("/x", text, 2, "X")
    assert value.words == [word for word, _ in there]
    after = boot.fulfil([value], value, wish)["/x"]
    shell = ["sh", "-c", after + 'printf %s "$X"']
    found = boot.words(subprocess.run(shell, capture_output=True, text=True, check=True).stdout)
    assert wish.met(found)
    names = {boot.name(word) for word in present + absent}
    assert [w for w in found if boot.name(w) not in names] == [w for w in value.words if boot.name(w) not in names]
