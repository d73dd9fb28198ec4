# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that machines boot from, built once and kept: Debian, with each of Proxmox VE's boot layouts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.lab.machines import SUITE, LabError, apt_install, archives, is_root, run

from .machine import Hardware, Machine

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache/machine"
DISK_MIB = 4096
# No time is lost to flaws that no emulated processor has, nor a start to a timer that a busy computer delays.
PARAMETERS = "console=ttyS0 mitigations=off no_timer_check"
LAYOUTS = ("grub", "systemd-boot")
# Debian packages of this computer, by a file of each.
NEEDED = {
    "qemu-system-x86": "/usr/bin/qemu-system-x86_64", "qemu-utils": "/usr/bin/qemu-img",
    "ovmf": "/usr/share/OVMF/OVMF_CODE_4M.fd", "mmdebstrap": "/usr/bin/mmdebstrap",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg", "dosfstools": "/usr/sbin/mkfs.vfat",
    "e2fsprogs": "/usr/sbin/mke2fs", "fdisk": "/usr/sbin/sfdisk", "openssh-client": "/usr/bin/ssh",
}  # fmt: skip
PACKAGES = (
    "ca-certificates,cron,dbus,e2fsprogs,efibootmgr,grub-efi-amd64,initramfs-tools,iproute2,kmod,linux-image-amd64,"
    "lvm2,openssh-server,pciutils,procps,prometheus-node-exporter,python3,python3-apt,sudo,systemd,systemd-boot-efi,"
    "systemd-boot-tools,systemd-sysv,thin-provisioning-tools,udev,zfsutils-linux,zstd"
)
# Emulated processors are slow: what no test looks at is left out. Of the initramfs, what a machine with a keyboard, a
# laptop, a file system to repair or a root on LVM would need.
UNHOOKED = ("dmsetup", "fsck", "keymap", "lvm2", "resume", "thermal", "thin-provisioning-tools")
LEFT_OUT = (
    "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*",
    *(f"/usr/share/initramfs-tools/hooks/{name}" for name in UNHOOKED),
)  # fmt: skip
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "getty@tty1.service", "grub-common.service", "serial-getty@ttyS0.service", "systemd-logind.service",
    "systemd-pstore.service", "systemd-random-seed.service", "systemd-update-utmp.service", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "dev-hugepages.mount", "dev-mqueue.mount", "modprobe@drm.service",
    "modprobe@configfs.service", "modprobe@fuse.service", "modprobe@efi_pstore.service", "systemd-binfmt.service",
    "blk-availability.service", "lvm2-monitor.service", "zfs-share.service", "zfs-volume-wait.service",
)  # fmt: skip
# What Proxmox VE has on. Without a pool it would be waited for, so it is off but where a test wants it.
ZFS = (
    "zfs-import-cache.service", "zfs-import.target", "zfs-load-module.service", "zfs-mount.service", "zfs.target",
)  # fmt: skip


def ensure_programs() -> None:
    """QEMU and what builds its disks, installed where we may, named in one sentence where not."""
    missing = [package for package, file in NEEDED.items() if not Path(file).exists()]
    if missing:
        apt_install(*missing)


def recipe() -> list[str]:
    """The command that writes a machine's root file system to its standard output."""
    return [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", '--aptopt=Acquire::Retries "5"',
        *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT),
        # Before the kernel's package makes its initramfs, for it to be the one that is wanted.
        f"--essential-hook=sync-in {HERE / 'guest'} /",
        "--customize-hook=chown -R 0:0 $1/etc $1/usr/share/initramfs-tools $1/usr/sbin/proxmox-boot-tool",
        f"--customize-hook=chroot $1 systemctl --quiet mask {' '.join(MASKED)}",
        # The exporter has a role that starts it.
        f"--customize-hook=chroot $1 systemctl --quiet disable prometheus-node-exporter.service {' '.join(ZFS)}",
    ]  # fmt: skip


def sources() -> list[str]:
    """What of Debian, to standard output, and where this computer finds it; ZFS is in contrib."""
    return ["--components=main,contrib", SUITE, "-", *(f"{line} contrib" for line in archives())]


