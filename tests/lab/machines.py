# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's machines: systemd in Docker containers, where Proxmox VE has LXC containers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import yaml

LABEL = "cloud.onprem.lab"
NETWORK = "onprem-lab"
PREFIX = "onprem-lab-"
BRIDGE = "onprem-lab0"
IMAGE = "onprem-cloud/debian:13"
SUITE = "trixie"
# What Proxmox's own Debian template holds beyond the minimum, as far as a managed guest needs it.
PACKAGES = (
    "ca-certificates,cron,dbus,ifupdown,iproute2,iputils-ping,libpam-systemd,locales,logrotate,openssh-server,"
    "procps,python3,python3-apt,sudo,systemd,systemd-sysv,tzdata"
)
# How systemd boots in a container is written once, for the roles' scenarios and for the lab.
RECIPE = yaml.safe_load((Path(__file__).parents[2] / ".config/molecule/machines.yml").read_text())


class LabError(Exception):
    """Something the person at the keyboard can act on; the text is the whole message."""


def run(*argv: str, check: bool = True, stdin: bytes | None = None, timeout: float | None = None) -> str:
    """Run a program and return what it printed; LabError with its last words when it fails."""
    done = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=timeout)
    if check and done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise LabError(f"{' '.join(argv[:3])}: {words[-1] if words else f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace").strip()


def docker(*argv: str, check: bool = True) -> str:
    return run("docker", *argv, check=check)


def is_root() -> bool:
    return os.geteuid() == 0


