"""Plan what the files of a WireGuard server should be, and write them if told to. Input and output are JSON.

Keys are made here and stay here: none is printed, and programs are given them by standard input. A key that is there is
never replaced, and an address that a peer has is given to nobody else.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import ipaddress
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HOME = Path("/etc/wireguard")
TO_BE_MADE = "(to be made)"
HEAD = "# Written by Ansible (onprem.cloud.wireguard): what is changed by hand is lost.\n"
ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):([1-9][0-9]{0,4})")
DOMAIN = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]+")

Network = ipaddress.IPv4Network
Address = ipaddress.IPv4Address


def run(*command: str, text: str = "") -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def ask(*command: str) -> str | None:
    """What a program says, or nothing if it is not there or knows of nothing."""
    try:
        return run(*command)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def is_key(text: str) -> bool:
    try:
        return len(text) == 44 and len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        return False


@functools.cache
def public(key: str) -> str:
    return run("wg", "pubkey", text=key).strip() if is_key(key) and shutil.which("wg") else TO_BE_MADE


def parsed(kind: Any, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        return None


class Server:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.interface: str = asked["interface"]
        self.home = HOME / self.interface
        self.configuration = HOME / f"{self.interface}.conf"
        self.peers = [peer for peer in asked["peers"] if peer.get("state") != "absent"]
        self.absent = [peer["name"] for peer in asked["peers"] if peer.get("state") == "absent"]
        self.problems: list[str] = []
        self.changes: list[str] = []
        self.restart = False

    # What can be wrong, each in a sentence that says what to do.

    def refuse(self, sentence: str) -> None:
        self.problems.append(sentence)

    def check(self) -> None:
        self.check_peers()
        self.check_settings()
        if not self.problems:
            self.check_machine()
            self.assign()

    def check_peers(self) -> None:
        names = [peer["name"] for peer in self.asked["peers"]]
        for name in dict.fromkeys(names):
            if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
                self.refuse(
                    f'The name of the peer "{name}" would not do as a directory; use lower-case letters, digits and'
                    " dashes."
                )
            if names.count(name) > 1:
                self.refuse(f"wireguard_peers has {name} twice; give one of them another name.")
        owners: dict[str, str] = {}
        for peer in self.peers:
            key = peer.get("public_key")
            if key and not is_key(key):
                self.refuse(
                    f"The public_key of {peer['name']} is no key of WireGuard; take what `wg pubkey` prints on that"
                    " machine."
                )
            elif key and owners.setdefault(key, peer["name"]) != peer["name"]:
                self.refuse(
                    f"{owners[key]} and {peer['name']} have the same public_key; each machine needs a key of its own."
                )

    def check_settings(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,14}", self.interface):
            self.refuse(
                f'wireguard_interface is "{self.interface}"; use a letter and up to 14 letters, digits and'
                " underscores, in lower case."
            )
        endpoint = ENDPOINT.fullmatch(self.asked["endpoint"])
        if not endpoint or int(endpoint[3]) > 65535:
            self.refuse(
                f'wireguard_endpoint is "{self.asked["endpoint"]}"; say the name and port that peers dial, such as'
                " vpn.example.com:51820."
            )
        self.address = parsed(ipaddress.IPv4Interface, self.asked["address"])
        if (
            not self.address
            or not 16 <= self.address.network.prefixlen <= 30
            or self.address.ip in (self.address.network.network_address, self.address.network.broadcast_address)
        ):
            self.refuse(
                f'wireguard_address is "{self.asked["address"]}"; say an address for this server in a network of 16 to'
                " 30 bits that is used nowhere else, such as 10.8.0.1/24."
            )
        for name, networks in [
            ("wireguard_networks", self.asked["networks"]),
            *((f"networks of the peer {peer['name']}", peer.get("networks") or []) for peer in self.peers),
        ]:
            for text in networks:
                if not parsed(Network, text):
                    self.refuse(f'{name}: "{text}" is no IPv4 network such as 192.168.0.0/24.')
        for text in self.asked["dns"]:
            if not parsed(Address, text) and not DOMAIN.fullmatch(text):
                self.refuse(
                    f'wireguard_dns: "{text}" is neither the IPv4 address of a DNS server nor a domain to search in.'
                )

    def check_machine(self) -> None:
        if not Path("/sys/module/wireguard").exists() and ask("modprobe", "--dry-run", "wireguard") is None:
            where = (
                f"On the node {self.asked['node']}" if self.asked["node"] else "On the node that this machine runs on"
            )
            if not self.asked["userspace"]:
                self.refuse(
                    "The kernel has not loaded its module wireguard, and an unprivileged container cannot load it."
                    f" {where}, run `modprobe wireguard` and write wireguard into /etc/modules-load.d/wireguard.conf,"
                    " so that it is loaded at boot. Where that cannot be done, set wireguard_userspace_enabled."
                )
            elif not Path("/dev/net/tun").is_char_device():
                self.refuse(
                    f"wireguard_userspace_enabled is set and there is no /dev/net/tun. {where}, as root, give it to"
                    " the container (`pct set VMID --dev0 /dev/net/tun`) and restart the container."
                )
        if self.configuration.exists() and not is_key(read(self.home / "server.key")):
            self.refuse(
                f"{self.configuration} is there and {self.home}/server.key holds no key, so this role has not made it"
                f" or has lost its key. To go on with its key, put that (root only) into {self.home}/server.key and"
                " declare its peers with their public_key and address; to begin anew, move the file away."
            )
        links = json.loads(run("ip", "-json", "-4", "address"))
        if any(link["ifname"] == self.interface for link in links) and not self.active():
            self.refuse(
                f"{self.interface} is up and its service is not; end it with `wg-quick down {self.interface}` and run"
                " the role again."
            )
        for link in links:
            for address in link["addr_info"] if link["ifname"] != self.interface else []:
                taken = ipaddress.IPv4Interface(f"{address['local']}/{address['prefixlen']}").network
                if taken.overlaps(self.address.network):
                    self.refuse(
                        f"wireguard_address is in {self.address.network}, and {link['ifname']} has {taken}; use a"
                        " network that is used nowhere else."
                    )
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            try:
                if self.listens_on() != self.asked["port"]:
                    probe.bind(("", self.asked["port"]))
            except OSError:
                self.refuse(
                    f"UDP port {self.asked['port']} is in use already (`ss -lunp`); free it or choose another"
                    " wireguard_port."
                )

    def active(self) -> bool:
        return ask("systemctl", "is-active", f"wg-quick@{self.interface}") is not None

    def listens_on(self) -> int:
        return int(ask("wg", "show", self.interface, "listen-port") or 0)

    # Addresses: who has one keeps it, whoever else there is.

    def assign(self) -> None:
        held = {
            path.parent.name: parsed(Address, read(path))
            for path in sorted(self.home.glob("peers/*/address"))
            if path.parent.name not in self.absent
        }
        wanted = {peer["name"]: parsed(Address, peer["address"]) for peer in self.peers if peer.get("address")}
        hosts = list(self.address.network.hosts())
        owners = {self.address.ip: "the server"}
        for name, address in {**held, **wanted}.items():
            if address not in hosts:
                self.refuse(
                    f"{name} has the address {address or 'of a damaged file'}, which is not in {self.address.network};"
                    " go back to the network that it is from, or give it another address (its configuration then has"
                    " to be handed out again)."
                )
            elif owners.setdefault(address, name) != name:
                self.refuse(
                    f"{owners[address]} and {name} would both have the address {address}; give one of them another"
                    " address."
                )
        free = (host for host in hosts if host not in owners)
        for peer in self.peers:
            peer["address"] = wanted.get(peer["name"]) or held.get(peer["name"]) or next(free, None)
            if not peer["address"]:
                self.refuse(
                    f"{peer['name']} finds no free address in {self.address.network}; make the network larger, or set"
                    " state absent on a peer that is not needed any more."
                )

    # Files

    def put(self, path: Path, content: str | bytes) -> None:
        """A file that only root reads, complete or not at all."""
        content = content.encode() if isinstance(content, str) else content
        status = path.stat() if path.exists() else None
        private = status and (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o600, 0, 0)
        if private and path.read_bytes() == content:
            return
        self.changes.append(f"write {path}")
        if self.asked["apply"]:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as new:
                new.write(content)
                new.flush()
                os.fsync(new.fileno())
            os.chown(new.name, 0, 0)
            Path(new.name).rename(path)

    def private_directory(self, path: Path) -> None:
        status = path.stat() if path.exists() else None
        if status and (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o700, 0, 0):
            return
        self.changes.append(f"make {path} root's alone")
        if self.asked["apply"]:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            os.chown(path, 0, 0)

    def key(self, path: Path, kind: str) -> str:
        """The key of a file; one is made where there is none."""
        key = read(path)
        if is_key(key):
            self.put(path, f"{key}\n")
        elif path.exists():
            self.refuse(f"{path} holds no key; put it back from a backup, or remove the file to have a new key made.")
        else:
            key = run("wg", kind).strip() if self.asked["apply"] else TO_BE_MADE
            self.put(path, f"{key}\n")
        return key

    def remove(self, path: Path) -> None:
        if path.exists():
            self.changes.append(f"remove {path}")
            if self.asked["apply"]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def write(self) -> None:
        self.private_directory(HOME)
        self.private_directory(self.home)
        self.private_directory(self.home / "peers")
        for name in self.absent:
            self.remove(self.home / "peers" / name)
        self.private = self.key(self.home / "server.key", "genkey")
        for peer in self.peers:
            self.write_peer(peer)
        if self.problems:
            return
        text, rules = self.server_text(), self.firewall_text()
        if self.asked["apply"]:
            self.validate(text, rules)
        self.put(self.home / "firewall.nft", rules)
        self.put(self.configuration, text)

    def write_peer(self, peer: dict[str, Any]) -> None:
        home = self.home / "peers" / peer["name"]
        self.private_directory(home)
        peer["preshared"] = self.key(home / "preshared.key", "genpsk")
        if peer.get("public_key"):
            private = ""
        else:
            private = self.key(home / "private.key", "genkey")
            peer["public_key"] = public(private)
        self.put(home / "address", f"{peer['address']}\n")
        text = self.peer_text(peer, private)
        configuration = home / f"{self.interface}.conf"
        picture = home / f"{self.interface}.png"
        changes = len(self.changes)
        self.put(configuration, text)
        if not private:
            self.remove(picture)
        elif self.asked["apply"] or (len(self.changes) == changes and shutil.which("qrencode")):
            command = ["qrencode", "--type=PNG", "--output=-"]
            self.put(picture, subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout)
        else:
            self.changes.append(f"write {picture}")

    def validate(self, text: str, rules: str) -> None:
        """Have the programs read what would be written."""
        with tempfile.TemporaryDirectory(dir=HOME) as directory:
            candidate = Path(directory) / f"{self.interface}.conf"
            candidate.write_text(text)
            stripped = run("wg-quick", "strip", str(candidate))
        run("nft", "--check", "--file", "-", text=rules)
        # wg reads all of it before it looks for the interface, and none has this name.
        command = ["wg", "setconf", "/", "/dev/stdin"]
        result = subprocess.run(command, input=stripped, capture_output=True, text=True, check=False)
        if "Unable to modify interface" not in result.stderr:
            # What it complains of may be a key.
            sys.exit("wg cannot read the configuration that would be written; nothing of it is in use.")

    # Their contents

    def networks(self, peer: dict[str, Any]) -> list[Network]:
        return list(
            ipaddress.collapse_addresses(Network(text) for text in peer.get("networks") or self.asked["networks"])
        )

    def name_servers(self) -> list[Address]:
        return [address for address in (parsed(Address, text) for text in self.asked["dns"]) if address]

    def server_text(self) -> str:
        lines = [
            f"{HEAD}[Interface]",
            f"PrivateKey = {self.private}",
            f"Address = {self.address}",
            f"ListenPort = {self.asked['port']}",
            f"PreUp = nft -f {self.home}/firewall.nft",
            f"PostDown = nft delete table inet wireguard_{self.interface} || true",
        ]
        for peer in sorted(self.peers, key=lambda peer: peer["address"]):
            lines += [
                f"\n# {peer['name']}\n[Peer]",
                f"PublicKey = {peer['public_key']}",
                f"PresharedKey = {peer['preshared']}",
                f"AllowedIPs = {peer['address']}/32",
            ]
        return "\n".join(lines) + "\n"

    def peer_text(self, peer: dict[str, Any], private: str) -> str:
        # The server itself, to see whether it is there, the networks, and name servers outside of them.
        routed = [Network(self.address.ip), *self.networks(peer), *map(Network, self.name_servers())]
        lines = [
            f"# {peer['name']}\n[Interface]",
            f"PrivateKey = {private}"
            if private
            else f"# Add the PrivateKey that belongs to {peer['public_key']} here.",
            f"Address = {peer['address']}/32",
            *([f"DNS = {', '.join(self.asked['dns'])}"] if self.asked["dns"] else []),
            "\n[Peer]",
            f"PublicKey = {public(self.private)}",
            f"PresharedKey = {peer['preshared']}",
            f"Endpoint = {self.asked['endpoint']}",
            f"AllowedIPs = {', '.join(map(str, ipaddress.collapse_addresses(routed)))}",
            *([f"PersistentKeepalive = {self.asked['keepalive']}"] if self.asked["keepalive"] else []),
        ]
        return "\n".join(lines) + "\n"

    def firewall_text(self) -> str:
        rules = ["ct state established,related accept", f"ip daddr {self.address.ip} icmp type echo-request accept"]
        if self.name_servers():
            names = ", ".join(map(str, self.name_servers()))
            rules.append(f"ip daddr {{ {names} }} meta l4proto {{ tcp, udp }} th dport 53 accept")
        for peer in sorted(self.peers, key=lambda peer: peer["address"]):
            networks = ", ".join(map(str, self.networks(peer)))
            rules.append(f'ip saddr {peer["address"]} ip daddr {{ {networks} }} accept comment "{peer["name"]}"')
        rules.append("reject with icmpx type admin-prohibited")
        lines = "\n    ".join(rules)
        masquerade = f"""
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {self.address.network} oifname != "{self.interface}" masquerade
  }}"""
        body = f"""
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{self.interface}" jump peers
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{self.interface}" jump peers
  }}
  chain peers {{
    {lines}
  }}{masquerade if self.asked["masquerade"] else ""}
