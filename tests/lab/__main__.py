# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make lab`, `make lab-status` and `make lab-down`."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import machines, pct, pvesh
from .machines import LabError, docker, run
from .play import play
from .server import NODE, serve

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".lab"
INVENTORY = ROOT / "inventories/lab"
SECRETS = INVENTORY / ".secrets"
# Tried in this order; the first one that no route of this computer overlaps is the lab's, and stays it.
SUBNETS = ("10.209.83.0/24", "172.29.83.0/24", "192.168.209.0/24", "10.83.209.0/24")


def secret(name: str, make) -> str:
    """A secret of the lab, made at its first use, readable by its owner only."""
    SECRETS.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = SECRETS / f"{name}.txt"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(make())
    return path.read_text().strip()


def ssh_key() -> Path:
    path = SECRETS / "ssh_key"
    if not path.exists():
        SECRETS.mkdir(mode=0o700, parents=True, exist_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path))
    return path


def refuse_another_lab() -> None:
    """One lab to a computer: both would own the same network and the same names."""
    owners = docker(
        "network", "ls", "--filter", f"label={machines.LABEL}", "--format", f'{{{{.Label "{machines.LABEL}"}}}}'
    )
    for owner in owners.splitlines():
        if owner == str(FOLDER):
            continue
        if not Path(owner).exists():
            # Its checkout is gone, and with it every way to end it from there.
            remove_machines()
            continue
        raise LabError(
            f"Another lab runs on this computer, from {Path(owner).parent}. Two side by side do not fit: "
            f"end it first (make -C {Path(owner).parent} lab-down), or go on there."
        )


def remove_machines() -> None:
    for ident in machines.machines():
        machines.remove(ident)
    docker("network", "rm", machines.NETWORK, check=False)


def subnet() -> ipaddress.IPv4Network:
    """The lab's own subnet: the same after every restart, and never one that this computer already reaches."""
    chosen = FOLDER / "subnet"
    if chosen.exists():
        return ipaddress.ip_network(chosen.read_text().strip())
    routes = json.loads(run("ip", "-json", "-4", "route") or "[]")
    taken = [
        ipaddress.ip_network(r["dst"]) for r in routes if r["dst"] != "default" and r.get("dev") != machines.BRIDGE
    ]
    wanted = os.environ.get("LAB_SUBNET")
    for text in [wanted] if wanted else SUBNETS:
        network = ipaddress.ip_network(text)
        if not any(network.overlaps(other) for other in taken):
            chosen.write_text(f"{network}\n")
            return network
    raise LabError(
        f"Every subnet that the lab would use ({wanted or ', '.join(SUBNETS)}) overlaps a network that this computer "
        "already reaches. Name a free one: LAB_SUBNET=10.77.0.0/24 make lab"
    )


def ensure_network(network: ipaddress.IPv4Network) -> None:
    if docker("network", "ls", "-q", "--filter", f"name=^{machines.NETWORK}$"):
        return
    docker(
        "network", "create", "--subnet", str(network), "--gateway", str(network[1]),
        "--label", f"{machines.LABEL}={FOLDER}",
        "--opt", f"com.docker.network.bridge.name={machines.BRIDGE}", machines.NETWORK,
    )  # fmt: skip


def ensure_node(network: ipaddress.IPv4Network, public_key: str) -> None:
    """The hypervisor's own machine."""
    known = machines.machines().get(NODE)
    if known is None:
        (FOLDER / "node").mkdir(exist_ok=True)
        machines.create(
            NODE, hostname=NODE, address=str(network[2]), memory_mb=1024, swap_mb=0, cores=0,
            volumes=(f"{FOLDER / 'node'}:{pct.SOCKET.parent}",), public_keys=public_key, owner=str(FOLDER),
            reboots=True,
        )  # fmt: skip
        for program in pct.PROGRAMS:
            machines.write(NODE, program, Path(pct.__file__).read_text(), mode=0o755)
        machines.write(NODE, pvesh.PROGRAM, Path(pvesh.__file__).read_text(), mode=0o755)
        machines.write(NODE, pvesh.MODULE_PATH, pvesh.module(), mode=0o644)
    if known is None or known["state"] != "running":
        machines.start(NODE)
    if known is None:
        # As if an authority of the node's own had made the API's certificate, which made itself.
        authority = f"mkdir -p /etc/pve && ln -s {pct.SOCKET.parent}/pve.crt /etc/pve/pve-root-ca.pem"
        docker("exec", f"{machines.PREFIX}{NODE}", "sh", "-c", authority)