def apt_install(*packages: str) -> None:
    """Install Debian packages, or say which ones are missing."""
    if not is_root():
        raise LabError(
            f"Please install {' and '.join(packages)} (sudo apt-get install {' '.join(packages)}), then run it again."
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (
        ["apt-get", "-qq", "-o", "Acquire::Retries=5", "update"],
        ["apt-get", "-qq", "-o", "Acquire::Retries=5", "install", "-y", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(argv, env=env, capture_output=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(argv)} failed: {done.stderr.decode(errors='replace').strip()[-400:]}")


def ensure_docker(log: Path) -> None:
    """A Docker engine that answers: installed and started where we may, a sentence where not."""
    if not shutil.which("dockerd") and not docker_answers():
        if not is_root():
            raise LabError(
                "The lab needs Docker. Install it (sudo apt-get install docker.io iptables), add yourself to the group "
                "(sudo adduser $USER docker), log in again, and run `make lab` again. Or run it as root."
            )
        apt_install("docker.io", "iptables")
    if docker_answers():
        return
    if not is_root():
        raise LabError(
            "Docker does not answer. Start it (sudo systemctl start docker), and see that you are in the group docker "
            "(sudo adduser $USER docker, then log in again)."
        )
    if Path("/run/systemd/system").is_dir():
        run("systemctl", "start", "docker")
    else:
        # No service manager (a container, a minimal virtual machine): the daemon is started by hand.
        if not shutil.which("iptables"):
            apt_install("iptables")
        Path("/var/run/docker.pid").unlink(missing_ok=True)
        with log.open("ab") as out:
            subprocess.Popen(["dockerd"], stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
    for _ in range(60):
        if docker_answers():
            return
        time.sleep(0.5)
    raise LabError(f"The Docker daemon did not start; its log is {log}.")


def docker_answers() -> bool:
    return (
        bool(shutil.which("docker"))
        and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    )


def archives() -> list[str]:
    """Where this computer's apt finds Debian; empty on other systems, for which mmdebstrap knows Debian's own."""
    wanted = [
        "apt-get",
        "indextargets",
        "--format",
        "$(ORIGIN) $(COMPONENT) $(LABEL) $(REPO_URI)",
        "Created-By: Packages",
    ]
    rows = {tuple(line.split()) for line in run(*wanted, check=False).splitlines()}
    found = {label: uri for origin, component, label, uri in sorted(r for r in rows if len(r) == 4)
             if (origin, component) == ("Debian", "main")}  # fmt: skip
    if set(found) < {"Debian", "Debian-Security"}:
        return []
    return [f"deb {found['Debian']} {SUITE} main", f"deb {found['Debian']} {SUITE}-updates main",
            f"deb {found['Debian-Security']} {SUITE}-security main"]  # fmt: skip


def recipe() -> list[str]:
    """The command that writes the machines' file system to its standard output."""
    # Proxmox VE gives each new container its own host keys; here, a machine makes them at its first start.
    keys = r"[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n"
    return [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}",
        # It stays in the machines' configuration: an archive that hiccups once is asked again.
        '--aptopt=Acquire::Retries "5"',
        # The package lists stay: a first run in check mode finds packages without fetching anything.
        "--skip=cleanup/apt/lists",
        # Each machine makes its own host keys and machine id.
        "--customize-hook=rm -f $1/etc/ssh/ssh_host_*", "--customize-hook=: > $1/etc/machine-id",
        "--customize-hook=mkdir $1/etc/systemd/system/ssh.service.d",
        f"--customize-hook=printf '{keys}' > $1/etc/systemd/system/ssh.service.d/host-keys.conf",
        # Twelve machines that fetch package lists at their first boot would be all that two cores do.
        "--customize-hook=chroot $1 systemctl --quiet disable apt-daily.timer apt-daily-upgrade.timer",
        SUITE, "-",
    ]  # fmt: skip


def ensure_image() -> bool:
    """Build the image that machines start from, unless it is there as it should be. True if it was built."""
    argv = recipe()
    digest = hashlib.sha256("\n".join(argv).encode()).hexdigest()
    if docker("images", "-q", "--filter", f"label={LABEL}.recipe={digest}", IMAGE):
        return False
    if not shutil.which("mmdebstrap") or not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        apt_install("mmdebstrap", "debian-archive-keyring")
    with subprocess.Popen([*argv, *archives()], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as build:
        done = subprocess.run(
            ["docker", "import", "--change", f"LABEL {LABEL}.recipe={digest}", "-", IMAGE],
            stdin=build.stdout, capture_output=True, check=False,
        )  # fmt: skip
        words = build.stderr.read().decode(errors="replace").strip()
    if build.returncode or done.returncode:
        docker("rmi", IMAGE, check=False)
        words = words or done.stderr.decode(errors="replace").strip()
        raise LabError(f"Building the machines' image failed: {words[-400:]}")
    return True


def machines(everything: bool = True) -> dict[str, dict[str, str]]:
    """The lab's machines by id: name and state as Docker has them."""
    argv = ["ps", "--filter", f"label={LABEL}", "--format", "{{json .}}"]
    found = {}
    for line in docker(*argv, *(["--all"] if everything else [])).splitlines():
        row = json.loads(line)
        found[row["Names"].removeprefix(PREFIX)] = {"name": row["Names"], "state": row["State"]}
    return found


def create(
    ident: str, *, hostname: str, address: str | None, memory_mb: int, swap_mb: int, cores: float,
    volumes: Iterable[str], public_keys: str, owner: str, reboots: bool = False,
) -> None:  # fmt: skip
    """A machine, made but not started, with root's authorized keys in place.

    One that `reboots` starts again by itself when it ends, as a computer does.
    """
    argv = [
        "create", "--name", PREFIX + ident, "--hostname", hostname, "--label", f"{LABEL}={owner}",
        "--cgroupns", "private", "--tmpfs", "/run", "--tmpfs", "/tmp:exec",
        "--env", "container=docker", "--stop-signal", "SIGRTMIN+3",
        "--memory", f"{memory_mb}m", "--memory-swap", f"{memory_mb + swap_mb}m", "--network", NETWORK,
    ]  # fmt: skip
    argv += [f"--cap-add={name}" for name in RECIPE["machine_capabilities"]]
    argv += [f"--security-opt={option}" for option in RECIPE["machine_security_opts"]]
    if reboots:
        argv += ["--restart", "unless-stopped"]
    if cores:
        argv += ["--cpus", str(min(cores, os.cpu_count() or 1))]
    if address:
        argv += ["--ip", address]
    for volume in volumes:
        argv += ["--volume", volume]
    docker(*argv, IMAGE, *RECIPE["machine_command"])
    if public_keys:
        write(ident, "/root/.ssh/authorized_keys", public_keys, mode=0o600, folder=True)


def write(ident: str, path: str, text: str, mode: int, *, folder: bool = False) -> None:
    """Put a file into a machine that need not run, with a private folder for it if there is none."""
    import io
    import tarfile

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        if folder:
            parent = tarfile.TarInfo(str(Path(path).parent).lstrip("/"))
            parent.type, parent.mode = tarfile.DIRTYPE, 0o700
            tar.addfile(parent)
        info = tarfile.TarInfo(path.lstrip("/"))
        info.size, info.mode = len(text.encode()), mode
        tar.addfile(info, io.BytesIO(text.encode()))
    run("docker", "cp", "-", f"{PREFIX}{ident}:/", stdin=archive.getvalue())


def start(ident: str) -> None:
    """Start a machine and wait until systemd has booted it and SSH can answer."""
    docker("start", PREFIX + ident)
    for _ in range(150):
        state = docker("exec", PREFIX + ident, "systemctl", "is-system-running", check=False)
        if state in ("running", "degraded"):
            return
        time.sleep(0.2)
    raise LabError(f"the machine did not finish booting ({state or 'systemd does not answer'})")


def stop(ident: str, timeout: int = 60) -> None:
    docker("stop", "--time", str(timeout), PREFIX + ident)


def kill(ident: str) -> None:
    docker("kill", PREFIX + ident, check=False)


def remove(ident: str) -> None:
    docker("rm", "--force", "--volumes", PREFIX + ident, check=False)
    for volume in docker("volume", "ls", "-q", "--filter", f"label={LABEL}={ident}").splitlines():
        docker("volume", "rm", volume, check=False)


def limit(ident: str, *, memory_mb: int, swap_mb: int, cores: float) -> None:
    """New limits, at once, as Proxmox VE applies them to a running container."""
    docker(
        "update", "--memory", f"{memory_mb}m", "--memory-swap", f"{memory_mb + swap_mb}m",
        "--cpus", str(min(cores, os.cpu_count() or 1) if cores else os.cpu_count() or 1), PREFIX + ident,
    )  # fmt: skip


def readdress(ident: str, address: str) -> None:
    """Another address, taken at the next start, as a container's is."""
    docker("network", "disconnect", NETWORK, PREFIX + ident, check=False)
    docker("network", "connect", "--ip", address, NETWORK, PREFIX + ident)


def volume(ident: str, key: str) -> str:
    """The Docker volume behind a mount point."""
    name = f"{PREFIX}{ident}-{key}"
    docker("volume", "create", "--label", f"{LABEL}={ident}", name)
    return name
