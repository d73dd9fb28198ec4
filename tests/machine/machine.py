# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine with a real kernel, in QEMU: its hardware as wanted, reached over SSH as a server is.

The processor is emulated, always: a computer with hardware virtualization and one without see the same."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

BOOT_SECONDS = 300
LAST_WORDS = 3000


class MachineError(Exception):
    """What a machine did not do, with the end of what it said on its serial console."""


@dataclass(frozen=True)
class Hardware:
    """What is plugged in. The board is QEMU's q35 with UEFI, a disk and a network card."""

    # intel, amd or none.
    iommu: str | None = None
    # A graphics card as it is bought: display and audio function behind a root port of their own.
    card: bool = False
    # Further functions of that card's slot, so in its IOMMU group: nvme (a disk) or e1000e (a network card).
    neighbors: tuple[str, ...] = ()
    # What a server has besides, and keeps: a display that the firmware shows itself on, and sound of its own.
    onboard: bool = False
    # Empty disks of 2 GiB, by their serial numbers.
    disks: tuple[str, ...] = ()
    memory_mb: int = 1024
    # More than one does not start sooner; two machines side by side do.
    processors: int = 1

    firmware: ClassVar[Path] = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
    variables_template: ClassVar[Path] = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
    # Addresses as the guest's kernel writes them.
    display_function: ClassVar[str] = "0000:01:00.0"
    audio_function: ClassVar[str] = "0000:01:00.1"
    neighbor_function: ClassVar[str] = "0000:01:00.2"
    onboard_display: ClassVar[str] = "0000:00:06.0"
    onboard_audio: ClassVar[str] = "0000:00:05.0"

    def arguments(self) -> list[str]:
        """QEMU's arguments for it."""
        # What nobody needs here and a driver would be loaded for, is not there: it starts sooner.
        vendor = ",vendor=GenuineIntel" if self.iommu == "intel" else ""
        found = [
            "-machine", "q35,sata=off,smbus=off,vmport=off", "-accel", "tcg,thread=multi",
            "-cpu", f"qemu64,svm=off,+rdrand{vendor}",
            "-smp", str(self.processors), "-m", str(self.memory_mb),
        ]  # fmt: skip
        if self.iommu == "intel":
            found += ["-device", "intel-iommu,intremap=on,caching-mode=on"]
        elif self.iommu == "amd":
            found += ["-device", "amd-iommu,intremap=on"]
        if self.onboard:
            found += ["-device", "virtio-vga,bus=pcie.0,addr=06.0", "-device", "intel-hda,bus=pcie.0,addr=05.0"]
        if self.card:
            found += [
                "-device", "pcie-root-port,id=card,bus=pcie.0,addr=03.0,chassis=1,slot=1",
                "-device", "secondary-vga,bus=card,addr=00.0,multifunction=on",
                "-device", "ich9-intel-hda,bus=card,addr=00.1",
            ]  # fmt: skip
        for number, model in enumerate(self.neighbors):
            place = f"bus=card,addr=00.{2 + number}"
            if model == "nvme":
                found += ["-blockdev", f"driver=null-co,size=1073741824,node-name=neighbor{number}",
                          "-device", f"nvme,{place},serial=neighbor{number},drive=neighbor{number}"]  # fmt: skip
            else:
                found += ["-device", f"{model},{place},romfile="]
        return found

    @staticmethod
    def by_id(disk: str) -> str:
        """The name of a disk that a guest's kernel does not change."""
        return f"/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{disk}"


