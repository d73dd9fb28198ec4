# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel modules of ZFS, which Debian has as source only: built for the machines' kernel once, and kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab.machines import LabError, is_root

from .images import CACHE, HERE, only_one, sources

# What compiles a module; 'extract' unpacks it and all that it needs, and runs nothing of it.
TOOLS = (
    "base-files,bash,coreutils,dash,diffutils,file,findutils,gcc,grep,gzip,hostname,libc6-dev,make,mawk,sed,tar,"
    "zfs-dkms"
)


def build(kernel: str, archive: Path) -> None:
    inside = [] if is_root() else ["mmdebstrap", "--unshare-helper"]
    argv = [
        "mmdebstrap", "--quiet", "--variant=extract", '--aptopt=Acquire::Retries "5"', "--format=tar",
        f"--include={TOOLS},linux-headers-{kernel}", *sources(),
    ]  # fmt: skip
    with archive.open("wb") as out, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as system:
        done = subprocess.run(
            [*inside, "sh", str(HERE / "zfs.sh"), kernel],
            stdin=system.stdout,
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
        words = system.stderr.read().decode(errors="replace").strip()
    if system.returncode or done.returncode:
        words = f"{words}\n{done.stderr.decode(errors='replace').strip()}".strip()
        raise LabError(f"Building ZFS for {kernel} failed: {words[-600:]}")


def ensure_modules(kernel: str) -> Path:
    """An archive with spl.ko and zfs.ko for this kernel."""
    archive = CACHE / f"zfs-{kernel}.tar"
    with only_one(CACHE / "zfs.lock"):
        if not archive.exists():
            for old in CACHE.glob("zfs-*.tar"):
                old.unlink()
            new = archive.with_suffix(".new")
            build(kernel, new)
            new.rename(archive)
    return archive