"""
        table = f"table inet wireguard_{self.interface}"
        # Replaced at once, and told apart from an earlier one by its comment.
        self.mark = hashlib.sha256(body.encode()).hexdigest()[:16]
        return f'{HEAD}{table}\ndelete {table}\n{table} {{\n  comment "{self.mark}"{body}}}\n'

    # What runs

    def compare(self) -> None:
        """What the running interface knows, with what the files say. One that does not run is started, not changed."""
        shown = ask("wg", "show", self.interface, "dump")
        if not shown or not self.active():
            return
        first, *others = [line.split("\t") for line in shown.splitlines()]
        peers = {peer[0]: (peer[1], peer[3]) for peer in others}
        declared = {peer["public_key"]: (peer["preshared"], f"{peer['address']}/32") for peer in self.peers}
        if (first[0], first[2], peers) != (self.private, str(self.asked["port"]), declared):
            self.changes.append(f"tell {self.interface} its peers")
        if self.mark not in (ask("nft", "list", "table", "inet", f"wireguard_{self.interface}") or ""):
            self.changes.append("load the rules of the firewall")
        links = json.loads(run("ip", "-json", "-4", "address", "show", "dev", self.interface))
        if [f"{found['local']}/{found['prefixlen']}" for found in links[0]["addr_info"]] != [str(self.address)]:
            self.changes.append(f"restart {self.interface}")
            self.restart = True


def main() -> None:
    server = Server(json.load(sys.stdin))
    server.check()
    if not server.problems:
        server.write()
    if not server.problems:
        server.compare()
    json.dump({"problems": server.problems, "changes": server.changes, "restart": server.restart}, sys.stdout)


main()