def digest() -> str:
    """What the disks depend on; when it changes, they are built anew."""
    parts = [*recipe(), SUITE, str(DISK_MIB), PARAMETERS]
    for path in sorted(p for folder in ("guest", "layouts") for p in (HERE / folder).rglob("*") if p.is_file()):
        parts += [str(path.relative_to(HERE)), str(path.stat().st_mode & 0o100), path.read_text()]
    parts.append((HERE / "disk.sh").read_text())
    return hashlib.sha256("\0".join(parts).replace(str(HERE), "").encode()).hexdigest()[:16]


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Of several test processes, one builds; the others wait for it."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def in_use(folder: Path) -> IO[bytes]:
    """Keeps the disks of a folder from being removed by tests that need other ones, while it is open."""
    file = (folder / "ssh_key").open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def remove_unused(folder: Path) -> None:
    key = folder / "ssh_key"
    if key.exists():
        with key.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
    shutil.rmtree(folder)


def build_root(disk: Path) -> None:
    # Who is not root builds in a user namespace, where the files' owners are what they should be.
    inside = [] if is_root() else ["mmdebstrap", "--unshare-helper"]
    key = disk.parent / "ssh_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "machine", "-f", str(key))
    argv = [
        *recipe(), "--customize-hook=mkdir -pm 700 $1/root/.ssh",
        f"--customize-hook=upload {key}.pub /root/.ssh/authorized_keys", *sources(),
    ]  # fmt: skip
    with disk.open("wb") as out, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as build:
        done = subprocess.run(
            [*inside, "sh", str(HERE / "disk.sh"), str(DISK_MIB)],
            stdin=build.stdout, stdout=out, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
        words = build.stderr.read().decode(errors="replace").strip()
    if build.returncode or done.returncode:
        words = f"{words}\n{done.stderr.decode(errors='replace').strip()}".strip()
        raise LabError(f"Building the machines' disk failed: {words[-600:]}")
    os.truncate(disk, DISK_MIB << 20)


def extract_kernel(disk: Path, folder: Path) -> None:
    """The kernel and its initramfs, for the one start before there is a boot loader."""
    root = f"{disk}?offset={513 << 20}"
    names = run("/usr/sbin/debugfs", "-R", "ls -p /boot", root).split("/")
    for name in ("vmlinuz", "initrd.img"):
        found = next(entry for entry in names if entry.startswith(f"{name}-"))
        run("/usr/sbin/debugfs", "-R", f"dump /boot/{found} {folder / name}", root)
        (folder / "kernel").write_text(found.removeprefix(f"{name}-"))


def overlay(base: Path, disk: Path) -> None:
    """A disk that begins as another one and leaves it as it is."""
    form = "raw" if base.suffix == ".raw" else "qcow2"
    # Relative to the new disk, so that a folder with both can be renamed.
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", os.path.relpath(base, disk.parent), "-F", form, str(disk))


def lay_out(layout: str, folder: Path) -> None:
    """Have the machine itself install its boot loader, with its own tools; it then boots by it."""
    disk = folder / f"{layout}.qcow2"
    overlay(folder / "root.raw", disk)
    shutil.copy(Hardware.variables_template, disk.with_suffix(".fd"))
    kernel = ("-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd.img"),
              "-append", f"root=/dev/vda2 ro {PARAMETERS}")  # fmt: skip
    with Machine(disk, disk.with_suffix(".fd"), folder / f"prepare-{layout}", folder / "ssh_key", Hardware(),
                 kernel) as machine:  # fmt: skip
        script = (HERE / "layouts" / f"{layout}.sh").read_text()
        machine.run(f"PARAMETERS='{PARAMETERS}' sh -s", stdin=script, timeout=300)
        machine.power_off()


def ensure_images() -> Path:
    """The folder with the disks of all layouts, as they should be."""
    ensure_programs()
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / digest()
    with only_one(CACHE / "lock"):
        if folder.exists():
            return folder
        for old in CACHE.iterdir():
            if old.is_dir():
                remove_unused(old)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="new-") as name:
            new = Path(name) / "images"
            new.mkdir()
            build_root(new / "root.raw")
            extract_kernel(new / "root.raw", new)
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda layout: lay_out(layout, new), LAYOUTS))
            new.rename(folder)
    return folder