class Machine:
    """A machine that runs from `with` on; stopped afterwards, whatever happened."""

    def __init__(
        self, disk: Path, variables: Path, folder: Path, key: Path, hardware: Hardware, arguments: tuple[str, ...] = ()
    ) -> None:
        self.disk, self.variables, self.folder, self.key, self.hardware = disk, variables, folder, key, hardware
        self.extra = arguments
        self.log = folder / "console.log"
        self.stays_off = folder / "stays_off"
        self.port = 0
        self.boot_id = ""
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Machine:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Sockets want short paths.
        self.sockets = Path(tempfile.mkdtemp(prefix="machine-"))
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.forget_connection()
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def arguments(self) -> list[str]:
        """The whole command line."""
        return [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            *self.hardware.arguments(),
            "-drive", f"if=pflash,format=raw,readonly=on,file={self.hardware.firmware}",
            "-drive", f"if=pflash,format=raw,file={self.variables}",
            # Nothing on it outlives a test: what the guest has written need not reach this computer's disk.
            "-drive", f"if=virtio,format=qcow2,cache=unsafe,file={self.disk}",
            "-netdev", f"user,id=lan,hostfwd=tcp:127.0.0.1:{self.port}-:22",
            "-device", "virtio-net-pci,netdev=lan,bus=pcie.0,addr=02.0,romfile=", *self.disks(),
            "-device", "virtio-rng-pci", "-chardev", f"file,id=log,path={self.log},append=on", "-serial", "chardev:log",
            "-qmp", f"unix:{self.sockets}/qmp,server=on,wait=off", "-no-reboot", *self.extra,
        ]  # fmt: skip

    def disks(self) -> list[str]:
        """The disks besides the first one; they can be pulled by their serial numbers."""
        found = ["-device", "virtio-scsi-pci,id=scsi,bus=pcie.0,addr=0a.0"] if self.hardware.disks else []
        for name in self.hardware.disks:
            file = self.folder / f"{name}.disk"
            if not file.exists():
                file.touch()
                os.truncate(file, 2 << 30)
            found += ["-drive", f"if=none,id=drive-{name},format=raw,discard=unmap,cache=unsafe,file={file}",
                      "-device", f"scsi-hd,bus=scsi.0,id={name},drive=drive-{name},serial={name}"]  # fmt: skip
        return found

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # A reboot is a new QEMU: the old one has translated so much code that its firmware would take minutes to unpack
        # itself over it. setpriv: should this process be killed, the machine goes with it.
        again = 'while setpriv --pdeathsig KILL "$@" && [ ! -e "$0" ]; do :; done'
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "sh", "-c", again, str(self.stays_off), *self.arguments()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(self.folder / "qemu.log").open("wb"),
        )  # fmt: skip
        self.wait_until_booted()

    def ssh_options(self) -> list[str]:
        return [
            "-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=accept-new",
            "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20",
            "-o", "ControlMaster=auto", "-o", f"ControlPath={self.sockets}/ssh", "-o", "ControlPersist=120",
        ]  # fmt: skip

    def try_run(self, command: str, *, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess:
        """Run a shell command; how it ended, 255 if the machine does not answer."""
        return subprocess.run(
            ["ssh", *self.ssh_options(), "-p", str(self.port), "root@127.0.0.1", command],
            input=stdin, capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip

    def run(self, command: str, *, stdin: str = "", timeout: float = 120) -> str:
        """Run a shell command that has to succeed; what it printed."""
        done = self.try_run(command, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise self.error(
                f"{command!r} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-1500:]}"
            )
        return done.stdout.strip()

    def unpack(self, archive: Path, folder: str) -> None:
        """Put the files of an archive there."""
        with archive.open("rb") as stream:
            command = f"mkdir -p {folder} && tar --extract --directory {folder}"
            subprocess.run(["ssh", *self.ssh_options(), "-p", str(self.port), "root@127.0.0.1", command],
                           stdin=stream, check=True, timeout=120)  # fmt: skip

    def read(self, path: str) -> str:
        return self.run(f"cat {path}")

    def wait_until_booted(self, timeout: float = BOOT_SECONDS) -> None:
        """Until systemd has started everything of a start that was not seen before."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                words = (self.folder / "qemu.log").read_text(errors="replace").strip()
                raise self.error(f"QEMU ended: {words}")
            done = self.try_run("cat /proc/sys/kernel/random/boot_id && systemctl is-system-running --wait",
                                timeout=timeout)  # fmt: skip
            boot_id, _, state = done.stdout.strip().partition("\n")
            if state in ("running", "degraded") and boot_id != self.boot_id:
                self.boot_id = boot_id
                return
            time.sleep(0.5)
        raise self.error(f"not booted within {timeout:.0f} s")

    def forget_connection(self) -> None:
        subprocess.run(["ssh", *self.ssh_options(), "-O", "exit", "root@127.0.0.1"], capture_output=True, check=False)

    def reboot(self) -> None:
        """As `reboot` does: everything is shut down, the firmware starts anew, the boot loader reads what is there."""
        self.try_run("systemctl reboot")
        self.forget_connection()
        self.wait_until_booted()

    def power_off(self, timeout: float = 120) -> None:
        self.stays_off.touch()
        self.try_run("systemctl poweroff")
        self.forget_connection()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.error(f"still on {timeout:.0f} s after it was told to power off") from None

    def qmp(self, command: str, **arguments: Any) -> Any:
        """A command to QEMU itself, such as one that pulls a disk; its answer."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(f"{self.sockets}/qmp")
            with line.makefile("rw") as channel:
                channel.readline()
                for step in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    channel.write(json.dumps(step) + "\n")
                    channel.flush()
                    while not {"return", "error"} & (answer := json.loads(channel.readline())).keys():
                        pass
        if "error" in answer:
            raise self.error(f"QEMU refused {command}: {answer['error']['desc']}")
        return answer["return"]

    def inventory(self, name: str = "machine") -> dict[str, Any]:
        """This machine as Ansible's inventory knows it."""
        host = {
            "ansible_host": "127.0.0.1", "ansible_port": self.port, "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_args": " ".join(self.ssh_options()),
        }  # fmt: skip
        return {"all": {"hosts": {name: host}}}

    def console(self) -> str:
        """The end of what the machine said on its serial console."""
        return self.log.read_text(errors="replace")[-LAST_WORDS:] if self.log.exists() else "(nothing)"

    def error(self, what: str) -> MachineError:
        return MachineError(f"{what}\n--- serial console ({self.log}) ---\n{self.console()}")

    # What the kernel says of its PCI devices.

    def driver(self, address: str) -> str | None:
        """The driver that holds a device."""
        done = self.try_run(f"readlink /sys/bus/pci/devices/{address}/driver")
        return Path(done.stdout.strip()).name or None

    def drivers(self) -> dict[str, str]:
        """Address -> driver, of all devices that have one."""
        lines = self.run("cd /sys/bus/pci/devices && for d in *; do echo $d $(readlink $d/driver); done").splitlines()
        return {row[0]: Path(row[1]).name for row in map(str.split, lines) if len(row) == 2}

    def groups(self) -> dict[str, str]:
        """Address -> IOMMU group."""
        lines = self.run("cd /sys/bus/pci/devices && for d in *; do echo $d $(readlink $d/iommu_group); done")
        return {row[0]: Path(row[1]).name for row in map(str.split, lines.splitlines()) if len(row) == 2}