def api_pid() -> int | None:
    """The process that answers the API, if it is alive."""
    try:
        pid = int((FOLDER / "api.ready").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"tests.lab" in command else None


def ensure_api(network: ipaddress.IPv4Network) -> None:
    if api_pid():
        return
    (FOLDER / "api.ready").unlink(missing_ok=True)
    log = FOLDER / "api.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab", "serve", "--host", str(network[1])],
            cwd=ROOT, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    # Machines that ran are started first, so this can take a while after a reboot.
    for _ in range(1200):
        if (FOLDER / "api.ready").exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise LabError(f"The lab's API did not start; its log is {log}:\n{log.read_text()[-800:]}")


def write_facts(network: ipaddress.IPv4Network) -> None:
    """What the inventory cannot know beforehand: the subnet."""
    facts = {"lab_network": str(network), "lab_prefix": str(network[0]).rsplit(".", 1)[0]}
    text = json.dumps(facts, indent=2) + "\n"
    path = FOLDER / "facts.json"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def up(arguments: argparse.Namespace) -> int:
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {what}", flush=True)

    FOLDER.mkdir(mode=0o700, exist_ok=True)
    say("Docker engine")
    machines.ensure_docker(FOLDER / "dockerd.log")
    refuse_another_lab()
    if not shutil.which("ssh"):
        machines.apt_install("openssh-client")
    if not docker("images", "-q", machines.IMAGE):
        say("Debian image for the machines (once, about half a minute)")
        machines.ensure_image()
    network = subnet()
    say(f"network {network}, hypervisor {NODE} at {network[2]}, its API at https://{network[1]}:8006")
    ensure_network(network)
    write_facts(network)
    key = ssh_key()
    secret("lab_root", lambda: secrets.token_hex(16))
    ensure_node(network, key.with_suffix(".pub").read_text())
    ensure_api(network)
    if arguments.only_api:
        return 0
    code = play(ROOT, "site.yml", INVENTORY, FOLDER, started)
    if code == 0:
        report = FOLDER / "report.txt"
        code = play(ROOT, "playbooks/verify.yml", INVENTORY, FOLDER, started, "-e", f"verify_report_file={report}")
    if code == 0:
        print(f"\n{report.read_text().strip()}\n")
        print(
            f"Stand-ins: the Proxmox VE API (https://{network[1]}:8006), where virtual machines are known and none "
            f"runs, and the mail relay (its mails: {FOLDER}/mail)."
        )
        print(f"The names lead to {network[20]} (/etc/hosts), for a browser that trusts {SECRETS}/ca/ca.crt.")
        print(f"Log in: ssh -i {key} -o UserKnownHostsFile={FOLDER}/known_hosts root@{network[10]}")
    return code


def image(_: argparse.Namespace) -> int:
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    machines.ensure_docker(FOLDER / "dockerd.log")
    machines.ensure_image()
    return 0


def down(_: argparse.Namespace) -> int:
    if pid := api_pid():
        os.kill(pid, signal.SIGTERM)
    if machines.docker_answers():
        refuse_another_lab()
        remove_machines()
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.rmtree(SECRETS, ignore_errors=True)
    print("The lab is gone: its machines, its network, its secrets and its state.")
    return 0


def status(_: argparse.Namespace) -> int:
    if not (FOLDER / "subnet").exists():
        print("There is no lab here. `make lab` builds it.")
        return 1
    found = machines.machines()
    print(f"API       {'answers' if api_pid() else 'is not running: make lab starts it'} (process {api_pid()})")
    for ident, machine in sorted(found.items()):
        print(f"{ident:9} {machine['state']}")
    return 0 if api_pid() and all(m["state"] == "running" for m in found.values()) else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("up", help="build the lab, or bring it back, and run the site on it")
    command.add_argument("--only-api", action="store_true", help="the hypervisor and its API, without a guest")
    command.set_defaults(call=up)
    commands.add_parser("down", help="remove everything that the lab made").set_defaults(call=down)
    commands.add_parser("status", help="what runs").set_defaults(call=status)
    commands.add_parser("image", help="build the image that machines start from, unless it is there").set_defaults(
        call=image
    )
    command = commands.add_parser("serve", help="answer the API (started by up)")
    command.add_argument("--host", required=True)
    command.set_defaults(call=lambda a: asyncio.run(serve(FOLDER, a.host, secret("lab_root", str))))
    arguments = parser.parse_args()
    try:
        return arguments.call(arguments) or 0
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
